/* Consumer groups across restarts: what was acknowledged comes back from the database, or from the log when there is none. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "logd/group_index.h"
#include "tests/lib/test.h"
#include "tests/unit/logd/node_lib.h"

enum { GROUP = 55, CONSUMER = 9 };

static void attach(struct node *node)
{
    struct buf spec = {0};
    struct buf meta = {0};
    pb_append_varint(&spec, 1, 0);
    pb_append_varint(&spec, 2, 100000);
    pb_append_varint(&spec, 3, 100000);
    pb_append_varint(&spec, 4, 10000);
    pb_append_varint(&meta, 1, CONSUMER);
    pb_append_varint(&meta, 2, GROUP);
    pb_append_bytes(&meta, 3, span_of("g"));
    pb_append_bytes(&meta, 4, buf_span(&spec));
    pb_append_varint(&meta, 9, 100000);
    pb_append_varint(&meta, 10, 100 << 20);
    pb_append_varint(&meta, 11, 7);
    struct answer answer;
    node_ask(node, RAILGUN__BUS_TYPE__BUS_LOG_ATTACH, NODE_STREAM, buf_span(&meta), NULL, &answer);
    ck_assert_int_eq(answer.outcome, BUS_OK);
    ck_assert_int_eq(answer.status, 0);
    answer_clear(&answer);
    buf_release(&spec);
    buf_release(&meta);
}

static void ack_later(struct node *node, uint64_t first, uint64_t last)
{
    struct buf range = {0};
    struct buf meta = {0};
    pb_append_varint(&range, 1, first);
    pb_append_varint(&range, 2, last);
    pb_append_bytes(&meta, 1, buf_span(&range));
    struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_LOG_ACK_ONEWAY,
                               .subject = CONSUMER,
                               .meta = buf_span(&meta)};
    ck_assert_int_eq(bus_event(node->front_link, &out), 0);
    buf_release(&range);
    buf_release(&meta);
}

static void ack(struct node *node, uint64_t first, uint64_t last)
{
    struct buf range = {0};
    struct buf meta = {0};
    pb_append_varint(&range, 1, first);
    pb_append_varint(&range, 2, last);
    pb_append_bytes(&meta, 1, buf_span(&range));
    pb_append_varint(&meta, 4, 1); /* answered when it is durable */
    struct answer answer;
    node_ask(node, RAILGUN__BUS_TYPE__BUS_LOG_ACK, CONSUMER, buf_span(&meta), NULL, &answer);
    ck_assert_int_eq(answer.outcome, BUS_OK);
    ck_assert_int_eq(answer.status, 0);
    ck_assert_uint_eq(meta_bytes(buf_span(&answer.meta), 1).size, 0);
    answer_clear(&answer);
    buf_release(&range);
    buf_release(&meta);
}

static uint64_t info(struct node *node, uint32_t field)
{
    struct buf meta = {0};
    pb_append_varint(&meta, 1, GROUP);
    struct answer answer;
    node_ask(node, RAILGUN__BUS_TYPE__BUS_LOG_GROUP_INFO, NODE_STREAM, buf_span(&meta), NULL,
             &answer);
    ck_assert_int_eq(answer.status, 0);
    uint64_t value = meta_number(buf_span(&answer.meta), field);
    answer_clear(&answer);
    buf_release(&meta);
    return value;
}

/* Publish `count` records, attach, and wait until they are delivered. */
static void consume(struct node *node, uint64_t count)
{
    for (uint64_t i = 0; i < count; i += 100) {
        (void) node_publish(node, NODE_STREAM, 1 + i, 100, 20);
    }
    attach(node);
    for (uint64_t in_flight = 0; in_flight < count;) {
        in_flight = info(node, 8);
    }
}

