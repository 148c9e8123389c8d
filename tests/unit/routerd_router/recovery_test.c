/* Frontds that die, are silent or come late; a router that starts again or stood still. */
#include <stdio.h>

#include "common/base/err.h"
#include "common/wire/route_lease.h"

#include "tests/lib/test.h"
#include "tests/unit/routerd_router/router_lib.h"

static void open_with_two(struct rig *rig)
{
    rig_open(rig, NULL);
    router_start(rig->router);
    rig_turn(rig);
    rig_join(rig, 0);
    rig_join(rig, 1);
}

TEST(after_a_start_it_waits_for_all_live_frontds)
{
    struct rig rig;
    rig_open(&rig, NULL);
    rig_live(&rig, 0, true);
    rig_live(&rig, 2, true);
    router_start(rig.router);
    ck_assert(!rig.is_ready);
    ck_assert_str_eq(rig.reason, "waiting for frontd-0");
    rig_up(&rig, 0);
    rig_expect(&rig, 0, "reset 0");
    (void) rig_subscribe(&rig, 0, 1, 5, "ns", "a");
    rig_synced(&rig, 0, 1);
    rig_lookup(&rig, 0, 7, "ns", "a,b");
    rig_turn(&rig);
    ck_assert_str_eq(rig.reason, "waiting for frontd-2");
    rig_expect(&rig, 0, "");
    ck_assert_uint_eq(rig_counts(&rig).held, 1);
    rig_up(&rig, 2);
    (void) rig_subscribe(&rig, 2, 2, 1, "ns", "#");
    rig_turn(&rig);
    ck_assert(!rig.is_ready);
    rig_synced(&rig, 2, 0);
    rig_turn(&rig);
    ck_assert(rig.is_ready);
    /* Ready, with all that was gathered; then the answer that was held. Nothing is confirmed before all have applied that. */
    rig_expect(&rig, 0, "changes 1 ready round=1 [ns a #]");
    rig_expect(&rig, 0, "routes 7 {0:1 2:2} {2:2}");
    rig_expect(&rig, 0, "");
    ck_assert_uint_eq(rig_counts(&rig).held, 0);
    rig_expect(&rig, 2, "reset 0");
    rig_expect(&rig, 2, "changes 1 ready [ns a #]");
    rig_applied(&rig, 0, 1);
    rig_turn(&rig);
    rig_expect(&rig, 0, "");
    rig_applied(&rig, 2, 1);
    rig_turn(&rig);
    rig_expect(&rig, 0, "confirmed 5");
    rig_expect(&rig, 2, "confirmed 1");
    rig_close(&rig);
}

TEST(a_live_frontd_that_does_not_come_is_waited_for_a_lease_long)
{
    struct rig rig;
    rig_open(&rig, NULL);
    rig_live(&rig, 0, true);
    rig_live(&rig, 1, true);
    router_start(rig.router);
    rig_up(&rig, 0);
    rig_synced(&rig, 0, 0);
    rig_pass(&rig, ROUTE_LEASE_MS - 1);
    ck_assert(!rig.is_ready);
    ck_assert_str_eq(rig.reason, "waiting for frontd-1");
    rig_pass(&rig, 1);
    ck_assert(rig.is_ready);
    ck_assert_uint_eq(rig_counts(&rig).given_up, 1);
    rig_close(&rig);
}

TEST(a_frontd_that_dies_during_recovery_is_not_waited_for)
{
    struct rig rig;
    rig_open(&rig, NULL);
    rig_live(&rig, 0, true);
    rig_live(&rig, 1, true);
    router_start(rig.router);
    rig_up(&rig, 0);
    rig_up(&rig, 1);
    (void) rig_subscribe(&rig, 1, 2, 1, "ns", "#");
    rig_synced(&rig, 0, 0);
    rig_turn(&rig);
    ck_assert(!rig.is_ready);
    rig_live(&rig, 1, false);
    rig_down(&rig, 1);
    rig_turn(&rig);
    ck_assert(rig.is_ready);
    ck_assert_uint_eq(rig_counts(&rig).subscriptions, 0);
    rig_close(&rig);
}

