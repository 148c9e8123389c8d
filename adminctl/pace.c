/* pace: progress of long work on a terminal, and a rate that is not exceeded. */
#include "adminctl/pace.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "common/base/clock.h"

enum { SHOW_EVERY_US = 200000 };

static uint64_t now_us(void)
{
    return timesource_monotonic_us(timesource_system());
}

void pace_start(struct pace *self, const char *what, uint64_t total, uint64_t rate)
{
    *self = (struct pace){.what = what,
                          .total = total,
                          .rate = rate,
                          .started_us = now_us(),
                          .on_terminal = isatty(STDERR_FILENO) == 1};
    self->shown_us = self->started_us;
}

static void show(struct pace *self, uint64_t now)
{
    double seconds = (double) (now - self->started_us) / 1e6;
    if (self->total > 0) {
        (void) fprintf(stderr, "\r%s %" PRIu64 " of %" PRIu64 " (%.0f %%, %.0f/s)\033[K",
                       self->what, self->count, self->total,
                       100.0 * (double) self->count / (double) self->total,
                       (double) self->count / seconds);
    } else {
        (void) fprintf(stderr, "\r%s %" PRIu64 " (%.0f/s)\033[K", self->what, self->count,
                       (double) self->count / seconds);
    }
    (void) fflush(stderr);
    self->shown_us = now;
}

void pace_step(struct pace *self, uint64_t more)
{
    self->count += more;
    if (self->rate == 0 && !self->on_terminal) {
        return;
    }
    uint64_t now = now_us();
    if (self->rate > 0) {
        uint64_t due = self->started_us + self->count * 1000000 / self->rate;
        if (due > now + 1000) { /* shorter waits are gathered into one */
            (void) poll(NULL, 0, (int) ((due - now) / 1000));
            now = now_us();
        }
    }
    if (self->on_terminal && now - self->shown_us >= SHOW_EVERY_US) {
        show(self, now);
    }
}

uint64_t pace_stop(struct pace *self)
{
    if (self->on_terminal && self->shown_us != self->started_us) {
        (void) fprintf(stderr, "\r\033[K");
    }
    return now_us() - self->started_us;
}
