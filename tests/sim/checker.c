/* checker: what must hold after every step, from outside the core: it compares replicas with each other, with their disks and with all that ever was committed. Each
 * check costs little, so that it can stand after every step. The paper's five properties are named as there (figure 3). */
#include "tests/sim/sim.h"

#include <string.h>

#include "common/base/mem.h"

static uint64_t entry_key(unsigned group, raft_index index, raft_term term)
{
    return (uint64_t) group << 60 | index << 40 | term;
}

uint64_t checker_id_key(unsigned group, struct raft_id id)
{
    return (uint64_t) group << 60 | (uint64_t) id.node << 40 | (uint64_t) id.incarnation << 20;
}

/* --- members: an own idea of what a legal change is --- */

static unsigned half_of(const struct raft_members *members, unsigned half, struct raft_id *ids)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        if ((members->member[i].set & half) != 0) {
            ids[count++] = members->member[i].id;
        }
    }
    return count;
}

static unsigned not_in(const struct raft_id *a, unsigned a_count, const struct raft_id *b,
                       unsigned b_count)
{
    unsigned missing = 0;
    for (unsigned i = 0; i < a_count; i++) {
        bool found = false;
        for (unsigned k = 0; k < b_count; k++) {
            found = found || raft_id_equal(a[i], b[k]);
        }
        missing += !found;
    }
    return missing;
}

/* Does every majority of one meet every majority of the other? */
bool checker_change_is_legal(const struct raft_members *from, const struct raft_members *to)
{
    struct raft_id a[RAFT_MEMBERS_MAX];
    struct raft_id b[RAFT_MEMBERS_MAX];
    bool from_joint = raft_members_is_joint(from);
    bool to_joint = raft_members_is_joint(to);
    unsigned a_count = half_of(from, RAFT_VOTER, a);
    unsigned b_count = half_of(to, to_joint ? RAFT_OLD : RAFT_VOTER, b);
    unsigned difference = not_in(a, a_count, b, b_count) + not_in(b, b_count, a, a_count);
    if (from_joint && to_joint) {
        return false;
    }
    /* Entering joint: its old half is what was. Leaving: the new half is what comes. Else one step. A witness that turns
     * into nothing else, or a voter into a witness, keeps its vote. */
    return from_joint || to_joint ? difference == 0 : difference <= 1;
}

/* --- logs --- */

void checker_put(struct sim *self, struct replica *replica, raft_index index)
{
    const struct entry *entry = &replica->memory.entry[index];
    uint64_t key = entry_key(replica->group, index, entry->term);
    uint64_t *known = map_find(&self->entries, key);
    if (known == NULL) {
        map_put(&self->entries, key, entry->hash);
    } else if (*known != entry->hash) {
        sim_violation(self, "Log Matching: node %u g%u entry %u of term %u", replica->node,
                      replica->group + 1, (unsigned) index, (unsigned) entry->term);
    }
    const struct truth *truth = &self->truth[replica->group];
    if (index <= truth->last && index <= replica->seen.commit &&
        truth->committed[index].hash != entry->hash) {
        sim_violation(self, "node %u g%u overwrites entry %u, which it knew to be committed",
                      replica->node, replica->group + 1, (unsigned) index);
    }
    if (replica->seen.led != 0 && raft_state_of(replica->raft) == RAFT_LEADER &&
        raft_term_of(replica->raft) == replica->seen.led && index <= replica->seen.led_last) {
        sim_violation(self, "Leader Append-Only: node %u g%u overwrites %u", replica->node,
                      replica->group + 1, (unsigned) index);
    }
    replica->seen.led_last = index;
    if (entry->type != RAFT_ENTRY_CONFIG || index == 1 || known != NULL ||
        raft_state_of(replica->raft) != RAFT_LEADER) {
        return;
    }
    /* A leader made a configuration. */
    const struct image *memory = &replica->memory;
    raft_index before =
        index - 1 == memory->base ? memory->base_members_at : memory->entry[index - 1].members_at;
    struct raft_status status;
    raft_status_read(replica->raft, &status);
    if (before > status.commit) {
        sim_violation(self, "node %u g%u changes members at %u while the change at %u is open",
                      replica->node, replica->group + 1, (unsigned) index, (unsigned) before);
    }
    if (status.commit > memory->base && memory->entry[status.commit].term != entry->term) {
        sim_violation(self, "node %u g%u changes members at %u before its term committed anything",
                      replica->node, replica->group + 1, (unsigned) index);
    }
    if (!checker_change_is_legal(image_members(memory, index - 1), entry->members)) {
        sim_violation(self, "node %u g%u: the members at %u need not meet those at %u",
                      replica->node, replica->group + 1, (unsigned) index, (unsigned) before);
    }
}