TEST(who_dies_is_not_waited_for_and_what_it_had_goes)
{
    struct rig rig;
    open_with_two(&rig);
    (void) rig_subscribe(&rig, 1, 50, 1, "ns", "b");
    rig_claim(&rig, 1, 1, "name", 5);
    rig_turn(&rig);
    rig_drain(&rig, 0);
    rig_drain(&rig, 1);
    (void) rig_subscribe(&rig, 0, 1, 3, "ns", "a");
    rig_turn(&rig);
    rig_expect(&rig, 0, "changes 5 [ns a]");
    rig_applied(&rig, 0, 5);
    rig_turn(&rig);
    rig_expect(&rig, 0, "");
    rig_live(&rig, 1, false);
    rig_turn(&rig);
    rig_expect(&rig, 0, ""); /* its session is there yet */
    rig_down(&rig, 1);
    rig_turn(&rig);
    rig_expect(&rig, 0, "changes 6 [ns b]");
    rig_expect(&rig, 0, "confirmed 3");
    ck_assert_str_eq(rig_route(&rig, "ns", "b"), "");
    rig_claim(&rig, 0, 2, "name", 9);
    ck_assert_int_eq(rig.reply_status, 0);
    rig_close(&rig);
}

TEST(who_lives_and_lost_its_session_is_waited_for_a_lease_long)
{
    struct rig rig;
    open_with_two(&rig);
    (void) rig_subscribe(&rig, 1, 50, 1, "ns", "b");
    rig_turn(&rig);
    rig_drain(&rig, 0);
    rig_down(&rig, 1);
    (void) rig_subscribe(&rig, 0, 1, 3, "ns", "a");
    rig_turn(&rig);
    rig_drain(&rig, 0);
    rig_pass(&rig, ROUTE_LEASE_MS - 1);
    rig_expect(&rig, 0, "");
    ck_assert_str_eq(rig_route(&rig, "ns", "b"), "1:50"); /* it may be a moment's trouble */
    rig_pass(&rig, 1);
    rig_expect(&rig, 0, "confirmed 3");
    rig_turn(&rig);
    rig_expect(&rig, 0, "");
    ck_assert_str_eq(rig_route(&rig, "ns", "b"), "1:50"); /* as long as its process lives */
    rig_close(&rig);
}

TEST(who_comes_back_keeps_what_it_tells_again_and_loses_the_rest)
{
    struct rig rig;
    open_with_two(&rig);
    (void) rig_subscribe(&rig, 1, 50, 1, "ns", "b");
    (void) rig_subscribe(&rig, 1, 51, 2, "ns", "c");
    rig_claim(&rig, 1, 1, "kept", 5);
    rig_claim(&rig, 1, 2, "gone", 6);
    rig_turn(&rig);
    rig_drain(&rig, 0);
    rig_down(&rig, 1);
    rig_pass(&rig, 100);
    rig_up(&rig, 1);
    rig_expect(&rig, 1, "reset 4");
    (void) rig_subscribe(&rig, 1, 51, 2, "ns", "c");
    rig_claim(&rig, 1, 3, "kept", 5);
    rig_turn(&rig);
    rig_expect(&rig, 0, ""); /* nothing has changed */
    (void) rig_subscribe(&rig, 0, 9, 9, "ns", "z");
    rig_turn(&rig);
    rig_expect(&rig, 0, "changes 5 [ns z]");
    rig_expect(&rig, 1, "changes 5 [ns z]");
    rig_applied(&rig, 0, 5);
    rig_applied(&rig, 1, 5);
    rig_turn(&rig);
    rig_expect(&rig, 0, ""); /* frontd-1 may still use what an earlier session said */
    rig_synced(&rig, 1, 8);
    rig_turn(&rig);
    rig_expect(&rig, 0, "changes 6 [ns b]");
    rig_expect(&rig, 1, "changes 6 ready round=8 [ns b]");
    rig_applied(&rig, 0, 6);
    rig_applied(&rig, 1, 6);
    rig_turn(&rig);
    rig_expect(&rig, 0, "confirmed 9");
    rig_expect(&rig, 1, "confirmed 2");
    ck_assert_str_eq(rig_route(&rig, "ns", "c"), "1:51");
    rig_resolve(&rig, 0, 4, "kept");
    ck_assert_int_eq(rig.reply_status, 0);
    rig_resolve(&rig, 0, 4, "gone");
    ck_assert_int_eq(rig.reply_status, ERR_NOT_FOUND);
    ck_assert_uint_eq(rig_counts(&rig).names, 1);
    rig_close(&rig);
}

