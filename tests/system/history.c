/* history: two arrays that grow, records and events, behind one mutex. Times are taken under it, so that events are in order of time. */
#include "tests/system/history.h"

#include <pthread.h>

#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

enum { PRODUCER_SHIFT = 40, PAYLOAD_HEAD = 12 };

struct history {
    pthread_mutex_t mutex;
    const struct timesource *time;
    struct published *records;
    size_t record_count;
    size_t record_room;
    size_t *batch_start; /* record index of each batch; one more for the end */
    size_t batch_count;
    size_t batch_room;
    struct event *events;
    size_t event_count;
    size_t event_room;
    struct drained drained[HISTORY_DRAINED_MAX];
    size_t drained_count;
    struct group_facts groups[HISTORY_GROUPS_MAX];
    size_t group_count;
    bool has_final;
    uint64_t final_first;
    uint64_t final_next;
    uint64_t delivered;
    uint64_t outcomes[4];
};

struct history *history_new(const struct timesource *time)
{
    struct history *self = MEM_NEW(struct history);
    INVARIANT(pthread_mutex_init(&self->mutex, NULL) == 0);
    self->time = time != NULL ? time : timesource_system();
    return self;
}

void history_destroy(struct history **self)
{
    if (*self != NULL) {
        (void) pthread_mutex_destroy(&(*self)->mutex);
        mem_free((*self)->records);
        mem_free((*self)->batch_start);
        mem_free((*self)->events);
        MEM_FREE(*self);
    }
}

/* --- payloads --- */

uint64_t history_value(uint32_t producer, uint64_t counter)
{
    return (uint64_t) producer << PRODUCER_SHIFT | counter;
}

void history_payload_put(struct buf *out, uint64_t value, size_t size)
{
    INVARIANT(size >= PAYLOAD_HEAD);
    uint8_t *at = buf_reserve(out, size);
    bytes_put_u64(at, value);
    for (size_t i = PAYLOAD_HEAD; i < size; i++) {
        at[i] = (uint8_t) (value * 31 + i);
    }
    uint32_t crc = crc32c_extend(0, span_make(at, 8));
    bytes_put_u32(at + 8, crc32c_extend(crc, span_make(at + PAYLOAD_HEAD, size - PAYLOAD_HEAD)));
    buf_advance(out, size);
}

bool history_payload_get(struct span payload, uint64_t *ret_value)
{
    if (payload.size < PAYLOAD_HEAD) {
        return false;
    }
    uint32_t crc = crc32c_extend(0, span_make(payload.data, 8));
    crc = crc32c_extend(crc, span_make(payload.data + PAYLOAD_HEAD, payload.size - PAYLOAD_HEAD));
    *ret_value = bytes_get_u64(payload.data);
    return crc == bytes_get_u32(payload.data + 8);
}

/* --- arrays --- */

static void *grow(void *array, size_t count, size_t *room, size_t size)
{
    if (count < *room) {
        return array;
    }
    *room = *room == 0 ? 1024 : *room * 2;
    return mem_resize(array, *room, size);
}

static uint64_t add_event(struct history *self, struct event event)
{
    (void) pthread_mutex_lock(&self->mutex);
    event.time_ns = timesource_monotonic_us(self->time) * 1000;
    event.due_ns = event.due_ns != 0 ? event.due_ns + event.time_ns : 0;
    self->events = grow(self->events, self->event_count, &self->event_room, sizeof(struct event));
    self->events[self->event_count++] = event;
    self->delivered += event.type == EVENT_DELIVERED;
    (void) pthread_mutex_unlock(&self->mutex);
    return event.time_ns;
}

/* --- publishing --- */

