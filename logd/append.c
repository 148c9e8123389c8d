/* append: publishes on their way into the log. Owns one struct for each that is not answered yet. Order is kept by one rule: while
 * anything waits for room, everything that comes later waits behind it. Never answers before the entry is committed, and never gives two
 * batches the same offsets: expectations are held against the offset that the next proposal will get. */
#include "logd/append.h"

#include <inttypes.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/batch.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"
#include "logd/answer.h"
#include "logd/kinds.h"
#include "logd/parking.h"
#include "logd/stream_body.h"

enum { APPEND_POOL_MAX = 1024 };

struct publish {
    struct list link; /* in append.waiting, or in its stream's publishes */
    uint64_t ticket;  /* 0: nobody waits */
    uint64_t index;
    uint64_t base;
    uint64_t ts_us;
    uint32_t count;
    struct stream *stream;
    struct slice batch; /* while waiting; then the journal has it */
    struct hot_expect expect;
    struct buf exceptions; /* RecordResult fields of PublishOk, encoded; atomic = false only */
    append_own_fn *own;    /* the daemon's own batch: told instead of answered; NULL: not so */
    void *own_ud;
};

struct append {
    struct logd *logd;
    struct list waiting; /* for room in the journal */
    uint64_t waiting_bytes;
    uint32_t waiting_count;
    uint64_t open;
    struct list pool; /* structs to be used again */
    unsigned pooled;
};

struct append *append_new(struct logd *logd)
{
    struct append *self = MEM_NEW(struct append);
    self->logd = logd;
    list_init(&self->waiting);
    list_init(&self->pool);
    return self;
}

static struct publish *publish_new(struct append *self)
{
    struct list *node = list_pop_front(&self->pool);
    struct publish *publish;
    if (node != NULL) {
        self->pooled--;
        publish = LIST_ENTRY(node, struct publish, link);
        *publish = (struct publish){0};
    } else {
        publish = MEM_NEW(struct publish);
    }
    list_init(&publish->link);
    self->open++;
    return publish;
}

static void publish_free(struct append *self, struct publish *publish)
{
    INVARIANT(self->open > 0);
    self->open--;
    list_remove(&publish->link);
    slice_release(&publish->batch);
    buf_release(&publish->exceptions);
    if (self->pooled < APPEND_POOL_MAX) {
        list_push_front(&self->pool, &publish->link);
        self->pooled++;
    } else {
        mem_free(publish);
    }
}

void append_destroy(struct append **self)
{
    if (*self == NULL) {
        return;
    }
    LIST_FOREACH (&(*self)->waiting, node) {
        publish_free(*self, LIST_ENTRY(node, struct publish, link));
    }
    LIST_FOREACH (&(*self)->pool, node) {
        mem_free(LIST_ENTRY(node, struct publish, link));
    }
    MEM_FREE(*self);
}

uint64_t append_open_count(const struct append *self)
{
    return self->open;
}

/* --- answers --- */

/* Whoever is told may append again at once: nothing of the publish is left by then. */
static void publish_tell_own(struct append *self, struct publish *publish, int error)
{
    append_own_fn *own = publish->own;
    void *own_ud = publish->own_ud;
    uint32_t count = error == 0 ? publish->count : 0;
    uint64_t *offsets = mem_new_array(count, sizeof(*offsets));
    for (uint32_t i = 0; i < count; i++) {
        offsets[i] = publish->base + i;
    }
    publish_free(self, publish);
    own(own_ud, error, offsets, count);
    mem_free(offsets);
}

static void publish_answer(struct append *self, struct publish *publish)
{
    struct logd *logd = self->logd;
    if (publish->own != NULL) {
        publish_tell_own(self, publish, 0);
        return;
    }
    if (publish->ticket != 0) {
        struct buf *meta = &logd->scratch;
        buf_reset(meta);
        pb_append_varint(meta, 1, publish->base);
        pb_append_varint(meta, 2, publish->count);
        pb_append_fixed64(meta, 3, publish->ts_us);
        buf_append(meta, buf_span(&publish->exceptions));
        answer_release(logd, publish->ticket); /* first: the credit goes back with the reply */
        answer_ok(logd, publish->ticket, RAILGUN__BUS_TYPE__BUS_LOG_PUBLISH, buf_span(meta), NULL);
    }
    publish_free(self, publish);
}

