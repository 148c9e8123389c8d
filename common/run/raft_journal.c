/* raft_journal: groups over one journal. Owns the groups, the order of their frames until they are durable, and their snapshot files. It must never say that a write is durable
 * before all its frames are, nor let go of a journal file that a group needs. */
#include "common/run/raft_journal_private.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

enum {
    TAIL_BYTES_MAX = 1 << 20,
    SNAPSHOT_BYTES_MAX = 256 << 20,
    SNAPSHOT_HEAD_BYTES = 40,
    FLIGHT_MIN = 64,
    SNAPSHOT_NAME_BYTES = 80,
};

/* --- groups --- */

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

/* --- frames on their way --- */

static void flight_push(struct raft_journal *self, const struct flight *flight)
{
    if (self->flight_count == self->flight_capacity) {
        size_t capacity = self->flight_capacity == 0 ? FLIGHT_MIN : 2 * self->flight_capacity;
        struct flight *ring = mem_new_array(capacity, sizeof(*ring));
        for (size_t i = 0; i < self->flight_count; i++) {
            ring[i] = self->flight[(self->flight_first + i) % self->flight_capacity];
        }
        mem_free(self->flight);
        self->flight = ring;
        self->flight_capacity = capacity;
        self->flight_first = 0;
    }
    self->flight[(self->flight_first + self->flight_count) % self->flight_capacity] = *flight;
    self->flight_count++;
}

static int frame_append(struct raft_journal *self, const struct journal_entry *entry,
                        struct flight *flight)
{
    int error = journal_append(self->journal, entry, &flight->journal_wseq);
    if (error == 0) {
        flight_push(self, flight);
    }
    return error;
}

static bool may_wait(int error)
{
    return error == ERR_AGAIN || error == ERR_STORAGE_FULL;
}

/* In order, whatever the journal says: what it does not take now it takes later. */
static int frame_emit(struct raft_journal_group *group, const struct journal_entry *entry,
                      uint64_t wseq)
{
    struct raft_journal *self = group->set;
    struct flight flight = {
        .group = group->group,
        .wseq = wseq,
        .index = entry->index,
        .term = entry->term,
        .generation = group->generation,
        .life = group->life,
        .type = (uint8_t) entry->type,
        .kind = entry->kind,
    };
    int error = self->waiting == NULL ? frame_append(self, entry, &flight) : ERR_AGAIN;
    if (!may_wait(error)) {
        return error;
    }
    struct waiting *waiting = MEM_NEW(struct waiting);
    waiting->entry = *entry;
    waiting->entry.payload = slice_ref(&entry->payload);
    waiting->flight = flight;
    *self->waiting_tail = waiting;
    self->waiting_tail = &waiting->next;
    return 0;
}

static void waiting_pop(struct raft_journal *self)
{
    struct waiting *waiting = self->waiting;
    self->waiting = waiting->next;
    self->waiting_tail = self->waiting == NULL ? &self->waiting : self->waiting_tail;
    slice_release(&waiting->entry.payload);
    mem_free(waiting);
}

static void waiting_flush(struct raft_journal *self)
{
    while (self->waiting != NULL && self->failed == 0) {
        int error = frame_append(self, &self->waiting->entry, &self->waiting->flight);
        if (may_wait(error)) {
            return;
        }
        self->failed = error;
        waiting_pop(self);
    }
}

static int frame_emit_bytes(struct raft_journal_group *group, struct journal_entry *entry,
                            const uint8_t *bytes, size_t size, uint64_t wseq)
{
    struct payload *payload = payload_copy(span_make(bytes, size));
    if (payload == NULL) {
        return ERR_NO_MEMORY;
    }
    entry->payload = (struct slice){payload, payload_span(payload)};
    int error = frame_emit(group, entry, wseq);
    slice_release(&entry->payload);
    return error;
}

