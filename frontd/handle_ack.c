/* handle_ack: what consumers say about what they got: Ack, Extend, Credit, Cancel. Their bytes go on to logd as they are; only the channel is looked
 * up here. What belongs to a session of logd that is over is void: one-way frames are dropped, others answered with TIMEOUT. */
#include "frontd/handle.h"

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/hot.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/scan.h"

#include "frontd/channel.h"
#include "frontd/subscription.h"
#include "frontd/to_logd.h"
#include "frontd/upstream.h"
#include "frontd/watchers.h"

/* The open channel of the frame. 0; 1: there is none, answered if an answer is wanted. */
static int channel_for(struct session *self, const struct frame_view *view,
                       struct channel **ret_channel)
{
    struct channel *channel = session_find_channel(self, view->channel);
    if (channel == NULL || channel->sm.state == CHANNEL_CLOSING ||
        channel->sm.state == CHANNEL_ENSURING || channel->sm.state == CHANNEL_ATTACHING) {
        (void) session_refuse(self, view, ERR_CHANNEL, "no open consumer on this channel");
        return 1;
    }
    if (channel->sm.state != CHANNEL_OPEN) {
        (void) session_refuse(self, view, ERR_TIMEOUT,
                              "logd restarted: what was delivered before comes again");
        return 1;
    }
    *ret_channel = channel;
    return 0;
}

static void ack_done(struct request *request, enum bus_outcome outcome,
                     const struct bus_message *reply)
{
    session_pass_reply(request, outcome, reply, RAILGUN__FRAME__BODY_ACK_OK, true);
}

static void extend_done(struct request *request, enum bus_outcome outcome,
                        const struct bus_message *reply)
{
    session_pass_reply(request, outcome, reply, RAILGUN__FRAME__BODY_EXTEND_OK, true);
}

/* Ask logd about a consumer. */
static int consumer_ask(struct session *self, const struct frame_view *view, uint16_t type,
                        request_done_fn *done)
{
    struct channel *channel = NULL;
    struct request *request = NULL;
    if (channel_for(self, view, &channel) != 0) {
        return 0;
    }
    if (!to_logd_has_room(self->frontd->logd)) {
        return ERR_AGAIN;
    }
    int result = session_query(self, view, done, &request);
    if (result != 0) {
        return result == ERR_AGAIN ? ERR_AGAIN : 0;
    }
    request->consumer = channel->consumer;
    request->is_session_bound = true;
    to_logd_ask(self->frontd->logd, request, type, channel->consumer, view->body, 0);
    return 0;
}

int handle_ack(struct session *self, const struct frame_view *view, struct payload *owner)
{
    struct hot_ack ack;
    struct channel *channel = NULL;
    (void) owner;
    if (hot_ack_read(view->body, &ack) != 0) {
        return ERR_PROTOCOL;
    }
    if (view->corr != 0) {
        return consumer_ask(self, view, RAILGUN__BUS_TYPE__BUS_LOG_ACK, ack_done);
    }
    if (!to_logd_has_room(self->frontd->logd)) {
        return ERR_AGAIN;
    }
    if (channel_for(self, view, &channel) == 0) {
        to_logd_tell(self->frontd->logd, RAILGUN__BUS_TYPE__BUS_LOG_ACK_ONEWAY, channel->consumer,
                     view->body);
    }
    return 0;
}

int handle_extend(struct session *self, const struct frame_view *view, struct payload *owner)
{
    (void) owner;
    int result = scan_check(view->body, &railgun__extend__descriptor, NULL);
    if (result != 0) {
        return result;
    }
    return consumer_ask(self, view, RAILGUN__BUS_TYPE__BUS_LOG_EXTEND, extend_done);
}

int handle_credit(struct session *self, const struct frame_view *view, struct payload *owner)
{
    struct hot_credit credit;
    (void) owner;
    if (hot_credit_read(view->body, &credit) != 0) {
        return ERR_PROTOCOL;
    }
    struct channel *channel = session_find_channel(self, view->channel);
    struct subscription *subscription = session_find_subscription(self, view->channel);
    if (channel != NULL) {
        credit_grant(&channel->credit, credit.messages, credit.bytes);
        channel_touch(channel);
    } else if (subscription != NULL) { /* else it was cancelled while this was on its way */
        subscription_grant(subscription, credit.messages, credit.bytes);
    }
    return 0;
}

