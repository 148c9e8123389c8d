/* Publishing over the bus: offsets, times, expectations, limits, order. */
#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "logd/append.h"
#include "tests/lib/test.h"
#include "tests/unit/logd/node_lib.h"

#define PUBLISH RAILGUN__BUS_TYPE__BUS_LOG_PUBLISH

/* LogPublish with one expectation. */
static struct buf expect(uint32_t field, uint64_t value)
{
    struct buf inner = {0};
    struct buf meta = {0};
    pb_append_varint(&inner, field, value);
    pb_append_bytes(&meta, 1, buf_span(&inner));
    buf_release(&inner);
    return meta;
}

static int publish_status(struct node *node, struct buf *meta, uint64_t *ret_next_offset)
{
    struct slice batch = batch_make("r", 1, 2, 10);
    struct answer answer;
    node_ask(node, PUBLISH, NODE_STREAM, buf_span(meta), &batch, &answer);
    slice_release(&batch);
    buf_release(meta);
    ck_assert_int_eq(answer.outcome, BUS_OK);
    int status = answer.status;
    *ret_next_offset = meta_number(buf_span(&answer.meta), status == 0 ? 1 : 5);
    answer_clear(&answer);
    return status;
}

TEST(offsets_begin_at_one_and_are_dense)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 1, 1, 10), 1);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 2, 5, 10), 2);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 7, 1000, 10), 7);
    ck_assert_uint_eq(stream_next_offset(node_stream(&node, NODE_STREAM)), 1007);
    node_check_records(&node, NODE_STREAM, 1, 1007, 0);
    node_end(&node);
}

TEST(publishes_sent_together_keep_their_order)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    enum { COUNT = 500 };
    static struct answer answers[COUNT];
    for (uint64_t i = 0; i < COUNT; i++) {
        struct slice batch = batch_make("r", 1 + i * 3, 3, 10);
        node_send(&node, PUBLISH, NODE_STREAM, (struct span){0}, &batch, &answers[i]);
        slice_release(&batch);
    }
    uint64_t ts_us = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        node_wait(&node, &answers[i]);
        ck_assert_int_eq(answers[i].status, 0);
        ck_assert_uint_eq(meta_number(buf_span(&answers[i].meta), 1), 1 + i * 3);
        ck_assert_uint_ge(meta_number(buf_span(&answers[i].meta), 3), ts_us);
        ts_us = meta_number(buf_span(&answers[i].meta), 3);
        answer_clear(&answers[i]);
    }
    node_check_records(&node, NODE_STREAM, 1, 1 + COUNT * 3, 0);
    node_end(&node);
}

TEST(a_journal_without_room_lets_publishes_wait_in_order)
{
    struct node node;
    node_init(&node);
    node.options.journal.queue_bytes_max = 64 << 10;
    node_start(&node);
    enum { COUNT = 300 };
    static struct answer answers[COUNT];
    for (uint64_t i = 0; i < COUNT; i++) {
        struct slice batch = batch_make("r", 1 + i * 10, 10, 2000);
        node_send(&node, PUBLISH, NODE_STREAM, (struct span){0}, &batch, &answers[i]);
        slice_release(&batch);
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        node_wait(&node, &answers[i]);
        ck_assert_int_eq(answers[i].status, 0);
        ck_assert_uint_eq(meta_number(buf_span(&answers[i].meta), 1), 1 + i * 10);
        answer_clear(&answers[i]);
    }
    ck_assert_uint_gt(*node.logd->count.waited, 0);
    node_check_records(&node, NODE_STREAM, 1, 1 + COUNT * 10, 0);
    node_end(&node);
}

