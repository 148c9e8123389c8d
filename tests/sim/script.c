/* script: transcripts. A file of commands ("> campaign 1") and, below each, exactly what it must print; UPDATE=1 writes down what it prints now, to be reviewed in the diff. The
 * simulator's own nodes, disks and checks, but nothing happens by itself: the script drains, stores and delivers.
 *
 *   nodes N [NAME=VALUE...]   N pristine nodes (prevote checkquorum lease quiesce entries bytes inflight window chunk catchup copies uncommitted reads)
 *   bootstrap ROLES           v voter, V one that goes before others, 0 one that never leads, l learner, w witness, . nothing; first for node 1
 *   disk N TERM VOTE TERMS..  what node N has on disk: hard state, and a log by the terms of its entries (the first is the configuration of all as voters)
 *   crash N | boot N | wipe N | rot N INDEX
 *   campaign N | propose N [COUNT [BYTES]] | change N ROLES [explicit] | transfer N TO | read N | compact N KEEP | force N ROLES
 *   unreachable N TO | session N OF up|down | fail N
 *   drain [N]                 what a node says it wants done    store [N [COUNT]]  its writes become durable
 *   deliver|drop|hold|double [FROM>TO] [TYPE]   the waiting messages that fit; 0 stands for any node. hold: keep them aside until release
 *   release | cut A B | heal | advance US | run US | settle | stabilize (settle, and say what happened)
 *   status [N] | log [N] | progress N | members N | waiting
 *   next FROM TO | check ROLES the algebra of members */
#include "tests/sim/sim.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"

enum { WORDS = 40, TEXT = SIM_TEXT, HELD = 256 };

struct script {
    struct sim *sim;
    char *word[WORDS];
    unsigned words;
    uint64_t value;
    uint32_t op;
    struct envelope *held[HELD];
    unsigned held_count;
};

static void say(struct script *self, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct script *self, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct sim *sim = self->sim;
    int length = vsnprintf(sim->out + sim->out_length, TEXT - sim->out_length, format, args);
    va_end(args);
    sim->out_length += (unsigned) length;
    sim->out[sim->out_length++] = '\n';
    sim->out[sim->out_length] = 0;
}

static unsigned number(const struct script *self, unsigned i)
{
    return i < self->words ? (unsigned) strtoul(self->word[i], NULL, 10) : 0;
}

static struct replica *replica_of(struct script *self, unsigned i)
{
    unsigned node = number(self, i);
    if (node == 0 || node > self->sim->options.nodes || !self->sim->node[node].up) {
        sim_violation(self->sim, "script: %s: no such node is up", self->word[0]);
    }
    return &self->sim->node[node].replica[0];
}

static void said(struct script *self, int error)
{
    say(self, "%s", error == 0 ? "ok" : err_name(error));
}

/* --- members as letters --- */

static struct raft_members members_of(struct script *self, const char *roles)
{
    struct raft_members members;
    memset(&members, 0, sizeof(members));
    for (unsigned i = 0; roles[i] != 0 && i + 1 < SIM_NODES; i++) {
        unsigned set = 0;
        switch (roles[i]) {
        case 'v':
        case 'V':
        case '0':
            set = RAFT_VOTER;
            break;
        case 'l':
            set = RAFT_LEARNER;
            break;
        case 'w':
            set = RAFT_VOTER | RAFT_WITNESS;
            break;
        case 'b':
            set = RAFT_VOTER | RAFT_OLD;
            break;
        case 'o':
            set = RAFT_OLD;
            break;
        case 'L':
            set = RAFT_OLD | RAFT_LEARNER;
            break;
        default:
            break;
        }
        if (set != 0) {
            unsigned priority = roles[i] == 'V' ? 2 : roles[i] == '0' ? 0 : 1;
            (void) raft_members_put(&members, node_id(self->sim, i + 1), set, priority);
            self->sim->node[i + 1].hollow_once[0] |= (set & RAFT_WITNESS) != 0;
        }
    }
    return members;
}

