/* Reading: pages from memory and from the journal, joined, cut, waiting, out of range. */
#include "common/base/err.h"
#include "common/wire/batch.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "logd/tail.h"
#include "tests/lib/test.h"
#include "tests/unit/logd/node_lib.h"

#define READ RAILGUN__BUS_TYPE__BUS_LOG_READ

struct wish {
    uint64_t at;
    uint64_t offset;
    uint64_t ts_us;
    uint64_t records;
    uint64_t bytes;
    uint64_t wait_ms;
};

static struct buf read_meta(const struct wish *wish)
{
    struct buf start = {0};
    struct buf meta = {0};
    pb_append_varint(&start, 1, wish->at);
    pb_append_varint(&start, 2, wish->offset);
    pb_append_fixed64(&start, 3, wish->ts_us);
    pb_append_bytes(&meta, 2, buf_span(&start));
    if (wish->records != 0) {
        pb_append_varint(&meta, 3, wish->records);
    }
    if (wish->bytes != 0) {
        pb_append_varint(&meta, 4, wish->bytes);
    }
    pb_append_varint(&meta, 5, wish->wait_ms);
    buf_release(&start);
    return meta;
}

static void ask(struct node *node, const struct wish *wish, struct answer *answer)
{
    struct buf meta = read_meta(wish);
    node_ask(node, READ, NODE_STREAM, buf_span(&meta), NULL, answer);
    buf_release(&meta);
    ck_assert_int_eq(answer->outcome, BUS_OK);
}

/* Asks, checks base, count and that the batch holds just that; returns the size of the batch. */
static size_t check(struct node *node, const struct wish *wish, uint64_t base, uint64_t count)
{
    struct answer answer;
    ask(node, wish, &answer);
    ck_assert_int_eq(answer.status, 0);
    struct span meta = buf_span(&answer.meta);
    ck_assert_uint_eq(meta_number(meta, 1), base);
    ck_assert_uint_eq(meta_number(meta, 2), count);
    ck_assert_uint_eq(meta_number(meta, 3), base + count);
    struct span rest = answer.body.bytes;
    struct batch_record record;
    uint64_t found = 0;
    while (batch_next(&rest, &record) == 1) {
        found++;
    }
    ck_assert_uint_eq(found, count);
    size_t size = answer.body.bytes.size;
    answer_clear(&answer);
    return size;
}

/* The same from memory and from disk. */
static void forget_tail(struct node *node)
{
    tail_shrink(node->logd->tail, 0);
    ck_assert_uint_eq(tail_bytes(node->logd->tail), 0);
}

static void small_batches(struct node *node)
{
    for (uint64_t i = 0; i < 20; i++) {
        (void) node_publish(node, NODE_STREAM, 1 + i * 10, 10, 100);
    }
}

TEST(small_batches_are_joined_and_cut_by_the_asked_sizes)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    small_batches(&node);
    for (unsigned cold = 0; cold < 2; cold++) {
        (void) check(&node, &(struct wish){.at = 1}, 1, 200);
        (void) check(&node, &(struct wish){.at = 4, .offset = 5}, 5, 196);
        (void) check(&node, &(struct wish){.at = 4, .offset = 5, .records = 3}, 5, 3);
        (void) check(&node, &(struct wish){.at = 4, .offset = 5, .records = 7}, 5, 6);
        (void) check(&node, &(struct wish){.at = 4, .offset = 5, .records = 26}, 5, 26);
        (void) check(&node, &(struct wish){.at = 4, .offset = 200}, 200, 1);
        (void) check(&node, &(struct wish){.at = 4, .offset = 11, .bytes = 1}, 11, 1);
        size_t size = check(&node, &(struct wish){.at = 4, .offset = 11, .bytes = 2500}, 11, 20);
        ck_assert_uint_le(size, 2500);
        (void) check(&node, &(struct wish){.at = 3, .offset = 15}, 186, 15);
        (void) check(&node, &(struct wish){.at = 3, .offset = 5000}, 1, 200);
        (void) check(&node, &(struct wish){.at = 2}, 201, 0);
        (void) check(&node, &(struct wish){.at = 4, .offset = 201}, 201, 0);
        node_check_records(&node, NODE_STREAM, 1, 201, 0);
        forget_tail(&node);
    }
    ck_assert_uint_gt(*node.logd->count.cold_reads, 0);
    node_end(&node);
}

