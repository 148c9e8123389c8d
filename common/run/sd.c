/* sd: readiness and watchdog for a service manager, without its library. Owns one datagram socket. */
#include "common/run/sd.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/span.h"
#include "common/base/str.h"

enum { SD_TEXT_MAX = 1024 };

/* Half of what is asked for, as the protocol recommends. */
static uint64_t sd_watchdog_ms(void)
{
    const char *usec = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    uint64_t value = 0;

    if (usec == NULL || str_to_u64(span_of(usec), &value) < 0 || value == 0) {
        return 0;
    }
    uint64_t asked_pid = 0;
    if (pid != NULL &&
        (str_to_u64(span_of(pid), &asked_pid) < 0 || asked_pid != (uint64_t) getpid())) {
        return 0; /* meant for another process */
    }
    return value / 2000 > 0 ? value / 2000 : 1;
}

void sd_open(struct sd *self)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");

    self->fd = -1;
    self->watchdog_ms = 0;
    if (path == NULL || (path[0] != '/' && path[0] != '@') ||
        strlen(path) >= sizeof(address.sun_path)) {
        return;
    }
    size_t size = strlen(path);
    memcpy(address.sun_path, path, size);
    if (path[0] == '@') {
        address.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return;
    }
    socklen_t length = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + size);
    if (connect(fd, (const struct sockaddr *) &address, length) != 0) {
        (void) close(fd);
        return;
    }
    self->fd = fd;
    self->watchdog_ms = sd_watchdog_ms();
}

void sd_close(struct sd *self)
{
    if (self->fd >= 0) {
        (void) close(self->fd);
        self->fd = -1;
    }
}

void sd_send(const struct sd *self, const char *format, ...)
{
    char text[SD_TEXT_MAX];
    va_list arguments;

    if (self->fd < 0) {
        return;
    }
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (size > 0) {
        size_t used = (size_t) size < sizeof(text) ? (size_t) size : sizeof(text) - 1;
        /* nothing to do if nobody listens any more */
        (void) send(self->fd, text, used, MSG_NOSIGNAL);
    }
}
