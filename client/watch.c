/* watch: opening, again after each loss, and the queue for who pulls. Owns the watches. The queue is bounded: what does not fit is dropped and
 * counted, for these are news and not data. */
#include "client/watch.h"

#include <stdio.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

enum {
    WATCH_QUEUE_BYTES_MAX = 1 << 20,
    WATCH_RETRY_US = 500000,
    WATCH_STREAM = 1,
    WATCH_GROUP = 2,
    EVENTS_EVENTS = 1,
};

enum watch_state { WATCH_DOWN, WATCH_OPENING, WATCH_UP, WATCH_CLOSED };

/* Some events as they came. */
struct news {
    struct list node;
    struct slice body;
};

struct rg_watch {
    struct rg_client *client;
    struct list of_client;
    struct buf request;
    struct call open;
    enum watch_state state;
    uint32_t channel;
    uint64_t retry_at_us; /* DOWN, with a connection: not before; 0: with the next one */
    bool was_up;
    int code; /* why CLOSED or DOWN */
    char detail[CLIENT_DETAIL_SIZE];
    pthread_cond_t changed;
    struct list queue; /* struct news */
    size_t queued_bytes;
    uint64_t lost;      /* events that did not fit, not told yet */
    struct news *taken; /* of who pulls */
    struct span rest;
    Railgun__Event *event; /* told last */
};

static struct rg_watch *watch_of(struct list *node)
{
    return LIST_ENTRY(node, struct rg_watch, of_client);
}

static struct rg_watch *watch_find(const struct rg_client *client, uint32_t channel)
{
    LIST_FOREACH (&client->watches, node) {
        if (channel != 0 && watch_of(node)->channel == channel) {
            return watch_of(node);
        }
    }
    return NULL;
}

void watches_init(struct rg_client *client)
{
    list_init(&client->watches);
}

void watches_release(struct rg_client *client)
{
    INVARIANT(list_is_empty(&client->watches));
}

/* --- what comes --- */

static uint64_t events_count(struct span events)
{
    uint64_t count = 0;
    struct pb_field field;
    while (pb_next(&events, &field) == 1) {
        count += field.number == EVENTS_EVENTS;
    }
    return count;
}

int watches_events(struct rg_client *client, uint32_t channel, struct span body)
{
    struct rg_watch *self = watch_find(client, channel);
    if (self == NULL) {
        return 0; /* it was closed while this was on its way */
    }
    if (scan_check(body, &railgun__events__descriptor, NULL) != 0) {
        return ERR_PROTOCOL;
    }
    if (self->queued_bytes + body.size > WATCH_QUEUE_BYTES_MAX) {
        self->lost += events_count(body);
        return 0;
    }
    struct news *news = MEM_NEW(struct news);
    list_init(&news->node);
    news->body = session_keep(client, body);
    self->queued_bytes += body.size;
    list_push_back(&self->queue, &news->node);
    (void) pthread_cond_broadcast(&self->changed);
    return 0;
}

static void news_free(struct news *news)
{
    slice_release(&news->body);
    mem_free(news);
}

/* --- opening --- */

static void watch_ended(struct rg_watch *self, enum watch_state state, int code, struct span detail)
{
    self->state = state;
    self->channel = 0;
    self->code = code;
    (void) snprintf(self->detail, sizeof(self->detail), "%.*s",
                    (int) (detail.size < 400 ? detail.size : 400),
                    detail.size != 0 ? (const char *) detail.data : "");
    (void) pthread_cond_broadcast(&self->changed);
}

static void watch_refused(struct rg_watch *self, int code, struct span detail)
{
    if (error_is_for_now(code) || code == ERR_TIMEOUT) {
        watch_ended(self, WATCH_DOWN, code, detail);
        self->retry_at_us = client_now_us() + WATCH_RETRY_US;
    } else {
        watch_ended(self, WATCH_CLOSED, code, detail);
    }
}

static void watch_opened(struct call *call)
{
    struct rg_watch *self = call->ud;
    struct rg_client *client = self->client;
    struct error_answer answer = {0};
    if (call->result == 0 && call->ret_field == RAILGUN__FRAME__BODY_WATCH_OK) {
        self->state = WATCH_UP;
        self->was_up = true;
        (void) pthread_cond_broadcast(&self->changed);
    } else if (client->state != CLIENT_UP) {
        watch_ended(self, WATCH_DOWN, call->result, (struct span){0});
    } else {
        if (call->result == ERR_TIMEOUT) { /* it may come about yet: leave it */
            conn_queue_frame(client, self->channel, 0, RAILGUN__FRAME__BODY_CANCEL,
                             (struct span){0});
        }
        if (call->ret_field == RAILGUN__FRAME__BODY_ERROR) {
            (void) error_read(call->ret_body.bytes, &answer); /* else there is no detail */
        }
        watch_refused(self, call->result != 0 ? call->result : ERR_PROTOCOL, answer.detail);
    }
    slice_release(&call->ret_body);
}

