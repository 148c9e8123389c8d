/* Registering, confirming and removing, groups and limits, with frontds that do what they should. */
#include <stdio.h>

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/client.pb-c.h"

#include "tests/lib/test.h"
#include "tests/unit/routerd_router/router_lib.h"

/* Two frontds that have nothing yet; seq is 3. */
static void open_with_two(struct rig *rig)
{
    rig_open(rig, NULL);
    router_start(rig->router);
    rig_turn(rig);
    rig_join(rig, 0);
    rig_join(rig, 1);
}

TEST(without_a_live_frontd_it_is_ready_at_once)
{
    struct rig rig;
    rig_open(&rig, NULL);
    ck_assert(!rig.is_ready);
    router_start(rig.router);
    ck_assert(rig.is_ready);
    rig_close(&rig);
}

TEST(a_session_begins_with_reset_and_synced_is_answered_with_ready)
{
    struct rig rig;
    rig_open(&rig, NULL);
    router_start(rig.router);
    rig_live(&rig, 0, true);
    rig_up(&rig, 0);
    rig_expect(&rig, 0, "reset 0");
    rig_expect(&rig, 0, "");
    rig_turn(&rig);
    rig_expect(&rig, 0, "changes 1"); /* it became ready before this one came */
    rig_synced(&rig, 0, 5);
    rig_expect(&rig, 0, "");
    rig_turn(&rig);
    rig_expect(&rig, 0, "changes 2 ready round=5");
    rig_close(&rig);
}

TEST(a_subscription_is_confirmed_only_when_all_have_applied_it)
{
    struct rig rig;
    open_with_two(&rig);
    (void) rig_subscribe(&rig, 0, 100, 7, "ns", "a.*");
    rig_expect(&rig, 0, "");
    rig_turn(&rig);
    rig_expect(&rig, 0, "changes 4 [ns a.*]");
    rig_expect(&rig, 1, "changes 4 [ns a.*]");
    rig_applied(&rig, 1, 4);
    rig_turn(&rig);
    rig_expect(&rig, 0, ""); /* the owner itself has not */
    rig_applied(&rig, 0, 4);
    rig_turn(&rig);
    rig_expect(&rig, 0, "confirmed 7");
    rig_expect(&rig, 1, "");
    ck_assert_str_eq(rig_route(&rig, "ns", "a.x"), "0:100");
    ck_assert_str_eq(rig_route(&rig, "ns", "a"), "");
    ck_assert_str_eq(rig_route(&rig, "other", "a.x"), "");
    rig_close(&rig);
}

TEST(confirmations_are_cumulative)
{
    struct rig rig;
    open_with_two(&rig);
    for (uint64_t i = 1; i <= 3; i++) {
        (void) rig_subscribe(&rig, 1, i, 10 * i, "ns", "a");
        (void) rig_subscribe(&rig, 1, 100 + i, 10 * i + 5, "ns", "b");
        rig_turn(&rig);
    }
    rig_applied(&rig, 0, 6);
    rig_applied(&rig, 1, 5);
    rig_turn(&rig);
    rig_expect(&rig, 1, "changes 4 [ns a b]");
    rig_expect(&rig, 1, "changes 5 [ns a b]");
    rig_expect(&rig, 1, "changes 6 [ns a b]");
    rig_expect(&rig, 1, "confirmed 25");
    rig_applied(&rig, 1, 6);
    rig_turn(&rig);
    rig_expect(&rig, 1, "confirmed 35");
    rig_expect(&rig, 1, "");
    rig_close(&rig);
}

TEST(a_removal_is_told_and_not_waited_for)
{
    struct rig rig;
    open_with_two(&rig);
    (void) rig_subscribe(&rig, 0, 1, 1, "ns/x", "a.# b");
    rig_turn(&rig);
    rig_drain(&rig, 0);
    rig_drain(&rig, 1);
    rig_turn(&rig);
    rig_expect(&rig, 0, "confirmed 1");
    rig_unsubscribe(&rig, 1, 1); /* another's: left out */
    rig_turn(&rig);
    rig_expect(&rig, 1, "");
    rig_unsubscribe(&rig, 0, 1);
    rig_unsubscribe(&rig, 0, 1);
    rig_turn(&rig);
    rig_expect(&rig, 0, "changes 5 [ns/x a.# b]");
    rig_expect(&rig, 1, "changes 5 [ns/x a.# b]");
    ck_assert_str_eq(rig_route(&rig, "ns/x", "a.b"), "");
    ck_assert_uint_eq(rig_counts(&rig).exchanges, 0);
    ck_assert_uint_eq(rig_counts(&rig).matchers, 0);
    rig_close(&rig);
}

