/* routes: the table of topics: finding, bringing in, and throwing out. Owns the tables of all exchanges and the entries in them. A hit must neither
 * allocate nor look at more than one chain of slots. Nothing that was shown to anybody is freed before the end of the turn.
 *
 * Which topics stay is decided by a clock: each hit makes an entry young again, the hand makes those it passes older. When there is no more room it takes
 * the first that was not used since it last came by; a slow turn of its own takes those that nobody used for a minute. */
#include "frontd/routes_private.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/base/rand.h"
#include "common/base/topic.h"
#include "common/run/loop.h"
#include "common/run/presence.h"

#include "frontd/routers.h"

enum {
    SWEEP_MS = 250,
    SWEEP_TICKS = 60, /* to come by all entries once */
    AGE_IDLE = 4,     /* not used while the clock came by so often: a minute */
    /* Entries that may be spared before one goes, used or not, so that a turn has an end. */
    SPARED_MAX = 8192,
    SLOTS_MIN = 16,
    SLOTS_SHRINK_FROM = 1024,
    ALLOCATION_OVERHEAD = 16,
};

static void routes_end_turn(void *ud);

static void routes_tick(struct wheel_timer *timer, void *ud)
{
    struct routes *self = ud;
    routes_sweep(self);
    if (self->counts.entries != 0) {
        loop_timer_start(self->frontd->loop, timer, SWEEP_MS);
    }
}

struct routes *routes_new(struct frontd *frontd, void (*on_progress)(void *ud), void *ud)
{
    struct routes *self = MEM_NEW(struct routes);
    int instance = presence_instance("frontd", frontd->name);
    self->frontd = frontd;
    self->on_progress = on_progress;
    self->ud = ud;
    self->seed = entropy_u64();
    self->instance = instance >= 0 ? (unsigned) instance : UINT32_MAX;
    self->is_trusted = true;
    list_init(&self->tables);
    list_init(&self->tables_wanted);
    list_init(&self->clock);
    list_init(&self->garbage);
    self->lookups = hash64_new();
    self->publishers = hash64_new();
    wheel_timer_init(&self->timer, routes_tick, self);
    return self;
}

void routes_account(struct routes *self, size_t taken, size_t given)
{
    self->counts.bytes = self->counts.bytes + taken - given;
}

void routes_defer(struct routes *self)
{
    if (!self->is_deferred) {
        self->is_deferred = true;
        loop_defer(self->frontd->loop, routes_end_turn, self);
    }
}

/* --- entries --- */

struct span route_entry_topic(const struct route_entry *self)
{
    return span_make(self->topic, self->topic_size);
}

static void publisher_leave(struct routes *self, struct publisher *publisher)
{
    publisher->topics--;
    if (publisher->topics == 0) {
        (void) hash64_remove(self->publishers, publisher->id);
        mem_free(publisher);
    }
}

static struct publisher *publisher_join(struct routes *self, uint64_t id)
{
    struct publisher *publisher = hash64_get(self->publishers, id);
    if (publisher == NULL) {
        publisher = MEM_NEW(struct publisher);
        publisher->id = id;
        (void) hash64_put(self->publishers, id, publisher);
    }
    publisher->topics++;
    return publisher;
}

/* --- slots --- */

static size_t slots_bytes(size_t capacity)
{
    return capacity * sizeof(struct route_slot);
}

static void slots_put(struct route_table *self, uint64_t hash, struct route_entry *entry)
{
    INVARIANT(self->slots != NULL);

    size_t mask = self->capacity - 1;
    size_t at = hash & mask;
    while (self->slots[at].entry != NULL) {
        at = (at + 1) & mask;
    }
    self->slots[at] = (struct route_slot){hash, entry};
}

static void slots_resize(struct route_table *self, size_t capacity)
{
    struct route_slot *old = self->slots;
    size_t old_capacity = self->capacity;
    self->slots = capacity != 0 ? MEM_NEW_ARRAY(capacity, struct route_slot) : NULL;
    self->capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].entry != NULL) {
            slots_put(self, old[i].hash, old[i].entry);
        }
    }
    mem_free(old);
    routes_account(self->routes, slots_bytes(capacity), slots_bytes(old_capacity));
}

