/* responses: brings the two sides of requests together: those that are asked here (response_asked) and those that are given to responders here
 * (response_given), over the bus where they are of different frontds. Owns both. */
#include "frontd/responses.h"

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/run/presence.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"

#include "frontd/responses_private.h"
#include "frontd/switch.h"

enum {
    REPLY_REQUEST = 1,
    REPLY_SECRET = 2,
    LOST_REQUESTS = 1,
    LOST_UNDELIVERED = 2,
    NUMBER_SIZE = 8,
};

struct responses *responses_new(struct frontd *frontd)
{
    struct responses *self = MEM_NEW(struct responses);
    int instance = presence_instance("frontd", frontd->name);
    INVARIANT(instance >= 0);
    self->frontd = frontd;
    self->instance = (unsigned) instance;
    self->asked = asked_set_new(frontd);
    self->given = given_set_new(frontd);
    self->resolving = hash64_new();
    return self;
}

static void wake(void *ud)
{
    (void) ud; /* that there is another turn is what counts */
}

void responses_destroy(struct responses **self)
{
    struct responses *responses = *self;
    size_t cursor = 0;
    struct request *request = NULL;
    *self = NULL;
    if (responses == NULL) {
        return;
    }
    loop_defer_cancel(responses->frontd->loop, wake, responses);
    while ((request = hash64_next(responses->resolving, &cursor)) != NULL) {
        frontd_request_end(responses->frontd, request);
    }
    hash64_destroy(&responses->resolving);
    asked_set_destroy(&responses->asked);
    given_set_destroy(&responses->given);
    mem_free(responses);
}

void responses_count(const struct responses *self, struct responses_counts *ret_counts)
{
    asked_set_count(self->asked, ret_counts);
    ret_counts->closed_replies = self->closed_replies;
    ret_counts->awaiting = given_set_count(self->given);
}

/* --- receivers --- */

void responses_delivered(struct responses *self, struct session *responder, unsigned origin,
                         uint64_t request, uint32_t timeout_ms)
{
    struct given_key key = {responder->publisher, origin, request};
    struct list *of_request = NULL;
    if (origin == ROUTE_LOCAL) {
        struct asked *asked = asked_find(self->asked, request);
        if (asked == NULL) {
            return; /* over while it waited in a queue */
        }
        of_request = &asked->given;
    }
    given_add(self->given, responder, &key, of_request, timeout_ms);
}

void responses_undelivered(struct responses *self, unsigned origin, uint64_t request)
{
    if (origin != ROUTE_LOCAL) {
        given_tell_undelivered(self->given, origin, request);
        return;
    }
    struct asked *asked = asked_find(self->asked, request);
    if (asked != NULL) {
        asked_receivers_gone(asked, ROUTE_LOCAL, 1, true);
    }
}

void responses_forwarded(struct responses *self, uint64_t request, unsigned neighbour,
                         uint32_t receivers)
{
    struct asked *asked = asked_find(self->asked, request);
    if (asked != NULL) {
        asked_forwarded(asked, neighbour, receivers);
    }
}

/* --- ends --- */

/* Requests kept here that this client has not answered. */
static void given_lose_local(struct responses *self, struct session *session)
{
    LIST_FOREACH (&session->awaiting, node) {
        struct given *given = LIST_ENTRY(node, struct given, of_session);
        if (given->key.origin != ROUTE_LOCAL) {
            continue;
        }
        struct asked *asked = asked_find(self->asked, given->key.request);
        uint32_t count = given->count;
        given_forget(given);
        INVARIANT(asked != NULL); /* given ones go with their request */
        /* No other entry of this session is of the same request. */
        asked_receivers_gone(asked, ROUTE_LOCAL, count, false);
    }
}

void responses_session_closed(struct responses *self, struct session *session)
{
    asked_session_closed(session);
    if (list_is_empty(&session->awaiting)) {
        return;
    }
    /* Connections end behind the hooks of a turn that write Results out: the next turn must come at once. */
    loop_defer(self->frontd->loop, wake, self);
    given_lose_local(self, session);
    given_session_closed(self->given, session);
}

