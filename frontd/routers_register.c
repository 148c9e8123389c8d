/* routers_register: telling routerds the subscriptions here. All registrations lie in one list in order of `serial`; each session has a place in it, up to which its routerd
 * was told, so that there is no queue for each. Removals are told to those only who were told of the registration. Everything waits for credit. */
#include <inttypes.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/run/log.h"
#include "common/run/loop.h"
#include "common/wire/pb.h"

#include "frontd/routers_private.h"

enum {
    /* of one RouteSubscribe */
    SUBSCRIPTIONS_MAX = 1000,
    SUBSCRIBE_BYTES_MAX = 256 << 10,
    /* of one RouteUnsubscribe */
    REMOVALS_BYTES_MAX = 64 << 10,
    /* Messages to one routerd in one turn. */
    TELL_MESSAGES_MAX = 32,
    ID_SIZE = 8,
};

enum { /* router.proto */
       SUBSCRIBE_EXCHANGES = 1,
       SUBSCRIBE_SUBSCRIPTIONS = 2,
       EXCHANGE_NAMESPACE = 1,
       EXCHANGE_NAME = 2,
       SUBSCRIPTION_ID = 1,
       SUBSCRIPTION_SERIAL = 2,
       SUBSCRIPTION_EXCHANGE = 3,
       SUBSCRIPTION_GROUP = 5,
       SUBSCRIPTION_STICKY = 6,
       SUBSCRIPTION_EXCHANGE_MAX = 7,
       UNSUBSCRIBE_IDS = 1,
       SYNCED_ROUND = 1,
       APPLIED_SEQ = 1,
       CONFIRMED_SERIAL = 1,
       REJECTED_ID = 2,
       REJECTED_CODE = 3,
       REJECTED_DETAIL = 4,
};

static struct registration *registration_at(struct list *node)
{
    return LIST_ENTRY(node, struct registration, of_registry);
}

void router_register_reset(struct router *self)
{
    self->confirmed = 0;
    self->told = 0;
    self->cursor = self->routers->registry.next;
    buf_reset(&self->removals);
    self->seq = 0;
    self->applied = 0;
}

/* --- what the owner does --- */

void routers_add(struct routers *self, struct registration *registration)
{
    registration->serial = ++self->serial_last;
    registration->is_confirmed = false;
    list_push_back(&self->registry, &registration->of_registry);
    list_push_back(&self->unconfirmed, &registration->of_unconfirmed);
    self->unconfirmed_count++;
    (void) hash64_put(self->by_id, registration->id, registration);
    for (unsigned i = 0; i < self->known_count; i++) {
        if (self->known[i]->cursor == &self->registry) {
            self->known[i]->cursor = &registration->of_registry;
        }
    }
    routers_defer(self);
}

static bool router_was_told(const struct router *self, const struct registration *registration)
{
    return self->sm.state >= ROUTER_TELLING && registration->serial <= self->told;
}

/* No longer in any list; told to all that know it, but for the one that refused it. */
static void routers_take_out(struct routers *self, struct registration *registration,
                             const struct router *refused_by)
{
    for (unsigned i = 0; i < self->known_count; i++) {
        struct router *router = self->known[i];
        if (router->cursor == &registration->of_registry) {
            router->cursor = registration->of_registry.next;
        }
        if (router != refused_by && router_was_told(router, registration)) {
            bytes_put_u64(buf_reserve(&router->removals, ID_SIZE), registration->id);
            buf_advance(&router->removals, ID_SIZE);
        }
    }
    if (list_is_linked(&registration->of_unconfirmed)) {
        list_remove(&registration->of_unconfirmed);
        self->unconfirmed_count--;
    }
    list_remove(&registration->of_registry);
    (void) hash64_remove(self->by_id, registration->id);
    routers_defer(self);
}

void routers_remove(struct routers *self, struct registration *registration)
{
    if (list_is_linked(&registration->of_registry)) { /* else it was rejected */
        routers_take_out(self, registration, NULL);
    }
}

uint64_t routers_unconfirmed_count(const struct routers *self)
{
    return self->unconfirmed_count;
}

/* --- telling --- */

