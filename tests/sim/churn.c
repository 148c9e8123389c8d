/* churn: what happens to nodes and groups: crashes, loss of power, pauses, cuts, damaged disks, wiped ones, changes of members, transfers, snapshots. Each kind has its
 * own clock. Bounded as reality must be: no damage that leaves some configuration in play without a majority of sound voters. */
#include "tests/sim/sim.h"

#include <string.h>

#include "common/base/err.h"

static const char *const names[CHURN_KINDS] = {
    "crash", "power",   "pause",    "cut",     "heal",     "wipe",        "rot",   "eio",
    "full",  "members", "transfer", "compact", "campaign", "unreachable", "usurp", "restart",
};

const char *churn_name(enum churn_kind kind)
{
    return names[kind];
}

/* --- what may be damaged --- */

static bool is_sound(const struct sim *self, unsigned group, struct raft_id id)
{
    const struct node *node = &self->node[id.node];
    const struct replica *replica = &node->replica[group];
    return node->incarnation == id.incarnation && !replica->seen.suspect &&
           replica->disk.rot_from == 0 && replica->disk.suspect_last == 0;
}

/* Enough full copies to commit anything. */
static bool sound_copies(const struct sim *self, unsigned group, const struct raft_members *members,
                         struct raft_id without)
{
    unsigned full = 0;
    unsigned sound = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        const struct raft_member *member = &members->member[i];
        if ((member->set & (RAFT_VOTER | RAFT_OLD)) != 0 && (member->set & RAFT_WITNESS) == 0) {
            full++;
            sound += is_sound(self, group, member->id) && !raft_id_equal(member->id, without);
        }
    }
    unsigned wanted = self->options.config.data_copies_min;
    return sound >= (wanted < full ? wanted : full);
}

static bool sound_now(const struct sim *self, unsigned group, const struct raft_members *members,
                      struct raft_id without)
{
    for (unsigned half = RAFT_VOTER; half <= RAFT_OLD; half <<= 1) {
        unsigned voters = 0;
        unsigned sound = 0;
        for (uint32_t i = 0; i < members->count; i++) {
            const struct raft_member *member = &members->member[i];
            if ((member->set & half) != 0) {
                voters++;
                sound += is_sound(self, group, member->id) && !raft_id_equal(member->id, without);
            }
        }
        if (voters != 0 && 2 * sound <= voters) {
            return false;
        }
    }
    return sound_copies(self, group, members, without);
}

/* Now, and when its joint phase has ended. */
static bool sound_majority(const struct sim *self, unsigned group,
                           const struct raft_members *members, struct raft_id without)
{
    struct raft_members after;
    raft_members_leave(members, &after);
    return sound_now(self, group, members, without) && sound_now(self, group, &after, without);
}

bool churn_may_damage(struct sim *self, const struct replica *replica)
{
    unsigned group = replica->group;
    struct raft_id without = node_id(self, replica->node);
    const struct truth *truth = &self->truth[group];
    if (truth->last != 0 &&
        !sound_majority(self, group, truth->committed[truth->last].members, without)) {
        return false;
    }
    for (unsigned n = 1; n <= self->options.nodes; n++) {
        const struct replica *other = &self->node[n].replica[group];
        const struct image *image = self->node[n].up ? &other->memory : &other->disk;
        const struct raft_members *members = image_members(image, image->last);
        if (members != NULL && !sound_majority(self, group, members, without)) {
            return false;
        }
    }
    return true;
}

/* --- nodes --- */

static unsigned any_node(struct sim *self)
{
    return 1 + (unsigned) sim_below(self, self->options.nodes);
}

static bool is_running(const struct sim *self, unsigned node)
{
    return self->node[node].up && self->node[node].paused_until <= self->now;
}

static void crash_for(struct sim *self, unsigned node, uint64_t us_max)
{
    if (self->node[node].up) {
        node_crash(self, node);
        uint64_t back = sim_chance(self, 300) ? sim_below(self, 5000) : sim_below(self, us_max);
        sim_at(self, self->now + back, EVENT_BOOT, node, 0, self->node[node].boot, NULL);
    }
}

static void churn_wipe(struct sim *self, unsigned node)
{
    for (unsigned g = 0; g < self->options.groups; g++) {
        if (!churn_may_damage(self, &self->node[node].replica[g])) {
            return;
        }
    }
    if (self->node[node].up) {
        crash_for(self, node, 500000);
        node_wipe(self, node);
    }
}

