/* raft_journal_group: one group's log, hard state and base as a storage (common/raft/storage.h): each write becomes frames of the shared journal. Owns the group. It must never tell
 * the core more than recovery could vouch for. */
#include "common/run/raft_journal_private.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"

struct raft_journal_group *raft_journal_group_make(struct raft_journal *self, uint64_t group)
{
    struct raft_journal_group *known = hash64_get(self->groups, group);
    if (known == NULL) {
        known = MEM_NEW(struct raft_journal_group);
        known->storage.ops = &raft_journal_ops;
        known->set = self;
        known->group = group;
        known->life = ++self->lives;
        (void) hash64_put(self->groups, group, known);
    }
    return known;
}

void raft_journal_group_clear(struct raft_journal_group *self)
{
    raft_trail_release(&self->storage.trail);
    buf_release(&self->incoming);
}

/* --- the seam --- */

static void journal_boot(struct raft_storage *storage, raft_index applied,
                         struct raft_boot *ret_boot)
{
    const struct raft_journal_group *self = group_of(storage);
    const struct raft_trail *trail = &storage->trail;
    memset(ret_boot, 0, sizeof(*ret_boot));
    ret_boot->term = self->hard.term;
    ret_boot->vote = self->hard.vote;
    ret_boot->suspect_last = self->frames_lost ? UINT64_MAX : self->hard.suspect_last;
    ret_boot->compacted = trail->base;
    ret_boot->compacted_term = trail->base_term;
    ret_boot->last = self->hole != 0 ? self->last_seen : trail->last;
    ret_boot->suspect_from = self->hole;
    ret_boot->applied = applied > trail->base ? applied : trail->base;
    if (ret_boot->applied > trail->last) {
        ret_boot->applied = trail->last;
    }
    ret_boot->commit = self->hard.commit < trail->last ? self->hard.commit : trail->last;
}

static int write_hard(struct raft_journal_group *self, const struct raft_write *write,
                      uint64_t wseq)
{
    bool was_suspect = self->hard.suspect_last != 0 || self->frames_lost;
    bool repaired = was_suspect && write->suspect_last == 0;
    self->frames_lost = self->frames_lost && !repaired;
    self->hard.term = write->term;
    self->hard.vote = write->vote;
    self->hard.commit = write->commit;
    self->hard.suspect_last = write->suspect_last;
    return raft_journal_emit_hard(self, repaired, wseq);
}

/* Entries were cut, some of them counted. */
static void recount(struct raft_journal_group *self, raft_index from)
{
    const struct raft_trail *trail = &self->storage.trail;
    self->kept_bytes = 0;
    self->evict_next = self->evict_next < from ? self->evict_next : from;
    for (raft_index i = trail->base + 1; i <= trail->last; i++) {
        const struct raft_trail_entry *entry = raft_trail_at(trail, i);
        self->kept_bytes += !entry->absent && entry->place != 0 ? entry->bytes : 0;
    }
}

static int journal_write(struct raft_storage *storage, const struct raft_write *write)
{
    struct raft_journal_group *self = group_of(storage);
    int error = self->failed != 0 ? self->failed : self->set->failed;
    uint32_t left = write->flags; /* the last frame carries wseq */
    if (error == 0 && (left & RAFT_WRITE_HARD) != 0) {
        left &= ~(uint32_t) RAFT_WRITE_HARD;
        error = write_hard(self, write, left == 0 ? write->wseq : 0);
    }
    if (error == 0 && (left & RAFT_WRITE_SNAPSHOT) != 0) {
        left &= ~(uint32_t) RAFT_WRITE_SNAPSHOT;
        error = raft_journal_snapshot_store(self);
        if (error == 0) {
            error = raft_journal_emit_base(self, KIND_INSTALL, left == 0 ? write->wseq : 0);
        }
    }
    if (error == 0 && (left & RAFT_WRITE_TRUNCATE) != 0) {
        struct journal_entry entry = {.type = JOURNAL_TRUNCATE,
                                      .group = self->group,
                                      .term = write->term,
                                      .index = write->truncate_from};
        left &= ~(uint32_t) RAFT_WRITE_TRUNCATE;
        error = raft_journal_emit(self, &entry, left == 0 ? write->wseq : 0);
        self->hole = 0;
        recount(self, write->truncate_from);
    }
    for (raft_index i = write->first;
         error == 0 && (left & RAFT_WRITE_APPEND) != 0 && i <= write->last; i++) {
        error = raft_journal_emit_entry(self, i, i == write->last ? write->wseq : 0);
    }
    self->failed = self->failed == 0 ? error : self->failed;
    return error;
}

static int journal_durable(struct raft_storage *storage, uint64_t *ret_wseq)
{
    const struct raft_journal_group *self = group_of(storage);
    int error = self->failed != 0 ? self->failed : self->set->failed;
    if (error == 0) {
        *ret_wseq = self->durable;
    }
    return error;
}

static int on_read(void *ud, const struct journal_entry *entry, uint64_t position,
                   uint32_t frame_bytes)
{
    (void) position;
    (void) frame_bytes;
    *(struct slice *) ud = slice_ref(&entry->payload);
    return 1;
}

static int journal_read_entry(struct raft_storage *storage, raft_index index,
                              struct slice *ret_payload)
{
    const struct raft_journal_group *self = group_of(storage);
    const struct raft_trail_entry *own = raft_trail_at(&storage->trail, index);
    if (own == NULL) {
        return ERR_NOT_FOUND;
    }
    if (!own->absent) {
        *ret_payload = slice_ref(&own->payload);
        return 0;
    }
    uint64_t at = 0;
    struct slice payload = {0};
    int error = journal_read(self->set->journal, self->group, own->place, own->place_bytes, on_read,
                             &payload, &at);
    if (error != 0) {
        return error == ERR_NOT_FOUND || error == ERR_OUT_OF_RANGE ? ERR_CORRUPT : error;
    }
    *ret_payload = payload;
    return 0;
}

static int journal_compact(struct raft_storage *storage, raft_index index)
{
    struct raft_journal_group *self = group_of(storage);
    const struct raft_trail *trail = &storage->trail;
    for (raft_index i = trail->base + 1; i <= index && i <= trail->last; i++) {
        const struct raft_trail_entry *entry = raft_trail_at(trail, i);
        if (!entry->absent && entry->place != 0) {
            self->kept_bytes -= entry->bytes;
        }
    }
    raft_trail_compact(&storage->trail, index);
    return raft_journal_emit_base(self, KIND_BASE, 0);
}

const struct raft_storage_ops raft_journal_ops = {
    journal_boot,
    journal_write,
    journal_durable,
    journal_read_entry,
    raft_journal_snapshot_save,
    raft_journal_snapshot_read,
    raft_journal_snapshot_put,
    raft_journal_snapshot_install,
    journal_compact,
};
