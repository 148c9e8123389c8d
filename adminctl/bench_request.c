/* bench request: one client asks, another one replies what was asked; with one outstanding the blocking call, which has the shortest way, else a bounded number at a
 * time. Every reply is checked. */
#include <pthread.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"

#include "adminctl/bench.h"

enum { WAIT_MS = 5000 };

struct slot { /* a request under way */
    struct requesting *owner;
    uint64_t number;
    uint64_t started_ns;
};

struct requesting {
    const struct bench_options *options;
    struct bench_latency latency;
    pthread_mutex_t lock;
    pthread_cond_t room;
    struct slot *slots;
    uint32_t *free_slots;
    uint64_t free_count;
    uint64_t answered;
    uint64_t corrupt;
    int error;
};

static void on_request(void *ud, struct rg_subscription *subscription,
                       const struct rg_es_delivery *delivery)
{
    struct rg_client *client = ud;
    (void) subscription;
    /* An error shows as a request without a reply. */
    (void) rg_reply(client, delivery->reply_to, delivery->payload.data, delivery->payload.size);
}

static void on_reply(void *ud, int result, bool more, const struct rg_es_delivery *reply)
{
    struct slot *slot = ud;
    struct requesting *self = slot->owner;
    if (more) {
        return;
    }
    (void) pthread_mutex_lock(&self->lock);
    if (result == RG_OK) {
        bench_latency_add(&self->latency, bench_now_ns() - slot->started_ns, 1);
        self->answered++;
        self->corrupt +=
            bench_payload_check(reply->payload.data, reply->payload.size) != slot->number;
    } else if (self->error == 0) {
        self->error = result;
    }
    self->free_slots[self->free_count++] = (uint32_t) (slot - self->slots);
    (void) pthread_cond_signal(&self->room);
    (void) pthread_mutex_unlock(&self->lock);
}

static int ask_one_by_one(struct ctl *ctl, struct requesting *self, uint8_t *payload)
{
    const struct bench_options *options = self->options;
    int result = 0;
    for (uint64_t i = 0; i < options->count && result == 0; i++) {
        void *reply = NULL;
        size_t size = 0;
        bench_payload_fill(payload, options->size, i);
        uint64_t started = bench_now_ns();
        result = rg_request(ctl->client, options->stream, payload, options->size, WAIT_MS, &reply,
                            &size);
        if (result == RG_OK) {
            bench_latency_add(&self->latency, bench_now_ns() - started, 1);
            self->answered++;
            self->corrupt += bench_payload_check(reply, size) != i;
        }
        rg_free(reply);
    }
    return result;
}

static int ask_many(struct ctl *ctl, struct requesting *self, uint8_t *payload)
{
    const struct bench_options *options = self->options;
    const struct rg_request_options request = {.timeout_ms = WAIT_MS};
    struct rg_es_message message = {.topic = options->stream, .payload = {payload, options->size}};
    int result = 0;
    for (uint64_t i = 0; i < options->count && result == 0; i++) {
        (void) pthread_mutex_lock(&self->lock);
        while (self->free_count == 0) {
            (void) pthread_cond_wait(&self->room, &self->lock);
        }
        result = self->error;
        struct slot *slot = &self->slots[self->free_slots[--self->free_count]];
        (void) pthread_mutex_unlock(&self->lock);
        bench_payload_fill(payload, options->size, i);
        *slot = (struct slot){self, i, bench_now_ns()};
        if (result == 0) {
            result = rg_request_async(ctl->client, &message, &request, on_reply, slot, NULL);
        }
        if (result != 0) {
            (void) pthread_mutex_lock(&self->lock);
            self->free_slots[self->free_count++] = (uint32_t) (slot - self->slots);
            (void) pthread_mutex_unlock(&self->lock);
        }
    }
    (void) pthread_mutex_lock(&self->lock);
    while (self->free_count < options->inflight) {
        (void) pthread_cond_wait(&self->room, &self->lock);
    }
    result = result != 0 ? result : self->error;
    (void) pthread_mutex_unlock(&self->lock);
    return result;
}

static int subscribe(struct ctl *ctl, const char *topic, struct rg_client **ret_client,
                     struct rg_subscription **ret_subscription)
{
    const char *matchers[] = {topic};
    if (ctl_open(ctl, ret_client) != 0) {
        return RG_ERR_CLOSED;
    }
    return rg_subscribe(
        *ret_client,
        &(struct rg_subscribe_options){
            .matchers = matchers, .matcher_count = 1, .on_message = on_request, .ud = *ret_client},
        ret_subscription);
}

int bench_request(struct ctl *ctl, const struct bench_options *options,
                  struct bench_result *ret_result)
{
    struct requesting *self = MEM_NEW(struct requesting);
    struct rg_client *responder = NULL;
    struct rg_subscription *subscription = NULL;
    uint8_t *payload = mem_new(options->size);
    self->options = options;
    self->slots = MEM_NEW_ARRAY(options->inflight, struct slot);
    self->free_slots = MEM_NEW_ARRAY(options->inflight, uint32_t);
    (void) pthread_mutex_init(&self->lock, NULL);
    (void) pthread_cond_init(&self->room, NULL);
    for (uint64_t i = 0; i < options->inflight; i++) {
        self->free_slots[self->free_count++] = (uint32_t) i;
    }
    int result = subscribe(ctl, options->stream, &responder, &subscription);
    uint64_t started = bench_now_ns();
    if (result == 0) {
        result = options->inflight == 1 ? ask_one_by_one(ctl, self, payload)
                                        : ask_many(ctl, self, payload);
    }
    *ret_result = (struct bench_result){.work = "request",
                                        .count = options->count,
                                        .seconds_us = (bench_now_ns() - started) / 1000,
                                        .bytes = options->count * options->size,
                                        .p50_us = bench_latency_us(&self->latency, 0.5),
                                        .p99_us = bench_latency_us(&self->latency, 0.99),
                                        .lost = options->count - self->answered,
                                        .corrupt = self->corrupt};
    rg_subscription_close(&subscription);
    rg_close(&responder);
    (void) pthread_cond_destroy(&self->room);
    (void) pthread_mutex_destroy(&self->lock);
    mem_free(self->free_slots);
    mem_free(self->slots);
    mem_free(self);
    mem_free(payload);
    return result;
}
