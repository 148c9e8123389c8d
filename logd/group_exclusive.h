/* group_exclusive: one member of the group is active and gets everything, the others stand by. Part of the machine of group.h, in the leader's memory.
 *
 *                 choose                 entry with the epoch applied
 *    standby ───────────────► chosen ──────────────────────────────► active
 *       ▲                        │                                      │
 *       └────────────────────────┴────────── put back ──────────────────┘         (or it leaves, from everywhere)
 *
 * Each activation has an epoch, higher than all before, which is committed before the member gets anything. What the one before held is ready again by
 * then, so the new one begins at the lowest offset that is not acknowledged. Who is chosen: the highest priority, of these who waited longest; nobody is
 * ever replaced for a higher priority. What a member says counts only while it is active, and only if it means this epoch.
 *
 * Strict order (unless the group is relaxed): deliveries of an epoch rise; an acknowledgement covers everything below; what comes back takes with it everything
 * behind it, which is told as EVENT_REWOUND; so much is held at most as the member granted at once (its window). */
#ifndef LOGD_GROUP_EXCLUSIVE_H
#define LOGD_GROUP_EXCLUSIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/list.h"
#include "common/base/span.h"

struct group;
struct group_member;

/* In the member. */
struct group_standing {
    uint32_t priority;
    uint64_t rank;       /* who came, or was put back, earlier has a lower one */
    bool is_put_back;    /* behind all who are not, until it is active again */
    uint64_t epoch;      /* of its last activation; 0: never chosen */
    uint64_t window;     /* most messages it had granted at once */
    uint64_t rewound;    /* from here on its deliveries were taken back: to be told; 0: nothing */
    bool tell_role;      /* active or standby: to be told */
    struct span name;    /* borrowed from the owner of the member */
    struct list of_news; /* in the group while something is to be told */
};

/* In the group. */
struct group_exclusive {
    bool is_on;
    struct group_member *chosen;
    uint64_t epoch;     /* given last; the replicated one follows */
    bool is_active;     /* the chosen one: its epoch is applied */
    bool is_to_propose; /* the epoch */
    bool is_begun;      /* the epoch was applied: not yet asked by group_epoch_began */
    uint64_t rank_last;
    uint64_t order_next; /* strict: the next delivery does not begin before it; 0: anywhere */
    uint64_t faults;     /* of the checks, since last asked */
    struct list news;
};

/* --- for the daemon --- */

/* Of a member that has joined: who is taken first, and a name for people, which must live as long as the member. */
void group_member_set_standing(struct group *self, struct group_member *member, uint32_t priority,
                               struct span name);
bool group_member_is_active(const struct group *self, const struct group_member *member);
/* The same, or it will be when its epoch is applied. */
bool group_member_is_chosen(const struct group *self, const struct group_member *member);
/* Does what it says, meaning this epoch (0: its own), not count? Never in a shared group. */
bool group_is_fenced(const struct group *self, const struct group_member *member, uint64_t epoch);
/* If nobody is chosen, choose. True: there is an epoch to be proposed now. Once a turn. */
bool group_choose_active(struct group *self);
/* Behind all others, and everything it held is ready. False: it was not the one. */
bool group_put_back(struct group *self, struct group_member *member);
/* True once for each epoch that was applied in this life. */
bool group_epoch_began(struct group *self);

/* The next member that has to be told something; NULL: none. `group_told` when that is done. */
struct group_member *group_news_first(const struct group *self);
void group_told(struct group *self, struct group_member *member);
/* It cannot be told now: others first. */
void group_news_later(struct group *self, struct group_member *member);

/* Violations of order or ownership seen since the last call. */
uint64_t group_exclusive_faults(struct group *self);

/* --- for the machine --- */

void exclusive_start(struct group *self);
void exclusive_join(struct group *self, struct group_member *member);
/* It is out of the list of members, and holds nothing. */
void exclusive_leave(struct group *self, struct group_member *member);
void exclusive_reconfigured(struct group *self);
void exclusive_applied(struct group *self);
bool exclusive_is_strict(const struct group *self);
/* Strict order: something delayed holds up all that is behind it. */
bool exclusive_waits(const struct group *self);
/* May it be given more, as far as this file is concerned? */
bool exclusive_is_able(const struct group *self, const struct group_member *member);
/* Of `count` messages, how many. */
uint64_t exclusive_cut(const struct group *self, const struct group_member *member, uint64_t count);
void exclusive_granted(struct group_member *member);
/* Strict order: it acknowledges [first, last], and so what lies below. */
void exclusive_before_ack(struct group *self, struct group_member *member, uint64_t first,
                          uint64_t last);
/* Strict order: around the giving back of [first, last], by the member or for it: what lies behind comes back, too. The first returns what the second is
 * given. */
uint64_t exclusive_before_return(const struct group *self, const struct group_member *member,
                                 uint64_t first, uint64_t last);
void exclusive_after_return(struct group *self, struct group_member *member, uint64_t from);
void exclusive_check_delivery(struct group *self, const struct group_member *member, uint64_t first,
                              uint64_t last);
void exclusive_check_ack(struct group *self, const struct group_member *member);
bool exclusive_check(const struct group *self);

#endif
