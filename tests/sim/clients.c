/* clients: each asks for one thing at a time, writes with values that are never used twice, reads by whatever node it likes, and waits only so long: what it did not
 * hear about may have happened or not, or happen later. Operation 0 is nobody's; the number of a write is its value. */
#include "tests/sim/sim.h"

#include <string.h>

#include "common/base/err.h"

static uint64_t client_delay(struct sim *self)
{
    return sim_between(self, self->options.delay_us_min, self->options.delay_us_max);
}

static void client_later(struct sim *self, unsigned client)
{
    if (!self->stopping) {
        sim_at(self, self->now + sim_between(self, 1, 2 * (uint64_t) self->options.think_us),
               EVENT_CLIENT, 0, 0, client, NULL);
    }
}

/* The operation is over, as its client sees it. */
static void op_end(struct sim *self, uint32_t number, enum op_state state)
{
    struct op *op = &self->op[number];
    if (op->state != OP_OPEN) {
        return;
    }
    op->state = state;
    op->responded = self->now;
    struct truth *truth = &self->truth[op->group];
    if (state == OP_OK) {
        self->count.reads += !op->write;
        self->count.writes += op->write;
        raft_index seen = op->write        ? op->committed
                          : op->value != 0 ? self->op[op->value].committed
                                           : 0;
        raft_index *floor = &truth->floor[op->key];
        *floor = seen > *floor ? seen : *floor;
    }
    TRACE(self, "client %u: %s %u of g%u key %u by node %u: %s, value %u", op->client,
          op->write ? "write" : "read", number, op->group + 1, op->key, op->node,
          state == OP_OK       ? "ok"
          : state == OP_FAILED ? "failed"
                               : "unknown",
          (unsigned) op->value);
    if (op->client < self->options.clients) {
        client_later(self, op->client);
    }
}

uint32_t client_ask(struct sim *self, unsigned client, unsigned group, unsigned node, bool write)
{
    if (self->op_count + 1 >= SIM_OPS) {
        return 0;
    }
    uint32_t number = ++self->op_count;
    struct op *op = &self->op[number];
    memset(op, 0, sizeof(*op));
    op->write = write;
    op->group = (uint8_t) group;
    op->key = (uint8_t) sim_below(self, SIM_KEYS);
    op->client = (uint8_t) client;
    op->node = (uint8_t) node;
    op->invoked = self->now;
    op->value = write ? number : 0;
    op->floor = self->truth[group].floor[op->key];
    return number;
}

/* A leader whose time is over, if there is one: it must not answer from what it knows. */
static unsigned stale_leader(const struct sim *self, unsigned group)
{
    unsigned stale = 0;
    raft_term lowest = UINT64_MAX;
    unsigned leaders = 0;
    for (unsigned n = 1; n <= self->options.nodes; n++) {
        const struct replica *replica = &self->node[n].replica[group];
        if (self->node[n].up && raft_state_of(replica->raft) == RAFT_LEADER) {
            leaders++;
            if (raft_term_of(replica->raft) < lowest) {
                lowest = raft_term_of(replica->raft);
                stale = n;
            }
        }
    }
    return leaders > 1 ? stale : 0;
}

void client_next(struct sim *self, unsigned client)
{
    if (self->stopping) {
        return;
    }
    unsigned group = (unsigned) sim_below(self, self->options.groups);
    unsigned node = self->client_hint[client][group];
    bool write = !sim_chance(self, self->options.reads);
    if (node == 0 || sim_chance(self, write ? 100 : 400)) {
        node = 1 + (unsigned) sim_below(self, self->options.nodes);
    }
    unsigned stale = sim_chance(self, 400) ? stale_leader(self, group) : 0;
    if (stale != 0) {
        node = stale;
        write = false;
    }
    uint32_t number = client_ask(self, client, group, node, write);
    if (number == 0) {
        return;
    }
    sim_at(self, self->now + 200000 + 4 * (uint64_t) self->options.delay_us_max, EVENT_TIMEOUT, 0,
           0, number, NULL);
    if (!sim_chance(self, self->options.loss / 4)) {
        sim_at(self, self->now + client_delay(self), EVENT_ARRIVE, node, group, number, NULL);
    }
}

