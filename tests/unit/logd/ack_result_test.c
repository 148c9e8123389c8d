/* Results of acknowledgements: joined, limited, encoded. */
#include "logd/ack_result.h"

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "tests/lib/test.h"

TEST(neighbours_with_the_same_result_are_one)
{
    struct ack_results results = {0};
    ack_results_add(&results, 5, 7, ERR_ALREADY);
    ack_results_add(&results, 8, 8, ERR_ALREADY);
    ack_results_add(&results, 9, 9, ERR_STALE_DELIVERY);
    ack_results_add(&results, 11, 12, ERR_STALE_DELIVERY);
    ck_assert_uint_eq(results.count, 3);
    ck_assert_uint_eq(results.items[0].first, 5);
    ck_assert_uint_eq(results.items[0].last, 8);
    ck_assert_uint_eq(results.items[1].last, 9);
    ck_assert_uint_eq(results.items[2].first, 11);
    ack_results_release(&results);
}

TEST(what_is_ok_is_left_out)
{
    struct ack_results results = {0};
    ack_results_add(&results, 1, 9, 0);
    ck_assert_uint_eq(results.count, 0);
    ack_results_release(&results);
}

TEST(the_end_of_numbers_does_not_wrap)
{
    struct ack_results results = {0};
    ack_results_add(&results, 5, UINT64_MAX, ERR_NOT_DELIVERED);
    ack_results_add(&results, 0, 3, ERR_NOT_DELIVERED);
    ck_assert_uint_eq(results.count, 2);
    ack_results_release(&results);
}

TEST(too_many_results_end_in_one_that_covers_the_rest)
{
    struct ack_results results = {0};
    for (uint64_t i = 1; i <= ACK_RESULTS_MAX; i++) {
        ck_assert(!ack_results_is_full(&results));
        ack_results_add(&results, i * 10, i * 10, ERR_ALREADY);
    }
    ck_assert(ack_results_is_full(&results));
    ack_results_add(&results, 500000, 500001, ERR_ALREADY);
    ack_results_add(&results, 400000, 400000, ERR_NOT_DELIVERED);
    ack_results_add(&results, 600000, 600000, ERR_NOT_DELIVERED);
    ck_assert_uint_eq(results.count, ACK_RESULTS_MAX + 1);
    const struct ack_result *last = &results.items[ACK_RESULTS_MAX];
    ck_assert_int_eq(last->error, ERR_OVERLOADED);
    ck_assert_uint_eq(last->first, 400000);
    ck_assert_uint_eq(last->last, 600000);
    ack_results_release(&results);
}

TEST(they_are_read_as_an_ack_ok)
{
    struct ack_results results = {0};
    struct buf bytes = {0};
    ack_results_add(&results, 5, 7, ERR_ALREADY);
    ack_results_add(&results, 1ULL << 40, 1ULL << 41, ERR_NOT_DELIVERED);
    ack_results_encode(&results, &bytes);
    Railgun__AckOk *ok = railgun__ack_ok__unpack(NULL, bytes.size, bytes.data);
    ck_assert_ptr_nonnull(ok);
    ck_assert_uint_eq(ok->n_results, 2);
    ck_assert_uint_eq(ok->results[0]->first, 5);
    ck_assert_uint_eq(ok->results[0]->last, 7);
    ck_assert_uint_eq(ok->results[0]->code, 201);
    ck_assert_uint_eq(ok->results[1]->last, 1ULL << 41);
    ck_assert_uint_eq(ok->results[1]->code, 405);
    railgun__ack_ok__free_unpacked(ok, NULL);
    buf_release(&bytes);
    ack_results_release(&results);
}
