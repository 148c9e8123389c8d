/* Trimming: purges, what they leave, and that all of it is the same after a restart and without the database. */
#include <inttypes.h>
#include <stdio.h>

#include "common/base/err.h"
#include "common/base/rand.h"
#include "common/wire/batch.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "logd/kinds.h"
#include "logd/release.h"
#include "logd/state.h"
#include "logd/trim.h"
#include "logd/group_state.h"
#include "tests/lib/test.h"
#include "tests/unit/logd/node_lib.h"

struct purged {
    int status;
    uint64_t purged;
    uint64_t first;
    uint64_t next;
};

/* before 0: not given; keep UINT64_MAX: not given. */
static struct purged purge(struct node *node, uint64_t before, uint64_t keep)
{
    struct buf meta = {0};
    if (before != 0) {
        pb_append_varint(&meta, 2, before);
    }
    if (keep != UINT64_MAX) {
        pb_append_varint(&meta, 3, keep);
    }
    struct answer answer;
    node_ask(node, RAILGUN__BUS_TYPE__BUS_LOG_PURGE, NODE_STREAM, buf_span(&meta), NULL, &answer);
    ck_assert_int_eq(answer.outcome, BUS_OK);
    struct span reply = buf_span(&answer.meta);
    struct purged result = {answer.status, meta_number(reply, 1), meta_number(reply, 2),
                            meta_number(reply, 3)};
    answer_clear(&answer);
    buf_release(&meta);
    return result;
}

static void check_purge(struct node *node, uint64_t before, uint64_t keep, uint64_t purged,
                        uint64_t first, uint64_t next)
{
    struct purged result = purge(node, before, keep);
    ck_assert_int_eq(result.status, 0);
    ck_assert_uint_eq(result.purged, purged);
    ck_assert_uint_eq(result.first, first);
    ck_assert_uint_eq(result.next, next);
}

/* A read at this offset answers OUT_OF_RANGE with these. */
static void check_gone(struct node *node, uint64_t offset, uint64_t first, uint64_t next)
{
    struct buf start = {0};
    struct buf meta = {0};
    pb_append_varint(&start, 1, 4);
    pb_append_varint(&start, 2, offset);
    pb_append_bytes(&meta, 2, buf_span(&start));
    struct answer answer;
    node_ask(node, RAILGUN__BUS_TYPE__BUS_LOG_READ, NODE_STREAM, buf_span(&meta), NULL, &answer);
    ck_assert_int_eq(answer.status, ERR_OUT_OF_RANGE);
    ck_assert_uint_eq(meta_number(buf_span(&answer.meta), 5), next);
    ck_assert_uint_eq(meta_number(buf_span(&answer.meta), 6), first);
    answer_clear(&answer);
    buf_release(&start);
    buf_release(&meta);
}

/* StreamInfo as answered. */
static struct answer ask_info(struct node *node)
{
    struct answer answer;
    node_ask(node, RAILGUN__BUS_TYPE__BUS_LOG_STREAM_INFO, NODE_STREAM, (struct span){0}, NULL,
             &answer);
    ck_assert_int_eq(answer.status, 0);
    return answer;
}

TEST(a_purge_removes_what_it_names_and_nothing_else)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    for (uint64_t i = 0; i < 10; i++) {
        (void) node_publish(&node, NODE_STREAM, 1 + i * 10, 10, 100);
    }
    check_purge(&node, 25, UINT64_MAX, 24, 25, 101); /* within a batch */
    check_gone(&node, 24, 25, 101);
    node_check_records(&node, NODE_STREAM, 25, 101, 0);
    check_purge(&node, 7, UINT64_MAX, 0, 25, 101); /* never back */
    check_purge(&node, 0, 30, 46, 71, 101);
    node_check_records(&node, NODE_STREAM, 71, 101, 0);
    check_purge(&node, 0, 1000, 0, 71, 101);
    ck_assert_int_eq(purge(&node, 102, UINT64_MAX).status, ERR_OUT_OF_RANGE);
    check_purge(&node, 101, UINT64_MAX, 30, 101, 101);
    check_purge(&node, 0, UINT64_MAX, 0, 101, 101);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 101, 3, 100), 101);
    node_check_records(&node, NODE_STREAM, 101, 104, 0);
    check_purge(&node, 0, UINT64_MAX, 3, 104, 104);
    node_end(&node);
}

