/* wheel: by hand, and against a plain array of due times. */
#include "common/base/wheel.h"

#include <string.h>

#include "common/base/rand.h"

#include "tests/lib/test.h"

enum { TIMERS = 200 };

/* What the callbacks have seen. */
struct record {
    struct wheel *wheel;
    struct wheel_timer *fired[TIMERS];
    unsigned count;
};

static void record_fire(struct wheel_timer *timer, void *ud)
{
    struct record *record = ud;
    TEST_ASSERT_FAST(!wheel_timer_is_running(timer));
    TEST_ASSERT_FAST(record->count < TIMERS);
    record->fired[record->count++] = timer;
}

TEST(a_timer_fires_once_when_it_is_due)
{
    struct record record = {0};
    struct wheel_timer timer;
    struct wheel *wheel = wheel_new(1000);
    wheel_timer_init(&timer, record_fire, &record);
    ck_assert(!wheel_timer_is_running(&timer));
    ck_assert_uint_eq(wheel_next_due_ms(wheel), UINT64_MAX);
    wheel_add(wheel, &timer, 1500);
    ck_assert(wheel_timer_is_running(&timer));
    ck_assert_uint_le(wheel_next_due_ms(wheel), 1500);
    ck_assert_uint_gt(wheel_next_due_ms(wheel), 1000);
    ck_assert_uint_eq(wheel_run(wheel, 1499), 0);
    ck_assert_uint_eq(wheel_next_due_ms(wheel), 1500);
    ck_assert_uint_eq(wheel_run(wheel, 1500), 1);
    ck_assert_uint_eq(wheel_run(wheel, 1501), 0);
    ck_assert_uint_eq(record.count, 1);
    ck_assert(!wheel_timer_is_running(&timer));
    ck_assert_uint_eq(wheel_next_due_ms(wheel), UINT64_MAX);
    wheel_destroy(&wheel);
    ck_assert_ptr_null(wheel);
    wheel_destroy(&wheel);
}

TEST(a_timer_that_was_due_before_fires_at_the_next_run)
{
    struct record record = {0};
    struct wheel_timer timers[3];
    struct wheel *wheel = wheel_new(1000);
    for (unsigned i = 0; i < 3; i++) {
        wheel_timer_init(&timers[i], record_fire, &record);
    }
    wheel_add(wheel, &timers[0], 1000);
    wheel_add(wheel, &timers[1], 5);
    wheel_add(wheel, &timers[2], 900);
    ck_assert_uint_eq(wheel_next_due_ms(wheel), 5);
    ck_assert_uint_eq(wheel_run(wheel, 999), 2); /* a time before the wheel's own */
    ck_assert_ptr_eq(record.fired[0], &timers[1]);
    ck_assert_ptr_eq(record.fired[1], &timers[2]);
    ck_assert_uint_le(wheel_next_due_ms(wheel), 1000);
    ck_assert_uint_eq(wheel_run(wheel, 1000), 1);
    wheel_add(wheel, &timers[0], 0);
    wheel_cancel(wheel, &timers[0]);
    ck_assert_uint_eq(wheel_next_due_ms(wheel), UINT64_MAX);
    wheel_destroy(&wheel);
}

TEST(timers_fire_in_order_of_due_time_even_after_a_long_pause)
{
    static const uint64_t dues[] = {70, 5000, 1, 300000, 64, 63, 4096, 71, 0, 262144};
    enum { COUNT = sizeof(dues) / sizeof(dues[0]) };
    struct record record = {0};
    struct wheel_timer timers[COUNT];
    struct wheel *wheel = wheel_new(10);
    for (unsigned i = 0; i < COUNT; i++) {
        wheel_timer_init(&timers[i], record_fire, &record);
        wheel_add(wheel, &timers[i], dues[i]);
    }
    ck_assert_uint_eq(wheel_run(wheel, UINT64_C(1) << 40), COUNT);
    for (unsigned i = 1; i < COUNT; i++) {
        ck_assert_uint_lt(record.fired[i - 1]->due_ms, record.fired[i]->due_ms);
    }
    wheel_destroy(&wheel);
}

