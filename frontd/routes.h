/* routes: the route cache: topic -> who gets it. Filled by routerds' answers, bounded in entries and bytes, made stale by their changes
 * (router.proto says how). A lookup is one hash probe; a change with a wildcard costs nothing until a route is next used: it is then held against the
 * changes since.
 *
 * A route is used only as long as the session it came from is up, or since that ended no other routerd was there to be asked: only a session that is up
 * tells of all changes to what it has answered. What is asked for and the changes may overtake each other:
 *  - a change comes before the answer, on the session that was asked: the answer has it in;
 *  - ... on another session: the answer may be older than the change, so it is asked for again (a few times; then it is taken, as the change is still to
 *    come on the session that was asked too, or that session ends);
 *  - the session ends, or its routerd is silent, before the change came on it: the route is void as soon as another routerd is ready. (Nothing is confirmed
 *    to a subscriber before a routerd that has not said so is given up, ROUTE_LEASE_MS after it was lost: routers.h.) */
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
    const struct route_members *members; /* the local ones first */
    uint32_t member_count;               /* of all frontds */
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
/* Before the exchanges, which lose their tables. */
void routes_destroy(struct routes **self);

/* The route of a topic that is valid if it is new (a topic that is not valid is never in the cache: check it when ROUTES_WAIT would be next; see
 * `ret_is_bad`). ROUTES_FOUND: *ret_route is valid until the end of the loop's turn. `publisher` counts against its share of
 * live topics. `*ret_is_bad`: with ROUTES_REFUSED, the reason is that the topic is not valid (topic_check). */
enum routes_result routes_find(struct routes *self, struct exchange *exchange, struct span topic,
                               uint64_t publisher, const struct route **ret_route,
                               bool *ret_is_bad);

/* --- from routers.c --- */
/* An answer of the session `source` (never 0, never re-used). `answer`: a RouteRoutes message with this number; a long answer comes in several. */
void routes_answer(struct routes *self, uint64_t source, uint64_t number, struct span answer);
/* This session will not answer any more: ask others. What it answered is void once another one is ready. */
void routes_source_gone(struct routes *self, uint64_t source);
/* A RouteChange that came on the session `source` (0: it is not ready). 0; ERR_PROTOCOL: it cannot be read; all routes are then stale. */
int routes_change(struct routes *self, uint64_t source, struct span change);
/* `source` is a session that may be asked from now on. Routes that came from sessions that are gone are stale from now on. */
void routes_source_ready(struct routes *self, uint64_t source);
/* May routes be used at all (router.proto, leases)? Starts out true. */
void routes_trust(struct routes *self, bool is_trusted);
/* There is a router to ask (again). */
void routes_can_ask(struct routes *self);

/* --- from exchange.c --- */
/* The exchange is to be forgotten. It has no live topics. */
void routes_forget(struct routes *self, struct exchange *exchange);

struct routes_counts {
    uint64_t entries, bytes, hits, misses, stale, evicted;
};
void routes_count(const struct routes *self, struct routes_counts *ret_counts);
uint64_t routes_live_topics(const struct exchange *exchange);

#endif
