/* history: hand-made histories of one register, right and wrong. Times are as written; the number of a write is its value. */
#include <string.h>

#include "tests/lib/test.h"
#include "tests/sim/sim.h"

struct history {
    struct op op[16];
    uint32_t count;
};

static uint32_t put(struct history *self, bool write, uint64_t value, uint64_t invoked,
                    uint64_t responded, enum op_state state)
{
    struct op *op = &self->op[++self->count];
    op->write = write;
    op->value = write ? self->count : value;
    op->invoked = invoked;
    op->responded = responded;
    op->state = state;
    return self->count;
}

static const char *verdict(const struct history *self)
{
    uint32_t op = 0;
    return history_check(self->op, self->count, 0, 0, &op);
}

TEST(a_history_in_order_is_linearizable)
{
    struct history history = {.count = 0};
    (void) put(&history, false, 0, 1, 2, OP_OK);
    uint32_t one = put(&history, true, 0, 3, 4, OP_OK);
    (void) put(&history, false, one, 5, 6, OP_OK);
    uint32_t two = put(&history, true, 0, 7, 8, OP_OK);
    (void) put(&history, false, two, 9, 10, OP_OK);
    ck_assert_ptr_null(verdict(&history));
}

TEST(operations_that_overlap_may_be_ordered_either_way)
{
    struct history history = {.count = 0};
    uint32_t one = put(&history, true, 0, 1, 10, OP_OK);
    uint32_t two = put(&history, true, 0, 2, 9, OP_OK);
    (void) put(&history, false, two, 3, 4, OP_OK);
    (void) put(&history, false, one, 11, 12, OP_OK);
    ck_assert_ptr_null(verdict(&history));
}

TEST(a_write_of_unknown_outcome_may_happen_late_or_never)
{
    struct history history = {.count = 0};
    uint32_t lost = put(&history, true, 0, 1, 2, OP_UNKNOWN);
    uint32_t one = put(&history, true, 0, 3, 4, OP_OK);
    (void) put(&history, false, one, 5, 6, OP_OK);
    ck_assert_ptr_null(verdict(&history));
    (void) put(&history, false, lost, 7, 8, OP_OK);
    ck_assert_ptr_null(verdict(&history));
}

TEST(an_old_value_after_a_new_one_was_known_is_stale)
{
    struct history history = {.count = 0};
    uint32_t one = put(&history, true, 0, 1, 2, OP_OK);
    (void) put(&history, true, 0, 3, 4, OP_OK);
    (void) put(&history, false, one, 5, 6, OP_OK);
    ck_assert_ptr_nonnull(verdict(&history));
}

TEST(the_first_value_after_a_write_was_known_is_stale)
{
    struct history history = {.count = 0};
    (void) put(&history, true, 0, 1, 2, OP_OK);
    (void) put(&history, false, 0, 3, 4, OP_OK);
    ck_assert_ptr_nonnull(verdict(&history));
}

TEST(two_readers_must_not_see_two_values_change_places)
{
    struct history history = {.count = 0};
    uint32_t one = put(&history, true, 0, 1, 20, OP_OK);
    uint32_t two = put(&history, true, 0, 1, 20, OP_OK);
    (void) put(&history, false, one, 2, 3, OP_OK);
    (void) put(&history, false, two, 4, 5, OP_OK);
    ck_assert_ptr_null(verdict(&history));
    (void) put(&history, false, one, 6, 7, OP_OK);
    ck_assert_ptr_nonnull(verdict(&history));
}

TEST(a_value_that_came_and_went_unseen_while_another_was_the_newest_is_lost)
{
    struct history history = {.count = 0};
    uint32_t one = put(&history, true, 0, 1, 2, OP_OK);
    (void) put(&history, true, 0, 3, 4, OP_OK);
    (void) put(&history, false, one, 5, 6, OP_OK);
    ck_assert_str_eq(verdict(&history), "a value came and went while another was the newest");
}

TEST(a_value_is_not_read_before_it_is_written)
{
    struct history history = {.count = 0};
    (void) put(&history, false, 2, 1, 2, OP_OK);
    (void) put(&history, true, 0, 3, 4, OP_OK);
    ck_assert_str_eq(verdict(&history), "a read saw a value before its write began");
}

TEST(a_value_that_nobody_wrote_is_not_read)
{
    struct history history = {.count = 0};
    (void) put(&history, false, 9, 1, 2, OP_OK);
    ck_assert_str_eq(verdict(&history), "a read saw a value that nobody wrote");
}

TEST(the_value_of_a_refused_write_is_not_read)
{
    struct history history = {.count = 0};
    uint32_t refused = put(&history, true, 0, 1, 2, OP_FAILED);
    (void) put(&history, false, refused, 3, 4, OP_OK);
    ck_assert_str_eq(verdict(&history), "a read saw a value whose write had failed");
}
