/* ranges: by hand where one can see it, then against an array of numbers, then large. */
#include "common/base/ranges.h"

#include <string.h>

#include "common/base/mem.h"
#include "common/base/rand.h"

#include "tests/lib/test.h"

static void check_lowest(const struct ranges *ranges, uint64_t first, uint64_t last, uint64_t value)
{
    struct range range = {0};
    ck_assert(ranges_lowest(ranges, &range));
    ck_assert_uint_eq(range.first, first);
    ck_assert_uint_eq(range.last, last);
    ck_assert_uint_eq(range.value, value);
}

TEST(ranges_are_empty_at_first)
{
    struct ranges *ranges = ranges_new();
    struct range range = {7, 7, 7};
    ck_assert_uint_eq(ranges_count(ranges), 0);
    ck_assert_uint_eq(ranges_total(ranges), 0);
    ck_assert(!ranges_find(ranges, 0, &range));
    ck_assert(!ranges_find_from(ranges, 0, &range));
    ck_assert(!ranges_lowest(ranges, &range));
    ck_assert(!ranges_highest(ranges, &range));
    ck_assert_uint_eq(range.first, 7);
    ck_assert_uint_eq(ranges_clear_range(ranges, 0, UINT64_MAX), 0);
    ck_assert(ranges_invariant(ranges));
    ranges_destroy(&ranges);
    ck_assert_ptr_null(ranges);
    ranges_destroy(&ranges);
}

TEST(neighbouring_ranges_with_equal_values_become_one)
{
    struct ranges *ranges = ranges_new();
    ranges_set(ranges, 10, 19, 1);
    ranges_set(ranges, 30, 39, 1);
    ck_assert_uint_eq(ranges_count(ranges), 2);
    ranges_set(ranges, 20, 29, 1);
    ck_assert_uint_eq(ranges_count(ranges), 1);
    check_lowest(ranges, 10, 39, 1);
    ranges_set(ranges, 40, 40, 2);
    ck_assert_uint_eq(ranges_count(ranges), 2);
    ck_assert_uint_eq(ranges_total(ranges), 31);
    ck_assert(ranges_invariant(ranges));
    ranges_destroy(&ranges);
}

TEST(a_range_inside_another_cuts_it_in_three)
{
    struct ranges *ranges = ranges_new();
    struct range range = {0};
    ranges_set(ranges, 10, 19, 1);
    ranges_set(ranges, 15, 15, 2);
    ck_assert_uint_eq(ranges_count(ranges), 3);
    check_lowest(ranges, 10, 14, 1);
    ck_assert(ranges_find(ranges, 15, &range));
    ck_assert_uint_eq(range.value, 2);
    ck_assert(ranges_highest(ranges, &range));
    ck_assert_uint_eq(range.first, 16);
    ck_assert_uint_eq(range.last, 19);
    ranges_set(ranges, 15, 15, 1);
    ck_assert_uint_eq(ranges_count(ranges), 1);
    ranges_destroy(&ranges);
}

TEST(clearing_tells_how_many_numbers_were_covered)
{
    struct ranges *ranges = ranges_new();
    struct range range = {0};
    ranges_set(ranges, 10, 19, 0);
    ranges_set(ranges, 30, 39, 0);
    ck_assert_uint_eq(ranges_clear_range(ranges, 15, 34), 10);
    ck_assert_uint_eq(ranges_total(ranges), 10);
    ck_assert_uint_eq(ranges_clear_range(ranges, 12, 12), 1);
    ck_assert_uint_eq(ranges_clear_range(ranges, 12, 12), 0);
    ck_assert_uint_eq(ranges_count(ranges), 3);
    ck_assert(!ranges_find(ranges, 12, &range));
    ck_assert(ranges_find_from(ranges, 12, &range));
    ck_assert_uint_eq(range.first, 13);
    ck_assert(ranges_find_from(ranges, 15, &range));
    ck_assert_uint_eq(range.first, 35);
    ck_assert(!ranges_find_from(ranges, 40, &range));
    ranges_clear(ranges);
    ck_assert_uint_eq(ranges_count(ranges), 0);
    ck_assert_uint_eq(ranges_total(ranges), 0);
    ck_assert(ranges_invariant(ranges));
    ranges_destroy(&ranges);
}

TEST(ranges_reach_to_both_ends_of_the_numbers)
{
    struct ranges *ranges = ranges_new();
    struct range range = {0};
    ranges_set(ranges, 0, 0, 5);
    ranges_set(ranges, UINT64_MAX, UINT64_MAX, 5);
    ck_assert_uint_eq(ranges_count(ranges), 2);
    ck_assert(ranges_find(ranges, UINT64_MAX, &range));
    ck_assert_uint_eq(range.first, UINT64_MAX);
    ranges_set(ranges, 1, UINT64_MAX - 1, 5);
    ck_assert_uint_eq(ranges_count(ranges), 1);
    check_lowest(ranges, 0, UINT64_MAX, 5);
    (void) ranges_clear_range(ranges, 1, UINT64_MAX - 1);
    ck_assert_uint_eq(ranges_total(ranges), 2);
    ck_assert_uint_eq(ranges_clear_range(ranges, 0, UINT64_MAX), 2);
    ck_assert(ranges_invariant(ranges));
    ranges_destroy(&ranges);
}

