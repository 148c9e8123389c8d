/* node: sessions of node pairs come, live on one beat an interval, and end when one side is silent, deaf or another process. */
#include "common/raft/node.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "tests/lib/test.h"

enum { NODES = 3, BEAT_US = 50000, TIMEOUT_US = 150000 };

struct net {
    raft_time now;
    struct raft_node *node[NODES + 1];
    bool cut[NODES + 1][NODES + 1];
    struct raft_beat queue[64];
    unsigned queue_count;
    unsigned beats;
    unsigned ups;
    unsigned losts;
    uint64_t skew[NODES + 1];
};

static void net_boot(struct net *net, uint32_t node, uint64_t epoch)
{
    struct raft_node_config config = {.node = node,
                                      .epoch = epoch,
                                      .beat_us = BEAT_US,
                                      .timeout_us = TIMEOUT_US,
                                      .peers_max = NODES};
    mem_free(net->node[node]);
    size_t size = raft_node_size(&config);
    ck_assert_int_eq(
        raft_node_init(mem_new(size), size, &config, net->now + net->skew[node], &net->node[node]),
        0);
    for (uint32_t other = NODES; other > 0; other--) {
        ck_assert_int_eq(raft_node_add(net->node[node], other), other == node ? ERR_BAD_CONFIG : 0);
    }
}

static struct net *net_new(void)
{
    struct net *net = MEM_NEW(struct net);
    net->now = 1000000;
    for (uint32_t node = 1; node <= NODES; node++) {
        net->skew[node] = node * 777777; /* clocks have nothing in common */
        net_boot(net, node, 1);
    }
    return net;
}

static void net_free(struct net *net)
{
    for (unsigned node = 1; node <= NODES; node++) {
        mem_free(net->node[node]);
    }
    mem_free(net);
}

static void net_settle(struct net *net)
{
    struct raft_node_output output;
    bool moved = true;
    while (moved) {
        moved = false;
        for (unsigned node = 1; node <= NODES; node++) {
            while (raft_node_drain(net->node[node], &output)) {
                moved = true;
                net->ups += output.type == RAFT_NODE_UP;
                net->losts += output.type == RAFT_NODE_LOST;
                if (output.type == RAFT_NODE_SEND) {
                    uint8_t bytes[RAFT_BEAT_BYTES];
                    net->beats++;
                    raft_beat_encode(&output.beat, bytes);
                    ck_assert_int_eq(
                        raft_beat_decode(bytes, sizeof(bytes), &net->queue[net->queue_count++]), 0);
                }
            }
        }
        for (unsigned i = 0; i < net->queue_count; i++) {
            struct raft_beat *beat = &net->queue[i];
            if (!net->cut[beat->from][beat->to]) {
                raft_node_recv(net->node[beat->to], net->now + net->skew[beat->to], beat);
            }
        }
        net->queue_count = 0;
    }
}

static void net_run(struct net *net, raft_time us)
{
    for (raft_time end = net->now + us; net->now < end; net->now += 10000) {
        for (unsigned node = 1; node <= NODES; node++) {
            raft_time now = net->now + net->skew[node];
            if (raft_node_deadline(net->node[node]) <= now) {
                raft_node_advance(net->node[node], now);
            }
        }
        net_settle(net);
    }
}

TEST(pairs_find_each_other_and_cost_two_beats_an_interval)
{
    struct net *net = net_new();
    net_run(net, 200000);
    ck_assert_uint_eq(net->ups, NODES * (NODES - 1));
    net->beats = 0;
    net_run(net, 10 * BEAT_US);
    ck_assert_uint_le(net->beats, 10 * NODES * (NODES - 1));
    ck_assert_uint_eq(net->losts, 0);
    ck_assert_uint_ge(raft_node_contact(net->node[1], 2) + 2 * BEAT_US, net->now + net->skew[1]);
    net_free(net);
}

TEST(silence_ends_a_session_on_both_sides)
{
    struct net *net = net_new();
    net_run(net, 200000);
    net->cut[1][2] = net->cut[2][1] = true;
    net_run(net, TIMEOUT_US + 20000);
    ck_assert_uint_eq(net->losts, 2);
    ck_assert(!raft_node_is_up(net->node[1], 2) && raft_node_is_up(net->node[1], 3));
    ck_assert_uint_eq(raft_node_contact(net->node[1], 2), 0);
    net->cut[1][2] = net->cut[2][1] = false;
    net_run(net, 200000);
    ck_assert_uint_eq(net->ups, NODES * (NODES - 1) + 2);
    net_free(net);
}

