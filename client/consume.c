/* consume: attaching to groups, again after each loss, and what the server says on a consumer's channel. Owns the consumers. A consumer that
 * is down comes back by itself, unless the server refuses it for good. Must never keep more deliveries than were granted, nor one of a
 * connection that is gone. */
#include "client/consume.h"

#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/batch.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

enum { PREFETCH_MESSAGES = 4096, PREFETCH_BYTES = 4 << 20 };
enum { CONSUME_OK_SPEC = 7, SPEC_ACK_WAIT = 5 }; /* of client.proto */

static struct rg_consumer *consumer_of(struct list *node)
{
    return LIST_ENTRY(node, struct rg_consumer, of_client);
}

/* --- events --- */

void consumer_busy(struct rg_consumer *self)
{
    if (!list_is_linked(&self->of_busy)) {
        list_push_back(&self->client->busy, &self->of_busy);
    }
}

static void consumer_tell(struct rg_consumer *self, struct rg_event event, struct span detail)
{
    if (self->options.on_event == NULL || self->is_leaving) {
        return;
    }
    struct event_item *item = MEM_NEW(struct event_item);
    item->detail = mem_new(detail.size + 1);
    if (detail.size != 0) {
        memcpy(item->detail, detail.data, detail.size);
    }
    item->event = event;
    item->event.detail = item->detail;
    list_push_back(&self->events, &item->of_queue);
    consumer_busy(self);
}

static void event_free(struct event_item *item)
{
    mem_free(item->detail);
    mem_free(item);
}

/* --- deliveries --- */

void delivery_free(struct delivery *delivery)
{
    list_remove(&delivery->of_queue);
    slice_release(&delivery->body);
    mem_free(delivery);
}

static void consumer_drop_deliveries(struct rg_consumer *self)
{
    while (!list_is_empty(&self->deliveries)) {
        delivery_free(LIST_ENTRY(self->deliveries.next, struct delivery, of_queue));
    }
}

/* The records are as many and as whole as the frame says. What their size may be is the server's business. */
static bool delivery_is_sound(const struct hot_delivery *head)
{
    struct batch_limits limits = {
        .batch_bytes_max = FRAME_SIZE_MAX_HARD,
        .records_max = UINT32_MAX,
        .record_bytes_max = FRAME_SIZE_MAX_HARD,
        .id_bytes_max = UINT32_MAX,
        .headers_max = UINT32_MAX,
        .header_bytes_max = UINT32_MAX,
    };
    struct batch_summary summary;
    uint32_t record = 0;
    return head->count != 0 && head->base_offset != 0 &&
           head->base_offset <= UINT64_MAX - head->count &&
           batch_check(head->batch, &limits, &summary, &record) == 0 &&
           summary.records == head->count;
}

int consumer_deliver(struct rg_client *client, uint32_t channel, struct span body)
{
    struct hot_delivery head;
    struct rg_consumer *self = hash64_get(client->channels, channel);
    int result = hot_deliver_read(body, &head);
    if (result < 0) {
        return result;
    }
    if (self == NULL) {
        return 0; /* it left while this was on its way */
    }
    if (!delivery_is_sound(&head)) {
        return ERR_PROTOCOL;
    }
    if (head.count > self->granted_messages) {
        return ERR_CREDIT_VIOLATION;
    }
    self->granted_messages -= head.count;
    struct delivery *delivery = MEM_NEW(struct delivery);
    delivery->body = session_keep(client, body);
    if (delivery->body.bytes.data != body.data) {
        result = hot_deliver_read(delivery->body.bytes, &head); /* the same, in the copy */
        INVARIANT(result == 0);
    }
    delivery->head = head;
    delivery->limit = UINT64_MAX;
    list_push_back(&self->deliveries, &delivery->of_queue);
    if (atomic_load(&self->is_draining)) {
        consumer_give_back_queue(self);
        client_wake(client);
        return 0;
    }
    if (self->options.on_message != NULL) {
        consumer_busy(self);
    } else {
        (void) pthread_cond_broadcast(&self->changed);
    }
    return 0;
}

