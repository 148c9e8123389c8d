/* spec_wire: a specification as values and as messages, by the places in the tables. It must never judge: what a message says
 * is taken over as it is. */
#include "raftd/spec.h"

#include <string.h>

/* Protobuf-c's structs, read and written by place. */
static uint64_t spec_wire_read(const char *message, const struct spec_place *place)
{
    uint32_t small;
    uint64_t big;
    if (place->size == sizeof(small)) {
        memcpy(&small, message + place->at, sizeof(small));
        return small;
    }
    memcpy(&big, message + place->at, sizeof(big));
    return big;
}

static bool spec_wire_has(const char *message, const struct spec_place *place)
{
    protobuf_c_boolean has;
    memcpy(&has, message + place->has, sizeof(has));
    return has != 0;
}

/* Start is one value in four fields: all are given or none. */
static bool spec_wire_is_start(const struct spec_field *row)
{
    return row->place.part == SPEC_PART_START;
}

static void spec_wire_take(struct spec *self, unsigned field, const struct spec_field *row,
                           const char *message)
{
    size_t count = 0;
    void *pointer;
    switch (row->type) {
    case SPEC_TEXT:
    case SPEC_NAME:
        memcpy(&pointer, message + row->place.at, sizeof(pointer));
        if (pointer != NULL) {
            spec_set_text(self, field, (const char *) pointer);
        }
        return;
    case SPEC_LIST:
        memcpy(&pointer, message + row->place.at, sizeof(pointer));
        memcpy(&count, message + row->place.has, sizeof(count));
        if (count > 0) {
            spec_set_list(self, field, (const uint64_t *) pointer, count);
        }
        return;
    case SPEC_NUMBER:
    case SPEC_BOOL:
    case SPEC_NAMED:
        break;
    }
    bool has = spec_wire_has(message, &row->place);
    uint64_t value = has ? spec_wire_read(message, &row->place) : 0;
    if (has || spec_wire_is_start(row)) {
        spec_set(self, field, row->type == SPEC_BOOL ? value != 0 : value);
    }
}

/* `parts`: NULL where there is none. */
static void spec_from_parts(enum spec_kind kind, const void *const parts[SPEC_PARTS],
                            struct spec *ret_spec)
{
    unsigned count;
    const struct spec_field *fields = spec_fields(kind, &count);
    spec_init(ret_spec, kind);
    for (unsigned i = 0; i < count; i++) {
        const void *message = parts[fields[i].place.part];
        if (message != NULL) {
            spec_wire_take(ret_spec, i, &fields[i], (const char *) message);
        }
    }
}

void spec_from_stream(const Railgun__StreamSpec *message, struct spec *ret_spec)
{
    const void *parts[SPEC_PARTS] = {[SPEC_PART_TOP] = message};
    if (message != NULL) {
        parts[SPEC_PART_DEDUP] = message->dedup;
    }
    spec_from_parts(SPEC_STREAM, parts, ret_spec);
}

void spec_from_group(const Railgun__GroupSpec *message, struct spec *ret_spec)
{
    const void *parts[SPEC_PARTS] = {[SPEC_PART_TOP] = message};
    const Railgun__Start *start = message != NULL ? message->start : NULL;
    if (start != NULL && start->has_at && start->at != RAILGUN__START__AT__AT_DEFAULT) {
        parts[SPEC_PART_START] = start;
    }
    if (message != NULL) {
        parts[SPEC_PART_DLQ] = message->dlq;
    }
    spec_from_parts(SPEC_GROUP, parts, ret_spec);
}

void spec_from_exchange(const Railgun__ExchangeSpec *message, struct spec *ret_spec)
{
    const void *parts[SPEC_PARTS] = {[SPEC_PART_TOP] = message};
    spec_from_parts(SPEC_EXCHANGE, parts, ret_spec);
}

/* --- to messages ------------------------------------------------------------------------------------------- */

static void spec_wire_write(char *message, const struct spec_place *place, uint64_t value)
{
    uint32_t small = (uint32_t) value;
    if (place->size == sizeof(small)) {
        memcpy(message + place->at, &small, sizeof(small));
    } else {
        memcpy(message + place->at, &value, sizeof(value));
    }
}

static void spec_wire_put(const struct spec *self, unsigned field, const struct spec_field *row,
                          char *message)
{
    const void *pointer = NULL;
    uint64_t value = self->numbers[field];
    size_t count = (size_t) value;
    switch (row->type) {
    case SPEC_TEXT:
    case SPEC_NAME:
        pointer = spec_text(self, field);
        memcpy(message + row->place.at, &pointer, sizeof(pointer));
        return;
    case SPEC_LIST:
        pointer = self->list;
        memcpy(message + row->place.at, &pointer, sizeof(pointer));
        memcpy(message + row->place.has, &count, sizeof(count));
        return;
    case SPEC_NUMBER:
    case SPEC_BOOL:
    case SPEC_NAMED:
        break;
    }
    protobuf_c_boolean has = !spec_wire_is_start(row) || value != 0;
    memcpy(message + row->place.has, &has, sizeof(has));
    spec_wire_write(message, &row->place, value);
}

/* Returns which parts have a value (bit by part). */
static unsigned spec_to_parts(const struct spec *self, void *const parts[SPEC_PARTS])
{
    unsigned count;
    unsigned used = 0;
    const struct spec_field *fields = spec_fields(self->kind, &count);
    for (unsigned i = 0; i < count; i++) {
        if (spec_is_given(self, i)) {
            spec_wire_put(self, i, &fields[i], (char *) parts[fields[i].place.part]);
            used |= 1U << fields[i].place.part;
        }
    }
    return used;
}

static void spec_to_stream(const struct spec *self, struct spec_message *to)
{
    void *const parts[SPEC_PARTS] = {[SPEC_PART_TOP] = &to->stream, [SPEC_PART_DEDUP] = &to->dedup};
    railgun__stream_spec__init(&to->stream);
    railgun__dedup_spec__init(&to->dedup);
    unsigned used = spec_to_parts(self, parts);
    to->stream.dedup = (used >> SPEC_PART_DEDUP & 1) != 0 ? &to->dedup : NULL;
}

static void spec_to_group(const struct spec *self, struct spec_message *to)
{
    void *const parts[SPEC_PARTS] = {
        [SPEC_PART_TOP] = &to->group, [SPEC_PART_START] = &to->start, [SPEC_PART_DLQ] = &to->dlq};
    railgun__group_spec__init(&to->group);
    railgun__start__init(&to->start);
    railgun__dlq_spec__init(&to->dlq);
    unsigned used = spec_to_parts(self, parts);
    to->group.start = (used >> SPEC_PART_START & 1) != 0 ? &to->start : NULL;
    to->group.dlq = (used >> SPEC_PART_DLQ & 1) != 0 ? &to->dlq : NULL;
}

void spec_to_message(const struct spec *self, struct spec_message *ret_message)
{
    void *const parts[SPEC_PARTS] = {[SPEC_PART_TOP] = &ret_message->exchange};
    switch (self->kind) {
    case SPEC_STREAM:
        spec_to_stream(self, ret_message);
        break;
    case SPEC_GROUP:
        spec_to_group(self, ret_message);
        break;
    case SPEC_EXCHANGE:
        railgun__exchange_spec__init(&ret_message->exchange);
        (void) spec_to_parts(self, parts); /* it has one part */
        break;
    }
}
