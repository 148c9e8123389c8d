/* disk: the write stream of a node, shared by its replicas. Jobs become durable in order, a batch a sync. When power is lost, what was not synced is gone, or partly
 * there: a prefix of the jobs, then a prefix of the parts of one, then a prefix of its entries. When later jobs reached the platter and an earlier one did
 * not, recovery sees damage in front of good data and cannot tell it from rot: that replica boots as suspect. */
#include "tests/sim/sim.h"

#include <string.h>

#include "common/base/invariant.h"
#include "common/base/mem.h"

enum { JOBS = 1024 };

/* --- images --- */

void image_clear(struct image *self)
{
    struct entry *entry = self->entry;
    memset(self, 0, sizeof(*self));
    self->entry = entry != NULL ? entry : MEM_NEW_ARRAY(SIM_INDEXES, struct entry);
}

void image_copy(struct image *self, const struct image *from)
{
    struct entry *entry = self->entry;
    *self = *from;
    self->entry = entry != NULL ? entry : MEM_NEW_ARRAY(SIM_INDEXES, struct entry);
    if (from->last > from->base) {
        memcpy(&self->entry[from->base + 1], &from->entry[from->base + 1],
               (from->last - from->base) * sizeof(self->entry[0]));
    }
}

raft_term image_term_at(const struct image *self, raft_index index)
{
    return index == self->base ? self->base_term : self->entry[index].term;
}

uint64_t image_hash_at(const struct image *self, raft_index index)
{
    return index == self->base ? self->base_hash : self->entry[index].hash;
}

const struct raft_members *image_members(const struct image *self, raft_index index)
{
    return index == self->base ? self->base_members : self->entry[index].members;
}

void image_put(struct sim *self, struct image *image, raft_index index, const struct entry *entry)
{
    if (index >= SIM_INDEXES || index <= image->base || index > image->last + 1) {
        sim_violation(self, "entry %u does not fit into a log from %u to %u", (unsigned) index,
                      (unsigned) image->base, (unsigned) image->last);
    }
    struct entry *at = &image->entry[index];
    *at = *entry;
    at->hash = sim_mix(image_hash_at(image, index - 1),
                       sim_mix(entry->value ^ (uint64_t) entry->type << 60, entry->term));
    if (entry->type == RAFT_ENTRY_CONFIG) {
        at->members_at = index;
    } else {
        at->members = image_members(image, index - 1);
        at->members_at =
            index - 1 == image->base ? image->base_members_at : image->entry[index - 1].members_at;
    }
    image->last = index;
}

bool disk_has(const struct image *disk, raft_index index, uint64_t hash)
{
    if (disk->rot_from != 0 && index >= disk->rot_from) {
        return false;
    }
    return index <= disk->base || (index <= disk->last && disk->entry[index].hash == hash);
}

/* --- jobs --- */

static struct job *job_new(struct sim *self)
{
    return self->free_job_count > 0 ? self->free_jobs[--self->free_job_count] : MEM_NEW(struct job);
}

static void job_free(struct sim *self, struct job *job)
{
    if (self->free_job_count < 64) {
        self->free_jobs[self->free_job_count++] = job;
        return;
    }
    mem_free(job->entry);
    mem_free(job);
}

static struct job *job_at(const struct node *node, unsigned i)
{
    return node->job[(node->job_first + i) % JOBS];
}

void disk_clear(struct sim *self, struct node *node)
{
    for (unsigned i = 0; i < node->job_count; i++) {
        job_free(self, job_at(node, i));
    }
    node->job_count = 0;
    node->job_first = 0;
    node->job_syncing = 0;
    node->disk_busy = false;
}

static void job_push(struct sim *self, struct node *node, struct job *job)
{
    if (node->job == NULL) {
        node->job = mem_new_array(JOBS, sizeof(node->job[0]));
    }
    INVARIANT(node->job_count < JOBS);
    node->job[(node->job_first + node->job_count) % JOBS] = job;
    node->job_count++;
    if (!self->manual) {
        disk_kick(self, node);
    }
}

