/* Daemons killed with -9 while clients publish and consume: what was acknowledged is there, once, in order, at its offset; every request ends. */
#include "tests/lib/test.h"
#include "tests/system/history.h"
#include "tests/system/load.h"
#include "tests/system/node.h"
#include "tests/system/raw.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/rand.h"
#include "common/base/str.h"

enum { LONG = 30 };

static const struct load_options storm_load = {
    .stream = "orders",
    .group = "workers",
    .producers = 3,
    .consumers = 3,
    .batch_records = 20,
    .window = 16,
    .payload_bytes = 100,
    .pause_us = 1000,
    .nack_per_mille = 10,
    .sync_percent = 30,
    .seed = 1,
};

/* Small journal files, so that kills also meet changes of file. */
static struct node *node_with_stream(void)
{
    struct node *node = node_new();
    node_set(node, NODE_LOGD, "journal.file_size=1M");
    node_set(node, NODE_LOGD, "limits.batch_size=256k");
    node_start_all(node);
    struct raw *raw = raw_open(node);
    raw_ensure(raw, "orders", "workers", 0);
    raw_close(&raw);
    return node;
}

/* The seed of this run: always the same, unless the environment gives another. */
static uint64_t run_seed(void)
{
    const char *text = getenv("RAILGUN_TEST_SEED");
    uint64_t seed = 7;
    if (text != NULL) {
        ck_assert_int_eq(str_to_u64(span_of(text), &seed), 0);
    }
    (void) fprintf(stderr, "seed %lu (RAILGUN_TEST_SEED)\n", seed);
    return seed;
}

/* Let this much be acknowledged meanwhile. */
static void wait_for_progress(struct history *history, uint64_t records)
{
    uint64_t before = history_count(history, OUTCOME_OK);
    ck_assert_msg(WAIT_FOR(history_count(history, OUTCOME_OK) >= before + records, LONG),
                  "publishing does not go on");
}

TEST_WITHIN(without_faults_nothing_is_lost_doubled_or_redelivered, 60)
{
    struct node *node = node_with_stream();
    struct history *history = history_new(NULL);
    struct load *load = load_start(node, history, &storm_load);
    wait_for_progress(history, 20000);
    (void) load_finish(&load, LONG);
    ck_assert_uint_eq(history_count(history, OUTCOME_FAIL), 0);
    ck_assert_uint_eq(history_count(history, OUTCOME_UNKNOWN), 0);
    history_destroy(&history);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(consumers_that_come_and_go_lose_nothing, 60)
{
    struct node *node = node_with_stream();
    struct history *history = history_new(NULL);
    struct load_options options = storm_load;
    options.leave_per_mille = 20;
    struct load *load = load_start(node, history, &options);
    wait_for_progress(history, 20000);
    (void) load_finish(&load, LONG);
    ck_assert_uint_eq(history_count(history, OUTCOME_FAIL), 0);
    ck_assert_uint_eq(history_count(history, OUTCOME_UNKNOWN), 0);
    history_destroy(&history);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(daemons_killed_at_random_moments_lose_nothing_acknowledged, 120)
{
    struct node *node = node_with_stream();
    struct history *history = history_new(NULL);
    struct load_options options = storm_load;
    struct prng prng;
    options.seed = run_seed();
    prng_init(&prng, options.seed);
    struct load *load = load_start(node, history, &options);
    for (unsigned round = 0; round < 20; round++) {
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
    }
    wait_for_progress(history, 1000);
    ck_assert_uint_gt(load_finish(&load, LONG), 2000);
    history_destroy(&history);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(all_daemons_killed_at_once_lose_nothing_acknowledged, 120)
{
    struct node *node = node_with_stream();
    struct history *history = history_new(NULL);
    struct load *load = load_start(node, history, &storm_load);
    for (unsigned round = 0; round < 4; round++) {
        wait_for_progress(history, 500);
        history_fault_began(history);
        node_kill_all(node);
        node_start_all(node);
        history_fault_ended(history);
    }
    wait_for_progress(history, 500);
    ck_assert_uint_gt(load_finish(&load, LONG), 2000);
    history_destroy(&history);
    node_stop_all(node);
    node_destroy(&node);
}

/* The code of the answer: 0 when the stream is there. */
static int ensure_numbered(struct raw *raw, unsigned number)
{
    Railgun__Ensure request = RAILGUN__ENSURE__INIT;
    struct raw_frame frame;
    char name[32];
    (void) snprintf(name, sizeof(name), "made.%u", number);
    request.has_kind = true;
    request.kind = RAILGUN__KIND__KIND_STREAM;
    request.name = name;
    ck_assert(raw_send(raw, 0, number, RAW_ENSURE, &request.base));
    do {
        ck_assert_int_eq(raw_receive(raw, LONG, &frame), RAW_FRAME);
    } while (frame.corr != number);
    return raw_code_of(&frame);
}

TEST_WITHIN(streams_made_while_raftd_is_killed_are_never_forgotten, 120)
{
    enum { STREAMS = 200, EVERY = 20 };
    struct node *node = node_new();
    bool made[STREAMS + 1] = {false};
    char name[32];
    int code = 0;
    node_start_all(node);
    struct raw *raw = raw_open(node);
    for (unsigned i = 1; i <= STREAMS; i++) {
        if (i % EVERY == 0) { /* in the middle of it: the answer waits for the next raftd */
            node_kill(node, NODE_RAFTD);
            node_start(node, NODE_RAFTD);
        }
        code = ensure_numbered(raw, i);
        made[i] = code == 0;
        ck_assert_msg(code == 0 || i % EVERY == 0, "stream %u: %d", i, code);
    }
    raw_close(&raw);
    node_kill_all(node);
    node_start_all(node);
    raw = raw_open(node);
    for (unsigned i = 1; i <= STREAMS; i++) {
        (void) snprintf(name, sizeof(name), "made.%u", i);
        if (made[i]) {
            ck_assert_msg(raw_publish(raw, name, "x", &code) == 1, "%s: %d", name, code);
        }
    }
    raw_close(&raw);
    node_stop_all(node);
    node_destroy(&node);
}
