/* membership: changes of members (dissertation 4), and the bugs that others had in them (raft.md S9, E1 to E12). */
#include <string.h>

#include "common/base/err.h"
#include "tests/lib/test.h"
#include "tests/unit/common/raft/cluster.h"

static void five_learners(struct raft_config *config)
{
    config->catchup_entries_max = 50;
}

/* Change and wait until it is committed and not joint. */
static void change(struct cluster *cluster, unsigned node, const char *roles)
{
    ck_assert_int_eq(cluster_change(cluster, node, roles), 0);
    cluster_settle(cluster);
    cluster_run(cluster, 100000);
}

static bool is_uniform(const struct cluster *cluster, unsigned node, const char *roles)
{
    struct raft_members now;
    struct raft_members wanted = cluster_members(cluster, roles);
    raft_members_read(cluster->node[node].raft, &now);
    return raft_members_equal(&now, &wanted);
}

/* As async-raft's dynamic_membership: from one node to five, one dies, another leads, it comes back and follows. */
TEST(a_group_grows_from_one_to_five_and_survives_its_leader)
{
    struct cluster *cluster = cluster_new(5, five_learners);
    cluster_bootstrap(cluster, "v");
    cluster_settle(cluster);
    cluster_put(cluster, 100);
    ck_assert_int_eq(cluster_change(cluster, 1, "vvvvv"), ERR_THROTTLED);
    change(cluster, 1, "vllll");
    change(cluster, 1, "vvvvv");
    ck_assert(is_uniform(cluster, 5, "vvvvv"));
    ck_assert(cluster_agrees(cluster));
    raft_term term = raft_term_of(cluster->node[1].raft);
    cluster_isolate(cluster, 1, true);
    cluster_run(cluster, 1500000);
    unsigned leader = cluster_wait_leader(cluster);
    ck_assert_uint_ne(leader, 1);
    ck_assert_uint_gt(raft_term_of(cluster->node[leader].raft), term);
    cluster_isolate(cluster, 1, false);
    cluster_run(cluster, 500000);
    ck_assert_uint_eq(raft_leader(cluster->node[1].raft).node, leader);
    ck_assert(cluster_agrees(cluster));
    cluster_destroy(&cluster);
}

TEST(all_members_can_be_replaced_in_one_change)
{
    struct cluster *cluster = cluster_new(6, NULL);
    cluster_bootstrap(cluster, "vvv");
    unsigned leader = cluster_wait_leader(cluster);
    cluster_put(cluster, 10);
    change(cluster, leader, "vvvlll");
    change(cluster, leader, "...vvv");
    cluster_run(cluster, 1000000);
    unsigned next = cluster_wait_leader(cluster);
    ck_assert_uint_ge(next, 4);
    for (unsigned node = 1; node <= 3; node++) { /* told that they are out, they keep quiet */
        ck_assert_int_eq(raft_state_of(cluster->node[node].raft), RAFT_FOLLOWER);
        ck_assert_uint_eq(raft_deadline(cluster->node[node].raft), UINT64_MAX);
        node_crash(cluster, node);
    }
    cluster_put(cluster, 10);
    ck_assert(is_uniform(cluster, 4, "...vvv"));
    ck_assert(cluster_agrees(cluster));
    cluster_destroy(&cluster);
}

TEST(learners_do_not_count)
{
    struct cluster *cluster = cluster_new(5, NULL);
    cluster_bootstrap(cluster, "vvlll");
    cluster_settle(cluster);
    ck_assert_int_eq(raft_campaign(cluster->node[1].raft), 0);
    cluster_settle(cluster);
    ck_assert_int_eq(raft_campaign(cluster->node[3].raft), ERR_AGAIN);
    cluster_put(cluster, 2);
    raft_index commit = cluster_status(cluster, 1).commit;
    node_crash(cluster, 2);
    cluster_put(cluster, 2);
    ck_assert_uint_eq(cluster_progress(cluster, 1, 3).match, commit + 2);
    ck_assert_uint_eq(cluster_status(cluster, 1).commit, commit);
    cluster_destroy(&cluster);
}

