/* ensure: the table of modes, versions and classes, and what is refused before it is proposed. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "raftd/ensure.h"

/* --- decisions --------------------------------------------------------------------------------------------- */

/* A stored stream: version 3, max_bytes 1000, description "d". */
static void stored(struct spec *spec)
{
    Railgun__StreamSpec message = RAILGUN__STREAM_SPEC__INIT;
    message.has_max_bytes = 1;
    message.max_bytes = 1000;
    message.description = (char *) (uintptr_t) "d";
    spec_from_stream(&message, spec);
    spec_fill(spec);
}

enum wish { NOTHING, SAME, OTHER_DESCRIPTION, MORE_BYTES, ENDLESS_BYTES, FEWER_BYTES, OTHER_DEDUP };

static void wish_for(enum wish wish, Railgun__StreamSpec *spec, Railgun__DedupSpec *dedup)
{
    railgun__stream_spec__init(spec);
    railgun__dedup_spec__init(dedup);
    switch (wish) {
    case NOTHING:
        break;
    case SAME:
        spec->description = (char *) (uintptr_t) "d";
        break;
    case OTHER_DESCRIPTION:
        spec->description = (char *) (uintptr_t) "e";
        break;
    case MORE_BYTES:
    case ENDLESS_BYTES:
    case FEWER_BYTES:
        spec->has_max_bytes = 1;
        spec->max_bytes = wish == MORE_BYTES ? 2000 : wish == FEWER_BYTES ? 500 : 0;
        break;
    case OTHER_DEDUP:
        spec->dedup = dedup;
        dedup->has_mode = 1;
        dedup->mode = RAILGUN__DEDUP_SPEC__MODE__DEDUP_REQUIRED;
        break;
    }
}

#define UPDATE RAILGUN__ENSURE__MODE__MODE_UPDATE
#define CHECK_ RAILGUN__ENSURE__MODE__MODE_CHECK
#define WARN_  RAILGUN__ENSURE__MODE__MODE_WARN
#define CREATE RAILGUN__ENSURE__MODE__MODE_CREATE_ONLY

