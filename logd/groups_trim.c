/* groups_trim: what becomes of groups when records are removed from under them. What a group had not settled is passed over: counted, and its
 * members are told the range. Also what retention asks of groups. The replicated part is decided by group_state_trim alone. */
#include "logd/groups.h"

#include "common/wire/client.pb-c.h"
#include "logd/groups_own.h"
#include "logd/logd.h"
#include "logd/planted.h"
#include "logd/stream.h"

/* Groups in memory are nobody's but the leader's. */
static void hosted_note_unsaved(struct groups *self, struct hosted *hosted)
{
    if (!hosted->is_ephemeral && !list_is_linked(&hosted->unsaved)) {
        list_push_back(&self->unsaved, &hosted->unsaved);
    }
}

void groups_trim_one(struct groups *self, struct hosted *hosted, uint64_t first_offset)
{
    uint64_t floor = group_replicated(hosted->group)->floor;
    if (floor + 1 >= first_offset) {
        return;
    }
    uint64_t gap = group_trim(hosted->group, first_offset);
    hosted_note_unsaved(self, hosted);
    if (gap != 0) {
        const struct told told = {.type = RAILGUN__GROUP_EVENT__TYPE__EVENT_GAP,
                                  .first = floor + 1,
                                  .last = first_offset - 1 + (PLANTED(GAP_TOO_LONG) ? 9999 : 0),
                                  .count = gap};
        *self->count.gap_records += gap;
        groups_tell_all(self, hosted, &told);
        groups_note(self, hosted,
                    &(struct event){.type = RAILGUN__EVENT__TYPE__GAP,
                                    .first = told.first,
                                    .last = told.last,
                                    .count = gap});
    }
    groups_touched(self, hosted);
}

void groups_trim(struct groups *self, uint64_t first_offset)
{
    size_t cursor = 0;
    struct hosted *hosted;
    while ((hosted = hash64_next(self->hosted, &cursor)) != NULL) {
        groups_trim_one(self, hosted, first_offset);
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
        if (!hosted->is_ephemeral) {
            uint64_t dying = groups_dying_first(hosted);
            lowest = floor < lowest ? floor : lowest;
            lowest = dying <= lowest ? dying - 1 : lowest; /* they are still to be read */
            count++;
        }
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
        if (hosted->is_ephemeral) {
            continue;
        }
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
        hosted_note_unsaved(self, hosted);
    }
}
