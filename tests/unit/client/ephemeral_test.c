/* Publishing ephemeral messages: what goes out, in which order, once at most, and what is refused. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/railgun.h"
#include "common/base/err.h"
#include "common/wire/es.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"
#include "tests/unit/client/fake.h"
#include "tests/unit/client/fake_es.h"

#define PAYLOAD(text)                                                                              \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }

static void publish(struct rg_client *client, const char *topic, const char *payload)
{
    int result = rg_es_publish(client, topic, payload, strlen(payload));
    ck_assert_msg(result == 0, "rg_es_publish: %d %s", result, rg_last_error(client));
}

static void flush(struct rg_client *client)
{
    ck_assert_int_eq(rg_es_flush(client, 30000), 0);
}

/* All messages of all frames so far, but not how they were cut into frames. Lock held. */
static void log_join(struct fake *fake)
{
    static const char cut[] = ";pub  ";
    char *at = NULL;
    while ((at = strstr(buf_text(&fake->es_log), cut)) != NULL) {
        char *log = at + strlen(cut);
        *at = ',';
        memmove(at + 1, log, strlen(log) + 1);
        fake->es_log.size -= strlen(cut) - 1;
    }
}

TEST(messages_of_all_topics_go_out_in_order)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    publish(client, "a", "1");
    publish(client, "b.c", "2");
    publish(client, "", "3");
    publish(client, NULL, "");
    publish(client, "a", "5");
    flush(client);
    fake_await_frames(fake, BODY(ES_PUBLISH), 1);
    ck_assert_int_eq(rg_ping(client, NULL), 0); /* all was taken */
    fake_lock(fake);
    log_join(fake);
    ck_assert_str_eq(buf_text(&fake->es_log), "pub  a=1,b.c=2,=3,=,a=5;");
    fake_unlock(fake);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(batches_of_different_exchanges_keep_their_order)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_es_message first[] = {{.topic = "a", .payload = PAYLOAD("1")},
                                    {.topic = "b", .payload = PAYLOAD("2")}};
    struct rg_es_message second[] = {{.topic = "c", .payload = PAYLOAD("3")}};
    ck_assert_int_eq(rg_es_publish_batch(client, "x", first, 2), 0);
    ck_assert_int_eq(rg_es_publish_batch(client, "y", second, 1), 0);
    ck_assert_int_eq(rg_es_publish_batch(client, "", second, 1), 0);
    ck_assert_int_eq(rg_es_publish_batch(client, "x", first, 2), 0);
    flush(client);
    fake_await_frames(fake, BODY(ES_PUBLISH), 4);
    fake_lock(fake);
    ck_assert_str_eq(buf_text(&fake->es_log), "pub x a=1,b=2;pub y c=3;pub  c=3;pub x a=1,b=2;");
    fake_unlock(fake);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool check_frame(struct fake *fake, const struct frame_view *view)
{
    Railgun__EsPublish *theirs =
        railgun__es_publish__unpack(NULL, view->body.size, view->body.data);
    ck_assert_ptr_nonnull(theirs);
    ck_assert(view->body.size < 70000);
    for (size_t i = 0; i < theirs->n_messages; i++) {
        const Railgun__EsMessage *message = theirs->messages[i];
        char text[32];
        (void) snprintf(text, sizeof(text), "%" PRIu64, fake->es_messages++);
        ck_assert_str_eq(message->topic, "some.topic");
        ck_assert_uint_eq(message->payload.len, 100);
        ck_assert_int_eq(strcmp((const char *) message->payload.data, text), 0);
    }
    railgun__es_publish__free_unpacked(theirs, NULL);
    return true;
}

TEST(many_messages_become_few_frames)
{
    enum { COUNT = 20000 };
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(ES_PUBLISH), check_frame);
    struct rg_client *client = fake_client(fake, NULL);
    for (unsigned i = 0; i < COUNT; i++) {
        char payload[100] = {0};
        (void) snprintf(payload, sizeof(payload), "%u", i);
        ck_assert_int_eq(rg_es_publish(client, "some.topic", payload, sizeof(payload)), 0);
    }
    rg_close(&client); /* sends what waits */
    fake_lock(fake);
    ck_assert_uint_eq(fake->es_messages, COUNT);
    ck_assert_uint_ge(fake->frames[BODY(ES_PUBLISH)], COUNT * 115 / 66000);
    fake_unlock(fake);
    fake_destroy(&fake);
}

