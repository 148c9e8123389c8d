/* bus_receive: from ZeroMQ frames to handlers. Takes nothing on trust: frames are checked against their head, the session
 * against the link's, the credit against the window. What fits no session is counted and dropped; a session that breaks a
 * rule ends. */
#include "common/run/bus_private.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

/* An automatic routing id: a zero, then the connection's number. */
enum { BUS_ROUTE_SIZE = 5 };

/* One message as it came. */
struct bus_incoming {
    struct bus_peer *peer; /* NULL: through the ROUTER */
    struct bus_path path;
    struct bus_link *link; /* NULL: none */
    struct bus_head head;
    zmq_msg_t first;
    zmq_msg_t second;
    bool has_second;
};

/* @thread any: whoever drops the last reference. */
static void incoming_free_body(void *hint)
{
    zmq_msg_t *frame = hint;
    (void) zmq_msg_close(frame); /* fails only for what is no message */
    mem_free(frame);
}

static struct span incoming_meta(struct bus_incoming *in)
{
    return span_make((const uint8_t *) zmq_msg_data(&in->first) + BUS_HEAD_SIZE,
                     in->head.meta_size);
}

/* The body as a slice with its own reference: small ones copied, large ones kept in the frame they came in. */
static int incoming_body(struct bus_incoming *in, struct slice *ret_body)
{
    *ret_body = (struct slice){0};
    if (in->head.body_size == 0) {
        return 0;
    }
    if (!in->has_second) {
        const uint8_t *at = (const uint8_t *) zmq_msg_data(&in->first) + BUS_HEAD_SIZE;
        ret_body->owner =
            payload_copy(span_make(at + in->head.meta_size, (size_t) in->head.body_size));
    } else {
        zmq_msg_t *frame = mem_try_new(sizeof(*frame));
        if (frame == NULL) {
            return ERR_NO_MEMORY;
        }
        (void) zmq_msg_init(frame); /* cannot fail */
        (void) zmq_msg_move(frame, &in->second);
        ret_body->owner =
            payload_wrap(zmq_msg_data(frame), zmq_msg_size(frame), incoming_free_body, frame);
        if (ret_body->owner == NULL) {
            incoming_free_body(frame);
        }
    }
    if (ret_body->owner == NULL) {
        return ERR_NO_MEMORY;
    }
    ret_body->bytes = payload_span(ret_body->owner);
    return 0;
}

/* --- opening a session --- */

static bool hello_is_foreign(const struct bus *self, const struct bus_hello *hello)
{
    return !uuid_is_nil(&self->cluster) && !uuid_is_nil(&hello->cluster) &&
           !uuid_equal(&self->cluster, &hello->cluster);
}

static void receive_answer(struct bus *self, struct bus_incoming *in, enum bus_kind kind,
                           int status)
{
    struct bus_head head = {.kind = kind, .status = status, .session = in->head.session};
    (void) bus_send(self, &in->path, &head, span_make(NULL, 0), NULL); /* it may be gone by now */
}

static void receive_refuse(struct bus *self, struct bus_incoming *in, int error)
{
    self->stats.refused++;
    receive_answer(self, in, BUS_KIND_REFUSE, error);
}

/* A new session is proof that the old one of the same connection, or of the same name, is dead. */
static void receive_end_older(struct bus *self, const struct bus_incoming *in, const char *name)
{
    if (in->link != NULL) {
        bus_link_end(in->link);
    }
    size_t cursor = 0;
    struct bus_link *link;
    while ((link = hash64_next(self->routes, &cursor)) != NULL) {
        if (strcmp(link->name, name) == 0) {
            bus_link_end(link);
            cursor = 0; /* handlers ran: begin anew */
        }
    }
}

static void receive_hello(struct bus *self, struct bus_incoming *in)
{
    struct bus_hello hello;
    struct buf meta = {0};

    if (in->peer != NULL || bus_hello_read(incoming_meta(in), &hello) < 0) {
        self->stats.malformed++;
        if (in->peer == NULL) {
            receive_refuse(self, in, ERR_PROTOCOL);
        }
        return;
    }
    if (hello_is_foreign(self, &hello)) {
        receive_refuse(self, in, ERR_WRONG_CLUSTER);
        return;
    }
    receive_end_older(self, in, hello.name);
    if (hash64_count(self->routes) >= BUS_LINKS_MAX) {
        receive_refuse(self, in, ERR_QUOTA);
        return;
    }
    struct bus_link *link = bus_link_new(self, &in->path, &hello, in->head.session);
    (void) hash64_put(self->routes, in->path.route, link);
    struct bus_hello ours;
    bus_hello_fill(self, &ours);
    bus_hello_write(&ours, &meta);
    struct bus_head head = {.kind = BUS_KIND_HELLO_OK};
    int rc = bus_link_send(link, &head, buf_span(&meta), NULL); /* failing ends the session */
    buf_release(&meta);
    if (rc == 0) {
        bus_link_report(link);
    }
}

