/* reconnect: from no connection to one that is greeted, through all addresses, with back-off and jitter; and what a lost connection means for
 * everything that was on it. Runs on the I/O thread alone, lock held. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/invariant.h"

#include "client/ask.h"
#include "client/client_private.h"
#include "client/consume.h"
#include "client/outbox.h"
#include "client/publish.h"
#include "client/subscription.h"
#include "client/watch.h"

enum { STEADY_US = 1000 * 1000, ATTEMPT_MS_MIN = 250 };

static void reconnect_note(struct rg_client *self, int reason, const char *detail)
{
    char text[CLIENT_DETAIL_SIZE];
    self->last_reason = reason;
    (void) snprintf(text, sizeof(text), "%s%s%s", self->address, self->address[0] != 0 ? ": " : "",
                    detail);
    (void) snprintf(self->last_detail, sizeof(self->last_detail), "%s", text);
}

/* The next time, somewhere between half and all of the back-off, so that many clients do not come at once. */
static void reconnect_back_off(struct rg_client *self)
{
    uint64_t backoff_us = (uint64_t) self->backoff_ms * 1000;
    self->state = CLIENT_BACKOFF;
    self->retry_at_us =
        client_now_us() + backoff_us / 2 + prng_below(&self->prng, backoff_us / 2 + 1);
    uint64_t doubled = (uint64_t) self->backoff_ms * 2;
    self->backoff_ms = doubled < self->options.reconnect_max_ms ? (uint32_t) doubled
                                                                : self->options.reconnect_max_ms;
}

static void reconnect_round_over(struct rg_client *self)
{
    self->tried = 0;
    self->is_first_over = true;
    (void) pthread_cond_broadcast(&self->first_over);
    reconnect_back_off(self);
}

/* Begin to connect to one target. 0, or why not. */
static int reconnect_try(struct rg_client *self, size_t index)
{
    const struct sockaddr_storage *target = &self->targets.items[index];
    address_print(target, self->address, sizeof(self->address));
    int fd = socket(target->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd == -1) {
        return err_from_errno(errno);
    }
    const void *generic = target; /* sockaddr is a view on sockaddr_storage */
    if (connect(fd, generic, self->targets.sizes[index]) != 0 && errno != EINPROGRESS) {
        int system_errno = errno;
        (void) close(fd); /* never connected */
        reconnect_note(self, ERR_CLOSED, strerror(system_errno));
        return ERR_CLOSED;
    }
    conn_open(self, fd);
    self->state = CLIENT_CONNECTING;
    uint64_t each_ms = self->options.connect_timeout_ms / self->addresses.count;
    self->attempt_deadline_us =
        client_now_us() + (each_ms > ATTEMPT_MS_MIN ? each_ms : ATTEMPT_MS_MIN) * 1000;
    return 0;
}

/* Go on to the next target, the next address, or to sleep. */
static void reconnect_next(struct rg_client *self)
{
    for (;;) {
        while (self->target_index < self->targets.count) {
            if (reconnect_try(self, self->target_index++) == 0) {
                return;
            }
        }
        if (self->tried == self->addresses.count) {
            reconnect_round_over(self);
            return;
        }
        if (self->tried++ != 0) {
            self->address_index++;
        }
        self->address_index %= self->addresses.count;
        const struct address address = self->addresses.items[self->address_index];
        struct address_targets targets = {0};
        client_unlock(self); /* a name server may take its time; addresses are only added, here */
        int result = address_resolve(&address, &targets);
        client_lock(self);
        self->targets = targets;
        self->target_index = 0;
        if (result < 0) {
            (void) snprintf(self->address, sizeof(self->address), "%s", address.host);
            reconnect_note(self, ERR_CLOSED, "the name cannot be resolved");
        }
    }
}

