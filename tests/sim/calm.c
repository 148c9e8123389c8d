/* calm: the liveness phase. Faults end, but only for a core of nodes that is enough for each group; the others stay dead, cut off, or talk without hearing. The core must
 * elect, commit, catch up, serve reads from all its members and fall asleep where it may, in bounded time. Then the others come back, and must catch up, too.
 * A group that cannot work again by anybody's rules (its last sound voters are not a majority) is exempt, and counted. */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <string.h>

#include "common/base/err.h"

enum { SLICE_US = 10000, BOUND_US = 20000000 };

static const struct image *image_of(const struct sim *self, unsigned node, unsigned group)
{
    const struct replica *replica = &self->node[node].replica[group];
    return self->node[node].up ? &replica->memory : &replica->disk;
}

static bool votes_soundly(const struct sim *self, unsigned group, struct raft_id id)
{
    const struct node *node = &self->node[id.node];
    const struct replica *replica = &node->replica[group];
    if (!self->core[id.node] || node->incarnation != id.incarnation ||
        replica->disk.rot_from != 0 || replica->disk.suspect_last != 0) {
        return false;
    }
    struct raft_status status = {.suspect = false};
    if (node->up) {
        raft_status_read(replica->raft, &status);
    }
    return !status.suspect;
}

static const struct raft_member *voter_in(const struct raft_members *members, struct raft_id id)
{
    const struct raft_member *own = members != NULL ? raft_members_find(members, id) : NULL;
    bool votes = own != NULL && (own->set & (RAFT_VOTER | RAFT_OLD)) != 0;
    return votes && (own->set & RAFT_WITNESS) == 0 ? own : NULL;
}

/* A voter that may lead, or one that the newest change takes that away from, while it is not committed (dissertation 4.2.2). */
static bool may_campaign(const struct sim *self, unsigned group, unsigned node)
{
    const struct image *image = image_of(self, node, group);
    const struct raft_member *own =
        voter_in(image_members(image, image->last), node_id(self, node));
    if (own != NULL) {
        return own->priority != 0;
    }
    struct raft_status status = {.commit = image->commit > image->snapshot.machine.index
                                               ? image->commit
                                               : image->snapshot.machine.index};
    if (self->node[node].up) {
        raft_status_read(self->node[node].replica[group].raft, &status);
    }
    raft_index at =
        image->last == image->base ? image->base_members_at : image->entry[image->last].members_at;
    if (at <= status.commit || at <= image->base) {
        return false;
    }
    own = voter_in(image_members(image, at - 1), node_id(self, node));
    return own != NULL && own->priority != 0;
}

/* Somebody to lead when whoever leads now is removed: a witness cannot, and priority 0 does not while nobody else asks. */
static bool has_heir(const struct sim *self, unsigned group, const struct raft_members *members)
{
    for (uint32_t i = 0; i < members->count; i++) {
        const struct raft_member *member = &members->member[i];
        if ((member->set & RAFT_VOTER) != 0 && (member->set & RAFT_WITNESS) == 0 &&
            member->priority != 0 && votes_soundly(self, group, member->id)) {
            return true;
        }
    }
    return false;
}

