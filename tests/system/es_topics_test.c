/* Topics, exchanges and groups over two frontds and two routerds: who gets a message and who does not, how often, in which order, and which limits hold. */
#include "tests/lib/test.h"
#include "tests/system/node.h"
#include "tests/system/raw.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "client/railgun.h"
#include "common/base/err.h"
#include "common/base/mem.h"

enum { LONG = 30, ES_SUBSCRIBE = 57, ES_SUBSCRIBE_OK = 58 };

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static struct rg_client *client_in(const struct node *node, enum node_daemon frontd,
                                   const char *namespace_)
{
    struct rg_client *client = NULL;
    const struct rg_options options = {.reconnect_max_ms = 200, .namespace_ = namespace_};
    int result = rg_connect(node_address_of(node, frontd), &options, &client);
    ck_assert_msg(result == RG_OK, "cannot connect to %s: %s", node_daemon_name(frontd),
                  rg_error_name(result));
    return client;
}

static struct rg_client *client_of(const struct node *node, enum node_daemon frontd)
{
    return client_in(node, frontd, NULL);
}

static struct node *node_of_two(void)
{
    struct node *node = node_new();
    node_start_all(node);
    node_start(node, NODE_FRONTD_1);
    node_start(node, NODE_ROUTERD_1);
    node_wait_ready(node, NODE_FRONTD_1, LONG);
    node_wait_ready(node, NODE_ROUTERD_1, LONG);
    return node;
}

static void node_end(struct node **node)
{
    node_stop_all(*node);
    node_destroy(node);
}

/* --- a subscriber that counts --- */

enum { NUMBERS_MAX = 4096, PROBE = NUMBERS_MAX - 1 };

struct subscriber {
    struct rg_subscription *subscription;
    atomic_uint got;
    atomic_uint wrong;           /* out of order */
    atomic_int closed;           /* the code */
    atomic_uint of[NUMBERS_MAX]; /* by the number in the payload */
    _Atomic uint32_t last;       /* the payload before, for is_ordered */
    bool is_ordered;             /* payloads must be 1, 2, 3 ... */
};

static void on_message(void *ud, struct rg_subscription *subscription,
                       const struct rg_es_delivery *delivery)
{
    struct subscriber *self = ud;
    uint32_t number = 0;
    (void) subscription;
    TEST_ASSERT_FAST(delivery->payload.size == sizeof(number));
    memcpy(&number, delivery->payload.data, sizeof(number));
    if (self->is_ordered && number != atomic_load(&self->last) + 1) {
        atomic_fetch_add(&self->wrong, 1);
    }
    atomic_store(&self->last, number);
    atomic_fetch_add(&self->of[number % NUMBERS_MAX], 1);
    atomic_fetch_add(&self->got, 1);
}

static void on_event(void *ud, struct rg_subscription *subscription,
                     const struct rg_es_event *event)
{
    struct subscriber *self = ud;
    (void) subscription;
    if (event->type == RG_ES_CLOSED) {
        atomic_store(&self->closed, event->code);
    }
}

struct wants {
    const char *exchange;
    const char *group;
    bool sticky;
    uint64_t credit;
};

static int subscribe(struct subscriber *self, struct rg_client *client, const struct wants *wants,
                     const char *const *matchers, size_t count)
{
    const struct rg_subscribe_options options = {
        .exchange = wants != NULL ? wants->exchange : NULL,
        .group = wants != NULL ? wants->group : NULL,
        .sticky_by_key = wants != NULL && wants->sticky,
        .credit_messages = wants != NULL ? wants->credit : 0,
        .matchers = matchers,
        .matcher_count = count,
        .on_message = on_message,
        .on_event = on_event,
        .ud = self,
    };
    return rg_subscribe(client, &options, &self->subscription);
}

static void subscriber_start(struct subscriber *self, struct rg_client *client,
                             const struct wants *wants, const char *matcher)
{
    int result = subscribe(self, client, wants, &matcher, 1);
    ck_assert_msg(result == RG_OK, "cannot subscribe to %s: %s", matcher, rg_error_name(result));
}

static unsigned got(struct subscriber *self)
{
    return atomic_load(&self->got);
}

