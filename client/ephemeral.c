/* ephemeral: publishing messages with topics. In the background a message is appended to the frame at the end of the outbox and nothing else: no
 * allocation, no answer. What the server would refuse is refused here, since nobody hears of it there. */
#include "client/ephemeral.h"

#include <string.h>

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/es.h"
#include "common/wire/pb.h"

#include "client/ask.h"
#include "client/headers.h"
#include "client/outbox.h"

enum {
    BATCH_MESSAGES_MAX = 65536,
    BATCH_BYTES_MAX = 4 << 20,
    FRAME_ROOM = 512, /* of a frame besides its messages */
    MATCHED = 1,
};

static const struct span none;

struct span ephemeral_text(const char *text)
{
    return text != NULL ? span_of(text) : none;
}

int ephemeral_check_exchange(const char *exchange)
{
    struct span name = ephemeral_text(exchange);
    const char *problem = name.size != 0 ? name_check(name) : NULL;
    return problem != NULL ? error_note(ERR_BAD_REQUEST, "exchange: %s", problem) : 0;
}

int ephemeral_check_topic(struct span topic)
{
    const char *problem = topic_check(topic);
    return problem != NULL ? error_note(ERR_BAD_REQUEST, "topic: %s", problem) : 0;
}

struct server_limits ephemeral_limits(struct rg_client *client)
{
    client_lock(client);
    struct server_limits limits = client->limits;
    client_unlock(client);
    return limits;
}

static int check_size(const struct server_limits *limits, size_t size)
{
    if (size > limits->record_bytes_max || size + FRAME_ROOM > limits->frame_bytes_max) {
        return error_note(ERR_TOO_LARGE, "the message is larger than %llu bytes",
                          (unsigned long long) limits->record_bytes_max);
    }
    return 0;
}

int ephemeral_check(const struct server_limits *limits, const struct rg_es_message *message,
                    struct span topic, struct buf *scratch, size_t *ret_size)
{
    struct span payload = span_make(message->payload.data, message->payload.size);
    struct span key = span_make(message->key.data, message->key.size);
    if (bytes_are_null(&message->payload) || bytes_are_null(&message->key) ||
        headers_have_null(message->headers, message->header_count)) {
        return error_note(ERR_USAGE, "data that is NULL has a size");
    }
    if (key.size > KEY_BYTES_MAX) {
        return error_note(ERR_TOO_LARGE, "the key is longer than 128 bytes");
    }
    int result = check_size(limits, payload.size); /* before it is added to anything */
    if (result == 0 && message->header_count != 0) {
        result = headers_encode(scratch, message->headers, message->header_count);
    }
    if (result < 0) {
        return result;
    }
    struct span headers = message->header_count != 0 ? buf_span(scratch) : none;
    size_t size = es_append_size(topic, payload, key, headers, none);
    *ret_size = size;
    return check_size(limits, size);
}

void ephemeral_append(struct buf *out, const struct rg_es_message *message, struct span topic,
                      const struct buf *headers)
{
    es_append(out, topic, span_make(message->payload.data, message->payload.size),
              span_make(message->key.data, message->key.size),
              message->header_count != 0 ? buf_span(headers) : none, none);
}

/* --- one message --- */

/* Lock held. The last valid topic is remembered: most come again. */
static int publish_check_topic(struct outbox *self, struct span topic)
{
    if (self->topic_size == topic.size && memcmp(self->topic, topic.data, topic.size) == 0) {
        return 0;
    }
    int result = ephemeral_check_topic(topic);
    if (result == 0) {
        self->topic_size = topic.size;
        memcpy(self->topic, topic.data, topic.size);
    }
    return result;
}

