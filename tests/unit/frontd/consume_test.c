/* Consumers: from Consume to Cancel, through restarts of logd, with clients that do not read and clients that die. */
#include <signal.h>

#include "common/base/err.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

#include "tests/lib/test.h"
#include "tests/unit/frontd/front_lib.h"

#define BODY(name) RAILGUN__FRAME__BODY_##name

/* One delivery of `count` records of `size` bytes. Returns the bytes of the batch. */
static size_t deliver(struct front *front, uint64_t base, unsigned count, size_t size)
{
    struct buf meta = {0};
    struct buf batch = {0};
    pb_append_varint(&meta, 2, base);
    pb_append_varint(&meta, 3, count);
    batch_fill(&batch, count, size);
    fake_event(&front->logd, RAILGUN__BUS_TYPE__BUS_LOG_DELIVER, front->seen.consumer,
               buf_span(&meta), buf_span(&batch));
    size_t bytes = batch.size;
    buf_release(&meta);
    buf_release(&batch);
    return bytes;
}

static void expect_deliver(struct client *client, uint32_t channel, uint64_t base, unsigned count)
{
    Railgun__Frame *frame = client_expect(client, BODY(DELIVER), 0);
    ck_assert_uint_eq(frame->channel, channel);
    ck_assert_uint_eq(frame->deliver->base_offset, base);
    ck_assert_uint_eq(frame->deliver->count, count);
    ck_assert_uint_eq(frame->deliver->batch->n_records, count);
    SCAN_FREE(&frame);
}

/* A node with one consumer on channel 3. */
static void open_consumer(struct front *front, struct client *client, const char *const *sets,
                          uint64_t messages, uint64_t bytes)
{
    front_open_node(front, sets);
    client_open(client, front);
    client_consume(client, 3, 2, "billing", messages, bytes);
    Railgun__Frame *frame = client_expect(client, BODY(CONSUME_OK), 2);
    SCAN_FREE(&frame);
}

static void send_ack(struct client *client, uint32_t channel, uint64_t corr, uint64_t up_to)
{
    Railgun__Ack ack = RAILGUN__ACK__INIT;
    ack.has_up_to = true;
    ack.up_to = up_to;
    client_send(client, channel, corr, BODY(ACK), &ack);
}

static void send_credit(struct client *client, uint32_t channel, uint64_t messages, uint64_t bytes)
{
    Railgun__Credit credit = RAILGUN__CREDIT__INIT;
    credit.has_messages = true;
    credit.messages = messages;
    credit.has_bytes = true;
    credit.bytes = bytes;
    client_send(client, channel, 0, BODY(CREDIT), &credit);
}

TEST(consume_attaches_delivers_and_acknowledges)
{
    struct front front;
    struct client client;
    front_open_node(&front, NULL);
    client_open(&client, &front);
    client_consume(&client, 3, 2, "billing", 50, 10000);
    Railgun__Frame *frame = client_expect(&client, BODY(CONSUME_OK), 2);
    ck_assert_uint_eq(frame->channel, 3);
    ck_assert_uint_eq(frame->consume_ok->member, 1);
    ck_assert(!frame->consume_ok->created);
    ck_assert_uint_eq(frame->consume_ok->spec->max_in_flight, 100);
    ck_assert_uint_eq(frame->consume_ok->stream_id.len, 16);
    SCAN_FREE(&frame);
    ck_assert_uint_eq(front.seen.attach_messages, 50);
    ck_assert_uint_eq(front.seen.attach_bytes, 10000);
    ck_assert_uint_eq(front.seen.attach_group_id, 1);
    deliver(&front, 1, 5, 100);
    expect_deliver(&client, 3, 1, 5);
    send_ack(&client, 3, 0, 3);
    FRONT_UNTIL(&front, front.seen.acks_oneway == 1);
    send_ack(&client, 3, 4, 5);
    frame = client_expect(&client, BODY(ACK_OK), 4);
    SCAN_FREE(&frame);
    send_credit(&client, 3, 7, 700);
    FRONT_UNTIL(&front, front.seen.credit_messages == 7);
    ck_assert_uint_eq(front.seen.credit_bytes, 700);
    client_send(&client, 3, 5, BODY(CANCEL), NULL);
    frame = client_expect(&client, BODY(CANCEL_OK), 5);
    SCAN_FREE(&frame);
    ck_assert_uint_eq(front.seen.detaches, 1);
    ck_assert(!front.seen.detach_count_failed);
    send_ack(&client, 3, 6, 5);
    client_expect_error(&client, 6, 104);
    client_consume(&client, 3, 7, "billing", 1, 1); /* the number is free again */
    frame = client_expect(&client, BODY(CONSUME_OK), 7);
    SCAN_FREE(&frame);
    client_close(&client);
    front_close(&front);
}

