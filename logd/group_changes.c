/* group_changes: what was accepted from members and is to become an entry of the stream's log. */
#include "logd/group.h"

#include "common/base/invariant.h"
#include "common/wire/pb.h"
#include "logd/group_own.h"
#include "logd/planted.h"

enum {
    ACKS_GROUP_ID = 1,
    ACKS_ACKED = 2,
    ACKS_ATTEMPTS = 3,
    ACKS_DELIVERED = 4,
    ACKS_DELAYED = 5,
    ACKS_EPOCH = 10,
    ACKS_PAUSED = 11,
    ACKS_SEEK = 12,
};

bool group_has_changes(const struct group *self)
{
    return self->is_started &&
           (group_changes_count(self) > 0 || self->cursor - 1 > self->delivered_proposed ||
            self->seek_new != 0 || self->paused_new || self->deaths.news.size > 0);
}

bool group_changes_can_wait(const struct group *self)
{
    return ranges_count(self->acked_new) == 0 && ranges_count(self->delayed_new) == 0 &&
           self->seek_new == 0 && !self->paused_new && !self->exclusive.is_to_propose &&
           self->deaths.news.size == 0;
}

size_t group_changes_count(const struct group *self)
{
    return self->is_started
               ? ranges_count(self->acked_new) + ranges_count(self->tries_new) +
                     ranges_count(self->delayed_new) + (self->exclusive.is_to_propose ? 1 : 0) +
                     (self->deaths.news.size > 0 ? 1 : 0)
               : 0;
}

/* The counters of [first, last]. Every offset in tries_new has some. */
static void tries_append(const struct group *self, struct buf *out, uint64_t first, uint64_t last)
{
    struct range range;
    uint64_t at = first;
    while (at <= last && ranges_find_from(self->tries, at, &range) && range.first <= last) {
        group_attempt_append(out, ACKS_ATTEMPTS, max_u64(at, range.first),
                             min_u64(last, range.last), group_tries_unpack(range.value));
        at = range.last + 1;
    }
}

/* What became of [first, last], of which delays changed. */
static void delays_append(const struct group *self, struct buf *out, uint64_t first, uint64_t last)
{
    uint64_t at = first;
    while (at <= last) {
        struct range range;
        uint64_t until = last;
        uint64_t due_ms = 0;
        if (ranges_find_from(self->delayed, at, &range) && range.first <= last) {
            bool is_delayed = range.first <= at;
            due_ms = is_delayed ? range.value : 0;
            until = is_delayed ? min_u64(range.last, last) : range.first - 1;
        }
        group_delayed_append(out, ACKS_DELAYED, at, until, due_ms);
        at = until + 1;
    }
}

static void acked_append(const struct group *self, struct buf *out, uint64_t first, uint64_t last)
{
    (void) self;
    if (!PLANTED(ACKS_LOST) || last % 8 != 0) {
        group_range_append(out, ACKS_ACKED, first, last);
    }
}

typedef void append_fn(const struct group *self, struct buf *out, uint64_t first, uint64_t last);

/* The ranges of `fresh`, as far as there is room. Returns the last number that went in, or 0. */
static uint64_t changes_append(const struct group *self, struct buf *out, size_t size_max,
                               const struct ranges *fresh, append_fn *append,
                               struct group_changes *changes)
{
    struct range range;
    uint64_t last = 0;
    for (uint64_t at = 0; ranges_find_from(fresh, at, &range); at = range.last + 1) {
        if (out->size >= size_max) {
            changes->is_all = false;
            break;
        }
        append(self, out, range.first, range.last);
        changes->is_empty = false;
        last = range.last;
    }
    return last;
}

/* Counters go in before delays: a counter ends the delay that was there before it. */
void group_changes_encode(const struct group *self, struct buf *out, size_t bytes_max,
                          struct group_changes *ret_changes)
{
    struct group_changes changes = {.is_empty = true, .is_all = true};
    size_t size_max = out->size + bytes_max;
    pb_append_varint(out, ACKS_GROUP_ID, self->state.id);
    if (self->seek_new != 0) {
        pb_append_varint(out, ACKS_SEEK, self->seek_new);
        changes.is_empty = false;
    }
    if (self->paused_new) {
        pb_append_varint(out, ACKS_PAUSED, self->paused);
        changes.is_empty = false;
    }
    if (self->exclusive.is_to_propose) {
        group_epoch_append(out, ACKS_EPOCH, self->exclusive.epoch,
                           self->exclusive.chosen->standing.name);
        changes.is_empty = false;
        changes.has_epoch = true;
    }
    if (self->cursor - 1 > self->delivered_proposed) {
        changes.delivered = self->cursor - 1;
        pb_append_varint(out, ACKS_DELIVERED, changes.delivered);
        changes.is_empty = false;
    }
    changes.acked_last =
        changes_append(self, out, size_max, self->acked_new, acked_append, &changes);
    changes.tries_last =
        changes_append(self, out, size_max, self->tries_new, tries_append, &changes);
    changes.delayed_last =
        changes_append(self, out, size_max, self->delayed_new, delays_append, &changes);
    changes.deaths = deaths_encode(self, out, size_max);
    changes.is_empty = changes.is_empty && changes.deaths == 0;
    changes.is_all = changes.is_all && changes.deaths == self->deaths.news.size;
    *ret_changes = changes;
}

void group_changes_proposed(struct group *self, const struct group_changes *changes)
{
    INVARIANT(!changes->is_empty);
    ranges_clear_range(self->acked_new, 0, changes->acked_last);
    ranges_clear_range(self->tries_new, 0, changes->tries_last);
    if (changes->has_epoch) {
        self->exclusive.is_to_propose = false;
    }
    ranges_clear_range(self->delayed_new, 0, changes->delayed_last);
    self->delivered_proposed = max_u64(self->delivered_proposed, changes->delivered);
    deaths_proposed(self, changes->deaths, self->seek_new != 0);
    self->seek_new = 0;
    self->paused_new = false;
    self->proposed++;
}

void group_changes_applied(struct group *self)
{
    if (self->is_started && self->proposed > 0) {
        self->proposed--;
        exclusive_applied(self);
    }
}
