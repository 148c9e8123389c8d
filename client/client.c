/* client: a client's life, options, and the small things all parts need: lock, time, waking the I/O thread. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"

#include "client/ask.h"
#include "client/client_private.h"
#include "client/consume.h"
#include "client/outbox.h"
#include "client/publish.h"
#include "client/subscription.h"
#include "client/watch.h"

enum { US_OF_MS = 1000, NAME_BYTES_MAX = 255 };

uint64_t client_now_us(void)
{
    return timesource_monotonic_us(timesource_system());
}

void client_lock(struct rg_client *self)
{
    int result = pthread_mutex_lock(&self->lock);
    INVARIANT(result == 0);
}

void client_unlock(struct rg_client *self)
{
    int result = pthread_mutex_unlock(&self->lock);
    INVARIANT(result == 0);
}

void cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    int result = pthread_condattr_init(&attributes);
    INVARIANT(result == 0);
    result = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    INVARIANT(result == 0);
    result = pthread_cond_init(cond, &attributes);
    INVARIANT(result == 0);
    (void) pthread_condattr_destroy(&attributes); /* cannot fail for an initialised one */
}

bool cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t until_us)
{
    struct timespec until = {.tv_sec = (time_t) (until_us / 1000000),
                             .tv_nsec = (long) (until_us % 1000000) * 1000};
    return pthread_cond_timedwait(cond, lock, &until) != ETIMEDOUT;
}

void waiter_init(struct waiter *self)
{
    self->is_done = false;
    cond_init(&self->cond);
}

void waiter_release(struct waiter *self)
{
    (void) pthread_cond_destroy(&self->cond); /* nobody waits any more */
}

bool client_is_io_thread(const struct rg_client *self)
{
    return pthread_equal(pthread_self(), self->thread) != 0;
}

int client_check_blocking(struct rg_client *self, const char *function)
{
    if (self == NULL) {
        return error_note(ERR_USAGE, "%s: client is NULL", function);
    }
    if (client_is_io_thread(self)) {
        return error_note(ERR_USAGE, "%s must not be called in a callback: it blocks", function);
    }
    return 0;
}

void client_wake(struct rg_client *self)
{
    uint64_t one = 1;
    self->is_woken = true;
    if (!self->is_sleeping) {
        return; /* it looks at is_woken before it sleeps */
    }
    self->is_sleeping = false; /* once is enough */
    ssize_t written = write(self->wake_fd, &one, sizeof(one));
    (void) written; /* can only fail when the counter is full: it is awake then */
}

void client_wake_by(struct rg_client *self, uint64_t at_us)
{
    if (!self->is_sleeping || self->sleep_until_us > at_us) {
        client_wake(self);
    }
}

void client_push_out(struct rg_client *self)
{
    struct conn *conn = &self->conn;
    bool is_free =
        self->is_sleeping && self->state == CLIENT_UP && !conn->is_writing && !conn->is_blocked;
    if (!is_free || conn_write(self, false) < 0 || conn->is_blocked) {
        client_wake(self); /* it sees an error again when it writes or reads */
    }
}

uint64_t client_request_deadline(const struct rg_client *self, uint64_t now_us)
{
    return now_us + (uint64_t) self->options.request_timeout_ms * US_OF_MS;
}

void client_ref(struct rg_client *self)
{
    self->references++;
}

static void client_free(struct rg_client *self)
{
    publish_release(self);
    outbox_release(self);
    asks_release(self);
    subscriptions_release(self);
    watches_release(self);
    hash64_destroy(&self->pending);
    hash64_destroy(&self->channels);
    conn_release(&self->conn);
    addresses_release(&self->addresses);
    (void) pthread_cond_destroy(&self->first_over); /* nobody waits any more */
    (void) pthread_mutex_destroy(&self->lock);
    if (self->epoll_fd != -1) {
        (void) close(self->epoll_fd);
    }
    if (self->wake_fd != -1) {
        (void) close(self->wake_fd);
    }
    mem_free(self->name);
    mem_free(self->namespace_);
    mem_free(self);
}

void client_unref(struct rg_client *self)
{
    client_lock(self);
    bool is_last = --self->references == 0;
    client_unlock(self);
    if (is_last) {
        client_free(self);
    }
}

