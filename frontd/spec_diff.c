/* spec_diff: see the header. Walks protobuf-c's descriptors, so that no field of a specification can be forgotten. Owns nothing. */
#include "frontd/spec_diff.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "common/wire/pb.h"

/* As raftd says it: MODE_EXCLUSIVE is "exclusive", PARK "park". */
static void enum_append(const ProtobufCEnumDescriptor *type, uint32_t value, struct buf *out)
{
    const char *first = type->values[0].name;
    const char *underscore = strchr(first, '_');
    size_t prefix = underscore != NULL ? (size_t) (underscore - first) + 1 : 0;
    for (unsigned i = 0; i < type->n_values; i++) {
        const char *name = type->values[i].name;
        if (type->values[i].value != (int) value) {
            continue;
        }
        for (name += strncmp(name, first, prefix) == 0 ? prefix : 0; *name != '\0'; name++) {
            buf_append_byte(out, (uint8_t) tolower((unsigned char) *name));
        }
        return;
    }
    buf_printf(out, "%" PRIu32, value);
}

static void list_append(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                        struct buf *out)
{
    const uint64_t *values;
    size_t count;
    memcpy(&values, (const char *) message + field->offset, sizeof(values));
    memcpy(&count, (const char *) message + field->quantifier_offset, sizeof(count));
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "%s%" PRIu64, i == 0 ? "" : ",", values[i]);
    }
}

static void value_append(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                         struct buf *out)
{
    const char *at = (const char *) message + field->offset;
    const char *text;
    uint32_t small;
    uint64_t big;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        list_append(message, field, out);
    } else if (field->type == PROTOBUF_C_TYPE_STRING) {
        memcpy(&text, at, sizeof(text));
        buf_append_text(out, text != NULL ? text : "");
    } else if (field->type == PROTOBUF_C_TYPE_UINT64 || field->type == PROTOBUF_C_TYPE_FIXED64) {
        memcpy(&big, at, sizeof(big));
        buf_printf(out, "%" PRIu64, big);
    } else {
        memcpy(&small, at, sizeof(small));
        if (field->type == PROTOBUF_C_TYPE_ENUM) {
            enum_append((const ProtobufCEnumDescriptor *) field->descriptor, small, out);
        } else if (field->type == PROTOBUF_C_TYPE_BOOL) {
            buf_append_text(out, small != 0 ? "true" : "false");
        } else {
            buf_printf(out, "%" PRIu32, small);
        }
    }
}

static bool is_given(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const char *bytes = (const char *) message;
    const void *pointer;
    size_t count;
    protobuf_c_boolean has;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        memcpy(&count, bytes + field->quantifier_offset, sizeof(count));
        return count > 0;
    }
    if (field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE) {
        memcpy(&pointer, bytes + field->offset, sizeof(pointer));
        return pointer != NULL;
    }
    memcpy(&has, bytes + field->quantifier_offset, sizeof(has));
    return has != 0;
}

static void diff_append(struct buf *out, uint32_t number, const char *prefix, const char *name,
                        struct span current, struct span wanted)
{
    bool immutable = strcmp(name, "mode") == 0 || strcmp(name, "order") == 0;
    struct buf path = {0};
    struct buf diff = {0};
    buf_printf(&path, "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", name);
    pb_append_bytes(&diff, 1, buf_span(&path));
    pb_append_bytes(&diff, 2, current);
    pb_append_bytes(&diff, 3, wanted);
    pb_append_bytes(&diff, 4, span_of(immutable ? "immutable" : "dynamic"));
    pb_append_bytes(out, number, buf_span(&diff));
    buf_release(&diff);
    buf_release(&path);
}

/* One field that is no message. */
static unsigned field_diff(struct buf *out, uint32_t number, const char *prefix,
                           const ProtobufCFieldDescriptor *field, const ProtobufCMessage *wanted,
                           const ProtobufCMessage *stored)
{
    struct buf one = {0};
    struct buf other = {0};
    value_append(wanted, field, &one);
    if (stored != NULL) {
        value_append(stored, field, &other);
    }
    bool differs = !span_equal(buf_span(&one), buf_span(&other));
    if (differs) {
        diff_append(out, number, prefix, field->name, buf_span(&other), buf_span(&one));
    }
    buf_release(&one);
    buf_release(&other);
    return differs;
}

/* `stored` NULL: all of it is absent there. */
static unsigned level_diff(struct buf *out, uint32_t number, const char *prefix,
                           const ProtobufCMessage *wanted, const ProtobufCMessage *stored)
{
    unsigned count = 0;
    for (unsigned i = 0; i < wanted->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &wanted->descriptor->fields[i];
        if (!is_given(wanted, field) || field->descriptor == &railgun__start__descriptor) {
            continue;
        }
        if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
            count += field_diff(out, number, prefix, field, wanted, stored);
            continue;
        }
        const ProtobufCMessage *one;
        const ProtobufCMessage *other = NULL;
        memcpy(&one, (const char *) wanted + field->offset, sizeof(one));
        if (stored != NULL) {
            memcpy(&other, (const char *) stored + field->offset, sizeof(other));
        }
        count += level_diff(out, number, field->name, one, other);
    }
    return count;
}

unsigned spec_diff_group(struct buf *out, uint32_t number, const Railgun__GroupSpec *wanted,
                         const Railgun__GroupSpec *stored)
{
    return level_diff(out, number, "", &wanted->base, &stored->base);
}
