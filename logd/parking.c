/* parking: requests that came before the catalogue's news. Owns copies of their metas and references to their bodies. Keeps the
 * order: what comes for the same stream later is parked behind, and all are let go together. */
#include "logd/parking.h"

#include <stdlib.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "logd/answer.h"
#include "logd/catalog_client.h"
#include "logd/core.h"
#include "logd/stream_body.h"

struct parked {
    struct list link;
    struct bus_link *bus_link;
    struct bus_message message; /* meta and body are owned */
    uint64_t revision;
    uint64_t deadline_ms;
};

struct parking {
    struct logd *logd;
    struct list parked; /* in order of coming, so of deadline */
    uint32_t count;
    struct wheel_timer timer;
};

static void parking_free(struct parking *self, struct parked *parked)
{
    list_remove(&parked->link);
    self->count--;
    uint8_t *meta = NULL;
    memcpy(&meta, &parked->message.meta.data, sizeof(meta)); /* our copy, read-only for others */
    mem_free(meta);
    slice_release(&parked->message.body);
    mem_free(parked);
}

static void parking_start_timer(struct parking *self)
{
    if (list_is_empty(&self->parked)) {
        wheel_cancel(loop_wheel(self->logd->loop), &self->timer);
        return;
    }
    const struct parked *first = LIST_ENTRY(self->parked.next, struct parked, link);
    wheel_add(loop_wheel(self->logd->loop), &self->timer, first->deadline_ms);
}

static void parking_on_timer(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    struct parking *self = ud;
    uint64_t now_ms = loop_now_ms(self->logd->loop);
    while (!list_is_empty(&self->parked)) {
        struct parked *first = LIST_ENTRY(self->parked.next, struct parked, link);
        if (first->deadline_ms > now_ms) {
            break;
        }
        struct answer_error error = {
            .error = first->revision != 0 ? ERR_NO_QUORUM : ERR_NOT_FOUND,
            .detail = "logd has not heard of this stream from the catalogue",
        };
        answer_release(self->logd, first->message.ticket);
        answer_error(self->logd, first->message.ticket, &error);
        parking_free(self, first);
    }
    parking_start_timer(self);
}

struct parking *parking_new(struct logd *logd)
{
    struct parking *self = MEM_NEW(struct parking);
    self->logd = logd;
    list_init(&self->parked);
    wheel_timer_init(&self->timer, parking_on_timer, self);
    return self;
}

void parking_destroy(struct parking **self)
{
    if (*self == NULL) {
        return;
    }
    LIST_FOREACH (&(*self)->parked, node) {
        parking_free(*self, LIST_ENTRY(node, struct parked, link));
    }
    wheel_cancel(loop_wheel((*self)->logd->loop), &(*self)->timer);
    MEM_FREE(*self);
}

int parking_take(struct parking *self, struct bus_link *link, struct bus_message *message,
                 uint64_t revision)
{
    struct logd *logd = self->logd;
    bool may_come = revision != 0 ? revision > catalog_client_revision(logd->catalog)
                                  : message->subject > logd->log_group_max;
    if (logd->catalog == NULL || !may_come) {
        return ERR_NOT_FOUND;
    }
    if (logd->draining) {
        return ERR_GOING_AWAY;
    }
    if (self->count >= logd->options.parked_max) {
        (*logd->count.overloaded)++;
        return ERR_OVERLOADED;
    }
    struct parked *parked = MEM_NEW(struct parked);
    parked->bus_link = link;
    parked->message = *message;
    parked->message.meta =
        span_make(mem_copy(message->meta.data, message->meta.size), message->meta.size);
    parked->message.body = slice_ref(&message->body);
    parked->revision = revision;
    parked->deadline_ms = loop_now_ms(logd->loop) + logd->options.park_ms;
    bus_message_hold(message);
    list_push_back(&self->parked, &parked->link);
    self->count++;
    (*logd->count.parked)++;
    if (!wheel_timer_is_running(&self->timer)) {
        parking_start_timer(self);
    }
    return 0;
}

void parking_wake(struct parking *self)
{
    struct logd *logd = self->logd;
    uint64_t revision = catalog_client_revision(logd->catalog);
    LIST_FOREACH (&self->parked, node) {
        struct parked *parked = LIST_ENTRY(node, struct parked, link);
        bool seen = parked->revision != 0 && parked->revision <= revision;
        if (!seen && streams_find(logd, parked->message.subject) == NULL) {
            continue;
        }
        list_remove(&parked->link);
        struct bus_message message = parked->message;
        message.held = false; /* so that we see whether the handler keeps it */
        logd_dispatch(logd, parked->bus_link, &message);
        if (!message.held) {
            answer_release(logd, message.ticket);
        }
        parking_free(self, parked);
    }
    parking_start_timer(self);
}

void parking_refuse(struct parking *self, int error)
{
    LIST_FOREACH (&self->parked, node) {
        struct parked *parked = LIST_ENTRY(node, struct parked, link);
        answer_release(self->logd, parked->message.ticket);
        answer_error(self->logd, parked->message.ticket, &(struct answer_error){.error = error});
        parking_free(self, parked);
    }
}

void parking_link_down(struct parking *self, const struct bus_link *link)
{
    LIST_FOREACH (&self->parked, node) {
        struct parked *parked = LIST_ENTRY(node, struct parked, link);
        if (parked->bus_link == link) {
            parking_free(self, parked);
        }
    }
}
