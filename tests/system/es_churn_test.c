/* Ephemeral messages while everything changes: several frontds and routerds, subscribers that come and go on all of them, routerds that are killed and started
 * again. What is published after a subscription was confirmed is seen, in order, without a gap; and who subscribes all the time sees everything. */
#include "tests/lib/test.h"
#include "tests/system/node.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/railgun.h"
#include "common/base/mem.h"
#include "common/base/rand.h"
#include "common/base/topic.h"

enum {
    TOPICS = 50,
    PUBLISHERS = 2,
    SUBSCRIBERS = 4,
    MATCHERS_MAX = 3,
    AFTER_OK = 300, /* messages of each publisher that a subscription must see before it goes */
    LONG = 40,
};

struct world;

struct publisher {
    struct world *world;
    struct rg_client *client;
    pthread_t thread;
    unsigned number;
    /* messages whose publishing has begun; message n has topic t.(n % TOPICS) */
    _Atomic uint64_t begun;
};

struct world {
    struct node *node;
    struct publisher publishers[PUBLISHERS];
    atomic_bool stop;         /* the publishers */
    atomic_bool stop_looking; /* subscribers that come and go, before */
    atomic_ulong rounds;      /* subscriptions that were made, checked and closed */
    atomic_ulong dropped;
};

static void pause_us(unsigned us)
{
    struct timespec pause = {us / 1000000, (long) (us % 1000000) * 1000};
    (void) nanosleep(&pause, NULL);
}

static struct rg_client *connect_to(const struct node *node, enum node_daemon frontd)
{
    struct rg_client *client = NULL;
    const struct rg_options options = {.reconnect_max_ms = 200, .request_timeout_ms = 30000};
    int result = rg_connect(node_address_of(node, frontd), &options, &client);
    ck_assert_msg(result == RG_OK, "cannot connect to %s: %s", node_daemon_name(frontd),
                  rg_error_name(result));
    return client;
}

/* --- publishing --- */

static const char *topic_of(uint64_t n, char out[32])
{
    (void) snprintf(out, 32, "t.%u", (unsigned) (n % TOPICS));
    return out;
}

static void *publish_all(void *ud)
{
    struct publisher *self = ud;
    char topic[32];
    while (!atomic_load(&self->world->stop)) {
        for (int i = 0; i < 20; i++) {
            uint64_t n = atomic_fetch_add(&self->begun, 1) + 1;
            uint64_t payload[2] = {self->number, n};
            int result = rg_es_publish(self->client, topic_of(n, topic), payload, sizeof(payload));
            ck_assert_msg(result == RG_OK, "cannot publish: %s", rg_error_name(result));
        }
        pause_us(2000);
    }
    return NULL;
}

/* --- looking --- */

/* What one subscription must see: of each publisher all messages that match, from a certain one on, in order. */
struct watch {
    struct world *world;
    bool wants[TOPICS];
    pthread_mutex_t lock;
    uint64_t last[PUBLISHERS];  /* seen; 0: none yet */
    uint64_t must[PUBLISHERS];  /* begun when it was confirmed; UINT64_MAX: not yet confirmed */
    uint64_t first[PUBLISHERS]; /* the first one seen */
    unsigned wrong;
    char problem[200];
};

static uint64_t next_wanted(const struct watch *self, uint64_t n)
{
    do {
        n++;
    } while (!self->wants[n % TOPICS]);
    return n;
}

static void watch_wrong(struct watch *self, uint64_t publisher, uint64_t n)
{
    if (self->wrong++ == 0) {
        (void) snprintf(self->problem, sizeof(self->problem),
                        "publisher %u: %lu came behind %lu, confirmed at %lu", (unsigned) publisher,
                        (unsigned long) n, (unsigned long) self->last[publisher],
                        (unsigned long) self->must[publisher]);
    }
}

