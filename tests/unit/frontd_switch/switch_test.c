/* Groups, other frontds, and what is known of members. */
#include <stdio.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/es.h"
#include "common/wire/pb.h"
#include "tests/unit/frontd_switch/fake.h"

enum { MEMBERS = 4 };

struct fixture {
    struct conn *conns[MEMBERS];
    struct subscription *members[MEMBERS];
    uint64_t ids[MEMBERS];
    struct fake_route *route;
};

static void open_group(struct fixture *self, struct fake_options options)
{
    *self = (struct fixture){0};
    fake_start();
    for (unsigned i = 0; i < MEMBERS; i++) {
        self->conns[i] = fake_conn();
        options.number = 1;
        options.group = "workers";
        self->members[i] = fake_subscribe(self->conns[i], options);
        self->ids[i] = subscription_id(self->members[i]);
    }
    self->route = fake_route("a");
    fake_route_group(self->route, "workers", options.sticky, -1, self->ids, MEMBERS);
}

static void close_group(struct fixture *self)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (self->conns[i] != NULL) {
            fake_close(&self->conns[i]);
        }
    }
    fake_stop();
}

static struct switch_result pass(struct fixture *self, unsigned count, uint64_t request)
{
    struct buf bytes = {0};
    struct switch_result result;
    fake_messages(&bytes, "a", count, 100);
    struct run run = fake_run(&bytes, count);
    run.request = request;
    switch_run(&fake.frontd, &fake.exchange, &self->route->route, &run, &result);
    fake_run_end(&run);
    buf_release(&bytes);
    return result;
}

static uint64_t got(struct conn *conn)
{
    struct fake_received received = {0};
    fake_receive(conn, &received);
    buf_release(&received.payloads);
    return received.messages;
}

TEST(a_long_run_is_split_evenly_among_the_members)
{
    struct fixture f;
    open_group(&f, (struct fake_options){0});
    struct switch_result result = pass(&f, 514, 0);
    ck_assert_uint_eq(result.receivers, MEMBERS);
    uint64_t sum = 0;
    for (unsigned i = 0; i < MEMBERS; i++) {
        uint64_t count = got(f.conns[i]);
        ck_assert_uint_ge(count, 128);
        ck_assert_uint_le(count, 129);
        sum += count;
    }
    ck_assert_uint_eq(sum, 514);
    ck_assert_uint_eq(fake.exchange.counts.matched, 514);
    close_group(&f);
}

TEST(single_messages_are_spread_over_the_members)
{
    struct fixture f;
    open_group(&f, (struct fake_options){0});
    for (unsigned i = 0; i < 400; i++) {
        ck_assert_uint_eq(pass(&f, 1, 0).receivers, 1);
    }
    for (unsigned i = 0; i < MEMBERS; i++) {
        ck_assert_uint_gt(got(f.conns[i]), 40);
    }
    close_group(&f);
}

TEST(only_members_with_credit_get_messages_and_the_rest_is_dropped)
{
    struct fixture f;
    open_group(&f, (struct fake_options){.needs_credit = true});
    subscription_grant(f.members[1], 10, 1 << 20);
    subscription_grant(f.members[3], 30, 1 << 20);
    (void) pass(&f, 100, 0);
    ck_assert_uint_eq(got(f.conns[0]), 0);
    ck_assert_uint_eq(got(f.conns[1]), 10);
    ck_assert_uint_eq(got(f.conns[3]), 30);
    ck_assert_uint_eq(fake.exchange.counts.matched, 100);
    ck_assert_uint_eq(fake.exchange.counts.dropped, 60);
    ck_assert_uint_eq(fake.exchange.queued, 0);
    ck_assert_uint_eq(pass(&f, 1, 0).receivers, 0);
    close_group(&f);
}

TEST(a_stalled_member_gets_less_than_the_others)
{
    struct fixture f;
    open_group(&f, (struct fake_options){0});
    f.conns[2]->is_stalled = true;
    for (unsigned i = 0; i < 100; i++) {
        (void) pass(&f, 512, 0);
    }
    ck_assert_uint_lt(f.conns[2]->outbound, 256 << 10);
    ck_assert_uint_eq(fake.exchange.counts.dropped, 0);
    f.conns[2]->is_stalled = false;
    fake_drain(f.conns[2]);
    close_group(&f);
}

