/* routers: registrations, confirmations, lookups and sessions. */
#include "frontd/routers.h"

#include <limits.h>

#include "common/base/err.h"
#include "common/wire/route_lease.h"
#include "tests/lib/test.h"
#include "tests/unit/frontd_routers/fake.h"

enum {
    SUBSCRIBE = RAILGUN__BUS_TYPE__BUS_ROUTE_SUBSCRIBE,
    UNSUBSCRIBE = RAILGUN__BUS_TYPE__BUS_ROUTE_UNSUBSCRIBE,
    SYNCED = RAILGUN__BUS_TYPE__BUS_ROUTE_SYNCED,
    APPLIED = RAILGUN__BUS_TYPE__BUS_ROUTE_APPLIED,
    LOOKUP = RAILGUN__BUS_TYPE__BUS_ROUTE_LOOKUP,
};

/* --- registering --- */

TEST(a_session_is_told_everything_in_order_and_then_that_it_is_all)
{
    struct registration *all[2500];
    uint64_t ids[2500];
    fake_start();
    for (uint64_t i = 0; i < 2500; i++) {
        all[i] = fake_add(i + 1);
    }
    fake_live(0, true);
    fake_up(0);
    fake_expect_nothing(0); /* RouteReset comes first */
    fake_reset(0);
    size_t count = 0;
    for (unsigned i = 0; i < 3; i++) {
        const struct fake_sent *sent = fake_expect(0, SUBSCRIBE);
        size_t some = fake_subscribed(sent, ids + count, 2500 - count);
        ck_assert_uint_le(some, 1000);
        ck_assert_uint_le(sent->meta.size, (256 << 10) + 1024);
        count += some;
    }
    ck_assert_uint_eq(count, 2500);
    for (uint64_t i = 0; i < 2500; i++) {
        TEST_ASSERT_FAST(ids[i] == i + 1);
    }
    ck_assert_uint_ne(fake_number(fake_expect(0, SYNCED), 1), 0);
    fake_expect_nothing(0);
    for (size_t i = 0; i < 2500; i++) {
        fake_free(&all[i]);
    }
    fake_stop();
}

TEST(a_subscription_is_told_with_all_that_it_has)
{
    struct exchange *other = NULL;
    struct registration *one = NULL;
    fake_start();
    fake_make_ready(0);
    ck_assert_int_eq(
        exchanges_ref(fake.frontd.exchanges, span_of("other"), (struct span){0}, &other), 0);
    one = fake_add(77);
    struct registration two = {.id = 78,
                               .exchange = other,
                               .matchers = one->matchers,
                               .group = span_of("g"),
                               .sticky_by_key = true};
    routers_add(fake.routers, &two);
    fake_turn();
    static const uint8_t expected[] = "\x0a\x0b\x0a\x07"
                                      "default\x12\x00" /* namespace, name */
                                      "\x0a\x09\x0a\x05"
                                      "other\x12\x00"
                                      "\x12\x12\x09\x4d\0\0\0\0\0\0\0\x10\x01\x18\x00\x22\x03"
                                      "a.*"
                                      "\x12\x17\x09\x4e\0\0\0\0\0\0\0\x10\x02\x18\x01\x22\x03"
                                      "a.*\x2a\x01g\x30\x01";
    const struct fake_sent *sent = fake_expect(0, SUBSCRIBE);
    ck_assert(span_equal(buf_span(&sent->meta), span_make(expected, sizeof(expected) - 1)));
    routers_remove(fake.routers, &two);
    fake_free(&one);
    exchanges_unref(fake.frontd.exchanges, &other);
    fake_stop();
}

TEST(telling_goes_on_when_there_is_credit)
{
    struct registration *all[3000];
    uint64_t ids[1000];
    fake_start();
    fake_live(0, true);
    for (uint64_t i = 0; i < 3000; i++) {
        all[i] = fake_add(i + 1);
    }
    fake.peers[0].credit = 1;
    fake_up(0);
    fake_reset(0);
    ck_assert_uint_eq(fake_subscribed(fake_expect(0, SUBSCRIBE), ids, 1000), 1000);
    fake_expect_nothing(0);
    fake_free(&all[1000]); /* the next one */
    fake_free(&all[0]);
    fake.peers[0].credit = 2;
    fake_credit(0);
    (void) fake_expect(0, UNSUBSCRIBE);
    ck_assert_uint_eq(fake_subscribed(fake_expect(0, SUBSCRIBE), ids, 1000), 1000);
    ck_assert_uint_eq(ids[0], 1002);
    fake_expect_nothing(0);
    fake.peers[0].credit = UINT_MAX;
    fake_credit(0);
    ck_assert_uint_eq(fake_subscribed(fake_expect(0, SUBSCRIBE), ids, 1000), 999);
    (void) fake_expect(0, SYNCED);
    for (size_t i = 0; i < 3000; i++) {
        if (all[i] != NULL) {
            fake_free(&all[i]);
        }
    }
    fake_stop();
}

