/* ids_hot: a queue of entries in chunks, and over it a hash table of chains that grows by one bucket at a time, so that no call ever pays for
 * all. A chain runs from the newest entry of its bucket to older ones and ends at the first that has left the queue: leaving at the front
 * needs no touch of the index. Times and offsets are kept relative to their chunk. */
#include "logd/ids_hot.h"

#include "common/base/invariant.h"
#include "common/base/mem.h"

enum {
    CHUNK_BITS = 13,
    CHUNK_SLOTS = 1 << CHUNK_BITS,
    CHUNK_SLOTS_FIRST = 16,
    SLAB_BYTES = 2 << 20, /* a large page; of it, seven chunks */
    SLAB_FROM = 2 * CHUNK_SLOTS,
    RING_FIRST = 4,
    HEADS_FIRST_BITS = 7,
    HEADS_FIRST = 1 << HEADS_FIRST_BITS,
    SEGMENTS_MAX = 32,
    SEGMENT_LARGE_BYTES = 2 << 20,
    BUCKETS_PER_ID = 2,   /* a new ID then meets another one in its bucket in two of five cases */
    BUCKETS_SMALL = 8192, /* not worth to be given back */
    SPLIT_AHEAD = 8,
};

struct slot {
    uint32_t key[4]; /* the last two 0: taken out */
    uint32_t prev;   /* place of the next older entry in its chain; outside the queue: none */
    uint32_t payload[2];
    uint32_t offset; /* behind the chunk's, as a signed number */
    uint32_t ts_us;  /* behind the chunk's */
};

struct slab {
    uint32_t taken; /* chunks of it that were ever taken */
    uint32_t live;
    uint8_t *memory;
};

struct chunk {
    struct slab *slab; /* NULL: memory of its own */
    uint64_t offset;
    uint64_t ts_us;
    uint32_t count;
    uint32_t capacity;
    struct slot slots[];
};

struct ids_hot {
    uint64_t first; /* places; a new chunk begins at a multiple of its slots */
    uint64_t end;
    uint64_t count;
    struct chunk **ring; /* of the chunk with number n at n & (ring_size - 1) */
    uint64_t ring_size;
    struct slab *slab;                /* the one chunks are taken of; NULL: none */
    uint32_t *segments[SEGMENTS_MAX]; /* of heads: each as large as all before it */
    unsigned segment_count;
    uint64_t buckets;
    uint64_t level; /* the highest power of two <= buckets */
    size_t memory;
};

static struct slot *slot_at(const struct ids_hot *self, uint64_t place)
{
    struct chunk *chunk = self->ring[(place >> CHUNK_BITS) & (self->ring_size - 1)];
    return &chunk->slots[place & (CHUNK_SLOTS - 1)];
}

static struct ids_key slot_key(const struct slot *slot)
{
    return (struct ids_key){(uint64_t) slot->key[1] << 32 | slot->key[0],
                            (uint64_t) slot->key[3] << 32 | slot->key[2]};
}

static bool slot_is_out(const struct slot *slot)
{
    return (slot->key[2] | slot->key[3]) == 0;
}

/* A link to a full place; false: it leads out of the queue. */
static bool link_follow(const struct ids_hot *self, uint32_t link, uint64_t *ret_place)
{
    uint32_t behind = link - (uint32_t) self->first;
    if (behind >= self->end - self->first) {
        return false;
    }
    *ret_place = self->first + behind;
    return true;
}

static uint64_t bucket_of(const struct ids_hot *self, uint64_t hash)
{
    uint64_t bucket = hash & (self->level * 2 - 1);
    return bucket < self->buckets ? bucket : hash & (self->level - 1);
}

static uint32_t *head_at(const struct ids_hot *self, uint64_t bucket)
{
    if (bucket < HEADS_FIRST) {
        return &self->segments[0][bucket];
    }
    unsigned bits = 63 - (unsigned) __builtin_clzll(bucket);
    return &self->segments[bits - HEADS_FIRST_BITS + 1][bucket - (UINT64_C(1) << bits)];
}

/* --- life --- */

struct ids_hot *ids_hot_new(void)
{
    struct ids_hot *self = MEM_NEW(struct ids_hot);
    self->first = CHUNK_SLOTS;
    self->end = CHUNK_SLOTS;
    self->memory = sizeof(*self);
    return self;
}

