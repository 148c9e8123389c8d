/* raft: the public face: making a replica, the inputs, and the drain that turns what they changed into writes, events and messages. */
#include "common/raft/raft.h"

#include <string.h>

#include "common/base/err.h"
#include "common/raft/state.h"

size_t raft_size(const struct raft_config *config)
{
    return sizeof(struct raft) + config->members_max * sizeof(struct raft_peer) +
           config->reads_max * sizeof(struct raft_waiting);
}

static void init_config(struct raft *self, const struct raft_config *config)
{
    self->group = config->group;
    self->id = config->id;
    self->random = config->seed;
    self->election_timeout_us_min = config->election_timeout_us_min;
    self->election_timeout_us_max = config->election_timeout_us_max;
    self->heartbeat_us = config->heartbeat_us;
    self->quiesce_after_us = config->quiesce_after_us;
    self->clock_drift_ppm = config->clock_drift_ppm;
    self->message_bytes_max = config->message_bytes_max;
    self->message_entries_max = config->message_entries_max;
    self->inflight_bytes_max = config->inflight_bytes_max;
    self->inflight_messages_max = config->inflight_messages_max;
    self->uncommitted_bytes_max = config->uncommitted_bytes_max;
    self->snapshot_chunk_bytes = config->snapshot_chunk_bytes;
    self->catchup_entries_max = config->catchup_entries_max;
    self->members_max = config->members_max;
    self->reads_max = config->reads_max;
    self->data_copies_min = config->data_copies_min;
    self->pre_vote = config->pre_vote;
    self->check_quorum = config->check_quorum;
    self->lease_reads = config->lease_reads;
}

static bool boot_is_wrong(const struct raft_boot *boot)
{
    return boot->last < boot->compacted || boot->applied > boot->last ||
           boot->compacted > boot->applied || (boot->last != 0 && boot->term == 0) ||
           (boot->compacted == 0) != (boot->compacted_term == 0) ||
           (boot->suspect_from != 0 &&
            (boot->suspect_from <= boot->compacted || boot->suspect_from > boot->last));
}

/* Damaged entries are as if they were not there; what may have been acknowledged of them is remembered, on disk too, until it is there again. */
static void init_suspect(struct raft *self, const struct raft_boot *boot)
{
    self->suspect_last = MUTANT(SUSPECT_FORGETS) ? 0 : boot->suspect_last;
    self->suspect_term = boot->term;
    if (boot->suspect_from != 0) {
        self->suspect_last = boot->last > boot->suspect_last ? boot->last : boot->suspect_last;
        self->suspect_last = MUTANT(ROT_IS_TORN) ? 0 : self->suspect_last;
        self->truncate_from =
            boot->suspect_from; /* leaves with the first entry that takes a damaged one's place */
        self->hard_dirty = 1;
    }
}

int raft_init(void *memory, size_t size, const struct raft_config *config,
              const struct raft_boot *boot, const struct raft_log *log, void *log_ud, raft_time now,
              struct raft **ret_raft)
{
    const char *field = NULL;
    if (raft_config_check(config, &field) < 0) {
        return ERR_BAD_CONFIG;
    }
    if (size < raft_size(config) || boot_is_wrong(boot)) {
        return ERR_USAGE;
    }
    struct raft *self = memory;
    memset(self, 0, raft_size(config));
    init_config(self, config);
    self->log = log;
    self->log_ud = log_ud;
    self->now = now;
    self->self = RAFT_NO_PEER;
    self->members_committed = 1; /* none, by all */
    self->term = boot->term;
    self->vote = boot->vote;
    self->compacted = boot->compacted;
    self->compacted_term = boot->compacted_term;
    self->last = boot->suspect_from != 0 ? boot->suspect_from - 1 : boot->last;
    self->run_first = self->last;
    self->last_term =
        self->last == self->compacted ? self->compacted_term : log->term_at(log_ud, self->last);
    self->commit = boot->commit > boot->applied ? boot->commit : boot->applied;
    self->commit = self->commit < self->last ? self->commit : self->last;
    self->commit_out = boot->applied;
    self->applied = boot->applied;
    self->durable = self->last;
    self->written = self->last;
    self->verified = self->commit;
    init_suspect(self, boot);
    if (self->last != 0) {
        struct raft_members members;
        memset(&members, 0, sizeof(members));
        raft_index index = log->members_at(log_ud, self->last, &members);
        if (members.count > self->members_max) {
            return ERR_USAGE;
        }
        raft_members_activate(self, &members, index);
    }
    if (self->term != 0 && !MUTANT(RESTART_VOTES)) {
        self->contact =
            now != 0
                ? now
                : 1; /* it may have answered a leader just before it stopped: that lease holds */
    }
    raft_election_deadline_reset(self);
    self->state_dirty = 1;
    *ret_raft = self;
    return 0;
}