/* b: a voter of both halves, o: of the old one, L: of the old one, then a learner; in capitals or with digits as above */
static const char *roles_of(const struct raft_members *members, char *text)
{
    memset(text, '.', SIM_NODES - 1);
    text[SIM_NODES - 1] = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        const struct raft_member *member = &members->member[i];
        static const char letters[16] = {'?', 'v', 'o', 'b', 'l', '?', 'L', '?',
                                         '?', 'w', 'x', 'y', '?', '?', 'X', '?'};
        char letter = letters[member->set & 15];
        letter = letter == 'v' && member->priority == 0 ? '0' : letter;
        letter = letter == 'v' && member->priority > 1 ? 'V' : letter;
        if (member->id.node < SIM_NODES) {
            text[member->id.node - 1] = letter;
        }
    }
    size_t end = strlen(text);
    while (end > 0 && text[end - 1] == '.') {
        text[--end] = 0;
    }
    return end != 0 ? text : "-";
}

/* --- making a cluster --- */

static void option_set(struct script *self, struct raft_config *config, const char *option)
{
    const char *value = strchr(option, '=');
    const struct {
        const char *name;
        uint32_t *field;
    } fields[] = {
        {"quiesce=", &config->quiesce_after_us},
        {"entries=", &config->message_entries_max},
        {"bytes=", &config->message_bytes_max},
        {"inflight=", &config->inflight_messages_max},
        {"window=", &config->inflight_bytes_max},
        {"chunk=", &config->snapshot_chunk_bytes},
        {"catchup=", &config->catchup_entries_max},
        {"uncommitted=", &config->uncommitted_bytes_max},
    };
    uint32_t number = value != NULL ? (uint32_t) strtoul(value + 1, NULL, 10) : 0;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strncmp(option, fields[i].name, strlen(fields[i].name)) == 0) {
            *fields[i].field = number;
            return;
        }
    }
    if (strncmp(option, "prevote=", 8) == 0) {
        config->pre_vote = number != 0;
    } else if (strncmp(option, "checkquorum=", 12) == 0) {
        config->check_quorum = number != 0;
    } else if (strncmp(option, "lease=", 6) == 0) {
        config->lease_reads = number != 0;
    } else if (strncmp(option, "copies=", 7) == 0) {
        config->data_copies_min = (uint8_t) number;
    } else if (strncmp(option, "reads=", 6) == 0) {
        config->reads_max = (uint8_t) number;
    } else {
        sim_violation(self->sim, "script: no option %s", option);
    }
}

static void do_nodes(struct script *self)
{
    struct sim *sim = self->sim;
    struct options *options = &sim->options;
    memset(options, 0, sizeof(*options));
    options->nodes = number(self, 1);
    options->groups = 1;
    raft_config_init(&options->config);
    options->config.members_max = 8;
    options->config.message_entries_max = SIM_BATCH;
    options->config.snapshot_chunk_bytes = 1000;
    for (unsigned i = 2; i < self->words; i++) {
        option_set(self, &options->config, self->word[i]);
    }
    sim_reset(sim, 1);
    sim->manual = true;
    self->held_count = 0;
    self->value = SIM_OPS;
    for (unsigned n = 1; n <= options->nodes; n++) {
        node_boot(sim, n);
    }
}

static void do_bootstrap(struct script *self)
{
    struct raft_members members = members_of(self, self->word[1]);
    for (uint32_t i = 0; i < members.count; i++) {
        unsigned node = members.member[i].id.node;
        if (self->sim->node[node].up) {
            said(self, replica_bootstrap(self->sim, &self->sim->node[node].replica[0], &members));
        }
    }
}

