/* conn: a socket, the frames that come out of it and the bytes that go in. Owns the socket, the bytes of a frame that is not
 * whole yet, frames its session could not take yet, the output queue and one timer. Must never allocate for a length that a
 * peer announced, nor do unbounded work in a turn. */
#include "frontd/conn_private.h"

#include <sys/socket.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/frame.h"

#include "frontd/answer.h"

enum {
    WRITE_BYTES_MAX = 1 << 20, /* of one connection in a turn */
    FRAME_RATE_MIN = 1024,     /* bytes a second of a frame that has begun */
    CLOSING_MS = 1000,
    SILENT_INTERVALS = 3,
};

static const struct sm_state conn_states[CONN_STATE_COUNT] = {
    [CONN_CONNECTED] = {"connected", SM_TO(CONN_READY) | SM_TO(CONN_CLOSING) | SM_TO(CONN_CLOSED)},
    [CONN_READY] = {"ready", SM_TO(CONN_DRAINING) | SM_TO(CONN_CLOSING) | SM_TO(CONN_CLOSED)},
    [CONN_DRAINING] = {"draining", SM_TO(CONN_CLOSING) | SM_TO(CONN_CLOSED)},
    [CONN_CLOSING] = {"closing", SM_TO(CONN_CLOSED)},
    [CONN_CLOSED] = {"closed", 0},
};

static void conn_timer_fire(struct wheel_timer *timer, void *ud);

enum conn_state conn_state(const struct conn *self)
{
    return (enum conn_state) self->sm.state;
}

void *conn_ud(const struct conn *self)
{
    return self->ud;
}

static bool conn_is_open(const struct conn *self)
{
    return self->sm.state != CONN_CLOSED;
}

/* --- the set --- */

static void conn_write(struct conn *self);

static void set_turn_end(void *ud)
{
    struct conn_set *self = ud;
    struct list due;
    wheel_cancel(loop_wheel(self->loop), &self->write_timer);
    list_take_all(&due, &self->dirty);
    struct list *node = NULL;
    while ((node = list_pop_front(&due)) != NULL) {
        conn_write(LIST_ENTRY(node, struct conn, of_dirty));
    }
}

static void set_bury(void *ud)
{
    struct conn_set *self = ud;
    struct list *node = NULL;
    while ((node = list_pop_front(&self->dead)) != NULL) {
        struct conn *conn = LIST_ENTRY(node, struct conn, of_dead);
        list_remove(&conn->of_all);
        conn->events->on_closed(conn->ud);
        mem_free(conn);
    }
}

static void set_resume_fire(struct wheel_timer *timer, void *ud)
{
    struct conn_set *self = ud;
    struct list due;
    (void) timer;
    list_take_all(&due, &self->resume);
    struct list *node = NULL;
    while ((node = list_pop_front(&due)) != NULL) {
        conn_show_pending(LIST_ENTRY(node, struct conn, of_stop));
    }
}

/* Makes the loop turn; what was queued behind the hook is written at the end of that turn. */
static void set_write_fire(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    (void) ud;
}

struct conn_set *conn_set_new(struct loop *loop, const struct conn_options *options)
{
    struct conn_set *self = MEM_NEW(struct conn_set);
    self->loop = loop;
    self->options = *options;
    self->chunks = chunks_new();
    self->pool = outq_pool_new();
    list_init(&self->all);
    list_init(&self->dirty);
    list_init(&self->blocked);
    list_init(&self->resume);
    list_init(&self->dead);
    wheel_timer_init(&self->resume_timer, set_resume_fire, self);
    wheel_timer_init(&self->write_timer, set_write_fire, self);
    loop_on_turn_end(loop, set_turn_end, self);
    return self;
}

void conn_set_destroy(struct conn_set **self)
{
    struct conn_set *set = *self;
    *self = NULL;
    if (set == NULL) {
        return;
    }
    LIST_FOREACH (&set->all, node) {
        conn_close(LIST_ENTRY(node, struct conn, of_all));
    }
    loop_defer_cancel(set->loop, set_bury, set);
    set_bury(set);
    wheel_cancel(loop_wheel(set->loop), &set->resume_timer);
    wheel_cancel(loop_wheel(set->loop), &set->write_timer);
    outq_pool_destroy(&set->pool);
    chunks_destroy(&set->chunks);
    mem_free(set);
}

