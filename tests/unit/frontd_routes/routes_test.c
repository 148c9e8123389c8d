/* routes: topics are asked for once, kept within bounds, and not used when a change or the end of a session has made them stale. */
#include "frontd/routes.h"

#include <stdio.h>

#include "common/base/err.h"
#include "common/wire/pb.h"
#include "tests/lib/test.h"
#include "tests/unit/frontd_routes/fake.h"

static struct routes_counts counts(void)
{
    struct routes_counts result;
    routes_count(fake.routes, &result);
    return result;
}

/* One routerd that is ready. */
static void start_with_source(uint64_t source)
{
    fake_start();
    fake.source = source;
    routes_source_ready(fake.routes, source);
}

TEST(a_topic_is_asked_for_once_and_then_found)
{
    const struct route *route = NULL;
    start_with_source(1);
    ck_assert_int_eq(fake_find("a.b", &route), ROUTES_WAIT);
    ck_assert_int_eq(fake_find("a.b", &route), ROUTES_WAIT);
    ck_assert_uint_eq(fake.ask_count, 0); /* gathered until the turn's end */
    ck_assert_int_eq(fake_find("a.c", &route), ROUTES_WAIT);
    fake_turn();
    const struct fake_ask *ask = fake_next_ask();
    ck_assert_uint_eq(fake_ask_count(ask), 2);
    ck_assert(span_is(fake_ask_topic(ask, 0), "a.b"));
    ck_assert_int_eq(fake_find("a.b", &route), ROUTES_WAIT);
    fake_turn();
    ck_assert_uint_eq(fake.ask_count, 1);
    struct buf answer = {0};
    fake_append_route(&answer, (const uint64_t[]){7, 8, 0});
    routes_answer(fake.routes, 1, ask->number, buf_span(&answer)); /* in two parts */
    ck_assert_uint_eq(fake.progress, 1);
    ck_assert_int_eq(fake_find("a.c", &route), ROUTES_WAIT);
    buf_reset(&answer);
    fake_append_route(&answer, (const uint64_t[]){0});
    routes_answer(fake.routes, 1, ask->number, buf_span(&answer));
    buf_release(&answer);
    ck_assert_int_eq(fake_find("a.b", &route), ROUTES_FOUND);
    ck_assert_uint_eq(route->entities, 2);
    ck_assert_uint_eq(route->plain_count, 1);
    ck_assert_uint_eq(route->plain[0].ids[1], 8);
    ck_assert_int_eq(fake_find("a.c", &route), ROUTES_FOUND); /* that nobody gets it is known too */
    ck_assert_uint_eq(route->entities, 0);
    ck_assert_uint_eq(counts().hits, 2);
    ck_assert_uint_eq(counts().misses, 2);
    fake_stop();
}

TEST(a_route_has_local_members_first_and_groups_with_names)
{
    start_with_source(1);
    const struct route *route = NULL;
    ck_assert(!fake_finds("t"));
    fake_turn();
    struct buf group = {0};
    struct buf empty = {0};
    struct buf one = {0};
    struct buf answer = {0};
    pb_append_bytes(&group, 1, span_of("workers"));
    pb_append_varint(&group, 2, 1);
    fake_append_members(&group, 3, 9, (const uint64_t[]){90, 91}, 2);
    fake_append_members(&group, 3, FAKE_LOCAL, (const uint64_t[]){30}, 1);
    pb_append_bytes(&empty, 1, span_of("nobody"));
    fake_append_members(&one, 1, 5, (const uint64_t[]){50}, 1);
    fake_append_members(&one, 1, FAKE_LOCAL, (const uint64_t[]){31, 32}, 2);
    pb_append_bytes(&one, 2, buf_span(&group));
    pb_append_bytes(&one, 2, buf_span(&empty));
    pb_append_bytes(&answer, 2, buf_span(&one));
    routes_answer(fake.routes, 1, fake_next_ask()->number, buf_span(&answer));
    ck_assert_int_eq(fake_find("t", &route), ROUTES_FOUND);
    ck_assert_uint_eq(route->entities, 4);
    ck_assert_uint_eq(route->plain_count, 2);
    ck_assert(route->plain[0].is_local && route->plain[0].frontd == FAKE_LOCAL);
    ck_assert_uint_eq(route->plain[0].count, 2);
    ck_assert_uint_eq(route->plain[0].ids[0], 31);
    ck_assert(!route->plain[1].is_local);
    ck_assert_uint_eq(route->plain[1].ids[0], 50);
    ck_assert_uint_eq(route->group_count, 1);
    ck_assert(span_is(route->groups[0].name, "workers"));
    ck_assert(route->groups[0].sticky_by_key);
    ck_assert_uint_eq(route->groups[0].member_count, 3);
    ck_assert_uint_eq(route->groups[0].count, 2);
    ck_assert(route->groups[0].members[0].is_local);
    ck_assert_uint_eq(route->groups[0].members[1].ids[1], 91);
    buf_release(&group);
    buf_release(&empty);
    buf_release(&one);
    buf_release(&answer);
    fake_stop();
}

