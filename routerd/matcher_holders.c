/* matcher_holders: a set of numbers that is walked far more often than it changes. A list holds them densely; from a
 * few on, a table of places in the list (open addressing, no graves: the followers move up) finds one. Owns the list.
 * Room shrinks when three quarters have gone. */
#include "routerd/matcher_holders.h"

#include "common/base/invariant.h"
#include "common/base/mem.h"

#include "routerd/matcher_heap.h"

enum { LIST_MIN = 4, INDEX_FROM = 16 };

struct matcher_holder_list {
    uint64_t *holders;
    uint32_t *index;   /* place + 1; 0: free. NULL while there are few */
    uint32_t capacity; /* of holders */
    uint32_t mask;     /* of index */
};

static uint32_t holder_home(const struct matcher_holder_list *list, uint64_t holder, uint64_t seed)
{
    uint64_t mixed = (holder ^ seed) * UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 32 ^ seed) * UINT64_C(0xd1b54a32d192ed03);
    return (uint32_t) (mixed >> 32) & list->mask;
}

/* The index's slot of a holder, or the free one where it would be. */
static uint32_t holder_slot(const struct matcher_holder_list *list, uint64_t holder, uint64_t seed)
{
    uint32_t slot = holder_home(list, holder, seed);
    while (list->index[slot] != 0 && list->holders[list->index[slot] - 1] != holder) {
        slot = (slot + 1) & list->mask;
    }
    return slot;
}

/* Place in the list, or UINT32_MAX. */
static uint32_t holder_place(const struct matcher_holders *self, uint64_t holder, uint64_t seed)
{
    const struct matcher_holder_list *list = self->as.list;
    if (list->index != NULL) {
        return list->index[holder_slot(list, holder, seed)] - 1;
    }
    for (uint32_t i = 0; i < self->count; i++) {
        if (list->holders[i] == holder) {
            return i;
        }
    }
    return UINT32_MAX;
}

/* Make the index anew, for up to twice as many as there are; none if they are few. */
static void holders_index(struct matcher_holders *self, uint64_t seed)
{
    struct matcher_holder_list *list = self->as.list;
    MEM_FREE(list->index);
    if (self->count < INDEX_FROM) {
        return;
    }
    size_t size = 1;
    while (size < (size_t) self->count * 2) {
        size *= 2;
    }
    list->index = MEM_NEW_ARRAY(size, uint32_t);
    list->mask = (uint32_t) (size - 1);
    for (uint32_t i = 0; i < self->count; i++) {
        list->index[holder_slot(list, list->holders[i], seed)] = i + 1;
    }
}

static void holders_resize(struct matcher_holders *self, uint32_t capacity)
{
    struct matcher_holder_list *list = self->as.list;
    list->holders = mem_resize(list->holders, capacity, sizeof(*list->holders));
    list->capacity = capacity;
}

void matcher_holders_release(struct matcher_holders *self)
{
    if (self->is_list) {
        mem_free(self->as.list->index);
        mem_free(self->as.list->holders);
        mem_free(self->as.list);
    }
    *self = (struct matcher_holders){0};
}

static void holders_become_list(struct matcher_holders *self)
{
    uint64_t first = self->as.one;
    self->as.list = MEM_NEW(struct matcher_holder_list);
    self->is_list = true;
    holders_resize(self, LIST_MIN);
    self->as.list->holders[0] = first;
}

bool matcher_holders_add(struct matcher_holders *self, uint64_t holder, uint64_t seed)
{
    INVARIANT(self->count < UINT32_MAX / 4);
    if (self->count == 0) {
        self->as.one = holder;
        self->count = 1;
        return true;
    }
    if (!self->is_list) {
        if (self->as.one == holder) {
            return false;
        }
        holders_become_list(self);
    } else if (holder_place(self, holder, seed) != UINT32_MAX) {
        return false;
    }
    struct matcher_holder_list *list = self->as.list;
    if (self->count == list->capacity) {
        holders_resize(self, list->capacity + list->capacity / 2);
    }
    list->holders[self->count++] = holder;
    if (list->index == NULL || (uint64_t) self->count * 3 > (uint64_t) (list->mask + 1) * 2) {
        if (self->count >= INDEX_FROM) {
            holders_index(self, seed);
        }
    } else {
        list->index[holder_slot(list, holder, seed)] = self->count;
    }
    return true;
}

/* Free a slot of the index and move those up that were pushed behind it. */
static void index_free(struct matcher_holder_list *list, uint32_t slot, uint64_t seed)
{
    uint32_t hole = slot;
    for (uint32_t i = (slot + 1) & list->mask; list->index[i] != 0; i = (i + 1) & list->mask) {
        uint32_t home = holder_home(list, list->holders[list->index[i] - 1], seed);
        if (((i - home) & list->mask) >= ((i - hole) & list->mask)) {
            list->index[hole] = list->index[i];
            hole = i;
        }
    }
    list->index[hole] = 0;
}

/* Room and index follow when most have gone. */
static void holders_shrink(struct matcher_holders *self, uint64_t seed)
{
    struct matcher_holder_list *list = self->as.list;
    if (self->count == 1) {
        uint64_t last = list->holders[0];
        matcher_holders_release(self);
        self->as.one = last;
        self->count = 1;
    } else if (list->capacity > LIST_MIN && self->count < list->capacity / 4) {
        holders_resize(self, list->capacity / 2);
        holders_index(self, seed);
    }
}

bool matcher_holders_remove(struct matcher_holders *self, uint64_t holder, uint64_t seed)
{
    if (!self->is_list) {
        if (self->count == 0 || self->as.one != holder) {
            return false;
        }
        *self = (struct matcher_holders){0};
        return true;
    }
    uint32_t place = holder_place(self, holder, seed);
    if (place == UINT32_MAX) {
        return false;
    }
    struct matcher_holder_list *list = self->as.list;
    uint32_t last = self->count - 1;
    if (list->index != NULL) {
        index_free(list, holder_slot(list, holder, seed), seed);
        if (place != last) {
            list->index[holder_slot(list, list->holders[last], seed)] = place + 1;
        }
    }
    list->holders[place] = list->holders[last];
    self->count = last;
    holders_shrink(self, seed);
    return true;
}

const uint64_t *matcher_holders_all(const struct matcher_holders *self)
{
    return self->is_list ? self->as.list->holders : &self->as.one;
}

size_t matcher_holders_memory(const struct matcher_holders *self)
{
    if (!self->is_list) {
        return 0;
    }
    const struct matcher_holder_list *list = self->as.list;
    size_t index = list->index != NULL ? ((size_t) list->mask + 1) * sizeof(*list->index) : 0;
    return matcher_heap(sizeof(*list)) + matcher_heap(list->capacity * sizeof(*list->holders)) +
           matcher_heap(index);
}
