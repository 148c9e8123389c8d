#include "common/wire/es.h"

#include "common/base/err.h"
#include "common/base/rand.h"
#include "common/base/topic.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/es_fields.h"
#include "common/wire/pb.h"
#include "common/wire/router.pb-c.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"
#include "tests/unit/common/wire/exact.h"

static const struct span none;

static struct buf packed(const ProtobufCMessage *message)
{
    struct buf out = {0};
    scan_pack(&out, message);
    return out;
}

static ProtobufCBinaryData bytes_of(char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *) text};
}

static bool is_same(struct span ours, protobuf_c_boolean has, ProtobufCBinaryData theirs)
{
    return span_equal(ours, has ? span_make(theirs.data, theirs.len) : none);
}

static bool is_same_text(struct span ours, const char *theirs)
{
    return span_is(ours, theirs != NULL ? theirs : "");
}

/* What protobuf-c sees in the message is what we see. */
static void message_compare(const struct es_message *ours, const Railgun__EsMessage *theirs)
{
    struct span rest = ours->raw;
    struct span name;
    struct span value;
    size_t seen = theirs->topic != NULL ? strlen(theirs->topic) : 0; /* up to a NUL in it */
    TEST_ASSERT_FAST(seen <= ours->topic.size);
    TEST_ASSERT_FAST(is_same_text(span_make(ours->topic.data, seen), theirs->topic));
    TEST_ASSERT_FAST(seen == ours->topic.size || ours->topic.data[seen] == 0);
    TEST_ASSERT_FAST(is_same(ours->payload, theirs->has_payload, theirs->payload));
    TEST_ASSERT_FAST(is_same(ours->key, theirs->has_key, theirs->key));
    TEST_ASSERT_FAST(is_same(ours->reply_to, theirs->has_reply_to, theirs->reply_to));
    TEST_ASSERT_FAST(ours->headers == theirs->n_headers);
    for (size_t i = 0; i < theirs->n_headers; i++) {
        const Railgun__Header *header = theirs->headers[i];
        TEST_ASSERT_FAST(es_header_next(&rest, &name, &value) == 1);
        TEST_ASSERT_FAST(is_same_text(name, header->name));
        TEST_ASSERT_FAST(is_same(value, header->has_value, header->value));
    }
    TEST_ASSERT_FAST(es_header_next(&rest, &name, &value) == 0);
}

/* Reads an EsPublish both ways; whatever we accept, protobuf-c accepts and sees the same in. */
static int publish_compare(struct span body)
{
    struct es_limits limits = es_limits_default();
    struct es_publish publish;
    struct es_message message;
    Railgun__EsPublish *theirs = railgun__es_publish__unpack(NULL, body.size, body.data);
    size_t count = 0;
    int result = es_publish_read(body, &publish);
    if (result == 0) {
        struct span rest = publish.messages;
        while ((result = es_next(&rest, &limits, &message)) == 1) {
            TEST_ASSERT_FAST(theirs == NULL || count < theirs->n_messages);
            if (theirs != NULL) {
                message_compare(&message, theirs->messages[count]);
            }
            count++;
        }
        if (result == 0) {
            TEST_ASSERT_FAST(theirs != NULL && count == theirs->n_messages && rest.size == 0);
            TEST_ASSERT_FAST(is_same_text(publish.exchange, theirs->exchange));
        }
    }
    if (theirs != NULL) {
        railgun__es_publish__free_unpacked(theirs, NULL);
    }
    return result;
}

static char text_topic[] = "fleet.bus-7.position";
static char text_payload[] = "0123456789abcdef";
static char text_key[] = "bus-7";
static char text_reply[] = "\x01\x02\x03";
static char text_exchange[] = "trams";

static struct buf publish_packed(void)
{
    Railgun__Header header = RAILGUN__HEADER__INIT;
    Railgun__Header *headers[] = {&header, &header};
    Railgun__EsMessage all = RAILGUN__ES_MESSAGE__INIT;
    Railgun__EsMessage usual = RAILGUN__ES_MESSAGE__INIT;
    Railgun__EsMessage empty = RAILGUN__ES_MESSAGE__INIT;
    Railgun__EsMessage *messages[] = {&usual, &all, &empty, &usual};
    Railgun__EsPublish publish = RAILGUN__ES_PUBLISH__INIT;
    header.name = text_key;
    header.has_value = 1;
    header.value = bytes_of(text_payload);
    usual.topic = text_topic;
    usual.has_payload = usual.has_key = 1;
    usual.payload = bytes_of(text_payload);
    usual.key = bytes_of(text_key);
    all = usual;
    all.has_reply_to = 1;
    all.reply_to = bytes_of(text_reply);
    all.n_headers = 2;
    all.headers = headers;
    publish.exchange = text_exchange;
    publish.n_messages = 4;
    publish.messages = messages;
    return packed(&publish.base);
}

