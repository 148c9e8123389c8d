/* switch: passes runs of messages along a route: to the subscriptions here, to the other frontds, and to one member of each group. */
#ifndef FRONTD_SWITCH_H
#define FRONTD_SWITCH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/payload.h"
#include "common/base/span.h"

#include "frontd/exchange.h"
#include "frontd/routes.h"
#include "frontd/subscription.h"

enum { ROUTE_LOCAL = UINT32_MAX };

struct switch_result {
    uint32_t receivers;      /* subscriptions it was given to here, or sent towards elsewhere */
    uint64_t remote_frontds; /* a bit for each frontd that got it */
};

/* May a run go along this route now? false: a neighbour has no room; the publisher waits. */
bool switch_has_room(struct frontd *frontd, const struct route *route);
/* Let a run of messages with this route go. `run->count` messages, all of one topic; groups pick a member for each message. */
void switch_run(struct frontd *frontd, struct exchange *exchange, const struct route *route,
                struct run *run, struct switch_result *ret_result);

/* BUS_ES_FORWARD and BUS_ES_LOAD from a neighbour. */
void switch_on_forward(struct frontd *frontd, unsigned from, const struct bus_message *message);
void switch_on_load(struct frontd *frontd, unsigned from, const struct bus_message *message);

struct switch_state; /* loads of members elsewhere, and ours to tell */
struct switch_state *switch_new(struct frontd *frontd);
void switch_destroy(struct switch_state **self);
/* A member of a group here has got or lost credit, or its queue has grown or shrunk much. */
void switch_load_changed(struct frontd *frontd, struct subscription *member);
void switch_neighbour_lost(struct frontd *frontd, unsigned neighbour);

#endif
