/* scan: the door before protobuf-c. Walks foreign bytes along the message's descriptor and adds up what unpacking them
 * would allocate, exactly as protobuf-c 1.4.1 does: the struct, an array for each repeated field, strings, bytes, unknown
 * fields, and its scratch list of members (16 on the stack, then blocks of 32, 64, ... of 32 bytes). Only what is
 * within the limits is unpacked, by an allocator that holds the same bound should the sum ever be wrong. */
#include "common/wire/scan.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

#include "common/wire/pb.h"

enum {
    SCAN_TYPE_FIELDS_MAX = 64, /* of one message type of ours; a test looks at all of them */
    SCRATCH_FIRST = 16,
    SCRATCH_MEMBER_SIZE = 32,
};

struct scan {
    const struct scan_limits *limits;
    unsigned fields;
    size_t memory;
    size_t memory_max;
};

/* What has been seen of one message. */
struct scan_message {
    const ProtobufCMessageDescriptor *type;
    unsigned members;
    unsigned scratch_room; /* members until the next block of scratch */
    unsigned scratch_block;
    unsigned seen[SCAN_TYPE_FIELDS_MAX]; /* occurrences or elements of each field */
};

struct scan_limits scan_limits_default(void)
{
    return (struct scan_limits){
        .depth_max = 8,
        .fields_max = 65536,
        .repeated_max = 4096,
        .memory_factor = 4,
        .memory_extra = (size_t) 1 << 20,
    };
}

static size_t memory_bound(size_t bytes, const struct scan_limits *limits)
{
    size_t bound = 0;
    if (__builtin_mul_overflow(bytes, limits->memory_factor, &bound) ||
        __builtin_add_overflow(bound, limits->memory_extra, &bound)) {
        return SIZE_MAX;
    }
    return bound;
}

static int scan_memory(struct scan *self, size_t size)
{
    if (size > self->memory_max - self->memory) {
        return ERR_TOO_LARGE;
    }
    self->memory += size;
    return 0;
}

static enum pb_type type_on_wire(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return PB_FIXED32;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return PB_FIXED64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return PB_BYTES;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
    default:
        return PB_VARINT;
    }
}

/* Size of one element in protobuf-c's array for a repeated field. */
static size_t element_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_ENUM:
        return 4;
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
    default:
        return 8;
    }
}

/* Elements in a packed field. 0 or ERR_PROTOCOL. */
static int packed_count(struct span bytes, ProtobufCType type, size_t *ret_count)
{
    enum pb_type wire = type_on_wire(type);
    if (wire != PB_VARINT) {
        size_t size = wire == PB_FIXED32 ? 4 : 8;
        *ret_count = bytes.size / size;
        return bytes.size % size == 0 ? 0 : ERR_PROTOCOL;
    }
    size_t count = 0;
    size_t length = 0; /* of the varint that is being passed */
    for (size_t i = 0; i < bytes.size; i++) {
        length++;
        if (length > PB_VARINT_SIZE_MAX || (type == PROTOBUF_C_TYPE_BOOL && bytes.data[i] > 1)) {
            return ERR_PROTOCOL;
        }
        if (bytes.data[i] < 0x80) {
            count++;
            length = 0;
        }
    }
    *ret_count = count;
    return length == 0 ? 0 : ERR_PROTOCOL;
}

static bool type_is_packable(ProtobufCType type)
{
    return type_on_wire(type) != PB_BYTES;
}

