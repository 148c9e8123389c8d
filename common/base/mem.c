/* mem: allocation with one rule for each kind of size. */
#include "common/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MEM_LARGE_PAGE = 2 << 20 };

static _Noreturn void mem_out(size_t size)
{
    (void) fprintf(stderr, "level=fatal event=\"out of memory\" bytes=%zu\n", size);
    abort();
}

void *mem_new(size_t size)
{
    return mem_new_array(1, size);
}

void *mem_new_array(size_t count, size_t size)
{
    void *memory = calloc(count != 0 ? count : 1, size != 0 ? size : 1);
    if (memory == NULL) {
        mem_out(count * size);
    }
    return memory;
}

void *mem_new_large(size_t size)
{
    size_t whole = (size + MEM_LARGE_PAGE - 1) / MEM_LARGE_PAGE * MEM_LARGE_PAGE;
    void *memory = aligned_alloc(MEM_LARGE_PAGE, whole);
    if (memory == NULL) {
        mem_out(whole);
    }
    (void) madvise(memory, whole, MADV_HUGEPAGE); /* it works without, only slower */
    return memory;
}

void *mem_try_new(size_t size)
{
    return malloc(size != 0 ? size : 1);
}

void *mem_try_new_array(size_t count, size_t size)
{
    return mem_try_resize(NULL, count, size);
}

void *mem_resize(void *old, size_t count, size_t size)
{
    void *memory = mem_try_resize(old, count, size);
    if (memory == NULL) {
        mem_out(count * size);
    }
    return memory;
}

void *mem_try_resize(void *old, size_t count, size_t size)
{
    if (count == 0 || size == 0) {
        count = 1;
        size = 1;
    }
    return reallocarray(old, count, size);
}

char *mem_strdup(const char *text)
{
    return mem_copy(text, strlen(text) + 1);
}

void *mem_copy(const void *data, size_t size)
{
    void *memory = mem_new(size);
    if (size != 0) {
        memcpy(memory, data, size);
    }
    return memory;
}

void mem_free(void *memory)
{
    free(memory);
}
