/* cluster: the driver of the tests: a log in memory and a disk a node, a network, and what must hold after every step. */
#include "tests/unit/common/raft/cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "tests/lib/test.h"

/* --- the log as the core reads it --- */

static raft_term log_term_at(void *ud, raft_index index)
{
    const struct image *image = ud;
    TEST_ASSERT_FAST(index >= image->base && index <= image->last);
    return index == image->base ? image->base_term : image->entry[index].term;
}

static raft_index log_cut(void *ud, raft_index first, raft_index last, uint32_t bytes_max,
                          uint32_t *ret_bytes)
{
    const struct image *image = ud;
    TEST_ASSERT_FAST(first > image->base && first <= last && last <= image->last);
    uint32_t bytes = image->entry[first].bytes;
    while (first < last && bytes + image->entry[first + 1].bytes <= bytes_max) {
        bytes += image->entry[++first].bytes;
    }
    *ret_bytes = bytes;
    return first;
}

static raft_index log_members_at(void *ud, raft_index index, struct raft_members *ret_members)
{
    const struct image *image = ud;
    for (; index > image->base; index--) {
        if (image->entry[index].type == RAFT_ENTRY_CONFIG) {
            *ret_members = *image->entry[index].members;
            return index;
        }
    }
    if (image->base_members != NULL) {
        *ret_members = *image->base_members;
    }
    return image->base_members_index;
}

static struct raft_snapshot log_snapshot(void *ud)
{
    const struct image *image = ud;
    return (struct raft_snapshot){image->snapshot.index, image->snapshot_term, 2500};
}

static const struct raft_log log_reads = {log_term_at, log_cut, log_members_at, log_snapshot};

/* --- nodes --- */

struct raft_id cluster_id(const struct cluster *self, unsigned node)
{
    return self->node[node].config.id;
}

static const struct raft_members *members_keep(struct cluster *self,
                                               const struct raft_members *members)
{
    for (unsigned i = 0; i < self->member_count; i++) {
        if (raft_members_equal(&self->members[i], members)) {
            return &self->members[i];
        }
    }
    ck_assert_uint_lt(self->member_count, CLUSTER_MEMBERS);
    self->members[self->member_count] = *members;
    return &self->members[self->member_count++];
}

void node_start(struct cluster *self, unsigned node)
{
    node_start_damaged(self, node, 0);
}

void node_start_damaged(struct cluster *self, unsigned node, raft_index from)
{
    struct node *own = &self->node[node];
    struct raft_boot boot;
    memset(&boot, 0, sizeof(boot));
    *own->memory = *own->disk;
    boot.term = own->disk->term;
    boot.vote = own->disk->vote;
    boot.commit = own->disk->commit;
    boot.compacted = own->disk->base;
    boot.compacted_term = own->disk->base_term;
    boot.last = own->disk->last;
    boot.suspect_last = own->disk->suspect_last;
    boot.suspect_from = from;
    if (from !=
        0) { /* a real disk would show the damage again at the next start; this one remembers that it was there */
        raft_index was = own->disk->suspect_last;
        own->disk->suspect_last = own->disk->last > was ? own->disk->last : was;
        own->disk->last = own->memory->last = from - 1;
    }
    for (unsigned other = 1; other < CLUSTER_NODES; other++) {
        self->beat[node][other] = self->beat[other][node] = 0;
        if (own->raft != NULL && self->node[other].up && other != node) {
            raft_session(self->node[other].raft, self->now, node, false);
        }
    }
    own->state = own->disk->snapshot;
    /* the state machine restarts from its snapshot */
    TEST_ASSERT_FAST(own->state.index >= boot.compacted);
    boot.applied = own->state.index < boot.last ? own->state.index : boot.last;
    own->commit = boot.applied;
    if (from != 0 && own->state.index > from - 1) {
        own->state.index = from - 1; /* snapshots of the tests cover no more than the log has */
    }
    own->pending_count = 0;
    own->up = true;
    size_t size = raft_size(&own->config);
    void *memory = own->raft != NULL ? (void *) own->raft : mem_new(size);
    own->config.seed = prng_next(&self->prng);
    ck_assert_int_eq(raft_init(memory, size, &own->config, &boot, &log_reads, own->memory,
                               self->now, &own->raft),
                     0);
}

void node_crash(struct cluster *self, unsigned node)
{
    self->node[node].up = false;
    self->node[node].pending_count = 0;
}

