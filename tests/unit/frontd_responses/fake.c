/* fake: see fake.h. */
#include "tests/unit/frontd_responses/fake.h"

#include <check.h>
#include <stdio.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/base/wheel.h"
#include "common/run/presence.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "frontd/describe_exchange.h"
#include "frontd/handle.h"
#include "frontd/inlet.h"
#include "frontd/neighbours.h"
#include "frontd/routers.h"
#include "frontd/switch.h"
#include "tests/lib/test.h"

/* --- the world --- */

struct deferred {
    loop_call_fn *call;
    void *ud;
};

struct loop {
    uint64_t now_ms;
    struct wheel *wheel;
    struct deferred calls[256];
    size_t call_count;
};

struct bus {
    unsigned node;
};
struct neighbours {
    unsigned node;
};
struct routers {
    unsigned node;
};

struct node {
    struct frontd frontd;
    struct bus bus;
    struct neighbours neighbours;
    struct routers routers;
    uint64_t errors;
    char name[16];
    bool is_up;
};

enum event_kind { EVENT_FORWARD, EVENT_ASK, EVENT_ANSWER, EVENT_TELL };

struct event {
    struct list of_all;
    enum event_kind kind;
    unsigned from;
    unsigned to;
    struct client *client; /* FORWARD */
    struct buf bytes;      /* FORWARD: the run; others: meta */
    uint64_t number;       /* FORWARD: the request */
    uint32_t timeout_ms;
    uint16_t type;           /* ASK */
    struct request *request; /* ASK, ANSWER */
    struct slice body;       /* ASK */
    int status;              /* ANSWER */
    uint64_t subject;
};

struct queued {
    struct list of_all;
    struct client *client;
    uint64_t number;
    uint32_t timeout_ms;
    struct buf bytes;
};

struct given_message {
    struct list of_all;
    const struct client *client;
    struct buf address;
};

struct waiting {
    struct list of_inlet;
    struct buf frame;
    struct frame_view view;
    const struct inlet_kind *kind;
};

struct inlet {
    struct list frames;
};

struct claim {
    struct list of_all;
    char name[64]; /* namespace/name */
    unsigned node;
    uint64_t request;
    void (*done)(void *ud, int result); /* NULL: it was called */
    void (*on_lost)(void *ud);
    void *ud;
    bool is_held;
};

struct lookup {
    struct list of_all;
    unsigned node;
    char name[64];
    void (*done)(void *ud, uint64_t token, int result, unsigned frontd, uint64_t request);
    void *ud;
    uint64_t token;
};

static struct {
    struct loop loop;
    struct settings settings;
    struct node nodes[NODES];
    struct list clients;
    struct list events;
    struct list queue;
    struct list given;
    struct list claims;
    struct list lookups;
    struct event *asked; /* being handled by responses_on_reply */
    bool names_are_down;
    struct request *info; /* asked of a routerd */
    struct buf info_meta;
} world;
struct fake fake;

static void node_start(unsigned index)
{
    struct node *node = &world.nodes[index];
    struct frontd *frontd = &node->frontd;
    *frontd = (struct frontd){0};
    (void) snprintf(node->name, sizeof(node->name), "frontd-%u", index);
    node->bus.node = index;
    node->neighbours.node = index;
    node->routers.node = index;
    frontd->settings = &world.settings;
    frontd->loop = &world.loop;
    frontd->bus = &node->bus;
    frontd->name = node->name;
    frontd->counters.errors = &node->errors;
    frontd->requests = request_pool_new();
    frontd->neighbours = &node->neighbours;
    frontd->routers = &node->routers;
    frontd->responses = responses_new(frontd);
    node->is_up = true;
}

static void node_stop(unsigned index)
{
    struct frontd *frontd = &world.nodes[index].frontd;
    responses_destroy(&frontd->responses);
    request_pool_destroy(&frontd->requests);
    buf_release(&frontd->scratch);
    world.nodes[index].is_up = false;
}

void fake_start(void)
{
    world.loop.now_ms = 1000;
    world.loop.wheel = wheel_new(world.loop.now_ms);
    world.settings.requests_max = 1000;
    world.settings.open_requests_max = 10000;
    world.settings.outbound_bytes_max = 8 << 20;
    world.settings.request_timeout_ms = 10000;
    list_init(&world.clients);
    list_init(&world.events);
    list_init(&world.queue);
    list_init(&world.given);
    list_init(&world.claims);
    list_init(&world.lookups);
    fake.entities = UINT32_MAX;
    for (unsigned i = 0; i < NODES; i++) {
        node_start(i);
    }
}

