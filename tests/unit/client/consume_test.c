/* Consuming: pulling, pushing, credit, acknowledgements, re-attaching. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/railgun.h"
#include "common/base/err.h"
#include "common/wire/batch.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"
#include "tests/unit/client/fake.h"

static struct rg_consumer *join(struct rg_client *client, const struct rg_consume_options *options)
{
    struct rg_consumer *consumer = NULL;
    int result = rg_consume(client, "s", "g", options, &consumer);
    ck_assert_msg(result == 0, "rg_consume: %d %s", result, rg_last_error(client));
    return consumer;
}

static void deliver(struct fake *fake, uint64_t base, uint32_t count)
{
    fake_lock(fake);
    fake_deliver(fake, base, count);
    fake_unlock(fake);
}

static void expect_message(struct rg_consumer *consumer, uint64_t offset)
{
    struct rg_record record;
    char text[32];
    int result = rg_consumer_next(consumer, 30000, &record);
    ck_assert_msg(result == 0, "%d at %" PRIu64, result, offset);
    ck_assert_uint_eq(record.offset, offset);
    (void) snprintf(text, sizeof(text), "m%" PRIu64, offset);
    ck_assert_mem_eq(record.payload.data, text, strlen(text));
    ck_assert_uint_eq(record.attempt, 1);
}

TEST(messages_are_pulled_in_order_and_acknowledged_as_ranges)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_consumer *consumer = join(client, NULL);
    struct rg_record record;
    ck_assert_int_eq(rg_consumer_next(consumer, 0, &record), RG_ERR_AGAIN);
    deliver(fake, 1, 5);
    deliver(fake, 6, 3);
    for (uint64_t offset = 1; offset < 9; offset++) {
        expect_message(consumer, offset);
    }
    ck_assert_int_eq(rg_ack_sync(consumer, 1, 8), 0);
    fake_await_acks(fake, "s1-8 ");
    ck_assert_int_eq(rg_ack(consumer, 0, 1), RG_ERR_USAGE);
    ck_assert_int_eq(rg_ack(consumer, 2, 1), RG_ERR_USAGE);
    rg_consumer_close(&consumer);
    ck_assert_uint_eq(fake_frames(fake, BODY(CANCEL)), 1);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(neighbouring_acknowledgements_become_one_range)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_consumer *consumer = join(client, NULL);
    deliver(fake, 1, 20);
    expect_message(consumer, 1);
    /* Together with one that waits for its answer they go in one frame. */
    for (uint64_t offset = 2; offset <= 20; offset++) {
        expect_message(consumer, offset);
    }
    ck_assert_int_eq(rg_nack(consumer, 20, 20, 0, true), 0);
    ck_assert_int_eq(rg_ack_sync(consumer, 1, 19), 0);
    rg_consumer_close(&consumer);
    fake_lock(fake);
    const char *log = buf_text(&fake->ack_log);
    ck_assert_msg(strcmp(log, "s1-19 n20-20 ") == 0 || strcmp(log, "n20-20 s1-19 ") == 0, "%s",
                  log);
    fake_unlock(fake);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(acknowledgements_go_out_by_themselves)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_consumer *consumer = join(client, NULL);
    deliver(fake, 1, 3);
    expect_message(consumer, 1);
    ck_assert_int_eq(rg_ack(consumer, 1, 1), 0);
    fake_await_acks(fake, "1-1 ");
    expect_message(consumer, 2);
    ck_assert_int_eq(rg_nack(consumer, 2, 2, 5, false), 0);
    fake_await_acks(fake, "1-1 n2-2 ");
    rg_consumer_close(&consumer);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(leaving_sends_what_is_acknowledged)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_consumer *consumer = join(client, NULL);
    deliver(fake, 1, 2);
    expect_message(consumer, 1);
    ck_assert_int_eq(rg_ack(consumer, 1, 1), 0);
    rg_consumer_close(&consumer);
    fake_await_acks(fake, "1-1 ");
    ck_assert_ptr_null(consumer);
    rg_consumer_close(&consumer);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(closing_the_client_sends_what_is_acknowledged)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_consumer *consumer = join(client, NULL);
    struct rg_record record;
    deliver(fake, 1, 2);
    expect_message(consumer, 1);
    ck_assert_int_eq(rg_ack(consumer, 1, 1), 0);
    rg_close(&client);
    fake_await_acks(fake, "1-1 ");
    ck_assert_int_eq(rg_consumer_next(consumer, 30000, &record), RG_ERR_CLOSED);
    ck_assert_int_eq(rg_ack(consumer, 1, 1), 0);
    rg_consumer_close(&consumer);
    fake_destroy(&fake);
}

