/* memory: two logs and a queue of writes between them. Owns all of it. It must never let the log that stands for the disk see what was not written. */
#include "common/raft/memory.h"

#include <string.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

struct pending_entry {
    struct raft_trail_entry entry;
    struct raft_members *members; /* owned; NULL: no configuration */
};

struct pending {
    struct pending *next;
    struct raft_write write;
    struct raft_trail_config base; /* of a received snapshot */
    struct raft_snapshot snapshot;
    struct slice snapshot_state;
    size_t count;
    struct pending_entry entries[];
};

struct image { /* what the disk has */
    struct raft_trail trail;
    raft_term term;
    struct raft_id vote;
    raft_index commit;
    raft_index suspect_last;
};

struct raft_memory {
    struct raft_storage storage; /* first */
    struct image disk;
    struct pending *head;
    struct pending **tail;
    uint64_t durable;
    struct buf incoming;
    raft_index damaged_from;
    bool hold;
    bool failing;
    bool failed;
    unsigned fail_after;
};

static struct raft_memory *of(struct raft_storage *storage)
{
    return (struct raft_memory *) (void *) storage;
}

static void pending_free(struct pending *pending)
{
    for (size_t i = 0; i < pending->count; i++) {
        slice_release(&pending->entries[i].entry.payload);
        mem_free(pending->entries[i].members);
    }
    slice_release(&pending->snapshot_state);
    mem_free(pending);
}

static void put(struct raft_trail *trail, raft_index index, const struct raft_trail_entry *from,
                const struct raft_members *members)
{
    struct raft_entry entry = {from->term, from->bytes, from->type, members};
    int error = raft_trail_put(trail, index, &entry, &from->payload);
    INVARIANT(error == 0); /* sizes of our own */
}

/* One write reaches the disk. */
static void apply(struct raft_memory *self, const struct pending *pending)
{
    const struct raft_write *write = &pending->write;
    struct image *disk = &self->disk;
    if ((write->flags & RAFT_WRITE_HARD) != 0) {
        disk->term = write->term;
        disk->vote = write->vote;
        disk->suspect_last = write->suspect_last;
        disk->commit = write->commit;
    }
    if ((write->flags & RAFT_WRITE_SNAPSHOT) != 0) {
        raft_trail_reset(&disk->trail, write->snapshot_index, write->snapshot_term,
                         &pending->base.members, pending->base.index);
        disk->trail.snapshot = pending->snapshot;
        slice_release(&disk->trail.snapshot_state);
        disk->trail.snapshot_state = slice_ref(&pending->snapshot_state);
    }
    if ((write->flags & RAFT_WRITE_TRUNCATE) != 0 && write->truncate_from > disk->trail.base) {
        raft_trail_cut(&disk->trail, write->truncate_from);
    }
    for (size_t i = 0; i < pending->count; i++) {
        put(&disk->trail, write->first + i, &pending->entries[i].entry,
            pending->entries[i].members);
    }
    self->durable = write->wseq;
}

unsigned raft_memory_sync(struct raft_memory *self, unsigned count)
{
    unsigned done = 0;
    for (; done < count && self->head != NULL && !self->failed; done++) {
        struct pending *pending = self->head;
        if (self->failing && self->fail_after-- == 0) {
            self->failed = true;
            break;
        }
        self->head = pending->next;
        self->tail = self->head == NULL ? &self->head : self->tail;
        apply(self, pending);
        pending_free(pending);
    }
    return done;
}

/* --- the seam --- */

static void memory_boot(struct raft_storage *storage, raft_index applied,
                        struct raft_boot *ret_boot)
{
    const struct raft_memory *self = of(storage);
    const struct raft_trail *trail = &storage->trail;
    memset(ret_boot, 0, sizeof(*ret_boot));
    ret_boot->term = self->disk.term;
    ret_boot->vote = self->disk.vote;
    ret_boot->commit = self->disk.commit;
    ret_boot->suspect_last = self->disk.suspect_last;
    ret_boot->compacted = trail->base;
    ret_boot->compacted_term = trail->base_term;
    ret_boot->last = trail->last;
    ret_boot->applied = applied > trail->base ? applied : trail->base;
    ret_boot->applied = ret_boot->applied < trail->last ? ret_boot->applied : trail->last;
    if (self->damaged_from > trail->base && self->damaged_from <= trail->last) {
        ret_boot->suspect_from = self->damaged_from;
    }
}

static int memory_write(struct raft_storage *storage, const struct raft_write *write)
{
    struct raft_memory *self = of(storage);
    size_t count =
        (write->flags & RAFT_WRITE_APPEND) != 0 ? (size_t) (write->last - write->first + 1) : 0;
    struct pending *pending = mem_new(sizeof(*pending) + count * sizeof(pending->entries[0]));
    pending->write = *write;
    pending->count = count;
    for (size_t i = 0; i < count; i++) {
        const struct raft_trail_entry *entry = raft_trail_at(&storage->trail, write->first + i);
        struct raft_entry known = raft_trail_entry(&storage->trail, write->first + i);
        pending->entries[i].entry = *entry;
        pending->entries[i].entry.payload = slice_ref(&entry->payload);
        if (known.members != NULL) {
            pending->entries[i].members = mem_copy(known.members, sizeof(*known.members));
        }
    }
    if ((write->flags & RAFT_WRITE_SNAPSHOT) != 0) {
        pending->base.index = raft_trail_reads.members_at(&storage->trail, write->snapshot_index,
                                                          &pending->base.members);
        pending->snapshot = storage->trail.snapshot;
        pending->snapshot_state = slice_ref(&storage->trail.snapshot_state);
    }
    *self->tail = pending;
    self->tail = &pending->next;
    return 0;
}