static const struct row {
    bool exists; /* at version 3 */
    uint64_t version;
    Railgun__Ensure__Mode mode;
    bool allow;
    enum wish wish;
    /* then */
    int error;
    enum ensure_result result;
    enum ensure_action action;
    unsigned diffs;
    const char *class_; /* of the first */
} rows[] = {
    /* none there */
    {false, 1, UPDATE, false, NOTHING, 0, ENSURE_CREATED, ENSURE_DO_CREATE, 0, NULL},
    {false, 9, WARN_, false, MORE_BYTES, 0, ENSURE_CREATED, ENSURE_DO_CREATE, 0, NULL},
    {false, 1, CREATE, false, NOTHING, 0, ENSURE_CREATED, ENSURE_DO_CREATE, 0, NULL},
    {false, 1, CHECK_, false, NOTHING, ERR_NOT_FOUND, 0, ENSURE_DO_NOTHING, 0, NULL},
    /* a lower version: success, nothing changed */
    {true, 2, UPDATE, false, SAME, 0, ENSURE_STALE_VERSION, ENSURE_DO_NOTHING, 0, NULL},
    {true, 2, UPDATE, true, OTHER_DEDUP, 0, ENSURE_STALE_VERSION, ENSURE_DO_NOTHING, 1,
     "immutable"},
    {true, 1, CREATE, false, SAME, 0, ENSURE_STALE_VERSION, ENSURE_DO_NOTHING, 0, NULL},
    /* the same version */
    {true, 3, UPDATE, false, NOTHING, 0, ENSURE_UNCHANGED, ENSURE_DO_NOTHING, 0, NULL},
    {true, 3, UPDATE, false, SAME, 0, ENSURE_UNCHANGED, ENSURE_DO_NOTHING, 0, NULL},
    {true, 3, UPDATE, false, OTHER_DESCRIPTION, ERR_VERSION_CONFLICT, 0, ENSURE_DO_NOTHING, 1,
     "dynamic"},
    {true, 3, WARN_, false, FEWER_BYTES, 0, ENSURE_DIFFERS, ENSURE_DO_NOTHING, 1, "shrinks_data"},
    {true, 3, CHECK_, false, OTHER_DEDUP, 0, ENSURE_DIFFERS, ENSURE_DO_NOTHING, 1, "immutable"},
    /* a higher one */
    {true, 4, UPDATE, false, SAME, 0, ENSURE_UPDATED, ENSURE_DO_UPDATE, 0, NULL},
    {true, 4, UPDATE, false, OTHER_DESCRIPTION, 0, ENSURE_UPDATED, ENSURE_DO_UPDATE, 1, "dynamic"},
    {true, 4, UPDATE, false, MORE_BYTES, 0, ENSURE_UPDATED, ENSURE_DO_UPDATE, 1, "dynamic"},
    {true, 4, UPDATE, false, ENDLESS_BYTES, 0, ENSURE_UPDATED, ENSURE_DO_UPDATE, 1, "dynamic"},
    {true, 4, UPDATE, false, FEWER_BYTES, ERR_DIFFERS, 0, ENSURE_DO_NOTHING, 1, "shrinks_data"},
    {true, 4, UPDATE, true, FEWER_BYTES, 0, ENSURE_UPDATED, ENSURE_DO_UPDATE, 1, "shrinks_data"},
    {true, 4, UPDATE, true, OTHER_DEDUP, ERR_IMMUTABLE, 0, ENSURE_DO_NOTHING, 1, "immutable"},
    {true, 4, WARN_, true, OTHER_DEDUP, 0, ENSURE_DIFFERS, ENSURE_DO_NOTHING, 1, "immutable"},
    {true, 4, WARN_, false, FEWER_BYTES, 0, ENSURE_DIFFERS, ENSURE_DO_NOTHING, 1, "shrinks_data"},
    {true, 4, WARN_, false, MORE_BYTES, 0, ENSURE_UPDATED, ENSURE_DO_UPDATE, 1, "dynamic"},
    {true, 4, CHECK_, false, MORE_BYTES, 0, ENSURE_UPDATED, ENSURE_DO_NOTHING, 1, "dynamic"},
    {true, 4, CHECK_, false, OTHER_DEDUP, ERR_IMMUTABLE, 0, ENSURE_DO_NOTHING, 1, "immutable"},
    {true, 9, CREATE, true, SAME, 0, ENSURE_UNCHANGED, ENSURE_DO_NOTHING, 0, NULL},
    {true, 9, CREATE, true, OTHER_DESCRIPTION, 0, ENSURE_DIFFERS, ENSURE_DO_NOTHING, 1, "dynamic"},
};

static void check_row(const struct row *row, size_t number)
{
    Railgun__StreamSpec wanted;
    Railgun__DedupSpec dedup;
    wish_for(row->wish, &wanted, &dedup);
    Railgun__Ensure message = RAILGUN__ENSURE__INIT;
    message.has_kind = 1;
    message.kind = RAILGUN__KIND__KIND_STREAM;
    message.name = (char *) (uintptr_t) "orders";
    message.has_version = 1;
    message.version = row->version;
    message.has_mode = 1;
    message.mode = row->mode;
    message.has_allow_data_loss = 1;
    message.allow_data_loss = row->allow;
    message.stream = &wanted;
    struct ensure_request request;
    struct buf problem = {0};
    ck_assert_int_eq(ensure_read(NULL, &message, &request, &problem), 0);
    struct spec current;
    stored(&current);
    struct ensure_decision decision;
    ensure_decide(&request, row->exists ? &current : NULL, 3, 0, &decision);
    ck_assert_msg(decision.error == row->error, "row %zu: error %d", number, decision.error);
    ck_assert_msg(decision.action == row->action, "row %zu: action %d", number, decision.action);
    ck_assert_msg(decision.diff_count == row->diffs, "row %zu: %u diffs", number,
                  decision.diff_count);
    if (row->error == 0) {
        ck_assert_msg(decision.result == row->result, "row %zu: result %d", number,
                      decision.result);
        uint64_t version = row->action != ENSURE_DO_NOTHING ? row->version : 3;
        ck_assert_msg(decision.version == version, "row %zu: version", number);
    }
    if (row->diffs > 0) {
        ck_assert_msg(strcmp(decision.diffs[0].class_, row->class_) == 0, "row %zu: class %s",
                      number, decision.diffs[0].class_);
    }
    if (row->action != ENSURE_DO_NOTHING) {
        for (unsigned i = 0; i < SPEC_STREAM_FIELD_COUNT; i++) {
            ck_assert(spec_is_given(&decision.effective, i));
            if (spec_is_given(&request.wanted, i)) {
                ck_assert(!spec_field_differs(&request.wanted, &decision.effective, i));
            } else if (row->exists) {
                ck_assert(!spec_field_differs(&current, &decision.effective, i));
            }
        }
    }
    ensure_decision_release(&decision);
    ensure_request_release(&request);
    spec_release(&current);
    buf_release(&problem);
}

