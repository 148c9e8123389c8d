/* sm: only the moves of the table. */
#include "common/base/sm.h"

#include "tests/lib/test.h"
#include "tests/unit/common/base/abort_lib.h"

enum { DOOR_OPEN, DOOR_SHUT, DOOR_LOCKED, DOOR_STATE_COUNT };

static const struct sm_state door_states[DOOR_STATE_COUNT] = {
    [DOOR_OPEN] = {"open", SM_TO(DOOR_SHUT)},
    [DOOR_SHUT] = {"shut", SM_TO(DOOR_OPEN) | SM_TO(DOOR_LOCKED)},
    [DOOR_LOCKED] = {"locked", SM_TO(DOOR_SHUT)},
};

static void lock_the_open_door(void)
{
    struct sm door;
    sm_init(&door, "door", door_states, DOOR_OPEN);
    sm_move(&door, DOOR_LOCKED);
}

static void open_the_open_door(void)
{
    struct sm door;
    sm_init(&door, "door", door_states, DOOR_OPEN);
    sm_move(&door, DOOR_OPEN);
}

static void move_out_of_the_table(void)
{
    struct sm door;
    sm_init(&door, "door", door_states, DOOR_SHUT);
    sm_move(&door, 32);
}

TEST(a_machine_moves_as_its_table_allows)
{
    struct sm door;
    sm_init(&door, "door", door_states, DOOR_OPEN);
    ck_assert_str_eq(sm_name(&door), "open");
    sm_move(&door, DOOR_SHUT);
    sm_move(&door, DOOR_LOCKED);
    ck_assert_uint_eq(door.state, DOOR_LOCKED);
    ck_assert_str_eq(sm_name(&door), "locked");
    sm_move(&door, DOOR_SHUT);
    sm_move(&door, DOOR_OPEN);
    ck_assert_str_eq(sm_name(&door), "open");
}

TEST(a_move_that_the_table_forbids_is_a_bug)
{
    ck_assert(ends_by_abort(lock_the_open_door));
    ck_assert(ends_by_abort(open_the_open_door));
    ck_assert(ends_by_abort(move_out_of_the_table));
}
