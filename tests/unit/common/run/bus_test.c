/* bus: two sides in one loop: requests and their one outcome, credit, sizes, sessions. */
#include "common/run/bus.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/run/bus_private.h"

#include "tests/lib/test.h"
#include "tests/unit/common/run/bus_lib.h"

static bool side_has_answer(void *ud)
{
    const struct side *side = ud;
    return side->answered + side->unknown > 0;
}

TEST(a_request_is_answered_with_what_the_other_side_says)
{
    struct pair pair = {.server.on_message = side_echo};
    pair_open(&pair, NULL, NULL);
    ck_assert_str_eq(bus_link_name(pair.client.link), "server");
    ck_assert_str_eq(bus_link_name(pair.server.link), "client");
    ck_assert_ptr_eq(bus_peer_link(pair.peer), pair.client.link);
    ck_assert(bus_link_epoch(pair.client.link) == bus_epoch(pair.server.bus));
    struct bus_outgoing out = {.type = 7, .meta = span_of("meta")};
    ck_assert_int_eq(bus_request(pair.client.link, &out, 5000, side_done, &pair.client, NULL), 0);
    ck_assert_uint_eq(pair.client.answered, 0); /* never inside the call */
    run_until(pair.loop, side_has_answer, &pair.client);
    ck_assert_uint_eq(pair.client.answered, 1);
    ck_assert_int_eq(pair.client.last_status, 0);
    pair_close(&pair);
    ck_assert_uint_eq(pair.client.answered + pair.client.unknown, 1);
    ck_assert_uint_eq(pair.client.downs, 1);
    ck_assert_uint_eq(pair.server.downs, 1);
}

TEST(both_sides_of_a_session_may_ask)
{
    struct pair pair = {.client.on_message = side_echo};
    pair_open(&pair, NULL, NULL);
    struct bus_outgoing out = {.type = 7};
    ck_assert_int_eq(bus_request(pair.server.link, &out, 5000, side_done, &pair.server, NULL), 0);
    run_until(pair.loop, side_has_answer, &pair.server);
    ck_assert_uint_eq(pair.server.answered, 1);
    pair_close(&pair);
}

static void answer_with_error(struct side *side, struct bus_link *link, struct bus_message *message)
{
    (void) link;
    ck_assert_int_eq(bus_reply_error(side->bus, message->ticket, ERR_NOT_FOUND, "no such thing"),
                     0);
    ck_assert_int_eq(bus_reply_error(side->bus, message->ticket, ERR_NOT_FOUND, NULL), ERR_CLOSED);
}

TEST(an_error_is_an_answer)
{
    struct pair pair = {.server.on_message = answer_with_error};
    pair_open(&pair, NULL, NULL);
    struct bus_outgoing out = {.type = 7};
    ck_assert_int_eq(bus_request(pair.client.link, &out, 5000, side_done, &pair.client, NULL), 0);
    run_until(pair.loop, side_has_answer, &pair.client);
    ck_assert_int_eq(pair.client.last_status, ERR_NOT_FOUND);
    pair_close(&pair);
}

/* --- bodies --- */

struct kept {
    struct slice slice;
};

static void keep_body(struct side *side, struct bus_link *link, struct bus_message *message)
{
    struct kept *kept = side->ud;
    (void) link;
    kept->slice = slice_ref(&message->body);
}

TEST(a_body_of_any_size_arrives_whole_and_may_be_kept)
{
    static const size_t sizes[] = {0, 1, 63, 64, 4095, 4096, 4097, 65536, 3000000};
    struct kept kept = {0};
    struct pair pair = {.server = {.on_message = keep_body, .ud = &kept}};
    pair_open(&pair, NULL, NULL);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct payload *payload = payload_new(sizes[i]);
        for (size_t at = 0; at < sizes[i]; at++) {
            payload_data(payload)[at] = (uint8_t) (at * 31 + i);
        }
        struct bus_outgoing out = {
            .type = 7, .meta = span_make("meta", i % 5), .body = {payload, payload_span(payload)}};
        ck_assert_int_eq(bus_event(pair.client.link, &out), 0);
        struct payload *copy = payload_copy(payload_span(payload));
        payload_unref(&payload); /* the bus has its own reference */
        run_through(pair.loop, &pair.client);
        ck_assert(span_equal(kept.slice.bytes, payload_span(copy)));
        payload_unref(&copy);
        slice_release(&kept.slice);
    }
    pair_close(&pair);
}

