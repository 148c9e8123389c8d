/* The groups of a stream, from the requests that come over the bus to what goes out and into the log. */
#include "logd/groups.h"

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "logd/kinds.h"
#include "tests/lib/test.h"
#include "tests/unit/logd_groups/talk.h"

TEST(a_group_is_opened_by_an_entry_and_then_delivered_to)
{
    fake_start();
    talk_publish(100);
    talk_attach(&talk_front, 5, (struct talk_want){.messages = 10});
    fake_turn();
    talk_expect_silence(); /* not before the entry is committed */
    ck_assert_uint_eq(fake_entries(), 1);
    ck_assert_uint_eq(fake.log[0].kind, LOG_KIND_GROUP);
    fake_settle();
    struct span ok = talk_expect_reply(0);
    ck_assert_uint_eq(fake_number(ok, 1), 1);
    ck_assert_uint_eq(fake_number(ok, 3), 1);
    ck_assert_uint_eq(fake_number(ok, 4), 0);
    ck_assert_uint_eq(fake_number(ok, 5), 0);
    ck_assert_uint_eq(fake_number(ok, 6), 101);
    ck_assert_uint_eq(fake_bytes(ok, 9).size, 16);
    struct span meta = talk_expect_deliver(&talk_front, 5, 1, 10);
    Railgun__Deliver *deliver = railgun__deliver__unpack(NULL, meta.size, meta.data);
    ck_assert_ptr_nonnull(deliver);
    ck_assert_uint_eq(deliver->n_redelivered, 0);
    ck_assert_uint_eq(deliver->n_times, 1);
    ck_assert_uint_eq(deliver->times[0]->ts_us, 1000);
    railgun__deliver__free_unpacked(deliver, NULL);
    talk_expect_silence();
    fake_stop();
}

TEST(a_second_consumer_finds_the_position_and_its_start_is_ignored)
{
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    talk_attach(&talk_other, 5,
                (struct talk_want){.messages = 5, .at = RAILGUN__START__AT__AT_LATEST});
    struct span ok = talk_expect_reply(0); /* no entry is needed */
    ck_assert_uint_eq(fake_number(ok, 1), 2);
    ck_assert_uint_eq(fake_number(ok, 3), 0);
    ck_assert_uint_eq(fake_number(ok, 4), 1);
    fake_settle();
    (void) talk_expect_deliver(&talk_other, 5, 11, 5);
    ck_assert_uint_eq(fake_entries(), 1);
    talk_attach(&talk_other, 5, (struct talk_want){0});
    (void) talk_expect_reply(ERR_BAD_REQUEST); /* the consumer id is taken */
    fake_stop();
}

TEST(consumers_that_come_together_share_one_entry)
{
    fake_start();
    talk_publish(100);
    talk_attach(&talk_front, 1, (struct talk_want){.messages = 3});
    talk_attach(&talk_front, 2,
                (struct talk_want){.messages = 3, .at = RAILGUN__START__AT__AT_LATEST});
    fake_settle();
    ck_assert_uint_eq(fake_number(talk_expect_reply(0), 3), 1);
    struct span second = talk_expect_reply(0);
    ck_assert_uint_eq(fake_number(second, 3), 0);
    ck_assert_uint_eq(fake_number(second, 4), 1);
    (void) talk_expect_deliver(&talk_front, 1, 1, 3);
    (void) talk_expect_deliver(&talk_front, 2, 4, 3);
    ck_assert_uint_eq(fake_entries(), 1);
    fake_stop();
}

TEST(a_start_out_of_range_says_what_there_is)
{
    fake_start();
    talk_publish(100);
    fake.stream.first = 40;
    talk_attach(&talk_front, 5,
                (struct talk_want){.at = RAILGUN__START__AT__AT_OFFSET, .offset = 7});
    struct span error = talk_expect_reply(ERR_OUT_OF_RANGE);
    ck_assert_uint_eq(fake_number(error, 1), 416);
    ck_assert_uint_eq(fake_number(error, 5), 101);
    ck_assert_uint_eq(fake_number(error, 6), 40);
    talk_attach(
        &talk_front, 5,
        (struct talk_want){.at = RAILGUN__START__AT__AT_LAST_N, .offset = 2, .messages = 9});
    fake_settle();
    ck_assert_uint_eq(fake_number(talk_expect_reply(0), 4), 0); /* its start counted */
    (void) talk_expect_deliver(&talk_front, 5, 99, 2);
    fake_stop();
}

