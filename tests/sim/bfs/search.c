/* search: every state that three replicas of the real core can reach within small bounds, breadth first. A state is the cores themselves (flat memory), their logs and disks and the
 * messages under way; it is copied, stepped and hashed. Time stands still: who campaigns, and what is delivered, lost, stored or crashes, is the search's choice.
 *
 * What waits to be expanded is kept as the way that leads there, not as a state: a way has a byte a step. Usage: search [--states N] [--depth N] [--terms N] [--entries N]
 * [--crashes N] [--changes N] [--messages N]. Prints how many states, and the way to a violation. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/raft/state.h"

enum {
    NODES = 3,
    LOG = 10,
    FLIGHT = 6,
    BATCH = 4,
    WRITES = 3,
    DEPTH = 46,
    CORE = 1100,
    VISITED = 1 << 24,
};

struct record {
    uint8_t term;
    uint8_t type;
    uint8_t from;    /* who made it */
    uint8_t members; /* CONFIG: number of a configuration */
};

struct disk_log {
    uint8_t last;
    uint8_t term;
    uint8_t vote;
    uint8_t commit;
    struct record entry[LOG];
};

struct pending {
    uint8_t flags;
    uint8_t term;
    uint8_t vote;
    uint8_t commit;
    uint8_t truncate_from;
    uint8_t first;
    uint8_t last;
    uint64_t wseq;
    struct record entry[LOG];
};

struct node {
    _Alignas(8) uint8_t core[CORE];
    struct disk_log memory;
    struct disk_log disk;
    struct pending write[WRITES];
    uint8_t writes;
};

struct flying {
    struct raft_message message;
    struct record entry[BATCH];
};

struct state {
    struct node node[NODES];
    struct flying flying[FLIGHT];
    uint8_t count;
    uint8_t crashes;
    uint8_t changes;
    /* what was, for the checks */
    uint8_t leader_of[LOG];
    uint8_t vote_of[NODES][LOG];
    struct record committed[LOG];
    uint8_t committed_in[LOG];
    uint8_t committed_last;
};

struct way {
    uint8_t step[DEPTH];
    uint8_t length;
};

static struct {
    unsigned states, depth, terms, entries, crashes, changes, messages;
} bound = {300000, DEPTH - 1, 4, 6, 1, 1, 4};

static const char *violated;
static bool too_far; /* the step leaves what a state can hold */
static const char *const members_text[] = {"vvv", "vv.", "v..", ".vv",
                                           "boo"}; /* b: both halves, o: the old */

static struct raft_members members_number(unsigned number)
{
    struct raft_members members;
    memset(&members, 0, sizeof(members));
    for (unsigned n = 0; n < NODES; n++) {
        char letter = members_text[number][n];
        unsigned set = letter == 'v'   ? RAFT_VOTER
                       : letter == 'b' ? RAFT_VOTER | RAFT_OLD
                       : letter == 'o' ? RAFT_OLD
                                       : 0;
        if (set != 0) {
            (void) raft_members_put(&members, (struct raft_id){n + 1, 1}, set, 1);
        }
    }
    return members;
}

static struct raft *core_of(struct node *node)
{
    return (struct raft *) (void *) node->core;
}

static bool broken(bool is_broken, const char *what)
{
    if (is_broken && violated == NULL) {
        violated = what;
    }
    return is_broken;
}

static uint8_t members_find(const struct raft_members *members)
{
    for (unsigned i = 0; i < sizeof(members_text) / sizeof(members_text[0]); i++) {
        struct raft_members known = members_number(i);
        if (raft_members_equal(&known, members)) {
            return (uint8_t) i;
        }
    }
    (void) broken(true, "unknown members");
    return 0;
}

/* --- the log as the core reads it --- */

static raft_term log_term_at(void *ud, raft_index index)
{
    return ((const struct node *) ud)->memory.entry[index].term;
}

