/* The promise of the route cache, against chance: once all routerds that could answer have said so, nobody routes without the subscription.
 *
 * The model: another frontd subscribes and unsubscribes; routerds take that in at their own speed, answer lookups, tell of changes, die and come back, and what
 * they say waits in their session until it is taken. A subscription is confirmed when each routerd has told of it and that was taken; one that died counts
 * until our frontd has noticed (that is what ROUTE_LEASE_MS is for). From then on each route that is found must have it. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/base/rand.h"
#include "common/base/topic.h"
#include "common/wire/pb.h"
#include "tests/lib/test.h"
#include "tests/unit/frontd_routes/fake.h"

enum { ROUTERS = 3, SUBS_MAX = 4000, QUEUE_MAX = 8192, STEPS = 150000, LIVE_SUBS = 12 };

static const char *const matchers[] = {"a.b", "a.*",   "a.#", "#",    "*.b",
                                       "b",   "a.b.c", "#.c", "b.*.c"};
static const char *const topics[] = {"a.b", "a", "b", "a.c", "a.b.c", "b.a.c", "c.b", "", "c"};
enum { MATCHERS = sizeof(matchers) / sizeof(matchers[0]) };
enum { TOPICS = sizeof(topics) / sizeof(topics[0]) };

struct sub {
    const char *matcher;
    bool is_removed; /* the owner has said so */
    bool is_confirmed;
    bool is_told[ROUTERS]; /* and our frontd has taken it, in the session that is up */
};

/* What a routerd has to do for the owner, or has to say to our frontd. */
enum item_kind {
    ITEM_SUBSCRIBE,
    ITEM_UNSUBSCRIBE,
    ITEM_SYNCED,
    ITEM_CHANGE,
    ITEM_ANSWER,
    ITEM_READY
};
struct item {
    enum item_kind kind;
    size_t sub;
    bool is_new; /* ITEM_CHANGE: by a subscription that came */
    uint64_t number;
    struct buf answer;
};
struct queue {
    struct item *items;
    size_t head;
    size_t tail;
};

struct router {
    bool is_up;     /* the process lives */
    bool is_linked; /* our frontd thinks so */
    bool is_ready;  /* our frontd knows that it is */
    bool is_slow;   /* it answers, but is long in taking in what the owner says */
    uint64_t source;
    bool has[SUBS_MAX]; /* its table */
    struct queue from_owner;
    struct queue to_us;
    size_t asks[FAKE_ASKS_MAX]; /* lookups to be answered: indexes of fake.asks */
    size_t ask_head;
    size_t ask_tail;
};

static struct model {
    struct prng prng;
    struct router routers[ROUTERS];
    struct sub subs[SUBS_MAX];
    size_t sub_count;
    uint64_t source_last;
    uint64_t found;
    uint64_t confirmed;
    uint64_t deaths;
} model;

static uint64_t below(uint64_t bound)
{
    return prng_below(&model.prng, bound);
}

static struct item *queue_push(struct queue *queue)
{
    struct item *item = &queue->items[queue->tail++ % QUEUE_MAX];
    ck_assert_uint_le(queue->tail - queue->head, QUEUE_MAX);
    *item = (struct item){0};
    return item;
}

static struct item *queue_pop(struct queue *queue)
{
    return queue->head == queue->tail ? NULL : &queue->items[queue->head++ % QUEUE_MAX];
}

static void queue_clear(struct queue *queue)
{
    struct item *item = NULL;
    while ((item = queue_pop(queue)) != NULL) {
        buf_release(&item->answer);
    }
}

static void push_sub(struct queue *queue, enum item_kind kind, size_t sub)
{
    struct item *item = queue_push(queue);
    item->kind = kind;
    item->sub = sub;
}

/* --- the owner --- */

