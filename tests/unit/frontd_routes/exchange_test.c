/* exchange: one object for each in use, limits from the catalogue, forgotten when nobody uses it. */
#include "frontd/exchange.h"

#include <stdio.h>

#include "common/base/err.h"
#include "common/wire/pb.h"
#include "frontd/catalog.h"
#include "tests/lib/test.h"
#include "tests/unit/frontd_routes/fake.h"

static int ref(const char *namespace_, const char *name, struct exchange **ret_exchange)
{
    return exchanges_ref(fake.frontd.exchanges, span_of(namespace_), span_of(name), ret_exchange);
}

/* The catalogue says that "default"/"orders" exists with this limit of topics, or was deleted (0). */
static void catalog_says(uint64_t revision, uint64_t topics)
{
    struct buf spec = {0};
    struct buf exchange = {0};
    struct buf changes = {0};
    pb_append_varint(&spec, 1, 5);
    pb_append_varint(&spec, 2, topics);
    pb_append_bytes(&exchange, 1, span_of("default"));
    pb_append_bytes(&exchange, 2, span_of("orders"));
    if (topics != 0) {
        pb_append_varint(&exchange, 3, revision);
        pb_append_bytes(&exchange, 4, buf_span(&spec));
    }
    pb_append_varint(&changes, 1, revision);
    pb_append_bytes(&changes, topics != 0 ? 9 : 10, buf_span(&exchange));
    ck_assert_int_eq(catalog_apply(fake.frontd.catalog, buf_span(&changes)), 0);
    catalog_watched(fake.frontd.catalog, revision);
    exchanges_catalog_changed(fake.frontd.exchanges);
    buf_release(&spec);
    buf_release(&exchange);
    buf_release(&changes);
}

TEST(the_same_name_is_the_same_exchange)
{
    struct exchange *one = NULL;
    struct exchange *two = NULL;
    fake_start();
    ck_assert_int_eq(ref("default", "", &one), 0);
    ck_assert_ptr_eq(one, fake.exchange);
    ck_assert_uint_eq(one->references, 2);
    ck_assert_int_eq(ref("other", "", &two), 0);
    ck_assert_ptr_ne(one, two);
    ck_assert(span_is(two->namespace_, "other"));
    ck_assert_uint_eq(two->name.size, 0);
    ck_assert_ptr_eq(exchanges_find(fake.frontd.exchanges, span_of("other"), (struct span){0}),
                     two);
    ck_assert_ptr_null(exchanges_find(fake.frontd.exchanges, span_of("oth"), span_of("er")));
    exchanges_unref(fake.frontd.exchanges, &one);
    exchanges_unref(fake.frontd.exchanges, &two);
    ck_assert_ptr_null(two);
    fake_stop();
}

TEST(a_named_exchange_must_have_been_ensured)
{
    struct exchange *exchange = NULL;
    fake_start();
    ck_assert_int_eq(ref("default", "a b", &exchange), ERR_BAD_REQUEST);
    fake.settings.catalog_wait_ms =
        UINT64_MAX / 2; /* from the start of frontd, which is long ago */
    ck_assert_int_eq(ref("default", "orders", &exchange), ERR_AGAIN);
    fake.settings.catalog_wait_ms = 0; /* it has taken too long */
    ck_assert_int_eq(ref("default", "orders", &exchange), ERR_NO_QUORUM);
    catalog_says(1, 77);
    ck_assert_int_eq(ref("default", "others", &exchange), ERR_NOT_FOUND);
    ck_assert_int_eq(ref("other", "orders", &exchange), ERR_NOT_FOUND);
    ck_assert_int_eq(ref("default", "orders", &exchange), 0);
    ck_assert_uint_eq(exchange->topics_max, 77);
    ck_assert_uint_eq(exchange->subscriptions_max, 5);
    catalog_says(2, 78);
    ck_assert_uint_eq(exchange->topics_max, 78);
    ck_assert_uint_eq(fake.exchanges_gone, 0);
    exchanges_unref(fake.frontd.exchanges, &exchange);
    fake_stop();
}