uint32_t history_publish_begin(struct history *self, uint64_t first_value, uint32_t count)
{
    (void) pthread_mutex_lock(&self->mutex);
    size_t batch = self->batch_count;
    self->batch_start =
        grow(self->batch_start, batch + 1, &self->batch_room, sizeof(*self->batch_start));
    self->batch_start[batch] = self->record_count;
    for (uint32_t i = 0; i < count; i++) {
        self->records =
            grow(self->records, self->record_count, &self->record_room, sizeof(struct published));
        self->records[self->record_count++] =
            (struct published){.value = first_value + i, .batch = (uint32_t) batch, .attempts = 1};
    }
    self->batch_count++;
    self->batch_start[self->batch_count] = self->record_count;
    self->outcomes[OUTCOME_OPEN] += count;
    (void) pthread_mutex_unlock(&self->mutex);
    return (uint32_t) batch;
}

void history_publish_again(struct history *self, uint32_t batch)
{
    (void) pthread_mutex_lock(&self->mutex);
    INVARIANT(batch < self->batch_count);
    for (size_t i = self->batch_start[batch]; i < self->batch_start[batch + 1]; i++) {
        self->records[i].attempts++;
    }
    (void) pthread_mutex_unlock(&self->mutex);
}

static void batch_mark(struct history *self, uint32_t batch, bool is_duplicate)
{
    (void) pthread_mutex_lock(&self->mutex);
    INVARIANT(batch < self->batch_count);
    for (size_t i = self->batch_start[batch]; i < self->batch_start[batch + 1]; i++) {
        self->records[i].has_id = true;
        self->records[i].is_duplicate = is_duplicate;
    }
    (void) pthread_mutex_unlock(&self->mutex);
}

void history_publish_ids(struct history *self, uint32_t batch)
{
    batch_mark(self, batch, false);
}

void history_publish_duplicate(struct history *self, uint32_t batch)
{
    batch_mark(self, batch, true);
}

void history_publish_end(struct history *self, uint32_t batch, enum outcome outcome,
                         uint64_t base_offset)
{
    (void) pthread_mutex_lock(&self->mutex);
    INVARIANT(batch < self->batch_count);
    size_t start = self->batch_start[batch];
    for (size_t i = start; i < self->batch_start[batch + 1]; i++) {
        self->outcomes[self->records[i].outcome]--;
        self->records[i].outcome = outcome;
        self->records[i].offset = outcome == OUTCOME_OK ? base_offset + (i - start) : 0;
        self->outcomes[outcome]++;
    }
    (void) pthread_mutex_unlock(&self->mutex);
}

/* --- seeing --- */

static void add_seen(struct history *self, struct event event, struct span payload)
{
    event.is_intact = history_payload_get(payload, &event.value);
    add_event(self, event);
}

void history_read(struct history *self, uint32_t session, uint64_t offset, struct span payload)
{
    add_seen(self, (struct event){.type = EVENT_READ, .session = session, .offset = offset},
             payload);
}

void history_final(struct history *self, uint64_t offset, struct span payload)
{
    add_seen(self, (struct event){.type = EVENT_FINAL, .offset = offset}, payload);
}

void history_final_end(struct history *self, uint64_t first, uint64_t next)
{
    self->has_final = true;
    self->final_first = first;
    self->final_next = next;
}

void history_delivered(struct history *self, uint32_t group, uint32_t session, uint64_t offset,
                       uint32_t attempt, struct span payload)
{
    add_seen(self,
             (struct event){.type = EVENT_DELIVERED,
                            .group = group,
                            .session = session,
                            .offset = offset,
                            .attempt = attempt},
             payload);
}

void history_acked(struct history *self, uint32_t group, uint64_t offset, bool is_sync)
{
    add_event(self, (struct event){
                        .type = EVENT_ACKED, .group = group, .offset = offset, .is_sync = is_sync});
}

void history_ack_posted(struct history *self, uint32_t group, uint64_t offset)
{
    add_event(self, (struct event){.type = EVENT_ACK_POSTED, .group = group, .offset = offset});
}

void history_nacked(struct history *self, uint32_t group, uint64_t offset)
{
    add_event(self, (struct event){.type = EVENT_NACKED, .group = group, .offset = offset});
}

