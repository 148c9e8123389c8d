/* pace: progress of long work on a terminal, and a rate that is not exceeded. */
#ifndef ADMINCTL_PACE_H
#define ADMINCTL_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
    const char *what; /* "published" */
    uint64_t total;   /* 0: unknown */
    uint64_t rate;    /* per second; 0: unlimited */
    uint64_t started_us;
    uint64_t shown_us;
    uint64_t count;
    bool on_terminal;
};

void pace_start(struct pace *self, const char *what, uint64_t total, uint64_t rate);
/* `more` were done: wait if that was too fast, show progress now and then (only when standard error is a terminal). */
void pace_step(struct pace *self, uint64_t more);
/* Clear the progress line. Returns microseconds since the start. */
uint64_t pace_stop(struct pace *self);

#endif
