/* append: publishes on their way into the log. Owns one struct for each that is not answered yet. Order is kept by two rules: while anything
 * waits for room, everything that comes later waits behind it; while a publish waits for another one in flight, all later ones of its stream wait
 * behind it. Never answers before the entry is committed, and never gives two batches the same offsets: expectations are held against the
 * offset that the next proposal will get. */
#include "logd/append.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/bus.pb-c.h"
#include "logd/append_private.h"
#include "logd/kinds.h"
#include "logd/parking.h"
#include "logd/planted.h"
#include "logd/stream_body.h"

enum { APPEND_POOL_MAX = 1024 };

struct append *append_new(struct logd *logd)
{
    struct append *self = MEM_NEW(struct append);
    self->logd = logd;
    list_init(&self->waiting);
    list_init(&self->holding);
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
    publish->atomic = true;
    self->open++;
    return publish;
}

void publish_free(struct append *self, struct publish *publish)
{
    INVARIANT(self->open > 0);
    self->open--;
    list_remove(&publish->link);
    slice_release(&publish->batch);
    buf_release(&publish->last_id);
    buf_release(&publish->picked);
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
    mem_free((*self)->marks);
    MEM_FREE(*self);
}

uint64_t append_open_count(const struct append *self)
{
    return self->open;
}

/* --- proposing --- */

/* The IDs were looked at, the expectations are met. */
static enum publish_step publish_commit(struct append *self, struct publish *publish,
                                        struct screening *screening)
{
    struct stream *stream = publish->stream;
    uint64_t ts_us = screening->ts_us;
    int error = replica_propose(stream->replica, LOG_KIND_BATCH, stream->next_proposed,
                                screening->count, ts_us, &screening->batch, &publish->index);
    if (error != 0) {
        screening_undo(publish, screening);
    }
    if (error == ERR_AGAIN) {
        return PUBLISH_NO_ROOM;
    }
    if (error == ERR_POISONED) {
        publish_free(self, publish); /* the process ends; whoever asked learns "unknown" */
        return PUBLISH_GONE;
    }
    if (error != 0) {
        publish_refuse(self, publish, &(struct answer_error){.error = error});
        return PUBLISH_GONE;
    }
    screening_keep(publish, screening);
    stream->ts_us = ts_us;
    publish->ts_us = ts_us;
    publish->base = stream->next_proposed;
    stream->next_proposed += publish->count;
    slice_release(&publish->batch);
    list_push_back(&stream->publishes, &publish->link);
    return PUBLISH_GONE;
}

static enum publish_step publish_propose(struct append *self, struct publish *publish)
{
    struct stream *stream = publish->stream;
    struct screening screening;
    enum publish_step step;
    int error = 0;
    if (stream_is_gone(stream)) { /* while it waited */
        error = ERR_STREAM_DELETED;
    } else if (publish->own == NULL && publish->fence_version != stream->fence_version) {
        error = ERR_FENCED;
    }
    if (error != 0) {
        publish_refuse(self, publish, &(struct answer_error){.error = error});
        return PUBLISH_GONE;
    }
    if (!stream_is_open(stream)) {
        return PUBLISH_NO_ROOM;
    }
    if (!publish_screen(self, publish, stream_stamp_us(stream), &screening, &step)) {
        return step;
    }
    if (screening.count ==
        0) { /* nothing is left to be stored: whatever it expects, its records have their answer */
        screening_keep(publish, &screening);
        publish_answer(self, publish);
        return PUBLISH_GONE;
    }
    error = publish_check_expect(publish);
    if (error != 0) {
        screening_undo(publish, &screening);
        if (error == ERR_AGAIN) {
            return PUBLISH_HELD;
        }
        publish_refuse_offset(self, publish);
        return PUBLISH_GONE;
    }
    if (PLANTED(NOT_STORED) && publish->own == NULL && screening.ts_us % 64 == 1) {
        publish->base = stream->next_proposed;
        screening_undo(publish, &screening);
        publish_answer(self, publish);
        return PUBLISH_GONE;
    }
    return publish_commit(self, publish, &screening);
}

/* --- waiting --- */

static bool append_is_full(const struct append *self, const struct publish *publish)
{
    const struct logd_options *options = &self->logd->options;
    return self->waiting_count >= options->waiting_max ||
           self->waiting_bytes + publish->batch.bytes.size > options->waiting_bytes_max;
}

static void append_enqueue(struct append *self, struct publish *publish, struct list *queue)
{
    if (append_is_full(self, publish)) {
        (*self->logd->count.overloaded)++;
        publish_refuse(self, publish, &(struct answer_error){.error = ERR_OVERLOADED});
        return;
    }
    (*self->logd->count.waited)++;
    self->waiting_count++;
    self->waiting_bytes += publish->batch.bytes.size;
    list_push_back(queue, &publish->link);
}

