/* exchange: see the header. Owns the exchanges with their filters, groups and indexes; the subscriptions lie in the table. Tells nobody of a change:
 * who changes something does. */
#include "routerd/exchange.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/base/rand.h"

#include "routerd/matcher.h"

enum { FILTERS_MIN = 4, NAME_MAX_BYTES = 255, HOLDERS_MIN = 4 };

struct exchanges {
    struct table *table;
    const struct exchanges_limits *limits;
    struct hash *by_key;
    uint64_t seed;
    struct exchanges_counts counts;
};

struct exchanges *exchanges_new(struct table *table, const struct exchanges_limits *limits)
{
    struct exchanges *self = MEM_NEW(struct exchanges);
    self->table = table;
    self->limits = limits;
    self->by_key = hash_new();
    self->seed = entropy_u64();
    return self;
}

/* --- filters ----------------------------------------------------------------------------------------------- */

bool filter_next(const struct filter *self, uint32_t *at, struct span *ret_matcher)
{
    if (*at >= self->size) {
        return false;
    }
    *ret_matcher = span_make(&self->bytes[*at + 1], self->bytes[*at]);
    *at += 1 + (uint32_t) self->bytes[*at];
    return true;
}

static uint32_t filter_count_matchers(const struct filter *self)
{
    uint32_t count = 0;
    struct span matcher;
    for (uint32_t at = 0; filter_next(self, &at, &matcher);) {
        count++;
    }
    return count;
}

static bool filter_is(const struct filter *self, struct span matchers)
{
    return span_equal(span_make(self->bytes, self->size), matchers);
}

/* Where it is, or would be. */
static struct filter **filters_place(const struct exchange *self, uint32_t hash,
                                     struct span matchers)
{
    uint32_t mask = self->filter_size - 1;
    uint32_t at = hash & mask;
    while (self->filters[at] != NULL &&
           (self->filters[at]->hash != hash || !filter_is(self->filters[at], matchers))) {
        at = (at + 1) & mask;
    }
    return &self->filters[at];
}

/* The first free place for a filter that is not there. */
static void filters_put(struct exchange *self, struct filter *filter)
{
    uint32_t mask = self->filter_size - 1;
    uint32_t at = filter->hash & mask;
    while (self->filters[at] != NULL) {
        at = (at + 1) & mask;
    }
    self->filters[at] = filter;
}

static bool filters_resize(struct exchange *self, uint32_t size)
{
    struct filter **old = self->filters;
    uint32_t old_size = self->filter_size;
    struct filter **filters = (struct filter **) mem_try_new_array(size, sizeof(*filters));
    if (filters == NULL) {
        return false;
    }
    memset(filters, 0, size * sizeof(*filters));
    self->filters = filters;
    self->filter_size = size;
    for (uint32_t i = 0; i < old_size; i++) {
        if (old[i] != NULL) {
            filters_put(self, old[i]);
        }
    }
    mem_free(old);
    return true;
}

static void filters_remove(struct exchange *self, struct filter *filter)
{
    struct filter **place =
        filters_place(self, filter->hash, span_make(filter->bytes, filter->size));
    uint32_t mask = self->filter_size - 1;
    uint32_t gap = (uint32_t) (place - self->filters);
    INVARIANT(*place == filter);
    *place = NULL;
    /* What comes behind it in the same run of full places may only be found through it. */
    for (uint32_t at = (gap + 1) & mask; self->filters[at] != NULL; at = (at + 1) & mask) {
        struct filter *moved = self->filters[at];
        self->filters[at] = NULL;
        filters_put(self, moved);
    }
    self->filter_count--;
    if (self->filter_size > FILTERS_MIN && 8 * (uint64_t) self->filter_count < self->filter_size) {
        (void) filters_resize(self, self->filter_size / 2); /* a large one does as well */
    }
}

static struct filter *filter_get(struct exchanges *self, struct exchange *exchange,
                                 struct span matchers)
{
    /* At most three quarters full. */
    if (4 * ((uint64_t) exchange->filter_count + 1) > 3 * (uint64_t) exchange->filter_size &&
        !filters_resize(exchange,
                        exchange->filter_size != 0 ? 2 * exchange->filter_size : FILTERS_MIN)) {
        return NULL;
    }
    uint32_t hash = (uint32_t) hash_bytes(matchers, self->seed);
    struct filter **place = filters_place(exchange, hash, matchers);
    if (*place != NULL) {
        return *place;
    }
    struct filter *filter = (struct filter *) mem_try_new(sizeof(*filter) + matchers.size);
    if (filter == NULL) {
        return NULL;
    }
    *filter = (struct filter){.exchange = exchange, .hash = hash, .size = (uint16_t) matchers.size};
    memcpy(filter->bytes, matchers.data, matchers.size);
    *place = filter;
    exchange->filter_count++;
    self->counts.filters++;
    struct span matcher;
    for (uint32_t at = 0; filter_next(filter, &at, &matcher);) {
        /* The same one twice is held once. */
        (void) matcher_add(exchange->index, matcher, (uint64_t) (uintptr_t) filter);
    }
    return filter;
}

