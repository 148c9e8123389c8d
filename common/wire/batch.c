/* batch: the records of a RecordBatch, walked, checked, cut and built in place. Owns nothing; the spans it hands out point
 * into the bytes it was given. batch_check is the door for every record that is ever stored: what it lets through,
 * every protobuf library must be able to read. The plain record (a payload and nothing else) has a path of its own in
 * each walk; all others go through pb_next. */
#include "common/wire/batch.h"

#include <assert.h>
#include <string.h>

#include "common/base/err.h"

#include "common/wire/pb.h"

enum {
    TAG_RECORDS = 1 << 3 | PB_BYTES,
    TAG_PAYLOAD = 1 << 3 | PB_BYTES,

    RECORD_PAYLOAD = 1,
    RECORD_ID = 2,
    RECORD_KEY = 3,
    RECORD_HEADERS = 4,
    RECORD_NOT_BEFORE = 5,

    HEADER_NAME = 1,
    HEADER_VALUE = 2,
};

struct batch_limits batch_limits_default(void)
{
    return (struct batch_limits){
        .batch_bytes_max = UINT64_C(4) << 20,
        .records_max = UINT32_C(1) << 16,
        .record_bytes_max = UINT64_C(1) << 20,
        .id_bytes_max = 128,
        .headers_max = 32,
        .header_bytes_max = UINT32_C(16) << 10,
    };
}

/* The bytes of a field 1 at the front of [at, end) whose length takes one or two bytes. Returns where they begin, or
 * NULL: not that simple, the long way decides. */
static inline const uint8_t *simple_field(const uint8_t *at, const uint8_t *end, size_t *ret_size)
{
    if (end - at < 3 || at[0] != TAG_RECORDS) {
        return NULL;
    }
    size_t size = at[1];
    at += 2;
    if (size >= 0x80) {
        if (*at >= 0x80) {
            return NULL;
        }
        size = (size & 0x7f) | (size_t) *at << 7;
        at++;
    }
    if (size > (size_t) (end - at)) {
        return NULL;
    }
    *ret_size = size;
    return at;
}

/* A record that is a payload and nothing else: where the payload begins, or NULL. */
static inline const uint8_t *plain_payload(const uint8_t *record, size_t record_size,
                                           size_t *ret_size)
{
    static_assert((int) TAG_RECORDS == (int) TAG_PAYLOAD, "one reader serves both");
    size_t size = 0;
    const uint8_t *payload = simple_field(record, record + record_size, &size);
    if (payload == NULL || payload + size != record + record_size) {
        return NULL;
    }
    *ret_size = size;
    return payload;
}

/* The next record's bytes off the front of *rest. 1, 0 at the end, or ERR_PROTOCOL. */
static inline int raw_next(struct span *rest, struct span *ret_raw)
{
    if (rest->size == 0) {
        return 0;
    }
    size_t size = 0;
    const uint8_t *end = rest->data + rest->size;
    const uint8_t *record = simple_field(rest->data, end, &size);
    if (record != NULL) {
        *ret_raw = span_make(record, size);
        *rest = span_make(record + size, (size_t) (end - record) - size);
        return 1;
    }
    struct span after = *rest;
    struct pb_field field;
    int result = pb_next(&after, &field);
    if (result != 1) {
        return result;
    }
    if (field.number != 1 || field.type != PB_BYTES) {
        return ERR_PROTOCOL;
    }
    *ret_raw = field.bytes;
    *rest = after;
    return 1;
}

/* A Header's two fields. 0 or ERR_PROTOCOL. */
static int header_read(struct span bytes, struct span *ret_name, struct span *ret_value)
{
    struct span name = {0};
    struct span value = {0};
    struct pb_field field;
    int result = 0;

    while ((result = pb_next(&bytes, &field)) == 1) {
        if (field.number != HEADER_NAME && field.number != HEADER_VALUE) {
            continue;
        }
        if (field.type != PB_BYTES) {
            return ERR_PROTOCOL;
        }
        if (field.number == HEADER_NAME) {
            if (!pb_is_text(field.bytes)) {
                return ERR_PROTOCOL;
            }
            name = field.bytes;
        } else {
            value = field.bytes;
        }
    }
    if (result == 0) {
        *ret_name = name;
        *ret_value = value;
    }
    return result;
}

