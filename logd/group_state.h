/* group_state: what a consumer group has acknowledged, and how often what is not was delivered: the replicated part. It changes
 * only when a committed entry is applied, decides the same in every life and on every replica, and knows nothing of members.
 * The value in Berkeley DB is GroupState of common/wire/log.proto. */
#ifndef LOGD_GROUP_STATE_H
#define LOGD_GROUP_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/ranges.h"
#include "common/base/span.h"

enum {
    GROUP_IN_FLIGHT_DEFAULT = 10000,
    GROUP_HOLES_DEFAULT = 10000,
};
/* Offsets in entries and values lie in [1, this]; anything else is a damaged entry. */
#define GROUP_OFFSET_MAX (UINT64_MAX / 2)

/* Of a group's configuration (GroupSpec) what delivery needs; absent or 0 becomes the default. */
struct group_limits {
    bool is_exclusive;
    uint64_t in_flight_max;
    uint64_t member_in_flight_max;
    uint64_t holes_max;
};

/* How often a message was delivered (and came back), and how often it failed. */
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

/* Append the encoded GroupState. */
void group_state_encode(const struct group_state *self, struct buf *out);
/* Init from an encoded GroupState: 0, or ERR_BAD_FORMAT with nothing to release. */
int group_state_decode(struct group_state *self, struct span bytes);

/* One OfGroup of EntryAcks: check it (ERR_BAD_FORMAT), then apply it. Counters come before acknowledgements. */
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

/* Append an OffsetRange or an Attempt as field `number`. */
void group_range_append(struct buf *out, uint32_t number, uint64_t first, uint64_t last);
void group_attempt_append(struct buf *out, uint32_t number, uint64_t first, uint64_t last,
                          struct group_tries tries);

/* Structure: nothing acknowledged twice, no counter of an acknowledged message. */
bool group_state_invariant(const struct group_state *self);

#endif
