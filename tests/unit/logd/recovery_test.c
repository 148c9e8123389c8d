/* Recovery: restart, kill -9 at any moment, a lost database, damaged journals, ten thousand streams. */
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "logd/cold.h"
#include "logd/state.h"
#include "tests/lib/test.h"
#include "tests/unit/logd/node_lib.h"

enum { FRAME_HEADER = 80, FRAMES_MAX = 512 };

/* --- frames on disk --- */

struct frame {
    uint64_t position;
    uint32_t bytes;
    uint64_t index;
    uint64_t base;
    uint32_t count;
};

struct frames {
    struct frame at[FRAMES_MAX];
    unsigned count;
};

static int frames_visit(void *ud, const struct journal_entry *entry, uint64_t position,
                        uint32_t frame_bytes)
{
    struct frames *frames = ud;
    ck_assert_uint_lt(frames->count, FRAMES_MAX);
    frames->at[frames->count++] =
        (struct frame){position, frame_bytes, entry->index, entry->base, entry->count};
    return 0;
}

/* Where the stream's entries lie, in order of index: frame i is index i + 1. */
static void frames_find(struct node *node, uint64_t log_group, struct frames *frames)
{
    frames->count = 0;
    const struct extents *extents = &node_stream(node, log_group)->extents;
    for (size_t i = 0; i < extents->count; i++) {
        bool damaged;
        ck_assert_int_eq(
            cold_walk(node->logd->journal, &extents->items[i], frames_visit, frames, &damaged), 0);
        ck_assert(!damaged);
    }
}

/* Turn one bit in the journal's files. */
static void flip(const struct node *node, uint64_t position)
{
    char path[500];
    (void) snprintf(path, sizeof(path), "%s/data/journal/%010" PRIu64 ".jnl", node->folder,
                    position >> 32);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    uint8_t byte;
    off_t at = (off_t) (position & UINT32_MAX);
    ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
    ck_assert_int_eq(close(fd), 0);
}

/* A read at this offset must answer CORRUPT for exactly [offset, last]. */
static void check_corrupt(struct node *node, uint64_t log_group, uint64_t offset, uint64_t last)
{
    struct buf start = {0};
    struct buf meta = {0};
    pb_append_varint(&start, 1, 4);
    pb_append_varint(&start, 2, offset);
    pb_append_bytes(&meta, 2, buf_span(&start));
    struct answer answer;
    node_ask(node, RAILGUN__BUS_TYPE__BUS_LOG_READ, log_group, buf_span(&meta), NULL, &answer);
    ck_assert_int_eq(answer.status, ERR_CORRUPT);
    struct span range = meta_bytes(buf_span(&answer.meta), 7);
    ck_assert_uint_eq(meta_number(range, 1), offset);
    ck_assert_uint_eq(meta_number(range, 2), last);
    answer_clear(&answer);
    buf_release(&start);
    buf_release(&meta);
}

/* --- restart --- */

TEST(a_restart_goes_on_where_it_was)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    for (uint64_t i = 0; i < 50; i++) {
        ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 1 + i * 4, 4, 100), 1 + i * 4);
    }
    uint64_t ts_us = node_stream(&node, NODE_STREAM)->last_ts_us;
    node_stop(&node);
    for (unsigned life = 0; life < 4; life++) {
        if (life % 2 == 1) {
            node_remove_db(&node);
        }
        node_start(&node);
        struct stream *stream = node_stream(&node, NODE_STREAM);
        ck_assert_uint_eq(stream->next_offset, 201 + life);
        ck_assert_uint_ge(stream->last_ts_us, ts_us);
        ck_assert_uint_eq(stream->version, 1);
        struct uuid id = catalog_stream_id(NODE_STREAM);
        ck_assert(uuid_equal(&stream->id, &id));
        ck_assert_ptr_null(stream->corrupt);
        ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 201 + life, 1, 100), 201 + life);
        node_check_records(&node, NODE_STREAM, 1, 202 + life, 0);
        node_stop(&node);
    }
    node_release(&node);
}

TEST(a_stream_without_records_survives)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    node_stop(&node);
    node.mute = true;
    node_start(&node);
    ck_assert_uint_eq(node_stream(&node, NODE_STREAM)->version, 1);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 1, 1, 100), 1);
    node_end(&node);
}

