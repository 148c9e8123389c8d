/* routers: frontd's sessions to the routerds of its host: tells them the subscriptions here, asks for routes, takes their changes. router.proto is
 * the contract between the two sides. */
#ifndef FRONTD_ROUTERS_H
#define FRONTD_ROUTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/list.h"
#include "common/base/span.h"
#include "common/run/bus.h"

#include "frontd/exchange.h"
#include "frontd/frontd.h"

/* What routerds know of a subscription. Lives in its owner; set up once by the owner before routers_add. */
struct registration {
    struct list of_registry; /* all, in order of `serial` */
    struct list of_unconfirmed;
    uint64_t serial; /* set by routers_add */
    uint64_t id;     /* unique among all frontds, never re-used */
    struct exchange *exchange;
    struct span
        matchers; /* encoded: `matchers` fields (4) of RouteSubscription, normalised; lives as long as this */
    struct span group;
    bool sticky_by_key;
    bool is_confirmed; /* routed everywhere */
};

struct routers_events {
    /* Every live routerd routes with it, and every live frontd: the client may be told. Once; not inside routers_add. */
    void (*on_confirmed)(void *ud, struct registration *registration);
    /* It was refused (ERR_QUOTA, ERR_DIFFERS); it is no longer registered. Not inside routers_add. */
    void (*on_rejected)(void *ud, struct registration *registration, int error, struct span detail);
    void *ud;
};

struct routers;
/* After the routes, the exchanges and the pool of requests; `frontd->routers` must be where it is kept. */
struct routers *routers_new(struct frontd *frontd, const struct routers_events *events);
/* After those who register, claim and ask, before the routes. Accepts NULL. */
void routers_destroy(struct routers **self);
/* The bus is closed. */
void routers_bus_closed(struct routers *self);

void routers_add(struct routers *self, struct registration *registration);
/* Also while it is not confirmed; does no harm when it was rejected. Its memory may go afterwards. */
void routers_remove(struct routers *self, struct registration *registration);

/* For routes.c: ask for topics of one exchange. `topics`: encoded `topics` fields (3) of RouteLookup. Returns the session asked
 * (spread over the live ones), 0: there is none that can be asked now (routes_can_ask tells). */
uint64_t routers_lookup(struct routers *self, const struct exchange *exchange, uint64_t number,
                        struct span topics);

/* For responses.c: a name for a response stream, unique in the namespace, from every live routerd. `done` is called once, not inside this call: 0,
 * ERR_RS_IN_USE, ERR_NO_QUORUM (no routerd in time). The claim is renewed with routerds that restart, until routers_release; is it lost then (a
 * name that two got while routerds were away), `on_lost` is called. Returns the claim. */
struct claim;
struct claim *routers_claim(struct routers *self, struct span namespace_, struct span name,
                            uint64_t request, void (*done)(void *ud, int result),
                            void (*on_lost)(void *ud), void *ud);
void routers_release(struct routers *self, struct claim **claim); /* nulls; also before `done` */
/* Who holds a name: `done` with 0, the frontd's instance and its number of the request; ERR_NOT_FOUND; ERR_NO_QUORUM. Never inside this call. Cannot
 * be cancelled: `ud` is looked up by the caller. */
void routers_resolve(struct routers *self, struct span namespace_, struct span name,
                     void (*done)(void *ud, uint64_t token, int result, unsigned frontd,
                                  uint64_t request),
                     void *ud, uint64_t token);

/* Has the process stood still for so long that what it knows may be out of date (router.proto, leases)? Then nothing is trusted from here on. Costs a look at
 * the clock. routes_find asks once a turn; to be asked as well after each read from a client, before what was read is handled: then whatever is routed by
 * what we knew was sent before anybody could give up on us. */
void routers_check_pause(struct routers *self);

/* Sessions that are up and ready, and live routerds. */
unsigned routers_ready_count(const struct routers *self);
unsigned routers_live_count(const struct routers *self);
uint64_t routers_unconfirmed_count(const struct routers *self);
/* "routerd-1" of the k-th known instance, NULL at the end: for describe_node. */
const char *routers_name(const struct routers *self, unsigned k);
/* Does the k-th live, or has it a session? One that was taken away does not, nor one that died. */
bool routers_is_there(const struct routers *self, unsigned k);
/* Ask one of them, for information. The request is taken; done with BUS_FAILED if none is there. */
void routers_ask(struct routers *self, struct request *request, uint16_t type, struct span meta,
                 uint64_t timeout_ms);

/* The bus's calls: true: it was about one of ours. */
bool routers_on_up(struct routers *self, struct bus_link *link);
bool routers_on_down(struct routers *self, struct bus_link *link);
bool routers_on_credit(struct routers *self, struct bus_link *link);
bool routers_on_message(struct routers *self, struct bus_link *link, struct bus_message *message);

#endif
