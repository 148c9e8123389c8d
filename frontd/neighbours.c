/* neighbours: see the header. Owns a way to each other frontd (upstream.h) and what is gathered for it. What is sent on a session keeps its order: gathered
 * messages, then what is told behind them. Must never keep more for a neighbour without credit than one turn brings: publishers wait then. */
#include "frontd/neighbours.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/run/log.h"
#include "common/run/presence.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/es.h"
#include "common/wire/route_lease.h"

#include "frontd/upstream.h"

enum {
    GATHER_BYTES = 256 << 10, /* then it goes at once */
    GATHERED_MAX = 4 << 20,   /* in one turn; then publishers wait */
    UNSENT_COUNT_MAX = 65536, /* of what is told without credit */
    NAME_SIZE = 24,
    LOOK_EVERY_MS = 10, /* for one that a route names and that was not seen yet */
};

/* Waits for credit. */
struct unsent {
    struct list of_neighbour;
    uint16_t type;
    struct buf meta;
    struct slice body;
};

struct neighbour {
    struct neighbours *of;
    unsigned instance;
    char name[NAME_SIZE];
    struct upstream *upstream;
    bool is_up;
    bool is_waited_for; /* neighbours_has_room said no */
    struct buf gathered;
    uint64_t turn_bytes; /* forwarded in this turn */
    struct list unsent;
    uint32_t unsent_count;
};

struct neighbours {
    struct frontd *frontd;
    struct neighbours_events events;
    struct presence *presence;
    int own; /* our instance */
    struct neighbour *all[PRESENCE_INSTANCES_MAX];
    unsigned up_count;
    /* Since when a session to each is missed that lives; 0: it is not. */
    uint64_t away_since_ms[PRESENCE_INSTANCES_MAX];
    struct wheel_timer away_timer; /* publishers wait for one that is away */
    uint64_t looked_ms;
    struct list failing; /* of struct request: asked of who is not up */
    struct wheel_timer failing_timer;
};

static void neighbours_turn_end(void *ud);

static void failing_fire(struct wheel_timer *timer, void *ud)
{
    struct neighbours *self = ud;
    struct list due;
    (void) timer;
    list_take_all(&due, &self->failing);
    struct list *node = NULL;
    while ((node = list_pop_front(&due)) != NULL) {
        struct request *request = LIST_ENTRY(node, struct request, of_queue);
        request->done(request, BUS_FAILED, NULL);
        if (!request->is_held) {
            frontd_request_end(self->frontd, request);
        }
    }
}

/* Who waited for one that is away looks again: it is given up, or waited for on. */
static void away_fire(struct wheel_timer *timer, void *ud)
{
    struct neighbours *self = ud;
    (void) timer;
    self->events.on_room(self->events.ud);
}

static void neighbour_room(void *ud)
{
    struct neighbour *self = ud;
    self->of->events.on_room(self->of->events.ud);
}

static void neighbour_request_end(void *ud, struct request *request)
{
    const struct neighbour *self = ud;
    frontd_request_end(self->of->frontd, request);
}

static void neighbours_add(struct neighbours *self, unsigned instance)
{
    struct neighbour *neighbour = MEM_NEW(struct neighbour);
    neighbour->of = self;
    neighbour->instance = instance;
    list_init(&neighbour->unsent);
    (void) snprintf(neighbour->name, sizeof(neighbour->name), "frontd-%u", instance); /* fits */
    neighbour->upstream = upstream_new(&(struct upstream_options){
        .loop = self->frontd->loop,
        .bus = self->frontd->bus,
        .daemon = neighbour->name,
        .parked_bytes_max = self->frontd->settings->parked_bytes_max,
        .request_timeout_ms = &self->frontd->settings->request_timeout_ms,
        .on_room = neighbour_room,
        .on_end = neighbour_request_end,
        .ud = neighbour,
    });
    self->all[instance] = neighbour;
}

/* Once seen, it is connected to for ever: when it dies the bus goes on looking for it. */
static void neighbours_presence(void *ud, unsigned instance, bool is_live)
{
    struct neighbours *self = ud;
    if (instance < PRESENCE_INSTANCES_MAX) {
        self->away_since_ms[instance] = 0;
    }
    self->events.on_room(self->events.ud);
    if (is_live && (int) instance != self->own && instance < PRESENCE_INSTANCES_MAX &&
        self->all[instance] == NULL) {
        neighbours_add(self, instance);
    }
}

