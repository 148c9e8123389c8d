/* raft_bench: what common/raft costs, by the definition of docs/raft.md: three replicas in one thread and process, no disk, no network; the payload is made by the client
 * and copied once a follower; an append completes at the next turn; done is applied on all three. CPU of all three, user and system.
 *
 * Usage: raft_bench [ENTRIES [BYTES]]. Prints ns and messages an entry at 1 outstanding, at 64 submitted singly, and at 64 submitted as one; then with an entry outstanding until the last of
 * the three has applied it, which needs the commit index told at once. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/raft/raft.h"

enum { NODES = 3, RING = 1024, QUEUE = 32, BATCH = 256 };

struct slot {
    struct raft_entry entry;
    void *payload;
};

struct envelope {
    struct raft_message message;
    struct raft_entry entries[BATCH];
    void *payload[BATCH];
};

struct replica {
    struct raft *raft;
    struct slot *ring; /* the newest RING entries */
    raft_index last;
    raft_index applied;
    uint64_t wseq; /* to complete at the next turn */
    bool dirty;    /* had an input since it was drained */
};

struct bench {
    struct replica node[NODES + 1];
    struct envelope *queue;
    unsigned head, tail; /* of the queue, as a ring */
    /* Not on the stack: what hardening clears there at each call costs as much as an entry. */
    struct raft_output output;
    struct raft_entry batch_entries[BATCH];
    uint64_t messages;
    uint32_t bytes;
    struct raft_members members;
    /* The client: knows what the leader has applied, and proposes there and then. */
    uint64_t entries;
    uint64_t proposed;
    raft_index base;
    unsigned depth, batch;
    bool on_all; /* an entry is outstanding until all three have applied it */
};

static void bench_propose(struct bench *self, unsigned count);

static void bench_client(struct bench *self)
{
    raft_index applied = self->node[1].applied;
    for (unsigned node = 2; node <= NODES && self->on_all; node++) {
        applied = self->node[node].applied < applied ? self->node[node].applied : applied;
    }
    raft_index done = applied > self->base ? applied - self->base : 0;
    while (self->proposed < self->entries && self->proposed - done + self->batch <= self->depth) {
        bench_propose(self, self->batch);
        self->proposed += self->batch;
    }
}

static struct slot *slot_at(struct replica *node, raft_index index)
{
    return &node->ring[index % RING];
}

static raft_term log_term_at(void *ud, raft_index index)
{
    return slot_at(ud, index)->entry.term;
}

static raft_index log_cut(void *ud, raft_index first, raft_index last, uint32_t bytes_max,
                          uint32_t *ret_bytes)
{
    uint32_t bytes = slot_at(ud, first)->entry.bytes;
    while (first < last && bytes + slot_at(ud, first + 1)->entry.bytes <= bytes_max) {
        bytes += slot_at(ud, ++first)->entry.bytes;
    }
    *ret_bytes = bytes;
    return first;
}

static struct raft_members *the_members;

static raft_index log_members_at(void *ud, raft_index index, struct raft_members *ret_members)
{
    (void) ud;
    (void) index;
    *ret_members = *the_members;
    return 1;
}

static struct raft_snapshot log_snapshot(void *ud)
{
    (void) ud;
    return (struct raft_snapshot){0, 0, 0};
}

static const struct raft_log log_reads = {log_term_at, log_cut, log_members_at, log_snapshot};

static void log_put(struct replica *node, raft_index index, const struct raft_entry *entry,
                    void *payload)
{
    struct slot *slot = slot_at(node, index);
    free(slot->payload);
    slot->entry = *entry;
    slot->payload = payload;
    node->last = index;
}

static void bench_send(struct bench *self, struct replica *node, const struct raft_message *message)
{
    if (self->tail - self->head == QUEUE) {
        (void) fprintf(stderr, "raft_bench: more than %d messages wait\n", QUEUE);
        exit(1);
    }
    struct envelope *envelope = &self->queue[self->tail++ % QUEUE];
    envelope->message = *message;
    self->messages++;
    for (unsigned i = 0; i < message->count; i++) {
        struct slot *slot = slot_at(node, message->index + 1 + i);
        envelope->entries[i] = slot->entry;
        envelope->payload[i] = NULL;
        if (slot->entry.bytes != 0) { /* as decoding would */
            envelope->payload[i] = malloc(slot->entry.bytes);
            memcpy(envelope->payload[i], slot->payload, slot->entry.bytes);
        }
    }
}

static void bench_drain(struct bench *self, unsigned which)
{
    struct replica *node = &self->node[which];
    node->dirty = false;
    while (raft_drain(node->raft, &self->output)) {
        const struct raft_output *output = &self->output;
        switch (output->type) {
        case RAFT_OUTPUT_ENTRY:
            log_put(node, output->entry.index, &output->entry.entry, NULL);
            break;
        case RAFT_OUTPUT_WRITE:
            node->wseq = output->write.wseq;
            break;
        case RAFT_OUTPUT_COMMIT:
            node->applied = output->commit;
            raft_applied(node->raft, output->commit);
            if ((which == 1 || self->on_all) && self->entries != 0) {
                bench_client(self);
            }
            break;
        case RAFT_OUTPUT_SEND:
            bench_send(self, node, &output->message);
            break;
        case RAFT_OUTPUT_STATE:
        case RAFT_OUTPUT_MEMBERS:
        case RAFT_OUTPUT_READ:
        default:
            break;
        }
    }
}

