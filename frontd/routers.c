/* routers: the sessions to the routerds of this host: finds them by their locks in the run directory, and follows each session through its states. Owns one struct router for
 * each; what is said over the sessions is in the other routers_*.c. Never acts inside others' calls: what follows from an event is done at the end of the turn. */
#include "frontd/routers.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/run/log.h"
#include "common/run/loop.h"
#include "common/wire/pb.h"

#include "frontd/routers_private.h"
#include "frontd/routes.h"

enum { ROUTERS_TICK_MS = 100 };

enum { /* router.proto */
       CHANGES_SEQ = 1,
       CHANGES_CHANGES = 2,
       CHANGES_READY = 3,
       CHANGES_ROUND = 4,
       ROUTES_NUMBER = 1,
};

static const struct sm_state router_states[] = {
    [ROUTER_AWAY] = {"away", SM_TO(ROUTER_GREETED)},
    [ROUTER_GREETED] = {"greeted", SM_TO(ROUTER_TELLING) | SM_TO(ROUTER_AWAY)},
    [ROUTER_TELLING] = {"telling", SM_TO(ROUTER_TELLING) | SM_TO(ROUTER_TOLD) | SM_TO(ROUTER_AWAY)},
    [ROUTER_TOLD] = {"told", SM_TO(ROUTER_TELLING) | SM_TO(ROUTER_READY) | SM_TO(ROUTER_AWAY)},
    [ROUTER_READY] = {"ready", SM_TO(ROUTER_TELLING) | SM_TO(ROUTER_AWAY)},
};

static void routers_on_presence(void *ud, unsigned instance, bool is_live);
static void routers_tick(struct wheel_timer *timer, void *ud);
static void routers_end_turn(void *ud);

/* --- life --- */

struct routers *routers_new(struct frontd *frontd, const struct routers_events *events)
{
    struct routers *self = MEM_NEW(struct routers);
    self->frontd = frontd;
    self->events = *events;
    self->is_trusted = true;
    self->turned_ms = timesource_monotonic_ms(timesource_system());
    list_init(&self->registry);
    list_init(&self->unconfirmed);
    list_init(&self->claims_open);
    list_init(&self->claims_held);
    list_init(&self->resolves);
    list_init(&self->failed);
    self->by_id = hash64_new();
    self->claims_by_id = hash64_new();
    self->resolves_by_id = hash64_new();
    self->presence = presence_new(frontd->loop, frontd->settings->daemon.run_dir, "routerd",
                                  routers_on_presence, self);
    if (self->presence == NULL) {
        log_error("cannot watch the run directory", "run_dir=%s action=\"only routerd-0 is used\"",
                  frontd->settings->daemon.run_dir);
        routers_on_presence(self, 0, true);
    }
    wheel_timer_init(&self->timer, routers_tick, self);
    loop_timer_start(frontd->loop, &self->timer, ROUTERS_TICK_MS);
    return self;
}

void routers_bus_closed(struct routers *self)
{
    self->is_stopping = true;
    for (unsigned i = 0; i < self->known_count; i++) {
        upstream_bus_closed(self->known[i]->upstream);
    }
}

void routers_destroy(struct routers **self)
{
    struct routers *routers = *self;
    if (routers == NULL) {
        return;
    }
    routers->is_stopping = true;
    loop_defer_cancel(routers->frontd->loop, routers_end_turn, routers);
    wheel_cancel(loop_wheel(routers->frontd->loop), &routers->timer);
    presence_destroy(&routers->presence);
    routers_fail_asked(routers);
    for (unsigned i = 0; i < routers->known_count; i++) {
        upstream_destroy(&routers->known[i]->upstream);
        buf_release(&routers->known[i]->removals);
        mem_free(routers->known[i]);
    }
    *self = NULL;
    routers_claims_destroy(routers);
    routers_resolves_destroy(routers);
    hash64_destroy(&routers->by_id);
    mem_free(routers);
}

/* --- turns --- */

void routers_defer(struct routers *self)
{
    if (!self->is_deferred && !self->is_stopping) {
        self->is_deferred = true;
        loop_defer(self->frontd->loop, routers_end_turn, self);
    }
}

static void routers_end_turn(void *ud)
{
    struct routers *self = ud;
    self->is_deferred = false;
    for (unsigned i = 0; i < self->known_count; i++) {
        router_tell(self->known[i]);
    }
    routers_check_trust(self);
    routers_confirm(self);
    routers_claims_go_on(self);
    routers_resolves_go_on(self);
    routers_fail_asked(self);
}

static void routers_tick(struct wheel_timer *timer, void *ud)
{
    struct routers *self = ud;
    routers_check_pause(self);
    routers_watch(self);
    routers_defer(self);
    loop_timer_start(self->frontd->loop, timer, ROUTERS_TICK_MS);
}