TEST(a_small_publish_does_not_overtake_a_large_one)
{
    struct node node;
    node_init(&node);
    node.options.journal.queue_bytes_max = 64 << 10;
    node_start(&node);
    static const size_t sizes[] = {60000, 60000, 100, 60000, 100, 100};
    struct answer answers[6];
    /* A quick disk may be done before the next one comes: again until some had to wait. */
    for (unsigned round = 0; round < 200 && *node.logd->count.waited == 0; round++) {
        for (unsigned i = 0; i < 6; i++) {
            struct slice batch = batch_make("r", 1 + round * 6 + i, 1, sizes[i]);
            node_send(&node, PUBLISH, NODE_STREAM, (struct span){0}, &batch, &answers[i]);
            slice_release(&batch);
        }
        for (unsigned i = 0; i < 6; i++) {
            node_wait(&node, &answers[i]);
            ck_assert_int_eq(answers[i].status, 0);
            ck_assert_uint_eq(meta_number(buf_span(&answers[i].meta), 1), 1 + round * 6 + i);
            answer_clear(&answers[i]);
        }
    }
    ck_assert_uint_gt(*node.logd->count.waited, 0);
    node_end(&node);
}

TEST(beyond_the_waiting_limit_publishes_are_refused)
{
    struct node node;
    node_init(&node);
    node.options.journal.queue_bytes_max = 64 << 10;
    node.options.waiting_max = 5;
    node_start(&node);
    enum { COUNT = 300 };
    static struct answer answers[COUNT];
    for (uint64_t i = 0; i < COUNT; i++) {
        struct slice batch = batch_make("r", 1, 10, 2000);
        node_send(&node, PUBLISH, NODE_STREAM, (struct span){0}, &batch, &answers[i]);
        slice_release(&batch);
    }
    uint64_t next = 1;
    unsigned refused = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        node_wait(&node, &answers[i]);
        if (answers[i].status == 0) { /* what was taken is dense all the same */
            ck_assert_uint_eq(meta_number(buf_span(&answers[i].meta), 1), next);
            next += 10;
        } else {
            ck_assert_int_eq(answers[i].status, ERR_OVERLOADED);
            refused++;
        }
        answer_clear(&answers[i]);
    }
    ck_assert_uint_gt(refused, 0);
    ck_assert_uint_eq(stream_next_offset(node_stream(&node, NODE_STREAM)), next);
    node_end(&node);
}

TEST(the_expected_offset_is_held_against_the_next_one)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    uint64_t next;
    struct buf meta = expect(1, 1);
    ck_assert_int_eq(publish_status(&node, &meta, &next), 0);
    meta = expect(1, 1);
    ck_assert_int_eq(publish_status(&node, &meta, &next), ERR_WRONG_OFFSET);
    ck_assert_uint_eq(next, 3);
    meta = expect(1, 4);
    ck_assert_int_eq(publish_status(&node, &meta, &next), ERR_WRONG_OFFSET);
    meta = expect(1, 3);
    ck_assert_int_eq(publish_status(&node, &meta, &next), 0);
    ck_assert_uint_eq(next, 3);
    meta = expect(2, 1); /* no record yet */
    ck_assert_int_eq(publish_status(&node, &meta, &next), ERR_WRONG_OFFSET);
    ck_assert_uint_eq(next, 5);
    meta = expect(3, 1);
    ck_assert_int_eq(publish_status(&node, &meta, &next), 0);
    node_end(&node);
}

TEST(no_stream_holds_for_the_first_record_only)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    uint64_t next;
    struct buf meta = expect(3, 1);
    ck_assert_int_eq(publish_status(&node, &meta, &next), ERR_WRONG_OFFSET);
    ck_assert_uint_eq(next, 1);
    meta = expect(2, 1);
    ck_assert_int_eq(publish_status(&node, &meta, &next), 0);
    meta = expect(2, 1);
    ck_assert_int_eq(publish_status(&node, &meta, &next), ERR_WRONG_OFFSET);
    node_end(&node);
}