TEST(every_row_of_the_table_is_decided_as_the_semantics_say)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check_row(&rows[i], i);
    }
}

/* --- the whole table --------------------------------------------------------------------------------------- */

static const Railgun__Ensure__Mode modes[] = {UPDATE, CHECK_, WARN_, CREATE,
                                              RAILGUN__ENSURE__MODE__MODE_UPDATE_ONLY};

/* What happens in each mode, in that order: + created, = unchanged, u updated, p would be updated, s stale, d differs; errors: n NOT_FOUND,
 * V VERSION_CONFLICT, I IMMUTABLE, L DIFFERS (data would be lost). */
static const struct cell {
    uint64_t stored; /* version; 0: none there. The asked one is 3 */
    enum wish wish;
    bool allow;
    const char *locked; /* path, or NULL */
    const char *outcome;
} cells[] = {
    {0, SAME, false, NULL, "+n++n"},
    {4, SAME, false, NULL, "sssss"},
    {4, MORE_BYTES, false, NULL, "sssss"},
    {4, FEWER_BYTES, false, NULL, "sssss"},
    {4, FEWER_BYTES, true, NULL, "sssss"},
    {4, OTHER_DEDUP, false, NULL, "sssss"},
    {4, MORE_BYTES, false, "max_bytes", "sssss"},
    {3, SAME, false, NULL, "====="},
    {3, MORE_BYTES, false, NULL, "VdddV"},
    {3, FEWER_BYTES, false, NULL, "VdddV"},
    {3, FEWER_BYTES, true, NULL, "VdddV"},
    {3, OTHER_DEDUP, false, NULL, "VdddV"},
    {3, MORE_BYTES, false, "max_bytes", "====="},
    {3, OTHER_DEDUP, false, "dedup.mode", "====="},
    {3, MORE_BYTES, false, "description", "VdddV"},
    {2, SAME, false, NULL, "upu=u"},
    {2, MORE_BYTES, false, NULL, "upudu"},
    {2, FEWER_BYTES, false, NULL, "LLddL"},
    {2, FEWER_BYTES, true, NULL, "upudu"},
    {2, OTHER_DEDUP, false, NULL, "IIddI"},
    {2, OTHER_DEDUP, true, NULL, "IIddI"},
    {2, MORE_BYTES, false, "max_bytes", "upu=u"},
    {2, FEWER_BYTES, false, "max_bytes", "upu=u"},
    {2, OTHER_DEDUP, false, "dedup.mode", "upu=u"},
    {2, MORE_BYTES, false, "description", "upudu"},
};

