/* Bytes that are wrong, or at a limit, in frames of ephemeral messages and requests: each gets its typed error, the connection goes on where it can, and nobody
 * else notices. */
#include "tests/lib/test.h"
#include "tests/system/node.h"
#include "tests/system/raw.h"

#include <stdio.h>
#include <string.h>

#include "client/railgun.h"
#include "common/base/err.h"
#include "common/base/rand.h"
#include "common/wire/frame.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

enum {
    LONG = 30,
    ES_PUBLISH = 9,
    REQUEST = 11,
    RESULT = 12,
    REPLY = 13,
    ES_PUBLISH_OK = 56,
    ES_SUBSCRIBE = 57,
    ES_SUBSCRIBE_OK = 58,
    REQUEST_CANCEL = 60,
    TOPIC = 1, /* of EsMessage */
    PAYLOAD = 2,
    KEY = 3,
    HEADERS = 4,
    REPLY_TO = 5,
    MESSAGE = 15, /* of all that carry messages */
};

/* --- frames by hand --- */

/* One message; `extra` are fields behind its payload. */
static void put_message(struct buf *out, struct span topic, size_t payload_size, struct span extra)
{
    struct buf message = {0};
    struct buf payload = {0};
    memset(buf_reserve(&payload, payload_size + 1), 'x', payload_size);
    buf_advance(&payload, payload_size);
    if (topic.size != 0) {
        pb_append_bytes(&message, TOPIC, topic);
    }
    pb_append_bytes(&message, PAYLOAD, buf_span(&payload));
    buf_append(&message, extra);
    pb_append_bytes(out, MESSAGE, buf_span(&message));
    buf_release(&message);
    buf_release(&payload);
}

static void put_header(struct buf *out, size_t value_size)
{
    struct buf header = {0};
    struct buf value = {0};
    memset(buf_reserve(&value, value_size + 1), 'v', value_size);
    buf_advance(&value, value_size);
    pb_append_bytes(&header, 1, span_of("name"));
    pb_append_bytes(&header, 2, buf_span(&value));
    pb_append_bytes(out, HEADERS, buf_span(&header));
    buf_release(&header);
    buf_release(&value);
}

static bool send_body(struct raw *raw, uint32_t channel, uint64_t corr, uint32_t field,
                      struct span body)
{
    struct buf frame = {0};
    frame_append(&frame, channel, corr, field, body);
    bool is_sent = raw_send_bytes(raw, buf_span(&frame));
    buf_release(&frame);
    return is_sent;
}

/* The code of the answer with this corr, 0 for success; of an Error or of a Result. */
static int answer_code(struct raw *raw, uint64_t corr)
{
    struct raw_frame frame;
    do {
        ck_assert_int_eq(raw_receive(raw, LONG, &frame), RAW_FRAME);
    } while (frame.corr != corr);
    if (frame.field == RESULT) {
        Railgun__Result *result = NULL;
        ck_assert_int_eq(SCAN_UNPACK(frame.body, railgun__result, &result), 0);
        int code = (int) result->code;
        SCAN_FREE(&result);
        return code;
    }
    return raw_code_of(&frame);
}

static int ask(struct raw *raw, uint32_t field, struct buf *body)
{
    static uint64_t corr = 1000;
    corr++;
    ck_assert(send_body(raw, 0, corr, field, buf_span(body)));
    buf_reset(body);
    return answer_code(raw, corr);
}

/* --- a witness: somebody else, who must not notice --- */

struct witness {
    struct rg_client *client;
    struct rg_subscription *subscription;
    unsigned count;
};

static void witness_open(struct witness *self, const struct node *node)
{
    const struct rg_options options = {.namespace_ = "witness"};
    *self = (struct witness){0};
    ck_assert_int_eq(rg_connect(node_address(node), &options, &self->client), RG_OK);
    ck_assert_int_eq(rg_subscribe(self->client, NULL, &self->subscription), RG_OK);
}

