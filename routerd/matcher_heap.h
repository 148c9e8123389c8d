/* matcher_heap: what a block costs on the heap: its size, the allocator's word before it, and rounding. */
#ifndef ROUTERD_MATCHER_HEAP_H
#define ROUTERD_MATCHER_HEAP_H

#include <stddef.h>

static inline size_t matcher_heap(size_t size)
{
    size_t block = (size + 8 + 15) & ~(size_t) 15;
    return size == 0 ? 0 : block < 32 ? 32 : block;
}

#endif
