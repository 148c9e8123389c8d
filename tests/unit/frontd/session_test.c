/* Sessions: a real frontd between clients and fake daemons: what is passed on, what waits, what is refused. */
#include <signal.h>

#include "common/base/err.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"

#include "tests/lib/test.h"
#include "tests/unit/frontd/front_lib.h"

#define BODY(name) RAILGUN__FRAME__BODY_##name

static void expect_publish_ok(struct client *client, uint64_t corr, uint64_t offset)
{
    Railgun__Frame *frame = client_expect(client, BODY(PUBLISH_OK), corr);
    ck_assert_uint_eq(frame->publish_ok->base_offset, offset);
    SCAN_FREE(&frame);
}

/* --- hello --- */

TEST(hello_is_answered_with_the_limits)
{
    struct front front;
    struct client client;
    Railgun__Hello hello = RAILGUN__HELLO__INIT;
    const char *sets[] = {"limits.channels=77", "timeouts.heartbeat=8s", NULL};
    front_open_node(&front, sets);
    client_connect(&client, &front);
    hello.has_heartbeat_ms = true;
    hello.heartbeat_ms = 3000;
    client_send(&client, 0, 5, BODY(HELLO), &hello);
    Railgun__Frame *frame = client_expect(&client, BODY(HELLO_OK), 5);
    ck_assert_uint_eq(frame->hello_ok->version, 1);
    ck_assert_uint_eq(frame->hello_ok->heartbeat_ms, 3000);
    ck_assert_uint_eq(frame->hello_ok->channels_max, 77);
    ck_assert_uint_eq(frame->hello_ok->publish_window, 16 << 20);
    ck_assert_uint_eq(frame->hello_ok->session.len, 16);
    SCAN_FREE(&frame);
    client_send(&client, 0, 6, BODY(HELLO), &hello);
    client_expect_error(&client, 6, 400);
    client_send(&client, 0, 7, BODY(AUTH), NULL);
    client_expect_error(&client, 7, 501);
    client_close(&client);
    front_close(&front);
}

TEST(hello_must_come_first_and_be_understood)
{
    struct front front;
    struct client client;
    front_open_node(&front, NULL);
    client_connect(&client, &front);
    client_send(&client, 0, 1, BODY(PING), NULL);
    client_expect_error(&client, 0, 101);
    client_expect_end(&client);
    client_close(&client);

    Railgun__Hello hello = RAILGUN__HELLO__INIT;
    hello.has_version_min = true;
    hello.version_min = 2;
    hello.has_version_max = true;
    hello.version_max = 9;
    client_connect(&client, &front);
    client_send(&client, 0, 1, BODY(HELLO), &hello);
    client_expect_error(&client, 0, 103);
    client_expect_end(&client);
    client_close(&client);

    char no_name[] = "not a name";
    Railgun__Hello hello_no_name = RAILGUN__HELLO__INIT;
    hello_no_name.namespace_ = no_name;
    client_connect(&client, &front);
    client_send(&client, 0, 1, BODY(HELLO), &hello_no_name);
    client_expect_error(&client, 0, 400);
    client_expect_end(&client);
    client_close(&client);
    front_close(&front);
}

TEST(persistent_streams_are_in_the_default_namespace_only)
{
    struct front front;
    struct client client;
    char other[] = "elsewhere";
    char stream[] = "orders";
    Railgun__Hello hello_elsewhere = RAILGUN__HELLO__INIT;
    Railgun__Read read = RAILGUN__READ__INIT;
    hello_elsewhere.namespace_ = other;
    read.stream = stream;
    front_open_node(&front, NULL);
    client_connect(&client, &front);
    client_send(&client, 0, 1, BODY(HELLO), &hello_elsewhere);
    Railgun__Frame *ok = client_expect(&client, BODY(HELLO_OK), 1);
    SCAN_FREE(&ok);
    client_send(&client, 0, 2, BODY(READ), &read);
    client_expect_error(&client, 2, 501);
    client_close(&client);
    front_close(&front);
}