void reconnect_step(struct rg_client *self, uint64_t now_us)
{
    if (self->is_closing && self->conn.fd == -1 && publish_is_idle(self) && outbox_is_empty(self)) {
        return; /* nothing is left that would need a connection */
    }
    if (self->state == CLIENT_BACKOFF && now_us >= self->retry_at_us) {
        self->targets.count = 0;
        self->target_index = 0;
        self->tried = 0;
        reconnect_next(self);
    } else if ((self->state == CLIENT_CONNECTING || self->state == CLIENT_GREETING) &&
               now_us >= self->attempt_deadline_us) {
        reconnect_lost(self, ERR_CLOSED, "no answer in time");
    }
}

void reconnect_writable(struct rg_client *self)
{
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(self->conn.fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
        error = errno;
    }
    if (error != 0) {
        reconnect_lost(self, ERR_CLOSED, strerror(error));
        return;
    }
    self->state = CLIENT_GREETING;
    self->conn.is_blocked = false;
    session_greet(self);
}

static void reconnect_report(struct rg_client *self, bool up, int reason)
{
    INVARIANT(self->report_count < CLIENT_STATE_REPORTS_MAX);
    self->reports[self->report_count++] = (struct state_report){up, reason};
}

void reconnect_up(struct rg_client *self)
{
    self->state = CLIENT_UP;
    self->up_since_us = client_now_us();
    self->is_first_over = true;
    self->tried = 0;
    self->last_detail[0] = 0;
    if (self->was_up) {
        reconnect_report(self, true, 0);
    }
    self->was_up = true;
    (void) pthread_cond_broadcast(&self->first_over);
    calls_up(self);
    consumers_up(self);
    subscriptions_up(self);
    watches_up(self);
}

/* The connection ended after it had been up. */
static void reconnect_lost_up(struct rg_client *self, int reason)
{
    uint64_t now_us = client_now_us();
    calls_lost(self);
    consumers_lost(self);
    subscriptions_lost(self);
    watches_lost(self);
    publish_lost(self);
    asks_lost(self);
    outbox_lost(self);
    reconnect_report(self, false, reason);
    if (reason == ERR_GOING_AWAY && self->addresses.count > 1) {
        self->address_index++; /* somewhere else */
    }
    if (now_us - self->up_since_us >= STEADY_US) {
        self->backoff_ms = self->options.reconnect_min_ms;
    }
    reconnect_back_off(self);
    if (now_us - self->up_since_us >= STEADY_US && reason != ERR_GOING_AWAY) {
        self->retry_at_us = now_us; /* it was steady: try at once */
    }
}

void reconnect_lost(struct rg_client *self, int reason, const char *detail)
{
    if (self->is_led) {
        /* Who leads polls the socket: wake it. What it then leaves to us ends here again. */
        (void) shutdown(self->conn.fd, SHUT_RDWR); /* an error means that it is down already */
        return;
    }
    bool was_up = self->state == CLIENT_UP || self->state == CLIENT_DRAINING;
    if (detail == NULL && self->last_detail[0] != 0) {
        char text[CLIENT_DETAIL_SIZE];
        (void) snprintf(text, sizeof(text), "%s", self->last_detail);
        reconnect_note(self, reason, text);
    } else {
        reconnect_note(self, reason, detail != NULL ? detail : rg_error_text(reason));
    }
    conn_close(self);
    self->state = CLIENT_BACKOFF;
    if (was_up) {
        reconnect_lost_up(self, reason);
        self->last_detail[0] = 0;
    } else {
        reconnect_next(self);
    }
}

void reconnect_stop(struct rg_client *self)
{
    if (self->is_led) {
        (void) shutdown(self->conn.fd, SHUT_RDWR); /* as above */
        while (self->is_led) {
            (void) pthread_cond_wait(&self->first_over, &self->lock); /* the predicate decides */
        }
    }
    conn_close(self);
    self->state = CLIENT_BACKOFF;
    self->retry_at_us = UINT64_MAX;
    publish_stop(self);
    asks_stop(self);
    outbox_stop(self);
    calls_stop(self);
    consumers_stop(self);
    subscriptions_stop(self);
    watches_stop(self);
}