/* The exchanges of one message, each once. */
struct message_exchanges {
    struct buf encoded;
    struct exchange *known[SUBSCRIPTIONS_MAX];
    uint32_t count;
    uint32_t last; /* most are the same as the one before */
};

static uint32_t exchanges_index(struct message_exchanges *self, struct exchange *exchange)
{
    if (self->count != 0 && self->known[self->last] == exchange) {
        return self->last;
    }
    uint32_t index = 0;
    while (index < self->count && self->known[index] != exchange) {
        index++;
    }
    if (index == self->count) {
        struct buf name = {0};
        pb_append_bytes(&name, EXCHANGE_NAMESPACE, exchange->namespace_);
        pb_append_bytes(&name, EXCHANGE_NAME, exchange->name);
        pb_append_bytes(&self->encoded, SUBSCRIBE_EXCHANGES, buf_span(&name));
        buf_release(&name);
        self->known[self->count++] = exchange;
    }
    self->last = index;
    return index;
}

static void registration_encode(const struct registration *self, uint32_t exchange, struct buf *out)
{
    pb_append_fixed64(out, SUBSCRIPTION_ID, self->id);
    pb_append_varint(out, SUBSCRIPTION_SERIAL, self->serial);
    pb_append_varint(out, SUBSCRIPTION_EXCHANGE, exchange);
    buf_append(out, self->matchers);
    if (self->group.size != 0) {
        pb_append_bytes(out, SUBSCRIPTION_GROUP, self->group);
    }
    if (self->sticky_by_key) {
        pb_append_varint(out, SUBSCRIPTION_STICKY, 1);
    }
    /* A limit that was lowered does not end those that are there already. */
    if (!self->is_confirmed && self->exchange->subscriptions_max != 0) {
        pb_append_varint(out, SUBSCRIPTION_EXCHANGE_MAX, self->exchange->subscriptions_max);
    }
}

/* The next ones from the cursor on, in one message. */
static int router_tell_some(struct router *self)
{
    struct routers *routers = self->routers;
    struct message_exchanges exchanges = {0};
    struct buf subscriptions = {0};
    struct buf one = {0};
    struct list *node = self->cursor;
    uint64_t serial = self->told;
    unsigned count = 0;
    while (node != &routers->registry && count < SUBSCRIPTIONS_MAX &&
           subscriptions.size < SUBSCRIBE_BYTES_MAX) {
        const struct registration *registration = registration_at(node);
        INVARIANT(registration->serial > serial);
        buf_reset(&one);
        registration_encode(registration, exchanges_index(&exchanges, registration->exchange),
                            &one);
        pb_append_bytes(&subscriptions, SUBSCRIBE_SUBSCRIPTIONS, buf_span(&one));
        serial = registration->serial;
        node = node->next;
        count++;
    }
    buf_append(&exchanges.encoded, buf_span(&subscriptions));
    int result =
        router_send(self, RAILGUN__BUS_TYPE__BUS_ROUTE_SUBSCRIBE, buf_span(&exchanges.encoded));
    if (result == 0) {
        self->cursor = node;
        self->told = serial;
    }
    buf_release(&exchanges.encoded);
    buf_release(&subscriptions);
    buf_release(&one);
    return result;
}

/* Removals before registrations: who leaves a group must not be in the way of who makes it anew. */
static int router_tell_removals(struct router *self)
{
    struct buf meta = {0};
    size_t size =
        self->removals.size < REMOVALS_BYTES_MAX ? self->removals.size : REMOVALS_BYTES_MAX;
    pb_append_bytes(&meta, UNSUBSCRIBE_IDS, span_make(self->removals.data, size));
    int result = router_send(self, RAILGUN__BUS_TYPE__BUS_ROUTE_UNSUBSCRIBE, buf_span(&meta));
    if (result == 0) {
        buf_consume(&self->removals, size);
        if (self->removals.size == 0) {
            buf_release(&self->removals);
        }
    }
    buf_release(&meta);
    return result;
}

static int router_tell_number(struct router *self, uint16_t type, uint32_t field, uint64_t number)
{
    struct buf meta = {0};
    pb_append_varint(&meta, field, number);
    int result = router_send(self, type, buf_span(&meta));
    buf_release(&meta);
    return result;
}

