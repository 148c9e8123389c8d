/* Connecting, reconnecting, heartbeats, closing. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/addresses.h"
#include "client/railgun.h"
#include "common/base/err.h"
#include "common/wire/pb.h"
#include "tests/lib/test.h"
#include "tests/unit/client/fake.h"

/* --- addresses --- */

TEST(addresses_of_all_forms_are_understood)
{
    struct addresses addresses;
    ck_assert_int_eq(addresses_parse(&addresses, "a:1, b ,[::1]:2,[fe80::1],::1,1.2.3.4:65535"), 0);
    ck_assert_uint_eq(addresses.count, 6);
    ck_assert_str_eq(addresses.items[0].host, "a");
    ck_assert_uint_eq(addresses.items[0].port, 1);
    ck_assert_str_eq(addresses.items[1].host, "b");
    ck_assert_uint_eq(addresses.items[1].port, ADDRESS_PORT_DEFAULT);
    ck_assert_str_eq(addresses.items[2].host, "::1");
    ck_assert_uint_eq(addresses.items[2].port, 2);
    ck_assert_str_eq(addresses.items[3].host, "fe80::1");
    ck_assert_uint_eq(addresses.items[3].port, ADDRESS_PORT_DEFAULT);
    ck_assert_str_eq(addresses.items[4].host, "::1");
    ck_assert_uint_eq(addresses.items[5].port, 65535);
    addresses_add(&addresses, span_of("b:7470"));
    ck_assert_uint_eq(addresses.count, 6);
    addresses_add(&addresses, span_of("nonsense:x"));
    ck_assert_uint_eq(addresses.count, 6);
    addresses_add(&addresses, span_of("c:7470"));
    ck_assert_uint_eq(addresses.count, 7);
    addresses_release(&addresses);
}

TEST(senseless_addresses_are_refused)
{
    static const char *const wrong[] = {
        "",        ",",    "a,",     ":1",   "a:",   "a:0",   "a:1x",
        "a:65536", "[::1", "[::1]x", "[]:1", "a:-1", "a:b:c:"};
    for (size_t i = 0; i + 1 < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct rg_client *client = NULL;
        ck_assert_msg(rg_connect(wrong[i], NULL, &client) == RG_ERR_USAGE, "\"%s\"", wrong[i]);
        ck_assert_ptr_null(client);
    }
}

/* --- connecting --- */

TEST(connects_pings_and_closes)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    uint64_t us = 0;
    ck_assert_int_eq(rg_ping(client, &us), 0);
    ck_assert_str_eq(rg_server_address(client), fake->address);
    rg_close(&client);
    ck_assert_ptr_null(client);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(nobody_there_is_said_at_once)
{
    struct rg_client *client = NULL;
    ck_assert_int_eq(rg_connect("127.0.0.1:1", NULL, &client), RG_ERR_CLOSED);
    ck_assert_ptr_null(client);
    ck_assert_ptr_nonnull(strstr(rg_last_error(NULL), "127.0.0.1:1: Connection refused"));
}

TEST(a_name_that_cannot_be_resolved_is_said)
{
    struct rg_client *client = NULL;
    ck_assert_int_eq(rg_connect("no.such.host.invalid:1", NULL, &client), RG_ERR_CLOSED);
    ck_assert_ptr_nonnull(strstr(rg_last_error(NULL), "cannot be resolved"));
}

