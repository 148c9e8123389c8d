/* router_lib: a router without a bus: frontds say things in short, and what it says to them comes back as lines of text:
 *   "reset 3" · "changes 4 ready round=9 [ns/x a.* b]" · "confirmed 7" · "rejected 7 id=1 DIFFERS" · "routes 5 {0:1,2 1:3 g=0:4} {QUOTA}" */
#ifndef TESTS_UNIT_ROUTERD_ROUTER_ROUTER_LIB_H
#define TESTS_UNIT_ROUTERD_ROUTER_ROUTER_LIB_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/span.h"

#include "routerd/router.h"

enum { RIG_FRONTDS = 4, RIG_EVENTS_MAX = 4096 };

struct rig_event {
    uint16_t type;
    struct buf meta;
};

struct rig {
    struct router *router;
    uint64_t now_ms;
    struct rig_event *events[RIG_FRONTDS];
    size_t event_first[RIG_FRONTDS];
    size_t event_count[RIG_FRONTDS];
    bool is_blocked[RIG_FRONTDS]; /* sending gives ERR_AGAIN */
    bool is_closed[RIG_FRONTDS];  /* the router ended the session */
    bool is_ready;
    char reason[64];
    uint64_t reply_ticket; /* the last reply */
    int reply_status;
    struct buf reply_meta;
    unsigned replies;
    unsigned released;
    struct buf line;
};

/* Not started yet. `options`: NULL for generous ones. */
void rig_open(struct rig *rig, const struct router_options *options);
void rig_close(struct rig *rig);
struct router_options rig_options(void);

/* End turns until nothing is left to do. */
void rig_turn(struct rig *rig);
void rig_pass(struct rig *rig, uint64_t ms); /* with a turn each 100 ms */
void rig_stand_still(struct rig *rig, uint64_t ms);
/* A frontd with nothing: live, session, synced and settled. */
void rig_join(struct rig *rig, unsigned frontd);

void rig_live(struct rig *rig, unsigned frontd, bool is_live);
void rig_up(struct rig *rig, unsigned frontd);
void rig_down(struct rig *rig, unsigned frontd);
/* Matchers are split by blanks; exchange is "ns" or "ns/name". */
bool rig_subscribe(struct rig *rig, unsigned frontd, uint64_t id, uint64_t serial,
                   const char *exchange, const char *matchers);
bool rig_join_group(struct rig *rig, unsigned frontd, uint64_t id, uint64_t serial,
                    const char *exchange, const char *matchers, const char *group, bool is_sticky);
void rig_unsubscribe(struct rig *rig, unsigned frontd, uint64_t id);
void rig_synced(struct rig *rig, unsigned frontd, uint64_t round);
void rig_applied(struct rig *rig, unsigned frontd, uint64_t seq);
/* Topics are split by commas. */
void rig_lookup(struct rig *rig, unsigned frontd, uint64_t number, const char *exchange,
                const char *topics);
void rig_claim(struct rig *rig, unsigned frontd, uint64_t ticket, const char *name,
               uint64_t request);
void rig_release(struct rig *rig, unsigned frontd, const char *name, uint64_t request);
void rig_resolve(struct rig *rig, unsigned frontd, uint64_t ticket, const char *name);
bool rig_send(struct rig *rig, unsigned frontd, uint16_t type, bool is_request, uint64_t ticket,
              struct span meta);

/* The next thing it said to this frontd; "" when there is none. Valid until the next call. */
const char *rig_said(struct rig *rig, unsigned frontd);
/* The next one, RouteChanges, is applied at once. */
const char *rig_said_applied(struct rig *rig, unsigned frontd);
/* Forget what was said, applying all changes. */
void rig_drain(struct rig *rig, unsigned frontd);
struct router_counts rig_counts(const struct rig *rig);
/* Who gets this topic, asked by frontd 0, which must be up: "0:1,2 g=1:3". */
const char *rig_route(struct rig *rig, const char *exchange, const char *topic);

#define rig_expect(rig, frontd, text) ck_assert_str_eq(rig_said(rig, frontd), text)

#endif
