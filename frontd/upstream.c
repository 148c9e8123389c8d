/* upstream: the way to one daemon. Owns the requests until their outcome: those that could not be sent yet, and those under way. Must never let a later request overtake an earlier one, nor grow beyond its limit by clients' doing. */
#include "frontd/upstream.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

enum {
    PARKED_COUNT_MAX = 65536,
    /* a slice smaller than this would pin a read buffer several times its size */
    PARKED_COPY_BELOW = 64 << 10,
    PARKED_OVERHEAD = 256, /* what a queued request costs besides its body */
};

struct upstream {
    struct upstream_options options;
    struct bus_peer *peer;       /* NULL: the bus is closed */
    const struct bus_link *link; /* that came up last; only to be compared with */
    struct list queue;           /* of struct request, in order of asking */
    struct list in_flight;       /* of struct request: the bus has them */
    uint64_t count;
    uint64_t bytes;
    bool wants_room;
    uint64_t unknown_count;
    struct wheel_timer timer; /* the first in the queue has waited too long */
};

static void upstream_timer_fire(struct wheel_timer *timer, void *ud);

struct upstream *upstream_new(const struct upstream_options *options)
{
    struct upstream *self = MEM_NEW(struct upstream);
    self->options = *options;
    list_init(&self->queue);
    list_init(&self->in_flight);
    wheel_timer_init(&self->timer, upstream_timer_fire, self);
    self->peer = bus_connect(options->bus, options->daemon);
    return self;
}

static uint64_t upstream_now_ms(const struct upstream *self)
{
    return loop_now_ms(self->options.loop);
}

/* The outcome is known. */
static void upstream_end(struct upstream *self, struct request *request, enum bus_outcome outcome,
                         const struct bus_message *reply)
{
    if (outcome == BUS_UNKNOWN) {
        self->unknown_count++;
    }
    if (request->done != NULL) {
        request->done(request, outcome, reply);
    }
    if (!request->is_held) {
        self->options.on_end(self->options.ud, request);
    }
}

static uint64_t request_cost(const struct request *request)
{
    return PARKED_OVERHEAD + request->meta.size + request->body.bytes.size;
}

static void upstream_unpark(struct upstream *self, struct request *request)
{
    list_remove(&request->of_queue);
    self->count--;
    self->bytes -= request_cost(request);
    if (self->wants_room && self->bytes < self->options.parked_bytes_max / 2 &&
        self->count < PARKED_COUNT_MAX / 2) {
        self->wants_room = false;
        self->options.on_room(self->options.ud);
    }
}

void upstream_bus_closed(struct upstream *self)
{
    INVARIANT(list_is_empty(&self->in_flight)); /* the bus has given each its outcome */
    self->peer = NULL;
}

void upstream_destroy(struct upstream **self)
{
    struct upstream *upstream = *self;
    *self = NULL;
    if (upstream == NULL) {
        return;
    }
    while (!list_is_empty(&upstream->queue)) {
        struct request *request = LIST_ENTRY(upstream->queue.next, struct request, of_queue);
        upstream_unpark(upstream, request);
        upstream_end(upstream, request, BUS_FAILED, NULL);
    }
    struct list *node = NULL;
    while ((node = list_pop_front(&upstream->in_flight)) != NULL) {
        struct request *request = LIST_ENTRY(node, struct request, of_queue);
        bus_request_cancel(upstream->options.bus, request->bus_id);
        upstream_end(upstream, request, BUS_UNKNOWN, NULL);
    }
    wheel_cancel(loop_wheel(upstream->options.loop), &upstream->timer);
    mem_free(upstream);
}

const char *upstream_name(const struct upstream *self)
{
    return self->options.daemon;
}

struct bus_link *upstream_link(const struct upstream *self)
{
    return self->peer != NULL ? bus_peer_link(self->peer) : NULL;
}

bool upstream_is(const struct upstream *self, const struct bus_link *link)
{
    return link != NULL && link == self->link;
}

bool upstream_notice(struct upstream *self, const struct bus_link *link)
{
    if (link == NULL || link != upstream_link(self)) {
        return false;
    }
    self->link = link;
    return true;
}

bool upstream_has_room(struct upstream *self)
{
    bool has_room = self->bytes < self->options.parked_bytes_max && self->count < PARKED_COUNT_MAX;
    if (!has_room) {
        self->wants_room = true;
    }
    return has_room;
}

uint64_t upstream_parked_count(const struct upstream *self)
{
    return self->count;
}

uint64_t upstream_unknown_count(const struct upstream *self)
{
    return self->unknown_count;
}

static void upstream_done(void *ud, enum bus_outcome outcome, const struct bus_message *reply)
{
    struct request *request = ud;
    list_remove(&request->of_queue);
    upstream_end(request->upstream, request, outcome, reply);
}

