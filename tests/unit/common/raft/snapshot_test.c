/* snapshot: compaction and bringing back who fell behind it (paper 7), damaged disks, and sleep (raft.md B2, C3 to C5, D3, G). */
#include <string.h>

#include "common/base/err.h"
#include "tests/lib/test.h"
#include "tests/unit/common/raft/cluster.h"

/* Node 3 is cut off while the others go on and let go of everything it lacks. */
static struct cluster *left_behind(void)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster_put(cluster, 10);
    cluster_isolate(cluster, 3, true);
    cluster_put(cluster, 50);
    node_compact(cluster, 1, 0);
    node_compact(cluster, 2, 5);
    return cluster;
}

TEST(who_fell_behind_the_log_gets_the_snapshot_and_goes_on)
{
    struct cluster *cluster = left_behind();
    cluster_isolate(cluster, 3, false);
    cluster_run(cluster, 200000);
    ck_assert_uint_eq(cluster_status(cluster, 3).snapshots, 1);
    ck_assert_uint_eq(cluster->sent[RAFT_MESSAGE_SNAPSHOT], 3); /* 2,500 bytes in chunks of 1,000 */
    cluster_put(cluster, 5);
    ck_assert(cluster_agrees(cluster));
    node_crash(cluster, 3);
    node_start(cluster, 3);
    cluster_run(cluster, 200000);
    ck_assert(cluster_agrees(cluster));
    cluster_destroy(&cluster);
}

static void metadata_only(struct raft_config *config)
{
    config->snapshot_chunk_bytes = 0;
}

TEST(a_snapshot_of_metadata_only_is_one_message_without_bytes)
{
    struct cluster *cluster = cluster_led(3, 1, metadata_only);
    cluster_isolate(cluster, 3, true);
    cluster_put(cluster, 50);
    node_compact(cluster, 1, 0);
    cluster_isolate(cluster, 3, false);
    struct envelope *offer = NULL;
    for (unsigned i = 0; i < 40 && offer == NULL; i++) {
        cluster->now += 10000;
        for (unsigned node = 1; node <= 3; node++) {
            raft_advance(cluster->node[node].raft, cluster->now);
        }
        cluster_drain(cluster);
        offer = cluster_find(cluster, RAFT_MESSAGE_SNAPSHOT, 3);
        if (offer == NULL) {
            cluster_deliver_all(cluster);
        }
    }
    ck_assert_ptr_nonnull(offer);
    ck_assert_uint_eq(offer->message.total, 0);
    ck_assert_uint_eq(offer->message.bytes, 0);
    ck_assert_uint_eq(offer->message.flags, RAFT_FLAG_LAST);
    cluster_run(cluster, 300000);
    ck_assert_uint_eq(cluster->sent[RAFT_MESSAGE_SNAPSHOT], 1);
    ck_assert_uint_eq(cluster_status(cluster, 3).snapshots, 1);
    ck_assert(cluster_agrees(cluster));
    cluster_destroy(&cluster);
}

TEST(a_lost_chunk_is_sent_again_and_only_that)
{
    struct cluster *cluster = left_behind();
    cluster_isolate(cluster, 3, false);
    cluster->drop_types = 1U << RAFT_MESSAGE_SNAPSHOT;
    cluster_run(cluster, 120000);
    ck_assert_uint_eq(cluster_status(cluster, 3).snapshots, 0);
    ck_assert_uint_le(cluster->sent[RAFT_MESSAGE_SNAPSHOT], 4);
    cluster->drop_types = 0;
    cluster_run(cluster, 200000);
    ck_assert_uint_eq(cluster_status(cluster, 3).snapshots, 1);
    ck_assert(cluster_agrees(cluster));
    cluster_destroy(&cluster);
}

