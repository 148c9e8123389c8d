/* handle_consumer: a member leaves, or may be given more. */
#include "logd/groups.h"

#include "common/base/err.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"
#include "logd/groups_drain.h"
#include "logd/groups_own.h"

enum { DETACH_COUNT_FAILED = 1, DETACH_DRAIN = 2, DETACH_DRAIN_MS = 3 };

void member_handle_detach(struct member *member, struct bus_message *message)
{
    struct groups *self = member->groups;
    bool count_failed = pb_find_varint(message->meta, DETACH_COUNT_FAILED) != 0;
    if (message->is_request && member->hosted != NULL &&
        pb_find_varint(message->meta, DETACH_DRAIN) != 0) {
        groups_drain(self, member, message, pb_find_varint(message->meta, DETACH_DRAIN_MS));
        return;
    }
    member_destroy(&member, count_failed);
    if (message->is_request) {
        struct bus_outgoing out = {.type = message->type};
        (void) bus_reply(groups_bus(self), message->ticket, &out);
    }
}

void member_handle_credit(struct member *member, struct bus_message *message)
{
    struct groups *self = member->groups;
    struct hot_credit credit;
    if (member->hosted == NULL) {
        return; /* cancelled: it will hear of it */
    }
    if (hot_credit_read(message->meta, &credit) < 0) {
        (*self->count.bad_acks)++;
        return;
    }
    group_grant(member->hosted->group, &member->share, credit.messages, credit.bytes);
    groups_touched(self, member->hosted);
}