TEST(a_message_over_the_limit_is_refused_before_it_is_sent)
{
    struct bus_options small = {.message_bytes_max = 100000};
    struct pair pair = {.server.on_message = side_echo};
    pair_open(&pair, &small, NULL);
    struct payload *payload = payload_new(100001);
    struct bus_outgoing out = {.type = 7, .body = {payload, payload_span(payload)}};
    ck_assert_int_eq(bus_event(pair.client.link, &out), ERR_TOO_LARGE);
    ck_assert_int_eq(bus_request(pair.client.link, &out, 1000, side_done, &pair.client, NULL),
                     ERR_TOO_LARGE);
    out.body.bytes.size = 100000 - BUS_HEAD_SIZE; /* exactly as much as goes */
    ck_assert_int_eq(bus_request(pair.client.link, &out, 8000, side_done, &pair.client, NULL), 0);
    run_until(pair.loop, side_has_answer, &pair.client);
    ck_assert_uint_eq(pair.client.answered, 1);
    payload_unref(&payload);
    pair_close(&pair);
}

/* --- exactly one outcome --- */

enum { ASKED = 3000, KEPT = 100 };

struct asked {
    unsigned outcomes;
    bool cancelled;
};

static void asked_done(void *ud, enum bus_outcome outcome, const struct bus_message *reply)
{
    struct asked *asked = ud;
    (void) reply;
    (void) outcome;
    asked->outcomes++;
}

struct kept_tickets {
    uint64_t tickets[ASKED];
    unsigned count;
};

/* Every fourth at once, every fourth never, the others later. */
static void answer_some(struct side *side, struct bus_link *link, struct bus_message *message)
{
    struct kept_tickets *kept = side->ud;
    if (message->subject % 4 == 0) {
        side_echo(side, link, message);
    } else if (message->subject % 4 != 1) {
        kept->tickets[kept->count++] = message->ticket;
    }
}

TEST(each_request_has_exactly_one_outcome_and_a_cancelled_one_none)
{
    struct kept_tickets *kept = MEM_NEW(struct kept_tickets);
    struct asked *asked = MEM_NEW_ARRAY(ASKED, struct asked);
    uint64_t *ids = MEM_NEW_ARRAY(ASKED, uint64_t);
    struct pair pair = {.server = {.on_message = answer_some, .ud = kept}};
    struct bus_stats stats;
    unsigned cancelled = 0;

    pair_open(&pair, NULL, NULL);
    for (unsigned i = 0; i < ASKED; i++) {
        struct bus_outgoing out = {.type = 7, .subject = i};
        ck_assert_int_eq(bus_request(pair.client.link, &out, 60000, asked_done, &asked[i], &ids[i]),
                         0);
    }
    run_through(pair.loop, &pair.client);
    for (unsigned i = 0; i < ASKED; i += 7) {
        if (asked[i].outcomes == 0) {
            bus_request_cancel(pair.client.bus, ids[i]);
            bus_request_cancel(pair.client.bus, ids[i]);
            asked[i].cancelled = true;
            cancelled++;
        }
    }
    for (unsigned i = 0; i < kept->count; i++) {
        struct bus_outgoing out = {.type = 7};
        ck_assert_int_eq(bus_reply(pair.server.bus, kept->tickets[i], &out), 0);
        ck_assert_int_eq(bus_reply(pair.server.bus, kept->tickets[i], &out), ERR_CLOSED);
    }
    run_through(pair.loop, &pair.client);
    bus_stats_read(pair.client.bus, &stats);
    ck_assert_uint_gt(stats.late, 0);
    pair_close(&pair); /* the never answered ones become unknown */
    for (unsigned i = 0; i < ASKED; i++) {
        TEST_ASSERT_FAST(asked[i].outcomes == (asked[i].cancelled ? 0 : 1));
    }
    ck_assert_uint_gt(cancelled, 100);
    mem_free(kept);
    mem_free(asked);
    mem_free(ids);
}

