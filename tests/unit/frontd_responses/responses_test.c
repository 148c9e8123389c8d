/* responses: replies, and every other way in which a request ends. */
#include "frontd/responses.h"

#include "common/base/err.h"
#include "tests/lib/test.h"
#include "tests/unit/frontd_responses/expect.h"
#include "tests/unit/frontd_responses/fake.h"

/* --- one reply --- */

static void round_trip(unsigned from, unsigned to)
{
    fake_start();
    struct client *asker = client_open(from);
    struct client *responder = client_open(to);
    fake_receiver(responder, FATE_DELIVERED);
    ck_assert_int_eq(client_request(asker, 7, NULL), 0);
    fake_settle();
    expect_nothing(asker);
    ck_assert_int_eq(client_reply(responder, 3, client_address(responder), "answer"), 0);
    fake_settle();
    expect_reply(asker, 7, "answer", false, 1);
    expect_reply_ok(responder, 3);
    /* the stream is gone */
    ck_assert_int_eq(client_reply(responder, 4, client_address(responder), "again"), 0);
    fake_settle();
    expect_error(responder, 4, ERR_RS_CLOSED);
    expect_nothing(asker);
    fake_advance(20000);
    expect_nothing(asker);
    ck_assert_uint_eq(asker->session.request_count, 0);
    ck_assert_uint_eq(responder->session.request_count, 0);
    ck_assert_uint_eq(counts_of(from).ok, 1);
    ck_assert_uint_eq(counts_of(from).open, 0);
    ck_assert_uint_eq(counts_of(to).closed_replies, 1);
    ck_assert_uint_eq(counts_of(to).awaiting, 0);
    fake_stop();
}

TEST(a_reply_comes_to_who_asked)
{
    round_trip(0, 0);
}

TEST(a_reply_comes_over_the_bus)
{
    round_trip(0, 2);
}

TEST(a_local_reply_is_passed_on_in_the_call_itself)
{
    fake_start();
    struct client *asker = client_open(1);
    struct client *responder = client_open(1);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(asker, 7, NULL);
    (void) client_reply(responder, 0, client_address(responder), "answer");
    expect_reply(asker, 7, "answer", false, 1);
    ck_assert(!fake_bus_step());
    expect_nothing(responder); /* corr 0: no answer */
    fake_stop();
}

TEST(an_empty_reply_is_a_reply)
{
    fake_start();
    struct client *asker = client_open(0);
    fake_receiver(asker, FATE_DELIVERED); /* who may be the same */
    (void) client_request(asker, 7, NULL);
    (void) client_reply(asker, 0, client_address(asker), "");
    expect_reply(asker, 7, "", false, 1);
    fake_stop();
}

TEST(a_correlation_is_free_again_after_the_result)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *responder = client_open(0);
    fake_receiver(responder, FATE_DELIVERED);
    for (unsigned i = 0; i < 3; i++) {
        (void) client_request(asker, 7, NULL);
        (void) client_reply(responder, 0, client_address(responder), "answer");
        expect_reply(asker, 7, "answer", false, 1);
    }
    (void) client_request(asker, 7, NULL);
    (void) client_request(asker, 7, NULL);
    expect_end(asker, 7, ERR_BAD_REQUEST, 0);
    ck_assert_uint_eq(counts_of(0).open, 1);
    fake_stop();
}

/* --- nobody, lost, late --- */

TEST(no_entity_means_no_responders_at_once)
{
    fake_start();
    struct client *asker = client_open(0);
    (void) client_request(asker, 7, NULL);
    expect_end(asker, 7, ERR_NO_RESPONDERS, 0);
    ck_assert_uint_eq(counts_of(0).no_responders, 1);
    fake_stop();
}

TEST(who_cannot_take_it_does_not_count)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *responder = client_open(0);
    fake_receiver(responder, FATE_REFUSED);
    fake_receiver(responder, FATE_DROPPED);
    (void) client_request(asker, 7, NULL);
    expect_end(asker, 7, ERR_NO_RESPONDERS, 0);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(asker, 8, NULL);
    expect_nothing(asker);
    client_close(responder);
    expect_end(asker, 8, ERR_RESPONDER_LOST, 0);
    fake_stop();
}

TEST(one_that_is_dropped_while_it_waits_does_not_count)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *responder = client_open(0);
    fake_receiver(responder, FATE_QUEUED);
    fake_receiver(responder, FATE_QUEUED);
    (void) client_request(asker, 7, NULL);
    ck_assert(fake_queue_run(true));
    expect_nothing(asker);
    ck_assert(fake_queue_run(true));
    expect_end(asker, 7, ERR_NO_RESPONDERS, 0);
    fake_stop();
}

