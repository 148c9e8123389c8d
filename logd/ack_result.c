/* ack_result: the list of exceptions of one acknowledgement, from the group to the wire. Owns its items. */
#include "logd/ack_result.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/pb.h"

enum { ACK_OK_RESULTS = 1, RESULT_FIRST = 1, RESULT_LAST = 2, RESULT_CODE = 3 };

void ack_results_add(struct ack_results *self, uint64_t first, uint64_t last, int error)
{
    INVARIANT(error <= 0);
    if (error == 0) {
        return;
    }
    if (self->count > 0) {
        struct ack_result *before = &self->items[self->count - 1];
        if (self->count > ACK_RESULTS_MAX) {
            before->first = first < before->first ? first : before->first;
            before->last = last > before->last ? last : before->last;
            return;
        }
        if (before->error == error && before->last + 1 == first && first != 0) {
            before->last = last;
            return;
        }
    }
    if (self->items == NULL || self->count == self->capacity) {
        self->capacity = self->capacity == 0 ? 16 : self->capacity * 2;
        self->items = mem_resize(self->items, self->capacity, sizeof *self->items);
    }
    if (self->count == ACK_RESULTS_MAX) {
        error = ERR_OVERLOADED;
    }
    self->items[self->count++] = (struct ack_result){first, last, error};
}

bool ack_results_is_full(const struct ack_results *self)
{
    return self->count >= ACK_RESULTS_MAX;
}

void ack_results_encode(const struct ack_results *self, struct buf *out)
{
    for (uint32_t i = 0; i < self->count; i++) {
        const struct ack_result *result = &self->items[i];
        uint8_t bytes[3 * (PB_TAG_SIZE_MAX + PB_VARINT_SIZE_MAX)];
        uint8_t *end = pb_put_varint(pb_put_tag(bytes, RESULT_FIRST, PB_VARINT), result->first);
        end = pb_put_varint(pb_put_tag(end, RESULT_LAST, PB_VARINT), result->last);
        end = pb_put_varint(pb_put_tag(end, RESULT_CODE, PB_VARINT), (uint64_t) -result->error);
        pb_append_bytes(out, ACK_OK_RESULTS, span_make(bytes, (size_t) (end - bytes)));
    }
}

void ack_results_reset(struct ack_results *self)
{
    self->count = 0;
}

void ack_results_release(struct ack_results *self)
{
    mem_free(self->items);
    *self = (struct ack_results){0};
}
