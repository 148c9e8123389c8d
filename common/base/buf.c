/* buf: owned bytes that grow at the end. */
#include "common/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/invariant.h"
#include "common/base/mem.h"

enum { BUF_CAPACITY_MIN = 64 };

uint8_t *buf_try_reserve(struct buf *self, size_t more)
{
    if (self->capacity - self->size >= more && self->data != NULL) {
        return self->data + self->size;
    }
    if (more > SIZE_MAX / 2 - self->size) {
        return NULL;
    }
    size_t wanted = self->size + more;
    size_t capacity = self->capacity + self->capacity / 2;
    if (capacity < BUF_CAPACITY_MIN) {
        capacity = BUF_CAPACITY_MIN;
    }
    if (capacity < wanted) {
        capacity = wanted;
    }
    uint8_t *data = mem_try_resize(self->data, capacity, 1);
    if (data == NULL) {
        return NULL;
    }
    self->data = data;
    self->capacity = capacity;
    return self->data + self->size;
}

uint8_t *buf_reserve(struct buf *self, size_t more)
{
    uint8_t *at = buf_try_reserve(self, more);
    INVARIANT(at != NULL);
    return at;
}

void buf_advance(struct buf *self, size_t written)
{
    INVARIANT(written <= self->capacity - self->size);
    self->size += written;
}

void buf_append(struct buf *self, struct span bytes)
{
    if (bytes.size != 0) {
        memcpy(buf_reserve(self, bytes.size), bytes.data, bytes.size);
        self->size += bytes.size;
    }
}

void buf_append_text(struct buf *self, const char *text)
{
    buf_append(self, span_of(text));
}

void buf_append_byte(struct buf *self, uint8_t byte)
{
    *buf_reserve(self, 1) = byte;
    self->size++;
}

void buf_printf(struct buf *self, const char *format, ...)
{
    va_list arguments;
    va_list again;

    INVARIANT(format != NULL); /* else gcc warns of it in builds with sanitizers */
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    INVARIANT(length >= 0);
    uint8_t *at = buf_reserve(self, (size_t) length + 1);
    (void) vsnprintf((char *) at, (size_t) length + 1, format, again);
    va_end(again);
    self->size += (size_t) length;
}

void buf_consume(struct buf *self, size_t count)
{
    INVARIANT(count <= self->size);
    self->size -= count;
    if (self->size != 0 && count != 0) {
        memmove(self->data, self->data + count, self->size);
    }
}

const char *buf_text(struct buf *self)
{
    *buf_reserve(self, 1) = 0;
    return (const char *) self->data;
}

void buf_reset(struct buf *self)
{
    self->size = 0;
}

uint8_t *buf_detach(struct buf *self, size_t *ret_size)
{
    uint8_t *data = self->data;
    *ret_size = self->size;
    *self = (struct buf){0};
    return data;
}

void buf_release(struct buf *self)
{
    mem_free(self->data);
    *self = (struct buf){0};
}
