#include "common/wire/frame.h"

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/rand.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "tests/lib/test.h"
#include "tests/unit/common/wire/exact.h"

enum { SIZE_MAX_HERE = 100 };

static int split_of(struct span received, uint32_t size_max, struct span *ret_body,
                    size_t *ret_total)
{
    struct span copy = exact_copy(received);
    int result = frame_split(copy, size_max, ret_body, ret_total);
    if (result == 0) {
        ret_body->data = received.data + (ret_body->data - copy.data);
    }
    exact_free(copy);
    return result;
}

TEST(every_prefix_of_a_frame_is_incomplete_and_the_whole_is_split)
{
    struct buf out = {0};
    struct span body;
    size_t total = 0;
    frame_append(&out, 7, 300, RAILGUN__FRAME__BODY_PING, span_of("\x0a\x02hi"));
    buf_append_text(&out, "next");
    for (size_t size = 0; size < out.size - 4; size++) {
        ck_assert_int_eq(split_of(span_make(out.data, size), SIZE_MAX_HERE, &body, &total),
                         ERR_INCOMPLETE);
    }
    for (size_t size = out.size - 4; size <= out.size; size++) {
        ck_assert_int_eq(split_of(span_make(out.data, size), SIZE_MAX_HERE, &body, &total), 0);
        ck_assert_uint_eq(total, out.size - 4);
        ck_assert_ptr_eq(body.data, out.data + FRAME_PREFIX_SIZE);
        ck_assert_uint_eq(body.size, total - FRAME_PREFIX_SIZE);
    }
    buf_release(&out);
}

TEST(a_length_at_the_limit_is_taken_and_one_more_refused_at_once)
{
    static const uint32_t limits[] = {1, SIZE_MAX_HERE, FRAME_SIZE_MAX_PRE_AUTH,
                                      FRAME_SIZE_MAX_DEFAULT, FRAME_SIZE_MAX_HARD};
    struct span body;
    size_t total = 0;
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        for (uint32_t size = limits[i] - 1; size <= limits[i] + 1; size++) {
            uint8_t prefix[FRAME_PREFIX_SIZE];
            bytes_put_u32(prefix, size);
            int expected = size == 0          ? ERR_PROTOCOL
                           : size > limits[i] ? ERR_TOO_LARGE
                                              : ERR_INCOMPLETE;
            ck_assert_int_eq(split_of(span_make(prefix, sizeof(prefix)), limits[i], &body, &total),
                             expected);
        }
    }
}

TEST(no_configuration_goes_beyond_the_hard_limit)
{
    uint8_t prefix[FRAME_PREFIX_SIZE];
    struct span body;
    size_t total = 0;
    bytes_put_u32(prefix, (uint32_t) FRAME_SIZE_MAX_HARD + 1);
    ck_assert_int_eq(split_of(span_make(prefix, 4), UINT32_MAX, &body, &total), ERR_TOO_LARGE);
    bytes_put_u32(prefix, UINT32_MAX);
    ck_assert_int_eq(split_of(span_make(prefix, 4), UINT32_MAX, &body, &total), ERR_TOO_LARGE);
    bytes_put_u32(prefix, FRAME_SIZE_MAX_HARD);
    ck_assert_int_eq(split_of(span_make(prefix, 4), UINT32_MAX, &body, &total), ERR_INCOMPLETE);
}

TEST(a_stream_of_frames_comes_out_the_same_in_any_chunks)
{
    struct prng prng;
    struct buf stream = {0};
    struct buf received = {0};
    prng_init(&prng, 42);
    for (uint32_t i = 0; i < 200; i++) {
        uint8_t bytes[64] = {0};
        frame_append(&stream, i % 3, i, RAILGUN__FRAME__BODY_PONG, span_make(bytes, i % 64));
    }
    uint32_t seen = 0;
    for (size_t at = 0; at < stream.size;) {
        size_t chunk = 1 + (size_t) prng_below(&prng, 90);
        chunk = chunk < stream.size - at ? chunk : stream.size - at;
        buf_append(&received, span_make(stream.data + at, chunk));
        at += chunk;
        struct span body;
        size_t total = 0;
        int result = 0;
        while ((result = frame_split(buf_span(&received), SIZE_MAX_HERE, &body, &total)) == 0) {
            struct frame_view view;
            ck_assert_int_eq(frame_parse(body, &view), 0);
            ck_assert_uint_eq(view.corr, seen);
            ck_assert_uint_eq(view.channel, seen % 3);
            ck_assert_uint_eq(view.body.size, seen % 64);
            seen++;
            buf_consume(&received, total);
        }
        ck_assert_int_eq(result, ERR_INCOMPLETE);
    }
    ck_assert_uint_eq(seen, 200);
    ck_assert_uint_eq(received.size, 0);
    buf_release(&stream);
    buf_release(&received);
}

