/* groups_drain: owns the list of members that drain. */
#include "logd/groups_drain.h"

#include "logd/logd.h"
#include "logd/stream.h"

static uint64_t drain_now_ms(const struct groups *self)
{
    return loop_now_ms(logd_loop(stream_logd(self->stream)));
}

void groups_drain(struct groups *self, struct member *member, const struct bus_message *message,
                  uint64_t drain_ms)
{
    uint64_t limit_ms = group_replicated(member->hosted->group)->limits.drain_timeout_ms;
    groups_drain_end(self, member); /* of an earlier request */
    member->drain_ticket = message->ticket;
    member->drain_type = message->type;
    member->drain_until_ms = drain_now_ms(self) + (drain_ms != 0 ? drain_ms : limit_ms);
    list_push_back(&self->draining, &member->drain_node);
    group_drain(member->hosted->group, &member->share);
    groups_touched(self, member->hosted);
}

void groups_drain_end(struct groups *self, struct member *member)
{
    if (!list_is_linked(&member->drain_node)) {
        return;
    }
    list_remove(&member->drain_node);
    if (!self->is_closing) {
        struct bus_outgoing out = {.type = member->drain_type};
        (void) bus_reply(groups_bus(self), member->drain_ticket, &out); /* or its link is down */
    }
}

uint64_t groups_drain_turn(struct groups *self, uint64_t now_ms)
{
    uint64_t next_ms = UINT64_MAX;
    LIST_FOREACH (&self->draining, node) {
        struct member *member = LIST_ENTRY(node, struct member, drain_node);
        if (ranges_total(member->share.held) == 0 || now_ms >= member->drain_until_ms) {
            member_destroy(&member, false);
        } else if (member->drain_until_ms < next_ms) {
            next_ms = member->drain_until_ms;
        }
    }
    return next_ms;
}
