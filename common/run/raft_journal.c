/* raft_journal: groups over one journal: opening, closing, turns, and giving back files. Owns the groups and the journal. It must never let go of a journal file that a group
 * needs. */
#include "common/run/raft_journal_private.h"

#include <string.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

enum {
    TAIL_BYTES_MAX = 1 << 20,
    SNAPSHOT_BYTES_MAX = 256 << 20,
};

/* --- opening --- */

int raft_journal_open(const struct raft_journal_options *options,
                      struct journal_recovery *ret_recovery, struct raft_journal **ret_journal)
{
    struct raft_journal *self = MEM_NEW(struct raft_journal);
    self->groups = hash64_new();
    self->waiting_tail = &self->waiting;
    self->ops = options->journal.ops;
    self->tail_bytes_max =
        options->tail_bytes_max != 0 ? options->tail_bytes_max : (uint64_t) TAIL_BYTES_MAX;
    self->snapshot_bytes_max = options->snapshot_bytes_max != 0 ? options->snapshot_bytes_max
                                                                : (uint64_t) SNAPSHOT_BYTES_MAX;
    int error = fs_make_dirs(options->snapshot_dir);
    self->snapshot_fd = error == 0 ? fs_open_dir(options->snapshot_dir) : error;
    error = self->snapshot_fd < 0 ? self->snapshot_fd : 0;
    if (error == 0) {
        error = raft_journal_recover(self, &options->journal, ret_recovery);
    }
    if (error != 0) {
        raft_journal_close(&self);
        return error;
    }
    raft_journal_snapshots_sweep(self, 0);
    *ret_journal = self;
    return 0;
}

void raft_journal_close(struct raft_journal **self)
{
    if (*self == NULL) {
        return;
    }
    journal_close(&(*self)->journal);
    size_t cursor = 0;
    struct raft_journal_group *group;
    while ((group = hash64_next((*self)->groups, &cursor)) != NULL) {
        raft_journal_group_clear(group);
        mem_free(group);
    }
    raft_journal_flight_clear(*self);
    hash64_destroy(&(*self)->groups);
    if ((*self)->snapshot_fd >= 0) {
        (void) close((*self)->snapshot_fd); /* only a directory */
    }
    MEM_FREE(*self);
}

uint64_t raft_journal_next_group(const struct raft_journal *self, size_t *cursor)
{
    const struct raft_journal_group *group = hash64_next(self->groups, cursor);
    return group != NULL ? group->group : 0;
}

int raft_journal_open_group(struct raft_journal *self, uint64_t group, bool is_new, void *ud,
                            struct raft_storage **ret_storage)
{
    struct raft_journal_group *known = hash64_get(self->groups, group);
    if (known != NULL && known->is_open) {
        return ERR_ALREADY;
    }
    bool is_lost =
        known != NULL ? known->vote_lost || known->base_lost : self->has_unknown_damage && !is_new;
    if (is_lost) {
        return ERR_CORRUPT;
    }
    known = raft_journal_group_make(self, group);
    if (known->storage.trail.snapshot.index != 0 &&
        known->storage.trail.snapshot_state.owner == NULL) {
        int error = raft_journal_snapshot_load(known, &known->storage.trail.snapshot_state);
        if (error != 0) {
            return error;
        }
    }
    known->is_open = true;
    known->ud = ud;
    known->generation = ++self->generation;
    known->durable = 0;
    known->has_news = false;
    *ret_storage = &known->storage;
    return 0;
}

void raft_journal_close_group(struct raft_journal *self, uint64_t group)
{
    struct raft_journal_group *known = hash64_get(self->groups, group);
    INVARIANT(known != NULL && known->is_open);
    known->is_open = false;
    known->ud = NULL;
}

int raft_journal_drop(struct raft_journal *self, uint64_t group)
{
    struct raft_journal_group *known = raft_journal_group_make(self, group);
    INVARIANT(!known->is_open);
    struct journal_entry entry = {.type = JOURNAL_HARD_STATE, .kind = KIND_DROP, .group = group};
    uint8_t version = FORMAT_VERSION;
    int error = raft_journal_emit_bytes(known, &entry, &version, sizeof(version), 0);
    if (error == 0) {
        for (struct raft_journal_group **at = &self->news; *at != NULL; at = &(*at)->news_next) {
            if (*at == known) {
                *at = known->news_next;
                break;
            }
        }
        (void) hash64_remove(self->groups, group);
        raft_journal_group_clear(known);
        mem_free(known);
        raft_journal_snapshots_sweep(self, group);
    }
    return error;
}

/* --- turns --- */

void raft_journal_submit(struct raft_journal *self)
{
    journal_submit(self->journal);
}

int raft_journal_fd(const struct raft_journal *self)
{
    return journal_fd(self->journal);
}
bool raft_journal_is_busy(const struct raft_journal *self)
{
    return self->waiting != NULL;
}

bool raft_journal_is_full(const struct raft_journal *self)
{
    return journal_is_full(self->journal);
}

struct journal *raft_journal_journal(struct raft_journal *self)
{
    return self->journal;
}

/* --- letting go of journal files --- */

static uint64_t lowest(uint64_t a, uint64_t b)
{
    return b != 0 && b < a ? b : a;
}

void raft_journal_tidy(struct raft_journal *self)
{
    uint64_t newest = journal_durable_upto(self->journal) >> 32 << 32;
    uint64_t needed = newest;
    size_t cursor = 0;
    struct raft_journal_group *group;
    while (self->failed == 0 && (group = hash64_next(self->groups, &cursor)) != NULL) {
        if (group->hole != 0 || group->vote_lost || group->base_lost || group->frames_lost) {
            return; /* nothing goes until this is repaired or dropped */
        }
        const struct raft_trail *trail = &group->storage.trail;
        const struct raft_trail_entry *first = raft_trail_at(trail, trail->base + 1);
        needed = lowest(needed, group->hard_place);
        needed = lowest(needed, group->base_place);
        needed = lowest(needed, first != NULL ? first->place : 0);
        if (group->hard_place != 0 && group->hard_place < newest) {
            self->failed = raft_journal_emit_hard(group, false, 0);
        }
        if (self->failed == 0 && group->base_place != 0 && group->base_place < newest) {
            self->failed = raft_journal_emit_base(group, KIND_BASE, 0);
        }
    }
    if (self->failed == 0) {
        journal_release_before(self->journal, needed);
    }
}
