/* strict: where our readers may refuse what protobuf-c accepts. A second, slow and lenient walk over a message, made
 * without common/wire, that finds one of the reasons hot.h and scan.h give; a fuzz target asks it when the two disagree,
 * so that a refusal without such a reason is a bug, as is a reason without a refusal. */
#ifndef TESTS_FUZZ_LIB_STRICT_H
#define TESTS_FUZZ_LIB_STRICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

/* A varint as protobuf-c reads it; *ret_wide: it holds more than 64 bits. Bytes used, 0: none. */
static inline size_t strict_varint(const uint8_t *at, size_t size, uint64_t *ret_value,
                                   bool *ret_wide)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size && i < 10; i++) {
        value |= (uint64_t) (at[i] & 0x7f) << (7 * i);
        if ((at[i] & 0x80) == 0) {
            *ret_value = value;
            *ret_wide = i == 9 && at[i] > 1;
            return i + 1;
        }
    }
    return 0;
}

/* Decodes code points and encodes them again in the head: not the table that pb_is_text has. */
static inline bool strict_is_text(const uint8_t *at, size_t size)
{
    static const uint32_t least[] = {0, 1, 0x80, 0x800, 0x10000};
    for (size_t i = 0; i < size;) {
        size_t length = at[i] < 0x80       ? 1
                        : at[i] >> 5 == 6  ? 2
                        : at[i] >> 4 == 14 ? 3
                        : at[i] >> 3 == 30 ? 4
                                           : 0;
        if (length == 0 || length > size - i) {
            return false;
        }
        uint32_t point = length == 1 ? at[i] : at[i] & (0x7fU >> length);
        for (size_t k = 1; k < length; k++) {
            if (at[i + k] >> 6 != 2) {
                return false;
            }
            point = point << 6 | (at[i + k] & 0x3fU);
        }
        if (point < least[length] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) {
            return false;
        }
        i += length;
    }
    return true;
}

static inline bool strict_reason(const uint8_t *at, size_t size,
                                 const ProtobufCMessageDescriptor *type,
                                 const ProtobufCMessageDescriptor *opaque, unsigned depth);

/* A reason in one field whose value begins at `at`. */
static inline bool strict_field(const uint8_t *at, size_t size, unsigned wire,
                                const ProtobufCFieldDescriptor *known,
                                const ProtobufCMessageDescriptor *opaque, unsigned depth)
{
    if (known == NULL) {
        return false;
    }
    if (known->type == PROTOBUF_C_TYPE_BOOL && wire != 0) {
        return true;
    }
    if (wire == 2 && known->type == PROTOBUF_C_TYPE_STRING) {
        return !strict_is_text(at, size);
    }
    if (wire == 2 && known->type == PROTOBUF_C_TYPE_MESSAGE && depth > 1 &&
        known->descriptor != opaque) {
        return strict_reason(at, size, known->descriptor, opaque, depth - 1);
    }
    return false;
}

/* Is there a reason to refuse this message of `type`? Messages of type `opaque` are not looked into, nor any that lie
 * deeper than `depth` (1: the message itself). */
static inline bool strict_reason(const uint8_t *at, size_t size,
                                 const ProtobufCMessageDescriptor *type,
                                 const ProtobufCMessageDescriptor *opaque, unsigned depth)
{
    unsigned seen[64] = {0};
    size_t i = 0;
    while (i < size) {
        uint64_t tag = 0;
        uint64_t value = 0;
        bool wide = false;
        size_t used = strict_varint(at + i, size - i, &tag, &wide);
        if (used == 0 || wide || tag > UINT32_MAX || tag >> 3 == 0) {
            return true;
        }
        i += used;
        const ProtobufCFieldDescriptor *known =
            protobuf_c_message_descriptor_get_field(type, (unsigned) (tag >> 3));
        size_t length = 0;
        switch (tag & 7) {
        case 0:
            length = strict_varint(at + i, size - i, &value, &wide);
            if (length == 0 || wide) {
                return true;
            }
            break;
        case 1:
            length = 8;
            break;
        case 2:
            i += strict_varint(at + i, size - i, &value, &wide);
            length = (size_t) value;
            break;
        default:
            length = 4;
            break;
        }
        if (known != NULL && known->type == PROTOBUF_C_TYPE_MESSAGE &&
            known->label == PROTOBUF_C_LABEL_OPTIONAL &&
            (known->flags & (uint32_t) PROTOBUF_C_FIELD_FLAG_ONEOF) == 0 &&
            ++seen[known - type->fields] > 1) {
            return true;
        }
        if (length > size - i) {
            return false; /* protobuf-c has refused that itself */
        }
        if (strict_field(at + i, length, (unsigned) (tag & 7), known, opaque, depth)) {
            return true;
        }
        i += length;
    }
    return false;
}

#endif
