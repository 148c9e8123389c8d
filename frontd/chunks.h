/* chunks: what sockets are read into. One large chunk is filled by read after read of all connections; what a read
 * brought may be referred to by slices (a batch on its way to logd). A read that left no reference behind costs no
 * memory, and a chunk is written again only when nobody refers to it any more. Idle connections own no buffer. */
#ifndef FRONTD_CHUNKS_H
#define FRONTD_CHUNKS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/payload.h"

enum { CHUNKS_SIZE = 256 << 10, CHUNKS_ROOM_MIN = 64 << 10, CHUNKS_KEPT_MAX = 64 };

struct chunks;
struct chunks *chunks_new(void);
void chunks_destroy(struct chunks **self);

/* Where the next read may go: at least CHUNKS_ROOM_MIN bytes at *ret_room of the chunk that is returned (borrowed until
 * chunks_done). NULL: no memory. */
struct payload *chunks_room(struct chunks *self, uint8_t **ret_at, size_t *ret_room);

/* The read is dealt with: of the room, the first `used` bytes were written. They stay as they are if any slice refers to the
 * chunk. */
void chunks_done(struct chunks *self, size_t used);

#endif