TEST(ping_is_echoed_and_unknown_frames_do_not_close)
{
    struct front front;
    struct client client;
    Railgun__Ping ping = RAILGUN__PING__INIT;
    uint8_t data[] = "0123456789";
    front_open_node(&front, NULL);
    client_open(&client, &front);
    ping.has_data = true;
    ping.data = (ProtobufCBinaryData){10, data};
    client_send(&client, 0, 2, BODY(PING), &ping);
    Railgun__Frame *frame = client_expect(&client, BODY(PONG), 2);
    ck_assert_uint_eq(frame->pong->data.len, 10);
    SCAN_FREE(&frame);
    client_send(&client, 0, 3, 200, NULL); /* of a newer protocol */
    client_expect_error(&client, 3, 102);
    client_send(&client, 0, 4, BODY(PUBLISH_OK), NULL); /* only servers send it */
    client_expect_error(&client, 4, 102);
    client_send(&client, 0, 5, BODY(PING), NULL);
    frame = client_expect(&client, BODY(PONG), 5);
    SCAN_FREE(&frame);
    client_close(&client);
    front_close(&front);
}

/* --- publish --- */

TEST(publish_reaches_logd_with_the_same_bytes_and_is_answered)
{
    struct front front;
    struct client client;
    struct buf batch = {0};
    front_open_node(&front, NULL);
    client_open(&client, &front);
    client_publish(&client, "orders", 2, 50, 100);
    expect_publish_ok(&client, 2, 1);
    batch_fill(&batch, 50, 100);
    ck_assert_uint_eq(front.seen.publish_group, 1024);
    ck_assert_uint_eq(front.seen.publish_body.size, batch.size);
    ck_assert_mem_eq(front.seen.publish_body.data, batch.data, batch.size);
    Railgun__LogPublish *meta = NULL;
    ck_assert_int_eq(SCAN_UNPACK(buf_span(&front.seen.publish_meta), railgun__log_publish, &meta),
                     0);
    ck_assert_uint_eq(meta->revision, front.revision);
    ck_assert(meta->atomic);
    SCAN_FREE(&meta);
    buf_release(&batch);
    client_close(&client);
    front_close(&front);
}

TEST(publish_passes_on_expectations_and_errors)
{
    struct front front;
    struct client client;
    Railgun__Publish publish = RAILGUN__PUBLISH__INIT;
    Railgun__Expect expect = RAILGUN__EXPECT__INIT;
    Railgun__RecordBatch batch = RAILGUN__RECORD_BATCH__INIT;
    Railgun__Record record = RAILGUN__RECORD__INIT;
    Railgun__Record *records[] = {&record};
    char stream[] = "orders";
    uint8_t fence[] = "fence";
    front_open_node(&front, NULL);
    client_open(&client, &front);
    batch.n_records = 1;
    batch.records = records;
    publish.stream = stream;
    publish.batch = &batch;
    expect.what_case = RAILGUN__EXPECT__WHAT_NEXT_OFFSET;
    expect.next_offset = 17;
    publish.expect = &expect;
    publish.has_fence = true;
    publish.fence = (ProtobufCBinaryData){5, fence};
    publish.has_atomic = true;
    publish.atomic = false;
    front.publish_error = ERR_WRONG_OFFSET;
    client_send(&client, 0, 2, BODY(PUBLISH), &publish);
    client_expect_error(&client, 2, 412);
    Railgun__LogPublish *meta = NULL;
    ck_assert_int_eq(SCAN_UNPACK(buf_span(&front.seen.publish_meta), railgun__log_publish, &meta),
                     0);
    ck_assert_uint_eq(meta->expect->next_offset, 17);
    ck_assert_uint_eq(meta->fence.len, 5);
    ck_assert(!meta->atomic);
    SCAN_FREE(&meta);
    client_close(&client);
    front_close(&front);
}