/* --- who is there --- */

static void router_has_room(void *ud)
{
    (void) ud; /* nobody asks upstream_has_room */
}

static struct router *routers_find(const struct routers *self, unsigned instance)
{
    for (unsigned i = 0; i < self->known_count; i++) {
        if (self->known[i]->instance == instance) {
            return self->known[i];
        }
    }
    return NULL;
}

static struct router *routers_meet(struct routers *self, unsigned instance)
{
    struct frontd *frontd = self->frontd;
    struct router *router = MEM_NEW(struct router);
    router->routers = self;
    router->instance = instance;
    (void) snprintf(router->name, sizeof(router->name), "routerd-%u", instance);
    sm_init(&router->sm, "router", router_states, ROUTER_AWAY);
    router->cursor = &self->registry;
    self->known[self->known_count++] = router;
    router->upstream = upstream_new(&(struct upstream_options){
        .loop = frontd->loop,
        .bus = frontd->bus,
        .daemon = router->name,
        .parked_bytes_max = frontd->settings->parked_bytes_max,
        .request_timeout_ms = &frontd->settings->request_timeout_ms,
        .on_room = router_has_room,
        .on_end = frontd_request_end,
        .ud = frontd,
    });
    return router;
}

/* Somebody may have been answered by it until now. */
static void router_lost(struct router *self)
{
    uint64_t now_ms = loop_now_ms(self->routers->frontd->loop);
    if (self->sm.state >= ROUTER_TOLD) {
        self->danger_ms = now_ms;
    }
    self->lost_ms = now_ms;
}

static void routers_on_presence(void *ud, unsigned instance, bool is_live)
{
    struct routers *self = ud;
    struct router *router = routers_find(self, instance);
    if (router == NULL) {
        router = routers_meet(self, instance);
    }
    if (router->is_live != is_live) {
        router->is_live = is_live;
        router_lost(router);
    }
    routers_defer(self);
}

/* --- sessions --- */

static struct router *routers_of_link(const struct routers *self, const struct bus_link *link)
{
    for (unsigned i = 0; i < self->known_count; i++) {
        if (upstream_is(self->known[i]->upstream, link)) {
            return self->known[i];
        }
    }
    return NULL;
}

void router_open_source(struct router *self)
{
    struct routers *routers = self->routers;
    INVARIANT(self->source == 0);
    self->source = ++routers->source_last;
    /* First, so that what is void is known to be when the first route of the new one comes. */
    routes_source_ready(routers->frontd->routes, self->source);
    routers_void_silent(routers);
}

void router_close_source(struct router *self)
{
    uint64_t source = self->source;
    self->source = 0;
    if (source != 0) {
        routes_source_gone(self->routers->frontd->routes, source);
    }
}

int router_send(struct router *self, uint16_t type, struct span meta)
{
    struct bus_outgoing out = {.type = type, .meta = meta};
    int result = bus_event(self->link, &out);
    self->is_starved = result == ERR_AGAIN;
    return result;
}

bool routers_on_up(struct routers *self, struct bus_link *link)
{
    for (unsigned i = 0; i < self->known_count; i++) {
        struct router *router = self->known[i];
        if (upstream_notice(router->upstream, link)) {
            INVARIANT(router->link == NULL);
            router->link = link;
            sm_move(&router->sm, ROUTER_GREETED);
            router->probe_ms = 0;
            router->is_probing = false;
            router->is_starved = false;
            router_heard(router);
            upstream_ready(router->upstream);
            routers_defer(self);
            return true;
        }
    }
    return false;
}

bool routers_on_down(struct routers *self, struct bus_link *link)
{
    struct router *router = routers_of_link(self, link);
    if (router == NULL) {
        return false;
    }
    log_line(self->frontd->is_draining ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "a routerd is gone",
             "name=%s state=%s action=\"known routes are used, others are asked\"", router->name,
             sm_name(&router->sm));
    router_lost(router);
    sm_move(&router->sm, ROUTER_AWAY);
    router->link = NULL;
    upstream_down(router->upstream);
    router_forget_claims(router);
    router_close_source(router);
    if (self->presence != NULL && !self->is_stopping) {
        presence_look(self->presence); /* is it only the session, or the process? */
    }
    routers_defer(self);
    return true;
}

bool routers_on_credit(struct routers *self, struct bus_link *link)
{
    struct router *router = routers_of_link(self, link);
    if (router == NULL) {
        return false;
    }
    router->is_starved = false;
    router_heard(router);
    upstream_ready(router->upstream);
    routes_can_ask(self->frontd->routes);
    routers_defer(self);
    return true;
}

/* --- what routerds say --- */

