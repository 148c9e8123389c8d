/* Tests of the checker's rules about message IDs, delays, exclusive groups, dead letters and gaps: good histories, and for each rule a bad one. */
#include "tests/system/story.h"

enum { EPOCH = 4 };

static void deliver_in(struct story *self, uint64_t epoch, uint64_t offset, uint32_t session,
                       uint32_t attempt)
{
    struct buf payload = {0};
    history_payload_put(&payload, history_value(ME, offset), 40);
    history_delivered_in(self->history, GROUP, session, epoch, offset, attempt, buf_span(&payload));
    buf_release(&payload);
}

static void die(struct story *self, uint64_t offset, uint64_t counter)
{
    struct buf payload = {0};
    history_payload_put(&payload, history_value(ME, counter), 40);
    history_dead(self->history, GROUP, offset, buf_span(&payload));
    buf_release(&payload);
}

/* Three records; the group is exclusive and strict, with dead letters after two failures. */
static void strict_begin(struct story *self)
{
    story_begin(self);
    story_publish(self, 1, 3, OUTCOME_OK, 1);
    history_group(self->history,
                  &(struct group_facts){.group = GROUP, .is_strict = true, .max_failed = 2});
}

static void ack_in(struct story *self, uint64_t epoch, uint64_t offset)
{
    uint64_t began_ns = history_ack_began(self->history, GROUP, epoch, offset);
    story_wait(self, 1);
    history_acked_in(self->history, GROUP, epoch, offset, true, began_ns);
}

/* --- message IDs --- */

/* Sent twice with IDs, and the second answer said that it was there. */
static void publish_twice(struct story *self, enum outcome outcome, uint64_t base)
{
    uint32_t batch = history_publish_begin(self->history, history_value(ME, 1), 1);
    history_publish_ids(self->history, batch);
    history_publish_again(self->history, batch);
    if (outcome == OUTCOME_OK) {
        history_publish_duplicate(self->history, batch);
    }
    history_publish_end(self->history, batch, outcome, base);
}

TEST(a_retry_with_an_id_that_is_stored_once_is_good)
{
    struct story story;
    story_begin(&story);
    publish_twice(&story, OUTCOME_OK, 1);
    story_final(&story, 1);
    story_end(&story, RULE_COUNT);
}

TEST(a_retry_with_an_id_must_not_be_stored_twice)
{
    struct story story;
    story_begin(&story);
    publish_twice(&story, OUTCOME_UNKNOWN, 0);
    story_see(&story, EVENT_FINAL, 1, 1, 0, 0);
    story_see(&story, EVENT_FINAL, 2, 1, 0, 0);
    history_final_end(story.history, 1, 3);
    story_end(&story, RULE_DUPLICATE);
}

TEST(what_is_called_a_duplicate_must_be_there)
{
    struct story story;
    story_begin(&story);
    publish_twice(&story, OUTCOME_OK, 1);
    history_final_end(story.history, 1, 1);
    story_end(&story, RULE_FALSE_DUPLICATE);
}

/* --- delays --- */

static void nack_for(struct story *self, uint64_t delay_ms)
{
    story_publish(self, 1, 1, OUTCOME_OK, 1);
    story_deliver(self, 1, MEMBER, 1);
    history_nacked_for(self->history, GROUP, 0, 1, delay_ms);
    history_nack_kept(self->history, GROUP, 1);
}

TEST(a_delayed_message_that_comes_when_it_is_due_is_good)
{
    struct story story;
    story_begin(&story);
    nack_for(&story, 500);
    history_fault_began(story.history);
    history_fault_ended(story.history);
    story_wait(&story, 495);
    story_deliver(&story, 1, OTHER, 2);
    history_nacked_for(story.history, GROUP, 0, 1, 500);
    story_wait(&story, 1499);
    story_deliver(&story, 1, OTHER, 3);
    story_end(&story, RULE_COUNT);
}

TEST(a_durable_delay_holds_through_a_fault)
{
    struct story story;
    story_begin(&story);
    nack_for(&story, 500);
    history_fault_began(story.history);
    history_fault_ended(story.history);
    story_wait(&story, 480);
    story_deliver(&story, 1, OTHER, 2);
    story_end(&story, RULE_TOO_EARLY);
}