static char outcome_of(const struct ensure_decision *decision)
{
    switch (decision->error) {
    case ERR_NOT_FOUND:
        return 'n';
    case ERR_VERSION_CONFLICT:
        return 'V';
    case ERR_IMMUTABLE:
        return 'I';
    case ERR_DIFFERS:
        return 'L';
    case 0:
        break;
    default:
        return '?';
    }
    switch (decision->result) {
    case ENSURE_CREATED:
        return decision->action == ENSURE_DO_CREATE ? '+' : '?';
    case ENSURE_UNCHANGED:
        return decision->action == ENSURE_DO_NOTHING ? '=' : '?';
    case ENSURE_UPDATED:
        return decision->action == ENSURE_DO_UPDATE ? 'u' : 'p';
    case ENSURE_STALE_VERSION:
        return decision->action == ENSURE_DO_NOTHING ? 's' : '?';
    case ENSURE_DIFFERS:
        return decision->action == ENSURE_DO_NOTHING ? 'd' : '?';
    }
    return '?';
}

static void check_cell(const struct cell *cell, size_t number, size_t mode)
{
    Railgun__StreamSpec wanted;
    Railgun__DedupSpec dedup;
    wish_for(cell->wish, &wanted, &dedup);
    struct ensure_request request = {.kind = SPEC_STREAM, .version = 3};
    request.mode = (enum ensure_mode) modes[mode]; /* the same numbers */
    request.allow_data_loss = cell->allow;
    spec_from_stream(&wanted, &request.wanted);
    struct spec current;
    stored(&current);
    unsigned field = 0;
    ck_assert(cell->locked == NULL || spec_field_find(SPEC_STREAM, cell->locked, &field));
    uint32_t locked = cell->locked != NULL ? UINT32_C(1) << field : 0;
    struct ensure_decision decision;
    ensure_decide(&request, cell->stored != 0 ? &current : NULL, cell->stored, locked, &decision);
    char outcome = outcome_of(&decision);
    ck_assert_msg(outcome == cell->outcome[mode], "cell %zu mode %zu: %c", number, mode, outcome);
    for (unsigned i = 0; i < decision.diff_count; i++) {
        bool is_locked = cell->locked != NULL && strcmp(decision.diffs[i].path, cell->locked) == 0;
        ck_assert(is_locked == (strcmp(decision.diffs[i].class_, "locked") == 0));
    }
    if (decision.action == ENSURE_DO_UPDATE && cell->locked != NULL) {
        ck_assert(!spec_field_differs(&current, &decision.effective, field)); /* left alone */
    }
    ensure_decision_release(&decision);
    ensure_request_release(&request);
    spec_release(&current);
}

TEST(every_cell_of_version_mode_and_change_is_as_the_semantics_say)
{
    for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++) {
        for (size_t mode = 0; mode < sizeof(modes) / sizeof(modes[0]); mode++) {
            check_cell(&cells[i], i, mode);
        }
    }
}

TEST(a_difference_names_path_and_both_values)
{
    Railgun__StreamSpec wanted;
    Railgun__DedupSpec dedup;
    wish_for(OTHER_DEDUP, &wanted, &dedup);
    wanted.has_max_bytes = 1;
    wanted.max_bytes = 7;
    struct ensure_request request = {.kind = SPEC_STREAM, .version = 3};
    spec_from_stream(&wanted, &request.wanted);
    struct spec current;
    stored(&current);
    struct ensure_decision decision;
    ensure_decide(&request, &current, 3, 0, &decision);
    ck_assert_uint_eq(decision.diff_count, 2);
    ck_assert_str_eq(decision.diffs[0].path, "max_bytes");
    ck_assert_str_eq(decision.diffs[0].current, "1000");
    ck_assert_str_eq(decision.diffs[0].wanted, "7");
    ck_assert_str_eq(decision.diffs[1].path, "dedup.mode");
    ck_assert_str_eq(decision.diffs[1].current, "off");
    ck_assert_str_eq(decision.diffs[1].wanted, "required");
    ensure_decision_release(&decision);
    ensure_request_release(&request);
    spec_release(&current);
}