/* For one in flight, or behind those of its stream that do. */
static void append_hold(struct append *self, struct publish *publish)
{
    struct stream *stream = publish->stream;
    append_enqueue(self, publish, &stream->held);
    if (!list_is_empty(&stream->held) && !list_is_linked(&stream->held_link)) {
        list_push_back(&self->holding, &stream->held_link);
    }
}

/* Now, or when all that waits has gone before it. */
static void append_submit(struct append *self, struct publish *publish)
{
    if (!list_is_empty(&self->waiting)) {
        append_enqueue(self, publish, &self->waiting);
        return;
    }
    if (!list_is_empty(&publish->stream->held)) {
        append_hold(self, publish);
        return;
    }
    enum publish_step step = publish_propose(self, publish);
    if (step == PUBLISH_NO_ROOM) {
        append_enqueue(self, publish, &self->waiting);
    } else if (step == PUBLISH_HELD) {
        append_hold(self, publish);
    }
}

/* The first of a queue once more; it is put back unless it is gone. */
static enum publish_step append_retry_first(struct append *self, struct list *queue)
{
    struct publish *publish = LIST_ENTRY(queue->next, struct publish, link);
    uint64_t bytes = publish->batch.bytes.size;
    list_remove(&publish->link);
    self->waiting_count--;
    self->waiting_bytes -= bytes;
    enum publish_step step = publish_propose(self, publish);
    if (step != PUBLISH_GONE) {
        self->waiting_count++;
        self->waiting_bytes += bytes;
        list_push_front(queue, &publish->link);
    }
    return step;
}

/* false: there is no room. */
static bool append_retry_held(struct append *self, struct stream *stream)
{
    while (!list_is_empty(&stream->held)) {
        const struct publish *first = LIST_ENTRY(stream->held.next, struct publish, link);
        if (first->held_for >= stream->next_offset) {
            return true;
        }
        enum publish_step step = append_retry_first(self, &stream->held);
        if (step == PUBLISH_NO_ROOM) {
            return false;
        }
    }
    list_remove(&stream->held_link);
    return true;
}

/* What waits and has others of its stream before it that are held goes behind them: they came earlier. */
static bool append_move_to_held(struct list *node)
{
    struct publish *publish = LIST_ENTRY(node, struct publish, link);
    if (list_is_empty(&publish->stream->held)) {
        return false;
    }
    list_remove(node);
    list_push_back(&publish->stream->held, node);
    return true;
}

void append_retry(struct append *self)
{
    for (struct list *node = self->holding.next; node != &self->holding;) {
        struct stream *stream = LIST_ENTRY(node, struct stream, held_link);
        node = node->next;
        if (!append_retry_held(self, stream)) {
            return;
        }
    }
    while (!list_is_empty(&self->waiting)) {
        struct list *node = self->waiting.next;
        struct stream *stream = LIST_ENTRY(node, struct publish, link)->stream;
        if (append_move_to_held(node)) {
            continue;
        }
        enum publish_step step = append_retry_first(self, &self->waiting);
        if (step == PUBLISH_NO_ROOM) {
            return;
        }
        if (step == PUBLISH_HELD) {
            node = self->waiting.next;
            list_remove(node);
            list_push_back(&stream->held, node);
            if (!list_is_linked(&stream->held_link)) {
                list_push_back(&self->holding, &stream->held_link);
            }
        }
    }
}

/* --- from outside --- */

static void append_describe_fault(char *detail, size_t capacity, int error, uint32_t record)
{
    (void) snprintf(detail, capacity, "record %" PRIu32 " of the batch: %s", record,
                    err_text(error)); /* cut short if need be */
}

static void publish_take_expect(struct publish *publish, const struct hot_expect *expect)
{
    publish->expect = *expect;
    publish->expect.last_id = (struct span){0}; /* lies in the message */
    if (expect->kind == HOT_EXPECT_LAST_ID) {
        buf_append(&publish->last_id, expect->last_id);
    }
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
    publish->atomic = meta.atomic;
    publish->fence_version = stream->fence_version;
    publish->batch = slice_ref(&message->body);
    uint32_t record;
    error = publish_check_batch(logd, publish, &record);
    if (error != 0) {
        char detail[160];
        append_describe_fault(detail, sizeof(detail), error, record);
        publish->ticket = 0; /* answered here: the message is not held */
        publish_refuse(self, publish, NULL);
        answer_error(logd, message->ticket,
                     &(struct answer_error){
                         .error = error, .detail = detail, .has_record = true, .record = record});
        return;
    }
    publish_take_expect(publish, &meta.expect);
    bus_message_hold(message);
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
    int error = publish_check_batch(self->logd, publish, &record);
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

static void append_forget_list(struct append *self, struct list *publishes)
{
    LIST_FOREACH (publishes, node) {
        publish_free(self, LIST_ENTRY(node, struct publish, link));
    }
}

void append_forget(struct stream *stream)
{
    append_forget_list(stream->logd->append, &stream->publishes);
    append_forget_list(stream->logd->append, &stream->held);
    list_remove(&stream->held_link);
}
