/* Slow subscribers of ephemeral messages: a thousand that do not read at full rate cost nobody else anything and a bounded amount of memory; each is told
 * exactly what it missed, by its policy. */
#include "tests/lib/test.h"
#include "tests/system/node.h"
#include "tests/system/raw.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/railgun.h"
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/wire/es.h"
#include "common/wire/scan.h"

enum {
    LONG = 30,
    STALLED = 1000,
    TOPICS = 20,
    PAYLOAD_BYTES = 1000,
    WINDOW = 500, /* with what is published between two looks far less than what a queue may take */
    ES_DELIVER = 10,
    ES_SUBSCRIBE = 57,
    ES_SUBSCRIBE_OK = 58,
    CEILING_MIB = 512,
};

/* --- subscribers by frames, which read when they are told to --- */

static struct raw *stalled_open(const struct node *node, char *matcher,
                                Railgun__EsSubscribe__Policy policy, uint32_t max_messages)
{
    struct raw *raw = raw_open(node);
    struct raw_frame frame;
    Railgun__EsSubscribe subscribe = RAILGUN__ES_SUBSCRIBE__INIT;
    subscribe.n_matchers = 1;
    subscribe.matchers = &matcher;
    subscribe.has_policy = true;
    subscribe.policy = policy;
    subscribe.has_max_messages = max_messages > 0;
    subscribe.max_messages = max_messages;
    ck_assert(raw_send(raw, 1, 2, ES_SUBSCRIBE, &subscribe.base));
    raw_expect(raw, ES_SUBSCRIBE_OK, &frame);
    return raw;
}

struct seen {
    uint64_t delivered;
    uint64_t dropped;
    uint64_t last; /* number of the last message */
    unsigned out_of_order;
    unsigned gaps; /* numbers left out without having been told of before */
    uint64_t told;
};

static void take_delivery(struct seen *self, struct span messages)
{
    struct es_limits limits = es_limits_default();
    struct es_message message;
    while (es_next(&messages, &limits, &message) == 1) {
        uint64_t n = 0;
        memcpy(&n, message.payload.data, sizeof(n));
        self->out_of_order += n <= self->last;
        self->last = n;
        self->delivered++;
    }
}

static void take_event(struct seen *self, struct span body)
{
    Railgun__GroupEvent *event = NULL;
    ck_assert_int_eq(SCAN_UNPACK(body, railgun__group_event, &event), 0);
    ck_assert_int_eq(event->type, RAILGUN__GROUP_EVENT__TYPE__EVENT_DROPPED);
    ck_assert_ptr_nonnull(event->first_topic);
    ck_assert_ptr_nonnull(event->last_topic);
    self->dropped += event->count;
    SCAN_FREE(&event);
}

/* Read until `total` messages are accounted for, delivered or told of. */
static void read_all(struct raw *raw, struct seen *self, uint64_t total)
{
    uint64_t deadline = deadline_in(LONG);
    while (self->delivered + self->dropped < total && now_ms() < deadline) {
        struct raw_frame frame;
        if (raw_receive(raw, 1, &frame) != RAW_FRAME) {
            continue;
        }
        if (frame.field == ES_DELIVER) {
            take_delivery(self, frame.body);
        } else if (frame.field == RAW_GROUP_EVENT) {
            take_event(self, frame.body);
        }
    }
    ck_assert_uint_eq(self->delivered + self->dropped, total);
    ck_assert_uint_eq(self->out_of_order, 0);
}

/* --- a publisher, and a subscriber that is quick --- */

struct quick {
    _Atomic uint64_t received;
    _Atomic uint64_t dropped;
    uint64_t next;
    atomic_uint wrong;
};

static void on_message(void *ud, struct rg_subscription *subscription,
                       const struct rg_es_delivery *delivery)
{
    struct quick *self = ud;
    uint64_t n = 0;
    (void) subscription;
    memcpy(&n, delivery->payload.data, sizeof(n));
    self->next++;
    if (n != self->next) {
        atomic_fetch_add(&self->wrong, 1);
    }
    atomic_fetch_add(&self->received, 1);
}

