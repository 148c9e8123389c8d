/* The events that operators follow, through adminctl. */
#include "tests/lib/test.h"
#include "tests/system/node.h"
#include "tests/system/raw.h"

#include <signal.h>
#include <string.h>

enum { LONG = 20 };

/* `adminctl events` on this node, once it watches. */
static void watch_start(const struct node *node, struct process *watch, const char *stream)
{
    const char *words[] = {"events", stream, NULL};
    node_ctl_start(node, watch, NULL, words);
}

static bool watch_said(struct process *watch, const char *text)
{
    process_look(watch);
    return process_said(watch, text);
}

static void watch_end(struct process *watch)
{
    (void) kill(watch->pid, SIGINT); /* it may have ended */
    ck_assert(process_wait(watch, LONG));
    ck_assert_msg(watch->exit == 0, "%s", buf_text(&watch->err));
    process_release(watch);
}

TEST_WITHIN(a_watcher_is_told_that_logd_was_restarted, 60)
{
    struct node *node = node_new();
    struct process watch = {0};
    node_start_all(node);
    node_ensure(node, "orders");
    watch_start(node, &watch, "orders");
    /* Whether it watches already is not seen: logd is restarted until it was told. */
    bool was_told = false;
    for (unsigned i = 0; i < 20 && !was_told; i++) {
        node_restart(node, NODE_LOGD);
        was_told = WAIT_FOR(watch_said(&watch, "\"event\":\"LOST\""), 1);
    }
    ck_assert_msg(was_told, "%s", buf_text(&watch.out));
    watch_end(&watch);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(watching_what_is_not_there_is_refused, 60)
{
    struct node *node = node_new();
    struct process result = {0};
    node_start_all(node);
    ck_assert_int_eq(NODE_CTL(node, &result, "events", "nowhere", "--for", "1s"), 3);
    ck_assert(process_complained(&result, "NOT_FOUND"));
    ck_assert_int_eq(NODE_CTL(node, &result, "events", "--group", "workers"), 2);
    ck_assert_int_eq(NODE_CTL(node, &result, "events", "--for", "100ms"), 0);
    ck_assert_int_eq(NODE_CTL(node, &result, "events", "--for", "0s"), 0);
    process_release(&result);
    node_stop_all(node);
    node_destroy(&node);
}