static void on_message(void *ud, struct rg_subscription *subscription,
                       const struct rg_es_delivery *delivery)
{
    struct watch *self = ud;
    uint64_t payload[2];
    (void) subscription;
    ck_assert_uint_eq(delivery->payload.size, sizeof(payload));
    memcpy(payload, delivery->payload.data, sizeof(payload));
    uint64_t p = payload[0];
    uint64_t n = payload[1];
    ck_assert_uint_lt(p, PUBLISHERS);
    (void) pthread_mutex_lock(&self->lock);
    if (!self->wants[n % TOPICS]) {
        watch_wrong(self, p, n);
    } else if (self->last[p] == 0) {
        self->first[p] = n;
    } else if (n != next_wanted(self, self->last[p]) &&
               (n <= self->last[p] || self->last[p] > self->must[p])) {
        /* Before it is confirmed gaps are allowed, but never twice or out of order. */
        watch_wrong(self, p, n);
    } else if (n != next_wanted(self, self->last[p]) && self->must[p] != UINT64_MAX &&
               n > next_wanted(self, self->must[p])) {
        watch_wrong(self, p, n);
    }
    self->last[p] = n;
    (void) pthread_mutex_unlock(&self->lock);
}

static void on_event(void *ud, struct rg_subscription *subscription,
                     const struct rg_es_event *event)
{
    struct watch *self = ud;
    (void) subscription;
    if (event->type == RG_ES_DROPPED) {
        atomic_fetch_add(&self->world->dropped, event->count);
    }
}

static void watch_init(struct watch *self, struct world *world, const char *const *matchers,
                       size_t count)
{
    char topic[32];
    *self = (struct watch){.world = world};
    (void) pthread_mutex_init(&self->lock, NULL);
    for (unsigned t = 0; t < TOPICS; t++) {
        for (size_t m = 0; m < count; m++) {
            self->wants[t] =
                self->wants[t] || topic_matches(span_of(matchers[m]), span_of(topic_of(t, topic)));
        }
    }
    for (unsigned p = 0; p < PUBLISHERS; p++) {
        self->must[p] = UINT64_MAX;
    }
}

static void watch_confirmed(struct watch *self)
{
    (void) pthread_mutex_lock(&self->lock);
    for (unsigned p = 0; p < PUBLISHERS; p++) {
        self->must[p] = atomic_load(&self->world->publishers[p].begun);
        if (self->first[p] > next_wanted(self, self->must[p])) {
            watch_wrong(self, p, self->first[p]);
        }
    }
    (void) pthread_mutex_unlock(&self->lock);
}

/* Has it seen so many messages of each publisher that were published after it was confirmed? */
static bool watch_has_seen(struct watch *self, uint64_t after)
{
    bool result = true;
    (void) pthread_mutex_lock(&self->lock);
    for (unsigned p = 0; p < PUBLISHERS; p++) {
        result = result && self->last[p] >= self->must[p] + after;
    }
    (void) pthread_mutex_unlock(&self->lock);
    return result;
}

static void watch_check(struct watch *self, const char *who)
{
    ck_assert_msg(self->wrong == 0, "%s: %u wrong, the first: %s", who, self->wrong, self->problem);
    for (unsigned p = 0; p < PUBLISHERS; p++) {
        ck_assert_msg(self->first[p] <= next_wanted(self, self->must[p]),
                      "%s missed publisher %u's first message after its confirmation: %lu, not %lu",
                      who, p, (unsigned long) self->first[p],
                      (unsigned long) next_wanted(self, self->must[p]));
    }
}

static struct rg_subscription *subscribe(struct rg_client *client, struct watch *watch,
                                         const char *const *matchers, size_t count)
{
    struct rg_subscription *subscription = NULL;
    int result = rg_subscribe(client,
                              &(struct rg_subscribe_options){.matchers = matchers,
                                                             .matcher_count = count,
                                                             .on_message = on_message,
                                                             .on_event = on_event,
                                                             .ud = watch},
                              &subscription);
    ck_assert_msg(result == RG_OK, "cannot subscribe: %s (%s)", rg_error_name(result),
                  rg_last_error(client));
    watch_confirmed(watch);
    return subscription;
}

