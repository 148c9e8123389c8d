/* group: the members of a consumer group and what is delivered to them next. Owns the leader's memory of the group. It must
 * never touch the replicated state: that changes only when entries are applied (logd/groups_apply.c). */
#include "logd/group.h"

#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "logd/group_own.h"
#include "logd/planted.h"

struct group *group_new(struct group_state *state)
{
    struct group *self = MEM_NEW(struct group);
    self->state = *state;
    *state = (struct group_state){0};
    list_init(&self->members);
    list_init(&self->ready_members);
    list_init(&self->exclusive.news);
    self->ready_dues.shift = GROUP_AVOID_BITS;
    self->deadline_ms = UINT64_MAX;
    prng_init(&self->prng, self->state.id);
    return self;
}

static void group_stop(struct group *self)
{
    ranges_destroy(&self->acked);
    ranges_destroy(&self->ready);
    ranges_destroy(&self->skipped);
    ranges_destroy(&self->tries);
    ranges_destroy(&self->acked_new);
    ranges_destroy(&self->tries_new);
    ranges_destroy(&self->delayed);
    ranges_destroy(&self->delayed_new);
    group_dues_release(&self->ready_dues);
    group_dues_release(&self->delayed_dues);
    deaths_release(self);
    self->is_started = false;
}

void group_destroy(struct group **self)
{
    if (*self == NULL) {
        return;
    }
    INVARIANT((*self)->member_count == 0);
    if ((*self)->is_started) {
        group_stop(*self);
    }
    group_state_release(&(*self)->state);
    MEM_FREE(*self);
}

struct group_state *group_replicated(struct group *self)
{
    return &self->state;
}

/* A copy, to run ahead of the original. */
static struct ranges *ranges_copy(const struct ranges *from)
{
    struct ranges *copy = ranges_new();
    struct range range;
    for (uint64_t at = 0; ranges_find_from(from, at, &range); at = range.last + 1) {
        ranges_set(copy, range.first, range.last, range.value);
    }
    return copy;
}

/* Of (floor, delivered] everything that is nothing else. */
static void group_start_ready(struct group *self)
{
    if (PLANTED(HOLES_CLOSED)) {
        ranges_clear(self->acked);
        ranges_clear(self->delayed);
        ranges_clear(self->tries);
        self->floor = self->cursor - 1;
    }
    if (self->cursor == self->floor + 1) {
        return;
    }
    ranges_set(self->ready, self->floor + 1, self->cursor - 1, 0);
    struct range range;
    for (uint64_t at = 0; ranges_find_from(self->acked, at, &range); at = range.last + 1) {
        ranges_clear_range(self->ready, range.first, range.last);
    }
    for (uint64_t at = 0; ranges_find_from(self->delayed, at, &range); at = range.last + 1) {
        ranges_clear_range(self->ready, range.first, range.last);
    }
    group_dues_rebuild(&self->ready_dues, self->ready);
    group_dues_rebuild(&self->delayed_dues, self->delayed);
}

/* The leader's memory from the replicated state. What was delivered in an earlier life and is neither acknowledged nor delayed is ready. */
void group_start(struct group *self)
{
    if (self->is_started) {
        return;
    }
    self->is_started = true;
    exclusive_start(self);
    self->floor = self->state.floor;
    self->cursor = self->state.delivered + 1;
    self->acked = ranges_copy(self->state.acked);
    self->tries = ranges_copy(self->state.attempts);
    self->delayed = PLANTED(DELAY_FORGOTTEN) ? ranges_new() : ranges_copy(self->state.delayed);
    self->ready = ranges_new();
    self->skipped = ranges_new();
    self->acked_new = ranges_new();
    self->tries_new = ranges_new();
    self->delayed_new = ranges_new();
    self->held = 0;
    self->delivered_proposed = self->state.delivered;
    self->seek_new = 0;
    self->paused = self->state.paused;
    self->paused_new = false;
    self->proposed = 0;
    self->is_full = false;
    self->tell_full = false;
    self->deadline_ms = UINT64_MAX;
    group_start_ready(self);
    deaths_start(self);
}

void group_rest(struct group *self)
{
    if (self->is_started && self->member_count == 0 && self->proposed == 0 &&
        !group_has_changes(self)) {
        group_stop(self);
    }
}

/* --- members --- */

static bool member_is_able(const struct group *self, const struct group_member *member)
{
    uint64_t held = ranges_total(member->held);
    if (member->is_blocked || member->is_draining || !exclusive_is_able(self, member) ||
        member->credit_messages == 0 || member->credit_bytes <= 0 ||
        held >= self->state.limits.member_in_flight_max) {
        return false;
    }
    return held == 0 || member->need_bytes <= (uint64_t) member->credit_bytes;
}

void group_member_changed(struct group *self, struct group_member *member)
{
    bool is_able = member_is_able(self, member);
    if (is_able && !list_is_linked(&member->ready)) {
        list_push_back(&self->ready_members, &member->ready);
        self->ready_count++;
    } else if (!is_able && list_is_linked(&member->ready)) {
        list_remove(&member->ready);
        self->ready_count--;
    }
}

