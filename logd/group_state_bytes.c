/* group_state_bytes: the replicated part of a group as bytes: GroupState of the database, and OfGroup of the entries that change it. Bytes come
 * from our own journal, but are checked as if a stranger had written them; fields that are not known do no harm. */
#include "logd/group_state.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"

/* Numbers of log.proto. */
enum {
    STATE_GROUP_ID = 1,
    STATE_NAME = 2,
    STATE_SPEC = 3,
    STATE_FLOOR = 4,
    STATE_ACKED = 5,
    STATE_ATTEMPTS = 6,
    STATE_DELIVERED = 7,
    STATE_DELAYED = 8,
    STATE_EPOCH = 12,
    STATE_PAUSED = 13,
    STATE_GAP_RECORDS = 14,
    ACKS_GROUP_ID = 1,
    ACKS_ACKED = 2,
    ACKS_ATTEMPTS = 3,
    ACKS_DELIVERED = 4,
    ACKS_DELAYED = 5,
    ACKS_EPOCH = 10,
    ACKS_PAUSED = 11,
    ACKS_SEEK = 12,
    RANGE_FIRST = 1,
    RANGE_LAST = 2,
    ATTEMPT_ATTEMPT = 3,
    ATTEMPT_FAILED = 4,
    DELAYED_DUE = 3,
};

/* What an entry may say, in the order in which it counts. */
static const uint32_t acks_order[] = {ACKS_SEEK,        ACKS_ACKED,         ACKS_ATTEMPTS,
                                      ACKS_DELIVERED,   ACKS_DELAYED,       DEAD_ACKS_DEAD,
                                      DEAD_ACKS_BURIED, DEAD_ACKS_REPLAYED, DEAD_ACKS_DROPPED,
                                      ACKS_EPOCH,       ACKS_PAUSED};

/* --- writing --- */

void group_range_append(struct buf *out, uint32_t number, uint64_t first, uint64_t last)
{
    uint8_t bytes[2 * (PB_TAG_SIZE_MAX + PB_VARINT_SIZE_MAX)];
    uint8_t *end = pb_put_varint(pb_put_tag(bytes, RANGE_FIRST, PB_VARINT), first);
    end = pb_put_varint(pb_put_tag(end, RANGE_LAST, PB_VARINT), last);
    pb_append_bytes(out, number, span_make(bytes, (size_t) (end - bytes)));
}

void group_attempt_append(struct buf *out, uint32_t number, uint64_t first, uint64_t last,
                          struct group_tries tries)
{
    uint8_t bytes[4 * (PB_TAG_SIZE_MAX + PB_VARINT_SIZE_MAX)];
    uint8_t *end = pb_put_varint(pb_put_tag(bytes, RANGE_FIRST, PB_VARINT), first);
    end = pb_put_varint(pb_put_tag(end, RANGE_LAST, PB_VARINT), last);
    end = pb_put_varint(pb_put_tag(end, ATTEMPT_ATTEMPT, PB_VARINT), tries.attempt);
    end = pb_put_varint(pb_put_tag(end, ATTEMPT_FAILED, PB_VARINT), tries.failed);
    pb_append_bytes(out, number, span_make(bytes, (size_t) (end - bytes)));
}

void group_delayed_append(struct buf *out, uint32_t number, uint64_t first, uint64_t last,
                          uint64_t due_ms)
{
    uint8_t bytes[3 * (PB_TAG_SIZE_MAX + PB_VARINT_SIZE_MAX)];
    uint8_t *end = pb_put_varint(pb_put_tag(bytes, RANGE_FIRST, PB_VARINT), first);
    end = pb_put_varint(pb_put_tag(end, RANGE_LAST, PB_VARINT), last);
    end = pb_put_tag(end, DELAYED_DUE, PB_FIXED64);
    for (unsigned byte = 0; byte < 8; byte++) {
        *end++ = (uint8_t) (due_ms >> (8 * byte));
    }
    pb_append_bytes(out, number, span_make(bytes, (size_t) (end - bytes)));
}