TEST(an_emptied_stream_keeps_its_next_offset_over_restarts_and_without_the_database)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    uint64_t next = 1;
    for (unsigned life = 0; life < 6; life++) {
        ck_assert_uint_eq(node_publish(&node, NODE_STREAM, next, 5, 100), next);
        next += 5;
        check_purge(&node, 0, UINT64_MAX, 5, next, next);
        node_stop(&node);
        if (life % 2 == 1) {
            node_remove_db(&node);
        }
        node_start(&node);
        struct stream *stream = node_stream(&node, NODE_STREAM);
        ck_assert_uint_eq(stream->first_offset, next);
        ck_assert_uint_eq(stream->next_offset, next);
        ck_assert_ptr_null(stream->corrupt);
        check_gone(&node, next - 1, next, next);
    }
    node_end(&node);
}

TEST(numbers_of_a_stream_are_right_at_once)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    (void) node_publish(&node, NODE_STREAM, 1, 100, 1000);
    (void) node_publish(&node, NODE_STREAM, 101, 100, 1000);
    struct answer info = ask_info(&node);
    uint64_t bytes = meta_number(buf_span(&info.meta), 8);
    uint64_t ts_us = meta_number(buf_span(&info.meta), 20);
    ck_assert_uint_gt(bytes, 200000);
    ck_assert_uint_gt(ts_us, 0);
    answer_clear(&info);
    check_purge(&node, 0, 50, 150, 151, 201);
    info = ask_info(&node);
    ck_assert_uint_eq(meta_number(buf_span(&info.meta), 7), 50);
    ck_assert_uint_lt(meta_number(buf_span(&info.meta), 8), bytes / 4 + 1000);
    ck_assert_uint_gt(meta_number(buf_span(&info.meta), 8), bytes / 4 - 1000);
    ck_assert_uint_ge(meta_number(buf_span(&info.meta), 20), ts_us);
    answer_clear(&info);
    check_purge(&node, 0, UINT64_MAX, 50, 201, 201);
    info = ask_info(&node);
    ck_assert_uint_eq(meta_number(buf_span(&info.meta), 7), 0);
    ck_assert_uint_eq(meta_number(buf_span(&info.meta), 8), 0);
    ck_assert_uint_eq(meta_number(buf_span(&info.meta), 20), 0);
    answer_clear(&info);
    node_end(&node);
}

TEST(a_purge_of_all_stands_behind_every_publish_before_it)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    struct answer publishes[20];
    struct answer purge_answer;
    for (unsigned i = 0; i < 20; i++) {
        struct slice batch = batch_make("r", 1 + i, 1, 100);
        node_send(&node, RAILGUN__BUS_TYPE__BUS_LOG_PUBLISH, NODE_STREAM, (struct span){0}, &batch,
                  &publishes[i]);
        slice_release(&batch);
        if (i == 9) {
            node_send(&node, RAILGUN__BUS_TYPE__BUS_LOG_PURGE, NODE_STREAM, (struct span){0}, NULL,
                      &purge_answer);
        }
    }
    node_wait(&node, &purge_answer);
    ck_assert_int_eq(purge_answer.status, 0);
    ck_assert_uint_eq(meta_number(buf_span(&purge_answer.meta), 1), 10);
    ck_assert_uint_eq(meta_number(buf_span(&purge_answer.meta), 2), 11);
    for (unsigned i = 0; i < 20; i++) {
        node_wait(&node, &publishes[i]);
        ck_assert_int_eq(publishes[i].status, 0);
        ck_assert_uint_eq(meta_number(buf_span(&publishes[i].meta), 1), 1 + i);
        answer_clear(&publishes[i]);
    }
    answer_clear(&purge_answer);
    node_check_records(&node, NODE_STREAM, 11, 21, 0);
    node_end(&node);
}

