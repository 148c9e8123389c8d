#include "common/wire/pb.h"

#include "common/base/err.h"
#include "tests/lib/test.h"
#include "tests/unit/common/wire/exact.h"

static int next_of(struct span bytes, struct pb_field *ret_field)
{
    struct span copy = exact_copy(bytes);
    struct span rest = copy;
    int result = pb_next(&rest, ret_field);
    if (result < 0) {
        ck_assert_ptr_eq(rest.data, copy.data);
        ck_assert_uint_eq(rest.size, copy.size);
    }
    exact_free(copy);
    return result;
}

TEST(a_field_of_each_type_is_read)
{
    struct span rest = SPAN(0x08, 0xac, 0x02, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x1a, 2, 'h', 'i', 0x25,
                            1, 2, 3, 0x80);
    struct pb_field field;
    ck_assert_int_eq(pb_next(&rest, &field), 1);
    ck_assert_uint_eq(field.number, 1);
    ck_assert_int_eq(field.type, PB_VARINT);
    ck_assert_uint_eq(field.value, 300);
    ck_assert_int_eq(pb_next(&rest, &field), 1);
    ck_assert_uint_eq(field.number, 2);
    ck_assert_int_eq(field.type, PB_FIXED64);
    ck_assert(field.value == UINT64_C(0x0807060504030201));
    ck_assert_int_eq(pb_next(&rest, &field), 1);
    ck_assert_uint_eq(field.number, 3);
    ck_assert_int_eq(field.type, PB_BYTES);
    ck_assert(span_is(field.bytes, "hi"));
    ck_assert_int_eq(pb_next(&rest, &field), 1);
    ck_assert_uint_eq(field.number, 4);
    ck_assert_int_eq(field.type, PB_FIXED32);
    ck_assert_uint_eq(field.value, UINT32_C(0x80030201));
    ck_assert_int_eq(pb_next(&rest, &field), 0);
}

TEST(the_end_is_not_an_error_even_without_memory)
{
    struct span nothing = {0};
    struct pb_field field;
    ck_assert_int_eq(pb_next(&nothing, &field), 0);
}

TEST(groups_and_unassigned_types_are_refused)
{
    struct pb_field field;
    for (uint8_t type = 0; type < 8; type++) {
        uint8_t bytes[] = {(uint8_t) (1 << 3 | type), 0, 0, 0, 0, 0, 0, 0, 0};
        bool known =
            type == PB_VARINT || type == PB_FIXED64 || type == PB_BYTES || type == PB_FIXED32;
        ck_assert_int_eq(next_of(span_make(bytes, sizeof(bytes)), &field),
                         known ? 1 : ERR_PROTOCOL);
    }
}

TEST(field_number_zero_is_refused_in_every_spelling)
{
    struct pb_field field;
    ck_assert_int_eq(next_of(SPAN(0x00, 0x01), &field), ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x02, 0x00), &field), ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x80, 0x00, 0x01), &field), ERR_PROTOCOL);
}

TEST(the_largest_field_number_is_read_and_the_next_refused)
{
    struct pb_field field;
    ck_assert_int_eq(next_of(SPAN(0xf8, 0xff, 0xff, 0xff, 0x0f, 0x07), &field), 1);
    ck_assert_uint_eq(field.number, PB_NUMBER_MAX);
    ck_assert_uint_eq(field.value, 7);
    ck_assert_int_eq(next_of(SPAN(0x80, 0x80, 0x80, 0x80, 0x10, 0x07), &field), ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x88, 0x80, 0x80, 0x80, 0x80, 0x00, 0x07), &field), ERR_PROTOCOL);
}

TEST(a_tag_longer_than_it_need_be_is_allowed)
{
    struct pb_field field;
    ck_assert_int_eq(next_of(SPAN(0x88, 0x80, 0x00, 0x07), &field), 1);
    ck_assert_uint_eq(field.number, 1);
}

TEST(a_varint_has_at_most_ten_bytes_and_64_bits)
{
    struct pb_field field;
    ck_assert_int_eq(
        next_of(SPAN(8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), &field), 1);
    ck_assert(field.value == UINT64_MAX);
    ck_assert_int_eq(
        next_of(SPAN(8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02), &field),
        ERR_PROTOCOL);
    ck_assert_int_eq(
        next_of(SPAN(8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00), &field),
        ERR_PROTOCOL);
}

TEST(a_length_may_reach_the_end_and_not_one_byte_beyond)
{
    struct pb_field field;
    ck_assert_int_eq(next_of(SPAN(0x0a, 3, 1, 2, 3), &field), 1);
    ck_assert_uint_eq(field.bytes.size, 3);
    ck_assert_int_eq(next_of(SPAN(0x0a, 4, 1, 2, 3), &field), ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x0a, 0x83, 0x00, 1, 2, 3), &field), 1);
    ck_assert_uint_eq(field.bytes.size, 3);
    ck_assert_int_eq(next_of(SPAN(0x0a, 0x84, 0x00, 1, 2, 3), &field), ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x0a, 0x83, 0x80, 0x80, 0x80, 0x00, 1, 2, 3), &field), 1);
    ck_assert_int_eq(next_of(SPAN(0x0a, 0x83, 0x80, 0x80, 0x80, 0x80, 0x00, 1, 2, 3), &field),
                     ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1), &field), ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f, 1), &field), ERR_PROTOCOL);
    ck_assert_int_eq(next_of(SPAN(0x0a, 0), &field), 1);
    ck_assert_uint_eq(field.bytes.size, 0);
}

