/* raft_idle: what sleeping groups cost: GROUPS groups of three replicas on three nodes with their sessions, all idle, for 20 seconds of virtual time. Every
 * replica is asked for its deadline, as a driver would to build its timers; what is due is advanced, what is sent is delivered.
 *
 * Usage: raft_idle [GROUPS]. Prints messages, beats, CPU of one core for all three nodes together, and bytes a replica. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/raft/node.h"
#include "common/raft/raft.h"

enum { NODES = 3, QUEUE = 1 << 20, LOG = 8, SECONDS = 20 };

struct replica {
    struct raft *raft;
    raft_index last;
    raft_term term[LOG];
    raft_time deadline;
};

static struct replica *replicas[NODES + 1]; /* by node, then group */
static struct raft_node *sessions[NODES + 1];
static struct raft_message *queue;
static struct raft_beat beats[64];
static unsigned head, tail, beat_count;
static unsigned groups;
static uint64_t sent, beats_sent;
static raft_time now = 1000000;
static struct raft_members members;

static raft_term log_term_at(void *ud, raft_index index)
{
    const struct replica *replica = ud;
    return index == 0 ? 0 : replica->term[index];
}

static raft_index log_cut(void *ud, raft_index first, raft_index last, uint32_t bytes_max,
                          uint32_t *ret_bytes)
{
    (void) ud;
    (void) first;
    (void) bytes_max;
    *ret_bytes = 0;
    return last;
}

static raft_index log_members_at(void *ud, raft_index index, struct raft_members *ret_members)
{
    (void) ud;
    (void) index;
    *ret_members = members;
    return 1;
}

static struct raft_snapshot log_snapshot(void *ud)
{
    (void) ud;
    return (struct raft_snapshot){0, 0, 0};
}

static const struct raft_log log_reads = {log_term_at, log_cut, log_members_at, log_snapshot};

static struct replica *replica_of(unsigned node, uint64_t group)
{
    return &replicas[node][group];
}

static void log_put(struct replica *replica, raft_index index, raft_term term)
{
    if (index >= LOG) {
        (void) fprintf(stderr, "raft_idle: a group is not idle\n");
        exit(1);
    }
    replica->term[index] = term;
    replica->last = index;
}

static void drain(struct replica *replica)
{
    static struct raft_output output;
    while (raft_drain(replica->raft, &output)) {
        if (output.type == RAFT_OUTPUT_ENTRY) {
            log_put(replica, output.entry.index, output.entry.entry.term);
        } else if (output.type == RAFT_OUTPUT_WRITE) {
            raft_persisted(replica->raft, output.write.wseq);
        } else if (output.type == RAFT_OUTPUT_COMMIT) {
            raft_applied(replica->raft, output.commit);
        } else if (output.type == RAFT_OUTPUT_SEND) {
            queue[tail++ % QUEUE] = output.message;
            sent++;
        }
    }
    replica->deadline = raft_deadline(replica->raft);
}

static void deliver(void)
{
    while (head != tail) {
        struct raft_message message = queue[head++ % QUEUE];
        struct replica *to = replica_of(message.to.node, message.group);
        const struct replica *from = replica_of(message.from.node, message.group);
        struct raft_entry entries[LOG];
        struct raft_taken taken;
        memset(entries, 0, sizeof(entries));
        for (unsigned i = 0; i < message.count; i++) {
            raft_index index = message.index + 1 + i;
            entries[i].term = from->term[index];
            entries[i].type = index == 1 ? RAFT_ENTRY_CONFIG : RAFT_ENTRY_BLANK;
            entries[i].members = index == 1 ? &members : NULL;
        }
        message.entries = entries;
        (void) raft_recv(to->raft, now, &message, &taken);
        for (uint32_t i = 0; i < taken.count; i++) {
            log_put(to, taken.first + i, entries[taken.skip + i].term);
        }
        drain(to);
    }
}

static void session_drain(unsigned node)
{
    struct raft_node_output output;
    while (raft_node_drain(sessions[node], &output)) {
        if (output.type == RAFT_NODE_SEND) {
            beats[beat_count++] = output.beat;
            beats_sent++;
            continue;
        }
        for (unsigned group = 0; group < groups; group++) {
            raft_session(replica_of(node, group)->raft, now, output.node,
                         output.type == RAFT_NODE_UP);
            drain(replica_of(node, group));
        }
    }
}