static void do_disk(struct script *self)
{
    struct sim *sim = self->sim;
    unsigned node = number(self, 1);
    struct image *disk = &sim->node[node].replica[0].disk;
    struct raft_members members;
    memset(&members, 0, sizeof(members));
    for (unsigned n = 1; n <= sim->options.nodes; n++) {
        (void) raft_members_put(&members, node_id(sim, n), RAFT_VOTER, 1);
    }
    sim->node[node].up = false;
    sim->node[node].boot++;
    disk_clear(sim, &sim->node[node]);
    image_clear(disk);
    disk->term = number(self, 2);
    disk->vote = number(self, 3) != 0 ? node_id(sim, number(self, 3)) : (struct raft_id){0, 0};
    for (unsigned i = 4; i < self->words; i++) {
        struct entry entry = {.term = number(self, i), .bytes = 10};
        entry.value = SIM_OPS + entry.term * 1000 + i;
        if (i == 4) {
            entry.type = RAFT_ENTRY_CONFIG;
            entry.members = members_keep(sim, &members);
            entry.value = (uint64_t) (entry.members - sim->members) + 1;
        }
        image_put(sim, disk, disk->last + 1, &entry);
    }
    node_boot(sim, node);
}

/* --- things that happen --- */

static void do_propose(struct script *self)
{
    struct replica *replica = replica_of(self, 1);
    unsigned count = self->words > 2 ? number(self, 2) : 1;
    unsigned bytes = self->words > 3 ? number(self, 3) : 10;
    for (unsigned i = 0; i < count; i++) {
        raft_index index = 0;
        int error = replica_propose(self->sim, replica, ++self->value, bytes, &index);
        if (error != 0) {
            said(self, error);
            return;
        }
        if (i + 1 == count) {
            say(self, "ok %u", (unsigned) index);
        }
    }
    checker_step(self->sim, replica);
}

static void do_change(struct script *self)
{
    struct raft_members target = members_of(self, self->word[2]);
    target.explicit_leave = self->words > 3;
    struct replica *replica = replica_of(self, 1);
    int error = replica_change(self->sim, replica, &target);
    char text[SIM_NODES];
    if (error != 0) {
        said(self, error);
        return;
    }
    say(self, "ok %u %s", (unsigned) replica->memory.last,
        roles_of(image_members(&replica->memory, replica->memory.last), text));
}

static void do_read(struct script *self)
{
    struct sim *sim = self->sim;
    struct replica *replica = replica_of(self, 1);
    uint32_t op = client_ask(sim, SIM_CLIENTS, 0, replica->node, false);
    uint64_t token = ++replica->token;
    int error = raft_read(replica->raft, sim->now, token);
    if (error == 0) {
        replica->read[replica->read_count++] = (struct waiting_read){token, op};
    }
    said(self, error);
}

static void do_fail(struct script *self)
{
    struct node *node = &self->sim->node[number(self, 1)];
    node_fail(self->sim, node);
    said(self, 0);
}

static void do_force(struct script *self)
{
    struct replica *replica = replica_of(self, 1);
    struct raft_members members = members_of(self, self->word[2]);
    raft_index index = 0;
    int error = raft_force_config(replica->raft, &members, &index);
    if (error == 0) {
        struct entry entry = {.term = raft_term_of(replica->raft), .type = RAFT_ENTRY_CONFIG};
        entry.members = members_keep(self->sim, &members);
        entry.value = (uint64_t) (entry.members - self->sim->members) + 1;
        image_put(self->sim, &replica->memory, index, &entry);
    }
    said(self, error);
}

/* --- moving things --- */

static bool drain_one(struct script *self, unsigned node)
{
    struct sim *sim = self->sim;
    if (!sim->node[node].up) {
        return false;
    }
    uint64_t before = sim->drained;
    replica_drain(sim, &sim->node[node].replica[0]);
    return sim->drained != before;
}

static bool store_one(struct script *self, unsigned node, unsigned count)
{
    struct sim *sim = self->sim;
    if (!sim->node[node].up || sim->node[node].job_count == 0) {
        return false;
    }
    disk_complete(sim, &sim->node[node], count);
    return true;
}

static struct envelope *queue_take(struct sim *sim, unsigned i)
{
    struct envelope *envelope = sim->manual_queue[i];
    sim->manual_count--;
    memmove(&sim->manual_queue[i], &sim->manual_queue[i + 1],
            (sim->manual_count - i) * sizeof(sim->manual_queue[0]));
    return envelope;
}

