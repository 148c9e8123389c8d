/* groups_flush: from what members said to entries of the stream's log, and back: acknowledgements of all groups of a stream are
 * gathered for a few milliseconds and proposed as one entry; who asked for it (sync) is answered when that is applied. */
#include "logd/groups.h"

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/wire/pb.h"
#include "logd/groups_drain.h"
#include "logd/groups_own.h"
#include "logd/kinds.h"
#include "logd/logd.h"
#include "logd/stream.h"

enum { ENTRY_GROUP_ID = 1, ENTRY_DELETED = 5, ENTRY_ACKS_GROUPS = 1 };

/* --- sync acknowledgements --- */

static void sync_answer(struct groups *self, struct sync_ack *sync, int error)
{
    if (error != 0) {
        (void) bus_reply_error(groups_bus(self), sync->ticket, error, NULL);
    } else {
        struct bus_outgoing out = {.type = sync->type, .meta = buf_span(&sync->reply)};
        (void) bus_reply(groups_bus(self), sync->ticket, &out); /* closed: nobody waits any more */
    }
    list_remove(&sync->node);
    buf_release(&sync->reply);
    mem_free(sync);
    self->sync_count--;
}

void groups_sync_wait(struct groups *self, uint64_t ticket, uint16_t type, struct buf *reply)
{
    struct sync_ack *sync = MEM_NEW(struct sync_ack);
    list_init(&sync->node);
    sync->ticket = ticket;
    sync->type = type;
    sync->reply = *reply;
    *reply = (struct buf){0};
    list_push_back(&self->syncs, &sync->node);
    self->sync_count++;
    if (!list_is_empty(&self->changed)) {
        self->flush_now = true;
    } else if (self->acks_proposed > self->acks_applied) {
        sync->index = self->acks_proposed;
    } else {
        sync_answer(self, sync, 0);
    }
}

void groups_sync_applied(struct groups *self, uint64_t index)
{
    LIST_FOREACH (&self->syncs, node) {
        struct sync_ack *sync = LIST_ENTRY(node, struct sync_ack, node);
        if (sync->index == 0 || sync->index > index) {
            break;
        }
        sync_answer(self, sync, 0);
    }
}

/* Those that are not proposed yet: they belong to the entry `index` (0: to none, with an error). */
static void syncs_assign(struct groups *self, uint64_t index, int error)
{
    LIST_FOREACH (&self->syncs, node) {
        struct sync_ack *sync = LIST_ENTRY(node, struct sync_ack, node);
        if (sync->index == 0) {
            sync->index = index;
            if (error != 0 || index <= self->acks_applied) {
                sync_answer(self, sync, error);
            }
        }
    }
}

/* --- proposing --- */

/* The next entry: as many groups as fit. Marks in hosted->changes what went in. */
static void acks_build(struct groups *self, struct buf *entry)
{
    buf_reset(entry);
    LIST_FOREACH (&self->changed, node) {
        struct hosted *hosted = LIST_ENTRY(node, struct hosted, changed);
        hosted->changes = (struct group_changes){.is_empty = true};
        if (entry->size >= GROUPS_ENTRY_BYTES) {
            continue;
        }
        buf_reset(&self->part);
        group_changes_encode(hosted->group, &self->part, GROUPS_ENTRY_BYTES - entry->size,
                             &hosted->changes);
        if (!hosted->changes.is_empty) {
            pb_append_bytes(entry, ENTRY_ACKS_GROUPS, buf_span(&self->part));
        }
    }
}

static void acks_proposed(struct groups *self)
{
    LIST_FOREACH (&self->changed, node) {
        struct hosted *hosted = LIST_ENTRY(node, struct hosted, changed);
        if (!hosted->changes.is_empty) {
            group_changes_proposed(hosted->group, &hosted->changes);
        }
        if (!group_has_changes(hosted->group)) {
            list_remove(&hosted->changed);
        }
    }
}

/* What belongs to groups in memory needs no entry. */
static void ephemerals_apply(struct groups *self)
{
    LIST_FOREACH (&self->changed, node) {
        struct hosted *hosted = LIST_ENTRY(node, struct hosted, changed);
        if (hosted->is_ephemeral) {
            list_remove(&hosted->changed);
            ephemeral_apply(self, hosted);
        }
    }
}

/* Everything that waits; several entries if it is much. */
static int acks_propose(struct groups *self)
{
    ephemerals_apply(self);
    while (!list_is_empty(&self->changed)) {
        uint64_t index;
        acks_build(self, &self->meta);
        if (self->meta.size > 0) {
            int error =
                stream_propose_control(self->stream, LOG_KIND_ACKS, buf_span(&self->meta), &index);
            if (error != 0) {
                return error;
            }
            self->acks_proposed = index;
        }
        acks_proposed(self);
    }
    syncs_assign(self, self->acks_proposed, 0);
    return 0;
}

