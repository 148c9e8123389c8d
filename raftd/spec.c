/* spec: see the header. Owns what can be done with the values: defaults, differences, limits, text. The tables are in
 * spec_fields.c, the messages in spec_wire.c. Decides nothing about what is stored. */
#include "raftd/spec.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/base/name.h"

static const struct spec_field *spec_row(const struct spec *self, unsigned field)
{
    unsigned count;
    const struct spec_field *fields = spec_fields(self->kind, &count);
    INVARIANT(field < count);
    return &fields[field];
}

static bool spec_type_is_text(enum spec_type type)
{
    return type == SPEC_TEXT || type == SPEC_NAME;
}

void spec_init(struct spec *self, enum spec_kind kind)
{
    memset(self, 0, sizeof(*self));
    self->kind = kind;
}

void spec_release(struct spec *self)
{
    for (unsigned i = 0; i < SPEC_TEXTS_MAX; i++) {
        MEM_FREE(self->texts[i]);
    }
    MEM_FREE(self->list);
}

static uint64_t *spec_list_copy(const uint64_t *values, size_t count)
{
    if (count == 0) {
        return NULL;
    }
    uint64_t *copy = MEM_NEW_ARRAY(count, uint64_t);
    memcpy(copy, values, count * sizeof(*copy));
    return copy;
}

/* How many values are in its list. */
static size_t spec_list_count(const struct spec *self)
{
    return self->kind == SPEC_GROUP ? (size_t) self->numbers[SPEC_GROUP_BACKOFF] : 0;
}

void spec_copy(struct spec *to, const struct spec *from)
{
    *to = *from;
    for (unsigned i = 0; i < SPEC_TEXTS_MAX; i++) {
        to->texts[i] = from->texts[i] != NULL ? mem_strdup(from->texts[i]) : NULL;
    }
    to->list = spec_list_copy(from->list, spec_list_count(from));
}

bool spec_is_given(const struct spec *self, unsigned field)
{
    return (self->given >> field & 1) != 0;
}

void spec_set(struct spec *self, unsigned field, uint64_t value)
{
    self->numbers[field] = value;
    self->given |= UINT32_C(1) << field;
}

void spec_set_text(struct spec *self, unsigned field, const char *text)
{
    char **to = &self->texts[spec_row(self, field)->slot];
    char *copy = text != NULL && text[0] != '\0' ? mem_strdup(text) : NULL;
    mem_free(*to);
    *to = copy;
    self->given |= UINT32_C(1) << field;
}

void spec_set_list(struct spec *self, unsigned field, const uint64_t *values, size_t count)
{
    uint64_t *copy = spec_list_copy(values, count);
    mem_free(self->list);
    self->list = copy;
    spec_set(self, field, count);
}

const char *spec_text(const struct spec *self, unsigned field)
{
    const char *text = self->texts[spec_row(self, field)->slot];
    return text != NULL ? text : "";
}

void spec_fill(struct spec *self)
{
    unsigned count;
    const struct spec_field *fields = spec_fields(self->kind, &count);
    for (unsigned i = 0; i < count; i++) {
        if (spec_is_given(self, i)) {
            continue;
        }
        if (spec_type_is_text(fields[i].type)) {
            spec_set_text(self, i, NULL);
        } else if (fields[i].type == SPEC_LIST) {
            spec_set_list(self, i, fields[i].normal_list, (size_t) fields[i].normal);
        } else if (self->kind == SPEC_GROUP && i == SPEC_GROUP_MAX_IN_FLIGHT_MEMBER) {
            spec_set(self, i, self->numbers[SPEC_GROUP_MAX_IN_FLIGHT]); /* a lower row: filled */
        } else {
            spec_set(self, i, fields[i].normal);
        }
    }
}