/* Could this node win, and commit, with the sound nodes of the core, and is there somebody to go on when it is removed? */
static bool can_lead(const struct sim *self, unsigned group, unsigned candidate)
{
    const struct image *image = image_of(self, candidate, group);
    const struct raft_members *members = image_members(image, image->last);
    if (members == NULL || !votes_soundly(self, group, node_id(self, candidate)) ||
        !may_campaign(self, group, candidate)) {
        return false;
    }
    struct raft_members after;
    raft_members_leave(members, &after);
    if (!has_heir(self, group, &after)) {
        return false;
    }
    raft_term term = image_term_at(image, image->last);
    unsigned voters[2] = {0, 0};
    unsigned grants[2] = {0, 0};
    unsigned full = 0;
    unsigned copies = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        const struct raft_member *other = &members->member[i];
        bool sound = votes_soundly(self, group, other->id);
        const struct image *its = image_of(self, other->id.node, group);
        raft_term its_term = image_term_at(its, its->last);
        bool fresh = term > its_term || (term == its_term && image->last >= its->last);
        for (unsigned half = 0; half < 2; half++) {
            bool in_half = (other->set & (half == 0 ? RAFT_VOTER : RAFT_OLD)) != 0;
            voters[half] += in_half;
            grants[half] += in_half && sound && fresh;
        }
        if ((other->set & (RAFT_VOTER | RAFT_OLD)) != 0 && (other->set & RAFT_WITNESS) == 0) {
            full++;
            copies += sound && fresh;
        }
    }
    unsigned wanted = self->options.config.data_copies_min;
    return 2 * grants[0] > voters[0] && (voters[1] == 0 || 2 * grants[1] > voters[1]) &&
           copies >= (wanted < full ? wanted : full);
}

static bool can_work(const struct sim *self, unsigned group)
{
    for (unsigned n = 1; n <= self->options.nodes; n++) {
        if (self->core[n] && can_lead(self, group, n)) {
            return true;
        }
    }
    return false;
}

static bool can_commit(const struct sim *self, unsigned group, const struct raft_members *members)
{
    unsigned full = 0;
    unsigned copies = 0;
    unsigned voters[2] = {0, 0};
    unsigned sound[2] = {0, 0};
    for (uint32_t i = 0; i < members->count; i++) {
        const struct raft_member *member = &members->member[i];
        bool well = votes_soundly(self, group, member->id);
        if ((member->set & (RAFT_VOTER | RAFT_OLD)) != 0 && (member->set & RAFT_WITNESS) == 0) {
            full++;
            copies += well;
        }
        voters[0] += (member->set & RAFT_VOTER) != 0;
        voters[1] += (member->set & RAFT_OLD) != 0;
        sound[0] += (member->set & RAFT_VOTER) != 0 && well;
        sound[1] += (member->set & RAFT_OLD) != 0 && well;
    }
    unsigned wanted = self->options.config.data_copies_min;
    return copies >= (wanted < full ? wanted : full) && 2 * sound[0] > voters[0] &&
           (voters[1] == 0 || 2 * sound[1] > voters[1]);
}

/* Whoever of the core may come to lead must find its majorities there, now and when a joint phase ends, and an heir. */
static bool any_can_commit(const struct sim *self, unsigned group)
{
    for (unsigned n = 1; n <= self->options.nodes; n++) {
        const struct image *image = image_of(self, n, group);
        const struct raft_members *members = image_members(image, image->last);
        const struct raft_member *own =
            members != NULL ? raft_members_find(members, node_id(self, n)) : NULL;
        struct raft_members after;
        bool votes = own != NULL && (own->set & (RAFT_VOTER | RAFT_OLD)) != 0;
        if (!self->core[n] || members == NULL || (!votes && !may_campaign(self, group, n))) {
            continue;
        }
        raft_members_leave(members, &after);
        if (!can_commit(self, group, members) || !can_commit(self, group, &after) ||
            !has_heir(self, group, &after)) {
            return false;
        }
    }
    return true;
}

static bool all_can_work(const struct sim *self)
{
    for (unsigned g = 0; g < self->options.groups; g++) {
        if (!self->truth[g].exempt && (!can_work(self, g) || !any_can_commit(self, g))) {
            return false;
        }
    }
    return true;
}

/* --- what is well, and what is not --- */

static void node_is_well(struct sim *self, unsigned number)
{
    struct node *node = &self->node[number];
    node->paused_until = self->now;
    node->disk_stalled_until = 0;
    node->fails_next = false;
    if (!node->up) {
        node_boot(self, number);
    }
    node->clock_ppm = node->clock_ppm > 0 || node->clock_ppm < 0 ? node->clock_ppm : 0;
}

