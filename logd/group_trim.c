/* group_trim: records are gone from under a group: in its replicated state, and in the leader's memory, where nobody holds or waits for them any more. */
#include "logd/group.h"

#include "logd/group_own.h"

/* The leader's memory: of [first, last] nothing is held, ready or known any more, nor to be proposed. */
static void group_trim_run(struct group *self, uint64_t first, uint64_t last)
{
    ranges_clear_range(self->acked_new, first, last);
    ranges_clear_range(self->tries_new, first, last);
    ranges_clear_range(self->delayed_new, first, last);
    first = max_u64(first, self->floor + 1);
    if (first <= last) {
        group_take_out(self, first, last);
        ranges_clear_range(self->acked, first, last);
        ranges_clear_range(self->tries, first, last);
        group_settle(self, first, last);
        self->cursor = max_u64(self->cursor, last + 1);
    }
}

/* All below is settled but what was replayed, of which there is a copy. */
static void group_trim_memory(struct group *self, uint64_t last)
{
    for (uint64_t at = 1; at <= last;) {
        uint64_t until;
        if (!group_is_reopened(self, at, last, &until)) {
            group_trim_run(self, at, until);
        }
        at = until + 1;
    }
    self->delivered_proposed = max_u64(self->delivered_proposed, last);
    group_members_changed(self);
}

uint64_t group_trim(struct group *self, uint64_t first_offset)
{
    uint64_t gap = group_state_trim(&self->state, first_offset);
    if (self->is_started) {
        group_trim_memory(self, first_offset - 1);
    }
    return gap;
}