TEST(several_matchers_of_a_subscription_make_one_copy)
{
    struct rig rig;
    open_with_two(&rig);
    (void) rig_subscribe(&rig, 0, 1, 1, "ns", "a.* a.b # a.b");
    (void) rig_subscribe(&rig, 1, 2, 1, "ns", "a.* a.b # a.b");
    rig_turn(&rig);
    ck_assert_str_eq(rig_route(&rig, "ns", "a.b"), "0:1 1:2");
    ck_assert_uint_eq(rig_counts(&rig).matchers, 8);
    rig_close(&rig);
}

TEST(equal_matchers_of_one_turn_are_told_once)
{
    struct rig rig;
    open_with_two(&rig);
    for (uint64_t i = 0; i < 100; i++) {
        (void) rig_subscribe(&rig, 0, i, i, "ns", "a b");
    }
    rig_unsubscribe(&rig, 0, 50);
    rig_turn(&rig);
    rig_expect(&rig, 1, "changes 4 [ns a b]");
    rig_expect(&rig, 1, "");
    ck_assert_uint_eq(rig_counts(&rig).subscriptions, 99);
    rig_close(&rig);
}

TEST(groups_list_their_members_that_match)
{
    struct rig rig;
    open_with_two(&rig);
    (void) rig_join_group(&rig, 0, 1, 1, "ns", "a.*", "workers", false);
    (void) rig_join_group(&rig, 1, 2, 1, "ns", "a.*", "workers", false);
    (void) rig_join_group(&rig, 1, 3, 2, "ns", "b", "workers", false);
    (void) rig_join_group(&rig, 0, 4, 2, "ns", "#", "all", true);
    (void) rig_subscribe(&rig, 1, 5, 3, "ns", "a.#");
    rig_turn(&rig);
    ck_assert_str_eq(rig_route(&rig, "ns", "a.x"), "1:5 all(sticky)=0:4 workers=0:1 1:2");
    ck_assert_str_eq(rig_route(&rig, "ns", "b"), "all(sticky)=0:4 workers=1:3");
    ck_assert_uint_eq(rig_counts(&rig).groups, 2);
    rig_unsubscribe(&rig, 1, 3);
    rig_unsubscribe(&rig, 0, 4);
    rig_turn(&rig);
    ck_assert_str_eq(rig_route(&rig, "ns", "b"), "");
    ck_assert_uint_eq(rig_counts(&rig).groups, 1);
    rig_close(&rig);
}

TEST(a_group_is_sticky_or_not_for_all_its_members)
{
    struct rig rig;
    open_with_two(&rig);
    (void) rig_join_group(&rig, 0, 1, 1, "ns", "a", "g", false);
    (void) rig_join_group(&rig, 1, 2, 1, "ns", "a", "g", true);
    (void) rig_join_group(&rig, 1, 3, 2, "ns/other", "a", "g", true);
    rig_expect(&rig, 1, "rejected 1 id=2 DIFFERS");
    rig_turn(&rig);
    rig_drain(&rig, 0);
    rig_expect(&rig, 1, "changes 4 [ns a] [ns/other a]");
    rig_applied(&rig, 1, 4);
    rig_turn(&rig);
    rig_expect(&rig, 1, "confirmed 2");
    rig_unsubscribe(&rig, 0, 1);
    (void) rig_join_group(&rig, 1, 4, 3, "ns", "a", "g", true);
    ck_assert_str_eq(rig_route(&rig, "ns", "a"), "g(sticky)=1:4");
    rig_close(&rig);
}

TEST(an_exchange_takes_no_more_than_its_limit)
{
    struct rig rig;
    struct router_options options = rig_options();
    options.subscriptions_max = 2;
    options.exchanges_max = 2;
    rig_open(&rig, &options);
    router_start(rig.router);
    rig_join(&rig, 0);
    (void) rig_subscribe(&rig, 0, 1, 1, "a", "x");
    (void) rig_subscribe(&rig, 0, 2, 2, "a", "x");
    (void) rig_subscribe(&rig, 0, 3, 3, "a", "x");
    rig_expect(&rig, 0, "rejected 3 id=3 QUOTA");
    (void) rig_subscribe(&rig, 0, 4, 4, "b", "x");
    (void) rig_subscribe(&rig, 0, 5, 5, "c", "x");
    rig_expect(&rig, 0, "rejected 5 id=5 QUOTA");
    rig_unsubscribe(&rig, 0, 1);
    (void) rig_subscribe(&rig, 0, 6, 6, "a", "x");
    rig_expect(&rig, 0, "");
    rig_turn(&rig);
    ck_assert_str_eq(rig_route(&rig, "a", "x"), "0:2,6");
    ck_assert_uint_eq(rig_counts(&rig).rejected, 2);
    rig_close(&rig);
}

