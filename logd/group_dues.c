/* group_dues: a binary heap of (time, offset) beside a map of ranges. Owns the heap only. */
#include "logd/group_dues.h"

#include "common/base/mem.h"

enum { DUES_SPARE = 64 };

struct group_due {
    uint64_t at;
    uint64_t offset;
};

void group_dues_release(struct group_dues *self)
{
    mem_free(self->items);
    *self = (struct group_dues){.shift = self->shift};
}

void group_dues_clear(struct group_dues *self)
{
    if (self->capacity > DUES_SPARE) {
        group_dues_release(self);
    }
    self->count = 0;
}

static bool due_less(const struct group_due *a, const struct group_due *b)
{
    return a->at < b->at || (a->at == b->at && a->offset < b->offset);
}

static void dues_push(struct group_dues *self, struct group_due due)
{
    if (self->items == NULL || self->count == self->capacity) {
        self->capacity = self->capacity == 0 ? 16 : self->capacity + self->capacity / 2;
        self->items = mem_resize(self->items, self->capacity, sizeof *self->items);
    }
    size_t at = self->count++;
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (!due_less(&due, &self->items[parent])) {
            break;
        }
        self->items[at] = self->items[parent];
        at = parent;
    }
    self->items[at] = due;
}

static void dues_pop(struct group_dues *self)
{
    struct group_due last = self->items[--self->count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= self->count) {
            break;
        }
        if (child + 1 < self->count && due_less(&self->items[child + 1], &self->items[child])) {
            child++;
        }
        if (!due_less(&self->items[child], &last)) {
            break;
        }
        self->items[at] = self->items[child];
        at = child;
    }
    self->items[at] = last;
}

void group_dues_rebuild(struct group_dues *self, const struct ranges *map)
{
    struct range range;
    self->count = 0;
    for (uint64_t at = 0; ranges_find_from(map, at, &range); at = range.last + 1) {
        dues_push(self, (struct group_due){range.value >> self->shift, range.first});
    }
}

void group_dues_note(struct group_dues *self, const struct ranges *map, uint64_t first)
{
    struct range range;
    if (!ranges_find(map, first, &range)) {
        return;
    }
    if (self->count > 2 * ranges_count(map) + DUES_SPARE) {
        group_dues_rebuild(self, map); /* holds this one too */
        return;
    }
    dues_push(self, (struct group_due){range.value >> self->shift, first});
}

uint64_t group_dues_clear_range(struct group_dues *self, struct ranges *map, uint64_t first,
                                uint64_t last)
{
    uint64_t cleared = ranges_clear_range(map, first, last);
    if (cleared > 0 && last < UINT64_MAX) {
        struct range rest;
        if (ranges_find(map, last + 1, &rest) && rest.first == last + 1) {
            group_dues_note(self, map, last + 1);
        }
    }
    return cleared;
}

bool group_dues_next(struct group_dues *self, const struct ranges *map, struct range *ret_range)
{
    if (ranges_count(map) == 0) {
        self->count = 0;
        return false;
    }
    while (self->count > 0) {
        struct group_due due = self->items[0];
        if (ranges_find(map, due.offset, ret_range) && ret_range->value >> self->shift == due.at &&
            ret_range->first == due.offset) {
            return true;
        }
        dues_pop(self);
    }
    return false;
}
