/* group_state: floor, acknowledged ranges and attempt counters of one group. Owns its maps and copies of name and
 * configuration. It must stay deterministic: no clock, no chance, no member, nothing but the entries decides. Bytes come
 * from our own journal, but are checked as if a stranger had written them. */
#include "logd/group_state.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"

/* Numbers of log.proto and client.proto. */
enum {
    STATE_GROUP_ID = 1,
    STATE_NAME = 2,
    STATE_SPEC = 3,
    STATE_FLOOR = 4,
    STATE_ACKED = 5,
    STATE_ATTEMPTS = 6,
    ACKS_GROUP_ID = 1,
    ACKS_ACKED = 2,
    ACKS_ATTEMPTS = 3,
    SPEC_MODE = 1,
    SPEC_IN_FLIGHT = 2,
    SPEC_IN_FLIGHT_MEMBER = 3,
    SPEC_HOLES = 4,
    RANGE_FIRST = 1,
    RANGE_LAST = 2,
    ATTEMPT_ATTEMPT = 3,
    ATTEMPT_FAILED = 4,
};

void group_state_init(struct group_state *self, uint64_t id)
{
    *self = (struct group_state){
        .id = id,
        .name = mem_strdup(""),
        .limits = {.in_flight_max = GROUP_IN_FLIGHT_DEFAULT,
                   .member_in_flight_max = GROUP_IN_FLIGHT_DEFAULT,
                   .holes_max = GROUP_HOLES_DEFAULT},
        .acked = ranges_new(),
        .attempts = ranges_new(),
    };
}

void group_state_release(struct group_state *self)
{
    ranges_destroy(&self->acked);
    ranges_destroy(&self->attempts);
    buf_release(&self->spec);
    MEM_FREE(self->name);
}

/* --- configuration --- */

static int limits_read(struct span spec, struct group_limits *ret_limits)
{
    struct group_limits limits = {0};
    struct pb_field field;
    int more;
    while ((more = pb_next(&spec, &field)) > 0) {
        if (field.type != PB_VARINT) {
            continue;
        }
        switch (field.number) {
        case SPEC_MODE:
            limits.is_exclusive = field.value != 0;
            break;
        case SPEC_IN_FLIGHT:
            limits.in_flight_max = (uint32_t) field.value;
            break;
        case SPEC_IN_FLIGHT_MEMBER:
            limits.member_in_flight_max = (uint32_t) field.value;
            break;
        case SPEC_HOLES:
            limits.holes_max = (uint32_t) field.value;
            break;
        default:
            break;
        }
    }
    if (more < 0) {
        return ERR_BAD_FORMAT;
    }
    if (limits.in_flight_max == 0) {
        limits.in_flight_max = GROUP_IN_FLIGHT_DEFAULT;
    }
    if (limits.member_in_flight_max == 0) {
        limits.member_in_flight_max = limits.in_flight_max;
    }
    if (limits.holes_max == 0) {
        limits.holes_max = GROUP_HOLES_DEFAULT;
    }
    *ret_limits = limits;
    return 0;
}

int group_state_configure(struct group_state *self, struct span name, struct span spec)
{
    if (!pb_is_text(name) || limits_read(spec, &self->limits) < 0) {
        return ERR_BAD_FORMAT;
    }
    MEM_FREE(self->name);
    self->name = mem_new(name.size + 1);
    if (name.size > 0) {
        memcpy(self->name, name.data, name.size);
    }
    buf_reset(&self->spec);
    buf_append(&self->spec, spec);
    return 0;
}

/* --- changes --- */

void group_state_ack(struct group_state *self, uint64_t first, uint64_t last)
{
    INVARIANT(first <= last);
    if (last <= self->floor) {
        return;
    }
    if (ranges_count(self->attempts) > 0) {
        ranges_clear_range(self->attempts, first, last);
    }
    if (first > self->floor + 1) {
        ranges_set(self->acked, first, last, 0);
        return;
    }
    self->floor = last;
    struct range next;
    while (ranges_lowest(self->acked, &next) && next.first <= self->floor + 1) {
        self->floor = next.last > self->floor ? next.last : self->floor;
        ranges_clear_range(self->acked, next.first, next.last);
    }
}

