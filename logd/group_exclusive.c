/* group_exclusive: who is active, and what strict order adds to acknowledgements. Owns no member. It must never let a second member hold anything, nor
 * give anything to one whose epoch is not committed. */
#include "logd/group_exclusive.h"

#include "common/base/invariant.h"
#include "logd/group_own.h"
#include "logd/planted.h"

/* --- news --- */

static void news_put(struct group *self, struct group_member *member)
{
    if (!list_is_linked(&member->standing.of_news)) {
        list_push_back(&self->exclusive.news, &member->standing.of_news);
    }
}

static void news_role(struct group *self, struct group_member *member)
{
    member->standing.tell_role = true;
    news_put(self, member);
}

struct group_member *group_news_first(const struct group *self)
{
    return list_is_empty(&self->exclusive.news)
               ? NULL
               : LIST_ENTRY(self->exclusive.news.next, struct group_member, standing.of_news);
}

void group_told(struct group *self, struct group_member *member)
{
    (void) self;
    member->standing.tell_role = false;
    member->standing.rewound = 0;
    list_remove(&member->standing.of_news);
}

void group_news_later(struct group *self, struct group_member *member)
{
    list_remove(&member->standing.of_news);
    list_push_back(&self->exclusive.news, &member->standing.of_news);
}

/* --- who is active --- */

bool group_member_is_active(const struct group *self, const struct group_member *member)
{
    return self->exclusive.is_active && self->exclusive.chosen == member;
}

bool group_member_is_chosen(const struct group *self, const struct group_member *member)
{
    return self->exclusive.chosen == member;
}

bool group_is_fenced(const struct group *self, const struct group_member *member, uint64_t epoch)
{
    return self->exclusive.is_on && (!group_member_is_active(self, member) ||
                                     (epoch != 0 && epoch != member->standing.epoch));
}

void exclusive_start(struct group *self)
{
    struct group_exclusive *exclusive = &self->exclusive;
    INVARIANT(exclusive->chosen == NULL);
    exclusive->is_on = self->state.limits.is_exclusive;
    exclusive->epoch = max_u64(exclusive->epoch, self->state.epoch.epoch);
    exclusive->is_to_propose = false;
    exclusive->is_begun = false;
    exclusive->order_next = 0;
}

void exclusive_join(struct group *self, struct group_member *member)
{
    member->standing = (struct group_standing){.rank = ++self->exclusive.rank_last};
    list_init(&member->standing.of_news);
    if (self->exclusive.is_on) {
        news_role(self, member);
    }
}

void group_member_set_standing(struct group *self, struct group_member *member, uint32_t priority,
                               struct span name)
{
    (void) self;
    member->standing.priority = priority;
    member->standing.name = name;
}

static void exclusive_vacate(struct group *self)
{
    self->exclusive.chosen = NULL;
    self->exclusive.is_active = false;
    self->exclusive.is_to_propose = false;
}

void exclusive_leave(struct group *self, struct group_member *member)
{
    list_remove(&member->standing.of_news);
    if (self->exclusive.chosen == member) {
        exclusive_vacate(self);
    }
}

static bool is_before(const struct group_standing *one, const struct group_standing *other)
{
    if (one->is_put_back != other->is_put_back) {
        return !one->is_put_back;
    }
    if (one->priority != other->priority) {
        return one->priority > other->priority;
    }
    return one->rank < other->rank;
}

bool group_choose_active(struct group *self)
{
    struct group_exclusive *exclusive = &self->exclusive;
    struct group_member *best = NULL;
    if (!self->is_started || !exclusive->is_on || exclusive->chosen != NULL) {
        return false;
    }
    for (struct group_member *member = group_member_next(self, NULL); member != NULL;
         member = group_member_next(self, member)) {
        if (!member->is_draining &&
            (best == NULL || is_before(&member->standing, &best->standing))) {
            best = member;
        }
    }
    if (best == NULL) {
        return false;
    }
    exclusive->chosen = best;
    exclusive->epoch = max_u64(exclusive->epoch, self->state.epoch.epoch);
    exclusive->epoch += PLANTED(EPOCH_STANDS) && exclusive->epoch != 0 ? 0 : 1;
    exclusive->is_to_propose = true;
    best->standing.epoch = exclusive->epoch;
    best->standing.is_put_back = false;
    return true;
}

void exclusive_applied(struct group *self)
{
    struct group_exclusive *exclusive = &self->exclusive;
    if (exclusive->chosen == NULL || exclusive->is_active ||
        self->state.epoch.epoch != exclusive->epoch) {
        return;
    }
    exclusive->is_active = true;
    exclusive->is_begun = true;
    exclusive->order_next = self->floor + 1;
    news_role(self, exclusive->chosen);
    group_member_changed(self, exclusive->chosen);
}

bool group_epoch_began(struct group *self)
{
    bool is_begun = self->exclusive.is_begun;
    self->exclusive.is_begun = false;
    return is_begun;
}

/* All it holds is ready, not counted. */
static void give_back_from(struct group *self, struct group_member *member, uint64_t first)
{
    struct range held;
    while (ranges_find_from(member->held, first, &held)) {
        group_give_back(self, member, max_u64(first, held.first), held.last, false, 0);
    }
}

