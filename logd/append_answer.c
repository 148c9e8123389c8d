/* append_answer: how publishes end: answered, refused, or told to the part of the daemon that made them. Never before the entry is committed. */
#include "logd/append_private.h"

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "logd/planted.h"
#include "logd/stream_body.h"

enum {
    PUBLISH_OK_EXCEPTIONS = 4,
    RESULT_RECORD = 1,
    RESULT_CODE = 2,
    RESULT_OFFSET = 3,
    RESULT_TS = 4,
    RESULT_DETAIL = 5,
};

static const struct publish_exception *publish_exceptions(const struct publish *publish,
                                                          size_t *ret_count)
{
    *ret_count = publish->exceptions.size / sizeof(struct publish_exception);
    return (const void *) publish->exceptions.data; /* a buf's memory is malloc's */
}

static void exception_encode(struct buf *meta, const struct publish_exception *exception)
{
    uint8_t room[3 * (PB_TAG_SIZE_MAX + PB_VARINT_SIZE_MAX) + PB_TAG_SIZE_MAX + 8];
    uint8_t *at = pb_put_varint(pb_put_tag(room, RESULT_RECORD, PB_VARINT), exception->record);
    at = pb_put_varint(pb_put_tag(at, RESULT_CODE, PB_VARINT), (uint64_t) -exception->error);
    if (exception->offset != 0) {
        at = pb_put_varint(pb_put_tag(at, RESULT_OFFSET, PB_VARINT), exception->offset);
        at = pb_put_tag(at, RESULT_TS, PB_FIXED64);
        for (unsigned i = 0; i < 8; i++) {
            *at++ = (uint8_t) (exception->ts_us >> (8 * i));
        }
    }
    struct span numbers = span_make(room, (size_t) (at - room));
    if (exception->detail == NULL) {
        pb_append_bytes(meta, PUBLISH_OK_EXCEPTIONS, numbers);
        return;
    }
    struct buf all = {0};
    buf_append(&all, numbers);
    pb_append_bytes(&all, RESULT_DETAIL, span_of(exception->detail));
    pb_append_bytes(meta, PUBLISH_OK_EXCEPTIONS, buf_span(&all));
    buf_release(&all);
}

/* Whoever is told may append again at once: nothing of the publish is left by then. */
static void publish_tell_own(struct append *self, struct publish *publish, int error)
{
    append_own_fn *own = publish->own;
    void *own_ud = publish->own_ud;
    uint32_t count = error == 0 ? publish->total : 0;
    uint64_t *offsets = mem_new_array(count, sizeof(*offsets));
    size_t left;
    const struct publish_exception *exception = publish_exceptions(publish, &left);
    uint64_t offset = publish->base;
    for (uint32_t i = 0; i < count; i++) {
        if (left > 0 && exception->record == i) {
            offsets[i] = exception->offset;
            exception++;
            left--;
        } else {
            offsets[i] = offset++;
        }
    }
    publish_free(self, publish);
    own(own_ud, error, offsets, count);
    mem_free(offsets);
}

void publish_answer(struct append *self, struct publish *publish)
{
    struct logd *logd = self->logd;
    if (publish->own != NULL) {
        publish_tell_own(self, publish, 0);
        return;
    }
    if (publish->ticket != 0) {
        struct buf *meta = &logd->scratch;
        buf_reset(meta);
        bool is_off = PLANTED(ANSWER_OFF) && publish->base % 64 == 1;
        pb_append_varint(meta, 1, is_off ? publish->base + 1 : publish->base);
        pb_append_varint(meta, 2, publish->count);
        pb_append_fixed64(meta, 3, publish->ts_us);
        size_t count;
        const struct publish_exception *exceptions = publish_exceptions(publish, &count);
        for (size_t i = 0; i < count; i++) {
            exception_encode(meta, &exceptions[i]);
        }
        answer_release(logd, publish->ticket); /* first: the credit goes back with the reply */
        answer_ok(logd, publish->ticket, RAILGUN__BUS_TYPE__BUS_LOG_PUBLISH, buf_span(meta), NULL);
    }
    publish_free(self, publish);
}

void publish_refuse(struct append *self, struct publish *publish, const struct answer_error *error)
{
    struct logd *logd = self->logd;
    (*logd->count.refused)++;
    if (publish->own != NULL) {
        publish_tell_own(self, publish, error->error);
        return;
    }
    if (publish->ticket != 0) {
        answer_release(logd, publish->ticket);
        answer_error(logd, publish->ticket, error);
    }
    publish_free(self, publish);
}
