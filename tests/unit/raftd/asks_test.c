/* asks: found by index, and by name as long as one about it waits. */
#include "tests/lib/test.h"

#include "raftd/asks.h"

TEST(an_ask_is_taken_by_its_index_and_its_name_is_free_with_the_last)
{
    struct asks *asks = asks_new();
    uint64_t ticket = 0;
    ck_assert(!asks_take(asks, 1, &ticket));
    asks_add(asks, 5, 50, span_of("default/a"));
    asks_add(asks, 6, 60, span_of("default/b"));
    asks_add(asks, 7, 70, span_of("default/a"));
    asks_add(asks, 8, 80, span_of("default/a"));
    ck_assert(!asks_take(asks, 4, &ticket));
    ck_assert_uint_eq(asks_count(asks), 4);
    for (uint64_t i = 5; i <= 8; i++) {
        ck_assert(asks_has_key(asks, span_of("default/a")));
        ck_assert(asks_take(asks, i, &ticket));
        ck_assert_uint_eq(ticket, i * 10);
    }
    ck_assert(!asks_has_key(asks, span_of("default/a")));
    ck_assert(!asks_has_key(asks, span_of("default/b")));
    ck_assert_uint_eq(asks_count(asks), 0);
    asks_add(asks, 9, 90, span_of("default/a"));
    asks_destroy(&asks);
    ck_assert_ptr_null(asks);
    asks_destroy(&asks);
}

TEST(asks_have_a_limit)
{
    struct asks *asks = asks_new();
    for (uint64_t i = 1; i <= ASKS_MAX; i++) {
        ck_assert(!asks_is_full(asks));
        asks_add(asks, i, i, span_of("a"));
    }
    ck_assert(asks_is_full(asks));
    asks_destroy(&asks);
}