static int router_on_reset(struct router *self)
{
    router_close_source(self);
    sm_move(&self->sm, ROUTER_TELLING);
    router_forget_claims(self);
    router_register_reset(self);
    self->round_wanted = ++self->routers->round_last;
    self->round_sent = 0;
    self->round_done = 0;
    router_renew_claims(self);
    return 0;
}

static void router_is_ready_now(struct router *self)
{
    if (self->sm.state != ROUTER_TOLD) {
        return; /* was said before */
    }
    sm_move(&self->sm, ROUTER_READY);
    log_info("a routerd is ready", "name=%s", self->name);
    router_open_source(self);
}

static int router_on_changes(struct router *self, struct span meta)
{
    struct pb_field field;
    uint64_t round = 0;
    bool is_ready = false;
    int result = 0;
    while ((result = pb_next(&meta, &field)) == 1) {
        if (field.number == CHANGES_SEQ && field.type == PB_VARINT) {
            self->seq = field.value;
        } else if (field.number == CHANGES_CHANGES && field.type == PB_BYTES) {
            result = routes_change(self->routers->frontd->routes, self->source, field.bytes);
        } else if (field.number == CHANGES_READY && field.type == PB_VARINT) {
            is_ready = field.value != 0;
        } else if (field.number == CHANGES_ROUND && field.type == PB_VARINT) {
            round = field.value;
        }
        if (result < 0) {
            break;
        }
    }
    if (result < 0) {
        return ERR_PROTOCOL;
    }
    if (is_ready) {
        router_is_ready_now(self);
    }
    if (round > self->round_done && round <= self->round_sent) {
        self->round_done = round;
    }
    return 0; /* RouteApplied is sent at the end of the turn */
}

static int router_on_routes(struct router *self, struct span meta)
{
    struct span rest = meta;
    struct pb_field field;
    uint64_t number = 0;
    int result = 0;
    while ((result = pb_next(&rest, &field)) == 1) {
        if (field.number == ROUTES_NUMBER && field.type == PB_VARINT) {
            number = field.value;
            break;
        }
    }
    if (result < 0) {
        return result;
    }
    if (self->source != 0) {
        routes_answer(self->routers->frontd->routes, self->source, number, meta);
    }
    return 0;
}

static int router_on_message(struct router *self, const struct bus_message *message)
{
    if ((int) message->type == RAILGUN__BUS_TYPE__BUS_ROUTE_RESET) {
        return router_on_reset(self);
    }
    if (self->sm.state == ROUTER_GREETED) {
        return ERR_PROTOCOL; /* RouteReset comes first */
    }
    switch ((int) message->type) {
    case RAILGUN__BUS_TYPE__BUS_ROUTE_ROUTES:
        return router_on_routes(self, message->meta);
    case RAILGUN__BUS_TYPE__BUS_ROUTE_CHANGES:
        return router_on_changes(self, message->meta);
    case RAILGUN__BUS_TYPE__BUS_ROUTE_CONFIRMED:
        return router_on_confirmed(self, message->meta);
    case RAILGUN__BUS_TYPE__BUS_ROUTE_REJECTED:
        return router_on_rejected(self, message->meta);
    default:
        return 0; /* a newer routerd may know better */
    }
}

bool routers_on_message(struct routers *self, struct bus_link *link, struct bus_message *message)
{
    struct router *router = routers_of_link(self, link);
    if (router == NULL || message->is_request) {
        return false;
    }
    router_heard(router);
    int result = router_on_message(router, message);
    if (result < 0) {
        log_error("a message of a routerd cannot be read",
                  "name=%s type=%u error=%s action=\"the session is begun anew\"", router->name,
                  message->type, err_name(result));
        router_close_source(router);
        bus_link_close(link);
    }
    routers_defer(self);
    return true;
}

/* --- how many --- */

struct router *routers_pick(struct routers *self)
{
    for (unsigned i = 0; i < self->known_count; i++) {
        struct router *router = self->known[(self->next + i) % self->known_count];
        if (router->sm.state == ROUTER_READY && router->source != 0) {
            self->next = (self->next + i + 1) % self->known_count;
            return router;
        }
    }
    return NULL;
}

unsigned routers_ready_count(const struct routers *self)
{
    unsigned count = 0;
    for (unsigned i = 0; i < self->known_count; i++) {
        count += self->known[i]->sm.state == ROUTER_READY;
    }
    return count;
}

unsigned routers_live_count(const struct routers *self)
{
    unsigned count = 0;
    for (unsigned i = 0; i < self->known_count; i++) {
        count += self->known[i]->is_live || router_is_up(self->known[i]);
    }
    return count;
}

const char *routers_name(const struct routers *self, unsigned k)
{
    return k < self->known_count ? self->known[k]->name : NULL;
}

bool routers_is_there(const struct routers *self, unsigned k)
{
    return k < self->known_count && (self->known[k]->is_live || router_is_up(self->known[k]));
}
