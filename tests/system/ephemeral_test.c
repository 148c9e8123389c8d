/* Groups in memory, consumers that leave in order, and exclusive groups through the library, over real daemons. */
#include "tests/lib/test.h"
#include "tests/system/node.h"
#include "tests/system/raw.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "client/railgun.h"
#include "common/base/err.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

enum { LONG_MS = 20000, SHORT_MS = 60 };

static const char *const stream = "orders";

static struct node *node_with_stream(unsigned records)
{
    struct node *node = node_new();
    int code = 0;
    node_start_all(node);
    struct raw *raw = raw_open(node);
    raw_ensure(raw, stream, NULL, 0);
    for (unsigned i = 1; i <= records; i++) {
        ck_assert_uint_eq(raw_publish(raw, stream, "a record", &code), i);
    }
    raw_close(&raw);
    return node;
}

static struct rg_client *client_new(const struct node *node)
{
    struct rg_client *client = NULL;
    const struct rg_options options = {.reconnect_max_ms = 200};
    int result = rg_connect(node_address(node), &options, &client);
    ck_assert_msg(result == RG_OK, "cannot connect: %s", rg_error_name(result));
    return client;
}

/* How often each event came. */
struct heard {
    atomic_uint events[16];
    atomic_ulong first;
    atomic_ulong epoch;
};

static void on_event(void *ud, struct rg_consumer *consumer, const struct rg_event *event)
{
    struct heard *heard = ud;
    (void) consumer;
    if (event->type == RG_EVENT_LOST) {
        atomic_store(&heard->first, event->first);
    } else if (event->type == RG_EVENT_ACTIVE) {
        atomic_store(&heard->epoch, event->epoch);
    }
    atomic_fetch_add(&heard->events[event->type], 1);
}

static bool heard(struct heard *self, enum rg_event_type type, unsigned times)
{
    return WAIT_FOR(atomic_load(&self->events[type]) >= times, 20);
}

static struct rg_consumer *consume(struct rg_client *client, const char *group,
                                   struct rg_consume_options options, struct heard *heard_)
{
    struct rg_consumer *consumer = NULL;
    options.on_event = on_event;
    options.ud = heard_;
    int result = rg_consume(client, stream, group, &options, &consumer);
    ck_assert_msg(result == RG_OK, "%s: %s", rg_error_name(result), rg_last_error(client));
    return consumer;
}

/* The next must be this offset. */
static struct rg_record expect(struct rg_consumer *consumer, uint64_t offset)
{
    struct rg_record record = {0};
    int result = rg_consumer_next(consumer, LONG_MS, &record);
    ck_assert_msg(result == RG_OK, "%lu did not come: %s", offset, rg_error_name(result));
    ck_assert_uint_eq(record.offset, offset);
    return record;
}

static void expect_nothing(struct rg_consumer *consumer)
{
    struct rg_record record;
    ck_assert_int_eq(rg_consumer_next(consumer, SHORT_MS, &record), RG_ERR_AGAIN);
}

TEST_WITHIN(a_nameless_group_gets_everything_and_leaves_nothing_behind, 60)
{
    struct node *node = node_with_stream(5);
    struct rg_client *client = client_new(node);
    struct heard seen = {0};
    struct rg_consumer *consumer = consume(client, NULL, (struct rg_consume_options){0}, &seen);
    ck_assert(strlen(rg_consumer_group(consumer)) > 2);
    for (uint64_t i = 1; i <= 5; i++) {
        (void) expect(consumer, i);
    }
    ck_assert_int_eq(rg_ack_sync(consumer, 1, 3), RG_OK);
    struct raw *raw = raw_open(node);
    Railgun__DescribeOk *ok = raw_describe(raw, stream, rg_consumer_group(consumer));
    ck_assert(ok->group->ephemeral);
    ck_assert_uint_eq(ok->group->floor, 3);
    ck_assert_uint_eq(ok->group->n_members, 1);
    SCAN_FREE(&ok);
    rg_consumer_close(&consumer);
    rg_close(&client);
    struct process ctl = {0};
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "ls", stream), 0);
    ck_assert(!process_said(&ctl, "e-"));
    process_release(&ctl);
    raw_close(&raw);
    node_destroy(&node);
}

