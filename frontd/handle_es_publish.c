/* handle_es_publish: the hot path of ephemeral messages. A frame is walked once: what follows one another with the same topic is one run, looked up once and
 * passed on as the bytes that came. A frame is all or nothing in time: while a topic has no route, or a neighbour no room, all of it waits (inlet.h). */
#include "frontd/handle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/topic.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/es.h"
#include "common/wire/pb.h"

#include "frontd/exchange.h"
#include "frontd/inlet.h"
#include "frontd/routes.h"
#include "frontd/switch.h"

enum { MATCHED_FIELD = 1, SCRATCH_KEPT_MAX = 256 << 10 };

/* Messages with one route, one behind the other. */
struct publish_run {
    struct span messages;
    uint32_t count;
    const struct route *route; /* NULL: no route yet, or bad */
};

/* One frame under way. */
struct publish {
    struct session *session;
    const struct frame_view *view;
    struct payload *owner;
    struct exchange *exchange;
    struct span messages;
    struct buf *runs;       /* of struct publish_run */
    struct span topic;      /* of the last run */
    uint32_t count;         /* of all messages */
    uint32_t bad_count;     /* of them: not published */
    const char *bad_reason; /* of the first bad one; NULL: none */
    int bad_error;
    uint32_t bad_index;
    bool is_waiting; /* a topic has no route yet */
};

/* --- walking over the frame --- */

static void publish_bad(struct publish *self, int error, const char *reason)
{
    self->bad_count++;
    if (self->bad_reason == NULL) {
        self->bad_error = error;
        self->bad_reason = reason;
        self->bad_index = self->count;
    }
}

static struct publish_run *publish_last(const struct publish *self)
{
    return (struct publish_run *) (void *) (self->runs->data + self->runs->size) - 1;
}

static bool publish_run_add(struct publish *self, const struct es_message *message,
                            const struct route *route)
{
    struct publish_run run = {message->field, 1, route};
    uint8_t *at = buf_try_reserve(self->runs, sizeof(run));
    if (at == NULL) {
        return false;
    }
    memcpy(at, &run, sizeof(run));
    buf_advance(self->runs, sizeof(run));
    self->topic = message->topic;
    return true;
}

/* Remember which topics had no route: they are asked for first when the frame is tried again. */
static void publish_wait(struct publish *self, struct span topic)
{
    struct inlet_memo *memo = inlet_memo(self->session->frontd);
    uint64_t at = (uint64_t) (topic.data - self->view->body.data) << 8 | topic.size;
    if (!self->is_waiting) {
        memo->first = at;
    }
    memo->last = at;
    memo->is_set = true;
    self->is_waiting = true;
}

/* The next message has another topic, or does not lie behind the last one. 0, or an error that ends the connection. */
static int publish_other(struct publish *self, const struct es_message *message)
{
    struct frontd *frontd = self->session->frontd;
    const struct route *route = NULL;
    bool is_bad = false;
    if (message->reply_to.size != 0) {
        publish_bad(self, ERR_BAD_REQUEST, "reply_to: set by the server only");
        return 0;
    }
    switch (routes_find(frontd->routes, self->exchange, message->topic, self->session->publisher,
                        &route, &is_bad)) {
    case ROUTES_WAIT:
        publish_wait(self, message->topic);
        route = NULL;
        break;
    case ROUTES_REFUSED:
        if (is_bad) {
            publish_bad(self, ERR_BAD_REQUEST, topic_check(message->topic));
        } else {
            publish_bad(self, ERR_QUOTA, "too many live topics");
        }
        return 0;
    case ROUTES_FOUND:
        if (route->error != 0) {
            publish_bad(self, route->error, "more match than one message may go to");
            return 0;
        }
        break;
    }
    return publish_run_add(self, message, route) ? 0 : ERR_OVERLOADED;
}

/* All messages. 0; ERR_PROTOCOL: malformed; ERR_TOO_LARGE: too many; ERR_OVERLOADED. */
static int publish_walk(struct publish *self)
{
    struct span messages = self->messages;
    struct es_limits limits = es_limits_default();
    struct es_message message;
    struct publish_run *last = NULL;
    bool is_asking = self->view->corr != 0;
    int result = 0;
    limits.message_bytes_max = self->session->frontd->settings->record_bytes_max;
    while ((result = es_next(&messages, &limits, &message)) != 0) {
        if (result == ERR_PROTOCOL || self->count == limits.messages_max) {
            return result == ERR_PROTOCOL ? result : ERR_TOO_LARGE;
        }
        if (result < 0) {
            publish_bad(self, result,
                        result == ERR_TOO_LARGE ? "over a limit" : "topic: longer than 255 bytes");
        } else if (last != NULL && span_equal(message.topic, self->topic) &&
                   last->messages.data + last->messages.size == message.field.data &&
                   message.reply_to.size == 0) {
            last->messages.size += message.field.size;
            last->count++;
        } else {
            result = publish_other(self, &message);
            if (result != 0) {
                return result;
            }
            last = self->runs->size != 0 ? publish_last(self) : NULL;
        }
        self->count++;
        if (is_asking && self->bad_reason != NULL) {
            return 0; /* nothing of it will be published */
        }
    }
    return 0;
}