static void filter_trim(struct exchanges *self, struct filter *filter)
{
    if (filter->count > 0) {
        return;
    }
    struct span matcher;
    for (uint32_t at = 0; filter_next(filter, &at, &matcher);) {
        (void) matcher_remove(filter->exchange->index, matcher, (uint64_t) (uintptr_t) filter);
    }
    filters_remove(filter->exchange, filter);
    self->counts.filters--;
    if (filter->capacity != 0) {
        mem_free(filter->holders.slots);
    }
    mem_free(filter);
}

static bool filter_add_holder(struct filter *self, struct subscription *subscription, uint32_t slot)
{
    if (self->count == 0 && self->capacity == 0) {
        self->holders.slot = slot;
    } else {
        if (self->count >= self->capacity) {
            uint32_t capacity = self->capacity != 0 ? 2 * self->capacity : HOLDERS_MIN;
            uint32_t *slots = (uint32_t *) mem_try_resize(
                self->capacity != 0 ? self->holders.slots : NULL, capacity, sizeof(*slots));
            if (slots == NULL) {
                return false;
            }
            if (self->capacity == 0) {
                slots[0] = self->holders.slot;
            }
            self->holders.slots = slots;
            self->capacity = capacity;
        }
        self->holders.slots[self->count] = slot;
    }
    subscription->place = self->count++;
    subscription->filter = self;
    return true;
}

/* The last one takes its place. */
static void filter_remove_holder(struct filter *self, const struct table *table,
                                 const struct subscription *subscription)
{
    self->count--;
    if (self->capacity == 0 || subscription->place == self->count) {
        return;
    }
    uint32_t last = self->holders.slots[self->count];
    self->holders.slots[subscription->place] = last;
    table_at(table, last)->place = subscription->place;
}

/* --- groups ------------------------------------------------------------------------------------------------ */

static struct group *group_find(const struct exchange *exchange, struct span name)
{
    return exchange->groups == NULL ? NULL : (struct group *) hash_get(exchange->groups, name);
}

static struct group *group_get(struct exchanges *self, struct exchange *exchange, struct span name,
                               bool is_sticky)
{
    struct group *group = group_find(exchange, name);
    if (group != NULL) {
        return group;
    }
    group = (struct group *) mem_try_new(sizeof(*group) + name.size);
    if (group == NULL) {
        return NULL;
    }
    *group = (struct group){.is_sticky = is_sticky, .size = (uint16_t) name.size};
    memcpy(group->name, name.data, name.size);
    if (exchange->groups == NULL) {
        exchange->groups = hash_new();
    }
    (void) hash_put(exchange->groups, span_make(group->name, group->size), group);
    self->counts.groups++;
    return group;
}

static void group_trim(struct exchanges *self, struct exchange *exchange, struct group *group)
{
    if (group != NULL && group->members == 0) {
        (void) hash_remove(exchange->groups, span_make(group->name, group->size));
        self->counts.groups--;
        mem_free(group);
    }
}

/* --- subscriptions ----------------------------------------------------------------------------------------- */

int exchange_subscribe(struct exchanges *self, struct exchange *exchange,
                       const struct subscription_spec *spec, struct subscription **ret_subscription)
{
    INVARIANT(spec->matchers.size > 0 && spec->matchers.size <= FILTER_SIZE_MAX);
    INVARIANT(spec->group.size <= NAME_MAX_BYTES);
    struct group *group = group_find(exchange, spec->group);
    if (group != NULL && spec->group.size > 0 && group->is_sticky != spec->is_sticky) {
        return ERR_DIFFERS;
    }
    if (exchange->subscriptions >= self->limits->subscriptions_max) {
        return ERR_QUOTA;
    }
    struct filter *filter = filter_get(self, exchange, spec->matchers);
    if (filter == NULL) {
        return ERR_NO_MEMORY;
    }
    struct subscription *subscription =
        table_add(self->table, spec->id, spec->frontd, spec->generation);
    if (subscription == NULL) {
        filter_trim(self, filter);
        return ERR_NO_MEMORY;
    }
    if (spec->group.size > 0) {
        subscription->group = group_get(self, exchange, spec->group, spec->is_sticky);
    }
    if ((spec->group.size > 0 && subscription->group == NULL) ||
        !filter_add_holder(filter, subscription, table_slot(self->table, subscription))) {
        group_trim(self, exchange, subscription->group);
        table_remove(self->table, subscription);
        filter_trim(self, filter);
        return ERR_NO_MEMORY;
    }
    if (subscription->group != NULL) {
        subscription->group->members++;
    }
    uint32_t matchers = filter_count_matchers(filter);
    exchange->subscriptions++;
    exchange->matchers += matchers;
    self->counts.matchers += matchers;
    *ret_subscription = subscription;
    return 0;
}

