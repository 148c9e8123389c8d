/* Random operations, beside a model that is obviously right: what the router answers, what frontds with caches believe, and what was confirmed. The frontds
 * follow router.proto: they keep answers until a change touches them. After a confirmation no live frontd may have a route without the subscription. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/rand.h"
#include "common/base/topic.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/router.pb-c.h"

#include "tests/lib/test.h"
#include "tests/unit/routerd_router/router_lib.h"

enum { SUBS = 120, TOPICS = 24, FRONTDS = 3, CONFIRM_QUEUE = 64 };

struct sub {
    bool is_there; /* the frontd has it */
    bool is_confirmed;
    unsigned frontd;
    uint64_t id;
    uint64_t serial;
    char matchers[64];
    int group; /* -1: none */
};

struct cached {
    bool is_known;
    bool is_stale_kept; /* of an earlier session: used until ready */
    char route[1024];
};

struct model {
    struct rig rig;
    struct prng prng;
    struct sub subs[SUBS];
    struct cached cache[FRONTDS][TOPICS];
    char topics[TOPICS][16];
    bool is_up[FRONTDS];
    uint64_t serial;
    uint64_t id;
    uint64_t confirmations;
    uint64_t checked;
};

static bool sub_matches(const struct sub *sub, const char *topic)
{
    char copy[64];
    char *rest = NULL;
    (void) snprintf(copy, sizeof(copy), "%s", sub->matchers);
    for (char *one = strtok_r(copy, " ", &rest); one != NULL; one = strtok_r(NULL, " ", &rest)) {
        if (topic_matches(span_of(one), span_of(topic))) {
            return true;
        }
    }
    return false;
}

static int compare_subs(const void *a, const void *b)
{
    const struct sub *left = *(const struct sub *const *) a;
    const struct sub *right = *(const struct sub *const *) b;
    if (left->frontd != right->frontd) {
        return left->frontd < right->frontd ? -1 : 1;
    }
    return left->id < right->id ? -1 : left->id > right->id;
}

static void put_matching(struct model *model, const char *topic, int group, struct buf *line)
{
    const struct sub *found[SUBS];
    size_t count = 0;
    for (unsigned i = 0; i < SUBS; i++) {
        const struct sub *sub = &model->subs[i];
        if (sub->is_there && sub->group == group && sub_matches(sub, topic)) {
            found[count++] = sub;
        }
    }
    qsort(found, count, sizeof(found[0]), compare_subs);
    for (size_t i = 0; i < count; i++) {
        bool is_first = i == 0 || found[i]->frontd != found[i - 1]->frontd;
        if (i == 0) {
            buf_append_text(line, line->size > 0 ? " " : "");
            if (group >= 0) {
                buf_printf(line, "g%d%s=", group, group == 0 ? "(sticky)" : "");
            }
        } else if (is_first) {
            buf_append_text(line, " ");
        }
        if (is_first) {
            buf_printf(line, "%u:", found[i]->frontd);
        }
        buf_printf(line, "%s%u", is_first ? "" : ",", (unsigned) found[i]->id);
    }
}

/* What the router should say. */
static void model_route(struct model *model, const char *topic, struct buf *line)
{
    buf_reset(line);
    for (int group = -1; group < 3; group++) {
        put_matching(model, topic, group, line);
    }
}

static void random_matcher(struct prng *prng, char *out, size_t size)
{
    static const char *const words[] = {"a", "b", "c", "*", "#"};
    size_t at = 0;
    unsigned count = 1 + (unsigned) prng_below(prng, 3);
    for (unsigned i = 0; i < count; i++) {
        at += (size_t) snprintf(out + at, size - at, "%s%s", i == 0 ? "" : ".",
                                words[prng_below(prng, 5)]);
    }
}

/* --- frontds ----------------------------------------------------------------------------------------------- */

static void register_sub(struct model *model, const struct sub *sub)
{
    char group[8];
    (void) snprintf(group, sizeof(group), "g%d", sub->group);
    (void) rig_join_group(&model->rig, sub->frontd, sub->id, sub->serial, "ns", sub->matchers,
                          sub->group >= 0 ? group : NULL, sub->group == 0);
}

static void add_sub(struct model *model)
{
    struct sub *sub = &model->subs[prng_below(&model->prng, SUBS)];
    unsigned frontd = (unsigned) prng_below(&model->prng, FRONTDS);
    if (sub->is_there || !model->is_up[frontd]) {
        return;
    }
    char first[24];
    char second[24];
    random_matcher(&model->prng, first, sizeof(first));
    random_matcher(&model->prng, second, sizeof(second));
    *sub = (struct sub){.is_there = true,
                        .frontd = frontd,
                        .id = ++model->id,
                        .serial = ++model->serial,
                        .group = (int) prng_below(&model->prng, 6) - 3};
    sub->group = sub->group < 0 ? -1 : sub->group;
    (void) snprintf(sub->matchers, sizeof(sub->matchers), "%s%s%s", first,
                    prng_below(&model->prng, 2) == 0 ? "" : " ", second);
    if (strchr(sub->matchers, ' ') == NULL) {
        (void) snprintf(sub->matchers, sizeof(sub->matchers), "%s", first);
    }
    register_sub(model, sub);
}