TEST(one_that_waits_when_its_connection_closes_was_not_delivered)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *responder = client_open(0);
    fake_receiver(responder, FATE_QUEUED);
    (void) client_request(asker, 7, NULL);
    client_close(responder);
    expect_end(asker, 7, ERR_NO_RESPONDERS, 0);
    fake_stop();
}

TEST(undelivered_elsewhere_is_no_responders)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *gone = client_open(1);
    struct client *full = client_open(2);
    fake_receiver(gone, FATE_DELIVERED);
    fake_receiver(full, FATE_DROPPED);
    client_close(gone);
    (void) client_request(asker, 7, NULL);
    expect_nothing(asker);
    fake_settle();
    expect_end(asker, 7, ERR_NO_RESPONDERS, 0);
    fake_stop();
}

static void lost_responder(unsigned node)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *responder = client_open(node);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(asker, 7, NULL);
    fake_settle();
    client_close(responder);
    fake_settle();
    expect_end(asker, 7, ERR_RESPONDER_LOST, 0);
    fake_advance(20000);
    expect_nothing(asker);
    ck_assert_uint_eq(counts_of(0).lost, 1);
    ck_assert_uint_eq(counts_of(node).awaiting, 0);
    fake_stop();
}

TEST(a_responder_that_dies_is_told_of_at_once)
{
    lost_responder(0);
}

TEST(a_responder_that_dies_elsewhere_is_told_of_at_once)
{
    lost_responder(1);
}

TEST(a_result_behind_the_end_of_a_turn_makes_another_turn)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *responder = client_open(0);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(asker, 7, NULL);
    client_close(responder);
    expect_end(asker, 7, ERR_RESPONDER_LOST, 0);
    ck_assert(fake_is_deferred());
    fake_stop();
}

TEST(only_when_all_are_lost_the_request_is)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *here = client_open(0);
    struct client *there[2] = {client_open(1), client_open(2)};
    fake_receiver(here, FATE_DELIVERED);
    fake_receiver(here, FATE_DELIVERED); /* two subscriptions of one connection */
    fake_receiver(there[0], FATE_DELIVERED);
    fake_receiver(there[1], FATE_DELIVERED);
    fake_receiver(there[1], FATE_DELIVERED);
    (void) client_request(asker, 7, NULL);
    (void) client_request(asker, 8, NULL);
    fake_settle();
    client_close(there[1]);
    client_close(here);
    fake_settle();
    expect_nothing(asker);
    (void) client_reply(there[0], 0, client_address_at(there[0], 1), "answer");
    fake_settle();
    expect_reply(asker, 8, "answer", false, 1);
    client_close(there[0]);
    fake_settle();
    expect_end(asker, 7, ERR_RESPONDER_LOST, 0);
    expect_nothing(asker);
    fake_stop();
}

TEST(a_mixture_of_undelivered_and_lost_is_lost)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *responder = client_open(1);
    fake_receiver(responder, FATE_DELIVERED);
    fake_receiver(responder, FATE_DROPPED);
    (void) client_request(asker, 7, NULL);
    fake_settle();
    expect_nothing(asker);
    client_close(responder);
    fake_settle();
    expect_end(asker, 7, ERR_RESPONDER_LOST, 0);
    fake_stop();
}

TEST(losses_of_a_turn_go_in_one_event)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *responders[2] = {client_open(1), client_open(1)};
    fake_receiver(responders[0], FATE_DELIVERED);
    fake_receiver(responders[1], FATE_DELIVERED);
    for (uint64_t corr = 1; corr <= 100; corr++) {
        (void) client_request(asker, corr, NULL);
    }
    fake_settle();
    client_close(responders[0]);
    client_close(responders[1]);
    fake_settle();
    ck_assert_uint_eq(fake.lost_events, 1);
    for (uint64_t corr = 1; corr <= 100; corr++) {
        expect_end(asker, corr, ERR_RESPONDER_LOST, 0);
    }
    fake_stop();
}

TEST(a_frontd_that_dies_takes_its_responders_with_it)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *there = client_open(1);
    struct client *elsewhere = client_open(2);
    fake_receiver(there, FATE_DELIVERED);
    (void) client_request(asker, 1, NULL);
    fake_receiver(elsewhere, FATE_DELIVERED);
    (void) client_request(asker, 2, NULL);
    fake_settle();
    (void) client_request(asker, 3, NULL); /* on its way */
    fake_kill(1, true);
    fake_settle();
    expect_end(asker, 1, ERR_RESPONDER_LOST, 0);
    expect_nothing(asker);
    fake_kill(2, false);
    struct es_result first = result_next(asker, asker->sent[asker->seen].corr);
    struct es_result second = result_next(asker, asker->sent[asker->seen].corr);
    ck_assert_int_eq(-(int) first.code, ERR_RESPONDER_LOST);
    ck_assert_int_eq(-(int) second.code, ERR_RESPONDER_LOST);
    expect_nothing(asker);
    fake_stop();
}

