/* mem: allocation with one rule for each kind of size. */
#ifndef COMMON_BASE_MEM_H
#define COMMON_BASE_MEM_H

#include <stddef.h>

/* Zeroed memory for a small object of our own; the process ends with a message when there is none. */
void *mem_new(size_t size);
void *mem_new_array(size_t count, size_t size);
/* For a table of megabytes that is looked up at random: in the system's large pages where it has them. Not zeroed. */
void *mem_new_large(size_t size);

/* Memory whose size a peer or a file chose: NULL when there is none or count * size overflows. Not zeroed. */
void *mem_try_new(size_t size);
void *mem_try_new_array(size_t count, size_t size);

/* Grow or shrink; the first ends the process when there is no memory, the second returns NULL and leaves `old`. */
void *mem_resize(void *old, size_t count, size_t size);
void *mem_try_resize(void *old, size_t count, size_t size);

/* Owned copies. */
char *mem_strdup(const char *text);
void *mem_copy(const void *data, size_t size);

/* Accepts NULL. */
void mem_free(void *memory);

/* Free *pointer and null it. */
#define MEM_FREE(pointer)                                                                          \
    do {                                                                                           \
        mem_free(pointer);                                                                         \
        (pointer) = NULL;                                                                          \
    } while (0)

#define MEM_NEW(type)              ((type *) mem_new(sizeof(type)))
#define MEM_NEW_ARRAY(count, type) ((type *) mem_new_array((count), sizeof(type)))

#endif
