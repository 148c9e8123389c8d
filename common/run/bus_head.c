/* bus_head: encoding of what stands before each message. Everything read here comes from outside: it is checked before it
 * is believed. */
#include "common/run/bus_head.h"

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/str.h"
#include "common/wire/pb.h"

enum { BUS_STATUS_LOWEST = -9999 };

void bus_head_write(const struct bus_head *head, uint8_t out[BUS_HEAD_SIZE])
{
    out[0] = BUS_VERSION;
    out[1] = (uint8_t) head->kind;
    bytes_put_u16(out + 2, head->type);
    bytes_put_u32(out + 4, (uint32_t) head->status);
    bytes_put_u32(out + 8, head->meta_size);
    bytes_put_u32(out + 12, 0);
    bytes_put_u64(out + 16, head->session);
    bytes_put_u64(out + 24, head->correlation);
    bytes_put_u64(out + 32, head->subject);
    bytes_put_u64(out + 40, head->credit_bytes);
    bytes_put_u64(out + 48, head->credit_messages);
    bytes_put_u64(out + 56, head->body_size);
}

int bus_head_read(struct span frame, struct bus_head *ret_head)
{
    const uint8_t *at = frame.data;
    struct bus_head head = {0};

    if (frame.size < BUS_HEAD_SIZE) {
        return ERR_PROTOCOL;
    }
    if (at[0] != BUS_VERSION) {
        return ERR_VERSION;
    }
    if (at[1] < BUS_KIND_HELLO || at[1] >= BUS_KIND_COUNT) {
        return ERR_PROTOCOL;
    }
    head.kind = (enum bus_kind) at[1];
    head.type = bytes_get_u16(at + 2);
    head.status = (int32_t) bytes_get_u32(at + 4);
    head.meta_size = bytes_get_u32(at + 8);
    head.session = bytes_get_u64(at + 16);
    head.correlation = bytes_get_u64(at + 24);
    head.subject = bytes_get_u64(at + 32);
    head.credit_bytes = bytes_get_u64(at + 40);
    head.credit_messages = bytes_get_u64(at + 48);
    head.body_size = bytes_get_u64(at + 56);
    if (head.status > 0 || head.status < BUS_STATUS_LOWEST) {
        return ERR_PROTOCOL;
    }
    *ret_head = head;
    return 0;
}

/* --- hello --- */

enum {
    HELLO_EPOCH = 1,
    HELLO_WINDOW_BYTES = 2,
    HELLO_WINDOW_MESSAGES = 3,
    HELLO_MESSAGE_BYTES_MAX = 4,
    HELLO_CLUSTER = 5,
    HELLO_NAME = 6,
};

void bus_hello_write(const struct bus_hello *hello, struct buf *out)
{
    pb_append_fixed64(out, HELLO_EPOCH, hello->epoch);
    pb_append_varint(out, HELLO_WINDOW_BYTES, hello->window_bytes);
    pb_append_varint(out, HELLO_WINDOW_MESSAGES, hello->window_messages);
    pb_append_varint(out, HELLO_MESSAGE_BYTES_MAX, hello->message_bytes_max);
    if (!uuid_is_nil(&hello->cluster)) {
        pb_append_bytes(out, HELLO_CLUSTER,
                        span_make(hello->cluster.bytes, sizeof(hello->cluster.bytes)));
    }
    pb_append_bytes(out, HELLO_NAME, span_of(hello->name));
}

static int hello_take(struct bus_hello *hello, const struct pb_field *field)
{
    bool is_number = field->type == PB_VARINT || field->type == PB_FIXED64;
    switch (field->number) {
    case HELLO_EPOCH:
        hello->epoch = field->value;
        return is_number ? 0 : ERR_PROTOCOL;
    case HELLO_WINDOW_BYTES:
        hello->window_bytes = field->value;
        return is_number ? 0 : ERR_PROTOCOL;
    case HELLO_WINDOW_MESSAGES:
        hello->window_messages = field->value;
        return is_number ? 0 : ERR_PROTOCOL;
    case HELLO_MESSAGE_BYTES_MAX:
        hello->message_bytes_max = field->value;
        return is_number ? 0 : ERR_PROTOCOL;
    case HELLO_CLUSTER:
        return field->type == PB_BYTES ? uuid_from_bytes(field->bytes, &hello->cluster)
                                       : ERR_PROTOCOL;
    case HELLO_NAME:
        if (field->type != PB_BYTES || bus_name_check(field->bytes) < 0) {
            return ERR_PROTOCOL;
        }
        return str_copy(hello->name, sizeof(hello->name), field->bytes);
    default:
        return 0; /* of a newer peer */
    }
}

int bus_hello_read(struct span meta, struct bus_hello *ret_hello)
{
    struct bus_hello hello = {0};
    struct pb_field field;
    int more;

    while ((more = pb_next(&meta, &field)) > 0) {
        if (hello_take(&hello, &field) < 0) {
            return ERR_PROTOCOL;
        }
    }
    if (more < 0 || hello.epoch == 0 || hello.name[0] == '\0' || hello.window_bytes == 0 ||
        hello.window_messages == 0 || hello.message_bytes_max == 0) {
        return ERR_PROTOCOL;
    }
    *ret_hello = hello;
    return 0;
}

int bus_name_check(struct span name)
{
    if (name.size == 0 || name.size > BUS_NAME_MAX) {
        return ERR_BAD_FORMAT;
    }
    for (size_t i = 0; i < name.size; i++) {
        uint8_t byte = name.data[i];
        bool is_fine = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                       (byte >= '0' && byte <= '9') || byte == '_' || byte == '-';
        if (!is_fine) {
            return ERR_BAD_FORMAT;
        }
    }
    return 0;
}
