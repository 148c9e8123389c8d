/* wheel: a hierarchical timer wheel. Level L has 64 slots of 64^L milliseconds each; a timer waits on the level of the
 * highest digit (base 64) in which its due time differs from the wheel's, in the slot of that digit. When time enters a
 * slot of an upper level, its timers move down. Owns nothing but the lists. */
#include "common/base/wheel.h"

#include <stddef.h>

#include "common/base/invariant.h"
#include "common/base/mem.h"

enum {
    WHEEL_BITS = 6,
    WHEEL_SLOTS = 1 << WHEEL_BITS,
    WHEEL_LEVELS = (64 + WHEEL_BITS - 1) / WHEEL_BITS,
    WHEEL_RUNS_MAX = 64, /* sorted runs while sorting: of 1, 2, 4, ... timers */
};

struct wheel {
    uint64_t now_ms;              /* of the latest run */
    uint64_t taken[WHEEL_LEVELS]; /* bit i set: slot i of the level is not empty */
    struct list overdue;          /* was due already when it was added */
    uint64_t overdue_ms;          /* not later than any due time in overdue */
    struct list slots[WHEEL_LEVELS * WHEEL_SLOTS];
};

static struct wheel_timer *wheel_timer_of(struct list *link)
{
    return LIST_ENTRY(link, struct wheel_timer, link);
}

/* A time in slots of this level; the level above the top one has a single slot. */
static uint64_t slots_since_start(uint64_t time_ms, unsigned level)
{
    return level < WHEEL_LEVELS ? time_ms >> (WHEEL_BITS * level) : 0;
}

struct wheel *wheel_new(uint64_t now_ms)
{
    struct wheel *self = MEM_NEW(struct wheel);
    self->now_ms = now_ms;
    list_init(&self->overdue);
    for (unsigned i = 0; i < WHEEL_LEVELS * WHEEL_SLOTS; i++) {
        list_init(&self->slots[i]);
    }
    return self;
}

static void unlink_all(struct list *timers)
{
    while (list_pop_front(timers) != NULL) {
    }
}

void wheel_destroy(struct wheel **self)
{
    if (*self == NULL) {
        return;
    }
    unlink_all(&(*self)->overdue);
    for (unsigned i = 0; i < WHEEL_LEVELS * WHEEL_SLOTS; i++) {
        unlink_all(&(*self)->slots[i]);
    }
    MEM_FREE(*self);
}

void wheel_timer_init(struct wheel_timer *timer, wheel_fire_fn *fire, void *ud)
{
    *timer = (struct wheel_timer){.fire = fire, .ud = ud};
    list_init(&timer->link);
}

bool wheel_timer_is_running(const struct wheel_timer *timer)
{
    return list_is_linked(&timer->link);
}

/* Link a timer that is not running to where its due time belongs. */
static void wheel_place(struct wheel *self, struct wheel_timer *timer)
{
    if (timer->due_ms <= self->now_ms) {
        if (list_is_empty(&self->overdue) || timer->due_ms < self->overdue_ms) {
            self->overdue_ms = timer->due_ms;
        }
        list_push_back(&self->overdue, &timer->link);
        return;
    }
    unsigned highest = 63 - (unsigned) __builtin_clzll(timer->due_ms ^ self->now_ms);
    unsigned level = highest / WHEEL_BITS;
    unsigned slot = (unsigned) (slots_since_start(timer->due_ms, level) % WHEEL_SLOTS);
    list_push_back(&self->slots[level * WHEEL_SLOTS + slot], &timer->link);
    self->taken[level] |= UINT64_C(1) << slot;
}

void wheel_add(struct wheel *self, struct wheel_timer *timer, uint64_t due_ms)
{
    wheel_cancel(self, timer);
    timer->due_ms = due_ms;
    wheel_place(self, timer);
}

void wheel_cancel(struct wheel *self, struct wheel_timer *timer)
{
    struct list *neighbour = timer->link.next;
    list_remove(&timer->link);
    if (neighbour == &timer->link || !list_is_empty(neighbour)) {
        return;
    }
    /* It was the only one, so the neighbour is the head of a list: one of ours, or that of a run. */
    uintptr_t at = (uintptr_t) neighbour;
    if (at >= (uintptr_t) self->slots && at < (uintptr_t) (self + 1)) {
        size_t index = (size_t) (neighbour - self->slots);
        self->taken[index / WHEEL_SLOTS] &= ~(UINT64_C(1) << (index % WHEEL_SLOTS));
    }
}