static bool refuse_ack(struct fake *fake, const struct frame_view *view)
{
    struct buf body = {0};
    struct buf result = {0};
    if (view->corr == 0) {
        return false;
    }
    pb_append_varint(&result, 1, 1);
    pb_append_varint(&result, 2, 2);
    pb_append_varint(&result, 3, 440);
    pb_append_bytes(&body, 1, buf_span(&result));
    fake_send(fake, view->channel, view->corr, BODY(ACK_OK), buf_span(&body));
    buf_release(&result);
    buf_release(&body);
    return true;
}

TEST(a_refused_acknowledgement_is_said)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_consumer *consumer = join(client, NULL);
    fake_handle(fake, BODY(ACK), refuse_ack);
    deliver(fake, 1, 3);
    expect_message(consumer, 1);
    ck_assert_int_eq(rg_ack_sync(consumer, 1, 1), RG_ERR_STALE_DELIVERY);
    ck_assert_ptr_nonnull(strstr(rg_last_error(client), "offsets 1..2"));
    ck_assert_int_eq(rg_ack_sync(consumer, 3, 3), 0); /* the remark is about others */
    ck_assert_int_eq(rg_ack_sync(consumer, 4, 4), RG_ERR_NOT_DELIVERED); /* was never here */
    ck_assert_int_eq(rg_ack_sync(consumer, 3, 3), 0);                    /* again: does no harm */
    rg_consumer_close(&consumer);
    rg_close(&client);
    fake_destroy(&fake);
}

/* --- credit --- */

static bool has_credit_for_4(const struct fake *fake)
{
    return fake->credit >= 4;
}

TEST(credit_comes_back_as_messages_are_taken_and_never_exceeds_the_prefetch)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_consume_options options = {.prefetch_messages = 8};
    struct rg_consumer *consumer = join(client, &options);
    ck_assert_uint_eq(fake_credit(fake), 8);
    uint64_t next = 1;
    uint64_t taken = 1;
    deliver(fake, next, 8);
    next += 8;
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    ck_assert_uint_eq(fake_credit(fake), 0); /* nothing was taken */
    for (unsigned round = 0; round < 200; round++) {
        for (unsigned i = 0; i < 4; i++) {
            expect_message(consumer, taken++);
        }
        fake_await(fake, has_credit_for_4);
        fake_lock(fake);
        TEST_ASSERT_FAST(fake->credit + (next - taken) <= 8);
        fake_deliver(fake, next, 4);
        next += 4;
        fake_unlock(fake);
    }
    rg_consumer_close(&consumer);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(a_server_beyond_its_credit_is_cut_off)
{
    struct fake *fake = fake_new();
    struct rg_options client_options = {.reconnect_min_ms = 1};
    struct rg_client *client = fake_client(fake, &client_options);
    struct rg_consume_options options = {.prefetch_messages = 8};
    struct rg_consumer *consumer = join(client, &options);
    deliver(fake, 1, 9);
    fake_await_frames(fake, BODY(CONSUME), 2);
    ck_assert_uint_eq(fake_connections(fake), 2);
    rg_consumer_close(&consumer);
    rg_close(&client);
    fake_destroy(&fake);
}

static void deliver_mad(struct fake *fake, uint64_t base, uint32_t count, const char *batch)
{
    struct buf body = {0};
    pb_append_varint(&body, 2, base);
    pb_append_varint(&body, 3, count);
    pb_append_bytes(&body, 15, span_of(batch));
    fake_lock(fake);
    fake_send(fake, fake->channel, 0, BODY(DELIVER), buf_span(&body));
    fake_unlock(fake);
    buf_release(&body);
}