/* --- kill -9 --- */

enum { CHILD_BATCHES = 4000, CHILD_WINDOW = 64 };

struct told {
    uint64_t number; /* of the record, from 1 */
    uint64_t base;
};

/* Publish single records to two streams, and tell the parent of each answer. */
static void child_publish(struct node *node, int out)
{
    static struct answer answers[CHILD_WINDOW];
    node_start(node);
    uint64_t next[2];
    for (unsigned s = 0; s < 2; s++) {
        next[s] = stream_next_offset(node_stream(node, NODE_STREAM + s));
    }
    for (uint64_t i = 0; i < CHILD_BATCHES; i++) {
        struct answer *answer = &answers[i % CHILD_WINDOW];
        if (i >= CHILD_WINDOW) {
            node_wait(node, answer);
            struct told told = {i - CHILD_WINDOW, meta_number(buf_span(&answer->meta), 1)};
            if (answer->status != 0 || write(out, &told, sizeof(told)) != sizeof(told)) {
                _exit(1);
            }
            answer_clear(answer);
        }
        unsigned s = i % 2;
        struct slice batch = batch_make("r", next[s]++, 1, 100);
        node_send(node, RAILGUN__BUS_TYPE__BUS_LOG_PUBLISH, NODE_STREAM + s, (struct span){0},
                  &batch, answer);
        slice_release(&batch);
    }
    _exit(0);
}

/* Kill it after it has told `kill_after` answers; notes the highest offset told for each stream. */
static void run_and_kill(struct node *node, unsigned kill_after, uint64_t told_upto[2])
{
    int pipe_fds[2];
    ck_assert_int_eq(pipe(pipe_fds), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        (void) close(pipe_fds[0]);
        child_publish(node, pipe_fds[1]);
    }
    (void) close(pipe_fds[1]);
    struct told told;
    for (unsigned count = 0; read(pipe_fds[0], &told, sizeof(told)) == sizeof(told); count++) {
        if (told.base > told_upto[told.number % 2]) {
            told_upto[told.number % 2] = told.base;
        }
        if (count == kill_after) {
            ck_assert_int_eq(kill(pid, SIGKILL), 0);
        }
    }
    (void) close(pipe_fds[0]);
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
}

TEST_WITHIN(what_was_answered_survives_kill_9_at_any_moment, 60)
{
    struct node node;
    node_init(&node);
    catalog_stream_append(&node.changes, NODE_STREAM + 1, 1, (struct span){0});
    uint64_t told[2] = {0, 0};
    for (unsigned life = 0; life < 8; life++) {
        run_and_kill(&node, life * 97, told);
        struct node after = node;
        if (life % 3 == 2) {
            node_remove_db(&after);
        }
        node_start(&after);
        for (unsigned s = 0; s < 2; s++) {
            struct stream *stream = node_stream(&after, NODE_STREAM + s);
            ck_assert_uint_gt(stream->next_offset, told[s]);
            ck_assert_ptr_null(stream->corrupt);
            node_check_records(&after, NODE_STREAM + s, 1, stream->next_offset, 0);
        }
        node_stop(&after);
    }
    ck_assert_uint_gt(told[0], 100);
    node_release(&node);
}

/* --- damage --- */

static void damaged_node(struct node *node, struct frames *frames)
{
    node_init(node);
    catalog_stream_append(&node->changes, NODE_STREAM + 1, 1, (struct span){0});
    node_start(node);
    for (uint64_t i = 0; i < 20; i++) {
        (void) node_publish(node, NODE_STREAM, 1 + i * 10, 10, 100);
        (void) node_publish(node, NODE_STREAM + 1, 1 + i, 1, 100);
    }
    frames_find(node, NODE_STREAM, frames);
    ck_assert_uint_eq(frames->count, 21);
    node_stop(node);
}

