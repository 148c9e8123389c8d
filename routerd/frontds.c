/* frontds: see the header. Owns what waits. Sending keeps the order of a session whatever its credit, so that an answer never overtakes a change that it does
 * not know of. */
#include "routerd/frontds.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/route_lease.h"

#include "routerd/router_own.h"

enum { WAITING_MIN = 8, ROOM_BYTES = 4 << 20, CLOSE_LINES_PER_SECOND = 5 };

struct outgoing {
    struct list link;
    uint16_t type;
    struct payload *meta;
};

void frontd_close(struct router *router, struct frontd *self, const char *why)
{
    if (!self->is_up || self->is_closing) {
        return;
    }
    uint64_t suppressed = 0;
    if (log_limit_pass(&router->close_limit, router->now_ms, CLOSE_LINES_PER_SECOND, &suppressed)) {
        log_warn("a session is ended",
                 "frontd=%u reason=\"%s\" suppressed=%" PRIu64 " action=\"it comes again\"",
                 self->instance, why, suppressed);
    }
    self->is_closing = true;
    router->out.close(router->out.ud, self->instance);
}

/* --- sending ----------------------------------------------------------------------------------------------- */

static void frontd_queue(struct router *router, struct frontd *self, uint16_t type,
                         struct span meta, struct payload **shared)
{
    struct payload *bytes = shared != NULL && *shared != NULL ? payload_ref(*shared) : NULL;
    if (bytes == NULL) {
        bytes = payload_copy(meta);
    }
    if (bytes == NULL || self->outbox_bytes + meta.size > router->options.outbound_bytes_max) {
        payload_unref(&bytes);
        frontd_close(router, self, "it does not take what it is sent");
        return;
    }
    if (shared != NULL && *shared == NULL) {
        *shared = payload_ref(bytes);
    }
    struct outgoing *outgoing = MEM_NEW(struct outgoing);
    outgoing->type = type;
    outgoing->meta = bytes;
    list_init(&outgoing->link);
    list_push_back(&self->outbox, &outgoing->link);
    self->outbox_bytes += meta.size;
}

void frontd_send(struct router *router, struct frontd *self, uint16_t type, struct span meta,
                 struct payload **shared)
{
    if (!self->is_up || self->is_closing) {
        return;
    }
    int result = list_is_empty(&self->outbox)
                     ? router->out.send(router->out.ud, self->instance, type, meta)
                     : ERR_AGAIN;
    if (result == ERR_AGAIN) {
        frontd_queue(router, self, type, meta, shared);
    } else if (result < 0) {
        frontd_close(router, self, err_name(result));
    }
}

static void frontd_drop_first(struct frontd *self)
{
    struct outgoing *outgoing = LIST_ENTRY(list_pop_front(&self->outbox), struct outgoing, link);
    self->outbox_bytes -= payload_size(outgoing->meta);
    payload_unref(&outgoing->meta);
    mem_free(outgoing);
}

void frontd_flush(struct router *router, struct frontd *self)
{
    while (self->is_up && !self->is_closing && !list_is_empty(&self->outbox)) {
        struct outgoing *outgoing = LIST_ENTRY(self->outbox.next, struct outgoing, link);
        int result = router->out.send(router->out.ud, self->instance, outgoing->type,
                                      payload_span(outgoing->meta));
        if (result == ERR_AGAIN) {
            return;
        }
        if (result < 0) {
            frontd_close(router, self, err_name(result));
            return;
        }
        frontd_drop_first(self);
    }
}

bool frontd_has_room(const struct frontd *self)
{
    return self->outbox_bytes < ROOM_BYTES;
}

/* --- messages that wait ------------------------------------------------------------------------------------ */

struct kept *frontd_keep(struct list *where, const struct router_message *message)
{
    struct kept *kept = (struct kept *) mem_try_new(sizeof(*kept) + message->meta.size);
    if (kept == NULL) {
        return NULL;
    }
    *kept = (struct kept){.message = *message};
    if (message->meta.size > 0) {
        memcpy(kept->bytes, message->meta.data, message->meta.size);
    }
    kept->message.meta = span_make(kept->bytes, message->meta.size);
    list_init(&kept->link);
    list_push_back(where, &kept->link);
    return kept;
}