static void watch_open(struct rg_watch *self)
{
    struct rg_client *client = self->client;
    self->state = WATCH_OPENING;
    self->retry_at_us = 0;
    self->channel = ++client->next_channel;
    buf_reset(&self->open.body);
    buf_append(&self->open.body, buf_span(&self->request));
    self->open.field = RAILGUN__FRAME__BODY_WATCH;
    self->open.channel = self->channel;
    self->open.on_done = watch_opened;
    self->open.ud = self;
    call_start(client, &self->open, client_request_deadline(client, client_now_us()));
}

void watches_up(struct rg_client *client)
{
    LIST_FOREACH (&client->watches, node) {
        if (watch_of(node)->state == WATCH_DOWN) {
            watch_open(watch_of(node));
        }
    }
}

void watches_lost(struct rg_client *client)
{
    LIST_FOREACH (&client->watches, node) {
        struct rg_watch *self = watch_of(node);
        call_cancel(client, &self->open);
        if (self->state != WATCH_CLOSED) {
            watch_ended(self, WATCH_DOWN, client->last_reason, span_of(client->last_detail));
            self->retry_at_us = 0;
        }
    }
}

void watches_stop(struct rg_client *client)
{
    LIST_FOREACH (&client->watches, node) {
        struct rg_watch *self = watch_of(node);
        call_cancel(client, &self->open);
        if (self->state != WATCH_CLOSED) {
            watch_ended(self, WATCH_CLOSED, ERR_CLOSED, span_of("the client is closed"));
        }
    }
}

bool watches_cancelled(struct rg_client *client, uint32_t channel, int code, struct span detail)
{
    struct rg_watch *self = watch_find(client, channel);
    if (self == NULL) {
        return false;
    }
    call_cancel(client, &self->open);
    watch_refused(self, code, detail);
    return true;
}

uint64_t watches_next_us(const struct rg_client *client)
{
    uint64_t next_us = UINT64_MAX;
    LIST_FOREACH (&client->watches, node) {
        const struct rg_watch *self = watch_of(node);
        if (self->state == WATCH_DOWN && self->retry_at_us != 0 && self->retry_at_us < next_us &&
            client->state == CLIENT_UP) {
            next_us = self->retry_at_us;
        }
    }
    return next_us;
}

void watches_check(struct rg_client *client, uint64_t now_us)
{
    if (now_us < watches_next_us(client)) {
        return;
    }
    LIST_FOREACH (&client->watches, node) {
        struct rg_watch *self = watch_of(node);
        if (self->state == WATCH_DOWN && self->retry_at_us != 0 && now_us >= self->retry_at_us) {
            watch_open(self);
        }
    }
}

/* --- for programs --- */

static int watch_wait_up(struct rg_watch *self)
{
    struct rg_client *client = self->client;
    uint64_t until_us = client_request_deadline(client, client_now_us());
    while (self->state != WATCH_UP && self->state != WATCH_CLOSED) {
        if (!cond_wait_until(&self->changed, &client->lock, until_us)) {
            break;
        }
    }
    if (self->state == WATCH_UP || self->was_up) {
        return 0;
    }
    int code = self->state == WATCH_CLOSED ? self->code : ERR_TIMEOUT;
    return error_note(code, "%s", self->detail[0] != 0 ? self->detail : rg_error_text(code));
}

/* It is in no list any more, and the server is told. Lock held. */
static void watch_leave(struct rg_watch *self)
{
    struct rg_client *client = self->client;
    if (self->channel != 0 && client->state == CLIENT_UP) {
        conn_queue_frame(client, self->channel, 0, RAILGUN__FRAME__BODY_CANCEL, (struct span){0});
        client_wake(client);
    }
    call_cancel(client, &self->open);
    list_remove(&self->of_client);
}

static void watch_free(struct rg_watch *self)
{
    struct list *node = NULL;
    while ((node = list_pop_front(&self->queue)) != NULL) {
        news_free(LIST_ENTRY(node, struct news, node));
    }
    if (self->taken != NULL) {
        news_free(self->taken);
    }
    SCAN_FREE(&self->event);
    call_release(&self->open);
    buf_release(&self->request);
    (void) pthread_cond_destroy(&self->changed); /* nobody waits any more */
    mem_free(self);
}

