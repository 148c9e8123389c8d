/* arrival: callbacks of ephemeral messages, in the order in which their causes came. Messages are not copied: they lie in the inbox until they were
 * pushed, which is before the next read. Owns the arrivals. Called on the I/O thread alone, but for the dropping. */
#include "client/arrival.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

#include "client/ask.h"
#include "client/subscription.h"

enum {
    SPARE_ARRIVALS_MAX = 2048,
    TOGETHER_MAX = 128, /* deliveries that are pushed without the lock being taken in between */
};

static struct arrival *arrival_of(struct list *node)
{
    return LIST_ENTRY(node, struct arrival, of_arrivals);
}

void arrivals_init(struct rg_client *client)
{
    list_init(&client->subs.arrivals);
    list_init(&client->subs.spare);
}

void arrivals_release(struct rg_client *client)
{
    struct list *node = NULL;
    INVARIANT(list_is_empty(&client->subs.arrivals));
    while ((node = list_pop_front(&client->subs.spare)) != NULL) {
        mem_free(arrival_of(node));
    }
}

struct arrival *arrival_take(struct rg_client *client, enum arrival_kind kind)
{
    struct list *node = list_pop_front(&client->subs.spare);
    struct arrival *arrival = NULL;
    if (node != NULL) {
        client->subs.spare_count--;
        arrival = arrival_of(node);
        *arrival = (struct arrival){0};
    } else {
        arrival = MEM_NEW(struct arrival);
    }
    arrival->kind = kind;
    list_init(&arrival->of_arrivals);
    return arrival;
}

void arrival_give(struct rg_client *client, struct arrival *arrival)
{
    slice_release(&arrival->body);
    mem_free(arrival->texts);
    if (client->subs.spare_count == SPARE_ARRIVALS_MAX) {
        mem_free(arrival);
        return;
    }
    list_push_front(&client->subs.spare, &arrival->of_arrivals);
    client->subs.spare_count++;
}

static const char *text_keep(char **at, const char *text)
{
    size_t size = strlen(text) + 1;
    char *kept = *at;
    memcpy(kept, text, size);
    *at += size;
    return kept;
}

void arrival_event(struct rg_subscription *subscription, struct rg_es_event event)
{
    struct rg_client *client = subscription->client;
    if (subscription->options.on_event == NULL || subscription->is_leaving) {
        return;
    }
    const char *first = event.first_topic != NULL ? event.first_topic : "";
    const char *last = event.last_topic != NULL ? event.last_topic : "";
    const char *detail = event.detail != NULL ? event.detail : "";
    struct arrival *arrival = arrival_take(client, ARRIVAL_EVENT);
    arrival->texts = mem_new(strlen(first) + strlen(last) + strlen(detail) + 3);
    char *at = arrival->texts;
    event.first_topic = text_keep(&at, first);
    event.last_topic = text_keep(&at, last);
    event.detail = text_keep(&at, detail);
    arrival->subscription = subscription;
    arrival->event = event;
    list_push_back(&client->subs.arrivals, &arrival->of_arrivals);
}

void arrival_result(struct rg_client *client, struct ask *ask, int result, bool more,
                    struct span message, bool has_message)
{
    struct arrival *arrival = arrival_take(client, ARRIVAL_RESULT);
    arrival->ask = ask;
    arrival->result = result;
    arrival->more = more;
    arrival->has_message = has_message;
    if (message.size != 0) {
        arrival->body = slice_make(client->conn.inbox.chunk, message);
    }
    list_push_back(&client->subs.arrivals, &arrival->of_arrivals);
}

void arrivals_drop(struct rg_client *client, const struct rg_subscription *subscription)
{
    LIST_FOREACH (&client->subs.arrivals, node) {
        struct arrival *arrival = arrival_of(node);
        if (arrival->kind != ARRIVAL_RESULT && arrival->subscription == subscription) {
            list_remove(&arrival->of_arrivals);
            arrival_give(client, arrival);
        }
    }
}