static raft_index log_cut(void *ud, raft_index first, raft_index last, uint32_t bytes_max,
                          uint32_t *ret_bytes)
{
    (void) ud;
    (void) bytes_max;
    last = last - first >= BATCH ? first + BATCH - 1 : last;
    *ret_bytes = (uint32_t) (last - first + 1);
    return last;
}

static raft_index log_members_at(void *ud, raft_index index, struct raft_members *ret_members)
{
    const struct disk_log *memory = &((const struct node *) ud)->memory;
    for (; index > 0; index--) {
        if (memory->entry[index].type == RAFT_ENTRY_CONFIG) {
            *ret_members = members_number(memory->entry[index].members);
            return index;
        }
    }
    return 0;
}

static struct raft_snapshot log_snapshot(void *ud)
{
    (void) ud;
    return (struct raft_snapshot){0, 0, 0};
}

static const struct raft_log log_reads = {log_term_at, log_cut, log_members_at, log_snapshot};

/* --- one node --- */

static void node_boot(struct node *node, unsigned number)
{
    struct raft_config config;
    struct raft_boot boot;
    struct raft *raft = NULL;
    raft_config_init(&config);
    config.id = (struct raft_id){number + 1, 1};
    config.group = 1;
    config.members_max = NODES;
    config.reads_max = 1;
    config.message_entries_max = BATCH;
    config.inflight_messages_max = 2;
    config.pre_vote = false;
    config.check_quorum = false;
    memset(&boot, 0, sizeof(boot));
    boot.term = node->disk.term;
    boot.vote = (struct raft_id){node->disk.vote, node->disk.vote != 0};
    boot.last = node->disk.last;
    boot.commit = node->disk.commit;
    node->memory = node->disk;
    node->writes = 0;
    if (raft_init(node->core, sizeof(node->core), &config, &boot, &log_reads, node, 1, &raft) < 0) {
        (void) broken(true, "raft_init");
    }
}

/* Times and counts make states differ that behave alike. */
static void node_normalize(struct node *node)
{
    struct raft *raft = core_of(node);
    raft->now = 1;
    raft->contact = 0;
    raft->random = 1;
    raft->election_deadline = 1000000;
    raft->elections = 0;
    raft->step_downs = 0;
    raft->rejections = 0;
    raft->retries = 0;
    if (raft->state == RAFT_LEADER) {
        raft->lead.activity = 1;
        raft->lead.heartbeat_deadline = 1000000;
        raft->lead.quorum_deadline = 1000000;
    } else {
        raft->owed.ack_sent = 0;
    }
    for (unsigned i = 0; i < raft->peer_count; i++) {
        raft->peer[i].contact = 0;
        raft->peer[i].sent = 1;
    }
}

static void memory_put(struct node *node, raft_index index, struct record record)
{
    if (broken(index > node->memory.last + 1u, "an entry does not fit") || index >= LOG) {
        too_far = true;
        return;
    }
    node->memory.entry[index] = record;
    node->memory.last = (uint8_t) index;
}

static void check_send(struct state *state, unsigned number, const struct raft_message *message)
{
    struct node *node = &state->node[number];
    bool grants =
        message->type == RAFT_MESSAGE_VOTE_REPLY && (message->flags & RAFT_FLAG_REJECT) == 0;
    (void) broken(message->term > node->disk.term, "a message before its term is durable");
    if ((grants || message->type == RAFT_MESSAGE_VOTE) && message->term < LOG) {
        uint8_t whom = (uint8_t) (grants ? message->to.node : message->from.node);
        uint8_t *vote = &state->vote_of[number][message->term];
        (void) broken(*vote != 0 && *vote != whom, "two votes in a term");
        (void) broken(node->disk.term == message->term && node->disk.vote != whom,
                      "a vote before it is durable");
        *vote = whom;
    }
    if (message->type == RAFT_MESSAGE_APPEND_REPLY && (message->flags & RAFT_FLAG_REJECT) == 0) {
        bool has = message->index <= node->disk.last &&
                   node->disk.entry[message->index].term == node->memory.entry[message->index].term;
        (void) broken(message->index != 0 && !has, "an acknowledgement before it is durable");
    }
}

