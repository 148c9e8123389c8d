/* sm: the one place where a state machine's state changes. */
#include "common/base/sm.h"

#include "common/base/invariant.h"

void sm_init(struct sm *self, const char *machine, const struct sm_state *states, unsigned state)
{
    INVARIANT(state < 32);
    self->machine = machine;
    self->states = states;
    self->state = state;
}

void sm_move(struct sm *self, unsigned state)
{
    INVARIANT(state < 32);
    INVARIANT((self->states[self->state].next & SM_TO(state)) != 0);
    self->state = state;
}

const char *sm_name(const struct sm *self)
{
    return self->states[self->state].name;
}