TEST(while_joint_both_halves_must_agree)
{
    struct cluster *cluster = cluster_new(6, NULL);
    cluster_bootstrap(cluster, "vvvlll");
    cluster_settle(cluster);
    ck_assert_int_eq(raft_campaign(cluster->node[1].raft), 0);
    cluster_settle(cluster);
    struct raft_members target = cluster_members(cluster, "v..vvv");
    target.explicit_leave = 1;
    ck_assert_int_eq(cluster_change_to(cluster, 1, &target), 0);
    cluster_settle(cluster);
    ck_assert(cluster_status(cluster, 1).joint);
    raft_index commit = cluster_status(cluster, 1).commit;
    cluster_isolate(cluster, 2, true);
    cluster_isolate(cluster, 3, true);
    cluster_put(cluster, 1); /* 1 4 5 6: the new half alone */
    ck_assert_uint_eq(cluster_status(cluster, 1).commit, commit);
    cluster_isolate(cluster, 2, false);
    cluster_run(cluster, 100000);
    ck_assert_uint_eq(cluster_status(cluster, 1).commit, commit + 1);
    cluster_isolate(cluster, 3, false);
    for (unsigned node = 4; node <= 6; node++) {
        cluster_isolate(cluster, node, true);
    }
    cluster_put(cluster, 1); /* 1 2 3: the old half alone */
    ck_assert_uint_eq(cluster_status(cluster, 1).commit, commit + 1);
    cluster_run(cluster, 2000000);
    ck_assert_uint_eq(cluster_leader(cluster), 0); /* nor may it elect */
    for (unsigned node = 4; node <= 6; node++) {
        cluster_isolate(cluster, node, false);
    }
    unsigned leader = cluster_wait_leader(cluster);
    ck_assert(cluster_status(cluster, leader).joint);
    target.explicit_leave = 0;
    ck_assert_int_eq(cluster_change_to(cluster, leader, &target), 0);
    cluster_run(cluster, 100000);
    ck_assert(is_uniform(cluster, leader, "v..vvv"));
    cluster_destroy(&cluster);
}

TEST(the_new_half_alone_elects_nobody)
{
    struct cluster *cluster = cluster_new(6, NULL);
    cluster_bootstrap(cluster, "vvvlll");
    cluster_settle(cluster);
    ck_assert_int_eq(raft_campaign(cluster->node[1].raft), 0);
    cluster_settle(cluster);
    struct raft_members target = cluster_members(cluster, "...vvv");
    target.explicit_leave = 1;
    ck_assert_int_eq(cluster_change_to(cluster, 1, &target), 0);
    cluster_settle(cluster);
    for (unsigned node = 1; node <= 3; node++) {
        cluster_isolate(cluster, node, true);
    }
    cluster_run(cluster, 3000000);
    ck_assert_uint_eq(cluster_leader(cluster), 0);
    cluster_destroy(&cluster);
}

TEST(one_change_at_a_time_and_none_before_this_term_committed)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster->drop_types = 1U << RAFT_MESSAGE_APPEND;
    ck_assert_int_eq(cluster_change(cluster, 1, "vv"), 0);
    ck_assert_int_eq(cluster_change(cluster, 1, "vvl"), ERR_AGAIN);
    cluster_settle(cluster);
    ck_assert_int_eq(cluster_change(cluster, 1, "vvl"), ERR_AGAIN);
    cluster_destroy(&cluster);

    cluster = cluster_led(3, 1, NULL);
    cluster_isolate(cluster, 1, true);
    cluster->drop_types = 1U << RAFT_MESSAGE_APPEND;
    cluster_run(cluster, 200000);
    for (unsigned i = 0; i < 100 && raft_state_of(cluster->node[2].raft) != RAFT_LEADER &&
                         raft_state_of(cluster->node[3].raft) != RAFT_LEADER;
         i++) {
        cluster_run(cluster, 10000);
    }
    unsigned leader = raft_state_of(cluster->node[2].raft) == RAFT_LEADER ? 2 : 3;
    ck_assert_int_eq(cluster_change(cluster, leader, leader == 2 ? ".vv" : "vvl"), ERR_AGAIN);
    cluster->drop_types = 0;
    cluster_run(cluster, 110000);
    ck_assert_int_eq(cluster_change(cluster, leader, ".vv"), 0);
    cluster_destroy(&cluster);
}