static void node_make(struct cluster *self, unsigned node, uint32_t incarnation)
{
    struct node *own = &self->node[node];
    raft_config_init(&own->config);
    own->config.id = (struct raft_id){node, incarnation};
    own->config.group = 7;
    own->config.members_max = 8;
    own->config.message_entries_max = CLUSTER_BATCH;
    own->config.snapshot_chunk_bytes = 1000;
    if (self->configure != NULL) {
        self->configure(&own->config);
    }
    if (own->memory == NULL) {
        own->memory = MEM_NEW(struct image);
        own->disk = MEM_NEW(struct image);
        own->pending = mem_new_array(CLUSTER_WRITES, sizeof(*own->pending));
    }
    memset(own->disk, 0, sizeof(*own->disk));
    node_start(self, node);
}

void node_wipe(struct cluster *self, unsigned node)
{
    node_make(self, node, self->node[node].config.id.incarnation + 1);
}

struct cluster *cluster_new(unsigned count, void (*configure)(struct raft_config *config))
{
    struct cluster *self = MEM_NEW(struct cluster);
    self->queue = MEM_NEW_ARRAY(CLUSTER_QUEUE, struct envelope);
    self->members = MEM_NEW_ARRAY(CLUSTER_MEMBERS, struct raft_members);
    self->configure = configure;
    self->now = 1000000;
    prng_init(&self->prng, 1);
    for (unsigned node = 1; node <= count; node++) {
        node_make(self, node, 1);
    }
    return self;
}

void cluster_destroy(struct cluster **self)
{
    for (unsigned node = 1; node < CLUSTER_NODES; node++) {
        struct node *own = &(*self)->node[node];
        mem_free(own->raft);
        mem_free(own->memory);
        mem_free(own->disk);
        mem_free(own->pending);
    }
    mem_free((*self)->queue);
    mem_free((*self)->members);
    mem_free(*self);
    *self = NULL;
}

struct raft_members cluster_members(const struct cluster *self, const char *roles)
{
    struct raft_members members;
    memset(&members, 0, sizeof(members));
    for (unsigned i = 0; roles[i] != 0; i++) {
        unsigned set = roles[i] == 'v'   ? RAFT_VOTER
                       : roles[i] == 'l' ? RAFT_LEARNER
                       : roles[i] == 'w' ? RAFT_VOTER | RAFT_WITNESS
                                         : 0;
        if (set != 0) {
            ck_assert_int_eq(raft_members_put(&members, cluster_id(self, i + 1), set, 1), 0);
        }
    }
    return members;
}

static void memory_put(struct node *own, raft_index index, struct entry entry)
{
    struct image *memory = own->memory;
    ck_assert_uint_lt(index, CLUSTER_ENTRIES);
    ck_assert(index > memory->base && index <= memory->last + 1);
    memory->entry[index] = entry;
    memory->last = index;
}

void cluster_bootstrap(struct cluster *self, const char *roles)
{
    struct raft_members members = cluster_members(self, roles);
    for (unsigned node = 1; node < CLUSTER_NODES; node++) {
        if (self->node[node].up && raft_members_find(&members, cluster_id(self, node)) != NULL) {
            ck_assert_int_eq(raft_bootstrap(self->node[node].raft, &members), 0);
            memory_put(&self->node[node], 1,
                       (struct entry){.term = 1,
                                      .type = RAFT_ENTRY_CONFIG,
                                      .members = members_keep(self, &members)});
        }
    }
}

/* --- what must hold --- */

static void check_committed(struct cluster *self, unsigned node, raft_index index)
{
    const struct entry *entry = &self->node[node].memory->entry[index];
    if (index > self->committed_last) {
        TEST_ASSERT_FAST(index == self->committed_last + 1);
        self->committed_last = index;
        self->committed[index].term = entry->term;
        self->committed[index].value = entry->value;
        self->committed[index].committed_in = raft_term_of(self->node[node].raft);
    }
    TEST_ASSERT_FAST(self->committed[index].term == entry->term);
    TEST_ASSERT_FAST(self->committed[index].value == entry->value);
}

