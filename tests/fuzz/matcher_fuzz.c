/* matcher_fuzz: the topic index against the plain match of every matcher there is. Input: a row of commands: add or remove a matcher for one of a few
 * holders, or find a topic. A byte is a word, so that few bytes make many words that meet. */
#include "routerd/matcher.h"

#include "common/base/invariant.h"
#include "common/base/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAIRS_MAX = 400, HOLDERS = 64 };

struct pair {
    uint8_t text[TOPIC_SIZE_MAX];
    size_t size;
    uint64_t holder;
};

struct both {
    struct matcher *matcher;
    size_t count;
    struct pair pairs[PAIRS_MAX];
};

static struct span pair_span(const struct pair *pair)
{
    return span_make(pair->text, pair->size);
}

/* Up to 16 words of the bytes behind; moves *data on. */
static size_t text_read(struct span *data, bool is_matcher, uint8_t out[TOPIC_SIZE_MAX])
{
    static const char *const words[] = {"a", "b", "c", "aa", "ab", "d-1", "e_2", "long-word"};
    size_t count = data->size > 0 ? data->data[0] % (TOPIC_WORDS_MAX + 1) : 0;
    size_t size = 0;
    for (size_t i = 0; i < count && i + 1 < data->size; i++) {
        uint8_t byte = data->data[i + 1];
        const char *word = is_matcher && byte % 4 == 0   ? "*"
                           : is_matcher && byte % 4 == 1 ? "#"
                           : i == 0 && byte > 250        ? "$a"
                                                         : words[byte / 4 % 8];
        if (i > 0) {
            out[size++] = '.';
        }
        memcpy(out + size, word, strlen(word));
        size += strlen(word);
    }
    size_t used = count + 1 < data->size ? count + 1 : data->size;
    *data = span_make(data->data + used, data->size - used);
    return size;
}

static bool is_same(const struct pair *pair, struct span normal, uint64_t holder)
{
    char other[TOPIC_SIZE_MAX];
    return pair->holder == holder &&
           span_equal(span_make(other, topic_normalise(pair_span(pair), other)), normal);
}

static size_t both_place(const struct both *self, struct span text, uint64_t holder)
{
    char normal[TOPIC_SIZE_MAX];
    size_t size = topic_normalise(text, normal);
    size_t i = 0;
    while (i < self->count && !is_same(&self->pairs[i], span_make(normal, size), holder)) {
        i++;
    }
    return i;
}

static void both_add(struct both *self, struct pair *pair)
{
    bool is_new = both_place(self, pair_span(pair), pair->holder) == self->count;
    if (self->count == PAIRS_MAX) {
        return;
    }
    INVARIANT(matcher_add(self->matcher, pair_span(pair), pair->holder) == is_new);
    if (is_new) {
        self->pairs[self->count++] = *pair;
    }
}

static void both_remove(struct both *self, struct span text, uint64_t holder)
{
    size_t place = both_place(self, text, holder);
    bool was_there = place < self->count;
    INVARIANT(matcher_remove(self->matcher, text, holder) == was_there);
    if (was_there) {
        self->pairs[place] = self->pairs[--self->count];
    }
}

static void found_add(void *ud, uint64_t holder)
{
    uint64_t *found = ud;
    INVARIANT(holder < HOLDERS && (*found >> holder & 1) == 0);
    *found |= UINT64_C(1) << holder;
}

static void both_find(struct both *self, struct span topic)
{
    uint64_t expected = 0;
    uint64_t found = 0;
    INVARIANT(topic_check(topic) == NULL);
    for (size_t i = 0; i < self->count; i++) {
        if (topic_matches(pair_span(&self->pairs[i]), topic)) {
            expected |= UINT64_C(1) << self->pairs[i].holder;
        }
    }
    matcher_find(self->matcher, topic, found_add, &found);
    INVARIANT(found == expected);
}

static void step(struct both *self, struct span *data)
{
    uint8_t command = data->data[0];
    struct pair pair = {.holder = command / 4 % HOLDERS};
    *data = span_make(data->data + 1, data->size - 1);
    pair.size = text_read(data, command % 4 != 3, pair.text);
    if (command % 4 == 3) {
        both_find(self, pair_span(&pair));
        return;
    }
    INVARIANT(topic_check_matcher(pair_span(&pair)) == NULL);
    if (command % 4 < 2) {
        both_add(self, &pair);
    } else if (pair.size == 0 && self->count > 0) { /* one that is there */
        struct pair there = self->pairs[command / 4 % self->count];
        both_remove(self, pair_span(&there), there.holder);
    } else {
        both_remove(self, pair_span(&pair), pair.holder);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct both both;
    struct span rest = span_make(data, size);
    both.matcher = matcher_new(7);
    both.count = 0;
    while (rest.size > 0) {
        step(&both, &rest);
        INVARIANT(matcher_count(both.matcher) == both.count);
    }
    while (both.count > 0) {
        struct pair there = both.pairs[both.count - 1];
        both_remove(&both, pair_span(&there), there.holder);
    }
    INVARIANT(matcher_texts(both.matcher) == 0 && matcher_bytes(both.matcher) < 1 << 20);
    matcher_destroy(&both.matcher);
    return 0;
}