TEST(moving_and_cancelling_take_effect)
{
    struct record record = {0};
    struct wheel_timer timer;
    struct wheel *wheel = wheel_new(0);
    wheel_timer_init(&timer, record_fire, &record);
    wheel_cancel(wheel, &timer);
    wheel_add(wheel, &timer, 10);
    wheel_add(wheel, &timer, 100000);
    ck_assert_uint_eq(wheel_run(wheel, 50), 0);
    wheel_add(wheel, &timer, 60);
    ck_assert_uint_eq(wheel_next_due_ms(wheel), 60);
    wheel_cancel(wheel, &timer);
    ck_assert(!wheel_timer_is_running(&timer));
    ck_assert_uint_eq(wheel_next_due_ms(wheel), UINT64_MAX);
    ck_assert_uint_eq(wheel_run(wheel, 1000000), 0);
    wheel_destroy(&wheel);
}

TEST(the_last_millisecond_can_be_due)
{
    struct record record = {0};
    struct wheel_timer timer;
    struct wheel *wheel = wheel_new(0);
    wheel_timer_init(&timer, record_fire, &record);
    wheel_add(wheel, &timer, UINT64_MAX);
    ck_assert_uint_eq(wheel_run(wheel, UINT64_MAX - 1), 0);
    ck_assert(wheel_timer_is_running(&timer));
    ck_assert_uint_eq(wheel_run(wheel, UINT64_MAX), 1);
    wheel_destroy(&wheel);
}

static void add_again(struct wheel_timer *timer, void *ud)
{
    struct record *record = ud;
    record->count++;
    wheel_add(record->wheel, timer, timer->due_ms);
}

TEST(a_timer_added_while_firing_waits_for_the_next_run)
{
    struct wheel_timer timer;
    struct record record = {.wheel = wheel_new(0)};
    wheel_timer_init(&timer, add_again, &record);
    wheel_add(record.wheel, &timer, 10);
    ck_assert_uint_eq(wheel_run(record.wheel, 20), 1);
    ck_assert_uint_eq(record.count, 1);
    ck_assert_uint_eq(wheel_next_due_ms(record.wheel), 10);
    ck_assert_uint_eq(wheel_run(record.wheel, 20), 1);
    ck_assert_uint_eq(record.count, 2);
    wheel_destroy(&record.wheel);
    ck_assert(!wheel_timer_is_running(&timer));
}

struct pair {
    struct wheel *wheel;
    struct wheel_timer timers[3];
    unsigned fired;
};

/* Whichever comes first stops one and moves the other. */
static void disturb_others(struct wheel_timer *timer, void *ud)
{
    struct pair *pair = ud;
    ck_assert_ptr_eq(timer, &pair->timers[0]);
    pair->fired++;
    wheel_cancel(pair->wheel, &pair->timers[1]);
    wheel_add(pair->wheel, &pair->timers[2], 1000);
}

TEST(a_timer_that_is_due_can_still_be_stopped_or_moved_by_another)
{
    struct pair pair = {.wheel = wheel_new(0)};
    for (unsigned i = 0; i < 3; i++) {
        wheel_timer_init(&pair.timers[i], disturb_others, &pair);
        wheel_add(pair.wheel, &pair.timers[i], 10 + i);
    }
    ck_assert_uint_eq(wheel_run(pair.wheel, 100), 1);
    ck_assert_uint_eq(pair.fired, 1);
    ck_assert(!wheel_timer_is_running(&pair.timers[1]));
    ck_assert(wheel_timer_is_running(&pair.timers[2]));
    ck_assert_uint_le(wheel_next_due_ms(pair.wheel), 1000);
    ck_assert_uint_gt(wheel_next_due_ms(pair.wheel), 100);
    wheel_destroy(&pair.wheel);
}

/* --- against a model --- */

