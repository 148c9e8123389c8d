/* handle_reply: Reply: passed to the request it answers: one of this frontd at once, one of another over the bus; by the address that came with the request,
 * or by the name of its response stream. Whatever cannot be passed on any more is RS_CLOSED for the responder. */
#include "frontd/handle.h"

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/run/presence.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/es.h"
#include "common/wire/pb.h"

#include "frontd/neighbours.h"
#include "frontd/reply_to.h"
#include "frontd/responses_private.h"
#include "frontd/routers.h"

enum {
    REPLY_REQUEST = 1,
    REPLY_SECRET = 2,
    NUMBER_SIZE = 8,
    META_SIZE_MAX = 2 * (2 + NUMBER_SIZE),
};

static void reply_answer(struct session *session, uint32_t channel, uint64_t corr, int result)
{
    if (result == ERR_RS_CLOSED) {
        session->frontd->responses->closed_replies++;
    }
    if (result != 0) {
        session_send_error(session, channel, corr, result,
                           result == ERR_NO_QUORUM ? "no routerd answers" : NULL);
    } else if (corr != 0) {
        session_send(session, channel, corr, RAILGUN__FRAME__BODY_REPLY_OK, (struct span){0});
    }
}

/* --- to a request of this frontd --- */

static int reply_here(struct session *self, const struct frame_view *view, struct payload *owner,
                      uint64_t request, const uint64_t *secret, struct span bytes)
{
    struct slice message = {owner, bytes}; /* borrowed: the output takes a reference of its own */
    bool is_more_wanted = false;
    if (session_corr_is_open(self, view->corr)) {
        return session_refuse(self, view, ERR_BAD_REQUEST, "corr is in use by an open request");
    }
    int result =
        responses_take_reply(self->frontd->responses, request, secret, &message, &is_more_wanted);
    reply_answer(self, view->channel, view->corr, result);
    return 0;
}

/* --- to one of another --- */

/* Which entry of response_given it is about, kept with the request to the other frontd. */
static void key_keep(struct request *request, const struct given_key *key)
{
    buf_reset(&request->keep);
    buf_append(&request->keep, span_make(key, sizeof(*key)));
}

static struct given_key key_kept(const struct request *request)
{
    struct given_key key;
    memcpy(&key, request->keep.data, sizeof(key));
    return key;
}

static void reply_done(struct request *request, enum bus_outcome outcome,
                       const struct bus_message *reply)
{
    struct given_key key = key_kept(request);
    int result = outcome == BUS_OK ? reply->status : ERR_RS_CLOSED;
    given_replied(request->frontd->responses->given, &key, result == 0 && reply->subject == 1);
    if (request->session != NULL) {
        reply_answer(request->session, request->channel, request->corr, result);
    }
}

/* Takes the request. `message` is borrowed. */
static void reply_ask(struct request *request, const struct given_key *key, const uint64_t *secret,
                      const struct slice *message)
{
    struct frontd *frontd = request->frontd;
    uint8_t meta[META_SIZE_MAX];
    uint8_t *at = pb_put_tag(meta, REPLY_REQUEST, PB_FIXED64);
    bytes_put_u64(at, key->request);
    at += NUMBER_SIZE;
    if (secret != NULL) {
        at = pb_put_varint(pb_put_tag(at, REPLY_SECRET, PB_BYTES), NUMBER_SIZE);
        bytes_put_u64(at, *secret);
        at += NUMBER_SIZE;
    }
    key_keep(request, key);
    given_replying(frontd->responses->given, key);
    neighbours_ask(frontd->neighbours, (unsigned) key->origin, request,
                   RAILGUN__BUS_TYPE__BUS_RS_REPLY, span_make(meta, (size_t) (at - meta)), message,
                   frontd->settings->request_timeout_ms);
}

static int reply_elsewhere(struct session *self, const struct frame_view *view,
                           struct payload *owner, const struct reply_to *address, struct span bytes)
{
    struct frontd *frontd = self->frontd;
    struct slice message = {owner, bytes};
    struct given_key key = {self->publisher, address->frontd, address->request};
    struct request *request = NULL;
    if (address->frontd >= PRESENCE_INSTANCES_MAX ||
        !neighbours_is_up(frontd->neighbours, address->frontd)) {
        reply_answer(self, view->channel, view->corr, ERR_RS_CLOSED);
        return 0;
    }
    if (!neighbours_has_room(frontd->neighbours, address->frontd)) {
        return ERR_AGAIN;
    }
    int result = session_request(self, view, reply_done, &request);
    if (result != 0) {
        return result == ERR_AGAIN ? ERR_AGAIN : 0;
    }
    reply_ask(request, &key, &address->secret, &message);
    return 0;
}

