#include "common/wire/batch.h"

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "tests/lib/test.h"
#include "tests/unit/common/wire/exact.h"

static const struct span none = {0};

static int check_of(struct span batch, const struct batch_limits *limits,
                    struct batch_summary *ret_summary, uint32_t *ret_record)
{
    struct span copy = exact_copy(batch);
    int result = batch_check(copy, limits, ret_summary, ret_record);
    exact_free(copy);
    return result;
}

/* batch_check with the default limits. */
static int check_default(struct span batch)
{
    struct batch_limits limits = batch_limits_default();
    struct batch_summary summary;
    uint32_t record = 0;
    return check_of(batch, &limits, &summary, &record);
}

/* A payload of `size` bytes in a buffer that lives to the end of the test. */
static struct span filled(size_t size)
{
    return span_make(mem_new(size), size);
}

/* One record of every shape. */
static void batch_mixed(struct buf *batch)
{
    struct buf headers = {0};
    batch_append(batch, span_of("plain"), none, none, none);
    batch_header_append(&headers, span_of("name"), span_of("value"));
    batch_header_append(&headers, span_of("empty"), none);
    batch_append(batch, span_of("full"), span_of("id-1"), span_of("key"), buf_span(&headers));
    batch_append(batch, none, none, none, none);
    struct span large = filled(300);
    batch_append(batch, large, none, none, none);
    batch_append(batch, none, span_of("id-2"), none, none);
    exact_free(large);
    buf_release(&headers);
}

TEST(what_is_appended_is_read_back_and_counted)
{
    struct buf batch = {0};
    struct batch_limits limits = batch_limits_default();
    struct batch_summary summary;
    struct batch_record record;
    struct span name;
    struct span value;
    uint32_t at_fault = 99;

    batch_mixed(&batch);
    ck_assert_int_eq(check_of(buf_span(&batch), &limits, &summary, &at_fault), 0);
    ck_assert_uint_eq(at_fault, 99);
    ck_assert_uint_eq(summary.records, 5);
    ck_assert_uint_eq(summary.with_id, 2);
    ck_assert_uint_eq(summary.payload_bytes, 5 + 4 + 300);

    struct span rest = buf_span(&batch);
    ck_assert_int_eq(batch_next(&rest, &record), 1);
    ck_assert(span_is(record.payload, "plain") && record.id.size == 0 && record.headers == 0);
    ck_assert_int_eq(batch_next(&rest, &record), 1);
    ck_assert(span_is(record.payload, "full") && span_is(record.id, "id-1"));
    ck_assert(span_is(record.key, "key") && record.headers == 2);
    struct span fields = record.raw;
    ck_assert_int_eq(batch_header_next(&fields, &name, &value), 1);
    ck_assert(span_is(name, "name") && span_is(value, "value"));
    ck_assert_int_eq(batch_header_next(&fields, &name, &value), 1);
    ck_assert(span_is(name, "empty") && value.size == 0);
    ck_assert_int_eq(batch_header_next(&fields, &name, &value), 0);
    ck_assert_int_eq(batch_next(&rest, &record), 1);
    ck_assert(record.payload.size == 0 && record.raw.size == 0);
    ck_assert_int_eq(batch_next(&rest, &record), 1);
    ck_assert_uint_eq(record.payload.size, 300);
    ck_assert_int_eq(batch_next(&rest, &record), 1);
    ck_assert(record.payload.size == 0 && span_is(record.id, "id-2"));
    ck_assert_int_eq(batch_next(&rest, &record), 0);
    buf_release(&batch);
}

TEST(the_size_of_a_record_is_known_before_it_is_appended)
{
    static const size_t sizes[] = {0,     1,     125,   126,   127,   128,
                                   16380, 16381, 16382, 16383, 16384, 2097152};
    struct buf batch = {0};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct span payload = filled(sizes[i]);
        for (unsigned with = 0; with < 2; with++) {
            struct span id = with != 0 ? span_of("id") : none;
            size_t before = batch.size;
            size_t announced = batch_append_size(payload, id, none, none);
            batch_append(&batch, payload, id, none, none);
            ck_assert_uint_eq(batch.size - before, announced);
        }
        exact_free(payload);
    }
    Railgun__RecordBatch *theirs = railgun__record_batch__unpack(NULL, batch.size, batch.data);
    ck_assert_ptr_nonnull(theirs);
    ck_assert_uint_eq(theirs->n_records, 2 * sizeof(sizes) / sizeof(sizes[0]));
    for (size_t i = 0; i < theirs->n_records; i++) {
        ck_assert_uint_eq(theirs->records[i]->payload.len, sizes[i / 2]);
    }
    railgun__record_batch__free_unpacked(theirs, NULL);
    buf_release(&batch);
}

