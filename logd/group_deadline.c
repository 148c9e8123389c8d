/* group_deadline: how long a member may keep a message. Only groups with ack_wait pay for it: there each member's held ranges are also known in order of
 * time, and the group knows a time before which none of them is over. */
#include "logd/group.h"

#include "common/base/invariant.h"
#include "logd/group_own.h"

enum { SECOND_MS = 1000 };

void group_hold(struct group *self, struct group_member *member, uint64_t first, uint64_t last)
{
    uint64_t wait_ms = self->state.limits.ack_wait_ms;
    if (wait_ms == 0) { /* whole seconds: neighbours become one range */
        ranges_set(member->held, first, last, self->now_ms - self->now_ms % SECOND_MS);
        return;
    }
    ranges_set(member->held, first, last, self->now_ms);
    group_dues_note(&member->deadlines, member->held, first);
    group_dues_note(&member->deadlines, member->held, last + 1); /* what is left of a longer one */
    self->deadline_ms = min_u64(self->deadline_ms, self->now_ms + wait_ms);
}

/* What is held already is held from now on, as if it had been extended. */
static void held_begin_anew(const struct group *self, struct ranges *held)
{
    struct range range;
    for (uint64_t at = 0; ranges_find_from(held, at, &range); at = range.last + 1) {
        ranges_set(held, range.first, range.last, self->now_ms);
    }
}

void group_deadlines_changed(struct group *self, uint64_t wait_ms_before)
{
    bool has_deadline = self->state.limits.ack_wait_ms != 0;
    bool is_new = self->state.limits.ack_wait_ms != wait_ms_before;
    for (struct group_member *member = group_member_next(self, NULL); member != NULL;
         member = group_member_next(self, member)) {
        group_dues_clear(&member->deadlines);
        if (has_deadline && is_new) {
            held_begin_anew(self, member->held);
        }
        if (has_deadline) {
            group_dues_rebuild(&member->deadlines, member->held);
        }
    }
    self->deadline_ms = has_deadline ? 0 : UINT64_MAX; /* is found out with the next look */
}

bool group_expire(struct group *self, struct group_expired *ret_expired)
{
    uint64_t wait_ms = self->state.limits.ack_wait_ms;
    uint64_t next_ms = UINT64_MAX;
    if (!self->is_started || self->now_ms < self->deadline_ms) {
        return false;
    }
    INVARIANT(wait_ms > 0);
    for (struct group_member *member = group_member_next(self, NULL); member != NULL;
         member = group_member_next(self, member)) {
        struct range held;
        if (!group_dues_next(&member->deadlines, member->held, &held)) {
            continue;
        }
        if (held.value + wait_ms > self->now_ms) {
            next_ms = min_u64(next_ms, held.value + wait_ms);
            continue;
        }
        uint64_t returned = exclusive_before_return(self, member, held.first, held.last);
        group_blame(self, span_of("the deadline is over"), member->standing.name);
        group_give_back(self, member, held.first, held.last, true, member->number);
        exclusive_after_return(self, member, returned);
        group_member_changed(self, member);
        *ret_expired = (struct group_expired){member, held.first, held.last};
        INVARIANT_SLOW(group_invariant(self));
        return true;
    }
    self->deadline_ms = next_ms;
    return false;
}