/* --- commit --- */

/* Does this member have it durable, as far as its disk or its word goes? */
static bool member_has(struct sim *self, unsigned group, const struct raft_member *member,
                       raft_index index, uint64_t hash)
{
    const struct node *node = &self->node[member->id.node];
    const struct replica *replica = &node->replica[group];
    bool here = node->incarnation == member->id.incarnation;
    if (here && disk_has(&replica->disk, index, hash)) {
        return true;
    }
    if (here && replica->disk.rot_from == 0 && !replica->seen.suspect) {
        return false;
    }
    uint64_t *acked = map_find(&self->acked, checker_id_key(group, member->id));
    return acked != NULL && *acked >= index;
}

static void commit_check_quorum(struct sim *self, struct replica *replica, raft_index index,
                                uint64_t hash)
{
    struct raft_members members;
    raft_members_read(replica->raft, &members);
    unsigned voters[2] = {0, 0};
    unsigned have[2] = {0, 0};
    unsigned copies = 0;
    unsigned full = 0;
    for (uint32_t i = 0; i < members.count; i++) {
        const struct raft_member *member = &members.member[i];
        bool has = member_has(self, replica->group, member, index, hash);
        voters[0] += (member->set & RAFT_VOTER) != 0;
        voters[1] += (member->set & RAFT_OLD) != 0;
        have[0] += has && (member->set & RAFT_VOTER) != 0;
        have[1] += has && (member->set & RAFT_OLD) != 0;
        if ((member->set & (RAFT_VOTER | RAFT_OLD)) != 0 && (member->set & RAFT_WITNESS) == 0) {
            full++;
            copies += has;
        }
    }
    if (2 * have[0] <= voters[0] || (voters[1] != 0 && 2 * have[1] <= voters[1])) {
        sim_violation(self,
                      "node %u g%u commits %u, which only %u of %u (old half: %u of %u) have "
                      "durable",
                      replica->node, replica->group + 1, (unsigned) index, have[0], voters[0],
                      have[1], voters[1]);
    }
    unsigned wanted = replica->config.data_copies_min;
    wanted = wanted < full ? wanted : full;
    if (copies < wanted) {
        sim_violation(self, "node %u g%u commits %u with %u full copies", replica->node,
                      replica->group + 1, (unsigned) index, copies);
    }
}

static void commit_first(struct sim *self, struct replica *replica, raft_index index)
{
    struct truth *truth = &self->truth[replica->group];
    const struct entry *entry = &replica->memory.entry[index];
    struct committed *committed = &truth->committed[index];
    self->count.commits++;
    truth->last = index;
    committed->term = entry->term;
    committed->in = raft_term_of(replica->raft);
    committed->hash = entry->hash;
    committed->value = entry->value;
    committed->machine = 0;
    committed->members = entry->members;
    if (entry->type == RAFT_ENTRY_CONFIG) {
        truth->members_at = index;
    }
    if (entry->type == RAFT_ENTRY_NORMAL && entry->value < SIM_OPS) {
        struct op *op = &self->op[entry->value];
        if (op->committed != 0) {
            sim_violation(self, "write %u is committed twice", (unsigned) entry->value);
        }
        op->committed = index;
        if (index <= op->floor) {
            sim_violation(self, "write %u is committed at %u, but when it began %u was known",
                          (unsigned) entry->value, (unsigned) index, (unsigned) op->floor);
        }
    }
}