static void event_free(struct event *event)
{
    list_remove(&event->of_all);
    buf_release(&event->bytes);
    slice_release(&event->body);
    mem_free(event);
}

static void given_message_free(struct given_message *message)
{
    list_remove(&message->of_all);
    buf_release(&message->address);
    mem_free(message);
}

void fake_stop(void)
{
    LIST_FOREACH (&world.clients, node) {
        client_close(LIST_ENTRY(node, struct client, of_all));
    }
    fake_settle();
    LIST_FOREACH (&world.clients, node) {
        struct client *client = LIST_ENTRY(node, struct client, of_all);
        for (size_t i = 0; i < client->sent_count; i++) {
            buf_release(&client->sent[i].body);
        }
        mem_free(client->sent);
        mem_free(client);
    }
    while (fake_names_step()) {
    }
    fake_settle();
    LIST_FOREACH (&world.given, node) {
        given_message_free(LIST_ENTRY(node, struct given_message, of_all));
    }
    for (unsigned i = 0; i < NODES; i++) {
        if (world.nodes[i].is_up) {
            ck_assert_uint_eq(world.nodes[i].frontd.scratch.size, 0);
            node_stop(i);
        }
    }
    ck_assert(list_is_empty(&world.claims));
    ck_assert_uint_eq(wheel_next_due_ms(world.loop.wheel), UINT64_MAX);
    wheel_destroy(&world.loop.wheel);
    ck_assert_ptr_null(world.info);
    buf_release(&world.info_meta);
}

struct frontd *fake_frontd(unsigned node)
{
    return &world.nodes[node].frontd;
}

void fake_set_open_max(uint64_t max)
{
    world.settings.open_requests_max = max;
}

/* --- the loop --- */

uint64_t loop_now_ms(const struct loop *self)
{
    return self->now_ms;
}

struct wheel *loop_wheel(struct loop *self)
{
    return self->wheel;
}

void loop_timer_start(struct loop *self, struct wheel_timer *timer, uint64_t in_ms)
{
    wheel_add(self->wheel, timer, self->now_ms + in_ms);
}

void loop_defer(struct loop *self, loop_call_fn *call, void *ud)
{
    ck_assert_uint_lt(self->call_count, sizeof(self->calls) / sizeof(self->calls[0]));
    self->calls[self->call_count++] = (struct deferred){call, ud};
}

void loop_defer_cancel(struct loop *self, loop_call_fn *call, const void *ud)
{
    for (size_t i = 0; i < self->call_count; i++) {
        if (self->calls[i].call == call && self->calls[i].ud == ud) {
            self->calls[i].call = NULL;
        }
    }
}

void fake_defer_run(void)
{
    struct loop *loop = &world.loop;
    size_t count = loop->call_count;
    for (size_t i = 0; i < count; i++) {
        struct deferred *deferred = &loop->calls[i];
        if (deferred->call != NULL) {
            deferred->call(deferred->ud);
        }
    }
    loop->call_count -= count;
    for (size_t i = 0; i < loop->call_count; i++) {
        loop->calls[i] = loop->calls[count + i];
    }
}

bool fake_is_deferred(void)
{
    return world.loop.call_count != 0;
}

void fake_pass(uint64_t ms)
{
    world.loop.now_ms += ms;
    (void) wheel_run(world.loop.wheel, world.loop.now_ms);
}

void fake_advance(uint64_t ms)
{
    fake_pass(ms);
    fake_settle();
}

void fake_settle(void)
{
    do {
        fake_defer_run();
        fake_bus_run();
    } while (world.loop.call_count != 0);
}

/* --- clients --- */

struct client *client_open(unsigned node)
{
    struct client *self = MEM_NEW(struct client);
    struct session *session = &self->session;
    self->node = node;
    self->is_open = true;
    session->frontd = &world.nodes[node].frontd;
    session->namespace_ = span_of(SESSION_NAMESPACE);
    session->publisher = ++session->frontd->last_publisher;
    list_init(&session->requests);
    list_init(&session->asked);
    list_init(&session->unsent);
    list_init(&session->awaiting);
    session->inlet = MEM_NEW(struct inlet);
    list_init(&session->inlet->frames);
    list_push_back(&world.clients, &self->of_all);
    return self;
}

static void waiting_free(struct waiting *waiting)
{
    list_remove(&waiting->of_inlet);
    buf_release(&waiting->frame);
    mem_free(waiting);
}

