/* node: a process that drives the core as raft.h tells: boots each replica from its disk, feeds it messages, times and proposals, and does what drain says.
 * The clock of a node runs a little wrong, and starts anywhere at each boot. */
#include "tests/sim/sim.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

/* --- the log as the core reads it --- */

static raft_term log_term_at(void *ud, raft_index index)
{
    const struct replica *replica = ud;
    INVARIANT(index >= replica->memory.base && index <= replica->memory.last);
    return image_term_at(&replica->memory, index);
}

static raft_index log_cut(void *ud, raft_index first, raft_index last, uint32_t bytes_max,
                          uint32_t *ret_bytes)
{
    const struct image *memory = &((const struct replica *) ud)->memory;
    INVARIANT(first > memory->base && first <= last && last <= memory->last);
    uint32_t bytes = memory->entry[first].bytes;
    while (first < last && bytes + memory->entry[first + 1].bytes <= bytes_max) {
        bytes += memory->entry[++first].bytes;
    }
    *ret_bytes = bytes;
    return first;
}

static raft_index log_members_at(void *ud, raft_index index, struct raft_members *ret_members)
{
    const struct image *memory = &((const struct replica *) ud)->memory;
    INVARIANT(index >= memory->base && index <= memory->last);
    const struct raft_members *members = image_members(memory, index);
    if (members == NULL) {
        return 0;
    }
    *ret_members = *members;
    return index == memory->base ? memory->base_members_at : memory->entry[index].members_at;
}

static struct raft_snapshot log_snapshot(void *ud)
{
    const struct snapshot *snapshot = &((const struct replica *) ud)->memory.snapshot;
    return (struct raft_snapshot){snapshot->machine.index, snapshot->term, snapshot->bytes};
}

static const struct raft_log log_reads = {log_term_at, log_cut, log_members_at, log_snapshot};

/* --- clocks --- */

raft_time node_clock(const struct sim *self, const struct node *node, uint64_t now)
{
    (void) self;
    int64_t drift = (int64_t) now * node->clock_ppm / 1000000;
    return (raft_time) ((int64_t) now + drift + node->clock_offset);
}

/* The true time when the node's clock shows at least `local`. */
static uint64_t node_true_time(const struct node *node, raft_time local)
{
    int64_t shown = (int64_t) local - node->clock_offset;
    int64_t when = shown * 1000000 / (1000000 + node->clock_ppm) + 2;
    return when > 0 ? (uint64_t) when : 0;
}

struct raft_id node_id(const struct sim *self, unsigned node)
{
    return (struct raft_id){node, self->node[node].incarnation};
}

const struct raft_members *members_keep(struct sim *self, const struct raft_members *members)
{
    for (unsigned i = 0; i < self->member_count; i++) {
        if (raft_members_equal(&self->members[i], members)) {
            return &self->members[i];
        }
    }
    INVARIANT(self->member_count < SIM_MEMBERS);
    self->members[self->member_count] = *members;
    return &self->members[self->member_count++];
}

/* --- boot and crash --- */

