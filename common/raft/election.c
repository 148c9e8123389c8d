/* election: when to campaign, whom to vote for (paper 5.2, 5.4.1; dissertation 4.2.3 and 9.6). Votes are counted by member, never by message. */
#include "common/raft/state.h"

#include <string.h>

#include "common/base/err.h"

/* Was it a voter that may lead before a change that is not committed? Then it may have to lead until the change that removes it is committed (dissertation 4.2.2). */
static bool was_voter(const struct raft *self)
{
    struct raft_members members;
    memset(&members, 0, sizeof(members));
    if (self->members_index <= self->commit || self->members_index == 0 ||
        MUTANT(REMOVED_IS_MUTE)) {
        return false;
    }
    (void) self->log->members_at(self->log_ud, self->members_index - 1, &members);
    const struct raft_member *own = raft_members_find(&members, self->id);
    return own != NULL && (own->set & (RAFT_VOTER | RAFT_OLD)) != 0 &&
           (own->set & RAFT_WITNESS) == 0 && (own->priority != 0 || self->only_hope);
}

bool raft_can_campaign(const struct raft *self)
{
    if (self->state == RAFT_STOPPED || self->suspect_last != 0 || self->peer_count == 0 ||
        self->snapshot_due) {
        return false;
    }
    if (!raft_self_votes(self)) {
        return was_voter(self);
    }
    const struct raft_peer *own = &self->peer[self->self];
    if ((own->set & RAFT_WITNESS) != 0) {
        return was_voter(self) || MUTANT(WITNESS_LEADS);
    }
    return own->priority != 0 || self->only_hope;
}

/* Random in [min, max), later for those whom others go before; who has lost an election tries again at once, for those others may be unfit. */
void raft_election_deadline_reset(struct raft *self)
{
    uint64_t width = self->election_timeout_us_max - self->election_timeout_us_min;
    uint64_t wait = self->election_timeout_us_min + ((raft_random(self) >> 32) * width >> 32);
    unsigned before = 0;
    bool lost = self->state == RAFT_CANDIDATE;
    for (unsigned i = 0; i < self->peer_count && self->self != RAFT_NO_PEER && !lost; i++) {
        before += (self->peer[i].set & RAFT_VOTER) != 0 &&
                  (self->peer[i].set & RAFT_WITNESS) == 0 &&
                  self->peer[i].priority > self->peer[self->self].priority;
    }
    self->election_deadline = self->now + wait + (before < 3 ? before : 3) * width;
}

bool raft_hears_leader(const struct raft *self)
{
    if (self->state == RAFT_LEADER || self->quiesced) {
        return true;
    }
    return self->contact != 0 && self->now < self->contact + self->election_timeout_us_min;
}

static bool is_alone(const struct raft *self)
{
    unsigned others = 0;
    for (unsigned i = 0; i < self->peer_count; i++) {
        others += i != self->self && (self->peer[i].set & (RAFT_VOTER | RAFT_OLD)) != 0;
    }
    return others == 0;
}

void raft_election_start(struct raft *self, enum raft_campaign kind)
{
    bool pre = kind == CAMPAIGN_ASK_FIRST && self->pre_vote && !is_alone(self);
    struct raft_id nobody = {0, 0};
    if (!raft_id_is_none(self->leader)) {
        raft_reads_fail(self);
    }
    self->leader = nobody;
    self->quiesced = 0;
    self->owed.ack_flags = 0;
    self->elections += !pre;
    self->transfer_vote = kind == CAMPAIGN_BY_TRANSFER;
    self->self_voted = 0;
    if (!pre) {
        self->term++;
        self->vote = self->id;
        self->hard_dirty = 1;
        self->verified = self->commit;
        self->suspect_goal = 0;
        if (!raft_is_installing(self)) {
            self->snapshot_index = 0;
        }
    }
    for (unsigned i = 0; i < self->peer_count; i++) {
        struct raft_peer *peer = &self->peer[i];
        peer->flags &= (uint16_t) ~(PEER_GRANTED | PEER_REFUSED | PEER_ASK);
        if (i == self->self) {
            peer->flags |= pre ? PEER_GRANTED : 0; /* a real vote counts when it is durable */
        } else if ((peer->set & (RAFT_VOTER | RAFT_OLD)) != 0) {
            peer->flags |= PEER_ASK;
        }
    }
    raft_election_deadline_reset(self);
    raft_move(self, pre ? RAFT_PRE_CANDIDATE : RAFT_CANDIDATE);
}

void raft_election_tally(struct raft *self)
{
    if (self->state == RAFT_CANDIDATE && !self->self_voted && !self->hard_dirty &&
        self->wseq_durable >= self->wseq_hard) {
        self->self_voted = 1;
        if (self->self != RAFT_NO_PEER) {
            self->peer[self->self].flags |= PEER_GRANTED;
        }
    }
    if (self->state != RAFT_PRE_CANDIDATE && (self->state != RAFT_CANDIDATE || !self->self_voted)) {
        return;
    }
    enum raft_tally tally = raft_tally(self);
    if (tally == TALLY_LOST) {
        raft_become_follower(self, self->term, (struct raft_id){0, 0});
    } else if (tally == TALLY_WON) {
        if (self->state == RAFT_PRE_CANDIDATE) {
            raft_election_start(self, CAMPAIGN_NOW);
        } else {
            raft_become_leader(self);
        }
    }
}

