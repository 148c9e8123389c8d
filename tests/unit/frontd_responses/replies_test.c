/* Requests that are cancelled, several replies, and addresses that are not what they should be. */
#include "frontd/responses.h"

#include "common/base/err.h"
#include "frontd/reply_to.h"
#include "tests/lib/test.h"
#include "tests/unit/frontd_responses/expect.h"
#include "tests/unit/frontd_responses/fake.h"

/* --- cancel --- */

TEST(a_cancelled_request_ends_at_once)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *responder = client_open(0);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(asker, 7, NULL);
    (void) client_request(asker, 8, NULL);
    ck_assert_int_eq(client_cancel(asker, 7), 0);
    expect_end(asker, 7, ERR_RS_CANCELLED, 0);
    ck_assert_int_eq(client_cancel(asker, 7), 0);  /* over */
    ck_assert_int_eq(client_cancel(asker, 99), 0); /* never was */
    ck_assert_int_eq(client_cancel(asker, 0), 0);
    (void) client_reply(responder, 3, client_address_at(responder, 0), "answer");
    expect_error(responder, 3, ERR_RS_CLOSED);
    (void) client_reply(responder, 4, client_address_at(responder, 1), "answer");
    expect_reply_ok(responder, 4);
    expect_reply(asker, 8, "answer", false, 1);
    expect_nothing(asker);
    fake_stop();
}

TEST(cancel_is_for_requests_only)
{
    fake_start();
    struct client *client = client_open(0);
    session_corr_open(&client->session, 5); /* of something else that is open */
    ck_assert_int_eq(client_cancel(client, 5), 0);
    ck_assert(session_corr_is_open(&client->session, 5));
    expect_nothing(client);
    session_corr_close(&client->session, 5);
    fake_stop();
}

TEST(draining_cancels_what_is_open)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *responder = client_open(0);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(asker, 1, NULL);
    (void) client_request(asker, 2, NULL);
    fake.route_waits = true;
    (void) client_request(asker, 3, NULL);
    responses_session_drained(fake_frontd(0)->responses, &asker->session);
    expect_end(asker, 3, ERR_RS_CANCELLED, 0);
    expect_end(asker, 1, ERR_RS_CANCELLED, 0);
    expect_end(asker, 2, ERR_RS_CANCELLED, 0);
    ck_assert_uint_eq(asker->session.request_count, 0);
    fake_frontd(0)->is_grace_over = true;
    (void) client_request(asker, 4, NULL);
    expect_end(asker, 4, ERR_GOING_AWAY, 0);
    fake_inlets_run();
    expect_nothing(asker);
    fake_stop();
}

TEST(the_requester_gone_the_request_is_gone)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *responders[2] = {client_open(0), client_open(1)};
    fake_receiver(responders[0], FATE_DELIVERED);
    fake_receiver(responders[1], FATE_DELIVERED);
    (void) client_request(asker, 1, NULL);
    fake_settle();
    client_close(asker);
    ck_assert_uint_eq(counts_of(0).open, 0);
    for (unsigned i = 0; i < 2; i++) {
        (void) client_reply(responders[i], 9, client_address(responders[i]), "answer");
        fake_settle();
        expect_error(responders[i], 9, ERR_RS_CLOSED);
    }
    client_close(responders[1]);
    client_close(responders[0]);
    fake_settle();
    fake_stop();
}

/* --- several replies --- */

TEST(several_replies_come_with_more_until_the_last)
{
    fake_start();
    struct request_options options = {.max_replies = 3};
    struct client *asker = client_open(0);
    struct client *responders[2] = {client_open(0), client_open(1)};
    fake_receiver(responders[0], FATE_DELIVERED);
    fake_receiver(responders[1], FATE_DELIVERED);
    (void) client_request(asker, 7, &options);
    fake_settle();
    /* one responder may reply again */
    (void) client_reply(responders[1], 1, client_address(responders[1]), "a");
    (void) client_reply(responders[1], 2, client_address(responders[1]), "b");
    fake_settle();
    (void) client_reply(responders[0], 3, client_address(responders[0]), "c");
    (void) client_reply(responders[0], 4, client_address(responders[0]), "d");
    expect_reply(asker, 7, "a", true, 1);
    expect_reply(asker, 7, "b", true, 2);
    expect_reply(asker, 7, "c", false, 3);
    expect_nothing(asker);
    expect_reply_ok(responders[1], 1);
    expect_reply_ok(responders[1], 2);
    expect_reply_ok(responders[0], 3);
    expect_error(responders[0], 4, ERR_RS_CLOSED);
    fake_stop();
}

TEST(time_runs_out_with_the_replies_so_far)
{
    fake_start();
    struct request_options options = {.max_replies = 3};
    struct client *asker = client_open(0);
    struct client *responder = client_open(0);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(asker, 7, &options);
    (void) client_reply(responder, 1, client_address(responder), "a");
    (void) client_reply(responder, 2, client_address(responder), "b");
    fake_advance(5000);
    expect_reply(asker, 7, "a", true, 1);
    expect_reply(asker, 7, "b", true, 2);
    expect_end(asker, 7, ERR_RS_TIMEOUT, 2);
    fake_stop();
}

