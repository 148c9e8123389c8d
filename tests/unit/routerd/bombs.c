/* bombs: what was thought of so far. Each pair of generators makes very many matchers that nearly match the topics. */
#include "tests/unit/routerd/bombs.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/base/topic.h"

enum { WORDS = TOPIC_WORDS_MAX };

struct text {
    char *out;
    size_t size;
};

static void add(struct text *text, const char *word)
{
    int size = snprintf(text->out + text->size, TOPIC_SIZE_MAX + 1 - text->size, "%s%s",
                        text->size > 0 ? "." : "", word);
    text->size += (size_t) size;
}

static void add_number(struct text *text, const char *prefix, uint64_t number)
{
    char word[32];
    (void) snprintf(word, sizeof(word), "%s%llu", prefix, (unsigned long long) number);
    add(text, word);
}

/* `*` or the word. */
static void add_maybe(struct text *text, struct prng *prng, const char *word)
{
    add(text, prng_below(prng, 2) == 0 ? "*" : word);
}

static void add_letter(struct text *text, struct prng *prng, unsigned letters)
{
    char word[2] = {(char) ('a' + prng_below(prng, letters)), 0};
    add(text, word);
}

/* --- random ones --- */

static size_t random_matcher(struct prng *prng, char *out, uint64_t words, size_t length,
                             uint64_t stars_of_ten)
{
    struct text text = {out, 0};
    for (size_t i = 0; i < length; i++) {
        if (prng_below(prng, 10) < stars_of_ten) {
            add(&text, "*");
        } else {
            add_number(&text, "w", prng_below(prng, words));
        }
    }
    return text.size;
}

static size_t random_topic(struct prng *prng, char *out, uint64_t words, size_t length)
{
    return random_matcher(prng, out, words, length, 0);
}

static size_t large_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    return random_matcher(prng, out, 10000, 4 + prng_below(prng, 13), 5);
}

static size_t large_topic(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    return random_topic(prng, out, 10000, 4 + prng_below(prng, 13));
}

static size_t twenty_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    return random_matcher(prng, out, 20, 6 + prng_below(prng, 11), 4);
}

static size_t twenty_topic(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    return random_topic(prng, out, 20, 6 + prng_below(prng, 11));
}

static size_t three_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    return random_matcher(prng, out, 3, 16, 3);
}

static size_t three_topic(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    return random_topic(prng, out, 3, 16);
}

static size_t two_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    return random_matcher(prng, out, 2, 16, 3);
}

static size_t two_topic(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    return random_topic(prng, out, 2, 16);
}

/* --- all of {*,a}^k --- */

static void add_bits(struct text *text, uint64_t bits, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        add(text, (bits >> k & 1) != 0 ? "a" : "*");
    }
}

static void add_same(struct text *text, const char *word, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        add(text, word);
    }
}

static size_t as_topic(struct prng *prng, uint64_t i, char *out)
{
    (void) prng;
    (void) i;
    struct text text = {out, 0};
    add_same(&text, "a", 16);
    return text.size;
}

static size_t end_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) prng;
    struct text text = {out, 0};
    add_bits(&text, i, 15);
    add(&text, "z");
    return text.size;
}

static size_t begin_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) prng;
    struct text text = {out, 0};
    add(&text, "z");
    add_bits(&text, i, 15);
    return text.size;
}

static size_t middle_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) prng;
    struct text text = {out, 0};
    add_bits(&text, i, 7);
    add(&text, "z");
    add_bits(&text, i >> 7, 8);
    return text.size;
}

static size_t half_end_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    struct text text = {out, 0};
    add_bits(&text, prng_next(prng), 14);
    if (prng_below(prng, 2) == 0) {
        add(&text, "z");
        add_maybe(&text, prng, "a");
    } else {
        add_maybe(&text, prng, "a");
        add(&text, "z");
    }
    return text.size;
}

static size_t tails_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) prng;
    struct text text = {out, 0};
    add_bits(&text, i, 15);
    add_number(&text, "t", i >> 15);
    return text.size;
}

static size_t unique_matcher(struct prng *prng, uint64_t i, char *out)
{
    struct text text = {out, 0};
    add_bits(&text, prng_next(prng), 15);
    add_number(&text, "t", i);
    return text.size;
}

static size_t stars_unique_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) prng;
    struct text text = {out, 0};
    add_same(&text, "*", 3 + i % 12);
    add_number(&text, "t", i);
    return text.size;
}

/* One word that does not fit, at any place. */
static size_t one_bad_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    struct text text = {out, 0};
    uint64_t bad = prng_below(prng, 16);
    for (uint64_t k = 0; k < 16; k++) {
        if (k == bad) {
            add(&text, "b");
        } else {
            add_maybe(&text, prng, "a");
        }
    }
    return text.size;
}

static size_t some_bs_topic(struct prng *prng, uint64_t i, char *out)
{
    struct text text = {out, 0};
    for (size_t k = 0; k < 16; k++) {
        add(&text, prng_below(prng, 16) < i % 16 ? "b" : "a");
    }
    return text.size;
}

