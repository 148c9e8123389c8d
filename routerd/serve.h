/* serve: the router on a bus: sessions, messages and credit of frontds, who of them lives, and the turns of the loop. @thread loop */
#ifndef ROUTERD_SERVE_H
#define ROUTERD_SERVE_H

#include "common/run/bus.h"
#include "common/run/loop.h"

#include "routerd/router.h"

struct serve;

struct serve_events {
    /* `reason` NULL: ready. */
    void (*on_ready)(void *ud, const char *reason);
    void *ud;
};

/* Borrows loop and bus; the bus's handlers call what is below. NULL: the run directory cannot be watched. */
struct serve *serve_new(struct loop *loop, struct bus *bus, const char *run_dir,
                        const struct router_options *options, const struct serve_events *events);
/* After the bus was closed. Accepts NULL. */
void serve_destroy(struct serve **self);
/* The bus is bound. */
void serve_start(struct serve *self);
const struct router *serve_router(const struct serve *self);

/* The bus's handlers: `ud` is the serve. */
void serve_on_up(void *ud, struct bus_link *link);
void serve_on_down(void *ud, struct bus_link *link);
void serve_on_message(void *ud, struct bus_link *link, struct bus_message *message);
void serve_on_credit(void *ud, struct bus_link *link);

#endif
