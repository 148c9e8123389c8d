/* bus: how daemons talk. The only place with ZeroMQ sockets between processes. Requests with exactly one outcome, one-way
 * events, flow by credit, sessions with epochs. Nothing is dropped silently: what cannot be delivered is reported to who sent it.
 *
 * Roles: a daemon binds one ROUTER (bus_bind) and connects one DEALER for each daemon it needs (bus_connect). A *link* is one
 * established session between two daemons, seen from one side, whichever side connected. Either side may send requests and events on it.
 *
 * Session: after connecting, the sides exchange HELLO (protocol version, cluster, name, random epoch of the process, granted
 * credit). A new epoch, a lost connection (socket monitor: within milliseconds of a kill -9; ZeroMQ's heartbeat after 6 s of
 * silence of the process) or a broken rule ends the session: every open request on it ends with BUS_UNKNOWN, then on_down is
 * called once, and nothing of the old session is ever delivered afterwards. The connecting side then tries again by itself
 * (10 ms doubling to 1 s); on_up is called for the new session.
 *
 * Credit: each side grants the other a window of bytes and messages that may be unprocessed (bus_options). Requests and
 * events use it, replies and control do not (they are bounded by the requests). A message's bytes return when its handler
 * returns, unless the handler keeps them (bus_message_hold) and gives them back later (bus_release). Its place among the
 * messages returns then too, that of a request when it is answered besides. Without credit bus_request and bus_event refuse
 * with ERR_AGAIN, and on_credit tells when to go on. So ZeroMQ's high-water marks, set above the windows, are never reached;
 * should a send fail all the same the session is ended, which tells both sides.
 *
 * Wire: a head of BUS_HEAD_SIZE bytes (bus_head.h), then meta, then a body of up to BUS_INLINE_MAX bytes in one ZeroMQ frame;
 * a larger body is a second frame, sent without copy from the slice.
 * @thread the loop's own */
#ifndef COMMON_RUN_BUS_H
#define COMMON_RUN_BUS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/payload.h"
#include "common/base/span.h"
#include "common/base/uuid.h"
#include "common/run/loop.h"

struct bus;
struct bus_link; /* a session; valid until on_down returned */
struct bus_peer; /* a daemon we connect to; valid until bus_close */

/* A message coming in, borrowed for the handler's time. `body` may be kept with slice_ref. */
struct bus_message {
    uint16_t type;    /* BusType of common/wire/bus.proto */
    uint64_t subject; /* what the type says: a log group, a consumer */
    int status; /* of a reply: 0 or an error code (negative); then meta is an Error message (client.proto) */
    struct span meta;
    struct slice body;
    uint64_t ticket; /* internal: what bus_reply and bus_release need */
    bool is_request;
    bool held;
};

/* A message going out. `meta` is copied; `body` is referenced until ZeroMQ has sent it. */
struct bus_outgoing {
    uint16_t type;
    uint64_t subject;
    int status; /* replies only */
    struct span meta;
    struct slice body; /* the bus takes its own reference */
};

enum bus_outcome {
    BUS_OK,      /* the peer answered: see reply->status */
    BUS_FAILED,  /* certainly not done: never left this process */
    BUS_UNKNOWN, /* sent, then the session ended or the deadline passed */
};

struct bus_handlers {
    void (*on_up)(void *ud, struct bus_link *link);
    void (*on_down)(void *ud, struct bus_link *link);
    /* Request or event. A request must be answered once with bus_reply, now or later (with the ticket). */
    void (*on_message)(void *ud, struct bus_link *link, struct bus_message *message);
    /* There is credit again after ERR_AGAIN. May be NULL. */
    void (*on_credit)(void *ud, struct bus_link *link);
    void *ud;
    /* A daemon we connect to refuses us: ERR_WRONG_CLUSTER, ERR_VERSION, ERR_PROTOCOL, ERR_QUOTA. We go on asking once a second.
     * May be NULL. */
    void (*on_refused)(void *ud, struct bus_peer *peer, int error);
};

struct bus_options {
    const char *run_dir;   /* sockets are RUN_DIR/<name>.sock; made 0750 if missing */
    const char *name;      /* "frontd-0": ours */
    struct uuid cluster;   /* nil: not known yet; two known and different ones refuse each other */
    uint64_t window_bytes; /* granted to each peer; 0: 64 MiB */
    uint32_t window_messages;   /* 0: 16,384 */
    uint64_t message_bytes_max; /* 0: 68 MiB (ZMQ_MAXMSGSIZE) */
};