TEST(a_route_over_the_fan_out_is_an_error_and_goes_to_nobody)
{
    const struct route *route = NULL;
    start_with_source(1);
    ck_assert(!fake_finds("t"));
    fake_turn();
    struct buf one = {0};
    struct buf answer = {0};
    pb_append_varint(&one, 3, (uint64_t) -ERR_QUOTA);
    pb_append_bytes(&answer, 2, buf_span(&one));
    routes_answer(fake.routes, 1, fake_next_ask()->number, buf_span(&answer));
    ck_assert_int_eq(fake_find("t", &route), ROUTES_FOUND);
    ck_assert_int_eq(route->error, ERR_QUOTA);
    ck_assert_uint_eq(route->entities, 0);
    buf_release(&one);
    buf_release(&answer);
    fake_stop();
}

TEST(an_exchange_may_allow_less_fan_out_and_change_its_mind)
{
    static const uint64_t three[] = {1, 2, 3, 0};
    const struct route *route = NULL;
    struct buf answer = {0};
    start_with_source(1);
    ck_assert(!fake_finds("t"));
    fake_turn();
    fake_append_route(&answer, three);
    routes_answer(fake.routes, 1, fake_next_ask()->number, buf_span(&answer));
    fake.exchange->fanout_max = 3;
    ck_assert_int_eq(fake_find("t", &route), ROUTES_FOUND);
    ck_assert_uint_eq(route->entities, 3);
    fake.exchange->fanout_max = 2;
    ck_assert_int_eq(fake_find("t", &route), ROUTES_FOUND);
    ck_assert_int_eq(route->error, ERR_QUOTA);
    ck_assert_uint_eq(route->entities, 0);
    fake.exchange->fanout_max = 0;
    ck_assert_int_eq(fake_find("t", &route), ROUTES_FOUND);
    ck_assert_int_eq(route->error, 0);
    buf_release(&answer);
    fake_stop();
}

TEST(an_answer_that_cannot_be_read_is_asked_for_again)
{
    start_with_source(1);
    ck_assert(!fake_finds("t"));
    fake_turn();
    struct buf answer = {0};
    pb_append_bytes(&answer, 2, span_make("\x0a\x05", 2));
    routes_answer(fake.routes, 1, fake_next_ask()->number, buf_span(&answer));
    ck_assert_uint_eq(fake.progress, 1);
    ck_assert(!fake_finds("t"));
    fake_turn();
    fake_answer(fake_next_ask(), 7);
    ck_assert(fake_finds("t"));
    buf_release(&answer);
    fake_stop();
}

TEST(a_topic_that_is_not_valid_is_refused_and_never_kept)
{
    const struct route *route = NULL;
    bool is_bad = false;
    char longest[300];
    start_with_source(1);
    memset(longest, 'x', sizeof(longest));
    ck_assert_int_eq(routes_find(fake.routes, fake.exchange, span_of("a..b"), 1, &route, &is_bad),
                     ROUTES_REFUSED);
    ck_assert(is_bad);
    is_bad = false;
    ck_assert_int_eq(routes_find(fake.routes, fake.exchange, span_make(longest, sizeof(longest)), 1,
                                 &route, &is_bad),
                     ROUTES_REFUSED);
    ck_assert(is_bad);
    ck_assert_uint_eq(counts().entries, 0);
    (void) fake_resolve("", 7); /* the empty one is valid */
    fake_stop();
}

