/* bus_slots: numbers that stand for objects, on the wire and with other modules: an object that is gone is never found
 * again under its number. Borrows the objects. */
#ifndef COMMON_RUN_BUS_SLOTS_H
#define COMMON_RUN_BUS_SLOTS_H

#include <stddef.h>
#include <stdint.h>

struct bus_slot;
struct bus_slots {
    struct bus_slot *entries;
    uint32_t count;
    uint32_t capacity;
    uint32_t first_free; /* index + 1; 0: none */
};

void bus_slots_release(struct bus_slots *self);
/* Never 0. */
uint64_t bus_slots_put(struct bus_slots *self, void *object);
/* NULL when it is gone or never was. */
void *bus_slots_get(const struct bus_slots *self, uint64_t id);
void bus_slots_remove(struct bus_slots *self, uint64_t id);

#endif