TEST(a_removal_is_told_to_those_only_who_were_told_of_it)
{
    fake_start();
    fake_make_ready(0);
    fake_live(1, true);
    fake_up(1);
    struct registration *one = fake_add(11);
    struct registration *two = fake_add(12);
    fake_free(&two); /* in the same turn */
    fake_turn();
    uint64_t ids[4];
    ck_assert_uint_eq(fake_subscribed(fake_expect(0, SUBSCRIBE), ids, 4), 1);
    fake_free(&one);
    fake_turn();
    const struct fake_sent *sent = fake_expect(0, UNSUBSCRIBE);
    static const uint8_t expected[] = {0x0a, 8, 11, 0, 0, 0, 0, 0, 0, 0};
    ck_assert(span_equal(buf_span(&sent->meta), span_make(expected, sizeof(expected))));
    fake_reset(1);
    (void) fake_expect(1, SYNCED);
    fake_expect_nothing(0);
    fake_expect_nothing(1);
    fake_stop();
}

/* --- confirming --- */

TEST(confirmed_is_what_every_routerd_has_confirmed)
{
    fake_start();
    fake_make_ready(0);
    fake_make_ready(1);
    struct registration *one = fake_add(11);
    struct registration *two = fake_add(12);
    fake_turn();
    fake_confirm(0, two->serial);
    ck_assert_uint_eq(fake.confirmed_count, 0);
    ck_assert_uint_eq(routers_unconfirmed_count(fake.routers), 2);
    fake_confirm(1, one->serial);
    ck_assert_uint_eq(fake.confirmed_count, 1);
    ck_assert_ptr_eq(fake.confirmed[0], one);
    fake_confirm(1, two->serial);
    ck_assert_uint_eq(fake.confirmed_count, 2);
    ck_assert_uint_eq(routers_unconfirmed_count(fake.routers), 0);
    fake_free(&one);
    fake_free(&two);
    fake_stop();
}

TEST(what_was_never_told_is_not_confirmed)
{
    fake_start();
    fake_make_ready(0);
    fake.peers[0].credit = 0;
    struct registration *one = fake_add(11);
    fake_turn();
    fake_confirm(0, 1000);
    ck_assert_uint_eq(fake.confirmed_count, 0);
    fake_free(&one);
    fake_stop();
}

TEST(without_a_routerd_nothing_is_confirmed)
{
    fake_start();
    struct registration *one = fake_add(11);
    fake_pass(10000);
    ck_assert_uint_eq(fake.confirmed_count, 0);
    fake_make_ready(0);
    fake_confirm(0, one->serial);
    ck_assert_uint_eq(fake.confirmed_count, 1);
    fake_down(0);
    fake_live(0, false);
    struct registration *two = fake_add(12);
    fake_pass(10000);
    ck_assert_uint_eq(fake.confirmed_count, 1);
    fake_free(&one);
    fake_free(&two);
    fake_stop();
}

TEST(a_new_routerd_is_told_everything_and_must_confirm_what_is_new)
{
    uint64_t ids[4];
    fake_start();
    fake_make_ready(0);
    struct registration *one = fake_add(11);
    fake_turn();
    fake_confirm(0, one->serial);
    ck_assert_uint_eq(fake.confirmed_count, 1);
    fake_live(1, true);
    struct registration *two = fake_add(12);
    fake_turn();
    fake_confirm(0, two->serial);
    ck_assert_uint_eq(fake.confirmed_count, 1);
    fake_up(1);
    fake_reset(1);
    ck_assert_uint_eq(fake_subscribed(fake_expect(1, SUBSCRIBE), ids, 4), 2);
    ck_assert_uint_eq(ids[0], 11);
    uint64_t round = fake_number(fake_expect(1, SYNCED), 1);
    fake_changes(1, NULL, true, round);
    ck_assert_uint_eq(fake.confirmed_count, 1);
    fake_confirm(1, two->serial);
    ck_assert_uint_eq(fake.confirmed_count, 2);
    fake_free(&one);
    fake_free(&two);
    fake_stop();
}