static void churn_rot(struct sim *self, unsigned node)
{
    struct replica *replica = &self->node[node].replica[sim_below(self, self->options.groups)];
    struct image *disk = &replica->disk;
    if (!self->node[node].up || !churn_may_damage(self, replica)) {
        return;
    }
    crash_for(self, node, 500000);
    if (disk->last <= disk->base || disk->rot_from != 0) {
        return;
    }
    uint64_t length = disk->last - disk->base;
    disk->rot_from = sim_chance(self, 500) ? disk->base + 1 + sim_below(self, length)
                                           : disk->last - sim_below(self, length < 4 ? length : 4);
    TRACE(self, "rot %u g%u from %u of %u", node, replica->group + 1, (unsigned) disk->rot_from,
          (unsigned) disk->last);
    checker_damage(self, replica);
}

/* --- cuts --- */

static void cut_pair(struct sim *self, unsigned from, unsigned to)
{
    if (from != to) {
        self->cut[from][to] = true;
    }
}

static void churn_cut(struct sim *self)
{
    unsigned nodes = self->options.nodes;
    unsigned one = any_node(self);
    unsigned sides = (unsigned) sim_below(self, 1u << nodes) << 1;
    uint64_t how = sim_below(self, 6);
    TRACE(self, "cut, way %u, node %u", (unsigned) how, one);
    for (unsigned n = 1; n <= nodes; n++) {
        for (unsigned m = 1; m <= nodes; m++) {
            bool apart = (sides >> n & 1) != (sides >> m & 1);
            switch (how) {
            case 0: /* alone */
                if (n == one || m == one) {
                    cut_pair(self, n, m);
                }
                break;
            case 1: /* hears nobody */
                if (m == one) {
                    cut_pair(self, n, m);
                }
                break;
            case 2: /* heard by nobody */
                if (n == one) {
                    cut_pair(self, n, m);
                }
                break;
            case 3: /* two sides */
                if (apart) {
                    cut_pair(self, n, m);
                }
                break;
            case 4: /* two sides and a bridge */
                if (apart && n != one && m != one) {
                    cut_pair(self, n, m);
                }
                break;
            default: /* here and there, one way */
                if (sim_chance(self, 250)) {
                    cut_pair(self, n, m);
                }
                break;
            }
        }
    }
}

/* --- groups --- */

static struct replica *any_leader(struct sim *self)
{
    unsigned group = (unsigned) sim_below(self, self->options.groups);
    struct replica *found = NULL;
    unsigned count = 0;
    for (unsigned n = 1; n <= self->options.nodes; n++) {
        struct replica *replica = &self->node[n].replica[group];
        if (is_running(self, n) && raft_state_of(replica->raft) == RAFT_LEADER &&
            sim_below(self, ++count) == 0) {
            found = replica;
        }
    }
    return found;
}

/* What this node could be in the next configuration; 0: nothing. */
static unsigned role_for(struct sim *self, const struct replica *leader, unsigned node,
                         const struct raft_member *now, bool shuffle)
{
    if (self->node[node].hollow_once[leader->group]) {
        return sim_chance(self, 850) ? RAFT_VOTER | RAFT_WITNESS : 0;
    }
    if (!shuffle && now != NULL) {
        return now->set;
    }
    uint64_t draw = sim_below(self, 100);
    if (self->options.witness && draw < 6) {
        return RAFT_VOTER | RAFT_WITNESS;
    }
    unsigned role = draw < 65 ? RAFT_VOTER : draw < 82 ? RAFT_LEARNER : 0;
    /* a newcomer begins as a learner; now and then the core must say so */
    return role == RAFT_VOTER && now == NULL && !sim_chance(self, 200) ? RAFT_LEARNER : role;
}

static void churn_members(struct sim *self)
{
    struct replica *leader = any_leader(self);
    struct raft_members now;
    struct raft_members target;
    if (leader == NULL || leader->memory.last > SIM_INDEXES - 500) {
        return;
    }
    raft_members_read(leader->raft, &now);
    memset(&target, 0, sizeof(target));
    if (raft_members_is_joint(&now)) {
        raft_members_leave(&now, &target);
    } else {
        bool all = sim_chance(self, 350);
        unsigned one = any_node(self);
        unsigned witnesses = 0;
        for (unsigned n = 1; n <= self->options.nodes; n++) {
            const struct raft_member *member = raft_members_find(&now, node_id(self, n));
            unsigned role = role_for(self, leader, n, member, all || n == one);
            if ((role & RAFT_WITNESS) != 0 && ++witnesses > 1) {
                role = 0;
            }
            unsigned priority = sim_chance(self, 900) ? 1 : (unsigned) sim_below(self, 3);
            if (role != 0) {
                (void) raft_members_put(&target, node_id(self, n), role,
                                        member != NULL && !all ? member->priority : priority);
            }
        }
        target.explicit_leave = sim_chance(self, 150);
    }
    struct raft_id nobody = {0, 0};
    if (raft_members_check(&target) < 0 || !sound_majority(self, leader->group, &target, nobody)) {
        return;
    }
    int error = replica_change(self, leader, &target);
    if (error != 0 && error != ERR_AGAIN && error != ERR_THROTTLED && error != ERR_ALREADY &&
        error != ERR_BAD_CONFIG) {
        sim_violation(self, "node %u: raft_propose_config: %d", leader->node, error);
    }
}

