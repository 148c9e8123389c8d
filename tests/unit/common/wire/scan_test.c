#include "common/wire/scan.h"

#include <stddef.h>

#include "common/base/err.h"
#include "common/wire/catalog.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/pb.h"
#include "tests/lib/test.h"
#include "tests/unit/common/wire/exact.h"

/* A message type that contains itself, as none of ours does: `message Nest { optional Nest nest = 1; repeated bool flags = 2; }` */
struct nest {
    ProtobufCMessage base;
    struct nest *nest;
    size_t flags_count;
    protobuf_c_boolean *flags;
};
static const ProtobufCMessageDescriptor nest_type;
static const ProtobufCFieldDescriptor nest_fields[] = {
    {.name = "nest",
     .id = 1,
     .label = PROTOBUF_C_LABEL_OPTIONAL,
     .type = PROTOBUF_C_TYPE_MESSAGE,
     .offset = offsetof(struct nest, nest),
     .descriptor = &nest_type},
    {.name = "flags",
     .id = 2,
     .label = PROTOBUF_C_LABEL_REPEATED,
     .type = PROTOBUF_C_TYPE_BOOL,
     .quantifier_offset = offsetof(struct nest, flags_count),
     .offset = offsetof(struct nest, flags)},
};
static const ProtobufCIntRange nest_ranges[] = {{1, 0}, {0, 2}};
static const unsigned nest_names[] = {1, 0};
static const ProtobufCMessageDescriptor nest_type = {
    .magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
    .name = "Nest",
    .short_name = "Nest",
    .c_name = "Nest",
    .package_name = "",
    .sizeof_message = sizeof(struct nest),
    .n_fields = 2,
    .fields = nest_fields,
    .fields_sorted_by_name = nest_names,
    .n_field_ranges = 1,
    .field_ranges = nest_ranges,
};

/* `depth` messages, each but the last holding the next. */
static struct buf nested(unsigned depth)
{
    struct buf inner = {0};
    for (unsigned i = 1; i < depth; i++) {
        struct buf outer = {0};
        pb_append_bytes(&outer, 1, buf_span(&inner));
        buf_release(&inner);
        inner = outer;
    }
    return inner;
}

static int check_of(struct span bytes, const ProtobufCMessageDescriptor *type,
                    const struct scan_limits *limits)
{
    struct span copy = exact_copy(bytes);
    int result = scan_check(copy, type, limits);
    exact_free(copy);
    return result;
}

TEST(nesting_up_to_eight)
{
    for (unsigned depth = 7; depth <= 9; depth++) {
        struct buf bytes = nested(depth);
        ProtobufCMessage *message = NULL;
        int expected = depth <= 8 ? 0 : ERR_TOO_LARGE;
        ck_assert_int_eq(check_of(buf_span(&bytes), &nest_type, NULL), expected);
        ck_assert_int_eq(scan_unpack(buf_span(&bytes), &nest_type, NULL, &message), expected);
        ck_assert_int_eq(message != NULL, expected == 0);
        scan_free(&message);
        buf_release(&bytes);
    }
}

TEST(a_frame_nested_ten_thousand_deep_is_refused_without_trouble)
{
    struct buf bytes = nested(10000);
    ProtobufCMessage *message = NULL;
    ck_assert_uint_gt(bytes.size, 30000);
    ck_assert_int_eq(scan_unpack(buf_span(&bytes), &nest_type, NULL, &message), ERR_TOO_LARGE);
    ck_assert_ptr_null(message);
    buf_release(&bytes);
}

TEST(a_mebibyte_of_empty_messages_is_refused_by_count_and_by_memory)
{
    struct buf bytes = {0};
    struct scan_limits limits = scan_limits_default();
    ProtobufCMessage *message = NULL;
    while (bytes.size < 1 << 20) {
        pb_append_bytes(&bytes, 1, span_make(NULL, 0));
    }
    ck_assert_int_eq(scan_unpack(buf_span(&bytes), &railgun__ack_ok__descriptor, NULL, &message),
                     ERR_TOO_LARGE);
    limits.repeated_max = UINT32_MAX;
    ck_assert_int_eq(scan_unpack(buf_span(&bytes), &railgun__ack_ok__descriptor, &limits, &message),
                     ERR_TOO_LARGE);
    limits.fields_max = UINT32_MAX; /* memory alone: 5 MiB are allowed, over 40 needed */
    ck_assert_int_eq(scan_unpack(buf_span(&bytes), &railgun__ack_ok__descriptor, &limits, &message),
                     ERR_TOO_LARGE);
    limits.memory_factor = 40;
    ck_assert_int_eq(scan_check(buf_span(&bytes), &railgun__ack_ok__descriptor, &limits),
                     ERR_TOO_LARGE);
    buf_release(&bytes);
}