/* To the next moment at which somebody has something to do, at most `end`. */
static void step(raft_time end)
{
    raft_time next = end;
    for (unsigned node = 1; node <= NODES; node++) {
        raft_time deadline = raft_node_deadline(sessions[node]);
        next = deadline < next ? deadline : next;
    }
    now = next > now ? next : now + 1;
    for (unsigned node = 1; node <= NODES; node++) {
        if (raft_node_deadline(sessions[node]) <= now) {
            raft_node_advance(sessions[node], now);
            session_drain(node);
        }
    }
    while (beat_count != 0) {
        struct raft_beat beat = beats[--beat_count];
        raft_node_recv(sessions[beat.to], now, &beat);
        session_drain(beat.to);
    }
}

/* The driver's timers: groups with a finite deadline. */
static unsigned advance_groups(void)
{
    unsigned awake = 0;
    for (unsigned node = 1; node <= NODES; node++) {
        for (unsigned group = 0; group < groups; group++) {
            struct replica *replica = replica_of(node, group);
            if (replica->deadline == UINT64_MAX) {
                continue;
            }
            awake++;
            if (replica->deadline <= now) {
                raft_advance(replica->raft, now);
                drain(replica);
            }
        }
    }
    return awake;
}

static size_t open_all(void)
{
    size_t size = 0;
    for (uint32_t node = 1; node <= NODES; node++) {
        (void) raft_members_put(&members, (struct raft_id){node, 1}, RAFT_VOTER, 1);
    }
    for (uint32_t node = 1; node <= NODES; node++) {
        struct raft_node_config config = {node, 100 + node, 50000, 150000, NODES};
        size_t session_size = raft_node_size(&config);
        (void) raft_node_init(calloc(1, session_size), session_size, &config, now, &sessions[node]);
        for (uint32_t other = 1; other <= NODES; other++) {
            if (other != node) {
                (void) raft_node_add(sessions[node], other);
            }
        }
        replicas[node] = calloc(groups, sizeof(struct replica));
        for (unsigned group = 0; group < groups; group++) {
            struct replica *replica = replica_of(node, group);
            struct raft_config raft;
            struct raft_boot boot;
            raft_config_init(&raft);
            memset(&boot, 0, sizeof(boot));
            raft.group = group;
            raft.id = (struct raft_id){node, 1};
            raft.seed = node * UINT64_C(1000003) + group;
            raft.quiesce_after_us = 400000;
            size = raft_size(&raft);
            (void) raft_init(calloc(1, size), size, &raft, &boot, &log_reads, replica, now,
                             &replica->raft);
            (void) raft_bootstrap(replica->raft, &members);
            log_put(replica, 1, 1);
            drain(replica);
        }
    }
    return size;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    (void) getrusage(RUSAGE_SELF, &usage);
    return (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

int main(int argc, char **argv)
{
    groups = argc > 1 ? (unsigned) strtoul(argv[1], NULL, 10) : 10000;
    queue = calloc(QUEUE, sizeof(queue[0]));
    size_t size = open_all();
    for (unsigned group = 0; group < groups; group++) { /* leaders spread over the nodes */
        struct replica *replica = replica_of(1 + group % NODES, group);
        (void) raft_campaign(replica->raft);
        drain(replica);
        deliver();
    }
    unsigned awake = 1;
    for (unsigned i = 0; awake != 0 && i < 10000; i++) {
        step(now + 10000);
        awake = advance_groups();
        deliver();
    }
    if (awake != 0) {
        (void) fprintf(stderr, "raft_idle: %u replicas do not sleep\n", awake);
        return 1;
    }
    sent = beats_sent = 0;
    raft_time end = now + SECONDS * UINT64_C(1000000);
    double start = cpu_seconds();
    while (now < end) { /* no replica has a timer: the sessions' are all there is */
        step(end);
    }
    double percent = (cpu_seconds() - start) / SECONDS * 100;
    awake = advance_groups();
    deliver();
    (void) printf(
        "%u idle groups of three, %d s: %llu messages, %llu beats (%.0f a pair and second), "
        "%.4f %% of a core for all nodes, %zu B a replica, %u awake\n",
        groups, SECONDS, (unsigned long long) sent, (unsigned long long) beats_sent,
        (double) beats_sent / SECONDS / NODES, percent, size, awake);
    return 0;
}