static enum rg_event_type event_type(Railgun__GroupEvent__Type type, bool *ret_is_told)
{
    *ret_is_told = true;
    if (type == RAILGUN__GROUP_EVENT__TYPE__EVENT_GAP) {
        return RG_EVENT_GAP;
    }
    if (type == RAILGUN__GROUP_EVENT__TYPE__EVENT_CORRUPT) {
        return RG_EVENT_CORRUPT;
    }
    if (type == RAILGUN__GROUP_EVENT__TYPE__EVENT_FULL) {
        return RG_EVENT_FULL;
    }
    if (type == RAILGUN__GROUP_EVENT__TYPE__EVENT_DEADLINE) {
        return RG_EVENT_DEADLINE;
    }
    if (type == RAILGUN__GROUP_EVENT__TYPE__EVENT_PAUSED ||
        type == RAILGUN__GROUP_EVENT__TYPE__EVENT_BREAKER) {
        return RG_EVENT_PAUSED;
    }
    if (type == RAILGUN__GROUP_EVENT__TYPE__EVENT_RESUMED) {
        return RG_EVENT_RESUMED;
    }
    if (type == RAILGUN__GROUP_EVENT__TYPE__EVENT_SEEK) {
        return RG_EVENT_SEEK;
    }
    *ret_is_told = false; /* those of consume_role, or they mean nothing to a consumer */
    return RG_EVENT_GAP;
}

int consumer_group_event(struct rg_client *client, uint32_t channel, struct span body)
{
    Railgun__GroupEvent *group_event = NULL;
    struct rg_consumer *self = hash64_get(client->channels, channel);
    int result = SCAN_UNPACK(body, railgun__group_event, &group_event);
    if (result < 0) {
        return result;
    }
    bool is_told = false;
    struct rg_event event = {.type = event_type(group_event->type, &is_told)};
    if (event.type == RG_EVENT_PAUSED) {
        event.code = group_event->type == RAILGUN__GROUP_EVENT__TYPE__EVENT_BREAKER
                         ? ERR_BREAKER_OPEN
                         : ERR_PAUSED;
    }
    if (self != NULL && !is_told) {
        is_told = consumer_role_event(self, (int) group_event->type,
                                      group_event->range != NULL ? group_event->range->first : 0,
                                      group_event->epoch, &event);
    }
    if (self != NULL && group_event->type == RAILGUN__GROUP_EVENT__TYPE__EVENT_ACK_WAIT) {
        extender_set(self, group_event->count);
    }
    if (self != NULL && is_told) {
        if (group_event->range != NULL) {
            event.first = group_event->range->first;
            event.last = group_event->range->last;
        }
        const char *detail = group_event->detail != NULL ? group_event->detail : "";
        consumer_tell(self, event, span_of(detail));
    }
    SCAN_FREE(&group_event);
    return 0;
}

/* --- attaching --- */

/* From now on nothing belongs to it that came before. */
static void consumer_leave_channel(struct rg_consumer *self)
{
    if (self->channel != 0) {
        (void) hash64_remove(self->client->channels, self->channel); /* may be gone already */
        self->channel = 0;
    }
    self->granted_messages = 0;
    consumer_drop_deliveries(self);
    list_remove(&self->of_acks);
    atomic_fetch_add(&self->generation, 1);
    atomic_store(&self->is_rewinding, false);
    self->is_active = false;
    acks_reset(&self->acks);
}

static void consumer_down(struct rg_consumer *self, int code, struct span detail)
{
    bool was_up = self->state == CONSUMER_UP;
    consumer_leave_channel(self);
    self->state = CONSUMER_DOWN;
    self->code = code;
    if (was_up) {
        consumer_tell(self, (struct rg_event){.type = RG_EVENT_DOWN, .code = code}, detail);
    }
}

void consumer_closed(struct rg_consumer *self, int code, struct span detail)
{
    consumer_leave_channel(self);
    self->state = CONSUMER_CLOSED;
    self->code = code;
    (void) snprintf(self->detail, sizeof(self->detail), "%.*s",
                    (int) (detail.size < 400 ? detail.size : 400),
                    detail.size != 0 ? (const char *) detail.data : "");
    consumer_tell(self, (struct rg_event){.type = RG_EVENT_CLOSED, .code = code}, detail);
    (void) pthread_cond_broadcast(&self->changed);
}

static void consumer_retry_later(struct rg_consumer *self)
{
    struct rg_client *client = self->client;
    uint64_t backoff_us = (uint64_t) self->backoff_ms * 1000;
    self->retry_at_us =
        client_now_us() + backoff_us / 2 + prng_below(&client->prng, backoff_us / 2 + 1);
    uint64_t doubled = (uint64_t) self->backoff_ms * 2;
    uint32_t most = client->options.reconnect_max_ms;
    self->backoff_ms = doubled < most ? (uint32_t) doubled : most;
    if (client->reattach_us == 0 || self->retry_at_us < client->reattach_us) {
        client->reattach_us = self->retry_at_us;
    }
}

