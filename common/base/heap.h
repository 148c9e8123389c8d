/* heap: a binary min-heap of pointers with a caller's order; each member keeps its own position, so that it
 * can be moved or removed in O(log n). */
#ifndef COMMON_BASE_HEAP_H
#define COMMON_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>

struct heap_node {
    size_t position; /* 0 = not in a heap; else index + 1 */
};

typedef bool heap_less_fn(const struct heap_node *a, const struct heap_node *b);

struct heap {
    struct heap_node **nodes;
    size_t count;
    size_t capacity;
    heap_less_fn *less;
};

void heap_init(struct heap *self, heap_less_fn *less);
void heap_release(struct heap *self); /* the members are not touched */
void heap_push(struct heap *self, struct heap_node *node);
struct heap_node *heap_peek(const struct heap *self); /* smallest; NULL if empty */
struct heap_node *heap_pop(struct heap *self);        /* NULL if empty */
void heap_remove(struct heap *self, struct heap_node *node);
/* The member's key has changed. */
void heap_update(struct heap *self, struct heap_node *node);

#endif