TEST(two_publishes_in_flight_cannot_both_have_the_expected_offset)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    struct answer answers[2];
    for (unsigned i = 0; i < 2; i++) {
        struct slice batch = batch_make("r", 1, 4, 10);
        struct buf meta = expect(1, 1);
        node_send(&node, PUBLISH, NODE_STREAM, buf_span(&meta), &batch, &answers[i]);
        buf_release(&meta);
        slice_release(&batch);
    }
    node_wait(&node, &answers[0]);
    node_wait(&node, &answers[1]);
    ck_assert_int_eq(answers[0].status, 0);
    ck_assert_int_eq(answers[1].status, ERR_WRONG_OFFSET);
    ck_assert_uint_eq(meta_number(buf_span(&answers[1].meta), 5), 5);
    answer_clear(&answers[0]);
    answer_clear(&answers[1]);
    node_end(&node);
}

TEST(a_pinned_id_must_be_the_streams)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    uint64_t next;
    struct uuid id = catalog_stream_id(NODE_STREAM);
    struct buf meta = {0};
    pb_append_bytes(&meta, 5, span_make(id.bytes, sizeof(id.bytes)));
    ck_assert_int_eq(publish_status(&node, &meta, &next), 0);
    id.bytes[3] ^= 1;
    pb_append_bytes(&meta, 5, span_make(id.bytes, sizeof(id.bytes)));
    struct slice batch = batch_make("r", 1, 1, 10);
    struct answer answer;
    node_ask(&node, PUBLISH, NODE_STREAM, buf_span(&meta), &batch, &answer);
    ck_assert_int_eq(answer.status, ERR_STREAM_CHANGED);
    struct uuid real = catalog_stream_id(NODE_STREAM);
    ck_assert(span_equal(meta_bytes(buf_span(&answer.meta), 9), span_make(real.bytes, 16)));
    answer_clear(&answer);
    slice_release(&batch);
    buf_release(&meta);
    node_end(&node);
}

static int publish_bytes(struct node *node, struct span bytes, bool atomic, struct answer *answer)
{
    struct buf meta = {0};
    pb_append_varint(&meta, 3, atomic);
    struct payload *payload = payload_copy(bytes);
    struct slice batch = {payload, payload_span(payload)};
    node_ask(node, PUBLISH, NODE_STREAM, buf_span(&meta), &batch, answer);
    slice_release(&batch);
    buf_release(&meta);
    ck_assert_int_eq(answer->outcome, BUS_OK);
    return answer->status;
}

TEST(a_bad_batch_is_refused_as_a_whole)
{
    struct node node;
    node_init(&node);
    node.options.limits.record_bytes_max = 100;
    node_start(&node);
    struct answer answer;
    ck_assert_int_eq(publish_bytes(&node, span_of("no protobuf at all"), true, &answer),
                     ERR_PROTOCOL);
    answer_clear(&answer);
    ck_assert_int_eq(publish_bytes(&node, (struct span){0}, true, &answer), ERR_PROTOCOL);
    answer_clear(&answer);
    struct slice batch = batch_make("r", 1, 3, 200);
    ck_assert_int_eq(publish_bytes(&node, batch.bytes, true, &answer), ERR_TOO_LARGE);
    answer_clear(&answer);
    slice_release(&batch);
    ck_assert_uint_eq(stream_next_offset(node_stream(&node, NODE_STREAM)), 1);
    node_end(&node);
}

TEST(a_batch_that_is_not_atomic_loses_only_its_bad_records)
{
    struct node node;
    node_init(&node);
    node.options.limits.record_bytes_max = 100;
    node_start(&node);
    struct slice small = batch_make("r", 1, 3, 10);
    struct slice large = batch_make("big", 1, 2, 200);
    struct slice after = batch_make("r", 4, 1, 10);
    struct buf bytes = {0};
    buf_append(&bytes, small.bytes);
    buf_append(&bytes, large.bytes);
    buf_append(&bytes, after.bytes);
    struct answer answer;
    ck_assert_int_eq(publish_bytes(&node, buf_span(&bytes), false, &answer), 0);
    ck_assert_uint_eq(meta_number(buf_span(&answer.meta), 1), 1);
    ck_assert_uint_eq(meta_number(buf_span(&answer.meta), 2), 4);
    struct span last = meta_bytes(buf_span(&answer.meta), 4);
    ck_assert_uint_eq(meta_number(last, 1), 4);
    ck_assert_uint_eq(meta_number(last, 2), (uint64_t) -ERR_TOO_LARGE);
    answer_clear(&answer);
    node_check_records(&node, NODE_STREAM, 1, 5, 0);

    ck_assert_int_eq(publish_bytes(&node, large.bytes, false, &answer), 0);
    ck_assert_uint_eq(meta_number(buf_span(&answer.meta), 2), 0);
    answer_clear(&answer);
    ck_assert_uint_eq(stream_next_offset(node_stream(&node, NODE_STREAM)), 5);
    buf_release(&bytes);
    slice_release(&small);
    slice_release(&large);
    slice_release(&after);
    node_end(&node);
}

