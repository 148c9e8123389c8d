/* bus_send: from a head, meta and a slice to ZeroMQ frames, in place, without waiting. Copies small bodies next to their
 * head (one frame is cheaper than two); large ones go out by reference. */
#include "common/run/bus_private.h"

#include <errno.h>
#include <string.h>

#include "common/base/err.h"

/* An automatic routing id: a zero, then the connection's number. */
enum { BUS_ROUTE_SIZE = 5 };

/* @thread any: ZeroMQ's I/O thread gives the body back. */
static void send_free_body(void *data, void *hint)
{
    struct payload *owner = hint;
    (void) data;
    payload_unref(&owner);
}

/* Send and consume the frame. */
static int send_frame(void *handle, zmq_msg_t *frame, int flags)
{
    if (zmq_msg_send(frame, handle, flags | ZMQ_DONTWAIT) >= 0) {
        return 0;
    }
    if (errno == EAGAIN || errno == EINTR) {
        /* ZeroMQ takes in commands only now and then while sending: a connection that was made a moment ago
         * may not be known to the socket yet. Asking for events makes it look. */
        int events = 0;
        size_t size = sizeof(events);
        (void) zmq_getsockopt(handle, ZMQ_EVENTS, &events, &size);
        if (zmq_msg_send(frame, handle, flags | ZMQ_DONTWAIT) >= 0) {
            return 0;
        }
    }
    (void) zmq_msg_close(frame);
    return ERR_CLOSED;
}

static int send_route(void *handle, uint32_t route)
{
    zmq_msg_t frame;
    if (zmq_msg_init_size(&frame, BUS_ROUTE_SIZE) != 0) {
        return ERR_NO_MEMORY;
    }
    uint8_t *at = zmq_msg_data(&frame);
    at[0] = 0;
    memcpy(at + 1, &route, sizeof(route)); /* kept as it came */
    return send_frame(handle, &frame, ZMQ_SNDMORE);
}

int bus_send(struct bus *self, const struct bus_path *path, struct bus_head *head, struct span meta,
             const struct slice *body)
{
    zmq_msg_t first;
    zmq_msg_t second;
    struct span bytes = body != NULL ? body->bytes : span_make(NULL, 0);
    bool is_inline = bytes.size <= BUS_INLINE_MAX;
    size_t size = BUS_HEAD_SIZE + meta.size + (is_inline ? bytes.size : 0);

    loop_socket_used(path->watch);
    head->meta_size = (uint32_t) meta.size;
    head->body_size = bytes.size;
    if (zmq_msg_init_size(&first, size) != 0) {
        return ERR_NO_MEMORY;
    }
    uint8_t *at = zmq_msg_data(&first);
    bus_head_write(head, at);
    if (meta.size != 0) {
        memcpy(at + BUS_HEAD_SIZE, meta.data, meta.size);
    }
    if (is_inline && bytes.size != 0) {
        memcpy(at + BUS_HEAD_SIZE + meta.size, bytes.data, bytes.size);
    }
    if (!is_inline) {
        struct payload *owner = payload_ref(body->owner);
        void *data;
        /* ZeroMQ's interface knows no const; it only reads */
        memcpy(&data, &bytes.data, sizeof(data));
        if (zmq_msg_init_data(&second, data, bytes.size, send_free_body, owner) != 0) {
            payload_unref(&owner);
            (void) zmq_msg_close(&first);
            return ERR_NO_MEMORY;
        }
    }
    int rc = path->has_route ? send_route(path->handle, path->route) : 0;
    if (rc < 0) {
        (void) zmq_msg_close(&first);
    } else {
        rc = send_frame(path->handle, &first, is_inline ? 0 : ZMQ_SNDMORE);
    }
    if (!is_inline) {
        if (rc < 0) {
            (void) zmq_msg_close(&second);
        } else {
            rc = send_frame(path->handle, &second, 0);
        }
    }
    if (rc == 0) {
        self->stats.sent++;
        self->stats.sent_bytes += size + (is_inline ? 0 : bytes.size);
    }
    return rc;
}
