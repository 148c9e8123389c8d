/* frontds: one record for each frontd of the host: is its process there, has it a session, what was sent to it and what it has applied; and what waits to
 * be sent to it, to be worked on, or for readiness. */
#ifndef ROUTERD_FRONTDS_H
#define ROUTERD_FRONTDS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/list.h"
#include "common/base/payload.h"
#include "common/base/span.h"

#include "routerd/router.h"

/* A message of a frontd that could not be worked on at once. */
struct kept {
    struct list link;
    struct router_message message; /* meta lies behind */
    uint32_t done;                 /* of a lookup: topics that are answered */
    bool is_held;                  /* its credit: to be released */
    uint8_t bytes[];
};

/* "All up to this serial is in the change `seq`." */
struct unconfirmed {
    uint64_t serial;
    uint64_t seq;
};

struct frontd {
    unsigned instance;
    bool is_live;     /* its process, as presence says */
    bool is_up;       /* it has a session */
    bool is_synced;   /* in this session it has told all it has */
    bool is_closing;  /* the session was ended by us */
    bool is_given_up; /* it was silent for too long; said once */
    uint64_t epoch;
    uint32_t generation;

    uint64_t quiet_ms; /* since when it owes us something and was not heard */
    uint64_t sent;     /* the last change that was sent in this session */
    uint64_t applied;
    uint64_t settled; /* the change that told it `ready` in this session; 0: none yet */
    bool wants_ready; /* with the next change */
    uint64_t round;   /* likewise; 0: none */

    uint64_t serial_last; /* the highest that was registered and is not in `waiting` yet */
    bool has_serial;
    struct unconfirmed *waiting; /* oldest first, from waiting_first */
    size_t waiting_first;
    size_t waiting_count;
    size_t waiting_capacity;

    struct list outbox;
    uint64_t outbox_bytes;
    struct list inbox;
    struct list held;
    uint64_t held_count;
    uint64_t held_bytes;
};

struct router;

/* Send in order: at once if nothing waits before it. `shared` (or NULL): a copy of the same bytes that others may wait with; made if there is none. */
void frontd_send(struct router *router, struct frontd *self, uint16_t type, struct span meta,
                 struct payload **shared);
/* Send what waits, as far as there is credit. */
void frontd_flush(struct router *router, struct frontd *self);
/* May large answers be made for it now? */
bool frontd_has_room(const struct frontd *self);
/* It broke a rule, or is hopelessly behind. */
void frontd_close(struct router *router, struct frontd *self, const char *why);

/* A copy, to be worked on later. */
struct kept *frontd_keep(struct list *where, const struct router_message *message);
void kept_free(struct kept **kept);
/* Forget all that belongs to the session. */
void frontd_reset_session(struct frontd *self);

/* Must it be waited for? It owes something and its lease is not over. */
bool frontd_is_owing(const struct frontd *self);
bool frontd_is_waited_for(const struct router *router, const struct frontd *self);
/* Everything up to here it has applied; UINT64_MAX: it need not be waited for. */
uint64_t frontd_floor(const struct router *router, const struct frontd *self);

/* All serials up to here are in the change `seq`. */
void frontd_note(struct frontd *self, uint64_t serial, uint64_t seq);
/* What was noted with a change up to `seq`: the last serial of it. false: nothing. */
bool frontd_take(struct frontd *self, uint64_t seq, uint64_t *ret_serial);

#endif