TEST(another_process_of_the_same_name_inherits_nothing)
{
    struct rig rig;
    open_with_two(&rig);
    (void) rig_subscribe(&rig, 1, 50, 1, "ns", "b");
    rig_turn(&rig);
    rig_down(&rig, 1);
    router_up(rig.router, 1, 999999); /* its epoch */
    ck_assert_str_eq(rig_route(&rig, "ns", "b"), "");
    rig_turn(&rig);
    ck_assert_uint_eq(rig_counts(&rig).subscriptions, 0);
    rig_close(&rig);
}

TEST(who_is_live_but_silent_is_given_up_after_a_lease)
{
    struct rig rig;
    open_with_two(&rig);
    rig_pass(&rig, 60000); /* who owes nothing may be silent */
    ck_assert_uint_eq(rig_counts(&rig).given_up, 0);
    (void) rig_subscribe(&rig, 0, 1, 1, "ns", "a");
    rig_turn(&rig);
    rig_drain(&rig, 0);
    rig_pass(&rig, ROUTE_LEASE_MS - 1);
    rig_expect(&rig, 0, "");
    rig_pass(&rig, 1);
    rig_expect(&rig, 0, "confirmed 1");
    ck_assert_uint_eq(rig_counts(&rig).given_up, 1);
    /* It is heard again: from now on it is waited for. */
    rig_lookup(&rig, 1, 1, "ns", "q");
    (void) rig_subscribe(&rig, 0, 2, 2, "ns", "a");
    rig_turn(&rig);
    rig_drain(&rig, 0);
    rig_pass(&rig, 1000);
    rig_expect(&rig, 0, "");
    rig_drain(&rig, 1);
    rig_turn(&rig);
    rig_expect(&rig, 0, "confirmed 2");
    rig_close(&rig);
}

TEST(who_talks_is_not_silent_however_long_it_takes)
{
    struct rig rig;
    open_with_two(&rig);
    (void) rig_subscribe(&rig, 0, 1, 1, "ns", "a");
    rig_turn(&rig);
    rig_drain(&rig, 0);
    for (unsigned i = 0; i < 10; i++) {
        rig_pass(&rig, ROUTE_LEASE_MS / 2);
        rig_lookup(&rig, 1, 1, "ns", "q");
        rig_expect(&rig, 0, "");
    }
    rig_close(&rig);
}

TEST(a_frontd_that_appears_is_waited_for_before_it_has_a_session)
{
    struct rig rig;
    open_with_two(&rig);
    rig_live(&rig, 2, true);
    (void) rig_subscribe(&rig, 0, 1, 1, "ns", "a");
    rig_turn(&rig);
    rig_drain(&rig, 0);
    rig_drain(&rig, 1);
    rig_turn(&rig);
    rig_expect(&rig, 0, "");
    ck_assert(rig.is_ready);
    rig_up(&rig, 2);
    rig_turn(&rig);
    rig_expect(&rig, 0, "");
    rig_synced(&rig, 2, 0);
    rig_turn(&rig);
    for (unsigned i = 1; i <= 2; i++) {
        rig_drain(&rig, i);
    }
    rig_expect(&rig, 0, "changes 5");
    rig_applied(&rig, 0, 5);
    rig_turn(&rig);
    rig_expect(&rig, 0, "confirmed 1");
    rig_close(&rig);
}

