/* election: the rules of voting (paper 5.2, 5.4.1; dissertation 4.2.3, 9.6), and the bugs that others had in them (raft.md S5, A1 to A9). */
#include <string.h>

#include "common/base/err.h"
#include "tests/lib/test.h"
#include "tests/unit/common/raft/cluster.h"

/* One node with these log terms on its disk, member of {1, 2, 3}; started long enough ago to vote. */
static struct cluster *one_voter(const char *terms)
{
    struct cluster *cluster = cluster_new(3, NULL);
    struct raft_members members = cluster_members(cluster, "vvv");
    for (unsigned node = 1; node <= 3; node++) {
        node_disk_put(cluster, node, 1, &members);
    }
    for (; *terms != 0; terms++) {
        node_disk_put(cluster, 1, (raft_term) (*terms - '0'), NULL);
    }
    node_crash(cluster, 2);
    node_crash(cluster, 3);
    node_start(cluster, 1);
    cluster->now += 150000;
    raft_advance(cluster->node[1].raft, cluster->now);
    return cluster;
}

/* The answer's flags, or -1 if there is none. */
static int ask(struct cluster *cluster, unsigned type, unsigned from, raft_term term,
               raft_term last_term, raft_index last, unsigned flags)
{
    unsigned reply =
        type == RAFT_MESSAGE_VOTE ? RAFT_MESSAGE_VOTE_REPLY : RAFT_MESSAGE_PRE_VOTE_REPLY;
    struct envelope *envelope = cluster_post(cluster, type, from, 1, term);
    envelope->message.index = last;
    envelope->message.index_term = last_term;
    envelope->message.flags = (uint8_t) flags;
    cluster_deliver(cluster, cluster->queue_count - 1);
    node_drain(cluster, 1);
    node_write(cluster, 1, CLUSTER_WRITES);
    node_drain(cluster, 1);
    struct envelope *answer = cluster_find(cluster, reply, from);
    int result = answer == NULL ? -1 : answer->message.flags;
    cluster_drop_all(cluster);
    return result;
}

TEST(a_vote_goes_to_logs_that_are_at_least_as_good)
{
    static const struct {
        raft_term term;
        raft_index last;
        int flags;
    } candidates[] = {
        {3, 4, 0}, {3, 5, 0}, {4, 1, 0},  {4, 9, 0}, /* ours: 1 2 3 3 */
        {3, 3, 1}, {2, 4, 1}, {2, 99, 1}, {1, 99, 1},
    };
    for (size_t i = 0; i < sizeof(candidates) / sizeof(candidates[0]); i++) {
        struct cluster *cluster = one_voter("233");
        ck_assert_int_eq(
            ask(cluster, RAFT_MESSAGE_PRE_VOTE, 2, 9, candidates[i].term, candidates[i].last, 0),
            candidates[i].flags);
        ck_assert_int_eq(
            ask(cluster, RAFT_MESSAGE_VOTE, 2, 9, candidates[i].term, candidates[i].last, 0),
            candidates[i].flags);
        ck_assert_uint_eq(raft_term_of(cluster->node[1].raft), 9);
        cluster_destroy(&cluster);
    }
}

TEST(one_vote_a_term_also_after_a_crash)
{
    struct cluster *cluster = one_voter("");
    ck_assert_int_eq(ask(cluster, RAFT_MESSAGE_VOTE, 2, 5, 1, 1, 0), 0);
    ck_assert_int_eq(ask(cluster, RAFT_MESSAGE_VOTE, 3, 5, 1, 1, 0), RAFT_FLAG_REJECT);
    ck_assert_int_eq(ask(cluster, RAFT_MESSAGE_VOTE, 2, 5, 1, 1, 0), 0); /* asked twice */
    node_crash(cluster, 1);
    node_start(cluster, 1);
    cluster->now += 150000;
    ck_assert_int_eq(ask(cluster, RAFT_MESSAGE_VOTE, 3, 5, 1, 1, 0), RAFT_FLAG_REJECT);
    ck_assert_int_eq(ask(cluster, RAFT_MESSAGE_VOTE, 2, 5, 1, 1, 0), 0);
    cluster_destroy(&cluster);
}

