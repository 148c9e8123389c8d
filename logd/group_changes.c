/* group_changes: what was accepted from members and is to become an entry of the stream's log. */
#include "logd/group.h"

#include "common/base/invariant.h"
#include "common/wire/pb.h"
#include "logd/group_own.h"

enum {
    ACKS_GROUP_ID = 1,
    ACKS_ACKED = 2,
    ACKS_ATTEMPTS = 3,
    ACKS_EPOCH = 10,
};

bool group_has_changes(const struct group *self)
{
    return group_changes_count(self) > 0;
}

size_t group_changes_count(const struct group *self)
{
    return self->is_started ? ranges_count(self->acked_new) + ranges_count(self->tries_new) +
                                  (self->exclusive.is_to_propose ? 1 : 0)
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

void group_changes_encode(const struct group *self, struct buf *out, size_t bytes_max,
                          struct group_changes *ret_changes)
{
    struct group_changes changes = {.is_empty = true, .is_all = true};
    size_t size_max = out->size + bytes_max;
    struct range range;
    pb_append_varint(out, ACKS_GROUP_ID, self->state.id);
    for (uint64_t at = 0; ranges_find_from(self->acked_new, at, &range); at = range.last + 1) {
        if (out->size >= size_max) {
            changes.is_all = false;
            break;
        }
        group_range_append(out, ACKS_ACKED, range.first, range.last);
        changes.is_empty = false;
        changes.acked_last = range.last;
    }
    for (uint64_t at = 0; ranges_find_from(self->tries_new, at, &range); at = range.last + 1) {
        if (out->size >= size_max) {
            changes.is_all = false;
            break;
        }
        tries_append(self, out, range.first, range.last);
        changes.is_empty = false;
        changes.tries_last = range.last;
    }
    if (self->exclusive.is_to_propose) {
        group_epoch_append(out, ACKS_EPOCH, self->exclusive.epoch,
                           self->exclusive.chosen->standing.name);
        changes.is_empty = false;
        changes.has_epoch = true;
    }
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
    self->proposed++;
}

void group_changes_applied(struct group *self)
{
    if (self->is_started && self->proposed > 0) {
        self->proposed--;
        exclusive_applied(self);
    }
}
