/* io: the I/O thread: the order of its turn.
 *
 *  1 sleep until something comes or is due
 *  2 read once, take the frames: they change state and fill lists, but call nobody
 *  3 call back, with the lock released: only here, so that callbacks come one at a time and see a finished state
 *  4 what is due: connecting, heartbeats, deadlines
 *  5 acknowledgements, then batches: after 3, so that what callbacks did goes out with this turn
 *  6 write, with the lock released: publishers go on meanwhile */
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/base/err.h"

#include "client/arrival.h"
#include "client/ask.h"
#include "client/client_private.h"
#include "client/consume.h"
#include "client/outbox.h"
#include "client/publish.h"
#include "client/subscription.h"
#include "client/watch.h"

enum { IO_SLEEP_US_MAX = 60 * 1000 * 1000, IO_EVENTS = 2 };

/* epoll_wait in microseconds where the kernel has it, else rounded up to milliseconds. */
static int io_epoll_wait(int epoll_fd, struct epoll_event *events, uint64_t timeout_us)
{
    struct timespec timeout = {.tv_sec = (time_t) (timeout_us / 1000000),
                               .tv_nsec = (long) (timeout_us % 1000000) * 1000};
    int count = epoll_pwait2(epoll_fd, events, IO_EVENTS, &timeout, NULL);
    if (count < 0 && (errno == ENOSYS || errno == EPERM)) {
        count = epoll_wait(epoll_fd, events, IO_EVENTS, (int) ((timeout_us + 999) / 1000));
    }
    return count;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* When the turn must come at the latest. `publish_us`: from publish_turn. */
static uint64_t io_next_us(const struct rg_client *self, uint64_t now_us, uint64_t publish_us)
{
    uint64_t at_us = earlier(now_us + IO_SLEEP_US_MAX, publish_us);
    at_us = earlier(at_us, consumers_next_us(self));
    at_us = earlier(at_us, subscriptions_next_us(self));
    at_us = earlier(at_us, watches_next_us(self));
    at_us = earlier(at_us, outbox_next_us(self));
    at_us = earlier(at_us, self->asks.check_us);
    if (self->call_count != 0) {
        at_us = earlier(at_us, self->calls_check_us);
    }
    if (self->is_closing) {
        at_us = earlier(at_us, self->close_deadline_us);
    }
    switch (self->state) {
    case CLIENT_BACKOFF:
        at_us = earlier(at_us, self->retry_at_us);
        break;
    case CLIENT_CONNECTING:
    case CLIENT_GREETING:
        at_us = earlier(at_us, self->attempt_deadline_us);
        break;
    case CLIENT_DRAINING:
        at_us = earlier(at_us, self->drain_deadline_us);
        /* fallthrough */
    case CLIENT_UP:
        at_us = earlier(at_us, self->conn.sent_us + self->heartbeat_us);
        at_us = earlier(at_us, self->conn.received_us + 3 * self->heartbeat_us);
        break;
    }
    return at_us;
}

/* Lock held before and after. Returns what the socket is ready for. */
static uint32_t io_sleep(struct rg_client *self, uint64_t until_us)
{
    struct epoll_event events[IO_EVENTS];
    uint64_t now_us = client_now_us();
    uint32_t ready = 0;

    self->is_sleeping = until_us > now_us;
    self->sleep_until_us = until_us;
    client_unlock(self);
    int count = io_epoll_wait(self->epoll_fd, events, until_us > now_us ? until_us - now_us : 0);
    client_lock(self);
    self->is_sleeping = false;
    for (int i = 0; i < count; i++) {
        if (events[i].data.u64 == 0) {
            uint64_t number = 0;
            ssize_t got = read(self->wake_fd, &number, sizeof(number));
            (void) got; /* the number means nothing */
        } else {
            ready |= events[i].events;
        }
    }
    return ready;
}

static void io_read(struct rg_client *self)
{
    int result = 0;
    if (!self->conn.has_input) {
        client_unlock(self);
        result = conn_receive(&self->conn);
        client_lock(self);
        if (result == 0) {
            self->conn.received_us = client_now_us();
        }
    }
    self->conn.has_input = false;
    if (result == 0) {
        result = session_take_frames(self);
    }
    if (result < 0 && result != ERR_AGAIN && self->conn.fd != -1) {
        reconnect_lost(self, result, result == ERR_CLOSED ? "the server closed it" : NULL);
    }
}

static void io_socket(struct rg_client *self, uint32_t ready)
{
    if (self->conn.fd == -1 || self->is_led) {
        return; /* closed meanwhile; or a caller reads, and will see the end itself */
    }
    if (self->state == CLIENT_CONNECTING) {
        if (ready != 0) {
            reconnect_writable(self);
        }
    } else if (subscriptions_are_full(self)) {
        return; /* nothing is read until there is room */
    } else if (self->conn.has_input || (ready & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        io_read(self);
    }
}

static void io_report_state(struct rg_client *self)
{
    struct state_report reports[CLIENT_STATE_REPORTS_MAX];
    size_t count = self->report_count;
    if (count == 0) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        reports[i] = self->reports[i];
    }
    self->report_count = 0;
    if (self->options.on_state != NULL) {
        client_unlock(self);
        for (size_t i = 0; i < count; i++) {
            self->options.on_state(self->options.ud, reports[i].up, reports[i].reason);
        }
        client_lock(self);
    }
}

static void io_call_back(struct rg_client *self)
{
    publish_call_back(self);
    io_report_state(self);
    consumers_call_back(self);
    arrivals_call_back(self);
    if (self->subs.is_malformed) {
        self->subs.is_malformed = false;
        if (self->conn.fd != -1) {
            reconnect_lost(self, ERR_PROTOCOL, NULL);
        }
    }
}

static void io_due(struct rg_client *self, uint64_t now_us)
{
    reconnect_step(self, now_us);
    if (self->conn.fd != -1) {
        int result = session_check(self, now_us);
        if (result == 0) {
            result = publish_check(self, now_us);
        }
        if (result < 0) {
            reconnect_lost(self, result, NULL);
        }
    } else {
        (void) publish_check(self, now_us); /* there is no connection to give up */
    }
    if (self->call_count != 0 && now_us >= self->calls_check_us) {
        calls_check(self, now_us);
    }
    consumers_check(self, now_us);
    subscriptions_check(self, now_us);
    watches_check(self, now_us);
    asks_check(self, now_us);
}

static void io_write(struct rg_client *self, uint32_t ready)
{
    if (self->conn.fd == -1 || self->state == CLIENT_CONNECTING) {
        return;
    }
    if (self->conn.is_blocked && (ready & EPOLLOUT) == 0) {
        return;
    }
    int result = conn_write(self, true);
    if (result < 0 && self->conn.fd != -1) {
        reconnect_lost(self, result, NULL);
    }
}

/* Is there nothing left to do before the end? */
static bool io_is_finished(const struct rg_client *self, uint64_t now_us)
{
    if (!self->is_closing) {
        return false;
    }
    bool is_sent = !conn_has_output(self) || self->conn.fd == -1;
    return now_us >= self->close_deadline_us ||
           (publish_is_idle(self) && outbox_is_empty(self) && is_sent);
}

void *io_main(void *ud)
{
    struct rg_client *self = ud;
    uint64_t until_us = 0;

    client_lock(self);
    for (;;) {
        uint32_t ready = io_sleep(self, until_us);
        io_socket(self, ready);
        io_call_back(self);
        uint64_t now_us = client_now_us();
        /* what came before is seen below; what comes while writing is not */
        self->is_woken = false;
        io_due(self, now_us);
        consumers_send_acks(self, self->is_closing ? UINT64_MAX : now_us);
        uint64_t publish_us = publish_turn(self, now_us);
        io_write(self, ready);
        if (io_is_finished(self, now_us)) {
            break;
        }
        conn_update_interest(self);
        bool has_input = self->conn.has_input && !subscriptions_are_full(self);
        bool is_more = self->is_woken || has_input || consumers_are_busy(self) ||
                       arrivals_are_waiting(self) || !list_is_empty(&self->pub.done) ||
                       self->report_count != 0;
        until_us = is_more ? 0 : io_next_us(self, now_us, publish_us);
    }
    reconnect_stop(self);
    io_call_back(self);
    self->is_stopped = true;
    client_unlock(self);
    return NULL;
}
