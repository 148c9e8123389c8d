/* subscription: subscribing, again after each loss, and what the server says on a subscription's channel. Owns the subscriptions. One that is down
 * comes back by itself, unless the server refuses it for good. What came stays valid when the connection is lost: nothing is repeated. */
#include "client/subscription.h"

#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

enum {
    PULL_MESSAGES = 4096,
    ES_SUBSCRIBE_CREDIT = 8,
    CREDIT_MESSAGES = 1,
    CREDIT_BYTES = 2,
};

/* Credit is counted in messages: so many bytes are never used up. */
#define CREDIT_BYTES_ENOUGH (UINT64_C(1) << 60)

static struct rg_subscription *subscription_of(struct list *node)
{
    return LIST_ENTRY(node, struct rg_subscription, of_client);
}

void subscriptions_init(struct rg_client *client)
{
    client->subs.channels = hash64_new();
    list_init(&client->subs.all);
    arrivals_init(client);
}

void subscriptions_release(struct rg_client *client)
{
    INVARIANT(list_is_empty(&client->subs.all));
    arrivals_release(client);
    hash64_destroy(&client->subs.channels);
}

struct rg_subscription *subscription_find(const struct rg_client *client, uint32_t channel)
{
    return hash64_get(client->subs.channels, channel);
}

/* --- what comes --- */

int subscription_deliver(struct rg_client *client, uint32_t channel, struct span body)
{
    struct rg_subscription *self = subscription_find(client, channel);
    if (self == NULL || body.size == 0) {
        return 0; /* it left while this was on its way */
    }
    struct arrival *arrival = arrival_take(client, ARRIVAL_MESSAGES);
    arrival->subscription = self;
    if (self->options.on_message != NULL) {
        arrival->body = slice_make(client->conn.inbox.chunk, body);
        list_push_back(&client->subs.arrivals, &arrival->of_arrivals);
        return 0; /* checked while it is pushed */
    }
    static const struct es_limits limits = ES_LIMITS_NONE;
    struct es_message message;
    struct span rest = body;
    int result = 0;
    while ((result = es_next(&rest, &limits, &message)) == 1) {
        arrival->count++;
    }
    if (result < 0) {
        arrival_give(client, arrival);
        return ERR_PROTOCOL;
    }
    arrival->body = session_keep(client, body);
    subscription_delivered(self, arrival->count);
    subscription_queue(self, arrival);
    return 0;
}

void subscription_delivered(struct rg_subscription *self, size_t count)
{
    self->credit_left -= count < self->credit_left ? count : self->credit_left;
}

int subscription_push(struct rg_subscription *self, struct span messages, size_t *ret_count)
{
    static const struct es_limits limits = ES_LIMITS_NONE;
    struct es_message message;
    size_t count = 0;
    int result = 0;
    while ((result = es_next(&messages, &limits, &message)) == 1) {
        struct rg_es_delivery delivery = delivery_of(&message);
        self->options.on_message(self->options.ud, self, &delivery);
        count++;
    }
    *ret_count = count;
    return result < 0 ? ERR_PROTOCOL : 0;
}

int subscription_group_event(struct rg_subscription *self, struct span body)
{
    Railgun__GroupEvent *group_event = NULL;
    int result = SCAN_UNPACK(body, railgun__group_event, &group_event);
    if (result < 0) {
        return result;
    }
    if (group_event->type == RAILGUN__GROUP_EVENT__TYPE__EVENT_DROPPED) {
        arrival_event(self, (struct rg_es_event){
                                .type = RG_ES_DROPPED,
                                .code = ERR_OVERLOADED,
                                .count = group_event->count,
                                .first_topic = group_event->first_topic,
                                .last_topic = group_event->last_topic,
                                .detail = group_event->detail,
                            });
    }
    SCAN_FREE(&group_event);
    return 0;
}

/* --- attaching --- */

static void subscription_leave_channel(struct rg_subscription *self)
{
    if (self->channel != 0) {
        (void) hash64_remove(self->client->subs.channels, self->channel); /* may be gone already */
        self->channel = 0;
    }
}

