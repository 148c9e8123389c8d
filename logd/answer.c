/* answer: replies out of logd. Owns nothing. A reply whose asker is gone is dropped: he knows that his session has ended. */
#include "logd/answer.h"

#include "common/base/err.h"
#include "common/wire/pb.h"
#include "logd/core.h"

void answer_ok(struct logd *logd, uint64_t ticket, uint16_t type, struct span meta,
               const struct slice *body)
{
    if (logd->bus == NULL) {
        return;
    }
    struct bus_outgoing out = {.type = type, .meta = meta};
    if (body != NULL) {
        out.body = *body;
    }
    (void) bus_reply(logd->bus, ticket, &out); /* ERR_CLOSED: nobody asks any more */
}

/* What a client may be told. */
static int answer_public(int error)
{
    const struct err_info *info = err_find(error);
    if (error == ERR_NO_MEMORY) {
        return ERR_OVERLOADED;
    }
    if (info == NULL || info->class_ == ERR_CLASS_LOCAL) {
        return ERR_INTERNAL;
    }
    return error;
}

static void answer_put_range(struct buf *meta, uint64_t first, uint64_t last)
{
    uint8_t room[2 * (PB_TAG_SIZE_MAX + PB_VARINT_SIZE_MAX)];
    uint8_t *at = pb_put_tag(room, 1, PB_VARINT);
    at = pb_put_varint(at, first);
    at = pb_put_tag(at, 2, PB_VARINT);
    at = pb_put_varint(at, last);
    pb_append_bytes(meta, 7, span_make(room, (size_t) (at - room)));
}

/* What only publishes are told. */
static void answer_put_publish(struct buf *meta, const struct answer_error *error)
{
    if (error->retry_after_ms != 0) {
        pb_append_varint(meta, 4, error->retry_after_ms);
    }
    if (error->last_id.size != 0) {
        pb_append_bytes(meta, 8, error->last_id);
    }
    if (error->offset != 0) {
        pb_append_varint(meta, 11, error->offset);
        pb_append_fixed64(meta, 12, error->ts_us);
    }
    if (error->has_record) {
        pb_append_varint(meta, 13, error->record);
    }
}

void answer_error(struct logd *logd, uint64_t ticket, const struct answer_error *error)
{
    if (logd->bus == NULL) {
        return;
    }
    int status = answer_public(error->error);
    const char *detail = error->detail;
    if (detail == NULL && status != error->error) {
        detail = err_text(error->error);
    }
    struct buf *meta = &logd->scratch;
    buf_reset(meta);
    pb_append_varint(meta, 1, (uint64_t) -status);
    pb_append_bytes(meta, 2, span_of(err_text(status)));
    if (detail != NULL) {
        pb_append_bytes(meta, 3, span_of(detail));
    }
    if (error->next_offset != 0) {
        pb_append_varint(meta, 5, error->next_offset);
    }
    if (error->first_offset != 0) {
        pb_append_varint(meta, 6, error->first_offset);
    }
    if (error->range_first != 0) {
        answer_put_range(meta, error->range_first, error->range_last);
    }
    if (error->stream_id != NULL) {
        pb_append_bytes(meta, 9,
                        span_make(error->stream_id->bytes, sizeof(error->stream_id->bytes)));
    }
    answer_put_publish(meta, error);
    struct bus_outgoing out = {.status = status, .meta = buf_span(meta)};
    (void) bus_reply(logd->bus, ticket, &out); /* ERR_CLOSED: nobody asks any more */
}

void answer_release(struct logd *logd, uint64_t ticket)
{
    if (logd->bus != NULL) {
        bus_release(logd->bus, ticket);
    }
}
