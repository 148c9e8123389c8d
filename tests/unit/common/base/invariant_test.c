/* invariant: it aborts on what is false, on nothing else, and negates the whole fact. */
#include "common/base/invariant.h"

#include "tests/lib/test.h"
#include "tests/unit/common/base/abort_lib.h"

static int evaluated;

static void fact_holds(void)
{
    INVARIANT(1 + 1 == 2);
}

static void fact_does_not_hold(void)
{
    INVARIANT(1 + 1 == 3);
}

static void second_operand_holds(void)
{
    int zero = 0;
    INVARIANT(zero != 0 || zero == 0);
}

static void second_operand_does_not_hold(void)
{
    int zero = 0;
    INVARIANT(zero == 0 && zero != 0);
}

static void slow_fact_does_not_hold(void)
{
    INVARIANT_SLOW(1 + 1 == 3);
}

TEST(an_invariant_that_does_not_hold_aborts)
{
    ck_assert(!ends_by_abort(fact_holds));
    ck_assert(ends_by_abort(fact_does_not_hold));
}

TEST(an_invariant_takes_its_fact_as_a_whole)
{
    ck_assert(!ends_by_abort(second_operand_holds));
    ck_assert(ends_by_abort(second_operand_does_not_hold));
}

TEST(an_invariant_evaluates_its_fact_once)
{
    evaluated = 0;
    INVARIANT(++evaluated == 1);
    ck_assert_int_eq(evaluated, 1);
}

TEST(an_invariant_is_a_single_statement)
{
    int taken = 0;
    if (evaluated == 12345)
        INVARIANT(evaluated == 12345);
    else
        taken = 1;
    ck_assert_int_eq(taken, 1);
}

TEST(a_slow_invariant_is_checked_in_some_builds_only)
{
#ifdef RAILGUN_SLOW_CHECKS
    ck_assert(ends_by_abort(slow_fact_does_not_hold));
#else
    ck_assert(!ends_by_abort(slow_fact_does_not_hold));
#endif
}
