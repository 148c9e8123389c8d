/* group_state: what a consumer group has acknowledged, how often what is not was delivered, and what is delayed until when: the
 * replicated part. It changes only when a committed entry is applied, decides the same in every life and on every replica, and knows
 * nothing of members, nor what time it is. The value in Berkeley DB is GroupState of common/wire/log.proto.
 *
 * An offset is acknowledged (up to the floor, or in `acked`), or pending: not above `delivered` it was delivered at least once, and is
 * delayed if it is in `delayed`. A counter comes from a delivery, so an offset that gets one is not delayed any more, until the same
 * entry, or a later one, says so. */
#ifndef LOGD_GROUP_STATE_H
#define LOGD_GROUP_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/ranges.h"
#include "common/base/span.h"
#include "logd/group_dead.h"
#include "logd/group_epoch.h"
#include "logd/group_limits.h"

/* Offsets in entries and values lie in [1, this]; anything else is a damaged entry. */
#define GROUP_OFFSET_MAX (UINT64_MAX / 2)

/* How often a message was delivered, and how often it failed. Without a counter: delivered once if it is not above `delivered`. */
struct group_tries {
    uint32_t attempt;
    uint32_t failed;
};

struct group_state {
    uint64_t id;
    char *name;
    struct buf spec; /* GroupSpec as it came */
    struct group_limits limits;
    uint64_t floor;          /* everything up to here is acknowledged */
    struct ranges *acked;    /* above the floor; never touches it */
    struct ranges *attempts; /* above the floor and not acknowledged; value: group_tries_pack */
    uint64_t
        delivered; /* up to here everything was delivered; not below the floor, nor below anything known */
    struct ranges
        *delayed; /* above the floor and not acknowledged; value: when it is due, real time in ms */
    uint32_t paused;          /* a GroupPause */
    struct group_epoch epoch; /* exclusive groups */
    uint64_t gap_records;     /* removed from the stream before they were settled */
    struct group_dead dead;   /* dead letters; the dying and the dead count as acknowledged */
};

void group_state_init(struct group_state *self, uint64_t id);
void group_state_release(struct group_state *self);

/* A new name and configuration (copied). ERR_BAD_FORMAT: nothing is changed. */
int group_state_configure(struct group_state *self, struct span name, struct span spec);

/* [first, last] is acknowledged; what already was does no harm. */
void group_state_ack(struct group_state *self, uint64_t first, uint64_t last);
/* [first, last], as far as it is not acknowledged, has these counters from now on. */
void group_state_try(struct group_state *self, uint64_t first, uint64_t last,
                     struct group_tries tries);
/* [first, last], as far as it is not acknowledged, is not delivered before `due_ms`; 0: not delayed any more. */
void group_state_delay(struct group_state *self, uint64_t first, uint64_t last, uint64_t due_ms);
/* Everything up to `floor` counts as acknowledged, nothing above it was ever delivered. */
void group_state_seek(struct group_state *self, uint64_t floor);
/* What lies below `first_offset` is gone from the stream. Returns how much of it was not settled (also added to gap_records). Reopened dead letters
 * are pending still: there is a copy of them. */
uint64_t group_state_trim(struct group_state *self, uint64_t first_offset);

/* Append the encoded GroupState. */
void group_state_encode(const struct group_state *self, struct buf *out);
/* Init from an encoded GroupState: 0, or ERR_BAD_FORMAT with nothing to release. */
int group_state_decode(struct group_state *self, struct span bytes);

/* One OfGroup of EntryAcks: check it (ERR_BAD_FORMAT), then apply it. Seek first, then in order of number. */
int group_state_check_acks(struct span of_group, uint64_t *ret_group_id);
void group_state_apply_acks(struct group_state *self, struct span of_group);

static inline uint64_t group_tries_pack(struct group_tries tries)
{
    return (uint64_t) tries.attempt << 32 | tries.failed;
}

static inline struct group_tries group_tries_unpack(uint64_t value)
{
    return (struct group_tries){(uint32_t) (value >> 32), (uint32_t) value};
}

/* Append an OffsetRange, an Attempt or a Delayed as field `number`. */
void group_range_append(struct buf *out, uint32_t number, uint64_t first, uint64_t last);
void group_attempt_append(struct buf *out, uint32_t number, uint64_t first, uint64_t last,
                          struct group_tries tries);
void group_delayed_append(struct buf *out, uint32_t number, uint64_t first, uint64_t last,
                          uint64_t due_ms);

/* Structure: nothing acknowledged twice, no counter and no delay of an acknowledged message. */
bool group_state_invariant(const struct group_state *self);

#endif