static void check_leader(struct cluster *self, unsigned node, raft_term term)
{
    ck_assert_uint_lt(term, CLUSTER_ENTRIES);
    TEST_ASSERT_FAST(self->leader_of[term] == 0 || self->leader_of[term] == node);
    self->leader_of[term] = node;
    const struct image *memory = self->node[node].memory;
    for (raft_index index = memory->base + 1; index <= self->committed_last; index++) {
        if (self->committed[index].committed_in >= term) {
            continue; /* Leader Completeness speaks of later terms */
        }
        TEST_ASSERT_FAST(index <= memory->last);
        TEST_ASSERT_FAST(memory->entry[index].term == self->committed[index].term);
    }
}

/* --- drain --- */

static void state_apply(struct node *own, raft_index upto)
{
    for (raft_index index = own->state.index + 1; index <= upto; index++) {
        own->state.hash = own->state.hash * 31 + own->memory->entry[index].value + index;
        own->state.index = index;
    }
}

static void node_send(struct cluster *self, unsigned node, const struct raft_message *message)
{
    const struct image *memory = self->node[node].memory;
    self->sent[message->type]++;
    self->sent_total++;
    ck_assert_uint_lt(self->queue_count, CLUSTER_QUEUE);
    struct envelope *envelope = &self->queue[self->queue_count++];
    uint8_t bytes[RAFT_HEADER_BYTES];
    raft_message_encode(message, bytes); /* what leaves can be read */
    TEST_ASSERT_FAST(raft_message_decode(bytes, sizeof(bytes), &envelope->message) == 0);
    for (unsigned i = 0; i < message->count; i++) {
        TEST_ASSERT_FAST(message->index + 1 + i <= memory->last);
        envelope->entry[i] = memory->entry[message->index + 1 + i];
    }
    if (message->type == RAFT_MESSAGE_SNAPSHOT) {
        envelope->snapshot = memory->snapshot;
        envelope->members = memory->snapshot_members;
        TEST_ASSERT_FAST(message->index == memory->snapshot.index);
    }
}

static void node_queue_write(struct cluster *self, unsigned node, const struct raft_write *write)
{
    struct node *own = &self->node[node];
    ck_assert_uint_lt(own->pending_count, CLUSTER_WRITES);
    own->pending[own->pending_count].write = *write;
    own->pending[own->pending_count].snapshot = own->memory->snapshot;
    own->pending[own->pending_count].snapshot_members = own->memory->snapshot_members;
    if ((write->flags & RAFT_WRITE_APPEND) != 0) {
        ck_assert_uint_lt(write->last - write->first, CLUSTER_BATCH * 4);
        for (raft_index index = write->first; index <= write->last; index++) {
            own->pending[own->pending_count].entry[index - write->first] =
                own->memory->entry[index];
        }
    }
    own->pending_count++;
}

static void node_output(struct cluster *self, unsigned node, const struct raft_output *output)
{
    struct node *own = &self->node[node];
    struct entry entry;
    switch (output->type) {
    case RAFT_OUTPUT_ENTRY:
        memset(&entry, 0, sizeof(entry));
        entry.term = output->entry.entry.term;
        entry.type = output->entry.entry.type;
        if (output->entry.entry.members != NULL) {
            entry.members = members_keep(self, output->entry.entry.members);
        }
        memory_put(own, output->entry.index, entry);
        break;
    case RAFT_OUTPUT_WRITE:
        node_queue_write(self, node, &output->write);
        break;
    case RAFT_OUTPUT_STATE:
        own->leader = output->state.leader;
        if (output->state.state == RAFT_LEADER) {
            check_leader(self, node, output->state.term);
        }
        break;
    case RAFT_OUTPUT_COMMIT:
        TEST_ASSERT_FAST(output->commit > own->commit);
        for (raft_index index = own->commit + 1; index <= output->commit; index++) {
            check_committed(self, node, index);
        }
        own->commit = output->commit;
        state_apply(own, output->commit);
        raft_applied(own->raft, output->commit);
        break;
    case RAFT_OUTPUT_READ:
        ck_assert_uint_lt(own->read_count, CLUSTER_READS);
        own->read[own->read_count].token = output->read.token;
        own->read[own->read_count].error = output->read.error;
        own->read[own->read_count].index = own->state.index;
        TEST_ASSERT_FAST(output->read.error != 0 || own->state.index >= output->read.index);
        own->read_count++;
        break;
    case RAFT_OUTPUT_SEND:
        node_send(self, node, &output->message);
        break;
    case RAFT_OUTPUT_MEMBERS:
    default:
        break;
    }
}

