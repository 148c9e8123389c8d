/* exchange: see the header. Owns the exchanges with their groups and indexes, and the matchers of subscriptions; these lie in the table. Tells nobody of a change:
 * who changes something does. */
#include "routerd/exchange.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/base/rand.h"

#include "routerd/matcher.h"

enum { NAME_MAX_BYTES = 255 };

struct exchanges {
    struct table *table;
    const struct exchanges_limits *limits;
    struct hash *by_key;
    struct exchanges_counts counts;
};

struct exchanges *exchanges_new(struct table *table, const struct exchanges_limits *limits)
{
    struct exchanges *self = MEM_NEW(struct exchanges);
    self->table = table;
    self->limits = limits;
    self->by_key = hash_new();
    return self;
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
    *group = (struct group){
        .home = {exchange, true}, .is_sticky = is_sticky, .size = (uint16_t) name.size};
    memcpy(group->name, name.data, name.size);
    if (exchange->groups == NULL) {
        exchange->groups = hash_new();
    }
    (void) hash_put(exchange->groups, span_make(group->name, group->size), group);
    self->counts.groups++;
    return group;
}

static void group_trim(struct exchanges *self, struct group *group)
{
    if (group->members == 0) {
        (void) hash_remove(group->home.exchange->groups, span_make(group->name, group->size));
        self->counts.groups--;
        mem_free(group);
    }
}

/* --- subscriptions ----------------------------------------------------------------------------------------- */

bool subscription_next(const struct subscription *self, uint32_t *at, struct span *ret_matcher)
{
    if (*at >= self->matcher_size) {
        return false;
    }
    *ret_matcher = span_make(&self->matchers[*at + 1], self->matchers[*at]);
    *at += 1 + (uint32_t) self->matchers[*at];
    return true;
}

struct group *subscription_group(const struct subscription *self)
{
    return self->home->is_group ? (struct group *) (void *) self->home : NULL;
}

/* Hold what it has in the index. Returns how many matchers. */
static uint32_t subscription_hold(struct exchange *exchange,
                                  const struct subscription *subscription, uint32_t slot)
{
    uint32_t count = 0;
    struct span matcher;
    for (uint32_t at = 0; subscription_next(subscription, &at, &matcher); count++) {
        (void) matcher_add(exchange->index, matcher, slot); /* the same one twice is held once */
    }
    return count;
}

static uint32_t subscription_let_go(struct exchange *exchange,
                                    const struct subscription *subscription, uint32_t slot)
{
    uint32_t count = 0;
    struct span matcher;
    for (uint32_t at = 0; subscription_next(subscription, &at, &matcher); count++) {
        (void) matcher_remove(exchange->index, matcher, slot);
    }
    return count;
}

int exchange_subscribe(struct exchanges *self, struct exchange *exchange,
                       const struct subscription_spec *spec, struct subscription **ret_subscription)
{
    INVARIANT(spec->matchers.size > 0 && spec->matchers.size <= MATCHERS_SIZE_MAX);
    INVARIANT(spec->group.size <= NAME_MAX_BYTES);
    bool has_group = spec->group.size > 0;
    struct group *group = has_group ? group_find(exchange, spec->group) : NULL;
    if (group != NULL && group->is_sticky != spec->is_sticky) {
        return ERR_DIFFERS;
    }
    if (exchange->subscriptions >= self->limits->subscriptions_max ||
        (spec->exchange_max != 0 && exchange->subscriptions >= spec->exchange_max)) {
        return ERR_QUOTA;
    }
    uint8_t *matchers = (uint8_t *) mem_try_new(spec->matchers.size);
    if (has_group && matchers != NULL) {
        group = group_get(self, exchange, spec->group, spec->is_sticky);
    }
    struct subscription *subscription = NULL;
    if (matchers != NULL && (!has_group || group != NULL)) {
        subscription = table_add(self->table, spec->id, spec->frontd, spec->generation);
    }
    if (subscription == NULL) {
        if (group != NULL) {
            group_trim(self, group);
        }
        mem_free(matchers);
        return ERR_NO_MEMORY;
    }
    memcpy(matchers, spec->matchers.data, spec->matchers.size);
    subscription->matchers = matchers;
    subscription->matcher_size = (uint16_t) spec->matchers.size;
    subscription->home = group != NULL ? &group->home : &exchange->home;
    if (group != NULL) {
        group->members++;
    }
    uint32_t count =
        subscription_hold(exchange, subscription, table_slot(self->table, subscription));
    exchange->subscriptions++;
    exchange->matchers += count;
    self->counts.matchers += count;
    *ret_subscription = subscription;
    return 0;
}

void exchange_unsubscribe(struct exchanges *self, struct subscription *subscription)
{
    struct exchange *exchange = subscription->home->exchange;
    struct group *group = subscription_group(subscription);
    uint32_t count =
        subscription_let_go(exchange, subscription, table_slot(self->table, subscription));
    mem_free(subscription->matchers);
    table_remove(self->table, subscription);
    if (group != NULL) {
        group->members--;
        group_trim(self, group);
    }
    exchange->subscriptions--;
    exchange->matchers -= count;
    self->counts.matchers -= count;
}

bool exchange_is_same(const struct exchange *self, const struct subscription *subscription,
                      const struct subscription_spec *spec)
{
    struct span matchers = span_make(subscription->matchers, subscription->matcher_size);
    if (subscription->home->exchange != self || !span_equal(matchers, spec->matchers)) {
        return false;
    }
    const struct group *group = subscription_group(subscription);
    if (group == NULL) {
        return spec->group.size == 0;
    }
    return span_equal(span_make(group->name, group->size), spec->group) &&
           group->is_sticky == spec->is_sticky;
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
        *exchange = (struct exchange){.index = matcher_new(entropy_u64())};
        memcpy(exchange->key, key.data, key.size);
        exchange->namespace_ = span_make(exchange->key + 1, namespace_.size);
        exchange->name = span_make(exchange->key + 1 + namespace_.size, name.size);
        exchange->home = (struct home){exchange, false};
        list_init(&exchange->of_changed);
        (void) hash_put(self->by_key, span_make(exchange->key, key.size), exchange);
        self->counts.exchanges++;
    }
    *ret_exchange = exchange;
    return 0;
}

static void exchange_free_matchers(struct subscription *subscription)
{
    mem_free(subscription->matchers);
}

static void exchange_free(struct exchange *exchange)
{
    list_remove(&exchange->of_changed);
    matcher_destroy(&exchange->index);
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
    table_each((*self)->table, exchange_free_matchers);
    size_t cursor = 0;
    struct exchange *exchange;
    while ((exchange = (struct exchange *) hash_next((*self)->by_key, &cursor)) != NULL) {
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
