/* events: tells watchers at frontds what happens in streams and groups. Owns the watchers and what is not sent to them yet, which is bounded: what a
 * watcher is too slow for is counted, and it is told the count. Must never hold anything up. */
#include "logd/events.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/list.h"
#include "common/base/mem.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "logd/answer.h"
#include "logd/group_state.h"
#include "logd/stream_body.h"

enum {
    EVENTS_WATCHERS_MAX = 1000,
    EVENTS_PENDING_MAX = 64 << 10, /* bytes that wait for one watcher */
};

enum { /* of client.proto */
       EVENTS_EVENTS = 1,
       EVENT_TYPE = 1,
       EVENT_TS = 2,
       EVENT_STREAM = 3,
       EVENT_GROUP = 4,
       EVENT_RANGE = 5,
       EVENT_COUNT = 6,
       EVENT_EPOCH = 7,
       EVENT_CONSUMER = 8,
       EVENT_DETAIL = 9,
       CONFIG_NAME = 2, /* of EntryConfig, log.proto */
};

struct watcher {
    struct list node;
    struct bus_link *link;
    uint64_t number; /* the frontd's */
    char *stream;    /* NULL: of all */
    char *group;
    struct buf pending; /* Events, encoded */
    uint64_t lost;      /* since it was told last */
    bool is_blocked;
};

struct events {
    struct logd *logd;
    struct list watchers;
    size_t count;
    struct buf one; /* an event while it is given to all */
};

struct events *events_new(struct logd *logd)
{
    struct events *self = MEM_NEW(struct events);
    self->logd = logd;
    list_init(&self->watchers);
    return self;
}

static void watcher_destroy(struct events *self, struct watcher *watcher)
{
    list_remove(&watcher->node);
    mem_free(watcher->stream);
    mem_free(watcher->group);
    buf_release(&watcher->pending);
    mem_free(watcher);
    self->count--;
}

void events_destroy(struct events **self)
{
    struct events *events = *self;
    if (events == NULL) {
        return;
    }
    LIST_FOREACH (&events->watchers, node) {
        watcher_destroy(events, LIST_ENTRY(node, struct watcher, node));
    }
    buf_release(&events->one);
    MEM_FREE(*self);
}

/* --- telling --- */

static void put_text(struct buf *out, uint32_t number, struct span text)
{
    if (text.size != 0) {
        pb_append_bytes(out, number, text);
    }
}

static void put_number(struct buf *out, uint32_t number, uint64_t value)
{
    if (value != 0) {
        pb_append_varint(out, number, value);
    }
}

static void event_encode(struct buf *out, uint64_t now_us, struct span stream,
                         const struct event *event)
{
    buf_reset(out);
    pb_append_varint(out, EVENT_TYPE, (uint64_t) event->type);
    pb_append_fixed64(out, EVENT_TS, now_us);
    put_text(out, EVENT_STREAM, stream);
    put_text(out, EVENT_GROUP, event->group);
    if (event->first != 0) {
        group_range_append(out, EVENT_RANGE, event->first, event->last);
    }
    put_number(out, EVENT_COUNT, event->count);
    put_number(out, EVENT_EPOCH, event->epoch);
    put_text(out, EVENT_CONSUMER, event->consumer);
    put_text(out, EVENT_DETAIL, event->detail);
}

static void watcher_send(struct events *self, struct watcher *watcher)
{
    if (watcher->lost != 0 && watcher->pending.size < EVENTS_PENDING_MAX) {
        event_encode(&self->one, timesource_real_us(self->logd->time), (struct span){0},
                     &(struct event){.type = RAILGUN__EVENT__TYPE__LOST, .count = watcher->lost});
        pb_append_bytes(&watcher->pending, EVENTS_EVENTS, buf_span(&self->one));
        watcher->lost = 0;
    }
    struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_LOG_EVENTS,
                               .subject = watcher->number,
                               .meta = buf_span(&watcher->pending)};
    int error = bus_event(watcher->link, &out);
    watcher->is_blocked = error == ERR_AGAIN;
    if (error == 0) {
        buf_reset(&watcher->pending);
    }
}

