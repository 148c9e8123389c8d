/* groups_exclusive: what an exclusive group's members are told: who is active, what was taken back; and operators of each new owner. Decides nothing:
 * group_exclusive does. */
#include "logd/groups.h"

#include <inttypes.h>

#include "common/run/log.h"
#include "common/wire/client.pb-c.h"
#include "logd/events.h"
#include "logd/groups_own.h"
#include "logd/stream.h"

/* What was taken back comes before the role: a standby that becomes active again begins with nothing. */
static void news_tell(struct groups *self, const struct hosted *hosted, struct member *member)
{
    const struct group_member *share = &member->share;
    const uint64_t epoch = group_replicated(hosted->group)->epoch.epoch;
    struct told told = {.epoch = epoch};
    if (share->standing.rewound != 0) {
        struct group_numbers numbers;
        group_numbers(hosted->group, &numbers);
        told.type = RAILGUN__GROUP_EVENT__TYPE__EVENT_REWOUND;
        told.first = share->standing.rewound;
        told.last = told.first < numbers.cursor ? numbers.cursor - 1 : told.first;
        groups_tell_member(self, member, &told);
    }
    bool is_active = group_member_is_active(hosted->group, share);
    if (share->standing.tell_role && (is_active || !group_member_is_chosen(hosted->group, share))) {
        told = (struct told){.type = is_active ? RAILGUN__GROUP_EVENT__TYPE__EVENT_ACTIVE
                                               : RAILGUN__GROUP_EVENT__TYPE__EVENT_STANDBY,
                             .epoch = epoch};
        groups_tell_member(self, member, &told);
    }
}

void groups_exclusive_turn(struct groups *self, struct hosted *hosted)
{
    struct group *group = hosted->group;
    const struct group_member *waits = NULL;
    struct group_member *share;
    if (group_choose_active(group)) {
        groups_propose_soon(self, hosted);
        self->flush_now = true;
    }
    while ((share = group_news_first(group)) != NULL && share != waits) {
        if (member_of(share)->owed_count == 0) {
            news_tell(self, hosted, member_of(share));
            group_told(group, share);
        } else { /* its link takes nothing: in order, and nothing is delivered meanwhile */
            waits = waits == NULL ? share : waits;
            group_news_later(group, share);
        }
    }
}

bool groups_put_back(struct groups *self, struct hosted *hosted, uint64_t number,
                     uint64_t *ret_released)
{
    for (struct group_member *share = group_member_next(hosted->group, NULL); share != NULL;
         share = group_member_next(hosted->group, share)) {
        if (share->number == number) {
            *ret_released = ranges_total(share->held);
            bool is_done = group_put_back(hosted->group, share);
            groups_touched(self, hosted);
            return is_done;
        }
    }
    return false;
}

void groups_exclusive_applied(struct groups *self, struct hosted *hosted)
{
    struct group *group = hosted->group;
    if (!group_epoch_began(group)) {
        return;
    }
    const struct group_epoch *epoch = &group_replicated(group)->epoch;
    groups_note(self, hosted,
                &(struct event){.type = RAILGUN__EVENT__TYPE__EPOCH,
                                .epoch = epoch->epoch,
                                .consumer = buf_span(&epoch->owner)});
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
