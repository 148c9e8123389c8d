/* fake_switch: exchanges, routes, inlets, and who is given a request. */
#include "tests/unit/frontd_responses/fake_private.h"

#include <check.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/pb.h"
#include "frontd/switch.h"

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
    buf_append(&given->payload, message.payload);
    list_push_back(&world.given, &given->of_all);
}

void deliver(struct client *client, unsigned origin, uint64_t number, uint32_t timeout_ms,
             struct span run)
{
    client_give(client, run);
    responses_delivered(client->session.frontd->responses, &client->session, origin, number,
                        timeout_ms);
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

/* --- for the model --- */

static bool run_is(const struct buf *run, struct span payload)
{
    struct es_limits limits = es_limits_default();
    struct es_message message;
    struct span rest = buf_span(run);
    return es_next(&rest, &limits, &message) == 1 && span_equal(message.payload, payload);
}

bool fake_may_be_answered(struct span payload)
{
    LIST_FOREACH (&world.given, node) {
        const struct given_message *given = LIST_ENTRY(node, struct given_message, of_all);
        if (given->client->is_open && span_equal(buf_span(&given->payload), payload)) {
            return true;
        }
    }
    LIST_FOREACH (&world.queue, node) {
        if (run_is(&LIST_ENTRY(node, struct queued, of_all)->bytes, payload)) {
            return true;
        }
    }
    LIST_FOREACH (&world.events, node) {
        const struct event *event = LIST_ENTRY(node, struct event, of_all);
        if (event->kind == EVENT_FORWARD && run_is(&event->bytes, payload)) {
            return true;
        }
    }
    return false;
}
