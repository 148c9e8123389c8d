/* What happens to a request before it goes out: names, waiting, refusals, limits. */
#include "frontd/responses.h"

#include "common/base/err.h"
#include "common/base/mem.h"
#include "frontd/reply_to.h"
#include "tests/lib/test.h"
#include "tests/unit/frontd_responses/expect.h"
#include "tests/unit/frontd_responses/fake.h"

/* --- names --- */

TEST(a_named_request_waits_for_its_name)
{
    fake_start();
    struct request_options options = {.response = "mine"};
    struct client *asker = client_open(0);
    struct client *responder = client_open(1);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(asker, 7, &options);
    (void) client_request(asker, 8, NULL); /* behind it, in order */
    fake_settle();
    ck_assert_uint_eq(client_given(responder), 0);
    ck_assert(fake_names_step());
    ck_assert_uint_gt(fake.progress, 0);
    fake_inlets_run();
    fake_settle();
    ck_assert_uint_eq(client_given(responder), 2);
    (void) client_reply(responder, 1, span_of("mine"), "by name");
    ck_assert(fake_names_step());
    fake_settle();
    expect_reply(asker, 7, "by name", false, 1);
    expect_reply_ok(responder, 1);
    ck_assert_uint_eq(fake.claims, 0);
    (void) client_reply(responder, 2, span_of("mine"), "again");
    ck_assert(fake_names_step());
    fake_settle();
    expect_error(responder, 2, ERR_RS_CLOSED);
    fake_stop();
}

TEST(a_name_of_this_frontd_needs_no_routerd)
{
    fake_start();
    struct request_options options = {.response = "mine"};
    struct client *asker = client_open(0);
    struct client *responder = client_open(0);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(asker, 7, &options);
    (void) client_reply(responder, 1, span_of("mine"), "too early");
    ck_assert(fake_names_step()); /* the claim */
    ck_assert(fake_names_step()); /* the lookup: the request is not out yet */
    expect_error(responder, 1, ERR_RS_CLOSED);
    fake_inlets_run();
    fake_names_down(true);
    (void) client_reply(responder, 2, span_of("mine"), "by name");
    expect_reply(asker, 7, "by name", false, 1);
    expect_reply_ok(responder, 2);
    fake_stop();
}

TEST(a_name_that_is_taken_is_refused)
{
    fake_start();
    struct request_options options = {.response = "mine"};
    struct client *askers[2] = {client_open(0), client_open(1)};
    struct client *responder = client_open(2);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(askers[0], 1, &options);
    (void) client_request(askers[0], 2, &options); /* of this frontd, waits behind the first */
    (void) client_request(askers[1], 3, &options); /* of another one */
    ck_assert(fake_names_step());
    fake_inlets_run();
    ck_assert(fake_names_step());
    fake_inlets_run();
    fake_settle();
    expect_end(askers[0], 2, ERR_RS_IN_USE, 0);
    expect_end(askers[1], 3, ERR_RS_IN_USE, 0);
    ck_assert_uint_eq(client_given(responder), 1);
    ck_assert_int_eq(client_cancel(askers[0], 1), 0);
    expect_end(askers[0], 1, ERR_RS_CANCELLED, 0);
    /* free again */
    (void) client_request(askers[1], 4, &options);
    ck_assert(fake_names_step());
    fake_inlets_run();
    fake_settle();
    ck_assert_uint_eq(client_given(responder), 2);
    fake_stop();
}

TEST(a_name_that_is_lost_to_another_ends_the_request)
{
    fake_start();
    struct request_options options = {.response = "mine"};
    struct client *asker = client_open(0);
    struct client *responder = client_open(0);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(asker, 7, &options);
    ck_assert(fake_names_step());
    fake_inlets_run();
    fake_name_lost("default/mine");
    expect_end(asker, 7, ERR_RS_IN_USE, 0);
    (void) client_reply(responder, 1, client_address(responder), "answer");
    expect_error(responder, 1, ERR_RS_CLOSED);
    fake_stop();
}

TEST(without_routerd_there_are_no_names)
{
    fake_start();
    struct request_options options = {.response = "mine"};
    struct client *client = client_open(0);
    fake_names_down(true);
    (void) client_request(client, 7, &options);
    (void) client_reply(client, 1, span_of("other"), "answer");
    ck_assert(fake_names_step());
    ck_assert(fake_names_step());
    expect_end(client, 7, ERR_NO_QUORUM, 0);
    expect_error(client, 1, ERR_NO_QUORUM);
    fake_inlets_run();
    expect_nothing(client);
    fake_stop();
}

TEST(a_reply_by_name_outlives_its_connection)
{
    fake_start();
    struct request_options options = {.response = "mine"};
    struct client *asker = client_open(0);
    struct client *responder = client_open(1);
    struct client *other = client_open(2);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(asker, 7, &options);
    ck_assert(fake_names_step());
    fake_inlets_run();
    fake_settle();
    (void) client_reply(other, 1, span_of("mine"), "answer");
    client_close(other);
    ck_assert(fake_names_step());
    fake_settle();
    expect_reply(asker, 7, "answer", false, 1);
    fake_stop();
}