static void commit_check(struct sim *self, struct replica *replica,
                         const struct raft_status *status)
{
    struct truth *truth = &self->truth[replica->group];
    const struct image *memory = &replica->memory;
    if (status->commit > truth->last && status->state != RAFT_LEADER) {
        sim_violation(self, "node %u g%u takes %u for committed, which no leader committed",
                      replica->node, replica->group + 1, (unsigned) status->commit);
    }
    if (status->commit > memory->last) {
        sim_violation(self, "node %u g%u: commit %u behind its log", replica->node,
                      replica->group + 1, (unsigned) status->commit);
    }
    if (status->commit > truth->last) {
        raft_index first = truth->last + 1 > memory->base ? truth->last + 1 : memory->base + 1;
        for (raft_index index = first; index <= status->commit; index++) {
            commit_first(self, replica, index);
        }
        if (memory->entry[status->commit].term != status->term) {
            sim_violation(self, "node %u g%u commits %u of term %u by counting, in term %u",
                          replica->node, replica->group + 1, (unsigned) status->commit,
                          (unsigned) memory->entry[status->commit].term, (unsigned) status->term);
        }
        commit_check_quorum(self, replica, status->commit, memory->entry[status->commit].hash);
    }
    if (status->commit != replica->seen.commit && status->commit >= memory->base &&
        image_hash_at(memory, status->commit) != truth->committed[status->commit].hash) {
        sim_violation(self, "State Machine Safety: node %u g%u has another entry %u committed",
                      replica->node, replica->group + 1, (unsigned) status->commit);
    }
}

/* --- leaders --- */

static void leader_check_log(struct sim *self, struct replica *replica, raft_term term)
{
    const struct truth *truth = &self->truth[replica->group];
    const struct image *memory = &replica->memory;
    raft_index index = truth->last;
    while (index > 0 && truth->committed[index].in >= term) {
        index--; /* the property speaks of earlier terms */
    }
    bool has = index <= memory->last &&
               (index < memory->base ||
                image_hash_at(memory, index) == truth->committed[index].hash || index == 0);
    if (!has) {
        sim_violation(self,
                      "Leader Completeness: node %u g%u leads term %u without entry %u, committed "
                      "in term %u",
                      replica->node, replica->group + 1, (unsigned) term, (unsigned) index,
                      (unsigned) truth->committed[index].in);
    }
    for (raft_index i = memory->base + 1; i <= memory->last; i++) {
        if (memory->entry[i].hollow) {
            sim_violation(self, "node %u g%u leads without the payload of %u", replica->node,
                          replica->group + 1, (unsigned) i);
        }
    }
}

static void leader_first(struct sim *self, struct replica *replica,
                         const struct raft_status *status)
{
    struct truth *truth = &self->truth[replica->group];
    if (status->term >= SIM_TERMS) {
        sim_violation(self, "term %u: elections without end", (unsigned) status->term);
    }
    struct raft_id *known = &truth->leader_of[status->term];
    truth->term_max = status->term > truth->term_max ? status->term : truth->term_max;
    if (!raft_id_is_none(*known)) {
        sim_violation(self, "Election Safety: g%u nodes %u.%u and %u.%u lead term %u",
                      replica->group + 1, known->node, known->incarnation, status->id.node,
                      status->id.incarnation, (unsigned) status->term);
    }
    *known = status->id;
    replica->seen.led = status->term;
    replica->seen.led_last = replica->memory.last;
    if (replica->seen.suspect && replica->disk.rot_from != 0) {
        sim_violation(self, "node %u g%u leads with a damaged log", replica->node,
                      replica->group + 1);
    }
    leader_check_log(self, replica, status->term);
}

