/* subscription_queue: what waits for one slow subscriber: pieces of runs in order, bounded in messages and bytes, dropped by policy; and the gap:
 * what was dropped and not told yet. Made when first needed, destroyed when empty.
 *
 * All queues share a pool, which counts memory as it is: a copy of a run that many queues refer to counts once, as long as
 * anybody refers to it. A queue may use a quarter of what the pool has free, so a few stalled subscribers have much and many have
 * little each, and who stalls last still gets some.
 * @thread loop */
#ifndef FRONTD_SUBSCRIPTION_QUEUE_H
#define FRONTD_SUBSCRIPTION_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/payload.h"
#include "common/base/span.h"

#include "frontd/subscription.h"

struct subscription_queue_pool;

/* `bytes_max` is read each time. `on_request_dropped`: a request that had been queued is dropped; may be NULL. */
struct subscription_queue_pool *
subscription_queue_pool_new(const uint64_t *bytes_max,
                            void (*on_request_dropped)(void *ud, unsigned origin, uint64_t request),
                            void *ud);
/* All queues and copies are gone. */
void subscription_queue_pool_destroy(struct subscription_queue_pool **self);
uint64_t subscription_queue_pool_bytes(const struct subscription_queue_pool *self);
/* What one queue may hold now. */
uint64_t subscription_queue_pool_share(const struct subscription_queue_pool *self);
/* A copy that counts. NULL: no memory. */
struct payload *subscription_queue_pool_copy(struct subscription_queue_pool *self,
                                             struct span bytes);

/* As in client.proto. */
enum subscription_policy {
    SUBSCRIPTION_DROP_OLD,
    SUBSCRIPTION_DROP_NEW,
    SUBSCRIPTION_CONFLATE,
    SUBSCRIPTION_DISCONNECT, /* for the queue as DROP_NEW: the subscription sees to it */
    SUBSCRIPTION_POLICY_COUNT,
};

struct subscription_queue_limits {
    uint32_t messages_max;
    uint64_t bytes_max;
    enum subscription_policy policy;
};

struct subscription_queue;
struct subscription_queue *subscription_queue_new(struct subscription_queue_pool *pool);
/* What waits is dropped: requests are told of, nothing else is. */
void subscription_queue_destroy(struct subscription_queue **self);

/* The last `count` messages of a run are to wait: `messages`, within run->messages. Returns how many of them wait now; the others were dropped (and are
 * in the gap), and of those that waited before *ret_dropped_old. */
uint32_t subscription_queue_offer(struct subscription_queue *self,
                                  const struct subscription_queue_limits *limits, struct run *run,
                                  struct span messages, uint32_t count, uint32_t *ret_dropped_old);

uint32_t subscription_queue_messages(const struct subscription_queue *self);
uint64_t subscription_queue_bytes(const struct subscription_queue *self);
/* Nothing waits and there is no gap to tell. */
bool subscription_queue_is_empty(const struct subscription_queue *self);

/* What may go out next: messages of one entry, at most so many. */
struct subscription_queue_part {
    struct payload *owner;
    struct span messages;
    uint32_t count;
    uint64_t request; /* 0: none; then count is 1 */
    unsigned origin;
    uint32_t timeout_ms;
};
/* false: nothing waits, the first message is larger, or the gap comes first. Borrowed until subscription_queue_taken. */
bool subscription_queue_next(const struct subscription_queue *self, uint32_t count_max,
                             uint64_t bytes_max, struct subscription_queue_part *ret_part);
/* It is out. */
void subscription_queue_taken(struct subscription_queue *self,
                              const struct subscription_queue_part *part);

/* The gap. */
struct subscription_gap {
    uint64_t count;
    uint8_t first_size;
    uint8_t last_size;
    char first_topic[255];
    char last_topic[255];
};
/* The gap, when all that waited before it is out; NULL: none, or not yet. */
const struct subscription_gap *subscription_queue_gap_due(const struct subscription_queue *self);
/* It was told. */
void subscription_queue_gap_told(struct subscription_queue *self);

#endif
