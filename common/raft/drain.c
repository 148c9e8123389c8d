/* drain: what is to be done now, one thing at a time, in an order in which each may be done at once: entries of our own, the write, what the owner should
 * know, what may be applied, reads, and messages last, when applying may have brought new proposals to take along. */
#include "common/raft/state.h"

#include <string.h>

static void drain_entry(struct raft *self, unsigned type, struct raft_output *ret_output)
{
    ret_output->type = RAFT_OUTPUT_ENTRY;
    memset(&ret_output->entry.entry, 0, sizeof(ret_output->entry.entry));
    ret_output->entry.entry.term = self->term;
    ret_output->entry.entry.type = (uint8_t) type;
    ret_output->entry.entry.members = type == RAFT_ENTRY_CONFIG ? &ret_output->entry.members : NULL;
    raft_log_append(self, &ret_output->entry.entry);
    ret_output->entry.index = self->last;
    self->lead.activity = self->now;
    raft_touch(self);
}

/* Entries that a leader makes by itself. */
static bool drain_entries(struct raft *self, struct raft_output *ret_output)
{
    if (self->blank_due) {
        self->blank_due = 0;
        drain_entry(self, RAFT_ENTRY_BLANK, ret_output);
        return true;
    }
    bool safe = self->members_committed && self->commit >= self->lead.term_first &&
                (self->members_index >= self->lead.term_first || !MUTANT(JOINT_FORGOTTEN));
    if ((safe || MUTANT(LEAVE_EARLY)) && !self->explicit_leave && self->joint) {
        /* It follows from the log alone, so a new leader does it, too (E3), but not before this term has committed (E4). */
        struct raft_members joint;
        raft_members_collect(self, &joint);
        raft_members_leave(&joint, &ret_output->entry.members);
        drain_entry(self, RAFT_ENTRY_CONFIG, ret_output);
        return true;
    }
    return false;
}

static void slot_push(struct raft *self)
{
    /* Full: the newest open write waits for the one that follows. Late, never wrong. */
    unsigned at = self->slot_count < RAFT_SLOTS ? self->slot_count++ : RAFT_SLOTS - 1;
    self->slot[at].wseq = self->wseq;
    self->slot[at].last = self->last;
    self->slot[at].pos = self->state == RAFT_FOLLOWER ? self->owed.ack_pos : 0;
}

static bool drain_write(struct raft *self, struct raft_output *ret_output)
{
    bool append = self->written < self->last;
    if (!self->hard_dirty && !self->snapshot_due && !append) {
        return false;
    }
    struct raft_write *write = &ret_output->write;
    ret_output->type = RAFT_OUTPUT_WRITE;
    write->wseq = ++self->wseq;
    write->term = self->term;
    write->vote = self->vote;
    write->commit = self->commit < self->durable ? self->commit : self->durable;
    write->suspect_last = self->suspect_last;
    write->flags = 0;
    write->snapshot_index = 0;
    write->snapshot_term = 0;
    write->truncate_from = 0;
    write->first = 0;
    write->last = 0;
    if (self->hard_dirty) {
        write->flags |= RAFT_WRITE_HARD;
        self->wseq_hard = self->wseq;
        self->hard_dirty = 0;
    }
    if (self->snapshot_due) {
        write->flags |= RAFT_WRITE_SNAPSHOT;
        write->snapshot_index = self->compacted;
        write->snapshot_term = self->compacted_term;
        self->snapshot_due = 0;
        slot_push(self);
    }
    if (append) {
        if (self->truncate_from != 0) {
            write->flags |= RAFT_WRITE_TRUNCATE;
            write->truncate_from = self->truncate_from;
            self->truncate_from = 0;
        }
        write->flags |= RAFT_WRITE_APPEND;
        write->first = self->written + 1;
        write->last = self->last;
        self->written = self->last;
        if ((write->flags & RAFT_WRITE_SNAPSHOT) == 0) {
            slot_push(self);
        }
        if (MUTANT(LEADER_COUNTS_UNWRITTEN) && self->state == RAFT_LEADER &&
            self->self != RAFT_NO_PEER) {
            self->peer[self->self].match = self->last;
        }
    }
    return true;
}

static bool drain_events(struct raft *self, struct raft_output *ret_output)
{
    if (self->state_dirty) {
        self->state_dirty = 0;
        ret_output->type = RAFT_OUTPUT_STATE;
        ret_output->state.state = (enum raft_state) self->state;
        ret_output->state.term = self->term;
        ret_output->state.leader = self->leader;
        ret_output->state.quiesced = self->quiesced;
        return true;
    }
    if (self->members_dirty) {
        self->members_dirty = 0;
        ret_output->type = RAFT_OUTPUT_MEMBERS;
        ret_output->members.index = self->members_index;
        ret_output->members.committed = self->members_committed;
        ret_output->members.joint = self->joint;
        ret_output->members.member = self->self != RAFT_NO_PEER;
        ret_output->members.voter = raft_self_votes(self);
        return true;
    }
    return false;
}

static bool drain_commit(struct raft *self, struct raft_output *ret_output)
{
    raft_index upto =
        self->commit < self->durable || MUTANT(APPLY_BEFORE_DURABLE) ? self->commit : self->durable;
    if (upto <= self->commit_out) {
        return false;
    }
    self->commit_out = upto;
    if (MUTANT(MEMBERS_AT_APPLY)) {
        struct raft_members members;
        raft_index index = self->log->members_at(self->log_ud, upto, &members);
        if (index > self->members_index) {
            raft_members_activate(self, &members, index);
        }
    }
    ret_output->type = RAFT_OUTPUT_COMMIT;
    ret_output->commit = upto;
    return true;
}

bool raft_drain(struct raft *self, struct raft_output *ret_output)
{
    if (self->state == RAFT_STOPPED) {
        return raft_reads_next(self, ret_output) || drain_events(self, ret_output);
    }
    for (;;) {
        if ((self->state == RAFT_LEADER && drain_entries(self, ret_output)) ||
            drain_write(self, ret_output) || drain_events(self, ret_output) ||
            drain_commit(self, ret_output) ||
            (self->read_count != 0 && raft_reads_next(self, ret_output))) {
            return true;
        }
        if (self->send_dirty && raft_send_next(self, &ret_output->message)) {
            ret_output->type = RAFT_OUTPUT_SEND;
            return true;
        }
        if (!self->leaving || !raft_may_leave(self)) {
            return false;
        }
        raft_become_follower(self, self->term,
                             (struct raft_id){0, 0}); /* all have been told what was committed */
    }
}
