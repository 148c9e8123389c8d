/* members: the algebra of configurations, and majorities against a naive count. */
#include "common/raft/members.h"

#include <string.h>

#include "common/base/err.h"
#include "tests/lib/test.h"

static struct raft_id id(uint32_t node)
{
    return (struct raft_id){node, 1};
}

/* "v" voter, "l" learner, "w" witness, "." nothing, of nodes 1, 2, ... */
static struct raft_members of(const char *roles)
{
    struct raft_members members;
    memset(&members, 0, sizeof(members));
    for (uint32_t i = 0; roles[i] != 0; i++) {
        unsigned set = roles[i] == 'v'   ? RAFT_VOTER
                       : roles[i] == 'l' ? RAFT_LEARNER
                       : roles[i] == 'w' ? RAFT_VOTER | RAFT_WITNESS
                                         : 0;
        if (set != 0) {
            ck_assert_int_eq(raft_members_put(&members, id(i + 1), set, 1), 0);
        }
    }
    return members;
}

TEST(one_voter_more_or_less_is_a_single_step)
{
    static const char *const steps[][2] = {
        {"vvv", "vvvv"}, {"vvv", "vv"},  {"vvl", "vvv"},
        {"vvv", "vvl"},  {"vv", "vvll"}, {"vvw", "vv"},
    };
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct raft_members from = of(steps[i][0]);
        struct raft_members target = of(steps[i][1]);
        struct raft_members next;
        ck_assert_int_eq(raft_members_next(&from, &target, false, &next), 0);
        ck_assert(raft_members_equal(&next, &target));
    }
}

TEST(more_difference_goes_through_a_joint_configuration)
{
    struct raft_members from = of("vvv");
    struct raft_members target = of("l.vvv");
    struct raft_members joint;
    struct raft_members left;
    struct raft_members again;
    ck_assert_int_eq(raft_members_next(&from, &target, false, &joint), 0);
    ck_assert(raft_members_is_joint(&joint));
    ck_assert_uint_eq(joint.count, 5);
    ck_assert_uint_eq(raft_members_find(&joint, id(1))->set, RAFT_OLD | RAFT_LEARNER);
    ck_assert_uint_eq(raft_members_find(&joint, id(2))->set, RAFT_OLD);
    ck_assert_uint_eq(raft_members_find(&joint, id(3))->set, RAFT_OLD | RAFT_VOTER);
    ck_assert_uint_eq(raft_members_find(&joint, id(5))->set, RAFT_VOTER);
    raft_members_leave(&joint, &left);
    ck_assert(raft_members_equal(&left, &target));
    ck_assert_int_eq(raft_members_next(&joint, &from, false, &again), ERR_BAD_CONFIG);
    ck_assert_int_eq(raft_members_next(&joint, &target, false, &again), 0);
    ck_assert(raft_members_equal(&again, &target));
}

TEST(every_legal_change_keeps_majorities_that_overlap)
{
    /* All pairs of voter sets of up to five nodes: any majority of `from` meets any quorum of `next`. */
    for (unsigned a = 1; a < 32; a++) {
        for (unsigned b = 1; b < 32; b++) {
            char roles_a[6] = ".....";
            char roles_b[6] = ".....";
            for (unsigned i = 0; i < 5; i++) {
                roles_a[i] = (a >> i & 1) != 0 ? 'v' : '.';
                roles_b[i] = (b >> i & 1) != 0 ? 'v' : '.';
            }
            struct raft_members from = of(roles_a);
            struct raft_members target = of(roles_b);
            struct raft_members next;
            int error = raft_members_next(&from, &target, false, &next);
            TEST_ASSERT_FAST(error == (a == b ? ERR_ALREADY : 0));
            if (error < 0 || raft_members_is_joint(&next)) {
                continue; /* joint: contains a majority of `from` by definition */
            }
            for (unsigned one = 0; one < 32; one++) {
                unsigned other = 31 & ~one; /* two disjoint sets of nodes */
                bool first = 2 * __builtin_popcount(one & a) > __builtin_popcount(a);
                bool second = 2 * __builtin_popcount(other & b) > __builtin_popcount(b);
                TEST_ASSERT_FAST(!(first && second));
            }
        }
    }
}

TEST(configurations_that_cannot_work_are_refused)
{
    struct raft_members members = of("ll");
    ck_assert_int_eq(raft_members_check(&members), ERR_BAD_CONFIG);
    members = of("ww");
    ck_assert_int_eq(raft_members_check(&members), ERR_BAD_CONFIG);
    members = of("");
    ck_assert_int_eq(raft_members_check(&members), ERR_BAD_CONFIG);
    members = of("v");
    members.member[0].id.node = 0;
    ck_assert_int_eq(raft_members_check(&members), ERR_BAD_CONFIG);
    members = of("v");
    members.member[0].priority = 0; /* nobody could ever lead */
    ck_assert_int_eq(raft_members_check(&members), ERR_BAD_CONFIG);
    members = of("vv");
    members.member[1].set = RAFT_VOTER | RAFT_LEARNER;
    ck_assert_int_eq(raft_members_check(&members), ERR_BAD_CONFIG);
    members = of("vv");
    members.member[1].id = members.member[0].id;
    ck_assert_int_eq(raft_members_check(&members), ERR_BAD_CONFIG);
}