TEST(a_malformed_delivery_ends_the_connection)
{
    struct fake *fake = fake_new();
    struct rg_options options = {.reconnect_min_ms = 1};
    struct rg_client *client = fake_client(fake, &options);
    struct rg_consumer *consumer = join(client, NULL);
    static const struct {
        uint64_t base;
        uint32_t count;
        const char *batch;
    } mad[] = {
        {1, 1, "\x0a\x05\x0a\x03\x61"},          {1, 2, "\x0a\x02\x0a"},         {1, 1, ""},
        {0, 1, "\x0a\x03\x0a\x01\x61"},          {1, 0, "\x0a\x03\x0a\x01\x61"}, {1, 1, "\xff\xff"},
        {UINT64_MAX, 1, "\x0a\x03\x0a\x01\x61"}, {1, 2, "\x0a\x03\x0a\x01\x61"},
    };
    for (unsigned i = 0; i < sizeof(mad) / sizeof(mad[0]); i++) {
        deliver_mad(fake, mad[i].base, mad[i].count, mad[i].batch);
        fake_await_frames(fake, BODY(CONSUME), 2 + i);
    }
    deliver(fake, 1, 1);
    expect_message(consumer, 1);
    rg_consumer_close(&consumer);
    rg_close(&client);
    fake_destroy(&fake);
}

/* --- events and pushing --- */

struct seen {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned events[8];
    struct rg_event last;
    char detail[128];
    uint64_t messages;
    uint64_t refuse; /* this offset */
};

static void seen_init(struct seen *seen)
{
    *seen = (struct seen){0};
    pthread_mutex_init(&seen->lock, NULL);
    pthread_cond_init(&seen->changed, NULL);
}

static void on_event(void *ud, struct rg_consumer *consumer, const struct rg_event *event)
{
    struct seen *seen = ud;
    (void) consumer;
    pthread_mutex_lock(&seen->lock);
    seen->events[event->type]++;
    seen->last = *event;
    (void) snprintf(seen->detail, sizeof(seen->detail), "%s", event->detail);
    pthread_cond_broadcast(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
}

static int on_message(void *ud, struct rg_consumer *consumer, const struct rg_record *record)
{
    struct seen *seen = ud;
    (void) consumer;
    pthread_mutex_lock(&seen->lock);
    seen->messages++;
    bool is_refused = record->offset == seen->refuse;
    pthread_cond_broadcast(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
    return is_refused ? 1 : 0;
}

static void seen_await(struct seen *seen, enum rg_event_type type, unsigned count)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t) (25 * test_slowness());
    pthread_mutex_lock(&seen->lock);
    while (seen->events[type] < count) {
        ck_assert_int_eq(pthread_cond_timedwait(&seen->changed, &seen->lock, &until), 0);
    }
    pthread_mutex_unlock(&seen->lock);
}

static bool acked_all_but_3(const struct fake *fake)
{
    struct buf log = fake->ack_log;
    return log.size >= 5 && memmem(log.data, log.size, "n3-3 ", 5) != NULL &&
           memmem(log.data, log.size, "-9 ", 3) != NULL;
}