/* Would both answer a read by their lease, at this moment? */
static bool lease_holds_now(struct sim *self, const struct replica *replica)
{
    static uint64_t clone[1024];
    struct raft *raft = (struct raft *) (void *) clone;
    struct raft_status status;
    const struct node *node = &self->node[replica->node];
    memcpy(clone, replica->raft, raft_size(&replica->config));
    raft_advance(raft, node_clock(self, node, self->now));
    for (unsigned n = 1; n <= self->options.nodes && node->session != NULL; n++) {
        if (n != replica->node) {
            raft_session_contact(raft, n, raft_node_contact(node->session, n));
        }
    }
    raft_status_read(raft, &status);
    return status.leased;
}

static void lease_check(struct sim *self, struct replica *replica)
{
    for (unsigned n = 1; n <= self->options.nodes; n++) {
        struct replica *other = &self->node[n].replica[replica->group];
        if (n != replica->node && self->node[n].up && !other->stopped &&
            raft_state_of(other->raft) == RAFT_LEADER && lease_holds_now(self, replica) &&
            lease_holds_now(self, other)) {
            sim_violation(self, "g%u: nodes %u (term %u) and %u (term %u) both hold a lease",
                          replica->group + 1, replica->node, (unsigned) raft_term_of(replica->raft),
                          n, (unsigned) raft_term_of(other->raft));
        }
    }
}

/* --- after each step --- */

void checker_boot(struct sim *self, struct replica *replica)
{
    struct raft_status status;
    raft_status_read(replica->raft, &status);
    if (status.term < replica->disk.term) {
        sim_violation(self, "node %u g%u forgot its term", replica->node, replica->group + 1);
    }
    replica->seen.boot_term = status.term;
    replica->seen.term = status.term;
    replica->seen.commit = status.commit;
    replica->seen.applied = status.applied;
    replica->seen.snapshots = status.snapshots;
    replica->seen.state = status.state;
    replica->seen.led = 0;
    replica->seen.led_last = 0;
}

/* This replica's disk lost what it may have acknowledged: what of it is committed, it owes. */
void checker_damage(struct sim *self, struct replica *replica)
{
    const struct truth *truth = &self->truth[replica->group];
    const struct image *disk = &replica->disk;
    raft_index to = disk->last < truth->last ? disk->last : truth->last;
    while (to > disk->base && disk->entry[to].hash != truth->committed[to].hash) {
        to--; /* of a term that came to nothing, or never written */
    }
    replica->seen.suspect = true;
    replica->seen.suspect_to = to > replica->seen.suspect_to ? to : replica->seen.suspect_to;
    self->count.damages++;
}

static void check_suspect(struct sim *self, struct replica *replica,
                          const struct raft_status *status)
{
    if (!replica->seen.suspect || status->suspect) {
        return;
    }
    const struct truth *truth = &self->truth[replica->group];
    raft_index to = replica->seen.suspect_to;
    if (to > 0 && !disk_has(&replica->disk, to, truth->committed[to].hash)) {
        sim_violation(self, "node %u g%u takes part again without entry %u that it had lost",
                      replica->node, replica->group + 1, (unsigned) to);
    }
    replica->seen.suspect = false;
    replica->seen.suspect_to = 0;
}

static void check_monotone(struct sim *self, struct replica *replica,
                           const struct raft_status *status)
{
    const char *what = NULL;
    if (status->term < replica->seen.term) {
        what = "term";
    } else if (status->commit < replica->seen.commit) {
        what = "commit";
    } else if (status->applied < replica->seen.applied &&
               status->snapshots == replica->seen.snapshots) {
        what = "applied";
    }
    if (what != NULL) {
        sim_violation(self, "node %u g%u: its %s goes back", replica->node, replica->group + 1,
                      what);
    }
    if (status->applied > status->commit && !replica->seen.suspect && !status->suspect) {
        sim_violation(self, "node %u g%u applied %u of %u committed", replica->node,
                      replica->group + 1, (unsigned) status->applied, (unsigned) status->commit);
    }
    if (status->last != replica->memory.last || status->compacted != replica->memory.base) {
        sim_violation(self, "node %u g%u: the core's log is %u..%u, the driver's %u..%u",
                      replica->node, replica->group + 1, (unsigned) status->compacted,
                      (unsigned) status->last, (unsigned) replica->memory.base,
                      (unsigned) replica->memory.last);
    }
}