/* The server does not have it, or will not have it. For good? */
static void consumer_refused(struct rg_consumer *self, int code, struct span detail)
{
    if (error_is_for_now(code) || code == ERR_TIMEOUT) {
        consumer_down(self, code, detail);
        consumer_retry_later(self);
    } else {
        consumer_closed(self, code, detail);
    }
}

/* The group's ack_wait_ms, from a ConsumeOk. */
static uint64_t ack_wait_of(struct span consume_ok)
{
    uint64_t wait_ms = 0;
    struct pb_field field;
    while (pb_next(&consume_ok, &field) == 1) {
        struct span spec = field.bytes;
        if (field.number != CONSUME_OK_SPEC || field.type != PB_BYTES) {
            continue;
        }
        while (pb_next(&spec, &field) == 1) {
            if (field.number == SPEC_ACK_WAIT && field.type == PB_VARINT) {
                wait_ms = field.value;
            }
        }
    }
    return wait_ms;
}

static void consumer_attached(struct call *call)
{
    struct rg_consumer *self = call->ud;
    struct rg_client *client = self->client;
    struct error_answer answer = {0};
    int result = call->result;

    if (result == 0 && call->ret_field == RAILGUN__FRAME__BODY_CONSUME_OK) {
        self->state = CONSUMER_UP;
        self->was_up = true;
        self->backoff_ms = client->options.reconnect_min_ms;
        consumer_note_ok(self, call->ret_body.bytes);
        extender_set(self, ack_wait_of(call->ret_body.bytes));
        consumer_tell(self, (struct rg_event){.type = RG_EVENT_UP}, (struct span){0});
    } else if (client->state != CLIENT_UP) {
        consumer_down(self, result, (struct span){0}); /* it is attached with the next connection */
    } else {
        if (result == ERR_TIMEOUT) {
            /* It may come about yet: leave it. */
            conn_queue_frame(client, self->channel, 0, RAILGUN__FRAME__BODY_CANCEL,
                             (struct span){0});
        }
        if (call->ret_field == RAILGUN__FRAME__BODY_ERROR) {
            (void) error_read(call->ret_body.bytes, &answer); /* else there is no detail */
        }
        consumer_refused(self, result != 0 ? result : ERR_PROTOCOL, answer.detail);
    }
    slice_release(&call->ret_body);
    (void) pthread_cond_broadcast(&self->changed);
}

static void consumer_attach(struct rg_consumer *self)
{
    struct rg_client *client = self->client;
    Railgun__Consume consume = RAILGUN__CONSUME__INIT;
    Railgun__Start start = RAILGUN__START__INIT;
    Railgun__Credit credit = RAILGUN__CREDIT__INIT;
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;

    consume.stream = self->stream;
    consume.group = self->group;
    consume.consumer = self->name;
    uint64_t resume = acks_resume(&self->acks);
    if (resume != 0) { /* an ephemeral group that may be gone: it goes on where it was */
        start_fill(&start, (struct rg_start){.at = RG_START_OFFSET, .value = resume});
        consume.start = &start;
        consume.has_on_gap = true;
        consume.on_gap = RAILGUN__CONSUME__ON_GAP__GAP_FIRST;
    } else if (self->options.start.at != RG_START_DEFAULT) {
        start_fill(&start, self->options.start);
        consume.start = &start;
        consume.has_on_gap = self->options.on_gap != RG_GAP_ERROR;
        consume.on_gap = (Railgun__Consume__OnGap) self->options.on_gap; /* the same numbers */
    }
    consume.has_ephemeral = consume.ephemeral = consumer_is_ephemeral(self);
    consume.has_priority = self->options.priority != 0;
    consume.priority = self->options.priority;
    if (self->options.mode != RG_MODE_DEFAULT) {
        spec.has_mode = spec.has_order = true;
        spec.mode = self->options.mode == RG_MODE_SHARED
                        ? RAILGUN__GROUP_SPEC__MODE__MODE_SHARED
                        : RAILGUN__GROUP_SPEC__MODE__MODE_EXCLUSIVE;
        spec.order = self->options.mode == RG_MODE_EXCLUSIVE_RELAXED
                         ? RAILGUN__GROUP_SPEC__ORDER__ORDER_RELAXED
                         : RAILGUN__GROUP_SPEC__ORDER__ORDER_STRICT;
        consume.spec = &spec;
        consume.has_strict = consume.strict = self->options.strict;
    }
    credit.has_messages = true;
    credit.messages = self->options.prefetch_messages;
    credit.has_bytes = true;
    credit.bytes = self->options.prefetch_bytes;
    consume.credit = &credit;

    self->state = CONSUMER_ATTACHING;
    self->channel = ++client->next_channel;
    self->granted_messages = self->options.prefetch_messages;
    (void) hash64_put(client->channels, self->channel, self); /* a new number */
    buf_reset(&self->attach.body);
    scan_pack(&self->attach.body, &consume.base);
    self->attach.field = RAILGUN__FRAME__BODY_CONSUME;
    self->attach.channel = self->channel;
    self->attach.on_done = consumer_attached;
    self->attach.ud = self;
    call_start(client, &self->attach, client_request_deadline(client, client_now_us()));
}

