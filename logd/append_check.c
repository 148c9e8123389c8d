/* append_check: whether a publish may be stored, as far as that can be said without its IDs: what the request asks for, the form and the limits of
 * its batch, and what it expects of the stream. Changes nothing. */
#include "logd/append_private.h"

#include <string.h>

#include "common/base/err.h"
#include "common/wire/batch.h"
#include "common/wire/pb.h"
#include "logd/stream_body.h"

int publish_meta_read(struct span meta, struct publish_meta *ret_meta)
{
    struct publish_meta result = {.atomic = true};
    struct pb_field field;
    int more;
    while ((more = pb_next(&meta, &field)) == 1) {
        switch (field.number) {
        case 1:
            if (field.type != PB_BYTES || hot_expect_read(field.bytes, &result.expect) != 0) {
                return ERR_PROTOCOL;
            }
            break;
        case 2:
            result.fence = field.bytes;
            break;
        case 3:
            result.atomic = field.value != 0;
            break;
        case 4:
            result.revision = field.value;
            break;
        case 5:
            result.stream_id = field.bytes;
            break;
        default:
            break;
        }
    }
    if (more == 0) {
        *ret_meta = result;
    }
    return more;
}

void publish_check_meta(const struct publish_meta *meta, const struct stream *stream,
                        struct answer_error *ret_error)
{
    if (stream_is_gone(stream)) {
        ret_error->error = ERR_STREAM_DELETED;
    } else if (meta->expect.kind == HOT_EXPECT_NEXT_OFFSET && meta->expect.next_offset == 0) {
        *ret_error = (struct answer_error){.error = ERR_BAD_REQUEST,
                                           .detail = "expect.next_offset: offsets begin with 1"};
    } else if (meta->stream_id.size != 0 &&
               !span_equal(meta->stream_id,
                           span_make(stream->id.bytes, sizeof(stream->id.bytes)))) {
        *ret_error = (struct answer_error){.error = ERR_STREAM_CHANGED, .stream_id = &stream->id};
    } else if (!span_equal(meta->fence, buf_span(&stream->fence))) {
        *ret_error = (struct answer_error){
            .error = ERR_FENCED,
            .detail = meta->fence.size == 0     ? "the stream has a fence, the publish brings none"
                      : stream->fence.size == 0 ? "the stream has no fence, the publish brings one"
                                                : "the stream has another fence"};
    }
}

/* --- expectations --- */

void stream_read_last_id(struct stream *stream, struct buf *ret_id)
{
    buf_reset(ret_id);
    if (stream->first_offset == stream->next_offset) {
        buf_append(ret_id, buf_span(&stream->last_id));
        return;
    }
    struct stream_page page;
    uint64_t corrupt_last;
    if (stream_read(stream, stream->next_offset - 1, 1, UINT64_MAX, &page, &corrupt_last) != 0) {
        return;
    }
    struct span rest = page.batch.bytes;
    struct batch_record record;
    if (batch_next(&rest, &record) == 1) {
        buf_append(ret_id, record.id);
    }
    stream_page_release(&page);
}

void publish_refuse_offset(struct append *self, struct publish *publish)
{
    struct stream *stream = publish->stream;
    struct buf last_id = {0};
    if (stream->next_proposed == stream->next_offset) {
        stream_read_last_id(stream, &last_id);
    }
    publish_refuse(self, publish,
                   &(struct answer_error){.error = ERR_WRONG_OFFSET,
                                          .next_offset = stream->next_proposed,
                                          .last_id = buf_span(&last_id)});
    buf_release(&last_id);
}

static bool publish_last_id_is(const struct publish *publish)
{
    struct buf last_id = {0};
    stream_read_last_id(publish->stream, &last_id);
    bool is_same = span_equal(buf_span(&publish->last_id), buf_span(&last_id));
    buf_release(&last_id);
    return is_same;
}