uint64_t wheel_next_due_ms(const struct wheel *self)
{
    if (!list_is_empty(&self->overdue)) {
        return self->overdue_ms;
    }
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        if (self->taken[level] != 0) {
            /* Timers of a lower level are due before those of a higher one; all slots lie ahead. */
            uint64_t start = slots_since_start(self->now_ms, level + 1) << WHEEL_BITS;
            return (start + (unsigned) __builtin_ctzll(self->taken[level])) << (WHEEL_BITS * level);
        }
    }
    return UINT64_MAX;
}

/* Empty the slots that the time since the last run has reached into `reached`. */
static void wheel_advance(struct wheel *self, uint64_t now_ms, struct list *reached)
{
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        uint64_t before = slots_since_start(self->now_ms, level);
        uint64_t after = slots_since_start(now_ms, level);
        if (before == after) {
            break; /* then the levels above have not moved either */
        }
        uint64_t slots = self->taken[level];
        if (before / WHEEL_SLOTS == after / WHEEL_SLOTS) {
            slots &= UINT64_MAX >> (WHEEL_SLOTS - 1 - after % WHEEL_SLOTS);
        }
        self->taken[level] &= ~slots;
        for (; slots != 0; slots &= slots - 1) {
            struct list *slot =
                &self->slots[level * WHEEL_SLOTS + (unsigned) __builtin_ctzll(slots)];
            struct list timers;
            list_take_all(&timers, slot);
            while (!list_is_empty(&timers)) {
                list_push_back(reached, list_pop_front(&timers));
            }
        }
    }
    self->now_ms = now_ms;
}

/* Merge two chains (linked by next, ended by NULL) sorted by due time; of equals the first chain's come first. */
static struct list *chain_merge(struct list *first, struct list *second)
{
    struct list head = {NULL, NULL};
    struct list *tail = &head;
    while (first != NULL && second != NULL) {
        struct list **smaller =
            wheel_timer_of(second)->due_ms < wheel_timer_of(first)->due_ms ? &second : &first;
        tail->next = *smaller;
        tail = *smaller;
        *smaller = tail->next;
    }
    tail->next = first != NULL ? first : second;
    return head.next;
}

/* Sort by due time: a merge sort from the bottom up, where runs[i] is empty or has 2^i timers. */
static void sort_by_due(struct list *timers)
{
    struct list *runs[WHEEL_RUNS_MAX] = {NULL};
    struct list *node;

    if (timers->next == timers->previous) {
        return; /* none or one: the rule in a busy loop */
    }
    while ((node = list_pop_front(timers)) != NULL) {
        unsigned i = 0;
        node->next = NULL;
        for (; runs[i] != NULL; i++) {
            node = chain_merge(runs[i], node);
            runs[i] = NULL;
        }
        runs[i] = node;
    }
    struct list *sorted = NULL;
    for (unsigned i = 0; i < WHEEL_RUNS_MAX; i++) {
        sorted = chain_merge(runs[i], sorted);
    }
    while (sorted != NULL) {
        struct list *next = sorted->next;
        list_push_back(timers, sorted);
        sorted = next;
    }
}

unsigned wheel_run(struct wheel *self, uint64_t now_ms)
{
    struct list reached;
    struct list due;
    struct list *node;
    unsigned fired = 0;

    list_take_all(&reached, &self->overdue);
    if (now_ms > self->now_ms) {
        wheel_advance(self, now_ms, &reached);
    }
    list_init(&due);
    while ((node = list_pop_front(&reached)) != NULL) {
        if (wheel_timer_of(node)->due_ms <= now_ms) {
            list_push_back(&due, node);
        } else {
            wheel_place(self, wheel_timer_of(node));
        }
    }
    sort_by_due(&due);
    while ((node = list_pop_front(&due)) != NULL) {
        struct wheel_timer *timer = wheel_timer_of(node);
        timer->fire(timer, timer->ud); /* may end the timer's life, or stop others that are due */
        fired++;
    }
    return fired;
}
