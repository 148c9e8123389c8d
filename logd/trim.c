/* trim: EntryTrim proposed and applied. Owns nothing. Whatever follows from a trim follows here, in one place: reads, groups, message IDs, caches, places
 * in the journal. It must never look at a clock or a limit: that was done before the entry was proposed. */
#include "logd/trim.h"

#include "common/base/err.h"
#include "common/wire/pb.h"
#include "logd/cold.h"
#include "logd/events.h"
#include "logd/ids.h"
#include "logd/kinds.h"
#include "logd/release.h"
#include "logd/stream_body.h"

enum { /* of EntryTrim */
       TRIM_FIRST_OFFSET = 1,
       TRIM_FORGET_IDS = 2,
       TRIM_LAST_ID = 3,
       TRIM_PURGE = 4,
};

int trim_propose(struct stream *stream, const struct trim *trim, uint64_t *ret_index)
{
    struct buf entry = {0};
    pb_append_varint(&entry, TRIM_FIRST_OFFSET, trim->first_offset);
    if (trim->forget_ids) {
        pb_append_varint(&entry, TRIM_FORGET_IDS, 1);
    }
    if (trim->purge) {
        pb_append_varint(&entry, TRIM_PURGE, 1);
    }
    if (trim->first_offset == stream->next_proposed &&
        stream->next_proposed == stream->next_offset) {
        struct buf last_id = {0};
        stream_read_last_id(stream, &last_id);
        pb_append_bytes(&entry, TRIM_LAST_ID, buf_span(&last_id));
        buf_release(&last_id);
    }
    int error = stream_propose_control(stream, LOG_KIND_TRIM, buf_span(&entry), ret_index);
    buf_release(&entry);
    return error;
}

static int trim_read(struct span payload, struct trim *ret_trim)
{
    struct trim trim = {0};
    struct pb_field field;
    int more;
    while ((more = pb_next(&payload, &field)) == 1) {
        if (field.number == TRIM_LAST_ID && field.type == PB_BYTES) {
            trim.last_id = field.bytes;
            trim.has_last_id = true;
        }
        if (field.type != PB_VARINT) {
            continue;
        }
        if (field.number == TRIM_FIRST_OFFSET) {
            trim.first_offset = field.value;
        } else if (field.number == TRIM_FORGET_IDS) {
            trim.forget_ids = field.value != 0;
        } else if (field.number == TRIM_PURGE) {
            trim.purge = field.value != 0;
        }
    }
    if (more != 0 || trim.first_offset == 0 || trim.first_offset > INT64_MAX) {
        return ERR_BAD_FORMAT;
    }
    *ret_trim = trim;
    return 0;
}

void trim_extents(struct stream *stream)
{
    extents_trim(&stream->extents, stream->first_offset, stream->state_index);
}

/* What lies below the stream's first offset is gone. */
static void trim_forget(struct stream *stream)
{
    struct logd *logd = stream->logd;
    uint64_t last = stream->first_offset - 1;
    if (stream->corrupt != NULL) {
        (void) ranges_clear_range(stream->corrupt, 0, last);
        if (ranges_count(stream->corrupt) == 0) {
            ranges_destroy(&stream->corrupt);
        }
    }
    tail_trim(logd->tail, &stream->tail, stream->first_offset);
    cold_trim(logd->cold, stream->log_group, stream->first_offset);
    groups_trim(stream->groups, stream->first_offset);
    if (stream->replica != NULL) { /* in recovery the extents are needed until the end */
        trim_extents(stream);
    }
}

/* Not said of what is replayed. */
static void trim_tell(struct stream *stream, const struct trim *trim, uint64_t first)
{
    struct logd *logd = stream->logd;
    uint64_t removed = trim->first_offset - first;
    *(trim->purge ? logd->count.purged : logd->count.trimmed) += removed;
    events_note(logd->events, stream,
                &(struct event){.type = RAILGUN__EVENT__TYPE__TRIMMED,
                                .first = first,
                                .last = trim->first_offset - 1,
                                .count = removed,
                                .detail = span_of(trim->purge ? "purge" : "retention")});
}

/* The stream is emptied: of its last record the ID stays, which a publisher may expect. The entry tells it, unless that record was in flight when the entry was
 * made; then it lies right before it. */
static void trim_keep_last_id(struct stream *stream, const struct trim *trim)
{
    if (trim->first_offset < stream->next_offset) {
        return;
    }
    const struct extent *extent = extents_find_offset(&stream->extents, stream->next_offset - 1);
    if (trim->has_last_id) {
        buf_reset(&stream->last_id);
        buf_append(&stream->last_id, trim->last_id);
    } else if (extent != NULL && extent->base < stream->next_offset) {
        struct buf last_id = {0};
        stream_read_last_id(stream, &last_id);
        buf_reset(&stream->last_id);
        buf_append(&stream->last_id, buf_span(&last_id));
        buf_release(&last_id);
    }
}

int trim_apply(struct stream *stream, const struct journal_entry *entry)
{
    struct trim trim;
    int error = trim_read(entry->payload.bytes, &trim);
    if (error != 0 || stream->deleted) {
        return error;
    }
    uint64_t first = stream->first_offset;
    bool is_live = stream->replica != NULL;
    if (trim.first_offset > stream->next_offset) {
        if (is_live) {
            return ERR_BAD_FORMAT;
        }
        /* The records, and what told of them, are released already. */
        stream->next_offset = trim.first_offset;
        stream->next_proposed = trim.first_offset;
    }
    if (trim.first_offset > first) {
        trim_keep_last_id(stream, &trim);
        stream->first_offset = trim.first_offset;
        trim_forget(stream);
    }
    if (trim.forget_ids && stream->ids != NULL) {
        ids_forget_below(stream->ids, trim.first_offset);
    }
    if (is_live) {
        if (trim.first_offset > first) {
            trim_tell(stream, &trim, first);
            release_note(stream->logd->release);
        }
        purge_applied(stream, entry->index, stream->first_offset - first);
    }
    return 0;
}