TEST(consume_makes_the_group_when_there_is_none)
{
    struct front front;
    struct client client;
    front_open_node(&front, NULL);
    for (uint64_t round = 0; round < 2; round++) {
        front.late_changes = round == 1;
        client_open(&client, &front);
        client_consume(&client, 1, 2, round == 0 ? "fresh" : "fresher", 50, 10000);
        Railgun__Frame *frame = client_expect(&client, BODY(CONSUME_OK), 2);
        ck_assert(frame->consume_ok->created);
        SCAN_FREE(&frame);
        ck_assert_uint_eq(front.seen.attach_group_id, 2 + round);
        client_close(&client);
    }
    front_close(&front);
}

TEST(consume_lists_differences_or_refuses_them)
{
    struct front front;
    struct client client;
    Railgun__Consume consume = RAILGUN__CONSUME__INIT;
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    char orders[] = "orders";
    char billing[] = "billing";
    front_open_node(&front, NULL);
    client_open(&client, &front);
    consume.stream = orders;
    consume.group = billing;
    consume.spec = &spec;
    spec.has_max_in_flight = true;
    spec.max_in_flight = 7;
    spec.has_mode = true; /* as stored */
    client_send(&client, 1, 2, BODY(CONSUME), &consume);
    Railgun__Frame *frame = client_expect(&client, BODY(CONSUME_OK), 2);
    ck_assert_uint_eq(frame->consume_ok->n_differs, 1);
    ck_assert_str_eq(frame->consume_ok->differs[0]->path, "max_in_flight");
    ck_assert_str_eq(frame->consume_ok->differs[0]->current, "100");
    ck_assert_str_eq(frame->consume_ok->differs[0]->wanted, "7");
    SCAN_FREE(&frame);
    consume.has_strict = true;
    consume.strict = true;
    client_send(&client, 2, 3, BODY(CONSUME), &consume);
    frame = client_expect(&client, BODY(ERROR), 3);
    ck_assert_uint_eq(frame->error->code, 444);
    ck_assert_uint_eq(frame->error->n_diff, 1);
    SCAN_FREE(&frame);
    spec.max_in_flight = 100;
    client_send(&client, 2, 4, BODY(CONSUME), &consume);
    frame = client_expect(&client, BODY(CONSUME_OK), 4);
    SCAN_FREE(&frame);
    client_close(&client);
    front_close(&front);
}

TEST(consume_is_refused_on_bad_channels_and_names)
{
    struct front front;
    struct client client;
    const char *sets[] = {"limits.channels=10", NULL};
    open_consumer(&front, &client, sets, 10, 10000);
    client_consume(&client, 3, 10, "billing", 1, 1);
    client_expect_error(&client, 10, 104);
    client_consume(&client, 0, 11, "billing", 1, 1);
    client_expect_error(&client, 11, 104);
    client_consume(&client, 11, 12, "billing", 1, 1);
    client_expect_error(&client, 12, 104);
    client_consume(&client, 4, 14, "no good", 1, 1);
    client_expect_error(&client, 14, 400);
    send_ack(&client, 9, 15, 1);
    client_expect_error(&client, 15, 104);
    client_send(&client, 9, 16, BODY(CANCEL), NULL);
    client_expect_error(&client, 16, 104);
    send_ack(&client, 9, 0, 1);    /* one-way: nobody is told */
    send_credit(&client, 9, 1, 1); /* as it may be when a Cancel crossed it */
    client_send(&client, 0, 17, BODY(PING), NULL);
    Railgun__Frame *frame = client_expect(&client, BODY(PONG), 17);
    SCAN_FREE(&frame);
    client_close(&client);
    front_close(&front);
}

