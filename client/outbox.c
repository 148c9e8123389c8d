/* outbox: parcels of whole frames. Messages that are published in the background are appended to the EsPublish frame at the end of the last parcel, as
 * long as it is of their exchange; whatever else is sent closes that frame, so the order is the caller's. A message that comes after a pause
 * is written by its caller at once; those that follow wait for a moment (LINGER_US), or until a parcel is full. Owns the parcels. Must never
 * send a frame again of which a byte was given to the system. */
#include "client/outbox.h"

#include <string.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"

#include "client/ask.h"

enum {
    PARCEL_BYTES_MAX = 64 << 10, /* then the next one begins */
    SPARE_PARCELS_MAX = 64,
    SPARE_BYTES_MAX = 256 << 10, /* of one that is kept */
    SEND_BYTES_MAX = 1 << 20,    /* handed to one write */
    PAUSE_US = 50,
    LINGER_US = 100,
    ES_PUBLISH_EXCHANGE = 1,
    /* The length of an open frame is written when it is closed: a varint of always this many bytes, the last of them 0. */
    LENGTH_BYTES = 4,
    PUBLISH_HEAD_BYTES = FRAME_PREFIX_SIZE + 1 + LENGTH_BYTES,
};

static struct parcel *parcel_of(struct list *node)
{
    return LIST_ENTRY(node, struct parcel, of_queue);
}

/* --- parcels --- */

void outbox_init(struct rg_client *client)
{
    struct outbox *self = &client->outbox;
    list_init(&self->queue);
    list_init(&self->spare);
    cond_init(&self->room);
    cond_init(&self->flushed);
}

static void parcel_free(struct parcel *parcel)
{
    buf_release(&parcel->bytes);
    mem_free(parcel);
}

void outbox_release(struct rg_client *client)
{
    struct outbox *self = &client->outbox;
    struct list *node = NULL;
    INVARIANT(list_is_empty(&self->queue));
    while ((node = list_pop_front(&self->spare)) != NULL) {
        parcel_free(parcel_of(node));
    }
    buf_release(&self->scratch);
    (void) pthread_cond_destroy(&self->room);    /* nobody waits any more */
    (void) pthread_cond_destroy(&self->flushed); /* as above */
}

struct parcel *parcel_take(struct rg_client *client)
{
    struct outbox *self = &client->outbox;
    struct list *node = list_pop_front(&self->spare);
    if (node != NULL) {
        self->spare_count--;
        return parcel_of(node);
    }
    struct parcel *parcel = MEM_NEW(struct parcel);
    list_init(&parcel->of_queue);
    return parcel;
}

/* It is done with, and in no list. */
static void parcel_give(struct rg_client *client, struct parcel *parcel)
{
    struct outbox *self = &client->outbox;
    self->bytes -= parcel->bytes.size;
    if (self->spare_count == SPARE_PARCELS_MAX || parcel->bytes.capacity > SPARE_BYTES_MAX) {
        parcel_free(parcel);
    } else {
        buf_reset(&parcel->bytes);
        parcel->ask = NULL;
        parcel->is_void = false;
        parcel->is_taken = false;
        parcel->written = 0;
        list_push_front(&self->spare, &parcel->of_queue);
        self->spare_count++;
    }
    if (self->flushers != 0) {
        (void) pthread_cond_broadcast(&self->flushed);
    }
    /* A little room is not worth a change of threads: a quarter is. */
    if (self->blocked != 0 && self->bytes <= client->options.send_buffer_bytes / 4 * 3) {
        (void) pthread_cond_broadcast(&self->room);
    }
}

/* --- the open frame --- */

/* The EsPublish at the end gets its lengths. */
static void publish_close(struct outbox *self)
{
    if (!self->is_publishing) {
        return;
    }
    struct buf *bytes = &self->open->bytes;
    uint8_t *at = bytes->data + self->publish_start;
    size_t size = bytes->size - self->publish_start;
    size_t body = size - PUBLISH_HEAD_BYTES;
    INVARIANT(body < (size_t) 1 << (7 * LENGTH_BYTES));
    bytes_put_u32(at, (uint32_t) (size - FRAME_PREFIX_SIZE));
    at += FRAME_PREFIX_SIZE + 1;
    for (unsigned i = 0; i < LENGTH_BYTES; i++) {
        at[i] = (uint8_t) (body >> (7 * i) & 0x7f) | (i + 1 < LENGTH_BYTES ? 0x80 : 0);
    }
    self->is_publishing = false;
}