TEST(a_chunk_on_a_slow_line_is_not_sent_at_every_beat)
{
    struct cluster *cluster = left_behind();
    cluster_isolate(cluster, 3, false);
    cluster->drop_types = 1U << RAFT_MESSAGE_SNAPSHOT; /* beats get through, bulk does not */
    cluster_run(cluster, 3200000);
    ck_assert_uint_ge(cluster->sent[RAFT_MESSAGE_SNAPSHOT], 5);
    ck_assert_uint_le(cluster->sent[RAFT_MESSAGE_SNAPSHOT], 8); /* after 1, 2, 4, ... beats of 64 */
    cluster_destroy(&cluster);
}

TEST(a_slow_installation_causes_no_election_and_no_second_snapshot)
{
    struct cluster *cluster = left_behind();
    cluster_isolate(cluster, 3, false);
    raft_term term = raft_term_of(cluster->node[1].raft);
    cluster->node[3].disk_holds = true;
    cluster_run(cluster, 3000000);
    ck_assert_uint_eq(cluster_status(cluster, 3).snapshots, 1);
    ck_assert_uint_eq(cluster->sent[RAFT_MESSAGE_SNAPSHOT], 3);
    ck_assert_uint_eq(cluster_progress(cluster, 1, 3).match, 12);
    cluster->node[3].disk_holds = false;
    cluster_run(cluster, 200000);
    ck_assert(cluster_agrees(cluster));
    ck_assert_uint_eq(raft_term_of(cluster->node[3].raft), term);
    ck_assert_uint_eq(cluster->sent[RAFT_MESSAGE_SNAPSHOT], 3);
    cluster_destroy(&cluster);
}

TEST(the_members_come_with_the_snapshot)
{
    struct cluster *cluster = cluster_new(4, NULL);
    cluster_bootstrap(cluster, "vvvl");
    cluster_settle(cluster);
    ck_assert_int_eq(raft_campaign(cluster->node[1].raft), 0);
    cluster_settle(cluster);
    cluster_isolate(cluster, 3, true);
    ck_assert_int_eq(cluster_change(cluster, 1, "vvvv"), 0);
    cluster_settle(cluster);
    cluster_put(cluster, 10);
    node_compact(cluster, 1, 0);
    cluster_isolate(cluster, 3, false);
    cluster_run(cluster, 200000);
    struct raft_members members;
    struct raft_members wanted = cluster_members(cluster, "vvvv");
    raft_members_read(cluster->node[3].raft, &members);
    ck_assert(raft_members_equal(&members, &wanted));
    cluster_destroy(&cluster);
}

TEST(a_voter_may_become_a_learner_by_a_snapshot)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster_isolate(cluster, 3, true);
    ck_assert_int_eq(cluster_change(cluster, 1, "vvl"), 0);
    cluster_settle(cluster);
    cluster_put(cluster, 10);
    node_compact(cluster, 1, 0);
    cluster_isolate(cluster, 3, false);
    cluster_run(cluster, 300000);
    ck_assert_uint_eq(cluster_status(cluster, 3).snapshots, 1);
    ck_assert(!cluster_status(cluster, 3).voter);
    ck_assert_uint_eq(raft_deadline(cluster->node[3].raft), UINT64_MAX); /* it never campaigns */
    cluster_destroy(&cluster);
}

TEST(an_old_snapshot_replaces_nothing)
{
    struct cluster *cluster = left_behind();
    cluster_isolate(cluster, 3, false);
    cluster_run(cluster, 200000);
    cluster_put(cluster, 5);
    struct raft_status before = cluster_status(cluster, 3);
    struct envelope *late =
        cluster_post(cluster, RAFT_MESSAGE_SNAPSHOT, 1, 3, raft_term_of(cluster->node[1].raft));
    late->message.index = 30;
    late->message.index_term = 2;
    late->message.flags = RAFT_FLAG_LAST;
    late->members = &cluster->members[0];
    cluster_deliver(cluster, cluster->queue_count - 1);
    ck_assert_uint_eq(cluster_status(cluster, 3).last, before.last);
    ck_assert_uint_eq(cluster_status(cluster, 3).snapshots, 1);
    cluster_settle(cluster);
    ck_assert(cluster_agrees(cluster));
    cluster_destroy(&cluster);
}

