/* es_fuzz: the readers of ephemeral frames against protobuf-c on the same bytes, as hot_fuzz: both accept and agree in every field, or both refuse; where
 * only ours refuses, there must be a reason that es.h or hot.h names. Messages are walked with wide limits first, and then with the usual
 * ones, which may only refuse more. Input: a byte for the frame, then its bytes. */
#include "common/wire/es.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/topic.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/router.pb-c.h"
#include "tests/fuzz/lib/strict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct es_limits wide = {
    .message_bytes_max = UINT64_MAX,
    .messages_max = UINT32_MAX,
    .key_bytes_max = UINT32_MAX,
    .headers_max = UINT32_MAX,
    .header_bytes_max = UINT32_MAX,
};

static bool is_same(struct span ours, protobuf_c_boolean has, ProtobufCBinaryData theirs)
{
    return span_equal(ours, has ? span_make(theirs.data, theirs.len) : span_make(NULL, 0));
}

static bool is_same_text(struct span ours, const char *theirs)
{
    return span_is(ours, theirs != NULL ? theirs : "");
}

/* A topic may be no text: theirs then ends at the NUL. */
static bool is_same_topic(struct span ours, const char *theirs)
{
    size_t size = theirs != NULL ? strlen(theirs) : 0;
    return size <= ours.size && is_same_text(span_make(ours.data, size), theirs) &&
           (size == ours.size || ours.data[size] == 0);
}

/* Which of the fields under 32 come again in a message that protobuf-c accepts, and which come as fixed64: a bit each. By a walk of its own. */
static uint32_t fields_twice(const uint8_t *at, size_t size, uint32_t *ret_fixed)
{
    uint32_t seen = 0;
    uint32_t twice = 0;
    for (size_t i = 0; i < size;) {
        uint64_t tag = 0;
        uint64_t value = 0;
        bool is_wide = false;
        i += strict_varint(at + i, size - i, &tag, &is_wide);
        uint32_t bit = tag >> 3 < 32 ? UINT32_C(1) << (tag >> 3) : 0;
        twice |= seen & bit;
        seen |= bit;
        size_t used = strict_varint(at + i, size - i, &value, &is_wide);
        switch (tag & 7) {
        case 0:
            i += used;
            break;
        case 1:
            *ret_fixed |= bit;
            i += 8;
            break;
        case 2:
            i += used + (size_t) value;
            break;
        default:
            i += 4;
            break;
        }
    }
    return twice;
}

/* May es_message_read refuse these bytes, which protobuf-c accepts? */
static bool message_reason(struct span raw)
{
    uint32_t fixed = 0;
    uint32_t twice = fields_twice(raw.data, raw.size, &fixed);
    return (twice & (1U << 1 | 1U << 2 | 1U << 3 | 1U << 5)) != 0 ||
           strict_reason(raw.data, raw.size, &railgun__es_message__descriptor, NULL, 8);
}

static bool message_is_theirs(struct span raw)
{
    Railgun__EsMessage *theirs = railgun__es_message__unpack(NULL, raw.size, raw.data);
    if (theirs != NULL) {
        railgun__es_message__free_unpacked(theirs, NULL);
    }
    return theirs != NULL;
}

static void message_compare(const struct es_message *ours, const Railgun__EsMessage *theirs)
{
    struct span rest = ours->raw;
    struct span name;
    struct span value;
    INVARIANT(is_same_topic(ours->topic, theirs->topic));
    INVARIANT(is_same(ours->payload, theirs->has_payload, theirs->payload));
    INVARIANT(is_same(ours->key, theirs->has_key, theirs->key));
    INVARIANT(is_same(ours->reply_to, theirs->has_reply_to, theirs->reply_to));
    INVARIANT(ours->headers == theirs->n_headers);
    for (size_t i = 0; i < theirs->n_headers; i++) {
        const Railgun__Header *header = theirs->headers[i];
        INVARIANT(es_header_next(&rest, &name, &value) == 1);
        INVARIANT(is_same_text(name, header->name));
        INVARIANT(is_same(value, header->has_value, header->value));
    }
    INVARIANT(es_header_next(&rest, &name, &value) == 0);
}

/* One EsMessage by itself. */
static void message_try(struct span raw)
{
    struct es_limits usual = es_limits_default();
    struct es_message message;
    struct es_message again;
    Railgun__EsMessage *theirs = railgun__es_message__unpack(NULL, raw.size, raw.data);
    int result = es_message_read(raw, &wide, &message);
    if (result == 0) {
        INVARIANT(theirs != NULL && message.topic.size <= TOPIC_SIZE_MAX);
        message_compare(&message, theirs);
        result = es_message_read(raw, &usual, &again);
        INVARIANT(result ==
                  (message.key.size > usual.key_bytes_max || message.headers > usual.headers_max ||
                           raw.size > usual.message_bytes_max
                       ? ERR_TOO_LARGE
                       : result));
        INVARIANT(result == 0 || result == ERR_TOO_LARGE);
    } else if (result == ERR_BAD_REQUEST) {
        INVARIANT(theirs != NULL && strlen(theirs->topic) <= raw.size);
    } else {
        INVARIANT(result == ERR_PROTOCOL);
        INVARIANT(theirs == NULL || message_reason(raw));
    }
    if (theirs != NULL) {
        railgun__es_message__free_unpacked(theirs, NULL);
    }
}

