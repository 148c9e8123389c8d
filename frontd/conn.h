/* conn: one client's connection as bytes: reads frames, writes what is queued, keeps its deadlines. It knows no messages but
 * Ping and Error, which it sends by itself. What frames mean is the session's business (conn_events).
 *
 *   CONNECTED --conn_greeted--> READY --conn_set_draining--> DRAINING
 *       |                         |                             |
 *       +-------------------------+------- conn_finish ---------+--> CLOSING --(flushed, or 1 s)--> CLOSED
 *
 * CONNECTED  Hello must come within hello_timeout; frames are small.
 * READY      both sides send; heartbeats.
 * DRAINING   as READY, after GoAway.
 * CLOSING    what comes in is thrown away; what is queued goes out and the peer may take it in, for at most a second.
 * CLOSED     the socket is closed; the memory goes at the end of the turn.
 *
 * Broken sockets and lost peers go straight to CLOSED from anywhere. */
#ifndef FRONTD_CONN_H
#define FRONTD_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/list.h"
#include "common/base/payload.h"
#include "common/base/span.h"
#include "common/run/loop.h"

#include "frontd/outq.h"

struct conn;
struct conn_set;

enum conn_state {
    CONN_CONNECTED,
    CONN_READY,
    CONN_DRAINING,
    CONN_CLOSING,
    CONN_CLOSED,
    CONN_STATE_COUNT,
};

struct conn_events {
    /* One whole frame. `owner` keeps its bytes: slice_make(owner, part) to hold on to them. 0: done with; ERR_AGAIN: not now. The frame is then
     * shown again after conn_retry, and nothing is read in between. Others: the connection is failed with that error. */
    int (*on_frame)(void *ud, struct span frame, struct payload *owner);
    /* Less is queued than was wanted; called once after conn_want_room or conn_want_room_below. */
    void (*on_room)(void *ud);
    /* The connection is CLOSED, at step 6 of the turn: nobody's stack refers to it. The last call; `ud` may be freed. */
    void (*on_closed)(void *ud);
};

/* What all connections share. */
struct conn_options {
    uint64_t hello_timeout_ms;
    uint64_t heartbeat_ms;
    uint64_t frame_grace_ms;           /* then a frame that has begun must have come at 1 KiB/s */
    uint32_t frame_bytes_max;          /* after Hello */
    uint64_t outbound_bytes_max;       /* of one connection */
    uint64_t inbound_total_bytes_max;  /* of all: frames that would go beyond it are refused */
    uint64_t outbound_total_bytes_max; /* of all: the largest is closed beyond it */
};

/* Counted for all connections; read by whoever likes. */
struct conn_counts {
    uint64_t frames_in;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t protocol_errors; /* connections failed for what the client sent */
    uint64_t overloaded;      /* connections closed because they did not read */
};

struct conn_set *conn_set_new(struct loop *loop, const struct conn_options *options);
void conn_set_destroy(struct conn_set **self); /* closes all connections that are left */
const struct conn_counts *conn_set_counts(const struct conn_set *self);
size_t conn_set_count(const struct conn_set *self);
uint64_t conn_set_outbound_bytes(const struct conn_set *self);
/* Received and not taken: beginnings of frames, and frames answered with ERR_AGAIN. */
uint64_t conn_set_inbound_bytes(const struct conn_set *self);
size_t conn_set_blocked_count(const struct conn_set *self);
/* Show the frames again that were answered with ERR_AGAIN, on all connections. */
void conn_set_retry(struct conn_set *self);
/* Visit all; the visited one may be closed. */
typedef void conn_visit_fn(void *ud, struct conn *conn);
void conn_set_each(struct conn_set *self, conn_visit_fn *visit, void *ud);

/* Takes the non-blocking socket. NULL: epoll refused it, the socket is closed then. */
struct conn *conn_new(struct conn_set *set, int fd, const struct conn_events *events, void *ud);

enum conn_state conn_state(const struct conn *self);
void *conn_ud(const struct conn *self);

/* Hello was taken: full frames, heartbeats. */
void conn_greeted(struct conn *self, uint64_t heartbeat_ms);
void conn_set_draining(struct conn *self);

/* Queue one frame: its parts one after the other (copied), then `tail` (may be NULL; referred to, not copied). It is written at the end of the
 * turn. Nothing is queued in CLOSING and CLOSED. Beyond outbound_bytes_max and a frame the connection is closed with OVERLOADED. */
void conn_send(struct conn *self, const struct span *parts, size_t part_count,
               const struct slice *tail);
uint64_t conn_outbound_bytes(const struct conn *self);
/* Tell on_room when less than half of the allowed output is queued. */
void conn_want_room(struct conn *self);
/* The same for less than `bytes`. With several wishes on_room comes at the largest; who wanted less asks again. */
void conn_want_room_below(struct conn *self, uint64_t bytes);

/* Show the frame again that was answered with ERR_AGAIN; soon, not inside this call. */
void conn_retry(struct conn *self);

/* Send a connection-wide Error and close. Does no harm when it is closing already. */
void conn_fail(struct conn *self, int error, const char *detail);
/* Held: when the peer has sent its end the connection stays, because something that it sent is not done yet. Let go: it is finished then. */
void conn_hold_end(struct conn *self, bool is_held);
/* Write what is queued, then close. */
void conn_finish(struct conn *self);
/* Close now. */
void conn_abort(struct conn *self);

#endif
