/* matcher_index: the matchers with wildcards, each under one anchor (matcher_signs.h). A lookup asks for the anchors that the topic could
 * satisfy, and tests what it finds there. */
#ifndef ROUTERD_MATCHER_INDEX_H
#define ROUTERD_MATCHER_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "routerd/matcher_text.h"

/* A list that grows to the largest answer so far. Zeroed: empty. */
struct matcher_found {
    struct matcher_text **texts;
    size_t count;
    size_t capacity;
};
void matcher_found_add(struct matcher_found *self, struct matcher_text *text);

struct matcher_index;
struct matcher_index *matcher_index_new(uint64_t seed);
/* The texts are not touched. */
void matcher_index_destroy(struct matcher_index **self);
void matcher_index_add(struct matcher_index *self, struct matcher_text *text); /* borrows */
void matcher_index_remove(struct matcher_index *self, struct matcher_text *text);
/* Each matcher that matches is put into `found`, once. The topic was taken apart with the same seed. */
void matcher_index_find(struct matcher_index *self, const struct matcher_topic *topic,
                        struct matcher_found *found);

size_t matcher_index_count(const struct matcher_index *self);
/* Bytes of heap, without the texts. */
size_t matcher_index_memory(const struct matcher_index *self);
/* Keys asked for, groups of signs looked at and matchers tested, by all lookups so far. */
uint64_t matcher_index_steps(const struct matcher_index *self);

#endif
