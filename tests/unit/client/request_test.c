/* Requests and replies: each ends once, whatever happens. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "client/client_private.h"
#include "client/railgun.h"
#include "common/base/err.h"
#include "common/wire/es.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"
#include "tests/unit/client/fake.h"
#include "tests/unit/client/fake_es.h"

/* What completions have seen: "RESULT[+]:PAYLOAD " for each, + for more. */
struct seen {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char log[4096];
    unsigned finals;
    struct rg_client *client;
};

static void seen_init(struct seen *seen)
{
    *seen = (struct seen){0};
    pthread_mutex_init(&seen->lock, NULL);
    pthread_cond_init(&seen->changed, NULL);
}

static void on_reply(void *ud, int result, bool more, const struct rg_es_delivery *reply)
{
    struct seen *seen = ud;
    pthread_mutex_lock(&seen->lock);
    size_t used = strlen(seen->log);
    (void) snprintf(seen->log + used, sizeof(seen->log) - used, "%d%s:%.*s ", result,
                    more ? "+" : "", reply != NULL ? (int) reply->payload.size : 4,
                    reply == NULL              ? "none"
                    : reply->payload.size != 0 ? (const char *) reply->payload.data
                                               : "");
    seen->finals += more ? 0 : 1;
    pthread_cond_broadcast(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
}

static struct timespec soon(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t) (25 * test_slowness());
    return until;
}

static void seen_await(struct seen *seen, const char *log)
{
    struct timespec until = soon();
    pthread_mutex_lock(&seen->lock);
    while (strcmp(seen->log, log) != 0) {
        if (pthread_cond_timedwait(&seen->changed, &seen->lock, &until) != 0) {
            ck_abort_msg("saw \"%s\", not \"%s\"", seen->log, log);
        }
    }
    pthread_mutex_unlock(&seen->lock);
}

static void seen_await_finals(struct seen *seen, unsigned count)
{
    struct timespec until = soon();
    pthread_mutex_lock(&seen->lock);
    while (seen->finals < count) {
        ck_assert_int_eq(pthread_cond_timedwait(&seen->changed, &seen->lock, &until), 0);
    }
    ck_assert_uint_eq(seen->finals, count);
    pthread_mutex_unlock(&seen->lock);
}

static uint64_t ask(struct rg_client *client, struct seen *seen,
                    const struct rg_request_options *options)
{
    struct rg_es_message message = {.topic = "q", .payload = {"x", 1}};
    uint64_t id = 0;
    int result = rg_request_async(client, &message, options, on_reply, seen, &id);
    ck_assert_msg(result == 0, "rg_request_async: %d %s", result, rg_last_error(client));
    ck_assert_uint_ne(id, 0);
    return id;
}

/* --- what a responder does --- */

static bool echo(struct fake *fake, const struct frame_view *view)
{
    struct es_limits limits = es_limits_default();
    struct es_request request;
    struct es_message message;
    char text[64];
    ck_assert_int_eq(es_request_read(view->body, &request), 0);
    ck_assert_int_eq(es_message_read(request.message, &limits, &message), 0);
    (void) snprintf(text, sizeof(text), "%.*s/%.*s", (int) message.topic.size,
                    (const char *) message.topic.data, (int) message.payload.size,
                    (const char *) message.payload.data);
    fake_es_result(fake, view->corr, 0, false, text);
    return true;
}

static bool keep_silent(struct fake *fake, const struct frame_view *view)
{
    (void) fake;
    (void) view;
    return true;
}

static bool hang_up(struct fake *fake, const struct frame_view *view)
{
    (void) view;
    fake_hang_up(fake);
    return true;
}

static void request(struct rg_client *client, const char *topic, const char *payload,
                    const char *expected)
{
    void *reply = NULL;
    size_t size = 0;
    int result = rg_request(client, topic, payload, strlen(payload), 0, &reply, &size);
    ck_assert_msg(result == 0, "rg_request: %d %s", result, rg_last_error(client));
    ck_assert_str_eq(reply, expected);
    ck_assert_uint_eq(size, strlen(expected));
    rg_free(reply);
}

