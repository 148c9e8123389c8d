/* extents: where one stream's entries lie in the journal: its extents in order of index and offset. Grows by an entry at a time, or by a
 * whole extent while the journal is recovered. A zeroed struct is empty. */
#ifndef LOGD_EXTENTS_H
#define LOGD_EXTENTS_H

#include <stddef.h>
#include <stdint.h>

#include "common/store/extent.h"

struct journal_entry;

struct extents {
    struct extent *items; /* `base` of one without records is the offset that came next */
    size_t count;
    size_t capacity;
    size_t
        live; /* the number of the first extent that counts; those before are held for their control entries */
    uint64_t bytes;        /* of journal frames of this stream, from that extent on */
    uint64_t first_offset; /* as given to extents_trim */
};

void extents_release(struct extents *self);

/* A recovered extent. 0, or ERR_BAD_FORMAT when it does not lie behind all before it (nothing is added then). */
int extents_push(struct extents *self, const struct extent *extent);

/* The entry that was committed last. */
void extents_add(struct extents *self, const struct journal_entry *entry, uint64_t position,
                 uint32_t frame_bytes);

/* Records below `first_offset` and control entries up to `last_index` are not needed any more: extents of nothing else are forgotten. Neither ever falls. */
void extents_trim(struct extents *self, uint64_t first_offset, uint64_t last_index);
/* Bytes of journal frames from the first record that is kept on; of the extent that holds it, its share. */
uint64_t extents_live_bytes(const struct extents *self);
/* Where all that lies before `bytes` of the kept frames ends: an offset, by the same reckoning. */
uint64_t extents_offset_after(const struct extents *self, uint64_t bytes);

/* The first extent that holds records at or behind `offset`; NULL: none. It holds `offset` itself unless there is a hole. */
const struct extent *extents_find_offset(const struct extents *self, uint64_t offset);
/* The number of the first extent that holds entries at or behind `index`; count if none. */
size_t extents_find_index(const struct extents *self, uint64_t index);
/* The first extent with records whose last time is >= ts_us; NULL: none. */
const struct extent *extents_find_time(const struct extents *self, uint64_t ts_us);

/* Behind the last entry and record; 0 if empty. */
uint64_t extents_last_index(const struct extents *self);
uint64_t extents_end_offset(const struct extents *self);

#endif
