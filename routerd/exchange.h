/* exchange: the tables of the exchanges. A *filter* is the matchers of a subscription: kept once for all subscriptions that have the same, and the
 * holder of them in the index, so that a subscription with several is found once. A *group* is a name with members. An exchange is there as long as it
 * has a subscription, or a change of it was not told yet. @thread loop */
#ifndef ROUTERD_EXCHANGE_H
#define ROUTERD_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/base/span.h"

#include "routerd/table.h"

enum { FILTER_SIZE_MAX = UINT16_MAX };

struct filter {
    struct exchange *exchange;
    union {
        uint32_t slot;   /* while there is one holder */
        uint32_t *slots; /* of the table */
    } holders;
    uint32_t count;
    uint32_t capacity; /* 0: one, in place */
    uint32_t hash;
    uint32_t told; /* changes.c: the batch that names it */
    uint16_t size;
    uint8_t bytes[]; /* its matchers: size (one byte), text */
};

struct group {
    uint64_t members;
    uint64_t mark;    /* route.c: the lookup that touched it, */
    uint32_t touched; /* and as which */
    bool is_sticky;
    uint16_t size;
    uint8_t name[];
};

struct exchange {
    struct span namespace_;
    struct span name;
    struct matcher *index; /* matcher.h; holders are filters */
    struct filter **filters;
    uint32_t filter_count;
    uint32_t filter_size; /* of the array */
    struct hash *groups;  /* by name; NULL: never had one */
    uint64_t subscriptions;
    uint64_t matchers; /* summed over subscriptions */
    /* changes.c: */
    struct list of_changed;
    struct buf changed; /* `matchers` fields of RouteChange */
    uint32_t changed_count;
    bool is_changed_all;
    uint8_t key[];
};

/* Matchers of a filter: start with *at = 0; false at the end. */
bool filter_next(const struct filter *self, uint32_t *at, struct span *ret_matcher);
static inline const uint32_t *filter_slots(const struct filter *self)
{
    return self->capacity == 0 ? &self->holders.slot : self->holders.slots;
}

struct exchanges_limits {
    uint64_t subscriptions_max; /* of an exchange */
    uint64_t exchanges_max;
};

struct exchanges;
/* Borrows the table and the limits. */
struct exchanges *exchanges_new(struct table *table, const struct exchanges_limits *limits);
void exchanges_destroy(struct exchanges **self);

/* NULL: there is none. */
struct exchange *exchanges_find(const struct exchanges *self, struct span namespace_,
                                struct span name);
/* Find or make. Both at most 255 bytes. 0, ERR_QUOTA, ERR_NO_MEMORY. */
int exchanges_make(struct exchanges *self, struct span namespace_, struct span name,
                   struct exchange **ret_exchange);
/* Free it if nothing needs it. */
void exchanges_trim(struct exchanges *self, struct exchange *exchange);

struct subscription_spec {
    uint64_t id;
    unsigned frontd;
    uint32_t generation;
    struct span matchers; /* as in a filter: valid, at least one, at most FILTER_SIZE_MAX bytes */
    struct span group;    /* empty: none; at most 255 bytes */
    bool is_sticky;
};

/* The id must not be in the table. 0; ERR_QUOTA: the exchange is full; ERR_DIFFERS: its group is sticky and this not, or the other way round;
 * ERR_NO_MEMORY. */
int exchange_subscribe(struct exchanges *self, struct exchange *exchange,
                       const struct subscription_spec *spec,
                       struct subscription **ret_subscription);
/* Also takes it out of the table. The exchange stays: see exchanges_trim. */
void exchange_unsubscribe(struct exchanges *self, struct subscription *subscription);
/* Has it all that the spec says, but for the owner? */
bool exchange_is_same(const struct exchange *self, const struct subscription *subscription,
                      const struct subscription_spec *spec);

/* Each filter with a matcher for the topic, once. */
typedef void exchange_found_fn(void *ud, const struct filter *filter);
void exchange_find(struct exchange *self, struct span topic, exchange_found_fn *found, void *ud);

struct exchanges_counts {
    uint64_t exchanges, matchers, groups, filters;
};
void exchanges_count(const struct exchanges *self, struct exchanges_counts *ret_counts);

#endif
