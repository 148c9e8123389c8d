/* group_control: what operators do to a group: pause, seek, release. */
#include "logd/group.h"

#include "common/base/invariant.h"
#include "logd/group_own.h"

bool group_pause(struct group *self, uint32_t how)
{
    group_start(self);
    if (self->paused == how) {
        return false;
    }
    self->paused = how;
    self->paused_new = true;
    self->deaths.breaker = (struct group_breaker){0};
    return true;
}

uint32_t group_pause_reason(const struct group *self)
{
    return self->is_started ? self->paused : self->state.paused;
}

bool group_is_paused(const struct group *self)
{
    return group_pause_reason(self) != 0;
}

void group_take_all(struct group *self, uint64_t last)
{
    for (struct group_member *member = group_member_next(self, NULL); member != NULL;
         member = group_member_next(self, member)) {
        if (ranges_count(member->held) > 0) {
            self->held -= group_dues_clear_range(&member->deadlines, member->held, 0, last);
        }
    }
}

void group_members_changed(struct group *self)
{
    for (struct group_member *member = group_member_next(self, NULL); member != NULL;
         member = group_member_next(self, member)) {
        group_member_changed(self, member);
    }
    group_head_moved(self);
    INVARIANT_SLOW(group_invariant(self));
}

void group_seek(struct group *self, uint64_t floor)
{
    group_start(self);
    group_take_all(self, UINT64_MAX);
    ranges_clear(self->acked);
    ranges_clear(self->ready);
    ranges_clear(self->delayed);
    ranges_clear(self->skipped);
    ranges_clear(self->tries);
    ranges_clear(self->acked_new); /* they belong to the position before */
    ranges_clear(self->tries_new);
    ranges_clear(self->delayed_new);
    group_dues_clear(&self->ready_dues);
    group_dues_clear(&self->delayed_dues);
    self->floor = floor;
    self->cursor = floor + 1;
    self->delivered_proposed = floor;
    self->seek_new = floor + 1;
    self->is_full = false;
    self->exclusive.order_next = 0;
    deaths_seek(self);
    group_members_changed(self);
}

uint64_t group_release_range(struct group *self, uint64_t number, uint64_t first, uint64_t last)
{
    uint64_t released = 0;
    struct range range;
    group_start(self);
    for (struct group_member *member = group_member_next(self, NULL); member != NULL;
         member = group_member_next(self, member)) {
        if (number != 0 && member->number != number) {
            continue;
        }
        uint64_t returned = exclusive_before_return(self, member, first, last);
        uint64_t before = released;
        while (ranges_find_from(member->held, first, &range) && range.first <= last) {
            uint64_t from = max_u64(first, range.first);
            uint64_t until = min_u64(last, range.last);
            group_give_back(self, member, from, until, false, member->number);
            released += range_length(from, until);
        }
        if (released > before) { /* who loses nothing is told nothing */
            exclusive_after_return(self, member, returned);
        }
    }
    while (number == 0 && ranges_find_from(self->delayed, first, &range) && range.first <= last) {
        uint64_t from = max_u64(first, range.first);
        uint64_t until = min_u64(last, range.last);
        group_dues_clear_range(&self->delayed_dues, self->delayed, from, until);
        ranges_set(self->delayed_new, from, until, 0);
        group_make_ready(self, from, until, self->real_ms, 0);
        released += range_length(from, until);
    }
    group_members_changed(self);
    return released;
}
