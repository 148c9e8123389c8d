/* matcher_marks: the signs that one topic has, as a set of short codes. Two signs may share a code: then a matcher is ruled out
 * a little less often, never too often. */
#ifndef ROUTERD_MATCHER_MARKS_H
#define ROUTERD_MATCHER_MARKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "routerd/matcher_signs.h"
#include "routerd/matcher_text.h"

/* Not of the bits that choose the counter in the sketch: a rare sign that shares its counter with a common one is not in the anchor, and must not
 * look like that one here, too. */
static inline uint16_t matcher_code_of(uint64_t sign)
{
    return (uint16_t) (sign >> 32);
}

enum {
    MATCHER_MARK_WORDS = (1 << 16) / 64,
    /* Does not begin with `$`, by two families; 0 to 16 words; each word by place, in three ways; each two words in order, so far apart, and
     * as the ends of a row. */
    MATCHER_MARKED_MAX =
        2 + 17 + 3 * TOPIC_WORDS_MAX + 3 * TOPIC_WORDS_MAX * (TOPIC_WORDS_MAX - 1) / 2,
};

/* Zeroed: no mark. */
struct matcher_marks {
    uint64_t bits[MATCHER_MARK_WORDS];
    bool has_family[MATCHER_FAMILY_COUNT];
    size_t count;
    uint16_t codes[MATCHER_MARKED_MAX]; /* to clear them again */
};

/* Set the marks that matchers of this family may ask for; nothing if they are set already. */
void matcher_marks_set(struct matcher_marks *self, const struct matcher_topic *topic,
                       enum matcher_family family);
void matcher_marks_clear(struct matcher_marks *self);

/* All bits if there is no such mark, else none. */
static inline uint64_t matcher_marks_lack(const struct matcher_marks *self, uint16_t code)
{
    return (self->bits[code / 64] >> (code % 64) & 1) - 1;
}

#endif
