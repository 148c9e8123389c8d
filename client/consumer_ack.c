/* consumer_ack: acknowledgements, merged into ranges and sent in the background. What is sent is only what was taken on this very connection: a
 * message of an earlier one may belong to somebody else by now. */
#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"

#include "client/consume.h"

enum {
    ACK_PAUSE_US = 1000, /* between two frames of one consumer */
    ACK_FRAME_BYTES = 64 << 10,
    SETTLED_RANGES_MAX = 1024,
    ACK_RANGES = 1,
    EXTEND_RANGES = 1,
    ACK_NACKS = 3,
    ACK_SYNC = 4,
    ACK_EPOCH = 5,
    NACK_RANGE = 1,
    NACK_DELAY = 2,
    NACK_NO_COUNT = 3,
    NACK_REJECT = 4,
    NACK_REASON = 5,
};

static void acks_lock(struct ack_book *self)
{
    int result = pthread_mutex_lock(&self->lock);
    INVARIANT(result == 0);
}

static void acks_unlock(struct ack_book *self)
{
    int result = pthread_mutex_unlock(&self->lock);
    INVARIANT(result == 0);
}

void acks_init(struct ack_book *self)
{
    (void) pthread_mutex_init(&self->lock, NULL); /* cannot fail without attributes */
    self->acked = ranges_new();
    self->delivered = ranges_new();
    self->settled = ranges_new();
}

static void nacks_forget(struct ack_book *self)
{
    for (size_t i = 0; i < self->nack_count; i++) {
        mem_free(self->nacks[i].reason);
    }
    self->nack_count = 0;
}

void acks_release(struct ack_book *self)
{
    ranges_destroy(&self->acked);
    ranges_destroy(&self->delivered);
    ranges_destroy(&self->settled);
    nacks_forget(self);
    mem_free(self->nacks);
    (void) pthread_mutex_destroy(&self->lock); /* nobody holds it */
}

void acks_taken(struct ack_book *self, uint64_t first, uint64_t last)
{
    acks_lock(self);
    ranges_set(self->delivered, first, last, 0);
    (void) ranges_clear_range(self->settled, first, last); /* it has come again */
    acks_unlock(self);
}

void acks_void_from(struct ack_book *self, uint64_t first)
{
    acks_lock(self);
    if (self->has_tail && self->tail.last >= first) {
        self->tail.last = first - 1;
        self->has_tail = self->tail.first < first;
    }
    (void) ranges_clear_range(self->acked, first, UINT64_MAX);
    (void) ranges_clear_range(self->delivered, first, UINT64_MAX);
    acks_unlock(self);
}

void acks_resume_at(struct ack_book *self, uint64_t offset)
{
    acks_lock(self);
    self->resume = offset > self->resume ? offset : self->resume;
    acks_unlock(self);
}

uint64_t acks_resume(struct ack_book *self)
{
    acks_lock(self);
    uint64_t resume = self->resume;
    acks_unlock(self);
    return resume;
}

void acks_reset(struct ack_book *self)
{
    acks_lock(self);
    self->is_scheduled = false;
    self->has_tail = false;
    nacks_forget(self);
    ranges_clear(self->acked);
    ranges_clear(self->delivered);
    ranges_clear(self->settled);
    acks_unlock(self);
}

/* --- encoding --- */

static void range_append(struct buf *out, uint32_t number, uint64_t first, uint64_t last)
{
    uint8_t bytes[2 * (PB_TAG_SIZE_MAX + PB_VARINT_SIZE_MAX)];
    uint8_t *at = pb_put_varint(pb_put_tag(bytes, 1, PB_VARINT), first);
    at = pb_put_varint(pb_put_tag(at, 2, PB_VARINT), last);
    pb_append_bytes(out, number, span_make(bytes, (size_t) (at - bytes)));
}

static void nack_append(struct buf *out, const struct nack_item *nack, uint64_t first,
                        uint64_t last)
{
    struct buf body = {0};
    range_append(&body, NACK_RANGE, first, last);
    if (nack->has_delay) {
        pb_append_varint(&body, NACK_DELAY, nack->delay_ms);
    }
    if (!nack->count) {
        pb_append_varint(&body, NACK_NO_COUNT, 1);
    }
    if (nack->reject) {
        pb_append_varint(&body, NACK_REJECT, 1);
    }
    if (nack->reason != NULL) {
        pb_append_bytes(&body, NACK_REASON, span_of(nack->reason));
    }
    pb_append_bytes(out, ACK_NACKS, buf_span(&body));
    buf_release(&body);
}

