/* session: what the frames of the server mean: the greeting, answers by correlation, deliveries by channel, heartbeats. Owns nothing. Calls
 * nobody back: it changes state and fills lists. Must never trust a number, a length or an order in what the server sends. */
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

#include "client/ask.h"
#include "client/client_private.h"
#include "client/consume.h"
#include "client/publish.h"
#include "client/subscription.h"
#include "client/watch.h"

enum {
    PROTOCOL_VERSION = 1,
    HEARTBEAT_MS_MIN = 50,
    SILENT_INTERVALS = 3,
    KEEP_COPY_BYTES = 2048,
    PING_BYTES_MAX = 64,
    FRAME_OVERHEAD = 1024,
    DRAIN_ENDS_MS = 1000,
};

#define BODY(name) RAILGUN__FRAME__BODY_##name

void session_greet(struct rg_client *client)
{
    Railgun__Hello hello = RAILGUN__HELLO__INIT;
    struct buf body = {0};
    hello.has_version_min = true;
    hello.version_min = PROTOCOL_VERSION;
    hello.has_version_max = true;
    hello.version_max = PROTOCOL_VERSION;
    hello.client = client->name;
    hello.namespace_ = client->namespace_[0] != 0 ? client->namespace_ : NULL;
    hello.has_heartbeat_ms = true;
    hello.heartbeat_ms = client->options.heartbeat_ms;
    scan_pack(&body, &hello.base);
    conn_queue_frame(client, 0, client->next_corr++, BODY(HELLO), buf_span(&body));
    buf_release(&body);
}

static uint64_t value_or(bool is_given, uint64_t value, uint64_t otherwise)
{
    return is_given && value != 0 ? value : otherwise;
}

static void session_take_limits(struct rg_client *client, const Railgun__HelloOk *ok)
{
    struct server_limits *limits = &client->limits;
    uint64_t frame_max = value_or(ok->has_frame_max, ok->frame_max, FRAME_SIZE_MAX_DEFAULT);
    if (frame_max > FRAME_SIZE_MAX_HARD) {
        frame_max = FRAME_SIZE_MAX_HARD;
    }
    limits->frame_bytes_max = (uint32_t) frame_max;
    limits->record_bytes_max = value_or(ok->has_record_max, ok->record_max, 1 << 20);
    limits->batch_bytes_max = value_or(ok->has_batch_max, ok->batch_max, 4 << 20);
    if (limits->batch_bytes_max > frame_max - FRAME_OVERHEAD && frame_max > FRAME_OVERHEAD) {
        limits->batch_bytes_max = frame_max - FRAME_OVERHEAD;
    }
    limits->batch_records_max =
        (uint32_t) value_or(ok->has_batch_records_max, ok->batch_records_max, 65536);
    /* 0 is a value of its own here: stop. */
    limits->publish_window = ok->has_publish_window ? ok->publish_window : frame_max;
    limits->publish_window_first = limits->publish_window;
    uint64_t heartbeat_ms =
        value_or(ok->has_heartbeat_ms, ok->heartbeat_ms, client->options.heartbeat_ms);
    if (heartbeat_ms < HEARTBEAT_MS_MIN) {
        heartbeat_ms = HEARTBEAT_MS_MIN;
    }
    client->heartbeat_us = heartbeat_ms * 1000;
    client->conn.inbox.frame_bytes_max = limits->frame_bytes_max;
}

static int session_hello_ok(struct rg_client *client, struct span body)
{
    Railgun__HelloOk *ok = NULL;
    if (client->state != CLIENT_GREETING) {
        return ERR_PROTOCOL;
    }
    int result = SCAN_UNPACK(body, railgun__hello_ok, &ok);
    if (result < 0) {
        return result;
    }
    if (ok->has_version && ok->version != PROTOCOL_VERSION) {
        result = ERR_VERSION;
    } else {
        session_take_limits(client, ok);
        for (size_t i = 0; i < ok->n_peers; i++) {
            addresses_add(&client->addresses, span_of(ok->peers[i]));
        }
        reconnect_up(client);
    }
    SCAN_FREE(&ok);
    return result;
}

static int session_ping(struct rg_client *client, const struct frame_view *view)
{
    struct span rest = view->body;
    struct span data = {0};
    struct pb_field field;
    int result = 0;
    while ((result = pb_next(&rest, &field)) == 1) {
        if (field.number == 1) {
            if (field.type != PB_BYTES || field.bytes.size > PING_BYTES_MAX) {
                return ERR_PROTOCOL;
            }
            data = field.bytes;
        }
    }
    if (result == 0) {
        struct buf body = {0};
        if (data.size != 0) {
            pb_append_bytes(&body, 1, data);
        }
        conn_queue_frame(client, 0, view->corr, BODY(PONG), buf_span(&body));
        buf_release(&body);
    }
    return result;
}

