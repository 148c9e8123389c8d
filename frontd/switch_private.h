/* switch_private: shared by switch.c (runs along routes), switch_group.c (picking members) and switch_load.c (what is known of members). For nobody else. */
#ifndef FRONTD_SWITCH_PRIVATE_H
#define FRONTD_SWITCH_PRIVATE_H

#include "common/base/hash.h"
#include "common/base/list.h"
#include "common/base/rand.h"
#include "common/base/wheel.h"

#include "frontd/frontd.h"
#include "frontd/switch.h"

enum { SWITCH_PICKS_MAX = 256 };

/* A member that may take messages. */
struct switch_pick {
    struct subscription *local; /* NULL: elsewhere */
    uint64_t id;
    uint64_t queued;
    unsigned frontd;
};

struct switch_state {
    struct frontd *frontd;
    struct prng prng;
    struct hash64 *loads; /* of struct switch_load: members elsewhere that are not idle */
    struct list changed;  /* of struct member_load */
    struct list told;     /* likewise: those that the others know not to be idle */
    struct buf gone;      /* ids of such that went: uint64_t each */
    struct wheel_timer timer;
    struct buf scratch;
    struct switch_pick picks[SWITCH_PICKS_MAX];
};

/* --- switch_group.c --- */

/* To one member of the group each. */
void switch_group(struct frontd *frontd, struct exchange *exchange, const struct route_group *group,
                  struct run *run, struct switch_result *result);
/* Is there somebody who could take messages of the group now, or nobody worth waiting for? */
bool switch_group_has_room(struct frontd *frontd, const struct route_group *group);

/* --- switch_load.c --- */

/* What is known of a member elsewhere: false: it has no credit. */
bool switch_load_of(const struct switch_state *self, uint64_t id, uint64_t *ret_queued);

#endif
