/* response_given: remembers which client has which request, and tells the frontds that keep them of those that will not be answered: all of a turn in one
 * event. Connections end behind the end-of-turn hooks, so the telling is a deferred call. Owns its entries. Must never tell of a loss before a reply to that address which the same client gave earlier. */
#include "frontd/response_given.h"

#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/run/presence.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"

#include "frontd/neighbours.h"
#include "frontd/switch.h"

enum {
    SPARE_MAX = 4096,
    TELL_BYTES_MAX = 64 << 10, /* of numbers in one event */
    LOST_REQUESTS = 1,
    LOST_UNDELIVERED = 2,
};

/* What one neighbour is to be told at the end of the turn: numbers of requests, 8 bytes each. */
struct tell {
    struct buf lost;
    struct buf undelivered;
};

struct given_set {
    struct frontd *frontd;
    struct hash *by_key;
    struct list by_age; /* the oldest first */
    struct list spare;
    size_t spare_count;
    uint64_t tell_mask; /* which of `tells` hold anything; not 0: tell_all is coming */
    struct tell tells[PRESENCE_INSTANCES_MAX];
};

static void tell_all(void *ud);

struct given_set *given_set_new(struct frontd *frontd)
{
    struct given_set *self = MEM_NEW(struct given_set);
    self->frontd = frontd;
    self->by_key = hash_new();
    list_init(&self->by_age);
    list_init(&self->spare);
    return self;
}

void given_set_destroy(struct given_set **self)
{
    struct given_set *set = *self;
    struct list *node = NULL;
    *self = NULL;
    if (set == NULL) {
        return;
    }
    loop_defer_cancel(set->frontd->loop, tell_all, set);
    LIST_FOREACH (&set->by_age, old) {
        given_forget(LIST_ENTRY(old, struct given, of_age));
    }
    while ((node = list_pop_front(&set->spare)) != NULL) {
        mem_free(LIST_ENTRY(node, struct given, of_age));
    }
    for (unsigned i = 0; i < PRESENCE_INSTANCES_MAX; i++) {
        buf_release(&set->tells[i].lost);
        buf_release(&set->tells[i].undelivered);
    }
    hash_destroy(&set->by_key);
    mem_free(set);
}

uint64_t given_set_count(const struct given_set *self)
{
    return hash_count(self->by_key);
}

/* --- entries --- */

static struct span key_span(const struct given_key *key)
{
    _Static_assert(sizeof(struct given_key) == 24, "no padding in a key");
    return span_make(key, sizeof(*key));
}

struct given *given_find(const struct given_set *self, const struct given_key *key)
{
    return (struct given *) hash_get(self->by_key, key_span(key));
}

void given_forget(struct given *self)
{
    struct given_set *set = self->set;
    (void) hash_remove(set->by_key, key_span(&self->key)); /* returns self */
    list_remove(&self->of_session);
    list_remove(&self->of_request);
    list_remove(&self->of_age);
    wheel_cancel(loop_wheel(set->frontd->loop), &self->timer);
    if (set->spare_count == SPARE_MAX) {
        mem_free(self);
        return;
    }
    list_push_front(&set->spare, &self->of_age);
    set->spare_count++;
}

void given_forget_all(struct list *of_request)
{
    while (!list_is_empty(of_request)) {
        given_forget(LIST_ENTRY(of_request->next, struct given, of_request));
    }
}

static void given_expired(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    given_forget((struct given *) ud);
}

static struct given *given_new(struct given_set *self)
{
    struct list *node = NULL;
    struct given *given = NULL;
    if (given_set_count(self) >= self->frontd->settings->open_requests_max) {
        given_forget(LIST_ENTRY(self->by_age.next, struct given, of_age));
    }
    node = list_pop_front(&self->spare);
    if (node != NULL) {
        self->spare_count--;
        given = LIST_ENTRY(node, struct given, of_age);
    } else {
        given = MEM_NEW(struct given);
        given->set = self;
        wheel_timer_init(&given->timer, given_expired, given);
    }
    list_init(&given->of_session);
    list_init(&given->of_request);
    list_init(&given->of_age);
    return given;
}

