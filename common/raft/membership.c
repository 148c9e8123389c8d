/* membership: changing who belongs to the group. A configuration is active from the moment its entry is in the log (dissertation 4.1); when the entry is
 * cut off, the one before is read from the log again. The rules of the single steps are in members.c. */
#include "common/raft/state.h"

#include <string.h>

#include "common/base/err.h"

void raft_members_collect(const struct raft *self, struct raft_members *ret_members)
{
    memset(ret_members, 0, sizeof(*ret_members));
    for (unsigned i = 0; i < self->peer_count; i++) {
        const struct raft_peer *peer = &self->peer[i];
        if ((peer->flags & PEER_DEPARTING) == 0) {
            struct raft_member *member = &ret_members->member[ret_members->count++];
            member->id = peer->id;
            member->set = peer->set;
            member->priority = peer->priority;
        }
    }
    ret_members->explicit_leave = self->explicit_leave;
    if (self->last != 0) { /* the core needs no addresses: they stay in the log */
        struct raft_members known;
        memset(&known, 0, sizeof(known));
        (void) self->log->members_at(self->log_ud, self->last, &known);
        raft_members_keep_addresses(ret_members, &known);
    }
}

/* The slot of a member that may be new. */
static void peer_make(struct raft *self, const struct raft_member *member,
                      struct raft_peer *ret_peer)
{
    struct raft_peer *known = raft_peer_find(self, member->id);
    if (known != NULL) {
        *ret_peer = *known;
        ret_peer->flags &= (uint16_t) ~PEER_DEPARTING;
        ret_peer->id = member->id;
    } else {
        memset(ret_peer, 0, sizeof(*ret_peer));
        ret_peer->id = member->id;
        raft_peer_reset(self, ret_peer);
        ret_peer->sent = self->now;
    }
    ret_peer->set = member->set & 15U;
    ret_peer->priority = member->priority;
}

void raft_members_activate(struct raft *self, const struct raft_members *members, raft_index index)
{
    struct raft_peer peers[RAFT_MEMBERS_MAX];
    unsigned count = 0;
    memset(peers, 0, sizeof(peers));
    for (uint32_t i = 0; i < members->count && count < self->members_max; i++) {
        peer_make(self, &members->member[i], &peers[count++]);
    }
    /* Whoever leaves is told so, if there is room to remember it; else it finds out by asking for votes in vain. */
    for (unsigned i = 0; i < self->peer_count && count < self->members_max; i++) {
        if (self->state == RAFT_LEADER && !raft_id_equal(self->peer[i].id, self->id) &&
            raft_members_find(members, self->peer[i].id) == NULL) {
            peers[count] = self->peer[i];
            peers[count].set = 0;
            peers[count].flags |= PEER_DEPARTING;
            count++;
        }
    }
    self->self = RAFT_NO_PEER;
    for (unsigned i = 0; i < count; i++) {
        if (raft_id_equal(peers[i].id, self->id)) {
            self->self = (uint8_t) i;
            peers[i].match = self->durable;
        }
    }
    memset(self->peer, 0, self->members_max * sizeof(self->peer[0]));
    memcpy(self->peer, peers, count * sizeof(peers[0]));
    self->peer_count = (uint8_t) count;
    self->explicit_leave = members->explicit_leave != 0;
    self->joint = raft_members_is_joint(members);
    self->members_index = index;
    self->members_committed = index <= self->commit;
    self->members_dirty = 1;
    self->send_dirty = 1;
    self->send_next = 0;
    if (self->state == RAFT_LEADER) {
        raft_reads_confirm(self); /* whose answer was missing may not matter any more */
    }
}

void raft_drop_departed(struct raft *self)
{
    unsigned count = 0;
    for (unsigned i = 0; i < self->peer_count; i++) {
        const struct raft_peer *peer = &self->peer[i];
        bool told = self->state != RAFT_LEADER ||
                    (peer->match >= self->members_index && self->members_committed &&
                     (peer->flags & PEER_COMMIT) == 0) ||
                    (peer->flags & PEER_DOWN) != 0 ||
                    self->now > peer->contact + 2 * (raft_time) self->election_timeout_us_max;
        if ((peer->flags & PEER_DEPARTING) == 0 || !told) {
            if (count != i) {
                self->peer[count] = *peer;
            }
            count++;
        }
    }
    memset(&self->peer[count], 0, (self->peer_count - count) * sizeof(self->peer[0]));
    self->peer_count = (uint8_t) count;
    self->send_next = 0;
}

bool raft_may_leave(const struct raft *self)
{
    bool heir = false; /* else the newest entries may be on witnesses alone, and these can't lead */
    for (unsigned i = 0; i < self->peer_count; i++) {
        const struct raft_peer *peer = &self->peer[i];
        if ((peer->flags & PEER_MAY_SLEEP) != 0) {
            return false; /* nobody else can wake it while our node's session lives */
        }
        heir |= (peer->set & RAFT_VOTER) != 0 && (peer->set & RAFT_WITNESS) == 0 &&
                peer->priority != 0 && peer->match == self->last && i != self->self;
    }
    return heir;
}