static void replica_boot(struct sim *self, struct node *node, unsigned group)
{
    struct replica *replica = &node->replica[group];
    const struct image *disk = &replica->disk;
    unsigned number = (unsigned) (node - self->node);
    replica->node = (uint8_t) number;
    replica->group = (uint8_t) group;
    replica->dirty = false;
    replica->stopped = false;
    replica->wake_at = SIM_NEVER;
    replica->token = (uint64_t) node->boot << 32;
    replica->read_count = 0;
    replica->chunk_bytes = 0;
    replica->chunk_content = 0;
    replica->pending.machine.index = 0;
    if (replica->waiting == NULL) {
        replica->waiting = MEM_NEW_ARRAY(SIM_INDEXES, uint32_t);
        replica->waiting_boot = MEM_NEW_ARRAY(SIM_INDEXES, uint64_t);
    }
    struct raft_boot boot;
    memset(&boot, 0, sizeof(boot));
    boot.term = disk->term;
    boot.vote = disk->vote;
    boot.commit = disk->commit;
    boot.compacted = disk->base;
    boot.compacted_term = disk->base_term;
    boot.last = disk->last;
    boot.suspect_last = disk->suspect_last;
    boot.suspect_from = disk->rot_from;
    image_copy(&replica->memory, disk);
    replica->memory.last = disk->rot_from != 0 ? disk->rot_from - 1 : disk->last;
    replica->machine = disk->snapshot.machine;
    boot.applied = replica->machine.index < boot.last ? replica->machine.index : boot.last;
    replica->commit = boot.applied;
    replica->config = self->options.config;
    replica->config.group = group + 1;
    replica->config.id = node_id(self, number);
    replica->config.seed = prng_next(&self->prng);
    size_t size = raft_size(&replica->config);
    void *memory = replica->raft != NULL ? (void *) replica->raft : mem_new(size + 4096);
    int error = raft_init(memory, size, &replica->config, &boot, &log_reads, replica,
                          node_clock(self, node, self->now), &replica->raft);
    if (error != 0) {
        sim_violation(self, "node %u: raft_init: %d", number, error);
    }
    checker_boot(self, replica);
    replica_touch(self, replica);
}

static void session_boot(struct sim *self, struct node *node)
{
    MEM_FREE(node->session);
    if (self->options.config.quiesce_after_us == 0) {
        return;
    }
    struct raft_node_config config = {
        .node = (uint32_t) (node - self->node),
        .epoch = node->boot,
        .beat_us = self->options.config.heartbeat_us,
        .timeout_us = self->options.config.election_timeout_us_min,
        .peers_max = SIM_NODES,
    };
    size_t size = raft_node_size(&config);
    int error = raft_node_init(mem_new(size), size, &config, node_clock(self, node, self->now),
                               &node->session);
    INVARIANT(error == 0);
    for (unsigned n = 1; n <= self->options.nodes; n++) {
        if (n == config.node) {
            continue;
        }
        (void) raft_node_add(node->session, n);
        for (unsigned g = 0; g < self->options.groups; g++) {
            raft_session(node->replica[g].raft, node_clock(self, node, self->now), n, false);
        }
    }
    node_beat_timer(self, node);
}

void node_boot(struct sim *self, unsigned number)
{
    struct node *node = &self->node[number];
    int drift = (int) self->options.drift_ppm;
    node->up = true;
    node->boot++;
    node->paused_until = 0;
    node->clock_ppm = drift == 0 ? 0 : (int) sim_between(self, 0, 2 * (uint64_t) drift) - drift;
    node->clock_offset =
        self->manual ? 0 : (int64_t) sim_below(self, 1000000000) + (int64_t) self->now;
    node->fails_next = false;
    node->disk_stalled_until = 0;
    disk_clear(self, node);
    if (!self->manual) {
        TRACE(self, "boot %u.%u", number, node->incarnation);
    }
    for (unsigned g = 0; g < self->options.groups; g++) {
        replica_boot(self, node, g);
    }
    session_boot(self, node);
}

void node_crash(struct sim *self, unsigned number)
{
    struct node *node = &self->node[number];
    TRACE(self, "crash %u", number);
    disk_crash(self, node);
    node->up = false;
    node->boot++; /* what was queued for it is void */
}

void node_wipe(struct sim *self, unsigned number)
{
    struct node *node = &self->node[number];
    TRACE(self, "wipe %u", number);
    for (unsigned g = 0; g < self->options.groups; g++) {
        image_clear(&node->replica[g].disk);
        memset(&node->replica[g].seen, 0, sizeof(node->replica[g].seen));
        node->hollow_once[g] = false;
    }
    node->incarnation++;
}