static void node_dump(const struct cluster *self, unsigned node)
{
    struct raft_status status = cluster_status(self, node);
    struct raft_progress peer;
    (void) fprintf(
        stderr, "seed %u: node %u %s term %u last %u commit %u durable %u applied %u base %u\n",
        (unsigned) self->seed, node, raft_state_name(status.state), (unsigned) status.term,
        (unsigned) status.last, (unsigned) status.commit, (unsigned) status.durable,
        (unsigned) status.applied, (unsigned) status.compacted);
    for (unsigned i = 0; raft_progress_read(self->node[node].raft, i, &peer); i++) {
        (void) fprintf(stderr,
                       "    peer %u set %u state %u match %u next %u messages %u bytes %u%s\n",
                       peer.member.id.node, peer.member.set, peer.state, (unsigned) peer.match,
                       (unsigned) peer.next, peer.inflight_messages, peer.inflight_bytes,
                       peer.departing ? " departing" : "");
    }
}

static void node_check(struct cluster *self, unsigned node)
{
    const char *broken = raft_check(self->node[node].raft);
    if (broken != NULL) {
        node_dump(self, node);
        ck_abort_msg("node %u: %s", node, broken);
    }
}

void node_drain(struct cluster *self, unsigned node)
{
    struct node *own = &self->node[node];
    struct raft_output output;
    unsigned rounds = 0;
    while (own->up && raft_drain(own->raft, &output)) {
        node_output(self, node, &output);
        own->drained++;
        TEST_ASSERT_FAST(++rounds < 10000);
    }
    node_check(self, node);
}

static void disk_write(struct cluster *self, struct node *own, unsigned which)
{
    const struct raft_write *write = &own->pending[which].write;
    struct image *disk = own->disk;
    if ((write->flags & RAFT_WRITE_HARD) != 0) {
        TEST_ASSERT_FAST(write->term >= disk->term);
        TEST_ASSERT_FAST(write->term > disk->term || raft_id_is_none(disk->vote) ||
                         raft_id_equal(disk->vote, write->vote));
        disk->term = write->term;
        disk->vote = write->vote;
        disk->suspect_last = write->suspect_last;
    }
    disk->commit = write->commit > disk->commit ? write->commit : disk->commit;
    if ((write->flags & RAFT_WRITE_SNAPSHOT) != 0) {
        disk->snapshot = own->pending[which].snapshot;
        disk->snapshot_term = write->snapshot_term;
        disk->snapshot_members = own->pending[which].snapshot_members;
        disk->base = disk->last = write->snapshot_index;
        disk->base_term = write->snapshot_term;
        disk->base_members = disk->snapshot_members;
        disk->base_members_index = disk->base;
        own->state = disk->snapshot;
        own->commit = own->state.index > own->commit ? own->state.index : own->commit;
        raft_applied(own->raft, own->state.index);
    }
    if ((write->flags & RAFT_WRITE_TRUNCATE) != 0) {
        TEST_ASSERT_FAST(write->truncate_from > disk->base && write->truncate_from <= write->first);
        disk->last = write->truncate_from - 1 < disk->last ? write->truncate_from - 1 : disk->last;
    }
    if ((write->flags & RAFT_WRITE_APPEND) != 0) {
        TEST_ASSERT_FAST(write->first == disk->last + 1);
        for (raft_index index = write->first; index <= write->last; index++) {
            disk->entry[index] = own->pending[which].entry[index - write->first];
            TEST_ASSERT_FAST(disk->entry[index].term <= disk->term);
        }
        disk->last = write->last;
    }
    (void) self;
}

void node_write(struct cluster *self, unsigned node, unsigned count)
{
    struct node *own = &self->node[node];
    count = count < own->pending_count ? count : own->pending_count;
    if (count == 0 || !own->up) {
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        disk_write(self, own, i);
    }
    uint64_t wseq = own->pending[count - 1].write.wseq;
    own->pending_count -= count;
    memmove(&own->pending[0], &own->pending[count], own->pending_count * sizeof(own->pending[0]));
    raft_persisted(own->raft, wseq);
    node_check(self, node);
}