static void remove_sub(struct model *model)
{
    struct sub *sub = &model->subs[prng_below(&model->prng, SUBS)];
    if (sub->is_there && model->is_up[sub->frontd]) {
        rig_unsubscribe(&model->rig, sub->frontd, sub->id);
        sub->is_there = false;
    }
}

static int compare_serials(const void *a, const void *b)
{
    const struct sub *left = *(const struct sub *const *) a;
    const struct sub *right = *(const struct sub *const *) b;
    return left->serial < right->serial ? -1 : left->serial > right->serial;
}

/* A session begins: all it has, then synced. Now and then it takes something back meanwhile. */
static void bring_up(struct model *model, unsigned frontd)
{
    const struct sub *own[SUBS];
    size_t count = 0;
    rig_up(&model->rig, frontd);
    model->is_up[frontd] = true;
    for (unsigned i = 0; i < SUBS; i++) {
        struct sub *sub = &model->subs[i];
        if (sub->is_there && sub->frontd == frontd) {
            if (prng_below(&model->prng, 8) == 0) {
                sub->is_there = false; /* it went while there was no session */
                continue;
            }
            own[count++] = sub;
        }
    }
    qsort(own, count, sizeof(own[0]), compare_serials);
    for (size_t i = 0; i < count; i++) {
        register_sub(model, own[i]);
    }
    rig_synced(&model->rig, frontd, 0);
}

static void lose_session(struct model *model, unsigned frontd)
{
    if (model->is_up[frontd]) {
        rig_down(&model->rig, frontd);
        model->is_up[frontd] = false;
    }
}

static void die(struct model *model, unsigned frontd)
{
    rig_live(&model->rig, frontd, false);
    lose_session(model, frontd);
    for (unsigned i = 0; i < SUBS; i++) {
        if (model->subs[i].frontd == frontd) {
            model->subs[i].is_there = false;
        }
    }
    for (unsigned t = 0; t < TOPICS; t++) {
        model->cache[frontd][t].is_known = false;
    }
    rig_live(&model->rig, frontd, true);
    bring_up(model, frontd);
}

/* --- what a frontd hears ----------------------------------------------------------------------------------- */

static void hear_changes(struct model *model, unsigned frontd, struct span meta)
{
    Railgun__RouteChanges *message = railgun__route_changes__unpack(NULL, meta.size, meta.data);
    for (unsigned t = 0; t < TOPICS; t++) {
        struct cached *cached = &model->cache[frontd][t];
        if (message->ready && cached->is_stale_kept) {
            cached->is_known = false;
        }
        for (size_t i = 0; i < message->n_changes; i++) {
            for (size_t k = 0; k < message->changes[i]->n_matchers; k++) {
                if (topic_matches(span_of(message->changes[i]->matchers[k]),
                                  span_of(model->topics[t]))) {
                    cached->is_known = false;
                }
            }
        }
    }
    rig_applied(&model->rig, frontd, message->seq);
    railgun__route_changes__free_unpacked(message, NULL);
}

/* Everything up to the serial is routed everywhere: no frontd has a route that misses it. */
static void hear_confirmed(struct model *model, unsigned frontd, uint64_t serial)
{
    model->confirmations++;
    for (unsigned i = 0; i < SUBS; i++) {
        struct sub *sub = &model->subs[i];
        if (!sub->is_there || sub->frontd != frontd || sub->serial > serial) {
            continue;
        }
        sub->is_confirmed = true;
        char wanted[24];
        (void) snprintf(wanted, sizeof(wanted), "%u", (unsigned) sub->id);
        for (unsigned f = 0; f < FRONTDS; f++) {
            for (unsigned t = 0; t < TOPICS; t++) {
                const struct cached *cached = &model->cache[f][t];
                if (cached->is_known && sub_matches(sub, model->topics[t])) {
                    ck_assert_msg(strstr(cached->route, wanted) != NULL,
                                  "frontd %u has '%s' for %s without %s", f, cached->route,
                                  model->topics[t], wanted);
                    model->checked++;
                }
            }
        }
    }
}

static void hear(struct model *model, unsigned frontd)
{
    struct rig *rig = &model->rig;
    if (rig->event_first[frontd] == rig->event_count[frontd]) {
        return;
    }
    struct rig_event event = rig->events[frontd][rig->event_first[frontd]];
    if (event.type == RAILGUN__BUS_TYPE__BUS_ROUTE_CHANGES) {
        hear_changes(model, frontd, buf_span(&event.meta));
        (void) rig_said(rig, frontd);
        return;
    }
    if (event.type == RAILGUN__BUS_TYPE__BUS_ROUTE_RESET) {
        for (unsigned t = 0; t < TOPICS; t++) {
            model->cache[frontd][t].is_stale_kept = true;
        }
    }
    const char *line = rig_said(rig, frontd);
    unsigned topic = 0;
    int at = 0;
    uint64_t serial = 0;
    unsigned long value = 0;
    if (sscanf(line, "routes %u {%n", &topic, &at) == 1) {
        struct cached *cached = &model->cache[frontd][topic];
        cached->is_known = true;
        cached->is_stale_kept = false;
        (void) snprintf(cached->route, sizeof(cached->route), "%.*s", (int) strlen(line + at) - 1,
                        line + at);
    } else if (sscanf(line, "confirmed %lu", &value) == 1) {
        serial = value;
        hear_confirmed(model, frontd, serial);
    } else {
        ck_assert_int_eq(strncmp(line, "reset", 5), 0);
    }
}

