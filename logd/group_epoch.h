/* group_epoch: who owns an exclusive group, as its log has it. Each activation has an epoch of its own, higher than all before; it is committed before
 * the new owner gets anything. Replicated: changes by applied entries only. */
#ifndef LOGD_GROUP_EPOCH_H
#define LOGD_GROUP_EPOCH_H

#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/span.h"
#include "common/wire/pb.h"

enum { GROUP_OWNER_SIZE_MAX = 255 };

struct group_epoch {
    uint64_t epoch; /* 0: it was never active */
    struct buf owner;
};

void group_epoch_release(struct group_epoch *self);
/* Append an Epoch message as field `number`; a name that is too long is cut. */
void group_epoch_append(struct buf *out, uint32_t number, uint64_t epoch, struct span owner);
/* Check the field that holds an Epoch message; and apply it if there is a state: a lower one changes nothing. 0 or ERR_BAD_FORMAT. */
int group_epoch_apply(struct group_epoch *self, const struct pb_field *field);

#endif
