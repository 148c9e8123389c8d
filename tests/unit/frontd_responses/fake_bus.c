/* fake_bus: the links between frontds, and the routerds. */
#include "tests/unit/frontd_responses/fake_private.h"

#include <check.h>
#include <stdio.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/bus.pb-c.h"
#include "frontd/describe_exchange.h"
#include "frontd/neighbours.h"
#include "frontd/switch.h"

struct event *event_add(enum event_kind kind, unsigned from, unsigned to)
{
    struct event *event = MEM_NEW(struct event);
    event->kind = kind;
    event->from = from;
    event->to = to;
    list_push_back(&world.events, &event->of_all);
    return event;
}

void event_free(struct event *event)
{
    list_remove(&event->of_all);
    buf_release(&event->bytes);
    slice_release(&event->body);
    mem_free(event);
}

/* --- neighbours and the bus --- */

bool neighbours_is_up(const struct neighbours *self, unsigned frontd)
{
    return frontd < NODES && frontd != self->node && world.nodes[frontd].is_up;
}

bool neighbours_has_room(struct neighbours *self, unsigned frontd)
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

void ask_over(struct request *request, enum bus_outcome outcome, const struct bus_message *reply)
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

/* The one that comes next if nothing is by chance; NULL: none. */
static struct event *event_first(void)
{
    struct event *first = NULL;
    LIST_FOREACH (&world.events, node) {
        struct event *event = LIST_ENTRY(node, struct event, of_all);
        bool is_behind = event->kind == EVENT_ASK;
        if (first == NULL || (fake.asks_are_slow && first->kind == EVENT_ASK && !is_behind)) {
            first = event;
        }
    }
    return first;
}

/* Any, but the first of its link: those keep their order. */
static struct event *event_by_chance(struct event *first)
{
    size_t count = 0;
    struct event *chosen = first;
    LIST_FOREACH (&world.events, node) {
        if (prng_below(&fake.prng, ++count) == 0) {
            chosen = LIST_ENTRY(node, struct event, of_all);
        }
    }
    LIST_FOREACH (&world.events, node) {
        struct event *event = LIST_ENTRY(node, struct event, of_all);
        if (event->from == chosen->from && event->to == chosen->to) {
            return event;
        }
    }
    return chosen;
}

bool fake_bus_step(void)
{
    struct event *event = event_first();
    if (event == NULL) {
        return false;
    }
    event_run(fake.is_random ? event_by_chance(event) : event);
    return true;
}

void fake_bus_run(void)
{
    while (fake_bus_step()) {
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

void lookups_forget(unsigned node)
{
    LIST_FOREACH (&world.lookups, link) {
        struct lookup *lookup = LIST_ENTRY(link, struct lookup, of_all);
        if (lookup->node == node) {
            list_remove(&lookup->of_all);
            mem_free(lookup);
        }
    }
}
