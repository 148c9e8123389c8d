/* One subscription: what goes out, what waits, what is counted. */
#include <malloc.h>
#include <string.h>

#include "common/base/err.h"
#include "tests/unit/frontd_switch/fake.h"

static void expect_sums(void)
{
    const struct exchange_counts *counts = &fake.exchange.counts;
    TEST_ASSERT_FAST(counts->matched == counts->delivered + counts->dropped + fake.exchange.queued);
}

static uint32_t offer(struct subscription *to, const char *topic, unsigned count, size_t size)
{
    struct buf bytes = {0};
    fake_messages(&bytes, topic, count, size);
    struct run run = fake_run(&bytes, count);
    uint32_t taken = subscription_offer(to, &run);
    fake_run_end(&run);
    buf_release(&bytes);
    expect_sums();
    return taken;
}

static uint32_t offer_text(struct subscription *to, const char *topic, const char *payload)
{
    struct buf bytes = {0};
    fake_message(&bytes, topic, payload);
    struct run run = fake_run(&bytes, 1);
    uint32_t taken = subscription_offer(to, &run);
    fake_run_end(&run);
    buf_release(&bytes);
    expect_sums();
    return taken;
}

TEST(a_run_goes_out_as_one_frame_of_the_same_bytes)
{
    struct frame_view view;
    struct buf bytes = {0};
    fake_start();
    struct conn *conn = fake_conn();
    struct subscription *self = fake_subscribe(conn, (struct fake_options){.number = 7});
    fake_messages(&bytes, "a.b", 10, 100);
    struct run run = fake_run(&bytes, 10);
    ck_assert_uint_eq(subscription_offer(self, &run), 10);
    fake_run_end(&run);
    ck_assert(fake_frame(conn, &view));
    ck_assert_uint_eq(view.field, RAILGUN__FRAME__BODY_ES_DELIVER);
    ck_assert_uint_eq(view.channel, 7);
    ck_assert(span_equal(view.body, buf_span(&bytes)));
    ck_assert_uint_eq(fake.exchange.counts.delivered, 10);
    ck_assert_uint_eq(fake.exchange.counts.matched, 10);
    buf_release(&bytes);
    fake_close(&conn);
    fake_stop();
}

TEST(a_large_run_is_referred_to_and_a_small_one_copied)
{
    fake_start();
    struct conn *conn = fake_conn();
    struct subscription *self = fake_subscribe(conn, (struct fake_options){.number = 1});
    (void) offer(self, "a", 10, 100);
    ck_assert_uint_eq(conn->references, 0);
    (void) offer(self, "a", 512, 100);
    ck_assert_uint_eq(conn->references, 1);
    /* With much output, a run that is a small part of its chunk would keep too much. */
    struct buf bytes = {0};
    fake_messages(&bytes, "a", 512, 100);
    struct payload *chunk = payload_new(256 << 10);
    memcpy(payload_data(chunk), bytes.data, bytes.size);
    struct run run = {
        .messages = span_make(payload_data(chunk), bytes.size), .count = 512, .owner = chunk};
    fake.outbound = 20 << 20;
    (void) subscription_offer(self, &run);
    ck_assert_uint_eq(conn->references, 1);
    fake.outbound = 0;
    run_release(&run);
    payload_unref(&chunk);
    buf_release(&bytes);
    fake_close(&conn);
    fake_stop();
}

TEST(what_comes_before_the_confirmation_waits_behind_it)
{
    struct frame_view view;
    struct fake_received got = {0};
    fake_start();
    struct conn *conn = fake_conn();
    struct subscription *self =
        fake_subscribe(conn, (struct fake_options){.number = 7, .is_unconfirmed = true});
    ck_assert_uint_eq(offer(self, "a", 3, 10), 3);
    ck_assert(!fake_frame(conn, &view));
    ck_assert_uint_eq(fake.exchange.queued, 3);
    ck_assert(session_corr_is_open(&conn->session, 7));
    subscriptions_on_confirmed(fake.frontd.subscriptions, fake.last_added);
    ck_assert(fake_frame(conn, &view));
    ck_assert_uint_eq(view.field, RAILGUN__FRAME__BODY_ES_SUBSCRIBE_OK);
    ck_assert_uint_eq(view.corr, 7);
    ck_assert(!session_corr_is_open(&conn->session, 7));
    fake_receive(conn, &got);
    ck_assert_uint_eq(got.messages, 3);
    buf_release(&got.payloads);
    fake_close(&conn);
    fake_stop();
}

