/* progress: majorities against a naive count, over random sets of peers, joint or not, with learners and witnesses. */
#include <string.h>

#include "common/base/mem.h"
#include "common/base/rand.h"
#include "common/raft/state.h"
#include "tests/lib/test.h"

/* Do the voters of this half with at least `value` make a majority? An empty half always agrees. */
static bool half_reaches(const struct raft *raft, unsigned half, raft_index value)
{
    unsigned voters = 0;
    unsigned reach = 0;
    for (unsigned i = 0; i < raft->peer_count; i++) {
        if ((raft->peer[i].set & half) != 0) {
            voters++;
            reach += raft->peer[i].match >= value;
        }
    }
    return voters == 0 || 2 * reach > voters;
}

static bool may_commit(const struct raft *raft, raft_index value)
{
    unsigned full = 0;
    unsigned copies = 0;
    for (unsigned i = 0; i < raft->peer_count; i++) {
        const struct raft_peer *peer = &raft->peer[i];
        if ((peer->set & (RAFT_VOTER | RAFT_OLD)) != 0 && (peer->set & RAFT_WITNESS) == 0) {
            full++;
            copies += peer->match >= value;
        }
    }
    unsigned wanted = raft->data_copies_min < full ? raft->data_copies_min : full;
    return half_reaches(raft, RAFT_VOTER, value) && half_reaches(raft, RAFT_OLD, value) &&
           copies >= wanted;
}

TEST(the_commit_index_is_the_highest_that_both_halves_and_enough_copies_have)
{
    static const uint8_t sets[] = {RAFT_VOTER,
                                   RAFT_VOTER,
                                   RAFT_VOTER | RAFT_OLD,
                                   RAFT_OLD,
                                   RAFT_OLD | RAFT_LEARNER,
                                   RAFT_LEARNER,
                                   RAFT_VOTER | RAFT_WITNESS,
                                   RAFT_VOTER | RAFT_OLD | RAFT_WITNESS};
    struct raft *raft = mem_new(sizeof(struct raft) + 9 * sizeof(struct raft_peer));
    struct prng prng;
    prng_init(&prng, 3);
    raft->self = RAFT_NO_PEER;
    for (unsigned round = 0; round < 100000; round++) {
        bool joint = prng_below(&prng, 2) == 0;
        unsigned voters = 0;
        raft->joint = 0;
        raft->peer_count = (uint8_t) (1 + prng_below(&prng, 9));
        raft->data_copies_min = (uint8_t) (1 + prng_below(&prng, 3));
        for (unsigned i = 0; i < raft->peer_count; i++) {
            raft->peer[i].set = sets[prng_below(&prng, sizeof(sets))] & 15U;
            if (!joint) {
                raft->peer[i].set = raft->peer[i].set & (15U - RAFT_OLD) & 15;
            }
            raft->peer[i].match = prng_below(&prng, 8);
            raft->joint |= (raft->peer[i].set & RAFT_OLD) != 0;
            voters += (raft->peer[i].set & RAFT_VOTER) != 0;
        }
        if (voters == 0) {
            continue;
        }
        raft_index match = raft_quorum_match(raft);
        TEST_ASSERT_FAST(may_commit(raft, match));
        TEST_ASSERT_FAST(!may_commit(raft, match + 1));
    }
    mem_free(raft);
}

TEST(an_election_is_won_or_lost_by_both_halves)
{
    struct raft *raft = mem_new(sizeof(struct raft) + 9 * sizeof(struct raft_peer));
    struct prng prng;
    prng_init(&prng, 4);
    for (unsigned round = 0; round < 100000; round++) {
        raft->peer_count = (uint8_t) (1 + prng_below(&prng, 9));
        bool won = true;
        bool lost = false;
        for (unsigned i = 0; i < raft->peer_count; i++) {
            raft->peer[i].set = (1 + prng_below(&prng, 3)) & 15; /* new, old, both */
            raft->peer[i].flags = (uint16_t[]){0, PEER_GRANTED, PEER_REFUSED}[prng_below(&prng, 3)];
        }
        for (unsigned half = RAFT_VOTER; half <= RAFT_OLD; half++) {
            unsigned voters = 0;
            unsigned granted = 0;
            unsigned refused = 0;
            for (unsigned i = 0; i < raft->peer_count; i++) {
                if ((raft->peer[i].set & half) != 0) {
                    voters++;
                    granted += raft->peer[i].flags == PEER_GRANTED;
                    refused += raft->peer[i].flags == PEER_REFUSED;
                }
            }
            won = won && (voters == 0 || granted > voters / 2);
            lost = lost || (voters != 0 && voters - refused <= voters / 2);
        }
        TEST_ASSERT_FAST(raft_tally(raft) == (lost ? TALLY_LOST : won ? TALLY_WON : TALLY_OPEN));
    }
    mem_free(raft);
}