TEST(a_deadline_makes_a_request_unknown_and_the_late_answer_is_dropped)
{
    struct kept_tickets *kept = MEM_NEW(struct kept_tickets);
    struct pair pair = {.server = {.on_message = answer_some, .ud = kept}};
    struct bus_stats stats;

    pair_open(&pair, NULL, NULL);
    struct bus_outgoing out = {.type = 7, .subject = 2};
    ck_assert_int_eq(bus_request(pair.client.link, &out, 30, side_done, &pair.client, NULL), 0);
    run_until(pair.loop, side_has_answer, &pair.client);
    ck_assert_uint_eq(pair.client.unknown, 1);
    run_through(pair.loop, &pair.client);
    ck_assert_uint_eq(kept->count, 1);
    ck_assert_int_eq(bus_reply(pair.server.bus, kept->tickets[0], &out), 0);
    run_through(pair.loop, &pair.client);
    ck_assert_uint_eq(pair.client.unknown + pair.client.answered, 1);
    bus_stats_read(pair.client.bus, &stats);
    ck_assert_uint_eq(stats.late, 1);
    ck_assert_uint_eq(stats.unknown, 1);
    ck_assert_ptr_nonnull(pair.client.link); /* the session goes on */
    pair_close(&pair);
    mem_free(kept);
}

static void ask_again(void *ud, enum bus_outcome outcome, const struct bus_message *reply)
{
    struct side *side = ud;
    struct bus_outgoing out = {.type = 7};
    side_done(side, outcome, reply);
    if (outcome == BUS_UNKNOWN && side->link != NULL) {
        ck_assert_int_eq(bus_request(side->link, &out, 1000, side_done, side, NULL), ERR_CLOSED);
        ck_assert_int_eq(bus_event(side->link, &out), ERR_CLOSED);
    }
}

TEST(when_the_other_side_closes_open_requests_are_unknown_and_nothing_more_can_be_sent)
{
    struct pair pair = {0};
    pair_open(&pair, NULL, NULL);
    struct bus_outgoing out = {.type = 7};
    for (unsigned i = 0; i < 100; i++) {
        ck_assert_int_eq(bus_request(pair.client.link, &out, 60000, ask_again, &pair.client, NULL),
                         0);
    }
    run_through(pair.loop, &pair.client);
    side_close(&pair.server);
    ck_assert_uint_eq(pair.server.downs, 1);
    run_until(pair.loop, side_is_down, &pair.client);
    ck_assert_uint_eq(pair.client.unknown, 100);
    ck_assert_uint_eq(pair.client.downs, 1);
    ck_assert_ptr_null(bus_peer_link(pair.peer));
    ck_assert_int_eq(bus_event(bus_peer_link(pair.peer), &out), ERR_CLOSED);
    pair_close(&pair);
}

TEST(a_ticket_of_an_ended_session_answers_nobody)
{
    struct kept_tickets *kept = MEM_NEW(struct kept_tickets);
    struct pair pair = {.server = {.on_message = answer_some, .ud = kept}};
    pair_open(&pair, NULL, NULL);
    struct bus_outgoing out = {.type = 7, .subject = 2};
    ck_assert_int_eq(bus_request(pair.client.link, &out, 60000, side_done, &pair.client, NULL), 0);
    run_through(pair.loop, &pair.client);
    side_close(&pair.client);
    run_until(pair.loop, side_is_down, &pair.server);
    ck_assert_int_eq(bus_reply(pair.server.bus, kept->tickets[0], &out), ERR_CLOSED);
    bus_release(pair.server.bus, kept->tickets[0]);
    pair_close(&pair);
    mem_free(kept);
}

/* --- credit --- */

enum { HELD_MAX = 100000 };