/* --- changes --- */

TEST(a_change_of_a_topic_deletes_its_route_at_once)
{
    start_with_source(1);
    (void) fake_resolve("a.b", 7);
    (void) fake_resolve("a.c", 7);
    fake_change(1, "a.b");
    ck_assert_uint_eq(counts().entries, 1);
    ck_assert(!fake_finds("a.b"));
    ck_assert(fake_finds("a.c"));
    fake_stop();
}

TEST(a_route_that_was_found_stays_until_the_end_of_the_turn)
{
    start_with_source(1);
    const struct route *route = fake_resolve("a.b", 7);
    fake_change(1, "a.b");
    ck_assert_uint_eq(route->plain[0].ids[0], 7); /* the address sanitizer looks on */
    fake_stop();
}

TEST(a_change_with_a_wildcard_is_noticed_when_the_route_is_next_used)
{
    start_with_source(1);
    (void) fake_resolve("a.b", 7);
    (void) fake_resolve("a", 7);
    (void) fake_resolve("b.b", 7);
    fake_change(1, "a.*.#");
    fake_change(1, "x.#");
    ck_assert_uint_eq(counts().entries, 3);
    ck_assert(fake_finds("a"));
    ck_assert(fake_finds("b.b"));
    ck_assert(!fake_finds("a.b"));
    ck_assert_uint_eq(counts().stale, 1);
    fake_change(1, "a.#");
    ck_assert(!fake_finds("a")); /* `#` is no word, too */
    ck_assert(fake_finds("b.b"));
    fake_stop();
}

TEST(changes_of_other_exchanges_and_unknown_ones_do_not_matter)
{
    struct exchange *other = NULL;
    start_with_source(1);
    ck_assert_int_eq(
        exchanges_ref(fake.frontd.exchanges, span_of("other"), (struct span){0}, &other), 0);
    (void) fake_resolve("a.b", 7);
    struct buf exchange = {0};
    struct buf change = {0};
    pb_append_bytes(&exchange, 1, span_of("other"));
    pb_append_bytes(&change, 1, buf_span(&exchange));
    pb_append_bytes(&change, 2, span_of("a.b"));
    pb_append_bytes(&change, 2, span_of("#"));
    ck_assert_int_eq(routes_change(fake.routes, 1, buf_span(&change)), 0);
    ck_assert(fake_finds("a.b"));
    buf_release(&exchange);
    buf_release(&change);
    exchanges_unref(fake.frontd.exchanges, &other);
    fake_stop();
}

TEST(who_is_too_far_behind_the_changes_is_asked_for_again)
{
    start_with_source(1);
    (void) fake_resolve("a.b", 7);
    (void) fake_resolve("a.c", 7);
    for (int i = 0; i < ROUTES_RING_MAX; i++) {
        fake_change(1, "x.*");
    }
    ck_assert(fake_finds("a.b"));
    fake_change(1, "x.*");
    ck_assert(fake_finds("a.b"));
    ck_assert(!fake_finds("a.c"));
    fake_stop();
}

TEST(a_change_that_cannot_be_read_makes_all_stale)
{
    start_with_source(1);
    (void) fake_resolve("a.b", 7);
    ck_assert(!fake_finds("c"));
    fake_turn();
    struct buf change = {0};
    pb_append_bytes(&change, 2, span_of("a.b")); /* no exchange */
    ck_assert_int_eq(routes_change(fake.routes, 1, buf_span(&change)), ERR_PROTOCOL);
    ck_assert(!fake_finds("a.b"));
    fake_answer(fake_next_ask(), 7); /* was asked for before */
    ck_assert(!fake_finds("c"));
    buf_release(&change);
    fake_stop();
}

/* --- changes and answers overtake each other --- */