TEST(a_new_group_gets_its_defaults)
{
    Railgun__GroupSpec wanted = RAILGUN__GROUP_SPEC__INIT;
    wanted.has_max_in_flight = 1;
    wanted.max_in_flight = 50;
    struct spec spec;
    spec_from_group(&wanted, &spec);
    spec_fill(&spec);
    ck_assert_uint_eq(spec.numbers[SPEC_GROUP_MAX_IN_FLIGHT], 50);
    ck_assert_uint_eq(spec.numbers[SPEC_GROUP_MAX_IN_FLIGHT_MEMBER], 50);
    ck_assert_uint_eq(spec.numbers[SPEC_GROUP_MAX_HOLES], 10000);
    ck_assert_uint_eq(spec.numbers[SPEC_GROUP_START_AT], RAILGUN__START__AT__AT_FIRST);
    spec_release(&spec);
    spec_from_group(NULL, &spec);
    spec_fill(&spec);
    ck_assert_uint_eq(spec.numbers[SPEC_GROUP_MAX_IN_FLIGHT], 10000);
    ck_assert_uint_eq(spec.numbers[SPEC_GROUP_MAX_IN_FLIGHT_MEMBER], 10000);
    spec_release(&spec);
}

TEST(a_members_limit_that_is_the_groups_stays_the_groups)
{
    Railgun__GroupSpec wanted = RAILGUN__GROUP_SPEC__INIT;
    struct spec spec;
    struct spec change;
    wanted.has_max_in_flight = 1;
    wanted.max_in_flight = 3;
    spec_from_group(&wanted, &spec);
    spec_fill(&spec);
    wanted.max_in_flight = 6;
    spec_from_group(&wanted, &change);
    spec_merge(&spec, &change, UINT32_MAX & ~(UINT32_C(1) << SPEC_GROUP_MAX_IN_FLIGHT_MEMBER));
    ck_assert_uint_eq(spec.numbers[SPEC_GROUP_MAX_IN_FLIGHT], 6);
    ck_assert_uint_eq(spec.numbers[SPEC_GROUP_MAX_IN_FLIGHT_MEMBER], 3); /* it is locked */
    spec_merge(&spec, &change, UINT32_MAX);
    ck_assert_uint_eq(spec.numbers[SPEC_GROUP_MAX_IN_FLIGHT_MEMBER], 3); /* its own by now */
    spec_release(&change);
    wanted.has_max_in_flight_member = 1;
    wanted.max_in_flight_member = 6;
    spec_from_group(&wanted, &change);
    spec_merge(&spec, &change, UINT32_MAX);
    spec_release(&change);
    wanted.has_max_in_flight_member = 0;
    wanted.max_in_flight = 9;
    spec_from_group(&wanted, &change);
    spec_merge(&spec, &change, UINT32_MAX);
    ck_assert_uint_eq(spec.numbers[SPEC_GROUP_MAX_IN_FLIGHT], 9);
    ck_assert_uint_eq(spec.numbers[SPEC_GROUP_MAX_IN_FLIGHT_MEMBER], 9);
    spec_release(&change);
    spec_release(&spec);
}

TEST(a_start_is_one_value)
{
    Railgun__Start start = RAILGUN__START__INIT;
    start.has_offset = 1;
    start.offset = 9; /* without a place it means nothing */
    Railgun__GroupSpec wanted = RAILGUN__GROUP_SPEC__INIT;
    wanted.start = &start;
    struct spec spec;
    spec_from_group(&wanted, &spec);
    ck_assert_uint_eq(spec.given, 0);
    start.has_at = 1;
    start.at = RAILGUN__START__AT__AT_DEFAULT;
    spec_from_group(&wanted, &spec);
    ck_assert_uint_eq(spec.given, 0);
    start.at = RAILGUN__START__AT__AT_LATEST;
    start.has_offset = 0;
    spec_from_group(&wanted, &spec);
    ck_assert(spec_is_given(&spec, SPEC_GROUP_START_OFFSET));
    spec_release(&spec);
}

