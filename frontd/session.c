/* session: takes a client's frames, finds their handlers, keeps its open requests and channels, and sends its answers. Owns itself: it goes when
 * its connection is closed. Requests that are still under way then lose their session; consumers are detached. Must never touch record bytes. */
#include "frontd/session.h"

#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/base/name.h"
#include "common/base/str.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"

#include "frontd/answer.h"
#include "frontd/channel.h"
#include "frontd/ephemeral.h"
#include "frontd/handle.h"
#include "frontd/routers.h"
#include "frontd/subscription.h"
#include "frontd/upstream.h"
#include "frontd/watchers.h"

enum { FIELD_BATCH = 15 }; /* of Deliver and ReadOk */

#define BODY(name) RAILGUN__FRAME__BODY_##name

/* What clients may send. */
static session_handler_fn *const handlers[] = {
    [BODY(HELLO)] = handle_hello,
    [BODY(AUTH)] = handle_auth,
    [BODY(PING)] = handle_ping,
    [BODY(PONG)] = handle_pong,
    [BODY(PUBLISH)] = handle_publish,
    [BODY(READ)] = handle_read,
    [BODY(CONSUME)] = handle_consume,
    [BODY(CREDIT)] = handle_credit,
    [BODY(ACK)] = handle_ack,
    [BODY(EXTEND)] = handle_extend,
    [BODY(CANCEL)] = handle_cancel,
    [BODY(ENSURE)] = handle_ensure,
    [BODY(DESCRIBE)] = handle_describe,
    [BODY(LIST)] = handle_list,
    [BODY(DELETE)] = handle_delete,
    [BODY(UNDELETE)] = handle_undelete,
    [BODY(LOCK)] = handle_lock,
    [BODY(PENDING)] = handle_pending,
    [BODY(GROUP_CONTROL)] = handle_group_control,
    [BODY(DEAD_LETTERS)] = handle_dead_letters,
    [BODY(WATCH)] = handle_watch,
    [BODY(PURGE)] = handle_purge,
    [BODY(DEDUP)] = handle_dedup,
    [BODY(ES_PUBLISH)] = handle_es_publish,
    [BODY(ES_SUBSCRIBE)] = handle_es_subscribe,
    [BODY(REQUEST)] = handle_request,
    [BODY(REQUEST_CANCEL)] = handle_request_cancel,
    [BODY(REPLY)] = handle_reply,
};

static int session_frame(void *ud, struct span frame, struct payload *owner)
{
    struct session *self = ud;
    struct frame_view view;
    int result = frame_parse(frame, &view);
    if (result != 0) {
        return result;
    }
    if (conn_state(self->conn) == CONN_CONNECTED && view.field != BODY(HELLO)) {
        conn_fail(self->conn, ERR_HELLO_REQUIRED, NULL);
        return 0;
    }
    if (view.field == BODY(ES_PUBLISH) || view.field == BODY(REQUEST)) {
        routers_check_pause(self->frontd->routers); /* now that it was read, not before */
    }
    session_handler_fn *handler =
        view.field < sizeof(handlers) / sizeof(handlers[0]) ? handlers[view.field] : NULL;
    if (handler == NULL) {
        /* With corr 0 nobody waits for an answer, and an Error with corr 0 would end the connection. */
        return session_refuse(self, &view, ERR_UNKNOWN_FRAME, NULL);
    }
    return handler(self, &view, owner);
}

static void session_room(void *ud)
{
    struct session *self = ud;
    conn_retry(self->conn);
    channels_touch_session(self);
    subscriptions_session_room(self);
}

static void session_closed(void *ud)
{
    struct session *self = ud;
    self->is_dead = true;
    /* While we drain, they leave because of us. */
    channels_close_session(self, !self->frontd->is_draining);
    ephemeral_session_closed(self);
    watchers_session_closed(self->frontd->watchers, self);
    struct list *node = NULL;
    while ((node = list_pop_front(&self->requests)) != NULL) {
        LIST_ENTRY(node, struct request, of_session)->session = NULL;
    }
    limits_leave(self->frontd->limits, &self->address);
    hash64_destroy(&self->by_corr);
    hash64_destroy(&self->by_number);
    hash64_destroy(&self->subscription_by_number);
    mem_free(self->namespace_text);
    mem_free(self);
}

static const struct conn_events session_events = {
    .on_frame = session_frame,
    .on_room = session_room,
    .on_closed = session_closed,
};

bool session_open(struct frontd *frontd, int fd, const struct limits_address *address,
                  const char *address_text)
{
    struct session *self = MEM_NEW(struct session);
    self->frontd = frontd;
    self->address = *address;
    /* too long is left empty: for people only */
    (void) str_copy(self->address_text, sizeof(self->address_text), span_of(address_text));
    list_init(&self->requests);
    list_init(&self->channels);
    list_init(&self->subscriptions);
    list_init(&self->asked);
    list_init(&self->unsent);
    list_init(&self->awaiting);
    self->namespace_ = span_of(SESSION_NAMESPACE);
    self->publisher = ++frontd->last_publisher;
    self->conn = conn_new(frontd->conns, fd, &session_events, self);
    if (self->conn == NULL) {
        mem_free(self);
        return false;
    }
    return true;
}

