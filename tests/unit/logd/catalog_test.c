/* What raftd's catalogue does to logd, and what it must never do. */
#include <unistd.h>

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "logd/catalog_client.h"
#include "logd/state.h"
#include "tests/lib/test.h"
#include "tests/unit/logd/node_lib.h"

#define PUBLISH RAILGUN__BUS_TYPE__BUS_LOG_PUBLISH

static int publish_status(struct node *node, uint64_t log_group, uint64_t revision)
{
    struct buf meta = {0};
    pb_append_varint(&meta, 4, revision);
    struct slice batch = batch_make("r", 1, 1, 10);
    struct answer answer;
    node_ask(node, PUBLISH, log_group, buf_span(&meta), &batch, &answer);
    slice_release(&batch);
    buf_release(&meta);
    ck_assert_int_eq(answer.outcome, BUS_OK);
    int status = answer.status;
    answer_clear(&answer);
    return status;
}

static bool revision_is(void *ud)
{
    struct node *node = ud;
    return catalog_client_revision(node->logd->catalog) == node->revision;
}

static void send_and_wait(struct node *node, struct buf *changes)
{
    node_send_changes(node, changes);
    node_run_until(node, revision_is, node);
    buf_release(changes);
}

TEST(a_virgin_node_is_not_ready_before_the_catalogue_is_seen)
{
    struct node node;
    node_init(&node);
    node.mute = true;
    ck_assert_int_eq(node_open(&node), 0);
    ck_assert(!node.ready);
    ck_assert_str_eq(node.reason, "waiting for raftd");
    node_stop(&node);
    /* and with the catalogue it is, and stays so without it */
    node.mute = false;
    node_start(&node);
    node_stop(&node);
    node.mute = true;
    node_start(&node);
    ck_assert(node.ready);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 1, 1, 10), 1);
    node_end(&node);
}

TEST(a_publish_waits_for_a_stream_that_the_sender_has_seen)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    struct answer answers[2];
    struct buf meta = {0};
    pb_append_varint(&meta, 4, 8); /* one ahead of ours */
    for (unsigned i = 0; i < 2; i++) {
        struct slice batch = batch_make("r", 1 + i, 1, 10);
        node_send(&node, PUBLISH, 2000, buf_span(&meta), &batch, &answers[i]);
        slice_release(&batch);
    }
    buf_release(&meta);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 1, 1, 10), 1); /* they have arrived */
    ck_assert(!answers[0].done);
    ck_assert_uint_eq(*node.logd->count.parked, 2);

    struct buf changes = {0};
    node.revision = 8;
    pb_append_varint(&changes, 1, 8);
    catalog_stream_append(&changes, 2000, 1, (struct span){0});
    node_send_changes(&node, &changes);
    buf_release(&changes);
    for (uint64_t i = 0; i < 2; i++) {
        node_wait(&node, &answers[i]);
        ck_assert_int_eq(answers[i].status, 0);
        ck_assert_uint_eq(meta_number(buf_span(&answers[i].meta), 1), 1 + i);
        answer_clear(&answers[i]);
    }
    node_check_records(&node, 2000, 1, 3, 0);
    node_end(&node);
}

TEST(an_unknown_stream_is_not_found_when_the_catalogue_is_up_to_date)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    ck_assert_int_eq(publish_status(&node, 2000, 7), ERR_NOT_FOUND);
    ck_assert_int_eq(publish_status(&node, 3, 7), ERR_NOT_FOUND);
    node_end(&node);
}

TEST(waiting_for_the_catalogue_ends)
{
    struct node node;
    node_init(&node);
    node.options.park_ms = 10;
    node.options.parked_max = 2;
    node_start(&node);
    ck_assert_int_eq(publish_status(&node, 2000, 9), ERR_NO_QUORUM);
    struct answer answers[3];
    struct buf meta = {0};
    pb_append_varint(&meta, 4, 9);
    for (unsigned i = 0; i < 3; i++) {
        struct slice batch = batch_make("r", 1, 1, 10);
        node_send(&node, PUBLISH, 2000, buf_span(&meta), &batch, &answers[i]);
        slice_release(&batch);
    }
    buf_release(&meta);
    for (unsigned i = 0; i < 3; i++) {
        node_wait(&node, &answers[i]);
    }
    ck_assert_int_eq(answers[0].status, ERR_NO_QUORUM);
    ck_assert_int_eq(answers[2].status, ERR_OVERLOADED);
    for (unsigned i = 0; i < 3; i++) {
        answer_clear(&answers[i]);
    }
    node_end(&node);
}

TEST(a_changed_specification_becomes_an_entry)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 1, 1, 10), 1);
    struct stream *stream = node_stream(&node, NODE_STREAM);
    ck_assert_uint_eq(stream->applied_index, 2);
    struct buf spec = {0};
    pb_append_varint(&spec, 5, 50); /* record_max_bytes */
    struct buf changes = {0};
    node.revision = 8;
    pb_append_varint(&changes, 1, 8);
    catalog_stream_append(&changes, NODE_STREAM, 2, buf_span(&spec));
    send_and_wait(&node, &changes);
    buf_release(&spec);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 2, 1, 10), 2);
    ck_assert_uint_eq(stream->applied_index, 4);
    ck_assert_uint_eq(stream->version, 2);
    ck_assert_uint_eq(stream->record_bytes_max, 50);
    struct slice batch = batch_make("r", 1, 1, 100);
    struct answer answer;
    node_ask(&node, PUBLISH, NODE_STREAM, (struct span){0}, &batch, &answer);
    ck_assert_int_eq(answer.status, ERR_TOO_LARGE);
    answer_clear(&answer);
    slice_release(&batch);
    node_end(&node);
}