static void cancel_done(struct request *request, enum bus_outcome outcome,
                        const struct bus_message *reply)
{
    struct frontd *frontd = request->frontd;
    struct channel *channel = channels_find(frontd->channels, request->consumer);
    (void) reply;
    if (channel == NULL || request->session == NULL) {
        return;
    }
    struct bus_link *link = upstream_link(to_logd_upstream(frontd->logd));
    if (outcome != BUS_OK && link != NULL && bus_link_id(link) == request->number) {
        channel_detach(frontd, channel->consumer, false); /* no answer in time: asked again */
    }
    channel_remove(channel);
    if (request->corr != 0) {
        session_send(request->session, request->channel, request->corr,
                     RAILGUN__FRAME__BODY_CANCEL_OK, (struct span){0});
    }
}

/* There is no member at logd: it is over at once. */
static int cancel_now(struct session *self, const struct frame_view *view, struct channel *channel)
{
    if (channel->corr != 0) {
        session_send_error(self, channel->number, channel->corr, ERR_RS_CANCELLED,
                           "the channel was cancelled");
    }
    channel_remove(channel);
    if (view->corr != 0) {
        session_send(self, view->channel, view->corr, RAILGUN__FRAME__BODY_CANCEL_OK,
                     (struct span){0});
    }
    return 0;
}

static int cancel_ask(struct session *self, const struct frame_view *view, struct channel *channel,
                      const Railgun__Cancel *cancel)
{
    struct frontd *frontd = self->frontd;
    struct bus_link *link = upstream_link(to_logd_upstream(frontd->logd));
    struct request *request = NULL;
    if (channel->sm.state == CHANNEL_ENSURING || channel->sm.state == CHANNEL_LOST ||
        link == NULL) {
        return cancel_now(self, view, channel);
    }
    int result = session_request(self, view, cancel_done, &request);
    if (result != 0) {
        return result == ERR_AGAIN ? ERR_AGAIN : 0;
    }
    if (channel->corr != 0) {
        session_send_error(self, channel->number, channel->corr, ERR_RS_CANCELLED,
                           "the channel was cancelled");
        session_corr_close(self, channel->corr);
        channel->corr = 0;
    }
    sm_move(&channel->sm, CHANNEL_CLOSING);
    request->consumer = channel->consumer;
    request->number = bus_link_id(link);
    request->is_session_bound = true;
    struct buf meta = {0};
    Railgun__LogDetach detach = RAILGUN__LOG_DETACH__INIT;
    detach.has_count_failed = true;
    detach.count_failed = cancel->count_failed;
    scan_pack(&meta, &detach.base);
    to_logd_ask(frontd->logd, request, RAILGUN__BUS_TYPE__BUS_LOG_DETACH, channel->consumer,
                buf_span(&meta), 0);
    buf_release(&meta);
    return 0;
}

int handle_cancel(struct session *self, const struct frame_view *view, struct payload *owner)
{
    Railgun__Cancel *cancel = NULL;
    (void) owner;
    int result = SCAN_UNPACK(view->body, railgun__cancel, &cancel);
    if (result != 0) {
        return result;
    }
    struct channel *channel = session_find_channel(self, view->channel);
    struct subscription *subscription = session_find_subscription(self, view->channel);
    if (subscription != NULL || watchers_cancel(self->frontd->watchers, self, view->channel)) {
        if (subscription != NULL) {
            subscription_cancel(subscription);
        }
        if (view->corr != 0) {
            session_send(self, view->channel, view->corr, RAILGUN__FRAME__BODY_CANCEL_OK,
                         (struct span){0});
        }
    } else if (channel == NULL || channel->sm.state == CHANNEL_CLOSING) {
        result = session_refuse(self, view, ERR_CHANNEL, "nothing is open on this channel");
    } else {
        result = cancel_ask(self, view, channel, cancel);
    }
    SCAN_FREE(&cancel);
    return result;
}