/* The node answers: it takes its time, or gets lost. */
static void op_answer(struct sim *self, uint32_t number, bool ok, uint64_t value)
{
    struct op *op = &self->op[number];
    if (op->answered) {
        return;
    }
    op->answered = true;
    op->answer_ok = ok;
    op->answer = value;
    if (!sim_chance(self, self->options.loss / 4)) {
        sim_at(self, self->now + client_delay(self), EVENT_RESPONSE, 0, 0, number, NULL);
    }
}

/* Which life of which process: no two are equal. */
static uint64_t boot_number(const struct sim *self, const struct replica *replica)
{
    return self->runs << 20 | self->node[replica->node].boot;
}

static int arrive_write(struct sim *self, struct replica *replica, uint32_t number)
{
    raft_index index;
    if (replica->memory.last > SIM_INDEXES - 600) {
        return ERR_OVERLOADED;
    }
    uint32_t bytes = (uint32_t) sim_between(self, 10, 300);
    int error = replica_propose(self, replica, number, bytes, &index);
    if (error == 0) {
        replica->waiting[index] = number;
        replica->waiting_boot[index] = boot_number(self, replica);
    }
    return error;
}

static int arrive_read(struct sim *self, struct replica *replica, uint32_t number)
{
    if (replica->machine.hollow || replica->read_count == SIM_READS) {
        return ERR_NOT_LEADER;
    }
    replica_contact(self, replica);
    uint64_t token = ++replica->token;
    int error =
        raft_read(replica->raft, node_clock(self, &self->node[replica->node], self->now), token);
    if (error == 0) {
        replica->read[replica->read_count++] = (struct waiting_read){token, number};
    }
    return error;
}

void client_arrive(struct sim *self, uint32_t number, unsigned node)
{
    struct op *op = &self->op[number];
    struct replica *replica = &self->node[node].replica[op->group];
    if (!self->node[node].up || replica->stopped) {
        return;
    }
    int error =
        op->write ? arrive_write(self, replica, number) : arrive_read(self, replica, number);
    if (error != 0) {
        if (op->client < SIM_CLIENTS) {
            self->client_hint[op->client][op->group] = raft_leader(replica->raft).node;
        }
        op_answer(self, number, false, 0);
        return;
    }
    if (op->client < SIM_CLIENTS) {
        self->client_hint[op->client][op->group] = node;
    }
    checker_step(self, replica);
    replica_touch(self, replica);
}

void client_applied(struct sim *self, struct replica *replica, raft_index index, uint64_t value)
{
    uint32_t number = replica->waiting[index];
    if (number == 0 || replica->waiting_boot[index] != boot_number(self, replica)) {
        return;
    }
    replica->waiting[index] = 0;
    op_answer(self, number, value == number, number);
}

void client_read_done(struct sim *self, struct replica *replica, uint64_t token, raft_index index,
                      int error)
{
    for (unsigned i = 0; i < replica->read_count; i++) {
        if (replica->read[i].token != token) {
            continue;
        }
        uint32_t number = replica->read[i].op;
        replica->read[i] = replica->read[--replica->read_count];
        if (error == 0 && replica->machine.index < index) {
            sim_violation(self, "node %u answers a read of index %u with %u applied", replica->node,
                          (unsigned) index, (unsigned) replica->machine.index);
        }
        bool ok = error == 0 && !replica->machine.hollow;
        op_answer(self, number, ok, ok ? replica->machine.value[self->op[number].key] : 0);
        return;
    }
    sim_violation(self, "node %u answers a read that nobody asked", replica->node);
}

void client_response(struct sim *self, uint32_t number)
{
    struct op *op = &self->op[number];
    if (op->state != OP_OPEN) {
        return;
    }
    if (op->answer_ok && !op->write) {
        op->value = op->answer;
        raft_index seen = op->value == 0 ? 0 : self->op[op->value].committed;
        if (op->value != 0 && (seen == 0 || self->op[op->value].key != op->key)) {
            sim_violation(self, "read %u by node %u saw value %u, which is not committed", number,
                          op->node, (unsigned) op->value);
        }
        if (seen < op->floor) {
            sim_violation(self,
                          "read %u of g%u key %u by node %u saw what was written at %u; when it "
                          "began, the write at %u was known",
                          number, op->group + 1, op->key, op->node, (unsigned) seen,
                          (unsigned) op->floor);
        }
    }
    op_end(self, number, op->answer_ok ? OP_OK : OP_FAILED);
}

void client_timeout(struct sim *self, uint32_t number)
{
    op_end(self, number, OP_UNKNOWN);
}
