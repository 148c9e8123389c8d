/* group_look: a group's numbers, its pending messages in order, and the checks that its parts add up. Changes nothing. */
#include "logd/group.h"

#include <stdlib.h>

#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "logd/group_own.h"

static uint64_t next_due_ms(const struct ranges *delayed)
{
    struct range range;
    uint64_t due_ms = 0;
    for (uint64_t at = 0; ranges_find_from(delayed, at, &range); at = range.last + 1) {
        due_ms = due_ms == 0 || range.value < due_ms ? range.value : due_ms;
    }
    return due_ms;
}

static void numbers_at_rest(const struct group *self, struct group_numbers *ret_numbers)
{
    const struct group_state *state = &self->state;
    uint64_t acked = ranges_total(state->acked);
    uint64_t delayed = ranges_total(state->delayed);
    *ret_numbers = (struct group_numbers){
        .floor = state->floor,
        .acked_above = acked,
        .holes = ranges_count(state->acked),
        .ready = state->delivered - state->floor - acked - delayed,
        .delayed = delayed,
        .next_due_ms = next_due_ms(state->delayed),
        .cursor = state->delivered + 1,
        .redelivered_total = self->redelivered_total,
    };
}

void group_numbers(struct group *self, struct group_numbers *ret_numbers)
{
    if (!self->is_started) {
        numbers_at_rest(self, ret_numbers);
        return;
    }
    struct range due = {0};
    bool has_due = group_dues_next(&self->delayed_dues, self->delayed, &due);
    *ret_numbers = (struct group_numbers){
        .floor = self->floor,
        .acked_above = ranges_total(self->acked),
        .holes = ranges_count(self->acked),
        .held = self->held,
        .ready = ranges_total(self->ready),
        .delayed = ranges_total(self->delayed),
        .next_due_ms = has_due ? due.value : 0,
        .skipped = ranges_total(self->skipped),
        .cursor = self->cursor,
        .redelivered_total = self->redelivered_total,
    };
}

/* --- pending --- */

struct pending_list {
    struct group_pending *items;
    size_t count;
    size_t capacity;
};

static void pending_add(struct pending_list *list, const struct group_pending *pending)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        list->items = mem_resize(list->items, list->capacity, sizeof *list->items);
    }
    list->items[list->count++] = *pending;
}

static void pending_collect(struct pending_list *list, const struct ranges *map, uint64_t after,
                            size_t max, enum group_where where, const struct group_member *member)
{
    struct range range;
    uint64_t at = after + 1;
    for (size_t i = 0; i < max && ranges_find_from(map, at, &range); i++) {
        pending_add(list, &(struct group_pending){
                              .first = max_u64(range.first, at),
                              .last = range.last,
                              .where = where,
                              .member = member,
                              .since_ms = where == GROUP_HELD ? range.value : 0,
                              .due_ms = where == GROUP_DELAYED ? range.value : 0,
                          });
        at = range.last + 1;
    }
}

/* On their way to the dead letters; what has just died follows when its entry is applied. */
static void pending_collect_dying(struct pending_list *list, const struct group_graves *dying,
                                  uint64_t after, size_t max)
{
    for (size_t i = 0, found = 0; i < dying->count && found < max; i++) {
        const struct group_grave *grave = &dying->items[i];
        if (grave->last <= after) {
            continue;
        }
        pending_add(list, &(struct group_pending){
                              .first = max_u64(grave->first, after + 1),
                              .last = grave->last,
                              .where = GROUP_DYING,
                              .tries = {.attempt = grave->attempts, .failed = grave->failed},
                          });
        found++;
    }
}

static int pending_compare(const void *a, const void *b)
{
    const struct group_pending *left = a;
    const struct group_pending *right = b;
    return left->first < right->first ? -1 : left->first > right->first;
}

/* Visit the parts of `pending` that differ in their counters; returns how many of at most `max`. */
static size_t pending_visit(const struct group *self, struct group_pending pending, size_t max,
                            group_pending_fn *visit, void *ud)
{
    uint64_t last = pending.last;
    size_t count = 0;
    if (pending.where == GROUP_DYING) {
        visit(ud, &pending);
        return 1;
    }
    while (count < max && pending.first <= last) {
        pending.tries = group_tries_at(self, pending.first, last, &pending.last);
        visit(ud, &pending);
        count++;
        pending.first = pending.last + 1;
    }
    return count + (pending.first <= last ? 1 : 0);
}

