/* router: the tables of a routerd and what it says to the frontds (router.proto), without a bus, a clock or a directory: what happened goes in, what is to
 * be done comes out by a few functions. Frontds are known by their instance.
 *
 * The order of a turn: router_now, then whatever happened, then router_turn_end, which tells the changes. @thread loop */
#ifndef ROUTERD_ROUTER_H
#define ROUTERD_ROUTER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"

#include "routerd/table.h"

struct router_options {
    uint64_t subscriptions_max; /* of an exchange */
    uint64_t exchanges_max;
    uint64_t entities_max; /* that one message goes to */
    uint64_t names_max;
    uint64_t held_bytes_max;     /* lookups that wait, of a frontd */
    uint64_t outbound_bytes_max; /* that wait to be sent, of a frontd */
    uint32_t work_max;           /* in a turn; 0: the default */
};

struct router_out {
    /* Send an event. 0; ERR_AGAIN: not now, router_credit tells when; else the session is over, or ends. */
    int (*send)(void *ud, unsigned frontd, uint16_t type, struct span meta);
    /* Answer a request: `status` 0 and meta, or an error. It may be over: then nothing. */
    void (*reply)(void *ud, uint64_t ticket, int status, struct span meta);
    /* What was held by router_message is done. */
    void (*release)(void *ud, uint64_t ticket);
    /* End the session; router_down follows, not inside this call. */
    void (*close)(void *ud, unsigned frontd);
    /* `reason` NULL: ready. */
    void (*on_ready)(void *ud, const char *reason);
    /* For measuring; may be NULL. */
    uint64_t (*clock_us)(void *ud);
    void *ud;
};

/* What a frontd said, borrowed. */
struct router_message {
    uint16_t type;
    bool is_request;
    uint64_t ticket;
    struct span meta;
};

struct router;
/* Options and out are copied. Not ready before router_start. */
struct router *router_new(const struct router_options *options, const struct router_out *out,
                          uint64_t now_ms);
void router_destroy(struct router **self);

/* At the beginning of each callback: the time of this turn. Was the last one too long ago, all begins anew. */
void router_now(struct router *self, uint64_t now_ms);
/* All frontds that live have been told by router_frontd_live. */
void router_start(struct router *self);
void router_frontd_live(struct router *self, unsigned frontd, bool is_live);
void router_up(struct router *self, unsigned frontd, uint64_t epoch);
void router_down(struct router *self, unsigned frontd);
/* true: it was put aside, and its credit is to be kept until release. */
bool router_message(struct router *self, unsigned frontd, const struct router_message *message);
void router_credit(struct router *self, unsigned frontd);
/* true: there is more to do, another turn should come at once. To be called at the end of each turn, and at least every ROUTER_TICK_MS. */
bool router_turn_end(struct router *self);

enum { ROUTER_TICK_MS = 200 };

bool router_is_ready(const struct router *self);

struct router_counts {
    uint64_t subscriptions, matchers, groups, exchanges, names;
    uint64_t frontds; /* with a session */
    uint64_t held;    /* lookups, claims and resolves that wait */
    uint64_t held_bytes;
    uint64_t outbound_bytes;
    uint64_t unconfirmed; /* frontds that wait for a confirmation */
    uint64_t seq;
    /* so far: */
    uint64_t lookups;                  /* topics */
    uint64_t lookup_us, lookup_us_max; /* of a message */
    uint64_t subscribed, unsubscribed, rejected, changes, over_quota, malformed, resets, given_up;
};
void router_count(const struct router *self, struct router_counts *ret_counts);
/* Everything in its place? Slow: for tests. */
bool router_invariant(const struct router *self);

#endif
