/* hot_fuzz: the hot readers against protobuf-c on the same bytes. Both accept and agree in every field, or both refuse;
 * where only ours refuses, there must be a reason that hot.h names. Input: a byte for the message, then its bytes. */
#include "common/wire/hot.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "tests/fuzz/lib/strict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_same(struct span ours, protobuf_c_boolean has, ProtobufCBinaryData theirs)
{
    return span_equal(ours, has ? span_make(theirs.data, theirs.len) : span_make(NULL, 0));
}

static bool is_same_text(struct span ours, const char *theirs)
{
    return span_is(ours, theirs != NULL ? theirs : "");
}

/* Next field `number` of a message, which the reader has accepted. */
static struct span part_next(struct span *rest, uint32_t number)
{
    struct pb_field field = {0};
    do {
        INVARIANT(pb_next(rest, &field) == 1);
    } while (field.number != number);
    return field.bytes;
}

static void expect_compare(struct span body, const Railgun__Expect *theirs)
{
    struct hot_expect expect;
    INVARIANT(hot_expect_read(body, &expect) == 0);
    INVARIANT((int) expect.kind == (int) theirs->what_case);
    switch (expect.kind) {
    case HOT_EXPECT_NONE:
        break;
    case HOT_EXPECT_NEXT_OFFSET:
        INVARIANT(expect.next_offset == theirs->next_offset);
        break;
    case HOT_EXPECT_NO_STREAM:
        INVARIANT(expect.wanted == (theirs->no_stream != 0));
        break;
    case HOT_EXPECT_STREAM_EXISTS:
        INVARIANT(expect.wanted == (theirs->stream_exists != 0));
        break;
    case HOT_EXPECT_LAST_ID:
        INVARIANT(is_same(expect.last_id, 1, theirs->last_id));
        break;
    }
}

static int publish_compare(struct span body, const ProtobufCMessage *message,
                           struct span *ret_batch)
{
    struct hot_publish publish;
    int result = hot_publish_read(body, &publish);
    if (result != 0) {
        return result;
    }
    *ret_batch = publish.batch;
    if (message != NULL) {
        const Railgun__Publish *theirs = (const Railgun__Publish *) message;
        INVARIANT(is_same_text(publish.stream, theirs->stream));
        INVARIANT(publish.has_batch == (theirs->batch != NULL));
        INVARIANT(publish.has_expect == (theirs->expect != NULL));
        INVARIANT(is_same(publish.fence, theirs->has_fence, theirs->fence));
        INVARIANT(is_same(publish.stream_id, theirs->has_stream_id, theirs->stream_id));
        INVARIANT(publish.atomic == (theirs->atomic != 0));
        if (theirs->expect != NULL) {
            expect_compare(publish.expect, theirs->expect);
        }
    }
    return 0;
}

static int publish_ok_compare(struct span body, const ProtobufCMessage *message,
                              struct span *ret_batch)
{
    struct hot_publish_ok ok;
    (void) ret_batch;
    int result = hot_publish_ok_read(body, &ok);
    if (result != 0) {
        return result;
    }
    INVARIANT(message != NULL);
    const Railgun__PublishOk *theirs = (const Railgun__PublishOk *) message;
    INVARIANT(ok.base_offset == theirs->base_offset);
    INVARIANT(ok.count == theirs->count);
    INVARIANT(ok.ts_us == theirs->ts_us);
    INVARIANT(ok.has_window == (theirs->has_publish_window != 0));
    INVARIANT(ok.publish_window == theirs->publish_window);
    INVARIANT(ok.exceptions == theirs->n_exceptions);
    for (size_t i = 0; i < theirs->n_exceptions; i++) {
        const Railgun__RecordResult *expected = theirs->exceptions[i];
        struct hot_result exception;
        INVARIANT(hot_result_read(part_next(&body, 4), &exception) == 0);
        INVARIANT(exception.record == expected->record && exception.code == expected->code);
        INVARIANT(exception.has_offset == (expected->has_offset != 0));
        INVARIANT(exception.offset == expected->offset && exception.ts_us == expected->ts_us);
        INVARIANT(is_same_text(exception.detail, expected->detail));
    }
    return 0;
}

static void times_compare(struct span body, uint32_t number, Railgun__TimeMark *const *theirs,
                          size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct hot_time time;
        INVARIANT(hot_time_read(part_next(&body, number), &time) == 0);
        INVARIANT(time.after == theirs[i]->after && time.ts_us == theirs[i]->ts_us);
    }
}

static int deliver_compare(struct span body, const ProtobufCMessage *message,
                           struct span *ret_batch)
{
    struct hot_delivery delivery;
    int result = hot_deliver_read(body, &delivery);
    if (result != 0) {
        return result;
    }
    *ret_batch = delivery.batch;
    if (message == NULL) {
        return 0;
    }
    const Railgun__Deliver *theirs = (const Railgun__Deliver *) message;
    INVARIANT(delivery.epoch == theirs->epoch && delivery.base_offset == theirs->base_offset);
    INVARIANT(delivery.count == theirs->count);
    INVARIANT(delivery.has_times == (theirs->n_times != 0));
    INVARIANT(delivery.has_redelivered == (theirs->n_redelivered != 0));
    times_compare(body, 4, theirs->times, theirs->n_times);
    for (size_t i = 0; i < theirs->n_redelivered; i++) {
        const Railgun__Redelivered *expected = theirs->redelivered[i];
        struct hot_redelivered redelivered;
        INVARIANT(hot_redelivered_read(part_next(&body, 5), &redelivered) == 0);
        INVARIANT(redelivered.first == expected->first && redelivered.last == expected->last);
        INVARIANT(redelivered.attempt == expected->attempt &&
                  redelivered.failed == expected->failed);
    }
    return 0;
}

