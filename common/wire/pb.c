/* pb: the protobuf wire format, read and written in place. Owns nothing and allocates nothing. Every byte may come from
 * a peer: no reader may look past the end it was given, and none may be looser than protobuf-c, which later sees the
 * same bytes. */
#include "common/wire/pb.h"

#include <string.h>

#include "common/base/bytes.h"
#include "common/base/err.h"

/* Read a varint of at most `size_max` bytes. Returns the position behind it, or NULL. */
static const uint8_t *varint_read(const uint8_t *at, const uint8_t *end, unsigned size_max,
                                  uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size_max && at != end; i++) {
        uint8_t byte = *at++;
        value |= (uint64_t) (byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            if (i == PB_VARINT_SIZE_MAX - 1 && byte > 1) {
                return NULL; /* More than 64 bits. */
            }
            *ret_value = value;
            return at;
        }
    }
    return NULL;
}

/* The value behind a tag, for all types but a short PB_BYTES. */
static const uint8_t *value_read(const uint8_t *at, const uint8_t *end, struct pb_field *field)
{
    switch (field->type) {
    case PB_VARINT:
        return varint_read(at, end, PB_VARINT_SIZE_MAX, &field->value);
    case PB_FIXED64:
        if (end - at < 8) {
            return NULL;
        }
        field->value = bytes_get_u64(at);
        return at + 8;
    case PB_FIXED32:
        if (end - at < 4) {
            return NULL;
        }
        field->value = bytes_get_u32(at);
        return at + 4;
    case PB_BYTES: {
        uint64_t size = 0;
        at = varint_read(at, end, PB_LENGTH_SIZE_MAX, &size);
        if (at == NULL || size > (uint64_t) (end - at)) {
            return NULL;
        }
        field->bytes = span_make(at, (size_t) size);
        return at + size;
    }
    default:
        return NULL; /* Groups (3, 4) and what is not assigned (6, 7). */
    }
}

int pb_next(struct span *rest, struct pb_field *ret_field)
{
    if (rest->size == 0) {
        return 0;
    }
    const uint8_t *at = rest->data;
    const uint8_t *end = at + rest->size;
    uint64_t tag = *at++;
    if (tag >= 0x80) {
        at = varint_read(rest->data, end, PB_TAG_SIZE_MAX, &tag);
        if (at == NULL || tag > UINT32_MAX) {
            return ERR_PROTOCOL;
        }
    }
    struct pb_field field = {.number = (uint32_t) (tag >> 3), .type = (enum pb_type)(tag & 7)};
    if (field.number == 0) {
        return ERR_PROTOCOL;
    }
    if (field.type == PB_BYTES && at != end && *at < 0x80) {
        size_t size = *at++;
        if (size > (size_t) (end - at)) {
            return ERR_PROTOCOL;
        }
        field.bytes = span_make(at, size);
        at += size;
    } else {
        at = value_read(at, end, &field);
        if (at == NULL) {
            return ERR_PROTOCOL;
        }
    }
    *ret_field = field;
    *rest = span_make(at, (size_t) (end - at));
    return 1;
}

/* Bytes of the UTF-8 sequence at the front of `bytes` (not empty): 0 when it is none. */
static size_t text_step(struct span bytes)
{
    uint8_t first = bytes.data[0];
    size_t size = 0;
    /* The range of the second byte shuts out long forms, surrogates and over 10FFFF. */
    uint8_t low = 0x80;
    uint8_t high = 0xbf;

    if (first < 0x80) {
        return first != 0 ? 1 : 0;
    }
    if (first >= 0xc2 && first <= 0xdf) {
        size = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        size = 3;
        low = first == 0xe0 ? 0xa0 : low;
        high = first == 0xed ? 0x9f : high;
    } else if (first >= 0xf0 && first <= 0xf4) {
        size = 4;
        low = first == 0xf0 ? 0x90 : low;
        high = first == 0xf4 ? 0x8f : high;
    }
    if (size == 0 || size > bytes.size || bytes.data[1] < low || bytes.data[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if ((bytes.data[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return size;
}

/* Eight bytes of ASCII without a NUL. */
static bool text_is_plain(const uint8_t *at)
{
    static const uint64_t ones = UINT64_C(0x0101010101010101);
    static const uint64_t tops = UINT64_C(0x8080808080808080);
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return ((word | (word - ones)) & tops) == 0;
}

bool pb_is_text(struct span bytes)
{
    while (bytes.size != 0) {
        size_t step = 8;
        if (bytes.size < 8 || !text_is_plain(bytes.data)) {
            step = text_step(bytes);
        }
        if (step == 0) {
            return false;
        }
        bytes = span_make(bytes.data + step, bytes.size - step);
    }
    return true;
}

uint8_t *pb_put_varint(uint8_t *out, uint64_t value)
{
    while (value >= 0x80) {
        *out++ = (uint8_t) (value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t) value;
    return out;
}

uint8_t *pb_put_tag(uint8_t *out, uint32_t number, enum pb_type type)
{
    return pb_put_varint(out, (uint64_t) number << 3 | (uint64_t) type);
}

void pb_append_varint(struct buf *out, uint32_t number, uint64_t value)
{
    uint8_t *start = buf_reserve(out, (size_t) PB_TAG_SIZE_MAX + PB_VARINT_SIZE_MAX);
    uint8_t *at = pb_put_varint(pb_put_tag(start, number, PB_VARINT), value);
    buf_advance(out, (size_t) (at - start));
}

void pb_append_fixed64(struct buf *out, uint32_t number, uint64_t value)
{
    uint8_t *start = buf_reserve(out, (size_t) PB_TAG_SIZE_MAX + 8);
    uint8_t *at = pb_put_tag(start, number, PB_FIXED64);
    bytes_put_u64(at, value);
    buf_advance(out, (size_t) (at - start) + 8);
}

void pb_append_bytes(struct buf *out, uint32_t number, struct span bytes)
{
    uint8_t *start = buf_reserve(out, (size_t) PB_TAG_SIZE_MAX + PB_VARINT_SIZE_MAX + bytes.size);
    uint8_t *at = pb_put_varint(pb_put_tag(start, number, PB_BYTES), bytes.size);
    if (bytes.size != 0) {
        memcpy(at, bytes.data, bytes.size);
    }
    buf_advance(out, (size_t) (at - start) + bytes.size);
}

struct span pb_find_bytes(struct span message, uint32_t number)
{
    struct span found = {0};
    struct pb_field field;
    while (pb_next(&message, &field) == 1) {
        if (field.number == number && field.type == PB_BYTES) {
            found = field.bytes;
        }
    }
    return found;
}

uint64_t pb_find_varint(struct span message, uint32_t number)
{
    uint64_t found = 0;
    struct pb_field field;
    while (pb_next(&message, &field) == 1) {
        if (field.number == number && field.type == PB_VARINT) {
            found = field.value;
        }
    }
    return found;
}