TEST_WITHIN(an_ephemeral_group_goes_on_when_its_member_comes_back_in_time, 60)
{
    struct node *node = node_with_stream(10);
    struct rg_client *client = client_new(node);
    struct heard seen = {0};
    const struct rg_consume_options options = {.ephemeral = true};
    struct rg_consumer *consumer = consume(client, "mine", options, &seen);
    for (uint64_t i = 1; i <= 10; i++) {
        (void) expect(consumer, i);
    }
    ck_assert_int_eq(rg_ack_sync(consumer, 1, 4), RG_OK);
    rg_consumer_close(&consumer);
    consumer = consume(client, "mine", options, &seen);
    struct rg_record record = expect(consumer, 5);
    ck_assert_uint_eq(record.attempt, 2);
    ck_assert_uint_eq(record.failed, 0);
    rg_consumer_close(&consumer);
    rg_close(&client);
    node_destroy(&node);
}

TEST_WITHIN(an_ephemeral_group_is_made_again_where_it_was_when_logd_is_killed, 90)
{
    struct node *node = node_with_stream(10);
    struct rg_client *client = client_new(node);
    struct heard seen = {0};
    struct rg_consumer *consumer = consume(client, NULL, (struct rg_consume_options){0}, &seen);
    char name[64];
    (void) snprintf(name, sizeof name, "%s", rg_consumer_group(consumer));
    for (uint64_t round = 0; round < 3; round++) {
        for (uint64_t i = 1; i <= 3; i++) {
            (void) expect(consumer, 3 * round + i);
        }
        ck_assert_int_eq(rg_ack(consumer, 3 * round + 1, 3 * round + 3), RG_OK);
        ck_assert_int_eq(rg_ack_sync(consumer, 3 * round + 3, 3 * round + 3), RG_OK);
        node_restart(node, NODE_LOGD);
        ck_assert(heard(&seen, RG_EVENT_LOST, (unsigned) round + 1));
        ck_assert_uint_eq(atomic_load(&seen.first), 3 * round + 4);
    }
    ck_assert_str_eq(rg_consumer_group(consumer), name);
    (void) expect(consumer, 10);
    rg_consumer_close(&consumer);
    rg_close(&client);
    node_destroy(&node);
}

TEST_WITHIN(members_of_a_lost_ephemeral_group_are_told_its_floor, 60)
{
    struct node *node = node_with_stream(10);
    struct raw *raw = raw_open(node);
    struct raw_delivery delivery;
    struct raw_frame frame;
    raw_consume(raw, 3, stream, "", 100);
    ck_assert(raw_deliver(raw, 3, 10, &delivery));
    ck_assert_uint_eq(delivery.count, 10);
    ck_assert_int_eq(raw_ack(raw, 3, 1, 6, true), 0);
    ck_assert_int_eq(raw_ack(raw, 3, 8, 8, true), 0);
    node_kill(node, NODE_LOGD);
    do {
        ck_assert_int_eq(raw_receive(raw, 10, &frame), RAW_FRAME);
    } while (frame.field != RAW_CANCEL);
    ck_assert_uint_eq(pb_find_varint(frame.body, 1), -ERR_EPHEMERAL_LOST);
    ck_assert_uint_eq(pb_find_varint(frame.body, 3), 6);
    raw_close(&raw);
    node_destroy(&node);
}