/* Frame i (index i + 1, i >= 1) holds offsets (i - 1) * 10 + 1 and the nine behind. */
static void check_one_hole(struct node *node, unsigned frame)
{
    uint64_t first = (frame - 1) * 10 + 1;
    struct stream *stream = node_stream(node, NODE_STREAM);
    ck_assert_uint_eq(stream->next_offset, 201);
    node_check_records(node, NODE_STREAM, 1, first, 0);
    check_corrupt(node, NODE_STREAM, first, first + 9);
    check_corrupt(node, NODE_STREAM, first + 4, first + 9);
    node_check_records(node, NODE_STREAM, first + 10, 201, 0);
    node_check_records(node, NODE_STREAM + 1, 1, 21, 0);
    ck_assert_ptr_null(node_stream(node, NODE_STREAM + 1)->corrupt);
    struct answer answer;
    node_ask(node, RAILGUN__BUS_TYPE__BUS_LOG_STREAM_INFO, NODE_STREAM, (struct span){0}, NULL,
             &answer);
    ck_assert_uint_eq(meta_number(buf_span(&answer.meta), 7), 190);
    struct span range = meta_bytes(buf_span(&answer.meta), 13);
    ck_assert_uint_eq(meta_number(range, 1), first);
    ck_assert_uint_eq(meta_number(range, 2), first + 9);
    answer_clear(&answer);
    ck_assert_uint_eq(*node->logd->count.corrupt_ranges, 1);
}

TEST(a_damaged_payload_is_an_exact_hole)
{
    struct node node;
    struct frames frames;
    damaged_node(&node, &frames);
    flip(&node, frames.at[8].position + FRAME_HEADER + 300);
    for (unsigned life = 0; life < 2; life++) {
        node_start(&node);
        check_one_hole(&node, 8);
        node_stop(&node);
        node_remove_db(&node);
    }
    node_release(&node);
}

TEST(a_damaged_header_is_an_exact_hole)
{
    struct node node;
    struct frames frames;
    damaged_node(&node, &frames);
    flip(&node, frames.at[8].position + 20);
    node_start(&node);
    check_one_hole(&node, 8);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 201, 1, 100), 201);
    node_end(&node);
}

TEST(the_damaged_last_batch_is_never_overwritten)
{
    for (unsigned in_header = 0; in_header < 2; in_header++) {
        struct node node;
        struct frames frames;
        damaged_node(&node, &frames);
        flip(&node, frames.at[20].position + (in_header ? 20 : FRAME_HEADER + 300));
        node_start(&node);
        struct stream *stream = node_stream(&node, NODE_STREAM);
        ck_assert_uint_eq(stream->next_offset, 201);
        check_corrupt(&node, NODE_STREAM, 191, 200);
        ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 201, 1, 100), 201);
        node_check_records(&node, NODE_STREAM, 201, 202, 0);
        node_check_records(&node, NODE_STREAM, 1, 191, 0);
        ck_assert_uint_gt(stream->applied_index, frames.at[20].index);
        node_stop(&node);
        node_start(&node); /* and again: the hole is where it was */
        check_corrupt(&node, NODE_STREAM, 195, 200);
        node_check_records(&node, NODE_STREAM, 201, 202, 0);
        node_end(&node);
    }
}

TEST(a_damaged_last_payload_without_a_database_is_an_exact_hole)
{
    struct node node;
    struct frames frames;
    damaged_node(&node, &frames);
    flip(&node, frames.at[20].position + FRAME_HEADER + 300);
    node_remove_db(&node);
    node_start(&node);
    check_corrupt(&node, NODE_STREAM, 191, 200);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 201, 1, 100), 201);
    node_check_records(&node, NODE_STREAM, 201, 202, 0);
    node_end(&node);
}

/* Nothing else says how far the stream went: its numbers go on behind all that can have been there. */
TEST(a_damaged_last_header_without_a_database_re_uses_no_offset)
{
    struct node node;
    struct frames frames;
    damaged_node(&node, &frames);
    flip(&node, frames.at[20].position + 20);
    node_remove_db(&node);
    node_start(&node);
    struct stream *stream = node_stream(&node, NODE_STREAM);
    ck_assert_uint_ge(stream->next_offset, 201);
    check_corrupt(&node, NODE_STREAM, 191, stream->next_offset - 1);
    uint64_t next = stream->next_offset;
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, next, 1, 100), next);
    node_check_records(&node, NODE_STREAM, 1, 191, 0);
    node_stop(&node);
    node_start(&node);
    node_check_records(&node, NODE_STREAM, next, next + 1, 0);
    ck_assert_uint_eq(node_stream(&node, NODE_STREAM)->next_offset, next + 1);
    node_end(&node);
}

