/* ephemerals: the groups of a stream that live in memory only. They are groups like others, with a number of their own, but nothing of them is in the log or
 * the catalogue: what their members say is applied to them directly. A group ends 5 s after its last member, and with the process. */
#ifndef LOGD_EPHEMERALS_H
#define LOGD_EPHEMERALS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/hash.h"
#include "common/base/list.h"
#include "common/base/span.h"
#include "logd/start.h"

struct groups;
struct hosted;

enum { EPHEMERALS_MAX = 1000 /* of one stream */, EPHEMERAL_REST_MS = 5000 };

/* In struct groups. */
struct ephemerals {
    struct hash *by_name;
    struct list resting; /* without members, the one that ends first comes first */
    uint64_t last_id;
};

void ephemerals_init(struct ephemerals *self);
void ephemerals_release(struct ephemerals *self);

struct ephemeral_wish {
    struct span name; /* empty: one is made */
    struct span spec;
    struct start start;
    enum start_gap on_gap;
};
/* The group of that name: an ephemeral one, a durable one if there is one (once durable, always), or a new one. ERR_QUOTA, ERR_BAD_CONFIG (dead letters, or
 * a limit that is too high), and what start_resolve says. */
int ephemerals_open(struct groups *groups, const struct ephemeral_wish *wish,
                    struct hosted **ret_hosted, bool *ret_created);
/* NULL: there is none. */
struct hosted *ephemerals_find(const struct groups *groups, struct span name);

/* Somebody joined, or the last one left. */
void ephemeral_busy(struct groups *groups, struct hosted *hosted);
void ephemeral_rests(struct groups *groups, struct hosted *hosted);
/* A durable group of this name was opened: the members of the ephemeral one are told to come again. */
void ephemerals_yield(struct groups *groups, struct span name);
/* What was accepted is applied. */
void ephemeral_apply(struct groups *groups, struct hosted *hosted);
/* End those whose time is over. Returns when (loop time) to come again; UINT64_MAX: none rests. */
uint64_t ephemerals_turn(struct groups *groups, uint64_t now_ms);

#endif
