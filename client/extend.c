/* extend: as long as a consumer works on messages of a group with ack_wait, the server is told so three times in that time. A thread of its own does it,
 * because the I/O thread may be inside on_message, and that is just when it matters. It writes only what it queued itself or found queued, and only
 * while nobody else writes. */
#include <signal.h>

#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"

#include "client/consume.h"

enum { EXTEND_RANGES = 1, EXTENDS_IN_WAIT = 3, EXTEND_BYTES_MAX = 256 << 10, RANGE_FIELDS = 2 };

static void range_append(struct buf *out, uint64_t first, uint64_t last)
{
    uint8_t bytes[RANGE_FIELDS * (PB_TAG_SIZE_MAX + PB_VARINT_SIZE_MAX)];
    uint8_t *at = pb_put_varint(pb_put_tag(bytes, 1, PB_VARINT), first);
    at = pb_put_varint(pb_put_tag(at, 2, PB_VARINT), last);
    pb_append_bytes(out, EXTEND_RANGES, span_make(bytes, (size_t) (at - bytes)));
}

/* All that it was given and has not answered. Lock held. */
static void extend_encode(struct rg_consumer *self, struct buf *out)
{
    struct range range;
    int result = pthread_mutex_lock(&self->acks.lock);
    INVARIANT(result == 0);
    for (uint64_t at = 0;
         out->size < EXTEND_BYTES_MAX && ranges_find_from(self->acks.delivered, at, &range);
         at = range.last + 1) {
        range_append(out, range.first, range.last);
    }
    result = pthread_mutex_unlock(&self->acks.lock);
    INVARIANT(result == 0);
    LIST_FOREACH (&self->deliveries, node) {
        const struct hot_delivery *head = &LIST_ENTRY(node, struct delivery, of_queue)->head;
        if (out->size < EXTEND_BYTES_MAX) {
            range_append(out, head->base_offset, head->base_offset + head->count - 1);
        }
    }
}

static void extend_send(struct rg_consumer *self)
{
    struct rg_client *client = self->client;
    struct buf body = {0};
    if (self->state != CONSUMER_UP || client->state != CLIENT_UP) {
        return;
    }
    extend_encode(self, &body);
    if (body.size > 0) {
        conn_queue_frame(client, self->channel, 0, RAILGUN__FRAME__BODY_EXTEND, buf_span(&body));
        if (client->conn.is_writing || client->conn.is_blocked || conn_write(client, false) < 0) {
            client_wake(client); /* the I/O thread writes it, or finds out what is wrong */
        }
    }
    buf_release(&body);
}

static void *extender_main(void *ud)
{
    struct rg_consumer *self = ud;
    struct rg_client *client = self->client;
    client_lock(client);
    while (!self->extender.is_stopping) {
        uint64_t wait_us = self->ack_wait_ms * 1000 / EXTENDS_IN_WAIT;
        uint64_t until_us = wait_us == 0 ? UINT64_MAX / 2 : client_now_us() + wait_us;
        if (!cond_wait_until(&self->extender.changed, &client->lock, until_us) &&
            !self->extender.is_stopping) {
            extend_send(self);
        }
    }
    client_unlock(client);
    return NULL;
}

void extender_set(struct rg_consumer *self, uint64_t ack_wait_ms)
{
    struct extender *extender = &self->extender;
    self->ack_wait_ms = ack_wait_ms;
    if (extender->is_running) {
        (void) pthread_cond_broadcast(&extender->changed);
        return;
    }
    if (ack_wait_ms == 0) {
        return;
    }
    sigset_t all;
    sigset_t before;
    (void) sigfillset(&all);
    cond_init(&extender->changed);
    (void) pthread_sigmask(SIG_SETMASK, &all, &before);
    extender->is_running = pthread_create(&extender->thread, NULL, extender_main, self) == 0;
    (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!extender->is_running) { /* then messages come again when handlers are slow */
        (void) pthread_cond_destroy(&extender->changed);
    }
}

void extender_stop(struct rg_consumer *self)
{
    struct extender *extender = &self->extender;
    if (!extender->is_running) {
        return;
    }
    client_lock(self->client);
    extender->is_stopping = true;
    (void) pthread_cond_broadcast(&extender->changed);
    client_unlock(self->client);
    (void) pthread_join(extender->thread, NULL);
    (void) pthread_cond_destroy(&extender->changed);
    extender->is_running = false;
}