TEST(a_malformed_attach_is_refused)
{
    fake_start();
    struct bus_message in =
        fake_message(RAILGUN__BUS_TYPE__BUS_LOG_ATTACH, 1024, span_make("\x0a", 1), true);
    groups_handle_attach(fake.stream.groups, &talk_front, &in);
    (void) talk_expect_reply(ERR_BAD_REQUEST);
    in.meta = span_make(NULL, 0);
    groups_handle_attach(fake.stream.groups, &talk_front, &in);
    (void) talk_expect_reply(ERR_BAD_REQUEST);
    fake_stop();
}

TEST(acknowledgements_are_batched_and_sync_ones_are_not)
{
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    talk_ack(&talk_front, 5, 1, 4, false);
    ck_assert_uint_eq(talk_expect_reply(0).size, 0);
    fake_turn();
    ck_assert_uint_eq(fake_entries(), 1); /* it waits for company */
    ck_assert_uint_eq(fake.flush_at, fake.now_ms + 10);
    fake.now_ms += 10;
    fake_turn();
    ck_assert_uint_eq(fake_entries(), 2);
    ck_assert_uint_eq(fake.log[1].kind, LOG_KIND_ACKS);
    talk_ack(&talk_front, 5, 5, 5, true);
    fake_turn();
    ck_assert_uint_eq(fake_entries(), 3);
    talk_expect_silence();
    fake_settle();
    ck_assert_uint_eq(talk_expect_reply(0).size, 0);
    /* Nothing new, but durable: the answer comes at once. */
    talk_ack(&talk_front, 5, 5, 5, true);
    ck_assert_uint_eq(fake_number(fake_bytes(talk_expect_reply(0), 1), 3), 201);
    ck_assert_uint_eq(fake_counter("railgun_group_acked_records_total"), 5);
    fake_stop();
}

TEST(a_sync_repeat_waits_for_the_entry_under_way)
{
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    talk_ack(&talk_front, 5, 1, 4, true);
    fake_turn();
    talk_ack(&talk_front, 5, 1, 4, true);
    fake_turn();
    talk_expect_silence();
    fake_settle();
    ck_assert_uint_eq(talk_expect_reply(0).size, 0);
    ck_assert_uint_eq(fake_number(fake_bytes(talk_expect_reply(0), 1), 3), 201);
    ck_assert_uint_eq(fake_entries(), 2);
    fake_stop();
}

TEST(a_full_disk_fails_sync_acknowledgements_and_keeps_the_rest)
{
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    fake.propose_error = ERR_STORAGE_FULL;
    talk_ack(&talk_front, 5, 1, 4, false);
    (void) talk_expect_reply(0);
    talk_ack(&talk_front, 5, 5, 6, true);
    fake_turn();
    (void) talk_expect_reply(ERR_STORAGE_FULL);
    ck_assert_uint_eq(fake_entries(), 1);
    fake.propose_error = 0;
    fake_settle();
    ck_assert_uint_eq(fake_entries(), 2);
    fake_restart(fake.log_count);
    ck_assert_uint_eq(talk_info(5), 6);
    fake_stop();
}

TEST(a_nack_comes_back_with_its_attempt)
{
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    talk_nack(&talk_front, 5, 3, 0, false);
    ck_assert_uint_eq(talk_expect_reply(0).size, 0);
    talk_credit(&talk_front, 5, 1, FAKE_RECORD);
    fake_turn();
    struct span again = fake_bytes(talk_expect_deliver(&talk_front, 5, 3, 1), 5);
    ck_assert_uint_eq(fake_number(again, 1), 3);
    ck_assert_uint_eq(fake_number(again, 2), 3);
    ck_assert_uint_eq(fake_number(again, 3), 2);
    ck_assert_uint_eq(fake_number(again, 4), 1);
    ck_assert_uint_eq(fake_counter("railgun_group_redelivered_records_total"), 1);
    ck_assert_uint_eq(fake_counter("railgun_group_nacked_records_total"), 1);
    fake_stop();
}

