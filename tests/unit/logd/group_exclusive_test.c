/* An exclusive group: direct tests, and a random walk against a model: one valid owner at a time, epochs that rise, and in strict order deliveries
 * without a gap and without a step back that nobody asked for. A failure prints the seed. */
#include "logd/group.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/base/rand.h"
#include "common/wire/client.pb-c.h"
#include "tests/lib/test.h"

#define AGREE(fact)                                                                                \
    do {                                                                                           \
        if (!(fact)) {                                                                             \
            ck_abort_msg("not so: %s", #fact);                                                     \
        }                                                                                          \
    } while (0)

enum { ID = 3, MEMBERS = 4, OFFSETS = 400, STEPS = 3000, QUEUE = 16 };

static struct group *group_made(bool is_relaxed)
{
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    spec.has_mode = spec.has_order = 1;
    spec.mode = RAILGUN__GROUP_SPEC__MODE__MODE_EXCLUSIVE;
    spec.order = is_relaxed ? RAILGUN__GROUP_SPEC__ORDER__ORDER_RELAXED
                            : RAILGUN__GROUP_SPEC__ORDER__ORDER_STRICT;
    uint8_t bytes[64];
    size_t size = railgun__group_spec__pack(&spec, bytes);
    struct group_state state;
    group_state_init(&state, ID);
    AGREE(group_state_configure(&state, span_of("g"), span_make(bytes, size)) == 0);
    return group_new(&state);
}

static void join(struct group *group, struct group_member *member, uint64_t number,
                 uint32_t priority)
{
    group_join(group, member, number);
    group_member_set_standing(group, member, priority, span_of("me"));
    group_grant(group, member, 10, 1 << 20);
}

/* Everything accepted is proposed, committed and applied. */
static void settle(struct group *group)
{
    (void) group_choose_active(group);
    while (group_has_changes(group)) {
        struct group_changes changes;
        struct buf entry = {0};
        uint64_t id;
        group_changes_encode(group, &entry, 4096, &changes);
        group_changes_proposed(group, &changes);
        ck_assert_int_eq(group_state_check_acks(buf_span(&entry), &id), 0);
        group_state_apply_acks(group_replicated(group), buf_span(&entry));
        group_changes_applied(group);
        buf_release(&entry);
    }
}

/* Deliver up to `count` from what is next; returns the first offset, 0: nothing. */
static uint64_t deliver(struct group *group, uint64_t end, const struct group_member *to,
                        uint32_t count, uint32_t *ret_count)
{
    struct group_page page;
    if (!group_next(group, end, &page)) {
        return 0;
    }
    count = count < page.records_max ? count : page.records_max;
    ck_assert_ptr_eq(page.member, to);
    ck_assert(group_page_fits(group, &page, count, count));
    group_delivered(group, &page, count, count);
    *ret_count = count;
    return page.first;
}

static void expect_deliver(struct group *group, uint64_t end, const struct group_member *to,
                           uint64_t first, uint32_t count)
{
    uint32_t got = 0;
    ck_assert_uint_eq(deliver(group, end, to, count, &got), first);
    ck_assert_uint_eq(got, count);
    ck_assert_uint_eq(group_exclusive_faults(group), 0);
}

static void expect_no_deliver(struct group *group, uint64_t end)
{
    struct group_page page;
    ck_assert(!group_next(group, end, &page));
}

TEST(nobody_gets_anything_before_the_epoch_is_applied)
{
    struct group *group = group_made(false);
    struct group_member one;
    struct group_member two;
    join(group, &one, 1, 0);
    join(group, &two, 2, 0);
    expect_no_deliver(group, 10);
    ck_assert(group_choose_active(group));
    ck_assert(!group_choose_active(group)); /* once */
    expect_no_deliver(group, 10);
    ck_assert(group_is_fenced(group, &one, 0));
    settle(group);
    ck_assert(group_epoch_began(group));
    ck_assert(!group_epoch_began(group));
    ck_assert(group_member_is_active(group, &one));
    ck_assert_uint_eq(group_replicated(group)->epoch.epoch, 1);
    ck_assert(span_is(buf_span(&group_replicated(group)->epoch.owner), "me"));
    expect_deliver(group, 10, &one, 1, 9);
    ck_assert(!group_is_fenced(group, &one, 0));
    ck_assert(!group_is_fenced(group, &one, 1));
    ck_assert(group_is_fenced(group, &one, 2));
    ck_assert(group_is_fenced(group, &two, 0));
    ck_assert(group_is_fenced(group, &two, 1));
    group_leave(group, &one, true);
    settle(group);
    ck_assert_uint_eq(group_replicated(group)->epoch.epoch, 2);
    expect_deliver(group, 10, &two, 1, 9);
    group_leave(group, &two, false);
    group_destroy(&group);
}

TEST(the_next_one_has_the_highest_priority_then_waited_longest)
{
    struct group *group = group_made(false);
    struct group_member members[5];
    static const uint32_t priorities[5] = {0, 1, 2, 2, 1};
    static const unsigned order[5] = {0, 2, 3, 1, 4};
    join(group, &members[0], 1, 0);
    settle(group);
    for (unsigned i = 1; i < 5; i++) {
        join(group, &members[i], i + 1, priorities[i]);
        settle(group);
        ck_assert(group_member_is_active(group, &members[0])); /* nobody is pushed out */
    }
    for (unsigned i = 0; i < 5; i++) {
        settle(group);
        ck_assert(group_member_is_active(group, &members[order[i]]));
        group_leave(group, &members[order[i]], false);
    }
    group_destroy(&group);
}

TEST(who_is_put_back_comes_after_all_others_until_it_is_active_again)
{
    struct group *group = group_made(false);
    struct group_member one;
    struct group_member two;
    join(group, &one, 1, 9);
    join(group, &two, 2, 0);
    settle(group);
    expect_deliver(group, 10, &one, 1, 5);
    ck_assert(!group_put_back(group, &two));
    ck_assert(group_put_back(group, &one));
    settle(group);
    ck_assert(group_member_is_active(group, &two));
    ck_assert(group_is_fenced(group, &one, 1));
    expect_deliver(group, 10, &two, 1, 5);
    expect_deliver(group, 10, &two, 6, 4);
    group_leave(group, &two, false);
    settle(group);
    ck_assert(group_member_is_active(group, &one));
    ck_assert(group_put_back(group, &one)); /* alone: it comes again, in an epoch of its own */
    settle(group);
    ck_assert(group_member_is_active(group, &one));
    ck_assert_uint_eq(group_replicated(group)->epoch.epoch, 4);
    group_leave(group, &one, false);
    group_destroy(&group);
}

TEST(an_acknowledgement_covers_what_lies_below_unless_it_is_of_something_else)
{
    struct group *group = group_made(false);
    struct group_member one;
    struct ack_results results = {0};
    struct group_numbers numbers;
    join(group, &one, 1, 0);
    settle(group);
    expect_deliver(group, 20, &one, 1, 10);
    group_handle_range(group, &one, GROUP_ACK, 15, 16, &results); /* never delivered */
    group_numbers(group, &numbers);
    ck_assert_uint_eq(numbers.floor, 0);
    group_handle_range(group, &one, GROUP_ACK, 4, 6, &results);
    group_numbers(group, &numbers);
    ck_assert_uint_eq(numbers.floor, 6);
    ack_results_release(&results);
    group_leave(group, &one, false);
    group_destroy(&group);
}

TEST(a_delay_holds_up_all_that_is_behind)
{
    struct group *group = group_made(false);
    struct group_member one;
    struct ack_results results = {0};
    const struct group_nack nack = {.has_delay = true, .delay_ms = 1000};
    group_tick(group, 1000000, 1000);
    join(group, &one, 1, 0);
    settle(group);
    expect_deliver(group, 20, &one, 1, 10);
    group_handle_nack(group, &one, &nack, 4, 4, &results);
    ck_assert_uint_eq(one.standing.rewound, 4);
    group_grant(group, &one, 10, 1 << 20);
    expect_no_deliver(group, 20);
    ck_assert(!group_is_standing_still(group, 20)); /* it is meant to wait */
    group_handle_range(group, &one, GROUP_ACK, 3, 3, &results);
    expect_no_deliver(group, 20);
    group_tick(group, 1000999, 1999);
    expect_no_deliver(group, 20);
    group_tick(group, 1001000, 2000);
    expect_deliver(group, 20, &one, 4, 1);
    expect_deliver(group, 20, &one, 5, 6);
    expect_deliver(group, 20, &one, 11, 3); /* ten ahead of the floor, at most */
    ack_results_release(&results);
    group_leave(group, &one, false);
    group_destroy(&group);
}

TEST(with_a_prefetch_of_one_nothing_later_is_given_before_the_acknowledgement)
{
    struct group *group = group_made(false);
    struct group_member one;
    struct ack_results results = {0};
    group_join(group, &one, 1);
    group_member_set_standing(group, &one, 0, span_of("me"));
    group_grant(group, &one, 1, 1000);
    settle(group);
    expect_deliver(group, 20, &one, 1, 1);
    group_grant(group, &one, 1, 1000); /* taken: given back before the acknowledgement */
    expect_no_deliver(group, 20);
    group_handle_range(group, &one, GROUP_NACK, 1, 1, &results);
    expect_deliver(group, 20, &one, 1, 1);
    group_grant(group, &one, 1, 1000);
    group_handle_range(group, &one, GROUP_ACK, 1, 1, &results);
    expect_deliver(group, 20, &one, 2, 1);
    ack_results_release(&results);
    group_leave(group, &one, false);
    group_destroy(&group);
}

TEST(each_nack_in_strict_order_is_answered)
{
    struct group *group = group_made(false);
    struct group_member one;
    struct ack_results results = {0};
    const struct group_nack too_long = {.has_delay = true, .delay_ms = UINT64_MAX};
    const struct group_nack at_once = {.has_delay = true};
    join(group, &one, 1, 0);
    settle(group);
    expect_deliver(group, 6, &one, 1, 5);
    group_handle_nack(group, &one, &too_long, 2, 2, &results);
    ck_assert_uint_eq(one.standing.rewound, 6); /* nothing came back */
    group_told(group, &one);
    group_handle_range(group, &one, GROUP_REJECT, 2, 2, &results);
    ck_assert_uint_eq(one.standing.rewound, 6);
    group_told(group, &one);
    group_handle_nack(group, &one, &at_once, 9, 9, &results); /* never delivered */
    ck_assert_uint_eq(one.standing.rewound, 6);
    group_told(group, &one);
    group_handle_nack(group, &one, &at_once, 3, 3, &results);
    ck_assert_uint_eq(one.standing.rewound, 3);
    ack_results_release(&results);
    group_leave(group, &one, false);
    group_destroy(&group);
}

TEST(a_release_in_strict_order_tells_only_who_loses_something)
{
    struct group *group = group_made(false);
    struct group_member members[3];
    struct ack_results results = {0};
    const struct group_nack later = {.has_delay = true, .delay_ms = 1000};
    group_tick(group, 1000000, 1000);
    for (unsigned i = 0; i < 3; i++) {
        join(group, &members[i], i + 1, 0);
    }
    settle(group);
    while (group_news_first(group) != NULL) { /* their roles */
        group_told(group, group_news_first(group));
    }
    ck_assert_uint_eq(group_release_range(group, 0, 1, GROUP_OFFSET_MAX), 0);
    ck_assert_ptr_null(group_news_first(group));
    expect_deliver(group, 20, &members[0], 1, 6);
    ck_assert_uint_eq(group_release_range(group, 0, 7, GROUP_OFFSET_MAX), 0);
    ck_assert_uint_eq(group_release_range(group, 2, 1, GROUP_OFFSET_MAX), 0);
    ck_assert_ptr_null(group_news_first(group));

    ck_assert_uint_eq(group_release_range(group, 0, 4, 4), 1);
    ck_assert_ptr_eq(group_news_first(group), &members[0]);
    ck_assert_uint_eq(members[0].standing.rewound, 4);
    group_told(group, &members[0]);
    ck_assert_ptr_null(group_news_first(group)); /* none of the standbys */
    group_grant(group, &members[0], 10, 1 << 20);
    expect_deliver(group, 20, &members[0], 4, 1);
    expect_deliver(group, 20, &members[0], 5, 2);

    /* what is delayed was told when it was given back */
    group_handle_nack(group, &members[0], &later, 3, 3, &results);
    group_told(group, &members[0]);
    ck_assert_uint_eq(group_release_range(group, 0, 3, 3), 1);
    ck_assert_ptr_null(group_news_first(group));
    group_grant(group, &members[0], 10, 1 << 20);
    expect_deliver(group, 20, &members[0], 3, 1);
    expect_deliver(group, 20, &members[0], 4, 3);
    for (unsigned i = 3; i > 0; i--) {
        group_leave(group, &members[i - 1], false);
    }
    ack_results_release(&results);
    group_destroy(&group);
}

TEST(a_group_that_becomes_exclusive_takes_all_back)
{
    struct group_state state;
    struct group_member one;
    struct group_member two;
    uint8_t bytes[64];
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    group_state_init(&state, ID);
    struct group *group = group_new(&state);
    join(group, &one, 1, 0);
    join(group, &two, 2, 0);
    for (unsigned i = 0; i < 2; i++) {
        struct group_page page;
        ck_assert(group_next(group, 11, &page));
        group_delivered(group, &page, 1, 1);
    }
    spec.has_mode = 1;
    spec.mode = RAILGUN__GROUP_SPEC__MODE__MODE_EXCLUSIVE;
    size_t size = railgun__group_spec__pack(&spec, bytes);
    ck_assert_int_eq(
        group_state_configure(group_replicated(group), span_of("g"), span_make(bytes, size)), 0);
    group_reconfigured(group, 0);
    ck_assert(group_invariant(group));
    expect_no_deliver(group, 11);
    settle(group);
    ck_assert(group_member_is_active(group, &one));
    expect_deliver(group, 11, &one, 1, 2);
    expect_deliver(group, 11, &one, 3, 7);
    group_leave(group, &one, false);
    group_leave(group, &two, false);
    group_destroy(&group);
}

/* --- the walk --- */

struct entry {
    struct buf bytes;
};

struct walk {
    struct prng prng;
    struct group *group;
    bool is_relaxed;
    struct group_member members[MEMBERS];
    bool here[MEMBERS];
    uint64_t number_last;
    uint64_t end;
    struct buf queue[QUEUE];
    size_t queued;
    uint64_t now_ms;

    uint64_t floor;               /* strict: acknowledged up to here */
    uint64_t next;                /* strict: what is delivered next */
    uint64_t due_ms[OFFSETS + 1]; /* strict: it is delayed until then */
    uint64_t epoch_last;          /* of the last activation */
    const struct group_member *active;
    bool acked[OFFSETS + 1]; /* relaxed */
    unsigned deliveries;
    unsigned activations;
};

static uint64_t below(struct walk *self, uint64_t bound)
{
    return prng_below(&self->prng, bound);
}

/* Who is active now, and whether it began just now. */
static void look(struct walk *self)
{
    const struct group_member *active = NULL;
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (self->here[i] && group_member_is_active(self->group, &self->members[i])) {
            AGREE(active == NULL);
            active = &self->members[i];
        }
        if (self->here[i] && !group_member_is_active(self->group, &self->members[i])) {
            AGREE(ranges_total(self->members[i].held) == 0);
            AGREE(group_is_fenced(self->group, &self->members[i], 0));
            AGREE(group_is_fenced(self->group, &self->members[i], self->epoch_last));
        }
    }
    uint64_t epoch = group_replicated(self->group)->epoch.epoch;
    AGREE(epoch >= self->epoch_last);
    if (active != NULL && (active != self->active || epoch != self->epoch_last)) {
        AGREE(epoch > self->epoch_last); /* never the same epoch for two */
        self->epoch_last = epoch;
        self->activations++;
        self->next = self->floor + 1;
    }
    self->active = active;
    AGREE(group_invariant(self->group));
    AGREE(group_exclusive_faults(self->group) == 0);
}

