/* response_given: the requests that clients of this frontd were given and may still answer. Their one use: when the client's connection ends, the frontd
 * that keeps the request is told. One entry a (session, request); of requests kept here it goes with the request, of others when it has been
 * answered for the last time or its time is over. Bounded: beyond limits.open_requests the oldest are forgotten. */
#ifndef FRONTD_RESPONSE_GIVEN_H
#define FRONTD_RESPONSE_GIVEN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/list.h"
#include "common/base/span.h"
#include "common/base/wheel.h"

#include "frontd/frontd.h"
#include "frontd/session.h"

/* Who has which request. No padding: it is the key of a hash table. */
struct given_key {
    uint64_t publisher; /* the session's number */
    uint64_t origin;    /* the frontd that keeps the request; ROUTE_LOCAL: this one */
    uint64_t request;
};

struct given {
    struct given_key key;
    struct list of_session;
    struct list of_request; /* kept here: the request's list; else in none */
    struct list of_age;
    struct wheel_timer timer; /* of requests kept elsewhere */
    struct given_set *set;
    struct session *session; /* NULL: closed while its replies are on their way */
    uint32_t count;          /* subscriptions of the session that got it */
    uint32_t replying;       /* replies on their way to the frontd that keeps it */
};

struct given_set;
struct given_set *given_set_new(struct frontd *frontd);
void given_set_destroy(struct given_set **self);
uint64_t given_set_count(const struct given_set *self);

/* Once more to this session. `of_request`: the list of a request kept here, NULL for others, which are forgotten after timeout_ms. */
void given_add(struct given_set *self, struct session *session, const struct given_key *key,
               struct list *of_request, uint32_t timeout_ms);
/* NULL: not known (any more). */
struct given *given_find(const struct given_set *self, const struct given_key *key);
void given_forget(struct given *self);
/* All of a request kept here. */
void given_forget_all(struct list *of_request);

/* A reply goes to the frontd that keeps the request; tell given_replied its outcome. No harm if it is not known. */
void given_replying(struct given_set *self, const struct given_key *key);
void given_replied(struct given_set *self, const struct given_key *key, bool is_more_wanted);

/* Its connection is closed: the other frontds are told at the end of the turn. Entries of requests kept here must be gone. */
void given_session_closed(struct given_set *self, struct session *session);
void given_neighbour_lost(struct given_set *self, unsigned neighbour);
/* A request of this frontd has not reached a responder here. */
void given_tell_undelivered(struct given_set *self, unsigned origin, uint64_t request);

#endif