TEST(a_vote_in_a_term_that_was_known_before_is_durable_too)
{
    struct cluster *cluster = one_voter("2");
    ck_assert_int_eq(ask(cluster, RAFT_MESSAGE_VOTE, 2, 5, 1, 1, 0), RAFT_FLAG_REJECT);
    ck_assert_int_eq(ask(cluster, RAFT_MESSAGE_VOTE, 2, 5, 2, 2, 0), 0);
    node_crash(cluster, 1);
    node_start(cluster, 1);
    cluster->now += 150000;
    ck_assert_int_eq(ask(cluster, RAFT_MESSAGE_VOTE, 3, 5, 2, 2, 0), RAFT_FLAG_REJECT);
    cluster_destroy(&cluster);
}

TEST(nothing_is_said_before_term_and_vote_are_durable)
{
    struct cluster *cluster = one_voter("");
    struct envelope *envelope = cluster_post(cluster, RAFT_MESSAGE_VOTE, 2, 1, 5);
    envelope->message.index = 1;
    envelope->message.index_term = 1;
    cluster_deliver(cluster, 0);
    node_drain(cluster, 1);
    ck_assert_uint_eq(cluster->queue_count, 0);
    ck_assert_uint_eq(cluster->node[1].pending_count, 1);
    node_write(cluster, 1, 1);
    node_drain(cluster, 1);
    ck_assert_ptr_nonnull(cluster_find(cluster, RAFT_MESSAGE_VOTE_REPLY, 2));
    ck_assert_uint_eq(cluster->node[1].disk->vote.node, 2);
    cluster_destroy(&cluster);
}

TEST(a_candidate_asks_and_counts_itself_only_when_its_vote_is_durable)
{
    struct cluster *cluster = one_voter("");
    ck_assert_int_eq(raft_campaign(cluster->node[1].raft), 0);
    node_drain(cluster, 1);
    ck_assert_uint_eq(cluster->sent[RAFT_MESSAGE_PRE_VOTE], 2); /* changes nothing, asks at once */
    cluster_drop_all(cluster);
    (void) cluster_post(cluster, RAFT_MESSAGE_PRE_VOTE_REPLY, 2, 1, 2);
    cluster_deliver(cluster, 0);
    node_drain(cluster, 1);
    ck_assert_int_eq(raft_state_of(cluster->node[1].raft), RAFT_CANDIDATE);
    ck_assert_uint_eq(cluster->sent[RAFT_MESSAGE_VOTE], 0);
    (void) cluster_post(cluster, RAFT_MESSAGE_VOTE_REPLY, 2, 1, 2);
    cluster_deliver(cluster, 0);
    ck_assert_int_eq(raft_state_of(cluster->node[1].raft), RAFT_CANDIDATE);
    node_write(cluster, 1, 1);
    ck_assert_int_eq(raft_state_of(cluster->node[1].raft), RAFT_LEADER);
    cluster_destroy(&cluster);
}

TEST(a_voter_that_hears_its_leader_keeps_quiet)
{
    struct cluster *cluster = cluster_led(3, 2, NULL);
    raft_term term = raft_term_of(cluster->node[1].raft);
    ck_assert_int_eq(ask(cluster, RAFT_MESSAGE_VOTE, 3, term + 5, term, 99, 0), -1);
    ck_assert_uint_eq(raft_term_of(cluster->node[1].raft), term);
    ck_assert_int_eq(ask(cluster, RAFT_MESSAGE_PRE_VOTE, 3, term + 1, term, 99, 0),
                     RAFT_FLAG_REJECT);
    cluster->now += 149999;
    ck_assert_int_eq(ask(cluster, RAFT_MESSAGE_VOTE, 3, term + 5, term, 99, 0), -1);
    cluster->now += 1;
    ck_assert_int_eq(ask(cluster, RAFT_MESSAGE_VOTE, 3, term + 5, term, 99, 0), 0);
    cluster_destroy(&cluster);
}

TEST(the_leader_itself_may_ask_for_the_election)
{
    struct cluster *cluster = cluster_led(3, 2, NULL);
    raft_term term = raft_term_of(cluster->node[1].raft);
    ck_assert_int_eq(ask(cluster, RAFT_MESSAGE_VOTE, 3, term + 1, term, 99, RAFT_FLAG_TRANSFER), 0);
    cluster_destroy(&cluster);
}

