/* fake: what requests and replies stand on, played by the test: three frontds in one process, their clients' connections as lists of frames, links between them
 * whose messages come when the test says so, routes that are lists of receivers, names that a table of the test claims, and a clock turned by hand. */
#ifndef TESTS_UNIT_FRONTD_RESPONSES_FAKE_H
#define TESTS_UNIT_FRONTD_RESPONSES_FAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/payload.h"
#include "common/base/rand.h"
#include "common/wire/es.h"
#include "common/wire/frame.h"
#include "frontd/exchange.h"
#include "frontd/frontd.h"
#include "frontd/responses.h"
#include "frontd/session.h"

enum { NODES = 3, RECEIVERS_MAX = 16 };

/* A client of a frontd. */
struct client {
    struct session session;
    unsigned node;
    bool is_open;
    struct list of_all;
    struct sent *sent; /* frames it got */
    size_t sent_count;
    size_t seen; /* client_next has shown */
};

struct sent {
    uint32_t field;
    uint64_t corr;
    struct buf body;
};

/* What becomes of a request at one of its receivers. */
enum fate {
    FATE_DELIVERED, /* put into its output at once */
    FATE_QUEUED,    /* waits until fake_queue_run */
    FATE_DROPPED,   /* dropped at once, and told */
    FATE_REFUSED,   /* dropped at once, and not counted as a receiver */
};

struct receiver {
    struct client *client;
    enum fate fate;
};

struct fake {
    struct receiver receivers[RECEIVERS_MAX]; /* where requests go from now on */
    size_t receiver_count;
    unsigned entities; /* of the route; UINT32_MAX: as many as receivers */
    int route_error;
    bool route_waits;
    bool topic_is_bad;
    bool has_no_room;
    bool inlet_is_full;
    int exchange_error;
    bool neighbour_is_full;
    uint64_t outbound_bytes; /* of every connection */
    uint64_t progress;       /* inlets_progress was called */
    uint64_t lost_events;    /* BUS_RS_LOST sent */
    uint64_t claims;         /* held */
    struct prng prng;        /* shuffles links when is_random */
    bool is_random;
    bool asks_are_slow; /* what is asked of a neighbour is overtaken by what it is told */
};
extern struct fake fake; /* one a test process */

void fake_start(void);
void fake_stop(void);
struct frontd *fake_frontd(unsigned node);
void fake_set_open_max(uint64_t max);

struct client *client_open(unsigned node);
void client_close(struct client *self);
/* The next frame it got; NULL: none. */
const struct sent *client_next(struct client *self);

/* Where requests go from now on; before the first all are forgotten. */
void fake_receivers_reset(void);
void fake_receiver(struct client *client, enum fate fate);
/* Frames wait in the inlets: try them again. */
void fake_inlets_run(void);
/* They have waited too long. */
void fake_inlets_late(void);
/* The oldest message that waits in a subscription here is put out, or dropped. false: none. */
bool fake_queue_run(bool is_dropped);

/* What is on its way between the frontds: one message, all. false: none. */
bool fake_bus_step(void);
void fake_bus_run(void);
/* Deferred calls, then the bus, until nothing happens. */
void fake_settle(void);
void fake_advance(uint64_t ms);
/* The same, piece by piece: time with its timers, the deferred calls, whether there are any. */
void fake_pass(uint64_t ms);
void fake_defer_run(void);
bool fake_is_deferred(void);
/* The frontd dies with its clients, and is started anew if `again`. */
void fake_kill(unsigned node, bool again);

/* Names: the answer to the oldest open claim or lookup. false: none. */
bool fake_names_step(void);
/* routerd has forgotten the name; somebody else gets it. */
void fake_name_lost(const char *name);
/* No routerd: claims and lookups end with NO_QUORUM. */
void fake_names_down(bool is_down);

/* Counters of the exchange, which all frontds share. */
struct exchange *fake_exchange(void);
/* What a routerd was asked for; and its answer: an ExchangeInfo, or NULL when it cannot be asked. */
struct span fake_routerd_question(void);
void fake_routerd_answer(const struct span *info);

struct request_options {
    uint32_t timeout_ms;
    uint32_t max_replies;
    const char *response;
    const char *topic;   /* NULL: "t" */
    const char *payload; /* NULL: "question" */
    bool has_no_message;
};
/* Returns what the handler returned. */
int client_request(struct client *self, uint64_t corr, const struct request_options *options);
int client_cancel(struct client *self, uint64_t corr);
int client_reply(struct client *self, uint64_t corr, struct span reply_to, const char *payload);

/* Has a client that is there been given the request with this payload, or may one still be? */
bool fake_may_be_answered(struct span payload);
/* The last request that this client was given: its reply_to. Fails the test when it has none. */
struct span client_address(struct client *self);
/* Requests it was given so far. */
size_t client_given(const struct client *self);
/* The address of the k-th request that it was given, from 0. */
struct span client_address_at(const struct client *self, size_t k);

#endif