static void node_send(struct state *state, unsigned number, const struct raft_message *message)
{
    check_send(state, number, message);
    if (state->count >= bound.messages || message->to.node > NODES) {
        return; /* lost, as messages may be */
    }
    struct flying *flying = &state->flying[state->count++];
    memset(flying, 0, sizeof(*flying));
    flying->message = *message;
    flying->message.sent = 0;
    flying->message.entries = NULL;
    for (unsigned i = 0; i < message->count; i++) {
        flying->entry[i] = state->node[number].memory.entry[message->index + 1 + i];
    }
}

static void node_write(struct node *node, const struct raft_write *write)
{
    if (node->writes == WRITES) {
        too_far = true;
        return;
    }
    struct pending *pending = &node->write[node->writes++];
    memset(pending, 0, sizeof(*pending));
    pending->flags = (uint8_t) write->flags;
    pending->term = (uint8_t) write->term;
    pending->vote = (uint8_t) write->vote.node;
    pending->commit = (uint8_t) write->commit;
    pending->truncate_from = (uint8_t) write->truncate_from;
    pending->first = (uint8_t) write->first;
    pending->last = (uint8_t) write->last;
    pending->wseq = write->wseq;
    for (unsigned i = pending->first; i != 0 && i <= pending->last; i++) {
        pending->entry[i] = node->memory.entry[i];
    }
}

static void node_drain(struct state *state, unsigned number)
{
    struct node *node = &state->node[number];
    struct raft *raft = core_of(node);
    struct raft_output output;
    while (violated == NULL && !too_far && raft_drain(raft, &output)) {
        switch (output.type) {
        case RAFT_OUTPUT_ENTRY:
            memory_put(node, output.entry.index,
                       (struct record){.term = (uint8_t) output.entry.entry.term,
                                       .type = output.entry.entry.type,
                                       .from = (uint8_t) number,
                                       .members = output.entry.entry.members != NULL
                                                      ? members_find(output.entry.entry.members)
                                                      : 0});
            break;
        case RAFT_OUTPUT_WRITE:
            node_write(node, &output.write);
            break;
        case RAFT_OUTPUT_COMMIT:
            raft_applied(raft, output.commit);
            break;
        case RAFT_OUTPUT_SEND:
            node_send(state, number, &output.message);
            break;
        case RAFT_OUTPUT_STATE:
        case RAFT_OUTPUT_MEMBERS:
        case RAFT_OUTPUT_READ:
        default:
            break;
        }
    }
}

/* --- what must hold --- */

static bool record_equal(const struct record *a, const struct record *b)
{
    return a->term == b->term && a->from == b->from && a->type == b->type &&
           a->members == b->members;
}

static void check_commit(struct state *state, unsigned number, const struct raft_status *status)
{
    const struct node *node = &state->node[number];
    for (uint8_t i = 1; i <= status->commit && i < LOG; i++) {
        if (i > state->committed_last) {
            (void) broken(status->state != RAFT_LEADER, "committed by no leader");
            state->committed[i] = node->memory.entry[i];
            state->committed_in[i] = (uint8_t) status->term;
            state->committed_last = i;
        }
        (void) broken(!record_equal(&state->committed[i], &node->memory.entry[i]),
                      "State Machine Safety");
    }
}

static void check_leader(struct state *state, unsigned number, const struct raft_status *status)
{
    uint8_t *leader = &state->leader_of[status->term % LOG];
    (void) broken(*leader != 0 && *leader != number + 1, "Election Safety");
    if (*leader != 0) {
        return;
    }
    *leader = (uint8_t) (number + 1);
    for (uint8_t i = 1; i <= state->committed_last; i++) {
        if (state->committed_in[i] < status->term) {
            (void) broken(i > status->last || !record_equal(&state->committed[i],
                                                            &state->node[number].memory.entry[i]),
                          "Leader Completeness");
        }
    }
}

