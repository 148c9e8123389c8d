/* bus_private: what the parts of the bus share. bus.c: open, connect, the connecting side's states; bus_receive.c: from
 * sockets to handlers; bus_link.c: a session's credit, requests and tickets; bus_send.c: frames out. */
#ifndef COMMON_RUN_BUS_PRIVATE_H
#define COMMON_RUN_BUS_PRIVATE_H

#include "common/base/hash.h"
#include "common/base/list.h"
#include "common/base/sm.h"
#include "common/run/bus.h"
#include "common/run/bus_dir.h"
#include "common/run/bus_head.h"
#include "common/run/bus_monitor.h"
#include "common/run/bus_slots.h"

enum {
    BUS_WINDOW_MESSAGES = 16384,
    BUS_WINDOW_MESSAGES_MAX = 65536, /* a peer's larger grant is not used */
    /* Above every window: requests and events, as many replies, and control. Never reached. */
    BUS_HWM = 4 * BUS_WINDOW_MESSAGES_MAX,
    BUS_LINKS_MAX = 1024,
    BUS_READ_MAX = 64,     /* messages a socket and turn */
    BUS_INLINE_MAX = 4096, /* bodies up to this are copied behind the meta */
    BUS_HELLO_MS = 5000,   /* for the answer to HELLO */
    BUS_RETRY_MS_MIN = 10, /* between sessions, doubling */
    BUS_RETRY_MS_MAX = 1000,
    BUS_SETTLED_MS = 1000, /* a session that held this long starts the doubling anew */
    BUS_LINGER_MS = 1000,
};
#define BUS_WINDOW_BYTES  (UINT64_C(64) << 20)
#define BUS_MESSAGE_BYTES (UINT64_C(68) << 20)

/* Where to send: a DEALER's socket, or a ROUTER's and a connection of it. */
struct bus_path {
    void *handle;
    struct loop_socket *watch;
    bool has_route;
    uint32_t route; /* the number in an automatic routing id */
};

/* The connecting side:
 *
 *   WAITING --timer--> CONNECTING --connection--> GREETING --HELLO_OK--> UP
 *      ^                  ^----connection lost-------'|                   |
 *      '--------- refused, no answer ------------------'<-- session ended-'
 */
enum bus_peer_state { BUS_PEER_WAITING, BUS_PEER_CONNECTING, BUS_PEER_GREETING, BUS_PEER_UP };

struct bus_peer {
    struct list node; /* in bus.peers */
    struct bus *bus;
    char name[BUS_NAME_MAX + 1];
    struct sm sm;
    zsock_t *socket; /* NULL while waiting */
    struct loop_socket *watch;
    struct bus_monitor *monitor;
    struct bus_link *link; /* NULL unless up */
    uint64_t session;      /* of the last HELLO sent */
    uint64_t up_ms;
    uint64_t delay_ms; /* before the next try */
    bool restart;      /* the socket is to be replaced at the end of the turn */
    struct wheel_timer timer;
};

/* One side's use of one direction's window. Sums since the session began. */
struct bus_flow {
    uint64_t bytes;
    uint64_t messages;
};

struct bus_link {
    struct list ending; /* in bus.ending while dying */
    struct bus *bus;
    struct bus_peer *peer; /* NULL: the other side connected to us */
    struct bus_path path;
    char name[BUS_NAME_MAX + 1];
    struct uuid cluster;
    uint64_t id;
    uint64_t epoch;
    uint64_t session;
    bool dying;    /* nothing more is sent or delivered; on_down comes at the end of the turn */
    bool reported; /* on_up was called */
    void *ud;
    /* towards the peer */
    uint64_t window_bytes;
    uint64_t window_messages;
    uint64_t message_bytes_max;
    struct bus_flow sent;
    struct bus_flow returned;
    bool starved; /* ERR_AGAIN was given, on_credit is owed */
    uint64_t wanted_bytes;
    /* from the peer */
    struct bus_flow received;
    struct bus_flow released;
    struct bus_flow told; /* of the released */
    bool peer_starved;
    uint64_t peer_wanted_bytes;
    bool credit_due;     /* a CREDIT message goes out at the end of the turn */
    struct list calls;   /* our open requests */
    struct list tickets; /* theirs, and messages whose credit is held */
};