static unsigned got_all(struct subscriber *all, size_t count)
{
    unsigned sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += got(&all[i]);
    }
    return sum;
}

static struct subscriber *subscribers_new(size_t count)
{
    return MEM_NEW_ARRAY(count, struct subscriber);
}

static void subscribers_close(struct subscriber *all, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        rg_subscription_close(&all[i].subscription);
    }
    mem_free(all);
}

/* --- publishing --- */

static int publish(struct rg_client *client, const char *exchange, const char *topic,
                   uint32_t number, uint32_t *ret_matched)
{
    const struct rg_es_message message = {.topic = topic, .payload = {&number, sizeof(number)}};
    return rg_es_publish_counted(client, exchange, &message, 1, ret_matched);
}

static uint32_t matched(struct rg_client *client, const char *exchange, const char *topic)
{
    uint32_t result = 0;
    int error = publish(client, exchange, topic, PROBE, &result);
    ck_assert_msg(error == RG_OK, "publish to '%s': %s", topic, rg_error_name(error));
    return result;
}

static void post(struct rg_client *client, const char *topic, uint32_t number, const char *key)
{
    const struct rg_es_message message = {.topic = topic,
                                          .payload = {&number, sizeof(number)},
                                          .key = {key, key != NULL ? strlen(key) : 0}};
    TEST_ASSERT_FAST(rg_es_publish_batch(client, NULL, &message, 1) == RG_OK);
}

/* --- which topics match --- */

/* The simplest thing that is right. */
static bool words_match(const char *matcher, const char *topic)
{
    size_t word = strcspn(matcher, ".");
    const char *rest = matcher[word] == '.' ? matcher + word + 1 : matcher + word;
    size_t topic_word = strcspn(topic, ".");
    const char *topic_rest = topic[topic_word] == '.' ? topic + topic_word + 1 : topic + topic_word;
    if (*matcher == 0) {
        return *topic == 0;
    }
    if (word == 1 && *matcher == '#') {
        return words_match(rest, topic) || (*topic != 0 && words_match(matcher, topic_rest));
    }
    if (*topic == 0) {
        return false;
    }
    bool is_same =
        (word == 1 && *matcher == '*') || (word == topic_word && memcmp(matcher, topic, word) == 0);
    return is_same && words_match(rest, topic_rest);
}

static bool is_match(const char *matcher, const char *topic)
{
    if (*topic == '$' && *matcher != '$') {
        return false;
    }
    return words_match(matcher, topic);
}

static const char *const matchers[] = {
    "#",       "*",     "",        "a",       "a.b",  "a.*",    "*.b",    "a.#",
    "#.b",     "#.a.#", "*.*",     "*.#",     "#.*",  "a.#.b",  "#.#",    "a.*.#",
    "#.b.#.d", "*.*.*", "a.#.#.b", "#.*.#.c", "$sys", "$sys.#", "$sys.*",
};
static const char *const topics[] = {
    "",        "a",     "b",       "a.b",      "b.a",         "a.a", "a.b.c",
    "a.c.b",   "b.b.d", "a.b.c.d", "x.b.y.d",  "a.x.y.z.b",   "A.b", "a-b",
    "a_1.B-2", "$sys",  "$sys.up", "$sys.a.b", "b.x.y.z.d.c",
};
enum { MATCHERS = COUNT_OF(matchers), TOPICS = COUNT_OF(topics) };

static uint32_t expected(const char *topic)
{
    uint32_t count = 0;
    for (size_t m = 0; m < MATCHERS; m++) {
        count += is_match(matchers[m], topic);
    }
    return count;
}

static void check_table(struct subscriber *subscribers, struct rg_client *const *clients)
{
    unsigned sum = 0;
    for (uint32_t t = 0; t < TOPICS; t++) {
        for (uint32_t p = 0; p < 2; p++) {
            uint32_t count = UINT32_MAX;
            ck_assert_int_eq(publish(clients[p], NULL, topics[t], t * 2 + p, &count), RG_OK);
            ck_assert_msg(count == expected(topics[t]), "'%s' matches %u, not %u", topics[t], count,
                          expected(topics[t]));
            sum += count;
        }
    }
    ck_assert(WAIT_FOR(got_all(subscribers, MATCHERS) >= sum, LONG));
    ck_assert_uint_eq(got_all(subscribers, MATCHERS), sum);
    for (uint32_t m = 0; m < MATCHERS; m++) {
        for (uint32_t t = 0; t < TOPICS * 2; t++) {
            bool is_wanted = is_match(matchers[m], topics[t / 2]);
            ck_assert_msg(atomic_load(&subscribers[m].of[t]) == is_wanted, "'%s' and '%s': %u",
                          matchers[m], topics[t / 2], atomic_load(&subscribers[m].of[t]));
        }
    }
}