int groups_propose_drop(struct groups *self, uint64_t group_id)
{
    uint64_t index;
    buf_reset(&self->meta);
    pb_append_varint(&self->meta, ENTRY_GROUP_ID, group_id);
    pb_append_varint(&self->meta, ENTRY_DELETED, 1);
    return stream_propose_control(self->stream, LOG_KIND_GROUP, buf_span(&self->meta), &index);
}

static bool drops_propose(struct groups *self)
{
    struct range range;
    while (self->drops_wanted != NULL && ranges_lowest(self->drops_wanted, &range)) {
        if (groups_propose_drop(self, range.first) != 0) {
            return false;
        }
        ranges_clear_range(self->drops_wanted, range.first, range.first);
    }
    return true;
}

static size_t changes_count(const struct groups *self, bool *ret_can_wait)
{
    size_t count = 0;
    bool can_wait = true;
    LIST_FOREACH (&self->changed, node) {
        const struct group *group = LIST_ENTRY(node, struct hosted, changed)->group;
        count += group_changes_count(group);
        can_wait = can_wait && group_changes_can_wait(group);
    }
    *ret_can_wait = can_wait;
    return count;
}

static uint64_t earlier(uint64_t one_ms, uint64_t other_ms)
{
    return one_ms < other_ms ? one_ms : other_ms;
}

static uint64_t later(uint64_t now_ms, uint64_t by_ms)
{
    return now_ms > UINT64_MAX - by_ms ? UINT64_MAX : now_ms + by_ms;
}

/* What a group had to say may be gone with the records it was about; such a group may be at rest. */
static void changes_prune(struct groups *self)
{
    LIST_FOREACH (&self->changed, node) {
        if (!group_has_changes(LIST_ENTRY(node, struct hosted, changed)->group)) {
            list_remove(node);
        }
    }
}

/* When to come again for the acknowledgements; UINT64_MAX: nothing waits. */
static uint64_t acks_flush(struct groups *self, uint64_t now_ms)
{
    changes_prune(self);
    if (list_is_empty(&self->changed)) {
        self->flush_at_ms = 0;
        self->flush_now = false;
        syncs_assign(self, self->acks_proposed, 0); /* what they wait for is proposed, or dropped */
        return UINT64_MAX;
    }
    bool can_wait;
    size_t count = changes_count(self, &can_wait);
    uint64_t at_ms = later(now_ms, can_wait ? GROUPS_FLUSH_LATE_MS : GROUPS_FLUSH_MS);
    if (self->flush_at_ms == 0 || at_ms < self->flush_at_ms) {
        self->flush_at_ms = at_ms;
    }
    if (!self->flush_now && now_ms < self->flush_at_ms && count < GROUPS_FLUSH_RANGES) {
        return self->flush_at_ms;
    }
    int error = acks_propose(self);
    if (error == 0) {
        self->flush_at_ms = 0;
        self->flush_now = false;
        return UINT64_MAX;
    }
    /* What was accepted stays accepted in this life and is proposed later; who waits for durability is told. */
    bool is_full = error != ERR_AGAIN;
    if (is_full) {
        syncs_assign(self, 0, error == ERR_POISONED ? ERR_INTERNAL : error);
        self->flush_now = false;
    }
    self->flush_at_ms = later(now_ms, is_full ? GROUPS_FLUSH_FULL_MS : GROUPS_FLUSH_MS);
    return self->flush_at_ms;
}

uint64_t groups_flush(struct groups *self, uint64_t now_ms)
{
    if (self->deliver_more) {
        groups_wake(self);
    }
    uint64_t dead_again = groups_dead_turn(self, now_ms); /* first: it may have news */
    uint64_t again = earlier(dead_again, acks_flush(self, now_ms));
    again = earlier(again, groups_drain_turn(self, now_ms));
    again = earlier(again, ephemerals_turn(self, now_ms));
    again = earlier(again, groups_configure_turn(self, now_ms));
    if (!drops_propose(self)) {
        uint64_t at_ms = later(now_ms, GROUPS_FLUSH_MS);
        again = again < at_ms ? again : at_ms;
    }
    if (self->deliver_more) {
        again = later(now_ms, 1);
    }
    uint64_t expiry_ms = groups_expiry_turn(self, now_ms);
    again = again < expiry_ms ? again : expiry_ms;
    return again < self->timer_at_ms ? again : self->timer_at_ms;
}