static void step_join(struct walk *self, unsigned i)
{
    if (!self->here[i]) {
        join(self->group, &self->members[i], ++self->number_last, (uint32_t) below(self, 3));
        self->here[i] = true;
    }
}

static void step_leave(struct walk *self, unsigned i)
{
    if (self->here[i]) {
        group_leave(self->group, &self->members[i], below(self, 2) == 0);
        self->here[i] = false;
    }
}

static void note_delivered(struct walk *self, const struct group_page *page, uint32_t count)
{
    AGREE(page->member == self->active);
    if (self->is_relaxed) {
        for (uint64_t at = page->first; at < page->first + count; at++) {
            AGREE(!self->acked[at]);
        }
        return;
    }
    AGREE(page->first == self->next);
    for (uint64_t at = page->first; at < page->first + count; at++) {
        AGREE(self->due_ms[at] <= self->now_ms);
        self->due_ms[at] = 0;
    }
    self->next += count;
    /* What is ahead of the floor is never more than was granted at once. */
    AGREE(self->next - 1 - self->floor <= page->member->standing.window);
}

static void step_deliver(struct walk *self)
{
    struct group_page page;
    if (!group_next(self->group, self->end, &page)) {
        return;
    }
    uint32_t count = 1 + (uint32_t) below(self, page.records_max);
    if (group_page_fits(self->group, &page, count, count)) {
        note_delivered(self, &page, count);
        group_delivered(self->group, &page, count, count);
        self->deliveries++;
    }
}