TEST(a_claim_under_way_goes_with_its_request)
{
    fake_start();
    struct request_options options = {.response = "mine", .timeout_ms = 10};
    struct client *asker = client_open(0);
    struct client *gone = client_open(0);
    (void) client_request(asker, 7, &options);
    fake_advance(10);
    expect_end(asker, 7, ERR_RS_TIMEOUT, 0);
    (void) client_request(gone, 8, &options);
    client_close(gone);
    ck_assert(!fake_names_step());
    fake_inlets_run();
    expect_nothing(asker);
    fake_stop();
}

/* --- in the inlet --- */

TEST(time_runs_also_while_a_request_waits_for_its_route)
{
    fake_start();
    struct request_options options = {.timeout_ms = 300};
    struct client *asker = client_open(0);
    struct client *responder = client_open(0);
    fake_receiver(responder, FATE_DELIVERED);
    fake.route_waits = true;
    (void) client_request(asker, 7, &options);
    fake_advance(300);
    expect_end(asker, 7, ERR_RS_TIMEOUT, 0);
    ck_assert_uint_gt(fake.progress, 0); /* what is behind it may go */
    /* the correlation is free, and the old frame does not go out as the new request */
    (void) client_request(asker, 7, NULL);
    fake.route_waits = false;
    fake_inlets_run();
    ck_assert_uint_eq(client_given(responder), 1);
    (void) client_reply(responder, 0, client_address(responder), "answer");
    expect_reply(asker, 7, "answer", false, 1);
    expect_nothing(asker);
    fake_stop();
}

TEST(a_request_that_waits_can_be_cancelled)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *responder = client_open(0);
    fake_receiver(responder, FATE_DELIVERED);
    fake.has_no_room = true;
    (void) client_request(asker, 1, NULL);
    (void) client_request(asker, 2, NULL);
    (void) client_request(asker, 3, NULL);
    (void) client_cancel(asker, 2);
    expect_end(asker, 2, ERR_RS_CANCELLED, 0);
    fake.has_no_room = false;
    fake_inlets_run();
    ck_assert_uint_eq(client_given(responder), 2);
    (void) client_reply(responder, 0, client_address_at(responder, 1), "third");
    expect_reply(asker, 3, "third", false, 1);
    (void) client_reply(responder, 0, client_address_at(responder, 0), "first");
    expect_reply(asker, 1, "first", false, 1);
    fake_stop();
}

TEST(what_waits_too_long_is_refused)
{
    fake_start();
    struct client *asker = client_open(0);
    fake.route_waits = true;
    (void) client_request(asker, 1, NULL);
    (void) client_request(asker, 2, NULL);
    (void) client_cancel(asker, 1);
    expect_end(asker, 1, ERR_RS_CANCELLED, 0);
    fake_inlets_late();
    expect_end(asker, 2, ERR_NO_QUORUM, 0);
    expect_nothing(asker);
    ck_assert_uint_eq(counts_of(0).open, 0);
    fake_stop();
}

TEST(a_full_inlet_takes_nothing_and_counts_nothing)
{
    fake_start();
    struct client *asker = client_open(0);
    fake.inlet_is_full = true;
    ck_assert_int_eq(client_request(asker, 1, NULL), ERR_AGAIN);
    ck_assert_int_eq(client_request(asker, 1, NULL), ERR_AGAIN);
    ck_assert_uint_eq(counts_of(0).total, 0);
    ck_assert_uint_eq(counts_of(0).open, 0);
    fake.inlet_is_full = false;
    ck_assert_int_eq(client_request(asker, 1, NULL), 0);
    expect_end(asker, 1, ERR_NO_RESPONDERS, 0);
    fake_stop();
}

TEST(a_client_that_leaves_takes_its_waiting_requests_with_it)
{
    fake_start();
    struct client *asker = client_open(0);
    fake.route_waits = true;
    (void) client_request(asker, 1, NULL);
    (void) client_request(asker, 2, NULL);
    (void) client_cancel(asker, 1);
    client_close(asker);
    ck_assert_uint_eq(counts_of(0).open, 0);
    fake_advance(20000);
    fake_stop();
}

/* --- refused --- */

TEST(bad_requests_are_refused_with_a_result)
{
    static const struct request_options bad[] = {
        {.timeout_ms = 600001},
        {.max_replies = 65536},
        {.has_no_message = true},
        {.response = "a..b"},
        {.response = "$AAAAAAAAAAAAAAAAAAAAAAA"},
    };
    fake_start();
    struct client *asker = client_open(0);
    fake_receiver(asker, FATE_DELIVERED);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void) client_request(asker, i + 1, &bad[i]);
        expect_end(asker, i + 1, ERR_BAD_REQUEST, 0);
    }
    struct request_options allowed = {.timeout_ms = 600000, .max_replies = 65535};
    (void) client_request(asker, 99, &allowed);
    expect_nothing(asker);
    ck_assert_uint_eq(counts_of(0).open, 1);
    fake_stop();
}