static size_t chunk_bytes(uint32_t capacity)
{
    return sizeof(struct chunk) + capacity * sizeof(struct slot);
}

static void slab_drop(struct ids_hot *self, struct slab *slab)
{
    if (slab->live == 0 && slab != self->slab) {
        self->memory -= SLAB_BYTES + sizeof(*slab);
        mem_free(slab->memory);
        mem_free(slab);
    }
}

static void chunk_free(struct ids_hot *self, uint64_t number)
{
    struct chunk **chunk = &self->ring[number & (self->ring_size - 1)];
    if (*chunk == NULL) {
        return;
    }
    struct slab *slab = (*chunk)->slab;
    if (slab != NULL) {
        slab->live--;
        slab_drop(self, slab);
        *chunk = NULL;
    } else {
        self->memory -= chunk_bytes((*chunk)->capacity);
        MEM_FREE(*chunk);
    }
}

static void heads_free(struct ids_hot *self)
{
    for (unsigned i = 0; i < self->segment_count; i++) {
        MEM_FREE(self->segments[i]);
    }
    self->memory -= self->buckets * sizeof(uint32_t);
    self->segment_count = 0;
    self->buckets = 0;
    self->level = 0;
}

/* Empty: without memory. Places go on. */
static void hot_reset(struct ids_hot *self)
{
    if (self->ring != NULL) {
        for (uint64_t i = 0; i < self->ring_size; i++) {
            chunk_free(self, i);
        }
        self->memory -= self->ring_size * sizeof(*self->ring);
        MEM_FREE(self->ring);
        self->ring_size = 0;
    }
    if (self->slab != NULL) {
        struct slab *slab = self->slab;
        self->slab = NULL;
        slab_drop(self, slab);
    }
    heads_free(self);
    self->end = (self->end + CHUNK_SLOTS) & ~(uint64_t) (CHUNK_SLOTS - 1);
    self->first = self->end;
}

void ids_hot_destroy(struct ids_hot **self)
{
    if (*self != NULL) {
        ids_hot_clear(*self);
        MEM_FREE(*self);
    }
}

uint64_t ids_hot_count(const struct ids_hot *self)
{
    return self->count;
}

size_t ids_hot_memory(const struct ids_hot *self)
{
    return self->memory;
}

uint64_t ids_hot_end(const struct ids_hot *self)
{
    return self->end;
}

/* --- the index --- */

/* Room for one bucket more. Untouched memory costs nothing: what is counted are buckets. */
static void heads_make_room(struct ids_hot *self)
{
    uint64_t room =
        self->segment_count != 0 ? (uint64_t) HEADS_FIRST << (self->segment_count - 1) : 0;
    if (self->buckets < room) {
        return;
    }
    INVARIANT(self->segment_count < SEGMENTS_MAX);
    size_t heads = room != 0 ? room : (size_t) HEADS_FIRST;
    size_t bytes = heads * sizeof(uint32_t);
    self->segments[self->segment_count++] =
        bytes >= SEGMENT_LARGE_BYTES ? mem_new_large(bytes) : mem_resize(NULL, 1, bytes);
}

static uint32_t *heads_add(struct ids_hot *self)
{
    heads_make_room(self);
    uint32_t *head = head_at(self, self->buckets++);
    self->memory += sizeof(*head);
    if (self->buckets == self->level * 2) {
        self->level *= 2;
    }
    return head;
}

/* So many empty buckets. */
static void heads_make(struct ids_hot *self, uint64_t buckets)
{
    self->level = 1;
    while (self->buckets < buckets) {
        *heads_add(self) = (uint32_t) (self->first - 1);
    }
}