static bool field_is_oneof(const ProtobufCFieldDescriptor *type)
{
    return (type->flags & (uint32_t) PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
}

/* One more member of a message: counts, and protobuf-c's scratch. */
static int scan_member(struct scan *self, struct scan_message *message)
{
    if (self->fields == self->limits->fields_max) {
        return ERR_TOO_LARGE;
    }
    self->fields++;
    if (message->scratch_room == 0) {
        message->scratch_block *= 2;
        message->scratch_room = message->scratch_block;
        int result = scan_memory(self, (size_t) message->scratch_block * SCRATCH_MEMBER_SIZE);
        if (result < 0) {
            return result;
        }
    }
    message->scratch_room--;
    return 0;
}

/* Count `more` elements of field number `index` of the message, and the array that will hold them. */
static int scan_elements(struct scan *self, struct scan_message *message, size_t index, size_t more)
{
    const ProtobufCFieldDescriptor *type = &message->type->fields[index];
    if (more > self->limits->repeated_max - message->seen[index]) {
        return ERR_TOO_LARGE;
    }
    message->seen[index] += (unsigned) more;
    return scan_memory(self, more * element_size(type->type));
}

static int scan_packed(struct scan *self, struct scan_message *message, size_t index,
                       struct span bytes)
{
    size_t count = 0;
    int result = packed_count(bytes, message->type->fields[index].type, &count);
    if (result < 0) {
        return result;
    }
    result = scan_elements(self, message, index, count);
    if (result < 0) {
        return result;
    }
    size_t beyond = count != 0 ? count - 1 : 0; /* The field itself was counted as one. */
    if (beyond > self->limits->fields_max - self->fields) {
        return ERR_TOO_LARGE;
    }
    self->fields += (unsigned) beyond;
    return 0;
}

static int scan_message(struct scan *self, struct span bytes,
                        const ProtobufCMessageDescriptor *type, unsigned depth);

static int scan_field(struct scan *self, struct scan_message *message, size_t index,
                      const struct pb_field *field, unsigned depth)
{
    const ProtobufCFieldDescriptor *type = &message->type->fields[index];
    int result = 0;

    if (type->label == PROTOBUF_C_LABEL_REPEATED) {
        if (field->type == PB_BYTES && type_is_packable(type->type)) {
            return scan_packed(self, message, index, field->bytes);
        }
        result = scan_elements(self, message, index, 1);
        if (result < 0) {
            return result;
        }
    } else {
        message->seen[index]++;
    }
    if (field->type != type_on_wire(type->type)) {
        return ERR_PROTOCOL;
    }
    if (type->type == PROTOBUF_C_TYPE_STRING) {
        if (!pb_is_text(field->bytes)) {
            return ERR_PROTOCOL;
        }
        return scan_memory(self, field->bytes.size + 1);
    }
    if (type->type == PROTOBUF_C_TYPE_BYTES) {
        return scan_memory(self, field->bytes.size);
    }
    if (type->type != PROTOBUF_C_TYPE_MESSAGE) {
        return 0;
    }
    if (message->seen[index] > 1 && type->label != PROTOBUF_C_LABEL_REPEATED &&
        !field_is_oneof(type)) {
        return ERR_PROTOCOL;
    }
    return scan_message(self, field->bytes, type->descriptor, depth + 1);
}

static int scan_message(struct scan *self, struct span bytes,
                        const ProtobufCMessageDescriptor *type, unsigned depth)
{
    INVARIANT(type->n_fields <= SCAN_TYPE_FIELDS_MAX);

    if (depth > self->limits->depth_max) {
        return ERR_TOO_LARGE;
    }
    struct scan_message message = {
        .type = type, .scratch_room = SCRATCH_FIRST, .scratch_block = SCRATCH_FIRST};
    struct pb_field field;
    int result = scan_memory(self, type->sizeof_message);

    while (result == 0) {
        size_t before = bytes.size;
        result = pb_next(&bytes, &field);
        if (result <= 0) {
            return result;
        }
        result = scan_member(self, &message);
        if (result < 0) {
            return result;
        }
        const ProtobufCFieldDescriptor *known =
            protobuf_c_message_descriptor_get_field(type, field.number);
        if (known != NULL) {
            result = scan_field(self, &message, (size_t) (known - type->fields), &field, depth);
        } else { /* Kept as it came, without its tag: a little less than this. */
            result = scan_memory(self, sizeof(ProtobufCMessageUnknownField) + before - bytes.size);
        }
    }
    return result;
}

int scan_check(struct span bytes, const ProtobufCMessageDescriptor *type,
               const struct scan_limits *limits)
{
    struct scan_limits standard = scan_limits_default();
    struct scan scan = {.limits = limits != NULL ? limits : &standard};
    scan.memory_max = memory_bound(bytes.size, scan.limits);
    return scan_message(&scan, bytes, type, 1);
}

/* --- unpacking ------------------------------------------------------------------------------------------------ */

/* What protobuf-c may still allocate, and why it got nothing. */
struct scan_purse {
    size_t left;
    int error;
};

static void *purse_alloc(void *context, size_t size)
{
    struct scan_purse *purse = context;
    if (size > purse->left) {
        purse->error = ERR_TOO_LARGE;
        return NULL;
    }
    void *memory = mem_try_new(size);
    if (memory == NULL) {
        purse->error = ERR_NO_MEMORY;
        return NULL;
    }
    purse->left -= size;
    return memory;
}

static void purse_free(void *context, void *memory)
{
    (void) context; /* What was spent stays spent: the bound is on all that was ever asked for. */
    mem_free(memory);
}

int scan_unpack(struct span bytes, const ProtobufCMessageDescriptor *type,
                const struct scan_limits *limits, ProtobufCMessage **ret_message)
{
    struct scan_limits standard = scan_limits_default();
    if (limits == NULL) {
        limits = &standard;
    }
    int result = scan_check(bytes, type, limits);
    if (result < 0) {
        return result;
    }
    struct scan_purse purse = {.left = memory_bound(bytes.size, limits)};
    ProtobufCAllocator allocator = {purse_alloc, purse_free, &purse};
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, bytes.size, bytes.data);
    if (message == NULL) {
        return purse.error != 0 ? purse.error : ERR_PROTOCOL;
    }
    *ret_message = message;
    return 0;
}

void scan_free(ProtobufCMessage **message)
{
    ProtobufCAllocator allocator = {purse_alloc, purse_free, NULL};
    if (*message != NULL) {
        protobuf_c_message_free_unpacked(*message, &allocator);
        *message = NULL;
    }
}

void scan_pack(struct buf *out, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *at = buf_reserve(out, size);
    size_t written = protobuf_c_message_pack(message, at);
    INVARIANT(written == size);
    buf_advance(out, size);
}