static void look_up(struct model *model)
{
    unsigned frontd = (unsigned) prng_below(&model->prng, FRONTDS);
    unsigned topic = (unsigned) prng_below(&model->prng, TOPICS);
    if (model->is_up[frontd] && !model->cache[frontd][topic].is_known) {
        rig_lookup(&model->rig, frontd, topic, "ns", model->topics[topic]);
    }
}

/* A frontd whose session is over keeps its routes, but asks nobody. */
static void step(struct model *model)
{
    unsigned frontd = (unsigned) prng_below(&model->prng, FRONTDS);
    switch (prng_below(&model->prng, 40)) {
    case 0:
        lose_session(model, frontd);
        break;
    case 1:
        if (!model->is_up[frontd]) {
            bring_up(model, frontd);
        }
        break;
    case 2:
        if (prng_below(&model->prng, 4) == 0) {
            die(model, frontd);
        }
        break;
    case 3:
        model->rig.is_blocked[frontd] = !model->rig.is_blocked[frontd];
        if (!model->rig.is_blocked[frontd]) {
            router_credit(model->rig.router, frontd);
        }
        break;
    case 4:
    case 5:
    case 6:
    case 7:
    case 8:
    case 9:
        add_sub(model);
        break;
    case 10:
    case 11:
    case 12:
    case 13:
        remove_sub(model);
        break;
    case 14:
    case 15:
    case 16:
        (void) router_turn_end(model->rig.router);
        break;
    case 17:
    case 18:
    case 19:
    case 20:
    case 21:
    case 22:
        look_up(model);
        break;
    default:
        hear(model, frontd);
        break;
    }
}

/* All come back and hear everything; then every answer is what the model says. */
static void settle_and_compare(struct model *model)
{
    struct buf line = {0};
    for (unsigned frontd = 0; frontd < FRONTDS; frontd++) {
        if (!model->is_up[frontd]) {
            bring_up(model, frontd);
        }
        model->rig.is_blocked[frontd] = false;
        router_credit(model->rig.router, frontd);
    }
    for (unsigned round = 0; round < 4; round++) {
        rig_turn(&model->rig);
        for (unsigned frontd = 0; frontd < FRONTDS; frontd++) {
            while (model->rig.event_first[frontd] != model->rig.event_count[frontd]) {
                hear(model, frontd);
            }
        }
    }
    ck_assert(model->rig.is_ready);
    for (unsigned i = 0; i < SUBS; i++) {
        ck_assert(!model->subs[i].is_there || model->subs[i].is_confirmed);
    }
    for (unsigned t = 0; t < TOPICS; t++) {
        model_route(model, model->topics[t], &line);
        ck_assert_str_eq(rig_route(&model->rig, "ns", model->topics[t]), buf_text(&line));
        for (unsigned frontd = 0; frontd < FRONTDS; frontd++) {
            const struct cached *cached = &model->cache[frontd][t];
            ck_assert_str_eq(cached->is_known ? cached->route : buf_text(&line), buf_text(&line));
        }
    }
    ck_assert_uint_eq(rig_counts(&model->rig).given_up, 0);
    buf_release(&line);
}

static void run(uint64_t seed, uint32_t work_max, unsigned rounds)
{
    static const char *const words[] = {"a", "b", "c"};
    struct router_options options = rig_options();
    struct model *model = MEM_NEW(struct model);
    options.work_max = work_max;
    prng_init(&model->prng, seed);
    rig_open(&model->rig, &options);
    for (unsigned t = 0; t < TOPICS; t++) {
        char *topic = model->topics[t];
        (void) snprintf(topic, sizeof(model->topics[t]), t % 2 == 0 ? "%s.%s" : "%s.%s.%s",
                        words[t % 3], words[t / 3 % 3], words[t / 9 % 3]);
    }
    for (unsigned frontd = 0; frontd < FRONTDS; frontd++) {
        rig_live(&model->rig, frontd, true);
    }
    router_start(model->rig.router);
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < 4000; i++) {
            step(model);
        }
        settle_and_compare(model);
    }
    ck_assert_uint_gt(model->confirmations, rounds);
    ck_assert_uint_gt(model->checked, rounds);
    rig_close(&model->rig);
    mem_free(model);
}

TEST_WITHIN(what_is_confirmed_is_in_every_route_under_random_churn, 60)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        run(seed, 0, 6);
    }
}

TEST_WITHIN(so_it_is_when_a_turn_may_do_little, 60)
{
    for (uint64_t seed = 101; seed <= 120; seed++) {
        run(seed, 3, 6);
    }
}
