/* transfer: a leader hands over to a voter it chose (dissertation 3.10): no new proposals, bring the target up to date, tell it to campaign at once. */
#include "common/raft/state.h"

#include <string.h>

#include "common/base/err.h"

int raft_transfer(struct raft *self, struct raft_id to)
{
    if (self->state == RAFT_STOPPED) {
        return ERR_POISONED;
    }
    if (self->state != RAFT_LEADER) {
        return ERR_NOT_LEADER;
    }
    if (raft_id_equal(to, self->id)) {
        return ERR_ALREADY;
    }
    if (!raft_id_is_none(self->lead.transfer) || self->blank_due) {
        return ERR_AGAIN;
    }
    struct raft_peer *peer = raft_peer_find(self, to);
    if (peer == NULL || (peer->set & RAFT_VOTER) == 0 || (peer->set & RAFT_WITNESS) != 0 ||
        peer->priority == 0) {
        return ERR_NOT_FOUND;
    }
    raft_wake(self);
    self->lead.transfer = to;
    self->lead.transfer_deadline =
        MUTANT(TRANSFER_FOREVER) ? RAFT_NEVER : self->now + self->election_timeout_us_max;
    raft_transfer_check(self, peer);
    raft_touch(self);
    return 0;
}

void raft_transfer_check(struct raft *self, struct raft_peer *peer)
{
    if (self->lease_burnt && self->lead.transfer_last != 0 &&
        raft_id_is_none(self->lead.transfer) && raft_id_equal(peer->id, self->lead.transfer_to) &&
        peer->match > self->lead.transfer_last) {
        self->lease_burnt = 0; /* a late order names an entry that is not its last any more */
    }
    if (raft_id_equal(peer->id, self->lead.transfer) && peer->match == self->last) {
        peer->flags |= PEER_TIMEOUT_NOW;
        self->lead.transfer_to = self->lead.transfer;
        self->lead.transfer_last = self->last;
        self->lease_burnt = 1;
    }
}

/* A target that can't catch up must not stop the group (redpanda#24404). */
void raft_transfer_advance(struct raft *self)
{
    if (!raft_id_is_none(self->lead.transfer) && self->now >= self->lead.transfer_deadline) {
        memset(&self->lead.transfer, 0, sizeof(self->lead.transfer));
    }
}

int raft_recv_timeout_now(struct raft *self, const struct raft_message *message)
{
    bool ours = message->term == self->term && self->state == RAFT_FOLLOWER &&
                raft_id_equal(self->leader, message->from);
    bool same_log = message->index == self->last && message->index_term == self->last_term;
    if (MUTANT(TIMEOUT_NOW_BLIND)) {
        ours = self->state != RAFT_LEADER;
        same_log = true;
    }
    if (ours && same_log && raft_can_campaign(self)) {
        raft_election_start(self, CAMPAIGN_BY_TRANSFER);
        raft_election_tally(self);
    }
    return 0;
}
