/* Subscribing: pushed and pulled, events, slow pullers, and what remains after a lost connection. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/railgun.h"
#include "client/subscription.h"
#include "common/base/err.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"
#include "tests/unit/client/fake.h"
#include "tests/unit/client/fake_es.h"

/* What callbacks have seen. */
struct seen {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char log[4096];
    unsigned messages;
    bool hold; /* the callback waits */
    bool is_held;
    struct rg_client *client;
};

static void seen_init(struct seen *seen)
{
    *seen = (struct seen){0};
    pthread_mutex_init(&seen->lock, NULL);
    pthread_cond_init(&seen->changed, NULL);
}

static void seen_note(struct seen *seen, const char *text, size_t size)
{
    pthread_mutex_lock(&seen->lock);
    size_t used = strlen(seen->log);
    if (used + size + 1 < sizeof(seen->log)) {
        memcpy(seen->log + used, text, size);
        seen->log[used + size] = 0;
    }
    pthread_cond_broadcast(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
}

static struct timespec soon(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t) (25 * test_slowness());
    return until;
}

static void seen_await(struct seen *seen, const char *log)
{
    struct timespec until = soon();
    pthread_mutex_lock(&seen->lock);
    while (strcmp(seen->log, log) != 0) {
        if (pthread_cond_timedwait(&seen->changed, &seen->lock, &until) != 0) {
            ck_abort_msg("saw \"%s\", not \"%s\"", seen->log, log);
        }
    }
    pthread_mutex_unlock(&seen->lock);
}

static void on_message(void *ud, struct rg_subscription *subscription,
                       const struct rg_es_delivery *delivery)
{
    struct seen *seen = ud;
    char text[256];
    ck_assert_ptr_nonnull(subscription);
    int size = snprintf(text, sizeof(text), "%.*s=%.*s ", (int) delivery->topic.size,
                        delivery->topic.size != 0 ? (const char *) delivery->topic.data : "",
                        (int) delivery->payload.size,
                        delivery->payload.size != 0 ? (const char *) delivery->payload.data : "");
    pthread_mutex_lock(&seen->lock);
    seen->messages++;
    seen->is_held = seen->hold;
    pthread_cond_broadcast(&seen->changed);
    while (seen->hold) {
        pthread_cond_wait(&seen->changed, &seen->lock);
    }
    seen->is_held = false;
    pthread_mutex_unlock(&seen->lock);
    seen_note(seen, text, (size_t) size);
}

static void on_event(void *ud, struct rg_subscription *subscription,
                     const struct rg_es_event *event)
{
    static const char *const names[] = {"UP", "DOWN", "DROPPED", "CLOSED"};
    char text[256];
    (void) subscription;
    int size = snprintf(text, sizeof(text), "%s", names[event->type]);
    if (event->type == RG_ES_DROPPED) {
        size = snprintf(text, sizeof(text), "DROPPED:%" PRIu64 ":%s:%s", event->count,
                        event->first_topic, event->last_topic);
    } else if (event->type == RG_ES_CLOSED) {
        size = snprintf(text, sizeof(text), "CLOSED:%d:%s", event->code, event->detail);
    }
    text[size++] = ' ';
    seen_note(ud, text, (size_t) size);
}

static struct rg_subscription *subscribe(struct rg_client *client,
                                         const struct rg_subscribe_options *options)
{
    struct rg_subscription *subscription = NULL;
    int result = rg_subscribe(client, options, &subscription);
    ck_assert_msg(result == 0, "rg_subscribe: %d %s", result, rg_last_error(client));
    return subscription;
}

static struct rg_subscribe_options pushed(struct seen *seen)
{
    return (struct rg_subscribe_options){
        .on_message = on_message, .on_event = on_event, .ud = seen};
}

static void hang_up(struct fake *fake)
{
    fake_lock(fake);
    fake_hang_up(fake);
    fake_unlock(fake);
}

