/* responses: requests and their replies. A request is a message with an address for replies; this frontd keeps it, with its timer, until its one result. The
 * address (reply_to) names this frontd, the request and a secret, so a reply finds its way without asking anybody and cannot be forged. The frontd
 * that hands a request to a responder remembers that until it is answered or over, and tells when the responder is lost. */
#ifndef FRONTD_RESPONSES_H
#define FRONTD_RESPONSES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"
#include "common/run/bus.h"

#include "frontd/frontd.h"
#include "frontd/session.h"
#include "frontd/subscription.h"

struct responses;
struct responses *responses_new(struct frontd *frontd);
void responses_destroy(struct responses **self);

/* --- from switch.c and subscription.c --- */
/* Each receiver that switch_run counts in `receivers` is later delivered or undelivered, once; one that refuses the message at once may instead be left
 * out of `receivers`, and nothing is said of it. */

/* A request of the frontd `origin` (ROUTE_LOCAL: this one) has been put into the output of this session; nobody waits for it after timeout_ms. */
void responses_delivered(struct responses *self, struct session *responder, unsigned origin,
                         uint64_t request, uint32_t timeout_ms);
/* It was given to a subscription and then dropped there, or there was none. */
void responses_undelivered(struct responses *self, unsigned origin, uint64_t request);
/* In switch_run: a request of ours was forwarded to `receivers` subscriptions of this neighbour. */
void responses_forwarded(struct responses *self, uint64_t request, unsigned neighbour,
                         uint32_t receivers);

/* --- from others --- */
/* A responder's or requester's connection is closed (session->is_dead). */
void responses_session_closed(struct responses *self, struct session *session);
/* The end of draining: what this client still asks ends with RS_CANCELLED. */
void responses_session_drained(struct responses *self, struct session *session);
void responses_neighbour_lost(struct responses *self, unsigned neighbour);
/* BUS_RS_REPLY (a request of the bus), and BUS_RS_LOST from the frontd `from`. */
void responses_on_reply(struct responses *self, struct bus_message *message);
void responses_on_lost(struct responses *self, unsigned from, const struct bus_message *message);

struct responses_counts {
    uint64_t open;  /* requests without a result */
    uint64_t total; /* taken from clients; of them ended with: */
    uint64_t ok;
    uint64_t timeouts;
    uint64_t no_responders;
    uint64_t lost;
    uint64_t closed_replies; /* replies of clients here that were refused with RS_CLOSED */
    uint64_t awaiting;       /* requests given to clients here that may still be answered */
};
void responses_count(const struct responses *self, struct responses_counts *ret_counts);

#endif
