/* Leases: who is waited for, and when this frontd trusts itself. */
#include "common/base/err.h"
#include "common/wire/route_lease.h"
#include "tests/lib/test.h"
#include "tests/unit/frontd_routers/fake.h"

enum {
    SYNCED = RAILGUN__BUS_TYPE__BUS_ROUTE_SYNCED,
    LOOKUP = RAILGUN__BUS_TYPE__BUS_ROUTE_LOOKUP,
    TICK_MS = 150, /* a tick and a step of time */
    PROBE_MS = 350,
};

static void die(unsigned instance)
{
    fake_down(instance);
    fake_live(instance, false);
}

/* Both routerds have it, but for routerd 1, which has not confirmed. */
static struct registration *half_confirmed(void)
{
    fake_start();
    fake_make_ready(0);
    fake_make_ready(1);
    struct registration *one = fake_add(11);
    fake_turn();
    fake_confirm(0, one->serial);
    ck_assert_uint_eq(fake.confirmed_count, 0);
    return one;
}

TEST(a_routerd_that_died_counts_until_all_have_noticed)
{
    struct registration *one = half_confirmed();
    die(1);
    fake_pass(ROUTE_LEASE_MS - TICK_MS);
    ck_assert_uint_eq(fake.confirmed_count, 0);
    fake_pass(2 * TICK_MS);
    ck_assert_uint_eq(fake.confirmed_count, 1);
    fake_free(&one);
    fake_stop();
}

TEST(a_routerd_that_died_before_it_could_answer_anybody_does_not_count)
{
    fake_start();
    fake_make_ready(0);
    fake_live(1, true);
    fake_up(1);
    struct registration *one = fake_add(11);
    fake_turn();
    fake_confirm(0, one->serial);
    ck_assert_uint_eq(fake.confirmed_count, 0);
    die(1);
    ck_assert_uint_eq(fake.confirmed_count, 1);
    fake_free(&one);
    fake_stop();
}

TEST(a_routerd_that_lives_without_a_session_is_given_up_after_the_lease)
{
    struct registration *one = half_confirmed();
    fake_down(1);
    fake_pass(ROUTE_LEASE_MS - TICK_MS);
    ck_assert_uint_eq(fake.confirmed_count, 0);
    fake_pass(2 * TICK_MS);
    ck_assert_uint_eq(fake.confirmed_count, 1);
    fake_free(&one);
    fake_stop();
}

TEST(a_routerd_that_is_silent_is_given_up_after_the_lease_and_not_if_it_says_anything)
{
    struct registration *one = half_confirmed();
    fake.peers[1].is_mute = true;
    for (int i = 0; i < 10; i++) {
        fake_pass(1000);
        fake_changes(1, NULL, false, 0); /* busy, but there */
    }
    ck_assert_uint_eq(fake.confirmed_count, 0);
    fake_pass(ROUTE_LEASE_MS - TICK_MS);
    ck_assert_uint_eq(fake.confirmed_count, 0);
    fake_pass(PROBE_MS + TICK_MS);
    ck_assert_uint_eq(fake.confirmed_count, 1);
    fake_free(&one);
    fake_stop();
}

TEST(routes_of_a_silent_routerd_are_not_used_when_there_is_another)
{
    fake_start();
    fake_make_ready(0);
    ck_assert_uint_eq(fake_resolve("a", 5), 0);
    fake_make_ready(1);
    fake.peers[0].is_mute = true;
    fake_pass(ROUTE_PAUSE_MS - TICK_MS);
    ck_assert(fake_finds("a"));
    fake_pass(PROBE_MS + 2 * TICK_MS);
    ck_assert_uint_eq(fake_resolve("a", 5), 1);
    ck_assert_uint_eq(fake_resolve("b", 5), 1);
    ck_assert_uint_eq(fake_resolve("c", 5), 1);
    fake.peers[0].is_mute = false;
    fake_pass(100);
    ck_assert_uint_eq(fake_resolve("d", 5), 0); /* it is asked again */
    fake_pass(5000);
    ck_assert(fake_finds("a"));
    fake_stop();
}

TEST(routes_of_a_silent_routerd_go_on_until_there_is_another)
{
    fake_start();
    fake_make_ready(0);
    (void) fake_resolve("a", 5);
    fake.peers[0].is_mute = true;
    fake_pass(10000);
    ck_assert(fake_finds("a"));
    fake_make_ready(1);
    ck_assert(!fake_finds("a"));
    fake_stop();
}

TEST(one_routerd_alone_that_was_silent_does_not_make_its_routes_stale)
{
    fake_start();
    fake_make_ready(0);
    (void) fake_resolve("a", 5);
    fake.peers[0].is_mute = true;
    fake_pass(3000);
    fake.peers[0].is_mute = false;
    fake_pass(100);
    ck_assert(fake_finds("a"));
    fake_stop();
}

