/* handle_consume: opens a channel: checks, makes the group when there is none, then attaches. */
#include "frontd/handle.h"

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

#include "frontd/answer.h"
#include "frontd/attach.h"
#include "frontd/channel.h"
#include "frontd/memory_group.h"
#include "frontd/to_logd.h"
#include "frontd/to_raftd.h"

enum {
    CONSUMER_NAME_SIZE_MAX = 255,
    ERROR_DIFF = 10,
    ENSURE_OK_RESULT = 1,
    ENSURE_OK_REVISION = 5
};

static const char *consume_problem(const struct session *self, const struct frame_view *view,
                                   const Railgun__Consume *consume, char *text, size_t capacity,
                                   int *ret_error)
{
    *ret_error = ERR_BAD_REQUEST;
    if (view->corr == 0) {
        return "this request needs a corr";
    }
    if (session_corr_is_open(self, view->corr)) {
        return "corr is in use by an open request";
    }
    if (consume->consumer != NULL && strlen(consume->consumer) > CONSUMER_NAME_SIZE_MAX) {
        return "consumer name: too long";
    }
    if (view->channel == 0 || view->channel > self->frontd->settings->channels_max) {
        *ret_error = ERR_CHANNEL;
        return "a channel number from 1 to channels_max is needed";
    }
    if (session_channel_is_used(self, view->channel)) {
        *ret_error = ERR_CHANNEL;
        return "the channel is in use";
    }
    if (conn_state(self->conn) == CONN_DRAINING) {
        *ret_error = ERR_GOING_AWAY;
        return "no new consumers";
    }
    if (consume->group == NULL || consume->group[0] == '\0') {
        return NULL; /* logd makes a name */
    }
    return session_name_problem("group", span_of(consume->group), text, capacity);
}

/* Strict: a difference is an error. true: refused and answered. */
static bool consume_differs(struct session *self, const struct frame_view *view,
                            Railgun__Consume *consume, const struct catalog_group *group)
{
    if (!consume->strict || consume->spec == NULL) {
        return false;
    }
    struct buf wanted = {0};
    struct buf body = {0};
    scan_pack(&wanted, &consume->spec->base);
    answer_error_body(&body, ERR_DIFFERS, NULL);
    unsigned count = attach_differs(&body, ERROR_DIFF, buf_span(&wanted), group->spec);
    if (count != 0) {
        ++*self->frontd->counters.errors;
        session_send(self, view->channel, view->corr, RAILGUN__FRAME__BODY_ERROR, buf_span(&body));
    }
    buf_release(&wanted);
    buf_release(&body);
    return count != 0;
}

static void consume_resume(struct request *request)
{
    struct channel *channel = channels_find(request->frontd->channels, request->consumer);
    if (channel != NULL && channel->sm.state == CHANNEL_ENSURING) {
        channel_attach(channel);
    }
}

/* raftd has made the group, or somebody else had. */
static void consume_ensured(struct request *request, enum bus_outcome outcome,
                            const struct bus_message *reply)
{
    struct frontd *frontd = request->frontd;
    struct channel *channel = channels_find(frontd->channels, request->consumer);
    if (channel == NULL) {
        return;
    }
    if (outcome != BUS_OK) {
        attach_refuse(channel, ERR_NO_QUORUM, "raftd did not make the group");
        return;
    }
    if (reply->status != 0 && reply->meta.size != 0) {
        session_send(channel->session, channel->number, channel->corr, RAILGUN__FRAME__BODY_ERROR,
                     reply->meta);
        channel_remove(channel);
        return;
    }
    if (reply->status != 0) {
        attach_refuse(channel, reply->status, NULL);
        return;
    }
    struct span rest = reply->meta;
    struct pb_field field;
    uint64_t revision = 0;
    while (pb_next(&rest, &field) == 1) {
        if (field.number == ENSURE_OK_RESULT && field.type == PB_VARINT) {
            channel->created = field.value == RAILGUN__ENSURE_OK__RESULT__CREATED;
        } else if (field.number == ENSURE_OK_REVISION && field.type == PB_VARINT) {
            revision = field.value;
        }
    }
    request->resume = consume_resume;
    to_raftd_when(frontd->raftd, request, revision);
}

static void consume_ensure(struct channel *channel, Railgun__Consume *consume)
{
    struct frontd *frontd = channel->session->frontd;
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    Railgun__Ensure ensure = RAILGUN__ENSURE__INIT;
    struct buf ensure_bytes = {0};
    struct buf meta = {0};
    ensure.has_kind = true;
    ensure.kind = RAILGUN__KIND__KIND_GROUP;
    ensure.name = consume->stream;
    ensure.group = consume->group;
    ensure.has_version = true;
    ensure.version = 1;
    ensure.has_mode = true;
    ensure.mode = RAILGUN__ENSURE__MODE__MODE_CREATE_ONLY;
    ensure.group_spec = consume->spec != NULL ? consume->spec : &spec;
    scan_pack(&ensure_bytes, &ensure.base);
    pb_append_bytes(&meta, 1, span_of("default"));
    pb_append_bytes(&meta, 2, buf_span(&ensure_bytes));
    struct request *request = request_take(frontd->requests);
    request->frontd = frontd;
    request->consumer = channel->consumer;
    request->done = consume_ensured;
    to_raftd_ask(frontd->raftd, request, RAILGUN__BUS_TYPE__BUS_CATALOG_ENSURE, buf_span(&meta));
    buf_release(&ensure_bytes);
    buf_release(&meta);
}

static int consume_open(struct session *self, const struct frame_view *view,
                        Railgun__Consume *consume)
{
    struct frontd *frontd = self->frontd;
    const struct catalog_stream *stream = NULL;
    char text[128];
    int error = 0;
    const char *problem = consume_problem(self, view, consume, text, sizeof(text), &error);
    if (problem != NULL) {
        return session_refuse(self, view, error, problem);
    }
    int result = session_find_stream(
        self, view, span_of(consume->stream != NULL ? consume->stream : ""),
        span_make(consume->stream_id.data, consume->stream_id.len), ERR_NOT_FOUND, &stream);
    if (result == 0 && (!to_logd_has_room(frontd->logd) || !to_raftd_has_room(frontd->raftd))) {
        result = ERR_AGAIN;
    }
    if (result != 0) {
        return result == ERR_AGAIN ? ERR_AGAIN : 0;
    }
    const struct catalog_group *group = catalog_find_group(
        frontd->catalog, stream, span_of(consume->group != NULL ? consume->group : ""));
    if (group != NULL && consume_differs(self, view, consume, group)) {
        return 0;
    }
    struct channel *channel = channel_open(self, view->channel, view->corr, view->body);
    if (consume->credit != NULL) {
        credit_grant(&channel->credit, consume->credit->messages, consume->credit->bytes);
    }
    channel->is_ephemeral = group == NULL && memory_group_is_wanted(consume);
    if (group != NULL || channel->is_ephemeral) {
        channel_attach(channel);
    } else {
        consume_ensure(channel, consume);
    }
    return 0;
}

int handle_consume(struct session *self, const struct frame_view *view, struct payload *owner)
{
    Railgun__Consume *consume = NULL;
    (void) owner;
    int result = SCAN_UNPACK(view->body, railgun__consume, &consume);
    if (result == 0) {
        result = consume_open(self, view, consume);
    }
    SCAN_FREE(&consume);
    return result;
}
