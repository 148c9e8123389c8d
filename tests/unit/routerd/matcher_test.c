/* matcher: against a plain list by topic_matches; what it costs in steps when somebody means harm; what it takes in memory. */
#include "routerd/matcher.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/rand.h"
#include "common/base/topic.h"
#include "tests/lib/test.h"
#include "tests/unit/routerd/bombs.h"

/* --- a matcher, and beside it the plain list of who holds what --- */

enum { PAIRS_MAX = 4000, TEXT_MAX = 64 };

struct pair {
    char text[TEXT_MAX]; /* as it was given */
    char normal[TEXT_MAX];
    uint64_t holder;
};

struct both {
    struct matcher *matcher;
    struct pair pairs[PAIRS_MAX];
    size_t count;
};

static struct both *both_new(void)
{
    struct both *self = MEM_NEW(struct both);
    self->matcher = matcher_new(7);
    return self;
}

static void both_destroy(struct both *self)
{
    matcher_destroy(&self->matcher);
    mem_free(self);
}

static size_t both_place(const struct both *self, const char *normal, uint64_t holder)
{
    size_t i = 0;
    while (i < self->count &&
           (self->pairs[i].holder != holder || strcmp(self->pairs[i].normal, normal) != 0)) {
        i++;
    }
    return i;
}

static void normalise(const char *text, char out[TEXT_MAX])
{
    out[topic_normalise(span_of(text), out)] = 0;
}

static void both_add(struct both *self, const char *text, uint64_t holder)
{
    struct pair pair = {.holder = holder};
    (void) snprintf(pair.text, sizeof(pair.text), "%s", text);
    normalise(text, pair.normal);
    bool is_new = both_place(self, pair.normal, holder) == self->count;
    TEST_ASSERT_FAST(matcher_add(self->matcher, span_of(text), holder) == is_new);
    if (is_new) {
        self->pairs[self->count++] = pair;
    }
    TEST_ASSERT_FAST(matcher_count(self->matcher) == self->count);
}

static void both_remove(struct both *self, const char *text, uint64_t holder)
{
    char normal[TEXT_MAX];
    normalise(text, normal);
    size_t place = both_place(self, normal, holder);
    bool was_there = place < self->count;
    TEST_ASSERT_FAST(matcher_remove(self->matcher, span_of(text), holder) == was_there);
    if (was_there) {
        self->pairs[place] = self->pairs[--self->count];
    }
    TEST_ASSERT_FAST(matcher_count(self->matcher) == self->count);
}

struct answer {
    uint64_t holders[PAIRS_MAX];
    size_t count;
};

static void answer_add(void *ud, uint64_t holder)
{
    struct answer *self = ud;
    TEST_ASSERT_FAST(self->count < PAIRS_MAX);
    self->holders[self->count++] = holder;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *) a;
    uint64_t y = *(const uint64_t *) b;
    return x < y ? -1 : x > y;
}

static void answer_sort(struct answer *self)
{
    qsort(self->holders, self->count, sizeof(self->holders[0]), compare);
}

/* Returns how many holders it has. */
static size_t both_find(struct both *self, const char *topic)
{
    static struct answer expected;
    static struct answer got;
    expected.count = 0;
    got.count = 0;
    for (size_t i = 0; i < self->count; i++) {
        if (topic_matches(span_of(self->pairs[i].text), span_of(topic))) {
            answer_add(&expected, self->pairs[i].holder);
        }
    }
    answer_sort(&expected);
    size_t different = 0;
    for (size_t i = 0; i < expected.count; i++) {
        if (different == 0 || expected.holders[different - 1] != expected.holders[i]) {
            expected.holders[different++] = expected.holders[i];
        }
    }
    matcher_find(self->matcher, span_of(topic), answer_add, &got);
    answer_sort(&got);
    ck_assert_msg(got.count == different, "'%s': %zu holders, not %zu", topic, got.count,
                  different);
    TEST_ASSERT_FAST(memcmp(got.holders, expected.holders, different * sizeof(uint64_t)) == 0);
    return different;
}

/* --- small ones --- */

TEST(an_empty_matcher_finds_nobody)
{
    struct both *both = both_new();
    ck_assert_uint_eq(both_find(both, ""), 0);
    ck_assert_uint_eq(both_find(both, "a.b"), 0);
    both_remove(both, "#", 1);
    both_destroy(both);
}