void disk_write(struct sim *self, struct replica *replica, const struct raft_write *write)
{
    struct job *job = job_new(self);
    job->kind = JOB_WRITE;
    job->group = replica->group;
    job->write = *write;
    job->snapshot = replica->memory.snapshot;
    if ((write->flags & RAFT_WRITE_APPEND) != 0) {
        if (write->first <= replica->memory.base || write->last > replica->memory.last ||
            write->first > write->last) {
            sim_violation(self, "node %u writes entries it does not have", replica->node);
        }
        unsigned count = (unsigned) (write->last - write->first + 1);
        if (count > job->capacity) {
            job->capacity = 2 * count;
            job->entry = mem_resize(job->entry, job->capacity, sizeof(job->entry[0]));
        }
        memcpy(job->entry, &replica->memory.entry[write->first], count * sizeof(job->entry[0]));
    }
    job_push(self, &self->node[replica->node], job);
}

void disk_compact(struct sim *self, struct replica *replica)
{
    const struct image *memory = &replica->memory;
    struct job *job = job_new(self);
    job->kind = JOB_COMPACT;
    job->group = replica->group;
    job->snapshot = memory->snapshot;
    job->base = memory->base;
    job->base_term = memory->base_term;
    job->base_hash = memory->base_hash;
    job->base_members = memory->base_members;
    job->base_members_at = memory->base_members_at;
    job_push(self, &self->node[replica->node], job);
}

/* Start a sync of all that waits. */
void disk_kick(struct sim *self, struct node *node)
{
    if (node->disk_busy || node->job_count == 0 || !node->up) {
        return;
    }
    const struct options *options = &self->options;
    uint64_t wait = sim_between(self, options->disk_us_max / 4, options->disk_us_max);
    if (sim_chance(self, options->disk_slow_per_mille)) {
        wait = sim_between(self, 20000, 400000);
    }
    uint64_t done = self->now + wait;
    done = done > node->disk_stalled_until ? done : node->disk_stalled_until;
    node->disk_busy = true;
    node->job_syncing = node->job_count;
    sim_at(self, done, EVENT_DISK, (unsigned) (node - self->node), 0, node->boot, NULL);
}

/* The parts of a write, in their order; `entries` of the last one (UINT32_MAX: all). */
static void write_apply(struct sim *self, struct image *disk, const struct job *job, unsigned parts,
                        uint64_t entries)
{
    const struct raft_write *write = &job->write;
    if ((write->flags & RAFT_WRITE_HARD) != 0 && parts > 0) {
        bool changed = disk->term == write->term && !raft_id_is_none(disk->vote) &&
                       !raft_id_equal(disk->vote, write->vote);
        if (write->term < disk->term || changed) {
            sim_violation(self, "term or vote on disk goes back or changes");
        }
        disk->term = write->term;
        disk->vote = write->vote;
        disk->suspect_last = write->suspect_last;
    }
    if (parts > 0) {
        disk->commit = write->commit > disk->commit ? write->commit : disk->commit;
    }
    if ((write->flags & RAFT_WRITE_SNAPSHOT) != 0 && parts > 1) {
        disk->snapshot = job->snapshot;
        disk->base = disk->last = write->snapshot_index;
        disk->base_term = write->snapshot_term;
        disk->base_hash = job->snapshot.machine.hash;
        disk->base_members = job->snapshot.members;
        disk->base_members_at = disk->base;
        disk->rot_from = 0;
    }
    if ((write->flags & RAFT_WRITE_TRUNCATE) != 0 && parts > 2) {
        if (write->truncate_from <= disk->base || write->truncate_from > write->first) {
            sim_violation(self, "a write truncates from %u, below the base %u or beyond %u",
                          (unsigned) write->truncate_from, (unsigned) disk->base,
                          (unsigned) write->first);
        }
        disk->last = write->truncate_from - 1 < disk->last ? write->truncate_from - 1 : disk->last;
        if (disk->rot_from > disk->last) {
            disk->rot_from = 0;
        }
    }
    if ((write->flags & RAFT_WRITE_APPEND) != 0 && parts > 3) {
        if (write->first != disk->last + 1) {
            sim_violation(self, "a write appends at %u behind %u", (unsigned) write->first,
                          (unsigned) disk->last);
        }
        for (raft_index i = write->first; i <= write->last && i - write->first < entries; i++) {
            const struct entry *entry = &job->entry[i - write->first];
            if (entry->term > disk->term) {
                sim_violation(self, "an entry of term %u is on a disk of term %u",
                              (unsigned) entry->term, (unsigned) disk->term);
            }
            image_put(self, disk, i, entry);
        }
    }
}

