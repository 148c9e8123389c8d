/* handle_consumer: a member leaves, or may be given more. */
#include "logd/groups.h"

#include "common/base/err.h"
#include "common/wire/hot.h"
#include "common/wire/pb.h"
#include "logd/groups_own.h"

enum { DETACH_COUNT_FAILED = 1 };

void member_handle_detach(struct member *member, struct bus_message *message)
{
    struct groups *self = member->groups;
    struct span rest = message->meta;
    struct pb_field field;
    bool count_failed = false;
    while (pb_next(&rest, &field) > 0) {
        if (field.number == DETACH_COUNT_FAILED && field.type == PB_VARINT) {
            count_failed = field.value != 0;
        }
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