/* --- giving journal files back --- */

static uint64_t first_file(const struct node *node)
{
    struct journal_stats stats;
    journal_stats_read(node->logd->journal, &stats);
    return stats.first_seq;
}

static uint64_t last_file(const struct node *node)
{
    return journal_durable_upto(node->logd->journal) >> 32;
}

static void small_files(struct node *node)
{
    node_init(node);
    node->options.journal.file_bytes = 1 << 20;
    node->options.limits.batch_bytes_max = 256 << 10;
    node->options.release_ms = 1;
    node->options.checkpoint_ms = 50;
}

static void fill_files(struct node *node, uint64_t files)
{
    uint64_t upto = last_file(node) + files;
    while (last_file(node) < upto) {
        uint64_t next = node_stream(node, NODE_STREAM)->next_offset;
        (void) node_publish(node, NODE_STREAM, next, 100, 1000);
    }
}

struct wanted_file {
    struct node *node;
    uint64_t first;
};

static bool is_released_upto(void *ud)
{
    const struct wanted_file *wanted = ud;
    return first_file(wanted->node) >= wanted->first;
}

static void wait_released(struct node *node, uint64_t first)
{
    struct wanted_file wanted = {node, first};
    node_run_until(node, is_released_upto, &wanted);
}

TEST(files_without_anything_needed_go_and_the_database_can_still_be_rebuilt)
{
    struct node node;
    small_files(&node);
    catalog_stream_append(&node.changes, NODE_STREAM + 1, 1, (struct span){0}); /* idle */
    node_start(&node);
    for (unsigned life = 0; life < 4; life++) {
        fill_files(&node, 4);
        uint64_t next = node_stream(&node, NODE_STREAM)->next_offset;
        uint64_t last = last_file(&node);
        check_purge(&node, 0, 10, next - 10 - node_stream(&node, NODE_STREAM)->first_offset,
                    next - 10, next);
        wait_released(&node, last - 1);
        node_stop(&node);
        if (life % 2 == 0) {
            node_remove_db(&node);
        }
        node.mute = true; /* nobody tells it anything */
        node_start(&node);
        node.mute = false;
        for (uint64_t s = NODE_STREAM; s <= NODE_STREAM + 1; s++) {
            struct stream *stream = node_stream(&node, s);
            struct uuid id = catalog_stream_id(s);
            ck_assert(uuid_equal(&stream->id, &id));
            ck_assert_uint_eq(stream->version, 1);
            ck_assert_ptr_null(stream->corrupt);
        }
        struct stream *stream = node_stream(&node, NODE_STREAM);
        ck_assert_uint_eq(stream->first_offset, next - 10);
        ck_assert_uint_eq(stream->next_offset, next);
        node_check_records(&node, NODE_STREAM, next - 10, next, 0);
        ck_assert_uint_eq(node_publish(&node, NODE_STREAM + 1, life + 1, 1, 10), life + 1);
        check_purge(&node, 0, 10, 0, next - 10, next);
        struct answer answer;
        struct buf meta = {0};
        node_ask(&node, RAILGUN__BUS_TYPE__BUS_LOG_PURGE, NODE_STREAM + 1, buf_span(&meta), NULL,
                 &answer);
        ck_assert_int_eq(answer.status, 0);
        answer_clear(&answer);
    }
    node_end(&node);
}

/* --- groups --- */

enum { GROUPS = 3 };

static void propose(struct stream *stream, uint8_t kind, const struct buf *entry)
{
    uint64_t index;
    ck_assert_int_eq(stream_propose_control(stream, kind, buf_span(entry), &index), 0);
}