static void node_stays_away(struct sim *self, unsigned number, bool talks)
{
    if (sim_chance(self, 400) && self->node[number].up) {
        node_crash(self, number);
        talks = false; /* what it sent before is lost, too */
    }
    for (unsigned n = 1; n <= self->options.nodes; n++) {
        if (self->core[n]) {
            self->cut[n][number] = true;
            self->cut[number][n] = !talks;
        }
    }
}

static void faults_end(struct sim *self)
{
    struct options *options = &self->options;
    options->loss = 0;
    options->corrupt = 0;
    options->duplicate = 0;
    options->replay = 0;
    options->slow_per_mille = 0;
    options->disk_slow_per_mille = 0;
    if (options->delay_us_max > options->config.election_timeout_us_min / 16) {
        options->delay_us_max = options->config.election_timeout_us_min / 16;
        options->delay_us_min = options->delay_us_min < options->delay_us_max
                                    ? options->delay_us_min
                                    : options->delay_us_max;
    }
    if (options->disk_us_max > options->config.election_timeout_us_min / 16) {
        options->disk_us_max = options->config.election_timeout_us_min / 16;
    }
}

/* Else one who talks without hearing may give the newest entry to somebody who can't lead, or make a configuration that needs itself. */
static bool all_may_lead(const struct sim *self)
{
    for (unsigned n = 1; n <= self->options.nodes; n++) {
        for (unsigned g = 0; g < self->options.groups; g++) {
            const struct image *image = image_of(self, n, g);
            const struct raft_members *members = image_members(image, image->last);
            raft_index at = image->last == image->base ? image->base_members_at
                                                       : image->entry[image->last].members_at;
            if (at > self->truth[g].last || (members != NULL && raft_members_is_joint(members))) {
                return false;
            }
            for (uint32_t i = 0; members != NULL && i < members->count; i++) {
                const struct raft_member *member = &members->member[i];
                if ((member->set & RAFT_WITNESS) != 0 || member->priority == 0) {
                    return false;
                }
            }
        }
    }
    return true;
}

/* Entries on their way to a witness are lost: else it may come to have the newest one, whose payload nobody has any more, and nobody could win. That is beyond what the
 * group promises when another voter is damaged. */
static void witnesses_miss(struct sim *self)
{
    for (unsigned i = 0; i < self->queue_count; i++) {
        struct event *event = &self->queue[i];
        const struct envelope *envelope = event->data;
        if (event->type == EVENT_MESSAGE && envelope->message.count != 0 &&
            self->node[event->node].hollow_once[event->group]) {
            envelope_free(self, event->data);
            event->type = EVENT_END;
            event->data = NULL;
        }
    }
}

static void core_pick(struct sim *self)
{
    for (unsigned n = 1; n <= self->options.nodes; n++) {
        self->core[n] = true;
    }
    for (unsigned g = 0; g < self->options.groups; g++) {
        self->truth[g].exempt = !can_work(self, g);
        self->count.exempt += self->truth[g].exempt;
        if (self->truth[g].exempt) {
            TRACE(self, "g%u is exempt", g + 1);
        }
    }
    for (unsigned n = 1; n <= self->options.nodes; n++) {
        if (sim_chance(self, 400)) {
            self->core[n] = false;
            self->core[n] = !all_can_work(self);
        }
    }
    const struct raft_config *config = &self->options.config;
    bool talks =
        config->pre_vote && config->check_quorum && all_may_lead(self) && sim_chance(self, 500);
    network_heal(self);
    for (unsigned n = 1; n <= self->options.nodes; n++) {
        if (self->core[n]) {
            node_is_well(self, n);
        } else {
            TRACE(self, "%u stays away", n);
            node_stays_away(self, n, talks);
        }
    }
}

/* --- has it come to rest? NULL, or what is missing --- */