static struct span stream_name(const struct stream *stream)
{
    struct span rest = buf_span(&stream->config);
    struct span name = {0};
    struct pb_field field;
    while (pb_next(&rest, &field) == 1) {
        if (field.number == CONFIG_NAME && field.type == PB_BYTES) {
            name = field.bytes;
        }
    }
    return name;
}

void events_note(struct events *self, const struct stream *stream, const struct event *event)
{
    if (self->count == 0) {
        return;
    }
    struct span name = stream_name(stream);
    bool is_encoded = false;
    LIST_FOREACH (&self->watchers, node) {
        struct watcher *watcher = LIST_ENTRY(node, struct watcher, node);
        if ((watcher->stream != NULL && !span_is(name, watcher->stream)) ||
            (watcher->group != NULL && !span_is(event->group, watcher->group))) {
            continue;
        }
        if (!is_encoded) {
            event_encode(&self->one, timesource_real_us(self->logd->time), name, event);
            is_encoded = true;
        }
        if (watcher->pending.size + self->one.size > EVENTS_PENDING_MAX) {
            watcher->lost++;
        } else {
            pb_append_bytes(&watcher->pending, EVENTS_EVENTS, buf_span(&self->one));
        }
    }
}

void events_flush(struct events *self)
{
    LIST_FOREACH (&self->watchers, node) {
        struct watcher *watcher = LIST_ENTRY(node, struct watcher, node);
        if (!watcher->is_blocked && (watcher->pending.size != 0 || watcher->lost != 0)) {
            watcher_send(self, watcher);
        }
    }
}

/* --- watchers --- */

static struct watcher *watcher_find(const struct events *self, const struct bus_link *link,
                                    uint64_t number)
{
    LIST_FOREACH (&self->watchers, node) {
        struct watcher *watcher = LIST_ENTRY(node, struct watcher, node);
        if (watcher->link == link && watcher->number == number) {
            return watcher;
        }
    }
    return NULL;
}

static char *text_of(const char *text)
{
    return text != NULL && text[0] != '\0' ? mem_strdup(text) : NULL;
}

void events_handle_watch(struct events *self, struct bus_link *link, struct bus_message *message)
{
    Railgun__Watch *watch = NULL;
    int error = SCAN_UNPACK(message->meta, railgun__watch, &watch);
    if (error == 0 && watcher_find(self, link, message->subject) != NULL) {
        error = ERR_BAD_REQUEST; /* a frontd gives each its own number */
    } else if (error == 0 && self->count >= EVENTS_WATCHERS_MAX) {
        error = ERR_QUOTA;
    }
    if (error != 0) {
        answer_error(self->logd, message->ticket, &(struct answer_error){.error = error});
        SCAN_FREE(&watch);
        return;
    }
    struct watcher *watcher = MEM_NEW(struct watcher);
    list_init(&watcher->node);
    watcher->link = link;
    watcher->number = message->subject;
    watcher->stream = text_of(watch->stream);
    watcher->group = text_of(watch->group);
    list_push_back(&self->watchers, &watcher->node);
    self->count++;
    answer_ok(self->logd, message->ticket, message->type, (struct span){0}, NULL);
    SCAN_FREE(&watch);
}

void events_handle_unwatch(struct events *self, struct bus_link *link,
                           const struct bus_message *message)
{
    struct watcher *watcher = watcher_find(self, link, message->subject);
    if (watcher != NULL) {
        watcher_destroy(self, watcher);
    }
}

void events_link_ready(struct events *self, struct bus_link *link)
{
    LIST_FOREACH (&self->watchers, node) {
        struct watcher *watcher = LIST_ENTRY(node, struct watcher, node);
        if (watcher->link == link) {
            watcher->is_blocked = false;
        }
    }
}

void events_link_down(struct events *self, struct bus_link *link)
{
    LIST_FOREACH (&self->watchers, node) {
        struct watcher *watcher = LIST_ENTRY(node, struct watcher, node);
        if (watcher->link == link) {
            watcher_destroy(self, watcher);
        }
    }
}
