/* responses: every way in which a request ends, and that it ends once. */
#include "frontd/responses.h"

#include <stdio.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "frontd/exchange.h"
#include "frontd/reply_to.h"
#include "frontd/switch.h"
#include "tests/lib/test.h"
#include "tests/unit/frontd_responses/fake.h"

/* The next frame is a Result of this request. */
static struct es_result result_next(struct client *client, uint64_t corr)
{
    struct es_result result;
    const struct sent *sent = client_next(client);
    ck_assert_ptr_nonnull(sent);
    ck_assert_uint_eq(sent->field, RAILGUN__FRAME__BODY_RESULT);
    ck_assert_uint_eq(sent->corr, corr);
    ck_assert_int_eq(es_result_read(buf_span(&sent->body), &result), 0);
    return result;
}

/* ... the final one, with this code and number of replies. */
static void expect_end(struct client *client, uint64_t corr, int error, uint32_t replies)
{
    struct es_result result = result_next(client, corr);
    ck_assert_int_eq(-(int) result.code, error);
    ck_assert(!result.more);
    ck_assert_uint_eq(result.replies, replies);
    ck_assert(result.has_message == (error == 0));
}

static void expect_reply(struct client *client, uint64_t corr, const char *payload, bool is_more,
                         uint32_t replies)
{
    struct es_limits limits = es_limits_default();
    struct es_message message;
    struct es_result result = result_next(client, corr);
    ck_assert_uint_eq(result.code, 0);
    ck_assert(result.more == is_more);
    ck_assert_uint_eq(result.replies, replies);
    ck_assert(result.has_message);
    ck_assert_int_eq(es_message_read(result.message, &limits, &message), 0);
    ck_assert(span_is(message.payload, payload));
}

static void expect_nothing(struct client *client)
{
    ck_assert_ptr_null(client_next(client));
}

static void expect_reply_ok(struct client *client, uint64_t corr)
{
    const struct sent *sent = client_next(client);
    ck_assert_ptr_nonnull(sent);
    ck_assert_uint_eq(sent->field, RAILGUN__FRAME__BODY_REPLY_OK);
    ck_assert_uint_eq(sent->corr, corr);
}

static void expect_error(struct client *client, uint64_t corr, int error)
{
    const struct sent *sent = client_next(client);
    struct pb_field field;
    ck_assert_ptr_nonnull(sent);
    ck_assert_uint_eq(sent->field, RAILGUN__FRAME__BODY_ERROR);
    ck_assert_uint_eq(sent->corr, corr);
    struct span rest = buf_span(&sent->body);
    ck_assert_int_eq(pb_next(&rest, &field), 1);
    ck_assert_int_eq(-(int) field.value, error);
}

static struct responses_counts counts_of(unsigned node)
{
    struct responses_counts counts;
    responses_count(fake_frontd(node)->responses, &counts);
    return counts;
}

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

/* --- chance --- */

struct asked_model {
    struct client *asker;
    uint64_t corr;
    uint32_t max_replies;
    uint32_t replies;
    unsigned ends;
    bool was_closed;
};

enum { MODEL_MAX = 4000, CLIENTS = 9 };

static void model_read(struct client *client, struct asked_model *models, size_t count)
{
    const struct sent *sent = NULL;
    while ((sent = client_next(client)) != NULL) {
        struct es_result result;
        if (sent->field != RAILGUN__FRAME__BODY_RESULT) {
            continue;
        }
        TEST_ASSERT_FAST(sent->corr >= 1 && sent->corr <= count);
        struct asked_model *model = &models[sent->corr - 1];
        TEST_ASSERT_FAST(model->asker == client);
        TEST_ASSERT_FAST(es_result_read(buf_span(&sent->body), &result) == 0);
        TEST_ASSERT_FAST(model->ends == 0);
        if (result.has_message) {
            TEST_ASSERT_FAST(result.code == 0);
            TEST_ASSERT_FAST(result.replies == ++model->replies);
            TEST_ASSERT_FAST(result.more == (model->replies < model->max_replies));
        } else {
            TEST_ASSERT_FAST(result.code != 0 && !result.more);
            TEST_ASSERT_FAST(result.replies == model->replies);
        }
        model->ends += result.more ? 0 : 1;
    }
}

