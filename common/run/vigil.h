/* vigil: waiting for descriptors awake, where that pays. Waking a thread on an idle core takes 10-20 us, more than the work that a short frame brings. When
 * events have been following one another more closely than `window_us`, the next one is waited for by asking again and again, giving way to whoever
 * wants the core; when that fails a few times it is given up until events come closely again. So it costs at most one window for each of a few pauses, and
 * an idle process nothing. @thread the waiting one's */
#ifndef COMMON_RUN_VIGIL_H
#define COMMON_RUN_VIGIL_H

#include <stdint.h>
#include <sys/epoll.h>

struct vigil {
    uint64_t window_us; /* 0: never awake */
    int trust;          /* that the next event comes within the window; > 0: wait awake */
};

/* As epoll_wait. */
int vigil_wait(struct vigil *self, int epoll_fd, struct epoll_event *events, int events_max,
               int timeout_ms);

#endif
