/* es: the frames of ephemeral messages read and written in place. EsPublish and EsDeliver carry the same `messages` fields, so a run of
 * whole messages passes from one to the other as bytes. As strict as hot.h, and three things more: in EsPublish the exchange comes before the
 * messages, in EsMessage no field is given twice but headers, and the ids of an EsBlock come once and packed. One thing less: a topic is not
 * checked (topic_check), so it may be no text. All readers return 0 or ERR_PROTOCOL, unless said. */
#ifndef COMMON_WIRE_ES_H
#define COMMON_WIRE_ES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/span.h"
#include "common/wire/pb.h"

struct es_limits {
    uint64_t message_bytes_max; /* 1 MiB: of the encoded EsMessage */
    uint32_t messages_max;      /* 65,536 in a frame: for who counts them, es_next does not */
    uint32_t key_bytes_max;     /* 128 */
    uint32_t headers_max;       /* 32 */
    uint32_t header_bytes_max;  /* 16 KiB: as batch.h counts them */
};
struct es_limits es_limits_default(void);

struct es_publish {
    struct span exchange;
    struct span
        messages; /* the fields `messages`: walk with es_next. (Unknown fields may lie among them; they are skipped.) */
};
int es_publish_read(struct span body, struct es_publish *ret_publish);

struct es_message {
    struct span topic;
    struct span payload;
    struct span key;
    struct span reply_to;
    uint32_t headers;  /* how many: walk with es_header_next */
    struct span raw;   /* the EsMessage's bytes */
    struct span field; /* the same with its tag and length: what runs are made of */
};

/* The next message off the front of *rest, checked in form and limits. 1: a message; 0: the end; ERR_PROTOCOL: malformed, *rest is unchanged.
 * ERR_TOO_LARGE: over a limit; ERR_BAD_REQUEST: the topic is longer than TOPIC_SIZE_MAX: *rest is then behind that message and the walk may go
 * on. On anything but 1 *ret_message means nothing. Costs some nanoseconds. */
int es_next(struct span *rest, const struct es_limits *limits, struct es_message *ret_message);
/* The same for the bytes of one EsMessage (of Request, Reply, Result): 0 or those errors; field is empty. */
int es_message_read(struct span raw, const struct es_limits *limits,
                    struct es_message *ret_message);
/* Walk the headers: start with *rest = message->raw. 1, 0 or ERR_PROTOCOL. */
int es_header_next(struct span *rest, struct span *ret_name, struct span *ret_value);

/* Append `messages` field with one message. `headers`: encoded header fields (es_header_append) or empty. Absent parts have size 0. */
void es_append(struct buf *out, struct span topic, struct span payload, struct span key,
               struct span headers, struct span reply_to);
static inline size_t es_part_size(struct span part)
{
    return part.size != 0 ? 1 + pb_varint_size(part.size) + part.size : 0;
}
/* What es_append_raw will add; in line, because it is asked for each message and most parts are absent by the text. */
static inline size_t es_append_raw_size(struct span topic, struct span payload, struct span key,
                                        struct span headers, struct span reply_to)
{
    return es_part_size(topic) + es_part_size(payload) + es_part_size(key) + headers.size +
           es_part_size(reply_to);
}
/* What es_append will add. */
static inline size_t es_append_size(struct span topic, struct span payload, struct span key,
                                    struct span headers, struct span reply_to)
{
    size_t size = es_append_raw_size(topic, payload, key, headers, reply_to);
    return 1 + pb_varint_size(size) + size;
}
/* The bytes of an EsMessage alone. */
void es_append_raw(struct buf *out, struct span topic, struct span payload, struct span key,
                   struct span headers, struct span reply_to);
void es_header_append(struct buf *headers, struct span name, struct span value);

struct es_request {
    struct span exchange;
    uint32_t timeout_ms;  /* 0: not given */
    uint32_t max_replies; /* 0: not given */
    struct span response;
    bool has_message;
    struct span message; /* EsMessage */
};
/* `message` of this and the next two is handed out as it is: es_message_read is its door. */
int es_request_read(struct span body, struct es_request *ret_request);

struct es_reply {
    struct span reply_to;
    bool has_message;
    struct span message;
};
int es_reply_read(struct span body, struct es_reply *ret_reply);

struct es_result {
    uint32_t code;
    bool more;
    uint32_t replies;
    struct span detail;
    bool has_message;
    struct span message;
};
int es_result_read(struct span body, struct es_result *ret_result);

/* EsForward: the blocks in order. Start with *rest = the body. 1, 0, ERR_PROTOCOL. `messages` is handed out as it is: es_next is its door. */
struct es_block {
    struct span ids; /* fixed64 each: es_block_id */
    uint32_t id_count;
    uint32_t count;
    bool is_group;
    uint64_t request; /* 0: none */
    uint32_t timeout_ms;
    struct span messages; /* `messages` fields */
};
int es_block_next(struct span *rest, struct es_block *ret_block);
uint64_t es_block_id(const struct es_block *block, uint32_t index);
/* Append one block. `ids` in the machine's order. `messages`: fields as es_append makes them. */
void es_block_append(struct buf *out, const uint64_t *ids, uint32_t id_count, uint32_t count,
                     bool is_group, uint64_t request, uint32_t timeout_ms, struct span messages);

#endif
