/* matcher_bucket: the matchers with the same anchor. They stand in blocks of 64; for each sign that some of a block ask, the block has a word of 64 bits:
 * which of them do. So the signs that a topic lacks rule them out together, most often all of them. */
#ifndef ROUTERD_MATCHER_BUCKET_H
#define ROUTERD_MATCHER_BUCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "routerd/matcher_signs.h"
#include "routerd/matcher_text.h"

enum {
    MATCHER_CODES = 1 << 14,
    MATCHER_BLOCK = 64,
    MATCHER_BLOCK_CODES = 64, /* so many signs of a block are looked at, whoever asks them */
    MATCHER_BLOCK_CODES_MAX =
        192, /* and two more for each one that comes then; what else it asks only if others do */
};

/* A sign as two numbers below MATCHER_CODES. */
struct matcher_code {
    uint16_t one;
    uint16_t two;
};

static inline struct matcher_code matcher_code_of(uint64_t sign)
{
    return (struct matcher_code){(uint16_t) (sign >> 50),
                                 (uint16_t) (sign >> 36 & (MATCHER_CODES - 1))};
}

/* What the topic has: 1 for the codes of its signs, else 0. Two tables, so that it is no matter when two signs meet in one. */
struct matcher_marks {
    uint8_t one[MATCHER_CODES];
    uint8_t two[MATCHER_CODES];
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