/* --- against a model: one cell for each number, 0 = not covered, else value + 1 --- */

enum { MODEL_SIZE = 4096, MODEL_SIZE_LARGE = 1 << 17 };

static uint8_t model[MODEL_SIZE_LARGE];
static uint64_t model_size; /* how many of them are in use */

static void model_reset(uint64_t size)
{
    model_size = size;
    memset(model, 0, sizeof(model));
}

static uint64_t model_change(uint64_t first, uint64_t last, uint8_t cell)
{
    uint64_t covered = 0;
    for (uint64_t i = first; i <= last; i++) {
        covered += model[i] != 0;
        model[i] = cell;
    }
    return covered;
}

/* The first range of the model whose last >= number; false if none. */
static bool model_find_from(uint64_t number, struct range *ret_range)
{
    while (number < model_size && model[number] == 0) {
        number++;
    }
    if (number >= model_size) {
        return false;
    }
    struct range range = {number, number, model[number] - 1u};
    while (range.first > 0 && model[range.first - 1] == model[number]) {
        range.first--;
    }
    while (range.last + 1 < model_size && model[range.last + 1] == model[number]) {
        range.last++;
    }
    *ret_range = range;
    return true;
}

static void check_find(const struct ranges *ranges, uint64_t number)
{
    struct range want = {0};
    struct range got = {0};
    bool found = model_find_from(number, &want);
    TEST_ASSERT_FAST(ranges_find_from(ranges, number, &got) == found);
    TEST_ASSERT_FAST(memcmp(&want, &got, sizeof(got)) == 0);
    found = found && want.first <= number;
    got = (struct range){0};
    TEST_ASSERT_FAST(ranges_find(ranges, number, &got) == found);
    if (found) {
        TEST_ASSERT_FAST(memcmp(&want, &got, sizeof(got)) == 0);
    }
}

static void check_all(const struct ranges *ranges)
{
    struct range want = {0};
    struct range got = {0};
    uint64_t number = 0;
    uint64_t total = 0;
    size_t count = 0;
    while (model_find_from(number, &want)) {
        TEST_ASSERT_FAST(ranges_find_from(ranges, number, &got));
        TEST_ASSERT_FAST(memcmp(&want, &got, sizeof(got)) == 0);
        number = want.last + 1;
        total += want.last - want.first + 1;
        count++;
    }
    TEST_ASSERT_FAST(!ranges_find_from(ranges, number, &got));
    TEST_ASSERT_FAST(ranges_count(ranges) == count);
    TEST_ASSERT_FAST(ranges_total(ranges) == total);
    TEST_ASSERT_FAST(ranges_lowest(ranges, &got) == (count > 0));
    TEST_ASSERT_FAST(count == 0 || (model_find_from(0, &want) && got.first == want.first));
    TEST_ASSERT_FAST(ranges_highest(ranges, &got) == (count > 0));
    TEST_ASSERT_FAST(count == 0 || got.last == number - 1);
}

/* `spread` is the longest range, `values` how many values there are, `clears` of 100 changes uncover. */
static void run_model(uint64_t seed, uint64_t spread, uint64_t values, uint64_t clears,
                      unsigned steps)
{
    struct ranges *ranges = ranges_new();
    struct prng prng;

    prng_init(&prng, seed);
    model_reset(MODEL_SIZE);
    for (unsigned step = 0; step < steps; step++) {
        uint64_t first = prng_below(&prng, model_size);
        uint64_t length = 1 + prng_below(&prng, spread);
        uint64_t last = first + length <= model_size ? first + length - 1 : model_size - 1;
        if (prng_below(&prng, 100) < clears) {
            uint64_t covered = model_change(first, last, 0);
            TEST_ASSERT_FAST(ranges_clear_range(ranges, first, last) == covered);
        } else {
            uint64_t value = prng_below(&prng, values);
            (void) model_change(first, last, (uint8_t) (value + 1));
            ranges_set(ranges, first, last, value);
        }
        TEST_ASSERT_FAST(ranges_invariant(ranges));
        for (uint64_t near = first > 1 ? first - 2 : 0; near < first + 3; near++) {
            check_find(ranges, near);
        }
        check_find(ranges, last + 1);
        check_find(ranges, prng_below(&prng, model_size));
        if (step % 256 == 0) {
            check_all(ranges);
        }
    }
    check_all(ranges);
    ranges_destroy(&ranges);
}

TEST_WITHIN(ranges_agree_with_a_model_when_short_ranges_make_a_large_tree, 40)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        run_model(seed, 1, 3, 30, 12000);
        run_model(seed, 3, 2, 45, 12000);
    }
}

