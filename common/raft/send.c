/* send: which message leaves next. Nothing is queued: what a peer should get follows from what is known of it, so any number of inputs becomes one
 * message a peer and window. Nothing leaves before the term and vote it stands on are durable (paper 5: "persistent state ... before responding"). */
#include "common/raft/state.h"

#include <string.h>

static void message_begin(const struct raft *self, struct raft_message *message, unsigned type,
                          struct raft_id to)
{
    /* Field by field: for this size gcc makes of memset the instruction that takes longest. */
    message->group = self->group;
    message->from = self->id;
    message->to = to;
    message->term = self->term;
    message->index = 0;
    message->index_term = 0;
    message->commit = 0;
    message->appended = 0;
    message->hint = 0;
    message->hint_term = 0;
    message->token = 0;
    message->round = 0;
    message->offset = 0;
    message->total = 0;
    message->sent = 0;
    message->seq = 0;
    message->pos = 0;
    message->bytes = 0;
    message->count = 0;
    message->type = (uint8_t) type;
    message->flags = 0;
    message->entries = NULL;
    message->members = NULL;
}

/* To a peer, wanting an answer. */
static void message_mark(struct raft *self, struct raft_peer *peer, struct raft_message *message)
{
    message->seq = ++peer->seq;
    message->round = self->lead.round;
    message->sent = self->now;
    message->pos = peer->pos;
    message->commit =
        MUTANT(COMMIT_TOLD_ONCE) && (peer->flags & PEER_COMMIT) == 0 ? 0 : self->commit;
    peer->sent = self->now;
    peer->flags &= (uint16_t) ~(PEER_HEARTBEAT | PEER_COMMIT | PEER_ASLEEP);
}

static bool window_is_open(const struct raft *self, const struct raft_peer *peer)
{
    return (peer->pos - peer->pos_acked < self->inflight_bytes_max &&
            peer->seq - peer->seq_acked < self->inflight_messages_max) ||
           MUTANT(WINDOW_IGNORED);
}

/* An APPEND with `count` entries behind `prev`. */
static void append_fill(struct raft *self, struct raft_peer *peer, raft_index prev, uint32_t count,
                        uint32_t bytes, struct raft_message *message)
{
    message_begin(self, message, RAFT_MESSAGE_APPEND, peer->id);
    message->index = prev;
    message->index_term = raft_term_at(self, prev);
    message->count = (uint16_t) count;
    message->bytes = bytes;
    peer->pos += bytes;
    message_mark(self, peer, message);
    if (count != 0) {
        peer->seq_data = message->seq;
    }
    if (prev + count == self->last) {
        message->flags |= RAFT_FLAG_END;
    }
    if ((peer->set & RAFT_WITNESS) != 0 &&
        self->members_committed) { /* before, it may still have to lead */
        message->flags |= RAFT_FLAG_WITNESS;
    }
}

/* Entries, if there are some and the window is open. */
static bool send_entries(struct raft *self, struct raft_peer *peer, struct raft_message *message)
{
    raft_index last = (peer->flags & PEER_DEPARTING) != 0 ? self->members_index : self->last;
    if (peer->state == RAFT_SNAPSHOT || (peer->flags & PEER_WAIT) != 0 || peer->next > last ||
        (peer->state == RAFT_REPLICATE && !window_is_open(self, peer))) {
        return false;
    }
    if (peer->next <= self->compacted) {
        return !MUTANT(TRIMMED_IS_LOST) && raft_snapshot_begin(self, peer) &&
               raft_snapshot_send(self, peer, message);
    }
    if (last - peer->next >= self->message_entries_max) {
        last = peer->next + self->message_entries_max - 1;
    }
    uint32_t bytes = 0;
    raft_index upto =
        self->log->cut(self->log_ud, peer->next, last, self->message_bytes_max, &bytes);
    INVARIANT(upto >= peer->next && upto <= last);
    append_fill(self, peer, peer->next - 1, (uint32_t) (upto - peer->next + 1), bytes, message);
    if (peer->state == RAFT_PROBE) {
        peer->flags |= PEER_WAIT; /* where it goes on, the answer tells */
    } else {
        peer->next = upto + 1;
    }
    return true;
}

/* No entries: a beat that wants an answer, or the commit index alone, which does not. */
static bool send_empty(struct raft *self, struct raft_peer *peer, struct raft_message *message)
{
    bool beat = (peer->flags & PEER_HEARTBEAT) != 0;
    if (!beat && ((peer->flags & PEER_COMMIT) == 0 || peer->state != RAFT_REPLICATE)) {
        return false;
    }
    raft_index prev = peer->match;
    if (peer->state == RAFT_PROBE && (peer->flags & PEER_WAIT) == 0) {
        prev = peer->next - 1; /* a probe that costs nothing */
    }
    if (prev < self->compacted) {
        prev = 0; /* its term is gone; a follower takes index 0 as equal */
    }
    if (beat) {
        append_fill(self, peer, prev, 0, 0, message);
        return true;
    }
    message_begin(self, message, RAFT_MESSAGE_APPEND, peer->id);
    message->index = prev;
    message->index_term = raft_term_at(self, prev);
    message->commit = self->commit;
    message->seq = peer->seq;
    message->round = 0;
    message->pos = peer->pos;
    message->flags = RAFT_FLAG_SILENT;
    peer->flags &= (uint16_t) ~PEER_COMMIT;
    return true;
}

