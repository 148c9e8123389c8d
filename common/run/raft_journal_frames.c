/* raft_journal_frames: frames on their way to the disk, in the order in which they were made, also while the journal takes none. Owns the ring of those that the journal has and the queue of
 * those that it has not taken. It must never say that a write is durable before all its frames are. */
#include "common/run/raft_journal_private.h"

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

enum { FLIGHT_MIN = 64 };

/* --- there --- */

static void flight_push(struct raft_journal *self, const struct flight *flight)
{
    if (self->flight_count == self->flight_capacity) {
        size_t capacity = self->flight_capacity == 0 ? FLIGHT_MIN : 2 * self->flight_capacity;
        struct flight *ring = mem_new_array(capacity, sizeof(*ring));
        for (size_t i = 0; i < self->flight_count; i++) {
            ring[i] = self->flight[(self->flight_first + i) % self->flight_capacity];
        }
        mem_free(self->flight);
        self->flight = ring;
        self->flight_capacity = capacity;
        self->flight_first = 0;
    }
    self->flight[(self->flight_first + self->flight_count) % self->flight_capacity] = *flight;
    self->flight_count++;
}

static int frame_append(struct raft_journal *self, const struct journal_entry *entry,
                        struct flight *flight)
{
    int error = journal_append(self->journal, entry, &flight->journal_wseq);
    if (error == 0) {
        flight_push(self, flight);
    }
    return error;
}

static bool may_wait(int error)
{
    return error == ERR_AGAIN || error == ERR_STORAGE_FULL;
}

/* In order, whatever the journal says: what it does not take now it takes later. */
int raft_journal_emit(struct raft_journal_group *group, const struct journal_entry *entry,
                      uint64_t wseq)
{
    struct raft_journal *self = group->set;
    struct flight flight = {
        .group = group->group,
        .wseq = wseq,
        .index = entry->index,
        .term = entry->term,
        .generation = group->generation,
        .life = group->life,
        .type = (uint8_t) entry->type,
        .kind = entry->kind,
    };
    int error = self->waiting == NULL ? frame_append(self, entry, &flight) : ERR_AGAIN;
    if (!may_wait(error)) {
        return error;
    }
    struct waiting *waiting = MEM_NEW(struct waiting);
    waiting->entry = *entry;
    waiting->entry.payload = slice_ref(&entry->payload);
    waiting->flight = flight;
    *self->waiting_tail = waiting;
    self->waiting_tail = &waiting->next;
    return 0;
}

static void waiting_pop(struct raft_journal *self)
{
    struct waiting *waiting = self->waiting;
    self->waiting = waiting->next;
    self->waiting_tail = self->waiting == NULL ? &self->waiting : self->waiting_tail;
    slice_release(&waiting->entry.payload);
    mem_free(waiting);
}

void raft_journal_flight_clear(struct raft_journal *self)
{
    while (self->waiting != NULL) {
        waiting_pop(self);
    }
    MEM_FREE(self->flight);
}

static void waiting_flush(struct raft_journal *self)
{
    while (self->waiting != NULL && self->failed == 0) {
        int error = frame_append(self, &self->waiting->entry, &self->waiting->flight);
        if (may_wait(error)) {
            return;
        }
        self->failed = error;
        waiting_pop(self);
    }
}

int raft_journal_emit_bytes(struct raft_journal_group *group, struct journal_entry *entry,
                            const uint8_t *bytes, size_t size, uint64_t wseq)
{
    struct payload *payload = payload_copy(span_make(bytes, size));
    if (payload == NULL) {
        return ERR_NO_MEMORY;
    }
    entry->payload = (struct slice){payload, payload_span(payload)};
    int error = raft_journal_emit(group, entry, wseq);
    slice_release(&entry->payload);
    return error;
}

int raft_journal_emit_hard(struct raft_journal_group *group, bool repaired, uint64_t wseq)
{
    const struct group_hard *hard = &group->hard;
    uint8_t bytes[HARD_BYTES] = {FORMAT_VERSION, repaired ? HARD_REPAIRED : 0};
    struct journal_entry entry = {
        .type = JOURNAL_HARD_STATE, .kind = KIND_HARD, .group = group->group, .term = hard->term};
    bytes_put_u32(bytes + 4, hard->vote.node);
    bytes_put_u32(bytes + 8, hard->vote.incarnation);
    bytes_put_u64(bytes + 12, hard->commit);
    bytes_put_u64(bytes + 20, hard->suspect_last);
    return raft_journal_emit_bytes(group, &entry, bytes, sizeof(bytes), wseq);
}