void client_close(struct client *self)
{
    struct session *session = &self->session;
    struct list *node = NULL;
    if (!self->is_open) {
        return;
    }
    self->is_open = false;
    session->is_dead = true;
    responses_session_closed(session->frontd->responses, session);
    ck_assert(list_is_empty(&session->asked));
    ck_assert(list_is_empty(&session->unsent));
    ck_assert(list_is_empty(&session->awaiting));
    LIST_FOREACH (&session->inlet->frames, frame) {
        waiting_free(LIST_ENTRY(frame, struct waiting, of_inlet));
    }
    MEM_FREE(session->inlet);
    while ((node = list_pop_front(&session->requests)) != NULL) {
        LIST_ENTRY(node, struct request, of_session)->session = NULL;
    }
    hash64_destroy(&session->by_corr);
    /* what waited in its subscriptions is dropped */
    LIST_FOREACH (&world.queue, waits) {
        struct queued *queued = LIST_ENTRY(waits, struct queued, of_all);
        if (queued->client == self) {
            list_remove(&queued->of_all);
            responses_undelivered(session->frontd->responses, ROUTE_LOCAL, queued->number);
            buf_release(&queued->bytes);
            mem_free(queued);
        }
    }
}

const struct sent *client_next(struct client *self)
{
    return self->seen < self->sent_count ? &self->sent[self->seen++] : NULL;
}

static void client_take(struct session *session, uint64_t corr, uint32_t field, struct buf *body)
{
    struct client *client = LIST_ENTRY(session, struct client, session);
    if (!client->is_open) {
        buf_release(body);
        return;
    }
    client->sent = mem_resize(client->sent, client->sent_count + 1, sizeof(*client->sent));
    client->sent[client->sent_count++] = (struct sent){field, corr, *body};
}

void session_send(struct session *self, uint32_t channel, uint64_t corr, uint32_t field,
                  struct span body)
{
    struct buf bytes = {0};
    (void) channel;
    buf_append(&bytes, body);
    client_take(self, corr, field, &bytes);
}

void session_send_batch(struct session *self, uint32_t channel, uint64_t corr, uint32_t field,
                        struct span meta, const struct slice *batch)
{
    struct buf bytes = {0};
    (void) channel;
    buf_append(&bytes, meta);
    if (batch->bytes.size != 0) {
        pb_append_bytes(&bytes, 15, batch->bytes);
    }
    client_take(self, corr, field, &bytes);
}

void session_send_error(struct session *self, uint32_t channel, uint64_t corr, int error,
                        const char *detail)
{
    (void) detail;
    if (corr == 0) {
        return;
    }
    struct buf bytes = {0};
    pb_append_varint(&bytes, 1, (uint64_t) -error);
    session_send(self, channel, corr, RAILGUN__FRAME__BODY_ERROR, buf_span(&bytes));
    buf_release(&bytes);
}

int session_refuse(struct session *self, const struct frame_view *view, int error,
                   const char *detail)
{
    session_send_error(self, view->channel, view->corr, error, detail);
    return 0;
}

const char *session_name_problem(const char *what, struct span name, char *out, size_t capacity)
{
    (void) what;
    (void) out;
    (void) capacity;
    return name.size != 0 && memchr(name.data, ' ', name.size) == NULL ? NULL : "bad name";
}

bool session_corr_is_open(const struct session *self, uint64_t corr)
{
    return corr != 0 && self->by_corr != NULL && hash64_get(self->by_corr, corr) != NULL;
}

void session_corr_open(struct session *self, uint64_t corr)
{
    if (corr != 0) {
        if (self->by_corr == NULL) {
            self->by_corr = hash64_new();
        }
        (void) hash64_put(self->by_corr, corr, self);
    }
}

void session_corr_close(struct session *self, uint64_t corr)
{
    if (corr != 0 && self->by_corr != NULL) {
        ck_assert_ptr_nonnull(hash64_remove(self->by_corr, corr));
    }
}

int session_request(struct session *self, const struct frame_view *view, request_done_fn *done,
                    struct request **ret_request)
{
    if (session_corr_is_open(self, view->corr)) {
        (void) session_refuse(self, view, ERR_BAD_REQUEST, NULL);
        return 1;
    }
    struct request *request = request_take(self->frontd->requests);
    request->frontd = self->frontd;
    request->session = self;
    request->channel = view->channel;
    request->corr = view->corr;
    request->done = done;
    session_corr_open(self, view->corr);
    list_push_back(&self->requests, &request->of_session);
    self->request_count++;
    *ret_request = request;
    return 0;
}

