/* bus: how daemons talk: opening, listening, connecting, and the end of a turn. Owns all ZeroMQ sockets of the process;
 * nothing else may make one. What ends a session is never done under a callback but in bus_sweep, at the end of the turn. */
#include "common/run/bus.h"

#include <string.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/base/rand.h"
#include "common/base/str.h"
#include "common/run/bus_private.h"

static const struct sm_state bus_peer_states[] = {
    [BUS_PEER_WAITING] = {"waiting", SM_TO(BUS_PEER_CONNECTING) | SM_TO(BUS_PEER_WAITING)},
    [BUS_PEER_CONNECTING] = {"connecting", SM_TO(BUS_PEER_GREETING) | SM_TO(BUS_PEER_WAITING)},
    [BUS_PEER_GREETING] = {"greeting", SM_TO(BUS_PEER_UP) | SM_TO(BUS_PEER_CONNECTING) |
                                           SM_TO(BUS_PEER_GREETING) | SM_TO(BUS_PEER_WAITING)},
    [BUS_PEER_UP] = {"up", SM_TO(BUS_PEER_WAITING)},
};

/* When the ROUTER's connections are probed after one was lost: ZeroMQ tells of the loss before it gives up the
 * connection's queue. */
static const uint64_t bus_probe_ms[] = {2, 10, 50};
enum { BUS_PROBES = sizeof(bus_probe_ms) / sizeof(bus_probe_ms[0]) };

/* --- sockets --- */

static int socket_set(zsock_t *socket, int option, int value)
{
    return zmq_setsockopt(zsock_resolve(socket), option, &value, sizeof(value));
}

/* A socket with every limit set by hand; NULL: the system refused. */
static zsock_t *bus_socket(const struct bus *self, int type)
{
    zsock_t *socket = zsock_new(type);
    if (socket == NULL) {
        return NULL;
    }
    int64_t message_max = (int64_t) self->message_bytes_max;
    int failed =
        zmq_setsockopt(zsock_resolve(socket), ZMQ_MAXMSGSIZE, &message_max, sizeof(message_max));
    failed |= socket_set(socket, ZMQ_HEARTBEAT_IVL, 2000);
    failed |= socket_set(socket, ZMQ_HEARTBEAT_TIMEOUT, 6000);
    failed |= socket_set(socket, ZMQ_HEARTBEAT_TTL, 6000);
    failed |= socket_set(socket, ZMQ_HANDSHAKE_IVL, 5000);
    failed |= socket_set(socket, ZMQ_LINGER, BUS_LINGER_MS);
    failed |= socket_set(socket, ZMQ_SNDHWM, BUS_HWM);
    failed |= socket_set(socket, ZMQ_RCVHWM, BUS_HWM);
    if (type == ZMQ_ROUTER) {
        failed |= socket_set(socket, ZMQ_ROUTER_MANDATORY, 1);
    } else {
        failed |= socket_set(socket, ZMQ_IMMEDIATE, 1);
        failed |= socket_set(socket, ZMQ_RECONNECT_IVL, BUS_RETRY_MS_MIN);
        failed |= socket_set(socket, ZMQ_RECONNECT_IVL_MAX, BUS_RETRY_MS_MAX);
    }
    INVARIANT(failed == 0); /* the values are ours */
    return socket;
}

void bus_hello_fill(const struct bus *self, struct bus_hello *ret_hello)
{
    *ret_hello = (struct bus_hello){
        .epoch = self->epoch,
        .window_bytes = self->window_bytes,
        .window_messages = self->window_messages,
        .message_bytes_max = self->message_bytes_max,
        .cluster = self->cluster,
    };
    (void) str_copy(ret_hello->name, sizeof(ret_hello->name), span_of(self->name)); /* same size */
}

/* --- the connecting side --- */

static struct bus_path peer_path(struct bus_peer *peer)
{
    return (struct bus_path){.handle = zsock_resolve(peer->socket), .watch = peer->watch};
}

static void peer_close(struct bus_peer *peer, int linger_ms)
{
    wheel_cancel(loop_wheel(peer->bus->loop), &peer->timer);
    bus_monitor_stop(&peer->monitor);
    loop_socket_remove(&peer->watch);
    if (peer->socket != NULL) {
        (void) socket_set(peer->socket, ZMQ_LINGER, linger_ms);
        zsock_destroy(&peer->socket);
    }
}