TEST(a_restarted_voter_keeps_the_promise_it_may_have_made)
{
    struct cluster *cluster = cluster_led(3, 2, NULL);
    raft_term term = raft_term_of(cluster->node[1].raft);
    node_crash(cluster, 1);
    node_start(cluster, 1);
    ck_assert_int_eq(ask(cluster, RAFT_MESSAGE_VOTE, 3, term + 5, term, 99, 0), -1);
    cluster->now += 150000;
    ck_assert_int_eq(ask(cluster, RAFT_MESSAGE_VOTE, 3, term + 5, term, 99, 0), 0);
    cluster_destroy(&cluster);
}

TEST(votes_are_counted_by_member_not_by_message)
{
    struct cluster *cluster = cluster_new(5, NULL);
    cluster_bootstrap(cluster, "vvvvv");
    for (unsigned node = 2; node <= 5; node++) {
        node_crash(cluster, node);
    }
    cluster_settle(cluster);
    ck_assert_int_eq(raft_campaign(cluster->node[1].raft), 0);
    cluster_settle(cluster);
    for (unsigned i = 0; i < 5; i++) {
        (void) cluster_post(cluster, RAFT_MESSAGE_PRE_VOTE_REPLY, 2, 1, 2);
    }
    cluster_settle(cluster);
    ck_assert_int_eq(raft_state_of(cluster->node[1].raft), RAFT_PRE_CANDIDATE);
    (void) cluster_post(cluster, RAFT_MESSAGE_PRE_VOTE_REPLY, 3, 1, 2);
    cluster_settle(cluster);
    for (unsigned i = 0; i < 5; i++) {
        (void) cluster_post(cluster, RAFT_MESSAGE_VOTE_REPLY, 2, 1, 2);
    }
    cluster_settle(cluster);
    ck_assert_int_eq(raft_state_of(cluster->node[1].raft), RAFT_CANDIDATE);
    (void) cluster_post(cluster, RAFT_MESSAGE_VOTE_REPLY, 4, 1, 2);
    cluster_settle(cluster);
    ck_assert_int_eq(raft_state_of(cluster->node[1].raft), RAFT_LEADER);
    cluster_destroy(&cluster);
}

TEST(a_long_log_of_a_low_term_and_a_short_one_of_a_high_term_find_a_leader)
{
    /* 1 has the longer log, 2 has seen a higher term: only 1 can win, and only by adopting that term (etcd#8501, openraft#1796). */
    struct cluster *cluster = cluster_new(2, NULL);
    struct raft_members members = cluster_members(cluster, "vv");
    for (unsigned node = 1; node <= 2; node++) {
        node_disk_put(cluster, node, 1, &members);
    }
    node_disk_put(cluster, 1, 2, NULL);
    cluster->node[2].disk->term = 9;
    node_start(cluster, 1);
    node_start(cluster, 2);
    ck_assert_uint_eq(cluster_wait_leader(cluster), 1);
    ck_assert_uint_ge(raft_term_of(cluster->node[1].raft), 10);
    cluster_destroy(&cluster);
}

TEST(a_cut_off_follower_comes_back_without_disturbing)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    raft_term term = raft_term_of(cluster->node[1].raft);
    cluster_isolate(cluster, 3, true);
    cluster_run(cluster, 5000000);
    ck_assert_uint_eq(raft_term_of(cluster->node[3].raft), term);
    cluster_put(cluster, 10);
    cluster_isolate(cluster, 3, false);
    cluster_run(cluster, 1000000);
    ck_assert_uint_eq(cluster_leader(cluster), 1);
    ck_assert_uint_eq(raft_term_of(cluster->node[1].raft), term);
    ck_assert(cluster_agrees(cluster));
    cluster_destroy(&cluster);
}

