#include "common/wire/hot.h"

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/scan.h"
#include "tests/lib/test.h"
#include "tests/unit/common/wire/exact.h"

/* Fills a message with protobuf-c; returns its bytes, in a buffer the caller releases. */
static struct buf packed(const ProtobufCMessage *message)
{
    struct buf out = {0};
    scan_pack(&out, message);
    return out;
}

static ProtobufCBinaryData bytes_of(char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *) text};
}

static char stream_name[] = "orders.new";
static char sixteen[] = "0123456789abcdef";
static char fence[] = "fence";

static struct buf publish_packed(void)
{
    Railgun__Record record = RAILGUN__RECORD__INIT;
    Railgun__Record *records[] = {&record, &record};
    Railgun__RecordBatch batch = RAILGUN__RECORD_BATCH__INIT;
    Railgun__Expect expect = RAILGUN__EXPECT__INIT;
    Railgun__Publish publish = RAILGUN__PUBLISH__INIT;
    record.has_payload = 1;
    record.payload = bytes_of(fence);
    batch.n_records = 2;
    batch.records = records;
    expect.what_case = RAILGUN__EXPECT__WHAT_NEXT_OFFSET;
    expect.next_offset = 42;
    publish.stream = stream_name;
    publish.batch = &batch;
    publish.expect = &expect;
    publish.has_fence = 1;
    publish.fence = bytes_of(fence);
    publish.has_atomic = 1;
    publish.atomic = 0;
    publish.has_stream_id = 1;
    publish.stream_id = bytes_of(sixteen);
    return packed(&publish.base);
}

TEST(a_publish_is_read_in_place)
{
    struct buf body = publish_packed();
    struct hot_publish publish;
    struct hot_expect expect;
    ck_assert_int_eq(hot_publish_read(buf_span(&body), &publish), 0);
    ck_assert(span_is(publish.stream, stream_name));
    ck_assert(span_is(publish.fence, fence));
    ck_assert(span_is(publish.stream_id, sixteen));
    ck_assert(publish.has_batch && publish.has_expect && !publish.atomic);
    ck_assert_uint_eq(publish.batch.size, 2 * (2 + 2 + strlen(fence)));
    ck_assert(publish.batch.data > body.data && publish.batch.data < body.data + body.size);
    ck_assert_int_eq(hot_expect_read(publish.expect, &expect), 0);
    ck_assert_int_eq((int) expect.kind, HOT_EXPECT_NEXT_OFFSET);
    ck_assert_uint_eq(expect.next_offset, 42);
    buf_release(&body);
}

TEST(an_empty_publish_has_the_defaults)
{
    struct hot_publish publish = {.has_batch = true};
    ck_assert_int_eq(hot_publish_read(span_make(NULL, 0), &publish), 0);
    ck_assert(publish.atomic && !publish.has_batch && !publish.has_expect);
    ck_assert(publish.stream.size == 0 && publish.batch.size == 0);
}

TEST(an_empty_batch_is_a_batch)
{
    struct hot_publish publish;
    ck_assert_int_eq(hot_publish_read(SPAN(0x12, 0), &publish), 0);
    ck_assert(publish.has_batch && publish.batch.size == 0);
}

TEST(the_last_of_a_scalar_given_twice_counts)
{
    struct hot_publish publish;
    ck_assert_int_eq(hot_publish_read(SPAN(0x0a, 1, 'a', 0x28, 0, 0x0a, 1, 'b', 0x28, 2), &publish),
                     0);
    ck_assert(span_is(publish.stream, "b") && publish.atomic);
}

