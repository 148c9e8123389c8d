/* routes_changes: what makes routes stale: routerds' changes, and sessions that end. A matcher without a wildcard is a topic: its route goes at once. One with a
 * wildcard is only noted, in its exchange's ring, and each route is held against the ring from where it was last good when it is next used. Must never let a
 * change be forgotten that a route has not been held against: what falls out of the ring makes all routes stale that are so far behind. */
#include "frontd/routes_private.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/base/topic.h"
#include "common/wire/pb.h"

enum { RING_MIN = 16 };

enum { /* RouteChange of router.proto */
       CHANGE_EXCHANGE = 1,
       CHANGE_MATCHERS = 2,
       EXCHANGE_NAMESPACE = 1, /* RouteExchange */
       EXCHANGE_NAME = 2,
};

/* --- the ring --- */

static struct route_change *ring_at(const struct route_table *self, uint64_t number)
{
    return &self->ring[(number - 1) & (self->ring_capacity - 1)];
}

static size_t ring_bytes(size_t capacity)
{
    return capacity * sizeof(struct route_change);
}

static void ring_drop_oldest(struct route_table *self)
{
    struct route_change *change = ring_at(self, self->changes - self->ring_count + 1);
    routes_account(self->routes, 0, change->size);
    MEM_FREE(change->text);
    self->ring_count--;
}

void route_table_free_ring(struct route_table *self)
{
    while (self->ring_count > 0) {
        ring_drop_oldest(self);
    }
    routes_account(self->routes, 0, ring_bytes(self->ring_capacity));
    MEM_FREE(self->ring);
    self->ring_capacity = 0;
}

static void ring_grow(struct route_table *self)
{
    size_t capacity = self->ring_capacity != 0 ? 2 * self->ring_capacity : RING_MIN;
    struct route_change *ring = MEM_NEW_ARRAY(capacity, struct route_change);
    for (size_t i = 0; i < self->ring_count; i++) {
        uint64_t number = self->changes - i;
        ring[(number - 1) & (capacity - 1)] = *ring_at(self, number);
    }
    mem_free(self->ring);
    routes_account(self->routes, ring_bytes(capacity), ring_bytes(self->ring_capacity));
    self->ring = ring;
    self->ring_capacity = capacity;
}

/* How many of its first bytes all its topics share: the words before the first wildcard, without the dot behind them, as `#` matches no word too. */
static size_t matcher_literal_size(struct span matcher)
{
    size_t size = 0;
    while (size < matcher.size && matcher.data[size] != '*' && matcher.data[size] != '#') {
        size++;
    }
    return size > 0 && size < matcher.size ? size - 1 : size;
}

static void ring_push(struct route_table *self, uint64_t source, struct span matcher)
{
    if (self->ring_count == ROUTES_RING_MAX) {
        ring_drop_oldest(self);
    } else if (self->ring_count == self->ring_capacity) {
        ring_grow(self);
    }
    self->changes++;
    self->ring_count++;
    *ring_at(self, self->changes) = (struct route_change){
        .source = source,
        .text = mem_copy(matcher.data, matcher.size),
        .size = (uint16_t) matcher.size,
        .literal_size = (uint16_t) matcher_literal_size(matcher),
    };
    routes_account(self->routes, matcher.size, 0);
}

static bool route_change_matches(const struct route_change *self, struct span topic)
{
    return topic.size >= self->literal_size &&
           (self->literal_size == 0 || memcmp(topic.data, self->text, self->literal_size) == 0) &&
           topic_matches(span_make(self->text, self->size), topic);
}

bool route_table_has_changed(const struct route_table *self, struct span topic, uint64_t changes,
                             uint64_t but_for)
{
    INVARIANT(changes <= self->changes);

    if (self->changes - changes > self->ring_count) {
        return true;
    }
    for (uint64_t number = changes + 1; number <= self->changes; number++) {
        const struct route_change *change = ring_at(self, number);
        if ((but_for == 0 || change->source != but_for) && route_change_matches(change, topic)) {
            return true;
        }
    }
    return false;
}

/* --- changes --- */

static void table_change_topic(struct routes *self, struct route_table *table, uint64_t source,
                               struct span topic)
{
    struct route_entry *entry = route_table_find(table, topic, hash_bytes(topic, self->seed));
    if (entry == NULL) {
        return;
    }
    if (entry->state == ROUTE_FILLED) {
        self->counts.stale++;
        routes_drop(self, entry);
    } else if (entry->state == ROUTE_ASKED && entry->lookup->source != source) {
        entry->is_overtaken = true;
    }
}

