/* raft_journal_recover: one pass over the journal gives every group its log, its hard state and its base back, and says what damage means for each. It must never call
 * something intact that a lost frame may have changed: where that is not known, a group is suspect or not opened at all (raft_journal.h). */
#include "common/run/raft_journal_private.h"

#include <string.h>

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/base/mem.h"

static const struct raft_members nobody;

static raft_index last_of(const struct raft_journal_group *group)
{
    return group->hole != 0 ? group->last_seen : group->storage.trail.last;
}

/* Entries from here on are not to be trusted. */
static void hole_at(struct raft_journal_group *group, raft_index index, raft_index last)
{
    struct raft_trail *trail = &group->storage.trail;
    index = index > trail->base ? index : trail->base + 1;
    raft_index was = last_of(group);
    last = last > was ? last : was;
    if (last < index) {
        return; /* all of it is gone by compaction */
    }
    group->hole = group->hole == 0 || index < group->hole ? index : group->hole;
    group->last_seen = last;
    raft_trail_cut(trail, group->hole);
}

/* A committed entry was right when it was written as such; what a lost frame may have replaced is not committed before it. */
static raft_index floor_of(const struct raft_journal_group *group)
{
    raft_index base = group->storage.trail.base;
    return group->hard.commit > base ? group->hard.commit : base;
}

static void lose_unknown(struct raft_journal *self)
{
    size_t cursor = 0;
    struct raft_journal_group *group;
    self->has_unknown_damage = true;
    while ((group = hash64_next(self->groups, &cursor)) != NULL) {
        group->frames_lost = true;
        group->vote_lost = true;
        hole_at(group, floor_of(group) + 1, 0);
    }
}

/* It keeps its place, so that what cuts or compacts it later ends the damage. */
static void lose_entry(struct raft_journal_group *group, const struct journal_entry *known)
{
    struct raft_trail *trail = &group->storage.trail;
    struct raft_entry entry = {.term = known->term};
    if (group->hole != 0 || known->index != trail->last + 1 ||
        raft_trail_put(trail, known->index, &entry, NULL) != 0) {
        raft_index next = last_of(group) + 1;
        hole_at(group, known->index < next ? known->index : next, known->index);
        return;
    }
    raft_trail_at(trail, known->index)->absent = true; /* and no place */
    group->has_damage = true;
}

static void lose_known(struct raft_journal *self, const struct journal_entry *known)
{
    struct raft_journal_group *group = raft_journal_group_make(self, known->group);
    if (known->type == JOURNAL_ENTRY) {
        lose_entry(group, known);
    } else if (known->type == JOURNAL_HARD_STATE && known->kind == KIND_HARD) {
        /* As if the vote was given to somebody who does not exist: to nobody else in this term. */
        group->hard.term = known->term;
        group->hard.vote = (struct raft_id){UINT32_MAX, UINT32_MAX};
        group->vote_lost = false;
    } else if (known->type == JOURNAL_HARD_STATE && known->kind != KIND_DROP) {
        group->base_lost = true;
    } else {
        lose_unknown(self);
    }
}

/* --- frames --- */

static void on_hard(struct raft_journal_group *group, const struct journal_entry *entry,
                    uint64_t position)
{
    const uint8_t *at = entry->payload.bytes.data;
    if (entry->payload.bytes.size != HARD_BYTES || at[0] != FORMAT_VERSION) {
        lose_known(group->set, entry);
        return;
    }
    group->hard.term = entry->term;
    group->hard.vote = (struct raft_id){bytes_get_u32(at + 4), bytes_get_u32(at + 8)};
    group->hard.commit = bytes_get_u64(at + 12);
    group->hard.suspect_last = bytes_get_u64(at + 20);
    group->hard_place = position;
    group->vote_lost = false;
    if ((at[1] & HARD_REPAIRED) != 0) {
        group->frames_lost = false;
    }
}