/* What a leader counts for a peer is there: durable and the same, unless a disk was damaged or somebody leads a later term. */
static void leader_check_matches(struct sim *self, struct replica *replica, raft_term term)
{
    const struct image *memory = &replica->memory;
    struct raft_progress peer;
    for (unsigned i = 0; raft_progress_read(replica->raft, i, &peer); i++) {
        const struct node *node = &self->node[peer.member.id.node];
        const struct replica *other = &node->replica[replica->group];
        bool changed = node->incarnation != peer.member.id.incarnation || other->seen.suspect ||
                       other->disk.rot_from != 0 || other->disk.term > term;
        if (!changed && peer.match > memory->base &&
            !disk_has(&other->disk, peer.match, memory->entry[peer.match].hash)) {
            sim_violation(self, "node %u g%u thinks that node %u has %u", replica->node,
                          replica->group + 1, other->node, (unsigned) peer.match);
        }
    }
}

void checker_step(struct sim *self, struct replica *replica)
{
    const char *broken = raft_check(replica->raft);
    struct raft_status status;
    if (broken != NULL) {
        sim_violation(self, "node %u g%u: raft_check: %s", replica->node, replica->group + 1,
                      broken);
    }
    raft_status_read(replica->raft, &status);
    check_monotone(self, replica, &status);
    commit_check(self, replica, &status);
    check_suspect(self, replica, &status);
    if (status.state == RAFT_LEADER) {
        if (replica->seen.led != status.term) {
            leader_first(self, replica, &status);
        }
        leader_check_matches(self, replica, status.term);
        uint32_t limit = replica->config.uncommitted_bytes_max;
        if (status.uncommitted_bytes > limit && status.uncommitted_bytes > limit + 300) {
            sim_violation(self, "node %u g%u has %u bytes uncommitted", replica->node,
                          replica->group + 1, status.uncommitted_bytes);
        }
        if (replica->config.lease_reads) {
            lease_check(self, replica);
        }
    } else {
        replica->seen.led = 0;
    }
    if (status.quiesced && status.reads == 0 && raft_deadline(replica->raft) != UINT64_MAX) {
        sim_violation(self, "node %u g%u sleeps with an alarm set", replica->node,
                      replica->group + 1);
    }
    replica->seen.term = status.term;
    replica->seen.commit = status.commit;
    replica->seen.applied = status.applied;
    replica->seen.snapshots = status.snapshots;
    replica->seen.state = status.state;
}

/* --- state machine --- */

void checker_apply(struct sim *self, struct replica *replica)
{
    const struct machine *machine = &replica->machine;
    struct truth *truth = &self->truth[replica->group];
    if (machine->index > truth->last || machine->hash != truth->committed[machine->index].hash) {
        sim_violation(self, "State Machine Safety: node %u g%u applies another entry %u",
                      replica->node, replica->group + 1, (unsigned) machine->index);
    }
    if (machine->hollow) {
        return;
    }
    uint64_t digest = 1;
    for (unsigned key = 0; key < SIM_KEYS; key++) {
        digest = sim_mix(digest, machine->value[key]);
    }
    struct committed *committed = &truth->committed[machine->index];
    if (committed->machine == 0) {
        committed->machine = digest;
    } else if (committed->machine != digest) {
        sim_violation(self, "node %u g%u has another state at %u", replica->node,
                      replica->group + 1, (unsigned) machine->index);
    }
}

/* --- messages --- */

