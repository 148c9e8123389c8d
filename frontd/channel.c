/* channel: consumers of all clients, found by their number or by their connection's channel; and when to tell logd of credit. Owns the channels. Must
 * never tell logd of more than the output queue of the connection may hold. */
#include "frontd/channel.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"

#include "frontd/memory_group.h"
#include "frontd/to_logd.h"
#include "frontd/upstream.h"

enum { RETRY_MS = 250 };

static const struct sm_state channel_states[CHANNEL_STATE_COUNT] = {
    [CHANNEL_ENSURING] = {"ensuring", SM_TO(CHANNEL_ATTACHING) | SM_TO(CHANNEL_GONE)},
    [CHANNEL_ATTACHING] = {"attaching",
                           SM_TO(CHANNEL_OPEN) | SM_TO(CHANNEL_CLOSING) | SM_TO(CHANNEL_GONE)},
    [CHANNEL_OPEN] = {"open", SM_TO(CHANNEL_LOST) | SM_TO(CHANNEL_DRAINING) |
                                  SM_TO(CHANNEL_CLOSING) | SM_TO(CHANNEL_GONE)},
    [CHANNEL_LOST] = {"lost", SM_TO(CHANNEL_REATTACHING) | SM_TO(CHANNEL_GONE)},
    [CHANNEL_REATTACHING] = {"reattaching", SM_TO(CHANNEL_OPEN) | SM_TO(CHANNEL_LOST) |
                                                SM_TO(CHANNEL_CLOSING) | SM_TO(CHANNEL_GONE)},
    [CHANNEL_DRAINING] = {"draining", SM_TO(CHANNEL_CLOSING) | SM_TO(CHANNEL_GONE)},
    [CHANNEL_CLOSING] = {"closing", SM_TO(CHANNEL_GONE)},
    [CHANNEL_GONE] = {"gone", 0},
};

struct channels {
    struct frontd *frontd;
    struct hash64 *by_consumer;
    struct list dirty; /* may have credit to tell */
    uint64_t last_consumer;
    uint64_t detaching;
    struct wheel_timer retry_timer;
};

static void channels_turn_end(void *ud);
static void channels_retry_fire(struct wheel_timer *timer, void *ud);

struct channels *channels_new(struct frontd *frontd)
{
    struct channels *self = MEM_NEW(struct channels);
    self->frontd = frontd;
    self->by_consumer = hash64_new();
    list_init(&self->dirty);
    wheel_timer_init(&self->retry_timer, channels_retry_fire, self);
    loop_on_turn_end(frontd->loop, channels_turn_end, self);
    return self;
}

void channels_destroy(struct channels **self)
{
    struct channels *channels = *self;
    *self = NULL;
    if (channels == NULL) {
        return;
    }
    INVARIANT(hash64_count(channels->by_consumer) == 0); /* they went with their sessions */
    wheel_cancel(loop_wheel(channels->frontd->loop), &channels->retry_timer);
    hash64_destroy(&channels->by_consumer);
    mem_free(channels);
}

uint64_t channels_count(const struct channels *self)
{
    return hash64_count(self->by_consumer);
}

uint64_t channels_detaching_count(const struct channels *self)
{
    return self->detaching;
}

struct channel *channels_find(const struct channels *self, uint64_t consumer)
{
    return (struct channel *) hash64_get(self->by_consumer, consumer);
}

struct channel *session_find_channel(const struct session *session, uint32_t number)
{
    return session->by_number != NULL ? (struct channel *) hash64_get(session->by_number, number)
                                      : NULL;
}

struct channel *channel_open(struct session *session, uint32_t number, uint64_t corr,
                             struct span consume)
{
    struct channels *channels = session->frontd->channels;
    struct channel *self = MEM_NEW(struct channel);
    self->session = session;
    self->number = number;
    self->consumer = ++channels->last_consumer;
    self->corr = corr;
    self->since_ms = loop_now_ms(session->frontd->loop);
    sm_init(&self->sm, "channel", channel_states, CHANNEL_ENSURING);
    buf_append(&self->consume, consume);
    list_init(&self->of_dirty);
    list_init(&self->of_session);
    list_push_back(&session->channels, &self->of_session);
    session->channel_count++;
    if (session->by_number == NULL) {
        session->by_number = hash64_new();
    }
    (void) hash64_put(session->by_number, number, self);            /* was absent */
    (void) hash64_put(channels->by_consumer, self->consumer, self); /* was absent */
    session_corr_open(session, corr);
    return self;
}