/* A write failed: every replica here stops for good, says nothing, and the process ends. */
void node_fail(struct sim *self, struct node *node)
{
    unsigned number = (unsigned) (node - self->node);
    TRACE(self, "EIO %u", number);
    for (unsigned g = 0; g < self->options.groups; g++) {
        struct raft *raft = node->replica[g].raft;
        struct raft_output output;
        struct raft_entry entry = {.bytes = 1};
        raft_index first;
        raft_failed(raft);
        while (raft_drain(raft, &output)) {
            if (output.type != RAFT_OUTPUT_STATE && output.type != RAFT_OUTPUT_READ &&
                output.type != RAFT_OUTPUT_MEMBERS) {
                sim_violation(self, "node %u goes on after a failed write", number);
            }
        }
        if (raft_propose(raft, &entry, 1, &first) != ERR_POISONED ||
            raft_deadline(raft) != UINT64_MAX) {
            sim_violation(self, "node %u is not poisoned after a failed write", number);
        }
    }
    node_crash(self, number);
    sim_at(self, self->now + sim_between(self, 1000, 500000), EVENT_BOOT, number, 0, node->boot,
           NULL);
}

/* --- what a replica does --- */

void replica_touch(struct sim *self, struct replica *replica)
{
    if (self->manual || replica->stopped || replica->dirty) {
        return;
    }
    if (self->options.batch_us == 0) {
        replica_drain(self, replica);
        return;
    }
    replica->dirty = true;
    sim_at(self, self->now + sim_below(self, self->options.batch_us), EVENT_DRAIN, replica->node,
           replica->group, self->node[replica->node].boot, NULL);
}

static void memory_put(struct sim *self, struct replica *replica, raft_index index,
                       const struct entry *entry)
{
    image_put(self, &replica->memory, index, entry);
    checker_put(self, replica, index);
}

static struct entry config_entry(struct sim *self, raft_term term,
                                 const struct raft_members *members)
{
    struct entry entry = {.term = term, .type = RAFT_ENTRY_CONFIG};
    entry.members = members_keep(self, members);
    entry.value = (uint64_t) (entry.members - self->members) + 1;
    entry.bytes = (uint32_t) (4 + 10 * members->count);
    return entry;
}

static void output_entry(struct sim *self, struct replica *replica,
                         const struct raft_output *output)
{
    struct entry entry = {.term = output->entry.entry.term, .type = output->entry.entry.type};
    if (entry.type == RAFT_ENTRY_CONFIG) {
        entry = config_entry(self, entry.term, output->entry.entry.members);
    }
    memory_put(self, replica, output->entry.index, &entry);
}

static void output_state(struct sim *self, struct replica *replica,
                         const struct raft_output *output)
{
    TRACE(self, "node %u g%u is %s t%u leader %u%s", replica->node, replica->group + 1,
          raft_state_name(output->state.state), (unsigned) output->state.term,
          output->state.leader.node, output->state.quiesced ? " asleep" : "");
    self->count.elections += output->state.state == RAFT_LEADER;
    self->count.slept += output->state.quiesced && output->state.state == RAFT_LEADER;
}

static void output_commit(struct sim *self, struct replica *replica, raft_index commit)
{
    if (commit <= replica->commit || commit > replica->memory.last) {
        sim_violation(self, "node %u gives out commit %u after %u with a log up to %u",
                      replica->node, (unsigned) commit, (unsigned) replica->commit,
                      (unsigned) replica->memory.last);
    }
    if (!disk_has(&replica->disk, commit, image_hash_at(&replica->memory, commit))) {
        sim_violation(self, "node %u applies entry %u that its disk does not have", replica->node,
                      (unsigned) commit);
    }
    replica->commit = commit;
    if (self->options.apply_us == 0) {
        replica_apply(self, replica);
    } else {
        sim_at(self, self->now + sim_below(self, self->options.apply_us), EVENT_APPLY,
               replica->node, replica->group, self->node[replica->node].boot, NULL);
    }
}

