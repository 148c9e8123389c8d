/* cluster: a few replicas in one process: virtual time, a queue of messages, disks that lose what was not written, and the checks that must hold after every
 * step. What a test does is deterministic. */
#ifndef TESTS_UNIT_COMMON_RAFT_CLUSTER_H
#define TESTS_UNIT_COMMON_RAFT_CLUSTER_H

#include "common/base/rand.h"
#include "common/raft/raft.h"

enum {
    CLUSTER_NODES = 8,      /* numbered 1 .. 7: [0] is unused */
    CLUSTER_ENTRIES = 4096, /* of one log */
    CLUSTER_QUEUE = 4096,
    CLUSTER_WRITES = 256,
    CLUSTER_BATCH = 64, /* entries a message */
    CLUSTER_MEMBERS = 512,
    CLUSTER_READS = 64,
};

struct entry { /* of a log; the payload is `value` */
    raft_term term;
    uint64_t value;
    uint32_t bytes;
    uint8_t type;
    const struct raft_members *members;
};

struct state { /* of a state machine: what it has applied, as a hash of all values */
    raft_index index;
    uint64_t hash;
};

struct image { /* a log and what belongs to it, in memory or on disk */
    raft_index base;
    raft_term base_term;
    raft_index last;
    const struct raft_members *base_members;
    raft_index base_members_index;
    struct entry entry[CLUSTER_ENTRIES]; /* by index */
    struct state snapshot;               /* newest; its index may lie behind base */
    raft_term snapshot_term;
    const struct raft_members *snapshot_members;
    raft_term term;
    struct raft_id vote;
    raft_index commit;
    raft_index suspect_last;
};

struct node {
    bool up;
    bool disk_holds; /* writes wait for node_write */
    bool votes_lost;
    struct raft_config config;
    struct raft *raft;
    struct image *memory;
    struct image *disk;
    struct {
        struct raft_write write;
        const struct raft_members *snapshot_members;
        struct state snapshot;
        struct entry entry[CLUSTER_BATCH * 4];
    } * pending;
    unsigned pending_count;
    struct state state;
    raft_index commit;
    uint64_t drained; /* outputs */
    uint64_t chunk_bytes;
    struct raft_id leader;
    struct {
        uint64_t token;
        int error;
        raft_index index;
    } read[CLUSTER_READS];
    unsigned read_count;
};

struct envelope {
    struct raft_message message;
    struct entry entry[CLUSTER_BATCH];
    const struct raft_members *members;
    struct state snapshot;
};

struct cluster {
    raft_time now;
    struct node node[CLUSTER_NODES];
    struct envelope *queue;
    unsigned queue_count;
    bool cut[CLUSTER_NODES][CLUSTER_NODES]; /* from, to */
    uint32_t drop_types;                    /* bit: messages of this type are lost */
    uint64_t sent[RAFT_MESSAGE_TYPE_COUNT];
    uint64_t sent_total;
    struct raft_members *members; /* every configuration ever seen */
    unsigned member_count;
    struct {
        raft_term term;
        raft_term committed_in; /* or earlier */
        uint64_t value;
    } committed[CLUSTER_ENTRIES];
    raft_index committed_last;
    uint32_t leader_of[CLUSTER_ENTRIES]; /* term -> node */
    uint64_t next_value;
    uint64_t seed;                                /* to be named when something breaks */
    raft_time beat[CLUSTER_NODES][CLUSTER_NODES]; /* sessions: the last beat of a pair; 0: lost */
    struct prng prng;
    void (*configure)(struct raft_config *config);
};

/* Nodes 1..count, pristine and up. `configure` may change each configuration; NULL. */
struct cluster *cluster_new(unsigned count, void (*configure)(struct raft_config *config));
void cluster_destroy(struct cluster **self);
struct raft_id cluster_id(const struct cluster *self, unsigned node);
/* "v", "l", "w", "." for nodes 1, 2, ... */
struct raft_members cluster_members(const struct cluster *self, const char *roles);
/* The first configuration, given to all its members. */
void cluster_bootstrap(struct cluster *self, const char *roles);
/* As cluster_new, bootstrap with that many voters, and a leader: node `leader`. */
struct cluster *cluster_led(unsigned count, unsigned leader,
                            void (*configure)(struct raft_config *config));

void node_start(struct cluster *self, unsigned node); /* from its disk */
/* All entries from here on are damaged; 0: none */
void node_start_damaged(struct cluster *self, unsigned node, raft_index from);
void node_crash(struct cluster *self, unsigned node); /* what was not written is lost */
void node_wipe(struct cluster *self, unsigned node);  /* an empty disk, a new incarnation */
void node_write(struct cluster *self, unsigned node,
                unsigned count); /* complete so many of the waiting writes */
void node_drain(struct cluster *self, unsigned node);
/* Apply, make a snapshot of what is applied, and let go of all but `keep` entries. */
void node_compact(struct cluster *self, unsigned node, raft_index keep);

/* A message by hand, as the last of the queue. */
struct envelope *cluster_post(struct cluster *self, unsigned type, unsigned from, unsigned to,
                              raft_term term);
/* Put an entry of this term on a disk, behind what is there. */
void node_disk_put(struct cluster *self, unsigned node, raft_term term,
                   const struct raft_members *members);
/* The newest waiting message of this type to that node; NULL. */
struct envelope *cluster_find(struct cluster *self, unsigned type, unsigned to);
/* The sessions of all pairs, as node.c would keep them with a beat at each call: contact, loss after the timeout, return. */
void cluster_beat(struct cluster *self);
/* Drain all nodes, write nothing, deliver nothing. */
void cluster_drain(struct cluster *self);
/* Deliver what waits now, in order. */
void cluster_deliver_all(struct cluster *self);
void cluster_drop_all(struct cluster *self);

/* Deliver message i of the queue (or lose it where the network is cut). */
void cluster_deliver(struct cluster *self, unsigned i);
void cluster_drop(struct cluster *self, unsigned i);
/* Drain, write and deliver until nothing happens. Time stands still. */
void cluster_settle(struct cluster *self);
/* Let so much time pass, settling at each deadline. */
void cluster_run(struct cluster *self, raft_time us);
void cluster_isolate(struct cluster *self, unsigned node, bool cut);
void cluster_cut(struct cluster *self, unsigned a, unsigned b, bool cut); /* both ways */

/* The one leader of the highest term, 0 if none. */
unsigned cluster_leader(const struct cluster *self);
unsigned cluster_wait_leader(struct cluster *self);
/* 0 and the value that was proposed, or the error. */
int cluster_propose(struct cluster *self, unsigned node, uint64_t *ret_value);
void cluster_put(struct cluster *self, unsigned count); /* propose to the leader and settle */
int cluster_change(struct cluster *self, unsigned node, const char *roles);
int cluster_change_to(struct cluster *self, unsigned node, const struct raft_members *target);
/* All that are up have applied all that is committed, and the same. */
bool cluster_agrees(struct cluster *self);
struct raft_status cluster_status(const struct cluster *self, unsigned node);
struct raft_progress cluster_progress(const struct cluster *self, unsigned node, unsigned of);

#endif