TEST(a_spec_survives_its_message)
{
    Railgun__DedupSpec dedup = RAILGUN__DEDUP_SPEC__INIT;
    dedup.has_reject_duplicates = 1;
    dedup.reject_duplicates = 1;
    Railgun__StreamSpec stream = RAILGUN__STREAM_SPEC__INIT;
    stream.dedup = &dedup;
    stream.description = (char *) (uintptr_t) "text";
    stream.has_max_age_ms = 1;
    stream.max_age_ms = UINT64_C(99999999999);
    Railgun__Start start = RAILGUN__START__INIT;
    start.has_at = 1;
    start.at = RAILGUN__START__AT__AT_OFFSET;
    start.has_offset = 1;
    start.offset = 5;
    Railgun__GroupSpec group = RAILGUN__GROUP_SPEC__INIT;
    group.start = &start;
    group.has_max_holes = 1;
    group.max_holes = 3;
    for (unsigned filled = 0; filled < 2; filled++) {
        for (unsigned kind = 0; kind < 2; kind++) {
            struct spec before;
            struct spec after;
            struct spec_message message;
            if (kind == 0) {
                spec_from_stream(&stream, &before);
            } else {
                spec_from_group(&group, &before);
            }
            if (filled == 1) {
                spec_fill(&before);
            }
            spec_to_message(&before, &message);
            if (kind == 0) {
                spec_from_stream(&message.stream, &after);
            } else {
                spec_from_group(&message.group, &after);
            }
            ck_assert_uint_eq(before.given, after.given);
            unsigned count;
            (void) spec_fields(before.kind, &count);
            for (unsigned i = 0; i < count; i++) {
                ck_assert(!spec_field_differs(&before, &after, i));
            }
            spec_release(&before);
            spec_release(&after);
        }
    }
}

/* --- refusals ---------------------------------------------------------------------------------------------- */

static int check_stream(const Railgun__StreamSpec *message, char *problem, size_t size)
{
    struct spec spec;
    struct buf text = {0};
    spec_from_stream(message, &spec);
    int error = spec_check(&spec, &text);
    (void) snprintf(problem, size, "%s", buf_text(&text));
    spec_release(&spec);
    buf_release(&text);
    return error;
}

static int check_group(const Railgun__GroupSpec *message, char *problem, size_t size)
{
    struct spec spec;
    struct buf text = {0};
    spec_from_group(message, &spec);
    int error = spec_check(&spec, &text);
    (void) snprintf(problem, size, "%s", buf_text(&text));
    spec_release(&spec);
    buf_release(&text);
    return error;
}

TEST(values_out_of_limits_and_what_is_not_built_are_refused_by_path)
{
    char problem[200];
    Railgun__StreamSpec stream = RAILGUN__STREAM_SPEC__INIT;
    Railgun__DedupSpec dedup = RAILGUN__DEDUP_SPEC__INIT;
    ck_assert_int_eq(check_stream(&stream, problem, sizeof(problem)), 0);

    stream.has_replicas = 1;
    stream.replicas = 3;
    ck_assert_int_eq(check_stream(&stream, problem, sizeof(problem)), ERR_BAD_CONFIG);
    ck_assert_str_eq(problem, "replicas: 3 asked; only 1 is possible");
    stream.replicas = 1;

    stream.has_max_age_ms = 1;
    stream.max_age_ms = UINT64_MAX;
    ck_assert_int_eq(check_stream(&stream, problem, sizeof(problem)), ERR_BAD_CONFIG);
    stream.max_age_ms = 1000;
    ck_assert_int_eq(check_stream(&stream, problem, sizeof(problem)), 0);

    stream.dedup = &dedup;
    dedup.has_mode = 1;
    dedup.mode = (Railgun__DedupSpec__Mode) 77;
    ck_assert_int_eq(check_stream(&stream, problem, sizeof(problem)), ERR_BAD_CONFIG);
    dedup.mode = RAILGUN__DEDUP_SPEC__MODE__DEDUP_OFF;

    char text[SPEC_DESCRIPTION_MAX + 2];
    memset(text, 'x', sizeof(text));
    text[SPEC_DESCRIPTION_MAX + 1] = '\0';
    stream.description = text;
    ck_assert_int_eq(check_stream(&stream, problem, sizeof(problem)), ERR_BAD_CONFIG);
    ck_assert_str_eq(problem, "description: 1025 bytes; at most 1024");
    text[SPEC_DESCRIPTION_MAX] = '\0';
    ck_assert_int_eq(check_stream(&stream, problem, sizeof(problem)), 0);

    Railgun__GroupSpec group = RAILGUN__GROUP_SPEC__INIT;
    group.has_max_in_flight = 1;
    group.max_in_flight = 0;
    ck_assert_int_eq(check_group(&group, problem, sizeof(problem)), ERR_BAD_CONFIG);
    ck_assert_str_eq(problem, "max_in_flight: 0 asked; it must be 1 to 1000000");
    group.max_in_flight = 1;
    group.has_mode = 1;
    group.mode = (Railgun__GroupSpec__Mode) 2;
    ck_assert_int_eq(check_group(&group, problem, sizeof(problem)), ERR_BAD_CONFIG);
    group.mode = RAILGUN__GROUP_SPEC__MODE__MODE_EXCLUSIVE;
    ck_assert_int_eq(check_group(&group, problem, sizeof(problem)), 0);
    Railgun__Start start = RAILGUN__START__INIT;
    group.start = &start;
    start.has_at = 1;
    start.at = RAILGUN__START__AT__AT_OFFSET;
    ck_assert_int_eq(check_group(&group, problem, sizeof(problem)), ERR_BAD_CONFIG);
    ck_assert_str_eq(problem, "start.offset: needed, from 1");
    start.at = (Railgun__Start__At) 9;
    ck_assert_int_eq(check_group(&group, problem, sizeof(problem)), ERR_BAD_CONFIG);
}

