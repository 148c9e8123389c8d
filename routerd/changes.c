/* changes: see the header. Owns what was gathered, in the exchanges it is about; an exchange that is empty goes only when its change is told. While the router
 * is not ready, an exchange with very many changes is told as one matcher for all of its topics. */
#include "routerd/changes.h"

#include "common/base/hash.h"
#include "common/base/invariant.h"
#include "common/base/rand.h"
#include "common/wire/pb.h"

#include "routerd/router_own.h"

enum { CHANGES_SEQ = 1, CHANGES_CHANGES = 2, CHANGES_READY = 3, CHANGES_ROUND = 4 };
enum { CHANGE_EXCHANGE = 1, CHANGE_MATCHERS = 2 };
enum { EXCHANGE_NAMESPACE = 1, EXCHANGE_NAME = 2 };
enum {
    CHANGES_BYTES_MAX = 1 << 20, /* told at once beyond it */
    CHANGES_MATCHERS_MAX = 8192, /* of an exchange, while not ready */
};

void changes_init(struct changes *self)
{
    *self = (struct changes){.batch = 1, .seed = entropy_u64()};
    list_init(&self->exchanges);
}

bool changes_are_due(const struct changes *self)
{
    return self->is_wanted || !list_is_empty(&self->exchanges);
}

static void changes_add_matcher(struct changes *self, struct exchange *exchange,
                                struct span matcher)
{
    uint64_t hash = hash_bytes(matcher, self->seed ^ (uint64_t) (uintptr_t) exchange);
    struct changes_recent *recent = &self->recent[hash % CHANGES_RECENT];
    if (recent->batch == self->batch && recent->exchange == exchange &&
        exchange->changed.data != NULL &&
        span_equal(span_make(exchange->changed.data + recent->at, recent->size), matcher)) {
        return; /* it is said already */
    }
    size_t before = exchange->changed.size;
    pb_append_bytes(&exchange->changed, CHANGE_MATCHERS, matcher);
    exchange->changed_count++;
    self->bytes += exchange->changed.size - before;
    *recent = (struct changes_recent){exchange, self->batch,
                                      (uint32_t) (exchange->changed.size - matcher.size),
                                      (uint32_t) matcher.size};
}

/* A wildcard does not match what begins with `$`. */
static bool matcher_is_special(struct span matcher)
{
    return matcher.size > 0 && matcher.data[0] == '$';
}

static void changes_make_all(struct changes *self, struct exchange *exchange)
{
    struct buf old = exchange->changed;
    exchange->changed = (struct buf){0};
    exchange->changed_count = 0;
    exchange->is_changed_all = true;
    self->bytes -= old.size;
    self->batch++; /* what was noted lies elsewhere now */
    struct span rest = buf_span(&old);
    struct pb_field field;
    while (pb_next(&rest, &field) > 0) {
        if (matcher_is_special(field.bytes)) {
            changes_add_matcher(self, exchange, field.bytes);
        }
    }
    changes_add_matcher(self, exchange, span_of("#"));
    buf_release(&old);
}

void changes_put(struct router *router, const struct subscription *subscription)
{
    struct changes *self = &router->changes;
    struct exchange *exchange = subscription->home->exchange;
    if (!list_is_linked(&exchange->of_changed)) {
        list_push_back(&self->exchanges, &exchange->of_changed);
        self->bytes += exchange->namespace_.size + exchange->name.size;
    }
    struct span matcher;
    for (uint32_t at = 0; subscription_next(subscription, &at, &matcher);) {
        if (!exchange->is_changed_all || matcher_is_special(matcher)) {
            changes_add_matcher(self, exchange, matcher);
        }
    }
    if (!router->is_ready && !exchange->is_changed_all &&
        exchange->changed_count > CHANGES_MATCHERS_MAX) {
        changes_make_all(self, exchange);
    }
}

static void changes_write(struct router *router, struct buf *out)
{
    struct changes *self = &router->changes;
    struct buf change = {0};
    struct buf name = {0};
    pb_append_varint(out, CHANGES_SEQ, self->seq);
    LIST_FOREACH (&self->exchanges, node) {
        struct exchange *exchange = LIST_ENTRY(node, struct exchange, of_changed);
        buf_reset(&change);
        buf_reset(&name);
        pb_append_bytes(&name, EXCHANGE_NAMESPACE, exchange->namespace_);
        pb_append_bytes(&name, EXCHANGE_NAME, exchange->name);
        pb_append_bytes(&change, CHANGE_EXCHANGE, buf_span(&name));
        buf_append(&change, buf_span(&exchange->changed));
        pb_append_bytes(out, CHANGES_CHANGES, buf_span(&change));
        buf_release(&exchange->changed);
        exchange->changed_count = 0;
        exchange->is_changed_all = false;
        list_remove(&exchange->of_changed);
        exchanges_trim(router->exchanges, exchange);
    }
    buf_release(&change);
    buf_release(&name);
}

static void changes_send(struct router *router, struct frontd *frontd, const struct buf *meta,
                         struct payload **shared)
{
    uint64_t seq = router->changes.seq;
    if (!frontd_is_owing(frontd)) {
        frontd->quiet_ms = router->now_ms; /* from now on it owes us an answer */
    }
    frontd->sent = seq;
    if (!router->is_ready || !frontd->wants_ready) {
        frontd_send(router, frontd, RAILGUN__BUS_TYPE__BUS_ROUTE_CHANGES, buf_span(meta), shared);
        return;
    }
    struct buf own = {0};
    buf_append(&own, buf_span(meta));
    pb_append_varint(&own, CHANGES_READY, 1);
    if (frontd->round != 0) {
        pb_append_varint(&own, CHANGES_ROUND, frontd->round);
    }
    frontd->wants_ready = false;
    frontd->round = 0;
    frontd->settled = seq;
    frontd_send(router, frontd, RAILGUN__BUS_TYPE__BUS_ROUTE_CHANGES, buf_span(&own), NULL);
    buf_release(&own);
}

void changes_tell(struct router *router)
{
    struct changes *self = &router->changes;
    struct buf meta = {0};
    struct payload *shared = NULL;
    self->seq++;
    self->batch++;
    changes_write(router, &meta);
    INVARIANT(list_is_empty(&self->exchanges));
    self->bytes = 0;
    self->is_wanted = false;
    router->counts.changes++;
    for (unsigned i = 0; i < TABLE_FRONTDS_MAX; i++) {
        if (router->frontds[i].is_up) {
            changes_send(router, &router->frontds[i], &meta, &shared);
        }
    }
    payload_unref(&shared);
    buf_release(&meta);
}

bool changes_are_many(const struct changes *self)
{
    return self->bytes >= CHANGES_BYTES_MAX;
}