TEST(consumers_are_attached_again_when_logd_restarts)
{
    struct front front;
    struct client client;
    open_consumer(&front, &client, NULL, 50, 100000);
    size_t bytes = deliver(&front, 1, 20, 100);
    expect_deliver(&client, 3, 1, 20);
    uint64_t consumer = front.seen.consumer;
    fake_stop(&front.logd);
    FRONT_UNTIL(&front, front.logd.link == NULL);
    for (uint64_t corr = 10;; corr++) { /* until frontd has noticed, too */
        send_ack(&client, 3, corr, 10);
        Railgun__Frame *frame = client_expect(&client, BODY(ERROR), corr);
        ck_assert_uint_eq(frame->error->code, 408);
        bool noticed = strstr(frame->error->detail, "restarted") != NULL;
        SCAN_FREE(&frame);
        if (noticed) {
            break;
        }
    }
    send_credit(&client, 3, 5, 500);
    fake_start(&front, &front.logd, "logd-0");
    FRONT_UNTIL(&front, front.seen.attaches == 2);
    ck_assert_uint_eq(front.seen.consumer, consumer);
    FRONT_UNTIL(&front, front.seen.attach_messages + front.seen.credit_messages == 35);
    ck_assert_uint_eq(front.seen.attach_bytes + front.seen.credit_bytes, 100500 - bytes);
    deliver(&front, 1, 30, 100); /* again, and more */
    expect_deliver(&client, 3, 1, 30);
    FRONT_UNTIL(&front, (send_ack(&client, 3, 0, 30), front.seen.acks_oneway != 0));
    ck_assert_uint_eq(front.seen.detaches, 0);
    client_close(&client);
    front_close(&front);
}

TEST(consumers_leave_with_their_connection)
{
    struct front front;
    struct client client;
    open_consumer(&front, &client, NULL, 50, 100000);
    client_consume(&client, 4, 3, "billing", 1, 1);
    Railgun__Frame *frame = client_expect(&client, BODY(CONSUME_OK), 3);
    SCAN_FREE(&frame);
    client_close(&client);
    FRONT_UNTIL(&front, front.seen.detaches == 2);
    ck_assert(front.seen.detach_count_failed);
    deliver(&front, 1, 5, 100); /* too late: ignored */
    client_open(&client, &front);
    client_close(&client);
    front_close(&front);
}

TEST(consumers_that_left_while_logd_was_away_are_not_attached_again)
{
    struct front front;
    struct client client;
    struct client other;
    open_consumer(&front, &client, NULL, 50, 100000);
    client_open(&other, &front);
    client_consume(&other, 1, 2, "billing", 1, 1);
    Railgun__Frame *frame = client_expect(&other, BODY(CONSUME_OK), 2);
    SCAN_FREE(&frame);
    fake_stop(&front.logd);
    FRONT_UNTIL(&front, front.logd.link == NULL);
    client_send(&client, 3, 9, BODY(CANCEL), NULL);
    frame = client_expect(&client, BODY(CANCEL_OK), 9);
    SCAN_FREE(&frame);
    fake_start(&front, &front.logd, "logd-0");
    FRONT_UNTIL(&front, front.seen.attaches == 3);
    send_ack(&client, 3, 10, 1);
    client_expect_error(&client, 10, 104);
    ck_assert_uint_eq(front.seen.attaches, 3);
    client_close(&client);
    client_close(&other);
    front_close(&front);
}

TEST(acks_that_waited_do_not_reach_the_next_logd)
{
    struct front front;
    struct client client;
    front_open_node(&front, NULL);
    fake_stop(&front.logd);
    FRONT_UNTIL(&front, front.logd.link == NULL);
    front.window_messages = 4;
    fake_start(&front, &front.logd, "logd-0");
    FRONT_UNTIL(&front, front.logd.link != NULL);
    client_open(&client, &front);
    client_consume(&client, 3, 2, "billing", 10, 10000);
    Railgun__Frame *frame = client_expect(&client, BODY(CONSUME_OK), 2);
    SCAN_FREE(&frame);
    front.hold_credit = true;
    for (uint64_t i = 1; i <= 20; i++) {
        send_ack(&client, 3, 0, i);
    }
    send_ack(&client, 3, 9, 21);
    FRONT_UNTIL(&front, front.seen.acks_oneway == 4);
    client_send(&client, 0, 10, BODY(PING), NULL); /* then frontd has taken all acks */
    frame = client_expect(&client, BODY(PONG), 10);
    SCAN_FREE(&frame);
    fake_stop(&front.logd);
    client_expect_error(&client, 9, 408);
    front.hold_credit = false;
    front.seen.acks_oneway = 0;
    fake_start(&front, &front.logd, "logd-0");
    FRONT_UNTIL(&front, front.seen.attaches == 2);
    client_consume(&client, 4, 11, "billing", 10, 10000); /* behind whatever waited */
    frame = client_expect(&client, BODY(CONSUME_OK), 11);
    SCAN_FREE(&frame);
    ck_assert_uint_eq(front.seen.acks_oneway, 0);
    ck_assert_uint_eq(front.seen.acks, 0);
    client_close(&client);
    front_close(&front);
}