/* As {*,a}^16, but the first word is the system's. */
static size_t system_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) prng;
    struct text text = {out, 0};
    add(&text, "*");
    add_bits(&text, i, 15);
    return text.size;
}

static size_t system_topic(struct prng *prng, uint64_t i, char *out)
{
    (void) prng;
    (void) i;
    struct text text = {out, 0};
    add(&text, "$a");
    add_same(&text, "a", 15);
    return text.size;
}

/* --- one `#` --- */

static size_t too_long_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) prng;
    struct text text = {out, 0};
    add_bits(&text, i, 8);
    add(&text, "#");
    add_bits(&text, i >> 8, 7);
    return text.size;
}

static size_t fourteen_as_topic(struct prng *prng, uint64_t i, char *out)
{
    (void) prng;
    (void) i;
    struct text text = {out, 0};
    add_same(&text, "a", 14);
    return text.size;
}

static size_t sides_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    struct text text = {out, 0};
    size_t left = prng_below(prng, 16);
    for (size_t k = 0; k < 16; k++) {
        if (k == left) {
            add(&text, "#");
        } else if (prng_below(prng, 3) == 0) {
            add(&text, "*");
        } else {
            add_letter(&text, prng, 2);
        }
    }
    return text.size;
}

static size_t two_letters_topic(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    struct text text = {out, 0};
    for (size_t k = 0; k < 16; k++) {
        add_letter(&text, prng, 2);
    }
    return text.size;
}

static size_t hash_tail_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) prng;
    struct text text = {out, 0};
    add_bits(&text, i, 13);
    add(&text, "#");
    add_number(&text, "t", i >> 13);
    return text.size;
}

/* --- several `#` --- */

static size_t scattered(struct prng *prng, char *out, uint64_t words, size_t least, size_t more)
{
    struct text text = {out, 0};
    size_t length = least + prng_below(prng, more + 1);
    for (size_t k = 0; k < length; k++) {
        add(&text, "#");
        add_number(&text, "w", prng_below(prng, words));
    }
    return text.size;
}

static size_t scattered_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    return scattered(prng, out, 16, 6, 2);
}

static size_t scattered_large_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    return scattered(prng, out, 1000, 3, 5);
}

static size_t scattered_three_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    return scattered(prng, out, 3, 5, 3);
}

static size_t thousand_topic(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    return random_topic(prng, out, 1000, 16);
}

/* All sixteen words in random order. */
static size_t shuffled_topic(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    struct text text = {out, 0};
    unsigned order[WORDS] = {0};
    for (unsigned k = 0; k < WORDS; k++) {
        unsigned other = (unsigned) prng_below(prng, k + 1);
        order[k] = order[other];
        order[other] = k;
    }
    for (size_t k = 0; k < WORDS; k++) {
        add_number(&text, "w", order[k]);
    }
    return text.size;
}

static size_t in_order_topic(struct prng *prng, uint64_t i, char *out)
{
    (void) prng;
    (void) i;
    struct text text = {out, 0};
    for (unsigned k = 0; k < WORDS; k++) {
        add_number(&text, "w", k);
    }
    return text.size;
}

/* In the order of the topic but for the last step. */
static size_t last_step_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    struct text text = {out, 0};
    uint64_t bits = prng_next(prng);
    size_t words = 0;
    for (unsigned k = 1; k < 15 && words < 5; k++) {
        if ((bits >> k & 1) != 0) {
            add(&text, "#");
            add_number(&text, "w", k);
            words++;
        }
    }
    add(&text, "#.w15.#.w0");
    return text.size;
}

/* Two rows of words in the topic's order, the second of which begins anywhere. */
static size_t one_step_back_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    struct text text = {out, 0};
    size_t words = 0;
    for (int row = 0; row < 2; row++) {
        uint64_t bits = prng_next(prng) & prng_next(prng);
        for (unsigned k = 0; k < WORDS && words < 8; k++) {
            if ((bits >> k & 1) != 0) {
                add(&text, "#");
                add_number(&text, "w", k);
                words++;
            }
        }
    }
    return text.size;
}

/* Words of the topic in its order, but some stand next to each other that do not in the topic. */
static size_t next_to_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    struct text text = {out, 0};
    uint64_t bits = prng_next(prng);
    size_t words = 0;
    add(&text, "#");
    for (unsigned k = 0; k < WORDS && words < 10; k++) {
        if ((bits >> k & 1) != 0) {
            add_number(&text, "w", k);
            if (++words == 4) {
                add(&text, "#");
            }
        }
    }
    add(&text, "#");
    return text.size;
}

static void add_run(struct text *text, struct prng *prng, size_t length)
{
    for (size_t k = 0; k < length; k++) {
        add_letter(text, prng, 3);
    }
}

static size_t runs_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    struct text text = {out, 0};
    for (int run = 0; run < 3; run++) {
        add(&text, "#");
        add_run(&text, prng, 4);
    }
    add(&text, "#");
    return text.size;
}

static size_t three_letters_topic(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    struct text text = {out, 0};
    add_run(&text, prng, 16);
    return text.size;
}