TEST_WITHIN(ranges_agree_with_a_model_when_long_ranges_cover_whole_leaves, 40)
{
    for (uint64_t seed = 11; seed <= 13; seed++) {
        run_model(seed, 600, 4, 50, 4000);
        run_model(seed, 40, 200, 30, 6000);
    }
}

TEST_WITHIN(ranges_agree_with_a_model_when_a_full_tree_is_worn_down, 40)
{
    struct ranges *ranges = ranges_new();
    struct prng prng;
    prng_init(&prng, 21);
    for (unsigned round = 0; round < 3; round++) {
        model_reset(MODEL_SIZE);
        for (uint64_t i = 0; i < model_size; i += 2) {
            (void) model_change(i, i, 1);
            ranges_set(ranges, i, i, 0);
        }
        check_all(ranges);
        while (ranges_count(ranges) > 0) {
            uint64_t first = prng_below(&prng, model_size);
            uint64_t last = first + prng_below(&prng, 1 + round * 8);
            last = last < model_size ? last : model_size - 1;
            uint64_t covered = model_change(first, last, 0);
            TEST_ASSERT_FAST(ranges_clear_range(ranges, first, last) == covered);
            if (covered > 0) {
                TEST_ASSERT_FAST(ranges_invariant(ranges));
                check_find(ranges, first);
                check_find(ranges, last);
            }
        }
        check_all(ranges);
    }
    ranges_destroy(&ranges);
}

TEST_WITHIN(ranges_agree_with_a_model_when_the_tree_is_high, 60)
{
    struct ranges *ranges = ranges_new();
    struct prng prng;
    prng_init(&prng, 41);
    model_reset(MODEL_SIZE_LARGE);
    for (unsigned step = 0; step < 600000; step++) {
        /* Single numbers in any order fill nodes from within; then long clears cross their borders. */
        bool filling = step / 100000 % 2 == 0;
        uint64_t first = prng_below(&prng, model_size);
        if (filling || prng_below(&prng, 10) != 0) {
            uint64_t value = prng_below(&prng, 3);
            (void) model_change(first, first, (uint8_t) (value + 1));
            ranges_set(ranges, first, first, value);
        } else {
            uint64_t last = first + prng_below(&prng, 150);
            last = last < model_size ? last : model_size - 1;
            uint64_t covered = model_change(first, last, 0);
            TEST_ASSERT_FAST(ranges_clear_range(ranges, first, last) == covered);
        }
        check_find(ranges, first);
        if (step % 10000 == 0) {
            TEST_ASSERT_FAST(ranges_invariant(ranges));
            check_all(ranges);
        }
    }
    check_all(ranges);
    ranges_destroy(&ranges);
}

TEST_WITHIN(a_million_ranges_are_found_merged_and_cleared, 60)
{
    enum { COUNT = 1000000 };
    struct ranges *ranges = ranges_new();
    struct range range = {0};
    struct prng prng;

    for (uint64_t i = 0; i < COUNT; i++) {
        ranges_set(ranges, 4 * i, 4 * i + 1, 0);
    }
    TEST_ASSERT_FAST(ranges_count(ranges) == COUNT);
    TEST_ASSERT_FAST(ranges_total(ranges) == 2 * COUNT);
    TEST_ASSERT_FAST(ranges_invariant(ranges));
    prng_init(&prng, 31);
    for (unsigned i = 0; i < COUNT; i++) {
        uint64_t number = prng_below(&prng, 4 * COUNT);
        TEST_ASSERT_FAST(ranges_find(ranges, number, &range) == (number % 4 < 2));
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        uint64_t hole = 4 * (i * 7 % COUNT) + 2;
        ranges_set(ranges, hole, hole + 1, 0);
    }
    TEST_ASSERT_FAST(ranges_count(ranges) == 1);
    TEST_ASSERT_FAST(ranges_total(ranges) == 4 * COUNT);
    TEST_ASSERT_FAST(ranges_invariant(ranges));
    for (uint64_t i = 0; i < COUNT; i++) {
        TEST_ASSERT_FAST(ranges_clear_range(ranges, 4 * i, 4 * i) == 1);
    }
    TEST_ASSERT_FAST(ranges_count(ranges) == COUNT);
    TEST_ASSERT_FAST(ranges_clear_range(ranges, 5, 4 * COUNT - 6) == 3 * COUNT - 7);
    TEST_ASSERT_FAST(ranges_invariant(ranges));
    TEST_ASSERT_FAST(ranges_total(ranges) == 7);
    ranges_destroy(&ranges);
}

TEST(a_window_that_wanders_for_long_stays_small)
{
    struct ranges *ranges = ranges_new();
    for (uint64_t i = 0; i < 300000; i++) {
        ranges_set(ranges, i, i, i % 3);
        if (i >= 1000) {
            TEST_ASSERT_FAST(ranges_clear_range(ranges, i - 1000, i - 1000) == 1);
        }
    }
    TEST_ASSERT_FAST(ranges_count(ranges) == 1000);
    check_lowest(ranges, 299000, 299000, 299000 % 3);
    TEST_ASSERT_FAST(ranges_invariant(ranges));
    ranges_destroy(&ranges);
}