TEST(routes_and_exchanges_refuse_with_their_code)
{
    fake_start();
    struct client *asker = client_open(0);
    fake_receiver(asker, FATE_DELIVERED);
    fake.topic_is_bad = true;
    (void) client_request(asker, 1, NULL);
    expect_end(asker, 1, ERR_BAD_REQUEST, 0);
    fake.topic_is_bad = false;
    fake.route_error = ERR_QUOTA;
    (void) client_request(asker, 2, NULL);
    expect_end(asker, 2, ERR_QUOTA, 0);
    fake.route_error = 0;
    fake.exchange_error = ERR_NOT_FOUND;
    (void) client_request(asker, 3, NULL);
    expect_end(asker, 3, ERR_NOT_FOUND, 0);
    fake.exchange_error = ERR_AGAIN;
    (void) client_request(asker, 4, NULL);
    expect_nothing(asker);
    fake.exchange_error = 0;
    fake_inlets_run();
    ck_assert_uint_eq(client_given(asker), 1);
    fake_stop();
}

TEST(a_message_that_is_too_large_with_its_address_is_refused)
{
    fake_start();
    struct client *asker = client_open(0);
    fake_receiver(asker, FATE_DELIVERED);
    size_t size = es_limits_default().message_bytes_max;
    char *payload = mem_new(size + 1);
    memset(payload, 'x',
           size - 7 - REPLY_TO_SIZE - 2); /* the topic takes 3, the payload's head 4 */
    struct request_options options = {.payload = payload};
    (void) client_request(asker, 1, &options);
    expect_nothing(asker);
    ck_assert_uint_eq(client_given(asker), 1);
    payload[size - 7 - REPLY_TO_SIZE - 2] = 'x';
    (void) client_request(asker, 2, &options);
    expect_end(asker, 2, ERR_TOO_LARGE, 0);
    mem_free(payload);
    fake_stop();
}

TEST(without_a_correlation_nobody_asks)
{
    fake_start();
    struct client *asker = client_open(0);
    fake_receiver(asker, FATE_DELIVERED);
    ck_assert_int_eq(client_request(asker, 0, NULL), 0);
    ck_assert_uint_eq(client_given(asker), 0);
    expect_nothing(asker);
    fake_stop();
}

/* --- limits --- */

TEST(beyond_the_open_requests_of_a_frontd_there_is_a_quota)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *responder = client_open(1);
    fake_set_open_max(3);
    fake_receiver(responder, FATE_DELIVERED);
    for (uint64_t corr = 1; corr <= 3; corr++) {
        (void) client_request(asker, corr, NULL);
    }
    (void) client_request(asker, 4, NULL);
    expect_end(asker, 4, ERR_QUOTA, 0);
    (void) client_cancel(asker, 2);
    expect_end(asker, 2, ERR_RS_CANCELLED, 0);
    (void) client_request(asker, 5, NULL);
    expect_nothing(asker);
    fake_stop();
}

TEST(beyond_the_requests_of_a_connection_it_is_not_read)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *responder = client_open(1);
    fake_receiver(responder, FATE_DELIVERED);
    for (uint64_t corr = 1; corr <= 1000; corr++) {
        ck_assert_int_eq(client_request(asker, corr, NULL), 0);
    }
    ck_assert_int_eq(client_request(asker, 1001, NULL), ERR_AGAIN);
    (void) client_cancel(asker, 2);
    ck_assert_int_eq(client_request(asker, 1001, NULL), 0);
    fake_stop();
}

TEST(beyond_the_limit_the_oldest_given_requests_are_forgotten)
{
    fake_start();
    struct client *askers[2] = {client_open(0), client_open(1)};
    struct client *responder = client_open(2);
    fake_set_open_max(3);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(askers[0], 1, NULL);
    fake_settle();
    (void) client_request(askers[0], 2, NULL);
    (void) client_request(askers[1], 3, NULL);
    (void) client_request(askers[1], 4, NULL);
    fake_settle();
    ck_assert_uint_eq(counts_of(2).awaiting, 3);
    client_close(responder);
    fake_settle();
    expect_end(askers[0], 2, ERR_RESPONDER_LOST, 0);
    expect_end(askers[1], 3, ERR_RESPONDER_LOST, 0);
    expect_end(askers[1], 4, ERR_RESPONDER_LOST, 0);
    expect_nothing(askers[0]); /* only time remains for the first */
    fake_advance(5000);
    expect_end(askers[0], 1, ERR_RS_TIMEOUT, 0);
    fake_stop();
}