/* --- subscribers that come and go --- */

struct subscriber {
    struct world *world;
    struct rg_client *client;
    pthread_t thread;
    uint64_t seed;
};

static void *come_and_go(void *ud)
{
    struct subscriber *self = ud;
    struct prng prng;
    prng_init(&prng, self->seed);
    while (!atomic_load(&self->world->stop_looking)) {
        static const char *const wild[] = {"t.*", "#", "*.7", "t.#", "#.t.*", "*.*", "t.1.#"};
        char exact[MATCHERS_MAX][32];
        const char *matchers[MATCHERS_MAX];
        size_t count = 1 + prng_below(&prng, MATCHERS_MAX);
        for (size_t m = 0; m < count; m++) {
            bool is_wild = prng_below(&prng, 3) == 0;
            matchers[m] = is_wild ? wild[prng_below(&prng, sizeof(wild) / sizeof(wild[0]))]
                                  : topic_of(prng_below(&prng, TOPICS), exact[m]);
        }
        struct watch watch;
        watch_init(&watch, self->world, matchers, count);
        struct rg_subscription *subscription = subscribe(self->client, &watch, matchers, count);
        ck_assert_msg(WAIT_FOR(watch_has_seen(&watch, AFTER_OK), LONG),
                      "a subscription sees nothing any more (%s)", matchers[0]);
        rg_subscription_close(&subscription);
        watch_check(&watch, matchers[0]);
        atomic_fetch_add(&self->world->rounds, 1);
    }
    return NULL;
}

/* --- the tests --- */

static void world_start(struct world *self)
{
    *self = (struct world){.node = node_new()};
    node_start_all(self->node);
    for (int i = NODE_DAEMONS; i < NODE_PROCESSES; i++) {
        node_start(self->node, (enum node_daemon) i);
    }
    for (int i = NODE_DAEMONS; i < NODE_PROCESSES; i++) {
        node_wait_ready(self->node, (enum node_daemon) i, LONG);
    }
    for (unsigned p = 0; p < PUBLISHERS; p++) {
        struct publisher *publisher = &self->publishers[p];
        publisher->world = self;
        publisher->number = p;
        publisher->client = connect_to(self->node, p == 0 ? NODE_FRONTD : NODE_FRONTD_1);
        ck_assert_int_eq(pthread_create(&publisher->thread, NULL, publish_all, publisher), 0);
    }
}

static void world_stop(struct world *self)
{
    atomic_store(&self->stop, true);
    for (unsigned p = 0; p < PUBLISHERS; p++) {
        (void) pthread_join(self->publishers[p].thread, NULL);
        rg_close(&self->publishers[p].client);
    }
    node_stop_all(self->node);
    node_destroy(&self->node);
}

