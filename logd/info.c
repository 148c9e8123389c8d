/* info: a stream's numbers as a StreamInfo. Reads only what is in memory. */
#include "logd/info.h"

#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "logd/answer.h"
#include "logd/ids.h"
#include "logd/release.h"
#include "logd/stream_body.h"

enum { INFO_CORRUPT_MAX = 100 };

static void info_put_corrupt(struct buf *meta, const struct stream *stream)
{
    struct range range;
    uint64_t from = 0;
    for (unsigned i = 0; stream->corrupt != NULL && i < INFO_CORRUPT_MAX &&
                         ranges_find_from(stream->corrupt, from, &range);
         i++) {
        uint8_t room[2 * (PB_TAG_SIZE_MAX + PB_VARINT_SIZE_MAX)];
        uint8_t *at = pb_put_tag(room, 1, PB_VARINT);
        at = pb_put_varint(at, range.first);
        at = pb_put_tag(at, 2, PB_VARINT);
        at = pb_put_varint(at, range.last);
        pb_append_bytes(meta, 13, span_make(room, (size_t) (at - room)));
        from = range.last + 1;
    }
}

void info_answer_stream(struct stream *stream, struct bus_message *message)
{
    struct logd *logd = stream->logd;
    uint64_t lost = stream->corrupt != NULL ? ranges_total(stream->corrupt) : 0;
    struct buf *meta = &logd->scratch;
    buf_reset(meta);
    pb_append_varint(meta, 5, stream->first_offset);
    pb_append_varint(meta, 6, stream->next_offset);
    pb_append_varint(meta, 7, stream->next_offset - stream->first_offset - lost);
    pb_append_varint(meta, 8, extents_live_bytes(&stream->extents));
    pb_append_fixed64(meta, 10, stream->last_ts_us);
    pb_append_varint(meta, 11, groups_count(stream->groups));
    pb_append_varint(meta, 12, stream->log_group);
    info_put_corrupt(meta, stream);
    pb_append_varint(meta, 14, stream->replica != NULL ? replica_term(stream->replica) : 0);
    pb_append_varint(meta, 15, stream->replica != NULL ? replica_commit_index(stream->replica) : 0);
    if (stream->ids != NULL) {
        ids_expire(stream->ids, stream_stamp_us(stream));
        pb_append_varint(meta, 16, ids_count(stream->ids));
        pb_append_varint(meta, 17, ids_memory(stream->ids));
    }
    pb_append_fixed64(meta, 20, stream_first_ts_us(stream));
    pb_append_varint(meta, 22, release_pinned_bytes(logd->release, stream));
    answer_ok(logd, message->ticket, RAILGUN__BUS_TYPE__BUS_LOG_STREAM_INFO, buf_span(meta), NULL);
}
