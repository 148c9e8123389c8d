/* Tests of the checker itself: short histories made by hand, good ones that must pass and, for each rule, a bad one that only this rule may catch. */
#include "tests/system/story.h"

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
    story_publish(&story, 1, 3, OUTCOME_OK, 1);
    story_publish(&story, 4, 1, OUTCOME_OK, 4);
    for (uint64_t i = 1; i <= 4; i++) {
        story_see(&story, EVENT_READ, i, i, READER, 0);
        story_deliver(&story, i, MEMBER, 1);
        history_acked(story.history, GROUP, i, true);
    }
    history_drained(story.history, GROUP, 1, 4);
    story_final(&story, 4);
    story_end(&story, RULE_COUNT);
}

TEST(an_unknown_batch_may_be_there_or_not)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 2, OUTCOME_UNKNOWN, 0);
    story_publish(&story, 10, 2, OUTCOME_UNKNOWN, 0);
    story_final(&story, 2);
    story_end(&story, RULE_COUNT);
}

TEST(what_failed_may_be_absent)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OK, 1);
    story_publish(&story, 2, 1, OUTCOME_FAIL, 0);
    story_final(&story, 1);
    story_end(&story, RULE_COUNT);
}

TEST(a_batch_of_unknown_outcome_sent_twice_may_be_there_twice)
{
    struct story story;
    story_begin(&story);
    uint32_t batch = history_publish_begin(story.history, history_value(ME, 1), 1);
    history_publish_again(story.history, batch);
    history_publish_end(story.history, batch, OUTCOME_UNKNOWN, 0);
    story_see(&story, EVENT_FINAL, 1, 1, 0, 0);
    story_see(&story, EVENT_FINAL, 2, 1, 0, 0);
    history_final_end(story.history, 1, 3);
    story_end(&story, RULE_COUNT);
}

TEST(a_nack_provokes_the_next_attempt)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OK, 1);
    story_deliver(&story, 1, MEMBER, 1);
    history_nacked(story.history, GROUP, 1);
    story_deliver(&story, 1, OTHER, 2);
    story_final(&story, 1);
    story_end(&story, RULE_COUNT);
}

TEST(a_fault_excuses_redelivery_with_any_attempt)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OK, 1);
    story_deliver(&story, 1, MEMBER, 1);
    story_wait(&story, 1000);
    history_fault_began(story.history);
    story_wait(&story, 10);
    history_fault_ended(story.history);
    story_wait(&story, 1000);
    story_deliver(&story, 1, OTHER, 1);
    story_final(&story, 1);
    story_end(&story, RULE_COUNT);
}

TEST(a_young_ack_may_be_forgotten_by_a_fault)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OK, 1);
    story_deliver(&story, 1, MEMBER, 1);
    history_acked(story.history, GROUP, 1, false);
    story_wait(&story, 90);
    history_fault_began(story.history);
    history_fault_ended(story.history);
    story_deliver(&story, 1, OTHER, 2);
    story_final(&story, 1);
    story_end(&story, RULE_COUNT);
}

TEST(an_ack_answered_while_the_fault_is_on_may_be_forgotten)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OK, 1);
    story_deliver(&story, 1, MEMBER, 1);
    history_fault_began(story.history);
    story_wait(&story, 5);
    history_acked(story.history, GROUP, 1, false);
    history_fault_ended(story.history);
    story_deliver(&story, 1, OTHER, 2);
    story_final(&story, 1);
    story_end(&story, RULE_COUNT);
}

/* Delivered before a fault, acknowledged behind it, when it was on its way to another. */
static void story_ack_behind_a_fault(struct story *story, uint64_t seen_after_ms)
{
    story_begin(story);
    story_publish(story, 1, 1, OUTCOME_OK, 1);
    story_deliver(story, 1, MEMBER, 1);
    history_fault_began(story->history);
    history_fault_ended(story->history);
    story_wait(story, 150);
    history_acked(story->history, GROUP, 1, true);
    story_wait(story, seen_after_ms);
    story_deliver(story, 1, OTHER, 2);
    story_final(story, 1);
}

