/* es_write: the frames of ephemeral messages written. Owns nothing. What is absent or zero is left out. */
#include <string.h>

#include "common/base/bytes.h"

#include "common/wire/batch.h"
#include "common/wire/es.h"
#include "common/wire/es_fields.h"
#include "common/wire/pb.h"

static inline uint8_t *part_put(uint8_t *at, uint8_t tag, struct span part)
{
    if (part.size == 0) {
        return at;
    }
    *at++ = tag;
    at = pb_put_varint(at, part.size);
    memcpy(at, part.data, part.size);
    return at + part.size;
}

static inline uint8_t *message_put(uint8_t *at, struct span topic, struct span payload,
                                   struct span key, struct span headers, struct span reply_to)
{
    at = part_put(at, ES_TAG(MESSAGE_TOPIC), topic);
    at = part_put(at, ES_TAG(MESSAGE_PAYLOAD), payload);
    at = part_put(at, ES_TAG(MESSAGE_KEY), key);
    if (headers.size != 0) {
        memcpy(at, headers.data, headers.size);
        at += headers.size;
    }
    return part_put(at, ES_TAG(MESSAGE_REPLY_TO), reply_to);
}

void es_append(struct buf *out, struct span topic, struct span payload, struct span key,
               struct span headers, struct span reply_to)
{
    size_t size = es_append_raw_size(topic, payload, key, headers, reply_to);
    uint8_t *start = buf_reserve(out, 1 + PB_VARINT_SIZE_MAX + size);
    start[0] = ES_TAG(MESSAGES);
    uint8_t *at =
        message_put(pb_put_varint(start + 1, size), topic, payload, key, headers, reply_to);
    buf_advance(out, (size_t) (at - start));
}

void es_append_raw(struct buf *out, struct span topic, struct span payload, struct span key,
                   struct span headers, struct span reply_to)
{
    uint8_t *start = buf_reserve(out, es_append_raw_size(topic, payload, key, headers, reply_to));
    uint8_t *at = message_put(start, topic, payload, key, headers, reply_to);
    buf_advance(out, (size_t) (at - start));
}

void es_header_append(struct buf *headers, struct span name, struct span value)
{
    batch_header_append(headers, name, value); /* Record has its headers in the same field */
}

/* What a block holds before its messages; at most this many bytes and the ids. */
enum { BLOCK_HEAD_BYTES_MAX = 64 };

static uint8_t *block_head_put(uint8_t *at, const uint64_t *ids, uint32_t id_count, uint32_t count,
                               bool is_group, uint64_t request, uint32_t timeout_ms,
                               size_t messages_size)
{
    if (id_count != 0) {
        at = pb_put_varint(pb_put_tag(at, ES_BLOCK_IDS, PB_BYTES), (uint64_t) id_count * 8);
        for (uint32_t i = 0; i < id_count; i++, at += 8) {
            bytes_put_u64(at, ids[i]);
        }
    }
    if (count != 0) {
        at = pb_put_varint(pb_put_tag(at, ES_BLOCK_COUNT, PB_VARINT), count);
    }
    if (is_group) {
        at = pb_put_varint(pb_put_tag(at, ES_BLOCK_IS_GROUP, PB_VARINT), 1);
    }
    if (request != 0) {
        at = pb_put_tag(at, ES_BLOCK_REQUEST, PB_FIXED64);
        bytes_put_u64(at, request);
        at += 8;
    }
    if (timeout_ms != 0) {
        at = pb_put_varint(pb_put_tag(at, ES_BLOCK_TIMEOUT, PB_VARINT), timeout_ms);
    }
    return pb_put_varint(pb_put_tag(at, ES_BLOCK_MESSAGES, PB_BYTES), messages_size);
}

void es_block_append(struct buf *out, const uint64_t *ids, uint32_t id_count, uint32_t count,
                     bool is_group, uint64_t request, uint32_t timeout_ms, struct span messages)
{
    size_t head = 1 + pb_varint_size(messages.size);
    head += id_count != 0 ? 1 + pb_varint_size((uint64_t) id_count * 8) + (size_t) id_count * 8 : 0;
    head += count != 0 ? 1 + pb_varint_size(count) : 0;
    head += is_group ? 2 : 0;
    head += request != 0 ? 1 + 8 : 0;
    head += timeout_ms != 0 ? 1 + pb_varint_size(timeout_ms) : 0;

    uint8_t *start = buf_reserve(out, BLOCK_HEAD_BYTES_MAX + head + messages.size);
    uint8_t *at =
        pb_put_varint(pb_put_tag(start, ES_FORWARD_BLOCKS, PB_BYTES), head + messages.size);
    at = block_head_put(at, ids, id_count, count, is_group, request, timeout_ms, messages.size);
    if (messages.size != 0) {
        memcpy(at, messages.data, messages.size);
        at += messages.size;
    }
    buf_advance(out, (size_t) (at - start));
}