void node_compact(struct cluster *self, unsigned node, raft_index keep)
{
    struct node *own = &self->node[node];
    struct image *memory = own->memory;
    node_write(self, node, CLUSTER_WRITES);
    raft_index upto = own->state.index;
    if (upto <= memory->base || own->state.index < keep + 1) {
        return;
    }
    struct raft_members members;
    memset(&members, 0, sizeof(members));
    (void) log_members_at(memory, upto, &members);
    memory->snapshot = own->state;
    memory->snapshot_term = log_term_at(memory, upto);
    memory->snapshot_members = members_keep(self, &members);
    raft_index edge = upto - keep;
    if (edge > memory->base) {
        memset(&members, 0, sizeof(members));
        raft_index at = log_members_at(memory, edge, &members);
        ck_assert_int_eq(raft_compacted(own->raft, edge), 0);
        memory->base_term = log_term_at(memory, edge);
        memory->base_members = members_keep(self, &members);
        memory->base_members_index = at;
        memory->base = edge;
    }
    struct image *disk = own->disk; /* at once: the log in memory is written up to here */
    disk->snapshot = memory->snapshot;
    disk->snapshot_term = memory->snapshot_term;
    disk->snapshot_members = memory->snapshot_members;
    disk->base = memory->base;
    disk->base_term = memory->base_term;
    disk->base_members = memory->base_members;
    disk->base_members_index = memory->base_members_index;
}

/* --- network --- */

void cluster_drop(struct cluster *self, unsigned i)
{
    self->queue_count--;
    memmove(&self->queue[i], &self->queue[i + 1], (self->queue_count - i) * sizeof(self->queue[0]));
}

static void node_take(struct cluster *self, struct node *own, const struct envelope *envelope,
                      const struct raft_taken *taken)
{
    (void) self;
    struct image *memory = own->memory;
    if (taken->count != 0) {
        TEST_ASSERT_FAST(taken->first > memory->base && taken->first <= memory->last + 1);
        memory->last = taken->first - 1;
        for (uint32_t i = 0; i < taken->count; i++) {
            memory_put(own, taken->first + i, envelope->entry[taken->skip + i]);
        }
    }
    if (taken->chunk) {
        own->chunk_bytes = envelope->message.offset + envelope->message.bytes;
    }
    if (taken->install) {
        TEST_ASSERT_FAST(own->chunk_bytes == envelope->message.total);
        memory->base = memory->last = envelope->message.index;
        memory->base_term = envelope->message.index_term;
        memory->base_members = envelope->members;
        memory->base_members_index = envelope->message.index;
        memory->snapshot = envelope->snapshot;
        memory->snapshot_term = envelope->message.index_term;
        memory->snapshot_members = envelope->members;
    }
}

void cluster_deliver(struct cluster *self, unsigned i)
{
    static struct envelope envelope;
    static struct raft_entry entries[CLUSTER_BATCH];
    envelope = self->queue[i];
    cluster_drop(self, i);
    unsigned from = envelope.message.from.node;
    unsigned to = envelope.message.to.node;
    if (self->cut[from][to] || !self->node[to].up ||
        (self->drop_types >> envelope.message.type & 1) != 0) {
        return;
    }
    for (unsigned k = 0; k < envelope.message.count; k++) {
        entries[k].term = envelope.entry[k].term;
        entries[k].bytes = envelope.entry[k].bytes;
        entries[k].type = envelope.entry[k].type;
        entries[k].members = envelope.entry[k].members;
    }
    if (getenv("RAFT_VERBOSE") != NULL) {
        const struct raft_message *m = &envelope.message;
        (void) fprintf(stderr,
                       "%u: %u -> %u %s term %u index %u (%u) count %u commit %u appended %u hint "
                       "%u (%u) flags %u seq %u\n",
                       (unsigned) self->now, from, to, raft_message_name(m->type),
                       (unsigned) m->term, (unsigned) m->index, (unsigned) m->index_term, m->count,
                       (unsigned) m->commit, (unsigned) m->appended, (unsigned) m->hint,
                       (unsigned) m->hint_term, m->flags, m->seq);
    }
    envelope.message.entries = entries;
    envelope.message.members = envelope.members;
    struct raft_taken taken;
    int error = raft_recv(self->node[to].raft, self->now, &envelope.message, &taken);
    TEST_ASSERT_FAST(error == 0 || error == ERR_POISONED);
    node_take(self, &self->node[to], &envelope, &taken);
    node_check(self, to);
}

