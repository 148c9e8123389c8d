/* bench ephemeral: one publisher, many subscribers, every delivery checked. With one topic each subscriber (a connection each, up to 16) gets every message, or each
 * group does. With more topics, message k has topic BENCH.(k%subs).(k/subs) and subscriber i wants BENCH.i.*, all on one connection: each message goes to one.
 * A bounded number of messages is under way (--inflight), so that what is lost was lost by the server. Latency is of every 1,024th message, from being
 * handed to the library to the last subscriber's callback. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

#include "adminctl/bench.h"

enum {
    CONNECTIONS_MAX = 16,
    TOPIC_TEXT_MAX = 280,
    SAMPLE_EVERY = 1024,
    SAMPLES = 4096,
    STALLED_MS = 5000,
    PAUSE_NS = 20000,
};

struct connection;

/* What one subscriber has seen. Written by its connection's thread, read by the publisher's. */
struct subscriber {
    struct subscribing *all;
    struct connection *connection;
    struct rg_subscription *subscription;
    uint64_t *group_seen; /* a bit a message, set atomically; NULL: in no group */
    uint64_t next;        /* the least number that may come */
    _Atomic uint64_t received;
};

struct connection {
    struct rg_client *client;
    /* of all its subscribers */
    _Atomic uint64_t received;
    uint64_t out_of_order;
    uint64_t duplicates;
    uint64_t corrupt;
    _Atomic uint64_t dropped; /* as the server tells */
    uint64_t padding[8];      /* the next one's counters are another thread's */
};

struct subscribing {
    const struct bench_options *options;
    struct connection connections[CONNECTIONS_MAX];
    size_t connection_count;
    uint64_t share; /* subscribers of each */
    struct subscriber *subscribers;
    _Atomic uint64_t sent_ns[SAMPLES];
    struct bench_latency latency; /* of the first connection's thread */
    uint64_t deliveries;          /* a message is to have */
};

