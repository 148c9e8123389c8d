/* deadletter: moving what is dying into the dead-letter stream. Owns the batches on their way. It must never note anything as buried that is not committed
 * there, nor append a message under two IDs. What is on its way when the process ends is appended again, and found to be a duplicate. */
#include "logd/deadletter.h"

#include <inttypes.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "logd/append.h"
#include "logd/catalog_client.h"
#include "logd/groups_own.h"
#include "logd/ids.h"
#include "logd/planted.h"
#include "logd/stream_body.h"

enum {
    MOVE_RECORDS_MAX = 512, /* in one batch */
    MOVE_BYTES = 512 << 10, /* about */
    PAGE_BYTES = 256 << 10,
    RETRY_MS_MIN = 100,
    RETRY_MS_MAX = 5000,
    TELL_EVERY_MS = 1000,
    CONFIG_NAME = 2, /* of EntryConfig, log.proto */
};

/* A batch on its way. It outlives its group, and that its stream. */
struct move {
    struct list node;
    struct deadletter *mover;
    uint64_t log_group;
    uint64_t group_id;
    uint64_t dlq_log_group; /* where to */
    uint32_t count;
    uint64_t offsets[MOVE_RECORDS_MAX];
};

struct deadletter {
    struct logd *logd;
    struct list moves;
};

struct deadletter *deadletter_new(struct logd *logd)
{
    struct deadletter *self = MEM_NEW(struct deadletter);
    self->logd = logd;
    list_init(&self->moves);
    return self;
}

static void move_end(struct move *move)
{
    list_remove(&move->node);
    mem_free(move);
}

void deadletter_destroy(struct deadletter **self)
{
    if (*self == NULL) {
        return;
    }
    LIST_FOREACH (&(*self)->moves, node) {
        move_end(LIST_ENTRY(node, struct move, node));
    }
    MEM_FREE(*self);
}

/* --- names --- */

static struct span config_name(const struct stream *stream)
{
    const struct buf *config = stream->config.size != 0 ? &stream->config : &stream->wanted;
    struct span rest = buf_span(config);
    struct pb_field field;
    while (pb_next(&rest, &field) == 1) {
        if (field.number == CONFIG_NAME && field.type == PB_BYTES) {
            return field.bytes;
        }
    }
    return (struct span){0};
}

static bool is_called(const struct stream *stream, struct span name)
{
    return stream != NULL && !stream_is_gone(stream) && span_equal(config_name(stream), name);
}

struct stream *deadletter_stream(struct groups *groups, struct hosted *hosted)
{
    struct logd *logd = stream_logd(groups->stream);
    struct span name = group_limits_dlq_stream(buf_span(&group_replicated(hosted->group)->spec));
    struct stream *stream = streams_find(logd, hosted->burial.dlq_log_group);
    if (name.size == 0) {
        return NULL;
    }
    if (is_called(stream, name)) {
        return stream;
    }
    size_t cursor = 0;
    while ((stream = hash64_next(logd->streams, &cursor)) != NULL) {
        if (is_called(stream, name)) {
            hosted->burial.dlq_log_group = stream->log_group;
            return stream;
        }
    }
    return NULL;
}

/* Where copies lie: the group may have named another stream then. NULL: nowhere any more. */
static struct stream *copy_stream(struct groups *groups, struct hosted *hosted,
                                  const struct group_grave *grave)
{
    if (grave->dlq_log_group == 0) { /* an older version wrote it */
        return deadletter_stream(groups, hosted);
    }
    struct stream *stream = streams_find(stream_logd(groups->stream), grave->dlq_log_group);
    return stream == NULL || stream_is_gone(stream) ? NULL : stream;
}

struct span deadletter_copy_in(struct groups *groups, struct hosted *hosted,
                               const struct group_grave *grave)
{
    const struct stream *stream = copy_stream(groups, hosted, grave);
    return stream != NULL ? config_name(stream) : (struct span){0};
}

struct origin_room {
    char id[UUID_TEXT_SIZE];
};

static struct deadletter_origin origin_of(const struct groups *groups, struct hosted *hosted,
                                          struct origin_room *room)
{
    uuid_format(stream_id(groups->stream), room->id);
    return (struct deadletter_origin){
        .stream = config_name(groups->stream),
        .group = span_of(group_replicated(hosted->group)->name),
        .stream_id = span_of(room->id),
    };
}

/* --- reading --- */

