/* config: how a replica behaves. Fixed for its life; every replica of a group should have the same times. */
#ifndef COMMON_RAFT_CONFIG_H
#define COMMON_RAFT_CONFIG_H

#include "common/raft/members.h"

struct raft_config {
    uint64_t group;
    struct raft_id id;
    uint64_t seed; /* of the random election timeouts; differs between replicas */

    /* 150 ms: a follower that heard its leader within this time refuses votes (A20) */
    uint32_t election_timeout_us_min;
    uint32_t election_timeout_us_max; /* 300 ms: > min; a random timeout lies between */
    /* 50 ms: < min/2; also the time after which silence makes a leader send again */
    uint32_t heartbeat_us;
    /* 0: never; else an idle group sleeps after this time: needs sessions (node.h) */
    uint32_t quiesce_after_us;
    uint32_t clock_drift_ppm; /* 1000: how far two clocks may run apart; bounds leases */

    /* 1 MiB: payload of one APPEND (one larger entry still goes, alone) */
    uint32_t message_bytes_max;
    uint32_t message_entries_max;   /* 1024: <= 65535 */
    uint32_t inflight_bytes_max;    /* 4 MiB: sent and not known durable, per peer; < 2 GiB */
    uint32_t inflight_messages_max; /* 64 */
    uint32_t uncommitted_bytes_max; /* 64 MiB: proposals beyond get ERR_OVERLOADED */
    /* 1 MiB; 0: the SNAPSHOT message is metadata only, drivers move the content themselves */
    uint32_t snapshot_chunk_bytes;
    uint32_t catchup_entries_max; /* 1000: a learner at most so far behind may become a voter */
    /* 5: room, 1..RAFT_MEMBERS_MAX; a joint phase needs room for both halves */
    uint8_t members_max;
    uint8_t reads_max; /* 2: reads waiting at once (one may stand for many of the driver's) */
    /* 1: commit also needs so many durable copies on voters that are no witnesses */
    uint8_t data_copies_min;
    bool pre_vote; /* true */
    /* true: a leader that hears no majority for an election timeout steps down */
    bool check_quorum;
    /* false: answer reads by the leader's lease while it holds; needs check_quorum */
    bool lease_reads;
};

/* The defaults above; group, id and seed are the caller's to set. */
void raft_config_init(struct raft_config *self);
/* 0, or ERR_BAD_CONFIG and *ret_field names the first wrong field (static text). */
int raft_config_check(const struct raft_config *self, const char **ret_field);

#endif