/* One bucket more: the entries of its elder are divided among the two. */
static void heads_split(struct ids_hot *self)
{
    uint64_t level = self->level;
    uint64_t old = self->buckets - level;
    uint64_t place;
    uint64_t ahead = old + SPLIT_AHEAD;
    if (ahead < self->buckets && link_follow(self, *head_at(self, ahead), &place)) {
        __builtin_prefetch(slot_at(self, place), 1);
    }
    uint32_t *ends[2] = {head_at(self, old), heads_add(self)};
    uint32_t link = *ends[0];
    uint32_t none = (uint32_t) (self->first - 1);
    while (link_follow(self, link, &place)) {
        struct slot *slot = slot_at(self, place);
        uint64_t low = (uint64_t) slot->key[1] << 32 | slot->key[0];
        unsigned side = (low & level) != 0;
        *ends[side] = link;
        ends[side] = &slot->prev;
        link = slot->prev;
    }
    *ends[0] = none;
    *ends[1] = none;
}

static void slot_link(struct ids_hot *self, struct slot *slot, uint64_t place)
{
    uint64_t low = (uint64_t) slot->key[1] << 32 | slot->key[0];
    uint32_t *head = head_at(self, bucket_of(self, low));
    slot->prev = *head;
    *head = (uint32_t) place;
}

/* Much has left: a table for what is there. */
static void heads_shrink(struct ids_hot *self)
{
    uint64_t span = self->end - self->first;
    heads_free(self);
    heads_make(self, span * BUCKETS_PER_ID + HEADS_FIRST);
    for (uint64_t place = self->first; place < self->end; place++) {
        const struct chunk *chunk = self->ring[(place >> CHUNK_BITS) & (self->ring_size - 1)];
        if ((place & (CHUNK_SLOTS - 1)) >= chunk->count) {
            place |= CHUNK_SLOTS - 1; /* it was closed early */
            continue;
        }
        slot_link(self, slot_at(self, place), place);
    }
}

void ids_hot_prefetch(const struct ids_hot *self, const struct ids_key *key)
{
    if (self->buckets != 0) {
        __builtin_prefetch(head_at(self, bucket_of(self, key->low)), 1);
    }
}

void ids_hot_prefetch_entry(const struct ids_hot *self, const struct ids_key *key)
{
    uint64_t place;
    if (self->buckets != 0 &&
        link_follow(self, *head_at(self, bucket_of(self, key->low)), &place)) {
        __builtin_prefetch(slot_at(self, place));
    }
}

static struct slot *hot_find(const struct ids_hot *self, const struct ids_key *key,
                             uint64_t *ret_place)
{
    if (self->buckets == 0) {
        return NULL;
    }
    uint64_t place;
    uint32_t link = *head_at(self, bucket_of(self, key->low));
    while (link_follow(self, link, &place)) {
        struct slot *slot = slot_at(self, place);
        struct ids_key own = slot_key(slot);
        if (ids_key_equal(&own, key)) {
            *ret_place = place;
            return slot;
        }
        link = slot->prev;
    }
    return NULL;
}

static struct ids_entry slot_read(const struct ids_hot *self, const struct slot *slot,
                                  uint64_t place)
{
    const struct chunk *chunk = self->ring[(place >> CHUNK_BITS) & (self->ring_size - 1)];
    return (struct ids_entry){
        .key = slot_key(slot),
        .payload = (uint64_t) slot->payload[1] << 32 | slot->payload[0],
        .offset = chunk->offset + (uint64_t) (int64_t) (int32_t) slot->offset,
        .ts_us = chunk->ts_us + slot->ts_us,
    };
}

bool ids_hot_find(const struct ids_hot *self, const struct ids_key *key,
                  struct ids_entry *ret_entry)
{
    uint64_t place;
    const struct slot *slot = hot_find(self, key, &place);
    if (slot == NULL) {
        return false;
    }
    *ret_entry = slot_read(self, slot, place);
    return true;
}

/* --- the queue --- */

static void ring_grow(struct ids_hot *self)
{
    uint64_t size = self->ring_size != 0 ? self->ring_size * 2 : RING_FIRST;
    struct chunk **ring = MEM_NEW_ARRAY(size, struct chunk *);
    for (uint64_t i = 0; i < self->ring_size; i++) {
        uint64_t number = (self->first >> CHUNK_BITS) + i;
        ring[number & (size - 1)] = self->ring[number & (self->ring_size - 1)];
    }
    self->memory += (size - self->ring_size) * sizeof(*ring);
    mem_free(self->ring);
    self->ring = ring;
    self->ring_size = size;
}