/* One record of a dead-letter stream that is to be the copy of that message. */
static int copy_read(struct groups *groups, struct hosted *hosted, struct stream *dlq,
                     uint64_t dlq_offset, uint64_t offset, struct stream_page *ret_page)
{
    struct stream_page page = {0};
    struct origin_room room;
    uint64_t corrupt_last;
    uint64_t ts_us;
    if (dlq == NULL || dlq_offset < dlq->first_offset || dlq_offset >= dlq->next_offset ||
        stream_read(dlq, dlq_offset, 1, 1, &page, &corrupt_last) != 0) {
        return ERR_NOT_FOUND;
    }
    struct deadletter_origin origin = origin_of(groups, hosted, &room);
    if (!deadletter_is_copy(&origin, offset, page.batch.bytes, &ts_us)) {
        stream_page_release(&page);
        return ERR_NOT_FOUND;
    }
    page.base_offset = offset;
    page.time_count = 1;
    page.times[0] = (struct stream_time){0, ts_us};
    *ret_page = page;
    return 0;
}

int deadletter_read_copy(struct groups *groups, struct hosted *hosted, uint64_t offset,
                         struct stream_page *ret_page)
{
    const struct group_dead *dead = &group_replicated(hosted->group)->dead;
    const struct group_grave *grave = group_graves_find(&dead->reopened, offset);
    if (grave == NULL) {
        return ERR_NOT_FOUND;
    }
    return copy_read(groups, hosted, copy_stream(groups, hosted, grave),
                     grave->dlq_first + (offset - grave->first), offset, ret_page);
}

/* --- a batch --- */

struct loading {
    struct groups *groups;
    struct hosted *hosted;
    struct stream *dlq;
    struct deadletter_origin origin;
    struct move *move;
    struct buf batch;
};

static uint64_t page_time(const struct stream_page *page, uint32_t at)
{
    uint64_t ts_us = 0;
    for (uint32_t i = 0; i < page->time_count && page->times[i].after <= at; i++) {
        ts_us = page->times[i].ts_us;
    }
    return ts_us;
}

static void load_page(struct loading *self, const struct group_grave *grave,
                      const struct stream_page *page)
{
    struct move *move = self->move;
    struct span rest = page->batch.bytes;
    struct batch_record record;
    for (uint32_t i = 0; i < page->count && move->count < MOVE_RECORDS_MAX; i++) {
        struct span before = rest;
        int more = batch_next(&rest, &record);
        INVARIANT(more == 1); /* it was stored: it was checked */
        struct span own = span_make(before.data, before.size - rest.size);
        uint64_t offset = page->base_offset + i;
        deadletter_append(&self->origin, grave, offset, page_time(page, i), own, &self->batch);
        move->offsets[move->count++] = offset;
    }
}

/* Its record is gone. Perhaps it was moved in time, and the process ended before that was noted. */
static uint64_t load_find(struct loading *self, const struct group_grave *grave, uint64_t offset)
{
    struct buf id = {0};
    struct ids_entry known;
    deadletter_id(&self->origin, offset, grave->round, &id);
    struct ids_key key = ids_key_make(&self->dlq->id, buf_span(&id));
    buf_release(&id);
    bool is_known = ids_find(self->dlq->ids, &key, &known) == 1;
    return is_known && known.offset < self->dlq->next_offset ? known.offset : 0;
}

/* [first, last] can be read nowhere. */
static void load_gone(struct loading *self, const struct group_grave *grave, uint64_t first,
                      uint64_t last)
{
    struct event event = {.type = RAILGUN__EVENT__TYPE__GAP};
    for (uint64_t at = first; at <= last;) {
        uint64_t dlq_offset = load_find(self, grave, at);
        uint64_t until = at;
        while (dlq_offset == 0 && until < last && load_find(self, grave, until + 1) == 0) {
            until++;
        }
        group_note_buried(self->hosted->group, at, until, dlq_offset, self->dlq->log_group);
        if (dlq_offset == 0) {
            event.first = event.first == 0 ? at : event.first;
            event.last = until;
            event.count += until - at + 1;
        }
        at = until + 1;
    }
    if (event.count > 0) {
        *self->groups->count.gap_records += event.count;
        groups_note(self->groups, self->hosted, &event);
    }
    self->hosted->burial.noted = first;
}