static int read_ok_compare(struct span body, const ProtobufCMessage *message,
                           struct span *ret_batch)
{
    struct hot_delivery delivery;
    int result = hot_read_ok_read(body, &delivery);
    if (result != 0) {
        return result;
    }
    *ret_batch = delivery.batch;
    if (message == NULL) {
        return 0;
    }
    const Railgun__ReadOk *theirs = (const Railgun__ReadOk *) message;
    INVARIANT(delivery.base_offset == theirs->base_offset && delivery.count == theirs->count);
    INVARIANT(delivery.next_offset == theirs->next_offset);
    INVARIANT(delivery.first_offset == theirs->first_offset);
    INVARIANT(delivery.end_offset == theirs->end_offset);
    INVARIANT(delivery.has_times == (theirs->n_times != 0));
    INVARIANT(is_same(delivery.stream_id, theirs->has_stream_id, theirs->stream_id));
    times_compare(body, 6, theirs->times, theirs->n_times);
    return 0;
}

static bool is_same_range(const struct hot_range *ours, const Railgun__OffsetRange *theirs)
{
    return ours->first == (theirs != NULL ? theirs->first : 0) &&
           ours->last == (theirs != NULL ? theirs->last : 0);
}

static int ack_compare(struct span body, const ProtobufCMessage *message, struct span *ret_batch)
{
    struct hot_ack ack;
    (void) ret_batch;
    int result = hot_ack_read(body, &ack);
    if (result != 0) {
        return result;
    }
    INVARIANT(message != NULL);
    const Railgun__Ack *theirs = (const Railgun__Ack *) message;
    INVARIANT(ack.has_up_to == (theirs->has_up_to != 0) && ack.up_to == theirs->up_to);
    INVARIANT(ack.sync == (theirs->sync != 0) && ack.epoch == theirs->epoch);
    INVARIANT(ack.ranges == theirs->n_ranges && ack.nacks == theirs->n_nacks);
    struct span rest = ack.body;
    size_t ranges = 0;
    size_t nacks = 0;
    bool is_nack = false;
    struct hot_range range;
    struct hot_nack nack;
    while ((result = hot_ack_next(&rest, &is_nack, &range, &nack)) == 1) {
        if (!is_nack) {
            INVARIANT(ranges < theirs->n_ranges);
            INVARIANT(is_same_range(&range, theirs->ranges[ranges]));
            ranges++;
            continue;
        }
        INVARIANT(nacks < theirs->n_nacks);
        const Railgun__Nack *expected = theirs->nacks[nacks];
        INVARIANT(is_same_range(&nack.range, expected->range));
        INVARIANT(nack.has_delay == (expected->has_delay_ms != 0));
        INVARIANT(nack.delay_ms == expected->delay_ms);
        INVARIANT(nack.no_count == (expected->no_count != 0));
        INVARIANT(nack.reject == (expected->reject != 0));
        INVARIANT(is_same_text(nack.reason, expected->reason));
        nacks++;
    }
    INVARIANT(result == 0 && ranges == theirs->n_ranges && nacks == theirs->n_nacks);
    return 0;
}

static int credit_compare(struct span body, const ProtobufCMessage *message, struct span *ret_batch)
{
    struct hot_credit credit;
    (void) ret_batch;
    int result = hot_credit_read(body, &credit);
    if (result != 0) {
        return result;
    }
    INVARIANT(message != NULL);
    const Railgun__Credit *theirs = (const Railgun__Credit *) message;
    INVARIANT(credit.messages == theirs->messages && credit.bytes == theirs->bytes);
    return 0;
}

/* Reads the body, compares it with `message` unless that is NULL, and returns what the reader returned. */
typedef int (*hot_compare)(struct span body, const ProtobufCMessage *message,
                           struct span *ret_batch);

static const struct {
    const ProtobufCMessageDescriptor *type;
    hot_compare compare;
} targets[] = {
    {&railgun__publish__descriptor, publish_compare},
    {&railgun__publish_ok__descriptor, publish_ok_compare},
    {&railgun__deliver__descriptor, deliver_compare},
    {&railgun__read_ok__descriptor, read_ok_compare},
    {&railgun__ack__descriptor, ack_compare},
    {&railgun__credit__descriptor, credit_compare},
};

/* The one thing ours may accept alone: a batch that is no batch, for that is batch_check's business. */
static bool batch_is_bad(struct span batch)
{
    Railgun__RecordBatch *theirs = railgun__record_batch__unpack(NULL, batch.size, batch.data);
    if (theirs != NULL) {
        railgun__record_batch__free_unpacked(theirs, NULL);
    }
    return theirs == NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    size_t target = data[0] % (sizeof(targets) / sizeof(targets[0]));
    const ProtobufCMessageDescriptor *type = targets[target].type;
    struct span body = span_make(data + 1, size - 1);
    struct span batch = {0};
    ProtobufCMessage *message = protobuf_c_message_unpack(type, NULL, body.size, body.data);

    int result = targets[target].compare(body, message, &batch);
    if (result == 0) {
        INVARIANT(message != NULL || batch_is_bad(batch));
        INVARIANT(
            !strict_reason(body.data, body.size, type, &railgun__record_batch__descriptor, 8));
    } else {
        INVARIANT(result == ERR_PROTOCOL);
        INVARIANT(message == NULL ||
                  strict_reason(body.data, body.size, type, &railgun__record_batch__descriptor, 8));
    }
    if (message != NULL) {
        protobuf_c_message_free_unpacked(message, NULL);
    }
    return 0;
}