static inline struct route_slot *slots_find(const struct route_table *self, struct span topic,
                                            uint64_t hash)
{
    if (self->capacity == 0) {
        return NULL;
    }
    size_t mask = self->capacity - 1;
    for (size_t at = hash & mask;; at = (at + 1) & mask) {
        struct route_slot *slot = &self->slots[at];
        if (slot->entry == NULL) {
            return NULL;
        }
        if (slot->hash == hash && span_equal(route_entry_topic(slot->entry), topic)) {
            return slot;
        }
    }
}

/* Close the gap: what was pushed behind its place by this one moves up. */
static void slots_remove(struct route_table *self, struct route_slot *slot)
{
    size_t mask = self->capacity - 1;
    size_t gap = (size_t) (slot - self->slots);
    for (size_t at = (gap + 1) & mask; self->slots[at].entry != NULL; at = (at + 1) & mask) {
        size_t home = self->slots[at].hash & mask;
        if (((at - home) & mask) >= ((at - gap) & mask)) {
            self->slots[gap] = self->slots[at];
            gap = at;
        }
    }
    self->slots[gap].entry = NULL;
}

struct route_entry *route_table_find(const struct route_table *self, struct span topic,
                                     uint64_t hash)
{
    const struct route_slot *slot = slots_find(self, topic, hash);
    return slot != NULL ? slot->entry : NULL;
}

/* --- tables --- */

static struct route_table *routes_table(struct routes *self, struct exchange *exchange)
{
    struct route_table *table = exchange->routes;
    if (table == NULL) {
        table = MEM_NEW(struct route_table);
        table->routes = self;
        table->exchange = exchange;
        list_init(&table->wanted);
        list_init(&table->of_wanted);
        list_push_back(&self->tables, &table->of_routes);
        exchange->routes = table;
    }
    return table;
}

struct route_table *routes_find_table(const struct routes *self, struct span namespace_,
                                      struct span name)
{
    const struct exchange *exchange = exchanges_find(self->frontd->exchanges, namespace_, name);
    return exchange != NULL ? exchange->routes : NULL;
}

static void routes_free_table(struct routes *self, struct route_table *table)
{
    for (size_t i = 0; i < table->capacity; i++) {
        struct route_entry *entry = table->slots[i].entry;
        if (entry != NULL) {
            list_remove(&entry->link);
            publisher_leave(self, entry->publisher);
            mem_free(entry);
        }
    }
    table->exchange->routes = NULL;
    list_remove(&table->of_routes);
    list_remove(&table->of_wanted);
    route_table_free_ring(table);
    mem_free(table->slots);
    mem_free(table);
}

void routes_forget(struct routes *self, struct exchange *exchange)
{
    struct route_table *table = exchange->routes;
    if (table != NULL) {
        INVARIANT(table->count == 0);
        routes_free_table(self, table);
    }
}

static void routes_free_garbage(struct routes *self)
{
    struct list *node = NULL;
    while ((node = list_pop_front(&self->garbage)) != NULL) {
        mem_free(LIST_ENTRY(node, struct route_entry, link));
    }
}

void routes_destroy(struct routes **self)
{
    struct routes *routes = *self;
    *self = NULL;
    if (routes == NULL) {
        return;
    }
    loop_defer_cancel(routes->frontd->loop, routes_end_turn, routes);
    wheel_cancel(loop_wheel(routes->frontd->loop), &routes->timer);
    LIST_FOREACH (&routes->tables, node) {
        routes_free_table(routes, LIST_ENTRY(node, struct route_table, of_routes));
    }
    routes_free_garbage(routes);
    size_t cursor = 0;
    struct lookup *lookup = NULL;
    while ((lookup = hash64_next(routes->lookups, &cursor)) != NULL) {
        mem_free(lookup);
    }
    hash64_destroy(&routes->lookups);
    hash64_destroy(&routes->publishers);
    mem_free(routes);
}

/* --- in and out --- */

static size_t route_entry_cost(const struct route_entry *entry)
{
    return entry->bytes + ALLOCATION_OVERHEAD;
}

void routes_want(struct routes *self, struct route_entry *entry)
{
    struct route_table *table = entry->table;
    entry->state = ROUTE_WANTED;
    entry->lookup = NULL;
    entry->is_overtaken = false;
    list_push_back(&table->wanted, &entry->link);
    if (!list_is_linked(&table->of_wanted)) {
        list_push_back(&self->tables_wanted, &table->of_wanted);
    }
    if (!self->is_blocked) {
        routes_defer(self);
    }
}

