/* consume_pull: taking what was delivered, record by record, and giving the credit back. Only the thread that pulls (or the I/O thread, when
 * messages are pushed) is here; it takes the client's lock once a delivery, not once a record. */
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"

#include "client/consume.h"

enum { CREDIT_MESSAGES = 1, CREDIT_BYTES = 2 };

/* Half of what was granted is used up: grant it again. Lock held. */
static void consumer_give_credit(struct rg_consumer *self)
{
    struct rg_client *client = self->client;
    uint8_t bytes[2 * (PB_TAG_SIZE_MAX + PB_VARINT_SIZE_MAX)];
    if (self->taken_messages == 0) {
        return;
    }
    if (self->state == CONSUMER_UP && client->conn.fd != -1 &&
        self->walk_generation == atomic_load(&self->generation)) {
        uint8_t *at =
            pb_put_varint(pb_put_tag(bytes, CREDIT_MESSAGES, PB_VARINT), self->taken_messages);
        at = pb_put_varint(pb_put_tag(at, CREDIT_BYTES, PB_VARINT), self->taken_bytes);
        conn_queue_frame(client, self->channel, 0, RAILGUN__FRAME__BODY_CREDIT,
                         span_make(bytes, (size_t) (at - bytes)));
        self->granted_messages += self->taken_messages;
        client_wake(client);
    }
    self->taken_messages = 0;
    self->taken_bytes = 0;
}

static bool consumer_owes_credit(const struct rg_consumer *self)
{
    return self->taken_messages >= (self->options.prefetch_messages + 1) / 2 ||
           self->taken_bytes >= self->options.prefetch_bytes / 2;
}

/* Open the next delivery. Lock held. false: there is none. */
static bool consumer_open_next(struct rg_consumer *self)
{
    unsigned generation = atomic_load(&self->generation);
    walk_close(&self->walk);
    if (self->walk_generation != generation) {
        self->walk_generation = generation;
        self->taken_messages = 0; /* that credit was the old attachment's */
        self->taken_bytes = 0;
    }
    if (consumer_owes_credit(self)) {
        consumer_give_credit(self);
    }
    struct delivery *delivery = NULL;
    const struct hot_delivery *head = NULL;
    for (;;) {
        struct list *node = list_pop_front(&self->deliveries);
        if (node == NULL) {
            if (consumer_owes_credit(self)) {
                consumer_give_credit(self);
            }
            return false;
        }
        delivery = LIST_ENTRY(node, struct delivery, of_queue);
        head = &delivery->head;
        if (head->base_offset < delivery->limit) {
            break;
        }
        self->taken_messages += head->count; /* void: only its credit counts */
        self->taken_bytes += head->batch.size;
        delivery_free(delivery);
    }
    uint64_t last = head->base_offset + head->count - 1;
    acks_taken(&self->acks, head->base_offset, last < delivery->limit ? last : delivery->limit - 1);
    atomic_store(&self->walk_limit, delivery->limit);
    walk_open_deliver(&self->walk, &delivery->body, head);
    mem_free(delivery);
    return true;
}

/* The next record of what is open. */
static int consumer_walk(struct rg_consumer *self, struct rg_record *ret_record)
{
    if (self->walk.left == 0 || self->walk_generation != atomic_load(&self->generation)) {
        return 0;
    }
    if (self->walk.offset >= atomic_load(&self->walk_limit)) { /* void: only its credit counts */
        self->taken_messages += self->walk.left;
        self->taken_bytes += self->walk.rest.size;
        walk_close(&self->walk);
        return 0;
    }
    size_t before = self->walk.rest.size;
    int result = walk_next(&self->walk, ret_record);
    if (result == 1) {
        self->taken_messages++;
        self->taken_bytes += before - self->walk.rest.size;
    }
    return result;
}

int consumer_take(struct rg_consumer *self, struct rg_record *ret_record)
{
    if (atomic_load(&self->is_draining)) {
        consumer_give_back_walk(self);
        return 0;
    }
    if (atomic_load(&self->is_rewinding)) {
        return 0;
    }
    int result = consumer_walk(self, ret_record);
    if (result == 1 && !consumer_owes_credit(self)) {
        return 1;
    }
    client_lock(self->client);
    if (result == 1) {
        consumer_give_credit(self);
    } else if (consumer_open_next(self)) {
        result = consumer_walk(self, ret_record);
    }
    client_unlock(self->client);
    return result;
}

/* Until something is there. Lock held. 0, ERR_AGAIN or ERR_CLOSED. */
static int consumer_wait(struct rg_consumer *self, uint64_t until_us)
{
    while (list_is_empty(&self->deliveries) || atomic_load(&self->is_rewinding)) {
        if (self->state == CONSUMER_CLOSED) {
            return error_note(ERR_CLOSED, "%s: %s", rg_error_name(self->code),
                              self->detail[0] != 0 ? self->detail : rg_error_text(self->code));
        }
        if (!cond_wait_until(&self->changed, &self->client->lock, until_us) &&
            (list_is_empty(&self->deliveries) || atomic_load(&self->is_rewinding))) {
            return error_note(ERR_AGAIN, "nothing came");
        }
    }
    return 0;
}

int rg_consumer_next(struct rg_consumer *consumer, uint32_t timeout_ms,
                     struct rg_record *ret_record)
{
    if (consumer == NULL || ret_record == NULL) {
        return error_note(ERR_USAGE, "rg_consumer_next: an argument is NULL");
    }
    struct rg_client *client = consumer->client;
    if (consumer->options.on_message != NULL) {
        return error_note(ERR_USAGE, "rg_consumer_next: this consumer's messages are pushed");
    }
    uint64_t until_us = 0;
    for (;;) {
        int result = consumer_take(consumer, ret_record);
        if (result != 0) {
            return result == 1 ? 0 : error_note(result, "a delivery cannot be read");
        }
        if (client_is_io_thread(client)) {
            return error_note(ERR_AGAIN, "nothing is there"); /* must not wait here */
        }
        if (until_us == 0) {
            until_us = client_now_us() + (uint64_t) timeout_ms * 1000;
        }
        client_lock(client);
        result = consumer_wait(consumer, until_us);
        client_unlock(client);
        if (result < 0) {
            return result;
        }
    }
}
