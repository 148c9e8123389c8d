/* ids: the window of one stream's message IDs, and the budget that all streams share. Owns what is in memory. Must never let an ID leave before its
 * time unless the stream's configuration says so, and never keep one of a record that is not stored. */
#include "logd/ids.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/pb.h"
#include "logd/events.h"
#include "logd/ids_body.h"
#include "logd/ids_cold.h"
#include "logd/ids_run.h"
#include "logd/stream_body.h"

enum {
    SPEC_WINDOW_MS = 600000,
    SPEC_MAX_IDS = 4000000,
    POOL_RETRY_US = 1000000,
    POOL_SLACK_BYTES = 64 << 10,
    TELL_EVERY_MS = 1000,
};

/* --- of the daemon --- */

static uint64_t gauge_memory(void *ud)
{
    return ids_pool_memory(ud);
}

static uint64_t gauge_count(void *ud)
{
    return ids_pool_count(ud);
}

struct ids_pool *ids_pool_new(struct logd *logd, uint64_t bytes_max)
{
    struct ids_pool *self = MEM_NEW(struct ids_pool);
    struct metrics *metrics = logd->options.metrics;
    self->logd = logd;
    self->bytes_max = bytes_max;
    list_init(&self->members);
    list_init(&self->drops);
    self->shrunk = metrics_counter(metrics, "railgun_dedup_shrunk_total");
    self->duplicates = metrics_counter(metrics, "railgun_dedup_duplicates_total");
    self->mismatches = metrics_counter(metrics, "railgun_dedup_mismatches_total");
    metrics_gauge(metrics, "railgun_dedup_memory_bytes", gauge_memory, self);
    metrics_gauge(metrics, "railgun_dedup_ids", gauge_count, self);
    return self;
}

void ids_pool_destroy(struct ids_pool **self)
{
    if (*self != NULL) {
        INVARIANT(list_is_empty(&(*self)->members));
        ids_cold_pool_release(*self);
        MEM_FREE(*self);
    }
}

uint64_t ids_pool_memory(const struct ids_pool *self)
{
    return self->memory;
}

uint64_t ids_pool_count(struct ids_pool *self)
{
    uint64_t count = 0;
    LIST_FOREACH (&self->members, node) {
        count += ids_count(LIST_ENTRY(node, struct ids, pool_link));
    }
    return count;
}

/* --- configuration --- */

int ids_spec_read(struct span packed, struct ids_spec *ret_spec)
{
    struct ids_spec spec = {.window_us = UINT64_C(1000) * SPEC_WINDOW_MS, .max_ids = SPEC_MAX_IDS};
    bool for_ever = false;
    struct pb_field field;
    int more;
    while ((more = pb_next(&packed, &field)) == 1) {
        switch (field.number) {
        case 1:
            spec.mode = field.value > IDS_REQUIRED ? IDS_OPTIONAL : (enum ids_mode) field.value;
            break;
        case 2:
            spec.window_us = field.value > UINT64_MAX / 1000 ? UINT64_MAX : field.value * 1000;
            break;
        case 3:
            spec.max_ids = field.value;
            break;
        case 4:
            spec.reject = field.value != 0;
            break;
        case 5:
            spec.shrink = field.value != 0;
            break;
        case 6:
            spec.refresh = field.value != 0;
            break;
        case 7:
            for_ever = field.value != 0;
            break;
        default:
            break;
        }
    }
    if (more != 0) {
        return ERR_BAD_FORMAT;
    }
    spec.window_us = for_ever || spec.window_us == 0 ? UINT64_MAX : spec.window_us;
    spec.max_ids = spec.max_ids != 0 ? spec.max_ids : (uint64_t) SPEC_MAX_IDS;
    *ret_spec = spec;
    return 0;
}

struct ids *ids_new(struct ids_pool *pool, struct stream *stream)
{
    struct ids *self = MEM_NEW(struct ids);
    self->stream = stream;
    self->pool = pool;
    self->hot = ids_hot_new();
    list_init(&self->pool_link);
    list_init(&self->asks);
    list_init(&self->runs);
    self->settled_end = ids_hot_end(self->hot);
    list_push_back(&pool->members, &self->pool_link);
    ids_account(self);
    return self;
}

void ids_destroy(struct ids **self)
{
    struct ids *ids = *self;
    if (ids == NULL) {
        return;
    }
    ids_forget_asks(ids);
    ids_spill_cancel(ids);
    ids_cold_release(ids);
    list_remove(&ids->pool_link);
    ids->pool->memory -= ids->counted;
    ids_hot_destroy(&ids->hot);
    MEM_FREE(*self);
}

void ids_configure(struct ids *self, const struct ids_spec *spec)
{
    self->spec = *spec;
}

const struct ids_spec *ids_spec(const struct ids *self)
{
    return &self->spec;
}