static void on_message(void *ud, struct rg_subscription *subscription,
                       const struct rg_es_delivery *delivery)
{
    struct subscriber *self = ud;
    struct connection *connection = self->connection;
    uint64_t number = bench_payload_check(delivery->payload.data, delivery->payload.size);
    (void) subscription;
    if (number == UINT64_MAX || number >= self->all->options->count) {
        connection->corrupt++;
    } else {
        connection->out_of_order += number < self->next;
        self->next = number + 1;
        if (self->group_seen != NULL) {
            uint64_t bit = UINT64_C(1) << (number % 64);
            connection->duplicates +=
                (__atomic_fetch_or(&self->group_seen[number / 64], bit, __ATOMIC_RELAXED) & bit) !=
                0;
        }
        if (number % SAMPLE_EVERY == 0 && connection == self->all->connections) {
            uint64_t sent = atomic_load_explicit(
                &self->all->sent_ns[number / SAMPLE_EVERY % SAMPLES], memory_order_relaxed);
            bench_latency_add(&self->all->latency, bench_now_ns() - sent, 1);
        }
    }
    /* Only this thread writes them. */
    atomic_store_explicit(&self->received,
                          atomic_load_explicit(&self->received, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    atomic_store_explicit(&connection->received,
                          atomic_load_explicit(&connection->received, memory_order_relaxed) + 1,
                          memory_order_release);
}

static void on_event(void *ud, struct rg_subscription *subscription,
                     const struct rg_es_event *event)
{
    struct subscriber *self = ud;
    (void) subscription;
    if (event->type == RG_ES_DROPPED) {
        atomic_fetch_add(&self->connection->dropped, event->count);
    }
}

static const char *topic_of(const struct bench_options *options, uint64_t k, char *out)
{
    if (options->topics == 1) {
        (void) snprintf(out, TOPIC_TEXT_MAX, "%s", options->stream);
    } else {
        (void) snprintf(out, TOPIC_TEXT_MAX, "%s.%llu.%llu", options->stream,
                        (unsigned long long) (k % options->subs),
                        (unsigned long long) (k / options->subs));
    }
    return out;
}

static int subscribe_one(struct subscribing *self, uint64_t i, uint64_t **group_bits)
{
    const struct bench_options *options = self->options;
    struct subscriber *subscriber = &self->subscribers[i];
    char matcher[TOPIC_TEXT_MAX + 8];
    char group[32];
    const char *matchers[] = {matcher};
    struct rg_subscribe_options subscribe = {.matchers = matchers,
                                             .matcher_count = 1,
                                             .on_message = on_message,
                                             .on_event = on_event,
                                             .ud = subscriber};
    if (options->topics == 1) {
        (void) snprintf(matcher, sizeof(matcher), "%s", options->stream);
    } else {
        (void) snprintf(matcher, sizeof(matcher), "%s.%llu.*", options->stream,
                        (unsigned long long) i);
    }
    subscriber->all = self;
    subscriber->connection = &self->connections[i % self->connection_count];
    if (options->groups > 0) {
        (void) snprintf(group, sizeof(group), "bench-%llu",
                        (unsigned long long) (i % options->groups));
        subscribe.group = group;
        subscriber->group_seen = group_bits[i % options->groups];
    }
    return rg_subscribe(subscriber->connection->client, &subscribe, &subscriber->subscription);
}

/* Deliveries so far, of the slowest: how many messages everybody has. */
static uint64_t delivered(const struct subscribing *self)
{
    uint64_t least = UINT64_MAX;
    uint64_t sum = 0;
    for (size_t i = 0; i < self->connection_count; i++) {
        uint64_t received =
            atomic_load_explicit(&self->connections[i].received, memory_order_acquire);
        sum += received;
        least = received < least ? received : least;
    }
    if (self->options->topics > 1 || self->options->groups > 0) {
        return sum / self->deliveries;
    }
    return least / self->share;
}

/* Until everybody has all but `window` of what was sent. false: nothing comes any more. */
static bool wait_for(const struct subscribing *self, uint64_t sent, uint64_t window)
{
    static const struct timespec pause = {0, PAUSE_NS};
    uint64_t seen = delivered(self);
    uint64_t since_ns = bench_now_ns();
    while (sent - seen > window) {
        (void) nanosleep(&pause, NULL);
        uint64_t now = delivered(self);
        uint64_t now_ns = bench_now_ns();
        if (now != seen) {
            seen = now;
            since_ns = now_ns;
        } else if (now_ns - since_ns > (uint64_t) STALLED_MS * 1000000) {
            return false;
        }
    }
    return true;
}

static int publish_all(struct ctl *ctl, struct subscribing *self, uint64_t *ret_published)
{
    const struct bench_options *options = self->options;
    struct rg_es_message *messages = MEM_NEW_ARRAY(options->batch, struct rg_es_message);
    uint8_t *payloads = mem_new(options->batch * options->size);
    char(*topics)[TOPIC_TEXT_MAX] = mem_new_array(options->topics, sizeof(*topics));
    uint64_t sent = 0;
    int result = 0;
    INVARIANT(options->topics > 0); /* as the command has checked */
    for (uint64_t k = 0; k < options->topics; k++) {
        (void) topic_of(options, k, topics[k]);
    }
    while (result == 0 && sent < options->count) {
        uint64_t count =
            options->count - sent < options->batch ? options->count - sent : options->batch;
        if (!wait_for(self, sent + count, options->inflight)) {
            break; /* what is missing shows as lost */
        }
        for (uint64_t i = 0; i < count; i++) {
            uint64_t number = sent + i;
            if (sent >= options->batch && options->batch % BENCH_FILLERS == 0) {
                bench_payload_renumber(payloads + i * options->size, number);
            } else {
                bench_payload_fill(payloads + i * options->size, options->size, number);
            }
            messages[i].topic = topics[number % options->topics];
            messages[i].payload = (struct rg_bytes){payloads + i * options->size, options->size};
            if (number % SAMPLE_EVERY == 0) {
                atomic_store_explicit(&self->sent_ns[number / SAMPLE_EVERY % SAMPLES],
                                      bench_now_ns(), memory_order_relaxed);
            }
        }
        result = rg_es_publish_batch(ctl->client, NULL, messages, count);
        sent += result == 0 ? count : 0;
    }
    (void) wait_for(self, sent, 0);
    mem_free(topics);
    mem_free(payloads);
    mem_free(messages);
    *ret_published = sent;
    return result;
}

static void sum_up(struct subscribing *self, uint64_t published, struct bench_result *result)
{
    uint64_t wanted = self->options->count * self->deliveries;
    for (size_t i = 0; i < self->connection_count; i++) {
        struct connection *connection = &self->connections[i];
        result->delivered += atomic_load(&connection->received);
        result->out_of_order += connection->out_of_order;
        result->duplicates += connection->duplicates;
        result->corrupt += connection->corrupt;
    }
    result->lost = wanted > result->delivered ? wanted - result->delivered : 0;
    result->duplicates += result->delivered > wanted ? result->delivered - wanted : 0;
    result->bytes = published * self->options->size;
    result->p50_us = bench_latency_us(&self->latency, 0.5);
    result->p99_us = bench_latency_us(&self->latency, 0.99);
}

static void close_all(struct subscribing *self)
{
    for (uint64_t i = 0; i < self->options->subs; i++) {
        rg_subscription_close(&self->subscribers[i].subscription);
    }
    for (size_t i = 0; i < self->connection_count; i++) {
        rg_close(&self->connections[i].client);
    }
}

int bench_ephemeral(struct ctl *ctl, const struct bench_options *options,
                    struct bench_result *ret_result)
{
    struct subscribing *self = MEM_NEW(struct subscribing);
    uint64_t **group_bits = MEM_NEW_ARRAY(options->groups + 1, uint64_t *);
    struct bench_result result = {.work = "ephemeral", .count = options->count};
    uint64_t published = 0;
    int error = 0;
    self->options = options;
    self->subscribers = MEM_NEW_ARRAY(options->subs, struct subscriber);
    /* Each connection gets as many subscribers as the others. */
    self->connection_count = options->topics > 1 ? 1 : CONNECTIONS_MAX;
    while (options->subs % self->connection_count != 0) {
        self->connection_count--;
    }
    self->share = options->subs / self->connection_count;
    INVARIANT(self->share > 0); /* there is a subscriber, as the command has checked */
    self->deliveries = options->topics > 1   ? 1
                       : options->groups > 0 ? options->groups
                                             : options->subs;
    for (uint64_t g = 0; g < options->groups; g++) {
        group_bits[g] = MEM_NEW_ARRAY((options->count + 63) / 64, uint64_t);
    }
    for (size_t i = 0; i < self->connection_count && error == 0; i++) {
        error = ctl_open(ctl, &self->connections[i].client) != 0 ? RG_ERR_CLOSED : 0;
    }
    for (uint64_t i = 0; i < options->subs && error == 0; i++) {
        error = subscribe_one(self, i, group_bits);
    }
    uint64_t started = bench_now_ns();
    if (error == 0) {
        error = publish_all(ctl, self, &published);
    }
    result.seconds_us = (bench_now_ns() - started) / 1000;
    close_all(self); /* their threads have ended: what they counted may be read */
    sum_up(self, published, &result);
    for (uint64_t g = 0; g < options->groups; g++) {
        mem_free(group_bits[g]);
    }
    mem_free(group_bits);
    mem_free(self->subscribers);
    mem_free(self);
    *ret_result = result;
    return error;
}
