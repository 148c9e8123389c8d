/* bench consume with several members: each has a connection and a thread of its own. Every record must come to one of them, once, whole, and to each
 * member in rising order. */
#include <pthread.h>
#include <stdatomic.h>

#include "common/base/mem.h"

#include "adminctl/bench.h"

enum { LOOK_MS = 20, SILENCE_MS = 10000, ACK_EVERY = 1024 };

struct party {
    struct ctl *ctl;
    const struct bench_options *options;
    _Atomic uint8_t *seen; /* of each payload's number */
    atomic_uint_least64_t received;
    atomic_uint_least64_t duplicates;
    atomic_uint_least64_t out_of_order;
    atomic_uint_least64_t corrupt;
    atomic_int error;
};

struct member {
    struct party *party;
    struct rg_client *client;
    struct rg_consumer *consumer;
    pthread_t thread;
    uint64_t first; /* not acknowledged yet; 0: nothing */
    uint64_t last;
};

static void member_check(struct member *self, const struct rg_record *record)
{
    struct party *party = self->party;
    uint64_t number = bench_payload_check(record->payload.data, record->payload.size);
    if (number >= party->options->count) {
        party->corrupt++;
    } else if (atomic_exchange(&party->seen[number], 1) != 0) {
        party->duplicates++;
    }
    party->out_of_order += record->offset <= self->last;
    party->received++;
}

static int member_take(struct member *self)
{
    struct rg_record record;
    int result = rg_consumer_next(self->consumer, LOOK_MS, &record);
    if (result < 0) {
        return result;
    }
    member_check(self, &record);
    if (self->first != 0 &&
        (record.offset != self->last + 1 || self->last - self->first + 1 >= ACK_EVERY)) {
        result = rg_ack(self->consumer, self->first, self->last);
        self->first = 0;
    }
    self->first = self->first == 0 ? record.offset : self->first;
    self->last = record.offset;
    return result;
}

static void *member_run(void *ud)
{
    struct member *self = ud;
    struct party *party = self->party;
    unsigned silent_ms = 0;
    int result = 0;
    while (result == 0 && party->received < party->options->count && silent_ms < SILENCE_MS) {
        result = member_take(self);
        silent_ms = result == RG_ERR_AGAIN ? silent_ms + LOOK_MS : 0;
        result = result == RG_ERR_AGAIN ? 0 : result;
    }
    if (result == 0 && self->first != 0) {
        result = rg_ack_sync(self->consumer, self->first, self->last);
    }
    if (result < 0) {
        party->error = result;
    }
    return NULL;
}

/* 0, or the error. */
static int member_join(struct member *self, struct party *party)
{
    char name[288];
    const struct bench_options *options = party->options;
    struct rg_consume_options consume = {
        .consumer = "bench",
        .prefetch_messages = (uint32_t) (options->inflight < 1 << 20 ? options->inflight : 1 << 20),
        .prefetch_bytes = 8 << 20};
    self->party = party;
    if (ctl_open(party->ctl, &self->client) != 0) {
        return RG_ERR_CLOSED;
    }
    return rg_consume(self->client, bench_stream_name(options, 0, name, sizeof(name)),
                      options->group, &consume, &self->consumer);
}

int bench_consume_members(struct ctl *ctl, const struct bench_options *options,
                          struct bench_result *ret_result)
{
    struct party party = {.ctl = ctl, .options = options};
    struct member *members = MEM_NEW_ARRAY(options->members, struct member);
    uint64_t running = 0;
    int result = 0;
    void *seen = mem_new_array(options->count, sizeof(*party.seen));
    party.seen = seen;
    uint64_t started = bench_now_ns();
    for (uint64_t i = 0; i < options->members && result == 0; i++) {
        result = member_join(&members[i], &party);
        if (result == 0 && pthread_create(&members[i].thread, NULL, member_run, &members[i]) == 0) {
            running++;
        } else if (result == 0) {
            result = RG_ERR_NO_MEMORY;
        }
    }
    for (uint64_t i = 0; i < running; i++) {
        (void) pthread_join(members[i].thread, NULL); /* it was made */
    }
    uint64_t seconds_us = (bench_now_ns() - started) / 1000;
    for (uint64_t i = 0; i < options->members; i++) {
        rg_consumer_close(&members[i].consumer);
        rg_close(&members[i].client);
    }
    uint64_t received = party.received;
    *ret_result = (struct bench_result){
        .work = "consume",
        .count = options->count,
        .seconds_us = seconds_us,
        .bytes = received * options->size,
        .lost = options->count > received ? options->count - received : 0,
        .out_of_order = party.out_of_order,
        .duplicates = party.duplicates,
        .corrupt = party.corrupt,
    };
    mem_free(members);
    mem_free(seen);
    return result != 0 ? result : party.error;
}
