/* checker_groups: the rules about consumer groups: redelivery, delays, exclusive owners, dead letters, gaps. One pass over the events for each group. */
#include "tests/system/checker_private.h"

#include <inttypes.h>

#include "common/base/mem.h"

/* Due times are kept in milliseconds, and clocks of two processes are read at two moments. */
#define EARLY_NS UINT64_C(10000000)

/* --- what groups saw --- */

/* One offset in one group. */
struct turn {
    uint64_t delivered_ns; /* last; 0: never */
    uint64_t acked_ns;     /* 0: not */
    uint64_t posted_ns;
    uint32_t attempt;
    bool is_sync;
    bool is_nacked; /* since the last delivery */
    uint64_t nacked_ns;
    uint64_t due_ns;   /* of that nack; 0: at once */
    bool is_kept;      /* and it is durable */
    uint32_t session;  /* of the last delivery */
    uint32_t failures; /* nacks so far */
    bool is_asked;     /* an ack was sent */
    bool is_dead;
    bool is_buried; /* it will be dead at the end */
    bool is_gap;
};

/* Faults as intervals, in order. */
struct faults {
    struct {
        uint64_t begin_ns;
        uint64_t end_ns;
        uint64_t noticed_ns; /* the end, and the time it takes to be noticed */
    } * at;
    size_t count;
};

static void faults_collect(const struct checker *self, struct faults *faults)
{
    unsigned open = 0;
    faults->at = mem_new((self->event_count + 1) * sizeof(*faults->at));
    for (size_t i = 0; i < self->event_count; i++) {
        const struct event *event = &self->events[i];
        if (event->type == EVENT_FAULT_BEGAN && open++ == 0) {
            faults->at[faults->count].begin_ns = event->time_ns;
            faults->at[faults->count].end_ns = UINT64_MAX;
            faults->at[faults->count++].noticed_ns = UINT64_MAX;
        }
        if (event->type == EVENT_FAULT_ENDED && open > 0 && --open == 0) {
            faults->at[faults->count - 1].end_ns = event->time_ns;
            faults->at[faults->count - 1].noticed_ns =
                event->time_ns + self->options->fault_grace_ns;
        }
    }
}

/* Did a fault, with the time it takes to be noticed, touch [from, to]? */
static bool faults_touch(const struct faults *faults, uint64_t from_ns, uint64_t to_ns)
{
    for (size_t i = faults->count; i > 0; i--) {
        if (faults->at[i - 1].begin_ns <= to_ns && faults->at[i - 1].noticed_ns >= from_ns) {
            return true;
        }
    }
    return false;
}

/* Was one under way in [from, to]? What is answered then was done before it struck. */
static bool faults_strike(const struct faults *faults, uint64_t from_ns, uint64_t to_ns)
{
    for (size_t i = faults->count; i > 0; i--) {
        if (faults->at[i - 1].begin_ns <= to_ns && faults->at[i - 1].end_ns >= from_ns) {
            return true;
        }
    }
    return false;
}

/* An ack that is not durable may be lost by a fault. And who had a message before a fault may acknowledge it behind it, when it is on its way to somebody
 * again: that one sees it when he looks. */
static bool ack_is_forgivable(const struct checker *self, const struct faults *faults,
                              const struct turn *turn, uint64_t again_ns)
{
    if (again_ns < turn->acked_ns + self->options->ack_settle_ns &&
        faults_touch(faults, turn->delivered_ns, turn->acked_ns - 1)) {
        return true;
    }
    return !turn->is_sync &&
           faults_strike(faults, turn->acked_ns, turn->acked_ns + self->options->ack_window_ns);
}

/* A nacked message does not come before it is due, nor much later. A nack of which no answer came may have got lost. */
static void check_delay(struct checker *self, const struct faults *faults, const struct turn *turn,
                        const struct event *event)
{
    if (!turn->is_nacked || turn->due_ns == 0) {
        return;
    }
    bool is_sure = turn->is_kept || !faults_touch(faults, turn->nacked_ns, event->time_ns);
    if (is_sure && event->time_ns + EARLY_NS < turn->due_ns) {
        violated(self, RULE_TOO_EARLY, "offset %" PRIu64 " to group %u, %" PRIu64 " ms too early",
                 event->offset, event->group, (turn->due_ns - event->time_ns) / 1000000);
    }
    if (event->time_ns > turn->due_ns + self->options->late_ns &&
        !faults_touch(faults, turn->nacked_ns, event->time_ns)) {
        violated(self, RULE_TOO_LATE, "offset %" PRIu64 " to group %u, %" PRIu64 " ms too late",
                 event->offset, event->group, (event->time_ns - turn->due_ns) / 1000000);
    }
}

