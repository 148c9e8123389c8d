/* daemon_status: what a daemon tells about itself: DaemonInfo of client.proto. */
#ifndef COMMON_RUN_DAEMON_STATUS_H
#define COMMON_RUN_DAEMON_STATUS_H

#include "common/base/buf.h"
#include "common/run/metrics.h"

enum { DAEMON_STATUS_TYPE = 1 }; /* BUS_STATUS of bus.proto */

struct daemon_status {
    const char *daemon;
    const char *state;
    const char *detail; /* empty: nothing to tell */
    uint64_t uptime_ms;
    uint64_t epoch;
    const struct metrics *metrics;
};

/* Append the message's bytes. */
void daemon_status_write(const struct daemon_status *status, struct buf *out);

/* Resident memory of this process, 0 if unknown. */
uint64_t daemon_rss_bytes(void);

#endif