TEST(a_nack_with_a_delay_comes_back_when_it_is_due)
{
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    talk_credit(&talk_front, 5, 1, FAKE_RECORD);
    talk_nack(&talk_front, 5, 3, 1000, false);
    (void) talk_expect_reply(0);
    fake_turn();
    uint64_t due = fake.now_ms + 1000;
    (void) talk_expect_deliver(&talk_front, 5, 11, 1); /* others go on */
    talk_credit(&talk_front, 5, 1, FAKE_RECORD);
    fake.now_ms = due - 1;
    fake_turn();
    (void) talk_expect_deliver(&talk_front, 5, 12, 1);
    talk_credit(&talk_front, 5, 1, FAKE_RECORD);
    fake_turn();
    (void) talk_expect_deliver(&talk_front, 5, 13, 1);
    talk_credit(&talk_front, 5, 1, FAKE_RECORD);
    fake_turn();
    (void) talk_expect_deliver(&talk_front, 5, 14, 1);
    fake.now_ms = due;
    talk_credit(&talk_front, 5, 1, FAKE_RECORD);
    fake_turn();
    (void) talk_expect_deliver(&talk_front, 5, 3, 1);
    talk_expect_silence();
    fake_stop();
}

TEST(what_is_rejected_in_a_group_without_dead_letters_stays_with_the_consumer)
{
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    talk_nack(&talk_front, 5, 4, 0, true);
    ck_assert_uint_eq(fake_number(fake_bytes(talk_expect_reply(0), 1), 3), -ERR_BAD_CONFIG);
    talk_ack(&talk_front, 5, 3, 4, false);
    ck_assert_uint_eq(talk_expect_reply(0).size, 0); /* it stayed with the consumer */
    fake_stop();
}

/* Nobody hears of the error: it must not stay with a consumer that believes to be rid of it. */
TEST(an_unanswered_rejection_without_dead_letters_is_a_nack_after_the_back_off)
{
    talk_begin(1);
    (void) talk_expect_deliver(&talk_front, 5, 1, 1);
    talk_reject_unanswered(&talk_front, 5, 1);
    fake_turn();
    ck_assert_uint_eq(fake_counter("railgun_group_nacked_records_total"), 1);
    talk_credit(&talk_front, 5, 2, 2 * FAKE_RECORD);
    fake_turn();
    (void) talk_expect_deliver(&talk_front, 5, 2, 2); /* not at once */
    talk_credit(&talk_front, 5, 1, FAKE_RECORD);
    fake.now_ms += 1200; /* the first back-off, and a tenth */
    fake_turn();
    struct span again = fake_bytes(talk_expect_deliver(&talk_front, 5, 1, 1), 5);
    ck_assert_uint_eq(fake_number(again, 3), 2);
    ck_assert_uint_eq(fake_number(again, 4), 1);
    fake_stop();
}

TEST(a_detached_consumer_gives_back_what_it_had)
{
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    talk_attach(&talk_other, 8, (struct talk_want){.messages = 20});
    (void) talk_expect_reply(0);
    fake_settle();
    (void) talk_expect_deliver(&talk_other, 8, 11, 20);
    talk_credit(&talk_other, 8, 100, 100 * FAKE_RECORD);
    fake_settle();
    (void) talk_expect_deliver(&talk_other, 8, 31, 70);
    talk_detach(&talk_front, 5, true);
    (void) talk_expect_reply(0);
    ck_assert_ptr_null(members_find(fake.members, &talk_front, 5));
    fake_settle();
    struct span again = fake_bytes(talk_expect_deliver(&talk_other, 8, 1, 10), 5);
    ck_assert_uint_eq(fake_number(again, 2), 10);
    ck_assert_uint_eq(fake_number(again, 4), 1);
    talk_detach(&talk_other, 8, false);
    (void) talk_expect_reply(0);
    talk_attach(&talk_front, 6, (struct talk_want){.messages = 4});
    (void) talk_expect_reply(0);
    talk_credit(&talk_front, 6, 6, 0); /* bytes for 4 of 10 messages */
    fake_settle();
    again = fake_bytes(talk_expect_deliver(&talk_front, 6, 1, 4), 5);
    ck_assert_uint_eq(fake_number(again, 2), 4); /* no more than the page */
    ck_assert_uint_eq(fake_number(again, 3), 3);
    ck_assert_uint_eq(fake_number(again, 4), 1);
    fake_stop();
}

