/* crc32c: published values, and the two ways against each other and against one bit at a time. */
#include "common/base/crc32c.h"

#include <string.h>

#include "common/base/mem.h"
#include "common/base/rand.h"

#include "tests/lib/test.h"

enum { SIZE = 20000 };

static uint32_t crc_bitwise(uint32_t crc, struct span bytes)
{
    crc = ~crc;
    for (size_t i = 0; i < bytes.size; i++) {
        crc ^= bytes.data[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ ((crc & 1) != 0 ? UINT32_C(0x82f63b78) : 0);
        }
    }
    return ~crc;
}

static void check_known(struct span bytes, uint32_t crc)
{
    ck_assert_uint_eq(crc32c_extend(0, bytes), crc);
    ck_assert_uint_eq(crc32c_extend_portable(0, bytes), crc);
    ck_assert_uint_eq(crc_bitwise(0, bytes), crc);
}

TEST(the_checksum_has_the_published_values)
{
    uint8_t bytes[32]; /* RFC 3720, B.4 */
    check_known(span_of(""), 0);
    check_known(span_of("123456789"), 0xe3069283);
    memset(bytes, 0, sizeof(bytes));
    check_known(span_make(bytes, sizeof(bytes)), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    check_known(span_make(bytes, sizeof(bytes)), 0x62a8ab43);
    for (uint8_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = i;
    }
    check_known(span_make(bytes, sizeof(bytes)), 0x46dd794e);
}

TEST(both_ways_agree_at_every_size_and_address)
{
    struct prng prng;
    uint8_t *bytes = mem_new(SIZE);
    prng_init(&prng, 1);
    for (size_t i = 0; i < SIZE; i++) {
        bytes[i] = (uint8_t) prng_next(&prng);
    }
    for (size_t size = 0; size < 1300; size++) {
        struct span span = span_make(bytes + size % 9, size);
        uint32_t start = (uint32_t) prng_next(&prng);
        uint32_t crc = crc_bitwise(start, span);
        ck_assert_uint_eq(crc32c_extend(start, span), crc);
        ck_assert_uint_eq(crc32c_extend_portable(start, span), crc);
    }
    for (unsigned i = 0; i < 300; i++) {
        size_t from = prng_below(&prng, 16);
        struct span span = span_make(bytes + from, prng_below(&prng, SIZE - from));
        ck_assert_uint_eq(crc32c_extend(0, span), crc32c_extend_portable(0, span));
    }
    struct span all = span_make(bytes, SIZE);
    ck_assert_uint_eq(crc32c_extend(0, all), crc_bitwise(0, all));
    mem_free(bytes);
}

TEST(a_checksum_may_be_continued_anywhere)
{
    struct prng prng;
    uint8_t *bytes = mem_new(SIZE);
    prng_init(&prng, 2);
    for (size_t i = 0; i < SIZE; i++) {
        bytes[i] = (uint8_t) prng_next(&prng);
    }
    uint32_t whole = crc32c_extend(0, span_make(bytes, SIZE));
    for (unsigned i = 0; i < 300; i++) {
        size_t cut = prng_below(&prng, SIZE + 1);
        uint32_t crc = crc32c_extend(0, span_make(bytes, cut));
        ck_assert_uint_eq(crc32c_extend(crc, span_make(bytes + cut, SIZE - cut)), whole);
    }
    mem_free(bytes);
}

TEST(the_checksum_reads_nothing_beyond_the_bytes)
{
    for (size_t size = 1; size < 500; size++) {
        uint8_t *exact = mem_new(size); /* the sanitizer guards both ends */
        struct span span = span_make(exact, size);
        ck_assert_uint_eq(crc32c_extend(0, span), crc32c_extend_portable(0, span));
        mem_free(exact);
    }
}
