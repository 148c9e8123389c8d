/* bytes and span: little-endian at any address, and comparisons of borrowed bytes. */
#include "common/base/bytes.h"
#include "common/base/span.h"

#include <string.h>

#include "common/base/rand.h"

#include "tests/lib/test.h"

TEST(integers_are_little_endian)
{
    uint8_t at[9] = {0};
    bytes_put_u16(at + 1, 0x0102);
    ck_assert_mem_eq(at, "\0\2\1\0\0\0\0\0\0", 9);
    bytes_put_u32(at + 1, 0x01020304);
    ck_assert_mem_eq(at, "\0\4\3\2\1\0\0\0\0", 9);
    bytes_put_u64(at + 1, UINT64_C(0x0102030405060708));
    ck_assert_mem_eq(at, "\0\x8\7\6\5\4\3\2\1", 9);
    ck_assert_uint_eq(bytes_get_u16(at + 1), 0x0708);
    ck_assert_uint_eq(bytes_get_u32(at + 1), 0x05060708);
    ck_assert_uint_eq(bytes_get_u64(at + 1), UINT64_C(0x0102030405060708));
}

TEST(every_integer_comes_back)
{
    struct prng prng;
    uint8_t at[8];
    prng_init(&prng, 1);
    for (unsigned i = 0; i < 10000; i++) {
        uint64_t value = prng_next(&prng) >> prng_below(&prng, 64);
        bytes_put_u64(at, value);
        ck_assert_uint_eq(bytes_get_u64(at), value);
        bytes_put_u32(at, (uint32_t) value);
        ck_assert_uint_eq(bytes_get_u32(at), (uint32_t) value);
        bytes_put_u16(at, (uint16_t) value);
        ck_assert_uint_eq(bytes_get_u16(at), (uint16_t) value);
    }
}

TEST(spans_are_equal_when_their_bytes_are)
{
    char text[] = "railgun";
    ck_assert(span_is(span_of(text), "railgun"));
    ck_assert(!span_is(span_of(text), "railgu"));
    ck_assert(!span_is(span_of(text), "railgum"));
    ck_assert(span_equal(span_make(NULL, 0), span_of("")));
    ck_assert(!span_equal(span_make(NULL, 0), span_of("x")));
    ck_assert(span_equal(span_make("a\0b", 3), span_make("a\0b", 3)));
    ck_assert(!span_equal(span_make("a\0b", 3), span_make("a\0c", 3)));
}