static struct replica *leader_of(struct sim *self, unsigned group)
{
    struct replica *leader = NULL;
    for (unsigned n = 1; n <= self->options.nodes; n++) {
        struct replica *replica = &self->node[n].replica[group];
        if (self->core[n] && self->node[n].up && raft_state_of(replica->raft) == RAFT_LEADER &&
            (leader == NULL || raft_term_of(replica->raft) > raft_term_of(leader->raft))) {
            leader = replica;
        }
    }
    return leader;
}

static bool peer_is_here(const struct sim *self, struct raft_id id)
{
    return self->core[id.node] && self->node[id.node].incarnation == id.incarnation;
}

static const char *unrest(struct sim *self, unsigned group)
{
    struct replica *leader = leader_of(self, group);
    if (leader == NULL) {
        return "no leader";
    }
    struct raft_status status;
    struct raft_progress peer;
    raft_status_read(leader->raft, &status);
    if (status.commit != status.last || status.last_term != status.term) {
        return "not all is committed";
    }
    struct raft_members members;
    raft_members_read(leader->raft, &members);
    if (status.joint && !members.explicit_leave) {
        return "the joint phase does not end";
    }
    for (unsigned i = 0; raft_progress_read(leader->raft, i, &peer); i++) {
        if (peer.departing || !peer_is_here(self, peer.member.id)) {
            continue;
        }
        const struct replica *replica = &self->node[peer.member.id.node].replica[group];
        struct raft_status its;
        raft_status_read(replica->raft, &its);
        if (its.last != status.last || its.commit != status.commit ||
            replica->machine.index != status.commit) {
            return "a member lags";
        }
        /* In the term of its boot it cannot tell a leader with a shorter log from a late message: it waits for more. */
        bool waits =
            replica->seen.boot_term == status.term && replica->disk.suspect_last > status.last;
        if ((its.suspect && !waits) || replica->disk.rot_from != 0) {
            return "a damaged member is not whole again";
        }
        if (replica != leader &&
            (peer.match != status.last || (peer.state != RAFT_REPLICATE && !status.quiesced))) {
            return "the leader does not see a member replicate";
        }
    }
    return NULL;
}

static const char *unrest_of_all(struct sim *self, unsigned *ret_group)
{
    for (unsigned g = 0; g < self->options.groups; g++) {
        const char *missing = self->truth[g].exempt ? NULL : unrest(self, g);
        if (missing != NULL) {
            *ret_group = g;
            return missing;
        }
    }
    return NULL;
}

static void run_for(struct sim *self, uint64_t us)
{
    uint64_t end = self->now + us;
    while (sim_step(self, end)) {
    }
}

/* Entries on the disks of all. */
static uint64_t work_done(const struct sim *self)
{
    uint64_t done = 0;
    for (unsigned n = 1; n <= self->options.nodes; n++) {
        for (unsigned g = 0; g < self->options.groups; g++) {
            done += self->node[n].replica[g].disk.last;
        }
    }
    return done;
}

static void await_rest(struct sim *self, const char *when)
{
    uint64_t end = self->now + BOUND_US;
    uint64_t done = work_done(self);
    unsigned group = 0;
    const char *missing = unrest_of_all(self, &group);
    while (missing != NULL) {
        if (self->now > end && work_done(self) > done + 100) {
            done = work_done(self); /* a long way to go, one message at a time */
            end = self->now + BOUND_US;
        }
        if (self->now > end) {
            sim_violation(self, "liveness, %s: g%u: %s after %u s", when, group + 1, missing,
                          BOUND_US / 1000000);
        }
        run_for(self, SLICE_US);
        missing = unrest_of_all(self, &group);
    }
}

/* --- it works --- */

