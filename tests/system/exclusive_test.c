/* Exclusive groups over real daemons, by frames: one is active, its epoch is in everything it gets, and who was replaced is fenced. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/test.h"
#include "tests/system/node.h"
#include "tests/system/raw.h"

#include "common/base/err.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

enum { CHANNEL = 3, LONG = 10 };

static const char *const stream = "orders";
static const char *const group = "owner";

/* A running node with a stream of `records` records and an exclusive group. */
static struct node *node_with_stream(unsigned records, Railgun__GroupSpec__Order order)
{
    struct node *node = node_new();
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    int code = 0;
    node_start_all(node);
    struct raw *raw = raw_open(node);
    spec.has_mode = spec.has_order = true;
    spec.mode = RAILGUN__GROUP_SPEC__MODE__MODE_EXCLUSIVE;
    spec.order = order;
    raw_ensure_specs(raw, stream, NULL, group, &spec);
    for (unsigned i = 1; i <= records; i++) {
        ck_assert_uint_eq(raw_publish(raw, stream, "a record", &code), i);
    }
    raw_close(&raw);
    return node;
}

static struct node *strict_node(unsigned records)
{
    return node_with_stream(records, RAILGUN__GROUP_SPEC__ORDER__ORDER_STRICT);
}

static struct raw *member_join(struct node *node, uint64_t credit)
{
    struct raw *member = raw_open(node);
    raw_consume(member, CHANNEL, stream, group, credit);
    return member;
}

/* The next event must be this one; deliveries before it are skipped. Returns its epoch. */
static uint64_t expect_event(struct raw *member, Railgun__GroupEvent__Type type)
{
    struct raw_frame frame;
    for (;;) {
        ck_assert_int_eq(raw_receive(member, LONG, &frame), RAW_FRAME);
        if (frame.field == RAW_GROUP_EVENT) {
            break;
        }
    }
    ck_assert_uint_eq(pb_find_varint(frame.body, 1), type);
    return pb_find_varint(frame.body, 4);
}

/* Deliveries first .. last with this epoch, in order. Returns the attempt of the first. */
static uint32_t expect_run(struct raw *member, uint64_t epoch, uint64_t first, uint64_t last)
{
    uint32_t attempt = 0;
    while (first <= last) {
        struct raw_delivery delivery;
        ck_assert_msg(raw_deliver(member, CHANNEL, LONG, &delivery), "%lu was not delivered",
                      first);
        ck_assert_uint_eq(delivery.base, first);
        ck_assert_uint_eq(delivery.epoch, epoch);
        attempt = attempt == 0 ? delivery.attempt : attempt;
        first += delivery.count;
    }
    ck_assert_uint_eq(first, last + 1);
    return attempt;
}

static Railgun__DescribeOk *ask_group(struct node *node)
{
    struct raw *raw = raw_open(node);
    Railgun__DescribeOk *ok = raw_describe(raw, stream, group);
    ck_assert_ptr_nonnull(ok->group);
    raw_close(&raw);
    return ok;
}

static void expect_sound(struct node *node)
{
    Railgun__DescribeOk *ok = ask_group(node);
    ck_assert_uint_eq(ok->group->check_errors, 0);
    SCAN_FREE(&ok);
}

static void expect_silence(struct raw *member, struct node *node)
{
    struct raw_delivery delivery;
    expect_sound(node);
    ck_assert(!raw_deliver(member, CHANNEL, 0.05, &delivery));
}

#define EVENT(name) RAILGUN__GROUP_EVENT__TYPE__EVENT_##name

TEST_WITHIN(one_is_active_and_the_next_takes_over_when_its_connection_ends, 60)
{
    struct node *node = strict_node(10);
    struct raw *one = member_join(node, 100);
    ck_assert_uint_eq(expect_event(one, EVENT(ACTIVE)), 1);
    struct raw *two = member_join(node, 100);
    struct raw *three = member_join(node, 100);
    (void) expect_event(two, EVENT(STANDBY));
    (void) expect_event(three, EVENT(STANDBY));
    ck_assert_uint_eq(expect_run(one, 1, 1, 10), 1);
    expect_silence(two, node);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 4, 4, true), 0); /* and what lies below */
    raw_close(&one);
    ck_assert_uint_eq(expect_event(two, EVENT(ACTIVE)), 2);
    ck_assert_uint_eq(expect_run(two, 2, 5, 10), 2);
    Railgun__DescribeOk *ok = ask_group(node);
    ck_assert_uint_eq(ok->group->epoch, 2);
    ck_assert_uint_eq(ok->group->floor, 4);
    ck_assert_uint_eq(ok->group->n_members, 2);
    ck_assert(ok->group->members[0]->active != ok->group->members[1]->active);
    SCAN_FREE(&ok);
    raw_close(&two);
    ck_assert_uint_eq(expect_event(three, EVENT(ACTIVE)), 3);
    ck_assert_uint_eq(expect_run(three, 3, 5, 10), 3);
    expect_sound(node);
    raw_close(&three);
    node_destroy(&node);
}

TEST_WITHIN(a_standby_that_acknowledges_is_fenced, 60)
{
    struct node *node = strict_node(5);
    struct raw *one = member_join(node, 100);
    struct raw *two = member_join(node, 100);
    expect_run(one, 1, 1, 5);
    ck_assert_int_eq(raw_ack(two, CHANNEL, 1, 1, false), -ERR_FENCED);
    ck_assert_int_eq(raw_ack_epoch(one, CHANNEL, 1, 1, 7), -ERR_FENCED);
    ck_assert_int_eq(raw_ack_epoch(one, CHANNEL, 1, 1, 1), 0);
    expect_sound(node);
    raw_close(&one);
    raw_close(&two);
    node_destroy(&node);
}

