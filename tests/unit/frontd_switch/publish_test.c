/* EsPublish: runs, waiting, refusing. */
#include <string.h>

#include "common/base/err.h"
#include "common/wire/pb.h"
#include "tests/unit/frontd_switch/fake.h"

extern session_handler_fn handle_es_publish;

struct fixture {
    struct conn *publisher;
    struct conn *reader;
    struct subscription *subscription;
    uint64_t id;
    struct buf frame;
    struct fake_received got;
};

static void open_all(struct fixture *self)
{
    *self = (struct fixture){0};
    fake_start();
    self->publisher = fake_conn();
    self->reader = fake_conn();
    self->subscription = fake_subscribe(self->reader, (struct fake_options){.number = 1});
    self->id = subscription_id(self->subscription);
}

static void close_all(struct fixture *self)
{
    buf_release(&self->frame);
    buf_release(&self->got.payloads);
    fake_close(&self->publisher);
    fake_close(&self->reader);
    fake_stop();
}

static const char *received(struct fixture *self)
{
    fake_receive(self->reader, &self->got);
    return buf_text(&self->got.payloads);
}

TEST(messages_in_a_row_with_one_topic_are_one_lookup_and_one_frame)
{
    struct fixture f;
    open_all(&f);
    fake_route_plain(fake_route("a"), -1, &f.id, 1);
    fake_messages(&f.frame, "a", 512, 16);
    ck_assert_int_eq(fake_publish(f.publisher, 0, &f.frame), 0);
    ck_assert_uint_eq(fake.lookups, 1);
    (void) received(&f);
    ck_assert_uint_eq(f.got.messages, 512);
    ck_assert_uint_eq(f.got.frames, 1);
    ck_assert_uint_eq(fake.exchange.counts.published, 512);
    ck_assert_uint_eq(f.publisher->sends, 0);
    close_all(&f);
}

TEST(topics_that_go_to_the_same_subscription_share_a_frame)
{
    struct fixture f;
    open_all(&f);
    fake_route_plain(fake_route("a"), -1, &f.id, 1);
    fake_route_plain(fake_route("b"), -1, &f.id, 1);
    (void) fake_route("nobody");
    fake_message(&f.frame, "a", "1");
    fake_message(&f.frame, "b", "2");
    fake_message(&f.frame, "a", "3");
    fake_message(&f.frame, "nobody", "4");
    fake_message(&f.frame, "b", "5");
    ck_assert_int_eq(fake_publish(f.publisher, 0, &f.frame), 0);
    ck_assert_str_eq(received(&f), "1235");
    ck_assert_uint_eq(f.got.frames, 2);
    ck_assert_uint_eq(fake.exchange.counts.unmatched, 1);
    close_all(&f);
}

TEST(a_receipt_tells_how_many_each_message_matched)
{
    struct fixture f;
    struct frame_view view;
    struct pb_field field;
    open_all(&f);
    uint64_t none[] = {1, 2};
    fake_route_plain(fake_route("a"), -1, &f.id, 1);
    fake_route_plain(fake_route("two"), -1, none, 2);
    fake_route("many")->route.entities = 300;
    (void) fake_route("nobody");
    fake_message(&f.frame, "a", "1");
    fake_message(&f.frame, "two", "2");
    fake_message(&f.frame, "two", "3");
    fake_message(&f.frame, "nobody", "4");
    fake_message(&f.frame, "many", "5");
    ck_assert_int_eq(fake_publish(f.publisher, 77, &f.frame), 0);
    ck_assert(fake_frame(f.publisher, &view));
    ck_assert_uint_eq(view.field, RAILGUN__FRAME__BODY_ES_PUBLISH_OK);
    ck_assert_uint_eq(view.corr, 77);
    ck_assert_int_eq(pb_next(&view.body, &field), 1);
    ck_assert(span_equal(field.bytes, span_make("\x01\x02\x02\x00\xac\x02", 6)));
    ck_assert_uint_eq(view.body.size, 0);
    /* none at all */
    buf_reset(&f.frame);
    ck_assert_int_eq(fake_publish(f.publisher, 78, &f.frame), 0);
    ck_assert(fake_frame(f.publisher, &view));
    ck_assert_uint_eq(view.body.size, 0);
    close_all(&f);
}

