/* format: how a record is printed. Never interprets the payload; writes its bytes as they are (except as JSON). */
#include "adminctl/format.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/span.h"

static const char *check(const char *format, const char *directives, const char *problem)
{
    for (; *format != 0; format++) {
        if (*format == '%') {
            format++;
            if (*format == 0 || strchr(directives, *format) == NULL) {
                return problem;
            }
        } else if (*format == '\\') {
            format++;
            if (*format == 0 || strchr("nt0\\", *format) == NULL) {
                return "behind \\ stands one of n t 0 \\";
            }
        }
    }
    return NULL;
}

const char *format_check(const char *format)
{
    return check(format, "optikahse%", "behind % stands one of o p t i k a h s e %");
}

const char *format_check_delivery(const char *format)
{
    return check(format, "pTkhsr%", "behind % stands one of T p k h s r %");
}

/* What is printed: a record or a delivery; the other is NULL. */
struct source {
    const struct rg_record *record;
    const struct rg_es_delivery *delivery;
};

static bool next_header(const struct source *source, size_t *cursor, struct rg_header *ret_header)
{
    return source->record != NULL ? rg_record_header(source->record, cursor, ret_header)
                                  : rg_es_header(source->delivery, cursor, ret_header);
}

static void append_bytes(struct buf *out, struct rg_bytes bytes)
{
    buf_append(out, span_make(bytes.data, bytes.size));
}

static void append_headers(struct buf *out, const struct source *source)
{
    struct rg_header header;
    size_t cursor = 0;
    for (bool first = true; next_header(source, &cursor, &header); first = false) {
        if (!first) {
            buf_append_byte(out, ' ');
        }
        append_bytes(out, header.name);
        buf_append_byte(out, '=');
        append_bytes(out, header.value);
    }
}

static void append_of_record(struct buf *out, char directive, const struct rg_record *record)
{
    char time[32];
    switch (directive) {
    case 'o':
        buf_printf(out, "%" PRIu64, record->offset);
        break;
    case 't':
        buf_append_text(out, output_time_us(record->ts_us, time));
        break;
    case 'i':
        append_bytes(out, record->id);
        break;
    case 'a':
        buf_printf(out, "%" PRIu32, record->attempt);
        break;
    case 'e':
        buf_printf(out, "%" PRIu64, record->epoch);
        break;
    default:
        buf_append_byte(out, (uint8_t) directive);
        break;
    }
}

static void append_of_delivery(struct buf *out, char directive,
                               const struct rg_es_delivery *delivery)
{
    if (directive == 'T') {
        append_bytes(out, delivery->topic);
    } else if (directive == 'r') {
        append_bytes(out, delivery->reply_to);
    } else {
        buf_append_byte(out, (uint8_t) directive);
    }
}

static void append_directive(struct buf *out, char directive, const struct source *source)
{
    struct rg_bytes payload =
        source->record != NULL ? source->record->payload : source->delivery->payload;
    switch (directive) {
    case 'p':
        append_bytes(out, payload);
        break;
    case 'k':
        append_bytes(out, source->record != NULL ? source->record->key : source->delivery->key);
        break;
    case 'h':
        append_headers(out, source);
        break;
    case 's':
        buf_printf(out, "%zu", payload.size);
        break;
    default:
        if (source->record != NULL) {
            append_of_record(out, directive, source->record);
        } else {
            append_of_delivery(out, directive, source->delivery);
        }
        break;
    }
}

static void append_formatted(struct buf *out, const char *format, const struct source *source)
{
    for (; *format != 0; format++) {
        if (*format == '%') {
            append_directive(out, *++format, source);
        } else if (*format == '\\') {
            format++;
            buf_append_byte(out, *format == 'n'   ? '\n'
                                 : *format == 't' ? '\t'
                                 : *format == '0' ? 0
                                                  : (uint8_t) *format);
        } else {
            buf_append_byte(out, (uint8_t) *format);
        }
    }
}

void format_record(struct buf *out, const char *format, const struct rg_record *record)
{
    append_formatted(out, format, &(struct source){.record = record});
}

void format_delivery(struct buf *out, const char *format, const struct rg_es_delivery *delivery)
{
    append_formatted(out, format, &(struct source){.delivery = delivery});
}

static void append_base64(struct buf *out, struct rg_bytes bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *data = bytes.data;
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        uint32_t group = (uint32_t) data[i] << 16 | (left > 1 ? (uint32_t) data[i + 1] << 8 : 0) |
                         (left > 2 ? data[i + 2] : 0);
        buf_append_byte(out, (uint8_t) digits[group >> 18]);
        buf_append_byte(out, (uint8_t) digits[group >> 12 & 63]);
        buf_append_byte(out, left > 1 ? (uint8_t) digits[group >> 6 & 63] : '=');
        buf_append_byte(out, left > 2 ? (uint8_t) digits[group & 63] : '=');
    }
}

static void append_field(struct buf *out, const char *name, struct rg_bytes bytes)
{
    struct span text = span_make(bytes.data, bytes.size);
    if (output_is_utf8(text)) {
        buf_printf(out, "\"%s\": ", name);
        output_json_text(out, text);
        return;
    }
    buf_printf(out, "\"%s_base64\": \"", name);
    append_base64(out, bytes);
    buf_append_byte(out, '"');
}

/* The fields that both have, the last ones of the object. */
static void append_json_end(struct buf *out, const struct source *source, struct rg_bytes key,
                            struct rg_bytes payload)
{
    struct rg_header header;
    size_t cursor = 0;
    bool any = false;
    if (key.size > 0) {
        append_field(out, "key", key);
        buf_append_text(out, ", ");
    }
    while (next_header(source, &cursor, &header)) {
        buf_append_text(out, any ? ", {" : "\"headers\": [{");
        append_field(out, "name", header.name);
        buf_append_text(out, ", ");
        append_field(out, "value", header.value);
        buf_append_byte(out, '}');
        any = true;
    }
    buf_append_text(out, any ? "], " : "");
    append_field(out, "payload", payload);
    buf_append_text(out, "}\n");
}

void format_json(struct buf *out, const struct rg_record *record)
{
    buf_printf(out, "{\"offset\": %" PRIu64 ", \"ts_us\": %" PRIu64 ", ", record->offset,
               record->ts_us);
    if (record->attempt > 0) {
        buf_printf(out, "\"attempt\": %" PRIu32 ", ", record->attempt);
    }
    if (record->epoch > 0) {
        buf_printf(out, "\"epoch\": %" PRIu64 ", ", record->epoch);
    }
    if (record->id.size > 0) {
        append_field(out, "id", record->id);
        buf_append_text(out, ", ");
    }
    append_json_end(out, &(struct source){.record = record}, record->key, record->payload);
}

void format_delivery_json(struct buf *out, const struct rg_es_delivery *delivery)
{
    buf_append_byte(out, '{');
    append_field(out, "topic", delivery->topic);
    buf_append_text(out, ", ");
    if (delivery->reply_to.size > 0) {
        append_field(out, "reply_to", delivery->reply_to);
        buf_append_text(out, ", ");
    }
    append_json_end(out, &(struct source){.delivery = delivery}, delivery->key, delivery->payload);
}