TEST(a_request_gets_its_reply)
{
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(REQUEST), echo);
    struct rg_client *client = fake_client(fake, NULL);
    for (int i = 0; i < 50; i++) {
        char payload[16];
        char expected[32];
        (void) snprintf(payload, sizeof(payload), "p%d", i);
        (void) snprintf(expected, sizeof(expected), "a.b/p%d", i);
        request(client, "a.b", payload, expected);
    }
    void *reply = NULL;
    ck_assert_int_eq(rg_request(client, "a", "", 0, 0, &reply, NULL), 0);
    ck_assert_str_eq(reply, "a/");
    rg_free(reply);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool check_request(struct fake *fake, const struct frame_view *view)
{
    Railgun__Request *theirs = NULL;
    ck_assert_int_eq(SCAN_UNPACK(view->body, railgun__request, &theirs), 0);
    ck_assert_str_eq(theirs->exchange, "trams");
    ck_assert_uint_eq(theirs->timeout_ms, 1234);
    ck_assert_uint_eq(theirs->max_replies, 3);
    ck_assert_str_eq(theirs->response, "mine");
    ck_assert_str_eq(theirs->message->topic, "q");
    ck_assert_uint_eq(theirs->message->n_headers, 1);
    ck_assert_uint_eq(theirs->message->key.len, 1);
    SCAN_FREE(&theirs);
    fake_es_result(fake, view->corr, 0, true, "one");
    fake_es_result(fake, view->corr, 0, true, "");
    fake_es_result(fake, view->corr, 0, false, "three");
    fake_es_result(fake, view->corr, 0, false, "four"); /* too many: nobody hears of it */
    return true;
}

TEST(all_is_asked_as_given_and_several_replies_come_in_order)
{
    struct fake *fake = fake_new();
    struct seen seen;
    struct rg_header header = {{"n", 1}, {"v", 1}};
    struct rg_es_message message = {
        .topic = "q", .key = {"k", 1}, .headers = &header, .header_count = 1};
    struct rg_request_options options = {
        .exchange = "trams", .timeout_ms = 1234, .max_replies = 3, .response = "mine"};
    seen_init(&seen);
    fake_handle(fake, BODY(REQUEST), check_request);
    struct rg_client *client = fake_client(fake, NULL);
    ck_assert_int_eq(rg_request_async(client, &message, &options, on_reply, &seen, NULL), 0);
    seen_await(&seen, "0+:one 0+: 0:three ");
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    rg_close(&client);
    seen_await(&seen, "0+:one 0+: 0:three ");
    fake_destroy(&fake);
}