TEST(a_sub_message_given_twice_is_refused)
{
    struct hot_publish publish;
    struct hot_delivery delivery;
    struct hot_ack ack;
    ck_assert_int_eq(hot_publish_read(SPAN(0x12, 0, 0x12, 0), &publish), ERR_PROTOCOL);
    ck_assert_int_eq(hot_publish_read(SPAN(0x1a, 0, 0x1a, 0), &publish), ERR_PROTOCOL);
    ck_assert_int_eq(hot_publish_read(SPAN(0x12, 0, 0x1a, 0), &publish), 0);
    ck_assert_int_eq(hot_deliver_read(SPAN(0x7a, 0, 0x7a, 0), &delivery), ERR_PROTOCOL);
    ck_assert_int_eq(hot_read_ok_read(SPAN(0x7a, 0, 0x7a, 0), &delivery), ERR_PROTOCOL);
    ck_assert_int_eq(hot_ack_read(SPAN(0x1a, 4, 0x0a, 0, 0x0a, 0), &ack), ERR_PROTOCOL);
    ck_assert_int_eq(hot_ack_read(SPAN(0x1a, 2, 0x0a, 0, 0x1a, 2, 0x0a, 0), &ack), 0);
}

/* What hot.h says of protobuf-c 1.4.1, held against the library that is linked. */
TEST(protobuf_c_behaves_as_documented)
{
    static const struct {
        size_t size;
        uint8_t bytes[12];
        bool accepts;
    } cases[] = {
        {4, {0x12, 0, 0x12, 0}, true},                /* batch twice: merged */
        {2, {0x08, 1}, false},                        /* a string that is a varint */
        {3, {0x2a, 1, 0}, true},                      /* a bool that is bytes */
        {5, {0x2d, 0, 0, 0, 0}, true},                /* a bool that is fixed32 */
        {3, {0x0a, 1, 0xff}, true},                   /* a string that is no text */
        {2, {0x00, 1}, false},                        /* field number 0, in one byte */
        {3, {0x80, 0x00, 1}, true},                   /* and in two */
        {6, {0xf8, 0xff, 0xff, 0xff, 0x7f, 1}, true}, /* a field number of over 29 bits */
        {11,
         {0x28, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02},
         true},                   /* 65 bits */
        {2, {0x0b, 0x0c}, false}, /* a group */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hot_publish publish;
        Railgun__Publish *theirs = railgun__publish__unpack(NULL, cases[i].size, cases[i].bytes);
        ck_assert_msg((theirs != NULL) == cases[i].accepts, "case %zu", i);
        ck_assert_msg(hot_publish_read(span_make(cases[i].bytes, cases[i].size), &publish) ==
                          ERR_PROTOCOL,
                      "case %zu", i);
        if (theirs != NULL) {
            railgun__publish__free_unpacked(theirs, NULL);
        }
    }
}

TEST(an_expectation_is_the_last_one_given)
{
    struct hot_expect expect;
    ck_assert_int_eq(hot_expect_read(span_make(NULL, 0), &expect), 0);
    ck_assert_int_eq((int) expect.kind, HOT_EXPECT_NONE);
    ck_assert_int_eq(hot_expect_read(SPAN(0x08, 7, 0x10, 1), &expect), 0);
    ck_assert(expect.kind == HOT_EXPECT_NO_STREAM && expect.wanted && expect.next_offset == 0);
    ck_assert_int_eq(hot_expect_read(SPAN(0x10, 1, 0x18, 0), &expect), 0);
    ck_assert(expect.kind == HOT_EXPECT_STREAM_EXISTS && !expect.wanted);
    ck_assert_int_eq(hot_expect_read(SPAN(0x18, 1, 0x22, 1, 'x'), &expect), 0);
    ck_assert(expect.kind == HOT_EXPECT_LAST_ID && span_is(expect.last_id, "x"));
    ck_assert_int_eq(hot_expect_read(SPAN(0x22, 1, 'x', 0x0a, 0), &expect), ERR_PROTOCOL);
    ck_assert_int_eq(hot_expect_read(SPAN(0x20, 0), &expect), ERR_PROTOCOL);
    ck_assert_int_eq(hot_expect_read(SPAN(0x12, 0), &expect), ERR_PROTOCOL);
}

