/* batch_fuzz: a batch walked in place against protobuf-c's RecordBatch; limits against a plain count; slices joined again
 * are the batch. Input: six bytes of numbers, then the batch. */
#include "common/wire/batch.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "tests/fuzz/lib/strict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct batch_limits no_limits = {UINT64_MAX, UINT32_MAX, UINT64_MAX,
                                              UINT32_MAX, UINT32_MAX, UINT32_MAX};

static bool is_same(struct span ours, protobuf_c_boolean has, ProtobufCBinaryData theirs)
{
    return span_equal(ours, has ? span_make(theirs.data, theirs.len) : span_make(NULL, 0));
}

static void headers_compare(const struct batch_record *ours, const Railgun__Record *theirs)
{
    struct span rest = ours->raw;
    struct span name;
    struct span value;
    INVARIANT(ours->headers == theirs->n_headers);
    for (size_t i = 0; i < theirs->n_headers; i++) {
        const Railgun__Header *header = theirs->headers[i];
        INVARIANT(batch_header_next(&rest, &name, &value) == 1);
        INVARIANT(span_is(name, header->name != NULL ? header->name : ""));
        INVARIANT(is_same(value, header->has_value, header->value));
    }
    INVARIANT(batch_header_next(&rest, &name, &value) == 0);
}

static void records_compare(struct span batch, const Railgun__RecordBatch *theirs,
                            const struct batch_summary *summary)
{
    struct batch_summary counted = {0};
    struct batch_record record;
    struct span rest = batch;
    for (size_t i = 0; i < theirs->n_records; i++) {
        const Railgun__Record *expected = theirs->records[i];
        INVARIANT(batch_next(&rest, &record) == 1);
        INVARIANT(is_same(record.payload, expected->has_payload, expected->payload));
        INVARIANT(is_same(record.id, expected->has_id, expected->id));
        INVARIANT(is_same(record.key, expected->has_key, expected->key));
        INVARIANT(record.not_before_us == expected->not_before_us);
        headers_compare(&record, expected);
        counted.records++;
        counted.with_id += expected->has_id ? 1 : 0;
        counted.payload_bytes += expected->payload.len;
    }
    INVARIANT(batch_next(&rest, &record) == 0);
    INVARIANT(counted.records == summary->records && counted.with_id == summary->with_id &&
              counted.payload_bytes == summary->payload_bytes);
}

static uint64_t header_bytes(struct span record)
{
    struct pb_field field;
    uint64_t bytes = 0;
    while (pb_next(&record, &field) == 1) {
        bytes += field.number == 4 ? field.bytes.size : 0;
    }
    return bytes;
}

/* The first record over a limit, found the plain way; the number of records when there is none. */
static uint32_t limits_expect(struct span batch, const struct batch_limits *limits)
{
    struct batch_record record;
    uint32_t index = 0;
    for (; batch_next(&batch, &record) == 1; index++) {
        if (index == limits->records_max || record.raw.size > limits->record_bytes_max ||
            record.id.size > limits->id_bytes_max || record.headers > limits->headers_max ||
            header_bytes(record.raw) > limits->header_bytes_max) {
            break;
        }
    }
    return index;
}

static void limits_compare(struct span batch, uint32_t records, const struct batch_limits *limits)
{
    struct batch_summary summary;
    uint32_t at_fault = 0;
    int result = batch_check(batch, limits, &summary, &at_fault);
    if (batch.size > limits->batch_bytes_max) {
        INVARIANT(result == ERR_TOO_LARGE && at_fault == 0);
        return;
    }
    uint32_t expected = limits_expect(batch, limits);
    if (expected == records) {
        INVARIANT(result == 0 && summary.records == records);
    } else {
        INVARIANT(result == ERR_TOO_LARGE && at_fault == expected);
    }
}