void exchange_unsubscribe(struct exchanges *self, struct subscription *subscription)
{
    struct filter *filter = subscription->filter;
    struct exchange *exchange = filter->exchange;
    struct group *group = subscription->group;
    uint32_t matchers = filter_count_matchers(filter);
    filter_remove_holder(filter, self->table, subscription);
    table_remove(self->table, subscription);
    if (group != NULL) {
        group->members--;
        group_trim(self, exchange, group);
    }
    filter_trim(self, filter);
    exchange->subscriptions--;
    exchange->matchers -= matchers;
    self->counts.matchers -= matchers;
}

bool exchange_is_same(const struct exchange *self, const struct subscription *subscription,
                      const struct subscription_spec *spec)
{
    if (subscription->filter->exchange != self ||
        !filter_is(subscription->filter, spec->matchers)) {
        return false;
    }
    const struct group *group = subscription->group;
    if (group == NULL) {
        return spec->group.size == 0;
    }
    return span_equal(span_make(group->name, group->size), spec->group) &&
           group->is_sticky == spec->is_sticky;
}

struct finding {
    exchange_found_fn *found;
    void *ud;
};

static void exchange_on_found(void *ud, uint64_t holder)
{
    const struct finding *finding = (const struct finding *) ud;
    finding->found(finding->ud, (const struct filter *) (uintptr_t) holder);
}

void exchange_find(struct exchange *self, struct span topic, exchange_found_fn *found, void *ud)
{
    struct finding finding = {found, ud};
    matcher_find(self->index, topic, exchange_on_found, &finding);
}

/* --- exchanges --------------------------------------------------------------------------------------------- */

/* One byte of length, the namespace, the name. */
static struct span exchange_key(struct span namespace_, struct span name,
                                uint8_t out[1 + 2 * NAME_MAX_BYTES])
{
    INVARIANT(namespace_.size <= NAME_MAX_BYTES && name.size <= NAME_MAX_BYTES);
    out[0] = (uint8_t) namespace_.size;
    if (namespace_.size > 0) {
        memcpy(out + 1, namespace_.data, namespace_.size);
    }
    if (name.size > 0) {
        memcpy(out + 1 + namespace_.size, name.data, name.size);
    }
    return span_make(out, 1 + namespace_.size + name.size);
}

struct exchange *exchanges_find(const struct exchanges *self, struct span namespace_,
                                struct span name)
{
    uint8_t key[1 + 2 * NAME_MAX_BYTES];
    return (struct exchange *) hash_get(self->by_key, exchange_key(namespace_, name, key));
}

int exchanges_make(struct exchanges *self, struct span namespace_, struct span name,
                   struct exchange **ret_exchange)
{
    uint8_t bytes[1 + 2 * NAME_MAX_BYTES];
    struct span key = exchange_key(namespace_, name, bytes);
    struct exchange *exchange = (struct exchange *) hash_get(self->by_key, key);
    if (exchange == NULL) {
        if (self->counts.exchanges >= self->limits->exchanges_max) {
            return ERR_QUOTA;
        }
        exchange = (struct exchange *) mem_try_new(sizeof(*exchange) + key.size);
        if (exchange == NULL) {
            return ERR_NO_MEMORY;
        }
        *exchange = (struct exchange){.index = matcher_new()};
        memcpy(exchange->key, key.data, key.size);
        exchange->namespace_ = span_make(exchange->key + 1, namespace_.size);
        exchange->name = span_make(exchange->key + 1 + namespace_.size, name.size);
        list_init(&exchange->of_changed);
        (void) hash_put(self->by_key, span_make(exchange->key, key.size), exchange);
        self->counts.exchanges++;
    }
    *ret_exchange = exchange;
    return 0;
}

static void exchange_free(struct exchange *exchange)
{
    list_remove(&exchange->of_changed);
    matcher_destroy(&exchange->index);
    mem_free(exchange->filters);
    hash_destroy(&exchange->groups);
    buf_release(&exchange->changed);
    mem_free(exchange);
}

void exchanges_trim(struct exchanges *self, struct exchange *exchange)
{
    if (exchange->subscriptions > 0 || list_is_linked(&exchange->of_changed)) {
        return;
    }
    (void) hash_remove(self->by_key, span_make(exchange->key, 1 + exchange->namespace_.size +
                                                                  exchange->name.size));
    self->counts.exchanges--;
    exchange_free(exchange);
}

void exchanges_destroy(struct exchanges **self)
{
    if (*self == NULL) {
        return;
    }
    size_t cursor = 0;
    struct exchange *exchange;
    while ((exchange = (struct exchange *) hash_next((*self)->by_key, &cursor)) != NULL) {
        for (uint32_t i = 0; i < exchange->filter_size; i++) {
            struct filter *filter = exchange->filters[i];
            if (filter != NULL && filter->capacity != 0) {
                mem_free(filter->holders.slots);
            }
            mem_free(filter);
        }
        size_t at = 0;
        while (exchange->groups != NULL) {
            struct group *group = (struct group *) hash_next(exchange->groups, &at);
            if (group == NULL) {
                break;
            }
            mem_free(group);
        }
        exchange_free(exchange);
    }
    hash_destroy(&(*self)->by_key);
    MEM_FREE(*self);
}

void exchanges_count(const struct exchanges *self, struct exchanges_counts *ret_counts)
{
    *ret_counts = self->counts;
}