/* What only batch_check asks of a record. */
struct record_extent {
    bool has_id;
    uint64_t header_bytes;
};

/* A record's fields, each checked. 0 or ERR_PROTOCOL. */
static int record_read(struct span raw, struct batch_record *ret_record,
                       struct record_extent *ret_extent)
{
    struct batch_record record = {.raw = raw};
    struct record_extent extent = {0};
    struct pb_field field;
    struct span name;
    struct span value;
    int result = 0;

    while ((result = pb_next(&raw, &field)) == 1) {
        if (field.number == 0 || field.number > RECORD_NOT_BEFORE) {
            continue;
        }
        if (field.type != (field.number == RECORD_NOT_BEFORE ? PB_FIXED64 : PB_BYTES)) {
            return ERR_PROTOCOL;
        }
        switch (field.number) {
        case RECORD_PAYLOAD:
            record.payload = field.bytes;
            break;
        case RECORD_ID:
            record.id = field.bytes;
            extent.has_id = true;
            break;
        case RECORD_KEY:
            record.key = field.bytes;
            break;
        case RECORD_HEADERS:
            if (header_read(field.bytes, &name, &value) < 0) {
                return ERR_PROTOCOL;
            }
            record.headers++;
            extent.header_bytes += field.bytes.size;
            break;
        default:
            record.not_before_us = field.value;
            break;
        }
    }
    if (result == 0) {
        *ret_record = record;
        *ret_extent = extent;
    }
    return result;
}

/* A record that is not plain: its form and its own limits, added to the summary. */
static __attribute__((noinline)) int
record_check(struct span raw, const struct batch_limits *limits, struct batch_summary *summary)
{
    struct batch_record record;
    struct record_extent extent;
    if (raw.size > limits->record_bytes_max) {
        return ERR_TOO_LARGE;
    }
    int result = record_read(raw, &record, &extent);
    if (result < 0) {
        return result;
    }
    if (extent.has_id && record.id.size == 0) {
        return ERR_BAD_REQUEST;
    }
    if (record.id.size > limits->id_bytes_max || record.headers > limits->headers_max ||
        extent.header_bytes > limits->header_bytes_max) {
        return ERR_TOO_LARGE;
    }
    summary->with_id += extent.has_id ? 1 : 0;
    summary->payload_bytes += record.payload.size;
    return 0;
}

static int check_failed(int error, uint32_t record, uint32_t *ret_record)
{
    *ret_record = record;
    return error;
}

int batch_check(struct span batch, const struct batch_limits *limits,
                struct batch_summary *ret_summary, uint32_t *ret_record)
{
    if (batch.size == 0) {
        return check_failed(ERR_PROTOCOL, 0, ret_record);
    }
    if (batch.size > limits->batch_bytes_max) {
        return check_failed(ERR_TOO_LARGE, 0, ret_record);
    }
    struct batch_summary summary = {0};
    uint64_t plain_bytes = 0; /* Apart from the summary, to stay in a register. */
    uint64_t record_bytes_max = limits->record_bytes_max;
    uint32_t records_max = limits->records_max;
    uint32_t records = 0;
    struct span rest = batch;
    struct span raw;
    int result = 0;

    while ((result = raw_next(&rest, &raw)) == 1) {
        if (records == records_max) {
            return check_failed(ERR_TOO_LARGE, records, ret_record);
        }
        size_t payload_size = 0;
        if (raw.size <= record_bytes_max &&
            plain_payload(raw.data, raw.size, &payload_size) != NULL) {
            plain_bytes += payload_size;
        } else {
            result = record_check(raw, limits, &summary);
            if (result < 0) {
                return check_failed(result, records, ret_record);
            }
        }
        records++;
    }
    if (result < 0) {
        return check_failed(result, records, ret_record);
    }
    summary.records = records;
    summary.payload_bytes += plain_bytes;
    *ret_summary = summary;
    return 0;
}

