/* append_ids: what is to be stored of a batch, once its message IDs were looked at: duplicates are cut out before it is proposed, so that the log never
 * holds a record twice. IDs that are new are put in under the offsets they will get; whatever stops the batch takes them out again. */
#include "logd/append_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/batch.h"
#include "common/wire/pb.h"
#include "logd/deadletter.h"
#include "logd/events.h"
#include "logd/ids_body.h"
#include "logd/kinds.h"
#include "logd/planted.h"
#include "logd/stream_body.h"

enum {
    AHEAD_HEADS = 24, /* records, between asking the memory for something and needing it */
    AHEAD_ENTRIES = 12,
    ENTRY_REFRESHED = 4, /* EntryIds */
    FULL_TELL_EVERY_MS = 1000,
};

struct screen {
    struct append *append;
    struct publish *publish;
    struct ids *ids;
    uint64_t ts_us;
    uint64_t base;
    uint32_t kept;
    size_t exceptions_before;
    struct buf dropped;   /* uint32_t: records of publish->batch that are not stored */
    struct buf refreshed; /* of EntryIds */
    /* what stops the batch */
    struct answer_error error;
    uint64_t held_for;
};

/* --- one record --- */

/* Not stored. Does the batch go on without it? */
static bool screen_drop(struct screen *self, uint32_t at, int error, const struct ids_entry *known)
{
    struct publish *publish = self->publish;
    bool is_remark = error == ERR_DUPLICATE;
    uint64_t offset = known != NULL ? known->offset : 0;
    uint64_t ts_us = known != NULL ? known->ts_us : 0;
    if (publish->atomic && !is_remark) {
        self->error = (struct answer_error){
            .error = error,
            .offset = offset < self->base ? offset : 0,
            .ts_us = ts_us,
            .has_record = true,
            .record = at,
            .retry_after_ms = self->error.retry_after_ms,
            .detail = self->error.detail,
        };
        return false;
    }
    publish_add_exception(publish,
                          &(struct publish_exception){at, error, offset, ts_us,
                                                      is_remark ? NULL : self->error.detail});
    buf_append(&self->dropped, span_make(&at, sizeof(at)));
    return true;
}

static void screen_note_mismatch(struct screen *self, const struct ids_entry *known)
{
    struct event event = {.type = RAILGUN__EVENT__TYPE__DUPLICATE_MISMATCH,
                          .first = known->offset,
                          .last = known->offset};
    (*self->ids->pool->mismatches)++;
    events_note(self->append->logd->events, self->publish->stream, &event);
}

static void screen_refresh(struct screen *self, const struct ids_entry *known)
{
    uint8_t key[16];
    struct buf one = {0};
    bytes_put_u64(key, known->key.low);
    bytes_put_u64(key + 8, known->key.high);
    pb_append_bytes(&one, 1, span_make(key, sizeof(key)));
    pb_append_fixed64(&one, 2, known->payload);
    pb_append_varint(&one, 3, known->offset);
    pb_append_bytes(&self->refreshed, ENTRY_REFRESHED, buf_span(&one));
    buf_release(&one);
}

static bool screen_known(struct screen *self, uint32_t at, const struct ids_mark *mark,
                         const struct ids_entry *known)
{
    const struct ids_spec *spec = ids_spec(self->ids);
    if (known->offset >= self->publish->stream->next_offset && known->offset < self->base) {
        self->held_for = known->offset; /* its outcome is that of the first */
        return false;
    }
    if (known->payload != mark->payload) {
        screen_note_mismatch(self, known);
        return screen_drop(self, at, ERR_DUPLICATE_MISMATCH, known);
    }
    (*self->ids->pool->duplicates)++;
    if (spec->refresh && known->offset < self->base) {
        screen_refresh(self, known);
    }
    bool is_refused = spec->reject && self->publish->own == NULL;
    return screen_drop(self, at, is_refused ? ERR_DUPLICATE_ID : ERR_DUPLICATE, known);
}

static bool screen_full(struct screen *self, uint32_t at, uint64_t retry_us)
{
    struct ids *ids = self->ids;
    struct logd *logd = self->append->logd;
    uint64_t now_ms = loop_now_ms(logd->loop);
    if (now_ms >= ids->full_told_ms + FULL_TELL_EVERY_MS) {
        struct event event = {.type = RAILGUN__EVENT__TYPE__DEDUP_FULL, .count = ids_count(ids)};
        ids->full_told_ms = now_ms;
        events_note(logd->events, self->publish->stream, &event);
    }
    uint64_t retry_ms = retry_us / 1000 + 1;
    self->error.retry_after_ms =
        retry_us == UINT64_MAX ? 0 : (uint32_t) (retry_ms < UINT32_MAX ? retry_ms : UINT32_MAX);
    return screen_drop(self, at, ERR_DEDUP_FULL, NULL);
}