static int read_ensure(const char *namespace_, const Railgun__Ensure *message)
{
    struct ensure_request request;
    struct buf problem = {0};
    int error = ensure_read(namespace_, message, &request, &problem);
    if (error == 0) {
        ensure_request_release(&request);
        ck_assert_uint_eq(problem.size, 0);
    } else {
        ck_assert_uint_gt(problem.size, 0);
    }
    buf_release(&problem);
    return error;
}

TEST(a_request_of_the_wrong_form_is_refused)
{
    Railgun__StreamSpec stream = RAILGUN__STREAM_SPEC__INIT;
    Railgun__Ensure good = RAILGUN__ENSURE__INIT;
    good.has_kind = 1;
    good.kind = RAILGUN__KIND__KIND_STREAM;
    good.name = (char *) (uintptr_t) "orders.eu";
    ck_assert_int_eq(read_ensure("default", &good), 0);
    ck_assert_int_eq(read_ensure("default", NULL), ERR_BAD_REQUEST);
    ck_assert_int_eq(read_ensure("other", &good), ERR_UNSUPPORTED);

    Railgun__Ensure bad = good;
    bad.kind = RAILGUN__KIND__KIND_NODE;
    ck_assert_int_eq(read_ensure(NULL, &bad), ERR_BAD_REQUEST);
    bad = good;
    bad.name = NULL;
    ck_assert_int_eq(read_ensure(NULL, &bad), ERR_BAD_REQUEST);
    bad.name = (char *) (uintptr_t) "a/b";
    ck_assert_int_eq(read_ensure(NULL, &bad), ERR_BAD_REQUEST);
    bad = good;
    bad.group = (char *) (uintptr_t) "g";
    ck_assert_int_eq(read_ensure(NULL, &bad), ERR_BAD_REQUEST);
    bad.kind = RAILGUN__KIND__KIND_GROUP;
    ck_assert_int_eq(read_ensure(NULL, &bad), 0);
    bad.group = (char *) (uintptr_t) "";
    ck_assert_int_eq(read_ensure(NULL, &bad), ERR_BAD_REQUEST);
    bad.group = (char *) (uintptr_t) "g";
    bad.stream = &stream;
    ck_assert_int_eq(read_ensure(NULL, &bad), ERR_BAD_REQUEST);
    bad = good;
    bad.has_version = 1;
    bad.version = 0;
    ck_assert_int_eq(read_ensure(NULL, &bad), ERR_BAD_REQUEST);
    bad = good;
    bad.has_mode = 1;
    bad.mode = (Railgun__Ensure__Mode) 44;
    ck_assert_int_eq(read_ensure(NULL, &bad), ERR_BAD_REQUEST);
}

