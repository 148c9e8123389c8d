/* raft: elections and replication by the paper's rules, in a cluster without faults or with one at a time. */
#include "common/raft/raft.h"

#include <string.h>

#include "common/base/err.h"
#include "tests/lib/test.h"
#include "tests/unit/common/raft/cluster.h"

TEST(a_pristine_replica_is_silent_and_has_no_deadline)
{
    struct cluster *cluster = cluster_new(3, NULL);
    cluster_run(cluster, 10000000);
    ck_assert_uint_eq(cluster->sent_total, 0);
    for (unsigned node = 1; node <= 3; node++) {
        ck_assert_uint_eq(raft_deadline(cluster->node[node].raft), UINT64_MAX);
        ck_assert_uint_eq(raft_term_of(cluster->node[node].raft), 0);
    }
    cluster_destroy(&cluster);
}

TEST(a_lone_voter_leads_at_once_and_commits)
{
    struct cluster *cluster = cluster_new(1, NULL);
    cluster_bootstrap(cluster, "v");
    cluster_settle(cluster);
    ck_assert_uint_eq(cluster_leader(cluster), 1);
    for (unsigned i = 0; i < 5; i++) {
        cluster_put(cluster, 200);
    }
    ck_assert_uint_eq(cluster->committed_last, 1002); /* configuration, blank, values */
    ck_assert_uint_eq(cluster->sent_total, 0);
    node_crash(cluster, 1);
    node_start(cluster, 1);
    cluster_run(cluster, 300000);
    ck_assert_uint_eq(cluster_leader(cluster), 1);
    ck_assert(cluster_agrees(cluster));
    cluster_destroy(&cluster);
}

TEST(founders_elect_a_leader_and_agree)
{
    struct cluster *cluster = cluster_new(3, NULL);
    cluster_bootstrap(cluster, "vvv");
    unsigned leader = cluster_wait_leader(cluster);
    for (unsigned node = 1; node <= 3; node++) {
        ck_assert_uint_eq(raft_leader(cluster->node[node].raft).node, leader);
        ck_assert_uint_eq(raft_term_of(cluster->node[node].raft), 2);
    }
    cluster_put(cluster, 100);
    ck_assert_uint_eq(cluster->committed_last, 102);
    ck_assert(cluster_agrees(cluster));
    cluster_run(cluster, 5000000);
    ck_assert_uint_eq(cluster_leader(cluster), leader);
    ck_assert_uint_eq(raft_term_of(cluster->node[1].raft), 2);
    cluster_destroy(&cluster);
}
