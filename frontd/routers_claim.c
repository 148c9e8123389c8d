/* routers_claim: names of response streams. A name is ours when every routerd has granted it. They are asked one after the other in order of instance, so that of two frontds that
 * want the same name at the same time the first routerd decides, and one of them gets it. A granted claim is told again to each session that begins. */
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/run/loop.h"
#include "common/wire/pb.h"

#include "frontd/routers_private.h"

enum { /* RouteClaim and RouteRelease of router.proto */
       NAME_NAMESPACE = 1,
       NAME_NAME = 2,
       NAME_REQUEST = 3,
};

static void claim_done(struct request *request, enum bus_outcome outcome,
                       const struct bus_message *reply);

static void claim_ask(struct claim *self, struct router *router)
{
    struct frontd *frontd = router->routers->frontd;
    struct request *request = request_take(frontd->requests);
    struct bus_outgoing out = {
        .type = RAILGUN__BUS_TYPE__BUS_ROUTE_CLAIM,
        .meta = buf_span(&self->meta),
    };
    request->frontd = frontd;
    request->done = claim_done;
    request->number = self->id;
    request->is_session_bound = true;
    self->asked |= router_bit(router);
    upstream_ask(router->upstream, request, &out, frontd->settings->request_timeout_ms);
}

/* Give the name back wherever it is ours, or may be. Behind the claims that are under way. */
static void claim_give_back(struct routers *self, struct claim *claim)
{
    for (unsigned i = 0; i < self->known_count; i++) {
        struct router *router = self->known[i];
        if (((claim->asked | claim->granted) & router_bit(router)) != 0 && router_is_up(router)) {
            struct request *request = request_take(self->frontd->requests);
            struct bus_outgoing out = {
                .type = RAILGUN__BUS_TYPE__BUS_ROUTE_RELEASE,
                .meta = buf_span(&claim->meta),
            };
            request->frontd = self->frontd;
            upstream_tell(router->upstream, request, &out);
        }
    }
    claim->asked = 0;
    claim->granted = 0;
}

/* The outcome. The owner may release it in there. */
static void claim_end(struct routers *self, struct claim *claim, int result)
{
    if (result != 0) {
        claim_give_back(self, claim);
    }
    claim->is_done = true;
    claim->result = result;
    list_remove(&claim->of_claims);
    list_push_back(&self->claims_held, &claim->of_claims);
    claim->done(claim->ud, result);
}

/* It was ours, and is not any more. */
static void claim_lose(struct routers *self, struct claim *claim)
{
    claim_give_back(self, claim);
    claim->result = ERR_RS_IN_USE;
    claim->on_lost(claim->ud);
}

/* Whom to ask next. NULL with *ret_is_whole: all that matter have granted it; without: wait. */
static struct router *claim_next(const struct routers *self, const struct claim *claim,
                                 uint64_t now_ms, bool *ret_is_whole)
{
    struct router *next = NULL;
    bool is_whole = claim->granted != 0;
    for (unsigned i = 0; i < self->known_count; i++) {
        struct router *router = self->known[i];
        if (!router_is_up(router) && !router->is_live) {
            continue; /* what it had granted died with it */
        }
        if (router_is_given_up(router, now_ms) || (claim->granted & router_bit(router)) != 0) {
            continue;
        }
        is_whole = false;
        if (next == NULL || router->instance < next->instance) {
            next = router;
        }
    }
    *ret_is_whole = is_whole;
    if (next != NULL && (next->sm.state < ROUTER_TOLD || (claim->asked & router_bit(next)) != 0)) {
        next = NULL;
    }
    return next;
}

static void claim_go_on(struct routers *self, struct claim *claim, uint64_t now_ms)
{
    bool is_whole = false;
    struct router *router = claim_next(self, claim, now_ms, &is_whole);
    if (is_whole) {
        claim_end(self, claim, 0);
    } else if (now_ms >= claim->deadline_ms) {
        claim_end(self, claim, ERR_NO_QUORUM);
    } else if (router != NULL) {
        claim_ask(claim, router);
    }
}

