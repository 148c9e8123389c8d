/* handle_request: Request and RequestCancel. A request goes through the connection's inlet, in order with what else the client publishes: there it gets its
 * name, if it wants one, and its route, and goes out as a message with an address for replies. */
#include "frontd/handle.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/name.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/es.h"
#include "common/wire/pb.h"

#include "frontd/inlet.h"
#include "frontd/reply_to.h"
#include "frontd/responses_private.h"
#include "frontd/switch.h"

enum {
    MESSAGES = 15,        /* of EsDeliver */
    MESSAGE_REPLY_TO = 5, /* of EsMessage */
    REPLY_TO_FIELD_SIZE = 2 + REPLY_TO_SIZE,
    CANCEL_REQUEST = 1,
};

/* --- when it comes --- */

/* 0: valid; ERR_PROTOCOL: closes the connection; others: refused, with *ret_problem (may be NULL) for people. */
static int request_check(struct session *session, const struct es_request *request,
                         const char **ret_problem)
{
    static const char no_reply_to[] = "reply_to is the server's";
    struct es_limits limits = es_limits_default();
    struct es_message message;
    *ret_problem = NULL;
    if (session->frontd->is_grace_over) {
        return ERR_GOING_AWAY;
    }
    if (request->timeout_ms > ASKED_TIMEOUT_MAX_MS) {
        *ret_problem = "timeout_ms: at most 600,000";
    } else if (request->max_replies > ASKED_REPLIES_MAX) {
        *ret_problem = "max_replies: at most 65,535";
    } else if (!request->has_message) {
        *ret_problem = "message is missing";
    } else if (request->response.size != 0) {
        *ret_problem = name_check(request->response) != NULL ? "response: not a valid name" : NULL;
    }
    if (*ret_problem != NULL) {
        return ERR_BAD_REQUEST;
    }
    limits.message_bytes_max -= REPLY_TO_FIELD_SIZE;
    int result = es_message_read(request->message, &limits, &message);
    if (result == 0 && message.reply_to.size != 0) {
        *ret_problem = no_reply_to;
        return ERR_BAD_REQUEST;
    }
    if (result == ERR_TOO_LARGE) {
        *ret_problem = "message";
    } else if (result == ERR_BAD_REQUEST) {
        *ret_problem = "topic is too long";
    }
    return result;
}

/* --- in the inlet --- */

/* The message with its address, as a run of one. NULL: no memory. */
static struct payload *request_message(struct frontd *frontd, const struct asked *asked,
                                       struct span raw)
{
    size_t size = raw.size + REPLY_TO_FIELD_SIZE;
    struct payload *payload = payload_new(1 + pb_varint_size(size) + size);
    if (payload == NULL) {
        return NULL;
    }
    uint8_t *at = pb_put_varint(pb_put_tag(payload_data(payload), MESSAGES, PB_BYTES), size);
    if (raw.size != 0) {
        memcpy(at, raw.data, raw.size);
    }
    at = pb_put_tag(at + raw.size, MESSAGE_REPLY_TO, PB_BYTES);
    at = pb_put_varint(at, REPLY_TO_SIZE);
    struct reply_to address = {frontd->responses->instance, asked->number, asked->secret};
    reply_to_write(&address, at);
    return payload;
}

/* Let it go. It may end at once, when nobody can take it. */
static int request_send(struct asked *asked, struct exchange *exchange, const struct route *route,
                        struct span raw)
{
    struct frontd *frontd = asked->session->frontd;
    struct switch_result result = {0};
    struct payload *payload = request_message(frontd, asked, raw);
    if (payload == NULL) {
        return ERR_OVERLOADED;
    }
    uint64_t now_ms = loop_now_ms(frontd->loop);
    struct run run = {
        .messages = payload_span(payload),
        .count = 1,
        .owner = payload,
        .request = asked->number,
        .origin = ROUTE_LOCAL,
        /* its timer may be due in this very turn */
        .timeout_ms = asked->due_ms > now_ms ? (uint32_t) (asked->due_ms - now_ms) : 1,
    };
    exchange->counts.published++;
    exchange->counts.requests++;
    if (route->entities == 0) {
        exchange->counts.unmatched++;
    }
    asked_sending(asked);
    if (route->entities != 0) {
        switch_run(frontd, exchange, route, &run, &result);
    }
    inlet_charge(asked->session, run.messages.size * (1 + (uint64_t) result.outputs));
    run_release(&run);
    payload_unref(&payload);
    asked_sent(asked, result.receivers);
    return 0;
}