static void replica_output(struct sim *self, struct replica *replica,
                           const struct raft_output *output)
{
    switch (output->type) {
    case RAFT_OUTPUT_ENTRY:
        output_entry(self, replica, output);
        break;
    case RAFT_OUTPUT_WRITE:
        TRACE(self, "node %u g%u writes %u: flags %x term %u vote %u cut %u entries %u..%u",
              replica->node, replica->group + 1, (unsigned) output->write.wseq, output->write.flags,
              (unsigned) output->write.term, output->write.vote.node,
              (unsigned) output->write.truncate_from, (unsigned) output->write.first,
              (unsigned) output->write.last);
        disk_write(self, replica, &output->write);
        break;
    case RAFT_OUTPUT_STATE:
        output_state(self, replica, output);
        break;
    case RAFT_OUTPUT_COMMIT:
        TRACE(self, "node %u g%u commits up to %u", replica->node, replica->group + 1,
              (unsigned) output->commit);
        output_commit(self, replica, output->commit);
        break;
    case RAFT_OUTPUT_READ:
        client_read_done(self, replica, output->read.token, output->read.index, output->read.error);
        break;
    case RAFT_OUTPUT_SEND:
        checker_send(self, replica, &output->message);
        network_send(self, replica, &output->message);
        break;
    case RAFT_OUTPUT_MEMBERS:
        TRACE(self, "node %u g%u members at %u:%s%s%s", replica->node, replica->group + 1,
              (unsigned) output->members.index, output->members.committed ? " committed" : "",
              output->members.joint ? " joint" : "", output->members.voter ? " voter" : "");
        break;
    default:
        break;
    }
}

static void replica_arm(struct sim *self, struct replica *replica)
{
    raft_time deadline = raft_deadline(replica->raft);
    if (deadline == UINT64_MAX) {
        replica->wake_at = SIM_NEVER;
        return;
    }
    struct node *node = &self->node[replica->node];
    uint64_t at = node_true_time(node, deadline);
    at = at > self->now ? at : self->now + 1;
    if (at < replica->wake_at || replica->wake_at < self->now) {
        replica->wake_at = at;
        sim_at(self, at, EVENT_TIMER, replica->node, replica->group, node->boot, NULL);
    }
}

void replica_drain(struct sim *self, struct replica *replica)
{
    struct raft_output output;
    unsigned rounds = 0;
    replica->dirty = false;
    while (raft_drain(replica->raft, &output)) {
        self->drained++;
        replica_output(self, replica, &output);
        if (++rounds > 10000) {
            sim_violation(self, "node %u never ends to drain", replica->node);
        }
    }
    checker_step(self, replica);
    if (!self->manual) {
        replica_arm(self, replica);
    }
}

void replica_timer(struct sim *self, struct replica *replica)
{
    raft_time now = node_clock(self, &self->node[replica->node], self->now);
    if (raft_deadline(replica->raft) <= now) {
        raft_advance(replica->raft, now);
        checker_step(self, replica);
        replica_touch(self, replica);
    } else {
        replica_arm(self, replica);
    }
}

static void take_chunk(struct sim *self, struct replica *replica, const struct envelope *envelope)
{
    const struct raft_message *message = &envelope->message;
    if (message->offset == 0) {
        replica->chunk_bytes = 0;
        replica->chunk_content = envelope->snapshot.content;
    }
    if (message->offset != replica->chunk_bytes ||
        replica->chunk_content != envelope->snapshot.content) {
        sim_violation(self, "node %u takes a chunk that does not continue what it has",
                      replica->node);
    }
    replica->chunk_bytes += message->bytes;
}

