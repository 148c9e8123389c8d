/* consume_role: what a consumer does when its deliveries are taken back, or when another becomes the active one of its group: what came before is void, is
 * not shown any more, and its credit is given back by whoever takes it out of the queue. And what a consumer of an ephemeral group remembers, so that
 * it can make the group again. */
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"

#include "client/consume.h"

enum { /* ConsumeOk, GroupSpec of client.proto */
       OK_FLOOR = 5,
       OK_SPEC = 7,
       OK_GROUP = 11,
       SPEC_MODE = 1,
       SPEC_ORDER = 8,
       SPEC_DRAIN_TIMEOUT = 12,
       DRAIN_MS_DEFAULT = 30000,
};

void consumer_note_ok(struct rg_consumer *self, struct span ok)
{
    struct span spec = pb_find_bytes(ok, OK_SPEC);
    struct span group = pb_find_bytes(ok, OK_GROUP);
    uint64_t drain_ms = pb_find_varint(spec, SPEC_DRAIN_TIMEOUT);
    self->is_exclusive =
        pb_find_varint(spec, SPEC_MODE) == RAILGUN__GROUP_SPEC__MODE__MODE_EXCLUSIVE;
    atomic_store(&self->is_strict,
                 self->is_exclusive &&
                     pb_find_varint(spec, SPEC_ORDER) == RAILGUN__GROUP_SPEC__ORDER__ORDER_STRICT);
    self->group_drain_ms = drain_ms != 0 ? drain_ms : DRAIN_MS_DEFAULT;
    self->is_active = false;
    self->epoch = 0;
    if (!consumer_is_ephemeral(self)) {
        return;
    }
    if (self->group[0] == '\0' && group.size != 0) {
        mem_free(self->group);
        self->group = mem_new(group.size + 1);
        for (size_t i = 0; i < group.size; i++) {
            self->group[i] = (char) group.data[i];
        }
    }
    acks_resume_at(&self->acks, pb_find_varint(ok, OK_FLOOR) + 1);
}

bool consumer_is_ephemeral(const struct rg_consumer *self)
{
    return self->options.ephemeral;
}

void consumer_void_from(struct rg_consumer *self, uint64_t first)
{
    LIST_FOREACH (&self->deliveries, node) {
        struct delivery *delivery = LIST_ENTRY(node, struct delivery, of_queue);
        delivery->limit = first < delivery->limit ? first : delivery->limit;
    }
    if (first < atomic_load(&self->walk_limit)) {
        atomic_store(&self->walk_limit, first);
    }
    acks_void_from(&self->acks, first);
    atomic_store(&self->is_rewinding, false);
    (void) pthread_cond_broadcast(&self->changed);
}

bool consumer_role_event(struct rg_consumer *self, int type, uint64_t first, uint64_t epoch,
                         struct rg_event *ret_event)
{
    if (type == RAILGUN__GROUP_EVENT__TYPE__EVENT_REWOUND) {
        consumer_void_from(self, first);
        return false;
    }
    if (type == RAILGUN__GROUP_EVENT__TYPE__EVENT_SEEK) {
        consumer_void_from(self, 0);
        return false;
    }
    bool is_active = type == RAILGUN__GROUP_EVENT__TYPE__EVENT_ACTIVE;
    if (!is_active && type != RAILGUN__GROUP_EVENT__TYPE__EVENT_STANDBY) {
        return false;
    }
    self->is_active = is_active;
    self->epoch = is_active ? epoch : self->epoch;
    if (!is_active) {
        consumer_void_from(self, 0);
    }
    *ret_event =
        (struct rg_event){.type = is_active ? RG_EVENT_ACTIVE : RG_EVENT_STANDBY, .epoch = epoch};
    return true;
}

const char *rg_consumer_group(const struct rg_consumer *consumer)
{
    return consumer != NULL ? consumer->group : "";
}
