/* reply_to: what is written is read, and nothing else is. */
#include "frontd/reply_to.h"

#include "common/base/err.h"
#include "common/base/name.h"
#include "common/base/rand.h"
#include "tests/lib/test.h"

static struct reply_to written(const struct reply_to *address, uint8_t out[REPLY_TO_SIZE])
{
    struct reply_to read = {0};
    reply_to_write(address, out);
    ck_assert_int_eq(reply_to_read(span_make(out, REPLY_TO_SIZE), &read), 0);
    return read;
}

TEST(an_address_is_read_as_it_was_written)
{
    uint8_t out[REPLY_TO_SIZE];
    struct prng prng;
    prng_init(&prng, 1);
    for (unsigned i = 0; i < 10000; i++) {
        struct reply_to address = {(unsigned) prng_below(&prng, 256), prng_next(&prng),
                                   prng_next(&prng)};
        struct reply_to read = written(&address, out);
        TEST_ASSERT_FAST(read.frontd == address.frontd);
        TEST_ASSERT_FAST(read.request == address.request);
        TEST_ASSERT_FAST(read.secret == address.secret);
        TEST_ASSERT_FAST(reply_to_is_address(span_make(out, REPLY_TO_SIZE)));
    }
}

TEST(an_address_is_never_a_name)
{
    uint8_t out[REPLY_TO_SIZE];
    struct reply_to address = {0, 1, 2};
    reply_to_write(&address, out);
    ck_assert_ptr_nonnull(name_check(span_make(out, REPLY_TO_SIZE)));
    ck_assert(!reply_to_is_address(span_of("a.name")));
    ck_assert(!reply_to_is_address((struct span){0}));
}

TEST(every_changed_byte_is_refused_or_another_address)
{
    uint8_t out[REPLY_TO_SIZE];
    struct reply_to address = {7, UINT64_C(0x0123456789abcdef), UINT64_C(0xfedcba9876543210)};
    struct reply_to read = written(&address, out);
    for (size_t at = 0; at < REPLY_TO_SIZE; at++) {
        uint8_t old = out[at];
        for (unsigned value = 0; value < 256; value++) {
            out[at] = (uint8_t) value;
            int result = reply_to_read(span_make(out, REPLY_TO_SIZE), &read);
            bool is_same = read.frontd == address.frontd && read.request == address.request &&
                           read.secret == address.secret;
            if (value == old) {
                TEST_ASSERT_FAST(result == 0 && is_same);
            } else {
                TEST_ASSERT_FAST(result == ERR_BAD_REQUEST || !is_same);
            }
        }
        out[at] = old;
    }
}

TEST(too_short_and_too_long_addresses_are_refused)
{
    uint8_t out[REPLY_TO_SIZE + 1] = {0};
    struct reply_to address = {1, 2, 3};
    struct reply_to read;
    reply_to_write(&address, out);
    out[REPLY_TO_SIZE] = 'A';
    for (size_t size = 0; size <= REPLY_TO_SIZE + 1; size++) {
        int result = reply_to_read(span_make(out, size), &read);
        ck_assert_int_eq(result, size == REPLY_TO_SIZE ? 0 : ERR_BAD_REQUEST);
    }
}