TEST(an_answer_behind_a_change_of_the_same_session_is_fresh)
{
    start_with_source(1);
    ck_assert(!fake_finds("a.b"));
    fake_turn();
    fake_change(1, "a.b");
    fake_change(1, "a.*");
    fake_answer(fake_next_ask(), 7);
    ck_assert(fake_finds("a.b"));
    fake_stop();
}

static void overtake(const char *matcher)
{
    start_with_source(1);
    routes_source_ready(fake.routes, 2);
    ck_assert(!fake_finds("a.b"));
    fake_turn();
    fake_change(2, matcher); /* routerd 1 need not know of it when it answers */
    fake_answer(fake_next_ask(), 7);
    ck_assert(!fake_finds("a.b"));
    fake_turn();
    fake_answer(fake_next_ask(), 8);
    const struct route *route = NULL;
    ck_assert_int_eq(fake_find("a.b", &route), ROUTES_FOUND);
    ck_assert_uint_eq(route->plain[0].ids[0], 8);
    fake_stop();
}

TEST(an_answer_that_another_sessions_change_has_overtaken_is_asked_for_again)
{
    overtake("a.b");
}

TEST(an_answer_that_another_sessions_wildcard_has_overtaken_is_asked_for_again)
{
    overtake("*.b");
}

TEST(a_topic_that_changes_all_the_time_gets_a_route_all_the_same)
{
    start_with_source(1);
    routes_source_ready(fake.routes, 2);
    unsigned asked = 0;
    ck_assert(!fake_finds("a.b"));
    while (!fake_finds("a.b")) {
        ck_assert_uint_lt(asked++, 10);
        fake_turn();
        fake_change(2, "#");
        fake_answer(fake_next_ask(), 7);
    }
    ck_assert_uint_ge(asked, 2);
    fake_stop();
}

TEST(a_change_before_the_question_does_not_overtake_the_answer)
{
    start_with_source(1);
    routes_source_ready(fake.routes, 2);
    (void) fake_resolve("x", 1);
    fake_change(2, "#");
    fake_change(2, "a.b");
    ck_assert(!fake_finds("a.b"));
    fake_change(2, "a.b"); /* wanted, not asked yet */
    fake_turn();
    fake_answer(fake_next_ask(), 7);
    ck_assert(fake_finds("a.b"));
    fake_stop();
}

/* --- sessions --- */

TEST(what_a_lost_session_was_asked_is_asked_of_another_in_the_same_order)
{
    start_with_source(1);
    ck_assert(!fake_finds("a"));
    ck_assert(!fake_finds("b"));
    fake_turn();
    ck_assert(!fake_finds("c")); /* is wanted when the other comes back */
    routes_source_ready(fake.routes, 2);
    fake.source = 2;
    routes_source_gone(fake.routes, 1);
    fake_turn();
    const struct fake_ask *old = fake_next_ask();
    const struct fake_ask *ask = fake_next_ask();
    ck_assert_uint_eq(ask->source, 2);
    ck_assert_uint_eq(fake_ask_count(ask), 3);
    ck_assert(span_is(fake_ask_topic(ask, 0), "a"));
    ck_assert(span_is(fake_ask_topic(ask, 2), "c"));
    fake_answer(old, 7); /* too late: means nothing */
    ck_assert(!fake_finds("a"));
    fake_stop();
}

TEST(nobody_to_ask_is_no_end)
{
    fake_start();
    ck_assert(!fake_finds("a"));
    fake_turn();
    ck_assert_uint_eq(fake.ask_count, 0);
    fake.source = 1;
    routes_source_ready(fake.routes, 1);
    fake_turn();
    ck_assert_uint_eq(fake.ask_count, 1);
    fake.source = 0; /* no credit */
    ck_assert(!fake_finds("b"));
    fake_turn();
    fake_turn();
    ck_assert_uint_eq(fake.ask_count, 1);
    fake.source = 1;
    routes_can_ask(fake.routes);
    fake_turn();
    ck_assert_uint_eq(fake.ask_count, 2);
    fake_stop();
}

