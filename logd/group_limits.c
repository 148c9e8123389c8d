/* group_limits: a GroupSpec read in place. Owns nothing. */
#include "logd/group_limits.h"

#include "common/base/err.h"
#include "common/wire/pb.h"

/* Numbers of client.proto. */
enum {
    SPEC_MODE = 1,
    SPEC_IN_FLIGHT = 2,
    SPEC_IN_FLIGHT_MEMBER = 3,
    SPEC_HOLES = 4,
    SPEC_ACK_WAIT = 5,
    SPEC_ORDER = 8,
    SPEC_DELAYED = 9,
    SPEC_BACKOFF = 10,
    SPEC_JITTER = 11,
    SPEC_DRAIN_TIMEOUT = 12,
    SPEC_INACTIVE_TTL = 13,
    SPEC_DLQ = 14,
    DLQ_STREAM = 1,
    DLQ_MAX_FAILED = 2,
    DLQ_MAX_DISTANCE = 3,
    DLQ_MAX_AGE = 4,
    DLQ_ON_ERROR = 5,
    DLQ_BREAKER_RATIO = 6,
    DLQ_BREAKER_WINDOW = 7,
    DLQ_BREAKER_MIN = 8,
};

static const uint64_t backoff_default_ms[] = {1000, 5000, 30000, 120000, 600000};

static int dlq_read(struct span bytes, struct group_dlq_limits *dlq)
{
    struct pb_field field;
    int more;
    while ((more = pb_next(&bytes, &field)) > 0) {
        if (field.number == DLQ_STREAM && field.type == PB_BYTES) {
            dlq->is_on = field.bytes.size > 0;
        } else if (field.type != PB_VARINT) {
            continue;
        } else if (field.number == DLQ_MAX_FAILED) {
            dlq->max_failed = (uint32_t) field.value;
        } else if (field.number == DLQ_MAX_DISTANCE) {
            dlq->max_distance = field.value;
        } else if (field.number == DLQ_MAX_AGE) {
            dlq->max_age_ms = field.value;
        } else if (field.number == DLQ_ON_ERROR) {
            dlq->park = field.value != 0;
        } else if (field.number == DLQ_BREAKER_RATIO) {
            dlq->breaker_ratio_percent = (uint32_t) field.value;
        } else if (field.number == DLQ_BREAKER_WINDOW) {
            dlq->breaker_window_ms = field.value;
        } else if (field.number == DLQ_BREAKER_MIN) {
            dlq->breaker_min = (uint32_t) field.value;
        }
    }
    return more < 0 ? ERR_BAD_FORMAT : 0;
}

static void limits_read_number(struct group_limits *limits, uint32_t number, uint64_t value)
{
    switch (number) {
    case SPEC_MODE:
        limits->is_exclusive = value != 0;
        break;
    case SPEC_IN_FLIGHT:
        limits->in_flight_max = (uint32_t) value;
        break;
    case SPEC_IN_FLIGHT_MEMBER:
        limits->member_in_flight_max = (uint32_t) value;
        break;
    case SPEC_HOLES:
        limits->holes_max = (uint32_t) value;
        break;
    case SPEC_ACK_WAIT:
        limits->ack_wait_ms = value;
        break;
    case SPEC_ORDER:
        limits->is_relaxed = value != 0;
        break;
    case SPEC_DELAYED:
        limits->delayed_max = (uint32_t) value;
        break;
    case SPEC_BACKOFF:
        if (limits->backoff_count < GROUP_BACKOFF_MAX) {
            limits->backoff_ms[limits->backoff_count++] =
                value < GROUP_DELAY_MS_MAX ? value : GROUP_DELAY_MS_MAX;
        }
        break;
    case SPEC_JITTER:
        limits->jitter_percent = value < 100 ? (uint32_t) value : 100;
        break;
    case SPEC_DRAIN_TIMEOUT:
        limits->drain_timeout_ms = value;
        break;
    case SPEC_INACTIVE_TTL:
        limits->inactive_ttl_ms = value;
        break;
    default:
        break;
    }
}

static uint64_t or_default(uint64_t value, uint64_t standard)
{
    return value != 0 ? value : standard;
}

static void limits_complete(struct group_limits *self)
{
    self->in_flight_max = or_default(self->in_flight_max, GROUP_IN_FLIGHT_DEFAULT);
    self->member_in_flight_max = or_default(self->member_in_flight_max, self->in_flight_max);
    self->holes_max = or_default(self->holes_max, GROUP_HOLES_DEFAULT);
    self->delayed_max = or_default(self->delayed_max, GROUP_DELAYED_DEFAULT);
    self->drain_timeout_ms = or_default(self->drain_timeout_ms, GROUP_DRAIN_MS_DEFAULT);
    if (self->backoff_count == 0) {
        self->backoff_count = sizeof backoff_default_ms / sizeof backoff_default_ms[0];
        for (uint32_t i = 0; i < self->backoff_count; i++) {
            self->backoff_ms[i] = backoff_default_ms[i];
        }
    }
    struct group_dlq_limits *dlq = &self->dlq;
    dlq->breaker_window_ms = or_default(dlq->breaker_window_ms, GROUP_BREAKER_WINDOW_MS_DEFAULT);
    dlq->breaker_min = (uint32_t) or_default(dlq->breaker_min, GROUP_BREAKER_MIN_DEFAULT);
}

void group_limits_default(struct group_limits *self)
{
    *self = (struct group_limits){.jitter_percent = GROUP_JITTER_DEFAULT,
                                  .dlq.max_failed = GROUP_DLQ_FAILED_DEFAULT};
    limits_complete(self);
}

int group_limits_read(struct span spec, struct group_limits *ret_limits)
{
    struct group_limits limits = {.jitter_percent = GROUP_JITTER_DEFAULT,
                                  .dlq.max_failed = GROUP_DLQ_FAILED_DEFAULT};
    struct pb_field field;
    int more;
    while ((more = pb_next(&spec, &field)) > 0) {
        if (field.number == SPEC_DLQ && field.type == PB_BYTES) {
            if (dlq_read(field.bytes, &limits.dlq) < 0) {
                return ERR_BAD_FORMAT;
            }
        } else if (field.type == PB_VARINT) {
            limits_read_number(&limits, field.number, field.value);
        }
    }
    if (more < 0) {
        return ERR_BAD_FORMAT;
    }
    limits_complete(&limits);
    *ret_limits = limits;
    return 0;
}

struct span group_limits_dlq_stream(struct span spec)
{
    struct span name = {0};
    struct pb_field field;
    while (pb_next(&spec, &field) > 0) {
        struct span dlq = field.bytes;
        if (field.number != SPEC_DLQ || field.type != PB_BYTES) {
            continue;
        }
        while (pb_next(&dlq, &field) > 0) {
            if (field.number == DLQ_STREAM && field.type == PB_BYTES) {
                name = field.bytes;
            }
        }
    }
    return name;
}