void raft_rebind(struct raft *self, const struct raft_log *log, void *log_ud)
{
    self->log = log;
    self->log_ud = log_ud;
}

void raft_advance(struct raft *self, raft_time now)
{
    if (self->state == RAFT_STOPPED) {
        return;
    }
    self->now = now > self->now ? now : self->now;
    if (self->read_count != 0) {
        raft_reads_advance(self);
    }
    if (self->state == RAFT_LEADER) {
        raft_leader_advance(self);
    } else if (self->now >= self->election_deadline && !self->quiesced) {
        if (raft_can_campaign(self)) {
            raft_election_start(self, CAMPAIGN_ASK_FIRST);
            raft_election_tally(self);
        } else {
            raft_election_deadline_reset(self);
        }
    }
    raft_touch(self);
}

static int recv_dispatch(struct raft *self, const struct raft_message *message,
                         struct raft_taken *ret_taken)
{
    switch (message->type) {
    case RAFT_MESSAGE_VOTE:
    case RAFT_MESSAGE_PRE_VOTE:
        return raft_recv_vote(self, message);
    case RAFT_MESSAGE_VOTE_REPLY:
    case RAFT_MESSAGE_PRE_VOTE_REPLY:
        return raft_recv_vote_reply(self, message);
    case RAFT_MESSAGE_APPEND:
        return raft_recv_append(self, message, ret_taken);
    case RAFT_MESSAGE_APPEND_REPLY:
        return raft_recv_append_reply(self, message);
    case RAFT_MESSAGE_SNAPSHOT:
        return raft_recv_snapshot(self, message, ret_taken);
    case RAFT_MESSAGE_SNAPSHOT_REPLY:
        return raft_recv_snapshot_reply(self, message);
    case RAFT_MESSAGE_TIMEOUT_NOW:
        return raft_recv_timeout_now(self, message);
    case RAFT_MESSAGE_READ:
        return raft_recv_read(self, message);
    case RAFT_MESSAGE_READ_REPLY:
        return raft_recv_read_reply(self, message);
    case RAFT_MESSAGE_QUIESCE:
        return raft_recv_quiesce(self, message);
    case RAFT_MESSAGE_QUIESCE_REPLY:
        return raft_recv_quiesce_reply(self, message);
    default:
        return ERR_BAD_FORMAT;
    }
}

int raft_recv(struct raft *self, raft_time now, const struct raft_message *message,
              struct raft_taken *ret_taken)
{
    memset(ret_taken, 0, sizeof(*ret_taken));
    if (self->state == RAFT_STOPPED) {
        return ERR_POISONED;
    }
    bool ours = message->to.node == self->id.node &&
                (message->to.incarnation == self->id.incarnation || MUTANT(INCARNATION_IGNORED));
    if (message->group != self->group || raft_id_is_none(message->from) ||
        raft_id_equal(message->from, self->id) || message->term == 0) {
        return 0;
    }
    if (!ours) {
        raft_recv_stray(self, message);
        return 0;
    }
    self->now = now > self->now ? now : self->now;
    raft_touch(self);
    return recv_dispatch(self, message, ret_taken);
}

