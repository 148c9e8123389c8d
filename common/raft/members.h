/* members: who belongs to a group and how (the paper's cluster configuration, sections 4.1 to 4.3 of the dissertation), the rules for moving
 * from one set to the next, and what a majority of it is. Values without owners; nothing here allocates. */
#ifndef COMMON_RAFT_MEMBERS_H
#define COMMON_RAFT_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t raft_index; /* of a log entry, from 1; 0: before the log */
typedef uint64_t raft_term;  /* from 1; 0: before the first election */
typedef uint64_t raft_time;  /* microseconds of the caller's monotonic clock */

/* One replica. A wiped disk is a new replica: the node takes a fresh incarnation and must be added anew; an id is never re-used. */
struct raft_id {
    uint32_t node; /* 0: nobody */
    uint32_t incarnation;
};

static inline bool raft_id_equal(struct raft_id a, struct raft_id b)
{
    return a.node == b.node && a.incarnation == b.incarnation;
}

static inline bool raft_id_is_none(struct raft_id id)
{
    return id.node == 0;
}

enum {
    RAFT_MEMBERS_MAX = 16,
    RAFT_ADDRESS_BYTES = 22,
    RAFT_MEMBERS_BYTES_MAX = 4 + RAFT_MEMBERS_MAX * (10 + RAFT_ADDRESS_BYTES)
};

/* What a member is: bits of raft_member.set. */
enum {
    RAFT_VOTER = 1, /* votes and counts for commit; while joint: in the new half */
    RAFT_OLD = 2,   /* only while joint: a voter of the old half */
    RAFT_LEARNER =
        4, /* gets the log, has no voice. With RAFT_OLD: becomes a learner when the joint phase ends */
    /* modifies RAFT_VOTER or RAFT_OLD: keeps the log's terms but no payload, never leads, is never again anything else */
    RAFT_WITNESS = 8,
};

struct raft_member {
    struct raft_id id;
    uint8_t set;
    uint8_t
        priority; /* for leading: higher campaigns earlier; 0 only when it refused a vote for its better log */
    /* Where to find it: the driver's bytes (an IPv6 address, a port and a scope fit, or a key of its own). They are part of the configuration, so whoever has that in its log knows
     * them. All zero: none, or in the target of a change: as it was. */
    uint8_t address[RAFT_ADDRESS_BYTES];
};

/* An active configuration, or the target of a change (no member has RAFT_OLD). Members are in order of id; unused ones are zero. */
struct raft_members {
    uint32_t count;
    /* joint: wait for raft_propose_config with the new half as target; else the leader leaves by itself */
    uint8_t explicit_leave;
    struct raft_member member[RAFT_MEMBERS_MAX];
};

/* Add a member, or replace what was said about this id (its address stays). ERR_OUT_OF_RANGE: full. */
int raft_members_put(struct raft_members *self, struct raft_id id, unsigned set, unsigned priority);
/* ERR_NOT_FOUND: no member; ERR_TOO_LARGE. */
int raft_members_set_address(struct raft_members *self, struct raft_id id, const void *address,
                             size_t size);
/* Members without an address take the one that they have in `from`. */
void raft_members_keep_addresses(struct raft_members *self, const struct raft_members *from);
void raft_members_remove(struct raft_members *self, struct raft_id id);
/* NULL: not a member */
const struct raft_member *raft_members_find(const struct raft_members *self, struct raft_id id);
bool raft_members_equal(const struct raft_members *a, const struct raft_members *b);
bool raft_members_is_joint(const struct raft_members *self);
/* Voters of the new (or only) half. */
unsigned raft_members_voters(const struct raft_members *self);

/* 0, or ERR_BAD_CONFIG: no voter in a half, no voter that may lead, node 0, unsorted or repeated ids, illegal bits. */
int raft_members_check(const struct raft_members *self);

/* The configuration to enter on the way from `from` to `target`, with the addresses of both. One voter's difference, or none (another address): the target itself (single step, dissertation 4.1).
 * More: the joint one (4.3). From a joint configuration: only its own new half, that is, leaving. ERR_ALREADY: nothing to change;
 * ERR_BAD_CONFIG: the target is illegal, the union has too many members, or a joint phase would be left for something else. */
int raft_members_next(const struct raft_members *from, const struct raft_members *target,
                      bool force_joint, struct raft_members *ret_next);

/* The new half alone: what a joint configuration becomes. */
void raft_members_leave(const struct raft_members *joint, struct raft_members *ret_members);

/* The payload of a configuration entry: version, count, then ten bytes a member, little-endian, and the address if any member has one. Encode returns the size, at most
 * RAFT_MEMBERS_BYTES_MAX. Decode: ERR_BAD_FORMAT for anything that encode cannot have written or raft_members_check refuses. */
size_t raft_members_encode(const struct raft_members *self, uint8_t *at);
int raft_members_decode(const uint8_t *data, size_t size, struct raft_members *ret_members);

#endif