/* As much as one read gives of a grave, from `at` on. Returns where it goes on; `at`: it cannot be read now. */
static uint64_t load_some(struct loading *self, const struct group_grave *grave, uint64_t at)
{
    struct stream *stream = self->groups->stream;
    struct stream_page page = {0};
    uint64_t corrupt_last = at;
    uint64_t last = grave->last;
    uint32_t room = MOVE_RECORDS_MAX - self->move->count;
    int error;
    if (at < stream->first_offset) {
        uint64_t gone = last < stream->first_offset ? last : stream->first_offset - 1;
        corrupt_last = grave->dlq_first != 0 ? at : gone;
        error = grave->dlq_first == 0
                    ? ERR_CORRUPT
                    : copy_read(self->groups, self->hosted,
                                copy_stream(self->groups, self->hosted, grave),
                                grave->dlq_first + (at - grave->first), at, &page);
        error = error == 0 ? 0 : ERR_CORRUPT;
    } else {
        uint64_t count = last - at + 1;
        error = stream_read(stream, at, count < room ? (uint32_t) count : room, PAGE_BYTES, &page,
                            &corrupt_last);
    }
    if (error == ERR_CORRUPT) {
        uint64_t until = corrupt_last < last ? corrupt_last : last;
        until = until < at ? at : until;
        until = until - at < MOVE_RECORDS_MAX ? until : at + MOVE_RECORDS_MAX - 1;
        load_gone(self, grave, at, until);
        return until + 1;
    }
    if (error != 0) {
        return at;
    }
    load_page(self, grave, &page);
    at += page.count;
    stream_page_release(&page);
    return at;
}

/* What is dying, lowest first, until the batch is full. Nothing of it when something is gone: that is noted first. */
static void load_batch(struct loading *self)
{
    const struct group_graves *dying = &group_replicated(self->hosted->group)->dead.dying;
    for (size_t i = 0; i < dying->count; i++) {
        const struct group_grave *grave = &dying->items[i];
        for (uint64_t at = grave->first; at <= grave->last;) {
            uint64_t next = load_some(self, grave, at);
            if (next == at || self->hosted->burial.noted != 0 ||
                self->move->count == MOVE_RECORDS_MAX || self->batch.size >= MOVE_BYTES) {
                return;
            }
            at = next;
        }
    }
}

/* --- what became of it --- */

static void burial_failed(struct groups *groups, struct hosted *hosted, int error)
{
    struct burial *burial = &hosted->burial;
    uint64_t now_ms = loop_now_ms(stream_logd(groups->stream)->loop);
    const struct group_state *state = group_replicated(hosted->group);
    burial->backoff_ms = burial->backoff_ms == 0 ? RETRY_MS_MIN : burial->backoff_ms * 2;
    burial->backoff_ms = burial->backoff_ms < RETRY_MS_MAX ? burial->backoff_ms : RETRY_MS_MAX;
    burial->retry_at_ms = now_ms + burial->backoff_ms;
    group_block_dead(hosted->group, state->limits.dlq.is_on && !state->limits.dlq.park);
    (*groups->count.dead_errors)++;
    if (burial->told_ms != 0 && now_ms < burial->told_ms + TELL_EVERY_MS) {
        return;
    }
    burial->told_ms = now_ms;
    const struct group_graves *dying = &state->dead.dying;
    groups_note(groups, hosted,
                &(struct event){.type = RAILGUN__EVENT__TYPE__DLQ_ERROR,
                                .first = dying->count > 0 ? dying->items[0].first : 0,
                                .last = dying->count > 0 ? dying->items[0].last : 0,
                                .count = dying->total,
                                .detail = span_of(err_name(error))});
    log_warn("the dead-letter stream does not take messages",
             "log_group=%" PRIu64 " group=%" PRIu64 " error=%s messages=%" PRIu64
             " action=\"tried again; %s\"",
             groups->stream->log_group, state->id, err_name(error), dying->total,
             state->limits.dlq.park ? "the group goes on" : "the group waits");
}

static void burial_went_well(struct groups *groups, struct hosted *hosted)
{
    struct burial *burial = &hosted->burial;
    burial->backoff_ms = 0;
    burial->retry_at_ms = 0;
    group_block_dead(hosted->group, false);
    groups->flush_now = true;
    groups_touched(groups, hosted);
}

static void buried_tell(struct groups *groups, struct hosted *hosted, uint64_t first, uint64_t last)
{
    const struct group_grave *grave =
        group_graves_find(&group_replicated(hosted->group)->dead.dying, first);
    *groups->count.dead += last - first + 1;
    groups_note(
        groups, hosted,
        &(struct event){.type = RAILGUN__EVENT__TYPE__DEAD_LETTER,
                        .first = first,
                        .last = last,
                        .count = last - first + 1,
                        .detail = span_of(grave != NULL ? deadletter_reason(grave->reason) : "")});
}