/* The message of a request, reply or result, which the frame's reader hands out as it is. */
static void part_compare(bool has, struct span raw, const Railgun__EsMessage *theirs)
{
    struct es_message message;
    INVARIANT(has == (theirs != NULL));
    if (has && es_message_read(raw, &wide, &message) == 0) {
        message_compare(&message, theirs);
    }
}

static int publish_compare(struct span body, const ProtobufCMessage *base, bool *ret_is_opaque_bad)
{
    const Railgun__EsPublish *theirs = (const Railgun__EsPublish *) base;
    struct es_publish publish;
    struct es_message message;
    size_t count = 0;
    int result = es_publish_read(body, &publish);
    if (result != 0) {
        return result;
    }
    struct span rest = publish.messages;
    while ((result = es_next(&rest, &wide, &message)) != 0 && result != ERR_PROTOCOL) {
        INVARIANT(result == 1 || result == ERR_BAD_REQUEST);
        if (result == 1) {
            struct es_message alone;
            INVARIANT(message.field.data + message.field.size == rest.data);
            INVARIANT(message.raw.data + message.raw.size == rest.data);
            INVARIANT(es_message_read(message.raw, &wide, &alone) == 0);
            INVARIANT(span_equal(alone.payload, message.payload));
            INVARIANT(message_is_theirs(message.raw));
        }
        if (result == 1 && theirs != NULL) {
            INVARIANT(count < theirs->n_messages);
            message_compare(&message, theirs->messages[count]);
        }
        count++;
    }
    if (result == 0) {
        *ret_is_opaque_bad = false;
        INVARIANT(theirs != NULL && count == theirs->n_messages);
        INVARIANT(is_same_text(publish.exchange, theirs->exchange));
    }
    return result;
}

static int request_compare(struct span body, const ProtobufCMessage *base, bool *ret_is_opaque_bad)
{
    const Railgun__Request *theirs = (const Railgun__Request *) base;
    struct es_request request;
    int result = es_request_read(body, &request);
    if (result != 0) {
        return result;
    }
    *ret_is_opaque_bad = !message_is_theirs(request.message);
    if (theirs != NULL) {
        INVARIANT(is_same_text(request.exchange, theirs->exchange));
        INVARIANT(is_same_text(request.response, theirs->response));
        INVARIANT(request.timeout_ms == theirs->timeout_ms);
        INVARIANT(request.max_replies == theirs->max_replies);
        part_compare(request.has_message, request.message, theirs->message);
    }
    return 0;
}

static int reply_compare(struct span body, const ProtobufCMessage *base, bool *ret_is_opaque_bad)
{
    const Railgun__Reply *theirs = (const Railgun__Reply *) base;
    struct es_reply reply;
    int result = es_reply_read(body, &reply);
    if (result != 0) {
        return result;
    }
    *ret_is_opaque_bad = !message_is_theirs(reply.message);
    if (theirs != NULL) {
        INVARIANT(is_same(reply.reply_to, theirs->has_reply_to, theirs->reply_to));
        part_compare(reply.has_message, reply.message, theirs->message);
    }
    return 0;
}

static int result_compare(struct span body, const ProtobufCMessage *base, bool *ret_is_opaque_bad)
{
    const Railgun__Result *theirs = (const Railgun__Result *) base;
    struct es_result ours;
    int result = es_result_read(body, &ours);
    if (result != 0) {
        return result;
    }
    *ret_is_opaque_bad = !message_is_theirs(ours.message);
    if (theirs != NULL) {
        INVARIANT(ours.code == theirs->code && ours.replies == theirs->replies);
        INVARIANT(ours.more == (theirs->more != 0));
        INVARIANT(is_same_text(ours.detail, theirs->detail));
        part_compare(ours.has_message, ours.message, theirs->message);
    }
    return 0;
}

static bool deliver_is_theirs(struct span bytes)
{
    Railgun__EsDeliver *theirs = railgun__es_deliver__unpack(NULL, bytes.size, bytes.data);
    if (theirs != NULL) {
        railgun__es_deliver__free_unpacked(theirs, NULL);
    }
    return theirs != NULL;
}

static void block_compare(const struct es_block *ours, const Railgun__EsBlock *theirs)
{
    INVARIANT(ours->id_count == theirs->n_ids && ours->count == theirs->count);
    INVARIANT(ours->is_group == (theirs->is_group != 0) && ours->request == theirs->request);
    INVARIANT(ours->timeout_ms == theirs->timeout_ms);
    for (uint32_t i = 0; i < ours->id_count; i++) {
        INVARIANT(es_block_id(ours, i) == theirs->ids[i]);
    }
}

