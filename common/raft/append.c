/* append: a follower takes entries (paper 5.3). It cuts its log only where an entry really conflicts, commits only what it has compared with this
 * leader's log, and acknowledges only what is durable. */
#include "common/raft/state.h"

#include "common/base/err.h"

bool raft_follow(struct raft *self, const struct raft_message *message)
{
    if (message->term < self->term) {
        /* It leads no more; its term tells it so. */
        raft_reply_put(self, message->from, self->term, RAFT_MESSAGE_APPEND_REPLY,
                       RAFT_FLAG_REJECT);
        return false;
    }
    if (message->term == self->term &&
        (self->state == RAFT_LEADER ||
         (!raft_id_is_none(self->leader) && !raft_id_equal(self->leader, message->from)))) {
        return false; /* two leaders in one term: not from a correct peer */
    }
    raft_become_follower(self, message->term, message->from);
    self->contact = self->now != 0 ? self->now : 1;
    self->only_hope = 0;
    if (self->quiesced) {
        self->quiesced = 0;
        self->state_dirty = 1;
    }
    raft_election_deadline_reset(self);
    return true;
}

void raft_ack_echo(struct raft *self, const struct raft_message *message)
{
    self->owed.ack_seq = message->seq;
    self->owed.ack_round =
        message->round > self->owed.ack_round ? message->round : self->owed.ack_round;
    self->owed.ack_sent = message->sent > self->owed.ack_sent ? message->sent : self->owed.ack_sent;
    self->send_dirty = 1;
}

/* Entries that a correct leader can't have sent: terms that fall or lie in its future, configurations that can't be. */
static bool entries_are_impossible(const struct raft *self, const struct raft_message *message)
{
    raft_term term = message->index_term;
    if (message->count != 0 && message->entries == NULL) {
        return true;
    }
    for (unsigned i = 0; i < message->count; i++) {
        const struct raft_entry *entry = &message->entries[i];
        if (entry->term < term || entry->term > message->term || entry->term == 0) {
            return true;
        }
        term = entry->term;
        if (entry->type == RAFT_ENTRY_CONFIG &&
            (entry->members == NULL || raft_members_check(entry->members) < 0 ||
             entry->members->count > self->members_max)) {
            return true;
        }
    }
    return false;
}

static void append_refuse(struct raft *self, const struct raft_message *message)
{
    /* The largest index that can still match: the leader backs up a whole term at once (B5). */
    raft_index index = raft_find_conflict(self, message->index, message->index_term);
    self->owed.ack_index = index > self->commit ? index : self->commit;
    self->owed.ack_refused = message->index;
    self->owed.ack_flags = (self->owed.ack_flags & ~(uint32_t) ACK_OWED) | ACK_NOW | ACK_REJECT;
    self->rejections++;
}

/* How many of the message's entries this log has already. A conflict ends the count. */
static uint32_t entries_known(const struct raft *self, const struct raft_message *message)
{
    uint32_t known = 0;
    if (message->index < self->commit && !MUTANT(PURGED_IS_CONFLICT)) {
        raft_index behind =
            self->commit -
            message->index; /* committed: equal by the paper's State Machine Safety */
        known = behind < message->count ? (uint32_t) behind : message->count;
    }
    for (; known < message->count; known++) {
        raft_index index = message->index + 1 + known;
        if (index > self->last || raft_term_at(self, index) != message->entries[known].term ||
            MUTANT(TRUNCATE_ALWAYS)) {
            break;
        }
    }
    return known;
}

static void append_commit(struct raft *self, const struct raft_message *message)
{
    raft_index limit = MUTANT(COMMIT_UNVERIFIED) ? self->last : self->verified;
    raft_index commit = message->commit < limit ? message->commit : limit;
    if (commit > self->commit) {
        raft_commit_to(self, commit);
    }
}

int raft_recv_append(struct raft *self, const struct raft_message *message,
                     struct raft_taken *ret_taken)
{
    if (entries_are_impossible(self, message)) {
        return ERR_BAD_FORMAT;
    }
    if (!raft_follow(self, message)) {
        return 0;
    }
    bool silent = (message->flags & RAFT_FLAG_SILENT) != 0;
    if (!silent) {
        raft_ack_echo(self, message);
    }
    if (message->index >= self->commit && message->index != 0 &&
        (message->index > self->last ||
         (raft_term_at(self, message->index) != message->index_term && !MUTANT(PREV_BLIND)))) {
        if (!silent) {
            append_refuse(self, message);
        }
        return 0;
    }
    uint32_t known = entries_known(self, message);
    if (known < message->count) {
        raft_index first = message->index + 1 + known;
        if (raft_term_at(self, first - 1) > message->entries[known].term) {
            return ERR_BAD_FORMAT; /* what is committed here can't be followed by that */
        }
        if (first <= self->last) {
            raft_log_truncate(self, first);
        }
        ret_taken->first = first;
        ret_taken->skip = known;
        ret_taken->count = message->count - known;
        for (uint32_t i = known; i < message->count; i++) {
            raft_log_append(self, &message->entries[i]);
        }
    }
    raft_index equal = message->index + message->count;
    self->verified = equal > self->verified ? equal : self->verified;
    self->verified = self->commit > self->verified ? self->commit : self->verified;
    append_commit(self, message);
    if ((message->flags & RAFT_FLAG_END) != 0 && self->suspect_last != 0 &&
        (message->term > self->suspect_term || equal >= self->suspect_last)) {
        self->suspect_goal = equal > self->suspect_goal ? equal : self->suspect_goal;
    }
    raft_suspect_check(self);
    if (silent) {
        return 0;
    }
    self->owed.ack_pos = message->pos;
    if (equal >= self->owed.ack_refused) { /* else the refusal still tells more than this beat */
        self->owed.ack_flags &= ~(uint32_t) ACK_REJECT;
    }
    if (message->count == 0 || equal <= self->durable || MUTANT(ACK_BEFORE_DURABLE)) {
        self->owed.ack_flags |= ACK_NOW;
    }
    if (self->durable < self->verified) {
        self->owed.ack_flags |= ACK_OWED;
    } else {
        self->owed.pos_durable = self->owed.ack_pos;
    }
    return 0;
}

void raft_ack_durable(struct raft *self)
{
    if (self->durable >= self->verified) {
        self->owed.pos_durable = self->owed.ack_pos;
    }
    raft_index equal = self->durable < self->verified ? self->durable : self->verified;
    if ((self->owed.ack_flags & ACK_OWED) != 0 && equal > self->owed.ack_durable) {
        self->owed.ack_flags |= ACK_NOW;
        self->send_dirty = 1;
        if (self->durable >= self->verified) {
            self->owed.ack_flags &= ~(uint32_t) ACK_OWED;
        }
    }
}

/* All that this replica may have acknowledged and lost is there again: a leader elected without it has it all (raft.md D3), and so have we, up to
 * where that leader's log ended when it spoke, and to where ours once did or in a term later than ours. */
void raft_suspect_check(struct raft *self)
{
    if (self->suspect_last != 0 && self->suspect_goal != 0 && self->durable >= self->suspect_goal &&
        self->verified >= self->suspect_goal && self->verified >= self->commit_out) {
        if (self->commit < self->commit_out) {
            raft_commit_to(self, self->commit_out); /* applied before the damage: was committed */
        }
        self->suspect_last = 0;
        self->hard_dirty = 1;
        raft_election_deadline_reset(self);
    }
}