static void open_groups(struct stream *stream)
{
    for (uint64_t id = 1; id <= GROUPS; id++) {
        struct buf entry = {0};
        pb_append_varint(&entry, 1, id);
        pb_append_bytes(&entry, 2, span_of("workers"));
        propose(stream, LOG_KIND_GROUP, &entry);
        buf_release(&entry);
    }
}

/* Some ranges of what is there, by one of the groups. */
static void acknowledge(struct stream *stream, struct prng *rand)
{
    struct buf of_group = {0};
    struct buf entry = {0};
    pb_append_varint(&of_group, 1, 1 + prng_below(rand, GROUPS));
    for (unsigned i = 0; i < 5; i++) {
        uint64_t kept = stream->next_offset - stream->first_offset;
        uint64_t first = stream->first_offset + prng_below(rand, kept + 1);
        group_range_append(&of_group, 2, first, first + prng_below(rand, 10));
        group_attempt_append(&of_group, 3, first + 20, first + 21, (struct group_tries){2, 1});
    }
    pb_append_bytes(&entry, 1, buf_span(&of_group));
    propose(stream, LOG_KIND_ACKS, &entry);
    buf_release(&of_group);
    buf_release(&entry);
}

struct group_states {
    struct buf states[GROUPS];
};

static int keep_state(void *ud, uint64_t group_id, bool dropped, struct span state)
{
    struct group_states *kept = ud;
    ck_assert(!dropped && group_id >= 1 && group_id <= GROUPS);
    buf_append(&kept->states[group_id - 1], state);
    return 0;
}

static void check_states(struct node *node, struct group_states *before)
{
    struct group_states now = {0};
    ck_assert_int_eq(groups_visit(node_stream(node, NODE_STREAM)->groups, keep_state, &now), 0);
    for (unsigned i = 0; i < GROUPS; i++) {
        ck_assert_uint_gt(now.states[i].size, 0);
        ck_assert(span_equal(buf_span(&now.states[i]), buf_span(&before->states[i])));
        buf_release(&now.states[i]);
        buf_release(&before->states[i]);
    }
}

TEST_WITHIN(groups_are_the_same_after_files_went_with_and_without_the_database, 120)
{
    struct node node;
    small_files(&node);
    struct prng rand;
    uint64_t seed = entropy_u64();
    printf("seed=%lu\n", seed);
    prng_init(&rand, seed);
    for (uint64_t id = 1; id <= GROUPS; id++) { /* the catalogue knows them */
        struct buf group = {0};
        pb_append_varint(&group, 1, id);
        pb_append_varint(&group, 2, NODE_STREAM);
        pb_append_bytes(&node.changes, 6, buf_span(&group));
        buf_release(&group);
    }
    node_start(&node);
    open_groups(node_stream(&node, NODE_STREAM));
    for (unsigned life = 0; life < 6; life++) {
        for (unsigned i = 0; i < 60; i++) {
            struct stream *stream = node_stream(&node, NODE_STREAM);
            (void) node_publish(&node, NODE_STREAM, stream->next_offset, 60, 1000);
            acknowledge(stream, &rand);
            if (i % 5 == 4) {
                (void) purge(&node, 0, 150);
            }
        }
        wait_released(&node, last_file(&node) - 2);
        (void) purge(&node, 0, 150);
        struct group_states states = {0};
        ck_assert_int_eq(groups_visit(node_stream(&node, NODE_STREAM)->groups, keep_state, &states),
                         0);
        node_stop(&node);
        if (life % 2 == 0) {
            node_remove_db(&node);
        }
        node_start(&node);
        check_states(&node, &states);
    }
    node_end(&node);
}

static bool has_snapshot(void *ud)
{
    return ((const struct stream *) ud)->state_index != 0;
}

