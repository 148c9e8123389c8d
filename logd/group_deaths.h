/* group_deaths: the leader's part of a group's dead letters: who dies and why. Part of the machine of group.h. A message dies
 *
 *   MAX_FAILED  when it comes back, and failed max_failed times by now
 *   DISTANCE    when it was delivered and is not acknowledged, and one max_distance or more behind it is; not in strict order
 *   MAX_AGE     when it would be delivered, and is older than max_age
 *   REJECTED    when the member that holds it says so
 *
 * Of these, DISTANCE and MAX_AGE are not held against what was replayed: it would be dead again before anybody saw it. From then on it is settled in the
 * leader's memory; the entry follows, and logd/deadletter.h moves what is dying when that is applied. */
#ifndef LOGD_GROUP_DEATHS_H
#define LOGD_GROUP_DEATHS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/span.h"
#include "logd/group_breaker.h"

struct group;

/* In the group. */
struct group_deaths {
    struct buf news; /* fields of OfGroup, to be proposed in this order */
    bool
        is_blocked; /* the dead-letter stream does not take what is dying, and the group shall wait */
    uint64_t acked_highest;  /* offset */
    uint64_t distance_done;  /* up to here DISTANCE was decided */
    uint64_t seeks_proposed; /* in this life of the leader's memory */
    uint64_t count;          /* messages that died, in this life */
    struct span error;       /* of whoever gives something back now; borrowed */
    struct span consumer;
    struct group_breaker breaker;
};

/* --- for the daemon --- */

/* Around what a member says or suffers: why, and who it is. Spans are borrowed until the next call. */
void group_blame(struct group *self, struct span error, struct span consumer);
/* An Ack was done with: what is too far behind dies. */
void group_check_distance(struct group *self);
/* Of the first `count` messages of a page, which begins at `first`: they are too old. `is_again` as in the page. Returns how many died: those before the
 * first replayed one. */
uint64_t group_die_of_age(struct group *self, uint64_t first, uint64_t count, bool is_again);
/* Is this one replayed? *ret_last: up to where in [offset, last] the answer is the same. */
bool group_is_reopened(const struct group *self, uint64_t offset, uint64_t last,
                       uint64_t *ret_last);
/* What waits at `offset` and is replayed can be read nowhere any more: a gap. */
void group_die_unread(struct group *self, uint64_t offset);
/* True once each time too many died: the group is to be paused. */
bool group_breaker_opened(struct group *self);
/* The dead-letter stream does not take anything. */
void group_block_dead(struct group *self, bool is_blocked);

/* To be proposed: these are in that dead-letter stream from dlq_first on; 0: they are gone. */
void group_note_buried(struct group *self, uint64_t first, uint64_t last, uint64_t dlq_first,
                       uint64_t dlq_log_group);
/* To be proposed, as operators wish. */
void group_note_replayed(struct group *self, uint64_t first, uint64_t last);
void group_note_dropped(struct group *self, uint64_t first, uint64_t last);
/* An entry was applied: what it reopened is ready again. Returns whether anything was. */
bool group_take_reopened(struct group *self);

/* --- for the machine --- */

void deaths_start(struct group *self);
void deaths_release(struct group *self);
void deaths_seek(struct group *self);
/* [first, last] is acknowledged. */
void deaths_acked(struct group *self, uint64_t first, uint64_t last);
/* The news that fit into `bytes_max`, at least one if there are any. Returns how many bytes. */
size_t deaths_encode(const struct group *self, struct buf *out, size_t size_max);
void deaths_proposed(struct group *self, size_t bytes, bool has_seek);
/* Does the group wait for the dead-letter stream, or are too many on their way there? */
bool deaths_hold_up(const struct group *self);
bool deaths_hold_up_new(const struct group *self);
/* [first, last], which nobody holds, failed: the first part of it dies, or does not. Up to where; *ret_died. */
uint64_t deaths_part(const struct group *self, uint64_t first, uint64_t last, uint32_t more,
                     bool *ret_dies);
/* [first, last] is nothing now, but known in the counters: it dies. `reason` is a Dead.Reason. */
void deaths_die(struct group *self, uint64_t first, uint64_t last, uint32_t reason);

#endif
