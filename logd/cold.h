/* cold: extents read back from the journal, the last few of them kept, so that sequential readers and several groups do not read
 * the same bytes again. */
#ifndef LOGD_COLD_H
#define LOGD_COLD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/store/extent.h"
#include "common/store/journal.h"
#include "logd/tail.h"

struct cold;
struct cold *cold_new(struct journal *journal, uint64_t bytes_max); /* borrows the journal */
void cold_destroy(struct cold **self);

/* What an extent holds: its batches in order of offset. A damaged frame is missing among them. */
struct cold_run {
    const struct stored *items;
    size_t count;
    bool fresh;   /* was read from the disk just now */
    bool damaged; /* something in it could not be read */
};

/* The batches of an extent of the group. ERR_IO, ERR_NO_MEMORY. The run is valid until the next call. */
int cold_get(struct cold *self, const struct extent *extent, struct cold_run *ret_run);

/* Forget what was not asked for since the last call of this. */
void cold_age(struct cold *self);
/* Forget all of a group. */
void cold_drop(struct cold *self, uint64_t group);
/* Forget what lies wholly below this offset of a group. */
void cold_trim(struct cold *self, uint64_t group, uint64_t first_offset);
uint64_t cold_bytes(const struct cold *self);

/* Visit every readable frame of the extent, whatever lies damaged in between: the exact rest. *ret_damaged: something was. 0, ERR_IO. */
int cold_walk(struct journal *journal, const struct extent *extent, journal_visit_fn *visit,
              void *ud, bool *ret_damaged);

#endif
