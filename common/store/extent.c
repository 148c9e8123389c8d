/* extent: a run of consecutive entries of one group in one journal file. A value; owns nothing. The same rules
 * make the extents of an .idx file, of a recovery scan and of the owner's memory, so these always agree. */
#include "common/store/extent.h"

#include "common/base/invariant.h"
#include "common/store/journal.h"

enum { EXTENT_DENSE_ABOVE = 64 << 10 };

struct extent extent_of(const struct journal_entry *entry, uint64_t position, uint32_t frame_bytes)
{
    return (struct extent){
        .group = entry->group,
        .position = position,
        .bytes = frame_bytes,
        .own_bytes = frame_bytes,
        .first_index = entry->index,
        .last_index = entry->index,
        .term = entry->term,
        .base = entry->count != 0 ? entry->base : 0,
        .records = entry->count,
        .first_ts_us = entry->ts_us,
        .last_ts_us = entry->ts_us,
        .has_control = entry->count == 0,
    };
}

/* Does the entry continue index, term and offsets? */
static bool extent_continues(const struct extent *self, const struct journal_entry *entry)
{
    if (entry->group != self->group || entry->term != self->term ||
        self->last_index == UINT64_MAX || entry->index != self->last_index + 1) {
        return false;
    }
    if (entry->count == 0 || self->records == 0) {
        return true;
    }
    return entry->base == self->base + self->records;
}

bool extent_add(struct extent *self, const struct journal_entry *entry, uint64_t position,
                uint32_t frame_bytes)
{
    if (position >> 32 != self->position >> 32 || position < self->position + self->bytes ||
        !extent_continues(self, entry)) {
        return false;
    }
    uint64_t span = position + frame_bytes - self->position;
    uint64_t own = (uint64_t) self->own_bytes + frame_bytes;
    if (span > EXTENT_SPAN_MAX || (span > EXTENT_DENSE_ABOVE && own * 2 < span)) {
        return false;
    }
    self->bytes = (uint32_t) span;
    self->own_bytes = (uint32_t) own;
    self->last_index = entry->index;
    self->last_ts_us = entry->ts_us;
    if (entry->count == 0) {
        self->has_control = true;
    } else {
        if (self->records == 0) {
            self->base = entry->base;
        }
        self->records += entry->count;
    }
    INVARIANT(self->own_bytes <= self->bytes);
    return true;
}
