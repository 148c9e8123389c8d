/* replication: a leader brings the others' logs up to its own and commits what a majority has (paper 5.3, 5.4.2). What is sent when is decided in send.c;
 * here is what follows from the answers. */
#include "common/raft/state.h"

#include <string.h>

#include "common/base/err.h"

void raft_become_leader(struct raft *self)
{
    raft_reads_fail(self);
    raft_move(self, RAFT_LEADER);
    self->leader = self->id;
    self->blank_due = 1;
    memset(&self->lead, 0, sizeof(self->lead));
    self->lead.term_first = self->last + 1;
    self->lead.activity = self->now;
    self->lead.heartbeat_deadline = self->now + self->heartbeat_us;
    self->lead.quorum_deadline = self->now + self->election_timeout_us_max;
    self->lease_burnt = 0;
    self->leaving = 0;
    for (unsigned i = 0; i < self->peer_count; i++) {
        raft_peer_reset(self, &self->peer[i]);
    }
    if (self->self != RAFT_NO_PEER) {
        self->peer[self->self].match = self->durable;
    }
}

/* What is committed here: tell the state machine (drain), the others, and the configuration. */
void raft_commit_to(struct raft *self, raft_index index)
{
    self->commit = index;
    if (!self->members_committed && self->members_index <= index) {
        self->members_committed = 1;
        self->members_dirty = 1;
    }
    if (self->state != RAFT_LEADER) {
        return;
    }
    if (index == self->last) {
        self->lead.uncommitted_base = self->lead.proposed;
        self->lead.mark_index = 0;
    } else if (self->lead.mark_index != 0 && index >= self->lead.mark_index) {
        self->lead.uncommitted_base = self->lead.mark_pos;
        self->lead.mark_index = self->last;
        self->lead.mark_pos = self->lead.proposed;
    }
    for (unsigned i = 0; i < self->peer_count; i++) {
        self->peer[i].flags |= PEER_COMMIT;
    }
    self->send_dirty = 1;
    raft_reads_commit(self);
    if (self->members_committed &&
        (!raft_self_votes(self) || (self->peer[self->self].set & RAFT_WITNESS) != 0)) {
        self->leaving = 1; /* dissertation 4.2.2: not before its own removal is committed */
    }
}

void raft_leader_commit(struct raft *self)
{
    raft_index match = raft_quorum_match(self);
    if (match > self->commit && match <= self->last &&
        (match >= self->lead.term_first || MUTANT(COMMIT_OLD_TERM))) {
        raft_commit_to(self,
                       match); /* only entries of its own term are committed by counting (5.4.2) */
    }
}

void raft_leader_heard(struct raft *self, struct raft_peer *peer,
                       const struct raft_message *message)
{
    raft_time contact = MUTANT(LEASE_FROM_ANSWER) ? self->now : message->sent;
    if (contact > peer->contact && contact <= self->now) {
        peer->contact = contact;
    }
    if (message->round > peer->round && message->round <= self->lead.round) {
        peer->round = message->round;
        raft_reads_confirm(self);
    }
    if ((int32_t) (message->pos - peer->pos_acked) > 0 &&
        (int32_t) (peer->pos - message->pos) >= 0 && peer->state != RAFT_SNAPSHOT) {
        peer->pos_acked = message->pos;
    }
    self->send_dirty = 1;
}

static void reply_refused(struct raft *self, struct raft_peer *peer,
                          const struct raft_message *message)
{
    if (peer->state == RAFT_SNAPSHOT) {
        return;
    }
    raft_index hint = message->hint < self->last ? message->hint : self->last;
    raft_index equal = raft_find_conflict(self, hint, message->hint_term);
    if (MUTANT(HINT_IS_MATCH)) {
        peer->match = hint;
    }
    if (message->index <= peer->match) {
        /* It lacks what it had acknowledged: its disk lost it (suspect). Its answers come in order of seq, so this is how it is now. */
        peer->match = hint < peer->match ? hint : peer->match;
    }
    equal = equal > peer->match
                ? equal
                : peer->match; /* no answer, or compacted here: there a snapshot begins */
    self->retries++;
    raft_peer_probe(peer, (MUTANT(NO_BACKUP) ? peer->next - 1 : equal) + 1);
}