TEST(a_nack_that_was_not_answered_may_be_lost_in_a_fault)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OK, 1);
    story_deliver(&story, 1, MEMBER, 1);
    history_nacked_for(story.history, GROUP, 0, 1, 500);
    history_fault_began(story.history);
    history_fault_ended(story.history);
    story_wait(&story, 20);
    story_deliver(&story, 1, OTHER, 2);
    story_end(&story, RULE_COUNT);
}

TEST(a_delayed_message_must_come_within_a_second)
{
    struct story story;
    story_begin(&story);
    nack_for(&story, 500);
    story_wait(&story, 1501);
    story_deliver(&story, 1, OTHER, 2);
    story_end(&story, RULE_TOO_LATE);
}

TEST(what_came_before_a_fault_may_be_looked_at_late)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OK, 1);
    history_fault_began(story.history);
    history_fault_ended(story.history);
    story_deliver(&story, 1, OTHER, 2);
    history_acked(story.history, GROUP, 1, true);
    story_deliver(&story, 1, MEMBER, 1);
    story_end(&story, RULE_COUNT);
}

/* --- exclusive groups --- */

TEST(a_new_owner_that_goes_on_at_the_lowest_unacknowledged_is_good)
{
    struct story story;
    strict_begin(&story);
    deliver_in(&story, EPOCH, 1, MEMBER, 1);
    deliver_in(&story, EPOCH, 2, MEMBER, 1);
    ack_in(&story, EPOCH, 1);
    history_fault_began(story.history);
    history_fault_ended(story.history);
    deliver_in(&story, EPOCH + 1, 2, OTHER, 2);
    deliver_in(&story, EPOCH, 3, MEMBER, 1); /* it was on its way */
    deliver_in(&story, EPOCH + 1, 3, OTHER, 2);
    ack_in(&story, EPOCH + 1, 2);
    story_end(&story, RULE_COUNT);
}

TEST(a_strict_group_rewinds_after_a_nack)
{
    struct story story;
    strict_begin(&story);
    deliver_in(&story, EPOCH, 1, MEMBER, 1);
    deliver_in(&story, EPOCH, 2, MEMBER, 1);
    history_nacked(story.history, GROUP, 1);
    history_rewound(story.history, GROUP, EPOCH, 1);
    deliver_in(&story, EPOCH, 1, MEMBER, 2);
    deliver_in(&story, EPOCH, 2, MEMBER, 2);
    deliver_in(&story, EPOCH, 3, MEMBER, 1);
    story_end(&story, RULE_COUNT);
}

TEST(a_nack_of_who_was_replaced_rewinds_nothing)
{
    struct story story;
    strict_begin(&story);
    deliver_in(&story, EPOCH, 1, MEMBER, 1);
    history_fault_began(story.history);
    history_fault_ended(story.history);
    deliver_in(&story, EPOCH + 1, 1, OTHER, 2);
    deliver_in(&story, EPOCH + 1, 2, OTHER, 1);
    history_nacked_for(story.history, GROUP, EPOCH, 1, 0);
    history_rewound(story.history, GROUP, EPOCH, 1);
    deliver_in(&story, EPOCH + 1, 1, OTHER, 3);
    story_end(&story, RULE_ORDER_IN_GROUP);
}

TEST(an_ack_sent_after_another_took_over_must_be_refused)
{
    struct story story;
    strict_begin(&story);
    deliver_in(&story, EPOCH, 1, MEMBER, 1);
    history_fault_began(story.history);
    history_fault_ended(story.history);
    deliver_in(&story, EPOCH + 1, 1, OTHER, 2);
    story_wait(&story, 1);
    ack_in(&story, EPOCH, 1);
    story_end(&story, RULE_STALE_ACK);
}

TEST(an_ack_sent_before_another_took_over_may_be_answered_after)
{
    struct story story;
    strict_begin(&story);
    deliver_in(&story, EPOCH, 1, MEMBER, 1);
    uint64_t began_ns = history_ack_began(story.history, GROUP, EPOCH, 1);
    story_wait(&story, 1);
    deliver_in(&story, EPOCH + 1, 2, OTHER, 1);
    history_acked_in(story.history, GROUP, EPOCH, 1, true, began_ns);
    story_end(&story, RULE_COUNT);
}