static bool send_as_leader(struct raft *self, struct raft_peer *peer, struct raft_message *message)
{
    if (raft_id_equal(peer->id, self->id) || self->blank_due) {
        return false;
    }
    if ((peer->flags & PEER_TIMEOUT_NOW) != 0) {
        peer->flags &= (uint16_t) ~PEER_TIMEOUT_NOW;
        message_begin(self, message, RAFT_MESSAGE_TIMEOUT_NOW, peer->id);
        message->index = self->last;
        message->index_term = self->last_term;
        return true;
    }
    if (peer->state == RAFT_SNAPSHOT && raft_snapshot_send(self, peer, message)) {
        return true;
    }
    if (send_entries(self, peer, message) || send_empty(self, peer, message)) {
        return true;
    }
    if ((peer->flags & PEER_QUIESCE) != 0) {
        peer->flags &= (uint16_t) ~PEER_QUIESCE;
        message_begin(self, message, RAFT_MESSAGE_QUIESCE, peer->id);
        message->index = self->last;
        message->index_term = self->last_term;
        message_mark(self, peer, message);
        peer->seq_data = message->seq;
        peer->flags |= PEER_MAY_SLEEP;
        return true;
    }
    return false;
}

static bool send_vote_request(struct raft *self, struct raft_peer *peer,
                              struct raft_message *message)
{
    if ((peer->flags & PEER_ASK) == 0) {
        return false;
    }
    bool pre = self->state == RAFT_PRE_CANDIDATE;
    peer->flags &= (uint16_t) ~PEER_ASK;
    message_begin(self, message, pre ? RAFT_MESSAGE_PRE_VOTE : RAFT_MESSAGE_VOTE, peer->id);
    message->term = pre ? self->term + 1 : self->term;
    message->index = self->last;
    message->index_term = self->last_term;
    message->flags = self->transfer_vote ? RAFT_FLAG_TRANSFER : 0;
    return true;
}

/* What this follower owes its leader. */
static bool send_ack(struct raft *self, struct raft_message *message)
{
    uint32_t due = self->owed.ack_flags & (ACK_NOW | ACK_SNAPSHOT | ACK_QUIESCE);
    if (due == 0 || raft_id_is_none(self->leader)) {
        return false;
    }
    unsigned type = (due & ACK_QUIESCE) != 0    ? RAFT_MESSAGE_QUIESCE_REPLY
                    : (due & ACK_SNAPSHOT) != 0 ? RAFT_MESSAGE_SNAPSHOT_REPLY
                                                : RAFT_MESSAGE_APPEND_REPLY;
    message_begin(self, message, type, self->leader);
    message->seq = self->owed.ack_seq;
    message->round = self->owed.ack_round;
    message->sent = self->owed.ack_sent;
    message->pos = self->owed.pos_durable;
    if (type == RAFT_MESSAGE_QUIESCE_REPLY) {
        message->flags = (self->owed.ack_flags & ACK_AWAKE) != 0 ? RAFT_FLAG_REJECT : 0;
        message->index = self->last;
        self->owed.ack_flags &= ~(uint32_t) (ACK_QUIESCE | ACK_AWAKE);
        return true;
    }
    message->hint = self->snapshot_index; /* the snapshot being received: which, and how far */
    message->offset = self->snapshot_offset;
    message->flags = raft_is_installing(self) ? RAFT_FLAG_LAST : 0;
    if (type == RAFT_MESSAGE_SNAPSHOT_REPLY) {
        message->index = self->snapshot_index;
        self->owed.ack_flags &= ~(uint32_t) ACK_SNAPSHOT;
        return true;
    }
    if ((self->owed.ack_flags & ACK_REJECT) != 0) {
        message->flags = RAFT_FLAG_REJECT;
        message->offset = 0;
        message->hint = self->owed.ack_index;
        message->hint_term = raft_term_at(self, self->owed.ack_index);
        message->index = self->owed.ack_refused;
    } else {
        message->index = self->durable < self->verified ? self->durable : self->verified;
        if (MUTANT(ACK_BEFORE_DURABLE)) {
            message->index = self->verified;
        }
        message->appended = self->verified;
        self->owed.ack_durable = message->index;
    }
    self->owed.ack_flags &= ~(uint32_t) (ACK_NOW | ACK_REJECT);
    return true;
}

static bool send_reply(struct raft *self, struct raft_message *message)
{
    if (self->reply[0].type == 0) {
        return false;
    }
    struct raft_reply *reply = &self->reply[0];
    message_begin(self, message, reply->type, reply->to);
    message->term = reply->term;
    message->flags = reply->flags;
    memmove(&self->reply[0], &self->reply[1], (RAFT_REPLIES - 1) * sizeof(self->reply[0]));
    memset(&self->reply[RAFT_REPLIES - 1], 0, sizeof(self->reply[0]));
    return true;
}

bool raft_send_next(struct raft *self, struct raft_message *ret_message)
{
    bool term_is_durable = !self->hard_dirty && self->wseq_durable >= self->wseq_hard;
    if (!self->send_dirty || (!term_is_durable && !MUTANT(SEND_BEFORE_TERM))) {
        return false;
    }
    if (send_reply(self, ret_message)) {
        return true;
    }
    if (self->state == RAFT_FOLLOWER && send_ack(self, ret_message)) {
        return true;
    }
    if (self->read_count != 0 && raft_reads_send(self, ret_message)) {
        return true;
    }
    for (; self->send_next < self->peer_count && self->state != RAFT_FOLLOWER; self->send_next++) {
        struct raft_peer *peer = &self->peer[self->send_next];
        if (self->state == RAFT_LEADER ? send_as_leader(self, peer, ret_message)
                                       : send_vote_request(self, peer, ret_message)) {
            return true;
        }
    }
    self->send_next = 0;
    self->send_dirty = 0;
    return false;
}
