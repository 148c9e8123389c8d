/* chunks: shared read buffers. Owns one reference of the current chunk and of up to CHUNKS_KEPT_MAX earlier ones, which
 * are taken again when they have become free. Must never hand out a byte that a slice refers to. */
#include "frontd/chunks.h"

#include <string.h>

#include "common/base/invariant.h"
#include "common/base/mem.h"

struct chunks {
    struct payload *current; /* NULL: none yet */
    size_t used;             /* of the current one */
    /* a ring in order of age: the oldest is the likeliest to be free */
    struct payload *kept[CHUNKS_KEPT_MAX];
    size_t kept_first;
    size_t kept_count;
};

struct chunks *chunks_new(void)
{
    return MEM_NEW(struct chunks);
}

void chunks_destroy(struct chunks **self)
{
    struct chunks *chunks = *self;
    *self = NULL;
    if (chunks == NULL) {
        return;
    }
    payload_unref(&chunks->current);
    for (size_t i = 0; i < CHUNKS_KEPT_MAX; i++) {
        payload_unref(&chunks->kept[i]);
    }
    mem_free(chunks);
}

static struct payload *kept_pop(struct chunks *self)
{
    struct payload *oldest = self->kept[self->kept_first];
    self->kept[self->kept_first] = NULL;
    self->kept_first = (self->kept_first + 1) % CHUNKS_KEPT_MAX;
    self->kept_count--;
    return oldest;
}

/* Put the full chunk aside and take a free one. */
static void chunks_turn_over(struct chunks *self)
{
    if (self->current != NULL) {
        if (self->kept_count == CHUNKS_KEPT_MAX) {
            struct payload *oldest = kept_pop(self);
            payload_unref(&oldest); /* whoever still refers to it frees it */
        }
        self->kept[(self->kept_first + self->kept_count++) % CHUNKS_KEPT_MAX] = self->current;
        self->current = NULL;
    }
    self->used = 0;
    if (self->kept_count != 0 && payload_is_sole(self->kept[self->kept_first])) {
        self->current = kept_pop(self);
    } else {
        self->current = payload_new(CHUNKS_SIZE);
    }
}

struct payload *chunks_room(struct chunks *self, uint8_t **ret_at, size_t *ret_room)
{
    if (self->current != NULL && self->used != 0 && payload_is_sole(self->current)) {
        self->used = 0;
    }
    if (self->current == NULL || CHUNKS_SIZE - self->used < CHUNKS_ROOM_MIN) {
        chunks_turn_over(self);
    }
    if (self->current == NULL) {
        return NULL;
    }
    *ret_at = payload_data(self->current) + self->used;
    *ret_room = CHUNKS_SIZE - self->used;
    return self->current;
}

void chunks_done(struct chunks *self, size_t used)
{
    INVARIANT(used <= CHUNKS_SIZE - self->used);

    self->used = payload_is_sole(self->current) ? 0 : self->used + used;
}
