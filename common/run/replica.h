/* replica: one member of one Raft group as a daemon drives it: propose -> committed -> apply. All groups of a daemon share one journal.
 * Today a group has one replica, so an entry is committed when its own sync has returned, and the term stays 1; the consensus core takes
 * its place behind this interface. What is applied, in which order and exactly once a life, does not change with it.
 * @thread loop */
#ifndef COMMON_RUN_REPLICA_H
#define COMMON_RUN_REPLICA_H

#include <stdbool.h>
#include <stdint.h>

#include "common/store/journal.h"

struct replica_set; /* all groups over one journal */
struct replica;     /* one group */

struct replica_handlers {
    /* The entry is committed: apply it. Called in order of index for each group, never inside replica_propose. `entry->payload` is borrowed
     * (slice_ref to keep). `position`/`frame_bytes`: where it lies in the journal. */
    void (*apply)(void *group_ud, const struct journal_entry *entry, uint64_t position,
                  uint32_t frame_bytes);
    /* The journal failed for good: nothing that is not applied yet ever will be; the outcome of what was proposed is unknown. Called
     * once; the daemon must end. */
    void (*poisoned)(void *set_ud);
    void *set_ud;
};

/* Borrows the journal. The owner polls: call replica_set_poll when journal_fd is readable. */
struct replica_set *replica_set_new(struct journal *journal,
                                    const struct replica_handlers *handlers);
/* after all its groups were closed; accepts NULL */
void replica_set_destroy(struct replica_set **self);
unsigned replica_set_poll(struct replica_set *self);

/* A group that ends at last_index (0: empty) as recovered; all of it is committed (one replica). `group_ud` goes to apply. */
struct replica *replica_open(struct replica_set *set, uint64_t group, uint64_t term,
                             uint64_t last_index, void *group_ud);
/* Nothing may be in flight for it (replica_in_flight() == 0), unless the journal is poisoned or the process ends: the set is then never
 * polled again. Allowed inside apply for the group that is applied. Accepts NULL. */
void replica_close(struct replica **self);

/* Propose an entry; it will be applied later, or never if the process ends first. 0 and its index, or as journal_append: ERR_AGAIN,
 * ERR_TOO_LARGE, ERR_STORAGE_FULL, ERR_POISONED (nothing proposed). The journal is submitted by the owner at the end of the turn. */
int replica_propose(struct replica *self, uint8_t kind, uint64_t base, uint32_t count,
                    uint64_t ts_us, const struct slice *payload, uint64_t *ret_index);

uint64_t replica_term(const struct replica *self);
uint64_t replica_last_index(const struct replica *self); /* proposed */
/* committed; inside apply: of the entry being applied */
uint64_t replica_commit_index(const struct replica *self);
uint64_t replica_in_flight(const struct replica *self); /* entries proposed, not yet applied */

#endif
