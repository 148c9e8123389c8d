/* Start points: a table. */
#include "logd/start.h"

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "logd/group_state.h"
#include "tests/lib/test.h"

struct row {
    struct start start;
    enum start_gap on_gap;
    uint64_t first;
    uint64_t next;
    int error;
    uint64_t floor;
};

TEST(each_start_has_its_floor)
{
    static const struct row rows[] = {
        {{START_DEFAULT, 0, 0, false}, START_GAP_ERROR, 1, 1, 0, 0},
        {{START_FIRST, 0, 0, false}, START_GAP_ERROR, 1, 101, 0, 0},
        {{START_FIRST, 0, 0, false}, START_GAP_ERROR, 40, 101, 0, 39},
        {{START_LATEST, 0, 0, false}, START_GAP_ERROR, 40, 101, 0, 100},
        {{START_LATEST, 0, 0, false}, START_GAP_ERROR, 1, 1, 0, 0},
        {{START_LAST_N, 10, 0, false}, START_GAP_ERROR, 40, 101, 0, 90},
        {{START_LAST_N, 0, 0, false}, START_GAP_ERROR, 40, 101, 0, 100},
        {{START_LAST_N, 61, 0, false}, START_GAP_ERROR, 40, 101, 0, 39},
        {{START_LAST_N, 62, 0, false}, START_GAP_ERROR, 40, 101, 0, 39},
        {{START_LAST_N, UINT64_MAX, 0, false}, START_GAP_ERROR, 40, 101, 0, 39},
        {{START_OFFSET, 40, 0, false}, START_GAP_ERROR, 40, 101, 0, 39},
        {{START_OFFSET, 101, 0, false}, START_GAP_ERROR, 40, 101, 0, 100},
        {{START_OFFSET, 102, 0, false}, START_GAP_ERROR, 40, 101, ERR_OUT_OF_RANGE, 0},
        {{START_OFFSET, 102, 0, false}, START_GAP_LATEST, 40, 101, ERR_OUT_OF_RANGE, 0},
        {{START_OFFSET, 102, 0, true}, START_GAP_ERROR, 40, 101, 0, 101},
        {{START_OFFSET, 39, 0, false}, START_GAP_ERROR, 40, 101, ERR_OUT_OF_RANGE, 0},
        {{START_OFFSET, 39, 0, false}, START_GAP_FIRST, 40, 101, 0, 39},
        {{START_OFFSET, 39, 0, false}, START_GAP_LATEST, 40, 101, 0, 100},
        {{START_OFFSET, 0, 0, true}, START_GAP_FIRST, 40, 101, ERR_BAD_REQUEST, 0},
        {{START_OFFSET, UINT64_MAX, 0, true}, START_GAP_FIRST, 40, 101, ERR_BAD_REQUEST, 0},
        {{START_TIMESTAMP, 0, 0, false}, START_GAP_ERROR, 40, 101, ERR_UNSUPPORTED, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t floor = 0;
        int error =
            start_resolve(&rows[i].start, rows[i].on_gap, rows[i].first, rows[i].next, &floor);
        ck_assert_msg(error == rows[i].error && floor == rows[i].floor, "row %zu: %s, floor %llu",
                      i, err_name(error), (unsigned long long) floor);
    }
}

TEST(a_start_is_read_from_a_group_configuration)
{
    Railgun__Start at = RAILGUN__START__INIT;
    at.has_at = 1;
    at.at = RAILGUN__START__AT__AT_OFFSET;
    at.has_offset = 1;
    at.offset = 77;
    at.has_allow_future = 1;
    at.allow_future = 1;
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    spec.start = &at;
    uint8_t bytes[64];
    size_t size = railgun__group_spec__pack(&spec, bytes);
    struct start start;
    ck_assert_int_eq(start_of_spec(span_make(bytes, size), &start), 0);
    ck_assert_int_eq((int) start.at, START_OFFSET);
    ck_assert_uint_eq(start.offset, 77);
    ck_assert(start.allow_future);
    ck_assert_int_eq(start_of_spec(span_make(NULL, 0), &start), 0);
    ck_assert_int_eq((int) start.at, START_DEFAULT);
    at.at = (Railgun__Start__At) 9;
    size = railgun__group_spec__pack(&spec, bytes);
    ck_assert_int_eq(start_of_spec(span_make(bytes, size), &start), ERR_BAD_REQUEST);
}
