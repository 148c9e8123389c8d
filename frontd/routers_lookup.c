/* routers_lookup: questions that any routerd can answer: routes, who holds a response name, and what people want to know. Lookups are kept by routes.c, which asks again when
 * a session ends; resolves are kept here. */
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/run/loop.h"
#include "common/wire/pb.h"

#include "frontd/routers_private.h"

enum { /* router.proto */
       LOOKUP_NUMBER = 1,
       LOOKUP_EXCHANGE = 2,
       EXCHANGE_NAMESPACE = 1,
       EXCHANGE_NAME = 2,
       NAME_NAMESPACE = 1,
       NAME_NAME = 2,
       RESOLVED_FRONTD = 1,
       RESOLVED_REQUEST = 2,
};

/* --- routes --- */

uint64_t routers_lookup(struct routers *self, const struct exchange *exchange, uint64_t number,
                        struct span topics)
{
    struct buf meta = {0};
    struct buf name = {0};
    uint64_t source = 0;
    pb_append_bytes(&name, EXCHANGE_NAMESPACE, exchange->namespace_);
    pb_append_bytes(&name, EXCHANGE_NAME, exchange->name);
    pb_append_varint(&meta, LOOKUP_NUMBER, number);
    pb_append_bytes(&meta, LOOKUP_EXCHANGE, buf_span(&name));
    buf_append(&meta, topics);
    for (unsigned i = 0; i < self->known_count && source == 0; i++) {
        struct router *router = routers_pick(self);
        if (router != NULL && !router->is_starved &&
            router_send(router, RAILGUN__BUS_TYPE__BUS_ROUTE_LOOKUP, buf_span(&meta)) == 0) {
            source = router->source;
        }
    }
    buf_release(&meta);
    buf_release(&name);
    return source;
}

/* --- names --- */

static void resolve_end(struct routers *self, struct resolve *resolve, int result, unsigned frontd,
                        uint64_t request)
{
    list_remove(&resolve->of_resolves);
    (void) hash64_remove(self->resolves_by_id, resolve->id);
    resolve->done(resolve->ud, resolve->token, result, frontd, request);
    buf_release(&resolve->meta);
    mem_free(resolve);
}

static void resolve_answered(struct routers *self, struct resolve *resolve,
                             const struct bus_message *reply)
{
    struct span rest = reply->meta;
    struct pb_field field;
    uint64_t frontd = 0;
    uint64_t request = 0;
    int result = reply->status;
    while (reply->status == 0 && (result = pb_next(&rest, &field)) == 1) {
        if (field.number == RESOLVED_FRONTD && field.type == PB_VARINT) {
            frontd = field.value;
        } else if (field.number == RESOLVED_REQUEST && field.type == PB_FIXED64) {
            request = field.value;
        }
    }
    resolve_end(self, resolve, result, (unsigned) frontd, request);
}

static void resolve_done(struct request *request, enum bus_outcome outcome,
                         const struct bus_message *reply)
{
    struct routers *self = request->frontd->routers;
    struct resolve *resolve =
        self != NULL ? hash64_get(self->resolves_by_id, request->number) : NULL;
    if (resolve == NULL) {
        return;
    }
    if (outcome == BUS_OK) {
        resolve_answered(self, resolve, reply);
    } else {
        resolve->is_asked = false; /* others are asked, while there is time */
        routers_defer(self);
    }
}

static void resolve_ask(struct routers *self, struct resolve *resolve, struct router *router)
{
    struct request *request = request_take(self->frontd->requests);
    struct bus_outgoing out = {
        .type = RAILGUN__BUS_TYPE__BUS_ROUTE_RESOLVE,
        .meta = buf_span(&resolve->meta),
    };
    request->frontd = self->frontd;
    request->done = resolve_done;
    request->number = resolve->id;
    request->is_session_bound = true;
    resolve->is_asked = true;
    upstream_ask(router->upstream, request, &out, self->frontd->settings->request_timeout_ms);
}

void routers_resolve(struct routers *self, struct span namespace_, struct span name,
                     void (*done)(void *ud, uint64_t token, int result, unsigned frontd,
                                  uint64_t request),
                     void *ud, uint64_t token)
{
    struct resolve *resolve = MEM_NEW(struct resolve);
    resolve->id = ++self->id_last;
    resolve->done = done;
    resolve->ud = ud;
    resolve->token = token;
    resolve->deadline_ms =
        loop_now_ms(self->frontd->loop) + self->frontd->settings->request_timeout_ms;
    pb_append_bytes(&resolve->meta, NAME_NAMESPACE, namespace_);
    pb_append_bytes(&resolve->meta, NAME_NAME, name);
    list_push_back(&self->resolves, &resolve->of_resolves);
    (void) hash64_put(self->resolves_by_id, resolve->id, resolve);
    routers_defer(self);
}

void routers_resolves_go_on(struct routers *self)
{
    uint64_t now_ms = loop_now_ms(self->frontd->loop);
    struct list all;
    struct list *node = NULL;
    list_take_all(&all, &self->resolves);
    while ((node = list_pop_front(&all)) != NULL) {
        struct resolve *resolve = LIST_ENTRY(node, struct resolve, of_resolves);
        list_push_back(&self->resolves, node);
        struct router *router = resolve->is_asked ? NULL : routers_pick(self);
        if (now_ms >= resolve->deadline_ms) {
            resolve_end(self, resolve, ERR_NO_QUORUM, 0, 0);
        } else if (router != NULL) {
            resolve_ask(self, resolve, router);
        }
    }
}

void routers_resolves_destroy(struct routers *self)
{
    struct list *node = NULL;
    while ((node = list_pop_front(&self->resolves)) != NULL) {
        struct resolve *resolve = LIST_ENTRY(node, struct resolve, of_resolves);
        buf_release(&resolve->meta);
        mem_free(resolve);
    }
    hash64_destroy(&self->resolves_by_id);
}

/* --- for people --- */

void routers_ask(struct routers *self, struct request *request, uint16_t type, struct span meta,
                 uint64_t timeout_ms)
{
    struct router *router = routers_pick(self);
    struct bus_outgoing out = {.type = type, .meta = meta};
    if (router != NULL) {
        upstream_ask(router->upstream, request, &out, timeout_ms);
        return;
    }
    list_push_back(&self->failed, &request->of_queue);
    routers_defer(self);
}

void routers_fail_asked(struct routers *self)
{
    struct list failed;
    struct list *node = NULL;
    list_take_all(&failed, &self->failed);
    while ((node = list_pop_front(&failed)) != NULL) {
        struct request *request = LIST_ENTRY(node, struct request, of_queue);
        request->done(request, BUS_FAILED, NULL);
        if (!request->is_held) {
            frontd_request_end(self->frontd, request);
        }
    }
}
