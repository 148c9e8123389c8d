/* What a frontd could make big, and what it should not say. */
#include <string.h>

#include "common/base/err.h"
#include "common/base/rand.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/route.h"

#include "tests/lib/test.h"
#include "tests/unit/routerd_router/router_lib.h"

static void open_with_one(struct rig *rig, const struct router_options *options)
{
    rig_open(rig, options);
    router_start(rig->router);
    rig_turn(rig);
    rig_join(rig, 0);
    rig_join(rig, 1);
}

TEST(what_cannot_be_read_ends_the_session)
{
    static const struct {
        uint16_t type;
        const char *bytes;
        size_t size;
    } cases[] = {
        {RAILGUN__BUS_TYPE__BUS_ROUTE_SUBSCRIBE, "\x12\x05\x00", 3},
        {RAILGUN__BUS_TYPE__BUS_ROUTE_SUBSCRIBE, "\x12\x00", 2}, /* no matchers */
        {RAILGUN__BUS_TYPE__BUS_ROUTE_SUBSCRIBE, "\x0a\x00\x12\x03\x22\x01.", 7},
        {RAILGUN__BUS_TYPE__BUS_ROUTE_SUBSCRIBE,
         "\x12\x03\x22\x01"
         "a",
         5}, /* no such exchange */
        {RAILGUN__BUS_TYPE__BUS_ROUTE_UNSUBSCRIBE, "\x0a\x03\x00\x00\x00", 5},
        {RAILGUN__BUS_TYPE__BUS_ROUTE_SYNCED, "\x0a\x00", 2},
        {RAILGUN__BUS_TYPE__BUS_ROUTE_APPLIED, "\x08\xff\x01", 3}, /* was never told */
        {RAILGUN__BUS_TYPE__BUS_ROUTE_LOOKUP, "\x1a\x02..", 4},
        {RAILGUN__BUS_TYPE__BUS_ROUTE_LOOKUP,
         "\x1a\x02"
         "a*",
         4},
        {RAILGUN__BUS_TYPE__BUS_ROUTE_RELEASE, "", 0},
        {RAILGUN__BUS_TYPE__BUS_ROUTE_CLAIM, "\x12\x09xx", 4},
        {RAILGUN__BUS_TYPE__BUS_ROUTE_RESOLVE, "\x00", 1},
        {RAILGUN__BUS_TYPE__BUS_ROUTE_INFO, "\x0a\x02\xff\xfe", 4},
    };
    struct rig rig;
    open_with_one(&rig, NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool is_request = cases[i].type == RAILGUN__BUS_TYPE__BUS_ROUTE_CLAIM ||
                          cases[i].type == RAILGUN__BUS_TYPE__BUS_ROUTE_RESOLVE ||
                          cases[i].type == RAILGUN__BUS_TYPE__BUS_ROUTE_INFO;
        (void) rig_send(&rig, 0, cases[i].type, is_request, 1,
                        span_make(cases[i].bytes, cases[i].size));
        ck_assert_msg(rig.is_closed[0], "case %u", (unsigned) i);
        /* What it says then is not heard. */
        (void) rig_subscribe(&rig, 0, 1, 1, "ns", "a");
        rig_turn(&rig);
        ck_assert_uint_eq(rig_counts(&rig).subscriptions, 0);
        rig_down(&rig, 0);
        rig_join(&rig, 0);
    }
    ck_assert_uint_eq(rig_counts(&rig).malformed, sizeof(cases) / sizeof(cases[0]));
    rig_close(&rig);
}

TEST(unknown_types_are_left_out_and_unknown_requests_refused)
{
    struct rig rig;
    open_with_one(&rig, NULL);
    (void) rig_send(&rig, 0, 9999, false, 0, span_of("whatever"));
    ck_assert(!rig.is_closed[0]);
    (void) rig_send(&rig, 0, 9999, true, 4, span_of("whatever"));
    ck_assert_int_eq(rig.reply_status, ERR_UNKNOWN_FRAME);
    ck_assert(!rig.is_closed[0]);
    rig_close(&rig);
}