TEST(a_stalled_subscriber_is_told_what_it_missed_before_it_gets_more)
{
    struct fake_received got = {0};
    fake_start();
    struct conn *conn = fake_conn();
    struct subscription *self =
        fake_subscribe(conn, (struct fake_options){.number = 1, .messages_max = 100});
    conn->is_stalled = true;
    for (unsigned i = 0; i < 500; i++) {
        (void) offer(self, i == 499 ? "last" : "early", 100, 100);
    }
    ck_assert_uint_gt(conn->room_below, 0);
    ck_assert_uint_lt(conn->outbound, (1 << 20) + 100);
    ck_assert_uint_eq(fake.exchange.queued, 100);
    uint64_t dropped = fake.exchange.counts.dropped;
    ck_assert_uint_gt(dropped, 10000);
    fake_drain(conn);
    fake_receive(conn, &got);
    ck_assert_uint_eq(got.messages, 50000 - dropped);
    ck_assert_uint_eq(got.dropped, dropped);
    ck_assert_uint_eq(got.events, 1);
    ck_assert_str_eq(got.first_topic, "early");
    ck_assert_uint_eq(fake.exchange.queued, 0);
    buf_release(&got.payloads);
    fake_close(&conn);
    fake_stop();
}

TEST(drop_new_tells_of_the_gap_where_it_is)
{
    struct fake_received got = {0};
    fake_start();
    struct conn *conn = fake_conn();
    struct subscription *self = fake_subscribe(
        conn,
        (struct fake_options){.number = 1, .policy = SUBSCRIPTION_DROP_NEW, .messages_max = 2});
    conn->is_stalled = true;
    fake.outbound = 200 << 20; /* others have all there is: one goes out, then no more */
    ck_assert_uint_eq(offer_text(self, "a", "1"), 1);
    ck_assert_uint_eq(offer_text(self, "a", "2"), 1);
    ck_assert_uint_eq(offer_text(self, "a", "3"), 1);
    ck_assert_uint_eq(offer_text(self, "a", "4"), 0);
    ck_assert_uint_eq(offer_text(self, "b", "5"), 0);
    fake.outbound = conn->outbound;
    conn->is_stalled = false;
    fake_drain(conn);
    ck_assert_uint_eq(offer_text(self, "a", "6"), 1);
    fake_receive(conn, &got);
    ck_assert_str_eq(buf_text(&got.payloads), "123!6");
    ck_assert_uint_eq(got.dropped, 2);
    ck_assert_str_eq(got.last_topic, "b");
    buf_release(&got.payloads);
    fake_close(&conn);
    fake_stop();
}

TEST(never_more_than_the_credit_is_sent)
{
    struct fake_received got = {0};
    fake_start();
    struct conn *conn = fake_conn();
    struct subscription *self = fake_subscribe(
        conn,
        (struct fake_options){.number = 1, .needs_credit = true, .messages = 3, .bytes = 1 << 20});
    ck_assert_uint_eq(offer(self, "a", 10, 10), 10);
    fake_receive(conn, &got);
    ck_assert_uint_eq(got.messages, 3);
    ck_assert_uint_eq(fake.exchange.queued, 7);
    subscription_grant(self, 100, 0);
    fake_receive(conn, &got);
    ck_assert_uint_eq(got.messages, 10);
    buf_release(&got.payloads);
    fake_close(&conn);
    fake_stop();
}

TEST(credit_counts_bytes_too)
{
    struct fake_received got = {0};
    fake_start();
    struct conn *conn = fake_conn();
    struct subscription *self = fake_subscribe(
        conn,
        (struct fake_options){.number = 1, .needs_credit = true, .messages = 100, .bytes = 50});
    ck_assert_uint_eq(offer(self, "a", 10, 10), 10); /* 17 bytes each */
    fake_receive(conn, &got);
    ck_assert_uint_eq(got.messages, 2);
    subscription_grant(self, 0, 17);
    fake_receive(conn, &got);
    ck_assert_uint_eq(got.messages, 3);
    subscription_grant(self, 0, UINT64_MAX);
    subscription_grant(self, UINT64_MAX, UINT64_MAX);
    fake_receive(conn, &got);
    ck_assert_uint_eq(got.messages, 10);
    ck_assert_uint_eq(got.events, 0);
    buf_release(&got.payloads);
    fake_close(&conn);
    fake_stop();
}

