/* bus_slots: a number is an index and how often its place was used before. */
#include "common/run/bus_slots.h"

#include "common/base/invariant.h"
#include "common/base/mem.h"

struct bus_slot {
    void *object; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

void bus_slots_release(struct bus_slots *self)
{
    MEM_FREE(self->entries);
    *self = (struct bus_slots){0};
}

static void slots_grow(struct bus_slots *self)
{
    INVARIANT(self->capacity < UINT32_MAX / 4);
    self->capacity = self->capacity != 0 ? 2 * self->capacity : 64;
    self->entries = mem_resize(self->entries, self->capacity, sizeof(self->entries[0]));
}

uint64_t bus_slots_put(struct bus_slots *self, void *object)
{
    uint32_t index;
    if (self->first_free != 0) {
        index = self->first_free - 1;
        self->first_free = self->entries[index].next_free;
    } else {
        if (self->count == self->capacity) {
            slots_grow(self);
        }
        index = self->count++;
        self->entries[index].generation = 0;
    }
    struct bus_slot *slot = &self->entries[index];
    slot->object = object;
    slot->generation++;
    return (uint64_t) slot->generation << 32 | (index + 1);
}

static struct bus_slot *slots_find(const struct bus_slots *self, uint64_t id)
{
    uint32_t position = (uint32_t) id;
    if (position == 0 || position > self->count) {
        return NULL;
    }
    struct bus_slot *slot = &self->entries[position - 1];
    return slot->object != NULL && slot->generation == (uint32_t) (id >> 32) ? slot : NULL;
}

void *bus_slots_get(const struct bus_slots *self, uint64_t id)
{
    const struct bus_slot *slot = slots_find(self, id);
    return slot != NULL ? slot->object : NULL;
}

void bus_slots_remove(struct bus_slots *self, uint64_t id)
{
    struct bus_slot *slot = slots_find(self, id);
    INVARIANT(slot != NULL);
    slot->object = NULL;
    slot->next_free = self->first_free;
    self->first_free = (uint32_t) id;
}