struct ids_hot *ids_hot(struct ids *self)
{
    return self->hot;
}

uint64_t ids_count(const struct ids *self)
{
    return ids_hot_count(self->hot) + ids_cold_count(self);
}

uint64_t ids_memory(const struct ids *self)
{
    return self->counted;
}

void ids_account(struct ids *self)
{
    uint64_t memory = sizeof(*self) + ids_hot_memory(self->hot) + ids_cold_memory(self);
    self->pool->memory += memory - self->counted;
    self->counted = memory;
}

/* --- the window --- */

uint64_t ids_window_start(const struct ids *self, uint64_t ts_us)
{
    return ts_us > self->spec.window_us ? ts_us - self->spec.window_us : 0;
}

bool ids_oldest(struct ids *self, struct ids_entry *ret_entry)
{
    uint64_t ts_us;
    if (ids_cold_oldest(self, &ts_us)) {
        *ret_entry = (struct ids_entry){.ts_us = ts_us};
        return true;
    }
    return ids_hot_first(self->hot, ret_entry);
}

void ids_expire(struct ids *self, uint64_t ts_us)
{
    uint64_t start_us = ids_window_start(self, ts_us);
    struct ids_entry entry;
    self->now_us = ts_us;
    if (ts_us > self->stream->ts_us) {
        self->stream->ts_us = ts_us; /* what leaves now stays away, though the clock is put back */
    }
    ids_cold_expire(self, start_us);
    while (ids_hot_first(self->hot, &entry) && entry.ts_us <= start_us) {
        ids_hot_pop(self->hot);
    }
}

int ids_find(struct ids *self, const struct ids_key *key, struct ids_entry *ret_entry)
{
    if (ids_hot_find(self->hot, key, ret_entry)) {
        return 1;
    }
    return list_is_empty(&self->runs) ? 0 : ids_cold_find(self, key, ret_entry);
}

bool ids_has_room(struct ids *self, uint64_t ts_us, uint64_t *ret_retry_us)
{
    if (self->pool->memory > self->pool->bytes_max + self->pool->bytes_max / 2 + POOL_SLACK_BYTES) {
        *ret_retry_us = POOL_RETRY_US; /* writing into the database does not keep up */
        return false;
    }
    if (ids_count(self) < self->spec.max_ids || self->spec.shrink) {
        return true;
    }
    struct ids_entry entry;
    *ret_retry_us = UINT64_MAX;
    if (self->spec.window_us != UINT64_MAX && ids_oldest(self, &entry)) {
        *ret_retry_us = entry.ts_us + self->spec.window_us - ts_us;
    }
    return false;
}

static void ids_tell_shrunk(struct ids *self)
{
    uint64_t now_ms = loop_now_ms(self->pool->logd->loop);
    if (self->shrunk == self->shrunk_told || now_ms < self->told_ms + TELL_EVERY_MS) {
        return;
    }
    struct event event = {.type = RAILGUN__EVENT__TYPE__DEDUP_SHRUNK,
                          .count = self->shrunk - self->shrunk_told};
    events_note(self->pool->logd->events, self->stream, &event);
    self->shrunk_told = self->shrunk;
    self->told_ms = now_ms;
}

static void ids_shrink(struct ids *self)
{
    while (ids_count(self) > self->spec.max_ids) {
        uint64_t gone = ids_cold_shrink(self);
        if (gone == 0 && list_is_empty(&self->runs)) {
            ids_hot_pop(self->hot);
            gone = 1;
        }
        self->shrunk += gone;
        *self->pool->shrunk += gone;
    }
    ids_tell_shrunk(self);
}

void ids_settle(struct ids *self)
{
    if (self->spec.shrink && ids_count(self) > self->spec.max_ids) {
        ids_shrink(self);
    }
    uint64_t end = ids_hot_end(self->hot);
    self->pool->put += end - self->settled_end;
    self->settled_end = end;
    ids_account(self);
    if (self->pool->memory > self->pool->bytes_max && self->pool->logd->recovered) {
        loop_wake(self->pool->logd->loop);
    }
}

void ids_forget_below(struct ids *self, uint64_t offset)
{
    if (offset <= self->forgotten_below) {
        return;
    }
    self->forgotten_below = offset;
    ids_spill_cancel(self);
    ids_cold_forget_below(self, offset);
    struct ids_entry entry;
    uint64_t cursor = 0;
    while (ids_hot_next(self->hot, &cursor, &entry)) {
        if (entry.offset < offset) {
            (void) ids_hot_remove(self->hot, &entry.key); /* it was found just now */
        }
    }
    (void) ids_hot_first(self->hot, &entry); /* gives memory back if it was all */
    ids_account(self);
}

uint64_t ids_keep_target(const struct ids *self)
{
    return self->keep_target;
}

uint64_t ids_forgotten_below(const struct ids *self)
{
    return self->forgotten_below;
}
