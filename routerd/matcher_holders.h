/* matcher_holders: the set of those who hold one matcher: nothing to one is kept in place, more in a list with an index. */
#ifndef ROUTERD_MATCHER_HOLDERS_H
#define ROUTERD_MATCHER_HOLDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct matcher_holder_list;

/* Zeroed: empty. */
struct matcher_holders {
    union {
        uint64_t one;                     /* count is 1 and is_list is not set */
        struct matcher_holder_list *list; /* is_list */
    } as;
    uint32_t count;
    bool is_list;
};

void matcher_holders_release(struct matcher_holders *self);
/* false: it is there already. `seed` is the same for all calls with this set. */
bool matcher_holders_add(struct matcher_holders *self, uint64_t holder, uint64_t seed);
/* false: it is not there. */
bool matcher_holders_remove(struct matcher_holders *self, uint64_t holder, uint64_t seed);
/* All of them, `count` in a row. Borrowed until the set changes. */
const uint64_t *matcher_holders_all(const struct matcher_holders *self);
/* Bytes of heap. */
size_t matcher_holders_memory(const struct matcher_holders *self);

#endif