TEST(a_large_batch_is_handed_out_without_copy)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    (void) node_publish(&node, NODE_STREAM, 1, 1000, 100);
    (void) node_publish(&node, NODE_STREAM, 1001, 1000, 100);
    struct stream *stream = node_stream(&node, NODE_STREAM);
    for (unsigned cold = 0; cold < 2; cold++) {
        struct stream_page page = {0};
        uint64_t corrupt;
        ck_assert_int_eq(stream_read(stream, 1001, 10000, 1 << 20, &page, &corrupt), 0);
        ck_assert_uint_eq(page.count, 1000);
        ck_assert_uint_eq(page.time_count, 1);
        ck_assert_uint_eq(page.times[0].after, 0);
        struct stream_page again = {0};
        ck_assert_int_eq(stream_read(stream, 1001, 10000, 1 << 20, &again, &corrupt), 0);
        ck_assert_ptr_eq(page.batch.bytes.data, again.batch.bytes.data);
        stream_page_release(&page);
        stream_page_release(&again);
        /* a part of it: still the same bytes */
        ck_assert_int_eq(stream_read(stream, 1500, 10, 1 << 20, &page, &corrupt), 0);
        ck_assert_uint_eq(page.count, 10);
        ck_assert_uint_eq(page.base_offset, 1500);
        stream_page_release(&page);
        forget_tail(&node);
    }
    node_end(&node);
}

TEST(pages_go_on_from_the_journal_into_memory)
{
    struct node node;
    node_init(&node);
    node.options.tail_bytes = 64 << 10;
    node.options.cold_bytes = 1; /* always one run */
    node_start(&node);
    for (uint64_t i = 0; i < 300; i++) {
        (void) node_publish(&node, NODE_STREAM, 1 + i * 10, 10, 200);
    }
    ck_assert_uint_le(tail_bytes(node.logd->tail), 64 << 10);
    node_check_records(&node, NODE_STREAM, 1, 3001, 0);
    node_check_records(&node, NODE_STREAM, 7, 3001, 0);
    ck_assert_uint_gt(*node.logd->count.cold_reads, 0);
    ck_assert_uint_gt(*node.logd->count.tail_hits, 0);
    node_end(&node);
}

TEST(a_page_names_each_stored_time)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    small_batches(&node);
    struct stream *stream = node_stream(&node, NODE_STREAM);
    struct stream_page page = {0};
    uint64_t corrupt;
    ck_assert_int_eq(stream_read(stream, 1, 10000, 1 << 20, &page, &corrupt), 0);
    ck_assert_uint_ge(page.time_count, 1);
    for (uint32_t i = 1; i < page.time_count; i++) {
        ck_assert_uint_gt(page.times[i].ts_us, page.times[i - 1].ts_us);
        ck_assert_uint_eq(page.times[i].after % 10, 0);
    }
    uint64_t ts_us = page.times[page.time_count - 1].ts_us;
    uint64_t after = page.times[page.time_count - 1].after;
    stream_page_release(&page);
    (void) check(&node, &(struct wish){.at = 5, .ts_us = ts_us}, 1 + after, 200 - after);
    (void) check(&node, &(struct wish){.at = 5, .ts_us = 1}, 1, 200);
    (void) check(&node, &(struct wish){.at = 5, .ts_us = ts_us + 1}, 201, 0);
    node_end(&node);
}

