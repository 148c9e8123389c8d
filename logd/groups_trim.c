/* groups_trim: what becomes of groups when records are removed from under them. What a group had not settled is passed over: counted, and its
 * members are told the range. Also what retention asks of groups. The replicated part is decided by group_state_trim alone. */
#include "logd/groups.h"

#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "logd/groups_own.h"
#include "logd/logd.h"
#include "logd/stream.h"

enum { EVENT_TYPE = 1, EVENT_RANGE = 2 };

static void gap_tell(struct groups *self, struct hosted *hosted, uint64_t first, uint64_t last)
{
    struct bus *bus = groups_bus(self);
    for (struct group_member *share = group_member_next(hosted->group, NULL);
         bus != NULL && share != NULL; share = group_member_next(hosted->group, share)) {
        struct member *member = member_of(share);
        buf_reset(&self->meta);
        pb_append_varint(&self->meta, EVENT_TYPE, RAILGUN__GROUP_EVENT__TYPE__EVENT_GAP);
        group_range_append(&self->meta, EVENT_RANGE, first, last);
        struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_LOG_EVENT,
                                   .subject = member->key.consumer,
                                   .meta = buf_span(&self->meta)};
        (void) bus_event(member->link, &out); /* no room: the offsets of what follows tell it */
    }
}

void groups_trim(struct groups *self, uint64_t first_offset)
{
    size_t cursor = 0;
    struct hosted *hosted;
    while ((hosted = hash64_next(self->hosted, &cursor)) != NULL) {
        uint64_t floor = group_replicated(hosted->group)->floor;
        if (floor + 1 >= first_offset) {
            continue;
        }
        uint64_t gap = group_trim(hosted->group, first_offset);
        if (!list_is_linked(&hosted->unsaved)) {
            list_push_back(&self->unsaved, &hosted->unsaved);
        }
        if (gap != 0) {
            gap_tell(self, hosted, floor + 1, first_offset - 1);
        }
        groups_touched(self, hosted);
    }
}

size_t groups_settled_upto(const struct groups *self, uint64_t *ret_offset)
{
    uint64_t lowest = UINT64_MAX;
    size_t count = 0;
    size_t cursor = 0;
    struct hosted *hosted;
    while ((hosted = hash64_next(self->hosted, &cursor)) != NULL) {
        uint64_t floor = group_replicated(hosted->group)->floor;
        lowest = floor < lowest ? floor : lowest;
        count++;
    }
    *ret_offset = lowest;
    return count;
}

/* --- a stream's groups as a whole --- */

int groups_visit(struct groups *self, groups_save_fn *visit, void *ud)
{
    size_t cursor = 0;
    struct hosted *hosted;
    int error = 0;
    while (error == 0 && (hosted = hash64_next(self->hosted, &cursor)) != NULL) {
        const struct group_state *state = group_replicated(hosted->group);
        buf_reset(&self->meta);
        group_state_encode(state, &self->meta);
        error = visit(ud, state->id, false, buf_span(&self->meta));
    }
    return error;
}

void groups_mark_unsaved(struct groups *self)
{
    size_t cursor = 0;
    struct hosted *hosted;
    while ((hosted = hash64_next(self->hosted, &cursor)) != NULL) {
        if (!list_is_linked(&hosted->unsaved)) {
            list_push_back(&self->unsaved, &hosted->unsaved);
        }
    }
}