static void send_check_vote(struct sim *self, struct replica *replica,
                            const struct raft_message *message, struct raft_id whom)
{
    uint64_t key = checker_id_key(replica->group, message->from) | message->term;
    uint64_t value = (uint64_t) whom.node << 32 | whom.incarnation;
    uint64_t *known = map_find(&self->votes, key);
    if (known == NULL) {
        map_put(&self->votes, key, value);
    } else if (*known != value) {
        sim_violation(self, "node %u g%u votes twice in term %u", replica->node, replica->group + 1,
                      (unsigned) message->term);
    }
    /* A later term on disk is as good: it will never vote in this one again. */
    if (replica->disk.term < message->term ||
        (replica->disk.term == message->term && !raft_id_equal(replica->disk.vote, whom))) {
        sim_violation(self, "node %u g%u votes in term %u before that is on its disk",
                      replica->node, replica->group + 1, (unsigned) message->term);
    }
}

/* Whoever campaigns without regard to the leader was told so by that leader, in the term before, at this entry. */
static void send_check_transfer(struct sim *self, struct replica *replica,
                                const struct raft_message *message)
{
    if (message->type == RAFT_MESSAGE_TIMEOUT_NOW) {
        map_put(&self->orders, checker_id_key(replica->group, message->to) | message->term,
                message->index);
    }
    if (message->type == RAFT_MESSAGE_VOTE && (message->flags & RAFT_FLAG_TRANSFER) != 0) {
        uint64_t key = checker_id_key(replica->group, message->from) | (message->term - 1);
        uint64_t *index = map_find(&self->orders, key);
        if (index == NULL || *index != message->index) {
            sim_violation(self, "node %u g%u obeys an order to campaign that is over",
                          replica->node, replica->group + 1);
        }
    }
}

/* Whoever asks for votes of its own accord was told before, by a majority, that it could win (dissertation 9.6). */
static void send_check_pre_vote(struct sim *self, struct replica *replica,
                                const struct raft_message *message)
{
    bool refused = (message->flags & RAFT_FLAG_REJECT) != 0;
    if (message->type == RAFT_MESSAGE_PRE_VOTE_REPLY && !refused) {
        uint64_t to = checker_id_key(replica->group, message->to) | message->term;
        uint64_t *known = map_find(&self->grants, to);
        map_put(&self->grants, to, (known != NULL ? *known : 0) | UINT64_C(1) << replica->node);
    }
    if (message->type != RAFT_MESSAGE_VOTE || (message->flags & RAFT_FLAG_TRANSFER) != 0 ||
        !replica->config.pre_vote) {
        return;
    }
    uint64_t own = checker_id_key(replica->group, message->from) | message->term;
    uint64_t *known = map_find(&self->grants, own);
    uint64_t granted = (known != NULL ? *known : 0) | UINT64_C(1) << replica->node;
    struct raft_members members;
    raft_members_read(replica->raft, &members);
    for (unsigned half = RAFT_VOTER; half <= RAFT_OLD; half <<= 1) {
        struct raft_id ids[RAFT_MEMBERS_MAX];
        unsigned voters = half_of(&members, half, ids);
        unsigned grants = 0;
        for (unsigned i = 0; i < voters; i++) {
            grants += (granted >> ids[i].node & 1) != 0;
        }
        if (voters != 0 && 2 * grants <= voters) {
            sim_violation(self, "node %u g%u asks for votes with %u of %u pre-votes", replica->node,
                          replica->group + 1, grants, voters);
        }
    }
}

/* What is under way to a peer is bounded: the last message may exceed the window of bytes. */
static void send_check_window(struct sim *self, struct replica *replica,
                              const struct raft_message *message)
{
    const struct raft_config *config = &replica->config;
    struct raft_progress peer;
    if (message->type != RAFT_MESSAGE_APPEND || message->count == 0) {
        return;
    }
    if (message->count > config->message_entries_max ||
        (message->count > 1 && message->bytes > config->message_bytes_max)) {
        sim_violation(self, "node %u g%u sends %u entries, %u bytes, in one message", replica->node,
                      replica->group + 1, message->count, message->bytes);
    }
    for (unsigned i = 0; raft_progress_read(replica->raft, i, &peer); i++) {
        /* PROBE: one at a time, again when it was lost, which counts as under way until the answer. */
        if (raft_id_equal(peer.member.id, message->to) && peer.state == RAFT_REPLICATE &&
            (peer.inflight_bytes >= config->inflight_bytes_max + message->bytes ||
             peer.inflight_messages > config->inflight_messages_max)) {
            sim_violation(self, "node %u g%u has %u messages, %u bytes, under way to %u",
                          replica->node, replica->group + 1, peer.inflight_messages,
                          peer.inflight_bytes, message->to.node);
        }
    }
}