int session_query(struct session *self, const struct frame_view *view, request_done_fn *done,
                  struct request **ret_request)
{
    return session_request(self, view, done, ret_request);
}

void frontd_request_end(void *self, struct request *request)
{
    struct frontd *frontd = self;
    if (request->session != NULL) {
        session_corr_close(request->session, request->corr);
        list_remove(&request->of_session);
        request->session->request_count--;
    }
    request_give(frontd->requests, request);
}

void conn_retry(struct conn *self)
{
    (void) self;
}

uint64_t conn_outbound_bytes(const struct conn *self)
{
    (void) self;
    return fake.outbound_bytes;
}

/* --- exchanges, routes, the inlet --- */

static struct exchange the_exchange; /* the same for all */

int exchanges_ref(struct exchanges *self, struct span namespace_, struct span name,
                  struct exchange **ret_exchange)
{
    (void) self;
    (void) name;
    ck_assert(span_is(namespace_, SESSION_NAMESPACE));
    if (fake.exchange_error != 0) {
        return fake.exchange_error;
    }
    the_exchange.references++;
    *ret_exchange = &the_exchange;
    return 0;
}

void exchanges_unref(struct exchanges *self, struct exchange **reference)
{
    (void) self;
    (*reference)->references--;
    *reference = NULL;
}

struct exchange *fake_exchange(void)
{
    return &the_exchange;
}

uint64_t routes_live_topics(const struct exchange *self)
{
    (void) self;
    return 5;
}

const struct catalog_exchange *catalog_find_exchange(const struct catalog *self,
                                                     struct span namespace_, struct span name)
{
    static struct catalog_exchange stored;
    (void) self;
    stored = (struct catalog_exchange){
        .namespace_ = namespace_,
        .name = name,
        .version = 3,
        .created_us = 1234,
        .spec = span_make("\x10\x07", 2), /* max_topics: 7 */
    };
    return &stored;
}

enum routes_result routes_find(struct routes *self, struct exchange *exchange, struct span topic,
                               uint64_t publisher, const struct route **ret_route, bool *ret_is_bad)
{
    static struct route route;
    (void) self;
    (void) exchange;
    (void) topic;
    (void) publisher;
    if (fake.topic_is_bad) {
        *ret_is_bad = true;
        return ROUTES_REFUSED;
    }
    if (fake.route_waits) {
        return ROUTES_WAIT;
    }
    route.error = fake.route_error;
    route.entities = fake.entities != UINT32_MAX ? fake.entities : (uint32_t) fake.receiver_count;
    *ret_route = &route;
    return ROUTES_FOUND;
}

bool switch_has_room(struct frontd *frontd, const struct route *route)
{
    (void) frontd;
    (void) route;
    return !fake.has_no_room;
}

void run_release(struct run *run)
{
    payload_unref(&run->copy);
}

static void client_give(struct client *client, struct span run)
{
    struct es_limits limits = es_limits_default();
    struct es_message message;
    struct given_message *given = MEM_NEW(struct given_message);
    ck_assert_int_eq(es_next(&run, &limits, &message), 1);
    ck_assert_uint_eq(run.size, 0);
    ck_assert(span_is(message.topic, "t"));
    given->client = client;
    buf_append(&given->address, message.reply_to);
    list_push_back(&world.given, &given->of_all);
}

static void deliver(struct client *client, unsigned origin, uint64_t number, uint32_t timeout_ms,
                    struct span run)
{
    client_give(client, run);
    responses_delivered(client->session.frontd->responses, &client->session, origin, number,
                        timeout_ms);
}

static struct event *event_add(enum event_kind kind, unsigned from, unsigned to)
{
    struct event *event = MEM_NEW(struct event);
    event->kind = kind;
    event->from = from;
    event->to = to;
    list_push_back(&world.events, &event->of_all);
    return event;
}

/* true: counted as a receiver. */
static bool switch_here(const struct receiver *receiver, const struct run *run)
{
    struct client *client = receiver->client;
    if (!client->is_open || receiver->fate == FATE_REFUSED) {
        return false;
    }
    if (receiver->fate == FATE_DELIVERED) {
        deliver(client, ROUTE_LOCAL, run->request, run->timeout_ms, run->messages);
    } else if (receiver->fate == FATE_DROPPED) {
        responses_undelivered(client->session.frontd->responses, ROUTE_LOCAL, run->request);
    } else {
        struct queued *queued = MEM_NEW(struct queued);
        queued->client = client;
        queued->number = run->request;
        queued->timeout_ms = run->timeout_ms;
        buf_append(&queued->bytes, run->messages);
        list_push_back(&world.queue, &queued->of_all);
    }
    return true;
}