/* --- life --- */

static void default_u32(uint32_t *value, uint32_t otherwise)
{
    if (*value == 0) {
        *value = otherwise;
    }
}

static struct rg_options options_complete(const struct rg_options *given)
{
    struct rg_options options = given != NULL ? *given : (struct rg_options){0};
    default_u32(&options.connect_timeout_ms, 5000);
    default_u32(&options.request_timeout_ms, 10000);
    default_u32(&options.reconnect_min_ms, 20);
    default_u32(&options.reconnect_max_ms, 2000);
    default_u32(&options.heartbeat_ms, 10000);
    default_u32(&options.batch_records, 512);
    default_u32(&options.batch_bytes, 128 << 10);
    default_u32(&options.window_records, 65536);
    if (options.window_bytes == 0) {
        options.window_bytes = 8 << 20;
    }
    if (options.send_buffer_bytes == 0) {
        options.send_buffer_bytes = 4 << 20;
    }
    if (options.reconnect_max_ms < options.reconnect_min_ms) {
        options.reconnect_max_ms = options.reconnect_min_ms;
    }
    if (options.batch_records > 65536) {
        options.batch_records = 65536;
    }
    return options;
}

static struct rg_client *client_new(const struct rg_options *options)
{
    struct rg_client *self = MEM_NEW(struct rg_client);
    pthread_mutexattr_t attributes;
    (void) pthread_mutexattr_init(&attributes);
    /* The lock is held for a moment only: spin before sleeping. */
    (void) pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
    (void) pthread_mutex_init(&self->lock, &attributes);
    (void) pthread_mutexattr_destroy(&attributes);
    cond_init(&self->first_over);
    self->references = 1;
    self->options = options_complete(options);
    const char *name = self->options.name != NULL ? self->options.name : "librailgun/" RG_VERSION;
    self->name = mem_strdup(name);
    self->options.name = self->name;
    self->namespace_ = mem_strdup(self->options.namespace_ != NULL ? self->options.namespace_ : "");
    self->options.namespace_ = self->namespace_;
    conn_init(&self->conn);
    prng_init(&self->prng, entropy_u64());
    self->backoff_ms = self->options.reconnect_min_ms;
    self->pending = hash64_new();
    self->next_corr = 1;
    list_init(&self->calls);
    publish_init(self);
    outbox_init(self);
    asks_init(self);
    subscriptions_init(self);
    watches_init(self);
    self->channels = hash64_new();
    list_init(&self->consumers);
    list_init(&self->busy);
    list_init(&self->acks);
    self->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    self->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return self;
}

static int client_start(struct rg_client *self)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0};
    if (self->epoll_fd == -1 || self->wake_fd == -1 ||
        epoll_ctl(self->epoll_fd, EPOLL_CTL_ADD, self->wake_fd, &event) != 0) {
        return error_note(err_from_errno(errno), "cannot make descriptors: %s", strerror(errno));
    }
    /* The program's signals are its own threads' business. */
    sigset_t all;
    sigset_t before;
    (void) sigfillset(&all);
    (void) pthread_sigmask(SIG_SETMASK, &all, &before);
    client_lock(self); /* the thread looks at self->thread: it must be there first */
    int result = pthread_create(&self->thread, NULL, io_main, self);
    client_unlock(self);
    (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result != 0) {
        return error_note(err_from_errno(result), "cannot start a thread: %s", strerror(result));
    }
    return 0;
}

/* Until it is up, or all addresses were tried once, or the time is over. */
static int client_wait_first(struct rg_client *self)
{
    uint64_t until_us = client_now_us() + (uint64_t) self->options.connect_timeout_ms * US_OF_MS;
    int result = 0;
    client_lock(self);
    while (self->state != CLIENT_UP && !self->is_first_over) {
        if (!cond_wait_until(&self->first_over, &self->lock, until_us)) {
            break;
        }
    }
    if (self->state != CLIENT_UP && !self->was_up) {
        bool is_refused = self->is_first_over && self->last_reason != ERR_IO;
        result = is_refused ? self->last_reason : ERR_CLOSED;
        (void) error_note(result, "%s",
                          self->last_detail[0] != 0 ? self->last_detail : "no answer in time");
    }
    client_unlock(self);
    return result;
}