static void churn(void (*fault)(struct world *world, unsigned round), unsigned rounds)
{
    struct world world;
    struct subscriber subscribers[SUBSCRIBERS];
    struct watch all[2];
    struct rg_subscription *always[2];
    struct rg_client *clients[2];
    static const char *const everything[] = {"#"};
    world_start(&world);
    for (unsigned i = 0; i < 2; i++) {
        clients[i] = connect_to(world.node, i == 0 ? NODE_FRONTD_1 : NODE_FRONTD);
        watch_init(&all[i], &world, everything, 1);
        always[i] = subscribe(clients[i], &all[i], everything, 1);
    }
    for (unsigned i = 0; i < SUBSCRIBERS; i++) {
        subscribers[i] = (struct subscriber){.world = &world, .seed = 77 + i};
        subscribers[i].client = connect_to(world.node, i % 2 == 0 ? NODE_FRONTD : NODE_FRONTD_1);
        ck_assert_int_eq(pthread_create(&subscribers[i].thread, NULL, come_and_go, &subscribers[i]),
                         0);
    }
    for (unsigned round = 0; round < rounds; round++) {
        unsigned long before = atomic_load(&world.rounds);
        fault(&world, round);
        ck_assert_msg(WAIT_FOR(atomic_load(&world.rounds) >= before + SUBSCRIBERS, LONG),
                      "subscriptions are not confirmed any more");
    }
    atomic_store(&world.stop_looking, true);
    for (unsigned i = 0; i < SUBSCRIBERS; i++) {
        (void) pthread_join(subscribers[i].thread, NULL);
        rg_close(&subscribers[i].client);
    }
    for (unsigned i = 0; i < 2; i++) {
        rg_subscription_close(&always[i]);
        watch_check(&all[i], i == 0 ? "# at frontd-1" : "# at frontd-0");
        rg_close(&clients[i]);
    }
    ck_assert_uint_eq(atomic_load(&world.dropped), 0);
    world_stop(&world);
}

static void no_fault(struct world *world, unsigned round)
{
    (void) world;
    (void) round;
}

TEST_WITHIN(nothing_published_after_the_confirmation_is_missed, 120)
{
    churn(no_fault, 5);
}

static void kill_routerds(struct world *world, unsigned round)
{
    enum node_daemon which = round % 2 == 0 ? NODE_ROUTERD : NODE_ROUTERD_1;
    node_kill(world->node, which);
    if (round % 3 == 2) { /* both are away for a while */
        node_kill(world->node, which == NODE_ROUTERD ? NODE_ROUTERD_1 : NODE_ROUTERD);
        pause_us(300000);
        node_start(world->node, which == NODE_ROUTERD ? NODE_ROUTERD_1 : NODE_ROUTERD);
    }
    pause_us(100000);
    node_start(world->node, which);
    node_wait_ready(world->node, which, LONG);
}

TEST_WITHIN(nothing_is_missed_while_routerds_are_killed, 180)
{
    churn(kill_routerds, 9);
}

/* What its own subscriber misses is not looked at: it had no server. */
static void kill_a_frontd(struct world *world, unsigned round)
{
    static const char *const matchers[] = {"t.*", "t.3"};
    struct watch watch;
    watch_init(&watch, world, matchers, 2);
    struct rg_client *client = connect_to(world->node, NODE_FRONTD_2);
    struct rg_subscription *subscription = subscribe(client, &watch, matchers, 2);
    ck_assert(WAIT_FOR(watch_has_seen(&watch, 100), LONG));
    if (round % 2 == 0) {
        node_kill(world->node, NODE_FRONTD_2);
    } else {
        int status = 0;
        node_signal(world->node, NODE_FRONTD_2, SIGTERM);
        ck_assert(node_wait_end(world->node, NODE_FRONTD_2, LONG, &status));
    }
    node_start(world->node, NODE_FRONTD_2);
    node_wait_ready(world->node, NODE_FRONTD_2, LONG);
    rg_subscription_close(&subscription);
    rg_close(&client);
}

TEST_WITHIN(nothing_is_missed_while_other_frontds_come_and_go, 180)
{
    churn(kill_a_frontd, 6);
}

static void pause_a_daemon(struct world *world, unsigned round)
{
    static const enum node_daemon which[] = {NODE_ROUTERD, NODE_FRONTD_1, NODE_ROUTERD_1,
                                             NODE_FRONTD};
    node_signal(world->node, which[round % 4], SIGSTOP);
    pause_us(round % 2 == 0 ? 1500000 : 3200000); /* shorter and longer than the lease */
    node_signal(world->node, which[round % 4], SIGCONT);
}

TEST_WITHIN(nothing_is_missed_when_daemons_stand_still_for_a_while, 180)
{
    churn(pause_a_daemon, 8);
}