static void on_event(void *ud, struct rg_subscription *subscription,
                     const struct rg_es_event *event)
{
    struct quick *self = ud;
    (void) subscription;
    if (event->type == RG_ES_DROPPED) {
        atomic_fetch_add(&self->dropped, event->count);
    }
}

/* Who stalls says nothing either, and on a busy machine for longer than a silent peer is kept by default. */
static struct node *node_new_patient(void)
{
    struct node *node = node_new();
    node_set(node, NODE_FRONTD, "timeouts.heartbeat=60s");
    node_start_all(node);
    return node;
}

static struct rg_client *client_new(const struct node *node)
{
    struct rg_client *client = NULL;
    ck_assert_int_eq(rg_connect(node_address(node), NULL, &client), RG_OK);
    return client;
}

/* Numbered messages 1..count over some topics, as fast as `quick` (NULL: nobody) takes them. */
static void publish(struct rg_client *client, uint64_t first, uint64_t count, struct quick *quick)
{
    uint8_t payload[PAYLOAD_BYTES] = {0};
    for (uint64_t n = first; n < first + count; n++) {
        char topic[32];
        (void) snprintf(topic, sizeof(topic), "news.%u", (unsigned) (n % TOPICS));
        memcpy(payload, &n, sizeof(n));
        ck_assert_int_eq(rg_es_publish(client, topic, payload, sizeof(payload)), RG_OK);
        if (quick != NULL && n % 256 == 0) {
            ck_assert_msg(WAIT_FOR(n - atomic_load(&quick->received) < WINDOW, LONG),
                          "the quick subscriber is held up");
        }
    }
    ck_assert_int_eq(rg_es_flush(client, 10000), RG_OK);
}

static Railgun__DescribeOk *info(const struct node *node)
{
    struct raw *raw = raw_open(node);
    struct raw_frame frame;
    Railgun__DescribeOk *answer = NULL;
    Railgun__Describe describe = RAILGUN__DESCRIBE__INIT;
    describe.has_kind = true;
    describe.kind = RAILGUN__KIND__KIND_EXCHANGE;
    ck_assert(raw_send(raw, 0, 3, RAW_DESCRIBE, &describe.base));
    raw_expect(raw, RAW_DESCRIBE_OK, &frame);
    ck_assert_int_eq(SCAN_UNPACK(frame.body, railgun__describe_ok, &answer), 0);
    ck_assert_ptr_nonnull(answer->exchange);
    raw_close(&raw);
    return answer;
}

static void check_sums(const struct node *node, uint64_t published)
{
    Railgun__DescribeOk *answer = info(node);
    const Railgun__ExchangeInfo *exchange = answer->exchange;
    ck_assert_uint_eq(exchange->published, published);
    ck_assert_uint_eq(exchange->matched,
                      exchange->delivered + exchange->dropped + exchange->queued);
    SCAN_FREE(&answer);
}

/* --- the tests --- */