TEST(an_es_publish_of_protobuf_is_read_in_place)
{
    struct buf body = publish_packed();
    struct es_limits limits = es_limits_default();
    struct es_publish publish;
    struct es_message message;
    ck_assert_int_eq(publish_compare(buf_span(&body)), 0);
    ck_assert_int_eq(es_publish_read(buf_span(&body), &publish), 0);
    ck_assert(span_is(publish.exchange, text_exchange));
    struct span rest = publish.messages;
    ck_assert_int_eq(es_next(&rest, &limits, &message), 1);
    ck_assert(span_is(message.topic, text_topic) && span_is(message.key, text_key));
    ck_assert(message.headers == 0 && message.reply_to.size == 0);
    ck_assert(message.field.data == publish.messages.data && message.field.data[0] == 0x7a);
    ck_assert(message.field.data + message.field.size == rest.data);
    ck_assert(message.raw.data + message.raw.size == rest.data);
    ck_assert_int_eq(es_next(&rest, &limits, &message), 1);
    ck_assert(message.headers == 2 && span_is(message.reply_to, text_reply));
    ck_assert(message.field.data + message.field.size == rest.data);
    ck_assert_int_eq(es_next(&rest, &limits, &message), 1);
    ck_assert(message.raw.size == 0 && message.field.size == 2);
    ck_assert_int_eq(es_next(&rest, &limits, &message), 1);
    ck_assert_int_eq(es_next(&rest, &limits, &message), 0);
    buf_release(&body);
}

TEST(what_is_appended_is_what_protobuf_would_write)
{
    struct buf expected = publish_packed();
    struct buf headers = {0};
    struct buf body = {0};
    struct span topic = span_of(text_topic);
    struct span payload = span_of(text_payload);
    struct span key = span_of(text_key);
    es_header_append(&headers, key, payload);
    es_header_append(&headers, key, payload);
    pb_append_bytes(&body, 1, span_of(text_exchange));
    es_append(&body, topic, payload, key, none, none);
    size_t before = body.size;
    es_append(&body, topic, payload, key, buf_span(&headers), span_of(text_reply));
    ck_assert_uint_eq(body.size - before,
                      es_append_size(topic, payload, key, buf_span(&headers), span_of(text_reply)));
    es_append(&body, none, none, none, none, none);
    struct buf raw = {0};
    es_append_raw(&raw, topic, payload, key, none, none);
    pb_append_bytes(&body, 15, buf_span(&raw));
    ck_assert(span_equal(buf_span(&body), buf_span(&expected)));
    buf_release(&raw);
    buf_release(&body);
    buf_release(&headers);
    buf_release(&expected);
}

/* Bytes of a size that is often at a border of the length's width. */
static struct span odd_bytes(struct prng *prng, const uint8_t *data, size_t size_max)
{
    static const size_t sizes[] = {0, 0, 1, 16, 100, 127, 128, 129, 255, 16383, 16384, 20000};
    size_t size = sizes[prng_below(prng, sizeof(sizes) / sizeof(sizes[0]))];
    return span_make(data, size < size_max ? size : size_max);
}

TEST(messages_of_all_sizes_are_written_and_read_as_protobuf_does)
{
    static uint8_t data[20000];
    struct prng prng;
    prng_init(&prng, 7);
    memset(data, 'x', sizeof(data));
    for (int round = 0; round < 300; round++) {
        struct buf headers = {0};
        struct buf body = {0};
        for (uint64_t i = prng_below(&prng, 5); i != 0; i--) {
            struct span topic = odd_bytes(&prng, data, TOPIC_SIZE_MAX);
            struct span payload = odd_bytes(&prng, data, sizeof(data));
            struct span key = odd_bytes(&prng, data, 128);
            buf_reset(&headers);
            if (prng_below(&prng, 4) == 0) {
                es_header_append(&headers, odd_bytes(&prng, data, 100), key);
            }
            es_append(&body, topic, payload, key, buf_span(&headers), odd_bytes(&prng, data, 40));
        }
        struct span copy = exact_copy(buf_span(&body));
        ck_assert_int_eq(publish_compare(copy), 0);
        exact_free(copy);
        buf_release(&headers);
        buf_release(&body);
    }
}

