/* handle_synced: RouteSynced and RouteApplied: how far a frontd is. */
#include "common/base/err.h"
#include "common/wire/pb.h"

#include "routerd/router_own.h"

enum { SYNCED_ROUND = 1, APPLIED_SEQ = 1 };

/* A message with one number. */
static int read_number(struct span meta, uint32_t number, uint64_t *ret_value)
{
    struct pb_field field;
    uint64_t value = 0;
    int result;
    while ((result = pb_next(&meta, &field)) > 0) {
        if (field.number != number) {
            continue;
        }
        if (field.type != PB_VARINT) {
            return ERR_PROTOCOL;
        }
        value = field.value;
    }
    if (result == 0) {
        *ret_value = value;
    }
    return result;
}

int handle_synced(struct router *self, struct frontd *frontd, struct span meta)
{
    uint64_t round = 0;
    int result = read_number(meta, SYNCED_ROUND, &round);
    if (result < 0) {
        return result;
    }
    /* What it had in earlier sessions and did not tell again is gone. */
    router_set_floor(self, frontd, frontd->generation);
    frontd->is_synced = true;
    frontd->wants_ready = true;
    frontd->round = round != 0 ? round : frontd->round;
    if (self->is_ready) {
        self->changes.is_wanted = true;
    }
    return 0;
}

int handle_applied(struct router *self, struct frontd *frontd, struct span meta)
{
    (void) self;
    uint64_t seq = 0;
    int result = read_number(meta, APPLIED_SEQ, &seq);
    if (result < 0 || seq > frontd->sent) {
        return ERR_PROTOCOL; /* it has applied what it was never told */
    }
    if (seq > frontd->applied) {
        frontd->applied = seq;
    }
    return 0;
}
