/* fake: see the header. These definitions come before those of the archives when the program is linked. */
#include "tests/unit/frontd_routes/fake.h"

#include "common/base/mem.h"
#include "common/wire/pb.h"
#include "frontd/catalog.h"
#include "frontd/routers.h"
#include "frontd/subscription.h"
#include "tests/lib/test.h"

struct fake fake;

/* --- neighbours --- */

uint64_t routers_lookup(struct routers *self, const struct exchange *exchange, uint64_t number,
                        struct span topics)
{
    (void) self;
    uint64_t source = fake.choose != NULL ? fake.choose() : fake.source;
    if (source != 0) {
        ck_assert_uint_lt(fake.ask_count, FAKE_ASKS_MAX);
        struct fake_ask *ask = &fake.asks[fake.ask_count++];
        *ask = (struct fake_ask){.source = source, .number = number, .exchange = exchange};
        buf_append(&ask->topics, topics);
    }
    return source;
}

void routers_check_pause(struct routers *self)
{
    (void) self;
    fake.pause_checks++;
}

void subscriptions_exchange_gone(struct subscriptions *self, struct exchange *exchange, int error)
{
    (void) self;
    (void) exchange;
    (void) error;
    fake.exchanges_gone++;
}

static void fake_progress(void *ud)
{
    ck_assert_ptr_eq(ud, &fake);
    fake.progress++;
}

/* --- life --- */

void fake_start(void)
{
    fake.loop = loop_new();
    fake.settings = (struct settings){
        .routes_entries_max = 262144,
        .routes_bytes_max = 64 << 20,
        .topics_max = 200000,
        .connection_topics_max = 150000,
    };
    fake.frontd = (struct frontd){
        .settings = &fake.settings,
        .loop = fake.loop,
        .name = "frontd-3",
        .catalog = catalog_new(),
    };
    fake.frontd.exchanges = exchanges_new(&fake.frontd);
    fake.routes = fake.frontd.routes = routes_new(&fake.frontd, fake_progress, &fake);
    ck_assert_int_eq(
        exchanges_ref(fake.frontd.exchanges, span_of("default"), (struct span){0}, &fake.exchange),
        0);
}

void fake_stop(void)
{
    routes_destroy(&fake.frontd.routes);
    exchanges_destroy(&fake.frontd.exchanges);
    catalog_destroy(&fake.frontd.catalog);
    buf_release(&fake.frontd.scratch);
    for (size_t i = 0; i < fake.ask_count; i++) {
        buf_release(&fake.asks[i].topics);
    }
    loop_destroy(&fake.loop);
}

void fake_turn(void)
{
    loop_wake(fake.loop);
    loop_turn(fake.loop);
}

/* --- lookups --- */

const struct fake_ask *fake_next_ask(void)
{
    ck_assert_uint_lt(fake.ask_seen, fake.ask_count);
    return &fake.asks[fake.ask_seen++];
}

size_t fake_ask_count(const struct fake_ask *ask)
{
    struct span rest = buf_span(&ask->topics);
    struct pb_field field;
    size_t count = 0;
    while (pb_next(&rest, &field) == 1) {
        ck_assert_uint_eq(field.number, 3);
        count++;
    }
    return count;
}

struct span fake_ask_topic(const struct fake_ask *ask, size_t index)
{
    struct span rest = buf_span(&ask->topics);
    struct pb_field field = {0};
    for (size_t i = 0; i <= index; i++) {
        ck_assert_int_eq(pb_next(&rest, &field), 1);
    }
    return field.bytes;
}

void fake_append_members(struct buf *out, uint32_t number, uint32_t frontd, const uint64_t *ids,
                         size_t count)
{
    struct buf members = {0};
    pb_append_varint(&members, 1, frontd);
    pb_append_bytes(&members, 2, span_make(ids, count * sizeof(ids[0])));
    pb_append_bytes(out, number, buf_span(&members));
    buf_release(&members);
}

void fake_append_route(struct buf *answer, const uint64_t *ids)
{
    struct buf route = {0};
    size_t count = 0;
    while (ids[count] != 0) {
        count++;
    }
    if (count != 0) {
        fake_append_members(&route, 1, 0, ids, count);
    }
    pb_append_bytes(answer, 2, buf_span(&route));
    buf_release(&route);
}

void fake_answer(const struct fake_ask *ask, uint64_t id)
{
    struct buf answer = {0};
    fake_append_route(&answer, (const uint64_t[]){id, 0});
    routes_answer(fake.routes, ask->source, ask->number, buf_span(&answer));
    buf_release(&answer);
}

void fake_change(uint64_t source, const char *matcher)
{
    struct buf exchange = {0};
    struct buf change = {0};
    pb_append_bytes(&exchange, 1, span_of("default"));
    pb_append_bytes(&change, 1, buf_span(&exchange));
    pb_append_bytes(&change, 2, span_of(matcher));
    ck_assert_int_eq(routes_change(fake.routes, source, buf_span(&change)), 0);
    buf_release(&exchange);
    buf_release(&change);
}

enum routes_result fake_find(const char *topic, const struct route **ret_route)
{
    bool is_bad = false;
    enum routes_result result =
        routes_find(fake.routes, fake.exchange, span_of(topic), 1, ret_route, &is_bad);
    ck_assert(!is_bad);
    return result;
}

bool fake_finds(const char *topic)
{
    const struct route *route = NULL;
    return fake_find(topic, &route) == ROUTES_FOUND;
}

const struct route *fake_resolve(const char *topic, uint64_t id)
{
    const struct route *route = NULL;
    if (fake_find(topic, &route) != ROUTES_FOUND) {
        fake_turn();
        fake_answer(fake_next_ask(), id);
        ck_assert_int_eq(fake_find(topic, &route), ROUTES_FOUND);
    }
    return route;
}
