/* The tail: one limit for all streams, the oldest goes first, nothing is held for idle ones. */
#include "logd/tail.h"

#include "common/base/mem.h"
#include "tests/lib/test.h"

static void push(struct tail *tail, struct tail_stream *stream, uint64_t base, uint32_t count,
                 size_t size)
{
    struct payload *payload = payload_new(size);
    struct stored stored = {
        .base = base, .count = count, .batch = {payload, payload_span(payload)}};
    tail_push(tail, stream, &stored);
    payload_unref(&payload);
}

TEST(what_was_pushed_last_is_found)
{
    struct tail *tail = tail_new(1 << 20);
    struct tail_stream stream = {0};
    for (uint64_t i = 0; i < 100; i++) {
        push(tail, &stream, 1 + i * 3, 3, 100);
    }
    for (uint64_t offset = 1; offset <= 300; offset++) {
        const struct stored *stored = tail_find(&stream, offset);
        ck_assert_ptr_nonnull(stored);
        ck_assert_uint_eq(stored->base, (offset - 1) / 3 * 3 + 1);
    }
    ck_assert_ptr_null(tail_find(&stream, 0));
    ck_assert_ptr_null(tail_find(&stream, 301));
    tail_drop(tail, &stream);
    ck_assert_uint_eq(tail_bytes(tail), 0);
    ck_assert_ptr_null(stream.ring);
    tail_destroy(&tail);
}

TEST(the_oldest_of_all_streams_goes_first)
{
    struct tail *tail = tail_new(64 << 10);
    struct tail_stream streams[3] = {0};
    for (uint64_t i = 0; i < 3000; i++) {
        push(tail, &streams[i % 3], 1 + i / 3, 1, 744); /* 1,000 with its overhead */
    }
    ck_assert_uint_le(tail_bytes(tail), 64 << 10);
    ck_assert_uint_gt(tail_bytes(tail), 62 << 10);
    for (unsigned s = 0; s < 3; s++) {
        ck_assert_uint_ge(streams[s].count, 21);
        ck_assert_uint_le(streams[s].count, 22);
        ck_assert_ptr_nonnull(tail_find(&streams[s], 1000));
        ck_assert_ptr_nonnull(tail_find(&streams[s], 980));
        ck_assert_ptr_null(tail_find(&streams[s], 978));
        tail_drop(tail, &streams[s]);
    }
    tail_destroy(&tail);
}

TEST(an_idle_stream_loses_its_memory)
{
    struct tail *tail = tail_new(64 << 10);
    struct tail_stream idle = {0};
    struct tail_stream busy = {0};
    push(tail, &idle, 1, 1, 100);
    for (uint64_t i = 0; i < 1000; i++) {
        push(tail, &busy, 1 + i, 1, 1000);
    }
    ck_assert_uint_eq(idle.count, 0);
    ck_assert_ptr_null(idle.ring);
    tail_drop(tail, &busy);
    tail_destroy(&tail);
}

TEST(a_batch_over_the_limit_is_not_kept_and_drives_nothing_out)
{
    struct tail *tail = tail_new(64 << 10);
    struct tail_stream stream = {0};
    push(tail, &stream, 1, 1, 1000);
    push(tail, &stream, 2, 1, 64 << 10);
    push(tail, &stream, 3, 1, 1000);
    ck_assert_ptr_nonnull(tail_find(&stream, 1));
    ck_assert_ptr_null(tail_find(&stream, 2));
    ck_assert_ptr_nonnull(tail_find(&stream, 3));
    tail_drop(tail, &stream);
    tail_destroy(&tail);
}

TEST(a_dropped_stream_leaves_the_others)
{
    struct tail *tail = tail_new(64 << 10);
    struct tail_stream gone = {0};
    struct tail_stream stays = {0};
    for (uint64_t i = 0; i < 10; i++) {
        push(tail, &gone, 1 + i, 1, 500);
        push(tail, &stays, 1 + i, 1, 500);
    }
    tail_drop(tail, &gone);
    for (uint64_t i = 10; i < 1000; i++) {
        push(tail, &stays, 1 + i, 1, 500);
    }
    ck_assert_ptr_nonnull(tail_find(&stays, 1000));
    ck_assert_ptr_null(tail_find(&stays, 1));
    tail_shrink(tail, 0);
    ck_assert_uint_eq(tail_bytes(tail), 0);
    tail_destroy(&tail);
}
