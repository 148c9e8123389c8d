/* read: pages of committed records out of a stream: from the tail in memory, else from the journal through the cold cache. Owns nothing between
 * calls. Never gives out a record that is not committed or not intact; a hole is named exactly. */
#include <inttypes.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/wire/batch.h"
#include "logd/cold.h"
#include "logd/stream_body.h"

enum {
    /* a stored batch from this size on is handed out without copy; below, fuller pages are worth more */
    READ_WHOLE_BYTES = 64 << 10,
    READ_PARTS_MAX = 512, /* stored batches joined into one page */
};

void stream_page_release(struct stream_page *page)
{
    slice_release(&page->batch);
    *page = (struct stream_page){0};
}

/* Which of the run's batches holds the offset; NULL: damaged. */
static const struct stored *run_find(const struct cold_run *run, uint64_t offset)
{
    size_t low = 0;
    size_t high = run->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct stored *item = &run->items[middle];
        if (item->base + item->count <= offset) {
            low = middle + 1;
        } else if (item->base > offset) {
            high = middle;
        } else {
            return item;
        }
    }
    return NULL;
}

/* The offsets of an extent that its run lacks cannot be read. */
static void stream_note_damage(struct stream *self, const struct extent *extent,
                               const struct cold_run *run)
{
    uint64_t next = extent->base;
    uint64_t end = extent->base + extent->records;
    for (size_t i = 0; i < run->count; i++) {
        if (run->items[i].base > next) {
            stream_note_corrupt(self, next, run->items[i].base - 1, "read from the journal");
        }
        next = run->items[i].base + run->items[i].count;
    }
    if (next < end) {
        stream_note_corrupt(self, next, end - 1, "read from the journal");
    }
}

/* The stored batch that holds the offset, borrowed until the next call. ERR_CORRUPT with the last bad offset, ERR_IO, ERR_NO_MEMORY. */
static int stream_find_stored(struct stream *self, uint64_t offset,
                              const struct stored **ret_stored, uint64_t *ret_corrupt_last)
{
    struct logd *logd = self->logd;
    const struct stored *stored = tail_find(&self->tail, offset);
    if (stored != NULL) {
        (*logd->count.tail_hits)++;
        *ret_stored = stored;
        return 0;
    }
    if (stream_is_corrupt(self, offset, ret_corrupt_last)) {
        return ERR_CORRUPT;
    }
    const struct extent *extent = extents_find_offset(&self->extents, offset);
    INVARIANT(extent != NULL && extent->base <= offset); /* holes are known as corrupt */
    struct cold_run run;
    int error = cold_get(logd->cold, extent, &run);
    if (error != 0) {
        return error;
    }
    if (run.fresh) {
        (*logd->count.cold_reads)++;
    }
    if (run.damaged) {
        stream_note_damage(self, extent, &run);
    }
    stored = run_find(&run, offset);
    if (stored == NULL) {
        INVARIANT(stream_is_corrupt(self, offset, ret_corrupt_last));
        return ERR_CORRUPT;
    }
    *ret_stored = stored;
    return 0;
}

/* --- building a page --- */

struct page_parts {
    struct slice slices[READ_PARTS_MAX];
    uint32_t count;
    uint64_t bytes;
};

static bool page_add_time(struct stream_page *page, uint64_t ts_us)
{
    if (page->time_count > 0 && page->times[page->time_count - 1].ts_us == ts_us) {
        return true;
    }
    if (page->time_count == STREAM_PAGE_TIMES_MAX) {
        return false;
    }
    page->times[page->time_count++] = (struct stream_time){page->count, ts_us};
    return true;
}

static void page_add(struct stream_page *page, struct page_parts *parts,
                     const struct stored *stored, struct span bytes, uint32_t records)
{
    parts->slices[parts->count++] = slice_make(stored->batch.owner, bytes);
    parts->bytes += bytes.size;
    page->count += records;
}

/* The part of the first batch that the page begins with. */
static int page_begin(struct stream_page *page, struct page_parts *parts,
                      const struct stored *stored, uint64_t offset, uint32_t records_max,
                      uint64_t bytes_max)
{
    struct span bytes = stored->batch.bytes;
    uint32_t records = stored->count;
    uint32_t skip = (uint32_t) (offset - stored->base);
    if (skip > 0 || records > records_max || bytes.size > bytes_max) {
        int error =
            batch_slice(stored->batch.bytes, skip, records_max, bytes_max, &bytes, &records);
        if (error != 0) {
            return ERR_CORRUPT; /* it was checked before it was stored */
        }
        if (records > stored->count - skip) {
            return ERR_CORRUPT;
        }
    }
    bool added = page_add_time(page, stored->ts_us);
    INVARIANT(added);
    page_add(page, parts, stored, bytes, records);
    return 0;
}