TEST_WITHIN(a_durable_group_takes_the_name_over_from_an_ephemeral_one, 60)
{
    struct node *node = node_with_stream(6);
    struct rg_client *client = client_new(node);
    struct heard seen = {0};
    struct heard other = {0};
    struct rg_consumer *first =
        consume(client, "both", (struct rg_consume_options){.ephemeral = true}, &seen);
    (void) expect(first, 1);
    ck_assert_int_eq(rg_ack_sync(first, 1, 1), RG_OK);
    struct rg_consumer *second = consume(client, "both", (struct rg_consume_options){0}, &other);
    ck_assert(heard(&seen, RG_EVENT_LOST, 1));
    ck_assert(heard(&seen, RG_EVENT_UP, 2));
    struct raw *raw = raw_open(node);
    Railgun__DescribeOk *ok = raw_describe(raw, stream, "both");
    ck_assert(!ok->group->ephemeral);
    ck_assert_uint_eq(ok->group->n_members, 2);
    SCAN_FREE(&ok);
    raw_close(&raw);
    rg_consumer_close(&first);
    rg_consumer_close(&second);
    rg_close(&client);
    node_destroy(&node);
}

TEST_WITHIN(a_drained_consumer_may_acknowledge_what_it_took_and_the_rest_goes_on_at_once, 60)
{
    struct node *node = node_with_stream(10);
    struct rg_client *client = client_new(node);
    struct heard seen = {0};
    struct rg_record record;
    struct rg_consumer *one = consume(client, "workers", (struct rg_consume_options){0}, &seen);
    (void) expect(one, 1);
    (void) expect(one, 2);
    ck_assert_int_eq(rg_consumer_drain(one, LONG_MS), RG_OK);
    ck_assert_int_eq(rg_consumer_next(one, SHORT_MS, &record),
                     RG_ERR_AGAIN); /* it still holds two */
    struct rg_consumer *two = consume(client, "workers", (struct rg_consume_options){0}, &seen);
    for (uint64_t i = 3; i <= 10; i++) {
        record = expect(two, i);
        ck_assert_uint_eq(record.failed, 0);
    }
    ck_assert_int_eq(rg_ack(one, 1, 2), RG_OK);
    ck_assert_int_eq(rg_consumer_next(one, LONG_MS, &record), RG_ERR_CLOSED);
    ck_assert(heard(&seen, RG_EVENT_CLOSED, 1));
    expect_nothing(two);
    rg_consumer_close(&one);
    rg_consumer_close(&two);
    rg_close(&client);
    node_destroy(&node);
}

TEST_WITHIN(a_drain_ends_in_time_and_counts_nothing_as_failed, 60)
{
    struct node *node = node_with_stream(2);
    struct rg_client *client = client_new(node);
    struct heard seen = {0};
    struct rg_record record;
    struct rg_consumer *one = consume(client, "workers", (struct rg_consume_options){0}, &seen);
    (void) expect(one, 1);
    ck_assert_int_eq(rg_consumer_drain(one, 50), RG_OK);
    while (rg_consumer_next(one, LONG_MS, &record) != RG_ERR_CLOSED) {
    }
    struct rg_consumer *two = consume(client, "workers", (struct rg_consume_options){0}, &seen);
    record = expect(two, 1);
    ck_assert_uint_eq(record.attempt, 2);
    ck_assert_uint_eq(record.failed, 0);
    rg_consumer_close(&one);
    rg_consumer_close(&two);
    rg_close(&client);
    node_destroy(&node);
}

TEST_WITHIN(the_library_rewinds_after_a_nack_and_shows_nothing_twice_in_between, 60)
{
    struct node *node = node_with_stream(20);
    struct rg_client *client = client_new(node);
    struct heard seen = {0};
    struct rg_consumer *one =
        consume(client, "owner", (struct rg_consume_options){.mode = RG_MODE_EXCLUSIVE}, &seen);
    for (uint64_t round = 1; round <= 5; round++) {
        struct rg_record record = expect(one, 1);
        ck_assert_uint_eq(record.attempt, round);
        ck_assert_uint_eq(record.epoch, 1);
        (void) expect(one, 2);
        record = expect(one, 3);
        ck_assert_int_eq(rg_nack(one, 1, 1, 0, true), RG_OK);
    }
    for (uint64_t i = 1; i <= 20; i++) {
        (void) expect(one, i);
    }
    ck_assert_int_eq(rg_ack_sync(one, 20, 20), RG_OK); /* and all before it */
    struct raw *raw = raw_open(node);
    Railgun__DescribeOk *ok = raw_describe(raw, stream, "owner");
    ck_assert_uint_eq(ok->group->floor, 20);
    ck_assert_uint_eq(ok->group->check_errors, 0);
    SCAN_FREE(&ok);
    raw_close(&raw);
    rg_consumer_close(&one);
    rg_close(&client);
    node_destroy(&node);
}