TEST(a_session_begun_anew_must_confirm_anew)
{
    fake_start();
    fake_make_ready(0);
    fake_make_ready(1);
    struct registration *one = fake_add(11);
    fake_turn();
    fake_confirm(0, one->serial);
    fake_down(0);
    fake_make_ready(0); /* is told of it again */
    fake_confirm(1, one->serial);
    ck_assert_uint_eq(fake.confirmed_count, 0);
    fake_reset(0); /* also within a session */
    (void) fake_expect(0, SUBSCRIBE);
    uint64_t round = fake_number(fake_expect(0, SYNCED), 1);
    fake_changes(0, NULL, true, round);
    ck_assert_uint_eq(fake.confirmed_count, 0);
    fake_confirm(0, one->serial);
    ck_assert_uint_eq(fake.confirmed_count, 1);
    fake_free(&one);
    fake_stop();
}

static void reject(unsigned instance, uint64_t id, int error)
{
    struct buf meta = {0};
    pb_append_varint(&meta, 1, 1);
    pb_append_fixed64(&meta, 2, id);
    pb_append_varint(&meta, 3, (uint64_t) -error);
    pb_append_bytes(&meta, 4, span_of("why"));
    fake_say(instance, RAILGUN__BUS_TYPE__BUS_ROUTE_REJECTED, buf_span(&meta));
    buf_release(&meta);
}

TEST(what_one_routerd_refuses_is_removed_from_the_others)
{
    fake_start();
    fake_make_ready(0);
    fake_make_ready(1);
    struct registration *one = fake_add(11);
    fake_turn();
    (void) fake_expect(0, SUBSCRIBE);
    (void) fake_expect(1, SUBSCRIBE);
    reject(1, 11, ERR_DIFFERS);
    ck_assert_ptr_eq(fake.rejected, one);
    ck_assert_int_eq(fake.rejected_error, ERR_DIFFERS);
    (void) fake_expect(0, UNSUBSCRIBE);
    fake_expect_nothing(1);
    fake.rejected = NULL;
    reject(0, 11, ERR_QUOTA); /* crossed the removal */
    ck_assert_ptr_null(fake.rejected);
    fake_confirm(0, one->serial);
    fake_confirm(1, one->serial);
    ck_assert_uint_eq(fake.confirmed_count, 0);
    fake_free(&one);
    fake_expect_nothing(0);
    fake_stop();
}

/* --- changes --- */

TEST(changes_are_applied_before_that_is_said_and_it_is_said_once_a_turn)
{
    fake_start();
    fake_make_ready(0);
    (void) fake_resolve("a.b", 5);
    (void) fake_resolve("c", 5);
    struct bus_message message = {.type = RAILGUN__BUS_TYPE__BUS_ROUTE_CHANGES};
    for (uint8_t seq = 5; seq < 8; seq++) {
        uint8_t meta[] = {0x08, seq};
        message.meta = span_make(meta, sizeof(meta));
        ck_assert(routers_on_message(fake.routers, fake.peers[0].link, &message));
    }
    fake_turn();
    ck_assert_uint_eq(fake_number(fake_expect(0, APPLIED), 1), 7);
    fake_expect_nothing(0);
    fake_changes(0, "a.b", false, 0);
    (void) fake_expect(0, APPLIED);
    ck_assert(!fake_finds("a.b"));
    ck_assert(fake_finds("c"));
    fake_stop();
}

TEST(a_message_that_cannot_be_read_ends_the_session_and_no_route_is_kept)
{
    fake_start();
    fake_make_ready(0);
    (void) fake_resolve("a.b", 5);
    static const uint8_t broken[] = {0x08, 1, 0x12, 2, 0x12, 0};
    fake_say(0, RAILGUN__BUS_TYPE__BUS_ROUTE_CHANGES, span_make(broken, sizeof(broken)));
    ck_assert(fake.peers[0].link->is_closed);
    ck_assert(!fake_finds("a.b"));
    fake_down(0);
    fake_make_ready(0);
    fake_stop();
}