/* Hand it to the bus. 0; ERR_AGAIN, ERR_CLOSED: not now; ERR_TOO_LARGE: never. */
static int upstream_send(struct upstream *self, struct request *request,
                         const struct bus_outgoing *out)
{
    struct bus_link *link = upstream_link(self);
    if (request->done == NULL) {
        return bus_event(link, out);
    }
    uint64_t waited_ms = upstream_now_ms(self) - request->asked_ms;
    uint64_t timeout_ms = request->timeout_ms > waited_ms ? request->timeout_ms - waited_ms : 1;
    return bus_request(link, out, timeout_ms, upstream_done, request, &request->bus_id);
}

static void upstream_sent(struct upstream *self, struct request *request)
{
    if (request->done != NULL) {
        list_push_back(&self->in_flight, &request->of_queue);
    } else {
        self->options.on_end(self->options.ud, request);
    }
}

static void upstream_watch_first(struct upstream *self)
{
    if (list_is_empty(&self->queue)) {
        wheel_cancel(loop_wheel(self->options.loop), &self->timer);
        return;
    }
    const struct request *first = LIST_ENTRY(self->queue.next, struct request, of_queue);
    wheel_add(loop_wheel(self->options.loop), &self->timer,
              first->asked_ms + *self->options.request_timeout_ms);
}

static void upstream_park(struct upstream *self, struct request *request,
                          const struct bus_outgoing *out)
{
    request->type = out->type;
    request->subject = out->subject;
    buf_append(&request->meta, out->meta);
    if (out->body.bytes.size != 0 && out->body.bytes.size < PARKED_COPY_BELOW) {
        struct payload *copy = payload_copy(out->body.bytes);
        if (copy != NULL) {
            request->body = (struct slice){copy, payload_span(copy)};
        }
    }
    if (request->body.owner == NULL) {
        request->body = slice_ref(&out->body);
    }
    bool is_first = list_is_empty(&self->queue);
    list_push_back(&self->queue, &request->of_queue);
    self->count++;
    self->bytes += request_cost(request);
    if (is_first) {
        upstream_watch_first(self);
    }
}

static void upstream_put(struct upstream *self, struct request *request,
                         const struct bus_outgoing *out)
{
    request->upstream = self;
    request->asked_ms = upstream_now_ms(self);
    int result = ERR_AGAIN;
    if (list_is_empty(&self->queue)) {
        result = upstream_send(self, request, out);
    }
    if (result != 0) {
        upstream_park(self, request, out);
    } else {
        upstream_sent(self, request);
    }
}

void upstream_ask(struct upstream *self, struct request *request, const struct bus_outgoing *out,
                  uint64_t timeout_ms)
{
    INVARIANT(request->done != NULL);
    request->timeout_ms = timeout_ms;
    upstream_put(self, request, out);
}

void upstream_tell(struct upstream *self, struct request *request, const struct bus_outgoing *out)
{
    INVARIANT(request->done == NULL);
    request->is_session_bound = true;
    upstream_put(self, request, out);
}

void upstream_ready(struct upstream *self)
{
    while (!list_is_empty(&self->queue)) {
        struct request *request = LIST_ENTRY(self->queue.next, struct request, of_queue);
        struct bus_outgoing out = {
            .type = request->type,
            .subject = request->subject,
            .meta = buf_span(&request->meta),
            .body = request->body,
        };
        int result = upstream_send(self, request, &out);
        if (result == ERR_AGAIN || result == ERR_CLOSED) {
            break;
        }
        upstream_unpark(self, request);
        if (result != 0) {
            upstream_end(self, request, BUS_FAILED, NULL);
            continue;
        }
        slice_release(&request->body); /* the bus has its own reference */
        upstream_sent(self, request);
    }
    upstream_watch_first(self);
}

void upstream_down(struct upstream *self)
{
    struct list due;
    self->link = NULL;
    list_init(&due);
    LIST_FOREACH (&self->queue, node) {
        struct request *request = LIST_ENTRY(node, struct request, of_queue);
        if (request->is_session_bound) {
            upstream_unpark(self, request);
            list_push_back(&due, &request->of_queue);
        }
    }
    struct list *node = NULL;
    while ((node = list_pop_front(&due)) != NULL) {
        upstream_end(self, LIST_ENTRY(node, struct request, of_queue), BUS_UNKNOWN, NULL);
    }
    upstream_watch_first(self);
}

static void upstream_timer_fire(struct wheel_timer *timer, void *ud)
{
    struct upstream *self = ud;
    uint64_t now_ms = upstream_now_ms(self);
    (void) timer;
    while (!list_is_empty(&self->queue)) {
        struct request *request = LIST_ENTRY(self->queue.next, struct request, of_queue);
        if (now_ms < request->asked_ms + *self->options.request_timeout_ms) {
            break;
        }
        upstream_unpark(self, request);
        upstream_end(self, request, BUS_FAILED, NULL);
    }
    upstream_watch_first(self);
}
