/* EsSubscribe: what is refused, and what routerds are told. */
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "tests/unit/frontd_switch/fake.h"

extern session_handler_fn handle_es_subscribe;

static int subscribe(struct conn *conn, uint32_t channel, uint64_t corr,
                     const Railgun__EsSubscribe *message)
{
    struct buf body = {0};
    scan_pack(&body, &message->base);
    struct payload *owner = payload_copy(buf_span(&body));
    struct frame_view view = {
        .channel = channel,
        .corr = corr,
        .field = RAILGUN__FRAME__BODY_ES_SUBSCRIBE,
        .body = payload_span(owner),
    };
    int result = handle_es_subscribe(&conn->session, &view, owner);
    payload_unref(&owner);
    buf_release(&body);
    return result;
}

TEST(without_a_matcher_everything_is_wanted)
{
    Railgun__EsSubscribe message = RAILGUN__ES_SUBSCRIBE__INIT;
    fake_start();
    struct conn *conn = fake_conn();
    ck_assert_int_eq(subscribe(conn, 1, 11, &message), 0);
    ck_assert_uint_eq(fake.added, 1);
    ck_assert(span_equal(fake.last_added->matchers, span_make("\x22\x01#", 3)));
    fake_close(&conn);
    fake_stop();
}

TEST(matchers_are_normalised_and_those_that_are_the_same_told_once)
{
    static char one[] = "a.#.*";
    static char same[] = "a.*.#";
    static char other[] = "b";
    char *matchers[] = {one, other, same, other};
    Railgun__EsSubscribe message = RAILGUN__ES_SUBSCRIBE__INIT;
    fake_start();
    struct conn *conn = fake_conn();
    message.matchers = matchers;
    message.n_matchers = 4;
    ck_assert_int_eq(subscribe(conn, 1, 11, &message), 0);
    ck_assert(span_equal(fake.last_added->matchers, span_make("\x22\x05"
                                                              "a.*.#\x22\x01"
                                                              "b",
                                                              10)));
    fake_close(&conn);
    fake_stop();
}

TEST(what_is_wrong_is_named)
{
    static char bad[] = "a..b";
    static char dotted[] = "a..b";
    static char address[] = "$AQoAAAAAAAAAwGtu7K0lLRs"; /* as requests carry them */
    char *matchers[65];
    Railgun__EsSubscribe message = RAILGUN__ES_SUBSCRIBE__INIT;
    fake_start();
    struct conn *conn = fake_conn();
    for (unsigned i = 0; i < 65; i++) {
        matchers[i] = bad;
    }
    ck_assert_int_eq(subscribe(conn, 0, 1, &message), 0);
    fake_expect_error(conn, 1, ERR_CHANNEL, "a channel number from 1 on is needed");
    message.matchers = matchers;
    message.n_matchers = 1;
    ck_assert_int_eq(subscribe(conn, 1, 2, &message), 0);
    fake_expect_error(conn, 2, ERR_BAD_REQUEST, "matcher 0: empty word");
    message.n_matchers = 65;
    ck_assert_int_eq(subscribe(conn, 1, 3, &message), 0);
    fake_expect_error(conn, 3, ERR_QUOTA, "matchers: at most 64");
    message.n_matchers = 1;
    matchers[0] = address;
    ck_assert_int_eq(subscribe(conn, 1, 9, &message), 0);
    fake_expect_error(conn, 9, ERR_DENIED, "matcher: replies are for who asked alone");
    message.n_matchers = 0;
    message.group = dotted;
    ck_assert_int_eq(subscribe(conn, 1, 4, &message), 0);
    fake_expect_error(conn, 4, ERR_BAD_REQUEST, "group: empty word");
    message.group = NULL;
    message.has_policy = true;
    message.policy = (Railgun__EsSubscribe__Policy) 4;
    ck_assert_int_eq(subscribe(conn, 1, 5, &message), 0);
    fake_expect_error(conn, 5, ERR_BAD_REQUEST, "policy: unknown");
    message.has_policy = false;
    message.has_sticky_by_key = true;
    message.sticky_by_key = true;
    ck_assert_int_eq(subscribe(conn, 1, 6, &message), 0);
    fake_expect_error(conn, 6, ERR_BAD_REQUEST, "sticky_by_key: for groups only");
    message.sticky_by_key = false;
    ck_assert_int_eq(subscribe(conn, 1, 0, &message), 0);
    ck_assert_uint_eq(fake.added, 0);
    ck_assert_int_eq(subscribe(conn, 1, 7, &message), 0);
    ck_assert_int_eq(subscribe(conn, 1, 8, &message), 0);
    fake_expect_error(conn, 8, ERR_CHANNEL, "the channel is in use");
    ck_assert_int_eq(subscribe(conn, 2, 7, &message), 0);
    fake_expect_error(conn, 7, ERR_BAD_REQUEST, "corr is in use by an open request");
    ck_assert_uint_eq(fake.added, 1);
    fake_close(&conn);
    fake_stop();
}