void channel_remove(struct channel *self)
{
    struct session *session = self->session;
    sm_move(&self->sm, CHANNEL_GONE);
    session_corr_close(session, self->corr);
    (void) hash64_remove(session->by_number, self->number);                       /* is self */
    (void) hash64_remove(session->frontd->channels->by_consumer, self->consumer); /* is self */
    list_remove(&self->of_session);
    list_remove(&self->of_dirty);
    session->channel_count--;
    buf_release(&self->consume);
    mem_free(self);
}

/* --- credit --- */

void channel_touch(struct channel *self)
{
    if (!list_is_linked(&self->of_dirty)) {
        list_push_back(&self->session->frontd->channels->dirty, &self->of_dirty);
    }
}

void channels_touch_session(struct session *session)
{
    LIST_FOREACH (&session->channels, node) {
        channel_touch(LIST_ENTRY(node, struct channel, of_session));
    }
}

/* How many bytes may be on their way to this channel now. */
static uint64_t channel_share(const struct channel *self)
{
    const struct frontd *frontd = self->session->frontd;
    const struct settings *settings = frontd->settings;
    if (conn_outbound_bytes(self->session->conn) >= settings->outbound_bytes_max / 2) {
        conn_want_room(self->session->conn);
        return 0;
    }
    if (conn_set_outbound_bytes(frontd->conns) >= settings->outbound_total_bytes_max / 2) {
        channels_retry_later(frontd->channels);
        return 0;
    }
    return credit_share(settings->outbound_bytes_max, self->session->channel_count,
                        settings->outbound_total_bytes_max, channels_count(frontd->channels));
}

/* Tell logd what it may deliver. false: the link takes nothing now. */
static bool channel_tell(struct channel *self, struct bus_link *link)
{
    struct credit credit = self->credit;
    uint64_t messages = 0;
    uint64_t bytes = 0;
    if (self->sm.state != CHANNEL_OPEN ||
        !credit_tell(&credit, channel_share(self), &messages, &bytes)) {
        return true;
    }
    uint8_t meta[(PB_TAG_SIZE_MAX + PB_VARINT_SIZE_MAX) * 2];
    uint8_t *end = pb_put_varint(pb_put_tag(meta, 1, PB_VARINT), messages);
    end = pb_put_varint(pb_put_tag(end, 2, PB_VARINT), bytes);
    struct bus_outgoing out = {
        .type = RAILGUN__BUS_TYPE__BUS_LOG_CREDIT,
        .subject = self->consumer,
        .meta = span_make(meta, (size_t) (end - meta)),
    };
    if (bus_event(link, &out) != 0) {
        return false;
    }
    self->credit = credit;
    return true;
}

void channels_flush(struct channels *self)
{
    struct bus_link *link = upstream_link(to_logd_upstream(self->frontd->logd));
    struct list due;
    list_take_all(&due, &self->dirty);
    struct list *node = NULL;
    while ((node = list_pop_front(&due)) != NULL) {
        struct channel *channel = LIST_ENTRY(node, struct channel, of_dirty);
        if (link != NULL && !channel_tell(channel, link)) {
            list_push_back(&self->dirty, &channel->of_dirty); /* on_credit comes back to it */
        }
    }
}

static void channels_turn_end(void *ud)
{
    struct channels *self = ud;
    if (!list_is_empty(&self->dirty) && self->frontd->logd != NULL) {
        channels_flush(self);
    }
}

/* --- logd's comings and goings --- */

void channels_retry_later(struct channels *self)
{
    if (!wheel_timer_is_running(&self->retry_timer)) {
        loop_timer_start(self->frontd->loop, &self->retry_timer, RETRY_MS);
    }
}

static int consumer_compare(const void *a, const void *b)
{
    const uint64_t *left = a;
    const uint64_t *right = b;
    return *left < *right ? -1 : *left > *right;
}