TEST(senseless_requests_and_replies_are_refused)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_es_message message = {.topic = "a.*"};
    struct rg_request_options options = {0};
    struct rg_bytes to = {"r", 1};
    void *reply = NULL;
    ck_assert_int_eq(rg_request(client, "..", "", 0, 0, &reply, NULL), RG_ERR_BAD_REQUEST);
    ck_assert_int_eq(rg_request(client, "a", NULL, 1, 0, &reply, NULL), RG_ERR_USAGE);
    ck_assert_int_eq(rg_request(client, "a", "", 0, 0, NULL, NULL), RG_ERR_USAGE);
    ck_assert_int_eq(rg_request(client, "a", "", 0, 600001, &reply, NULL), RG_ERR_USAGE);
    ck_assert_int_eq(rg_request(NULL, "a", "", 0, 0, &reply, NULL), RG_ERR_USAGE);
    ck_assert_int_eq(rg_request_async(client, &message, NULL, on_reply, NULL, NULL),
                     RG_ERR_BAD_REQUEST);
    message.topic = "a";
    ck_assert_int_eq(rg_request_async(client, &message, NULL, NULL, NULL, NULL), RG_ERR_USAGE);
    ck_assert_int_eq(rg_request_async(client, NULL, NULL, on_reply, NULL, NULL), RG_ERR_USAGE);
    options.max_replies = 65536;
    ck_assert_int_eq(rg_request_async(client, &message, &options, on_reply, NULL, NULL),
                     RG_ERR_USAGE);
    options = (struct rg_request_options){.response = "no way"};
    ck_assert_int_eq(rg_request_async(client, &message, &options, on_reply, NULL, NULL),
                     RG_ERR_BAD_REQUEST);
    options = (struct rg_request_options){.exchange = "no way"};
    ck_assert_int_eq(rg_request_async(client, &message, &options, on_reply, NULL, NULL),
                     RG_ERR_BAD_REQUEST);
    ck_assert_int_eq(rg_reply(client, (struct rg_bytes){NULL, 0}, "", 0), RG_ERR_USAGE);
    ck_assert_int_eq(rg_reply(client, (struct rg_bytes){"r", 2000}, "", 0), RG_ERR_USAGE);
    ck_assert_int_eq(rg_reply(client, to, NULL, 1), RG_ERR_USAGE);
    ck_assert_int_eq(rg_reply_message(client, to, NULL), RG_ERR_USAGE);
    rg_request_cancel(NULL, 1);
    rg_request_cancel(client, 4711);
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    ck_assert_uint_eq(fake_frames(fake, BODY(REQUEST)), 0);
    ck_assert_uint_eq(fake_frames(fake, BODY(REPLY)), 0);
    ck_assert_uint_eq(fake_frames(fake, BODY(REQUEST_CANCEL)), 0);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool lose_responder(struct fake *fake, const struct frame_view *view)
{
    fake_es_result(fake, view->corr, 0, true, "one");
    fake_es_result(fake, view->corr, ERR_RESPONDER_LOST, false, NULL);
    return true;
}

static bool refuse(struct fake *fake, const struct frame_view *view)
{
    fake_send_error(fake, 0, view->corr, ERR_DENIED, "not you");
    return true;
}

static bool fail_with_detail(struct fake *fake, const struct frame_view *view)
{
    struct buf body = {0};
    pb_append_varint(&body, 1, (uint64_t) -ERR_RS_IN_USE);
    pb_append_bytes(&body, 4, span_of("mine is taken"));
    fake_send(fake, 0, view->corr, BODY(RESULT), buf_span(&body));
    buf_release(&body);
    return true;
}

