/* group_trim: records are gone from under a group: in its replicated state, and in the leader's memory, where nobody holds or waits for them any more. */
#include "logd/group.h"

#include "common/base/invariant.h"
#include "logd/group_own.h"

/* The leader's memory: nothing below is held, ready or known any more. */
static void group_trim_memory(struct group *self, uint64_t last)
{
    for (struct group_member *member = group_member_next(self, NULL); member != NULL;
         member = group_member_next(self, member)) {
        self->held -= ranges_clear_range(member->held, 0, last);
        group_member_changed(self, member);
    }
    (void) ranges_clear_range(self->ready, 0, last);
    (void) ranges_clear_range(self->skipped, 0, last);
    (void) ranges_clear_range(self->tries, 0, last);
    (void) ranges_clear_range(self->tries_new, 0, last);
    (void) ranges_clear_range(self->acked, 0, last);
    if (last > self->floor) {
        self->floor = last;
        struct range next;
        while (ranges_lowest(self->acked, &next) && next.first <= self->floor + 1) {
            self->floor = max_u64(self->floor, next.last);
            (void) ranges_clear_range(self->acked, next.first, next.last);
        }
    }
    self->cursor = max_u64(self->cursor, self->floor + 1);
    group_head_moved(self);
}

uint64_t group_trim(struct group *self, uint64_t first_offset)
{
    uint64_t gap = group_state_trim(&self->state, first_offset);
    if (self->is_started) {
        group_trim_memory(self, first_offset - 1);
        INVARIANT_SLOW(group_invariant(self));
    }
    return gap;
}