TEST(frames_without_a_route_wait_and_so_do_all_behind_them)
{
    struct fixture f;
    open_all(&f);
    struct fake_route *late = fake_route("late");
    struct fake_route *later = fake_route("later");
    fake_route_plain(late, -1, &f.id, 1);
    fake_route_plain(later, -1, &f.id, 1);
    fake_route_plain(fake_route("known"), -1, &f.id, 1);
    late->is_waiting = true;
    later->is_waiting = true;
    fake_message(&f.frame, "known", "1");
    fake_message(&f.frame, "late", "2");
    fake_message(&f.frame, "later", "3");
    ck_assert_int_eq(fake_publish(f.publisher, 0, &f.frame), 0);
    buf_reset(&f.frame);
    fake_message(&f.frame, "known", "4");
    ck_assert_int_eq(fake_publish(f.publisher, 0, &f.frame), 0);
    ck_assert_str_eq(received(&f), "");
    ck_assert_uint_gt(inlets_waiting_bytes(fake.frontd.inlets), 0);
    late->is_waiting = false;
    unsigned before = fake.lookups;
    inlets_progress(fake.frontd.inlets);
    fake_turn(0);
    ck_assert_str_eq(received(&f), "");
    ck_assert_uint_eq(fake.lookups, before + 1); /* the last of them is asked for first */
    later->is_waiting = false;
    inlets_progress(fake.frontd.inlets);
    fake_turn(0);
    ck_assert_str_eq(received(&f), "1234");
    ck_assert_uint_eq(inlets_waiting_bytes(fake.frontd.inlets), 0);
    close_all(&f);
}

TEST(a_frame_that_waits_too_long_is_refused)
{
    struct fixture f;
    open_all(&f);
    fake_route("late")->is_waiting = true;
    fake_route_plain(fake_route("known"), -1, &f.id, 1);
    fake_message(&f.frame, "late", "1");
    fake_message(&f.frame, "known", "2");
    ck_assert_int_eq(fake_publish(f.publisher, 5, &f.frame), 0);
    buf_reset(&f.frame);
    fake_turn(5000);
    fake_message(&f.frame, "known", "3");
    ck_assert_int_eq(fake_publish(f.publisher, 6, &f.frame), 0);
    fake_turn(4999);
    struct frame_view view;
    ck_assert(!fake_frame(f.publisher, &view));
    fake_turn(100);
    fake_expect_error(f.publisher, 5, ERR_NO_QUORUM, "routerd is not reachable");
    ck_assert_uint_eq(fake.exchange.counts.refused, 2);
    fake_turn(1);
    ck_assert_str_eq(received(&f), "3");
    close_all(&f);
}

TEST(what_waits_when_its_connection_goes_is_refused)
{
    struct fixture f;
    open_all(&f);
    fake_route("late")->is_waiting = true;
    fake_message(&f.frame, "late", "1");
    fake_message(&f.frame, "late", "2");
    ck_assert_int_eq(fake_publish(f.publisher, 0, &f.frame), 0);
    fake_close(&f.publisher);
    ck_assert_uint_eq(fake.exchange.counts.refused, 2);
    ck_assert_uint_eq(inlets_waiting_bytes(fake.frontd.inlets), 0);
    f.publisher = fake_conn();
    close_all(&f);
}

