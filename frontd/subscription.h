/* subscription: one subscriber of ephemeral messages: a channel of a client's connection. Takes runs of messages, passes them to the connection while
 * that is quick enough, queues them within bounds when not, and drops by policy and tells of it.
 *
 *   REGISTERING ──► OPEN ──► GONE
 *        └────────────────────▲
 * REGISTERING  routerds are told; the client waits for EsSubscribeOk; messages may come already
 * OPEN         confirmed
 * GONE         removed; the memory goes at once                                                                        */
#ifndef FRONTD_SUBSCRIPTION_H
#define FRONTD_SUBSCRIPTION_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/list.h"
#include "common/base/payload.h"
#include "common/base/span.h"

#include "frontd/frontd.h"
#include "frontd/routers.h"

struct subscription;
struct subscriptions;

struct subscriptions *subscriptions_new(struct frontd *frontd);
void subscriptions_destroy(struct subscriptions **self);

/* By the id that routes carry: O(1). NULL: it is gone. */
struct subscription *subscriptions_find(const struct subscriptions *self, uint64_t id);
struct subscription *session_find_subscription(const struct session *session, uint32_t number);

uint64_t subscription_id(const struct subscription *self);
struct session *subscription_session(const struct subscription *self);
struct exchange *subscription_exchange(const struct subscription *self);
struct span subscription_group(const struct subscription *self); /* empty: none */

/* A run of `count` whole messages (`messages` fields; in `owner`). Returns how many of them were taken: put out or queued; the rest was
 * dropped, or older ones were in their place (those are counted by the subscription itself). `shared`: zeroed by the caller once for each run that is offered
 * to several; the copy that queues share. */
struct run {
    struct span messages;
    uint32_t count;
    struct payload *owner; /* of `messages` */
    struct payload *copy;  /* made by the first that must queue it; released by run_release */
    uint64_t request;      /* a request of `origin`: responses_delivered is told. 0: none */
    unsigned origin;       /* frontd instance; ROUTE_LOCAL: this one */
    uint32_t timeout_ms;
};
void run_release(struct run *run);
uint32_t subscription_offer(struct subscription *self, struct run *run);
/* May it take one more message of its group now: credit, and room in its queue? */
bool subscription_has_credit(const struct subscription *self);
uint64_t subscription_queued_bytes(const struct subscription *self);

/* The session's output has room again, or more credit was granted. */
void subscriptions_session_room(struct session *session);
void subscription_grant(struct subscription *self, uint64_t messages, uint64_t bytes);
/* The client cancels. */
void subscription_cancel(struct subscription *self);
/* The connection is gone: remove all of its. */
void subscriptions_session_closed(struct session *session);
/* End all of an exchange that is no more: Cancel with the error. */
void subscriptions_exchange_gone(struct subscriptions *self, struct exchange *exchange, int error);

/* routers_events */
void subscriptions_on_confirmed(void *subscriptions, struct registration *registration);
void subscriptions_on_rejected(void *subscriptions, struct registration *registration, int error,
                               struct span detail);

struct subscriptions_counts {
    uint64_t count, queued_messages, queued_bytes, dropped;
};
void subscriptions_count(const struct subscriptions *self, struct subscriptions_counts *ret_counts);

#endif
