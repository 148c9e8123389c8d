/* extent: where a run of consecutive entries of one group lies in the journal. Instead of an index entry for each frame, memory
 * (and the .idx file) keeps one extent for up to EXTENT_SPAN_MAX bytes of a file that are mostly this group's; frames of other
 * groups in between are skipped when reading. */
#ifndef COMMON_STORE_EXTENT_H
#define COMMON_STORE_EXTENT_H

#include <stdbool.h>
#include <stdint.h>

enum { EXTENT_SPAN_MAX = 256 << 10 };

struct extent {
    uint64_t group;
    uint64_t position;  /* of the first frame */
    uint32_t bytes;     /* from there to the end of the last frame */
    uint32_t own_bytes; /* of that, this group's */
    uint64_t first_index;
    uint64_t last_index; /* consecutive: no hole inside */
    uint64_t term;       /* of all entries inside: a new term starts a new extent */
    uint64_t base;       /* offset of the first record inside; 0 when records is 0 */
    uint64_t records;    /* how many offsets it covers, consecutive from base */
    uint64_t first_ts_us;
    uint64_t last_ts_us;
    bool has_control; /* holds entries with count 0 */
};

struct journal_entry;

/* An extent of one frame. */
struct extent extent_of(const struct journal_entry *entry, uint64_t position, uint32_t frame_bytes);

/* Grow by the frame of the same group that follows. False (unchanged) when it does not belong: another file, an index, term or
 * offset that does not continue, the span too long, or too much of others between (own bytes under half of a span over 64 KiB). */
bool extent_add(struct extent *self, const struct journal_entry *entry, uint64_t position,
                uint32_t frame_bytes);

#endif
