/* Tests of the checker itself: short histories made by hand, good ones that must pass and, for each rule, a bad one that only this rule may catch. */
#include "tests/system/checker.h"

#include <stdio.h>

#include "tests/lib/test.h"

/* One story: a history on a clock that is turned by hand. */
struct story {
    struct timesource_manual hands;
    struct timesource time;
    struct history *history;
};

enum { GROUP = 1, MEMBER = 7, OTHER = 8, READER = 3, ME = 5, MS = 1000 };

static const struct checker_options options = {
    .ack_window_ns = 100 * 1000000UL,
    .ack_settle_ns = 300 * 1000000UL,
    .fault_grace_ns = 50 * 1000000UL,
};

static void story_begin(struct story *self)
{
    self->hands = (struct timesource_manual){.monotonic_us = 1000000};
    self->time = timesource_manual_make(&self->hands);
    self->history = history_new(&self->time);
}

static void story_wait(struct story *self, uint64_t ms)
{
    self->hands.monotonic_us += ms * MS;
}

static void publish(struct story *self, uint64_t counter, uint32_t count, enum outcome outcome,
                    uint64_t base)
{
    uint32_t batch = history_publish_begin(self->history, history_value(ME, counter), count);
    if (outcome != OUTCOME_OPEN) {
        history_publish_end(self->history, batch, outcome, base);
    }
}

/* See record number `counter` of ours at an offset. */
static void see(struct story *self, enum event_type type, uint64_t offset, uint64_t counter,
                uint32_t session, uint32_t attempt)
{
    struct buf payload = {0};
    history_payload_put(&payload, history_value(ME, counter), 40);
    if (type == EVENT_READ) {
        history_read(self->history, session, offset, buf_span(&payload));
    } else if (type == EVENT_FINAL) {
        history_final(self->history, offset, buf_span(&payload));
    } else {
        history_delivered(self->history, GROUP, session, offset, attempt, buf_span(&payload));
    }
    buf_release(&payload);
}

static void deliver(struct story *self, uint64_t offset, uint32_t session, uint32_t attempt)
{
    see(self, EVENT_DELIVERED, offset, offset, session, attempt);
}

/* The final read finds counters 1 to `count` at offsets 1 to `count`. */
static void final_of(struct story *self, uint64_t count)
{
    for (uint64_t i = 1; i <= count; i++) {
        see(self, EVENT_FINAL, i, i, 0, 0);
    }
    history_final_end(self->history, 1, count + 1);
}

/* The verdict must name exactly `rule`, at least once; RULE_COUNT: none. */
static void story_end(struct story *self, enum rule rule)
{
    struct verdict verdict;
    checker_run(self->history, &options, &verdict);
    for (int i = 0; i < RULE_COUNT; i++) {
        bool wanted = i == (int) rule;
        ck_assert_msg((verdict.found[i] > 0) == wanted, "%s: %s\n%s", rule_name((enum rule) i),
                      wanted ? "not found" : "found in error", buf_text(&verdict.text));
    }
    verdict_release(&verdict);
    history_destroy(&self->history);
}

/* --- good --- */

TEST(an_empty_history_is_good)
{
    struct story story;
    story_begin(&story);
    story_end(&story, RULE_COUNT);
}

TEST(publishing_reading_and_consuming_without_faults_is_good)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 3, OUTCOME_OK, 1);
    publish(&story, 4, 1, OUTCOME_OK, 4);
    for (uint64_t i = 1; i <= 4; i++) {
        see(&story, EVENT_READ, i, i, READER, 0);
        deliver(&story, i, MEMBER, 1);
        history_acked(story.history, GROUP, i, true);
    }
    history_drained(story.history, GROUP, 1, 4);
    final_of(&story, 4);
    story_end(&story, RULE_COUNT);
}

TEST(an_unknown_batch_may_be_there_or_not)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 2, OUTCOME_UNKNOWN, 0);
    publish(&story, 10, 2, OUTCOME_UNKNOWN, 0);
    final_of(&story, 2);
    story_end(&story, RULE_COUNT);
}

TEST(what_failed_may_be_absent)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_OK, 1);
    publish(&story, 2, 1, OUTCOME_FAIL, 0);
    final_of(&story, 1);
    story_end(&story, RULE_COUNT);
}

TEST(a_batch_of_unknown_outcome_sent_twice_may_be_there_twice)
{
    struct story story;
    story_begin(&story);
    uint32_t batch = history_publish_begin(story.history, history_value(ME, 1), 1);
    history_publish_again(story.history, batch);
    history_publish_end(story.history, batch, OUTCOME_UNKNOWN, 0);
    see(&story, EVENT_FINAL, 1, 1, 0, 0);
    see(&story, EVENT_FINAL, 2, 1, 0, 0);
    history_final_end(story.history, 1, 3);
    story_end(&story, RULE_COUNT);
}