/* An open request of ours. */
struct bus_call {
    struct list node;
    struct bus_link *link;
    uint64_t id;
    bus_done_fn *done;
    void *ud;
    struct wheel_timer timer;
};

/* A message of theirs: open until it is answered (a request) and its credit is given back. */
struct bus_ticket {
    struct list node;
    struct bus_link *link;
    uint64_t id;
    uint64_t correlation;
    uint64_t bytes;
    bool answer_open;
    bool credit_open;
    struct bus_message *message; /* while its handler runs */
};

struct bus {
    struct loop *loop;
    struct bus_handlers handlers;
    char name[BUS_NAME_MAX + 1];
    uint64_t epoch;
    struct uuid cluster;
    uint64_t window_bytes;
    uint32_t window_messages;
    uint64_t message_bytes_max;
    struct bus_dir dir;
    int lock_fd; /* -1: not taken */
    zsock_t *router;
    struct loop_socket *router_watch;
    struct bus_monitor *router_monitor;
    struct wheel_timer probe_timer;
    unsigned probe_step;
    struct list peers;
    struct hash64 *links;  /* by id */
    struct hash64 *routes; /* accepted links by routing number */
    struct list ending;
    uint64_t last_link_id;
    struct bus_slots calls;
    struct bus_slots tickets;
    bool swept_later; /* bus_sweep is deferred already */
    struct bus_stats stats;
};

/* --- bus.c --- */

/* Do at the end of the turn what must not happen under a callback: end sessions, replace sockets, tell credit. */
void bus_sweep_later(struct bus *self);
/* A session of a peer is over, or cannot be made: replace the socket after the delay. */
void bus_peer_restart(struct bus_peer *peer, uint64_t delay_ms_min);
void bus_peer_is_up(struct bus_peer *peer, struct bus_link *link);
void bus_hello_fill(const struct bus *self, struct bus_hello *ret_hello);

/* --- bus_send.c --- */

/* 0, or ERR_CLOSED: the connection is gone or (never in correct operation) its queue is full; ERR_NO_MEMORY. */
int bus_send(struct bus *self, const struct bus_path *path, struct bus_head *head, struct span meta,
             const struct slice *body);

/* --- bus_link.c --- */

struct bus_link *bus_link_new(struct bus *bus, const struct bus_path *path,
                              const struct bus_hello *hello, uint64_t session);
/* Tell the module above. */
void bus_link_report(struct bus_link *link);
/* No more of this session: it ends at the end of the turn. */
void bus_link_fail(struct bus_link *link);
/* End it now: requests, then on_down. Not under a callback. Frees it. */
void bus_link_end(struct bus_link *link);
/* Send in a session: adds session and credit to the head. An error ends the session. */
int bus_link_send(struct bus_link *link, struct bus_head *head, struct span meta,
                  const struct slice *body);
int bus_link_control(struct bus_link *link, enum bus_kind kind, uint64_t subject);
/* The peer's head says how much it gave back; false: more than it ever had. */
bool bus_link_take_credit(struct bus_link *link, const struct bus_head *head);
void bus_link_check_starved(struct bus_link *link, enum bus_kind kind);
void bus_link_check_due(struct bus_link *link);
/* Give a request or event to the module above. */
void bus_link_deliver(struct bus_link *link, const struct bus_head *head,
                      struct bus_message *message);
void bus_link_deliver_reply(struct bus_link *link, const struct bus_head *head,
                            const struct bus_message *message);

/* --- bus_receive.c --- */

/* Read at most `limit` messages; peer NULL: the ROUTER. */
void bus_receive(struct bus *self, struct bus_peer *peer, unsigned limit);

#endif