TEST(routes_go_on_while_no_routerd_is_there_and_are_stale_when_one_is_ready)
{
    start_with_source(1);
    (void) fake_resolve("a", 7);
    fake.source = 0;
    routes_source_gone(fake.routes, 1);
    ck_assert(fake_finds("a"));
    ck_assert(!fake_finds("b"));
    fake.source = 2;
    routes_source_ready(fake.routes, 2);
    ck_assert(!fake_finds("a"));
    fake_stop();
}

TEST(routes_of_a_lost_session_are_void_for_ever_once_another_could_be_asked)
{
    start_with_source(1);
    (void) fake_resolve("a", 7);
    (void) fake_resolve("b", 7);
    fake.source = 2;
    routes_source_ready(fake.routes, 2);
    ck_assert(fake_finds("a"));
    (void) fake_resolve("c", 7);
    routes_source_gone(fake.routes, 1);
    ck_assert(!fake_finds("a"));
    ck_assert(fake_finds("c"));
    fake.source = 0;
    routes_source_gone(fake.routes, 2);
    ck_assert(!fake_finds("b")); /* was not looked at while routerd 2 was there */
    ck_assert(fake_finds("c"));
    fake_stop();
}

/* --- trust --- */

TEST(without_trust_no_route_is_used)
{
    start_with_source(1);
    (void) fake_resolve("a", 7);
    unsigned progress = fake.progress;
    routes_trust(fake.routes, false);
    ck_assert(!fake_finds("a"));
    ck_assert(!fake_finds("b"));
    fake_turn();
    ck_assert_uint_eq(fake.ask_count, 1);
    routes_trust(fake.routes, true);
    ck_assert_uint_eq(fake.progress, progress + 1);
    ck_assert(fake_finds("a"));
    routes_trust(fake.routes, true);
    ck_assert_uint_eq(fake.progress, progress + 1);
    fake_stop();
}

TEST(a_pause_is_looked_for_once_a_turn)
{
    start_with_source(1);
    (void) fake_resolve("a", 7);
    fake_turn();
    unsigned checks = fake.pause_checks;
    ck_assert(fake_finds("a"));
    ck_assert(fake_finds("a"));
    ck_assert_uint_eq(fake.pause_checks, checks + 1);
    fake_stop();
}

/* --- limits --- */

static enum routes_result find_number(struct exchange *exchange, unsigned number,
                                      uint64_t publisher)
{
    const struct route *route = NULL;
    bool is_bad = false;
    char topic[32];
    (void) snprintf(topic, sizeof(topic), "topic.%u", number);
    return routes_find(fake.routes, exchange, span_of(topic), publisher, &route, &is_bad);
}

/* Answer all that was asked: nobody gets it. */
static void answer_all(void)
{
    fake_turn();
    while (fake.ask_seen < fake.ask_count) {
        const struct fake_ask *ask = fake_next_ask();
        struct buf answer = {0};
        for (size_t i = fake_ask_count(ask); i > 0; i--) {
            fake_append_route(&answer, (const uint64_t[]){0});
        }
        routes_answer(fake.routes, ask->source, ask->number, buf_span(&answer));
        buf_release(&answer);
    }
    fake_turn();
}

TEST(live_topics_are_limited_by_exchange_and_by_publisher)
{
    start_with_source(1);
    fake.settings.topics_max = 10;
    fake.settings.connection_topics_max = 6;
    for (unsigned i = 0; i < 6; i++) {
        ck_assert_int_eq(find_number(fake.exchange, i, 1), ROUTES_WAIT);
    }
    ck_assert_int_eq(find_number(fake.exchange, 6, 1), ROUTES_REFUSED);
    for (unsigned i = 6; i < 10; i++) {
        ck_assert_int_eq(find_number(fake.exchange, i, 2), ROUTES_WAIT);
    }
    ck_assert_int_eq(find_number(fake.exchange, 10, 2), ROUTES_REFUSED);
    ck_assert_uint_eq(routes_live_topics(fake.exchange), 10);
    answer_all();
    ck_assert_int_eq(find_number(fake.exchange, 0, 2), ROUTES_FOUND);
    fake.exchange->topics_max = 11;
    ck_assert_int_eq(find_number(fake.exchange, 10, 2), ROUTES_WAIT);
    ck_assert_int_eq(find_number(fake.exchange, 11, 2), ROUTES_REFUSED);
    fake_stop();
}

