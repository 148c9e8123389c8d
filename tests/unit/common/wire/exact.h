/* exact: bytes in a block of exactly their size, so that a sanitizer sees a look past the end. */
#ifndef TESTS_UNIT_COMMON_WIRE_EXACT_H
#define TESTS_UNIT_COMMON_WIRE_EXACT_H

#include "common/base/mem.h"
#include "common/base/span.h"

/* Returns owned: exact_free. */
static inline struct span exact_copy(struct span bytes)
{
    return bytes.size != 0 ? span_make(mem_copy(bytes.data, bytes.size), bytes.size)
                           : span_make(NULL, 0);
}

static inline void exact_free(struct span bytes)
{
    union {
        const uint8_t *borrowed;
        void *owned;
    } data = {bytes.data};
    mem_free(data.owned);
}

/* A span over constant bytes that live as long as the program: SPAN(0x0a, 0x00). */
#define SPAN(...)                                                                                  \
    __extension__({                                                                                \
        static const uint8_t span_bytes[] = {__VA_ARGS__};                                         \
        span_make(span_bytes, sizeof(span_bytes));                                                 \
    })

#endif
