/* pb: the protobuf wire format itself, read and written in place: tags, varints, lengths. All readers are bounds-checked;
 * nothing is allocated. */
#ifndef COMMON_WIRE_PB_H
#define COMMON_WIRE_PB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/span.h"

enum pb_type { PB_VARINT = 0, PB_FIXED64 = 1, PB_BYTES = 2, PB_FIXED32 = 5 };

struct pb_field {
    uint32_t number;
    enum pb_type type;
    uint64_t value;    /* of varint and fixed fields */
    struct span bytes; /* of PB_BYTES */
};

enum {
    PB_VARINT_SIZE_MAX = 10,
    PB_TAG_SIZE_MAX = 5,
    PB_LENGTH_SIZE_MAX = 5,
    PB_NUMBER_MAX = (1 << 29) - 1,
};

/* Take the next field off the front of *rest. 1: a field; 0: the end; ERR_PROTOCOL: malformed, *rest is then unchanged.
 * Malformed are also groups, field number 0 or over PB_NUMBER_MAX, varints of over 10 bytes or 64 bits, tags and lengths
 * of over 5 bytes, lengths past the end. A varint longer than it need be is allowed, as in protobuf. */
int pb_next(struct span *rest, struct pb_field *ret_field);

/* The last field of this number and type in a message: empty, or 0, when there is none, or it is malformed before. */
struct span pb_find_bytes(struct span message, uint32_t number);
uint64_t pb_find_varint(struct span message, uint32_t number);

/* UTF-8 without a NUL: what a protobuf string must be for every language to read it. */
bool pb_is_text(struct span bytes);

/* Sizes and writing. `out` must have room (10 bytes a varint). Return the new position. */
static inline size_t pb_varint_size(uint64_t value)
{
    unsigned bits = 64 - (unsigned) __builtin_clzll(value | 1);
    return (bits + 6) / 7;
}
uint8_t *pb_put_varint(uint8_t *out, uint64_t value);
uint8_t *pb_put_tag(uint8_t *out, uint32_t number, enum pb_type type);

/* Append a field to a buf. */
void pb_append_varint(struct buf *out, uint32_t number, uint64_t value);
void pb_append_fixed64(struct buf *out, uint32_t number, uint64_t value);
void pb_append_bytes(struct buf *out, uint32_t number, struct span bytes);

#endif