TEST(an_empty_batch_and_a_strange_field_are_refused)
{
    ck_assert_int_eq(check_default(none), ERR_PROTOCOL);
    ck_assert_int_eq(check_default(SPAN(0x10, 1)), ERR_PROTOCOL);
    ck_assert_int_eq(check_default(SPAN(0x0a, 0, 0x12, 0)), ERR_PROTOCOL);
    ck_assert_int_eq(check_default(SPAN(0x08, 0)), ERR_PROTOCOL);
    ck_assert_int_eq(check_default(SPAN(0x0a, 0)), 0);
}

TEST(wrong_types_inside_a_record_are_refused)
{
    ck_assert_int_eq(check_default(SPAN(0x0a, 2, 0x08, 1)), ERR_PROTOCOL); /* payload */
    ck_assert_int_eq(check_default(SPAN(0x0a, 2, 0x10, 1)), ERR_PROTOCOL); /* id */
    ck_assert_int_eq(check_default(SPAN(0x0a, 2, 0x18, 1)), ERR_PROTOCOL); /* key */
    ck_assert_int_eq(check_default(SPAN(0x0a, 2, 0x20, 1)), ERR_PROTOCOL); /* header */
    /* not_before as varint */
    ck_assert_int_eq(check_default(SPAN(0x0a, 2, 0x28, 1)), ERR_PROTOCOL);
    ck_assert_int_eq(check_default(SPAN(0x0a, 9, 0x29, 1, 2, 3, 4, 5, 6, 7, 8)), 0);
    ck_assert_int_eq(check_default(SPAN(0x0a, 4, 0x22, 2, 0x08, 1)), ERR_PROTOCOL); /* its name */
    ck_assert_int_eq(check_default(SPAN(0x0a, 5, 0x22, 3, 0x0a, 1, 0xff)),
                     ERR_PROTOCOL);                                            /* no text */
    ck_assert_int_eq(check_default(SPAN(0x0a, 5, 0x22, 3, 0x12, 1, 0xff)), 0); /* a value may be */
}

TEST(fields_of_a_newer_protocol_are_skipped_and_kept)
{
    struct span batch = SPAN(0x0a, 7, 0x0a, 1, 'x', 0x98, 0x06, 0x01, 0x00);
    struct span rest = SPAN(0x0a, 6, 0x0a, 1, 'x', 0x98, 0x06, 0x01);
    struct batch_record record;
    ck_assert_int_eq(check_default(batch), ERR_PROTOCOL); /* the last byte is no field */
    ck_assert_int_eq(check_default(rest), 0);
    ck_assert_int_eq(batch_next(&rest, &record), 1);
    ck_assert(span_is(record.payload, "x"));
    ck_assert_uint_eq(record.raw.size, 6);
}

TEST(of_a_field_given_twice_the_last_counts)
{
    struct span rest = SPAN(0x0a, 6, 0x0a, 1, 'a', 0x0a, 1, 'b');
    struct batch_limits limits = batch_limits_default();
    struct batch_summary summary;
    struct batch_record record;
    uint32_t at_fault = 0;
    ck_assert_int_eq(check_of(rest, &limits, &summary, &at_fault), 0);
    ck_assert_uint_eq(summary.payload_bytes, 1);
    ck_assert_int_eq(batch_next(&rest, &record), 1);
    ck_assert(span_is(record.payload, "b"));
}

TEST(an_empty_id_is_a_bad_request_and_names_its_record)
{
    struct batch_limits limits = batch_limits_default();
    struct batch_summary summary;
    uint32_t at_fault = 0;
    ck_assert_int_eq(check_of(SPAN(0x0a, 0, 0x0a, 3, 0x0a, 1, 'x', 0x0a, 2, 0x12, 0), &limits,
                              &summary, &at_fault),
                     ERR_BAD_REQUEST);
    ck_assert_uint_eq(at_fault, 2);
}

/* Two records: a good one, then the one given. Expects `expected` with the second at fault. */
static void expect_second(struct span payload, struct span id, struct span headers, int expected)
{
    struct buf batch = {0};
    struct batch_limits limits = batch_limits_default();
    struct batch_summary summary;
    uint32_t at_fault = 99;
    batch_append(&batch, span_of("good"), none, none, none);
    batch_append(&batch, payload, id, none, headers);
    ck_assert_int_eq(check_of(buf_span(&batch), &limits, &summary, &at_fault), expected);
    ck_assert_uint_eq(at_fault, expected == 0 ? 99 : 1);
    buf_release(&batch);
}

