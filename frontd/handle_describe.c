/* handle_describe: streams and groups: logd knows the numbers, the catalogue the rest; and what is pending in a group. Nodes: describe_node.c;
 * exchanges: describe_exchange.c. */
#include "frontd/handle.h"

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

#include "frontd/answer.h"
#include "frontd/describe_exchange.h"
#include "frontd/describe_node.h"
#include "frontd/to_logd.h"

enum {
    DESCRIBE_OK_STREAM = 1,
    DESCRIBE_OK_GROUP = 2,
    STREAM_NAME = 1,
    STREAM_ID = 2,
    STREAM_VERSION = 3,
    STREAM_SPEC = 4,
    STREAM_CREATED = 9,
    STREAM_GROUPS = 11,
    STREAM_LOG_GROUP = 12,
    STREAM_LOCKED = 23,
    GROUP_STREAM = 1,
    GROUP_NAME = 2,
    GROUP_VERSION = 3,
    GROUP_SPEC = 4,
    GROUP_LOCKED = 27,
    CATALOG_STREAM_LOCKED = 9,
    CATALOG_GROUP_LOCKED = 7,
    REF_GROUP_ID = 1,
    REF_AFTER = 2,
    REF_LIMIT = 3,
    REF_GROUP = 4,
};

/* Those that the catalogue has said, whatever logd says. */
static uint64_t fields_known(struct span kept)
{
    uint64_t known = 0;
    struct pb_field field;
    while (pb_next(&kept, &field) == 1) {
        known |= field.number < 64 ? UINT64_C(1) << field.number : 0;
    }
    return known;
}

/* What the catalogue knows was kept since the request; logd's numbers come behind it. */
static void describe_send(struct request *request, uint32_t field, struct span numbers)
{
    struct buf info = {0};
    struct buf body = {0};
    buf_append(&info, buf_span(&request->keep));
    answer_append_without(&info, numbers, fields_known(buf_span(&request->keep)));
    pb_append_bytes(&body, field, buf_span(&info));
    session_send(request->session, request->channel, request->corr,
                 RAILGUN__FRAME__BODY_DESCRIBE_OK, buf_span(&body));
    buf_release(&info);
    buf_release(&body);
}

static void describe_done(struct request *request, enum bus_outcome outcome,
                          const struct bus_message *reply)
{
    if (request->session != NULL && outcome == BUS_OK && reply->status == 0) {
        describe_send(request, (uint32_t) request->number, reply->meta);
        return;
    }
    session_pass_reply(request, outcome, reply, RAILGUN__FRAME__BODY_DESCRIBE_OK, false);
}

static void pending_done(struct request *request, enum bus_outcome outcome,
                         const struct bus_message *reply)
{
    session_pass_reply(request, outcome, reply, RAILGUN__FRAME__BODY_PENDING_OK, false);
}

static void locked_append(struct buf *out, uint32_t to, struct span message, uint32_t from)
{
    struct pb_field field;
    while (pb_next(&message, &field) == 1) {
        if (field.number == from && field.type == PB_BYTES) {
            pb_append_bytes(out, to, field.bytes);
        }
    }
}

static void stream_head(struct buf *out, const struct catalog_stream *stream)
{
    pb_append_bytes(out, STREAM_NAME, stream->name);
    pb_append_bytes(out, STREAM_ID, span_make(stream->id.bytes, sizeof(stream->id.bytes)));
    pb_append_varint(out, STREAM_VERSION, stream->version);
    pb_append_bytes(out, STREAM_SPEC, stream->spec);
    pb_append_fixed64(out, STREAM_CREATED, stream->created_us);
    pb_append_varint(out, STREAM_GROUPS, stream->group_count);
    pb_append_varint(out, STREAM_LOG_GROUP, stream->log_group);
    locked_append(out, STREAM_LOCKED, stream->message, CATALOG_STREAM_LOCKED);
}

static void group_head(struct buf *out, const struct catalog_stream *stream,
                       const struct catalog_group *group)
{
    if (group == NULL) { /* logd knows name and configuration */
        pb_append_bytes(out, GROUP_STREAM, stream->name);
        return;
    }
    pb_append_bytes(out, GROUP_STREAM, group->stream);
    pb_append_bytes(out, GROUP_NAME, group->name);
    pb_append_varint(out, GROUP_VERSION, group->version);
    pb_append_bytes(out, GROUP_SPEC, group->spec);
    locked_append(out, GROUP_LOCKED, group->message, CATALOG_GROUP_LOCKED);
}

/* A group of the catalogue, or NULL: perhaps one in logd's memory. 0, or 1: refused and answered. */
static int find_group(struct session *self, const struct frame_view *view,
                      const struct catalog_stream *stream, struct span name,
                      const struct catalog_group **ret_group)
{
    *ret_group = catalog_find_group(self->frontd->catalog, stream, name);
    return *ret_group == NULL && name.size == 0
               ? session_find_group(self, view, stream, name, ret_group)
               : 0;
}

