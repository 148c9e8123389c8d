/* quiesce: a group with nothing to do sends nothing and has no deadline. The leader puts to sleep every follower that has all; each promises not to
 * campaign nor vote while the session between its node and the leader's lives (node.h). Whatever happens wakes the leader, and it beats. */
#include "common/raft/state.h"

#include "common/base/err.h"

void raft_wake(struct raft *self)
{
    if (self->state != RAFT_LEADER) {
        return;
    }
    self->lead.activity = self->now;
    for (unsigned i = 0; i < self->peer_count; i++) {
        self->peer[i].flags &= (uint16_t) ~(PEER_ASLEEP | PEER_QUIESCE);
    }
    if (self->quiesced) {
        self->quiesced = 0;
        self->state_dirty = 1;
        for (unsigned i = 0; i < self->peer_count; i++) {
            self->peer[i].flags |= i != self->self ? PEER_HEARTBEAT : 0;
        }
        self->lead.heartbeat_deadline = self->now + self->heartbeat_us;
        self->lead.quorum_deadline = self->now + self->election_timeout_us_max;
        raft_touch(self);
    }
}

static bool is_idle(const struct raft *self)
{
    if (self->quiesce_after_us == 0 || self->state != RAFT_LEADER || self->quiesced ||
        self->commit != self->last || self->durable != self->last || self->blank_due ||
        self->leaving || !raft_can_campaign(self) || self->read_count != 0 ||
        !raft_id_is_none(self->lead.transfer) || self->joint) {
        return false;
    }
    for (unsigned i = 0; i < self->peer_count; i++) {
        const struct raft_peer *peer = &self->peer[i];
        if (i != self->self && (peer->flags & PEER_DOWN) == 0 &&
            (peer->match != self->last || (peer->flags & PEER_DEPARTING) != 0) &&
            !MUTANT(QUIESCE_BEHIND)) {
            return false;
        }
    }
    return true;
}

void raft_quiesce_advance(struct raft *self)
{
    if (!is_idle(self) || self->now < self->lead.activity + self->quiesce_after_us) {
        return;
    }
    /* All at the same beat, those that sleep already, too: an APPEND would wake them, and then some are always awake. */
    for (unsigned i = 0; i < self->peer_count; i++) {
        struct raft_peer *peer = &self->peer[i];
        if (i != self->self && (peer->flags & PEER_DOWN) == 0 &&
            self->now >= self->lead.heartbeat_deadline) {
            peer->flags |= PEER_QUIESCE;
        }
    }
}

int raft_recv_quiesce(struct raft *self, const struct raft_message *message)
{
    if (!raft_follow(self, message)) {
        return 0;
    }
    raft_ack_echo(self, message);
    self->owed.ack_flags |= ACK_QUIESCE;
    self->owed.ack_flags &= ~(uint32_t) ACK_AWAKE;
    bool equal = message->index == self->last && message->index_term == self->last_term &&
                 self->durable == self->last && message->commit == self->last;
    const struct raft_peer *leader = raft_peer_find(self, message->from);
    bool down = leader != NULL && (leader->flags & PEER_DOWN) != 0; /* who would wake us? */
    if ((!equal && !MUTANT(QUIESCE_BEHIND)) || self->read_count != 0 || self->suspect_last != 0 ||
        down) {
        self->owed.ack_flags |= ACK_AWAKE;
        return 0;
    }
    if (equal) {
        self->verified = self->last;
        if (self->commit < self->last) {
            raft_commit_to(self, self->last);
        }
    }
    self->quiesced = 1;
    self->state_dirty = 1;
    return 0;
}

/* Somebody wants our vote while we sleep. We stay asleep, for our leader may live and count on it, but ask it to wake us. */
void raft_sleeper_asks(struct raft *self)
{
    if (self->state == RAFT_FOLLOWER && self->quiesced) {
        self->owed.ack_flags |= ACK_QUIESCE | ACK_AWAKE;
        self->send_dirty = 1;
    }
}

/* A sleeper asks somebody who does not lead any more, or is told so (index 0: nobody's log is empty). */
static void quiesce_is_over(struct raft *self, const struct raft_message *message)
{
    if ((message->flags & RAFT_FLAG_REJECT) == 0) {
        return;
    }
    if (message->index != 0) {
        raft_reply_put(self, message->from, self->term, RAFT_MESSAGE_QUIESCE_REPLY,
                       RAFT_FLAG_REJECT);
    } else if (message->term == self->term && self->quiesced &&
               message->from.node == self->leader.node &&
               message->from.incarnation >= self->leader.incarnation) {
        raft_become_follower(self, self->term, (struct raft_id){0, 0});
        raft_election_deadline_reset(self);
    }
}