TEST(prefixes_and_changed_bytes_never_read_as_something_else)
{
    struct buf body = publish_packed();
    for (size_t i = 0; i < body.size; i++) {
        struct span prefix = exact_copy(span_make(body.data, i));
        (void) publish_compare(prefix);
        exact_free(prefix);
        uint8_t original = body.data[i];
        for (unsigned value = 0; value < 256; value++) {
            body.data[i] = (uint8_t) value;
            struct span copy = exact_copy(buf_span(&body));
            (void) publish_compare(copy);
            exact_free(copy);
        }
        body.data[i] = original;
    }
    buf_release(&body);
}

/* One `messages` field, or several, and what es_next says of the first. */
static int next_of(struct span fields, struct es_message *ret_message)
{
    struct es_limits limits = es_limits_default();
    return es_next(&fields, &limits, ret_message);
}

TEST(fields_in_another_order_long_forms_and_unknown_fields_are_read)
{
    struct es_message message;
    /* the payload before the topic */
    ck_assert_int_eq(next_of(SPAN(0x7a, 6, 0x12, 1, 'p', 0x0a, 1, 't'), &message), 1);
    ck_assert(span_is(message.topic, "t") && span_is(message.payload, "p"));
    /* a tag and lengths longer than they need be */
    ck_assert_int_eq(
        next_of(SPAN(0xfa, 0, 0x88, 0x80, 0, 0x0a, 0x81, 0, 't', 0x12, 0x81, 0, 'p'), &message), 1);
    ck_assert(span_is(message.topic, "t") && span_is(message.payload, "p"));
    ck_assert_uint_eq(message.field.size, 13);
    ck_assert_int_eq(next_of(SPAN(0x7a, 0x84, 0x80, 0x80, 0, 0x0a, 0x81, 0, 't'), &message), 1);
    ck_assert(span_is(message.topic, "t"));
    /* a newer field in the message, and one among the messages */
    ck_assert_int_eq(next_of(SPAN(0x40, 1, 0x7a, 5, 0x0a, 1, 't', 0x30, 9), &message), 1);
    ck_assert(span_is(message.topic, "t") && message.field.size == 7 && message.raw.size == 5);
    struct span rest = SPAN(0x40, 1, 0x42, 1, 'x');
    struct es_limits limits = es_limits_default();
    ck_assert_int_eq(es_next(&rest, &limits, &message), 0);
    ck_assert_uint_eq(rest.size, 0);
}

TEST(a_malformed_message_is_refused_and_the_walk_stays_where_it_was)
{
    struct es_message message;
    ck_assert_int_eq(next_of(SPAN(0x7a), &message), ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x7a, 1), &message), ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x7a, 0x80), &message), ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x7a, 0x80, 0x80), &message), ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x78, 1), &message), ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x7a, 2, 0x0a, 1), &message), ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x7a, 2, 0x08, 1), &message), ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x7a, 4, 0x0a, 0, 0x0a, 0), &message), ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x7a, 4, 0x12, 0, 0x12, 0), &message), ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x7a, 4, 0x1a, 0, 0x1a, 0), &message), ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x7a, 4, 0x2a, 0, 0x2a, 0), &message), ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x7a, 4, 0x22, 2, 0x08, 1), &message), ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x7a, 5, 0x22, 3, 0x0a, 1, 0xff), &message), ERR_PROTOCOL);
    struct span rest = SPAN(0x7a, 2, 0x08, 1);
    struct es_limits limits = es_limits_default();
    ck_assert_int_eq(es_next(&rest, &limits, &message), ERR_PROTOCOL);
    ck_assert_uint_eq(rest.size, 4);
    ck_assert_int_eq(es_message_read(none, &limits, &message), 0);
    ck_assert(message.raw.size == 0 && message.field.size == 0);
}

TEST(an_exchange_behind_messages_is_refused)
{
    struct es_publish publish;
    ck_assert_int_eq(publish_compare(SPAN(0x7a, 0, 0x0a, 1, 'e')), ERR_PROTOCOL);
    ck_assert_int_eq(publish_compare(SPAN(0x0a, 1, 'd', 0x0a, 1, 'e', 0x7a, 0)), 0);
    ck_assert_int_eq(es_publish_read(SPAN(0x0a, 1, 0xff), &publish), ERR_PROTOCOL);
    ck_assert_int_eq(es_publish_read(SPAN(0x08, 1), &publish), ERR_PROTOCOL);
    ck_assert_int_eq(es_publish_read(SPAN(0x40), &publish), ERR_PROTOCOL);
    ck_assert_int_eq(publish_compare(SPAN(0x78, 1)), ERR_PROTOCOL);
    ck_assert_int_eq(publish_compare(SPAN(0x40, 1, 0xfa, 0, 0)), 0);
    ck_assert_int_eq(publish_compare(none), 0);
}

