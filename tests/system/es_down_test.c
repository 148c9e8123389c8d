/* Ephemeral messages and requests while a daemon is down: what goes on, what waits and for how long, what is told when it ends, and that persistent messages
 * of the same connection are not held up. */
#include "tests/lib/test.h"
#include "tests/system/node.h"
#include "tests/system/raw.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "client/railgun.h"
#include "common/base/err.h"

enum { LONG = 30, ES_SUBSCRIBE = 57 };

struct events {
    atomic_uint got;
    atomic_uint up;
    atomic_uint down;
};

static void on_message(void *ud, struct rg_subscription *subscription,
                       const struct rg_es_delivery *delivery)
{
    struct events *self = ud;
    (void) subscription;
    (void) delivery;
    atomic_fetch_add(&self->got, 1);
}

static void on_event(void *ud, struct rg_subscription *subscription,
                     const struct rg_es_event *event)
{
    struct events *self = ud;
    (void) subscription;
    if (event->type == RG_ES_UP) {
        atomic_fetch_add(&self->up, 1);
    } else if (event->type == RG_ES_DOWN) {
        atomic_fetch_add(&self->down, 1);
    }
}

static struct rg_client *client_at(const char *addresses)
{
    struct rg_client *client = NULL;
    const struct rg_options options = {.reconnect_max_ms = 100, .request_timeout_ms = 60000};
    int result = rg_connect(addresses, &options, &client);
    ck_assert_msg(result == RG_OK, "cannot connect: %s", rg_error_name(result));
    return client;
}

static int subscribe_to(struct rg_client *client, const char *exchange, const char *group,
                        const char *matcher, struct events *events,
                        struct rg_subscription **ret_subscription)
{
    const struct rg_subscribe_options options = {.exchange = exchange,
                                                 .group = group,
                                                 .matchers = &matcher,
                                                 .matcher_count = 1,
                                                 .on_message = on_message,
                                                 .on_event = on_event,
                                                 .ud = events};
    return rg_subscribe(client, &options, ret_subscription);
}

static struct rg_subscription *subscribe(struct rg_client *client, const char *exchange,
                                         const char *matcher, struct events *events)
{
    struct rg_subscription *subscription = NULL;
    int result = subscribe_to(client, exchange, NULL, matcher, events, &subscription);
    ck_assert_msg(result == RG_OK, "cannot subscribe: %s", rg_error_name(result));
    return subscription;
}

static int publish(struct rg_client *client, const char *exchange, const char *topic,
                   uint32_t *ret_matched)
{
    const struct rg_es_message message = {.topic = topic, .payload = {"x", 1}};
    return rg_es_publish_counted(client, exchange, &message, 1, ret_matched);
}

static void expect(struct rg_client *client, const char *exchange, const char *topic,
                   uint32_t matched)
{
    uint32_t count = 99;
    int result = publish(client, exchange, topic, &count);
    ck_assert_msg(result == RG_OK, "publish: %s", rg_error_name(result));
    ck_assert_uint_eq(count, matched);
}

/* --- something that blocks, on a thread of its own --- */

struct attempt {
    pthread_t thread;
    struct rg_client *client;
    const char *topic;
    struct events *events;
    struct rg_subscription *subscription;
    bool is_subscribing;
    atomic_bool is_over;
    int result;
    uint32_t matched;
    uint64_t took_ms;
};

static void *attempt_run(void *ud)
{
    struct attempt *self = ud;
    uint64_t began_ms = now_ms();
    self->result = self->is_subscribing ? subscribe_to(self->client, NULL, NULL, self->topic,
                                                       self->events, &self->subscription)
                                        : publish(self->client, NULL, self->topic, &self->matched);
    self->took_ms = now_ms() - began_ms;
    atomic_store(&self->is_over, true);
    return NULL;
}

static void attempt_start(struct attempt *self)
{
    ck_assert_int_eq(pthread_create(&self->thread, NULL, attempt_run, self), 0);
}

static int attempt_end(struct attempt *self)
{
    ck_assert(WAIT_FOR(atomic_load(&self->is_over), LONG));
    (void) pthread_join(self->thread, NULL);
    return self->result;
}

/* --- the tests --- */