TEST(the_next_address_is_tried_when_one_refuses)
{
    struct fake *fake = fake_new();
    char text[128];
    struct rg_client *client = NULL;
    (void) snprintf(text, sizeof(text), "127.0.0.1:1,%s", fake->address);
    ck_assert_int_eq(rg_connect(text, NULL, &client), 0);
    ck_assert_str_eq(rg_server_address(client), fake->address);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool refuse_version(struct fake *fake, const struct frame_view *view)
{
    (void) view;
    fake_send_error(fake, 0, 0, ERR_VERSION, "speaks version 9");
    return true;
}

TEST(a_refused_greeting_is_passed_on)
{
    struct fake *fake = fake_new();
    struct rg_client *client = NULL;
    fake_handle(fake, BODY(HELLO), refuse_version);
    ck_assert_int_eq(rg_connect(fake->address, NULL, &client), ERR_VERSION);
    ck_assert_ptr_nonnull(strstr(rg_last_error(NULL), "speaks version 9"));
    fake_destroy(&fake);
}

static bool say_nothing(struct fake *fake, const struct frame_view *view)
{
    (void) fake;
    (void) view;
    return true;
}

TEST(a_server_that_does_not_greet_is_given_up)
{
    struct fake *fake = fake_new();
    struct rg_client *client = NULL;
    struct rg_options options = {.connect_timeout_ms = 300};
    fake_handle(fake, BODY(HELLO), say_nothing);
    ck_assert_int_eq(rg_connect(fake->address, &options, &client), RG_ERR_CLOSED);
    fake_destroy(&fake);
}

TEST(wrong_arguments_are_refused)
{
    struct fake *fake = fake_new();
    struct rg_client *client = NULL;
    ck_assert_int_eq(rg_connect(NULL, NULL, &client), RG_ERR_USAGE);
    ck_assert_int_eq(rg_connect(fake->address, NULL, NULL), RG_ERR_USAGE);
    ck_assert_int_eq(rg_ping(NULL, NULL), RG_ERR_USAGE);
    ck_assert_int_eq(rg_publish(NULL, "s", "", 0, NULL), RG_ERR_USAGE);
    ck_assert_int_eq(rg_flush(NULL, 0), RG_ERR_USAGE);
    ck_assert_str_eq(rg_server_address(NULL), "");
    client = fake_client(fake, NULL);
    ck_assert_int_eq(rg_publish(client, NULL, "", 0, NULL), RG_ERR_USAGE);
    ck_assert_int_eq(rg_publish_batch(client, "s", NULL, 1, NULL, NULL), RG_ERR_USAGE);
    ck_assert_int_eq(rg_publish(client, "no spaces", "", 0, NULL), RG_ERR_BAD_REQUEST);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(errors_have_names_texts_and_advice)
{
    ck_assert_str_eq(rg_error_name(RG_ERR_WRONG_OFFSET), "WRONG_OFFSET");
    ck_assert_str_eq(rg_error_name(-99999), "UNKNOWN");
    ck_assert_ptr_nonnull(strstr(rg_error_text(RG_ERR_WRONG_OFFSET), "expected offset"));
    ck_assert(rg_error_is_retryable(RG_ERR_NO_QUORUM));
    ck_assert(rg_error_is_retryable(RG_ERR_TIMEOUT));
    ck_assert(!rg_error_is_retryable(RG_ERR_BAD_REQUEST));
    ck_assert(!rg_error_is_retryable(0));
}

/* --- states --- */

struct states {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned ups;
    unsigned downs;
    int reason;
};

static void on_state(void *ud, bool up, int reason)
{
    struct states *states = ud;
    pthread_mutex_lock(&states->lock);
    if (up) {
        states->ups++;
    } else {
        states->downs++;
        states->reason = reason;
    }
    pthread_cond_broadcast(&states->changed);
    pthread_mutex_unlock(&states->lock);
}

static void states_init(struct states *states)
{
    *states = (struct states){0};
    pthread_mutex_init(&states->lock, NULL);
    pthread_cond_init(&states->changed, NULL);
}

static void states_await(struct states *states, unsigned ups)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t) (25 * test_slowness());
    pthread_mutex_lock(&states->lock);
    while (states->ups < ups) {
        ck_assert_int_eq(pthread_cond_timedwait(&states->changed, &states->lock, &until), 0);
    }
    pthread_mutex_unlock(&states->lock);
}