void consumers_up(struct rg_client *client)
{
    LIST_FOREACH (&client->consumers, node) {
        struct rg_consumer *self = consumer_of(node);
        if (self->state == CONSUMER_DOWN && !self->is_leaving) {
            consumer_attach(self);
        }
    }
}

void consumers_lost(struct rg_client *client)
{
    LIST_FOREACH (&client->consumers, node) {
        struct rg_consumer *self = consumer_of(node);
        call_cancel(client, &self->attach);
        call_cancel(client, &self->drain);
        if (self->state != CONSUMER_CLOSED && atomic_load(&self->is_draining)) {
            consumer_closed(self, 0, span_of("drained"));
        } else if (self->state != CONSUMER_CLOSED) {
            consumer_down(self, client->last_reason, span_of(client->last_detail));
        }
    }
    client->reattach_us = 0;
}

void consumers_stop(struct rg_client *client)
{
    LIST_FOREACH (&client->consumers, node) {
        struct rg_consumer *self = consumer_of(node);
        call_cancel(client, &self->attach);
        call_cancel(client, &self->drain);
        if (self->state != CONSUMER_CLOSED) {
            consumer_closed(self, ERR_CLOSED, span_of("the client is closed"));
        }
    }
}

void consumers_check(struct rg_client *client, uint64_t now_us)
{
    if (client->reattach_us == 0 || now_us < client->reattach_us || client->state != CLIENT_UP) {
        return;
    }
    client->reattach_us = 0;
    LIST_FOREACH (&client->consumers, node) {
        struct rg_consumer *self = consumer_of(node);
        if (self->state != CONSUMER_DOWN || self->is_leaving) {
            continue;
        }
        if (now_us >= self->retry_at_us) {
            consumer_attach(self);
        } else if (client->reattach_us == 0 || self->retry_at_us < client->reattach_us) {
            client->reattach_us = self->retry_at_us;
        }
    }
}

uint64_t consumers_next_us(const struct rg_client *client)
{
    uint64_t next_us = UINT64_MAX;
    if (client->reattach_us != 0 && client->state == CLIENT_UP) {
        next_us = client->reattach_us;
    }
    if (!list_is_empty(&client->acks)) {
        const struct rg_consumer *first =
            LIST_ENTRY(client->acks.next, struct rg_consumer, of_acks);
        next_us = first->acks_due_us < next_us ? first->acks_due_us : next_us;
    }
    return next_us;
}

void consumer_cancelled(struct rg_client *client, uint32_t channel, int code, struct span detail)
{
    struct rg_consumer *self = hash64_get(client->channels, channel);
    if (self != NULL) {
        call_cancel(client, &self->attach);
        call_cancel(client, &self->drain);
        consumer_refused(self, code, detail);
        (void) pthread_cond_broadcast(&self->changed);
    }
}

void consumer_lost_group(struct rg_client *client, uint32_t channel, uint64_t last_offset)
{
    struct rg_consumer *self = hash64_get(client->channels, channel);
    if (self == NULL) {
        return;
    }
    acks_resume_at(&self->acks, last_offset + 1);
    struct rg_event event = {
        .type = RG_EVENT_LOST, .code = ERR_EPHEMERAL_LOST, .first = acks_resume(&self->acks)};
    call_cancel(client, &self->attach);
    call_cancel(client, &self->drain);
    consumer_leave_channel(self);
    consumer_tell(self, event, (struct span){0});
    if (atomic_load(&self->is_draining)) {
        consumer_closed(self, 0, span_of("drained"));
        return;
    }
    self->state = CONSUMER_DOWN;
    self->code = ERR_EPHEMERAL_LOST;
    consumer_retry_later(self);
    (void) pthread_cond_broadcast(&self->changed);
}

