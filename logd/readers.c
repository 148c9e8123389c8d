/* readers: one page for one request. Owns the requests that wait at a stream's end, each with a timer. Reads nothing itself: stream_read does.
 * Never waits when there is something to give, and never gives what is not committed. */
#include "logd/readers.h"

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "logd/answer.h"
#include "logd/stream_body.h"

enum {
    READ_RECORDS_DEFAULT = 10000,
    READ_RECORDS_MAX = 65536,
    READ_BYTES_DEFAULT = 1 << 20,
    READ_BYTES_MAX = 4 << 20,
    READ_WAIT_MS_MAX = 60000,
};

struct reader {
    struct list link; /* in its stream's readers */
    struct stream *stream;
    uint64_t ticket;
    uint64_t offset;
    uint64_t bytes_max;
    uint32_t records_max;
    uint32_t wait_ms;
    struct wheel_timer timer;
};

struct readers {
    struct logd *logd;
    uint32_t waiting;
};

struct readers *readers_new(struct logd *logd)
{
    struct readers *self = MEM_NEW(struct readers);
    self->logd = logd;
    return self;
}

void readers_destroy(struct readers **self)
{
    MEM_FREE(*self);
}

/* --- the answer --- */

static void read_put_times(struct buf *meta, const struct stream_page *page)
{
    for (uint32_t i = 0; i < page->time_count; i++) {
        uint8_t room[PB_TAG_SIZE_MAX + PB_VARINT_SIZE_MAX + PB_TAG_SIZE_MAX + 8];
        uint8_t *at = room;
        if (page->times[i].after != 0) {
            at = pb_put_tag(at, 1, PB_VARINT);
            at = pb_put_varint(at, page->times[i].after);
        }
        at = pb_put_tag(at, 2, PB_FIXED64);
        bytes_put_u64(at, page->times[i].ts_us);
        at += 8;
        pb_append_bytes(meta, 6, span_make(room, (size_t) (at - room)));
    }
}

static void read_answer_page(const struct reader *reader, const struct stream_page *page)
{
    const struct stream *stream = reader->stream;
    struct logd *logd = stream->logd;
    struct buf *meta = &logd->scratch;
    buf_reset(meta);
    pb_append_varint(meta, 1, reader->offset);
    pb_append_varint(meta, 2, page->count);
    pb_append_varint(meta, 3, reader->offset + page->count);
    pb_append_varint(meta, 4, stream->first_offset);
    pb_append_varint(meta, 5, stream->next_offset);
    read_put_times(meta, page);
    pb_append_bytes(meta, 7, span_make(stream->id.bytes, sizeof(stream->id.bytes)));
    answer_ok(logd, reader->ticket, RAILGUN__BUS_TYPE__BUS_LOG_READ, buf_span(meta), &page->batch);
}

/* From reader->offset, which is not the end. */
static void read_answer(const struct reader *reader)
{
    struct stream *stream = reader->stream;
    struct stream_page page = {0};
    uint64_t corrupt_last = 0;
    int error = stream_read(stream, reader->offset, reader->records_max, reader->bytes_max, &page,
                            &corrupt_last);
    if (error == 0) {
        read_answer_page(reader, &page);
        stream_page_release(&page);
        return;
    }
    struct answer_error answer = {.error = error};
    if (error == ERR_OUT_OF_RANGE) {
        answer.first_offset = stream->first_offset;
        answer.next_offset = stream->next_offset;
    } else if (error == ERR_CORRUPT) {
        answer.range_first = reader->offset;
        answer.range_last = corrupt_last;
    }
    answer_error(stream->logd, reader->ticket, &answer);
}

/* --- waiting --- */

static void reader_free(struct reader *reader)
{
    struct logd *logd = reader->stream->logd;
    wheel_cancel(loop_wheel(logd->loop), &reader->timer);
    list_remove(&reader->link);
    logd->readers->waiting--;
    mem_free(reader);
}

static void reader_on_timer(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    struct reader *reader = ud;
    struct stream_page empty = {0};
    read_answer_page(reader, &empty);
    reader_free(reader);
}

void readers_wake(struct stream *stream)
{
    struct list waiting;
    list_take_all(&waiting, &stream->readers);
    LIST_FOREACH (&waiting, node) {
        struct reader *reader = LIST_ENTRY(node, struct reader, link);
        if (reader->offset < stream->next_offset) {
            read_answer(reader);
            reader_free(reader);
        } else {
            list_remove(node);
            list_push_back(&stream->readers, node);
        }
    }
}

void readers_refuse(struct stream *stream, int error)
{
    LIST_FOREACH (&stream->readers, node) {
        struct reader *reader = LIST_ENTRY(node, struct reader, link);
        answer_error(stream->logd, reader->ticket, &(struct answer_error){.error = error});
        reader_free(reader);
    }
}

void readers_forget(struct stream *stream)
{
    LIST_FOREACH (&stream->readers, node) {
        reader_free(LIST_ENTRY(node, struct reader, link));
    }
}

/* --- the request --- */

