/* upstream: one daemon that frontd asks: its link while there is one, and the queue of what waits for it. Requests are sent in the order in which
 * they were asked: once one waits, all later ones wait behind it. */
#ifndef FRONTD_UPSTREAM_H
#define FRONTD_UPSTREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/run/bus.h"
#include "common/run/loop.h"

#include "frontd/request.h"

struct upstream;

struct upstream_options {
    struct loop *loop;
    struct bus *bus;
    const char *daemon; /* "logd-0"; borrowed */
    uint64_t parked_bytes_max;
    const uint64_t *request_timeout_ms; /* how long a request may wait to be sent; read each time */
    /* There is room in the queue again after upstream_has_room said no. */
    void (*on_room)(void *ud);
    /* A request is over (its `done` was called): give back what it held. */
    void (*on_end)(void *ud, struct request *request);
    void *ud;
};

/* Connects. */
struct upstream *upstream_new(const struct upstream_options *options);
/* The bus is closed: there is no link any more, and no more requests are under way. */
void upstream_bus_closed(struct upstream *self);
/* What still waits ends with BUS_FAILED, what is under way with BUS_UNKNOWN. */
void upstream_destroy(struct upstream **self);

const char *upstream_name(const struct upstream *self);
/* NULL while there is no session. */
struct bus_link *upstream_link(const struct upstream *self);
/* Is this the link that came up last? Also while it goes down. */
bool upstream_is(const struct upstream *self, const struct bus_link *link);
/* In on_up: is this the way to our daemon? It is noted then. */
bool upstream_notice(struct upstream *self, const struct bus_link *link);

/* May more be asked? Otherwise the asker stops reading from its client until on_room. */
bool upstream_has_room(struct upstream *self);

/* Ask. Takes the request; its `done` is called once, not inside this call: BUS_FAILED when it could not be sent within the request timeout,
 * BUS_UNKNOWN when it was sent and `timeout_ms` after now there is no answer. `out` is used up within the call. */
void upstream_ask(struct upstream *self, struct request *request, const struct bus_outgoing *out,
                  uint64_t timeout_ms);
/* Send an event of this session, behind what waits; dropped when the session ends. Takes the request (done is NULL). */
void upstream_tell(struct upstream *self, struct request *request, const struct bus_outgoing *out);

/* The link came up or has credit again. */
void upstream_ready(struct upstream *self);
/* The link went down: what waited for this session only ends with BUS_UNKNOWN. */
void upstream_down(struct upstream *self);

uint64_t upstream_parked_count(const struct upstream *self);
uint64_t upstream_unknown_count(const struct upstream *self); /* outcomes so far */

#endif
