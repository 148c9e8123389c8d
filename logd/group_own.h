/* group_own: the body of struct group, for the files of the group itself: group.c (members and delivery), group_ack.c (what
 * members say), group_changes.c (what is proposed) and group_look.c (looking, checking). */
#ifndef LOGD_GROUP_OWN_H
#define LOGD_GROUP_OWN_H

#include "logd/group.h"

struct group {
    struct group_state state;

    /* The leader's memory; there is none (all zero) while !is_started. */
    bool is_started;
    uint64_t floor;       /* everything up to here is acked */
    uint64_t cursor;      /* the next new offset; > floor */
    struct ranges *acked; /* above the floor, never touching it */
    struct ranges *ready; /* value: number of a member who should not get it again, or 0 */
    struct ranges *skipped;
    struct ranges *tries;     /* of what was delivered and came back: group_tries_pack */
    struct ranges *acked_new; /* not yet proposed; may lie below the floor */
    struct ranges *tries_new; /* counters changed, not yet proposed */
    uint64_t held;            /* in all members together */
    unsigned proposed;        /* entries that are not yet applied */

    struct list members;
    struct list ready_members;
    size_t member_count;
    size_t ready_count;
    bool has_refusals; /* somebody could not take the record next in line: need_bytes */
    bool is_full;
    bool tell_full;
    uint64_t redelivered_total;
    struct group_exclusive exclusive;
};

/* `member` may have become able, or unable, to take something. */
void group_member_changed(struct group *self, struct group_member *member);
/* Another record may be next in line: what did not fit has to be found out anew. */
void group_head_moved(struct group *self);
/* What the member held in [first, last] is ready again. */
void group_give_back(struct group *self, struct group_member *member, uint64_t first, uint64_t last,
                     bool count_failed, uint64_t avoid);

static inline uint64_t range_length(uint64_t first, uint64_t last)
{
    return last - first + 1;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