TEST(repeated_fields_up_to_4096_elements)
{
    struct buf bytes = {0};
    for (unsigned count = 1; count <= 4097; count++) {
        pb_append_bytes(&bytes, 1, SPAN(0x08, 1, 0x10, 2));
        if (count >= 4095) {
            ProtobufCMessage *message = NULL;
            int expected = count <= 4096 ? 0 : ERR_TOO_LARGE;
            ck_assert_int_eq(
                scan_unpack(buf_span(&bytes), &railgun__extend__descriptor, NULL, &message),
                expected);
            scan_free(&message);
        }
    }
    buf_release(&bytes);
}

TEST(fields_up_to_the_limit_unknown_ones_too)
{
    struct scan_limits limits = scan_limits_default();
    struct buf bytes = {0};
    limits.fields_max = 10;
    for (unsigned count = 1; count <= 11; count++) {
        pb_append_varint(&bytes, count % 2 == 0 ? 1 : 300, count);
        ck_assert_int_eq(check_of(buf_span(&bytes), &railgun__hello__descriptor, &limits),
                         count <= 10 ? 0 : ERR_TOO_LARGE);
    }
    buf_release(&bytes);
}

TEST(packed_elements_count_as_elements_and_as_fields)
{
    struct scan_limits limits = scan_limits_default();
    const ProtobufCMessageDescriptor *type = &railgun__catalog_changes__descriptor;
    for (size_t count = 9; count <= 11; count++) {
        uint8_t ones[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
        struct buf bytes = {0};
        ProtobufCMessage *message = NULL;
        pb_append_bytes(&bytes, 5, span_make(ones, count));
        limits.fields_max = 10;
        ck_assert_int_eq(check_of(buf_span(&bytes), type, &limits),
                         count <= 10 ? 0 : ERR_TOO_LARGE);
        limits.fields_max = 100;
        limits.repeated_max = 10;
        ck_assert_int_eq(check_of(buf_span(&bytes), type, &limits),
                         count <= 10 ? 0 : ERR_TOO_LARGE);
        pb_append_varint(&bytes, 5, 1); /* and one more that is not packed */
        ck_assert_int_eq(check_of(buf_span(&bytes), type, &limits), count <= 9 ? 0 : ERR_TOO_LARGE);
        ck_assert_int_eq(scan_unpack(buf_span(&bytes), type, NULL, &message), 0);
        ck_assert_uint_eq(((Railgun__CatalogChanges *) message)->n_streams_deleted, count + 1);
        scan_free(&message);
        buf_release(&bytes);
        limits.repeated_max = 4096;
    }
}

TEST(bad_packed_fields_are_refused)
{
    const ProtobufCMessageDescriptor *type = &railgun__catalog_changes__descriptor;
    ck_assert_int_eq(check_of(SPAN(0x2a, 2, 1, 0x80), type, NULL), ERR_PROTOCOL);
    ck_assert_int_eq(check_of(SPAN(0x2a, 0), type, NULL), 0);
    ck_assert_int_eq(
        check_of(SPAN(0x2a, 10, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1), type,
                 NULL),
        0);
    ck_assert_int_eq(
        check_of(SPAN(0x2a, 11, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1),
                 type, NULL),
        ERR_PROTOCOL);
    ck_assert_int_eq(check_of(SPAN(0x12, 3, 1, 0, 1), &nest_type, NULL), 0);
    ck_assert_int_eq(check_of(SPAN(0x12, 3, 1, 2, 1), &nest_type, NULL), ERR_PROTOCOL);
}

/* --- memory ---------------------------------------------------------------------------------------------------- */

static void *count_alloc(void *context, size_t size)
{
    size_t *total = context;
    *total += size;
    return mem_try_new(size);
}

static void count_free(void *context, void *memory)
{
    (void) context;
    mem_free(memory);
}

/* What protobuf-c asks for in all when it unpacks these bytes. */
static size_t memory_of(struct span bytes, const ProtobufCMessageDescriptor *type)
{
    size_t total = 0;
    ProtobufCAllocator allocator = {count_alloc, count_free, &total};
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, bytes.size, bytes.data);
    ck_assert_ptr_nonnull(message);
    protobuf_c_message_free_unpacked(message, &allocator);
    return total;
}

