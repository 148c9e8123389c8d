/* bus_monitor: reads a socket's event stream (zmq_socket_monitor) from a PAIR in the loop. Asks only for the two events
 * that the bus acts on: ZeroMQ's I/O thread waits when nobody reads them, so there must be few. */
#include "common/run/bus_monitor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/base/rand.h"

enum { BUS_MONITOR_HWM = 100000, BUS_MONITOR_READ_MAX = 64 };

struct bus_monitor {
    zsock_t *socket; /* watched */
    zsock_t *pair;
    struct loop_socket *watch;
    bus_monitor_fn *call;
    void *ud;
};

/* The event's number, or 0. An event is two frames: number and value, then the address. */
static unsigned monitor_receive(void *handle, bool *ret_any)
{
    zmq_msg_t frame;
    uint16_t number = 0;
    bool more = true;

    *ret_any = false;
    for (unsigned i = 0; more; i++) {
        (void) zmq_msg_init(&frame); /* cannot fail */
        if (zmq_msg_recv(&frame, handle, ZMQ_DONTWAIT) < 0) {
            (void) zmq_msg_close(&frame);
            return number;
        }
        *ret_any = true;
        if (i == 0 && zmq_msg_size(&frame) >= sizeof(number)) {
            memcpy(&number, zmq_msg_data(&frame), sizeof(number)); /* in the machine's own order */
        }
        more = zmq_msg_more(&frame) != 0;
        (void) zmq_msg_close(&frame);
    }
    return number;
}

static void monitor_on_readable(void *ud, zsock_t *pair)
{
    struct bus_monitor *self = ud;
    void *handle = zsock_resolve(pair);

    for (unsigned i = 0; i < BUS_MONITOR_READ_MAX; i++) {
        bool any = false;
        unsigned number = monitor_receive(handle, &any);
        if (!any) {
            loop_socket_is_empty(self->watch);
            return;
        }
        if (number == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
            self->call(self->ud, BUS_MONITOR_CONNECTED);
        } else if (number == ZMQ_EVENT_DISCONNECTED) {
            self->call(self->ud, BUS_MONITOR_DISCONNECTED);
        }
    }
}

struct bus_monitor *bus_monitor_start(struct loop *loop, zsock_t *socket, bus_monitor_fn *call,
                                      void *ud)
{
    struct bus_monitor *self = MEM_NEW(struct bus_monitor);
    char address[64];
    int none = 0;
    int hwm = BUS_MONITOR_HWM;

    self->socket = socket;
    self->call = call;
    self->ud = ud;
    /* Never a name of before: the monitor of a socket that is being closed holds its own for a while. */
    (void) snprintf(address, sizeof(address), "inproc://bus-monitor-%" PRIx64, entropy_u64());
    self->pair = zsock_new(ZMQ_PAIR);
    if (self->pair == NULL) {
        mem_free(self);
        return NULL;
    }
    void *handle = zsock_resolve(self->pair);
    (void) zmq_setsockopt(handle, ZMQ_LINGER, &none, sizeof(none));
    (void) zmq_setsockopt(handle, ZMQ_RCVHWM, &hwm, sizeof(hwm));
    if (zmq_socket_monitor(zsock_resolve(socket), address,
                           ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED) != 0 ||
        zmq_connect(handle, address) != 0 ||
        (self->watch = loop_socket_add(loop, self->pair, monitor_on_readable, self)) == NULL) {
        bus_monitor_stop(&self);
        return NULL;
    }
    return self;
}

void bus_monitor_await_lost(struct bus_monitor *self, unsigned count, uint64_t timeout_ms)
{
    void *handle = zsock_resolve(self->pair);
    uint64_t now_ms = timesource_monotonic_ms(timesource_system());
    uint64_t end_ms = now_ms + timeout_ms;

    while (count > 0 && now_ms < end_ms) {
        zmq_pollitem_t item = {.socket = handle, .events = ZMQ_POLLIN};
        bool any = true;
        /* nothing or an error: asked again below */
        (void) zmq_poll(&item, 1, (long) (end_ms - now_ms));
        while (any && count > 0) {
            count -= monitor_receive(handle, &any) == ZMQ_EVENT_DISCONNECTED ? 1 : 0;
        }
        now_ms = timesource_monotonic_ms(timesource_system());
    }
}

void bus_monitor_stop(struct bus_monitor **self)
{
    if (*self != NULL) {
        (void) zmq_socket_monitor(zsock_resolve((*self)->socket), NULL, 0);
        loop_socket_remove(&(*self)->watch);
        zsock_destroy(&(*self)->pair);
        MEM_FREE(*self);
    }
}