void group_state_encode(const struct group_state *self, struct buf *out)
{
    pb_append_varint(out, STATE_GROUP_ID, self->id);
    pb_append_bytes(out, STATE_NAME, span_of(self->name));
    pb_append_bytes(out, STATE_SPEC, buf_span(&self->spec));
    pb_append_varint(out, STATE_FLOOR, self->floor);
    struct range range;
    for (uint64_t at = 0; ranges_find_from(self->acked, at, &range); at = range.last + 1) {
        group_range_append(out, STATE_ACKED, range.first, range.last);
    }
    for (uint64_t at = 0; ranges_find_from(self->attempts, at, &range); at = range.last + 1) {
        group_attempt_append(out, STATE_ATTEMPTS, range.first, range.last,
                             group_tries_unpack(range.value));
    }
    pb_append_varint(out, STATE_DELIVERED, self->delivered);
    for (uint64_t at = 0; ranges_find_from(self->delayed, at, &range); at = range.last + 1) {
        group_delayed_append(out, STATE_DELAYED, range.first, range.last, range.value);
    }
    group_dead_encode(&self->dead, out);
    if (self->epoch.epoch != 0) {
        group_epoch_append(out, STATE_EPOCH, self->epoch.epoch, buf_span(&self->epoch.owner));
    }
    if (self->paused != 0) {
        pb_append_varint(out, STATE_PAUSED, self->paused);
    }
    if (self->gap_records != 0) {
        pb_append_varint(out, STATE_GAP_RECORDS, self->gap_records);
    }
}

/* --- reading --- */

static bool range_is_sound(uint64_t first, uint64_t last)
{
    return first > 0 && first <= last && last <= GROUP_OFFSET_MAX;
}

static int acked_read(const struct pb_field *field, struct hot_range *ret_range)
{
    if (field->type != PB_BYTES || hot_range_read(field->bytes, ret_range) < 0 ||
        !range_is_sound(ret_range->first, ret_range->last)) {
        return ERR_BAD_FORMAT;
    }
    return 0;
}

/* An Attempt looks exactly like a Redelivered. */
static int attempt_read(const struct pb_field *field, struct hot_redelivered *ret_attempt)
{
    if (field->type != PB_BYTES || hot_redelivered_read(field->bytes, ret_attempt) < 0 ||
        !range_is_sound(ret_attempt->first, ret_attempt->last)) {
        return ERR_BAD_FORMAT;
    }
    return 0;
}

static int delayed_read(const struct pb_field *field, struct range *ret_delayed)
{
    struct range delayed = {0};
    struct span rest = field->bytes;
    struct pb_field part;
    int more;
    if (field->type != PB_BYTES) {
        return ERR_BAD_FORMAT;
    }
    while ((more = pb_next(&rest, &part)) > 0) {
        if (part.number == RANGE_FIRST && part.type == PB_VARINT) {
            delayed.first = part.value;
        } else if (part.number == RANGE_LAST && part.type == PB_VARINT) {
            delayed.last = part.value;
        } else if (part.number == DELAYED_DUE && part.type == PB_FIXED64) {
            delayed.value = part.value;
        }
    }
    if (more < 0 || !range_is_sound(delayed.first, delayed.last)) {
        return ERR_BAD_FORMAT;
    }
    *ret_delayed = delayed;
    return 0;
}

static int offset_read(const struct pb_field *field, uint64_t *ret_offset)
{
    if (field->type != PB_VARINT || field->value > GROUP_OFFSET_MAX) {
        return ERR_BAD_FORMAT;
    }
    *ret_offset = field->value;
    return 0;
}

static int apply_acked(struct group_state *self, const struct pb_field *field)
{
    struct hot_range range;
    int error = acked_read(field, &range);
    if (error == 0 && self != NULL) {
        group_state_ack(self, range.first, range.last);
    }
    return error;
}

static int apply_attempts(struct group_state *self, const struct pb_field *field)
{
    struct hot_redelivered tried;
    int error = attempt_read(field, &tried);
    if (error == 0 && self != NULL) {
        group_state_try(self, tried.first, tried.last,
                        (struct group_tries){tried.attempt, tried.failed});
    }
    return error;
}

static int apply_delivered(struct group_state *self, const struct pb_field *field)
{
    uint64_t delivered;
    int error = offset_read(field, &delivered);
    if (error == 0 && self != NULL && delivered > self->delivered) {
        self->delivered = delivered;
    }
    return error;
}

static int apply_delayed(struct group_state *self, const struct pb_field *field)
{
    struct range delayed;
    int error = delayed_read(field, &delayed);
    if (error == 0 && self != NULL) {
        group_state_delay(self, delayed.first, delayed.last, delayed.value);
    }
    return error;
}

static int apply_paused(struct group_state *self, const struct pb_field *field)
{
    if (field->type != PB_VARINT) {
        return ERR_BAD_FORMAT;
    }
    if (self != NULL) {
        self->paused = (uint32_t) field->value;
    }
    return 0;
}

