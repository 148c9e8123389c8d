/* extents: one stream's places in the journal. Owns an array of values. Never reads the journal; order and continuity
 * of what it is told are checked here, because recovery feeds it from the disk. */
#include "logd/extents.h"

#include <string.h>

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

/* Does it hold records that are kept? */
static bool extent_is_live(const struct extents *self, const struct extent *item)
{
    return item->records != 0 && item->base + item->records > self->first_offset;
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
    if (self->live + 1 == self->count && !extent_is_live(self, item)) {
        self->live++; /* nothing but control entries so far */
        self->bytes -= item->own_bytes;
    }
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
            if (self->live < self->count) {
                self->bytes += frame_bytes;
            } else if (extent_is_live(self, last)) {
                self->live--;
                self->bytes += last->own_bytes;
            }
            return;
        }
    }
    struct extent fresh = extent_of(entry, position, frame_bytes);
    extents_append(self, &fresh);
}

/* --- trimming --- */

__extension__ typedef unsigned __int128 extents_wide;

void extents_trim(struct extents *self, uint64_t first_offset, uint64_t last_index)
{
    if (first_offset > self->first_offset) {
        self->first_offset = first_offset;
    }
    while (self->live < self->count && !extent_is_live(self, &self->items[self->live])) {
        self->bytes -= self->items[self->live++].own_bytes;
    }
    size_t kept = 0;
    for (size_t i = 0; i < self->live; i++) {
        const struct extent *item = &self->items[i];
        if (item->has_control && item->last_index > last_index) {
            self->items[kept++] = *item;
        }
    }
    if (kept == self->live) {
        return;
    }
    memmove(&self->items[kept], &self->items[self->live],
            (self->count - self->live) * sizeof(*self->items));
    self->count -= self->live - kept;
    self->live = kept;
    if (self->count == 0) {
        MEM_FREE(self->items);
        self->capacity = 0;
    } else if (self->count < self->capacity / 4) {
        self->capacity = self->count * 2;
        self->items = mem_resize(self->items, self->capacity, sizeof(*self->items));
    }
}

/* Of the bytes of this extent, the share of its records before `offset`. */
static uint64_t extent_share(const struct extent *extent, uint64_t offset)
{
    if (extent->records == 0 || offset <= extent->base) {
        return 0;
    }
    uint64_t before = offset - extent->base;
    return before >= extent->records
               ? extent->own_bytes
               : (uint64_t) ((extents_wide) extent->own_bytes * before / extent->records);
}

uint64_t extents_live_bytes(const struct extents *self)
{
    if (self->live == self->count) {
        return 0;
    }
    return self->bytes - extent_share(&self->items[self->live], self->first_offset);
}

uint64_t extents_offset_after(const struct extents *self, uint64_t bytes)
{
    size_t i = self->live;
    if (i < self->count) {
        bytes += extent_share(&self->items[i], self->first_offset);
    }
    for (; i < self->count; i++) {
        const struct extent *item = &self->items[i];
        if (item->own_bytes > bytes) {
            extents_wide records = (extents_wide) item->records * bytes;
            uint64_t whole = (uint64_t) ((records + item->own_bytes - 1) / item->own_bytes);
            return item->base + whole;
        }
        bytes -= item->own_bytes;
    }
    return extents_end_offset(self);
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