TEST(the_same_snapshot_again_proposes_nothing)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 1, 1, 10), 1);
    node_stop(&node);
    node_start(&node);
    node_run_until(&node, revision_is, &node);
    ck_assert_uint_eq(node_stream(&node, NODE_STREAM)->applied_index, 2);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 2, 1, 10), 2);
    ck_assert_uint_eq(node_stream(&node, NODE_STREAM)->applied_index, 3);
    node_end(&node);
}

static bool stream_is_deleted(void *ud)
{
    const struct stream *stream = ud;
    return stream->deleted;
}

TEST(a_deleted_stream_says_so_and_stays_deleted)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 1, 10, 10), 1);
    struct buf changes = {0};
    node.revision = 8;
    pb_append_varint(&changes, 1, 8);
    pb_append_varint(&changes, 5, NODE_STREAM);
    send_and_wait(&node, &changes);
    ck_assert_int_eq(publish_status(&node, NODE_STREAM, 0), ERR_STREAM_DELETED);
    struct stream *stream = node_stream(&node, NODE_STREAM);
    node_run_until(&node, stream_is_deleted, stream);
    ck_assert_uint_eq(stream->extents.count, 0);
    ck_assert_uint_eq(stream->tail.count, 0);
    struct answer answer;
    node_ask(&node, RAILGUN__BUS_TYPE__BUS_LOG_READ, NODE_STREAM, (struct span){0}, NULL, &answer);
    ck_assert_int_eq(answer.status, ERR_STREAM_DELETED);
    answer_clear(&answer);
    node_stop(&node);

    snapshot_begin(&node.changes, 8, false);
    for (unsigned life = 0; life < 2; life++) {
        if (life == 1) {
            node_remove_db(&node);
        }
        node_start(&node);
        stream = node_stream(&node, NODE_STREAM);
        ck_assert(stream->deleted);
        ck_assert_uint_eq(stream->extents.count, 0);
        ck_assert_int_eq(publish_status(&node, NODE_STREAM, 0), ERR_STREAM_DELETED);
        node_stop(&node);
    }
    node_release(&node);
}

/* Restart with this snapshot; is the stream still served? */
static bool survives(struct node *node)
{
    node_start(node);
    node_run_until(node, revision_is, node);
    bool served = publish_status(node, NODE_STREAM, 0) == 0;
    node_stop(node);
    return served;
}

TEST(a_whole_snapshot_without_the_stream_deletes_it)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    (void) node_publish(&node, NODE_STREAM, 1, 1, 10);
    node_stop(&node);
    node.revision = 9;
    snapshot_begin(&node.changes, 9, false);
    ck_assert(!survives(&node));
    node_release(&node);
}

TEST(an_empty_catalogue_of_revision_zero_deletes_nothing)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    (void) node_publish(&node, NODE_STREAM, 1, 1, 10);
    node_stop(&node);
    node.revision = 0;
    snapshot_begin(&node.changes, 0, false);
    ck_assert(survives(&node));
    node_release(&node);
}

TEST(an_older_catalogue_deletes_nothing)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    (void) node_publish(&node, NODE_STREAM, 1, 1, 10);
    ck_assert_uint_eq(state_revision(node.logd->state), 7);
    node_stop(&node);
    node.revision = 6;
    snapshot_begin(&node.changes, 6, false);
    ck_assert(survives(&node));
    node_release(&node);
}

static bool has_watched(void *ud)
{
    const struct node *node = ud;
    return node->watches > 0;
}

TEST(another_cluster_is_not_listened_to)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    (void) node_publish(&node, NODE_STREAM, 1, 1, 10);
    node_stop(&node);
    node.cluster.bytes[0] ^= 1;
    node.revision = 9;
    node.watches = 0;
    snapshot_begin(&node.changes, 9, false);
    node_start(&node);
    node_run_until(&node, has_watched, &node);
    ck_assert_int_eq(publish_status(&node, NODE_STREAM, 0), 0);
    ck_assert_int_eq(publish_status(&node, NODE_STREAM, 0), 0);
    ck_assert_uint_eq(catalog_client_revision(node.logd->catalog), 0);
    node_end(&node);
}

TEST(an_unfinished_snapshot_deletes_nothing)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    (void) node_publish(&node, NODE_STREAM, 1, 1, 10);
    node_stop(&node);
    node.revision = 9;
    node.watches = 0;
    snapshot_begin(&node.changes, 9, true);
    node_start(&node);
    node_run_until(&node, has_watched, &node);
    ck_assert_int_eq(publish_status(&node, NODE_STREAM, 0), 0);
    /* its end comes in another event, and names it */
    struct buf rest = {0};
    pb_append_varint(&rest, 1, 9);
    catalog_stream_append(&rest, NODE_STREAM, 1, (struct span){0});
    send_and_wait(&node, &rest);
    ck_assert_int_eq(publish_status(&node, NODE_STREAM, 0), 0);
    node_end(&node);
}
