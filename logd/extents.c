/* extents: one stream's places in the journal. Owns an array of values. Never reads the journal; order and continuity
 * of what it is told are checked here, because recovery feeds it from the disk. */
#include "logd/extents.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/store/journal.h"

void extents_release(struct extents *self)
{
    mem_free(self->items);
    *self = (struct extents){0};
}

static void extents_grow(struct extents *self)
{
    if (self->count < self->capacity) {
        return;
    }
    /* Ten thousand streams of one extent each, or one of forty thousand: small at first, then by half. */
    size_t capacity = self->capacity == 0   ? 1
                      : self->capacity < 16 ? self->capacity * 2
                                            : self->capacity + self->capacity / 2;
    self->items = mem_resize(self->items, capacity, sizeof(*self->items));
    self->capacity = capacity;
}

uint64_t extents_last_index(const struct extents *self)
{
    return self->count == 0 ? 0 : self->items[self->count - 1].last_index;
}

uint64_t extents_end_offset(const struct extents *self)
{
    if (self->count == 0) {
        return 0;
    }
    const struct extent *last = &self->items[self->count - 1];
    return last->base + last->records;
}

static void extents_append(struct extents *self, const struct extent *extent)
{
    uint64_t end = extents_end_offset(self);
    extents_grow(self);
    struct extent *item = &self->items[self->count++];
    *item = *extent;
    if (item->records == 0) {
        item->base = end; /* so that the bases are in order for the search */
    }
    self->bytes += item->own_bytes;
}

int extents_push(struct extents *self, const struct extent *extent)
{
    if (extent->first_index == 0 || extent->last_index < extent->first_index ||
        extent->first_index <= extents_last_index(self)) {
        return ERR_BAD_FORMAT;
    }
    if (extent->records != 0 && (extent->base == 0 || extent->base < extents_end_offset(self) ||
                                 extent->base > UINT64_MAX - extent->records)) {
        return ERR_BAD_FORMAT;
    }
    extents_append(self, extent);
    return 0;
}

void extents_add(struct extents *self, const struct journal_entry *entry, uint64_t position,
                 uint32_t frame_bytes)
{
    INVARIANT(entry->index > extents_last_index(self));
    if (entry->count != 0) {
        INVARIANT(entry->base >= extents_end_offset(self));
    }

    if (self->count != 0) {
        struct extent *last = &self->items[self->count - 1];
        if (extent_add(last, entry, position, frame_bytes)) {
            self->bytes += frame_bytes;
            return;
        }
    }
    struct extent fresh = extent_of(entry, position, frame_bytes);
    extents_append(self, &fresh);
}

const struct extent *extents_find_offset(const struct extents *self, uint64_t offset)
{
    size_t low = 0;
    size_t high = self->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct extent *item = &self->items[middle];
        if (item->base + item->records <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    while (low < self->count && self->items[low].records == 0) {
        low++;
    }
    return low < self->count ? &self->items[low] : NULL;
}

size_t extents_find_index(const struct extents *self, uint64_t index)
{
    size_t low = 0;
    size_t high = self->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (self->items[middle].last_index < index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct extent *extents_find_time(const struct extents *self, uint64_t ts_us)
{
    size_t low = 0;
    size_t high = self->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (self->items[middle].last_ts_us < ts_us) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    while (low < self->count && self->items[low].records == 0) {
        low++;
    }
    return low < self->count ? &self->items[low] : NULL;
}