TEST(a_configuration_that_is_cut_off_gives_way_to_the_one_before)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster_isolate(cluster, 1, true);
    ck_assert_int_eq(cluster_change(cluster, 1, "vv"), 0);
    cluster_settle(cluster);
    ck_assert(is_uniform(cluster, 1, "vv"));
    unsigned leader = 0;
    for (unsigned i = 0; i < 100 && (leader == 0 || leader == 1); i++) {
        cluster_run(cluster, 20000);
        leader = cluster_leader(cluster);
    }
    cluster_put(cluster, 2);
    cluster_isolate(cluster, 1, false);
    cluster_run(cluster, 300000);
    ck_assert(is_uniform(cluster, 1, "vvv"));
    ck_assert(cluster_agrees(cluster));
    cluster_destroy(&cluster);
}

TEST(a_new_leader_leaves_the_joint_phase_that_it_found_but_not_before_it_committed)
{
    struct cluster *cluster = cluster_new(4, NULL);
    cluster_bootstrap(cluster, "vvll");
    cluster_settle(cluster);
    ck_assert_int_eq(raft_campaign(cluster->node[1].raft), 0);
    cluster_settle(cluster);
    struct raft_members target = cluster_members(cluster, "..vv");
    ck_assert_int_eq(cluster_change_to(cluster, 1, &target), 0);
    node_drain(cluster, 1);
    node_write(cluster, 1, 9);
    node_drain(cluster, 1);
    for (unsigned i = 0; i < 3; i++) { /* the others get the joint entry, and no more */
        cluster_deliver_all(cluster);
        for (unsigned node = 2; node <= 4; node++) {
            node_drain(cluster, node);
            node_write(cluster, node, 9);
        }
    }
    cluster_drop_all(cluster);
    node_crash(cluster, 1);
    cluster_run(cluster, 3000000);
    ck_assert_uint_eq(cluster_leader(cluster), 0); /* 2 alone is no majority of the old half */
    node_start(cluster, 1);
    unsigned leader = cluster_wait_leader(cluster);
    const struct image *memory = cluster->node[leader].memory;
    cluster_run(cluster, 1000000);
    leader = cluster_wait_leader(cluster);
    memory = cluster->node[leader].memory;
    ck_assert(is_uniform(cluster, leader, "..vv"));
    raft_index joint = 0;
    for (raft_index index = 2; index <= memory->last && joint == 0; index++) {
        joint = memory->entry[index].type == RAFT_ENTRY_CONFIG ? index : 0;
    }
    ck_assert_int_eq(memory->entry[joint + 1].type, RAFT_ENTRY_BLANK);
    cluster_destroy(&cluster);
}

TEST(a_removed_leader_commits_its_removal_without_counting_itself_and_goes)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    raft_index commit = cluster_status(cluster, 1).commit;
    node_crash(cluster, 3);
    ck_assert_int_eq(cluster_change(cluster, 1, ".vv"), 0);
    cluster_settle(cluster);
    ck_assert_uint_eq(cluster_status(cluster, 1).commit, commit); /* 1 and 2 have it: one of two */
    node_start(cluster, 3);
    cluster_run(cluster, 110000);
    ck_assert_uint_eq(cluster_status(cluster, 1).commit, commit + 1);
    ck_assert_int_eq(raft_state_of(cluster->node[1].raft), RAFT_FOLLOWER);
    cluster_run(cluster, 1000000);
    ck_assert_uint_ne(cluster_wait_leader(cluster), 1);
    ck_assert_uint_eq(raft_deadline(cluster->node[1].raft), UINT64_MAX);
    cluster_destroy(&cluster);
}

