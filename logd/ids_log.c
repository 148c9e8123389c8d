/* ids_log: message IDs and the stream's log: what applied entries do to them, and building what was in memory from the journal after a restart. Reads
 * records only as far back as the window reaches. */
#include <inttypes.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/pb.h"
#include "logd/cold.h"
#include "logd/ids_body.h"
#include "logd/ids_cold.h"
#include "logd/kinds.h"
#include "logd/stream_body.h"

enum { KEY_SIZE = 16 };

/* --- batches --- */

static void ids_replay_mark(struct ids *self, const struct ids_mark *mark, uint64_t offset,
                            uint64_t ts_us)
{
    struct ids_entry entry = {mark->key, mark->payload, offset, ts_us};
    (void) ids_hot_remove(self->hot, &mark->key); /* it may have been saved twice */
    ids_hot_put(self->hot, &entry);
}

void ids_replay(struct ids *self, const struct journal_entry *entry, uint64_t from)
{
    struct ids_mark *marks = mem_new_array(entry->count, sizeof(*marks));
    uint32_t count =
        ids_marks_read(&self->stream->id, entry->payload.bytes, marks, entry->count, NULL);
    if (count != 0) {
        ids_expire(self, entry->ts_us);
    }
    for (uint32_t i = 0; count != 0 && i < entry->count; i++) {
        uint64_t offset = entry->base + i;
        if (offset >= from && offset >= self->forgotten_below && !ids_key_is_none(&marks[i].key)) {
            ids_replay_mark(self, &marks[i], offset, entry->ts_us);
        }
    }
    mem_free(marks);
    ids_settle(self);
}

/* --- control entries --- */

static void ids_forget(struct ids *self, struct span id, uint64_t below)
{
    struct ids_key key = ids_key_make(&self->stream->id, id);
    struct ids_entry entry;
    if (ids_hot_find(self->hot, &key, &entry) && entry.offset < below) {
        (void) ids_hot_remove(self->hot, &key); /* it was found just now */
        self->forgotten++;
    }
    if (ids_cold_forget(self, &key, below)) {
        self->forgotten = self->forgotten != 0 ? self->forgotten : 1;
    }
}

/* 0, ERR_BAD_FORMAT. */
static int ids_refresh(struct ids *self, struct span packed, uint64_t ts_us)
{
    struct ids_entry entry = {.ts_us = ts_us};
    struct span key = {0};
    struct pb_field field;
    int more;
    while ((more = pb_next(&packed, &field)) == 1) {
        if (field.number == 1) {
            key = field.bytes;
        } else if (field.number == 2) {
            entry.payload = field.value;
        } else if (field.number == 3) {
            entry.offset = field.value;
        }
    }
    if (more != 0 || key.size != KEY_SIZE || entry.offset == 0) {
        return ERR_BAD_FORMAT;
    }
    entry.key = (struct ids_key){bytes_get_u64(key.data), bytes_get_u64(key.data + 8)};
    if (entry.offset >= self->forgotten_below) {
        (void) ids_hot_remove(self->hot, &entry.key); /* or it left already */
        ids_hot_put(self->hot, &entry);
    }
    return 0;
}

int ids_apply(struct ids *self, const struct journal_entry *entry)
{
    struct span rest = entry->payload.bytes;
    uint64_t below = UINT64_MAX;
    bool all = false;
    struct pb_field field;
    int more;
    while ((more = pb_next(&rest, &field)) == 1) {
        if (field.number == 2) {
            all = field.value != 0;
        } else if (field.number == 3) {
            below = field.value;
        }
    }
    if (more != 0) {
        return ERR_BAD_FORMAT;
    }
    uint64_t ts_us = entry->ts_us > self->newest_us ? entry->ts_us : self->newest_us;
    uint64_t before = ids_count(self);
    self->forgotten = 0;
    if (all) {
        ids_forget_below(self, below);
        self->forgotten = before - ids_count(self);
    }
    int error = 0;
    rest = entry->payload.bytes;
    while (error == 0 && pb_next(&rest, &field) == 1) {
        if (field.number == 1) {
            ids_forget(self, field.bytes, below);
        } else if (field.number == 4) {
            error = ids_refresh(self, field.bytes, ts_us);
        }
    }
    ids_account(self);
    return error;
}