TEST(who_stood_still_begins_anew)
{
    struct rig rig;
    open_with_two(&rig);
    (void) rig_subscribe(&rig, 1, 50, 1, "ns", "b");
    rig_turn(&rig);
    rig_drain(&rig, 0);
    rig_drain(&rig, 1);
    rig_pass(&rig, 10 * ROUTE_PAUSE_MS);
    rig_drain(&rig, 1);
    ck_assert_uint_eq(rig_counts(&rig).resets, 0);
    rig_stand_still(&rig, ROUTE_PAUSE_MS + 1);
    ck_assert(rig.is_closed[0] && rig.is_closed[1]);
    rig_lookup(&rig, 0, 3, "ns", "b"); /* was on its way: no answer */
    rig_turn(&rig);
    ck_assert(!rig.is_ready);
    rig_down(&rig, 0);
    rig_down(&rig, 1);
    rig_turn(&rig);
    for (unsigned i = 0; i < 2; i++) {
        rig_up(&rig, i);
        rig_expect(&rig, i, "reset 4");
    }
    rig_lookup(&rig, 0, 4, "ns", "b");
    (void) rig_subscribe(&rig, 1, 50, 1, "ns", "b");
    rig_synced(&rig, 0, 0);
    rig_turn(&rig);
    rig_expect(&rig, 0, "");
    rig_synced(&rig, 1, 0);
    rig_turn(&rig);
    ck_assert(rig.is_ready);
    rig_expect(&rig, 0, "changes 5 ready");
    rig_expect(&rig, 0, "routes 4 {1:50}");
    ck_assert_uint_eq(rig_counts(&rig).resets, 1);
    rig_close(&rig);
}

TEST(who_stood_still_alone_stays_ready)
{
    struct rig rig;
    rig_open(&rig, NULL);
    router_start(rig.router);
    rig_turn(&rig);
    rig_stand_still(&rig, 100000);
    rig_turn(&rig);
    ck_assert(rig.is_ready);
    ck_assert(router_is_ready(rig.router));
    rig_close(&rig);
}

TEST(names_in_recovery_are_kept_for_who_had_them)
{
    struct rig rig;
    rig_open(&rig, NULL);
    rig_live(&rig, 0, true);
    rig_live(&rig, 1, true);
    router_start(rig.router);
    rig_up(&rig, 0);
    rig_up(&rig, 1);
    rig_synced(&rig, 0, 0);
    rig_claim(&rig, 0, 1, "n", 10); /* a new one, as it is synced: it waits */
    rig_resolve(&rig, 0, 2, "n");
    ck_assert_uint_eq(rig.replies, 0);
    rig_claim(&rig, 1, 3, "n", 20); /* what it had */
    ck_assert_uint_eq(rig.replies, 1);
    ck_assert_int_eq(rig.reply_status, 0);
    rig_synced(&rig, 1, 0);
    rig_turn(&rig);
    ck_assert(rig.is_ready);
    ck_assert_uint_eq(rig.replies, 3);
    ck_assert_uint_eq(rig.reply_ticket, 2); /* in their order: the claim was refused */
    ck_assert_int_eq(rig.reply_status, 0);
    rig_resolve(&rig, 0, 4, "n");
    rig_claim(&rig, 0, 5, "n", 10);
    ck_assert_int_eq(rig.reply_status, ERR_RS_IN_USE);
    rig_close(&rig);
}

TEST(very_many_changes_in_recovery_are_told_as_one)
{
    struct rig rig;
    rig_open(&rig, NULL);
    rig_live(&rig, 0, true);
    router_start(rig.router);
    rig_up(&rig, 0);
    rig_expect(&rig, 0, "reset 0");
    (void) rig_subscribe(&rig, 0, 500000, 1, "ns/small", "s");
    for (uint64_t i = 0; i < 20000; i++) {
        char matcher[32];
        (void) snprintf(matcher, sizeof(matcher), "%s.%u", i == 0 ? "$sys" : "a", (unsigned) i);
        (void) rig_subscribe(&rig, 0, i, 2 + i, "ns", matcher);
    }
    (void) rig_subscribe(&rig, 0, 500001, 30000, "ns", "$sys.1");
    rig_synced(&rig, 0, 0);
    rig_turn(&rig);
    rig_expect(&rig, 0, "changes 1 ready [ns/small s] [ns $sys.0 # $sys.1]");
    rig_applied(&rig, 0, 1);
    rig_turn(&rig);
    rig_expect(&rig, 0, "confirmed 30000");
    rig_close(&rig);
}
