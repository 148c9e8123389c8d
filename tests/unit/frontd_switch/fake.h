/* fake: what the switching of ephemeral messages stands on, played by the test: connections that take what they are told to, routes out of a
 * table, neighbours that record, a clock that stands still. */
#ifndef TESTS_UNIT_FRONTD_SWITCH_FAKE_H
#define TESTS_UNIT_FRONTD_SWITCH_FAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/frame.h"
#include "frontd/exchange.h"
#include "frontd/frontd.h"
#include "frontd/inlet.h"
#include "frontd/neighbours.h"
#include "frontd/responses.h"
#include "frontd/routes.h"
#include "frontd/session.h"
#include "frontd/subscription.h"
#include "frontd/subscription_queue.h"
#include "frontd/switch.h"
#include "tests/lib/test.h"

enum { FAKE_ROUTES_MAX = 2048, FAKE_NEIGHBOURS = 4, FAKE_REFS_MAX = 4096 };

struct conn {
    struct session session;
    int state;
    bool is_stalled; /* nothing is written: output piles up */
    bool is_sink;    /* what is sent is only counted */
    uint64_t outbound;
    uint64_t room_below;
    struct buf out; /* frames that were sent; fake_frame takes them off */
    size_t out_read;
    unsigned sends;
    unsigned references; /* of them: with bytes that were referred to */
    struct payload *held[FAKE_REFS_MAX];
    unsigned held_count;
    int failed; /* conn_fail */
    char detail[128];
    unsigned retries;
};

struct fake_route {
    struct span topic;
    bool is_waiting;
    bool is_refused;
    struct route route;
    struct route_members plain[4];
    struct route_group groups[4];
    struct route_members members[4][4];
};

/* What was forwarded to a neighbour: EsForward. */
struct fake_neighbour {
    bool is_up;
    bool is_full;
    struct buf forwards;
    struct buf loads; /* EsLoad, one behind the other as fields 1 */
    unsigned load_count;
};

struct fake {
    struct frontd frontd;
    struct settings settings;
    struct frontd_counters counters;
    uint64_t errors;
    struct wheel *wheel;
    uint64_t now_ms;
    uint64_t outbound; /* of all connections */
    struct exchange exchange;
    int exchange_error;
    struct fake_route routes[FAKE_ROUTES_MAX];
    unsigned route_count;
    unsigned lookups;
    struct fake_neighbour neighbours[FAKE_NEIGHBOURS];
    struct registration *last_added;
    unsigned added;
    unsigned removed;
    /* responses */
    unsigned delivered;
    uint64_t delivered_request;
    unsigned undelivered;
    uint64_t undelivered_request;
    unsigned undelivered_origin;
};
extern struct fake fake; /* one a test process */

void fake_start(void);
/* All connections were closed: nothing may be left. */
void fake_stop(void);
/* One turn of the loop, `ms` later. */
void fake_turn(uint64_t ms);

/* --- connections --- */
struct conn *fake_conn(void);
void fake_close(struct conn **conn);
/* The client reads everything. */
void fake_drain(struct conn *conn);
/* The next frame that was sent; false: none. Borrowed until the next is sent. */
bool fake_frame(struct conn *conn, struct frame_view *ret_view);
void fake_expect_error(struct conn *conn, uint64_t corr, int error, const char *detail);
/* Frames up to the end: sums of the messages of EsDeliver and of DROPPED events. */
struct fake_received {
    uint64_t messages;
    uint64_t bytes;
    uint64_t frames;
    uint64_t dropped;
    uint64_t events;
    char first_topic[256];
    char last_topic[256];
    struct buf payloads; /* of the messages, one behind the other */
};
void fake_receive(struct conn *conn, struct fake_received *ret_received);

/* --- messages --- */
/* Append one. */
void fake_message(struct buf *run, const char *topic, const char *payload);
/* Append `count` of `size` bytes of payload, with the same topic. */
void fake_messages(struct buf *run, const char *topic, unsigned count, size_t size);
/* A run of these; the bytes are copied into an owner, which run_end gives back. */
struct run fake_run(const struct buf *bytes, uint32_t count);
void fake_run_end(struct run *run);
/* Hand a frame to its handler, in a payload of its own. */
int fake_publish(struct conn *conn, uint64_t corr, const struct buf *messages);

/* --- subscriptions and routes --- */
struct fake_options {
    uint32_t number;
    const char *group;
    bool sticky;
    unsigned policy;
    uint32_t messages_max;
    uint32_t bytes_max;
    bool needs_credit;
    uint64_t messages;
    uint64_t bytes;
    bool is_unconfirmed;
};
struct subscription *fake_subscribe(struct conn *conn, struct fake_options options);
/* Set up the route of a topic: waiting until it has something. */
struct fake_route *fake_route(const char *topic);
void fake_route_plain(struct fake_route *route, int frontd, const uint64_t *ids, uint32_t count);
void fake_route_group(struct fake_route *route, const char *name, bool sticky, int frontd,
                      const uint64_t *ids, uint32_t count);

#endif
