/* bench publish: batches of checkable records over one or many streams, a bounded number in flight. Latency is measured from handing a batch to the library to its durable
 * answer, so waiting in the library counts (no coordinated omission: a full window delays the next hand-over, which is part of the total time). */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/base/rand.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

#include "adminctl/ask.h"
#include "adminctl/bench.h"

enum { ID_BYTES = 16, SLOTS_MAX = 65536 };

struct slot { /* one batch in flight */
    struct publishing *owner;
    uint64_t started_ns;
    uint64_t stream;
    uint32_t count;
    bool used;
};

struct publishing {
    const struct bench_options *options;
    struct bench_latency latency;
    pthread_mutex_t lock;
    pthread_cond_t room;
    struct slot *slots;
    uint32_t *free_slots;
    uint64_t free_count;
    uint64_t slot_count;
    uint64_t *next_offset; /* expected base of the next answer, a stream */
    uint64_t answered;
    uint64_t out_of_order;
    int error;
};

static void done(void *ud, int result, const struct rg_published *published)
{
    struct slot *slot = ud;
    struct publishing *self = slot->owner;
    (void) pthread_mutex_lock(&self->lock);
    if (result == RG_OK) {
        bench_latency_add(&self->latency, bench_now_ns() - slot->started_ns, slot->count);
        self->answered += published->count;
        /* Answers of one stream come in order of publishing, and we are its only publisher. */
        uint64_t *expected = &self->next_offset[slot->stream];
        self->out_of_order += *expected != 0 && published->base_offset != *expected;
        *expected = published->base_offset + published->count;
    } else if (self->error == 0) {
        self->error = result;
    }
    self->free_slots[self->free_count++] = (uint32_t) (slot - self->slots);
    (void) pthread_cond_signal(&self->room);
    (void) pthread_mutex_unlock(&self->lock);
}

static struct slot *take_slot(struct publishing *self)
{
    (void) pthread_mutex_lock(&self->lock);
    while (self->free_count == 0) {
        (void) pthread_cond_wait(&self->room, &self->lock);
    }
    struct slot *slot =
        self->error == 0 ? &self->slots[self->free_slots[--self->free_count]] : NULL;
    (void) pthread_mutex_unlock(&self->lock);
    return slot;
}

static int publish_all(struct ctl *ctl, struct publishing *self, struct rg_message *messages,
                       uint8_t *payloads, uint8_t *ids)
{
    const struct bench_options *options = self->options;
    uint64_t sent = 0;
    uint64_t batches = 0;
    char(*names)[288] = mem_new_array(options->streams, sizeof(*names));
    uint64_t *numbers = MEM_NEW_ARRAY(options->streams, uint64_t);
    int result = 0;
    INVARIANT(options->streams > 0);
    for (uint64_t s = 0; s < options->streams; s++) {
        (void) bench_stream_name(options, s, names[s], sizeof(names[s]));
    }
    while (result == 0 && sent < options->count) {
        uint64_t count =
            options->count - sent < options->batch ? options->count - sent : options->batch;
        uint64_t stream = batches++ % options->streams;
        for (uint64_t i = 0; i < count; i++) {
            bench_payload_fill(payloads + i * options->size, options->size, numbers[stream]++);
        }
        if (options->ids) {
            entropy_fill(ids, count * ID_BYTES);
        }
        struct slot *slot = take_slot(self);
        if (slot == NULL) {
            break;
        }
        slot->started_ns = bench_now_ns();
        slot->stream = stream;
        slot->count = (uint32_t) count;
        result = rg_publish_batch_async(ctl->client, names[stream], messages, count, done, slot);
        sent += count;
    }
    int flushed = rg_flush(ctl->client, 60000);
    mem_free(names);
    mem_free(numbers);
    return result < 0 ? result : self->error < 0 ? self->error : flushed;
}

/* One outstanding: the blocking call, which has the shortest way. */
static int publish_one_by_one(struct ctl *ctl, struct publishing *self, uint8_t *payload)
{
    const struct bench_options *options = self->options;
    char name[288];
    for (uint64_t i = 0; i < options->count; i++) {
        uint64_t stream = i % options->streams;
        uint64_t offset = 0;
        bench_payload_fill(payload, options->size, i / options->streams);
        uint64_t started = bench_now_ns();
        int result = rg_publish(ctl->client, bench_stream_name(options, stream, name, sizeof(name)),
                                payload, options->size, &offset);
        if (result < 0) {
            return result;
        }
        bench_latency_add(&self->latency, bench_now_ns() - started, 1);
        uint64_t *expected = &self->next_offset[stream];
        self->out_of_order += *expected != 0 && offset != *expected;
        *expected = offset + 1;
        self->answered++;
    }
    return 0;
}