TEST_WITHIN(a_thousand_stalled_subscribers_cost_nobody_else_anything, 180)
{
    enum { COUNT = 100000 };
    struct node *node = node_new_patient();
    struct raw **stalled = MEM_NEW_ARRAY(STALLED, struct raw *);
    struct quick quick = {0};
    static const char *const matchers[] = {"news.#"};
    char all[] = "#";
    char one[] = "news.7";
    for (int i = 0; i < STALLED; i++) {
        stalled[i] = stalled_open(node, i % 2 == 0 ? all : one,
                                  i % 3 == 0 ? RAILGUN__ES_SUBSCRIBE__POLICY__DROP_NEW
                                             : RAILGUN__ES_SUBSCRIBE__POLICY__DROP_OLD,
                                  0);
    }
    struct rg_client *publisher = client_new(node);
    struct rg_client *subscriber = client_new(node);
    struct rg_subscription *subscription = NULL;
    ck_assert_int_eq(rg_subscribe(subscriber,
                                  &(struct rg_subscribe_options){.matchers = matchers,
                                                                 .matcher_count = 1,
                                                                 .on_message = on_message,
                                                                 .on_event = on_event,
                                                                 .ud = &quick},
                                  &subscription),
                     RG_OK);
    publish(publisher, 1, COUNT, &quick);
    bool is_whole = WAIT_FOR(atomic_load(&quick.received) == COUNT, LONG);
    ck_assert_msg(is_whole, "of %d messages %lu came, %lu were dropped", COUNT,
                  atomic_load(&quick.received), atomic_load(&quick.dropped));
    ck_assert_uint_eq(atomic_load(&quick.wrong), 0);
    ck_assert_uint_eq(atomic_load(&quick.dropped), 0);
    uint64_t rss = node_rss_bytes(node, NODE_FRONTD);
    ck_assert_msg(deadline_in(10) - now_ms() > 10500 || rss < (uint64_t) CEILING_MIB << 20,
                  "frontd has %lu MiB", (unsigned long) (rss >> 20));
    check_sums(node, COUNT);
    /* and what two of them find when they read at last */
    struct seen seen[2] = {{0}, {0}};
    read_all(stalled[0], &seen[0], COUNT);
    read_all(stalled[2], &seen[1], COUNT);
    ck_assert_uint_gt(seen[0].dropped, 0);
    ck_assert_uint_gt(seen[1].dropped, 0);
    ck_assert_uint_eq(seen[1].last, COUNT); /* drop_old: the newest is there */
    ck_assert_uint_lt(seen[0].last, COUNT); /* drop_new: the oldest are */
    for (int i = 0; i < STALLED; i++) {
        raw_close(&stalled[i]);
    }
    ck_assert(WAIT_FOR(node_is_running(node, NODE_FRONTD), LONG));
    check_sums(node, COUNT);
    rg_subscription_close(&subscription);
    rg_close(&subscriber);
    rg_close(&publisher);
    mem_free(stalled);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(conflate_keeps_the_newest_of_each_topic, 60)
{
    enum { COUNT = 40000 };
    struct node *node = node_new_patient();
    char all[] = "news.#";
    struct raw *raw = stalled_open(node, all, RAILGUN__ES_SUBSCRIBE__POLICY__CONFLATE, 0);
    struct rg_client *publisher = client_new(node);
    struct seen seen = {0};
    publish(publisher, 1, COUNT, NULL);
    read_all(raw, &seen, COUNT);
    ck_assert_uint_gt(seen.dropped, 0);
    ck_assert_uint_eq(seen.last, COUNT);
    /* What waited at the end was one message a topic: the last ones, in their order, which read_all has seen. */
    publish(publisher, COUNT + 1, TOPICS, NULL);
    read_all(raw, &seen, COUNT + TOPICS);
    ck_assert_uint_eq(seen.last, COUNT + TOPICS);
    raw_close(&raw);
    rg_close(&publisher);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(disconnect_closes_the_slow_one_and_says_why, 60)
{
    struct node *node = node_new_patient();
    char all[] = "#";
    struct raw *raw = stalled_open(node, all, RAILGUN__ES_SUBSCRIBE__POLICY__DISCONNECT, 100);
    struct rg_client *publisher = client_new(node);
    struct buf bytes = {0};
    publish(publisher, 1, 40000, NULL);
    ck_assert(raw_drain_until_closed(raw, LONG, &bytes));
    buf_release(&bytes);
    raw_close(&raw);
    Railgun__DescribeOk *answer = info(node);
    ck_assert_uint_eq(answer->exchange->subscriptions, 0);
    SCAN_FREE(&answer);
    rg_close(&publisher);
    node_stop_all(node);
    node_destroy(&node);
}

/* --- limits --- */

static int subscribe_code(struct raw *raw, uint32_t channel, char **matchers, size_t count)
{
    struct raw_frame frame;
    Railgun__EsSubscribe subscribe = RAILGUN__ES_SUBSCRIBE__INIT;
    subscribe.n_matchers = count;
    subscribe.matchers = matchers;
    ck_assert(raw_send(raw, channel, channel + 100, ES_SUBSCRIBE, &subscribe.base));
    do {
        ck_assert_int_eq(raw_receive(raw, LONG, &frame), RAW_FRAME);
    } while (frame.field == ES_DELIVER); /* of those that are open */
    ck_assert_msg(frame.field == ES_SUBSCRIBE_OK || frame.field == RAW_ERROR, "field %u",
                  frame.field);
    return raw_code_of(&frame);
}

static int publish_code(struct rg_client *client, const char *topic, uint32_t *ret_matched)
{
    const struct rg_es_message message = {.topic = topic, .payload = {"x", 1}};
    return rg_es_publish_counted(client, NULL, &message, 1, ret_matched);
}

TEST_WITHIN(limits_are_typed_errors, 60)
{
    struct node *node = node_new();
    node_set(node, NODE_FRONTD, "limits.subscriptions=3");
    node_set(node, NODE_FRONTD, "limits.topics=10");
    node_set(node, NODE_ROUTERD, "limits.fanout=5");
    node_start_all(node);
    struct raw *raw = raw_open(node);
    char good[] = "a.*";
    char bad[] = "a..b";
    char *one[] = {good};
    char *wrong[] = {bad};
    char *many[65];
    for (int i = 0; i < 65; i++) {
        many[i] = good;
    }
    ck_assert_int_eq(subscribe_code(raw, 1, one, 1), 0);
    ck_assert_int_eq(subscribe_code(raw, 1, one, 1), -ERR_CHANNEL);
    ck_assert_int_eq(subscribe_code(raw, 2, wrong, 1), -ERR_BAD_REQUEST);
    ck_assert_int_eq(subscribe_code(raw, 2, many, 65), -ERR_QUOTA);
    ck_assert_int_eq(subscribe_code(raw, 2, one, 1), 0);
    ck_assert_int_eq(subscribe_code(raw, 3, one, 1), 0);
    ck_assert_int_eq(subscribe_code(raw, 4, one, 1), -ERR_QUOTA);
    struct rg_client *client = client_new(node);
    uint32_t matched = 9;
    ck_assert_int_eq(publish_code(client, "a.b", &matched), RG_OK);
    ck_assert_uint_eq(matched, 3);
    ck_assert_int_eq(publish_code(client, "nobody", &matched), RG_OK);
    ck_assert_uint_eq(matched, 0);
    ck_assert_int_eq(publish_code(client, "no topic", &matched), RG_ERR_BAD_REQUEST);
    /* more entities than one message may go to */
    struct raw *more = raw_open(node);
    ck_assert_int_eq(subscribe_code(more, 1, one, 1), 0);
    ck_assert_int_eq(subscribe_code(more, 2, one, 1), 0);
    ck_assert_int_eq(publish_code(client, "a.b", &matched), RG_OK);
    ck_assert_uint_eq(matched, 5);
    ck_assert_int_eq(subscribe_code(more, 3, one, 1), 0);
    ck_assert_int_eq(publish_code(client, "a.b", &matched), RG_ERR_QUOTA);
    raw_close(&more);
    ck_assert(WAIT_FOR(publish_code(client, "a.b", &matched) == RG_OK && matched == 3, LONG));
    /* more topics than may be in use at a time */
    int code = RG_OK;
    for (int i = 0; i < 20 && code == RG_OK; i++) {
        char topic[32];
        (void) snprintf(topic, sizeof(topic), "fresh.%d", i);
        code = publish_code(client, topic, &matched);
    }
    ck_assert_int_eq(code, RG_ERR_QUOTA);
    ck_assert_int_eq(publish_code(client, "a.b", &matched), RG_OK); /* known ones flow */
    raw_close(&raw);
    rg_close(&client);
    node_stop_all(node);
    node_destroy(&node);
}