/* One call with many messages: a number for each. */
static void check_receipts(struct rg_client *client)
{
    enum { MESSAGES = 3000 };
    struct rg_es_message *messages = MEM_NEW_ARRAY(MESSAGES, struct rg_es_message);
    uint32_t *counts = MEM_NEW_ARRAY(MESSAGES, uint32_t);
    uint32_t number = 0;
    for (size_t i = 0; i < MESSAGES; i++) {
        messages[i] = (struct rg_es_message){.topic = topics[i / 3 * 7 % TOPICS],
                                             .payload = {&number, sizeof(number)}};
    }
    ck_assert_int_eq(rg_es_publish_counted(client, NULL, messages, MESSAGES, counts), RG_OK);
    for (size_t i = 0; i < MESSAGES; i++) {
        TEST_ASSERT_FAST(counts[i] == expected(messages[i].topic));
    }
    /* one that is wrong: nothing is published */
    messages[MESSAGES / 2].topic = "a..b";
    ck_assert_int_eq(rg_es_publish_counted(client, NULL, messages, MESSAGES, counts),
                     RG_ERR_BAD_REQUEST);
    mem_free(messages);
    mem_free(counts);
}

TEST_WITHIN(topics_match_as_amqp_says, 60)
{
    struct node *node = node_of_two();
    struct rg_client *clients[] = {client_of(node, NODE_FRONTD), client_of(node, NODE_FRONTD_1)};
    struct subscriber *all = subscribers_new(MATCHERS);
    for (size_t m = 0; m < MATCHERS; m++) {
        subscriber_start(&all[m], clients[m % 2], NULL, matchers[m]);
    }
    check_table(all, clients);
    check_receipts(clients[1]);
    static const char *const wrong[] = {"a..b", ".a",  "a.",   "a b",     "a.*b",
                                        "##",   "a/b", "a.$b", "\xc3\xa4"};
    struct subscriber *other = subscribers_new(2);
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        uint32_t count = 0;
        ck_assert_int_eq(subscribe(other, clients[0], NULL, &wrong[i], 1), RG_ERR_BAD_REQUEST);
        ck_assert_int_eq(publish(clients[0], NULL, wrong[i], 0, &count), RG_ERR_BAD_REQUEST);
    }
    /* several matchers, one copy; none: all but `$` */
    subscribers_close(all, MATCHERS);
    static const char *const several[] = {"a.*", "a.#", "#.b", "a.b", "a.b"};
    ck_assert_int_eq(subscribe(&other[0], clients[0], NULL, several, COUNT_OF(several)), RG_OK);
    ck_assert_int_eq(subscribe(&other[1], clients[1], NULL, NULL, 0), RG_OK);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_uint_eq(matched(clients[i], NULL, "a.b"), 2);
        ck_assert_uint_eq(matched(clients[i], NULL, "x"), 1);
        ck_assert_uint_eq(matched(clients[i], NULL, "$a.b"), 0);
    }
    ck_assert(WAIT_FOR(got(&other[0]) >= 2 && got(&other[1]) >= 4, LONG));
    ck_assert_uint_eq(got(&other[0]), 2);
    ck_assert_uint_eq(got(&other[1]), 4);
    subscribers_close(other, 2);
    rg_close(&clients[0]);
    rg_close(&clients[1]);
    node_end(&node);
}

/* --- order --- */

