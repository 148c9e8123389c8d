/* buf: growing, consuming and handing over. */
#include "common/base/buf.h"

#include <string.h>

#include "common/base/mem.h"

#include "tests/lib/test.h"
#include "tests/unit/common/base/abort_lib.h"

static void advance_past_the_capacity(void)
{
    struct buf buf = {0};
    buf_reserve(&buf, 10);
    buf_advance(&buf, buf.capacity + 1);
}

static void consume_too_much(void)
{
    struct buf buf = {0};
    buf_append_text(&buf, "abc");
    buf_consume(&buf, 4);
}

TEST(a_zeroed_buf_is_empty_and_usable)
{
    struct buf buf = {0};
    ck_assert_uint_eq(buf_span(&buf).size, 0);
    ck_assert_str_eq(buf_text(&buf), "");
    ck_assert_uint_eq(buf.size, 0);
    buf_release(&buf);
    buf_release(&buf);
    ck_assert_ptr_null(buf.data);
}

TEST(a_buf_keeps_what_is_appended)
{
    struct buf buf = {0};
    buf_append(&buf, span_make(NULL, 0));
    buf_append_text(&buf, "rail");
    buf_append_byte(&buf, 'g');
    buf_printf(&buf, "%s-%d", "un", 42);
    ck_assert_str_eq(buf_text(&buf), "railgun-42");
    ck_assert_uint_eq(buf.size, 10);
    ck_assert(span_is(buf_span(&buf), "railgun-42"));
    buf_reset(&buf);
    ck_assert_uint_eq(buf.size, 0);
    ck_assert_uint_gt(buf.capacity, 0);
    buf_release(&buf);
}

TEST(a_buf_grows_byte_by_byte)
{
    struct buf buf = {0};
    for (unsigned i = 0; i < 100000; i++) {
        buf_append_byte(&buf, (uint8_t) (i * 7));
    }
    ck_assert_uint_eq(buf.size, 100000);
    for (unsigned i = 0; i < 100000; i++) {
        ck_assert(buf.data[i] == (uint8_t) (i * 7));
    }
    ck_assert_uint_lt(buf.capacity, 200000);
    buf_release(&buf);
}

TEST(reserved_bytes_belong_to_the_buf_when_advanced)
{
    struct buf buf = {0};
    memcpy(buf_reserve(&buf, 300), "0123456789", 10);
    ck_assert_uint_eq(buf.size, 0);
    ck_assert_uint_ge(buf.capacity, 300);
    buf_advance(&buf, 4);
    ck_assert(span_is(buf_span(&buf), "0123"));
    ck_assert(ends_by_abort(advance_past_the_capacity));
    buf_release(&buf);
}

TEST(a_size_without_memory_leaves_the_buf_as_it_was)
{
    struct buf buf = {0};
    buf_append_text(&buf, "abc");
    ck_assert_ptr_null(buf_try_reserve(&buf, SIZE_MAX));
    ck_assert_ptr_null(buf_try_reserve(&buf, SIZE_MAX - 3));
    ck_assert_ptr_null(buf_try_reserve(&buf, SIZE_MAX / 2));
    ck_assert(span_is(buf_span(&buf), "abc"));
    buf_release(&buf);
}

TEST(consuming_drops_bytes_from_the_front)
{
    struct buf buf = {0};
    buf_append_text(&buf, "abcdef");
    buf_consume(&buf, 0);
    buf_consume(&buf, 2);
    ck_assert(span_is(buf_span(&buf), "cdef"));
    buf_consume(&buf, 4);
    ck_assert_uint_eq(buf.size, 0);
    ck_assert(ends_by_abort(consume_too_much));
    buf_release(&buf);
}

TEST(detaching_hands_the_memory_over)
{
    struct buf buf = {0};
    size_t size = 0;
    buf_append_text(&buf, "abc");
    uint8_t *data = buf_detach(&buf, &size);
    ck_assert_uint_eq(size, 3);
    ck_assert_mem_eq(data, "abc", 3);
    ck_assert_ptr_null(buf.data);
    ck_assert_uint_eq(buf.capacity, 0);
    buf_append_text(&buf, "x");
    ck_assert_mem_eq(data, "abc", 3);
    mem_free(data);
    buf_release(&buf);
}
