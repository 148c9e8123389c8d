/* group_state: floor, acknowledged ranges, attempt counters and delays of one group, and what may happen to them. Owns its maps and
 * copies of name and configuration. It must stay deterministic: no clock, no chance, no member, nothing but the entries
 * decides. */
#include "logd/group_state.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/pb.h"

void group_state_init(struct group_state *self, uint64_t id)
{
    *self = (struct group_state){
        .id = id,
        .name = mem_strdup(""),
        .acked = ranges_new(),
        .attempts = ranges_new(),
        .delayed = ranges_new(),
    };
    group_limits_default(&self->limits);
}

void group_state_release(struct group_state *self)
{
    ranges_destroy(&self->acked);
    ranges_destroy(&self->attempts);
    ranges_destroy(&self->delayed);
    buf_release(&self->spec);
    group_epoch_release(&self->epoch);
    group_dead_release(&self->dead);
    MEM_FREE(self->name);
}

/* --- configuration --- */

int group_state_configure(struct group_state *self, struct span name, struct span spec)
{
    if (!pb_is_text(name) || group_limits_read(spec, &self->limits) < 0) {
        return ERR_BAD_FORMAT;
    }
    MEM_FREE(self->name);
    self->name = mem_new(name.size + 1);
    if (name.size > 0) {
        memcpy(self->name, name.data, name.size);
    }
    buf_reset(&self->spec);
    buf_append(&self->spec, spec);
    return 0;
}

/* --- changes --- */

/* It has been delivered, whatever else is known. */
static void state_known(struct group_state *self, uint64_t offset)
{
    self->delivered = offset > self->delivered ? offset : self->delivered;
}

void group_state_ack(struct group_state *self, uint64_t first, uint64_t last)
{
    INVARIANT(first <= last);
    if (last <= self->floor) {
        return;
    }
    if (ranges_count(self->attempts) > 0) {
        ranges_clear_range(self->attempts, first, last);
    }
    if (ranges_count(self->delayed) > 0) {
        ranges_clear_range(self->delayed, first, last);
    }
    group_dead_acked(&self->dead, first, last);
    state_known(self, last);
    if (first > self->floor + 1) {
        ranges_set(self->acked, first, last, 0);
        return;
    }
    self->floor = last;
    struct range next;
    while (ranges_lowest(self->acked, &next) && next.first <= self->floor + 1) {
        self->floor = next.last > self->floor ? next.last : self->floor;
        ranges_clear_range(self->acked, next.first, next.last);
    }
}

/* Set it in `map` for what of [first, last] is not acknowledged. */
static void state_set_pending(struct group_state *self, struct ranges *map, uint64_t first,
                              uint64_t last, uint64_t value)
{
    uint64_t at = first > self->floor ? first : self->floor + 1;
    while (at <= last) {
        struct range acked;
        uint64_t until = last;
        if (ranges_find_from(self->acked, at, &acked) && acked.first <= last) {
            if (acked.first <= at) {
                at = acked.last + 1;
                continue;
            }
            until = acked.first - 1;
        }
        ranges_set(map, at, until, value);
        at = until + 1;
    }
}

void group_state_try(struct group_state *self, uint64_t first, uint64_t last,
                     struct group_tries tries)
{
    INVARIANT(first <= last);
    if (ranges_count(self->delayed) > 0) {
        ranges_clear_range(self->delayed, first, last);
    }
    state_set_pending(self, self->attempts, first, last, group_tries_pack(tries));
    state_known(self, last);
}

void group_state_delay(struct group_state *self, uint64_t first, uint64_t last, uint64_t due_ms)
{
    INVARIANT(first <= last);
    if (due_ms == 0) {
        ranges_clear_range(self->delayed, first, last);
        return;
    }
    state_set_pending(self, self->delayed, first, last, due_ms);
    state_known(self, last);
}

void group_state_seek(struct group_state *self, uint64_t floor)
{
    ranges_clear(self->acked);
    ranges_clear(self->attempts);
    ranges_clear(self->delayed);
    group_dead_seek(&self->dead, floor);
    self->floor = floor;
    self->delivered = floor;
}

uint64_t group_state_trim(struct group_state *self, uint64_t first_offset)
{
    INVARIANT(first_offset > 0);
    uint64_t last = first_offset - 1;
    if (last <= self->floor) {
        return 0;
    }
    uint64_t gap = 0;
    for (uint64_t at = self->floor + 1; at <= last;) {
        const struct group_grave *kept = group_graves_from(&self->dead.reopened, at);
        if (kept != NULL && kept->first <= at) {
            at = kept->last + 1;
            continue;
        }
        uint64_t until = kept != NULL && kept->first <= last ? kept->first - 1 : last;
        gap += until - at + 1 - ranges_clear_range(self->acked, at, until);
        group_state_ack(self, at, until);
        at = until + 1;
    }
    self->gap_records += gap;
    return gap;
}

/* Every range of the map is pending, and known to be delivered. */
static bool is_pending(const struct group_state *self, const struct ranges *map)
{
    struct range range;
    for (uint64_t at = 0; ranges_find_from(map, at, &range); at = range.last + 1) {
        struct range acked;
        if (range.first <= self->floor || range.last > self->delivered ||
            (ranges_find_from(self->acked, range.first, &acked) && acked.first <= range.last)) {
            return false;
        }
    }
    return true;
}

bool group_state_invariant(const struct group_state *self)
{
    struct range range;
    if (!ranges_invariant(self->acked) || !ranges_invariant(self->attempts) ||
        !ranges_invariant(self->delayed) || self->delivered < self->floor) {
        return false;
    }
    if (ranges_lowest(self->acked, &range) && range.first <= self->floor + 1) {
        return false;
    }
    if (ranges_highest(self->acked, &range) && range.last > self->delivered) {
        return false;
    }
    return is_pending(self, self->attempts) && is_pending(self, self->delayed) &&
           group_dead_invariant(self);
}