TEST_WITHIN(order_holds_over_topics_known_and_new_and_over_two_frontds, 90)
{
    enum { MESSAGES = 100000 };
    struct node *node = node_of_two();
    struct rg_client *clients[] = {client_of(node, NODE_FRONTD), client_of(node, NODE_FRONTD_1)};
    struct rg_client *publisher = client_of(node, NODE_FRONTD);
    struct subscriber *all = subscribers_new(4);
    static const char *const wanted[] = {"#", "t.#", "#.x", "*.*.x"};
    for (int i = 0; i < 4; i++) {
        all[i].is_ordered = true;
        subscriber_start(&all[i], clients[i % 2], NULL, wanted[i]);
    }
    for (uint32_t n = 1; n <= MESSAGES; n++) {
        char topic[32];
        /* every seventh is new, the others are known or were seen a moment ago */
        (void) snprintf(topic, sizeof(topic), "t.%u.x", n % 7 == 0 ? n + 1000 : n / 50 % 20);
        post(publisher, topic, n, NULL);
    }
    for (int i = 0; i < 4; i++) {
        ck_assert(WAIT_FOR(got(&all[i]) >= MESSAGES, LONG));
        ck_assert_uint_eq(atomic_load(&all[i].wrong), 0);
    }
    subscribers_close(all, 4);
    rg_close(&publisher);
    rg_close(&clients[0]);
    rg_close(&clients[1]);
    node_end(&node);
}

/* --- exchanges and namespaces --- */

static void check_worlds(const struct node *node, struct rg_client *const *clients)
{
    struct rg_client *other = client_in(node, NODE_FRONTD_1, "other");
    struct subscriber *all = subscribers_new(5);
    const struct wants events = {.exchange = "events"};
    subscriber_start(&all[0], clients[0], NULL, "#");
    subscriber_start(&all[1], clients[1], &events, "#");
    subscriber_start(&all[2], other, NULL, "#");
    ck_assert_int_eq(rg_exchange_ensure(other, "events", NULL, NULL), RG_OK);
    subscriber_start(&all[3], other, &events, "#");
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t count = 0;
        ck_assert_int_eq(publish(clients[i], NULL, "a", 1, &count), RG_OK);
        ck_assert_uint_eq(count, 1);
        ck_assert_int_eq(publish(clients[i], "events", "a", 2, &count), RG_OK);
        ck_assert_uint_eq(count, 1);
    }
    ck_assert_uint_eq(matched(other, NULL, "a"), 1);
    ck_assert_uint_eq(matched(other, "events", "a"), 1);
    ck_assert(WAIT_FOR(
        got(&all[0]) == 2 && got(&all[1]) == 2 && got(&all[2]) == 1 && got(&all[3]) == 1, LONG));
    ck_assert_uint_eq(atomic_load(&all[0].of[1]), 2);
    ck_assert_uint_eq(atomic_load(&all[1].of[2]), 2);
    ck_assert_uint_eq(atomic_load(&all[2].of[PROBE]), 1);
    /* what is deleted in one is there in the other */
    ck_assert_int_eq(rg_exchange_delete(clients[0], "events"), RG_OK);
    ck_assert(WAIT_FOR(atomic_load(&all[1].closed) == RG_ERR_NOT_FOUND, LONG));
    ck_assert_uint_eq(matched(other, "events", "a"), 1);
    ck_assert_int_eq(atomic_load(&all[3].closed), 0);
    uint32_t count = 0;
    for (int i = 0; i < 2; i++) {
        ck_assert(
            WAIT_FOR(publish(clients[i], "events", "a", 1, &count) == RG_ERR_NOT_FOUND, LONG));
        ck_assert_int_eq(subscribe(&all[4], clients[i], &events, NULL, 0), RG_ERR_NOT_FOUND);
    }
    subscribers_close(all, 5);
    rg_close(&other);
}

static int try_subscribe(struct subscriber *self, struct rg_client *client,
                         const struct wants *wants)
{
    const char *one = "a.#";
    return subscribe(self, client, wants, &one, 1);
}

