/* deadletter_record: what a record looks like in a dead-letter stream. Owns nothing. */
#include "logd/deadletter.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/invariant.h"
#include "common/base/str.h"
#include "common/wire/batch.h"
#include "common/wire/log.pb-c.h"
#include "logd/group_dead.h"
#include "logd/ids_key.h"
#include "logd/planted.h"

enum { ID_GROUP_MAX = 48, ID_MAX = 128 };

static const char PREFIX[] = "rg-dlq-";

const char *deadletter_reason(uint32_t reason)
{
    switch ((int) reason) {
    case RAILGUN__DEAD__REASON__MAX_FAILED:
        return "MAX_FAILED";
    case RAILGUN__DEAD__REASON__DISTANCE:
        return "DISTANCE";
    case RAILGUN__DEAD__REASON__MAX_AGE:
        return "MAX_AGE";
    case RAILGUN__DEAD__REASON__REJECTED:
        return "REJECTED";
    default:
        return "NONE";
    }
}

void deadletter_id(const struct deadletter_origin *origin, uint64_t offset, uint32_t round,
                   struct buf *out)
{
    buf_reset(out);
    buf_append(out, origin->stream_id);
    buf_append_byte(out, '/');
    if (origin->group.size <= ID_GROUP_MAX) {
        buf_append(out, origin->group);
    } else { /* a long name: its beginning, and what tells it from others */
        buf_append(out, span_make(origin->group.data, ID_GROUP_MAX - 17));
        buf_printf(out, "~%016" PRIx64, ids_payload_hash(origin->group));
    }
    buf_printf(out, "/%" PRIu64, offset);
    if (round != 0) {
        buf_printf(out, "/%" PRIu32, round);
    }
    if (PLANTED(DEAD_WITHOUT_ID)) {
        buf_reset(out);
    }
    INVARIANT(out->size <= ID_MAX);
}

/* The text behind the last slash, and what is before it. */
static struct span last_part(struct span text, struct span *ret_rest)
{
    size_t at = text.size;
    while (at > 0 && text.data[at - 1] != '/') {
        at--;
    }
    *ret_rest = span_make(text.data, at > 0 ? at - 1 : 0);
    return span_make(text.data + at, text.size - at);
}

bool deadletter_id_is(struct span id, struct uuid *ret_stream_id)
{
    struct uuid stream_id;
    struct span rest;
    uint64_t number;
    char text[UUID_TEXT_SIZE];
    if (id.size < UUID_TEXT_SIZE || id.data[UUID_TEXT_SIZE - 1] != '/' ||
        uuid_parse(span_make(id.data, UUID_TEXT_SIZE - 1), &stream_id) != 0) {
        return false;
    }
    uuid_format(&stream_id, text);
    if (memcmp(text, id.data, UUID_TEXT_SIZE - 1) != 0) {
        return false; /* in capitals */
    }
    struct span last = last_part(id, &rest);
    if (rest.size <= UUID_TEXT_SIZE || str_to_u64(last, &number) != 0) {
        return false;
    }
    *ret_stream_id = stream_id;
    return true;
}

static bool is_ours(struct span name)
{
    return name.size >= sizeof PREFIX - 1 && memcmp(name.data, PREFIX, sizeof PREFIX - 1) == 0;
}

static void put_text(struct buf *headers, const char *name, struct span value)
{
    if (value.size > 0) {
        batch_header_append(headers, span_of(name), value);
    }
}

static void put_number(struct buf *headers, const char *name, uint64_t value)
{
    char text[24];
    int size = snprintf(text, sizeof text, "%" PRIu64, value);
    batch_header_append(headers, span_of(name), span_make(text, (size_t) size));
}

static struct span text_span(const char *text)
{
    return span_of(text != NULL ? text : "");
}

/* The value of a header; false: there is none. */
static bool find_header(struct span raw, const char *wanted, struct span *ret_value)
{
    struct span name;
    struct span value;
    while (batch_header_next(&raw, &name, &value) == 1) {
        if (span_is(name, wanted)) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static uint64_t find_number(struct span raw, const char *wanted)
{
    struct span value;
    uint64_t number;
    return find_header(raw, wanted, &value) && str_to_u64(value, &number) == 0 ? number : 0;
}

void deadletter_append(const struct deadletter_origin *origin, const struct group_grave *grave,
                       uint64_t offset, uint64_t ts_us, struct span record, struct buf *batch)
{
    struct batch_record read;
    struct buf headers = {0};
    struct buf id = {0};
    int more = batch_next(&record, &read);
    INVARIANT(more == 1); /* it was stored: it was checked */
    struct span rest = read.raw;
    struct span name;
    struct span value;
    while (batch_header_next(&rest, &name, &value) == 1) {
        if (!is_ours(name)) {
            batch_header_append(&headers, name, value);
        }
    }
    put_text(&headers, "rg-dlq-stream", origin->stream);
    put_text(&headers, "rg-dlq-group", origin->group);
    put_number(&headers, "rg-dlq-offset", PLANTED(DEAD_NEIGHBOUR) ? offset + 1 : offset);
    put_number(&headers, "rg-dlq-ts", ts_us);
    put_text(&headers, "rg-dlq-reason", span_of(deadletter_reason(grave->reason)));
    put_number(&headers, "rg-dlq-failed", grave->failed);
    put_number(&headers, "rg-dlq-attempts", grave->attempts);
    put_text(&headers, "rg-dlq-last-error", text_span(grave->error));
    put_text(&headers, "rg-dlq-consumer", text_span(grave->consumer));
    deadletter_id(origin, offset, grave->round, &id);
    batch_append(batch, read.payload, buf_span(&id), read.key, buf_span(&headers));
    buf_release(&headers);
    buf_release(&id);
}

bool deadletter_is_copy(const struct deadletter_origin *origin, uint64_t offset, struct span record,
                        uint64_t *ret_ts_us)
{
    struct batch_record read;
    struct span stream;
    struct span group;
    if (batch_next(&record, &read) != 1 || !find_header(read.raw, "rg-dlq-stream", &stream) ||
        !find_header(read.raw, "rg-dlq-group", &group) || !span_equal(stream, origin->stream) ||
        !span_equal(group, origin->group) || find_number(read.raw, "rg-dlq-offset") != offset) {
        return false;
    }
    *ret_ts_us = find_number(read.raw, "rg-dlq-ts");
    return true;
}
