/* outq: one connection's outgoing bytes. Owns blocks of copied heads and references of slices; both go as soon as their bytes are in
 * the socket. Must never copy a batch and never write two pieces in another order than they were put. */
#include "frontd/outq.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "common/base/err.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

enum {
    BLOCK_BYTES = 4096 - 32,
    BLOCKS_SPARE_MAX = 256,
    COPY_BYTES_MAX = 512, /* a smaller slice is cheaper copied than referred to */
    PIECES_MIN = 8,
    PIECES_KEPT_MAX = 256, /* a ring larger than this is given back when it is empty */
    IOV_COUNT = 128,
};

struct outq_block {
    struct outq_block *spare; /* in the pool */
    size_t used;
    size_t pieces; /* not yet written, that lie in it */
    uint8_t bytes[BLOCK_BYTES];
};

struct outq_piece {
    struct span bytes;
    struct payload *owner;    /* of a slice, or NULL */
    struct outq_block *block; /* of a copy, or NULL */
};

struct outq_pool {
    struct outq_block *spare;
    size_t spare_count;
    uint64_t bytes; /* queued in all outqs */
};

struct outq_pool *outq_pool_new(void)
{
    return MEM_NEW(struct outq_pool);
}

void outq_pool_destroy(struct outq_pool **self)
{
    struct outq_pool *pool = *self;
    *self = NULL;
    if (pool == NULL) {
        return;
    }
    INVARIANT(pool->bytes == 0);
    while (pool->spare != NULL) {
        struct outq_block *block = pool->spare;
        pool->spare = block->spare;
        mem_free(block);
    }
    mem_free(pool);
}

uint64_t outq_pool_bytes(const struct outq_pool *self)
{
    return self->bytes;
}

static struct outq_block *block_take(struct outq_pool *pool)
{
    struct outq_block *block = pool->spare;
    if (block != NULL) {
        pool->spare = block->spare;
        pool->spare_count--;
    } else {
        block = (struct outq_block *) mem_try_new(sizeof(*block));
        if (block == NULL) {
            return NULL;
        }
    }
    block->used = 0;
    block->pieces = 0;
    return block;
}

static void block_give(struct outq_pool *pool, struct outq_block *block)
{
    if (pool->spare_count == BLOCKS_SPARE_MAX) {
        mem_free(block);
        return;
    }
    block->spare = pool->spare;
    pool->spare = block;
    pool->spare_count++;
}

void outq_init(struct outq *self, struct outq_pool *pool)
{
    *self = (struct outq){.pool = pool};
}

static struct outq_piece *piece_at(const struct outq *self, size_t index)
{
    return &self->pieces[(self->first + index) & (self->capacity - 1)];
}

static void piece_release(struct outq *self, struct outq_piece *piece)
{
    payload_unref(&piece->owner);
    if (piece->block != NULL && --piece->block->pieces == 0 && piece->block != self->block) {
        block_give(self->pool, piece->block);
    }
}

/* Nothing is queued: keep only what an idle connection may cost. */
static void outq_rest(struct outq *self)
{
    if (self->block != NULL) {
        block_give(self->pool, self->block);
        self->block = NULL;
    }
    if (self->capacity > PIECES_KEPT_MAX) {
        MEM_FREE(self->pieces);
        self->capacity = 0;
    }
    self->first = 0;
}

void outq_release(struct outq *self)
{
    self->pool->bytes -= self->bytes;
    for (size_t i = 0; i < self->count; i++) {
        piece_release(self, piece_at(self, i));
    }
    self->count = 0;
    self->bytes = 0;
    outq_rest(self);
    MEM_FREE(self->pieces);
    self->capacity = 0;
}

uint64_t outq_bytes(const struct outq *self)
{
    return self->bytes;
}

bool outq_is_empty(const struct outq *self)
{
    return self->count == 0;
}

static struct outq_piece *piece_add(struct outq *self)
{
    if (self->count == self->capacity) {
        size_t capacity = self->capacity == 0 ? PIECES_MIN : self->capacity * 2;
        struct outq_piece *pieces =
            (struct outq_piece *) mem_try_new_array(capacity, sizeof(struct outq_piece));
        if (pieces == NULL) {
            return NULL;
        }
        for (size_t i = 0; i < self->count; i++) {
            pieces[i] = *piece_at(self, i);
        }
        mem_free(self->pieces);
        self->pieces = pieces;
        self->capacity = capacity;
        self->first = 0;
    }
    struct outq_piece *piece = piece_at(self, self->count);
    *piece = (struct outq_piece){0};
    self->count++;
    return piece;
}

