/* matcher_bucket: the matchers with the same anchor. They stand in blocks of 64; for each sign that some of a block ask, the block has a word of 64 bits:
 * which of them do. So the signs that a topic lacks rule them out together, most often all of them. */
#ifndef ROUTERD_MATCHER_BUCKET_H
#define ROUTERD_MATCHER_BUCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "routerd/matcher_marks.h"
#include "routerd/matcher_text.h"

enum {
    MATCHER_BLOCK = 64,
    /* Signs of one block that are kept: as many as there are up to the first number; from there on two new ones for each matcher
     * that is added, up to the second. What a matcher asks beyond that is left to the exact test. */
    MATCHER_BLOCK_CODES = 64,
    MATCHER_BLOCK_CODES_MAX = 192,
};

struct matcher_block {
    struct matcher_group *groups;
    uint16_t count; /* codes in use */
    uint16_t room;  /* for codes */
};

struct matcher_bucket {
    struct matcher_entry entry; /* is_bucket is true */
    uint32_t count;
    uint32_t capacity;
    struct matcher_text **texts; /* borrowed; a block is 64 in a row */
    struct matcher_block first;
    struct matcher_block *more; /* the blocks behind the first */
    uint32_t more_count;
    uint32_t more_room;
    size_t code_bytes; /* of heap, all blocks' */
};

struct matcher_bucket *matcher_bucket_new(void);
void matcher_bucket_destroy(struct matcher_bucket **self);
/* Sets text->place. */
void matcher_bucket_add(struct matcher_bucket *self, struct matcher_text *text,
                        const uint64_t *signs, size_t sign_count);
void matcher_bucket_remove(struct matcher_bucket *self, struct matcher_text *text);
size_t matcher_bucket_memory(const struct matcher_bucket *self);

/* Which of block `block` are not ruled out: bit i is texts[block * 64 + i]. `*steps` rises by what was looked at. */
uint64_t matcher_bucket_left(const struct matcher_bucket *self, size_t block,
                             const struct matcher_marks *marks, uint64_t *steps);
size_t matcher_bucket_blocks(const struct matcher_bucket *self);
/* Fetch what matcher_bucket_left will read first. */
void matcher_bucket_prefetch(const struct matcher_bucket *self);

#endif
