/* What an embedder sees of a host: requests and their answers, members, metrics; restarts and failures are in host_failure_test.c. docs/raft.md names the acceptance row that each of these shows. */
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "tests/lib/test.h"
#include "tests/unit/common/raft/router.h"

/* --- writes and reads --- */

TEST(a_write_is_answered_behind_commit_and_apply_with_index_and_response)
{
    struct router *router = router_new(3, NULL);
    struct answer answer = {0};
    uint32_t leader = router_form(router, 3);
    for (uint32_t node = 1; node <= 3; node++) {
        router->isolated[node] = node != leader;
    }
    ck_assert_int_eq(router_write(router, leader, "alone", &answer), 0);
    router_settle(router);
    ck_assert_uint_eq(answer.calls, 0); /* on our disk, but nowhere else */
    ck_assert_uint_eq(router->node[leader].count, 0);
    memset(router->isolated, 0, sizeof(router->isolated));
    router_run(router, 100000);
    ck_assert_uint_eq(answer.calls, 1);
    ck_assert_int_eq(answer.error, 0);
    ck_assert_uint_eq(answer.index, 3);
    ck_assert_str_eq(answer.response, "number 1");
    router_free(&router);
}

TEST(a_write_elsewhere_gives_the_payload_back_and_names_the_leader)
{
    struct router *router = router_new(3, NULL);
    struct answer answer = {0};
    uint32_t leader = router_form(router, 3);
    uint32_t follower = leader == 1 ? 2 : 1;
    ck_assert_int_eq(router_write(router, follower, "not here", &answer), ERR_NOT_LEADER);
    ck_assert_uint_eq(raft_host_leader(router->node[follower].host).node, leader);
    router_settle(router);
    ck_assert_uint_eq(answer.calls, 0); /* the payload was not taken: it is the caller's still */
    router_free(&router);
}

TEST(a_write_that_another_leader_replaced_comes_back_with_its_payload)
{
    struct router *router = router_new(3, NULL);
    struct answer lost = {0};
    uint32_t old = router_form(router, 3);
    router->isolated[old] = true;
    ck_assert_int_eq(router_write(router, old, "lost", &lost), 0);
    router_settle(router);
    uint32_t leader = router_wait_leader(router);
    router_fill(router, 2);
    ck_assert_uint_eq(lost.calls, 0);
    router->isolated[old] = false;
    router_run(router, 300000);
    ck_assert_uint_eq(lost.calls, 1);
    ck_assert_int_eq(lost.error, ERR_NOT_LEADER);
    ck_assert_str_eq(lost.payload, "lost");
    ck_assert_uint_eq(lost.leader.node, leader);
    router_expect_stable(router, 3, router_metrics(router, leader).status.term,
                         router_metrics(router, leader).status.last);
    router_free(&router);
}

TEST(a_write_that_the_next_leader_committed_succeeds_all_the_same)
{
    struct router *router = router_new(3, NULL);
    struct answer answer = {0};
    uint32_t old = router_form(router, 3);
    raft_term term = router_metrics(router, old).status.term;
    router->deaf[old] = true;
    ck_assert_int_eq(router_write(router, old, "kept", &answer), 0);
    router_run(router, 3000000);
    ck_assert_uint_eq(answer.calls, 0);
    uint32_t leader = router_wait_leader(router);
    ck_assert_uint_ne(leader, old);
    router->deaf[old] = false;
    router_run(router, 300000);
    ck_assert_uint_gt(router_metrics(router, old).status.term, term);
    ck_assert_uint_eq(answer.calls, 1);
    ck_assert_int_eq(answer.error, 0);
    ck_assert_str_eq(answer.response, "number 1");
    router_free(&router);
}

static void small_logs(struct raft_host_options *options)
{
    options->snapshot_entries = 10;
    options->keep_entries = 0;
}

TEST(a_write_that_a_snapshot_covered_has_an_unknown_outcome)
{
    struct router *router = router_new(3, small_logs);
    struct answer lost = {0};
    uint32_t old = router_form(router, 3);
    router->isolated[old] = true;
    ck_assert_int_eq(router_write(router, old, "lost", &lost), 0);
    router_settle(router);
    (void) router_wait_leader(router);
    router_fill(router, 40);
    router->isolated[old] = false;
    router_run(router, 500000);
    ck_assert_uint_eq(router->node[old].restores, 1);
    ck_assert_uint_eq(lost.calls, 1);
    ck_assert_int_eq(lost.error, ERR_TIMEOUT);
    router_free(&router);
}

