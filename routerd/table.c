/* table: see the header. Owns chunks of slots and an index of slot numbers by id: 40 bytes and about 8 a subscription. A chunk that is empty is
 * given back. Never looks at what a subscription is for. */
#include "routerd/table.h"

#include <assert.h>

#include "common/base/invariant.h"
#include "common/base/list.h"
#include "common/base/mem.h"
#include "common/base/rand.h"

enum { CHUNK_BITS = 10, CHUNK_SLOTS = 1 << CHUNK_BITS, INDEX_MIN = 64 };
static_assert(sizeof(struct subscription) == 40, "what a million of them cost");

struct chunk {
    struct list with_room; /* linked while it has free slots */
    uint32_t number;
    uint32_t used;
    uint32_t free; /* slot within the chunk; TABLE_NONE: none */
    struct subscription slots[CHUNK_SLOTS];
};

struct row {
    uint32_t first;
    uint32_t last;
    uint64_t count;
};

struct table {
    const uint32_t *floors;
    struct chunk **chunks; /* NULL: given back */
    uint32_t chunk_count;
    struct list with_room;
    uint32_t *index; /* open addressing; TABLE_NONE: empty */
    uint32_t index_size;
    uint64_t seed;
    uint64_t count;
    struct row rows[TABLE_FRONTDS_MAX];
};

struct table *table_new(const uint32_t floors[TABLE_FRONTDS_MAX])
{
    struct table *self = MEM_NEW(struct table);
    self->floors = floors;
    self->seed = entropy_u64();
    list_init(&self->with_room);
    for (unsigned i = 0; i < TABLE_FRONTDS_MAX; i++) {
        self->rows[i] = (struct row){TABLE_NONE, TABLE_NONE, 0};
    }
    return self;
}

void table_destroy(struct table **self)
{
    if (*self == NULL) {
        return;
    }
    for (uint32_t i = 0; i < (*self)->chunk_count; i++) {
        mem_free((*self)->chunks[i]);
    }
    mem_free((*self)->chunks);
    mem_free((*self)->index);
    MEM_FREE(*self);
}

/* --- slots ------------------------------------------------------------------------------------------------- */

struct subscription *table_at(const struct table *self, uint32_t slot)
{
    return &self->chunks[slot >> CHUNK_BITS]->slots[slot & (CHUNK_SLOTS - 1)];
}

/* The row knows the neighbours' numbers, the index knows this one's: no record needs its own. */
static uint32_t *table_index_place(const struct table *self, uint64_t id)
{
    uint64_t hash = (id ^ self->seed) * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t mask = self->index_size - 1;
    uint32_t at = (uint32_t) (hash >> 32) & mask;
    while (self->index[at] != TABLE_NONE && table_at(self, self->index[at])->id != id) {
        at = (at + 1) & mask;
    }
    return &self->index[at];
}

uint32_t table_slot(const struct table *self, const struct subscription *subscription)
{
    return *table_index_place(self, subscription->id);
}

struct subscription *table_find(const struct table *self, uint64_t id)
{
    if (self->index_size == 0) {
        return NULL;
    }
    uint32_t slot = *table_index_place(self, id);
    return slot == TABLE_NONE ? NULL : table_at(self, slot);
}

static bool table_resize_index(struct table *self, uint32_t size)
{
    uint32_t *old = self->index;
    uint32_t old_size = self->index_size;
    uint32_t *index = (uint32_t *) mem_try_new_array(size, sizeof(*index));
    if (index == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < size; i++) {
        index[i] = TABLE_NONE;
    }
    self->index = index;
    self->index_size = size;
    for (uint32_t i = 0; i < old_size; i++) {
        if (old[i] != TABLE_NONE) {
            *table_index_place(self, table_at(self, old[i])->id) = old[i];
        }
    }
    mem_free(old);
    return true;
}

/* Close the gap: what comes behind it in the same run of full places may only be found through it. */
static void table_index_remove(struct table *self, uint32_t *place)
{
    uint32_t mask = self->index_size - 1;
    uint32_t gap = (uint32_t) (place - self->index);
    self->index[gap] = TABLE_NONE;
    for (uint32_t at = (gap + 1) & mask; self->index[at] != TABLE_NONE; at = (at + 1) & mask) {
        uint32_t slot = self->index[at];
        self->index[at] = TABLE_NONE;
        *table_index_place(self, table_at(self, slot)->id) = slot;
    }
}

static struct chunk *table_chunk_new(struct table *self)
{
    uint32_t number = 0;
    while (number < self->chunk_count && self->chunks[number] != NULL) {
        number++; /* once for a thousand subscriptions */
    }
    struct chunk *chunk = (struct chunk *) mem_try_new(sizeof(*chunk));
    if (chunk == NULL) {
        return NULL;
    }
    if (number == self->chunk_count) {
        self->chunks =
            (struct chunk **) mem_resize(self->chunks, number + 1, sizeof(struct chunk *));
        self->chunk_count++;
    }
    self->chunks[number] = chunk;
    chunk->number = number;
    chunk->used = 0;
    chunk->free = 0;
    for (uint32_t i = 0; i < CHUNK_SLOTS; i++) {
        chunk->slots[i].next = i + 1 < CHUNK_SLOTS ? i + 1 : TABLE_NONE;
    }
    list_init(&chunk->with_room);
    list_push_back(&self->with_room, &chunk->with_room);
    return chunk;
}

