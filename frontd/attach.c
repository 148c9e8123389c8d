/* attach: makes a channel a member of its group at logd, the first time for a client that waits for ConsumeOk, later behind its back. Owns nothing. At
 * most one attempt of a channel is under way. */
#include "frontd/attach.h"

#include "common/base/err.h"
#include "common/wire/attach.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

#include "frontd/answer.h"
#include "frontd/memory_group.h"
#include "frontd/spec_diff.h"
#include "frontd/to_logd.h"
#include "frontd/upstream.h"

enum { /* ConsumeOk of client.proto */
       OK_CREATED = 3,
       OK_SPEC = 7,
       OK_DIFFERS = 8,
       OK_STREAM_ID = 9,
};

enum { /* Consume of client.proto */
       CONSUME_START = 4,
       CONSUME_SPEC = 6,
};

/* --- differences --- */

unsigned attach_differs(struct buf *out, uint32_t number, struct span wanted, struct span stored)
{
    Railgun__GroupSpec *one = NULL;
    Railgun__GroupSpec *other = NULL;
    unsigned count = 0;
    if (wanted.size != 0 && SCAN_UNPACK(wanted, railgun__group_spec, &one) == 0 &&
        SCAN_UNPACK(stored, railgun__group_spec, &other) == 0) {
        count = spec_diff_group(out, number, one, other);
    }
    SCAN_FREE(&one);
    SCAN_FREE(&other);
    return count;
}

/* --- the end of one that is not open --- */

void attach_refuse(struct channel *channel, int error, const char *detail)
{
    struct session *session = channel->session;
    if (channel->corr != 0) {
        session_send_error(session, channel->number, channel->corr, error, detail);
    } else {
        struct buf body = {0};
        const struct err_info *info = err_find(error);
        bool is_local = info == NULL || info->class_ == ERR_CLASS_LOCAL;
        pb_append_varint(&body, 1, (uint64_t) - (int64_t) (is_local ? ERR_INTERNAL : error));
        pb_append_bytes(&body, 2, span_of(detail != NULL ? detail : err_text(error)));
        session_send(session, channel->number, 0, RAILGUN__FRAME__BODY_CANCEL, buf_span(&body));
        buf_release(&body);
    }
    channel_remove(channel);
}

/* --- asking logd --- */

static void consume_ok_send(struct channel *channel, const struct catalog_stream *stream,
                            const struct catalog_group *group, struct span meta)
{
    struct session *session = channel->session;
    struct buf body = {0};
    answer_append_without(&body, meta,
                          UINT64_C(1) << OK_CREATED | UINT64_C(1) << OK_SPEC |
                              UINT64_C(1) << OK_DIFFERS | UINT64_C(1) << OK_STREAM_ID);
    pb_append_varint(&body, OK_CREATED, channel->created);
    pb_append_bytes(&body, OK_SPEC, group->spec);
    (void) attach_differs(&body, OK_DIFFERS,
                          pb_find_bytes(buf_span(&channel->consume), CONSUME_SPEC),
                          group->spec); /* listed, not applied */
    pb_append_bytes(&body, OK_STREAM_ID, span_make(stream->id.bytes, sizeof(stream->id.bytes)));
    session_send(session, channel->number, channel->corr, RAILGUN__FRAME__BODY_CONSUME_OK,
                 buf_span(&body));
    buf_release(&body);
}

/* The same for an ephemeral group. false: it is not as the client insists; the channel is removed. */
static bool memory_ok_send(struct channel *channel, const struct catalog_stream *stream,
                           struct span meta)
{
    struct session *session = channel->session;
    struct buf body = {0};
    bool is_opened = memory_group_opened(&body, channel, meta);
    if (is_opened) {
        pb_append_bytes(&body, OK_STREAM_ID, span_make(stream->id.bytes, sizeof(stream->id.bytes)));
    }
    session_send(session, channel->number, channel->corr,
                 is_opened ? RAILGUN__FRAME__BODY_CONSUME_OK : RAILGUN__FRAME__BODY_ERROR,
                 buf_span(&body));
    buf_release(&body);
    if (!is_opened) {
        ++*session->frontd->counters.errors;
        channel_detach(session->frontd, channel->consumer, false);
        channel_remove(channel);
    }
    return is_opened;
}