void switch_run(struct frontd *frontd, struct exchange *of, const struct route *route,
                struct run *run, struct switch_result *ret_result)
{
    unsigned here = frontd->bus->node;
    (void) of;
    (void) route;
    ck_assert_uint_eq(run->origin, ROUTE_LOCAL);
    ck_assert_uint_eq(run->count, 1);
    ck_assert_uint_gt(run->timeout_ms, 0);
    for (size_t i = 0; i < fake.receiver_count; i++) {
        const struct receiver *receiver = &fake.receivers[i];
        unsigned there = receiver->client->node;
        if (there == here) {
            ret_result->receivers += switch_here(receiver, run) ? 1 : 0;
        } else if (world.nodes[there].is_up) {
            struct event *event = event_add(EVENT_FORWARD, here, there);
            event->client = receiver->client;
            event->number = run->request;
            event->timeout_ms = run->timeout_ms;
            event->status = receiver->fate == FATE_DELIVERED ? 0 : ERR_AGAIN;
            buf_append(&event->bytes, run->messages);
            ret_result->receivers++;
            ret_result->remote_frontds |= UINT64_C(1) << there;
            responses_forwarded(frontd->responses, run->request, there, 1);
        }
    }
}

int inlet_take(struct session *session, const struct frame_view *view, struct payload *owner,
               const struct inlet_kind *kind)
{
    struct list *frames = &session->inlet->frames;
    if (fake.inlet_is_full) {
        return ERR_AGAIN;
    }
    if (list_is_empty(frames)) {
        int result = kind->step(session, view, owner);
        if (result != ERR_AGAIN) {
            return result;
        }
    }
    struct waiting *waiting = MEM_NEW(struct waiting);
    buf_append(&waiting->frame, view->body);
    waiting->view = *view;
    waiting->view.body = buf_span(&waiting->frame);
    waiting->kind = kind;
    list_push_back(frames, &waiting->of_inlet);
    return 0;
}

void inlet_charge(struct session *session, uint64_t bytes)
{
    (void) session;
    ck_assert_uint_gt(bytes, 0);
}

void inlets_progress(void *inlets)
{
    (void) inlets;
    fake.progress++;
}

void fake_inlets_run(void)
{
    LIST_FOREACH (&world.clients, node) {
        struct client *client = LIST_ENTRY(node, struct client, of_all);
        while (client->is_open && !list_is_empty(&client->session.inlet->frames)) {
            struct waiting *waiting =
                LIST_ENTRY(client->session.inlet->frames.next, struct waiting, of_inlet);
            if (waiting->kind->step(&client->session, &waiting->view, NULL) == ERR_AGAIN) {
                break;
            }
            waiting_free(waiting);
        }
    }
}

void fake_inlets_late(void)
{
    LIST_FOREACH (&world.clients, node) {
        struct client *client = LIST_ENTRY(node, struct client, of_all);
        while (client->is_open && !list_is_empty(&client->session.inlet->frames)) {
            struct waiting *waiting =
                LIST_ENTRY(client->session.inlet->frames.next, struct waiting, of_inlet);
            waiting->kind->late(&client->session, &waiting->view);
            waiting_free(waiting);
        }
    }
}

bool fake_queue_run(bool is_dropped)
{
    struct list *node = list_pop_front(&world.queue);
    if (node == NULL) {
        return false;
    }
    struct queued *queued = LIST_ENTRY(node, struct queued, of_all);
    struct client *client = queued->client;
    if (is_dropped) {
        responses_undelivered(client->session.frontd->responses, ROUTE_LOCAL, queued->number);
    } else {
        deliver(client, ROUTE_LOCAL, queued->number, queued->timeout_ms, buf_span(&queued->bytes));
    }
    buf_release(&queued->bytes);
    mem_free(queued);
    return true;
}

void fake_receivers_reset(void)
{
    fake.receiver_count = 0;
}

void fake_receiver(struct client *client, enum fate fate)
{
    fake.receivers[fake.receiver_count++] = (struct receiver){client, fate};
}

/* --- neighbours and the bus --- */

bool neighbours_is_up(const struct neighbours *self, unsigned frontd)
{
    return frontd < NODES && frontd != self->node && world.nodes[frontd].is_up;
}

