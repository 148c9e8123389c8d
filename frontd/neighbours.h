/* neighbours: the other frontds of this host. Each keeps a session to each; messages for subscriptions there are gathered during a turn and sent as
 * one. */
#ifndef FRONTD_NEIGHBOURS_H
#define FRONTD_NEIGHBOURS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"
#include "common/run/bus.h"

#include "frontd/frontd.h"

struct neighbours;

struct neighbours_events {
    /* There is a session to it: it knows nothing of us yet. */
    void (*on_up)(void *ud, unsigned frontd);
    /* A neighbour's process is gone, or the session to it: what it held is lost. */
    void (*on_lost)(void *ud, unsigned frontd);
    /* There is room again (neighbours_has_room said no). */
    void (*on_room)(void *ud);
    void *ud;
};

struct neighbours *neighbours_new(struct frontd *frontd, const struct neighbours_events *events);
void neighbours_destroy(struct neighbours **self);
void neighbours_bus_closed(struct neighbours *self);

/* Is there a session to it? */
bool neighbours_is_up(const struct neighbours *self, unsigned frontd);
/* May more be forwarded to it now? A publisher waits otherwise. It also waits for one without a session that lives and has not been away for longer than
 * ROUTE_LEASE_MS. True when it is not up otherwise: then forwarding gives up. */
bool neighbours_has_room(struct neighbours *self, unsigned frontd);
unsigned neighbours_count(const struct neighbours *self); /* that are up */

/* A run of messages to subscriptions there. The bytes are copied into what goes out at the end of the turn. false: it is not up. */
bool neighbours_forward(struct neighbours *self, unsigned frontd, const uint64_t *ids,
                        uint32_t id_count, uint32_t count, bool is_group, uint64_t request,
                        uint32_t timeout_ms, struct span messages);
/* Send something one-way; false: it is not up. Behind the messages forwarded so far. */
bool neighbours_tell(struct neighbours *self, unsigned frontd, uint16_t type, struct span meta);
/* Ask. The request is taken; done with BUS_FAILED when it is not up. */
void neighbours_ask(struct neighbours *self, unsigned frontd, struct request *request,
                    uint16_t type, struct span meta, const struct slice *body, uint64_t timeout_ms);
/* Visit the instances that are up: start with *cursor = 0; -1 at the end. */
int neighbours_next(const struct neighbours *self, unsigned *cursor);

/* The bus's calls about our sessions to them: true: it was about one. */
bool neighbours_on_up(struct neighbours *self, struct bus_link *link);
bool neighbours_on_down(struct neighbours *self, struct bus_link *link);
bool neighbours_on_credit(struct neighbours *self, struct bus_link *link);
/* Which neighbour is at the other end of a link (theirs or ours); -1: none. */
int neighbours_of_link(const struct bus_link *link);

#endif