static void step_ack(struct walk *self)
{
    struct ack_results results = {0};
    struct range held;
    if (self->active == NULL ||
        !ranges_find_from(self->active->held, 1 + below(self, self->end), &held)) {
        return;
    }
    uint64_t at = held.first + below(self, held.last - held.first + 1);
    group_handle_range(self->group, &self->members[self->active - self->members], GROUP_ACK, at, at,
                       &results);
    AGREE(results.count == 0);
    self->acked[at] = true;
    self->floor = at > self->floor ? at : self->floor;
    ack_results_release(&results);
}

static void step_nack(struct walk *self)
{
    struct ack_results results = {0};
    struct range held;
    const struct group_nack nack = {
        .has_delay = true, .delay_ms = below(self, 2) * 50, .no_count = below(self, 2) == 0};
    if (self->active == NULL ||
        !ranges_find_from(self->active->held, 1 + below(self, self->end), &held)) {
        return;
    }
    uint64_t first = held.first + below(self, held.last - held.first + 1);
    uint64_t last = first + below(self, 3);
    group_handle_nack(self->group, &self->members[self->active - self->members], &nack, first, last,
                      &results);
    if (!self->is_relaxed) {
        AGREE(first < self->next);
        AGREE(self->active->standing.rewound != 0 && self->active->standing.rewound <= first);
        for (uint64_t at = first; at <= last && at < self->next; at++) {
            self->due_ms[at] = self->now_ms + nack.delay_ms;
        }
        self->next = first;
    }
    ack_results_release(&results);
}