static void frame_flush(struct rg_consumer *consumer, struct buf *body)
{
    if (body->size != 0) {
        if (consumer->epoch != 0) {
            pb_append_varint(body, ACK_EPOCH, consumer->epoch);
        }
        conn_queue_frame(consumer->client, consumer->channel, 0, RAILGUN__FRAME__BODY_ACK,
                         buf_span(body));
        buf_reset(body);
    }
}

static void settle(struct ack_book *self, uint64_t first, uint64_t last)
{
    struct range lowest;
    ranges_set(self->settled, first, last, 0);
    if (self->resume != 0 && ranges_find(self->settled, self->resume, &lowest)) {
        self->resume = lowest.last + 1;
    }
    if (ranges_count(self->settled) > SETTLED_RANGES_MAX && ranges_lowest(self->settled, &lowest)) {
        (void) ranges_clear_range(self->settled, lowest.first, lowest.last); /* it was there */
    }
}

/* Take the part of a range that may be answered for. false: nothing of it is left. */
static bool delivered_take(struct ack_book *self, uint64_t *first, uint64_t last,
                           uint64_t *ret_first, uint64_t *ret_last)
{
    struct range range;
    if (*first == 0 || *first > last || !ranges_find_from(self->delivered, *first, &range) ||
        range.first > last) {
        return false;
    }
    *ret_first = range.first > *first ? range.first : *first;
    *ret_last = range.last < last ? range.last : last;
    (void) ranges_clear_range(self->delivered, *ret_first, *ret_last); /* it was there */
    *first = *ret_last + 1;
    return true;
}

static void tail_merge(struct ack_book *self)
{
    if (self->has_tail) {
        ranges_set(self->acked, self->tail.first, self->tail.last, 0);
        self->has_tail = false;
    }
}

/* Everything given goes to `body`; a frame that has become long goes out at once. Book's lock held. */
static void acks_encode(struct rg_consumer *consumer, struct buf *body)
{
    struct ack_book *self = &consumer->acks;
    struct range range;
    uint64_t first = 0;
    uint64_t last = 0;

    tail_merge(self);
    while (ranges_lowest(self->acked, &range)) {
        (void) ranges_clear_range(self->acked, range.first, range.last); /* it was there */
        while (delivered_take(self, &range.first, range.last, &first, &last)) {
            range_append(body, ACK_RANGES, first, last);
            settle(self, first, last);
            if (body->size >= ACK_FRAME_BYTES) {
                frame_flush(consumer, body);
            }
        }
    }
    bool is_sent = self->nack_count == 0;
    for (size_t i = 0; i < self->nack_count; i++) {
        struct nack_item *nack = &self->nacks[i];
        while (delivered_take(self, &nack->first, nack->last, &first, &last)) {
            nack_append(body, nack, first, last);
            is_sent = true;
            if (body->size >= ACK_FRAME_BYTES) {
                frame_flush(consumer, body);
            }
        }
    }
    nacks_forget(self);
    self->is_scheduled = false;
    if (!is_sent) { /* nothing of it was ours: there will be no answer */
        atomic_store(&consumer->is_rewinding, false);
        (void) pthread_cond_broadcast(&consumer->changed);
    }
}

void acks_send(struct rg_consumer *consumer)
{
    struct buf body = {0};
    list_remove(&consumer->of_acks);
    acks_lock(&consumer->acks);
    acks_encode(consumer, &body);
    acks_unlock(&consumer->acks);
    frame_flush(consumer, &body);
    buf_release(&body);
    consumer->acks_due_us = client_now_us() + ACK_PAUSE_US;
}

void consumers_send_acks(struct rg_client *client, uint64_t now_us)
{
    while (!list_is_empty(&client->acks)) {
        struct rg_consumer *consumer = LIST_ENTRY(client->acks.next, struct rg_consumer, of_acks);
        if (consumer->acks_due_us > now_us) {
            break; /* they are due in the order in which they came */
        }
        acks_send(consumer);
    }
}

/* --- giving --- */

static void acks_schedule(struct rg_consumer *self)
{
    struct rg_client *client = self->client;
    client_lock(client);
    if (self->state == CONSUMER_UP && !list_is_linked(&self->of_acks)) {
        uint64_t now_us = client_now_us();
        if (self->acks_due_us < now_us) {
            self->acks_due_us = now_us;
        }
        list_push_back(&client->acks, &self->of_acks);
        client_wake_by(client, self->acks_due_us);
    } else if (self->state != CONSUMER_UP) {
        acks_reset(&self->acks); /* nothing of what was taken is ours any more */
    }
    client_unlock(client);
}

/* Something is in the book: lets go of its lock, and has it sent in a moment unless that is under way. */
static void acks_noted(struct rg_consumer *self)
{
    struct ack_book *book = &self->acks;
    bool is_first = !book->is_scheduled;
    book->is_scheduled = true;
    acks_unlock(book);
    if (is_first) {
        acks_schedule(self);
    }
}