/* Stop the I/O thread, at that time at the latest, and drop the caller's reference. */
static void client_end(struct rg_client *self, uint64_t deadline_us)
{
    client_lock(self);
    self->is_closing = true;
    self->close_deadline_us = deadline_us;
    publish_seal_all(self);
    client_wake(self);
    client_unlock(self);
    int result = pthread_join(self->thread, NULL);
    INVARIANT(result == 0);
    client_unref(self);
}

int rg_connect(const char *addresses, const struct rg_options *options,
               struct rg_client **ret_client)
{
    if (addresses == NULL || ret_client == NULL) {
        return error_note(ERR_USAGE, "rg_connect: an argument is NULL");
    }
    if (options != NULL && options->name != NULL && strlen(options->name) > NAME_BYTES_MAX) {
        return error_note(ERR_USAGE, "rg_connect: the name is longer than 255 bytes");
    }
    if (options != NULL && options->name != NULL && !pb_is_text(span_of(options->name))) {
        return error_note(ERR_USAGE, "rg_connect: the name is not UTF-8");
    }
    if (options != NULL && options->namespace_ != NULL && options->namespace_[0] != 0) {
        const char *problem = name_check(span_of(options->namespace_));
        if (problem != NULL) {
            return error_note(ERR_USAGE, "rg_connect: namespace: %s", problem);
        }
    }
    struct rg_client *self = client_new(options);
    int result = addresses_parse(&self->addresses, addresses);
    if (result < 0) {
        (void) error_note(result, "not of the form host:port[,host:port...]: \"%s\"", addresses);
    } else {
        result = client_start(self);
    }
    if (result < 0) {
        client_free(self);
        return result;
    }
    result = client_wait_first(self);
    if (result < 0) {
        char detail[CLIENT_DETAIL_SIZE];
        (void) snprintf(detail, sizeof(detail), "%s", rg_last_error(NULL));
        client_end(self, 0); /* nothing was asked: there is nothing to wait for */
        return error_note(result, "%s", detail);
    }
    *ret_client = self;
    return 0;
}

/* What was published in the background has reached the server when it has answered something that came after it; without that it could be lost
 * with the connection. Not while nothing is read. */
static void client_settle(struct rg_client *self, uint64_t deadline_us)
{
    struct waiter waiter;
    struct call call = {.field = RAILGUN__FRAME__BODY_PING};
    if (self->outbox.next_serial == 0 || outbox_flush(self, deadline_us) < 0 ||
        self->state != CLIENT_UP || subscriptions_are_full(self)) {
        return;
    }
    waiter_init(&waiter);
    call.waiter = &waiter;
    call_start(self, &call, deadline_us);
    lead_wait(self, &waiter, call.pending.corr);
    waiter_release(&waiter);
    call_release(&call);
}

void rg_close(struct rg_client **client)
{
    if (client == NULL || *client == NULL || client_is_io_thread(*client)) {
        return;
    }
    struct rg_client *self = *client;
    uint64_t deadline_us = client_request_deadline(self, client_now_us());
    *client = NULL;
    client_lock(self);
    client_settle(self, deadline_us);
    client_unlock(self);
    client_end(self, deadline_us);
}

const char *rg_server_address(struct rg_client *client)
{
    if (client == NULL) {
        return "";
    }
    client_lock(client);
    const char *text = error_keep_text(client->state == CLIENT_UP ? client->address : "");
    client_unlock(client);
    return text;
}

int rg_ping(struct rg_client *client, uint64_t *ret_us)
{
    int result = client_check_blocking(client, "rg_ping");
    if (result < 0) {
        return result;
    }
    struct call call = {.field = RAILGUN__FRAME__BODY_PING, .may_repeat = true};
    uint64_t start_us = client_now_us();
    result = call_ask(client, &call, RAILGUN__FRAME__BODY_PONG);
    call_release(&call);
    if (result == 0 && ret_us != NULL) {
        *ret_us = client_now_us() - start_us;
    }
    return result;
}

void rg_free(void *memory)
{
    mem_free(memory);
}
