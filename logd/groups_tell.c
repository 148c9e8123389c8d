/* groups_tell: what members and operators hear of besides messages. An event that a member's link does not take waits with the member, before
 * anything else that goes to it; operators (logd/events.h) may miss some. */
#include "logd/groups.h"

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/log.pb-c.h"
#include "common/wire/pb.h"
#include "logd/groups_own.h"
#include "logd/logd.h"
#include "logd/stream.h"

enum { EVENT_TYPE = 1, EVENT_RANGE = 2, EVENT_COUNT = 3, EVENT_EPOCH = 4 }; /* of client.proto */

static int told_send(struct groups *self, const struct member *member, const struct told *told)
{
    buf_reset(&self->meta);
    pb_append_varint(&self->meta, EVENT_TYPE, (uint64_t) told->type);
    if (told->first != 0) {
        group_range_append(&self->meta, EVENT_RANGE, told->first, told->last);
    }
    if (told->count != 0) {
        pb_append_varint(&self->meta, EVENT_COUNT, told->count);
    }
    if (told->epoch != 0) {
        pb_append_varint(&self->meta, EVENT_EPOCH, told->epoch);
    }
    struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_LOG_EVENT,
                               .subject = member->key.consumer,
                               .meta = buf_span(&self->meta)};
    return bus_event(member->link, &out);
}

static void told_keep(struct member *member, const struct told *told)
{
    struct told *last = member->owed_count > 0 ? &member->owed[member->owed_count - 1] : NULL;
    if (member->owed_count < MEMBER_OWED_MAX) {
        if (member->owed == NULL) {
            member->owed = mem_new(MEMBER_OWED_MAX * sizeof *member->owed);
        }
        member->owed[member->owed_count++] = *told;
    } else if (last->type == told->type && told->first != 0 && last->first != 0) {
        last->first = told->first < last->first ? told->first : last->first;
        last->last = told->last > last->last ? told->last : last->last;
        last->count += told->count;
    }
}

void groups_tell_member(struct groups *self, struct member *member, const struct told *told)
{
    if (member->owed_count == 0 && told_send(self, member, told) != ERR_AGAIN) {
        return; /* told, or its link is gone, and the member soon */
    }
    told_keep(member, told);
    group_block(member->hosted->group, &member->share, true); /* until groups_link_ready */
}

void groups_tell_all(struct groups *self, struct hosted *hosted, const struct told *told)
{
    for (struct group_member *share = group_member_next(hosted->group, NULL); share != NULL;
         share = group_member_next(hosted->group, share)) {
        groups_tell_member(self, member_of(share), told);
    }
}

void groups_tell_paused(struct groups *self, struct member *member)
{
    uint32_t paused = group_pause_reason(member->hosted->group);
    if (paused == RAILGUN__GROUP_PAUSE__NOT_PAUSED) {
        return;
    }
    struct told told = {.type = RAILGUN__GROUP_EVENT__TYPE__EVENT_PAUSED};
    if (paused == RAILGUN__GROUP_PAUSE__PAUSED_BY_BREAKER) {
        told.type = RAILGUN__GROUP_EVENT__TYPE__EVENT_BREAKER;
    }
    groups_tell_member(self, member, &told);
}

bool groups_tell_owed(struct groups *self, struct member *member)
{
    unsigned told = 0;
    while (told < member->owed_count && told_send(self, member, &member->owed[told]) != ERR_AGAIN) {
        told++;
    }
    member->owed_count -= told;
    if (member->owed_count > 0) {
        memmove(member->owed, member->owed + told, member->owed_count * sizeof *member->owed);
        return false;
    }
    MEM_FREE(member->owed);
    return true;
}

void groups_note(struct groups *self, const struct hosted *hosted, struct event *event)
{
    const struct group_state *state = group_replicated(hosted->group);
    event->group = span_of(state->name);
    events_note(logd_events(stream_logd(self->stream)), self->stream, event);
}