TEST(every_kind_of_matcher_is_found)
{
    static const char *const texts[] = {
        "",      "a",        "a.b",    "*",       "#",     "*.*",     "*.#",       "a.*",
        "*.b",   "a.#",      "#.b",    "a.#.b",   "#.a.#", "#.a.b.#", "#.a.#.b.#", "a.*.#",
        "#.*.b", "$sys.a.#", "$sys.*", "#.b.#.a", "*.a.#", "#.c",     "a.#.b.#.c", "*.*.#"};
    static const char *const topics[] = {"",         "a",     "b",
                                         "a.b",      "b.a",   "a.b.c",
                                         "c",        "b.b",   "a.x.b",
                                         "a.x.y.b",  "x",     "x.y.z",
                                         "$sys",     "$a",    "$sys.a",
                                         "$sys.b.c", "a.b.a", "a.b.x.c",
                                         "b.x.a",    "x.a.b", "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p"};
    struct both *both = both_new();
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        both_add(both, texts[i], i);
    }
    size_t found = 0;
    for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
        found += both_find(both, topics[i]);
    }
    ck_assert_uint_gt(found, 60);
    both_destroy(both);
}

TEST(a_holder_of_several_matchers_is_found_once)
{
    struct both *both = both_new();
    both_add(both, "a.b", 7);
    both_add(both, "a.*", 7);
    both_add(both, "#", 7);
    both_add(both, "#", 0);
    ck_assert_uint_eq(both_find(both, "a.b"), 2);
    both_remove(both, "#", 7);
    ck_assert_uint_eq(both_find(both, "a.b"), 2);
    both_remove(both, "a.*", 7);
    both_remove(both, "a.b", 7);
    ck_assert_uint_eq(both_find(both, "a.b"), 1);
    both_destroy(both);
}

TEST(matchers_that_say_the_same_are_one)
{
    struct both *both = both_new();
    both_add(both, "a.#.*", 1);
    both_add(both, "a.*.#", 1);
    both_add(both, "a.*.#.#", 2);
    ck_assert_uint_eq(matcher_texts(both->matcher), 1);
    ck_assert_uint_eq(matcher_count(both->matcher), 2);
    both_remove(both, "a.#.*.#", 1);
    ck_assert_uint_eq(both_find(both, "a.b"), 1);
    both_destroy(both);
}

/* Around the sizes at which a set of holders changes its form. */
TEST(many_hold_one_matcher)
{
    struct both *both = both_new();
    struct prng prng;
    prng_init(&prng, 3);
    for (size_t most = 1; most < 200; most = most * 2 + 1) {
        for (int round = 0; round < 600; round++) {
            uint64_t holder = prng_below(&prng, most * 2) * UINT64_C(0x1000000000000001);
            if (prng_below(&prng, most) >= both->count / 2) {
                both_add(both, "a.*", holder);
            } else {
                both_remove(both, "a.*", holder);
            }
            if (round % 16 == 0) {
                both_find(both, "a.x");
            }
        }
    }
    while (both->count > 0) {
        both_remove(both, "a.*", both->pairs[prng_below(&prng, both->count)].holder);
    }
    ck_assert_uint_eq(matcher_texts(both->matcher), 0);
    both_destroy(both);
}

/* --- at random --- */

static void random_text(struct prng *prng, unsigned letters, unsigned wild_of_ten, size_t words_max,
                        char out[TEXT_MAX])
{
    size_t words = prng_below(prng, words_max + 1);
    size_t size = 0;
    out[0] = 0;
    for (size_t i = 0; i < words; i++) {
        char word[3] = {(char) ('a' + prng_below(prng, letters)), 0, 0};
        if (prng_below(prng, 10) < wild_of_ten) {
            word[0] = prng_below(prng, 2) == 0 ? '*' : '#';
        } else if (i == 0 && prng_below(prng, 20) == 0) {
            word[1] = word[0];
            word[0] = '$';
        }
        size += (size_t) snprintf(out + size, TEXT_MAX - size, "%s%s", i > 0 ? "." : "", word);
    }
}

