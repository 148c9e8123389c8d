/* group_limits: of a group's configuration (GroupSpec of common/wire/client.proto) what delivery needs to know. What is absent, or 0 where 0 makes
 * no sense, is the default. */
#ifndef LOGD_GROUP_LIMITS_H
#define LOGD_GROUP_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"

enum {
    GROUP_IN_FLIGHT_DEFAULT = 10000,
    GROUP_HOLES_DEFAULT = 10000,
    GROUP_DELAYED_DEFAULT = 100000,
    GROUP_BACKOFF_MAX = 16, /* steps; further ones are not looked at */
    GROUP_JITTER_DEFAULT = 10,
    GROUP_DRAIN_MS_DEFAULT = 30000,
    GROUP_DLQ_FAILED_DEFAULT = 20,
    GROUP_BREAKER_WINDOW_MS_DEFAULT = 60000,
    GROUP_BREAKER_MIN_DEFAULT = 100,
};
/* No delay is longer: 7 days. */
#define GROUP_DELAY_MS_MAX (UINT64_C(7) * 24 * 3600 * 1000)

struct group_dlq_limits {
    bool is_on;            /* it names a stream: group_limits_dlq_stream */
    bool park;             /* when that stream does not take a message; otherwise the group stops */
    uint32_t max_failed;   /* 0: not used */
    uint64_t max_distance; /* 0: not used */
    uint64_t max_age_ms;   /* 0: not used */
    uint32_t breaker_ratio_percent; /* 0: not used */
    uint64_t breaker_window_ms;
    uint32_t breaker_min;
};

struct group_limits {
    bool is_exclusive;
    bool is_relaxed; /* an exclusive one: ORDER_RELAXED */
    uint64_t in_flight_max;
    uint64_t member_in_flight_max;
    uint64_t holes_max;
    uint64_t delayed_max;
    uint64_t ack_wait_ms; /* 0: as long as the member lives */
    uint64_t backoff_ms[GROUP_BACKOFF_MAX];
    uint32_t backoff_count; /* > 0 */
    uint32_t jitter_percent;
    uint64_t drain_timeout_ms;
    uint64_t inactive_ttl_ms; /* 0: never */
    struct group_dlq_limits dlq;
};

/* Those of an empty GroupSpec. */
void group_limits_default(struct group_limits *self);
/* From an encoded GroupSpec. 0, or ERR_BAD_FORMAT with nothing changed. */
int group_limits_read(struct span spec, struct group_limits *ret_limits);
/* The name of the dead-letter stream, inside `spec`; empty: none. */
struct span group_limits_dlq_stream(struct span spec);

#endif