TEST(outside_of_the_stream_is_out_of_range)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    small_batches(&node);
    static const uint64_t offsets[] = {0, 202, UINT64_MAX};
    for (unsigned i = 0; i < 3; i++) {
        struct answer answer;
        ask(&node, &(struct wish){.at = 4, .offset = offsets[i]}, &answer);
        ck_assert_int_eq(answer.status, ERR_OUT_OF_RANGE);
        ck_assert_uint_eq(meta_number(buf_span(&answer.meta), 5), 201);
        ck_assert_uint_eq(meta_number(buf_span(&answer.meta), 6), 1);
        answer_clear(&answer);
    }
    struct answer answer;
    ask(&node, &(struct wish){.at = 77}, &answer);
    ck_assert_int_eq(answer.status, ERR_BAD_REQUEST);
    answer_clear(&answer);
    node_ask(&node, READ, NODE_STREAM, span_of("\xff\xff"), NULL, &answer);
    ck_assert_int_eq(answer.status, ERR_BAD_REQUEST);
    answer_clear(&answer);
    node_ask(&node, READ, 3, (struct span){0}, NULL, &answer);
    ck_assert_int_eq(answer.status, ERR_NOT_FOUND);
    answer_clear(&answer);
    node_end(&node);
}

TEST(a_reader_at_the_end_waits_for_more)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    struct answer waiting;
    struct buf meta = read_meta(&(struct wish){.at = 2, .wait_ms = 60000});
    node_send(&node, READ, NODE_STREAM, buf_span(&meta), NULL, &waiting);
    buf_release(&meta);
    (void) check(&node, &(struct wish){.at = 2}, 1, 0); /* so the other one has arrived */
    ck_assert(!waiting.done);
    (void) node_publish(&node, NODE_STREAM, 1, 5, 10);
    node_wait(&node, &waiting);
    ck_assert_int_eq(waiting.status, 0);
    ck_assert_uint_eq(meta_number(buf_span(&waiting.meta), 1), 1);
    ck_assert_uint_eq(meta_number(buf_span(&waiting.meta), 2), 5);
    answer_clear(&waiting);
    /* and is answered with nothing when nothing comes */
    (void) check(&node, &(struct wish){.at = 2, .wait_ms = 5}, 6, 0);
    node_end(&node);
}

TEST(waiting_readers_are_bounded_and_sent_away_by_a_drain)
{
    struct node node;
    node_init(&node);
    node.options.readers_max = 2;
    node_start(&node);
    struct answer answers[3];
    struct buf meta = read_meta(&(struct wish){.at = 2, .wait_ms = 60000});
    for (unsigned i = 0; i < 3; i++) {
        node_send(&node, READ, NODE_STREAM, buf_span(&meta), NULL, &answers[i]);
    }
    buf_release(&meta);
    node_wait(&node, &answers[2]);
    ck_assert_int_eq(answers[2].status, ERR_OVERLOADED);
    ck_assert(!answers[0].done);
    logd_drain(node.logd);
    node_wait(&node, &answers[0]);
    node_wait(&node, &answers[1]);
    ck_assert_int_eq(answers[0].status, ERR_GOING_AWAY);
    for (unsigned i = 0; i < 3; i++) {
        answer_clear(&answers[i]);
    }
    node_end(&node);
}

TEST(the_numbers_of_a_stream)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    small_batches(&node);
    struct answer answer;
    node_ask(&node, RAILGUN__BUS_TYPE__BUS_LOG_STREAM_INFO, NODE_STREAM, (struct span){0}, NULL,
             &answer);
    ck_assert_int_eq(answer.status, 0);
    struct span info = buf_span(&answer.meta);
    ck_assert_uint_eq(meta_number(info, 5), 1);
    ck_assert_uint_eq(meta_number(info, 6), 201);
    ck_assert_uint_eq(meta_number(info, 7), 200);
    ck_assert_uint_gt(meta_number(info, 8), 20000);
    ck_assert_uint_gt(meta_number(info, 10), 0);
    ck_assert_uint_eq(meta_number(info, 11), 0);
    ck_assert_uint_eq(meta_number(info, 12), NODE_STREAM);
    ck_assert_uint_eq(meta_number(info, 14), 1);
    ck_assert_uint_eq(meta_number(info, 15), 21); /* the configuration and twenty batches */
    answer_clear(&answer);
    node_end(&node);
}