static void random_rounds(uint64_t seed, unsigned letters, unsigned wild_of_ten, size_t words_max,
                          size_t most, int rounds)
{
    struct both *both = both_new();
    struct prng prng;
    char text[TEXT_MAX];
    size_t found = 0;
    prng_init(&prng, seed);
    for (int round = 0; round < rounds; round++) {
        bool grows = (size_t) round / most % 2 == 0;
        random_text(&prng, letters, wild_of_ten, words_max, text);
        if (both->count < most && prng_below(&prng, 4) != (grows ? 0 : 1)) {
            both_add(both, text, prng_below(&prng, 500));
        } else if (both->count > 0) {
            struct pair pair = both->pairs[prng_below(&prng, both->count)];
            both_remove(both, pair.text, pair.holder);
            both_remove(both, text, prng_below(&prng, 500));
        }
        if (round % 8 == 0) {
            random_text(&prng, letters, 0, words_max, text);
            found += both_find(both, text);
        }
    }
    ck_assert_uint_gt(found, 0);
    both_destroy(both);
}

TEST_WITHIN(random_matchers_are_found_as_by_trying_all, 120)
{
    random_rounds(1, 2, 4, 6, 300, 6000);
    random_rounds(2, 3, 5, 16, 1500, 12000);
    random_rounds(3, 26, 3, 4, 1500, 12000);
    random_rounds(4, 2, 2, 16, 3500, 20000);
    random_rounds(5, 5, 7, 12, 3500, 20000);
    random_rounds(6, 1, 6, 16, 1500, 12000);
}

/* So many of so few words that all have to be kept by three words, some of which are the same. */
TEST(the_same_words_in_other_order_are_told_apart)
{
    struct both *both = both_new();
    struct prng prng;
    char text[TEXT_MAX];
    prng_init(&prng, 9);
    for (uint64_t bits = 0; bits < 256; bits++) {
        size_t size = 0;
        for (unsigned i = 0; i < 8; i++) {
            size += (size_t) snprintf(text + size, TEXT_MAX - size, "#.%s.",
                                      (bits >> i & 1) != 0 ? "a" : "b");
        }
        text[size - 1] = 0;
        both_add(both, text, bits);
        if (bits < 64) { /* six words, the rest is for a `#` at the end */
            text[23] = 0;
            both_add(both, text, 1000 + bits);
        }
    }
    size_t found = 0;
    for (int round = 0; round < 300; round++) {
        size_t size = 0;
        for (unsigned i = 0; i < 6 + prng_below(&prng, 10); i++) {
            size += (size_t) snprintf(text + size, TEXT_MAX - size, "%s.",
                                      prng_below(&prng, 3) == 0 ? "a" : "b");
        }
        text[size - 1] = 0;
        found += both_find(both, text);
    }
    ck_assert_uint_gt(found, 3000);
    while (both->count > 0) {
        struct pair pair = both->pairs[prng_below(&prng, both->count)];
        both_remove(both, pair.text, pair.holder);
        if (both->count % 16 == 0) {
            both_find(both, "a.b.b.a.a.b.b.a.a.b.b");
        }
    }
    both_destroy(both);
}

/* --- harm --- */

enum { BOMB_MATCHERS = 20000, BOMB_TRIES = 60000, BOMB_TOPICS = 60, BOMB_CHECKED = 4 };

static void count_one(void *ud, uint64_t holder)
{
    (void) holder;
    ++*(uint64_t *) ud;
}

struct texts {
    char (*at)[TOPIC_SIZE_MAX + 1];
    size_t count;
};

static size_t found_plainly(const struct texts *texts, struct span topic)
{
    size_t found = 0;
    for (size_t i = 0; i < texts->count; i++) {
        found += topic_matches(span_of(texts->at[i]), topic);
    }
    return found;
}

static void fill(const struct bomb *bomb, struct prng *prng, struct matcher *matcher,
                 struct texts *texts)
{
    for (uint64_t i = 0; i < BOMB_TRIES && texts->count < BOMB_MATCHERS; i++) {
        char *at = texts->at[texts->count];
        struct span text = span_make(at, bomb->matcher(prng, i, at));
        at[text.size] = 0;
        matcher_add(matcher, text, i);
        if (matcher_texts(matcher) > texts->count) {
            texts->count++;
        } else {
            matcher_remove(matcher, text, i); /* it came before */
        }
    }
}