struct held {
    uint64_t tickets[HELD_MAX];
    uint64_t last_subject;
    unsigned count;
    unsigned released;
};

static void hold_message(struct side *side, struct bus_link *link, struct bus_message *message)
{
    struct held *held = side->ud;
    (void) link;
    TEST_ASSERT_FAST(message->subject == held->last_subject + 1);
    held->last_subject = message->subject;
    TEST_ASSERT_FAST(held->count < HELD_MAX);
    bus_message_hold(message);
    held->tickets[held->count++] = message->ticket;
}

static bool side_has_credit_event(void *ud)
{
    return ((struct side *) ud)->credits > 0;
}

TEST(a_slow_peer_stops_the_sender_and_nothing_is_lost_when_it_goes_on)
{
    struct bus_options small = {.window_bytes = 1 << 20, .window_messages = 1000};
    struct held *held = MEM_NEW(struct held);
    struct pair pair = {.server = {.on_message = hold_message, .ud = held}};
    uint64_t sent = 0;

    pair_open(&pair, &small, NULL);
    for (unsigned round = 0; round < 5; round++) {
        for (;;) {
            struct bus_outgoing out = {.type = 7, .subject = sent + 1};
            int rc = bus_event(pair.client.link, &out);
            if (rc == ERR_AGAIN) {
                break;
            }
            TEST_ASSERT_FAST(rc == 0);
            sent++;
            TEST_ASSERT_FAST(sent <= 1000 * (round + 1));
        }
        ck_assert_uint_eq(sent, 1000 * (round + 1));
        ck_assert(!bus_link_has_credit(pair.client.link, 0));
        struct bus_outgoing out = {.type = 7};
        ck_assert_int_eq(bus_request(pair.client.link, &out, 10, side_done, NULL, NULL), ERR_AGAIN);
        pair.client.credits = 0;
        while (held->count < sent) {
            loop_turn(pair.loop);
        }
        ck_assert_uint_eq(pair.client.credits, 0); /* all is held: there is no credit */
        while (held->released < held->count) {
            bus_release(pair.server.bus, held->tickets[held->released]);
            bus_release(pair.server.bus, held->tickets[held->released++]); /* twice does no harm */
        }
        run_until(pair.loop, side_has_credit_event, &pair.client);
        ck_assert(bus_link_has_credit(pair.client.link, 0));
    }
    ck_assert_uint_eq(held->last_subject, 5000);
    pair_close(&pair);
    mem_free(held);
}

TEST(one_byte_released_late_still_wakes_the_sender)
{
    struct bus_options small = {.window_bytes = 100000, .window_messages = 4};
    struct held *held = MEM_NEW(struct held);
    struct pair pair = {.server = {.on_message = hold_message, .ud = held}};

    pair_open(&pair, &small, NULL);
    for (uint64_t i = 1; i <= 4; i++) {
        struct bus_outgoing out = {.type = 7, .subject = i};
        ck_assert_int_eq(bus_event(pair.client.link, &out), 0);
    }
    struct bus_outgoing fifth = {.type = 7, .subject = 5};
    ck_assert_int_eq(bus_event(pair.client.link, &fifth), ERR_AGAIN);
    while (held->count < 4) {
        loop_turn(pair.loop);
    }
    bus_release(pair.server.bus, held->tickets[2]);
    run_until(pair.loop, side_has_credit_event, &pair.client);
    ck_assert_int_eq(bus_event(pair.client.link, &fifth), 0);
    pair_close(&pair);
    mem_free(held);
}

