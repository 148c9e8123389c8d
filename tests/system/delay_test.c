/* Delays, deadlines, attempts, pause, seek and release of groups, by the client library and adminctl over real daemons that are killed. */
#include "tests/lib/test.h"
#include "tests/system/node.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "client/railgun.h"
#include "common/base/clock.h"

enum { LONG_MS = 15000, EARLY_MS = 10, LATE_MS = 1000 };

static const char *const stream = "orders";
static const char *const group = "workers";

static uint64_t real_ms(void)
{
    return timesource_real_us(timesource_system()) / 1000;
}

static struct rg_client *client_new(const struct node *node)
{
    struct rg_client *client = NULL;
    const struct rg_options options = {.reconnect_max_ms = 200, .request_timeout_ms = 10000};
    ck_assert_int_eq(rg_connect(node_address(node), &options, &client), RG_OK);
    return client;
}

/* A running node with a stream of `records` records and a group with these settings ("ack_wait_ms=300"; NULL: none). */
static struct node *node_with_group(unsigned records, const char *setting)
{
    struct node *node = node_new();
    struct process ctl = {0};
    node_start_all(node);
    node_ensure(node, stream);
    int code = setting != NULL
                   ? NODE_CTL(node, &ctl, "group", "ensure", stream, group, "--set", setting)
                   : NODE_CTL(node, &ctl, "group", "ensure", stream, group);
    ck_assert_msg(code == 0, "%s", buf_text(&ctl.err));
    process_release(&ctl);
    struct rg_client *client = client_new(node);
    for (unsigned i = 0; i < records; i++) {
        ck_assert_int_eq(rg_publish(client, stream, "x", 1, NULL), RG_OK);
    }
    rg_close(&client);
    return node;
}

static struct rg_consumer *join(struct rg_client *client, struct rg_consume_options options)
{
    struct rg_consumer *consumer = NULL;
    int result = rg_consume(client, stream, group, &options, &consumer);
    ck_assert_msg(result == RG_OK, "%s", rg_last_error(client));
    return consumer;
}

static struct rg_record expect(struct rg_consumer *consumer, uint64_t offset)
{
    struct rg_record record = {0};
    int result = rg_consumer_next(consumer, LONG_MS, &record);
    ck_assert_msg(result == RG_OK, "%s", rg_error_name(result));
    ck_assert_uint_eq(record.offset, offset);
    return record;
}

static void expect_nothing(struct rg_consumer *consumer)
{
    struct rg_record record;
    ck_assert_int_eq(rg_consumer_next(consumer, 100, &record), RG_ERR_AGAIN);
}

static uint64_t group_number(const struct node *node, const char *name)
{
    struct process ctl = {0};
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "info", stream, group), 0);
    uint64_t number = json_number(buf_text(&ctl.out), NULL, name);
    process_release(&ctl);
    return number;
}

static void sound_and_gone(struct node **node)
{
    ck_assert_uint_eq(group_number(*node, "check_errors"), 0);
    node_destroy(node);
}

TEST_WITHIN(a_delay_is_kept_over_kill_9_and_without_the_database, 90)
{
    struct node *node = node_with_group(4, NULL);
    struct rg_client *client = client_new(node);
    struct rg_consumer *consumer = join(client, (struct rg_consume_options){0});
    for (uint64_t offset = 1; offset <= 4; offset++) {
        (void) expect(consumer, offset);
    }
    ck_assert_int_eq(rg_ack_sync(consumer, 1, 1), RG_OK);
    const struct rg_nack late = {.delay_ms = 6000, .reason = "not now"};
    const struct rg_nack soon = {.delay_ms = 5000};
    uint64_t said_ms = real_ms();
    ck_assert_int_eq(rg_nack_sync(consumer, 2, 2, &late), RG_OK);
    ck_assert_int_eq(rg_nack_sync(consumer, 3, 3, &soon), RG_OK);
    ck_assert_int_eq(rg_ack_sync(consumer, 4, 4), RG_OK);
    rg_consumer_close(&consumer);
    rg_close(&client);
    ck_assert_uint_eq(group_number(node, "delayed"), 2);

    node_restart_logd(node, false);
    ck_assert_uint_eq(group_number(node, "delayed"), 2);
    node_restart_logd(node, true);
    client = client_new(node);
    consumer = join(client, (struct rg_consume_options){0});
    ck_assert_uint_eq(group_number(node, "delayed"), 2);
    struct rg_record record = expect(consumer, 3); /* it is due first */
    uint64_t came_ms = real_ms();
    ck_assert_uint_ge(came_ms + EARLY_MS, said_ms + 5000);
    ck_assert_uint_eq(record.attempt, 2);
    ck_assert_uint_eq(record.failed, 1);
    record = expect(consumer, 2);
    ck_assert_uint_ge(real_ms() + EARLY_MS, said_ms + 6000);
    ck_assert_uint_eq(record.failed, 1);
    ck_assert_int_eq(rg_ack_sync(consumer, 2, 3), RG_OK);
    rg_consumer_close(&consumer);
    rg_close(&client);
    ck_assert_uint_eq(group_number(node, "floor"), 4);
    sound_and_gone(&node);
}