int rg_watch_open(struct rg_client *client, const char *stream, const char *group,
                  struct rg_watch **ret_watch)
{
    int result = client_check_blocking(client, "rg_watch_open");
    if (result < 0) {
        return result;
    }
    if (ret_watch == NULL) {
        return error_note(ERR_USAGE, "rg_watch_open: ret_watch is NULL");
    }
    result = group != NULL && stream == NULL
                 ? error_note(ERR_BAD_REQUEST, "a group is watched with its stream")
                 : error_check_names(stream, group);
    if (result < 0) {
        return result;
    }
    struct rg_watch *self = MEM_NEW(struct rg_watch);
    self->client = client;
    self->code = ERR_CLOSED;
    list_init(&self->of_client);
    list_init(&self->queue);
    cond_init(&self->changed);
    if (stream != NULL) {
        pb_append_bytes(&self->request, WATCH_STREAM, span_of(stream));
    }
    if (group != NULL) {
        pb_append_bytes(&self->request, WATCH_GROUP, span_of(group));
    }
    client_lock(client);
    client_ref(client);
    list_push_back(&client->watches, &self->of_client);
    if (client->is_closing) {
        watch_ended(self, WATCH_CLOSED, ERR_CLOSED, span_of("the client is closed"));
    } else if (client->state == CLIENT_UP) {
        watch_open(self);
    }
    result = watch_wait_up(self);
    if (result < 0) {
        watch_leave(self);
    }
    client_unlock(client);
    if (result < 0) {
        watch_free(self);
        client_unref(client);
    } else {
        *ret_watch = self;
    }
    return result;
}

/* The next bunch of events, waiting for one. 0, or noted: ERR_AGAIN, ERR_CLOSED. */
static int watch_take(struct rg_watch *self, uint32_t timeout_ms, uint64_t *ret_lost)
{
    struct rg_client *client = self->client;
    uint64_t until_us = client_now_us() + (uint64_t) timeout_ms * 1000;
    int result = 0;
    client_lock(client);
    while (list_is_empty(&self->queue) && self->lost == 0 && result == 0) {
        if (self->state == WATCH_CLOSED) {
            result = error_note(ERR_CLOSED, "%s: %s", rg_error_name(self->code),
                                self->detail[0] != 0 ? self->detail : rg_error_text(self->code));
        } else if (timeout_ms == 0 || client_is_io_thread(client) ||
                   (!cond_wait_until(&self->changed, &client->lock, until_us) &&
                    list_is_empty(&self->queue))) {
            result = error_note(ERR_AGAIN, "nothing came");
        }
    }
    struct list *node = result == 0 ? list_pop_front(&self->queue) : NULL;
    *ret_lost = 0;
    if (node != NULL) {
        self->taken = LIST_ENTRY(node, struct news, node);
        self->rest = self->taken->body.bytes;
        self->queued_bytes -= self->rest.size;
    } else if (result == 0) {
        *ret_lost = self->lost;
        self->lost = 0;
    }
    client_unlock(client);
    return result;
}

static struct rg_watch_event event_of(const Railgun__Event *event)
{
    return (struct rg_watch_event){
        .type = (enum rg_watch_event_type) event->type,
        .ts_us = event->ts_us,
        .stream = event->stream != NULL ? event->stream : "",
        .group = event->group != NULL ? event->group : "",
        .first = event->range != NULL ? event->range->first : 0,
        .last = event->range != NULL ? event->range->last : 0,
        .count = event->count,
        .epoch = event->epoch,
        .consumer = event->consumer != NULL ? event->consumer : "",
        .detail = event->detail != NULL ? event->detail : "",
    };
}

int rg_watch_next(struct rg_watch *watch, uint32_t timeout_ms, struct rg_watch_event *ret_event)
{
    if (watch == NULL || ret_event == NULL) {
        return error_note(ERR_USAGE, "rg_watch_next: an argument is NULL");
    }
    for (;;) {
        struct pb_field field;
        if (pb_next(&watch->rest, &field) == 1) {
            SCAN_FREE(&watch->event);
            if (field.number == EVENTS_EVENTS && field.type == PB_BYTES &&
                SCAN_UNPACK(field.bytes, railgun__event, &watch->event) == 0) {
                *ret_event = event_of(watch->event);
                return 0;
            }
            continue;
        }
        if (watch->taken != NULL) {
            news_free(watch->taken);
            watch->taken = NULL;
            watch->rest = (struct span){0};
        }
        uint64_t lost = 0;
        int result = watch_take(watch, timeout_ms, &lost);
        if (result < 0) {
            return result;
        }
        if (lost != 0) {
            *ret_event = (struct rg_watch_event){.type = RG_WATCH_LOST,
                                                 .stream = "",
                                                 .group = "",
                                                 .count = lost,
                                                 .consumer = "",
                                                 .detail = "they were not taken in time"};
            return 0;
        }
    }
}

const char *rg_watch_event_name(enum rg_watch_event_type type)
{
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value(&railgun__event__type__descriptor, (int) type);
    return value != NULL ? value->name : "UNKNOWN";
}

void rg_watch_close(struct rg_watch **watch)
{
    if (watch == NULL || *watch == NULL) {
        return;
    }
    struct rg_watch *self = *watch;
    struct rg_client *client = self->client;
    *watch = NULL;
    client_lock(client);
    watch_leave(self);
    client_unlock(client);
    watch_free(self);
    client_unref(client);
}