TEST(a_nack_provokes_the_next_attempt)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_OK, 1);
    deliver(&story, 1, MEMBER, 1);
    history_nacked(story.history, GROUP, 1);
    deliver(&story, 1, OTHER, 2);
    final_of(&story, 1);
    story_end(&story, RULE_COUNT);
}

TEST(a_fault_excuses_redelivery_with_any_attempt)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_OK, 1);
    deliver(&story, 1, MEMBER, 1);
    story_wait(&story, 1000);
    history_fault_began(story.history);
    story_wait(&story, 10);
    history_fault_ended(story.history);
    story_wait(&story, 1000);
    deliver(&story, 1, OTHER, 1);
    final_of(&story, 1);
    story_end(&story, RULE_COUNT);
}

TEST(a_young_ack_may_be_forgotten_by_a_fault)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_OK, 1);
    deliver(&story, 1, MEMBER, 1);
    history_acked(story.history, GROUP, 1, false);
    story_wait(&story, 90);
    history_fault_began(story.history);
    history_fault_ended(story.history);
    deliver(&story, 1, OTHER, 2);
    final_of(&story, 1);
    story_end(&story, RULE_COUNT);
}

TEST(an_ack_answered_while_the_fault_is_on_may_be_forgotten)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_OK, 1);
    deliver(&story, 1, MEMBER, 1);
    history_fault_began(story.history);
    story_wait(&story, 5);
    history_acked(story.history, GROUP, 1, false);
    history_fault_ended(story.history);
    deliver(&story, 1, OTHER, 2);
    final_of(&story, 1);
    story_end(&story, RULE_COUNT);
}

TEST(a_posted_ack_may_be_lost_in_a_fault)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_OK, 1);
    deliver(&story, 1, MEMBER, 1);
    history_ack_posted(story.history, GROUP, 1);
    story_wait(&story, 200);
    history_fault_began(story.history);
    history_fault_ended(story.history);
    story_wait(&story, 1000);
    deliver(&story, 1, OTHER, 2);
    final_of(&story, 1);
    story_end(&story, RULE_COUNT);
}

/* --- bad: one for each rule --- */

TEST(a_publish_without_an_end_is_an_open_request)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_OPEN, 0);
    story_end(&story, RULE_OPEN_REQUEST);
}

TEST(a_value_nobody_published_is_a_phantom)
{
    struct story story;
    story_begin(&story);
    final_of(&story, 1);
    story_end(&story, RULE_PHANTOM);
}

TEST(a_damaged_payload_is_a_phantom)
{
    struct story story;
    struct buf payload = {0};
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_UNKNOWN, 0);
    history_payload_put(&payload, history_value(ME, 1), 40);
    payload.data[20] ^= 1;
    history_read(story.history, READER, 1, buf_span(&payload));
    buf_release(&payload);
    story_end(&story, RULE_PHANTOM);
}

TEST(what_certainly_failed_must_not_be_seen)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_FAIL, 0);
    final_of(&story, 1);
    story_end(&story, RULE_ABORTED_READ);
}

TEST(two_values_at_one_offset_are_inconsistent)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_UNKNOWN, 0);
    publish(&story, 2, 1, OUTCOME_UNKNOWN, 0);
    see(&story, EVENT_READ, 1, 1, READER, 0);
    see(&story, EVENT_READ, 1, 2, READER + 1, 0);
    story_end(&story, RULE_INCONSISTENT_OFFSET);
}

TEST(an_acknowledged_record_must_lie_at_its_offset)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_OK, 9);
    final_of(&story, 1);
    story_end(&story, RULE_WRONG_OFFSET);
}

TEST(an_acknowledged_record_must_be_in_the_final_read)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_OK, 1);
    publish(&story, 2, 1, OUTCOME_OK, 2);
    final_of(&story, 1);
    story_end(&story, RULE_LOST_WRITE);
}

TEST(what_was_seen_once_must_stay)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_UNKNOWN, 0);
    publish(&story, 2, 1, OUTCOME_UNKNOWN, 0);
    see(&story, EVENT_READ, 2, 2, READER, 0);
    final_of(&story, 1);
    story_end(&story, RULE_UNSTABLE_READ);
}

TEST(an_unknown_record_sent_once_must_not_be_there_twice)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_UNKNOWN, 0);
    see(&story, EVENT_FINAL, 1, 1, 0, 0);
    see(&story, EVENT_FINAL, 2, 1, 0, 0);
    history_final_end(story.history, 1, 3);
    story_end(&story, RULE_DUPLICATE);
}

TEST(half_a_batch_is_partial)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 3, OUTCOME_UNKNOWN, 0);
    final_of(&story, 2);
    story_end(&story, RULE_PARTIAL_BATCH);
}

