/* start: from a Start message to an offset. Owns nothing. */
#include "logd/start.h"

#include "common/base/err.h"
#include "common/wire/pb.h"
#include "logd/group_state.h"

enum {
    SPEC_START = 6,
    START_FIELD_AT = 1,
    START_FIELD_OFFSET = 2,
    START_FIELD_TS = 3,
    START_FIELD_FUTURE = 4
};

int start_read(struct span bytes, struct start *ret_start)
{
    struct start start = {0};
    struct pb_field field;
    int more;
    while ((more = pb_next(&bytes, &field)) > 0) {
        if (field.number == START_FIELD_TS && field.type == PB_FIXED64) {
            start.ts_us = field.value;
        }
        if (field.type != PB_VARINT) {
            continue;
        }
        if (field.number == START_FIELD_AT) {
            if (field.value > START_TIMESTAMP) {
                return ERR_BAD_REQUEST;
            }
            start.at = (enum start_at) field.value;
        } else if (field.number == START_FIELD_OFFSET) {
            start.offset = field.value;
        } else if (field.number == START_FIELD_FUTURE) {
            start.allow_future = field.value != 0;
        }
    }
    if (more < 0) {
        return ERR_BAD_REQUEST;
    }
    *ret_start = start;
    return 0;
}

int start_of_spec(struct span spec, struct start *ret_start)
{
    struct span bytes = {0};
    struct pb_field field;
    int more;
    while ((more = pb_next(&spec, &field)) > 0) {
        if (field.number == SPEC_START && field.type == PB_BYTES) {
            bytes = field.bytes;
        }
    }
    return more < 0 ? ERR_BAD_REQUEST : start_read(bytes, ret_start);
}

static int offset_resolve(const struct start *self, enum start_gap on_gap, uint64_t first,
                          uint64_t next, uint64_t *ret_floor)
{
    if (self->offset == 0 || self->offset > GROUP_OFFSET_MAX) {
        return ERR_BAD_REQUEST;
    }
    if (self->offset > next && !self->allow_future) {
        return ERR_OUT_OF_RANGE;
    }
    if (self->offset >= first) {
        *ret_floor = self->offset - 1;
        return 0;
    }
    switch (on_gap) {
    case START_GAP_FIRST:
        *ret_floor = first - 1;
        return 0;
    case START_GAP_LATEST:
        *ret_floor = next - 1;
        return 0;
    case START_GAP_ERROR:
        break;
    }
    return ERR_OUT_OF_RANGE;
}

int start_resolve(const struct start *self, enum start_gap on_gap, uint64_t first, uint64_t next,
                  uint64_t *ret_floor)
{
    switch (self->at) {
    case START_DEFAULT:
    case START_FIRST:
        *ret_floor = first - 1;
        return 0;
    case START_LATEST:
        *ret_floor = next - 1;
        return 0;
    case START_LAST_N:
        *ret_floor = next - first > self->offset ? next - 1 - self->offset : first - 1;
        return 0;
    case START_OFFSET:
        return offset_resolve(self, on_gap, first, next, ret_floor);
    case START_TIMESTAMP:
        break;
    }
    return ERR_UNSUPPORTED;
}