TEST(no_file_goes_before_the_snapshot_that_replaces_it_is_durable)
{
    struct node node;
    small_files(&node);
    node.options.release_ms = 3600000;
    node_start(&node);
    fill_files(&node, 3);
    (void) purge(&node, 0, UINT64_MAX);
    ck_assert_int_eq(state_save_all(node.logd->state), 0);
    for (unsigned i = 0; i < 3; i++) { /* it is proposed, but the loop stands still */
        release_look(node.logd->release);
        ck_assert_int_eq(state_save_all(node.logd->state), 0);
        ck_assert_uint_eq(first_file(&node), 1);
    }
    node_run_until(&node, has_snapshot, node_stream(&node, NODE_STREAM));
    release_look(node.logd->release);
    ck_assert_int_eq(state_save_all(node.logd->state), 0);
    release_look(node.logd->release);
    ck_assert_uint_eq(first_file(&node), 4);
    node_end(&node);
}

TEST(no_file_goes_before_the_database_has_saved_what_it_made)
{
    struct node node;
    small_files(&node);
    node.options.release_ms = 3600000;
    node.options.checkpoint_ms = 3600000;
    node.options.save_ms = 3600000;
    node_start(&node);
    fill_files(&node, 3);
    (void) purge(&node, 0, UINT64_MAX);
    release_look(node.logd->release);
    node_run_until(&node, has_snapshot, node_stream(&node, NODE_STREAM));
    for (unsigned i = 0; i < 3; i++) {
        release_look(node.logd->release);
        ck_assert_uint_eq(first_file(&node), 1);
    }
    ck_assert_int_eq(state_save_all(node.logd->state), 0);
    release_look(node.logd->release);
    ck_assert_uint_eq(first_file(&node), 4);
    node_end(&node);
}

/* Ten records of 10,000 bytes with IDs of their own. */
static void send_with_ids(struct node *node, uint64_t number, struct answer *answer)
{
    static char text[10000];
    struct buf batch = {0};
    for (uint64_t i = 0; i < 10; i++) {
        char id[32];
        (void) snprintf(id, sizeof(id), "id-%" PRIu64, number * 10 + i);
        batch_append(&batch, span_make(text, sizeof(text)), span_of(id), (struct span){0},
                     (struct span){0});
    }
    struct payload *payload = payload_copy(buf_span(&batch));
    struct slice slice = {payload, payload_span(payload)};
    node_send(node, RAILGUN__BUS_TYPE__BUS_LOG_PUBLISH, NODE_STREAM, (struct span){0}, &slice,
              answer);
    slice_release(&slice);
    buf_release(&batch);
}

static void publish_with_ids(struct node *node, uint64_t number)
{
    struct answer answer;
    send_with_ids(node, number, &answer);
    node_wait(node, &answer);
    ck_assert_int_eq(answer.status, 0);
    answer_clear(&answer);
}

/* So many files without anything of the stream. */
static void fill_other_files(struct node *node, uint64_t files)
{
    uint64_t upto = last_file(node) + files;
    while (last_file(node) < upto) {
        uint64_t next = node_stream(node, NODE_STREAM + 1)->next_offset;
        (void) node_publish(node, NODE_STREAM + 1, next, 100, 1000);
    }
    struct answer answer;
    node_ask(node, RAILGUN__BUS_TYPE__BUS_LOG_PURGE, NODE_STREAM + 1, (struct span){0}, NULL,
             &answer);
    answer_clear(&answer);
}

static void check_last_id(struct node *node, uint64_t number)
{
    struct buf id = {0};
    char expected[32];
    (void) snprintf(expected, sizeof(expected), "id-%" PRIu64, number * 10 + 9);
    stream_read_last_id(node_stream(node, NODE_STREAM), &id);
    ck_assert_str_eq(buf_text(&id), expected);
    buf_release(&id);
}

