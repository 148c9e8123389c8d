/* listener: accepts connections and turns away what is over the limits, with an Error where that is possible at once. Owns the listening socket and the
 * port file. Must never listen beyond loopback by accident, nor spin when descriptors run out. */
#include "frontd/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/run/log.h"

#include "frontd/answer.h"
#include "frontd/limits.h"
#include "frontd/session.h"

enum {
    ACCEPTS_PER_TURN = 64,
    BACKLOG = 4096,
    PAUSE_MS = 100, /* after an accept that failed for lack of something */
    LOG_LINES_PER_SECOND = 2,
    INSTANCES_MAX = 64, /* as the key `instance` allows */
};

struct listener {
    struct frontd *frontd;
    int fd;
    struct loop_fd *watch;
    uint16_t port;
    bool is_insecure;
    char *port_path;
    struct wheel_timer pause_timer;
    struct log_limit refused_log;
    struct log_limit failed_log;
};

union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_storage storage;
};

/* --- the socket --- */

static int address_parse(const char *text, uint16_t port, union address *ret_address,
                         socklen_t *ret_size)
{
    memset(ret_address, 0, sizeof(*ret_address));
    if (inet_pton(AF_INET, text, &ret_address->in.sin_addr) == 1) {
        ret_address->in.sin_family = AF_INET;
        ret_address->in.sin_port = htons(port);
        *ret_size = sizeof(ret_address->in);
        return 0;
    }
    if (inet_pton(AF_INET6, text, &ret_address->in6.sin6_addr) == 1) {
        ret_address->in6.sin6_family = AF_INET6;
        ret_address->in6.sin6_port = htons(port);
        *ret_size = sizeof(ret_address->in6);
        return 0;
    }
    return ERR_BAD_CONFIG;
}

static uint16_t address_port(const union address *address)
{
    return ntohs(address->any.sa_family == AF_INET ? address->in.sin_port : address->in6.sin6_port);
}

static void address_format(const union address *address, char *out, size_t capacity)
{
    char host[INET6_ADDRSTRLEN] = "?";
    bool is_v4 = address->any.sa_family == AF_INET;
    const void *raw =
        is_v4 ? (const void *) &address->in.sin_addr : (const void *) &address->in6.sin6_addr;
    (void) inet_ntop(address->any.sa_family, raw, host, sizeof(host)); /* "?" stays */
    (void) snprintf(out, capacity, is_v4 ? "%s:%u" : "[%s]:%u", host, address_port(address));
}

static int socket_listen(const union address *address, socklen_t size, int *ret_fd)
{
    int on = 1;
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0 ||
        bind(fd, &address->any, size) < 0 || listen(fd, BACKLOG) < 0) {
        int result = err_from_errno(errno);
        (void) close(fd); /* nothing was written to it */
        return result;
    }
    *ret_fd = fd;
    return 0;
}

/* Is somebody listening there? A socket without SO_REUSEPORT finds out. */
static bool port_is_taken(const union address *address, socklen_t size)
{
    int on = 1;
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_taken = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
                    bind(fd, &address->any, size) < 0 && errno == EADDRINUSE;
    if (fd >= 0) {
        (void) close(fd); /* nothing was written to it */
    }
    return is_taken;
}

/* Does the port file of another frontd of this node name our port? */
static bool port_is_ours(const struct listener *self)
{
    const struct settings *settings = self->frontd->settings;
    bool is_ours = false;
    struct buf path = {0};
    for (uint64_t i = 0; i < INSTANCES_MAX && !is_ours; i++) {
        char text[16];
        uint64_t port = 0;
        buf_reset(&path);
        buf_printf(&path, "%s/frontd-%" PRIu64 ".port", settings->daemon.run_dir, i);
        FILE *file = i != settings->daemon.instance ? fopen(buf_text(&path), "re") : NULL;
        if (file != NULL && fgets(text, sizeof(text), file) != NULL) {
            struct span digits = span_make(text, strcspn(text, "\n"));
            is_ours = str_to_u64(digits, &port) == 0 && port == settings->listen_port;
        }
        if (file != NULL) {
            (void) fclose(file);
        }
    }
    buf_release(&path);
    return is_ours;
}

/* The port file: for whoever started us with port 0. Written whole or not at all. */
static int port_file_write(struct listener *self)
{
    const struct settings *settings = self->frontd->settings;
    struct buf path = {0};
    struct buf temporary = {0};
    char text[16];
    int size = snprintf(text, sizeof(text), "%u\n", self->port);
    int result = 0;
    buf_printf(&path, "%s/%s.port", settings->daemon.run_dir, self->frontd->name);
    buf_printf(&temporary, "%s.new", buf_text(&path));
    int fd =
        open(buf_text(&temporary), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0 || write(fd, text, (size_t) size) != size) {
        result = ERR_IO;
    }
    if (fd >= 0 && close(fd) < 0) {
        result = ERR_IO;
    }
    if (result == 0 && rename(buf_text(&temporary), buf_text(&path)) < 0) {
        result = ERR_IO;
    }
    if (result == 0) {
        self->port_path = mem_strdup(buf_text(&path));
    }
    buf_release(&temporary);
    buf_release(&path);
    return result;
}

/* --- accepting --- */

static void listener_readable(void *ud, unsigned events);

static void listener_resume(struct wheel_timer *timer, void *ud)
{
    struct listener *self = ud;
    (void) timer;
    loop_fd_change(self->watch, LOOP_READ);
}

