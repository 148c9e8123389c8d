/* The ten integration scenarios of async-raft (docs/raft.md, "Acceptance"), re-expressed: what a cluster does in its life, as its embedder sees it. Where our rules differ, the
 * numbers do: a leader's first entry is always blank, so a fresh cluster's log is configuration (1), blank (2). */
#include <string.h>

#include "common/base/err.h"
#include "tests/lib/test.h"
#include "tests/unit/common/raft/router.h"

TEST(scenario_initialization)
{
    struct router *router = router_new(3, NULL);
    router_run(router, 10000000);
    for (uint32_t node = 1; node <= 3; node++) {
        router_expect_pristine(router, node); /* ten seconds, and nobody moved */
    }
    ck_assert_uint_eq(router->packets, 0);
    uint32_t leader = router_form(router, 3);
    raft_term term = router_metrics(router, leader).status.term;
    router_expect_stable(router, 3, term, 2);
    router_run(router, 5000000); /* and it stays like that */
    router_expect_stable(router, 3, term, 2);
    ck_assert_uint_eq(router_leader(router), leader);
    router_free(&router);
}

TEST(scenario_singlenode)
{
    struct router *router = router_new(1, NULL);
    struct answer answer = {0};
    router_run(router, 1000000);
    router_expect_pristine(router, 1);
    struct raft_members alone = ROUTER_MEMBERS(1);
    ck_assert_int_eq(raft_host_initialize(router->node[1].host, &alone), 0);
    router_settle(router); /* at once: no time passes */
    ck_assert_uint_eq(router_leader(router), 1);
    router_fill(router, 1000);
    ck_assert_uint_eq(router->node[1].count, 1000);
    ck_assert_uint_eq(router_metrics(router, 1).status.last, 1002);
    ck_assert_int_eq(
        raft_host_read(router->node[1].host, router->now, false, router_answer, &answer), 0);
    router_settle(router);
    ck_assert_uint_eq(answer.calls, 1);
    ck_assert_int_eq(answer.error, 0);
    ck_assert_uint_eq(answer.index, 1002);
    ck_assert_uint_eq(router->packets, 0);
    router_free(&router);
}

TEST_WITHIN(scenario_client_writes, 120)
{
    struct router *router = router_new(3, NULL);
    uint32_t leader = router_form(router, 3);
    struct answer answers[6][1000];
    memset(answers, 0, sizeof(answers));
    for (unsigned i = 0; i < 1000; i++) { /* six writers, each waits for its answer */
        for (unsigned writer = 0; writer < 6; writer++) {
            ck_assert_int_eq(router_write(router, leader, "w", &answers[writer][i]), 0);
        }
        router_settle(router);
    }
    for (unsigned i = 0; i < 1000; i++) {
        for (unsigned writer = 0; writer < 6; writer++) {
            TEST_ASSERT_FAST(answers[writer][i].calls == 1 && answers[writer][i].error == 0);
            TEST_ASSERT_FAST(answers[writer][i].index == 3 + 6 * i + writer);
        }
    }
    router_run(router, 100000);
    router_expect_stable(router, 3, router_metrics(router, leader).status.term, 6002);
    for (uint32_t node = 1; node <= 3; node++) {
        struct raft_host_metrics metrics = router_metrics(router, node);
        ck_assert_uint_ge(metrics.snapshot, 5000);
        ck_assert_uint_le(metrics.snapshot, 5100);
        ck_assert_uint_eq(metrics.status.compacted, metrics.snapshot - 1000);
    }
    router_free(&router);
}

TEST(scenario_client_reads)
{
    struct router *router = router_new(3, NULL);
    uint32_t leader = router_form(router, 3);
    for (uint32_t node = 1; node <= 3; node++) {
        struct answer answer = {0};
        int error =
            raft_host_read(router->node[node].host, router->now, false, router_answer, &answer);
        ck_assert_int_eq(error, node == leader ? 0 : ERR_NOT_LEADER);
        ck_assert_uint_eq(raft_host_leader(router->node[node].host).node, leader);
        router_settle(router);
        ck_assert_uint_eq(answer.calls, node == leader);
        ck_assert_int_eq(answer.error, 0);
    }
    router_free(&router);
}

TEST(scenario_current_leader)
{
    struct router *router = router_new(3, NULL);
    uint32_t leader = router_form(router, 3);
    for (uint32_t node = 1; node <= 3; node++) {
        ck_assert_uint_eq(raft_host_leader(router->node[node].host).node, leader);
        ck_assert_uint_eq(router->node[node].watched.status.leader.node, leader);
    }
    router_free(&router);
}

static void compact_at_500(struct raft_host_options *options)
{
    options->snapshot_entries = 500;
    options->keep_entries = 0;
}

TEST(scenario_compaction)
{
    struct router *router = router_new(1, compact_at_500);
    struct raft_members alone = ROUTER_MEMBERS(1);
    struct raft_members both = ROUTER_MEMBERS(1, 2);
    ck_assert_int_eq(raft_host_initialize(router->node[1].host, &alone), 0);
    router_settle(router);
    router_fill(router, 497);
    ck_assert_uint_eq(router_metrics(router, 1).snapshot, 0);
    router_fill(router, 1);
    ck_assert_uint_eq(router_metrics(router, 1).snapshot, 500);
    router_fill(router, 1);
    router_start(router, 2);
    router_change(router, &both);
    router_run(router, 200000);
    ck_assert_uint_eq(router->node[2].restores, 1);
    ck_assert_uint_eq(router_metrics(router, 2).snapshot, 500);    /* the same snapshot */
    ck_assert_uint_eq(router_metrics(router, 2).status.last, 503); /* learner, then voter */
    router_expect_stable(router, 2, router_metrics(router, 1).status.term, 503);
    router_free(&router);
}