/* A message with parts of these sizes: what es_next says, and where it stands then. */
static int sized(size_t topic, size_t payload, size_t key, size_t header, bool *ret_is_behind)
{
    static uint8_t data[2 << 20];
    struct es_limits limits = es_limits_default();
    struct es_message message;
    struct buf headers = {0};
    struct buf fields = {0};
    memset(data, 'x', 64 << 10);
    for (size_t left = header; left > 4; left -= left < 1000 ? left : 1000) {
        es_header_append(&headers, none, span_make(data, (left < 1000 ? left : 1000) - 4));
    }
    es_append(&fields, span_make(data, topic), span_make(data, payload), span_make(data, key),
              buf_span(&headers), none);
    struct span rest = buf_span(&fields);
    int result = es_next(&rest, &limits, &message);
    *ret_is_behind = rest.size == 0;
    buf_release(&headers);
    buf_release(&fields);
    return result;
}

TEST(what_is_over_a_limit_is_named_and_the_walk_may_go_on)
{
    bool is_behind = false;
    ck_assert_int_eq(sized(255, 1000, 128, 0, &is_behind), 1);
    ck_assert_int_eq(sized(256, 1000, 0, 0, &is_behind), ERR_BAD_REQUEST);
    ck_assert(is_behind);
    ck_assert_int_eq(sized(1, 1000, 129, 0, &is_behind), ERR_TOO_LARGE);
    ck_assert(is_behind);
    ck_assert_int_eq(sized(1, 1000, 1, 16000, &is_behind), 1);
    ck_assert_int_eq(sized(1, 1000, 1, 17000, &is_behind), ERR_TOO_LARGE);
    ck_assert(is_behind);
    ck_assert_int_eq(sized(0, (1 << 20) - 4, 0, 0, &is_behind), 1);
    ck_assert_int_eq(sized(0, (1 << 20) - 3, 0, 0, &is_behind), ERR_TOO_LARGE);
    ck_assert(is_behind);

    struct es_limits limits = es_limits_default();
    struct es_message message;
    struct buf raw = {0};
    for (int i = 0; i < 33; i++) {
        es_header_append(&raw, span_of("n"), none);
    }
    ck_assert_int_eq(es_message_read(buf_span(&raw), &limits, &message), ERR_TOO_LARGE);
    limits.headers_max = 33;
    ck_assert_int_eq(es_message_read(buf_span(&raw), &limits, &message), 0);
    ck_assert_uint_eq(message.headers, 33);
    ck_assert_uint_eq(message.field.size, 0);
    buf_release(&raw);
}

TEST(a_request_is_read)
{
    Railgun__EsMessage message = RAILGUN__ES_MESSAGE__INIT;
    Railgun__Request request = RAILGUN__REQUEST__INIT;
    struct es_request ours = {.timeout_ms = 99};
    message.topic = text_topic;
    request.exchange = text_exchange;
    request.has_timeout_ms = request.has_max_replies = 1;
    request.timeout_ms = 250;
    request.max_replies = 3;
    request.response = text_key;
    request.message = &message;
    struct buf body = packed(&request.base);
    ck_assert_int_eq(es_request_read(buf_span(&body), &ours), 0);
    ck_assert(span_is(ours.exchange, text_exchange) && span_is(ours.response, text_key));
    ck_assert(ours.timeout_ms == 250 && ours.max_replies == 3 && ours.has_message);
    struct es_limits limits = es_limits_default();
    struct es_message read;
    ck_assert_int_eq(es_message_read(ours.message, &limits, &read), 0);
    ck_assert(span_is(read.topic, text_topic));
    buf_release(&body);

    ck_assert_int_eq(es_request_read(none, &ours), 0);
    ck_assert(!ours.has_message && ours.timeout_ms == 0 && ours.response.size == 0);
    ck_assert_int_eq(es_request_read(SPAN(0x7a, 0, 0x7a, 0), &ours), ERR_PROTOCOL);
    ck_assert_int_eq(es_request_read(SPAN(0x22, 1, 0xff), &ours), ERR_PROTOCOL);
    ck_assert_int_eq(es_request_read(SPAN(0x12, 0), &ours), ERR_PROTOCOL);
}

