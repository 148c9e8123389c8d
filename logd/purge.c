/* purge: records removed because somebody asked. Owns the requests until their entry is applied. A publish that was taken before the purge lies before it
 * in the log, so "all" means all that was taken. Never answers before the entry is durable. */
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "logd/answer.h"
#include "logd/stream_body.h"
#include "logd/trim.h"

enum { /* of Purge and PurgeOk */
       PURGE_BEFORE = 2,
       PURGE_KEEP = 3,
       PURGE_FORGET_IDS = 4,
       PURGE_STREAM_ID = 5,
       PURGE_OK_PURGED = 1,
       PURGE_OK_FIRST = 2,
       PURGE_OK_NEXT = 3,
};

struct purge {
    struct list link; /* in its stream's purges, in order of index */
    uint64_t ticket;
    uint64_t index;
};

struct purge_meta {
    uint64_t before; /* 0: absent */
    uint64_t keep;
    bool forget_ids;
    struct span stream_id;
};

static int purge_read(struct span bytes, struct purge_meta *ret_meta)
{
    struct purge_meta meta = {0};
    struct pb_field field;
    int more;
    while ((more = pb_next(&bytes, &field)) == 1) {
        if (field.number == PURGE_BEFORE && field.type == PB_VARINT) {
            meta.before = field.value;
        } else if (field.number == PURGE_KEEP && field.type == PB_VARINT) {
            meta.keep = field.value;
        } else if (field.number == PURGE_FORGET_IDS && field.type == PB_VARINT) {
            meta.forget_ids = field.value != 0;
        } else if (field.number == PURGE_STREAM_ID && field.type == PB_BYTES) {
            meta.stream_id = field.bytes;
        }
    }
    if (more == 0) {
        *ret_meta = meta;
    }
    return more;
}

/* Where the stream is to begin; it never begins earlier than it does. */
static uint64_t purge_target(const struct stream *stream, const struct purge_meta *meta)
{
    uint64_t end = stream->next_proposed;
    uint64_t target = meta->before;
    if (target == 0) {
        uint64_t kept = end - stream->first_offset;
        target = end - (meta->keep < kept ? meta->keep : kept);
    }
    return target > stream->first_offset ? target : stream->first_offset;
}

static void purge_check(const struct stream *stream, const struct purge_meta *meta,
                        struct answer_error *ret_error)
{
    if (stream->logd->draining) {
        ret_error->error = ERR_GOING_AWAY;
    } else if (meta->stream_id.size != 0 &&
               !span_equal(meta->stream_id,
                           span_make(stream->id.bytes, sizeof(stream->id.bytes)))) {
        *ret_error = (struct answer_error){.error = ERR_STREAM_CHANGED, .stream_id = &stream->id};
    } else if (meta->before > stream->next_proposed) {
        *ret_error = (struct answer_error){.error = ERR_OUT_OF_RANGE,
                                           .detail = "before: behind the end of the stream",
                                           .first_offset = stream->first_offset,
                                           .next_offset = stream->next_proposed};
    }
}

void purge_handle(struct logd *logd, struct bus_message *message, struct stream *stream)
{
    struct purge_meta meta;
    struct answer_error refusal = {0};
    struct trim trim = {.purge = true};
    uint64_t index = 0;
    if (purge_read(message->meta, &meta) != 0) {
        refusal = (struct answer_error){.error = ERR_BAD_REQUEST, .detail = "Purge"};
    } else {
        purge_check(stream, &meta, &refusal);
    }
    if (refusal.error == 0) {
        /* Also when nothing is to be removed: the answer then stands behind all that was decided before it. */
        trim.first_offset = purge_target(stream, &meta);
        trim.forget_ids = meta.forget_ids;
        refusal.error = trim_propose(stream, &trim, &index);
    }
    if (refusal.error != 0) {
        if (refusal.error == ERR_AGAIN) {
            refusal.error = ERR_OVERLOADED;
        }
        answer_error(logd, message->ticket, &refusal);
        return;
    }
    struct purge *purge = MEM_NEW(struct purge);
    purge->ticket = message->ticket;
    purge->index = index;
    list_init(&purge->link);
    list_push_back(&stream->purges, &purge->link);
}

static void purge_free(struct purge *purge)
{
    list_remove(&purge->link);
    mem_free(purge);
}

void purge_applied(struct stream *stream, uint64_t index, uint64_t removed)
{
    if (list_is_empty(&stream->purges)) {
        return;
    }
    struct logd *logd = stream->logd;
    struct purge *purge = LIST_ENTRY(stream->purges.next, struct purge, link);
    if (purge->index != index) {
        return; /* of retention */
    }
    struct buf *meta = &logd->scratch;
    buf_reset(meta);
    pb_append_varint(meta, PURGE_OK_PURGED, removed);
    pb_append_varint(meta, PURGE_OK_FIRST, stream->first_offset);
    pb_append_varint(meta, PURGE_OK_NEXT, stream->next_offset);
    answer_ok(logd, purge->ticket, RAILGUN__BUS_TYPE__BUS_LOG_PURGE, buf_span(meta), NULL);
    purge_free(purge);
}

void purge_refuse(struct stream *stream, int error)
{
    LIST_FOREACH (&stream->purges, node) {
        struct purge *purge = LIST_ENTRY(node, struct purge, link);
        if (error != 0) {
            answer_error(stream->logd, purge->ticket, &(struct answer_error){.error = error});
        }
        purge_free(purge);
    }
}
