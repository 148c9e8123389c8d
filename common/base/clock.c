/* clock: the system's clocks, and one that tests turn by hand. */
#include "common/base/clock.h"

#include <time.h>

static uint64_t clock_read_us(clockid_t id)
{
    struct timespec now;
    (void) clock_gettime(id, &now); /* cannot fail for these two ids */
    return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

static uint64_t system_monotonic_us(void *ud)
{
    (void) ud;
    return clock_read_us(CLOCK_MONOTONIC);
}

static uint64_t system_real_us(void *ud)
{
    (void) ud;
    return clock_read_us(CLOCK_REALTIME);
}

const struct timesource *timesource_system(void)
{
    static const struct timesource source = {system_monotonic_us, system_real_us, NULL};
    return &source;
}

static uint64_t manual_monotonic_us(void *ud)
{
    return ((const struct timesource_manual *) ud)->monotonic_us;
}

static uint64_t manual_real_us(void *ud)
{
    return ((const struct timesource_manual *) ud)->real_us;
}

struct timesource timesource_manual_make(struct timesource_manual *hands)
{
    return (struct timesource){manual_monotonic_us, manual_real_us, hands};
}