bool group_put_back(struct group *self, struct group_member *member)
{
    if (self->exclusive.chosen != member) {
        return false;
    }
    give_back_from(self, member, 0);
    exclusive_vacate(self);
    member->standing.is_put_back = true;
    member->standing.rank = ++self->exclusive.rank_last;
    member->standing.rewound = 0; /* a standby has nothing anyway */
    news_role(self, member);
    group_member_changed(self, member);
    INVARIANT_SLOW(group_invariant(self));
    return true;
}

/* A group becomes exclusive, or is so no more: whoever holds something gives it back, and all begin anew. */
void exclusive_reconfigured(struct group *self)
{
    bool is_on = self->state.limits.is_exclusive;
    self->exclusive.order_next = 0; /* the order may be another */
    if (!self->is_started || self->exclusive.is_on == is_on) {
        return;
    }
    exclusive_vacate(self);
    self->exclusive.is_on = is_on;
    for (struct group_member *member = group_member_next(self, NULL); member != NULL;
         member = group_member_next(self, member)) {
        if (is_on) {
            give_back_from(self, member, 0);
            news_role(self, member);
        }
    }
}

/* --- strict order --- */

bool exclusive_is_strict(const struct group *self)
{
    return self->exclusive.is_on && !self->state.limits.is_relaxed;
}

bool exclusive_waits(const struct group *self)
{
    struct range delayed;
    struct range ready;
    return exclusive_is_strict(self) && ranges_lowest(self->delayed, &delayed) &&
           (!ranges_lowest(self->ready, &ready) || delayed.first < ready.first);
}

bool exclusive_is_able(const struct group *self, const struct group_member *member)
{
    if (!self->exclusive.is_on) {
        return true;
    }
    return group_member_is_active(self, member) &&
           (self->state.limits.is_relaxed || ranges_total(member->held) < member->standing.window);
}

uint64_t exclusive_cut(const struct group *self, const struct group_member *member, uint64_t count)
{
    return exclusive_is_strict(self)
               ? min_u64(count, member->standing.window - ranges_total(member->held))
               : count;
}

void exclusive_granted(struct group_member *member)
{
    member->standing.window = max_u64(member->standing.window, member->credit_messages);
}

void exclusive_before_ack(struct group *self, struct group_member *member, uint64_t first,
                          uint64_t last)
{
    struct range held;
    if (exclusive_is_strict(self) && first > 1 && ranges_find_from(member->held, first, &held) &&
        held.first <= last) {
        group_ack_up_to(self, member, first - 1);
    }
}

uint64_t exclusive_before_return(const struct group *self, const struct group_member *member,
                                 uint64_t first, uint64_t last)
{
    struct range held;
    if (!exclusive_is_strict(self)) {
        return 0;
    }
    bool is_held = ranges_find_from(member->held, first, &held) && held.first <= last;
    return is_held ? max_u64(first, held.first) : self->cursor;
}

void exclusive_after_return(struct group *self, struct group_member *member, uint64_t from)
{
    struct range held;
    struct group_standing *standing = &member->standing;
    if (!exclusive_is_strict(self) || PLANTED(NO_REWIND)) {
        return;
    }
    if (ranges_find(member->held, from, &held)) {
        from = self->cursor; /* it was refused: nothing came back */
    }
    give_back_from(self, member, from);
    standing->rewound = standing->rewound == 0 ? from : min_u64(standing->rewound, from);
    self->exclusive.order_next = min_u64(self->exclusive.order_next, from);
    news_put(self, member);
}

/* --- checks --- */

void exclusive_check_delivery(struct group *self, const struct group_member *member, uint64_t first,
                              uint64_t last)
{
    struct group_exclusive *exclusive = &self->exclusive;
    struct range ready;
    if (!exclusive->is_on) {
        return;
    }
    if (!group_member_is_active(self, member)) {
        exclusive->faults++;
    }
    if (exclusive_is_strict(self)) {
        if (first < exclusive->order_next ||
            (ranges_lowest(self->ready, &ready) && ready.first < first) ||
            (ranges_lowest(self->delayed, &ready) && ready.first < first)) {
            exclusive->faults++;
        }
        exclusive->order_next = last + 1;
    }
}

void exclusive_check_ack(struct group *self, const struct group_member *member)
{
    if (self->exclusive.is_on && !group_member_is_active(self, member)) {
        self->exclusive.faults++;
    }
}

uint64_t group_exclusive_faults(struct group *self)
{
    uint64_t faults = self->exclusive.faults;
    self->exclusive.faults = 0;
    return faults;
}

bool exclusive_check(const struct group *self)
{
    const struct group_exclusive *exclusive = &self->exclusive;
    if (!exclusive->is_on) {
        return exclusive->chosen == NULL;
    }
    uint64_t held = exclusive->is_active ? ranges_total(exclusive->chosen->held) : 0;
    return held == self->held && self->state.epoch.epoch <= exclusive->epoch &&
           (!exclusive->is_active || self->state.epoch.epoch == exclusive->epoch);
}