/* false: the batch is stopped. */
static bool screen_record(struct screen *self, uint32_t at, const struct ids_mark *mark)
{
    struct ids_entry entry;
    uint64_t retry_us;
    if (ids_key_is_none(&mark->key)) {
        if (ids_key_is_reserved(&mark->key)) {
            self->error.detail = "message ids of this form are those of dead letters";
            return screen_drop(self, at, ERR_BAD_REQUEST, NULL);
        }
        if (ids_spec(self->ids)->mode == IDS_REQUIRED) {
            self->error.detail = "the stream requires message ids";
            return screen_drop(self, at, ERR_BAD_REQUEST, NULL);
        }
        self->kept++;
        return true;
    }
    int known = PLANTED(IDS_NOT_FOUND) ? 0 : ids_find(self->ids, &mark->key, &entry);
    if (PLANTED(IDS_FOUND) && known == 0 && self->base % 256 == 0) {
        entry = (struct ids_entry){mark->key, mark->payload, self->base + at, self->ts_us};
        known = 1;
    }
    if (known < 0) {
        self->error = (struct answer_error){.error = known};
        return false;
    }
    if (known == 1) {
        return screen_known(self, at, mark, &entry);
    }
    if (!ids_has_room(self->ids, self->ts_us, &retry_us)) {
        return screen_full(self, at, retry_us);
    }
    entry = (struct ids_entry){mark->key, mark->payload, self->base + self->kept, self->ts_us};
    ids_hot_put(ids_hot(self->ids), &entry);
    self->kept++;
    return true;
}

/* --- the batch --- */

/* What a client could occupy so that a dead letter is not let in for ever. */
static bool is_reserved(const struct logd *logd, struct span id)
{
    struct uuid stream_id;
    if (!deadletter_id_is(id, &stream_id)) {
        return false;
    }
    const struct stream *origin =
        hash_get(logd->stream_ids, span_make(stream_id.bytes, sizeof(stream_id.bytes)));
    return origin != NULL && !origin->deleted && !origin->deleting;
}

static void screen_mark_reserved(const struct append *append, const struct publish *publish)
{
    struct span rest = publish->batch.bytes;
    struct batch_record record;
    for (uint32_t i = 0; batch_next(&rest, &record) == 1; i++) {
        if (record.id.size != 0 && is_reserved(append->logd, record.id)) {
            append->marks[i].key = ids_key_reserved();
        }
    }
}

static const struct ids_mark *screen_read_marks(struct append *append,
                                                const struct publish *publish)
{
    uint32_t suspects;
    if (append->marks_room < publish->count) {
        append->marks = mem_resize(append->marks, publish->count, sizeof(*append->marks));
        append->marks_room = publish->count;
    }
    (void) ids_marks_read(&publish->stream->id, publish->batch.bytes, append->marks, publish->count,
                          &suspects);
    if (suspects > 0 && publish->own == NULL) {
        screen_mark_reserved(append, publish);
    }
    return append->marks;
}