static int session_go_away(struct rg_client *client, struct span body)
{
    struct pb_field field;
    uint64_t deadline_ms = 0;
    int result = 0;
    while ((result = pb_next(&body, &field)) == 1) {
        if (field.number == 1 && field.type == PB_VARINT) {
            deadline_ms = field.value;
        } else if (field.number == 2 && field.type == PB_BYTES) {
            addresses_add(&client->addresses, field.bytes);
        }
    }
    if (result == 0 && client->state == CLIENT_UP) {
        uint64_t limit_ms = client->options.request_timeout_ms;
        client->state = CLIENT_DRAINING;
        /* At its deadline the server ends by itself what is open, and says how: that is waited for. */
        client->drain_deadline_us =
            client_now_us() +
            ((deadline_ms < limit_ms ? deadline_ms : limit_ms) + DRAIN_ENDS_MS) * 1000;
    }
    return result;
}

/* What was asked, if it is still open. */
static struct pending *session_pending(const struct rg_client *client, uint64_t corr)
{
    return corr != 0 ? hash64_get(client->pending, corr) : NULL;
}

static struct call *pending_call(struct pending *pending)
{
    return LIST_ENTRY(pending, struct call, pending);
}

static int session_answer(struct rg_client *client, const struct frame_view *view)
{
    struct pending *pending = session_pending(client, view->corr);
    if (pending == NULL) {
        return 0; /* given up meanwhile, or the answer to a farewell */
    }
    if (pending->kind == PENDING_GHOST) {
        publish_ghost_answered(client, pending);
        return 0;
    }
    if (pending->kind == PENDING_PACK) {
        return publish_answered(client, LIST_ENTRY(pending, struct pack, pending), view->field,
                                view->body);
    }
    if (pending->kind == PENDING_ASK) {
        return ask_answered(client, pending, view->field, view->body);
    }
    struct hot_delivery page;
    if (view->field == BODY(PUBLISH_OK) ||
        (view->field == BODY(READ_OK) && hot_read_ok_read(view->body, &page) < 0)) {
        return ERR_PROTOCOL;
    }
    struct error_answer answer;
    int result = 0;
    if (view->field == BODY(ERROR)) {
        result = error_read(view->body, &answer);
        if (result < 0) {
            return result;
        }
        result = answer.code;
    }
    call_finish(client, pending_call(pending), result, view->field,
                session_keep(client, view->body));
    return 0;
}

static void session_channel_ended(struct rg_client *client, uint32_t channel, int code,
                                  struct span detail)
{
    struct rg_subscription *subscription = subscription_find(client, channel);
    if (subscription != NULL) {
        subscription_cancelled(subscription, code, detail);
    } else if (!watches_cancelled(client, channel, code, detail)) {
        consumer_cancelled(client, channel, code, detail);
    }
}

static int session_group_event(struct rg_client *client, const struct frame_view *view)
{
    struct rg_subscription *subscription = subscription_find(client, view->channel);
    return subscription != NULL ? subscription_group_event(subscription, view->body)
                                : consumer_group_event(client, view->channel, view->body);
}

/* An Error without a correlation ends a channel or the connection. */
static int session_error(struct rg_client *client, const struct frame_view *view)
{
    struct error_answer answer;
    if (view->corr != 0 && client->state != CLIENT_GREETING) {
        return session_answer(client, view);
    }
    int result = error_read(view->body, &answer);
    if (result < 0) {
        return result;
    }
    if (view->channel != 0) {
        session_channel_ended(client, view->channel, answer.code, answer.detail);
        return 0;
    }
    (void) snprintf(client->last_detail, sizeof(client->last_detail), "%.*s",
                    (int) (answer.detail.size < 256 ? answer.detail.size : 256),
                    answer.detail.size != 0 ? (const char *) answer.detail.data : "");
    return answer.code;
}

static int session_credit(struct rg_client *client, const struct frame_view *view)
{
    struct hot_credit credit;
    int result = hot_credit_read(view->body, &credit);
    if (result == 0 && view->channel == 0) {
        publish_window(client, credit.bytes);
    }
    return result;
}

enum { CANCEL_LAST_OFFSET = 3 };