static int emit_hard(struct raft_journal_group *group, bool repaired, uint64_t wseq)
{
    const struct group_hard *hard = &group->hard;
    uint8_t bytes[HARD_BYTES] = {FORMAT_VERSION, repaired ? HARD_REPAIRED : 0};
    struct journal_entry entry = {
        .type = JOURNAL_HARD_STATE, .kind = KIND_HARD, .group = group->group, .term = hard->term};
    bytes_put_u32(bytes + 4, hard->vote.node);
    bytes_put_u32(bytes + 8, hard->vote.incarnation);
    bytes_put_u64(bytes + 12, hard->commit);
    bytes_put_u64(bytes + 20, hard->suspect_last);
    return frame_emit_bytes(group, &entry, bytes, sizeof(bytes), wseq);
}

static int emit_base(struct raft_journal_group *group, uint8_t kind, uint64_t wseq)
{
    const struct raft_trail *trail = &group->storage.trail;
    uint8_t bytes[BASE_BYTES + RAFT_MEMBERS_BYTES_MAX] = {FORMAT_VERSION};
    struct journal_entry entry = {
        .type = JOURNAL_HARD_STATE, .kind = kind, .group = group->group, .term = group->hard.term};
    struct raft_members members;
    raft_index at = raft_trail_reads.members_at(&group->storage.trail, trail->base, &members);
    bytes_put_u64(bytes + 4, trail->base);
    bytes_put_u64(bytes + 12, trail->base_term);
    bytes_put_u64(bytes + 20, at);
    bytes_put_u64(bytes + 28, trail->snapshot.index);
    bytes_put_u64(bytes + 36, trail->snapshot.term);
    bytes_put_u64(bytes + 44, trail->snapshot.bytes);
    size_t size =
        BASE_BYTES + (members.count != 0 ? raft_members_encode(&members, bytes + BASE_BYTES) : 0);
    return frame_emit_bytes(group, &entry, bytes, size, wseq);
}

static int emit_entry(struct raft_journal_group *group, raft_index index, uint64_t wseq)
{
    const struct raft_trail_entry *own = raft_trail_at(&group->storage.trail, index);
    struct journal_entry entry = {.type = JOURNAL_ENTRY,
                                  .kind = own->type,
                                  .group = group->group,
                                  .term = own->term,
                                  .index = index};
    if (own->type == RAFT_ENTRY_CONFIG) {
        uint8_t bytes[RAFT_MEMBERS_BYTES_MAX];
        struct raft_entry known = raft_trail_entry(&group->storage.trail, index);
        return frame_emit_bytes(group, &entry, bytes, raft_members_encode(known.members, bytes),
                                wseq);
    }
    entry.payload = own->payload; /* borrowed */
    return frame_emit(group, &entry, wseq);
}

/* --- snapshot files --- */

void raft_journal_snapshot_name(uint64_t group, const struct raft_snapshot *snapshot, char *name,
                                size_t size)
{
    (void) snprintf(name, size, "%016" PRIx64 "-%016" PRIx64 "-%" PRIx64 ".snapshot", group,
                    snapshot->index, snapshot->term);
}

static void snapshot_head(uint64_t group, const struct raft_snapshot *snapshot, struct span state,
                          uint8_t head[SNAPSHOT_HEAD_BYTES])
{
    static const uint8_t magic[4] = {'R', 'G', 'S', 'N'};
    memcpy(head, magic, sizeof(magic));
    bytes_put_u64(head + 4, group);
    bytes_put_u64(head + 12, snapshot->index);
    bytes_put_u64(head + 20, snapshot->term);
    bytes_put_u64(head + 28, snapshot->bytes);
    bytes_put_u32(head + 36, crc32c_extend(crc32c_extend(0, span_make(head, 36)), state));
}

