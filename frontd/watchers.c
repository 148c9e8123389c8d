/* watchers: see the header. Owns one struct for each open Watch. */
#include "frontd/watchers.h"

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"

#include "frontd/to_logd.h"
#include "frontd/upstream.h"

enum {
    WATCHERS_SESSION_MAX = 16,
    EVENTS_EVENTS = 1,
    EVENT_TYPE = 1,
    EVENT_COUNT = 6,
    EVENT_DETAIL = 9,
};

struct watcher {
    struct list node;
    struct session *session;
    uint32_t channel;
    uint64_t number; /* at logd; never re-used */
    struct buf watch;
    bool is_open;  /* WatchOk was sent */
    uint64_t lost; /* since it was told last */
};

struct watchers {
    struct frontd *frontd;
    struct list all;
    uint64_t last_number;
};

struct watchers *watchers_new(struct frontd *frontd)
{
    struct watchers *self = MEM_NEW(struct watchers);
    self->frontd = frontd;
    list_init(&self->all);
    return self;
}

void watchers_destroy(struct watchers **self)
{
    MEM_FREE(*self);
}

static struct watcher *watcher_of(struct list *node)
{
    return LIST_ENTRY(node, struct watcher, node);
}

static struct watcher *watchers_find(const struct watchers *self, const struct session *session,
                                     uint32_t channel)
{
    LIST_FOREACH (&self->all, node) {
        if (watcher_of(node)->session == session && watcher_of(node)->channel == channel) {
            return watcher_of(node);
        }
    }
    return NULL;
}

static struct watcher *watchers_find_number(const struct watchers *self, uint64_t number)
{
    LIST_FOREACH (&self->all, node) {
        if (watcher_of(node)->number == number) {
            return watcher_of(node);
        }
    }
    return NULL;
}

bool watchers_has(const struct watchers *self, const struct session *session, uint32_t channel)
{
    return watchers_find(self, session, channel) != NULL;
}

static void watcher_remove(struct watchers *self, struct watcher *watcher)
{
    to_logd_tell(self->frontd->logd, RAILGUN__BUS_TYPE__BUS_LOG_UNWATCH, watcher->number,
                 (struct span){0});
    list_remove(&watcher->node);
    buf_release(&watcher->watch);
    mem_free(watcher);
}

static void watch_done(struct request *request, enum bus_outcome outcome,
                       const struct bus_message *reply)
{
    struct watchers *self = request->frontd->watchers;
    struct watcher *watcher = watchers_find_number(self, request->consumer);
    if (watcher == NULL) {
        return; /* cancelled while logd was asked */
    }
    watcher->is_open = outcome == BUS_OK && reply->status == 0;
    session_pass_reply(request, outcome, reply, RAILGUN__FRAME__BODY_WATCH_OK, false);
    if (!watcher->is_open) {
        watcher_remove(self, watcher);
    }
}

static size_t watchers_count(const struct watchers *self, const struct session *session)
{
    size_t count = 0;
    LIST_FOREACH (&self->all, node) {
        count += watcher_of(node)->session == session;
    }
    return count;
}

int watchers_open(struct watchers *self, struct session *session, const struct frame_view *view)
{
    struct request *request = NULL;
    if (watchers_count(self, session) >= WATCHERS_SESSION_MAX) {
        return session_refuse(session, view, ERR_QUOTA, "at most 16 watchers a connection");
    }
    if (!to_logd_has_room(self->frontd->logd)) {
        return ERR_AGAIN;
    }
    int result = session_query(session, view, watch_done, &request);
    if (result != 0) {
        return result == ERR_AGAIN ? ERR_AGAIN : 0;
    }
    struct watcher *watcher = MEM_NEW(struct watcher);
    list_init(&watcher->node);
    watcher->session = session;
    watcher->channel = view->channel;
    watcher->number = ++self->last_number;
    buf_append(&watcher->watch, view->body);
    list_push_back(&self->all, &watcher->node);
    request->consumer = watcher->number;
    to_logd_ask(self->frontd->logd, request, RAILGUN__BUS_TYPE__BUS_LOG_WATCH, watcher->number,
                view->body, 0);
    return 0;
}

bool watchers_cancel(struct watchers *self, struct session *session, uint32_t channel)
{
    struct watcher *watcher = watchers_find(self, session, channel);
    if (watcher == NULL) {
        return false;
    }
    watcher_remove(self, watcher);
    return true;
}

void watchers_session_closed(struct watchers *self, struct session *session)
{
    LIST_FOREACH (&self->all, node) {
        if (watcher_of(node)->session == session) {
            watcher_remove(self, watcher_of(node));
        }
    }
}

/* --- events --- */

static void watcher_tell_lost(struct watcher *self, const char *detail)
{
    struct buf event = {0};
    struct buf events = {0};
    pb_append_varint(&event, EVENT_TYPE, RAILGUN__EVENT__TYPE__LOST);
    if (self->lost != 0) {
        pb_append_varint(&event, EVENT_COUNT, self->lost);
    }
    pb_append_bytes(&event, EVENT_DETAIL, span_of(detail));
    pb_append_bytes(&events, EVENTS_EVENTS, buf_span(&event));
    session_send(self->session, self->channel, 0, RAILGUN__FRAME__BODY_EVENTS, buf_span(&events));
    self->lost = 0;
    buf_release(&event);
    buf_release(&events);
}

static uint64_t events_count(struct span events)
{
    uint64_t count = 0;
    struct pb_field field;
    while (pb_next(&events, &field) == 1) {
        count += field.number == EVENTS_EVENTS;
    }
    return count;
}

void watchers_on_events(struct watchers *self, const struct bus_message *message)
{
    struct watcher *watcher = watchers_find_number(self, message->subject);
    if (watcher == NULL) {
        return;
    }
    struct session *session = watcher->session;
    uint64_t room = self->frontd->settings->outbound_bytes_max / 2;
    if (conn_outbound_bytes(session->conn) + message->meta.size > room) {
        watcher->lost += events_count(message->meta);
        return;
    }
    if (watcher->lost != 0) {
        watcher_tell_lost(watcher, "they were not read in time");
    }
    session_send(session, watcher->channel, 0, RAILGUN__FRAME__BODY_EVENTS, message->meta);
}

static void rewatch_done(struct request *request, enum bus_outcome outcome,
                         const struct bus_message *reply)
{
    struct watchers *self = request->frontd->watchers;
    struct watcher *watcher = watchers_find_number(self, request->consumer);
    if (watcher == NULL || outcome != BUS_OK || reply->status != 0) {
        return; /* logd is gone once more, or will be asked when it comes back */
    }
    watcher_tell_lost(watcher, "logd was restarted: events may be missing");
}

void watchers_logd_up(struct watchers *self)
{
    LIST_FOREACH (&self->all, node) {
        struct watcher *watcher = watcher_of(node);
        if (!watcher->is_open) {
            continue; /* its first request waits in the queue */
        }
        struct request *request = request_take(self->frontd->requests);
        request->frontd = self->frontd;
        request->consumer = watcher->number;
        request->done = rewatch_done;
        request->is_session_bound = true;
        to_logd_ask(self->frontd->logd, request, RAILGUN__BUS_TYPE__BUS_LOG_WATCH, watcher->number,
                    buf_span(&watcher->watch), 0);
    }
}