/* The limits of an exchange are those of all frontds together, but for topics. */
static void check_limits(const struct node *node, struct rg_client *const *clients)
{
    const struct wants wants = {.exchange = "small"};
    struct subscriber *all = subscribers_new(8);
    uint32_t count = 0;
    struct rg_exchange_spec spec = {.max_subscriptions = 4, .max_topics = 5, .max_fanout = 3};
    ck_assert_int_eq(rg_exchange_ensure(clients[0], "small", &spec, NULL), RG_OK);
    for (int i = 0; i < 4; i++) {
        /* known everywhere a moment later */
        ck_assert(WAIT_FOR(try_subscribe(&all[i], clients[i % 2], &wants) == RG_OK, LONG));
        int result = publish(clients[i % 2], "small", "a.1", 0, &count);
        ck_assert_int_eq(result, i < 3 ? RG_OK : RG_ERR_QUOTA);
    }
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(try_subscribe(&all[4], clients[i], &wants), RG_ERR_QUOTA);
        ck_assert_int_eq(publish(clients[i], "small", "a.1", 0, &count), RG_ERR_QUOTA);
        ck_assert_int_eq(rg_request(clients[i], "a.1", "x", 1, 500, &(void *){NULL}, NULL),
                         RG_ERR_NO_RESPONDERS);
    }
    /* one goes, another may come, on whichever */
    rg_subscription_close(&all[0].subscription);
    ck_assert(WAIT_FOR(publish(clients[1], "small", "a.1", 0, &count) == RG_OK, LONG));
    ck_assert_uint_eq(count, 3);
    ck_assert(WAIT_FOR(try_subscribe(&all[0], clients[1], &wants) == RG_OK, LONG));
    /* topics */
    int code = RG_OK;
    for (int i = 0; i < 8 && code == RG_OK; i++) {
        char topic[16];
        (void) snprintf(topic, sizeof(topic), "b.%d", i);
        code = publish(clients[0], "small", topic, 0, &count);
        ck_assert_int_eq(code, i < 4 ? RG_OK : RG_ERR_QUOTA);
    }
    /* raised while in use; lowered, which ends nobody, also when a routerd learns everything anew */
    spec = (struct rg_exchange_spec){
        .version = 2, .max_subscriptions = 2, .max_topics = 9, .max_fanout = 9};
    ck_assert_int_eq(rg_exchange_ensure(clients[1], "small", &spec, NULL), RG_OK);
    for (int i = 0; i < 2; i++) {
        ck_assert(WAIT_FOR(publish(clients[i], "small", "a.1", 0, &count) == RG_OK, LONG));
        ck_assert_uint_eq(count, 4);
    }
    (void) node;
    ck_assert_int_eq(try_subscribe(&all[4], clients[0], &wants), RG_ERR_QUOTA);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(atomic_load(&all[i].closed), 0);
    }
    subscribers_close(all, 8);
}

static void check_lowered(struct node *node, struct rg_client *const *clients)
{
    const struct wants wants = {.exchange = "lowered"};
    struct subscriber *all = subscribers_new(4);
    struct rg_exchange_spec spec = {.max_subscriptions = 3};
    ck_assert_int_eq(rg_exchange_ensure(clients[0], "lowered", &spec, NULL), RG_OK);
    for (int i = 0; i < 3; i++) {
        ck_assert(WAIT_FOR(try_subscribe(&all[i], clients[i % 2], &wants) == RG_OK, LONG));
    }
    spec = (struct rg_exchange_spec){.version = 2, .max_subscriptions = 1};
    ck_assert_int_eq(rg_exchange_ensure(clients[0], "lowered", &spec, NULL), RG_OK);
    node_restart(node, NODE_ROUTERD);
    node_restart(node, NODE_ROUTERD_1);
    uint32_t count = 0;
    ck_assert(WAIT_FOR(publish(clients[0], "lowered", "a.new", 0, &count) == RG_OK, LONG));
    ck_assert_uint_eq(count, 3);
    ck_assert_int_eq(try_subscribe(&all[3], clients[1], &wants), RG_ERR_QUOTA);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(atomic_load(&all[i].closed), 0);
    }
    subscribers_close(all, 4);
}

