/* subscriptions: the table of all: ids, opening and removing, answers to EsSubscribe, and the members of groups here. Owns the subscriptions and the pool of
 * their queues. An id is 16 bits of this process (its instance and a random part), 24 of generation, 24 of slot: found without a search, and
 * a slot whose generations are used up is never used again. */
#include "frontd/subscription.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/base/rand.h"
#include "common/run/presence.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"

#include "frontd/exchange.h"
#include "frontd/responses.h"
#include "frontd/subscription_private.h"
#include "frontd/switch.h"

#define BODY(name) RAILGUN__FRAME__BODY_##name

enum {
    SLOT_BITS = 24,
    SLOT_MASK = (1 << SLOT_BITS) - 1,
    SLOTS_MIN = 64,
    GENERATIONS = 1 << 24,
    RANDOM_BITS = 10, /* of the upper 16; the others are the instance */
    LINEAR_MAX = 16,  /* so many of a session are found by looking at each */
    OK_SUBSCRIPTION = 1,
    OK_MESSAGES = 2,
    OK_BYTES = 3,
    CANCEL_CODE = 1,
    CANCEL_DETAIL = 2,
};

static void pending_fire(struct wheel_timer *timer, void *ud);

static void request_dropped(void *ud, unsigned origin, uint64_t request)
{
    struct subscriptions *self = ud;
    responses_undelivered(self->frontd->responses, origin, request);
}

struct subscriptions *subscriptions_new(struct frontd *frontd)
{
    struct subscriptions *self = MEM_NEW(struct subscriptions);
    int instance = presence_instance("frontd", frontd->name);
    uint64_t chance = entropy_u64();
    self->frontd = frontd;
    self->pool = subscription_queue_pool_new(&frontd->settings->es_queued_total_bytes_max,
                                             request_dropped, self);
    uint64_t part = chance % ((1U << RANDOM_BITS) - 1) + 1; /* never 0, so no id is */
    self->id_base = ((uint64_t) (instance & (PRESENCE_INSTANCES_MAX - 1)) << RANDOM_BITS | part)
                    << 48;
    self->generation_base = (uint32_t) (chance >> 32);
    list_init(&self->pendings);
    wheel_timer_init(&self->pending_timer, pending_fire, self);
    self->groups = hash_new();
    return self;
}

void subscriptions_destroy(struct subscriptions **self)
{
    struct subscriptions *table = *self;
    *self = NULL;
    if (table == NULL) {
        return;
    }
    INVARIANT(table->counts.count == 0); /* they went with their sessions */
    wheel_cancel(loop_wheel(table->frontd->loop), &table->pending_timer);
    hash_destroy(&table->groups);
    subscription_queue_pool_destroy(&table->pool);
    mem_free(table->tombstones);
    mem_free(table->slots);
    mem_free(table);
}

void subscriptions_count(const struct subscriptions *self, struct subscriptions_counts *ret_counts)
{
    *ret_counts = self->counts;
    ret_counts->memory_bytes = subscription_queue_pool_bytes(self->pool);
}

/* --- ids --- */

static uint32_t slot_take(struct subscriptions *self)
{
    if (self->first_free == 0) {
        uint32_t count = self->slot_count == 0 ? (uint32_t) SLOTS_MIN : self->slot_count * 2;
        INVARIANT(count <= SLOT_MASK + 1); /* the settings allow fewer subscriptions */
        self->slots = (struct subscription_slot *) mem_resize(self->slots, count,
                                                              sizeof(struct subscription_slot));
        for (uint32_t i = count; i-- > self->slot_count;) {
            self->slots[i] = (struct subscription_slot){.next_free = self->first_free};
            self->first_free = i + 1;
        }
        self->slot_count = count;
    }
    uint32_t slot = self->first_free - 1;
    self->first_free = self->slots[slot].next_free;
    return slot;
}

static void slot_give(struct subscriptions *self, uint32_t slot)
{
    self->slots[slot].subscription = NULL;
    if (++self->slots[slot].uses < GENERATIONS) {
        self->slots[slot].next_free = self->first_free;
        self->first_free = slot + 1;
    }
}

static uint64_t slot_id(const struct subscriptions *self, uint32_t slot)
{
    uint64_t generation = (self->generation_base + self->slots[slot].uses) % GENERATIONS;
    return self->id_base | generation << SLOT_BITS | slot;
}