static int snapshot_store(struct raft_journal_group *group)
{
    const struct raft_trail *trail = &group->storage.trail;
    if (trail->snapshot.bytes == 0) {
        return 0;
    }
    char name[SNAPSHOT_NAME_BYTES];
    struct buf bytes = {0};
    struct span state = trail->snapshot_state.bytes;
    uint8_t *at = buf_try_reserve(&bytes, SNAPSHOT_HEAD_BYTES + state.size);
    if (at == NULL) {
        return ERR_NO_MEMORY;
    }
    snapshot_head(group->group, &trail->snapshot, state, at);
    memcpy(at + SNAPSHOT_HEAD_BYTES, state.data, state.size);
    buf_advance(&bytes, SNAPSHOT_HEAD_BYTES + state.size);
    raft_journal_snapshot_name(group->group, &trail->snapshot, name, sizeof(name));
    int error = fs_write_file(group->set->ops, group->set->snapshot_fd, name, buf_span(&bytes));
    buf_release(&bytes);
    return error;
}

/* The base that names the newest snapshot is durable: the one before may go. */
static void snapshot_drop_old(struct raft_journal_group *group)
{
    const struct raft_snapshot *now = &group->storage.trail.snapshot;
    struct raft_snapshot old = group->old_snapshot;
    if (old.bytes != 0 && (old.index != now->index || old.term != now->term)) {
        char name[SNAPSHOT_NAME_BYTES];
        raft_journal_snapshot_name(group->group, &old, name, sizeof(name));
        (void) fs_unlink(group->set->ops, group->set->snapshot_fd, name);
    }
    memset(&group->old_snapshot, 0, sizeof(group->old_snapshot));
}

int raft_journal_snapshot_load(const struct raft_journal_group *self, struct slice *ret_state)
{
    const struct raft_snapshot *snapshot = &self->storage.trail.snapshot;
    char name[SNAPSHOT_NAME_BYTES];
    uint8_t head[SNAPSHOT_HEAD_BYTES];
    struct buf bytes = {0};
    if (snapshot->bytes == 0) {
        *ret_state = (struct slice){0};
        return 0;
    }
    raft_journal_snapshot_name(self->group, snapshot, name, sizeof(name));
    int error = fs_read_file(self->set->snapshot_fd, name,
                             (size_t) self->set->snapshot_bytes_max + SNAPSHOT_HEAD_BYTES, &bytes);
    if (error == 0 && bytes.size != SNAPSHOT_HEAD_BYTES + snapshot->bytes) {
        error = ERR_CORRUPT;
    }
    if (error == 0) {
        struct span state =
            span_make(bytes.data + SNAPSHOT_HEAD_BYTES, bytes.size - SNAPSHOT_HEAD_BYTES);
        snapshot_head(self->group, snapshot, state, head);
        struct payload *payload = payload_copy(state);
        if (memcmp(head, bytes.data, sizeof(head)) != 0 || payload == NULL) {
            error = payload == NULL ? ERR_NO_MEMORY : ERR_CORRUPT;
            payload_unref(&payload);
        } else {
            *ret_state = (struct slice){payload, payload_span(payload)};
        }
    }
    buf_release(&bytes);
    return error == ERR_NOT_FOUND || error == ERR_TOO_LARGE ? ERR_CORRUPT : error;
}