TEST(beyond_the_bound_the_connection_is_not_read_until_there_is_room)
{
    struct fixture f;
    unsigned taken = 0;
    open_all(&f);
    fake.settings.es_waiting_bytes_max = 100000;
    struct fake_route *late = fake_route("late");
    fake_route_plain(late, -1, &f.id, 1);
    late->is_waiting = true;
    fake_messages(&f.frame, "late", 100, 100);
    while (fake_publish(f.publisher, 0, &f.frame) == 0) {
        taken++;
        ck_assert_uint_lt(taken, 100);
    }
    ck_assert_uint_gt(taken, 5);
    ck_assert_uint_le(inlets_waiting_bytes(fake.frontd.inlets), 100000);
    ck_assert_uint_eq(f.publisher->retries, 0);
    late->is_waiting = false;
    inlets_progress(fake.frontd.inlets);
    fake_turn(0);
    ck_assert_uint_eq(f.publisher->retries, 1);
    (void) received(&f);
    ck_assert_uint_eq(f.got.messages, taken * 100);
    close_all(&f);
}

TEST(the_bound_of_all_connections_holds_too)
{
    struct fixture f;
    open_all(&f);
    fake.settings.es_waiting_total_bytes_max = 30000;
    struct fake_route *late = fake_route("late");
    fake_route_plain(late, -1, &f.id, 1);
    late->is_waiting = true;
    fake_messages(&f.frame, "late", 100, 100);
    struct conn *other = fake_conn();
    ck_assert_int_eq(fake_publish(f.publisher, 0, &f.frame), 0);
    ck_assert_int_eq(fake_publish(other, 0, &f.frame), 0);
    struct conn *third = fake_conn();
    ck_assert_int_eq(fake_publish(third, 0, &f.frame), ERR_AGAIN);
    late->is_waiting = false;
    inlets_progress(fake.frontd.inlets);
    fake_turn(0);
    ck_assert_uint_eq(third->retries, 1);
    ck_assert_int_eq(fake_publish(third, 0, &f.frame), 0);
    fake_close(&other);
    fake_close(&third);
    close_all(&f);
}

TEST(a_session_does_not_hog_a_turn_with_what_waited)
{
    struct fixture f;
    open_all(&f);
    struct fake_route *late = fake_route("late");
    fake_route_plain(late, -1, &f.id, 1);
    late->is_waiting = true;
    fake_message(&f.frame, "late", "x");
    for (unsigned i = 0; i < 100; i++) {
        ck_assert_int_eq(fake_publish(f.publisher, 0, &f.frame), 0);
    }
    late->is_waiting = false;
    inlets_progress(fake.frontd.inlets);
    fake_turn(0);
    (void) received(&f);
    ck_assert_uint_eq(f.got.messages, 64);
    fake_turn(0);
    (void) received(&f);
    ck_assert_uint_eq(f.got.messages, 100);
    close_all(&f);
}

TEST(a_publisher_with_a_large_fanout_waits_for_the_next_turn)
{
    enum { COUNT = 64 };
    static struct conn *conns[COUNT];
    static uint64_t ids[COUNT];
    struct fixture f;
    open_all(&f);
    for (unsigned i = 0; i < COUNT; i++) {
        conns[i] = fake_conn();
        ids[i] = subscription_id(fake_subscribe(conns[i], (struct fake_options){.number = 1}));
    }
    fake_route_plain(fake_route("a"), -1, ids, COUNT);
    fake_route_plain(fake_route("b"), -1, &f.id, 1);
    fake_messages(&f.frame, "a", 512, 100);
    ck_assert_int_eq(fake_publish(f.publisher, 0, &f.frame), 0);
    ck_assert_int_eq(fake_publish(f.publisher, 0, &f.frame), 0); /* 2 x 64 x 54 KiB */
    buf_reset(&f.frame);
    fake_message(&f.frame, "b", "x");
    ck_assert_int_eq(fake_publish(f.publisher, 0, &f.frame), ERR_AGAIN);
    struct conn *other = fake_conn();
    ck_assert_int_eq(fake_publish(other, 0, &f.frame), 0);
    fake_turn(0);
    fake_turn(0);
    ck_assert_uint_eq(f.publisher->retries, 1);
    ck_assert_int_eq(fake_publish(f.publisher, 0, &f.frame), 0);
    ck_assert_str_eq(received(&f), "xx");
    fake_close(&other);
    for (unsigned i = 0; i < COUNT; i++) {
        fake_close(&conns[i]);
    }
    close_all(&f);
}

