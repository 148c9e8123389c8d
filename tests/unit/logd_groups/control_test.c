/* What operators do to a group that nobody has consumed from: it is opened for them. */
#include "logd/groups.h"

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/scan.h"
#include "logd/kinds.h"
#include "tests/lib/test.h"
#include "tests/unit/logd_groups/talk.h"

enum { NOWHERE = 999999 };
enum { PAUSE = 1, RESUME = 2, SEEK = 3, RELEASE = 4 };
enum { OK_FLOOR = 1, OK_RELEASED = 2, OK_CHANGED = 3, INFO_FLOOR = 5, INFO_PAUSED = 20 };

/* `to`: the offset of a seek. Without a specification as older frontds ask. */
static void control_as(int op, uint64_t to, Railgun__GroupSpec *spec)
{
    Railgun__LogGroupControl message = RAILGUN__LOG_GROUP_CONTROL__INIT;
    Railgun__GroupControl control = RAILGUN__GROUP_CONTROL__INIT;
    Railgun__Start start = RAILGUN__START__INIT;
    struct buf meta = {0};
    message.has_group_id = 1;
    message.group_id = FAKE_GROUP;
    message.control = &control;
    message.spec = spec;
    control.group = (char *) (uintptr_t) "workers";
    control.has_op = 1;
    control.op = (Railgun__GroupControl__Op) op;
    if (op == SEEK) {
        start.has_at = start.has_offset = 1;
        start.at = RAILGUN__START__AT__AT_OFFSET;
        start.offset = to;
        control.to = to != NOWHERE ? &start : NULL;
    }
    scan_pack(&meta, &message.base);
    struct bus_message in =
        fake_message(RAILGUN__BUS_TYPE__BUS_LOG_GROUP_CONTROL, 1024, buf_span(&meta), true);
    groups_handle_control(fake.stream.groups, &in);
    buf_release(&meta);
}

static void control(int op, uint64_t to)
{
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    control_as(op, to, &spec);
}

TEST(an_operator_and_a_consumer_may_open_a_group_at_once)
{
    fake_start();
    talk_publish(100);
    control(SEEK, 41);
    talk_attach(&talk_front, 5, (struct talk_want){.messages = 10});
    control(PAUSE, 0);
    talk_expect_silence();
    ck_assert_uint_eq(fake_entries(), 1); /* one for all of them */
    fake_settle();
    ck_assert_uint_eq(fake_number(talk_expect_reply(0), 3), 0); /* ConsumeOk: it has not made it */
    (void) talk_expect_event(RAILGUN__BUS_TYPE__BUS_LOG_EVENT, 5);
    ck_assert_uint_eq(fake_number(talk_expect_reply(0), OK_FLOOR), 40);
    ck_assert_uint_eq(fake_number(talk_expect_reply(0), OK_CHANGED), 1);
    talk_expect_silence(); /* nothing is delivered */
    control(RESUME, 0);
    fake_settle();
    (void) talk_expect_event(RAILGUN__BUS_TYPE__BUS_LOG_EVENT, 5);
    (void) talk_expect_deliver(&talk_front, 5, 41, 10);
    fake_stop();
}

TEST(what_an_operator_opened_is_replayed)
{
    fake_start();
    talk_publish(100);
    control(SEEK, 61);
    fake_settle();
    ck_assert_uint_eq(fake_number(talk_expect_reply(0), OK_FLOOR), 60);
    control(PAUSE, 0);
    fake_settle();
    ck_assert_uint_eq(fake_number(talk_expect_reply(0), OK_CHANGED), 1);
    fake_restart(fake.log_count);
    ck_assert_uint_eq(talk_info(INFO_FLOOR), 60);
    ck_assert_uint_eq(talk_info(INFO_PAUSED), 1);
    fake_stop();
}

TEST(where_nobody_has_consumed_resume_and_release_have_nothing_to_do)
{
    fake_start();
    talk_publish(100);
    control(RESUME, 0);
    ck_assert_uint_eq(fake_number(talk_expect_reply(0), OK_CHANGED), 0);
    control(RELEASE, 0);
    ck_assert_uint_eq(fake_number(talk_expect_reply(0), OK_RELEASED), 0);
    control(0, 0);
    (void) talk_expect_reply(ERR_BAD_REQUEST);
    control(5, 0);
    (void) talk_expect_reply(ERR_BAD_REQUEST);
    control_as(PAUSE, 0, NULL);
    (void) talk_expect_reply(ERR_NOT_FOUND);
    ck_assert_uint_eq(fake_entries(), 0);
    fake_stop();
}

TEST(who_opens_a_group_that_cannot_be_opened_is_told_why)
{
    fake_start();
    talk_publish(100);
    control(SEEK, 102);
    (void) talk_expect_reply(ERR_OUT_OF_RANGE);
    fake.propose_error = ERR_STORAGE_FULL;
    control(PAUSE, 0);
    (void) talk_expect_reply(ERR_STORAGE_FULL);
    fake.propose_error = 0;
    ck_assert_uint_eq(fake_entries(), 0);
    control(PAUSE, 0);
    groups_drop(fake.stream.groups, FAKE_GROUP); /* deleted while its entry is under way */
    fake_settle();
    (void) talk_expect_reply(0); /* it was paused, and then deleted */
    control(PAUSE, 0);
    (void) talk_expect_reply(ERR_NOT_FOUND);
    fake_stop();
}

TEST(who_waits_for_a_group_to_be_opened_is_answered_when_its_stream_is_deleted)
{
    fake_start();
    talk_publish(100);
    control(PAUSE, 0);
    groups_cancel(fake.stream.groups, ERR_STREAM_DELETED);
    (void) talk_expect_reply(ERR_STREAM_DELETED);
    fake_settle();
    talk_expect_silence();
    fake_stop();
}

TEST(a_seek_must_say_where_to)
{
    talk_begin(10);
    (void) talk_expect_deliver(&talk_front, 5, 1, 10);
    control(SEEK, NOWHERE);
    (void) talk_expect_reply(ERR_BAD_REQUEST);
    control(SEEK, 0);
    (void) talk_expect_reply(ERR_BAD_REQUEST);
    talk_expect_silence(); /* what it holds is still its own */
    fake_stop();
}