/* It has all up to message->index durable, and up to message->appended in memory. */
static void reply_accepted(struct raft *self, struct raft_peer *peer,
                           const struct raft_message *message)
{
    raft_index durable = message->index < self->last ? message->index : self->last;
    raft_index appended = message->appended < self->last ? message->appended : self->last;
    appended = appended > durable ? appended : durable;
    bool advanced = durable > peer->match;
    if (advanced) {
        peer->match = durable;
    }
    appended = appended > peer->match ? appended : peer->match; /* an older answer tells less */
    if (peer->state == RAFT_SNAPSHOT) {
        if (appended < self->compacted && appended + 1 < peer->next) {
            raft_snapshot_progress(self, peer, message);
            return;
        }
        /* Installed (the next one follows, if the log was compacted since), or it had the entries itself (B10). */
        raft_peer_probe(peer, appended + 1);
    }
    if (peer->state == RAFT_PROBE) {
        if (appended + 1 >= peer->next && (!MUTANT(PROBE_STUCK) || advanced)) {
            raft_peer_probe(peer, appended + 1);
            peer->state = RAFT_REPLICATE;
        } else if (raft_peer_lost(peer, message)) {
            peer->flags &= (uint16_t) ~PEER_WAIT; /* again, with what it carried */
        }
    } else if (appended + 1 > peer->next) {
        peer->next = appended + 1;
    } else if (appended + 1 < peer->next && raft_peer_lost(peer, message)) {
        self->retries++;
        raft_peer_probe(peer, appended + 1);
    }
    if (advanced) {
        raft_peer_arrived(peer, message);
        raft_transfer_check(self, peer);
        if (durable > self->commit &&
            ((peer->set & (RAFT_VOTER | RAFT_OLD)) != 0 || MUTANT(LEARNER_COUNTS))) {
            raft_leader_commit(self);
        }
    }
}

int raft_recv_append_reply(struct raft *self, const struct raft_message *message)
{
    if (message->term > self->term) {
        raft_become_follower(self, message->term, (struct raft_id){0, 0});
        return 0;
    }
    struct raft_peer *peer = raft_peer_find(self, message->from);
    bool old = message->term < self->term && !MUTANT(OLD_TERM_ANSWERS);
    if (self->state != RAFT_LEADER || old || peer == NULL ||
        (int32_t) (message->seq - peer->seq) > 0) {
        return 0;
    }
    bool rejected = (message->flags & RAFT_FLAG_REJECT) != 0;
    bool newer = (int32_t) (message->seq - peer->seq_acked) > 0 || !rejected;
    raft_leader_heard(self, peer, message);
    if ((int32_t) (message->seq - peer->seq_data) > 0) {
        peer->flags &= (uint16_t) ~PEER_MAY_SLEEP;
    }
    if (rejected && peer->state == RAFT_PROBE && message->index + 1 != peer->next &&
        message->index > peer->match) {
        newer = false; /* refuses an earlier probe */
    }
    if ((int32_t) (message->seq - peer->seq_acked) > 0) {
        peer->seq_acked = message->seq;
    }
    if (self->quiesced) {
        raft_wake(self);
    }
    if (!newer) {
        return 0;
    }
    if (rejected) {
        reply_refused(self, peer, message);
    } else {
        reply_accepted(self, peer, message);
    }
    return 0;
}

/* Beats, and the check that a majority still answers (dissertation 6.2). */
void raft_leader_advance(struct raft *self)
{
    raft_transfer_advance(self);
    raft_quiesce_advance(self);
    if (self->quiesced) {
        return;
    }
    if (self->now >= self->lead.heartbeat_deadline) {
        raft_time next = self->now + self->heartbeat_us;
        for (unsigned i = 0; i < self->peer_count; i++) {
            struct raft_peer *peer = &self->peer[i];
            if (i == self->self || (MUTANT(NO_BEAT_IN_FLIGHT) && peer->pos != peer->pos_acked)) {
                continue;
            }
            if ((peer->flags & PEER_QUIESCE) != 0) {
                continue; /* which is a beat, too */
            }
            if (self->now >= peer->sent + self->heartbeat_us) {
                peer->flags |= PEER_HEARTBEAT;
            } else if (peer->sent + self->heartbeat_us < next) {
                next = peer->sent + self->heartbeat_us;
            }
        }
        self->lead.heartbeat_deadline = next;
        self->send_dirty = 1;
        raft_drop_departed(self);
    }
    if (raft_checks_quorum(self) && self->now >= self->lead.quorum_deadline) {
        raft_time contact = raft_quorum_contact(self);
        if (contact != RAFT_NEVER && contact + self->election_timeout_us_max <= self->now) {
            raft_become_follower(self, self->term, (struct raft_id){0, 0});
            return;
        }
        raft_time from = contact < self->now ? contact : self->now;
        self->lead.quorum_deadline = from + self->election_timeout_us_max;
    }
}
