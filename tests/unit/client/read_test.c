/* Reading: pages, the end, what is damaged, lost connections. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/railgun.h"
#include "common/base/err.h"
#include "common/wire/batch.h"
#include "common/wire/pb.h"
#include "tests/lib/test.h"
#include "tests/unit/client/fake.h"

static const struct rg_start from_first = {RG_START_FIRST, 0};

static void expect_record(struct rg_reader *reader, uint64_t offset)
{
    struct rg_record record;
    char text[32];
    int result = rg_reader_next(reader, 30000, &record);
    ck_assert_msg(result == 0, "%d at %" PRIu64, result, offset);
    ck_assert_uint_eq(record.offset, offset);
    (void) snprintf(text, sizeof(text), "m%" PRIu64, offset);
    ck_assert_uint_eq(record.payload.size, strlen(text));
    ck_assert_mem_eq(record.payload.data, text, strlen(text));
    ck_assert_uint_eq(record.attempt, 0);
    ck_assert_uint_eq(rg_reader_offset(reader), offset + 1);
}

TEST(reads_from_the_first_to_the_last)
{
    struct fake *fake = fake_new();
    fake->next_offset = 36; /* 35 records in pages of 10 */
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_reader *reader = NULL;
    struct rg_record record;
    ck_assert_int_eq(rg_reader_open(client, "s", from_first, &reader), 0);
    ck_assert_uint_eq(rg_reader_offset(reader), 1);
    for (uint64_t offset = 1; offset < 36; offset++) {
        expect_record(reader, offset);
    }
    ck_assert_uint_eq(rg_reader_end(reader), 36);
    ck_assert_int_eq(rg_reader_next(reader, 0, &record), RG_ERR_AGAIN);
    fake_lock(fake);
    fake->next_offset = 38;
    fake_unlock(fake);
    expect_record(reader, 36);
    expect_record(reader, 37);
    rg_reader_close(&reader);
    ck_assert_ptr_null(reader);
    rg_reader_close(&reader);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(pages_are_asked_for_ahead_but_not_without_end)
{
    struct fake *fake = fake_new();
    fake->next_offset = 1 << 20;
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_reader *reader = NULL;
    ck_assert_int_eq(rg_reader_open(client, "s", from_first, &reader), 0);
    fake_await_frames(fake, BODY(READ), 64); /* nobody has taken a record yet */
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    ck_assert_int_eq(rg_ping(client, NULL), 0);
    /* Some were asked for in vain, while the size of the server's pages was being learnt. */
    ck_assert_uint_le(fake_frames(fake, BODY(READ)), 64 + 16);
    for (uint64_t offset = 1; offset < 2000; offset++) {
        expect_record(reader, offset);
    }
    rg_reader_close(&reader);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(pages_of_changing_sizes_come_in_order_and_whole)
{
    static const uint32_t sizes[] = {5000, 7, 4096, 64, 1, 300, 4095, 4097, 2};
    struct fake *fake = fake_new();
    fake->next_offset = 60001;
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_reader *reader = NULL;
    ck_assert_int_eq(rg_reader_open(client, "s", from_first, &reader), 0);
    for (uint64_t offset = 1; offset < 60001; offset++) {
        if (offset % 500 == 0) { /* while some are on their way */
            fake_lock(fake);
            fake->page_records = sizes[offset / 500 % (sizeof(sizes) / sizeof(sizes[0]))];
            fake_unlock(fake);
        }
        expect_record(reader, offset);
    }
    rg_reader_close(&reader);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(starts_where_it_is_told_to)
{
    struct fake *fake = fake_new();
    fake->next_offset = 50;
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_reader *reader = NULL;
    struct rg_record record;
    ck_assert_int_eq(rg_reader_open(client, "s", (struct rg_start){RG_START_OFFSET, 44}, &reader),
                     0);
    expect_record(reader, 44);
    rg_reader_close(&reader);
    ck_assert_int_eq(rg_reader_open(client, "s", (struct rg_start){RG_START_LATEST, 0}, &reader),
                     0);
    ck_assert_uint_eq(rg_reader_offset(reader), 50);
    ck_assert_int_eq(rg_reader_next(reader, 1, &record), RG_ERR_AGAIN);
    fake_lock(fake);
    fake->next_offset = 52;
    fake_unlock(fake);
    expect_record(reader, 50);
    rg_reader_close(&reader);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool refuse(struct fake *fake, const struct frame_view *view)
{
    fake_send_error(fake, 0, view->corr, ERR_NOT_FOUND, "no stream 's'");
    return true;
}

TEST(an_unknown_stream_is_said_when_opening)
{
    struct fake *fake = fake_new();
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_reader *reader = NULL;
    fake_handle(fake, BODY(READ), refuse);
    ck_assert_int_eq(rg_reader_open(client, "s", from_first, &reader), RG_ERR_NOT_FOUND);
    ck_assert_ptr_null(reader);
    ck_assert_str_eq(rg_last_error(client), "no stream 's'");
    rg_close(&client);
    fake_destroy(&fake);
}

/* Offsets 11..20 are damaged. */
static bool damaged(struct fake *fake, const struct frame_view *view)
{
    if (fake->frames[BODY(READ)] != 1) {
        return false;
    }
    struct buf body = {0};
    struct buf range = {0};
    pb_append_varint(&range, 1, 11);
    pb_append_varint(&range, 2, 20);
    pb_append_varint(&body, 1, 514);
    pb_append_bytes(&body, 3, span_of("checksum"));
    pb_append_bytes(&body, 7, buf_span(&range));
    fake_send(fake, 0, view->corr, BODY(ERROR), buf_span(&body));
    buf_release(&range);
    buf_release(&body);
    return true;
}

TEST(damaged_data_is_reported_with_its_range_and_passed_over)
{
    struct fake *fake = fake_new();
    fake->next_offset = 31;
    fake_handle(fake, BODY(READ), damaged);
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_reader *reader = NULL;
    struct rg_record record;
    ck_assert_int_eq(rg_reader_open(client, "s", from_first, &reader), 0);
    for (uint64_t offset = 1; offset < 11; offset++) {
        expect_record(reader, offset);
    }
    ck_assert_int_eq(rg_reader_next(reader, 30000, &record), RG_ERR_CORRUPT);
    ck_assert_str_eq(rg_last_error(client), "offsets 11..20 are damaged: checksum");
    ck_assert_uint_eq(rg_reader_offset(reader), 21);
    expect_record(reader, 21);
    rg_reader_close(&reader);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool damaged_at_once(struct fake *fake, const struct frame_view *view)
{
    fake->frames[BODY(READ)]++;
    bool result = damaged(fake, view);
    return result;
}

TEST(damaged_data_at_the_start_is_reported_by_the_first_call)
{
    struct fake *fake = fake_new();
    fake->next_offset = 31;
    fake_handle(fake, BODY(READ), damaged_at_once);
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_reader *reader = NULL;
    struct rg_record record;
    ck_assert_int_eq(rg_reader_open(client, "s", (struct rg_start){RG_START_OFFSET, 11}, &reader),
                     0);
    ck_assert_int_eq(rg_reader_next(reader, 30000, &record), RG_ERR_CORRUPT);
    expect_record(reader, 21);
    rg_reader_close(&reader);
    rg_close(&client);
    fake_destroy(&fake);
}

/* Announces three records, has one. */
static bool lie_once(struct fake *fake, const struct frame_view *view)
{
    if (fake->frames[BODY(READ)] != 0) {
        return false;
    }
    struct buf body = {0};
    struct buf batch = {0};
    batch_append(&batch, span_of("m1"), (struct span){0}, (struct span){0}, (struct span){0});
    pb_append_varint(&body, 1, 1);
    pb_append_varint(&body, 2, 3);
    pb_append_varint(&body, 3, 4);
    pb_append_varint(&body, 5, 31);
    pb_append_bytes(&body, 15, buf_span(&batch));
    fake_send(fake, 0, view->corr, BODY(READ_OK), buf_span(&body));
    buf_release(&batch);
    buf_release(&body);
    return true;
}

TEST(a_page_that_lies_is_said_and_read_again_from_there)
{
    struct fake *fake = fake_new();
    fake->next_offset = 31;
    fake_handle(fake, BODY(READ), lie_once);
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_reader *reader = NULL;
    struct rg_record record;
    ck_assert_int_eq(rg_reader_open(client, "s", from_first, &reader), 0);
    expect_record(reader, 1);
    ck_assert_int_eq(rg_reader_next(reader, 30000, &record), RG_ERR_PROTOCOL);
    for (uint64_t offset = 2; offset < 31; offset++) {
        expect_record(reader, offset);
    }
    rg_reader_close(&reader);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool hang_up_sometimes(struct fake *fake, const struct frame_view *view)
{
    (void) view;
    if (fake->frames[BODY(READ)] % 7 == 3) {
        fake_hang_up(fake);
        return true;
    }
    return false;
}

TEST(reading_goes_on_over_lost_connections)
{
    struct fake *fake = fake_new();
    fake->next_offset = 501;
    fake_handle(fake, BODY(READ), hang_up_sometimes);
    struct rg_options options = {.reconnect_min_ms = 1, .reconnect_max_ms = 2};
    struct rg_client *client = fake_client(fake, &options);
    struct rg_reader *reader = NULL;
    ck_assert_int_eq(rg_reader_open(client, "s", from_first, &reader), 0);
    for (uint64_t offset = 1; offset < 501; offset++) {
        expect_record(reader, offset);
    }
    ck_assert_uint_gt(fake_connections(fake), 3);
    rg_reader_close(&reader);
    rg_close(&client);
    fake_destroy(&fake);
}

static bool say_nothing(struct fake *fake, const struct frame_view *view)
{
    (void) fake;
    (void) view;
    return true;
}

TEST(a_server_that_hangs_is_said_and_asked_again)
{
    struct fake *fake = fake_new();
    fake->next_offset = 5;
    struct rg_options options = {.request_timeout_ms = 1000}; /* some are answered, and in time */
    struct rg_client *client = fake_client(fake, &options);
    struct rg_reader *reader = NULL;
    struct rg_record record;
    fake_handle(fake, BODY(READ), say_nothing);
    ck_assert_int_eq(rg_reader_open(client, "s", from_first, &reader), RG_ERR_TIMEOUT);
    fake_handle(fake, BODY(READ), NULL);
    ck_assert_int_eq(rg_reader_open(client, "s", from_first, &reader), 0);
    fake_handle(fake, BODY(READ), say_nothing);
    for (uint64_t offset = 1; offset < 5; offset++) {
        expect_record(reader, offset);
    }
    int result = RG_ERR_AGAIN;
    while (result == RG_ERR_AGAIN) {
        result = rg_reader_next(reader, 30000, &record);
    }
    ck_assert_int_eq(result, RG_ERR_TIMEOUT);
    fake_lock(fake);
    fake->handlers[BODY(READ)] = NULL;
    fake->next_offset = 7;
    fake_unlock(fake);
    expect_record(reader, 5);
    rg_reader_close(&reader);
    rg_close(&client);
    fake_destroy(&fake);
}

/* --- times, headers --- */

static bool rich_page(struct fake *fake, const struct frame_view *view)
{
    struct buf body = {0};
    struct buf batch = {0};
    struct buf headers = {0};
    struct buf mark = {0};
    batch_header_append(&headers, span_of("a"), span_of("1"));
    batch_header_append(&headers, span_of("b"), (struct span){0});
    for (unsigned i = 0; i < 3; i++) {
        batch_append(&batch, span_of("p"), span_of("id"), span_of("key"), buf_span(&headers));
    }
    pb_append_varint(&body, 1, 1);
    pb_append_varint(&body, 2, 3);
    pb_append_varint(&body, 3, 4);
    pb_append_varint(&body, 5, 4);
    pb_append_fixed64(&mark, 2, 111);
    pb_append_bytes(&body, 6, buf_span(&mark));
    buf_reset(&mark);
    pb_append_varint(&mark, 1, 2);
    pb_append_fixed64(&mark, 2, 222);
    pb_append_bytes(&body, 6, buf_span(&mark));
    pb_append_bytes(&body, 15, buf_span(&batch));
    fake_send(fake, 0, view->corr, BODY(READ_OK), buf_span(&body));
    buf_release(&mark);
    buf_release(&headers);
    buf_release(&batch);
    buf_release(&body);
    fake->handlers[BODY(READ)] = say_nothing;
    return true;
}

TEST(records_carry_times_ids_keys_and_headers)
{
    struct fake *fake = fake_new();
    fake_handle(fake, BODY(READ), rich_page);
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_reader *reader = NULL;
    struct rg_record record;
    struct rg_header header;
    static const uint64_t times[3] = {111, 111, 222};
    ck_assert_int_eq(rg_reader_open(client, "s", from_first, &reader), 0);
    for (unsigned i = 0; i < 3; i++) {
        size_t cursor = 0;
        ck_assert_int_eq(rg_reader_next(reader, 30000, &record), 0);
        ck_assert_uint_eq(record.ts_us, times[i]);
        ck_assert(span_is(span_make(record.id.data, record.id.size), "id"));
        ck_assert(span_is(span_make(record.key.data, record.key.size), "key"));
        ck_assert(rg_record_header(&record, &cursor, &header));
        ck_assert(span_is(span_make(header.name.data, header.name.size), "a"));
        ck_assert(span_is(span_make(header.value.data, header.value.size), "1"));
        ck_assert(rg_record_header(&record, &cursor, &header));
        ck_assert(span_is(span_make(header.name.data, header.name.size), "b"));
        ck_assert_uint_eq(header.value.size, 0);
        ck_assert(!rg_record_header(&record, &cursor, &header));
    }
    rg_reader_close(&reader);
    rg_close(&client);
    fake_destroy(&fake);
}

TEST(a_reader_outlives_its_client)
{
    struct fake *fake = fake_new();
    fake->next_offset = 12;
    struct rg_client *client = fake_client(fake, NULL);
    struct rg_reader *reader = NULL;
    struct rg_record record;
    ck_assert_int_eq(rg_reader_open(client, "s", from_first, &reader), 0);
    rg_close(&client);
    int result = 0;
    while (result == 0) {
        result = rg_reader_next(reader, 30000, &record);
    }
    ck_assert_int_eq(result, RG_ERR_CLOSED);
    rg_reader_close(&reader);
    fake_destroy(&fake);
}
