/* group_epoch: the epoch of an exclusive group and its owner's name. Owns the name. The epoch never falls. */
#include "logd/group_epoch.h"

#include "common/base/err.h"

enum { EPOCH_EPOCH = 1, EPOCH_OWNER = 2 };

void group_epoch_release(struct group_epoch *self)
{
    buf_release(&self->owner);
    self->epoch = 0;
}

void group_epoch_append(struct buf *out, uint32_t number, uint64_t epoch, struct span owner)
{
    uint8_t bytes[3 * (PB_TAG_SIZE_MAX + PB_VARINT_SIZE_MAX) + GROUP_OWNER_SIZE_MAX];
    size_t size = owner.size < GROUP_OWNER_SIZE_MAX ? owner.size : GROUP_OWNER_SIZE_MAX;
    while (size > 0 && !pb_is_text(span_make(owner.data, size))) {
        size--; /* not in the middle of a character */
    }
    uint8_t *end = pb_put_varint(pb_put_tag(bytes, EPOCH_EPOCH, PB_VARINT), epoch);
    end = pb_put_varint(pb_put_tag(end, EPOCH_OWNER, PB_BYTES), size);
    for (size_t i = 0; i < size; i++) {
        *end++ = owner.data[i];
    }
    pb_append_bytes(out, number, span_make(bytes, (size_t) (end - bytes)));
}

int group_epoch_apply(struct group_epoch *self, const struct pb_field *field)
{
    struct span rest = field->bytes;
    struct span owner = {0};
    uint64_t epoch = 0;
    struct pb_field part;
    int more;
    if (field->type != PB_BYTES) {
        return ERR_BAD_FORMAT;
    }
    while ((more = pb_next(&rest, &part)) > 0) {
        if (part.number == EPOCH_EPOCH && part.type == PB_VARINT) {
            epoch = part.value;
        } else if (part.number == EPOCH_OWNER && part.type == PB_BYTES) {
            owner = part.bytes;
        }
    }
    if (more < 0 || epoch == 0 || owner.size > GROUP_OWNER_SIZE_MAX || !pb_is_text(owner)) {
        return ERR_BAD_FORMAT;
    }
    if (self != NULL && epoch > self->epoch) {
        self->epoch = epoch;
        buf_reset(&self->owner);
        buf_append(&self->owner, owner);
    }
    return 0;
}
