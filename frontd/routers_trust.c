/* routers_trust: whom to wait for, and whether we may trust ourselves (router.proto, "Leases"). Must never give up on a routerd before every frontd that runs has stopped
 * to use what it answered.
 *
 * A routerd that may have answered lookups and is lost (it died, its session ended, or it is silent) may have left answers with other frontds that do not have
 * the newest subscriptions; they notice its loss within ROUTE_PAUSE_MS or do not trust themselves, so it counts for confirmations until ROUTE_LEASE_MS are over.
 * Silent is who has not answered a probe, nor said anything else, since. */
#include <inttypes.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/run/log.h"
#include "common/run/loop.h"
#include "common/wire/pb.h"
#include "common/wire/route_lease.h"

#include "frontd/routers_private.h"
#include "frontd/routes.h"

enum {
    PROBE_MS = 250,
    PROBE_TIMEOUT_MS = 10000, /* then another one is sent */
};

static uint64_t later_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The clock may be ahead of the turn's time. */
static uint64_t elapsed_ms(uint64_t since_ms, uint64_t now_ms)
{
    return now_ms > since_ms ? now_ms - since_ms : 0;
}

static uint64_t routers_now_ms(const struct routers *self)
{
    return loop_now_ms(self->frontd->loop);
}

/* --- silence --- */

void router_heard(struct router *self)
{
    self->heard_ms = routers_now_ms(self->routers);
}

/* For how long a session has not answered. */
static uint64_t router_silent_ms(const struct router *self, uint64_t now_ms)
{
    return self->probe_ms != 0 ? elapsed_ms(later_of(self->probe_ms, self->heard_ms), now_ms) : 0;
}

/* Any answer will do: it comes in the order in which the routerd works. */
static void probe_done(struct request *request, enum bus_outcome outcome,
                       const struct bus_message *reply)
{
    struct routers *self = request->frontd->routers;
    (void) reply;
    if (self == NULL || self->is_stopping) {
        return;
    }
    for (unsigned i = 0; i < self->known_count; i++) {
        struct router *router = self->known[i];
        if (router->upstream != request->upstream) {
            continue;
        }
        router->is_probing = false;
        if (outcome == BUS_OK) {
            router->probe_ms = 0;
            router_heard(router);
            if (router->sm.state == ROUTER_READY && router->source == 0) {
                log_info("a routerd answers again", "name=%s", router->name);
                router_open_source(router);
            }
        }
    }
    routers_defer(self);
}

static void router_probe(struct router *self)
{
    struct request *request = request_take(self->routers->frontd->requests);
    struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_ROUTE_INFO};
    request->frontd = self->routers->frontd;
    request->done = probe_done;
    request->is_session_bound = true;
    self->is_probing = true;
    upstream_ask(self->upstream, request, &out, PROBE_TIMEOUT_MS);
}

void routers_void_silent(struct routers *self)
{
    uint64_t now_ms = routers_now_ms(self);
    unsigned open = 0;
    for (unsigned i = 0; i < self->known_count; i++) {
        open += self->known[i]->source != 0;
    }
    for (unsigned i = 0; i < self->known_count; i++) {
        struct router *router = self->known[i];
        if (open > 1 && router->source != 0 && router_silent_ms(router, now_ms) >= ROUTE_PAUSE_MS) {
            log_warn("a routerd is silent", "name=%s ms=%" PRIu64 " action=\"others are asked\"",
                     router->name, router_silent_ms(router, now_ms));
            router_close_source(router);
        }
    }
}

void routers_watch(struct routers *self)
{
    uint64_t now_ms = routers_now_ms(self);
    for (unsigned i = 0; i < self->known_count; i++) {
        struct router *router = self->known[i];
        if (!router_is_up(router) || router->is_probing ||
            (router->probe_ms == 0 && elapsed_ms(router->heard_ms, now_ms) < PROBE_MS)) {
            continue;
        }
        if (router->probe_ms == 0) {
            router->probe_ms = now_ms;
        }
        router_probe(router);
    }
    routers_void_silent(self);
}

bool router_is_given_up(const struct router *self, uint64_t now_ms)
{
    if (router_is_up(self)) {
        return router_silent_ms(self, now_ms) >= ROUTE_LEASE_MS;
    }
    uint64_t since_ms = self->is_live ? self->lost_ms : self->danger_ms;
    return since_ms == 0 || elapsed_ms(since_ms, now_ms) >= ROUTE_LEASE_MS;
}

/* --- trust --- */

static void routers_lose_trust(struct routers *self, const char *why, uint64_t ms)
{
    log_warn("what is known may be out of date",
             "reason=\"%s\" ms=%" PRIu64 " action=\"no route is used until all routerds have been "
             "asked\"",
             why, ms);
    self->is_trusted = false;
    self->round_trust = ++self->round_last;
    for (unsigned i = 0; i < self->known_count; i++) {
        self->known[i]->round_wanted = self->round_trust;
    }
    routes_trust(self->frontd->routes, false);
    routers_defer(self);
}

/* The round trip brings all changes that were made before it. */
static bool router_is_settled(const struct router *self)
{
    return self->sm.state == ROUTER_READY && self->round_done >= self->routers->round_trust;
}

static bool router_is_missed(const struct router *self, uint64_t now_ms)
{
    return self->is_live && !router_is_up(self) &&
           elapsed_ms(self->lost_ms, now_ms) >= ROUTE_PAUSE_MS && !router_is_given_up(self, now_ms);
}

void routers_check_trust(struct routers *self)
{
    uint64_t now_ms = routers_now_ms(self);
    bool is_settled = true;
    for (unsigned i = 0; i < self->known_count; i++) {
        const struct router *router = self->known[i];
        if (self->is_trusted && router_is_missed(router, now_ms)) {
            routers_lose_trust(self, "no session to a routerd that lives",
                               elapsed_ms(router->lost_ms, now_ms));
        }
        if ((router->is_live || router_is_up(router)) && !router_is_given_up(router, now_ms) &&
            !router_is_settled(router)) {
            is_settled = false;
        }
    }
    if (!self->is_trusted && is_settled) {
        log_info("what is known is up to date again", "routerds=%u", routers_ready_count(self));
        self->is_trusted = true;
        routes_trust(self->frontd->routes, true);
    }
}

void routers_check_pause(struct routers *self)
{
    uint64_t now_ms = timesource_monotonic_ms(timesource_system());
    uint64_t stood_ms = now_ms - self->turned_ms;
    self->turned_ms = now_ms;
    if (stood_ms <= ROUTE_PAUSE_MS || self->is_stopping) {
        return;
    }
    for (unsigned i = 0; i < self->known_count; i++) { /* it was we who did not listen */
        struct router *router = self->known[i];
        router->heard_ms = later_of(router->heard_ms, now_ms);
        router->lost_ms = later_of(router->lost_ms, now_ms);
    }
    routers_lose_trust(self, "this process stood still", stood_ms);
    if (self->presence != NULL) {
        presence_look(self->presence); /* there may be routerds that came and did not wait for us */
    }
}