/* Lock held. */
static int publish_one(struct rg_client *client, struct span topic, struct span payload)
{
    struct outbox *self = &client->outbox;
    int result = topic.size != 0 ? publish_check_topic(self, topic) : 0;
    if (result == 0) {
        result = check_size(&client->limits, payload.size);
    }
    if (result < 0) {
        return result;
    }
    size_t size = es_append_size(topic, payload, none, none, none);
    result = check_size(&client->limits, size);
    if (result == 0 && (self->bytes >= client->options.send_buffer_bytes || client->is_closing)) {
        result = outbox_wait_room(client);
    }
    if (result < 0) {
        return result;
    }
    es_append(outbox_publish(client, none, size), topic, payload, none, none, none);
    outbox_published(client);
    return 0;
}

int rg_es_publish(struct rg_client *client, const char *topic, const void *payload, size_t size)
{
    if (client == NULL || (payload == NULL && size != 0)) {
        return error_note(ERR_USAGE, "rg_es_publish: an argument is NULL");
    }
    struct span topic_text = ephemeral_text(topic);
    client_lock(client);
    int result = publish_one(client, topic_text, span_make(payload, size));
    client_unlock(client);
    return result;
}

/* --- several --- */

/* The topic of the message before: it mostly comes again, and is then neither measured nor checked. */
struct topic_memo {
    const char *text;
    struct span topic;
};

static struct span memo_topic(struct topic_memo *self, const char *text)
{
    if (text != self->text) {
        self->text = text;
        self->topic = ephemeral_text(text);
    }
    return self->topic;
}

/* All of them: 0 with what they take in frames, or the error, noted. */
static int batch_check_messages(struct rg_client *client, const struct rg_es_message *messages,
                                size_t count, size_t *ret_total)
{
    struct server_limits limits = ephemeral_limits(client);
    struct topic_memo memo = {0};
    struct buf scratch = {0};
    size_t total = 0;
    int result = 0;
    for (size_t i = 0; i < count && result == 0; i++) {
        size_t size = 0;
        bool is_same = messages[i].topic == memo.text;
        struct span topic = memo_topic(&memo, messages[i].topic);
        result = is_same ? 0 : ephemeral_check_topic(topic);
        if (result == 0) {
            result = ephemeral_check(&limits, &messages[i], topic, &scratch, &size);
        }
        total += size;
        if (result == 0 && total > BATCH_BYTES_MAX) {
            result = error_note(ERR_TOO_LARGE, "the messages are larger than 4 MiB");
        }
    }
    buf_release(&scratch);
    *ret_total = total;
    return result;
}

static int batch_check(struct rg_client *client, const char *exchange,
                       const struct rg_es_message *messages, size_t count, const char *function,
                       size_t *ret_total)
{
    if (client == NULL || (messages == NULL && count != 0)) {
        return error_note(ERR_USAGE, "%s: an argument is NULL", function);
    }
    if (count == 0) {
        return error_note(ERR_USAGE, "%s: no messages", function);
    }
    if (count > BATCH_MESSAGES_MAX) {
        return error_note(ERR_TOO_LARGE, "more than 65536 messages");
    }
    int result = ephemeral_check_exchange(exchange);
    return result == 0 ? batch_check_messages(client, messages, count, ret_total) : result;
}

/* They were checked; so were their headers. */
static struct span batch_headers(struct buf *scratch, const struct rg_es_message *message)
{
    if (message->header_count == 0) {
        return none;
    }
    (void) headers_encode(scratch, message->headers, message->header_count); /* as it was before */
    return buf_span(scratch);
}

/* Lock held. */
static void batch_append(struct rg_client *client, struct span exchange,
                         const struct rg_es_message *messages, size_t count)
{
    struct topic_memo memo = {0};
    struct buf *scratch = &client->outbox.scratch;
    for (size_t i = 0; i < count; i++) {
        const struct rg_es_message *message = &messages[i];
        struct span topic = memo_topic(&memo, message->topic);
        struct span payload = span_make(message->payload.data, message->payload.size);
        struct span key = span_make(message->key.data, message->key.size);
        struct span headers = batch_headers(scratch, message);
        size_t size = es_append_size(topic, payload, key, headers, none);
        es_append(outbox_publish(client, exchange, size), topic, payload, key, headers, none);
    }
    outbox_published(client);
}