TEST(without_credit_drops_are_told_before_the_next_delivery_only)
{
    struct fake_received got = {0};
    fake_start();
    struct conn *conn = fake_conn();
    struct subscription *self = fake_subscribe(
        conn, (struct fake_options){.number = 1, .needs_credit = true, .messages_max = 2});
    for (unsigned i = 0; i < 10; i++) {
        (void) offer(self, "a", 1, 10);
    }
    subscription_grant(self, 0, 1000);
    fake_receive(conn, &got);
    ck_assert_uint_eq(got.events, 0);
    subscription_grant(self, 1, 1000);
    fake_receive(conn, &got);
    ck_assert_uint_eq(got.events, 1);
    ck_assert_uint_eq(got.dropped, 8);
    ck_assert_uint_eq(got.messages, 1);
    buf_release(&got.payloads);
    fake_close(&conn);
    fake_stop();
}

TEST(who_wants_to_be_disconnected_is_when_its_queue_is_full)
{
    fake_start();
    struct conn *conn = fake_conn();
    struct subscription *self = fake_subscribe(
        conn,
        (struct fake_options){.number = 9, .policy = SUBSCRIPTION_DISCONNECT, .messages_max = 10});
    conn->is_stalled = true;
    while (conn->failed == 0) {
        (void) offer(self, "a", 512, 100);
    }
    ck_assert_int_eq(conn->failed, ERR_OVERLOADED);
    ck_assert_ptr_nonnull(strstr(conn->detail, "channel 9"));
    ck_assert_uint_eq(offer(self, "a", 512, 100), 0);
    fake_close(&conn);
    fake_stop();
}

TEST(what_waits_when_a_subscription_goes_is_dropped)
{
    fake_start();
    struct conn *conn = fake_conn();
    struct subscription *self =
        fake_subscribe(conn, (struct fake_options){.number = 1, .needs_credit = true});
    ck_assert_uint_eq(offer(self, "a", 10, 10), 10);
    uint64_t id = subscription_id(self);
    ck_assert_ptr_eq(subscriptions_find(fake.frontd.subscriptions, id), self);
    subscription_cancel(self);
    expect_sums();
    ck_assert_uint_eq(fake.exchange.counts.dropped, 10);
    ck_assert_uint_eq(fake.exchange.queued, 0);
    ck_assert_ptr_null(subscriptions_find(fake.frontd.subscriptions, id));
    ck_assert_ptr_null(session_find_subscription(&conn->session, 1));
    ck_assert_uint_eq(fake.removed, 1);
    ck_assert_uint_eq(fake.exchange.subscriptions, 0);
    fake_close(&conn);
    fake_stop();
}

TEST(an_id_is_never_used_again)
{
    uint64_t ids[100];
    fake_start();
    struct conn *conn = fake_conn();
    for (unsigned i = 0; i < 100; i++) {
        struct subscription *self = fake_subscribe(conn, (struct fake_options){.number = 1});
        ids[i] = subscription_id(self);
        ck_assert_uint_ne(ids[i], 0);
        for (unsigned k = 0; k < i; k++) {
            TEST_ASSERT_FAST(ids[k] != ids[i]);
            TEST_ASSERT_FAST(subscriptions_find(fake.frontd.subscriptions, ids[k]) == NULL);
        }
        subscription_cancel(self);
    }
    fake_close(&conn);
    fake_stop();
}

TEST(without_a_routerd_the_client_is_told_and_the_subscription_goes)
{
    fake_start();
    struct conn *conn = fake_conn();
    (void) fake_subscribe(conn, (struct fake_options){.number = 5, .is_unconfirmed = true});
    fake_turn(9999);
    ck_assert_ptr_nonnull(session_find_subscription(&conn->session, 5));
    fake_turn(1);
    ck_assert_ptr_null(session_find_subscription(&conn->session, 5));
    fake_expect_error(conn, 5, ERR_NO_QUORUM, "routerd is not reachable");
    ck_assert(!session_corr_is_open(&conn->session, 5));
    ck_assert_uint_eq(fake.removed, 1);
    fake_close(&conn);
    fake_stop();
}

TEST(a_rejected_one_is_refused_and_a_cancelled_one_ends_its_request)
{
    fake_start();
    struct conn *conn = fake_conn();
    (void) fake_subscribe(conn, (struct fake_options){.number = 5, .is_unconfirmed = true});
    subscriptions_on_rejected(fake.frontd.subscriptions, fake.last_added, ERR_QUOTA,
                              span_of("at most 7"));
    fake_expect_error(conn, 5, ERR_QUOTA, "at most 7");
    struct subscription *self =
        fake_subscribe(conn, (struct fake_options){.number = 6, .is_unconfirmed = true});
    subscription_cancel(self);
    fake_expect_error(conn, 6, ERR_RS_CANCELLED, "the subscription was cancelled");
    ck_assert_uint_eq(conn->session.subscription_count, 0);
    fake_close(&conn);
    fake_stop();
}