TEST(publish_is_refused_where_frontd_can_tell)
{
    struct front front;
    struct client client;
    Railgun__Publish publish = RAILGUN__PUBLISH__INIT;
    char stream[] = "orders";
    uint8_t id[16] = {0xff};
    const char *sets[] = {"limits.batch=64k", "limits.record=4k", NULL};
    front_open_node(&front, sets);
    client_open(&client, &front);
    client_publish(&client, "nope", 2, 1, 10);
    client_expect_error(&client, 2, 428);
    client_publish(&client, "a..b", 3, 1, 10);
    client_expect_error(&client, 3, 400);
    client_publish(&client, "orders", 4, 0, 0);
    client_expect_error(&client, 4, 400);
    client_publish(&client, "orders", 5, 700, 100);
    client_expect_error(&client, 5, 413);
    Railgun__RecordBatch batch = RAILGUN__RECORD_BATCH__INIT;
    Railgun__Record record = RAILGUN__RECORD__INIT;
    Railgun__Record *records[] = {&record};
    batch.n_records = 1;
    batch.records = records;
    publish.stream = stream;
    publish.batch = &batch;
    publish.has_stream_id = true;
    publish.stream_id = (ProtobufCBinaryData){16, id};
    client_send(&client, 0, 6, BODY(PUBLISH), &publish);
    client_expect_error(&client, 6, 446);
    ck_assert_uint_eq(front.seen.publishes, 0);
    client_close(&client);
    front_close(&front);
}

TEST(publish_with_a_correlation_in_use_is_refused)
{
    struct front front;
    struct client client;
    front_open_node(&front, NULL);
    front.hold_publishes = true;
    client_open(&client, &front);
    client_publish(&client, "orders", 2, 1, 10);
    client_publish(&client, "orders", 2, 1, 10);
    client_expect_error(&client, 2, 400);
    FRONT_UNTIL(&front, front.seen.ticket_count == 1);
    front_release_publishes(&front);
    expect_publish_ok(&client, 2, 1);
    front.hold_publishes = false;
    client_publish(&client, "orders", 2, 1, 10); /* free again */
    expect_publish_ok(&client, 2, 2);
    client_close(&client);
    front_close(&front);
}

TEST(publish_beyond_the_window_closes)
{
    struct front front;
    struct client client;
    const char *sets[] = {"limits.publish_window=64k", NULL};
    front_open_node(&front, sets);
    front.hold_publishes = true;
    client_open(&client, &front);
    client_publish(&client, "orders", 2, 600, 100); /* within */
    client_publish(&client, "orders", 3, 600, 100); /* begins within */
    client_publish(&client, "orders", 4, 1, 10);
    client_expect_error(&client, 0, 105);
    client_expect_end(&client);
    FRONT_UNTIL(&front, front.seen.publishes == 2);
    client_close(&client);
    front_close(&front);
}

TEST(publish_of_a_malformed_batch_closes)
{
    struct front front;
    struct client client;
    front_open_node(&front, NULL);
    front.publish_error = ERR_PROTOCOL;
    client_open(&client, &front);
    client_publish(&client, "orders", 2, 1, 10);
    client_expect_error(&client, 2, 100);
    client_expect_end(&client);
    client_close(&client);
    front_close(&front);
}

/* --- daemons that are away --- */

TEST(publish_waits_for_logd_in_order)
{
    struct front front;
    struct client client;
    front_open_node(&front, NULL);
    client_open(&client, &front);
    fake_stop(&front.logd);
    FRONT_UNTIL(&front, front.logd.link == NULL);
    for (uint64_t i = 0; i < 20; i++) {
        client_publish(&client, "orders", 10 + i, 1 + (unsigned) i % 3 * 500, 100);
    }
    for (unsigned i = 0; i < 20; i++) {
        front_turn(&front);
    }
    ck_assert_uint_eq(front.seen.publishes, 0);
    fake_start(&front, &front.logd, "logd-0");
    for (uint64_t i = 0; i < 20; i++) {
        expect_publish_ok(&client, 10 + i, 1 + i);
    }
    client_close(&client);
    front_close(&front);
}

