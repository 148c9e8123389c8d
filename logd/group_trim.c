/* group_trim: records are gone from under a group: in its replicated state, and in the leader's memory, where nobody holds or waits for them any more. */
#include "logd/group.h"

#include "logd/group_own.h"

/* The leader's memory: nothing below is held, ready or known any more. */
static void group_trim_memory(struct group *self, uint64_t last)
{
    struct ranges *maps[] = {self->acked,     self->skipped,   self->tries,
                             self->acked_new, self->tries_new, self->delayed_new};
    group_take_all(self, last);
    for (size_t i = 0; i < sizeof maps / sizeof maps[0]; i++) {
        ranges_clear_range(maps[i], 0, last);
    }
    group_dues_clear_range(&self->ready_dues, self->ready, 0, last);
    group_dues_clear_range(&self->delayed_dues, self->delayed, 0, last);
    self->floor = last;
    struct range next;
    if (ranges_lowest(self->acked, &next) && next.first == self->floor + 1) {
        self->floor = next.last;
        ranges_clear_range(self->acked, next.first, next.last);
    }
    self->cursor = max_u64(self->cursor, self->floor + 1);
    self->delivered_proposed = max_u64(self->delivered_proposed, self->floor);
    group_members_changed(self);
}

uint64_t group_trim(struct group *self, uint64_t first_offset)
{
    uint64_t gap = group_state_trim(&self->state, first_offset);
    if (self->is_started && self->floor + 1 < first_offset) {
        group_trim_memory(self, first_offset - 1);
    }
    return gap;
}