TEST(why_there_is_no_reply_is_said)
{
    struct fake *fake = fake_new();
    struct seen seen;
    void *reply = NULL;
    struct rg_request_options options = {.max_replies = 2};
    seen_init(&seen);
    struct rg_client *client = fake_client(fake, NULL);
    ck_assert_int_eq(rg_request(client, "a", "", 0, 0, &reply, NULL), RG_ERR_NO_RESPONDERS);
    ck_assert_ptr_nonnull(strstr(rg_last_error(client), "nobody listens"));
    fake_handle(fake, BODY(REQUEST), fail_with_detail);
    ck_assert_int_eq(rg_request(client, "a", "", 0, 0, &reply, NULL), RG_ERR_RS_IN_USE);
    ck_assert_str_eq(rg_last_error(client), "mine is taken");
    fake_handle(fake, BODY(REQUEST), refuse);
    ck_assert_int_eq(rg_request(client, "a", "", 0, 0, &reply, NULL), RG_ERR_DENIED);
    ck_assert_str_eq(rg_last_error(client), "not you");
    (void) ask(client, &seen, NULL);
    seen_await(&seen, "-403:none ");
    fake_handle(fake, BODY(REQUEST), lose_responder);
    (void) ask(client, &seen, &options);
    seen_await(&seen, "-403:none 0+:one -502:none ");
    ck_assert_ptr_null(reply);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(a_request_that_was_sent_is_unknown_when_the_connection_is_lost)
{
    struct fake *fake = fake_new();
    struct seen seen;
    void *reply = NULL;
    seen_init(&seen);
    fake_handle(fake, BODY(REQUEST), hang_up);
    struct rg_client *client = fake_client(fake, NULL);
    ck_assert_int_eq(rg_request(client, "a", "", 0, 0, &reply, NULL), RG_ERR_TIMEOUT);
    fake_handle(fake, BODY(REQUEST), keep_silent);
    (void) ask(client, &seen, NULL);
    (void) ask(client, &seen, NULL);
    fake_await_frames(fake, BODY(REQUEST), 3);
    fake_lock(fake);
    fake_hang_up(fake);
    fake_unlock(fake);
    seen_await(&seen, "-408:none -408:none ");
    fake_await_connections(fake, 3);
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    ck_assert_uint_eq(fake_frames(fake, BODY(REQUEST)), 3); /* never again */
    rg_close(&client);
    fake_destroy(&fake);
}

static void note_state(void *ud, bool up, int reason)
{
    atomic_int *downs = ud;
    (void) reason;
    atomic_fetch_add(downs, up ? 0 : 1);
}

/* Hangs up and is away until it is let in again. */
static void go_away(struct fake *fake, atomic_int *downs)
{
    int before = atomic_load(downs);
    fake_lock(fake);
    fake->refuse = true;
    fake_hang_up(fake);
    fake_unlock(fake);
    while (atomic_load(downs) == before) {
        sched_yield();
    }
}

static void come_back(struct fake *fake)
{
    fake_lock(fake);
    fake->refuse = false;
    fake_unlock(fake);
}

TEST(a_request_that_was_not_sent_goes_out_on_the_next_connection_in_order)
{
    struct fake *fake = fake_new();
    struct seen seen;
    atomic_int downs = 0;
    struct rg_options options = {.on_state = note_state, .ud = &downs, .reconnect_max_ms = 20};
    seen_init(&seen);
    struct rg_client *client = fake_client(fake, &options);
    go_away(fake, &downs);
    ck_assert_int_eq(rg_es_publish(client, "a", "1", 1), 0);
    (void) ask(client, &seen, NULL);
    ck_assert_int_eq(rg_es_publish(client, "a", "2", 1), 0);
    come_back(fake);
    seen_await(&seen, "-503:none ");
    fake_es_await(fake, "pub  a=1;req q=x;pub  a=2;");
    rg_close(&client);
    fake_destroy(&fake);
}

static bool is_draining(struct rg_client *client)
{
    client_lock(client);
    bool is = client->state == CLIENT_DRAINING;
    client_unlock(client);
    return is;
}

TEST(a_request_that_waits_while_the_server_goes_away_goes_to_the_next)
{
    struct fake *fake = fake_new();
    struct seen seen;
    struct buf body = {0};
    seen_init(&seen);
    fake_handle(fake, BODY(REQUEST), keep_silent);
    struct rg_client *client = fake_client(fake, NULL);
    (void) ask(client, &seen, NULL);
    fake_await_frames(fake, BODY(REQUEST), 1);
    pb_append_varint(&body, 1, 60000);
    fake_lock(fake);
    fake_send(fake, 0, 0, BODY(GO_AWAY), buf_span(&body));
    fake_unlock(fake);
    while (!is_draining(client)) {
        sched_yield();
    }
    (void) ask(client, &seen, NULL); /* not sent any more */
    fake_lock(fake);
    ck_assert_uint_eq(fake->frames[BODY(REQUEST)], 1);
    fake->handlers[BODY(REQUEST)] = NULL;
    fake_hang_up(fake);
    fake_unlock(fake);
    seen_await(&seen, "-408:none -503:none ");
    buf_release(&body);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(what_is_published_before_a_request_goes_before_it)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    void *reply = NULL;
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(rg_es_publish(client, "a", "1", 1), 0);
    }
    ck_assert_int_eq(rg_request(client, "q", "x", 1, 0, &reply, NULL), RG_ERR_NO_RESPONDERS);
    fake_lock(fake);
    const char *log = buf_text(&fake->es_log);
    ck_assert_str_eq(log + strlen(log) - strlen("a=1;req q=x;"), "a=1;req q=x;");
    ck_assert_uint_eq(fake->es_messages, 5);
    fake_unlock(fake);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool answer_late(struct fake *fake, const struct frame_view *view)
{
    fake_es_result(fake, fake->next_offset, 0, false, "late"); /* of the request before */
    fake->next_offset = view->corr;
    return true;
}

TEST(a_server_that_does_not_keep_the_time_does_not_hold_up_a_request)
{
    struct fake *fake = fake_new();
    struct seen seen;
    void *reply = NULL;
    struct rg_request_options options = {.timeout_ms = 1};
    seen_init(&seen);
    fake_handle(fake, BODY(REQUEST), answer_late);
    struct rg_client *client = fake_client(fake, NULL);
    (void) ask(client, &seen, &options);
    seen_await(&seen, "-408:none ");
    ck_assert_int_eq(rg_request(client, "q", "", 0, 1, &reply, NULL), RG_ERR_TIMEOUT);
    ck_assert_int_eq(rg_ping(client, NULL), 0); /* the late one did no harm */
    ck_assert_uint_eq(fake_connections(fake), 1);
    rg_close(&client);
    seen_await(&seen, "-408:none ");
    fake_destroy(&fake);
}

TEST(a_request_that_could_not_be_sent_in_time_is_never_sent)
{
    struct fake *fake = fake_new();
    struct seen seen;
    atomic_int downs = 0;
    struct rg_options options = {.on_state = note_state, .ud = &downs, .reconnect_max_ms = 20};
    struct rg_request_options short_time = {.timeout_ms = 1};
    seen_init(&seen);
    struct rg_client *client = fake_client(fake, &options);
    go_away(fake, &downs);
    (void) ask(client, &seen, &short_time);
    seen_await(&seen, "-602:none ");
    uint64_t id = ask(client, &seen, NULL);
    rg_request_cancel(client, id);
    seen_await(&seen, "-602:none -499:none ");
    rg_request_cancel(client, id);
    ck_assert_int_eq(rg_es_publish(client, "a", "1", 1), 0);
    come_back(fake);
    fake_es_await(fake, "pub  a=1;");
    rg_close(&client);
    fake_es_await(fake, "pub  a=1;");
    seen_await(&seen, "-602:none -499:none ");
    fake_destroy(&fake);
}

TEST(a_request_that_was_sent_is_cancelled_by_the_server)
{
    struct fake *fake = fake_new();
    struct seen seen;
    seen_init(&seen);
    fake_handle(fake, BODY(REQUEST), keep_silent);
    struct rg_client *client = fake_client(fake, NULL);
    uint64_t id = ask(client, &seen, NULL);
    fake_await_frames(fake, BODY(REQUEST), 1);
    rg_request_cancel(client, id);
    seen_await(&seen, "-499:none ");
    fake_es_await(fake, "cancel;");
    rg_request_cancel(client, id);
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    ck_assert_uint_eq(fake_frames(fake, BODY(REQUEST_CANCEL)), 1);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(closing_ends_every_request)
{
    struct fake *fake = fake_new();
    struct seen seen;
    atomic_int downs = 0;
    struct rg_options options = {.on_state = note_state, .ud = &downs, .request_timeout_ms = 1000};
    seen_init(&seen);
    fake_handle(fake, BODY(REQUEST), keep_silent);
    struct rg_client *client = fake_client(fake, &options);
    for (int i = 0; i < 100; i++) {
        (void) ask(client, &seen, NULL);
    }
    fake_await_frames(fake, BODY(REQUEST), 100);
    rg_close(&client);
    seen_await_finals(&seen, 100);

    client = fake_client(fake, &options);
    go_away(fake, &downs);
    for (int i = 0; i < 100; i++) {
        (void) ask(client, &seen, NULL);
    }
    rg_close(&client);
    seen_await_finals(&seen, 200);
    ck_assert_uint_eq(fake_frames(fake, BODY(REQUEST)), 100);
    fake_destroy(&fake);
}

static bool answer_badly(struct fake *fake, const struct frame_view *view)
{
    static const uint8_t bad[] = {0x7a, 2, 0x0a, 9};
    fake_send(fake, 0, view->corr, BODY(RESULT), span_make(bad, sizeof(bad)));
    return true;
}

static bool answer_otherwise(struct fake *fake, const struct frame_view *view)
{
    fake_send(fake, 0, view->corr, BODY(REPLY_OK), (struct span){0});
    return true;
}

TEST(an_answer_that_is_none_costs_the_connection)
{
    struct fake *fake = fake_new();
    void *reply = NULL;
    fake_handle(fake, BODY(REQUEST), answer_badly);
    struct rg_client *client = fake_client(fake, NULL);
    ck_assert_int_eq(rg_request(client, "q", "", 0, 0, &reply, NULL), RG_ERR_TIMEOUT);
    fake_handle(fake, BODY(REQUEST), answer_otherwise);
    ck_assert_int_eq(rg_request(client, "q", "", 0, 0, &reply, NULL), RG_ERR_TIMEOUT);
    fake_await_connections(fake, 3);
    rg_close(&client);
    fake_destroy(&fake);
}

static void *request_many(void *ud)
{
    for (int i = 0; i < 300; i++) {
        request(ud, "a.b", "p", "a.b/p");
    }
    return NULL;
}

TEST(threads_ask_side_by_side)
{
    struct fake *fake = fake_new();
    pthread_t threads[4];
    fake_handle(fake, BODY(REQUEST), echo);
    struct rg_client *client = fake_client(fake, NULL);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, request_many, client), 0);
    }
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
    rg_close(&client);
    fake_destroy(&fake);
}