void routers_claims_go_on(struct routers *self)
{
    uint64_t now_ms = loop_now_ms(self->frontd->loop);
    struct list open;
    struct list *node = NULL;
    list_take_all(&open, &self->claims_open);
    while ((node = list_pop_front(&open)) != NULL) {
        struct claim *claim = LIST_ENTRY(node, struct claim, of_claims);
        list_push_back(&self->claims_open, node);
        claim_go_on(self, claim, now_ms);
    }
}

static void claim_done(struct request *request, enum bus_outcome outcome,
                       const struct bus_message *reply)
{
    struct routers *self = request->frontd->routers;
    struct claim *claim = self != NULL ? hash64_get(self->claims_by_id, request->number) : NULL;
    if (claim == NULL) {
        return; /* released */
    }
    for (unsigned i = 0; i < self->known_count; i++) {
        if (self->known[i]->upstream == request->upstream) {
            claim->asked &= ~router_bit(self->known[i]);
            claim->granted |=
                outcome == BUS_OK && reply->status == 0 ? router_bit(self->known[i]) : 0;
        }
    }
    routers_defer(self);
    if (outcome != BUS_OK || reply->status == 0) {
        return; /* a session that ended is asked again when it is back */
    }
    if (!claim->is_done) {
        claim_end(self, claim, reply->status);
    } else if (claim->result == 0) {
        claim_lose(self, claim);
    }
}

/* --- sessions --- */

void router_renew_claims(struct router *self)
{
    LIST_FOREACH (&self->routers->claims_held, node) {
        struct claim *claim = LIST_ENTRY(node, struct claim, of_claims);
        if (claim->result == 0) {
            claim_ask(claim, self);
        }
    }
}

static void claims_forget(struct list *claims, uint64_t bit)
{
    LIST_FOREACH (claims, node) {
        struct claim *claim = LIST_ENTRY(node, struct claim, of_claims);
        claim->asked &= ~bit;
        claim->granted &= ~bit;
    }
}

void router_forget_claims(struct router *self)
{
    claims_forget(&self->routers->claims_open, router_bit(self));
    claims_forget(&self->routers->claims_held, router_bit(self));
}

/* --- the owner --- */

struct claim *routers_claim(struct routers *self, struct span namespace_, struct span name,
                            uint64_t request, void (*done)(void *ud, int result),
                            void (*on_lost)(void *ud), void *ud)
{
    struct claim *claim = MEM_NEW(struct claim);
    claim->id = ++self->id_last;
    claim->done = done;
    claim->on_lost = on_lost;
    claim->ud = ud;
    claim->deadline_ms =
        loop_now_ms(self->frontd->loop) + self->frontd->settings->request_timeout_ms;
    pb_append_bytes(&claim->meta, NAME_NAMESPACE, namespace_);
    pb_append_bytes(&claim->meta, NAME_NAME, name);
    pb_append_fixed64(&claim->meta, NAME_REQUEST, request);
    list_push_back(&self->claims_open, &claim->of_claims);
    (void) hash64_put(self->claims_by_id, claim->id, claim);
    routers_defer(self);
    return claim;
}

static void claim_free(struct routers *self, struct claim *claim)
{
    list_remove(&claim->of_claims);
    (void) hash64_remove(self->claims_by_id, claim->id);
    buf_release(&claim->meta);
    mem_free(claim);
}

void routers_release(struct routers *self, struct claim **claim)
{
    claim_give_back(self, *claim);
    claim_free(self, *claim);
    *claim = NULL;
}

void routers_claims_destroy(struct routers *self)
{
    while (!list_is_empty(&self->claims_open)) {
        claim_free(self, LIST_ENTRY(self->claims_open.next, struct claim, of_claims));
    }
    while (!list_is_empty(&self->claims_held)) {
        claim_free(self, LIST_ENTRY(self->claims_held.next, struct claim, of_claims));
    }
    hash64_destroy(&self->claims_by_id);
}