/* What the channel consumes, as the catalogue has it now; no group for an ephemeral one. 0 or why not. */
static int channel_resolve(const struct channel *channel, const Railgun__Consume *consume,
                           const struct catalog_stream **ret_stream,
                           const struct catalog_group **ret_group)
{
    const struct catalog *catalog = channel->session->frontd->catalog;
    const struct catalog_stream *stream = catalog_find_stream(catalog, span_of(consume->stream));
    if (stream == NULL) {
        bool is_deleted = channel->log_group != 0 ||
                          catalog_find_deleted(catalog, span_of(consume->stream)) != NULL;
        return is_deleted ? ERR_STREAM_DELETED : ERR_NOT_FOUND;
    }
    if (channel->log_group != 0 && channel->log_group != stream->log_group) {
        return ERR_STREAM_CHANGED;
    }
    const struct catalog_group *group =
        channel->is_ephemeral ? NULL : catalog_find_group(catalog, stream, span_of(consume->group));
    if (group == NULL && !channel->is_ephemeral) {
        return ERR_NOT_FOUND;
    }
    *ret_stream = stream;
    *ret_group = group;
    return 0;
}

static void attach_opened(struct channel *channel, struct span meta)
{
    Railgun__Consume *consume = NULL;
    const struct catalog_stream *stream = NULL;
    const struct catalog_group *group = NULL;
    int result = SCAN_UNPACK(buf_span(&channel->consume), railgun__consume, &consume);
    if (result == 0) {
        result = channel_resolve(channel, consume, &stream, &group);
    }
    SCAN_FREE(&consume);
    if (result != 0) { /* deleted while logd was asked */
        channel_detach(channel->session->frontd, channel->consumer, false);
        attach_refuse(channel, result, NULL);
        return;
    }
    if (channel->is_ephemeral && !memory_ok_send(channel, stream, meta)) {
        return;
    }
    if (channel->corr != 0) {
        if (group != NULL) {
            consume_ok_send(channel, stream, group, meta);
        }
        session_corr_close(channel->session, channel->corr);
        channel->corr = 0;
    }
    sm_move(&channel->sm, CHANNEL_OPEN);
    channel_touch(channel);
}

/* No answer: the member may exist or not. */
static void attach_unanswered(struct channel *channel, enum bus_outcome outcome)
{
    struct frontd *frontd = channel->session->frontd;
    if (channel->sm.state == CHANNEL_REATTACHING) {
        sm_move(&channel->sm, CHANNEL_LOST);
        channels_retry_later(frontd->channels);
        return;
    }
    bool is_late =
        loop_now_ms(frontd->loop) >= channel->since_ms + frontd->settings->request_timeout_ms;
    if (outcome == BUS_FAILED || is_late) {
        channel_detach(frontd, channel->consumer, false);
        attach_refuse(channel, ERR_NO_QUORUM, "no answer from logd");
        return;
    }
    channel_attach(channel); /* the session ended, and the member with it: harmless to ask again */
}

static void attach_error(struct channel *channel, const struct bus_message *reply)
{
    struct session *session = channel->session;
    const struct err_info *info = err_find(reply->status);
    if (channel->sm.state == CHANNEL_REATTACHING && info != NULL &&
        info->class_ == ERR_CLASS_RETRY) {
        sm_move(&channel->sm, CHANNEL_LOST);
        channels_retry_later(session->frontd->channels);
        return;
    }
    if (channel->corr != 0 && reply->meta.size != 0) {
        ++*session->frontd->counters.errors;
        session_send(session, channel->number, channel->corr, RAILGUN__FRAME__BODY_ERROR,
                     reply->meta);
        channel_remove(channel);
        return;
    }
    attach_refuse(channel, reply->status, NULL);
}