static void routes_bring_in(struct routes *self, struct route_table *table, struct span topic,
                            uint64_t hash, uint64_t publisher)
{
    size_t size = sizeof(struct route_entry) + topic.size;
    struct route_entry *entry = mem_new(size);
    entry->table = table;
    entry->bytes = (uint32_t) size;
    entry->topic_size = (uint8_t) topic.size;
    if (topic.size != 0) {
        memcpy(entry->topic, topic.data, topic.size);
    }
    entry->publisher = publisher_join(self, publisher);
    list_init(&entry->link);
    if ((table->count + 1) * 3 > table->capacity * 2) {
        slots_resize(table, table->capacity != 0 ? 2 * table->capacity : SLOTS_MIN);
    }
    slots_put(table, hash, entry);
    table->count++;
    self->counts.entries++;
    routes_account(self, route_entry_cost(entry), 0);
    routes_want(self, entry);
    if (!wheel_timer_is_running(&self->timer)) {
        loop_timer_start(self->frontd->loop, &self->timer, SWEEP_MS);
    }
}

void routes_drop(struct routes *self, struct route_entry *entry)
{
    struct route_table *table = entry->table;
    struct span topic = route_entry_topic(entry);
    struct route_slot *slot = slots_find(table, topic, hash_bytes(topic, self->seed));
    INVARIANT(slot != NULL && slot->entry == entry);

    slots_remove(table, slot);
    table->count--;
    self->counts.entries--;
    self->filled -= entry->state == ROUTE_FILLED ? 1 : 0;
    routes_account(self, 0, route_entry_cost(entry));
    publisher_leave(self, entry->publisher);
    entry->state = ROUTE_GONE;
    list_remove(&entry->link);
    list_push_back(&self->garbage, &entry->link);
    if (list_is_empty(&table->wanted)) {
        list_remove(&table->of_wanted);
    }
    if (table->count == 0) {
        slots_resize(table, 0);
        route_table_free_ring(table);
    } else if (table->capacity > SLOTS_SHRINK_FROM && table->count * 8 < table->capacity) {
        slots_resize(table, table->capacity / 2);
    }
    routes_defer(self);
}

void routes_replace(struct routes *self, struct route_entry *entry, struct route_entry *new_entry)
{
    struct span topic = route_entry_topic(entry);
    struct route_slot *slot = slots_find(entry->table, topic, hash_bytes(topic, self->seed));
    INVARIANT(slot != NULL && slot->entry == entry);

    slot->entry = new_entry;
    routes_account(self, route_entry_cost(new_entry), route_entry_cost(entry));
    list_remove(&entry->link);
    mem_free(entry);
    new_entry->state = ROUTE_FILLED;
    self->filled++;
    list_push_back(&self->clock, &new_entry->link);
}

/* --- the clock --- */

static struct route_entry *routes_under_hand(const struct routes *self)
{
    return LIST_ENTRY(self->clock.next, struct route_entry, link);
}

/* Spare the entry under the hand. */
static void routes_hand_on(struct routes *self, struct route_entry *entry)
{
    entry->age = (uint8_t) (entry->age < UINT8_MAX ? entry->age + 1 : entry->age);
    list_remove(&entry->link);
    list_push_back(&self->clock, &entry->link);
}

void routes_sweep(struct routes *self)
{
    self->visits += self->filled;
    while (self->visits >= SWEEP_TICKS && !list_is_empty(&self->clock)) {
        struct route_entry *entry = routes_under_hand(self);
        self->visits -= SWEEP_TICKS;
        if (entry->age >= AGE_IDLE) {
            self->counts.evicted++;
            routes_drop(self, entry);
        } else {
            routes_hand_on(self, entry);
        }
    }
}

static void routes_make_room(struct routes *self)
{
    const struct settings *settings = self->frontd->settings;
    unsigned spared = 0;
    while ((self->counts.entries > settings->routes_entries_max ||
            self->counts.bytes > settings->routes_bytes_max) &&
           !list_is_empty(&self->clock)) {
        struct route_entry *entry = routes_under_hand(self);
        if (entry->age == 0 && spared < SPARED_MAX && spared < self->filled) {
            spared++;
            routes_hand_on(self, entry);
        } else {
            self->counts.evicted++;
            routes_drop(self, entry);
        }
    }
}

