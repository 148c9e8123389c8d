/* progress: what a leader (or candidate) knows of each peer, and the majorities made of it. A joint configuration has two majorities, and both are
 * needed (dissertation 4.3). */
#include "common/raft/state.h"

#include <string.h>

struct raft_peer *raft_peer_find(struct raft *self, struct raft_id id)
{
    for (unsigned i = 0; i < self->peer_count; i++) {
        if (self->peer[i].id.node == id.node &&
            (self->peer[i].id.incarnation == id.incarnation || MUTANT(INCARNATION_IGNORED))) {
            return &self->peer[i];
        }
    }
    return NULL;
}

bool raft_self_votes(const struct raft *self)
{
    return self->self != RAFT_NO_PEER &&
           (self->peer[self->self].set & (RAFT_VOTER | RAFT_OLD)) != 0;
}

bool raft_peers_joint(const struct raft *self)
{
    for (unsigned i = 0; i < self->peer_count; i++) {
        if ((self->peer[i].set & RAFT_OLD) != 0) {
            return true;
        }
    }
    return false;
}

void raft_peer_reset(struct raft *self, struct raft_peer *peer)
{
    struct raft_peer fresh;
    memset(&fresh, 0, sizeof(fresh));
    fresh.id = peer->id;
    fresh.set = peer->set;
    fresh.priority = peer->priority;
    fresh.flags = peer->flags & (PEER_DOWN | PEER_DEPARTING);
    fresh.state = RAFT_PROBE;
    fresh.next = self->last + 1;
    if (MUTANT(MATCH_FROM_LAST)) {
        fresh.match = self->last;
    }
    *peer = fresh;
}

void raft_peer_probe(struct raft_peer *peer, raft_index next)
{
    peer->state = RAFT_PROBE;
    peer->next = next;
    peer->flags &= (uint16_t) ~PEER_WAIT;
    peer->pos_acked = peer->pos;
    peer->seq_acked = peer->seq;
    peer->offset = 0;
}

/* The value of which a majority of one half has at least as much. */
static uint64_t half_value(const struct raft *self, unsigned half,
                           uint64_t (*value_of)(const struct raft *, unsigned))
{
    uint64_t values[RAFT_MEMBERS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < self->peer_count; i++) {
        if ((self->peer[i].set & half) != 0) {
            values[count++] = value_of(self, i);
        }
    }
    return raft_quorum_value(values, count);
}

static uint64_t quorum_value(const struct raft *self,
                             uint64_t (*value_of)(const struct raft *, unsigned))
{
    uint64_t now = half_value(self, RAFT_VOTER, value_of);
    uint64_t old = half_value(self, RAFT_OLD, value_of);
    return now < old ? now : old;
}

static uint64_t peer_match(const struct raft *self, unsigned i)
{
    return self->peer[i].match;
}

static uint64_t peer_contact(const struct raft *self, unsigned i)
{
    return i == self->self ? UINT64_MAX : self->peer[i].contact;
}

static uint64_t peer_round(const struct raft *self, unsigned i)
{
    return i == self->self ? UINT64_MAX : self->peer[i].round;
}

raft_index raft_quorum_match(const struct raft *self)
{
    if (MUTANT(LEARNER_COUNTS)) {
        return half_value(self, RAFT_VOTER | RAFT_LEARNER, peer_match);
    }
    raft_index match = MUTANT(JOINT_NEW_ONLY) ? half_value(self, RAFT_VOTER, peer_match)
                                              : quorum_value(self, peer_match);
    if (MUTANT(REMOVED_COUNTS) && !raft_self_votes(self)) {
        raft_index best = 0; /* one of the others suffices, we being the second */
        for (unsigned i = 0; i < self->peer_count; i++) {
            best = self->peer[i].match > best ? self->peer[i].match : best;
        }
        return best;
    }
    /* Enough full copies: witnesses have none (dragonboat#106). */
    uint64_t copies[RAFT_MEMBERS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < self->peer_count; i++) {
        if ((self->peer[i].set & (RAFT_VOTER | RAFT_OLD)) != 0 &&
            (self->peer[i].set & RAFT_WITNESS) == 0) {
            copies[count++] = self->peer[i].match;
        }
    }
    unsigned wanted = self->data_copies_min < count ? self->data_copies_min : count;
    for (unsigned round = 0; round < wanted; round++) { /* the wanted-th highest */
        unsigned best = round;
        for (unsigned i = round + 1; i < count; i++) {
            best = copies[i] > copies[best] ? i : best;
        }
        uint64_t value = copies[best];
        copies[best] = copies[round];
        copies[round] = value;
    }
    if (wanted > 0 && copies[wanted - 1] < match) {
        match = copies[wanted - 1];
    }
    return match;
}

raft_time raft_quorum_contact(const struct raft *self)
{
    return quorum_value(self, peer_contact);
}

uint64_t raft_quorum_round(const struct raft *self)
{
    return quorum_value(self, peer_round);
}

static enum raft_tally half_tally(const struct raft *self, unsigned half)
{
    unsigned voters = 0;
    unsigned granted = 0;
    unsigned refused = 0;
    for (unsigned i = 0; i < self->peer_count; i++) {
        const struct raft_peer *peer = &self->peer[i];
        if ((peer->set & half) != 0) {
            voters++;
            granted += (peer->flags & PEER_GRANTED) != 0;
            refused += (peer->flags & PEER_REFUSED) != 0;
        }
    }
    if (2 * granted > voters || voters == 0) {
        return TALLY_WON;
    }
    return 2 * refused >= voters ? TALLY_LOST : TALLY_OPEN;
}

enum raft_tally raft_tally(const struct raft *self)
{
    enum raft_tally now = half_tally(self, RAFT_VOTER);
    enum raft_tally old = MUTANT(JOINT_VOTE_NEW_ONLY) ? TALLY_WON : half_tally(self, RAFT_OLD);
    if (now == TALLY_LOST || old == TALLY_LOST) {
        return TALLY_LOST;
    }
    return now == TALLY_WON && old == TALLY_WON ? TALLY_WON : TALLY_OPEN;
}
