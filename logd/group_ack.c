/* group_ack: what members say about messages they were given: acknowledged, failed, still at work. Ranges come from outside
 * and may be any numbers; work is bounded by what the group knows, never by the width of a range. */
#include "logd/group.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/wire/log.pb-c.h"
#include "logd/group_own.h"
#include "logd/planted.h"

void group_settle(struct group *self, uint64_t first, uint64_t last)
{
    if (ranges_count(self->tries) > 0) {
        ranges_clear_range(self->tries, first, last);
        ranges_clear_range(self->tries_new, first, last);
    }
    if (ranges_count(self->delayed_new) > 0) {
        ranges_clear_range(self->delayed_new, first, last);
    }
    if (first > self->floor + 1) {
        ranges_set(self->acked, first, last, 0);
        return;
    }
    INVARIANT(first == self->floor + 1); /* below the floor nothing is held */
    self->floor = last;
    struct range next;
    if (ranges_lowest(self->acked, &next) && next.first == self->floor + 1) {
        self->floor = next.last;
        ranges_clear_range(self->acked, next.first, next.last);
    }
}

/* Into the leader's view of what is acknowledged, and into what is to be proposed. */
static void group_accept(struct group *self, uint64_t first, uint64_t last)
{
    ranges_set(self->acked_new, first, last, 0);
    group_settle(self, first, last);
    deaths_acked(self, first, last);
}

void group_let_go(struct group *self, struct group_member *member, uint64_t first, uint64_t last)
{
    bool has_deadline = self->state.limits.ack_wait_ms != 0;
    uint64_t count = has_deadline
                         ? group_dues_clear_range(&member->deadlines, member->held, first, last)
                         : ranges_clear_range(member->held, first, last);
    INVARIANT(count == range_length(first, last));
    self->held -= count;
}

static uint32_t saturated(uint32_t count, uint32_t more)
{
    return count > UINT32_MAX - more ? UINT32_MAX : count + more;
}

void group_count_try(struct group *self, uint64_t first, uint64_t last, uint32_t attempt,
                     uint32_t failed)
{
    uint64_t at = first;
    while (at <= last) {
        uint64_t until;
        struct group_tries tries = group_tries_at(self, at, last, &until);
        tries.attempt = saturated(tries.attempt, PLANTED(ATTEMPT_STANDS) ? 0 : attempt);
        tries.failed = saturated(tries.failed, failed);
        ranges_set(self->tries, at, until, group_tries_pack(tries));
        at = until + 1;
    }
    ranges_set(self->tries_new, first, last, 0);
}

void group_make_ready(struct group *self, uint64_t first, uint64_t last, uint64_t due_ms,
                      uint64_t avoid)
{
    const uint64_t due_max = UINT64_MAX >> GROUP_AVOID_BITS;
    uint64_t value = min_u64(due_ms, due_max) << GROUP_AVOID_BITS | (avoid & GROUP_AVOID_MASK);
    ranges_set(self->ready, first, last, value);
    group_dues_note(&self->ready_dues, self->ready, first);
    group_head_moved(self);
}

void group_give_back(struct group *self, struct group_member *member, uint64_t first, uint64_t last,
                     bool count_failed, uint64_t avoid)
{
    group_let_go(self, member, first, last);
    if (!count_failed) {
        group_make_ready(self, first, last, self->real_ms, avoid);
        return;
    }
    group_count_try(self, first, last, 0, 1);
    for (uint64_t at = first; at <= last;) {
        bool dies;
        uint64_t until = deaths_part(self, at, last, 0, &dies);
        if (dies) {
            deaths_die(self, at, until, RAILGUN__DEAD__REASON__MAX_FAILED);
        } else {
            group_make_ready(self, at, until, self->real_ms, avoid);
        }
        at = until + 1;
    }
}

/* How far from `at` on things are as they are at `at`, in one map. */
static bool covers(const struct ranges *map, uint64_t at, uint64_t *until)
{
    struct range range;
    if (!ranges_find_from(map, at, &range)) {
        return false;
    }
    if (range.first <= at) {
        *until = min_u64(*until, range.last);
        return true;
    }
    *until = min_u64(*until, range.first - 1);
    return false;
}

/* Why the member does not hold [first, last]. */
static void group_explain(const struct group *self, uint64_t first, uint64_t last,
                          struct ack_results *results)
{
    uint64_t at = first;
    while (at <= last && !ack_results_is_full(results)) {
        uint64_t until = last;
        int error;
        if (at >= self->cursor) {
            error = ERR_NOT_DELIVERED;
        } else if (at <= self->floor) {
            until = min_u64(until, self->floor);
            error = ERR_ALREADY;
        } else {
            until = min_u64(until, self->cursor - 1);
            if (covers(self->acked, at, &until)) {
                error = ERR_ALREADY;
            } else if (covers(self->skipped, at, &until)) {
                error = ERR_NOT_DELIVERED;
            } else {
                error = ERR_STALE_DELIVERY; /* ready, or with somebody else */
            }
        }
        ack_results_add(results, at, until, error);
        if (until == UINT64_MAX) {
            return;
        }
        at = until + 1;
    }
    if (at <= last) {
        ack_results_add(results, at, last, ERR_OVERLOADED);
    }
}