TEST_WITHIN(a_nack_rewinds_and_all_behind_it_comes_again_in_order, 60)
{
    struct node *node = strict_node(10);
    struct raw *one = member_join(node, 6);
    (void) expect_event(one, EVENT(ACTIVE));
    expect_run(one, 1, 1, 6);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 2, 2, false), 0);
    raw_nack(one, CHANNEL, 4, 4);
    (void) expect_event(one, EVENT(REWOUND));
    raw_credit(one, CHANNEL, 3);
    ck_assert_uint_eq(expect_run(one, 1, 4, 6), 2);
    /* Four are held, 3 to 6, and two were acknowledged: two more may come. */
    raw_credit(one, CHANNEL, 2);
    ck_assert_uint_eq(expect_run(one, 1, 7, 8), 1);
    raw_credit(one, CHANNEL, 1);
    expect_silence(one, node); /* six are held: no more ahead of the floor */
    raw_post_ack(one, CHANNEL, 8, 8);
    expect_run(one, 1, 9, 9);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 8, 8, true), -ERR_ALREADY);
    Railgun__DescribeOk *ok = ask_group(node);
    ck_assert_uint_eq(ok->group->floor, 8);
    ck_assert_uint_eq(ok->group->check_errors, 0);
    SCAN_FREE(&ok);
    raw_close(&one);
    node_destroy(&node);
}

TEST_WITHIN(a_relaxed_group_gets_only_the_nacked_message_again, 60)
{
    struct node *node = node_with_stream(5, RAILGUN__GROUP_SPEC__ORDER__ORDER_RELAXED);
    struct raw *one = member_join(node, 100);
    struct raw_delivery delivery;
    expect_run(one, 1, 1, 5);
    raw_nack(one, CHANNEL, 2, 2);
    ck_assert(raw_deliver(one, CHANNEL, LONG, &delivery));
    ck_assert_uint_eq(delivery.base, 2);
    ck_assert_uint_eq(delivery.count, 1);
    ck_assert_uint_eq(delivery.attempt, 2);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 5, 5, true), 0);
    Railgun__DescribeOk *ok = ask_group(node);
    ck_assert_uint_eq(ok->group->floor, 0); /* not cumulative */
    SCAN_FREE(&ok);
    raw_close(&one);
    node_destroy(&node);
}

TEST_WITHIN(the_epoch_survives_a_killed_logd_and_a_removed_database, 90)
{
    struct node *node = strict_node(5);
    struct raw *one = member_join(node, 100);
    struct raw *two = member_join(node, 100);
    ck_assert_uint_eq(expect_event(one, EVENT(ACTIVE)), 1);
    (void) expect_event(two, EVENT(STANDBY));
    expect_run(one, 1, 1, 5);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 2, 2, true), 0);
    for (uint64_t epoch = 2; epoch <= 3; epoch++) {
        char path[4096];
        char command[4200];
        node_kill(node, NODE_LOGD);
        if (epoch == 3) {
            (void) snprintf(command, sizeof command, "rm -r '%s'",
                            node_path(node, "data/logd/db", path));
            ck_assert_int_eq(system(command), 0);
        }
        node_start(node, NODE_LOGD);
        node_wait_ready(node, NODE_LOGD, 30);
        /* Who came first comes back first. */
        ck_assert_uint_eq(expect_event(one, EVENT(ACTIVE)), epoch);
        (void) expect_event(two, EVENT(STANDBY));
        expect_run(one, epoch, 3, 5);
    }
    expect_sound(node);
    raw_close(&one);
    raw_close(&two);
    node_destroy(&node);
}

TEST_WITHIN(operators_are_told_of_each_new_owner, 60)
{
    struct node *node = strict_node(1);
    struct process watch = {0};
    node_ctl_start(node, &watch, NULL, (const char *const[]){"events", stream, NULL});
    bool is_told = false;
    for (unsigned i = 0; i < 20 && !is_told; i++) { /* until it watches */
        struct raw *one = member_join(node, 1);
        (void) expect_event(one, EVENT(ACTIVE));
        raw_close(&one);
        is_told = WAIT_FOR((process_look(&watch), process_said(&watch, "\"EPOCH\"")), 1);
    }
    ck_assert_msg(is_told, "%s", buf_text(&watch.out));
    (void) kill(watch.pid, SIGINT);
    ck_assert(process_wait(&watch, 20));
    process_release(&watch);
    node_destroy(&node);
}

TEST_WITHIN(a_killed_frontd_hands_over_and_nothing_counts_as_failed, 90)
{
    struct node *node = strict_node(5);
    struct raw *one = member_join(node, 100);
    expect_run(one, 1, 1, 5);
    node_restart(node, NODE_FRONTD);
    struct raw *two = member_join(node, 100);
    struct raw_delivery delivery;
    ck_assert_uint_eq(expect_event(two, EVENT(ACTIVE)), 2);
    ck_assert(raw_deliver(two, CHANNEL, LONG, &delivery));
    ck_assert_uint_eq(delivery.base, 1);
    ck_assert_uint_eq(delivery.attempt, 2);
    ck_assert_uint_eq(delivery.failed, 0);
    raw_close(&one);
    raw_close(&two);
    node_destroy(&node);
}
