/* outq: what waits to be written to one connection: small pieces copied into blocks, large ones as slices that are never
 * copied, in one order, written with writev. An empty outq owns next to nothing.
 *
 * All outqs share a pool: spare blocks, and the sum of what is queued anywhere (the global budget). */
#ifndef FRONTD_OUTQ_H
#define FRONTD_OUTQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/payload.h"
#include "common/base/span.h"

struct outq_pool;
struct outq_pool *outq_pool_new(void);
void outq_pool_destroy(struct outq_pool **self); /* every outq was released */
uint64_t outq_pool_bytes(const struct outq_pool *self);

struct outq_piece;
struct outq_block;

struct outq {
    struct outq_pool *pool;
    struct outq_piece *pieces; /* ring; NULL while it never held anything */
    size_t capacity;           /* a power of two */
    size_t first;
    size_t count;
    struct outq_block *block; /* where the next small piece goes */
    uint64_t bytes;
};

void outq_init(struct outq *self, struct outq_pool *pool);
void outq_release(struct outq *self);

uint64_t outq_bytes(const struct outq *self);
bool outq_is_empty(const struct outq *self);

/* Queue a copy of these bytes. 0 or ERR_NO_MEMORY. */
int outq_put(struct outq *self, struct span bytes);

/* Queue the slice's bytes; takes a reference of its own (or a copy, when that is cheaper). 0 or ERR_NO_MEMORY. */
int outq_put_slice(struct outq *self, const struct slice *slice);

/* Write until everything is written, the socket is full or about `bytes_max` bytes went out; *ret_written is always set.
 * 0: empty now or bytes_max reached; ERR_AGAIN: the socket is full; ERR_CLOSED, ERR_IO. */
int outq_write(struct outq *self, int fd, size_t bytes_max, size_t *ret_written);

#endif