bool neighbours_has_room(const struct neighbours *self, unsigned frontd)
{
    return !fake.neighbour_is_full || !neighbours_is_up(self, frontd);
}

bool neighbours_tell(struct neighbours *self, unsigned frontd, uint16_t type, struct span meta)
{
    (void) type;
    fake.lost_events++;
    if (!neighbours_is_up(self, frontd)) {
        return false;
    }
    buf_append(&event_add(EVENT_TELL, self->node, frontd)->bytes, meta);
    return true;
}

void neighbours_ask(struct neighbours *self, unsigned frontd, struct request *request,
                    uint16_t type, struct span meta, const struct slice *body, uint64_t timeout_ms)
{
    ck_assert(neighbours_is_up(self, frontd));
    ck_assert_uint_gt(timeout_ms, 0);
    struct event *event = event_add(EVENT_ASK, self->node, frontd);
    event->type = type;
    event->request = request;
    buf_append(&event->bytes, meta);
    if (body != NULL) {
        event->body = slice_ref(body);
    }
}

int neighbours_next(const struct neighbours *self, unsigned *cursor)
{
    while (*cursor < NODES) {
        unsigned instance = (*cursor)++;
        if (neighbours_is_up(self, instance)) {
            return (int) instance;
        }
    }
    return -1;
}

static void answer(struct bus *self, int status, uint64_t subject, struct span meta)
{
    struct event *ask = world.asked;
    ck_assert_ptr_nonnull(ask);
    world.asked = NULL;
    struct event *event = event_add(EVENT_ANSWER, self->node, ask->from);
    event->request = ask->request;
    event->status = status;
    event->subject = subject;
    buf_append(&event->bytes, meta);
}

int bus_reply(struct bus *self, uint64_t ticket, const struct bus_outgoing *out)
{
    (void) ticket;
    answer(self, out->status, out->subject, out->meta);
    return 0;
}

int bus_reply_error(struct bus *self, uint64_t ticket, int error, const char *detail)
{
    (void) ticket;
    (void) detail;
    answer(self, error, 0, (struct span){0});
    return 0;
}

static void ask_over(struct request *request, enum bus_outcome outcome,
                     const struct bus_message *reply)
{
    request->done(request, outcome, reply);
    frontd_request_end(request->frontd, request);
}

static void event_run(struct event *event)
{
    struct node *node = &world.nodes[event->to];
    struct responses *responses = node->frontd.responses;
    struct bus_message message = {.meta = buf_span(&event->bytes), .body = event->body};
    list_remove(&event->of_all);
    switch (event->kind) {
    case EVENT_FORWARD:
        if (event->client->is_open && event->status == 0) {
            deliver(event->client, event->from, event->number, event->timeout_ms,
                    buf_span(&event->bytes));
        } else {
            responses_undelivered(responses, event->from, event->number);
        }
        break;
    case EVENT_ASK:
        world.asked = event;
        if (event->type == RAILGUN__BUS_TYPE__BUS_RS_REPLY) {
            responses_on_reply(responses, &message);
        } else {
            describe_exchange_on_info(&node->frontd, &message);
        }
        ck_assert_ptr_null(world.asked);
        break;
    case EVENT_ANSWER:
        message.status = event->status;
        message.subject = event->subject;
        ask_over(event->request, BUS_OK, &message);
        break;
    case EVENT_TELL:
        responses_on_lost(responses, event->from, &message);
        break;
    }
    event_free(event);
}

bool fake_bus_step(void)
{
    size_t count = 0;
    struct event *chosen = NULL;
    LIST_FOREACH (&world.events, node) {
        count++;
    }
    if (count == 0) {
        return false;
    }
    size_t skip = fake.is_random ? prng_below(&fake.prng, count) : 0;
    LIST_FOREACH (&world.events, node) {
        struct event *event = LIST_ENTRY(node, struct event, of_all);
        if (fake.asks_are_slow && event->kind != EVENT_ASK) {
            event_run(event);
            return true;
        }
    }
    LIST_FOREACH (&world.events, node) {
        if (skip-- == 0) {
            chosen = LIST_ENTRY(node, struct event, of_all);
            break;
        }
    }
    /* The first of its link: those keep their order. */
    LIST_FOREACH (&world.events, node) {
        struct event *event = LIST_ENTRY(node, struct event, of_all);
        if (event->from == chosen->from && event->to == chosen->to) {
            chosen = event;
            break;
        }
    }
    event_run(chosen);
    return true;
}