TEST(a_quota_says_what_it_is)
{
    Railgun__EsSubscribe message = RAILGUN__ES_SUBSCRIBE__INIT;
    fake_start();
    fake.settings.subscriptions_max = 20;
    struct conn *conn = fake_conn();
    for (uint32_t i = 1; i <= 20; i++) {
        ck_assert_int_eq(subscribe(conn, i, i, &message), 0);
    }
    ck_assert_uint_eq(fake.added, 20);
    ck_assert_ptr_nonnull(session_find_subscription(&conn->session, 20));
    ck_assert_int_eq(subscribe(conn, 21, 21, &message), 0);
    fake_expect_error(conn, 21, ERR_QUOTA, "subscriptions of one connection: at most 20");
    struct conn *other = fake_conn();
    fake.settings.subscriptions_total_max = 20;
    ck_assert_int_eq(subscribe(other, 1, 1, &message), 0);
    fake_expect_error(other, 1, ERR_QUOTA, "subscriptions of all connections: at most 20");
    fake.settings.subscriptions_total_max = 100;
    fake.exchange.subscriptions_max = 20;
    ck_assert_int_eq(subscribe(other, 1, 2, &message), 0);
    fake_expect_error(other, 2, ERR_QUOTA, "subscriptions of the exchange: at most 20");
    ck_assert_uint_eq(fake.exchange.references, 20);
    fake_close(&conn);
    fake_close(&other);
    fake_stop();
}

TEST(clients_may_ask_for_a_shorter_queue_but_not_for_a_longer_one)
{
    Railgun__EsSubscribe message = RAILGUN__ES_SUBSCRIBE__INIT;
    struct frame_view view;
    fake_start();
    struct conn *conn = fake_conn();
    message.has_max_messages = true;
    message.max_messages = 5;
    message.has_max_bytes = true;
    message.max_bytes = UINT64_MAX;
    ck_assert_int_eq(subscribe(conn, 1, 1, &message), 0);
    subscriptions_on_confirmed(fake.frontd.subscriptions, fake.last_added);
    ck_assert(fake_frame(conn, &view));
    struct pb_field field;
    ck_assert_int_eq(pb_next(&view.body, &field), 1);
    ck_assert_int_eq(pb_next(&view.body, &field), 1);
    ck_assert_uint_eq(field.value, 5);
    ck_assert_int_eq(pb_next(&view.body, &field), 1);
    ck_assert_uint_eq(field.value, 16 << 20);
    fake_close(&conn);
    fake_stop();
}

TEST(before_the_catalogue_is_there_a_subscription_waits)
{
    Railgun__EsSubscribe message = RAILGUN__ES_SUBSCRIBE__INIT;
    fake_start();
    struct conn *conn = fake_conn();
    fake.exchange_error = ERR_AGAIN;
    ck_assert_int_eq(subscribe(conn, 1, 1, &message), ERR_AGAIN);
    fake.exchange_error = ERR_NO_QUORUM;
    ck_assert_int_eq(subscribe(conn, 1, 1, &message), 0);
    fake_expect_error(conn, 1, ERR_NO_QUORUM, "raftd is not reachable");
    fake.exchange_error = ERR_NOT_FOUND;
    ck_assert_int_eq(subscribe(conn, 1, 1, &message), 0);
    fake_expect_error(conn, 1, ERR_NOT_FOUND, "no such exchange");
    fake_close(&conn);
    fake_stop();
}
