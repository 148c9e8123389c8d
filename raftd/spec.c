/* spec: see the header. Owns the three tables of fields and the translation between messages and values; decides nothing about what
 * is stored. */
#include "raftd/spec.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

/* Absolute ceilings: far above use, far below overflow. */
#define SPEC_YEARS_100_MS UINT64_C(3153600000000)
#define SPEC_BYTES_MAX    (UINT64_C(1) << 60)
#define SPEC_COUNT_MAX    UINT64_C(1000000000)

static const char *const spec_dedup_modes[] = {"off", "optional", "required"};
static const char *const spec_group_modes[] = {"shared", "exclusive"};
static const char *const spec_start_ats[] = {"default", "first",  "latest",
                                             "last_n",  "offset", "timestamp"};

static const struct spec_field spec_stream_fields[] = {
    [SPEC_STREAM_REPLICAS] = {"replicas", SPEC_NUMBER, SPEC_IMMUTABLE, 1, 1, 1, true, NULL},
    [SPEC_STREAM_MAX_AGE] = {"max_age_ms", SPEC_NUMBER, SPEC_RETENTION, 0, 0, SPEC_YEARS_100_MS,
                             false, NULL},
    [SPEC_STREAM_MAX_BYTES] = {"max_bytes", SPEC_NUMBER, SPEC_RETENTION, 0, 0, SPEC_BYTES_MAX,
                               false, NULL},
    [SPEC_STREAM_MAX_RECORDS] = {"max_records", SPEC_NUMBER, SPEC_RETENTION, 0, 0, SPEC_BYTES_MAX,
                                 false, NULL},
    [SPEC_STREAM_RECORD_MAX] = {"record_max_bytes", SPEC_NUMBER, SPEC_DYNAMIC, 0, 0, 64 << 20, true,
                                NULL},
    [SPEC_STREAM_DESCRIPTION] = {"description", SPEC_TEXT, SPEC_DYNAMIC, 0, 0, SPEC_DESCRIPTION_MAX,
                                 true, NULL},
    [SPEC_STREAM_DEDUP_MODE] = {"dedup.mode", SPEC_NAMED, SPEC_IMMUTABLE, 0, 0, 2, false,
                                spec_dedup_modes},
    [SPEC_STREAM_DEDUP_WINDOW] = {"dedup.window_ms", SPEC_NUMBER, SPEC_DYNAMIC, 600000, 1000,
                                  UINT64_C(2592000000), true, NULL},
    [SPEC_STREAM_DEDUP_MAX_IDS] = {"dedup.max_ids", SPEC_NUMBER, SPEC_DYNAMIC, 4000000, 1000,
                                   UINT64_C(1000000000), true, NULL},
    [SPEC_STREAM_DEDUP_REJECT] = {"dedup.reject_duplicates", SPEC_BOOL, SPEC_DYNAMIC, 0, 0, 1, true,
                                  NULL},
    [SPEC_STREAM_DEDUP_SHRINK] = {"dedup.shrink_when_full", SPEC_BOOL, SPEC_DYNAMIC, 0, 0, 1, true,
                                  NULL},
};