TEST(a_prefix_that_is_not_applied_is_not_let_go)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster->node[1].disk_holds = true;
    cluster_put(cluster, 5);
    ck_assert_int_eq(raft_compacted(cluster->node[1].raft, 7), ERR_USAGE);
    cluster_destroy(&cluster);
}

TEST(a_damaged_replica_neither_votes_nor_leads_until_all_is_there_again)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster_put(cluster, 10); /* all have 12 */
    for (unsigned node = 1; node <= 3; node++) {
        node_crash(cluster, node);
    }
    node_start_damaged(cluster, 3, 5);
    cluster_settle(cluster);
    ck_assert(cluster_status(cluster, 3).suspect);
    /* 2 lost nothing, 1 is away: 2 and 3 would be a majority, but 3 does not know what it had acknowledged. */
    node_start(cluster, 2);
    cluster_run(cluster, 3000000);
    ck_assert_uint_eq(cluster_leader(cluster), 0);
    node_crash(cluster, 3); /* half-way through nothing: it must remember */
    node_start(cluster, 3);
    ck_assert(cluster_status(cluster, 3).suspect);
    cluster_run(cluster, 3000000);
    ck_assert_uint_eq(cluster_leader(cluster), 0);
    node_start(cluster, 1);
    unsigned leader = cluster_wait_leader(cluster);
    ck_assert_uint_ne(leader, 3);
    cluster_run(cluster, 500000);
    ck_assert(!cluster_status(cluster, 3).suspect);
    ck_assert_uint_eq(cluster->node[3].disk->suspect_last, 0);
    ck_assert(cluster_agrees(cluster));
    node_crash(cluster, leader);
    ck_assert_uint_ne(cluster_wait_leader(cluster), 0);
    cluster_destroy(&cluster);
}

TEST(a_repair_is_over_when_it_is_durable)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster_put(cluster, 10);
    node_crash(cluster, 3);
    cluster->drop_types = 1U << RAFT_MESSAGE_APPEND;
    node_start_damaged(cluster, 3, 5);
    cluster_settle(cluster);
    cluster->node[3].disk_holds = true;
    cluster->drop_types = 0;
    cluster_run(cluster, 140000);
    ck_assert_uint_eq(cluster_status(cluster, 3).last, 12);
    ck_assert(cluster_status(cluster, 3).suspect);
    cluster->node[3].disk_holds = false;
    cluster_run(cluster, 140000);
    ck_assert(!cluster_status(cluster, 3).suspect);
    cluster_destroy(&cluster);
}

TEST(a_leader_believes_a_follower_that_says_it_lost_entries)
{
    struct cluster *cluster = cluster_led(3, 1, NULL);
    cluster_put(cluster, 10);
    node_crash(cluster, 3);
    node_start_damaged(cluster, 3, 5);
    cluster_run(cluster, 300000);
    ck_assert_uint_eq(cluster_leader(cluster), 1);
    ck_assert(!cluster_status(cluster, 3).suspect);
    cluster_put(cluster, 1);
    ck_assert(cluster_agrees(cluster));
    cluster_destroy(&cluster);
}

static void sleepy(struct raft_config *config)
{
    config->quiesce_after_us = 500000;
    config->lease_reads = true;
}

