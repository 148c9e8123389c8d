/* fake: what routers stand on, played by the test: time, a bus with routerds at its other end, and who lives. The route cache is the real one. Time stands still
 * but for fake_pass, so leases can be tested to the millisecond. */
#ifndef TESTS_UNIT_FRONTD_ROUTERS_FAKE_H
#define TESTS_UNIT_FRONTD_ROUTERS_FAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/run/bus.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"

#include "frontd/exchange.h"
#include "frontd/frontd.h"
#include "frontd/routers_private.h"
#include "frontd/routes.h"

enum { FAKE_SENT_MAX = 1024, FAKE_ROUTERS = 3, FAKE_CALLS_MAX = 256 };

/* Something that was sent to a routerd. */
struct fake_sent {
    uint16_t type;
    bool is_request;
    uint64_t id; /* of the request */
    struct buf meta;
};

struct bus_link {
    unsigned instance;
    bool is_closed; /* by us */
};

struct bus_peer {
    bool is_connected; /* somebody asked for it */
    struct bus_link *link;
    bool is_mute;    /* does not answer probes */
    unsigned credit; /* messages it takes; UINT_MAX: all */
    bool is_owed;    /* ERR_AGAIN was said */
    struct fake_sent sent[FAKE_SENT_MAX];
    size_t sent_count;
    size_t sent_seen;
    uint64_t seq;
};

struct fake {
    struct settings settings;
    struct frontd frontd;
    struct routers *routers;
    struct routes *routes;
    struct exchange *exchange;
    uint64_t now_ms;
    struct bus_peer peers[FAKE_ROUTERS];
    uint64_t live; /* bits */
    unsigned looks;
    struct registration *confirmed[4096];
    size_t confirmed_count;
    struct registration *rejected;
    int rejected_error;
    unsigned progress;
    uint64_t id_last;
};
extern struct fake fake; /* one a test process */

void fake_start(void);
void fake_stop(void);
/* End the turn: what is deferred is done. */
void fake_turn(void);
/* Time passes, with turns; routerds that are not mute answer probes. */
void fake_pass(uint64_t ms);

/* --- routerds --- */
void fake_live(unsigned instance, bool is_live);
void fake_up(unsigned instance);
void fake_down(unsigned instance);
void fake_say(unsigned instance, uint16_t type, struct span meta);
void fake_reset(unsigned instance);
/* RouteChanges; matcher NULL: none; round 0: none. */
void fake_changes(unsigned instance, const char *matcher, bool is_ready, uint64_t round);
void fake_confirm(unsigned instance, uint64_t serial);
void fake_credit(unsigned instance);
/* Alive, a session, all told, ready: up to RouteApplied. */
void fake_make_ready(unsigned instance);
/* One number of a message of ours. */
uint64_t fake_number(const struct fake_sent *sent, uint32_t field);

/* The oldest thing sent that was not taken yet, without probes; NULL: nothing. */
const struct fake_sent *fake_next(unsigned instance);
/* It must be of this type. */
const struct fake_sent *fake_expect(unsigned instance, int type);
/* Nothing more was sent. */
void fake_expect_nothing(unsigned instance);
void fake_reply(const struct fake_sent *sent, int status, struct span meta);
/* The ids of a RouteSubscribe; returns how many. */
size_t fake_subscribed(const struct fake_sent *sent, uint64_t *ids, size_t max);

/* --- our side --- */
struct registration *fake_add(uint64_t id);
void fake_free(struct registration **registration);
/* Is there a route of this topic? */
bool fake_finds(const char *topic);
/* Ask for the topic; the routerd that was asked answers that `id` has it. Returns its instance. */
unsigned fake_resolve(const char *topic, uint64_t id);

#endif
