/* Dead letters in the replicated state of a group: dying, dead, replayed, dropped, gone; and as bytes. */
#include "logd/group_dead.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/rand.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/pb.h"
#include "logd/group_state.h"
#include "tests/lib/test.h"

static void begin(struct group_state *state)
{
    group_state_init(state, 7);
    ck_assert_int_eq(group_state_configure(state, span_of("g"), (struct span){0}), 0);
    group_state_ack(state, 1, 4);
    group_state_try(state, 5, 20, (struct group_tries){2, 1});
}

static void die(struct group_state *state, uint64_t first, uint64_t last)
{
    char error[] = "bad";
    char consumer[] = "packer";
    group_state_die(state, &(struct group_grave){.first = first,
                                                 .last = last,
                                                 .reason = RAILGUN__DEAD__REASON__REJECTED,
                                                 .failed = 1,
                                                 .attempts = 2,
                                                 .error = error,
                                                 .consumer = consumer});
    ck_assert(group_state_invariant(state));
}

static void bury(struct group_state *state, uint64_t first, uint64_t last, uint64_t dlq_first)
{
    group_state_bury(state, first, last, dlq_first, 7);
    ck_assert(group_state_invariant(state));
}

static void reopen(struct group_state *state, uint64_t first, uint64_t last)
{
    group_state_reopen(state, first, last);
    ck_assert(group_state_invariant(state));
}

TEST(what_is_dying_counts_as_acknowledged)
{
    struct group_state state;
    begin(&state);
    die(&state, 6, 8);
    ck_assert_uint_eq(state.floor, 4);
    ck_assert_uint_eq(ranges_total(state.acked), 3);
    die(&state, 3, 6); /* only 5 is pending */
    ck_assert_uint_eq(state.floor, 8);
    ck_assert_uint_eq(state.dead.dying.total, 4);
    ck_assert_uint_eq(state.dead.dying.count, 1);
    ck_assert_str_eq(state.dead.dying.items[0].error, "bad");
    ck_assert_uint_eq(ranges_total(state.attempts), 12);
    group_state_release(&state);
}

TEST(what_is_buried_is_dead_and_what_was_gone_is_a_gap)
{
    struct group_state state;
    begin(&state);
    die(&state, 5, 10);
    bury(&state, 1, 6, 41); /* 5 and 6 of these are dying */
    ck_assert_uint_eq(state.dead.dead.total, 2);
    const struct group_grave *grave = group_graves_find(&state.dead.dead, 5);
    ck_assert_uint_eq(grave->dlq_first, 45);
    ck_assert_str_eq(grave->error, "bad");
    ck_assert_ptr_null(grave->consumer);
    bury(&state, 7, 8, 0);
    ck_assert_uint_eq(state.gap_records, 2);
    bury(&state, 7, 10, 60);
    ck_assert_uint_eq(state.dead.dying.total, 0);
    ck_assert_uint_eq(state.dead.dead.total, 4);
    ck_assert_uint_eq(group_graves_find(&state.dead.dead, 9)->dlq_first, 62);
    group_state_forget_dead(&state, 6, 9);
    ck_assert_uint_eq(state.dead.dead.total, 2);
    ck_assert_uint_eq(state.floor, 10);
    group_state_release(&state);
}

TEST(what_is_replayed_is_pending_again_and_dies_in_another_round)
{
    struct group_state state;
    struct range range;
    begin(&state);
    group_state_ack(&state, 5, 12);
    die(&state, 13, 15);
    bury(&state, 13, 15, 1);
    group_state_ack(&state, 16, 18);
    reopen(&state, 14, 14);
    ck_assert_uint_eq(state.floor, 13);
    ck_assert(ranges_lowest(state.acked, &range));
    ck_assert_uint_eq(range.first, 15);
    ck_assert_uint_eq(range.last, 18);
    ck_assert(ranges_find(state.attempts, 14, &range));
    ck_assert_uint_eq(group_tries_unpack(range.value).attempt, 2); /* goes on */
    ck_assert_uint_eq(group_tries_unpack(range.value).failed, 0);  /* begins anew */
    ck_assert(ranges_find(state.dead.fresh, 14, &range));
    reopen(&state, 14, 14); /* it is not dead any more */
    ck_assert_uint_eq(state.dead.dead.total, 2);

    die(&state, 14, 20);
    ck_assert_uint_eq(state.floor, 20);
    ck_assert_uint_eq(state.dead.reopened.total, 0);
    const struct group_grave *grave = group_graves_find(&state.dead.dying, 14);
    ck_assert_uint_eq(grave->round, 1);
    ck_assert_uint_eq(grave->dlq_first, 2); /* the copy of the first time */
    ck_assert_uint_eq(group_graves_find(&state.dead.dying, 19)->round, 0);
    bury(&state, 14, 14, 9);
    reopen(&state, 14, 14);
    ck_assert_uint_eq(group_graves_find(&state.dead.reopened, 14)->round, 1);
    group_state_ack(&state, 14, 14);
    ck_assert_uint_eq(state.dead.reopened.count, 0);
    ck_assert_uint_eq(state.floor, 20);
    group_state_release(&state);
}