struct subscription *subscriptions_find(const struct subscriptions *self, uint64_t id)
{
    uint32_t slot = (uint32_t) id & SLOT_MASK;
    struct subscription *found = slot < self->slot_count ? self->slots[slot].subscription : NULL;
    return found != NULL && found->registration.id == id ? found : NULL;
}

/* --- those of a session --- */

struct subscription *session_find_subscription(const struct session *session, uint32_t number)
{
    if (session->subscription_by_number != NULL) {
        return (struct subscription *) hash64_get(session->subscription_by_number, number);
    }
    if (session->subscription_count == 0) {
        return NULL;
    }
    LIST_FOREACH (&session->subscriptions, node) {
        struct subscription *self = LIST_ENTRY(node, struct subscription, of_session);
        if (self->number == number) {
            return self;
        }
    }
    return NULL;
}

static void session_add(struct session *session, struct subscription *self)
{
    list_push_back(&session->subscriptions, &self->of_session);
    session->subscription_count++;
    if (session->subscription_by_number == NULL && session->subscription_count > LINEAR_MAX) {
        session->subscription_by_number = hash64_new();
        LIST_FOREACH (&session->subscriptions, node) {
            struct subscription *other = LIST_ENTRY(node, struct subscription, of_session);
            (void) hash64_put(session->subscription_by_number, other->number, other); /* new */
        }
    } else if (session->subscription_by_number != NULL) {
        (void) hash64_put(session->subscription_by_number, self->number, self); /* was absent */
    }
}

static void session_remove(struct session *session, struct subscription *self)
{
    list_remove(&self->of_session);
    if (session->subscription_by_number != NULL) {
        (void) hash64_remove(session->subscription_by_number, self->number); /* is self */
    }
    if (--session->subscription_count == 0) {
        hash64_destroy(&session->subscription_by_number);
    }
}

/* --- groups --- */

static void group_join(struct subscription *self)
{
    struct subscriptions *table = self->session->frontd->subscriptions;
    const struct exchange *exchange = self->registration.exchange;
    uint8_t key[sizeof(exchange) + UINT8_MAX];
    struct span name = self->registration.group;
    memcpy(key, &exchange, sizeof(exchange));
    memcpy(key + sizeof(exchange), name.data, name.size);
    size_t key_size = sizeof(exchange) + name.size;
    struct member_group *group =
        (struct member_group *) hash_get(table->groups, span_make(key, key_size));
    if (group == NULL) {
        group = (struct member_group *) mem_new(sizeof(*group) + key_size);
        memcpy(group + 1, key, key_size);
        group->key = span_make(group + 1, key_size);
        group->exchange = self->registration.exchange;
        list_init(&group->members);
        (void) hash_put(table->groups, group->key, group); /* was absent */
    }
    struct member *member = MEM_NEW(struct member);
    member->group = group;
    member->subscription = self;
    member->is_idle = true; /* as others believe of whom they know nothing */
    list_init(&member->load.of_changed);
    list_init(&member->load.of_told);
    member->load.told_credit = true;
    list_init(&member->of_group);
    list_push_back(&group->members, &member->of_group);
    self->member = member;
}

static void tombstone_put(struct subscriptions *self, uint64_t id, struct member_group *group)
{
    if (self->tombstones == NULL) {
        self->tombstones = MEM_NEW_ARRAY(SUBSCRIPTION_TOMBSTONES, struct tombstone);
    }
    self->tombstones[self->next_tombstone] = (struct tombstone){id, group};
    self->next_tombstone = (self->next_tombstone + 1) % SUBSCRIPTION_TOMBSTONES;
}

static void group_leave(struct subscription *self)
{
    struct member *member = self->member;
    if (member == NULL) {
        return;
    }
    struct subscriptions *table = self->session->frontd->subscriptions;
    struct member_group *group = member->group;
    switch_member_gone(self->session->frontd, self);
    list_remove(&member->of_group);
    if (list_is_empty(&group->members)) {
        for (size_t i = 0; table->tombstones != NULL && i < SUBSCRIPTION_TOMBSTONES; i++) {
            if (table->tombstones[i].group == group) {
                table->tombstones[i] = (struct tombstone){0};
            }
        }
        (void) hash_remove(table->groups, group->key); /* is this one */
        mem_free(group);
    } else {
        tombstone_put(table, self->registration.id, group);
    }
    MEM_FREE(self->member);
}