/* The most steps that one of its topics took beyond what it found. */
static uint64_t set_off(const struct bomb *bomb, uint64_t seed)
{
    struct matcher *matcher = matcher_new(seed);
    struct texts texts = {mem_new_array(BOMB_MATCHERS, sizeof(*texts.at)), 0};
    struct prng prng;
    uint64_t worst = 0;
    prng_init(&prng, 11);
    fill(bomb, &prng, matcher, &texts);
    for (uint64_t i = 0; i < BOMB_TOPICS; i++) {
        char text[TOPIC_SIZE_MAX + 1];
        struct span topic = span_make(text, bomb->topic(&prng, i, text));
        uint64_t found = 0;
        uint64_t steps = matcher_steps(matcher);
        matcher_find(matcher, topic, count_one, &found);
        steps = matcher_steps(matcher) - steps;
        worst = steps > found && steps - found > worst ? steps - found : worst;
        if (i < BOMB_CHECKED) {
            ck_assert_uint_eq(found, found_plainly(&texts, topic));
        }
    }
    mem_free(texts.at);
    matcher_destroy(&matcher);
    return worst;
}

/* By the chance of a seed two signs may look the same, once in thousands of times; with two seeds it is no chance. */
TEST_WITHIN(no_wildcard_bomb_takes_many_steps, 180)
{
    for (size_t i = 0; i < bomb_count; i++) {
        uint64_t steps = set_off(&bombs[i], 1);
        if (steps > bombs[i].steps_max) {
            steps = set_off(&bombs[i], 2);
        }
        ck_assert_msg(steps <= bombs[i].steps_max, "%s: %llu steps", bombs[i].name,
                      (unsigned long long) steps);
    }
}

/* --- memory --- */

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* A million in a plain build; fewer where everything is slow. */
static size_t memory_count(void)
{
    return test_slowness() > 1 ? 100000 : 1000000;
}

static void check_memory(const char *const forms[], size_t form_count)
{
    size_t count = memory_count();
    size_t before = heap_bytes();
    struct matcher *matcher = matcher_new(7);
    uint64_t empty = matcher_bytes(matcher);
    uint64_t text_bytes = 0;
    char text[TEXT_MAX];
    for (uint64_t i = 0; i < count; i++) {
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        int size = snprintf(text, sizeof(text), forms[i % form_count], (unsigned) i % 1000,
                            (unsigned) i / 1000);
        matcher_add(matcher, span_make(text, (size_t) size), i);
        text_bytes += (size_t) size;
    }
    ck_assert_uint_eq(matcher_texts(matcher), count);
    ck_assert_uint_le(matcher_bytes(matcher), count * 200 + text_bytes);
    if (heap_bytes() > before) { /* the sanitizers' heap does not tell */
        size_t taken = heap_bytes() - before;
        ck_assert_uint_le(taken, count * 200 + text_bytes);
        ck_assert_uint_le(taken, matcher_bytes(matcher) * 105 / 100);
        ck_assert_uint_ge(taken, matcher_bytes(matcher) * 95 / 100);
    }
    for (uint64_t i = 0; i < count; i++) {
        int size = snprintf(text, sizeof(text), forms[i % form_count], (unsigned) i % 1000,
                            (unsigned) i / 1000);
        TEST_ASSERT_FAST(matcher_remove(matcher, span_make(text, (size_t) size), i));
    }
    ck_assert_uint_eq(matcher_count(matcher), 0);
    ck_assert_uint_le(matcher_bytes(matcher), empty + 128 * 1024);
    matcher_destroy(&matcher);
}

TEST_WITHIN(a_million_topics_take_at_most_200_bytes_each_and_give_them_back, 120)
{
    static const char *const forms[] = {"site%u.dev%u.temp", "site%u.dev%u.temp.avg",
                                        "site%u.dev%u.temp.avg.hour"};
    check_memory(forms, 3);
}

TEST_WITHIN(a_million_wildcards_take_at_most_200_bytes_each_and_give_them_back, 120)
{
    static const char *const forms[] = {"site%u.*.dev%u", "site%u.dev%u.#", "*.s%u.d%u.temp",
                                        "#.s%u.#.d%u"};
    check_memory(forms, 4);
}

TEST(holders_of_one_matcher_take_little)
{
    struct matcher *matcher = matcher_new(7);
    uint64_t found = 0;
    for (uint64_t i = 0; i < 100000; i++) {
        matcher_add(matcher, span_of("news.*"), i);
    }
    ck_assert_uint_le(matcher_bytes(matcher), 100000 * 40);
    matcher_find(matcher, span_of("news.today"), count_one, &found);
    ck_assert_uint_eq(found, 100000);
    for (uint64_t i = 0; i < 100000; i++) {
        TEST_ASSERT_FAST(matcher_remove(matcher, span_of("news.*"), i));
    }
    ck_assert_uint_le(matcher_bytes(matcher), 128 * 1024);
    matcher_destroy(&matcher);
}