TEST(a_reply_and_a_result_are_read)
{
    Railgun__EsMessage message = RAILGUN__ES_MESSAGE__INIT;
    Railgun__Reply reply = RAILGUN__REPLY__INIT;
    Railgun__Result result = RAILGUN__RESULT__INIT;
    struct es_reply our_reply;
    struct es_result our_result;
    reply.has_reply_to = 1;
    reply.reply_to = bytes_of(text_reply);
    reply.message = &message;
    struct buf body = packed(&reply.base);
    ck_assert_int_eq(es_reply_read(buf_span(&body), &our_reply), 0);
    ck_assert(span_is(our_reply.reply_to, text_reply) && our_reply.has_message);
    ck_assert_uint_eq(our_reply.message.size, 0);
    ck_assert_int_eq(es_reply_read(SPAN(0x7a, 0, 0x7a, 0), &our_reply), ERR_PROTOCOL);
    ck_assert_int_eq(es_reply_read(SPAN(0x08, 0), &our_reply), ERR_PROTOCOL);
    buf_release(&body);

    result.has_code = result.has_more = result.has_replies = 1;
    result.code = 504;
    result.more = 1;
    result.replies = 2;
    result.detail = text_key;
    body = packed(&result.base);
    ck_assert_int_eq(es_result_read(buf_span(&body), &our_result), 0);
    ck_assert(our_result.code == 504 && our_result.more && our_result.replies == 2);
    ck_assert(span_is(our_result.detail, text_key) && !our_result.has_message);
    ck_assert_int_eq(es_result_read(SPAN(0x12, 0), &our_result), ERR_PROTOCOL);
    ck_assert_int_eq(es_result_read(SPAN(0x22, 1, 0xff), &our_result), ERR_PROTOCOL);
    ck_assert_int_eq(es_result_read(SPAN(0x7a, 0, 0x7a, 0), &our_result), ERR_PROTOCOL);
    buf_release(&body);
}

TEST(blocks_are_written_and_read_as_protobuf_does)
{
    static const uint64_t ids[] = {1, UINT64_C(0x1122334455667788), UINT64_MAX};
    struct buf messages = {0};
    struct buf body = {0};
    es_append(&messages, span_of(text_topic), span_of(text_payload), none, none, none);
    es_append(&messages, span_of(text_topic), none, none, none, none);
    es_block_append(&body, ids, 3, 2, true, 77, 5000, buf_span(&messages));
    es_block_append(&body, ids, 1, 0, false, 0, 0, none);

    Railgun__EsForward *theirs = railgun__es_forward__unpack(NULL, body.size, body.data);
    ck_assert_ptr_nonnull(theirs);
    ck_assert_uint_eq(theirs->n_blocks, 2);
    ck_assert(theirs->blocks[0]->n_ids == 3 && theirs->blocks[0]->ids[1] == ids[1]);
    ck_assert(theirs->blocks[0]->is_group && theirs->blocks[0]->request == 77);
    ck_assert_uint_eq(theirs->blocks[0]->timeout_ms, 5000);
    ck_assert_uint_eq(theirs->blocks[0]->messages->n_messages, 2);
    ck_assert(!theirs->blocks[1]->has_count && !theirs->blocks[1]->has_request);
    struct buf again = packed(&theirs->base);
    ck_assert(span_equal(buf_span(&again), buf_span(&body)));
    railgun__es_forward__free_unpacked(theirs, NULL);
    buf_release(&again);

    struct es_block block;
    struct span rest = buf_span(&body);
    ck_assert_int_eq(es_block_next(&rest, &block), 1);
    ck_assert(block.id_count == 3 && block.count == 2 && block.is_group);
    ck_assert(block.request == 77 && block.timeout_ms == 5000);
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert(es_block_id(&block, i) == ids[i]);
    }
    ck_assert(span_equal(block.messages, buf_span(&messages)));
    ck_assert_int_eq(es_block_next(&rest, &block), 1);
    ck_assert(block.id_count == 1 && block.count == 0 && !block.is_group && block.request == 0);
    ck_assert_int_eq(es_block_next(&rest, &block), 0);
    buf_release(&messages);
    buf_release(&body);
}

