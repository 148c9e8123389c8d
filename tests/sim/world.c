/* world: virtual time and the queue of events; chance, from the seed alone; the table that the checker remembers things in; and the end of a run when something
 * was violated. */
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/invariant.h"
#include "common/base/mem.h"

static void replica_dump(const struct replica *replica)
{
    struct raft_status status;
    struct raft_progress peer;
    raft_status_read(replica->raft, &status);
    (void) printf(
        "  node %u g%u %s t%u vote %u leader %u log %u..%u commit %u applied %u durable %u "
        "members %u reads %u%s%s%s%s%s; disk t%u log %u..%u rot %u suspect %u\n",
        replica->node, replica->group + 1, raft_state_name(status.state), (unsigned) status.term,
        status.vote.node, status.leader.node, (unsigned) status.compacted, (unsigned) status.last,
        (unsigned) status.commit, (unsigned) status.applied, (unsigned) status.durable,
        (unsigned) status.members_index, status.reads, status.joint ? " joint" : "",
        status.voter ? " voter" : "", status.quiesced ? " asleep" : "",
        status.suspect ? " suspect" : "", status.leased ? " leased" : "",
        (unsigned) replica->disk.term, (unsigned) replica->disk.base, (unsigned) replica->disk.last,
        (unsigned) replica->disk.rot_from, (unsigned) replica->disk.suspect_last);
    for (unsigned i = 0; raft_progress_read(replica->raft, i, &peer); i++) {
        static const char *const names[] = {"PROBE", "REPLICATE", "SNAPSHOT"};
        (void) printf("      %u.%u set %x priority %u", peer.member.id.node,
                      peer.member.id.incarnation, peer.member.set, peer.member.priority);
        if (status.state == RAFT_LEADER) {
            (void) printf(" %s match %u next %u in flight %u, %u bytes%s%s", names[peer.state],
                          (unsigned) peer.match, (unsigned) peer.next, peer.inflight_messages,
                          peer.inflight_bytes, peer.departing ? " departing" : "",
                          peer.asleep ? " asleep" : "");
        }
        (void) printf("\n");
    }
}

void sim_dump(const struct sim *self)
{
    for (unsigned n = 1; n <= self->options.nodes; n++) {
        (void) printf("  node %u.%u %s%s%s\n", n, self->node[n].incarnation,
                      self->node[n].up ? "up" : "down", self->core[n] ? " core" : "",
                      self->node[n].paused_until > self->now ? " paused" : "");
        for (unsigned g = 0; g < self->options.groups && self->node[n].up; g++) {
            replica_dump(&self->node[n].replica[g]);
        }
    }
}

_Noreturn void sim_violation(struct sim *self, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = snprintf(self->violation, sizeof(self->violation),
                          "step %" PRIu64 ", %.6f s: ", self->steps, (double) self->now / 1e6);
    (void) vsnprintf(self->violation + length, sizeof(self->violation) - (size_t) length, format,
                     args);
    va_end(args);
    if (self->trace) {
        sim_trace(self, "VIOLATION %s", self->violation);
    }
    if (self->trace && self->out == NULL) {
        sim_dump(self);
    }
    longjmp(self->escape, 1);
}

void sim_trace(const struct sim *self, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (self->out != NULL) { /* scripts: no times, they say too much */
        struct sim *sim = (struct sim *) (uintptr_t) self;
        sim->out_length = sim->out_length > SIM_TEXT - 2000 ? 0 : sim->out_length;
        int length = vsnprintf(sim->out + sim->out_length, 1000, format, args);
        va_end(args);
        sim->out_length += (unsigned) length;
        sim->out[sim->out_length++] = '\n';
        sim->out[sim->out_length] = 0;
        return;
    }
    (void) printf("%10.6f ", (double) self->now / 1e6);
    (void) vprintf(format, args);
    (void) printf("\n");
    va_end(args);
}

uint64_t sim_below(struct sim *self, uint64_t bound)
{
    return bound == 0 ? 0 : prng_below(&self->prng, bound);
}

uint64_t sim_between(struct sim *self, uint64_t low, uint64_t high)
{
    return low + sim_below(self, high - low + 1);
}

bool sim_chance(struct sim *self, unsigned per_mille)
{
    return per_mille != 0 && prng_below(&self->prng, 1000) < per_mille;
}

