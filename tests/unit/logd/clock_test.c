/* Which clock is read when. */
#include "logd/core.h"

#include "tests/lib/test.h"
#include "tests/unit/logd/wished.h"

TEST(entries_of_a_turn_get_one_time_and_delays_the_time_it_is)
{
    struct node node;
    wished_start(&node, &(struct wish){.mode = OPTIONAL});
    uint64_t stamp_us = logd_stamp_us(node.logd);
    wished_time.real_us += 50000;
    ck_assert_uint_eq(logd_stamp_us(node.logd), stamp_us);
    ck_assert_uint_eq(logd_real_ms(node.logd), wished_time.real_us / 1000);
    node_end(&node);
}