struct read_meta {
    uint64_t at;
    uint64_t offset;
    uint64_t ts_us;
    uint64_t bytes_max;
    uint64_t records_max;
    uint64_t wait_ms;
    struct span stream_id;
};

static int read_start(struct span start, struct read_meta *meta)
{
    struct pb_field field;
    int more;
    while ((more = pb_next(&start, &field)) == 1) {
        if (field.number == 1) {
            meta->at = field.value;
        } else if (field.number == 2) {
            meta->offset = field.value;
        } else if (field.number == 3) {
            meta->ts_us = field.value;
        }
    }
    return more;
}

static int read_meta_read(struct span bytes, struct read_meta *ret_meta)
{
    struct read_meta meta = {0};
    struct pb_field field;
    int more;
    while ((more = pb_next(&bytes, &field)) == 1) {
        switch (field.number) {
        case 2:
            if (read_start(field.bytes, &meta) != 0) {
                return ERR_PROTOCOL;
            }
            break;
        case 3:
            meta.records_max = (uint32_t) field.value;
            break;
        case 4:
            meta.bytes_max = field.value;
            break;
        case 5:
            meta.wait_ms = (uint32_t) field.value;
            break;
        case 6:
            meta.stream_id = field.bytes;
            break;
        default:
            break;
        }
    }
    if (more == 0) {
        *ret_meta = meta;
    }
    return more;
}

static int read_find_start(struct stream *stream, const struct read_meta *meta,
                           uint64_t *ret_offset)
{
    switch ((Railgun__Start__At) meta->at) {
    case RAILGUN__START__AT__AT_DEFAULT:
        *ret_offset = meta->offset != 0 ? meta->offset : stream->first_offset;
        return 0;
    case RAILGUN__START__AT__AT_FIRST:
        *ret_offset = stream->first_offset;
        return 0;
    case RAILGUN__START__AT__AT_LATEST:
        *ret_offset = stream->next_offset;
        return 0;
    case RAILGUN__START__AT__AT_LAST_N: {
        uint64_t kept = stream->next_offset - stream->first_offset;
        *ret_offset = stream->next_offset - (meta->offset < kept ? meta->offset : kept);
        return 0;
    }
    case RAILGUN__START__AT__AT_OFFSET:
        *ret_offset = meta->offset;
        return 0;
    case RAILGUN__START__AT__AT_TIMESTAMP:
        return stream_find_time(stream, meta->ts_us, ret_offset);
    case _RAILGUN__START__AT_IS_INT_SIZE:
    default:
        return ERR_BAD_REQUEST;
    }
}

static uint64_t read_bounded(uint64_t wanted, uint64_t absent, uint64_t most)
{
    return wanted == 0 ? absent : wanted < most ? wanted : most;
}

static void readers_wait(struct readers *self, const struct reader *wanted)
{
    struct logd *logd = self->logd;
    if (self->waiting >= logd->options.readers_max) {
        (*logd->count.overloaded)++;
        answer_error(logd, wanted->ticket, &(struct answer_error){.error = ERR_OVERLOADED});
        return;
    }
    struct reader *reader = MEM_NEW(struct reader);
    *reader = *wanted;
    list_init(&reader->link);
    list_push_back(&reader->stream->readers, &reader->link);
    wheel_timer_init(&reader->timer, reader_on_timer, reader);
    loop_timer_start(logd->loop, &reader->timer, reader->wait_ms);
    self->waiting++;
}

void readers_handle(struct readers *self, struct bus_message *message, struct stream *stream)
{
    struct logd *logd = self->logd;
    (*logd->count.reads)++;
    struct read_meta meta;
    struct answer_error refusal = {0};
    struct reader reader = {.stream = stream, .ticket = message->ticket};
    if (read_meta_read(message->meta, &meta) != 0) {
        refusal = (struct answer_error){.error = ERR_BAD_REQUEST, .detail = "Read"};
    } else if (stream_is_gone(stream)) {
        refusal.error = ERR_STREAM_DELETED;
    } else if (meta.stream_id.size != 0 &&
               !span_equal(meta.stream_id, span_make(stream->id.bytes, sizeof(stream->id.bytes)))) {
        refusal = (struct answer_error){.error = ERR_STREAM_CHANGED, .stream_id = &stream->id};
    } else {
        refusal.error = read_find_start(stream, &meta, &reader.offset);
    }
    if (refusal.error != 0) {
        answer_error(logd, message->ticket, &refusal);
        return;
    }
    reader.records_max =
        (uint32_t) read_bounded(meta.records_max, READ_RECORDS_DEFAULT, READ_RECORDS_MAX);
    reader.bytes_max = read_bounded(meta.bytes_max, READ_BYTES_DEFAULT, READ_BYTES_MAX);
    reader.wait_ms = (uint32_t) read_bounded(meta.wait_ms, 0, READ_WAIT_MS_MAX);
    if (reader.offset != stream->next_offset) {
        read_answer(&reader);
    } else if (reader.wait_ms == 0 || logd->draining) {
        struct stream_page empty = {0};
        read_answer_page(&reader, &empty);
    } else {
        readers_wait(self, &reader);
    }
}