TEST(a_field_cut_anywhere_is_refused)
{
    static const uint8_t fields[][12] = {{0x88, 0x01, 0xff, 0xff, 0x01},
                                         {0x91, 0x01, 1, 2, 3, 4, 5, 6, 7, 8},
                                         {0x8a, 0x01, 0x83, 0x00, 1, 2, 3},
                                         {0x8d, 0x01, 1, 2, 3, 4}};
    static const size_t sizes[] = {5, 10, 7, 6};
    struct pb_field field;
    for (size_t i = 0; i < 4; i++) {
        for (size_t cut = 1; cut < sizes[i]; cut++) {
            ck_assert_int_eq(next_of(span_make(fields[i], cut), &field), ERR_PROTOCOL);
        }
        ck_assert_int_eq(next_of(span_make(fields[i], sizes[i]), &field), 1);
    }
}

TEST(what_is_written_is_read_back_at_every_size_of_varint)
{
    struct buf out = {0};
    struct pb_field field;
    for (unsigned bits = 0; bits <= 64; bits++) {
        for (int more = -1; more <= 1; more++) {
            uint64_t value = (bits == 64 ? 0 : UINT64_C(1) << bits) + (uint64_t) (int64_t) more;
            buf_reset(&out);
            pb_append_varint(&out, PB_NUMBER_MAX, value);
            ck_assert_uint_eq(out.size, 5 + pb_varint_size(value));
            pb_append_fixed64(&out, 16, value);
            pb_append_bytes(&out, 15, span_of("text"));
            pb_append_bytes(&out, 15, span_make(NULL, 0));
            struct span rest = buf_span(&out);
            ck_assert_int_eq(pb_next(&rest, &field), 1);
            ck_assert(field.number == PB_NUMBER_MAX && field.type == PB_VARINT);
            ck_assert(field.value == value);
            ck_assert_int_eq(pb_next(&rest, &field), 1);
            ck_assert(field.number == 16 && field.type == PB_FIXED64 && field.value == value);
            ck_assert_int_eq(pb_next(&rest, &field), 1);
            ck_assert(field.number == 15 && span_is(field.bytes, "text"));
            ck_assert_int_eq(pb_next(&rest, &field), 1);
            ck_assert(field.number == 15 && field.bytes.size == 0);
            ck_assert_int_eq(pb_next(&rest, &field), 0);
        }
    }
    buf_release(&out);
}

static bool is_text(struct span bytes)
{
    struct span copy = exact_copy(bytes);
    bool result = pb_is_text(copy);
    exact_free(copy);
    return result;
}

TEST(text_is_utf8_without_nul)
{
    ck_assert(is_text(span_of("")));
    ck_assert(is_text(span_of("plain ascii of more than eight bytes, and some more")));
    ck_assert(is_text(span_of("gr\xc3\xbc\xc3\x9f"
                              "e \xe2\x82\xac \xf0\x9f\x9a\x82")));
    ck_assert(!is_text(span_make("\0", 1)));
    ck_assert(!is_text(span_make("eight by\0", 9)));
    ck_assert(!is_text(span_make("seven b\0", 8)));
    ck_assert(!is_text(span_of("\x80")));         /* a continuation alone */
    ck_assert(!is_text(span_of("\xc3")));         /* cut */
    ck_assert(!is_text(span_of("\xe2\x82")));     /* cut */
    ck_assert(!is_text(span_of("\xf0\x9f\x9a"))); /* cut */
    ck_assert(!is_text(span_of("\xc0\xaf")));     /* longer than need be */
    ck_assert(!is_text(span_of("\xc1\xbf")));
    ck_assert(!is_text(span_of("\xe0\x9f\xbf")));
    ck_assert(is_text(span_of("\xe0\xa0\x80")));
    ck_assert(is_text(span_of("\xed\x9f\xbf")));
    ck_assert(!is_text(span_of("\xed\xa0\x80"))); /* a surrogate */
    ck_assert(!is_text(span_of("\xf0\x8f\xbf\xbf")));
    ck_assert(is_text(span_of("\xf4\x8f\xbf\xbf")));
    ck_assert(!is_text(span_of("\xf4\x90\x80\x80"))); /* beyond 10FFFF */
    ck_assert(!is_text(span_of("\xf5\x80\x80\x80")));
    ck_assert(!is_text(span_of("\xe2\x82x")));
    ck_assert(!is_text(span_of("12345678\xff"
                               "12345678")));
}