TEST(pushed_messages_are_acknowledged_by_their_result)
{
    struct fake *fake = fake_new();
    struct seen seen;
    seen_init(&seen);
    seen.refuse = 3;
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_consume_options options = {
        .on_message = on_message, .on_event = on_event, .auto_ack = true, .ud = &seen};
    struct rg_consumer *consumer = join(client, &options);
    struct rg_record record;
    ck_assert_int_eq(rg_consumer_next(consumer, 0, &record), RG_ERR_USAGE);
    deliver(fake, 1, 9);
    fake_await(fake, acked_all_but_3);
    rg_consumer_close(&consumer);
    ck_assert_uint_eq(seen.messages, 9);
    ck_assert_uint_eq(seen.events[RG_EVENT_UP], 1);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(auto_ack_needs_a_callback)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_consume_options options = {.auto_ack = true};
    struct rg_consumer *consumer = NULL;
    ck_assert_int_eq(rg_consume(client, "s", "g", &options, &consumer), RG_ERR_USAGE);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(group_events_are_passed_on)
{
    struct fake *fake = fake_new();
    struct seen seen;
    seen_init(&seen);
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_consume_options options = {.on_event = on_event, .ud = &seen};
    struct rg_consumer *consumer = join(client, &options);
    Railgun__GroupEvent event = RAILGUN__GROUP_EVENT__INIT;
    Railgun__OffsetRange range = RAILGUN__OFFSET_RANGE__INIT;
    char text[] = "retention";
    range.has_first = range.has_last = true;
    range.first = 3;
    range.last = 9;
    event.has_type = true;
    event.type = RAILGUN__GROUP_EVENT__TYPE__EVENT_GAP;
    event.range = &range;
    event.detail = text;
    fake_lock(fake);
    fake_send_message(fake, fake->channel, 0, BODY(GROUP_EVENT), &event.base);
    fake_unlock(fake);
    seen_await(&seen, RG_EVENT_GAP, 1);
    ck_assert_uint_eq(seen.last.first, 3);
    ck_assert_uint_eq(seen.last.last, 9);
    ck_assert_str_eq(seen.detail, "retention");
    rg_consumer_close(&consumer);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool take(struct fake *fake, const struct frame_view *view)
{
    (void) fake;
    ck_assert_uint_eq(view->corr, 0); /* it wants no answer */
    return true;
}

TEST(a_deadline_that_comes_about_later_is_extended_by_itself_too)
{
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(EXTEND), take);
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_consumer *consumer = join(client, NULL);
    struct rg_record record;
    Railgun__GroupEvent event = RAILGUN__GROUP_EVENT__INIT;
    deliver(fake, 1, 2);
    ck_assert_int_eq(rg_consumer_next(consumer, 30000, &record), 0);
    event.has_type = event.has_count = true;
    event.type = RAILGUN__GROUP_EVENT__TYPE__EVENT_ACK_WAIT;
    event.count = 30;
    fake_lock(fake);
    fake_send_message(fake, fake->channel, 0, BODY(GROUP_EVENT), &event.base);
    fake_unlock(fake);
    fake_await_frames(fake, BODY(EXTEND), 2);
    rg_consumer_close(&consumer);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(a_consumer_that_the_server_ends_is_closed)
{
    struct fake *fake = fake_new();
    struct seen seen;
    seen_init(&seen);
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_consume_options options = {.on_event = on_event, .ud = &seen};
    struct rg_consumer *consumer = join(client, &options);
    struct rg_record record;
    struct buf body = {0};
    pb_append_varint(&body, 1, 447);
    pb_append_bytes(&body, 2, span_of("gone"));
    fake_lock(fake);
    fake_send(fake, fake->channel, 0, BODY(CANCEL), buf_span(&body));
    fake_unlock(fake);
    seen_await(&seen, RG_EVENT_CLOSED, 1);
    ck_assert_int_eq(seen.last.code, ERR_STREAM_DELETED);
    ck_assert_int_eq(rg_consumer_next(consumer, 30000, &record), RG_ERR_CLOSED);
    ck_assert_ptr_nonnull(strstr(rg_last_error(client), "gone"));
    rg_consumer_close(&consumer);
    ck_assert_uint_eq(fake_frames(fake, BODY(CANCEL)), 0);
    buf_release(&body);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(a_consumer_that_is_ended_for_now_comes_back)
{
    struct fake *fake = fake_new();
    struct seen seen;
    seen_init(&seen);
    struct rg_options client_options = {.reconnect_min_ms = 1};
    struct rg_client *client = fake_client(fake, &client_options);
    struct rg_consume_options options = {.on_event = on_event, .ud = &seen};
    struct rg_consumer *consumer = join(client, &options);
    struct buf body = {0};
    pb_append_varint(&body, 1, 511);
    fake_lock(fake);
    fake_send(fake, fake->channel, 0, BODY(CANCEL), buf_span(&body));
    fake_unlock(fake);
    seen_await(&seen, RG_EVENT_UP, 2);
    ck_assert_uint_eq(seen.events[RG_EVENT_DOWN], 1);
    ck_assert_uint_eq(fake_connections(fake), 1);
    deliver(fake, 1, 1);
    expect_message(consumer, 1);
    rg_consumer_close(&consumer);
    buf_release(&body);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool refuse_consume(struct fake *fake, const struct frame_view *view)
{
    fake_send_error(fake, view->channel, view->corr, ERR_NOT_FOUND, "no stream 's'");
    return true;
}

static bool refuse_once(struct fake *fake, const struct frame_view *view)
{
    if (fake->frames[BODY(CONSUME)] != 0) {
        return false;
    }
    fake_send_error(fake, view->channel, view->corr, ERR_NO_QUORUM, "starting");
    return true;
}

TEST(a_refused_group_is_said_at_once_and_a_busy_one_is_tried_again)
{
    struct fake *fake = fake_new();
    struct rg_options options = {.reconnect_min_ms = 1};
    struct rg_client *client = fake_client(fake, &options);
    struct rg_consumer *consumer = NULL;
    fake_handle(fake, BODY(CONSUME), refuse_consume);
    ck_assert_int_eq(rg_consume(client, "s", "g", NULL, &consumer), RG_ERR_NOT_FOUND);
    ck_assert_str_eq(rg_last_error(client), "no stream 's'");
    ck_assert_ptr_null(consumer);
    fake_lock(fake);
    fake->frames[BODY(CONSUME)] = 0;
    fake->handlers[BODY(CONSUME)] = refuse_once;
    fake_unlock(fake);
    consumer = join(client, NULL);
    ck_assert_uint_eq(fake_frames(fake, BODY(CONSUME)), 2);
    rg_consumer_close(&consumer);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool say_nothing(struct fake *fake, const struct frame_view *view)
{
    (void) fake;
    (void) view;
    return true;
}

TEST(a_group_that_does_not_answer_is_left_again)
{
    struct fake *fake = fake_new();
    struct rg_options options = {.request_timeout_ms = 150};
    struct rg_client *client = fake_client(fake, &options);
    struct rg_consumer *consumer = NULL;
    fake_handle(fake, BODY(CONSUME), say_nothing);
    int result = rg_consume(client, "s", "g", NULL, &consumer);
    ck_assert_msg(result == RG_ERR_TIMEOUT || result == RG_ERR_CLOSED, "%d", result);
    fake_ping(client);
    fake_await_frames(fake, BODY(CANCEL), 1);
    rg_close(&client);
    fake_destroy(&fake);
}

/* --- lost connections --- */

static bool start_is_kept(struct fake *fake, const struct frame_view *view)
{
    Railgun__Consume *consume = NULL;
    ck_assert_int_eq(SCAN_UNPACK(view->body, railgun__consume, &consume), 0);
    ck_assert_str_eq(consume->stream, "s");
    ck_assert_str_eq(consume->group, "g");
    ck_assert_str_eq(consume->consumer, "me");
    ck_assert_int_eq(consume->start->at, RAILGUN__START__AT__AT_LAST_N);
    ck_assert_uint_eq(consume->start->offset, 7);
    ck_assert_uint_eq(consume->credit->messages, 4096);
    SCAN_FREE(&consume);
    (void) fake;
    return false;
}

TEST(consumers_attach_again_and_forget_what_came_before)
{
    struct fake *fake = fake_new();
    struct seen seen;
    seen_init(&seen);
    fake_handle(fake, BODY(CONSUME), start_is_kept);
    struct rg_options client_options = {.reconnect_min_ms = 1};
    struct rg_client *client = fake_client(fake, &client_options);
    struct rg_consume_options options = {
        .consumer = "me", .start = {RG_START_LAST_N, 7}, .on_event = on_event, .ud = &seen};
    struct rg_consumer *consumer = join(client, &options);
    deliver(fake, 1, 5);
    deliver(fake, 6, 5);
    expect_message(consumer, 1);
    expect_message(consumer, 2);
    ck_assert_int_eq(rg_ack_sync(consumer, 1, 1), 0);
    fake_lock(fake);
    fake_hang_up(fake);
    fake_unlock(fake);
    seen_await(&seen, RG_EVENT_UP, 2);
    ck_assert_uint_eq(seen.events[RG_EVENT_DOWN], 1);

    /* 2 came on the connection that is gone: its acknowledgement must not reach the server. */
    ck_assert_int_eq(rg_ack(consumer, 2, 2), 0);
    ck_assert_int_eq(rg_ack_sync(consumer, 2, 2), RG_ERR_NOT_DELIVERED);
    deliver(fake, 4, 2);
    expect_message(consumer, 4); /* and what was still waiting is dropped */
    ck_assert_int_eq(rg_ack(consumer, 2, 4), 0);
    ck_assert_int_eq(rg_ack_sync(consumer, 5, 5), 0);
    fake_lock(fake);
    const char *log = buf_text(&fake->ack_log);
    ck_assert_msg(strcmp(log, "s1-1 s4-5 ") == 0 || strcmp(log, "s1-1 4-4 s5-5 ") == 0, "%s", log);
    fake_unlock(fake);
    rg_consumer_close(&consumer);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool hang_up_now(struct fake *fake, const struct frame_view *view)
{
    (void) view;
    fake_hang_up(fake);
    return true;
}

TEST(a_waiting_acknowledgement_ends_with_the_connection)
{
    struct fake *fake = fake_new();
    struct rg_options options = {.reconnect_min_ms = 1};
    struct rg_client *client = fake_client(fake, &options);
    struct rg_consumer *consumer = join(client, NULL);
    fake_handle(fake, BODY(ACK), hang_up_now);
    deliver(fake, 1, 1);
    expect_message(consumer, 1);
    ck_assert_int_eq(rg_ack_sync(consumer, 1, 1), RG_ERR_TIMEOUT);
    rg_consumer_close(&consumer);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(pulling_survives_lost_connections)
{
    struct fake *fake = fake_new();
    struct rg_options options = {.reconnect_min_ms = 1, .reconnect_max_ms = 2};
    struct rg_client *client = fake_client(fake, &options);
    struct rg_consumer *consumer = join(client, NULL);
    for (unsigned i = 1; i <= 20; i++) {
        deliver(fake, 100 * i, 10);
        expect_message(consumer, 100 * i);
        expect_message(consumer, 100 * i + 1);
        ck_assert_int_eq(rg_ack(consumer, 100 * i, 100 * i + 1), 0);
        fake_lock(fake);
        fake_hang_up(fake);
        fake_unlock(fake);
        fake_await_frames(fake, BODY(CONSUME), i + 1);
    }
    rg_consumer_close(&consumer);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(several_consumers_share_a_connection)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_consumer *consumers[8];
    for (size_t i = 0; i < 8; i++) {
        consumers[i] = join(client, NULL);
        deliver(fake, 10 * i + 1, 1);
    }
    for (size_t i = 8; i-- > 0;) {
        expect_message(consumers[i], 10 * i + 1);
        rg_consumer_close(&consumers[i]);
    }
    ck_assert_uint_eq(fake_connections(fake), 1);
    rg_close(&client);
    fake_destroy(&fake);
}

/* --- attempts --- */

TEST(redeliveries_carry_their_attempt)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_consumer *consumer = join(client, NULL);
    struct buf body = {0};
    struct buf batch = {0};
    struct buf again = {0};
    for (unsigned i = 0; i < 6; i++) {
        batch_append(&batch, span_of("x"), (struct span){0}, (struct span){0}, (struct span){0});
    }
    pb_append_varint(&body, 2, 10);
    pb_append_varint(&body, 3, 6);
    static const uint64_t ranges[2][4] = {{9, 11, 3, 2}, {14, 14, 2, 1}};
    for (size_t i = 0; i < 2; i++) {
        buf_reset(&again);
        for (uint32_t k = 0; k < 4; k++) {
            pb_append_varint(&again, k + 1, ranges[i][k]);
        }
        pb_append_bytes(&body, 5, buf_span(&again));
    }
    pb_append_bytes(&body, 15, buf_span(&batch));
    fake_lock(fake);
    fake_send(fake, fake->channel, 0, BODY(DELIVER), buf_span(&body));
    fake_unlock(fake);
    static const uint32_t attempts[6] = {3, 3, 1, 1, 2, 1};
    static const uint32_t failures[6] = {2, 2, 0, 0, 1, 0};
    for (unsigned i = 0; i < 6; i++) {
        struct rg_record record;
        ck_assert_int_eq(rg_consumer_next(consumer, 30000, &record), 0);
        ck_assert_uint_eq(record.offset, 10 + i);
        ck_assert_uint_eq(record.attempt, attempts[i]);
        ck_assert_uint_eq(record.failed, failures[i]);
    }
    buf_release(&again);
    buf_release(&batch);
    buf_release(&body);
    rg_consumer_close(&consumer);
    rg_close(&client);
    fake_destroy(&fake);
}