TEST(a_publish_ok_and_its_exceptions_are_read)
{
    Railgun__RecordResult results[] = {RAILGUN__RECORD_RESULT__INIT, RAILGUN__RECORD_RESULT__INIT};
    Railgun__RecordResult *pointers[] = {&results[0], &results[1]};
    Railgun__PublishOk ok = RAILGUN__PUBLISH_OK__INIT;
    results[0].has_record = results[0].has_code = results[0].has_offset = 1;
    results[0].record = 3;
    results[0].code = 200;
    results[0].offset = UINT64_MAX;
    results[1].has_ts_us = 1;
    results[1].ts_us = 5;
    results[1].detail = fence;
    ok.has_base_offset = ok.has_count = ok.has_ts_us = ok.has_publish_window = 1;
    ok.base_offset = UINT64_C(1) << 40;
    ok.count = UINT32_MAX;
    ok.ts_us = UINT64_MAX;
    ok.publish_window = 0;
    ok.n_exceptions = 2;
    ok.exceptions = pointers;
    struct buf body = packed(&ok.base);

    struct hot_publish_ok ours;
    ck_assert_int_eq(hot_publish_ok_read(buf_span(&body), &ours), 0);
    ck_assert(ours.base_offset == UINT64_C(1) << 40 && ours.count == UINT32_MAX);
    ck_assert(ours.ts_us == UINT64_MAX && ours.has_window && ours.publish_window == 0);
    ck_assert_uint_eq(ours.exceptions, 2);
    struct span rest = buf_span(&body);
    struct pb_field field;
    struct hot_result read[2];
    size_t count = 0;
    while (pb_next(&rest, &field) == 1) {
        if (field.number == 4) {
            ck_assert_int_eq(hot_result_read(field.bytes, &read[count]), 0);
            count++;
        }
    }
    ck_assert_uint_eq(count, 2);
    ck_assert(read[0].record == 3 && read[0].code == 200 && read[0].has_offset);
    ck_assert(read[0].offset == UINT64_MAX && read[0].ts_us == 0 && read[0].detail.size == 0);
    ck_assert(!read[1].has_offset && read[1].ts_us == 5 && span_is(read[1].detail, fence));
    ck_assert_int_eq(hot_publish_ok_read(span_make(NULL, 0), &ours), 0);
    ck_assert(!ours.has_window && ours.exceptions == 0);
    buf_release(&body);
}

TEST(a_uint32_keeps_the_low_bits_of_its_varint)
{
    struct hot_publish_ok ok;
    struct buf body = {0};
    pb_append_varint(&body, 2, (UINT64_C(1) << 32) + 5);
    ck_assert_int_eq(hot_publish_ok_read(buf_span(&body), &ok), 0);
    ck_assert_uint_eq(ok.count, 5);
    buf_release(&body);
}

TEST(a_deliver_and_its_parts_are_read)
{
    Railgun__TimeMark mark = RAILGUN__TIME_MARK__INIT;
    Railgun__TimeMark *marks[] = {&mark};
    Railgun__Redelivered again = RAILGUN__REDELIVERED__INIT;
    Railgun__Redelivered *agains[] = {&again};
    Railgun__RecordBatch batch = RAILGUN__RECORD_BATCH__INIT;
    Railgun__Deliver deliver = RAILGUN__DELIVER__INIT;
    mark.has_after = mark.has_ts_us = 1;
    mark.after = 2;
    mark.ts_us = 77;
    again.has_first = again.has_last = again.has_attempt = again.has_failed = 1;
    again.first = 10;
    again.last = 12;
    again.attempt = 3;
    again.failed = 1;
    deliver.has_epoch = deliver.has_base_offset = deliver.has_count = 1;
    deliver.epoch = 9;
    deliver.base_offset = 10;
    deliver.count = 3;
    deliver.n_times = deliver.n_redelivered = 1;
    deliver.times = marks;
    deliver.redelivered = agains;
    deliver.batch = &batch;
    struct buf body = packed(&deliver.base);

    struct hot_delivery ours;
    ck_assert_int_eq(hot_deliver_read(buf_span(&body), &ours), 0);
    ck_assert(ours.epoch == 9 && ours.base_offset == 10 && ours.count == 3);
    ck_assert(ours.has_times && ours.has_redelivered && ours.batch.size == 0);
    struct span rest = buf_span(&body);
    struct pb_field field;
    while (pb_next(&rest, &field) == 1) {
        struct hot_time time;
        struct hot_redelivered redelivered;
        if (field.number == 4) {
            ck_assert_int_eq(hot_time_read(field.bytes, &time), 0);
            ck_assert(time.after == 2 && time.ts_us == 77);
        } else if (field.number == 5) {
            ck_assert_int_eq(hot_redelivered_read(field.bytes, &redelivered), 0);
            ck_assert(redelivered.first == 10 && redelivered.last == 12);
            ck_assert(redelivered.attempt == 3 && redelivered.failed == 1);
        }
    }
    ck_assert_int_eq(hot_deliver_read(SPAN(0x22, 2, 0x11, 0), &ours), ERR_PROTOCOL);
    ck_assert_int_eq(hot_deliver_read(SPAN(0x22, 2, 0x10, 0), &ours), ERR_PROTOCOL);
    ck_assert_int_eq(hot_deliver_read(SPAN(0x2a, 2, 0x22, 0), &ours), ERR_PROTOCOL);
    ck_assert_int_eq(hot_deliver_read(SPAN(0x2a, 2, 0x28, 0), &ours), 0); /* a newer field */
    buf_release(&body);
}