static void publish_refuse(struct append *self, struct publish *publish,
                           const struct answer_error *error)
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

/* --- what the request says --- */

struct publish_meta {
    struct hot_expect expect;
    struct span fence;
    struct span stream_id;
    uint64_t revision;
    bool atomic;
};

static int publish_meta_read(struct span meta, struct publish_meta *ret_meta)
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

/* What can be said without looking at the offsets; *ret_error is written if there is something. */
static void publish_check_meta(const struct publish_meta *meta, const struct stream *stream,
                               struct answer_error *ret_error)
{
    if (stream->deleted || stream->deleting) {
        ret_error->error = ERR_STREAM_DELETED;
    } else if (meta->stream_id.size != 0 &&
               !span_equal(meta->stream_id,
                           span_make(stream->id.bytes, sizeof(stream->id.bytes)))) {
        *ret_error = (struct answer_error){.error = ERR_STREAM_CHANGED, .stream_id = &stream->id};
    } else if (meta->fence.size != 0) {
        *ret_error = (struct answer_error){.error = ERR_UNSUPPORTED,
                                           .detail = "fence tokens are not built in yet"};
    } else if (meta->expect.kind == HOT_EXPECT_LAST_ID) {
        *ret_error = (struct answer_error){.error = ERR_UNSUPPORTED,
                                           .detail = "expect.last_id is not built in yet"};
    } else if (stream->has_dedup) {
        *ret_error = (struct answer_error){
            .error = ERR_UNSUPPORTED,
            .detail = "this stream asks for deduplication, which is not built in yet"};
    }
}

static bool publish_expects(const struct publish *publish)
{
    const struct hot_expect *expect = &publish->expect;
    bool is_empty = publish->stream->next_proposed == 1;
    switch (expect->kind) {
    case HOT_EXPECT_NEXT_OFFSET:
        return expect->next_offset == publish->stream->next_proposed;
    case HOT_EXPECT_NO_STREAM:
        return expect->wanted == is_empty;
    case HOT_EXPECT_STREAM_EXISTS:
        return expect->wanted != is_empty;
    case HOT_EXPECT_NONE:
    case HOT_EXPECT_LAST_ID:
    default:
        return true;
    }
}

/* --- a batch that need not be stored as a whole: records over a limit are left out and named --- */

static void publish_add_exception(struct publish *publish, uint32_t record, int error)
{
    uint8_t room[2 * (PB_TAG_SIZE_MAX + PB_VARINT_SIZE_MAX)];
    uint8_t *at = pb_put_tag(room, 1, PB_VARINT);
    at = pb_put_varint(at, record);
    at = pb_put_tag(at, 2, PB_VARINT);
    at = pb_put_varint(at, (uint64_t) -error);
    pb_append_bytes(&publish->exceptions, 4, span_make(room, (size_t) (at - room)));
}

