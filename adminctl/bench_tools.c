/* bench tools: payloads that can be checked, names, latencies. */
#include "adminctl/bench.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/bytes.h"

static uint64_t check_of(uint64_t number)
{
    return (number ^ 0x5241494c47554eULL) * 0x9e3779b97f4a7c15ULL;
}

void bench_payload_renumber(uint8_t *payload, uint64_t number)
{
    bytes_put_u64(payload, number);
    bytes_put_u64(payload + 8, check_of(number));
}

void bench_payload_fill(uint8_t *payload, uint64_t size, uint64_t number)
{
    bench_payload_renumber(payload, number);
    memset(payload + BENCH_PAYLOAD_MIN, (int) ('a' + number % BENCH_FILLERS),
           size - BENCH_PAYLOAD_MIN);
}

uint64_t bench_payload_check(const void *payload, uint64_t size)
{
    const uint8_t *bytes = payload;
    if (size < BENCH_PAYLOAD_MIN) {
        return UINT64_MAX;
    }
    uint64_t number = bytes_get_u64(bytes);
    bool same = bytes_get_u64(bytes + 8) == check_of(number);
    /* The filler is checked at both ends: a shifted or mixed payload shows there. */
    uint8_t filler = (uint8_t) ('a' + number % BENCH_FILLERS);
    if (size > BENCH_PAYLOAD_MIN) {
        same = same && bytes[BENCH_PAYLOAD_MIN] == filler && bytes[size - 1] == filler;
    }
    return same ? number : UINT64_MAX;
}

const char *bench_stream_name(const struct bench_options *options, uint64_t number, char *out,
                              uint64_t capacity)
{
    if (options->streams <= 1) {
        (void) snprintf(out, capacity, "%s", options->stream);
    } else {
        (void) snprintf(out, capacity, "%s-%" PRIu64, options->stream, number);
    }
    return out;
}

/* Bucket i holds [1.03^i, 1.03^(i+1)) nanoseconds. */
static const double bucket_log = 0.029558802241544; /* log(1.03) */

uint64_t bench_now_ns(void)
{
    struct timespec now;
    (void) clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this id */
    return (uint64_t) now.tv_sec * 1000000000 + (uint64_t) now.tv_nsec;
}

void bench_latency_add(struct bench_latency *self, uint64_t ns, uint64_t times)
{
    double place = ns > 1 ? log((double) ns) / bucket_log : 0;
    size_t bucket = place >= BENCH_BUCKETS ? BENCH_BUCKETS - 1 : (size_t) place;
    self->buckets[bucket] += times;
    self->count += times;
}

double bench_latency_us(const struct bench_latency *self, double part)
{
    uint64_t wanted = (uint64_t) ((double) self->count * part);
    uint64_t seen = 0;
    for (size_t i = 0; i < BENCH_BUCKETS && self->count > 0; i++) {
        seen += self->buckets[i];
        if (seen > wanted || seen == self->count) {
            return exp(((double) i + 0.5) * bucket_log) / 1000;
        }
    }
    return 0;
}
