/* catalog_log: see the header. It must never let a log be used of which an entry may be missing: the catalogue that came out would be another one than
 * was acknowledged. */
#include "raftd/catalog_log.h"

#include <inttypes.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/run/replica.h"

struct catalog_log {
    struct catalog_log_handlers handlers;
    struct journal *journal;
    struct replica_set *set;
    struct replica *replica;
    /* What recovery found of our group, oldest first. */
    struct extent *extents;
    size_t extent_count;
    size_t extent_capacity;
    bool is_tail_damaged; /* a damaged range with nothing of ours behind it */
    bool is_disordered;   /* indexes went back: not a log of one replica */
};

/* --- opening ----------------------------------------------------------------------------------------------- */

static void catalog_log_on_extent(void *ud, const struct extent *extent)
{
    struct catalog_log *self = (struct catalog_log *) ud;
    if (extent->group != CATALOG_LOG_GROUP) {
        return;
    }
    if (self->extent_count == self->extent_capacity) {
        self->extent_capacity = self->extent_capacity == 0 ? 16 : 2 * self->extent_capacity;
        self->extents = (struct extent *) mem_resize(self->extents, self->extent_capacity,
                                                     sizeof(struct extent));
    }
    if (self->extent_count > 0 &&
        extent->first_index <= self->extents[self->extent_count - 1].last_index) {
        self->is_disordered = true;
    }
    self->extents[self->extent_count++] = *extent;
    self->is_tail_damaged = false;
}

static void catalog_log_on_control(void *ud, const struct journal_entry *entry)
{
    (void) ud;
    (void) entry; /* One replica: no votes and no truncations so far. */
}

static void catalog_log_on_corrupt(void *ud, uint64_t position, uint64_t bytes,
                                   const struct journal_entry *known)
{
    (void) position;
    (void) bytes;
    /* Everything in this journal is ours; only what certainly was no entry does not matter. */
    if (known == NULL || known->type == JOURNAL_ENTRY) {
        ((struct catalog_log *) ud)->is_tail_damaged = true;
    }
}

static void catalog_log_on_apply(void *ud, const struct journal_entry *entry, uint64_t position,
                                 uint32_t frame_bytes)
{
    (void) position;
    (void) frame_bytes;
    struct catalog_log *self = (struct catalog_log *) ud;
    self->handlers.apply(self->handlers.ud, entry->index, entry->payload.bytes);
}

static void catalog_log_on_poisoned(void *ud)
{
    struct catalog_log *self = (struct catalog_log *) ud;
    self->handlers.poisoned(self->handlers.ud);
}

uint64_t catalog_log_last_index(const struct catalog_log *self)
{
    return self->replica != NULL     ? replica_last_index(self->replica)
           : self->extent_count == 0 ? 0
                                     : self->extents[self->extent_count - 1].last_index;
}

int catalog_log_open(const struct journal_options *options,
                     const struct catalog_log_handlers *handlers,
                     struct journal_recovery *ret_recovery, struct catalog_log **ret_log)
{
    struct catalog_log *self = MEM_NEW(struct catalog_log);
    self->handlers = *handlers;
    struct journal_visitor visitor = {
        .on_extent = catalog_log_on_extent,
        .on_control = catalog_log_on_control,
        .on_corrupt = catalog_log_on_corrupt,
        .ud = self,
    };
    int error = journal_open(options, &visitor, ret_recovery, &self->journal);
    if (error != 0) {
        catalog_log_close(&self);
        return error;
    }
    struct replica_handlers replica_handlers = {
        .apply = catalog_log_on_apply,
        .poisoned = catalog_log_on_poisoned,
        .set_ud = self,
    };
    self->set = replica_set_new(self->journal, &replica_handlers);
    uint64_t last = catalog_log_last_index(self);
    self->replica = replica_open(self->set, CATALOG_LOG_GROUP, 1, last, self);
    *ret_log = self;
    return 0;
}

void catalog_log_close(struct catalog_log **self)
{
    struct catalog_log *log = *self;
    if (log == NULL) {
        return;
    }
    replica_close(&log->replica);
    replica_set_destroy(&log->set);
    journal_close(&log->journal);
    mem_free(log->extents);
    MEM_FREE(*self);
}

/* --- replay ------------------------------------------------------------------------------------------------ */

struct catalog_log_replaying {
    catalog_log_visit_fn *visit;
    void *ud;
    uint64_t index; /* visited last */
    int error;
};