/* 0: sent; ERR_AGAIN; others: refused, with *ret_problem. */
static int request_route(struct asked *asked, struct exchange *exchange, struct span raw,
                         const char **ret_problem)
{
    struct session *session = asked->session;
    struct frontd *frontd = session->frontd;
    struct es_limits limits = es_limits_default();
    struct es_message message;
    const struct route *route = NULL;
    bool is_bad = false;
    int result = es_message_read(raw, &limits, &message);
    INVARIANT(result == 0); /* request_check has seen it */
    enum routes_result found =
        routes_find(frontd->routes, exchange, message.topic, session->publisher, &route, &is_bad);
    if (found == ROUTES_WAIT) {
        return ERR_AGAIN;
    }
    if (found == ROUTES_REFUSED) {
        *ret_problem = is_bad ? "topic is not valid" : "too many topics";
        return is_bad ? ERR_BAD_REQUEST : ERR_QUOTA;
    }
    if (route->error != 0) {
        *ret_problem = "it would go to too many";
        return route->error;
    }
    if (!switch_has_room(frontd, route)) {
        return ERR_AGAIN;
    }
    return request_send(asked, exchange, route, raw);
}

/* As request_route. */
static int request_go(struct asked *asked, const struct es_request *request,
                      const char **ret_problem)
{
    struct session *session = asked->session;
    struct frontd *frontd = session->frontd;
    struct exchange *exchange = NULL;
    if (request->response.size != 0 && !asked_claim(asked, request->response)) {
        return ERR_AGAIN;
    }
    int result =
        exchanges_ref(frontd->exchanges, session->namespace_, request->exchange, &exchange);
    if (result != 0) {
        *ret_problem = exchanges_problem(result);
        return result;
    }
    result = request_route(asked, exchange, request->message, ret_problem);
    if (result != 0 && result != ERR_AGAIN) {
        exchange->counts.published++;
        exchange->counts.refused++;
    }
    exchanges_unref(frontd->exchanges, &exchange);
    return result;
}

static int request_step(struct session *session, const struct frame_view *view,
                        struct payload *owner)
{
    struct asked *asked = asked_first_unsent(session);
    struct es_request request;
    const char *problem = NULL;
    int result = es_request_read(view->body, &request);
    (void) owner; /* the message goes out as a copy, with its address */
    INVARIANT(result == 0);
    INVARIANT(asked != NULL);
    if (asked->sm.state == ASKED_UNSENT) {
        result = request_go(asked, &request, &problem);
        if (result == 0) {
            return 0;
        }
        if (result == ERR_AGAIN && asked->sm.state == ASKED_UNSENT) {
            return ERR_AGAIN;
        }
        if (asked->sm.state == ASKED_UNSENT) {
            asked_end(asked, result, problem);
        }
    }
    asked_forget(asked);
    return 0;
}

static void request_late(struct session *session, const struct frame_view *view)
{
    struct asked *asked = asked_first_unsent(session);
    (void) view;
    if (session->is_dead) {
        return; /* responses_session_closed has seen to all of them, or is about to */
    }
    INVARIANT(asked != NULL);
    if (asked->sm.state == ASKED_UNSENT) {
        asked_end(asked, ERR_NO_QUORUM, "no route in time");
    }
    asked_forget(asked);
}

static const struct inlet_kind request_kind = {.step = request_step, .late = request_late};

/* --- frames --- */

int handle_request(struct session *self, const struct frame_view *view, struct payload *owner)
{
    struct frontd *frontd = self->frontd;
    struct es_request request;
    const char *problem = NULL;
    int result = es_request_read(view->body, &request);
    if (result != 0) {
        return result;
    }
    if (view->corr == 0) {
        /* only counted: there is nobody to tell */
        return session_refuse(self, view, ERR_BAD_REQUEST, NULL);
    }
    if (self->request_count >= frontd->settings->requests_max) {
        return ERR_AGAIN;
    }
    result = request_check(self, &request, &problem);
    if (result == ERR_PROTOCOL) {
        return result;
    }
    if (result == 0 && session_corr_is_open(self, view->corr)) {
        result = ERR_BAD_REQUEST;
        problem = "corr is in use by an open request";
    }
    struct asked *asked =
        result == 0 ? asked_open(frontd->responses->asked, self, view, &request) : NULL;
    if (result == 0 && asked == NULL) {
        result = ERR_QUOTA;
        problem = "limits.open_requests";
    }
    if (result != 0) {
        asked_refuse(self, view, result, problem);
        return 0;
    }
    result = inlet_take(self, view, owner, &request_kind);
    if (result == ERR_AGAIN) {
        asked_forget(asked); /* not taken: it comes again */
    }
    return result;
}

int handle_request_cancel(struct session *self, const struct frame_view *view,
                          struct payload *owner)
{
    struct span rest = view->body;
    struct pb_field field;
    uint64_t corr = 0;
    int result = 0;
    (void) owner;
    while ((result = pb_next(&rest, &field)) == 1) {
        if (field.number == CANCEL_REQUEST) {
            if (field.type != PB_VARINT) {
                return ERR_PROTOCOL;
            }
            corr = field.value;
        }
    }
    if (result != 0) {
        return result;
    }
    asked_cancel(self, corr); /* it may have ended meanwhile */
    return 0;
}