/* The scan asks for exactly the memory that protobuf-c takes: not a byte less is let through. */
static void expect_exact(struct span bytes, const ProtobufCMessageDescriptor *type)
{
    struct scan_limits limits = scan_limits_default();
    size_t needed = memory_of(bytes, type);
    limits.memory_factor = 0;
    for (int more = -1; more <= 1; more++) {
        ProtobufCMessage *message = NULL;
        int expected = more < 0 ? ERR_TOO_LARGE : 0;
        limits.memory_extra = needed + (size_t) (ptrdiff_t) more;
        ck_assert_int_eq(scan_check(bytes, type, &limits), expected);
        ck_assert_int_eq(scan_unpack(bytes, type, &limits, &message), expected);
        scan_free(&message);
    }
}

TEST(memory_is_counted_to_the_byte)
{
    struct buf bytes = {0};
    expect_exact(buf_span(&bytes), &railgun__cancel_ok__descriptor);
    for (unsigned count = 1; count <= 120;
         count++) { /* past 16, 48 and 112: protobuf-c's scratch grows */
        struct buf item = {0};
        pb_append_bytes(&item, 1, span_of("orders"));
        pb_append_varint(&item, 3, count);
        pb_append_bytes(&item, 4, span_make("0123456789abcdef", count % 17));
        pb_append_fixed64(&item, 5, count);
        pb_append_bytes(&bytes, 1, buf_span(&item));
        expect_exact(buf_span(&bytes), &railgun__list_ok__descriptor);
        buf_release(&item);
    }
    buf_release(&bytes);
}

TEST(memory_grows_with_the_bytes_by_the_factor)
{
    struct scan_limits limits = scan_limits_default();
    struct buf bytes = {0};
    pb_append_bytes(&bytes, 2, span_make("0123456789012345678901234567890123456789", 40));
    size_t needed = memory_of(buf_span(&bytes), &railgun__auth__descriptor);
    limits.memory_extra = needed - 2 * bytes.size;
    limits.memory_factor = 2;
    ck_assert_int_eq(scan_check(buf_span(&bytes), &railgun__auth__descriptor, &limits), 0);
    limits.memory_extra--;
    ck_assert_int_eq(scan_check(buf_span(&bytes), &railgun__auth__descriptor, &limits),
                     ERR_TOO_LARGE);
    limits.memory_factor =
        SIZE_MAX / 2 + 1; /* a bound beyond all memory is no bound, and no overflow */
    ck_assert_int_eq(scan_check(buf_span(&bytes), &railgun__auth__descriptor, &limits), 0);
    buf_release(&bytes);
}

/* --- form -------------------------------------------------------------------------------------------------------- */

TEST(strings_must_be_text)
{
    const ProtobufCMessageDescriptor *type = &railgun__hello__descriptor;
    ck_assert_int_eq(check_of(SPAN(0x1a, 2, 0xc3, 0xbc), type, NULL), 0);
    ck_assert_int_eq(check_of(SPAN(0x1a, 2, 0xc3, 0x28), type, NULL), ERR_PROTOCOL);
    ck_assert_int_eq(check_of(SPAN(0x1a, 3, 'a', 0, 'b'), type, NULL), ERR_PROTOCOL);
    ck_assert_int_eq(check_of(SPAN(0x12, 3, 'a', 0, 'b'), &railgun__auth__descriptor, NULL), 0);
}

TEST(wrong_types_and_messages_given_twice_are_refused)
{
    ck_assert_int_eq(check_of(SPAN(0x0a, 0), &railgun__hello__descriptor, NULL), ERR_PROTOCOL);
    ck_assert_int_eq(check_of(SPAN(0x0d, 0, 0, 0, 0), &railgun__hello__descriptor, NULL),
                     ERR_PROTOCOL);
    ck_assert_int_eq(check_of(SPAN(0x20, 1), &railgun__consume__descriptor, NULL), ERR_PROTOCOL);
    ck_assert_int_eq(check_of(SPAN(0x22, 0, 0x2a, 0), &railgun__consume__descriptor, NULL), 0);
    ck_assert_int_eq(check_of(SPAN(0x22, 0, 0x22, 0), &railgun__consume__descriptor, NULL),
                     ERR_PROTOCOL);
    ck_assert_int_eq(check_of(SPAN(0x3d, 0, 0, 0, 0), &railgun__consume__descriptor, NULL),
                     ERR_PROTOCOL); /* a bool that is no varint */
}

TEST(of_a_choice_given_twice_the_last_counts)
{
    struct span frame = SPAN(0xa2, 0x01, 2, 0x0a, 0, 0xaa, 0x01, 3, 0x0a, 1, 'x');
    Railgun__Frame *message = NULL;
    ck_assert_int_eq(SCAN_UNPACK(frame, railgun__frame, &message), 0);
    ck_assert_int_eq((int) message->body_case, RAILGUN__FRAME__BODY_PONG);
    ck_assert_uint_eq(message->pong->data.len, 1);
    SCAN_FREE(&message);
    ck_assert_ptr_null(message);
    SCAN_FREE(&message);
}