static void table_slot_free(struct table *self, uint32_t slot)
{
    struct chunk *chunk = self->chunks[slot >> CHUNK_BITS];
    uint32_t at = slot & (CHUNK_SLOTS - 1);
    if (chunk->free == TABLE_NONE) {
        list_push_back(&self->with_room, &chunk->with_room);
    }
    chunk->slots[at].next = chunk->free;
    chunk->free = at;
    if (--chunk->used == 0) {
        list_remove(&chunk->with_room);
        self->chunks[chunk->number] = NULL;
        mem_free(chunk);
    }
}

/* --- rows -------------------------------------------------------------------------------------------------- */

static void table_row_push(struct table *self, struct subscription *subscription, uint32_t slot)
{
    struct row *row = &self->rows[subscription_frontd(subscription)];
    subscription->next = TABLE_NONE;
    subscription->previous = row->last;
    if (row->last == TABLE_NONE) {
        row->first = slot;
    } else {
        table_at(self, row->last)->next = slot;
    }
    row->last = slot;
    row->count++;
}

static void table_row_remove(struct table *self, struct subscription *subscription)
{
    struct row *row = &self->rows[subscription_frontd(subscription)];
    if (subscription->previous == TABLE_NONE) {
        row->first = subscription->next;
    } else {
        table_at(self, subscription->previous)->next = subscription->next;
    }
    if (subscription->next == TABLE_NONE) {
        row->last = subscription->previous;
    } else {
        table_at(self, subscription->next)->previous = subscription->previous;
    }
    row->count--;
}

/* --- the whole --------------------------------------------------------------------------------------------- */

struct subscription *table_add(struct table *self, uint64_t id, unsigned frontd,
                               uint32_t generation)
{
    INVARIANT(frontd < TABLE_FRONTDS_MAX);
    /* At most three quarters full. */
    if (4 * (self->count + 1) > 3 * (uint64_t) self->index_size &&
        !table_resize_index(self, self->index_size != 0 ? 2 * self->index_size : INDEX_MIN)) {
        return NULL;
    }
    uint32_t *place = table_index_place(self, id);
    INVARIANT(*place == TABLE_NONE);
    struct chunk *chunk = list_is_empty(&self->with_room)
                              ? table_chunk_new(self)
                              : LIST_ENTRY(self->with_room.next, struct chunk, with_room);
    if (chunk == NULL) {
        return NULL;
    }
    uint32_t slot = chunk->number << CHUNK_BITS | chunk->free;
    struct subscription *subscription = &chunk->slots[chunk->free];
    chunk->free = subscription->next;
    chunk->used++;
    if (chunk->free == TABLE_NONE) {
        list_remove(&chunk->with_room);
    }
    *subscription = (struct subscription){
        .id = id,
        .owner = (generation & TABLE_GENERATION_MASK) << TABLE_FRONTD_BITS | frontd,
    };
    *place = slot;
    table_row_push(self, subscription, slot);
    self->count++;
    return subscription;
}

void table_remove(struct table *self, struct subscription *subscription)
{
    uint32_t *place = table_index_place(self, subscription->id);
    uint32_t slot = *place;
    INVARIANT(slot != TABLE_NONE);
    table_row_remove(self, subscription);
    table_index_remove(self, place);
    table_slot_free(self, slot);
    self->count--;
    if (self->count == 0) {
        MEM_FREE(self->index);
        self->index_size = 0;
    } else if (self->index_size > INDEX_MIN && 8 * self->count < self->index_size) {
        (void) table_resize_index(self, self->index_size / 2); /* a large one does as well */
    }
}

void table_refresh(struct table *self, struct subscription *subscription, uint32_t generation)
{
    uint32_t slot = table_slot(self, subscription);
    table_row_remove(self, subscription);
    subscription->owner = (generation & TABLE_GENERATION_MASK) << TABLE_FRONTD_BITS |
                          subscription_frontd(subscription);
    table_row_push(self, subscription, slot);
}

bool table_is_dead(const struct table *self, const struct subscription *subscription)
{
    return generation_is_before(subscription_generation(subscription),
                                self->floors[subscription_frontd(subscription)]);
}

struct subscription *table_first_dead(const struct table *self, unsigned frontd)
{
    uint32_t first = self->rows[frontd].first;
    if (first == TABLE_NONE) {
        return NULL;
    }
    struct subscription *subscription = table_at(self, first);
    return table_is_dead(self, subscription) ? subscription : NULL;
}

uint64_t table_count(const struct table *self)
{
    return self->count;
}

void table_each(struct table *self, void (*call)(struct subscription *subscription))
{
    for (unsigned i = 0; i < TABLE_FRONTDS_MAX; i++) {
        for (uint32_t slot = self->rows[i].first; slot != TABLE_NONE;) {
            struct subscription *subscription = table_at(self, slot);
            slot = subscription->next;
            call(subscription);
        }
    }
}

bool table_invariant(const struct table *self)
{
    uint64_t found = 0;
    for (unsigned frontd = 0; frontd < TABLE_FRONTDS_MAX; frontd++) {
        const struct row *row = &self->rows[frontd];
        uint32_t previous = TABLE_NONE;
        uint64_t in_row = 0;
        for (uint32_t slot = row->first; slot != TABLE_NONE; slot = table_at(self, slot)->next) {
            const struct subscription *subscription = table_at(self, slot);
            if (subscription->previous != previous || subscription_frontd(subscription) != frontd ||
                table_find(self, subscription->id) != subscription) {
                return false;
            }
            if (previous != TABLE_NONE &&
                generation_is_before(subscription_generation(subscription),
                                     subscription_generation(table_at(self, previous)))) {
                return false;
            }
            previous = slot;
            in_row++;
        }
        if (row->last != previous || row->count != in_row) {
            return false;
        }
        found += in_row;
    }
    return found == self->count;
}
