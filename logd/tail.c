/* tail: recent batches in memory. Owns a ring of batches for each stream and one queue that says whose batch is the oldest of all.
 * Never copies a payload. A batch's cost is its bytes and what stands around them. */
#include "logd/tail.h"

#include "common/base/invariant.h"
#include "common/base/mem.h"

enum {
    TAIL_OVERHEAD = 256, /* of a batch: its place here, the payload's and ZeroMQ's own headers */
    TAIL_ORDER_MIN = 64,
    TAIL_RING_MIN = 2,
};

struct tail {
    uint64_t bytes;
    uint64_t bytes_max;
    struct tail_stream **order; /* oldest first; NULL: that stream was dropped */
    size_t head;
    size_t count;
    size_t capacity; /* a power of two, or 0 */
};

static uint64_t tail_cost(const struct stored *stored)
{
    return stored->batch.bytes.size + TAIL_OVERHEAD;
}

struct tail *tail_new(uint64_t bytes_max)
{
    struct tail *self = MEM_NEW(struct tail);
    self->bytes_max = bytes_max;
    return self;
}

void tail_destroy(struct tail **self)
{
    if (*self == NULL) {
        return;
    }
    tail_shrink(*self, 0);
    mem_free((*self)->order);
    MEM_FREE(*self);
}

uint64_t tail_bytes(const struct tail *self)
{
    return self->bytes;
}

static void tail_order_resize(struct tail *self, size_t capacity)
{
    struct tail_stream **order = MEM_NEW_ARRAY(capacity, struct tail_stream *);
    for (size_t i = 0; i < self->count; i++) {
        order[i] = self->order[(self->head + i) & (self->capacity - 1)];
    }
    mem_free(self->order);
    self->order = order;
    self->head = 0;
    self->capacity = capacity;
}

static void tail_order_push(struct tail *self, struct tail_stream *stream)
{
    if (self->count == self->capacity) {
        tail_order_resize(self, self->capacity == 0 ? TAIL_ORDER_MIN : self->capacity * 2);
    }
    self->order[(self->head + self->count) & (self->capacity - 1)] = stream;
    self->count++;
}

static void tail_ring_resize(struct tail_stream *stream, uint32_t capacity)
{
    struct stored *ring = MEM_NEW_ARRAY(capacity, struct stored);
    for (uint32_t i = 0; i < stream->count; i++) {
        ring[i] = stream->ring[(stream->head + i) & (stream->capacity - 1)];
    }
    mem_free(stream->ring);
    stream->ring = ring;
    stream->head = 0;
    stream->capacity = capacity;
}

static void tail_ring_pop(struct tail *self, struct tail_stream *stream)
{
    INVARIANT(stream->count > 0);
    struct stored *oldest = &stream->ring[stream->head];
    INVARIANT(self->bytes >= tail_cost(oldest));
    self->bytes -= tail_cost(oldest);
    slice_release(&oldest->batch);
    stream->head = (stream->head + 1) & (stream->capacity - 1);
    stream->count--;
    stream->gone -= stream->gone > 0 ? 1 : 0;
    if (stream->count == 0) {
        MEM_FREE(stream->ring); /* an idle stream costs nothing */
        *stream = (struct tail_stream){0};
    } else if (stream->capacity > TAIL_RING_MIN * 8 && stream->count <= stream->capacity / 8) {
        tail_ring_resize(stream, stream->capacity / 2);
    }
}

void tail_shrink(struct tail *self, uint64_t bytes)
{
    while (self->bytes > bytes) {
        INVARIANT(self->count > 0);
        struct tail_stream *stream = self->order[self->head];
        self->head = (self->head + 1) & (self->capacity - 1);
        self->count--;
        if (stream != NULL) {
            tail_ring_pop(self, stream);
        }
    }
    if (self->bytes == 0 && self->capacity > TAIL_ORDER_MIN) {
        MEM_FREE(self->order);
        self->head = 0;
        self->count = 0;
        self->capacity = 0;
    }
}

void tail_push(struct tail *self, struct tail_stream *stream, const struct stored *stored)
{
    uint64_t cost = tail_cost(stored);
    if (cost > self->bytes_max) {
        return;
    }
    if (stream->count != 0) {
        const struct stored *last =
            &stream->ring[(stream->head + stream->count - 1) & (stream->capacity - 1)];
        INVARIANT(stored->base >= last->base + last->count);
    }
    tail_shrink(self, self->bytes_max - cost);
    if (stream->count == stream->capacity) {
        tail_ring_resize(stream, stream->capacity == 0 ? TAIL_RING_MIN : stream->capacity * 2);
    }
    struct stored *place = &stream->ring[(stream->head + stream->count) & (stream->capacity - 1)];
    *place = *stored;
    place->batch = slice_ref(&stored->batch);
    stream->count++;
    self->bytes += cost;
    tail_order_push(self, stream);
}

const struct stored *tail_find(const struct tail_stream *stream, uint64_t offset)
{
    uint32_t low = 0;
    uint32_t high = stream->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct stored *stored =
            &stream->ring[(stream->head + middle) & (stream->capacity - 1)];
        if (stored->base + stored->count <= offset) {
            low = middle + 1;
        } else if (stored->base > offset) {
            high = middle;
        } else {
            return stored;
        }
    }
    return NULL;
}

void tail_trim(struct tail *self, struct tail_stream *stream, uint64_t first_offset)
{
    for (; stream->gone < stream->count; stream->gone++) {
        struct stored *stored =
            &stream->ring[(stream->head + stream->gone) & (stream->capacity - 1)];
        if (stored->base + stored->count > first_offset) {
            return;
        }
        self->bytes -= stored->batch.bytes.size; /* its place is paid for until it goes */
        slice_release(&stored->batch);
        stored->batch = (struct slice){0};
    }
}

void tail_drop(struct tail *self, struct tail_stream *stream)
{
    if (stream->count == 0) {
        return;
    }
    for (size_t i = 0; i < self->count; i++) {
        struct tail_stream **place = &self->order[(self->head + i) & (self->capacity - 1)];
        if (*place == stream) {
            *place = NULL;
        }
    }
    while (stream->count > 0) {
        tail_ring_pop(self, stream);
    }
}