void group_join(struct group *self, struct group_member *member, uint64_t number)
{
    INVARIANT(number != 0);
    group_start(self);
    *member = (struct group_member){.number = number, .held = ranges_new()};
    list_init(&member->node);
    list_init(&member->ready);
    list_push_back(&self->members, &member->node);
    self->member_count++;
    exclusive_join(self, member);
}

void group_leave(struct group *self, struct group_member *member, bool count_failed)
{
    struct range held;
    group_blame(self, span_of("the consumer went away"), member->standing.name);
    while (ranges_lowest(member->held, &held)) {
        group_give_back(self, member, held.first, held.last, count_failed, 0);
    }
    if (list_is_linked(&member->ready)) {
        list_remove(&member->ready);
        self->ready_count--;
    }
    list_remove(&member->node);
    self->member_count--;
    exclusive_leave(self, member);
    ranges_destroy(&member->held);
    group_dues_release(&member->deadlines);
    INVARIANT_SLOW(group_invariant(self));
}

void group_grant(struct group *self, struct group_member *member, uint64_t messages, uint64_t bytes)
{
    /* Credit beyond these is as good as endless. */
    const int64_t bytes_max = INT64_MAX / 2;
    uint64_t messages_more = min_u64(messages, UINT64_MAX - member->credit_messages);
    int64_t bytes_more = bytes < (uint64_t) bytes_max ? (int64_t) bytes : bytes_max;
    member->credit_messages += messages_more;
    member->credit_bytes = member->credit_bytes > bytes_max - bytes_more
                               ? bytes_max
                               : member->credit_bytes + bytes_more;
    exclusive_granted(member);
    group_member_changed(self, member);
}

void group_block(struct group *self, struct group_member *member, bool is_blocked)
{
    member->is_blocked = is_blocked;
    group_member_changed(self, member);
}

void group_drain(struct group *self, struct group_member *member)
{
    member->is_draining = true;
    group_member_changed(self, member);
}

void group_reconfigured(struct group *self, uint64_t ack_wait_ms_before)
{
    exclusive_reconfigured(self);
    group_deadlines_changed(self, ack_wait_ms_before);
    for (struct group_member *member = group_member_next(self, NULL); member != NULL;
         member = group_member_next(self, member)) {
        group_member_changed(self, member);
    }
}

size_t group_member_count(const struct group *self)
{
    return self->member_count;
}

struct group_member *group_member_next(const struct group *self, const struct group_member *member)
{
    struct list *node = member == NULL ? self->members.next : member->node.next;
    return node == &self->members ? NULL : LIST_ENTRY(node, struct group_member, node);
}

/* --- delivery --- */

/* The next in the round; one other than `avoid` if there is one. */
static struct group_member *group_choose(const struct group *self, uint64_t avoid)
{
    struct group_member *first = NULL;
    LIST_FOREACH (&self->ready_members, node) {
        struct group_member *member = LIST_ENTRY(node, struct group_member, ready);
        if ((member->number & GROUP_AVOID_MASK) != avoid) {
            return member;
        }
        first = first == NULL ? member : first;
    }
    return first;
}

/* New deliveries stop at holes_max and go on at half of it, so that a group at the limit is not told so at every message. */
static bool group_may_begin_new(struct group *self)
{
    size_t holes = ranges_count(self->acked);
    if (self->is_full) {
        self->is_full = holes > self->state.limits.holes_max / 2;
    } else if (holes >= self->state.limits.holes_max) {
        self->is_full = true;
        self->tell_full = true;
    }
    return !self->is_full && !deaths_hold_up_new(self);
}

/* What is to be delivered again next. *ret_waits: in strict order something delayed holds up all that is behind it. */
static bool group_next_ready(struct group *self, struct range *ret_again, bool *ret_waits)
{
    *ret_waits = exclusive_waits(self);
    if (!exclusive_is_strict(self)) {
        return group_dues_next(&self->ready_dues, self->ready, ret_again);
    }
    return !*ret_waits && ranges_lowest(self->ready, ret_again);
}