/* A member's limit that is the group's stays the group's. */
static bool spec_member_follows(const struct spec *self, const struct spec *from, uint32_t allowed)
{
    uint32_t rows =
        UINT32_C(1) << SPEC_GROUP_MAX_IN_FLIGHT | UINT32_C(1) << SPEC_GROUP_MAX_IN_FLIGHT_MEMBER;
    return self->kind == SPEC_GROUP && (allowed & rows) == rows &&
           spec_is_given(from, SPEC_GROUP_MAX_IN_FLIGHT) &&
           !spec_is_given(from, SPEC_GROUP_MAX_IN_FLIGHT_MEMBER) &&
           self->numbers[SPEC_GROUP_MAX_IN_FLIGHT_MEMBER] ==
               self->numbers[SPEC_GROUP_MAX_IN_FLIGHT];
}

void spec_merge(struct spec *self, const struct spec *from, uint32_t allowed)
{
    INVARIANT(self->kind == from->kind);
    if (spec_member_follows(self, from, allowed)) {
        spec_set(self, SPEC_GROUP_MAX_IN_FLIGHT_MEMBER, from->numbers[SPEC_GROUP_MAX_IN_FLIGHT]);
    }

    unsigned count;
    const struct spec_field *fields = spec_fields(self->kind, &count);
    for (unsigned i = 0; i < count; i++) {
        if (!spec_is_given(from, i) || (allowed >> i & 1) == 0) {
            continue;
        }
        if (spec_type_is_text(fields[i].type)) {
            spec_set_text(self, i, spec_text(from, i));
        } else if (fields[i].type == SPEC_LIST) {
            spec_set_list(self, i, from->list, (size_t) from->numbers[i]);
        } else {
            spec_set(self, i, from->numbers[i]);
        }
    }
}

bool spec_field_differs(const struct spec *a, const struct spec *b, unsigned field)
{
    const struct spec_field *row = spec_row(a, field);
    if (spec_type_is_text(row->type)) {
        return strcmp(spec_text(a, field), spec_text(b, field)) != 0;
    }
    if (a->numbers[field] != b->numbers[field]) {
        return true;
    }
    size_t size = (size_t) a->numbers[field] * sizeof(uint64_t);
    return row->type == SPEC_LIST && size > 0 && memcmp(a->list, b->list, size) != 0;
}

const char *spec_class_of(const struct spec *from, const struct spec *to, unsigned field)
{
    static const char dynamic[] = "dynamic";
    static const char immutable[] = "immutable";
    static const char shrinks[] = "shrinks_data";
    uint64_t current = from->numbers[field];
    uint64_t wanted = to->numbers[field];
    switch (spec_row(from, field)->class_) {
    case SPEC_IMMUTABLE:
        return immutable;
    case SPEC_ON_OFF:
        return (current == 0) != (wanted == 0) ? immutable : dynamic;
    case SPEC_RETENTION:
        return wanted == 0 || (current != 0 && wanted > current) ? dynamic : shrinks;
    case SPEC_STRICTER:
        return wanted > current ? shrinks : dynamic;
    case SPEC_DYNAMIC:
        break;
    }
    return dynamic;
}

void spec_format(const struct spec *self, unsigned field, struct buf *out)
{
    const struct spec_field *row = spec_row(self, field);
    uint64_t value = self->numbers[field];
    switch (row->type) {
    case SPEC_TEXT:
    case SPEC_NAME:
        buf_append_text(out, spec_text(self, field));
        return;
    case SPEC_BOOL:
        buf_append_text(out, value != 0 ? "true" : "false");
        return;
    case SPEC_LIST:
        INVARIANT(value == 0 || self->list != NULL);
        for (uint64_t i = 0; i < value; i++) {
            buf_printf(out, "%s%" PRIu64, i == 0 ? "" : ",", self->list[i]);
        }
        return;
    case SPEC_NAMED:
        if (value <= row->max) {
            buf_append_text(out, row->names[value]);
            return;
        }
        break;
    case SPEC_NUMBER:
        break;
    }
    buf_printf(out, "%" PRIu64, value);
}

/* --- limits ------------------------------------------------------------------------------------------------ */