static void ask_again(void *ud, int result, bool more, const struct rg_es_delivery *reply)
{
    struct seen *seen = ud;
    struct rg_es_message message = {.topic = "q", .payload = {"x", 1}};
    ck_assert(!more);
    ck_assert(result == 0 && reply != NULL);
    if (seen->finals < 20) {
        ck_assert_int_eq(rg_request_async(seen->client, &message, NULL, ask_again, seen, NULL), 0);
    }
    on_reply(ud, result, more, reply);
}

TEST(a_completion_may_ask_again)
{
    struct fake *fake = fake_new();
    struct seen seen;
    struct rg_es_message message = {.topic = "q", .payload = {"x", 1}};
    seen_init(&seen);
    fake_handle(fake, BODY(REQUEST), echo);
    seen.client = fake_client(fake, NULL);
    ck_assert_int_eq(rg_request_async(seen.client, &message, NULL, ask_again, &seen, NULL), 0);
    seen_await_finals(&seen, 21);
    rg_close(&seen.client);
    fake_destroy(&fake);
}

/* --- replies --- */

static bool close_response(struct fake *fake, const struct frame_view *view)
{
    fake_send_error(fake, 0, view->corr, ERR_RS_CLOSED, "too late");
    return true;
}

TEST(a_reply_goes_out_and_one_that_waits_learns_what_became_of_it)
{
    struct fake *fake = fake_new();
    struct rg_es_message message = {.payload = {"p2", 2}};
    struct rg_client *client = fake_client(fake, NULL);
    ck_assert_int_eq(rg_reply(client, (struct rg_bytes){"r1", 2}, "p1", 2), 0);
    ck_assert_int_eq(rg_reply_message(client, (struct rg_bytes){"r2", 2}, &message), 0);
    fake_es_await(fake, "rep r1=p1;rep r2=p2;");
    fake_handle(fake, BODY(REPLY), close_response);
    ck_assert_int_eq(rg_reply_message(client, (struct rg_bytes){"r2", 2}, &message),
                     RG_ERR_RS_CLOSED);
    ck_assert_str_eq(rg_last_error(client), "too late");
    fake_handle(fake, BODY(REPLY), hang_up);
    ck_assert_int_eq(rg_reply_message(client, (struct rg_bytes){"r2", 2}, &message),
                     RG_ERR_TIMEOUT);
    rg_close(&client);
    fake_destroy(&fake);
}
