/* logd killed at exact system calls, and syncs that fail: strace injects, and every test proves that its fault has fired. */
#include "tests/lib/test.h"
#include "tests/system/history.h"
#include "tests/system/load.h"
#include "tests/system/node.h"
#include "tests/system/raw.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "common/base/err.h"

enum { LONG = 30 };

static const struct load_options fault_load = {
    .stream = "orders",
    .group = "workers",
    .producers = 2,
    .consumers = 2,
    .batch_records = 20,
    .window = 8,
    .payload_bytes = 200,
    .nack_per_mille = 10,
    .sync_percent = 30,
    .seed = 3,
};

static struct node *node_with_stream(void)
{
    struct node *node = node_new();
    node_set(node, NODE_LOGD, "journal.file_size=1M"); /* files change often */
    node_set(node, NODE_LOGD, "limits.batch_size=256k");
    node_set(node, NODE_LOGD, "db.save_interval=100ms");
    node_start_all(node);
    struct raw *raw = raw_open(node);
    raw_ensure(raw, "orders", "workers", 0);
    raw_close(&raw);
    return node;
}

static void wait_for_progress(struct history *history, uint64_t records)
{
    uint64_t before = history_count(history, OUTCOME_OK);
    ck_assert_msg(WAIT_FOR(history_count(history, OUTCOME_OK) >= before + records, LONG),
                  "publishing does not go on");
}

/* logd must be killed by the injection, not by anything else. */
static void expect_killed(struct node *node, const char *injection)
{
    char text[32];
    int status = 0;
    ck_assert_msg(node_wait_end(node, NODE_LOGD, LONG, &status), "%s has not fired", injection);
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s: %s", injection,
                  child_status_text(status, text));
    ck_assert_msg(WAIT_FOR(node_injected(node, NODE_LOGD) > 0, LONG), "%s has not fired",
                  injection);
}

TEST_WITHIN(logd_killed_at_exact_system_calls_loses_nothing, 120)
{
    static const char *const at_work[] = {
        "pwritev:signal=SIGKILL:when=1",   "pwritev:signal=SIGKILL:when=37",
        "fdatasync:signal=SIGKILL:when=1", "fdatasync:signal=SIGKILL:when=23",
        "pwrite64:signal=SIGKILL:when=1",  "pwrite64:signal=SIGKILL:when=4",
        "fallocate:signal=SIGKILL:when=1", "renameat:signal=SIGKILL:when=1",
        "renameat:signal=SIGKILL:when=2",  "fsync:signal=SIGKILL:when=1",
        "sendto:signal=SIGKILL:when=20",   "write:signal=SIGKILL:when=100",
    };
    if (!node_can_trace()) {
        return;
    }
    struct node *node = node_with_stream();
    struct history *history = history_new(NULL);
    struct load *load = load_start(node, history, &fault_load);
    for (size_t i = 0; i < sizeof(at_work) / sizeof(at_work[0]); i++) {
        wait_for_progress(history, 100);
        history_fault_began(history);
        node_inject(node, NODE_LOGD, at_work[i]);
        expect_killed(node, at_work[i]);
        node_start(node, NODE_LOGD);
        node_wait_ready(node, NODE_LOGD, LONG);
        history_fault_ended(history);
    }
    wait_for_progress(history, 100);
    (void) load_finish(&load, LONG);
    history_destroy(&history);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(logd_killed_while_it_recovers_recovers_the_next_time, 120)
{
    static const char *const at_start[] = {
        "openat:signal=SIGKILL:when=40",   "pread64:signal=SIGKILL:when=3",
        "pwrite64:signal=SIGKILL:when=1",  "pwrite64:signal=SIGKILL:when=5",
        "fdatasync:signal=SIGKILL:when=1", "fsync:signal=SIGKILL:when=1",
        "renameat:signal=SIGKILL:when=1",
    };
    if (!node_can_trace()) {
        return;
    }
    struct node *node = node_with_stream();
    struct history *history = history_new(NULL);
    struct load *load = load_start(node, history, &fault_load);
    for (size_t i = 0; i < sizeof(at_start) / sizeof(at_start[0]); i++) {
        wait_for_progress(history, 500);
        history_fault_began(history);
        node_kill(node, NODE_LOGD);
        node_inject_at_start(node, NODE_LOGD, at_start[i]);
        node_start(node, NODE_LOGD);
        expect_killed(node, at_start[i]);
        node_start(node, NODE_LOGD);
        node_wait_ready(node, NODE_LOGD, LONG);
        history_fault_ended(history);
    }
    wait_for_progress(history, 100);
    (void) load_finish(&load, LONG);
    history_destroy(&history);
    node_stop_all(node);
    node_destroy(&node);
}

/* logd has ended by itself, and said why. */
static void expect_failed(struct node *node)
{
    char text[32];
    int status = 0;
    ck_assert_msg(node_wait_end(node, NODE_LOGD, LONG, &status),
                  "logd goes on after a failed sync");
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 1, "%s",
                  child_status_text(status, text));
    ck_assert(WAIT_FOR(node_injected(node, NODE_LOGD) > 0, LONG));
    ck_assert(node_logged(node, NODE_LOGD, "level=error"));
}

TEST_WITHIN(nothing_behind_a_failed_sync_is_acknowledged, 60)
{
    enum { SYNCS_GOOD = 2, TRIES = 12 };
    if (!node_can_trace()) {
        return;
    }
    struct node *node = node_with_stream();
    struct raw *raw = raw_open(node);
    uint64_t acknowledged = 0;
    int code = 0;
    ck_assert_uint_eq(raw_publish(raw, "orders", "before", &code), 1);
    node_inject(node, NODE_LOGD, "fdatasync:error=EIO:when=3+");
    for (unsigned i = 0; i < TRIES && code == 0; i++) { /* one at a time: each needs a sync */
        uint64_t offset = raw_publish(raw, "orders", "one more", &code);
        acknowledged += code == 0;
        ck_assert(code != 0 || offset == acknowledged + 1);
    }
    ck_assert_int_eq(code, -ERR_TIMEOUT); /* unknown: it was written, perhaps */
    ck_assert_uint_le(acknowledged, SYNCS_GOOD);
    expect_failed(node);
    node_start(node, NODE_LOGD);
    node_wait_ready(node, NODE_LOGD, LONG);
    struct raw_page page = {0};
    raw_read(raw, "orders", 1, &page);
    ck_assert_int_eq(page.code, 0);
    ck_assert_uint_ge(page.count, acknowledged + 1);
    ck_assert_uint_le(page.count, acknowledged + 2);
    buf_release(&page.batch);
    raw_close(&raw);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(a_failed_sync_under_load_loses_nothing_acknowledged, 60)
{
    static const char *const injections[] = {"fdatasync:error=EIO:when=10+",
                                             "pwritev:error=EIO:when=7+",
                                             "pwritev:error=ENOSPC:when=7+"};
    if (!node_can_trace()) {
        return;
    }
    struct node *node = node_with_stream();
    struct history *history = history_new(NULL);
    struct load *load = load_start(node, history, &fault_load);
    for (size_t i = 0; i < 3; i++) {
        wait_for_progress(history, 500);
        history_fault_began(history);
        node_inject(node, NODE_LOGD, injections[i]);
        expect_failed(node);
        node_start(node, NODE_LOGD);
        node_wait_ready(node, NODE_LOGD, LONG);
        history_fault_ended(history);
    }
    wait_for_progress(history, 100);
    (void) load_finish(&load, LONG);
    history_destroy(&history);
    node_stop_all(node);
    node_destroy(&node);
}