TEST(random_bytes_never_harm)
{
    struct rig rig;
    struct prng prng;
    prng_init(&prng, 3);
    open_with_one(&rig, NULL);
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t bytes[24];
        size_t size = prng_below(&prng, sizeof(bytes));
        for (size_t k = 0; k < size; k++) {
            static const uint8_t likely[] = {0x0a, 0x12, 0x1a, 0x22, 0x02, 0x01, 'a', '#'};
            bytes[k] = prng_below(&prng, 3) == 0 ? (uint8_t) prng_next(&prng)
                                                 : likely[prng_below(&prng, sizeof(likely))];
        }
        (void) rig_send(&rig, 0, (uint16_t) (64 + prng_below(&prng, 9)), prng_below(&prng, 2) == 0,
                        1, span_make(bytes, size));
        if (rig.is_closed[0]) {
            rig_down(&rig, 0);
            rig_up(&rig, 0);
        }
        if (i % 64 == 0) {
            rig_turn(&rig);
            rig_drain(&rig, 0);
            rig_drain(&rig, 1);
        }
    }
    rig_close(&rig);
}

TEST(lookups_that_wait_are_bounded)
{
    struct rig rig;
    struct router_options options = rig_options();
    options.held_bytes_max = 1000;
    rig_open(&rig, &options);
    rig_live(&rig, 0, true);
    rig_live(&rig, 1, true);
    router_start(rig.router);
    rig_up(&rig, 0);
    unsigned sent = 0;
    while (!rig.is_closed[0]) {
        rig_lookup(&rig, 0, sent, "ns", "some.topic");
        ck_assert_uint_le(rig_counts(&rig).held_bytes, 1000);
        sent++;
    }
    ck_assert_uint_gt(sent, 3);
    rig_down(&rig, 0);
    ck_assert_uint_eq(rig_counts(&rig).held, 0);
    rig_close(&rig);
}

TEST(who_does_not_take_what_it_is_sent_loses_its_session)
{
    struct rig rig;
    struct router_options options = rig_options();
    options.outbound_bytes_max = 4000;
    open_with_one(&rig, &options);
    rig.is_blocked[1] = true;
    for (uint64_t i = 0; i < 1000 && !rig.is_closed[1]; i++) {
        (void) rig_subscribe(&rig, 0, i, i, "ns", "a.matcher.of.some.length");
        rig_turn(&rig);
        rig_drain(&rig, 0);
        ck_assert_uint_le(rig_counts(&rig).outbound_bytes, 4000);
    }
    ck_assert(rig.is_closed[1]);
    rig.is_blocked[1] = false;
    rig_down(&rig, 1);
    ck_assert_uint_eq(rig_counts(&rig).outbound_bytes, 0);
    rig_close(&rig);
}

TEST(a_long_answer_comes_in_parts_and_waits_for_room)
{
    enum { SUBSCRIPTIONS = 5000, TOPICS = 200 };
    struct rig rig;
    struct buf topics = {0};
    open_with_one(&rig, NULL);
    for (uint64_t i = 0; i < SUBSCRIPTIONS; i++) {
        (void) rig_subscribe(&rig, 1, i, i, "ns", "#");
    }
    rig_turn(&rig);
    rig_drain(&rig, 0);
    rig.is_blocked[0] = true;
    for (unsigned i = 0; i < TOPICS; i++) {
        buf_printf(&topics, "%st%u", i == 0 ? "" : ",", i);
    }
    rig_lookup(&rig, 0, 6, "ns", buf_text(&topics));
    rig_turn(&rig);
    ck_assert_uint_eq(rig_counts(&rig).held, 1);
    ck_assert_uint_lt(rig_counts(&rig).outbound_bytes, 5 << 20);
    ck_assert_uint_lt(rig_counts(&rig).lookups, TOPICS);
    /* What changes meanwhile comes between the parts, and the later ones know of it. */
    for (uint64_t i = 1; i < SUBSCRIPTIONS; i++) {
        rig_unsubscribe(&rig, 1, i);
    }
    rig_turn(&rig);
    rig.is_blocked[0] = false;
    router_credit(rig.router, 0);
    rig_turn(&rig);
    unsigned routes = 0;
    bool is_changed = false;
    const char *line = rig_said(&rig, 0);
    for (; line[0] != '\0'; line = rig_said(&rig, 0)) {
        if (strncmp(line, "changes", 7) == 0) {
            ck_assert_str_eq(line, "changes 5 [ns #]");
            is_changed = true;
            continue;
        }
        ck_assert_int_eq(strncmp(line, "routes 6 {", 10), 0);
        for (const char *at = strchr(line, '{'); at != NULL; at = strchr(at + 1, '{')) {
            routes++;
            ck_assert_int_eq(strncmp(at, "{1:0}", 5) == 0, is_changed);
        }
    }
    ck_assert(is_changed);
    ck_assert_uint_eq(routes, TOPICS);
    ck_assert_uint_eq(rig_counts(&rig).held, 0);
    buf_release(&topics);
    rig_close(&rig);
}