static void owner_confirm(void)
{
    for (size_t i = 0; i < model.sub_count; i++) {
        bool is_told = false;
        bool is_missing = false;
        for (size_t r = 0; r < ROUTERS; r++) {
            const struct router *router = &model.routers[r];
            if (router->is_up || router->is_linked) {
                is_told |= model.subs[i].is_told[r];
                is_missing |= !model.subs[i].is_told[r];
            }
        }
        if (is_told && !is_missing && !model.subs[i].is_confirmed) {
            model.subs[i].is_confirmed = true;
            model.confirmed++;
        }
    }
}

static void owner_subscribe(void)
{
    if (model.sub_count == SUBS_MAX) {
        return;
    }
    size_t sub = model.sub_count++;
    model.subs[sub].matcher = matchers[below(MATCHERS)];
    for (size_t r = 0; r < ROUTERS; r++) {
        if (model.routers[r].is_up) {
            push_sub(&model.routers[r].from_owner, ITEM_SUBSCRIBE, sub);
        }
    }
}

static void owner_unsubscribe(void)
{
    size_t live = 0;
    for (size_t i = 0; i < model.sub_count; i++) {
        live += !model.subs[i].is_removed;
    }
    if (live < LIVE_SUBS) {
        return;
    }
    size_t sub = below(model.sub_count);
    while (model.subs[sub].is_removed) {
        sub = (sub + 1) % model.sub_count;
    }
    model.subs[sub].is_removed = true;
    for (size_t r = 0; r < ROUTERS; r++) {
        if (model.routers[r].is_up) {
            push_sub(&model.routers[r].from_owner, ITEM_UNSUBSCRIBE, sub);
        }
    }
}

/* --- routerds --- */

static void router_start(struct router *router)
{
    memset(router->has, 0, sizeof(router->has));
    for (size_t i = 0; i < model.sub_count; i++) {
        model.subs[i].is_told[router - model.routers] = false;
    }
    router->is_up = true;
    router->is_linked = true;
    router->is_ready = false;
    router->source = ++model.source_last;
    for (size_t i = 0; i < model.sub_count; i++) {
        if (!model.subs[i].is_removed) {
            push_sub(&router->from_owner, ITEM_SUBSCRIBE, i);
        }
    }
    push_sub(&router->from_owner, ITEM_SYNCED, 0);
}

static void router_die(struct router *router)
{
    if (router->is_up) {
        router->is_up = false;
        queue_clear(&router->from_owner);
        router->ask_head = router->ask_tail;
        model.deaths++;
    }
}

/* Our frontd notices: what was not taken is lost. */
static void router_noticed(struct router *router)
{
    if (router->is_up || !router->is_linked) {
        return;
    }
    queue_clear(&router->to_us);
    router->is_linked = false;
    if (router->is_ready) {
        router->is_ready = false;
        routes_source_gone(fake.routes, router->source);
    }
    owner_confirm(); /* one less to wait for */
}

static void router_take_from_owner(struct router *router)
{
    const struct item *item = queue_pop(&router->from_owner);
    if (item == NULL) {
        return;
    }
    struct item *out = queue_push(&router->to_us);
    if (item->kind == ITEM_SYNCED) {
        out->kind = ITEM_READY;
        return;
    }
    router->has[item->sub] = item->kind == ITEM_SUBSCRIBE;
    out->kind = ITEM_CHANGE;
    out->sub = item->sub;
    out->is_new = item->kind == ITEM_SUBSCRIBE;
}

static void router_answer_one(struct router *router)
{
    if (router->ask_head == router->ask_tail) {
        return;
    }
    const struct fake_ask *ask = &fake.asks[router->asks[router->ask_head++ % FAKE_ASKS_MAX]];
    struct item *out = queue_push(&router->to_us);
    out->kind = ITEM_ANSWER;
    out->number = ask->number;
    size_t count = fake_ask_count(ask);
    for (size_t i = 0; i < count; i++) {
        uint64_t ids[SUBS_MAX + 1] = {0};
        size_t found = 0;
        for (size_t s = 0; s < model.sub_count; s++) {
            if (router->has[s] &&
                topic_matches(span_of(model.subs[s].matcher), fake_ask_topic(ask, i))) {
                ids[found++] = s + 1;
            }
        }
        fake_append_route(&out->answer, ids);
    }
}