struct neighbours *neighbours_new(struct frontd *frontd, const struct neighbours_events *events)
{
    struct neighbours *self = MEM_NEW(struct neighbours);
    self->frontd = frontd;
    self->events = *events;
    self->own = presence_instance("frontd", frontd->name);
    list_init(&self->failing);
    wheel_timer_init(&self->failing_timer, failing_fire, self);
    wheel_timer_init(&self->away_timer, away_fire, self);
    self->presence = presence_new(frontd->loop, frontd->settings->daemon.run_dir, "frontd",
                                  neighbours_presence, self);
    if (self->presence == NULL) {
        log_error("cannot look for other frontds",
                  "run_dir=%s action=\"clients of others are not reached\"",
                  frontd->settings->daemon.run_dir);
    }
    loop_on_turn_end(frontd->loop, neighbours_turn_end, self);
    return self;
}

static void neighbour_forget(struct neighbour *self)
{
    struct list *node = NULL;
    while ((node = list_pop_front(&self->unsent)) != NULL) {
        struct unsent *unsent = LIST_ENTRY(node, struct unsent, of_neighbour);
        buf_release(&unsent->meta);
        slice_release(&unsent->body);
        mem_free(unsent);
    }
    self->unsent_count = 0;
    self->turn_bytes = 0;
    buf_release(&self->gathered);
}

void neighbours_bus_closed(struct neighbours *self)
{
    presence_destroy(&self->presence); /* nobody new is connected to */
    for (unsigned i = 0; i < PRESENCE_INSTANCES_MAX; i++) {
        if (self->all[i] != NULL) {
            upstream_bus_closed(self->all[i]->upstream);
        }
    }
}

void neighbours_destroy(struct neighbours **self)
{
    struct neighbours *neighbours = *self;
    *self = NULL;
    if (neighbours == NULL) {
        return;
    }
    presence_destroy(&neighbours->presence);
    failing_fire(&neighbours->failing_timer, neighbours);
    wheel_cancel(loop_wheel(neighbours->frontd->loop), &neighbours->failing_timer);
    wheel_cancel(loop_wheel(neighbours->frontd->loop), &neighbours->away_timer);
    for (unsigned i = 0; i < PRESENCE_INSTANCES_MAX; i++) {
        if (neighbours->all[i] != NULL) {
            upstream_destroy(&neighbours->all[i]->upstream);
            neighbour_forget(neighbours->all[i]);
            mem_free(neighbours->all[i]);
        }
    }
    mem_free(neighbours);
}

static struct neighbour *neighbour_at(const struct neighbours *self, unsigned frontd)
{
    struct neighbour *neighbour = frontd < PRESENCE_INSTANCES_MAX ? self->all[frontd] : NULL;
    return neighbour != NULL && neighbour->is_up ? neighbour : NULL;
}

bool neighbours_is_up(const struct neighbours *self, unsigned frontd)
{
    return neighbour_at(self, frontd) != NULL;
}

static bool neighbour_has_room(const struct neighbour *self)
{
    return self->unsent_count == 0 && self->turn_bytes < GATHERED_MAX;
}

/* Is it worth waiting for a session to it? It lives and has not been away for long: it, or we, have just been started, or the session broke. */
static bool neighbours_awaits(struct neighbours *self, unsigned frontd)
{
    struct loop *loop = self->frontd->loop;
    uint64_t now_ms = loop_now_ms(loop);
    if (self->presence == NULL || frontd >= PRESENCE_INSTANCES_MAX || (int) frontd == self->own) {
        return false;
    }
    if (now_ms >= self->looked_ms + LOOK_EVERY_MS) {
        self->looked_ms = now_ms;
        presence_look(self->presence);
    }
    if (!presence_is_live(self->presence, frontd)) {
        return false;
    }
    if (self->away_since_ms[frontd] == 0) {
        self->away_since_ms[frontd] = now_ms;
    }
    uint64_t until_ms = self->away_since_ms[frontd] + ROUTE_LEASE_MS;
    if (now_ms >= until_ms) {
        return false;
    }
    if (!wheel_timer_is_running(&self->away_timer)) {
        loop_timer_start(loop, &self->away_timer, until_ms - now_ms);
    }
    return true;
}