void cluster_settle(struct cluster *self)
{
    for (unsigned round = 0; round < 2000; round++) {
        bool moved = false;
        for (unsigned node = 1; node < CLUSTER_NODES; node++) {
            struct node *own = &self->node[node];
            if (!own->up) {
                continue;
            }
            uint64_t before = own->drained;
            node_drain(self, node);
            if (!own->disk_holds && own->pending_count != 0) {
                node_write(self, node, CLUSTER_WRITES);
                moved = true;
            }
            moved |= own->drained != before;
        }
        for (unsigned count = self->queue_count; count > 0; count--) {
            cluster_deliver(self, 0);
            moved = true;
        }
        if (!moved) {
            return;
        }
    }
    ck_abort_msg("it does not settle");
}

void cluster_run(struct cluster *self, raft_time us)
{
    raft_time end = self->now + us;
    cluster_settle(self);
    for (;;) {
        raft_time next = UINT64_MAX;
        for (unsigned node = 1; node < CLUSTER_NODES; node++) {
            if (self->node[node].up) {
                raft_time deadline = raft_deadline(self->node[node].raft);
                next = deadline < next ? deadline : next;
            }
        }
        if (next > end) {
            break;
        }
        self->now = next > self->now ? next : self->now + 1;
        for (unsigned node = 1; node < CLUSTER_NODES; node++) {
            if (self->node[node].up && raft_deadline(self->node[node].raft) <= self->now) {
                raft_advance(self->node[node].raft, self->now);
            }
        }
        cluster_settle(self);
    }
    self->now = end;
}

void cluster_cut(struct cluster *self, unsigned a, unsigned b, bool cut)
{
    self->cut[a][b] = cut;
    self->cut[b][a] = cut;
}

void cluster_isolate(struct cluster *self, unsigned node, bool cut)
{
    for (unsigned other = 1; other < CLUSTER_NODES; other++) {
        if (other != node) {
            cluster_cut(self, node, other, cut);
        }
    }
}

/* --- what tests do --- */

struct envelope *cluster_post(struct cluster *self, unsigned type, unsigned from, unsigned to,
                              raft_term term)
{
    ck_assert_uint_lt(self->queue_count, CLUSTER_QUEUE);
    struct envelope *envelope = &self->queue[self->queue_count++];
    memset(envelope, 0, sizeof(*envelope));
    envelope->message.type = (uint8_t) type;
    envelope->message.group = 7;
    envelope->message.from = cluster_id(self, from);
    envelope->message.to = cluster_id(self, to);
    envelope->message.term = term;
    return envelope;
}

struct envelope *cluster_find(struct cluster *self, unsigned type, unsigned to)
{
    for (unsigned i = self->queue_count; i-- > 0;) {
        if (self->queue[i].message.type == type && self->queue[i].message.to.node == to) {
            return &self->queue[i];
        }
    }
    return NULL;
}

void node_disk_put(struct cluster *self, unsigned node, raft_term term,
                   const struct raft_members *members)
{
    struct image *disk = self->node[node].disk;
    struct entry *entry = &disk->entry[++disk->last];
    memset(entry, 0, sizeof(*entry));
    entry->term = term;
    entry->value = term * 1000 + disk->last;
    entry->bytes = 100;
    if (members != NULL) {
        entry->type = RAFT_ENTRY_CONFIG;
        entry->members = members_keep(self, members);
    }
    disk->term = disk->term > term ? disk->term : term;
}

static void pair_beat(struct cluster *self, unsigned a, unsigned b)
{
    struct node *one = &self->node[a];
    struct node *two = &self->node[b];
    if (one->up && two->up && !self->cut[a][b] && !self->cut[b][a]) {
        if (self->beat[a][b] == 0) {
            raft_session(one->raft, self->now, b, true);
            raft_session(two->raft, self->now, a, true);
        }
        raft_session_contact(one->raft, b, self->now);
        raft_session_contact(two->raft, a, self->now);
        self->beat[a][b] = self->now;
    } else if (self->beat[a][b] != 0 && self->now > self->beat[a][b] + 150000) {
        self->beat[a][b] = 0;
        if (one->up) {
            raft_session(one->raft, self->now, b, false);
        }
        if (two->up) {
            raft_session(two->raft, self->now, a, false);
        }
    }
}

void cluster_beat(struct cluster *self)
{
    for (unsigned a = 1; a < CLUSTER_NODES; a++) {
        for (unsigned b = a + 1; b < CLUSTER_NODES; b++) {
            pair_beat(self, a, b);
        }
    }
}

