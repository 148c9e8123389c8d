/* group_deaths: who dies, in the leader's memory, and what is proposed for it. Owns the news. It must never touch the replicated state. */
#include "logd/group_deaths.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/pb.h"
#include "logd/group_own.h"
#include "logd/planted.h"

enum { BURIED_DLQ_FIRST = 3, BURIED_DLQ_LOG_GROUP = 9, CONSUMER_MAX = 128 };

void deaths_start(struct group *self)
{
    struct range acked;
    struct group_deaths *deaths = &self->deaths;
    deaths->acked_highest = ranges_highest(self->acked, &acked) ? acked.last : self->floor;
    deaths->distance_done = 0;
    deaths->seeks_proposed = self->state.dead.seeks;
    ranges_destroy(&self->state.dead.fresh);
}

void deaths_release(struct group *self)
{
    buf_release(&self->deaths.news);
}

void group_blame(struct group *self, struct span error, struct span consumer)
{
    self->deaths.error = error;
    self->deaths.consumer = consumer;
}

/* --- dying --- */

/* As much of a text as is kept, NUL-terminated. */
static char *text_cut(char *out, size_t capacity, struct span text)
{
    size_t size = text.size < capacity - 1 ? text.size : capacity - 1;
    while (size > 0 && size < text.size && (text.data[size] & 0xc0) == 0x80) {
        size--; /* between two characters */
    }
    if (size == 0) {
        return NULL;
    }
    memcpy(out, text.data, size);
    out[size] = '\0';
    return out;
}

/* One fate for all of [first, last]. */
static void die_alike(struct group *self, uint64_t first, uint64_t last, uint32_t reason,
                      struct group_tries tries)
{
    struct group_deaths *deaths = &self->deaths;
    char error[GROUP_DEAD_ERROR_MAX + 1];
    char consumer[CONSUMER_MAX + 1];
    uint64_t count = range_length(first, last);
    struct group_grave grave = {
        .first = first,
        .last = last,
        .reason = reason,
        .failed = tries.failed,
        .attempts = tries.attempt,
        .error = text_cut(error, sizeof error, deaths->error),
        .consumer = text_cut(consumer, sizeof consumer, deaths->consumer),
    };
    group_grave_append_dead(&deaths->news, DEAD_ACKS_DEAD, &grave);
    deaths->count += count;
    group_breaker_note(&deaths->breaker, &self->state.limits.dlq, self->now_ms, count, count);
}

void deaths_die(struct group *self, uint64_t first, uint64_t last, uint32_t reason)
{
    for (uint64_t at = first; at <= last;) {
        uint64_t until;
        struct group_tries tries = group_tries_at(self, at, last, &until);
        die_alike(self, at, until, reason, tries);
        at = until + 1;
    }
    group_settle(self, first, last);
    group_head_moved(self);
}

uint64_t deaths_part(const struct group *self, uint64_t first, uint64_t last, uint32_t more,
                     bool *ret_dies)
{
    const struct group_dlq_limits *limits = &self->state.limits.dlq;
    *ret_dies = false;
    if (!limits->is_on || limits->max_failed == 0) {
        return last;
    }
    uint64_t until;
    struct group_tries tries = group_tries_at(self, first, last, &until);
    more += PLANTED(DEAD_SOON) ? 1 : 0;
    *ret_dies = (uint64_t) tries.failed + more >= limits->max_failed;
    return until;
}

bool group_is_reopened(const struct group *self, uint64_t offset, uint64_t last, uint64_t *ret_last)
{
    const struct group_grave *grave = group_graves_from(&self->state.dead.reopened, offset);
    *ret_last = last;
    if (grave == NULL || grave->first > last) {
        return false;
    }
    if (grave->first > offset) {
        *ret_last = grave->first - 1;
        return false;
    }
    *ret_last = min_u64(last, grave->last);
    return true;
}

/* The first run in [at, last] that is neither acknowledged, nor damaged, nor replayed. */
static bool next_far(const struct group *self, uint64_t at, uint64_t last, struct range *ret_run)
{
    while (at <= last) {
        struct range range;
        uint64_t until = last;
        const struct ranges *maps[] = {self->acked, self->skipped};
        bool is_free = true;
        for (size_t i = 0; i < 2 && is_free; i++) {
            if (!ranges_find_from(maps[i], at, &range) || range.first > until) {
                continue;
            }
            is_free = range.first > at;
            until = is_free ? range.first - 1 : min_u64(range.last, last);
        }
        if (is_free) {
            is_free = !group_is_reopened(self, at, until, &until);
        }
        if (is_free) {
            *ret_run = (struct range){.first = at, .last = until};
            return true;
        }
        at = until + 1;
    }
    return false;
}