TEST_WITHIN(without_raftd_and_logd_ephemeral_messages_flow, 60)
{
    struct node *node = node_new();
    node_set(node, NODE_FRONTD, "timeouts.catalog=300ms");
    node_start_all(node);
    struct rg_client *client = client_at(node_address(node));
    struct events own = {0};
    struct events named = {0};
    struct events later = {0};
    uint32_t count = 0;
    ck_assert_int_eq(rg_exchange_ensure(client, "events", NULL, NULL), RG_OK);
    struct rg_subscription *all[4] = {subscribe(client, NULL, "#", &own),
                                      subscribe(client, "events", "#", &named)};
    node_kill(node, NODE_RAFTD);
    node_kill(node, NODE_LOGD);
    expect(client, NULL, "a", 1);
    expect(client, "events", "a", 1);
    all[2] = subscribe(client, NULL, "new.#", &later);
    all[3] = subscribe(client, "events", "new.#", &later);
    expect(client, NULL, "new.a", 2);
    expect(client, "events", "new.a", 2);
    ck_assert(WAIT_FOR(atomic_load(&own.got) == 2 && atomic_load(&named.got) == 2 &&
                           atomic_load(&later.got) == 2,
                       LONG));
    ck_assert_int_eq(publish(client, "unknown", "a", &count), RG_ERR_NOT_FOUND);
    /* A frontd that starts now knows the namespaces' own only. */
    node_kill(node, NODE_FRONTD);
    node_start(node, NODE_FRONTD);
    ck_assert(WAIT_FOR(publish(client, NULL, "a", &count) == RG_OK && count == 1, LONG));
    ck_assert(WAIT_FOR(atomic_load(&own.up) == 1, LONG));
    ck_assert_int_eq(publish(client, "events", "a", &count), RG_ERR_NO_QUORUM);
    node_start(node, NODE_RAFTD);
    node_wait_ready(node, NODE_RAFTD, LONG);
    ck_assert(WAIT_FOR(publish(client, "events", "a", &count) == RG_OK && count == 1, LONG));
    for (int i = 0; i < 4; i++) {
        rg_subscription_close(&all[i]);
    }
    rg_close(&client);
    node_destroy(&node);
}

static void check_persistent(struct rg_client *client, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        int result = rg_publish(client, "orders", "x", 1, NULL);
        ck_assert_msg(result == RG_OK, "publish: %s", rg_error_name(result));
    }
}