TEST(when_all_members_are_full_the_rest_is_dropped)
{
    struct fixture f;
    open_group(&f, (struct fake_options){.messages_max = 100});
    for (unsigned i = 0; i < MEMBERS; i++) {
        f.conns[i]->is_stalled = true;
    }
    for (unsigned i = 0; i < 200; i++) {
        (void) pass(&f, 512, 0);
        TEST_ASSERT_FAST(fake.exchange.counts.matched == (i + 1) * 512);
        TEST_ASSERT_FAST(fake.exchange.counts.matched == fake.exchange.counts.delivered +
                                                             fake.exchange.counts.dropped +
                                                             fake.exchange.queued);
    }
    ck_assert_uint_eq(fake.exchange.queued, MEMBERS * 100);
    close_group(&f);
}

TEST(members_elsewhere_are_taken_only_when_nobody_here_has_credit)
{
    struct fixture f;
    uint64_t far[] = {1001, 1002};
    open_group(&f, (struct fake_options){.needs_credit = true});
    fake.neighbours[1].is_up = true;
    fake_route_group(f.route, "workers", false, 1, far, 2);
    subscription_grant(f.members[0], 5, 1 << 20);
    (void) pass(&f, 5, 0);
    ck_assert_uint_eq(fake.neighbours[1].forwards.size, 0);
    struct switch_result result = pass(&f, 10, 0);
    ck_assert_uint_eq(result.remote_frontds, 1 << 1);
    struct span rest = buf_span(&fake.neighbours[1].forwards);
    struct es_block block;
    uint32_t count = 0;
    while (es_block_next(&rest, &block) == 1) {
        ck_assert(block.is_group);
        ck_assert_uint_eq(block.id_count, 1);
        ck_assert_uint_eq(block.count, 5);
        count += block.count;
    }
    ck_assert_uint_eq(count, 10);
    /* It is counted where it arrives. */
    ck_assert_uint_eq(fake.exchange.counts.matched, 5);
    close_group(&f);
}

/* An EsLoad about two members. */
static void tell_load(unsigned from, const uint64_t *ids, uint64_t queued, bool has_credit)
{
    struct buf meta = {0};
    uint8_t bytes[16];
    bytes_put_u64(bytes, ids[0]);
    bytes_put_u64(bytes + 8, ids[1]);
    uint8_t loads[2] = {(uint8_t) queued, 0};
    uint8_t credits[2] = {has_credit ? 1 : 0, 1};
    pb_append_bytes(&meta, 1, span_make(bytes, 16));
    pb_append_bytes(&meta, 2, span_make(loads, 2));
    pb_append_bytes(&meta, 3, span_make(credits, 2));
    struct bus_message message = {.meta = buf_span(&meta)};
    switch_on_load(&fake.frontd, from, &message);
    buf_release(&meta);
}

TEST(members_elsewhere_without_credit_are_left_out_until_they_have_it)
{
    struct fixture f;
    uint64_t far[] = {1001, 1002};
    struct es_block block;
    open_group(&f, (struct fake_options){.needs_credit = true});
    fake.neighbours[1].is_up = true;
    fake_route_group(f.route, "workers", false, 1, far, 2);
    tell_load(1, far, 100, false);
    for (unsigned i = 0; i < 20; i++) {
        (void) pass(&f, i % 2 + 1, 0);
    }
    struct span rest = buf_span(&fake.neighbours[1].forwards);
    while (es_block_next(&rest, &block) == 1) {
        ck_assert_uint_eq(es_block_id(&block, 0), 1002);
    }
    buf_reset(&fake.neighbours[1].forwards);
    tell_load(1, far, 0, true);
    bool is_seen = false;
    for (unsigned i = 0; i < 100; i++) {
        (void) pass(&f, 1, 0);
    }
    rest = buf_span(&fake.neighbours[1].forwards);
    while (es_block_next(&rest, &block) == 1) {
        is_seen = is_seen || es_block_id(&block, 0) == 1001;
    }
    ck_assert(is_seen);
    /* A neighbour that is lost takes what it told along. */
    tell_load(1, far, 100, false);
    switch_neighbour_lost(&fake.frontd, 1);
    close_group(&f);
}