TEST_WITHIN(the_last_id_is_kept_when_its_record_and_its_file_are_gone, 120)
{
    struct node node;
    small_files(&node);
    catalog_stream_append(&node.changes, NODE_STREAM + 1, 1, (struct span){0});
    node_start(&node);
    for (uint64_t life = 0; life < 8; life++) {
        fill_files(&node, 3);
        struct answer answer;
        if (life % 2 == 0) {
            publish_with_ids(&node, life);
        } else { /* it is purged while it is in flight */
            send_with_ids(&node, life, &answer);
        }
        (void) purge(&node, 0, UINT64_MAX);
        if (life % 2 != 0) {
            node_wait(&node, &answer);
            answer_clear(&answer);
        }
        check_last_id(&node, life);
        uint64_t last = last_file(&node);
        fill_other_files(&node, 2);
        wait_released(&node, last + 1);
        node_stop(&node);
        if (life % 4 < 2) {
            node_remove_db(&node);
        }
        node_start(&node);
        check_last_id(&node, life);
    }
    node_end(&node);
}

TEST_WITHIN(files_go_although_trimming_and_message_ids_never_rest, 120)
{
    struct node node;
    small_files(&node);
    node.options.retention_ms = 1;
    node.options.release_ms = 3600000; /* looks are ours: there is something new at each */
    struct buf spec = {0};
    struct buf dedup = {0};
    pb_append_varint(&dedup, 1, 1);
    pb_append_varint(&spec, 4, 50);
    pb_append_bytes(&spec, 7, buf_span(&dedup));
    snapshot_begin(&node.changes, node.revision, false);
    catalog_stream_append(&node.changes, NODE_STREAM, 1, buf_span(&spec));
    buf_release(&spec);
    buf_release(&dedup);
    node_start(&node);
    for (uint64_t i = 0; i < 3000 && first_file(&node) < 5; i++) {
        uint64_t first = node_stream(&node, NODE_STREAM)->first_offset;
        publish_with_ids(&node, i);
        if (i > 10 && node_stream(&node, NODE_STREAM)->first_offset == first) {
            continue;
        }
        release_look(node.logd->release);
    }
    ck_assert_uint_ge(first_file(&node), 5);
    node_end(&node);
}

TEST(a_cold_stream_holds_the_files_behind_its_records)
{
    struct node node;
    small_files(&node);
    catalog_stream_append(&node.changes, NODE_STREAM + 1, 1, (struct span){0});
    node_start(&node);
    (void) node_publish(&node, NODE_STREAM + 1, 1, 1, 100);
    fill_files(&node, 4);
    uint64_t last = last_file(&node);
    (void) purge(&node, 0, 1);
    release_look(node.logd->release);
    release_look(node.logd->release);
    ck_assert_uint_eq(first_file(&node), 1);
    ck_assert_uint_gt(release_pinned_bytes(node.logd->release, node_stream(&node, NODE_STREAM + 1)),
                      2 << 20);
    ck_assert_uint_eq(release_pinned_bytes(node.logd->release, node_stream(&node, NODE_STREAM)), 0);
    struct answer answer;
    node_ask(&node, RAILGUN__BUS_TYPE__BUS_LOG_PURGE, NODE_STREAM + 1, (struct span){0}, NULL,
             &answer);
    answer_clear(&answer);
    wait_released(&node, last - 1);
    node_end(&node);
}

TEST(a_deleted_stream_holds_nothing)
{
    struct node node;
    small_files(&node);
    catalog_stream_append(&node.changes, NODE_STREAM + 1, 1, (struct span){0});
    node_start(&node);
    fill_files(&node, 3);
    uint64_t last = last_file(&node);
    struct buf changes = {0};
    pb_append_varint(&changes, 1, ++node.revision);
    pb_append_varint(&changes, 5, NODE_STREAM);
    node_send_changes(&node, &changes);
    buf_release(&changes);
    wait_released(&node, last);
    ck_assert(node_stream(&node, NODE_STREAM)->deleted);
    snapshot_begin(&node.changes, node.revision, false);
    catalog_stream_append(&node.changes, NODE_STREAM + 1, 1, (struct span){0});
    node_stop(&node);
    node_remove_db(&node);
    node_start(&node);
    struct uuid id = catalog_stream_id(NODE_STREAM + 1);
    ck_assert(uuid_equal(&node_stream(&node, NODE_STREAM + 1)->id, &id));
    node_end(&node);
}
