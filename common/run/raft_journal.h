/* raft_journal: the storage (common/raft/storage.h) of many groups over one journal: entries, hard states, truncations and bases of all groups are frames of the same files, so
 * what all groups write in one turn costs one sync. All groups are recovered in one pass over the journal when it opens.
 *
 * The core knows index and term; payloads are kept here: by reference while they are young, in the journal later.
 *
 * A group's snapshot is one file beside the journal, written whole, checksummed; its index, term and members are in the journal. Payloads of configuration entries are encoded
 * and decoded here; `bytes` of an entry is what its owner said.
 *
 * Damage (a range of the journal that was durable and cannot be read):
 * - Whose entry it was is known, or a gap tells: that group boots suspect from there (raft_boot.suspect_from).
 * - A vote is gone, its term is known: it counts as given, to nobody.
 * - Whose frames they were is not known: every group that has written its hard state since boots suspect behind its commit index. A group that has not may
 *   have promised anything: raft_journal_open_group says ERR_CORRUPT. It must be removed from the group, and come back as a new incarnation with an empty log
 *   (raft_journal_drop). raft_journal_tidy keeps that window small.
 * @thread owner */
#ifndef COMMON_RUN_RAFT_JOURNAL_H
#define COMMON_RUN_RAFT_JOURNAL_H

#include "common/raft/storage.h"
#include "common/store/journal.h"

struct raft_journal;

struct raft_journal_options {
    struct journal_options journal;
    const char *snapshot_dir; /* created if missing */
    /* 0: 1 MiB: payloads of durable entries that a group keeps in memory */
    uint64_t tail_bytes_max;
    uint64_t snapshot_bytes_max; /* 0: 256 MiB */
};

/* Recovers all groups. 0, or as journal_open and journal_walk. */
int raft_journal_open(const struct raft_journal_options *options,
                      struct journal_recovery *ret_recovery, struct raft_journal **ret_journal);
/* All groups must be closed. Accepts NULL. */
void raft_journal_close(struct raft_journal **self);

/* Every group that was found: start with *cursor = 0; 0 at the end. */
uint64_t raft_journal_next_group(const struct raft_journal *self, size_t *cursor);

/* One group's storage, borrowed until it is closed; `ud` comes back in raft_journal_poll. `is_new`: the owner knows that this group's replica never ran here. 0; ERR_ALREADY: it is open;
 * ERR_CORRUPT: see above, or its snapshot cannot be read. */
int raft_journal_open_group(struct raft_journal *self, uint64_t group, bool is_new, void *ud,
                            struct raft_storage **ret_storage);
void raft_journal_close_group(struct raft_journal *self, uint64_t group);
/* Forget all about a group that is not open: its replica is gone for good. */
int raft_journal_drop(struct raft_journal *self, uint64_t group);

/* Hand what was written to the disk: once at the end of a turn. */
void raft_journal_submit(struct raft_journal *self);
/* Readable when something became durable: then poll. */
int raft_journal_fd(const struct raft_journal *self);
/* `on_durable` is called for each open group that has something new: ask its ops->durable. Returns how many completions there were. */
unsigned raft_journal_poll(struct raft_journal *self, void (*on_durable)(void *group_ud));

/* More is queued than the journal takes: propose nothing, receive no entries, until it is not. */
bool raft_journal_is_busy(const struct raft_journal *self);
/* The disk is nearly full: propose nothing. */
bool raft_journal_is_full(const struct raft_journal *self);

/* Give back the journal files that nobody needs, and write anew what keeps old ones: hard states and bases older than the newest file. Call when groups were compacted,
 * and now and then; then submit. */
void raft_journal_tidy(struct raft_journal *self);

struct journal *raft_journal_journal(struct raft_journal *self);

#endif