TEST(what_is_acknowledged_behind_a_fault_may_be_on_its_way_to_another)
{
    struct story story;
    story_ack_behind_a_fault(&story, 100);
    story_end(&story, RULE_COUNT);
}

TEST(what_is_acknowledged_behind_a_fault_does_not_come_much_later)
{
    struct story story;
    story_ack_behind_a_fault(&story, 600);
    story_end(&story, RULE_ACKED_REDELIVERY);
}

TEST(a_posted_ack_may_be_lost_in_a_fault)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OK, 1);
    story_deliver(&story, 1, MEMBER, 1);
    history_ack_posted(story.history, GROUP, 1);
    story_wait(&story, 200);
    history_fault_began(story.history);
    history_fault_ended(story.history);
    story_wait(&story, 1000);
    story_deliver(&story, 1, OTHER, 2);
    story_final(&story, 1);
    story_end(&story, RULE_COUNT);
}

/* --- bad: one for each rule --- */

TEST(a_publish_without_an_end_is_an_open_request)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OPEN, 0);
    story_end(&story, RULE_OPEN_REQUEST);
}

TEST(a_value_nobody_published_is_a_phantom)
{
    struct story story;
    story_begin(&story);
    story_final(&story, 1);
    story_end(&story, RULE_PHANTOM);
}

TEST(a_damaged_payload_is_a_phantom)
{
    struct story story;
    struct buf payload = {0};
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_UNKNOWN, 0);
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
    story_publish(&story, 1, 1, OUTCOME_FAIL, 0);
    story_final(&story, 1);
    story_end(&story, RULE_ABORTED_READ);
}

TEST(two_values_at_one_offset_are_inconsistent)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_UNKNOWN, 0);
    story_publish(&story, 2, 1, OUTCOME_UNKNOWN, 0);
    story_see(&story, EVENT_READ, 1, 1, READER, 0);
    story_see(&story, EVENT_READ, 1, 2, READER + 1, 0);
    story_end(&story, RULE_INCONSISTENT_OFFSET);
}

TEST(an_acknowledged_record_must_lie_at_its_offset)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OK, 9);
    story_final(&story, 1);
    story_end(&story, RULE_WRONG_OFFSET);
}

TEST(an_acknowledged_record_must_be_in_the_final_read)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OK, 1);
    story_publish(&story, 2, 1, OUTCOME_OK, 2);
    story_final(&story, 1);
    story_end(&story, RULE_LOST_WRITE);
}

TEST(what_was_seen_once_must_stay)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_UNKNOWN, 0);
    story_publish(&story, 2, 1, OUTCOME_UNKNOWN, 0);
    story_see(&story, EVENT_READ, 2, 2, READER, 0);
    story_final(&story, 1);
    story_end(&story, RULE_UNSTABLE_READ);
}

TEST(an_unknown_record_sent_once_must_not_be_there_twice)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_UNKNOWN, 0);
    story_see(&story, EVENT_FINAL, 1, 1, 0, 0);
    story_see(&story, EVENT_FINAL, 2, 1, 0, 0);
    history_final_end(story.history, 1, 3);
    story_end(&story, RULE_DUPLICATE);
}

TEST(half_a_batch_is_partial)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 3, OUTCOME_UNKNOWN, 0);
    story_final(&story, 2);
    story_end(&story, RULE_PARTIAL_BATCH);
}

TEST(a_batch_with_another_record_between_is_partial)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 2, OUTCOME_UNKNOWN, 0);
    story_publish(&story, 8, 1, OUTCOME_UNKNOWN, 0);
    story_see(&story, EVENT_FINAL, 1, 1, 0, 0);
    story_see(&story, EVENT_FINAL, 2, 8, 0, 0);
    story_see(&story, EVENT_FINAL, 3, 2, 0, 0);
    history_final_end(story.history, 1, 4);
    story_end(&story, RULE_PARTIAL_BATCH);
}

TEST(an_offset_left_out_by_the_final_read_is_a_gap)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OK, 1);
    story_publish(&story, 3, 1, OUTCOME_OK, 3);
    story_see(&story, EVENT_FINAL, 1, 1, 0, 0);
    story_see(&story, EVENT_FINAL, 3, 3, 0, 0);
    history_final_end(story.history, 1, 4);
    story_end(&story, RULE_OFFSET_GAP);
}

