/* rand: known numbers, fair bounds, and randomness that differs. */
#include "common/base/rand.h"

#include <string.h>

#include "tests/lib/test.h"
#include "tests/unit/common/base/abort_lib.h"

static void draw_below_zero(void)
{
    struct prng prng;
    prng_init(&prng, 1);
    (void) prng_below(&prng, 0);
}

TEST(the_generator_gives_the_published_numbers)
{
    /* xoshiro256** from the state {1, 2, 3, 4}. */
    static const uint64_t expected[] = {11520, 0, 1509978240, UINT64_C(1215971899390074240)};
    struct prng prng = {{1, 2, 3, 4}};
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_uint_eq(prng_next(&prng), expected[i]);
    }
    /* splitmix64 from the seed 0. */
    prng_init(&prng, 0);
    ck_assert_uint_eq(prng.state[0], UINT64_C(0xe220a8397b1dcdaf));
    ck_assert_uint_eq(prng.state[1], UINT64_C(0x6e789e6aa1b965f4));
}

TEST(the_same_seed_gives_the_same_numbers)
{
    struct prng a;
    struct prng b;
    struct prng c;
    unsigned same = 0;
    prng_init(&a, 42);
    prng_init(&b, 42);
    prng_init(&c, 43);
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t number = prng_next(&a);
        ck_assert_uint_eq(number, prng_next(&b));
        same += number == prng_next(&c);
    }
    ck_assert_uint_eq(same, 0);
}

TEST(numbers_below_a_bound_are_equally_likely)
{
    struct prng prng;
    unsigned counts[7] = {0};
    prng_init(&prng, 1);
    for (unsigned i = 0; i < 70000; i++) {
        uint64_t number = prng_below(&prng, 7);
        ck_assert_uint_lt(number, 7);
        counts[number]++;
    }
    for (unsigned i = 0; i < 7; i++) {
        ck_assert_uint_gt(counts[i], 9500);
        ck_assert_uint_lt(counts[i], 10500);
    }
    /* A bound of three quarters of all: without drawing again one third would come twice as often. */
    uint64_t bound = UINT64_C(3) << 62;
    unsigned low = 0;
    for (unsigned i = 0; i < 30000; i++) {
        uint64_t number = prng_below(&prng, bound);
        ck_assert(number < bound);
        low += number % 3 == 0;
    }
    ck_assert_uint_gt(low, 9500);
    ck_assert_uint_lt(low, 10500);
    ck_assert_uint_eq(prng_below(&prng, 1), 0);
    ck_assert(ends_by_abort(draw_below_zero));
}

TEST(entropy_fills_all_bytes_and_differs)
{
    uint8_t once[500] = {0};
    uint8_t again[500] = {0};
    unsigned zeros = 0;
    entropy_fill(once, sizeof(once) - 1);
    entropy_fill(again, sizeof(again) - 1);
    ck_assert_mem_ne(once, again, sizeof(once));
    ck_assert_uint_eq(once[sizeof(once) - 1], 0);
    for (size_t i = 0; i < sizeof(once); i++) {
        zeros += once[i] == 0 && again[i] == 0;
    }
    ck_assert_uint_le(zeros, 3);
    ck_assert_uint_ne(entropy_u64(), entropy_u64());
    entropy_fill(once, 0);
}
