/* snapshot: EntryState written and read. Owns nothing between calls but what its user keeps. It must never describe anything but what is applied, and
 * never replace a state that is newer. */
#include "logd/snapshot.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/wire/pb.h"
#include "logd/cold.h"
#include "logd/group_index.h"
#include "logd/kinds.h"
#include "logd/release.h"
#include "logd/state.h"
#include "logd/stream_body.h"
#include "logd/trim.h"

enum {
    SNAPSHOT_PART_BYTES = 256 << 10,
    SNAPSHOT_PARTS_MAX = 1 << 20,
};

enum { /* of EntryState and StateContent */
       STATE_APPLIED_INDEX = 1,
       STATE_PART = 2,
       STATE_PARTS = 3,
       STATE_CONTENT = 4,
       CONTENT_STREAM = 1,
       CONTENT_GROUP = 2,
};

/* --- writing --- */

static int snapshot_put_group(void *ud, uint64_t group_id, bool dropped, struct span state)
{
    (void) group_id;
    (void) dropped;
    pb_append_bytes(ud, CONTENT_GROUP, state);
    return 0;
}

void snapshot_make(struct snapshot *self, struct stream *stream)
{
    struct buf state = {0};
    state_encode_stream(stream, &state);
    buf_reset(&self->content);
    pb_append_bytes(&self->content, CONTENT_STREAM, buf_span(&state));
    buf_release(&state);
    int error = groups_visit(stream->groups, snapshot_put_group, &self->content);
    INVARIANT(error == 0);

    self->stream = stream;
    self->applied_index = stream->applied_index;
    self->part = 0;
    self->parts = (uint32_t) ((self->content.size + SNAPSHOT_PART_BYTES - 1) / SNAPSHOT_PART_BYTES);
    stream->state_bytes = self->content.size;
}

int snapshot_go_on(struct snapshot *self)
{
    struct stream *stream = self->stream;
    struct buf entry = {0};
    int error = 0;
    while (self->part < self->parts && error == 0) {
        size_t at = (size_t) self->part * SNAPSHOT_PART_BYTES;
        size_t size = self->content.size - at;
        size = size < SNAPSHOT_PART_BYTES ? size : SNAPSHOT_PART_BYTES;
        buf_reset(&entry);
        pb_append_varint(&entry, STATE_APPLIED_INDEX, self->applied_index);
        pb_append_varint(&entry, STATE_PART, self->part);
        pb_append_varint(&entry, STATE_PARTS, self->parts);
        pb_append_bytes(&entry, STATE_CONTENT, span_make(self->content.data + at, size));
        uint64_t index;
        error = stream_propose_control(stream, LOG_KIND_STATE, buf_span(&entry), &index);
        if (error == 0) {
            self->part++;
            stream->state_proposed = index;
        }
    }
    buf_release(&entry);
    if (error == 0) {
        (*stream->logd->count.states)++;
    }
    return error;
}

void snapshot_drop(struct snapshot *self)
{
    buf_release(&self->content);
    *self = (struct snapshot){0};
}

/* --- reading --- */

struct snapshot_part {
    uint64_t applied_index;
    uint64_t part;
    uint64_t parts;
    struct span content;
};

static int snapshot_read(struct span payload, struct snapshot_part *ret_part)
{
    struct snapshot_part part = {0};
    struct pb_field field;
    int more;
    while ((more = pb_next(&payload, &field)) == 1) {
        if (field.number == STATE_APPLIED_INDEX && field.type == PB_VARINT) {
            part.applied_index = field.value;
        } else if (field.number == STATE_PART && field.type == PB_VARINT) {
            part.part = field.value;
        } else if (field.number == STATE_PARTS && field.type == PB_VARINT) {
            part.parts = field.value;
        } else if (field.number == STATE_CONTENT && field.type == PB_BYTES) {
            part.content = field.bytes;
        }
    }
    if (more != 0 || part.applied_index == 0 || part.part >= part.parts ||
        part.parts > SNAPSHOT_PARTS_MAX) {
        return ERR_BAD_FORMAT;
    }
    *ret_part = part;
    return 0;
}