int rg_es_publish_batch(struct rg_client *client, const char *exchange,
                        const struct rg_es_message *messages, size_t count)
{
    size_t total = 0;
    int result = batch_check(client, exchange, messages, count, "rg_es_publish_batch", &total);
    if (result < 0) {
        return result;
    }
    client_lock(client);
    result = outbox_wait_room(client);
    if (result == 0) {
        batch_append(client, ephemeral_text(exchange), messages, count);
    }
    client_unlock(client);
    return result;
}

/* --- with a receipt --- */

static int matched_read(struct span body, uint32_t *matched, size_t count)
{
    struct pb_field field;
    size_t read = 0;
    int result = 0;
    while ((result = pb_next(&body, &field)) == 1) {
        if (field.number != MATCHED) {
            continue;
        }
        struct span rest = field.bytes;
        while (field.type == PB_BYTES && rest.size != 0) {
            uint64_t value = 0;
            size_t used = 0;
            do {
                value |= (uint64_t) (rest.data[used] & 0x7f) << (7 * used);
            } while (rest.data[used++] >= 0x80 && used < rest.size && used < 5);
            rest = span_make(rest.data + used, rest.size - used);
            if (read < count) {
                matched[read] = (uint32_t) value;
            }
            read++;
        }
    }
    return result == 0 && read == count ? 0 : ERR_PROTOCOL;
}

static void counted_encode(struct buf *out, const struct rg_es_message *messages, size_t count)
{
    struct topic_memo memo = {0};
    struct buf scratch = {0};
    for (size_t i = 0; i < count; i++) {
        struct span topic = memo_topic(&memo, messages[i].topic);
        (void) batch_headers(&scratch, &messages[i]); /* into scratch */
        ephemeral_append(out, &messages[i], topic, &scratch);
    }
    buf_release(&scratch);
}

int rg_es_publish_counted(struct rg_client *client, const char *exchange,
                          const struct rg_es_message *messages, size_t count, uint32_t *ret_matched)
{
    size_t total = 0;
    int result = client_check_blocking(client, "rg_es_publish_counted");
    if (result == 0 && ret_matched == NULL) {
        result = error_note(ERR_USAGE, "rg_es_publish_counted: ret_matched is NULL");
    }
    if (result == 0) {
        result = batch_check(client, exchange, messages, count, "rg_es_publish_counted", &total);
    }
    if (result < 0) {
        return result;
    }
    struct ask ask = {.kind = ASK_RECEIPT};
    struct buf head = {0};
    struct buf body = {0};
    if (exchange != NULL && exchange[0] != 0) {
        pb_append_bytes(&head, 1, span_of(exchange));
    }
    counted_encode(&body, messages, count);
    client_lock(client);
    result = total + FRAME_ROOM > client->limits.frame_bytes_max
                 ? error_note(ERR_TOO_LARGE, "larger than a frame may be")
                 : outbox_wait_room(client);
    if (result == 0) {
        result = ask_and_wait(client, &ask, RAILGUN__FRAME__BODY_ES_PUBLISH, buf_span(&head),
                              buf_span(&body), client_request_deadline(client, client_now_us()));
    }
    client_unlock(client);
    if (result == 0 && matched_read(ask.ret_body.bytes, ret_matched, count) < 0) {
        result = error_note(ERR_PROTOCOL, "the receipt cannot be read");
    }
    slice_release(&ask.ret_body);
    buf_release(&head);
    buf_release(&body);
    return result;
}

int rg_es_flush(struct rg_client *client, uint32_t timeout_ms)
{
    int result = client_check_blocking(client, "rg_es_flush");
    if (result < 0) {
        return result;
    }
    client_lock(client);
    result = outbox_flush(client, client_now_us() + (uint64_t) timeout_ms * 1000);
    client_unlock(client);
    return result < 0 ? error_note(result, "not everything was sent in time") : 0;
}
