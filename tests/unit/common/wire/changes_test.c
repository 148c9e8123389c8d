#include "common/wire/changes.h"

#include "common/base/err.h"
#include "common/wire/catalog.pb-c.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"
#include "tests/unit/common/wire/exact.h"

static int head_of(struct span bytes, struct changes_head *ret_head)
{
    struct span copy = exact_copy(bytes);
    int result = changes_read_head(copy, ret_head);
    exact_free(copy);
    return result;
}

TEST(a_head_stands_before_between_or_behind_the_lists)
{
    Railgun__CatalogStream stream = RAILGUN__CATALOG_STREAM__INIT;
    Railgun__CatalogStream *streams[] = {&stream};
    uint64_t deleted[] = {7, 8};
    char name[] = "orders";
    Railgun__CatalogChanges changes = RAILGUN__CATALOG_CHANGES__INIT;
    stream.name = name;
    changes.has_revision = true;
    changes.revision = 300;
    changes.n_streams = 1;
    changes.streams = streams;
    changes.n_groups_deleted = 2;
    changes.groups_deleted = deleted;
    struct buf packed = {0};
    scan_pack(&packed, &changes.base);
    struct changes_head head;
    ck_assert_int_eq(head_of(buf_span(&packed), &head), 0);
    ck_assert_uint_eq(head.revision, 300);
    ck_assert(!head.reset && !head.more);
    buf_append(&packed, SPAN(0x10, 1, 0x18, 1)); /* reset, more */
    ck_assert_int_eq(head_of(buf_span(&packed), &head), 0);
    ck_assert_uint_eq(head.revision, 300);
    ck_assert(head.reset && head.more);
    buf_release(&packed);
}

TEST(an_empty_message_of_changes_says_nothing)
{
    struct changes_head head = {.revision = 1, .reset = true, .more = true};
    ck_assert_int_eq(changes_read_head((struct span){0}, &head), 0);
    ck_assert(head.revision == 0 && !head.reset && !head.more);
}

TEST(changes_that_are_cut_short_give_no_head)
{
    struct changes_head head = {.revision = 1};
    ck_assert_int_eq(head_of(SPAN(0x08, 5, 0x22, 4, 0x12, 9), &head), ERR_PROTOCOL);
    ck_assert_uint_eq(head.revision, 1);
}

TEST(a_head_field_of_another_type_is_passed_over)
{
    struct changes_head head;
    ck_assert_int_eq(head_of(SPAN(0x08, 5, 0x0a, 1, 9), &head), 0);
    ck_assert_uint_eq(head.revision, 5);
}
