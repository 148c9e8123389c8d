/* vigil: the waiting. Owns nothing. Must never wait awake longer than its window, nor without giving way. */
#include "common/run/vigil.h"

#include <sched.h>

#include "common/base/clock.h"

enum {
    TRUST_MAX = 8,
    TRUST_LOST = 4, /* by one window in vain */
};

static uint64_t now_us(void)
{
    return timesource_monotonic_us(timesource_system());
}

static void vigil_trust(struct vigil *self, int change)
{
    self->trust += change;
    self->trust = self->trust > TRUST_MAX ? TRUST_MAX : self->trust;
    self->trust = self->trust < 0 ? 0 : self->trust;
}

int vigil_wait(struct vigil *self, int epoll_fd, struct epoll_event *events, int events_max,
               int timeout_ms)
{
    if (timeout_ms == 0 || self->window_us == 0) {
        return epoll_wait(epoll_fd, events, events_max, timeout_ms);
    }
    uint64_t began_us = now_us();
    if (self->trust > 0) {
        do {
            int count = epoll_wait(epoll_fd, events, events_max, 0);
            if (count != 0) {
                vigil_trust(self, 1);
                return count;
            }
            (void) sched_yield(); /* cannot fail */
        } while (now_us() - began_us < self->window_us);
        vigil_trust(self, -TRUST_LOST);
        began_us = now_us();
    }
    int count = epoll_wait(epoll_fd, events, events_max, timeout_ms);
    if (count > 0) {
        vigil_trust(self, now_us() - began_us < self->window_us ? 1 : -1);
    }
    return count;
}