/* Is the candidate's log at least as good as ours (paper 5.4.1)? Term first, then length. */
static bool log_is_fresh(const struct raft *self, const struct raft_message *message)
{
    if (MUTANT(VOTE_ANY_LOG)) {
        return true;
    }
    if (MUTANT(VOTE_TERM_AND_INDEX)) {
        return message->index_term >= self->last_term && message->index >= self->last;
    }
    return message->index_term > self->last_term ||
           (message->index_term == self->last_term && message->index >= self->last);
}

int raft_recv_vote(struct raft *self, const struct raft_message *message)
{
    bool pre = message->type == RAFT_MESSAGE_PRE_VOTE;
    unsigned reply = pre ? RAFT_MESSAGE_PRE_VOTE_REPLY : RAFT_MESSAGE_VOTE_REPLY;
    if (self->state == RAFT_FOLLOWER && message->term > self->term &&
        raft_id_equal(message->from, self->leader)) {
        /* Our leader asks for votes: it leads no more, and what we promised it, asleep or awake, is void. A sleeper learns it in no other way. */
        raft_become_follower(self, self->term, (struct raft_id){0, 0});
        self->contact = 0;
        raft_election_deadline_reset(self);
    }
    if (raft_hears_leader(self) && (message->flags & RAFT_FLAG_TRANSFER) == 0 &&
        !MUTANT(NO_STICKINESS)) {
        /* Whoever can't hear a leader that we hear must not disturb it (dissertation 4.2.3); our leases stand on this, too. */
        if (self->state == RAFT_LEADER && raft_peer_find(self, message->from) != NULL) {
            raft_wake(self); /* perhaps it sleeps, and this member does not: beat */
        }
        if (raft_peer_find(self, message->from) != NULL) {
            raft_sleeper_asks(self);
        }
        if (pre || message->term < self->term) {
            raft_reply_put(self, message->from, self->term, reply, RAFT_FLAG_REJECT);
        }
        return 0;
    }
    if (message->term < self->term) {
        raft_reply_put(self, message->from, self->term, reply, RAFT_FLAG_REJECT);
        return 0;
    }
    if (message->term > self->term && !pre) {
        raft_become_follower(self, message->term, (struct raft_id){0, 0});
    }
    bool free_to_vote = raft_id_equal(self->vote, message->from) ||
                        (raft_id_is_none(self->vote) && raft_id_is_none(self->leader)) ||
                        (pre && message->term > self->term) || MUTANT(VOTE_TWICE);
    bool granted = free_to_vote && log_is_fresh(self, message) &&
                   (self->suspect_last == 0 || MUTANT(SUSPECT_VOTES)) &&
                   (!MUTANT(LEARNER_REFUSES) || raft_self_votes(self)) &&
                   self->state != RAFT_LEADER;
    if (!log_is_fresh(self, message) && raft_peer_find(self, message->from) != NULL) {
        self->only_hope = 1; /* perhaps nobody else has what we have */
    }
    if (pre) {
        raft_reply_put(self, message->from, granted ? message->term : self->term, reply,
                       granted ? 0 : RAFT_FLAG_REJECT);
        return 0;
    }
    if (granted) {
        if (!raft_id_equal(self->vote, message->from)) {
            self->vote = message->from;
            self->hard_dirty = !MUTANT(VOTE_NOT_WRITTEN) || self->hard_dirty;
        }
        raft_election_deadline_reset(self);
    }
    raft_reply_put(self, message->from, self->term, reply, granted ? 0 : RAFT_FLAG_REJECT);
    return 0;
}

int raft_recv_vote_reply(struct raft *self, const struct raft_message *message)
{
    bool pre = message->type == RAFT_MESSAGE_PRE_VOTE_REPLY;
    bool rejected = (message->flags & RAFT_FLAG_REJECT) != 0;
    if (message->term > self->term && (!pre || rejected)) {
        /* Refused by somebody of a higher term: without adopting it we'd ask in vain for ever (etcd#8243). */
        if (!(pre && MUTANT(PRE_VOTE_KEEPS_TERM))) {
            raft_become_follower(self, message->term, (struct raft_id){0, 0});
        }
        return 0;
    }
    bool ours =
        pre ? self->state == RAFT_PRE_CANDIDATE && (rejected || message->term == self->term + 1)
            : self->state == RAFT_CANDIDATE && message->term == self->term;
    struct raft_peer *peer = raft_peer_find(self, message->from);
    if (!ours || peer == NULL) {
        return 0;
    }
    for (unsigned i = 0; MUTANT(VOTE_PER_MESSAGE) && i < self->peer_count; i++) {
        struct raft_peer *other = &self->peer[i]; /* the message counts for somebody */
        if ((peer->flags & PEER_GRANTED) != 0 && (other->flags & PEER_GRANTED) == 0) {
            peer = other;
        }
    }
    if ((peer->flags & (PEER_GRANTED | PEER_REFUSED)) == 0) {
        peer->flags |= rejected ? PEER_REFUSED : PEER_GRANTED;
    }
    raft_election_tally(self);
    return 0;
}

int raft_campaign(struct raft *self)
{
    if (self->state == RAFT_STOPPED) {
        return ERR_POISONED;
    }
    /* Under lease reads our own promise to the leader counts, too. */
    if (self->state == RAFT_LEADER || !raft_can_campaign(self) ||
        (self->lease_reads && raft_hears_leader(self))) {
        return ERR_AGAIN;
    }
    raft_election_start(self, CAMPAIGN_ASK_FIRST);
    raft_election_tally(self);
    return 0;
}
