/* A configuration that changes while consumers are there, or nobody is: what the catalogue says becomes an entry. */
#include "logd/groups.h"

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "logd/kinds.h"
#include "tests/lib/test.h"
#include "tests/unit/logd_groups/talk.h"

enum { INFO_SPEC = 4, SPEC_MAX_IN_FLIGHT = 2, EVENT_TYPE = 1, EVENT_COUNT = 3 };

static void configure(uint32_t max_in_flight, uint64_t ack_wait_ms, uint64_t revision)
{
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    struct buf bytes = {0};
    spec.has_max_in_flight = max_in_flight != 0;
    spec.max_in_flight = max_in_flight;
    spec.has_ack_wait_ms = ack_wait_ms != 0;
    spec.ack_wait_ms = ack_wait_ms;
    scan_pack(&bytes, &spec.base);
    groups_configure(fake.stream.groups, FAKE_GROUP, span_of("workers"), buf_span(&bytes),
                     revision);
    buf_release(&bytes);
}

static uint64_t max_in_flight_now(void)
{
    struct buf meta = {0};
    pb_append_varint(&meta, 1, FAKE_GROUP);
    struct bus_message in =
        fake_message(RAILGUN__BUS_TYPE__BUS_LOG_GROUP_INFO, 1024, buf_span(&meta), true);
    groups_handle_info(fake.stream.groups, &in);
    buf_release(&meta);
    return fake_number(fake_bytes(talk_expect_reply(0), INFO_SPEC), SPEC_MAX_IN_FLIGHT);
}

static void begin(uint32_t max_in_flight, uint64_t messages)
{
    fake_start();
    talk_publish(100);
    talk_attach(
        &talk_front, 5,
        (struct talk_want){.messages = messages, .in_flight = max_in_flight, .revision = 10});
    fake_settle();
    (void) talk_expect_reply(0);
}

TEST(a_higher_limit_holds_for_the_members_that_are_there)
{
    begin(3, 100);
    (void) talk_expect_deliver(&talk_front, 5, 1, 3);
    configure(7, 0, 11);
    fake_settle();
    (void) talk_expect_deliver(&talk_front, 5, 4, 4);
    talk_expect_silence();
    configure(7, 0, 12); /* nothing new */
    ck_assert_uint_eq(fake_entries(), 2);
    fake_stop();
}

TEST(a_deadline_that_is_new_begins_when_it_comes_about_and_is_told)
{
    begin(0, 2);
    (void) talk_expect_deliver(&talk_front, 5, 1, 2);
    fake.now_ms += 60000; /* held for long already */
    configure(0, 3000, 11);
    fake_settle();
    const struct fake_sent *event = talk_expect_event(RAILGUN__BUS_TYPE__BUS_LOG_EVENT, 5);
    ck_assert_uint_eq(fake_number(buf_span(&event->meta), EVENT_TYPE),
                      RAILGUN__GROUP_EVENT__TYPE__EVENT_ACK_WAIT);
    ck_assert_uint_eq(fake_number(buf_span(&event->meta), EVENT_COUNT), 3000);
    fake.now_ms += 2999;
    fake_turn();
    talk_expect_silence();
    fake.now_ms += 2;
    fake_turn();
    event = talk_expect_event(RAILGUN__BUS_TYPE__BUS_LOG_EVENT, 5);
    ck_assert_uint_eq(fake_number(buf_span(&event->meta), EVENT_TYPE),
                      RAILGUN__GROUP_EVENT__TYPE__EVENT_DEADLINE);
    fake_stop();
}

TEST(the_newest_configuration_of_the_catalogue_holds_whatever_comes_in_between)
{
    begin(3, 100);
    (void) talk_expect_deliver(&talk_front, 5, 1, 3);
    configure(7, 0, 12);
    configure(3, 0, 13); /* as it is, but another is under way */
    talk_attach(&talk_other, 6, (struct talk_want){.in_flight = 9, .revision = 11}); /* is late */
    fake_settle();
    (void) talk_expect_reply(0);
    ck_assert_uint_eq(max_in_flight_now(), 3);
    configure(8, 0, 12); /* an older catalogue */
    fake_settle();
    ck_assert_uint_eq(max_in_flight_now(), 3);
    fake_restart(fake.log_count);
    ck_assert_uint_eq(max_in_flight_now(), 3);
    fake_stop();
}

TEST(a_configuration_waits_until_the_log_takes_it)
{
    begin(3, 0);
    fake.propose_error = ERR_STORAGE_FULL;
    configure(7, 0, 11);
    fake_turn();
    configure(8, 0, 12);
    fake_turn();
    ck_assert_uint_eq(max_in_flight_now(), 3);
    fake.propose_error = 0;
    fake.now_ms += 1000;
    fake_settle();
    ck_assert_uint_eq(max_in_flight_now(), 8);
    fake.propose_error = ERR_AGAIN;
    configure(9, 0, 13);
    fake_stop(); /* what waits is given back */
}

TEST(a_group_without_a_position_is_not_made_by_its_configuration)
{
    fake_start();
    talk_publish(100);
    configure(7, 0, 11);
    fake_settle();
    ck_assert_uint_eq(fake_entries(), 0);
    talk_attach(&talk_front, 5, (struct talk_want){.in_flight = 3, .revision = 11});
    configure(7, 0, 12); /* while it is being opened */
    fake_settle();
    (void) talk_expect_reply(0);
    fake.now_ms += 10;
    fake_settle();
    ck_assert_uint_eq(max_in_flight_now(), 7);
    fake_stop();
}