TEST(an_exchange_may_be_in_any_namespace_with_a_valid_name)
{
    Railgun__StreamSpec stream = RAILGUN__STREAM_SPEC__INIT;
    Railgun__GroupSpec group = RAILGUN__GROUP_SPEC__INIT;
    Railgun__ExchangeSpec spec = RAILGUN__EXCHANGE_SPEC__INIT;
    Railgun__Ensure good = RAILGUN__ENSURE__INIT;
    good.has_kind = 1;
    good.kind = RAILGUN__KIND__KIND_EXCHANGE;
    good.name = (char *) (uintptr_t) "ticks.eu";
    good.exchange = &spec;
    ck_assert_int_eq(read_ensure("default", &good), 0);
    ck_assert_int_eq(read_ensure(NULL, &good), 0);
    ck_assert_int_eq(read_ensure("games", &good), 0);
    ck_assert_int_eq(read_ensure("", &good), ERR_BAD_REQUEST);
    ck_assert_int_eq(read_ensure("a/b", &good), ERR_BAD_REQUEST);
    ck_assert_int_eq(read_ensure("_sys", &good), ERR_BAD_REQUEST);
    Railgun__Ensure bad = good;
    bad.name = (char *) (uintptr_t) "";
    ck_assert_int_eq(read_ensure("games", &bad), ERR_BAD_REQUEST);
    bad = good;
    bad.group = (char *) (uintptr_t) "g";
    ck_assert_int_eq(read_ensure("games", &bad), ERR_BAD_REQUEST);
    bad = good;
    bad.stream = &stream;
    ck_assert_int_eq(read_ensure("games", &bad), ERR_BAD_REQUEST);
    bad = good;
    bad.group_spec = &group;
    ck_assert_int_eq(read_ensure("games", &bad), ERR_BAD_REQUEST);
}

TEST(everything_about_an_exchange_may_change)
{
    Railgun__ExchangeSpec message = RAILGUN__EXCHANGE_SPEC__INIT;
    struct spec current;
    struct buf problem = {0};
    spec_init(&current, SPEC_EXCHANGE);
    spec_fill(&current);
    message.has_max_subscriptions = 1;
    message.max_subscriptions = 5;
    message.has_max_topics = 1;
    message.max_topics = 6;
    message.has_max_fanout = 1;
    message.max_fanout = 7;
    message.description = (char *) (uintptr_t) "prices";
    struct ensure_request request = {.kind = SPEC_EXCHANGE, .version = 2};
    spec_from_exchange(&message, &request.wanted);
    ck_assert_int_eq(spec_check(&request.wanted, &problem), 0);
    struct ensure_decision decision;
    ensure_decide(&request, &current, 1, 0, &decision);
    ck_assert_int_eq(decision.error, 0);
    ck_assert_int_eq(decision.result, ENSURE_UPDATED);
    ck_assert_uint_eq(decision.diff_count, SPEC_EXCHANGE_FIELD_COUNT);
    for (unsigned i = 0; i < decision.diff_count; i++) {
        ck_assert_str_eq(decision.diffs[i].class_, "dynamic");
    }
    ck_assert_str_eq(decision.diffs[1].path, "max_topics");
    ck_assert_str_eq(decision.diffs[1].current, "0");
    ck_assert_str_eq(decision.diffs[1].wanted, "6");
    struct spec_message back;
    spec_to_message(&decision.effective, &back);
    ck_assert_uint_eq(back.exchange.max_subscriptions, 5);
    ck_assert_uint_eq(back.exchange.max_fanout, 7);
    ck_assert_str_eq(back.exchange.description, "prices");
    ensure_decision_release(&decision);
    ensure_request_release(&request);

    message.max_fanout = UINT32_MAX;
    spec_from_exchange(&message, &request.wanted);
    ck_assert_int_eq(spec_check(&request.wanted, &problem), ERR_BAD_CONFIG);
    ensure_request_release(&request);
    spec_release(&current);
    buf_release(&problem);
}