static int forward_compare(struct span body, const ProtobufCMessage *base, bool *ret_is_opaque_bad)
{
    const Railgun__EsForward *theirs = (const Railgun__EsForward *) base;
    struct es_block block;
    size_t count = 0;
    int result = 0;
    while ((result = es_block_next(&body, &block)) == 1) {
        *ret_is_opaque_bad |= !deliver_is_theirs(block.messages);
        if (theirs != NULL) {
            INVARIANT(count < theirs->n_blocks);
            block_compare(&block, theirs->blocks[count]);
        }
        count++;
    }
    INVARIANT(result != 0 || theirs == NULL || count == theirs->n_blocks);
    return result;
}

/* What only es.h asks of an EsPublish: the exchange first, no field twice in a message. Accepted by protobuf-c. */
static bool publish_reason(const uint8_t *at, size_t size)
{
    bool has_messages = false;
    for (size_t i = 0; i < size;) {
        uint64_t tag = 0;
        uint64_t value = 0;
        bool is_wide = false;
        i += strict_varint(at + i, size - i, &tag, &is_wide);
        size_t used = strict_varint(at + i, size - i, &value, &is_wide);
        if (tag >> 3 == 1 && has_messages) {
            return true;
        }
        switch (tag & 7) {
        case 0:
            i += used;
            break;
        case 1:
            i += 8;
            break;
        case 2:
            i += used;
            has_messages |= tag >> 3 == 15;
            if (tag >> 3 == 15 && message_reason(span_make(at + i, (size_t) value))) {
                return true;
            }
            i += (size_t) value;
            break;
        default:
            i += 4;
            break;
        }
    }
    return false;
}

/* The same of an EsForward: the ids of a block once, and packed. */
static bool forward_reason(const uint8_t *at, size_t size)
{
    for (size_t i = 0; i < size;) {
        uint64_t tag = 0;
        uint64_t value = 0;
        bool is_wide = false;
        i += strict_varint(at + i, size - i, &tag, &is_wide);
        size_t used = strict_varint(at + i, size - i, &value, &is_wide);
        i += (tag & 7) == 1 ? 8 : (tag & 7) == 5 ? 4 : used;
        if ((tag & 7) != 2) {
            continue;
        }
        if (tag >> 3 == 1) {
            uint32_t fixed = 0;
            uint32_t twice = fields_twice(at + i, (size_t) value, &fixed);
            if (((twice | fixed) & 1U << 1) != 0) {
                return true;
            }
        }
        i += (size_t) value;
    }
    return false;
}

static bool no_reason(const uint8_t *at, size_t size)
{
    (void) at;
    (void) size;
    return false;
}

/* Reads the body, compares it with `base` unless that is NULL, and returns what the reader returned. *ret_is_opaque_bad: a part that the reader
 * hands out unread is not what it should be. */
typedef int (*es_compare)(struct span body, const ProtobufCMessage *base, bool *ret_is_opaque_bad);

static const struct {
    const ProtobufCMessageDescriptor *type;
    const ProtobufCMessageDescriptor *opaque;
    es_compare compare;
    bool (*reason)(const uint8_t *at, size_t size);
} targets[] = {
    {&railgun__es_publish__descriptor, &railgun__es_message__descriptor, publish_compare,
     publish_reason},
    {&railgun__request__descriptor, &railgun__es_message__descriptor, request_compare, no_reason},
    {&railgun__reply__descriptor, &railgun__es_message__descriptor, reply_compare, no_reason},
    {&railgun__result__descriptor, &railgun__es_message__descriptor, result_compare, no_reason},
    {&railgun__es_forward__descriptor, &railgun__es_deliver__descriptor, forward_compare,
     forward_reason},
};
enum { TARGET_COUNT = sizeof(targets) / sizeof(targets[0]) };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    size_t target = data[0] % (TARGET_COUNT + 1);
    struct span body = span_make(data + 1, size - 1);
    if (target == TARGET_COUNT) {
        message_try(body);
        return 0;
    }
    const ProtobufCMessageDescriptor *type = targets[target].type;
    const ProtobufCMessageDescriptor *opaque = targets[target].opaque;
    bool is_opaque_bad = false;
    ProtobufCMessage *message = protobuf_c_message_unpack(type, NULL, body.size, body.data);

    int result = targets[target].compare(body, message, &is_opaque_bad);
    if (result == 0) {
        INVARIANT(message != NULL || is_opaque_bad);
        INVARIANT(!strict_reason(body.data, body.size, type, opaque, 8));
    } else {
        INVARIANT(result == ERR_PROTOCOL);
        INVARIANT(message == NULL || strict_reason(body.data, body.size, type, opaque, 8) ||
                  targets[target].reason(body.data, body.size));
    }
    if (message != NULL) {
        protobuf_c_message_free_unpacked(message, NULL);
    }
    return 0;
}