static bool fits(const struct script *self, const struct raft_message *message)
{
    unsigned from = 0;
    unsigned to = 0;
    for (unsigned i = 1; i < self->words; i++) {
        if (sscanf(self->word[i], "%u>%u", &from, &to) == 2) {
            if ((from != 0 && from != message->from.node) || (to != 0 && to != message->to.node)) {
                return false;
            }
        } else if (strcmp(self->word[i], raft_message_name(message->type)) != 0) {
            return false;
        }
    }
    return true;
}

static void do_messages(struct script *self)
{
    struct sim *sim = self->sim;
    const char *how = self->word[0];
    unsigned count = 0;
    unsigned waiting = sim->manual_count;
    for (unsigned i = 0, seen = 0; seen < waiting; seen++) {
        if (!fits(self, &sim->manual_queue[i]->message)) {
            i++;
            continue;
        }
        count++;
        struct envelope *envelope = queue_take(sim, i);
        if (strcmp(how, "deliver") == 0) {
            network_deliver(sim, envelope);
        } else if (strcmp(how, "hold") == 0 && self->held_count < HELD) {
            self->held[self->held_count++] = envelope;
        } else if (strcmp(how, "double") == 0) {
            struct envelope *copy = envelope_new(sim);
            *copy = *envelope;
            sim->manual_queue[sim->manual_count++] = copy;
            network_deliver(sim, envelope);
        } else {
            envelope_free(sim, envelope);
        }
    }
    if (strcmp(how, "deliver") != 0 || count == 0) {
        say(self, "%u", count);
    }
}

static bool settle_round(struct script *self)
{
    struct sim *sim = self->sim;
    bool moved = false;
    for (unsigned n = 1; n <= sim->options.nodes; n++) {
        moved |= drain_one(self, n);
        moved |= store_one(self, n, UINT32_MAX);
    }
    for (unsigned count = sim->manual_count; count > 0; count--) {
        network_deliver(sim, queue_take(sim, 0));
        moved = true;
    }
    return moved;
}

static void settle(struct script *self)
{
    unsigned rounds = 0;
    while (settle_round(self)) {
        if (++rounds > 2000) {
            sim_violation(self->sim, "script: it does not settle");
        }
    }
}

static void quietly(struct script *self, void (*what)(struct script *))
{
    unsigned length = self->sim->out_length;
    what(self);
    self->sim->out_length = length;
    self->sim->out[length] = 0;
}

static void advance_to(struct script *self, uint64_t when)
{
    struct sim *sim = self->sim;
    sim->now = when;
    for (unsigned n = 1; n <= sim->options.nodes; n++) {
        struct replica *replica = &sim->node[n].replica[0];
        if (sim->node[n].up &&
            raft_deadline(replica->raft) <= node_clock(sim, &sim->node[n], when)) {
            raft_advance(replica->raft, node_clock(sim, &sim->node[n], when));
            checker_step(sim, replica);
        }
    }
}

static void run_until(struct script *self)
{
    struct sim *sim = self->sim;
    uint64_t end = sim->now + number(self, 1);
    settle(self);
    for (;;) {
        uint64_t next = UINT64_MAX;
        for (unsigned n = 1; n <= sim->options.nodes; n++) {
            if (sim->node[n].up) {
                raft_time deadline = raft_deadline(sim->node[n].replica[0].raft);
                next = deadline < next ? deadline : next;
            }
        }
        if (next > end) {
            break;
        }
        advance_to(self, next > sim->now ? next : sim->now + 1);
        settle(self);
    }
    sim->now = end;
}

/* --- looking --- */

static void status_of(struct script *self, unsigned node)
{
    struct sim *sim = self->sim;
    struct raft_status status;
    if (!sim->node[node].up) {
        say(self, "%u down", node);
        return;
    }
    raft_status_read(sim->node[node].replica[0].raft, &status);
    say(self, "%u %s term %u vote %u leader %u last %u(%u) commit %u applied %u%s%s%s%s%s%s", node,
        raft_state_name(status.state), (unsigned) status.term, status.vote.node, status.leader.node,
        (unsigned) status.last, (unsigned) status.last_term, (unsigned) status.commit,
        (unsigned) sim->node[node].replica[0].machine.index, status.joint ? " joint" : "",
        status.voter ? "" : " no voter", status.quiesced ? " asleep" : "",
        status.suspect ? " suspect" : "", status.leased ? " leased" : "",
        raft_id_is_none(status.transfer) ? "" : " transferring");
}

