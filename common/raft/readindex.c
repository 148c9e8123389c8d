/* readindex: linearizable reads without an entry (dissertation 6.4). A read takes the commit index when it comes, waits until a majority has answered a
 * question that was asked later (so this was the leader then), and until the state machine has applied that much. With a lease the second wait
 * is spared: a majority has promised not to vote for a while. */
#include "common/raft/state.h"

#include <string.h>

#include "common/base/err.h"

struct raft_waiting *raft_reads(struct raft *self)
{
    return (struct raft_waiting *) (void *) &self->peer[self->members_max];
}

static const struct raft_waiting *reads_const(const struct raft *self)
{
    return (const struct raft_waiting *) (const void *) &self->peer[self->members_max];
}

static void read_remove(struct raft *self, unsigned i)
{
    struct raft_waiting *reads = raft_reads(self);
    self->read_count--;
    memmove(&reads[i], &reads[i + 1], (self->read_count - i) * sizeof(reads[0]));
    memset(&reads[self->read_count], 0, sizeof(reads[0]));
}

/* Our own reads fail (the caller asks again, with a new token); those of others are forgotten: their replicas see the new term themselves. */
void raft_reads_fail(struct raft *self)
{
    struct raft_waiting *reads = raft_reads(self);
    for (unsigned i = self->read_count; i-- > 0;) {
        bool confirmed = reads[i].round == 0;
        if (!raft_id_is_none(reads[i].from) && !raft_id_equal(reads[i].from, self->id)) {
            read_remove(self, i);
        } else if (!confirmed) { /* a confirmed one only waits for the state machine */
            reads[i].round = RAFT_READ_FAILED;
        }
    }
}

bool raft_lease_holds(const struct raft *self)
{
    if (!self->lease_reads || self->state != RAFT_LEADER || self->commit < self->lead.term_first ||
        self->leaving) {
        return false;
    }
    /* A transfer lets its target win at once. Its order may come late, too: the lease stays burnt until the target has acknowledged an entry behind the one
     * that the order names, because then it can't obey it any more (F4). */
    if ((self->lease_burnt || !raft_id_is_none(self->lead.transfer)) &&
        !MUTANT(LEASE_AFTER_TRANSFER)) {
        return false;
    }
    raft_time contact = raft_quorum_contact(self);
    if (contact == RAFT_NEVER) {
        return true;
    }
    uint64_t lease =
        (uint64_t) self->election_timeout_us_min * 1000000 / (1000000 + self->clock_drift_ppm);
    if (MUTANT(LEASE_TOO_LONG)) {
        lease = 4 * (uint64_t) self->election_timeout_us_max;
    }
    return contact != 0 && self->now < contact + lease;
}

/* Is being the leader proof enough, there being nobody else to ask? */
static bool needs_no_quorum(const struct raft *self)
{
    return raft_quorum_round(self) == UINT64_MAX || MUTANT(READ_ALONE);
}

static void read_ask(struct raft *self, struct raft_waiting *read)
{
    read->index = self->commit;
    if (needs_no_quorum(self) || raft_lease_holds(self)) {
        read->round = 0;
        return;
    }
    read->round =
        MUTANT(READ_OLD_ROUND) && self->lead.round != 0 ? self->lead.round : ++self->lead.round;
    for (unsigned i = 0; i < self->peer_count; i++) {
        if ((self->peer[i].set & (RAFT_VOTER | RAFT_OLD)) != 0) {
            self->peer[i].flags |= PEER_HEARTBEAT;
        }
    }
    if (MUTANT(READ_OLD_ROUND)) {
        raft_reads_confirm(self);
    }
}

static void read_register(struct raft *self, uint64_t token, struct raft_id from)
{
    struct raft_waiting *read = &raft_reads(self)[self->read_count++];
    read->token = token;
    read->from = from;
    read->index = RAFT_READ_UNKNOWN;
    read->round = 1;
    if (self->commit >= self->lead.term_first || MUTANT(READ_BEFORE_COMMIT)) {
        read_ask(self,
                 read); /* else a former leader may have committed more than we know (6.4 step 1) */
    }
}

int raft_read(struct raft *self, raft_time now, uint64_t token)
{
    if (self->state == RAFT_STOPPED) {
        return ERR_POISONED;
    }
    self->now = now > self->now ? now : self->now;
    if (self->state != RAFT_LEADER && raft_id_is_none(self->leader)) {
        return ERR_NOT_LEADER;
    }
    if (self->read_count == self->reads_max) {
        return ERR_AGAIN;
    }
    if (self->state == RAFT_LEADER) {
        if (!raft_lease_holds(self) && !needs_no_quorum(self)) {
            raft_wake(self);
        }
        self->lead.activity = self->now;
        read_register(self, token, self->id);
    } else {
        struct raft_waiting *read = &raft_reads(self)[self->read_count++];
        read->token = token;
        read->index = RAFT_READ_UNKNOWN;
        read->round = self->now + self->election_timeout_us_min;
    }
    raft_touch(self);
    return 0;
}

