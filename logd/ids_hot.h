/* ids_hot: message IDs in memory, in the order they came: a queue of entries with an index over it. About 40 bytes an ID. IDs leave at the front
 * (oldest first), which costs nothing but a step, or at the back (what was not committed after all). @thread loop */
#ifndef LOGD_IDS_HOT_H
#define LOGD_IDS_HOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "logd/ids_key.h"

struct ids_entry {
    struct ids_key key;
    uint64_t payload; /* its hash */
    uint64_t offset;  /* of the original; 0: the ID was forgotten */
    uint64_t ts_us;   /* when its time began */
};

struct ids_hot;
struct ids_hot *ids_hot_new(void);
void ids_hot_destroy(struct ids_hot **self); /* accepts NULL */

/* IDs that can be found. */
uint64_t ids_hot_count(const struct ids_hot *self);
size_t ids_hot_memory(const struct ids_hot *self);

/* Bring what the two calls below will look at into the cache: first for all keys of a batch, then again for all (the second step needs what the
 * first has brought). */
void ids_hot_prefetch(const struct ids_hot *self, const struct ids_key *key);
void ids_hot_prefetch_entry(const struct ids_hot *self, const struct ids_key *key);

/* The newest entry of that ID. */
bool ids_hot_find(const struct ids_hot *self, const struct ids_key *key,
                  struct ids_entry *ret_entry);
/* Append. Times do not fall. An older entry of the same ID is not found any more once this one is there, until this one is cut off again. */
void ids_hot_put(struct ids_hot *self, const struct ids_entry *entry);
/* Take an ID out wherever it stands. Was it there? */
bool ids_hot_remove(struct ids_hot *self, const struct ids_key *key);

/* The place behind the newest entry. */
uint64_t ids_hot_end(const struct ids_hot *self);
/* Take away what was put since `end` was the end. */
void ids_hot_cut(struct ids_hot *self, uint64_t end);

/* The oldest entry; false: none. */
bool ids_hot_first(struct ids_hot *self, struct ids_entry *ret_entry);
void ids_hot_pop(struct ids_hot *self);
void ids_hot_clear(struct ids_hot *self);

/* Walk from the oldest on: start with *cursor = 0. The entry's place is *cursor - 1 afterwards. */
bool ids_hot_next(const struct ids_hot *self, uint64_t *cursor, struct ids_entry *ret_entry);
/* Take away everything before this place. */
void ids_hot_pop_to(struct ids_hot *self, uint64_t place);

#endif
