/* request: asking and answering. A request that waits is as short as can be: its caller writes the frame and, where possible, reads the answer itself
 * (lead.c). The server keeps the time; the library only sees to it that a request ends though the server does not. */
#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/es.h"
#include "common/wire/pb.h"

#include "client/ask.h"
#include "client/ephemeral.h"
#include "client/headers.h"
#include "client/outbox.h"

enum {
    TIMEOUT_MS = 5000,
    TIMEOUT_MS_MAX = 600000,
    GRACE_MS = 1000, /* beyond the server's time */
    REPLIES_MAX = 65535,
    REPLY_TO_BYTES_MAX = 1024,
    REQUEST_EXCHANGE = 1,
    REQUEST_TIMEOUT = 2,
    REQUEST_MAX_REPLIES = 3,
    REQUEST_RESPONSE = 4,
    REPLY_REPLY_TO = 1,
    CANCEL_REQUEST = 1,
    HEAD_BYTES_MAX = 2 * (NAME_SIZE_MAX + PB_TAG_SIZE_MAX + PB_LENGTH_SIZE_MAX) + 32,
};

static const struct span none;

/* --- asking --- */

static int options_check(const struct rg_request_options *options)
{
    struct span response = ephemeral_text(options->response);
    const char *problem = response.size != 0 ? name_check(response) : NULL;
    if (options->timeout_ms > TIMEOUT_MS_MAX) {
        return error_note(ERR_USAGE, "a request may take 600000 milliseconds at most");
    }
    if (options->max_replies > REPLIES_MAX) {
        return error_note(ERR_USAGE, "a request may have 65535 replies at most");
    }
    if (problem != NULL) {
        return error_note(ERR_BAD_REQUEST, "response: %s", problem);
    }
    return ephemeral_check_exchange(options->exchange);
}

static uint8_t *text_put(uint8_t *at, uint32_t number, struct span text)
{
    if (text.size == 0) {
        return at;
    }
    at = pb_put_varint(pb_put_tag(at, number, PB_BYTES), text.size);
    memcpy(at, text.data, text.size);
    return at + text.size;
}

/* The fields before the message; what is the default is left out. */
static struct span head_put(uint8_t head[HEAD_BYTES_MAX], const struct rg_request_options *options)
{
    uint8_t *at = text_put(head, REQUEST_EXCHANGE, ephemeral_text(options->exchange));
    if (options->timeout_ms != 0) {
        at = pb_put_varint(pb_put_tag(at, REQUEST_TIMEOUT, PB_VARINT), options->timeout_ms);
    }
    if (options->max_replies > 1) {
        at = pb_put_varint(pb_put_tag(at, REQUEST_MAX_REPLIES, PB_VARINT), options->max_replies);
    }
    at = text_put(at, REQUEST_RESPONSE, ephemeral_text(options->response));
    return span_make(head, (size_t) (at - head));
}

static uint64_t request_deadline(const struct rg_request_options *options)
{
    uint64_t timeout_ms = options->timeout_ms != 0 ? options->timeout_ms : TIMEOUT_MS;
    return client_now_us() + (timeout_ms + GRACE_MS) * 1000;
}

/* The message encoded to `out`. 0, or the error, noted. */
static int message_encode(struct rg_client *client, const struct rg_es_message *message,
                          struct span topic, struct buf *out)
{
    struct server_limits limits = ephemeral_limits(client);
    struct buf headers = {0};
    size_t size = 0;
    int result = ephemeral_check_topic(topic);
    if (result == 0) {
        result = ephemeral_check(&limits, message, topic, &headers, &size);
    }
    if (result == 0) {
        ephemeral_append(out, message, topic, &headers);
    }
    buf_release(&headers);
    return result;
}

int rg_request_async(struct rg_client *client, const struct rg_es_message *message,
                     const struct rg_request_options *options, rg_reply_fn *done, void *ud,
                     uint64_t *ret_id)
{
    static const struct rg_request_options defaults;
    uint8_t head[HEAD_BYTES_MAX];
    struct buf body = {0};
    if (client == NULL || message == NULL || done == NULL) {
        return error_note(ERR_USAGE, "rg_request_async: an argument is NULL");
    }
    options = options != NULL ? options : &defaults;
    int result = options_check(options);
    if (result == 0) {
        result = message_encode(client, message, ephemeral_text(message->topic), &body);
    }
    if (result < 0) {
        return result;
    }
    client_lock(client);
    result = outbox_wait_room(client);
    if (result == 0 && client->asks.count >= ASKS_OPEN_MAX) {
        result = error_note(ERR_AGAIN, "65536 requests are open");
    }
    if (result == 0) {
        struct ask *ask = ask_take(client);
        ask->kind = ASK_REQUEST;
        ask->done = done;
        ask->ud = ud;
        if (ret_id != NULL) {
            *ret_id = client->next_corr; /* before a reply can come */
        }
        ask_start(client, ask, RAILGUN__FRAME__BODY_REQUEST, head_put(head, options),
                  buf_span(&body), request_deadline(options));
    }
    client_unlock(client);
    buf_release(&body);
    return result;
}