TEST(a_server_that_is_to_go_may_have_to_lead_first)
{
    /* 1 alone has the entry that removes it; 2, with the older log, needs 1's vote and can't get it (cowsql#150). */
    struct cluster *cluster = cluster_led(2, 1, NULL);
    cluster_isolate(cluster, 1, true);
    ck_assert_int_eq(cluster_change(cluster, 1, ".v"), 0);
    cluster_settle(cluster);
    node_crash(cluster, 1);
    cluster_isolate(cluster, 1, false);
    node_start(cluster, 1);
    cluster_run(cluster, 2000000);
    ck_assert_uint_eq(cluster_wait_leader(cluster), 2);
    ck_assert(is_uniform(cluster, 2, ".v"));
    cluster_put(cluster, 1);
    cluster_destroy(&cluster);
}

TEST(a_learner_that_does_not_know_it_is_a_voter_votes)
{
    struct cluster *cluster = cluster_new(3, NULL);
    cluster_bootstrap(cluster, "vvl");
    cluster_settle(cluster);
    ck_assert_int_eq(raft_campaign(cluster->node[1].raft), 0);
    cluster_settle(cluster);
    cluster_cut(cluster, 1, 3, true);
    ck_assert_int_eq(cluster_change(cluster, 1, "vvv"), 0);
    cluster_settle(cluster); /* 1 and 2 commit it */
    ck_assert(cluster_status(cluster, 2).voter && !cluster_status(cluster, 3).voter);
    node_crash(cluster, 1);
    ck_assert_uint_eq(cluster_wait_leader(cluster), 2);
    ck_assert(cluster_status(cluster, 3).voter);
    cluster_destroy(&cluster);
}

TEST(a_wiped_disk_is_a_new_replica_and_has_no_voice)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster_put(cluster, 5);
    node_wipe(cluster, 3);
    node_crash(cluster, 2);
    uint64_t before =
        cluster->sent[RAFT_MESSAGE_VOTE_REPLY] + cluster->sent[RAFT_MESSAGE_PRE_VOTE_REPLY];
    raft_index commit = cluster_status(cluster, 1).commit;
    uint64_t value;
    ck_assert_int_eq(cluster_propose(cluster, 1, &value), 0);
    cluster_run(cluster, 3000000);
    ck_assert_uint_eq(cluster_status(cluster, 1).commit, commit);
    ck_assert_uint_eq(cluster_leader(cluster), 0);
    ck_assert_uint_eq(cluster->sent[RAFT_MESSAGE_VOTE_REPLY] +
                          cluster->sent[RAFT_MESSAGE_PRE_VOTE_REPLY],
                      before);
    node_start(cluster, 2);
    unsigned leader = cluster_wait_leader(cluster);
    struct raft_members target; /* the old one goes, the new one comes as a learner, then votes */
    raft_members_read(cluster->node[leader].raft, &target);
    raft_members_remove(&target, (struct raft_id){3, 1});
    ck_assert_int_eq(raft_members_put(&target, cluster_id(cluster, 3), RAFT_LEARNER, 1), 0);
    ck_assert_int_eq(cluster_change_to(cluster, leader, &target), 0);
    cluster_run(cluster, 300000);
    ck_assert_int_eq(raft_members_put(&target, cluster_id(cluster, 3), RAFT_VOTER, 1), 0);
    ck_assert_int_eq(cluster_change_to(cluster, leader, &target), 0);
    cluster_run(cluster, 300000);
    ck_assert(cluster_status(cluster, 3).voter);
    ck_assert(cluster_agrees(cluster));
    cluster_destroy(&cluster);
}