static void table_change(struct routes *self, struct route_table *table, uint64_t source,
                         struct span matcher)
{
    if (!topic_has_wildcard(matcher)) {
        table_change_topic(self, table, source, matcher);
    } else if (table->count != 0) {
        ring_push(table, source, matcher);
    }
}

static int change_read_exchange(struct span bytes, struct span *ret_namespace,
                                struct span *ret_name)
{
    struct pb_field field;
    int result = 0;
    while ((result = pb_next(&bytes, &field)) == 1) {
        if (field.number == EXCHANGE_NAMESPACE && field.type == PB_BYTES) {
            *ret_namespace = field.bytes;
        } else if (field.number == EXCHANGE_NAME && field.type == PB_BYTES) {
            *ret_name = field.bytes;
        }
    }
    return result;
}

/* The whole message is looked at before anything is done. */
static int change_read(struct span change, struct span *ret_namespace, struct span *ret_name)
{
    struct pb_field field;
    bool has_exchange = false;
    int result = 0;
    while ((result = pb_next(&change, &field)) == 1) {
        if (field.number == CHANGE_EXCHANGE && field.type == PB_BYTES) {
            has_exchange = true;
            result = change_read_exchange(field.bytes, ret_namespace, ret_name);
        } else if (field.number == CHANGE_MATCHERS &&
                   (field.type != PB_BYTES || topic_check_matcher(field.bytes) != NULL)) {
            result = ERR_PROTOCOL;
        }
        if (result < 0) {
            return result;
        }
    }
    return result == 0 && !has_exchange ? ERR_PROTOCOL : result;
}

/* Nothing that is known or being answered is to be used. */
static void routes_drop_all(struct routes *self)
{
    LIST_FOREACH (&self->clock, node) {
        self->counts.stale++;
        routes_drop(self, LIST_ENTRY(node, struct route_entry, link));
    }
    routes_distrust_answers(self);
}

int routes_change(struct routes *self, uint64_t source, struct span change)
{
    struct span namespace_ = {0};
    struct span name = {0};
    struct pb_field field;
    int result = change_read(change, &namespace_, &name);
    if (result != 0) {
        routes_drop_all(self);
        return result;
    }
    struct route_table *table = routes_find_table(self, namespace_, name);
    if (table == NULL) {
        return 0; /* nobody here has used the exchange */
    }
    while (pb_next(&change, &field) == 1) {
        if (field.number == CHANGE_MATCHERS) {
            table_change(self, table, source, field.bytes);
        }
    }
    return 0;
}

/* --- sessions --- */

static size_t routes_find_source(const struct routes *self, uint64_t id)
{
    size_t at = 0;
    while (at < self->source_count && self->sources[at].id != id) {
        at++;
    }
    return at;
}

bool routes_source_is_known(const struct routes *self, uint64_t source)
{
    return routes_find_source(self, source) < self->source_count;
}

static bool routes_has_source_up(const struct routes *self)
{
    for (size_t i = 0; i < self->source_count; i++) {
        if (self->sources[i].is_up) {
            return true;
        }
    }
    return false;
}

/* Forget those that are gone: what came from them is stale for ever, as changes may have passed by that they did not tell of. */
static void routes_void_gone(struct routes *self)
{
    size_t kept = 0;
    for (size_t i = 0; i < self->source_count; i++) {
        if (self->sources[i].is_up) {
            self->sources[kept++] = self->sources[i];
        }
    }
    if (kept != self->source_count) {
        self->source_count = kept;
        self->globals++;
    }
}

void routes_source_ready(struct routes *self, uint64_t source)
{
    INVARIANT(source != 0);
    INVARIANT(!routes_source_is_known(self, source));

    routes_void_gone(self);
    INVARIANT(self->source_count < ROUTES_SOURCES_MAX);
    self->sources[self->source_count++] = (struct route_source){.id = source, .is_up = true};
    routes_can_ask(self);
}

void routes_source_gone(struct routes *self, uint64_t source)
{
    size_t at = routes_find_source(self, source);
    if (at < self->source_count) {
        self->sources[at].is_up = false;
        if (routes_has_source_up(self)) {
            routes_void_gone(self);
        }
    }
    routes_ask_others(self, source);
}

void routes_can_ask(struct routes *self)
{
    self->is_blocked = false;
    if (!list_is_empty(&self->tables_wanted)) {
        routes_defer(self);
    }
}