void given_add(struct given_set *self, struct session *session, const struct given_key *key,
               struct list *of_request, uint32_t timeout_ms)
{
    struct given *given = given_find(self, key);
    if (given != NULL) {
        given->count++;
        return;
    }
    given = given_new(self);
    given->key = *key;
    given->session = session;
    given->count = 1;
    given->replying = 0;
    (void) hash_put(self->by_key, key_span(&given->key), given); /* was absent */
    list_push_back(&session->awaiting, &given->of_session);
    list_push_back(&self->by_age, &given->of_age);
    if (of_request != NULL) {
        list_push_back(of_request, &given->of_request);
    } else {
        loop_timer_start(self->frontd->loop, &given->timer, timeout_ms);
    }
}

/* --- telling --- */

static void tell_send(struct given_set *self, unsigned neighbour, struct buf *numbers,
                      bool is_undelivered)
{
    struct buf meta = {0};
    if (numbers->size == 0) {
        return;
    }
    pb_append_bytes(&meta, LOST_REQUESTS, buf_span(numbers));
    if (is_undelivered) {
        pb_append_varint(&meta, LOST_UNDELIVERED, 1);
    }
    /* If it is not up it has no requests any more. */
    (void) neighbours_tell(self->frontd->neighbours, neighbour, RAILGUN__BUS_TYPE__BUS_RS_LOST,
                           buf_span(&meta));
    buf_release(&meta);
    buf_release(numbers);
}

static void tell_add(struct given_set *self, uint64_t origin, uint64_t request, uint32_t times,
                     bool is_undelivered)
{
    if (origin >= PRESENCE_INSTANCES_MAX) {
        return;
    }
    unsigned neighbour = (unsigned) origin;
    struct buf *numbers =
        is_undelivered ? &self->tells[neighbour].undelivered : &self->tells[neighbour].lost;
    uint8_t number[8];
    bytes_put_u64(number, request);
    if (self->tell_mask == 0) {
        loop_defer(self->frontd->loop, tell_all, self);
    }
    self->tell_mask |= UINT64_C(1) << neighbour;
    for (uint32_t i = 0; i < times; i++) {
        buf_append(numbers, span_make(number, sizeof(number)));
        if (numbers->size >= TELL_BYTES_MAX) {
            tell_send(self, neighbour, numbers, is_undelivered);
        }
    }
}

static void tell_all(void *ud)
{
    struct given_set *self = ud;
    while (self->tell_mask != 0) {
        unsigned neighbour = (unsigned) __builtin_ctzll(self->tell_mask);
        self->tell_mask &= self->tell_mask - 1;
        tell_send(self, neighbour, &self->tells[neighbour].undelivered, true);
        tell_send(self, neighbour, &self->tells[neighbour].lost, false);
    }
}

void given_tell_undelivered(struct given_set *self, unsigned origin, uint64_t request)
{
    tell_add(self, origin, request, 1, true);
}

/* --- replies, and ends --- */

void given_replying(struct given_set *self, const struct given_key *key)
{
    struct given *given = given_find(self, key);
    if (given != NULL) {
        given->replying++;
    }
}

void given_replied(struct given_set *self, const struct given_key *key, bool is_more_wanted)
{
    struct given *given = given_find(self, key);
    if (given == NULL || given->replying == 0) {
        return; /* forgotten meanwhile, or forgotten and given again */
    }
    given->replying--;
    if (!is_more_wanted) {
        given_forget(given);
    } else if (given->session == NULL && given->replying == 0) {
        tell_add(self, key->origin, key->request, given->count, false);
        given_forget(given);
    }
}

void given_session_closed(struct given_set *self, struct session *session)
{
    struct list *node = NULL;
    while ((node = list_pop_front(&session->awaiting)) != NULL) {
        struct given *given = LIST_ENTRY(node, struct given, of_session);
        INVARIANT(given->key.origin != ROUTE_LOCAL);
        if (given->replying != 0) {
            given->session = NULL; /* the loss must not overtake the reply */
            continue;
        }
        tell_add(self, given->key.origin, given->key.request, given->count, false);
        given_forget(given);
    }
}

void given_neighbour_lost(struct given_set *self, unsigned neighbour)
{
    LIST_FOREACH (&self->by_age, node) {
        struct given *given = LIST_ENTRY(node, struct given, of_age);
        if (given->key.origin == neighbour) {
            given_forget(given);
        }
    }
    if (neighbour < PRESENCE_INSTANCES_MAX) {
        buf_release(&self->tells[neighbour].lost);
        buf_release(&self->tells[neighbour].undelivered);
    }
}