TEST(fanout_of_small_runs_shares_one_copy)
{
    struct fixture f;
    uint64_t ids[3];
    struct conn *conns[3];
    open_all(&f);
    for (unsigned i = 0; i < 3; i++) {
        conns[i] = fake_conn();
        conns[i]->is_stalled = true;
        ids[i] = subscription_id(fake_subscribe(conns[i], (struct fake_options){.number = 1}));
    }
    fake_route_plain(fake_route("a"), -1, ids, 3);
    fake_messages(&f.frame, "a", 100, 100);
    ck_assert_int_eq(fake_publish(f.publisher, 0, &f.frame), 0);
    ck_assert_uint_eq(conns[0]->held_count, 1);
    ck_assert_ptr_eq(conns[0]->held[0], conns[2]->held[0]);
    for (unsigned i = 0; i < 3; i++) {
        fake_close(&conns[i]);
    }
    close_all(&f);
}

TEST(a_bad_message_is_named_and_nothing_is_published)
{
    struct fixture f;
    open_all(&f);
    fake_route_plain(fake_route("a"), -1, &f.id, 1);
    fake_message(&f.frame, "a", "1");
    fake_message(&f.frame, "a", "2");
    fake_message(&f.frame, "a..b", "3");
    fake_message(&f.frame, "a", "4");
    ck_assert_int_eq(fake_publish(f.publisher, 9, &f.frame), 0);
    struct frame_view view;
    ck_assert(fake_frame(f.publisher, &view));
    f.publisher->out_read = 0;
    fake_expect_error(f.publisher, 9, ERR_BAD_REQUEST, "message 2: topic: empty word");
    ck_assert_str_eq(received(&f), "");
    ck_assert_uint_eq(fake.exchange.counts.refused, 4);
    close_all(&f);
}

TEST(without_a_receipt_bad_messages_are_counted_and_the_others_go)
{
    struct fixture f;
    char long_topic[300];
    open_all(&f);
    memset(long_topic, 'a', sizeof(long_topic));
    long_topic[299] = '\0';
    fake_route_plain(fake_route("a"), -1, &f.id, 1);
    fake_route("quota")->is_refused = true;
    fake_route("wide")->route.error = ERR_QUOTA;
    fake.settings.record_bytes_max = 1000;
    fake_message(&f.frame, "a..b", "0");
    fake_message(&f.frame, "a", "1");
    fake_message(&f.frame, "a..b", "2");
    fake_message(&f.frame, "a..b", "3");
    fake_message(&f.frame, "a", "4");
    fake_message(&f.frame, long_topic, "5");
    fake_message(&f.frame, "quota", "6");
    fake_message(&f.frame, "wide", "7");
    fake_messages(&f.frame, "a", 1, 2000);
    fake_message(&f.frame, "a", "8");
    ck_assert_int_eq(fake_publish(f.publisher, 0, &f.frame), 0);
    ck_assert_str_eq(received(&f), "148");
    ck_assert_uint_eq(fake.exchange.counts.refused, 7);
    ck_assert_uint_eq(fake.exchange.counts.published, 10);
    close_all(&f);
}

TEST(a_limit_is_told_in_the_error)
{
    struct fixture f;
    open_all(&f);
    fake_route("wide")->route.error = ERR_QUOTA;
    fake_message(&f.frame, "wide", "7");
    ck_assert_int_eq(fake_publish(f.publisher, 1, &f.frame), 0);
    fake_expect_error(f.publisher, 1, ERR_QUOTA,
                      "message 0: more match than one message may go to");
    close_all(&f);
}

