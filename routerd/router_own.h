/* router_own: what the files of the router share. */
#ifndef ROUTERD_ROUTER_OWN_H
#define ROUTERD_ROUTER_OWN_H

#include "common/base/buf.h"
#include "common/run/log.h"
#include "common/wire/bus.pb-c.h"

#include "routerd/changes.h"
#include "routerd/exchange.h"
#include "routerd/frontds.h"
#include "routerd/names.h"
#include "routerd/route.h"
#include "routerd/router.h"
#include "routerd/table.h"

struct router {
    struct router_options options;
    struct router_out out;
    struct exchanges_limits limits;
    uint64_t now_ms;
    uint64_t work; /* done in this turn: about a microsecond each */
    bool is_started;
    bool is_ready;
    unsigned waiting_for; /* while not ready: was told; TABLE_FRONTDS_MAX: nobody */
    uint32_t floors[TABLE_FRONTDS_MAX];
    struct table *table;
    struct exchanges *exchanges;
    struct names *names;
    struct route_maker *maker;
    struct frontd frontds[TABLE_FRONTDS_MAX];
    struct changes changes;
    struct buf answer; /* scratch */
    struct buf set;
    struct log_limit close_limit;
    struct router_counts counts;
};

static inline bool router_has_worked_enough(const struct router *self)
{
    return self->work >= self->options.work_max;
}

/* --- readiness.c --- */
/* May it be ready, or ready again? */
void readiness_check(struct router *self);
/* All begins anew: the process stood still. */
void readiness_pause(struct router *self, uint64_t stood_still_ms);
/* Look for frontds that do not come back. */
void readiness_check_leases(struct router *self);

/* --- reaper.c --- */
/* Remove one dead subscription or name; false: there is none. */
bool reap_one(struct router *self);
/* All that this frontd registered before this generation is dead. */
void router_set_floor(struct router *self, struct frontd *frontd, uint32_t generation);
void router_unsubscribe(struct router *self, struct subscription *subscription);

/* --- handle_*.c: 0; or ERR_PROTOCOL: the session must end --- */
int handle_subscribe(struct router *self, struct frontd *frontd, struct span meta);
int handle_unsubscribe(struct router *self, struct frontd *frontd, struct span meta);
int handle_synced(struct router *self, struct frontd *frontd, struct span meta);
int handle_applied(struct router *self, struct frontd *frontd, struct span meta);
int handle_release(struct router *self, struct frontd *frontd, struct span meta);
/* From topic number *done on; false in *ret_is_whole: it stopped there, because of room or work. */
int handle_lookup(struct router *self, struct frontd *frontd, struct span meta, uint32_t *done,
                  bool *ret_is_whole);
int handle_claim(struct router *self, struct frontd *frontd, const struct router_message *message);
int handle_resolve(struct router *self, const struct router_message *message);
int handle_info(struct router *self, const struct router_message *message);

/* Namespace and name: 0 or ERR_PROTOCOL. */
int handle_read_exchange(struct span bytes, struct span *ret_namespace, struct span *ret_name);
/* Tell the last serial that all have applied. */
void router_confirm(struct router *self);

#endif