static void receive_hello_answer(struct bus *self, struct bus_incoming *in)
{
    struct bus_peer *peer = in->peer;
    struct bus_hello hello;
    int error = in->head.status;

    if (peer == NULL || peer->sm.state != BUS_PEER_GREETING || in->head.session != peer->session ||
        peer->restart) {
        self->stats.stale++;
        return;
    }
    if (in->head.kind == BUS_KIND_HELLO_OK) {
        error = bus_hello_read(incoming_meta(in), &hello);
        if (error == 0 && strcmp(hello.name, peer->name) != 0) {
            error = ERR_PROTOCOL;
        }
        if (error == 0 && hello_is_foreign(self, &hello)) {
            error = ERR_WRONG_CLUSTER;
        }
    }
    if (error < 0 || in->head.kind == BUS_KIND_REFUSE) {
        if (in->head.kind == BUS_KIND_HELLO_OK) {
            receive_answer(self, in, BUS_KIND_BYE, 0);
        }
        bus_peer_restart(peer, BUS_RETRY_MS_MAX);
        if (self->handlers.on_refused != NULL) {
            self->handlers.on_refused(self->handlers.ud, peer, error < 0 ? error : ERR_PROTOCOL);
        }
        return;
    }
    struct bus_link *link = bus_link_new(self, &in->path, &hello, peer->session);
    link->peer = peer;
    bus_peer_is_up(peer, link);
    bus_link_report(link);
}

/* --- in a session --- */

static void receive_payload(struct bus *self, struct bus_incoming *in)
{
    struct bus_message message = {
        .type = in->head.type,
        .subject = in->head.subject,
        .status = in->head.status,
        .meta = incoming_meta(in),
    };
    if (incoming_body(in, &message.body) < 0) {
        bus_link_fail(in->link); /* it cannot be delivered, so the session cannot go on */
        return;
    }
    self->stats.received++;
    self->stats.received_bytes += in->head.meta_size + in->head.body_size;
    struct slice body = message.body;
    if (in->head.kind == BUS_KIND_REPLY) {
        bus_link_deliver_reply(in->link, &in->head, &message);
    } else {
        bus_link_deliver(in->link, &in->head, &message);
    }
    slice_release(&body);
}

static void receive_in_session(struct bus *self, struct bus_incoming *in)
{
    struct bus_link *link = in->link;

    if (!bus_link_take_credit(link, &in->head)) {
        self->stats.malformed++;
        bus_link_fail(link);
        return;
    }
    switch (in->head.kind) {
    case BUS_KIND_REQUEST:
    case BUS_KIND_REPLY:
    case BUS_KIND_EVENT:
        receive_payload(self, in);
        break;
    case BUS_KIND_STARVED:
        link->peer_starved = true;
        link->peer_wanted_bytes = in->head.subject;
        bus_link_check_due(link);
        break;
    case BUS_KIND_BYE:
        bus_link_fail(link);
        break;
    case BUS_KIND_CREDIT:
    case BUS_KIND_PROBE:
    case BUS_KIND_HELLO:
    case BUS_KIND_HELLO_OK:
    case BUS_KIND_REFUSE:
    case BUS_KIND_COUNT:
        break;
    }
    bus_link_check_starved(link, in->head.kind);
}

/* Does the message consist of exactly what its head announces? */
static bool incoming_is_whole(struct bus_incoming *in)
{
    uint64_t room = zmq_msg_size(&in->first) - BUS_HEAD_SIZE;
    if (in->head.meta_size > room) {
        return false;
    }
    room -= in->head.meta_size;
    if (in->has_second) {
        return room == 0 && in->head.body_size == zmq_msg_size(&in->second);
    }
    return room == in->head.body_size;
}

