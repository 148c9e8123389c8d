/* frame: the client protocol's outermost layer: the length before each Frame, and the Frame's own three fields. Owns
 * nothing. Must never allocate for a length that a peer announced. */
#include "common/wire/frame.h"

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/invariant.h"

#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"

enum {
    FIELD_CHANNEL = 1,
    FIELD_CORR = 2,
};

#define BODY(name) [RAILGUN__FRAME__BODY_##name] = true

/* The body fields of Frame that we know. A test holds this against the descriptor. */
static const bool frame_bodies[] = {
    BODY(PUBLISH),
    BODY(PUBLISH_OK),
    BODY(DELIVER),
    BODY(ACK),
    BODY(CREDIT),
    BODY(READ_OK),
    BODY(HELLO),
    BODY(HELLO_OK),
    BODY(AUTH),
    BODY(AUTH_OK),
    BODY(PING),
    BODY(PONG),
    BODY(GO_AWAY),
    BODY(ERROR),
    BODY(READ),
    BODY(CONSUME),
    BODY(CONSUME_OK),
    BODY(ACK_OK),
    BODY(EXTEND),
    BODY(EXTEND_OK),
    BODY(GROUP_EVENT),
    BODY(CANCEL),
    BODY(CANCEL_OK),
    BODY(ENSURE),
    BODY(ENSURE_OK),
    BODY(DESCRIBE),
    BODY(DESCRIBE_OK),
    BODY(LIST),
    BODY(LIST_OK),
    BODY(DELETE),
    BODY(DELETE_OK),
    BODY(PENDING),
    BODY(PENDING_OK),
    BODY(ES_PUBLISH),
    BODY(ES_DELIVER),
    BODY(REQUEST),
    BODY(RESULT),
    BODY(REPLY),
    BODY(ES_PUBLISH_OK),
    BODY(ES_SUBSCRIBE),
    BODY(ES_SUBSCRIBE_OK),
    BODY(REPLY_OK),
    BODY(REQUEST_CANCEL),
    BODY(GROUP_CONTROL),
    BODY(GROUP_CONTROL_OK),
    BODY(PURGE),
    BODY(PURGE_OK),
    BODY(UNDELETE),
    BODY(UNDELETE_OK),
    BODY(WATCH),
    BODY(WATCH_OK),
    BODY(EVENTS),
    BODY(DEDUP),
    BODY(DEDUP_OK),
    BODY(DEAD_LETTERS),
    BODY(DEAD_LETTERS_OK),
    BODY(LOCK),
    BODY(LOCK_OK),
};

int frame_split(struct span received, uint32_t size_max, struct span *ret_body, size_t *ret_total)
{
    if (received.size < FRAME_PREFIX_SIZE) {
        return ERR_INCOMPLETE;
    }
    uint32_t size = bytes_get_u32(received.data);
    if (size == 0) {
        return ERR_PROTOCOL;
    }
    if (size > size_max || size > FRAME_SIZE_MAX_HARD) {
        return ERR_TOO_LARGE;
    }
    if (received.size - FRAME_PREFIX_SIZE < size) {
        return ERR_INCOMPLETE;
    }
    *ret_body = span_make(received.data + FRAME_PREFIX_SIZE, size);
    *ret_total = (size_t) FRAME_PREFIX_SIZE + size;
    return 0;
}

size_t frame_put_head(uint8_t out[FRAME_HEAD_SIZE_MAX], uint32_t channel, uint64_t corr,
                      uint32_t field, size_t body_size)
{
    INVARIANT(field != 0);
    INVARIANT(field <= PB_NUMBER_MAX);

    uint8_t *start = out + FRAME_PREFIX_SIZE;
    uint8_t *at = start;
    if (channel != 0) {
        at = pb_put_varint(pb_put_tag(at, FIELD_CHANNEL, PB_VARINT), channel);
    }
    if (corr != 0) {
        at = pb_put_varint(pb_put_tag(at, FIELD_CORR, PB_VARINT), corr);
    }
    at = pb_put_varint(pb_put_tag(at, field, PB_BYTES), body_size);
    size_t head = (size_t) (at - start);
    INVARIANT(body_size <= FRAME_SIZE_MAX_HARD - head);
    bytes_put_u32(out, (uint32_t) (head + body_size));
    return FRAME_PREFIX_SIZE + head;
}

void frame_append(struct buf *out, uint32_t channel, uint64_t corr, uint32_t field,
                  struct span body)
{
    uint8_t *at = buf_reserve(out, FRAME_HEAD_SIZE_MAX + body.size);
    buf_advance(out, frame_put_head(at, channel, corr, field, body.size));
    buf_append(out, body);
}

static bool field_is_body(uint32_t number)
{
    return number < sizeof(frame_bodies) / sizeof(frame_bodies[0]) && frame_bodies[number];
}

int frame_parse(struct span frame, struct frame_view *ret_view)
{
    struct frame_view view = {0};
    struct pb_field field;
    int result = 0;

    while ((result = pb_next(&frame, &field)) == 1) {
        if (field.number == FIELD_CHANNEL || field.number == FIELD_CORR) {
            if (field.type != PB_VARINT) {
                return ERR_PROTOCOL;
            }
            if (field.number == FIELD_CHANNEL) {
                view.channel = (uint32_t) field.value;
            } else {
                view.corr = field.value;
            }
        } else if (field_is_body(field.number)) {
            if (field.type != PB_BYTES) {
                return ERR_PROTOCOL;
            }
            view.field = field.number;
            view.body = field.bytes;
        }
    }
    if (result == 0) {
        *ret_view = view;
    }
    return result;
}