bool arrivals_are_waiting(const struct rg_client *client)
{
    return !list_is_empty(&client->subs.arrivals);
}

struct rg_es_delivery delivery_of(const struct es_message *message)
{
    return (struct rg_es_delivery){
        .topic = {message->topic.data, message->topic.size},
        .payload = {message->payload.data, message->payload.size},
        .key = {message->key.data, message->key.size},
        .reply_to = {message->reply_to.data, message->reply_to.size},
        .raw = {message->raw.data, message->raw.size},
    };
}

/* Without the lock. */
static void result_call_back(const struct arrival *arrival)
{
    static const struct es_limits limits = ES_LIMITS_NONE;
    struct es_message message;
    if (arrival->ask->done == NULL) {
        return;
    }
    if (!arrival->has_message) {
        arrival->ask->done(arrival->ask->ud, arrival->result, arrival->more, NULL);
        return;
    }
    int result = es_message_read(arrival->body.bytes, &limits, &message);
    INVARIANT(result == 0); /* it was read when it came */
    struct rg_es_delivery delivery = delivery_of(&message);
    arrival->ask->done(arrival->ask->ud, 0, arrival->more, &delivery);
}

static void result_handle(struct rg_client *client, struct arrival *arrival)
{
    client_unlock(client);
    result_call_back(arrival);
    client_lock(client);
    if (!arrival->more) {
        ask_give(client, arrival->ask);
    }
}

/* Consecutive deliveries that are taken out together. */
struct together {
    struct arrival *arrivals[TOGETHER_MAX];
    size_t counts[TOGETHER_MAX]; /* messages that were pushed */
    size_t count;
    bool is_malformed;
};

/* With the lock. Whoever closes one of these subscriptions waits from here on. */
static void together_take(struct rg_client *client, struct together *self)
{
    struct list *node = NULL;
    self->count = 0;
    self->is_malformed = false;
    while (self->count < TOGETHER_MAX && !list_is_empty(&client->subs.arrivals)) {
        struct arrival *arrival = arrival_of(client->subs.arrivals.next);
        if (arrival->kind == ARRIVAL_RESULT) {
            break;
        }
        node = list_pop_front(&client->subs.arrivals);
        arrival = arrival_of(node);
        if (arrival->subscription->is_leaving) {
            arrival_give(client, arrival);
            continue;
        }
        arrival->subscription->in_callback = true;
        self->arrivals[self->count++] = arrival;
    }
}

/* Without the lock. */
static void together_call_back(struct together *self)
{
    for (size_t i = 0; i < self->count; i++) {
        const struct arrival *arrival = self->arrivals[i];
        struct rg_subscription *subscription = arrival->subscription;
        self->counts[i] = 0;
        if (arrival->kind == ARRIVAL_EVENT) {
            subscription->options.on_event(subscription->options.ud, subscription, &arrival->event);
        } else if (subscription_push(subscription, arrival->body.bytes, &self->counts[i]) < 0) {
            self->is_malformed = true;
        }
    }
}

/* With the lock. */
static void together_give(struct rg_client *client, struct together *self)
{
    for (size_t i = 0; i < self->count; i++) {
        struct rg_subscription *subscription = self->arrivals[i]->subscription;
        subscription_delivered(subscription, self->counts[i]);
        subscription->in_callback = false;
        if (subscription->is_leaving) {
            (void) pthread_cond_broadcast(&subscription->changed);
        }
        arrival_give(client, self->arrivals[i]);
    }
    client->subs.is_malformed |= self->is_malformed;
}

void arrivals_call_back(struct rg_client *client)
{
    struct together together;
    while (!list_is_empty(&client->subs.arrivals)) {
        together_take(client, &together);
        if (together.count != 0) {
            client_unlock(client);
            together_call_back(&together);
            client_lock(client);
            together_give(client, &together);
            continue;
        }
        struct list *node = list_pop_front(&client->subs.arrivals);
        if (node != NULL) {
            struct arrival *arrival = arrival_of(node);
            result_handle(client, arrival);
            arrival_give(client, arrival);
        }
    }
}