static void log_of(struct script *self, unsigned node)
{
    const struct image *memory = &self->sim->node[node].replica[0].memory;
    char text[2000];
    int length = snprintf(text, sizeof(text), "%u: %u(%u) |", node, (unsigned) memory->base,
                          (unsigned) memory->base_term);
    for (raft_index i = memory->base + 1; i <= memory->last && length < 1900; i++) {
        static const char *const kinds[] = {"", "b", "c"};
        length += snprintf(text + length, sizeof(text) - (size_t) length, " %u%s%s",
                           (unsigned) memory->entry[i].term, kinds[memory->entry[i].type],
                           memory->entry[i].hollow ? "-" : "");
    }
    say(self, "%s", text);
}

static void do_each(struct script *self, void (*what)(struct script *, unsigned))
{
    for (unsigned n = 1; n <= self->sim->options.nodes; n++) {
        if (self->words < 2 || number(self, 1) == n) {
            what(self, n);
        }
    }
}

static void do_progress(struct script *self)
{
    static const char *const names[] = {"PROBE", "REPLICATE", "SNAPSHOT"};
    struct raft_progress peer;
    struct replica *replica = replica_of(self, 1);
    for (unsigned i = 0; raft_progress_read(replica->raft, i, &peer); i++) {
        if (peer.member.id.node != replica->node) {
            say(self, "%u %s match %u next %u in flight %u%s%s", peer.member.id.node,
                names[peer.state], (unsigned) peer.match, (unsigned) peer.next,
                peer.inflight_messages, peer.departing ? " departing" : "",
                peer.asleep ? " asleep" : "");
        }
    }
}

static void do_members(struct script *self)
{
    struct raft_members members;
    char text[SIM_NODES];
    raft_members_read(replica_of(self, 1)->raft, &members);
    say(self, "%s%s", roles_of(&members, text), members.explicit_leave ? " explicit" : "");
}

static void do_next(struct script *self)
{
    struct raft_members from = members_of(self, self->word[1]);
    struct raft_members to = members_of(self, self->word[2]);
    struct raft_members next;
    char text[SIM_NODES];
    int error = raft_members_next(&from, &to, self->words > 3, &next);
    if (error != 0) {
        said(self, error);
    } else {
        say(self, "%s %s", raft_members_is_joint(&next) ? "joint" : "single",
            roles_of(&next, text));
        if (!checker_change_is_legal(&from, &next)) {
            sim_violation(self->sim, "script: the change is not legal");
        }
    }
}

/* --- one command --- */

static bool command_faults(struct script *self, const char *name)
{
    struct sim *sim = self->sim;
    unsigned node = number(self, 1);
    if (strcmp(name, "crash") == 0) {
        node_crash(sim, node);
    } else if (strcmp(name, "boot") == 0) {
        node_boot(sim, node);
    } else if (strcmp(name, "wipe") == 0) {
        node_crash(sim, node);
        node_wipe(sim, node);
    } else if (strcmp(name, "rot") == 0) {
        sim->node[node].replica[0].disk.rot_from = number(self, 2);
        checker_damage(sim, &sim->node[node].replica[0]);
    } else if (strcmp(name, "fail") == 0) {
        do_fail(self);
    } else if (strcmp(name, "cut") == 0) {
        sim->cut[node][number(self, 2)] = true;
        sim->cut[number(self, 2)][node] = true;
    } else if (strcmp(name, "heal") == 0) {
        network_heal(sim);
    } else if (strcmp(name, "unreachable") == 0) {
        raft_unreachable(replica_of(self, 1)->raft, number(self, 2));
    } else if (strcmp(name, "session") == 0) {
        raft_session(replica_of(self, 1)->raft, sim->now, number(self, 2),
                     strcmp(self->word[3], "up") == 0);
    } else if (strcmp(name, "release") == 0) {
        for (unsigned i = 0; i < self->held_count; i++) {
            sim->manual_queue[sim->manual_count++] = self->held[i];
        }
        self->held_count = 0;
    } else {
        return false;
    }
    return true;
}