static void witness_look(struct witness *self)
{
    struct rg_es_delivery delivery;
    char topic[32];
    (void) snprintf(topic, sizeof(topic), "seen.%u", self->count++);
    ck_assert_int_eq(rg_es_publish(self->client, topic, "x", 1), RG_OK);
    ck_assert_int_eq(rg_subscription_next(self->subscription, LONG * 1000, &delivery), RG_OK);
    ck_assert_msg(delivery.topic.size == strlen(topic) &&
                      memcmp(delivery.topic.data, topic, strlen(topic)) == 0,
                  "another topic");
}

static void witness_close(struct witness *self)
{
    witness_look(self);
    rg_subscription_close(&self->subscription);
    rg_close(&self->client);
}

/* --- limits --- */

static struct span words(char *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        out[2 * i] = 'w';
        out[2 * i + 1] = '.';
    }
    return span_make(out, 2 * count - 1);
}

static void check_messages(struct raw *raw)
{
    static char text[300];
    struct buf body = {0};
    struct buf extra = {0};
    memset(text, 't', sizeof(text));
    for (size_t size = 255; size <= 256; size++) {
        put_message(&body, span_make(text, size), 1, (struct span){0});
        ck_assert_int_eq(ask(raw, ES_PUBLISH, &body), size == 255 ? 0 : -ERR_BAD_REQUEST);
    }
    for (size_t count = 16; count <= 17; count++) {
        put_message(&body, words(text, count), 1, (struct span){0});
        ck_assert_int_eq(ask(raw, ES_PUBLISH, &body), count == 16 ? 0 : -ERR_BAD_REQUEST);
    }
    for (size_t size = 128; size <= 129; size++) {
        pb_append_bytes(&extra, KEY, span_make(text, size));
        put_message(&body, span_of("a"), 1, buf_span(&extra));
        ck_assert_int_eq(ask(raw, ES_PUBLISH, &body), size == 128 ? 0 : -ERR_TOO_LARGE);
        buf_reset(&extra);
    }
    for (int count = 1; count <= 33; count++) {
        put_header(&extra, 10);
        put_message(&body, span_of("a"), 1, buf_span(&extra));
        ck_assert_int_eq(ask(raw, ES_PUBLISH, &body), count <= 32 ? 0 : -ERR_TOO_LARGE);
    }
    buf_reset(&extra);
    put_header(&extra, 17000);
    put_message(&body, span_of("a"), 1, buf_span(&extra));
    ck_assert_int_eq(ask(raw, ES_PUBLISH, &body), -ERR_TOO_LARGE);
    buf_reset(&extra);
    /* an address for replies is the server's to make */
    pb_append_bytes(&extra, REPLY_TO, span_of("$mine"));
    put_message(&body, span_of("a"), 1, buf_span(&extra));
    ck_assert_int_eq(ask(raw, ES_PUBLISH, &body), -ERR_BAD_REQUEST);
    put_message(&body, span_of("a"), 1, buf_span(&extra));
    ck_assert_int_eq(ask(raw, REQUEST, &body), -ERR_BAD_REQUEST);
    for (size_t size = (1 << 20) - 100; size <= 1 << 20; size += 100) {
        put_message(&body, span_of("a"), size, (struct span){0});
        ck_assert_int_eq(ask(raw, ES_PUBLISH, &body), size < 1 << 20 ? 0 : -ERR_TOO_LARGE);
    }
    buf_release(&extra);
    buf_release(&body);
}