static void model_receivers(struct client **clients, struct prng *prng)
{
    static const enum fate fates[] = {FATE_DELIVERED, FATE_DELIVERED, FATE_DELIVERED,
                                      FATE_QUEUED,    FATE_DROPPED,   FATE_REFUSED};
    size_t count = prng_below(prng, 4);
    fake_receivers_reset();
    for (size_t i = 0; i < count; i++) {
        fake_receiver(clients[prng_below(prng, CLIENTS)],
                      fates[prng_below(prng, sizeof(fates) / sizeof(fates[0]))]);
    }
}

static void model_ask(struct client *asker, struct asked_model *models, size_t *count,
                      struct prng *prng)
{
    static const char *const names[] = {NULL, NULL, NULL, NULL, "a", "b"};
    struct asked_model *model = &models[*count];
    uint32_t max_replies = prng_below(prng, 3) == 0 ? 3 : 1;
    struct request_options options = {
        .timeout_ms = (uint32_t) (1 + prng_below(prng, 500)),
        .max_replies = max_replies,
        .response = names[prng_below(prng, sizeof(names) / sizeof(names[0]))],
    };
    *model = (struct asked_model){.asker = asker, .corr = *count + 1, .max_replies = max_replies};
    TEST_ASSERT_FAST(client_request(asker, model->corr, &options) == 0);
    ++*count;
}

static void model_event(struct client **clients, struct asked_model *models, size_t *count,
                        struct prng *prng)
{
    size_t which = prng_below(prng, CLIENTS);
    struct client *client = clients[which];
    uint64_t dice = prng_below(prng, 100);
    if (dice < 25) {
        model_receivers(clients, prng);
        model_ask(client, models, count, prng);
    } else if (dice < 50) {
        size_t given = client_given(client);
        if (given != 0) {
            size_t back = prng_below(prng, given < 5 ? given : 5);
            (void) client_reply(client, 0, client_address_at(client, given - 1 - back), "r");
        }
    } else if (dice < 52) {
        (void) client_reply(client, 0, span_of(prng_below(prng, 2) == 0 ? "a" : "b"), "r");
    } else if (dice < 55 && *count != 0) {
        struct asked_model *model = &models[prng_below(prng, *count)];
        if (model->asker->is_open) {
            (void) client_cancel(model->asker, model->corr);
        }
    } else if (dice < 58) {
        client_close(client);
    } else if (dice < 75) {
        (void) fake_bus_step();
    } else if (dice < 80) {
        (void) fake_queue_run(prng_below(prng, 2) == 0);
    } else if (dice < 84) {
        (void) fake_names_step();
    } else if (dice < 88) {
        fake_inlets_run();
    } else if (dice < 90) {
        fake.route_waits = prng_below(prng, 3) == 0;
    } else if (dice < 91) {
        fake_kill((unsigned) prng_below(prng, NODES), true);
    } else if (dice < 95) {
        fake_pass(prng_below(prng, 60));
    } else {
        fake_defer_run();
    }
}

static void model_run(uint64_t seed)
{
    static struct asked_model models[MODEL_MAX];
    struct client *clients[CLIENTS];
    size_t count = 0;
    struct prng prng;
    fake = (struct fake){0};
    fake_start();
    prng_init(&prng, seed);
    prng_init(&fake.prng, seed + 1);
    fake.is_random = true;
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = client_open(i % NODES);
    }
    for (unsigned step = 0; step < 3000 && count < MODEL_MAX; step++) {
        model_event(clients, models, &count, &prng);
        for (unsigned i = 0; i < CLIENTS; i++) {
            model_read(clients[i], models, count);
            if (!clients[i]->is_open) {
                clients[i] = client_open(i % NODES);
            }
        }
    }
    fake_settle();
    fake_pass(1000);
    fake_settle();
    for (unsigned i = 0; i < CLIENTS; i++) {
        model_read(clients[i], models, count);
    }
    for (size_t i = 0; i < count; i++) {
        if (models[i].asker->is_open) {
            ck_assert_msg(models[i].ends == 1, "seed %lu: request %zu ended %u times",
                          (unsigned long) seed, i + 1, models[i].ends);
        }
    }
    for (unsigned i = 0; i < NODES; i++) {
        ck_assert_uint_eq(counts_of(i).open, 0);
        ck_assert_uint_eq(counts_of(i).awaiting, 0);
    }
    ck_assert_uint_eq(fake.claims, 0);
    fake_stop();
}

TEST(whatever_happens_each_request_ends_once)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        model_run(seed);
    }
}
