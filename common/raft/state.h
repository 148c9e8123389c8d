/* state: what one replica knows, and the few functions that every file of the core leans on. Private to common/raft.
 *
 * The block is flat and has no padding (the compiler is told to refuse it), so that equal histories give equal bytes. Behind `peer` lie members_max
 * peers, then reads_max reads. */
#ifndef COMMON_RAFT_STATE_H
#define COMMON_RAFT_STATE_H

#include "common/base/invariant.h"
#include "common/raft/mutants.h"
#include "common/raft/raft.h"

enum { RAFT_SLOTS = 3, RAFT_REPLIES = 2, RAFT_NO_PEER = 255 };

/* raft_peer.flags */
enum {
    PEER_GRANTED = 1,      /* this candidate has its vote */
    PEER_REFUSED = 2,      /* this candidate has its refusal */
    PEER_ASK = 4,          /* send it a vote request */
    PEER_HEARTBEAT = 8,    /* send it an APPEND, empty if need be */
    PEER_WAIT = 16,        /* PROBE: one is under way. SNAPSHOT: a chunk is under way */
    PEER_COMMIT = 32,      /* has not been told the commit index */
    PEER_TIMEOUT_NOW = 64, /* send it one */
    PEER_QUIESCE = 128,    /* send it one */
    PEER_ASLEEP = 256,     /* has said that it sleeps */
    PEER_DOWN = 512,       /* its node's session is lost */
    PEER_MAY_SLEEP = 2048, /* was sent a QUIESCE, and has not answered to anything since */
    PEER_DEPARTING = 1024, /* no member any more */
    PEER_PATIENCE = 4096,  /* the unit of a four bit number: see raft_peer_lost */
};

/* raft.ack_flags: what the leader is owed */
enum {
    ACK_NOW = 1,      /* an APPEND_REPLY, at once */
    ACK_OWED = 2,     /* one when more is durable */
    ACK_REJECT = 4,   /* the one to send is a refusal */
    ACK_SNAPSHOT = 8, /* a SNAPSHOT_REPLY */
    ACK_QUIESCE = 16, /* a QUIESCE_REPLY */
    ACK_AWAKE = 32,   /* ... that refuses */
};

#define RAFT_READ_UNKNOWN UINT64_MAX /* raft_waiting.index: not known yet, or not asked for yet */
#define RAFT_READ_FAILED  UINT64_MAX /* raft_waiting.round */
#define RAFT_NEVER        UINT64_MAX

#pragma GCC diagnostic push
#pragma GCC diagnostic error "-Wpadded"

struct raft_peer {
    struct raft_id id;
    uint8_t set : 4;
    uint8_t state : 4; /* enum raft_progress_state */
    uint8_t priority;
    uint16_t flags;
    uint32_t seq;      /* of the last message to it */
    raft_index match;  /* durable there and equal to ours */
    raft_index next;   /* SNAPSHOT: the one behind the snapshot */
    raft_time contact; /* when we sent what it answered last; 0: it has not */
    raft_time sent;    /* when we last sent it something that wants an answer */
    uint64_t round;    /* highest round it answered */
    uint64_t offset;   /* SNAPSHOT: of the chunk under way or due */
    uint32_t seq_acked;
    uint32_t seq_data; /* of the last with entries, or a chunk */
    uint32_t pos;      /* payload bytes sent */
    uint32_t pos_acked;
};

/* A write with entries that is not durable yet. */
struct raft_slot {
    uint64_t wseq;
    raft_index last; /* durable up to here when it is */
    uint32_t pos;    /* what to echo then */
    uint32_t reserved;
};

struct raft_reply { /* to whoever asked for a vote, or leads an old term */
    struct raft_id to;
    raft_term term;
    uint8_t type; /* 0: none */
    uint8_t flags;
    uint8_t reserved[6];
};

struct raft_waiting { /* a read */
    uint64_t token;
    raft_index index; /* or RAFT_READ_UNKNOWN */
    /* 0: confirmed; RAFT_READ_FAILED; on a follower (from: none) the time to give up */
    uint64_t round;
    struct raft_id from; /* on a leader: who asked */
};

struct raft {
    /* Where the log is: not part of the hash. */
    const struct raft_log *log;
    void *log_ud;

    uint64_t group;
    struct raft_id id;
    uint64_t random;
    uint32_t election_timeout_us_min;
    uint32_t election_timeout_us_max;
    uint32_t heartbeat_us;
    uint32_t quiesce_after_us;
    uint32_t clock_drift_ppm;
    uint32_t message_bytes_max;
    uint32_t message_entries_max;
    uint32_t inflight_bytes_max;
    uint32_t inflight_messages_max;
    uint32_t uncommitted_bytes_max;
    uint32_t snapshot_chunk_bytes;
    uint32_t catchup_entries_max;
    uint8_t members_max;
    uint8_t reads_max;
    uint8_t data_copies_min;
    uint8_t pre_vote : 1;
    uint8_t check_quorum : 1;
    uint8_t lease_reads : 1;
    uint8_t reserved_bits : 5;

