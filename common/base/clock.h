/* clock: time as a value that is passed in, so that tests own it. */
#ifndef COMMON_BASE_CLOCK_H
#define COMMON_BASE_CLOCK_H

#include <stdint.h>

/* Where time comes from. A zeroed struct with both functions set; `ud` belongs to whoever made it. */
struct timesource {
    uint64_t (*monotonic_us)(void *ud); /* never goes back; not related to the date */
    uint64_t (*real_us)(void *ud);      /* microseconds since 1970, may jump */
    void *ud;
};

/* The system's clocks. Borrowed for ever. @thread any */
const struct timesource *timesource_system(void);

static inline uint64_t timesource_monotonic_us(const struct timesource *self)
{
    return self->monotonic_us(self->ud);
}

static inline uint64_t timesource_monotonic_ms(const struct timesource *self)
{
    return self->monotonic_us(self->ud) / 1000;
}

static inline uint64_t timesource_real_us(const struct timesource *self)
{
    return self->real_us(self->ud);
}

/* A clock that tests turn by hand. */
struct timesource_manual {
    uint64_t monotonic_us;
    uint64_t real_us;
};
struct timesource timesource_manual_make(struct timesource_manual *hands);

#endif
