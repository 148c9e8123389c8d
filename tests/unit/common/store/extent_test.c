/* extent: what joins, and what begins a new one. */
#include "common/store/extent.h"

#include "common/store/journal.h"
#include "tests/lib/test.h"

static const uint64_t FILE_1 = UINT64_C(1) << 32;

static struct journal_entry entry_at(uint64_t index, uint32_t count)
{
    return (struct journal_entry){.type = JOURNAL_ENTRY,
                                  .group = 7,
                                  .term = 2,
                                  .index = index,
                                  .base = count != 0 ? index * 10 : 0,
                                  .count = count,
                                  .ts_us = index};
}

TEST(consecutive_entries_join)
{
    struct journal_entry first = entry_at(5, 10);
    struct journal_entry second = entry_at(6, 4);
    struct extent extent = extent_of(&first, FILE_1 + 4096, 200);
    ck_assert(extent_add(&extent, &second, FILE_1 + 4296, 104));
    ck_assert_uint_eq(extent.bytes, 304);
    ck_assert_uint_eq(extent.own_bytes, 304);
    ck_assert_uint_eq(extent.last_index, 6);
    ck_assert_uint_eq(extent.base, 50);
    ck_assert_uint_eq(extent.records, 14);
    ck_assert_uint_eq(extent.first_ts_us, 5);
    ck_assert_uint_eq(extent.last_ts_us, 6);
    ck_assert(!extent.has_control);
}

TEST(what_does_not_continue_starts_anew)
{
    struct journal_entry first = entry_at(5, 10);
    struct extent extent = extent_of(&first, FILE_1 + 4096, 200);
    struct extent before = extent;
    struct journal_entry next = entry_at(6, 4);
    struct journal_entry other = next;

    other.index = 7;
    ck_assert(!extent_add(&extent, &other, FILE_1 + 4296, 104));
    other = next;
    other.term = 3;
    ck_assert(!extent_add(&extent, &other, FILE_1 + 4296, 104));
    other = next;
    other.base = 61;
    ck_assert(!extent_add(&extent, &other, FILE_1 + 4296, 104));
    other = next;
    other.group = 8;
    ck_assert(!extent_add(&extent, &other, FILE_1 + 4296, 104));
    ck_assert(!extent_add(&extent, &next, (FILE_1 << 1) + 4296, 104));
    ck_assert(!extent_add(&extent, &next, FILE_1 + 4096, 104));
    ck_assert(!extent_add(&extent, &next, FILE_1 + 4296 + EXTENT_SPAN_MAX, 104));
    ck_assert_uint_eq(extent.bytes, before.bytes);
    ck_assert_uint_eq(extent.last_index, before.last_index);
    ck_assert(extent_add(&extent, &next, FILE_1 + 4296, 104));
}

TEST(control_entries_join_without_offsets)
{
    struct journal_entry control = entry_at(5, 0);
    struct journal_entry data = entry_at(6, 10);
    struct journal_entry more = entry_at(7, 0);
    struct extent extent = extent_of(&control, FILE_1 + 4096, 80);
    ck_assert_uint_eq(extent.records, 0);
    ck_assert(extent.has_control);
    ck_assert(extent_add(&extent, &data, FILE_1 + 4176, 200));
    ck_assert_uint_eq(extent.base, 60);
    ck_assert_uint_eq(extent.records, 10);
    ck_assert(extent_add(&extent, &more, FILE_1 + 4376, 80));
    ck_assert_uint_eq(extent.records, 10);
}

TEST(the_span_is_limited_and_must_be_mostly_own)
{
    struct journal_entry one = entry_at(1, 10);
    struct journal_entry two = entry_at(2, 10);
    /* Exactly the limit is allowed, one more is not. */
    struct extent extent = extent_of(&one, FILE_1 + 4096, 200000);
    ck_assert(extent_add(&extent, &two, FILE_1 + 204096, EXTENT_SPAN_MAX - 200000));
    ck_assert_uint_eq(extent.bytes, EXTENT_SPAN_MAX);
    extent = extent_of(&one, FILE_1 + 4096, 200000);
    ck_assert(!extent_add(&extent, &two, FILE_1 + 204096, EXTENT_SPAN_MAX - 200000 + 1));
    /* Up to 64 KiB others may lie in between; above that half must be own. */
    extent = extent_of(&one, FILE_1 + 4096, 100);
    ck_assert(extent_add(&extent, &two, FILE_1 + 4096 + (64 << 10) - 100, 100));
    extent = extent_of(&one, FILE_1 + 4096, 100);
    ck_assert(!extent_add(&extent, &two, FILE_1 + 4096 + (64 << 10) - 99, 100));
    extent = extent_of(&one, FILE_1 + 4096, 40000);
    ck_assert(extent_add(&extent, &two, FILE_1 + 4096 + 60000, 20000));
    extent = extent_of(&one, FILE_1 + 4096, 40000);
    ck_assert(!extent_add(&extent, &two, FILE_1 + 4096 + 120001, 40000));
    extent = extent_of(&one, FILE_1 + 4096, 40000);
    ck_assert(extent_add(&extent, &two, FILE_1 + 4096 + 120000, 40000));
}

TEST(the_last_index_there_is_has_no_successor)
{
    struct journal_entry last = entry_at(UINT64_MAX, 0);
    struct extent extent = extent_of(&last, FILE_1 + 4096, 80);
    struct journal_entry wrapped = entry_at(0, 0);
    ck_assert(!extent_add(&extent, &wrapped, FILE_1 + 4176, 80));
}
