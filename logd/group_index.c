/* group_index: a table of ids. Owns its entries, not the streams: these live as long as the daemon, and each knows how many there are of it. */
#include "logd/group_index.h"

#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "logd/stream_body.h"

struct placed {
    uint64_t group_id;
    struct stream *stream;
};

struct group_index {
    struct hash64 *placed;
};

struct group_index *group_index_new(void)
{
    struct group_index *self = MEM_NEW(struct group_index);
    self->placed = hash64_new();
    return self;
}

void group_index_destroy(struct group_index **self)
{
    if (*self == NULL) {
        return;
    }
    size_t cursor = 0;
    struct placed *placed;
    while ((placed = hash64_next((*self)->placed, &cursor)) != NULL) {
        mem_free(placed);
    }
    hash64_destroy(&(*self)->placed);
    MEM_FREE(*self);
}

void group_index_put(struct group_index *self, uint64_t group_id, struct stream *stream)
{
    struct placed *placed = hash64_get(self->placed, group_id);
    if (placed == NULL) {
        placed = MEM_NEW(struct placed);
        placed->group_id = group_id;
        (void) hash64_put(self->placed, group_id, placed); /* there was none */
    }
    if (placed->stream != stream) {
        if (placed->stream != NULL) {
            placed->stream->groups_known--;
        }
        stream->groups_known++;
        placed->stream = stream;
    }
}

void group_index_remove(struct group_index *self, uint64_t group_id)
{
    struct placed *placed = hash64_remove(self->placed, group_id);
    if (placed != NULL) {
        placed->stream->groups_known--;
        mem_free(placed);
    }
}

struct stream *group_index_find(const struct group_index *self, uint64_t group_id)
{
    const struct placed *placed = hash64_get(self->placed, group_id);
    return placed != NULL ? placed->stream : NULL;
}

void group_index_list(const struct group_index *self, struct buf *out)
{
    size_t cursor = 0;
    const struct placed *placed;
    while ((placed = hash64_next(self->placed, &cursor)) != NULL) {
        uint8_t id[8];
        bytes_put_u64(id, placed->group_id);
        buf_append(out, span_make(id, sizeof(id)));
    }
}