TEST(nobody_anywhere_is_counted_as_dropped_here)
{
    struct fixture f;
    uint64_t far[] = {1001, 1002};
    open_group(&f, (struct fake_options){.needs_credit = true});
    fake_route_group(f.route, "workers", false, 1, far, 2); /* and it is not up */
    fake_route_plain(f.route, 1, far, 2);
    ck_assert_uint_eq(pass(&f, 10, 0).receivers, 0);
    ck_assert_uint_eq(fake.exchange.counts.matched, 30);
    ck_assert_uint_eq(fake.exchange.counts.dropped, 30);
    close_group(&f);
}

TEST(plain_subscriptions_elsewhere_get_one_copy_with_all_their_ids)
{
    struct fixture f;
    uint64_t far[] = {1001, 1002};
    open_group(&f, (struct fake_options){0});
    fake.neighbours[3].is_up = true;
    struct fake_route *route = fake_route("plain");
    fake_route_plain(route, 3, far, 2);
    f.route = route;
    struct switch_result result = pass(&f, 7, 0);
    ck_assert_uint_eq(result.receivers, 2);
    struct span rest = buf_span(&fake.neighbours[3].forwards);
    struct es_block block;
    ck_assert_int_eq(es_block_next(&rest, &block), 1);
    ck_assert_uint_eq(block.id_count, 2);
    ck_assert_uint_eq(block.count, 7);
    ck_assert(!block.is_group);
    ck_assert_int_eq(es_block_next(&rest, &block), 0);
    close_group(&f);
}

static void pass_keys(struct fixture *self, const char *const *keys, unsigned count)
{
    struct buf bytes = {0};
    struct switch_result result;
    for (unsigned i = 0; i < count; i++) {
        es_append(&bytes, span_of("a"), span_of(keys[i]), span_of(keys[i]), (struct span){0},
                  (struct span){0});
    }
    struct run run = fake_run(&bytes, count);
    switch_run(&fake.frontd, &fake.exchange, &self->route->route, &run, &result);
    fake_run_end(&run);
    buf_release(&bytes);
}

static int holder_of(struct fixture *self, char key)
{
    int holder = -1;
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct fake_received received = {0};
        self->conns[i]->out_read = 0;
        fake_receive(self->conns[i], &received);
        if (received.payloads.size != 0 &&
            memchr(received.payloads.data, key, received.payloads.size) != NULL) {
            ck_assert_int_eq(holder, -1);
            holder = (int) i;
        }
        buf_release(&received.payloads);
    }
    return holder;
}