TEST(an_exchange_that_goes_takes_its_subscriptions_along)
{
    struct frame_view view;
    fake_start();
    struct conn *conn = fake_conn();
    (void) fake_subscribe(conn, (struct fake_options){.number = 5});
    subscriptions_exchange_gone(fake.frontd.subscriptions, &fake.exchange, ERR_NOT_FOUND);
    ck_assert(fake_frame(conn, &view));
    ck_assert_uint_eq(view.field, RAILGUN__FRAME__BODY_CANCEL);
    ck_assert_uint_eq(view.channel, 5);
    ck_assert_uint_eq(conn->session.subscription_count, 0);
    fake_close(&conn);
    fake_stop();
}

TEST(subscriptions_of_one_connection_take_turns)
{
    struct frame_view view;
    unsigned changes = 0;
    uint32_t last = 0;
    fake_start();
    struct conn *conn = fake_conn();
    struct subscription *a =
        fake_subscribe(conn, (struct fake_options){.number = 1, .needs_credit = true});
    struct subscription *b =
        fake_subscribe(conn, (struct fake_options){.number = 2, .needs_credit = true});
    (void) fake_subscribe(conn, (struct fake_options){.number = 3});
    for (unsigned i = 0; i < 10; i++) {
        (void) offer(a, "a", 300, 100);
        (void) offer(b, "b", 300, 100);
    }
    conn->state = CONN_CONNECTED; /* takes nothing yet */
    subscription_grant(a, UINT32_MAX, UINT32_MAX);
    subscription_grant(b, UINT32_MAX, UINT32_MAX);
    conn->state = CONN_READY;
    subscriptions_session_room(&conn->session);
    while (fake_frame(conn, &view)) {
        changes += view.channel != last ? 1 : 0;
        last = view.channel;
    }
    ck_assert_uint_gt(changes, 6);
    ck_assert_uint_eq(fake.exchange.queued, 0);
    fake_close(&conn);
    fake_stop();
}

TEST(small_pieces_of_a_queue_leave_in_few_frames)
{
    struct fake_received got = {0};
    fake_start();
    struct conn *conn = fake_conn();
    struct subscription *self =
        fake_subscribe(conn, (struct fake_options){.number = 1, .needs_credit = true});
    for (unsigned i = 0; i < 1000; i++) {
        (void) offer(self, "a", 1, 10);
    }
    subscription_grant(self, 1000, 1 << 20);
    fake_receive(conn, &got);
    ck_assert_uint_eq(got.messages, 1000);
    ck_assert_uint_lt(got.frames, 5);
    buf_release(&got.payloads);
    fake_close(&conn);
    fake_stop();
}

TEST(a_message_larger_than_the_allowed_output_goes_out_when_that_is_empty)
{
    struct fake_received got = {0};
    fake_start();
    fake.settings.es_outbound_bytes = 16 << 10;
    struct conn *conn = fake_conn();
    struct subscription *self = fake_subscribe(conn, (struct fake_options){.number = 1});
    conn->is_stalled = true;
    ck_assert_uint_eq(offer(self, "a", 1, 100000), 1);
    ck_assert_uint_eq(fake.exchange.counts.delivered, 1);
    ck_assert_uint_eq(offer(self, "a", 1, 100000), 1);
    ck_assert_uint_eq(fake.exchange.queued, 1);
    ck_assert_uint_eq(conn->room_below, 1);
    fake_drain(conn);
    fake_receive(conn, &got);
    ck_assert_uint_eq(got.messages, 2);
    buf_release(&got.payloads);
    fake_close(&conn);
    fake_stop();
}

TEST(others_that_do_not_read_leave_room_for_who_does)
{
    fake_start();
    struct conn *conn = fake_conn();
    struct subscription *self = fake_subscribe(conn, (struct fake_options){.number = 1});
    fake.outbound = 150 << 20; /* as of consumers of streams */
    ck_assert_uint_eq(offer(self, "a", 512, 100), 512);
    ck_assert_uint_eq(fake.exchange.queued, 0);
    fake.outbound = 0;
    fake_close(&conn);
    fake_stop();
}