static void step_propose(struct walk *self)
{
    (void) group_choose_active(self->group);
    if (self->queued < QUEUE && group_has_changes(self->group)) {
        struct group_changes changes;
        struct buf *entry = &self->queue[self->queued++];
        *entry = (struct buf){0};
        group_changes_encode(self->group, entry, 10 + below(self, 200), &changes);
        group_changes_proposed(self->group, &changes);
    }
}

static void step_apply(struct walk *self)
{
    uint64_t id;
    if (self->queued == 0) {
        return;
    }
    AGREE(group_state_check_acks(buf_span(&self->queue[0]), &id) == 0);
    group_state_apply_acks(group_replicated(self->group), buf_span(&self->queue[0]));
    group_changes_applied(self->group);
    buf_release(&self->queue[0]);
    self->queued--;
    memmove(self->queue, self->queue + 1, self->queued * sizeof self->queue[0]);
    group_rest(self->group);
}

/* Some of what was proposed is committed, the rest is lost with the memory. */
static void step_crash(struct walk *self)
{
    struct buf bytes = {0};
    struct group_state state;
    while (self->queued > 0 && below(self, 2) == 0) {
        step_apply(self);
    }
    while (self->queued > 0) {
        buf_release(&self->queue[--self->queued]);
    }
    group_state_encode(group_replicated(self->group), &bytes);
    for (unsigned i = 0; i < MEMBERS; i++) {
        step_leave(self, i);
    }
    group_destroy(&self->group);
    AGREE(group_state_decode(&state, buf_span(&bytes)) == 0);
    buf_release(&bytes);
    self->floor = state.floor;
    for (uint64_t at = 1; at <= OFFSETS; at++) {
        struct range range;
        self->acked[at] = at <= state.floor || ranges_find(state.acked, at, &range);
    }
    self->active = NULL;
    memset(self->due_ms, 0, sizeof self->due_ms); /* some were lost, too */
    self->group = group_new(&state);
    group_tick(self->group, 1000000 + self->now_ms, self->now_ms);
}