static void check_logs(const struct disk_log *a, const struct disk_log *b)
{
    uint8_t last = a->last < b->last ? a->last : b->last;
    bool same = false;
    for (uint8_t i = last; i > 0; i--) {
        same = same || a->entry[i].term == b->entry[i].term;
        (void) broken(same && !record_equal(&a->entry[i], &b->entry[i]), "Log Matching");
    }
}

static void state_check(struct state *state)
{
    for (unsigned pass = 0; pass < 2; pass++) { /* leaders commit first */
        for (unsigned n = 0; n < NODES; n++) {
            struct raft *raft = core_of(&state->node[n]);
            struct raft_status status;
            raft_status_read(raft, &status);
            if ((status.state == RAFT_LEADER) != (pass == 0)) {
                continue;
            }
            const char *wrong = raft_check(raft);
            (void) broken(wrong != NULL, wrong);
            if (pass == 0) {
                check_leader(state, n, &status);
            }
            check_commit(state, n, &status);
        }
    }
    for (unsigned a = 0; a < NODES; a++) {
        for (unsigned b = a + 1; b < NODES; b++) {
            check_logs(&state->node[a].memory, &state->node[b].memory);
        }
    }
}

/* --- steps: a byte each --- */

enum {
    CAMPAIGN = 0,
    STORE = 10,
    CRASH = 20,
    PROPOSE = 30,
    CHANGE = 40,
    BEAT = 60,
    DELIVER = 70,
    LOSE = 80,
    STEPS = 90
};

static void disk_store(struct node *node)
{
    const struct pending *write = &node->write[0];
    struct disk_log *disk = &node->disk;
    if ((write->flags & RAFT_WRITE_HARD) != 0) {
        disk->term = write->term;
        disk->vote = write->vote;
    }
    disk->commit = write->commit > disk->commit ? write->commit : disk->commit;
    if ((write->flags & RAFT_WRITE_TRUNCATE) != 0) {
        disk->last = (uint8_t) (write->truncate_from - 1);
    }
    for (uint8_t i = write->first; i != 0 && i <= write->last; i++) {
        disk->entry[i] = write->entry[i];
        disk->last = i;
    }
    uint64_t wseq = write->wseq;
    node->writes--;
    memmove(&node->write[0], &node->write[1], node->writes * sizeof(node->write[0]));
    memset(&node->write[node->writes], 0, sizeof(node->write[0]));
    raft_persisted(core_of(node), wseq);
}

static void message_deliver(struct state *state, const struct flying *flying)
{
    struct node *node = &state->node[flying->message.to.node - 1];
    struct raft_message message = flying->message;
    struct raft_entry entries[BATCH];
    struct raft_members members[BATCH];
    struct raft_taken taken;
    for (unsigned i = 0; i < message.count; i++) {
        members[i] = members_number(flying->entry[i].members);
        entries[i] = (struct raft_entry){
            .term = flying->entry[i].term,
            .bytes = 1,
            .type = flying->entry[i].type,
            .members = flying->entry[i].type == RAFT_ENTRY_CONFIG ? &members[i] : NULL};
    }
    message.entries = entries;
    (void) broken(raft_recv(core_of(node), 1, &message, &taken) < 0, "a message is refused");
    for (unsigned i = 0; i < taken.count; i++) {
        if (i == 0 && taken.first <= node->memory.last) {
            node->memory.last = (uint8_t) (taken.first - 1);
        }
        memory_put(node, taken.first + i, flying->entry[taken.skip + i]);
    }
}

static bool step_propose(struct node *node, unsigned number)
{
    struct raft_entry entry = {.bytes = 1};
    raft_index index = 0;
    if (node->memory.last >= bound.entries || raft_propose(core_of(node), &entry, 1, &index) < 0) {
        return false;
    }
    memory_put(node, index,
               (struct record){.term = (uint8_t) entry.term, .from = (uint8_t) number});
    return true;
}