TEST(ids_of_up_to_128_bytes)
{
    for (size_t size = 127; size <= 129; size++) {
        struct span id = filled(size);
        expect_second(span_of("x"), id, none, size <= 128 ? 0 : ERR_TOO_LARGE);
        exact_free(id);
    }
}

TEST(records_of_up_to_one_mebibyte)
{
    for (size_t size = (1 << 20) - 1; size <= (1 << 20) + 1; size++) {
        struct span payload = filled(size - 4); /* behind a tag and three bytes of length */
        expect_second(payload, none, none, size <= 1 << 20 ? 0 : ERR_TOO_LARGE);
        exact_free(payload);
    }
}

TEST(a_plain_record_over_a_small_limit_is_refused_too)
{
    struct batch_limits limits = batch_limits_default();
    struct batch_summary summary;
    uint32_t at_fault = 99;
    struct span batch = SPAN(0x0a, 3, 0x0a, 1, 'a', 0x0a, 4, 0x0a, 2, 'a', 'b');
    limits.record_bytes_max = 4;
    ck_assert_int_eq(check_of(batch, &limits, &summary, &at_fault), 0);
    limits.record_bytes_max = 3;
    ck_assert_int_eq(check_of(batch, &limits, &summary, &at_fault), ERR_TOO_LARGE);
    ck_assert_uint_eq(at_fault, 1);
}

TEST(headers_up_to_32)
{
    for (size_t count = 31; count <= 33; count++) {
        struct buf headers = {0};
        for (size_t i = 0; i < count; i++) {
            batch_header_append(&headers, span_of("n"), span_of("v"));
        }
        expect_second(span_of("x"), none, buf_span(&headers), count <= 32 ? 0 : ERR_TOO_LARGE);
        buf_release(&headers);
    }
}

TEST(headers_up_to_16_kibibytes_together)
{
    for (size_t size = (16 << 10) - 1; size <= (16 << 10) + 1; size++) {
        struct buf headers = {0};
        /* a name of one byte, a tag and two bytes of length */
        struct span half = filled((8 << 10) - 6);
        struct span other = filled(size - (8 << 10) - 6);
        batch_header_append(&headers, span_of("n"), half);
        batch_header_append(&headers, span_of("n"), other);
        expect_second(span_of("x"), none, buf_span(&headers), size <= 16 << 10 ? 0 : ERR_TOO_LARGE);
        exact_free(half);
        exact_free(other);
        buf_release(&headers);
    }
}

TEST(batches_of_up_to_65536_records)
{
    struct batch_limits limits = batch_limits_default();
    struct buf batch = {0};
    for (uint32_t count = 1; count <= 65537; count++) {
        batch_append(&batch, span_of("x"), none, none, none);
        if (count >= 65535) {
            struct batch_summary summary = {0};
            uint32_t at_fault = 0;
            int result = check_of(buf_span(&batch), &limits, &summary, &at_fault);
            ck_assert_int_eq(result, count <= 65536 ? 0 : ERR_TOO_LARGE);
            ck_assert_uint_eq(summary.records, result == 0 ? count : 0);
            ck_assert_uint_eq(at_fault, result == 0 ? 0 : 65536);
        }
    }
    buf_release(&batch);
}

TEST(batches_of_up_to_four_mebibytes)
{
    for (size_t size = (4 << 20) - 1; size <= (4 << 20) + 1; size++) {
        struct buf batch = {0};
        struct span most = filled((1 << 20) - 4);
        for (unsigned i = 0; i < 3; i++) {
            batch_append(&batch, most, none, none, none);
        }
        struct span last = filled(size - batch.size - 8);
        batch_append(&batch, last, none, none, none);
        ck_assert_uint_eq(batch.size, size);
        ck_assert_int_eq(check_default(buf_span(&batch)), size <= 4 << 20 ? 0 : ERR_TOO_LARGE);
        exact_free(most);
        exact_free(last);
        buf_release(&batch);
    }
}