bool neighbours_has_room(struct neighbours *self, unsigned frontd)
{
    struct neighbour *neighbour = neighbour_at(self, frontd);
    if (neighbour == NULL) {
        return !neighbours_awaits(self, frontd);
    }
    if (neighbour_has_room(neighbour)) {
        return true;
    }
    neighbour->is_waited_for = true;
    return false;
}

unsigned neighbours_count(const struct neighbours *self)
{
    return self->up_count;
}

int neighbours_next(const struct neighbours *self, unsigned *cursor)
{
    while (*cursor < PRESENCE_INSTANCES_MAX) {
        unsigned instance = (*cursor)++;
        if (neighbour_at(self, instance) != NULL) {
            return (int) instance;
        }
    }
    return -1;
}

int neighbours_of_link(const struct bus_link *link)
{
    return presence_instance("frontd", bus_link_name(link));
}

/* --- sending --- */

static int neighbour_send(struct neighbour *self, uint16_t type, struct span meta,
                          const struct slice *body)
{
    struct bus_outgoing out = {.type = type, .meta = meta, .body = *body};
    return bus_event(upstream_link(self->upstream), &out);
}

/* Now, or behind what waits. Takes the body. false: too much waits, or it can never be sent. */
static bool neighbour_put(struct neighbour *self, uint16_t type, struct span meta,
                          struct slice *body)
{
    int result = self->unsent_count == 0 ? neighbour_send(self, type, meta, body) : ERR_AGAIN;
    if (result != ERR_AGAIN || self->unsent_count == UNSENT_COUNT_MAX) {
        slice_release(body);
        return result == 0;
    }
    struct unsent *unsent = MEM_NEW(struct unsent);
    unsent->type = type;
    buf_append(&unsent->meta, meta);
    unsent->body = *body;
    *body = (struct slice){0};
    list_init(&unsent->of_neighbour);
    list_push_back(&self->unsent, &unsent->of_neighbour);
    self->unsent_count++;
    return true;
}

static void neighbour_drain(struct neighbour *self)
{
    while (!list_is_empty(&self->unsent)) {
        struct unsent *unsent = LIST_ENTRY(self->unsent.next, struct unsent, of_neighbour);
        if (neighbour_send(self, unsent->type, buf_span(&unsent->meta), &unsent->body) ==
            ERR_AGAIN) {
            return;
        }
        list_remove(&unsent->of_neighbour);
        self->unsent_count--;
        buf_release(&unsent->meta);
        slice_release(&unsent->body);
        mem_free(unsent);
    }
}

/* What was gathered goes. */
static void neighbour_flush(struct neighbour *self)
{
    size_t size = 0;
    if (self->gathered.size == 0) {
        return;
    }
    uint8_t *bytes = buf_detach(&self->gathered, &size);
    struct payload *owner = payload_wrap(bytes, size, mem_free, bytes);
    if (owner == NULL) {
        mem_free(bytes); /* at most once: without memory it is not at all */
        return;
    }
    struct slice body = {owner, payload_span(owner)};
    /* false: its session has just ended, which is told and logged then */
    (void) neighbour_put(self, RAILGUN__BUS_TYPE__BUS_ES_FORWARD, (struct span){0}, &body);
}

static void neighbour_tell_room(struct neighbour *self)
{
    if (self->is_waited_for && neighbour_has_room(self)) {
        self->is_waited_for = false;
        self->of->events.on_room(self->of->events.ud);
    }
}

static void neighbours_turn_end(void *ud)
{
    struct neighbours *self = ud;
    for (unsigned i = 0; self->up_count != 0 && i < PRESENCE_INSTANCES_MAX; i++) {
        struct neighbour *neighbour = neighbour_at(self, i);
        if (neighbour != NULL) {
            neighbour_flush(neighbour);
            neighbour->turn_bytes = 0;
            neighbour_tell_room(neighbour);
        }
    }
}

