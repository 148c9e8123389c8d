/* sd: the service manager's protocol (sd_notify), spoken by hand: a datagram to $NOTIFY_SOCKET. Without that variable all
 * of this does nothing. */
#ifndef COMMON_RUN_SD_H
#define COMMON_RUN_SD_H

#include <stdint.h>

struct sd {
    int fd;               /* -1: nobody listens */
    uint64_t watchdog_ms; /* tell that often that the loop turns; 0: nobody asks */
};

/* From NOTIFY_SOCKET (a path, or '@' and an abstract name), WATCHDOG_USEC and WATCHDOG_PID. */
void sd_open(struct sd *self);
void sd_close(struct sd *self);

/* Lines like "READY=1\nSTATUS=serving". Losing one is no error of ours. */
__attribute__((format(printf, 2, 3))) void sd_send(const struct sd *self, const char *format, ...);

#endif
