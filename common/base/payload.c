/* payload: bytes shared by reference count. */
#include "common/base/payload.h"

#include <stdatomic.h>
#include <string.h>

#include "common/base/invariant.h"
#include "common/base/mem.h"

struct payload {
    atomic_uint references;
    size_t size;
    uint8_t *data;               /* behind this struct, or foreign */
    void (*release)(void *hint); /* NULL unless foreign */
    void *hint;
};

struct payload *payload_new(size_t size)
{
    if (size > SIZE_MAX - sizeof(struct payload)) {
        return NULL;
    }
    struct payload *self = mem_try_new(sizeof(*self) + size);
    if (self == NULL) {
        return NULL;
    }
    atomic_init(&self->references, 1);
    self->size = size;
    self->data = (uint8_t *) (self + 1);
    self->release = NULL;
    self->hint = NULL;
    return self;
}

struct payload *payload_copy(struct span bytes)
{
    struct payload *self = payload_new(bytes.size);
    if (self != NULL && bytes.size != 0) {
        memcpy(self->data, bytes.data, bytes.size);
    }
    return self;
}

struct payload *payload_wrap(const void *data, size_t size, void (*release)(void *hint), void *hint)
{
    struct payload *self = mem_try_new(sizeof(*self));
    if (self == NULL) {
        return NULL;
    }
    atomic_init(&self->references, 1);
    self->size = size;
    memcpy(&self->data, &data, sizeof(self->data)); /* shared bytes are read-only by contract */
    self->release = release;
    self->hint = hint;
    return self;
}

uint8_t *payload_data(struct payload *self)
{
    INVARIANT(self->release == NULL);
    return self->data;
}

struct span payload_span(const struct payload *self)
{
    return span_make(self->data, self->size);
}

size_t payload_size(const struct payload *self)
{
    return self->size;
}

struct payload *payload_ref(struct payload *self)
{
    unsigned before = atomic_fetch_add_explicit(&self->references, 1, memory_order_relaxed);
    INVARIANT(before > 0);
    return self;
}

bool payload_is_sole(const struct payload *self)
{
    /* Acquire: what the last other holder read is read before we write. */
    return atomic_load_explicit(&self->references, memory_order_acquire) == 1;
}

void payload_unref(struct payload **self)
{
    struct payload *payload = *self;
    *self = NULL;
    if (payload == NULL) {
        return;
    }
    unsigned before = atomic_fetch_sub_explicit(&payload->references, 1, memory_order_acq_rel);
    INVARIANT(before > 0);
    if (before == 1) {
        if (payload->release != NULL) {
            payload->release(payload->hint);
        }
        mem_free(payload);
    }
}

struct slice slice_make(struct payload *owner, struct span bytes)
{
    return (struct slice){payload_ref(owner), bytes};
}

struct slice slice_ref(const struct slice *self)
{
    if (self->owner == NULL) {
        return (struct slice){0};
    }
    return slice_make(self->owner, self->bytes);
}

void slice_release(struct slice *self)
{
    payload_unref(&self->owner);
    self->bytes = (struct span){0};
}
