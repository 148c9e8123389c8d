/* metrics: the named numbers of one thread. Owns the cells, in one block that never moves, so that a counter is one
 * addition; borrows the names. The names are few and written in our own sources, hence a plain array. */
#include "common/run/metrics.h"

#include <string.h>

#include "common/base/invariant.h"
#include "common/base/mem.h"

enum { METRICS_MAX = 256 };

struct metric {
    const char *name;
    uint64_t value;        /* of a counter */
    metrics_read_fn *read; /* of a gauge, else NULL */
    void *ud;
};

struct metrics {
    size_t count;
    struct metric entries[METRICS_MAX];
};

struct metrics *metrics_new(void)
{
    return MEM_NEW(struct metrics);
}

void metrics_destroy(struct metrics **self)
{
    MEM_FREE(*self);
}

static struct metric *metrics_entry(struct metrics *self, const char *name)
{
    for (size_t i = 0; i < self->count; i++) {
        if (strcmp(self->entries[i].name, name) == 0) {
            return &self->entries[i];
        }
    }
    INVARIANT(self->count < METRICS_MAX);
    struct metric *entry = &self->entries[self->count++];
    entry->name = name;
    return entry;
}

uint64_t *metrics_counter(struct metrics *self, const char *name)
{
    return &metrics_entry(self, name)->value;
}

void metrics_gauge(struct metrics *self, const char *name, metrics_read_fn *read, void *ud)
{
    struct metric *entry = metrics_entry(self, name);
    entry->read = read;
    entry->ud = ud;
}

void metrics_list(const struct metrics *self, metrics_visit_fn *visit, void *ud)
{
    for (size_t i = 0; i < self->count; i++) {
        const struct metric *entry = &self->entries[i];
        visit(ud, entry->name, entry->read != NULL ? entry->read(entry->ud) : entry->value);
    }
}