/* Files of this group (0: of any) that no base names: what an interrupted removal left. */
static void snapshots_sweep(struct raft_journal *self, uint64_t only)
{
    int fd = dup(self->snapshot_fd);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    if (list == NULL) {
        return; /* they stay; the next start tries again */
    }
    rewinddir(list);
    for (struct dirent *item = readdir(list); item != NULL; item = readdir(list)) {
        char name[SNAPSHOT_NAME_BYTES] = "";
        char *end = NULL;
        uint64_t group = strtoull(item->d_name, &end, 16);
        if (end != item->d_name + 16 || (only != 0 && group != only)) {
            continue;
        }
        const struct raft_journal_group *known = hash64_get(self->groups, group);
        if (known != NULL) {
            raft_journal_snapshot_name(group, &known->storage.trail.snapshot, name, sizeof(name));
        }
        if (strcmp(name, item->d_name) != 0) {
            (void) fs_unlink(self->ops, self->snapshot_fd, item->d_name);
        }
    }
    (void) closedir(list);
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
    return emit_hard(self, repaired, wseq);
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
        error = snapshot_store(self);
        if (error == 0) {
            error = emit_base(self, KIND_INSTALL, left == 0 ? write->wseq : 0);
        }
    }
    if (error == 0 && (left & RAFT_WRITE_TRUNCATE) != 0) {
        struct journal_entry entry = {.type = JOURNAL_TRUNCATE,
                                      .group = self->group,
                                      .term = write->term,
                                      .index = write->truncate_from};
        left &= ~(uint32_t) RAFT_WRITE_TRUNCATE;
        error = frame_emit(self, &entry, left == 0 ? write->wseq : 0);
        self->hole = 0;
        recount(self, write->truncate_from);
    }
    for (raft_index i = write->first;
         error == 0 && (left & RAFT_WRITE_APPEND) != 0 && i <= write->last; i++) {
        error = emit_entry(self, i, i == write->last ? write->wseq : 0);
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

static int journal_snapshot_save(struct raft_storage *storage, raft_index index,
                                 const struct slice *state)
{
    struct raft_journal_group *self = group_of(storage);
    struct raft_trail *trail = &storage->trail;
    if (state->bytes.size > self->set->snapshot_bytes_max) {
        return ERR_TOO_LARGE;
    }
    struct raft_snapshot before = trail->snapshot;
    struct slice state_before = trail->snapshot_state;
    trail->snapshot =
        (struct raft_snapshot){index, raft_trail_reads.term_at(trail, index), state->bytes.size};
    trail->snapshot_state = slice_ref(state);
    int error = snapshot_store(self);
    if (error == 0) {
        error = emit_base(self, KIND_BASE, 0);
    }
    if (error == 0) {
        self->old_snapshot = before;
    }
    if (error != 0) {
        slice_release(&trail->snapshot_state);
        trail->snapshot = before;
        trail->snapshot_state = state_before;
        return error;
    }
    slice_release(&state_before);
    return 0;
}

static int journal_snapshot_read(struct raft_storage *storage, struct slice *ret_state)
{
    if (storage->trail.snapshot.index == 0) {
        return ERR_NOT_FOUND;
    }
    *ret_state = slice_ref(&storage->trail.snapshot_state);
    return 0;
}

static int journal_snapshot_put(struct raft_storage *storage, const struct raft_message *message,
                                struct span bytes)
{
    struct raft_journal_group *self = group_of(storage);
    if (message->offset == 0) {
        buf_reset(&self->incoming);
    }
    if (message->offset != self->incoming.size || bytes.size != message->bytes) {
        return ERR_USAGE;
    }
    if (bytes.size > self->set->snapshot_bytes_max - self->incoming.size) {
        return ERR_TOO_LARGE;
    }
    if (bytes.size != 0 && buf_try_reserve(&self->incoming, bytes.size) == NULL) {
        return ERR_NO_MEMORY;
    }
    buf_append(&self->incoming, bytes);
    return 0;
}

static int journal_snapshot_install(struct raft_storage *storage,
                                    const struct raft_message *message)
{
    struct raft_journal_group *self = group_of(storage);
    struct payload *payload = payload_copy(buf_span(&self->incoming));
    if (payload == NULL) {
        return ERR_NO_MEMORY;
    }
    struct raft_trail *trail = &storage->trail;
    self->old_snapshot = trail->snapshot;
    raft_trail_reset(trail, message->index, message->index_term, message->members, message->index);
    trail->snapshot =
        (struct raft_snapshot){message->index, message->index_term, self->incoming.size};
    slice_release(&trail->snapshot_state);
    trail->snapshot_state = (struct slice){payload, payload_span(payload)};
    buf_release(&self->incoming);
    self->hole = 0;
    self->kept_bytes = 0;
    self->evict_next = 0;
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
    return emit_base(self, KIND_BASE, 0);
}

const struct raft_storage_ops raft_journal_ops = {
    journal_boot,          journal_write,         journal_durable,      journal_read_entry,
    journal_snapshot_save, journal_snapshot_read, journal_snapshot_put, journal_snapshot_install,
    journal_compact,
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
    snapshots_sweep(self, 0);
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
    while ((*self)->waiting != NULL) {
        waiting_pop(*self);
    }
    hash64_destroy(&(*self)->groups);
    mem_free((*self)->flight);
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
    int error = frame_emit_bytes(known, &entry, &version, sizeof(version), 0);
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
        snapshots_sweep(self, group);
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

/* Payloads that are on disk leave memory, oldest first. */
static void evict(struct raft_journal_group *group)
{
    const struct raft_trail *trail = &group->storage.trail;
    raft_index next = group->evict_next > trail->base ? group->evict_next : trail->base + 1;
    for (; group->kept_bytes > group->set->tail_bytes_max && next <= trail->last; next++) {
        struct raft_trail_entry *entry = raft_trail_at(trail, next);
        if (entry->place == 0) {
            break;
        }
        if (!entry->absent && entry->bytes != 0) {
            group->kept_bytes -= entry->bytes;
            entry->absent = true;
            slice_release(&entry->payload);
        }
    }
    group->evict_next = next;
}

static void entry_placed(struct raft_journal_group *group, const struct flight *flight,
                         const struct journal_done *done)
{
    struct raft_trail_entry *entry = raft_trail_at(&group->storage.trail, flight->index);
    if (entry == NULL || entry->term != flight->term || entry->place != 0) {
        return; /* cut or replaced meanwhile */
    }
    entry->place = done->position;
    entry->place_bytes = done->frame_bytes;
    group->kept_bytes += entry->bytes;
    evict(group);
}

static void news_put(struct raft_journal_group *group)
{
    if (!group->has_news) {
        group->has_news = true;
        group->news_next = group->set->news;
        group->set->news = group;
    }
}

static void on_done(void *ud, const struct journal_done *done)
{
    struct raft_journal *self = ud;
    INVARIANT(self->flight_count != 0);
    struct flight flight = self->flight[self->flight_first];
    INVARIANT(flight.journal_wseq == done->wseq);
    self->flight_first = (self->flight_first + 1) % self->flight_capacity;
    self->flight_count--;
    if (done->error != 0) {
        self->failed = self->failed == 0 ? done->error : self->failed;
        return;
    }
    struct raft_journal_group *group = hash64_get(self->groups, flight.group);
    if (group == NULL || group->life != flight.life || self->failed != 0) {
        return;
    }
    if (flight.type == JOURNAL_ENTRY) {
        entry_placed(group, &flight, done);
    } else if (flight.type == JOURNAL_HARD_STATE && flight.kind == KIND_HARD) {
        group->hard_place = done->position;
    } else if (flight.type == JOURNAL_HARD_STATE && flight.kind != KIND_DROP) {
        group->base_place = done->position;
        snapshot_drop_old(group);
    }
    if (flight.wseq != 0 && flight.generation == group->generation && group->is_open) {
        group->durable = flight.wseq;
        news_put(group);
    }
}

unsigned raft_journal_poll(struct raft_journal *self, void (*on_durable)(void *group_ud))
{
    unsigned count = journal_poll(self->journal, on_done, self);
    waiting_flush(self);
    if (journal_is_poisoned(self->journal) && self->failed == 0) {
        self->failed = ERR_POISONED;
    }
    size_t cursor = 0;
    struct raft_journal_group *group;
    while (self->failed != 0 && (group = hash64_next(self->groups, &cursor)) != NULL) {
        news_put(group);
    }
    while ((group = self->news) != NULL) {
        self->news = group->news_next;
        group->has_news = false;
        if (group->is_open) {
            on_durable(group->ud);
        }
    }
    return count;
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
            self->failed = emit_hard(group, false, 0);
        }
        if (self->failed == 0 && group->base_place != 0 && group->base_place < newest) {
            self->failed = emit_base(group, KIND_BASE, 0);
        }
    }
    if (self->failed == 0) {
        journal_release_before(self->journal, needed);
    }
}