/* --- our frontd --- */

static void us_take(struct router *router)
{
    struct item *item = queue_pop(&router->to_us);
    size_t r = (size_t) (router - model.routers);
    uint64_t source = router->is_ready ? router->source : 0;
    if (item == NULL) {
        return;
    }
    switch (item->kind) {
    case ITEM_CHANGE:
        fake_change(source, model.subs[item->sub].matcher);
        model.subs[item->sub].is_told[r] = item->is_new && router->is_ready;
        break;
    case ITEM_READY:
        router->is_ready = true;
        routes_source_ready(fake.routes, router->source);
        for (size_t i = 0; i < model.sub_count; i++) { /* changes before it were taken */
            model.subs[i].is_told[r] = router->is_up && router->has[i];
        }
        /* but not those that are still to come */
        for (size_t at = router->to_us.head; at < router->to_us.tail; at++) {
            const struct item *later = &router->to_us.items[at % QUEUE_MAX];
            if (later->kind == ITEM_CHANGE) {
                model.subs[later->sub].is_told[r] = false;
            }
        }
        break;
    case ITEM_ANSWER:
        routes_answer(fake.routes, router->source, item->number, buf_span(&item->answer));
        buf_release(&item->answer);
        break;
    case ITEM_SUBSCRIBE:
    case ITEM_UNSUBSCRIBE:
    case ITEM_SYNCED:
    default:
        ck_abort();
    }
    owner_confirm();
}

/* Who is asked: any that is ready, now and then nobody. */
static uint64_t us_choose(void)
{
    size_t first = below(ROUTERS + 1);
    for (size_t i = 0; i < ROUTERS; i++) {
        struct router *router = &model.routers[(first + i) % ROUTERS];
        if (router->is_ready && first < ROUTERS) {
            if (router->is_up) { /* otherwise it is lost on its way */
                router->asks[router->ask_tail++ % FAKE_ASKS_MAX] = fake.ask_count;
            }
            return router->source;
        }
    }
    return 0;
}

/* Every confirmed subscription that matches must be in the route; nothing else may be that never matched. */
static void us_check_route(const char *topic, const struct route *route, bool is_exact)
{
    static bool is_in[SUBS_MAX];
    memset(is_in, 0, sizeof(is_in));
    for (uint32_t i = 0; i < route->plain_count; i++) {
        for (uint32_t k = 0; k < route->plain[i].count; k++) {
            size_t sub = route->plain[i].ids[k] - 1;
            TEST_ASSERT_FAST(sub < model.sub_count && !is_in[sub]);
            TEST_ASSERT_FAST(topic_matches(span_of(model.subs[sub].matcher), span_of(topic)));
            is_in[sub] = true;
        }
    }
    for (size_t i = 0; i < model.sub_count; i++) {
        const struct sub *sub = &model.subs[i];
        bool is_due = topic_matches(span_of(sub->matcher), span_of(topic)) && !sub->is_removed;
        TEST_ASSERT_FAST(!is_due || !sub->is_confirmed || is_in[i]);
        TEST_ASSERT_FAST(!is_exact || is_in[i] == is_due);
    }
}

static bool us_find(bool is_exact)
{
    const char *topic = topics[below(TOPICS)];
    const struct route *route = NULL;
    if (fake_find(topic, &route) != ROUTES_FOUND) {
        return false;
    }
    model.found++;
    us_check_route(topic, route, is_exact);
    return true;
}