uint64_t sim_mix(uint64_t a, uint64_t b)
{
    uint64_t z = (a ^ (b + UINT64_C(0x9e3779b97f4a7c15) + (a << 6) + (a >> 2))) *
                 UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 29) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 32;
}

/* --- the queue: a binary heap by time, then by order of arrival --- */

static bool event_before(const struct event *a, const struct event *b)
{
    return a->time < b->time || (a->time == b->time && a->seq < b->seq);
}

void sim_at(struct sim *self, uint64_t time, enum event_type type, unsigned node, unsigned group,
            uint32_t gen, void *data)
{
    if (self->queue_count == self->queue_capacity) {
        self->queue_capacity = self->queue_capacity != 0 ? 2 * self->queue_capacity : 1024;
        self->queue = mem_resize(self->queue, self->queue_capacity, sizeof(self->queue[0]));
    }
    struct event event = {.time = time < self->now ? self->now : time,
                          .seq = self->queue_seq++,
                          .data = data,
                          .gen = gen,
                          .type = (uint8_t) type,
                          .node = (uint8_t) node,
                          .group = (uint8_t) group};
    unsigned at = self->queue_count++;
    while (at > 0 && event_before(&event, &self->queue[(at - 1) / 2])) {
        self->queue[at] = self->queue[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    self->queue[at] = event;
}

static struct event event_pop(struct sim *self)
{
    struct event first = self->queue[0];
    struct event last = self->queue[--self->queue_count];
    unsigned at = 0;
    for (;;) {
        unsigned child = 2 * at + 1;
        if (child >= self->queue_count) {
            break;
        }
        if (child + 1 < self->queue_count &&
            event_before(&self->queue[child + 1], &self->queue[child])) {
            child++;
        }
        if (!event_before(&self->queue[child], &last)) {
            break;
        }
        self->queue[at] = self->queue[child];
        at = child;
    }
    self->queue[at] = last;
    return first;
}

/* --- map --- */

uint64_t *map_find(struct map *self, uint64_t key)
{
    for (uint64_t at = sim_mix(key, 1);; at++) {
        struct map_slot *slot = &self->slot[at % MAP_SLOTS];
        if (slot->stamp != self->stamp) {
            return NULL;
        }
        if (slot->key == key) {
            return &slot->value;
        }
    }
}

void map_put(struct map *self, uint64_t key, uint64_t value)
{
    INVARIANT(self->count < MAP_SLOTS * 3 / 4);
    uint64_t at = sim_mix(key, 1);
    while (self->slot[at % MAP_SLOTS].stamp == self->stamp &&
           self->slot[at % MAP_SLOTS].key != key) {
        at++;
    }
    struct map_slot *slot = &self->slot[at % MAP_SLOTS];
    self->count += slot->stamp != self->stamp;
    slot->stamp = self->stamp;
    slot->key = key;
    slot->value = value;
}

void map_clear(struct map *self)
{
    if (self->slot == NULL) {
        self->slot = mem_new_array(MAP_SLOTS, sizeof(self->slot[0]));
    }
    self->stamp++;
    self->count = 0;
}

/* --- dispatch --- */

/* A paused node does nothing: what is for it waits. */
static bool event_waits(struct sim *self, const struct event *event)
{
    if (event->node == 0) {
        return false;
    }
    const struct node *node = &self->node[event->node];
    bool about_node =
        event->type <= EVENT_APPLY || event->type == EVENT_ARRIVE || event->type == EVENT_SNAPSHOT;
    if (!about_node || event->type == EVENT_DISK || node->paused_until <= self->now) {
        return false;
    }
    sim_at(self, node->paused_until, (enum event_type) event->type, event->node, event->group,
           event->gen, event->data);
    return true;
}

static void event_handle(struct sim *self, const struct event *event)
{
    struct node *node = &self->node[event->node];
    struct replica *replica = &node->replica[event->group];
    bool current = node->up && event->gen == node->boot;
    switch ((enum event_type) event->type) {
    case EVENT_TIMER:
        if (current && replica->wake_at == event->time) {
            replica->wake_at = SIM_NEVER;
            replica_timer(self, replica);
        } else if (current && replica->wake_at <= self->now) {
            replica->wake_at = SIM_NEVER; /* it was paused meanwhile */
            replica_timer(self, replica);
        }
        break;
    case EVENT_MESSAGE:
        network_deliver(self, event->data);
        break;
    case EVENT_BEAT:
        if (node->up && node->session != NULL) {
            node_beat(self, node, event->data);
        }
        mem_free(event->data);
        break;
    case EVENT_BEAT_TIMER:
        if (current && node->beat_at <= self->now) {
            node_beat_timer(self, node);
        }
        break;
    case EVENT_DISK:
        if (current) {
            disk_done(self, node);
        }
        break;
    case EVENT_DRAIN:
        if (current && replica->dirty) {
            replica_drain(self, replica);
        }
        break;
    case EVENT_APPLY:
        if (current) {
            replica_apply(self, replica);
            replica_touch(self, replica);
        }
        break;
    case EVENT_CLIENT:
        client_next(self, event->gen);
        break;
    case EVENT_ARRIVE:
        client_arrive(self, event->gen, event->node);
        break;
    case EVENT_RESPONSE:
        client_response(self, event->gen);
        break;
    case EVENT_TIMEOUT:
        client_timeout(self, event->gen);
        break;
    case EVENT_CHURN:
        churn_next(self, (enum churn_kind) event->gen);
        break;
    case EVENT_BOOT:
        if (!node->up && event->gen == node->boot) {
            node_boot(self, event->node);
        }
        break;
    case EVENT_SNAPSHOT:
        if (current) {
            replica_snapshot_end(self, replica, sim_below(self, 20));
        }
        break;
    case EVENT_END:
    default:
        break;
    }
}

bool sim_step(struct sim *self, uint64_t until)
{
    if (self->queue_count == 0 || self->queue[0].time > until) {
        self->now = until > self->now ? until : self->now;
        return false;
    }
    struct event event = event_pop(self);
    self->now = event.time;
    if (event_waits(self, &event)) {
        return true;
    }
    self->steps++;
    self->count.events++;
    self->digest = sim_mix(self->digest,
                           event.time ^ (uint64_t) event.type << 56 ^ (uint64_t) event.node << 48);
    event_handle(self, &event);
    if (self->steps % 64 == 0) {
        const struct node *node = &self->node[1 + self->steps / 64 % self->options.nodes];
        if (node->up) {
            self->digest = sim_mix(self->digest, raft_hash(node->replica[0].raft));
        }
    }
    return true;
}

static void queue_clear(struct sim *self)
{
    for (unsigned i = 0; i < self->queue_count; i++) {
        if (self->queue[i].type == EVENT_MESSAGE) {
            envelope_free(self, self->queue[i].data);
        } else if (self->queue[i].type == EVENT_BEAT) {
            mem_free(self->queue[i].data);
        }
    }
    self->queue_count = 0;
    self->queue_seq = 0;
    if (self->delivering != NULL) {
        envelope_free(self, self->delivering);
        self->delivering = NULL;
    }
}

/* --- life --- */

struct sim *sim_new(void)
{
    struct sim *self = MEM_NEW(struct sim);
    self->members = MEM_NEW_ARRAY(SIM_MEMBERS, struct raft_members);
    self->op = MEM_NEW_ARRAY(SIM_OPS, struct op);
    self->manual_queue = mem_new_array(1024, sizeof(self->manual_queue[0]));
    for (unsigned g = 0; g < SIM_GROUPS; g++) {
        self->truth[g].committed = MEM_NEW_ARRAY(SIM_INDEXES, struct committed);
        self->truth[g].leader_of = MEM_NEW_ARRAY(SIM_TERMS, struct raft_id);
    }
    return self;
}

void sim_destroy(struct sim **self)
{
    struct sim *sim = *self;
    if (sim == NULL) {
        return;
    }
    sim_reset(sim, 0);
    for (unsigned n = 1; n < SIM_NODES; n++) {
        struct node *node = &sim->node[n];
        mem_free(node->session);
        mem_free(node->job);
        for (unsigned g = 0; g < SIM_GROUPS; g++) {
            struct replica *replica = &node->replica[g];
            mem_free(replica->raft);
            mem_free(replica->memory.entry);
            mem_free(replica->disk.entry);
            mem_free(replica->waiting);
            mem_free(replica->waiting_boot);
        }
    }
    while (sim->free_envelopes != NULL) {
        struct envelope *next = sim->free_envelopes->next;
        mem_free(sim->free_envelopes);
        sim->free_envelopes = next;
    }
    for (unsigned i = 0; i < sim->free_job_count; i++) {
        mem_free(sim->free_jobs[i]->entry);
        mem_free(sim->free_jobs[i]);
    }
    for (unsigned g = 0; g < SIM_GROUPS; g++) {
        mem_free(sim->truth[g].committed);
        mem_free(sim->truth[g].leader_of);
    }
    mem_free(sim->entries.slot);
    mem_free(sim->votes.slot);
    mem_free(sim->acked.slot);
    mem_free(sim->orders.slot);
    mem_free(sim->grants.slot);
    mem_free(sim->queue);
    mem_free(sim->members);
    mem_free(sim->op);
    mem_free(sim->manual_queue);
    MEM_FREE(*self);
}

void sim_reset(struct sim *self, uint64_t seed)
{
    queue_clear(self);
    for (unsigned i = 0; i < self->manual_count; i++) {
        envelope_free(self, self->manual_queue[i]);
    }
    self->manual_count = 0;
    for (unsigned n = 1; n < SIM_NODES; n++) {
        struct node *node = &self->node[n];
        disk_clear(self, node);
        node->up = false;
        node->incarnation = 1;
        node->boot = 0;
        node->paused_until = 0;
        node->disk_stalled_until = 0;
        node->fails_next = false;
        node->epoch = 0;
        for (unsigned g = 0; g < SIM_GROUPS; g++) {
            node->hollow_once[g] = false;
            image_clear(&node->replica[g].disk);
            memset(&node->replica[g].seen, 0, sizeof(node->replica[g].seen));
            memset(&node->checkpoint[g], 0, sizeof(node->checkpoint[g]));
        }
    }
    for (unsigned g = 0; g < SIM_GROUPS; g++) {
        struct truth *truth = &self->truth[g];
        memset(truth->leader_of, 0, (truth->term_max + 1) * sizeof(truth->leader_of[0]));
        truth->last = 0;
        truth->members_at = 0;
        truth->term_max = 0;
        truth->exempt = false;
        memset(truth->floor, 0, sizeof(truth->floor));
    }
    map_clear(&self->entries);
    map_clear(&self->votes);
    map_clear(&self->acked);
    map_clear(&self->orders);
    map_clear(&self->grants);
    memset(self->cut, 0, sizeof(self->cut));
    memset(self->core, 0, sizeof(self->core));
    memset(self->client_hint, 0, sizeof(self->client_hint));
    self->seed = seed;
    self->runs++;
    self->now = 1000000;
    self->steps = 0;
    self->digest = seed;
    self->stopping = false;
    self->manual = false;
    self->member_count = 0;
    self->op_count = 0;
    self->filler = 0;
    self->violation[0] = 0;
    prng_init(&self->prng, seed);
}

static void sim_found(struct sim *self)
{
    for (unsigned g = 0; g < self->options.groups; g++) {
        struct raft_members members;
        memset(&members, 0, sizeof(members));
        for (unsigned n = 1; n <= self->options.founders; n++) {
            bool witness = self->options.witness && n == self->options.founders;
            unsigned priority = self->options.config.members_max > 8 && n == 2 ? 2 : 1;
            (void) raft_members_put(&members, node_id(self, n),
                                    witness ? RAFT_VOTER | RAFT_WITNESS : RAFT_VOTER, priority);
            self->node[n].hollow_once[g] = witness;
        }
        bool all = sim_chance(self, 700);
        unsigned one = 1;
        for (unsigned n = 1; n <= self->options.founders; n++) {
            if (all || n == one) {
                (void) replica_bootstrap(self, &self->node[n].replica[g], &members);
            }
        }
    }
}

bool sim_run(struct sim *self, uint64_t seed, const struct options *options)
{
    sim_reset(self, seed);
    if (options != NULL) {
        self->options = *options;
    } else {
        swarm_draw(self, &self->options);
    }
    if (setjmp(self->escape) != 0) {
        return false;
    }
    for (unsigned n = 1; n <= self->options.nodes; n++) {
        node_boot(self, n);
    }
    sim_found(self);
    for (unsigned c = 0; c < self->options.clients; c++) {
        sim_at(self, self->now + sim_below(self, 300000), EVENT_CLIENT, 0, 0, c, NULL);
    }
    churn_start(self);
    uint64_t end = self->now + self->options.safety_us;
    while (sim_step(self, end)) {
        bool full = false;
        for (unsigned g = 0; g < self->options.groups; g++) {
            full = full || self->truth[g].last > SIM_INDEXES - 800;
        }
        if (full) {
            break;
        }
    }
    calm_run(self);
    checker_end(self);
    return true;
}