/* --- answers --- */

static uint32_t publish_count(struct span messages)
{
    struct es_limits limits = es_limits_default();
    struct es_message message;
    uint32_t count = 0;
    int result = 0;
    while ((result = es_next(&messages, &limits, &message)) != 0 && result != ERR_PROTOCOL) {
        count++;
    }
    return count;
}

static int publish_refuse(const struct publish *self, int error, const char *detail)
{
    uint32_t count = publish_count(self->messages);
    self->exchange->counts.published += count;
    self->exchange->counts.refused += count;
    return session_refuse(self->session, self->view, error, detail);
}

static int publish_refuse_bad(const struct publish *self)
{
    char detail[160];
    bool is_topic = self->bad_error == ERR_BAD_REQUEST && strchr(self->bad_reason, ':') == NULL;
    (void) snprintf(detail, sizeof(detail), "message %" PRIu32 ": %s%s", self->bad_index,
                    is_topic ? "topic: " : "", self->bad_reason);
    return publish_refuse(self, self->bad_error, detail);
}

/* How many entities each message matched, run by run. */
static void publish_answer(const struct publish *self, struct buf *matched)
{
    uint8_t head[PB_TAG_SIZE_MAX + PB_LENGTH_SIZE_MAX];
    uint8_t *end = pb_put_varint(pb_put_tag(head, MATCHED_FIELD, PB_BYTES), matched->size);
    struct span parts[3];
    uint8_t frame[FRAME_HEAD_SIZE_MAX];
    size_t head_size = self->count != 0 ? (size_t) (end - head) : 0;
    size_t frame_size =
        frame_put_head(frame, self->view->channel, self->view->corr,
                       RAILGUN__FRAME__BODY_ES_PUBLISH_OK, head_size + matched->size);
    parts[0] = span_make(frame, frame_size);
    parts[1] = span_make(head, head_size);
    parts[2] = buf_span(matched);
    conn_send(self->session->conn, parts, 3, NULL);
}

static void matched_add(struct buf *matched, uint32_t entities, uint32_t count)
{
    size_t each = pb_varint_size(entities);
    uint8_t *at = buf_reserve(matched, each * count + PB_VARINT_SIZE_MAX);
    if (each == 1) {
        memset(at, (int) entities, count);
    } else {
        uint8_t *to = at;
        for (uint32_t i = 0; i < count; i++) {
            to = pb_put_varint(to, entities);
        }
    }
    buf_advance(matched, each * count);
}

/* --- on their way --- */

/* Do the two go to the very same subscriptions, all of them here and by themselves? */
static bool routes_are_same(const struct route *a, const struct route *b)
{
    if (a == b) {
        return a->group_count == 0;
    }
    if (a->group_count + b->group_count != 0 || a->plain_count != b->plain_count ||
        a->plain_count > 1 || a->entities != b->entities) {
        return false;
    }
    return a->plain_count == 0 ||
           (a->plain->is_local && b->plain->is_local && a->plain->count == b->plain->count &&
            memcmp(a->plain->ids, b->plain->ids, a->plain->count * sizeof(uint64_t)) == 0);
}

/* Nobody elsewhere, and no group: the usual case, told at a glance. */
static bool route_is_here(const struct route *route)
{
    return route->group_count == 0 &&
           (route->plain_count == 0 || (route->plain_count == 1 && route->plain->is_local));
}

static bool publish_has_room(const struct publish *self)
{
    struct frontd *frontd = self->session->frontd;
    const struct publish_run *run = (const struct publish_run *) (void *) self->runs->data;
    const struct publish_run *end = run + self->runs->size / sizeof(*run);
    const struct route *last = NULL;
    for (; run != end; run++) {
        if (run->route != last && !route_is_here(run->route) &&
            !switch_has_room(frontd, run->route)) {
            return false;
        }
        last = run->route;
    }
    return true;
}