static void send_check_ack(struct sim *self, struct replica *replica,
                           const struct raft_message *message)
{
    raft_index index = message->index;
    if (index > replica->memory.last ||
        (index > replica->memory.base &&
         !disk_has(&replica->disk, index, replica->memory.entry[index].hash))) {
        sim_violation(self, "node %u g%u acknowledges %u, which its disk does not have",
                      replica->node, replica->group + 1, (unsigned) index);
    }
    uint64_t key = checker_id_key(replica->group, message->from);
    uint64_t *acked = map_find(&self->acked, key);
    if (acked == NULL || *acked < index) {
        map_put(&self->acked, key, index);
    }
}

void checker_send(struct sim *self, struct replica *replica, const struct raft_message *message)
{
    bool granted = (message->flags & RAFT_FLAG_REJECT) == 0;
    bool ahead = message->type == RAFT_MESSAGE_PRE_VOTE ||
                 (message->type == RAFT_MESSAGE_PRE_VOTE_REPLY && granted);
    /* "whom you follow is gone" stands on no term */
    ahead |= message->type == RAFT_MESSAGE_QUIESCE_REPLY && !granted && message->index == 0;
    if (!ahead && message->term > replica->disk.term) {
        sim_violation(self, "node %u g%u says %s in term %u, its disk has %u", replica->node,
                      replica->group + 1, raft_message_name(message->type),
                      (unsigned) message->term, (unsigned) replica->disk.term);
    }
    if (message->commit > self->truth[replica->group].last) {
        sim_violation(self, "node %u g%u tells a commit index that is none", replica->node,
                      replica->group + 1);
    }
    bool vote =
        (message->type == RAFT_MESSAGE_VOTE_REPLY && granted) || message->type == RAFT_MESSAGE_VOTE;
    bool elects = vote || message->type == RAFT_MESSAGE_PRE_VOTE ||
                  (message->type == RAFT_MESSAGE_PRE_VOTE_REPLY && granted);
    if (elects && replica->seen.suspect) {
        sim_violation(self, "node %u g%u takes part in an election with a damaged log",
                      replica->node, replica->group + 1);
    }
    send_check_transfer(self, replica, message);
    send_check_pre_vote(self, replica, message);
    send_check_window(self, replica, message);
    if (vote) {
        send_check_vote(self, replica, message,
                        message->type == RAFT_MESSAGE_VOTE ? message->from : message->to);
    }
    if (message->type == RAFT_MESSAGE_APPEND_REPLY && granted) {
        send_check_ack(self, replica, message);
    }
}

/* --- at the end --- */

void checker_end(struct sim *self)
{
    for (uint32_t i = 1; i <= self->op_count; i++) {
        struct op *op = &self->op[i];
        if (op->state == OP_OPEN) {
            op->state = OP_UNKNOWN;
        }
        if (op->write && op->state == OP_FAILED && op->committed != 0) {
            sim_violation(self, "write %u was refused, but is committed at %u", i,
                          (unsigned) op->committed);
        }
    }
    for (unsigned g = 0; g < self->options.groups; g++) {
        for (unsigned key = 0; key < SIM_KEYS; key++) {
            uint32_t op = 0;
            const char *wrong = history_check(self->op, self->op_count, g, key, &op);
            if (wrong != NULL) {
                sim_violation(self, "not linearizable: g%u key %u operation %u: %s", g + 1, key, op,
                              wrong);
            }
        }
    }
}