/* Through `node` (0: the leader), again and again until it is done. */
static void await_op(struct sim *self, unsigned group, unsigned node, bool write)
{
    uint64_t end = self->now + BOUND_US / 4;
    while (self->now < end && (node == 0 || !self->node[node].replica[group].machine.hollow)) {
        struct replica *leader = leader_of(self, group);
        unsigned at = node != 0 ? node : leader != NULL ? leader->node : 0;
        uint32_t number = at != 0 ? client_ask(self, SIM_CLIENTS, group, at, write) : 0;
        if (number == 0) {
            run_for(self, SLICE_US);
            continue;
        }
        client_arrive(self, number, at);
        uint64_t patience = self->now + 2 * self->options.config.election_timeout_us_max;
        while (self->op[number].state == OP_OPEN && self->now < patience) {
            run_for(self, 1000);
        }
        if (self->op[number].state == OP_OK) {
            return;
        }
        client_timeout(self, number);
        run_for(self, SLICE_US);
    }
    if (self->now >= end && self->op_count + 1 < SIM_OPS) {
        sim_violation(self, "liveness: g%u: no %s by node %u", group + 1, write ? "write" : "read",
                      node);
    }
}

static void await_work(struct sim *self, unsigned group)
{
    await_op(self, group, 0, true);
    for (unsigned n = 1; n <= self->options.nodes; n++) {
        struct replica *leader = leader_of(self, group);
        struct raft_members members;
        if (leader == NULL || !self->core[n]) {
            continue;
        }
        raft_members_read(leader->raft, &members);
        const struct raft_member *member = raft_members_find(&members, node_id(self, n));
        if (member != NULL && !self->node[n].replica[group].machine.hollow) {
            await_op(self, group, n, false);
        }
    }
}

/* --- it sleeps --- */

static bool may_sleep(struct sim *self, unsigned group)
{
    const struct replica *leader = leader_of(self, group);
    struct raft_members members;
    if (self->truth[group].exempt || leader == NULL) {
        return false;
    }
    raft_members_read(leader->raft, &members);
    for (uint32_t i = 0; i < members.count; i++) {
        struct raft_status status;
        if (!peer_is_here(self, members.member[i].id)) {
            return false;
        }
        raft_status_read(self->node[members.member[i].id.node].replica[group].raft, &status);
        if (status.suspect) {
            return false;
        }
    }
    const struct raft_member *own = raft_members_find(&members, node_id(self, leader->node));
    return !raft_members_is_joint(&members) && own != NULL && own->priority != 0;
}

static bool is_asleep(struct sim *self, unsigned group)
{
    const struct replica *leader = leader_of(self, group);
    struct raft_progress peer;
    for (unsigned i = 0; leader != NULL && raft_progress_read(leader->raft, i, &peer); i++) {
        const struct raft *raft = self->node[peer.member.id.node].replica[group].raft;
        if (!peer.departing && raft_deadline(raft) != UINT64_MAX) {
            return false;
        }
    }
    return leader != NULL;
}

static void await_sleep(struct sim *self)
{
    if (self->options.config.quiesce_after_us == 0) {
        return;
    }
    for (unsigned g = 0; g < self->options.groups; g++) {
        uint64_t end = self->now + BOUND_US / 4;
        while (may_sleep(self, g) && !is_asleep(self, g)) {
            if (self->now > end) {
                sim_violation(self, "liveness: g%u does not fall asleep", g + 1);
            }
            run_for(self, SLICE_US);
        }
    }
}

void calm_run(struct sim *self)
{
    self->stopping = true;
    TRACE(self, "calm");
    faults_end(self);
    witnesses_miss(self);
    core_pick(self);
    await_rest(self, "the core alone");
    for (unsigned g = 0; g < self->options.groups; g++) {
        if (!self->truth[g].exempt) {
            await_work(self, g);
        }
    }
    TRACE(self, "all come back");
    network_heal(self);
    for (unsigned n = 1; n <= self->options.nodes; n++) {
        self->core[n] = true;
        node_is_well(self, n);
    }
    await_rest(self, "all together");
    for (unsigned g = 0; g < self->options.groups; g++) {
        if (!self->truth[g].exempt) {
            await_work(self, g);
        }
    }
    await_sleep(self);
}