void fake_bus_run(void)
{
    while (fake_bus_step()) {
    }
}

void fake_kill(unsigned dead, bool again)
{
    LIST_FOREACH (&world.clients, node) {
        struct client *client = LIST_ENTRY(node, struct client, of_all);
        if (client->node == dead) {
            client_close(client);
        }
    }
    world.nodes[dead].is_up = false;
    LIST_FOREACH (&world.events, node) {
        struct event *event = LIST_ENTRY(node, struct event, of_all);
        if (event->from != dead && event->to != dead) {
            continue;
        }
        if (event->request != NULL) {
            ask_over(event->request, BUS_UNKNOWN, NULL);
        }
        event_free(event);
    }
    LIST_FOREACH (&world.claims, node) {
        struct claim *claim = LIST_ENTRY(node, struct claim, of_all);
        ck_assert_uint_ne(claim->node, dead); /* released with their sessions */
    }
    LIST_FOREACH (&world.lookups, node) {
        struct lookup *lookup = LIST_ENTRY(node, struct lookup, of_all);
        if (lookup->node == dead) {
            list_remove(&lookup->of_all);
            mem_free(lookup);
        }
    }
    for (unsigned i = 0; i < NODES; i++) {
        if (world.nodes[i].is_up) {
            responses_neighbour_lost(world.nodes[i].frontd.responses, dead);
        }
    }
    node_stop(dead);
    if (again) {
        node_start(dead);
    }
}

/* --- one routerd, asked for information --- */

void routers_ask(struct routers *self, struct request *request, uint16_t type, struct span meta,
                 uint64_t timeout_ms)
{
    (void) self;
    ck_assert_uint_eq(type, RAILGUN__BUS_TYPE__BUS_ROUTE_INFO);
    ck_assert_uint_gt(timeout_ms, 0);
    ck_assert_ptr_null(world.info);
    world.info = request;
    buf_reset(&world.info_meta);
    buf_append(&world.info_meta, meta);
}

struct span fake_routerd_question(void)
{
    ck_assert_ptr_nonnull(world.info);
    return buf_span(&world.info_meta);
}

void fake_routerd_answer(const struct span *info)
{
    struct request *request = world.info;
    struct bus_message message = {.meta = info != NULL ? *info : (struct span){0}};
    ck_assert_ptr_nonnull(request);
    world.info = NULL;
    ask_over(request, info != NULL ? BUS_OK : BUS_FAILED, info != NULL ? &message : NULL);
}

unsigned routers_ready_count(const struct routers *self)
{
    (void) self;
    return 2;
}

/* --- names --- */

struct claim *routers_claim(struct routers *self, struct span namespace_, struct span name,
                            uint64_t request, void (*done)(void *ud, int result),
                            void (*on_lost)(void *ud), void *ud)
{
    struct claim *claim = MEM_NEW(struct claim);
    (void) snprintf(claim->name, sizeof(claim->name), "%.*s/%.*s", (int) namespace_.size,
                    (const char *) namespace_.data, (int) name.size, (const char *) name.data);
    claim->request = request;
    claim->done = done;
    claim->on_lost = on_lost;
    claim->ud = ud;
    claim->node = self->node;
    list_push_back(&world.claims, &claim->of_all);
    return claim;
}

void routers_release(struct routers *self, struct claim **claim)
{
    (void) self;
    if ((*claim)->is_held) {
        fake.claims--;
    }
    list_remove(&(*claim)->of_all);
    MEM_FREE(*claim);
}

void routers_resolve(struct routers *self, struct span namespace_, struct span name,
                     void (*done)(void *ud, uint64_t token, int result, unsigned frontd,
                                  uint64_t request),
                     void *ud, uint64_t token)
{
    struct lookup *lookup = MEM_NEW(struct lookup);
    lookup->node = self->node;
    (void) snprintf(lookup->name, sizeof(lookup->name), "%.*s/%.*s", (int) namespace_.size,
                    (const char *) namespace_.data, (int) name.size, (const char *) name.data);
    lookup->done = done;
    lookup->ud = ud;
    lookup->token = token;
    list_push_back(&world.lookups, &lookup->of_all);
}

static struct claim *claim_held(const char *name)
{
    LIST_FOREACH (&world.claims, node) {
        struct claim *claim = LIST_ENTRY(node, struct claim, of_all);
        if (claim->is_held && strcmp(claim->name, name) == 0) {
            return claim;
        }
    }
    return NULL;
}

void fake_names_down(bool is_down)
{
    world.names_are_down = is_down;
}