static void bench_deliver(struct bench *self)
{
    struct envelope *envelope = &self->queue[self->head++ % QUEUE];
    unsigned to = envelope->message.to.node;
    struct raft_taken taken;
    envelope->message.entries = envelope->entries;
    if (envelope->message.count != 0) {
        for (unsigned i = 0; i < envelope->message.count; i++) {
            envelope->entries[i].members =
                envelope->entries[i].type == RAFT_ENTRY_CONFIG ? &self->members : NULL;
        }
    }
    self->node[to].dirty = true;
    (void) raft_recv(self->node[to].raft, 1, &envelope->message, &taken);
    for (uint32_t i = 0; i < taken.count; i++) {
        log_put(&self->node[to], taken.first + i, &envelope->entries[taken.skip + i],
                envelope->payload[taken.skip + i]);
        envelope->payload[taken.skip + i] = NULL;
    }
    for (unsigned i = 0; i < envelope->message.count; i++) {
        free(envelope->payload[i]);
    }
}

/* One turn: writes complete, what waits is delivered, all drain. */
static void bench_turn(struct bench *self)
{
    for (unsigned node = 1; node <= NODES; node++) {
        if (self->node[node].dirty) {
            bench_drain(self, node);
        }
    }
    unsigned waiting = self->tail - self->head;
    for (unsigned node = 1; node <= NODES; node++) {
        if (self->node[node].wseq != 0) {
            raft_persisted(self->node[node].raft, self->node[node].wseq);
            self->node[node].dirty = true;
            self->node[node].wseq = 0;
        }
    }
    for (; waiting > 0; waiting--) {
        bench_deliver(self);
    }
}

static void bench_open(struct bench *self, uint32_t bytes)
{
    memset(self, 0, sizeof(*self));
    self->bytes = bytes;
    self->queue = calloc(QUEUE, sizeof(self->queue[0]));
    the_members = &self->members;
    for (uint32_t node = 1; node <= NODES; node++) {
        (void) raft_members_put(&self->members, (struct raft_id){node, 1}, RAFT_VOTER, 1);
    }
    for (uint32_t node = 1; node <= NODES; node++) {
        struct raft_config config;
        struct raft_boot boot;
        struct raft_entry entry = {.term = 1, .type = RAFT_ENTRY_CONFIG, .members = &self->members};
        raft_config_init(&config);
        memset(&boot, 0, sizeof(boot));
        config.id = (struct raft_id){node, 1};
        config.seed = node;
        config.message_entries_max = BATCH;
        self->node[node].ring = calloc(RING, sizeof(struct slot));
        size_t size = raft_size(&config);
        (void) raft_init(calloc(1, size), size, &config, &boot, &log_reads, &self->node[node], 1,
                         &self->node[node].raft);
        (void) raft_bootstrap(self->node[node].raft, &self->members);
        log_put(&self->node[node], 1, &entry, NULL);
    }
    (void) raft_campaign(self->node[1].raft);
    self->node[1].dirty = true;
    for (unsigned i = 0; i < 20; i++) {
        bench_turn(self);
    }
}

static void bench_close(struct bench *self)
{
    for (unsigned node = 1; node <= NODES; node++) {
        for (unsigned i = 0; i < RING; i++) {
            free(self->node[node].ring[i].payload);
        }
        free(self->node[node].ring);
        free(self->node[node].raft);
    }
    free(self->queue);
}

static void bench_propose(struct bench *self, unsigned count)
{
    struct raft_entry *entries = self->batch_entries;
    raft_index first = 0;
    for (unsigned i = 0; i < count; i++) {
        entries[i] = (struct raft_entry){.bytes = self->bytes};
    }
    if (raft_propose(self->node[1].raft, entries, count, &first) != 0) {
        (void) fprintf(stderr, "raft_bench: a proposal was refused\n");
        exit(1);
    }
    self->node[1].dirty = true;
    for (unsigned i = 0; i < count; i++) {
        void *payload = malloc(self->bytes);
        memset(payload, (int) i, self->bytes);
        log_put(&self->node[1], first + i, &entries[i], payload);
    }
}

static double cpu_ns(void)
{
    struct rusage usage;
    (void) getrusage(RUSAGE_SELF, &usage);
    return (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e9 +
           (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e3;
}

/* `depth` outstanding (the leader, or all three, have not applied them), proposed `batch` at a time. */
static void bench_run(uint64_t entries, uint32_t bytes, unsigned depth, unsigned batch, bool on_all)
{
    double best = 0;
    double messages = 0;
    for (unsigned run = 0; run < 5; run++) {
        struct bench bench;
        bench_open(&bench, bytes);
        uint64_t before = bench.messages;
        bench.base = bench.node[1].last;
        bench.entries = entries;
        bench.depth = depth;
        bench.batch = batch;
        bench.on_all = on_all;
        double start = cpu_ns();
        bench_client(&bench);
        raft_index end = bench.base + entries;
        while (bench.node[1].applied < end || bench.node[2].applied < end ||
               bench.node[3].applied < end) {
            bench_turn(&bench);
        }
        double ns = (cpu_ns() - start) / (double) entries;
        best = run == 0 || ns < best ? ns : best;
        messages = (double) (bench.messages - before) / (double) entries;
        bench_close(&bench);
    }
    (void) printf("%4u B  %2u outstanding, %2u at once: %7.1f ns/entry  %.3f messages/entry%s\n",
                  bytes, depth, batch, best, messages,
                  on_all ? "  until applied on all three" : "");
}

int main(int argc, char **argv)
{
    uint64_t entries = argc > 1 ? strtoull(argv[1], NULL, 10) : 300000;
    uint32_t bytes = argc > 2 ? (uint32_t) strtoul(argv[2], NULL, 10) : 16;
    entries -= entries % 64;
    bench_run(entries, bytes, 1, 1, false);
    bench_run(entries, bytes, 64, 1, false);
    bench_run(entries, bytes, 64, 64, false);
    bench_run(entries, bytes, 1, 1, true);
    bench_run(entries, bytes, 64, 1, true);
    return 0;
}