TEST(a_batch_with_another_record_between_is_partial)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 2, OUTCOME_UNKNOWN, 0);
    publish(&story, 8, 1, OUTCOME_UNKNOWN, 0);
    see(&story, EVENT_FINAL, 1, 1, 0, 0);
    see(&story, EVENT_FINAL, 2, 8, 0, 0);
    see(&story, EVENT_FINAL, 3, 2, 0, 0);
    history_final_end(story.history, 1, 4);
    story_end(&story, RULE_PARTIAL_BATCH);
}

TEST(an_offset_left_out_by_the_final_read_is_a_gap)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_OK, 1);
    publish(&story, 3, 1, OUTCOME_OK, 3);
    see(&story, EVENT_FINAL, 1, 1, 0, 0);
    see(&story, EVENT_FINAL, 3, 3, 0, 0);
    history_final_end(story.history, 1, 4);
    story_end(&story, RULE_OFFSET_GAP);
}

TEST(a_final_read_that_ends_early_is_a_gap)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_OK, 1);
    see(&story, EVENT_FINAL, 1, 1, 0, 0);
    history_final_end(story.history, 1, 5);
    story_end(&story, RULE_OFFSET_GAP);
}

TEST(a_producers_records_must_keep_their_order)
{
    struct story story;
    story_begin(&story);
    publish(&story, 2, 1, OUTCOME_OK, 1);
    publish(&story, 1, 1, OUTCOME_OK, 2);
    story_end(&story, RULE_NONMONOTONIC_SEND);
}

TEST(a_reader_must_not_go_back)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 2, OUTCOME_OK, 1);
    see(&story, EVENT_READ, 1, 1, READER, 0);
    see(&story, EVENT_READ, 2, 2, READER, 0);
    see(&story, EVENT_READ, 1, 1, READER, 0);
    story_end(&story, RULE_NONMONOTONIC_POLL);
}

TEST(a_reader_must_not_skip)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 3, OUTCOME_OK, 1);
    see(&story, EVENT_READ, 1, 1, READER, 0);
    see(&story, EVENT_READ, 3, 3, READER, 0);
    see(&story, EVENT_READ, 2, 2, READER + 1, 0);
    story_end(&story, RULE_POLL_SKIP);
}

TEST(a_drained_group_must_have_been_given_everything)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 3, OUTCOME_OK, 1);
    deliver(&story, 1, MEMBER, 1);
    deliver(&story, 3, OTHER, 1);
    history_drained(story.history, GROUP, 1, 3);
    story_end(&story, RULE_CURSOR_SKIP);
}

TEST(a_sync_ack_is_never_forgotten)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_OK, 1);
    deliver(&story, 1, MEMBER, 1);
    history_acked(story.history, GROUP, 1, true);
    history_fault_began(story.history);
    history_fault_ended(story.history);
    deliver(&story, 1, OTHER, 2);
    story_end(&story, RULE_ACKED_REDELIVERY);
}

TEST(an_old_ack_is_not_forgotten)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_OK, 1);
    deliver(&story, 1, MEMBER, 1);
    history_acked(story.history, GROUP, 1, false);
    story_wait(&story, 101);
    history_fault_began(story.history);
    history_fault_ended(story.history);
    deliver(&story, 1, OTHER, 2);
    story_end(&story, RULE_ACKED_REDELIVERY);
}

TEST(a_posted_ack_that_had_settled_is_not_forgotten)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_OK, 1);
    deliver(&story, 1, MEMBER, 1);
    history_ack_posted(story.history, GROUP, 1);
    story_wait(&story, 301);
    history_fault_began(story.history);
    history_fault_ended(story.history);
    deliver(&story, 1, OTHER, 2);
    story_end(&story, RULE_ACKED_REDELIVERY);
}

TEST(redelivery_without_a_cause_is_unprovoked)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_OK, 1);
    deliver(&story, 1, MEMBER, 1);
    story_wait(&story, 10000);
    deliver(&story, 1, OTHER, 2);
    story_end(&story, RULE_UNPROVOKED);
}

TEST(a_fault_long_over_excuses_nothing)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_OK, 1);
    history_fault_began(story.history);
    history_fault_ended(story.history);
    story_wait(&story, 51);
    deliver(&story, 1, MEMBER, 1);
    story_wait(&story, 10);
    deliver(&story, 1, OTHER, 2);
    story_end(&story, RULE_UNPROVOKED);
}

TEST(an_attempt_counter_must_not_stand)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_OK, 1);
    deliver(&story, 1, MEMBER, 1);
    history_nacked(story.history, GROUP, 1);
    deliver(&story, 1, OTHER, 1);
    story_end(&story, RULE_WRONG_ATTEMPT);
}

TEST(an_attempt_counter_must_begin_at_one)
{
    struct story story;
    story_begin(&story);
    publish(&story, 1, 1, OUTCOME_OK, 1);
    deliver(&story, 1, MEMBER, 2);
    story_end(&story, RULE_WRONG_ATTEMPT);
}
