/* spec_fields: the three tables of fields: what there is to say about a stream, a group and an exchange. Defaults and classes that were
 * released stay for ever (see the header). */
#include "raftd/spec.h"

#include <stddef.h>
#include <string.h>

#include "common/base/name.h"

/* Absolute ceilings: far above use, far below overflow. */
#define SPEC_YEARS_100_MS UINT64_C(3153600000000)
#define SPEC_DAYS_30_MS   UINT64_C(2592000000)
#define SPEC_BYTES_MAX    (UINT64_C(1) << 60)
#define SPEC_COUNT_MAX    UINT64_C(1000000000)

static const char *const spec_dedup_modes[] = {"off", "optional", "required"};
static const char *const spec_retentions[] = {"limits", "acked"};
static const char *const spec_group_modes[] = {"shared", "exclusive"};
static const char *const spec_orders[] = {"strict", "relaxed"};
static const char *const spec_dlq_errors[] = {"block", "park"};
static const char *const spec_start_ats[] = {"default", "first",  "latest",
                                             "last_n",  "offset", "timestamp"};
static const uint64_t spec_backoff[] = {1000, 5000, 30000, 120000, 600000};

#define SPEC_PLACE(part_, message, member)                                                         \
    {                                                                                              \
        .part = SPEC_PART_##part_, .at = offsetof(message, member),                                \
        .has = offsetof(message, has_##member), .size = sizeof(((message *) NULL)->member)         \
    }
#define NUMBER(path_, class__, normal_, min_, max_, part_, message, member)                        \
    {                                                                                              \
        .path = (path_), .type = SPEC_NUMBER, .class_ = (class__), .normal = (normal_),            \
        .min = (min_), .max = (max_), .built = true, .place = SPEC_PLACE(part_, message, member)   \
    }
#define BOOL(path_, class__, part_, message, member)                                               \
    {                                                                                              \
        .path = (path_), .type = SPEC_BOOL, .class_ = (class__), .max = 1, .built = true,          \
        .place = SPEC_PLACE(part_, message, member)                                                \
    }
#define NAMED(path_, class__, normal_, min_, names_, part_, message, member)                       \
    {                                                                                              \
        .path = (path_), .type = SPEC_NAMED, .class_ = (class__), .normal = (normal_),             \
        .min = (min_), .max = sizeof(names_) / sizeof((names_)[0]) - 1, .built = true,             \
        .names = (names_), .place = SPEC_PLACE(part_, message, member)                             \
    }
#define TEXT(path_, type_, slot_, max_, part_, message, member)                                    \
    {                                                                                              \
        .path = (path_), .type = (type_), .class_ = SPEC_DYNAMIC, .max = (max_), .built = true,    \
        .slot = (slot_), .place = {                                                                \
            .part = SPEC_PART_##part_,                                                             \
            .at = offsetof(message, member)                                                        \
        }                                                                                          \
    }
#define LIST(path_, normals, max_, part_, message, member)                                         \
    {                                                                                              \
        .path = (path_), .type = SPEC_LIST, .class_ = SPEC_DYNAMIC,                                \
        .normal = sizeof(normals) / sizeof((normals)[0]), .max = (max_), .built = true,            \
        .normal_list = (normals), .place = {                                                       \
            .part = SPEC_PART_##part_,                                                             \
            .at = offsetof(message, member),                                                       \
            .has = offsetof(message, n_##member)                                                   \
        }                                                                                          \
    }

#define STREAM_M Railgun__StreamSpec
#define DEDUP_M  Railgun__DedupSpec
#define GROUP_M  Railgun__GroupSpec
#define START_M  Railgun__Start
#define DLQ_M    Railgun__DlqSpec
#define ES_M     Railgun__ExchangeSpec

static const struct spec_field spec_stream_fields[] = {
    [SPEC_STREAM_REPLICAS] = NUMBER("replicas", SPEC_IMMUTABLE, 1, 1, 1, TOP, STREAM_M, replicas),
    [SPEC_STREAM_MAX_AGE] =
        NUMBER("max_age_ms", SPEC_RETENTION, 0, 0, SPEC_YEARS_100_MS, TOP, STREAM_M, max_age_ms),
    [SPEC_STREAM_MAX_BYTES] =
        NUMBER("max_bytes", SPEC_RETENTION, 0, 0, SPEC_BYTES_MAX, TOP, STREAM_M, max_bytes),
    [SPEC_STREAM_MAX_RECORDS] =
        NUMBER("max_records", SPEC_RETENTION, 0, 0, SPEC_BYTES_MAX, TOP, STREAM_M, max_records),
    [SPEC_STREAM_RECORD_MAX] =
        NUMBER("record_max_bytes", SPEC_DYNAMIC, 0, 0, 64 << 20, TOP, STREAM_M, record_max_bytes),
    [SPEC_STREAM_DESCRIPTION] =
        TEXT("description", SPEC_TEXT, 0, SPEC_DESCRIPTION_MAX, TOP, STREAM_M, description),
    /* IDs are remembered from the first record on, or never. */
    [SPEC_STREAM_DEDUP_MODE] =
        NAMED("dedup.mode", SPEC_ON_OFF, 0, 0, spec_dedup_modes, DEDUP, DEDUP_M, mode),
    [SPEC_STREAM_DEDUP_WINDOW] = NUMBER("dedup.window_ms", SPEC_DYNAMIC, 600000, 1000,
                                        SPEC_DAYS_30_MS, DEDUP, DEDUP_M, window_ms),
    [SPEC_STREAM_DEDUP_MAX_IDS] = NUMBER("dedup.max_ids", SPEC_DYNAMIC, 4000000, 1000,
                                         SPEC_COUNT_MAX, DEDUP, DEDUP_M, max_ids),
    [SPEC_STREAM_DEDUP_REJECT] =
        BOOL("dedup.reject_duplicates", SPEC_DYNAMIC, DEDUP, DEDUP_M, reject_duplicates),
    [SPEC_STREAM_DEDUP_SHRINK] =
        BOOL("dedup.shrink_when_full", SPEC_DYNAMIC, DEDUP, DEDUP_M, shrink_when_full),
    [SPEC_STREAM_DEDUP_REFRESH] = BOOL("dedup.refresh", SPEC_DYNAMIC, DEDUP, DEDUP_M, refresh),
    [SPEC_STREAM_DEDUP_FOREVER] = BOOL("dedup.forever", SPEC_DYNAMIC, DEDUP, DEDUP_M, forever),
    [SPEC_STREAM_RETENTION] =
        NAMED("retention", SPEC_STRICTER, 0, 0, spec_retentions, TOP, STREAM_M, retention),
    [SPEC_STREAM_RETENTION_FORCE] =
        BOOL("retention_force", SPEC_STRICTER, TOP, STREAM_M, retention_force),
    [SPEC_STREAM_FENCE] = TEXT("fence", SPEC_TEXT, 1, SPEC_FENCE_MAX, TOP, STREAM_M, fence),
    [SPEC_STREAM_DELETE_GRACE] = NUMBER("delete_grace_ms", SPEC_DYNAMIC, 86400000, 0,
                                        SPEC_YEARS_100_MS, TOP, STREAM_M, delete_grace_ms),
};

static const struct spec_field spec_group_fields[] = {
    [SPEC_GROUP_MODE] = NAMED("mode", SPEC_IMMUTABLE, 0, 0, spec_group_modes, TOP, GROUP_M, mode),
    [SPEC_GROUP_MAX_IN_FLIGHT] =
        NUMBER("max_in_flight", SPEC_DYNAMIC, 10000, 1, 1000000, TOP, GROUP_M, max_in_flight),
    /* Its default is that of the group: see spec_fill. */
    [SPEC_GROUP_MAX_IN_FLIGHT_MEMBER] = NUMBER("max_in_flight_member", SPEC_DYNAMIC, 10000, 1,
                                               1000000, TOP, GROUP_M, max_in_flight_member),
    [SPEC_GROUP_MAX_HOLES] =
        NUMBER("max_holes", SPEC_DYNAMIC, 10000, 1, 1000000, TOP, GROUP_M, max_holes),
    [SPEC_GROUP_ACK_WAIT] =
        NUMBER("ack_wait_ms", SPEC_DYNAMIC, 0, 0, UINT64_C(604800000), TOP, GROUP_M, ack_wait_ms),
    [SPEC_GROUP_START_AT] =
        NAMED("start.at", SPEC_IMMUTABLE, 1, 1, spec_start_ats, START, START_M, at),
    [SPEC_GROUP_START_OFFSET] =
        NUMBER("start.offset", SPEC_IMMUTABLE, 0, 0, SPEC_BYTES_MAX, START, START_M, offset),
    [SPEC_GROUP_START_TS] =
        NUMBER("start.ts_us", SPEC_IMMUTABLE, 0, 0, UINT64_MAX, START, START_M, ts_us),
    [SPEC_GROUP_START_ALLOW_FUTURE] =
        BOOL("start.allow_future", SPEC_IMMUTABLE, START, START_M, allow_future),
    [SPEC_GROUP_DESCRIPTION] =
        TEXT("description", SPEC_TEXT, 0, SPEC_DESCRIPTION_MAX, TOP, GROUP_M, description),
    [SPEC_GROUP_ORDER] = NAMED("order", SPEC_IMMUTABLE, 0, 0, spec_orders, TOP, GROUP_M, order),
    [SPEC_GROUP_MAX_DELAYED] =
        NUMBER("max_delayed", SPEC_DYNAMIC, 100000, 1, 10000000, TOP, GROUP_M, max_delayed),
    [SPEC_GROUP_BACKOFF] =
        LIST("backoff_ms", spec_backoff, SPEC_DAYS_30_MS, TOP, GROUP_M, backoff_ms),
    [SPEC_GROUP_BACKOFF_JITTER] = NUMBER("backoff_jitter_percent", SPEC_DYNAMIC, 10, 0, 100, TOP,
                                         GROUP_M, backoff_jitter_percent),
    [SPEC_GROUP_DRAIN_TIMEOUT] =
        NUMBER("drain_timeout_ms", SPEC_DYNAMIC, 30000, 0, 3600000, TOP, GROUP_M, drain_timeout_ms),
    [SPEC_GROUP_INACTIVE_TTL] = NUMBER("inactive_ttl_ms", SPEC_DYNAMIC, 0, 0, SPEC_YEARS_100_MS,
                                       TOP, GROUP_M, inactive_ttl_ms),
    [SPEC_GROUP_DLQ_STREAM] = TEXT("dlq.stream", SPEC_NAME, 1, NAME_SIZE_MAX, DLQ, DLQ_M, stream),
    [SPEC_GROUP_DLQ_MAX_FAILED] =
        NUMBER("dlq.max_failed", SPEC_DYNAMIC, 20, 0, 1000000, DLQ, DLQ_M, max_failed),
    [SPEC_GROUP_DLQ_MAX_DISTANCE] =
        NUMBER("dlq.max_distance", SPEC_DYNAMIC, 0, 0, SPEC_BYTES_MAX, DLQ, DLQ_M, max_distance),
    [SPEC_GROUP_DLQ_MAX_AGE] =
        NUMBER("dlq.max_age_ms", SPEC_DYNAMIC, 0, 0, SPEC_YEARS_100_MS, DLQ, DLQ_M, max_age_ms),
    [SPEC_GROUP_DLQ_ON_ERROR] =
        NAMED("dlq.on_error", SPEC_DYNAMIC, 0, 0, spec_dlq_errors, DLQ, DLQ_M, on_error),
    [SPEC_GROUP_DLQ_BREAKER_RATIO] = NUMBER("dlq.breaker_ratio_percent", SPEC_DYNAMIC, 0, 0, 100,
                                            DLQ, DLQ_M, breaker_ratio_percent),
    [SPEC_GROUP_DLQ_BREAKER_WINDOW] = NUMBER("dlq.breaker_window_ms", SPEC_DYNAMIC, 60000, 1000,
                                             3600000, DLQ, DLQ_M, breaker_window_ms),
    [SPEC_GROUP_DLQ_BREAKER_MIN] =
        NUMBER("dlq.breaker_min", SPEC_DYNAMIC, 100, 1, SPEC_COUNT_MAX, DLQ, DLQ_M, breaker_min),
};

/* 0: the server's own limit. */
static const struct spec_field spec_exchange_fields[] = {
    [SPEC_EXCHANGE_MAX_SUBSCRIPTIONS] = NUMBER("max_subscriptions", SPEC_DYNAMIC, 0, 0,
                                               SPEC_COUNT_MAX, TOP, ES_M, max_subscriptions),
    [SPEC_EXCHANGE_MAX_TOPICS] =
        NUMBER("max_topics", SPEC_DYNAMIC, 0, 0, SPEC_COUNT_MAX, TOP, ES_M, max_topics),
    [SPEC_EXCHANGE_MAX_FANOUT] =
        NUMBER("max_fanout", SPEC_DYNAMIC, 0, 0, SPEC_COUNT_MAX, TOP, ES_M, max_fanout),
    [SPEC_EXCHANGE_DESCRIPTION] =
        TEXT("description", SPEC_TEXT, 0, SPEC_DESCRIPTION_MAX, TOP, ES_M, description),
};

_Static_assert(sizeof(spec_stream_fields) / sizeof(spec_stream_fields[0]) ==
                       SPEC_STREAM_FIELD_COUNT &&
                   (int) SPEC_STREAM_FIELD_COUNT <= (int) SPEC_FIELDS_MAX,
               "a row for each field of a stream");
_Static_assert(sizeof(spec_group_fields) / sizeof(spec_group_fields[0]) == SPEC_GROUP_FIELD_COUNT &&
                   (int) SPEC_GROUP_FIELD_COUNT <= (int) SPEC_FIELDS_MAX,
               "a row for each field of a group");
_Static_assert(sizeof(spec_exchange_fields) / sizeof(spec_exchange_fields[0]) ==
                       SPEC_EXCHANGE_FIELD_COUNT &&
                   (int) SPEC_EXCHANGE_FIELD_COUNT <= (int) SPEC_FIELDS_MAX,
               "a row for each field of an exchange");

const struct spec_field *spec_fields(enum spec_kind kind, unsigned *ret_count)
{
    switch (kind) {
    case SPEC_STREAM:
        *ret_count = SPEC_STREAM_FIELD_COUNT;
        return spec_stream_fields;
    case SPEC_GROUP:
        *ret_count = SPEC_GROUP_FIELD_COUNT;
        return spec_group_fields;
    case SPEC_EXCHANGE:
        break;
    }
    *ret_count = SPEC_EXCHANGE_FIELD_COUNT;
    return spec_exchange_fields;
}

bool spec_field_find(enum spec_kind kind, const char *path, unsigned *ret_field)
{
    unsigned count;
    const struct spec_field *fields = spec_fields(kind, &count);
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(fields[i].path, path) == 0) {
            *ret_field = i;
            return true;
        }
    }
    return false;
}
