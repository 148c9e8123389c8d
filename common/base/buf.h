/* buf: owned bytes that grow at the end. Zeroed memory is a valid empty buf. */
#ifndef COMMON_BASE_BUF_H
#define COMMON_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/span.h"

struct buf {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

/* Make room for `more` bytes behind the end and return where they go (size is unchanged: see buf_advance).
 * For sizes of our own: ends the process when there is no memory. */
uint8_t *buf_reserve(struct buf *self, size_t more);

/* The same for a size that a peer chose: NULL when there is no memory, self unchanged. */
uint8_t *buf_try_reserve(struct buf *self, size_t more);

/* The next `written` reserved bytes now belong to the content. */
void buf_advance(struct buf *self, size_t written);

/* Copy bytes to the end. */
void buf_append(struct buf *self, struct span bytes);
void buf_append_text(struct buf *self, const char *text);
void buf_append_byte(struct buf *self, uint8_t byte);
__attribute__((format(printf, 2, 3))) void buf_printf(struct buf *self, const char *format, ...);

/* Drop `count` bytes from the front (the rest moves down). */
void buf_consume(struct buf *self, size_t count);

/* The content as a NUL-terminated string; the NUL is not counted. Valid until the next change. */
const char *buf_text(struct buf *self);

/* Borrow the content. */
static inline struct span buf_span(const struct buf *self)
{
    return span_make(self->data, self->size);
}

/* Empty it, keep the memory. */
void buf_reset(struct buf *self);

/* Hand the memory to the caller (mem_free it); the buf is empty afterwards. */
uint8_t *buf_detach(struct buf *self, size_t *ret_size);

/* Free the memory; the buf is empty and usable afterwards. */
void buf_release(struct buf *self);

#endif
