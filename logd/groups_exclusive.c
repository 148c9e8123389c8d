/* groups_exclusive: what an exclusive group's members are told: who is active, what was taken back; and operators of each new owner. Decides nothing:
 * group_exclusive does. */
#include "logd/groups.h"

#include <inttypes.h>

#include "common/base/err.h"
#include "common/run/log.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"
#include "logd/events.h"
#include "logd/groups_own.h"
#include "logd/logd.h"
#include "logd/stream.h"

/* Numbers of client.proto. */
enum { EVENT_TYPE = 1, EVENT_RANGE = 2, EVENT_EPOCH = 4 };

static int news_send(struct groups *self, const struct member *member,
                     Railgun__GroupEvent__Type type, uint64_t first, uint64_t last)
{
    buf_reset(&self->meta);
    pb_append_varint(&self->meta, EVENT_TYPE, (uint64_t) type);
    if (first != 0) {
        group_range_append(&self->meta, EVENT_RANGE, first, last);
    }
    pb_append_varint(&self->meta, EVENT_EPOCH,
                     group_replicated(member->hosted->group)->epoch.epoch);
    struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_LOG_EVENT,
                               .subject = member->key.consumer,
                               .meta = buf_span(&self->meta)};
    return bus_event(member->link, &out);
}

/* What was taken back comes before the role: a standby that becomes active again begins with nothing. */
static int news_tell(struct groups *self, const struct hosted *hosted, struct member *member)
{
    struct group_member *share = &member->share;
    struct group_numbers numbers;
    int error = 0;
    if (share->standing.rewound != 0) {
        group_numbers(hosted->group, &numbers);
        uint64_t first = share->standing.rewound;
        uint64_t last = first < numbers.cursor ? numbers.cursor - 1 : first;
        error = news_send(self, member, RAILGUN__GROUP_EVENT__TYPE__EVENT_REWOUND, first, last);
        share->standing.rewound = error != ERR_AGAIN ? 0 : share->standing.rewound;
    }
    if (error != ERR_AGAIN && share->standing.tell_role) {
        if (group_member_is_active(hosted->group, share)) {
            error = news_send(self, member, RAILGUN__GROUP_EVENT__TYPE__EVENT_ACTIVE, 0, 0);
        } else if (!group_member_is_chosen(hosted->group, share)) {
            error = news_send(self, member, RAILGUN__GROUP_EVENT__TYPE__EVENT_STANDBY, 0, 0);
        }
    }
    return error;
}

void groups_exclusive_turn(struct groups *self, struct hosted *hosted)
{
    struct group *group = hosted->group;
    if (group_choose_active(group)) {
        groups_propose_soon(self, hosted);
        self->flush_now = true;
    }
    struct group_member *share;
    while ((share = group_news_first(group)) != NULL) {
        struct member *member = member_of(share);
        if (news_tell(self, hosted, member) == ERR_AGAIN) {
            group_block(group, share, true); /* until groups_link_ready */
            group_news_later(group, share);
            break;
        }
        group_told(group, share);
    }
}

void groups_exclusive_applied(struct groups *self, struct hosted *hosted)
{
    struct group *group = hosted->group;
    if (!group_epoch_began(group)) {
        return;
    }
    const struct group_state *state = group_replicated(group);
    struct event event = {
        .type = RAILGUN__EVENT__TYPE__EPOCH,
        .group = span_of(state->name),
        .epoch = state->epoch.epoch,
        .consumer = buf_span(&state->epoch.owner),
    };
    events_note(logd_events(stream_logd(self->stream)), self->stream, &event);
    groups_touched(self, hosted);
}

void groups_exclusive_check(struct groups *self, struct hosted *hosted)
{
    uint64_t faults = group_exclusive_faults(hosted->group);
    if (faults == 0) {
        return;
    }
    *self->count.check_errors += faults;
    if (hosted->check_errors == 0) {
        log_error("an exclusive group broke its order",
                  "log_group=%" PRIu64 " group=%" PRIu64 " action=\"counted; please report it\"",
                  stream_log_group(self->stream), group_replicated(hosted->group)->id);
    }
    hosted->check_errors += faults;
}