TEST_WITHIN(an_extension_says_whether_a_message_is_still_held, 60)
{
    struct node *node = node_with_group(3, "ack_wait_ms=30000");
    struct rg_client *client = client_new(node);
    struct rg_consumer *consumer = join(client, (struct rg_consume_options){0});
    for (uint64_t offset = 1; offset <= 3; offset++) {
        (void) expect(consumer, offset);
    }
    ck_assert_int_eq(rg_extend(consumer, 1, 3), RG_OK);
    const struct rg_nack later = {.delay_ms = 30000};
    ck_assert_int_eq(rg_nack_sync(consumer, 2, 2, &later), RG_OK);
    ck_assert_int_eq(rg_extend(consumer, 1, 1), RG_OK);
    ck_assert_int_eq(rg_extend(consumer, 2, 2), RG_ERR_STALE_DELIVERY); /* it was given back */
    ck_assert_int_eq(rg_extend(consumer, 1, 3), RG_ERR_STALE_DELIVERY);
    ck_assert_int_eq(rg_extend(consumer, 4, 4), RG_ERR_NOT_DELIVERED); /* it never came */
    ck_assert_int_eq(rg_extend(consumer, 3, 2), RG_ERR_USAGE);
    rg_consumer_close(&consumer);
    rg_close(&client);
    sound_and_gone(&node);
}

TEST_WITHIN(a_back_off_grows_with_the_failures_and_a_full_set_of_delays_refuses, 90)
{
    struct node *node = node_with_group(3, "backoff_ms=200,600");
    struct process ctl = {0};
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "ensure", stream, group, "--version", "2",
                              "--set", "max_delayed=1"),
                     0);
    process_release(&ctl);
    struct rg_client *client = client_new(node);
    struct rg_consumer *consumer = join(client, (struct rg_consume_options){0});
    const struct rg_nack nack = {.delay_ms = RG_BACKOFF};
    const uint64_t least_ms[] = {180, 540};
    for (uint64_t offset = 1; offset <= 3; offset++) {
        (void) expect(consumer, offset);
    }
    for (unsigned i = 0; i < 2; i++) {
        uint64_t said_ms = real_ms();
        ck_assert_int_eq(rg_nack_sync(consumer, 1, 1, &nack), RG_OK);
        ck_assert_int_eq(rg_nack_sync(consumer, 2, 2, &nack), RG_ERR_DELAY_FULL);
        struct rg_record record = expect(consumer, 1);
        ck_assert_uint_ge(real_ms() + EARLY_MS, said_ms + least_ms[i]);
        ck_assert_uint_eq(record.failed, i + 1);
    }
    ck_assert_int_eq(rg_ack_sync(consumer, 2, 2), RG_OK); /* it stayed */
    const struct rg_nack long_one = {.delay_ms = UINT64_C(8) * 24 * 3600 * 1000};
    ck_assert_int_eq(rg_nack_sync(consumer, 3, 3, &long_one), RG_ERR_BAD_REQUEST);
    rg_consumer_close(&consumer);
    rg_close(&client);
    sound_and_gone(&node);
}

static atomic_uint slow_calls;

/* Longer than ack_wait. */
static int on_slow_message(void *ud, struct rg_consumer *consumer, const struct rg_record *record)
{
    (void) ud;
    (void) consumer;
    (void) record;
    (void) nanosleep(&(struct timespec){1, 500000000}, NULL); /* the work, not a wait */
    atomic_fetch_add(&slow_calls, 1);
    return 0;
}