static void check_frames(const struct node *node, struct raw *raw)
{
    struct buf body = {0};
    ck_assert_int_eq(ask(raw, ES_PUBLISH, &body), 0); /* nothing, and a receipt for it */
    for (uint32_t count = 0; count < 65536; count++) {
        put_message(&body, span_of("a"), 0, (struct span){0});
    }
    struct buf more = {0};
    buf_append(&more, buf_span(&body));
    put_message(&more, span_of("a"), 0, (struct span){0});
    ck_assert_int_eq(ask(raw, ES_PUBLISH, &body), 0);
    ck_assert_int_eq(ask(raw, ES_PUBLISH, &more), -ERR_TOO_LARGE);
    for (int i = 0; i < 8; i++) {
        put_message(&more, span_of("a"), 1000000, (struct span){0});
    }
    ck_assert_int_eq(ask(raw, ES_PUBLISH, &more), 0); /* 8 MiB less something */
    for (int i = 0; i < 9; i++) {
        put_message(&more, span_of("a"), 1000000, (struct span){0});
    }
    struct raw *other = raw_open(node);
    (void) send_body(other, 0, 1, ES_PUBLISH, buf_span(&more)); /* it need not be read to its end */
    ck_assert_int_eq(raw_error_code(other, LONG), -ERR_TOO_LARGE);
    ck_assert(raw_is_closed(other, LONG));
    raw_close(&other);
    buf_release(&more);
    buf_release(&body);
}

static void check_requests(struct raw *raw)
{
    struct buf body = {0};
    static const struct {
        uint32_t field;
        uint64_t value;
        int code;
    } numbers[] = {
        {2, 600000, -ERR_NO_RESPONDERS},   {2, 600001, -ERR_BAD_REQUEST},
        {2, UINT64_MAX, -ERR_BAD_REQUEST}, {3, 65535, -ERR_NO_RESPONDERS},
        {3, 65536, -ERR_BAD_REQUEST},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        pb_append_varint(&body, numbers[i].field, numbers[i].value);
        put_message(&body, span_of("nobody"), 1, (struct span){0});
        ck_assert_int_eq(ask(raw, REQUEST, &body), numbers[i].code);
    }
    ck_assert_int_eq(ask(raw, REQUEST, &body), -ERR_BAD_REQUEST); /* without a message */
    pb_append_bytes(&body, 4, span_of("no name"));
    put_message(&body, span_of("nobody"), 1, (struct span){0});
    ck_assert_int_eq(ask(raw, REQUEST, &body), -ERR_BAD_REQUEST);
    static const struct {
        const char *to;
        int code;
    } replies[] = {{"", -ERR_BAD_REQUEST},          {"$", -ERR_BAD_REQUEST},
                   {"$AQoAAACO", -ERR_BAD_REQUEST}, {"$AQoAAACO-wBrbuytJS0bTZM", -ERR_RS_CLOSED},
                   {"nobody", -ERR_RS_CLOSED},      {"no name", -ERR_BAD_REQUEST}};
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        pb_append_bytes(&body, 1, span_of(replies[i].to));
        put_message(&body, (struct span){0}, 1, (struct span){0});
        int code = ask(raw, REPLY, &body);
        ck_assert_msg(code == replies[i].code, "'%s': %d", replies[i].to, code);
    }
    buf_release(&body);
}

TEST_WITHIN(what_is_at_a_limit_is_taken_and_what_is_over_it_gets_its_error, 60)
{
    struct node *node = node_new();
    node_start_all(node);
    struct witness witness;
    struct raw *raw = raw_open(node);
    witness_open(&witness, node);
    check_messages(raw);
    witness_look(&witness);
    check_frames(node, raw);
    witness_look(&witness);
    check_requests(raw);
    witness_close(&witness);
    raw_close(&raw);
    node_stop_all(node);
    node_destroy(&node);
}

/* --- by chance --- */

static uint32_t pick(struct prng *prng, uint32_t count)
{
    return (uint32_t) prng_below(prng, count);
}

