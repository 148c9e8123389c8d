/* fake: what the route cache stands on, played by the test: a frontd without connections, and routerds that note what they are asked. */
#ifndef TESTS_UNIT_FRONTD_ROUTES_FAKE_H
#define TESTS_UNIT_FRONTD_ROUTES_FAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/hash.h"
#include "common/run/loop.h"

#include "frontd/exchange.h"
#include "frontd/frontd.h"
#include "frontd/routes_private.h"

enum { FAKE_ASKS_MAX = 4096, FAKE_LOCAL = 3 };

/* A RouteLookup. */
struct fake_ask {
    uint64_t source;
    uint64_t number;
    const struct exchange *exchange;
    struct buf topics; /* as encoded */
};

struct fake {
    struct settings settings;
    struct frontd frontd;
    struct loop *loop;
    struct routes *routes;
    struct exchange *exchange; /* of namespace "default", its own */
    uint64_t source;           /* who will be asked; 0: nobody */
    uint64_t (*choose)(void);  /* instead of `source` */
    struct fake_ask asks[FAKE_ASKS_MAX];
    size_t ask_count;
    size_t ask_seen;
    unsigned progress;
    unsigned pause_checks;
    unsigned exchanges_gone;
};
extern struct fake fake; /* one a test process */

void fake_start(void);
void fake_stop(void);
/* End this turn: what was gathered goes out. */
void fake_turn(void);

/* The oldest lookup not yet taken; fails the test if there is none. */
const struct fake_ask *fake_next_ask(void);
/* How many topics it has, and the one at `index`. */
size_t fake_ask_count(const struct fake_ask *ask);
struct span fake_ask_topic(const struct fake_ask *ask, size_t index);

/* Append the k-th route of an answer: subscriptions of frontd 0, ended by a 0. */
void fake_append_route(struct buf *answer, const uint64_t *ids);
/* Append RouteMembers. */
void fake_append_members(struct buf *out, uint32_t number, uint32_t frontd, const uint64_t *ids,
                         size_t count);
/* Answer a lookup for one topic. */
void fake_answer(const struct fake_ask *ask, uint64_t id);
/* RouteChange of one matcher in the fake's exchange. */
void fake_change(uint64_t source, const char *matcher);

enum routes_result fake_find(const char *topic, const struct route **ret_route);
bool fake_finds(const char *topic);
/* Find it, asking and answering with this id if needed. */
const struct route *fake_resolve(const char *topic, uint64_t id);

#endif
