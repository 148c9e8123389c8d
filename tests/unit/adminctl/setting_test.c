/* setting: fields of specifications by path and text. */
#include "tests/lib/test.h"

#include "adminctl/setting.h"
#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/scan.h"

static void check_refused(ProtobufCMessage *message, const char *assignment, const char *reason)
{
    struct buf problem = {0};
    ck_assert_int_eq(setting_assign(message, assignment, &problem), ERR_USAGE);
    ck_assert_str_eq(buf_text(&problem), reason);
    buf_release(&problem);
}

static void assign(ProtobufCMessage *message, const char *assignment)
{
    struct buf problem = {0};
    int error = setting_assign(message, assignment, &problem);
    ck_assert_msg(error == 0, "%s", buf_text(&problem));
    ck_assert_uint_eq(problem.size, 0);
    buf_release(&problem);
}

TEST(a_setting_takes_durations_sizes_names_and_texts)
{
    ProtobufCMessage *message = setting_new(&railgun__stream_spec__descriptor);
    const Railgun__StreamSpec *spec = (const Railgun__StreamSpec *) message;
    assign(message, "max_age=24h");
    assign(message, "max-bytes=2GiB");
    assign(message, "dedup.mode=required");
    assign(message, "dedup.window_ms=90");
    assign(message, "dedup.forever=true");
    assign(message, "fence=a=b");
    assign(message, "fence=c=d");
    ck_assert(spec->has_max_age_ms);
    ck_assert_uint_eq(spec->max_age_ms, 86400000);
    ck_assert(spec->has_max_bytes);
    ck_assert_uint_eq(spec->max_bytes, UINT64_C(2) << 30);
    ck_assert_ptr_nonnull(spec->dedup);
    ck_assert_int_eq(spec->dedup->mode, RAILGUN__DEDUP_SPEC__MODE__DEDUP_REQUIRED);
    ck_assert_uint_eq(spec->dedup->window_ms, 90);
    ck_assert(spec->dedup->has_forever && spec->dedup->forever);
    ck_assert(!spec->has_max_records && !spec->dedup->has_max_ids);
    ck_assert_str_eq(spec->fence, "c=d");
    scan_free(&message);
}

TEST(a_setting_takes_lists_and_enums_with_and_without_a_prefix)
{
    ProtobufCMessage *message = setting_new(&railgun__group_spec__descriptor);
    const Railgun__GroupSpec *spec = (const Railgun__GroupSpec *) message;
    assign(message, "backoff=1");
    assign(message, "backoff=1s,5s,2m");
    assign(message, "mode=exclusive");
    assign(message, "order=relaxed");
    assign(message, "dlq.on_error=park");
    assign(message, "start.at=last_n");
    assign(message, "dlq.breaker-ratio=50");
    ck_assert_uint_eq(spec->n_backoff_ms, 3);
    ck_assert_uint_eq(spec->backoff_ms[2], 120000);
    ck_assert_int_eq(spec->mode, RAILGUN__GROUP_SPEC__MODE__MODE_EXCLUSIVE);
    ck_assert_int_eq(spec->order, RAILGUN__GROUP_SPEC__ORDER__ORDER_RELAXED);
    ck_assert_int_eq(spec->dlq->on_error, RAILGUN__DLQ_SPEC__ON_ERROR__PARK);
    ck_assert_uint_eq(spec->dlq->breaker_ratio_percent, 50);
    ck_assert_int_eq(spec->start->at, RAILGUN__START__AT__AT_LAST_N);
    scan_free(&message);
}

TEST(a_setting_that_is_wrong_is_refused_with_the_reason)
{
    ProtobufCMessage *message = setting_new(&railgun__group_spec__descriptor);
    check_refused(message, "max_holes", "'max_holes' is not path=value");
    check_refused(message, "nothing=1", "nothing: no such field");
    check_refused(message, "dlq=x", "dlq: no such field");
    check_refused(message, "mode.x=1", "mode.x: no such field");
    check_refused(message, "dlq.=1", "dlq.: no such field");
    check_refused(message, "=1", ": no such field");
    check_refused(message, "max_holes=12x", "max_holes: '12x' is not a number");
    check_refused(message, "max_holes=5000000000", "max_holes: '5000000000' is not a number");
    check_refused(message, "mode=both", "mode: 'both' is none of shared, exclusive");
    check_refused(message, "start.allow_future=maybe",
                  "start.allow_future: 'maybe' is not a true or false");
    check_refused(message, "ack_wait=soon",
                  "ack_wait: 'soon' is not a duration (250ms, 5s, 10m, 24h, 7d)");
    check_refused(message, "backoff=1s,,2s",
                  "backoff: '1s,,2s' is not a duration (250ms, 5s, 10m, 24h, 7d)");
    scan_free(&message);
}