TEST(a_dead_frontd_counts_nothing_as_failed)
{
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    talk_attach(&talk_front, 6, (struct talk_want){.messages = 0});
    (void) talk_expect_reply(0);
    talk_attach(&talk_other, 8, (struct talk_want){.messages = 20, .group = 99});
    groups_link_down(fake.stream.groups, &talk_other); /* while its group is being opened */
    groups_link_down(fake.stream.groups, &talk_front);
    ck_assert_ptr_null(members_find(fake.members, &talk_front, 5));
    ck_assert_ptr_null(members_find(fake.members, &talk_front, 6));
    fake_settle();
    talk_expect_silence();
    talk_attach(&talk_other, 8, (struct talk_want){.messages = 20});
    (void) talk_expect_reply(0);
    fake_settle();
    struct span again = fake_bytes(talk_expect_deliver(&talk_other, 8, 1, 10), 5);
    ck_assert_uint_eq(fake_number(again, 3), 2);
    ck_assert_uint_eq(fake_number(again, 4), 0);
    (void) talk_expect_deliver(&talk_other, 8, 11, 10);
    fake_stop();
}

TEST(a_group_may_rest_although_what_it_had_to_say_was_trimmed)
{
    talk_begin(10);
    fake_turn();
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    fake_settle();
    talk_ack(&talk_front, 5, 1, 10, false); /* waits for more of them */
    fake.stream.first = 101;
    groups_trim(fake.stream.groups, 101);
    talk_detach(&talk_front, 5, false);
    fake_settle();
    while (fake_next() != NULL) {
    }
    ck_assert_uint_eq(talk_info(5), 100);
    fake_stop();
}

TEST(a_full_link_holds_its_consumers_back_and_no_others)
{
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    talk_attach(&talk_other, 8, (struct talk_want){.messages = 10});
    (void) talk_expect_reply(0);
    fake_settle();
    (void) talk_expect_deliver(&talk_other, 8, 11, 10);
    talk_front.is_full = true;
    talk_credit(&talk_front, 5, 5, 5 * FAKE_RECORD);
    unsigned reads = fake.stream.reads;
    fake_settle();
    ck_assert_uint_eq(fake.stream.reads, reads + 1);
    talk_expect_silence();
    talk_credit(&talk_other, 8, 5, 5 * FAKE_RECORD);
    fake_settle();
    ck_assert_uint_eq(fake.stream.reads, reads + 2); /* the full link is not tried again */
    (void) talk_expect_deliver(&talk_other, 8, 21, 5);
    talk_front.is_full = false;
    groups_link_ready(fake.stream.groups, &talk_front);
    fake_settle();
    (void) talk_expect_deliver(&talk_front, 5, 26, 5);
    fake_stop();
}

TEST(a_record_larger_than_the_credit_waits_for_it)
{
    fake_start();
    fake.stream.large = 3;
    talk_publish(5);
    talk_attach(&talk_front, 5, (struct talk_want){.messages = 10});
    fake_settle();
    (void) talk_expect_reply(0);
    (void) talk_expect_deliver(&talk_front, 5, 1, 2);
    talk_expect_silence(); /* 800 bytes of credit, 10,000 to come */
    talk_credit(&talk_front, 5, 0, 9200);
    fake_settle();
    (void) talk_expect_deliver(&talk_front, 5, 3, 1);
    talk_expect_silence();
    talk_credit(&talk_front, 5, 0, 1);
    talk_ack(&talk_front, 5, 1, 3, false);
    (void) talk_expect_reply(0);
    fake_settle();
    /* it holds nothing: one record, however small the credit */
    (void) talk_expect_deliver(&talk_front, 5, 4, 1);
    talk_expect_silence();
    fake_stop();
}

TEST(damaged_records_are_told_and_skipped)
{
    fake_start();
    fake.stream.corrupt_first = 4;
    fake.stream.corrupt_last = 6;
    talk_publish(10);
    talk_attach(&talk_front, 5, (struct talk_want){.messages = 20});
    fake_settle();
    (void) talk_expect_reply(0);
    (void) talk_expect_deliver(&talk_front, 5, 1, 3);
    const struct fake_sent *event = talk_expect_event(RAILGUN__BUS_TYPE__BUS_LOG_EVENT, 5);
    ck_assert_uint_eq(fake_number(buf_span(&event->meta), 1),
                      RAILGUN__GROUP_EVENT__TYPE__EVENT_CORRUPT);
    ck_assert_uint_eq(fake_number(fake_bytes(buf_span(&event->meta), 2), 1), 4);
    ck_assert_uint_eq(fake_number(fake_bytes(buf_span(&event->meta), 2), 2), 6);
    (void) talk_expect_deliver(&talk_front, 5, 7, 4);
    talk_ack(&talk_front, 5, 1, 10, false);
    ck_assert_uint_eq(fake_number(fake_bytes(talk_expect_reply(0), 1), 3), 405);
    fake_settle();
    ck_assert_uint_eq(talk_info(5), 3); /* the floor stays below the damage */
    ck_assert_uint_eq(talk_info(15), 3);
    ck_assert_uint_eq(talk_info(11), 3);
    fake_stop();
}