TEST(an_idle_group_sleeps_without_a_message_and_wakes_for_work)
{
    struct cluster *cluster = cluster_led(3, 1, sleepy);
    cluster_put(cluster, 3);
    cluster_run(cluster, 1000000);
    for (unsigned node = 1; node <= 3; node++) {
        ck_assert(cluster_status(cluster, node).quiesced);
        ck_assert_uint_eq(raft_deadline(cluster->node[node].raft), UINT64_MAX);
    }
    uint64_t before = cluster->sent_total;
    cluster_run(cluster, 3600000000);
    ck_assert_uint_eq(cluster->sent_total, before);
    raft_session_contact(cluster->node[1].raft, 2,
                         cluster->now - 1000); /* the pair's beat goes on */
    ck_assert_int_eq(raft_read(cluster->node[1].raft, cluster->now, 1), 0);
    node_drain(cluster, 1);
    ck_assert_uint_eq(cluster->node[1].read_count, 1);
    ck_assert_uint_eq(cluster->sent_total, before);
    cluster_put(cluster, 3);
    ck_assert_uint_eq(cluster->committed_last, 8);
    cluster_run(cluster, 100000);
    ck_assert(cluster_agrees(cluster));
    cluster_run(cluster, 1000000);
    ck_assert(cluster_status(cluster, 2).quiesced);
    cluster_destroy(&cluster);
}

TEST(when_the_leaders_session_is_lost_its_sleepers_elect)
{
    struct cluster *cluster = cluster_led(3, 1, sleepy);
    cluster_run(cluster, 1000000);
    ck_assert(cluster_status(cluster, 2).quiesced);
    node_crash(cluster, 1);
    cluster_run(cluster, 5000000);
    ck_assert_uint_eq(cluster_leader(cluster), 0); /* nobody told them */
    raft_session(cluster->node[2].raft, cluster->now, 1, false);
    raft_session(cluster->node[3].raft, cluster->now, 1, false);
    unsigned leader = cluster_wait_leader(cluster);
    ck_assert_uint_ne(leader, 1);
    cluster_run(cluster,
                2000000); /* sleeps again, though 1 is away, because its session is known lost */
    ck_assert(cluster_status(cluster, leader).quiesced);
    node_start(cluster, 1);
    raft_session(cluster->node[leader].raft, cluster->now, 1, true);
    cluster_run(cluster, 300000);
    ck_assert(cluster_agrees(cluster));
    cluster_destroy(&cluster);
}

TEST(a_restarted_follower_wakes_a_sleeping_leader)
{
    struct cluster *cluster = cluster_led(3, 1, sleepy);
    cluster_run(cluster, 1000000);
    raft_term term = raft_term_of(cluster->node[1].raft);
    node_crash(cluster, 3);
    node_start(cluster, 3);
    cluster_run(cluster, 600000);
    ck_assert_uint_eq(cluster_leader(cluster), 1);
    ck_assert_uint_eq(raft_term_of(cluster->node[3].raft), term);
    ck_assert_uint_eq(raft_leader(cluster->node[3].raft).node, 1);
    cluster_destroy(&cluster);
}

TEST(nobody_sleeps_whom_no_session_could_wake)
{
    struct cluster *cluster = cluster_led(3, 1, sleepy);
    raft_session(cluster->node[2].raft, cluster->now, 1, false);
    cluster_run(cluster, 2000000);
    ck_assert(!cluster_status(cluster, 2).quiesced);
    ck_assert(!cluster_status(cluster, 1).quiesced);
    raft_session(cluster->node[2].raft, cluster->now, 1, true);
    cluster_run(cluster, 2000000);
    ck_assert(cluster_status(cluster, 2).quiesced);
    ck_assert(cluster_status(cluster, 1).quiesced);
    cluster_destroy(&cluster);
}

TEST(nobody_sleeps_who_lacks_something)
{
    struct cluster *cluster = cluster_led(3, 1, sleepy);
    cluster_cut(cluster, 1, 3, true);
    cluster_put(cluster, 3);
    cluster_run(cluster, 2000000);
    ck_assert(!cluster_status(cluster, 1).quiesced);
    cluster_post(cluster, RAFT_MESSAGE_QUIESCE, 1, 3, raft_term_of(cluster->node[1].raft))
        ->message.index = cluster_status(cluster, 1).last;
    cluster->cut[1][3] = false;
    cluster_deliver(cluster, 0);
    ck_assert(!cluster_status(cluster, 3).quiesced);
    cluster_destroy(&cluster);
}
