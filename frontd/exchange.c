/* exchange: keeps one object for each exchange in use, found by namespace and name. Owns them; their routes belong to routes.c. A named one exists only while the
 * catalogue has it. What is not used is forgotten after a minute, so that clients that make up names cannot fill the memory. */
#include "frontd/exchange.h"

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/invariant.h"
#include "common/base/list.h"
#include "common/base/mem.h"
#include "common/base/name.h"
#include "common/run/loop.h"
#include "common/wire/pb.h"

#include "frontd/catalog.h"
#include "frontd/frontd.h"
#include "frontd/routes.h"
#include "frontd/subscription.h"

enum {
    EXCHANGES_MAX = 10000,
    EXCHANGE_IDLE_MS = 60 * 1000,
    EXCHANGE_LOOK_MS = 5 * 1000,
    KEY_SIZE_MAX = 2 * NAME_SIZE_MAX + 1,
};

enum { /* ExchangeSpec of client.proto */
       SPEC_SUBSCRIPTIONS = 1,
       SPEC_TOPICS = 2,
       SPEC_FANOUT = 3,
};

struct exchange_node {
    struct exchange exchange;
    struct list of_idle; /* linked while nobody refers to it */
    uint64_t idle_since_ms;
    bool is_deleted; /* the catalogue has it no more */
    size_t key_size;
    uint8_t key[]; /* namespace, NUL, name */
};

struct exchanges {
    struct frontd *frontd;
    struct hash *by_key;
    struct list idle;
    struct wheel_timer timer;
    struct exchange_counts forgotten; /* of those that are no more */
};

static struct exchange_node *exchange_node_of(struct exchange *exchange)
{
    return (struct exchange_node *) exchange; /* its first member */
}

static struct span exchange_node_key(const struct exchange_node *node)
{
    return span_make(node->key, node->key_size);
}

static void exchanges_look(struct wheel_timer *timer, void *ud);

struct exchanges *exchanges_new(struct frontd *frontd)
{
    struct exchanges *self = MEM_NEW(struct exchanges);
    self->frontd = frontd;
    self->by_key = hash_new();
    list_init(&self->idle);
    wheel_timer_init(&self->timer, exchanges_look, self);
    return self;
}

/* What still waits is counted from now on. */
static void exchanges_forget_counts(struct exchanges *self, struct exchange *exchange)
{
    struct exchange_counts *counts = &exchange->counts;
    self->forgotten.published += counts->published;
    self->forgotten.unmatched += counts->unmatched;
    self->forgotten.refused += counts->refused;
    self->forgotten.matched += counts->matched - exchange->queued;
    self->forgotten.delivered += counts->delivered;
    self->forgotten.dropped += counts->dropped;
    self->forgotten.requests += counts->requests;
    *counts = (struct exchange_counts){.matched = exchange->queued};
}

static void exchanges_free(struct exchanges *self, struct exchange_node *node)
{
    exchanges_forget_counts(self, &node->exchange);
    (void) hash_remove(self->by_key, exchange_node_key(node));
    list_remove(&node->of_idle);
    mem_free(node);
}

void exchanges_destroy(struct exchanges **self)
{
    struct exchanges *exchanges = *self;
    *self = NULL;
    if (exchanges == NULL) {
        return;
    }
    size_t cursor = 0;
    struct exchange_node *node = NULL;
    while ((node = hash_next(exchanges->by_key, &cursor)) != NULL) {
        INVARIANT(node->exchange.routes == NULL);
        exchanges_free(exchanges, node);
    }
    hash_destroy(&exchanges->by_key);
    wheel_cancel(loop_wheel(exchanges->frontd->loop), &exchanges->timer);
    mem_free(exchanges);
}

/* --- finding and making --- */

/* Writes the key; returns its size, 0: longer than any that there is. */
static size_t exchange_key(struct span namespace_, struct span name, uint8_t key[KEY_SIZE_MAX])
{
    size_t size = namespace_.size + 1 + name.size;
    if (namespace_.size > NAME_SIZE_MAX || name.size > NAME_SIZE_MAX) {
        return 0;
    }
    memset(key, 0, size);
    if (namespace_.size != 0) {
        memcpy(key, namespace_.data, namespace_.size);
    }
    if (name.size != 0) {
        memcpy(key + namespace_.size + 1, name.data, name.size);
    }
    return size;
}

struct exchange *exchanges_find(const struct exchanges *self, struct span namespace_,
                                struct span name)
{
    uint8_t key[KEY_SIZE_MAX];
    size_t size = exchange_key(namespace_, name, key);
    struct exchange_node *node = hash_get(self->by_key, span_make(key, size));
    return size != 0 && node != NULL ? &node->exchange : NULL;
}

static struct exchange_node *exchange_node_new(struct span key, size_t namespace_size)
{
    struct exchange_node *node = mem_new(sizeof(*node) + key.size);
    node->key_size = key.size;
    memcpy(node->key, key.data, key.size);
    node->exchange.namespace_ = span_make(node->key, namespace_size);
    node->exchange.name = span_make(node->key + namespace_size + 1, key.size - namespace_size - 1);
    list_init(&node->of_idle);
    return node;
}

static void exchange_take_spec(struct exchange *self, struct span spec)
{
    struct pb_field field;
    self->subscriptions_max = 0;
    self->topics_max = 0;
    self->fanout_max = 0;
    while (pb_next(&spec, &field) == 1) { /* the catalogue has checked it */
        if (field.type != PB_VARINT) {
            continue;
        }
        if (field.number == SPEC_SUBSCRIPTIONS) {
            self->subscriptions_max = field.value;
        } else if (field.number == SPEC_TOPICS) {
            self->topics_max = field.value;
        } else if (field.number == SPEC_FANOUT) {
            self->fanout_max = (uint32_t) field.value;
        }
    }
}