const struct conn_counts *conn_set_counts(const struct conn_set *self)
{
    return &self->counts;
}

size_t conn_set_count(const struct conn_set *self)
{
    return self->count;
}

uint64_t conn_set_outbound_bytes(const struct conn_set *self)
{
    return outq_pool_bytes(self->pool);
}

uint64_t conn_set_inbound_bytes(const struct conn_set *self)
{
    return self->inbound_bytes;
}

size_t conn_set_blocked_count(const struct conn_set *self)
{
    return self->blocked_count;
}

void conn_set_each(struct conn_set *self, conn_visit_fn *visit, void *ud)
{
    LIST_FOREACH (&self->all, node) {
        struct conn *conn = LIST_ENTRY(node, struct conn, of_all);
        if (conn_is_open(conn)) {
            visit(ud, conn);
        }
    }
}

void conn_resume_soon(struct conn *self)
{
    list_push_back(&self->set->resume, &self->of_stop);
    if (!wheel_timer_is_running(&self->set->resume_timer)) {
        loop_timer_start(self->set->loop, &self->set->resume_timer, 0);
    }
}

static void conn_unblock(struct conn *self)
{
    if (self->is_blocked) {
        self->is_blocked = false;
        self->set->blocked_count--;
        list_remove(&self->of_stop);
        /* What the peer sent meanwhile was not looked at: that is not its silence. */
        self->received_ms = conn_now_ms(self);
        self->partial_since_ms = self->received_ms;
    }
}

void conn_retry(struct conn *self)
{
    if (self->is_blocked) {
        conn_unblock(self);
        conn_resume_soon(self);
    }
}

void conn_set_retry(struct conn_set *self)
{
    LIST_FOREACH (&self->blocked, node) {
        conn_retry(LIST_ENTRY(node, struct conn, of_stop));
    }
}

/* --- life --- */

struct conn *conn_new(struct conn_set *set, int fd, const struct conn_events *events, void *ud)
{
    struct conn *self = MEM_NEW(struct conn);
    self->set = set;
    self->events = events;
    self->ud = ud;
    self->fd = fd;
    self->interest = LOOP_READ;
    self->watch = loop_fd_add(set->loop, fd, LOOP_READ, conn_event, self);
    if (self->watch == NULL) {
        (void) close(fd); /* nothing was written to it */
        mem_free(self);
        return NULL;
    }
    sm_init(&self->sm, "conn", conn_states, CONN_CONNECTED);
    outq_init(&self->out, set->pool);
    list_init(&self->of_all);
    list_init(&self->of_dead);
    list_init(&self->of_dirty);
    list_init(&self->of_stop);
    list_push_back(&set->all, &self->of_all);
    set->count++;
    self->opened_ms = conn_now_ms(self);
    self->received_ms = self->opened_ms;
    self->sent_ms = self->opened_ms;
    self->heartbeat_ms = set->options.heartbeat_ms;
    wheel_timer_init(&self->timer, conn_timer_fire, self);
    loop_timer_start(set->loop, &self->timer, set->options.hello_timeout_ms);
    return self;
}

static void conn_drop_input(struct conn *self)
{
    conn_unblock(self);
    list_remove(&self->of_stop);
    slice_release(&self->pending[0]);
    slice_release(&self->pending[1]);
    payload_unref(&self->partial);
    self->partial_size = 0;
    self->partial_total = 0;
    conn_account(self);
}

void conn_close(struct conn *self)
{
    if (!conn_is_open(self)) {
        return;
    }
    struct conn_set *set = self->set;
    sm_move(&self->sm, CONN_CLOSED);
    wheel_cancel(loop_wheel(set->loop), &self->timer);
    loop_fd_remove(&self->watch);
    (void) close(self->fd); /* there is nothing to be done about an error */
    conn_drop_input(self);
    list_remove(&self->of_dirty);
    outq_release(&self->out);
    set->count--;
    if (list_is_empty(&set->dead)) {
        loop_defer(set->loop, set_bury, set);
    }
    list_push_back(&set->dead, &self->of_dead);
}