static int publish_pick(struct publish *publish, const struct batch_limits *limits)
{
    struct span rest = publish->batch.bytes;
    if (rest.size > limits->batch_bytes_max) {
        return ERR_TOO_LARGE;
    }
    struct payload *picked = payload_new(rest.size);
    if (picked == NULL) {
        return ERR_OVERLOADED;
    }
    size_t size = 0;
    uint32_t kept = 0;
    int more = 0;
    for (uint32_t i = 0;; i++) {
        struct span before = rest;
        struct batch_record record;
        struct batch_summary summary;
        uint32_t at_fault;
        more = batch_next(&rest, &record);
        if (more != 1) {
            break;
        }
        struct span own = span_make(before.data, before.size - rest.size);
        int error = batch_check(own, limits, &summary, &at_fault);
        if (i >= limits->records_max) {
            error = ERR_TOO_LARGE;
        }
        if (error == ERR_PROTOCOL) {
            more = error;
            break;
        }
        if (error != 0) {
            publish_add_exception(publish, i, error);
            continue;
        }
        memcpy(payload_data(picked) + size, own.data, own.size);
        size += own.size;
        kept++;
    }
    if (more == 0) {
        slice_release(&publish->batch);
        publish->batch = (struct slice){picked, span_make(payload_span(picked).data, size)};
        publish->count = kept;
    } else {
        payload_unref(&picked);
    }
    return more;
}

/* Count and limits of the batch. 0, or the error to answer with. */
static int publish_check_batch(struct logd *logd, struct publish *publish, bool atomic,
                               uint32_t *ret_record)
{
    struct batch_limits limits = logd->options.limits;
    uint64_t record_bytes_max = publish->stream->record_bytes_max;
    if (record_bytes_max != 0 && record_bytes_max < limits.record_bytes_max) {
        limits.record_bytes_max = record_bytes_max;
    }
    struct batch_summary summary;
    *ret_record = 0;
    int error = batch_check(publish->batch.bytes, &limits, &summary, ret_record);
    if (error == 0) {
        publish->count = summary.records;
        return 0;
    }
    if (!atomic && (error == ERR_TOO_LARGE || error == ERR_BAD_REQUEST)) {
        return publish_pick(publish, &limits);
    }
    return error;
}

/* --- proposing --- */

/* 0: in flight, answered or refused; ERR_AGAIN: no room now, nothing was changed. */
static int publish_propose(struct append *self, struct publish *publish)
{
    struct stream *stream = publish->stream;
    if (stream->deleted || stream->deleting) { /* while it waited */
        publish_refuse(self, publish, &(struct answer_error){.error = ERR_STREAM_DELETED});
        return 0;
    }
    if (!stream_is_open(stream)) {
        return ERR_AGAIN;
    }
    if (!publish_expects(publish)) {
        publish_refuse(self, publish,
                       &(struct answer_error){.error = ERR_WRONG_OFFSET,
                                              .next_offset = stream->next_proposed});
        return 0;
    }
    if (publish->count == 0) { /* every record was refused by itself */
        publish_answer(self, publish);
        return 0;
    }
    uint64_t ts_us = stream_stamp_us(stream);
    int error = replica_propose(stream->replica, LOG_KIND_BATCH, stream->next_proposed,
                                publish->count, ts_us, &publish->batch, &publish->index);
    if (error == ERR_AGAIN) {
        return error;
    }
    if (error == ERR_POISONED) {
        publish_free(self, publish); /* the process ends; whoever asked learns "unknown" */
        return 0;
    }
    if (error != 0) {
        publish_refuse(self, publish, &(struct answer_error){.error = error});
        return 0;
    }
    stream->ts_us = ts_us;
    publish->ts_us = ts_us;
    publish->base = stream->next_proposed;
    stream->next_proposed += publish->count;
    slice_release(&publish->batch);
    list_push_back(&stream->publishes, &publish->link);
    return 0;
}

static void append_wait(struct append *self, struct publish *publish)
{
    struct logd *logd = self->logd;
    uint64_t bytes = publish->batch.bytes.size;
    if (self->waiting_count >= logd->options.waiting_max ||
        self->waiting_bytes + bytes > logd->options.waiting_bytes_max) {
        (*logd->count.overloaded)++;
        publish_refuse(self, publish, &(struct answer_error){.error = ERR_OVERLOADED});
        return;
    }
    (*logd->count.waited)++;
    self->waiting_count++;
    self->waiting_bytes += bytes;
    list_push_back(&self->waiting, &publish->link);
}

