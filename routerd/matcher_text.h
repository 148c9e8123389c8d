/* matcher_text: one matcher with its holders; a matcher and a topic taken apart; and whether the one matches the other. */
#ifndef ROUTERD_MATCHER_TEXT_H
#define ROUTERD_MATCHER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/span.h"
#include "common/base/topic.h"

#include "routerd/matcher_holders.h"

/* An entry of the index of wildcards: a matcher that is alone under its key, or a bucket of several. Both begin with this. */
struct matcher_entry {
    bool is_bucket;
};

struct matcher_text {
    struct matcher_entry entry; /* is_bucket is false */
    uint8_t size;
    bool has_wildcard;
    uint8_t kind;    /* of its anchor; the index's */
    uint32_t place;  /* in its bucket */
    uint64_t anchor; /* the key under which the index of wildcards has it */
    struct matcher_holders holders;
    char bytes[]; /* in normal form */
};

/* Without holders, in no index. `text` is valid, in normal form, and copied. */
struct matcher_text *matcher_text_new(struct span text);
void matcher_text_destroy(struct matcher_text **self);
struct span matcher_text_span(const struct matcher_text *self);
/* Bytes of heap, the text's own characters too. */
size_t matcher_text_memory(const struct matcher_text *self);

/* A topic taken apart. Borrows the topic. */
struct matcher_topic {
    struct span words[TOPIC_WORDS_MAX];
    uint64_t hashes[TOPIC_WORDS_MAX]; /* of the words, keyed */
    int before[TOPIC_WORDS_MAX];      /* where the same word was last, -1: nowhere */
    uint32_t same[TOPIC_WORDS_MAX];   /* bit k: word k is the same as this one */
    uint32_t begins[128];             /* bit k: word k begins with this character */
    size_t count;
    bool is_system; /* begins with `$` */
};
void matcher_topic_init(struct matcher_topic *self, struct span topic, uint64_t seed);

/* The same answer as topic_matches, for a text with wildcards. */
bool matcher_text_matches(struct span text, const struct matcher_topic *topic);

/* A matcher in normal form taken apart: its steps are its words but for `#`. */
struct matcher_pattern {
    uint64_t hashes[TOPIC_WORDS_MAX]; /* keyed; of no meaning for a `*` */
    bool is_star[TOPIC_WORDS_MAX];
    bool hash_before[TOPIC_WORDS_MAX + 1]; /* is there a `#` before this step, or at the end */
    size_t steps;
    size_t hash_count;
    size_t left;  /* steps before the first `#` */
    size_t right; /* steps after the last `#`; 0 if there is none */
    size_t literals;
};
void matcher_pattern_init(struct matcher_pattern *self, struct span text, uint64_t seed);

#endif