TEST(the_longest_head_fits)
{
    uint8_t head[FRAME_HEAD_SIZE_MAX];
    size_t size = frame_put_head(head, UINT32_MAX, UINT64_MAX, PB_NUMBER_MAX,
                                 (size_t) FRAME_SIZE_MAX_HARD - 30);
    ck_assert_uint_eq(size, 4 + 1 + 5 + 1 + 10 + 5 + 4);
    ck_assert_uint_eq(bytes_get_u32(head), size - 4 + FRAME_SIZE_MAX_HARD - 30);
    size = frame_put_head(head, 0, 0, 3, 0);
    ck_assert_uint_eq(size, 6);
    ck_assert_int_eq(memcmp(head, "\x02\0\0\0\x1a\0", 6), 0);
}

TEST(protobuf_c_reads_the_frames_we_write)
{
    struct buf out = {0};
    struct span body;
    size_t total = 0;
    frame_append(&out, 12, UINT64_MAX, RAILGUN__FRAME__BODY_PING, span_of("\x0a\x02hi"));
    ck_assert_int_eq(frame_split(buf_span(&out), SIZE_MAX_HERE, &body, &total), 0);
    Railgun__Frame *frame = railgun__frame__unpack(NULL, body.size, body.data);
    ck_assert_ptr_nonnull(frame);
    ck_assert_uint_eq(frame->channel, 12);
    ck_assert(frame->corr == UINT64_MAX);
    ck_assert_int_eq((int) frame->body_case, RAILGUN__FRAME__BODY_PING);
    ck_assert_uint_eq(frame->ping->data.len, 2);
    railgun__frame__free_unpacked(frame, NULL);
    buf_release(&out);
}

TEST(exactly_the_bodies_of_the_protocol_are_known)
{
    for (uint32_t number = 1; number < 200; number++) {
        struct buf out = {0};
        struct frame_view view;
        pb_append_bytes(&out, number, span_of("x"));
        const ProtobufCFieldDescriptor *known =
            protobuf_c_message_descriptor_get_field(&railgun__frame__descriptor, number);
        bool is_body = known != NULL && known->type == PROTOBUF_C_TYPE_MESSAGE;
        int result = frame_parse(buf_span(&out), &view);
        if (number <= 2) {
            ck_assert_int_eq(result, ERR_PROTOCOL);
        } else {
            ck_assert_int_eq(result, 0);
            ck_assert_uint_eq(view.field, is_body ? number : 0);
            ck_assert_uint_eq(view.body.size, is_body ? 1 : 0);
        }
        buf_reset(&out);
        pb_append_varint(&out, number, 1);
        ck_assert_int_eq(frame_parse(buf_span(&out), &view), is_body ? ERR_PROTOCOL : 0);
        buf_release(&out);
    }
}

TEST(the_last_known_body_counts_and_newer_fields_are_skipped)
{
    struct frame_view view;
    ck_assert_int_eq(
        frame_parse(SPAN(0x1a, 1, 'a', 0x22, 1, 'b', 0xc2, 0x0c, 1, 'c', 0x08, 5), &view), 0);
    ck_assert_uint_eq(view.field, 4);
    ck_assert(span_is(view.body, "b"));
    ck_assert_uint_eq(view.channel, 5);
    ck_assert_uint_eq(view.corr, 0);
}

TEST(a_frame_of_no_fields_or_of_rubbish_is_judged)
{
    struct frame_view view = {.field = 99};
    ck_assert_int_eq(frame_parse(SPAN(0x0b), &view), ERR_PROTOCOL);
    ck_assert_int_eq(frame_parse(SPAN(0x1a, 5, 'a'), &view), ERR_PROTOCOL);
    ck_assert_uint_eq(view.field, 99);
    ck_assert_int_eq(frame_parse(span_make(NULL, 0), &view), 0);
    ck_assert_uint_eq(view.field, 0);
}
