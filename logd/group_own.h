/* group_own: the body of struct group, for the files of the group itself: group.c (members and delivery), group_ack.c (what
 * members say), group_changes.c (what is proposed) and group_look.c (looking, checking). */
#ifndef LOGD_GROUP_OWN_H
#define LOGD_GROUP_OWN_H

#include "common/base/rand.h"
#include "logd/group.h"

/* The value in `ready`: since when, and who should not get it again. */
enum { GROUP_AVOID_BITS = 22, GROUP_RIPEN_MAX = 512 };
#define GROUP_AVOID_MASK ((UINT64_C(1) << GROUP_AVOID_BITS) - 1)

struct group {
    struct group_state state;

    /* The leader's memory; there is none (all zero) while !is_started. */
    bool is_started;
    uint64_t floor;         /* everything up to here is acked */
    uint64_t cursor;        /* the next new offset; > floor */
    struct ranges *acked;   /* above the floor, never touching it */
    struct ranges *ready;   /* value: ready_pack */
    struct ranges *delayed; /* value: when it is due, real ms */
    struct ranges *skipped;
    struct ranges
        *tries; /* of what was not delivered exactly once without failure: group_tries_pack */
    struct ranges *acked_new;   /* not yet proposed; may lie below the floor */
    struct ranges *tries_new;   /* counters changed, not yet proposed */
    struct ranges *delayed_new; /* delayed, or released from it, not yet proposed */
    struct group_dues ready_dues;
    struct group_dues delayed_dues;
    uint64_t held;               /* in all members together */
    uint64_t delivered_proposed; /* deliveries below are proposed, or applied */
    uint64_t seek_new;           /* not yet proposed: position + 1; 0: none */
    uint32_t paused;             /* a GroupPause */
    bool paused_new;             /* not yet proposed */
    unsigned proposed;           /* entries that are not yet applied */

    uint64_t real_ms; /* what group_tick said last */
    uint64_t now_ms;
    uint64_t deadline_ms; /* no deadline is over before this; UINT64_MAX: there is none */
    struct prng prng;     /* jitter */

    struct list members;
    struct list ready_members;
    size_t member_count;
    size_t ready_count;
    bool has_refusals; /* somebody could not take the record next in line: need_bytes */
    bool is_full;
    bool tell_full;
    uint64_t redelivered_total;
    struct group_exclusive exclusive;
    struct group_deaths deaths;
};

/* `member` may have become able, or unable, to take something. */
void group_member_changed(struct group *self, struct group_member *member);
/* Another record may be next in line: what did not fit has to be found out anew. */
void group_head_moved(struct group *self);
/* What the member held in [first, last] is ready again. */
void group_give_back(struct group *self, struct group_member *member, uint64_t first, uint64_t last,
                     bool count_failed, uint64_t avoid);
/* [first, last], which is nothing else any more, is settled: acknowledged in the leader's memory. */
void group_settle(struct group *self, uint64_t first, uint64_t last);
/* Whoever holds something of [first, last], and wherever it waits: no more. */
void group_take_out(struct group *self, uint64_t first, uint64_t last);
/* [first, last] is held by the member no more. */
void group_let_go(struct group *self, struct group_member *member, uint64_t first, uint64_t last);
/* [first, last], which is nothing else, is ready, since `due_ms`. */
void group_make_ready(struct group *self, uint64_t first, uint64_t last, uint64_t due_ms,
                      uint64_t avoid);
/* Nobody holds anything in [0, last] any more. */
void group_take_all(struct group *self, uint64_t last);
/* What all members hold, or what comes next, may have changed. */
void group_members_changed(struct group *self);
/* Build the leader's memory if there is none. */
void group_start(struct group *self);
/* One more delivery, or one more failure, of each in [first, last]. */
void group_count_try(struct group *self, uint64_t first, uint64_t last, uint32_t attempt,
                     uint32_t failed);
/* The counters at `at`, which is below the cursor, and up to where in [at, last] they are the same. */
struct group_tries group_tries_at(const struct group *self, uint64_t at, uint64_t last,
                                  uint64_t *ret_until);
/* group_delay.c: what the member holds in [first, last] and may be delayed. */
void group_do_nack(struct group *self, struct group_member *member, const struct group_nack *nack,
                   uint64_t first, uint64_t last, struct ack_results *results);
/* group_deadline.c: what the member holds in [first, last] begins anew; deadlines were set, changed or ended. */
void group_hold(struct group *self, struct group_member *member, uint64_t first, uint64_t last);
void group_deadlines_changed(struct group *self, uint64_t wait_ms_before);

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