TEST_WITHIN(exchanges_are_worlds_of_their_own_with_limits_of_their_own, 90)
{
    struct node *node = node_of_two();
    struct rg_client *clients[] = {client_of(node, NODE_FRONTD), client_of(node, NODE_FRONTD_1)};
    struct subscriber *none = subscribers_new(1);
    uint32_t count = 0;
    ck_assert_int_eq(publish(clients[0], "events", "a", 0, &count), RG_ERR_NOT_FOUND);
    ck_assert_int_eq(subscribe(none, clients[0], &(struct wants){.exchange = "events"}, NULL, 0),
                     RG_ERR_NOT_FOUND);
    ck_assert_int_eq(rg_exchange_ensure(clients[0], "events", NULL, NULL), RG_OK);
    ck_assert(WAIT_FOR(publish(clients[1], "events", "a", 0, &count) == RG_OK, LONG));
    check_worlds(node, clients);
    check_limits(node, clients);
    check_lowered(node, clients);
    subscribers_close(none, 1);
    rg_close(&clients[0]);
    rg_close(&clients[1]);
    node_end(&node);
}

/* --- groups --- */

static void post_many(struct rg_client *client, const char *topic, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++) {
        post(client, topic, n, NULL);
    }
    ck_assert_int_eq(rg_es_flush(client, 10000), RG_OK);
}

/* Each number came to exactly one of them. */
static void check_once(struct subscriber *all, size_t count, uint32_t numbers)
{
    ck_assert(WAIT_FOR(got_all(all, count) >= numbers, LONG));
    for (uint32_t n = 0; n < numbers; n++) {
        unsigned times = 0;
        for (size_t i = 0; i < count; i++) {
            times += atomic_exchange(&all[i].of[n], 0);
        }
        ck_assert_msg(times == 1, "%u came %u times", n, times);
    }
}

static void forget(struct subscriber *all, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        atomic_store(&all[i].got, 0);
    }
}

TEST_WITHIN(one_member_of_a_group_gets_each_message, 90)
{
    enum { MESSAGES = 4000, MEMBERS = 6 };
    struct node *node = node_of_two();
    struct rg_client *clients[] = {client_of(node, NODE_FRONTD), client_of(node, NODE_FRONTD_1)};
    struct rg_client *other = client_in(node, NODE_FRONTD, "other");
    struct subscriber *all = subscribers_new(MEMBERS + 2);
    struct subscriber *far = all + 3;
    const struct wants wants = {.group = "workers"};
    /* three of this frontd, three of the other; a namesake elsewhere, and one for itself */
    for (int i = 0; i < MEMBERS; i++) {
        subscriber_start(&all[i], clients[i / 3], &wants, i % 2 == 0 ? "job.*" : "job.#");
    }
    subscriber_start(&all[MEMBERS], other, &wants, "#");
    subscriber_start(&all[MEMBERS + 1], clients[1], NULL, "#");
    ck_assert_uint_eq(matched(clients[0], NULL, "job.1"), 2);
    ck_assert_uint_eq(matched(clients[1], NULL, "job"), 2);
    ck_assert(WAIT_FOR(got_all(all, MEMBERS) == 2 && got(&all[MEMBERS + 1]) == 2, LONG));
    forget(all, MEMBERS);
    /* those here first, all of them */
    post_many(clients[0], "job.1", MESSAGES);
    check_once(all, MEMBERS, MESSAGES);
    for (int i = 0; i < 3; i++) {
        ck_assert_msg(got(&all[i]) > MESSAGES / 10, "member %d got %u", i, got(&all[i]));
        ck_assert_msg(got(&far[i]) < MESSAGES / 4, "member %d got %u", i, got(&far[i]));
    }
    /* one at a time */
    forget(all, MEMBERS);
    for (uint32_t n = 0; n < 300; n++) {
        uint32_t count = 0;
        ck_assert_int_eq(publish(clients[0], NULL, "job.1", n, &count), RG_OK);
    }
    check_once(all, MEMBERS, 300);
    for (int i = 0; i < 3; i++) {
        ck_assert_msg(got(&all[i]) > 30, "member %d got %u", i, got(&all[i]));
    }
    /* nobody is left here: the others, all of them */
    for (int i = 0; i < 3; i++) {
        rg_subscription_close(&all[i].subscription);
    }
    forget(all, MEMBERS);
    post_many(clients[0], "job.1", MESSAGES);
    check_once(all, MEMBERS, MESSAGES);
    for (int i = 0; i < 3; i++) {
        ck_assert_msg(got(&far[i]) > MESSAGES / 10, "member %d got %u", i, got(&far[i]));
    }
    ck_assert_uint_eq(got(&all[MEMBERS]), 0);
    subscribers_close(all, MEMBERS + 2);
    rg_close(&other);
    rg_close(&clients[0]);
    rg_close(&clients[1]);
    node_end(&node);
}