TEST_WITHIN(a_slow_handler_keeps_its_message_and_a_silent_one_loses_it, 90)
{
    struct node *node = node_with_group(1, "ack_wait_ms=400");
    struct rg_client *client = client_new(node);
    struct rg_consumer *slow =
        join(client, (struct rg_consume_options){.on_message = on_slow_message, .auto_ack = true});
    struct rg_client *other = client_new(node);
    struct rg_consumer *idle = join(other, (struct rg_consume_options){.prefetch_messages = 1});
    struct rg_record record;
    ck_assert_int_eq(rg_consumer_next(idle, 2500, &record), RG_ERR_AGAIN); /* nothing came back */
    ck_assert_uint_eq(atomic_load(&slow_calls), 1);
    ck_assert_uint_eq(group_number(node, "redelivered_total"), 0);
    ck_assert_uint_eq(group_number(node, "floor"), 1);
    rg_consumer_close(&slow);
    rg_close(&client);

    /* A process that hangs: stopped, it says nothing. */
    struct process hung = {0};
    node_ctl_start(
        node, &hung, NULL,
        (const char *const[]){"consume", stream, "-g", group, "--exec", "sleep 1000", NULL});
    rg_consumer_close(&idle);
    ck_assert_int_eq(rg_publish(other, stream, "y", 1, NULL), RG_OK);
    while (group_number(node, "in_flight") == 0) {
    }
    (void) kill(hung.pid, SIGSTOP);
    idle = join(other, (struct rg_consume_options){0});
    record = expect(idle, 2);
    ck_assert_uint_eq(record.attempt, 2);
    ck_assert_uint_eq(record.failed, 1);
    ck_assert_int_eq(rg_ack_sync(idle, 2, 2), RG_OK);
    (void) kill(hung.pid, SIGKILL);
    process_release(&hung);
    rg_consumer_close(&idle);
    rg_close(&other);
    sound_and_gone(&node);
}

TEST_WITHIN(attempts_are_known_after_kill_9, 90)
{
    struct node *node = node_with_group(3, NULL);
    struct rg_client *client = client_new(node);
    struct rg_consumer *consumer = join(client, (struct rg_consume_options){0});
    for (uint64_t offset = 1; offset <= 3; offset++) {
        (void) expect(consumer, offset);
    }
    ck_assert_int_eq(rg_nack(consumer, 2, 2, 0, true), RG_OK);
    ck_assert_uint_eq(expect(consumer, 2).attempt, 2);
    ck_assert_int_eq(rg_extend(consumer, 2, 3), RG_OK);
    ck_assert_int_eq(rg_extend(consumer, 4, 4), RG_ERR_NOT_DELIVERED);
    ck_assert_int_eq(rg_ack_sync(consumer, 1, 1),
                     RG_OK); /* what went before is in that entry too */
    for (unsigned life = 0; life < 2; life++) {
        node_restart_logd(node, life == 1);
        struct rg_record record = expect(consumer, 2);
        ck_assert_uint_eq(record.attempt, 3 + life);
        ck_assert_uint_eq(record.failed, 1);
        ck_assert_uint_eq(expect(consumer, 3).attempt, 2 + life);
        ck_assert_int_eq(rg_publish(client, stream, "z", 1, NULL), RG_OK);
        (void) expect(consumer, 4 + life);
        ck_assert_int_eq(rg_ack_sync(consumer, 4 + life, 4 + life), RG_OK);
    }
    rg_consumer_close(&consumer);
    rg_close(&client);
    sound_and_gone(&node);
}

static void control(const struct node *node, const char *const *words)
{
    struct process ctl = {0};
    int code = node_ctl(node, &ctl, NULL, words);
    ck_assert_msg(code == 0, "%s: %s", words[1], buf_text(&ctl.err));
    process_release(&ctl);
}