bool group_pending_list(struct group *self, uint64_t after, size_t max, group_pending_fn *visit,
                        void *ud)
{
    if (after >= GROUP_OFFSET_MAX) {
        return true;
    }
    group_start(self);
    struct pending_list list = {0};
    pending_collect(&list, self->ready, after, max + 1, GROUP_READY, NULL);
    pending_collect(&list, self->delayed, after, max + 1, GROUP_DELAYED, NULL);
    pending_collect(&list, self->skipped, after, max + 1, GROUP_SKIPPED, NULL);
    pending_collect_dying(&list, &self->state.dead.dying, after, max + 1);
    for (const struct group_member *member = group_member_next(self, NULL); member != NULL;
         member = group_member_next(self, member)) {
        pending_collect(&list, member->held, after, max + 1, GROUP_HELD, member);
    }
    if (list.count > 0) {
        qsort(list.items, list.count, sizeof *list.items, pending_compare);
    }
    size_t visited = 0;
    for (size_t i = 0; i < list.count && visited <= max; i++) {
        visited += visited < max ? pending_visit(self, list.items[i], max - visited, visit, ud) : 1;
    }
    mem_free(list.items);
    return visited <= max;
}

bool group_is_standing_still(const struct group *self, uint64_t end)
{
    bool has_some = ranges_count(self->ready) > 0 ||
                    (self->cursor < end && !self->is_full && !deaths_hold_up_new(self));
    if (!has_some || exclusive_waits(self) || self->paused != 0 || deaths_hold_up(self) ||
        self->held >= self->state.limits.in_flight_max) {
        return false;
    }
    for (const struct group_member *member = group_member_next(self, NULL); member != NULL;
         member = group_member_next(self, member)) {
        if (member->credit_messages > 0 && member->credit_bytes > 0 && !member->is_draining &&
            ranges_total(member->held) < self->state.limits.member_in_flight_max &&
            (ranges_total(member->held) == 0 ||
             member->need_bytes <= (uint64_t) member->credit_bytes) &&
            exclusive_is_able(self, member)) {
            return true;
        }
    }
    return false;
}

/* --- checks --- */

bool group_check(const struct group *self)
{
    if (!self->is_started) {
        return true;
    }
    uint64_t known = ranges_total(self->acked) + self->held + ranges_total(self->ready) +
                     ranges_total(self->delayed) + ranges_total(self->skipped);
    return self->cursor > self->floor && self->cursor - 1 - self->floor == known &&
           exclusive_check(self);
}

/* Add `part` to `whole`; false if they meet, or if part leaves (floor, cursor). */
static bool add_disjoint(const struct group *self, struct ranges *whole, const struct ranges *part)
{
    struct range range;
    for (uint64_t at = 0; ranges_find_from(part, at, &range); at = range.last + 1) {
        uint64_t before = ranges_total(whole);
        ranges_set(whole, range.first, range.last, 0);
        if (ranges_total(whole) - before != range_length(range.first, range.last) ||
            range.first <= self->floor || range.last >= self->cursor) {
            return false;
        }
    }
    return true;
}

bool group_invariant(const struct group *self)
{
    if (!group_state_invariant(&self->state) || !group_check(self)) {
        return false;
    }
    if (!self->is_started) {
        return self->member_count == 0;
    }
    struct ranges *whole = ranges_new();
    bool is_sound =
        add_disjoint(self, whole, self->acked) && add_disjoint(self, whole, self->ready) &&
        add_disjoint(self, whole, self->delayed) && add_disjoint(self, whole, self->skipped);
    uint64_t held = 0;
    size_t members = 0;
    for (const struct group_member *member = group_member_next(self, NULL); member != NULL;
         member = group_member_next(self, member)) {
        is_sound = is_sound && add_disjoint(self, whole, member->held);
        held += ranges_total(member->held);
        members++;
    }
    struct range range;
    if (ranges_lowest(self->acked, &range) && range.first == self->floor + 1) {
        is_sound = false; /* the floor should have moved */
    }
    for (uint64_t at = 0; ranges_find_from(self->tries, at, &range); at = range.last + 1) {
        is_sound = is_sound && range.first > self->floor && range.last < self->cursor;
    }
    ranges_destroy(&whole);
    return is_sound && held == self->held && members == self->member_count &&
           (self->floor >= self->state.floor || self->seek_new != 0 || self->proposed > 0);
}