TEST(a_turn_does_bounded_work_and_keeps_the_order)
{
    struct rig rig;
    struct router_options options = rig_options();
    options.work_max = 50;
    open_with_one(&rig, &options);
    bool any_held = false;
    unsigned held = 0;
    for (uint64_t i = 0; i < 500; i++) {
        bool is_held = rig_subscribe(&rig, 0, i, i, "ns", "a");
        held += is_held;
        ck_assert(is_held || !any_held); /* once one waits, all behind it do */
        any_held = is_held;
    }
    rig_unsubscribe(&rig, 0, 499);
    ck_assert(any_held);
    ck_assert_uint_lt(rig_counts(&rig).subscriptions, 60);
    ck_assert(router_turn_end(rig.router));
    ck_assert_uint_lt(rig_counts(&rig).subscriptions, 120);
    rig_turn(&rig);
    ck_assert_uint_eq(rig_counts(&rig).subscriptions, 499);
    ck_assert_uint_eq(rig.released, held + 1);
    /* Nor is a frontd with very many removed in one turn, though it is out of the answers at once. */
    rig_live(&rig, 0, false);
    rig_down(&rig, 0);
    ck_assert(router_turn_end(rig.router));
    ck_assert_uint_gt(rig_counts(&rig).subscriptions, 400);
    rig_lookup(&rig, 1, 5, "ns", "a");
    rig_turn(&rig);
    ck_assert_uint_eq(rig_counts(&rig).subscriptions, 0);
    const char *line = rig_said(&rig, 1);
    while (strncmp(line, "routes", 6) != 0) {
        ck_assert_str_ne(line, "");
        line = rig_said(&rig, 1);
    }
    ck_assert_str_eq(line, "routes 5 {}");
    rig_close(&rig);
}

TEST(what_is_dead_does_not_stand_in_the_way)
{
    struct rig rig;
    struct router_options options = rig_options();
    options.work_max = 20;
    options.subscriptions_max = 100;
    open_with_one(&rig, &options);
    for (uint64_t i = 0; i < 100; i++) {
        (void) rig_join_group(&rig, 0, i, i, "ns", "a", "g", false);
    }
    rig_turn(&rig);
    ck_assert_uint_eq(rig_counts(&rig).subscriptions, 100);
    rig_live(&rig, 0, false);
    rig_down(&rig, 0);
    (void) rig_subscribe(&rig, 1, 1000, 1, "ns", "b"); /* full of dead ones */
    (void) rig_join_group(&rig, 1, 1001, 2, "ns", "a", "g", true);
    rig_turn(&rig);
    ck_assert_uint_eq(rig_counts(&rig).rejected, 0);
    ck_assert_uint_eq(rig_counts(&rig).subscriptions, 2);
    rig_close(&rig);
}

TEST(more_than_may_be_in_one_message_ends_the_session)
{
    struct rig rig;
    struct buf meta = {0};
    open_with_one(&rig, NULL);
    pb_append_varint(&meta, 1, 1);
    for (unsigned i = 0; i <= ROUTE_TOPICS_MAX; i++) {
        pb_append_bytes(&meta, 3, span_of("t"));
    }
    (void) rig_send(&rig, 0, RAILGUN__BUS_TYPE__BUS_ROUTE_LOOKUP, false, 1, buf_span(&meta));
    ck_assert(rig.is_closed[0]);
    buf_release(&meta);
    rig_close(&rig);
}

TEST(matchers_that_are_too_long_together_are_refused)
{
    struct rig rig;
    struct buf matchers = {0};
    open_with_one(&rig, NULL);
    for (unsigned i = 0; i < 20000; i++) {
        buf_printf(&matchers, "%sm%u", i == 0 ? "" : " ", i);
    }
    (void) rig_subscribe(&rig, 0, 1, 1, "ns", buf_text(&matchers));
    rig_expect(&rig, 0, "rejected 1 id=1 QUOTA");
    buf_release(&matchers);
    rig_close(&rig);
}
