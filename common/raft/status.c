/* status: what a replica is, for operators, metrics and tests. Reads only. */
#include "common/raft/state.h"

#include <string.h>

#include "common/base/hash.h"

void raft_status_read(const struct raft *self, struct raft_status *ret_status)
{
    bool leads = self->state == RAFT_LEADER;
    memset(ret_status, 0, sizeof(*ret_status));
    ret_status->id = self->id;
    ret_status->state = (enum raft_state) self->state;
    ret_status->term = self->term;
    ret_status->vote = self->vote;
    ret_status->leader = self->leader;
    if (leads) {
        ret_status->transfer = self->lead.transfer;
    }
    ret_status->compacted = self->compacted;
    ret_status->last = self->last;
    ret_status->last_term = self->last_term;
    ret_status->commit = self->commit;
    ret_status->durable = self->durable;
    ret_status->applied = self->applied;
    ret_status->wseq = self->wseq;
    ret_status->wseq_durable = self->wseq_durable;
    ret_status->members_index = self->members_index;
    ret_status->joint = self->joint;
    ret_status->voter = raft_self_votes(self);
    ret_status->quiesced = self->quiesced;
    ret_status->suspect = self->suspect_last != 0;
    ret_status->leased = raft_lease_holds(self);
    ret_status->uncommitted_bytes = leads ? self->lead.proposed - self->lead.uncommitted_base : 0;
    ret_status->reads = self->read_count;
    ret_status->elections = self->elections;
    ret_status->step_downs = self->step_downs;
    ret_status->rejections = self->rejections;
    ret_status->retries = self->retries;
    ret_status->snapshots = self->snapshots;
}

bool raft_progress_read(const struct raft *self, unsigned i, struct raft_progress *ret_progress)
{
    if (i >= self->peer_count) {
        return false;
    }
    const struct raft_peer *peer = &self->peer[i];
    memset(ret_progress, 0, sizeof(*ret_progress));
    ret_progress->member.id = peer->id;
    ret_progress->member.set = peer->set;
    ret_progress->member.priority = peer->priority;
    ret_progress->state = (enum raft_progress_state) peer->state;
    ret_progress->match = peer->match;
    ret_progress->next = peer->next;
    ret_progress->inflight_bytes = peer->pos - peer->pos_acked;
    ret_progress->inflight_messages = peer->seq - peer->seq_acked;
    ret_progress->contact = peer->contact;
    ret_progress->snapshot_offset = peer->offset;
    ret_progress->departing = (peer->flags & PEER_DEPARTING) != 0;
    ret_progress->asleep = (peer->flags & PEER_ASLEEP) != 0;
    return true;
}

void raft_members_read(const struct raft *self, struct raft_members *ret_members)
{
    raft_members_collect(self, ret_members);
}

enum raft_state raft_state_of(const struct raft *self)
{
    return (enum raft_state) self->state;
}

raft_term raft_term_of(const struct raft *self)
{
    return self->term;
}

struct raft_id raft_leader(const struct raft *self)
{
    return self->leader;
}

const char *raft_state_name(enum raft_state state)
{
    static const char *const names[RAFT_STATE_COUNT] = {"FOLLOWER", "PRE_CANDIDATE", "CANDIDATE",
                                                        "LEADER", "STOPPED"};
    return (unsigned) state < RAFT_STATE_COUNT ? names[state] : "UNKNOWN";
}

uint64_t raft_hash(const struct raft *self)
{
    size_t size = sizeof(struct raft) + self->members_max * sizeof(struct raft_peer) +
                  self->reads_max * sizeof(struct raft_waiting);
    size_t from = offsetof(struct raft, group);
    return hash_bytes(span_make((const uint8_t *) self + from, size - from), 0);
}

static const char *check_leader(const struct raft *self)
{
    if (!raft_id_equal(self->leader, self->id)) {
        return "a leader follows itself";
    }
    if (self->suspect_last != 0) {
        return "a suspect replica does not lead";
    }
    if (!self->blank_due && self->last_term != self->term) {
        return "a leader's last entry has its term";
    }
    for (unsigned i = 0; i < self->peer_count; i++) {
        const struct raft_peer *peer = &self->peer[i];
        if (peer->match > self->last) {
            return "match <= last";
        }
        if (i == self->self) {
            if (peer->match > self->durable) {
                return "a leader counts only what it has durable";
            }
            continue;
        }
        if (peer->match >= peer->next) {
            return "match < next";
        }
        if (peer->state != RAFT_SNAPSHOT && peer->next > self->last + 1) {
            return "next <= last + 1";
        }
        if (peer->pos - peer->pos_acked > INT32_MAX || peer->seq - peer->seq_acked > INT32_MAX) {
            return "nothing is answered that was not sent";
        }
    }
    return NULL;
}

const char *raft_check(const struct raft *self)
{
    const struct {
        bool holds;
        const char *fact;
    } facts[] = {
        {self->compacted <= self->last, "compacted <= last"},
        {self->commit <= self->last, "commit <= last"},
        {self->compacted <= self->commit, "compacted <= commit"},
        {self->durable <= self->last, "durable <= last"},
        {self->written <= self->last, "written <= last"},
        {self->durable <= self->written, "durable <= written"},
        {self->verified <= self->last, "verified <= last"},
        {self->applied <= self->commit_out, "applied <= what was given out"},
        {self->commit_out <= self->commit || self->suspect_last != 0,
         "only what is committed is given out"},
        {self->last_term <= self->term, "last_term <= term"},
        {self->members_index <= self->last, "members_index <= last"},
        {self->wseq_durable <= self->wseq && self->wseq_hard <= self->wseq, "wseq"},
        {self->slot_count <= RAFT_SLOTS, "slots"},
        {self->peer_count <= self->members_max, "peers"},
        {self->read_count <= self->reads_max, "reads"},
        {self->state == RAFT_FOLLOWER || self->state == RAFT_STOPPED || self->suspect_last == 0,
         "a suspect replica does not campaign"},
        {(self->state != RAFT_CANDIDATE && self->state != RAFT_LEADER) ||
             raft_id_equal(self->vote, self->id),
         "a candidate votes for itself"},
        {!self->quiesced || self->state == RAFT_LEADER || self->state == RAFT_FOLLOWER,
         "a candidate does not sleep"},
        {self->state != RAFT_FOLLOWER || !raft_id_equal(self->leader, self->id),
         "nobody follows itself"},
        {self->members_committed == (self->members_index <= self->commit), "members_committed"},
    };
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        if (!facts[i].holds) {
            return facts[i].fact;
        }
    }
    return self->state == RAFT_LEADER ? check_leader(self) : NULL;
}
