/* raft_journal_private: what the files of raft_journal share. */
#ifndef COMMON_RUN_RAFT_JOURNAL_PRIVATE_H
#define COMMON_RUN_RAFT_JOURNAL_PRIVATE_H

#include "common/base/buf.h"
#include "common/base/hash.h"
#include "common/run/raft_journal.h"

/* `kind` of a JOURNAL_HARD_STATE frame; of an entry: enum raft_entry_type. Numbers are on disk. */
enum {
    KIND_HARD = 1,    /* term (of the frame), vote, commit, suspect_last */
    KIND_BASE = 2,    /* the log begins behind this; entries above stay */
    KIND_INSTALL = 3, /* the same, and everything before this frame is void */
    KIND_DROP = 4,    /* the replica is gone */
};

enum { HARD_BYTES = 28, BASE_BYTES = 52, FORMAT_VERSION = 1, HARD_REPAIRED = 1 };

struct group_hard { /* as written last */
    raft_term term;
    struct raft_id vote;
    raft_index commit;
    raft_index suspect_last;
};

struct raft_journal_group {
    struct raft_storage storage; /* first */
    struct raft_journal *set;
    uint64_t group;
    void *ud;
    bool is_open;
    bool has_news;       /* durable grew since it was told */
    uint32_t generation; /* counts openings: a write of an earlier one tells the owner nothing */
    uint64_t life;       /* another one when the group was dropped between */
    struct raft_journal_group *news_next;
    struct raft_snapshot old_snapshot; /* its file goes when the new one's base is durable */
    int failed;
    struct group_hard hard;
    uint64_t hard_place; /* of the newest durable frame of its kind; 0: none */
    uint64_t base_place;
    uint64_t durable;
    uint64_t kept_bytes; /* of payloads in memory that are durable */
    raft_index evict_next;
    struct buf incoming;
    /* What recovery found. */
    raft_index hole;      /* the first entry that is not to be trusted; 0: none */
    raft_index last_seen; /* the last that was there, with a hole */
    bool has_damage;      /* entries in the log in memory that are absent and have no place */
    bool frames_lost;     /* some of unknown kind, and no repair since */
    bool vote_lost;
    bool base_lost;
    bool base_guessed; /* by its first entry: the frame that says it was written anew behind that */
};

struct flight { /* a frame on its way to the disk */
    uint64_t journal_wseq;
    uint64_t group;
    uint64_t wseq; /* this one completes it; 0: it completes none */
    raft_index index;
    raft_term term;
    uint64_t life;
    uint32_t generation;
    uint8_t type; /* enum journal_type */
    uint8_t kind;
};

struct waiting { /* a frame that the journal would not take yet */
    struct waiting *next;
    struct journal_entry entry;
    struct flight flight;
};

struct lost_range {
    uint64_t position;
    uint64_t bytes;
    bool is_known;
    struct journal_entry known;
};

struct raft_journal {
    struct journal *journal;
    uint64_t tail_bytes_max;
    uint64_t snapshot_bytes_max;
    const struct fs_ops *ops;
    int snapshot_fd;
    struct hash64 *groups;
    uint32_t generation;
    uint64_t lives;
    struct raft_journal_group *news; /* to be told */
    bool has_unknown_damage;
    int failed;
    struct flight *flight; /* a ring */
    size_t flight_first, flight_count, flight_capacity;
    struct waiting *waiting;
    struct waiting **waiting_tail;
    /* while opening */
    struct lost_range *lost;
    size_t lost_count, lost_capacity, lost_next;
    int recover_error;
};

static inline struct raft_journal_group *group_of(struct raft_storage *storage)
{
    return (struct raft_journal_group *) (void *) storage;
}

/* raft_journal_group.c */
extern const struct raft_storage_ops raft_journal_ops;
struct raft_journal_group *raft_journal_group_make(struct raft_journal *self, uint64_t group);
void raft_journal_group_clear(struct raft_journal_group *self);

/* raft_journal_frames.c. `wseq`: the frame completes that write; 0: it completes none. */
int raft_journal_emit(struct raft_journal_group *group, const struct journal_entry *entry,
                      uint64_t wseq);
int raft_journal_emit_bytes(struct raft_journal_group *group, struct journal_entry *entry,
                            const uint8_t *bytes, size_t size, uint64_t wseq);
int raft_journal_emit_hard(struct raft_journal_group *group, bool repaired, uint64_t wseq);
int raft_journal_emit_base(struct raft_journal_group *group, uint8_t kind, uint64_t wseq);
int raft_journal_emit_entry(struct raft_journal_group *group, raft_index index, uint64_t wseq);
void raft_journal_flight_clear(struct raft_journal *self);

/* raft_journal_snapshot.c */
int raft_journal_snapshot_store(struct raft_journal_group *group);
int raft_journal_snapshot_load(const struct raft_journal_group *self, struct slice *ret_state);
/* The base that names the newest snapshot is durable: the one before may go. */
void raft_journal_snapshot_drop_old(struct raft_journal_group *group);
/* Files of this group (0: of any) that no base names: what an interrupted removal left. */
void raft_journal_snapshots_sweep(struct raft_journal *self, uint64_t only);
int raft_journal_snapshot_save(struct raft_storage *storage, raft_index index,
                               const struct slice *state);
int raft_journal_snapshot_read(struct raft_storage *storage, struct slice *ret_state);
int raft_journal_snapshot_put(struct raft_storage *storage, const struct raft_message *message,
                              struct span bytes);
int raft_journal_snapshot_install(struct raft_storage *storage, const struct raft_message *message);

/* raft_journal_recover.c */
int raft_journal_recover(struct raft_journal *self, const struct journal_options *options,
                         struct journal_recovery *ret_recovery);

#endif