/* The small ones grow from little: there may be many streams. */
static struct chunk *chunk_grow(struct ids_hot *self, struct chunk *old)
{
    uint32_t before = old != NULL ? old->capacity : 0;
    uint32_t capacity = before != 0 ? before * 2 : (uint32_t) CHUNK_SLOTS_FIRST;
    if (old == NULL && self->count >= CHUNK_SLOTS / 2) {
        capacity = CHUNK_SLOTS; /* it will be full soon */
    }
    struct chunk *chunk = mem_resize(old, 1, chunk_bytes(capacity));
    self->memory += chunk_bytes(capacity) - (before != 0 ? chunk_bytes(before) : 0);
    chunk->capacity = capacity;
    if (before == 0) {
        chunk->count = 0;
        chunk->slab = NULL;
    }
    return chunk;
}

static struct chunk *chunk_of_slab(struct ids_hot *self)
{
    size_t bytes = chunk_bytes(CHUNK_SLOTS);
    struct slab *slab = self->slab;
    if (slab == NULL || slab->taken == SLAB_BYTES / bytes) {
        self->slab = MEM_NEW(struct slab);
        self->slab->memory = mem_new_large(SLAB_BYTES);
        self->memory += SLAB_BYTES + sizeof(*slab);
        if (slab != NULL) {
            slab_drop(self, slab);
        }
        slab = self->slab;
    }
    struct chunk *chunk = (void *) (slab->memory + slab->taken * bytes);
    slab->taken++;
    slab->live++;
    *chunk = (struct chunk){.slab = slab, .capacity = CHUNK_SLOTS};
    return chunk;
}

static bool chunk_takes(const struct chunk *chunk, const struct ids_entry *entry)
{
    int64_t offset = (int64_t) (entry->offset - chunk->offset);
    return chunk->count == 0 || (entry->ts_us - chunk->ts_us <= UINT32_MAX && offset >= INT32_MIN &&
                                 offset <= INT32_MAX);
}

/* The chunk for the next entry, with room. */
static struct chunk *hot_open_chunk(struct ids_hot *self, const struct ids_entry *entry)
{
    struct chunk **at;
    for (;;) {
        if ((self->end >> CHUNK_BITS) - (self->first >> CHUNK_BITS) >= self->ring_size) {
            ring_grow(self);
        }
        at = &self->ring[(self->end >> CHUNK_BITS) & (self->ring_size - 1)];
        if (*at == NULL || chunk_takes(*at, entry)) {
            break;
        }
        self->end = (self->end | (CHUNK_SLOTS - 1)) + 1; /* closed early */
    }
    if (*at == NULL && self->count >= SLAB_FROM) {
        *at = chunk_of_slab(self);
    } else if (*at == NULL || (*at)->count == (*at)->capacity) {
        *at = chunk_grow(self, *at);
    }
    if ((*at)->count == 0) {
        INVARIANT((self->end & (CHUNK_SLOTS - 1)) == 0);
        (*at)->offset = entry->offset;
        (*at)->ts_us = entry->ts_us;
    }
    return *at;
}

void ids_hot_put(struct ids_hot *self, const struct ids_entry *entry)
{
    INVARIANT(self->end - self->first < UINT32_MAX / 2);

    if (self->buckets == 0) {
        heads_make(self, HEADS_FIRST);
    }
    for (unsigned i = 0; i < BUCKETS_PER_ID && self->count * BUCKETS_PER_ID >= self->buckets; i++) {
        heads_split(self);
    }
    struct chunk *chunk = hot_open_chunk(self, entry);
    struct slot *slot = &chunk->slots[chunk->count];
    slot->key[0] = (uint32_t) entry->key.low;
    slot->key[1] = (uint32_t) (entry->key.low >> 32);
    slot->key[2] = (uint32_t) entry->key.high;
    slot->key[3] = (uint32_t) (entry->key.high >> 32);
    slot->payload[0] = (uint32_t) entry->payload;
    slot->payload[1] = (uint32_t) (entry->payload >> 32);
    slot->offset = (uint32_t) (entry->offset - chunk->offset);
    slot->ts_us = (uint32_t) (entry->ts_us - chunk->ts_us);
    slot_link(self, slot, self->end);
    chunk->count++;
    self->end++;
    self->count++;
}