static void two_copies(struct raft_config *config)
{
    config->data_copies_min = 2;
}

TEST(a_witness_votes_but_never_leads_and_is_no_copy)
{
    struct cluster *cluster = cluster_new(3, two_copies);
    cluster_bootstrap(cluster, "vvw");
    unsigned leader = cluster_wait_leader(cluster);
    ck_assert_uint_ne(leader, 3);
    ck_assert_int_eq(raft_campaign(cluster->node[3].raft), ERR_AGAIN);
    unsigned other = 3 - leader;
    cluster_put(cluster, 3);
    raft_index commit = cluster_status(cluster, leader).commit;
    node_crash(cluster, other);
    cluster_put(cluster, 1);
    ck_assert_uint_eq(cluster_status(cluster, leader).commit, commit);
    node_start(cluster, other);
    cluster_run(cluster, 200000);
    ck_assert_uint_eq(cluster_status(cluster, leader).commit, commit + 1);
    node_crash(cluster, leader);
    cluster_run(cluster, 1000000);
    ck_assert_uint_eq(cluster_leader(cluster), other);
    cluster_destroy(&cluster);
}

TEST(a_lost_majority_is_given_up_only_by_order)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster_put(cluster, 5);
    node_crash(cluster, 1);
    node_crash(cluster, 2);
    cluster_run(cluster, 3000000);
    ck_assert_uint_eq(cluster_leader(cluster), 0);
    struct raft_members alone = cluster_members(cluster, "..v");
    raft_index index = 0;
    struct raft_members others = cluster_members(cluster, "vv.");
    ck_assert_int_eq(raft_force_config(cluster->node[3].raft, &others, &index), ERR_BAD_CONFIG);
    raft_term term = raft_term_of(cluster->node[3].raft);
    ck_assert_int_eq(raft_force_config(cluster->node[3].raft, &alone, &index), 0);
    ck_assert_uint_eq(raft_term_of(cluster->node[3].raft), term + 1);
    ck_assert_uint_eq(cluster_status(cluster, 3).vote.node, 3);
    struct image *memory = cluster->node[3].memory;
    memory->entry[index] = (struct entry){.term = raft_term_of(cluster->node[3].raft),
                                          .type = RAFT_ENTRY_CONFIG,
                                          .members = &cluster->members[cluster->member_count]};
    cluster->members[cluster->member_count++] = alone;
    memory->last = index;
    ck_assert_uint_eq(cluster_wait_leader(cluster), 3);
    cluster_put(cluster, 3);
    ck_assert(is_uniform(cluster, 3, "..v"));
    cluster_destroy(&cluster);
}

TEST(a_learner_stays_one_over_a_restart)
{
    struct cluster *cluster = cluster_new(3, NULL);
    cluster_bootstrap(cluster, "vvl");
    unsigned leader = cluster_wait_leader(cluster);
    cluster_put(cluster, 3);
    raft_term term = raft_term_of(cluster->node[3].raft);
    node_crash(cluster, 3);
    node_start(cluster, 3);
    ck_assert(!cluster_status(cluster, 3).voter);
    ck_assert_uint_eq(raft_term_of(cluster->node[3].raft), term);
    ck_assert_uint_eq(raft_deadline(cluster->node[3].raft), UINT64_MAX);
    cluster_run(cluster, 500000);
    ck_assert_uint_eq(cluster_leader(cluster), leader);
    ck_assert(cluster_agrees(cluster));
    cluster_destroy(&cluster);
}