TEST(a_frontd_without_a_session_to_a_live_routerd_does_not_trust_itself)
{
    fake_start();
    fake_make_ready(0);
    fake_make_ready(1);
    (void) fake_resolve("a", 5); /* of routerd 0 */
    fake_down(1);
    fake_pass(ROUTE_PAUSE_MS - TICK_MS);
    ck_assert(fake_finds("a"));
    fake_pass(2 * TICK_MS);
    ck_assert(!fake_finds("a"));
    uint64_t round = fake_number(fake_expect(0, SYNCED), 1);
    fake_changes(0, NULL, true, round);
    ck_assert(!fake_finds("a"));
    fake_up(1);
    fake_reset(1);
    ck_assert(!fake_finds("a"));
    round = fake_number(fake_expect(1, SYNCED), 1);
    unsigned progress = fake.progress;
    fake_changes(1, NULL, true, round);
    ck_assert(fake_finds("a"));
    ck_assert_uint_eq(fake.progress, progress + 1);
    fake_stop();
}

TEST(trust_comes_back_when_the_missing_one_is_given_up)
{
    fake_start();
    fake_make_ready(0);
    (void) fake_resolve("a", 5);
    fake_live(1, true); /* lives, but never comes */
    fake_pass(ROUTE_PAUSE_MS + TICK_MS);
    ck_assert(!fake_finds("a"));
    uint64_t round = fake_number(fake_expect(0, SYNCED), 1);
    fake_changes(0, NULL, true, round - 1); /* another one */
    fake_pass(ROUTE_LEASE_MS);
    ck_assert(!fake_finds("a"));
    fake_changes(0, NULL, true, round);
    ck_assert(fake_finds("a"));
    fake_pass(10000);
    ck_assert(fake_finds("a"));
    fake_stop();
}

TEST(without_any_routerd_routes_are_trusted)
{
    fake_start();
    fake_make_ready(0);
    (void) fake_resolve("a", 5);
    die(0);
    fake_pass(30000);
    ck_assert(fake_finds("a"));
    fake_stop();
}

/* --- standing still --- */

static void stand_still(uint64_t ms)
{
    fake.now_ms += ms;
}

TEST(who_stood_still_uses_no_route_until_all_have_been_asked)
{
    fake_start();
    fake_make_ready(0);
    fake_make_ready(1);
    (void) fake_resolve("a", 5);
    fake_pass(500);
    unsigned looks = fake.looks;
    stand_still(ROUTE_PAUSE_MS + 1);
    ck_assert(!fake_finds("a")); /* at once, before any timer */
    ck_assert_uint_gt(fake.looks, looks);
    fake_turn();
    uint64_t first = fake_number(fake_expect(0, SYNCED), 1);
    uint64_t second = fake_number(fake_expect(1, SYNCED), 1);
    fake_changes(1, NULL, true, second);
    ck_assert(!fake_finds("a"));
    fake_changes(0, "x.y", true, first);
    ck_assert(fake_finds("a"));
    fake_stop();
}

TEST(a_short_stop_does_not_matter)
{
    fake_start();
    fake_make_ready(0);
    (void) fake_resolve("a", 5);
    fake_pass(500);
    stand_still(ROUTE_PAUSE_MS - TICK_MS);
    ck_assert(fake_finds("a"));
    fake_stop();
}

TEST(who_stood_still_does_not_take_others_for_silent)
{
    struct registration *one = half_confirmed();
    fake_pass(500);
    fake.peers[1].is_mute = true;
    fake_pass(PROBE_MS); /* a probe is under way */
    stand_still(60000);
    fake_pass(100);
    ck_assert_uint_eq(fake.confirmed_count, 0);
    fake.peers[1].is_mute = false;
    fake_pass(10000);
    ck_assert_uint_eq(fake.confirmed_count, 0);
    fake_free(&one);
    fake_stop();
}

TEST(standing_still_twice_needs_the_newer_round)
{
    fake_start();
    fake_make_ready(0);
    (void) fake_resolve("a", 5);
    stand_still(ROUTE_PAUSE_MS + 1);
    ck_assert(!fake_finds("a"));
    fake_turn();
    uint64_t first = fake_number(fake_expect(0, SYNCED), 1);
    stand_still(ROUTE_PAUSE_MS + 1);
    ck_assert(!fake_finds("a"));
    fake_turn();
    uint64_t second = fake_number(fake_expect(0, SYNCED), 1);
    fake_changes(0, NULL, true, first);
    ck_assert(!fake_finds("a"));
    fake_changes(0, NULL, true, second);
    ck_assert(fake_finds("a"));
    fake_stop();
}
