/* Restarts, snapshots and failures of a host, as an embedder sees them. */
#include <string.h>

#include "common/base/err.h"
#include "tests/lib/test.h"
#include "tests/unit/common/raft/router.h"

static void small_logs(struct raft_host_options *options)
{
    options->snapshot_entries = 10;
    options->keep_entries = 0;
}

TEST(a_lone_node_leads_again_after_a_restart_and_applies_again)
{
    struct router *router = router_new(1, NULL);
    struct raft_members alone = ROUTER_MEMBERS(1);
    ck_assert_int_eq(raft_host_initialize(router->node[1].host, &alone), 0);
    router_settle(router);
    router_fill(router, 10);
    uint64_t hash = router->node[1].hash;
    router_stop(router, 1);
    router_start(router, 1);
    ck_assert_uint_eq(router_wait_leader(router), 1);
    ck_assert_uint_eq(router->node[1].applies, 10);
    ck_assert_uint_eq(router->node[1].hash, hash);
    router_free(&router);
}

TEST(a_restart_begins_at_the_snapshot_and_applies_the_rest)
{
    struct router *router = router_new(3, small_logs);
    uint32_t leader = router_form(router, 3);
    router_fill(router, 27);
    router_run(router, 100000);
    uint32_t other = leader == 1 ? 2 : 1;
    uint64_t hash = router->node[other].hash;
    raft_index snapshot = router_metrics(router, other).snapshot;
    ck_assert_uint_gt(snapshot, 10);
    router_stop(router, other);
    router_start(router, other);
    ck_assert_uint_eq(router->node[other].restores, 1);
    router_run(router, 500000);
    ck_assert_uint_eq(router->node[other].applies, 29 - snapshot);
    ck_assert_uint_eq(router->node[other].hash, hash);
    router_free(&router);
}

static void some_kept(struct raft_host_options *options)
{
    options->snapshot_entries = 20;
    options->keep_entries = 100;
}

TEST(who_lags_less_than_what_is_kept_gets_the_log_and_else_the_snapshot)
{
    struct router *router = router_new(3, some_kept);
    struct raft_members all = ROUTER_MEMBERS(1, 2, 3, 4);
    uint32_t leader = router_form(router, 3);
    uint32_t other = leader == 1 ? 2 : 1;
    router_fill(router, 300);
    router_run(router, 100000);
    router->isolated[other] = true;
    router_fill(router, 80);
    router->isolated[other] = false;
    router_run(router, 500000);
    ck_assert_uint_eq(router->node[other].restores, 0);
    ck_assert_uint_eq(router->node[other].count, 380);
    router->isolated[other] = true;
    router_fill(router, 200);
    router->isolated[other] = false;
    router_run(router, 500000);
    ck_assert_uint_eq(router->node[other].restores, 1);
    ck_assert_uint_eq(router->node[other].count, 580);
    router_start(router, 4); /* a newcomer begins at the snapshot, not at the log's first entry */
    router_change(router, &all);
    ck_assert_uint_eq(router->node[4].restores, 1);
    ck_assert_uint_eq(router->node[4].count, 580);
    ck_assert_uint_lt(router->node[4].applies, 40);
    router_free(&router);
}

TEST(a_snapshot_that_cannot_be_made_now_is_made_later)
{
    struct router *router = router_new(1, small_logs);
    struct raft_members alone = ROUTER_MEMBERS(1);
    router->node[1].snapshot_fails = true;
    ck_assert_int_eq(raft_host_initialize(router->node[1].host, &alone), 0);
    router_settle(router);
    router_fill(router, 30);
    ck_assert_uint_eq(router_metrics(router, 1).snapshot, 0);
    router->node[1].snapshot_fails = false;
    router_fill(router, 1);
    ck_assert_uint_ge(router_metrics(router, 1).snapshot, 32);
    router_free(&router);
}