static bool check_all(struct fake *fake, const struct frame_view *view)
{
    Railgun__EsPublish *theirs = NULL;
    ck_assert_int_eq(SCAN_UNPACK(view->body, railgun__es_publish, &theirs), 0);
    ck_assert_uint_eq(theirs->n_messages, 1);
    const Railgun__EsMessage *message = theirs->messages[0];
    ck_assert_uint_eq(message->n_headers, 2);
    ck_assert_str_eq(message->headers[0]->name, "kind");
    ck_assert_uint_eq(message->headers[1]->value.len, 0);
    ck_assert_uint_eq(message->key.len, 3);
    fake->es_messages++;
    SCAN_FREE(&theirs);
    return true;
}

TEST(keys_and_headers_go_along)
{
    struct fake *fake = fake_new();
    struct rg_header headers[] = {{PAYLOAD("kind"), PAYLOAD("v")}, {PAYLOAD("n"), {NULL, 0}}};
    struct rg_es_message message = {
        .topic = "t", .key = PAYLOAD("key"), .headers = headers, .header_count = 2};
    fake_handle(fake, BODY(ES_PUBLISH), check_all);
    struct rg_client *client = fake_client(fake, NULL);
    ck_assert_int_eq(rg_es_publish_batch(client, NULL, &message, 1), 0);
    rg_close(&client);
    fake_lock(fake);
    ck_assert_uint_eq(fake->es_messages, 1);
    fake_unlock(fake);
    fake_destroy(&fake);
}

TEST(what_the_server_would_refuse_is_refused_at_once)
{
    static char large[(1 << 20) + 1];
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    char topic[300];
    memset(topic, 'a', sizeof(topic));
    topic[256] = 0;
    ck_assert_int_eq(rg_es_publish(client, topic, "", 0), RG_ERR_BAD_REQUEST);
    topic[255] = 0;
    ck_assert_int_eq(rg_es_publish(client, topic, "", 0), 0);
    ck_assert_int_eq(rg_es_publish(client, "a..b", "", 0), RG_ERR_BAD_REQUEST);
    ck_assert_int_eq(rg_es_publish(client, "a.*", "", 0), RG_ERR_BAD_REQUEST);
    ck_assert_ptr_nonnull(strstr(rg_last_error(client), "topic: "));
    ck_assert_int_eq(rg_es_publish(client, "a", large, sizeof(large)), RG_ERR_TOO_LARGE);
    ck_assert_int_eq(rg_es_publish(client, "a", large, SIZE_MAX), RG_ERR_TOO_LARGE);
    ck_assert_int_eq(rg_es_publish(client, "a", NULL, 1), RG_ERR_USAGE);
    ck_assert_int_eq(rg_es_publish(NULL, "a", "", 0), RG_ERR_USAGE);
    ck_assert_int_eq(rg_es_publish_batch(client, NULL, NULL, 1), RG_ERR_USAGE);

    struct rg_es_message messages[] = {{.topic = "a"}, {.topic = "b"}};
    ck_assert_int_eq(rg_es_publish_batch(client, NULL, messages, 0), RG_ERR_USAGE);
    ck_assert_int_eq(rg_es_publish_batch(client, "no such", messages, 2), RG_ERR_BAD_REQUEST);
    ck_assert_int_eq(rg_es_publish_batch(client, NULL, messages, 65537), RG_ERR_TOO_LARGE);
    messages[1].key = (struct rg_bytes){large, 129};
    ck_assert_int_eq(rg_es_publish_batch(client, NULL, messages, 2), RG_ERR_TOO_LARGE);
    messages[1].key = (struct rg_bytes){NULL, 1};
    ck_assert_int_eq(rg_es_publish_batch(client, NULL, messages, 2), RG_ERR_USAGE);
    messages[1].key = (struct rg_bytes){NULL, 0};
    struct rg_header headers[33] = {{{"\xff", 1}, {"", 0}}};
    messages[1].headers = headers;
    messages[1].header_count = 1;
    ck_assert_int_eq(rg_es_publish_batch(client, NULL, messages, 2), RG_ERR_BAD_REQUEST);
    messages[1].header_count = 33;
    ck_assert_int_eq(rg_es_publish_batch(client, NULL, messages, 2), RG_ERR_TOO_LARGE);
    messages[1].header_count = 0;
    messages[1].topic = "#";
    ck_assert_int_eq(rg_es_publish_batch(client, NULL, messages, 2), RG_ERR_BAD_REQUEST);
    struct rg_es_message six[6] = {{0}};
    for (int i = 0; i < 6; i++) {
        six[i] = (struct rg_es_message){.topic = "a", .payload = {large, 1000000}};
    }
    ck_assert_int_eq(rg_es_publish_batch(client, NULL, six, 6), RG_ERR_TOO_LARGE);
    ck_assert_int_eq(rg_es_publish_batch(client, NULL, six, 4), 0);
    rg_close(&client);
    fake_lock(fake);
    ck_assert_uint_eq(fake->es_messages, 5); /* of what was refused nothing went out */
    fake_unlock(fake);
    fake_destroy(&fake);
}