TEST(a_message_larger_than_the_window_goes_alone)
{
    struct bus_options small = {.window_bytes = 1000};
    struct held *held = MEM_NEW(struct held);
    struct pair pair = {.server = {.on_message = hold_message, .ud = held}};
    struct payload *payload = payload_new(5000);

    pair_open(&pair, &small, NULL);
    struct bus_outgoing tiny = {.type = 7, .subject = 1, .meta = span_of("x")};
    struct bus_outgoing large = {.type = 7, .subject = 2, .body = {payload, payload_span(payload)}};
    ck_assert_int_eq(bus_event(pair.client.link, &tiny), 0);
    ck_assert_int_eq(bus_event(pair.client.link, &large), ERR_AGAIN);
    while (held->count < 1) {
        loop_turn(pair.loop);
    }
    bus_release(pair.server.bus, held->tickets[0]);
    run_until(pair.loop, side_has_credit_event, &pair.client);
    ck_assert_int_eq(bus_event(pair.client.link, &large), 0);
    ck_assert_int_eq(bus_event(pair.client.link, &tiny), ERR_AGAIN);
    while (held->count < 2) {
        loop_turn(pair.loop);
    }
    ck_assert_ptr_nonnull(pair.server.link); /* it was within its rights */
    payload_unref(&payload);
    pair_close(&pair);
    mem_free(held);
}

static void answer_later(struct side *side, struct bus_link *link, struct bus_message *message)
{
    struct held *held = side->ud;
    (void) link;
    held->tickets[held->count++] = message->ticket; /* not held: but its place stays taken */
}

TEST(open_requests_are_bounded_by_the_window)
{
    struct bus_options small = {.window_messages = 10};
    struct held *held = MEM_NEW(struct held);
    struct pair pair = {.server = {.on_message = answer_later, .ud = held}};

    pair_open(&pair, &small, NULL);
    struct bus_outgoing out = {.type = 7};
    for (unsigned i = 0; i < 10; i++) {
        ck_assert_int_eq(bus_request(pair.client.link, &out, 60000, side_done, &pair.client, NULL),
                         0);
    }
    ck_assert_int_eq(bus_request(pair.client.link, &out, 60000, side_done, &pair.client, NULL),
                     ERR_AGAIN);
    while (held->count < 10) {
        loop_turn(pair.loop);
    }
    ck_assert_uint_eq(pair.client.credits, 0);
    ck_assert_int_eq(bus_reply(pair.server.bus, held->tickets[0], &out), 0);
    run_until(pair.loop, side_has_credit_event, &pair.client);
    ck_assert_uint_eq(pair.client.answered, 1);
    pair_close(&pair);
    mem_free(held);
}

/* --- many --- */

enum { MANY = 200000 };

struct counted {
    uint64_t sent;
    uint64_t received;
};

static void pump(struct side *side, struct bus_link *link)
{
    struct counted *counted = side->ud;
    while (counted->sent < MANY) {
        struct bus_outgoing out = {
            .type = 7, .subject = counted->sent + 1, .meta = span_of("0123456789")};
        int rc = bus_event(link, &out);
        if (rc == ERR_AGAIN) {
            return;
        }
        TEST_ASSERT_FAST(rc == 0);
        counted->sent++;
    }
}

static void count_in_order(struct side *side, struct bus_link *link, struct bus_message *message)
{
    struct counted *counted = side->ud;
    (void) link;
    TEST_ASSERT_FAST(message->subject == counted->received + 1);
    counted->received++;
}

static bool pair_has_all(void *ud)
{
    const struct pair *pair = ud;
    return pair->client.messages >= MANY && pair->server.messages >= MANY;
}

TEST_WITHIN(two_hundred_thousand_messages_each_way_arrive_in_order, 40)
{
    struct counted server = {0};
    struct counted client = {0};
    struct pair pair = {
        .server = {.on_message = count_in_order, .on_credit = pump, .ud = &server},
        .client = {.on_message = count_in_order, .on_credit = pump, .ud = &client},
    };
    struct bus_options small = {.window_messages = 1000};
    struct bus_stats stats;

    pair_open(&pair, &small, NULL);
    pump(&pair.client, pair.client.link);
    pump(&pair.server, pair.server.link);
    run_until(pair.loop, pair_has_all, &pair);
    ck_assert_uint_eq(server.received, MANY);
    ck_assert_uint_eq(client.received, MANY);
    bus_stats_read(pair.client.bus, &stats);
    ck_assert_uint_eq(stats.stale + stats.malformed, 0);
    ck_assert_uint_gt(stats.again, 0);
    ck_assert_uint_eq(pair.client.downs + pair.server.downs, 0);
    pair_close(&pair);
}

