/* serve: see the header. Owns the router, the view of the run directory and the tick; knows a frontd by the name of its session. Decides nothing. */
#include "routerd/serve.h"

#include <malloc.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/run/presence.h"

enum { TRIM_MIN = 65536 }; /* subscriptions */

struct serve {
    struct loop *loop;
    struct bus *bus;
    struct serve_events events;
    struct router *router;
    struct presence *presence;
    struct bus_link *links[TABLE_FRONTDS_MAX];
    struct wheel_timer tick;
    uint64_t peak; /* of subscriptions, since memory was last given back */
};

/* --- what the router wants --------------------------------------------------------------------------------- */

static int serve_send(void *ud, unsigned frontd, uint16_t type, struct span meta)
{
    struct serve *self = (struct serve *) ud;
    struct bus_outgoing out = {.type = type, .meta = meta};
    return bus_event(self->links[frontd], &out);
}

/* Whoever asked may be gone. */
static void serve_reply(void *ud, uint64_t ticket, int status, struct span meta)
{
    struct serve *self = (struct serve *) ud;
    struct bus_outgoing out = {.meta = meta};
    if (status == 0) {
        status = bus_reply(self->bus, ticket, &out) == ERR_TOO_LARGE ? ERR_TOO_LARGE : 0;
    }
    if (status < 0) {
        (void) bus_reply_error(self->bus, ticket, status, NULL);
    }
}

static void serve_release(void *ud, uint64_t ticket)
{
    bus_release(((struct serve *) ud)->bus, ticket);
}

static void serve_close(void *ud, unsigned frontd)
{
    bus_link_close(((struct serve *) ud)->links[frontd]);
}

static void serve_tell_ready(void *ud, const char *reason)
{
    struct serve *self = (struct serve *) ud;
    self->events.on_ready(self->events.ud, reason);
}

static uint64_t serve_clock_us(void *ud)
{
    (void) ud;
    return timesource_monotonic_us(timesource_system());
}

/* --- what happens ------------------------------------------------------------------------------------------ */

static void serve_now(struct serve *self)
{
    router_now(self->router, loop_now_ms(self->loop));
}

static void serve_on_presence(void *ud, unsigned instance, bool is_live)
{
    struct serve *self = (struct serve *) ud;
    if (instance < TABLE_FRONTDS_MAX) {
        serve_now(self);
        router_frontd_live(self->router, instance, is_live);
    }
}

/* -1: no frontd's. */
static int serve_instance(const struct bus_link *link)
{
    int instance = presence_instance("frontd", bus_link_name(link));
    return instance < TABLE_FRONTDS_MAX ? instance : -1;
}

void serve_on_up(void *ud, struct bus_link *link)
{
    struct serve *self = (struct serve *) ud;
    int instance = serve_instance(link);
    if (instance >= 0) {
        serve_now(self);
        self->links[instance] = link;
        router_up(self->router, (unsigned) instance, bus_link_epoch(link));
    }
}

void serve_on_down(void *ud, struct bus_link *link)
{
    struct serve *self = (struct serve *) ud;
    int instance = serve_instance(link);
    if (instance >= 0 && self->links[instance] == link) {
        serve_now(self);
        presence_look(self->presence); /* is it only the session, or the process? */
        router_down(self->router, (unsigned) instance);
        self->links[instance] = NULL;
    }
}

void serve_on_credit(void *ud, struct bus_link *link)
{
    struct serve *self = (struct serve *) ud;
    int instance = serve_instance(link);
    if (instance >= 0) {
        serve_now(self);
        router_credit(self->router, (unsigned) instance);
    }
}

void serve_on_message(void *ud, struct bus_link *link, struct bus_message *message)
{
    struct serve *self = (struct serve *) ud;
    int instance = serve_instance(link);
    if (instance >= 0) {
        struct router_message passed = {message->type, message->is_request, message->ticket,
                                        message->meta};
        serve_now(self);
        if (router_message(self->router, (unsigned) instance, &passed)) {
            bus_message_hold(message);
        }
    } else if (message->is_request) {
        serve_reply(self, message->ticket, ERR_UNKNOWN_FRAME, (struct span){0});
    }
}

static void serve_on_turn_end(void *ud)
{
    struct serve *self = (struct serve *) ud;
    serve_now(self);
    if (router_turn_end(self->router)) {
        loop_timer_start(self->loop, &self->tick, 0); /* for another turn at once */
    }
}

/* The heap keeps what very many small pieces have left. */
static void serve_give_back_memory(struct serve *self)
{
    struct router_counts counts;
    router_count(self->router, &counts);
    if (counts.subscriptions > self->peak) {
        self->peak = counts.subscriptions;
    } else if (self->peak >= TRIM_MIN && counts.subscriptions < self->peak / 4) {
        (void) malloc_trim(0); /* whether it found something makes no difference */
        self->peak = counts.subscriptions;
    }
}

static void serve_on_tick(struct wheel_timer *timer, void *ud)
{
    struct serve *self = (struct serve *) ud;
    serve_now(self);
    serve_give_back_memory(self);
    loop_timer_start(self->loop, timer, ROUTER_TICK_MS);
}

/* --- start and stop ---------------------------------------------------------------------------------------- */

struct serve *serve_new(struct loop *loop, struct bus *bus, const char *run_dir,
                        const struct router_options *options, const struct serve_events *events)
{
    struct serve *self = MEM_NEW(struct serve);
    struct router_out out = {serve_send,       serve_reply,    serve_release, serve_close,
                             serve_tell_ready, serve_clock_us, self};
    self->loop = loop;
    self->bus = bus;
    self->events = *events;
    wheel_timer_init(&self->tick, serve_on_tick, self);
    self->router = router_new(options, &out, loop_now_ms(loop));
    self->presence = presence_new(loop, run_dir, "frontd", serve_on_presence, self);
    if (self->presence == NULL) {
        serve_destroy(&self);
    }
    return self;
}

void serve_destroy(struct serve **self)
{
    if (*self != NULL) {
        wheel_cancel(loop_wheel((*self)->loop), &(*self)->tick);
        presence_destroy(&(*self)->presence);
        router_destroy(&(*self)->router);
        MEM_FREE(*self);
    }
}

void serve_start(struct serve *self)
{
    presence_look(self->presence); /* whom to wait for */
    router_start(self->router);
    loop_on_turn_end(self->loop, serve_on_turn_end, self);
    loop_timer_start(self->loop, &self->tick, ROUTER_TICK_MS);
}

const struct router *serve_router(const struct serve *self)
{
    return self->router;
}