static void on_base(struct raft_journal_group *group, const struct journal_entry *entry,
                    uint64_t position)
{
    const uint8_t *at = entry->payload.bytes.data;
    struct raft_trail *trail = &group->storage.trail;
    struct raft_members members;
    memset(&members, 0, sizeof(members));
    size_t size = entry->payload.bytes.size;
    if (size < BASE_BYTES || at[0] != FORMAT_VERSION ||
        (size > BASE_BYTES &&
         raft_members_decode(at + BASE_BYTES, size - BASE_BYTES, &members) != 0)) {
        group->base_lost = true;
        return;
    }
    raft_index index = bytes_get_u64(at + 4);
    raft_term term = bytes_get_u64(at + 12);
    raft_index last = last_of(group);
    if (group->base_guessed && index < trail->base) {
        return; /* not that one yet */
    }
    group->base_lost = false;
    group->base_place = position;
    trail->snapshot = (struct raft_snapshot){bytes_get_u64(at + 28), bytes_get_u64(at + 36),
                                             bytes_get_u64(at + 44)};
    if (entry->kind == KIND_BASE && index >= trail->base && index <= trail->last) {
        raft_trail_compact(trail, index);
        raft_trail_set_base(trail, term, &members, bytes_get_u64(at + 20));
        group->base_guessed = false;
        return;
    }
    raft_trail_reset(trail, index, term, &members, bytes_get_u64(at + 20));
    group->hole = 0;
    group->base_guessed = false;
    if (entry->kind == KIND_BASE && last > index) { /* it was there, behind a hole */
        group->hole = index + 1;
        group->last_seen = last;
    }
}

static void on_truncate(struct raft_journal_group *group, raft_index from)
{
    if (group->hole != 0 && from <= group->hole) {
        group->hole = 0;
    } else if (group->hole != 0) {
        group->last_seen = from <= group->last_seen ? from - 1 : group->last_seen;
    }
    if (from > group->storage.trail.base) {
        raft_trail_cut(&group->storage.trail, from);
    } else if (group->base_guessed) {
        raft_trail_reset(&group->storage.trail, from - 1, 0, &nobody, 0);
    } else {
        group->base_lost = true; /* what is compacted is never cut */
    }
}

static void on_entry(struct raft_journal_group *group, const struct journal_entry *entry,
                     uint64_t position, uint32_t frame_bytes)
{
    struct raft_trail *trail = &group->storage.trail;
    raft_index next = last_of(group) + 1;
    if (entry->index > next && !group->frames_lost && group->hole == 0) {
        /* What lay between was compacted and its file given back: a base that is written later says so. */
        raft_trail_reset(trail, entry->index - 1, 0, &nobody, 0);
        group->base_guessed = true;
        next = entry->index;
    }
    if (entry->index <= trail->base) {
        return;
    }
    if (entry->index < next) { /* the truncation between is lost */
        raft_index floor = floor_of(group) + 1;
        hole_at(group, floor < entry->index ? floor : entry->index, entry->index);
        return;
    }
    if (entry->index > next || group->hole != 0) {
        hole_at(group, next, entry->index);
        return;
    }
    struct raft_members members;
    struct raft_entry known = {.term = entry->term, .type = entry->kind};
    struct span bytes = entry->payload.bytes;
    if (entry->kind == RAFT_ENTRY_CONFIG) {
        known.members = &members;
        if (raft_members_decode(bytes.data, bytes.size, &members) != 0) {
            hole_at(group, entry->index, entry->index);
            return;
        }
    } else {
        known.bytes = (uint32_t) bytes.size;
    }
    if (raft_trail_put(trail, entry->index, &known, NULL) != 0) {
        group->set->recover_error = ERR_NO_MEMORY;
        return;
    }
    struct raft_trail_entry *own = raft_trail_at(trail, entry->index);
    own->place = position;
    own->place_bytes = frame_bytes;
    own->absent = known.bytes != 0;
}

/* --- the pass --- */