/* Whoever holds something of [first, last], and wherever it waits: no more. */
void group_take_out(struct group *self, uint64_t first, uint64_t last)
{
    for (struct group_member *member = group_member_next(self, NULL); member != NULL;
         member = group_member_next(self, member)) {
        struct range held;
        if (ranges_find_from(member->held, first, &held) && held.first <= last) {
            self->held -= group_dues_clear_range(&member->deadlines, member->held, first, last);
            group_member_changed(self, member);
        }
    }
    group_dues_clear_range(&self->ready_dues, self->ready, first, last);
    group_dues_clear_range(&self->delayed_dues, self->delayed, first, last);
    ranges_clear_range(self->skipped, first, last);
}

void group_check_distance(struct group *self)
{
    struct group_deaths *deaths = &self->deaths;
    const struct group_dlq_limits *limits = &self->state.limits.dlq;
    if (!limits->is_on || limits->max_distance == 0 || !self->is_started ||
        exclusive_is_strict(self) || deaths->acked_highest < limits->max_distance) {
        return;
    }
    uint64_t last = deaths->acked_highest - limits->max_distance;
    uint64_t at = max_u64(self->floor, deaths->distance_done) + 1;
    struct range run;
    group_blame(self, (struct span){0}, (struct span){0});
    while (next_far(self, at, last, &run)) {
        group_take_out(self, run.first, run.last);
        deaths_die(self, run.first, run.last, RAILGUN__DEAD__REASON__DISTANCE);
        at = run.last + 1;
    }
    deaths->distance_done = max_u64(deaths->distance_done, last);
    INVARIANT_SLOW(group_invariant(self));
}

uint64_t group_die_of_age(struct group *self, uint64_t first, uint64_t count, bool is_again)
{
    uint64_t last;
    INVARIANT(count > 0);
    if (group_is_reopened(self, first, first + count - 1, &last)) {
        return 0;
    }
    count = range_length(first, last);
    group_blame(self, (struct span){0}, (struct span){0});
    if (is_again) {
        count = group_dues_clear_range(&self->ready_dues, self->ready, first, last);
        INVARIANT(count == range_length(first, last));
        deaths_die(self, first, last, RAILGUN__DEAD__REASON__MAX_AGE);
    } else {
        INVARIANT(first == self->cursor);
        self->cursor = last + 1;
        die_alike(self, first, last, RAILGUN__DEAD__REASON__MAX_AGE, (struct group_tries){0});
        group_settle(self, first, last);
        group_head_moved(self);
    }
    INVARIANT_SLOW(group_invariant(self));
    return count;
}

void group_die_unread(struct group *self, uint64_t offset)
{
    group_blame(self, (struct span){0}, (struct span){0});
    group_take_out(self, offset, offset);
    deaths_die(self, offset, offset, RAILGUN__DEAD__REASON__NONE);
    group_note_buried(self, offset, offset, 0, 0);
    INVARIANT_SLOW(group_invariant(self));
}

/* --- holding up --- */

bool deaths_hold_up(const struct group *self)
{
    return self->deaths.is_blocked;
}

bool deaths_hold_up_new(const struct group *self)
{
    return self->state.dead.dying.count >= self->state.limits.holes_max;
}

void group_block_dead(struct group *self, bool is_blocked)
{
    self->deaths.is_blocked = is_blocked;
}

void deaths_acked(struct group *self, uint64_t first, uint64_t last)
{
    struct group_deaths *deaths = &self->deaths;
    deaths->acked_highest = max_u64(deaths->acked_highest, last);
    group_breaker_note(&deaths->breaker, &self->state.limits.dlq, self->now_ms,
                       range_length(first, last), 0);
}

bool group_breaker_opened(struct group *self)
{
    struct group_deaths *deaths = &self->deaths;
    if (!self->is_started || self->paused != 0 ||
        !group_breaker_is_open(&deaths->breaker, &self->state.limits.dlq, self->now_ms)) {
        return false;
    }
    deaths->breaker = (struct group_breaker){0}; /* after the pause it begins anew */
    return true;
}