/* Something that is nearly right. */
static uint32_t random_body(struct prng *prng, struct buf *out)
{
    static const char *const topics[] = {"", "a", "a.b", "$a.b", "a..b", "*", "#", "a.#", "x y"};
    enum { TOPICS = sizeof(topics) / sizeof(topics[0]) };
    switch (pick(prng, 6)) {
    case 0:
        for (uint32_t i = pick(prng, 20); i > 0; i--) {
            put_message(out, span_of(topics[pick(prng, 4)]), pick(prng, 2000), (struct span){0});
        }
        return ES_PUBLISH;
    case 1:
        for (uint32_t i = pick(prng, 4); i > 0; i--) {
            pb_append_bytes(out, 2, span_of(topics[pick(prng, TOPICS)]));
        }
        if (pick(prng, 3) == 0) {
            pb_append_bytes(out, 3, span_of("group"));
        }
        pb_append_varint(out, 4, pick(prng, 5));
        pb_append_varint(out, 5, pick(prng, 100));
        return ES_SUBSCRIBE;
    case 2:
        pb_append_varint(out, 2, pick(prng, 100));
        pb_append_varint(out, 3, pick(prng, 3));
        put_message(out, span_of(topics[pick(prng, TOPICS)]), 10, (struct span){0});
        return REQUEST;
    case 3:
        pb_append_bytes(out, 1, span_of(topics[pick(prng, TOPICS)]));
        put_message(out, (struct span){0}, 10, (struct span){0});
        return REPLY;
    case 4:
        pb_append_varint(out, 1, pick(prng, 10));
        return pick(prng, 2) == 0 ? (uint32_t) REQUEST_CANCEL : (uint32_t) RAW_CANCEL;
    default:
        pb_append_varint(out, 1, pick(prng, 10));
        pb_append_varint(out, 2, pick(prng, 10000));
        return RAW_CREDIT;
    }
}

/* A few frames, some of them damaged, to whoever lives long enough to read them. */
static void send_random(struct prng *prng, const struct node *node)
{
    struct raw *raw = raw_open(node);
    struct buf body = {0};
    struct buf frame = {0};
    bool is_sent = true;
    for (uint32_t i = 1 + pick(prng, 40); i > 0 && is_sent; i--) {
        uint32_t field = random_body(prng, &body);
        frame_append(&frame, pick(prng, 6), pick(prng, 3) == 0 ? 0 : 1 + pick(prng, 1000), field,
                     buf_span(&body));
        for (uint32_t damage = pick(prng, 20) == 0 ? 1 + pick(prng, 3) : 0; damage > 0; damage--) {
            uint32_t at = FRAME_PREFIX_SIZE + pick(prng, (uint32_t) frame.size - FRAME_PREFIX_SIZE);
            frame.data[at] = (uint8_t) pick(prng, 256);
        }
        is_sent = raw_send_bytes(raw, buf_span(&frame));
        buf_reset(&body);
        buf_reset(&frame);
    }
    buf_release(&body);
    buf_release(&frame);
    raw_close(&raw);
}

TEST_WITHIN(frames_at_random_disturb_nobody_and_the_sums_hold, 90)
{
    enum { CONNECTIONS = 400 };
    struct node *node = node_new();
    struct prng prng;
    struct process said = {0};
    struct witness witness;
    node_start_all(node);
    witness_open(&witness, node);
    prng_init(&prng, 20261121);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        send_random(&prng, node);
        if (i % 10 == 0) {
            witness_look(&witness);
        }
    }
    ck_assert(node_is_running(node, NODE_FRONTD));
    ck_assert(node_is_running(node, NODE_ROUTERD));
    ck_assert(WAIT_FOR(NODE_CTL(node, &said, "es", "info") == 0 &&
                           json_number(buf_text(&said.out), NULL, "subscriptions") == 0,
                       LONG));
    const char *info = buf_text(&said.out);
    ck_assert_uint_gt(json_number(info, NULL, "matched"), 0);
    ck_assert_uint_eq(json_number(info, NULL, "queued"), 0);
    ck_assert_uint_eq(json_number(info, NULL, "matched"),
                      json_number(info, NULL, "delivered") + json_number(info, NULL, "dropped"));
    witness_close(&witness);
    process_release(&said);
    node_stop_all(node);
    node_destroy(&node);
}
