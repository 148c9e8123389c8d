/* trail: the log of one replica in memory, as the core reads it (struct raft_log): term, size and type of each entry behind the base, the payloads (by reference, as long
 * as the driver keeps them), and the configurations. Every driver has one. It knows nothing of disks: what is durable, the driver knows.
 * 56 bytes an entry: compact the log. */
#ifndef COMMON_RAFT_TRAIL_H
#define COMMON_RAFT_TRAIL_H

#include "common/base/payload.h"
#include "common/raft/raft.h"

struct raft_trail_entry {
    raft_term term;
    uint64_t place; /* the driver's: where it lies on its disk; 0: not known yet */
    struct slice payload;
    uint32_t bytes; /* of the payload, also when it is not in memory */
    uint32_t place_bytes;
    uint8_t type; /* enum raft_entry_type */
    bool absent;  /* the payload is on disk only */
};

struct raft_trail_config {
    raft_index index;
    struct raft_members members;
};

struct raft_trail {
    raft_index base; /* the last index that is gone; 0: none */
    raft_term base_term;
    raft_index last;
    struct raft_trail_entry *ring; /* of index i: ring[i & (capacity - 1)] */
    size_t capacity;
    /* in order of index; the first may lie at or below base: what was active there */
    struct raft_trail_config *configs;
    size_t config_count;
    size_t config_capacity;
    /* the newest snapshot: its content, when the driver keeps that in memory */
    struct raft_snapshot snapshot;
    struct slice snapshot_state;
};

/* Zeroed memory is an empty trail. */
void raft_trail_release(struct raft_trail *self);

/* The reads for raft_init; `ud` is the trail. */
extern const struct raft_log raft_trail_reads;

/* The entry at `index` (base < index <= last + 1), which replaces all from there on. Takes a reference of the payload (NULL: none). A CONFIG entry's members are read from
 * entry->members. 0; ERR_NO_MEMORY: nothing changed. */
int raft_trail_put(struct raft_trail *self, raft_index index, const struct raft_entry *entry,
                   const struct slice *payload);
/* NULL: not there */
struct raft_trail_entry *raft_trail_at(const struct raft_trail *self, raft_index index);
/* As the core wants it for raft_recv: `members` is borrowed from the trail. */
struct raft_entry raft_trail_entry(const struct raft_trail *self, raft_index index);
/* All from `from` on goes. */
void raft_trail_cut(struct raft_trail *self, raft_index from);
/* All up to `index` (<= last) goes. */
void raft_trail_compact(struct raft_trail *self, raft_index index);
/* What lies at the base: its term, and the members active there unless a configuration at or below the base is known. */
void raft_trail_set_base(struct raft_trail *self, raft_term term,
                         const struct raft_members *members, raft_index members_index);
/* It is empty, behind this base. */
void raft_trail_reset(struct raft_trail *self, raft_index index, raft_term term,
                      const struct raft_members *members, raft_index members_index);

#endif