TEST(clients_may_not_set_an_address_for_replies)
{
    struct fixture f;
    open_all(&f);
    fake_route_plain(fake_route("a"), -1, &f.id, 1);
    struct buf message = {0};
    pb_append_bytes(&message, 1, span_of("a"));
    pb_append_bytes(&message, 5, span_of("forged"));
    fake_message(&f.frame, "a", "1");
    pb_append_bytes(&f.frame, 15, buf_span(&message));
    ck_assert_int_eq(fake_publish(f.publisher, 1, &f.frame), 0);
    fake_expect_error(f.publisher, 1, ERR_BAD_REQUEST,
                      "message 1: reply_to: set by the server only");
    buf_release(&message);
    close_all(&f);
}

TEST(malformed_bytes_end_the_connection_also_when_they_waited)
{
    struct fixture f;
    open_all(&f);
    struct fake_route *late = fake_route("late");
    late->is_waiting = true;
    fake_message(&f.frame, "late", "1");
    ck_assert_int_eq(fake_publish(f.publisher, 0, &f.frame), 0);
    buf_append(&f.frame, span_make("\x7a\x05", 2));
    ck_assert_int_eq(fake_publish(f.reader, 0, &f.frame), ERR_PROTOCOL);
    ck_assert_int_eq(fake_publish(f.publisher, 0, &f.frame), 0);
    buf_reset(&f.frame);
    fake_message(&f.frame, "late", "behind");
    ck_assert_int_eq(fake_publish(f.publisher, 0, &f.frame), 0);
    late->is_waiting = false;
    inlets_progress(fake.frontd.inlets);
    fake_turn(0);
    ck_assert_int_eq(f.publisher->failed, ERR_PROTOCOL);
    inlets_progress(fake.frontd.inlets);
    fake_turn(0);
    ck_assert_uint_eq(fake.exchange.counts.published, 1); /* the first, which was sound */
    close_all(&f);
}

TEST(a_neighbour_without_room_makes_the_publisher_wait)
{
    struct fixture f;
    uint64_t far = 99;
    open_all(&f);
    fake.neighbours[2].is_up = true;
    fake.neighbours[2].is_full = true;
    struct fake_route *route = fake_route("a");
    fake_route_plain(route, -1, &f.id, 1);
    fake_route_plain(route, 2, &far, 1);
    fake_message(&f.frame, "a", "1");
    ck_assert_int_eq(fake_publish(f.publisher, 5, &f.frame), 0);
    ck_assert_str_eq(received(&f), "");
    fake.neighbours[2].is_full = false;
    inlets_progress(fake.frontd.inlets);
    fake_turn(0);
    ck_assert_str_eq(received(&f), "1");
    ck_assert_uint_gt(fake.neighbours[2].forwards.size, 0);
    fake.neighbours[2].is_full = true;
    ck_assert_int_eq(fake_publish(f.publisher, 6, &f.frame), 0);
    struct frame_view view;
    ck_assert(fake_frame(f.publisher, &view));
    fake_turn(10100);
    fake_expect_error(f.publisher, 6, ERR_OVERLOADED, "another frontd takes no more");
    close_all(&f);
}

TEST(an_exchange_that_is_not_there_is_refused_and_an_unknown_catalogue_waited_for)
{
    struct fixture f;
    open_all(&f);
    fake_route_plain(fake_route("a"), -1, &f.id, 1);
    fake_message(&f.frame, "a", "1");
    fake.exchange_error = ERR_NOT_FOUND;
    ck_assert_int_eq(fake_publish(f.publisher, 5, &f.frame), 0);
    fake_expect_error(f.publisher, 5, ERR_NOT_FOUND, "no such exchange");
    fake.exchange_error = ERR_AGAIN;
    ck_assert_int_eq(fake_publish(f.publisher, 6, &f.frame), 0);
    fake.exchange_error = 0;
    inlets_progress(fake.frontd.inlets);
    fake_turn(0);
    ck_assert_str_eq(received(&f), "1");
    close_all(&f);
}
