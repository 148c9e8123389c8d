/* exchange: the exchanges of ephemeral messages as this frontd knows them: one for each namespace (its own, with the empty name) and those that were
 * ensured. Interned: the same namespace and name is the same object, as long as anybody refers to it. Carries the limits and the counters. */
#ifndef FRONTD_EXCHANGE_H
#define FRONTD_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"

struct frontd;
struct session;

struct exchange_counts {
    uint64_t published; /* messages taken from clients here */
    uint64_t unmatched; /* of them: no entity matched */
    uint64_t refused;   /* of them: bad topic, over a limit, or no route in time */
    uint64_t
        matched; /* (message, subscription) pairs handed to subscriptions here, or given up on their way */
    uint64_t delivered; /* of them: put into the connection's output */
    uint64_t dropped;   /* of them: not. matched = delivered + dropped + queued */
    uint64_t requests;
};

struct exchange {
    struct span namespace_;
    struct span name;
    struct exchange_counts counts;
    uint64_t queued;            /* messages waiting in subscriptions here */
    uint64_t subscriptions;     /* here */
    uint64_t subscriptions_max; /* 0: the settings' */
    uint64_t topics_max;        /* live topics in this frontd; 0: the settings' */
    uint32_t fanout_max;        /* 0: the settings' */
    struct route_table *routes; /* routes.h */
    uint64_t references;
};

struct exchanges;
struct exchanges *exchanges_new(struct frontd *frontd);
void exchanges_destroy(struct exchanges **self);

/* A reference to the exchange of that name in the session's namespace. 0; ERR_AGAIN: no catalogue yet, ERR_NO_QUORUM: none for too long (named ones only); ERR_BAD_REQUEST: no valid name;
 * ERR_NOT_FOUND: was never ensured; ERR_QUOTA: too many namespaces in use. */
int exchanges_ref(struct exchanges *self, struct span namespace_, struct span name,
                  struct exchange **ret_exchange);
/* Why exchanges_ref said no, for people. */
const char *exchanges_problem(int error);
/* Nulls. What nobody refers to is forgotten after a while (its routes and counters too), not inside this call. */
void exchanges_unref(struct exchanges *self, struct exchange **exchange);
/* The one that is known under this name; NULL. No reference. */
struct exchange *exchanges_find(const struct exchanges *self, struct span namespace_,
                                struct span name);
/* The catalogue has changed: take over limits; ones that were deleted end (their subscriptions are cancelled with NOT_FOUND). */
void exchanges_catalog_changed(struct exchanges *self);
/* Forget what nobody has used for a minute before `now_ms`. Done by a timer; for tests. */
void exchanges_forget_idle(struct exchanges *self, uint64_t now_ms);
/* The counters of all that were forgotten, summed: so that the sums over all never fall. */
const struct exchange_counts *exchanges_forgotten(const struct exchanges *self);
/* Walk: start with *cursor = 0; NULL at the end. */
struct exchange *exchanges_next(const struct exchanges *self, size_t *cursor);

#endif