/* Members without credit get nothing; with it exactly so much; what nobody has credit for is dropped and counted. */
TEST_WITHIN(members_get_what_they_have_credit_for, 60)
{
    struct node *node = node_of_two();
    struct rg_client *clients[] = {client_of(node, NODE_FRONTD), client_of(node, NODE_FRONTD_1)};
    struct subscriber *all = subscribers_new(3);
    struct process said = {0};
    subscriber_start(&all[0], clients[0], &(struct wants){.group = "g", .credit = 5}, "job");
    subscriber_start(&all[1], clients[1], &(struct wants){.group = "g", .credit = 7}, "job");
    for (uint32_t n = 0; n < 20; n++) {
        ck_assert_uint_eq(matched(clients[0], NULL, "job"), 1);
    }
    ck_assert(WAIT_FOR(got_all(all, 2) == 12, LONG));
    ck_assert_uint_eq(got(&all[0]), 5);
    ck_assert_uint_eq(got(&all[1]), 7);
    ck_assert_int_eq(NODE_CTL(node, &said, "es", "info"), 0);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "matched"), 20);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "delivered"), 12);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "dropped"), 8);
    /* more is granted to the one far away */
    ck_assert_int_eq(rg_subscription_grant(all[1].subscription, 3), RG_OK);
    ck_assert(WAIT_FOR((matched(clients[0], NULL, "job"), got(&all[1]) >= 8), LONG));
    for (uint32_t n = 0; n < 10; n++) {
        (void) matched(clients[0], NULL, "job");
    }
    ck_assert(WAIT_FOR(got(&all[1]) == 10, LONG));
    ck_assert_uint_eq(got(&all[0]), 5);
    /* without a group what there is no credit for waits */
    subscriber_start(&all[2], clients[1], &(struct wants){.credit = 2}, "one");
    for (uint32_t n = 0; n < 6; n++) {
        ck_assert_uint_eq(matched(clients[0], NULL, "one"), 1);
    }
    ck_assert(WAIT_FOR(got(&all[2]) == 2, LONG));
    ck_assert_int_eq(rg_subscription_grant(all[2].subscription, 3), RG_OK);
    ck_assert(WAIT_FOR(got(&all[2]) == 5, LONG));
    subscribers_close(all, 3);
    process_release(&said);
    rg_close(&clients[0]);
    rg_close(&clients[1]);
    node_end(&node);
}

/* --- sticky by key --- */

enum { KEYS = 200 };

static void post_keys(struct rg_client *client)
{
    for (uint32_t n = 0; n < KEYS; n++) {
        char key[16];
        (void) snprintf(key, sizeof(key), "key-%u", n);
        post(client, "job", n, key);
    }
    ck_assert_int_eq(rg_es_flush(client, 10000), RG_OK);
}

/* Who got each key, from whichever frontd. */
static void keys_to(struct subscriber *all, int count, int owners[KEYS])
{
    for (int n = 0; n < KEYS; n++) {
        owners[n] = -1;
        for (int i = 0; i < count; i++) {
            unsigned times = atomic_exchange(&all[i].of[n], 0);
            ck_assert_msg(times == 0 || times == 4, "key %d came %u times to %d", n, times, i);
            owners[n] = times != 0 ? i : owners[n];
        }
        ck_assert_int_ge(owners[n], 0);
    }
}

static void post_keys_everywhere(struct rg_client *const *clients, struct subscriber *all,
                                 int count, int owners[KEYS])
{
    forget(all, (size_t) count);
    for (int i = 0; i < 4; i++) {
        post_keys(clients[i % 2]);
    }
    ck_assert(WAIT_FOR(got_all(all, (size_t) count) == 4 * KEYS, LONG));
    keys_to(all, count, owners);
}

