/* handle_cancel: a client leaves a channel: at once, or in order (drain): then nothing more is delivered, what the consumer holds may still be
 * acknowledged, and CancelOk comes when it holds nothing or the time is over. logd keeps the time. */
#include "frontd/handle.h"

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/scan.h"

#include "frontd/channel.h"
#include "frontd/subscription.h"
#include "frontd/to_logd.h"
#include "frontd/upstream.h"
#include "frontd/watchers.h"

enum { DRAIN_MAX_MS = 600000 };

static void cancel_done(struct request *request, enum bus_outcome outcome,
                        const struct bus_message *reply)
{
    struct frontd *frontd = request->frontd;
    struct channel *channel = channels_find(frontd->channels, request->consumer);
    (void) reply;
    if (request->session == NULL) {
        return;
    }
    if (channel != NULL) { /* else another Cancel has removed it */
        struct bus_link *link = upstream_link(to_logd_upstream(frontd->logd));
        if (outcome != BUS_OK && link != NULL && bus_link_id(link) == request->number) {
            channel_detach(frontd, channel->consumer, false); /* no answer in time: asked again */
        }
        channel_remove(channel);
    }
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
    bool is_drain = cancel->drain && channel->sm.state == CHANNEL_OPEN; /* else it holds nothing */
    sm_move(&channel->sm, is_drain ? CHANNEL_DRAINING : CHANNEL_CLOSING);
    request->consumer = channel->consumer;
    request->number = bus_link_id(link);
    request->is_session_bound = true;
    struct buf meta = {0};
    Railgun__LogDetach detach = RAILGUN__LOG_DETACH__INIT;
    detach.has_count_failed = true;
    detach.count_failed = cancel->count_failed;
    if (is_drain) {
        detach.has_drain = detach.drain = true;
        detach.has_drain_ms = cancel->has_drain_ms;
        detach.drain_ms = cancel->drain_ms < DRAIN_MAX_MS ? cancel->drain_ms : DRAIN_MAX_MS;
    }
    scan_pack(&meta, &detach.base);
    to_logd_ask(frontd->logd, request, RAILGUN__BUS_TYPE__BUS_LOG_DETACH, channel->consumer,
                buf_span(&meta), is_drain ? DRAIN_MAX_MS : 0);
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
    } else if (channel == NULL || channel->sm.state == CHANNEL_CLOSING ||
               (channel->sm.state == CHANNEL_DRAINING && cancel->drain)) {
        result = session_refuse(self, view, ERR_CHANNEL, "nothing is open on this channel");
    } else {
        result = cancel_ask(self, view, channel, cancel);
    }
    SCAN_FREE(&cancel);
    return result;
}