TEST(a_draining_node_takes_no_publish)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 1, 1, 10), 1);
    logd_drain(node.logd);
    uint64_t next;
    struct buf meta = {0};
    ck_assert_int_eq(publish_status(&node, &meta, &next), ERR_GOING_AWAY);
    node_end(&node);
}

/* --- the daemon's own batches --- */

struct own {
    struct node *node;
    unsigned calls;
    int error;
    uint32_t count;
    uint64_t first;
    unsigned again; /* so many more from inside the call */
};

static void own_append(struct own *own, uint32_t count, size_t size);

static void own_done(void *ud, int error, const uint64_t *offsets, uint32_t count)
{
    struct own *own = ud;
    own->calls++;
    own->error = error;
    own->count = count;
    own->first = count > 0 ? offsets[0] : 0;
    for (uint32_t i = 1; i < count; i++) {
        ck_assert_uint_eq(offsets[i], offsets[0] + i);
    }
    if (own->again > 0) {
        own->again--;
        own_append(own, 1, 10);
    }
}

static void own_append(struct own *own, uint32_t count, size_t size)
{
    struct slice batch =
        batch_make("r", stream_next_offset(node_stream(own->node, NODE_STREAM)), count, size);
    append_own(own->node->logd->append, node_stream(own->node, NODE_STREAM), &batch, own_done, own);
    slice_release(&batch);
}

static bool own_called_all(void *ud)
{
    const struct own *own = ud;
    return own->calls > 0 && own->again == 0;
}

TEST(a_batch_of_the_daemons_own_is_told_where_it_lies)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 1, 3, 10), 1);
    struct own own = {.node = &node};
    own_append(&own, 2, 10);
    ck_assert_uint_eq(own.calls, 0); /* not before it is durable */
    node_run_until(&node, own_called_all, &own);
    ck_assert_int_eq(own.error, 0);
    ck_assert_uint_eq(own.count, 2);
    ck_assert_uint_eq(own.first, 4);
    ck_assert_uint_eq(node_publish(&node, NODE_STREAM, 6, 1, 10), 6);
    node_check_records(&node, NODE_STREAM, 1, 7, 0);
    ck_assert_uint_eq(append_open_count(node.logd->append), 0);
    node_end(&node);
}

static bool own_called_three(void *ud)
{
    const struct own *own = ud;
    return own->calls == 3;
}

TEST(who_is_told_of_an_own_batch_may_append_again_at_once)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    struct own own = {.node = &node, .again = 2};
    own_append(&own, 1, 10);
    node_run_until(&node, own_called_three, &own);
    ck_assert_uint_eq(own.first, 3);
    node_check_records(&node, NODE_STREAM, 1, 4, 0);
    node_end(&node);
}

static bool own_called_once(void *ud)
{
    const struct own *own = ud;
    return own->calls == 1;
}

TEST(an_own_batch_may_be_over_the_limits_of_publishers)
{
    struct node node;
    node_init(&node);
    node_start(&node);
    struct own own = {.node = &node};
    own_append(&own, 1, node.options.limits.record_bytes_max + 1);
    node_run_until(&node, own_called_once, &own);
    ck_assert_int_eq(own.error, 0);
    ck_assert_uint_eq(own.count, 1);
    ck_assert_uint_eq(own.first, 1);
    node_end(&node);
}