int raft_journal_emit_base(struct raft_journal_group *group, uint8_t kind, uint64_t wseq)
{
    const struct raft_trail *trail = &group->storage.trail;
    uint8_t bytes[BASE_BYTES + RAFT_MEMBERS_BYTES_MAX] = {FORMAT_VERSION};
    struct journal_entry entry = {
        .type = JOURNAL_HARD_STATE, .kind = kind, .group = group->group, .term = group->hard.term};
    struct raft_members members;
    raft_index at = raft_trail_reads.members_at(&group->storage.trail, trail->base, &members);
    bytes_put_u64(bytes + 4, trail->base);
    bytes_put_u64(bytes + 12, trail->base_term);
    bytes_put_u64(bytes + 20, at);
    bytes_put_u64(bytes + 28, trail->snapshot.index);
    bytes_put_u64(bytes + 36, trail->snapshot.term);
    bytes_put_u64(bytes + 44, trail->snapshot.bytes);
    size_t size =
        BASE_BYTES + (members.count != 0 ? raft_members_encode(&members, bytes + BASE_BYTES) : 0);
    return raft_journal_emit_bytes(group, &entry, bytes, size, wseq);
}

int raft_journal_emit_entry(struct raft_journal_group *group, raft_index index, uint64_t wseq)
{
    const struct raft_trail_entry *own = raft_trail_at(&group->storage.trail, index);
    struct journal_entry entry = {.type = JOURNAL_ENTRY,
                                  .kind = own->type,
                                  .group = group->group,
                                  .term = own->term,
                                  .index = index};
    if (own->type == RAFT_ENTRY_CONFIG) {
        uint8_t bytes[RAFT_MEMBERS_BYTES_MAX];
        struct raft_entry known = raft_trail_entry(&group->storage.trail, index);
        return raft_journal_emit_bytes(group, &entry, bytes,
                                       raft_members_encode(known.members, bytes), wseq);
    }
    entry.payload = own->payload; /* borrowed */
    return raft_journal_emit(group, &entry, wseq);
}

/* --- and back --- */

/* Payloads that are on disk leave memory, oldest first. */
static void evict(struct raft_journal_group *group)
{
    const struct raft_trail *trail = &group->storage.trail;
    raft_index next = group->evict_next > trail->base ? group->evict_next : trail->base + 1;
    for (; group->kept_bytes > group->set->tail_bytes_max && next <= trail->last; next++) {
        struct raft_trail_entry *entry = raft_trail_at(trail, next);
        if (entry->place == 0) {
            break;
        }
        if (!entry->absent && entry->bytes != 0) {
            group->kept_bytes -= entry->bytes;
            entry->absent = true;
            slice_release(&entry->payload);
        }
    }
    group->evict_next = next;
}

static void entry_placed(struct raft_journal_group *group, const struct flight *flight,
                         const struct journal_done *done)
{
    struct raft_trail_entry *entry = raft_trail_at(&group->storage.trail, flight->index);
    if (entry == NULL || entry->term != flight->term || entry->place != 0) {
        return; /* cut or replaced meanwhile */
    }
    entry->place = done->position;
    entry->place_bytes = done->frame_bytes;
    group->kept_bytes += entry->bytes;
    evict(group);
}

static void news_put(struct raft_journal_group *group)
{
    if (!group->has_news) {
        group->has_news = true;
        group->news_next = group->set->news;
        group->set->news = group;
    }
}

static void on_done(void *ud, const struct journal_done *done)
{
    struct raft_journal *self = ud;
    INVARIANT(self->flight_count != 0);
    struct flight flight = self->flight[self->flight_first];
    INVARIANT(flight.journal_wseq == done->wseq);
    self->flight_first = (self->flight_first + 1) % self->flight_capacity;
    self->flight_count--;
    if (done->error != 0) {
        self->failed = self->failed == 0 ? done->error : self->failed;
        return;
    }
    struct raft_journal_group *group = hash64_get(self->groups, flight.group);
    if (group == NULL || group->life != flight.life || self->failed != 0) {
        return;
    }
    if (flight.type == JOURNAL_ENTRY) {
        entry_placed(group, &flight, done);
    } else if (flight.type == JOURNAL_HARD_STATE && flight.kind == KIND_HARD) {
        group->hard_place = done->position;
    } else if (flight.type == JOURNAL_HARD_STATE && flight.kind != KIND_DROP) {
        group->base_place = done->position;
        raft_journal_snapshot_drop_old(group);
    }
    if (flight.wseq != 0 && flight.generation == group->generation && group->is_open) {
        group->durable = flight.wseq;
        news_put(group);
    }
}

unsigned raft_journal_poll(struct raft_journal *self, void (*on_durable)(void *group_ud))
{
    unsigned count = journal_poll(self->journal, on_done, self);
    waiting_flush(self);
    if (journal_is_poisoned(self->journal) && self->failed == 0) {
        self->failed = ERR_POISONED;
    }
    size_t cursor = 0;
    struct raft_journal_group *group;
    while (self->failed != 0 && (group = hash64_next(self->groups, &cursor)) != NULL) {
        news_put(group);
    }
    while ((group = self->news) != NULL) {
        self->news = group->news_next;
        group->has_news = false;
        if (group->is_open) {
            on_durable(group->ud);
        }
    }
    return count;
}
