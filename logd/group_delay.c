/* group_delay: messages that come back and wait: how long, how many, and until when. Due times are real time, decided once and replicated; so a delay
 * outlives members, leaders and crashes. */
#include "logd/group.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/wire/log.pb-c.h"
#include "logd/group_own.h"
#include "logd/planted.h"

enum { DELAYED_LATE_MS = 1000 }; /* the real clock may be set: it is looked at so often */

/* The back-off after so many failures, with jitter. */
static uint64_t backoff_ms(struct group *self, uint32_t failed)
{
    const struct group_limits *limits = &self->state.limits;
    uint32_t step = failed == 0 ? 0 : failed - 1;
    step = step < limits->backoff_count ? step : limits->backoff_count - 1;
    uint64_t delay_ms = limits->backoff_ms[step];
    uint64_t spread = delay_ms * limits->jitter_percent / 100;
    if (spread > 0) {
        delay_ms = delay_ms - spread + prng_below(&self->prng, 2 * spread + 1);
    }
    return delay_ms;
}

static void group_delay(struct group *self, struct group_member *member, bool count_failed,
                        uint64_t first, uint64_t last, uint64_t due_ms)
{
    group_let_go(self, member, first, last);
    if (count_failed) {
        group_count_try(self, first, last, 0, 1);
    }
    ranges_set(self->delayed, first, last, due_ms);
    group_dues_note(&self->delayed_dues, self->delayed, first);
    ranges_set(self->delayed_new, first, last, 0);
}

void group_do_nack(struct group *self, struct group_member *member, const struct group_nack *nack,
                   uint64_t first, uint64_t last, struct ack_results *results)
{
    uint64_t known = ranges_total(self->delayed);
    uint64_t most = self->state.limits.delayed_max;
    uint64_t room = known < most ? most - known : 0;
    uint64_t at = first;
    while (at <= last && room > 0) {
        uint64_t until = last;
        uint64_t delay_ms = nack->delay_ms;
        bool dies = false;
        if (!nack->no_count) {
            until = deaths_part(self, at, last, 1, &dies);
        }
        if (dies) {
            group_let_go(self, member, at, until);
            group_count_try(self, at, until, 0, 1);
            deaths_die(self, at, until, RAILGUN__DEAD__REASON__MAX_FAILED);
            at = until + 1;
            continue;
        }
        if (!nack->has_delay) {
            struct group_tries tries = group_tries_at(self, at, until, &until);
            delay_ms = backoff_ms(self, tries.failed < UINT32_MAX ? tries.failed + 1 : UINT32_MAX);
        }
        until = min_u64(until, at + room - 1);
        if (delay_ms == 0 || PLANTED(DELAY_NONE)) { /* a back-off of nothing */
            group_give_back(self, member, at, until, !nack->no_count, member->number);
        } else {
            group_delay(self, member, !nack->no_count, at, until, self->real_ms + delay_ms);
            room -= range_length(at, until);
        }
        at = until + 1;
    }
    if (at <= last) {
        ack_results_add(results, at, last, ERR_DELAY_FULL);
    }
}

/* Some at a time: a million may be due at once, and nobody can take so many. */
static void group_ripen(struct group *self)
{
    struct range range;
    for (unsigned i = 0;
         i < GROUP_RIPEN_MAX && group_dues_next(&self->delayed_dues, self->delayed, &range) &&
         range.value + (PLANTED(DELAY_LONG) ? 2000 : 0) <= self->real_ms;
         i++) {
        group_dues_clear_range(&self->delayed_dues, self->delayed, range.first, range.last);
        group_make_ready(self, range.first, range.last, range.value, 0);
    }
}

void group_tick(struct group *self, uint64_t real_ms, uint64_t now_ms)
{
    self->real_ms = real_ms;
    self->now_ms = now_ms;
    if (self->is_started && ranges_count(self->delayed) > 0) {
        group_ripen(self);
        INVARIANT_SLOW(group_check(self));
    }
}

uint64_t group_next_ms(struct group *self)
{
    struct range range;
    uint64_t at_ms = self->is_started ? self->deadline_ms : UINT64_MAX;
    if (self->is_started && group_dues_next(&self->delayed_dues, self->delayed, &range)) {
        uint64_t wait_ms = range.value > self->real_ms ? range.value - self->real_ms : 1;
        at_ms = min_u64(at_ms, self->now_ms + min_u64(wait_ms, DELAYED_LATE_MS));
    }
    return at_ms;
}
