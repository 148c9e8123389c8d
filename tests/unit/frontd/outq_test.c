/* outq: order, no copies of large slices, bounds and memory given back. */
#include "frontd/outq.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/err.h"

#include "tests/lib/test.h"

struct fixture {
    struct outq_pool *pool;
    struct outq q;
    int fds[2];
};

static void fixture_open(struct fixture *f)
{
    f->pool = outq_pool_new();
    outq_init(&f->q, f->pool);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, f->fds), 0);
}

static void fixture_close(struct fixture *f)
{
    outq_release(&f->q);
    ck_assert_uint_eq(outq_pool_bytes(f->pool), 0);
    outq_pool_destroy(&f->pool);
    (void) close(f->fds[0]);
    (void) close(f->fds[1]);
}

static void put_text(struct fixture *f, const char *text)
{
    ck_assert_int_eq(outq_put(&f->q, span_of(text)), 0);
}

/* A slice of `size` bytes that all are `byte`. */
static struct slice slice_of(size_t size, uint8_t byte)
{
    struct payload *payload = payload_new(size);
    memset(payload_data(payload), byte, size);
    return (struct slice){payload, payload_span(payload)};
}

static void read_all(struct fixture *f, struct buf *got)
{
    uint8_t piece[65536];
    ssize_t size = 0;
    while ((size = read(f->fds[1], piece, sizeof(piece))) > 0) {
        buf_append(got, span_make(piece, (size_t) size));
    }
}

TEST(outq_writes_copies_and_slices_in_the_order_they_were_put)
{
    struct fixture f;
    struct buf got = {0};
    size_t written = 0;
    fixture_open(&f);
    struct slice large = slice_of(5000, 'L');
    struct slice small = slice_of(10, 's');

    put_text(&f, "head");
    ck_assert_int_eq(outq_put_slice(&f.q, &large), 0);
    put_text(&f, "middle");
    ck_assert_int_eq(outq_put_slice(&f.q, &small), 0);
    ck_assert_uint_eq(outq_bytes(&f.q), 4 + 5000 + 6 + 10);
    ck_assert_uint_eq(outq_pool_bytes(f.pool), 5020);
    ck_assert_int_eq(outq_write(&f.q, f.fds[0], SIZE_MAX, &written), 0);

    ck_assert_uint_eq(written, 5020);
    ck_assert(outq_is_empty(&f.q));
    read_all(&f, &got);
    ck_assert_uint_eq(got.size, 5020);
    ck_assert_mem_eq(got.data, "headLLLL", 8);
    ck_assert_mem_eq(got.data + 5000, "LLLLmiddless", 12);
    slice_release(&large);
    slice_release(&small);
    buf_release(&got);
    fixture_close(&f);
}

TEST(outq_refers_to_a_large_slice_and_lets_go_when_it_is_written)
{
    struct fixture f;
    size_t written = 0;
    fixture_open(&f);
    struct slice large = slice_of(5000, 'L');
    struct slice small = slice_of(100, 's');

    ck_assert_int_eq(outq_put_slice(&f.q, &large), 0);
    ck_assert_int_eq(outq_put_slice(&f.q, &small), 0);
    ck_assert(!payload_is_sole(large.owner));
    ck_assert(payload_is_sole(small.owner)); /* cheaper copied */
    ck_assert_int_eq(outq_write(&f.q, f.fds[0], SIZE_MAX, &written), 0);
    ck_assert(payload_is_sole(large.owner));
    slice_release(&large);
    slice_release(&small);
    fixture_close(&f);
}

TEST(outq_goes_on_where_a_full_socket_stopped_it)
{
    struct fixture f;
    struct buf got = {0};
    uint64_t total = 0;
    unsigned full = 0;
    fixture_open(&f);
    for (unsigned i = 0; i < 200; i++) {
        char head[16];
        struct slice body = slice_of(1000 + i * 37, (uint8_t) i);
        int size = snprintf(head, sizeof(head), "%08u", i);
        ck_assert_int_eq(outq_put(&f.q, span_make(head, (size_t) size)), 0);
        ck_assert_int_eq(outq_put_slice(&f.q, &body), 0);
        total += 8 + body.bytes.size;
        slice_release(&body);
    }
    while (!outq_is_empty(&f.q)) {
        size_t written = 0;
        int result = outq_write(&f.q, f.fds[0], SIZE_MAX, &written);
        ck_assert(result == 0 || result == ERR_AGAIN);
        full += result == ERR_AGAIN;
        read_all(&f, &got);
    }
    ck_assert_uint_gt(full, 0);
    ck_assert_uint_eq(got.size, total);
    const uint8_t *at = got.data;
    for (unsigned i = 0; i < 200; i++) {
        char head[16];
        (void) snprintf(head, sizeof(head), "%08u", i);
        ck_assert_mem_eq(at, head, 8);
        at += 8;
        for (unsigned k = 0; k < 1000 + i * 37; k++) {
            TEST_ASSERT_FAST(*at++ == (uint8_t) i);
        }
    }
    buf_release(&got);
    fixture_close(&f);
}

TEST(outq_stops_after_about_as_much_as_it_was_told)
{
    struct fixture f;
    size_t written = 0;
    fixture_open(&f);
    for (unsigned i = 0; i < 10; i++) {
        struct slice body = slice_of(1000, 'x');
        ck_assert_int_eq(outq_put_slice(&f.q, &body), 0);
        slice_release(&body);
    }
    ck_assert_int_eq(outq_write(&f.q, f.fds[0], 2500, &written), 0);
    ck_assert_uint_ge(written, 2500);
    ck_assert_uint_le(written, 3500);
    ck_assert_uint_eq(outq_bytes(&f.q), 10000 - written);
    fixture_close(&f);
}

TEST(outq_reports_a_closed_peer)
{
    struct fixture f;
    size_t written = 0;
    fixture_open(&f);
    (void) close(f.fds[1]);
    put_text(&f, "nobody");
    ck_assert_int_eq(outq_write(&f.q, f.fds[0], SIZE_MAX, &written), ERR_CLOSED);
    f.fds[1] = dup(f.fds[0]);
    fixture_close(&f);
}

TEST(outq_copies_what_is_larger_than_a_block)
{
    struct fixture f;
    struct buf text = {0};
    struct buf got = {0};
    size_t written = 0;
    fixture_open(&f);
    for (unsigned i = 0; i < 3000; i++) {
        buf_printf(&text, "%04u", i);
    }
    ck_assert_int_eq(outq_put(&f.q, buf_span(&text)), 0);
    memset(text.data, 0, 100); /* it was copied */
    ck_assert_int_eq(outq_write(&f.q, f.fds[0], SIZE_MAX, &written), 0);
    read_all(&f, &got);
    ck_assert_uint_eq(got.size, 12000);
    ck_assert_mem_eq(got.data, "000000010002", 12);
    buf_release(&text);
    buf_release(&got);
    fixture_close(&f);
}