/* Whole small batches behind it, as long as they fit. */
static void page_go_on(struct stream *self, struct stream_page *page, struct page_parts *parts,
                       uint32_t records_max, uint64_t bytes_max)
{
    while (parts->count < READ_PARTS_MAX && parts->bytes < bytes_max) {
        uint64_t offset = page->base_offset + page->count;
        const struct stored *stored;
        uint64_t ignored;
        if (offset >= self->next_offset ||
            stream_find_stored(self, offset, &stored, &ignored) != 0) {
            return; /* the next page begins there and says what is wrong */
        }
        if (stored->base != offset || stored->batch.bytes.size >= READ_WHOLE_BYTES ||
            stored->batch.bytes.size > bytes_max - parts->bytes ||
            stored->count > records_max - page->count || !page_add_time(page, stored->ts_us)) {
            return;
        }
        page_add(page, parts, stored, stored->batch.bytes, stored->count);
    }
}

/* One slice of all parts. ERR_NO_MEMORY. */
static int page_join(struct stream_page *page, struct page_parts *parts)
{
    int error = 0;
    if (parts->count == 1) {
        page->batch = slice_ref(&parts->slices[0]);
    } else {
        struct payload *joined = payload_new(parts->bytes);
        if (joined != NULL) {
            uint8_t *at = payload_data(joined);
            for (uint32_t i = 0; i < parts->count; i++) {
                memcpy(at, parts->slices[i].bytes.data, parts->slices[i].bytes.size);
                at += parts->slices[i].bytes.size;
            }
            page->batch = (struct slice){joined, payload_span(joined)};
        } else {
            error = ERR_NO_MEMORY;
        }
    }
    for (uint32_t i = 0; i < parts->count; i++) {
        slice_release(&parts->slices[i]);
    }
    return error;
}

int stream_read(struct stream *self, uint64_t offset, uint32_t records_max, uint64_t bytes_max,
                struct stream_page *ret_page, uint64_t *ret_corrupt_last)
{
    INVARIANT(records_max > 0);

    if (offset < self->first_offset || offset >= self->next_offset) {
        return ERR_OUT_OF_RANGE;
    }
    const struct stored *stored;
    int error = stream_find_stored(self, offset, &stored, ret_corrupt_last);
    if (error != 0) {
        return error;
    }
    /* Not *ret_page yet: it is written on success only. */
    struct stream_page page;
    struct page_parts parts;
    page.base_offset = offset;
    page.count = 0;
    page.time_count = 0;
    parts.count = 0;
    parts.bytes = 0;
    error = page_begin(&page, &parts, stored, offset, records_max, bytes_max);
    if (error != 0) {
        *ret_corrupt_last = stored->base + stored->count - 1;
        return error;
    }
    bool to_the_end = offset + page.count == stored->base + stored->count;
    if (to_the_end && parts.bytes < READ_WHOLE_BYTES) {
        page_go_on(self, &page, &parts, records_max, bytes_max);
    }
    error = page_join(&page, &parts);
    if (error == 0) {
        ret_page->base_offset = page.base_offset;
        ret_page->count = page.count;
        ret_page->batch = page.batch;
        ret_page->time_count = page.time_count;
        memcpy(ret_page->times, page.times, page.time_count * sizeof(page.times[0]));
    }
    return error;
}

uint64_t stream_first_ts_us(struct stream *self)
{
    if (self->first_offset == self->next_offset) {
        return 0;
    }
    if (self->first_ts_of != self->first_offset) {
        const struct stored *stored;
        uint64_t corrupt_last;
        uint64_t ts_us = self->last_ts_us;
        if (stream_find_stored(self, self->first_offset, &stored, &corrupt_last) == 0) {
            ts_us = stored->ts_us;
        } else {
            const struct extent *extent = extents_find_offset(&self->extents, self->first_offset);
            ts_us = extent != NULL ? extent->last_ts_us : ts_us;
        }
        self->first_ts_us = ts_us;
        self->first_ts_of = self->first_offset;
    }
    return self->first_ts_us;
}

int stream_find_time(struct stream *self, uint64_t ts_us, uint64_t *ret_offset)
{
    const struct extent *extent = extents_find_time(&self->extents, ts_us);
    if (extent == NULL) {
        *ret_offset = self->next_offset;
        return 0;
    }
    uint64_t offset = extent->base > self->first_offset ? extent->base : self->first_offset;
    while (offset < self->next_offset) {
        const struct stored *stored;
        uint64_t corrupt_last;
        int error = stream_find_stored(self, offset, &stored, &corrupt_last);
        if (error == ERR_CORRUPT) {
            offset = corrupt_last + 1;
            continue;
        }
        if (error != 0) {
            return error;
        }
        if (stored->ts_us >= ts_us) {
            break;
        }
        offset = stored->base + stored->count;
    }
    *ret_offset = offset;
    return 0;
}