static void subscription_down(struct rg_subscription *self, int code, const char *detail)
{
    bool was_up = self->state == SUBSCRIPTION_UP;
    subscription_leave_channel(self);
    self->state = SUBSCRIPTION_DOWN;
    self->code = code;
    if (was_up) {
        arrival_event(self,
                      (struct rg_es_event){.type = RG_ES_DOWN, .code = code, .detail = detail});
    }
}

static void subscription_closed(struct rg_subscription *self, int code, const char *detail)
{
    subscription_leave_channel(self);
    self->state = SUBSCRIPTION_CLOSED;
    self->code = code;
    (void) snprintf(self->detail, sizeof(self->detail), "%s", detail);
    arrival_event(self,
                  (struct rg_es_event){.type = RG_ES_CLOSED, .code = code, .detail = self->detail});
    (void) pthread_cond_broadcast(&self->changed);
}

static void subscription_retry_later(struct rg_subscription *self)
{
    struct rg_client *client = self->client;
    uint64_t backoff_us = (uint64_t) self->backoff_ms * 1000;
    self->retry_at_us =
        client_now_us() + backoff_us / 2 + prng_below(&client->prng, backoff_us / 2 + 1);
    uint64_t doubled = (uint64_t) self->backoff_ms * 2;
    uint32_t most = client->options.reconnect_max_ms;
    self->backoff_ms = doubled < most ? (uint32_t) doubled : most;
    if (client->subs.reattach_us == 0 || self->retry_at_us < client->subs.reattach_us) {
        client->subs.reattach_us = self->retry_at_us;
    }
}

/* The server does not have it, or will not have it. For good? */
static void subscription_refused(struct rg_subscription *self, int code, struct span detail)
{
    char text[CLIENT_DETAIL_SIZE];
    (void) snprintf(text, sizeof(text), "%.*s", (int) (detail.size < 400 ? detail.size : 400),
                    detail.size != 0 ? (const char *) detail.data : "");
    if (error_is_for_now(code) || code == ERR_TIMEOUT) {
        subscription_down(self, code, text);
        subscription_retry_later(self);
    } else {
        subscription_closed(self, code, text);
    }
}

void subscription_cancelled(struct rg_subscription *self, int code, struct span detail)
{
    call_cancel(self->client, &self->attach);
    subscription_refused(self, code, detail);
}

static void subscription_attached(struct call *call)
{
    struct rg_subscription *self = call->ud;
    struct rg_client *client = self->client;
    struct error_answer answer = {0};
    int result = call->result;

    if (result == 0 && call->ret_field == RAILGUN__FRAME__BODY_ES_SUBSCRIBE_OK) {
        self->state = SUBSCRIPTION_UP;
        self->backoff_ms = client->options.reconnect_min_ms;
        if (self->was_up) {
            arrival_event(self, (struct rg_es_event){.type = RG_ES_UP});
        }
        self->was_up = true;
    } else if (client->state != CLIENT_UP) {
        subscription_down(self, result, NULL); /* it is attached with the next connection */
    } else {
        if (result == ERR_TIMEOUT) {
            /* It may come about yet: leave it. */
            conn_queue_frame(client, self->channel, 0, RAILGUN__FRAME__BODY_CANCEL,
                             (struct span){0});
        }
        if (call->ret_field == RAILGUN__FRAME__BODY_ERROR) {
            (void) error_read(call->ret_body.bytes, &answer); /* else there is no detail */
        }
        subscription_refused(self, result != 0 ? result : ERR_PROTOCOL, answer.detail);
    }
    slice_release(&call->ret_body);
    (void) pthread_cond_broadcast(&self->changed);
}

static void credit_append(struct buf *out, uint32_t field, uint64_t messages)
{
    struct buf credit = {0};
    pb_append_varint(&credit, CREDIT_MESSAGES, messages);
    pb_append_varint(&credit, CREDIT_BYTES, CREDIT_BYTES_ENOUGH);
    pb_append_bytes(out, field, buf_span(&credit));
    buf_release(&credit);
}