TEST(others_links_and_requests_are_not_ours)
{
    struct bus_link link = {0};
    struct bus_message message = {.type = SUBSCRIBE};
    fake_start();
    fake_make_ready(0);
    ck_assert(!routers_on_up(fake.routers, &link));
    ck_assert(!routers_on_down(fake.routers, &link));
    ck_assert(!routers_on_credit(fake.routers, &link));
    ck_assert(!routers_on_message(fake.routers, &link, &message));
    message.is_request = true;
    ck_assert(!routers_on_message(fake.routers, fake.peers[0].link, &message));
    ck_assert_str_eq(routers_name(fake.routers, 0), "routerd-0");
    ck_assert_ptr_null(routers_name(fake.routers, 1));
    ck_assert(routers_is_there(fake.routers, 0));
    ck_assert(!routers_is_there(fake.routers, 1));
    fake_stop();
}

/* --- lookups --- */

TEST(lookups_are_spread_over_those_that_are_ready)
{
    unsigned asked[FAKE_ROUTERS] = {0};
    fake_start();
    fake_make_ready(0);
    fake_make_ready(1);
    fake_live(2, true);
    fake_up(2);
    fake_reset(2);
    (void) fake_expect(2, SYNCED);
    ck_assert_uint_eq(routers_ready_count(fake.routers), 2);
    ck_assert_uint_eq(routers_live_count(fake.routers), 3);
    static const char *const topics[] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < 4; i++) {
        asked[fake_resolve(topics[i], 5)]++;
    }
    ck_assert_uint_eq(asked[0], 2);
    ck_assert_uint_eq(asked[1], 2);
    fake_stop();
}

TEST(a_lookup_waits_for_credit_and_for_a_routerd)
{
    fake_start();
    ck_assert(!fake_finds("a"));
    fake_turn();
    fake_make_ready(0);
    fake_turn();
    (void) fake_expect(0, LOOKUP);
    fake.peers[0].credit = 0;
    ck_assert(!fake_finds("b"));
    fake_turn();
    fake_expect_nothing(0);
    fake.peers[0].credit = UINT_MAX;
    fake_credit(0);
    (void) fake_expect(0, LOOKUP);
    fake_stop();
}

TEST(another_is_asked_when_a_session_ends_and_routes_go_on)
{
    fake_start();
    fake_make_ready(0);
    (void) fake_resolve("known", 5);
    ck_assert(!fake_finds("new"));
    fake_turn();
    (void) fake_expect(0, LOOKUP);
    fake_down(0);
    fake_live(0, false);
    ck_assert(fake_finds("known"));
    fake_pass(20000);
    ck_assert(fake_finds("known"));
    ck_assert(!fake_finds("new"));
    fake_make_ready(1);
    fake_turn();
    (void) fake_expect(1, LOOKUP);
    ck_assert(!fake_finds("known")); /* there is somebody to ask */
    fake_stop();
}

/* --- asking for people --- */

static unsigned asked_done;
static enum bus_outcome asked_outcome;

static void asked(struct request *request, enum bus_outcome outcome,
                  const struct bus_message *reply)
{
    (void) request;
    (void) reply;
    asked_done++;
    asked_outcome = outcome;
}

TEST(a_question_fails_when_nobody_is_there_but_not_inside_the_call)
{
    fake_start();
    for (unsigned round = 0; round < 2; round++) {
        struct request *request = request_take(fake.frontd.requests);
        request->frontd = &fake.frontd;
        request->done = asked;
        asked_done = 0;
        routers_ask(fake.routers, request, RAILGUN__BUS_TYPE__BUS_ROUTE_RESOLVE, span_of("x"),
                    1000);
        ck_assert_uint_eq(asked_done, 0);
        fake_turn();
        if (round == 1) {
            fake_reply(fake_expect(0, RAILGUN__BUS_TYPE__BUS_ROUTE_RESOLVE), 0, (struct span){0});
        }
        ck_assert_uint_eq(asked_done, 1);
        ck_assert_int_eq(asked_outcome, round == 0 ? BUS_FAILED : BUS_OK);
        if (round == 0) {
            fake_make_ready(0);
        }
    }
    fake_stop();
}