/* --- receipts --- */

TEST(a_receipt_says_how_many_matched)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_es_message messages[] = {{.topic = "a"}, {.topic = "b"}, {.topic = "a"}};
    uint32_t matched[3] = {0};
    publish(client, "first", "0");
    ck_assert_int_eq(rg_es_publish_counted(client, "x", messages, 3, matched), 0);
    ck_assert(matched[0] == 1 && matched[1] == 2 && matched[2] == 3);
    fake_es_await(fake, "pub  first=0;pub? x a=,b=,a=;");
    ck_assert_int_eq(rg_es_publish_counted(client, NULL, messages, 3, NULL), RG_ERR_USAGE);
    ck_assert_int_eq(rg_es_publish_counted(client, NULL, NULL, 1, matched), RG_ERR_USAGE);
    messages[2].topic = "..";
    ck_assert_int_eq(rg_es_publish_counted(client, NULL, messages, 3, matched), RG_ERR_BAD_REQUEST);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool refuse(struct fake *fake, const struct frame_view *view)
{
    fake_send_error(fake, 0, view->corr, ERR_QUOTA, "too many topics");
    return true;
}

static bool hang_up(struct fake *fake, const struct frame_view *view)
{
    (void) view;
    fake_hang_up(fake);
    return true;
}

static bool count_too_few(struct fake *fake, const struct frame_view *view)
{
    fake_send(fake, 0, view->corr, BODY(ES_PUBLISH_OK), (struct span){0});
    return true;
}

TEST(a_receipt_that_does_not_come_is_told_apart_from_a_refusal)
{
    struct fake *fake = fake_new();
    struct rg_es_message message = {.topic = "a"};
    uint32_t matched = 9;
    fake_handle(fake, BODY(ES_PUBLISH), refuse);
    struct rg_client *client = fake_client(fake, NULL);
    ck_assert_int_eq(rg_es_publish_counted(client, NULL, &message, 1, &matched), RG_ERR_QUOTA);
    ck_assert_str_eq(rg_last_error(client), "too many topics");
    fake_handle(fake, BODY(ES_PUBLISH), count_too_few);
    ck_assert_int_eq(rg_es_publish_counted(client, NULL, &message, 1, &matched), RG_ERR_PROTOCOL);
    fake_handle(fake, BODY(ES_PUBLISH), hang_up);
    ck_assert_int_eq(rg_es_publish_counted(client, NULL, &message, 1, &matched), RG_ERR_TIMEOUT);
    ck_assert_uint_eq(fake_frames(fake, BODY(ES_PUBLISH)), 3); /* never sent twice */
    ck_assert_uint_eq(matched, 9);
    rg_close(&client);
    fake_destroy(&fake);
}

/* --- lost connections --- */

static void refuse_connections(struct fake *fake, bool refuse_them)
{
    fake_lock(fake);
    fake->refuse = refuse_them;
    if (refuse_them) {
        fake_hang_up(fake);
    }
    fake_unlock(fake);
}

static void note_state(void *ud, bool up, int reason)
{
    atomic_int *downs = ud;
    (void) reason;
    atomic_fetch_add(downs, up ? 0 : 1);
}

static void await_down(atomic_int *downs, int count)
{
    while (atomic_load(downs) < count) {
        sched_yield();
    }
}

TEST(what_was_not_sent_when_the_connection_was_lost_goes_out_on_the_next)
{
    struct fake *fake = fake_new();
    atomic_int downs = 0;
    struct rg_options options = {.on_state = note_state, .ud = &downs, .reconnect_max_ms = 20};
    struct rg_client *client = fake_client(fake, &options);
    publish(client, "a", "1");
    flush(client);
    fake_es_await(fake, "pub  a=1;");
    refuse_connections(fake, true);
    await_down(&downs, 1);
    publish(client, "a", "2");
    publish(client, "a", "3");
    ck_assert_int_eq(rg_es_flush(client, 10), RG_ERR_TIMEOUT);
    publish(client, "a", "4");
    refuse_connections(fake, false);
    flush(client);
    fake_es_await(fake, "pub  a=1;pub  a=2,a=3;pub  a=4;");
    rg_close(&client);
    fake_destroy(&fake);
}