static void check_delivery(struct checker *self, const struct faults *faults, struct turn *turn,
                           const struct event *event)
{
    uint64_t settle_ns = self->options->ack_settle_ns;
    bool disturbed = faults_touch(faults, turn->delivered_ns, event->time_ns);
    if (disturbed && turn->delivered_ns != 0 && event->session != turn->session &&
        event->attempt <= turn->attempt) {
        return; /* it had come before the fault, and who got it was slow to look */
    }
    if (turn->acked_ns != 0 && !ack_is_forgivable(self, faults, turn, event->time_ns)) {
        violated(self, RULE_ACKED_REDELIVERY,
                 "offset %" PRIu64 " to group %u, %" PRIu64 " us after its %sack", event->offset,
                 event->group, (event->time_ns - turn->acked_ns) / 1000,
                 turn->is_sync ? "sync " : "");
    } else if (turn->acked_ns == 0 && turn->posted_ns != 0 &&
               event->time_ns > turn->posted_ns + settle_ns &&
               !faults_touch(faults, turn->posted_ns, turn->posted_ns + settle_ns)) {
        violated(self, RULE_ACKED_REDELIVERY,
                 "offset %" PRIu64 " to group %u, %" PRIu64 " us after its posted ack",
                 event->offset, event->group, (event->time_ns - turn->posted_ns) / 1000);
    }
    if (turn->delivered_ns != 0 && !turn->is_nacked && !disturbed) {
        violated(self, RULE_UNPROVOKED, "offset %" PRIu64 " to group %u, attempt %u", event->offset,
                 event->group, event->attempt);
    }
    if (event->attempt == 0 || (!disturbed && event->attempt != turn->attempt + 1)) {
        violated(self, RULE_WRONG_ATTEMPT,
                 "offset %" PRIu64 " to group %u: attempt %u after attempt %u", event->offset,
                 event->group, event->attempt, turn->attempt);
    }
    check_delay(self, faults, turn, event);
    *turn = (struct turn){.delivered_ns = event->time_ns,
                          .attempt = event->attempt,
                          .session = event->session,
                          .failures = turn->failures,
                          .is_buried = turn->is_buried,
                          .is_asked = turn->is_asked};
}

/* --- dead letters --- */

static void check_death(struct checker *self, struct turn *turn, const struct event *event,
                        uint32_t max_failed)
{
    if (turn->is_dead) {
        violated(self, RULE_DEAD_TWICE, "offset %" PRIu64 " of group %u", event->offset,
                 event->group);
    }
    turn->is_dead = true;
    if (turn->acked_ns != 0 && turn->is_sync) {
        violated(self, RULE_DEAD_AND_ACKED, "offset %" PRIu64 " of group %u", event->offset,
                 event->group);
    }
    if (turn->failures < max_failed) {
        violated(self, RULE_DEAD_TOO_SOON, "offset %" PRIu64 " of group %u: %u failures of %u",
                 event->offset, event->group, turn->failures, max_failed);
    }
    size_t count = 0;
    const struct sight *sights = find_sights(self, event->value, &count);
    bool is_there = false;
    for (size_t i = 0; i < count; i++) {
        is_there = is_there || sights[i].offset == event->offset;
    }
    if (!event->is_intact || (!is_there && !self->options->may_trim)) {
        violated(self, RULE_DEAD_PAYLOAD, "offset %" PRIu64 " of group %u: value %" PRIx64,
                 event->offset, event->group, event->value);
    }
}

/* --- exclusive groups --- */

enum { EPOCHS_MAX = 4096 };

struct epoch {
    uint64_t number;
    uint32_t session; /* its owner */
    uint64_t seen_ns; /* first delivery */
};

