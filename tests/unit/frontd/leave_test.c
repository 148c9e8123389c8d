/* Consumers of ephemeral groups, consumers that leave in order, and who comes back first. */
#include "common/base/err.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

#include "tests/lib/test.h"
#include "tests/unit/frontd/front_lib.h"

#define BODY(name) RAILGUN__FRAME__BODY_##name

static void consume_memory(struct client *client, uint32_t channel, uint64_t corr, char *group)
{
    Railgun__Consume consume = RAILGUN__CONSUME__INIT;
    Railgun__Credit credit = RAILGUN__CREDIT__INIT;
    char orders[] = "orders";
    consume.stream = orders;
    consume.group = group;
    consume.has_ephemeral = consume.ephemeral = group != NULL;
    consume.has_priority = true;
    consume.priority = 5;
    credit.has_messages = credit.has_bytes = true;
    credit.messages = 10;
    credit.bytes = 1000;
    consume.credit = &credit;
    client_send(client, channel, corr, BODY(CONSUME), &consume);
}

static void expect_ok(struct client *client, uint32_t field, uint64_t corr)
{
    Railgun__Frame *frame = client_expect(client, field, corr);
    SCAN_FREE(&frame);
}

TEST(a_group_without_a_name_is_made_by_logd)
{
    struct front front;
    struct client client;
    front_open_node(&front, NULL);
    client_open(&client, &front);
    consume_memory(&client, 3, 2, NULL);
    Railgun__Frame *frame = client_expect(&client, BODY(CONSUME_OK), 2);
    ck_assert_str_eq(frame->consume_ok->group, "e-made");
    SCAN_FREE(&frame);
    ck_assert(front.seen.attach_ephemeral);
    ck_assert_uint_eq(front.seen.attach_group_id, 0);
    ck_assert_uint_eq(front.seen.attach_priority, 5);
    client_close(&client);
    front_close(&front);
}

TEST(an_ephemeral_group_by_the_name_of_a_durable_one_is_that)
{
    struct front front;
    struct client client;
    char billing[] = "billing";
    front_open_node(&front, NULL);
    client_open(&client, &front);
    consume_memory(&client, 3, 2, billing);
    expect_ok(&client, BODY(CONSUME_OK), 2);
    ck_assert(!front.seen.attach_ephemeral);
    ck_assert_uint_eq(front.seen.attach_group_id, 1);
    client_close(&client);
    front_close(&front);
}

TEST(who_consumed_an_ephemeral_group_is_told_where_to_go_on_when_logd_is_lost)
{
    struct front front;
    struct client client;
    struct buf floor = {0};
    char mine[] = "mine";
    front_open_node(&front, NULL);
    client_open(&client, &front);
    consume_memory(&client, 3, 2, mine);
    expect_ok(&client, BODY(CONSUME_OK), 2);
    ck_assert_str_eq(front.seen.attach_group, "mine");
    pb_append_varint(&floor, 1, 17);
    fake_event(&front.logd, RAILGUN__BUS_TYPE__BUS_LOG_FLOOR, front.seen.consumer, buf_span(&floor),
               (struct span){0});
    buf_release(&floor);
    client_send(&client, 0, 3, BODY(PING), NULL);
    expect_ok(&client, BODY(PONG), 3);
    fake_stop(&front.logd);
    Railgun__Frame *frame = client_expect(&client, BODY(CANCEL), 0);
    ck_assert_uint_eq(frame->channel, 3);
    ck_assert_uint_eq(frame->cancel->code, 406);
    ck_assert_uint_eq(frame->cancel->last_offset, 17);
    SCAN_FREE(&frame);
    fake_start(&front, &front.logd, "logd-0");
    FRONT_UNTIL(&front, front.logd.link != NULL);
    consume_memory(&client, 3, 4, mine); /* the number is free again */
    expect_ok(&client, BODY(CONSUME_OK), 4);
    ck_assert_uint_eq(front.seen.attaches, 2);
    client_close(&client);
    front_close(&front);
}

TEST(a_draining_consumer_may_acknowledge_until_it_holds_nothing)
{
    struct front front;
    struct client client;
    Railgun__Cancel cancel = RAILGUN__CANCEL__INIT;
    Railgun__Ack ack = RAILGUN__ACK__INIT;
    front_open_node(&front, NULL);
    client_open(&client, &front);
    client_consume(&client, 3, 2, "billing", 10, 1000);
    expect_ok(&client, BODY(CONSUME_OK), 2);
    cancel.has_drain = cancel.drain = true;
    cancel.has_drain_ms = true;
    cancel.drain_ms = 1234;
    client_send(&client, 3, 3, BODY(CANCEL), &cancel);
    FRONT_UNTIL(&front, front.seen.detaches == 1);
    ck_assert(front.seen.detach_drain);
    ck_assert_uint_eq(front.seen.detach_drain_ms, 1234);
    client_send(&client, 3, 4, BODY(CANCEL), &cancel); /* once is enough */
    client_expect_error(&client, 4, 104);
    ack.has_up_to = true;
    ack.up_to = 5;
    client_send(&client, 3, 5, BODY(ACK), &ack);
    expect_ok(&client, BODY(ACK_OK), 5);
    front_end_drain(&front);
    expect_ok(&client, BODY(CANCEL_OK), 3);
    client_send(&client, 3, 6, BODY(ACK), &ack);
    client_expect_error(&client, 6, 104);
    client_close(&client);
    front_close(&front);
}

TEST(a_draining_consumer_may_leave_at_once)
{
    struct front front;
    struct client client;
    Railgun__Cancel cancel = RAILGUN__CANCEL__INIT;
    front_open_node(&front, NULL);
    client_open(&client, &front);
    client_consume(&client, 3, 2, "billing", 10, 1000);
    expect_ok(&client, BODY(CONSUME_OK), 2);
    cancel.has_drain = cancel.drain = true;
    client_send(&client, 3, 3, BODY(CANCEL), &cancel);
    FRONT_UNTIL(&front, front.seen.detaches == 1);
    uint64_t ticket = front.seen.detach_ticket;
    client_send(&client, 3, 4, BODY(CANCEL), NULL);
    expect_ok(&client, BODY(CANCEL_OK), 4);
    front.seen.detach_ticket = ticket;
    front_end_drain(&front);
    expect_ok(&client, BODY(CANCEL_OK), 3);
    client_close(&client);
    front_close(&front);
}

TEST(consumers_come_back_in_the_order_in_which_they_came)
{
    struct front front;
    struct client client;
    front_open_node(&front, NULL);
    client_open(&client, &front);
    for (uint32_t i = 1; i <= 8; i++) {
        client_consume(&client, i, i + 1, "billing", 10, 1000);
        expect_ok(&client, BODY(CONSUME_OK), i + 1);
    }
    fake_stop(&front.logd);
    FRONT_UNTIL(&front, front.logd.link == NULL);
    front.seen.attaches = 0;
    fake_start(&front, &front.logd, "logd-0");
    FRONT_UNTIL(&front, front.seen.attaches == 8);
    for (unsigned i = 1; i < 8; i++) {
        ck_assert_uint_gt(front.seen.consumers[i], front.seen.consumers[i - 1]);
    }
    client_close(&client);
    front_close(&front);
}