TEST(messages_are_pushed_in_order_with_events_between_them)
{
    struct fake *fake = fake_new();
    struct seen seen;
    seen_init(&seen);
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_subscribe_options options = pushed(&seen);
    struct rg_subscription *subscription = subscribe(client, &options);
    Railgun__GroupEvent dropped = RAILGUN__GROUP_EVENT__INIT;
    char first[] = "f.1";
    char last[] = "l.2";
    dropped.has_type = dropped.has_count = true;
    dropped.type = RAILGUN__GROUP_EVENT__TYPE__EVENT_DROPPED;
    dropped.count = 17;
    dropped.first_topic = first;
    dropped.last_topic = last;
    fake_lock(fake);
    fake_es_deliver(fake, "a=1,b.c=2");
    fake_send_message(fake, fake->channel, 0, BODY(GROUP_EVENT), &dropped.base);
    fake_es_deliver(fake, "=3");
    fake_unlock(fake);
    seen_await(&seen, "a=1 b.c=2 DROPPED:17:f.1:l.2 =3 ");
    rg_subscription_close(&subscription);
    ck_assert_ptr_null(subscription);
    rg_subscription_close(&subscription);
    ck_assert_uint_eq(fake_frames(fake, BODY(CANCEL)), 1);
    fake_es_send(fake, "late=1"); /* does no harm */
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    seen_await(&seen, "a=1 b.c=2 DROPPED:17:f.1:l.2 =3 ");
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(many_pushed_messages_come_as_they_are)
{
    struct fake *fake = fake_new();
    struct seen seen;
    seen_init(&seen);
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_subscribe_options options = pushed(&seen);
    struct rg_subscription *subscription = subscribe(client, &options);
    struct timespec until = soon();
    for (unsigned i = 0; i < 100; i++) {
        fake_lock(fake);
        fake_es_deliver_numbers(fake, (uint64_t) i * 500, 500);
        fake_unlock(fake);
    }
    pthread_mutex_lock(&seen.lock);
    while (seen.messages != 50000) {
        ck_assert_int_eq(pthread_cond_timedwait(&seen.changed, &seen.lock, &until), 0);
    }
    ck_assert_ptr_nonnull(strstr(seen.log, "t=0 t=1 t=2 "));
    pthread_mutex_unlock(&seen.lock);
    rg_subscription_close(&subscription);
    rg_close(&client);
    fake_destroy(&fake);
}

static void expect(struct rg_subscription *subscription, const char *topic, const char *payload)
{
    struct rg_es_delivery delivery;
    int result = rg_subscription_next(subscription, 30000, &delivery);
    ck_assert_msg(result == 0, "rg_subscription_next: %d %s", result, rg_last_error(NULL));
    ck_assert_uint_eq(delivery.topic.size, strlen(topic));
    ck_assert_uint_eq(delivery.payload.size, strlen(payload));
    ck_assert_mem_eq(delivery.topic.data, topic, strlen(topic));
    ck_assert_mem_eq(delivery.payload.data, payload, strlen(payload));
}

TEST(messages_are_pulled_in_order)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_subscription *subscription = subscribe(client, NULL);
    struct rg_es_delivery delivery;
    ck_assert_int_eq(rg_subscription_next(subscription, 0, &delivery), RG_ERR_AGAIN);
    ck_assert_int_eq(rg_subscription_next(subscription, 10, &delivery), RG_ERR_AGAIN);
    fake_es_send(fake, "a=1,b=2");
    fake_es_send(fake, "c=3");
    expect(subscription, "a", "1");
    expect(subscription, "b", "2");
    expect(subscription, "c", "3");
    ck_assert_int_eq(rg_subscription_next(subscription, 0, &delivery), RG_ERR_AGAIN);
    ck_assert_int_eq(rg_subscription_next(NULL, 0, &delivery), RG_ERR_USAGE);
    ck_assert_int_eq(rg_subscription_next(subscription, 0, NULL), RG_ERR_USAGE);
    rg_subscription_close(&subscription);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool send_all_parts(struct fake *fake, const struct frame_view *view)
{
    struct buf headers = {0};
    struct buf body = {0};
    (void) view;
    es_header_append(&headers, span_of("n1"), span_of("v1"));
    es_header_append(&headers, span_of("n2"), (struct span){0});
    es_append(&body, span_of("t"), span_of("p"), span_of("k"), buf_span(&headers), span_of("r"));
    fake_send(fake, fake->channel, 0, BODY(ES_DELIVER), buf_span(&body));
    buf_release(&headers);
    buf_release(&body);
    return false;
}

TEST(all_parts_of_a_message_are_shown)
{
    struct fake *fake = fake_new();
    struct rg_es_delivery delivery;
    struct rg_header header;
    size_t cursor = 0;
    fake_handle(fake, BODY(PING), send_all_parts);
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_subscription *subscription = subscribe(client, NULL);
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    ck_assert_int_eq(rg_subscription_next(subscription, 30000, &delivery), 0);
    ck_assert(delivery.key.size == 1 && memcmp(delivery.key.data, "k", 1) == 0);
    ck_assert(delivery.reply_to.size == 1 && memcmp(delivery.reply_to.data, "r", 1) == 0);
    ck_assert(rg_es_header(&delivery, &cursor, &header));
    ck_assert(header.name.size == 2 && memcmp(header.name.data, "n1", 2) == 0);
    ck_assert(header.value.size == 2 && memcmp(header.value.data, "v1", 2) == 0);
    ck_assert(rg_es_header(&delivery, &cursor, &header));
    ck_assert(memcmp(header.name.data, "n2", 2) == 0 && header.value.size == 0);
    ck_assert(!rg_es_header(&delivery, &cursor, &header));
    ck_assert(!rg_es_header(NULL, &cursor, &header));
    rg_subscription_close(&subscription);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool check_subscribe(struct fake *fake, const struct frame_view *view)
{
    Railgun__EsSubscribe *subscribe = NULL;
    ck_assert_int_eq(SCAN_UNPACK(view->body, railgun__es_subscribe, &subscribe), 0);
    ck_assert_uint_eq(subscribe->max_messages, 5);
    ck_assert_uint_eq(subscribe->max_bytes, 6);
    ck_assert(subscribe->sticky_by_key);
    ck_assert_str_eq(subscribe->consumer, "me");
    ck_assert_ptr_null(subscribe->credit);
    SCAN_FREE(&subscribe);
    (void) fake;
    return false;
}

TEST(what_is_asked_for_goes_to_the_server_again_after_a_loss)
{
    struct fake *fake = fake_new();
    struct seen seen;
    char exchange[] = "trams";
    char group[] = "workers";
    char matcher[] = "a.*";
    const char *matchers[] = {matcher, "#.b"};
    seen_init(&seen);
    struct rg_subscribe_options options = pushed(&seen);
    options.exchange = exchange;
    options.group = group;
    options.matchers = matchers;
    options.matcher_count = 2;
    options.name = "me";
    options.policy = RG_CONFLATE;
    options.max_messages = 5;
    options.max_bytes = 6;
    options.sticky_by_key = true;
    fake_handle(fake, BODY(ES_SUBSCRIBE), check_subscribe);
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_subscription *subscription = subscribe(client, &options);
    memset(exchange, 'x', 5); /* all was copied */
    memset(group, 'x', 7);
    memset(matcher, 'x', 3);
    fake_es_await(fake, "sub trams a.*,#.b workers 2;");
    fake_es_send(fake, "a=1");
    seen_await(&seen, "a=1 ");
    hang_up(fake);
    seen_await(&seen, "a=1 DOWN UP ");
    fake_es_await(fake, "sub trams a.*,#.b workers 2;sub trams a.*,#.b workers 2;");
    fake_es_send(fake, "a=2");
    seen_await(&seen, "a=1 DOWN UP a=2 ");
    rg_subscription_close(&subscription);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool refuse(struct fake *fake, const struct frame_view *view)
{
    fake_send_error(fake, view->channel, view->corr, ERR_QUOTA, "too many");
    return true;
}

TEST(senseless_and_refused_subscriptions_fail_with_the_reason)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_subscription *subscription = NULL;
    const char *matchers[65] = {"a..b"};
    struct rg_subscribe_options options = {.matchers = matchers, .matcher_count = 1};
    ck_assert_int_eq(rg_subscribe(client, &options, &subscription), RG_ERR_BAD_REQUEST);
    ck_assert_ptr_nonnull(strstr(rg_last_error(client), "a..b"));
    matchers[0] = NULL;
    ck_assert_int_eq(rg_subscribe(client, &options, &subscription), RG_ERR_USAGE);
    options.matchers = NULL;
    ck_assert_int_eq(rg_subscribe(client, &options, &subscription), RG_ERR_USAGE);
    options.matcher_count = 65;
    options.matchers = matchers;
    ck_assert_int_eq(rg_subscribe(client, &options, &subscription), RG_ERR_TOO_LARGE);
    options = (struct rg_subscribe_options){.group = "no way"};
    ck_assert_int_eq(rg_subscribe(client, &options, &subscription), RG_ERR_BAD_REQUEST);
    options = (struct rg_subscribe_options){.exchange = "no way"};
    ck_assert_int_eq(rg_subscribe(client, &options, &subscription), RG_ERR_BAD_REQUEST);
    options = (struct rg_subscribe_options){.policy = (enum rg_slow_policy) 9};
    ck_assert_int_eq(rg_subscribe(client, &options, &subscription), RG_ERR_USAGE);
    ck_assert_int_eq(rg_subscribe(client, NULL, NULL), RG_ERR_USAGE);
    ck_assert_int_eq(rg_subscribe(NULL, NULL, &subscription), RG_ERR_USAGE);
    ck_assert_uint_eq(fake_frames(fake, BODY(ES_SUBSCRIBE)), 0);
    fake_handle(fake, BODY(ES_SUBSCRIBE), refuse);
    ck_assert_int_eq(rg_subscribe(client, NULL, &subscription), RG_ERR_QUOTA);
    ck_assert_str_eq(rg_last_error(client), "too many");
    ck_assert_ptr_null(subscription);
    rg_close(&client);
    fake_destroy(&fake);
}

static void cancel(struct fake *fake, int code)
{
    struct buf body = {0};
    pb_append_varint(&body, 1, (uint64_t) -code);
    pb_append_bytes(&body, 2, span_of("why"));
    fake_send(fake, fake->channel, 0, BODY(CANCEL), buf_span(&body));
    buf_release(&body);
}

TEST(what_the_server_ends_for_good_is_closed)
{
    struct fake *fake = fake_new();
    struct seen seen;
    struct rg_es_delivery delivery;
    seen_init(&seen);
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_subscribe_options options = pushed(&seen);
    struct rg_subscription *push = subscribe(client, &options);
    fake_lock(fake);
    fake_es_deliver(fake, "a=1");
    cancel(fake, ERR_NOT_FOUND);
    fake_unlock(fake);
    seen_await(&seen, "a=1 CLOSED:-404:why ");
    options.on_message = NULL;
    struct rg_subscription *pull = subscribe(client, &options);
    fake_lock(fake);
    fake_es_deliver(fake, "a=2");
    cancel(fake, ERR_DENIED);
    fake_unlock(fake);
    seen_await(&seen, "a=1 CLOSED:-404:why CLOSED:-403:why ");
    expect(pull, "a", "2"); /* what came before is still there */
    ck_assert_int_eq(rg_subscription_next(pull, 30000, &delivery), RG_ERR_CLOSED);
    ck_assert_str_eq(rg_last_error(client), "DENIED: why");
    ck_assert_int_eq(rg_subscription_next(pull, 30000, &delivery), RG_ERR_CLOSED);
    hang_up(fake);
    fake_await_connections(fake, 2);
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    ck_assert_uint_eq(fake_frames(fake, BODY(ES_SUBSCRIBE)), 2); /* not again */
    rg_subscription_close(&push);
    rg_subscription_close(&pull);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(what_the_server_ends_for_now_comes_back)
{
    struct fake *fake = fake_new();
    struct seen seen;
    seen_init(&seen);
    struct rg_options client_options = {.reconnect_max_ms = 20};
    struct rg_client *client = fake_client(fake, &client_options);
    struct rg_subscribe_options options = pushed(&seen);
    struct rg_subscription *subscription = subscribe(client, &options);
    fake_lock(fake);
    cancel(fake, ERR_OVERLOADED);
    fake_unlock(fake);
    seen_await(&seen, "DOWN UP ");
    fake_es_send(fake, "a=1");
    seen_await(&seen, "DOWN UP a=1 ");
    rg_subscription_close(&subscription);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(a_malformed_delivery_costs_the_connection)
{
    struct fake *fake = fake_new();
    struct seen seen;
    static const uint8_t bad[] = {0x7a, 5, 0x0a};
    seen_init(&seen);
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_subscribe_options options = pushed(&seen);
    struct rg_subscription *push = subscribe(client, &options);
    fake_lock(fake);
    fake_send(fake, fake->channel, 0, BODY(ES_DELIVER), span_make(bad, sizeof(bad)));
    fake_unlock(fake);
    seen_await(&seen, "DOWN UP ");
    rg_subscription_close(&push);
    struct rg_subscription *pull = subscribe(client, NULL);
    fake_lock(fake);
    fake_send(fake, fake->channel, 0, BODY(ES_DELIVER), span_make(bad, sizeof(bad)));
    fake_unlock(fake);
    fake_await_connections(fake, 3);
    rg_subscription_close(&pull);
    rg_close(&client);
    fake_destroy(&fake);
}

/* --- slow pullers --- */

static bool is_full(struct rg_client *client)
{
    client_lock(client);
    bool is = subscriptions_are_full(client);
    client_unlock(client);
    return is;
}

static void await_full(struct rg_client *client)
{
    while (!is_full(client)) {
        sched_yield();
    }
}

TEST(who_pulls_too_slowly_is_not_read_for)
{
    struct fake *fake = fake_new();
    struct rg_subscribe_options options = {.pull_messages = 200};
    fake_lock(fake);
    fake->heartbeat_ms = 1000; /* so long that a busy machine is not taken for a silent server */
    fake_unlock(fake);
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_subscription *subscription = subscribe(client, &options);
    for (unsigned i = 0; i < 10; i++) {
        fake_lock(fake);
        fake_es_deliver_numbers(fake, (uint64_t) i * 100, 100);
        fake_unlock(fake);
    }
    await_full(client);
    unsigned pings = fake_frames(fake, BODY(PING));
    fake_await_frames(fake, BODY(PING), pings + 4); /* more than three heartbeats */
    client_lock(client);
    ck_assert_uint_eq(subscription->queued_messages, 200);
    client_unlock(client);
    for (unsigned i = 0; i < 1000; i++) {
        char text[32];
        (void) snprintf(text, sizeof(text), "%u", i);
        expect(subscription, "t", text);
    }
    ck_assert(!is_full(client));
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    ck_assert_uint_eq(fake_connections(fake), 1);
    rg_subscription_close(&subscription);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(a_full_queue_does_not_keep_it_from_closing)
{
    struct fake *fake = fake_new();
    struct rg_subscribe_options options = {.pull_messages = 1};
    struct rg_options client_options = {.request_timeout_ms = 600000};
    struct rg_es_delivery delivery;
    struct rg_client *client = fake_client(fake, &client_options);
    struct rg_subscription *subscription = subscribe(client, &options);
    fake_es_send(fake, "a=1");
    fake_es_send(fake, "a=2");
    await_full(client);
    rg_subscription_close(&subscription);
    ck_assert_uint_eq(fake_frames(fake, BODY(CANCEL)), 1);
    ck_assert_int_eq(rg_ping(client, NULL), 0);

    subscription = subscribe(client, &options);
    fake_es_send(fake, "a=3");
    fake_es_send(fake, "a=4");
    await_full(client);
    hang_up(fake); /* is seen when there is room again */
    expect(subscription, "a", "3");
    expect(subscription, "a", "4");
    fake_await_connections(fake, 2);
    rg_close(&client);
    while (rg_subscription_next(subscription, 0, &delivery) == 0) {
    }
    ck_assert_int_eq(rg_subscription_next(subscription, 0, &delivery), RG_ERR_CLOSED);
    rg_subscription_close(&subscription);
    fake_destroy(&fake);
}

/* --- credit --- */

static bool has_credit(const struct fake *fake)
{
    return fake->credit == 15;
}

static bool has_credit_left(const struct fake *fake)
{
    return fake->credit == 12;
}

TEST(credit_is_granted_and_what_is_left_of_it_survives_a_loss)
{
    struct fake *fake = fake_new();
    struct rg_subscribe_options options = {.credit_messages = 10};
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_subscription *subscription = subscribe(client, &options);
    ck_assert_uint_eq(fake_credit(fake), 10);
    ck_assert_int_eq(rg_subscription_grant(subscription, 5), 0);
    fake_await(fake, has_credit);
    fake_es_send(fake, "a=1,a=2");
    fake_es_send(fake, "a=3");
    expect(subscription, "a", "1");
    expect(subscription, "a", "2");
    expect(subscription, "a", "3");
    hang_up(fake);
    fake_await_frames(fake, BODY(ES_SUBSCRIBE), 2);
    fake_await(fake, has_credit_left);
    ck_assert_int_eq(rg_subscription_grant(subscription, 0), RG_ERR_USAGE);
    ck_assert_int_eq(rg_subscription_grant(NULL, 1), RG_ERR_USAGE);
    rg_subscription_close(&subscription);
    subscription = subscribe(client, NULL);
    ck_assert_int_eq(rg_subscription_grant(subscription, 1), RG_ERR_USAGE);
    rg_subscription_close(&subscription);
    rg_close(&client);
    fake_destroy(&fake);
}

/* --- callbacks --- */

static void *close_it(void *ud)
{
    rg_subscription_close(ud);
    return NULL;
}

static bool is_leaving(struct rg_client *client, struct rg_subscription *subscription)
{
    client_lock(client);
    bool is = subscription->is_leaving;
    client_unlock(client);
    return is;
}

TEST(closing_waits_for_a_callback_that_runs)
{
    struct fake *fake = fake_new();
    struct seen seen;
    pthread_t thread;
    seen_init(&seen);
    seen.hold = true;
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_subscribe_options options = pushed(&seen);
    struct rg_subscription *subscription = subscribe(client, &options);
    struct rg_subscription *closing = subscription;
    fake_es_send(fake, "a=1");
    pthread_mutex_lock(&seen.lock);
    while (!seen.is_held) {
        pthread_cond_wait(&seen.changed, &seen.lock);
    }
    pthread_mutex_unlock(&seen.lock);
    fake_es_send(fake, "a=2");
    ck_assert_int_eq(pthread_create(&thread, NULL, close_it, &closing), 0);
    while (!is_leaving(client, subscription)) {
        sched_yield();
    }
    pthread_mutex_lock(&seen.lock);
    ck_assert(seen.is_held);
    seen.hold = false;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_ptr_null(closing);
    seen_await(&seen, "a=1 ");
    rg_close(&client);
    fake_destroy(&fake);
}

static void on_message_try_all(void *ud, struct rg_subscription *subscription,
                               const struct rg_es_delivery *delivery)
{
    struct seen *seen = ud;
    struct rg_subscription *self = subscription;
    struct rg_es_message message = {.topic = "out", .payload = delivery->payload};
    struct rg_es_delivery other;
    uint32_t matched = 0;
    void *payload = NULL;
    rg_subscription_close(&self);
    ck_assert_ptr_nonnull(self);
    ck_assert_int_eq(rg_subscribe(seen->client, NULL, &self), RG_ERR_USAGE);
    ck_assert_int_eq(rg_subscription_next(self, 1000, &other), RG_ERR_USAGE);
    ck_assert_int_eq(rg_es_flush(seen->client, 1000), RG_ERR_USAGE);
    ck_assert_int_eq(rg_es_publish_counted(seen->client, NULL, &message, 1, &matched),
                     RG_ERR_USAGE);
    ck_assert_int_eq(rg_request(seen->client, "t", "", 0, 0, &payload, NULL), RG_ERR_USAGE);
    ck_assert_int_eq(rg_reply_message(seen->client, (struct rg_bytes){"r", 1}, &message),
                     RG_ERR_USAGE);
    ck_assert_int_eq(rg_es_publish(seen->client, "out", "1", 1), 0);
    ck_assert_int_eq(rg_es_publish_batch(seen->client, NULL, &message, 1), 0);
    ck_assert_int_eq(rg_reply(seen->client, (struct rg_bytes){"r", 1}, "2", 1), 0);
    seen_note(seen, "done ", 5);
}

TEST(a_callback_may_publish_and_reply_but_not_wait)
{
    struct fake *fake = fake_new();
    struct seen seen;
    seen_init(&seen);
    struct rg_subscribe_options options = {.on_message = on_message_try_all, .ud = &seen};
    seen.client = fake_client(fake, NULL);
    struct rg_subscription *subscription = subscribe(seen.client, &options);
    fake_es_reset(fake);
    fake_es_send(fake, "a=x");
    seen_await(&seen, "done ");
    fake_es_await(fake, "pub  out=1,out=x;rep r=2;");
    rg_subscription_close(&subscription);
    rg_close(&seen.client);
    fake_destroy(&fake);
}