TEST(a_read_ok_is_read)
{
    Railgun__ReadOk ok = RAILGUN__READ_OK__INIT;
    ok.has_base_offset = ok.has_count = ok.has_next_offset = ok.has_first_offset =
        ok.has_end_offset = 1;
    ok.base_offset = 1;
    ok.count = 2;
    ok.next_offset = 3;
    ok.first_offset = 4;
    ok.end_offset = 5;
    ok.has_stream_id = 1;
    ok.stream_id = bytes_of(sixteen);
    struct buf body = packed(&ok.base);
    struct hot_delivery ours;
    ck_assert_int_eq(hot_read_ok_read(buf_span(&body), &ours), 0);
    ck_assert(ours.base_offset == 1 && ours.count == 2 && ours.next_offset == 3);
    ck_assert(ours.first_offset == 4 && ours.end_offset == 5 && span_is(ours.stream_id, sixteen));
    ck_assert(!ours.has_times && !ours.has_redelivered && ours.epoch == 0);
    buf_release(&body);
}

static struct buf ack_packed(void)
{
    Railgun__OffsetRange ranges[] = {RAILGUN__OFFSET_RANGE__INIT, RAILGUN__OFFSET_RANGE__INIT};
    Railgun__OffsetRange *pointers[] = {&ranges[0], &ranges[1]};
    Railgun__Nack nack = RAILGUN__NACK__INIT;
    Railgun__Nack *nacks[] = {&nack};
    Railgun__Ack ack = RAILGUN__ACK__INIT;
    for (size_t i = 0; i < 2; i++) {
        ranges[i].has_first = ranges[i].has_last = 1;
        ranges[i].first = 10 * i + 1;
        ranges[i].last = 10 * i + 3;
    }
    nack.range = &ranges[1];
    nack.has_delay_ms = nack.has_reject = 1;
    nack.reject = 1;
    nack.reason = fence;
    ack.n_ranges = 2;
    ack.ranges = pointers;
    ack.n_nacks = 1;
    ack.nacks = nacks;
    ack.has_up_to = ack.has_sync = ack.has_epoch = 1;
    ack.up_to = 0;
    ack.sync = 1;
    ack.epoch = 4;
    return packed(&ack.base);
}

TEST(an_ack_is_read_and_walked_in_order)
{
    struct buf body = ack_packed();
    struct hot_ack ack;
    struct hot_range range;
    struct hot_nack nack;
    bool is_nack = true;
    ck_assert_int_eq(hot_ack_read(buf_span(&body), &ack), 0);
    ck_assert(ack.has_up_to && ack.up_to == 0 && ack.sync && ack.epoch == 4);
    ck_assert(ack.ranges == 2 && ack.nacks == 1);
    struct span rest = ack.body;
    ck_assert_int_eq(hot_ack_next(&rest, &is_nack, &range, &nack), 1);
    ck_assert(!is_nack && range.first == 1 && range.last == 3);
    ck_assert_int_eq(hot_ack_next(&rest, &is_nack, &range, &nack), 1);
    ck_assert(!is_nack && range.first == 11 && range.last == 13);
    ck_assert_int_eq(hot_ack_next(&rest, &is_nack, &range, &nack), 1);
    ck_assert(is_nack && nack.range.first == 11 && nack.has_delay && nack.delay_ms == 0);
    ck_assert(nack.reject && !nack.no_count && span_is(nack.reason, fence));
    ck_assert_int_eq(hot_ack_next(&rest, &is_nack, &range, &nack), 0);
    buf_release(&body);
}

