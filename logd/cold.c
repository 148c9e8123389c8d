/* cold: extents read back. Owns the few runs it keeps; their batches are slices of the buffers that the journal read into. Whatever is
 * damaged is left out and said to be: the walk goes on behind it, so that exactly the bad frames are missing. */
#include "logd/cold.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/list.h"
#include "common/base/mem.h"

struct run {
    struct list link; /* in cold.runs, last used first */
    uint64_t group;
    uint64_t position;
    uint64_t last_index;
    uint64_t bytes; /* of memory */
    struct stored *items;
    size_t count;
    size_t capacity;
    bool damaged;
    bool used; /* since cold_age */
};

struct cold {
    struct journal *journal;
    uint64_t bytes_max;
    uint64_t bytes;
    struct list runs;
};

struct cold *cold_new(struct journal *journal, uint64_t bytes_max)
{
    struct cold *self = MEM_NEW(struct cold);
    self->journal = journal;
    self->bytes_max = bytes_max;
    list_init(&self->runs);
    return self;
}

static void run_free(struct cold *self, struct run *run)
{
    list_remove(&run->link);
    self->bytes -= run->bytes;
    for (size_t i = 0; i < run->count; i++) {
        slice_release(&run->items[i].batch);
    }
    mem_free(run->items);
    mem_free(run);
}

void cold_destroy(struct cold **self)
{
    if (*self == NULL) {
        return;
    }
    LIST_FOREACH (&(*self)->runs, node) {
        run_free(*self, LIST_ENTRY(node, struct run, link));
    }
    MEM_FREE(*self);
}

uint64_t cold_bytes(const struct cold *self)
{
    return self->bytes;
}

void cold_age(struct cold *self)
{
    LIST_FOREACH (&self->runs, node) {
        struct run *run = LIST_ENTRY(node, struct run, link);
        if (!run->used) {
            run_free(self, run);
        } else {
            run->used = false;
        }
    }
}

void cold_drop(struct cold *self, uint64_t group)
{
    if (self == NULL) { /* during recovery */
        return;
    }
    LIST_FOREACH (&self->runs, node) {
        struct run *run = LIST_ENTRY(node, struct run, link);
        if (run->group == group) {
            run_free(self, run);
        }
    }
}

void cold_trim(struct cold *self, uint64_t group, uint64_t first_offset)
{
    if (self == NULL) { /* during recovery */
        return;
    }
    LIST_FOREACH (&self->runs, node) {
        struct run *run = LIST_ENTRY(node, struct run, link);
        const struct stored *last = run->count != 0 ? &run->items[run->count - 1] : NULL;
        if (run->group == group && last != NULL && last->base + last->count <= first_offset) {
            run_free(self, run);
        }
    }
}

int cold_walk(struct journal *journal, const struct extent *extent, journal_visit_fn *visit,
              void *ud, bool *ret_damaged)
{
    uint64_t at = extent->position;
    uint64_t end = extent->position + extent->bytes;
    *ret_damaged = false;
    for (;;) {
        uint64_t corrupt_at = 0;
        int error = journal_read(journal, extent->group, at, end - at, visit, ud, &corrupt_at);
        if (error != ERR_CORRUPT) {
            return error;
        }
        *ret_damaged = true;
        at = corrupt_at + 1;
        error = at < end ? journal_find(journal, at, end - at, &at) : ERR_NOT_FOUND;
        if (error != 0) {
            return error == ERR_NOT_FOUND || error == ERR_INCOMPLETE ? 0 : error;
        }
    }
}

static int run_on_frame(void *ud, const struct journal_entry *entry, uint64_t position,
                        uint32_t frame_bytes)
{
    (void) position;
    (void) frame_bytes;
    struct run *run = ud;
    if (entry->type != JOURNAL_ENTRY || entry->count == 0) {
        return 0;
    }
    if (run->count == run->capacity) {
        run->capacity = run->capacity == 0 ? 16 : run->capacity * 2;
        run->items = mem_resize(run->items, run->capacity, sizeof(*run->items));
    }
    run->items[run->count++] = (struct stored){
        .base = entry->base,
        .count = entry->count,
        .ts_us = entry->ts_us,
        .batch = slice_ref(&entry->payload),
    };
    return 0;
}

static struct run *cold_find(const struct cold *self, const struct extent *extent)
{
    LIST_FOREACH (&self->runs, node) {
        struct run *run = LIST_ENTRY(node, struct run, link);
        if (run->position == extent->position && run->group == extent->group) {
            return run;
        }
    }
    return NULL;
}

static int cold_load(struct cold *self, const struct extent *extent, struct run **ret_run)
{
    struct run *run = MEM_NEW(struct run);
    list_init(&run->link);
    run->group = extent->group;
    run->position = extent->position;
    run->last_index = extent->last_index;
    int error = cold_walk(self->journal, extent, run_on_frame, run, &run->damaged);
    if (error != 0) {
        run_free(self, run);
        return error;
    }
    run->bytes = extent->bytes + run->capacity * sizeof(*run->items) + sizeof(*run);
    self->bytes += run->bytes;
    list_push_front(&self->runs, &run->link);
    while (self->bytes > self->bytes_max && self->runs.previous != &run->link) {
        run_free(self, LIST_ENTRY(self->runs.previous, struct run, link));
    }
    *ret_run = run;
    return 0;
}

int cold_get(struct cold *self, const struct extent *extent, struct cold_run *ret_run)
{
    struct run *run = cold_find(self, extent);
    bool fresh = false;
    if (run != NULL && run->last_index < extent->last_index) {
        run_free(self, run); /* the extent has grown since */
        run = NULL;
    }
    if (run == NULL) {
        int error = cold_load(self, extent, &run);
        if (error != 0) {
            return error;
        }
        fresh = true;
    }
    run->used = true;
    list_remove(&run->link);
    list_push_front(&self->runs, &run->link);
    *ret_run = (struct cold_run){run->items, run->count, fresh, run->damaged};
    return 0;
}
