/* es: the frames of ephemeral messages read where they lie. Owns nothing, allocates nothing. Must never see another value than protobuf-c would in
 * the same bytes; where it is stricter, es.h and hot.h say so. The usual message (topic, payload, key, in this order) has a path of its own;
 * all others go through pb_next. Writing is in es_write.c. */
#include "common/wire/es.h"

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/topic.h"

#include "common/wire/batch.h"
#include "common/wire/es_fields.h"
#include "common/wire/pb.h"

struct es_limits es_limits_default(void)
{
    return (struct es_limits){
        .message_bytes_max = UINT64_C(1) << 20,
        .messages_max = UINT32_C(1) << 16,
        .key_bytes_max = 128,
        .headers_max = 32,
        .header_bytes_max = UINT32_C(16) << 10,
    };
}

/* --- messages --- */

/* A length of at most three bytes and as many bytes behind it. Returns where they begin, or NULL: the long way decides. */
static inline const uint8_t *short_bytes(const uint8_t *at, const uint8_t *end, size_t *ret_size)
{
    if (at == end) {
        return NULL;
    }
    size_t size = *at++;
    if (size >= 0x80) {
        if (at == end) {
            return NULL;
        }
        size = (size & 0x7f) | (size_t) (*at & 0x7f) << 7;
        if (*at++ >= 0x80) {
            if (at == end || *at >= 0x80) {
                return NULL;
            }
            size |= (size_t) *at++ << 14;
        }
    }
    if (size > (size_t) (end - at)) {
        return NULL;
    }
    *ret_size = size;
    return at;
}

/* One part, if it is the next. Returns the place behind it, or NULL: the long way decides. */
static inline __attribute__((always_inline)) const uint8_t *
usual_part(const uint8_t *at, const uint8_t *end, uint8_t tag, struct span *ret_part)
{
    *ret_part = (struct span){0};
    if (at == end || *at != tag) {
        return at;
    }
    size_t size = 0;
    at = short_bytes(at + 1, end, &size);
    if (at == NULL) {
        return NULL;
    }
    *ret_part = span_make(at, size);
    return at + size;
}

/* Is it topic, payload and key and nothing else, all within limits? Then *message is filled but for `field`, else it is in disorder. */
static inline __attribute__((always_inline)) bool message_is_usual(const uint8_t *raw, size_t size,
                                                                   const struct es_limits *limits,
                                                                   struct es_message *message)
{
    const uint8_t *end = raw + size;
    const uint8_t *at = usual_part(raw, end, ES_TAG(MESSAGE_TOPIC), &message->topic);
    if (at == NULL) {
        return false;
    }
    at = usual_part(at, end, ES_TAG(MESSAGE_PAYLOAD), &message->payload);
    if (at == NULL) {
        return false;
    }
    at = usual_part(at, end, ES_TAG(MESSAGE_KEY), &message->key);
    message->reply_to = (struct span){0};
    message->headers = 0;
    message->raw = span_make(raw, size);
    return at == end && message->topic.size <= TOPIC_SIZE_MAX &&
           message->key.size <= limits->key_bytes_max && size <= limits->message_bytes_max;
}

/* One Header of a message, whose whole field `field` is. */
static bool header_is_sound(struct span field)
{
    struct span name;
    struct span value;
    return batch_header_next(&field, &name, &value) ==
           1; /* Record has its headers in the same field */
}

/* All fields, each checked. 0 or ERR_PROTOCOL. */
static int message_fields(struct span raw, struct es_message *message, uint64_t *ret_header_bytes)
{
    struct span *const parts[] = {
        [ES_MESSAGE_TOPIC] = &message->topic,
        [ES_MESSAGE_PAYLOAD] = &message->payload,
        [ES_MESSAGE_KEY] = &message->key,
        [ES_MESSAGE_REPLY_TO] = &message->reply_to,
    };
    struct pb_field field;
    uint64_t header_bytes = 0;
    unsigned seen = 0;
    int result = 0;

    for (struct span rest = raw; (result = pb_next(&raw, &field)) == 1; rest = raw) {
        if (field.number > ES_MESSAGE_REPLY_TO) {
            continue;
        }
        if (field.type != PB_BYTES) {
            return ERR_PROTOCOL;
        }
        if (field.number == ES_MESSAGE_HEADERS) {
            if (!header_is_sound(span_make(rest.data, rest.size - raw.size))) {
                return ERR_PROTOCOL;
            }
            message->headers++;
            header_bytes += field.bytes.size;
            continue;
        }
        if ((seen >> field.number & 1) != 0) {
            return ERR_PROTOCOL;
        }
        seen |= 1U << field.number;
        *parts[field.number] = field.bytes;
    }
    *ret_header_bytes = header_bytes;
    return result;
}