/* What a member says, in one piece. */
struct saying {
    enum group_verb verb;
    const struct group_nack *nack; /* GROUP_DELAY */
};

static void group_do(struct group *self, struct group_member *member, const struct saying *saying,
                     uint64_t first, uint64_t last, struct ack_results *results)
{
    switch (saying->verb) {
    case GROUP_ACK:
        exclusive_check_ack(self, member);
        group_let_go(self, member, first, last);
        if (PLANTED(DEAD_ANYWAY) && self->state.limits.dlq.is_on && last % 128 == 0) {
            deaths_die(self, first, last, RAILGUN__DEAD__REASON__REJECTED);
            break;
        }
        group_accept(self, first, last);
        member->acked += range_length(first, last);
        break;
    case GROUP_NACK:
        group_give_back(self, member, first, last, true, member->number);
        break;
    case GROUP_RELEASE:
        group_give_back(self, member, first, last, false, member->number);
        break;
    case GROUP_DELAY:
        group_do_nack(self, member, saying->nack, first, last, results);
        break;
    case GROUP_EXTEND:
        if (self->state.limits.ack_wait_ms != 0) {
            group_hold(self, member, first, last);
        }
        break;
    case GROUP_REJECT:
        if (!self->state.limits.dlq.is_on) {
            ack_results_add(results, first, last, ERR_BAD_CONFIG);
            break;
        }
        group_let_go(self, member, first, last);
        deaths_die(self, first, last, RAILGUN__DEAD__REASON__REJECTED);
        break;
    }
}

static void group_handle(struct group *self, struct group_member *member,
                         const struct saying *saying, uint64_t first, uint64_t last,
                         struct ack_results *results)
{
    if (first == 0 || first > last) {
        ack_results_add(results, first, last, ERR_BAD_REQUEST);
        return;
    }
    bool is_return =
        saying->verb == GROUP_NACK || saying->verb == GROUP_RELEASE || saying->verb == GROUP_DELAY;
    bool is_nack = is_return || saying->verb == GROUP_REJECT;
    uint64_t returned =
        is_return ? exclusive_before_return(self, member, first, last) : self->cursor;
    if (saying->verb == GROUP_ACK) {
        exclusive_before_ack(self, member, first, last);
    }
    uint64_t at = first;
    struct range held;
    while (at <= last && ranges_find_from(member->held, at, &held) && held.first <= last) {
        uint64_t from = max_u64(at, held.first);
        uint64_t until = min_u64(last, held.last);
        if (from > at) {
            group_explain(self, at, from - 1, results);
        }
        group_do(self, member, saying, from, until, results);
        at = until + 1; /* held offsets end far below the end of numbers */
    }
    if (at <= last) {
        group_explain(self, at, last, results);
    }
    if (is_nack) { /* in strict order each is answered */
        exclusive_after_return(self, member, returned);
    }
    group_member_changed(self, member);
    INVARIANT_SLOW(group_invariant(self));
}

void group_handle_range(struct group *self, struct group_member *member, enum group_verb verb,
                        uint64_t first, uint64_t last, struct ack_results *results)
{
    INVARIANT(verb != GROUP_DELAY);
    if (PLANTED(ACK_TOO_MUCH) && verb == GROUP_ACK && last % 4 == 0) {
        last++;
    }
    group_handle(self, member, &(struct saying){.verb = verb}, first, last, results);
}

void group_handle_nack(struct group *self, struct group_member *member,
                       const struct group_nack *nack, uint64_t first, uint64_t last,
                       struct ack_results *results)
{
    if (nack->has_delay && nack->delay_ms > GROUP_DELAY_MS_MAX) {
        ack_results_add(results, first, last, ERR_BAD_REQUEST);
        exclusive_after_return(self, member, self->cursor);
        return;
    }
    struct saying saying = {.verb = GROUP_DELAY, .nack = nack};
    if (nack->has_delay ? nack->delay_ms == 0 : nack->no_count) {
        saying.verb = nack->no_count ? GROUP_RELEASE : GROUP_NACK;
    }
    group_handle(self, member, &saying, first, last, results);
}

void group_ack_up_to(struct group *self, struct group_member *member, uint64_t up_to)
{
    const struct saying saying = {.verb = GROUP_ACK};
    struct range held;
    while (ranges_lowest(member->held, &held) && held.first <= up_to) {
        group_do(self, member, &saying, held.first, min_u64(held.last, up_to), NULL);
    }
    group_member_changed(self, member);
    INVARIANT_SLOW(group_invariant(self));
}
