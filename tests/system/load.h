/* load: producers and consumers of one stream, each a thread with a connection of its own, by frames. They write the history, reconnect when they are
 * cut off, and end every request: ok, certainly failed or unknown. Start and stop on the test's main thread. */
#ifndef TESTS_SYSTEM_LOAD_H
#define TESTS_SYSTEM_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/system/history.h"
#include "tests/system/node.h"

struct load_options {
    const char *stream; /* has to exist */
    const char *group;  /* NULL: no consumers */
    unsigned producers;
    unsigned consumers;
    unsigned batch_records; /* the most records of a batch; each batch has between 1 and so many */
    unsigned window;        /* batches without an answer; 1: one after the other */
    size_t payload_bytes;
    unsigned pause_us; /* between two batches of a producer */
    unsigned nack_per_mille;
    unsigned sync_percent; /* of the acks */
    unsigned
        leave_per_mille; /* how often a delivery makes a consumer drop its connection, unacknowledged */
    uint64_t seed;
    uint64_t max_records; /* of the stream's retention; 0: it keeps all */
    /* the stream deduplicates: what has no known outcome is sent again until it has */
    bool with_ids;
    bool is_strict; /* the group is exclusive and strict */
    uint64_t nack_delay_ms;
    unsigned slow_per_mille;   /* deliveries that a consumer takes 20 ms for */
    unsigned poison_per_mille; /* records that are nacked whenever they come */
    uint32_t max_failed;       /* of the group's dead letters; 0: it has none */
    const char *dlq;           /* their stream */
};

struct load;

struct load *load_start(const struct node *node, struct history *history,
                        const struct load_options *options);
/* No more batches; returns when every request has ended. The test fails if one has not within `seconds`. */
void load_stop_producers(struct load *self, double seconds);
/* Stop all threads. Nulls; accepts NULL. */
void load_stop(struct load **self);

/* Read the stream from its first offset to the end as the history's final read; returns the next offset. A damaged range fails the test. */
uint64_t load_read_all(const struct node *node, struct history *history, const char *stream);

/* The whole end of a test: stop the producers, let the group drain, read everything, check. The test fails on any violation. Returns
 * the number of records that were acknowledged. */
uint64_t load_finish(struct load **self, double seconds);

#endif