static void lose_up_to(struct raft_journal *self, uint64_t position)
{
    for (; self->lost_next < self->lost_count && self->lost[self->lost_next].position < position;
         self->lost_next++) {
        const struct lost_range *range = &self->lost[self->lost_next];
        if (range->is_known) {
            lose_known(self, &range->known);
        } else {
            lose_unknown(self);
        }
    }
}

static void finish(struct raft_journal *self)
{
    size_t cursor = 0;
    struct raft_journal_group *group;
    lose_up_to(self, UINT64_MAX);
    while ((group = hash64_next(self->groups, &cursor)) != NULL) {
        const struct raft_trail *trail = &group->storage.trail;
        group->base_lost |= group->base_guessed;
        for (raft_index i = trail->base + 1; group->has_damage && i <= trail->last; i++) {
            const struct raft_trail_entry *entry = raft_trail_at(trail, i);
            if (entry->absent && entry->place == 0) {
                hole_at(group, i, last_of(group));
            }
        }
    }
}

static int walk_on_frame(void *ud, const struct journal_entry *entry, uint64_t position,
                         uint32_t frame_bytes)
{
    struct raft_journal *self = ud;
    lose_up_to(self, position);
    struct raft_journal_group *group = raft_journal_group_make(self, entry->group);
    switch (entry->type) {
    case JOURNAL_ENTRY:
        on_entry(group, entry, position, frame_bytes);
        break;
    case JOURNAL_TRUNCATE:
        on_truncate(group, entry->index);
        break;
    case JOURNAL_HARD_STATE:
        if (entry->kind == KIND_DROP) {
            (void) hash64_remove(self->groups, entry->group);
            raft_journal_group_clear(group);
            mem_free(group);
        } else if (entry->kind == KIND_HARD) {
            on_hard(group, entry, position);
        } else {
            on_base(group, entry, position);
        }
        break;
    case JOURNAL_MARK:
    default:
        break;
    }
    return self->recover_error;
}

static void walk_on_corrupt(void *ud, uint64_t position, uint64_t bytes,
                            const struct journal_entry *known)
{
    (void) bytes;
    struct raft_journal *self = ud;
    lose_up_to(self, position + 1);
    if (self->lost_next != 0 && self->lost[self->lost_next - 1].position == position) {
        return; /* opening the journal told it already */
    }
    if (known != NULL) {
        lose_known(self, known);
    } else {
        lose_unknown(self);
    }
}

static void open_on_corrupt(void *ud, uint64_t position, uint64_t bytes,
                            const struct journal_entry *known)
{
    struct raft_journal *self = ud;
    if (self->lost_count == self->lost_capacity) {
        self->lost_capacity = self->lost_capacity == 0 ? 8 : 2 * self->lost_capacity;
        self->lost = mem_resize(self->lost, self->lost_capacity, sizeof(self->lost[0]));
    }
    struct lost_range *range = &self->lost[self->lost_count++];
    memset(range, 0, sizeof(*range));
    range->position = position;
    range->bytes = bytes;
    if (known != NULL) {
        range->is_known = true;
        range->known = *known;
        range->known.payload = (struct slice){0};
    }
}

static void open_on_extent(void *ud, const struct extent *extent)
{
    (void) ud;
    (void) extent;
}

static void open_on_control(void *ud, const struct journal_entry *entry)
{
    (void) ud;
    (void) entry;
}

int raft_journal_recover(struct raft_journal *self, const struct journal_options *options,
                         struct journal_recovery *ret_recovery)
{
    struct journal_visitor visitor = {open_on_extent, open_on_control, open_on_corrupt, self};
    struct journal_walker walker = {walk_on_frame, walk_on_corrupt, self};
    int error = journal_open(options, &visitor, ret_recovery, &self->journal);
    if (error == 0) {
        error = journal_walk(self->journal, &walker);
    }
    error = error == 0 ? self->recover_error : error;
    if (error == 0) {
        finish(self);
    }
    MEM_FREE(self->lost);
    return error;
}