void replica_take(struct sim *self, struct replica *replica, const struct envelope *envelope,
                  const struct raft_taken *taken)
{
    struct image *memory = &replica->memory;
    const struct raft_message *message = &envelope->message;
    if (taken->count != 0) {
        if (taken->first <= memory->base || taken->first > memory->last + 1 ||
            taken->skip + taken->count > message->count) {
            sim_violation(self, "node %u takes %u entries from %u into a log from %u to %u",
                          replica->node, taken->count, (unsigned) taken->first,
                          (unsigned) memory->base, (unsigned) memory->last);
        }
        memory->last = taken->first - 1;
        for (uint32_t i = 0; i < taken->count; i++) {
            struct entry entry = envelope->entry[taken->skip + i];
            entry.hollow = envelope->hollow && entry.type == RAFT_ENTRY_NORMAL;
            memory_put(self, replica, taken->first + i, &entry);
        }
    }
    if (taken->chunk) {
        take_chunk(self, replica, envelope);
    }
    if (taken->install) {
        if (replica->chunk_bytes != message->total) {
            sim_violation(self, "node %u installs a part of a snapshot", replica->node);
        }
        self->count.snapshots++;
        memory->base = memory->last = message->index;
        memory->base_term = message->index_term;
        memory->base_hash = envelope->snapshot.machine.hash;
        memory->base_members = envelope->snapshot.members;
        memory->base_members_at = message->index;
        memory->snapshot = envelope->snapshot;
        replica->commit = message->index;
        replica->pending.machine.index = 0;
    }
}

void replica_apply(struct sim *self, struct replica *replica)
{
    struct machine *machine = &replica->machine;
    const struct image *memory = &replica->memory;
    if (machine->index < memory->base || replica->stopped) {
        return; /* what is missing comes with the snapshot that is being written */
    }
    while (machine->index < replica->commit) {
        raft_index index = ++machine->index;
        const struct entry *entry = &memory->entry[index];
        machine->hash = entry->hash;
        if (entry->type == RAFT_ENTRY_NORMAL && entry->hollow) {
            machine->hollow = true;
        } else if (entry->type == RAFT_ENTRY_NORMAL && entry->value < SIM_OPS) {
            machine->value[self->op[entry->value].key] = entry->value;
        }
        checker_apply(self, replica);
        client_applied(self, replica, index, entry->type == RAFT_ENTRY_NORMAL ? entry->value : 0);
    }
    raft_applied(replica->raft,
                 machine->index < replica->commit ? machine->index : replica->commit);
}

void replica_snapshot_loaded(struct sim *self, struct replica *replica,
                             const struct snapshot *snapshot)
{
    raft_index index = snapshot->machine.index;
    /* One that is ahead may stay, or go back. */
    if (index > replica->machine.index ||
        (index < replica->machine.index && sim_chance(self, 500))) {
        replica->machine = snapshot->machine;
        checker_apply(self, replica);
    }
    raft_applied(replica->raft, index);
    replica_apply(self, replica);
}

/* --- inputs from above --- */

int replica_propose(struct sim *self, struct replica *replica, uint64_t value, uint32_t bytes,
                    raft_index *ret_index)
{
    struct raft_entry entry = {.bytes = bytes};
    int error = raft_propose(replica->raft, &entry, 1, ret_index);
    if (error == 0) {
        struct entry own = {
            .term = entry.term, .bytes = bytes, .value = value, .type = RAFT_ENTRY_NORMAL};
        memory_put(self, replica, *ret_index, &own);
    }
    return error;
}

int replica_change(struct sim *self, struct replica *replica, const struct raft_members *target)
{
    raft_index index;
    struct raft_members members;
    int error = raft_propose_config(replica->raft, target, &index, &members);
    if (error == 0) {
        struct entry entry = config_entry(self, raft_term_of(replica->raft), &members);
        for (uint32_t i = 0; i < members.count; i++) {
            const struct raft_member *member = &members.member[i];
            if ((member->set & RAFT_WITNESS) != 0) {
                self->node[member->id.node].hollow_once[replica->group] = true;
            }
        }
        self->count.changes++;
        TRACE(self, "node %u g%u changes members at %u", replica->node, replica->group + 1,
              (unsigned) index);
        memory_put(self, replica, index, &entry);
        checker_step(self, replica);
        replica_touch(self, replica);
    }
    return error;
}

int replica_bootstrap(struct sim *self, struct replica *replica, const struct raft_members *members)
{
    int error = raft_bootstrap(replica->raft, members);
    if (error == 0) {
        struct entry entry = config_entry(self, 1, members);
        memory_put(self, replica, 1, &entry);
        checker_step(self, replica);
        replica_touch(self, replica);
    }
    return error;
}