/* --- sessions --- */

TEST(an_absent_peer_is_no_link_and_comes_up_when_it_starts)
{
    struct loop *loop = loop_new();
    const char *dir = test_folder();
    struct side client = {0};
    struct side server = {.on_message = side_echo};
    struct bus_outgoing out = {.type = 7};

    side_open(&client, loop, dir, "client", NULL);
    struct bus_peer *peer = bus_connect(client.bus, "server");
    ck_assert_ptr_eq(bus_connect(client.bus, "server"), peer);
    ck_assert_str_eq(bus_peer_name(peer), "server");
    run_for(loop, 50); /* some tries fail */
    ck_assert_ptr_null(bus_peer_link(peer));
    ck_assert_int_eq(bus_request(bus_peer_link(peer), &out, 1000, side_done, &client, NULL),
                     ERR_CLOSED);
    side_open(&server, loop, dir, "server", NULL);
    ck_assert_int_eq(bus_bind(server.bus), 0);
    run_until(loop, side_is_up, &client);
    ck_assert_ptr_eq(bus_peer_link(peer), client.link);
    ck_assert_uint_eq(client.ups, 1);
    side_close(&client);
    side_close(&server);
    loop_destroy(&loop);
}

TEST(a_restarted_peer_is_a_new_session)
{
    struct pair pair = {0};
    char dir[4096];
    pair_open(&pair, NULL, NULL);
    (void) snprintf(dir, sizeof(dir), "%s", pair.server.bus->dir.path);
    uint64_t id = bus_link_id(pair.client.link);
    uint64_t epoch = bus_link_epoch(pair.client.link);
    side_close(&pair.server);
    side_open(&pair.server, pair.loop, dir, "server", NULL);
    ck_assert_int_eq(bus_bind(pair.server.bus), 0);
    run_until(pair.loop, side_is_down, &pair.client);
    run_until(pair.loop, side_is_up, &pair.client);
    ck_assert_uint_ne(bus_link_id(pair.client.link), id);
    ck_assert(bus_link_epoch(pair.client.link) != epoch);
    run_through(pair.loop, &pair.client);
    pair_close(&pair);
}

TEST(links_can_be_walked_and_carry_what_is_attached_to_them)
{
    struct loop *loop = loop_new();
    const char *dir = test_folder();
    struct side server = {0};
    struct side clients[3] = {0};
    char name[16];
    size_t cursor = 0;
    unsigned count = 0;

    side_open(&server, loop, dir, "server", NULL);
    ck_assert_int_eq(bus_bind(server.bus), 0);
    for (unsigned i = 0; i < 3; i++) {
        (void) snprintf(name, sizeof(name), "client-%u", i);
        side_open(&clients[i], loop, dir, name, NULL);
        (void) bus_connect(clients[i].bus, "server");
        run_until(loop, side_is_up, &clients[i]);
    }
    for (struct bus_link *link = bus_link_next(server.bus, &cursor); link != NULL;
         link = bus_link_next(server.bus, &cursor)) {
        ck_assert_ptr_null(bus_link_get_ud(link));
        bus_link_set_ud(link, &server);
        ck_assert_ptr_eq(bus_link_get_ud(link), &server);
        count++;
    }
    ck_assert_uint_eq(count, 3);
    for (unsigned i = 0; i < 3; i++) {
        side_close(&clients[i]);
    }
    side_close(&server);
    loop_destroy(&loop);
}

static bool side_is_refused(void *ud)
{
    return ((struct side *) ud)->refusals > 0;
}