TEST(what_is_replayed_outlives_that_its_record_is_removed)
{
    struct group_state state;
    begin(&state);
    die(&state, 7, 9);
    bury(&state, 7, 9, 100);
    reopen(&state, 8, 8);
    ck_assert_uint_eq(group_state_trim(&state, 11), 3); /* 5, 6 and 10 */
    ck_assert(group_state_invariant(&state));
    ck_assert_uint_eq(state.floor, 7);
    ck_assert_uint_eq(state.dead.dead.total, 2);
    ck_assert_uint_eq(group_state_trim(&state, 11), 0);
    group_state_ack(&state, 8, 8);
    ck_assert_uint_eq(state.floor, 10);
    group_state_release(&state);
}

TEST(a_seek_ends_the_deaths_above_it)
{
    struct group_state state;
    begin(&state);
    die(&state, 5, 12);
    bury(&state, 5, 8, 1);
    reopen(&state, 6, 6);
    group_state_seek(&state, 6);
    ck_assert(group_state_invariant(&state));
    ck_assert_uint_eq(state.dead.dead.total, 1);
    ck_assert_uint_eq(state.dead.dying.total, 0);
    ck_assert_uint_eq(state.dead.reopened.total, 0);
    ck_assert_ptr_null(state.dead.fresh);
    bury(&state, 9, 12, 5); /* it was under way */
    ck_assert_uint_eq(state.dead.dead.total, 1);
    group_state_release(&state);
}

TEST(too_many_dead_ones_are_forgotten_lowest_first)
{
    struct group_state state;
    group_state_init(&state, 7);
    for (uint64_t i = 1; i <= GROUP_DEAD_MAX + 1; i++) {
        group_state_ack(&state, 2 * i - 1, 2 * i - 1);
        group_state_die(&state, &(struct group_grave){.first = 2 * i, .last = 2 * i});
        group_state_bury(&state, 2 * i, 2 * i, i, 7);
    }
    ck_assert_uint_lt(state.dead.dead.count, GROUP_DEAD_MAX);
    ck_assert_uint_gt(state.dead.dead.count, GROUP_DEAD_MAX - GROUP_DEAD_MAX / 8);
    ck_assert_ptr_null(group_graves_find(&state.dead.dead, 2));
    ck_assert_ptr_nonnull(group_graves_find(&state.dead.dead, 2 * (GROUP_DEAD_MAX + 1)));
    ck_assert(group_state_invariant(&state));
    group_state_release(&state);
}

/* --- bytes --- */

static struct buf encoded(const struct group_state *state)
{
    struct buf bytes = {0};
    group_state_encode(state, &bytes);
    return bytes;
}

/* Against a table of what each offset is, at random, saved and loaded on the way. */
TEST(any_changes_in_any_order_add_up_and_are_saved)
{
    enum { OFFSETS = 60, STEPS = 20000 };
    enum { PENDING, ACKED, DYING, DEAD, REOPENED } is[OFFSETS + 1] = {PENDING};
    struct group_state state;
    struct prng prng;
    prng_init(&prng, 5);
    group_state_init(&state, 7);
    for (unsigned step = 0; step < STEPS; step++) {
        uint64_t first = 1 + prng_below(&prng, OFFSETS);
        uint64_t last = first + prng_below(&prng, 8);
        last = last < OFFSETS ? last : OFFSETS;
        unsigned what = (unsigned) prng_below(&prng, 6);
        for (uint64_t i = first; i <= last; i++) {
            bool is_pending = is[i] == PENDING || is[i] == REOPENED;
            is[i] = what == 0 && is_pending       ? ACKED
                    : what == 1 && is_pending     ? DYING
                    : what == 2 && is[i] == DYING ? DEAD
                    : what == 3 && is[i] == DYING ? ACKED
                    : what == 4 && is[i] == DEAD  ? REOPENED
                    : what == 5 && is[i] == DEAD  ? ACKED
                                                  : is[i];
        }
        switch (what) {
        case 0:
            group_state_ack(&state, first, last);
            break;
        case 1:
            die(&state, first, last);
            break;
        case 2:
            bury(&state, first, last, 1000 + first);
            break;
        case 3:
            bury(&state, first, last, 0);
            break;
        case 4:
            reopen(&state, first, last);
            break;
        default:
            group_state_forget_dead(&state, first, last);
            break;
        }
        if (prng_below(&prng, 200) == 0) { /* a new beginning */
            group_state_seek(&state, 0);
            memset(is, 0, sizeof is);
        }
        if (prng_below(&prng, 10) == 0) {
            struct buf bytes = encoded(&state);
            struct group_state loaded;
            ck_assert_int_eq(group_state_decode(&loaded, buf_span(&bytes)), 0);
            struct buf again = encoded(&loaded);
            ck_assert(span_equal(buf_span(&bytes), buf_span(&again)));
            group_state_release(&state);
            state = loaded;
            buf_release(&bytes);
            buf_release(&again);
        }
        ck_assert(group_state_invariant(&state));
        for (uint64_t i = 1; i <= OFFSETS; i++) {
            struct range range;
            bool is_settled = i <= state.floor || ranges_find(state.acked, i, &range);
            ck_assert_int_eq(is_settled, is[i] != PENDING && is[i] != REOPENED);
            ck_assert_int_eq(group_graves_find(&state.dead.dying, i) != NULL, is[i] == DYING);
            ck_assert_int_eq(group_graves_find(&state.dead.dead, i) != NULL, is[i] == DEAD);
            ck_assert_int_eq(group_graves_find(&state.dead.reopened, i) != NULL, is[i] == REOPENED);
        }
    }
    group_state_release(&state);
}

