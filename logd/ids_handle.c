/* ids_handle: what people ask about a stream's message IDs, and letting some be new. Forgetting is an entry of the log: it is answered when that
 * was applied. */
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "logd/answer.h"
#include "logd/ids_body.h"
#include "logd/kinds.h"
#include "logd/stream_body.h"

enum { ASKS_MAX = 1024, ID_BYTES_MAX = 128 };

struct ids_ask {
    struct list link;
    uint64_t ticket;
    uint64_t index;
};

struct dedup {
    struct span id;
    bool has_id;
    bool forget;
    bool all;
};

static int dedup_read(struct span meta, struct dedup *ret_dedup)
{
    struct dedup dedup = {0};
    struct pb_field field;
    int more;
    while ((more = pb_next(&meta, &field)) == 1) {
        if (field.number == 2) {
            dedup.id = field.bytes;
            dedup.has_id = true;
        } else if (field.number == 3) {
            dedup.forget = field.value != 0;
        } else if (field.number == 4) {
            dedup.all = field.value != 0;
        }
    }
    *ret_dedup = dedup;
    return more;
}

static const char *dedup_problem(const struct dedup *dedup)
{
    if (dedup->has_id && (dedup->id.size == 0 || dedup->id.size > ID_BYTES_MAX)) {
        return "id: 1 to 128 bytes";
    }
    if (dedup->forget && dedup->has_id == dedup->all) {
        return "forget: an id, or all";
    }
    if (dedup->all && !dedup->forget) {
        return "all: only with forget";
    }
    return NULL;
}

static void dedup_put_numbers(struct ids *self, struct buf *meta)
{
    struct ids_entry oldest;
    pb_append_varint(meta, 1, ids_count(self));
    pb_append_varint(meta, 2, ids_hot_count(self->hot));
    pb_append_varint(meta, 3, ids_count(self) - ids_hot_count(self->hot));
    pb_append_varint(meta, 4, ids_memory(self));
    if (ids_oldest(self, &oldest)) {
        pb_append_fixed64(meta, 5, oldest.ts_us);
    }
    pb_append_varint(meta, 6, self->shrunk);
}

/* What is asked of one ID. */
static int dedup_put_id(struct ids *self, struct span id, struct buf *meta)
{
    struct ids_entry entry;
    struct ids_key key = ids_key_make(&self->stream->id, id);
    int known = ids_find(self, &key, &entry);
    if (known < 0) {
        return known;
    }
    bool is_stored = known == 1 && entry.offset < self->stream->next_offset;
    pb_append_varint(meta, 7, is_stored);
    if (is_stored) {
        pb_append_varint(meta, 8, entry.offset);
        pb_append_fixed64(meta, 9, entry.ts_us);
    }
    return 0;
}

static void dedup_show(struct stream *stream, struct bus_message *message,
                       const struct dedup *dedup)
{
    struct logd *logd = stream->logd;
    struct buf *meta = &logd->scratch;
    int error = 0;
    buf_reset(meta);
    if (stream->ids != NULL) {
        ids_expire(stream->ids, stream_stamp_us(stream));
        ids_account(stream->ids);
        dedup_put_numbers(stream->ids, meta);
        error = dedup->has_id ? dedup_put_id(stream->ids, dedup->id, meta) : 0;
    }
    if (error != 0) {
        answer_error(logd, message->ticket, &(struct answer_error){.error = error});
        return;
    }
    answer_ok(logd, message->ticket, RAILGUN__BUS_TYPE__BUS_LOG_DEDUP, buf_span(meta), NULL);
}

static int dedup_forget(struct stream *stream, struct bus_message *message,
                        const struct dedup *dedup)
{
    struct ids *ids = stream->ids;
    if (ids == NULL) {
        return ERR_BAD_REQUEST;
    }
    if (ids->ask_count >= ASKS_MAX) {
        return ERR_OVERLOADED;
    }
    struct buf entry = {0};
    uint64_t index;
    if (dedup->has_id) {
        pb_append_bytes(&entry, 1, dedup->id);
    } else {
        pb_append_varint(&entry, 2, 1);
    }
    pb_append_varint(&entry, 3, stream->next_proposed);
    int error = stream_propose_control(stream, LOG_KIND_IDS, buf_span(&entry), &index);
    buf_release(&entry);
    if (error != 0) {
        return error == ERR_AGAIN ? ERR_OVERLOADED : error;
    }
    struct ids_ask *ask = MEM_NEW(struct ids_ask);
    ask->ticket = message->ticket;
    ask->index = index;
    list_init(&ask->link);
    list_push_back(&ids->asks, &ask->link);
    ids->ask_count++;
    return 0;
}

void ids_handle(struct stream *stream, struct bus_message *message)
{
    struct dedup dedup;
    struct answer_error refusal = {0};
    if (dedup_read(message->meta, &dedup) != 0) {
        refusal = (struct answer_error){.error = ERR_BAD_REQUEST, .detail = "Dedup"};
    } else {
        refusal.detail = dedup_problem(&dedup);
        refusal.error = refusal.detail != NULL ? ERR_BAD_REQUEST : 0;
    }
    if (refusal.error == 0 && dedup.forget) {
        refusal.error = dedup_forget(stream, message, &dedup);
        refusal.detail =
            refusal.error == ERR_BAD_REQUEST ? "the stream has no deduplication" : NULL;
    } else if (refusal.error == 0) {
        dedup_show(stream, message, &dedup);
    }
    if (refusal.error != 0) {
        answer_error(stream->logd, message->ticket, &refusal);
    }
}

void ids_applied(struct ids *self, uint64_t index)
{
    struct logd *logd = self->pool->logd;
    while (!list_is_empty(&self->asks)) {
        struct ids_ask *ask = LIST_ENTRY(self->asks.next, struct ids_ask, link);
        if (ask->index > index) {
            return;
        }
        struct buf *meta = &logd->scratch;
        buf_reset(meta);
        dedup_put_numbers(self, meta);
        pb_append_varint(meta, 10, self->forgotten);
        answer_ok(logd, ask->ticket, RAILGUN__BUS_TYPE__BUS_LOG_DEDUP, buf_span(meta), NULL);
        list_remove(&ask->link);
        mem_free(ask);
        self->ask_count--;
    }
}

void ids_forget_asks(struct ids *self)
{
    while (!list_is_empty(&self->asks)) {
        struct ids_ask *ask = LIST_ENTRY(self->asks.next, struct ids_ask, link);
        answer_error(self->pool->logd, ask->ticket,
                     &(struct answer_error){.error = ERR_STREAM_DELETED});
        list_remove(&ask->link);
        mem_free(ask);
    }
}