static void group_ref(struct buf *out, const struct catalog_group *group, struct span name)
{
    if (group != NULL) {
        pb_append_varint(out, REF_GROUP_ID, group->group_id);
    } else {
        pb_append_bytes(out, REF_GROUP, name);
    }
}

/* 0: logd was asked; others as handlers return. */
static int describe_ask(struct session *self, const struct frame_view *view,
                        const Railgun__Describe *describe)
{
    struct frontd *frontd = self->frontd;
    const struct catalog_stream *stream = NULL;
    const struct catalog_group *group = NULL;
    struct request *request = NULL;
    bool is_group = describe->kind == RAILGUN__KIND__KIND_GROUP;
    int result =
        session_find_stream(self, view, span_of(describe->name != NULL ? describe->name : ""),
                            (struct span){0}, ERR_NOT_FOUND, &stream);
    struct span name = span_of(describe->group != NULL ? describe->group : "");
    if (result == 0 && is_group) {
        result = find_group(self, view, stream, name, &group);
    }
    if (result == 0 && !to_logd_has_room(frontd->logd)) {
        result = ERR_AGAIN;
    }
    if (result == 0) {
        result = session_query(self, view, describe_done, &request);
    }
    if (result != 0) {
        return result == ERR_AGAIN ? ERR_AGAIN : 0;
    }
    struct buf ref = {0};
    if (is_group) {
        request->number = DESCRIBE_OK_GROUP;
        group_ref(&ref, group, name);
        group_head(&request->keep, stream, group);
    } else {
        request->number = DESCRIBE_OK_STREAM;
        stream_head(&request->keep, stream);
    }
    to_logd_ask(frontd->logd, request,
                is_group ? RAILGUN__BUS_TYPE__BUS_LOG_GROUP_INFO
                         : RAILGUN__BUS_TYPE__BUS_LOG_STREAM_INFO,
                stream->log_group, buf_span(&ref), 0);
    buf_release(&ref);
    return 0;
}

int handle_describe(struct session *self, const struct frame_view *view, struct payload *owner)
{
    Railgun__Describe *describe = NULL;
    (void) owner;
    int result = SCAN_UNPACK(view->body, railgun__describe, &describe);
    if (result != 0) {
        return result;
    }
    if (describe->kind == RAILGUN__KIND__KIND_STREAM ||
        describe->kind == RAILGUN__KIND__KIND_GROUP) {
        result = describe_ask(self, view, describe);
    } else if (describe->kind == RAILGUN__KIND__KIND_NODE) {
        result = describe_node(self, view);
    } else if (describe->kind == RAILGUN__KIND__KIND_EXCHANGE) {
        result =
            describe_exchange(self, view, span_of(describe->name != NULL ? describe->name : ""));
    } else {
        result = session_refuse(self, view, ERR_BAD_REQUEST,
                                "kind: stream, group, node or exchange is needed");
    }
    SCAN_FREE(&describe);
    return result;
}

static int pending_ask(struct session *self, const struct frame_view *view,
                       const Railgun__Pending *pending)
{
    struct frontd *frontd = self->frontd;
    const struct catalog_stream *stream = NULL;
    const struct catalog_group *group = NULL;
    struct request *request = NULL;
    int result =
        session_find_stream(self, view, span_of(pending->stream != NULL ? pending->stream : ""),
                            (struct span){0}, ERR_NOT_FOUND, &stream);
    struct span name = span_of(pending->group != NULL ? pending->group : "");
    if (result == 0) {
        result = find_group(self, view, stream, name, &group);
    }
    if (result == 0 && !to_logd_has_room(frontd->logd)) {
        result = ERR_AGAIN;
    }
    if (result == 0) {
        result = session_query(self, view, pending_done, &request);
    }
    if (result != 0) {
        return result == ERR_AGAIN ? ERR_AGAIN : 0;
    }
    struct buf ref = {0};
    group_ref(&ref, group, name);
    pb_append_varint(&ref, REF_AFTER, pending->after);
    if (pending->has_limit) {
        pb_append_varint(&ref, REF_LIMIT, pending->limit);
    }
    to_logd_ask(frontd->logd, request, RAILGUN__BUS_TYPE__BUS_LOG_PENDING, stream->log_group,
                buf_span(&ref), 0);
    buf_release(&ref);
    return 0;
}

int handle_pending(struct session *self, const struct frame_view *view, struct payload *owner)
{
    Railgun__Pending *pending = NULL;
    (void) owner;
    int result = SCAN_UNPACK(view->body, railgun__pending, &pending);
    if (result == 0) {
        result = pending_ask(self, view, pending);
    }
    SCAN_FREE(&pending);
    return result;
}