static void subscription_attach(struct rg_subscription *self)
{
    struct rg_client *client = self->client;
    self->state = SUBSCRIPTION_ATTACHING;
    self->channel = ++client->next_channel;
    (void) hash64_put(client->subs.channels, self->channel, self); /* a new number */
    buf_reset(&self->attach.body);
    buf_append(&self->attach.body, buf_span(&self->request));
    if (self->options.credit_messages != 0) {
        credit_append(&self->attach.body, ES_SUBSCRIBE_CREDIT, self->credit_left);
    }
    self->attach.field = RAILGUN__FRAME__BODY_ES_SUBSCRIBE;
    self->attach.channel = self->channel;
    self->attach.on_done = subscription_attached;
    self->attach.ud = self;
    call_start(client, &self->attach, client_request_deadline(client, client_now_us()));
}

void subscriptions_up(struct rg_client *client)
{
    LIST_FOREACH (&client->subs.all, node) {
        struct rg_subscription *self = subscription_of(node);
        if (self->state == SUBSCRIPTION_DOWN && !self->is_leaving) {
            subscription_attach(self);
        }
    }
}

void subscriptions_lost(struct rg_client *client)
{
    LIST_FOREACH (&client->subs.all, node) {
        struct rg_subscription *self = subscription_of(node);
        call_cancel(client, &self->attach);
        if (self->state != SUBSCRIPTION_CLOSED) {
            subscription_down(self, client->last_reason, client->last_detail);
        }
    }
    client->subs.reattach_us = 0;
}

void subscriptions_stop(struct rg_client *client)
{
    LIST_FOREACH (&client->subs.all, node) {
        struct rg_subscription *self = subscription_of(node);
        call_cancel(client, &self->attach);
        if (self->state != SUBSCRIPTION_CLOSED) {
            subscription_closed(self, ERR_CLOSED, "the client is closed");
        }
    }
}

void subscriptions_check(struct rg_client *client, uint64_t now_us)
{
    struct subscriptions *subs = &client->subs;
    if (subs->reattach_us == 0 || now_us < subs->reattach_us || client->state != CLIENT_UP) {
        return;
    }
    subs->reattach_us = 0;
    LIST_FOREACH (&subs->all, node) {
        struct rg_subscription *self = subscription_of(node);
        if (self->state != SUBSCRIPTION_DOWN || self->is_leaving) {
            continue;
        }
        if (now_us >= self->retry_at_us) {
            subscription_attach(self);
        } else if (subs->reattach_us == 0 || self->retry_at_us < subs->reattach_us) {
            subs->reattach_us = self->retry_at_us;
        }
    }
}

uint64_t subscriptions_next_us(const struct rg_client *client)
{
    bool is_due = client->subs.reattach_us != 0 && client->state == CLIENT_UP;
    return is_due ? client->subs.reattach_us : UINT64_MAX;
}

/* --- life --- */

static void subscription_free(struct rg_subscription *self)
{
    call_release(&self->attach);
    buf_release(&self->request);
    (void) pthread_cond_destroy(&self->changed); /* nobody waits any more */
    mem_free(self);
}

static int options_check(const struct rg_subscribe_options *options)
{
    if (options->matcher_count > 64) {
        return error_note(ERR_TOO_LARGE, "more than 64 matchers");
    }
    if (options->matchers == NULL && options->matcher_count != 0) {
        return error_note(ERR_USAGE, "rg_subscribe: the matchers are NULL");
    }
    for (size_t i = 0; i < options->matcher_count; i++) {
        if (options->matchers[i] == NULL) {
            return error_note(ERR_USAGE, "rg_subscribe: a matcher is NULL");
        }
        const char *problem = topic_check_matcher(span_of(options->matchers[i]));
        if (problem != NULL) {
            return error_note(ERR_BAD_REQUEST, "matcher \"%s\": %s", options->matchers[i], problem);
        }
    }
    const char *problem = options->group != NULL && options->group[0] != 0
                              ? name_check(span_of(options->group))
                              : NULL;
    if (problem != NULL) {
        return error_note(ERR_BAD_REQUEST, "group: %s", problem);
    }
    problem = options->exchange != NULL && options->exchange[0] != 0
                  ? name_check(span_of(options->exchange))
                  : NULL;
    return problem != NULL ? error_note(ERR_BAD_REQUEST, "exchange: %s", problem) : 0;
}

/* protobuf-c wants char *, and does not write. */
static char *text_of(const char *text)
{
    char *result;
    memcpy(&result, &text, sizeof(result));
    return result;
}