/* What is known of an exclusive group on the way through its events. */
struct owners {
    struct epoch epochs[EPOCHS_MAX];
    size_t count;
    uint64_t last_offset; /* delivered last in the newest epoch */
    bool may_go_back;     /* a fault, or a new epoch */
};

static struct epoch *owners_find(struct owners *self, uint64_t number)
{
    for (size_t i = self->count; i > 0; i--) {
        if (self->epochs[i - 1].number == number) {
            return &self->epochs[i - 1];
        }
    }
    return NULL;
}

static void check_owner(struct checker *self, struct owners *owners, const struct turn *turns,
                        const struct event *event, bool is_strict)
{
    struct epoch *epoch = owners_find(owners, event->epoch);
    if (epoch == NULL && owners->count < EPOCHS_MAX) {
        owners->epochs[owners->count++] =
            (struct epoch){event->epoch, event->session, event->time_ns};
        owners->may_go_back = true;
    } else if (epoch != NULL && epoch->session != event->session) {
        violated(self, RULE_TWO_OWNERS, "epoch %" PRIu64 " of group %u: sessions %x and %x",
                 event->epoch, event->group, epoch->session, event->session);
    }
    for (size_t i = 0; i < owners->count; i++) {
        if (owners->epochs[i].number > event->epoch) {
            return; /* of an epoch that is over: it was on its way */
        }
    }
    uint64_t wanted = owners->last_offset + 1;
    while (wanted < event->offset && turns[wanted].is_buried) {
        wanted++;
    }
    if (is_strict && owners->last_offset != 0 && event->offset != wanted &&
        !(owners->may_go_back && event->offset <= owners->last_offset)) {
        violated(self, RULE_ORDER_IN_GROUP,
                 "group %u, epoch %" PRIu64 ": offset %" PRIu64 " after %" PRIu64, event->group,
                 event->epoch, event->offset, owners->last_offset);
    }
    owners->may_go_back = false;
    owners->last_offset = event->offset;
}

/* Nobody may be told ok who asked after he was replaced. */
static void check_stale_ack(struct checker *self, const struct owners *owners,
                            const struct event *event)
{
    for (size_t i = 0; i < owners->count; i++) {
        if (owners->epochs[i].number > event->epoch &&
            owners->epochs[i].seen_ns < event->began_ns) {
            violated(self, RULE_STALE_ACK,
                     "offset %" PRIu64 " of group %u, epoch %" PRIu64 " after epoch %" PRIu64,
                     event->offset, event->group, event->epoch, owners->epochs[i].number);
            return;
        }
    }
}

/* --- one group --- */

static const struct group_facts *facts_of(const struct checker *self, uint32_t group)
{
    static const struct group_facts none;
    size_t count = 0;
    const struct group_facts *facts = history_groups(self->history, &count);
    for (size_t i = 0; i < count; i++) {
        if (facts[i].group == group) {
            return &facts[i];
        }
    }
    return &none;
}

static void check_gap(struct checker *self, struct turn *turns, const struct event *event)
{
    for (uint64_t o = event->offset; o <= event->value && o <= self->offset_max; o++) {
        turns[o].is_gap = true;
    }
    if (self->final_first != 0 && event->value >= self->final_first) {
        violated(self, RULE_FALSE_GAP,
                 "group %u passed over %" PRIu64 " to %" PRIu64 ", the stream begins at %" PRIu64,
                 event->group, event->offset, event->value, self->final_first);
    }
}

/* After the end: what was to come has come, and nothing was settled by itself. */
static void check_drained(struct checker *self, const struct turn *turns,
                          const struct drained *drained, bool has_begun)
{
    for (uint64_t o = drained->first; o <= drained->last; o++) {
        /* Whom a gap was told may have died since: what is gone in the end is excused, too. */
        bool is_excused = (o <= self->offset_max && turns[o].is_gap) ||
                          (self->options->may_trim && o < self->final_first);
        if (!is_excused && (o > self->offset_max || turns[o].delivered_ns == 0)) {
            violated(self, RULE_CURSOR_SKIP, "offset %" PRIu64 " never came to group %u", o,
                     drained->group);
        } else if (has_begun && !is_excused && !turns[o].is_asked && !turns[o].is_dead) {
            violated(self, RULE_SETTLED_UNASKED, "offset %" PRIu64 " of group %u", o,
                     drained->group);
        }
    }
}