    uint8_t state; /* enum raft_state */
    uint8_t peer_count;
    uint8_t self; /* our slot among the peers, or RAFT_NO_PEER */
    uint8_t read_count;

    raft_term term;
    struct raft_id vote;
    struct raft_id leader;

    raft_index compacted;
    raft_term compacted_term;
    raft_index last;
    raft_term last_term;
    raft_index run_first; /* entries from here to last are known to have last_term */
    raft_index commit;
    raft_index commit_out; /* given out by drain */
    raft_index applied;
    raft_index durable;  /* of our own log */
    raft_index verified; /* known to be equal to the log of this term's leader */
    raft_index members_index;

    uint64_t wseq;
    uint64_t wseq_durable;
    uint64_t wseq_hard;        /* the write of the newest term and vote */
    raft_index written;        /* entries up to here were given out */
    raft_index truncate_from;  /* 0: nothing to cut */
    raft_index snapshot_index; /* being received (snapshot_due: to be written) */
    raft_term snapshot_term;
    uint64_t snapshot_offset;
    struct raft_slot slot[RAFT_SLOTS];

    raft_index suspect_last; /* not 0: no part in elections */
    raft_term suspect_term;  /* of the boot that found the damage, or a later one */
    raft_index suspect_goal; /* with this durable it is over; 0: not known */

    raft_time now;
    raft_time contact; /* votes are refused until election_timeout_us_min behind this; 0: never */
    raft_time election_deadline;

    struct raft_reply reply[RAFT_REPLIES];

    /* What a follower owes its leader, or what a leader keeps: never both, and each begins at zero. */
    union {
        struct raft_owed {
            uint64_t ack_round;
            raft_time ack_sent;
            raft_index ack_refused; /* REJECT: the prev that was refused */
            raft_index ack_index;   /* REJECT: the hint */
            raft_index ack_durable; /* last told */
            uint32_t ack_seq;
            uint32_t ack_pos;     /* of what was received */
            uint32_t pos_durable; /* of what is durable */
            uint32_t ack_flags;
        } owed;
        struct raft_lead {
            raft_index term_first; /* the first entry of this leadership */
            uint64_t round;
            raft_time activity;
            raft_index mark_index; /* when it commits, uncommitted_base becomes mark_pos */
            uint32_t mark_pos;
            uint32_t uncommitted_base;
            uint32_t proposed; /* bytes */
            uint32_t lead_reserved;
            raft_time heartbeat_deadline;
            raft_time quorum_deadline;
            struct raft_id transfer;
            struct raft_id transfer_to; /* of the last TimeoutNow */
            raft_index transfer_last;   /* named in the last TimeoutNow */
            raft_time transfer_deadline;
        } lead;
    };
    uint8_t slot_count;
    uint8_t hard_dirty : 1;
    uint8_t state_dirty : 1;
    uint8_t members_dirty : 1;
    uint8_t snapshot_due : 1;
    uint8_t blank_due : 1;
    uint8_t send_dirty : 1;
    uint8_t quiesced : 1;
    uint8_t members_committed : 1;
    uint8_t explicit_leave : 1;
    uint8_t transfer_vote : 1; /* this candidate was sent by its leader */
    uint8_t leaving : 1;       /* a removed leader: steps down when all is sent */
    uint8_t lease_burnt : 1;
    uint8_t self_voted : 1; /* our own vote is counted */
    uint8_t joint : 1;
    uint8_t only_hope : 1; /* refused a vote for its better log: has to lead even with priority 0 */
    uint8_t flag_bits : 1;
    uint8_t send_next; /* the peer to look at first */

    uint32_t elections;
    uint32_t step_downs;
    uint32_t rejections;
    uint32_t retries;
    uint32_t snapshots;
    struct raft_peer peer[];
};

#pragma GCC diagnostic pop

/* --- state.c --- */
/* The term of an entry; 0: before the log, compacted, or beyond its end. */
raft_term raft_term_at(const struct raft *self, raft_index index);
/* The largest index <= `index` whose term is <= `term`, not below `compacted`; 0 when even that has a higher term. */
raft_index raft_find_conflict(const struct raft *self, raft_index index, raft_term term);
void raft_log_append(struct raft *self, const struct raft_entry *entry);
void raft_log_truncate(struct raft *self, raft_index from);
uint64_t raft_random(struct raft *self);
void raft_become_follower(struct raft *self, raft_term term, struct raft_id leader);
void raft_move(struct raft *self, enum raft_state state);
void raft_reply_put(struct raft *self, struct raft_id to, raft_term term, unsigned type,
                    unsigned flags);

/* --- progress.c: the peers --- */
struct raft_peer *raft_peer_find(struct raft *self, struct raft_id id);
bool raft_self_votes(
    const struct raft *self); /* a voter of the active configuration, in any half */