bool neighbours_forward(struct neighbours *self, unsigned frontd, const uint64_t *ids,
                        uint32_t id_count, uint32_t count, bool is_group, uint64_t request,
                        uint32_t timeout_ms, struct span messages)
{
    struct neighbour *neighbour = neighbour_at(self, frontd);
    if (neighbour == NULL) {
        return false;
    }
    size_t before = neighbour->gathered.size;
    if (before == 0) {
        (void) buf_reserve(&neighbour->gathered, GATHER_BYTES); /* it grows by doubling otherwise */
    }
    es_block_append(&neighbour->gathered, ids, id_count, count, is_group, request, timeout_ms,
                    messages);
    neighbour->turn_bytes += neighbour->gathered.size - before;
    if (neighbour->gathered.size >= GATHER_BYTES - (GATHER_BYTES >> 3)) {
        neighbour_flush(neighbour);
    }
    return true;
}

bool neighbours_tell(struct neighbours *self, unsigned frontd, uint16_t type, struct span meta)
{
    struct neighbour *neighbour = neighbour_at(self, frontd);
    struct slice none = {0};
    if (neighbour == NULL) {
        return false;
    }
    neighbour_flush(neighbour);
    return neighbour_put(neighbour, type, meta, &none);
}

void neighbours_ask(struct neighbours *self, unsigned frontd, struct request *request,
                    uint16_t type, struct span meta, const struct slice *body, uint64_t timeout_ms)
{
    struct neighbour *neighbour = neighbour_at(self, frontd);
    if (neighbour == NULL) {
        list_push_back(&self->failing, &request->of_queue);
        if (!wheel_timer_is_running(&self->failing_timer)) {
            loop_timer_start(self->frontd->loop, &self->failing_timer, 0);
        }
        return;
    }
    struct bus_outgoing out = {.type = type, .meta = meta};
    if (body != NULL) {
        out.body = *body;
    }
    request->is_session_bound = true;
    upstream_ask(neighbour->upstream, request, &out, timeout_ms);
}

/* --- the bus's calls --- */

static struct neighbour *neighbour_of(const struct neighbours *self, const struct bus_link *link)
{
    int instance = neighbours_of_link(link);
    return instance >= 0 && instance < (int) PRESENCE_INSTANCES_MAX ? self->all[instance] : NULL;
}

bool neighbours_on_up(struct neighbours *self, struct bus_link *link)
{
    struct neighbour *neighbour = neighbour_of(self, link);
    if (neighbour == NULL || !upstream_notice(neighbour->upstream, link)) {
        return neighbours_of_link(link) >= 0; /* else it is their way to us */
    }
    neighbour->is_up = true;
    self->up_count++;
    self->away_since_ms[neighbour->instance] = 0;
    log_info("another frontd is connected", "frontd=%u", neighbour->instance);
    self->events.on_up(self->events.ud, neighbour->instance);
    upstream_ready(neighbour->upstream);
    self->events.on_room(self->events.ud);
    return true;
}

bool neighbours_on_down(struct neighbours *self, struct bus_link *link)
{
    struct neighbour *neighbour = neighbour_of(self, link);
    if (neighbour == NULL || !upstream_is(neighbour->upstream, link)) {
        return neighbours_of_link(link) >= 0;
    }
    neighbour->is_up = false;
    neighbour->is_waited_for = false;
    self->up_count--;
    neighbour_forget(neighbour);
    upstream_down(neighbour->upstream);
    log_info("another frontd is gone", "frontd=%u", neighbour->instance);
    self->events.on_lost(self->events.ud, neighbour->instance);
    self->events.on_room(self->events.ud); /* nobody waits for it now */
    return true;
}

bool neighbours_on_credit(struct neighbours *self, struct bus_link *link)
{
    struct neighbour *neighbour = neighbour_of(self, link);
    if (neighbour == NULL || !upstream_is(neighbour->upstream, link)) {
        return neighbours_of_link(link) >= 0;
    }
    neighbour_drain(neighbour);
    upstream_ready(neighbour->upstream);
    neighbour_tell_room(neighbour);
    return true;
}
