/* heap: a binary min-heap. Owns the array of pointers, never the members. */
#include "common/base/heap.h"

#include "common/base/invariant.h"
#include "common/base/mem.h"

enum { HEAP_CAPACITY_MIN = 16 };

void heap_init(struct heap *self, heap_less_fn *less)
{
    *self = (struct heap){.less = less};
}

void heap_release(struct heap *self)
{
    mem_free(self->nodes);
    *self = (struct heap){.less = self->less};
}

static void heap_place(struct heap *self, size_t index, struct heap_node *node)
{
    self->nodes[index] = node;
    node->position = index + 1;
}

/* Put `node` at the free place `index` or above it. */
static void heap_rise(struct heap *self, size_t index, struct heap_node *node)
{
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (!self->less(node, self->nodes[parent])) {
            break;
        }
        heap_place(self, index, self->nodes[parent]);
        index = parent;
    }
    heap_place(self, index, node);
}

/* Put `node` at the free place `index` or below it. */
static void heap_sink(struct heap *self, size_t index, struct heap_node *node)
{
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= self->count) {
            break;
        }
        if (child + 1 < self->count && self->less(self->nodes[child + 1], self->nodes[child])) {
            child++;
        }
        if (!self->less(self->nodes[child], node)) {
            break;
        }
        heap_place(self, index, self->nodes[child]);
        index = child;
    }
    heap_place(self, index, node);
}

static void heap_settle(struct heap *self, size_t index, struct heap_node *node)
{
    if (index > 0 && self->less(node, self->nodes[(index - 1) / 2])) {
        heap_rise(self, index, node);
    } else {
        heap_sink(self, index, node);
    }
}

void heap_push(struct heap *self, struct heap_node *node)
{
    INVARIANT(node->position == 0);
    if (self->count == self->capacity) {
        self->capacity = self->capacity != 0 ? 2 * self->capacity : HEAP_CAPACITY_MIN;
        self->nodes = mem_resize(self->nodes, self->capacity, sizeof(struct heap_node *));
    }
    self->count++;
    heap_rise(self, self->count - 1, node);
}

struct heap_node *heap_peek(const struct heap *self)
{
    return self->count != 0 ? self->nodes[0] : NULL;
}

struct heap_node *heap_pop(struct heap *self)
{
    struct heap_node *node = heap_peek(self);
    if (node != NULL) {
        heap_remove(self, node);
    }
    return node;
}

void heap_remove(struct heap *self, struct heap_node *node)
{
    size_t index = node->position - 1;
    INVARIANT(node->position != 0);
    INVARIANT(index < self->count && self->nodes[index] == node);

    struct heap_node *moved = self->nodes[--self->count];
    if (moved != node) {
        heap_settle(self, index, moved);
    }
    node->position = 0;
}

void heap_update(struct heap *self, struct heap_node *node)
{
    INVARIANT(node->position != 0);
    INVARIANT(self->nodes[node->position - 1] == node);
    heap_settle(self, node->position - 1, node);
}
