/* stream: one persistent stream: what is committed is applied here, in order of index, now and in replay, and nothing else changes its
 * replicated state. Owns its replica, extents, its part of the tail and its groups. Never answers anybody: append.c does that for
 * publishes, groups for the rest. */
#include "logd/stream.h"

#include <inttypes.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/pb.h"
#include "logd/append.h"
#include "logd/cold.h"
#include "logd/group_index.h"
#include "logd/ids_cold.h"
#include "logd/kinds.h"
#include "logd/readers.h"
#include "logd/release.h"
#include "logd/retention.h"
#include "logd/snapshot.h"
#include "logd/state.h"
#include "logd/stream_body.h"
#include "logd/trim.h"

struct stream *stream_new(struct logd *logd, uint64_t log_group)
{
    struct stream *self = MEM_NEW(struct stream);
    self->logd = logd;
    self->log_group = log_group;
    self->first_offset = 1;
    self->next_offset = 1;
    self->next_proposed = 1;
    list_init(&self->config_link);
    list_init(&self->publishes);
    list_init(&self->held);
    list_init(&self->held_link);
    list_init(&self->readers);
    list_init(&self->purges);
    list_init(&self->unsaved_link);
    list_init(&self->dirty_link);
    self->groups = groups_new(self);
    return self;
}

void stream_destroy(struct stream **self)
{
    struct stream *stream = *self;
    if (stream == NULL) {
        return;
    }
    append_forget(stream);
    readers_forget(stream);
    purge_refuse(stream, 0);
    retention_forget(stream->logd->retention, stream);
    groups_destroy(&stream->groups);
    ids_destroy(&stream->ids);
    replica_close(&stream->replica);
    tail_drop(stream->logd->tail, &stream->tail);
    extents_release(&stream->extents);
    ranges_destroy(&stream->corrupt);
    buf_release(&stream->config);
    buf_release(&stream->wanted);
    buf_release(&stream->fence);
    buf_release(&stream->last_id);
    list_remove(&stream->config_link);
    list_remove(&stream->unsaved_link);
    list_remove(&stream->dirty_link);
    if (stream->flush.node.position != 0) {
        heap_remove(&stream->logd->flushes, &stream->flush.node);
    }
    MEM_FREE(*self);
}

uint64_t stream_log_group(const struct stream *self)
{
    return self->log_group;
}

const struct uuid *stream_id(const struct stream *self)
{
    return &self->id;
}

struct logd *stream_logd(const struct stream *self)
{
    return self->logd;
}

uint64_t stream_first_offset(const struct stream *self)
{
    return self->first_offset;
}

uint64_t stream_next_offset(const struct stream *self)
{
    return self->next_offset;
}

bool stream_is_open(const struct stream *self)
{
    return self->replica != NULL && replica_last_index(self->replica) > 0;
}

uint64_t stream_stamp_us(struct stream *self)
{
    uint64_t now_us = logd_stamp_us(self->logd);
    return now_us > self->ts_us ? now_us : self->ts_us;
}

int stream_propose_control(struct stream *self, uint8_t kind, struct span payload,
                           uint64_t *ret_index)
{
    INVARIANT(kind != LOG_KIND_BATCH && kind != LOG_KIND_CONFIG);

    if (self->deleted || self->deleting) {
        return ERR_STREAM_DELETED;
    }
    if (!stream_is_open(self)) {
        return ERR_AGAIN;
    }
    struct payload *copy = payload_copy(payload);
    if (copy == NULL) {
        return ERR_NO_MEMORY;
    }
    struct slice slice = {copy, payload_span(copy)};
    uint64_t ts_us = stream_stamp_us(self);
    int error = replica_propose(self->replica, kind, 0, 0, ts_us, &slice, ret_index);
    if (error == 0) {
        self->ts_us = ts_us;
    }
    slice_release(&slice);
    return error;
}

/* --- configuration --- */

struct config_fields {
    struct uuid id;
    uint64_t version;
    uint64_t record_bytes_max;
    struct retention_limits retention;
    struct ids_spec ids;
    struct span fence; /* lies in what was read */
    bool deleted;
};

static int config_read_spec(struct span spec, struct config_fields *fields)
{
    struct pb_field field;
    int more;
    while ((more = pb_next(&spec, &field)) == 1) {
        int error = 0;
        switch (field.number) {
        case 2:
            fields->retention.max_age_ms = field.value;
            break;
        case 3:
            fields->retention.max_bytes = field.value;
            break;
        case 4:
            fields->retention.max_records = field.value;
            break;
        case 5:
            fields->record_bytes_max = field.value;
            break;
        case 7:
            error = ids_spec_read(field.bytes, &fields->ids);
            break;
        case 8:
            fields->retention.acked = field.value != 0;
            break;
        case 9:
            fields->retention.force = field.value != 0;
            break;
        case 10:
            fields->fence = field.bytes;
            break;
        default:
            break;
        }
        if (error != 0) {
            return ERR_BAD_FORMAT;
        }
    }
    return more;
}