/* --- by name --- */

static void reply_resolved(void *ud, uint64_t token, int result, unsigned instance, uint64_t number)
{
    struct responses *self = ud;
    struct request *request = hash64_remove(self->resolving, token);
    bool is_more_wanted = false;
    if (request == NULL) {
        return;
    }
    struct given_key key = key_kept(request);
    key.origin = instance;
    key.request = number;
    if (result == 0 && instance == self->instance) {
        result = responses_take_reply(self, number, NULL, &request->body, &is_more_wanted);
    } else if (result == 0 && neighbours_is_up(self->frontd->neighbours, instance)) {
        struct slice message = request->body;
        request->body = (struct slice){0};
        reply_ask(request, &key, NULL, &message);
        slice_release(&message);
        return;
    } else if (result == 0 || result == ERR_NOT_FOUND) {
        result = ERR_RS_CLOSED;
    }
    if (request->session != NULL) {
        reply_answer(request->session, request->channel, request->corr, result);
    }
    frontd_request_end(self->frontd, request);
}

static int reply_named(struct session *self, const struct frame_view *view, struct payload *owner,
                       struct span name, struct span bytes)
{
    struct frontd *frontd = self->frontd;
    struct responses *responses = frontd->responses;
    struct given_key key = {.publisher = self->publisher};
    struct request *request = NULL;
    const struct asked *asked = asked_find_named(responses->asked, self->namespace_, name);
    if (asked != NULL) {
        return reply_here(self, view, owner, asked->number, NULL, bytes);
    }
    if (hash64_count(responses->resolving) >= frontd->settings->open_requests_max) {
        return session_refuse(self, view, ERR_QUOTA, "limits.open_requests");
    }
    int result = session_request(self, view, reply_done, &request);
    if (result != 0) {
        return result == ERR_AGAIN ? ERR_AGAIN : 0;
    }
    request->body = slice_make(owner, bytes);
    key_keep(request, &key);
    (void) hash64_put(responses->resolving, ++responses->last_token, request); /* was absent */
    routers_resolve(frontd->routers, self->namespace_, name, reply_resolved, responses,
                    responses->last_token);
    return 0;
}

/* --- the frame --- */

/* As request_check of handle_request.c. */
static int reply_check(const struct es_reply *reply, const char **ret_problem)
{
    struct es_limits limits = es_limits_default();
    struct es_message message;
    *ret_problem = NULL;
    if (!reply->has_message) {
        *ret_problem = "message is missing";
        return ERR_BAD_REQUEST;
    }
    int result = es_message_read(reply->message, &limits, &message);
    if (result == 0 && message.reply_to.size != 0) {
        *ret_problem = "reply_to of the message is the server's";
        return ERR_BAD_REQUEST;
    }
    if (result != 0) {
        *ret_problem = "message";
    }
    return result;
}

int handle_reply(struct session *self, const struct frame_view *view, struct payload *owner)
{
    struct frontd *frontd = self->frontd;
    struct es_reply reply;
    struct reply_to address;
    const char *problem = NULL;
    char text[128];
    int result = es_reply_read(view->body, &reply);
    if (result != 0) {
        return result;
    }
    result = reply_check(&reply, &problem);
    if (result == ERR_PROTOCOL) {
        return result;
    }
    if (result != 0) {
        return session_refuse(self, view, result, problem);
    }
    if (!reply_to_is_address(reply.reply_to)) {
        problem = session_name_problem("reply_to", reply.reply_to, text, sizeof(text));
        return problem != NULL ? session_refuse(self, view, ERR_BAD_REQUEST, problem)
                               : reply_named(self, view, owner, reply.reply_to, reply.message);
    }
    if (reply_to_read(reply.reply_to, &address) != 0) {
        return session_refuse(self, view, ERR_BAD_REQUEST, "reply_to is malformed");
    }
    if (address.frontd == frontd->responses->instance) {
        return reply_here(self, view, owner, address.request, &address.secret, reply.message);
    }
    return reply_elsewhere(self, view, owner, &address, reply.message);
}