void session_drain(struct session *self, uint64_t deadline_ms)
{
    if (conn_state(self->conn) == CONN_CONNECTED) {
        conn_fail(self->conn, ERR_GOING_AWAY, NULL);
        return;
    }
    if (conn_state(self->conn) != CONN_READY) {
        return;
    }
    struct buf body = {0};
    pb_append_varint(&body, 1, deadline_ms);
    pb_append_bytes(&body, 3, span_of("this node drains"));
    session_send(self, 0, 0, BODY(GO_AWAY), buf_span(&body));
    buf_release(&body);
    conn_set_draining(self->conn);
}

bool session_is_idle(const struct session *self)
{
    return self->request_count == 0 && self->channel_count == 0 && list_is_empty(&self->asked);
}

/* --- answers --- */

void session_send(struct session *self, uint32_t channel, uint64_t corr, uint32_t field,
                  struct span body)
{
    uint8_t head[FRAME_HEAD_SIZE_MAX];
    struct span parts[2] = {
        span_make(head, frame_put_head(head, channel, corr, field, body.size)),
        body,
    };
    conn_send(self->conn, parts, 2, NULL);
}

void session_send_batch(struct session *self, uint32_t channel, uint64_t corr, uint32_t field,
                        struct span meta, const struct slice *batch)
{
    uint8_t head[FRAME_HEAD_SIZE_MAX];
    uint8_t tag[PB_TAG_SIZE_MAX + PB_LENGTH_SIZE_MAX];
    size_t batch_size = batch->bytes.size;
    if (batch_size == 0) {
        session_send(self, channel, corr, field, meta);
        return;
    }
    uint8_t *end = pb_put_varint(pb_put_tag(tag, FIELD_BATCH, PB_BYTES), batch_size);
    size_t tag_size = (size_t) (end - tag);
    size_t body_size = meta.size + tag_size + batch_size;
    struct span parts[3] = {
        span_make(head, frame_put_head(head, channel, corr, field, body_size)),
        meta,
        span_make(tag, tag_size),
    };
    conn_send(self->conn, parts, 3, batch);
}

void session_send_error(struct session *self, uint32_t channel, uint64_t corr, int error,
                        const char *detail)
{
    ++*self->frontd->counters.errors;
    if (corr == 0) {
        return;
    }
    struct buf body = {0};
    answer_error_body(&body, error, detail);
    session_send(self, channel, corr, BODY(ERROR), buf_span(&body));
    buf_release(&body);
}

int session_refuse(struct session *self, const struct frame_view *view, int error,
                   const char *detail)
{
    session_send_error(self, view->channel, view->corr, error, detail);
    return 0;
}

static void session_send_no_answer(struct request *request, enum bus_outcome outcome,
                                   bool changes_something)
{
    char detail[96];
    const char *daemon = upstream_name(request->upstream);
    if (outcome == BUS_FAILED) {
        (void) snprintf(detail, sizeof(detail), "%s is not reachable", daemon);
    } else {
        (void) snprintf(detail, sizeof(detail), "no answer from %s", daemon);
    }
    bool is_unsure = outcome == BUS_UNKNOWN && changes_something;
    session_send_error(request->session, request->channel, request->corr,
                       is_unsure ? ERR_TIMEOUT : ERR_NO_QUORUM, detail);
}

void session_pass_reply(struct request *request, enum bus_outcome outcome,
                        const struct bus_message *reply, uint32_t field, bool changes_something)
{
    struct session *self = request->session;
    if (self == NULL) {
        return;
    }
    if (outcome != BUS_OK) {
        session_send_no_answer(request, outcome, changes_something);
    } else if (reply->status != 0 && reply->meta.size == 0) {
        session_send_error(self, request->channel, request->corr, reply->status, NULL);
    } else if (reply->status != 0) {
        ++*self->frontd->counters.errors;
        if (request->corr != 0) {
            session_send(self, request->channel, request->corr, BODY(ERROR), reply->meta);
        }
    } else if (request->corr != 0) {
        session_send(self, request->channel, request->corr, field, reply->meta);
    }
}

/* --- requests --- */

bool session_corr_is_open(const struct session *self, uint64_t corr)
{
    return corr != 0 && self->by_corr != NULL && hash64_get(self->by_corr, corr) != NULL;
}

void session_corr_open(struct session *self, uint64_t corr)
{
    if (corr == 0) {
        return;
    }
    if (self->by_corr == NULL) {
        self->by_corr = hash64_new();
    }
    (void) hash64_put(self->by_corr, corr, self); /* was absent; only its presence counts */
}