int consumer_ack(struct rg_consumer *self, uint64_t first, uint64_t last)
{
    struct ack_book *book = &self->acks;
    acks_lock(book);
    if (book->has_tail && first == book->tail.last + 1) {
        book->tail.last = last;
    } else {
        tail_merge(book);
        book->tail = (struct range){first, last, 0};
        book->has_tail = true;
    }
    acks_noted(self);
    return 0;
}

static void nack_put(struct ack_book *book, const struct nack_item *nack)
{
    if (book->nacks == NULL || book->nack_count == book->nack_capacity) {
        size_t capacity = book->nack_capacity < 16 ? 16 : book->nack_capacity * 2;
        book->nacks = mem_resize(book->nacks, capacity, sizeof(*book->nacks));
        book->nack_capacity = capacity;
    }
    book->nacks[book->nack_count++] = *nack;
}

int consumer_nack(struct rg_consumer *self, const struct nack_item *nack)
{
    acks_lock(&self->acks);
    nack_put(&self->acks, nack);
    if (atomic_load(&self->is_strict)) {
        atomic_store(&self->is_rewinding, true); /* what is behind it comes again: wait */
    }
    acks_noted(self);
    return 0;
}

static int ack_check(const struct rg_consumer *consumer, uint64_t first, uint64_t last,
                     const char *function)
{
    if (consumer == NULL) {
        return error_note(ERR_USAGE, "%s: consumer is NULL", function);
    }
    if (first == 0 || first > last || last == UINT64_MAX) {
        return error_note(ERR_USAGE, "%s: %llu..%llu is no range of offsets", function,
                          (unsigned long long) first, (unsigned long long) last);
    }
    return 0;
}

int rg_ack(struct rg_consumer *consumer, uint64_t first, uint64_t last)
{
    int result = ack_check(consumer, first, last, "rg_ack");
    return result < 0 ? result : consumer_ack(consumer, first, last);
}

/* A server ends the connection of who sends a text that is not UTF-8. */
static int nack_check(const struct rg_consumer *consumer, uint64_t first, uint64_t last,
                      const struct rg_nack *nack, const char *function)
{
    int result = ack_check(consumer, first, last, function);
    if (result == 0 && nack != NULL && nack->reason != NULL && !pb_is_text(span_of(nack->reason))) {
        result = error_note(ERR_BAD_REQUEST, "%s: the reason is not UTF-8", function);
    }
    return result;
}

static struct nack_item nack_item_of(uint64_t first, uint64_t last, const struct rg_nack *nack)
{
    return (struct nack_item){
        .first = first,
        .last = last,
        .delay_ms = nack->delay_ms,
        .has_delay = nack->delay_ms != RG_BACKOFF,
        .count = !nack->uncounted,
        .reject = nack->reject,
        .reason = nack->reason != NULL ? mem_strdup(nack->reason) : NULL,
    };
}

int rg_nack_with(struct rg_consumer *consumer, uint64_t first, uint64_t last,
                 const struct rg_nack *nack)
{
    int result = nack_check(consumer, first, last, nack, "rg_nack");
    if (result == 0 && nack == NULL) {
        result = error_note(ERR_USAGE, "rg_nack: nack is NULL");
    }
    if (result < 0) {
        return result;
    }
    struct nack_item item = nack_item_of(first, last, nack);
    return consumer_nack(consumer, &item);
}

int rg_nack(struct rg_consumer *consumer, uint64_t first, uint64_t last, uint64_t delay_ms,
            bool count)
{
    const struct rg_nack nack = {.delay_ms = delay_ms, .uncounted = !count};
    return rg_nack_with(consumer, first, last, &nack);
}

/* --- and waiting --- */

/* Is all of it taken on this connection, acknowledged or not? Book's lock held. */
static bool acks_know(const struct ack_book *self, uint64_t first, uint64_t last)
{
    struct range range;
    while (first <= last) {
        if (!ranges_find(self->delivered, first, &range) &&
            !ranges_find(self->settled, first, &range)) {
            return false;
        }
        first = range.last + 1;
    }
    return true;
}