static bool command_inputs(struct script *self, const char *name)
{
    struct sim *sim = self->sim;
    if (strcmp(name, "nodes") == 0) {
        do_nodes(self);
    } else if (strcmp(name, "bootstrap") == 0) {
        do_bootstrap(self);
    } else if (strcmp(name, "disk") == 0) {
        do_disk(self);
    } else if (strcmp(name, "campaign") == 0) {
        said(self, raft_campaign(replica_of(self, 1)->raft));
    } else if (strcmp(name, "propose") == 0) {
        do_propose(self);
    } else if (strcmp(name, "change") == 0) {
        do_change(self);
    } else if (strcmp(name, "transfer") == 0) {
        said(self, raft_transfer(replica_of(self, 1)->raft, node_id(sim, number(self, 2))));
    } else if (strcmp(name, "read") == 0) {
        do_read(self);
    } else if (strcmp(name, "force") == 0) {
        do_force(self);
    } else if (strcmp(name, "compact") == 0) {
        replica_compact(sim, replica_of(self, 1), number(self, 2));
    } else {
        return false;
    }
    return true;
}

static bool command_moves(struct script *self, const char *name)
{
    struct sim *sim = self->sim;
    if (strcmp(name, "drain") == 0 || strcmp(name, "store") == 0) {
        unsigned count = self->words > 2 ? number(self, 2) : UINT32_MAX;
        for (unsigned n = 1; n <= sim->options.nodes; n++) {
            if (self->words < 2 || number(self, 1) == n) {
                (void) (name[0] == 'd' ? drain_one(self, n) : store_one(self, n, count));
            }
        }
    } else if (strcmp(name, "deliver") == 0 || strcmp(name, "drop") == 0 ||
               strcmp(name, "hold") == 0 || strcmp(name, "double") == 0) {
        do_messages(self);
    } else if (strcmp(name, "settle") == 0) {
        quietly(self, settle);
    } else if (strcmp(name, "stabilize") == 0) {
        settle(self);
    } else if (strcmp(name, "advance") == 0) {
        advance_to(self, sim->now + number(self, 1));
    } else if (strcmp(name, "run") == 0) {
        quietly(self, run_until);
    } else {
        return false;
    }
    return true;
}

static void command_looks(struct script *self, const char *name)
{
    if (strcmp(name, "status") == 0) {
        do_each(self, status_of);
    } else if (strcmp(name, "log") == 0) {
        do_each(self, log_of);
    } else if (strcmp(name, "progress") == 0) {
        do_progress(self);
    } else if (strcmp(name, "members") == 0) {
        do_members(self);
    } else if (strcmp(name, "waiting") == 0) {
        say(self, "%u", self->sim->manual_count);
    } else if (strcmp(name, "next") == 0) {
        do_next(self);
    } else if (strcmp(name, "check") == 0) {
        struct raft_members members = members_of(self, self->word[1]);
        said(self, raft_members_check(&members));
    } else {
        sim_violation(self->sim, "script: no command %s", name);
    }
}

static void command_run(struct script *self, char *line)
{
    self->words = 0;
    char *rest = NULL;
    for (char *word = strtok_r(line, " \n", &rest); word != NULL && self->words < WORDS;
         word = strtok_r(NULL, " \n", &rest)) {
        self->word[self->words++] = word;
    }
    self->sim->out_length = 0;
    self->sim->out[0] = 0;
    self->sim->steps++;
    if (self->words != 0 && !command_inputs(self, self->word[0]) &&
        !command_faults(self, self->word[0]) && !command_moves(self, self->word[0])) {
        command_looks(self, self->word[0]);
    }
}