TEST(what_was_told_before_a_frontd_died_is_not_counted_twice)
{
    fake_start();
    struct client *asker = client_open(0);
    struct client *here = client_open(0);
    struct client *there[2] = {client_open(1), client_open(1)};
    fake_receiver(here, FATE_DELIVERED);
    fake_receiver(there[0], FATE_DELIVERED);
    fake_receiver(there[1], FATE_DELIVERED);
    (void) client_request(asker, 7, NULL);
    fake_settle();
    client_close(there[0]);
    fake_settle();
    fake_kill(1, true);
    fake_settle();
    expect_nothing(asker);
    (void) client_reply(here, 0, client_address(here), "answer");
    expect_reply(asker, 7, "answer", false, 1);
    fake_stop();
}

TEST(a_frontd_that_comes_again_knows_nothing_of_old_requests)
{
    fake_start();
    struct client *asker = client_open(1);
    struct client *responder = client_open(0);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(asker, 7, NULL);
    fake_settle();
    ck_assert_uint_eq(counts_of(0).awaiting, 1);
    fake_kill(1, true);
    ck_assert_uint_eq(counts_of(0).awaiting, 0);
    (void) client_reply(responder, 3, client_address(responder), "answer");
    fake_settle();
    expect_error(responder, 3, ERR_RS_CLOSED);
    fake_stop();
}

TEST(without_a_reply_time_runs_out)
{
    fake_start();
    struct request_options options = {.timeout_ms = 300};
    struct client *asker = client_open(0);
    struct client *responder = client_open(0);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(asker, 1, NULL);
    (void) client_request(asker, 2, &options);
    fake_advance(299);
    expect_nothing(asker);
    fake_advance(1);
    expect_end(asker, 2, ERR_RS_TIMEOUT, 0);
    fake_advance(4699);
    expect_nothing(asker);
    fake_advance(1);
    expect_end(asker, 1, ERR_RS_TIMEOUT, 0);
    (void) client_reply(responder, 3, client_address(responder), "late");
    expect_error(responder, 3, ERR_RS_CLOSED);
    expect_nothing(asker);
    ck_assert_uint_eq(counts_of(0).timeouts, 2);
    ck_assert_uint_eq(counts_of(0).awaiting, 0);
    fake_stop();
}

TEST(what_a_responder_elsewhere_has_is_forgotten_in_time)
{
    fake_start();
    struct request_options options = {.timeout_ms = 300};
    struct client *asker = client_open(0);
    struct client *responder = client_open(1);
    fake_receiver(responder, FATE_DELIVERED);
    (void) client_request(asker, 2, &options);
    fake_settle();
    ck_assert_uint_eq(counts_of(1).awaiting, 1);
    fake_advance(300);
    ck_assert_uint_eq(counts_of(1).awaiting, 0);
    expect_end(asker, 2, ERR_RS_TIMEOUT, 0);
    fake_stop();
}

TEST(a_reply_and_the_timer_in_one_turn_make_one_result)
{
    fake_start();
    struct request_options options = {.timeout_ms = 300};
    struct client *asker = client_open(0);
    struct client *there = client_open(1);
    fake_receiver(there, FATE_DELIVERED);
    (void) client_request(asker, 1, &options);
    (void) client_request(asker, 2, &options);
    fake_settle();
    /* 1: the reply is there first. 2: it is on its way when time is over. */
    (void) client_reply(there, 1, client_address_at(there, 0), "answer");
    fake_bus_run();
    (void) client_reply(there, 2, client_address_at(there, 1), "answer");
    fake_advance(300);
    expect_reply(asker, 1, "answer", false, 1);
    expect_end(asker, 2, ERR_RS_TIMEOUT, 0);
    expect_nothing(asker);
    expect_reply_ok(there, 1);
    expect_error(there, 2, ERR_RS_CLOSED);
    fake_stop();
}

TEST(a_loss_after_the_reply_changes_nothing)
{
    for (unsigned node = 0; node < 2; node++) {
        fake_start();
        struct client *asker = client_open(0);
        struct client *responder = client_open(node);
        fake_receiver(responder, FATE_DELIVERED);
        fake.asks_are_slow = true;
        (void) client_request(asker, 7, NULL);
        fake_settle();
        (void) client_reply(responder, 1, client_address(responder), "answer");
        client_close(responder); /* the reply is on its way, the loss behind it */
        fake_settle();
        expect_reply(asker, 7, "answer", false, 1);
        expect_nothing(asker);
        ck_assert_uint_eq(counts_of(node).awaiting, 0);
        fake_stop();
        fake = (struct fake){0};
    }
}