static int policy_of(enum rg_slow_policy policy, Railgun__EsSubscribe__Policy *ret_policy)
{
    switch (policy) {
    case RG_DROP_OLD:
        *ret_policy = RAILGUN__ES_SUBSCRIBE__POLICY__DROP_OLD;
        return 0;
    case RG_DROP_NEW:
        *ret_policy = RAILGUN__ES_SUBSCRIBE__POLICY__DROP_NEW;
        return 0;
    case RG_CONFLATE:
        *ret_policy = RAILGUN__ES_SUBSCRIBE__POLICY__CONFLATE;
        return 0;
    case RG_DISCONNECT:
        *ret_policy = RAILGUN__ES_SUBSCRIBE__POLICY__DISCONNECT;
        return 0;
    default:
        return error_note(ERR_USAGE, "rg_subscribe: unknown policy %d", (int) policy);
    }
}

static int request_build(struct buf *out, const char *client_name,
                         const struct rg_subscribe_options *options)
{
    Railgun__EsSubscribe request = RAILGUN__ES_SUBSCRIBE__INIT;
    char *matchers[64];
    int result = options_check(options);
    if (result == 0) {
        result = policy_of(options->policy, &request.policy);
    }
    if (result < 0) {
        return result;
    }
    for (size_t i = 0; i < options->matcher_count; i++) {
        matchers[i] = text_of(options->matchers[i]);
    }
    request.exchange = text_of(options->exchange);
    request.n_matchers = options->matcher_count;
    request.matchers = matchers;
    request.group = text_of(options->group);
    request.consumer = text_of(options->name != NULL ? options->name : client_name);
    request.has_policy = options->policy != RG_DROP_OLD;
    request.has_max_messages = options->max_messages != 0;
    request.max_messages = options->max_messages;
    request.has_max_bytes = options->max_bytes != 0;
    request.max_bytes = options->max_bytes;
    request.has_sticky_by_key = options->sticky_by_key;
    request.sticky_by_key = options->sticky_by_key;
    scan_pack(out, &request.base);
    return 0;
}

static struct rg_subscription *subscription_new(struct rg_client *client,
                                                const struct rg_subscribe_options *options,
                                                struct buf *request)
{
    struct rg_subscription *self = MEM_NEW(struct rg_subscription);
    self->client = client;
    self->options = *options;
    self->options.exchange = NULL; /* texts are the caller's: they are in the request */
    self->options.matchers = NULL;
    self->options.group = NULL;
    self->options.name = NULL;
    if (self->options.pull_messages == 0) {
        self->options.pull_messages = PULL_MESSAGES;
    }
    self->request = *request;
    self->state = SUBSCRIPTION_DOWN;
    self->code = ERR_CLOSED;
    self->backoff_ms = client->options.reconnect_min_ms;
    self->credit_left = options->credit_messages;
    list_init(&self->of_client);
    list_init(&self->queue);
    cond_init(&self->changed);
    return self;
}

/* It is in no list and no table any more, and no callback runs. Lock held. */
static void subscription_detach(struct rg_subscription *self)
{
    struct rg_client *client = self->client;
    self->is_leaving = true;
    while (self->in_callback) {
        (void) pthread_cond_wait(&self->changed, &client->lock); /* the predicate decides */
    }
    if (self->state == SUBSCRIPTION_ATTACHING && client->state == CLIENT_UP) {
        /* It may come about yet. */
        conn_queue_frame(client, self->channel, 0, RAILGUN__FRAME__BODY_CANCEL, (struct span){0});
        client_wake(client);
    }
    call_cancel(client, &self->attach);
    subscription_leave_channel(self);
    subscription_drop_queue(self);
    arrivals_drop(client, self);
    list_remove(&self->of_client);
    client->subs.count--;
}

static int subscription_wait_up(struct rg_subscription *self)
{
    struct rg_client *client = self->client;
    uint64_t until_us = client_request_deadline(client, client_now_us());
    while (self->state != SUBSCRIPTION_UP && self->state != SUBSCRIPTION_CLOSED) {
        if (!cond_wait_until(&self->changed, &client->lock, until_us)) {
            break;
        }
    }
    if (self->state == SUBSCRIPTION_UP || self->was_up) {
        return 0;
    }
    int code = self->state == SUBSCRIPTION_ATTACHING ? ERR_TIMEOUT : self->code;
    return error_note(code, "%s", self->detail[0] != 0 ? self->detail : rg_error_text(code));
}