TEST(consume_waits_for_logd_and_gives_up_in_time)
{
    struct front front;
    struct client client;
    const char *sets[] = {"timeouts.request=300ms", NULL};
    front_open_node(&front, sets);
    client_open(&client, &front);
    fake_stop(&front.logd);
    FRONT_UNTIL(&front, front.logd.link == NULL);
    client_consume(&client, 1, 2, "billing", 1, 1);
    client_expect_error(&client, 2, 511);
    client_close(&client);
    front_close(&front);
}

TEST(logd_may_cancel_a_consumer_and_send_it_events)
{
    struct front front;
    struct client client;
    struct buf meta = {0};
    open_consumer(&front, &client, NULL, 50, 100000);
    pb_append_varint(&meta, 1, RAILGUN__GROUP_EVENT__TYPE__EVENT_FULL);
    fake_event(&front.logd, RAILGUN__BUS_TYPE__BUS_LOG_EVENT, front.seen.consumer, buf_span(&meta),
               (struct span){0});
    Railgun__Frame *frame = client_expect(&client, BODY(GROUP_EVENT), 0);
    ck_assert_uint_eq(frame->channel, 3);
    ck_assert_int_eq(frame->group_event->type, RAILGUN__GROUP_EVENT__TYPE__EVENT_FULL);
    SCAN_FREE(&frame);
    buf_reset(&meta);
    pb_append_varint(&meta, 1, 447);
    fake_event(&front.logd, RAILGUN__BUS_TYPE__BUS_LOG_CANCEL, front.seen.consumer, buf_span(&meta),
               (struct span){0});
    frame = client_expect(&client, BODY(CANCEL), 0);
    ck_assert_uint_eq(frame->channel, 3);
    ck_assert_uint_eq(frame->cancel->code, 447);
    SCAN_FREE(&frame);
    send_ack(&client, 3, 10, 1);
    client_expect_error(&client, 10, 104);
    ck_assert_uint_eq(front.seen.detaches, 0);
    buf_release(&meta);
    client_close(&client);
    front_close(&front);
}

/* A logd that always delivers as much as it was told it may. */
TEST_WITHIN(a_client_that_does_not_read_is_sent_only_so_much, 30)
{
    struct front front;
    struct client client;
    struct client other;
    const char *sets[] = {"limits.outbound=1M", NULL};
    const uint64_t granted = UINT64_C(1) << 40;
    uint64_t delivered = 0;
    uint64_t base = 1;
    open_consumer(&front, &client, sets, granted, granted);
    client_open(&other, &front);
    unsigned quiet = 0;
    while (quiet < 50) { /* turns without news: all that may be sent has been */
        uint64_t told = front.seen.attach_bytes + front.seen.credit_bytes;
        quiet++;
        while (told - delivered >= 20000) {
            delivered += deliver(&front, base, 100, 100);
            base += 100;
            quiet = 0;
        }
        front_turn(&front);
    }
    /* One allowance in frontd, and what the kernel holds for the two sockets. */
    ck_assert_uint_gt(delivered, 300000);
    ck_assert_uint_lt(delivered, 16 << 20);
    client_send(&other, 0, 2, BODY(PING), NULL);
    Railgun__Frame *frame = client_expect(&other, BODY(PONG), 2);
    SCAN_FREE(&frame);
    /* It reads again: all of it comes, and more may. */
    uint64_t read = 0;
    for (uint64_t expected = 1; expected < base; expected += 100) {
        expect_deliver(&client, 3, expected, 100);
        read += 100;
    }
    ck_assert_uint_eq(read, base - 1);
    FRONT_UNTIL(&front, front.seen.attach_bytes + front.seen.credit_bytes - delivered >= 20000);
    client_close(&client);
    client_close(&other);
    front_close(&front);
}