static bool step_change(struct state *state, unsigned number, unsigned target)
{
    struct node *node = &state->node[number];
    struct raft_members members = members_number(target);
    struct raft_members active;
    raft_index index = 0;
    if (state->changes >= bound.changes || node->memory.last >= bound.entries ||
        raft_propose_config(core_of(node), &members, &index, &active) < 0) {
        return false;
    }
    state->changes++;
    memory_put(node, index,
               (struct record){.term = (uint8_t) raft_term_of(core_of(node)),
                               .type = RAFT_ENTRY_CONFIG,
                               .from = (uint8_t) number,
                               .members = members_find(&active)});
    return true;
}

/* false: this step is not possible here. */
static bool state_step(struct state *state, unsigned step)
{
    too_far = false;
    unsigned kind = step / 10 * 10;
    unsigned which = step % 10;
    unsigned number = kind == CHANGE || kind == CHANGE + 10 ? (step - CHANGE) / 4 : which;
    kind = kind == CHANGE + 10 ? CHANGE : kind;
    if (kind >= DELIVER) {
        if (which >= state->count) {
            return false;
        }
        struct flying flying = state->flying[which];
        number = flying.message.to.node - 1;
        state->count--;
        memmove(&state->flying[which], &state->flying[which + 1],
                (state->count - which) * sizeof(flying));
        memset(&state->flying[state->count], 0, sizeof(flying));
        if (kind == LOSE) {
            return true;
        }
        message_deliver(state, &flying);
    } else if (number >= NODES) {
        return false;
    } else {
        struct node *node = &state->node[number];
        struct raft *raft = core_of(node);
        switch (kind) {
        case CAMPAIGN:
            if (raft->term >= bound.terms || raft_campaign(raft) < 0) {
                return false;
            }
            break;
        case STORE:
            if (node->writes == 0) {
                return false;
            }
            disk_store(node);
            break;
        case CRASH:
            if (state->crashes >= bound.crashes) {
                return false;
            }
            state->crashes++;
            node_boot(node, number);
            break;
        case PROPOSE:
            if (!step_propose(node, number)) {
                return false;
            }
            break;
        case CHANGE:
            if (!step_change(state, number, (step - CHANGE) % 4)) {
                return false;
            }
            break;
        case BEAT:
            if (raft->state != RAFT_LEADER) {
                return false;
            }
            raft_advance(raft, 1000001);
            break;
        default:
            return false;
        }
    }
    node_drain(state, number);
    if (too_far) {
        return false;
    }
    node_normalize(&state->node[number]);
    state_check(state);
    return true;
}

static void state_copy(struct state *to, const struct state *from)
{
    memcpy(to, from, sizeof(*to));
    for (unsigned n = 0; n < NODES; n++) {
        raft_rebind(core_of(&to->node[n]), &log_reads, &to->node[n]);
    }
}

static uint64_t state_hash(struct state *state)
{
    uint64_t hash = state->crashes * 31u + state->changes;
    for (unsigned n = 0; n < NODES; n++) {
        const struct node *node = &state->node[n];
        size_t from = offsetof(struct node, memory);
        hash = hash_bytes(span_make((const uint8_t *) node + from, sizeof(*node) - from), hash);
        hash = hash * UINT64_C(0x9e3779b97f4a7c15) ^ raft_hash(core_of(&state->node[n]));
    }
    uint64_t flying = 0;
    for (unsigned i = 0; i < state->count; i++) { /* in any order */
        flying +=
            hash_bytes(span_make((const uint8_t *) &state->flying[i], sizeof(struct flying)), 7);
    }
    size_t from = offsetof(struct state, leader_of);
    hash = hash_bytes(span_make((const uint8_t *) state + from, sizeof(*state) - from), hash);
    hash ^= flying * UINT64_C(0xbf58476d1ce4e5b9);
    return hash != 0 ? hash : 1;
}

/* --- the search --- */