/* A DescribeOk with a bit of everything. */
static struct buf describe_packed(void)
{
    static char text[] = "text";
    Railgun__Start start = RAILGUN__START__INIT;
    Railgun__GroupSpec spec = RAILGUN__GROUP_SPEC__INIT;
    Railgun__MemberInfo member = RAILGUN__MEMBER_INFO__INIT;
    Railgun__MemberInfo *members[] = {&member, &member, &member};
    Railgun__GroupInfo group = RAILGUN__GROUP_INFO__INIT;
    Railgun__DescribeOk ok = RAILGUN__DESCRIBE_OK__INIT;
    struct buf out = {0};
    start.has_ts_us = start.has_allow_future = 1;
    start.ts_us = 1;
    start.allow_future = 1;
    spec.start = &start;
    spec.description = text;
    member.consumer = text;
    member.has_in_flight = 1;
    member.in_flight = UINT64_MAX;
    group.stream = text;
    group.name = text;
    group.spec = &spec;
    group.n_members = 3;
    group.members = members;
    ok.group = &group;
    scan_pack(&out, &ok.base);
    return out;
}

TEST(what_is_packed_is_unpacked_the_same)
{
    struct buf bytes = describe_packed();
    struct buf again = {0};
    Railgun__DescribeOk *message = NULL;
    ck_assert_int_eq(SCAN_UNPACK(buf_span(&bytes), railgun__describe_ok, &message), 0);
    ck_assert_uint_eq(message->group->n_members, 3);
    ck_assert(message->group->members[2]->in_flight == UINT64_MAX);
    buf_append_text(&again, "before");
    scan_pack(&again, &message->base);
    buf_consume(&again, 6);
    ck_assert(span_equal(buf_span(&again), buf_span(&bytes)));
    expect_exact(buf_span(&bytes), &railgun__describe_ok__descriptor);
    SCAN_FREE(&message);
    buf_release(&bytes);
    buf_release(&again);
}

TEST(prefixes_and_changed_bytes_give_an_answer_that_protobuf_c_shares)
{
    struct buf bytes = describe_packed();
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t original = bytes.data[i];
        for (unsigned value = 0; value < 256; value++) {
            bytes.data[i] = (uint8_t) value;
            struct span copy =
                exact_copy(span_make(bytes.data, value == original ? i : bytes.size));
            ProtobufCMessage *message = NULL;
            int result = scan_check(copy, &railgun__describe_ok__descriptor, NULL);
            TEST_ASSERT_FAST(result ==
                             scan_unpack(copy, &railgun__describe_ok__descriptor, NULL, &message));
            scan_free(&message);
            exact_free(copy);
        }
        bytes.data[i] = original;
    }
    buf_release(&bytes);
}

/* --- our own types ---------------------------------------------------------------------------------------------- */

/* Looks at a type and all below it: few enough fields for the scan, no required ones, no recursion. */
static void type_look(const ProtobufCMessageDescriptor *type, unsigned depth)
{
    ck_assert_msg(depth <= scan_limits_default().depth_max, "%s nests too deep or in itself",
                  type->name);
    ck_assert_uint_le(type->n_fields, 64);
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        ck_assert_int_ne((int) field->label, PROTOBUF_C_LABEL_REQUIRED);
        if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
            type_look(field->descriptor, depth + 1);
        }
    }
}

TEST(no_message_of_ours_is_recursive_or_beyond_the_scan)
{
    type_look(&railgun__frame__descriptor, 1);
    type_look(&railgun__catalog_command__descriptor, 1);
    type_look(&railgun__catalog_changes__descriptor, 1);
    type_look(&railgun__catalog_node__descriptor, 1);
    type_look(&railgun__catalog_watch__descriptor, 1);
    type_look(&railgun__catalog_watch_ok__descriptor, 1);
    type_look(&railgun__catalog_register__descriptor, 1);
    type_look(&railgun__catalog_register_ok__descriptor, 1);
    type_look(&railgun__log_publish__descriptor, 1);
    type_look(&railgun__log_attach__descriptor, 1);
    type_look(&railgun__log_detach__descriptor, 1);
    type_look(&railgun__log_group_ref__descriptor, 1);
    type_look(&railgun__entry_config__descriptor, 1);
    type_look(&railgun__entry_group__descriptor, 1);
    type_look(&railgun__entry_acks__descriptor, 1);
    type_look(&railgun__group_state__descriptor, 1);
    type_look(&railgun__stream_state__descriptor, 1);
}