static int router_tell_synced(struct router *self)
{
    uint64_t round = self->round_wanted;
    int result = router_tell_number(self, RAILGUN__BUS_TYPE__BUS_ROUTE_SYNCED, SYNCED_ROUND, round);
    if (result != 0) {
        return result;
    }
    self->round_sent = round;
    if (self->sm.state == ROUTER_TELLING) {
        sm_move(&self->sm, ROUTER_TOLD);
    }
    return 0;
}

/* One message, the most urgent. 1: there may be more; 0: nothing is to be told; an error: not now. */
static int router_tell_one(struct router *self)
{
    int result = 0;
    if (self->applied != self->seq) {
        uint64_t seq = self->seq;
        result = router_tell_number(self, RAILGUN__BUS_TYPE__BUS_ROUTE_APPLIED, APPLIED_SEQ, seq);
        self->applied = result == 0 ? seq : self->applied;
    } else if (self->removals.size != 0) {
        result = router_tell_removals(self);
    } else if (self->cursor != &self->routers->registry) {
        result = router_tell_some(self);
    } else if (self->round_wanted > self->round_sent) {
        result = router_tell_synced(self);
    } else {
        return 0;
    }
    return result != 0 ? result : 1;
}

void router_tell(struct router *self)
{
    int result = 1;
    if (self->sm.state < ROUTER_TELLING || self->is_starved ||
        upstream_parked_count(self->upstream) != 0) {
        return; /* what waits there comes first: claims */
    }
    for (unsigned i = 0; i < TELL_MESSAGES_MAX && result > 0; i++) {
        result = router_tell_one(self);
    }
    if (result > 0) {
        routers_defer(self->routers); /* the rest in the next turn */
    }
}

/* --- confirmations --- */

int router_on_confirmed(struct router *self, struct span meta)
{
    struct pb_field field;
    uint64_t serial = 0;
    int result = 0;
    while ((result = pb_next(&meta, &field)) == 1) {
        if (field.number == CONFIRMED_SERIAL && field.type == PB_VARINT) {
            serial = field.value;
        }
    }
    if (result == 0 && serial > self->confirmed) {
        self->confirmed = serial < self->told ? serial : self->told;
    }
    return result;
}

void routers_confirm(struct routers *self)
{
    uint64_t now_ms = loop_now_ms(self->frontd->loop);
    uint64_t confirmed = UINT64_MAX;
    for (unsigned i = 0; i < self->known_count; i++) {
        const struct router *router = self->known[i];
        if (!router_is_given_up(router, now_ms) && router->confirmed < confirmed) {
            confirmed = router->confirmed;
        }
    }
    if (confirmed == UINT64_MAX) {
        return; /* nobody is there */
    }
    while (!list_is_empty(&self->unconfirmed)) {
        struct registration *first =
            LIST_ENTRY(self->unconfirmed.next, struct registration, of_unconfirmed);
        if (first->serial > confirmed) {
            break;
        }
        list_remove(&first->of_unconfirmed);
        self->unconfirmed_count--;
        first->is_confirmed = true;
        self->events.on_confirmed(self->events.ud, first); /* it may go in there, and others */
    }
}

int router_on_rejected(struct router *self, struct span meta)
{
    struct routers *routers = self->routers;
    struct pb_field field;
    struct span detail = {0};
    uint64_t id = 0;
    int error = ERR_QUOTA;
    int result = 0;
    while ((result = pb_next(&meta, &field)) == 1) {
        if (field.number == REJECTED_ID && field.type == PB_FIXED64) {
            id = field.value;
        } else if (field.number == REJECTED_CODE && field.type == PB_VARINT) {
            error = field.value == (uint64_t) -ERR_DIFFERS ? ERR_DIFFERS : ERR_QUOTA;
        } else if (field.number == REJECTED_DETAIL && field.type == PB_BYTES) {
            detail = field.bytes;
        }
    }
    struct registration *registration = hash64_get(routers->by_id, id);
    if (result == 0 && registration != NULL) {
        routers_take_out(routers, registration, self);
        routers->events.on_rejected(routers->events.ud, registration, error, detail);
    }
    return result;
}