/* An OfGroup with one field. */
static struct buf of_group(uint32_t number, const ProtobufCMessage *message)
{
    struct buf inner = {0};
    struct buf outer = {0};
    uint8_t *room = buf_reserve(&inner, protobuf_c_message_get_packed_size(message));
    buf_advance(&inner, protobuf_c_message_pack(message, room));
    pb_append_varint(&outer, 1, 7);
    pb_append_bytes(&outer, number, buf_span(&inner));
    buf_release(&inner);
    return outer;
}

TEST(entries_change_the_state_and_bad_ones_are_refused)
{
    struct group_state state;
    uint64_t id;
    begin(&state);
    char error[] = "bad";
    Railgun__Dead dead = RAILGUN__DEAD__INIT;
    dead.has_first = dead.has_last = dead.has_reason = 1;
    dead.first = 6;
    dead.last = 7;
    dead.reason = RAILGUN__DEAD__REASON__DISTANCE;
    dead.last_error = error;
    struct buf bytes = of_group(DEAD_ACKS_DEAD, &dead.base);
    ck_assert_int_eq(group_state_check_acks(buf_span(&bytes), &id), 0);
    group_state_apply_acks(&state, buf_span(&bytes));
    buf_release(&bytes);
    ck_assert_uint_eq(group_graves_find(&state.dead.dying, 6)->reason,
                      RAILGUN__DEAD__REASON__DISTANCE);
    Railgun__Buried buried = RAILGUN__BURIED__INIT;
    buried.has_first = buried.has_last = buried.has_dlq_first = 1;
    buried.first = 6;
    buried.last = 7;
    buried.dlq_first = 3;
    bytes = of_group(DEAD_ACKS_BURIED, &buried.base);
    ck_assert_int_eq(group_state_check_acks(buf_span(&bytes), &id), 0);
    group_state_apply_acks(&state, buf_span(&bytes));
    buf_release(&bytes);
    ck_assert_uint_eq(state.dead.dead.total, 2);

    static const uint64_t bad[][2] = {{0, 4}, {5, 4}, {1, GROUP_OFFSET_MAX + 1}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        dead.first = buried.first = bad[i][0];
        dead.last = buried.last = bad[i][1];
        bytes = of_group(DEAD_ACKS_DEAD, &dead.base);
        ck_assert_int_eq(group_state_check_acks(buf_span(&bytes), &id), ERR_BAD_FORMAT);
        buf_release(&bytes);
        for (uint32_t number = DEAD_ACKS_BURIED; number <= DEAD_ACKS_DROPPED; number++) {
            bytes = of_group(number, &buried.base);
            ck_assert_int_eq(group_state_check_acks(buf_span(&bytes), &id), ERR_BAD_FORMAT);
            buf_release(&bytes);
        }
    }
    group_state_release(&state);
}

TEST(long_texts_are_cut_between_two_characters)
{
    struct group_state state;
    begin(&state);
    char error[GROUP_DEAD_ERROR_MAX + 2] = "";
    memset(error, 'x', GROUP_DEAD_ERROR_MAX - 1);
    memcpy(error + GROUP_DEAD_ERROR_MAX - 1, "\xc3\xa4", 3);
    struct buf bytes = {0};
    group_grave_append_dead(&bytes, DEAD_ACKS_DEAD,
                            &(struct group_grave){.first = 6, .last = 6, .error = error});
    struct span rest = buf_span(&bytes);
    struct pb_field field;
    ck_assert_int_eq(pb_next(&rest, &field), 1);
    ck_assert_int_eq(group_dead_acks_field(&state, &field), 0);
    ck_assert_uint_eq(strlen(group_graves_find(&state.dead.dying, 6)->error),
                      GROUP_DEAD_ERROR_MAX - 1);
    buf_release(&bytes);
    group_state_release(&state);
}