static void move_note(struct groups *groups, struct hosted *hosted, const struct move *move,
                      const uint64_t *dlq_offsets)
{
    for (uint32_t i = 0; i < move->count;) {
        uint32_t run = 1;
        while (i + run < move->count && move->offsets[i + run] == move->offsets[i] + run &&
               dlq_offsets[i + run] == dlq_offsets[i] + run) {
            run++;
        }
        uint64_t first = move->offsets[i];
        buried_tell(groups, hosted, first, first + run - 1);
        group_note_buried(hosted->group, first, first + run - 1, dlq_offsets[i],
                          move->dlq_log_group);
        i += run;
    }
    hosted->burial.noted = move->offsets[0];
}

static void move_done(void *ud, int error, const uint64_t *offsets, uint32_t count)
{
    struct move *move = ud;
    struct stream *stream = streams_find(move->mover->logd, move->log_group);
    struct groups *groups = stream != NULL ? stream->groups : NULL;
    struct hosted *hosted = groups != NULL ? groups_find(groups, move->group_id) : NULL;
    if (hosted != NULL && hosted->burial.is_moving) {
        hosted->burial.is_moving = false;
        if (PLANTED(DEAD_WITHOUT_ID) && hosted->burial.backoff_ms == 0) {
            error = ERR_AGAIN;
        }
        if (error == 0) {
            INVARIANT(count == move->count);
            move_note(groups, hosted, move, offsets);
            burial_went_well(groups, hosted);
        } else {
            burial_failed(groups, hosted, error);
            logd_flush_at(move->mover->logd, stream, hosted->burial.retry_at_ms);
        }
    }
    move_end(move);
}

static void move_send(struct loading *loading)
{
    struct logd *logd = stream_logd(loading->groups->stream);
    struct payload *payload = payload_copy(buf_span(&loading->batch));
    if (payload == NULL) {
        move_end(loading->move);
        burial_failed(loading->groups, loading->hosted, ERR_NO_MEMORY);
        return;
    }
    struct slice slice = {payload, payload_span(payload)};
    loading->hosted->burial.is_moving = true;
    append_own(logd->append, loading->dlq, &slice, move_done, loading->move);
    slice_release(&slice);
}

/* --- the group's turn --- */

static void move_begin(struct groups *groups, struct hosted *hosted, struct stream *dlq)
{
    struct logd *logd = stream_logd(groups->stream);
    struct origin_room room;
    struct loading loading = {
        .groups = groups,
        .hosted = hosted,
        .dlq = dlq,
        .origin = origin_of(groups, hosted, &room),
        .move = MEM_NEW(struct move),
    };
    struct move *move = loading.move;
    move->mover = logd->deadletter;
    move->log_group = groups->stream->log_group;
    move->dlq_log_group = dlq->log_group;
    move->group_id = group_replicated(hosted->group)->id;
    list_init(&move->node);
    list_push_back(&logd->deadletter->moves, &move->node);
    load_batch(&loading);
    if (hosted->burial.noted != 0) {
        move_end(move);
        burial_went_well(groups, hosted);
    } else if (move->count == 0) {
        move_end(move);
        burial_failed(groups, hosted, ERR_IO);
    } else {
        move_send(&loading);
    }
    buf_release(&loading.batch);
}

uint64_t deadletter_move(struct groups *groups, struct hosted *hosted, uint64_t now_ms)
{
    struct logd *logd = stream_logd(groups->stream);
    struct burial *burial = &hosted->burial;
    if (burial->is_moving || burial->noted != 0 || logd->draining ||
        !stream_is_open(groups->stream)) {
        return UINT64_MAX;
    }
    if (now_ms < burial->retry_at_ms) {
        return burial->retry_at_ms;
    }
    if (logd->catalog != NULL && catalog_client_revision(logd->catalog) == 0) {
        return now_ms + RETRY_MS_MIN; /* the stream may be deleted by now */
    }
    struct stream *dlq = deadletter_stream(groups, hosted);
    if (dlq == NULL || dlq->ids == NULL) {
        burial_failed(groups, hosted, dlq == NULL ? ERR_NOT_FOUND : ERR_BAD_CONFIG);
    } else {
        move_begin(groups, hosted, dlq);
    }
    return burial->is_moving || burial->noted != 0 ? UINT64_MAX : burial->retry_at_ms;
}