void ids_apply_cold(struct ids *self, struct span payload)
{
    struct span rest = payload;
    uint64_t below = UINT64_MAX;
    struct pb_field field;
    while (pb_next(&rest, &field) == 1) {
        below = field.number == 3 ? field.value : below;
    }
    while (pb_next(&payload, &field) == 1) {
        if (field.number == 1) {
            struct ids_key key = ids_key_make(&self->stream->id, field.bytes);
            (void) ids_cold_forget(self, &key, below); /* or it was not there */
        }
    }
}

/* --- after a restart --- */

uint64_t ids_from(struct ids *self)
{
    struct ids_entry entry;
    uint64_t next = self->stream->next_offset;
    if (!ids_hot_first(self->hot, &entry)) {
        return next;
    }
    return entry.offset < next ? entry.offset : next;
}

void ids_load(struct ids *self, uint64_t from, uint64_t forgotten_below)
{
    self->load_from = from;
    self->forgotten_below = forgotten_below;
}

struct ids_walk {
    struct ids *ids;
    uint64_t from;
    bool has_begun; /* entries before the batch of `from` are no news */
    int error;
};

static int ids_walk_visit(void *ud, const struct journal_entry *entry, uint64_t position,
                          uint32_t frame_bytes)
{
    (void) position;
    (void) frame_bytes;
    struct ids_walk *self = ud;
    if (entry->type != JOURNAL_ENTRY) {
        return 0;
    }
    if (entry->kind == LOG_KIND_BATCH && entry->base + entry->count > self->from) {
        self->has_begun = true;
        ids_replay(self->ids, entry, self->from);
    } else if (entry->kind == LOG_KIND_IDS && self->has_begun) {
        self->error = ids_apply(self->ids, entry);
    }
    return self->error;
}

/* The first extent whose records may be in the window still. */
static size_t ids_walk_begin(const struct ids *self, uint64_t from)
{
    const struct extents *extents = &self->stream->extents;
    uint64_t start_us = ids_window_start(self, self->stream->last_ts_us);
    const struct extent *first = extents_find_offset(extents, from);
    size_t i = first != NULL ? (size_t) (first - extents->items) : extents->count;
    while (i < extents->count && extents->items[i].last_ts_us <= start_us) {
        i++;
    }
    return i;
}

int ids_recover(struct stream *stream)
{
    struct ids *self = stream->ids;
    const struct extents *extents = &stream->extents;
    struct ids_walk walk = {.ids = self, .from = self->load_from};
    if (walk.from < ids_cold_upto(self)) {
        walk.from = ids_cold_upto(self);
    }
    if (walk.from < self->forgotten_below) {
        walk.from = self->forgotten_below;
    }
    for (size_t i = ids_walk_begin(self, walk.from); i < extents->count; i++) {
        bool damaged = false;
        int error =
            cold_walk(stream->logd->journal, &extents->items[i], ids_walk_visit, &walk, &damaged);
        error = error == 0 ? walk.error : error;
        error = error == 0 ? ids_cold_relieve(self->pool) : error;
        if (error != 0) {
            log_error("message ids cannot be read from the journal",
                      "log_group=%" PRIu64 " position=%" PRIx64 " error=%s action=\"not started\"",
                      stream->log_group, extents->items[i].position, err_name(error));
            return error;
        }
        if (damaged) {
            log_error("records of a stream's log are damaged",
                      "log_group=%" PRIu64 " first_index=%" PRIu64 " last_index=%" PRIu64
                      " action=\"their message ids are not known any more\"",
                      stream->log_group, extents->items[i].first_index,
                      extents->items[i].last_index);
        }
    }
    return 0;
}