/* false: violated. */
static bool command_guarded(struct script *self, char *line)
{
    if (setjmp(self->sim->escape) != 0) {
        return false;
    }
    command_run(self, line);
    return true;
}

struct script *script_new(struct sim *sim)
{
    struct script *self = MEM_NEW(struct script);
    self->sim = sim;
    sim->out = mem_new(TEXT);
    return self;
}

void script_destroy(struct script **self)
{
    MEM_FREE((*self)->sim->out);
    MEM_FREE(*self);
}

bool script_text(struct script *self, const char *commands)
{
    char line[200];
    while (*commands != 0) {
        size_t length = strcspn(commands, ";");
        (void) snprintf(line, sizeof(line), "%.*s", (int) length, commands);
        if (!command_guarded(self, line)) {
            return false;
        }
        commands += length + (commands[length] != 0);
    }
    return true;
}

/* --- files --- */

/* The file as it should be: the same commands and comments, with what they print now. */
static bool script_play(struct script *self, FILE *file, char *now, char *was)
{
    struct sim *sim = self->sim;
    char line[2000];
    size_t length = 0;
    size_t had = 0;
    now[0] = 0;
    was[0] = 0;
    bool well = true;
    while (fgets(line, sizeof(line), file) != NULL) {
        had += (size_t) snprintf(was + had, TEXT - had, "%s", line);
        bool is_command = strncmp(line, "> ", 2) == 0;
        if (is_command || line[0] == '#' || line[0] == '\n') {
            length += (size_t) snprintf(now + length, TEXT - length, "%s", line);
        }
        if (is_command && well) {
            well = command_guarded(self, line + 2);
            if (!well) {
                length += (size_t) snprintf(now + length, TEXT - length, "VIOLATION %s\n",
                                            sim->violation);
                continue;
            }
            length += (size_t) snprintf(now + length, TEXT - length, "%s", sim->out);
        }
    }
    return well;
}

static bool script_file(struct sim *sim, const char *path)
{
    struct script self = {.sim = sim};
    FILE *file = fopen(path, "r");
    char *now = mem_new(TEXT);
    char *was = mem_new(TEXT);
    sim->out = mem_new(TEXT);
    sim->trace = true;
    bool well = file != NULL && script_play(&self, file, now, was);
    bool same = strcmp(now, was) == 0;
    if (file != NULL) {
        (void) fclose(file);
    }
    if (well && !same && getenv("UPDATE") != NULL) {
        file = fopen(path, "w");
        if (file != NULL) {
            (void) fputs(now, file);
            (void) fclose(file);
            same = true;
        }
    }
    if (!well || !same) {
        size_t at = 0;
        while (now[at] != 0 && now[at] == was[at]) {
            at++;
        }
        while (at > 0 && now[at - 1] != '\n') {
            at--;
        }
        (void) printf("FAILED %s\n  expected: %.*s\n  got:      %.*s\n", path,
                      (int) strcspn(was + at, "\n"), was + at, (int) strcspn(now + at, "\n"),
                      now + at);
    }
    for (unsigned i = 0; i < self.held_count; i++) {
        envelope_free(sim, self.held[i]);
    }
    sim->trace = false;
    MEM_FREE(sim->out);
    mem_free(now);
    mem_free(was);
    return well && same;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_script(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return length > 4 && strcmp(entry->d_name + length - 4, ".txt") == 0;
}

unsigned script_run(struct sim *sim, const char *path, unsigned *ret_count)
{
    struct dirent **entry = NULL;
    int count = scandir(path, &entry, is_script, by_name);
    unsigned failed = 0;
    if (count < 0) { /* one file */
        *ret_count = 1;
        return !script_file(sim, path);
    }
    for (int i = 0; i < count; i++) {
        char name[600];
        (void) snprintf(name, sizeof(name), "%s/%s", path, entry[i]->d_name);
        failed += !script_file(sim, name);
        (free)(entry[i]); /* of the C library's own making */
    }
    (free)(entry);
    *ret_count = (unsigned) count;
    return failed;
}