/* Somebody sleeps by, or asks, a leader whose disk was lost: that one never comes back, and nobody but us can say so. It stands on no term of ours. */
void raft_recv_stray(struct raft *self, const struct raft_message *message)
{
    if (message->type == RAFT_MESSAGE_QUIESCE_REPLY && message->index != 0 &&
        message->to.node == self->id.node && message->to.incarnation < self->id.incarnation) {
        raft_reply_put(self, message->from, message->term, RAFT_MESSAGE_QUIESCE_REPLY,
                       RAFT_FLAG_REJECT);
    }
}

int raft_recv_quiesce_reply(struct raft *self, const struct raft_message *message)
{
    if (message->term > self->term) {
        raft_become_follower(self, message->term, (struct raft_id){0, 0});
        return 0;
    }
    struct raft_peer *peer = raft_peer_find(self, message->from);
    if (self->state != RAFT_LEADER || message->term < self->term) {
        quiesce_is_over(self, message);
        return 0;
    }
    if (peer == NULL || (int32_t) (message->seq - peer->seq) > 0) {
        return 0;
    }
    if ((message->flags & RAFT_FLAG_REJECT) != 0 && self->quiesced) {
        raft_wake(self);
    }
    raft_leader_heard(self, peer, message);
    if ((int32_t) (message->seq - peer->seq_acked) > 0) {
        peer->seq_acked = message->seq;
    }
    if ((message->flags & RAFT_FLAG_REJECT) != 0 || message->index != self->last ||
        (int32_t) (message->seq - peer->seq_data) < 0 || !is_idle(self) ||
        message->seq != peer->seq) {
        peer->flags &= (uint16_t) ~PEER_ASLEEP;
        peer->flags |=
            PEER_HEARTBEAT; /* it was woken again since, or we were, or it lacks something */
        return 0;
    }
    if (peer->state == RAFT_PROBE) { /* it has all: nothing is to be found out any more (B10) */
        raft_peer_probe(peer, self->last + 1);
        peer->state = RAFT_REPLICATE;
    }
    peer->flags |= PEER_ASLEEP;
    for (unsigned i = 0; i < self->peer_count; i++) {
        if (i != self->self && (self->peer[i].flags & (PEER_ASLEEP | PEER_DOWN)) == 0) {
            return 0;
        }
    }
    if (raft_quorum_contact(self) + self->election_timeout_us_max > self->now ||
        raft_quorum_contact(self) == RAFT_NEVER) {
        self->quiesced = 1;
        self->state_dirty = 1;
    }
    return 0;
}

void raft_session(struct raft *self, raft_time now, uint32_t node, bool up)
{
    self->now = now > self->now ? now : self->now;
    raft_touch(self);
    for (unsigned i = 0; i < self->peer_count; i++) {
        struct raft_peer *peer = &self->peer[i];
        if (peer->id.node != node) {
            continue;
        }
        peer->flags = (uint16_t) (up ? peer->flags & ~PEER_DOWN : peer->flags | PEER_DOWN);
        peer->flags &= (uint16_t) ~(PEER_ASLEEP | PEER_MAY_SLEEP);
        if (self->state == RAFT_LEADER) {
            raft_wake(self); /* up: it may lack something. Down: is there still a majority? */
            if (!up && peer->state == RAFT_REPLICATE) {
                raft_peer_probe(peer, peer->match + 1);
            }
        }
    }
    if (up && self->leader.node == node) {
        raft_sleeper_asks(self); /* it is another process, perhaps: does it lead still? */
    }
    if (!up && self->state == RAFT_FOLLOWER && self->quiesced && self->leader.node == node) {
        self->quiesced = 0;
        self->state_dirty = 1;
        self->contact =
            self->now != 0
                ? self->now
                : 1; /* a beat of ours may have carried the leader's lease on until just now */
        raft_election_deadline_reset(self);
    }
}

void raft_session_contact(struct raft *self, uint32_t node, raft_time sent)
{
    for (unsigned i = 0; i < self->peer_count && self->quiesced && self->state == RAFT_LEADER;
         i++) {
        struct raft_peer *peer = &self->peer[i];
        if (peer->id.node == node && (peer->flags & PEER_ASLEEP) != 0 && sent > peer->contact) {
            peer->contact = sent;
        }
    }
}

void raft_unreachable(struct raft *self, uint32_t node)
{
    for (unsigned i = 0; i < self->peer_count && self->state == RAFT_LEADER; i++) {
        struct raft_peer *peer = &self->peer[i];
        if (peer->id.node == node && peer->state == RAFT_REPLICATE) {
            raft_peer_probe(peer, peer->match + 1);
        } else if (peer->id.node == node) {
            peer->flags &= (uint16_t) ~PEER_WAIT;
        }
    }
    raft_touch(self);
}