static struct member_group *group_of(const struct subscriptions *self, uint64_t id)
{
    const struct subscription *subscription = subscriptions_find(self, id);
    if (subscription != NULL) {
        return subscription->member != NULL ? subscription->member->group : NULL;
    }
    for (size_t i = 0; self->tombstones != NULL && i < SUBSCRIPTION_TOMBSTONES; i++) {
        if (self->tombstones[i].id == id) {
            return self->tombstones[i].group;
        }
    }
    return NULL;
}

struct subscription *subscriptions_other_member(struct subscriptions *self, uint64_t id)
{
    struct member_group *group = group_of(self, id);
    if (group == NULL) {
        return NULL;
    }
    LIST_FOREACH (&group->members, node) {
        struct subscription *other = LIST_ENTRY(node, struct member, of_group)->subscription;
        if (other->registration.id != id && subscription_has_credit(other)) {
            list_remove(node);
            list_push_back(&group->members, node);
            return other;
        }
    }
    return NULL;
}

struct exchange *subscriptions_exchange_of(const struct subscriptions *self, uint64_t id)
{
    const struct member_group *group = group_of(self, id);
    return group != NULL ? group->exchange : NULL;
}

struct member_load *subscription_load(struct subscription *self)
{
    return self->member != NULL ? &self->member->load : NULL;
}

struct subscription *subscription_of_load(struct member_load *load)
{
    return LIST_ENTRY(load, struct member, load)->subscription;
}

/* --- life --- */

static void pending_watch(struct subscriptions *self)
{
    if (list_is_empty(&self->pendings)) {
        wheel_cancel(loop_wheel(self->frontd->loop), &self->pending_timer);
        return;
    }
    const struct subscription_pending *first =
        LIST_ENTRY(self->pendings.next, struct subscription_pending, of_pending);
    wheel_add(loop_wheel(self->frontd->loop), &self->pending_timer,
              first->since_ms + self->frontd->settings->request_timeout_ms);
}

static void pending_add(struct subscriptions *self, struct subscription *subscription,
                        uint64_t corr)
{
    struct subscription_pending *pending = MEM_NEW(struct subscription_pending);
    pending->subscription = subscription;
    pending->corr = corr;
    pending->since_ms = loop_now_ms(self->frontd->loop);
    list_init(&pending->of_pending);
    bool is_first = list_is_empty(&self->pendings);
    list_push_back(&self->pendings, &pending->of_pending);
    subscription->pending = pending;
    session_corr_open(subscription->session, corr);
    if (is_first) {
        pending_watch(self);
    }
}

/* EsSubscribe is, or will be, answered: returns its corr. */
static uint64_t pending_end(struct subscription *self)
{
    struct subscription_pending *pending = self->pending;
    uint64_t corr = pending->corr;
    session_corr_close(self->session, corr);
    list_remove(&pending->of_pending);
    MEM_FREE(self->pending);
    return corr;
}

void subscription_open(struct session *session, struct exchange *exchange,
                       const struct subscription_options *options)
{
    struct subscriptions *table = session->frontd->subscriptions;
    size_t texts = options->matchers.size + options->group.size;
    struct subscription *self = (struct subscription *) mem_new(sizeof(*self) + texts);
    memcpy(self->texts, options->matchers.data, options->matchers.size);
    if (options->group.size != 0) {
        memcpy(self->texts + options->matchers.size, options->group.data, options->group.size);
    }
    uint32_t slot = slot_take(table);
    table->slots[slot].subscription = self;
    table->counts.count++;
    exchange->subscriptions++;
    self->registration.id = slot_id(table, slot);
    self->registration.exchange = exchange;
    self->registration.matchers = span_make(self->texts, options->matchers.size);
    self->registration.group = span_make(self->texts + options->matchers.size, options->group.size);
    self->registration.sticky_by_key = options->sticky_by_key;
    list_init(&self->registration.of_registry);
    list_init(&self->registration.of_unconfirmed);
    self->session = session;
    self->number = options->number;
    self->messages_max = options->messages_max;
    self->bytes_max = options->bytes_max;
    self->policy = (uint8_t) options->policy;
    self->state = SUBSCRIPTION_REGISTERING;
    list_init(&self->of_session);
    if (options->needs_credit) {
        self->credit = MEM_NEW(struct subscription_credit);
        self->credit->messages = options->credit_messages;
        self->credit->bytes = options->credit_bytes;
    }
    session_add(session, self);
    if (options->group.size != 0) {
        group_join(self);
    }
    pending_add(table, self, options->corr);
    subscription_check_load(self);
    routers_add(session->frontd->routers, &self->registration);
}