void raft_peer_reset(struct raft *self, struct raft_peer *peer);
void raft_peer_probe(struct raft_peer *peer, raft_index next);
/* This answer shows that what was sent last (seq_data) has not arrived. Was it lost? It may only be slow: beats overtake bulk. Each time that we judge so, the
 * number of beats doubles that must overtake it; an answer that comes in good time makes us less patient again. */
bool raft_peer_lost(struct raft_peer *peer, const struct raft_message *message);
void raft_peer_arrived(struct raft_peer *peer, const struct raft_message *message);
/* The highest commit index that this leader may take. */
raft_index raft_quorum_match(const struct raft *self);
/* What a quorum has answered last, by time and by round; UINT64_MAX when this replica is quorum enough. */
raft_time raft_quorum_contact(const struct raft *self);
uint64_t raft_quorum_round(const struct raft *self);
enum raft_tally { TALLY_OPEN, TALLY_WON, TALLY_LOST };
enum raft_tally raft_tally(const struct raft *self);

/* --- membership.c --- */
/* These members are active from now on: called for each configuration entry when it enters or leaves the log. */
void raft_members_activate(struct raft *self, const struct raft_members *members, raft_index index);
void raft_members_collect(const struct raft *self, struct raft_members *ret_members);
void raft_drop_departed(struct raft *self);
/* May this leader, which is no voter any more, step down for ever? */
bool raft_may_leave(const struct raft *self);
bool raft_checks_quorum(const struct raft *self);

/* --- election.c --- */
bool raft_can_campaign(const struct raft *self);
void raft_election_deadline_reset(struct raft *self);
enum raft_campaign { CAMPAIGN_ASK_FIRST, CAMPAIGN_NOW, CAMPAIGN_BY_TRANSFER };
void raft_election_start(struct raft *self, enum raft_campaign kind);
void raft_election_tally(struct raft *self);
bool raft_hears_leader(const struct raft *self);
int raft_recv_vote(struct raft *self, const struct raft_message *message);
int raft_recv_vote_reply(struct raft *self, const struct raft_message *message);

/* --- append.c: follower --- */
int raft_recv_append(struct raft *self, const struct raft_message *message,
                     struct raft_taken *ret_taken);
void raft_ack_durable(struct raft *self);
void raft_ack_echo(struct raft *self, const struct raft_message *message);
/* This replica's own follower checks are done; a message of this term's leader: hear it. */
bool raft_follow(struct raft *self, const struct raft_message *message);
void raft_suspect_check(struct raft *self);

/* --- replication.c: leader --- */
void raft_become_leader(struct raft *self);
void raft_leader_commit(struct raft *self);
void raft_commit_to(struct raft *self, raft_index index);
int raft_recv_append_reply(struct raft *self, const struct raft_message *message);
void raft_leader_advance(struct raft *self);
void raft_leader_heard(struct raft *self, struct raft_peer *peer,
                       const struct raft_message *message);

/* --- snapshot.c --- */
int raft_recv_snapshot(struct raft *self, const struct raft_message *message,
                       struct raft_taken *ret_taken);
int raft_recv_snapshot_reply(struct raft *self, const struct raft_message *message);
/* A snapshot is complete, but not durable yet. */
bool raft_is_installing(const struct raft *self);
bool raft_snapshot_begin(struct raft *self, struct raft_peer *peer);
bool raft_snapshot_send(struct raft *self, struct raft_peer *peer,
                        struct raft_message *ret_message);
void raft_snapshot_progress(struct raft *self, struct raft_peer *peer,
                            const struct raft_message *message);

/* --- readindex.c --- */
struct raft_waiting *raft_reads(struct raft *self);
void raft_reads_fail(struct raft *self);
void raft_reads_confirm(struct raft *self);
void raft_reads_commit(struct raft *self);
bool raft_reads_next(struct raft *self, struct raft_output *ret_output);
bool raft_reads_send(struct raft *self, struct raft_message *ret_message);
void raft_reads_advance(struct raft *self);
raft_time raft_reads_deadline(const struct raft *self);
int raft_recv_read(struct raft *self, const struct raft_message *message);
int raft_recv_read_reply(struct raft *self, const struct raft_message *message);
bool raft_lease_holds(const struct raft *self);

/* --- transfer.c --- */
int raft_recv_timeout_now(struct raft *self, const struct raft_message *message);
void raft_transfer_check(struct raft *self, struct raft_peer *peer);
void raft_transfer_advance(struct raft *self);

/* --- quiesce.c --- */
void raft_wake(struct raft *self);
void raft_quiesce_advance(struct raft *self);
void raft_sleeper_asks(struct raft *self);
int raft_recv_quiesce(struct raft *self, const struct raft_message *message);
int raft_recv_quiesce_reply(struct raft *self, const struct raft_message *message);
/* For another replica, perhaps one whose disk we lost. */
void raft_recv_stray(struct raft *self, const struct raft_message *message);

/* --- send.c --- */
/* Something changed: look at every peer again. */
static inline void raft_touch(struct raft *self)
{
    self->send_dirty = 1;
    self->send_next = 0;
}
bool raft_send_next(struct raft *self, struct raft_message *ret_message);

#endif