static __attribute__((noinline)) int
message_read_any(struct span raw, const struct es_limits *limits, struct es_message *ret_message)
{
    struct es_message message = {.raw = raw};
    uint64_t header_bytes = 0;
    if (raw.size > limits->message_bytes_max) {
        return ERR_TOO_LARGE;
    }
    int result = message_fields(raw, &message, &header_bytes);
    if (result < 0) {
        return result;
    }
    if (message.topic.size > TOPIC_SIZE_MAX) {
        return ERR_BAD_REQUEST;
    }
    if (message.key.size > limits->key_bytes_max || message.headers > limits->headers_max ||
        header_bytes > limits->header_bytes_max) {
        return ERR_TOO_LARGE;
    }
    *ret_message = message;
    return 0;
}

int es_message_read(struct span raw, const struct es_limits *limits, struct es_message *ret_message)
{
    struct es_message message;
    if (raw.size == 0 || !message_is_usual(raw.data, raw.size, limits, &message)) {
        return message_read_any(raw, limits, ret_message);
    }
    message.field = (struct span){0};
    *ret_message = message;
    return 0;
}

/* The next message's whole field, past others. 1, 0 or ERR_PROTOCOL. */
static __attribute__((noinline)) int field_next(struct span *rest, struct span *ret_field,
                                                struct span *ret_raw)
{
    struct span after = *rest;
    for (;;) {
        const uint8_t *start = after.data;
        struct pb_field field;
        int result = pb_next(&after, &field);
        if (result < 0) {
            return result;
        }
        if (result == 0) {
            *rest = after;
            return 0;
        }
        if (field.number == ES_PUBLISH_EXCHANGE) {
            return ERR_PROTOCOL; /* it comes before the messages */
        }
        if (field.number == ES_MESSAGES) {
            if (field.type != PB_BYTES) {
                return ERR_PROTOCOL;
            }
            *ret_field = span_make(start, (size_t) (after.data - start));
            *ret_raw = field.bytes;
            *rest = after;
            return 1;
        }
    }
}

/* A message that is not the usual one, or does not lie as usual. */
static __attribute__((noinline)) int next_any(struct span *rest, const struct es_limits *limits,
                                              struct es_message *ret_message)
{
    struct span after = *rest;
    struct span field;
    struct span raw;
    int result = field_next(&after, &field, &raw);
    if (result == 1) {
        struct es_message message;
        result = es_message_read(raw, limits, &message);
        if (result == ERR_PROTOCOL) {
            return result;
        }
        if (result == 0) {
            message.field = field;
            *ret_message = message;
            result = 1;
        }
    }
    if (result != ERR_PROTOCOL) {
        *rest = after;
    }
    return result;
}

int es_next(struct span *rest, const struct es_limits *limits, struct es_message *ret_message)
{
    if (rest->size == 0) {
        return 0;
    }
    const uint8_t *start = rest->data;
    const uint8_t *end = start + rest->size;
    size_t size = 0;
    const uint8_t *raw = *start == ES_TAG(MESSAGES) ? short_bytes(start + 1, end, &size) : NULL;
    if (raw != NULL && message_is_usual(raw, size, limits, ret_message)) {
        const uint8_t *after = raw + size;
        ret_message->field = span_make(start, (size_t) (after - start));
        *rest = span_make(after, (size_t) (end - after));
        return 1;
    }
    return next_any(rest, limits, ret_message);
}

int es_header_next(struct span *rest, struct span *ret_name, struct span *ret_value)
{
    return batch_header_next(rest, ret_name,
                             ret_value); /* Record has its headers in the same field */
}

/* --- frames --- */

static bool is_varint(const struct pb_field *field)
{
    return field->type == PB_VARINT;
}

static bool is_bytes(const struct pb_field *field)
{
    return field->type == PB_BYTES;
}

static bool is_text(const struct pb_field *field)
{
    return field->type == PB_BYTES && pb_is_text(field->bytes);
}

/* The one EsMessage of a frame, which may come once. */
static bool message_take(const struct pb_field *field, bool *has_message, struct span *ret_message)
{
    if (!is_bytes(field) || *has_message) {
        return false;
    }
    *has_message = true;
    *ret_message = field->bytes;
    return true;
}

int es_publish_read(struct span body, struct es_publish *ret_publish)
{
    struct es_publish publish = {0};
    struct pb_field field;
    for (;;) {
        if (body.size != 0 && body.data[0] == ES_TAG(MESSAGES)) {
            publish.messages = body; /* es_next reads on */
            break;
        }
        struct span rest = body;
        int result = pb_next(&body, &field);
        if (result < 0) {
            return result;
        }
        if (result == 0) {
            break;
        }
        if (field.number == ES_MESSAGES) {
            publish.messages = rest; /* its tag is longer than it need be, or of another type */
            break;
        }
        if (field.number == ES_PUBLISH_EXCHANGE) {
            if (!is_text(&field)) {
                return ERR_PROTOCOL;
            }
            publish.exchange = field.bytes;
        }
    }
    *ret_publish = publish;
    return 0;
}