TEST(the_applications_error_is_the_answer_and_nothing_stops)
{
    struct router *router = router_new(3, NULL);
    struct answer answer = {0};
    uint32_t leader = router_form(router, 3);
    for (uint32_t node = 1; node <= 3; node++) {
        router->node[node].apply_result = ERR_VERSION_CONFLICT;
    }
    ck_assert_int_eq(router_write(router, leader, "refused", &answer), 0);
    router_settle(router);
    ck_assert_int_eq(answer.error, ERR_VERSION_CONFLICT);
    ck_assert_uint_eq(answer.index, 3);
    router->node[leader].apply_result = 0;
    router_fill(router, 1);
    router_free(&router);
}

TEST(a_read_sees_every_write_before_it_and_waits_for_a_quorum)
{
    struct router *router = router_new(3, NULL);
    struct answer answers[20];
    memset(answers, 0, sizeof(answers));
    uint32_t leader = router_form(router, 3);
    router_fill(router, 5);
    for (unsigned i = 0; i < 10; i++) { /* more than the core lets wait: one stands for all */
        ck_assert_int_eq(raft_host_read(router->node[leader].host, router->now, false,
                                        router_answer, &answers[i]),
                         0);
    }
    ck_assert_uint_eq(answers[0].calls, 0);
    uint64_t before = router->packets;
    router_settle(router);
    for (unsigned i = 0; i < 10; i++) {
        ck_assert_uint_eq(answers[i].calls, 1);
        ck_assert_int_eq(answers[i].error, 0);
        ck_assert_uint_eq(answers[i].index, 7);
    }
    ck_assert_uint_le(router->packets - before, 8);
    for (uint32_t node = 1; node <= 3; node++) {
        router->isolated[node] = node != leader;
    }
    ck_assert_int_eq(
        raft_host_read(router->node[leader].host, router->now, false, router_answer, &answers[10]),
        0);
    router_settle(router);
    ck_assert_uint_eq(answers[10].calls, 0);
    router_run(router, 1000000);
    ck_assert_int_eq(answers[10].error, ERR_NOT_LEADER);
    router_free(&router);
}

TEST(a_read_asked_later_does_not_share_an_earlier_index)
{
    struct router *router = router_new(3, NULL);
    struct answer first = {0};
    struct answer write = {0};
    struct answer second = {0};
    uint32_t leader = router_form(router, 3);
    struct raft_host *host = router->node[leader].host;
    ck_assert_int_eq(raft_host_read(host, router->now, false, router_answer, &first), 0);
    raft_host_turn(host); /* its question is under way */
    ck_assert_int_eq(router_write(router, leader, "between", &write), 0);
    for (uint32_t node = 1; node <= 3; node++) { /* until then nobody answers */
        router->deaf[node] = node == leader;
    }
    router_settle(router);
    ck_assert_uint_eq(first.calls, 0);
    memset(router->deaf, 0, sizeof(router->deaf));
    router_run(router, 60000);
    ck_assert_uint_eq(write.calls, 1);
    ck_assert_int_eq(raft_host_read(host, router->now, false, router_answer, &second), 0);
    router_settle(router);
    ck_assert_uint_eq(first.calls, 1);
    ck_assert_uint_eq(second.calls, 1);
    ck_assert_uint_ge(second.index, write.index);
    ck_assert_uint_lt(first.index, write.index);
    router_free(&router);
}

TEST(a_follower_may_be_asked_to_read_through_its_leader)
{
    struct router *router = router_new(3, NULL);
    struct answer answer = {0};
    uint32_t leader = router_form(router, 3);
    uint32_t follower = leader == 3 ? 2 : 3;
    router_fill(router, 3);
    ck_assert_int_eq(
        raft_host_read(router->node[follower].host, router->now, true, router_answer, &answer), 0);
    router_settle(router);
    ck_assert_int_eq(answer.error, 0);
    ck_assert_uint_eq(answer.calls, 1);
    ck_assert_uint_ge(router_metrics(router, follower).status.applied, answer.index);
    ck_assert_uint_eq(router->node[follower].count, 3);
    router_free(&router);
}