TEST(publishes_never_overtake_each_other_for_want_of_credit)
{
    enum { PUBLISHES = 200 };
    struct front front;
    struct client client;
    front_open_node(&front, NULL);
    fake_stop(&front.logd);
    FRONT_UNTIL(&front, front.logd.link == NULL);
    front.window_bytes = 100000;
    fake_start(&front, &front.logd, "logd-0");
    FRONT_UNTIL(&front, front.logd.link != NULL);
    client_open(&client, &front);
    for (uint64_t i = 0; i < PUBLISHES; i++) { /* the small ones would fit where the large do not */
        client_publish(&client, "orders", 10 + i, i % 2 == 0 ? 500 : 1, 100 + i / 10);
    }
    for (uint64_t i = 0; i < PUBLISHES; i++) {
        expect_publish_ok(&client, 10 + i, 1 + i);
    }
    for (unsigned i = 0; i < PUBLISHES; i++) {
        ck_assert_int_eq(front.seen.publish_sizes[i] > 10000, i % 2 == 0);
    }
    client_close(&client);
    front_close(&front);
}

TEST(publish_is_certainly_not_done_when_logd_stays_away)
{
    struct front front;
    struct client client;
    const char *sets[] = {"timeouts.request=200ms", NULL};
    front_open_node(&front, sets);
    client_open(&client, &front);
    fake_stop(&front.logd);
    FRONT_UNTIL(&front, front.logd.link == NULL);
    client_publish(&client, "orders", 2, 1, 10);
    client_expect_error(&client, 2, 511);
    client_close(&client);
    front_close(&front);
}

TEST(publish_is_unknown_when_logd_dies_or_does_not_answer)
{
    struct front front;
    struct client client;
    const char *sets[] = {"timeouts.request=400ms", NULL};
    front_open_node(&front, sets);
    front.hold_publishes = true;
    client_open(&client, &front);
    client_publish(&client, "orders", 2, 1, 10);
    client_expect_error(&client, 2, 408); /* the time is up */
    client_publish(&client, "orders", 3, 1, 10);
    FRONT_UNTIL(&front, front.seen.publishes == 2);
    fake_stop(&front.logd);
    client_expect_error(&client, 3, 408); /* the session is over */
    front.seen.ticket_count = 0;
    client_close(&client);
    front_close(&front);
}

TEST(publish_holds_back_the_client_when_too_much_waits)
{
    struct front front;
    struct client client;
    const char *sets[] = {"limits.parked=1M", "limits.publish_window=64M", NULL};
    enum { FRAMES = 60 };
    front_open_node(&front, sets);
    client_open(&client, &front);
    fake_stop(&front.logd);
    FRONT_UNTIL(&front, front.logd.link == NULL);
    struct client other;
    client_open(&other, &front);
    for (uint64_t i = 0; i < FRAMES / 4; i++) {
        client_publish(&client, "orders", 10 + i, 1000, 100);
    }
    client_send(&other, 0, 2, BODY(PING), NULL); /* nobody else notices */
    Railgun__Frame *frame = client_expect(&other, BODY(PONG), 2);
    SCAN_FREE(&frame);
    fake_start(&front, &front.logd, "logd-0");
    for (uint64_t i = FRAMES / 4; i < FRAMES; i++) {
        client_publish(&client, "orders", 10 + i, 1000, 100);
    }
    for (uint64_t i = 0; i < FRAMES; i++) {
        expect_publish_ok(&client, 10 + i, 1 + i);
    }
    client_close(&client);
    client_close(&other);
    front_close(&front);
}

