/* switch: passes runs of messages along a route: to the subscriptions here, to the other frontds, and to one member of each group.
 *
 * A group's member is picked among those with credit: here first, else elsewhere; of several the one with fewer bytes before it, out of two
 * taken by chance. A long run is split evenly. What other frontds' members have before them they tell each other (EsLoad): only of those that are
 * not idle. @thread loop */
#ifndef FRONTD_SWITCH_H
#define FRONTD_SWITCH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/payload.h"
#include "common/base/span.h"

#include "frontd/exchange.h"
#include "frontd/routes.h"
#include "frontd/subscription.h"

enum { ROUTE_LOCAL = UINT32_MAX };

struct switch_result {
    uint32_t receivers;      /* subscriptions it was given to here, or sent towards elsewhere */
    uint32_t outputs;        /* copies that were made of it: for what a publisher is charged */
    uint64_t remote_frontds; /* a bit for each frontd that got it */
};

/* May a run go along this route now? false: a neighbour has no room; the publisher waits. */
bool switch_has_room(struct frontd *frontd, const struct route *route);
/* Let a run of messages with this route go. `run->count` messages, of which all have this route; groups pick a member for each message. Matches are counted
 * here or where the subscription is. */
void switch_run(struct frontd *frontd, struct exchange *exchange, const struct route *route,
                struct run *run, struct switch_result *ret_result);

/* BUS_ES_FORWARD and BUS_ES_LOAD from a neighbour. */
void switch_on_forward(struct frontd *frontd, unsigned from, const struct bus_message *message);
void switch_on_load(struct frontd *frontd, unsigned from, const struct bus_message *message);

struct switch_state; /* loads of members elsewhere, and ours to tell */
struct switch_state *switch_new(struct frontd *frontd);
void switch_destroy(struct switch_state **self);
/* A member of a group here has become idle (nothing waits, and it has credit), or is so no more. */
void switch_load_changed(struct frontd *frontd, struct subscription *member);
/* It goes. */
void switch_member_gone(struct frontd *frontd, struct subscription *member);
/* A session to a neighbour: it knows nothing of ours yet. */
void switch_neighbour_up(struct frontd *frontd, unsigned neighbour);
void switch_neighbour_lost(struct frontd *frontd, unsigned neighbour);
/* Tell now what changed; done by a timer 50 ms after the first change. For tests. */
void switch_tell_loads(struct frontd *frontd);

/* Room for who walks over a frame; empty between uses. */
struct buf *switch_scratch(struct frontd *frontd);

#endif