static void churn_transfer(struct sim *self)
{
    struct replica *leader = any_leader(self);
    if (leader != NULL) {
        (void) raft_transfer(leader->raft, node_id(self, any_node(self))); /* may be refused */
        checker_step(self, leader);
        replica_touch(self, leader);
    }
}

static void churn_replica(struct sim *self, enum churn_kind kind, unsigned node)
{
    if (!is_running(self, node)) {
        return;
    }
    struct replica *replica = &self->node[node].replica[sim_below(self, self->options.groups)];
    if (kind == CHURN_COMPACT) {
        if (sim_chance(self, 500)) {
            replica_compact(self, replica, sim_below(self, 30));
        } else {
            replica_snapshot_begin(self, replica);
            sim_at(self, self->now + sim_below(self, 300000), EVENT_SNAPSHOT, node, replica->group,
                   self->node[node].boot, NULL);
        }
        return;
    }
    if (kind == CHURN_CAMPAIGN) {
        (void) raft_campaign(replica->raft); /* may be refused */
    } else {
        raft_unreachable(replica->raft, any_node(self));
    }
    checker_step(self, replica);
    replica_touch(self, replica);
}

/* A leader and somebody who can't hear it. */
static void churn_usurp(struct sim *self)
{
    struct replica *leader = any_leader(self);
    unsigned usurper = any_node(self);
    if (leader == NULL || usurper == leader->node) {
        return;
    }
    self->cut[leader->node][usurper] = true;
    self->cut[usurper][leader->node] = true;
    self->usurped = leader->node;
    self->usurper = usurper;
    uint64_t timeout = self->options.config.election_timeout_us_max;
    for (uint64_t at = sim_below(self, timeout / 4); at < 2 * timeout; at += timeout / 8) {
        sim_at(self, self->now + at, EVENT_CHURN, 0, 0, CHURN_RESTART, NULL);
    }
}

static void churn_restart(struct sim *self)
{
    unsigned node = any_node(self);
    if (node != self->usurped && node != self->usurper && self->node[node].up) {
        node_crash(self, node);
        sim_at(self, self->now + sim_below(self, 1000), EVENT_BOOT, node, 0, self->node[node].boot,
               NULL);
    }
}

static void churn_do(struct sim *self, enum churn_kind kind)
{
    unsigned node = any_node(self);
    switch (kind) {
    case CHURN_CRASH:
        crash_for(self, node, 1500000);
        break;
    case CHURN_POWER:
        for (unsigned n = 1; n <= self->options.nodes; n++) {
            crash_for(self, n, 300000);
        }
        break;
    case CHURN_PAUSE:
        if (self->node[node].up) {
            self->node[node].paused_until =
                self->now + sim_below(self, sim_chance(self, 300) ? 1500000 : 100000);
            TRACE(self, "pause %u", node);
        }
        break;
    case CHURN_CUT:
        churn_cut(self);
        break;
    case CHURN_HEAL:
        TRACE(self, "heal");
        network_heal(self);
        break;
    case CHURN_WIPE:
        churn_wipe(self, node);
        break;
    case CHURN_ROT:
        churn_rot(self, node);
        break;
    case CHURN_EIO:
        self->node[node].fails_next = true;
        break;
    case CHURN_FULL:
        self->node[node].disk_stalled_until = self->now + sim_below(self, 1000000);
        break;
    case CHURN_MEMBERS:
        churn_members(self);
        break;
    case CHURN_TRANSFER:
        churn_transfer(self);
        break;
    case CHURN_COMPACT:
    case CHURN_CAMPAIGN:
    case CHURN_UNREACHABLE:
        churn_replica(self, kind, node);
        break;
    case CHURN_USURP:
        churn_usurp(self);
        break;
    case CHURN_RESTART:
        churn_restart(self);
        break;
    case CHURN_KINDS:
    default:
        break;
    }
    self->count.churn[kind]++;
}

static void churn_later(struct sim *self, enum churn_kind kind)
{
    uint64_t every = self->options.every[kind];
    if (every != 0) {
        sim_at(self, self->now + sim_between(self, 1, 2 * every), EVENT_CHURN, 0, 0,
               (uint32_t) kind, NULL);
    }
}

void churn_start(struct sim *self)
{
    for (unsigned kind = 0; kind < CHURN_KINDS; kind++) {
        churn_later(self, (enum churn_kind) kind);
    }
}

void churn_next(struct sim *self, enum churn_kind kind)
{
    if (!self->stopping) {
        churn_do(self, kind);
        churn_later(self, kind);
    }
}