void group_state_try(struct group_state *self, uint64_t first, uint64_t last,
                     struct group_tries tries)
{
    INVARIANT(first <= last);
    uint64_t at = first > self->floor ? first : self->floor + 1;
    while (at <= last) {
        struct range acked;
        uint64_t until = last;
        if (ranges_find_from(self->acked, at, &acked) && acked.first <= last) {
            if (acked.first <= at) {
                at = acked.last + 1;
                continue;
            }
            until = acked.first - 1;
        }
        ranges_set(self->attempts, at, until, group_tries_pack(tries));
        at = until + 1;
    }
}

/* --- bytes --- */

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
}

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

/* Fields other than the ranges. */
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
        }
    }
    if (more < 0 || self->id == 0 || self->floor > GROUP_OFFSET_MAX) {
        return ERR_BAD_FORMAT;
    }
    return group_state_configure(self, name, spec);
}

static int state_read_ranges(struct group_state *self, struct span bytes, uint32_t acked,
                             uint32_t attempts)
{
    struct pb_field field;
    int more;
    while ((more = pb_next(&bytes, &field)) > 0) {
        struct hot_range range;
        struct hot_redelivered tried;
        if (field.number == acked) {
            if (acked_read(&field, &range) < 0) {
                return ERR_BAD_FORMAT;
            }
            group_state_ack(self, range.first, range.last);
        } else if (field.number == attempts) {
            if (attempt_read(&field, &tried) < 0) {
                return ERR_BAD_FORMAT;
            }
            group_state_try(self, tried.first, tried.last,
                            (struct group_tries){tried.attempt, tried.failed});
        }
    }
    return more < 0 ? ERR_BAD_FORMAT : 0;
}

int group_state_decode(struct group_state *self, struct span bytes)
{
    group_state_init(self, 0);
    if (state_read_head(self, bytes) < 0 ||
        state_read_ranges(self, bytes, STATE_ACKED, STATE_ATTEMPTS) < 0) {
        group_state_release(self);
        return ERR_BAD_FORMAT;
    }
    return 0;
}

int group_state_check_acks(struct span of_group, uint64_t *ret_group_id)
{
    uint64_t id = 0;
    struct pb_field field;
    int more;
    while ((more = pb_next(&of_group, &field)) > 0) {
        struct hot_range range;
        struct hot_redelivered tried;
        if (field.number == ACKS_GROUP_ID && field.type == PB_VARINT) {
            id = field.value;
        } else if ((field.number == ACKS_ACKED && acked_read(&field, &range) < 0) ||
                   (field.number == ACKS_ATTEMPTS && attempt_read(&field, &tried) < 0)) {
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
    /* The counters first: what was tried again and then acknowledged within one entry must end without counters. Field
     * number 0 is in no message. */
    int failed = state_read_ranges(self, of_group, 0, ACKS_ATTEMPTS);
    failed |= state_read_ranges(self, of_group, ACKS_ACKED, 0);
    INVARIANT(failed == 0); /* group_state_check_acks came first */
    INVARIANT_SLOW(group_state_invariant(self));
}

bool group_state_invariant(const struct group_state *self)
{
    struct range range;
    if (!ranges_invariant(self->acked) || !ranges_invariant(self->attempts)) {
        return false;
    }
    if (ranges_lowest(self->acked, &range) && range.first <= self->floor + 1) {
        return false;
    }
    for (uint64_t at = 0; ranges_find_from(self->attempts, at, &range); at = range.last + 1) {
        struct range acked;
        if (range.first <= self->floor ||
            (ranges_find_from(self->acked, range.first, &acked) && acked.first <= range.last)) {
            return false;
        }
    }
    return true;
}
