/* bench consume and read: everything that `bench publish` stored, with count, order and payload checked. Consume acknowledges all and ends when the acknowledgements are
 * durable. Their latency is how long the caller waits for its next record (every 16th is timed): the median says how quick the walk is, the 99th percentile how
 * long the pauses are. */
#include <stdio.h>

#include "common/base/mem.h"

#include "adminctl/bench.h"

enum { WAIT_MS = 10000, ACK_EVERY = 1024, TIMED_EVERY = 16 };

/* What one stream's receiver expects. */
struct receiving {
    uint64_t next;   /* offset */
    uint64_t number; /* of the payload; UINT64_MAX: not known yet */
    uint64_t received;
    uint64_t out_of_order;
    uint64_t duplicates;
    uint64_t corrupt;
    struct bench_latency *latency;
};

static void receive(struct receiving *self, const struct rg_record *record)
{
    uint64_t number = bench_payload_check(record->payload.data, record->payload.size);
    self->received++;
    if (self->next != 0 && record->offset != self->next) {
        if (record->offset < self->next) {
            self->duplicates++;
        } else {
            self->out_of_order++;
        }
    }
    self->next = record->offset + 1;
    self->corrupt += number == UINT64_MAX;
    if (number != UINT64_MAX && number != 0 && self->number != UINT64_MAX &&
        number != self->number + 1) {
        self->out_of_order++; /* number 0 begins another run of bench publish */
    }
    self->number = number;
}

static int consume_stream(struct ctl *ctl, const struct bench_options *options, uint64_t number,
                          uint64_t count, struct receiving *receiving)
{
    char name[288];
    struct rg_consumer *consumer = NULL;
    struct rg_consume_options consume = {
        .consumer = "bench",
        .prefetch_messages = (uint32_t) (options->inflight < 1 << 20 ? options->inflight : 1 << 20),
        .prefetch_bytes = 8 << 20};
    int result = rg_consume(ctl->client, bench_stream_name(options, number, name, sizeof(name)),
                            options->group, &consume, &consumer);
    uint64_t first = 0;
    uint64_t last = 0;
    while (result == 0 && receiving->received < count) {
        struct rg_record record;
        bool is_timed = receiving->received % TIMED_EVERY == 0;
        uint64_t asked_ns = is_timed ? bench_now_ns() : 0;
        result = rg_consumer_next(consumer, WAIT_MS, &record);
        if (is_timed) {
            bench_latency_add(receiving->latency, bench_now_ns() - asked_ns, 1);
        }
        if (result < 0) {
            break;
        }
        receive(receiving, &record);
        if (first != 0 && (record.offset != last + 1 || last - first + 1 >= ACK_EVERY)) {
            result = rg_ack(consumer, first, last);
            first = 0;
        }
        first = first == 0 ? record.offset : first;
        last = record.offset;
    }
    if (first != 0 && (result == 0 || result == RG_ERR_AGAIN)) {
        int acked = rg_ack_sync(consumer, first, last);
        result = result == 0 ? acked : result;
    }
    rg_consumer_close(&consumer);
    return result == RG_ERR_AGAIN ? 0 : result; /* what is missing shows as lost */
}

static int read_stream(struct ctl *ctl, const struct bench_options *options, uint64_t number,
                       uint64_t count, struct receiving *receiving)
{
    char name[288];
    struct rg_reader *reader = NULL;
    int result = rg_reader_open(ctl->client, bench_stream_name(options, number, name, sizeof(name)),
                                (struct rg_start){RG_START_FIRST, 0}, &reader);
    while (result == 0 && receiving->received < count) {
        struct rg_record record;
        bool is_timed = receiving->received % TIMED_EVERY == 0;
        uint64_t asked_ns = is_timed ? bench_now_ns() : 0;
        result = rg_reader_next(reader, WAIT_MS, &record);
        if (is_timed) {
            bench_latency_add(receiving->latency, bench_now_ns() - asked_ns, 1);
        }
        if (result == 0) {
            receive(receiving, &record);
        }
    }
    rg_reader_close(&reader);
    return result == RG_ERR_AGAIN ? 0 : result;
}

static int run(struct ctl *ctl, const struct bench_options *options, bool consume,
               struct bench_result *ret_result)
{
    int result = 0;
    uint64_t received = 0;
    struct bench_result out = {.work = consume ? "consume" : "read", .count = options->count};
    struct bench_latency *latency = MEM_NEW(struct bench_latency);
    uint64_t started = bench_now_ns();
    for (uint64_t s = 0; s < options->streams && result == 0; s++) {
        struct receiving receiving = {.number = UINT64_MAX, .latency = latency};
        /* bench publish gives batch b to stream b % streams. */
        uint64_t batches = (options->count + options->batch - 1) / options->batch;
        uint64_t own = batches / options->streams + (s < batches % options->streams ? 1 : 0);
        uint64_t count = own * options->batch;
        if (batches > 0 && s == (batches - 1) % options->streams) {
            count -= batches * options->batch - options->count;
        }
        result = consume ? consume_stream(ctl, options, s, count, &receiving)
                         : read_stream(ctl, options, s, count, &receiving);
        received += receiving.received;
        out.out_of_order += receiving.out_of_order;
        out.duplicates += receiving.duplicates;
        out.corrupt += receiving.corrupt;
        if (result == 0 && receiving.received < count && s + 1 < options->streams) {
            char name[288];
            (void) fprintf(stderr,
                           "adminctl: bench %s: nothing more came from '%s'; the streams behind it "
                           "were not asked\n",
                           out.work, bench_stream_name(options, s, name, sizeof(name)));
            break;
        }
    }
    out.seconds_us = (bench_now_ns() - started) / 1000;
    out.bytes = received * options->size;
    out.lost = options->count > received ? options->count - received : 0;
    out.p50_us = bench_latency_us(latency, 0.5);
    out.p99_us = bench_latency_us(latency, 0.99);
    mem_free(latency);
    *ret_result = out;
    return result;
}

int bench_consume(struct ctl *ctl, const struct bench_options *options,
                  struct bench_result *ret_result)
{
    return options->members > 1 ? bench_consume_members(ctl, options, ret_result)
                                : run(ctl, options, true, ret_result);
}

int bench_read(struct ctl *ctl, const struct bench_options *options,
               struct bench_result *ret_result)
{
    return run(ctl, options, false, ret_result);
}
