/* spec: the tables, and the way of every field through values and messages. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/wire/scan.h"
#include "raftd/spec.h"

static const enum spec_kind kinds[] = {SPEC_STREAM, SPEC_GROUP, SPEC_EXCHANGE};

static const ProtobufCMessage *message_of(const struct spec *spec, struct spec_message *room)
{
    spec_to_message(spec, room);
    switch (spec->kind) {
    case SPEC_STREAM:
        return &room->stream.base;
    case SPEC_GROUP:
        return &room->group.base;
    case SPEC_EXCHANGE:
        break;
    }
    return &room->exchange.base;
}

/* Through the bytes of its message. */
static void round_trip(const struct spec *from, struct spec *ret_to)
{
    struct spec_message room;
    struct buf packed = {0};
    ProtobufCMessage *message = NULL;
    const ProtobufCMessage *source = message_of(from, &room);
    scan_pack(&packed, source);
    struct scan_limits limits = scan_limits_default();
    ck_assert_int_eq(scan_unpack(buf_span(&packed), source->descriptor, &limits, &message), 0);
    switch (from->kind) {
    case SPEC_STREAM:
        spec_from_stream((const Railgun__StreamSpec *) message, ret_to);
        break;
    case SPEC_GROUP:
        spec_from_group((const Railgun__GroupSpec *) message, ret_to);
        break;
    case SPEC_EXCHANGE:
        spec_from_exchange((const Railgun__ExchangeSpec *) message, ret_to);
        break;
    }
    scan_free(&message);
    buf_release(&packed);
}

static void check_equal(const struct spec *a, const struct spec *b)
{
    unsigned count;
    (void) spec_fields(a->kind, &count);
    ck_assert_uint_eq(a->given, b->given);
    for (unsigned i = 0; i < count; i++) {
        ck_assert_msg(!spec_field_differs(a, b, i), "%s", spec_fields(a->kind, &count)[i].path);
    }
}

/* Something that is not the default and no other field's value. */
static void set_odd(struct spec *spec, unsigned field, const struct spec_field *row)
{
    static const uint64_t list[] = {7, 0, 9};
    switch (row->type) {
    case SPEC_TEXT:
    case SPEC_NAME:
        spec_set_text(spec, field, row->path);
        break;
    case SPEC_LIST:
        spec_set_list(spec, field, list, 3);
        break;
    case SPEC_NUMBER:
    case SPEC_BOOL:
    case SPEC_NAMED:
        spec_set(spec, field, row->max - (row->max > row->min + 100 ? field : 0));
        break;
    }
}

TEST(every_field_of_every_kind_survives_its_message)
{
    for (size_t k = 0; k < 3; k++) {
        unsigned count;
        const struct spec_field *fields = spec_fields(kinds[k], &count);
        struct spec all;
        spec_init(&all, kinds[k]);
        for (unsigned i = 0; i < count; i++) {
            struct spec one;
            struct spec back;
            spec_init(&one, kinds[k]);
            set_odd(&one, i, &fields[i]);
            set_odd(&all, i, &fields[i]);
            round_trip(&one, &back);
            if (strncmp(fields[i].path, "start.", 6) != 0) { /* one value in four */
                check_equal(&one, &back);
            }
            spec_release(&one);
            spec_release(&back);
        }
        struct spec back;
        struct spec copy;
        round_trip(&all, &back);
        check_equal(&all, &back);
        spec_copy(&copy, &back);
        check_equal(&all, &copy);
        spec_release(&all);
        spec_release(&back);
        spec_release(&copy);
    }
}

/* A field of the protocol without a row could be asked for and would be ignored. */
static void check_paths(enum spec_kind kind, const ProtobufCMessageDescriptor *type,
                        const char *prefix)
{
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        char path[100];
        unsigned row = 0;
        bool is_message = field->type == PROTOBUF_C_TYPE_MESSAGE;
        (void) snprintf(path, sizeof(path), "%s%s%s", prefix, field->name, is_message ? "." : "");
        if (is_message) {
            check_paths(kind, (const ProtobufCMessageDescriptor *) field->descriptor, path);
        } else {
            ck_assert_msg(spec_field_find(kind, path, &row), "%s has no row", path);
        }
    }
}

TEST(every_field_of_the_protocol_has_a_row)
{
    unsigned row = 0;
    check_paths(SPEC_STREAM, &railgun__stream_spec__descriptor, "");
    check_paths(SPEC_GROUP, &railgun__group_spec__descriptor, "");
    check_paths(SPEC_EXCHANGE, &railgun__exchange_spec__descriptor, "");
    ck_assert(!spec_field_find(SPEC_STREAM, "dedup", &row));
    ck_assert(!spec_field_find(SPEC_STREAM, "max_age", &row));
}

