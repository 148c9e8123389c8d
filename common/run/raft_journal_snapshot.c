/* raft_journal_snapshot: a group's snapshot is one file beside the journal: written whole, checksummed, named by what it covers. A file goes only when the base that names a newer one is
 * durable. Whoever reads one must never get other bytes than were written. */
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
#include "common/base/mem.h"

enum { SNAPSHOT_HEAD_BYTES = 40, SNAPSHOT_NAME_BYTES = 80 };

/* --- files --- */

static void snapshot_name(uint64_t group, const struct raft_snapshot *snapshot, char *name,
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

int raft_journal_snapshot_store(struct raft_journal_group *group)
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
    snapshot_name(group->group, &trail->snapshot, name, sizeof(name));
    int error = fs_write_file(group->set->ops, group->set->snapshot_fd, name, buf_span(&bytes));
    buf_release(&bytes);
    return error;
}

void raft_journal_snapshot_drop_old(struct raft_journal_group *group)
{
    const struct raft_snapshot *now = &group->storage.trail.snapshot;
    struct raft_snapshot old = group->old_snapshot;
    if (old.bytes != 0 && (old.index != now->index || old.term != now->term)) {
        char name[SNAPSHOT_NAME_BYTES];
        snapshot_name(group->group, &old, name, sizeof(name));
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
    snapshot_name(self->group, snapshot, name, sizeof(name));
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

void raft_journal_snapshots_sweep(struct raft_journal *self, uint64_t only)
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
            snapshot_name(group, &known->storage.trail.snapshot, name, sizeof(name));
        }
        if (strcmp(name, item->d_name) != 0) {
            (void) fs_unlink(self->ops, self->snapshot_fd, item->d_name);
        }
    }
    (void) closedir(list);
}

/* --- the seam --- */

int raft_journal_snapshot_save(struct raft_storage *storage, raft_index index,
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
    int error = raft_journal_snapshot_store(self);
    if (error == 0) {
        error = raft_journal_emit_base(self, KIND_BASE, 0);
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

int raft_journal_snapshot_read(struct raft_storage *storage, struct slice *ret_state)
{
    if (storage->trail.snapshot.index == 0) {
        return ERR_NOT_FOUND;
    }
    *ret_state = slice_ref(&storage->trail.snapshot_state);
    return 0;
}

int raft_journal_snapshot_put(struct raft_storage *storage, const struct raft_message *message,
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

int raft_journal_snapshot_install(struct raft_storage *storage, const struct raft_message *message)
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
