/* reads: linearizable reads, leases and transfer (dissertation 3.10, 6.4), and the bugs that others had in them (raft.md S1, F1 to F6). */
#include <string.h>

#include "common/base/err.h"
#include "tests/lib/test.h"
#include "tests/unit/common/raft/cluster.h"

static void with_leases(struct raft_config *config)
{
    config->lease_reads = true;
}

/* 0: answered; an error; or 1: not yet. */
static int outcome(const struct cluster *cluster, unsigned node, uint64_t token)
{
    const struct node *own = &cluster->node[node];
    for (unsigned i = 0; i < own->read_count; i++) {
        if (own->read[i].token == token) {
            return own->read[i].error;
        }
    }
    return 1;
}

static void read_begin(struct cluster *cluster, unsigned node, uint64_t token)
{
    ck_assert_int_eq(raft_read(cluster->node[node].raft, cluster->now, token), 0);
}

TEST(a_read_takes_one_round_on_the_leader_and_works_on_followers)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster_put(cluster, 3);
    read_begin(cluster, 1, 1);
    node_drain(cluster, 1);
    ck_assert_int_eq(outcome(cluster, 1, 1), 1);
    cluster_settle(cluster);
    ck_assert_int_eq(outcome(cluster, 1, 1), 0);
    read_begin(cluster, 2, 2);
    cluster_settle(cluster);
    ck_assert_int_eq(outcome(cluster, 2, 2), 0);
    ck_assert_uint_eq(cluster->node[2].read[0].index, 5);
    cluster_destroy(&cluster);
}

TEST(a_cut_off_leader_answers_no_read)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster_isolate(cluster, 1, true);
    read_begin(cluster, 1, 1);
    cluster_run(cluster, 100000);
    ck_assert_int_eq(outcome(cluster, 1, 1), 1);
    cluster_run(cluster, 900000);
    ck_assert_int_eq(outcome(cluster, 1, 1), ERR_NOT_LEADER);
    cluster_destroy(&cluster);
}

TEST(a_read_waits_until_the_state_machine_here_is_fresh_enough)
{
    for (unsigned node = 1; node <= 2; node++) { /* on the leader, and on a follower */
        struct cluster *cluster = cluster_led(3, 1, NULL);
        cluster->node[node].disk_holds = true; /* committed by the other two, not applied here */
        cluster_put(cluster, 1);
        ck_assert_uint_eq(cluster->committed_last, 3);
        read_begin(cluster, node, 1);
        cluster_settle(cluster);
        ck_assert_uint_eq(cluster->node[node].read_count, 0);
        cluster->node[node].disk_holds = false;
        cluster_settle(cluster);
        ck_assert_uint_eq(cluster->node[node].read_count, 1);
        ck_assert_int_eq(cluster->node[node].read[0].error, 0);
        ck_assert_uint_eq(cluster->node[node].read[0].index, 3);
        cluster_destroy(&cluster);
    }
}

TEST(a_follower_gives_up_a_read_that_nobody_answers)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster->drop_types = 1U << RAFT_MESSAGE_READ;
    read_begin(cluster, 2, 1);
    cluster_run(cluster, 200000);
    ck_assert_int_eq(outcome(cluster, 2, 1), ERR_NOT_LEADER);
    cluster_destroy(&cluster);
}

TEST(a_new_leader_answers_no_read_before_it_committed_in_its_term)
{
    for (unsigned leases = 0; leases < 2; leases++) {
        struct cluster *cluster = cluster_led(3, 1, leases != 0 ? with_leases : NULL);
        cluster_put(cluster, 3);
        node_crash(cluster, 1);
        unsigned leader = 0;
        cluster->drop_types = 1U << RAFT_MESSAGE_APPEND;
        for (unsigned i = 0; i < 100 && leader == 0; i++) {
            cluster_run(cluster, 10000);
            leader = cluster_leader(cluster);
        }
        unsigned other =
            5 -
            leader; /* answers beats, but does not get its disk to take the leader's blank entry */
        cluster->node[other].disk_holds = true;
        cluster->drop_types = 0;
        read_begin(cluster, leader, 1);
        cluster_run(cluster, 110000);
        ck_assert_int_eq(outcome(cluster, leader, 1), 1);
        cluster->node[other].disk_holds = false;
        cluster_run(cluster, 110000);
        ck_assert_int_eq(outcome(cluster, leader, 1), 0);
        ck_assert_uint_ge(cluster->node[leader].read[0].index, 6);
        cluster_destroy(&cluster);
    }
}

TEST(an_answer_to_an_earlier_question_confirms_nothing)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    read_begin(cluster, 1, 1);
    node_drain(cluster, 1);
    cluster_deliver_all(cluster);
    node_drain(cluster, 2);
    node_drain(cluster, 3);
    struct envelope *envelope = cluster_find(cluster, RAFT_MESSAGE_APPEND_REPLY, 1);
    ck_assert_ptr_nonnull(envelope);
    struct envelope late = *envelope; /* comes twice: now, and after the next question */
    cluster_settle(cluster);
    ck_assert_int_eq(outcome(cluster, 1, 1), 0);
    cluster_isolate(cluster, 1, true);
    read_begin(cluster, 1, 2);
    cluster_settle(cluster);
    cluster_isolate(cluster, 1, false);
    cluster->queue[cluster->queue_count++] = late;
    cluster_deliver(cluster, 0);
    node_drain(cluster, 1);
    ck_assert_int_eq(outcome(cluster, 1, 2), 1);
    cluster_destroy(&cluster);
}