TEST(a_node_that_does_not_hear_us_is_no_session)
{
    struct net *net = net_new();
    net_run(net, 200000);
    net->cut[1][2] = true;
    net_run(net, 3 * TIMEOUT_US);
    ck_assert(!raft_node_is_up(net->node[1], 2));
    ck_assert(!raft_node_is_up(net->node[2], 1));
    net_run(net, 1000000);
    ck_assert(!raft_node_is_up(net->node[1], 2)); /* and does not flicker */
    ck_assert_uint_eq(net->losts, 2);
    net_free(net);
}

TEST(a_session_that_one_side_lost_for_a_moment_is_lost_on_both)
{
    struct net *net = net_new();
    net_run(net, 200000);
    net->ups = 0;
    net->cut[1][2] = true; /* 2 hears nothing for a while, 1 hears 2 all the time */
    for (unsigned i = 0; i < 50 && raft_node_is_up(net->node[2], 1); i++) {
        net_run(net, 10000);
    }
    ck_assert(!raft_node_is_up(net->node[2], 1));
    net->cut[1][2] = false;
    net_run(net, 200000);
    ck_assert_uint_eq(net->losts, 2);
    ck_assert_uint_eq(net->ups, 2);
    net_free(net);
}

TEST(another_process_is_another_session_however_quick_the_restart)
{
    struct net *net = net_new();
    net_run(net, 200000);
    net->losts = net->ups = 0;
    net_boot(net, 2, 2);
    net_run(net, 100000);
    ck_assert_uint_eq(net->losts, 2);   /* 1 and 3 lost it */
    ck_assert_uint_eq(net->ups, 2 + 2); /* and have it again, as it has them */
    struct raft_beat old = {.from = 2, .to = 1, .epoch = 1, .sent = UINT64_MAX / 2};
    raft_node_recv(net->node[1], net->now + net->skew[1], &old);
    ck_assert(raft_node_is_up(net->node[1], 2));
    net_free(net);
}

TEST(a_beat_with_any_bit_flipped_is_refused)
{
    struct raft_beat beat = {.from = 0x12345678,
                             .to = 0x9abcdef0,
                             .epoch = 3,
                             .echo_epoch = 4,
                             .sent = 5,
                             .echo = 6,
                             .losses = 7,
                             .echo_losses = 8};
    struct raft_beat back;
    uint8_t bytes[RAFT_BEAT_BYTES];
    raft_beat_encode(&beat, bytes);
    memset(&back, 0, sizeof(back));
    ck_assert_int_eq(raft_beat_decode(bytes, sizeof(bytes), &back), 0);
    ck_assert_mem_eq(&beat, &back, sizeof(beat));
    for (unsigned bit = 0; bit < 8 * RAFT_BEAT_BYTES; bit++) {
        bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
        TEST_ASSERT_FAST(raft_beat_decode(bytes, sizeof(bytes), &back) == ERR_BAD_FORMAT);
        bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
    }
    ck_assert_int_eq(raft_beat_decode(bytes, RAFT_BEAT_BYTES - 1, &back), ERR_INCOMPLETE);
}

TEST(a_node_that_was_removed_has_no_session_and_gets_no_beats)
{
    struct net *net = net_new();
    net_run(net, 1000000);
    ck_assert(raft_node_is_up(net->node[1], 3));
    ck_assert_int_eq(raft_node_remove(net->node[1], 3), 0);
    ck_assert_int_eq(raft_node_remove(net->node[1], 3), ERR_NOT_FOUND);
    net->losts = 0;
    net_run(net, 1000000);
    ck_assert(!raft_node_is_up(net->node[1], 3));
    ck_assert(raft_node_is_up(net->node[1], 2));
    ck_assert(!raft_node_is_up(net->node[3], 1)); /* who is not heard any more */
    ck_assert_uint_eq(net->losts, 1);
    net_free(net);
}