/* ERR_IO, ERR_NO_MEMORY. Nothing is connected yet. */
int bus_open(const struct bus_options *options, struct loop *loop,
             const struct bus_handlers *handlers, struct bus **ret_bus);
/* Ends all sessions (on_down is called for each) and waits, at most 1 s, until the others have read our last answers and hung
 * up. Not inside a callback of the bus. */
void bus_close(struct bus **self);

/* Of this process, random; peers see it as bus_link_epoch. */
uint64_t bus_epoch(const struct bus *self);

/* Own options.name in the run directory from now on, without listening yet. ERR_LOCKED while a live process does; ERR_IO. */
int bus_lock(struct bus *self);

/* Listen as options.name. ERR_LOCKED when a live process holds the name; a dead one's socket is replaced. */
int bus_bind(struct bus *self);

/* Keep a session to the daemon `name` ("logd-0") from now on. It need not run yet. The same name again returns the same peer. */
struct bus_peer *bus_connect(struct bus *self, const char *name);
/* The session to it, NULL while there is none. */
struct bus_link *bus_peer_link(const struct bus_peer *peer);
const char *bus_peer_name(const struct bus_peer *peer);

/* Set once it is known; sent in later HELLOs. */
void bus_set_cluster(struct bus *self, const struct uuid *cluster);

/* --- a link --- */
const char *bus_link_name(const struct bus_link *link); /* "frontd-0" */
uint64_t bus_link_epoch(const struct bus_link *link);   /* of the peer's process */
uint64_t bus_link_id(const struct bus_link *link);      /* unique in this process, never re-used */
void *bus_link_get_ud(const struct bus_link *link);
void bus_link_set_ud(struct bus_link *link, void *ud);
/* Walk the live links: start with *cursor = 0; NULL at the end. */
struct bus_link *bus_link_next(const struct bus *self, size_t *cursor);
/* End this session at the end of the turn, as for a broken rule of the bus: what is said over it has lost its meaning. Nothing more comes in
 * or goes out on it; the connecting side tries again. */
void bus_link_close(struct bus_link *link);
/* May a request or event with `body_bytes` of meta and body together be sent now? A message may be larger than the window:
 * it waits until it is alone. */
bool bus_link_has_credit(const struct bus_link *link, uint64_t body_bytes);

typedef void bus_done_fn(void *ud, enum bus_outcome outcome, const struct bus_message *reply);

/* Send a request; `done` is called exactly once, never inside this call: with BUS_OK and the reply, or with BUS_UNKNOWN (reply NULL) when
 * the session ends or `timeout_ms` (> 0) passes first. A late reply is dropped. Errors mean that nothing was sent and `done` will not be
 * called: ERR_AGAIN (no credit), ERR_CLOSED (link NULL), ERR_TOO_LARGE. `ret_id` (may be NULL) names it for bus_request_cancel. */
int bus_request(struct bus_link *link, const struct bus_outgoing *out, uint64_t timeout_ms,
                bus_done_fn *done, void *ud, uint64_t *ret_id);
/* Forget a request: `done` will not be called. Does no harm when it is over. */
void bus_request_cancel(struct bus *self, uint64_t id);

/* One-way. ERR_AGAIN, ERR_CLOSED, ERR_TOO_LARGE: nothing was sent. */
int bus_event(struct bus_link *link, const struct bus_outgoing *out);

/* Answer a request, by the ticket of its message. ERR_CLOSED when its session is over meanwhile (fine: the asker knows).
 * ERR_TOO_LARGE: nothing was sent, the ticket is good for another answer. */
int bus_reply(struct bus *self, uint64_t ticket, const struct bus_outgoing *out);
/* Answer with an error: status and an Error message of client.proto with this detail (may be NULL). */
int bus_reply_error(struct bus *self, uint64_t ticket, int error, const char *detail);

/* In a handler: keep the message's credit taken until bus_release(ticket). */
void bus_message_hold(struct bus_message *message);
void bus_release(struct bus *self, uint64_t ticket);

struct bus_stats {
    uint64_t sent, received, sent_bytes, received_bytes, requests, unknown, again, sessions;
    uint64_t malformed; /* dropped: not of our making */
    uint64_t stale;     /* dropped: of a session that is over */
    uint64_t late;      /* replies dropped: deadline passed or cancelled */
    uint64_t refused;   /* sessions refused by us */
};
void bus_stats_read(const struct bus *self, struct bus_stats *ret_stats);

#endif
