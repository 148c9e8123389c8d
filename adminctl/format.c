/* format: how a record is printed. Never interprets the payload; writes its bytes as they are (except as JSON). */
#include "adminctl/format.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/span.h"

const char *format_check(const char *format)
{
    for (; *format != 0; format++) {
        if (*format == '%') {
            format++;
            if (*format == 0 || strchr("optikahs%", *format) == NULL) {
                return "behind % stands one of o p t i k a h s %";
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

static void append_bytes(struct buf *out, struct rg_bytes bytes)
{
    buf_append(out, span_make(bytes.data, bytes.size));
}

static void append_headers(struct buf *out, const struct rg_record *record)
{
    struct rg_header header;
    size_t cursor = 0;
    for (bool first = true; rg_record_header(record, &cursor, &header); first = false) {
        if (!first) {
            buf_append_byte(out, ' ');
        }
        append_bytes(out, header.name);
        buf_append_byte(out, '=');
        append_bytes(out, header.value);
    }
}

static void append_directive(struct buf *out, char directive, const struct rg_record *record)
{
    char time[32];
    switch (directive) {
    case 'o':
        buf_printf(out, "%" PRIu64, record->offset);
        break;
    case 'p':
        append_bytes(out, record->payload);
        break;
    case 't':
        buf_append_text(out, output_time_us(record->ts_us, time));
        break;
    case 'i':
        append_bytes(out, record->id);
        break;
    case 'k':
        append_bytes(out, record->key);
        break;
    case 'a':
        buf_printf(out, "%" PRIu32, record->attempt);
        break;
    case 'h':
        append_headers(out, record);
        break;
    case 's':
        buf_printf(out, "%zu", record->payload.size);
        break;
    default:
        buf_append_byte(out, (uint8_t) directive);
        break;
    }
}

void format_record(struct buf *out, const char *format, const struct rg_record *record)
{
    for (; *format != 0; format++) {
        if (*format == '%') {
            append_directive(out, *++format, record);
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

void format_json(struct buf *out, const struct rg_record *record)
{
    struct rg_header header;
    size_t cursor = 0;
    buf_printf(out, "{\"offset\": %" PRIu64 ", \"ts_us\": %" PRIu64 ", ", record->offset,
               record->ts_us);
    if (record->attempt > 0) {
        buf_printf(out, "\"attempt\": %" PRIu32 ", ", record->attempt);
    }
    if (record->id.size > 0) {
        append_field(out, "id", record->id);
        buf_append_text(out, ", ");
    }
    if (record->key.size > 0) {
        append_field(out, "key", record->key);
        buf_append_text(out, ", ");
    }
    bool any = false;
    while (rg_record_header(record, &cursor, &header)) {
        buf_append_text(out, any ? ", {" : "\"headers\": [{");
        append_field(out, "name", header.name);
        buf_append_text(out, ", ");
        append_field(out, "value", header.value);
        buf_append_byte(out, '}');
        any = true;
    }
    buf_append_text(out, any ? "], " : "");
    append_field(out, "payload", record->payload);
    buf_append_text(out, "}\n");
}