TEST(a_full_set_takes_no_more_members)
{
    struct raft_members members = of("vvvvvvvvvvvvvvvv");
    ck_assert_uint_eq(members.count, RAFT_MEMBERS_MAX);
    ck_assert_int_eq(raft_members_put(&members, id(17), RAFT_VOTER, 1), ERR_OUT_OF_RANGE);
    raft_members_remove(&members, id(3));
    ck_assert_int_eq(raft_members_put(&members, id(17), RAFT_VOTER, 1), 0);
    ck_assert_ptr_null(raft_members_find(&members, id(3)));
    ck_assert_int_eq(raft_members_check(&members), 0);
}

TEST(a_configuration_survives_its_encoding_and_damage_is_refused)
{
    struct raft_members from = of("vvw");
    struct raft_members target = of("l.wvv");
    struct raft_members joint;
    struct raft_members back;
    uint8_t bytes[RAFT_MEMBERS_BYTES_MAX + 1] = {0};
    ck_assert_int_eq(raft_members_next(&from, &target, false, &joint), 0);
    size_t size = raft_members_encode(&joint, bytes);
    ck_assert_int_eq(raft_members_decode(bytes, size, &back), 0);
    ck_assert(raft_members_equal(&joint, &back));
    for (size_t cut = 0; cut < size; cut++) {
        ck_assert_int_eq(raft_members_decode(bytes, cut, &back), ERR_BAD_FORMAT);
    }
    ck_assert_int_eq(raft_members_decode(bytes, size + 1, &back), ERR_BAD_FORMAT);
    bytes[12] = 0xff; /* the set of the first member */
    ck_assert_int_eq(raft_members_decode(bytes, size, &back), ERR_BAD_FORMAT);
}

TEST(addresses_go_with_members_through_every_kind_of_change)
{
    struct raft_members from = {0};
    struct raft_members target = {0};
    struct raft_members next;
    struct raft_members left;
    uint8_t bytes[RAFT_MEMBERS_BYTES_MAX];
    for (uint32_t node = 1; node <= 5; node++) {
        struct raft_id id = {node, 1};
        if (node <= 3) {
            ck_assert_int_eq(raft_members_put(&from, id, RAFT_VOTER, 1), 0);
            ck_assert_int_eq(raft_members_set_address(&from, id, "old place", 9), 0);
        }
        if (node >= 3) { /* 3 stays where it was; 4 and 5 come */
            ck_assert_int_eq(raft_members_put(&target, id, RAFT_VOTER, 1), 0);
        }
    }
    ck_assert_int_eq(raft_members_set_address(&target, (struct raft_id){4, 1}, "new place", 9), 0);
    ck_assert_int_eq(raft_members_set_address(&target, (struct raft_id){9, 1}, "", 0),
                     ERR_NOT_FOUND);
    ck_assert_int_eq(
        raft_members_set_address(&target, (struct raft_id){4, 1}, bytes, RAFT_ADDRESS_BYTES + 1),
        ERR_TOO_LARGE);
    ck_assert_int_eq(raft_members_next(&from, &target, false, &next), 0);
    ck_assert(raft_members_is_joint(&next));
    for (uint32_t node = 1; node <= 5; node++) {
        const struct raft_member *member = raft_members_find(&next, (struct raft_id){node, 1});
        const char *place = node <= 3 ? "old place" : node == 4 ? "new place" : "";
        ck_assert_str_eq((const char *) member->address, place);
    }
    size_t size = raft_members_encode(&next, bytes);
    ck_assert_uint_eq(size, 4 + 5 * (10 + RAFT_ADDRESS_BYTES));
    ck_assert_int_eq(raft_members_decode(bytes, size, &left), 0);
    ck_assert(raft_members_equal(&left, &next));
    raft_members_leave(&next, &left);
    ck_assert_str_eq((const char *) left.member[0].address, "old place"); /* 3 */
    ck_assert_int_eq(raft_members_next(&next, &target, false, &from), 0); /* the same by hand */
    ck_assert(raft_members_equal(&from, &left));
    ck_assert_int_eq(raft_members_next(&left, &target, false, &next), ERR_ALREADY);
    /* it moves: one step, and nothing else changes */
    ck_assert_int_eq(raft_members_set_address(&target, (struct raft_id){3, 1}, "moved", 5), 0);
    ck_assert_int_eq(raft_members_next(&left, &target, false, &next), 0);
    ck_assert(!raft_members_is_joint(&next) && !raft_members_equal(&next, &left));
    size = raft_members_encode(&next, bytes);
    for (uint32_t i = 0; i < 3; i++) { /* the long form without any address is not ours */
        memset(bytes + 4 + i * (10 + RAFT_ADDRESS_BYTES) + 10, 0, RAFT_ADDRESS_BYTES);
    }
    ck_assert_int_eq(raft_members_decode(bytes, size, &left), ERR_BAD_FORMAT);
}