static void listener_pause(struct listener *self, int system_errno)
{
    uint64_t suppressed = 0;
    if (log_limit_pass(&self->failed_log, loop_now_ms(self->frontd->loop), LOG_LINES_PER_SECOND,
                       &suppressed)) {
        log_warn("cannot accept a connection",
                 "error=\"%s\" suppressed=%" PRIu64 " action=\"trying again in %d ms\"",
                 strerror(system_errno), suppressed, PAUSE_MS);
    }
    loop_fd_change(self->watch, 0);
    loop_timer_start(self->frontd->loop, &self->pause_timer, PAUSE_MS);
}

/* Over a limit: the client is told if the socket takes it at once. */
static void listener_refuse(struct listener *self, int fd, int error, const char *address_text)
{
    uint64_t suppressed = 0;
    struct buf frame = {0};
    answer_error_frame(&frame, 0, 0, error, "too many connections");
    /* told or not, it is closed */
    (void) send(fd, frame.data, frame.size, MSG_NOSIGNAL | MSG_DONTWAIT);
    buf_release(&frame);
    (void) close(fd);
    ++*self->frontd->counters.refused;
    if (log_limit_pass(&self->refused_log, loop_now_ms(self->frontd->loop), LOG_LINES_PER_SECOND,
                       &suppressed)) {
        log_warn("connection refused",
                 "address=%s error=%s suppressed=%" PRIu64 " action=\"closed\"", address_text,
                 err_name(error), suppressed);
    }
}

static void listener_take(struct listener *self, int fd, const union address *address)
{
    struct frontd *frontd = self->frontd;
    struct limits_address from = limits_address_of(&address->any);
    char text[SESSION_ADDRESS_SIZE];
    int on = 1;
    address_format(address, text, sizeof(text));
    int result = limits_enter(frontd->limits, &from);
    if (result != 0) {
        listener_refuse(self, fd, result, text);
        return;
    }
    /* slower without, not wrong */
    (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (!session_open(frontd, fd, &from, text)) {
        limits_leave(frontd->limits, &from);
        ++*frontd->counters.refused;
        return;
    }
    ++*frontd->counters.accepted;
}

static void listener_readable(void *ud, unsigned events)
{
    struct listener *self = ud;
    (void) events;
    for (unsigned i = 0; i < ACCEPTS_PER_TURN; i++) {
        union address address = {0};
        socklen_t size = sizeof(address);
        int fd = accept4(self->fd, &address.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return;
        }
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED || errno == EPROTO)) {
            continue; /* that one is gone */
        }
        if (fd < 0) {
            listener_pause(self, errno);
            return;
        }
        listener_take(self, fd, &address);
    }
}

/* --- life --- */

static bool address_is_loopback(const union address *address)
{
    struct limits_address plain = limits_address_of(&address->any);
    return limits_address_is_loopback(&plain);
}

int listener_check(const struct settings *settings, struct buf *problem)
{
    union address address = {0};
    socklen_t size = 0;
    if (address_parse(settings->listen_address, 0, &address, &size) != 0) {
        buf_append_text(problem, "listen.address: must be an IPv4 or IPv6 address");
        return ERR_BAD_CONFIG;
    }
    if (!address_is_loopback(&address) && !settings->insecure_listen) {
        buf_append_text(problem, "listen.address: would be open to others, without encryption or "
                                 "authentication; use a loopback address, or set insecure_listen");
        return ERR_BAD_CONFIG;
    }
    return 0;
}

int listener_open(struct frontd *frontd, struct listener **ret_listener)
{
    const struct settings *settings = frontd->settings;
    struct listener *self = MEM_NEW(struct listener);
    union address address = {0};
    socklen_t size = 0;
    self->frontd = frontd;
    self->fd = -1;
    wheel_timer_init(&self->pause_timer, listener_resume, self);

    int result =
        address_parse(settings->listen_address, (uint16_t) settings->listen_port, &address, &size);
    if (result != 0) {
        goto failed; /* not so: listener_check was asked before */
    }
    self->is_insecure = !address_is_loopback(&address);
    /* SO_REUSEPORT is for the frontds of one node. Another node's would share the port as quietly, and each client
     * would meet the one or the other. */
    if (port_is_taken(&address, size) && !port_is_ours(self)) {
        log_error("the port is in use",
                  "address=%s port=%" PRIu64
                  " remedy=\"stop the other program, or choose another listen.port\"",
                  settings->listen_address, settings->listen_port);
        result = ERR_BAD_CONFIG;
        goto failed;
    }
    result = socket_listen(&address, size, &self->fd);
    if (result == 0 && getsockname(self->fd, &address.any, &size) < 0) {
        result = err_from_errno(errno);
    }
    if (result == 0) {
        self->port = address_port(&address);
        result = port_file_write(self);
    }
    if (result == 0) {
        self->watch = loop_fd_add(frontd->loop, self->fd, LOOP_READ, listener_readable, self);
        result = self->watch != NULL ? 0 : ERR_IO;
    }
    if (result != 0) {
        log_error("cannot listen", "address=%s port=%" PRIu64 " error=%s", settings->listen_address,
                  settings->listen_port, err_name(result));
        goto failed;
    }
    log_info("listening", "address=%s port=%u", settings->listen_address, self->port);
    *ret_listener = self;
    return 0;

failed:
    listener_close(&self);
    return result;
}

void listener_close(struct listener **self)
{
    struct listener *listener = *self;
    *self = NULL;
    if (listener == NULL) {
        return;
    }
    wheel_cancel(loop_wheel(listener->frontd->loop), &listener->pause_timer);
    loop_fd_remove(&listener->watch);
    if (listener->fd >= 0) {
        (void) close(listener->fd); /* nothing was written to it */
    }
    if (listener->port_path != NULL) {
        (void) unlink(listener->port_path); /* a stale one is replaced at the next start */
    }
    mem_free(listener->port_path);
    mem_free(listener);
}

bool listener_is_insecure(const struct listener *self)
{
    return self->is_insecure;
}