TEST_WITHIN(without_routerd_what_is_known_flows_and_what_is_not_waits, 60)
{
    struct node *node = node_new();
    node_set(node, NODE_FRONTD, "timeouts.request=60s"); /* the disk may be slow meanwhile */
    node_start_all(node);
    struct rg_client *client = client_at(node_address(node));
    struct rg_client *other = client_at(node_address(node));
    struct events all = {0};
    struct events late = {0};
    struct rg_subscription *subscription = subscribe(client, NULL, "#", &all);
    ck_assert_int_eq(rg_stream_ensure(client, "orders", NULL, NULL), RG_OK);
    expect(client, NULL, "known", 1);
    node_kill(node, NODE_ROUTERD);
    struct attempt unknown = {.client = client, .topic = "unknown"};
    struct attempt subscribing = {
        .client = other, .topic = "#", .is_subscribing = true, .events = &late};
    attempt_start(&unknown);
    attempt_start(&subscribing);
    /* what is behind an unknown topic waits with it; others' known topics, and all that is persistent, do not */
    for (int i = 0; i < 100; i++) {
        expect(other, NULL, "known", 1);
        check_persistent(client, 1);
    }
    ck_assert_int_eq(rg_es_publish(client, "known", "x", 1), RG_OK);
    check_persistent(client, 20);
    ck_assert(!atomic_load(&unknown.is_over));
    ck_assert(!atomic_load(&subscribing.is_over));
    ck_assert_uint_eq(atomic_load(&all.got), 101);
    node_start(node, NODE_ROUTERD);
    ck_assert_int_eq(attempt_end(&unknown), RG_OK);
    ck_assert_int_eq(attempt_end(&subscribing), RG_OK);
    ck_assert(WAIT_FOR(atomic_load(&all.got) == 103, LONG));
    expect(client, NULL, "another", 2);
    rg_subscription_close(&subscription);
    rg_subscription_close(&subscribing.subscription);
    rg_close(&other);
    rg_close(&client);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(without_routerd_for_long_what_waits_is_refused_in_time, 60)
{
    struct node *node = node_new();
    node_set(node, NODE_FRONTD, "timeouts.request=3s");
    node_start_all(node);
    struct rg_client *client = client_at(node_address(node));
    struct rg_client *other = client_at(node_address(node));
    struct events events = {0};
    struct rg_subscription *subscription = subscribe(other, NULL, "known", &events);
    void *reply = NULL;
    expect(client, NULL, "known", 1);
    node_kill(node, NODE_ROUTERD);
    struct attempt unknown = {.client = client, .topic = "unknown"};
    struct raw *raw = raw_open(node);
    Railgun__EsSubscribe subscribe_body = RAILGUN__ES_SUBSCRIBE__INIT;
    attempt_start(&unknown);
    ck_assert(raw_send(raw, 1, 2, ES_SUBSCRIBE, &subscribe_body.base));
    ck_assert_int_eq(attempt_end(&unknown), RG_ERR_NO_QUORUM);
    ck_assert_int_eq(raw_error_code(raw, LONG), -ERR_NO_QUORUM);
    raw_close(&raw);
    int result = rg_request(other, "nobody", "x", 1, 500, &reply, NULL);
    ck_assert_msg(result == RG_ERR_RS_TIMEOUT, "%s", rg_error_name(result));
    result = rg_request(other, "nobody", "x", 1, 30000, &reply, NULL);
    ck_assert_msg(result == RG_ERR_NO_QUORUM, "%s", rg_error_name(result));
    expect(client, NULL, "known", 1);
    node_start(node, NODE_ROUTERD);
    ck_assert(WAIT_FOR(publish(client, NULL, "other", &unknown.matched) == RG_OK, LONG));
    ck_assert_uint_eq(unknown.matched, 0);
    rg_subscription_close(&subscription);
    rg_close(&other);
    rg_close(&client);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(clients_subscribe_again_when_their_frontd_was_restarted, 60)
{
    struct node *node = node_new();
    node_start_all(node);
    struct rg_client *client = client_at(node_address(node));
    struct rg_client *publisher = client_at(node_address(node));
    struct events events[2] = {{0}};
    struct rg_subscription *subscriptions[2] = {subscribe(client, NULL, "a.*", &events[0]),
                                                subscribe(client, NULL, "#", &events[1])};
    uint32_t count = 0;
    for (unsigned i = 1; i <= 3; i++) {
        expect(publisher, NULL, "a.b", 2);
        ck_assert(
            WAIT_FOR(atomic_load(&events[0].got) == i && atomic_load(&events[1].got) == i, LONG));
        if (i < 3) {
            node_restart(node, NODE_FRONTD);
            ck_assert(
                WAIT_FOR(atomic_load(&events[0].up) == i && atomic_load(&events[1].up) == i, LONG));
            ck_assert(WAIT_FOR(publish(publisher, NULL, "$nobody", &count) == RG_OK, LONG));
        }
    }
    ck_assert_uint_eq(atomic_load(&events[0].down), 2);
    rg_subscription_close(&subscriptions[0]);
    rg_subscription_close(&subscriptions[1]);
    rg_close(&client);
    rg_close(&publisher);
    node_stop_all(node);
    node_destroy(&node);
}

/* --- draining --- */

struct outcome {
    atomic_uint finals;
    atomic_int result;
};

static void on_reply(void *ud, int result, bool more, const struct rg_es_delivery *reply)
{
    struct outcome *self = ud;
    (void) reply;
    if (!more) {
        atomic_store(&self->result, result);
        atomic_fetch_add(&self->finals, 1);
    }
}

static void check_drain(struct node *node, struct rg_client *publisher, struct events *members)
{
    struct rg_client *asker = client_at(node_address(node));
    struct outcome outcomes[20] = {{0}};
    uint32_t matched = 0;
    unsigned sent = 0;
    int status = 0;
    for (int i = 0; i < 20; i++) {
        const struct rg_es_message message = {.topic = "ask"};
        const struct rg_request_options options = {.timeout_ms = 60000};
        ck_assert_int_eq(rg_request_async(asker, &message, &options, on_reply, &outcomes[i], NULL),
                         RG_OK);
    }
    ck_assert(WAIT_FOR(atomic_load(&members[2].got) == 20, LONG));
    node_signal(node, NODE_FRONTD, SIGTERM);
    while (!node_wait_end(node, NODE_FRONTD, 0.01, &status)) {
        ck_assert_int_eq(publish(publisher, NULL, "job", &matched), RG_OK);
        ck_assert_uint_eq(matched, 1);
        sent++;
    }
    ck_assert_int_eq(status, 0);
    for (int i = 0; i < 20; i++) {
        ck_assert(WAIT_FOR(atomic_load(&outcomes[i].finals) == 1, LONG));
        ck_assert_msg(atomic_load(&outcomes[i].result) == RG_ERR_RS_CANCELLED, "%s",
                      rg_error_name(atomic_load(&outcomes[i].result)));
    }
    /* the other's member had all, but for what was on its way to the one that left */
    ck_assert(WAIT_FOR(atomic_load(&members[0].got) + atomic_load(&members[1].got) == sent, LONG));
    rg_close(&asker);
}

TEST_WITHIN(a_frontd_that_drains_ends_requests_and_hands_over, 60)
{
    struct node *node = node_new();
    node_start_all(node);
    node_start(node, NODE_FRONTD_1);
    node_wait_ready(node, NODE_FRONTD_1, LONG);
    struct rg_client *client = client_at(node_address(node));
    struct rg_client *other = client_at(node_address_of(node, NODE_FRONTD_1));
    struct events members[3] = {{0}};
    struct rg_subscription *subscriptions[3] = {NULL};
    ck_assert_int_eq(subscribe_to(client, NULL, "workers", "job", &members[0], &subscriptions[0]),
                     RG_OK);
    ck_assert_int_eq(subscribe_to(other, NULL, "workers", "job", &members[1], &subscriptions[1]),
                     RG_OK);
    ck_assert_int_eq(subscribe_to(other, NULL, NULL, "ask", &members[2], &subscriptions[2]), RG_OK);
    check_drain(node, other, members);
    node_start(node, NODE_FRONTD);
    ck_assert(WAIT_FOR(atomic_load(&members[0].up) == 1, LONG));
    for (int i = 0; i < 3; i++) {
        rg_subscription_close(&subscriptions[i]);
    }
    rg_close(&client);
    rg_close(&other);
    node_stop_all(node);
    node_destroy(&node);
}