TEST(a_group_with_too_many_holes_says_so_once)
{
    fake_start();
    talk_publish(10);
    struct buf spec = {0};
    pb_append_varint(&spec, 4, 2);
    struct buf meta = {0};
    pb_append_varint(&meta, 1, 5);
    pb_append_varint(&meta, 2, FAKE_GROUP);
    pb_append_bytes(&meta, 3, span_of("workers"));
    pb_append_bytes(&meta, 4, buf_span(&spec));
    pb_append_varint(&meta, 9, 100);
    pb_append_varint(&meta, 10, 100000);
    struct bus_message in =
        fake_message(RAILGUN__BUS_TYPE__BUS_LOG_ATTACH, 1024, buf_span(&meta), true);
    groups_handle_attach(fake.stream.groups, &talk_front, &in);
    buf_release(&meta);
    buf_release(&spec);
    fake_settle();
    (void) talk_expect_reply(0);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    talk_ack(&talk_front, 5, 3, 3, false);
    (void) talk_expect_reply(0);
    talk_ack(&talk_front, 5, 5, 5, false);
    (void) talk_expect_reply(0);
    talk_publish(10);
    talk_front.is_full = true;
    fake_settle();
    talk_expect_silence();
    talk_front.is_full = false;
    groups_link_ready(fake.stream.groups, &talk_front);
    fake_settle();
    const struct fake_sent *event = talk_expect_event(RAILGUN__BUS_TYPE__BUS_LOG_EVENT, 5);
    ck_assert_uint_eq(fake_number(buf_span(&event->meta), 1),
                      RAILGUN__GROUP_EVENT__TYPE__EVENT_FULL);
    talk_publish(1);
    fake_settle();
    talk_expect_silence();
    talk_ack(&talk_front, 5, 1, 2, false);
    (void) talk_expect_reply(0);
    fake_settle();
    (void) talk_expect_deliver(&talk_front, 5, 11, 11);
    fake_stop();
}

TEST(a_dropped_group_cancels_its_consumers)
{
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    talk_attach(&talk_other, 9, (struct talk_want){0});
    (void) talk_expect_reply(0);
    talk_other.is_full = true;
    groups_drop(fake.stream.groups, FAKE_GROUP);
    talk_ack(&talk_front, 5, 1, 3, true); /* its entry never comes */
    fake_settle();
    const struct fake_sent *event = talk_expect_event(RAILGUN__BUS_TYPE__BUS_LOG_CANCEL, 5);
    ck_assert_uint_eq(fake_number(buf_span(&event->meta), 1), 404);
    (void) talk_expect_reply(0);
    talk_expect_silence();
    ck_assert_ptr_null(members_find(fake.members, &talk_front, 5));
    talk_ack(&talk_other, 9, 1, 3, false);
    (void) talk_expect_reply(ERR_NOT_FOUND);
    talk_other.is_full = false;
    groups_link_ready(fake.stream.groups, &talk_other);
    (void) talk_expect_event(RAILGUN__BUS_TYPE__BUS_LOG_CANCEL, 9);
    ck_assert_ptr_null(members_find(fake.members, &talk_other, 9));
    ck_assert_uint_eq(groups_count(fake.stream.groups), 0);
    talk_attach(&talk_front, 5, (struct talk_want){0});
    (void) talk_expect_reply(ERR_NOT_FOUND);
    groups_drop(fake.stream.groups, 12345); /* never heard of */
    fake_settle();
    fake_restart(fake.log_count);
    ck_assert_uint_eq(groups_count(fake.stream.groups), 0);
    fake_stop();
}

TEST(a_sync_acknowledgement_of_a_group_that_goes_is_answered)
{
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    groups_drop(fake.stream.groups, FAKE_GROUP);
    talk_ack(&talk_front, 5, 1, 3, true);
    ck_assert_uint_eq(fake_entries(), 2); /* the drop; and before the turn ends it is applied */
    const struct fake_entry *drop = &fake.log[fake.log_count - 1];
    fake.applied = fake.log_count;
    ck_assert_int_eq(
        groups_apply(fake.stream.groups, drop->kind, fake.applied, buf_span(&drop->payload)), 0);
    (void) talk_expect_event(RAILGUN__BUS_TYPE__BUS_LOG_CANCEL, 5);
    fake_settle();
    (void) talk_expect_reply(0);
    ck_assert_uint_eq(fake_entries(), 2);
    fake_stop();
}

