/* member: a consumer in its group, from attaching to leaving. Owns its texts; borrows the link, which outlives it: when
 * a link goes down, groups_link_down removes its members. */
#include "logd/member.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "logd/groups_drain.h"
#include "logd/groups_own.h"
#include "logd/logd.h"
#include "logd/stream.h"

static_assert(offsetof(struct member, share) == 0, "member_of needs it");

enum { CANCEL_CODE = 1, CANCEL_DETAIL = 2, CANCEL_LAST_OFFSET = 3 };

struct member *member_new(struct groups *groups, struct hosted *hosted, struct bus_link *link,
                          uint64_t consumer, char **name, char **address)
{
    struct member *self = MEM_NEW(struct member);
    self->groups = groups;
    self->hosted = hosted;
    self->link = link;
    self->key = (struct member_key){bus_link_id(link), consumer};
    self->name = *name;
    self->address = *address;
    *name = NULL;
    *address = NULL;
    list_init(&self->cancel_node);
    list_init(&self->drain_node);
    group_join(hosted->group, &self->share, ++groups->member_last);
    groups->member_count++;
    ephemeral_busy(groups, hosted);
    if (!list_is_linked(&hosted->active)) {
        list_push_back(&groups->active, &hosted->active);
    }
    members_put(logd_members(stream_logd(groups->stream)), self);
    return self;
}

static void member_leave(struct member *self, bool count_failed)
{
    struct hosted *hosted = self->hosted;
    self->hosted = NULL;
    groups_tick(self->groups, hosted);
    group_leave(hosted->group, &self->share, count_failed);
    if (group_member_count(hosted->group) == 0) {
        list_remove(&hosted->active);
        groups_idle(self->groups, hosted);
        if (hosted->is_ephemeral) {
            ephemeral_rests(self->groups, hosted);
        }
    }
    groups_touched(self->groups, hosted);
    group_rest(hosted->group);
}

void member_destroy(struct member **self, bool count_failed)
{
    struct member *member = *self;
    groups_drain_end(member->groups, member);
    if (member->hosted != NULL) {
        member_leave(member, count_failed);
    }
    list_remove(&member->cancel_node);
    members_remove(logd_members(stream_logd(member->groups->stream)), member);
    member->groups->member_count--;
    MEM_FREE(member->owed);
    MEM_FREE(member->name);
    MEM_FREE(member->address);
    MEM_FREE(*self);
}

void member_cancel(struct member *self, int error)
{
    self->cancel_last =
        self->hosted->is_ephemeral ? group_replicated(self->hosted->group)->floor : 0;
    member_leave(self, false);
    self->cancel_error = error;
    list_push_back(&self->groups->cancels, &self->cancel_node);
}

bool members_tell_cancelled(struct groups *groups)
{
    bool all = true;
    LIST_FOREACH (&groups->cancels, node) {
        struct member *member = LIST_ENTRY(node, struct member, cancel_node);
        buf_reset(&groups->meta);
        pb_append_varint(&groups->meta, CANCEL_CODE, (uint64_t) -member->cancel_error);
        pb_append_bytes(&groups->meta, CANCEL_DETAIL, span_of(err_text(member->cancel_error)));
        if (member->cancel_last != 0) {
            pb_append_varint(&groups->meta, CANCEL_LAST_OFFSET, member->cancel_last);
        }
        struct bus_outgoing out = {.type = RAILGUN__BUS_TYPE__BUS_LOG_CANCEL,
                                   .subject = member->key.consumer,
                                   .meta = buf_span(&groups->meta)};
        if (bus_event(member->link, &out) == ERR_AGAIN) {
            all = false;
            continue;
        }
        member_destroy(&member, false);
    }
    return all;
}