TEST(an_ack_is_refused_as_a_whole)
{
    struct hot_ack ack = {.ranges = 99};
    ck_assert_int_eq(hot_ack_read(SPAN(0x0a, 2, 0x08, 1, 0x0a, 2, 0x0a, 0), &ack), ERR_PROTOCOL);
    ck_assert_int_eq(hot_ack_read(SPAN(0x0a, 2, 0x08, 1, 0x1a, 2, 0x12, 0), &ack), ERR_PROTOCOL);
    ck_assert_int_eq(hot_ack_read(SPAN(0x0a, 2, 0x08, 1, 0x08, 1), &ack), ERR_PROTOCOL);
    ck_assert_int_eq(hot_ack_read(SPAN(0x1a, 3, 0x2a, 1, 0xff), &ack), ERR_PROTOCOL);
    ck_assert_uint_eq(ack.ranges, 99);
}

TEST(a_range_and_a_credit_are_read)
{
    struct hot_range range;
    struct hot_credit credit;
    ck_assert_int_eq(hot_range_read(SPAN(0x10, 9, 0x08, 3), &range), 0);
    ck_assert(range.first == 3 && range.last == 9);
    ck_assert_int_eq(hot_range_read(span_make(NULL, 0), &range), 0);
    ck_assert(range.first == 0 && range.last == 0);
    ck_assert_int_eq(hot_credit_read(SPAN(0x08, 100, 0x10, 0x80, 0x08), &credit), 0);
    ck_assert(credit.messages == 100 && credit.bytes == 1024);
    ck_assert_int_eq(hot_credit_read(SPAN(0x09, 0, 0, 0, 0, 0, 0, 0, 0), &credit), ERR_PROTOCOL);
    ck_assert_int_eq(hot_credit_read(SPAN(0x1a, 0), &credit), 0);
}

/* All readers at one go over bytes that are none of their business, in a block of their exact size. */
static void read_all(struct span bytes)
{
    struct span copy = exact_copy(bytes);
    struct hot_publish publish;
    struct hot_publish_ok ok;
    struct hot_delivery delivery;
    struct hot_ack ack;
    struct hot_nack nack;
    struct hot_range range;
    struct hot_credit credit;
    bool is_nack = false;
    (void) hot_publish_read(copy, &publish);
    (void) hot_publish_ok_read(copy, &ok);
    (void) hot_deliver_read(copy, &delivery);
    (void) hot_read_ok_read(copy, &delivery);
    (void) hot_credit_read(copy, &credit);
    if (hot_ack_read(copy, &ack) == 0) {
        struct span rest = ack.body;
        uint32_t parts = 0;
        int result = 0;
        while ((result = hot_ack_next(&rest, &is_nack, &range, &nack)) == 1) {
            parts++;
        }
        TEST_ASSERT_FAST(result == 0 && parts == ack.ranges + ack.nacks);
    }
    exact_free(copy);
}

TEST(prefixes_and_changed_bytes_only_ever_give_an_answer)
{
    struct buf bodies[] = {publish_packed(), ack_packed()};
    for (size_t k = 0; k < 2; k++) {
        struct buf *body = &bodies[k];
        for (size_t i = 0; i < body->size; i++) {
            uint8_t original = body->data[i];
            read_all(span_make(body->data, i));
            for (unsigned value = 0; value < 256; value++) {
                body->data[i] = (uint8_t) value;
                read_all(buf_span(body));
            }
            body->data[i] = original;
        }
        buf_release(body);
    }
}