TEST(a_failed_disk_stops_the_node_and_the_others_go_on)
{
    struct router *router = router_new(3, NULL);
    struct answer answer = {0};
    uint32_t leader = router_form(router, 3);
    raft_memory_fail(router->node[leader].memory, 0);
    ck_assert_int_eq(router_write(router, leader, "w", &answer), 0);
    router_settle(router);
    ck_assert_uint_eq(answer.calls, 1);
    ck_assert_int_eq(answer.error, ERR_POISONED);
    struct raft_host_metrics metrics = router_metrics(router, leader);
    ck_assert_int_eq(metrics.status.state, RAFT_STOPPED);
    ck_assert_int_eq(metrics.error, ERR_IO);
    ck_assert_int_eq(router->node[leader].watched.error, ERR_IO);
    ck_assert_int_eq(router_write(router, leader, "w", &answer), ERR_POISONED);
    ck_assert_int_eq(
        raft_host_read(router->node[leader].host, router->now, true, router_answer, &answer),
        ERR_POISONED);
    router->isolated[leader] = true; /* so that it is not taken for the leader */
    ck_assert_uint_ne(router_wait_leader(router), leader);
    router_fill(router, 3);
    router_free(&router);
}

static int no_room(struct raft_storage *self, const struct raft_message *message, struct span bytes)
{
    (void) self;
    (void) message;
    (void) bytes;
    return ERR_TOO_LARGE;
}

TEST(what_fails_while_receiving_is_answered_by_the_turn)
{
    struct router *router = router_new(3, small_logs);
    struct answer answer = {0};
    uint32_t leader = router_form(router, 3);
    uint32_t other = leader == 1 ? 2 : 1;
    struct raft_storage *storage = raft_memory_storage(router->node[other].memory);
    struct raft_storage_ops ops = *storage->ops;
    const struct raft_storage_ops *before = storage->ops;
    ops.snapshot_put = no_room;
    storage->ops = &ops;
    router->deaf[other] = true;
    ck_assert_int_eq(
        raft_host_read(router->node[other].host, router->now, true, router_answer, &answer), 0);
    router_fill(router, 40);
    router->deaf[other] = false;
    router_run(router, 120000); /* a snapshot comes for which there is no room */
    ck_assert_int_eq(router_metrics(router, other).error, ERR_TOO_LARGE);
    ck_assert_int_eq(router_metrics(router, other).status.state, RAFT_STOPPED);
    ck_assert_uint_eq(answer.calls, 1);
    ck_assert_int_eq(answer.error, ERR_POISONED);
    router_fill(router, 1); /* the others go on */
    storage->ops = before;
    router_free(&router);
}

TEST(a_damaged_node_is_repaired_by_its_leader)
{
    struct router *router = router_new(3, NULL);
    uint32_t leader = router_form(router, 3);
    uint32_t other = leader == 1 ? 2 : 1;
    router_fill(router, 20);
    router_run(router, 100000);
    router_close(router, other);
    raft_memory_crash(router->node[other].memory);
    raft_memory_damage(router->node[other].memory, 10);
    router_start(router, other);
    ck_assert(router_metrics(router, other).status.suspect);
    raft_memory_damage(router->node[other].memory, 0); /* what is written anew is sound */
    router_fill(router, 1);
    router_run(router, 1000000);
    ck_assert(!router_metrics(router, other).status.suspect);
    router_expect_stable(router, 3, router_metrics(router, leader).status.term, 23);
    router_free(&router);
}

TEST(a_host_takes_no_more_requests_than_it_may)
{
    struct router *router = router_new(3, NULL);
    struct answer answer = {0};
    uint32_t leader = router_form(router, 3);
    struct raft_host_options options;
    raft_host_options_init(&options);
    for (uint32_t i = 0; i < options.requests_max; i++) {
        TEST_ASSERT_FAST(router_write(router, leader, "", &answer) == 0);
    }
    ck_assert_int_eq(router_write(router, leader, "", &answer), ERR_OVERLOADED);
    router_settle(router);
    router_run(router, 1000000);
    ck_assert_uint_eq(answer.calls, options.requests_max);
    router_free(&router);
}