TEST(scenario_dynamic_membership)
{
    struct router *router = router_new(1, NULL);
    struct raft_members alone = ROUTER_MEMBERS(1);
    struct raft_members all = ROUTER_MEMBERS(1, 2, 3, 4, 5);
    ck_assert_int_eq(raft_host_initialize(router->node[1].host, &alone), 0);
    router_settle(router);
    for (uint32_t node = 2; node <= 5; node++) {
        struct answer answer = {0};
        router_start(router, node);
        ck_assert_int_eq(raft_host_add_learner(router->node[1].host, (struct raft_id){node, 1},
                                               router_answer, &answer),
                         0);
        router_run(router, 200000);
        ck_assert_uint_eq(answer.calls, 1);
        ck_assert_int_eq(answer.error, 0);
    }
    router_change(router, &all);
    router_run(router, 100000);
    raft_term term = router_metrics(router, 1).status.term;
    router_expect_stable(router, 5, term, router_metrics(router, 1).status.last);

    router->isolated[1] = true;
    uint32_t second = router_wait_leader(router);
    ck_assert_uint_ne(second, 1);
    raft_term newer = router_metrics(router, second).status.term;
    ck_assert_uint_gt(newer, term);
    router->isolated[1] = false;
    router_run(router, 1000000);
    /* The old leader follows; pre-vote has kept the term. */
    ck_assert_uint_eq(router_leader(router), second);
    router_expect_stable(router, 5, newer, router_metrics(router, second).status.last);
    router_free(&router);
}

TEST(scenario_stepdown)
{
    struct router *router = router_new(4, NULL);
    struct raft_members after = ROUTER_MEMBERS(2, 3, 4);
    struct answer answer = {0};
    struct raft_members before = ROUTER_MEMBERS(1, 2);
    for (uint32_t node = 1; node <= 2; node++) {
        ck_assert_int_eq(raft_host_initialize(router->node[node].host, &before), 0);
    }
    ck_assert_int_eq(raft_campaign(raft_host_core(router->node[1].host)), 0);
    router_settle(router);
    ck_assert_uint_eq(router_leader(router), 1);
    raft_term term = router_metrics(router, 1).status.term;
    ck_assert_int_eq(raft_host_change(router->node[1].host, &after, router_answer, &answer), 0);
    router_run(router, 1000000);
    ck_assert_uint_eq(answer.calls, 1);
    struct raft_host_metrics old = router_metrics(router, 1);
    ck_assert_int_eq(old.status.state, RAFT_FOLLOWER);
    ck_assert(!old.status.voter);
    ck_assert_uint_eq(old.status.term, term); /* removed, it disturbs nobody */
    uint32_t leader = router_wait_leader(router);
    ck_assert(leader >= 2 && leader <= 4);
    struct raft_host_metrics now = router_metrics(router, leader);
    ck_assert_uint_gt(now.status.term, term);
    ck_assert(!now.status.joint);
    ck_assert(raft_members_equal(&now.members, &after));
    ck_assert_uint_eq(now.status.applied, now.status.last);
    for (uint32_t node = 2; node <= 4; node++) {
        ck_assert_uint_eq(router->node[node].count, 0); /* no application entry */
    }
    router_free(&router);
}

TEST(scenario_non_voter_restart)
{
    struct router *router = router_new(2, NULL);
    struct raft_members alone = ROUTER_MEMBERS(1);
    struct answer answer = {0};
    ck_assert_int_eq(raft_host_initialize(router->node[1].host, &alone), 0);
    router_settle(router);
    ck_assert_int_eq(
        raft_host_add_learner(router->node[1].host, (struct raft_id){2, 1}, router_answer, &answer),
        0);
    router_run(router, 200000);
    ck_assert_uint_eq(answer.calls, 1);
    struct raft_host_metrics before = router_metrics(router, 2);
    ck_assert(!before.status.voter);
    router_stop(router, 1); /* nobody can tell it anything */
    router_stop(router, 2);
    router_start(router, 2);
    router_run(router, 2000000);
    struct raft_host_metrics after = router_metrics(router, 2);
    ck_assert(!after.status.voter);
    ck_assert_int_eq(after.status.state, RAFT_FOLLOWER);
    ck_assert_uint_eq(after.status.term, before.status.term);
    ck_assert_uint_eq(after.status.last, before.status.last);
    ck_assert_uint_eq(after.members.count, 2);
    router_free(&router);
}

TEST(scenario_shutdown)
{
    struct router *router = router_new(3, NULL);
    struct answer answer = {0};
    uint32_t leader = router_form(router, 3);
    ck_assert_int_eq(router_write(router, leader, "w", &answer), 0);
    for (uint32_t node = 1; node <= 3; node++) {
        router_close(router, node);
        ck_assert_ptr_null(router->node[node].host);
    }
    ck_assert_uint_eq(answer.calls, 1); /* nobody is left waiting */
    ck_assert_int_eq(answer.error, ERR_CLOSED);
    uint64_t packets = router->packets;
    router_run(router, 1000000);
    ck_assert_uint_eq(router->packets, packets);
    router_free(&router);
}