static bool check_rising(struct fake *fake, const struct frame_view *view)
{
    struct es_limits limits = es_limits_default();
    struct es_publish es_publish;
    struct es_message message;
    ck_assert_int_eq(es_publish_read(view->body, &es_publish), 0);
    while (es_next(&es_publish.messages, &limits, &message) == 1) {
        char text[24] = "";
        size_t size = message.payload.size < sizeof(text) - 1 ? message.payload.size : 23;
        memcpy(text, message.payload.data, size); /* no text ends where it should by itself */
        uint64_t number = strtoull(text, NULL, 10);
        ck_assert_msg(number > fake->next_offset, "%" PRIu64 " after %" PRIu64, number,
                      fake->next_offset);
        fake->next_offset = number;
        fake->es_messages++;
    }
    return true;
}

static bool saw_the_last(const struct fake *fake)
{
    return fake->next_offset == 1000000;
}

/* In frames of one message each: the exchange changes with each. */
static int publish_number(struct rg_client *client, uint64_t number)
{
    static char payload[1000];
    struct rg_es_message message = {.topic = "a", .payload = {payload, sizeof(payload)}};
    (void) snprintf(payload, sizeof(payload), "%" PRIu64, number);
    return number % 2 == 0 ? rg_es_publish(client, "a", payload, sizeof(payload))
                           : rg_es_publish_batch(client, "x", &message, 1);
}

/* The socket is full of them when the connection is lost: a part of a frame was written. */
TEST(nothing_is_sent_twice_when_a_connection_is_lost_in_the_middle)
{
    struct fake *fake = fake_new();
    uint64_t number = 2;
    struct rg_options options = {.request_timeout_ms = 100, .reconnect_max_ms = 20};
    fake_handle(fake, BODY(ES_PUBLISH), check_rising);
    struct rg_client *client = fake_client(fake, &options);
    for (int round = 0; round < 3; round++) {
        fake_lock(fake); /* it reads no more */
        int result = 0;
        while (result == 0) {
            result = publish_number(client, number);
            number += result == 0 ? 1 : 0;
        }
        ck_assert_int_eq(result, RG_ERR_AGAIN);
        fake_hang_up(fake);
        fake_unlock(fake);
        fake_await_connections(fake, (unsigned) round + 2);
        flush(client);
    }
    publish(client, "a", "1000000");
    fake_await(fake, saw_the_last);
    fake_lock(fake);
    ck_assert_uint_gt(fake->es_messages, 4000); /* at least what waited the last time */
    fake_unlock(fake);
    rg_close(&client);
    fake_destroy(&fake);
}

static void never(void *ud, int result, bool more, const struct rg_es_delivery *reply)
{
    (void) ud;
    (void) result;
    (void) more;
    (void) reply;
    ck_abort_msg("it was not asked");
}

static bool saw_eleven(const struct fake *fake)
{
    return fake->es_messages >= 11;
}

TEST(a_full_send_buffer_holds_up_its_caller_and_then_says_so)
{
    struct fake *fake = fake_new();
    static char payload[1000];
    atomic_int downs = 0;
    struct rg_options options = {.send_buffer_bytes = 10000,
                                 .request_timeout_ms = 50,
                                 .on_state = note_state,
                                 .ud = &downs,
                                 .reconnect_max_ms = 20};
    struct rg_client *client = fake_client(fake, &options);
    refuse_connections(fake, true);
    await_down(&downs, 1);
    unsigned count = 0;
    int result = 0;
    while ((result = rg_es_publish(client, "a", payload, sizeof(payload))) == 0) {
        count++;
    }
    ck_assert_int_eq(result, RG_ERR_CLOSED);
    ck_assert_uint_eq(count, 10);
    struct rg_es_message message = {.topic = "a"};
    ck_assert_int_eq(rg_request_async(client, &message, NULL, never, NULL, NULL), RG_ERR_CLOSED);
    ck_assert_int_eq(rg_reply(client, (struct rg_bytes){"r", 1}, "", 0), RG_ERR_CLOSED);
    refuse_connections(fake, false);
    flush(client);
    ck_assert_int_eq(rg_es_publish(client, "a", payload, sizeof(payload)), 0);
    fake_await(fake, saw_eleven); /* closing waits only as long as a request */
    rg_close(&client);
    fake_lock(fake);
    ck_assert_uint_eq(fake->es_messages, 11);
    fake_unlock(fake);
    fake_destroy(&fake);
}

static void *publish_many(void *ud)
{
    struct rg_client *client = ud;
    for (int i = 0; i < 20000; i++) {
        ck_assert_int_eq(rg_es_publish(client, i % 3 == 0 ? "a" : "b", "0123456789", 10), 0);
    }
    return NULL;
}

