/* routers_private: what the files of routers share. One struct router for each routerd of this host that was ever seen; its session goes
 *
 *   AWAY ──► GREETED ──► TELLING ──► TOLD ──► READY
 *     ▲          │           ▲│        ││        ││
 *     └──────────┴───────────┼┴────────┼┴────────┼┘    the session ends
 *                            └─────────┴─────────┘     RouteReset once more
 * AWAY     no session
 * GREETED  a session; RouteReset has not come yet
 * TELLING  claims and registrations are being told
 * TOLD     RouteSynced was sent; its table is not whole yet
 * READY    may be asked
 *
 * What is to be done about all this is done once, at the end of the turn (routers_end_turn), never inside others' calls. */
#ifndef FRONTD_ROUTERS_PRIVATE_H
#define FRONTD_ROUTERS_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/hash.h"
#include "common/base/list.h"
#include "common/base/sm.h"
#include "common/base/wheel.h"
#include "common/run/presence.h"
#include "common/wire/bus.pb-c.h"

#include "frontd/routers.h"
#include "frontd/upstream.h"

enum router_state {
    ROUTER_AWAY,
    ROUTER_GREETED,
    ROUTER_TELLING,
    ROUTER_TOLD,
    ROUTER_READY,
};

struct router {
    struct routers *routers;
    unsigned instance;
    char name[16]; /* "routerd-1" */
    struct upstream *upstream;
    struct bus_link *link; /* NULL: AWAY */
    struct sm sm;          /* enum router_state */
    bool is_live;          /* its process is there */

    /* When waiting for it began, if it is waited for (routers_trust.c). */
    uint64_t lost_ms;   /* the process was seen, or the session ended */
    uint64_t danger_ms; /* the last that somebody may have been answered by it before it was lost */
    uint64_t heard_ms;  /* anything came over the session */
    uint64_t probe_ms;  /* since then an answer to a probe is due; 0: none is */
    bool is_probing;

    /* Of the session: */
    uint64_t source;     /* for routes.c; 0: not to be asked */
    uint64_t confirmed;  /* it routes with all up to this serial; kept when the session ends */
    uint64_t told;       /* the last serial it was told in this session */
    struct list *cursor; /* the next registration to tell; the list itself: none */
    bool is_starved;     /* there is no credit; routers_on_credit tells */
    struct buf removals; /* ids to be unregistered, as on the wire */
    uint64_t seq;        /* of the last change */
    uint64_t applied;    /* said so */
    uint64_t round_wanted;
    uint64_t round_sent;
    uint64_t round_done;
};

struct claim {
    struct list of_claims;
    uint64_t id;
    struct buf meta; /* RouteClaim, RouteRelease: alike */
    void (*done)(void *ud, int result);
    void (*on_lost)(void *ud);
    void *ud;
    uint64_t asked;   /* a bit for each instance: without an answer */
    uint64_t granted; /* likewise */
    uint64_t deadline_ms;
    bool is_done;
    int result; /* when done */
};

struct resolve {
    struct list of_resolves;
    uint64_t id;
    struct buf meta;
    void (*done)(void *ud, uint64_t token, int result, unsigned frontd, uint64_t request);
    void *ud;
    uint64_t token;
    uint64_t deadline_ms;
    bool is_asked;
};

struct routers {
    struct frontd *frontd;
    struct routers_events events;
    struct presence *presence;
    struct router *known[PRESENCE_INSTANCES_MAX]; /* in order of being seen first */
    unsigned known_count;
    struct wheel_timer timer;
    bool is_deferred;
    bool is_stopping; /* the bus is closed */

    /* registrations */
    struct list registry; /* all, by serial */
    struct list unconfirmed;
    uint64_t unconfirmed_count;
    struct hash64 *by_id;
    uint64_t serial_last;

    /* trust */
    uint64_t turned_ms; /* by the clock: we were running then */
    bool is_trusted;
    uint64_t round_last;
    uint64_t round_trust; /* trust is back when this one is done everywhere */

    uint64_t source_last;
    unsigned next; /* who is asked next */

    struct list claims_open; /* not done */
    struct list claims_held; /* done: ours, or to be released by their owner */
    struct hash64 *claims_by_id;
    struct list resolves;
    struct hash64 *resolves_by_id;
    uint64_t id_last;   /* of claims and resolves */
    struct list failed; /* requests whose outcome is BUS_FAILED at the end of the turn */
};

/* --- routers.c --- */
/* See to it that routers_end_turn is called. */
void routers_defer(struct routers *self);
static inline bool router_is_up(const struct router *self)
{
    return self->link != NULL;
}
static inline uint64_t router_bit(const struct router *self)
{
    return UINT64_C(1) << self->instance;
}
/* A session that may be asked now, others in turn: ready, and not silent unless it is the only one. NULL: none. */
struct router *routers_pick(struct routers *self);
/* It may be asked (again) from now on. */
void router_open_source(struct router *self);
/* Its routes are void when others may be asked. */
void router_close_source(struct router *self);
/* Send an event now: 0, or as bus_event. Not while it is starved. */
int router_send(struct router *self, uint16_t type, struct span meta);

/* --- routers_register.c --- */
void router_register_reset(struct router *self);
/* Tell what is to be told, as far as there is credit. */
void router_tell(struct router *self);
/* Confirm what all that matter have confirmed. */
void routers_confirm(struct routers *self);
/* 0, or ERR_PROTOCOL. */
int router_on_confirmed(struct router *self, struct span meta);
int router_on_rejected(struct router *self, struct span meta);

/* --- routers_trust.c --- */
/* Is it not to be waited for? */
bool router_is_given_up(const struct router *self, uint64_t now_ms);
void router_heard(struct router *self);
/* Looks for the silent ones, asks them whether they are there. */
void routers_watch(struct routers *self);
/* Those that are silent must not be trusted once another is ready. */
void routers_void_silent(struct routers *self);
void routers_check_trust(struct routers *self);

/* --- routers_claim.c --- */
/* The session begins: claims that are held are told before anything else. */
void router_renew_claims(struct router *self);
/* The session is over: what it was asked or granted means nothing. */
void router_forget_claims(struct router *self);
void routers_claims_go_on(struct routers *self);
void routers_claims_destroy(struct routers *self);

/* --- routers_lookup.c --- */
void routers_resolves_go_on(struct routers *self);
void routers_fail_asked(struct routers *self);
void routers_resolves_destroy(struct routers *self);

#endif