/* --- snapshots: taken at one moment, finished at a later one --- */

void replica_snapshot_begin(struct sim *self, struct replica *replica)
{
    const struct image *memory = &replica->memory;
    raft_index index = replica->machine.index;
    replica->pending.machine.index = 0;
    if (index <= memory->base || index > memory->last || index <= memory->snapshot.machine.index ||
        index > replica->commit || replica->seen.suspect) {
        return;
    }
    replica->pending.machine = replica->machine;
    replica->pending.term = image_term_at(memory, index);
    replica->pending.members = image_members(memory, index);
    replica->pending.bytes = sim_below(self, 4) == 0 ? 0 : sim_below(self, 3000);
    replica->pending.content = ++self->filler;
}

void replica_snapshot_end(struct sim *self, struct replica *replica, raft_index keep)
{
    struct image *memory = &replica->memory;
    raft_index index = replica->pending.machine.index;
    if (replica->stopped || index == 0 || index <= memory->base ||
        index <= memory->snapshot.machine.index) {
        return;
    }
    memory->snapshot = replica->pending;
    replica->pending.machine.index = 0;
    raft_index edge = index > keep ? index - keep : 0;
    if (edge > memory->base) {
        int error = raft_compacted(replica->raft, edge);
        if (error != 0) {
            sim_violation(self, "node %u: raft_compacted(%u): %d", replica->node, (unsigned) edge,
                          error);
        }
        memory->base_term = memory->entry[edge].term;
        memory->base_hash = memory->entry[edge].hash;
        memory->base_members = memory->entry[edge].members;
        memory->base_members_at = memory->entry[edge].members_at;
        memory->base = edge;
    }
    TRACE(self, "node %u g%u has a snapshot of %u, log from %u", replica->node, replica->group + 1,
          (unsigned) index, (unsigned) memory->base + 1);
    disk_compact(self, replica);
    checker_step(self, replica);
    replica_touch(self, replica);
}

void replica_compact(struct sim *self, struct replica *replica, raft_index keep)
{
    replica_snapshot_begin(self, replica);
    replica_snapshot_end(self, replica, keep);
}

/* --- sessions --- */

static void node_session_drain(struct sim *self, struct node *node)
{
    struct raft_node_output output;
    raft_time now = node_clock(self, node, self->now);
    while (raft_node_drain(node->session, &output)) {
        if (output.type == RAFT_NODE_SEND) {
            network_beat(self, &output.beat);
            continue;
        }
        TRACE(self, "node %u: session with %u %s", (unsigned) (node - self->node), output.node,
              output.type == RAFT_NODE_UP ? "up" : "lost");
        for (unsigned g = 0; g < self->options.groups; g++) {
            raft_session(node->replica[g].raft, now, output.node, output.type == RAFT_NODE_UP);
            checker_step(self, &node->replica[g]);
            replica_touch(self, &node->replica[g]);
        }
    }
    raft_time deadline = raft_node_deadline(node->session);
    if (deadline == UINT64_MAX) {
        return;
    }
    uint64_t at = node_true_time(node, deadline);
    node->beat_at = at > self->now ? at : self->now + 1;
    sim_at(self, node->beat_at, EVENT_BEAT_TIMER, (unsigned) (node - self->node), 0, node->boot,
           NULL);
}

void node_beat_timer(struct sim *self, struct node *node)
{
    raft_node_advance(node->session, node_clock(self, node, self->now));
    node_session_drain(self, node);
}

void node_beat(struct sim *self, struct node *node, const struct raft_beat *beat)
{
    raft_node_recv(node->session, node_clock(self, node, self->now), beat);
    node_session_drain(self, node);
}

void replica_contact(struct sim *self, struct replica *replica)
{
    const struct node *node = &self->node[replica->node];
    for (unsigned n = 1; n <= self->options.nodes && node->session != NULL; n++) {
        if (n != replica->node) {
            raft_session_contact(replica->raft, n, raft_node_contact(node->session, n));
        }
    }
}