void raft_reads_confirm(struct raft *self)
{
    struct raft_waiting *reads = raft_reads(self);
    if (self->read_count == 0) {
        return;
    }
    uint64_t round = raft_quorum_round(self);
    for (unsigned i = 0; i < self->read_count; i++) {
        if (reads[i].round <= round && reads[i].round != RAFT_READ_FAILED &&
            reads[i].index != RAFT_READ_UNKNOWN) {
            reads[i].round = 0;
        }
    }
}

/* The commit index rose: the first time in a term, reads learn what they stand on. */
void raft_reads_commit(struct raft *self)
{
    struct raft_waiting *reads = raft_reads(self);
    for (unsigned i = 0; i < self->read_count && self->commit >= self->lead.term_first; i++) {
        if (reads[i].index == RAFT_READ_UNKNOWN && reads[i].round != RAFT_READ_FAILED) {
            read_ask(self, &reads[i]);
        }
    }
}

bool raft_reads_next(struct raft *self, struct raft_output *ret_output)
{
    struct raft_waiting *reads = raft_reads(self);
    for (unsigned i = 0; i < self->read_count; i++) {
        bool own = raft_id_is_none(reads[i].from) || raft_id_equal(reads[i].from, self->id);
        bool failed = reads[i].round == RAFT_READ_FAILED;
        if (own && (failed || (reads[i].round == 0 && reads[i].index <= self->applied))) {
            ret_output->type = RAFT_OUTPUT_READ;
            ret_output->read.token = reads[i].token;
            ret_output->read.index = failed ? 0 : reads[i].index;
            ret_output->read.error = failed ? ERR_NOT_LEADER : 0;
            read_remove(self, i);
            return true;
        }
    }
    return false;
}

/* A follower's question, or a leader's answer to one. */
bool raft_reads_send(struct raft *self, struct raft_message *ret_message)
{
    struct raft_waiting *reads = raft_reads(self);
    for (unsigned i = 0; i < self->read_count; i++) {
        bool asks = raft_id_is_none(reads[i].from) && reads[i].index == RAFT_READ_UNKNOWN &&
                    reads[i].round != RAFT_READ_FAILED && !raft_id_is_none(self->leader);
        bool answers = !raft_id_is_none(reads[i].from) && reads[i].round == 0 &&
                       !raft_id_equal(reads[i].from, self->id);
        if (!asks && !answers) {
            continue;
        }
        memset(ret_message, 0, sizeof(*ret_message));
        ret_message->group = self->group;
        ret_message->from = self->id;
        ret_message->to = asks ? self->leader : reads[i].from;
        ret_message->term = self->term;
        ret_message->type = asks ? RAFT_MESSAGE_READ : RAFT_MESSAGE_READ_REPLY;
        ret_message->token = reads[i].token;
        ret_message->index = asks ? 0 : reads[i].index;
        if (asks) {
            reads[i].index = RAFT_READ_UNKNOWN - 1; /* asked */
        } else {
            read_remove(self, i);
        }
        return true;
    }
    return false;
}

void raft_reads_advance(struct raft *self)
{
    struct raft_waiting *reads = raft_reads(self);
    for (unsigned i = 0; i < self->read_count; i++) {
        if (raft_id_is_none(reads[i].from) && reads[i].round != 0 && reads[i].round <= self->now) {
            reads[i].round = RAFT_READ_FAILED; /* question or answer was lost, or nobody leads */
            raft_sleeper_asks(self);
        }
    }
}

raft_time raft_reads_deadline(const struct raft *self)
{
    const struct raft_waiting *reads = reads_const(self);
    raft_time deadline = RAFT_NEVER;
    for (unsigned i = 0; i < self->read_count; i++) {
        if (raft_id_is_none(reads[i].from) && reads[i].round != 0 && reads[i].round < deadline) {
            deadline = reads[i].round;
        }
    }
    return deadline;
}

int raft_recv_read(struct raft *self, const struct raft_message *message)
{
    if (message->term > self->term) {
        raft_become_follower(self, message->term, (struct raft_id){0, 0});
    }
    if (self->state != RAFT_LEADER || message->term < self->term ||
        self->read_count == self->reads_max) {
        return 0; /* it asks again when its time is up */
    }
    if (!raft_lease_holds(self)) {
        raft_wake(self);
    }
    self->lead.activity = self->now;
    read_register(self, message->token, message->from);
    return 0;
}

int raft_recv_read_reply(struct raft *self, const struct raft_message *message)
{
    struct raft_waiting *reads = raft_reads(self);
    for (unsigned i = 0; i < self->read_count; i++) {
        if (raft_id_is_none(reads[i].from) && reads[i].token == message->token &&
            reads[i].round != 0 && reads[i].round != RAFT_READ_FAILED) {
            reads[i].index = message->index;
            reads[i].round = (message->flags & RAFT_FLAG_REJECT) != 0 ? RAFT_READ_FAILED : 0;
            break;
        }
    }
    return 0;
}