TEST(publish_waits_for_the_first_catalogue)
{
    struct front front;
    struct client client;
    front_open(&front, NULL);
    front_add_stream(&front, "orders");
    fake_start(&front, &front.logd, "logd-0");
    client_open(&client, &front);
    client_publish(&client, "orders", 2, 1, 10);
    for (unsigned i = 0; i < 20; i++) {
        front_turn(&front);
    }
    ck_assert_uint_eq(front.seen.publishes, 0);
    fake_start(&front, &front.raftd, "raftd-0");
    expect_publish_ok(&client, 2, 1);
    client_close(&client);
    front_close(&front);
}

TEST(publish_waits_for_the_catalogue_only_so_long)
{
    struct front front;
    struct client client;
    const char *sets[] = {"timeouts.catalog=300ms", NULL};
    front_open(&front, sets);
    client_open(&client, &front);
    client_publish(&client, "orders", 2, 1, 10);
    client_expect_error(&client, 2, 511);
    client_close(&client);
    front_close(&front);
}

TEST(the_catalogue_is_followed_and_survives_raftd)
{
    struct front front;
    struct client client;
    front_open_node(&front, NULL);
    client_open(&client, &front);
    client_publish(&client, "later", 2, 1, 10);
    client_expect_error(&client, 2, 428);
    front_add_stream(&front, "later");
    client_publish(&client, "orders", 3, 1, 10); /* the change is on its way before this */
    expect_publish_ok(&client, 3, 1);
    fake_stop(&front.raftd);
    FRONT_UNTIL(&front, front.raftd.link == NULL);
    client_publish(&client, "orders", 4, 1, 10);
    expect_publish_ok(&client, 4, 2);
    front_add_stream(&front, "while-away");
    fake_start(&front, &front.raftd, "raftd-0");
    Railgun__Frame *frame = NULL;
    bool found = false;
    for (uint64_t corr = 10; !found; corr++) {
        client_publish(&client, "while-away", corr, 1, 10);
        frame = client_recv(&client);
        found = frame->body_case == BODY(PUBLISH_OK);
        SCAN_FREE(&frame);
    }
    client_publish(&client, "later", 5, 1, 10);
    frame = client_expect(&client, BODY(PUBLISH_OK), 5);
    SCAN_FREE(&frame);
    client_close(&client);
    front_close(&front);
}

/* --- ensure, list, describe --- */

static void send_ensure(struct client *client, uint64_t corr, const char *name)
{
    Railgun__Ensure ensure = RAILGUN__ENSURE__INIT;
    char text[64];
    (void) snprintf(text, sizeof(text), "%s", name);
    ensure.has_kind = true;
    ensure.kind = RAILGUN__KIND__KIND_STREAM;
    ensure.name = text;
    client_send(client, 0, corr, BODY(ENSURE), &ensure);
}

TEST(ensure_is_answered_when_a_publish_would_find_the_stream)
{
    struct front front;
    struct client client;
    front_open_node(&front, NULL);
    client_open(&client, &front);
    for (uint64_t round = 0; round < 2; round++) {
        char name[32];
        front.late_changes = round == 1;
        (void) snprintf(name, sizeof(name), "made-%u", (unsigned) round);
        send_ensure(&client, 10 + round, name);
        Railgun__Frame *frame = client_expect(&client, BODY(ENSURE_OK), 10 + round);
        ck_assert_int_eq(frame->ensure_ok->result, RAILGUN__ENSURE_OK__RESULT__CREATED);
        SCAN_FREE(&frame);
        client_publish(&client, name, 20 + round, 1, 10);
        expect_publish_ok(&client, 20 + round, 1 + round);
    }
    send_ensure(&client, 30, "not a name");
    client_expect_error(&client, 30, 400);
    Railgun__Delete delete = RAILGUN__DELETE__INIT;
    char orders[] = "orders";
    delete.has_kind = true;
    delete.kind = RAILGUN__KIND__KIND_STREAM;
    delete.name = orders;
    client_send(&client, 0, 31, BODY(DELETE), &delete);
    client_expect_error(&client, 31, 404); /* the fake's answer, passed on */
    client_close(&client);
    front_close(&front);
}

