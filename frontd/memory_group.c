/* memory_group: consumers of ephemeral groups. Owns nothing: the channel keeps the floor. */
#include "frontd/memory_group.h"

#include "common/base/err.h"
#include "common/wire/attach.h"
#include "common/wire/pb.h"

#include "frontd/answer.h"
#include "frontd/attach.h"

enum { /* Consume, ConsumeOk, Cancel, Error of client.proto, LogFloor of log.proto */
       CONSUME_SPEC = 6,
       CONSUME_STRICT = 7,
       OK_FLOOR = 5,
       OK_SPEC = 7,
       OK_DIFFERS = 8,
       CANCEL_CODE = 1,
       CANCEL_DETAIL = 2,
       CANCEL_LAST_OFFSET = 3,
       ERROR_DIFF = 10,
       FLOOR_FLOOR = 1,
};

bool memory_group_is_wanted(const Railgun__Consume *consume)
{
    return consume->ephemeral || consume->group == NULL || consume->group[0] == '\0';
}

void memory_group_attach(struct buf *out, const struct channel *channel,
                         const Railgun__Consume *consume)
{
    if (consume->group != NULL) {
        pb_append_bytes(out, ATTACH_GROUP, span_of(consume->group));
    }
    pb_append_bytes(out, ATTACH_SPEC, pb_find_bytes(buf_span(&channel->consume), CONSUME_SPEC));
    pb_append_varint(out, ATTACH_EPHEMERAL, 1);
}

bool memory_group_opened(struct buf *out, struct channel *channel, struct span meta)
{
    struct span consume = buf_span(&channel->consume);
    struct span wanted = pb_find_bytes(consume, CONSUME_SPEC);
    struct buf diffs = {0};
    struct buf error = {0};
    answer_error_body(&error, ERR_DIFFERS, NULL);
    (void) attach_differs(&error, ERROR_DIFF, wanted, pb_find_bytes(meta, OK_SPEC));
    unsigned count = attach_differs(&diffs, OK_DIFFERS, wanted, pb_find_bytes(meta, OK_SPEC));
    bool is_refused = count != 0 && pb_find_varint(consume, CONSUME_STRICT) != 0;
    if (is_refused) {
        buf_append(out, buf_span(&error));
    } else {
        buf_append(out, meta);
        buf_append(out, buf_span(&diffs));
        channel->floor = pb_find_varint(meta, OK_FLOOR);
    }
    buf_release(&diffs);
    buf_release(&error);
    return !is_refused;
}

void memory_group_floor(struct channel *channel, struct span meta)
{
    uint64_t floor = pb_find_varint(meta, FLOOR_FLOOR);
    if (channel->is_ephemeral && floor > channel->floor) {
        channel->floor = floor;
    }
}

void memory_group_lost(struct channel *channel)
{
    struct buf body = {0};
    pb_append_varint(&body, CANCEL_CODE, (uint64_t) -ERR_EPHEMERAL_LOST);
    pb_append_bytes(&body, CANCEL_DETAIL, span_of("logd was lost, and the group with it"));
    pb_append_varint(&body, CANCEL_LAST_OFFSET, channel->floor);
    session_send(channel->session, channel->number, 0, RAILGUN__FRAME__BODY_CANCEL,
                 buf_span(&body));
    buf_release(&body);
    channel_remove(channel);
}