int es_request_read(struct span body, struct es_request *ret_request)
{
    struct es_request request = {0};
    struct pb_field field;
    int result = 0;

    while ((result = pb_next(&body, &field)) == 1) {
        bool valid = true;
        switch (field.number) {
        case ES_REQUEST_EXCHANGE:
            valid = is_text(&field);
            request.exchange = field.bytes;
            break;
        case ES_REQUEST_TIMEOUT:
            valid = is_varint(&field);
            request.timeout_ms = (uint32_t) field.value;
            break;
        case ES_REQUEST_MAX_REPLIES:
            valid = is_varint(&field);
            request.max_replies = (uint32_t) field.value;
            break;
        case ES_REQUEST_RESPONSE:
            valid = is_text(&field);
            request.response = field.bytes;
            break;
        case ES_MESSAGE:
            valid = message_take(&field, &request.has_message, &request.message);
            break;
        default:
            break;
        }
        if (!valid) {
            return ERR_PROTOCOL;
        }
    }
    if (result == 0) {
        *ret_request = request;
    }
    return result;
}

int es_reply_read(struct span body, struct es_reply *ret_reply)
{
    struct es_reply reply = {0};
    struct pb_field field;
    int result = 0;

    while ((result = pb_next(&body, &field)) == 1) {
        bool valid = true;
        if (field.number == ES_REPLY_TO) {
            valid = is_bytes(&field);
            reply.reply_to = field.bytes;
        } else if (field.number == ES_MESSAGE) {
            valid = message_take(&field, &reply.has_message, &reply.message);
        }
        if (!valid) {
            return ERR_PROTOCOL;
        }
    }
    if (result == 0) {
        *ret_reply = reply;
    }
    return result;
}

int es_result_read(struct span body, struct es_result *ret_result)
{
    struct es_result answer = {0};
    struct pb_field field;
    int result = 0;

    while ((result = pb_next(&body, &field)) == 1) {
        bool valid = true;
        switch (field.number) {
        case ES_RESULT_CODE:
            valid = is_varint(&field);
            answer.code = (uint32_t) field.value;
            break;
        case ES_RESULT_MORE:
            valid = is_varint(&field);
            answer.more = field.value != 0;
            break;
        case ES_RESULT_REPLIES:
            valid = is_varint(&field);
            answer.replies = (uint32_t) field.value;
            break;
        case ES_RESULT_DETAIL:
            valid = is_text(&field);
            answer.detail = field.bytes;
            break;
        case ES_MESSAGE:
            valid = message_take(&field, &answer.has_message, &answer.message);
            break;
        default:
            break;
        }
        if (!valid) {
            return ERR_PROTOCOL;
        }
    }
    if (result == 0) {
        *ret_result = answer;
    }
    return result;
}

/* --- blocks --- */

/* The ids of a block, in one piece. */
static bool ids_take(const struct pb_field *field, struct es_block *block)
{
    if (!is_bytes(field) || block->ids.data != NULL || field->bytes.size % 8 != 0) {
        return false;
    }
    block->ids = field->bytes;
    block->id_count = (uint32_t) (field->bytes.size / 8);
    return true;
}

static int block_read(struct span body, struct es_block *ret_block)
{
    struct es_block block = {0};
    struct pb_field field;
    bool has_messages = false;
    int result = 0;

    while ((result = pb_next(&body, &field)) == 1) {
        bool valid = true;
        switch (field.number) {
        case ES_BLOCK_IDS:
            valid = ids_take(&field, &block);
            break;
        case ES_BLOCK_COUNT:
            valid = is_varint(&field);
            block.count = (uint32_t) field.value;
            break;
        case ES_BLOCK_IS_GROUP:
            valid = is_varint(&field);
            block.is_group = field.value != 0;
            break;
        case ES_BLOCK_REQUEST:
            valid = field.type == PB_FIXED64;
            block.request = field.value;
            break;
        case ES_BLOCK_TIMEOUT:
            valid = is_varint(&field);
            block.timeout_ms = (uint32_t) field.value;
            break;
        case ES_BLOCK_MESSAGES:
            valid = message_take(&field, &has_messages, &block.messages);
            break;
        default:
            break;
        }
        if (!valid) {
            return ERR_PROTOCOL;
        }
    }
    if (result == 0) {
        *ret_block = block;
    }
    return result;
}

int es_block_next(struct span *rest, struct es_block *ret_block)
{
    struct span after = *rest;
    struct pb_field field;
    int result = 0;
    while ((result = pb_next(&after, &field)) == 1) {
        if (field.number != ES_FORWARD_BLOCKS) {
            continue;
        }
        if (!is_bytes(&field) || block_read(field.bytes, ret_block) < 0) {
            return ERR_PROTOCOL;
        }
        *rest = after;
        return 1;
    }
    if (result == 0) {
        *rest = after;
    }
    return result;
}

uint64_t es_block_id(const struct es_block *block, uint32_t index)
{
    return bytes_get_u64(block->ids.data + (size_t) index * 8);
}