void bus_peer_restart(struct bus_peer *peer, uint64_t delay_ms_min)
{
    uint64_t now_ms = loop_now_ms(peer->bus->loop);
    if (peer->restart) {
        return;
    }
    if (peer->sm.state == BUS_PEER_UP && now_ms - peer->up_ms >= BUS_SETTLED_MS) {
        peer->delay_ms = BUS_RETRY_MS_MIN;
    }
    if (peer->delay_ms < delay_ms_min) {
        peer->delay_ms = delay_ms_min;
    }
    peer->restart = true;
    bus_sweep_later(peer->bus);
}

void bus_peer_is_up(struct bus_peer *peer, struct bus_link *link)
{
    wheel_cancel(loop_wheel(peer->bus->loop), &peer->timer);
    peer->link = link;
    peer->up_ms = loop_now_ms(peer->bus->loop);
    sm_move(&peer->sm, BUS_PEER_UP);
}

/* The connection stands: propose a session under a number of its own, so that nothing of an older one fits it. */
static void peer_greet(struct bus_peer *peer)
{
    struct bus *self = peer->bus;
    struct bus_hello hello;
    struct buf meta = {0};

    peer->session = entropy_u64();
    sm_move(&peer->sm, BUS_PEER_GREETING);
    bus_hello_fill(self, &hello);
    bus_hello_write(&hello, &meta);
    struct bus_head head = {.kind = BUS_KIND_HELLO, .session = peer->session};
    struct bus_path path = peer_path(peer);
    if (bus_send(self, &path, &head, buf_span(&meta), NULL) < 0) {
        bus_peer_restart(peer, BUS_RETRY_MS_MIN);
    } else {
        loop_timer_start(self->loop, &peer->timer, BUS_HELLO_MS);
    }
    buf_release(&meta);
}

static void peer_on_readable(void *ud, zsock_t *socket)
{
    struct bus_peer *peer = ud;
    (void) socket;
    bus_receive(peer->bus, peer, BUS_READ_MAX);
}

static void peer_on_monitor(void *ud, enum bus_monitor_event event)
{
    struct bus_peer *peer = ud;
    bool is_lost = event == BUS_MONITOR_DISCONNECTED;

    if (peer->restart) {
        return;
    }
    switch ((enum bus_peer_state) peer->sm.state) {
    case BUS_PEER_WAITING:
        break;
    case BUS_PEER_CONNECTING:
    case BUS_PEER_GREETING:
        if (!is_lost) {
            peer_greet(peer);
        } else if (peer->sm.state == BUS_PEER_GREETING) {
            wheel_cancel(loop_wheel(peer->bus->loop), &peer->timer);
            sm_move(&peer->sm, BUS_PEER_CONNECTING); /* ZeroMQ connects again */
        }
        break;
    case BUS_PEER_UP:
        /* What it said before it went, as far as ZeroMQ still has it: an answer that came is an answer. */
        bus_receive(peer->bus, peer, BUS_HWM);
        if (peer->link != NULL) {
            bus_link_fail(peer->link);
        }
        break;
    }
}

static void peer_open(struct bus_peer *peer)
{
    struct bus *self = peer->bus;
    struct buf endpoint = {0};

    sm_move(&peer->sm, BUS_PEER_CONNECTING);
    bus_dir_endpoint(&self->dir, peer->name, &endpoint);
    peer->socket = bus_socket(self, ZMQ_DEALER);
    if (peer->socket == NULL ||
        (peer->watch = loop_socket_add(self->loop, peer->socket, peer_on_readable, peer)) == NULL ||
        (peer->monitor = bus_monitor_start(self->loop, peer->socket, peer_on_monitor, peer)) ==
            NULL ||
        zmq_connect(zsock_resolve(peer->socket), buf_text(&endpoint)) != 0) {
        /* out of descriptors or memory: they may come back */
        bus_peer_restart(peer, BUS_RETRY_MS_MAX);
    }
    buf_release(&endpoint);
}

static void peer_on_timer(struct wheel_timer *timer, void *ud)
{
    struct bus_peer *peer = ud;
    (void) timer;
    if (peer->sm.state == BUS_PEER_WAITING) {
        peer_open(peer);
    } else {
        bus_peer_restart(peer, BUS_RETRY_MS_MIN); /* no answer to HELLO */
    }
}

static void peer_wait(struct bus_peer *peer)
{
    peer->restart = false;
    peer_close(peer, 0);
    sm_move(&peer->sm, BUS_PEER_WAITING);
    loop_timer_start(peer->bus->loop, &peer->timer, peer->delay_ms);
    peer->delay_ms *= 2;
    if (peer->delay_ms > BUS_RETRY_MS_MAX) {
        peer->delay_ms = BUS_RETRY_MS_MAX;
    }
}