bool fake_names_step(void)
{
    LIST_FOREACH (&world.claims, node) {
        struct claim *claim = LIST_ENTRY(node, struct claim, of_all);
        if (claim->done == NULL) {
            continue;
        }
        void (*done)(void *ud, int result) = claim->done;
        int result = claim_held(claim->name) != NULL ? ERR_RS_IN_USE : 0;
        result = world.names_are_down ? ERR_NO_QUORUM : result;
        claim->done = NULL;
        claim->is_held = result == 0;
        fake.claims += result == 0 ? 1 : 0;
        done(claim->ud, result);
        return true;
    }
    struct list *node = list_pop_front(&world.lookups);
    if (node == NULL) {
        return false;
    }
    struct lookup *lookup = LIST_ENTRY(node, struct lookup, of_all);
    const struct claim *claim = claim_held(lookup->name);
    unsigned frontd = 0;
    uint64_t request = 0;
    int result = claim != NULL ? 0 : ERR_NOT_FOUND;
    if (claim != NULL) {
        request = claim->request;
        frontd = claim->node;
    }
    lookup->done(lookup->ud, lookup->token, world.names_are_down ? ERR_NO_QUORUM : result, frontd,
                 request);
    mem_free(lookup);
    return true;
}

void fake_name_lost(const char *name)
{
    struct claim *claim = claim_held(name);
    ck_assert_ptr_nonnull(claim);
    claim->is_held = false;
    fake.claims--;
    claim->on_lost(claim->ud);
}

/* --- frames of clients --- */

static int client_frame(struct client *self, uint64_t corr, uint32_t field, struct buf *body,
                        session_handler_fn *handler)
{
    struct payload *owner = payload_copy(buf_span(body));
    struct frame_view view = {.corr = corr, .field = field, .body = payload_span(owner)};
    int result = handler(&self->session, &view, owner);
    payload_unref(&owner);
    buf_release(body);
    return result;
}

int client_request(struct client *self, uint64_t corr, const struct request_options *options)
{
    static const struct request_options plain = {0};
    const struct request_options *use = options != NULL ? options : &plain;
    struct buf body = {0};
    struct buf message = {0};
    if (use->timeout_ms != 0) {
        pb_append_varint(&body, 2, use->timeout_ms);
    }
    if (use->max_replies != 0) {
        pb_append_varint(&body, 3, use->max_replies);
    }
    if (use->response != NULL) {
        pb_append_bytes(&body, 4, span_of(use->response));
    }
    if (!use->has_no_message) {
        struct span none = {0};
        es_append_raw(&message, span_of(use->topic != NULL ? use->topic : "t"),
                      span_of(use->payload != NULL ? use->payload : "question"), none, none, none);
        pb_append_bytes(&body, 15, buf_span(&message));
        buf_release(&message);
    }
    return client_frame(self, corr, RAILGUN__FRAME__BODY_REQUEST, &body, handle_request);
}

int client_cancel(struct client *self, uint64_t corr)
{
    struct buf body = {0};
    pb_append_varint(&body, 1, corr);
    return client_frame(self, 0, RAILGUN__FRAME__BODY_REQUEST_CANCEL, &body, handle_request_cancel);
}

int client_reply(struct client *self, uint64_t corr, struct span reply_to, const char *payload)
{
    struct buf body = {0};
    struct buf message = {0};
    struct span none = {0};
    pb_append_bytes(&body, 1, reply_to);
    es_append_raw(&message, none, span_of(payload), none, none, none);
    pb_append_bytes(&body, 15, buf_span(&message));
    buf_release(&message);
    return client_frame(self, corr, RAILGUN__FRAME__BODY_REPLY, &body, handle_reply);
}

size_t client_given(const struct client *self)
{
    size_t count = 0;
    LIST_FOREACH (&world.given, node) {
        count += LIST_ENTRY(node, struct given_message, of_all)->client == self ? 1 : 0;
    }
    return count;
}

struct span client_address_at(const struct client *self, size_t k)
{
    LIST_FOREACH (&world.given, node) {
        const struct given_message *given = LIST_ENTRY(node, struct given_message, of_all);
        if (given->client == self && k-- == 0) {
            return buf_span(&given->address);
        }
    }
    ck_abort_msg("the client was not given so many requests");
    return (struct span){0};
}

struct span client_address(struct client *self)
{
    size_t count = client_given(self);
    ck_assert_uint_gt(count, 0);
    return client_address_at(self, count - 1);
}