static bool visit(uint64_t *visited, uint64_t hash)
{
    for (uint64_t at = hash;; at++) {
        uint64_t *slot = &visited[at % VISITED];
        if (*slot == hash) {
            return false;
        }
        if (*slot == 0) {
            *slot = hash;
            return true;
        }
    }
}

static void state_first(struct state *state)
{
    struct raft_members members = members_number(0);
    memset(state, 0, sizeof(*state));
    for (unsigned n = 0; n < NODES; n++) {
        node_boot(&state->node[n], n);
        (void) broken(raft_bootstrap(core_of(&state->node[n]), &members) < 0, "bootstrap");
        memory_put(&state->node[n], 1, (struct record){.term = 1, .type = RAFT_ENTRY_CONFIG});
        node_drain(state, n);
        while (state->node[n].writes != 0) {
            disk_store(&state->node[n]);
        }
        node_drain(state, n);
        node_normalize(&state->node[n]);
    }
    state->count = 0;
}

static void way_print(const struct way *way)
{
    static const char *const names[] = {"campaign", "store", "crash",   "propose", "change",
                                        "change",   "beat",  "deliver", "lose"};
    for (unsigned i = 0; i < way->length; i++) {
        (void) printf("    %s %u\n", names[way->step[i] / 10], way->step[i] % 10);
    }
}

static bool search(void)
{
    struct state first;
    struct state from;
    struct state to;
    uint64_t *visited = MEM_NEW_ARRAY(VISITED, uint64_t);
    struct way *ways = MEM_NEW_ARRAY(bound.states, struct way);
    uint64_t steps = 0;
    unsigned done = 0;
    unsigned count = 1;
    unsigned depth = 0;
    bool capped = false;
    clock_t start = clock();
    state_first(&first);
    (void) visit(visited, state_hash(&first));
    for (; done < count && violated == NULL; done++) {
        const struct way *way = &ways[done];
        state_copy(&from, &first);
        for (unsigned i = 0; i < way->length; i++) {
            (void) state_step(&from, way->step[i]);
        }
        depth = way->length;
        if (way->length >= bound.depth) {
            continue;
        }
        for (unsigned step = 0; step < STEPS && violated == NULL; step++) {
            state_copy(&to, &from);
            if (!state_step(&to, step)) {
                continue;
            }
            steps++;
            struct way next = *way;
            next.step[next.length++] = (uint8_t) step;
            if (violated != NULL) {
                (void) printf("VIOLATION %s, after\n", violated);
                way_print(&next);
            } else if (count == bound.states) {
                capped = true;
            } else if (visit(visited, state_hash(&to))) {
                ways[count++] = next;
            }
        }
    }
    (void) printf("%u states%s, %" PRIu64 " steps, depth %u, %.1f s\n", count,
                  capped ? "" : " (all there are)", steps, depth,
                  (double) (clock() - start) / CLOCKS_PER_SEC);
    mem_free(visited);
    mem_free(ways);
    return violated == NULL;
}

int main(int argc, char **argv)
{
    const struct {
        const char *name;
        unsigned *value;
    } options[] = {{"--states", &bound.states},    {"--depth", &bound.depth},
                   {"--terms", &bound.terms},      {"--entries", &bound.entries},
                   {"--crashes", &bound.crashes},  {"--changes", &bound.changes},
                   {"--messages", &bound.messages}};
    for (int i = 1; i + 1 < argc; i += 2) {
        for (size_t k = 0; k < sizeof(options) / sizeof(options[0]); k++) {
            if (strcmp(argv[i], options[k].name) == 0) {
                *options[k].value = (unsigned) strtoul(argv[i + 1], NULL, 10);
            }
        }
    }
    if (bound.depth >= DEPTH || bound.entries >= LOG - 3 || bound.terms >= LOG ||
        bound.messages > FLIGHT) {
        (void) fprintf(stderr, "search: a bound is too large\n");
        return 2;
    }
    bool well = search();
    (void) printf("%u%%: Checks: 1, Failures: %u, Errors: 0\n", well ? 100 : 0, !well);
    return !well;
}