static size_t many_as_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    struct text text = {out, 0};
    for (size_t k = 0; k < 15; k++) {
        uint64_t what = prng_below(prng, 3);
        add(&text, what == 0 ? "*" : what == 1 && k > 0 ? "#" : "a");
    }
    add(&text, "b");
    return text.size;
}

static size_t mixed_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    struct text text = {out, 0};
    size_t length = 4 + prng_below(prng, 13);
    for (size_t k = 0; k < length; k++) {
        uint64_t what = prng_below(prng, 4);
        if (what == 0) {
            add(&text, "*");
        } else if (what == 1) {
            add(&text, "#");
        } else {
            add_number(&text, "w", prng_below(prng, 16));
        }
    }
    return text.size;
}

/* Two letters, stars and `#` in a short row: the letters are everywhere, only the whole tells. */
static size_t tiny_matcher(struct prng *prng, uint64_t i, char *out)
{
    (void) i;
    struct text text = {out, 0};
    for (size_t k = 0; k < 16; k++) {
        uint64_t what = prng_below(prng, 8);
        if (k == 1 || k == 13 || what == 0) {
            add(&text, "#");
        } else if (what < 3) {
            add(&text, "*");
        } else {
            add_letter(&text, prng, 2);
        }
    }
    return text.size;
}

static size_t woven_topic(struct prng *prng, uint64_t i, char *out)
{
    (void) prng;
    (void) i;
    static const char topic[] = "a.b.b.a.b.a.a.b.b.a.a.b.a.b.b.a";
    memcpy(out, topic, sizeof(topic) - 1);
    return sizeof(topic) - 1;
}

/* As tiny_matcher, but none matches: the worst that is known, for no two words of it say so. */
static size_t tiny_miss_matcher(struct prng *prng, uint64_t i, char *out)
{
    char topic[TOPIC_SIZE_MAX + 1];
    struct span woven = span_make(topic, woven_topic(prng, i, topic));
    size_t size = 0;
    do {
        size = tiny_matcher(prng, i, out);
    } while (topic_matches(span_make(out, size), woven));
    return size;
}

const struct bomb bombs[] = {
    {"random, 10,000 words, half *", large_matcher, large_topic, 50},
    {"random, 20 words, 40% *", twenty_matcher, twenty_topic, 300},
    {"random, {a,b,c,*}^16", three_matcher, three_topic, 2000},
    {"random, {a,b,*}^16", two_matcher, two_topic, 2800},
    {"{*,a}^15.z, topic a^16", end_matcher, as_topic, 2200},
    {"z.{*,a}^15, topic a^16", begin_matcher, as_topic, 2200},
    {"{*,a}^7.z.{*,a}^8, topic a^16", middle_matcher, as_topic, 2200},
    {"{*,a}^14 and z at one of two places, topic a^16", half_end_matcher, as_topic, 2400},
    {"{*,a}^15.t0 to t6, topic a^16", tails_matcher, as_topic, 2200},
    {"{*,a}^15.tN, topic a^16", unique_matcher, as_topic, 150},
    {"*.*...tN, topic a^16", stars_unique_matcher, as_topic, 5},
    {"{*,a}^15 and b anywhere, topic a^16", one_bad_matcher, as_topic, 1000},
    {"{*,a}^15 and b anywhere, topic {a,b}^16", one_bad_matcher, some_bs_topic, 2200},
    {"*.{*,a}^15, topic $a.a^15", system_matcher, system_topic, 2200},
    {"{*,a}^8.#.{*,a}^7, topic a^14", too_long_matcher, fourteen_as_topic, 2200},
    {"{a,b,*}^k.#.{a,b,*}^(15-k)", sides_matcher, two_letters_topic, 3300},
    {"{*,a}^13.#.tN, topic a^16", hash_tail_matcher, as_topic, 2600},
    {"#.w.#.w... of 16 words, topic all in random order", scattered_matcher, shuffled_topic, 6500},
    {"#.w.#.w... of 1,000 words", scattered_large_matcher, thousand_topic, 900},
    {"#.w.#.w... of 3 words", scattered_three_matcher, three_topic, 5000},
    {"#.w.#.w... in the topic's order but the last", last_step_matcher, in_order_topic, 1400},
    {"#.w.#.w... in the topic's order, one step back", one_step_back_matcher, in_order_topic, 2200},
    {"#.w.w.w.#.w.w.# in order, not adjacent in the topic", next_to_matcher, in_order_topic, 800},
    {"#.{a,b,c}^4.#.{a,b,c}^4.#.{a,b,c}^4.#", runs_matcher, three_letters_topic, 2000},
    {"{a,*,#}^15.b, topic a^16", many_as_matcher, as_topic, 900},
    {"random, 16 words, * and #", mixed_matcher, shuffled_topic, 2500},
    {"{a,b,*,#}^16", tiny_matcher, two_letters_topic, 9000},
    {"{a,b,*,#}^16 without those that match the topic", tiny_miss_matcher, woven_topic, 8500},
};
const size_t bomb_count = sizeof(bombs) / sizeof(bombs[0]);