static int catalog_log_replay_one(void *ud, const struct journal_entry *entry, uint64_t position,
                                  uint32_t frame_bytes)
{
    (void) position;
    (void) frame_bytes;
    struct catalog_log_replaying *replaying = (struct catalog_log_replaying *) ud;
    if (entry->type != JOURNAL_ENTRY || entry->index <= replaying->index) {
        return 0; /* in the mirror already */
    }
    if (entry->index != replaying->index + 1 || entry->kind != CATALOG_LOG_KIND_COMMAND) {
        replaying->error = ERR_CORRUPT;
    } else {
        replaying->error = replaying->visit(replaying->ud, entry->index, entry->payload.bytes);
        replaying->index = entry->index;
    }
    return replaying->error;
}

/* Nothing after `applied` may be missing. */
static int catalog_log_check(const struct catalog_log *self, uint64_t applied, struct buf *problem)
{
    uint64_t last = catalog_log_last_index(self);
    if (self->is_tail_damaged) {
        buf_printf(problem, "the end of the log is damaged behind entry %" PRIu64, last);
        return ERR_CORRUPT;
    }
    if (self->is_disordered) {
        buf_printf(problem, "entries of the log are out of order");
        return ERR_CORRUPT;
    }
    if (applied > last) {
        buf_printf(problem,
                   "the database knows entries up to %" PRIu64 ", the log ends at %" PRIu64
                   ": the journal was lost or replaced",
                   applied, last);
        return ERR_CORRUPT;
    }
    uint64_t reached = applied;
    for (size_t i = 0; i < self->extent_count; i++) {
        const struct extent *extent = &self->extents[i];
        if (extent->first_index > reached + 1) {
            buf_printf(problem, "entries %" PRIu64 " to %" PRIu64 " of the log are damaged",
                       reached + 1, extent->first_index - 1);
            return ERR_CORRUPT;
        }
        reached = extent->last_index > reached ? extent->last_index : reached;
    }
    return 0;
}

int catalog_log_replay(struct catalog_log *self, uint64_t applied_index,
                       catalog_log_visit_fn *visit, void *ud, struct buf *problem)
{
    int error = catalog_log_check(self, applied_index, problem);
    if (error != 0) {
        return error;
    }
    struct catalog_log_replaying replaying = {visit, ud, applied_index, 0};
    for (size_t i = 0; i < self->extent_count; i++) {
        const struct extent *extent = &self->extents[i];
        if (extent->last_index <= replaying.index) {
            continue;
        }
        uint64_t corrupt_at;
        error = journal_read(self->journal, CATALOG_LOG_GROUP, extent->position, extent->bytes,
                             catalog_log_replay_one, &replaying, &corrupt_at);
        error = error != 0 ? error : replaying.error;
        if (error == 0 && replaying.index != extent->last_index) {
            error = ERR_CORRUPT;
        }
        if (error != 0) {
            buf_printf(problem, "entry %" PRIu64 " of the log: %s", replaying.index + 1,
                       err_text(error));
            return error;
        }
    }
    INVARIANT(replaying.index == catalog_log_last_index(self));
    MEM_FREE(self->extents); /* needed no more: from now on everything is applied from memory */
    self->extent_count = 0;
    self->extent_capacity = 0;
    return 0;
}

static int catalog_log_take_first(void *ud, const struct journal_entry *entry, uint64_t position,
                                  uint32_t frame_bytes)
{
    (void) position;
    (void) frame_bytes;
    if (entry->index == 1) {
        buf_append((struct buf *) ud, entry->payload.bytes);
    }
    return 1;
}

int catalog_log_first(struct catalog_log *self, struct buf *out)
{
    if (self->extent_count == 0) {
        return self->is_tail_damaged ? ERR_CORRUPT : ERR_NOT_FOUND;
    }
    uint64_t corrupt_at;
    size_t before = out->size;
    int error = journal_read(self->journal, CATALOG_LOG_GROUP, self->extents[0].position,
                             self->extents[0].bytes, catalog_log_take_first, out, &corrupt_at);
    return error == 0 && out->size == before ? ERR_CORRUPT : error;
}

/* --- use --------------------------------------------------------------------------------------------------- */

int catalog_log_propose(struct catalog_log *self, struct span command, uint64_t *ret_index)
{
    struct payload *payload = payload_copy(command);
    if (payload == NULL) {
        return ERR_NO_MEMORY;
    }
    struct slice slice = slice_make(payload, payload_span(payload));
    payload_unref(&payload);
    /* count 0: a control entry, which may use the journal's reserve on a full disk. */
    int error =
        replica_propose(self->replica, CATALOG_LOG_KIND_COMMAND, 0, 0, 0, &slice, ret_index);
    slice_release(&slice);
    return error;
}

int catalog_log_fd(const struct catalog_log *self)
{
    return journal_fd(self->journal);
}

void catalog_log_poll(struct catalog_log *self)
{
    (void) replica_set_poll(self->set); /* the count is of no interest */
}

void catalog_log_submit(struct catalog_log *self)
{
    journal_submit(self->journal);
}
