/* The groups of a stream as time passes: deadlines, consumers that stand still, groups that nobody uses. */
#include "logd/groups.h"

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"
#include "tests/unit/logd_groups/talk.h"

TEST(a_deadline_takes_back_and_extending_puts_it_off)
{
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    spec.has_ack_wait_ms = 1;
    spec.ack_wait_ms = 3000;
    fake_start();
    talk_publish(2);
    talk_attach_with(&talk_front, 5, 2, &spec, 1);
    (void) talk_expect_reply(0);
    (void) talk_expect_deliver(&talk_front, 5, 1, 2);
    uint64_t due = fake.flush_at;
    ck_assert_uint_le(due, fake.now_ms + 3000);
    fake.now_ms = due - 100;
    Railgun__Extend extend = RAILGUN__EXTEND__INIT;
    Railgun__OffsetRange range = RAILGUN__OFFSET_RANGE__INIT;
    Railgun__OffsetRange *ranges[] = {&range};
    struct buf meta = {0};
    range.has_first = range.has_last = 1;
    range.first = range.last = 2;
    extend.n_ranges = 1;
    extend.ranges = ranges;
    scan_pack(&meta, &extend.base);
    struct bus_message in =
        fake_message(RAILGUN__BUS_TYPE__BUS_LOG_EXTEND, 5, buf_span(&meta), false);
    member_handle_extend(talk_member(&talk_front, 5), &in);
    buf_release(&meta);
    fake_turn();
    ck_assert_uint_eq(fake.flush_at, due);
    fake.now_ms = due - 1;
    fake_turn();
    talk_expect_silence();
    fake.now_ms = due;
    fake_turn();
    const struct fake_sent *event = talk_expect_event(RAILGUN__BUS_TYPE__BUS_LOG_EVENT, 5);
    ck_assert_uint_eq(fake_number(buf_span(&event->meta), 1),
                      RAILGUN__GROUP_EVENT__TYPE__EVENT_DEADLINE);
    ck_assert_uint_eq(fake_number(fake_bytes(buf_span(&event->meta), 2), 2), 1);
    ck_assert_uint_eq(fake.events[RAILGUN__EVENT__TYPE__DEADLINE], 1);
    talk_credit(&talk_front, 5, 1, FAKE_RECORD);
    fake_turn();
    struct span again = fake_bytes(talk_expect_deliver(&talk_front, 5, 1, 1), 5);
    ck_assert_uint_eq(fake_number(again, 3), 2);
    ck_assert_uint_eq(fake_number(again, 4), 1);
    fake_stop();
}

TEST(a_consumer_that_stands_still_is_put_in_again)
{
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    talk_front.is_full = true;
    talk_credit(&talk_front, 5, 5, 5 * FAKE_RECORD);
    fake_turn(); /* blocked; and nobody says that the link takes something again */
    talk_front.is_full = false;
    uint64_t at = fake.now_ms + 5000;
    fake.now_ms = at - 1;
    fake_turn();
    talk_expect_silence();
    fake.now_ms = at;
    fake_turn();
    (void) talk_expect_deliver(&talk_front, 5, 11, 5);
    ck_assert_uint_eq(fake_counter("railgun_group_reattached_total"), 1);
    ck_assert_uint_eq(fake.events[RAILGUN__EVENT__TYPE__REATTACHED], 1);
    fake_stop();
}

TEST(a_link_that_is_really_full_is_not_counted_as_standing_still)
{
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    talk_front.is_full = true;
    talk_credit(&talk_front, 5, 5, 5 * FAKE_RECORD);
    fake_turn();
    for (unsigned i = 0; i < 4; i++) {
        fake.now_ms += 5000;
        fake_turn();
        talk_expect_silence();
    }
    talk_front.is_full = false;
    groups_link_ready(fake.stream.groups, &talk_front);
    fake_turn();
    (void) talk_expect_deliver(&talk_front, 5, 11, 5);
    ck_assert_uint_eq(fake_counter("railgun_group_reattached_total"), 0);
    fake_stop();
}

TEST(a_group_that_nobody_uses_is_to_be_deleted_and_lets_nobody_in_meanwhile)
{
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    spec.has_inactive_ttl_ms = 1;
    spec.inactive_ttl_ms = 60000;
    fake_start();
    talk_publish(2);
    talk_attach_with(&talk_front, 5, 2, &spec, 1);
    (void) talk_expect_reply(0);
    (void) talk_expect_deliver(&talk_front, 5, 1, 2);
    fake.now_ms += 200000;
    fake_turn();
    ck_assert_uint_eq(fake.expired_group, 0); /* it has a member */
    talk_detach(&talk_front, 5, false);
    (void) talk_expect_reply(0);
    fake_turn();
    fake.now_ms += 59000;
    fake_turn();
    talk_attach_with(&talk_front, 6, 0, &spec, 1); /* just in time */
    (void) talk_expect_reply(0);
    talk_detach(&talk_front, 6, false);
    (void) talk_expect_reply(0);
    fake.now_ms += 59000;
    fake_turn();
    ck_assert_uint_eq(fake.expired_group, 0);
    fake.now_ms += 1001;
    fake_turn();
    ck_assert_uint_eq(fake.expired_group, FAKE_GROUP);
    talk_attach_with(&talk_front, 7, 1, &spec, 1);
    (void) talk_expect_reply(ERR_OVERLOADED);
    fake.expired_group = 0;
    fake.now_ms += 2000;
    fake_turn();
    ck_assert_uint_eq(fake.expired_group, FAKE_GROUP); /* asked again */
    groups_expiry_refused(fake.stream.groups, FAKE_GROUP);
    talk_attach_with(&talk_front, 7, 1, &spec, 1);
    (void) talk_expect_reply(0);
    fake_stop();
}