static int memory_durable(struct raft_storage *storage, uint64_t *ret_wseq)
{
    struct raft_memory *self = of(storage);
    if (!self->hold) {
        (void) raft_memory_sync(self, UINT32_MAX);
    }
    if (self->failed) {
        return ERR_IO;
    }
    *ret_wseq = self->durable;
    return 0;
}

static int memory_read(struct raft_storage *storage, raft_index index, struct slice *ret_payload)
{
    const struct raft_memory *self = of(storage);
    const struct raft_trail_entry *entry = raft_trail_at(&storage->trail, index);
    if (entry == NULL) {
        return ERR_NOT_FOUND;
    }
    if (self->damaged_from != 0 && index >= self->damaged_from) {
        return ERR_CORRUPT;
    }
    *ret_payload = slice_ref(&entry->payload);
    return 0;
}

static int memory_snapshot_save(struct raft_storage *storage, raft_index index,
                                const struct slice *state)
{
    struct raft_trail *trail = &storage->trail;
    struct raft_snapshot snapshot = {index, raft_trail_reads.term_at(trail, index),
                                     state->bytes.size};
    struct raft_trail *both[] = {trail, &of(storage)->disk.trail};
    for (unsigned i = 0; i < 2; i++) {
        slice_release(&both[i]->snapshot_state);
        both[i]->snapshot_state = slice_ref(state);
        both[i]->snapshot = snapshot;
    }
    return 0;
}

static int memory_snapshot_read(struct raft_storage *storage, struct slice *ret_state)
{
    if (storage->trail.snapshot.index == 0) {
        return ERR_NOT_FOUND;
    }
    *ret_state = slice_ref(&storage->trail.snapshot_state);
    return 0;
}

static int memory_snapshot_put(struct raft_storage *storage, const struct raft_message *message,
                               struct span bytes)
{
    struct raft_memory *self = of(storage);
    if (message->offset == 0) {
        buf_reset(&self->incoming);
    }
    if (message->offset != self->incoming.size || bytes.size != message->bytes) {
        return ERR_USAGE;
    }
    if (bytes.size != 0 && buf_try_reserve(&self->incoming, bytes.size) == NULL) {
        return ERR_NO_MEMORY;
    }
    buf_append(&self->incoming, bytes);
    return 0;
}

static int memory_snapshot_install(struct raft_storage *storage, const struct raft_message *message)
{
    struct raft_memory *self = of(storage);
    struct payload *payload = payload_copy(buf_span(&self->incoming));
    if (payload == NULL) {
        return ERR_NO_MEMORY;
    }
    struct raft_trail *trail = &storage->trail;
    raft_trail_reset(trail, message->index, message->index_term, message->members, message->index);
    trail->snapshot =
        (struct raft_snapshot){message->index, message->index_term, self->incoming.size};
    slice_release(&trail->snapshot_state);
    trail->snapshot_state = (struct slice){payload, payload_span(payload)};
    buf_release(&self->incoming);
    self->damaged_from = 0;
    return 0;
}

static int memory_compact(struct raft_storage *storage, raft_index index)
{
    struct raft_memory *self = of(storage);
    raft_trail_compact(&storage->trail, index);
    if (index <= self->disk.trail.last) {
        raft_trail_compact(&self->disk.trail, index);
    }
    return 0;
}

static const struct raft_storage_ops memory_ops = {
    memory_boot,          memory_write,         memory_durable,      memory_read,
    memory_snapshot_save, memory_snapshot_read, memory_snapshot_put, memory_snapshot_install,
    memory_compact,
};

/* --- making, and what tests do to it --- */

struct raft_memory *raft_memory_new(void)
{
    struct raft_memory *self = MEM_NEW(struct raft_memory);
    self->storage.ops = &memory_ops;
    self->tail = &self->head;
    return self;
}

static void drop_pending(struct raft_memory *self)
{
    while (self->head != NULL) {
        struct pending *pending = self->head;
        self->head = pending->next;
        pending_free(pending);
    }
    self->tail = &self->head;
}

void raft_memory_destroy(struct raft_memory **self)
{
    if (*self == NULL) {
        return;
    }
    drop_pending(*self);
    raft_trail_release(&(*self)->storage.trail);
    raft_trail_release(&(*self)->disk.trail);
    buf_release(&(*self)->incoming);
    MEM_FREE(*self);
}

struct raft_storage *raft_memory_storage(struct raft_memory *self)
{
    return &self->storage;
}

void raft_memory_hold(struct raft_memory *self, bool hold)
{
    self->hold = hold;
}

void raft_memory_fail(struct raft_memory *self, unsigned writes)
{
    self->failing = true;
    self->fail_after = writes;
}

void raft_memory_crash(struct raft_memory *self)
{
    drop_pending(self);
    struct raft_trail *memory = &self->storage.trail;
    const struct raft_trail *disk = &self->disk.trail;
    raft_trail_release(memory);
    struct raft_members members;
    raft_index at = raft_trail_reads.members_at(&self->disk.trail, disk->base, &members);
    raft_trail_reset(memory, disk->base, disk->base_term, &members, at);
    for (raft_index i = disk->base + 1; i <= disk->last; i++) {
        put(memory, i, raft_trail_at(disk, i), raft_trail_entry(disk, i).members);
    }
    memory->snapshot = disk->snapshot;
    memory->snapshot_state = slice_ref(&disk->snapshot_state);
    buf_release(&self->incoming);
    self->durable = 0; /* a new process counts from there */
    self->failing = self->failed = false;
    self->damaged_from = 0;
}

void raft_memory_damage(struct raft_memory *self, raft_index from)
{
    self->damaged_from = from;
}
