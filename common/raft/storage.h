/* storage: what a driver does for the log of one replica, as a seam: whoever runs a replica (host.h, or an embedder's own loop) works with any disk behind it. Two are here:
 * memory.h, and common/run/raft_journal.h over the journal that all groups of a daemon share. tests/unit/common/raft_storage is the suite that each
 * must pass.
 *
 * The log in memory (trail.h) is the storage's first part: what raft_recv, raft_propose and RAFT_OUTPUT_ENTRY say goes there at once, by raft_storage_put; the disk follows
 * by write, in the order of wseq. One thread owns it. */
#ifndef COMMON_RAFT_STORAGE_H
#define COMMON_RAFT_STORAGE_H

#include "common/base/span.h"
#include "common/raft/trail.h"

struct raft_storage;

struct raft_storage_ops {
    /* What is there, for raft_init: `applied` is what the state machine has durably (0: nothing, or its snapshot). */
    void (*boot)(struct raft_storage *self, raft_index applied, struct raft_boot *ret_boot);
    /* RAFT_OUTPUT_WRITE: queue its parts in the order of their flags. What it names is taken from the log in memory now. Waits for a disk only where
     * RAFT_WRITE_SNAPSHOT is set. Not 0: call raft_failed. */
    int (*write)(struct raft_storage *self, const struct raft_write *write);
    /* The highest wseq up to which all is durable; the owner asks when the driver has told it (or after each turn). Not 0: raft_failed. */
    int (*durable)(struct raft_storage *self, uint64_t *ret_wseq);
    /* The payload of the NORMAL entry `index` (empty for any other type), with a reference of its own. May read a file. ERR_CORRUPT: it is damaged; raft_failed, and the next boot is suspect.
     * ERR_NOT_FOUND: not in the log; ERR_IO; ERR_NO_MEMORY. */
    int (*read)(struct raft_storage *self, raft_index index, struct slice *ret_payload);
    /* `state` is the state machine with all up to `index` (committed, in the log or its base) applied: it is the newest snapshot from now on, durably. Blocks. */
    int (*snapshot_save)(struct raft_storage *self, raft_index index, const struct slice *state);
    /* The newest snapshot's content, with a reference of its own. ERR_NOT_FOUND; ERR_CORRUPT. */
    int (*snapshot_read)(struct raft_storage *self, struct slice *ret_state);
    /* raft_taken.chunk: the bytes at message->offset of the one being received. ERR_TOO_LARGE, ERR_NO_MEMORY: raft_failed. */
    int (*snapshot_put)(struct raft_storage *self, const struct raft_message *message,
                        struct span bytes);
    /* raft_taken.install: what was received is the base of the log in memory. */
    int (*snapshot_install)(struct raft_storage *self, const struct raft_message *message);
    /* Let go of all up to `index`, after raft_compacted(index) was 0. */
    int (*compact)(struct raft_storage *self, raft_index index);
};

struct raft_storage {
    const struct raft_storage_ops *ops;
    struct raft_trail trail;
};

/* Entries into the log in memory, replacing all from `first` on. `payloads`: as many, or NULL. */
static inline int raft_storage_put(struct raft_storage *self, raft_index first,
                                   const struct raft_entry *entries, uint32_t count,
                                   const struct slice *payloads)
{
    int error = 0;
    for (uint32_t i = 0; i < count && error == 0; i++) {
        error = raft_trail_put(&self->trail, first + i, &entries[i],
                               payloads != NULL ? &payloads[i] : NULL);
    }
    return error;
}

/* All that raft_recv wants done: `payloads` of the message's entries, `chunk` of its snapshot. */
static inline int raft_storage_take(struct raft_storage *self, const struct raft_message *message,
                                    const struct raft_taken *taken, const struct slice *payloads,
                                    struct span chunk)
{
    int error = 0;
    if (taken->chunk) {
        error = self->ops->snapshot_put(self, message, chunk);
    }
    if (error == 0 && taken->install) {
        error = self->ops->snapshot_install(self, message);
    }
    if (error == 0 && taken->count != 0) {
        error = raft_storage_put(self, taken->first, message->entries + taken->skip, taken->count,
                                 payloads != NULL ? payloads + taken->skip : NULL);
    }
    return error;
}

#endif