static void publish_begin(struct outbox *self, struct span exchange)
{
    struct buf *bytes = &self->open->bytes;
    size_t before = bytes->size;
    INVARIANT(exchange.size <= sizeof(self->exchange));
    self->is_publishing = true;
    self->publish_start = before;
    self->exchange_size = exchange.size;
    uint8_t *at = buf_reserve(bytes, PUBLISH_HEAD_BYTES);
    at[FRAME_PREFIX_SIZE] = RAILGUN__FRAME__BODY_ES_PUBLISH << 3 | PB_BYTES;
    buf_advance(bytes, PUBLISH_HEAD_BYTES);
    if (exchange.size != 0) {
        memcpy(self->exchange, exchange.data, exchange.size);
        pb_append_bytes(bytes, ES_PUBLISH_EXCHANGE, exchange);
    }
    self->bytes += bytes->size - before;
}

/* Nothing more is appended to the last parcel. */
static void outbox_close(struct outbox *self)
{
    publish_close(self);
    self->open = NULL;
}

static void outbox_enqueue(struct outbox *self, struct parcel *parcel)
{
    parcel->serial = self->next_serial++;
    list_push_back(&self->queue, &parcel->of_queue);
}

/* A parcel to append so much to. */
static struct parcel *outbox_open(struct rg_client *client, size_t size)
{
    struct outbox *self = &client->outbox;
    if (self->open != NULL && self->open->bytes.size + size > PARCEL_BYTES_MAX) {
        outbox_close(self);
        outbox_push_out(client);
    }
    if (self->open == NULL) {
        struct parcel *parcel = parcel_take(client);
        outbox_enqueue(self, parcel);
        self->open = parcel;
    }
    return self->open;
}

/* --- giving --- */

static bool outbox_is_full(const struct rg_client *client)
{
    return client->outbox.bytes >= client->options.send_buffer_bytes;
}

int outbox_wait_room(struct rg_client *client)
{
    struct outbox *self = &client->outbox;
    uint64_t until_us = 0;
    while (outbox_is_full(client) && !client->is_closing) {
        if (client_is_io_thread(client)) {
            return error_note(ERR_AGAIN, "the send buffer is full");
        }
        if (until_us == 0) {
            until_us = client_request_deadline(client, client_now_us());
        }
        self->blocked++;
        bool is_in_time = cond_wait_until(&self->room, &client->lock, until_us);
        self->blocked--;
        if (!is_in_time && outbox_is_full(client)) {
            return client->state == CLIENT_UP
                       ? error_note(ERR_AGAIN, "the send buffer is full")
                       : error_note(ERR_CLOSED, "no server could be reached, and the send buffer "
                                                "is full");
        }
    }
    return client->is_closing ? error_note(ERR_CLOSED, "the client is closed") : 0;
}

static bool exchange_is_open(const struct outbox *self, struct span exchange)
{
    return self->is_publishing && self->exchange_size == exchange.size &&
           (exchange.size == 0 || memcmp(self->exchange, exchange.data, exchange.size) == 0);
}

struct buf *outbox_publish(struct rg_client *client, struct span exchange, size_t size)
{
    struct outbox *self = &client->outbox;
    if (exchange_is_open(self, exchange) && self->open->bytes.size + size <= PARCEL_BYTES_MAX) {
        self->bytes += size;
        return &self->open->bytes;
    }
    (void) outbox_open(client, size + PUBLISH_HEAD_BYTES + exchange.size + PB_TAG_SIZE_MAX);
    if (!exchange_is_open(self, exchange)) {
        publish_close(self);
        publish_begin(self, exchange);
    }
    self->bytes += size;
    return &self->open->bytes;
}

/* Write, if nobody else does and the socket takes it. */
void outbox_push_out(struct rg_client *client)
{
    const struct conn *conn = &client->conn;
    client->outbox.due_us = 0;
    if (!client->is_sleeping || client->state != CLIENT_UP || conn->is_writing ||
        conn->is_blocked) {
        return; /* the I/O thread writes before it sleeps, and when the socket or the server is there */
    }
    if (conn_write(client, false) < 0 || conn->is_blocked) {
        client_wake(client); /* it sees the error again; or waits for the socket */
    }
}

/* Something waits where nothing did. */
static void outbox_schedule(struct rg_client *client)
{
    struct outbox *self = &client->outbox;
    uint64_t now_us = client_now_us();
    if (now_us - client->conn.sent_us >= PAUSE_US) {
        outbox_push_out(client);
        return;
    }
    self->due_us = client_is_io_thread(client) ? 0 : now_us + LINGER_US;
    if (client->is_sleeping && client->sleep_until_us > self->due_us) {
        client_wake(client);
    }
}

void outbox_published(struct rg_client *client)
{
    struct outbox *self = &client->outbox;
    if (!self->is_scheduled) {
        self->is_scheduled = true;
        outbox_schedule(client);
    }
}

void outbox_append(struct rg_client *client, uint32_t field, struct span head, struct span message)
{
    struct outbox *self = &client->outbox;
    size_t size = head.size + message.size;
    publish_close(self);
    struct buf *bytes = &outbox_open(client, size + FRAME_HEAD_SIZE_MAX)->bytes;
    size_t before = bytes->size;
    uint8_t *at = buf_reserve(bytes, FRAME_HEAD_SIZE_MAX + size);
    buf_advance(bytes, frame_put_head(at, 0, 0, field, size));
    buf_append(bytes, head);
    buf_append(bytes, message);
    self->bytes += bytes->size - before;
    self->is_scheduled = true;
    outbox_push_out(client);
}