/* --- news --- */

void group_note_buried(struct group *self, uint64_t first, uint64_t last, uint64_t dlq_first,
                       uint64_t dlq_log_group)
{
    struct buf bytes = {0};
    group_start(self);
    pb_append_varint(&bytes, 1, first);
    pb_append_varint(&bytes, 2, last);
    if (dlq_first != 0) {
        pb_append_varint(&bytes, BURIED_DLQ_FIRST, dlq_first);
        pb_append_varint(&bytes, BURIED_DLQ_LOG_GROUP, dlq_log_group);
    }
    pb_append_bytes(&self->deaths.news, DEAD_ACKS_BURIED, buf_span(&bytes));
    buf_release(&bytes);
}

void group_note_replayed(struct group *self, uint64_t first, uint64_t last)
{
    group_start(self);
    group_range_append(&self->deaths.news, DEAD_ACKS_REPLAYED, first, last);
}

void group_note_dropped(struct group *self, uint64_t first, uint64_t last)
{
    group_start(self);
    group_range_append(&self->deaths.news, DEAD_ACKS_DROPPED, first, last);
}

size_t deaths_encode(const struct group *self, struct buf *out, size_t size_max)
{
    struct span rest = buf_span(&self->deaths.news);
    size_t all = rest.size;
    struct pb_field field;
    while (rest.size > 0 && out->size < size_max) {
        struct span before = rest;
        int more = pb_next(&rest, &field);
        INVARIANT(more == 1);
        buf_append(out, span_make(before.data, before.size - rest.size));
    }
    return all - rest.size;
}

void deaths_proposed(struct group *self, size_t bytes, bool has_seek)
{
    struct buf *news = &self->deaths.news;
    buf_consume(news, bytes);
    if (news->size == 0) {
        buf_release(news);
    }
    self->deaths.seeks_proposed += has_seek ? 1 : 0;
}

/* Deaths belong to the position before; what was buried, and what operators wish, does not. */
void deaths_seek(struct group *self)
{
    struct buf kept = {0};
    struct span rest = buf_span(&self->deaths.news);
    struct pb_field field;
    while (rest.size > 0) {
        struct span before = rest;
        int more = pb_next(&rest, &field);
        INVARIANT(more == 1);
        if (field.number != DEAD_ACKS_DEAD) {
            buf_append(&kept, span_make(before.data, before.size - rest.size));
        }
    }
    buf_release(&self->deaths.news);
    self->deaths.news = kept;
    self->deaths.acked_highest = self->floor;
    self->deaths.distance_done = 0;
}

/* --- reopening --- */

static bool is_seeking(const struct group *self)
{
    return self->seek_new != 0 || self->deaths.seeks_proposed != self->state.dead.seeks;
}

static void reopen_run(struct group *self, uint64_t first, uint64_t last)
{
    if (first <= self->floor) {
        uint64_t floor = self->floor;
        self->floor = first - 1;
        ranges_set(self->acked, first, floor, 0);
    }
    ranges_clear_range(self->acked, first, last);
    for (uint64_t at = first; at <= last;) {
        struct range tried;
        uint64_t until = last;
        bool has_tries = ranges_find_from(self->state.attempts, at, &tried) && tried.first <= last;
        if (has_tries && tried.first <= at) {
            until = min_u64(until, tried.last);
            ranges_set(self->tries, at, until, tried.value);
        } else if (has_tries) {
            until = tried.first - 1;
        }
        at = until + 1;
    }
    group_make_ready(self, first, last, self->real_ms, 0);
}

bool group_take_reopened(struct group *self)
{
    struct ranges *fresh = self->state.dead.fresh;
    struct range run = {0};
    if (fresh == NULL) {
        return false;
    }
    bool is_followed = self->is_started && !is_seeking(self);
    bool has_lowest = is_followed && ranges_lowest(fresh, &run);
    for (uint64_t at = 0; is_followed && ranges_find_from(fresh, at, &run); at = run.last + 1) {
        reopen_run(self, run.first, run.last);
    }
    /* one that is not active yet begins at the lowest anyway */
    if (has_lowest && self->exclusive.is_active && ranges_lowest(fresh, &run)) {
        exclusive_after_return(self, self->exclusive.chosen, run.first);
    }
    ranges_destroy(&self->state.dead.fresh);
    if (is_followed) {
        group_members_changed(self);
    }
    return is_followed;
}
