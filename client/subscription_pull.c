/* subscription_pull: taking what was delivered, message by message. The queue is bounded: when it is full the socket is not read until half of it was
 * taken, so the server's queue fills and its policy decides. Only the thread that pulls is here; it takes the client's lock once a
 * delivery, not once a message. */
#include "common/base/err.h"
#include "common/base/invariant.h"

#include "client/subscription.h"

enum { PULL_BYTES_MAX = 16 << 20 };

bool subscriptions_are_full(const struct rg_client *client)
{
    return client->subs.full != 0;
}

static void subscription_set_full(struct rg_subscription *self, bool is_full)
{
    struct rg_client *client = self->client;
    if (self->is_full == is_full) {
        return;
    }
    self->is_full = is_full;
    if (is_full) {
        client->subs.full++;
        return;
    }
    client->subs.full--;
    client->conn.received_us = client_now_us(); /* silence was ours */
    client_wake(client);
}

void subscription_queue(struct rg_subscription *self, struct arrival *arrival)
{
    if (self->is_leaving) {
        arrival_give(self->client, arrival);
        return;
    }
    self->queued_messages += arrival->count;
    self->queued_bytes += arrival->body.bytes.size;
    list_push_back(&self->queue, &arrival->of_arrivals);
    if (self->queued_messages >= self->options.pull_messages ||
        self->queued_bytes >= PULL_BYTES_MAX) {
        subscription_set_full(self, true);
    }
    (void) pthread_cond_broadcast(&self->changed);
}

static struct arrival *subscription_unqueue(struct rg_subscription *self)
{
    struct list *node = list_pop_front(&self->queue);
    if (node == NULL) {
        return NULL;
    }
    struct arrival *arrival = LIST_ENTRY(node, struct arrival, of_arrivals);
    self->queued_messages -= arrival->count;
    self->queued_bytes -= arrival->body.bytes.size;
    if (self->queued_messages <= self->options.pull_messages / 2 &&
        self->queued_bytes <= PULL_BYTES_MAX / 2) {
        subscription_set_full(self, false);
    }
    return arrival;
}

void subscription_drop_queue(struct rg_subscription *self)
{
    struct arrival *arrival = NULL;
    while ((arrival = subscription_unqueue(self)) != NULL) {
        arrival_give(self->client, arrival);
    }
    subscription_set_full(self, false);
    if (self->taken != NULL) {
        arrival_give(self->client, self->taken);
        self->taken = NULL;
        self->rest = (struct span){0};
    }
}

/* Open the next delivery, waiting for one. 0, ERR_AGAIN or ERR_CLOSED: noted. */
static int subscription_open_next(struct rg_subscription *self, uint32_t timeout_ms)
{
    struct rg_client *client = self->client;
    uint64_t until_us = 0;
    if (self->taken != NULL) {
        arrival_give(client, self->taken);
        self->taken = NULL;
    }
    while ((self->taken = subscription_unqueue(self)) == NULL) {
        if (self->state == SUBSCRIPTION_CLOSED) {
            return error_note(ERR_CLOSED, "%s: %s", rg_error_name(self->code),
                              self->detail[0] != 0 ? self->detail : rg_error_text(self->code));
        }
        if (timeout_ms == 0 || client_is_io_thread(client)) {
            return error_note(ERR_AGAIN, "nothing is there"); /* must not wait there */
        }
        if (until_us == 0) {
            until_us = client_now_us() + (uint64_t) timeout_ms * 1000;
        }
        if (!cond_wait_until(&self->changed, &client->lock, until_us) &&
            list_is_empty(&self->queue)) {
            return error_note(ERR_AGAIN, "nothing came");
        }
    }
    self->rest = self->taken->body.bytes;
    return 0;
}

int rg_subscription_next(struct rg_subscription *subscription, uint32_t timeout_ms,
                         struct rg_es_delivery *ret_delivery)
{
    static const struct es_limits limits = ES_LIMITS_NONE;
    struct es_message message;
    if (subscription == NULL || ret_delivery == NULL) {
        return error_note(ERR_USAGE, "rg_subscription_next: an argument is NULL");
    }
    if (subscription->options.on_message != NULL) {
        return error_note(ERR_USAGE, "rg_subscription_next: its messages are pushed");
    }
    for (;;) {
        int result = es_next(&subscription->rest, &limits, &message);
        if (result == 1) {
            *ret_delivery = delivery_of(&message);
            return 0;
        }
        INVARIANT(result == 0); /* it was read when it came */
        client_lock(subscription->client);
        result = subscription_open_next(subscription, timeout_ms);
        client_unlock(subscription->client);
        if (result < 0) {
            return result;
        }
    }
}

bool rg_es_header(const struct rg_es_delivery *delivery, size_t *cursor,
                  struct rg_header *ret_header)
{
    struct span name = {0};
    struct span value = {0};
    if (delivery == NULL || cursor == NULL || ret_header == NULL || *cursor > delivery->raw.size ||
        delivery->raw.data == NULL) {
        return false;
    }
    const uint8_t *start = delivery->raw.data;
    struct span rest = span_make(start + *cursor, delivery->raw.size - *cursor);
    if (es_header_next(&rest, &name, &value) != 1) {
        return false;
    }
    *cursor = delivery->raw.size - rest.size;
    *ret_header = (struct rg_header){{name.data, name.size}, {value.data, value.size}};
    return true;
}