void rg_request_cancel(struct rg_client *client, uint64_t id)
{
    struct buf head = {0};
    if (client == NULL) {
        return;
    }
    pb_append_varint(&head, CANCEL_REQUEST, id);
    client_lock(client);
    if (!ask_withdraw(client, id, ERR_RS_CANCELLED) && ask_is_open(client, id)) {
        outbox_append(client, RAILGUN__FRAME__BODY_REQUEST_CANCEL, buf_span(&head), none);
    }
    client_unlock(client);
    buf_release(&head);
}

/* The payload of the one reply, for the caller to keep. */
static int reply_take(struct span body, void **ret_payload, size_t *ret_size)
{
    struct es_limits limits = {.message_bytes_max = UINT64_MAX,
                               .key_bytes_max = UINT32_MAX,
                               .headers_max = UINT32_MAX,
                               .header_bytes_max = UINT32_MAX};
    struct es_result answer;
    struct es_message message;
    if (es_result_read(body, &answer) < 0 ||
        es_message_read(answer.message, &limits, &message) < 0) {
        return error_note(ERR_PROTOCOL, "the reply cannot be read");
    }
    char *copy = mem_try_new(message.payload.size + 1);
    if (copy == NULL) {
        return error_note(ERR_NO_MEMORY, "no memory for the reply");
    }
    if (message.payload.size != 0) {
        memcpy(copy, message.payload.data, message.payload.size);
    }
    copy[message.payload.size] = 0;
    if (ret_size != NULL) {
        *ret_size = message.payload.size;
    }
    *ret_payload = copy;
    return 0;
}

int rg_request(struct rg_client *client, const char *topic, const void *payload, size_t size,
               uint32_t timeout_ms, void **ret_payload, size_t *ret_size)
{
    struct rg_request_options options = {.timeout_ms = timeout_ms};
    struct rg_es_message message = {.payload = {payload, size}};
    struct ask ask = {.kind = ASK_REQUEST};
    uint8_t head[HEAD_BYTES_MAX];
    struct buf body = {0};
    if (ret_payload == NULL) {
        return error_note(ERR_USAGE, "rg_request: ret_payload is NULL");
    }
    int result = client_check_blocking(client, "rg_request");
    if (result == 0) {
        result = options_check(&options);
    }
    if (result == 0) {
        result = message_encode(client, &message, ephemeral_text(topic), &body);
    }
    if (result < 0) {
        return result;
    }
    client_lock(client);
    result = outbox_wait_room(client);
    if (result == 0) {
        result = ask_and_wait(client, &ask, RAILGUN__FRAME__BODY_REQUEST, head_put(head, &options),
                              buf_span(&body), request_deadline(&options));
    }
    client_unlock(client);
    if (result == 0) {
        result = reply_take(ask.ret_body.bytes, ret_payload, ret_size);
    }
    slice_release(&ask.ret_body);
    buf_release(&body);
    return result;
}

/* --- answering --- */

static int reply_check(struct rg_client *client, struct rg_bytes reply_to, const char *function)
{
    if (client == NULL || reply_to.data == NULL || reply_to.size == 0) {
        return error_note(ERR_USAGE, "%s: an argument is NULL or empty", function);
    }
    if (reply_to.size > REPLY_TO_BYTES_MAX) {
        return error_note(ERR_USAGE, "%s: reply_to is not of a request", function);
    }
    return 0;
}

static struct span reply_head(uint8_t head[REPLY_TO_BYTES_MAX + 16], struct rg_bytes reply_to)
{
    uint8_t *end = text_put(head, REPLY_REPLY_TO, span_make(reply_to.data, reply_to.size));
    return span_make(head, (size_t) (end - head));
}

int rg_reply(struct rg_client *client, struct rg_bytes reply_to, const void *payload, size_t size)
{
    struct rg_es_message message = {.payload = {payload, size}};
    uint8_t head[REPLY_TO_BYTES_MAX + 16];
    struct buf body = {0};
    int result = reply_check(client, reply_to, "rg_reply");
    if (result == 0) {
        result = message_encode(client, &message, none, &body);
    }
    if (result < 0) {
        return result;
    }
    client_lock(client);
    result = outbox_wait_room(client);
    if (result == 0) {
        outbox_append(client, RAILGUN__FRAME__BODY_REPLY, reply_head(head, reply_to),
                      buf_span(&body));
    }
    client_unlock(client);
    buf_release(&body);
    return result;
}

int rg_reply_message(struct rg_client *client, struct rg_bytes reply_to,
                     const struct rg_es_message *message)
{
    struct ask ask = {.kind = ASK_REPLY};
    uint8_t head[REPLY_TO_BYTES_MAX + 16];
    struct buf body = {0};
    int result = client_check_blocking(client, "rg_reply_message");
    if (result == 0) {
        result = reply_check(client, reply_to, "rg_reply_message");
    }
    if (result == 0 && message == NULL) {
        result = error_note(ERR_USAGE, "rg_reply_message: the message is NULL");
    }
    if (result == 0) {
        result = message_encode(client, message, none, &body);
    }
    if (result < 0) {
        return result;
    }
    client_lock(client);
    result = outbox_wait_room(client);
    if (result == 0) {
        result = ask_and_wait(client, &ask, RAILGUN__FRAME__BODY_REPLY, reply_head(head, reply_to),
                              buf_span(&body), client_request_deadline(client, client_now_us()));
    }
    client_unlock(client);
    slice_release(&ask.ret_body);
    buf_release(&body);
    return result;
}