static void slices_join(struct span batch, uint32_t records, uint32_t records_max,
                        uint64_t bytes_max)
{
    const uint8_t *at = batch.data;
    uint32_t skip = 0;
    while (skip < records) {
        struct span slice;
        uint32_t taken = 0;
        struct batch_summary summary;
        uint32_t at_fault = 0;
        INVARIANT(batch_slice(batch, skip, records_max, bytes_max, &slice, &taken) == 0);
        INVARIANT(slice.data == at && taken >= 1);
        INVARIANT(taken == 1 || (taken <= records_max && slice.size <= bytes_max));
        INVARIANT(batch_check(slice, &no_limits, &summary, &at_fault) == 0);
        INVARIANT(summary.records == taken);
        if (taken < records_max &&
            skip + taken < records) { /* as much as fits: one more would not */
            struct span more =
                span_make(at + slice.size, (size_t) (batch.data + batch.size - at) - slice.size);
            struct batch_record record;
            struct span rest = more;
            INVARIANT(batch_next(&rest, &record) == 1);
            INVARIANT(slice.size + (more.size - rest.size) > bytes_max);
        }
        at += slice.size;
        skip += taken;
    }
    INVARIANT(at == batch.data + batch.size);
    struct span slice;
    uint32_t taken = 0;
    INVARIANT(batch_slice(batch, records, 1, 1, &slice, &taken) == ERR_PROTOCOL);
}

/* The records of a good batch, appended one by one, are read back the same. */
static void build_compare(struct span batch)
{
    struct buf built = {0};
    struct batch_record record;
    struct batch_record twin;
    while (batch_next(&batch, &record) == 1) {
        struct buf headers = {0};
        struct span rest = record.raw;
        struct span name;
        struct span value;
        while (batch_header_next(&rest, &name, &value) == 1) {
            batch_header_append(&headers, name, value);
        }
        buf_reset(&built);
        batch_append(&built, record.payload, record.id, record.key, buf_span(&headers));
        INVARIANT(built.size ==
                  batch_append_size(record.payload, record.id, record.key, buf_span(&headers)));
        rest = buf_span(&built);
        INVARIANT(batch_next(&rest, &twin) == 1 && rest.size == 0);
        INVARIANT(span_equal(twin.payload, record.payload) && span_equal(twin.id, record.id));
        INVARIANT(span_equal(twin.key, record.key) && twin.headers == record.headers);
        buf_release(&headers);
    }
    buf_release(&built);
}

/* Foreign bytes that nobody has checked: errors, but nothing worse. */
static void walk_unchecked(struct span batch, uint32_t skip, uint32_t records_max,
                           uint64_t bytes_max)
{
    struct batch_record record;
    struct span rest = batch;
    struct span slice;
    uint32_t taken = 0;
    while (batch_next(&rest, &record) == 1) {
        struct span fields = record.raw;
        struct span name;
        struct span value;
        while (batch_header_next(&fields, &name, &value) == 1) {
        }
    }
    (void) batch_slice(batch, skip, records_max, bytes_max, &slice, &taken);
}

static bool has_empty_id(const Railgun__RecordBatch *batch)
{
    for (size_t i = 0; i < batch->n_records; i++) {
        if (batch->records[i]->has_id && batch->records[i]->id.len == 0) {
            return true;
        }
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 6) {
        return 0;
    }
    struct span batch = span_make(data + 6, size - 6);
    struct batch_limits limits = {.batch_bytes_max = data[0] * 32U,
                                  .records_max = data[1],
                                  .record_bytes_max = data[2],
                                  .id_bytes_max = data[3] % 32,
                                  .headers_max = data[4] % 8,
                                  .header_bytes_max = data[5]};
    struct batch_summary summary;
    uint32_t at_fault = UINT32_MAX;
    int result = batch_check(batch, &no_limits, &summary, &at_fault);
    Railgun__RecordBatch *theirs = railgun__record_batch__unpack(NULL, batch.size, batch.data);

    walk_unchecked(batch, data[1] % 4, data[2], data[3]);
    if (result == 0) {
        INVARIANT(theirs != NULL && theirs->base.n_unknown_fields == 0);
        INVARIANT(
            !strict_reason(batch.data, batch.size, &railgun__record_batch__descriptor, NULL, 8));
        records_compare(batch, theirs, &summary);
        limits_compare(batch, summary.records, &limits);
        slices_join(batch, summary.records, data[1], data[2] * 4U);
        build_compare(batch);
    } else if (result == ERR_BAD_REQUEST) {
        INVARIANT(theirs == NULL || has_empty_id(theirs));
        INVARIANT(at_fault != UINT32_MAX);
    } else {
        INVARIANT(result == ERR_PROTOCOL && at_fault != UINT32_MAX);
        INVARIANT(
            theirs == NULL || theirs->n_records == 0 || theirs->base.n_unknown_fields != 0 ||
            strict_reason(batch.data, batch.size, &railgun__record_batch__descriptor, NULL, 8));
    }
    if (theirs != NULL) {
        railgun__record_batch__free_unpacked(theirs, NULL);
    }
    return 0;
}
