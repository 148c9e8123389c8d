/* asks: who waits for which command of the log. One entry a proposed command, in order of index; found by index when it is applied, and by name
 * so that what is asked about a name with a change under way is decided after it. @thread loop */
#ifndef RAFTD_ASKS_H
#define RAFTD_ASKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/list.h"
#include "common/base/span.h"

struct asks;

enum { ASKS_MAX = 16384 };

struct ask {
    struct list link;
    struct list same_key; /* others about the same name */
    uint64_t index;
    uint64_t ticket; /* of the bus request to answer */
    char *key;       /* owned */
};

struct asks *asks_new(void);
void asks_destroy(struct asks **self);

size_t asks_count(const struct asks *self);
bool asks_is_full(const struct asks *self);
/* Is a command about this name under way? */
bool asks_has_key(const struct asks *self, struct span key);

/* In order of index. */
void asks_add(struct asks *self, uint64_t index, uint64_t ticket, struct span key);
/* The ticket of this index, taken out: true. False: nobody waits for it. */
bool asks_take(struct asks *self, uint64_t index, uint64_t *ret_ticket);

#endif