/* A removed leader that hears nobody must not bind those who still hear it. Only where witnesses vote it has to stay: they may have what no heir has. */
bool raft_checks_quorum(const struct raft *self)
{
    for (unsigned i = 0; i < self->peer_count && self->leaving; i++) {
        if ((self->peer[i].set & RAFT_VOTER) != 0 && (self->peer[i].set & RAFT_WITNESS) != 0) {
            return false;
        }
    }
    return self->check_quorum;
}

int raft_bootstrap(struct raft *self, const struct raft_members *members)
{
    if (self->state == RAFT_STOPPED) {
        return ERR_POISONED;
    }
    if (self->last != 0 || self->term != 0 || self->compacted != 0) {
        return ERR_ALREADY;
    }
    if (raft_members_check(members) < 0 || raft_members_is_joint(members) ||
        members->count > self->members_max || members->explicit_leave != 0 ||
        raft_members_find(members, self->id) == NULL) {
        return ERR_BAD_CONFIG;
    }
    struct raft_entry entry = {.term = 1, .type = RAFT_ENTRY_CONFIG, .members = members};
    self->term = 1;
    self->hard_dirty = 1;
    self->state_dirty = 1;
    raft_log_append(self, &entry);
    raft_election_deadline_reset(self);
    if (raft_can_campaign(self) && members->count == 1) {
        raft_election_start(self, CAMPAIGN_NOW);
    }
    return 0;
}

/* A voter to be must not stop the group until it has caught up (dissertation 4.2.1). */
static bool newcomers_lag(struct raft *self, const struct raft_members *next)
{
    for (uint32_t i = 0; i < next->count; i++) {
        const struct raft_member *member = &next->member[i];
        if ((member->set & RAFT_VOTER) == 0 || raft_id_equal(member->id, self->id)) {
            continue;
        }
        const struct raft_peer *peer = raft_peer_find(self, member->id);
        if (peer == NULL || (peer->flags & PEER_DEPARTING) != 0) {
            return true;
        }
        if ((peer->set & (RAFT_VOTER | RAFT_OLD)) == 0 &&
            peer->match + self->catchup_entries_max < self->last) {
            return true;
        }
    }
    return false;
}

int raft_propose_config(struct raft *self, const struct raft_members *target, raft_index *ret_index,
                        struct raft_members *ret_members)
{
    if (self->state == RAFT_STOPPED) {
        return ERR_POISONED;
    }
    if (self->state != RAFT_LEADER) {
        return ERR_NOT_LEADER;
    }
    /* One change at a time, and none before an entry of this term is committed: else two majorities that do not meet (E1). */
    if (self->blank_due || !raft_id_is_none(self->lead.transfer) || self->leaving ||
        (self->commit < self->lead.term_first && !MUTANT(CHANGE_BEFORE_COMMIT)) ||
        (self->members_index > self->commit && !MUTANT(CHANGE_TWICE) &&
         !MUTANT(CHANGE_BEFORE_COMMIT))) {
        return ERR_AGAIN;
    }
    struct raft_members now;
    struct raft_members next;
    raft_members_collect(self, &now);
    int error = raft_members_next(&now, target, target->explicit_leave != 0, &next);
    if (error < 0) {
        return error;
    }
    if (next.count > self->members_max) {
        return ERR_BAD_CONFIG;
    }
    if (newcomers_lag(self, &next)) {
        return ERR_THROTTLED;
    }
    raft_wake(self);
    *ret_members = next; /* `target` may be the same memory: read no more */
    struct raft_entry entry = {
        .term = self->term, .type = RAFT_ENTRY_CONFIG, .members = ret_members};
    raft_log_append(self, &entry);
    *ret_index = self->last;
    return 0;
}

int raft_force_config(struct raft *self, const struct raft_members *members, raft_index *ret_index)
{
    if (self->state == RAFT_STOPPED) {
        return ERR_POISONED;
    }
    if (self->state == RAFT_LEADER) {
        return ERR_AGAIN;
    }
    const struct raft_member *own = raft_members_find(members, self->id);
    if (raft_members_check(members) < 0 || raft_members_is_joint(members) ||
        members->count > self->members_max || own == NULL || (own->set & RAFT_VOTER) == 0) {
        return ERR_BAD_CONFIG;
    }
    raft_become_follower(self, self->term + 1, (struct raft_id){0, 0});
    self->vote = self->id; /* nobody else may lead in the term of this entry */
    self->suspect_last = 0;
    struct raft_entry entry = {.term = self->term, .type = RAFT_ENTRY_CONFIG, .members = members};
    raft_log_append(self, &entry);
    raft_election_deadline_reset(self);
    *ret_index = self->last;
    return 0;
}