int publish_check_expect(struct publish *publish)
{
    const struct hot_expect *expect = &publish->expect;
    struct stream *stream = publish->stream;
    bool is_empty = stream->next_proposed == 1;
    bool is_met = true;
    switch (expect->kind) {
    case HOT_EXPECT_NEXT_OFFSET:
        is_met = expect->next_offset == stream->next_proposed;
        break;
    case HOT_EXPECT_NO_STREAM:
        is_met = expect->wanted == is_empty;
        break;
    case HOT_EXPECT_STREAM_EXISTS:
        is_met = expect->wanted != is_empty;
        break;
    case HOT_EXPECT_LAST_ID:
        if (stream->next_proposed != stream->next_offset) {
            publish->held_for = stream->next_proposed - 1; /* then it can be read */
            return ERR_AGAIN;
        }
        is_met = publish_last_id_is(publish);
        break;
    case HOT_EXPECT_NONE:
    default:
        break;
    }
    return is_met ? 0 : ERR_WRONG_OFFSET;
}

/* --- a batch that need not be stored as a whole: records over a limit are left out and named --- */

void publish_add_exception(struct publish *publish, const struct publish_exception *exception)
{
    struct publish_exception own = *exception;
    if (publish->picked.size != 0) {
        memcpy(&own.record, publish->picked.data + exception->record * sizeof(uint32_t),
               sizeof(uint32_t));
    }
    buf_append(&publish->exceptions, span_make(&own, sizeof(own)));
}

struct picking {
    struct payload *picked;
    size_t size;
    uint32_t records;
    uint32_t kept;
    uint32_t with_id;
    struct buf numbers;
};

/* The next record of *rest. 1, 0 at the end, or ERR_PROTOCOL. */
static int picking_next(struct picking *self, struct publish *publish, struct span *rest,
                        const struct batch_limits *limits)
{
    struct span before = *rest;
    struct batch_record record;
    struct batch_summary summary;
    uint32_t at_fault;
    int more = batch_next(rest, &record);
    if (more != 1) {
        return more;
    }
    struct span own = span_make(before.data, before.size - rest->size);
    uint32_t number = self->records++;
    int error = batch_check(own, limits, &summary, &at_fault);
    if (number >= limits->records_max) {
        error = ERR_TOO_LARGE;
    }
    if (error == ERR_PROTOCOL) {
        return error;
    }
    if (error != 0) {
        publish_add_exception(publish,
                              &(struct publish_exception){.record = number, .error = error});
        return 1;
    }
    memcpy(payload_data(self->picked) + self->size, own.data, own.size);
    self->size += own.size;
    self->with_id += summary.with_id;
    self->kept++;
    buf_append(&self->numbers, span_make(&number, sizeof(number)));
    return 1;
}

static int publish_pick(struct publish *publish, const struct batch_limits *limits)
{
    struct span rest = publish->batch.bytes;
    if (rest.size > limits->batch_bytes_max) {
        return ERR_TOO_LARGE;
    }
    struct picking picking = {.picked = payload_new(rest.size)};
    if (picking.picked == NULL) {
        return ERR_OVERLOADED;
    }
    int more;
    do {
        more = picking_next(&picking, publish, &rest, limits);
    } while (more == 1);
    if (more != 0) {
        payload_unref(&picking.picked);
        buf_release(&picking.numbers);
        return more;
    }
    slice_release(&publish->batch);
    publish->batch =
        (struct slice){picking.picked, span_make(payload_span(picking.picked).data, picking.size)};
    publish->total = picking.records;
    publish->count = picking.kept;
    publish->with_id = picking.with_id;
    publish->picked = picking.numbers;
    return 0;
}

int publish_check_batch(struct logd *logd, struct publish *publish, uint32_t *ret_record)
{
    struct batch_limits limits = logd->options.limits;
    uint64_t record_bytes_max = publish->stream->record_bytes_max;
    if (record_bytes_max != 0 && record_bytes_max < limits.record_bytes_max) {
        limits.record_bytes_max = record_bytes_max;
    }
    if (publish->own != NULL) { /* a record that was let in, and what the daemon adds to it */
        limits.batch_bytes_max = UINT32_MAX;
        limits.record_bytes_max = UINT32_MAX;
        limits.headers_max = UINT32_MAX;
        limits.header_bytes_max = UINT32_MAX;
    }
    struct batch_summary summary;
    *ret_record = 0;
    int error = batch_check(publish->batch.bytes, &limits, &summary, ret_record);
    if (error == 0) {
        publish->total = summary.records;
        publish->count = summary.records;
        publish->with_id = summary.with_id;
        return 0;
    }
    if (!publish->atomic && (error == ERR_TOO_LARGE || error == ERR_BAD_REQUEST)) {
        return publish_pick(publish, &limits);
    }
    return error;
}