TEST(a_deleted_exchange_ends_and_goes_with_its_last_reference)
{
    struct exchange *exchange = NULL;
    fake_start();
    catalog_says(1, 77);
    ck_assert_int_eq(ref("default", "orders", &exchange), 0);
    catalog_says(2, 0);
    ck_assert_uint_eq(fake.exchanges_gone, 1);
    exchanges_catalog_changed(fake.frontd.exchanges);
    ck_assert_uint_eq(fake.exchanges_gone, 1);
    struct exchange *again = NULL;
    ck_assert_int_eq(ref("default", "orders", &again), ERR_NOT_FOUND);
    exchanges_forget_idle(fake.frontd.exchanges, 1);
    ck_assert_ptr_eq(exchanges_find(fake.frontd.exchanges, span_of("default"), span_of("orders")),
                     exchange);
    exchanges_unref(fake.frontd.exchanges, &exchange);
    exchanges_forget_idle(fake.frontd.exchanges, loop_now_ms(fake.loop));
    ck_assert_ptr_null(
        exchanges_find(fake.frontd.exchanges, span_of("default"), span_of("orders")));
    fake_stop();
}

TEST(an_exchange_that_is_deleted_and_ensured_again_counts_from_nothing)
{
    struct exchange *exchange = NULL;
    struct exchange *again = NULL;
    fake_start();
    catalog_says(1, 77);
    ck_assert_int_eq(ref("default", "orders", &exchange), 0);
    exchange->counts = (struct exchange_counts){10, 3, 1, 9, 5, 2, 4};
    exchange->queued = 2;
    catalog_says(2, 0);
    catalog_says(3, 77);
    ck_assert_int_eq(ref("default", "orders", &again), 0);
    ck_assert_ptr_eq(again, exchange);
    ck_assert_uint_eq(again->counts.published, 0);
    ck_assert_uint_eq(again->counts.requests, 0);
    ck_assert_uint_eq(again->counts.matched, 2); /* what waits; the sum holds */
    ck_assert_uint_eq(again->counts.delivered + again->counts.dropped, 0);
    ck_assert_uint_eq(exchanges_forgotten(fake.frontd.exchanges)->published, 10);
    ck_assert_uint_eq(exchanges_forgotten(fake.frontd.exchanges)->matched, 7);
    exchanges_unref(fake.frontd.exchanges, &exchange);
    exchanges_unref(fake.frontd.exchanges, &again);
    fake_stop();
}

TEST(an_exchange_is_forgotten_a_minute_after_its_last_use_but_not_with_live_topics)
{
    struct exchange *exchange = NULL;
    fake_start();
    fake.source = 1;
    routes_source_ready(fake.routes, 1);
    (void) fake_resolve("a", 7);
    exchange = fake.exchange;
    exchanges_unref(fake.frontd.exchanges, &exchange);
    uint64_t now_ms = loop_now_ms(fake.loop);
    exchanges_forget_idle(fake.frontd.exchanges, now_ms + 61000);
    ck_assert_ptr_eq(exchanges_find(fake.frontd.exchanges, span_of("default"), (struct span){0}),
                     fake.exchange);
    fake_change(1, "a");
    exchanges_forget_idle(fake.frontd.exchanges, now_ms + 50000);
    ck_assert_ptr_nonnull(
        exchanges_find(fake.frontd.exchanges, span_of("default"), (struct span){0}));
    exchanges_forget_idle(fake.frontd.exchanges, now_ms + 61000);
    ck_assert_ptr_null(exchanges_find(fake.frontd.exchanges, span_of("default"), (struct span){0}));
    fake_stop();
}

TEST(exchanges_in_use_are_limited)
{
    struct exchange *exchange = NULL;
    fake_start();
    for (unsigned i = 1; i < 10000; i++) {
        char name[32];
        (void) snprintf(name, sizeof(name), "n%u", i);
        TEST_ASSERT_FAST(ref(name, "", &exchange) == 0);
    }
    ck_assert_int_eq(ref("one-more", "", &exchange), ERR_QUOTA);
    ck_assert_int_eq(ref("n77", "", &exchange), 0);
    size_t cursor = 0;
    unsigned count = 0;
    while (exchanges_next(fake.frontd.exchanges, &cursor) != NULL) {
        count++;
    }
    ck_assert_uint_eq(count, 10000);
    fake_stop();
}
