/* deliver: turns logd's events into frames. Owns nothing. Must never copy the bytes of a batch. */
#include "frontd/deliver.h"

#include <inttypes.h>

#include "common/base/err.h"
#include "common/run/log.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"

#include "frontd/attach.h"
#include "frontd/channel.h"
#include "frontd/watchers.h"
#include "frontd/memory_group.h"

static void deliver_batch(struct frontd *frontd, struct channel *channel,
                          const struct bus_message *message)
{
    struct hot_delivery delivery;
    if (hot_deliver_read(message->meta, &delivery) != 0) {
        log_error("logd sent a delivery that cannot be read",
                  "consumer=%" PRIu64 " action=\"it is not delivered\"", channel->consumer);
        return;
    }
    session_send_batch(channel->session, channel->number, 0, RAILGUN__FRAME__BODY_DELIVER,
                       message->meta, &message->body);
    credit_delivered(&channel->credit, delivery.count, message->body.bytes.size);
    ++*frontd->counters.deliveries;
    *frontd->counters.delivered_records += delivery.count;
    if (credit_is_held_back(&channel->credit)) {
        channel_touch(channel);
    }
}

/* logd has ended the consumer. */
static void deliver_cancel(struct channel *channel, struct span cancel)
{
    struct session *session = channel->session;
    if (channel->corr == 0) {
        session_send(session, channel->number, 0, RAILGUN__FRAME__BODY_CANCEL, cancel);
        channel_remove(channel);
        return;
    }
    struct pb_field field;
    uint64_t code = 0;
    while (pb_next(&cancel, &field) == 1) {
        if (field.number == 1 && field.type == PB_VARINT) {
            code = field.value;
        }
    }
    attach_refuse(channel, code != 0 && code < 1000 ? -(int) code : ERR_INTERNAL, NULL);
}

void deliver_message(struct frontd *frontd, const struct bus_message *message)
{
    if (message->type == RAILGUN__BUS_TYPE__BUS_LOG_EVENTS) {
        watchers_on_events(frontd->watchers, message);
        return;
    }
    struct channel *channel = channels_find(frontd->channels, message->subject);
    if (channel == NULL || channel->sm.state == CHANNEL_CLOSING) {
        return;
    }
    switch (message->type) {
    case RAILGUN__BUS_TYPE__BUS_LOG_DELIVER:
        deliver_batch(frontd, channel, message);
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_EVENT:
        session_send(channel->session, channel->number, 0, RAILGUN__FRAME__BODY_GROUP_EVENT,
                     message->meta);
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_FLOOR:
        memory_group_floor(channel, message->meta);
        break;
    case RAILGUN__BUS_TYPE__BUS_LOG_CANCEL:
        deliver_cancel(channel, message->meta);
        break;
    default:
        break;
    }
}