TEST(a_final_read_that_ends_early_is_a_gap)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OK, 1);
    story_see(&story, EVENT_FINAL, 1, 1, 0, 0);
    history_final_end(story.history, 1, 5);
    story_end(&story, RULE_OFFSET_GAP);
}

TEST(a_producers_records_must_keep_their_order)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 2, 1, OUTCOME_OK, 1);
    story_publish(&story, 1, 1, OUTCOME_OK, 2);
    story_end(&story, RULE_NONMONOTONIC_SEND);
}

TEST(a_reader_must_not_go_back)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 2, OUTCOME_OK, 1);
    story_see(&story, EVENT_READ, 1, 1, READER, 0);
    story_see(&story, EVENT_READ, 2, 2, READER, 0);
    story_see(&story, EVENT_READ, 1, 1, READER, 0);
    story_end(&story, RULE_NONMONOTONIC_POLL);
}

TEST(a_reader_must_not_skip)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 3, OUTCOME_OK, 1);
    story_see(&story, EVENT_READ, 1, 1, READER, 0);
    story_see(&story, EVENT_READ, 3, 3, READER, 0);
    story_see(&story, EVENT_READ, 2, 2, READER + 1, 0);
    story_end(&story, RULE_POLL_SKIP);
}

TEST(a_drained_group_must_have_been_given_everything)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 3, OUTCOME_OK, 1);
    story_deliver(&story, 1, MEMBER, 1);
    story_deliver(&story, 3, OTHER, 1);
    history_drained(story.history, GROUP, 1, 3);
    story_end(&story, RULE_CURSOR_SKIP);
}

TEST(a_sync_ack_is_never_forgotten)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OK, 1);
    story_deliver(&story, 1, MEMBER, 1);
    history_acked(story.history, GROUP, 1, true);
    history_fault_began(story.history);
    history_fault_ended(story.history);
    story_deliver(&story, 1, OTHER, 2);
    story_end(&story, RULE_ACKED_REDELIVERY);
}

TEST(an_old_ack_is_not_forgotten)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OK, 1);
    story_deliver(&story, 1, MEMBER, 1);
    history_acked(story.history, GROUP, 1, false);
    story_wait(&story, 101);
    history_fault_began(story.history);
    history_fault_ended(story.history);
    story_deliver(&story, 1, OTHER, 2);
    story_end(&story, RULE_ACKED_REDELIVERY);
}

TEST(a_posted_ack_that_had_settled_is_not_forgotten)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OK, 1);
    story_deliver(&story, 1, MEMBER, 1);
    history_ack_posted(story.history, GROUP, 1);
    story_wait(&story, 301);
    history_fault_began(story.history);
    history_fault_ended(story.history);
    story_deliver(&story, 1, OTHER, 2);
    story_end(&story, RULE_ACKED_REDELIVERY);
}

TEST(redelivery_without_a_cause_is_unprovoked)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OK, 1);
    story_deliver(&story, 1, MEMBER, 1);
    story_wait(&story, 10000);
    story_deliver(&story, 1, OTHER, 2);
    story_end(&story, RULE_UNPROVOKED);
}

TEST(a_fault_long_over_excuses_nothing)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OK, 1);
    history_fault_began(story.history);
    history_fault_ended(story.history);
    story_wait(&story, 51);
    story_deliver(&story, 1, MEMBER, 1);
    story_wait(&story, 10);
    story_deliver(&story, 1, OTHER, 2);
    story_end(&story, RULE_UNPROVOKED);
}

TEST(an_attempt_counter_must_not_stand)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OK, 1);
    story_deliver(&story, 1, MEMBER, 1);
    history_nacked(story.history, GROUP, 1);
    story_deliver(&story, 1, OTHER, 1);
    story_end(&story, RULE_WRONG_ATTEMPT);
}

TEST(an_attempt_counter_must_begin_at_one)
{
    struct story story;
    story_begin(&story);
    story_publish(&story, 1, 1, OUTCOME_OK, 1);
    story_deliver(&story, 1, MEMBER, 2);
    story_end(&story, RULE_WRONG_ATTEMPT);
}