static void us_turn(void)
{
    fake_turn();
    if (fake.ask_count > FAKE_ASKS_MAX - 64) { /* the oldest are long over */
        size_t kept = 256;
        size_t gone = fake.ask_count - kept;
        for (size_t i = 0; i < gone; i++) {
            buf_release(&fake.asks[i].topics);
        }
        memmove(fake.asks, fake.asks + gone, kept * sizeof(fake.asks[0]));
        fake.ask_count = kept;
        for (size_t r = 0; r < ROUTERS; r++) {
            struct router *router = &model.routers[r];
            for (size_t at = router->ask_head; at < router->ask_tail; at++) {
                ck_assert_uint_ge(router->asks[at % FAKE_ASKS_MAX], gone);
                router->asks[at % FAKE_ASKS_MAX] -= gone;
            }
        }
    }
    routes_can_ask(fake.routes);
}

static void model_step(void)
{
    struct router *router = &model.routers[below(ROUTERS)];
    uint64_t chance = below(1000);
    if (chance < 8) {
        owner_subscribe();
    } else if (chance < 16) {
        owner_unsubscribe();
    } else if (chance < 32) {
        router_die(router);
    } else if (chance < 50) {
        router_noticed(router);
    } else if (chance < 66 && !router->is_up && !router->is_linked) {
        router_start(router);
    } else if (chance < 70) {
        router->is_slow = below(3) == 0;
    } else if (chance < 250 && router->is_up) {
        if (!router->is_slow || !router->is_ready || below(50) == 0) {
            router_take_from_owner(router);
        }
    } else if (chance < 400 && router->is_up) {
        router_answer_one(router);
    } else if (chance < 650) {
        us_take(router);
    } else if (chance < 800) {
        us_turn();
    } else if (chance < 802) {
        fake.settings.routes_entries_max = below(2) == 0 ? 8 : 100;
    } else {
        (void) us_find(false);
    }
}

/* Let everybody finish what there is to do. */
static void model_settle(void)
{
    fake.settings.routes_entries_max = 100;
    for (int i = 0; i < 3000; i++) {
        for (size_t r = 0; r < ROUTERS; r++) {
            struct router *router = &model.routers[r];
            router_noticed(router);
            if (!router->is_up && !router->is_linked) {
                router_start(router);
            }
            router_take_from_owner(router);
            router_answer_one(router);
            us_take(router);
        }
        us_turn();
        (void) us_find(false);
    }
}

static void model_run(uint64_t seed)
{
    model = (struct model){0};
    fake = (struct fake){0};
    prng_init(&model.prng, seed);
    fake_start();
    fake.choose = us_choose;
    for (size_t r = 0; r < ROUTERS; r++) {
        model.routers[r].from_owner.items = MEM_NEW_ARRAY(QUEUE_MAX, struct item);
        model.routers[r].to_us.items = MEM_NEW_ARRAY(QUEUE_MAX, struct item);
        router_start(&model.routers[r]);
    }
    for (int i = 0; i < STEPS; i++) {
        model_step();
    }
    model_settle();
    for (int i = 0; i < 100; i++) {
        TEST_ASSERT_FAST(us_find(true)); /* live: all topics have their exact route in the end */
    }
    ck_assert_uint_gt(model.found, STEPS / 50);
    ck_assert_uint_gt(model.confirmed, 50);
    ck_assert_uint_gt(model.deaths, 50);
    for (size_t r = 0; r < ROUTERS; r++) {
        queue_clear(&model.routers[r].from_owner);
        queue_clear(&model.routers[r].to_us);
        mem_free(model.routers[r].from_owner.items);
        mem_free(model.routers[r].to_us.items);
    }
    fake_stop();
}

TEST_WITHIN(what_is_confirmed_is_in_every_route, 120)
{
    const char *given = getenv("SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : entropy_u64();
    (void) fprintf(stderr, "SEED=%llu\n", (unsigned long long) seed);
    model_run(seed);
}

TEST_WITHIN(what_is_confirmed_is_in_every_route_with_known_seeds, 120)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        model_run(seed);
    }
}