void kept_free(struct kept **kept)
{
    list_remove(&(*kept)->link);
    MEM_FREE(*kept);
}

static void frontd_drop_kept(struct list *where)
{
    LIST_FOREACH (where, node) {
        struct kept *kept = LIST_ENTRY(node, struct kept, link);
        kept_free(&kept); /* its credit and its answer end with the session */
    }
}

void frontd_reset_session(struct frontd *self)
{
    while (!list_is_empty(&self->outbox)) {
        frontd_drop_first(self);
    }
    INVARIANT(self->outbox_bytes == 0);
    frontd_drop_kept(&self->inbox);
    frontd_drop_kept(&self->held);
    self->held_count = 0;
    self->held_bytes = 0;
    self->is_up = false;
    self->is_synced = false;
    self->is_closing = false;
    self->wants_ready = false;
    self->round = 0;
    self->sent = 0;
    self->applied = 0;
    self->settled = 0;
    self->has_serial = false;
    self->serial_last = 0;
    MEM_FREE(self->waiting);
    self->waiting_first = 0;
    self->waiting_count = 0;
    self->waiting_capacity = 0;
}

/* --- who is waited for ------------------------------------------------------------------------------------- */

bool frontd_is_owing(const struct frontd *self)
{
    if (!self->is_up) {
        return self->is_live; /* it is to come */
    }
    return !self->is_synced || self->applied < self->sent;
}

bool frontd_is_waited_for(const struct router *router, const struct frontd *self)
{
    return frontd_is_owing(self) && router->now_ms - self->quiet_ms < ROUTE_LEASE_MS;
}

uint64_t frontd_floor(const struct router *router, const struct frontd *self)
{
    if (!frontd_is_waited_for(router, self)) {
        return UINT64_MAX;
    }
    /* Before it has applied that we are ready, it may use what an earlier session of ours said. */
    bool is_settled = self->is_up && self->settled != 0 && self->applied >= self->settled;
    return is_settled ? self->applied : 0;
}

/* --- confirmations ----------------------------------------------------------------------------------------- */

void frontd_note(struct frontd *self, uint64_t serial, uint64_t seq)
{
    size_t end = self->waiting_first + self->waiting_count;
    if (self->waiting_count > 0 && self->waiting[end - 1].seq == seq) {
        self->waiting[end - 1].serial = serial;
        return;
    }
    if (end == self->waiting_capacity) {
        if (self->waiting_first > self->waiting_capacity / 2) {
            memmove(self->waiting, self->waiting + self->waiting_first,
                    self->waiting_count * sizeof(*self->waiting));
        } else {
            self->waiting_capacity =
                self->waiting_capacity != 0 ? 2 * self->waiting_capacity : WAITING_MIN;
            struct unconfirmed *larger = MEM_NEW_ARRAY(self->waiting_capacity, struct unconfirmed);
            if (self->waiting_count > 0) {
                memcpy(larger, self->waiting + self->waiting_first,
                       self->waiting_count * sizeof(*larger));
            }
            mem_free(self->waiting);
            self->waiting = larger;
        }
        self->waiting_first = 0;
        end = self->waiting_count;
    }
    self->waiting[end] = (struct unconfirmed){serial, seq};
    self->waiting_count++;
}

bool frontd_take(struct frontd *self, uint64_t seq, uint64_t *ret_serial)
{
    bool any = false;
    while (self->waiting_count > 0 && self->waiting[self->waiting_first].seq <= seq) {
        *ret_serial = self->waiting[self->waiting_first].serial;
        self->waiting_first++;
        self->waiting_count--;
        any = true;
    }
    if (self->waiting_count == 0) {
        self->waiting_first = 0;
    }
    return any;
}