static bool screen_records(struct screen *self)
{
    uint32_t count = self->publish->count;
    const struct ids_mark *marks = screen_read_marks(self->append, self->publish);
    struct ids_hot *hot = ids_hot(self->ids);
    for (uint32_t i = 0; i < count && i < AHEAD_HEADS; i++) {
        ids_prefetch(hot, &marks[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (i + AHEAD_HEADS < count) {
            ids_prefetch(hot, &marks[i + AHEAD_HEADS]);
        }
        if (i + AHEAD_ENTRIES < count) {
            ids_hot_prefetch_entry(hot, &marks[i + AHEAD_ENTRIES].key);
        }
        if (!screen_record(self, i, &marks[i])) {
            return false;
        }
    }
    return true;
}

/* The records that are left. ERR_OVERLOADED: no memory. */
static int screen_cut(const struct screen *self, struct slice *ret_batch)
{
    const struct publish *publish = self->publish;
    if (self->dropped.size == 0) {
        *ret_batch = slice_ref(&publish->batch);
        return 0;
    }
    struct payload *left = payload_new(publish->batch.bytes.size);
    if (left == NULL) {
        return ERR_OVERLOADED;
    }
    struct span rest = publish->batch.bytes;
    struct batch_record record;
    size_t size = 0;
    size_t next_drop = 0;
    for (uint32_t i = 0; i < publish->count; i++) {
        struct span before = rest;
        int more = batch_next(&rest, &record);
        INVARIANT(more == 1); /* it was checked */
        uint32_t drop = UINT32_MAX;
        if (next_drop < self->dropped.size) {
            memcpy(&drop, self->dropped.data + next_drop, sizeof(drop));
        }
        if (drop == i) {
            next_drop += sizeof(drop);
            continue;
        }
        memcpy(payload_data(left) + size, before.data, before.size - rest.size);
        size += before.size - rest.size;
    }
    *ret_batch = (struct slice){left, span_make(payload_span(left).data, size)};
    return 0;
}

static int exception_compare(const void *a, const void *b)
{
    const struct publish_exception *left = a;
    const struct publish_exception *right = b;
    return left->record < right->record ? -1 : left->record > right->record;
}

/* What its duplicates begin anew, as an entry of its own. */
static int screen_propose_refreshed(const struct screen *self)
{
    uint64_t index;
    if (self->refreshed.size == 0) {
        return 0;
    }
    return stream_propose_control(self->publish->stream, LOG_KIND_IDS, buf_span(&self->refreshed),
                                  &index);
}

static void screen_release(struct screen *self)
{
    buf_release(&self->dropped);
    buf_release(&self->refreshed);
}

/* Nothing of it goes on. */
static enum publish_step screen_stop(struct screen *self, int error, uint64_t hot_end)
{
    struct publish *publish = self->publish;
    ids_hot_cut(ids_hot(self->ids), hot_end);
    publish->exceptions.size = self->exceptions_before;
    screen_release(self);
    if (error == ERR_AGAIN) {
        return PUBLISH_NO_ROOM;
    }
    if (self->held_for != 0) {
        publish->held_for = self->held_for;
        return PUBLISH_HELD;
    }
    if (self->error.error == 0) {
        self->error.error = error;
    }
    if (self->error.has_record) {
        char detail[160];
        (void) snprintf(
            detail, sizeof(detail), "record %" PRIu32 " of the batch: %s", self->error.record,
            self->error.detail != NULL ? self->error.detail : err_text(self->error.error));
        self->error.detail = detail; /* cut short if need be */
        publish_refuse(self->append, publish, &self->error);
    } else {
        publish_refuse(self->append, publish, &self->error);
    }
    return PUBLISH_GONE;
}

static bool publish_needs_screening(const struct publish *publish)
{
    const struct ids *ids = publish->stream->ids;
    return ids != NULL && (publish->with_id != 0 || ids_spec(ids)->mode == IDS_REQUIRED);
}

bool publish_screen(struct append *self, struct publish *publish, uint64_t ts_us,
                    struct screening *ret_screening, enum publish_step *ret_step)
{
    struct stream *stream = publish->stream;
    struct screening result = {.ts_us = ts_us, .count = publish->count};
    result.exceptions_before = publish->exceptions.size;
    if (!publish_needs_screening(publish)) {
        result.batch = slice_ref(&publish->batch);
        *ret_screening = result;
        return true;
    }
    struct screen screen = {
        .append = self,
        .publish = publish,
        .ids = stream->ids,
        .ts_us = ts_us,
        .base = stream->next_proposed,
        .exceptions_before = publish->exceptions.size,
    };
    ids_expire(stream->ids, ts_us);
    result.is_screened = true;
    result.hot_end = ids_hot_end(ids_hot(stream->ids));
    int error = 0;
    bool goes_on = screen_records(&screen);
    if (goes_on) {
        error = screen_cut(&screen, &result.batch);
        goes_on = error == 0;
    }
    if (goes_on) {
        error = screen_propose_refreshed(&screen);
        goes_on = error == 0;
    }
    if (!goes_on) {
        slice_release(&result.batch);
        *ret_step = screen_stop(&screen, error, result.hot_end);
        return false;
    }
    result.count = screen.kept;
    screen_release(&screen);
    *ret_screening = result;
    return true;
}

void screening_keep(struct publish *publish, struct screening *screening)
{
    slice_release(&screening->batch);
    publish->count = screening->count;
    if (publish->picked.size != 0) { /* two kinds of exceptions, each in order */
        qsort(publish->exceptions.data, publish->exceptions.size / sizeof(struct publish_exception),
              sizeof(struct publish_exception), exception_compare);
    }
    if (screening->is_screened) {
        ids_settle(publish->stream->ids);
    }
}

void screening_undo(struct publish *publish, struct screening *screening)
{
    slice_release(&screening->batch);
    publish->exceptions.size = screening->exceptions_before;
    if (screening->is_screened) {
        ids_hot_cut(ids_hot(publish->stream->ids), screening->hot_end);
    }
}