static int config_read(struct span packed, struct config_fields *ret_fields)
{
    struct config_fields fields = {0};
    struct pb_field field;
    int more;
    while ((more = pb_next(&packed, &field)) == 1) {
        int error = 0;
        if (field.number == 1) {
            error = uuid_from_bytes(field.bytes, &fields.id);
        } else if (field.number == 3) {
            fields.version = field.value;
        } else if (field.number == 4) {
            error = config_read_spec(field.bytes, &fields);
        } else if (field.number == 5) {
            fields.deleted = field.value != 0;
        }
        if (error != 0) {
            return ERR_BAD_FORMAT;
        }
    }
    if (more != 0) {
        return ERR_BAD_FORMAT;
    }
    *ret_fields = fields;
    return 0;
}

/* Deleted: its memory goes, the name of its log group stays, so that it is refused for what it is. */
static void stream_bury(struct stream *self)
{
    struct logd *logd = self->logd;
    self->deleted = true;
    readers_refuse(self, ERR_STREAM_DELETED);
    purge_refuse(self, ERR_STREAM_DELETED);
    retention_forget(logd->retention, self);
    groups_cancel(self->groups, ERR_STREAM_DELETED);
    groups_destroy(&self->groups);
    if (self->ids != NULL) {
        ids_cold_drop_all(self->ids);
    }
    ids_destroy(&self->ids);
    tail_drop(logd->tail, &self->tail);
    cold_drop(logd->cold, self->log_group);
    extents_release(&self->extents);
    ranges_destroy(&self->corrupt);
    self->first_offset = self->next_offset;
    release_note(logd->release);
}

/* From now on: a publish that came under another fence and still waits is refused. */
static void stream_take_fence(struct stream *self, struct span fence)
{
    if (!span_equal(buf_span(&self->fence), fence)) {
        buf_reset(&self->fence);
        buf_append(&self->fence, fence);
        self->fence_version++;
    }
}

bool stream_is_gone(const struct stream *self)
{
    return self->deleted || self->deleting || self->closed;
}

void stream_set_closed(struct stream *self, bool closed)
{
    if (closed && !stream_is_gone(self)) {
        readers_refuse(self, ERR_STREAM_DELETED);
        groups_cancel(self->groups, ERR_STREAM_DELETED);
    }
    self->closed = closed;
    if (!closed && self->retained != NULL) {
        retention_touch(self); /* it did nothing meanwhile */
    }
}

static void stream_take_fields(struct stream *self, const struct config_fields *fields)
{
    if (uuid_is_nil(&self->id) && !uuid_is_nil(&fields->id)) {
        self->id = fields->id; /* for good */
        (void) hash_put(self->logd->stream_ids, span_make(self->id.bytes, sizeof(self->id.bytes)),
                        self); /* there was none */
    }
    self->version = fields->version;
    self->record_bytes_max = fields->record_bytes_max;
    retention_configure(self->logd->retention, self, &fields->retention);
    stream_take_fence(self, fields->fence);
    if (fields->ids.mode != IDS_OFF && self->ids == NULL && !self->deleted) {
        self->ids = ids_new(self->logd->ids, self);
    }
    if (self->ids != NULL) {
        ids_configure(self->ids, &fields->ids);
    }
}

int stream_take_config(struct stream *self, struct span packed)
{
    struct config_fields fields;
    int error = config_read(packed, &fields);
    if (error != 0) {
        return error;
    }
    buf_reset(&self->config);
    buf_append(&self->config, packed);
    stream_take_fields(self, &fields);
    if (fields.deleted && !self->deleted) {
        stream_bury(self);
    }
    return 0;
}

void stream_want_config(struct stream *self, struct span packed)
{
    struct config_fields fields;
    int error = config_read(packed, &fields);
    INVARIANT(error == 0); /* packed by us */

    buf_reset(&self->wanted);
    buf_append(&self->wanted, packed);
    self->wanted_index = 0;
    self->deleting = fields.deleted;
    stream_take_fence(self,
                      fields.fence); /* no publish under another one may come behind this entry */
    if (self->config.size == 0) {
        stream_take_fields(self,
                           &fields); /* a new stream: publishes may come before it is committed */
    }
    if (!list_is_linked(&self->config_link)) {
        list_push_back(&self->logd->configs, &self->config_link);
    }
}

/* --- applying --- */

/* Which consumer groups live here is noted from the entries that open and drop them. */
static void stream_note_groups(struct stream *self, struct span entry)
{
    uint64_t group_id = 0;
    bool deleted = false;
    struct pb_field field;
    while (pb_next(&entry, &field) == 1) {
        if (field.number == 1) {
            group_id = field.value;
        } else if (field.number == 5) {
            deleted = field.value != 0;
        }
    }
    if (group_id != 0 && !deleted) {
        group_index_put(self->logd->groups, group_id, self);
    } else if (group_id != 0) {
        group_index_remove(self->logd->groups, group_id);
    }
}