static int session_cancel(struct rg_client *client, const struct frame_view *view)
{
    struct span rest = view->body;
    struct span detail = {0};
    struct pb_field field;
    uint64_t code = 0;
    int result = 0;
    while ((result = pb_next(&rest, &field)) == 1) {
        if (field.number == 1 && field.type == PB_VARINT) {
            code = field.value;
        } else if (field.number == 2 && field.type == PB_BYTES && pb_is_text(field.bytes)) {
            detail = field.bytes;
        }
    }
    if (result == 0 && code == (uint64_t) -ERR_EPHEMERAL_LOST) {
        consumer_lost_group(client, view->channel, pb_find_varint(view->body, CANCEL_LAST_OFFSET));
    } else if (result == 0) {
        session_channel_ended(client, view->channel,
                              code != 0 && code < 1000 ? -(int) code : ERR_CLOSED, detail);
    }
    return result;
}

static int session_frame(struct rg_client *client, const struct frame_view *view)
{
    if (client->state == CLIENT_GREETING && view->field != BODY(HELLO_OK) &&
        view->field != BODY(ERROR)) {
        return ERR_PROTOCOL;
    }
    switch (view->field) {
    case BODY(HELLO_OK):
        return session_hello_ok(client, view->body);
    case BODY(DELIVER):
        return consumer_deliver(client, view->channel, view->body);
    case BODY(GROUP_EVENT):
        return session_group_event(client, view);
    case BODY(ES_DELIVER):
        return subscription_deliver(client, view->channel, view->body);
    case BODY(EVENTS):
        return watches_events(client, view->channel, view->body);
    case BODY(CANCEL):
        return session_cancel(client, view);
    case BODY(CREDIT):
        return session_credit(client, view);
    case BODY(PING):
        return session_ping(client, view);
    case BODY(GO_AWAY):
        return session_go_away(client, view->body);
    case BODY(ERROR):
        return session_error(client, view);
    case 0:
        return 0; /* of a newer protocol */
    default:
        return session_answer(client, view);
    }
}

int session_take_frame(struct rg_client *client, struct span frame)
{
    struct frame_view view;
    int result = frame_parse(frame, &view);
    return result < 0 ? result : session_frame(client, &view);
}

int session_take_frames(struct rg_client *client)
{
    struct span frame;
    int result = 0;
    while (!subscriptions_are_full(client) &&
           (result = inbox_next(&client->conn.inbox, &frame)) == 1) {
        result = session_take_frame(client, frame);
        if (result < 0) {
            return result;
        }
    }
    if (subscriptions_are_full(client)) {
        client->conn.has_input = true; /* perhaps: it is looked at again when there is room */
        return 0;
    }
    return result;
}

struct slice session_keep(struct rg_client *client, struct span bytes)
{
    if (bytes.size == 0) {
        return (struct slice){0};
    }
    if (bytes.size < KEEP_COPY_BYTES) {
        struct payload *copy = payload_copy(bytes);
        if (copy != NULL) {
            return (struct slice){copy, payload_span(copy)};
        }
    }
    return slice_make(client->conn.inbox.chunk, bytes);
}

static bool session_is_drained(const struct rg_client *client, uint64_t now_us)
{
    if (now_us >= client->drain_deadline_us) {
        return true;
    }
    LIST_FOREACH (&client->calls, node) {
        if (LIST_ENTRY(node, struct call, of_calls)->is_sent) {
            return false;
        }
    }
    return !asks_are_sent(client) && list_is_empty(&client->pub.sent) &&
           list_is_empty(&client->conn.sending) && list_is_empty(&client->conn.mail) &&
           client->conn.control.size == 0 && client->conn.writing.size == 0;
}

int session_check(struct rg_client *client, uint64_t now_us)
{
    const struct conn *conn = &client->conn;
    if (client->state == CLIENT_DRAINING && session_is_drained(client, now_us)) {
        return ERR_GOING_AWAY;
    }
    if (client->state != CLIENT_UP && client->state != CLIENT_DRAINING) {
        return 0;
    }
    /* While nothing is read, nothing is heard. */
    if (!subscriptions_are_full(client) &&
        now_us >= conn->received_us + SILENT_INTERVALS * client->heartbeat_us) {
        return ERR_HEARTBEAT_LOST;
    }
    if (now_us >= conn->sent_us + client->heartbeat_us && !conn_has_output(client)) {
        conn_queue_frame(client, 0, 0, BODY(PING), (struct span){0});
    }
    return 0;
}