void subscription_remove(struct subscription *self)
{
    struct frontd *frontd = self->session->frontd;
    struct subscriptions *table = frontd->subscriptions;
    self->state = SUBSCRIPTION_GONE;
    if (self->pending != NULL) {
        (void) pending_end(self); /* whoever removes it has answered */
    }
    routers_remove(frontd->routers, &self->registration);
    subscription_drop_queue(self);
    group_leave(self);
    session_remove(self->session, self);
    slot_give(table, (uint32_t) self->registration.id & SLOT_MASK);
    table->counts.count--;
    self->registration.exchange->subscriptions--;
    exchanges_unref(frontd->exchanges, &self->registration.exchange);
    mem_free(self->credit);
    mem_free(self);
}

/* EsSubscribe is answered with an error, and it goes. */
static void subscription_refuse(struct subscription *self, int error, const char *detail)
{
    struct session *session = self->session;
    uint32_t number = self->number;
    uint64_t corr = pending_end(self);
    subscription_remove(self);
    session_send_error(session, number, corr, error, detail);
}

static void pending_fire(struct wheel_timer *timer, void *ud)
{
    struct subscriptions *self = ud;
    uint64_t now_ms = loop_now_ms(self->frontd->loop);
    (void) timer;
    while (!list_is_empty(&self->pendings)) {
        struct subscription_pending *pending =
            LIST_ENTRY(self->pendings.next, struct subscription_pending, of_pending);
        if (now_ms < pending->since_ms + self->frontd->settings->request_timeout_ms) {
            break;
        }
        subscription_refuse(pending->subscription, ERR_NO_QUORUM, "routerd is not reachable");
    }
    pending_watch(self);
}

void subscription_cancel(struct subscription *self)
{
    if (self->pending != NULL) {
        subscription_refuse(self, ERR_RS_CANCELLED, "the subscription was cancelled");
    } else {
        subscription_remove(self);
    }
}

void subscriptions_session_closed(struct session *session)
{
    while (session->subscription_count != 0) {
        subscription_remove(
            LIST_ENTRY(session->subscriptions.next, struct subscription, of_session));
    }
}

/* It ends without the client's doing. */
static void subscription_end(struct subscription *self, int error, const char *detail)
{
    if (self->pending != NULL) {
        subscription_refuse(self, error, detail);
        return;
    }
    const struct err_info *info = err_find(error);
    struct buf body = {0};
    pb_append_varint(&body, CANCEL_CODE, info != NULL ? (uint64_t) info->number : 0);
    pb_append_bytes(&body, CANCEL_DETAIL, span_of(detail));
    session_send(self->session, self->number, 0, BODY(CANCEL), buf_span(&body));
    buf_release(&body);
    subscription_remove(self);
}

void subscriptions_exchange_gone(struct subscriptions *self, struct exchange *exchange, int error)
{
    for (uint32_t i = 0; i < self->slot_count; i++) {
        struct subscription *subscription = self->slots[i].subscription;
        if (subscription != NULL && subscription->registration.exchange == exchange) {
            subscription_end(subscription, error, "the exchange was deleted");
        }
    }
}

/* --- routerds' answers --- */

void subscriptions_on_confirmed(void *subscriptions, struct registration *registration)
{
    struct subscription *self = LIST_ENTRY(registration, struct subscription, registration);
    (void) subscriptions;
    if (self->state != SUBSCRIPTION_REGISTERING) {
        return;
    }
    uint64_t corr = pending_end(self);
    self->state = SUBSCRIPTION_OPEN;
    struct buf body = {0};
    pb_append_varint(&body, OK_SUBSCRIPTION, registration->id);
    pb_append_varint(&body, OK_MESSAGES, self->messages_max);
    pb_append_varint(&body, OK_BYTES, self->bytes_max);
    session_send(self->session, self->number, corr, BODY(ES_SUBSCRIBE_OK), buf_span(&body));
    buf_release(&body);
    if (self->queue != NULL) {
        subscription_queue_gap_told(
            self->queue); /* what came before it was confirmed, nobody was promised */
    }
    subscription_flush_all(self);
    subscription_check_load(self);
}

void subscriptions_on_rejected(void *subscriptions, struct registration *registration, int error,
                               struct span detail)
{
    struct subscription *self = LIST_ENTRY(registration, struct subscription, registration);
    struct buf text = {0};
    (void) subscriptions;
    buf_append(&text, detail);
    subscription_end(self, error, buf_text(&text));
    buf_release(&text);
}

/* --- what others ask --- */

uint64_t subscription_id(const struct subscription *self)
{
    return self->registration.id;
}
