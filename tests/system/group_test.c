/* Consumer groups over real daemons, by frames: who gets what again, and what acknowledging answers. */
#include "tests/lib/test.h"
#include "tests/system/node.h"
#include "tests/system/raw.h"

#include "common/base/err.h"
#include "common/wire/scan.h"

enum { CHANNEL = 3, LONG = 10, ANY = 0 };

static const char *const stream = "orders";
static const char *const group = "workers";

/* A running node with a stream of `records` records and a group. */
static struct node *node_with_stream(unsigned records, uint32_t max_in_flight)
{
    struct node *node = node_new();
    int code = 0;
    node_start_all(node);
    struct raw *raw = raw_open(node);
    raw_ensure(raw, stream, group, max_in_flight);
    for (unsigned i = 1; i <= records; i++) {
        ck_assert_uint_eq(raw_publish(raw, stream, "a record", &code), i);
    }
    raw_close(&raw);
    return node;
}

static struct raw *member_join(struct node *node, uint64_t credit)
{
    struct raw *member = raw_open(node);
    raw_consume(member, CHANNEL, stream, group, credit);
    return member;
}

/* Deliveries until `count` messages came; they must be first, first + 1, ... with this attempt. */
static void expect_run(struct raw *member, uint64_t first, uint64_t count, uint32_t attempt)
{
    uint64_t next = first;
    while (next < first + count) {
        struct raw_delivery delivery;
        ck_assert_msg(raw_deliver(member, CHANNEL, LONG, &delivery), "%lu was not delivered", next);
        ck_assert_uint_eq(delivery.base, next);
        ck_assert(attempt == ANY || delivery.attempt == attempt);
        next += delivery.count;
    }
    ck_assert_uint_eq(next, first + count);
}

struct group_numbers {
    uint64_t floor;
    uint64_t in_flight;
    uint64_t check_errors;
};

static struct group_numbers ask_group(struct node *node)
{
    struct raw *raw = raw_open(node);
    Railgun__DescribeOk *ok = raw_describe(raw, stream, group);
    ck_assert_ptr_nonnull(ok->group);
    struct group_numbers numbers = {ok->group->floor, ok->group->in_flight,
                                    ok->group->check_errors};
    SCAN_FREE(&ok);
    raw_close(&raw);
    return numbers;
}

/* A round trip through logd and back: what had to come has come. */
static void expect_silence(struct raw *member, struct node *node)
{
    struct raw_delivery delivery;
    (void) ask_group(node);
    ck_assert(!raw_deliver(member, CHANNEL, 0.05, &delivery));
}

TEST_WITHIN(two_members_share_a_stream_and_get_each_message_once, 60)
{
    struct node *node = node_with_stream(40, 0);
    struct raw *one = member_join(node, 20);
    struct raw *two = member_join(node, 20);
    bool seen[41] = {false};
    for (unsigned total = 0; total < 40;) {
        struct raw_delivery delivery;
        struct raw *member = total < 20 ? one : two;
        ck_assert(raw_deliver(member, CHANNEL, LONG, &delivery));
        for (uint64_t o = delivery.base; o < delivery.base + delivery.count; o++) {
            ck_assert_uint_le(o, 40);
            ck_assert_msg(!seen[o], "%lu came twice", o);
            seen[o] = true;
        }
        total += delivery.count;
    }
    raw_close(&one);
    raw_close(&two);
    node_destroy(&node);
}

TEST_WITHIN(a_nacked_message_goes_to_the_other_member_as_attempt_two, 60)
{
    struct node *node = node_with_stream(1, 0);
    struct raw_delivery delivery;
    struct raw *one = member_join(node, 10);
    expect_run(one, 1, 1, 1);
    struct raw *two = member_join(node, 10);
    raw_nack(one, CHANNEL, 1, 1);
    ck_assert(raw_deliver(two, CHANNEL, LONG, &delivery));
    ck_assert_uint_eq(delivery.base, 1);
    ck_assert_uint_eq(delivery.attempt, 2);
    ck_assert_uint_eq(delivery.failed, 1);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 1, 1, false), -ERR_STALE_DELIVERY);
    ck_assert_int_eq(raw_ack(two, CHANNEL, 1, 1, false), 0);
    raw_close(&one);
    raw_close(&two);
    node_destroy(&node);
}

TEST_WITHIN(messages_of_a_lost_connection_come_again_at_once, 60)
{
    struct node *node = node_with_stream(10, 0);
    struct raw *one = member_join(node, 10);
    expect_run(one, 1, 10, 1);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 4, 6, false), 0);
    struct raw *two = member_join(node, 100);
    raw_close(&one);
    expect_run(two, 1, 3, 2);
    expect_run(two, 7, 4, 2);
    raw_close(&two);
    node_destroy(&node);
}

TEST_WITHIN(messages_of_a_killed_frontd_come_again_without_counting_as_failed, 60)
{
    struct node *node = node_with_stream(5, 0);
    struct raw_delivery delivery;
    struct raw *one = member_join(node, 10);
    expect_run(one, 1, 5, 1);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 1, 2, true), 0);
    node_restart(node, NODE_FRONTD);
    struct raw *two = member_join(node, 10);
    ck_assert(raw_deliver(two, CHANNEL, LONG, &delivery));
    ck_assert_uint_eq(delivery.base, 3);
    ck_assert_uint_eq(delivery.attempt, 2);
    ck_assert_uint_eq(delivery.failed, 0);
    raw_close(&one);
    raw_close(&two);
    node_destroy(&node);
}

