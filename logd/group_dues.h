/* group_dues: the ranges of a map in order of time, then of offset. A map of ranges whose values hold a time says what lies where; this says which of
 * them is next. It may hold remains of ranges that are gone or were changed: they are dropped when they are met, and all at once when there
 * are too many. Whoever adds to the map, or changes a value in it, notes that here. */
#ifndef LOGD_GROUP_DUES_H
#define LOGD_GROUP_DUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/ranges.h"

/* Zeroed is empty. */
struct group_dues {
    struct group_due *items; /* a heap */
    size_t count;
    size_t capacity;
    unsigned shift; /* the time is the value of the range, shifted right by this */
};

void group_dues_release(struct group_dues *self);
void group_dues_clear(struct group_dues *self);
/* A range was set in the map, beginning at `first`, or what is left of one begins there. Does no harm if there is none. */
void group_dues_note(struct group_dues *self, const struct ranges *map, uint64_t first);
/* [first, last] is to be cleared in the map: do so, and note what is left behind it. Returns how many numbers were covered. */
uint64_t group_dues_clear_range(struct group_dues *self, struct ranges *map, uint64_t first,
                                uint64_t last);
/* The range of the map with the lowest (time, first); false: the map is empty. */
bool group_dues_next(struct group_dues *self, const struct ranges *map, struct range *ret_range);
/* Note every range of the map anew. */
void group_dues_rebuild(struct group_dues *self, const struct ranges *map);

#endif
