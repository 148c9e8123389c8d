/* tail: the records that were committed last, of all streams, in memory as the publishers' own bytes. The oldest entry goes
 * when the limit for the whole daemon is reached, whichever stream it belongs to. */
#ifndef LOGD_TAIL_H
#define LOGD_TAIL_H

#include <stdint.h>

#include "common/base/payload.h"

/* One stored batch: what one publish made. */
struct stored {
    uint64_t base; /* offset of its first record */
    uint32_t count;
    uint64_t ts_us;
    struct slice batch;
};

/* A stream's part: zeroed when empty, and then without memory. */
struct tail_stream {
    struct stored *ring;
    uint32_t head;
    uint32_t count;
    uint32_t capacity; /* a power of two */
    uint32_t gone; /* so many at the head are trimmed: their places remain until their turn comes */
};

struct tail;
struct tail *tail_new(uint64_t bytes_max);
/* Every stream must have been dropped before. Accepts NULL. */
void tail_destroy(struct tail **self);

/* Keep a batch; takes a reference of its own. Batches come in order of offset. One over the limit is not kept. */
void tail_push(struct tail *self, struct tail_stream *stream, const struct stored *stored);
/* The batch that holds `offset`, or NULL. Valid until the next push, drop or shrink. */
const struct stored *tail_find(const struct tail_stream *stream, uint64_t offset);
/* Forget all of a stream. */
void tail_drop(struct tail *self, struct tail_stream *stream);
/* Give back the memory of batches that lie wholly below `first_offset`. Nobody may ask for them any more. */
void tail_trim(struct tail *self, struct tail_stream *stream, uint64_t first_offset);
/* Forget the oldest until at most `bytes` are left. */
void tail_shrink(struct tail *self, uint64_t bytes);

/* Memory taken, as counted against the limit. */
uint64_t tail_bytes(const struct tail *self);

#endif