TEST_WITHIN(pause_seek_and_release_hold_over_kill_9, 90)
{
    struct node *node = node_with_group(5, NULL);
    struct rg_client *client = client_new(node);
    struct rg_consumer *consumer = join(client, (struct rg_consume_options){0});
    for (uint64_t offset = 1; offset <= 5; offset++) {
        (void) expect(consumer, offset);
    }
    const struct rg_nack nack = {.delay_ms = 3600000};
    ck_assert_int_eq(rg_nack_sync(consumer, 5, 5, &nack), RG_OK);
    ck_assert_int_eq(rg_ack_sync(consumer, 1, 4), RG_OK);
    control(node, (const char *const[]){"group", "release", stream, group, NULL});
    ck_assert_uint_eq(expect(consumer, 5).attempt, 2); /* an hour too early: released */
    ck_assert_int_eq(rg_ack_sync(consumer, 5, 5), RG_OK);

    control(node, (const char *const[]){"group", "pause", stream, group, NULL});
    ck_assert_int_eq(rg_publish(client, stream, "x", 1, NULL), RG_OK);
    expect_nothing(consumer);
    node_restart_logd(node, false);
    expect_nothing(consumer);
    node_restart_logd(node, true);
    expect_nothing(consumer);
    bool changed = true;
    ck_assert_int_eq(rg_group_pause(client, stream, group, &changed), RG_OK);
    ck_assert(!changed);
    ck_assert_int_eq(rg_group_resume(client, stream, group, &changed), RG_OK);
    ck_assert(changed);
    (void) expect(consumer, 6);

    /* Back to the third: what it holds is not its any more. */
    control(node, (const char *const[]){"group", "seek", stream, group, "--to", "3", "--yes", group,
                                        NULL});
    for (uint64_t offset = 3; offset <= 6; offset++) {
        ck_assert_uint_eq(expect(consumer, offset).attempt, 1);
    }
    rg_consumer_close(&consumer);
    node_restart_logd(node, false);
    ck_assert_uint_eq(group_number(node, "floor"), 2);
    node_restart_logd(node, true);
    ck_assert_uint_eq(group_number(node, "floor"), 2);
    uint64_t floor = 0;
    struct rg_start latest = {.at = RG_START_LATEST};
    ck_assert_int_eq(rg_group_seek(client, stream, group, latest, RG_GAP_ERROR, &floor), RG_OK);
    ck_assert_uint_eq(floor, 6);
    struct rg_start time = {.at = RG_START_TIME, .value = 1};
    ck_assert_int_eq(rg_group_seek(client, stream, group, time, RG_GAP_ERROR, &floor), RG_OK);
    ck_assert_uint_eq(floor, 0);
    rg_close(&client);
    sound_and_gone(&node);
}

static bool group_is_there(const struct node *node, const char *name)
{
    struct process ctl = {0};
    ck_assert_int_eq(NODE_CTL(node, &ctl, "group", "ls", stream), 0);
    bool is_there = json_has_text(buf_text(&ctl.out), "group", name);
    process_release(&ctl);
    return is_there;
}

TEST_WITHIN(a_group_that_nobody_uses_ends_and_one_in_use_does_not, 90)
{
    struct node *node = node_with_group(1, "inactive_ttl_ms=1s");
    struct process ctl = {0};
    ck_assert_int_eq(
        NODE_CTL(node, &ctl, "group", "ensure", stream, "idle", "--set", "inactive_ttl_ms=1s"), 0);
    process_release(&ctl);
    struct rg_client *client = client_new(node);
    struct rg_consumer *consumer = join(client, (struct rg_consume_options){0});
    struct rg_consumer *idle = NULL;
    ck_assert_int_eq(rg_consume(client, stream, "idle", NULL, &idle), RG_OK);
    (void) expect(idle, 1);
    ck_assert_int_eq(rg_ack_sync(idle, 1, 1), RG_OK);
    rg_consumer_close(&idle);
    node_restart_logd(node, false);        /* its time begins anew, and is not forgotten */
    while (group_is_there(node, "idle")) { /* the test's own time is the limit */
    }
    ck_assert(group_is_there(node, group));
    (void) expect(consumer, 1);
    /* It comes back as a new group: nothing of the old one is left. */
    ck_assert_int_eq(rg_consume(client, stream, "idle", NULL, &idle), RG_OK);
    (void) expect(idle, 1);
    rg_consumer_close(&idle);
    rg_consumer_close(&consumer);
    rg_close(&client);
    node_destroy(&node);
}
