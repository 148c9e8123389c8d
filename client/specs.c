/* specs: see the header. Judges nothing: the server knows the limits. */
#include "client/specs.h"

#include <string.h>

/* protobuf-c wants char *, and does not write. */
static char *text_of(const char *text)
{
    char *result;
    memcpy(&result, &text, sizeof(result));
    return result;
}

/* 0: not asked for; RG_ZERO: 0. */
static void fill_big(uint64_t *to, protobuf_c_boolean *has, uint64_t value)
{
    *has = value != 0;
    *to = value == RG_ZERO ? 0 : value;
}

static void fill_small(uint32_t *to, protobuf_c_boolean *has, uint64_t value)
{
    uint64_t big = 0;
    fill_big(&big, has, value);
    *to = big > UINT32_MAX ? UINT32_MAX : (uint32_t) big; /* too much, and refused as that */
}

static void fill_choice(protobuf_c_boolean *to, protobuf_c_boolean *has, enum rg_choice choice)
{
    *has = choice != RG_CHOICE_UNSET;
    *to = choice == RG_YES;
}

void specs_fill_ensure(Railgun__Ensure *to, uint64_t version, enum rg_ensure_mode mode,
                       bool allow_data_loss)
{
    to->has_version = version != 0;
    to->version = version;
    to->has_mode = true;
    to->mode = (Railgun__Ensure__Mode) mode; /* the same numbers */
    to->has_allow_data_loss = allow_data_loss;
    to->allow_data_loss = allow_data_loss;
}

void specs_fill_stream(Railgun__StreamSpec *to, Railgun__DedupSpec *dedup,
                       const struct rg_stream_spec *spec)
{
    to->description = text_of(spec->description);
    to->fence = text_of(spec->fence);
    fill_big(&to->record_max_bytes, &to->has_record_max_bytes, spec->record_max_bytes);
    fill_big(&to->max_age_ms, &to->has_max_age_ms, spec->max_age_ms);
    fill_big(&to->max_bytes, &to->has_max_bytes, spec->max_bytes);
    fill_big(&to->max_records, &to->has_max_records, spec->max_records);
    fill_big(&to->delete_grace_ms, &to->has_delete_grace_ms, spec->delete_grace_ms);
    fill_choice(&to->retention_force, &to->has_retention_force, spec->retention_force);
    /* Enums begin with "unset" here, the protocol's with their first value. */
    to->has_retention = spec->retention != RG_RETENTION_UNSET;
    to->retention = spec->retention == RG_RETENTION_ACKED ? RAILGUN__STREAM_SPEC__RETENTION__ACKED
                                                          : RAILGUN__STREAM_SPEC__RETENTION__LIMITS;
    dedup->has_mode = spec->dedup != RG_DEDUP_UNSET;
    dedup->mode = dedup->has_mode ? (Railgun__DedupSpec__Mode) (spec->dedup - RG_DEDUP_OFF)
                                  : RAILGUN__DEDUP_SPEC__MODE__DEDUP_OFF;
    fill_big(&dedup->window_ms, &dedup->has_window_ms, spec->dedup_window_ms);
    fill_big(&dedup->max_ids, &dedup->has_max_ids, spec->dedup_max_ids);
    fill_choice(&dedup->reject_duplicates, &dedup->has_reject_duplicates,
                spec->dedup_reject_duplicates);
    fill_choice(&dedup->shrink_when_full, &dedup->has_shrink_when_full,
                spec->dedup_shrink_when_full);
    fill_choice(&dedup->refresh, &dedup->has_refresh, spec->dedup_refresh);
    fill_choice(&dedup->forever, &dedup->has_forever, spec->dedup_forever);
    to->dedup = dedup;
}

static void fill_dlq(Railgun__DlqSpec *to, const struct rg_group_spec *spec)
{
    to->stream = text_of(spec->dlq_stream);
    fill_small(&to->max_failed, &to->has_max_failed, spec->dlq_max_failed);
    fill_big(&to->max_distance, &to->has_max_distance, spec->dlq_max_distance);
    fill_big(&to->max_age_ms, &to->has_max_age_ms, spec->dlq_max_age_ms);
    to->has_on_error = spec->dlq_on_error != RG_DLQ_UNSET;
    to->on_error = spec->dlq_on_error == RG_DLQ_PARK ? RAILGUN__DLQ_SPEC__ON_ERROR__PARK
                                                     : RAILGUN__DLQ_SPEC__ON_ERROR__BLOCK;
    fill_small(&to->breaker_ratio_percent, &to->has_breaker_ratio_percent,
               spec->dlq_breaker_ratio_percent);
    fill_big(&to->breaker_window_ms, &to->has_breaker_window_ms, spec->dlq_breaker_window_ms);
    fill_small(&to->breaker_min, &to->has_breaker_min, spec->dlq_breaker_min);
}

void specs_fill_group(Railgun__GroupSpec *to, Railgun__DlqSpec *dlq,
                      const struct rg_group_spec *spec)
{
    to->description = text_of(spec->description);
    fill_small(&to->max_in_flight, &to->has_max_in_flight, spec->max_in_flight);
    fill_small(&to->max_in_flight_member, &to->has_max_in_flight_member,
               spec->max_in_flight_member);
    fill_small(&to->max_holes, &to->has_max_holes, spec->max_holes);
    fill_small(&to->max_delayed, &to->has_max_delayed, spec->max_delayed);
    fill_big(&to->ack_wait_ms, &to->has_ack_wait_ms, spec->ack_wait_ms);
    fill_small(&to->backoff_jitter_percent, &to->has_backoff_jitter_percent,
               spec->backoff_jitter_percent);
    fill_big(&to->drain_timeout_ms, &to->has_drain_timeout_ms, spec->drain_timeout_ms);
    fill_big(&to->inactive_ttl_ms, &to->has_inactive_ttl_ms, spec->inactive_ttl_ms);
    to->n_backoff_ms = spec->backoff_ms != NULL ? spec->backoff_count : 0;
    memcpy(&to->backoff_ms, &spec->backoff_ms, sizeof(to->backoff_ms)); /* no const there */
    bool is_exclusive =
        spec->group_mode == RG_MODE_EXCLUSIVE || spec->group_mode == RG_MODE_EXCLUSIVE_RELAXED;
    to->has_mode = spec->group_mode != RG_MODE_DEFAULT;
    to->mode = is_exclusive ? RAILGUN__GROUP_SPEC__MODE__MODE_EXCLUSIVE
                            : RAILGUN__GROUP_SPEC__MODE__MODE_SHARED;
    to->has_order = is_exclusive;
    to->order = spec->group_mode == RG_MODE_EXCLUSIVE_RELAXED
                    ? RAILGUN__GROUP_SPEC__ORDER__ORDER_RELAXED
                    : RAILGUN__GROUP_SPEC__ORDER__ORDER_STRICT;
    fill_dlq(dlq, spec);
    to->dlq = dlq;
}