TEST(a_message_that_too_many_want_goes_to_nobody)
{
    struct rig rig;
    struct router_options options = rig_options();
    options.entities_max = 3;
    rig_open(&rig, &options);
    router_start(rig.router);
    rig_join(&rig, 0);
    for (uint64_t i = 0; i < 3; i++) {
        (void) rig_subscribe(&rig, 0, i, i, "ns", "a");
        (void) rig_join_group(&rig, 0, 10 + i, 10 + i, "ns", "b", "g", false);
        (void) rig_join_group(&rig, 0, 20 + i, 20 + i, "ns", "b", "h", false);
    }
    ck_assert_str_eq(rig_route(&rig, "ns", "a"), "0:0,1,2");
    ck_assert_str_eq(rig_route(&rig, "ns", "b"), "g=0:10,11,12 h=0:20,21,22");
    (void) rig_subscribe(&rig, 0, 99, 99, "ns", "#");
    ck_assert_str_eq(rig_route(&rig, "ns", "a"), "QUOTA");
    ck_assert_str_eq(rig_route(&rig, "ns", "b"), "0:99 g=0:10,11,12 h=0:20,21,22");
    ck_assert_str_eq(rig_route(&rig, "ns", "c"), "0:99");
    rig_close(&rig);
}

TEST(an_answer_comes_before_the_change_that_it_knows_of)
{
    struct rig rig;
    open_with_two(&rig);
    (void) rig_subscribe(&rig, 1, 1, 1, "ns", "a");
    rig_lookup(&rig, 0, 9, "ns", "a");
    rig_turn(&rig);
    rig_expect(&rig, 0, "routes 9 {1:1}");
    rig_expect(&rig, 0, "changes 4 [ns a]");
    rig_close(&rig);
}

TEST(nothing_overtakes_on_a_session_without_credit)
{
    struct rig rig;
    open_with_two(&rig);
    rig.is_blocked[0] = true;
    rig_lookup(&rig, 0, 8, "ns", "a,b");
    (void) rig_subscribe(&rig, 1, 1, 1, "ns", "a");
    rig_turn(&rig);
    rig_lookup(&rig, 0, 9, "ns", "a");
    rig_unsubscribe(&rig, 1, 1);
    rig_turn(&rig);
    rig_expect(&rig, 1, "changes 4 [ns a]");
    rig_expect(&rig, 0, "");
    ck_assert_uint_gt(rig_counts(&rig).outbound_bytes, 0);
    rig.is_blocked[0] = false; /* there is some, but the bus has not said so yet */
    (void) rig_subscribe(&rig, 1, 2, 2, "ns", "late");
    rig_turn(&rig);
    router_credit(rig.router, 0);
    rig_expect(&rig, 0, "routes 8 {} {}");
    rig_expect(&rig, 0, "changes 4 [ns a]");
    rig_expect(&rig, 0, "routes 9 {1:1}");
    rig_expect(&rig, 0, "changes 5 [ns a]");
    rig_expect(&rig, 0, "changes 6 [ns late]");
    ck_assert_uint_eq(rig_counts(&rig).outbound_bytes, 0);
    rig_close(&rig);
}

TEST(a_round_comes_back_behind_all_changes)
{
    struct rig rig;
    open_with_two(&rig);
    (void) rig_subscribe(&rig, 1, 1, 1, "ns", "a");
    rig_synced(&rig, 0, 42);
    rig_turn(&rig);
    rig_expect(&rig, 0, "changes 4 ready round=42 [ns a]");
    rig_expect(&rig, 1, "changes 4 [ns a]");
    rig_synced(&rig, 0, 43);
    rig_turn(&rig);
    rig_expect(&rig, 0, "changes 5 ready round=43");
    rig_expect(&rig, 1, "changes 5");
    rig_close(&rig);
}