TEST(defaults_are_complete_valid_and_those_of_the_contract)
{
    for (size_t k = 0; k < 3; k++) {
        unsigned count;
        struct spec spec;
        struct buf problem = {0};
        (void) spec_fields(kinds[k], &count);
        spec_init(&spec, kinds[k]);
        spec_fill(&spec);
        ck_assert_uint_eq(spec.given, (UINT32_C(1) << count) - 1);
        ck_assert_int_eq(spec_check(&spec, &problem), 0);
        spec_release(&spec);
        buf_release(&problem);
    }
    struct spec group;
    struct buf text = {0};
    spec_init(&group, SPEC_GROUP);
    spec_set(&group, SPEC_GROUP_MAX_IN_FLIGHT, 77);
    spec_fill(&group);
    ck_assert_uint_eq(group.numbers[SPEC_GROUP_MAX_IN_FLIGHT_MEMBER], 77);
    ck_assert_uint_eq(group.numbers[SPEC_GROUP_MAX_DELAYED], 100000);
    ck_assert_uint_eq(group.numbers[SPEC_GROUP_DLQ_MAX_FAILED], 20);
    spec_format(&group, SPEC_GROUP_BACKOFF, &text);
    ck_assert_str_eq(buf_text(&text), "1000,5000,30000,120000,600000");
    spec_release(&group);
    struct spec stream;
    spec_init(&stream, SPEC_STREAM);
    spec_fill(&stream);
    ck_assert_uint_eq(stream.numbers[SPEC_STREAM_DELETE_GRACE], 86400000);
    ck_assert_str_eq(spec_text(&stream, SPEC_STREAM_FENCE), "");
    spec_release(&stream);
    buf_release(&text);
}

static const char *class_of(enum spec_kind kind, unsigned field, uint64_t from, uint64_t to)
{
    struct spec a;
    struct spec b;
    spec_init(&a, kind);
    spec_init(&b, kind);
    spec_set(&a, field, from);
    spec_set(&b, field, to);
    return spec_class_of(&a, &b, field);
}

TEST(the_class_of_a_change_depends_on_its_direction)
{
    ck_assert_str_eq(class_of(SPEC_STREAM, SPEC_STREAM_DEDUP_MODE, 0, 1), "immutable");
    ck_assert_str_eq(class_of(SPEC_STREAM, SPEC_STREAM_DEDUP_MODE, 2, 0), "immutable");
    ck_assert_str_eq(class_of(SPEC_STREAM, SPEC_STREAM_DEDUP_MODE, 1, 2), "dynamic");
    ck_assert_str_eq(class_of(SPEC_STREAM, SPEC_STREAM_DEDUP_MODE, 2, 1), "dynamic");
    ck_assert_str_eq(class_of(SPEC_STREAM, SPEC_STREAM_DEDUP_WINDOW, 2000, 1000), "dynamic");
    ck_assert_str_eq(class_of(SPEC_STREAM, SPEC_STREAM_MAX_BYTES, 0, 5), "shrinks_data");
    ck_assert_str_eq(class_of(SPEC_STREAM, SPEC_STREAM_MAX_BYTES, 6, 5), "shrinks_data");
    ck_assert_str_eq(class_of(SPEC_STREAM, SPEC_STREAM_MAX_BYTES, 5, 6), "dynamic");
    ck_assert_str_eq(class_of(SPEC_STREAM, SPEC_STREAM_MAX_BYTES, 5, 0), "dynamic");
    ck_assert_str_eq(class_of(SPEC_STREAM, SPEC_STREAM_RETENTION, 0, 1), "shrinks_data");
    ck_assert_str_eq(class_of(SPEC_STREAM, SPEC_STREAM_RETENTION, 1, 0), "dynamic");
    ck_assert_str_eq(class_of(SPEC_STREAM, SPEC_STREAM_RETENTION_FORCE, 0, 1), "shrinks_data");
    ck_assert_str_eq(class_of(SPEC_GROUP, SPEC_GROUP_MODE, 0, 1), "immutable");
    ck_assert_str_eq(class_of(SPEC_GROUP, SPEC_GROUP_ORDER, 0, 1), "immutable");
    ck_assert_str_eq(class_of(SPEC_GROUP, SPEC_GROUP_DLQ_MAX_FAILED, 9, 1), "dynamic");
}

static int check_group(const struct spec *group, const char *problem)
{
    struct buf text = {0};
    int error = spec_check(group, &text);
    ck_assert_str_eq(buf_text(&text), problem);
    buf_release(&text);
    return error;
}

TEST(texts_and_lists_have_limits_too)
{
    struct spec group;
    uint64_t list[SPEC_LIST_MAX + 1] = {0};
    spec_init(&group, SPEC_GROUP);
    spec_set_list(&group, SPEC_GROUP_BACKOFF, list, SPEC_LIST_MAX + 1);
    ck_assert_int_eq(check_group(&group, "backoff_ms: 17 values; at most 16"), ERR_BAD_CONFIG);
    list[1] = UINT64_C(2592000001);
    spec_set_list(&group, SPEC_GROUP_BACKOFF, list, 2);
    ck_assert_int_eq(
        check_group(&group, "backoff_ms: 2592000001 asked; it must be 0 to 2592000000"),
        ERR_BAD_CONFIG);
    list[1] = 5;
    spec_set_list(&group, SPEC_GROUP_BACKOFF, list, 2);
    ck_assert_int_eq(check_group(&group, ""), 0);
    spec_set_text(&group, SPEC_GROUP_DLQ_STREAM, "no name");
    ck_assert_int_eq(check_group(&group, "dlq.stream: character not allowed"), ERR_BAD_CONFIG);
    spec_set_text(&group, SPEC_GROUP_DLQ_STREAM, "dead.letters");
    ck_assert_int_eq(check_group(&group, ""), 0);
    spec_release(&group);
}