TEST(a_daemon_of_another_cluster_is_refused)
{
    struct loop *loop = loop_new();
    const char *dir = test_folder();
    struct bus_options ours = {.cluster = uuid_random()};
    struct bus_options theirs = {.cluster = uuid_random()};
    struct side client = {0};
    struct side server = {0};

    side_open(&server, loop, dir, "server", &ours);
    ck_assert_int_eq(bus_bind(server.bus), 0);
    side_open(&client, loop, dir, "client", &theirs);
    (void) bus_connect(client.bus, "server");
    run_until(loop, side_is_refused, &client);
    ck_assert_int_eq(client.refused, ERR_WRONG_CLUSTER);
    ck_assert_uint_eq(client.ups + server.ups, 0);
    bus_set_cluster(client.bus, &ours.cluster); /* it asks again by itself */
    run_until(loop, side_is_up, &client);
    struct uuid other = uuid_random();
    bus_set_cluster(server.bus, &other); /* a session does not outlive the discovery */
    run_until(loop, side_is_down, &client);
    side_close(&client);
    side_close(&server);
    loop_destroy(&loop);
}

TEST(a_cluster_that_is_not_known_yet_is_no_reason_to_refuse)
{
    struct bus_options known = {.cluster = uuid_random()};
    struct pair pair = {0};
    pair_open(&pair, &known, NULL);
    bus_set_cluster(pair.client.bus, &known.cluster);
    run_through(pair.loop, &pair.client);
    ck_assert_ptr_nonnull(pair.client.link);
    pair_close(&pair);
}

/* --- the run directory --- */

static unsigned mode_of(const char *dir, const char *name)
{
    char path[4300];
    struct stat info;
    (void) snprintf(path, sizeof(path), "%s%s%s", dir, name[0] != '\0' ? "/" : "", name);
    ck_assert_int_eq(stat(path, &info), 0);
    return (unsigned) info.st_mode & 07777;
}

TEST(socket_and_folder_have_their_permissions_whatever_the_umask)
{
    static const mode_t masks[] = {0, 022, 077};
    for (size_t i = 0; i < 3; i++) {
        struct loop *loop = loop_new();
        struct side server = {0};
        char dir[4200];
        (void) snprintf(dir, sizeof(dir), "%s/run", test_folder());
        (void) umask(masks[i]);
        side_open(&server, loop, dir, "server", NULL);
        ck_assert_int_eq(bus_bind(server.bus), 0);
        ck_assert_uint_eq(mode_of(dir, ""), 0750);
        ck_assert_uint_eq(mode_of(dir, "server.sock"), 0660);
        ck_assert_uint_eq(mode_of(dir, "server.lock"), 0600);
        side_close(&server);
        loop_destroy(&loop);
    }
}

TEST(a_name_belongs_to_one_process_and_a_dead_ones_socket_is_replaced)
{
    struct loop *loop = loop_new();
    const char *dir = test_folder();
    struct side first = {0};
    struct side second = {0};
    char path[4300];

    (void) snprintf(path, sizeof(path), "%s/server.sock", dir);
    FILE *file = fopen(path, "w"); /* left behind */
    ck_assert_ptr_nonnull(file);
    (void) fclose(file);
    side_open(&first, loop, dir, "server", NULL);
    side_open(&second, loop, dir, "server", NULL);
    ck_assert_int_eq(bus_bind(first.bus), 0);
    ck_assert_int_eq(bus_lock(second.bus), ERR_LOCKED);
    ck_assert_int_eq(bus_bind(second.bus), ERR_LOCKED);
    side_close(&first);
    ck_assert_int_ne(access(path, F_OK), 0);
    ck_assert_int_eq(bus_bind(second.bus), 0);
    side_close(&second);
    loop_destroy(&loop);
}

TEST(a_run_directory_longer_than_a_socket_address_works)
{
    struct loop *loop = loop_new();
    struct side server = {0};
    struct side client = {0};
    char dir[4200];

    int size = snprintf(dir, sizeof(dir), "%s", test_folder());
    for (unsigned i = 0; i < 4; i++) {
        size += snprintf(dir + size, sizeof(dir) - (size_t) size,
                         "/a-folder-with-a-name-of-some-fifty-characters-or-more");
        ck_assert_int_eq(mkdir(dir, 0700), 0);
    }
    ck_assert_int_gt(size, 200);
    side_open(&server, loop, dir, "server", NULL);
    ck_assert_int_eq(bus_bind(server.bus), 0);
    side_open(&client, loop, dir, "client", NULL);
    (void) bus_connect(client.bus, "server");
    run_until(loop, side_is_up, &client);
    run_through(loop, &client);
    side_close(&client);
    side_close(&server);
    loop_destroy(&loop);
}

