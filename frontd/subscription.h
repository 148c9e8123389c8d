/* subscription: one subscriber of ephemeral messages: a channel of a client's connection. Takes runs of messages, passes them to the connection while
 * that is quick enough, queues them within bounds when not, and drops by policy and tells of it.
 *
 *   REGISTERING ──► OPEN ──► GONE
 *        └────────────────────▲
 * REGISTERING  routerds are told; the client waits for EsSubscribeOk; messages that come already wait behind it
 * OPEN         confirmed
 * GONE         removed; the memory goes at once
 *
 * Counting: each (message, subscription) is counted once as matched in the exchange, and then as delivered (put into the connection's output), dropped, or
 * as long as it waits, queued. What waits when a subscription goes is dropped.
 * @thread loop */
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
/* The sessions are closed. */
void subscriptions_destroy(struct subscriptions **self);

/* What EsSubscribe asks for, checked. */
struct subscription_options {
    uint32_t number; /* of the channel */
    uint64_t corr;   /* of EsSubscribe */
    struct span
        matchers;      /* encoded: `matchers` fields (4) of RouteSubscription, normalised; copied */
    struct span group; /* copied */
    bool sticky_by_key;
    unsigned policy; /* enum subscription_policy */
    uint32_t messages_max;
    uint32_t bytes_max;
    bool needs_credit;
    uint64_t credit_messages;
    uint64_t credit_bytes;
};
/* Open one: routerds are told, the client is answered when they have confirmed, or with NO_QUORUM when they have not within the request timeout. Takes the
 * reference of the exchange. */
void subscription_open(struct session *session, struct exchange *exchange,
                       const struct subscription_options *options);

/* By the id that routes carry: O(1). NULL: it is gone. */
struct subscription *subscriptions_find(const struct subscriptions *self, uint64_t id);
struct subscription *session_find_subscription(const struct session *session, uint32_t number);

uint64_t subscription_id(const struct subscription *self);

/* A run of `count` whole messages (`messages` fields; in `owner`). */
struct run {
    struct span messages;
    uint32_t count;
    struct payload *owner; /* of `messages` */
    struct payload
        *copy;        /* of all of `messages`, made when first needed; released by run_release */
    uint64_t request; /* a request of `origin`: responses_delivered is told. 0: none */
    unsigned origin;  /* frontd instance; ROUTE_LOCAL: this one */
    uint32_t timeout_ms;
    bool is_shared;      /* it is offered to several: output may share the copy */
    const uint8_t *last; /* where the last message begins; NULL: not looked for yet */
};
void run_release(struct run *run);
/* For a subscription without a group, by itself. Returns how many of them were taken: put out or queued; the rest was dropped, or older ones were
 * in their place (those are counted by the subscription itself). */
uint32_t subscription_offer(struct subscription *self, struct run *run);
/* For one in a group: takes as many from the front as it has credit and room for, drops none (but CONFLATE may drop others). Returns how many. What nobody
 * takes is the caller's to count. */
uint32_t subscription_take(struct subscription *self, struct run *run);
/* May it take one more message of its group now: credit, and room in its queue? */
bool subscription_has_credit(const struct subscription *self);
/* The same, as other frontds are told: also while it is REGISTERING, or they would believe it to be without credit for a moment after it is OPEN. */
bool subscription_is_willing(const struct subscription *self);
/* In its queue and in the output of its connection. */
uint64_t subscription_queued_bytes(const struct subscription *self);

/* The session's output has room again, or more credit was granted. */
void subscriptions_session_room(struct session *session);
void subscription_grant(struct subscription *self, uint64_t messages, uint64_t bytes);
/* The client cancels. If EsSubscribe was not answered yet, that ends with RS_CANCELLED. */
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
    uint64_t memory_bytes; /* of all queues; shared copies once */
};
void subscriptions_count(const struct subscriptions *self, struct subscriptions_counts *ret_counts);

/* --- for switch.c: the members of groups here --- */

/* What other frontds know of a member (switch_load.c). */
struct member_load {
    struct list of_changed;
    struct list of_told; /* they know that it is not empty, or has no credit */
    uint64_t told_queued;
    bool told_credit;
};
struct member_load *subscription_load(struct subscription *self); /* NULL: no member of a group */
struct subscription *subscription_of_load(struct member_load *load);
/* Nothing waits, and it has credit. */
bool subscription_is_idle(const struct subscription *self);
/* Another member with credit of the group that `id` is in, or was not long ago; NULL: none. The next call prefers others. */
struct subscription *subscriptions_other_member(struct subscriptions *self, uint64_t id);
/* The exchange of that group; NULL: not known (any more). */
struct exchange *subscriptions_exchange_of(const struct subscriptions *self, uint64_t id);

#endif