/* May an exchange of this name be used? `*ret_spec` is set for named ones only. */
static int exchanges_check_name(const struct exchanges *self, struct span namespace_,
                                struct span name, struct span *ret_spec)
{
    const struct catalog *catalog = self->frontd->catalog;
    if (name.size == 0) {
        return 0;
    }
    if (name_check(name) != NULL) {
        return ERR_BAD_REQUEST;
    }
    if (!catalog_is_known(catalog)) {
        const struct frontd *frontd = self->frontd;
        uint64_t until_ms = frontd->started_ms + frontd->settings->catalog_wait_ms;
        return loop_now_ms(frontd->loop) < until_ms ? ERR_AGAIN : ERR_NO_QUORUM;
    }
    const struct catalog_exchange *entry = catalog_find_exchange(catalog, namespace_, name);
    if (entry == NULL) {
        return ERR_NOT_FOUND;
    }
    *ret_spec = entry->spec;
    return 0;
}

int exchanges_ref(struct exchanges *self, struct span namespace_, struct span name,
                  struct exchange **ret_exchange)
{
    struct span spec = {0};
    int result = exchanges_check_name(self, namespace_, name, &spec);
    if (result != 0) {
        return result;
    }
    uint8_t key[KEY_SIZE_MAX];
    size_t size = exchange_key(namespace_, name, key);
    if (size == 0) {
        return ERR_BAD_REQUEST;
    }
    struct exchange_node *node = hash_get(self->by_key, span_make(key, size));
    if (node == NULL) {
        if (hash_count(self->by_key) >= EXCHANGES_MAX) {
            return ERR_QUOTA;
        }
        node = exchange_node_new(span_make(key, size), namespace_.size);
        (void) hash_put(self->by_key, exchange_node_key(node), node);
    }
    exchange_take_spec(&node->exchange, spec);
    node->is_deleted = false;
    list_remove(&node->of_idle);
    node->exchange.references++;
    *ret_exchange = &node->exchange;
    return 0;
}

const char *exchanges_problem(int error)
{
    switch (error) {
    case ERR_NOT_FOUND:
        return "no such exchange";
    case ERR_NO_QUORUM:
        return "raftd is not reachable";
    case ERR_QUOTA:
        return "too many exchanges and namespaces are in use";
    default:
        return "exchange: no valid name";
    }
}

void exchanges_unref(struct exchanges *self, struct exchange **exchange)
{
    struct exchange_node *node = exchange_node_of(*exchange);
    *exchange = NULL;
    INVARIANT(node->exchange.references > 0);

    node->exchange.references--;
    if (node->exchange.references == 0) {
        node->idle_since_ms = loop_now_ms(self->frontd->loop);
        list_push_back(&self->idle, &node->of_idle);
        if (!wheel_timer_is_running(&self->timer)) {
            loop_timer_start(self->frontd->loop, &self->timer, EXCHANGE_LOOK_MS);
        }
    }
}

/* --- forgetting --- */

/* While somebody publishes to it, it has live topics. */
static bool exchange_node_is_over(const struct exchange_node *node, uint64_t now_ms)
{
    return routes_live_topics(&node->exchange) == 0 &&
           (node->is_deleted || now_ms - node->idle_since_ms >= EXCHANGE_IDLE_MS);
}

void exchanges_forget_idle(struct exchanges *self, uint64_t now_ms)
{
    LIST_FOREACH (&self->idle, link) {
        struct exchange_node *node = LIST_ENTRY(link, struct exchange_node, of_idle);
        if (exchange_node_is_over(node, now_ms)) {
            routes_forget(self->frontd->routes, &node->exchange);
            exchanges_free(self, node);
        }
    }
}

static void exchanges_look(struct wheel_timer *timer, void *ud)
{
    struct exchanges *self = ud;
    exchanges_forget_idle(self, loop_now_ms(self->frontd->loop));
    if (!list_is_empty(&self->idle)) {
        loop_timer_start(self->frontd->loop, timer, EXCHANGE_LOOK_MS);
    }
}

void exchanges_catalog_changed(struct exchanges *self)
{
    size_t cursor = 0;
    struct exchange *exchange = NULL;
    if (!catalog_is_known(self->frontd->catalog)) {
        return;
    }
    while ((exchange = exchanges_next(self, &cursor)) != NULL) {
        struct exchange_node *node = exchange_node_of(exchange);
        struct span spec = {0};
        if (exchange->name.size == 0 || node->is_deleted) {
            continue;
        }
        if (exchanges_check_name(self, exchange->namespace_, exchange->name, &spec) == 0) {
            exchange_take_spec(exchange, spec);
            continue;
        }
        /* it goes with its last reference; if it is ensured again before, it begins anew */
        node->is_deleted = true;
        subscriptions_exchange_gone(self->frontd->subscriptions, exchange, ERR_NOT_FOUND);
        exchanges_forget_counts(self, exchange);
    }
}

const struct exchange_counts *exchanges_forgotten(const struct exchanges *self)
{
    return &self->forgotten;
}

struct exchange *exchanges_next(const struct exchanges *self, size_t *cursor)
{
    struct exchange_node *node = hash_next(self->by_key, cursor);
    return node != NULL ? &node->exchange : NULL;
}
