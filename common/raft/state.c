/* state: moves between states, the log as the core sees it, small helpers. No other file assigns `state`. */
#include "common/raft/state.h"

#include <string.h>

raft_term raft_term_at(const struct raft *self, raft_index index)
{
    if (index > self->last || index < self->compacted || index == 0) {
        return 0;
    }
    if (index >= self->run_first) {
        return self->last_term;
    }
    return index == self->compacted ? self->compacted_term
                                    : self->log->term_at(self->log_ud, index);
}

raft_index raft_find_conflict(const struct raft *self, raft_index index, raft_term term)
{
    if (index > self->last) {
        index = self->last;
    }
    if (index < self->compacted) {
        return 0;
    }
    if (raft_term_at(self, index) <= term) {
        return index;
    }
    if (self->compacted_term > term) {
        return 0;
    }
    raft_index low = self->compacted; /* terms never fall: low is all right, high is not */
    raft_index high = index;
    while (high - low > 1) {
        raft_index middle = low + (high - low) / 2;
        if (raft_term_at(self, middle) <= term) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

void raft_log_append(struct raft *self, const struct raft_entry *entry)
{
    self->last++;
    if (entry->term != self->last_term) {
        INVARIANT(entry->term > self->last_term);
        self->last_term = entry->term;
        self->run_first = self->last;
    }
    bool later = MUTANT(MEMBERS_AT_APPLY) && self->state != RAFT_LEADER && self->last > 1;
    if (entry->type == RAFT_ENTRY_CONFIG && !later) {
        raft_members_activate(self, entry->members, self->last);
    }
}

void raft_log_truncate(struct raft *self, raft_index from)
{
    INVARIANT(from > self->commit || MUTANT(TRUNCATE_ALWAYS) || MUTANT(COMMIT_UNVERIFIED));
    raft_term term = raft_term_at(self, from - 1);
    self->last = from - 1;
    if (self->run_first > self->last || term != self->last_term) {
        self->last_term = term;
        self->run_first = self->last;
    }
    if (self->durable > self->last) {
        self->durable = self->last;
    }
    if (self->verified > self->last) {
        self->verified = self->last;
    }
    for (unsigned i = 0; i < self->slot_count && !MUTANT(DURABLE_ABA); i++) {
        if (self->slot[i].last > self->last) {
            self->slot[i].last = self->last; /* its completion says nothing of what comes instead */
        }
    }
    if (from <= self->written) {
        self->written = self->last;
        if (self->truncate_from == 0 || from < self->truncate_from) {
            self->truncate_from = from;
        }
    }
    if (self->members_index >= from && !MUTANT(MEMBERS_NOT_CUT)) {
        struct raft_members members;
        memset(&members, 0, sizeof(members));
        raft_index index = self->log->members_at(self->log_ud, self->last, &members);
        raft_members_activate(self, &members, index);
    }
}

uint64_t raft_random(struct raft *self)
{
    uint64_t z = self->random +=
        UINT64_C(0x9e3779b97f4a7c15); /* splitmix64: eight bytes of state */
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/*              times out              quorum of pre-votes        quorum of votes
 *   FOLLOWER ------------> PRE_CANDIDATE ------------> CANDIDATE ------------> LEADER
 *      ^  \___________________________________________/ (no pre-vote, or TimeoutNow)  |
 *      |____ a higher term, a leader of this term, a majority of refusals, no quorum __|      any: a write failed -> STOPPED */
static const uint8_t moves[RAFT_STATE_COUNT] = {
    [RAFT_FOLLOWER] =
        1 << RAFT_FOLLOWER | 1 << RAFT_PRE_CANDIDATE | 1 << RAFT_CANDIDATE | 1 << RAFT_STOPPED,
    [RAFT_PRE_CANDIDATE] =
        1 << RAFT_FOLLOWER | 1 << RAFT_PRE_CANDIDATE | 1 << RAFT_CANDIDATE | 1 << RAFT_STOPPED,
    [RAFT_CANDIDATE] = 1 << RAFT_FOLLOWER | 1 << RAFT_PRE_CANDIDATE | 1 << RAFT_CANDIDATE |
                       1 << RAFT_LEADER | 1 << RAFT_STOPPED,
    [RAFT_LEADER] = 1 << RAFT_FOLLOWER | 1 << RAFT_STOPPED,
    [RAFT_STOPPED] = 1 << RAFT_STOPPED,
};

void raft_move(struct raft *self, enum raft_state state)
{
    INVARIANT((moves[self->state] >> state & 1) != 0);
    self->state = (uint8_t) state;
    self->state_dirty = 1;
    self->send_dirty = 1;
}

void raft_become_follower(struct raft *self, raft_term term, struct raft_id leader)
{
    bool same_term = term == self->term;
    bool led = self->state == RAFT_LEADER;
    if (same_term && self->state == RAFT_FOLLOWER && raft_id_equal(leader, self->leader)) {
        return;
    }
    INVARIANT(term >= self->term);
    if (!same_term) {
        self->term = term;
        memset(&self->vote, 0, sizeof(self->vote));
        self->hard_dirty = 1;
        self->verified = self->commit;
        self->suspect_goal = 0;
        if (!raft_is_installing(self)) {
            self->snapshot_index = 0; /* another leader's snapshot may have other bytes */
        }
    }
    if (led) {
        self->step_downs++;
        self->leaving = 0;
        self->blank_due = 0;
        raft_drop_departed(self);
    }
    if (led || !raft_id_equal(leader, self->leader)) {
        raft_reads_fail(self);
    }
    memset(&self->lead, 0, sizeof(self->lead)); /* the larger of the two */
    self->leader = leader;
    self->quiesced = 0;
    if (self->state != RAFT_FOLLOWER) {
        raft_election_deadline_reset(self);
    }
    raft_move(self, RAFT_FOLLOWER);
}

void raft_reply_put(struct raft *self, struct raft_id to, raft_term term, unsigned type,
                    unsigned flags)
{
    struct raft_reply *free_slot =
        &self->reply[RAFT_REPLIES - 1]; /* full: the youngest is lost, as in a network */
    for (unsigned i = 0; i < RAFT_REPLIES; i++) {
        if (self->reply[i].type == 0 ||
            (self->reply[i].type == type && raft_id_equal(self->reply[i].to, to))) {
            free_slot = &self->reply[i];
            break;
        }
    }
    free_slot->to = to;
    free_slot->term = term;
    free_slot->type = (uint8_t) type;
    free_slot->flags = (uint8_t) flags;
    self->send_dirty = 1;
}