TEST(a_topic_nobody_uses_is_collected_and_one_in_use_is_not)
{
    start_with_source(1);
    fake.settings.connection_topics_max = 2;
    (void) fake_resolve("used", 7);
    (void) fake_resolve("idle", 7);
    ck_assert_int_eq(find_number(fake.exchange, 1, 1), ROUTES_REFUSED);
    for (int i = 0; i < 600; i++) { /* each passes one entry */
        routes_sweep(fake.routes);
        ck_assert(fake_finds("used"));
    }
    ck_assert_uint_eq(routes_live_topics(fake.exchange), 1);
    ck_assert_int_eq(find_number(fake.exchange, 1, 1), ROUTES_WAIT);
    fake_stop();
}

TEST(the_cache_is_bounded_in_entries_and_keeps_what_is_used)
{
    start_with_source(1);
    fake.settings.routes_entries_max = 1024;
    for (unsigned i = 0; i < 20000; i++) {
        if (find_number(fake.exchange, i, 1) != ROUTES_FOUND && i % 100 == 99) {
            answer_all();
        }
        ck_assert_uint_le(counts().entries, 1024 + 256);
        (void) find_number(fake.exchange, 0, 1);
    }
    answer_all();
    ck_assert_uint_le(counts().entries, 1024);
    uint64_t misses = counts().misses;
    ck_assert_int_eq(find_number(fake.exchange, 0, 1), ROUTES_FOUND);
    ck_assert_uint_le(misses, 20001);
    ck_assert_uint_gt(counts().evicted, 18000);
    fake_stop();
}

TEST(the_cache_is_bounded_in_bytes_with_all_that_belongs_to_it)
{
    start_with_source(1);
    fake.settings.routes_bytes_max = 1 << 20;
    for (unsigned i = 0; i < 20000; i++) {
        (void) find_number(fake.exchange, i, 1);
        if (i % 100 == 99) {
            fake_change(1, "some.matcher.of.no.topic.here.*");
            answer_all();
            ck_assert_uint_le(counts().bytes, 1 << 20);
        }
    }
    ck_assert_uint_gt(counts().entries, 1000);
    fake.settings.routes_bytes_max = 0;
    (void) fake_resolve("last", 7);
    fake_turn();
    ck_assert_uint_eq(counts().entries, 0);
    ck_assert_uint_eq(counts().bytes, 0);
    fake_stop();
}

TEST(topics_that_nobody_can_route_do_not_push_out_known_ones)
{
    start_with_source(1);
    fake.settings.routes_entries_max = 1024;
    (void) fake_resolve("known", 7);
    fake.source = 0;
    routes_source_gone(fake.routes, 1);
    for (unsigned i = 0; i < 5000; i++) {
        ck_assert_int_eq(find_number(fake.exchange, i, 1), ROUTES_WAIT);
    }
    for (int i = 0; i < 3; i++) {
        fake_turn();
    }
    ck_assert(fake_finds("known"));
    ck_assert_uint_le(counts().entries, 257);
    fake_stop();
}

TEST(removing_closes_the_gap_in_the_table)
{
    start_with_source(1);
    for (unsigned i = 0; i < 3000; i++) {
        (void) find_number(fake.exchange, i, 1);
    }
    answer_all();
    for (unsigned i = 0; i < 3000; i += 2) {
        char topic[32];
        (void) snprintf(topic, sizeof(topic), "topic.%u", i);
        fake_change(1, topic);
    }
    for (unsigned i = 1; i < 3000; i += 2) {
        TEST_ASSERT_FAST(find_number(fake.exchange, i, 1) == ROUTES_FOUND);
    }
    ck_assert_uint_eq(routes_live_topics(fake.exchange), 1500);
    fake_stop();
}