TEST_WITHIN(a_group_is_given_no_more_than_its_in_flight_limit, 60)
{
    struct node *node = node_with_stream(20, 5);
    struct raw *one = member_join(node, 100);
    expect_run(one, 1, 5, 1);
    expect_silence(one, node);
    ck_assert_uint_eq(ask_group(node).in_flight, 5);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 1, 2, false), 0);
    expect_run(one, 6, 2, 1);
    expect_silence(one, node);
    raw_close(&one);
    node_destroy(&node);
}

TEST_WITHIN(the_in_flight_limit_counts_all_members_together, 60)
{
    struct node *node = node_with_stream(20, 5);
    struct raw *one = member_join(node, 3);
    expect_run(one, 1, 3, 1);
    struct raw *two = member_join(node, 100);
    expect_run(two, 4, 2, 1);
    expect_silence(two, node);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 2, 2, false), 0);
    expect_run(two, 6, 1, 1);
    expect_silence(two, node);
    raw_close(&one);
    raw_close(&two);
    node_destroy(&node);
}

TEST_WITHIN(a_member_is_given_no_more_than_its_credit, 60)
{
    struct node *node = node_with_stream(20, 0);
    struct raw *one = member_join(node, 3);
    expect_run(one, 1, 3, 1);
    expect_silence(one, node);
    ck_assert(raw_credit(one, CHANNEL, 2));
    expect_run(one, 4, 2, 1);
    expect_silence(one, node);
    raw_close(&one);
    node_destroy(&node);
}

TEST_WITHIN(an_ack_answers_what_was_not_plainly_ok, 60)
{
    struct node *node = node_with_stream(20, 0);
    struct raw *one = member_join(node, 10);
    expect_run(one, 1, 10, 1);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 2, 4, false), 0);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 2, 4, false), -ERR_ALREADY);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 15, 16, false), -ERR_NOT_DELIVERED);
    ck_assert_int_eq(raw_ack(one, CHANNEL, UINT64_MAX, UINT64_MAX, false), -ERR_NOT_DELIVERED);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 0, 3, false), -ERR_BAD_REQUEST);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 9, 8, false), -ERR_BAD_REQUEST);
    ck_assert_int_eq(raw_ack(one, CHANNEL + 1, 1, 1, false), -ERR_CHANNEL);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 1, 10, true), -ERR_ALREADY); /* the rest of it counts */
    ck_assert_uint_eq(ask_group(node).floor, 10);
    ck_assert_uint_eq(ask_group(node).check_errors, 0);
    raw_close(&one);
    node_destroy(&node);
}

TEST_WITHIN(a_sync_ack_survives_a_kill_in_the_same_moment, 120)
{
    struct node *node = node_with_stream(30, 0);
    for (uint64_t round = 0; round < 5; round++) {
        struct raw *member = member_join(node, 3);
        expect_run(member, round * 3 + 1, 3, 1);
        ck_assert_int_eq(raw_ack(member, CHANNEL, round * 3 + 1, round * 3 + 3, true), 0);
        node_kill(node, round % 2 == 0 ? NODE_LOGD : NODE_FRONTD);
        raw_close(&member);
        node_start(node, round % 2 == 0 ? NODE_LOGD : NODE_FRONTD);
        node_wait_ready(node, round % 2 == 0 ? NODE_LOGD : NODE_FRONTD, LONG);
    }
    ck_assert_uint_eq(ask_group(node).floor, 15);
    node_destroy(&node);
}

TEST_WITHIN(a_position_with_holes_survives_a_restart_of_everything, 60)
{
    struct node *node = node_with_stream(20, 0);
    struct raw *one = member_join(node, 100);
    expect_run(one, 1, 20, 1);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 1, 5, false), 0);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 9, 12, false), 0);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 20, 20, true), 0); /* and all before it */
    node_kill_all(node);
    raw_close(&one);
    node_start_all(node);
    struct raw *two = member_join(node, 100);
    expect_run(two, 6, 3, ANY); /* what was in flight when logd died is not counted for sure */
    expect_run(two, 13, 7, ANY);
    expect_silence(two, node);
    ck_assert_uint_eq(ask_group(node).floor, 5);
    raw_close(&two);
    node_destroy(&node);
}

TEST_WITHIN(a_consumer_goes_on_over_a_restart_of_logd_on_the_same_connection, 60)
{
    struct node *node = node_with_stream(10, 0);
    int code = 0;
    struct raw *one = member_join(node, 100);
    expect_run(one, 1, 10, 1);
    ck_assert_int_eq(raw_ack(one, CHANNEL, 1, 8, true), 0);
    node_restart(node, NODE_LOGD);
    struct raw_delivery delivery;
    ck_assert(raw_deliver(one, CHANNEL, LONG, &delivery));
    ck_assert_uint_eq(delivery.base, 9);
    struct raw *publisher = raw_open(node);
    ck_assert_uint_eq(raw_publish(publisher, stream, "one more", &code), 11);
    do {
        ck_assert(raw_deliver(one, CHANNEL, LONG, &delivery));
    } while (delivery.base + delivery.count <= 11);
    raw_close(&publisher);
    raw_close(&one);
    node_destroy(&node);
}