static int spec_refuse_unbuilt(const struct spec *self, unsigned field, struct buf *problem)
{
    struct spec normal;
    spec_init(&normal, self->kind);
    spec_fill(&normal);
    buf_printf(problem, "%s: only ", spec_row(self, field)->path);
    spec_format(&normal, field, problem);
    buf_append_text(problem, " is built in so far");
    spec_release(&normal);
    return ERR_UNSUPPORTED;
}

static int spec_check_number(const struct spec *self, unsigned field, uint64_t value,
                             struct buf *problem)
{
    const struct spec_field *row = spec_row(self, field);
    if (value >= row->min && value <= row->max) {
        return row->built || value == row->normal ? 0 : spec_refuse_unbuilt(self, field, problem);
    }
    if (row->min == row->max) {
        buf_printf(problem, "%s: %" PRIu64 " asked; only %" PRIu64 " is possible", row->path, value,
                   row->min);
    } else {
        buf_printf(problem, "%s: %" PRIu64 " asked; it must be %" PRIu64 " to %" PRIu64, row->path,
                   value, row->min, row->max);
    }
    return ERR_BAD_CONFIG;
}

static int spec_check_text(const struct spec *self, unsigned field, struct buf *problem)
{
    const struct spec_field *row = spec_row(self, field);
    const char *text = spec_text(self, field);
    const char *reason =
        row->type == SPEC_NAME && text[0] != '\0' ? name_check(span_of(text)) : NULL;
    if (strlen(text) > row->max) {
        buf_printf(problem, "%s: %zu bytes; at most %" PRIu64, row->path, strlen(text), row->max);
        return ERR_BAD_CONFIG;
    }
    if (reason != NULL) {
        buf_printf(problem, "%s: %s", row->path, reason);
        return ERR_BAD_CONFIG;
    }
    return row->built || text[0] == '\0' ? 0 : spec_refuse_unbuilt(self, field, problem);
}

static int spec_check_list(const struct spec *self, unsigned field, struct buf *problem)
{
    const struct spec_field *row = spec_row(self, field);
    if (self->numbers[field] > SPEC_LIST_MAX) {
        buf_printf(problem, "%s: %" PRIu64 " values; at most %d", row->path, self->numbers[field],
                   SPEC_LIST_MAX);
        return ERR_BAD_CONFIG;
    }
    int error = 0;
    for (size_t i = 0; error == 0 && i < self->numbers[field]; i++) {
        error = spec_check_number(self, field, self->list[i], problem);
    }
    return error;
}

static int spec_check_field(const struct spec *self, unsigned field, struct buf *problem)
{
    switch (spec_row(self, field)->type) {
    case SPEC_TEXT:
    case SPEC_NAME:
        return spec_check_text(self, field, problem);
    case SPEC_LIST:
        return spec_check_list(self, field, problem);
    case SPEC_NUMBER:
    case SPEC_BOOL:
    case SPEC_NAMED:
        break;
    }
    return spec_check_number(self, field, self->numbers[field], problem);
}

int spec_check(const struct spec *self, struct buf *problem)
{
    unsigned count;
    (void) spec_fields(self->kind, &count); /* for the count */
    for (unsigned i = 0; i < count; i++) {
        int error = spec_is_given(self, i) ? spec_check_field(self, i, problem) : 0;
        if (error != 0) {
            return error;
        }
    }
    bool at_given = self->kind == SPEC_GROUP && spec_is_given(self, SPEC_GROUP_START_AT);
    uint64_t at = at_given ? self->numbers[SPEC_GROUP_START_AT] : 0;
    bool counts = at == RAILGUN__START__AT__AT_OFFSET || at == RAILGUN__START__AT__AT_LAST_N;
    if (counts && self->numbers[SPEC_GROUP_START_OFFSET] == 0) {
        buf_append_text(problem, "start.offset: needed, from 1");
        return ERR_BAD_CONFIG;
    }
    return 0;
}