static void outq_account(struct outq *self, size_t bytes)
{
    self->bytes += bytes;
    self->pool->bytes += bytes;
}

static int outq_put_owned(struct outq *self, struct payload *owner, struct span bytes)
{
    struct outq_piece *piece = piece_add(self);
    if (piece == NULL) {
        payload_unref(&owner);
        return ERR_NO_MEMORY;
    }
    piece->owner = owner;
    piece->bytes = bytes;
    outq_account(self, bytes.size);
    return 0;
}

/* The block for `size` more bytes: the current one, or a new one when it is full. */
static struct outq_block *outq_block_for(struct outq *self, size_t size)
{
    if (self->block != NULL && BLOCK_BYTES - self->block->used < size) {
        if (self->block->pieces == 0) {
            block_give(self->pool, self->block);
        } /* else the last of its pieces gives it back */
        self->block = NULL;
    }
    if (self->block == NULL) {
        self->block = block_take(self->pool);
    }
    return self->block;
}

int outq_put(struct outq *self, struct span bytes)
{
    if (bytes.size == 0) {
        return 0;
    }
    if (bytes.size > BLOCK_BYTES) {
        struct payload *copy = payload_copy(bytes);
        return copy != NULL ? outq_put_owned(self, copy, payload_span(copy)) : ERR_NO_MEMORY;
    }
    struct outq_block *block = outq_block_for(self, bytes.size);
    if (block == NULL) {
        return ERR_NO_MEMORY;
    }
    uint8_t *at = block->bytes + block->used;
    struct outq_piece *last = self->count != 0 ? piece_at(self, self->count - 1) : NULL;
    if (last != NULL && last->block == block && last->bytes.data + last->bytes.size == at) {
        last->bytes.size += bytes.size;
    } else {
        struct outq_piece *piece = piece_add(self);
        if (piece == NULL) {
            return ERR_NO_MEMORY;
        }
        piece->block = block;
        piece->bytes = span_make(at, bytes.size);
        block->pieces++;
    }
    memcpy(at, bytes.data, bytes.size);
    block->used += bytes.size;
    outq_account(self, bytes.size);
    return 0;
}

int outq_put_slice(struct outq *self, const struct slice *slice)
{
    if (slice->bytes.size <= COPY_BYTES_MAX) {
        return outq_put(self, slice->bytes);
    }
    return outq_put_owned(self, payload_ref(slice->owner), slice->bytes);
}

/* The first `written` bytes are in the socket. */
static void outq_written(struct outq *self, size_t written)
{
    self->bytes -= written;
    self->pool->bytes -= written;
    while (written != 0) {
        struct outq_piece *piece = piece_at(self, 0);
        if (piece->bytes.size > written) {
            piece->bytes = span_make(piece->bytes.data + written, piece->bytes.size - written);
            return;
        }
        written -= piece->bytes.size;
        piece_release(self, piece);
        self->first = (self->first + 1) & (self->capacity - 1);
        self->count--;
    }
}

static size_t outq_gather(const struct outq *self, struct iovec *iov, size_t bytes_max,
                          size_t *ret_bytes)
{
    size_t count = 0;
    size_t bytes = 0;
    while (count < self->count && count < IOV_COUNT && bytes < bytes_max) {
        const struct outq_piece *piece = piece_at(self, count);
        void *base = NULL;
        memcpy(&base, &piece->bytes.data, sizeof(base)); /* writev only reads it */
        iov[count++] = (struct iovec){.iov_base = base, .iov_len = piece->bytes.size};
        bytes += piece->bytes.size;
    }
    *ret_bytes = bytes;
    return count;
}

int outq_write(struct outq *self, int fd, size_t bytes_max, size_t *ret_written)
{
    struct iovec iov[IOV_COUNT];
    int result = 0;

    *ret_written = 0;
    while (self->count != 0 && *ret_written < bytes_max) {
        struct msghdr message = {.msg_iov = iov};
        size_t gathered = 0;
        message.msg_iovlen = outq_gather(self, iov, bytes_max - *ret_written, &gathered);
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            if (errno == EINTR) {
                continue;
            }
            result = err_from_errno(errno);
            break;
        }
        outq_written(self, (size_t) sent);
        *ret_written += (size_t) sent;
        if ((size_t) sent < gathered) {
            result = ERR_AGAIN; /* a short write: the socket is full */
            break;
        }
    }
    if (self->count == 0) {
        outq_rest(self);
    }
    return result;
}
