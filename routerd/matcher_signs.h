/* matcher_signs: what a topic must have so that a matcher can match it: signs. Each is a 64-bit key, made of keyed hashes, so that nobody
 * can choose topics or matchers whose signs are equal by chance. Different signs with one key do no harm: a matcher that was found is tested exactly.
 *
 * Which signs there are depends on the matcher:
 *   no `#`        this word at this place, in a topic of so many words
 *   one `#`       this word at this place from the left, or from the right
 *   more `#`      these words in a row, anywhere; this word somewhere before that word, or so many before it; and the left and right places around the outer `#`
 *   all           at least so many words; the first word is not `$...`
 *
 * A matcher is kept under one key only, its anchor: its rarest sign, or its two or three rarest together when many share the
 * rarest. So whoever registers very many matchers that nearly match a topic has made the signs common that they have in common, and rare the ones by which they
 * fail. */
#ifndef ROUTERD_MATCHER_SIGNS_H
#define ROUTERD_MATCHER_SIGNS_H

#include <stddef.h>
#include <stdint.h>

#include "routerd/matcher_text.h"

enum matcher_family {
    MATCHER_EXACT, /* by place, words counted */
    MATCHER_LEFT,  /* by place from the left */
    MATCHER_RIGHT, /* by place from the right */
    MATCHER_RUN,   /* words in a row */
    MATCHER_ORDER, /* words one behind the other */
    MATCHER_GAP,   /* two words so far apart; never an anchor */
    MATCHER_FAMILY_COUNT
};

enum { MATCHER_SIGNS_MAX = 16 };

/* One key of several signs: begin, then one step a sign, in the order of the words. */
uint64_t matcher_key_begin(enum matcher_family family, size_t words);

static inline uint64_t matcher_key_step(uint64_t key, uint64_t sign)
{
    key = (key ^ sign) * UINT64_C(0x9e3779b97f4a7c15);
    return key ^ key >> 32;
}

/* The sign of a word at a place, or of a word anywhere. */
static inline uint64_t matcher_sign_at(uint64_t hash, size_t place)
{
    return hash + (uint64_t) (place + 1) * UINT64_C(0xd1b54a32d192ed03);
}

uint64_t matcher_sign_least(size_t words);
uint64_t matcher_sign_free(void); /* does not begin with `$` */

/* How many matchers have which sign, roughly: never too few, by chance too many. */
struct matcher_sketch;
struct matcher_sketch *matcher_sketch_new(size_t counters); /* a power of two */
void matcher_sketch_destroy(struct matcher_sketch **self);
uint32_t matcher_sketch_get(const struct matcher_sketch *self, uint64_t sign);
/* +1 or -1 for all signs of a matcher. */
void matcher_sketch_change(struct matcher_sketch *self, const struct matcher_pattern *pattern,
                           int by);
size_t matcher_sketch_counters(const struct matcher_sketch *self);

/* The family of a matcher: MATCHER_EXACT without `#`, MATCHER_LEFT with one (LEFT and RIGHT, then), MATCHER_ORDER with more (ORDER and RUN). */
enum matcher_family matcher_pattern_family(const struct matcher_pattern *pattern);

/* An anchor: a key, and how many signs are in it. */
struct matcher_anchor {
    uint64_t key;
    enum matcher_family family;
    size_t signs; /* 1, 2 or 3; 0: the matcher has no word */
};

/* The rarest signs of the family as one key: `signs` of them, or all it has if fewer. */
struct matcher_anchor matcher_anchor_make(const struct matcher_pattern *pattern,
                                          const struct matcher_sketch *sketch,
                                          enum matcher_family family, size_t signs);
/* How common the rarest sign of that family is; UINT32_MAX: it has none. */
uint32_t matcher_rarest(const struct matcher_pattern *pattern, const struct matcher_sketch *sketch,
                        enum matcher_family family);

/* The signs to look at before the exact test. Returns how many. */
size_t matcher_signs_list(const struct matcher_pattern *pattern,
                          uint64_t ret_signs[MATCHER_SIGNS_MAX]);

#endif