TEST(an_epoch_has_one_owner)
{
    struct story story;
    strict_begin(&story);
    deliver_in(&story, EPOCH, 1, MEMBER, 1);
    deliver_in(&story, EPOCH, 2, OTHER, 1);
    story_end(&story, RULE_TWO_OWNERS);
}

TEST(a_strict_group_must_not_skip)
{
    struct story story;
    strict_begin(&story);
    deliver_in(&story, EPOCH, 1, MEMBER, 1);
    deliver_in(&story, EPOCH, 3, MEMBER, 1);
    story_end(&story, RULE_ORDER_IN_GROUP);
}

TEST(a_new_owner_must_not_skip_either)
{
    struct story story;
    strict_begin(&story);
    deliver_in(&story, EPOCH, 1, MEMBER, 1);
    deliver_in(&story, EPOCH + 1, 3, OTHER, 1);
    story_end(&story, RULE_ORDER_IN_GROUP);
}

/* --- dead letters, gaps --- */

static void fail_twice(struct story *self, uint64_t offset)
{
    deliver_in(self, EPOCH, offset, MEMBER, 1);
    history_nacked(self->history, GROUP, offset);
    history_rewound(self->history, GROUP, EPOCH, offset);
    deliver_in(self, EPOCH, offset, MEMBER, 2);
    history_nacked(self->history, GROUP, offset);
    history_rewound(self->history, GROUP, EPOCH, offset);
}

TEST(a_message_that_failed_often_enough_and_is_dead_once_is_good)
{
    struct story story;
    strict_begin(&story);
    fail_twice(&story, 1);
    deliver_in(&story, EPOCH, 2, MEMBER, 1);
    ack_in(&story, EPOCH, 2);
    history_gap(story.history, GROUP, 3, 3);
    die(&story, 1, 1);
    history_drained(story.history, GROUP, 1, 3);
    story_end(&story, RULE_COUNT);
}

TEST(a_message_dies_once)
{
    struct story story;
    strict_begin(&story);
    fail_twice(&story, 1);
    die(&story, 1, 1);
    die(&story, 1, 1);
    story_end(&story, RULE_DEAD_TWICE);
}

TEST(what_is_acknowledged_does_not_die)
{
    struct story story;
    strict_begin(&story);
    fail_twice(&story, 1);
    deliver_in(&story, EPOCH, 1, MEMBER, 3);
    ack_in(&story, EPOCH, 1);
    die(&story, 1, 1);
    story_end(&story, RULE_DEAD_AND_ACKED);
}

TEST(a_message_must_fail_so_often_before_it_dies)
{
    struct story story;
    strict_begin(&story);
    deliver_in(&story, EPOCH, 1, MEMBER, 1);
    history_nacked(story.history, GROUP, 1);
    die(&story, 1, 1);
    story_end(&story, RULE_DEAD_TOO_SOON);
}

TEST(a_dead_letter_is_the_record_at_its_offset)
{
    struct story story;
    strict_begin(&story);
    fail_twice(&story, 1);
    die(&story, 1, 2);
    story_end(&story, RULE_DEAD_PAYLOAD);
}

TEST(nothing_is_settled_by_itself)
{
    struct story story;
    strict_begin(&story);
    deliver_in(&story, EPOCH, 1, MEMBER, 1);
    ack_in(&story, EPOCH, 1);
    deliver_in(&story, EPOCH, 2, MEMBER, 1);
    history_drained(story.history, GROUP, 1, 2);
    story_end(&story, RULE_SETTLED_UNASKED);
}

TEST(a_gap_must_be_one)
{
    struct story story;
    strict_begin(&story);
    history_gap(story.history, GROUP, 1, 2);
    story_see(&story, EVENT_FINAL, 2, 2, 0, 0);
    story_see(&story, EVENT_FINAL, 3, 3, 0, 0);
    story_see(&story, EVENT_READ, 1, 1, READER, 0);
    story_see(&story, EVENT_FINAL, 1, 1, 0, 0);
    history_final_end(story.history, 1, 4);
    story_end(&story, RULE_FALSE_GAP);
}