TEST(a_followers_members_are_those_of_its_log_committed_or_not)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    struct raft_members less = cluster_members(cluster, "vvl");
    struct raft_members now;
    struct envelope *append = cluster_post(cluster, RAFT_MESSAGE_APPEND, 1, 2, 2);
    append->message.index = 2;
    append->message.index_term = 2;
    append->message.count = 1;
    append->message.commit = 2;
    append->entry[0] = (struct entry){.term = 2, .type = RAFT_ENTRY_CONFIG, .members = &less};
    cluster_deliver(cluster, 0);
    raft_members_read(cluster->node[2].raft, &now);
    ck_assert(raft_members_equal(&now, &less));
    ck_assert_uint_eq(cluster_status(cluster, 2).members_index, 3);
    ck_assert_uint_eq(cluster_status(cluster, 2).commit, 2);
    cluster_destroy(&cluster);
}

TEST(a_damaged_survivor_is_believed_by_order)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster_put(cluster, 5);
    for (unsigned node = 1; node <= 3; node++) {
        node_crash(cluster, node);
    }
    node_start_damaged(cluster, 3, 6);
    cluster_settle(cluster);
    ck_assert(cluster_status(cluster, 3).suspect);
    struct raft_members alone = cluster_members(cluster, "..v");
    raft_index index = 0;
    ck_assert_int_eq(raft_force_config(cluster->node[3].raft, &alone, &index), 0);
    ck_assert_uint_eq(index, 6);
    ck_assert(!cluster_status(cluster, 3).suspect);
    cluster_destroy(&cluster);
}

static void impatient(struct raft_config *config)
{
    config->catchup_entries_max = 10;
}

TEST(a_learner_that_lags_becomes_no_voter)
{
    struct cluster *cluster = cluster_new(3, impatient);
    cluster_bootstrap(cluster, "vvl");
    unsigned leader = cluster_wait_leader(cluster);
    cluster_isolate(cluster, 3, true);
    cluster_put(cluster, 20);
    ck_assert_int_eq(cluster_change(cluster, leader, "vvv"), ERR_THROTTLED);
    cluster_isolate(cluster, 3, false);
    cluster_run(cluster, 200000);
    ck_assert_int_eq(cluster_change(cluster, leader, "vvv"), 0);
    cluster_run(cluster, 200000);
    ck_assert(is_uniform(cluster, leader, "vvv"));
    cluster_destroy(&cluster);
}

TEST(who_was_removed_is_remembered_no_longer_than_needed)
{
    for (unsigned dead = 0; dead < 2; dead++) {
        struct cluster *cluster = cluster_led(3, 1, NULL);
        struct raft_progress progress;
        if (dead != 0) {
            node_crash(cluster, 3);
        }
        ck_assert_int_eq(cluster_change(cluster, 1, "vv."), 0);
        cluster_run(cluster, 1000000);
        ck_assert(is_uniform(cluster, 1, "vv."));
        ck_assert(raft_progress_read(cluster->node[1].raft, 1, &progress));
        ck_assert(!raft_progress_read(cluster->node[1].raft, 2, &progress));
        cluster_destroy(&cluster);
    }
}

TEST(a_witness_is_told_that_payloads_may_be_left_out)
{
    struct cluster *cluster = cluster_new(3, NULL);
    uint64_t value = 0;
    cluster_bootstrap(cluster, "vvw");
    unsigned leader = cluster_wait_leader(cluster);
    ck_assert_int_eq(cluster_propose(cluster, leader, &value), 0);
    cluster_drain(cluster);
    const struct envelope *append = cluster_find(cluster, RAFT_MESSAGE_APPEND, 3);
    ck_assert_ptr_nonnull(append);
    ck_assert_uint_eq(append->message.flags & RAFT_FLAG_WITNESS, RAFT_FLAG_WITNESS);
    append = cluster_find(cluster, RAFT_MESSAGE_APPEND, 3 - leader);
    ck_assert_ptr_nonnull(append);
    ck_assert_uint_eq(append->message.flags & RAFT_FLAG_WITNESS, 0);
    cluster_destroy(&cluster);
}