static void job_apply(struct sim *self, struct node *node, const struct job *job)
{
    struct image *disk = &node->replica[job->group].disk;
    if (job->kind == JOB_WRITE) {
        write_apply(self, disk, job, 4, UINT64_MAX);
        return;
    }
    if (job->snapshot.machine.index >= disk->snapshot.machine.index) {
        disk->snapshot = job->snapshot;
    }
    if (job->base > disk->base && job->base <= disk->last &&
        (disk->rot_from == 0 || job->base < disk->rot_from)) {
        disk->base = job->base;
        disk->base_term = job->base_term;
        disk->base_hash = job->base_hash;
        disk->base_members = job->base_members;
        disk->base_members_at = job->base_members_at;
    }
}

void disk_complete(struct sim *self, struct node *node, unsigned count)
{
    count = count < node->job_count ? count : node->job_count;
    uint64_t wseq[SIM_GROUPS] = {0};
    bool loaded[SIM_GROUPS] = {false};
    for (unsigned i = 0; i < count; i++) {
        struct job *job = job_at(node, 0);
        job_apply(self, node, job);
        if (job->kind == JOB_WRITE) {
            wseq[job->group] = job->write.wseq;
            loaded[job->group] |= (job->write.flags & RAFT_WRITE_SNAPSHOT) != 0;
        }
        job_free(self, job);
        node->job_first = (node->job_first + 1) % JOBS;
        node->job_count--;
    }
    for (unsigned g = 0; g < self->options.groups; g++) {
        struct replica *replica = &node->replica[g];
        if (wseq[g] == 0 || replica->stopped) {
            continue;
        }
        raft_persisted(replica->raft, wseq[g]);
        if (loaded[g]) {
            replica_snapshot_loaded(self, replica, &replica->disk.snapshot);
        }
        checker_step(self, replica);
        replica_touch(self, replica);
    }
}

void disk_done(struct sim *self, struct node *node)
{
    if (node->disk_stalled_until > self->now) { /* it stopped while the sync was under way */
        sim_at(self, node->disk_stalled_until, EVENT_DISK, (unsigned) (node - self->node), 0,
               node->boot, NULL);
        return;
    }
    node->disk_busy = false;
    if (node->fails_next) {
        node->fails_next = false;
        node_fail(self, node);
        return;
    }
    disk_complete(self, node, node->job_syncing);
    disk_kick(self, node);
}

/* A later job of this replica may be on the platter although `from` is not. */
static void crash_reorder(struct sim *self, struct node *node, unsigned from)
{
    for (unsigned i = from + 1; i < node->job_count; i++) {
        const struct job *job = job_at(node, i);
        const struct raft_write *write = &job->write;
        struct replica *replica = &node->replica[job->group];
        struct image *disk = &replica->disk;
        bool appends = job->kind == JOB_WRITE && write->flags == RAFT_WRITE_APPEND;
        if (!appends || disk->rot_from != 0 || write->first <= disk->last + 1 ||
            job->entry[write->last - write->first].term > disk->term || !sim_chance(self, 300) ||
            !churn_may_damage(self, replica)) {
            continue;
        }
        raft_index hole = disk->last + 1;
        for (raft_index at = hole; at <= write->last; at++) {
            struct entry entry = {.term = disk->term, .value = UINT64_MAX - at};
            image_put(self, disk, at, &entry);
        }
        disk->rot_from = hole;
        return;
    }
}

void disk_crash(struct sim *self, struct node *node)
{
    unsigned keep = (unsigned) sim_below(self, node->job_count + 1);
    if (sim_chance(self, 300)) {
        keep = 0;
    }
    for (unsigned i = 0; i < keep; i++) {
        job_apply(self, node, job_at(node, i));
    }
    if (keep < node->job_count && self->options.torn) {
        const struct job *job = job_at(node, keep);
        if (job->kind == JOB_WRITE) {
            /* one draw a statement: compilers differ in the order of arguments */
            uint64_t entries = sim_below(self, job->write.last - job->write.first + 2);
            unsigned parts = (unsigned) sim_below(self, 5);
            write_apply(self, &node->replica[job->group].disk, job, parts, entries);
        }
    }
    if (self->options.reorder && keep < node->job_count) {
        crash_reorder(self, node, keep);
    }
    disk_clear(self, node);
}