struct bus_peer *bus_connect(struct bus *self, const char *name)
{
    INVARIANT(bus_name_check(span_of(name)) == 0);
    LIST_FOREACH (&self->peers, node) {
        struct bus_peer *known = LIST_ENTRY(node, struct bus_peer, node);
        if (strcmp(known->name, name) == 0) {
            return known;
        }
    }
    struct bus_peer *peer = MEM_NEW(struct bus_peer);
    peer->bus = self;
    (void) str_copy(peer->name, sizeof(peer->name), span_of(name)); /* checked above */
    peer->delay_ms = BUS_RETRY_MS_MIN;
    sm_init(&peer->sm, "bus_peer", bus_peer_states, BUS_PEER_WAITING);
    wheel_timer_init(&peer->timer, peer_on_timer, peer);
    list_push_back(&self->peers, &peer->node);
    peer_open(peer);
    return peer;
}

struct bus_link *bus_peer_link(const struct bus_peer *peer)
{
    return peer->link != NULL && !peer->link->dying ? peer->link : NULL;
}

const char *bus_peer_name(const struct bus_peer *peer)
{
    return peer->name;
}

/* --- the listening side --- */

/* Ask each accepted connection whether it is still there; one that is not ends its session by the failing send. */
static void router_probe(struct bus *self)
{
    struct bus_link *link;
    size_t cursor = 0;

    bus_receive(self, NULL, 4 * BUS_READ_MAX); /* first what the lost one still said */
    while ((link = hash64_next(self->routes, &cursor)) != NULL) {
        if (!link->dying) {
            (void) bus_link_control(link, BUS_KIND_PROBE, 0);
        }
    }
    if (self->probe_step < BUS_PROBES) {
        loop_timer_start(self->loop, &self->probe_timer, bus_probe_ms[self->probe_step++]);
    }
}

static void router_on_probe(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    router_probe(ud);
}

static void router_on_monitor(void *ud, enum bus_monitor_event event)
{
    struct bus *self = ud;
    if (event == BUS_MONITOR_DISCONNECTED) {
        self->probe_step = 0;
        router_probe(self);
    }
}

static void router_on_readable(void *ud, zsock_t *socket)
{
    (void) socket;
    bus_receive(ud, NULL, BUS_READ_MAX);
}

int bus_lock(struct bus *self)
{
    if (self->lock_fd >= 0) {
        return 0;
    }
    int fd = bus_dir_lock(&self->dir, self->name);
    if (fd < 0) {
        return fd;
    }
    self->lock_fd = fd;
    return 0;
}

static void router_close(struct bus *self)
{
    wheel_cancel(loop_wheel(self->loop), &self->probe_timer);
    bus_monitor_stop(&self->router_monitor);
    loop_socket_remove(&self->router_watch);
    zsock_destroy(&self->router);
}

int bus_bind(struct bus *self)
{
    struct buf endpoint = {0};

    INVARIANT(self->router == NULL);
    int rc = bus_lock(self);
    if (rc < 0) {
        return rc;
    }
    int fd = bus_dir_listen(&self->dir, self->name);
    if (fd < 0) {
        return fd;
    }
    bus_dir_endpoint(&self->dir, self->name, &endpoint);
    self->router = bus_socket(self, ZMQ_ROUTER);
    if (self->router == NULL || socket_set(self->router, ZMQ_USE_FD, fd) != 0 ||
        (self->router_watch =
             loop_socket_add(self->loop, self->router, router_on_readable, self)) == NULL ||
        (self->router_monitor =
             bus_monitor_start(self->loop, self->router, router_on_monitor, self)) == NULL ||
        zmq_bind(zsock_resolve(self->router), buf_text(&endpoint)) != 0) {
        rc = ERR_IO;
        router_close(self);
        bus_dir_unlink(&self->dir, self->name);
        (void) close(fd);
    }
    buf_release(&endpoint);
    return rc;
}

void bus_set_cluster(struct bus *self, const struct uuid *cluster)
{
    struct bus_link *link;
    size_t cursor = 0;

    self->cluster = *cluster;
    while ((link = hash64_next(self->links, &cursor)) != NULL) {
        if (!uuid_is_nil(cluster) && !uuid_is_nil(&link->cluster) &&
            !uuid_equal(cluster, &link->cluster)) {
            bus_link_fail(link);
        }
    }
}

