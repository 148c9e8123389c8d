/* Publishing: order, batches, windows, outcomes. */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "client/railgun.h"
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/batch.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"
#include "tests/lib/test.h"
#include "tests/unit/client/fake.h"

/* Results in the order in which they came. Written by the I/O thread, read after rg_flush or rg_close. */
struct results {
    size_t count;
    int codes[4096];
    uint64_t offsets[4096];
};

static void note(void *ud, int result, uint64_t offset)
{
    struct results *results = ud;
    results->codes[results->count] = result;
    results->offsets[results->count] = offset;
    results->count++;
}

static bool say_nothing(struct fake *fake, const struct frame_view *view)
{
    (void) fake;
    (void) view;
    return true;
}

static void publish_text(struct rg_client *client, const char *stream, const char *text,
                         struct results *results)
{
    struct rg_message message = {.payload = {text, strlen(text)}};
    ck_assert_int_eq(
        rg_publish_async(client, stream, &message, results != NULL ? note : NULL, results), 0);
}

TEST(publishes_one_record_and_gets_its_offset)
{
    struct fake *fake = fake_new();
    fake->keep = true;
    struct rg_client *client = fake_client(fake, NULL);
    uint64_t offset = 0;
    ck_assert_int_eq(rg_publish(client, "s", "hello", 5, &offset), 0);
    ck_assert_uint_eq(offset, 1);
    ck_assert_int_eq(rg_publish(client, "s", "again", 5, &offset), 0);
    ck_assert_uint_eq(offset, 2);
    ck_assert_int_eq(rg_publish(client, "s", NULL, 0, NULL), 0);
    rg_close(&client);
    ck_assert_str_eq(buf_text(&fake->stream_log), "s:1 s:1 s:1 ");
    fake_destroy(&fake);
}

