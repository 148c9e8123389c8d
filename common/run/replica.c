/* replica: groups over one journal, each with one member. Owns what was proposed and is not applied yet, in order; the journal's
 * completions are the commits. It must never apply an entry whose sync has not returned, nor call apply inside propose: an owner
 * relies on "the answer comes later". */
#include "common/run/replica.h"

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

enum { REPLICA_QUEUE_MIN = 4, REPLICA_QUEUE_KEEP = 64 };

struct replica_set {
    struct journal *journal;
    struct replica_handlers handlers;
    struct hash64 *groups; /* of struct replica, by group */
    bool poisoned;
    bool abandoned; /* a group was closed with entries in flight: no completion may come any more */
};

struct replica {
    struct replica_set *set;
    uint64_t group;
    uint64_t term;
    uint64_t last_index;
    uint64_t commit_index;
    void *ud;
    /* Entries [commit_index + 1, last_index], a ring: the entry of an index lies at index & (capacity - 1). */
    struct journal_entry *queue;
    size_t capacity; /* 0 or a power of two */
};

struct replica_set *replica_set_new(struct journal *journal,
                                    const struct replica_handlers *handlers)
{
    struct replica_set *self = MEM_NEW(struct replica_set);
    self->journal = journal;
    self->handlers = *handlers;
    self->groups = hash64_new();
    return self;
}

void replica_set_destroy(struct replica_set **self)
{
    if (*self == NULL) {
        return;
    }
    INVARIANT(hash64_count((*self)->groups) == 0); /* the owner closes its groups first */
    hash64_destroy(&(*self)->groups);
    MEM_FREE(*self);
}

struct replica *replica_open(struct replica_set *set, uint64_t group, uint64_t term,
                             uint64_t last_index, void *group_ud)
{
    INVARIANT(group != 0);
    INVARIANT(hash64_get(set->groups, group) == NULL);

    struct replica *self = MEM_NEW(struct replica);
    self->set = set;
    self->group = group;
    self->term = term;
    self->last_index = last_index;
    self->commit_index = last_index;
    self->ud = group_ud;
    (void) hash64_put(set->groups, group, self); /* there was none: see above */
    return self;
}

static struct journal_entry *replica_slot(const struct replica *self, uint64_t index)
{
    return &self->queue[index & (self->capacity - 1)];
}

void replica_close(struct replica **self)
{
    struct replica *replica = *self;
    if (replica == NULL) {
        return;
    }
    struct replica_set *set = replica->set;
    if (replica_in_flight(replica) > 0 && !set->poisoned) {
        set->abandoned = true;
    }
    for (uint64_t i = replica->commit_index + 1; i <= replica->last_index; i++) {
        slice_release(&replica_slot(replica, i)->payload);
    }
    void *removed = hash64_remove(set->groups, replica->group);
    INVARIANT(removed == replica);
    mem_free(replica->queue);
    MEM_FREE(*self);
}

/* Another capacity; the entries in flight move along. */
static void replica_resize(struct replica *self, size_t capacity)
{
    struct journal_entry *queue = MEM_NEW_ARRAY(capacity, struct journal_entry);
    for (uint64_t i = self->commit_index + 1; i <= self->last_index; i++) {
        queue[i & (capacity - 1)] = *replica_slot(self, i);
    }
    mem_free(self->queue);
    self->queue = queue;
    self->capacity = capacity;
}

int replica_propose(struct replica *self, uint8_t kind, uint64_t base, uint32_t count,
                    uint64_t ts_us, const struct slice *payload, uint64_t *ret_index)
{
    if (self->set->poisoned) {
        return ERR_POISONED;
    }
    struct journal_entry entry = {
        .type = JOURNAL_ENTRY,
        .kind = kind,
        .group = self->group,
        .term = self->term,
        .index = self->last_index + 1,
        .base = base,
        .count = count,
        .ts_us = ts_us,
    };
    if (payload != NULL) {
        entry.payload = *payload;
    }
    uint64_t wseq;
    int error = journal_append(self->set->journal, &entry, &wseq);
    if (error != 0) {
        return error;
    }
    if (replica_in_flight(self) == self->capacity) {
        replica_resize(self, self->capacity == 0 ? REPLICA_QUEUE_MIN : 2 * self->capacity);
    }
    entry.payload = slice_ref(&entry.payload);
    self->last_index = entry.index;
    *replica_slot(self, entry.index) = entry;
    *ret_index = entry.index;
    return 0;
}

/* Once, then nothing more of this journal counts. */
static void replica_set_poison(struct replica_set *self)
{
    if (!self->poisoned) {
        self->poisoned = true;
        self->handlers.poisoned(self->handlers.set_ud);
    }
}

static void replica_set_on_done(void *ud, const struct journal_done *done)
{
    struct replica_set *self = (struct replica_set *) ud;
    if (done->error != 0) {
        replica_set_poison(self);
        return;
    }
    if (self->poisoned || done->type != JOURNAL_ENTRY) {
        return;
    }
    struct replica *replica = (struct replica *) hash64_get(self->groups, done->group);
    INVARIANT(replica != NULL);
    INVARIANT(done->index == replica->commit_index + 1);
    INVARIANT(done->index <= replica->last_index);

    struct journal_entry entry = *replica_slot(replica, done->index);
    replica->commit_index = done->index;
    if (replica_in_flight(replica) == 0 && replica->capacity > REPLICA_QUEUE_KEEP) {
        /* ten thousand groups must not keep the room of their busiest moment */
        MEM_FREE(replica->queue);
        replica->capacity = 0;
    }
    /* Last: apply may propose more, and may close this group. */
    self->handlers.apply(replica->ud, &entry, done->position, done->frame_bytes);
    slice_release(&entry.payload);
}

unsigned replica_set_poll(struct replica_set *self)
{
    INVARIANT(!self->abandoned);

    unsigned count = journal_poll(self->journal, replica_set_on_done, self);
    if (journal_is_poisoned(self->journal)) {
        replica_set_poison(self);
    }
    return count;
}

uint64_t replica_term(const struct replica *self)
{
    return self->term;
}

uint64_t replica_last_index(const struct replica *self)
{
    return self->last_index;
}

uint64_t replica_commit_index(const struct replica *self)
{
    return self->commit_index;
}

uint64_t replica_in_flight(const struct replica *self)
{
    return self->last_index - self->commit_index;
}