static void same_seed(struct raft_host_options *options)
{
    options->config.seed = options->config.id.node;
}

/* A late answer to the process before would be taken for one to this. */
TEST(a_restarted_host_asks_with_other_tokens)
{
    struct router *router = router_new(3, same_seed);
    struct answer answer = {0};
    uint64_t before = 0;
    uint32_t leader = router_form(router, 3);
    uint32_t follower = leader == 3 ? 2 : 3;
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(
            raft_host_read(router->node[follower].host, router->now, true, router_answer, &answer),
            0);
        router_settle(router);
        ck_assert_uint_eq(answer.calls, i + 1);
        ck_assert(router->token > before + 1000 || router->token + 1000 < before);
        before = router->token;
        router_stop(router, follower);
        router_start(router, follower);
        router_run(router, 100000);
    }
    router_free(&router);
}

/* Whoever is given the pointer asks through it, and is answered for what was asked: nothing of a requester is kept but its callback. */
TEST(a_handle_is_a_pointer_that_many_requesters_share)
{
    struct router *router = router_new(3, NULL);
    struct answer answers[200];
    memset(answers, 0, sizeof(answers));
    uint32_t leader = router_form(router, 3);
    for (unsigned i = 0; i < 200; i++) {
        struct raft_host *handle = router->node[leader].host;
        char text[16];
        (void) snprintf(text, sizeof(text), "of %u", i);
        int error = i % 2 == 0
                        ? router_write(router, leader, text, &answers[i])
                        : raft_host_read(handle, router->now, false, router_answer, &answers[i]);
        ck_assert_int_eq(error, 0);
    }
    router_settle(router);
    for (unsigned i = 0; i < 200; i++) {
        ck_assert_uint_eq(answers[i].calls, 1);
        ck_assert_int_eq(answers[i].error, 0);
        ck_assert(i % 2 != 0 || answers[i].index == 3 + i / 2);
    }
    router_free(&router);
}

/* --- members --- */

TEST(the_first_members_include_oneself_and_can_be_given_once)
{
    struct router *router = router_new(2, NULL);
    struct raft_members none;
    memset(&none, 0, sizeof(none));
    ck_assert_int_eq(raft_host_initialize(router->node[1].host, &none), 0);
    router_settle(router);
    struct raft_host_metrics metrics = router_metrics(router, 1);
    ck_assert_uint_eq(metrics.members.count, 1);
    ck_assert_int_eq(metrics.status.state, RAFT_LEADER);
    ck_assert_int_eq(raft_host_initialize(router->node[1].host, &none), ERR_ALREADY);
    router_expect_pristine(router, 2);
    router_free(&router);
}

TEST(one_founder_is_enough)
{
    struct router *router = router_new(3, NULL);
    struct raft_members all = ROUTER_MEMBERS(1, 2, 3);
    ck_assert_int_eq(raft_host_initialize(router->node[2].host, &all), 0);
    uint32_t leader = router_wait_leader(router);
    router_expect_stable(router, 3, router_metrics(router, leader).status.term, 2);
    router_free(&router);
}

TEST(a_learner_is_there_when_it_has_the_log_and_never_votes)
{
    struct router *router = router_new(1, NULL);
    struct answer answer = {0};
    struct raft_members alone = ROUTER_MEMBERS(1);
    struct raft_host *host = router->node[1].host;
    ck_assert_int_eq(raft_host_initialize(host, &alone), 0);
    router_settle(router);
    router_fill(router, 3000);
    ck_assert_int_eq(raft_host_add_learner(host, (struct raft_id){2, 1}, router_answer, &answer),
                     0);
    router_run(router, 1000000);
    ck_assert_uint_eq(answer.calls, 0); /* it is not even running */
    router_start(router, 2);
    router_run(router, 500000);
    ck_assert_uint_eq(answer.calls, 1);
    ck_assert_int_eq(answer.error, 0);
    ck_assert_int_eq(raft_host_add_learner(host, (struct raft_id){2, 1}, router_answer, &answer),
                     ERR_ALREADY);
    ck_assert_uint_eq(router->node[2].count, 3000);
    ck_assert(!router_metrics(router, 2).status.voter);
    router_stop(router, 1);
    router_run(router, 3000000);
    ck_assert_int_eq(router_metrics(router, 2).status.state, RAFT_FOLLOWER);
    ck_assert_int_eq(
        raft_host_add_learner(router->node[2].host, (struct raft_id){3, 1}, router_answer, &answer),
        ERR_NOT_LEADER);
    router_free(&router);
}