TEST(a_request_is_told_of_when_it_is_out_and_when_it_is_dropped)
{
    struct buf bytes = {0};
    fake_start();
    struct conn *conn = fake_conn();
    struct subscription *self = fake_subscribe(
        conn,
        (struct fake_options){
            .number = 1, .needs_credit = true, .messages = 1, .bytes = 1000, .messages_max = 1});
    fake_message(&bytes, "a", "x");
    for (uint64_t i = 1; i <= 3; i++) {
        struct run run = fake_run(&bytes, 1);
        run.request = i;
        run.origin = 3;
        ck_assert_uint_eq(subscription_offer(self, &run), 1);
        fake_run_end(&run);
    }
    ck_assert_uint_eq(fake.delivered, 1);
    ck_assert_uint_eq(fake.delivered_request, 1);
    ck_assert_uint_eq(fake.undelivered, 1);
    ck_assert_uint_eq(fake.undelivered_request, 2);
    ck_assert_uint_eq(fake.undelivered_origin, 3);
    subscription_grant(self, 1, 1000);
    ck_assert_uint_eq(fake.delivered_request, 3);
    struct run run = fake_run(&bytes, 1);
    run.request = 4;
    (void) subscription_offer(self, &run);
    fake_run_end(&run);
    subscription_cancel(self);
    ck_assert_uint_eq(fake.undelivered_request, 4);
    buf_release(&bytes);
    fake_close(&conn);
    fake_stop();
}

/* The whole of what is asked of memory: 1,000 clients that read nothing, each with a topic of its own, and publishers that go on. */
TEST(memory_is_bounded_with_a_thousand_stalled_subscribers)
{
    enum { COUNT = 1000 };
    static struct conn *conns[COUNT];
    static struct subscription *all[COUNT];
    static struct conn *late;
    struct subscriptions_counts counts;
    struct buf bytes = {0};
    fake_start();
    for (unsigned i = 0; i < COUNT; i++) {
        conns[i] = fake_conn();
        conns[i]->is_stalled = true;
        conns[i]->is_sink = true;
        all[i] = NULL;
    }
    for (unsigned i = 0; i < COUNT; i++) {
        conns[i]->is_sink = false;
        all[i] = fake_subscribe(conns[i], (struct fake_options){.number = 1});
        conns[i]->is_sink = true;
    }
    fake_messages(&bytes, "topic.of.it", 512, 100);
    for (unsigned round = 0; round < 25; round++) {
        for (unsigned i = 0; i < COUNT; i++) {
            struct run run = fake_run(&bytes, 512);
            (void) subscription_offer(all[i], &run);
            fake_run_end(&run);
            expect_sums();
        }
        subscriptions_count(fake.frontd.subscriptions, &counts);
        ck_assert_uint_le(counts.memory_bytes, 128 << 20);
        ck_assert_uint_le(fake.outbound, 80 << 20);
    }
    ck_assert_uint_gt(counts.memory_bytes, 100 << 20); /* and it is used */
    ck_assert_uint_gt(counts.queued_messages, 400 * COUNT);
    /* Who is quick is not slowed down. */
    late = fake_conn();
    struct subscription *quick = fake_subscribe(late, (struct fake_options){.number = 1});
    ck_assert_uint_eq(offer(quick, "a", 512, 100), 512);
    ck_assert_uint_eq(late->sends, 2); /* the answer, and all of it at once */
    fake_close(&late);
    for (unsigned i = 0; i < COUNT; i++) {
        fake_close(&conns[i]);
    }
    buf_release(&bytes);
    fake_stop();
}

TEST(an_idle_subscription_is_small)
{
#if !defined(__SANITIZE_ADDRESS__)
    fake_start();
    struct conn *conn = fake_conn();
    struct buf matcher = {0};
    buf_append(&matcher, span_make("\x22\x03"
                                   "a.b",
                                   5));
    conn->is_sink = true;
    struct mallinfo2 before = mallinfo2();
    for (uint32_t i = 1; i <= 8192; i++) {
        struct exchange *exchange = NULL;
        (void) exchanges_ref(NULL, (struct span){0}, (struct span){0}, &exchange);
        subscription_open(&conn->session, exchange,
                          &(struct subscription_options){.number = i,
                                                         .matchers = buf_span(&matcher),
                                                         .messages_max = 100,
                                                         .bytes_max = 1000});
        subscriptions_on_confirmed(fake.frontd.subscriptions, fake.last_added);
    }
    struct mallinfo2 after = mallinfo2();
    ck_assert_uint_le((after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) / 8192,
                      250);
    buf_release(&matcher);
    fake_close(&conn);
    fake_stop();
#endif
}