TEST(an_exchange_is_ensured_and_deleted_in_the_namespace_of_its_session)
{
    struct front front;
    struct client client;
    char games[] = "games";
    char ticks[] = "ticks";
    Railgun__Hello hello = RAILGUN__HELLO__INIT;
    Railgun__Ensure ensure = RAILGUN__ENSURE__INIT;
    front_open_node(&front, NULL);
    client_connect(&client, &front);
    hello.namespace_ = games;
    client_send(&client, 0, 1, BODY(HELLO), &hello);
    Railgun__Frame *frame = client_expect(&client, BODY(HELLO_OK), 1);
    SCAN_FREE(&frame);
    ensure.has_kind = true;
    ensure.kind = RAILGUN__KIND__KIND_EXCHANGE;
    ensure.name = ticks;
    client_send(&client, 0, 2, BODY(ENSURE), &ensure);
    frame = client_expect(&client, BODY(ENSURE_OK), 2);
    ck_assert_int_eq(frame->ensure_ok->result, RAILGUN__ENSURE_OK__RESULT__CREATED);
    SCAN_FREE(&frame);
    ck_assert_str_eq(front.namespace_, "games");
    char bad[] = "no good";
    ensure.name = bad;
    client_send(&client, 0, 3, BODY(ENSURE), &ensure);
    client_expect_error(&client, 3, 400);
    Railgun__Delete delete = RAILGUN__DELETE__INIT;
    delete.has_kind = true;
    delete.kind = RAILGUN__KIND__KIND_EXCHANGE;
    delete.name = ticks;
    front.namespace_[0] = 0;
    client_send(&client, 0, 4, BODY(DELETE), &delete);
    client_expect_error(&client, 4, 404); /* the fake's answer, passed on */
    ck_assert_str_eq(front.namespace_, "games");
    client_close(&client);
    client_open(&client, &front);
    client_send(&client, 0, 5, BODY(DELETE), &delete);
    client_expect_error(&client, 5, 404);
    ck_assert_str_eq(front.namespace_, "default");
    client_close(&client);
    front_close(&front);
}

TEST(list_goes_through_all_names_page_by_page)
{
    struct front front;
    struct client client;
    Railgun__List list = RAILGUN__LIST__INIT;
    char after[64] = "";
    unsigned pages = 0;
    unsigned items = 0;
    front_open_node(&front, NULL);
    for (unsigned i = 0; i < 25; i++) {
        char name[32];
        (void) snprintf(name, sizeof(name), "many.%02u", i);
        front_add_stream(&front, name);
    }
    client_open(&client, &front);
    send_ensure(&client, 5, "last"); /* then all changes have come */
    Railgun__Frame *frame = client_expect(&client, BODY(ENSURE_OK), 5);
    SCAN_FREE(&frame);
    list.has_kind = true;
    list.kind = RAILGUN__KIND__KIND_STREAM;
    list.has_limit = true;
    list.limit = 10;
    bool more = true;
    while (more) {
        list.after = after;
        client_send(&client, 0, 6, BODY(LIST), &list);
        frame = client_expect(&client, BODY(LIST_OK), 6);
        size_t count = frame->list_ok->n_items;
        ck_assert_uint_gt(count, 0);
        for (size_t i = 0; i < count; i++) {
            ck_assert_str_gt(frame->list_ok->items[i]->name, after);
            (void) snprintf(after, sizeof(after), "%s", frame->list_ok->items[i]->name);
            items++;
        }
        more = frame->list_ok->more;
        pages++;
        SCAN_FREE(&frame);
    }
    ck_assert_uint_eq(items, 27);
    ck_assert_uint_eq(pages, 3);
    client_close(&client);
    front_close(&front);
}