void session_corr_close(struct session *self, uint64_t corr)
{
    if (corr != 0 && self->by_corr != NULL) {
        (void) hash64_remove(self->by_corr, corr); /* only its presence counted */
    }
}

bool session_channel_is_used(const struct session *self, uint32_t channel)
{
    return session_find_channel(self, channel) != NULL ||
           session_find_subscription(self, channel) != NULL ||
           watchers_has(self->frontd->watchers, self, channel);
}

int session_request(struct session *self, const struct frame_view *view, request_done_fn *done,
                    struct request **ret_request)
{
    if (self->request_count >= self->frontd->settings->requests_max) {
        return ERR_AGAIN;
    }
    if (self->frontd->is_grace_over) {
        (void) session_refuse(self, view, ERR_GOING_AWAY, NULL);
        return 1;
    }
    if (session_corr_is_open(self, view->corr)) {
        (void) session_refuse(self, view, ERR_BAD_REQUEST, "corr is in use by an open request");
        return 1;
    }
    struct request *request = request_take(self->frontd->requests);
    request->frontd = self->frontd;
    request->session = self;
    request->channel = view->channel;
    request->corr = view->corr;
    request->done = done;
    session_corr_open(self, view->corr);
    list_push_back(&self->requests, &request->of_session);
    self->request_count++;
    *ret_request = request;
    return 0;
}

int session_query(struct session *self, const struct frame_view *view, request_done_fn *done,
                  struct request **ret_request)
{
    if (view->corr == 0) {
        /* only counted: there is nobody to tell */
        (void) session_refuse(self, view, ERR_BAD_REQUEST, NULL);
        return 1;
    }
    return session_request(self, view, done, ret_request);
}

void session_request_end(struct session *self, struct request *request)
{
    session_corr_close(self, request->corr);
    list_remove(&request->of_session);
    self->request_count--;
    self->publish_bytes -= request->publish_bytes;
    self->reply_bytes -= request->reply_bytes;
    conn_retry(self->conn);
}

/* --- names --- */

const char *session_name_problem(const char *what, struct span name, char *out, size_t capacity)
{
    const char *problem = name_check(name);
    if (problem == NULL) {
        return NULL;
    }
    (void) snprintf(out, capacity, "%s: %s", what, problem); /* cut when too long */
    return out;
}

static void session_refuse_changed(struct session *self, const struct frame_view *view,
                                   const struct catalog_stream *stream)
{
    struct buf body = {0};
    answer_error_body(&body, ERR_STREAM_CHANGED, NULL);
    pb_append_bytes(&body, 9, span_make(stream->id.bytes, sizeof(stream->id.bytes)));
    ++*self->frontd->counters.errors;
    if (view->corr != 0) {
        session_send(self, view->channel, view->corr, BODY(ERROR), buf_span(&body));
    }
    buf_release(&body);
}

int session_find_stream(struct session *self, const struct frame_view *view, struct span name,
                        struct span pin, int unknown_error,
                        const struct catalog_stream **ret_stream)
{
    struct frontd *frontd = self->frontd;
    const struct catalog_stream *stream = NULL;
    if (!span_is(self->namespace_, SESSION_NAMESPACE)) {
        (void) session_refuse(self, view, ERR_UNSUPPORTED,
                              "persistent streams live in the namespace \"default\" only");
        return 1;
    }
    stream = catalog_find_stream(frontd->catalog, name);
    if (stream == NULL) {
        char text[128];
        const char *problem = session_name_problem("stream", name, text, sizeof(text));
        if (problem != NULL) {
            (void) session_refuse(self, view, ERR_BAD_REQUEST, problem);
        } else if (catalog_find_deleted(frontd->catalog, name) != NULL) {
            (void) session_refuse(self, view, ERR_STREAM_DELETED, NULL);
        } else if (catalog_is_known(frontd->catalog)) {
            (void) session_refuse(self, view, unknown_error, NULL);
        } else if (loop_now_ms(frontd->loop) <
                   frontd->started_ms + frontd->settings->catalog_wait_ms) {
            return ERR_AGAIN;
        } else {
            (void) session_refuse(self, view, ERR_NO_QUORUM, "raftd is not reachable");
        }
        return 1;
    }
    if (pin.size != 0 && !span_equal(pin, span_make(stream->id.bytes, sizeof(stream->id.bytes)))) {
        session_refuse_changed(self, view, stream);
        return 1;
    }
    *ret_stream = stream;
    return 0;
}

int session_find_group(struct session *self, const struct frame_view *view,
                       const struct catalog_stream *stream, struct span name,
                       const struct catalog_group **ret_group)
{
    const struct catalog_group *group = catalog_find_group(self->frontd->catalog, stream, name);
    if (group == NULL) {
        (void) session_refuse(self, view, ERR_NOT_FOUND, "no such group");
        return 1;
    }
    *ret_group = group;
    return 0;
}