static const struct spec_field spec_group_fields[] = {
    [SPEC_GROUP_MODE] = {"mode", SPEC_NAMED, SPEC_IMMUTABLE, 0, 0, 1, false, spec_group_modes},
    [SPEC_GROUP_MAX_IN_FLIGHT] = {"max_in_flight", SPEC_NUMBER, SPEC_DYNAMIC, 10000, 1, 1000000,
                                  true, NULL},
    /* Its default is that of the group: see spec_fill. */
    [SPEC_GROUP_MAX_IN_FLIGHT_MEMBER] = {"max_in_flight_member", SPEC_NUMBER, SPEC_DYNAMIC, 10000,
                                         1, 1000000, true, NULL},
    [SPEC_GROUP_MAX_HOLES] = {"max_holes", SPEC_NUMBER, SPEC_DYNAMIC, 10000, 1, 1000000, true,
                              NULL},
    [SPEC_GROUP_ACK_WAIT] = {"ack_wait_ms", SPEC_NUMBER, SPEC_DYNAMIC, 0, 0, UINT64_C(604800000),
                             false, NULL},
    [SPEC_GROUP_START_AT] = {"start.at", SPEC_NAMED, SPEC_IMMUTABLE, 1, 1, 5, true, spec_start_ats},
    [SPEC_GROUP_START_OFFSET] = {"start.offset", SPEC_NUMBER, SPEC_IMMUTABLE, 0, 0, SPEC_BYTES_MAX,
                                 true, NULL},
    [SPEC_GROUP_START_TS] = {"start.ts_us", SPEC_NUMBER, SPEC_IMMUTABLE, 0, 0, UINT64_MAX, true,
                             NULL},
    [SPEC_GROUP_START_ALLOW_FUTURE] = {"start.allow_future", SPEC_BOOL, SPEC_IMMUTABLE, 0, 0, 1,
                                       true, NULL},
    [SPEC_GROUP_DESCRIPTION] = {"description", SPEC_TEXT, SPEC_DYNAMIC, 0, 0, SPEC_DESCRIPTION_MAX,
                                true, NULL},
};

/* 0: the server's own limit. */
static const struct spec_field spec_exchange_fields[] = {
    [SPEC_EXCHANGE_MAX_SUBSCRIPTIONS] = {"max_subscriptions", SPEC_NUMBER, SPEC_DYNAMIC, 0, 0,
                                         SPEC_COUNT_MAX, true, NULL},
    [SPEC_EXCHANGE_MAX_TOPICS] = {"max_topics", SPEC_NUMBER, SPEC_DYNAMIC, 0, 0, SPEC_COUNT_MAX,
                                  true, NULL},
    [SPEC_EXCHANGE_MAX_FANOUT] = {"max_fanout", SPEC_NUMBER, SPEC_DYNAMIC, 0, 0, SPEC_COUNT_MAX,
                                  true, NULL},
    [SPEC_EXCHANGE_DESCRIPTION] = {"description", SPEC_TEXT, SPEC_DYNAMIC, 0, 0,
                                   SPEC_DESCRIPTION_MAX, true, NULL},
};

_Static_assert(sizeof(spec_stream_fields) / sizeof(spec_stream_fields[0]) ==
                       SPEC_STREAM_FIELD_COUNT &&
                   (int) SPEC_STREAM_FIELD_COUNT <= (int) SPEC_FIELDS_MAX,
               "a row for each field of a stream");
_Static_assert(sizeof(spec_group_fields) / sizeof(spec_group_fields[0]) == SPEC_GROUP_FIELD_COUNT &&
                   (int) SPEC_GROUP_FIELD_COUNT <= (int) SPEC_FIELDS_MAX,
               "a row for each field of a group");
_Static_assert(sizeof(spec_exchange_fields) / sizeof(spec_exchange_fields[0]) ==
                       SPEC_EXCHANGE_FIELD_COUNT &&
                   (int) SPEC_EXCHANGE_FIELD_COUNT <= (int) SPEC_FIELDS_MAX,
               "a row for each field of an exchange");

const struct spec_field *spec_fields(enum spec_kind kind, unsigned *ret_count)
{
    switch (kind) {
    case SPEC_STREAM:
        *ret_count = SPEC_STREAM_FIELD_COUNT;
        return spec_stream_fields;
    case SPEC_GROUP:
        *ret_count = SPEC_GROUP_FIELD_COUNT;
        return spec_group_fields;
    case SPEC_EXCHANGE:
        break;
    }
    *ret_count = SPEC_EXCHANGE_FIELD_COUNT;
    return spec_exchange_fields;
}

/* --- values ------------------------------------------------------------------------------------------------ */

void spec_init(struct spec *self, enum spec_kind kind)
{
    memset(self, 0, sizeof(*self));
    self->kind = kind;
}