/* In the order in which they came first: who waits in an exclusive group keeps its place. */
static void channels_attach_lost(struct channels *self)
{
    struct buf lost = {0};
    size_t cursor = 0;
    struct channel *channel = NULL;
    while ((channel = (struct channel *) hash64_next(self->by_consumer, &cursor)) != NULL) {
        if (channel->sm.state == CHANNEL_LOST) {
            buf_append(&lost, span_make(&channel->consumer, sizeof channel->consumer));
        }
    }
    size_t count = lost.size / sizeof channel->consumer;
    uint64_t *consumers = mem_new((count + 1) * sizeof *consumers);
    if (count > 0) {
        memcpy(consumers, lost.data, lost.size);
        qsort(consumers, count, sizeof *consumers, consumer_compare);
    }
    for (size_t i = 0; i < count; i++) {
        channel = channels_find(self, consumers[i]);
        if (channel != NULL && channel->sm.state == CHANNEL_LOST) {
            channel_attach(channel); /* which may remove it */
        }
    }
    mem_free(consumers);
    buf_release(&lost);
}

void channels_logd_up(struct channels *self)
{
    size_t cursor = 0;
    struct channel *channel = NULL;
    channels_attach_lost(self);
    while ((channel = (struct channel *) hash64_next(self->by_consumer, &cursor)) != NULL) {
        channel_touch(channel);
    }
}

static void channels_retry_fire(struct wheel_timer *timer, void *ud)
{
    struct channels *self = ud;
    (void) timer;
    if (upstream_link(to_logd_upstream(self->frontd->logd)) != NULL) {
        channels_logd_up(self);
    }
}

void channels_logd_down(struct channels *self)
{
    size_t cursor = 0;
    struct channel *channel = NULL;
    while ((channel = (struct channel *) hash64_next(self->by_consumer, &cursor)) != NULL) {
        if (channel->is_ephemeral && channel->sm.state == CHANNEL_OPEN) {
            memory_group_lost(channel); /* which the table allows for the current one */
        } else if (channel->sm.state == CHANNEL_OPEN || channel->sm.state == CHANNEL_REATTACHING) {
            sm_move(&channel->sm, CHANNEL_LOST);
        }
    }
}

/* --- leaving --- */

static void detach_done(struct request *request, enum bus_outcome outcome,
                        const struct bus_message *reply)
{
    struct frontd *frontd = request->frontd;
    (void) reply;
    frontd->channels->detaching--;
    struct bus_link *link =
        frontd->logd != NULL ? upstream_link(to_logd_upstream(frontd->logd)) : NULL;
    if (outcome != BUS_OK && link != NULL && bus_link_id(link) == request->number) {
        /* it must not keep its messages for ever */
        channel_detach(frontd, request->consumer, true);
    }
}

void channel_detach(struct frontd *frontd, uint64_t consumer, bool count_failed)
{
    struct bus_link *link = upstream_link(to_logd_upstream(frontd->logd));
    if (link == NULL) {
        return; /* its member there died with the session */
    }
    uint8_t meta[PB_TAG_SIZE_MAX + PB_VARINT_SIZE_MAX];
    uint8_t *end = pb_put_varint(pb_put_tag(meta, 1, PB_VARINT), count_failed);
    struct request *request = request_take(frontd->requests);
    request->frontd = frontd;
    request->consumer = consumer;
    request->number = bus_link_id(link);
    request->done = detach_done;
    request->is_session_bound = true;
    frontd->channels->detaching++;
    to_logd_ask(frontd->logd, request, RAILGUN__BUS_TYPE__BUS_LOG_DETACH, consumer,
                span_make(meta, (size_t) (end - meta)), 0);
}

void channels_close_session(struct session *session, bool count_failed)
{
    while (!list_is_empty(&session->channels)) {
        struct channel *channel = LIST_ENTRY(session->channels.next, struct channel, of_session);
        if (channel->sm.state != CHANNEL_ENSURING && channel->sm.state != CHANNEL_LOST) {
            channel_detach(session->frontd, channel->consumer, count_failed);
        }
        channel_remove(channel);
    }
}
