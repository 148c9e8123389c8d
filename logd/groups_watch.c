/* groups_watch: two things that nobody asks for: a consumer with credit that gets nothing although there is something is put in again, and a group that had no
 * members for its inactive_ttl is deleted. The second is the catalogue's to do: logd asks, lets nobody in meanwhile, and goes on asking until there is
 * an answer; the group ends when the catalogue says that it is gone, as always. */
#include "logd/groups.h"

#include <inttypes.h>

#include "common/base/err.h"
#include "common/run/log.h"
#include "logd/groups_own.h"
#include "logd/logd.h"
#include "logd/stream.h"

static uint64_t watch_now_ms(const struct groups *self)
{
    return loop_now_ms(logd_loop(stream_logd(self->stream)));
}

/* --- who stands still --- */

static void timer_by(struct groups *self, uint64_t at_ms)
{
    self->timer_at_ms = at_ms < self->timer_at_ms ? at_ms : self->timer_at_ms;
}

bool groups_watch_turn(struct groups *self, struct hosted *hosted, bool has_delivered, uint64_t end)
{
    uint64_t now_ms = watch_now_ms(self);
    if (has_delivered) {
        hosted->still_since_ms = 0;
        return false;
    }
    if (hosted->still_since_ms == 0) {
        if (!group_is_standing_still(hosted->group, end)) {
            return false;
        }
        hosted->still_since_ms = now_ms;
    }
    uint64_t at_ms = hosted->still_since_ms + GROUPS_STILL_MS;
    if (now_ms < at_ms) {
        timer_by(self, at_ms);
        return false;
    }
    hosted->still_since_ms = 0;
    if (!group_is_standing_still(hosted->group, end)) {
        return false;
    }
    for (struct group_member *share = group_member_next(hosted->group, NULL); share != NULL;
         share = group_member_next(hosted->group, share)) {
        struct member *member = member_of(share);
        member->is_revived = groups_tell_owed(self, member);
        group_block(hosted->group, share, !member->is_revived);
    }
    timer_by(self, now_ms + GROUPS_STILL_MS);
    return true;
}

void groups_watch_helped(struct groups *self, struct hosted *hosted, struct member *member)
{
    member->is_revived = false;
    hosted->reattached++;
    (*self->count.reattached)++;
    groups_note(self, hosted,
                &(struct event){.type = RAILGUN__EVENT__TYPE__REATTACHED,
                                .consumer = span_of(member->name)});
    log_warn("a consumer stood still and was put in again",
             "log_group=%" PRIu64 " group=%" PRIu64
             " consumer=%s action=\"counted; please report it\"",
             stream_log_group(self->stream), group_replicated(hosted->group)->id, member->name);
}

/* --- who is not used any more --- */

static bool is_awaited(const struct groups *self, uint64_t group_id)
{
    LIST_FOREACH (&self->attaches, node) {
        if (LIST_ENTRY(node, struct attach, node)->group_id == group_id) {
            return true;
        }
    }
    return false;
}

static bool may_expire(const struct hosted *hosted)
{
    return !hosted->is_ephemeral && group_member_count(hosted->group) == 0 &&
           group_replicated(hosted->group)->limits.inactive_ttl_ms != 0;
}

void groups_idle(struct groups *self, struct hosted *hosted)
{
    hosted->idle_since_ms = watch_now_ms(self);
    if (may_expire(hosted)) {
        uint64_t at_ms =
            hosted->idle_since_ms + group_replicated(hosted->group)->limits.inactive_ttl_ms;
        self->expiry_at_ms = at_ms < self->expiry_at_ms ? at_ms : self->expiry_at_ms;
        logd_mark_dirty(stream_logd(self->stream), self->stream);
    }
}

uint64_t groups_expiry_turn(struct groups *self, uint64_t now_ms)
{
    size_t cursor = 0;
    struct hosted *hosted;
    if (now_ms == UINT64_MAX || now_ms < self->expiry_at_ms) {
        return self->expiry_at_ms;
    }
    self->expiry_at_ms = UINT64_MAX;
    while ((hosted = hash64_next(self->hosted, &cursor)) != NULL) {
        const struct group_state *state = group_replicated(hosted->group);
        if (!may_expire(hosted) && !hosted->is_expiring) {
            continue;
        }
        uint64_t at_ms = hosted->idle_since_ms + state->limits.inactive_ttl_ms;
        if (hosted->is_expiring || (at_ms <= now_ms && !is_awaited(self, state->id))) {
            hosted->is_expiring = true;
            logd_expire_group(stream_logd(self->stream), self->stream, state->id, state->name);
            at_ms = now_ms + GROUPS_EXPIRY_AGAIN_MS;
        }
        self->expiry_at_ms = at_ms < self->expiry_at_ms ? at_ms : self->expiry_at_ms;
    }
    return self->expiry_at_ms;
}

void groups_expiry_refused(struct groups *self, uint64_t group_id)
{
    struct hosted *hosted = groups_find(self, group_id);
    if (hosted != NULL && hosted->is_expiring) {
        hosted->is_expiring = false;
        groups_idle(self, hosted);
    }
}