/* --- the end of a turn --- */

static void bus_sweep(void *ud)
{
    struct bus *self = ud;
    struct bus_link *link;
    size_t cursor = 0;

    self->swept_later = false;
    while ((link = hash64_next(self->links, &cursor)) != NULL) {
        if (link->credit_due && !link->dying) {
            link->credit_due = false;
            if (link->told.bytes != link->released.bytes ||
                link->told.messages != link->released.messages) {
                link->peer_starved = false;
                (void) bus_link_control(link, BUS_KIND_CREDIT, 0); /* failing ends the session */
            }
        }
    }
    while (!list_is_empty(&self->ending)) {
        link = LIST_ENTRY(self->ending.next, struct bus_link, ending);
        bus_link_end(link);
    }
    LIST_FOREACH (&self->peers, node) {
        struct bus_peer *peer = LIST_ENTRY(node, struct bus_peer, node);
        if (peer->restart) {
            peer_wait(peer);
        }
    }
}

void bus_sweep_later(struct bus *self)
{
    if (!self->swept_later) {
        self->swept_later = true;
        loop_defer(self->loop, bus_sweep, self);
    }
}

/* --- open and close --- */

int bus_open(const struct bus_options *options, struct loop *loop,
             const struct bus_handlers *handlers, struct bus **ret_bus)
{
    struct bus_dir dir = {.fd = -1};

    INVARIANT(bus_name_check(span_of(options->name)) == 0);
    int rc = bus_dir_open(&dir, options->run_dir);
    if (rc < 0) {
        return rc;
    }
    struct bus *self = MEM_NEW(struct bus);
    self->loop = loop;
    self->handlers = *handlers;
    (void) str_copy(self->name, sizeof(self->name), span_of(options->name)); /* checked above */
    self->epoch = entropy_u64();
    self->cluster = options->cluster;
    self->window_bytes = options->window_bytes != 0 ? options->window_bytes : BUS_WINDOW_BYTES;
    self->window_messages =
        options->window_messages != 0 ? options->window_messages : BUS_WINDOW_MESSAGES;
    if (self->window_messages > BUS_WINDOW_MESSAGES_MAX) {
        self->window_messages = BUS_WINDOW_MESSAGES_MAX;
    }
    self->message_bytes_max =
        options->message_bytes_max != 0 ? options->message_bytes_max : BUS_MESSAGE_BYTES;
    self->dir = dir;
    self->lock_fd = -1;
    wheel_timer_init(&self->probe_timer, router_on_probe, self);
    list_init(&self->peers);
    list_init(&self->ending);
    self->links = hash64_new();
    self->routes = hash64_new();
    *ret_bus = self;
    return 0;
}

void bus_close(struct bus **self)
{
    struct bus *bus = *self;
    struct bus_link *link;
    struct list *node;
    size_t cursor;

    if (bus == NULL) {
        return;
    }
    unsigned accepted = (unsigned) hash64_count(bus->routes);
    for (cursor = 0; (link = hash64_next(bus->links, &cursor)) != NULL; cursor = 0) {
        bus_link_end(link);
    }
    while ((node = list_pop_front(&bus->peers)) != NULL) {
        struct bus_peer *peer = LIST_ENTRY(node, struct bus_peer, node);
        peer_close(peer, BUS_LINGER_MS);
        mem_free(peer);
    }
    if (bus->router != NULL) {
        /* Each has a BYE behind our last answers and hangs up when it has read it. To hang up first would take away what it
         * has not read yet: ZeroMQ drops that with ZMQ_IMMEDIATE set. */
        bus_monitor_await_lost(bus->router_monitor, accepted, BUS_LINGER_MS);
        router_close(bus);
        bus_dir_unlink(&bus->dir, bus->name);
    }
    if (bus->lock_fd >= 0) {
        (void) close(bus->lock_fd);
    }
    loop_defer_cancel(bus->loop, bus_sweep, bus);
    bus_dir_close(&bus->dir);
    hash64_destroy(&bus->links);
    hash64_destroy(&bus->routes);
    bus_slots_release(&bus->calls);
    bus_slots_release(&bus->tickets);
    MEM_FREE(*self);
}

uint64_t bus_epoch(const struct bus *self)
{
    return self->epoch;
}

void bus_stats_read(const struct bus *self, struct bus_stats *ret_stats)
{
    *ret_stats = self->stats;
}