void cluster_drain(struct cluster *self)
{
    for (unsigned node = 1; node < CLUSTER_NODES; node++) {
        if (self->node[node].up) {
            node_drain(self, node);
        }
    }
}

void cluster_deliver_all(struct cluster *self)
{
    for (unsigned count = self->queue_count; count > 0; count--) {
        cluster_deliver(self, 0);
    }
}

void cluster_drop_all(struct cluster *self)
{
    self->queue_count = 0;
}

unsigned cluster_leader(const struct cluster *self)
{
    unsigned leader = 0;
    raft_term term = 0;
    for (unsigned node = 1; node < CLUSTER_NODES; node++) {
        const struct node *own = &self->node[node];
        if (own->up && raft_state_of(own->raft) == RAFT_LEADER && raft_term_of(own->raft) > term) {
            leader = node;
            term = raft_term_of(own->raft);
        }
    }
    return leader;
}

unsigned cluster_wait_leader(struct cluster *self)
{
    for (unsigned i = 0; i < 200; i++) {
        unsigned leader = cluster_leader(self);
        if (leader != 0) {
            struct raft_status status = cluster_status(self, leader);
            if (status.commit == status.last) {
                return leader;
            }
        }
        cluster_run(self, 20000);
    }
    for (unsigned node = 1; node < CLUSTER_NODES; node++) {
        if (self->node[node].up) {
            node_dump(self, node);
        }
    }
    ck_abort_msg("no leader within four seconds");
    return 0;
}

struct cluster *cluster_led(unsigned count, unsigned leader,
                            void (*configure)(struct raft_config *config))
{
    struct cluster *self = cluster_new(count, configure);
    cluster_bootstrap(self, &"vvvvvvv"[7 - count]);
    cluster_settle(self);
    if (count > 1) {
        ck_assert_int_eq(raft_campaign(self->node[leader].raft), 0);
    }
    cluster_settle(self);
    ck_assert_uint_eq(cluster_leader(self), leader);
    return self;
}

int cluster_propose(struct cluster *self, unsigned node, uint64_t *ret_value)
{
    struct raft_entry entry = {.bytes = 100};
    raft_index first = 0;
    int error = raft_propose(self->node[node].raft, &entry, 1, &first);
    if (error == 0) {
        *ret_value = ++self->next_value;
        memory_put(&self->node[node], first,
                   (struct entry){.term = entry.term, .bytes = entry.bytes, .value = *ret_value});
    }
    return error;
}

void cluster_put(struct cluster *self, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t value = 0;
        ck_assert_int_eq(cluster_propose(self, cluster_leader(self), &value), 0);
    }
    cluster_settle(self);
}

int cluster_change_to(struct cluster *self, unsigned node, const struct raft_members *target)
{
    raft_index index = 0;
    struct raft_members members;
    struct node *own = &self->node[node];
    int error = raft_propose_config(own->raft, target, &index, &members);
    if (error == 0) {
        memory_put(own, index,
                   (struct entry){.term = raft_term_of(own->raft),
                                  .type = RAFT_ENTRY_CONFIG,
                                  .members = members_keep(self, &members)});
    }
    return error;
}

int cluster_change(struct cluster *self, unsigned node, const char *roles)
{
    struct raft_members target = cluster_members(self, roles);
    return cluster_change_to(self, node, &target);
}

bool cluster_agrees(struct cluster *self)
{
    for (unsigned node = 1; node < CLUSTER_NODES; node++) {
        const struct node *own = &self->node[node];
        if (own->up && own->memory->last != 0) {
            const struct raft_status status = cluster_status(self, node);
            if (own->state.index != self->committed_last || status.last != self->committed_last) {
                return false;
            }
            const struct node *leader = &self->node[cluster_leader(self)];
            if (leader->state.hash != own->state.hash) {
                return false;
            }
        }
    }
    return true;
}

struct raft_status cluster_status(const struct cluster *self, unsigned node)
{
    struct raft_status status;
    raft_status_read(self->node[node].raft, &status);
    return status;
}

struct raft_progress cluster_progress(const struct cluster *self, unsigned node, unsigned of)
{
    struct raft_progress progress;
    for (unsigned i = 0; raft_progress_read(self->node[node].raft, i, &progress); i++) {
        if (progress.member.id.node == of) {
            return progress;
        }
    }
    ck_abort_msg("node %u has no peer %u", node, of);
    return progress;
}