TEST(a_block_is_refused_as_a_whole)
{
    struct es_block block = {.count = 99};
    struct span rest = SPAN(0x0a, 3, 0x0a, 1, 0); /* ids of 1 byte */
    ck_assert_int_eq(es_block_next(&rest, &block), ERR_PROTOCOL);
    rest = SPAN(0x0a, 4, 0x0a, 0, 0x0a, 0); /* ids twice */
    ck_assert_int_eq(es_block_next(&rest, &block), ERR_PROTOCOL);
    rest = SPAN(0x0a, 9, 0x09, 0, 0, 0, 0, 0, 0, 0, 0); /* ids that are not packed */
    ck_assert_int_eq(es_block_next(&rest, &block), ERR_PROTOCOL);
    rest = SPAN(0x0a, 4, 0x7a, 0, 0x7a, 0); /* messages twice */
    ck_assert_int_eq(es_block_next(&rest, &block), ERR_PROTOCOL);
    rest = SPAN(0x0a, 2, 0x20, 1); /* a request that is a varint */
    ck_assert_int_eq(es_block_next(&rest, &block), ERR_PROTOCOL);
    rest = SPAN(0x08, 1);
    ck_assert_int_eq(es_block_next(&rest, &block), ERR_PROTOCOL);
    ck_assert_uint_eq(block.count, 99);
    rest = SPAN(0x10, 1, 0x0a, 2, 0x48, 1); /* newer fields */
    ck_assert_int_eq(es_block_next(&rest, &block), 1);
    ck_assert(block.count == 0 && block.id_count == 0);
}

static void field_is(const ProtobufCMessageDescriptor *type, const char *name, unsigned number)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(type, name);
    ck_assert_msg(field != NULL && field->id == number, "%s.%s", type->name, name);
}

TEST(the_field_numbers_are_those_of_the_protocol)
{
    field_is(&railgun__es_message__descriptor, "topic", ES_MESSAGE_TOPIC);
    field_is(&railgun__es_message__descriptor, "payload", ES_MESSAGE_PAYLOAD);
    field_is(&railgun__es_message__descriptor, "key", ES_MESSAGE_KEY);
    field_is(&railgun__es_message__descriptor, "headers", ES_MESSAGE_HEADERS);
    field_is(&railgun__es_message__descriptor, "reply_to", ES_MESSAGE_REPLY_TO);
    field_is(&railgun__record__descriptor, "headers", ES_MESSAGE_HEADERS);
    field_is(&railgun__es_publish__descriptor, "exchange", ES_PUBLISH_EXCHANGE);
    field_is(&railgun__es_publish__descriptor, "messages", ES_MESSAGES);
    field_is(&railgun__es_deliver__descriptor, "messages", ES_MESSAGES);
    field_is(&railgun__request__descriptor, "exchange", ES_REQUEST_EXCHANGE);
    field_is(&railgun__request__descriptor, "timeout_ms", ES_REQUEST_TIMEOUT);
    field_is(&railgun__request__descriptor, "max_replies", ES_REQUEST_MAX_REPLIES);
    field_is(&railgun__request__descriptor, "response", ES_REQUEST_RESPONSE);
    field_is(&railgun__request__descriptor, "message", ES_MESSAGE);
    field_is(&railgun__reply__descriptor, "reply_to", ES_REPLY_TO);
    field_is(&railgun__reply__descriptor, "message", ES_MESSAGE);
    field_is(&railgun__result__descriptor, "code", ES_RESULT_CODE);
    field_is(&railgun__result__descriptor, "more", ES_RESULT_MORE);
    field_is(&railgun__result__descriptor, "replies", ES_RESULT_REPLIES);
    field_is(&railgun__result__descriptor, "detail", ES_RESULT_DETAIL);
    field_is(&railgun__result__descriptor, "message", ES_MESSAGE);
    field_is(&railgun__es_forward__descriptor, "blocks", ES_FORWARD_BLOCKS);
    field_is(&railgun__es_block__descriptor, "ids", ES_BLOCK_IDS);
    field_is(&railgun__es_block__descriptor, "count", ES_BLOCK_COUNT);
    field_is(&railgun__es_block__descriptor, "is_group", ES_BLOCK_IS_GROUP);
    field_is(&railgun__es_block__descriptor, "request", ES_BLOCK_REQUEST);
    field_is(&railgun__es_block__descriptor, "timeout_ms", ES_BLOCK_TIMEOUT);
    field_is(&railgun__es_block__descriptor, "messages", ES_BLOCK_MESSAGES);
}