TEST(a_group_dropped_while_it_opens_refuses_its_consumer)
{
    fake_start();
    talk_publish(3);
    talk_attach(&talk_front, 5, (struct talk_want){.messages = 10});
    talk_attach(&talk_front, 6,
                (struct talk_want){.messages = 10, .in_flight = 7}); /* an entry of its own */
    groups_drop(fake.stream.groups, FAKE_GROUP);
    fake_settle();
    ck_assert_uint_eq(fake_entries(), 3);
    ck_assert_uint_eq(fake_number(talk_expect_reply(0), 3),
                      1); /* the entries come in their order */
    ck_assert_uint_eq(fake_number(talk_expect_reply(0), 3), 0);
    (void) talk_expect_event(RAILGUN__BUS_TYPE__BUS_LOG_CANCEL, 5);
    (void) talk_expect_event(RAILGUN__BUS_TYPE__BUS_LOG_CANCEL, 6);
    talk_expect_silence();
    ck_assert_uint_eq(groups_count(fake.stream.groups), 0);
    fake_stop();
}

TEST(a_drop_that_cannot_be_proposed_is_tried_again)
{
    talk_begin(0);
    fake.propose_error = ERR_AGAIN;
    groups_drop(fake.stream.groups, FAKE_GROUP);
    fake_turn();
    fake.propose_error = 0;
    fake_settle();
    (void) talk_expect_event(RAILGUN__BUS_TYPE__BUS_LOG_CANCEL, 5);
    fake_stop();
}

TEST(a_cancelled_stream_lets_everybody_go)
{
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    talk_ack(&talk_front, 5, 1, 2, true);
    talk_attach(&talk_other, 9, (struct talk_want){.group = 3});
    groups_cancel(fake.stream.groups, ERR_STREAM_DELETED);
    const struct fake_sent *event = talk_expect_event(RAILGUN__BUS_TYPE__BUS_LOG_CANCEL, 5);
    ck_assert_uint_eq(fake_number(buf_span(&event->meta), 1), 447);
    (void) talk_expect_reply(ERR_STREAM_DELETED);
    (void) talk_expect_reply(ERR_STREAM_DELETED);
    fake_stop();
}

TEST(a_newer_configuration_becomes_an_entry)
{
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    talk_attach(&talk_other, 8, (struct talk_want){.messages = 50, .in_flight = 12, .revision = 4});
    fake_settle();
    (void) talk_expect_reply(0);
    (void) talk_expect_deliver(&talk_other, 8, 11, 2);
    ck_assert_uint_eq(fake_entries(), 2);
    talk_attach(&talk_other, 9, (struct talk_want){.messages = 0, .in_flight = 500, .revision = 3});
    (void) talk_expect_reply(0); /* older: not taken over */
    ck_assert_uint_eq(fake_entries(), 2);
    fake_restart(fake.log_count);
    talk_attach(&talk_other, 8, (struct talk_want){.messages = 50, .in_flight = 12, .revision = 4});
    (void) talk_expect_reply(0);
    fake_settle();
    (void) talk_expect_deliver(&talk_other, 8, 1, 12);
    fake_stop();
}

TEST(a_raised_limit_lets_more_through_at_once)
{
    fake_start();
    talk_publish(100);
    talk_attach(&talk_front, 5, (struct talk_want){.messages = 60, .in_flight = 5, .revision = 1});
    fake_settle();
    (void) talk_expect_reply(0);
    (void) talk_expect_deliver(&talk_front, 5, 1, 5);
    talk_attach(&talk_front, 6, (struct talk_want){.messages = 0, .in_flight = 50, .revision = 2});
    fake_settle();
    (void) talk_expect_reply(0);
    (void) talk_expect_deliver(&talk_front, 5, 6, 45);
    talk_expect_silence();
    fake_stop();
}