TEST(describe_joins_the_catalogue_and_the_numbers)
{
    struct front front;
    struct client client;
    Railgun__Describe describe = RAILGUN__DESCRIBE__INIT;
    char orders[] = "orders";
    char billing[] = "billing";
    front_open_node(&front, NULL);
    client_open(&client, &front);
    describe.has_kind = true;
    describe.kind = RAILGUN__KIND__KIND_STREAM;
    describe.name = orders;
    client_send(&client, 0, 2, BODY(DESCRIBE), &describe);
    Railgun__Frame *frame = client_expect(&client, BODY(DESCRIBE_OK), 2);
    ck_assert_str_eq(frame->describe_ok->stream->name, "orders");
    ck_assert_uint_eq(frame->describe_ok->stream->first_offset, 42);
    ck_assert_uint_eq(frame->describe_ok->stream->groups, 1);
    ck_assert_uint_eq(frame->describe_ok->stream->log_group, 1024);
    SCAN_FREE(&frame);
    describe.kind = RAILGUN__KIND__KIND_GROUP;
    describe.group = billing;
    client_send(&client, 0, 3, BODY(DESCRIBE), &describe);
    frame = client_expect(&client, BODY(DESCRIBE_OK), 3);
    ck_assert_str_eq(frame->describe_ok->group->name, "billing");
    ck_assert_uint_eq(frame->describe_ok->group->floor, 42);
    ck_assert_uint_eq(frame->describe_ok->group->spec->max_in_flight, 100);
    SCAN_FREE(&frame);
    billing[0] = 'x';
    client_send(&client, 0, 4, BODY(DESCRIBE), &describe);
    client_expect_error(&client, 4, 404);
    client_send(&client, 0, 0, BODY(DESCRIBE), &describe); /* nobody wants the answer */
    client_send(&client, 0, 5, BODY(PING), NULL);
    frame = client_expect(&client, BODY(PONG), 5);
    SCAN_FREE(&frame);
    client_close(&client);
    front_close(&front);
}

TEST(describe_node_names_those_that_are_down)
{
    struct front front;
    struct client client;
    Railgun__Describe describe = RAILGUN__DESCRIBE__INIT;
    front_open_node(&front, NULL);
    client_open(&client, &front);
    fake_stop(&front.logd);
    FRONT_UNTIL(&front, front.logd.link == NULL);
    describe.has_kind = true;
    describe.kind = RAILGUN__KIND__KIND_NODE;
    client_send(&client, 0, 2, BODY(DESCRIBE), &describe);
    Railgun__Frame *frame = client_expect(&client, BODY(DESCRIBE_OK), 2);
    Railgun__NodeInfo *node = frame->describe_ok->node;
    ck_assert_uint_eq(node->n_daemons, 4);
    ck_assert_uint_eq(node->streams, 1);
    ck_assert_uint_eq(node->connections, 1);
    for (size_t i = 0; i < 4; i++) {
        bool is_up = strncmp(node->daemons[i]->daemon, "raftd", 5) == 0 ||
                     strncmp(node->daemons[i]->daemon, "frontd", 6) == 0;
        ck_assert_str_eq(node->daemons[i]->state, is_up ? "ready" : "down");
    }
    SCAN_FREE(&frame);
    client_close(&client);
    front_close(&front);
}

TEST(read_is_passed_on_within_the_limits)
{
    struct front front;
    struct client client;
    Railgun__Read read = RAILGUN__READ__INIT;
    char orders[] = "orders";
    front_open_node(&front, NULL);
    front.read_records = 2000;
    client_open(&client, &front);
    read.stream = orders;
    read.has_max_bytes = true;
    read.max_bytes = UINT64_MAX;
    for (uint64_t i = 0; i < 30; i++) {
        client_send(&client, 0, 2 + i, BODY(READ), &read); /* more than may be queued */
    }
    for (uint64_t i = 0; i < 30; i++) {
        Railgun__Frame *frame = client_expect(&client, BODY(READ_OK), 2 + i);
        ck_assert_uint_eq(frame->read_ok->batch->n_records, 2000);
        SCAN_FREE(&frame);
    }
    /* When less than half of the 8 MiB is queued, which is when frontd goes on, another page and what is around it must fit. */
    ck_assert_uint_le(front.seen.read_max_bytes, (4 << 20) - (64 << 10));
    client_close(&client);
    front_close(&front);
}