TEST(the_same_key_goes_to_the_same_member)
{
    static const char *const keys[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"};
    struct fixture f;
    open_group(&f, (struct fake_options){.sticky = true});
    for (unsigned i = 0; i < 5; i++) {
        pass_keys(&f, keys, 12);
        pass_keys(&f, keys + 3, 1);
    }
    unsigned used = 0;
    for (unsigned i = 0; i < 12; i++) {
        int holder = holder_of(&f, keys[i][0]);
        ck_assert_int_ge(holder, 0);
        used |= 1U << holder;
    }
    ck_assert_uint_ne(used & (used - 1), 0); /* not all with one */
    ck_assert_uint_eq(fake.exchange.counts.delivered, 65);
    /* Without a key it goes as usual. */
    (void) pass(&f, 100, 0);
    ck_assert_uint_eq(fake.exchange.counts.delivered, 165);
    close_group(&f);
}

TEST(a_key_stays_where_it_is_when_another_member_goes)
{
    struct fixture f;
    const char *key = "k";
    open_group(&f, (struct fake_options){.sticky = true});
    pass_keys(&f, &key, 1);
    int holder = holder_of(&f, 'k');
    int other = (holder + 1) % MEMBERS;
    fake_close(&f.conns[other]);
    f.conns[other] = fake_conn();
    pass_keys(&f, &key, 1);
    ck_assert_int_eq(holder_of(&f, 'k'), holder);
    close_group(&f);
}

/* --- from other frontds --- */

static void forward(const uint64_t *ids, uint32_t id_count, uint32_t count, uint32_t told_count,
                    bool is_group, uint64_t request)
{
    struct buf body = {0};
    struct buf messages = {0};
    fake_messages(&messages, "a", count, 10);
    es_block_append(&body, ids, id_count, told_count, is_group, request, 1000, buf_span(&messages));
    struct payload *owner = payload_copy(buf_span(&body));
    struct bus_message message = {.body = {owner, payload_span(owner)}};
    switch_on_forward(&fake.frontd, 2, &message);
    payload_unref(&owner);
    buf_release(&body);
    buf_release(&messages);
}

TEST(what_another_frontd_forwards_is_delivered)
{
    struct fixture f;
    open_group(&f, (struct fake_options){0});
    forward(f.ids, 2, 5, 5, false, 0);
    ck_assert_uint_eq(got(f.conns[0]), 5);
    ck_assert_uint_eq(got(f.conns[1]), 5);
    ck_assert_uint_eq(got(f.conns[2]), 0);
    ck_assert_uint_eq(fake.exchange.counts.matched, 10);
    close_group(&f);
}

TEST(a_wrong_count_is_not_believed)
{
    struct fixture f;
    open_group(&f, (struct fake_options){0});
    forward(f.ids, 1, 5, 6, false, 0);
    forward(f.ids, 1, 5, 4, false, 0);
    forward(f.ids, 0, 5, 5, false, 0);
    forward(f.ids, 1, 2, 2, false, 7); /* a request is one message */
    ck_assert_uint_eq(got(f.conns[0]), 0);
    ck_assert_uint_eq(fake.undelivered, 1);
    close_group(&f);
}

TEST(for_a_member_that_is_gone_another_of_its_group_takes_over)
{
    struct fixture f;
    open_group(&f, (struct fake_options){0});
    subscription_cancel(f.members[0]);
    forward(f.ids, 1, 5, 5, true, 0);
    ck_assert_uint_eq(fake.exchange.counts.delivered, 5);
    close_group(&f);
}

TEST(for_a_member_without_credit_too_and_what_nobody_takes_is_counted)
{
    struct fixture f;
    open_group(&f, (struct fake_options){.needs_credit = true});
    subscription_grant(f.members[2], 3, 1 << 20);
    forward(f.ids, 1, 5, 5, true, 0);
    ck_assert_uint_eq(got(f.conns[2]), 3);
    ck_assert_uint_eq(fake.exchange.counts.matched, 5);
    ck_assert_uint_eq(fake.exchange.counts.dropped, 2);
    close_group(&f);
}

TEST(a_forwarded_request_that_nobody_takes_is_told_to_its_origin)
{
    struct fixture f;
    open_group(&f, (struct fake_options){.needs_credit = true});
    forward(f.ids, 1, 1, 1, true, 4711);
    ck_assert_uint_eq(fake.undelivered, 1);
    ck_assert_uint_eq(fake.undelivered_origin, 2);
    ck_assert_uint_eq(fake.undelivered_request, 4711);
    subscription_grant(f.members[3], 1, 1000);
    forward(f.ids, 1, 1, 1, true, 4712);
    ck_assert_uint_eq(fake.delivered_request, 4712);
    ck_assert_uint_eq(fake.undelivered, 1);
    uint64_t nobody = 12345;
    forward(&nobody, 1, 1, 1, false, 4713);
    ck_assert_uint_eq(fake.undelivered_request, 4713);
    close_group(&f);
}

/* --- what we tell --- */

static unsigned told_ids(unsigned neighbour)
{
    struct span rest = buf_span(&fake.neighbours[neighbour].loads);
    struct pb_field field;
    ck_assert_int_eq(pb_next(&rest, &field), 1);
    return (unsigned) field.bytes.size / 8;
}

TEST(only_members_that_are_not_idle_are_told_and_not_at_once)
{
    struct fixture f;
    fake.neighbours[1].is_up = true;
    open_group(&f, (struct fake_options){.needs_credit = true, .messages = 1, .bytes = 1000});
    fake.neighbours[1].is_up = true;
    for (unsigned i = 0; i < MEMBERS; i++) {
        (void) pass(&f, 1, 0);
    }
    ck_assert_uint_eq(fake.neighbours[1].load_count, 0);
    fake_turn(49);
    ck_assert_uint_eq(fake.neighbours[1].load_count, 0);
    fake_turn(1);
    ck_assert_uint_eq(fake.neighbours[1].load_count, 1);
    ck_assert_uint_eq(told_ids(1), MEMBERS);
    fake_turn(50);
    ck_assert_uint_eq(fake.neighbours[1].load_count, 1); /* nothing has changed */
    subscription_grant(f.members[0], 1, 1000);
    fake_turn(50);
    ck_assert_uint_eq(fake.neighbours[1].load_count, 2);
    ck_assert_uint_eq(told_ids(1), 1);
    /* A new neighbour hears of the three that are not idle. */
    fake.neighbours[2].is_up = true;
    switch_neighbour_up(&fake.frontd, 2);
    ck_assert_uint_eq(fake.neighbours[2].load_count, 1);
    ck_assert_uint_eq(told_ids(2), 3);
    /* One that goes is taken back. */
    subscription_cancel(f.members[1]);
    fake_turn(50);
    ck_assert_uint_eq(told_ids(2), 1);
    close_group(&f);
}

TEST(a_group_with_a_member_here_does_not_wait_for_a_full_neighbour)
{
    struct fixture f;
    uint64_t far[] = {1001, 1002};
    open_group(&f, (struct fake_options){.needs_credit = true, .messages = 1, .bytes = 1000});
    fake.neighbours[1].is_up = true;
    fake.neighbours[1].is_full = true;
    fake_route_group(f.route, "workers", false, 1, far, 2);
    ck_assert(switch_has_room(&fake.frontd, &f.route->route));
    for (unsigned i = 0; i < MEMBERS; i++) {
        (void) pass(&f, 1, 0);
    }
    ck_assert(!switch_has_room(&fake.frontd, &f.route->route));
    fake.neighbours[1].is_full = false;
    ck_assert(switch_has_room(&fake.frontd, &f.route->route));
    close_group(&f);
}

TEST(a_sticky_group_waits_for_a_full_neighbour)
{
    struct fixture f;
    uint64_t far[] = {1001, 1002};
    open_group(&f, (struct fake_options){.sticky = true});
    fake.neighbours[1].is_up = true;
    fake.neighbours[1].is_full = true;
    fake_route_group(f.route, "workers", true, 1, far, 2);
    ck_assert(!switch_has_room(&fake.frontd, &f.route->route)); /* a key would move */
    fake.neighbours[1].is_full = false;
    ck_assert(switch_has_room(&fake.frontd, &f.route->route));
    close_group(&f);
}

TEST(a_member_that_is_not_confirmed_yet_is_not_told_as_one_without_credit_and_takes_what_comes)
{
    struct fixture f;
    struct conn *conn = NULL;
    fake_start();
    fake.neighbours[1].is_up = true;
    f = (struct fixture){.conns = {conn = fake_conn()}};
    f.members[0] = fake_subscribe(
        conn, (struct fake_options){.number = 1, .group = "workers", .is_unconfirmed = true});
    f.ids[0] = subscription_id(f.members[0]);
    fake_turn(50);
    ck_assert_uint_eq(fake.neighbours[1].load_count, 0);
    ck_assert(!subscription_has_credit(f.members[0])); /* not for those who publish here */
    forward(f.ids, 1, 5, 5, true, 0);
    ck_assert_uint_eq(got(conn), 0);
    subscriptions_on_confirmed(fake.frontd.subscriptions, fake.last_added);
    ck_assert_uint_eq(got(conn), 5);
    ck_assert_uint_eq(fake.exchange.counts.delivered, 5);
    close_group(&f);
}