TEST(what_a_group_acknowledged_is_known_after_a_restart)
{
    struct node node;
    node_init(&node);
    struct buf group = {0}; /* the catalogue names it, or it would be dropped */
    pb_append_varint(&group, 1, GROUP);
    pb_append_varint(&group, 2, NODE_STREAM);
    pb_append_bytes(&node.changes, 6, buf_span(&group));
    buf_release(&group);
    node_start(&node);
    consume(&node, 1000);
    ack(&node, 1, 300);
    ack(&node, 401, 500);
    ack(&node, 777, 777);
    ck_assert_uint_eq(info(&node, 5), 300);
    node_stop(&node);
    for (unsigned life = 0; life < 4; life++) {
        if (life % 2 == 1) {
            node_remove_db(&node);
        }
        node_start(&node);
        ck_assert_uint_eq(info(&node, 5), 300);
        ck_assert_uint_eq(info(&node, 6), 101);
        ck_assert_uint_eq(info(&node, 11), 1000 - 401);
        ck_assert_uint_eq(groups_count(node_stream(&node, NODE_STREAM)->groups), 1);
        node_stop(&node);
    }
    node_release(&node);
}

TEST(a_drain_takes_along_what_was_acknowledged_just_now)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    consume(&node, 100);
    ack_later(&node, 1, 50);
    while (info(&node, 8) != 50) {
    }
    node_stop(&node);
    node.mute = true;
    node_start(&node);
    ck_assert_uint_eq(info(&node, 5), 50);
    node_end(&node);
}

enum { KILL_RECORDS = 2000 };

/* Acknowledge one record after the other, tell each, until killed. */
static void child_ack(struct node *node, int out, uint64_t from)
{
    node_start(node);
    if (from == 1) {
        consume(node, KILL_RECORDS);
    } else {
        attach(node);
        while (info(node, 8) < KILL_RECORDS + 1 - from) {
        }
    }
    for (uint64_t offset = from; offset <= KILL_RECORDS; offset++) {
        ack(node, offset, offset);
        if (write(out, &offset, sizeof(offset)) != sizeof(offset)) {
            _exit(1);
        }
    }
    for (;;) {
        (void) pause();
    }
}

TEST_WITHIN(acknowledgements_that_were_answered_survive_kill_9, 60)
{
    struct node node;
    node_init(&node);
    struct buf group = {0};
    pb_append_varint(&group, 1, GROUP);
    pb_append_varint(&group, 2, NODE_STREAM);
    pb_append_bytes(&node.changes, 6, buf_span(&group));
    buf_release(&group);
    uint64_t acked = 0;
    for (uint64_t life = 0; life < 5; life++) {
        int pipe_fds[2];
        ck_assert_int_eq(pipe(pipe_fds), 0);
        pid_t pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
            (void) close(pipe_fds[0]);
            child_ack(&node, pipe_fds[1], acked + 1);
        }
        (void) close(pipe_fds[1]);
        uint64_t told;
        uint64_t count = 0;
        while (read(pipe_fds[0], &told, sizeof(told)) == sizeof(told)) {
            ck_assert_uint_eq(told, acked + 1);
            acked = told;
            if (++count == 30 + life * 40) {
                ck_assert_int_eq(kill(pid, SIGKILL), 0);
            }
        }
        (void) close(pipe_fds[0]);
        int status;
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSIGNALED(status));

        struct node after = node;
        if (life % 2 == 1) {
            node_remove_db(&after);
        }
        node_start(&after);
        uint64_t floor = info(&after, 5);
        ck_assert_uint_ge(floor, acked);
        ck_assert_uint_le(floor, acked + 1); /* one may have been on its way */
        acked = floor;
        node_stop(&after);
    }
    node_release(&node);
}

static bool group_is_gone(void *ud)
{
    const struct node *node = ud;
    return groups_count(streams_find(node->logd, NODE_STREAM)->groups) == 0;
}

TEST(a_group_that_a_whole_snapshot_does_not_name_is_dropped)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    consume(&node, 100);
    ck_assert_ptr_nonnull(group_index_find(node.logd->groups, GROUP));
    node_stop(&node);
    node.mute = true;
    node_start(&node);
    ck_assert_uint_eq(groups_count(node_stream(&node, NODE_STREAM)->groups), 1);
    node_stop(&node);
    node.mute = false;
    node.revision = 8;
    snapshot_begin(&node.changes, 8, false);
    catalog_stream_append(&node.changes, NODE_STREAM, 1, (struct span){0});
    node_start(&node);
    node_run_until(&node, group_is_gone, &node);
    node_stop(&node);
    node_remove_db(&node);
    node.mute = true;
    node_start(&node);
    ck_assert_uint_eq(groups_count(node_stream(&node, NODE_STREAM)->groups), 0);
    node_end(&node);
}
