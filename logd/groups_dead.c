/* groups_dead: dead letters of the groups of a stream: when to move what is dying, when too many died, and what an applied entry means for both. Decides
 * nothing itself: group_deaths and deadletter do. */
#include "logd/groups.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/err.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/log.pb-c.h"
#include "logd/deadletter.h"
#include "logd/groups_own.h"
#include "logd/logd.h"
#include "logd/stream.h"

uint64_t groups_dying_first(const struct hosted *hosted)
{
    const struct group_graves *dying = &group_replicated(hosted->group)->dead.dying;
    return dying->count > 0 ? dying->items[0].first : UINT64_MAX;
}

void groups_dead_applied(struct groups *self, struct hosted *hosted)
{
    struct burial *burial = &hosted->burial;
    const struct group_graves *dying = &group_replicated(hosted->group)->dead.dying;
    if (group_take_reopened(hosted->group)) {
        groups_touched(self, hosted);
    }
    if (burial->noted != 0 && group_graves_find(dying, burial->noted) == NULL) {
        burial->noted = 0;
    }
    if (dying->count == 0) {
        if (list_is_linked(&burial->node)) {
            list_remove(&burial->node);
            burial->noted = 0;
            group_block_dead(hosted->group, false);
            groups_touched(self, hosted);
        }
        return;
    }
    if (!list_is_linked(&burial->node)) {
        list_push_back(&self->burials, &burial->node);
    }
    logd_mark_dirty(stream_logd(self->stream), self->stream);
}

uint64_t groups_dead_turn(struct groups *self, uint64_t now_ms)
{
    uint64_t again = UINT64_MAX;
    for (struct list *node = self->burials.next; node != &self->burials;) {
        struct hosted *hosted = LIST_ENTRY(node, struct hosted, burial.node);
        node = node->next; /* it stays in the list until its entry is applied */
        uint64_t at_ms = deadletter_move(self, hosted, now_ms);
        again = at_ms < again ? at_ms : again;
    }
    return again;
}

void groups_dead_check(struct groups *self, struct hosted *hosted)
{
    if (!group_breaker_opened(hosted->group)) {
        return;
    }
    (*self->count.breakers)++;
    log_warn("a group is paused: too many of its messages went to the dead letters",
             "log_group=%" PRIu64 " group=%" PRIu64 " action=\"waits for group resume\"",
             stream_log_group(self->stream), group_replicated(hosted->group)->id);
    (void) groups_pause(self, hosted, RAILGUN__GROUP_PAUSE__PAUSED_BY_BREAKER);
}
