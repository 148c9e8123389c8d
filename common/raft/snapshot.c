/* snapshot: a peer that needs what is compacted gets the newest snapshot (paper 7), in chunks, one under way at a time. How far it is, the peer tells with
 * every answer, so a lost chunk or a restart costs one chunk. What the bytes are is the drivers' affair; when chunks have no bytes the message is
 * an offer that drivers fulfil by other ways before they confirm the write. */
#include "common/raft/state.h"

#include <string.h>

#include "common/base/err.h"

bool raft_is_installing(const struct raft *self)
{
    return self->snapshot_index != 0 && self->snapshot_index == self->compacted;
}

bool raft_snapshot_begin(struct raft *self, struct raft_peer *peer)
{
    struct raft_snapshot snapshot = self->log->snapshot(self->log_ud);
    if (snapshot.index == 0 || snapshot.index < self->compacted) {
        return false; /* the driver has none yet */
    }
    peer->state = RAFT_SNAPSHOT;
    peer->next = snapshot.index + 1;
    peer->offset = 0;
    peer->flags &= (uint16_t) ~PEER_WAIT;
    return true;
}

bool raft_snapshot_send(struct raft *self, struct raft_peer *peer, struct raft_message *ret_message)
{
    if ((peer->flags & PEER_WAIT) != 0) {
        return false;
    }
    struct raft_snapshot snapshot = self->log->snapshot(self->log_ud);
    if (snapshot.index + 1 != peer->next) { /* a newer one took its place */
        if (!raft_snapshot_begin(self, peer)) {
            return false;
        }
    }
    uint64_t total = self->snapshot_chunk_bytes != 0 ? snapshot.bytes : 0;
    if (peer->offset > total) {
        peer->offset = 0;
    }
    uint64_t left = total - peer->offset;
    memset(ret_message, 0, sizeof(*ret_message));
    ret_message->group = self->group;
    ret_message->from = self->id;
    ret_message->to = peer->id;
    ret_message->term = self->term;
    ret_message->type = RAFT_MESSAGE_SNAPSHOT;
    ret_message->index = snapshot.index;
    ret_message->index_term = snapshot.term;
    ret_message->offset = peer->offset;
    ret_message->total = total;
    ret_message->bytes =
        left > self->snapshot_chunk_bytes ? self->snapshot_chunk_bytes : (uint32_t) left;
    ret_message->flags = ret_message->bytes == left ? RAFT_FLAG_LAST : 0;
    ret_message->commit = self->commit;
    ret_message->seq = ++peer->seq;
    ret_message->round = self->lead.round;
    ret_message->sent = self->now;
    ret_message->pos = peer->pos;
    peer->sent = self->now;
    peer->seq_data = ret_message->seq;
    peer->flags |= PEER_WAIT;
    peer->flags &= (uint16_t) ~(PEER_HEARTBEAT | PEER_ASLEEP);
    return true;
}

/* What the peer has of the snapshot under way, told by any answer: offset is the next byte it wants. */
void raft_snapshot_progress(struct raft *self, struct raft_peer *peer,
                            const struct raft_message *message)
{
    bool same = message->hint + 1 == peer->next;
    uint64_t wanted = same ? message->offset : 0;
    struct raft_snapshot snapshot = self->log->snapshot(self->log_ud);
    uint64_t total = self->snapshot_chunk_bytes != 0 ? snapshot.bytes : 0;
    if (same && (message->flags & RAFT_FLAG_LAST) != 0) {
        return; /* it has all of it and makes it durable: that may take long */
    }
    if (same && wanted > peer->offset && wanted <= total) {
        raft_peer_arrived(peer, message);
        peer->offset = wanted;
        peer->flags &= (uint16_t) ~PEER_WAIT;
    } else if (raft_peer_lost(peer, message)) {
        peer->offset = wanted; /* asked after the chunk left, it has not got it */
        peer->flags &= (uint16_t) ~PEER_WAIT;
        self->retries++;
    }
    raft_touch(self);
}

int raft_recv_snapshot_reply(struct raft *self, const struct raft_message *message)
{
    if (message->term > self->term) {
        raft_become_follower(self, message->term, (struct raft_id){0, 0});
        return 0;
    }
    struct raft_peer *peer = raft_peer_find(self, message->from);
    if (self->state != RAFT_LEADER || message->term < self->term || peer == NULL ||
        (int32_t) (message->seq - peer->seq) > 0) {
        return 0;
    }
    raft_leader_heard(self, peer, message);
    if (peer->state == RAFT_SNAPSHOT) {
        raft_snapshot_progress(self, peer, message);
    }
    return 0;
}

static void snapshot_install(struct raft *self, const struct raft_message *message)
{
    self->compacted = message->index;
    self->compacted_term = message->index_term;
    self->last = message->index;
    self->last_term = message->index_term;
    self->run_first = message->index;
    self->written = message->index;
    self->truncate_from = 0;
    self->durable = 0; /* until the snapshot is */
    for (unsigned i = 0; i < self->slot_count; i++) {
        self->slot[i].last = 0;
    }
    self->verified = message->index;
    self->snapshot_due = 1;
    self->snapshots++;
    if (!MUTANT(SNAPSHOT_KEEPS_MEMBERS)) {
        raft_members_activate(self, message->members, message->index);
    }
    raft_commit_to(self, message->index);
    self->commit_out = self->commit; /* the driver loads it, it does not apply */
    if (self->applied > self->commit_out) {
        self->applied = self->commit_out; /* of entries that were damaged since: they come again */
    }
}

int raft_recv_snapshot(struct raft *self, const struct raft_message *message,
                       struct raft_taken *ret_taken)
{
    bool last = (message->flags & RAFT_FLAG_LAST) != 0;
    if (message->index == 0 || message->index_term == 0 || message->index_term > message->term ||
        message->offset + message->bytes > message->total ||
        last != (message->offset + message->bytes == message->total) ||
        (last && (message->members == NULL || raft_members_check(message->members) < 0 ||
                  message->members->count > self->members_max))) {
        return ERR_BAD_FORMAT;
    }
    if (!raft_follow(self, message)) {
        return 0;
    }
    raft_ack_echo(self, message);
    if (raft_is_installing(self)) {
        self->owed.ack_flags |= ACK_SNAPSHOT; /* one is being made durable already */
        return 0;
    }
    if (raft_term_at(self, message->index) == message->index_term ||
        (message->index <= self->commit && !MUTANT(SNAPSHOT_ALWAYS))) {
        /* Nothing new: everything up to there is in this log, and equal. */
        if (message->index > self->verified) {
            self->verified = message->index;
        }
        if (message->index > self->commit) {
            raft_commit_to(self, message->index);
        }
        self->owed.ack_flags |= ACK_NOW | ACK_OWED;
        return 0;
    }
    if (self->snapshot_index != message->index || self->snapshot_term != message->index_term) {
        self->snapshot_index = message->index;
        self->snapshot_term = message->index_term;
        self->snapshot_offset = 0;
    }
    self->owed.ack_flags |= ACK_SNAPSHOT;
    if (message->offset != self->snapshot_offset) {
        return 0; /* the answer says what is wanted */
    }
    ret_taken->chunk = true;
    self->snapshot_offset += message->bytes;
    if (last) {
        ret_taken->install = true;
        snapshot_install(self, message);
    }
    return 0;
}