TEST(a_change_makes_learners_of_strangers_waits_for_them_and_ends_uniform)
{
    struct router *router = router_new(1, NULL);
    struct answer answer = {0};
    struct raft_members alone = ROUTER_MEMBERS(1);
    struct raft_members three = ROUTER_MEMBERS(1, 2, 3);
    struct raft_host *host = router->node[1].host;
    ck_assert_int_eq(raft_host_initialize(host, &alone), 0);
    router_settle(router);
    router_fill(router, 3000);
    router_start(router, 2);
    ck_assert_int_eq(raft_host_change(host, &three, router_answer, &answer), 0);
    router_run(router, 2000000);
    struct raft_host_metrics metrics = router_metrics(router, 1);
    ck_assert_uint_eq(answer.calls, 0); /* 3 is not there: they are learners, and 1 goes on */
    ck_assert_uint_eq(metrics.members.count, 3);
    ck_assert_uint_eq(raft_members_voters(&metrics.members), 1);
    router_fill(router, 1);
    router_start(router, 3);
    router_run(router, 1000000);
    ck_assert_uint_eq(answer.calls, 1);
    ck_assert_int_eq(answer.error, 0);
    metrics = router_metrics(router, 1);
    ck_assert(!metrics.status.joint);
    ck_assert(raft_members_equal(&metrics.members, &three));
    /* learners, joint, uniform */
    router_expect_stable(router, 3, metrics.status.term, 3003 + 3);
    router_free(&router);
}

TEST(a_change_is_refused_for_the_right_reason)
{
    struct router *router = router_new(3, NULL);
    struct answer answer = {0};
    uint32_t leader = router_form(router, 3);
    struct raft_host *host = router->node[leader].host;
    struct raft_members same = ROUTER_MEMBERS(1, 2, 3);
    struct raft_members more = ROUTER_MEMBERS(1, 2, 3, 4);
    struct raft_members none;
    memset(&none, 0, sizeof(none));
    ck_assert_int_eq(raft_host_change(host, &same, router_answer, &answer), ERR_ALREADY);
    ck_assert_int_eq(raft_host_change(host, &none, router_answer, &answer), ERR_BAD_CONFIG);
    ck_assert_int_eq(
        raft_host_change(router->node[leader == 1 ? 2 : 1].host, &more, router_answer, &answer),
        ERR_NOT_LEADER);
    ck_assert_int_eq(raft_host_change(host, &more, router_answer, &answer), 0);
    struct raft_members other = ROUTER_MEMBERS(1, 2);
    ck_assert_int_eq(raft_host_change(host, &other, router_answer, &answer), ERR_AGAIN);
    ck_assert_int_eq(raft_host_add_learner(host, (struct raft_id){5, 1}, router_answer, &answer),
                     ERR_AGAIN);
    ck_assert_uint_eq(answer.calls, 0);
    router_free(&router);
}

TEST(a_removed_follower_learns_it_and_is_left_alone)
{
    struct router *router = router_new(3, NULL);
    uint32_t leader = router_form(router, 3);
    uint32_t gone = leader == 3 ? 2 : 3;
    struct raft_members two = ROUTER_MEMBERS(leader, 6 - leader - gone);
    router_change(router, &two);
    router_run(router, 500000);
    struct raft_host_metrics metrics = router_metrics(router, gone);
    ck_assert(!metrics.status.voter);
    ck_assert(raft_members_equal(&metrics.members, &two));
    ck_assert_uint_eq(raft_host_deadline(router->node[gone].host), UINT64_MAX);
    raft_index had = metrics.status.last;
    router_fill(router, 10);
    router_run(router, 1000000);
    ck_assert_uint_eq(router_metrics(router, gone).status.last, had); /* no stream to it */
    ck_assert_uint_eq(router_leader(router), leader);
    router_free(&router);
}