TEST(a_run_directory_that_cannot_be_made_is_an_error)
{
    struct loop *loop = loop_new();
    struct bus *bus = NULL;
    struct bus_handlers handlers = {0};
    struct bus_options options = {.run_dir = "/nonexistent/run", .name = "server"};
    ck_assert_int_eq(bus_open(&options, loop, &handlers, &bus), ERR_NOT_FOUND);
    options.run_dir = "/dev/null";
    ck_assert_int_lt(bus_open(&options, loop, &handlers, &bus), 0);
    ck_assert_ptr_null(bus);
    loop_destroy(&loop);
}

/* --- options --- */

static int option_of(zsock_t *socket, int option)
{
    int value = -99;
    size_t size = sizeof(value);
    ck_assert_int_eq(zmq_getsockopt(zsock_resolve(socket), option, &value, &size), 0);
    return value;
}

static int64_t message_max_of(zsock_t *socket)
{
    int64_t value = -99;
    size_t size = sizeof(value);
    ck_assert_int_eq(zmq_getsockopt(zsock_resolve(socket), ZMQ_MAXMSGSIZE, &value, &size), 0);
    return value;
}

TEST(every_socket_has_its_limits_set)
{
    struct pair pair = {0};
    pair_open(&pair, NULL, NULL);
    zsock_t *sockets[] = {pair.server.bus->router, pair.peer->socket};
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(message_max_of(sockets[i]), INT64_C(68) << 20);
        ck_assert_int_eq(option_of(sockets[i], ZMQ_HEARTBEAT_IVL), 2000);
        ck_assert_int_eq(option_of(sockets[i], ZMQ_HEARTBEAT_TIMEOUT), 6000);
        ck_assert_int_eq(option_of(sockets[i], ZMQ_HEARTBEAT_TTL), 6000);
        ck_assert_int_eq(option_of(sockets[i], ZMQ_HANDSHAKE_IVL), 5000);
        ck_assert_int_eq(option_of(sockets[i], ZMQ_LINGER), 1000);
        ck_assert_int_gt(option_of(sockets[i], ZMQ_SNDHWM), 2 * BUS_WINDOW_MESSAGES_MAX);
        ck_assert_int_gt(option_of(sockets[i], ZMQ_RCVHWM), 2 * BUS_WINDOW_MESSAGES_MAX);
    }
    ck_assert_int_eq(option_of(pair.peer->socket, ZMQ_IMMEDIATE), 1);
    ck_assert_int_eq(option_of(pair.peer->socket, ZMQ_RECONNECT_IVL), 10);
    ck_assert_int_eq(option_of(pair.peer->socket, ZMQ_RECONNECT_IVL_MAX), 1000);
    /* ROUTER_MANDATORY cannot be read: sending to nobody must be an error. */
    ck_assert_int_lt(
        zmq_send(zsock_resolve(pair.server.bus->router), "\0abcd", 5, ZMQ_SNDMORE | ZMQ_DONTWAIT),
        0);
    ck_assert_int_eq(errno, EHOSTUNREACH);
    pair_close(&pair);
}

static void handle_nothing(int signal_number)
{
    (void) signal_number;
}

TEST(the_library_below_changes_no_signal_handlers)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < 4; i++) {
        ck_assert(signal(signals[i], handle_nothing) != SIG_ERR);
    }
    for (unsigned round = 0; round < 2; round++) {
        struct pair pair = {0};
        pair_open(&pair, NULL, NULL);
        for (size_t i = 0; i < 4; i++) {
            struct sigaction action;
            ck_assert_int_eq(sigaction(signals[i], NULL, &action), 0);
            ck_assert(action.sa_handler == handle_nothing);
        }
        pair_close(&pair);
    }
}