static struct wheel_timer timers[TIMERS];
static uint64_t dues[TIMERS]; /* UINT64_MAX: not running */

static uint64_t model_next(void)
{
    uint64_t next = UINT64_MAX;
    for (unsigned i = 0; i < TIMERS; i++) {
        next = dues[i] < next ? dues[i] : next;
    }
    return next;
}

static void check_run(struct record *record, uint64_t now_ms)
{
    unsigned count = 0;
    uint64_t before = 0;
    record->count = 0;
    unsigned fired = wheel_run(record->wheel, now_ms);
    TEST_ASSERT_FAST(fired == record->count);
    for (unsigned i = 0; i < fired; i++) {
        size_t index = (size_t) (record->fired[i] - timers);
        TEST_ASSERT_FAST(dues[index] <= now_ms);
        TEST_ASSERT_FAST(dues[index] >= before);
        before = dues[index];
        dues[index] = UINT64_MAX;
        count++;
    }
    TEST_ASSERT_FAST(count == fired);
    TEST_ASSERT_FAST(model_next() > now_ms); /* nothing was forgotten */
}

static void run_model(uint64_t seed, unsigned steps)
{
    struct prng prng;
    prng_init(&prng, seed);
    uint64_t now_ms = prng_next(&prng) >> prng_below(&prng, 60);
    struct record record = {.wheel = wheel_new(now_ms)};
    for (unsigned i = 0; i < TIMERS; i++) {
        wheel_timer_init(&timers[i], record_fire, &record);
        dues[i] = UINT64_MAX;
    }
    for (unsigned step = 0; step < steps; step++) {
        unsigned i = (unsigned) prng_below(&prng, TIMERS);
        uint64_t ahead = prng_below(&prng, UINT64_C(1) << prng_below(&prng, 26));
        uint64_t kind = prng_below(&prng, 10);
        if (kind < 6) {
            dues[i] = kind == 0 && now_ms > ahead ? now_ms - ahead : now_ms + ahead;
            wheel_add(record.wheel, &timers[i], dues[i]);
        } else if (kind == 6) {
            dues[i] = UINT64_MAX;
            wheel_cancel(record.wheel, &timers[i]);
        } else if (kind == 7) {
            /* As a loop does: sleep until the wheel says so. */
            uint64_t next = wheel_next_due_ms(record.wheel);
            now_ms = next != UINT64_MAX && next > now_ms ? next : now_ms;
            check_run(&record, now_ms);
        } else {
            now_ms += ahead >> (kind == 8 ? 0 : 8);
            check_run(&record, now_ms);
        }
        TEST_ASSERT_FAST(wheel_timer_is_running(&timers[i]) == (dues[i] != UINT64_MAX));
        uint64_t next = model_next();
        uint64_t got = wheel_next_due_ms(record.wheel);
        TEST_ASSERT_FAST(got <= next);
        TEST_ASSERT_FAST((got == UINT64_MAX) == (next == UINT64_MAX));
        /* Else a loop would spin. */
        TEST_ASSERT_FAST(next == UINT64_MAX || next <= now_ms || got > now_ms);
    }
    wheel_destroy(&record.wheel);
    for (unsigned i = 0; i < TIMERS; i++) {
        TEST_ASSERT_FAST(!wheel_timer_is_running(&timers[i]));
    }
}

TEST_WITHIN(the_wheel_agrees_with_a_model, 40)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        run_model(seed, 10000);
    }
}

TEST(sleeping_until_the_wheel_says_so_needs_few_wakes)
{
    struct record record = {0};
    struct wheel_timer timer;
    struct wheel *wheel = wheel_new(12345);
    unsigned wakes = 0;
    wheel_timer_init(&timer, record_fire, &record);
    wheel_add(wheel, &timer, 12345 + 3600 * 1000);
    while (record.count == 0) {
        (void) wheel_run(wheel, wheel_next_due_ms(wheel));
        wakes++;
    }
    ck_assert_uint_le(wakes, 4);
    wheel_destroy(&wheel);
}
