/* fake: the world and its clock. */
#include "tests/unit/frontd_responses/fake_private.h"

#include <check.h>
#include <stdio.h>

#include "common/base/mem.h"
#include "tests/lib/test.h"

struct world world;
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

static void given_message_free(struct given_message *message)
{
    list_remove(&message->of_all);
    buf_release(&message->address);
    buf_release(&message->payload);
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
    lookups_forget(dead);
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
