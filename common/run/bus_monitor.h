/* bus_monitor: what happens to a ZeroMQ socket's connections, as events in the loop: within milliseconds, where a heartbeat
 * takes seconds. */
#ifndef COMMON_RUN_BUS_MONITOR_H
#define COMMON_RUN_BUS_MONITOR_H

#include "common/run/loop.h"

enum bus_monitor_event {
    BUS_MONITOR_CONNECTED,    /* the handshake is done: messages get through */
    BUS_MONITOR_DISCONNECTED, /* an established connection is gone */
};

struct bus_monitor;
typedef void bus_monitor_fn(void *ud, enum bus_monitor_event event);

/* Start before the socket binds or connects, so that no event is missed. Borrows the socket until stopped. NULL: the system
 * refused. */
struct bus_monitor *bus_monitor_start(struct loop *loop, zsock_t *socket, bus_monitor_fn *call,
                                      void *ud);
/* Outside the loop, when there is no more of it: wait until `count` established connections are gone (counting those not yet
 * told), at most `timeout_ms`. */
void bus_monitor_await_lost(struct bus_monitor *self, unsigned count, uint64_t timeout_ms);
/* Nulls; accepts NULL. Not inside its own callback. */
void bus_monitor_stop(struct bus_monitor **self);

#endif