TEST(a_lost_connection_is_reported_and_made_again)
{
    struct fake *fake = fake_new();
    struct states states;
    states_init(&states);
    struct rg_options options = {.on_state = on_state, .ud = &states, .reconnect_min_ms = 1};
    struct rg_client *client = fake_client(fake, &options);
    for (unsigned i = 1; i <= 3; i++) {
        fake_lock(fake);
        fake_hang_up(fake);
        fake_unlock(fake);
        states_await(&states, i);
        ck_assert_int_eq(rg_ping(client, NULL), 0);
    }
    ck_assert_uint_eq(states.downs, 3);
    ck_assert_int_eq(states.reason, RG_ERR_CLOSED);
    ck_assert_uint_eq(fake_connections(fake), 4);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(the_other_server_is_taken_when_one_goes_away)
{
    struct fake *one = fake_new();
    struct fake *other = fake_new();
    struct rg_client *client = NULL;
    char text[128];
    (void) snprintf(text, sizeof(text), "%s,%s", one->address, other->address);
    ck_assert_int_eq(rg_connect(text, NULL, &client), 0);
    ck_assert_str_eq(rg_server_address(client), one->address);
    fake_lock(one);
    fake_send(one, 0, 0, BODY(GO_AWAY), (struct span){0});
    fake_unlock(one);
    fake_await_connections(other, 1);
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    ck_assert_str_eq(rg_server_address(client), other->address);
    rg_close(&client);
    fake_destroy(&one);
    fake_destroy(&other);
}

TEST(going_away_waits_for_answers_that_are_on_their_way)
{
    struct fake *one = fake_new();
    struct fake *other = fake_new();
    struct rg_client *client = NULL;
    char text[128];
    (void) snprintf(text, sizeof(text), "%s,%s", one->address, other->address);
    ck_assert_int_eq(rg_connect(text, NULL, &client), 0);
    fake_handle(one, BODY(PUBLISH), say_nothing);
    struct rg_message message = {.payload = {"x", 1}};
    ck_assert_int_eq(rg_publish_async(client, "s", &message, NULL, NULL), 0);
    fake_await_frames(one, BODY(PUBLISH), 1);
    struct buf body = {0};
    pb_append_varint(&body, 1, 5000);
    fake_lock(one);
    fake_send(one, 0, 0, BODY(GO_AWAY), buf_span(&body));
    uint64_t corr = one->last_corr;
    fake_unlock(one);
    ck_assert_int_eq(rg_publish_async(client, "s", &message, NULL, NULL), 0); /* for the other */
    fake_lock(one);
    fake_send_publish_ok(one, corr, 1, 1);
    fake_unlock(one);
    fake_await_frames(other, BODY(PUBLISH), 1);
    ck_assert_int_eq(rg_flush(client, 30000), 0);
    ck_assert_uint_eq(fake_frames(one, BODY(PUBLISH)), 1);
    buf_release(&body);
    rg_close(&client);
    fake_destroy(&one);
    fake_destroy(&other);
}

TEST(peers_that_the_server_names_are_tried_too)
{
    struct fake *one = fake_new();
    struct fake *other = fake_new();
    struct rg_client *client = fake_client(one, NULL);
    struct buf body = {0};
    pb_append_bytes(&body, 2, span_of(other->address));
    fake_lock(one);
    fake_send(one, 0, 0, BODY(GO_AWAY), buf_span(&body));
    fake_unlock(one);
    fake_await_connections(other, 1);
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    ck_assert_str_eq(rg_server_address(client), other->address);
    buf_release(&body);
    rg_close(&client);
    fake_destroy(&one);
    fake_destroy(&other);
}

TEST(a_silent_server_is_given_up)
{
    struct fake *fake = fake_new();
    struct states states;
    states_init(&states);
    fake->heartbeat_ms = 60;
    fake_handle(fake, BODY(PING), say_nothing);
    struct rg_options options = {.on_state = on_state, .ud = &states};
    struct rg_client *client = fake_client(fake, &options);
    states_await(&states, 1);
    ck_assert_int_eq(states.reason, RG_ERR_HEARTBEAT_LOST);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(heartbeats_keep_an_idle_connection)
{
    struct fake *fake = fake_new();
    fake->heartbeat_ms = 1000; /* so long that a busy machine is not taken for a silent server */
    struct rg_client *client = fake_client(fake, NULL);
    fake_await_frames(fake, BODY(PING), 4); /* more than three heartbeats */
    ck_assert_uint_eq(fake_connections(fake), 1);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(the_servers_ping_is_answered)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    fake_lock(fake);
    fake_send(fake, 0, 7, BODY(PING), (struct span){0});
    fake_unlock(fake);
    fake_await_frames(fake, BODY(PONG), 1);
    ck_assert_uint_eq(fake_last_corr(fake), 7);
    rg_close(&client);
    fake_destroy(&fake);
}

/* --- deadlines --- */

TEST(a_request_without_an_answer_ends_in_time)
{
    struct fake *fake = fake_new();
    struct rg_options options = {.request_timeout_ms = 150};
    struct rg_client *client = fake_client(fake, &options);
    fake_handle(fake, BODY(PING), say_nothing);
    ck_assert_int_eq(rg_ping(client, NULL), RG_ERR_TIMEOUT);
    fake_handle(fake, BODY(PING), NULL);
    fake_ping(client);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(a_request_without_a_server_ends_in_time)
{
    struct fake *fake = fake_new();
    struct rg_options options = {.request_timeout_ms = 150};
    struct rg_client *client = fake_client(fake, &options);
    fake_lock(fake);
    fake->refuse = true;
    fake_hang_up(fake);
    fake_unlock(fake);
    /* The first may have been sent before the end was seen; a Ping is then repeated, and ends without a server too. */
    int result = rg_ping(client, NULL);
    ck_assert_msg(result == RG_ERR_CLOSED, "%d", result);
    ck_assert_int_eq(rg_publish(client, "s", "x", 1, NULL), RG_ERR_CLOSED);
    ck_assert_str_eq(rg_server_address(client), "");
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(a_request_is_repeated_on_the_next_connection)
{
    struct fake *fake = fake_new();
    struct rg_options options = {.reconnect_min_ms = 1};
    struct rg_client *client = fake_client(fake, &options);
    fake_lock(fake);
    fake_hang_up(fake);
    fake_unlock(fake);
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    rg_close(&client);
    fake_destroy(&fake);
}

/* --- a server gone mad --- */

static void mad_bytes(const char *bytes, size_t size)
{
    struct fake *fake = fake_new();
    struct rg_options options = {.reconnect_min_ms = 1};
    struct rg_client *client = fake_client(fake, &options);
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    fake_lock(fake);
    fake_send_raw(fake, span_make(bytes, size));
    fake_unlock(fake);
    fake_await_connections(fake, 2); /* it has hung up, and is back */
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(malformed_frames_end_the_connection)
{
    mad_bytes("\0\0\0\0", 4);                 /* an empty frame */
    mad_bytes("\xff\xff\xff\xff", 4);         /* 4 GiB */
    mad_bytes("\2\0\0\0\xff\xff", 6);         /* a tag without an end */
    mad_bytes("\3\0\0\0\x2a\x05\x01", 7);     /* a Deliver that is cut */
    mad_bytes("\3\0\0\0\x3a\x01\xff", 7);     /* a Credit that is none */
    mad_bytes("\4\0\0\0\x8a\x01\x01\xff", 8); /* a second HelloOk, malformed */
}

TEST(an_answer_to_a_publish_that_was_not_sent_ends_the_connection)
{
    struct fake *fake = fake_new();
    fake->publish_window = 0;
    struct rg_options options = {.reconnect_min_ms = 1, .request_timeout_ms = 2000};
    struct rg_client *client = fake_client(fake, &options);
    struct rg_message message = {.payload = {"x", 1}};
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    ck_assert_int_eq(rg_publish_async(client, "s", &message, NULL, NULL), 0);
    ck_assert_int_eq(rg_ping(client, NULL), 0); /* it is sealed and queued */
    fake_lock(fake);
    for (uint64_t corr = 1; corr < 10; corr++) {
        fake_send_publish_ok(fake, corr, 1, 1);
    }
    fake->publish_window = 1 << 20;
    fake_unlock(fake);
    ck_assert_int_eq(rg_flush(client, 30000), 0);
    ck_assert_uint_eq(fake_connections(fake), 2);
    rg_close(&client);
    fake_destroy(&fake);
}

/* Every frame kind with every small body: nothing may crash, and the client must always come back. */
TEST_WITHIN(no_small_frame_breaks_the_client, 60)
{
    struct fake *fake = fake_new();
    struct rg_options options = {.reconnect_min_ms = 1, .reconnect_max_ms = 1};
    struct rg_client *client = fake_client(fake, &options);
    static const char *const bodies[] = {"",
                                         "\x08\x01",
                                         "\x0a\x00",
                                         "\x12\x01x",
                                         "\xff",
                                         "\x7a\x02\x0a\x00",
                                         "\x0a\x05\x0a\x03\x08\x01\x10"};
    for (uint32_t field = 1; field < FAKE_FIELDS; field++) {
        for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
            for (uint32_t channel = 0; channel < 2; channel++) {
                fake_lock(fake);
                fake_send(fake, channel, channel, field, span_of(bodies[i]));
                fake_unlock(fake);
            }
        }
        ck_assert_int_eq(rg_ping(client, NULL), 0);
    }
    rg_close(&client);
    fake_destroy(&fake);
}

/* --- callbacks --- */

struct blocking {
    struct rg_client *client;
    int results[6];
    atomic_bool done;
};

static void block_inside(void *ud, int result, uint64_t offset)
{
    struct blocking *blocking = ud;
    struct rg_client *client = blocking->client;
    struct rg_reader *reader = NULL;
    struct rg_consumer *consumer = NULL;
    (void) result;
    (void) offset;
    blocking->results[0] = rg_ping(client, NULL);
    blocking->results[1] = rg_publish(client, "s", "", 0, NULL);
    blocking->results[2] = rg_flush(client, 1);
    blocking->results[3] = rg_reader_open(client, "s", (struct rg_start){0}, &reader);
    blocking->results[4] = rg_consume(client, "s", "g", NULL, &consumer);
    blocking->results[5] = rg_stream_ensure(client, "s", NULL, NULL);
    rg_close(&client);
    ck_assert_ptr_nonnull(client);
}

TEST(blocking_functions_are_refused_inside_callbacks)
{
    struct fake *fake = fake_new();
    struct blocking blocking = {.client = fake_client(fake, NULL)};
    struct rg_message message = {.payload = {"x", 1}};
    ck_assert_int_eq(rg_publish_async(blocking.client, "s", &message, block_inside, &blocking), 0);
    ck_assert_int_eq(rg_flush(blocking.client, 5000), 0);
    for (size_t i = 0; i < 6; i++) {
        ck_assert_int_eq(blocking.results[i], RG_ERR_USAGE);
    }
    rg_close(&blocking.client);
    fake_destroy(&fake);
}