TEST(records_arrive_and_complete_in_order)
{
    struct fake *fake = fake_new();
    fake->keep = true;
    struct rg_client *client = fake_client(fake, NULL);
    struct results results = {0};
    char text[32];
    for (int i = 0; i < 4000; i++) {
        (void) snprintf(text, sizeof(text), "r%d", i);
        publish_text(client, "s", text, &results);
    }
    ck_assert_int_eq(rg_flush(client, 30000), 0);
    ck_assert_uint_eq(results.count, 4000);
    struct span rest = buf_span(&fake->stored);
    struct batch_record record;
    for (unsigned i = 0; i < 4000; i++) {
        TEST_ASSERT_FAST(results.codes[i] == 0);
        TEST_ASSERT_FAST(results.offsets[i] == i + 1);
        TEST_ASSERT_FAST(batch_next(&rest, &record) == 1);
        (void) snprintf(text, sizeof(text), "r%u", i);
        TEST_ASSERT_FAST(span_is(record.payload, text));
    }
    ck_assert_uint_lt(fake_frames(fake, BODY(PUBLISH)), 4000);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(batches_grow_while_others_are_on_their_way)
{
    struct fake *fake = fake_new();
    fake->keep = true;
    fake_handle(fake, BODY(PUBLISH), say_nothing);
    struct rg_client *client = fake_client(fake, NULL);
    for (unsigned i = 1; i <= 4; i++) { /* four go out at once */
        publish_text(client, "s", "x", NULL);
        fake_await_frames(fake, BODY(PUBLISH), i);
    }
    for (unsigned i = 0; i < 100; i++) { /* these wait and become one */
        publish_text(client, "s", "x", NULL);
    }
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    ck_assert_uint_eq(fake_frames(fake, BODY(PUBLISH)), 4);
    fake_lock(fake);
    uint64_t corr = fake->last_corr;
    fake->handlers[BODY(PUBLISH)] = NULL;
    for (uint64_t i = 0; i < 4; i++) {
        fake_send_publish_ok(fake, corr - 4 + i, 1 + i, 1);
    }
    fake->next_offset = 5;
    fake_unlock(fake);
    ck_assert_int_eq(rg_flush(client, 30000), 0);
    ck_assert_str_eq(buf_text(&fake->stream_log), "s:100 ");
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(each_stream_without_a_batch_on_its_way_sends_at_once)
{
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(PUBLISH), say_nothing);
    struct rg_options options = {.request_timeout_ms = 1000}; /* all are sent in it */
    struct rg_client *client = fake_client(fake, &options);
    char name[32];
    for (unsigned i = 0; i < 50; i++) {
        (void) snprintf(name, sizeof(name), "stream-%u", i);
        publish_text(client, name, "x", NULL);
    }
    fake_await_frames(fake, BODY(PUBLISH), 50);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(a_full_batch_goes_out_whatever_is_on_its_way)
{
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(PUBLISH), say_nothing);
    struct rg_options options = {.batch_records = 10, .request_timeout_ms = 1000};
    struct rg_client *client = fake_client(fake, &options);
    for (unsigned i = 0; i < 100; i++) {
        publish_text(client, "s", "x", NULL);
    }
    fake_await_frames(fake, BODY(PUBLISH), 10);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(lingering_gathers_what_comes_in_time)
{
    struct fake *fake = fake_new();
    fake->keep = true;
    struct rg_options options = {.linger_us = 100000};
    struct rg_client *client = fake_client(fake, &options);
    for (unsigned i = 0; i < 20; i++) {
        publish_text(client, "s", "x", NULL);
    }
    fake_await_frames(fake, BODY(PUBLISH), 1);
    rg_close(&client);
    ck_assert_str_eq(buf_text(&fake->stream_log), "s:20 ");
    fake_destroy(&fake);
}

TEST(waiting_and_background_publishes_keep_their_order)
{
    struct fake *fake = fake_new();
    fake->keep = true;
    struct rg_options options = {.linger_us = 1000000};
    struct rg_client *client = fake_client(fake, &options);
    struct rg_message batch[2] = {{.payload = {"c", 1}}, {.payload = {"d", 1}}};
    uint64_t offset = 0;
    publish_text(client, "s", "a", NULL);
    ck_assert_int_eq(rg_publish(client, "s", "b", 1, &offset), 0);
    ck_assert_uint_eq(offset, 2);
    publish_text(client, "s", "b2", NULL);
    ck_assert_int_eq(rg_publish_batch_async(client, "s", batch, 2, NULL, NULL), 0);
    publish_text(client, "s", "e", NULL);
    ck_assert_int_eq(rg_flush(client, 30000), 0);
    ck_assert_str_eq(buf_text(&fake->stream_log), "s:1 s:1 s:1 s:2 s:1 ");
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(thousands_of_streams_at_once)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    struct results results = {0};
    char name[32];
    for (unsigned i = 0; i < 4000; i++) {
        (void) snprintf(name, sizeof(name), "stream-%u", i % 2000);
        publish_text(client, name, "x", &results);
    }
    ck_assert_int_eq(rg_flush(client, 30000), 0);
    ck_assert_uint_eq(results.count, 4000);
    ck_assert_uint_eq(fake_records(fake), 4000);
    rg_close(&client);
    fake_destroy(&fake);
}

/* --- what is in a message --- */

static bool take_rich(struct fake *fake, const struct frame_view *view)
{
    struct hot_publish publish;
    struct batch_record record;
    struct span name;
    struct span value;
    ck_assert_int_eq(hot_publish_read(view->body, &publish), 0);
    ck_assert(publish.atomic);
    ck_assert(publish.has_expect);
    struct hot_expect expect;
    ck_assert_int_eq(hot_expect_read(publish.expect, &expect), 0);
    ck_assert_int_eq(expect.kind, HOT_EXPECT_NEXT_OFFSET);
    ck_assert_uint_eq(expect.next_offset, 42);
    ck_assert_int_eq(batch_next(&publish.batch, &record), 1);
    ck_assert(span_is(record.payload, "payload"));
    ck_assert(span_is(record.id, "id"));
    ck_assert(span_is(record.key, "key"));
    struct span rest = record.raw;
    ck_assert_int_eq(batch_header_next(&rest, &name, &value), 1);
    ck_assert(span_is(name, "h1") && span_is(value, "v1"));
    ck_assert_int_eq(batch_header_next(&rest, &name, &value), 1);
    ck_assert(span_is(name, "h2") && span_is(value, ""));
    ck_assert_int_eq(batch_header_next(&rest, &name, &value), 0);
    struct buf body = {0};
    pb_append_varint(&body, 1, 412);
    pb_append_bytes(&body, 3, span_of("it is 50"));
    pb_append_varint(&body, 5, 50);
    fake_send(fake, 0, view->corr, BODY(ERROR), buf_span(&body));
    buf_release(&body);
    return true;
}

TEST(all_parts_of_a_message_and_an_expectation_are_sent)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    fake_handle(fake, BODY(PUBLISH), take_rich);
    struct rg_header headers[2] = {{{"h1", 2}, {"v1", 2}}, {{"h2", 2}, {NULL, 0}}};
    struct rg_message message = {.payload = {"payload", 7},
                                 .id = {"id", 2},
                                 .key = {"key", 3},
                                 .headers = headers,
                                 .header_count = 2};
    struct rg_expect expect = {.what = RG_EXPECT_NEXT_OFFSET, .next_offset = 42};
    struct rg_published published = {0};
    ck_assert_int_eq(rg_publish_batch(client, "s", &message, 1, &expect, &published),
                     RG_ERR_WRONG_OFFSET);
    ck_assert_uint_eq(published.next_offset, 50);
    ck_assert_str_eq(rg_last_error(client), "it is 50");
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(what_is_too_large_is_refused_before_it_is_sent)
{
    struct fake *fake = fake_new();
    fake->record_max = 1000;
    struct rg_client *client = fake_client(fake, NULL);
    static char big[20000];
    char id[129] = {0};
    struct rg_header headers[33] = {{{0}, {0}}};
    struct rg_message message = {.payload = {big, 1001}};
    ck_assert_int_eq(rg_publish_async(client, "s", &message, NULL, NULL), RG_ERR_TOO_LARGE);
    ck_assert_int_eq(rg_publish(client, "s", big, 1001, NULL), RG_ERR_TOO_LARGE);
    message = (struct rg_message){.id = {id, 129}};
    ck_assert_int_eq(rg_publish_async(client, "s", &message, NULL, NULL), RG_ERR_TOO_LARGE);
    message = (struct rg_message){.headers = headers, .header_count = 33};
    ck_assert_int_eq(rg_publish_async(client, "s", &message, NULL, NULL), RG_ERR_TOO_LARGE);
    headers[0] = (struct rg_header){{"n", 1}, {big, 20000}};
    message = (struct rg_message){.headers = headers, .header_count = 1};
    ck_assert_int_eq(rg_publish_async(client, "s", &message, NULL, NULL), RG_ERR_TOO_LARGE);
    headers[0] = (struct rg_header){{"\xff", 1}, {"", 0}};
    ck_assert_int_eq(rg_publish_async(client, "s", &message, NULL, NULL), RG_ERR_BAD_REQUEST);
    ck_assert_int_eq(rg_publish(client, "s", big, 990, NULL), 0);
    rg_close(&client);
    ck_assert_uint_eq(fake_frames(fake, BODY(PUBLISH)), 1);
    fake_destroy(&fake);
}

TEST(a_batch_beyond_the_servers_window_is_refused)
{
    struct fake *fake = fake_new();
    fake->publish_window = 100000;
    struct rg_client *client = fake_client(fake, NULL);
    static char big[60000];
    struct rg_message messages[2] = {{.payload = {big, 60000}}, {.payload = {big, 60000}}};
    ck_assert_int_eq(rg_publish_batch(client, "s", messages, 2, NULL, NULL), RG_ERR_TOO_LARGE);
    ck_assert_int_eq(rg_publish_batch_async(client, "s", messages, 2, NULL, NULL),
                     RG_ERR_TOO_LARGE);
    ck_assert_int_eq(rg_publish_batch(client, "s", messages, 1, NULL, NULL), 0);
    ck_assert_int_eq(rg_flush(client, 30000), 0);
    rg_close(&client);
    fake_destroy(&fake);
}

/* --- windows --- */

struct window {
    uint64_t open;
    uint64_t most;
    uint64_t corrs[256];
    uint64_t bytes[256];
    uint32_t counts[256];
    size_t held;
};

static bool hold_all(struct fake *fake, const struct frame_view *view)
{
    struct window *window = fake->ud;
    window->corrs[window->held] = view->corr;
    window->bytes[window->held] = view->body.size;
    window->counts[window->held] = fake_count(view->body);
    window->open += view->body.size;
    window->most = window->open > window->most ? window->open : window->most;
    window->held++;
    return true;
}

/* Answer everything that is held. */
static void release_all(struct fake *fake, struct window *window)
{
    for (size_t i = 0; i < window->held; i++) {
        window->open -= window->bytes[i];
        fake_send_publish_ok(fake, window->corrs[i], fake->next_offset, window->counts[i]);
        fake->next_offset += window->counts[i];
    }
    window->held = 0;
}

static bool all_is_there(const struct fake *fake)
{
    return fake->next_offset == 2001;
}

static bool something_is_held_or_over(const struct fake *fake)
{
    const struct window *window = fake->ud;
    return window->held != 0 || all_is_there(fake);
}

TEST(the_servers_window_is_never_exceeded)
{
    struct fake *fake = fake_new();
    struct window window = {0};
    fake->ud = &window;
    fake->publish_window = 20000;
    fake_handle(fake, BODY(PUBLISH), hold_all);
    struct rg_client *client = fake_client(fake, NULL);
    static char bytes[100];
    struct rg_message message = {.payload = {bytes, 100}};
    for (unsigned i = 0; i < 2000; i++) {
        ck_assert_int_eq(rg_publish_async(client, "s", &message, NULL, NULL), 0);
    }
    bool is_over = false;
    while (!is_over) {
        fake_await(fake, something_is_held_or_over);
        fake_lock(fake);
        release_all(fake, &window);
        is_over = all_is_there(fake);
        fake_unlock(fake);
    }
    ck_assert_int_eq(rg_flush(client, 30000), 0);
    ck_assert_uint_le(window.most, 20000);
    ck_assert_uint_gt(window.most, 9000); /* and it is made use of */
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(a_closed_window_opens_by_credit)
{
    struct fake *fake = fake_new();
    fake->publish_window = 0;
    struct rg_client *client = fake_client(fake, NULL);
    publish_text(client, "s", "x", NULL);
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    ck_assert_uint_eq(fake_frames(fake, BODY(PUBLISH)), 0);
    struct buf body = {0};
    pb_append_varint(&body, 2, 1000);
    fake_lock(fake);
    fake_send(fake, 0, 0, BODY(CREDIT), buf_span(&body));
    fake_unlock(fake);
    ck_assert_int_eq(rg_flush(client, 30000), 0);
    buf_release(&body);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(what_the_server_never_let_through_is_certainly_not_stored)
{
    struct fake *fake = fake_new();
    fake->publish_window = 0;
    struct rg_options options = {.request_timeout_ms = 100};
    struct rg_client *client = fake_client(fake, &options);
    struct results results = {0};
    publish_text(client, "s", "x", &results);
    ck_assert_int_eq(rg_publish(client, "s", "y", 1, NULL), RG_ERR_OVERLOADED);
    ck_assert_int_eq(rg_flush(client, 30000), RG_ERR_OVERLOADED);
    ck_assert_uint_eq(results.count, 1);
    ck_assert_int_eq(results.codes[0], RG_ERR_OVERLOADED);
    rg_close(&client);
    fake_destroy(&fake);
}

struct refill {
    struct rg_client *client;
    int result;
};

static void fill_window(void *ud, int result, uint64_t offset)
{
    struct refill *refill = ud;
    struct rg_message message = {.payload = {"x", 1}};
    (void) result;
    (void) offset;
    for (unsigned i = 0; i < 20 && refill->result == 0; i++) {
        refill->result = rg_publish_async(refill->client, "s", &message, NULL, NULL);
    }
}

TEST(a_full_window_is_said_inside_a_callback)
{
    struct fake *fake = fake_new();
    struct rg_options options = {.window_records = 8};
    struct refill refill = {.client = fake_client(fake, &options)};
    struct rg_message message = {.payload = {"x", 1}};
    ck_assert_int_eq(rg_publish_async(refill.client, "s", &message, fill_window, &refill), 0);
    ck_assert_int_eq(rg_flush(refill.client, 5000), 0);
    ck_assert_int_eq(refill.result, RG_ERR_AGAIN);
    rg_close(&refill.client);
    fake_destroy(&fake);
}

TEST(a_full_window_makes_publishers_wait)
{
    struct fake *fake = fake_new();
    struct rg_options options = {.window_records = 16, .batch_records = 4};
    struct rg_client *client = fake_client(fake, &options);
    struct results results = {0};
    for (unsigned i = 0; i < 2000; i++) {
        publish_text(client, "s", "x", &results);
    }
    ck_assert_int_eq(rg_flush(client, 30000), 0);
    ck_assert_uint_eq(results.count, 2000);
    rg_close(&client);
    fake_destroy(&fake);
}

/* --- outcomes --- */

static bool refuse_stream(struct fake *fake, const struct frame_view *view)
{
    fake_send_error(fake, 0, view->corr, ERR_ENSURE_FIRST, "no stream of that name");
    return true;
}

TEST(a_refused_publish_is_reported_as_it_is)
{
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(PUBLISH), refuse_stream);
    struct rg_client *client = fake_client(fake, NULL);
    struct results results = {0};
    ck_assert_int_eq(rg_publish(client, "s", "x", 1, NULL), RG_ERR_ENSURE_FIRST);
    ck_assert_str_eq(rg_last_error(client), "no stream of that name");
    publish_text(client, "s", "x", &results);
    publish_text(client, "s", "y", NULL);
    ck_assert_int_eq(rg_flush(client, 30000), RG_ERR_ENSURE_FIRST);
    ck_assert_int_eq(rg_flush(client, 30000), 0); /* told once */
    ck_assert_int_eq(results.codes[0], RG_ERR_ENSURE_FIRST);
    rg_close(&client);
    fake_destroy(&fake);
}

/* Of three, the first is a duplicate of 7, the second is too large, the third is stored. */
static bool answer_mixed(struct fake *fake, const struct frame_view *view)
{
    struct buf body = {0};
    struct buf one = {0};
    pb_append_varint(&body, 1, 100);
    pb_append_varint(&body, 2, fake_count(view->body) - 2);
    pb_append_varint(&one, 1, 0);
    pb_append_varint(&one, 2, 200);
    pb_append_varint(&one, 3, 7);
    pb_append_bytes(&body, 4, buf_span(&one));
    buf_reset(&one);
    pb_append_varint(&one, 1, 1);
    pb_append_varint(&one, 2, 413);
    pb_append_bytes(&body, 4, buf_span(&one));
    fake_send(fake, 0, view->corr, BODY(PUBLISH_OK), buf_span(&body));
    buf_release(&one);
    buf_release(&body);
    return true;
}

TEST(records_of_one_batch_may_fare_differently)
{
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(PUBLISH), answer_mixed);
    struct rg_options options = {.linger_us = 1000000};
    struct rg_client *client = fake_client(fake, &options);
    struct results results = {0};
    publish_text(client, "s", "a", &results);
    publish_text(client, "s", "b", &results);
    publish_text(client, "s", "c", &results);
    publish_text(client, "s", "d", &results);
    ck_assert_int_eq(rg_flush(client, 30000), RG_ERR_TOO_LARGE);
    ck_assert_uint_eq(results.count, 4);
    ck_assert_int_eq(results.codes[0], 0);
    ck_assert_uint_eq(results.offsets[0], 7);
    ck_assert_int_eq(results.codes[1], RG_ERR_TOO_LARGE);
    ck_assert_uint_eq(results.offsets[2], 100);
    ck_assert_uint_eq(results.offsets[3], 101);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool count_wrongly(struct fake *fake, const struct frame_view *view)
{
    if (fake->connections > 1) {
        return false;
    }
    fake_send_publish_ok(fake, view->corr, 1, 77);
    return true;
}

TEST(an_answer_for_another_number_of_records_is_a_protocol_error)
{
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(PUBLISH), count_wrongly);
    struct rg_options options = {.reconnect_min_ms = 1};
    struct rg_client *client = fake_client(fake, &options);
    ck_assert_int_eq(rg_publish(client, "s", "x", 1, NULL), RG_ERR_TIMEOUT);
    ck_assert_int_eq(rg_publish(client, "s", "x", 1, NULL), 0);
    ck_assert_uint_eq(fake_connections(fake), 2);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(answers_in_another_order_complete_in_order)
{
    struct fake *fake = fake_new();
    struct window window = {0};
    fake->ud = &window;
    fake_handle(fake, BODY(PUBLISH), hold_all);
    struct rg_client *client = fake_client(fake, NULL);
    struct results results = {0};
    publish_text(client, "s", "a", &results);
    fake_await_frames(fake, BODY(PUBLISH), 1);
    publish_text(client, "s", "b", &results);
    fake_await_frames(fake, BODY(PUBLISH), 2);
    fake_lock(fake);
    fake_send_publish_ok(fake, window.corrs[1], 2, 1);
    fake_unlock(fake);
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    ck_assert_uint_eq(results.count, 0);
    fake_lock(fake);
    fake_send_publish_ok(fake, window.corrs[0], 1, 1);
    fake_unlock(fake);
    ck_assert_int_eq(rg_flush(client, 30000), 0);
    ck_assert_uint_eq(results.offsets[0], 1);
    ck_assert_uint_eq(results.offsets[1], 2);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool is_connected_again(const struct fake *fake)
{
    return fake->connections == 2;
}

/* From then on it stores; returns when the client has noticed: a flush before would send what waits on the lost connection. */
static void hang_up_and_store(struct fake *fake)
{
    fake_lock(fake);
    fake->handlers[BODY(PUBLISH)] = NULL;
    fake->keep = true;
    fake_hang_up(fake);
    fake_unlock(fake);
    fake_await(fake, is_connected_again);
}

TEST(what_was_sent_before_the_loss_is_unknown_and_what_was_not_is_sent_again)
{
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(PUBLISH), say_nothing);
    struct rg_options options = {.reconnect_min_ms = 1};
    struct rg_client *client = fake_client(fake, &options);
    struct results sent = {0};
    struct results kept = {0};
    for (unsigned i = 1; i <= 4; i++) {
        publish_text(client, "s", "sent", &sent);
        fake_await_frames(fake, BODY(PUBLISH), i);
    }
    publish_text(client, "s", "kept", &kept); /* waits for the others */
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    ck_assert_uint_eq(fake_frames(fake, BODY(PUBLISH)), 4);
    hang_up_and_store(fake);
    ck_assert_int_eq(rg_flush(client, 30000), RG_ERR_TIMEOUT);
    ck_assert_uint_eq(sent.count, 4);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_int_eq(sent.codes[i], RG_ERR_TIMEOUT);
    }
    ck_assert_uint_eq(kept.count, 1);
    ck_assert_int_eq(kept.codes[0], 0);
    ck_assert_str_eq(buf_text(&fake->stream_log), "s:1 ");
    rg_close(&client);
    fake_destroy(&fake);
}

/* More than the system's buffers hold is published to a server that reads nothing, so one frame is cut when it hangs up. */
TEST(a_frame_that_was_cut_is_sent_again_whole)
{
    struct fake *fake = fake_new();
    fake->publish_window = 256 << 20;
    struct rg_options options = {
        .reconnect_min_ms = 1, .window_bytes = 256 << 20, .request_timeout_ms = 50000};
    struct rg_client *client = fake_client(fake, &options);
    enum { BATCHES = 40, PAYLOAD = 1 << 20 };
    char *big = mem_new(PAYLOAD);
    struct rg_message message = {.payload = {big, PAYLOAD - 100}};
    struct results results = {0};
    fake_lock(fake); /* it reads once more, then waits for us */
    for (unsigned i = 0; i < BATCHES; i++) {
        ck_assert_int_eq(rg_publish_async(client, "s", &message, note, &results), 0);
    }
    fake_hang_up(fake);
    fake_unlock(fake);
    fake_await(fake, is_connected_again);
    int result = rg_flush(client, 30000);
    ck_assert(result == 0 || result == RG_ERR_TIMEOUT);
    ck_assert_uint_eq(results.count, BATCHES);
    unsigned stored = 0;
    for (size_t i = 0; i < BATCHES; i++) {
        ck_assert(results.codes[i] == 0 || results.codes[i] == RG_ERR_TIMEOUT);
        ck_assert(i == 0 || results.codes[i - 1] != 0 || results.codes[i] == 0);
        stored += results.codes[i] == 0;
    }
    ck_assert_uint_gt(stored, BATCHES / 2);
    mem_free(big);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool hang_up_on_publish(struct fake *fake, const struct frame_view *view)
{
    if (fake->connections > 1) {
        return false;
    }
    (void) view;
    fake_hang_up(fake);
    return true;
}

TEST(a_waiting_publish_ends_with_the_connection)
{
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(PUBLISH), hang_up_on_publish);
    struct rg_options options = {.reconnect_min_ms = 1};
    struct rg_client *client = fake_client(fake, &options);
    struct rg_message message = {.payload = {"x", 1}};
    struct rg_expect expect = {.what = RG_EXPECT_NEXT_OFFSET, .next_offset = 1};
    ck_assert_int_eq(rg_publish_batch(client, "s", &message, 1, &expect, NULL), RG_ERR_TIMEOUT);
    ck_assert_int_eq(rg_publish(client, "s", "x", 1, NULL), 0);
    ck_assert_uint_eq(fake_records(fake), 1); /* the first was not repeated */
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(a_server_that_hangs_does_not_hold_publishers_for_ever)
{
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(PUBLISH), say_nothing);
    struct rg_options options = {.request_timeout_ms = 1000, .window_records = 8};
    struct rg_client *client = fake_client(fake, &options);
    struct results results = {0};
    for (unsigned i = 0; i < 40; i++) {
        publish_text(client, "s", "x", &results);
    }
    ck_assert_int_eq(rg_publish(client, "t", "x", 1, NULL), RG_ERR_TIMEOUT);
    ck_assert_int_eq(rg_flush(client, 30000), RG_ERR_TIMEOUT);
    ck_assert_uint_eq(results.count, 40);
    ck_assert_uint_eq(fake_connections(fake), 1); /* other streams may be fine */
    fake_handle(fake, BODY(PUBLISH), NULL);
    ck_assert_int_eq(rg_publish(client, "t", "x", 1, NULL), 0);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(a_late_answer_frees_the_window_and_is_not_reported_again)
{
    struct fake *fake = fake_new();
    struct window window = {0};
    fake->ud = &window;
    fake->publish_window = 2000;
    fake_handle(fake, BODY(PUBLISH), hold_all);
    struct rg_options options = {.request_timeout_ms = 1000};
    struct rg_client *client = fake_client(fake, &options);
    static char bytes[1000];
    ck_assert_int_eq(rg_publish(client, "s", bytes, 900, NULL), RG_ERR_TIMEOUT);
    /* The server still counts the first: a second of that size fits no more. */
    ck_assert_int_eq(rg_publish(client, "s", bytes, 950, NULL), RG_ERR_TIMEOUT);
    ck_assert_int_eq(rg_publish(client, "s", bytes, 950, NULL), RG_ERR_OVERLOADED);
    fake_lock(fake);
    fake->handlers[BODY(PUBLISH)] = NULL;
    release_all(fake, &window);
    fake_unlock(fake);
    ck_assert_int_eq(rg_publish(client, "s", bytes, 950, NULL), 0);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(closing_sends_what_waits_and_calls_every_completion)
{
    struct fake *fake = fake_new();
    struct rg_options options = {.linger_us = 10000000};
    struct rg_client *client = fake_client(fake, &options);
    struct results results = {0};
    for (unsigned i = 0; i < 100; i++) {
        publish_text(client, "s", "x", &results);
    }
    rg_close(&client);
    ck_assert_uint_eq(results.count, 100);
    ck_assert_uint_eq(fake_records(fake), 100);
    fake_destroy(&fake);
}

TEST(closing_without_a_server_ends_in_time)
{
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(PUBLISH), say_nothing);
    struct rg_options options = {.request_timeout_ms = 1000};
    struct rg_client *client = fake_client(fake, &options);
    struct results results = {0};
    publish_text(client, "s", "x", &results);
    fake_await_frames(fake, BODY(PUBLISH), 1);
    rg_close(&client);
    ck_assert_uint_eq(results.count, 1);
    ck_assert_int_eq(results.codes[0], RG_ERR_TIMEOUT);
    fake_destroy(&fake);
}

static void note_batch(void *ud, int result, const struct rg_published *published)
{
    struct results *results = ud;
    results->codes[results->count] = result;
    results->offsets[results->count] = published->base_offset * 1000 + published->count;
    results->count++;
}

TEST(batches_in_the_background_have_one_completion_each)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_message messages[3] = {
        {.payload = {"a", 1}}, {.payload = {"b", 1}}, {.payload = {NULL, 0}}};
    struct results results = {0};
    for (unsigned i = 0; i < 100; i++) {
        ck_assert_int_eq(rg_publish_batch_async(client, "s", messages, 3, note_batch, &results), 0);
    }
    ck_assert_int_eq(rg_flush(client, 30000), 0);
    ck_assert_uint_eq(results.count, 100);
    for (unsigned i = 0; i < 100; i++) {
        TEST_ASSERT_FAST(results.codes[i] == 0);
        TEST_ASSERT_FAST(results.offsets[i] == (1 + 3 * i) * 1000 + 3);
    }
    rg_close(&client);
    fake_destroy(&fake);
}

struct publisher {
    struct rg_client *client;
    const char *stream;
    unsigned count;
};

static void *publish_many(void *ud)
{
    struct publisher *publisher = ud;
    struct rg_message message = {.payload = {"x", 1}};
    for (unsigned i = 0; i < publisher->count; i++) {
        int result = i % 50 == 0 ? rg_publish(publisher->client, publisher->stream, "y", 1, NULL)
                                 : rg_publish_async(publisher->client, publisher->stream, &message,
                                                    NULL, NULL);
        TEST_ASSERT_FAST(result == 0);
    }
    return NULL;
}

TEST(many_threads_publish_at_once)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    struct publisher publishers[4] = {
        {client, "a", 1000}, {client, "a", 1000}, {client, "b", 1000}, {client, "c", 1000}};
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, publish_many, &publishers[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    ck_assert_int_eq(rg_flush(client, 30000), 0);
    ck_assert_uint_eq(fake_records(fake), 4000);
    rg_close(&client);
    fake_destroy(&fake);
}

/* The connection is lost again and again while much is published: each record has exactly one outcome, in order. */
TEST_WITHIN(outcomes_are_complete_when_connections_come_and_go, 60)
{
    struct fake *fake = fake_new();
    struct rg_options options = {
        .reconnect_min_ms = 1, .reconnect_max_ms = 2, .batch_records = 8, .window_records = 64};
    struct rg_client *client = fake_client(fake, &options);
    struct results results = {0};
    for (unsigned i = 0; i < 4000; i++) {
        publish_text(client, "s", "x", &results);
        if (i % 400 == 399) {
            fake_lock(fake);
            fake_hang_up(fake);
            fake_unlock(fake);
        }
    }
    int result = rg_flush(client, 10000);
    ck_assert(result == 0 || result == RG_ERR_TIMEOUT);
    ck_assert_uint_eq(results.count, 4000);
    uint64_t stored = 0;
    uint64_t last = 0;
    for (unsigned i = 0; i < 4000; i++) {
        TEST_ASSERT_FAST(results.codes[i] == 0 || results.codes[i] == RG_ERR_TIMEOUT);
        if (results.codes[i] == 0) {
            TEST_ASSERT_FAST(results.offsets[i] > last);
            last = results.offsets[i];
            stored++;
        }
    }
    ck_assert_uint_le(stored, fake_records(fake));
    ck_assert_uint_ge(stored, 2000);
    rg_close(&client);
    fake_destroy(&fake);
}