void spec_release(struct spec *self)
{
    MEM_FREE(self->description);
}

void spec_copy(struct spec *to, const struct spec *from)
{
    *to = *from;
    to->description = from->description != NULL ? mem_strdup(from->description) : NULL;
}

bool spec_is_given(const struct spec *self, unsigned field)
{
    return (self->given >> field & 1) != 0;
}

static void spec_set(struct spec *self, unsigned field, uint64_t value)
{
    self->numbers[field] = value;
    self->given |= UINT32_C(1) << field;
}

static void spec_set_description(struct spec *self, unsigned field, const char *text)
{
    mem_free(self->description);
    self->description = text != NULL && text[0] != '\0' ? mem_strdup(text) : NULL;
    self->given |= UINT32_C(1) << field;
}

void spec_fill(struct spec *self)
{
    unsigned count;
    const struct spec_field *fields = spec_fields(self->kind, &count);
    for (unsigned i = 0; i < count; i++) {
        if (spec_is_given(self, i)) {
            continue;
        }
        uint64_t value = fields[i].normal;
        if (self->kind == SPEC_GROUP && i == SPEC_GROUP_MAX_IN_FLIGHT_MEMBER) {
            value = self->numbers[SPEC_GROUP_MAX_IN_FLIGHT]; /* filled before: a lower row */
        }
        spec_set(self, i, value);
    }
}

void spec_merge(struct spec *self, const struct spec *from)
{
    INVARIANT(self->kind == from->kind);

    unsigned count;
    const struct spec_field *fields = spec_fields(self->kind, &count);
    for (unsigned i = 0; i < count; i++) {
        if (!spec_is_given(from, i)) {
            continue;
        }
        if (fields[i].type == SPEC_TEXT) {
            spec_set_description(self, i, from->description);
        } else {
            spec_set(self, i, from->numbers[i]);
        }
    }
}

static const char *spec_text(const struct spec *self)
{
    return self->description != NULL ? self->description : "";
}

bool spec_field_differs(const struct spec *a, const struct spec *b, unsigned field)
{
    unsigned count;
    const struct spec_field *fields = spec_fields(a->kind, &count);
    if (fields[field].type == SPEC_TEXT) {
        return strcmp(spec_text(a), spec_text(b)) != 0;
    }
    return a->numbers[field] != b->numbers[field];
}

void spec_format(const struct spec *self, unsigned field, struct buf *out)
{
    unsigned count;
    const struct spec_field *row = &spec_fields(self->kind, &count)[field];
    uint64_t value = self->numbers[field];
    switch (row->type) {
    case SPEC_TEXT:
        buf_append_text(out, spec_text(self));
        break;
    case SPEC_BOOL:
        buf_append_text(out, value != 0 ? "true" : "false");
        break;
    case SPEC_NAMED:
        if (value <= row->max) {
            buf_append_text(out, row->names[value]);
            break;
        }
        buf_printf(out, "%" PRIu64, value);
        break;
    case SPEC_NUMBER:
        buf_printf(out, "%" PRIu64, value);
        break;
    }
}

