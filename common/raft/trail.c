/* trail: a ring of entries and a short list of configurations. Owns one reference to each payload it keeps. It must never answer for an entry that was not put. */
#include "common/raft/trail.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

enum { RING_MIN = 8, RING_KEEP = 64 };

static struct raft_trail_entry *slot(const struct raft_trail *self, raft_index index)
{
    return &self->ring[index & (self->capacity - 1)];
}

struct raft_trail_entry *raft_trail_at(const struct raft_trail *self, raft_index index)
{
    return index > self->base && index <= self->last ? slot(self, index) : NULL;
}

/* --- as the core reads it --- */

static raft_term read_term_at(void *ud, raft_index index)
{
    const struct raft_trail *self = ud;
    INVARIANT(index >= self->base && index <= self->last);
    return index == self->base ? self->base_term : slot(self, index)->term;
}

static raft_index read_cut(void *ud, raft_index first, raft_index last, uint32_t bytes_max,
                           uint32_t *ret_bytes)
{
    const struct raft_trail *self = ud;
    INVARIANT(first > self->base && first <= last && last <= self->last);
    uint64_t bytes = slot(self, first)->bytes;
    while (first < last && bytes + slot(self, first + 1)->bytes <= bytes_max) {
        bytes += slot(self, ++first)->bytes;
    }
    *ret_bytes = (uint32_t) bytes;
    return first;
}

static raft_index read_members_at(void *ud, raft_index index, struct raft_members *ret_members)
{
    const struct raft_trail *self = ud;
    for (size_t i = self->config_count; i-- > 0;) {
        if (self->configs[i].index <= index) {
            *ret_members = self->configs[i].members;
            return self->configs[i].index;
        }
    }
    memset(ret_members, 0, sizeof(*ret_members));
    return 0;
}

static struct raft_snapshot read_snapshot(void *ud)
{
    const struct raft_trail *self = ud;
    return self->snapshot;
}

const struct raft_log raft_trail_reads = {read_term_at, read_cut, read_members_at, read_snapshot};

/* --- changes --- */

static int ring_resize(struct raft_trail *self, size_t capacity)
{
    struct raft_trail_entry *ring = mem_try_new_array(capacity, sizeof(*ring));
    if (ring == NULL) {
        return ERR_NO_MEMORY;
    }
    for (raft_index i = self->base + 1; i <= self->last; i++) {
        ring[i & (capacity - 1)] = *slot(self, i);
    }
    mem_free(self->ring);
    self->ring = ring;
    self->capacity = capacity;
    return 0;
}

static int config_reserve(struct raft_trail *self)
{
    if (self->config_count < self->config_capacity) {
        return 0;
    }
    size_t capacity = self->config_capacity == 0 ? 2 : 2 * self->config_capacity;
    struct raft_trail_config *configs =
        mem_try_resize(self->configs, capacity, sizeof(self->configs[0]));
    if (configs == NULL) {
        return ERR_NO_MEMORY;
    }
    self->configs = configs;
    self->config_capacity = capacity;
    return 0;
}

static void config_put(struct raft_trail *self, raft_index index,
                       const struct raft_members *members)
{
    struct raft_trail_config *config = &self->configs[self->config_count++];
    config->index = index;
    config->members = *members;
}

static void config_cut(struct raft_trail *self, raft_index from)
{
    while (self->config_count != 0 && self->configs[self->config_count - 1].index >= from) {
        self->config_count--;
    }
}

void raft_trail_cut(struct raft_trail *self, raft_index from)
{
    INVARIANT(from > self->base);
    for (raft_index i = from; i <= self->last; i++) {
        slice_release(&slot(self, i)->payload);
    }
    self->last = from <= self->last ? from - 1 : self->last;
    config_cut(self, from);
}

int raft_trail_put(struct raft_trail *self, raft_index index, const struct raft_entry *entry,
                   const struct slice *payload)
{
    INVARIANT(index > self->base && index <= self->last + 1);
    bool is_config = entry->type == RAFT_ENTRY_CONFIG && entry->members != NULL;
    if (is_config && config_reserve(self) != 0) {
        return ERR_NO_MEMORY;
    }
    if (index - self->base > self->capacity) {
        int error = ring_resize(self, self->capacity == 0 ? RING_MIN : 2 * self->capacity);
        if (error != 0) {
            return error;
        }
    }
    raft_trail_cut(self, index);
    struct raft_trail_entry *own = slot(self, index);
    memset(own, 0, sizeof(*own));
    own->term = entry->term;
    own->bytes = entry->bytes;
    own->type = entry->type;
    if (payload != NULL && payload->owner != NULL) {
        own->payload = slice_ref(payload);
    }
    self->last = index;
    if (is_config) {
        config_put(self, index, entry->members);
    }
    return 0;
}

struct raft_entry raft_trail_entry(const struct raft_trail *self, raft_index index)
{
    const struct raft_trail_entry *own = slot(self, index);
    struct raft_entry entry = {.term = own->term, .bytes = own->bytes, .type = own->type};
    for (size_t i = 0; entry.type == RAFT_ENTRY_CONFIG && i < self->config_count; i++) {
        if (self->configs[i].index == index) {
            entry.members = &self->configs[i].members;
        }
    }
    return entry;
}

void raft_trail_compact(struct raft_trail *self, raft_index index)
{
    INVARIANT(index <= self->last);
    if (index <= self->base) {
        return;
    }
    self->base_term = slot(self, index)->term;
    for (raft_index i = self->base + 1; i <= index; i++) {
        slice_release(&slot(self, i)->payload);
    }
    self->base = index;
    size_t gone = 0; /* configurations before the one that is active at the base */
    while (gone + 1 < self->config_count && self->configs[gone + 1].index <= index) {
        gone++;
    }
    self->config_count -= gone;
    if (gone != 0) {
        memmove(self->configs, self->configs + gone, self->config_count * sizeof(*self->configs));
    }
    size_t fits = self->capacity;
    while (fits > RING_KEEP && self->last - self->base <= fits / 4) {
        fits /= 2;
    }
    if (fits != self->capacity) {
        (void) ring_resize(self, fits); /* no memory: it stays large */
    }
}

void raft_trail_set_base(struct raft_trail *self, raft_term term,
                         const struct raft_members *members, raft_index members_index)
{
    self->base_term = term;
    bool is_known = self->config_count != 0 && self->configs[0].index <= self->base;
    if (is_known || members->count == 0) {
        return;
    }
    if (self->config_count == self->config_capacity) {
        self->config_capacity = self->config_capacity == 0 ? 2 : 2 * self->config_capacity;
        self->configs = mem_resize(self->configs, self->config_capacity, sizeof(*self->configs));
    }
    memmove(self->configs + 1, self->configs, self->config_count * sizeof(*self->configs));
    self->configs[0].index = members_index;
    self->configs[0].members = *members;
    self->config_count++;
}

void raft_trail_reset(struct raft_trail *self, raft_index index, raft_term term,
                      const struct raft_members *members, raft_index members_index)
{
    raft_trail_cut(self, self->base + 1);
    self->config_count = 0;
    self->base = self->last = index;
    raft_trail_set_base(self, term, members, members_index);
}

void raft_trail_release(struct raft_trail *self)
{
    for (raft_index i = self->base + 1; i <= self->last; i++) {
        slice_release(&slot(self, i)->payload);
    }
    slice_release(&self->snapshot_state);
    mem_free(self->ring);
    mem_free(self->configs);
    memset(self, 0, sizeof(*self));
}