/* --- metrics --- */

TEST(metrics_are_told_when_they_change_and_only_then)
{
    struct router *router = router_new(3, NULL);
    uint32_t leader = router_form(router, 3);
    uint32_t other = leader == 1 ? 2 : 1;
    router_fill(router, 4);
    router_run(router, 100000);
    struct raft_host_metrics *watched = &router->node[other].watched;
    ck_assert_uint_eq(watched->status.id.node, other);
    ck_assert_int_eq(watched->status.state, RAFT_FOLLOWER);
    ck_assert_uint_eq(watched->status.leader.node, leader);
    ck_assert_uint_eq(watched->status.last, 6);
    ck_assert_uint_eq(watched->status.applied, 6);
    ck_assert_uint_eq(watched->members.count, 3);
    ck_assert_int_eq(router->node[leader].watched.status.state, RAFT_LEADER);
    unsigned changes = router->node[other].changes;
    router_run(router, 2000000); /* beats alone change nothing */
    ck_assert_uint_eq(router->node[other].changes, changes);
    router_stop(router, leader);
    (void) router_wait_leader(router);
    ck_assert_uint_gt(router->node[other].changes, changes);
    router_free(&router);
}

static void expect_address(struct router *router, uint32_t node, uint32_t of, const char *address)
{
    struct raft_host_metrics metrics = router_metrics(router, node);
    const struct raft_member *member = raft_members_find(&metrics.members, (struct raft_id){of, 1});
    ck_assert_ptr_nonnull(member);
    ck_assert_str_eq((const char *) member->address, address);
}

TEST(addresses_travel_with_the_members)
{
    struct router *router = router_new(3, small_logs);
    struct raft_members members = ROUTER_MEMBERS(1, 2, 3);
    char address[16];
    for (uint32_t node = 1; node <= 3; node++) {
        (void) snprintf(address, sizeof(address), "host %u", node);
        (void) raft_members_set_address(&members, (struct raft_id){node, 1}, address, 6);
    }
    ck_assert_int_eq(raft_host_initialize(router->node[1].host, &members), 0);
    uint32_t leader = router_wait_leader(router);
    /* A newcomer: who has the entry knows the address, committed or not. */
    struct raft_members four = ROUTER_MEMBERS(1, 2, 3, 4);
    struct answer answer = {0};
    (void) raft_members_set_address(&four, (struct raft_id){4, 1}, "host 4", 6);
    ck_assert_int_eq(raft_host_change(router->node[leader].host, &four, router_answer, &answer), 0);
    router_settle(router);
    for (uint32_t node = 1; node <= 3; node++) {
        expect_address(router, node, 4, "host 4");
        expect_address(router, node, 1, "host 1");
    }
    router_start(router, 4);
    router_run(router, 1000000);
    ck_assert_uint_eq(answer.calls, 1);
    ck_assert_int_eq(answer.error, 0);
    /* It has moved; the others are where they were, though the change does not say so. */
    struct raft_members moved = ROUTER_MEMBERS(1, 2, 3, 4);
    (void) raft_members_set_address(&moved, (struct raft_id){4, 1}, "elsewhere", 9);
    router_change(router, &moved);
    struct raft_members same = ROUTER_MEMBERS(1, 2, 3, 4);
    ck_assert_int_eq(
        raft_host_change(router->node[router_leader(router)].host, &same, router_answer, &answer),
        ERR_ALREADY);
    /* By a snapshot, and behind a restart. */
    router_fill(router, 50);
    struct raft_members five = ROUTER_MEMBERS(1, 2, 3, 4, 5);
    router_start(router, 5);
    router_change(router, &five);
    ck_assert_uint_ge(router->node[5].restores, 1);
    router_stop(router, 5);
    router_start(router, 5);
    router_run(router, 100000);
    expect_address(router, 5, 2, "host 2");
    expect_address(router, 5, 4, "elsewhere");
    expect_address(router, 5, 5, "");
    router_free(&router);
}
