/* A daemon that is down, hung or comes back: what goes on, what fails and how, and that nothing hangs for ever. Also: any start order, and stopping
 * under load. */
#include "tests/lib/test.h"
#include "tests/system/history.h"
#include "tests/system/load.h"
#include "tests/system/node.h"
#include "tests/system/raw.h"

#include <signal.h>
#include <stdio.h>

#include "common/base/err.h"

enum { LONG = 30 };

static struct node *node_with_stream(void)
{
    struct node *node = node_new();
    node_set(node, NODE_FRONTD, "timeouts.request=1500ms"); /* every answer comes within it */
    node_start_all(node);
    struct raw *raw = raw_open(node);
    raw_ensure(raw, "orders", "workers", 0);
    raw_close(&raw);
    return node;
}

/* Ask for a new stream: the code of the answer, 0 for success. */
static int try_ensure(struct raw *raw, const char *name)
{
    Railgun__Ensure request = RAILGUN__ENSURE__INIT;
    struct raw_frame frame;
    char text[64];
    (void) snprintf(text, sizeof(text), "%s", name);
    request.has_kind = true;
    request.kind = RAILGUN__KIND__KIND_STREAM;
    request.name = text;
    ck_assert(raw_send(raw, 0, 77, RAW_ENSURE, &request.base));
    do {
        ck_assert_int_eq(raw_receive(raw, LONG, &frame), RAW_FRAME);
    } while (frame.corr != 77);
    return raw_code_of(&frame);
}

static bool code_is_retryable(int code)
{
    const struct err_info *info = err_find(code);
    return info != NULL && info->class_ == ERR_CLASS_RETRY;
}

TEST_WITHIN(without_raftd_traffic_flows_and_ensure_can_be_repeated, 60)
{
    struct node *node = node_with_stream();
    struct raw *raw = raw_open(node);
    struct raw_delivery delivery;
    int code = 0;
    node_kill(node, NODE_RAFTD);
    ck_assert_uint_eq(raw_publish(raw, "orders", "without raftd", &code), 1);
    raw_consume(raw, 1, "orders", "workers", 10);
    ck_assert(raw_deliver(raw, 1, LONG, &delivery));
    ck_assert_int_eq(raw_ack(raw, 1, 1, 1, true), 0);
    code = try_ensure(raw, "another");
    ck_assert_msg(code_is_retryable(code), "ensure without raftd: %d", code);
    node_start(node, NODE_RAFTD);
    node_wait_ready(node, NODE_RAFTD, LONG);
    ck_assert(WAIT_FOR(try_ensure(raw, "another") == 0, LONG));
    ck_assert_uint_eq(raw_publish(raw, "another", "x", &code), 1);
    raw_close(&raw);
    node_destroy(&node);
}

TEST_WITHIN(without_logd_requests_end_in_time_and_connections_stay, 60)
{
    struct node *node = node_with_stream();
    struct raw *raw = raw_open(node);
    struct raw_page page = {0};
    int code = 0;
    ck_assert_uint_eq(raw_publish(raw, "orders", "before", &code), 1);
    node_kill(node, NODE_LOGD);
    (void) raw_publish(raw, "orders", "without logd", &code);
    ck_assert_msg(code_is_retryable(code) || code == -ERR_TIMEOUT, "publish without logd: %d",
                  code);
    raw_read(raw, "orders", 1, &page);
    ck_assert_msg(code_is_retryable(page.code), "read without logd: %d", page.code);
    ck_assert_int_eq(try_ensure(raw, "another"), 0); /* raftd's work alone */
    node_start(node, NODE_LOGD);
    node_wait_ready(node, NODE_LOGD, LONG);
    uint64_t offset = 0;
    ck_assert(WAIT_FOR((offset = raw_publish(raw, "orders", "after", &code)) != 0, LONG));
    ck_assert_uint_ge(offset, 2);
    ck_assert_uint_le(offset, 3);
    ck_assert_uint_eq(raw_publish(raw, "another", "x", &code), 1);
    buf_release(&page.batch);
    raw_close(&raw);
    node_destroy(&node);
}

TEST_WITHIN(a_request_waits_for_a_logd_that_restarts, 60)
{
    struct node *node = node_new(); /* with its 10 s */
    struct history *history = history_new(NULL);
    const struct load_options one_by_one = {.stream = "orders",
                                            .producers = 1,
                                            .batch_records = 1,
                                            .window = 1,
                                            .payload_bytes = 50,
                                            .seed = 5};
    node_start_all(node);
    struct raw *raw = raw_open(node);
    raw_ensure(raw, "orders", NULL, 0);
    struct load *load = load_start(node, history, &one_by_one);
    for (int i = 0; i < 5; i++) {
        uint64_t before = history_count(history, OUTCOME_OK);
        ck_assert(WAIT_FOR(history_count(history, OUTCOME_OK) > before + 20, LONG));
        node_restart(node, NODE_LOGD);
    }
    ck_assert_uint_gt(load_finish(&load, LONG), 100);
    ck_assert_uint_eq(history_count(history, OUTCOME_FAIL), 0);
    ck_assert_uint_le(history_count(history, OUTCOME_UNKNOWN), 5); /* the one under way each time */
    history_destroy(&history);
    raw_close(&raw);
    node_destroy(&node);
}