TEST_WITHIN(a_standby_is_told_takes_over_and_the_former_owner_is_fenced, 60)
{
    struct node *node = node_with_stream(5);
    struct rg_client *client = client_new(node);
    struct rg_client *other = client_new(node);
    struct heard seen = {0};
    struct heard waits = {0};
    const struct rg_consume_options options = {.mode = RG_MODE_EXCLUSIVE};
    struct rg_consumer *one = consume(client, "owner", options, &seen);
    struct rg_consumer *two = consume(other, "owner", options, &waits);
    ck_assert(heard(&waits, RG_EVENT_STANDBY, 1));
    for (uint64_t i = 1; i <= 5; i++) {
        (void) expect(one, i);
    }
    expect_nothing(two);
    struct process ctl = {0};
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "info", stream, "owner"), 0);
    ck_assert_uint_eq(json_number((const char *) ctl.out.data, NULL, "epoch"), 1);
    ck_assert(json_has_text((const char *) ctl.out.data, "role", "standby"));
    ck_assert(json_has_text((const char *) ctl.out.data, "role", "active"));
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "release", stream, "owner", "--member", "1"), 0);
    process_release(&ctl);
    ck_assert(heard(&waits, RG_EVENT_ACTIVE, 1));
    ck_assert(heard(&seen, RG_EVENT_STANDBY, 1));
    ck_assert_uint_eq(atomic_load(&waits.epoch), 2);
    ck_assert_int_eq(rg_ack_sync(one, 1, 1), RG_ERR_FENCED);
    struct rg_record record = expect(two, 1);
    ck_assert_uint_eq(record.epoch, 2);
    ck_assert_uint_eq(record.attempt, 2);
    ck_assert_uint_eq(record.failed, 0);
    rg_consumer_close(&two);
    ck_assert(heard(&seen, RG_EVENT_ACTIVE, 2));
    record = expect(one, 1);
    ck_assert_uint_eq(record.epoch, 3);
    rg_consumer_close(&one);
    rg_close(&client);
    rg_close(&other);
    node_destroy(&node);
}

TEST_WITHIN(the_highest_priority_is_next_and_nobody_is_pushed_out, 60)
{
    struct node *node = node_with_stream(1);
    struct rg_client *clients[3];
    struct rg_consumer *consumers[3];
    struct heard heards[3] = {0};
    for (unsigned i = 0; i < 3; i++) {
        clients[i] = client_new(node);
        const struct rg_consume_options options = {.mode = RG_MODE_EXCLUSIVE, .priority = i};
        consumers[i] = consume(clients[i], "owner", options, &heards[i]);
        ck_assert(heard(&heards[i], i == 0 ? RG_EVENT_ACTIVE : RG_EVENT_STANDBY, 1));
    }
    rg_consumer_close(&consumers[0]);
    ck_assert(heard(&heards[2], RG_EVENT_ACTIVE, 1));
    rg_consumer_close(&consumers[2]);
    ck_assert(heard(&heards[1], RG_EVENT_ACTIVE, 1));
    ck_assert_uint_eq(atomic_load(&heards[1].epoch), 3);
    rg_consumer_close(&consumers[1]);
    for (unsigned i = 0; i < 3; i++) {
        rg_close(&clients[i]);
    }
    node_destroy(&node);
}
