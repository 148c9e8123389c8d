/* payload: bytes that entered the machine once and are then shared by reference count, never copied. The
 * count is atomic: a reference may be dropped on any thread (ZeroMQ's I/O threads do). The bytes are
 * written only by the creator, before the payload is shared. @thread any */
#ifndef COMMON_BASE_PAYLOAD_H
#define COMMON_BASE_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/span.h"

struct payload; /* opaque, reference counted */

/* A new payload of `size` writable bytes (payload_data), one reference. NULL: no memory. */
struct payload *payload_new(size_t size);

/* A new payload holding a copy. NULL: no memory. */
struct payload *payload_copy(struct span bytes);

/* A new payload around foreign bytes, given back by release(hint) with the last reference. NULL: no memory,
 * release is then not called. */
struct payload *payload_wrap(const void *data, size_t size, void (*release)(void *hint),
                             void *hint);

/* The bytes; payload_data only by the creator before sharing. */
uint8_t *payload_data(struct payload *self);
struct span payload_span(const struct payload *self);
size_t payload_size(const struct payload *self);

/* One more reference to the same bytes; returns self. */
struct payload *payload_ref(struct payload *self);

/* Does nobody but the caller hold a reference? Then the creator may write the bytes again. */
bool payload_is_sole(const struct payload *self);

/* Drop one reference and null the pointer; accepts a null pointer. */
void payload_unref(struct payload **self);

/* A slice: some bytes of a payload together with the reference that keeps them alive. Zeroed is empty. */
struct slice {
    struct payload *owner; /* NULL only when the span is empty */
    struct span bytes;     /* inside the owner */
};

/* A slice with its own reference. `bytes` must lie in `owner`. */
struct slice slice_make(struct payload *owner, struct span bytes);
struct slice slice_ref(const struct slice *self);

/* Drop the reference; empty afterwards. */
void slice_release(struct slice *self);

#endif