TEST(a_leader_that_nobody_answers_steps_down)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster_isolate(cluster, 1, true);
    cluster_run(cluster, 650000);
    ck_assert_int_ne(raft_state_of(cluster->node[1].raft), RAFT_LEADER);
    ck_assert_uint_eq(cluster_status(cluster, 1).step_downs, 1);
    unsigned leader = cluster_wait_leader(cluster);
    ck_assert_uint_ne(leader, 1);
    cluster_put(cluster, 3);
    cluster_isolate(cluster, 1, false);
    cluster_run(cluster, 500000);
    ck_assert_uint_eq(cluster_leader(cluster), leader);
    ck_assert(cluster_agrees(cluster));
    cluster_destroy(&cluster);
}

TEST(a_leader_that_hears_but_is_not_heard_gives_way)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster->cut[1][2] = true;
    cluster->cut[1][3] = true;
    cluster_run(cluster, 1500000);
    ck_assert_uint_ne(cluster_leader(cluster), 1);
    ck_assert_uint_ne(cluster_leader(cluster), 0);
    cluster_destroy(&cluster);
}

TEST(who_has_priority_leads_when_the_leader_is_gone)
{
    struct cluster *cluster = cluster_new(3, NULL);
    struct raft_members members = cluster_members(cluster, "vvv");
    members.member[0].priority = 1;
    members.member[1].priority = 9;
    members.member[2].priority = 0;
    for (unsigned node = 1; node <= 3; node++) {
        node_disk_put(cluster, node, 1, &members);
        node_start(cluster, node);
    }
    ck_assert_uint_eq(cluster_wait_leader(cluster), 2);
    node_crash(cluster, 2);
    ck_assert_uint_eq(cluster_wait_leader(cluster), 1); /* 3 never campaigns */
    ck_assert_int_eq(raft_campaign(cluster->node[3].raft), ERR_AGAIN);
    cluster_destroy(&cluster);
}

TEST(the_order_of_priorities_is_the_order_of_campaigns)
{
    for (unsigned i = 0; i < 20; i++) {
        struct cluster *cluster = cluster_new(3, NULL);
        struct raft_members members = cluster_members(cluster, "vvv");
        members.member[0].priority = 1;
        members.member[1].priority = 9;
        members.member[2].priority = 5;
        prng_init(&cluster->prng, i);
        for (unsigned node = 1; node <= 3; node++) {
            node_disk_put(cluster, node, 1, &members);
            node_start(cluster, node);
        }
        ck_assert_uint_eq(cluster_wait_leader(cluster), 2);
        ck_assert_uint_eq(raft_term_of(cluster->node[2].raft), 2); /* nobody was before it */
        node_crash(cluster, 2);
        ck_assert_uint_eq(cluster_wait_leader(cluster), 3);
        cluster_destroy(&cluster);
    }
}

TEST(who_should_not_lead_does_when_its_log_is_the_only_good_one)
{
    struct cluster *cluster = cluster_new(3, NULL);
    struct raft_members members = cluster_members(cluster, "vvv");
    members.member[2].priority = 0;
    for (unsigned node = 1; node <= 3; node++) {
        node_disk_put(cluster, node, 1, &members);
    }
    node_disk_put(cluster, 3, 1, NULL); /* perhaps committed, with 1 */
    node_crash(cluster, 1);
    node_start(cluster, 2);
    node_start(cluster, 3);
    ck_assert_uint_eq(cluster_wait_leader(cluster), 3);
    cluster_destroy(&cluster);
}

TEST(a_failed_write_stops_the_replica_for_good)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    struct raft_entry entry = {.bytes = 1};
    raft_index first;
    raft_failed(cluster->node[1].raft);
    uint64_t before = cluster->sent_total;
    node_drain(cluster, 1);
    ck_assert_uint_eq(cluster->sent_total, before);
    ck_assert_int_eq(raft_propose(cluster->node[1].raft, &entry, 1, &first), ERR_POISONED);
    ck_assert_uint_eq(raft_deadline(cluster->node[1].raft), UINT64_MAX);
    ck_assert_uint_ne(cluster_wait_leader(cluster), 1);
    cluster_destroy(&cluster);
}

TEST(a_replica_of_five_members_takes_a_kilobyte)
{
    struct raft_config config;
    raft_config_init(&config);
    ck_assert_uint_le(raft_size(&config), 1024);
}
