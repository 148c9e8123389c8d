/* spec_diff: which fields of a group differ from what a consumer asked for. */
#include "tests/lib/test.h"

#include "common/wire/scan.h"
#include "frontd/spec_diff.h"

TEST(every_field_that_is_asked_for_and_differs_is_listed_and_nothing_else)
{
    uint64_t wanted_backoff[] = {1, 2};
    uint64_t stored_backoff[] = {1};
    char dead[] = "dead";
    Railgun__DlqSpec wanted_dlq = RAILGUN__DLQ_SPEC__INIT;
    Railgun__DlqSpec stored_dlq = RAILGUN__DLQ_SPEC__INIT;
    Railgun__GroupSpec wanted = RAILGUN__GROUP_SPEC__INIT;
    Railgun__GroupSpec stored = RAILGUN__GROUP_SPEC__INIT;
    Railgun__Start start = RAILGUN__START__INIT;
    struct buf out = {0};
    wanted.has_mode = 1;
    wanted.mode = RAILGUN__GROUP_SPEC__MODE__MODE_EXCLUSIVE;
    wanted.backoff_ms = wanted_backoff;
    wanted.n_backoff_ms = 2;
    wanted.dlq = &wanted_dlq;
    wanted_dlq.stream = dead;
    wanted_dlq.has_on_error = 1;
    wanted.has_max_holes = 1;
    wanted.max_holes = 5;
    wanted.start = &start;
    start.has_offset = 1;
    stored.has_mode = 1;
    stored.has_max_holes = 1;
    stored.max_holes = 5;
    stored.has_ack_wait_ms = 1;
    stored.ack_wait_ms = 9; /* not asked for */
    stored.backoff_ms = stored_backoff;
    stored.n_backoff_ms = 1;
    stored.dlq = &stored_dlq;
    stored_dlq.has_on_error = 1;
    ck_assert_uint_eq(spec_diff_group(&out, 10, &wanted, &stored), 3);
    Railgun__Error *error = NULL; /* field 10 is its list */
    ck_assert_int_eq(SCAN_UNPACK(buf_span(&out), railgun__error, &error), 0);
    ck_assert_uint_eq(error->n_diff, 3);
    ck_assert_str_eq(error->diff[0]->path, "mode");
    ck_assert_str_eq(error->diff[0]->current, "shared");
    ck_assert_str_eq(error->diff[0]->wanted, "exclusive");
    ck_assert_str_eq(error->diff[0]->class_, "immutable");
    ck_assert_str_eq(error->diff[1]->path, "backoff_ms");
    ck_assert_str_eq(error->diff[1]->wanted, "1,2");
    ck_assert_str_eq(error->diff[2]->path, "dlq.stream");
    ck_assert_str_eq(error->diff[2]->current, "");
    ck_assert_str_eq(error->diff[2]->wanted, "dead");
    SCAN_FREE(&error);
    buf_reset(&out);
    stored.dlq = NULL; /* of an older version */
    ck_assert_uint_eq(spec_diff_group(&out, 10, &wanted, &stored), 4);
    buf_release(&out);
}
