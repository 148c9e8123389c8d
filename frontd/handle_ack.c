/* handle_ack: what consumers say about what they got: Ack, Extend, Credit. Their bytes go on to logd as they are; only the channel is looked
 * up here. What belongs to a session of logd that is over is void: one-way frames are dropped, others answered with TIMEOUT. */
#include "frontd/handle.h"

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/hot.h"
#include "common/wire/scan.h"

#include "frontd/channel.h"
#include "frontd/subscription.h"
#include "frontd/to_logd.h"

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
    if (channel->sm.state != CHANNEL_OPEN && channel->sm.state != CHANNEL_DRAINING) {
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

/* The same, without an answer. */
static int consumer_tell(struct session *self, const struct frame_view *view, uint16_t type)
{
    struct channel *channel = NULL;
    if (!to_logd_has_room(self->frontd->logd)) {
        return ERR_AGAIN;
    }
    if (channel_for(self, view, &channel) == 0) {
        to_logd_tell(self->frontd->logd, type, channel->consumer, view->body);
    }
    return 0;
}

int handle_ack(struct session *self, const struct frame_view *view, struct payload *owner)
{
    struct hot_ack ack;
    (void) owner;
    if (hot_ack_read(view->body, &ack) != 0) {
        return ERR_PROTOCOL;
    }
    if (view->corr != 0) {
        return consumer_ask(self, view, RAILGUN__BUS_TYPE__BUS_LOG_ACK, ack_done);
    }
    return consumer_tell(self, view, RAILGUN__BUS_TYPE__BUS_LOG_ACK_ONEWAY);
}

int handle_extend(struct session *self, const struct frame_view *view, struct payload *owner)
{
    (void) owner;
    int result = scan_check(view->body, &railgun__extend__descriptor, NULL);
    if (result != 0) {
        return result;
    }
    if (view->corr == 0) {
        return consumer_tell(self, view, RAILGUN__BUS_TYPE__BUS_LOG_EXTEND);
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