int raft_propose(struct raft *self, struct raft_entry *entries, uint32_t count,
                 raft_index *ret_first)
{
    if (self->state != RAFT_LEADER) {
        return self->state == RAFT_STOPPED ? ERR_POISONED : ERR_NOT_LEADER;
    }
    if (self->blank_due || !raft_id_is_none(self->lead.transfer) || self->leaving) {
        return ERR_AGAIN;
    }
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (entries[i].type != RAFT_ENTRY_NORMAL) {
            return ERR_USAGE;
        }
        bytes += entries[i].bytes;
    }
    uint32_t uncommitted = self->lead.proposed - self->lead.uncommitted_base;
    /* One that is larger than the limit still goes, alone. */
    if (count == 0 || bytes > INT32_MAX) {
        return ERR_USAGE;
    }
    if (uncommitted != 0 && uncommitted + bytes > self->uncommitted_bytes_max &&
        !MUTANT(UNCOMMITTED_UNBOUNDED)) {
        return ERR_OVERLOADED;
    }
    if (self->quiesced) {
        raft_wake(self);
    }
    for (uint32_t i = 0; i < count; i++) {
        entries[i].term = self->term;
    }
    *ret_first = self->last + 1;
    self->last += count; /* the blank entry of this term is there: nothing else changes */
    self->lead.proposed += (uint32_t) bytes;
    if (self->lead.mark_index == 0) {
        self->lead.mark_index = self->last;
        self->lead.mark_pos = self->lead.proposed;
    }
    self->lead.activity = self->now;
    raft_touch(self);
    return 0;
}

void raft_persisted(struct raft *self, uint64_t wseq)
{
    INVARIANT(wseq <= self->wseq);
    if (wseq <= self->wseq_durable || self->state == RAFT_STOPPED) {
        return;
    }
    self->wseq_durable = wseq;
    unsigned done = 0;
    for (; done < self->slot_count && self->slot[done].wseq <= wseq; done++) {
        raft_index last = self->slot[done].last < self->last ? self->slot[done].last : self->last;
        self->durable = last > self->durable ? last : self->durable;
        if (self->state == RAFT_FOLLOWER) {
            self->owed.pos_durable = self->slot[done].pos;
        }
    }
    if (done != 0) {
        static const struct raft_slot none;
        for (unsigned i = 0; i < self->slot_count; i++) { /* three: quicker than memmove */
            self->slot[i] = i + done < self->slot_count ? self->slot[i + done] : none;
        }
        self->slot_count = (uint8_t) (self->slot_count - done);
    }
    if (raft_is_installing(self) && self->durable >= self->compacted) {
        self->snapshot_index = 0;
    }
    if (self->self != RAFT_NO_PEER && self->state == RAFT_LEADER) {
        struct raft_peer *own = &self->peer[self->self];
        own->match = self->durable > own->match ? self->durable : own->match;
    }
    if (self->state == RAFT_LEADER) {
        raft_leader_commit(self);
    } else if (self->state == RAFT_FOLLOWER) {
        raft_ack_durable(self);
        raft_suspect_check(self);
    } else {
        raft_election_tally(self);
    }
    raft_touch(self);
}

void raft_failed(struct raft *self)
{
    raft_reads_fail(self);
    if (!MUTANT(FAILED_GOES_ON)) {
        raft_move(self, RAFT_STOPPED);
    }
}

void raft_applied(struct raft *self, raft_index index)
{
    INVARIANT(index <= self->commit_out);
    self->applied = index > self->applied ? index : self->applied;
}

int raft_compacted(struct raft *self, raft_index index)
{
    if (index > self->applied || index > self->commit || index > self->durable) {
        return ERR_USAGE;
    }
    if (index <= self->compacted) {
        return ERR_ALREADY;
    }
    self->compacted_term = raft_term_at(self, index);
    self->compacted = index;
    raft_touch(self);
    return 0;
}

raft_time raft_deadline(const struct raft *self)
{
    if (self->state == RAFT_STOPPED) {
        return RAFT_NEVER;
    }
    raft_time deadline = raft_reads_deadline(self);
    if (self->state != RAFT_LEADER) {
        bool campaigns = !self->quiesced && raft_can_campaign(self);
        return campaigns && self->election_deadline < deadline ? self->election_deadline : deadline;
    }
    bool alone = self->peer_count == 0 || (self->peer_count == 1 && self->self == 0);
    if (self->quiesced || alone) {
        return deadline;
    }
    deadline = self->lead.heartbeat_deadline < deadline ? self->lead.heartbeat_deadline : deadline;
    if (raft_checks_quorum(self) && self->lead.quorum_deadline < deadline) {
        deadline = self->lead.quorum_deadline;
    }
    if (!raft_id_is_none(self->lead.transfer) && self->lead.transfer_deadline < deadline) {
        deadline = self->lead.transfer_deadline;
    }
    return deadline;
}