TEST(a_new_life_knows_what_was_committed)
{
    talk_begin(20);
    (void) talk_expect_deliver(&talk_front, 5, 1, 20);
    talk_ack(&talk_front, 5, 1, 5, false);
    talk_ack(&talk_front, 5, 9, 9, false);
    talk_nack(&talk_front, 5, 7, 0, false);
    fake_settle();
    size_t committed = fake.log_count;
    talk_ack(&talk_front, 5, 10, 20, false);
    fake_settle();
    ck_assert_uint_gt(fake.log_count, committed);
    fake_restart(committed);
    talk_attach(&talk_front, 5, (struct talk_want){.messages = 100});
    ck_assert_uint_eq(fake_number(talk_expect_reply(0), 5), 5);
    fake_settle();
    struct span meta = talk_expect_deliver(&talk_front, 5, 6, 3);
    ck_assert_uint_eq(fake_number(fake_bytes(meta, 5), 1), 8); /* the last of three parts */
    ck_assert_uint_eq(fake_number(fake_bytes(meta, 5), 3), 2); /* delivered before, that is known */
    (void) talk_expect_deliver(&talk_front, 5, 10, 11);
    (void) talk_expect_deliver(&talk_front, 5, 21, 80);
    fake_stop();
}

struct saved {
    struct buf states[8];
    size_t count;
    unsigned dropped;
};

static int save(void *ud, uint64_t group_id, bool dropped, struct span state)
{
    struct saved *saved = ud;
    ck_assert_uint_ne(group_id, 0);
    if (dropped) {
        saved->dropped++;
    } else {
        buf_append(&saved->states[saved->count++], state);
    }
    return 0;
}

TEST(changed_groups_are_saved_and_loaded)
{
    struct saved saved = {0};
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    talk_attach(&talk_front, 6, (struct talk_want){.group = 78});
    talk_attach(&talk_front, 7, (struct talk_want){.group = 79});
    fake_settle();
    ck_assert(groups_is_dirty(fake.stream.groups));
    ck_assert_int_eq(groups_save(fake.stream.groups, save, &saved), 0);
    ck_assert_uint_eq(saved.count, 3);
    ck_assert(!groups_is_dirty(fake.stream.groups));
    talk_ack(&talk_front, 5, 1, 3, false);
    groups_drop(fake.stream.groups, 79);
    fake_settle();
    ck_assert_int_eq(groups_save(fake.stream.groups, save, &saved), 0);
    ck_assert_uint_eq(saved.count, 4); /* the one that changed */
    ck_assert_uint_eq(saved.dropped, 1);

    fake_restart(0);
    ck_assert_int_eq(groups_load(fake.stream.groups, buf_span(&saved.states[3])), 0);
    ck_assert_int_eq(groups_load(fake.stream.groups, buf_span(&saved.states[3])), ERR_BAD_FORMAT);
    ck_assert_int_eq(groups_load(fake.stream.groups, span_make("\xff", 1)), ERR_BAD_FORMAT);
    ck_assert(!groups_is_dirty(fake.stream.groups));
    ck_assert_uint_eq(talk_info(5), 3);
    for (size_t i = 0; i < saved.count; i++) {
        buf_release(&saved.states[i]);
    }
    fake_stop();
}

TEST(damaged_entries_change_nothing)
{
    talk_begin(0);
    static const uint8_t group_without_id[] = {0x18, 1};
    struct buf half = {0};
    struct buf of_group = {0};
    pb_append_varint(&of_group, 1, FAKE_GROUP);
    struct buf range = {0};
    pb_append_varint(&range, 1, 1);
    pb_append_varint(&range, 2, 5);
    pb_append_bytes(&of_group, 2, buf_span(&range));
    pb_append_bytes(&half, 1, buf_span(&of_group));  /* good */
    pb_append_bytes(&half, 1, span_make("\xff", 1)); /* and bad */
    struct groups *groups = fake.stream.groups;
    ck_assert_int_eq(groups_apply(groups, LOG_KIND_ACKS, 9, buf_span(&half)), ERR_BAD_FORMAT);
    ck_assert_uint_eq(talk_info(5), 0);
    ck_assert_int_eq(groups_apply(groups, LOG_KIND_GROUP, 9,
                                  span_make(group_without_id, sizeof group_without_id)),
                     ERR_BAD_FORMAT);
    ck_assert_int_eq(groups_apply(groups, LOG_KIND_BATCH, 9, buf_span(&half)), ERR_BAD_FORMAT);
    buf_reset(&half);
    buf_reset(&of_group);
    pb_append_varint(&of_group, 1, 4242); /* a group that is not here any more */
    pb_append_bytes(&of_group, 2, buf_span(&range));
    pb_append_bytes(&half, 1, buf_span(&of_group));
    ck_assert_int_eq(groups_apply(groups, LOG_KIND_ACKS, 9, buf_span(&half)), 0);
    buf_release(&half);
    buf_release(&of_group);
    buf_release(&range);
    fake_stop();
}