void responses_session_drained(struct responses *self, struct session *session)
{
    (void) self;
    asked_session_drained(session);
}

void responses_neighbour_lost(struct responses *self, unsigned neighbour)
{
    given_neighbour_lost(self->given, neighbour);
    asked_neighbour_lost(self->asked, neighbour);
}

/* --- the bus --- */

int responses_take_reply(struct responses *self, uint64_t request, const uint64_t *secret,
                         const struct slice *message, bool *ret_is_more_wanted)
{
    struct asked *asked = asked_find(self->asked, request);
    if (asked == NULL || (secret != NULL && *secret != asked->secret)) {
        return ERR_RS_CLOSED;
    }
    return asked_reply(asked, message, ret_is_more_wanted);
}

/* RsReply. 0 or ERR_PROTOCOL. */
static int reply_read(struct span meta, uint64_t *ret_request, uint64_t *ret_secret,
                      bool *ret_has_secret)
{
    struct pb_field field;
    int result = 0;
    *ret_request = 0;
    *ret_has_secret = false;
    while ((result = pb_next(&meta, &field)) == 1) {
        if (field.number == REPLY_REQUEST && field.type == PB_FIXED64) {
            *ret_request = field.value;
        } else if (field.number == REPLY_SECRET) {
            if (field.type != PB_BYTES || field.bytes.size != NUMBER_SIZE) {
                return ERR_PROTOCOL;
            }
            *ret_secret = bytes_get_u64(field.bytes.data);
            *ret_has_secret = true;
        }
    }
    return result;
}

void responses_on_reply(struct responses *self, struct bus_message *message)
{
    struct bus *bus = self->frontd->bus;
    uint64_t request = 0;
    uint64_t secret = 0;
    bool has_secret = false;
    bool is_more_wanted = false;
    int result = reply_read(message->meta, &request, &secret, &has_secret);
    if (result == 0) {
        result = responses_take_reply(self, request, has_secret ? &secret : NULL, &message->body,
                                      &is_more_wanted);
    }
    /* If the asker is gone it needs no answer. */
    if (result != 0) {
        (void) bus_reply_error(bus, message->ticket, result, NULL);
        return;
    }
    struct bus_outgoing out = {
        .type = RAILGUN__BUS_TYPE__BUS_RS_REPLY,
        .subject = is_more_wanted ? 1 : 0,
    };
    (void) bus_reply(bus, message->ticket, &out);
}

static void lost_one(struct responses *self, unsigned from, uint64_t request, bool is_undelivered)
{
    struct asked *asked = asked_find(self->asked, request);
    if (asked != NULL) {
        asked_receivers_gone(asked, from, 1, is_undelivered);
    }
}

static bool lost_is_undelivered(struct span meta)
{
    struct pb_field field;
    bool is_undelivered = false;
    while (pb_next(&meta, &field) == 1) {
        if (field.number == LOST_UNDELIVERED && field.type == PB_VARINT) {
            is_undelivered = field.value != 0;
        }
    }
    return is_undelivered;
}

void responses_on_lost(struct responses *self, unsigned from, const struct bus_message *message)
{
    bool is_undelivered = lost_is_undelivered(message->meta);
    struct span rest = message->meta;
    struct pb_field field;
    /* What is malformed behind a good beginning is left out: the timeout remains. */
    while (pb_next(&rest, &field) == 1) {
        if (field.number != LOST_REQUESTS) {
            continue;
        }
        if (field.type == PB_FIXED64) {
            lost_one(self, from, field.value, is_undelivered);
            continue;
        }
        for (size_t at = 0; field.type == PB_BYTES && at + NUMBER_SIZE <= field.bytes.size;
             at += NUMBER_SIZE) {
            lost_one(self, from, bytes_get_u64(field.bytes.data + at), is_undelivered);
        }
    }
}
