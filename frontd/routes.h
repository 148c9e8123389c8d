/* routes: the route cache: topic -> who gets it. Filled by routerds' answers, bounded in entries and bytes, made stale by their changes
 * (router.proto says how). A lookup is one hash probe; a change with a wildcard costs nothing until a route is next used: it is then held against the
 * changes since. */
#ifndef FRONTD_ROUTES_H
#define FRONTD_ROUTES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"

#include "frontd/exchange.h"
#include "frontd/frontd.h"

struct route_members { /* of one frontd */
    uint32_t frontd;   /* instance */
    bool is_local;
    uint32_t count;
    const uint64_t *ids;
};

struct route_group {
    struct span name;
    bool sticky_by_key;
    uint32_t count;
    const struct route_members *members;
    uint32_t member_count; /* of all frontds */
};

struct route {
    int error;         /* ERR_QUOTA: over the fan-out limit, goes to nobody */
    uint32_t entities; /* plain subscriptions and groups */
    uint32_t plain_count;
    const struct route_members *plain; /* the local ones first */
    uint32_t group_count;
    const struct route_group *groups;
};

enum routes_result {
    ROUTES_FOUND,
    ROUTES_WAIT,    /* asked for; routes_options.on_progress tells when to try again */
    ROUTES_REFUSED, /* over the limit of live topics */
};

struct routes;
/* `on_progress`: routes came, or may be used again: whoever waits tries again. Not called inside routes_find. */
struct routes *routes_new(struct frontd *frontd, void (*on_progress)(void *ud), void *ud);
void routes_destroy(struct routes **self);

/* The route of a topic that is valid if it is new (a topic that is not valid is never in the cache: check it when ROUTES_WAIT would be next; see
 * `ret_is_bad`). ROUTES_FOUND: *ret_route is valid until the end of the loop's turn. `publisher` counts against its share of
 * live topics. `*ret_is_bad`: with ROUTES_REFUSED, the reason is that the topic is not valid (topic_check). */
enum routes_result routes_find(struct routes *self, struct exchange *exchange, struct span topic,
                               uint64_t publisher, const struct route **ret_route,
                               bool *ret_is_bad);

/* --- from routers.c --- */
/* An answer of the session `source` (never 0, never re-used). `routes`: Route messages, one for each topic asked with this number. */
void routes_answer(struct routes *self, uint64_t source, uint64_t number, struct span answer);
/* This session will not answer any more: ask others. */
void routes_source_gone(struct routes *self, uint64_t source);
/* A RouteChange. */
int routes_change(struct routes *self, struct span change);
/* Routes that came from `router` (its instance) by another session than `source` are stale from now on. */
void routes_router_ready(struct routes *self, unsigned router, uint64_t source);
/* May routes be used at all (router.proto, leases)? Starts out true. */
void routes_trust(struct routes *self, bool is_trusted);
/* There is a router to ask (again). */
void routes_can_ask(struct routes *self);

struct routes_counts {
    uint64_t entries, bytes, hits, misses, stale, evicted;
};
void routes_count(const struct routes *self, struct routes_counts *ret_counts);
uint64_t routes_live_topics(const struct exchange *exchange);

#endif
