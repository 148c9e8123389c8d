/* memory: a storage (storage.h) without a disk, for tests and benches and for the first steps of whoever embeds the core. What would be the disk is a second log; a write
 * reaches it when the owner says so, and a crash loses the writes that did not. Nothing outlives the process: never for data that matters. */
#ifndef COMMON_RAFT_MEMORY_H
#define COMMON_RAFT_MEMORY_H

#include "common/raft/storage.h"

struct raft_memory;

struct raft_memory *raft_memory_new(void);
/* Accepts NULL. */
void raft_memory_destroy(struct raft_memory **self);

struct raft_storage *raft_memory_storage(struct raft_memory *self);

/* Writes complete at once (the default) or wait for raft_memory_sync. */
void raft_memory_hold(struct raft_memory *self, bool hold);
/* Complete so many of the waiting writes, oldest first; returns how many there were. */
unsigned raft_memory_sync(struct raft_memory *self, unsigned count);
/* The write after the next `writes` fails, and all behind it. */
void raft_memory_fail(struct raft_memory *self, unsigned writes);
/* The process dies: the log in memory is again what the disk has; waiting writes are lost, faults forgotten. The replica over it must be made anew (raft_init). */
void raft_memory_crash(struct raft_memory *self);
/* The disk loses an entry (to bit rot, say): the next boot is suspect from there; 0: none. Call behind raft_memory_crash. */
void raft_memory_damage(struct raft_memory *self, raft_index from);

#endif