/* Pass all runs on, joining those that go the same way. Returns the bytes of output that were caused. */
static uint64_t publish_pass(const struct publish *self, struct buf *matched)
{
    struct frontd *frontd = self->session->frontd;
    const struct publish_run *at = (const struct publish_run *) (void *) self->runs->data;
    const struct publish_run *end = at + self->runs->size / sizeof(*at);
    uint64_t output = 0;
    while (at != end) {
        struct run run = {
            .messages = at->messages,
            .count = at->count,
            .owner = self->owner,
            .origin = ROUTE_LOCAL,
        };
        const struct route *route = at->route;
        for (at++; at != end && routes_are_same(route, at->route) &&
                   run.messages.data + run.messages.size == at->messages.data;
             at++) {
            run.messages.size += at->messages.size;
            run.count += at->count;
        }
        if (matched != NULL) {
            matched_add(matched, route->entities, run.count);
        }
        if (route->entities == 0) {
            self->exchange->counts.unmatched += run.count;
            continue;
        }
        struct switch_result result;
        switch_run(frontd, self->exchange, route, &run, &result);
        output += run.messages.size * result.outputs;
        run_release(&run);
    }
    return output;
}

static void publish_now(const struct publish *self)
{
    struct buf matched = {0};
    bool is_asking = self->view->corr != 0;
    self->exchange->counts.published += self->count;
    self->exchange->counts.refused += self->bad_count;
    uint64_t output = publish_pass(self, is_asking ? &matched : NULL);
    inlet_charge(self->session, output);
    if (is_asking) {
        publish_answer(self, &matched);
    }
    buf_release(&matched);
}

/* Is one of the topics for which the frame waited still without a route? */
static bool publish_is_waiting(const struct publish *self)
{
    const struct inlet_memo *memo = inlet_memo(self->session->frontd);
    const uint64_t marks[] = {memo->last, memo->first};
    for (unsigned i = 0; memo->is_set && i < 2; i++) {
        const struct route *route = NULL;
        bool is_bad = false;
        struct span topic = span_make(self->view->body.data + (marks[i] >> 8), marks[i] & 0xff);
        if (routes_find(self->session->frontd->routes, self->exchange, topic,
                        self->session->publisher, &route, &is_bad) == ROUTES_WAIT) {
            return true;
        }
    }
    return false;
}

static int publish_frame(struct publish *self)
{
    if (publish_is_waiting(self)) {
        return ERR_AGAIN;
    }
    int result = publish_walk(self);
    if (result == ERR_TOO_LARGE) {
        char detail[64];
        (void) snprintf(detail, sizeof(detail), "more than %" PRIu32 " messages", self->count);
        return publish_refuse(self, result, detail);
    }
    if (result != 0) {
        return result;
    }
    if (self->view->corr != 0 && self->bad_reason != NULL) {
        return publish_refuse_bad(self);
    }
    if (self->is_waiting || !publish_has_room(self)) {
        return ERR_AGAIN;
    }
    publish_now(self);
    return 0;
}

static int publish_step(struct session *session, const struct frame_view *view,
                        struct payload *owner)
{
    struct frontd *frontd = session->frontd;
    struct es_publish frame;
    struct publish publish = {
        .session = session,
        .view = view,
        .owner = owner,
        .runs = switch_scratch(frontd),
    };
    if (es_publish_read(view->body, &frame) != 0) {
        return ERR_PROTOCOL;
    }
    int result =
        exchanges_ref(frontd->exchanges, session->namespace_, frame.exchange, &publish.exchange);
    if (result == ERR_AGAIN) {
        return result;
    }
    if (result != 0) {
        return session_refuse(session, view, result, exchanges_problem(result));
    }
    publish.messages = frame.messages;
    result = publish_frame(&publish);
    exchanges_unref(frontd->exchanges, &publish.exchange);
    buf_reset(publish.runs);
    if (publish.runs->capacity > SCRATCH_KEPT_MAX) {
        buf_release(publish.runs);
    }
    return result;
}

/* --- it waited too long --- */

static void publish_late(struct session *session, const struct frame_view *view)
{
    struct exchanges *exchanges = session->frontd->exchanges;
    struct exchange *exchange = NULL;
    struct es_publish frame;
    int error = ERR_NO_QUORUM;
    const char *detail = "raftd is not reachable";
    if (es_publish_read(view->body, &frame) == 0 &&
        exchanges_ref(exchanges, session->namespace_, frame.exchange, &exchange) == 0) {
        uint32_t count = publish_count(frame.messages);
        exchange->counts.published += count;
        exchange->counts.refused += count;
        exchanges_unref(exchanges, &exchange);
        bool is_routeless = inlet_memo(session->frontd)->is_set;
        error = is_routeless ? ERR_NO_QUORUM : ERR_OVERLOADED;
        detail = is_routeless ? "routerd is not reachable" : "another frontd takes no more";
    }
    if (!session->is_dead) {
        (void) session_refuse(session, view, error, detail);
    }
}

int handle_es_publish(struct session *self, const struct frame_view *view, struct payload *owner)
{
    static const struct inlet_kind kind = {publish_step, publish_late};
    return inlet_take(self, view, owner, &kind);
}