/* Has another taken over, as was seen by now? What was on its way to the old owner means nothing any more, and what he says is refused. */
static bool owners_are_past(const struct owners *self, const struct event *event)
{
    for (size_t i = 0; i < self->count; i++) {
        if (event->epoch != 0 && self->epochs[i].number > event->epoch) {
            return true;
        }
    }
    return false;
}

/* A strict group begins again there. */
static void owners_rewound(struct owners *owners, struct turn *turns, const struct event *event)
{
    if (owners_are_past(owners, event)) {
        return;
    }
    for (uint64_t o = event->offset; o <= owners->last_offset; o++) {
        turns[o].due_ns = turns[o].is_nacked ? turns[o].due_ns : 0;
        turns[o].is_nacked = true;
    }
    if (event->offset <= owners->last_offset) {
        owners->last_offset = event->offset - 1;
    }
}

static void turn_nacked(struct turn *turn, const struct event *event)
{
    turn->is_nacked = true;
    turn->nacked_ns = event->time_ns;
    turn->due_ns = event->due_ns;
    turn->is_kept = false;
    turn->failures++;
}

static void check_group(struct checker *self, const struct faults *faults, uint32_t group)
{
    struct turn *turns = mem_new((self->offset_max + 1) * sizeof(*turns));
    struct owners *owners = mem_new(sizeof(*owners));
    const struct group_facts *facts = facts_of(self, group);
    bool has_begun = false; /* every ack was noted before it was sent */
    for (size_t i = 0; i < self->event_count; i++) {
        const struct event *event = &self->events[i];
        if (event->type == EVENT_DEAD && event->group == group) {
            turns[event->offset].is_buried = true;
        }
    }
    for (size_t i = 0; i < self->event_count; i++) {
        const struct event *event = &self->events[i];
        struct turn *turn = &turns[event->offset];
        if (event->group != group) {
            owners->may_go_back = owners->may_go_back || event->type == EVENT_FAULT_BEGAN;
            continue;
        }
        if (event->type == EVENT_DELIVERED) {
            bool is_past = owners_are_past(owners, event);
            if (!is_past) {
                check_delivery(self, faults, turn, event);
            }
            if (event->epoch != 0) {
                check_owner(self, owners, turns, event, facts->is_strict);
            }
        } else if (event->type == EVENT_ACKED) {
            turn->acked_ns = event->time_ns;
            turn->is_sync = event->is_sync;
            if (event->epoch != 0) {
                check_stale_ack(self, owners, event);
            }
        } else if (event->type == EVENT_ACK_POSTED) {
            turn->posted_ns = event->time_ns;
        } else if (event->type == EVENT_NACKED) {
            turn_nacked(turn, event);
        } else if (event->type == EVENT_REWOUND) {
            owners_rewound(owners, turns, event);
        } else if (event->type == EVENT_NACK_KEPT) {
            turn->is_kept = turn->is_nacked;
        } else if (event->type == EVENT_ACK_BEGAN) {
            turn->is_asked = true;
            has_begun = true;
        } else if (event->type == EVENT_DEAD) {
            check_death(self, turn, event, facts->max_failed);
        } else if (event->type == EVENT_GAP) {
            check_gap(self, turns, event);
        }
    }
    size_t count = 0;
    const struct drained *drained = history_drained_list(self->history, &count);
    for (size_t i = 0; i < count; i++) {
        if (drained[i].group == group) {
            check_drained(self, turns, &drained[i], has_begun);
        }
    }
    mem_free(owners);
    mem_free(turns);
}

void checker_groups(struct checker *self)
{
    struct faults faults = {0};
    uint32_t group_max = 0;
    size_t count = 0;
    const struct drained *drained = history_drained_list(self->history, &count);
    for (size_t i = 0; i < self->event_count; i++) {
        group_max = self->events[i].group > group_max ? self->events[i].group : group_max;
    }
    for (size_t i = 0; i < count; i++) {
        group_max = drained[i].group > group_max ? drained[i].group : group_max;
    }
    faults_collect(self, &faults);
    for (uint32_t group = 1; group <= group_max; group++) {
        check_group(self, &faults, group);
    }
    mem_free(faults.at);
}
