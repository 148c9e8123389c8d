/* clock: the system's clocks run, the manual one stands still. */
#include "common/base/clock.h"

#include <time.h>

#include "tests/lib/test.h"

TEST(the_monotonic_clock_never_goes_back)
{
    const struct timesource *source = timesource_system();
    uint64_t before = timesource_monotonic_us(source);
    ck_assert_uint_gt(before, 0);
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t now = timesource_monotonic_us(source);
        ck_assert(now >= before);
        before = now;
    }
    ck_assert_uint_ge(timesource_monotonic_ms(source), before / 1000);
}

TEST(the_real_clock_gives_microseconds_since_1970)
{
    uint64_t before = (uint64_t) time(NULL);
    uint64_t now_s = timesource_real_us(timesource_system()) / 1000000;
    ck_assert_uint_ge(now_s + 2, before);
    ck_assert_uint_le(now_s, (uint64_t) time(NULL) + 2);
}

TEST(a_manual_clock_shows_what_its_hands_show)
{
    struct timesource_manual hands = {.monotonic_us = 1999, .real_us = 5};
    struct timesource source = timesource_manual_make(&hands);
    ck_assert_uint_eq(timesource_monotonic_us(&source), 1999);
    ck_assert_uint_eq(timesource_monotonic_ms(&source), 1);
    ck_assert_uint_eq(timesource_real_us(&source), 5);
    hands.monotonic_us = 2000;
    hands.real_us = 4;
    ck_assert_uint_eq(timesource_monotonic_ms(&source), 2);
    ck_assert_uint_eq(timesource_real_us(&source), 4);
}
