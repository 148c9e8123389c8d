/* Everything a persistent stream promises at once, while daemons are killed with -9: message IDs with retries, delays, dead letters, shared groups and
 * strict exclusive ones. The checker decides. */
#include "tests/lib/test.h"
#include "tests/system/history.h"
#include "tests/system/load.h"
#include "tests/system/node.h"
#include "tests/system/raw.h"

#include <poll.h>
#include <string.h>

#include "common/base/rand.h"
#include "common/wire/scan.h"

enum { LONG = 30, ROUNDS = 12, CALM = 15000, MAX_FAILED = 3 };

static const struct load_options full_load = {
    .stream = "orders",
    .group = "workers",
    .producers = 3,
    .consumers = 3,
    .batch_records = 20,
    .window = 16,
    .payload_bytes = 100,
    .pause_us = 2000,
    .nack_per_mille = 5,
    .sync_percent = 50,
    .seed = 3,
    .with_ids = true,
    .poison_per_mille = 2,
    .max_failed = MAX_FAILED,
    .dlq = "orders.dead",
};

/* A stream that deduplicates, and a group. */
static struct node *node_with_everything(const struct load_options *options)
{
    struct node *node = node_new();
    Railgun__StreamSpec stream = RAILGUN__STREAM_SPEC__INIT;
    Railgun__DedupSpec dedup = RAILGUN__DEDUP_SPEC__INIT;
    Railgun__GroupSpec group = RAILGUN__GROUP_SPEC__INIT;
    Railgun__DlqSpec dlq = RAILGUN__DLQ_SPEC__INIT;
    dedup.has_mode = true;
    dedup.mode = RAILGUN__DEDUP_SPEC__MODE__DEDUP_REQUIRED;
    stream.dedup = &dedup;
    stream.has_max_records = options->max_records != 0;
    stream.max_records = options->max_records;
    if (options->dlq != NULL) {
        memcpy(&dlq.stream, &options->dlq, sizeof(char *)); /* protobuf-c has no const strings */
        dlq.has_max_failed = true;
        dlq.max_failed = options->max_failed;
        group.dlq = &dlq;
    }
    group.has_mode = true;
    group.mode = options->is_strict ? RAILGUN__GROUP_SPEC__MODE__MODE_EXCLUSIVE
                                    : RAILGUN__GROUP_SPEC__MODE__MODE_SHARED;
    node_set(node, NODE_LOGD, "journal.file_size=1M"); /* so that kills also meet changes of file */
    node_set(node, NODE_LOGD, "limits.batch_size=256k");
    node_set(node, NODE_LOGD, "db.save_interval=100ms");
    node_start_all(node);
    struct raw *raw = raw_open(node);
    raw_ensure_specs(raw, "orders", &stream, "workers", &group);
    raw_close(&raw);
    return node;
}

static void wait_for_progress(struct history *history, uint64_t records)
{
    uint64_t before = history_count(history, OUTCOME_OK);
    ck_assert_msg(WAIT_FOR(history_count(history, OUTCOME_OK) >= before + records, LONG),
                  "publishing does not go on");
}

/* An operator puts the active member back: another takes over, while this one has messages in its hands. */
static void replace_active(struct node *node, struct history *history)
{
    struct raw *raw = raw_open(node);
    Railgun__DescribeOk *ok = raw_describe(raw, "orders", "workers");
    char stream[] = "orders";
    char group[] = "workers";
    Railgun__GroupControl control = RAILGUN__GROUP_CONTROL__INIT;
    control.stream = stream;
    control.group = group;
    control.has_op = true;
    control.op = RAILGUN__GROUP_CONTROL__OP__RELEASE;
    for (size_t i = 0; i < ok->group->n_members; i++) {
        const Railgun__MemberInfo *member = ok->group->members[i];
        if (member->active) {
            struct raw_frame frame;
            control.has_member = true;
            control.member = member->member;
            history_fault_began(history);
            ck_assert(raw_send(raw, 0, 99, RAW_GROUP_CONTROL, &control.base));
            (void) raw_receive(raw, LONG, &frame); /* it may have gone by itself */
            history_fault_ended(history);
        }
    }
    SCAN_FREE(&ok);
    raw_close(&raw);
}

static void storm(const struct load_options *options)
{
    struct node *node = node_with_everything(options);
    struct history *history = history_new(NULL);
    struct prng prng;
    prng_init(&prng, options->seed);
    struct load *load = load_start(node, history, options);
    for (unsigned round = 0; round < ROUNDS; round++) {
        enum node_daemon daemon = (enum node_daemon)(round % NODE_DAEMONS);
        wait_for_progress(history, 200 + prng_below(&prng, 500));
        /* a random moment, not a wait for something */
        (void) poll(NULL, 0, (int) prng_below(&prng, 300));
        history_fault_began(history);
        node_kill(node, daemon);
        (void) poll(NULL, 0, (int) prng_below(&prng, 200));
        node_start(node, daemon);
        node_wait_ready(node, daemon, LONG);
        history_fault_ended(history);
        if (options->is_strict) {
            wait_for_progress(history, 200);
            replace_active(node, history);
        }
    }
    wait_for_progress(history, CALM); /* what faults excuse is not excused any more */
    ck_assert_uint_gt(load_finish(&load, LONG), 2000);
    ck_assert_uint_eq(history_count(history, OUTCOME_FAIL), 0);
    ck_assert_uint_eq(history_count(history, OUTCOME_UNKNOWN), 0); /* IDs tell */
    history_destroy(&history);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(a_shared_group_with_delays_and_dead_letters_keeps_its_promises_in_a_storm, 120)
{
    struct load_options options = full_load;
    options.nack_delay_ms = 200;
    storm(&options);
}

TEST_WITHIN(a_strict_exclusive_group_with_dead_letters_keeps_its_promises_in_a_storm, 120)
{
    struct load_options options = full_load;
    options.is_strict = true;
    options.slow_per_mille = 10;
    storm(&options);
}

TEST_WITHIN(a_group_that_retention_overtakes_keeps_its_promises_in_a_storm, 120)
{
    struct load_options options = full_load;
    options.max_records = 2000;
    options.slow_per_mille = 200; /* they cannot follow */
    options.poison_per_mille = 0;
    options.dlq = NULL;
    options.max_failed = 0;
    storm(&options);
}