/* --- the end --- */

TEST(drain_lets_open_requests_finish_and_ends_well)
{
    struct front front;
    struct client client;
    struct client idle;
    const char *sets[] = {"timeouts.drain_grace=300ms", NULL};
    front_open_node(&front, sets);
    front.hold_publishes = true;
    client_open(&client, &front);
    client_open(&idle, &front);
    client_consume(&idle, 1, 2, "billing", 10, 10000);
    Railgun__Frame *frame = client_expect(&idle, BODY(CONSUME_OK), 2);
    SCAN_FREE(&frame);
    client_publish(&client, "orders", 2, 1, 10);
    FRONT_UNTIL(&front, front.seen.ticket_count == 1);
    ck_assert_int_eq(kill(front.pid, SIGTERM), 0);
    frame = client_expect(&idle, BODY(GO_AWAY), 0);
    SCAN_FREE(&frame);
    frame = client_expect(&client, BODY(GO_AWAY), 0);
    ck_assert_uint_gt(frame->go_away->deadline_ms, 0);
    SCAN_FREE(&frame);
    client_consume(&client, 1, 3, "billing", 10, 10000);
    client_expect_error(&client, 3, 107);
    client_expect_end(&idle);
    FRONT_UNTIL(&front, front.seen.detaches == 1);
    ck_assert(!front.seen.detach_count_failed);
    front_release_publishes(&front);
    expect_publish_ok(&client, 2, 1);
    client_expect_end(&client);
    ck_assert_int_eq(front_wait_exit(&front), 0);
    client_close(&client);
    client_close(&idle);
    front_close(&front);
}

TEST(drain_ends_although_a_client_goes_on_publishing)
{
    struct front front;
    struct client client;
    const char *sets[] = {"timeouts.drain_grace=200ms", NULL};
    bool is_refused = false;
    front_open_node(&front, sets);
    client_open(&client, &front);
    client_publish(&client, "orders", 2, 1, 10);
    expect_publish_ok(&client, 2, 1);
    ck_assert_int_eq(kill(front.pid, SIGTERM), 0);
    Railgun__Frame *frame = client_expect(&client, BODY(GO_AWAY), 0);
    SCAN_FREE(&frame);
    for (uint64_t corr = 3; !client.ended; corr++) {
        client_publish(&client, "orders", corr, 1, 10);
        frame = client_recv(&client);
        if (frame != NULL && frame->body_case == BODY(ERROR)) {
            ck_assert_uint_eq(frame->error->code, 107);
            is_refused = true;
        }
        SCAN_FREE(&frame);
    }
    (void) is_refused; /* or the end came first */
    ck_assert_int_eq(front_wait_exit(&front), 0);
    client_close(&client);
    front_close(&front);
}

TEST(frontd_refuses_to_listen_for_others_by_accident)
{
    struct front front;
    const char *open_to_all[] = {"listen.address=0.0.0.0", NULL};
    const char *nonsense[] = {"listen.address=localhost", NULL};
    const char *wanted[] = {"listen.address=0.0.0.0", "insecure_listen=true", NULL};
    front_open(&front, open_to_all);
    ck_assert_int_eq(front.pid, 0);
    ck_assert_int_ne(front.port, 0);
    front_close(&front);
    front_open(&front, nonsense);
    ck_assert_int_eq(front.pid, 0);
    front_close(&front);
    front_open(&front, wanted);
    ck_assert_int_ne(front.pid, 0);
    front_close(&front);
}