void conn_abort(struct conn *self)
{
    conn_close(self);
}

static void conn_watch(struct conn *self, unsigned interest)
{
    if (self->interest != interest) {
        self->interest = interest;
        loop_fd_change(self->watch, interest);
    }
}

void conn_update_watch(struct conn *self, bool is_full)
{
    unsigned interest = is_full ? LOOP_WRITE : 0;
    if (self->pending[0].owner == NULL && !self->is_ended) {
        interest |= LOOP_READ;
    }
    conn_watch(self, interest);
}

void conn_touch(struct conn *self)
{
    struct conn_set *set = self->set;
    if (!list_is_linked(&self->of_dirty)) {
        if (list_is_empty(&set->dirty)) {
            /* should the turn's hook be over already: deferred calls and later hooks send too */
            loop_timer_start(set->loop, &set->write_timer, 0);
        }
        list_push_back(&set->dirty, &self->of_dirty);
    }
}

void conn_finish(struct conn *self)
{
    if (!conn_takes_frames(self)) {
        return;
    }
    sm_move(&self->sm, CONN_CLOSING);
    conn_drop_input(self);
    conn_update_watch(self, (self->interest & LOOP_WRITE) != 0);
    loop_timer_start(self->set->loop, &self->timer, CLOSING_MS);
    conn_touch(self);
}

void conn_hold_end(struct conn *self, bool is_held)
{
    self->is_end_held = is_held;
    if (!is_held && self->is_ended) {
        conn_finish(self);
    }
}

void conn_fail(struct conn *self, int error, const char *detail)
{
    if (!conn_takes_frames(self)) {
        return;
    }
    const struct err_info *info = err_find(error);
    if (error == ERR_OVERLOADED) {
        self->set->counts.overloaded++;
    } else if (info != NULL && info->class_ == ERR_CLASS_REJECT) {
        self->set->counts.protocol_errors++;
    }
    struct buf frame = {0};
    answer_error_frame(&frame, 0, 0, error, detail);
    (void) outq_put(&self->out, buf_span(&frame)); /* without memory it is closed all the same */
    buf_release(&frame);
    conn_finish(self);
}

void conn_greeted(struct conn *self, uint64_t heartbeat_ms)
{
    sm_move(&self->sm, CONN_READY);
    self->heartbeat_ms = heartbeat_ms;
    loop_timer_start(self->set->loop, &self->timer, heartbeat_ms);
}

void conn_set_draining(struct conn *self)
{
    sm_move(&self->sm, CONN_DRAINING);
}

/* --- output --- */

struct largest {
    struct conn *conn;
    uint64_t bytes;
};

static void largest_visit(void *ud, struct conn *conn)
{
    struct largest *largest = ud;
    if (conn->out.bytes > largest->bytes && conn_takes_frames(conn)) {
        *largest = (struct largest){conn, conn->out.bytes};
    }
}

/* Something was queued: keep within the limits. */
static void conn_queued(struct conn *self, int result)
{
    struct conn_set *set = self->set;
    conn_touch(self);
    if (result != 0) {
        /* no memory, so a part of a frame may be missing: nothing more can be sent */
        conn_close(self);
    } else if (self->out.bytes > set->options.outbound_bytes_max + set->options.frame_bytes_max) {
        conn_fail(self, ERR_OVERLOADED, "replies are not read");
    } else if (outq_pool_bytes(set->pool) > set->options.outbound_total_bytes_max) {
        struct largest largest = {0};
        conn_set_each(set, largest_visit, &largest);
        if (largest.conn != NULL) {
            set->counts.overloaded++;
            conn_close(largest.conn);
        }
    }
}

void conn_send(struct conn *self, const struct span *parts, size_t part_count,
               const struct slice *tail)
{
    if (!conn_takes_frames(self)) {
        return;
    }
    int result = 0;
    for (size_t i = 0; i < part_count && result == 0; i++) {
        result = outq_put(&self->out, parts[i]);
    }
    if (tail != NULL && result == 0) {
        result = outq_put_slice(&self->out, tail);
    }
    conn_queued(self, result);
}