TEST_WITHIN(a_hung_logd_is_an_unknown_outcome_and_not_a_hung_client, 60)
{
    struct node *node = node_with_stream();
    struct raw *raw = raw_open(node);
    int code = 0;
    ck_assert_uint_eq(raw_publish(raw, "orders", "before", &code), 1);
    node_signal(node, NODE_LOGD, SIGSTOP);
    (void) raw_publish(raw, "orders", "meanwhile", &code);
    ck_assert_int_eq(code, -ERR_TIMEOUT);
    node_signal(node, NODE_LOGD, SIGCONT);
    uint64_t offset = 0;
    ck_assert(WAIT_FOR((offset = raw_publish(raw, "orders", "after", &code)) != 0, LONG));
    ck_assert_uint_ge(offset, 2);
    ck_assert_uint_le(offset, 3);
    raw_close(&raw);
    node_destroy(&node);
}

TEST_WITHIN(daemons_paused_for_a_while_lose_nothing, 120)
{
    struct node *node = node_with_stream();
    struct history *history = history_new(NULL);
    const struct load_options options = {.stream = "orders",
                                         .group = "workers",
                                         .producers = 2,
                                         .consumers = 2,
                                         .batch_records = 10,
                                         .window = 8,
                                         .payload_bytes = 60,
                                         .pause_us = 500,
                                         .sync_percent = 30,
                                         .seed = 9};
    struct load *load = load_start(node, history, &options);
    for (int i = 0; i < NODE_DAEMONS; i++) {
        uint64_t before = history_count(history, OUTCOME_OK);
        ck_assert(WAIT_FOR(history_count(history, OUTCOME_OK) > before + 500, LONG));
        history_fault_began(history);
        node_signal(node, (enum node_daemon) i, SIGSTOP);
        (void) WAIT_FOR(false, 0.7); /* longer than many deadlines, shorter than heartbeats */
        node_signal(node, (enum node_daemon) i, SIGCONT);
        history_fault_ended(history);
    }
    ck_assert_uint_gt(load_finish(&load, LONG), 2000);
    history_destroy(&history);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(daemons_may_start_in_any_order, 120)
{
    static const enum node_daemon orders[][NODE_DAEMONS] = {
        {NODE_RAFTD, NODE_LOGD, NODE_ROUTERD, NODE_FRONTD},
        {NODE_FRONTD, NODE_ROUTERD, NODE_LOGD, NODE_RAFTD},
        {NODE_LOGD, NODE_ROUTERD, NODE_FRONTD, NODE_RAFTD},
        {NODE_ROUTERD, NODE_FRONTD, NODE_RAFTD, NODE_LOGD},
        {NODE_LOGD, NODE_FRONTD, NODE_RAFTD, NODE_ROUTERD},
        {NODE_FRONTD, NODE_RAFTD, NODE_LOGD, NODE_ROUTERD},
        {NODE_RAFTD, NODE_FRONTD, NODE_LOGD, NODE_ROUTERD},
        {NODE_FRONTD, NODE_LOGD, NODE_RAFTD, NODE_ROUTERD},
    };
    struct node *node = node_new();
    int code = 0;
    for (uint64_t round = 0; round < sizeof(orders) / sizeof(orders[0]); round++) {
        for (int i = 0; i < NODE_DAEMONS; i++) {
            node_start(node, orders[round][i]);
            ck_assert(WAIT_FOR(node_logged(node, orders[round][i], "event=\"starting\""), LONG));
        }
        for (int i = 0; i < NODE_DAEMONS; i++) {
            node_wait_ready(node, orders[round][i], LONG);
        }
        struct raw *raw = raw_open(node);
        raw_ensure(raw, "orders", "workers", 0);
        ck_assert_uint_eq(raw_publish(raw, "orders", "in any order", &code), round + 1);
        raw_close(&raw);
        node_kill_all(node);
    }
    node_destroy(&node);
}

TEST_WITHIN(sigterm_under_load_loses_nothing_and_every_daemon_exits_with_0, 120)
{
    struct node *node = node_with_stream();
    struct history *history = history_new(NULL);
    const struct load_options options = {.stream = "orders",
                                         .group = "workers",
                                         .producers = 3,
                                         .consumers = 2,
                                         .batch_records = 20,
                                         .window = 16,
                                         .payload_bytes = 100,
                                         .pause_us = 200,
                                         .sync_percent = 30,
                                         .seed = 11};
    struct load *load = load_start(node, history, &options);
    for (int round = 0; round < 2; round++) {
        uint64_t before = history_count(history, OUTCOME_OK);
        ck_assert(WAIT_FOR(history_count(history, OUTCOME_OK) > before + 2000, LONG));
        history_fault_began(history);
        node_stop_all(node);
        node_start_all(node);
        history_fault_ended(history);
    }
    ck_assert_uint_gt(load_finish(&load, LONG), 4000);
    history_destroy(&history);
    node_stop_all(node);
    node_destroy(&node);
}
