/* matcher_text: what a matcher is made of, and the exact test that has the last word before a holder is found. Owns its
 * own bytes and holders. Never looks at an index. */
#include "routerd/matcher_text.h"

#include "common/base/hash.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

#include "routerd/matcher_heap.h"

struct matcher_text *matcher_text_new(struct span text)
{
    INVARIANT(text.size <= TOPIC_SIZE_MAX);
    struct matcher_text *self = mem_new(sizeof(*self) + text.size);
    self->size = (uint8_t) text.size;
    self->has_wildcard = topic_has_wildcard(text);
    if (text.size > 0) {
        memcpy(self->bytes, text.data, text.size);
    }
    return self;
}

void matcher_text_destroy(struct matcher_text **self)
{
    if (*self != NULL) {
        matcher_holders_release(&(*self)->holders);
        MEM_FREE(*self);
    }
}

struct span matcher_text_span(const struct matcher_text *self)
{
    return span_make(self->bytes, self->size);
}

size_t matcher_text_memory(const struct matcher_text *self)
{
    return matcher_heap(sizeof(*self) + self->size) + matcher_holders_memory(&self->holders);
}

void matcher_topic_init(struct matcher_topic *self, struct span topic, uint64_t seed)
{
    self->count = topic_split(topic, self->words);
    self->is_system = topic.size > 0 && topic.data[0] == '$';
    memset(self->begins, 0, sizeof(self->begins));
    for (size_t i = 0; i < self->count; i++) {
        self->hashes[i] = hash_bytes(self->words[i], seed);
        self->begins[self->words[i].data[0] & 127] |= UINT32_C(1) << i;
        self->before[i] = -1;
        self->same[i] = UINT32_C(1) << i;
        for (size_t k = i; k-- > 0;) {
            if (self->hashes[k] == self->hashes[i] && span_equal(self->words[k], self->words[i])) {
                self->before[i] = (int) k;
                break;
            }
        }
    }
    for (size_t i = self->count;
         i-- > 0;) { /* from the last one of each word to the first, and back */
        if (self->before[i] >= 0) {
            self->same[self->before[i]] |= self->same[i];
        }
    }
    for (size_t i = 0; i < self->count; i++) {
        if (self->before[i] >= 0) {
            self->same[i] = self->same[self->before[i]];
        }
    }
}

/* The word that begins at `at`. */
static struct span text_word(struct span text, size_t at)
{
    size_t end = at;
    while (end < text.size && text.data[end] != '.') {
        end++;
    }
    return span_make(text.data + at, end - at);
}

/* Words are short and mostly differ in length or at an end. */
static inline bool words_equal(struct span a, struct span b)
{
    return a.size == b.size && a.data[0] == b.data[0] && a.data[a.size - 1] == b.data[b.size - 1] &&
           (a.size <= 2 || memcmp(a.data, b.data, a.size) == 0);
}

/* One comparison for each different word that begins alike. */
static uint32_t literal_step(uint32_t reached, struct span word, const struct matcher_topic *topic)
{
    uint32_t left = reached & topic->begins[word.data[0] & 127];
    while (left != 0) {
        unsigned i = (unsigned) __builtin_ctz(left);
        if (words_equal(word, topic->words[i])) {
            return (reached & topic->same[i]) << 1;
        }
        left &= ~topic->same[i];
    }
    return 0;
}

/* Bit i of `reached`: the steps so far match the first i words. */
bool matcher_text_matches(struct span text, const struct matcher_topic *topic)
{
    const uint32_t all = (UINT32_C(2) << topic->count) - 1;
    uint32_t reached = 1;
    for (size_t at = 0; at < text.size && reached != 0;) {
        struct span word = text_word(text, at);
        if (word.size == 1 && word.data[0] == '#') {
            reached = all & ~((reached & -reached) - 1);
        } else if (word.size == 1 && word.data[0] == '*') {
            reached = reached << 1 & all;
        } else {
            reached = literal_step(reached, word, topic);
        }
        if (at == 0 && topic->is_system && (word.data[0] == '#' || word.data[0] == '*')) {
            return false;
        }
        at += word.size + 1;
    }
    return (reached >> topic->count & 1) != 0;
}

void matcher_pattern_init(struct matcher_pattern *self, struct span text, uint64_t seed)
{
    *self = (struct matcher_pattern){0};
    size_t last_hash = 0; /* steps before the last `#` */
    for (size_t at = 0; at < text.size;) {
        struct span word = text_word(text, at);
        at += word.size + 1;
        if (word.size == 1 && word.data[0] == '#') {
            if (self->hash_count == 0) {
                self->left = self->steps;
            }
            self->hash_count++;
            self->hash_before[self->steps] = true;
            last_hash = self->steps;
            continue;
        }
        INVARIANT(self->steps < TOPIC_WORDS_MAX);
        if (word.size == 1 && word.data[0] == '*') {
            self->is_star[self->steps] = true;
        } else {
            self->hashes[self->steps] = hash_bytes(word, seed);
            self->literals++;
        }
        self->steps++;
    }
    if (self->hash_count == 0) {
        self->left = self->steps;
    } else {
        self->right = self->steps - last_hash;
    }
}