int spec_check(const struct spec *self, struct buf *problem)
{
    unsigned count;
    const struct spec_field *fields = spec_fields(self->kind, &count);
    for (unsigned i = 0; i < count; i++) {
        const struct spec_field *row = &fields[i];
        if (!spec_is_given(self, i)) {
            continue;
        }
        uint64_t value = row->type == SPEC_TEXT ? strlen(spec_text(self)) : self->numbers[i];
        if (value >= row->min && value <= row->max) {
            if (row->built || value == row->normal) {
                continue;
            }
            buf_printf(problem, "%s: only ", row->path);
            struct spec normal;
            spec_init(&normal, self->kind);
            spec_fill(&normal);
            spec_format(&normal, i, problem);
            buf_append_text(problem, " is built in so far");
            return ERR_UNSUPPORTED;
        }
        buf_printf(problem, "%s: ", row->path);
        if (row->type == SPEC_TEXT) {
            buf_printf(problem, "%" PRIu64 " bytes; at most %" PRIu64, value, row->max);
        } else if (row->min == row->max) {
            buf_printf(problem, "%" PRIu64 " asked; only %" PRIu64 " is possible", value, row->min);
        } else {
            buf_printf(problem, "%" PRIu64 " asked; it must be %" PRIu64 " to %" PRIu64, value,
                       row->min, row->max);
        }
        return ERR_BAD_CONFIG;
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

/* --- messages ---------------------------------------------------------------------------------------------- */

void spec_from_stream(const Railgun__StreamSpec *message, struct spec *ret_spec)
{
    spec_init(ret_spec, SPEC_STREAM);
    if (message == NULL) {
        return;
    }
    if (message->has_replicas) {
        spec_set(ret_spec, SPEC_STREAM_REPLICAS, message->replicas);
    }
    if (message->has_max_age_ms) {
        spec_set(ret_spec, SPEC_STREAM_MAX_AGE, message->max_age_ms);
    }
    if (message->has_max_bytes) {
        spec_set(ret_spec, SPEC_STREAM_MAX_BYTES, message->max_bytes);
    }
    if (message->has_max_records) {
        spec_set(ret_spec, SPEC_STREAM_MAX_RECORDS, message->max_records);
    }
    if (message->has_record_max_bytes) {
        spec_set(ret_spec, SPEC_STREAM_RECORD_MAX, message->record_max_bytes);
    }
    if (message->description != NULL) {
        spec_set_description(ret_spec, SPEC_STREAM_DESCRIPTION, message->description);
    }
    const Railgun__DedupSpec *dedup = message->dedup;
    if (dedup == NULL) {
        return;
    }
    if (dedup->has_mode) {
        spec_set(ret_spec, SPEC_STREAM_DEDUP_MODE, (uint32_t) dedup->mode);
    }
    if (dedup->has_window_ms) {
        spec_set(ret_spec, SPEC_STREAM_DEDUP_WINDOW, dedup->window_ms);
    }
    if (dedup->has_max_ids) {
        spec_set(ret_spec, SPEC_STREAM_DEDUP_MAX_IDS, dedup->max_ids);
    }
    if (dedup->has_reject_duplicates) {
        spec_set(ret_spec, SPEC_STREAM_DEDUP_REJECT, dedup->reject_duplicates != 0);
    }
    if (dedup->has_shrink_when_full) {
        spec_set(ret_spec, SPEC_STREAM_DEDUP_SHRINK, dedup->shrink_when_full != 0);
    }
}

void spec_from_group(const Railgun__GroupSpec *message, struct spec *ret_spec)
{
    spec_init(ret_spec, SPEC_GROUP);
    if (message == NULL) {
        return;
    }
    if (message->has_mode) {
        spec_set(ret_spec, SPEC_GROUP_MODE, (uint32_t) message->mode);
    }
    if (message->has_max_in_flight) {
        spec_set(ret_spec, SPEC_GROUP_MAX_IN_FLIGHT, message->max_in_flight);
    }
    if (message->has_max_in_flight_member) {
        spec_set(ret_spec, SPEC_GROUP_MAX_IN_FLIGHT_MEMBER, message->max_in_flight_member);
    }
    if (message->has_max_holes) {
        spec_set(ret_spec, SPEC_GROUP_MAX_HOLES, message->max_holes);
    }
    if (message->has_ack_wait_ms) {
        spec_set(ret_spec, SPEC_GROUP_ACK_WAIT, message->ack_wait_ms);
    }
    if (message->description != NULL) {
        spec_set_description(ret_spec, SPEC_GROUP_DESCRIPTION, message->description);
    }
    const Railgun__Start *start = message->start;
    if (start == NULL || !start->has_at || start->at == RAILGUN__START__AT__AT_DEFAULT) {
        return;
    }
    /* A start is one value in four fields: all are given or none. */
    spec_set(ret_spec, SPEC_GROUP_START_AT, (uint32_t) start->at);
    spec_set(ret_spec, SPEC_GROUP_START_OFFSET, start->has_offset ? start->offset : 0);
    spec_set(ret_spec, SPEC_GROUP_START_TS, start->has_ts_us ? start->ts_us : 0);
    spec_set(ret_spec, SPEC_GROUP_START_ALLOW_FUTURE,
             start->has_allow_future && start->allow_future != 0);
}

void spec_from_exchange(const Railgun__ExchangeSpec *message, struct spec *ret_spec)
{
    spec_init(ret_spec, SPEC_EXCHANGE);
    if (message == NULL) {
        return;
    }
    if (message->has_max_subscriptions) {
        spec_set(ret_spec, SPEC_EXCHANGE_MAX_SUBSCRIPTIONS, message->max_subscriptions);
    }
    if (message->has_max_topics) {
        spec_set(ret_spec, SPEC_EXCHANGE_MAX_TOPICS, message->max_topics);
    }
    if (message->has_max_fanout) {
        spec_set(ret_spec, SPEC_EXCHANGE_MAX_FANOUT, message->max_fanout);
    }
    if (message->description != NULL) {
        spec_set_description(ret_spec, SPEC_EXCHANGE_DESCRIPTION, message->description);
    }
}

static void spec_to_stream(const struct spec *self, struct spec_message *to)
{
    railgun__stream_spec__init(&to->stream);
    railgun__dedup_spec__init(&to->dedup);
    const uint64_t *numbers = self->numbers;
    to->stream.has_replicas = spec_is_given(self, SPEC_STREAM_REPLICAS);
    to->stream.replicas = (uint32_t) numbers[SPEC_STREAM_REPLICAS];
    to->stream.has_max_age_ms = spec_is_given(self, SPEC_STREAM_MAX_AGE);
    to->stream.max_age_ms = numbers[SPEC_STREAM_MAX_AGE];
    to->stream.has_max_bytes = spec_is_given(self, SPEC_STREAM_MAX_BYTES);
    to->stream.max_bytes = numbers[SPEC_STREAM_MAX_BYTES];
    to->stream.has_max_records = spec_is_given(self, SPEC_STREAM_MAX_RECORDS);
    to->stream.max_records = numbers[SPEC_STREAM_MAX_RECORDS];
    to->stream.has_record_max_bytes = spec_is_given(self, SPEC_STREAM_RECORD_MAX);
    to->stream.record_max_bytes = numbers[SPEC_STREAM_RECORD_MAX];
    if (spec_is_given(self, SPEC_STREAM_DESCRIPTION)) {
        to->stream.description = (char *) (uintptr_t) spec_text(self);
    }
    to->dedup.has_mode = spec_is_given(self, SPEC_STREAM_DEDUP_MODE);
    to->dedup.mode = (Railgun__DedupSpec__Mode) numbers[SPEC_STREAM_DEDUP_MODE];
    to->dedup.has_window_ms = spec_is_given(self, SPEC_STREAM_DEDUP_WINDOW);
    to->dedup.window_ms = numbers[SPEC_STREAM_DEDUP_WINDOW];
    to->dedup.has_max_ids = spec_is_given(self, SPEC_STREAM_DEDUP_MAX_IDS);
    to->dedup.max_ids = numbers[SPEC_STREAM_DEDUP_MAX_IDS];
    to->dedup.has_reject_duplicates = spec_is_given(self, SPEC_STREAM_DEDUP_REJECT);
    to->dedup.reject_duplicates = numbers[SPEC_STREAM_DEDUP_REJECT] != 0;
    to->dedup.has_shrink_when_full = spec_is_given(self, SPEC_STREAM_DEDUP_SHRINK);
    to->dedup.shrink_when_full = numbers[SPEC_STREAM_DEDUP_SHRINK] != 0;
    if (self->given >> SPEC_STREAM_DEDUP_MODE != 0) { /* its fields are the last rows */
        to->stream.dedup = &to->dedup;
    }
}

static void spec_to_group(const struct spec *self, struct spec_message *to)
{
    railgun__group_spec__init(&to->group);
    railgun__start__init(&to->start);
    const uint64_t *numbers = self->numbers;
    to->group.has_mode = spec_is_given(self, SPEC_GROUP_MODE);
    to->group.mode = (Railgun__GroupSpec__Mode) numbers[SPEC_GROUP_MODE];
    to->group.has_max_in_flight = spec_is_given(self, SPEC_GROUP_MAX_IN_FLIGHT);
    to->group.max_in_flight = (uint32_t) numbers[SPEC_GROUP_MAX_IN_FLIGHT];
    to->group.has_max_in_flight_member = spec_is_given(self, SPEC_GROUP_MAX_IN_FLIGHT_MEMBER);
    to->group.max_in_flight_member = (uint32_t) numbers[SPEC_GROUP_MAX_IN_FLIGHT_MEMBER];
    to->group.has_max_holes = spec_is_given(self, SPEC_GROUP_MAX_HOLES);
    to->group.max_holes = (uint32_t) numbers[SPEC_GROUP_MAX_HOLES];
    to->group.has_ack_wait_ms = spec_is_given(self, SPEC_GROUP_ACK_WAIT);
    to->group.ack_wait_ms = numbers[SPEC_GROUP_ACK_WAIT];
    if (spec_is_given(self, SPEC_GROUP_DESCRIPTION)) {
        to->group.description = (char *) (uintptr_t) spec_text(self);
    }
    if (spec_is_given(self, SPEC_GROUP_START_AT)) {
        to->start.has_at = 1;
        to->start.at = (Railgun__Start__At) numbers[SPEC_GROUP_START_AT];
        to->start.has_offset = numbers[SPEC_GROUP_START_OFFSET] != 0;
        to->start.offset = numbers[SPEC_GROUP_START_OFFSET];
        to->start.has_ts_us = numbers[SPEC_GROUP_START_TS] != 0;
        to->start.ts_us = numbers[SPEC_GROUP_START_TS];
        to->start.has_allow_future = numbers[SPEC_GROUP_START_ALLOW_FUTURE] != 0;
        to->start.allow_future = numbers[SPEC_GROUP_START_ALLOW_FUTURE] != 0;
        to->group.start = &to->start;
    }
}

static void spec_to_exchange(const struct spec *self, struct spec_message *to)
{
    railgun__exchange_spec__init(&to->exchange);
    const uint64_t *numbers = self->numbers;
    to->exchange.has_max_subscriptions = spec_is_given(self, SPEC_EXCHANGE_MAX_SUBSCRIPTIONS);
    to->exchange.max_subscriptions = numbers[SPEC_EXCHANGE_MAX_SUBSCRIPTIONS];
    to->exchange.has_max_topics = spec_is_given(self, SPEC_EXCHANGE_MAX_TOPICS);
    to->exchange.max_topics = numbers[SPEC_EXCHANGE_MAX_TOPICS];
    to->exchange.has_max_fanout = spec_is_given(self, SPEC_EXCHANGE_MAX_FANOUT);
    to->exchange.max_fanout = (uint32_t) numbers[SPEC_EXCHANGE_MAX_FANOUT];
    if (spec_is_given(self, SPEC_EXCHANGE_DESCRIPTION)) {
        to->exchange.description = (char *) (uintptr_t) spec_text(self);
    }
}

void spec_to_message(const struct spec *self, struct spec_message *ret_message)
{
    switch (self->kind) {
    case SPEC_STREAM:
        spec_to_stream(self, ret_message);
        break;
    case SPEC_GROUP:
        spec_to_group(self, ret_message);
        break;
    case SPEC_EXCHANGE:
        spec_to_exchange(self, ret_message);
        break;
    }
}