TEST(a_damaged_configuration_comes_back_from_the_database_or_the_catalogue)
{
    struct node node;
    struct frames frames;
    damaged_node(&node, &frames);
    flip(&node, frames.at[0].position + FRAME_HEADER + 2);
    node.mute = true;
    node_start(&node);
    struct uuid id = catalog_stream_id(NODE_STREAM);
    ck_assert(uuid_equal(&node_stream(&node, NODE_STREAM)->id, &id));
    node_check_records(&node, NODE_STREAM, 1, 201, 0);
    node_stop(&node);

    node_remove_db(&node);
    node_start(&node);
    ck_assert(uuid_is_nil(&node_stream(&node, NODE_STREAM)->id));
    node_check_records(&node, NODE_STREAM, 1, 201, 0);
    node_stop(&node);
    node.mute = false;
    node_start(&node);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 201, 1, 100), 201);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 202, 1, 100), 202);
    ck_assert(uuid_equal(&node_stream(&node, NODE_STREAM)->id, &id));
    ck_assert_uint_eq(node_stream(&node, NODE_STREAM)->version, 1);
    node_check_records(&node, NODE_STREAM, 1, 203, 0);
    node_end(&node);
}

/* Found when it is read: nothing is scanned at the start once a file is full and has its index. */
TEST(damage_under_a_running_node_is_found_by_the_read)
{
    static const unsigned fields[] = {FRAME_HEADER + 300, 20, 0};
    for (unsigned i = 0; i < 3; i++) {
        struct node node;
        struct frames frames;
        damaged_node(&node, &frames);
        node_start(&node);
        flip(&node, frames.at[8].position + fields[i]);
        check_one_hole(&node, 8);
        node_end(&node);
    }
}

TEST(several_holes_are_told_one_by_one)
{
    struct node node;
    struct frames frames;
    damaged_node(&node, &frames);
    flip(&node, frames.at[1].position + FRAME_HEADER + 3);
    flip(&node, frames.at[5].position + FRAME_HEADER + 3);
    flip(&node, frames.at[6].position + 30);
    flip(&node, frames.at[20].position + FRAME_HEADER + 3);
    node_start(&node);
    check_corrupt(&node, NODE_STREAM, 1, 10);
    node_check_records(&node, NODE_STREAM, 11, 41, 0);
    check_corrupt(&node, NODE_STREAM, 41, 60);
    node_check_records(&node, NODE_STREAM, 61, 191, 0);
    check_corrupt(&node, NODE_STREAM, 191, 200);
    node_check_records(&node, NODE_STREAM + 1, 1, 21, 0);
    node_end(&node);
}

/* --- many --- */

enum { MANY = 10000 };

static bool all_configured(void *ud)
{
    const struct node *node = ud;
    return list_is_empty(&node->logd->configs) && journal_queued_bytes(node->logd->journal) == 0;
}

/* 0 under a sanitizer, whose allocator does not tell. */
static size_t memory_taken(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

TEST_WITHIN(ten_thousand_idle_streams_take_little_memory, 60)
{
    struct node node;
    node_init(&node);
    for (uint64_t i = 1; i < MANY; i++) {
        catalog_stream_append(&node.changes, NODE_STREAM + i, 1, (struct span){0});
    }
    node_start(&node);
    node_run_until(&node, all_configured, &node);
    ck_assert_uint_eq(hash64_count(node.logd->streams), MANY);
    for (uint64_t i = 0; i < MANY; i += 500) {
        ck_assert_uint_eq(node_publish(&node, NODE_STREAM + i, 1, 1, 100), 1);
    }
    node_stop(&node);

    node.mute = true; /* only what logd itself holds */
    size_t before = memory_taken();
    node_start(&node);
    ck_assert_uint_eq(hash64_count(node.logd->streams), MANY);
    ck_assert_uint_le((memory_taken() - before) / MANY, 4096);
    for (uint64_t i = 0; i < MANY; i += 500) {
        node_check_records(&node, NODE_STREAM + i, 1, 2, 0);
    }
    node_end(&node);
}