/* Now, or when all that waits has gone before it. */
static void append_submit(struct append *self, struct publish *publish)
{
    if (!list_is_empty(&self->waiting) || publish_propose(self, publish) == ERR_AGAIN) {
        append_wait(self, publish);
    }
}

void append_retry(struct append *self)
{
    while (!list_is_empty(&self->waiting)) {
        struct publish *publish = LIST_ENTRY(self->waiting.next, struct publish, link);
        uint64_t bytes = publish->batch.bytes.size;
        list_remove(&publish->link);
        self->waiting_count--;
        self->waiting_bytes -= bytes;
        if (publish_propose(self, publish) == ERR_AGAIN) {
            self->waiting_count++;
            self->waiting_bytes += bytes;
            list_push_front(&self->waiting, &publish->link);
            return;
        }
    }
}

/* --- from outside --- */

static void append_describe_fault(char *detail, size_t capacity, int error, uint32_t record)
{
    (void) snprintf(detail, capacity, "record %" PRIu32 " of the batch: %s", record,
                    err_text(error)); /* cut short if need be */
}

void append_handle(struct append *self, struct bus_link *link, struct bus_message *message,
                   struct stream *stream)
{
    struct logd *logd = self->logd;
    struct publish_meta meta;
    struct answer_error refusal = {0};
    int error = publish_meta_read(message->meta, &meta);
    if (error != 0) {
        refusal = (struct answer_error){.error = ERR_BAD_REQUEST, .detail = "LogPublish"};
    } else if (stream == NULL) {
        refusal.error = parking_take(logd->parking, link, message, meta.revision);
        if (refusal.error == 0) {
            return;
        }
    } else if (logd->draining) {
        refusal.error = ERR_GOING_AWAY;
    } else {
        publish_check_meta(&meta, stream, &refusal);
    }
    if (refusal.error != 0) {
        (*logd->count.refused)++;
        answer_error(logd, message->ticket, &refusal);
        return;
    }

    struct publish *publish = publish_new(self);
    publish->ticket = message->ticket;
    publish->stream = stream;
    publish->expect = meta.expect;
    publish->batch = slice_ref(&message->body);
    uint32_t record;
    error = publish_check_batch(logd, publish, meta.atomic, &record);
    if (error != 0) {
        char detail[160];
        append_describe_fault(detail, sizeof(detail), error, record);
        publish->ticket = 0; /* answered here: the message is not held */
        publish_refuse(self, publish, NULL);
        answer_error(logd, message->ticket,
                     &(struct answer_error){.error = error, .detail = detail});
        return;
    }
    bus_message_hold(message);
    publish->expect.last_id = (struct span){0}; /* lay in the message */
    append_submit(self, publish);
}

void append_own(struct append *self, struct stream *stream, const struct slice *batch,
                append_own_fn *done, void *ud)
{
    struct publish *publish = publish_new(self);
    publish->stream = stream;
    publish->own = done;
    publish->own_ud = ud;
    publish->batch = slice_ref(batch);
    uint32_t record;
    int error = publish_check_batch(self->logd, publish, true, &record);
    if (error != 0) {
        publish_refuse(self, publish, &(struct answer_error){.error = error});
        return;
    }
    append_submit(self, publish);
}

void append_applied(struct stream *stream, const struct journal_entry *entry)
{
    struct logd *logd = stream->logd;
    struct append *self = logd->append;
    (*logd->count.publishes)++;
    *logd->count.records += entry->count;
    *logd->count.bytes += entry->payload.bytes.size;

    INVARIANT(!list_is_empty(&stream->publishes));
    struct publish *publish = LIST_ENTRY(stream->publishes.next, struct publish, link);
    INVARIANT(publish->index == entry->index);
    INVARIANT(publish->base == entry->base);
    publish_answer(self, publish);
}

void append_forget(struct stream *stream)
{
    struct append *self = stream->logd->append;
    LIST_FOREACH (&stream->publishes, node) {
        publish_free(self, LIST_ENTRY(node, struct publish, link));
    }
}