/* --- life --- */

static void consumer_free(struct rg_consumer *self)
{
    struct list *node = NULL;
    extender_stop(self);
    consumer_drop_deliveries(self);
    while ((node = list_pop_front(&self->events)) != NULL) {
        event_free(LIST_ENTRY(node, struct event_item, of_queue));
    }
    walk_close(&self->walk);
    call_release(&self->attach);
    call_release(&self->drain);
    acks_release(&self->acks);
    (void) pthread_cond_destroy(&self->changed); /* nobody waits any more */
    mem_free(self->stream);
    mem_free(self->group);
    mem_free(self->name);
    mem_free(self);
}

static struct rg_consumer *consumer_new(struct rg_client *client, const char *stream,
                                        const char *group, const struct rg_consume_options *options)
{
    struct rg_consumer *self = MEM_NEW(struct rg_consumer);
    self->client = client;
    self->options = options != NULL ? *options : (struct rg_consume_options){0};
    if (self->options.prefetch_messages == 0) {
        self->options.prefetch_messages = PREFETCH_MESSAGES;
    }
    if (self->options.prefetch_bytes == 0) {
        self->options.prefetch_bytes = PREFETCH_BYTES;
    }
    self->stream = mem_strdup(stream);
    self->group = mem_strdup(group != NULL ? group : "");
    self->options.ephemeral = self->options.ephemeral || self->group[0] == '\0';
    atomic_store(&self->walk_limit, UINT64_MAX);
    self->name = mem_strdup(self->options.consumer != NULL ? self->options.consumer : client->name);
    self->options.consumer = self->name;
    self->state = CONSUMER_DOWN;
    self->code = ERR_CLOSED;
    self->backoff_ms = client->options.reconnect_min_ms;
    list_init(&self->of_client);
    list_init(&self->of_busy);
    list_init(&self->of_acks);
    list_init(&self->deliveries);
    list_init(&self->events);
    cond_init(&self->changed);
    acks_init(&self->acks);
    return self;
}

/* It is in no list and no table any more, and no callback runs. Lock held. */
static void consumer_detach(struct rg_consumer *self)
{
    struct rg_client *client = self->client;
    self->is_leaving = true;
    while (self->in_callback) {
        (void) pthread_cond_wait(&self->changed, &client->lock); /* the predicate decides */
    }
    if (self->state == CONSUMER_ATTACHING && client->state == CLIENT_UP) {
        /* It may come about yet: what it would hold must not wait for a consumer that is gone. */
        conn_queue_frame(client, self->channel, 0, RAILGUN__FRAME__BODY_CANCEL, (struct span){0});
        client_wake(client);
    }
    call_cancel(client, &self->attach);
    call_cancel(client, &self->drain);
    consumer_leave_channel(self);
    list_remove(&self->of_client);
    list_remove(&self->of_busy);
    list_remove(&self->of_acks);
    client->consumer_count--;
}

static int consumer_wait_attached(struct rg_consumer *self)
{
    struct rg_client *client = self->client;
    uint64_t until_us = client_request_deadline(client, client_now_us());
    while (self->state != CONSUMER_UP && self->state != CONSUMER_CLOSED) {
        if (!cond_wait_until(&self->changed, &client->lock, until_us)) {
            break;
        }
    }
    if (self->state == CONSUMER_UP || self->was_up) {
        return 0;
    }
    const char *detail = self->detail[0] != 0 ? self->detail : rg_error_text(self->code);
    return error_note(self->code, "%s", detail);
}