static void attach_done(struct request *request, enum bus_outcome outcome,
                        const struct bus_message *reply)
{
    struct frontd *frontd = request->frontd;
    struct channel *channel = channels_find(frontd->channels, request->consumer);
    bool is_awaited =
        channel != NULL && channel->attach_serial == request->number &&
        (channel->sm.state == CHANNEL_ATTACHING || channel->sm.state == CHANNEL_REATTACHING);
    bool is_attached = outcome == BUS_OK && reply->status == 0;
    if (!is_awaited) {
        if (is_attached && channel == NULL) {
            /* It left while logd was asked: its Detach may have come too early. */
            channel_detach(frontd, request->consumer, false);
        }
        return;
    }
    if (is_attached) {
        attach_opened(channel, reply->meta);
    } else if (outcome == BUS_OK) {
        attach_error(channel, reply);
    } else {
        attach_unanswered(channel, outcome);
    }
}

static void attach_encode(struct buf *out, struct channel *channel, const Railgun__Consume *consume,
                          const struct catalog_group *group)
{
    const struct frontd *frontd = channel->session->frontd;
    const struct settings *settings = frontd->settings;
    uint64_t messages = 0;
    uint64_t bytes = 0;
    credit_forget_told(&channel->credit);
    (void) credit_tell(&channel->credit,
                       credit_share(settings->outbound_bytes_max, channel->session->channel_count,
                                    settings->outbound_total_bytes_max,
                                    channels_count(frontd->channels)),
                       &messages, &bytes); /* none is fine: paused */
    pb_append_varint(out, ATTACH_CONSUMER, channel->consumer);
    if (group != NULL) {
        pb_append_varint(out, ATTACH_GROUP_ID, group->group_id);
        pb_append_bytes(out, ATTACH_GROUP, group->name);
        pb_append_bytes(out, ATTACH_SPEC, group->spec);
    } else {
        memory_group_attach(out, channel, consume);
    }
    if (consume->start != NULL) {
        pb_append_bytes(out, ATTACH_START,
                        pb_find_bytes(buf_span(&channel->consume), CONSUME_START));
    }
    if (consume->has_on_gap) {
        pb_append_varint(out, ATTACH_ON_GAP, (uint64_t) consume->on_gap);
    }
    if (consume->consumer != NULL) {
        pb_append_bytes(out, ATTACH_NAME, span_of(consume->consumer));
    }
    pb_append_bytes(out, ATTACH_ADDRESS, span_of(channel->session->address_text));
    pb_append_varint(out, ATTACH_CREDIT_MESSAGES, messages);
    pb_append_varint(out, ATTACH_CREDIT_BYTES, bytes);
    pb_append_varint(out, ATTACH_REVISION, catalog_revision(frontd->catalog));
    if (consume->has_priority) {
        pb_append_varint(out, ATTACH_PRIORITY, consume->priority);
    }
}

void channel_attach(struct channel *self)
{
    struct frontd *frontd = self->session->frontd;
    Railgun__Consume *consume = NULL;
    const struct catalog_stream *stream = NULL;
    const struct catalog_group *group = NULL;
    int result = SCAN_UNPACK(buf_span(&self->consume), railgun__consume, &consume);
    if (result == 0) {
        result = channel_resolve(self, consume, &stream, &group);
    }
    if (result != 0) {
        SCAN_FREE(&consume);
        attach_refuse(self, result, NULL);
        return;
    }
    bool is_first = self->corr != 0;
    if (self->sm.state == CHANNEL_ENSURING) {
        sm_move(&self->sm, CHANNEL_ATTACHING);
    } else if (self->sm.state == CHANNEL_LOST) {
        sm_move(&self->sm, CHANNEL_REATTACHING);
    }
    self->log_group = stream->log_group;
    struct buf meta = {0};
    attach_encode(&meta, self, consume, group);
    struct request *request = request_take(frontd->requests);
    request->frontd = frontd;
    request->consumer = self->consumer;
    request->number = ++self->attach_serial;
    request->done = attach_done;
    request->is_session_bound = !is_first;
    to_logd_ask(frontd->logd, request, RAILGUN__BUS_TYPE__BUS_LOG_ATTACH, stream->log_group,
                buf_span(&meta), 0);
    buf_release(&meta);
    SCAN_FREE(&consume);
}