bool group_next(struct group *self, uint64_t end, struct group_page *ret_page)
{
    if (self->ready_count == 0 || self->held >= self->state.limits.in_flight_max ||
        self->paused != 0 || deaths_hold_up(self)) {
        return false;
    }
    struct group_page page = {0};
    struct range again;
    uint64_t backlog;
    uint64_t count;
    bool waits;
    if (group_next_ready(self, &again, &waits)) {
        page.is_again = true;
        page.member = group_choose(self, again.value & GROUP_AVOID_MASK);
        page.first = again.first;
        count = range_length(again.first, again.last);
        backlog = ranges_total(self->ready);
    } else if (!waits && self->cursor < end && group_may_begin_new(self)) {
        page.member = group_choose(self, 0);
        page.first = self->cursor;
        count = end - self->cursor;
        backlog = count;
    } else {
        return false;
    }
    const struct group_member *member = page.member;
    /* A short backlog is split among all who can take something; a long one goes round in full pages. */
    count = min_u64(count, (backlog + self->ready_count - 1) / self->ready_count);
    count = min_u64(count, self->state.limits.in_flight_max - self->held);
    count = min_u64(count, self->state.limits.member_in_flight_max - ranges_total(member->held));
    count = min_u64(count, member->credit_messages);
    count = exclusive_cut(self, member, count);
    page.records_max = (uint32_t) min_u64(count, UINT32_MAX);
    page.bytes_max = min_u64((uint64_t) member->credit_bytes, GROUP_PAGE_BYTES_MAX);
    INVARIANT(page.records_max > 0 && page.bytes_max > 0);
    *ret_page = page;
    return true;
}

bool group_page_fits(struct group *self, const struct group_page *page, uint32_t count,
                     uint64_t bytes)
{
    struct group_member *member = page->member;
    INVARIANT(count > 0 && count <= page->records_max);
    if (bytes <= (uint64_t) member->credit_bytes ||
        (count == 1 && ranges_total(member->held) == 0)) {
        return true;
    }
    member->need_bytes = bytes;
    self->has_refusals = true;
    group_member_changed(self, member);
    return false;
}

void group_head_moved(struct group *self)
{
    if (!self->has_refusals) {
        return;
    }
    self->has_refusals = false;
    for (struct group_member *member = group_member_next(self, NULL); member != NULL;
         member = group_member_next(self, member)) {
        if (member->need_bytes > 0) {
            member->need_bytes = 0;
            group_member_changed(self, member);
        }
    }
}

/* Its turn is over. */
static void group_member_to_end(struct group *self, struct group_member *member)
{
    if (list_is_linked(&member->ready)) {
        list_remove(&member->ready);
        list_push_back(&self->ready_members, &member->ready);
    }
    group_member_changed(self, member);
}

void group_delivered(struct group *self, const struct group_page *page, uint32_t count,
                     uint64_t bytes)
{
    struct group_member *member = page->member;
    uint64_t last = page->first + count - 1;
    exclusive_check_delivery(self, member, page->first, last);
    if (page->is_again) {
        group_dues_clear_range(&self->ready_dues, self->ready, page->first, last);
        group_count_try(self, page->first, last, 1, 0);
        self->redelivered_total += count;
    } else {
        INVARIANT(page->first == self->cursor);
        self->cursor = last + 1;
    }
    group_hold(self, member, page->first, last);
    self->held += count;
    member->delivered += count;
    member->credit_messages -= count;
    member->credit_bytes -= (int64_t) bytes;
    if (PLANTED(GIVEN_TWICE) && !page->is_again && last % 64 == 0) {
        group_give_back(self, member, last, last, false, 0);
    }
    group_member_to_end(self, member);
    group_head_moved(self);
    INVARIANT_SLOW(group_invariant(self));
}

uint64_t group_skip_end(const struct group *self, const struct group_page *page, uint64_t last)
{
    INVARIANT(last >= page->first);
    struct range again;
    if (page->is_again && ranges_find(self->ready, page->first, &again)) {
        return min_u64(last, again.last);
    }
    return last;
}

void group_skip(struct group *self, const struct group_page *page, uint64_t last)
{
    last = group_skip_end(self, page, last);
    if (page->is_again) {
        group_dues_clear_range(&self->ready_dues, self->ready, page->first, last);
    } else {
        INVARIANT(page->first == self->cursor);
        self->cursor = last + 1;
    }
    ranges_set(self->skipped, page->first, last, 0);
    group_head_moved(self);
    INVARIANT_SLOW(group_invariant(self));
}

struct group_tries group_tries_at(const struct group *self, uint64_t at, uint64_t last,
                                  uint64_t *ret_until)
{
    struct range range;
    *ret_until = last;
    if (!ranges_find_from(self->tries, at, &range) || range.first > last) {
        return (struct group_tries){.attempt = 1};
    }
    if (range.first > at) {
        *ret_until = range.first - 1;
        return (struct group_tries){.attempt = 1};
    }
    *ret_until = min_u64(last, range.last);
    return group_tries_unpack(range.value);
}

size_t group_tries_of(const struct group *self, uint64_t first, uint64_t last,
                      struct group_again *again, size_t max, uint64_t *ret_last)
{
    size_t count = 0;
    *ret_last = last;
    for (uint64_t at = first; at <= last && at < self->cursor;) {
        if (count == max) {
            *ret_last = at - 1;
            break;
        }
        uint64_t until;
        struct group_tries tries =
            group_tries_at(self, at, min_u64(last, self->cursor - 1), &until);
        again[count++] = (struct group_again){at, until, tries};
        at = until + 1;
    }
    return count;
}

bool group_became_full(struct group *self)
{
    bool tell = self->tell_full;
    self->tell_full = false;
    return tell;
}