static void receive_dispatch(struct bus *self, struct bus_incoming *in)
{
    struct span first = span_make(zmq_msg_data(&in->first), zmq_msg_size(&in->first));

    int rc = bus_head_read(first, &in->head);
    if (rc < 0 || !incoming_is_whole(in)) {
        self->stats.malformed++;
        if (in->link != NULL) {
            bus_link_fail(in->link);
        } else if (rc == ERR_VERSION && in->peer == NULL) {
            receive_refuse(self, in, ERR_VERSION);
        }
        return;
    }
    if (in->head.kind == BUS_KIND_HELLO) {
        receive_hello(self, in);
    } else if (in->head.kind == BUS_KIND_HELLO_OK || in->head.kind == BUS_KIND_REFUSE) {
        receive_hello_answer(self, in);
    } else if (in->link == NULL || in->link->session != in->head.session) {
        self->stats.stale++;
        if (in->link == NULL && in->peer == NULL && in->head.kind != BUS_KIND_BYE) {
            receive_answer(self, in, BUS_KIND_BYE, 0); /* it believes in a session we do not have */
        }
    } else if (!in->link->dying) {
        receive_in_session(self, in);
    }
}

/* --- frames --- */

/* Drop the rest of a message that has more frames than it may. */
static void receive_skip(void *handle)
{
    zmq_msg_t frame;
    bool more = true;
    while (more) {
        (void) zmq_msg_init(&frame); /* cannot fail */
        more = zmq_msg_recv(&frame, handle, ZMQ_DONTWAIT) >= 0 && zmq_msg_more(&frame) != 0;
        (void) zmq_msg_close(&frame);
    }
}

/* The number of the connection. 0; ERR_AGAIN: nothing is there; ERR_PROTOCOL. */
static int receive_route(void *handle, uint32_t *ret_route)
{
    zmq_msg_t frame;
    int rc = 0;

    (void) zmq_msg_init(&frame); /* cannot fail */
    if (zmq_msg_recv(&frame, handle, ZMQ_DONTWAIT) < 0) {
        rc = ERR_AGAIN;
    } else if (zmq_msg_more(&frame) == 0) {
        rc = ERR_PROTOCOL;
    } else if (zmq_msg_size(&frame) != BUS_ROUTE_SIZE ||
               *(const uint8_t *) zmq_msg_data(&frame) != 0) {
        rc = ERR_PROTOCOL; /* a name of its own choosing: none of ours */
        receive_skip(handle);
    } else {
        memcpy(ret_route, (const uint8_t *) zmq_msg_data(&frame) + 1, sizeof(*ret_route));
    }
    (void) zmq_msg_close(&frame);
    return rc;
}

/* 0: a message; ERR_AGAIN: nothing is there; ERR_PROTOCOL: something that was dropped. */
static int receive_frames(struct bus_incoming *in)
{
    void *handle = in->path.handle;

    if (in->path.has_route) {
        int rc = receive_route(handle, &in->path.route);
        if (rc < 0) {
            return rc;
        }
    }
    if (zmq_msg_recv(&in->first, handle, ZMQ_DONTWAIT) < 0) {
        return ERR_AGAIN;
    }
    if (zmq_msg_more(&in->first) == 0) {
        return 0;
    }
    if (zmq_msg_recv(&in->second, handle, ZMQ_DONTWAIT) < 0) {
        return ERR_PROTOCOL;
    }
    in->has_second = true;
    if (zmq_msg_more(&in->second) != 0) {
        receive_skip(handle);
        return ERR_PROTOCOL;
    }
    return 0;
}

void bus_receive(struct bus *self, struct bus_peer *peer, unsigned limit)
{
    struct bus_path path = {
        .handle = zsock_resolve(peer != NULL ? peer->socket : self->router),
        .watch = peer != NULL ? peer->watch : self->router_watch,
        .has_route = peer == NULL,
    };
    for (unsigned i = 0; i < limit; i++) {
        struct bus_incoming in = {.peer = peer, .path = path};
        (void) zmq_msg_init(&in.first); /* cannot fail */
        (void) zmq_msg_init(&in.second);
        int rc = receive_frames(&in);
        if (rc != ERR_AGAIN) {
            in.link = peer != NULL ? peer->link : hash64_get(self->routes, in.path.route);
        }
        if (rc == 0) {
            receive_dispatch(self, &in);
        } else if (rc == ERR_PROTOCOL) {
            self->stats.malformed++;
        }
        (void) zmq_msg_close(&in.first);
        (void) zmq_msg_close(&in.second);
        if (rc == ERR_AGAIN) {
            loop_socket_is_empty(path.watch);
            return;
        }
    }
}