TEST(only_so_many_reads_wait)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    for (uint64_t token = 1; token <= 2; token++) {
        read_begin(cluster, 1, token);
    }
    ck_assert_int_eq(raft_read(cluster->node[1].raft, cluster->now, 3), ERR_AGAIN);
    cluster_settle(cluster);
    for (uint64_t token = 1; token <= 2; token++) {
        ck_assert_int_eq(outcome(cluster, 1, token), 0);
    }
    cluster_destroy(&cluster);
}

TEST(a_lease_answers_at_once_and_ends_before_anybody_else_can_lead)
{
    struct cluster *cluster = cluster_led(3, 1, with_leases);
    cluster_run(cluster, 60000);
    ck_assert(cluster_status(cluster, 1).leased);
    uint64_t before = cluster->sent_total;
    read_begin(cluster, 1, 1);
    node_drain(cluster, 1);
    ck_assert_int_eq(outcome(cluster, 1, 1), 0);
    ck_assert_uint_eq(cluster->sent_total, before);
    /* The question left now; the answers come late: the lease counts from the question. */
    cluster->now += 50000;
    raft_advance(cluster->node[1].raft, cluster->now);
    raft_time asked = cluster->now;
    cluster_drain(cluster);
    cluster_deliver_all(cluster);
    cluster_drain(cluster);
    cluster->now += 100000;
    cluster_deliver_all(cluster);
    cluster_isolate(cluster, 1, true);
    raft_advance(cluster->node[1].raft, cluster->now);
    ck_assert(cluster_status(cluster, 1).leased);
    cluster->now = asked + 149840; /* min less the drift */
    raft_advance(cluster->node[1].raft, cluster->now);
    ck_assert(cluster_status(cluster, 1).leased);
    cluster->now = asked + 149860;
    raft_advance(cluster->node[1].raft, cluster->now);
    ck_assert(!cluster_status(cluster, 1).leased);
    cluster_destroy(&cluster);
}

TEST(a_transfer_hands_over_and_loses_nothing)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster_put(cluster, 10);
    ck_assert_int_eq(raft_transfer(cluster->node[1].raft, cluster_id(cluster, 3)), 0);
    uint64_t value;
    ck_assert_int_eq(cluster_propose(cluster, 1, &value), ERR_AGAIN);
    cluster_settle(cluster);
    ck_assert_uint_eq(cluster_leader(cluster), 3);
    ck_assert_uint_eq(cluster->sent[RAFT_MESSAGE_PRE_VOTE], 2); /* of the first election */
    cluster_put(cluster, 3);
    ck_assert(cluster_agrees(cluster));
    ck_assert_int_eq(raft_transfer(cluster->node[3].raft, (struct raft_id){9, 1}), ERR_NOT_FOUND);
    ck_assert_int_eq(raft_transfer(cluster->node[3].raft, cluster_id(cluster, 3)), ERR_ALREADY);
    ck_assert_int_eq(raft_transfer(cluster->node[1].raft, cluster_id(cluster, 3)), ERR_NOT_LEADER);
    cluster_destroy(&cluster);
}

TEST(a_transfer_to_one_that_cannot_follow_is_given_up)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster_isolate(cluster, 3, true);
    cluster_put(cluster, 3);
    ck_assert_int_eq(raft_transfer(cluster->node[1].raft, cluster_id(cluster, 3)), 0);
    cluster_run(cluster, 301000);
    ck_assert(raft_id_is_none(cluster_status(cluster, 1).transfer));
    cluster_put(cluster, 3);
    ck_assert_uint_eq(cluster_leader(cluster), 1);
    cluster_destroy(&cluster);
}

TEST(a_transfer_burns_the_lease_until_its_order_cannot_be_obeyed_any_more)
{
    struct cluster *cluster = cluster_led(3, 1, with_leases);
    cluster_run(cluster, 60000);
    ck_assert(cluster_status(cluster, 1).leased);
    cluster_cut(cluster, 1, 3, false);
    cluster->drop_types = 1U << RAFT_MESSAGE_TIMEOUT_NOW;
    ck_assert_int_eq(raft_transfer(cluster->node[1].raft, cluster_id(cluster, 3)), 0);
    raft_index last = cluster_status(cluster, 1).last;
    raft_term term = raft_term_of(cluster->node[1].raft);
    cluster_settle(cluster);
    ck_assert(!cluster_status(cluster, 1).leased);
    cluster_run(cluster, 310000); /* given up; but the order may still be on its way */
    ck_assert(raft_id_is_none(cluster_status(cluster, 1).transfer));
    ck_assert(!cluster_status(cluster, 1).leased);
    cluster_put(cluster, 1);
    ck_assert(cluster_status(cluster, 1).leased);
    cluster->drop_types = 0;
    struct envelope *late = cluster_post(cluster, RAFT_MESSAGE_TIMEOUT_NOW, 1, 3, term);
    late->message.index = last;
    late->message.index_term = term;
    cluster_settle(cluster);
    ck_assert_uint_eq(cluster_leader(cluster), 1);
    ck_assert_uint_eq(raft_term_of(cluster->node[3].raft), term);
    cluster_destroy(&cluster);
}