/* A stream that remembers IDs as long as it has room: more may be published than that. */
static int ensure_with_ids(struct ctl *ctl, char *name)
{
    Railgun__Ensure request = RAILGUN__ENSURE__INIT;
    Railgun__StreamSpec spec = RAILGUN__STREAM_SPEC__INIT;
    Railgun__DedupSpec dedup = RAILGUN__DEDUP_SPEC__INIT;
    Railgun__EnsureOk *answer = NULL;
    dedup.has_mode = true;
    dedup.mode = RAILGUN__DEDUP_SPEC__MODE__DEDUP_OPTIONAL;
    dedup.has_shrink_when_full = true;
    dedup.shrink_when_full = true;
    spec.dedup = &dedup;
    request.has_kind = true;
    request.kind = RAILGUN__KIND__KIND_STREAM;
    request.name = name;
    request.stream = &spec;
    int result =
        ASK(ctl, ASK_ENSURE, &request, railgun__ensure_ok, "ensure a stream with ids", &answer);
    SCAN_FREE(&answer);
    return result == 0 ? 0 : RG_ERR_BAD_CONFIG;
}

static int ensure_streams(struct ctl *ctl, const struct bench_options *options)
{
    char name[288];
    for (uint64_t s = 0; s < options->streams; s++) {
        (void) bench_stream_name(options, s, name, sizeof(name));
        int result = options->ids ? ensure_with_ids(ctl, name)
                                  : rg_stream_ensure(ctl->client, name, NULL, NULL);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

int bench_publish(struct ctl *ctl, const struct bench_options *options,
                  struct bench_result *ret_result)
{
    struct publishing *self = MEM_NEW(struct publishing);
    struct rg_message *messages = MEM_NEW_ARRAY(options->batch, struct rg_message);
    uint8_t *payloads = mem_new(options->batch * options->size);
    uint8_t *ids = mem_new(options->batch * ID_BYTES);
    int result = ensure_streams(ctl, options);

    self->options = options;
    self->slot_count =
        options->inflight / options->batch > 0 ? options->inflight / options->batch : 1;
    self->slot_count = self->slot_count > SLOTS_MAX ? SLOTS_MAX : self->slot_count;
    self->slots = MEM_NEW_ARRAY(self->slot_count, struct slot);
    self->free_slots = MEM_NEW_ARRAY(self->slot_count, uint32_t);
    self->next_offset = MEM_NEW_ARRAY(options->streams, uint64_t);
    (void) pthread_mutex_init(&self->lock, NULL);
    (void) pthread_cond_init(&self->room, NULL);
    for (uint64_t i = 0; i < self->slot_count; i++) {
        self->slots[i].owner = self;
        self->free_slots[self->free_count++] = (uint32_t) i;
    }
    for (uint64_t i = 0; i < options->batch; i++) {
        messages[i].payload = (struct rg_bytes){payloads + i * options->size, options->size};
        if (options->ids) {
            messages[i].id = (struct rg_bytes){ids + i * ID_BYTES, ID_BYTES};
        }
    }
    uint64_t started = bench_now_ns();
    if (result == 0 && options->inflight == 1 && options->batch == 1 && !options->ids) {
        result = publish_one_by_one(ctl, self, payloads);
    } else if (result == 0) {
        result = publish_all(ctl, self, messages, payloads, ids);
    }
    *ret_result = (struct bench_result){.work = "publish",
                                        .count = options->count,
                                        .seconds_us = (bench_now_ns() - started) / 1000,
                                        .bytes = options->count * options->size,
                                        .p50_us = bench_latency_us(&self->latency, 0.5),
                                        .p99_us = bench_latency_us(&self->latency, 0.99),
                                        .lost = options->count - self->answered,
                                        .out_of_order = self->out_of_order};
    (void) pthread_cond_destroy(&self->room);
    (void) pthread_mutex_destroy(&self->lock);
    mem_free(self->next_offset);
    mem_free(self->free_slots);
    mem_free(self->slots);
    mem_free(self);
    mem_free(messages);
    mem_free(payloads);
    mem_free(ids);
    return result;
}