TEST_WITHIN(a_key_stays_with_its_member, 60)
{
    enum { MEMBERS = 5 };
    struct node *node = node_of_two();
    struct rg_client *clients[] = {client_of(node, NODE_FRONTD), client_of(node, NODE_FRONTD_1)};
    struct subscriber *all = subscribers_new(MEMBERS + 1);
    const struct wants sticky = {.group = "g", .sticky = true};
    int before[KEYS];
    int after[KEYS];
    unsigned of[MEMBERS] = {0};
    for (int i = 0; i < MEMBERS; i++) {
        subscriber_start(&all[i], clients[i % 2], &sticky, "job");
    }
    for (int i = 0; i < 2; i++) {
        const char *job = "job";
        ck_assert_int_eq(
            subscribe(&all[MEMBERS], clients[i], &(struct wants){.group = "g"}, &job, 1),
            RG_ERR_DIFFERS);
    }
    post_keys_everywhere(clients, all, MEMBERS, before);
    for (int n = 0; n < KEYS; n++) {
        of[before[n]]++;
    }
    for (int i = 0; i < MEMBERS; i++) {
        ck_assert_msg(of[i] > KEYS / MEMBERS / 4, "member %d has %u keys", i, of[i]);
    }
    /* one leaves: only its keys move */
    rg_subscription_close(&all[MEMBERS - 1].subscription);
    /* which is known everywhere when what comes behind it is */
    subscriber_start(&all[MEMBERS], clients[0], NULL, "other");
    ck_assert_uint_eq(matched(clients[1], NULL, "job"), 1); /* without a key: anybody's */
    ck_assert(WAIT_FOR(got_all(all, MEMBERS) == 4 * KEYS + 1, LONG));
    post_keys_everywhere(clients, all, MEMBERS - 1, after);
    for (int n = 0; n < KEYS; n++) {
        ck_assert_msg(before[n] == MEMBERS - 1 || before[n] == after[n], "key %d moved", n);
    }
    subscribers_close(all, MEMBERS + 1);
    rg_close(&clients[0]);
    rg_close(&clients[1]);
    node_end(&node);
}

/* --- a member that dies --- */

TEST_WITHIN(what_a_member_leaves_others_of_its_group_get, 60)
{
    enum { MESSAGES = 2000 };
    struct node *node = node_of_two();
    struct rg_client *clients[] = {client_of(node, NODE_FRONTD), client_of(node, NODE_FRONTD_1)};
    struct subscriber *all = subscribers_new(2);
    const struct wants wants = {.group = "g"};
    subscriber_start(&all[0], clients[0], &wants, "job");
    subscriber_start(&all[1], clients[1], &wants, "job");
    /* a third, whose connection breaks */
    char job[] = "job";
    char group[] = "g";
    char *one[] = {job};
    struct raw *raw = raw_open(node);
    struct raw_frame frame;
    Railgun__EsSubscribe request = RAILGUN__ES_SUBSCRIBE__INIT;
    request.n_matchers = 1;
    request.matchers = one;
    request.group = group;
    ck_assert(raw_send(raw, 1, 2, ES_SUBSCRIBE, &request.base));
    raw_expect(raw, ES_SUBSCRIBE_OK, &frame);
    ck_assert_uint_eq(matched(clients[0], NULL, "job"), 1);
    raw_close(&raw);
    /* from the moment the server has seen it, all comes to the others */
    struct process said = {0};
    ck_assert(WAIT_FOR(NODE_CTL(node, &said, "es", "info") == 0 &&
                           json_number(buf_text(&said.out), "groups", "members") == 2,
                       LONG));
    for (int i = 0; i < 2; i++) {
        ck_assert(WAIT_FOR(matched(clients[i], NULL, "job") == 1, LONG));
    }
    ck_assert(WAIT_FOR(got_all(all, 2) >= 2, LONG));
    forget(all, 2);
    post_many(clients[0], "job", MESSAGES);
    check_once(all, 2, MESSAGES);
    /* and when a whole frontd dies */
    rg_subscription_close(&all[0].subscription);
    subscriber_start(&all[0], clients[0], &wants, "job");
    node_kill(node, NODE_FRONTD_1);
    forget(all, 2);
    ck_assert(WAIT_FOR((matched(clients[0], NULL, "job"), got(&all[0]) > 0), LONG));
    process_release(&said);
    subscribers_close(all, 2);
    rg_close(&clients[0]);
    rg_close(&clients[1]);
    node_destroy(&node);
}