int stream_apply_control(struct stream *self, const struct journal_entry *entry)
{
    int error = 0;
    switch ((enum log_kind) entry->kind) {
    case LOG_KIND_CONFIG:
        error = stream_take_config(self, entry->payload.bytes);
        break;
    case LOG_KIND_GROUP:
    case LOG_KIND_ACKS:
        if (self->groups == NULL) {
            return 0; /* proposed before the stream was deleted */
        }
        error = groups_apply(self->groups, entry->kind, entry->index, entry->payload.bytes);
        if (error == 0 && entry->kind == LOG_KIND_GROUP) {
            stream_note_groups(self, entry->payload.bytes);
        }
        break;
    case LOG_KIND_TRIM:
        error = trim_apply(self, entry);
        break;
    case LOG_KIND_STATE:
        error = snapshot_apply(self, entry);
        break;
    case LOG_KIND_IDS:
        /* In replay ids_recover does the rest. */
        if (self->ids != NULL && self->replica == NULL) {
            ids_apply_cold(self->ids, entry->payload.bytes);
        } else if (self->ids != NULL) {
            error = ids_apply(self->ids, entry);
            ids_applied(self->ids, entry->index);
        }
        break;
    case LOG_KIND_BATCH:
    default:
        error = ERR_BAD_FORMAT;
        break;
    }
    return error;
}

static void stream_apply_batch(struct stream *self, const struct journal_entry *entry)
{
    INVARIANT(entry->base == self->next_offset);
    INVARIANT(entry->count > 0);

    self->next_offset += entry->count;
    self->last_ts_us = entry->ts_us;
    INVARIANT(self->next_proposed >= self->next_offset);
    if (!self->deleted) {
        struct stored stored = {
            .base = entry->base,
            .count = entry->count,
            .ts_us = entry->ts_us,
            .batch = entry->payload,
        };
        tail_push(self->logd->tail, &self->tail, &stored);
    } else {
        self->first_offset = self->next_offset;
    }
    append_applied(self, entry);
    self->has_fresh = true;
    if (self->retained != NULL) {
        retention_touch(self);
    }
    logd_mark_dirty(self->logd, self);
}

void stream_apply(void *group_ud, const struct journal_entry *entry, uint64_t position,
                  uint32_t frame_bytes)
{
    struct stream *self = group_ud;
    struct logd *logd = self->logd;
    INVARIANT(entry->index == self->applied_index + 1);

    self->applied_index = entry->index;
    logd->applied_position = position + frame_bytes;
    logd->idle_seconds = 0;
    if (!self->deleted) {
        extents_add(&self->extents, entry, position, frame_bytes);
    }
    if (entry->kind == LOG_KIND_BATCH) {
        stream_apply_batch(self, entry);
        stream_mark_unsaved(self, STREAM_UNSAVED_OFFSETS);
        return;
    }
    if (entry->index == self->wanted_index) {
        buf_release(&self->wanted);
        self->wanted_index = 0;
    }
    int error = stream_apply_control(self, entry);
    INVARIANT(error == 0); /* what this process proposed, it can parse */
    stream_mark_unsaved(self, STREAM_UNSAVED_CONTROL);
    state_note_control(logd->state, frame_bytes);
    if (self->retained != NULL) {
        retention_touch(self);
    }
    logd_mark_dirty(logd, self);
}

void stream_mark_unsaved(struct stream *self, enum stream_unsaved how)
{
    if (self->unsaved < how) {
        state_mark_unsaved(self->logd->state, self, how);
    }
}

/* --- damage --- */

bool stream_is_corrupt(const struct stream *self, uint64_t offset, uint64_t *ret_last)
{
    struct range range;
    if (self->corrupt == NULL || !ranges_find(self->corrupt, offset, &range)) {
        return false;
    }
    *ret_last = range.last;
    return true;
}

void stream_note_corrupt(struct stream *self, uint64_t first, uint64_t last, const char *why)
{
    uint64_t known;
    while (first <= last && stream_is_corrupt(self, first, &known)) {
        first = known + 1;
    }
    if (first > last) {
        return;
    }
    if (self->corrupt == NULL) {
        self->corrupt = ranges_new();
    }
    ranges_set(self->corrupt, first, last, 0);
    (*self->logd->count.corrupt_ranges)++;
    log_error("stored records are damaged",
              "log_group=%" PRIu64 " first=%" PRIu64 " last=%" PRIu64
              " why=\"%s\" action=\"the range answers CORRUPT, all else is served\"",
              self->log_group, first, last, why);
}