void outbox_post(struct rg_client *client, struct parcel *parcel)
{
    struct outbox *self = &client->outbox;
    outbox_close(self);
    outbox_enqueue(self, parcel);
    self->bytes += parcel->bytes.size;
    self->is_scheduled = true;
    outbox_push_out(client);
}

void outbox_retract(struct rg_client *client, struct parcel *parcel)
{
    parcel->ask = NULL;
    parcel->is_void = true;
    if (parcel->is_taken) {
        return; /* it may be read by the system this moment */
    }
    list_remove(&parcel->of_queue);
    parcel_give(client, parcel);
}

/* --- going --- */

bool outbox_has_waiting(const struct rg_client *client)
{
    return !list_is_empty(&client->outbox.queue);
}

bool outbox_is_due(const struct rg_client *client)
{
    const struct outbox *self = &client->outbox;
    return outbox_has_waiting(client) &&
           (self->due_us == 0 || client->is_closing || client_now_us() >= self->due_us);
}

bool outbox_is_empty(const struct rg_client *client)
{
    return !outbox_has_waiting(client) && list_is_empty(&client->conn.mail);
}

uint64_t outbox_next_us(const struct rg_client *client)
{
    bool may_go = client->state == CLIENT_UP && !client->conn.is_blocked;
    return may_go && outbox_has_waiting(client) ? client->outbox.due_us : UINT64_MAX;
}

void outbox_take(struct rg_client *client, struct list *mail)
{
    struct outbox *self = &client->outbox;
    uint64_t taken = 0;
    outbox_close(self);
    while (taken < SEND_BYTES_MAX && !list_is_empty(&self->queue)) {
        struct parcel *parcel = parcel_of(self->queue.next);
        taken += parcel->bytes.size;
        parcel->is_taken = true;
        list_remove(&parcel->of_queue);
        list_push_back(mail, &parcel->of_queue);
    }
    self->is_scheduled = !list_is_empty(&self->queue);
}

void outbox_written(struct rg_client *client, struct parcel *parcel)
{
    list_remove(&parcel->of_queue);
    if (parcel->ask != NULL) {
        ask_sent(parcel->ask);
    }
    parcel_give(client, parcel);
}

static struct parcel *outbox_first(const struct rg_client *client)
{
    const struct list *mail = &client->conn.mail;
    const struct list *queue = &client->outbox.queue;
    if (!list_is_empty(mail)) {
        return parcel_of(mail->next);
    }
    return !list_is_empty(queue) ? parcel_of(queue->next) : NULL;
}

int outbox_flush(struct rg_client *client, uint64_t until_us)
{
    struct outbox *self = &client->outbox;
    const struct parcel *first = NULL;
    int result = 0;
    outbox_close(self);
    uint64_t end = self->next_serial;
    outbox_push_out(client);
    self->flushers++;
    while ((first = outbox_first(client)) != NULL && first->serial < end) {
        if (client->is_closing || !cond_wait_until(&self->flushed, &client->lock, until_us)) {
            result = ERR_TIMEOUT;
            break;
        }
    }
    self->flushers--;
    return result;
}

/* --- a lost connection --- */

/* Of the frames in it those that were begun are gone. */
static void parcel_cut(struct rg_client *client, struct parcel *parcel)
{
    size_t end = 0;
    while (end < parcel->written) {
        end += FRAME_PREFIX_SIZE + (size_t) bytes_get_u32(parcel->bytes.data + end);
    }
    buf_consume(&parcel->bytes, end);
    client->outbox.bytes -= end;
    parcel->written = 0;
    parcel->is_taken = false;
}

void outbox_lost(struct rg_client *client)
{
    struct outbox *self = &client->outbox;
    struct list *mail = &client->conn.mail;
    while (!list_is_empty(mail)) {
        struct parcel *parcel = parcel_of(mail->previous);
        list_remove(&parcel->of_queue);
        parcel_cut(client, parcel);
        if (parcel->is_void || parcel->bytes.size == 0) {
            parcel_give(client, parcel);
        } else {
            list_push_front(&self->queue, &parcel->of_queue);
        }
    }
    self->is_scheduled = !list_is_empty(&self->queue);
}

void outbox_stop(struct rg_client *client)
{
    struct outbox *self = &client->outbox;
    outbox_close(self);
    outbox_lost(client);
    while (!list_is_empty(&self->queue)) {
        struct parcel *parcel = parcel_of(self->queue.next);
        list_remove(&parcel->of_queue);
        parcel_give(client, parcel);
    }
    (void) pthread_cond_broadcast(&self->room);
    (void) pthread_cond_broadcast(&self->flushed);
}