/* The first remark of the server on something in this range. What could not be delayed is still ours. */
static int results_read(struct ack_book *book, struct span body, uint64_t first, uint64_t last)
{
    int result = 0;
    struct pb_field field;
    while (pb_next(&body, &field) == 1) {
        if (field.number != 1 || field.type != PB_BYTES) {
            continue;
        }
        struct span rest = field.bytes;
        uint64_t values[4] = {0};
        struct pb_field part;
        while (pb_next(&rest, &part) == 1) {
            if (part.number < 4 && part.type == PB_VARINT) {
                values[part.number] = part.value;
            }
        }
        int code = values[3] < 1000 ? -(int) values[3] : ERR_INTERNAL;
        if (code == ERR_DELAY_FULL && values[1] != 0 && values[1] <= values[2]) {
            acks_lock(book);
            ranges_set(book->delivered, values[1], values[2], 0);
            acks_unlock(book);
        }
        if (result == 0 && code != 0 && code != ERR_ALREADY && values[1] <= last &&
            values[2] >= first) {
            result = error_note(code, "offsets %llu..%llu: %s", (unsigned long long) values[1],
                                (unsigned long long) values[2], rg_error_text(code));
        }
    }
    return result;
}

/* Encode the frame that is to be answered: all that is given, and this range: acknowledged, or nacked. Client's lock held. */
static int ack_sync_encode(struct rg_consumer *consumer, uint64_t first, uint64_t last,
                           const struct rg_nack *nack, struct buf *body)
{
    struct ack_book *book = &consumer->acks;
    if (consumer->state != CONSUMER_UP || consumer->client->state != CLIENT_UP) {
        return error_note(ERR_NOT_DELIVERED, "the connection it came on is lost: it comes again");
    }
    if (consumer->is_exclusive && !consumer->is_active) {
        return error_note(ERR_FENCED, "another consumer of the group is active");
    }
    acks_lock(book);
    bool is_known = acks_know(book, first, last);
    if (is_known) {
        ranges_set(book->delivered, first, last, 0);
        tail_merge(book);
        if (nack != NULL) {
            struct nack_item item = nack_item_of(first, last, nack);
            nack_put(book, &item);
            if (atomic_load(&consumer->is_strict)) {
                atomic_store(&consumer->is_rewinding, true);
            }
        } else {
            ranges_set(book->acked, first, last, 0);
        }
        list_remove(&consumer->of_acks);
        acks_encode(consumer, body);
    }
    acks_unlock(book);
    if (!is_known) {
        return error_note(ERR_NOT_DELIVERED, "not delivered on this connection, or given back");
    }
    pb_append_varint(body, ACK_SYNC, 1);
    if (consumer->epoch != 0) {
        pb_append_varint(body, ACK_EPOCH, consumer->epoch);
    }
    return 0;
}

static int settle_sync(struct rg_consumer *consumer, uint64_t first, uint64_t last,
                       const struct rg_nack *nack, const char *function)
{
    int result = nack_check(consumer, first, last, nack, function);
    if (result == 0) {
        result = client_check_blocking(consumer->client, function);
    }
    if (result < 0) {
        return result;
    }
    struct rg_client *client = consumer->client;
    struct call call = {.field = RAILGUN__FRAME__BODY_ACK};
    client_lock(client);
    result = ack_sync_encode(consumer, first, last, nack, &call.body);
    if (result == 0) {
        call.channel = consumer->channel;
        result = call_ask_locked(client, &call, RAILGUN__FRAME__BODY_ACK_OK);
    }
    client_unlock(client);
    if (result == 0) {
        result = results_read(&consumer->acks, call.ret_body.bytes, first, last);
    }
    call_release(&call);
    return result;
}

int rg_ack_sync(struct rg_consumer *consumer, uint64_t first, uint64_t last)
{
    return settle_sync(consumer, first, last, NULL, "rg_ack_sync");
}

int rg_nack_sync(struct rg_consumer *consumer, uint64_t first, uint64_t last,
                 const struct rg_nack *nack)
{
    return nack == NULL ? error_note(ERR_USAGE, "rg_nack_sync: nack is NULL")
                        : settle_sync(consumer, first, last, nack, "rg_nack_sync");
}

int rg_extend(struct rg_consumer *consumer, uint64_t first, uint64_t last)
{
    int result = ack_check(consumer, first, last, "rg_extend");
    if (result == 0) {
        result = client_check_blocking(consumer->client, "rg_extend");
    }
    if (result < 0) {
        return result;
    }
    struct rg_client *client = consumer->client;
    struct call call = {.field = RAILGUN__FRAME__BODY_EXTEND};
    range_append(&call.body, EXTEND_RANGES, first, last);
    client_lock(client);
    if (consumer->state != CONSUMER_UP || client->state != CLIENT_UP) {
        result = error_note(ERR_NOT_DELIVERED, "the connection it came on is lost: it comes again");
    } else {
        call.channel = consumer->channel;
        result = call_ask_locked(client, &call, RAILGUN__FRAME__BODY_EXTEND_OK);
    }
    client_unlock(client);
    if (result == 0) {
        result = results_read(&consumer->acks, call.ret_body.bytes, first, last);
    }
    call_release(&call);
    return result;
}
