/* bench: measuring a node from outside through the client library; the same engine for users and for `make bench`. Every work checks count, order and payload. */
#ifndef ADMINCTL_BENCH_H
#define ADMINCTL_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "adminctl/ctl.h"

struct bench_options {
    const char *stream; /* with streams > 1: a prefix, "<stream>-<n>" */
    const char *group;
    uint64_t count;
    uint64_t size;     /* payload bytes, at least 16 */
    uint64_t inflight; /* published and not yet answered */
    uint64_t batch;    /* records a publish request */
    uint64_t streams;
    bool ids;
    uint64_t members; /* of consume */
    /* ephemeral */
    uint64_t subs;
    uint64_t topics;
    uint64_t groups; /* 0: none */
};

struct bench_result {
    const char *work;
    uint64_t count;
    uint64_t seconds_us;
    uint64_t bytes;
    double p50_us;
    double p99_us;
    uint64_t lost;
    uint64_t out_of_order;
    uint64_t duplicates;
    uint64_t corrupt;   /* payloads that are not what was published */
    uint64_t delivered; /* ephemeral: to all subscribers; `lost` counts deliveries then */
};

/* Each returns 0 or a negative rg_err; rg_last_error tells more. */
int bench_publish(struct ctl *ctl, const struct bench_options *options,
                  struct bench_result *ret_result);
int bench_consume(struct ctl *ctl, const struct bench_options *options,
                  struct bench_result *ret_result);
/* With options->members consumers at once. */
int bench_consume_members(struct ctl *ctl, const struct bench_options *options,
                          struct bench_result *ret_result);
int bench_read(struct ctl *ctl, const struct bench_options *options,
               struct bench_result *ret_result);

int bench_ephemeral(struct ctl *ctl, const struct bench_options *options,
                    struct bench_result *ret_result);
int bench_request(struct ctl *ctl, const struct bench_options *options,
                  struct bench_result *ret_result);

/* --- shared by them --- */

enum { BENCH_PAYLOAD_MIN = 16, BENCH_FILLERS = 26 };

/* Payload n: its number, a check value of the number, then filler. */
void bench_payload_fill(uint8_t *payload, uint64_t size, uint64_t number);
/* The same for a payload that was filled for a number with the same remainder by BENCH_FILLERS: only the number is written. */
void bench_payload_renumber(uint8_t *payload, uint64_t number);
/* The number, or UINT64_MAX if these bytes are not one of ours. */
uint64_t bench_payload_check(const void *payload, uint64_t size);

/* The name of stream n (0-based) of the options, into `out`; returns out. */
const char *bench_stream_name(const struct bench_options *options, uint64_t number, char *out,
                              uint64_t capacity);

/* Latencies in nanoseconds, in buckets of about 3 %: memory does not grow with the count. */
enum { BENCH_BUCKETS = 1024 };
struct bench_latency {
    uint64_t buckets[BENCH_BUCKETS];
    uint64_t count;
};
void bench_latency_add(struct bench_latency *self, uint64_t ns, uint64_t times);
/* In microseconds; part: 0.99. */
double bench_latency_us(const struct bench_latency *self, double part);
uint64_t bench_now_ns(void);

#endif