TEST(names_belong_to_one_request_of_one_frontd)
{
    struct rig rig;
    open_with_two(&rig);
    rig_claim(&rig, 0, 1, "mine", 11);
    ck_assert_int_eq(rig.reply_status, 0);
    rig_claim(&rig, 1, 2, "mine", 11);
    ck_assert_int_eq(rig.reply_status, ERR_RS_IN_USE);
    rig_claim(&rig, 0, 3, "mine", 12);
    ck_assert_int_eq(rig.reply_status, ERR_RS_IN_USE);
    rig_claim(&rig, 0, 4, "mine", 11);
    ck_assert_int_eq(rig.reply_status, 0);
    rig_resolve(&rig, 1, 5, "mine");
    ck_assert_int_eq(rig.reply_status, 0);
    struct span rest = buf_span(&rig.reply_meta);
    struct pb_field field;
    ck_assert_int_eq(pb_next(&rest, &field), 1);
    ck_assert_uint_eq(field.value, 0);
    ck_assert_int_eq(pb_next(&rest, &field), 1);
    ck_assert_uint_eq(field.value, 11);
    rig_release(&rig, 1, "mine", 11); /* not his */
    rig_release(&rig, 0, "mine", 12);
    rig_resolve(&rig, 1, 6, "mine");
    ck_assert_int_eq(rig.reply_status, 0);
    rig_release(&rig, 0, "mine", 11);
    rig_resolve(&rig, 1, 7, "mine");
    ck_assert_int_eq(rig.reply_status, ERR_NOT_FOUND);
    ck_assert_uint_eq(rig_counts(&rig).names, 0);
    rig_close(&rig);
}

TEST(names_have_a_limit)
{
    struct rig rig;
    struct router_options options = rig_options();
    options.names_max = 2;
    rig_open(&rig, &options);
    router_start(rig.router);
    rig_join(&rig, 0);
    rig_join(&rig, 1);
    rig_claim(&rig, 0, 1, "a", 1);
    rig_claim(&rig, 1, 1, "b", 1);
    rig_claim(&rig, 0, 1, "c", 1);
    ck_assert_int_eq(rig.reply_status, ERR_QUOTA);
    rig_live(&rig, 1, false);
    rig_down(&rig, 1);
    rig_claim(&rig, 0, 1, "c", 1); /* what is dead makes room */
    ck_assert_int_eq(rig.reply_status, 0);
    rig_close(&rig);
}

TEST(info_tells_the_numbers_and_the_first_groups_by_name)
{
    struct rig rig;
    struct buf meta = {0};
    open_with_two(&rig);
    for (uint64_t i = 0; i < 1200; i++) {
        char name[16];
        (void) snprintf(name, sizeof(name), "g%04u", (unsigned) (1199 - i));
        (void) rig_join_group(&rig, 0, i, i, "ns/x", "a b", name, i == 1199);
    }
    (void) rig_join_group(&rig, 1, 5000, 1, "ns/x", "a", "g0000", true);
    rig_turn(&rig);
    pb_append_bytes(&meta, 1, span_of("ns"));
    pb_append_bytes(&meta, 2, span_of("x"));
    (void) rig_send(&rig, 1, RAILGUN__BUS_TYPE__BUS_ROUTE_INFO, true, 3, buf_span(&meta));
    buf_release(&meta);
    ck_assert_int_eq(rig.reply_status, 0);
    ck_assert_uint_eq(rig.reply_ticket, 3);
    Railgun__ExchangeInfo *info =
        railgun__exchange_info__unpack(NULL, rig.reply_meta.size, rig.reply_meta.data);
    ck_assert_ptr_nonnull(info);
    ck_assert_str_eq(info->name, "x");
    ck_assert_uint_eq(info->subscriptions, 1201);
    ck_assert_uint_eq(info->matchers, 2401);
    ck_assert_uint_eq(info->n_groups, 1000);
    ck_assert_str_eq(info->groups[0]->name, "g0000");
    ck_assert_uint_eq(info->groups[0]->members, 2);
    ck_assert(info->groups[0]->sticky_by_key);
    ck_assert_str_eq(info->groups[999]->name, "g0999");
    ck_assert(!info->groups[999]->sticky_by_key);
    railgun__exchange_info__free_unpacked(info, NULL);
    (void) rig_send(&rig, 1, RAILGUN__BUS_TYPE__BUS_ROUTE_INFO, true, 4, (struct span){0});
    info = railgun__exchange_info__unpack(NULL, rig.reply_meta.size, rig.reply_meta.data);
    ck_assert_uint_eq(info->subscriptions, 0);
    railgun__exchange_info__free_unpacked(info, NULL);
    rig_close(&rig);
}