TEST(threads_publish_side_by_side)
{
    struct fake *fake = fake_new();
    pthread_t threads[4];
    struct rg_options options = {.send_buffer_bytes = 100000};
    struct rg_client *client = fake_client(fake, &options);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, publish_many, client), 0);
    }
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
    rg_close(&client);
    fake_lock(fake);
    ck_assert_uint_eq(fake->es_messages, 80000);
    fake_unlock(fake);
    fake_destroy(&fake);
}

/* --- namespaces and exchanges --- */

static bool check_hello(struct fake *fake, const struct frame_view *view)
{
    Railgun__Hello *hello = NULL;
    ck_assert_int_eq(SCAN_UNPACK(view->body, railgun__hello, &hello), 0);
    ck_assert_str_eq(hello->namespace_, "north");
    fake->es_messages++;
    SCAN_FREE(&hello);
    return false;
}

TEST(the_namespace_goes_in_hello)
{
    struct fake *fake = fake_new();
    struct rg_client *client = NULL;
    char name[] = "north";
    struct rg_options options = {.namespace_ = "no way"};
    ck_assert_int_eq(rg_connect(fake->address, &options, &client), RG_ERR_USAGE);
    options.namespace_ = name;
    fake_handle(fake, BODY(HELLO), check_hello);
    client = fake_client(fake, &options);
    name[0] = 's'; /* it was copied */
    fake_lock(fake);
    fake_hang_up(fake);
    fake_unlock(fake);
    fake_await_connections(fake, 2);
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    rg_close(&client);
    fake_lock(fake);
    ck_assert_uint_eq(fake->es_messages, 2);
    fake_unlock(fake);
    fake_destroy(&fake);
}

static bool ensure_exchange(struct fake *fake, const struct frame_view *view)
{
    Railgun__Ensure *ensure = NULL;
    Railgun__EnsureOk ok = RAILGUN__ENSURE_OK__INIT;
    ck_assert_int_eq(SCAN_UNPACK(view->body, railgun__ensure, &ensure), 0);
    ck_assert_int_eq(ensure->kind, RAILGUN__KIND__KIND_EXCHANGE);
    ck_assert_str_eq(ensure->name, "trams");
    if (ensure->has_version) {
        ck_assert_uint_eq(ensure->version, 2);
        ck_assert_uint_eq(ensure->exchange->max_topics, 7);
        ck_assert_uint_eq(ensure->exchange->max_fanout, 8);
        ck_assert_str_eq(ensure->exchange->description, "all of them");
        ck_assert(!ensure->exchange->has_max_subscriptions);
    }
    ok.has_result = true;
    ok.result = RAILGUN__ENSURE_OK__RESULT__CREATED;
    fake_send_message(fake, 0, view->corr, BODY(ENSURE_OK), &ok.base);
    SCAN_FREE(&ensure);
    return true;
}

static bool delete_exchange(struct fake *fake, const struct frame_view *view)
{
    Railgun__Delete *request = NULL;
    ck_assert_int_eq(SCAN_UNPACK(view->body, railgun__delete, &request), 0);
    ck_assert_int_eq(request->kind, RAILGUN__KIND__KIND_EXCHANGE);
    ck_assert_str_eq(request->name, "trams");
    fake_send(fake, 0, view->corr, BODY(DELETE_OK), (struct span){0});
    SCAN_FREE(&request);
    return true;
}

TEST(exchanges_are_ensured_and_deleted)
{
    struct fake *fake = fake_new();
    enum rg_ensure_result result = RG_DIFFERS;
    struct rg_exchange_spec spec = {
        .version = 2, .description = "all of them", .max_topics = 7, .max_fanout = 8};
    fake_handle(fake, BODY(ENSURE), ensure_exchange);
    fake_handle(fake, BODY(DELETE), delete_exchange);
    struct rg_client *client = fake_client(fake, NULL);
    ck_assert_int_eq(rg_exchange_ensure(client, "trams", NULL, NULL), 0);
    ck_assert_int_eq(rg_exchange_ensure(client, "trams", &spec, &result), 0);
    ck_assert_int_eq(result, RG_CREATED);
    ck_assert_int_eq(rg_exchange_delete(client, "trams"), 0);
    ck_assert_int_eq(rg_exchange_ensure(client, NULL, NULL, NULL), RG_ERR_USAGE);
    ck_assert_int_eq(rg_exchange_delete(client, NULL), RG_ERR_USAGE);
    rg_close(&client);
    fake_destroy(&fake);
}