int snapshot_apply(struct stream *stream, const struct journal_entry *entry)
{
    struct snapshot_part part;
    int error = snapshot_read(entry->payload.bytes, &part);
    if (error != 0) {
        return error;
    }
    if (part.applied_index >= entry->index) {
        return ERR_BAD_FORMAT;
    }
    if (part.part + 1 == part.parts && part.applied_index > stream->state_index &&
        !stream->deleted) {
        stream->state_index = part.applied_index;
        if (stream->replica != NULL) {
            trim_extents(stream);
            release_note(stream->logd->release);
        }
    }
    return 0;
}

/* --- recovery --- */

struct snapshot_search {
    uint64_t applied; /* older ones are of no use */
    struct buf found; /* the newest complete content */
    uint64_t found_index;
    struct buf growing;
    uint64_t growing_index;
    uint64_t parts;
};

static int search_visit(void *ud, const struct journal_entry *entry, uint64_t position,
                        uint32_t frame_bytes)
{
    (void) position;
    (void) frame_bytes;
    struct snapshot_search *self = ud;
    struct snapshot_part part;
    if (entry->type != JOURNAL_ENTRY || entry->count != 0 || entry->kind != LOG_KIND_STATE ||
        snapshot_read(entry->payload.bytes, &part) != 0 || part.applied_index <= self->applied) {
        return 0;
    }
    if (part.part == 0) {
        buf_reset(&self->growing);
        self->growing_index = part.applied_index;
        self->parts = 0;
    }
    if (part.applied_index != self->growing_index || part.part != self->parts) {
        self->growing_index = 0; /* one before it is missing */
        return 0;
    }
    buf_append(&self->growing, part.content);
    self->parts++;
    if (self->parts == part.parts) {
        struct buf complete = self->growing;
        self->growing = self->found;
        self->found = complete;
        self->found_index = part.applied_index;
        self->growing_index = 0;
    }
    return 0;
}

static int content_check(struct span content)
{
    struct pb_field field;
    int more;
    while ((more = pb_next(&content, &field)) == 1) {
        if (field.type != PB_BYTES) {
            return ERR_BAD_FORMAT;
        }
    }
    return more;
}

static int content_load_group(struct stream *stream, struct span state)
{
    int error = groups_load(stream->groups, state);
    uint64_t group_id = 0;
    struct pb_field field;
    while (error == 0 && pb_next(&state, &field) == 1) {
        group_id = field.number == 1 ? field.value : group_id;
    }
    if (error == 0) {
        group_index_put(stream->logd->groups, group_id, stream);
    }
    return error;
}

static int snapshot_load(struct stream *stream, struct span content, uint64_t applied_index)
{
    uint64_t next_offset = stream->next_offset;
    int error = content_check(content);
    groups_destroy(&stream->groups);
    stream->groups = groups_new(stream);
    stream->groups_replaced = true;
    struct pb_field field;
    while (error == 0 && pb_next(&content, &field) == 1) {
        if (field.number == CONTENT_STREAM) {
            error = state_decode_stream(stream, field.bytes);
        } else if (field.number == CONTENT_GROUP) {
            error = content_load_group(stream, field.bytes);
        }
    }
    if (error != 0) {
        return error;
    }
    groups_mark_unsaved(stream->groups);
    stream->applied_index = applied_index;
    stream->state_index = applied_index;
    stream->next_offset = next_offset > stream->next_offset ? next_offset : stream->next_offset;
    return 0;
}

int snapshot_recover(struct stream *stream, bool *ret_found)
{
    struct snapshot_search search = {.applied = stream->applied_saved};
    int error = 0;
    size_t i = extents_find_index(&stream->extents, stream->applied_saved + 1);
    for (; i < stream->extents.count && error == 0; i++) {
        bool damaged = false;
        if (stream->extents.items[i].has_control) {
            error = cold_walk(stream->logd->journal, &stream->extents.items[i], search_visit,
                              &search, &damaged);
        }
    }
    if (error == 0 && search.found_index != 0) {
        error = snapshot_load(stream, buf_span(&search.found), search.found_index);
    }
    *ret_found = error == 0 && search.found_index != 0;
    buf_release(&search.found);
    buf_release(&search.growing);
    return error;
}