int rg_subscribe(struct rg_client *client, const struct rg_subscribe_options *options,
                 struct rg_subscription **ret_subscription)
{
    static const struct rg_subscribe_options defaults;
    struct buf request = {0};
    int result = client_check_blocking(client, "rg_subscribe");
    if (result < 0) {
        return result;
    }
    if (ret_subscription == NULL) {
        return error_note(ERR_USAGE, "rg_subscribe: ret_subscription is NULL");
    }
    options = options != NULL ? options : &defaults;
    result = request_build(&request, client->name, options);
    if (result < 0) {
        return result;
    }
    struct rg_subscription *self = subscription_new(client, options, &request);
    client_lock(client);
    client_ref(client);
    list_push_back(&client->subs.all, &self->of_client);
    client->subs.count++;
    /* Callbacks may come before this returns, and they are given the subscription. */
    *ret_subscription = self;
    if (client->is_closing) {
        subscription_closed(self, ERR_CLOSED, "the client is closed");
    } else if (client->state == CLIENT_UP) {
        subscription_attach(self);
    }
    result = subscription_wait_up(self);
    if (result < 0) {
        subscription_detach(self);
        *ret_subscription = NULL;
    }
    client_unlock(client);
    if (result < 0) {
        subscription_free(self);
        client_unref(client);
    }
    return result;
}

int rg_subscription_grant(struct rg_subscription *subscription, uint64_t messages)
{
    if (subscription == NULL || messages == 0 || subscription->options.credit_messages == 0) {
        return error_note(ERR_USAGE, "rg_subscription_grant: for a subscription with "
                                     "credit_messages, and at least 1");
    }
    struct rg_client *client = subscription->client;
    int result = 0;
    client_lock(client);
    if (subscription->state == SUBSCRIPTION_CLOSED) {
        result = error_note(ERR_CLOSED, "%s", rg_error_name(subscription->code));
    } else {
        bool is_attached = subscription->channel != 0;
        if (messages > UINT64_MAX - subscription->credit_left) {
            messages = UINT64_MAX - subscription->credit_left;
        }
        subscription->credit_left += messages;
        if (is_attached && client->conn.fd != -1) {
            uint8_t bytes[1 + PB_VARINT_SIZE_MAX];
            uint8_t *at = pb_put_varint(pb_put_tag(bytes, CREDIT_MESSAGES, PB_VARINT), messages);
            conn_queue_frame(client, subscription->channel, 0, RAILGUN__FRAME__BODY_CREDIT,
                             span_make(bytes, (size_t) (at - bytes)));
            client_push_out(client);
        }
    }
    client_unlock(client);
    return result;
}

/* Cancel, and wait until the server has it. Lock held. */
static void subscription_say_goodbye(struct rg_subscription *self)
{
    struct rg_client *client = self->client;
    struct waiter waiter;
    struct call call = {.field = RAILGUN__FRAME__BODY_CANCEL, .channel = self->channel};
    if (self->state != SUBSCRIPTION_UP || client->state != CLIENT_UP || client->is_closing) {
        return;
    }
    waiter_init(&waiter);
    call.waiter = &waiter;
    call_start(client, &call, client_request_deadline(client, client_now_us()));
    lead_wait(client, &waiter, call.pending.corr);
    waiter_release(&waiter);
    call_release(&call);
}

void rg_subscription_close(struct rg_subscription **subscription)
{
    if (subscription == NULL || *subscription == NULL ||
        client_is_io_thread((*subscription)->client)) {
        return;
    }
    struct rg_subscription *self = *subscription;
    struct rg_client *client = self->client;
    *subscription = NULL;
    client_lock(client);
    self->is_leaving = true;
    while (self->in_callback) {
        (void) pthread_cond_wait(&self->changed, &client->lock); /* the predicate decides */
    }
    subscription_drop_queue(self); /* from now on nothing is queued, and the socket is read */
    subscription_say_goodbye(self);
    subscription_detach(self);
    client_unlock(client);
    subscription_free(self);
    client_unref(client);
}