int rg_consume(struct rg_client *client, const char *stream, const char *group,
               const struct rg_consume_options *options, struct rg_consumer **ret_consumer)
{
    int result = client_check_blocking(client, "rg_consume");
    if (result < 0) {
        return result;
    }
    if (stream == NULL || ret_consumer == NULL) {
        return error_note(ERR_USAGE, "rg_consume: an argument is NULL");
    }
    if (options != NULL && options->auto_ack && options->on_message == NULL) {
        return error_note(ERR_USAGE, "rg_consume: auto_ack is for on_message");
    }
    if (options != NULL && options->consumer != NULL && !pb_is_text(span_of(options->consumer))) {
        return error_note(ERR_BAD_REQUEST, "consumer: not UTF-8");
    }
    result = error_check_names(stream, group != NULL && group[0] != '\0' ? group : NULL);
    if (result < 0) {
        return result;
    }
    struct rg_consumer *self = consumer_new(client, stream, group, options);
    client_lock(client);
    client_ref(client);
    list_push_back(&client->consumers, &self->of_client);
    client->consumer_count++;
    /* Callbacks may come before this returns, and they are given the consumer. */
    *ret_consumer = self;
    if (client->is_closing) {
        consumer_closed(self, ERR_CLOSED, span_of("the client is closed"));
    } else if (client->state == CLIENT_UP) {
        consumer_attach(self);
    }
    result = consumer_wait_attached(self);
    if (result < 0) {
        consumer_detach(self);
        *ret_consumer = NULL;
    }
    client_unlock(client);
    if (result < 0) {
        consumer_free(self);
        client_unref(client);
    }
    return result;
}

/* Acknowledge, cancel, and wait until the server has it. Lock held. */
static void consumer_say_goodbye(struct rg_consumer *self)
{
    struct rg_client *client = self->client;
    struct waiter waiter;
    struct call call = {.field = RAILGUN__FRAME__BODY_CANCEL, .channel = self->channel};
    if (self->state != CONSUMER_UP || client->state != CLIENT_UP || client->is_closing) {
        return;
    }
    acks_send(self);
    waiter_init(&waiter);
    call.waiter = &waiter;
    call_start(client, &call, client_request_deadline(client, client_now_us()));
    lead_wait(client, &waiter, call.pending.corr);
    waiter_release(&waiter);
    call_release(&call);
}

void rg_consumer_close(struct rg_consumer **consumer)
{
    if (consumer == NULL || *consumer == NULL || client_is_io_thread((*consumer)->client)) {
        return;
    }
    struct rg_consumer *self = *consumer;
    struct rg_client *client = self->client;
    *consumer = NULL;
    client_lock(client);
    self->is_leaving = true;
    while (self->in_callback) {
        (void) pthread_cond_wait(&self->changed, &client->lock); /* the predicate decides */
    }
    consumer_say_goodbye(self);
    consumer_detach(self);
    client_unlock(client);
    consumer_free(self);
    client_unref(client);
}

/* --- callbacks --- */

bool consumers_are_busy(const struct rg_client *client)
{
    return !list_is_empty(&client->busy);
}

static void consumer_call_events(struct rg_consumer *self)
{
    struct list *node = NULL;
    while ((node = list_pop_front(&self->events)) != NULL) {
        struct event_item *item = LIST_ENTRY(node, struct event_item, of_queue);
        client_unlock(self->client);
        self->options.on_event(self->options.ud, self, &item->event);
        event_free(item);
        client_lock(self->client);
    }
}

/* All records of one delivery. Without the lock. */
static int consumer_push(struct rg_consumer *self)
{
    struct rg_record record;
    int result = 0;
    while ((result = consumer_take(self, &record)) == 1) {
        int answer = self->options.on_message(self->options.ud, self, &record);
        if (self->options.auto_ack) {
            struct nack_item nack = {.first = record.offset, .last = record.offset, .count = true};
            (void) (answer == 0
                        ? consumer_ack(self, record.offset, record.offset)
                        : consumer_nack(self, &nack)); /* fails when it is closed: void then */
        }
        if (self->walk.left == 0) {
            break;
        }
    }
    return result;
}

void consumers_call_back(struct rg_client *client)
{
    struct list busy;
    struct list *node = NULL;
    list_take_all(&busy, &client->busy);
    while ((node = list_pop_front(&busy)) != NULL) {
        struct rg_consumer *self = LIST_ENTRY(node, struct rg_consumer, of_busy);
        if (self->is_leaving) {
            continue;
        }
        self->in_callback = true;
        consumer_call_events(self);
        if (!list_is_empty(&self->deliveries) && self->options.on_message != NULL) {
            client_unlock(client);
            (void) consumer_push(self); /* deliveries were checked when they came */
            client_lock(client);
        }
        self->in_callback = false;
        (void) pthread_cond_broadcast(&self->changed);
        bool is_pushing = self->options.on_message != NULL && !list_is_empty(&self->deliveries);
        if (is_pushing || !list_is_empty(&self->events)) {
            consumer_busy(self);
        }
    }
}