static void routes_end_turn(void *ud)
{
    struct routes *self = ud;
    routes_make_room(self);
    routes_free_garbage(self);
    self->is_deferred = false;
    routes_ask(self);
}

/* --- finding --- */

/* May a topic be brought in? */
static bool routes_has_room(const struct routes *self, const struct exchange *exchange,
                            uint64_t publisher)
{
    const struct settings *settings = self->frontd->settings;
    uint64_t topics_max = exchange->topics_max != 0 ? exchange->topics_max : settings->topics_max;
    if (routes_live_topics(exchange) >= topics_max) {
        return false;
    }
    const struct publisher *known = hash64_get(self->publishers, publisher);
    return known == NULL || known->topics < settings->connection_topics_max;
}

/* While so many are being asked for, others must wait: known routes must not make room for topics that nobody can route. */
static bool routes_is_full(const struct routes *self)
{
    return self->counts.entries - self->filled >= self->frontd->settings->routes_entries_max / 4;
}

/* The route is there, but something has changed since it was last found good. */
static bool routes_is_still_good(const struct routes *self, struct route_entry *entry)
{
    if (entry->globals != self->globals && !routes_source_is_known(self, entry->source)) {
        return false;
    }
    if (route_table_has_changed(entry->table, route_entry_topic(entry), entry->changes, 0)) {
        return false;
    }
    entry->globals = self->globals;
    entry->changes = entry->table->changes;
    return true;
}

static enum routes_result routes_miss(struct routes *self, struct exchange *exchange,
                                      struct span topic, uint64_t hash, uint64_t publisher,
                                      bool *ret_is_bad)
{
    *ret_is_bad = topic_check(topic) != NULL;
    if (*ret_is_bad) {
        return ROUTES_REFUSED;
    }
    if (!self->is_trusted || routes_is_full(self)) {
        return ROUTES_WAIT;
    }
    if (!routes_has_room(self, exchange, publisher)) {
        return ROUTES_REFUSED;
    }
    self->counts.misses++;
    routes_bring_in(self, routes_table(self, exchange), topic, hash, publisher);
    return ROUTES_WAIT;
}

/* Once a turn: have we stood still? Then nothing is trusted from here on. */
static void routes_new_turn(struct routes *self)
{
    self->turn_us = loop_now_us(self->frontd->loop);
    routers_check_pause(self->frontd->routers);
}

/* The exchange's own limit is held here, for it may change at any time; routerds hold that of the whole node. */
static const struct route over_fanout = {.error = ERR_QUOTA};

enum routes_result routes_find(struct routes *self, struct exchange *exchange, struct span topic,
                               uint64_t publisher, const struct route **ret_route, bool *ret_is_bad)
{
    if (self->turn_us != loop_now_us(self->frontd->loop)) {
        routes_new_turn(self);
    }
    uint64_t hash = hash_bytes(topic, self->seed);
    const struct route_table *table = exchange->routes;
    struct route_entry *entry = table != NULL ? route_table_find(table, topic, hash) : NULL;
    *ret_is_bad = false;
    if (entry == NULL) {
        return routes_miss(self, exchange, topic, hash, publisher, ret_is_bad);
    }
    if (entry->state != ROUTE_FILLED || !self->is_trusted) {
        return ROUTES_WAIT;
    }
    if ((entry->changes != table->changes || entry->globals != self->globals) &&
        !routes_is_still_good(self, entry)) {
        self->counts.stale++;
        routes_drop(self, entry);
        return routes_miss(self, exchange, topic, hash, publisher, ret_is_bad);
    }
    if (entry->age != 0) {
        entry->age = 0;
    }
    self->counts.hits++;
    bool is_over = exchange->fanout_max != 0 && entry->route.entities > exchange->fanout_max;
    *ret_route = is_over ? &over_fanout : &entry->route;
    return ROUTES_FOUND;
}

void routes_trust(struct routes *self, bool is_trusted)
{
    bool is_better = is_trusted && !self->is_trusted;
    self->is_trusted = is_trusted;
    if (is_better) {
        self->on_progress(self->ud);
    }
}

void routes_count(const struct routes *self, struct routes_counts *ret_counts)
{
    *ret_counts = self->counts;
}

uint64_t routes_live_topics(const struct exchange *exchange)
{
    return exchange->routes != NULL ? exchange->routes->count : 0;
}