static void step(struct walk *self)
{
    unsigned i = (unsigned) below(self, MEMBERS);
    switch (below(self, 40)) {
    case 0:
        step_leave(self, i);
        break;
    case 1:
    case 2:
        step_join(self, i);
        break;
    case 3:
        if (self->here[i]) {
            (void) group_put_back(self->group, &self->members[i]);
        }
        break;
    case 4:
        step_nack(self);
        break;
    case 5:
        if (below(self, 20) == 0) {
            step_crash(self);
        }
        break;
    case 6:
    case 7:
        self->now_ms += below(self, 60);
        group_tick(self->group, 1000000 + self->now_ms, self->now_ms);
        break;
    case 8:
        self->end += self->end <= OFFSETS && below(self, 2) == 0;
        break;
    case 9:
        if (self->here[i] && self->members[i].credit_messages < 20) {
            group_grant(self->group, &self->members[i], 1 + below(self, 10), 1000);
        }
        break;
    default:
        if (below(self, 3) == 0) {
            step_deliver(self);
        } else if (below(self, 2) == 0) {
            step_ack(self);
        } else if (below(self, 2) == 0) {
            step_propose(self);
        } else {
            step_apply(self);
        }
        break;
    }
    look(self);
}

static unsigned run(uint64_t seed, bool is_relaxed)
{
    struct walk walk = {.is_relaxed = is_relaxed, .end = 100, .next = 1};
    prng_init(&walk.prng, seed);
    walk.group = group_made(is_relaxed);
    group_tick(walk.group, 1000000, 0);
    for (unsigned i = 0; i < STEPS; i++) {
        step(&walk);
    }
    for (unsigned i = 0; i < MEMBERS; i++) {
        step_leave(&walk, i);
    }
    while (walk.queued > 0) {
        buf_release(&walk.queue[--walk.queued]);
    }
    group_destroy(&walk.group);
    return walk.activations > 3 && walk.deliveries > 20 ? 1 : 0;
}

TEST_WITHIN(a_random_exclusive_group_has_one_owner_and_keeps_its_order, 60)
{
    uint64_t seed = entropy_u64() >> 16;
    const char *given = getenv("EXCLUSIVE_SEED"); /* of a run that failed: the same again */
    unsigned rounds = test_slowness() > 1 ? 20 : 100;
    unsigned useful = 0;
    if (given != NULL) {
        seed = strtoull(given, NULL, 10);
    }
    printf("EXCLUSIVE_SEED=%llu\n", (unsigned long long) seed);
    (void) fflush(stdout);
    for (unsigned i = 0; i < rounds; i++) {
        useful += run(seed + i, i % 2 == 1);
    }
    ck_assert_uint_gt(useful, rounds / 2);
}
