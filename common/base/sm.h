/* sm: state machines as tables. Each machine has an enum of states, a table of allowed moves and one function that
 * moves: sm_move. No other code assigns the state. */
#ifndef COMMON_BASE_SM_H
#define COMMON_BASE_SM_H

#include <stdint.h>

struct sm_state {
    const char *name;
    uint32_t next; /* bit i set: a move to state i is allowed */
};

struct sm {
    const char *machine;           /* for traces: "conn" */
    const struct sm_state *states; /* indexed by state */
    unsigned state;
};

#define SM_TO(state) (UINT32_C(1) << (state))

void sm_init(struct sm *self, const char *machine, const struct sm_state *states, unsigned state);
/* Move, or INVARIANT-fail when the table does not allow it. */
void sm_move(struct sm *self, unsigned state);
const char *sm_name(const struct sm *self);

#endif