void history_delivered_in(struct history *self, uint32_t group, uint32_t session, uint64_t epoch,
                          uint64_t offset, uint32_t attempt, struct span payload)
{
    add_seen(self,
             (struct event){.type = EVENT_DELIVERED,
                            .group = group,
                            .session = session,
                            .epoch = epoch,
                            .offset = offset,
                            .attempt = attempt},
             payload);
}

uint64_t history_ack_began(struct history *self, uint32_t group, uint64_t epoch, uint64_t offset)
{
    return add_event(
        self,
        (struct event){.type = EVENT_ACK_BEGAN, .group = group, .epoch = epoch, .offset = offset});
}

void history_acked_in(struct history *self, uint32_t group, uint64_t epoch, uint64_t offset,
                      bool is_sync, uint64_t began_ns)
{
    add_event(self, (struct event){.type = EVENT_ACKED,
                                   .group = group,
                                   .epoch = epoch,
                                   .offset = offset,
                                   .is_sync = is_sync,
                                   .began_ns = began_ns});
}

void history_nacked_for(struct history *self, uint32_t group, uint64_t epoch, uint64_t offset,
                        uint64_t delay_ms)
{
    add_event(self, (struct event){.type = EVENT_NACKED,
                                   .group = group,
                                   .epoch = epoch,
                                   .offset = offset,
                                   .due_ns = delay_ms * 1000000});
}

void history_rewound(struct history *self, uint32_t group, uint64_t epoch, uint64_t offset)
{
    add_event(self, (struct event){
                        .type = EVENT_REWOUND, .group = group, .epoch = epoch, .offset = offset});
}

void history_nack_kept(struct history *self, uint32_t group, uint64_t offset)
{
    add_event(self, (struct event){.type = EVENT_NACK_KEPT, .group = group, .offset = offset});
}

void history_dead(struct history *self, uint32_t group, uint64_t offset, struct span payload)
{
    add_seen(self, (struct event){.type = EVENT_DEAD, .group = group, .offset = offset}, payload);
}

void history_gap(struct history *self, uint32_t group, uint64_t first, uint64_t last)
{
    add_event(self,
              (struct event){.type = EVENT_GAP, .group = group, .offset = first, .value = last});
}

void history_group(struct history *self, const struct group_facts *facts)
{
    INVARIANT(self->group_count < HISTORY_GROUPS_MAX);
    self->groups[self->group_count++] = *facts;
}

const struct group_facts *history_groups(const struct history *self, size_t *ret_count)
{
    *ret_count = self->group_count;
    return self->groups;
}

void history_drained(struct history *self, uint32_t group, uint64_t first, uint64_t last)
{
    INVARIANT(self->drained_count < HISTORY_DRAINED_MAX);
    self->drained[self->drained_count++] = (struct drained){group, first, last};
}

void history_fault_began(struct history *self)
{
    add_event(self, (struct event){.type = EVENT_FAULT_BEGAN});
}

void history_fault_ended(struct history *self)
{
    add_event(self, (struct event){.type = EVENT_FAULT_ENDED});
}

/* --- looking --- */

const struct published *history_records(const struct history *self, size_t *ret_count)
{
    *ret_count = self->record_count;
    return self->records;
}

const struct event *history_events(const struct history *self, size_t *ret_count)
{
    *ret_count = self->event_count;
    return self->events;
}

const struct drained *history_drained_list(const struct history *self, size_t *ret_count)
{
    *ret_count = self->drained_count;
    return self->drained;
}

bool history_final_range(const struct history *self, uint64_t *ret_first, uint64_t *ret_next)
{
    *ret_first = self->final_first;
    *ret_next = self->final_next;
    return self->has_final;
}

uint64_t history_count(struct history *self, enum outcome outcome)
{
    (void) pthread_mutex_lock(&self->mutex);
    uint64_t count = self->outcomes[outcome];
    (void) pthread_mutex_unlock(&self->mutex);
    return count;
}

uint64_t history_count_delivered(struct history *self)
{
    (void) pthread_mutex_lock(&self->mutex);
    uint64_t count = self->delivered;
    (void) pthread_mutex_unlock(&self->mutex);
    return count;
}