TEST(info_and_pending_show_who_has_what)
{
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    talk_ack(&talk_front, 5, 1, 4, false);
    (void) talk_expect_reply(0);
    talk_ack(&talk_front, 5, 6, 6, false);
    (void) talk_expect_reply(0);
    talk_nack(&talk_front, 5, 8, 0, false);
    (void) talk_expect_reply(0);
    fake_settle();
    ck_assert_uint_eq(talk_info(5), 4);
    ck_assert_uint_eq(talk_info(6), 1);
    ck_assert_uint_eq(talk_info(8), 4);
    ck_assert_uint_eq(talk_info(9), 1);
    ck_assert_uint_eq(talk_info(10), 11);
    ck_assert_uint_eq(talk_info(11), 95);
    struct buf meta = {0};
    pb_append_varint(&meta, 1, FAKE_GROUP);
    pb_append_varint(&meta, 3, 3);
    struct bus_message in =
        fake_message(RAILGUN__BUS_TYPE__BUS_LOG_PENDING, 1024, buf_span(&meta), true);
    groups_handle_pending(fake.stream.groups, &in);
    struct span reply = talk_expect_reply(0);
    Railgun__PendingOk *ok = railgun__pending_ok__unpack(NULL, reply.size, reply.data);
    ck_assert_ptr_nonnull(ok);
    ck_assert_uint_eq(ok->n_ranges, 3);
    ck_assert(ok->more);
    ck_assert_uint_eq(ok->ranges[1]->first, 7);
    ck_assert_str_eq(ok->ranges[1]->consumer, "worker");
    ck_assert_uint_eq(ok->ranges[2]->state, RAILGUN__PENDING_RANGE__STATE__WAITING);
    ck_assert_uint_eq(ok->ranges[2]->failed, 1);
    railgun__pending_ok__free_unpacked(ok, NULL);
    buf_release(&meta);
    fake_stop();
}

TEST(much_to_deliver_is_done_in_several_turns)
{
    fake_start();
    talk_publish(1000000);
    talk_attach(&talk_front, 5, (struct talk_want){.messages = 1000000, .in_flight = 1000000});
    fake_settle();
    (void) talk_expect_reply(0);
    uint64_t next = 1;
    const struct fake_sent *sent;
    while ((sent = fake_next()) != NULL) {
        ck_assert_uint_eq(fake_number(buf_span(&sent->meta), 2), next);
        ck_assert_uint_le(sent->body_size, 256 * 1024);
        next += fake_number(buf_span(&sent->meta), 3);
    }
    ck_assert_uint_eq(next, 1000001);
    ck_assert_uint_eq(fake.now_ms > 1000, true);
    fake_stop();
}

TEST(bad_acknowledgements_are_refused_whole)
{
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    struct bus_message in =
        fake_message(RAILGUN__BUS_TYPE__BUS_LOG_ACK, 5, span_make("\x0a", 1), true);
    member_handle_ack(talk_member(&talk_front, 5), &in);
    (void) talk_expect_reply(ERR_BAD_REQUEST);
    in.is_request = false;
    member_handle_ack(talk_member(&talk_front, 5), &in);
    talk_expect_silence();
    ck_assert_uint_eq(fake_counter("railgun_group_bad_acks_total"), 1);
    in.is_request = true;
    member_handle_extend(talk_member(&talk_front, 5), &in);
    (void) talk_expect_reply(ERR_BAD_REQUEST);
    struct buf meta = {0};
    struct buf range = {0};
    pb_append_varint(&range, 1, 2);
    pb_append_varint(&range, 2, 12);
    pb_append_bytes(&meta, 1, buf_span(&range));
    in.meta = buf_span(&meta);
    member_handle_extend(talk_member(&talk_front, 5), &in);
    struct span result = fake_bytes(talk_expect_reply(0), 1);
    ck_assert_uint_eq(fake_number(result, 1), 11);
    ck_assert_uint_eq(fake_number(result, 3), 405);
    buf_release(&meta);
    buf_release(&range);
    fake_stop();
}