TEST(a_batch_cut_anywhere_is_refused_unless_cut_between_records)
{
    struct buf batch = {0};
    batch_mixed(&batch);
    struct span rest = buf_span(&batch);
    struct batch_record record;
    size_t boundary = 0;
    for (size_t size = 1; size <= batch.size; size++) {
        while (boundary < size) {
            ck_assert_int_eq(batch_next(&rest, &record), 1);
            boundary = batch.size - rest.size;
        }
        int expected = size == boundary ? 0 : ERR_PROTOCOL;
        ck_assert_int_eq(check_default(span_make(batch.data, size)), expected);
    }
    buf_release(&batch);
}

/* Everything that walks unchecked bytes, for the sanitizers to watch. */
static void walk_all(struct span batch)
{
    struct span copy = exact_copy(batch);
    struct span rest = copy;
    struct batch_record record;
    struct span slice;
    uint32_t records = 0;
    while (batch_next(&rest, &record) == 1) {
        struct span fields = record.raw;
        struct span name;
        struct span value;
        while (batch_header_next(&fields, &name, &value) == 1) {
            TEST_ASSERT_FAST(name.size <= record.raw.size && value.size <= record.raw.size);
        }
    }
    (void) batch_slice(copy, 1, 2, 50, &slice, &records);
    exact_free(copy);
}

TEST(any_changed_byte_gives_an_answer_that_protobuf_c_shares)
{
    struct buf batch = {0};
    batch_mixed(&batch);
    for (size_t i = 0; i < batch.size; i++) {
        uint8_t original = batch.data[i];
        for (unsigned value = 0; value < 256; value += i < 60 ? 1 : 51) {
            batch.data[i] = (uint8_t) value;
            walk_all(buf_span(&batch));
            if (check_default(buf_span(&batch)) == 0) {
                Railgun__RecordBatch *theirs =
                    railgun__record_batch__unpack(NULL, batch.size, batch.data);
                TEST_ASSERT_FAST(theirs != NULL);
                railgun__record_batch__free_unpacked(theirs, NULL);
            }
        }
        batch.data[i] = original;
    }
    buf_release(&batch);
}

TEST(a_slice_skips_and_takes_within_its_limits_but_at_least_one)
{
    struct buf batch = {0};
    struct span slice;
    uint32_t records = 0;
    for (unsigned i = 0; i < 10; i++) {
        batch_append(&batch, span_of("12345678"), none, none, none); /* 12 bytes each */
    }
    struct span all = buf_span(&batch);
    ck_assert_int_eq(batch_slice(all, 0, UINT32_MAX, UINT64_MAX, &slice, &records), 0);
    ck_assert(records == 10 && slice.size == 120 && slice.data == all.data);
    ck_assert_int_eq(batch_slice(all, 3, 4, UINT64_MAX, &slice, &records), 0);
    ck_assert(records == 4 && slice.size == 48 && slice.data == all.data + 36);
    for (uint64_t bytes_max = 35; bytes_max <= 37; bytes_max++) {
        ck_assert_int_eq(batch_slice(all, 1, 100, bytes_max, &slice, &records), 0);
        ck_assert_uint_eq(records, bytes_max < 36 ? 2 : 3);
    }
    ck_assert_int_eq(batch_slice(all, 9, 0, 0, &slice, &records), 0);
    ck_assert(records == 1 && slice.size == 12 && slice.data == all.data + 108);
    ck_assert_int_eq(batch_slice(all, 10, 1, 100, &slice, &records), ERR_PROTOCOL);
    ck_assert_int_eq(batch_slice(all, UINT32_MAX, 1, 100, &slice, &records), ERR_PROTOCOL);
    ck_assert_int_eq(batch_slice(none, 0, 1, 100, &slice, &records), ERR_PROTOCOL);
    ck_assert_int_eq(batch_slice(span_make(all.data, 30), 0, 10, 100, &slice, &records),
                     ERR_PROTOCOL);
    buf_release(&batch);
}

TEST(slices_one_after_the_other_are_the_batch)
{
    struct buf batch = {0};
    struct buf joined = {0};
    batch_mixed(&batch);
    batch_mixed(&batch);
    for (uint32_t records_max = 1; records_max <= 11; records_max++) {
        buf_reset(&joined);
        for (uint32_t skip = 0; skip < 10;) {
            struct span slice;
            uint32_t records = 0;
            ck_assert_int_eq(
                batch_slice(buf_span(&batch), skip, records_max, 330, &slice, &records), 0);
            ck_assert_int_eq(check_default(slice), 0);
            buf_append(&joined, slice);
            skip += records;
        }
        ck_assert(span_equal(buf_span(&joined), buf_span(&batch)));
    }
    buf_release(&batch);
    buf_release(&joined);
}