static int apply_seek(struct group_state *self, const struct pb_field *field)
{
    uint64_t position;
    int error = offset_read(field, &position);
    if (error == 0 && self != NULL && position > 0) {
        group_state_seek(self, position - 1);
    }
    return error;
}

/* One field of an OfGroup: checked, and applied if there is a state. */
static int acks_field(struct group_state *self, const struct pb_field *field)
{
    switch (field->number) {
    case ACKS_ACKED:
        return apply_acked(self, field);
    case ACKS_ATTEMPTS:
        return apply_attempts(self, field);
    case ACKS_DELIVERED:
        return apply_delivered(self, field);
    case ACKS_DELAYED:
        return apply_delayed(self, field);
    case ACKS_EPOCH:
        return group_epoch_apply(self != NULL ? &self->epoch : NULL, field);
    case ACKS_PAUSED:
        return apply_paused(self, field);
    case ACKS_SEEK:
        return apply_seek(self, field);
    default:
        return group_dead_acks_field(self, field);
    }
}

int group_state_check_acks(struct span of_group, uint64_t *ret_group_id)
{
    uint64_t id = 0;
    struct pb_field field;
    int more;
    while ((more = pb_next(&of_group, &field)) > 0) {
        if (field.number == ACKS_GROUP_ID && field.type == PB_VARINT) {
            id = field.value;
        } else if (acks_field(NULL, &field) < 0) {
            return ERR_BAD_FORMAT;
        }
    }
    if (more < 0 || id == 0) {
        return ERR_BAD_FORMAT;
    }
    *ret_group_id = id;
    return 0;
}

void group_state_apply_acks(struct group_state *self, struct span of_group)
{
    uint32_t present = 0;
    struct pb_field field;
    struct span rest = of_group;
    while (pb_next(&rest, &field) > 0) {
        present |= field.number < 32 ? UINT32_C(1) << field.number : 0;
    }
    for (size_t i = 0; i < sizeof acks_order / sizeof acks_order[0]; i++) {
        if ((present & UINT32_C(1) << acks_order[i]) == 0) {
            continue;
        }
        rest = of_group;
        while (pb_next(&rest, &field) > 0) {
            if (field.number == acks_order[i]) {
                int error = acks_field(self, &field);
                INVARIANT(error == 0); /* group_state_check_acks came first */
            }
        }
    }
    INVARIANT_SLOW(group_state_invariant(self));
}

/* What has to be there before the ranges, wherever it lies. */
static int state_read_head(struct group_state *self, struct span bytes)
{
    struct span name = {0};
    struct span spec = {0};
    struct pb_field field;
    int more;
    while ((more = pb_next(&bytes, &field)) > 0) {
        if (field.number == STATE_GROUP_ID && field.type == PB_VARINT) {
            self->id = field.value;
        } else if (field.number == STATE_NAME && field.type == PB_BYTES) {
            name = field.bytes;
        } else if (field.number == STATE_SPEC && field.type == PB_BYTES) {
            spec = field.bytes;
        } else if (field.number == STATE_FLOOR && field.type == PB_VARINT) {
            self->floor = field.value;
        } else if (field.number == STATE_GAP_RECORDS && field.type == PB_VARINT) {
            self->gap_records = field.value;
        }
    }
    if (more < 0 || self->id == 0 || self->floor > GROUP_OFFSET_MAX) {
        return ERR_BAD_FORMAT;
    }
    self->delivered = self->floor;
    return group_state_configure(self, name, spec);
}

static int state_field(struct group_state *self, const struct pb_field *field)
{
    switch (field->number) {
    case STATE_ACKED:
        return apply_acked(self, field);
    case STATE_ATTEMPTS:
        return apply_attempts(self, field);
    case STATE_DELIVERED:
        return apply_delivered(self, field);
    case STATE_DELAYED:
        return apply_delayed(self, field);
    case STATE_EPOCH:
        return group_epoch_apply(&self->epoch, field);
    case STATE_PAUSED:
        return apply_paused(self, field);
    default:
        return group_dead_state_field(self, field);
    }
}

int group_state_decode(struct group_state *self, struct span bytes)
{
    group_state_init(self, 0);
    struct pb_field field;
    int error = state_read_head(self, bytes);
    /* The order is the writer's: counters come before delays. */
    while (error == 0 && pb_next(&bytes, &field) > 0) {
        error = state_field(self, &field);
    }
    if (error != 0) {
        group_state_release(self);
        return ERR_BAD_FORMAT;
    }
    return 0;
}
