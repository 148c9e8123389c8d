/* Whatever happens in whatever order, each request ends once. */
#include "frontd/responses.h"

#include <stdio.h>

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "tests/lib/test.h"
#include "tests/unit/frontd_responses/expect.h"
#include "tests/unit/frontd_responses/fake.h"

struct asked_model {
    struct client *asker;
    uint64_t corr;
    uint32_t max_replies;
    uint32_t replies;
    unsigned ends;
};

enum { MODEL_MAX = 4000, CLIENTS = 9 };

/* No request is given up while somebody may answer it. */
static void model_check_lost(const struct asked_model *model, int error)
{
    char payload[32];
    (void) snprintf(payload, sizeof(payload), "%u", (unsigned) model->corr);
    if (error == ERR_RESPONDER_LOST || error == ERR_NO_RESPONDERS) {
        TEST_ASSERT_FAST(!fake_may_be_answered(span_of(payload)));
    }
}

static void model_read(struct client *client, struct asked_model *models, size_t count)
{
    const struct sent *sent = NULL;
    while ((sent = client_next(client)) != NULL) {
        struct es_result result;
        if (sent->field != RAILGUN__FRAME__BODY_RESULT) {
            continue;
        }
        TEST_ASSERT_FAST(sent->corr >= 1 && sent->corr <= count);
        struct asked_model *model = &models[sent->corr - 1];
        TEST_ASSERT_FAST(model->asker == client);
        TEST_ASSERT_FAST(es_result_read(buf_span(&sent->body), &result) == 0);
        TEST_ASSERT_FAST(model->ends == 0);
        if (result.has_message) {
            TEST_ASSERT_FAST(result.code == 0);
            TEST_ASSERT_FAST(result.replies == ++model->replies);
            TEST_ASSERT_FAST(result.more == (model->replies < model->max_replies));
        } else {
            TEST_ASSERT_FAST(result.code != 0 && !result.more);
            TEST_ASSERT_FAST(result.replies == model->replies);
            model_check_lost(model, -(int) result.code);
        }
        model->ends += result.more ? 0 : 1;
    }
}

static void model_receivers(struct client **clients, struct prng *prng)
{
    static const enum fate fates[] = {FATE_DELIVERED, FATE_DELIVERED, FATE_DELIVERED,
                                      FATE_QUEUED,    FATE_DROPPED,   FATE_REFUSED};
    size_t count = prng_below(prng, 4);
    fake_receivers_reset();
    for (size_t i = 0; i < count; i++) {
        fake_receiver(clients[prng_below(prng, CLIENTS)],
                      fates[prng_below(prng, sizeof(fates) / sizeof(fates[0]))]);
    }
}

static void model_ask(struct client *asker, struct asked_model *models, size_t *count,
                      struct prng *prng)
{
    static const char *const names[] = {NULL, NULL, NULL, NULL, "a", "b"};
    struct asked_model *model = &models[*count];
    uint32_t max_replies = prng_below(prng, 3) == 0 ? 3 : 1;
    char payload[32];
    (void) snprintf(payload, sizeof(payload), "%u", (unsigned) *count + 1);
    struct request_options options = {
        .timeout_ms = (uint32_t) (1 + prng_below(prng, 500)),
        .max_replies = max_replies,
        .payload = payload,
        .response = names[prng_below(prng, sizeof(names) / sizeof(names[0]))],
    };
    *model = (struct asked_model){.asker = asker, .corr = *count + 1, .max_replies = max_replies};
    TEST_ASSERT_FAST(client_request(asker, model->corr, &options) == 0);
    ++*count;
}

static void model_event(struct client **clients, struct asked_model *models, size_t *count,
                        struct prng *prng)
{
    size_t which = prng_below(prng, CLIENTS);
    struct client *client = clients[which];
    uint64_t dice = prng_below(prng, 100);
    if (dice < 25) {
        model_receivers(clients, prng);
        model_ask(client, models, count, prng);
    } else if (dice < 50) {
        size_t given = client_given(client);
        if (given != 0) {
            size_t back = prng_below(prng, given < 5 ? given : 5);
            (void) client_reply(client, 0, client_address_at(client, given - 1 - back), "r");
        }
    } else if (dice < 52) {
        (void) client_reply(client, 0, span_of(prng_below(prng, 2) == 0 ? "a" : "b"), "r");
    } else if (dice < 55 && *count != 0) {
        struct asked_model *model = &models[prng_below(prng, *count)];
        if (model->asker->is_open) {
            (void) client_cancel(model->asker, model->corr);
        }
    } else if (dice < 58) {
        client_close(client);
    } else if (dice < 75) {
        (void) fake_bus_step();
    } else if (dice < 80) {
        (void) fake_queue_run(prng_below(prng, 2) == 0);
    } else if (dice < 84) {
        (void) fake_names_step();
    } else if (dice < 88) {
        fake_inlets_run();
    } else if (dice < 90) {
        fake.route_waits = prng_below(prng, 3) == 0;
    } else if (dice < 91) {
        fake_kill((unsigned) prng_below(prng, NODES), true);
    } else if (dice < 95) {
        fake_pass(prng_below(prng, 60));
    } else {
        fake_defer_run();
    }
}

/* All is where it was on its way to, but no time passes: what nobody can answer has ended. */
static void model_settle(struct client **clients, struct asked_model *models, size_t count)
{
    fake.route_waits = false;
    do {
        fake_inlets_run();
        fake_settle();
    } while (fake_names_step());
    for (unsigned i = 0; i < CLIENTS; i++) {
        model_read(clients[i], models, count);
    }
    for (size_t i = 0; i < count; i++) {
        char payload[32];
        (void) snprintf(payload, sizeof(payload), "%zu", i + 1);
        if (models[i].asker->is_open && models[i].ends == 0) {
            TEST_ASSERT_FAST(fake_may_be_answered(span_of(payload)));
        }
    }
}

static void model_run(uint64_t seed)
{
    static struct asked_model models[MODEL_MAX];
    struct client *clients[CLIENTS];
    size_t count = 0;
    struct prng prng;
    fake = (struct fake){0};
    fake_start();
    prng_init(&prng, seed);
    prng_init(&fake.prng, seed + 1);
    fake.is_random = true;
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = client_open(i % NODES);
    }
    for (unsigned step = 0; step < 3000 && count < MODEL_MAX; step++) {
        model_event(clients, models, &count, &prng);
        for (unsigned i = 0; i < CLIENTS; i++) {
            model_read(clients[i], models, count);
            if (!clients[i]->is_open) {
                clients[i] = client_open(i % NODES);
            }
        }
    }
    model_settle(clients, models, count);
    fake_pass(1000);
    fake_settle();
    for (unsigned i = 0; i < CLIENTS; i++) {
        model_read(clients[i], models, count);
    }
    for (size_t i = 0; i < count; i++) {
        if (models[i].asker->is_open) {
            ck_assert_msg(models[i].ends == 1, "seed %lu: request %zu ended %u times",
                          (unsigned long) seed, i + 1, models[i].ends);
        }
    }
    for (unsigned i = 0; i < NODES; i++) {
        ck_assert_uint_eq(counts_of(i).open, 0);
        ck_assert_uint_eq(counts_of(i).awaiting, 0);
    }
    ck_assert_uint_eq(fake.claims, 0);
    fake_stop();
}

TEST(whatever_happens_each_request_ends_once)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        model_run(seed);
    }
}