uint64_t conn_outbound_bytes(const struct conn *self)
{
    return self->out.bytes;
}

void conn_want_room_below(struct conn *self, uint64_t bytes)
{
    if (bytes > self->room_below) {
        self->room_below = bytes;
    }
    if (self->out.bytes < self->room_below) {
        conn_touch(self); /* else the output is being written already, or the socket is watched */
    }
}

void conn_want_room(struct conn *self)
{
    conn_want_room_below(self, self->set->options.outbound_bytes_max / 2);
}

static void conn_write(struct conn *self)
{
    size_t written = 0;
    int result = outq_write(&self->out, self->fd, WRITE_BYTES_MAX, &written);

    self->set->counts.bytes_out += written;
    if (written != 0) {
        self->sent_ms = conn_now_ms(self);
    }
    if (result != 0 && result != ERR_AGAIN) {
        conn_close(self);
        return;
    }
    if (self->sm.state == CONN_CLOSING && outq_is_empty(&self->out)) {
        if (self->is_ended) {
            conn_close(self);
            return;
        }
        if (!self->is_shut) {
            /* Closing now, with bytes of the peer unread, would reset the connection and could take the Error with it. */
            self->is_shut = true;
            /* an error means that the peer is gone: the timer closes */
            (void) shutdown(self->fd, SHUT_WR);
        }
    }
    conn_update_watch(self, !outq_is_empty(&self->out));
    if (self->out.bytes < self->room_below) {
        self->room_below = 0;
        self->events->on_room(self->ud);
    }
}

/* --- deadlines --- */

static bool conn_frame_is_slow(const struct conn *self, uint64_t now_ms)
{
    if (self->partial == NULL ||
        now_ms < self->partial_since_ms + self->set->options.frame_grace_ms) {
        return false;
    }
    return self->partial_size < (now_ms - self->partial_since_ms) / 1000 * FRAME_RATE_MIN;
}

static void conn_ping_if_quiet(struct conn *self, uint64_t now_ms)
{
    if (now_ms - self->sent_ms >= self->heartbeat_ms && outq_is_empty(&self->out)) {
        struct buf frame = {0};
        frame_append(&frame, 0, 0, RAILGUN__FRAME__BODY_PING, (struct span){0});
        struct span part = buf_span(&frame);
        conn_send(self, &part, 1, NULL);
        buf_release(&frame);
        self->sent_ms = now_ms;
    }
}

static void conn_timer_fire(struct wheel_timer *timer, void *ud)
{
    struct conn *self = ud;
    uint64_t now_ms = conn_now_ms(self);
    uint64_t silent_ms = self->heartbeat_ms * SILENT_INTERVALS;
    (void) timer;

    if (self->sm.state == CONN_CLOSING) {
        conn_close(self);
        return;
    }
    if (self->sm.state == CONN_CONNECTED &&
        now_ms >= self->opened_ms + self->set->options.hello_timeout_ms) {
        conn_fail(self, ERR_HELLO_REQUIRED, "no Hello in time");
        return;
    }
    if (conn_frame_is_slow(self, now_ms)) {
        conn_fail(self, ERR_PROTOCOL, "a frame that has begun must go on at 1 KiB/s");
        return;
    }
    uint64_t next_ms = self->opened_ms + self->set->options.hello_timeout_ms;
    if (self->sm.state != CONN_CONNECTED) {
        if (!self->is_blocked && now_ms >= self->received_ms + silent_ms) {
            conn_fail(self, ERR_HEARTBEAT_LOST, NULL);
            return;
        }
        conn_ping_if_quiet(self, now_ms);
        if (!conn_takes_frames(self)) {
            return;
        }
        uint64_t ping_ms = self->sent_ms + self->heartbeat_ms;
        uint64_t lost_ms = self->received_ms + silent_ms;
        next_ms = ping_ms < lost_ms ? ping_ms : lost_ms;
    }
    if (self->partial != NULL && next_ms > now_ms + self->set->options.frame_grace_ms) {
        next_ms = now_ms + self->set->options.frame_grace_ms;
    }
    wheel_add(loop_wheel(self->set->loop), &self->timer, next_ms > now_ms ? next_ms : now_ms + 100);
}
