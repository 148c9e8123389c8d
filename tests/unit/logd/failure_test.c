/* When the disk fails or is full: nothing is acknowledged that is not durable, and what can go on does. */
#include <errno.h>

#include "common/base/err.h"
#include "common/store/fs.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "tests/lib/test.h"
#include "tests/unit/logd/node_lib.h"

#define PUBLISH RAILGUN__BUS_TYPE__BUS_LOG_PUBLISH

static bool node_has_failed(void *ud)
{
    const struct node *node = ud;
    return node->failed;
}

/* @thread the journal's writer */
static int failing_fdatasync(void *ud, int fd)
{
    (void) ud;
    (void) fd;
    errno = EIO;
    return -1;
}

static bool answers_are_there(void *ud)
{
    const struct answer *answers = ud;
    return answers[0].done && answers[1].done;
}

TEST(after_a_failed_sync_nothing_is_acknowledged_and_the_process_ends)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 1, 1, 10), 1);
    node_stop(&node);

    static struct fs_ops ops; /* the writer's thread looks at it */
    ops = (struct fs_ops){0};
    node.options.journal.ops = &ops;
    node_start(&node);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 2, 1, 10), 2);
    __atomic_store_n(&ops.fdatasync, failing_fdatasync, __ATOMIC_SEQ_CST);
    struct answer answers[2];
    for (unsigned i = 0; i < 2; i++) {
        struct slice batch = batch_make("r", 3 + i, 1, 10);
        node_send(&node, PUBLISH, NODE_STREAM, (struct span){0}, &batch, &answers[i]);
        slice_release(&batch);
    }
    node_run_until(&node, node_has_failed, &node);
    ck_assert_int_eq(strncmp(node.reason, "journal poisoned", 16), 0);
    ck_assert(!answers[0].done && !answers[1].done);
    ck_assert_uint_eq(node_stream(&node, NODE_STREAM)->next_offset, 3);

    /* the process ends: the asker learns that he does not know */
    bus_close(&node.bus);
    logd_bus_closed(node.logd);
    node_run_until(&node, answers_are_there, answers);
    ck_assert_int_eq(answers[0].outcome, BUS_UNKNOWN);
    ck_assert_int_eq(answers[1].outcome, BUS_UNKNOWN);
    bus_close(&node.front);
    bus_close(&node.raft);
    logd_close(&node.logd);
    metrics_destroy(&node.metrics);
    loop_destroy(&node.loop);

    node.options.journal.ops = NULL;
    node_start(&node);
    uint64_t next = node_stream(&node, NODE_STREAM)->next_offset;
    ck_assert_uint_ge(next, 3);
    node_check_records(&node, NODE_STREAM, 1, next, 0);
    node_end(&node);
}

static bool first_is_configured(void *ud)
{
    struct node *node = ud;
    const struct stream *stream = streams_find(node->logd, NODE_STREAM);
    return stream != NULL && stream->applied_index == 1;
}

TEST(a_full_disk_refuses_publishes_and_nothing_else)
{
    struct node node;
    node_init(&node);
    node.options.journal.disk_free_min = UINT64_MAX / 2;
    node_start(&node);
    node_run_until(&node, first_is_configured, &node); /* a control entry: it goes on */
    struct slice batch = batch_make("r", 1, 1, 10);
    struct answer answer;
    node_ask(&node, PUBLISH, NODE_STREAM, (struct span){0}, &batch, &answer);
    ck_assert_int_eq(answer.status, ERR_STORAGE_FULL);
    answer_clear(&answer);
    slice_release(&batch);
    ck_assert_uint_eq(node_stream(&node, NODE_STREAM)->next_proposed, 1);
    node_stop(&node);

    node.options.journal.disk_free_min = 0;
    node_start(&node);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 1, 1, 10), 1);
    node_end(&node);
}

TEST(a_data_directory_has_one_owner)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    struct logd_options options = node.options;
    options.catalog = NULL;
    struct logd *second = NULL;
    ck_assert_int_eq(logd_open(&options, &second), ERR_LOCKED);
    ck_assert_ptr_null(second);
    node_end(&node);
}
