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

enum { PATIENCE_MAX = 8 };

bool raft_peer_lost(struct raft_peer *peer, const struct raft_message *message)
{
    unsigned patience = peer->flags / PEER_PATIENCE;
    if ((int32_t) (message->seq - peer->seq_data) < 1 << patience) {
        return false;
    }
    if (patience < PATIENCE_MAX) {
        peer->flags += PEER_PATIENCE;
    }
    return true;
}

void raft_peer_arrived(struct raft_peer *peer, const struct raft_message *message)
{
    unsigned patience = peer->flags / PEER_PATIENCE;
    if (patience != 0 && 2 * (int32_t) (message->seq - peer->seq_data) < 1 << patience) {
        peer->flags -= PEER_PATIENCE;
    }
}

/* The highest value that a majority of one half reaches; UINT64_MAX for an empty half, so that the lower of both halves is right. Few peers: counting
 * for each is quicker than sorting. */
static inline uint64_t half_value(const struct raft *self, unsigned half,
                                  uint64_t (*value_of)(const struct raft *, unsigned))
{
    uint64_t best = 0;
    unsigned voters = 0;
    for (unsigned i = 0; i < self->peer_count; i++) {
        voters += (self->peer[i].set & half) != 0;
    }
    for (unsigned i = 0; i < self->peer_count; i++) {
        uint64_t value = value_of(self, i);
        if ((self->peer[i].set & half) == 0 || value <= best) {
            continue;
        }
        unsigned reach = 0;
        for (unsigned k = 0; k < self->peer_count; k++) {
            reach += (self->peer[k].set & half) != 0 && value_of(self, k) >= value;
        }
        best = 2 * reach > voters ? value : best;
    }
    return voters == 0 ? UINT64_MAX : best;
}

static inline uint64_t quorum_value(const struct raft *self,
                                    uint64_t (*value_of)(const struct raft *, unsigned))
{
    uint64_t now = half_value(self, RAFT_VOTER, value_of);
    uint64_t old = self->joint ? half_value(self, RAFT_OLD, value_of) : UINT64_MAX;
    return now < old ? now : old;
}

static inline uint64_t peer_match(const struct raft *self, unsigned i)
{
    if (MUTANT(JOINT_WITHOUT_LEADER) && self->joint && i == self->self) {
        return 0;
    }
    return self->peer[i].match;
}

static inline uint64_t peer_contact(const struct raft *self, unsigned i)
{
    return i == self->self ? UINT64_MAX : self->peer[i].contact;
}

static inline uint64_t peer_round(const struct raft *self, unsigned i)
{
    return i == self->self ? UINT64_MAX : self->peer[i].round;
}

/* At most `match`: what enough full copies have. Witnesses have none (dragonboat#106). */
static raft_index copied(const struct raft *self, raft_index match)
{
    for (;;) {
        unsigned full = 0;
        unsigned reach = 0;
        raft_index below = 0;
        for (unsigned i = 0; i < self->peer_count; i++) {
            const struct raft_peer *peer = &self->peer[i];
            if ((peer->set & (RAFT_VOTER | RAFT_OLD)) == 0 ||
                ((peer->set & RAFT_WITNESS) != 0 && !MUTANT(WITNESS_IS_COPY))) {
                continue;
            }
            full++;
            if (peer->match >= match) {
                reach++;
            } else if (peer->match > below) {
                below = peer->match;
            }
        }
        if (reach >= self->data_copies_min || reach == full) {
            return match;
        }
        match = below;
    }
}

raft_index raft_quorum_match(const struct raft *self)
{
    if (MUTANT(LEARNER_COUNTS)) {
        return half_value(self, RAFT_VOTER | RAFT_LEARNER, peer_match);
    }
    if (MUTANT(REMOVED_COUNTS) && !raft_self_votes(self)) {
        raft_index best = 0; /* one of the others suffices, we being the second */
        for (unsigned i = 0; i < self->peer_count; i++) {
            best = self->peer[i].match > best ? self->peer[i].match : best;
        }
        return best;
    }
    return copied(self, MUTANT(JOINT_NEW_ONLY) ? half_value(self, RAFT_VOTER, peer_match)
                                               : quorum_value(self, peer_match));
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
            granted += (peer->flags & PEER_GRANTED) != 0 ||
                       (MUTANT(SILENCE_IS_YES) && self->state == RAFT_PRE_CANDIDATE &&
                        (peer->flags & PEER_REFUSED) == 0);
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