int batch_next(struct span *rest, struct batch_record *ret_record)
{
    struct span after = *rest;
    struct span raw;
    int result = raw_next(&after, &raw);
    if (result != 1) {
        return result;
    }
    size_t size = 0;
    const uint8_t *payload = plain_payload(raw.data, raw.size, &size);
    if (payload != NULL) {
        *ret_record = (struct batch_record){.payload = span_make(payload, size), .raw = raw};
    } else {
        struct record_extent extent;
        if (record_read(raw, ret_record, &extent) < 0) {
            return ERR_PROTOCOL;
        }
    }
    *rest = after;
    return 1;
}

int batch_header_next(struct span *rest, struct span *ret_name, struct span *ret_value)
{
    struct span after = *rest;
    struct pb_field field;
    int result = 0;

    while ((result = pb_next(&after, &field)) == 1) {
        if (field.number != RECORD_HEADERS) {
            continue;
        }
        if (field.type != PB_BYTES || header_read(field.bytes, ret_name, ret_value) < 0) {
            return ERR_PROTOCOL;
        }
        *rest = after;
        return 1;
    }
    return result;
}

int batch_slice(struct span batch, uint32_t skip, uint32_t records_max, uint64_t bytes_max,
                struct span *ret_slice, uint32_t *ret_records)
{
    struct span rest = batch;
    struct span raw;
    for (uint32_t i = 0; i < skip; i++) {
        if (raw_next(&rest, &raw) != 1) {
            return ERR_PROTOCOL;
        }
    }
    const uint8_t *start = rest.data;
    if (raw_next(&rest, &raw) != 1) {
        return ERR_PROTOCOL;
    }
    uint32_t records = 1;
    const uint8_t *end = rest.data;
    while (records < records_max) {
        int result = raw_next(&rest, &raw);
        if (result < 0) {
            return result;
        }
        if (result == 0 || (uint64_t) (rest.data - start) > bytes_max) {
            break;
        }
        end = rest.data;
        records++;
    }
    *ret_slice = span_make(start, (size_t) (end - start));
    *ret_records = records;
    return 0;
}

static size_t part_size(struct span part)
{
    return part.size != 0 ? 1 + pb_varint_size(part.size) + part.size : 0;
}

static size_t record_size(struct span payload, struct span id, struct span key, struct span headers)
{
    return part_size(payload) + part_size(id) + part_size(key) + headers.size;
}

size_t batch_append_size(struct span payload, struct span id, struct span key, struct span headers)
{
    size_t size = record_size(payload, id, key, headers);
    return 1 + pb_varint_size(size) + size;
}

static uint8_t *part_put(uint8_t *at, uint32_t number, struct span part)
{
    if (part.size == 0) {
        return at;
    }
    at = pb_put_varint(pb_put_tag(at, number, PB_BYTES), part.size);
    memcpy(at, part.data, part.size);
    return at + part.size;
}

void batch_append(struct buf *batch, struct span payload, struct span id, struct span key,
                  struct span headers)
{
    size_t size = record_size(payload, id, key, headers);
    uint8_t *start = buf_reserve(batch, 1 + PB_VARINT_SIZE_MAX + size);
    uint8_t *at = pb_put_varint(pb_put_tag(start, 1, PB_BYTES), size);
    at = part_put(at, RECORD_PAYLOAD, payload);
    at = part_put(at, RECORD_ID, id);
    at = part_put(at, RECORD_KEY, key);
    if (headers.size != 0) {
        memcpy(at, headers.data, headers.size);
        at += headers.size;
    }
    buf_advance(batch, (size_t) (at - start));
}

void batch_header_append(struct buf *headers, struct span name, struct span value)
{
    size_t size = part_size(name) + part_size(value);
    uint8_t *start = buf_reserve(headers, 1 + PB_VARINT_SIZE_MAX + size);
    uint8_t *at = pb_put_varint(pb_put_tag(start, RECORD_HEADERS, PB_BYTES), size);
    at = part_put(part_put(at, HEADER_NAME, name), HEADER_VALUE, value);
    buf_advance(headers, (size_t) (at - start));
}
