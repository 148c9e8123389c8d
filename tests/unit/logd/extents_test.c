/* Extents: order, search by offset, index and time, holes. */
#include "logd/extents.h"

#include "common/base/err.h"
#include "common/store/journal.h"
#include "tests/lib/test.h"

static struct journal_entry entry_of(uint64_t index, uint64_t base, uint32_t count, uint64_t ts_us)
{
    return (struct journal_entry){.type = JOURNAL_ENTRY,
                                  .group = 5,
                                  .term = 1,
                                  .index = index,
                                  .base = base,
                                  .count = count,
                                  .ts_us = ts_us};
}

TEST(entries_that_follow_share_an_extent)
{
    struct extents extents = {0};
    uint64_t position = (uint64_t) 1 << 32 | 4096;
    for (uint64_t i = 1; i <= 1000; i++) {
        struct journal_entry entry = entry_of(i, 1 + (i - 1) * 10, 10, i);
        extents_add(&extents, &entry, position, 200);
        position += 200;
    }
    ck_assert_uint_eq(extents.count, 1);
    ck_assert_uint_eq(extents_last_index(&extents), 1000);
    ck_assert_uint_eq(extents_end_offset(&extents), 10001);
    ck_assert_uint_eq(extents.bytes, 200 * 1000);
    extents_release(&extents);
}

TEST(an_offset_is_found_across_many_extents)
{
    struct extents extents = {0};
    uint64_t position = (uint64_t) 1 << 32 | 4096;
    for (uint64_t i = 1; i <= 3000; i++) {
        bool is_control = i % 7 == 0;
        uint64_t base = extents_end_offset(&extents) == 0 ? 1 : extents_end_offset(&extents);
        struct journal_entry entry = entry_of(i, is_control ? 0 : base, is_control ? 0 : 3, i * 10);
        extents_add(&extents, &entry, position, 200000);
        position += 300000; /* too far apart to share */
    }
    ck_assert_uint_eq(extents.count, 3000);
    uint64_t end = extents_end_offset(&extents);
    for (uint64_t offset = 1; offset < end; offset++) {
        const struct extent *extent = extents_find_offset(&extents, offset);
        ck_assert_ptr_nonnull(extent);
        ck_assert(extent->base <= offset && offset < extent->base + extent->records);
    }
    ck_assert_ptr_null(extents_find_offset(&extents, end));
    ck_assert_uint_eq(extents_find_index(&extents, 1), 0);
    ck_assert_uint_eq(extents_find_index(&extents, 1501), 1500);
    ck_assert_uint_eq(extents_find_index(&extents, 3001), 3000);
    ck_assert_uint_eq(extents_find_time(&extents, 1)->first_index, 1);
    ck_assert_uint_eq(extents_find_time(&extents, 15000)->first_index, 1500);
    ck_assert_uint_eq(extents_find_time(&extents, 70)->first_index, 8); /* 7 is a control entry */
    ck_assert_ptr_null(extents_find_time(&extents, 30001));
    extents_release(&extents);
}

TEST(a_hole_is_seen_as_a_later_base)
{
    struct extents extents = {0};
    struct extent first = {.group = 5, .first_index = 1, .last_index = 2, .base = 1, .records = 20};
    struct extent second = {
        .group = 5, .first_index = 5, .last_index = 6, .base = 51, .records = 20};
    ck_assert_int_eq(extents_push(&extents, &first), 0);
    ck_assert_int_eq(extents_push(&extents, &second), 0);
    ck_assert_uint_eq(extents_find_offset(&extents, 20)->base, 1);
    ck_assert_uint_eq(extents_find_offset(&extents, 21)->base, 51);
    ck_assert_uint_eq(extents_find_offset(&extents, 50)->base, 51);
    extents_release(&extents);
}

TEST(what_does_not_lie_behind_is_refused)
{
    struct extents extents = {0};
    struct extent first = {
        .group = 5, .first_index = 3, .last_index = 4, .base = 11, .records = 20};
    ck_assert_int_eq(extents_push(&extents, &first), 0);
    struct extent same_index = first;
    ck_assert_int_eq(extents_push(&extents, &same_index), ERR_BAD_FORMAT);
    struct extent same_offset = {
        .group = 5, .first_index = 5, .last_index = 5, .base = 30, .records = 2};
    ck_assert_int_eq(extents_push(&extents, &same_offset), ERR_BAD_FORMAT);
    struct extent endless = {
        .group = 5, .first_index = 5, .last_index = 5, .base = 31, .records = UINT64_MAX};
    ck_assert_int_eq(extents_push(&extents, &endless), ERR_BAD_FORMAT);
    struct extent backwards = {.group = 5, .first_index = 9, .last_index = 8};
    ck_assert_int_eq(extents_push(&extents, &backwards), ERR_BAD_FORMAT);
    ck_assert_uint_eq(extents.count, 1);
    extents_release(&extents);
}
