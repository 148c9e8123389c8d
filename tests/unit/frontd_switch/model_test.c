/* Subscriptions under chance: whatever happens, messages come in order, each gap is told before what is behind it, and the sums hold. */
#include <stdio.h>
#include <string.h>

#include "common/base/rand.h"
#include "common/wire/es.h"
#include "common/wire/pb.h"
#include "tests/unit/frontd_switch/fake.h"

struct model {
    struct prng prng;
    struct conn *conn;
    struct subscription *subscription;
    bool is_conflating;
    uint64_t next;      /* the number of the next message */
    uint64_t received;  /* messages */
    uint64_t told;      /* dropped ones */
    uint64_t last_seen; /* number of the last message received, from 1 */
};

/* Numbers as payloads; a few topics. */
static void model_offer(struct model *self)
{
    struct buf bytes = {0};
    uint32_t count =
        (uint32_t) prng_below(&self->prng, prng_below(&self->prng, 8) == 0 ? 300 : 6) + 1;
    size_t padding = prng_below(&self->prng, 16) == 0 ? 3000 : 20;
    char payload[3100];
    char topic[8];
    for (uint32_t i = 0; i < count; i++) {
        (void) snprintf(topic, sizeof(topic), "t%u", (unsigned) prng_below(&self->prng, 5));
        (void) snprintf(payload, sizeof(payload), "%0*llu", (int) padding,
                        (unsigned long long) ++self->next);
        fake_message(&bytes, topic, payload);
    }
    struct run run = fake_run(&bytes, count);
    run.is_shared = prng_below(&self->prng, 2) == 0;
    TEST_ASSERT_FAST(subscription_offer(self->subscription, &run) <= count);
    fake_run_end(&run);
    buf_release(&bytes);
}

static uint64_t number_of(struct span payload)
{
    uint64_t number = 0;
    for (size_t i = 0; i < payload.size; i++) {
        number = number * 10 + (uint64_t) (payload.data[i] - '0');
    }
    return number;
}

static void model_deliver(struct model *self, struct span body)
{
    struct es_limits limits = es_limits_default();
    struct es_message message;
    while (es_next(&body, &limits, &message) == 1) {
        uint64_t number = number_of(message.payload);
        TEST_ASSERT_FAST(number > self->last_seen);
        self->last_seen = number;
        self->received++;
        if (!self->is_conflating) {
            /* All before it came, or are told to be dropped. */
            TEST_ASSERT_FAST(self->told + self->received >= number);
        }
    }
}

static void model_read(struct model *self)
{
    struct frame_view view;
    while (fake_frame(self->conn, &view)) {
        if (view.field == RAILGUN__FRAME__BODY_ES_DELIVER) {
            model_deliver(self, view.body);
        } else {
            struct pb_field field;
            TEST_ASSERT_FAST(view.field == RAILGUN__FRAME__BODY_GROUP_EVENT);
            while (pb_next(&view.body, &field) == 1) {
                self->told += field.number == 3 ? field.value : 0;
            }
        }
    }
    buf_reset(&self->conn->out);
    self->conn->out_read = 0;
}

static void model_check(const struct model *self)
{
    const struct exchange_counts *counts = &fake.exchange.counts;
    TEST_ASSERT_FAST(counts->matched == self->next);
    TEST_ASSERT_FAST(counts->matched == counts->delivered + counts->dropped + fake.exchange.queued);
    TEST_ASSERT_FAST(self->told <= counts->dropped);
}

static void model_step(struct model *self)
{
    switch (prng_below(&self->prng, 8)) {
    case 0:
        self->conn->is_stalled = true;
        break;
    case 1:
        self->conn->is_stalled = prng_below(&self->prng, 4) == 0;
        fake_drain(self->conn);
        break;
    case 2:
        subscription_grant(self->subscription, prng_below(&self->prng, 400),
                           prng_below(&self->prng, 40000));
        break;
    default:
        model_offer(self);
        break;
    }
    model_check(self);
}

static void model_run(uint64_t seed, unsigned policy, bool needs_credit)
{
    struct model model = {.is_conflating = policy == SUBSCRIPTION_CONFLATE};
    fake_start();
    prng_init(&model.prng, seed);
    fake.settings.es_outbound_bytes = 16 << 10;
    fake.settings.es_queued_total_bytes_max = 300 << 10;
    model.conn = fake_conn();
    model.subscription = fake_subscribe(
        model.conn, (struct fake_options){.number = 1,
                                          .policy = policy,
                                          .messages_max = 1 + (uint32_t) (seed * 37 % 400),
                                          .needs_credit = needs_credit});
    for (unsigned i = 0; i < 400; i++) {
        model_step(&model);
        model_read(&model);
    }
    model.conn->is_stalled = false;
    subscription_grant(model.subscription, 1 << 30, 1 << 30);
    fake_drain(model.conn);
    model_read(&model);
    ck_assert_uint_eq(fake.exchange.queued, 0);
    ck_assert_uint_eq(model.received, fake.exchange.counts.delivered);
    ck_assert_uint_eq(model.told, fake.exchange.counts.dropped);
    fake_close(&model.conn);
    fake_stop();
}

TEST(whatever_happens_the_sums_hold_and_gaps_are_told_in_time)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        for (unsigned policy = 0; policy <= SUBSCRIPTION_CONFLATE; policy++) {
            model_run(seed, policy, seed % 2 == 0);
        }
    }
}