static void several_then_loss(unsigned node)
{
    fake_start();
    struct request_options options = {.max_replies = 10};
    struct client *asker = client_open(0);
    struct client *responder = client_open(node);
    struct client *other = client_open(0);
    fake_receiver(responder, FATE_DELIVERED);
    fake_receiver(other, FATE_DELIVERED);
    fake.asks_are_slow = true;
    (void) client_request(asker, 7, &options);
    fake_settle();
    (void) client_reply(responder, 1, client_address(responder), "a");
    (void) client_reply(responder, 2, client_address(responder), "b");
    client_close(responder); /* must not overtake them */
    fake_settle();
    expect_reply(asker, 7, "a", true, 1);
    expect_reply(asker, 7, "b", true, 2);
    expect_nothing(asker); /* the other one may still reply */
    client_close(other);
    fake_settle();
    expect_end(asker, 7, ERR_RESPONDER_LOST, 2);
    ck_assert_uint_eq(counts_of(node).awaiting, 0);
    fake_stop();
}

TEST(with_nobody_left_to_reply_the_rest_is_lost)
{
    several_then_loss(0);
}

TEST(with_nobody_left_elsewhere_the_rest_is_lost)
{
    several_then_loss(1);
}

TEST(a_requester_that_does_not_read_is_told_so_and_its_connection_lives)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *responder = client_open(0);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(asker, 7, NULL);
    fake.outbound_bytes = 8 << 20;
    (void) client_reply(responder, 1, client_address(responder), "answer");
    expect_end(asker, 7, ERR_OVERLOADED, 0);
    expect_error(responder, 1, ERR_RS_CLOSED);
    fake_stop();
}

/* --- addresses --- */

static void expect_forgery(struct client *responder, const struct reply_to *address, int error)
{
    uint8_t text[REPLY_TO_SIZE];
    reply_to_write(address, text);
    (void) client_reply(responder, 9, span_make(text, sizeof(text)), "forged");
    fake_settle();
    expect_error(responder, 9, error);
}

TEST(a_forged_address_is_closed)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *responders[2] = {client_open(0), client_open(1)};
    struct reply_to address;
    fake_receiver(responders[0], FATE_DELIVERED);
    fake_receiver(responders[1], FATE_DELIVERED);
    (void) client_request(asker, 7, NULL);
    fake_settle();
    ck_assert_int_eq(reply_to_read(client_address(responders[0]), &address), 0);
    for (unsigned i = 0; i < 2; i++) {
        struct reply_to forged = address;
        forged.secret ^= 1;
        expect_forgery(responders[i], &forged, ERR_RS_CLOSED);
        forged = address;
        forged.request++;
        expect_forgery(responders[i], &forged, ERR_RS_CLOSED);
        forged = address;
        forged.frontd = 2;
        expect_forgery(responders[i], &forged, ERR_RS_CLOSED);
        forged.frontd = 3; /* not there */
        expect_forgery(responders[i], &forged, ERR_RS_CLOSED);
        forged.frontd = 255;
        expect_forgery(responders[i], &forged, ERR_RS_CLOSED);
    }
    expect_nothing(asker);
    (void) client_reply(responders[1], 9, client_address(responders[1]), "true");
    fake_settle();
    expect_reply(asker, 7, "true", false, 1);
    fake_stop();
}

TEST(a_malformed_address_is_a_bad_request)
{
    fake_start();
    struct client *client = client_open(0);
    (void) client_reply(client, 1, span_of("$"), "x");
    expect_error(client, 1, ERR_BAD_REQUEST);
    (void) client_reply(client, 2, span_of("$AAAAAAAAAAAAAAAAAAAAAA+"), "x");
    expect_error(client, 2, ERR_BAD_REQUEST);
    (void) client_reply(client, 3, span_of("not a name"), "x");
    expect_error(client, 3, ERR_BAD_REQUEST);
    (void) client_reply(client, 4, (struct span){0}, "x");
    expect_error(client, 4, ERR_BAD_REQUEST);
    fake_stop();
}

TEST(who_did_not_get_the_request_but_its_address_may_reply)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *responder = client_open(1);
    struct client *worker = client_open(2);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(asker, 7, NULL);
    fake_settle();
    (void) client_reply(worker, 1, client_address(responder), "done");
    fake_settle();
    expect_reply(asker, 7, "done", false, 1);
    expect_reply_ok(worker, 1);
    client_close(responder);
    fake_settle();
    expect_nothing(asker);
    fake_stop();
}

TEST(a_reply_to_a_frontd_that_dies_is_closed)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *responder = client_open(1);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(asker, 7, NULL);
    fake_settle();
    (void) client_reply(responder, 1, client_address(responder), "answer");
    fake_kill(0, false);
    fake_settle();
    expect_error(responder, 1, ERR_RS_CLOSED);
    (void) client_reply(responder, 2, client_address(responder), "answer");
    expect_error(responder, 2, ERR_RS_CLOSED);
    ck_assert_uint_eq(responder->session.request_count, 0);
    fake_stop();
}

TEST(a_reply_waits_when_its_neighbour_has_no_room)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *responder = client_open(1);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(asker, 7, NULL);
    fake_settle();
    fake.neighbour_is_full = true;
    ck_assert_int_eq(client_reply(responder, 1, client_address(responder), "a"), ERR_AGAIN);
    fake.neighbour_is_full = false;
    ck_assert_int_eq(client_reply(responder, 1, client_address(responder), "a"), 0);
    fake_settle();
    expect_reply(asker, 7, "a", false, 1);
    expect_reply_ok(responder, 1);
    fake_stop();
}
