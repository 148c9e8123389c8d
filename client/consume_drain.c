/* consume_drain: leaving in order. The server delivers nothing more; what the caller has not taken yet goes back at once, what it has taken may be
 * acknowledged until the server says that nothing is left. */
#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

#include "client/consume.h"

enum { ACK_NACKS = 3, NACK_RANGE = 1, NACK_DELAY = 2, NACK_NO_COUNT = 3 };

/* Released: not counted as failed. */
static void give_back(struct rg_consumer *self, uint64_t first, uint64_t last)
{
    struct buf range = {0};
    struct buf nack = {0};
    struct buf ack = {0};
    pb_append_varint(&range, 1, first);
    pb_append_varint(&range, 2, last);
    pb_append_bytes(&nack, NACK_RANGE, buf_span(&range));
    pb_append_varint(&nack, NACK_DELAY, 0);
    pb_append_varint(&nack, NACK_NO_COUNT, 1);
    pb_append_bytes(&ack, ACK_NACKS, buf_span(&nack));
    conn_queue_frame(self->client, self->channel, 0, RAILGUN__FRAME__BODY_ACK, buf_span(&ack));
    buf_release(&range);
    buf_release(&nack);
    buf_release(&ack);
}

void consumer_give_back_queue(struct rg_consumer *self)
{
    while (!list_is_empty(&self->deliveries)) {
        struct delivery *delivery = LIST_ENTRY(self->deliveries.next, struct delivery, of_queue);
        uint64_t first = delivery->head.base_offset;
        uint64_t last = first + delivery->head.count - 1;
        last = last < delivery->limit ? last : delivery->limit - 1; /* the rest is void */
        if (first <= last && first < delivery->limit) {
            give_back(self, first, last);
        }
        delivery_free(delivery);
    }
}

void consumer_give_back_walk(struct rg_consumer *self)
{
    uint64_t first = self->walk.offset;
    uint64_t left = self->walk.left;
    if (left == 0 || self->walk_generation != atomic_load(&self->generation)) {
        return;
    }
    struct nack_item nack = {.first = first, .last = first + left - 1, .has_delay = true};
    walk_close(&self->walk);
    (void) consumer_nack(self, &nack); /* what of it is void is not sent */
}

static void drain_done(struct call *call)
{
    struct rg_consumer *self = call->ud;
    int result = call->result == ERR_TIMEOUT ? ERR_TIMEOUT : 0; /* in all other cases it is out */
    slice_release(&call->ret_body);
    consumer_closed(self, result, span_of(result == 0 ? "drained" : "no answer in time"));
}

int rg_consumer_drain(struct rg_consumer *consumer, uint32_t timeout_ms)
{
    Railgun__Cancel cancel = RAILGUN__CANCEL__INIT;
    if (consumer == NULL) {
        return error_note(ERR_USAGE, "rg_consumer_drain: consumer is NULL");
    }
    struct rg_client *client = consumer->client;
    client_lock(client);
    if (atomic_load(&consumer->is_draining) || consumer->state == CONSUMER_CLOSED) {
        client_unlock(client);
        return 0;
    }
    atomic_store(&consumer->is_draining, true);
    if (consumer->state != CONSUMER_UP || client->state != CLIENT_UP) {
        call_cancel(client, &consumer->attach);
        consumer_closed(consumer, 0, span_of("drained"));
        client_unlock(client);
        return 0;
    }
    consumer_give_back_queue(consumer);
    uint64_t drain_ms = timeout_ms != 0 ? timeout_ms : consumer->group_drain_ms;
    cancel.has_drain = cancel.drain = true;
    cancel.has_drain_ms = true;
    cancel.drain_ms = drain_ms;
    scan_pack(&consumer->drain.body, &cancel.base);
    consumer->drain.field = RAILGUN__FRAME__BODY_CANCEL;
    consumer->drain.channel = consumer->channel;
    consumer->drain.on_done = drain_done;
    consumer->drain.ud = consumer;
    call_start(client, &consumer->drain,
               client_request_deadline(client, client_now_us() + drain_ms * 1000));
    consumer_busy(consumer); /* who pushes gives back what it has begun */
    (void) pthread_cond_broadcast(&consumer->changed);
    client_wake(client);
    client_unlock(client);
    return 0;
}
