/* wheel: timers in milliseconds of the monotonic clock. The node lives in its owner; the wheel owns nothing.
 * Adding, moving and cancelling are O(1); the next due time is cheap to ask. */
#ifndef COMMON_BASE_WHEEL_H
#define COMMON_BASE_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/list.h"

struct wheel;
struct wheel_timer;
typedef void wheel_fire_fn(struct wheel_timer *timer, void *ud);

struct wheel_timer {
    struct list link;
    uint64_t due_ms;
    wheel_fire_fn *fire; /* called once; the timer may be added again inside */
    void *ud;
};

struct wheel *wheel_new(uint64_t now_ms);
void wheel_destroy(struct wheel **self); /* pending timers are unlinked, not fired */

/* Set up a timer that is not running. */
void wheel_timer_init(struct wheel_timer *timer, wheel_fire_fn *fire, void *ud);
bool wheel_timer_is_running(const struct wheel_timer *timer);

/* Start or move: fires at the first wheel_run with now >= due_ms. */
void wheel_add(struct wheel *self, struct wheel_timer *timer, uint64_t due_ms);
/* Stop; does no harm when not running. */
void wheel_cancel(struct wheel *self, struct wheel_timer *timer);

/* A time not later than the first due one; UINT64_MAX when none runs. */
uint64_t wheel_next_due_ms(const struct wheel *self);
/* Fire everything due, in order of due time. What is due is collected first, so a timer added inside
 * waits for the next run. Returns how many fired. */
unsigned wheel_run(struct wheel *self, uint64_t now_ms);

#endif
