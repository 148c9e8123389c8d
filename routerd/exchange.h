/* exchange: the tables of the exchanges. The matchers of a subscription are kept with it, and in the index of the exchange, which finds its slot in the
 * table: once, however many of its matchers match. A *group* is a name with members. An exchange is there as long as it has a subscription, or a change of
 * it was not told yet. @thread loop */
#ifndef ROUTERD_EXCHANGE_H
#define ROUTERD_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/base/span.h"

#include "routerd/table.h"

enum { MATCHERS_SIZE_MAX = UINT16_MAX };

struct home { /* what a subscription belongs to: the first member of both */
    struct exchange *exchange;
    bool is_group;
};

struct group {
    struct home home;
    bool is_sticky;
    uint16_t size;
    uint32_t touched; /* route.c: as which the lookup `mark` touched it */
    uint64_t mark;
    uint64_t members;
    uint8_t name[];
};

struct exchange {
    struct home home;
    struct span namespace_;
    struct span name;
    struct matcher *index; /* matcher.h; holders are slots of the table */
    struct hash *groups;   /* by name; NULL: never had one */
    uint64_t subscriptions;
    uint64_t matchers; /* summed over subscriptions */
    /* changes.c: */
    struct list of_changed;
    struct buf changed; /* `matchers` fields of RouteChange */
    uint32_t changed_count;
    bool is_changed_all;
    uint8_t key[];
};

/* Walk the matchers of a subscription: start with *at = 0; false at the end. */
bool subscription_next(const struct subscription *self, uint32_t *at, struct span *ret_matcher);
/* NULL: it has none. */
struct group *subscription_group(const struct subscription *self);

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
    struct span
        matchers; /* as in a subscription: valid, at least one, at most MATCHERS_SIZE_MAX bytes */
    struct span group; /* empty: none; at most 255 bytes */
    bool is_sticky;
    uint64_t exchange_max; /* subscriptions of the exchange, beside `limits`; 0: no limit */
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

struct exchanges_counts {
    uint64_t exchanges, matchers, groups;
};
void exchanges_count(const struct exchanges *self, struct exchanges_counts *ret_counts);

#endif