bool ids_hot_remove(struct ids_hot *self, const struct ids_key *key)
{
    uint64_t place;
    struct slot *slot = hot_find(self, key, &place);
    if (slot == NULL) {
        return false;
    }
    slot->key[2] = 0; /* what says its bucket stays: it is a link of its chain */
    slot->key[3] = 0;
    self->count--;
    return true;
}

void ids_hot_cut(struct ids_hot *self, uint64_t end)
{
    INVARIANT(end >= self->first);

    while (self->end > end) {
        uint64_t place = self->end - 1;
        uint64_t number = place >> CHUNK_BITS;
        struct chunk *chunk = self->ring[number & (self->ring_size - 1)];
        if ((place & (CHUNK_SLOTS - 1)) >= chunk->count) { /* it was closed early */
            uint64_t behind = (number << CHUNK_BITS) + chunk->count;
            self->end = behind > end ? behind : end;
            continue;
        }
        const struct slot *slot = slot_at(self, place);
        INVARIANT(!slot_is_out(slot));
        uint64_t low = (uint64_t) slot->key[1] << 32 | slot->key[0];
        uint32_t *head = head_at(self, bucket_of(self, low));
        INVARIANT(*head == (uint32_t) place); /* the newest of all is the newest of its bucket */
        *head = slot->prev;
        self->count--;
        self->end--;
        chunk->count--;
        if (chunk->count == 0) {
            chunk_free(self, number);
        }
    }
    if (self->first == self->end && self->buckets != 0) {
        hot_reset(self);
    }
}

/* Let `first` be a place that holds something, if any does. */
static void hot_settle(struct ids_hot *self)
{
    while (self->first < self->end) {
        uint64_t number = self->first >> CHUNK_BITS;
        const struct chunk *chunk = self->ring[number & (self->ring_size - 1)];
        uint64_t at = self->first & (CHUNK_SLOTS - 1);
        if (at < chunk->count && !slot_is_out(&chunk->slots[at])) {
            break;
        }
        if (at < chunk->count) {
            self->first++;
        } else {
            self->first = (number + 1) << CHUNK_BITS;
        }
        if (self->first >> CHUNK_BITS != number && self->first < self->end) {
            chunk_free(self, number);
        }
    }
    if (self->first < self->end) {
        if (self->buckets > BUCKETS_SMALL && (self->end - self->first) * 16 < self->buckets) {
            heads_shrink(self);
        }
    } else if (self->buckets != 0) {
        INVARIANT(self->count == 0);
        hot_reset(self);
    }
}

bool ids_hot_first(struct ids_hot *self, struct ids_entry *ret_entry)
{
    hot_settle(self);
    if (self->first == self->end) {
        return false;
    }
    *ret_entry = slot_read(self, slot_at(self, self->first), self->first);
    return true;
}

void ids_hot_pop_to(struct ids_hot *self, uint64_t place)
{
    hot_settle(self);
    while (self->first < self->end && self->first < place) {
        self->count--;
        self->first++;
        if ((self->first & (CHUNK_SLOTS - 1)) == 0 && self->first < self->end) {
            chunk_free(self, (self->first >> CHUNK_BITS) - 1);
        }
        hot_settle(self);
    }
}

void ids_hot_pop(struct ids_hot *self)
{
    hot_settle(self);
    ids_hot_pop_to(self, self->first + 1);
}

void ids_hot_clear(struct ids_hot *self)
{
    ids_hot_pop_to(self, self->end);
}

bool ids_hot_next(const struct ids_hot *self, uint64_t *cursor, struct ids_entry *ret_entry)
{
    uint64_t place = *cursor > self->first ? *cursor : self->first;
    while (place < self->end) {
        const struct chunk *chunk = self->ring[(place >> CHUNK_BITS) & (self->ring_size - 1)];
        if ((place & (CHUNK_SLOTS - 1)) >= chunk->count) {
            place = (place | (CHUNK_SLOTS - 1)) + 1;
            continue;
        }
        const struct slot *slot = slot_at(self, place);
        if (!slot_is_out(slot)) {
            *ret_entry = slot_read(self, slot, place);
            *cursor = place + 1;
            return true;
        }
        place++;
    }
    return false;
}
