/* topic: what is allowed, what matches what, and the normal form. */
#include "common/base/topic.h"

#include <stdio.h>

#include "common/base/rand.h"
#include "tests/lib/test.h"

static const char sixteen[] = "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p";

static void check_reasons(const char *text, const char *topic_reason, const char *matcher_reason)
{
    const char *got = topic_check(span_of(text));
    ck_assert_msg((got == NULL) == (topic_reason == NULL), "topic '%s': %s", text,
                  got != NULL ? got : "allowed");
    ck_assert(got == NULL || strcmp(got, topic_reason) == 0);
    got = topic_check_matcher(span_of(text));
    ck_assert_msg((got == NULL) == (matcher_reason == NULL), "matcher '%s': %s", text,
                  got != NULL ? got : "allowed");
    ck_assert(got == NULL || strcmp(got, matcher_reason) == 0);
}

TEST(ordinary_topics_are_topics_and_matchers)
{
    static const char *const topics[] = {"",  "a", "orders.eu.new", "A-Z_0-9.x", "0",    "-",
                                         "_", "$", "$sys.up",       "$a",        sixteen};
    for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
        check_reasons(topics[i], NULL, NULL);
    }
}

TEST(wildcards_stand_alone_in_matchers_only)
{
    static const char only[] = "wildcards are for matchers only";
    static const char alone[] = "a wildcard is a word of its own";
    static const char *const matchers[] = {"*", "#", "*.a", "a.#.b", "#.#", "*.*.*", "$a.*"};
    static const char *const neither[] = {"a*", "*a", "##", "**", "a.b#", "*#", "$#"};
    for (size_t i = 0; i < sizeof(matchers) / sizeof(matchers[0]); i++) {
        check_reasons(matchers[i], only, NULL);
    }
    for (size_t i = 0; i < sizeof(neither) / sizeof(neither[0]); i++) {
        check_reasons(neither[i], only, alone);
    }
}

TEST(words_are_not_empty_and_not_too_many)
{
    static const char *const texts[] = {".", ".a", "a.", "a..b", "..", "a.b."};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        check_reasons(texts[i], "empty word", "empty word");
    }
    char text[64];
    (void) snprintf(text, sizeof(text), "%s.q", sixteen);
    check_reasons(text, "more than 16 words", "more than 16 words");
}

TEST(a_dollar_begins_the_first_word_only)
{
    static const char *const texts[] = {"a.$b", "a$", "$$", "a.b.$"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        check_reasons(texts[i], "'$' only begins the first word", "'$' only begins the first word");
    }
}

TEST(a_topic_has_at_most_255_bytes)
{
    char text[257];
    memset(text, 'a', sizeof(text));
    ck_assert_ptr_null(topic_check(span_make(text, 255)));
    ck_assert_str_eq(topic_check(span_make(text, 256)), "longer than 255 bytes");
    ck_assert_str_eq(topic_check_matcher(span_make(text, 256)), "longer than 255 bytes");
}

TEST(all_other_bytes_are_refused)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[3] = {'a', (char) byte, 'b'};
        bool good = byte != 0 && strchr(allowed, (int) byte) != NULL;
        ck_assert_msg((topic_check(span_make(text, 3)) == NULL) == good, "byte %u", byte);
        ck_assert_msg((topic_check_matcher(span_make(text, 3)) == NULL) == good, "byte %u", byte);
    }
}

TEST(a_topic_is_split_into_its_words)
{
    struct span words[TOPIC_WORDS_MAX];
    ck_assert_uint_eq(topic_split(span_of(""), words), 0);
    ck_assert_uint_eq(topic_split(span_of("abc"), words), 1);
    ck_assert(span_is(words[0], "abc"));
    ck_assert_uint_eq(topic_split(span_of("a.#.cd"), words), 3);
    ck_assert(span_is(words[0], "a") && span_is(words[1], "#") && span_is(words[2], "cd"));
    ck_assert_uint_eq(topic_split(span_of(sixteen), words), 16);
    ck_assert(span_is(words[15], "p"));
}

struct matcher_row {
    const char *matcher;
    const char *topic;
    bool matches;
};

TEST(matchers_match_as_in_amqp)
{
    static const struct matcher_row rows[] = {
        {"", "", true},
        {"", "a", false},
        {"a", "", false},
        {"*", "", false},
        {"#", "", true},
        {"#.#", "", true},
        {"#.*", "", false},
        {"a.b", "a.b", true},
        {"a.b", "a", false},
        {"a.b", "a.b.c", false},
        {"a.b", "a.bb", false},
        {"a", "A", false},
        {"*", "a", true},
        {"*", "a.b", false},
        {"*.b", "a.b", true},
        {"a.*", "a", false},
        {"a.*.c", "a.b.c", true},
        {"#", "a.b.c", true},
        {"a.#", "a", true},
        {"a.#", "a.b.c", true},
        {"a.#", "b.a", false},
        {"#.c", "c", true},
        {"#.c", "a.b.c", true},
        {"#.c", "a.c.b", false},
        {"#.b.#", "a.b.c", true},
        {"#.b.#", "b", true},
        {"#.b.#", "a.c", false},
        {"a.#.c", "a.c", true},
        {"a.#.c", "a.b.b.c", true},
        {"a.#.c", "a.c.c", true},
        {"a.#.c", "a.b", false},
        {"#.a.#.b.#", "x.b.a.y", false},
        {"#.a.#.b.#", "x.a.y.b", true},
        {"*.#", "a", true},
        {"*.#.*", "a", false},
        {"*.#.*", "a.b", true},
        {"#.*.#", "", false},
        {"#.a.b.#.a", "a.a.b.a", true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert_msg(topic_matches(span_of(rows[i].matcher), span_of(rows[i].topic)) ==
                          rows[i].matches,
                      "'%s' and '%s'", rows[i].matcher, rows[i].topic);
    }
}

TEST(a_first_word_with_a_dollar_is_matched_literally_only)
{
    static const struct matcher_row rows[] = {
        {"#", "$sys", false},        {"*", "$sys", false},        {"#.up", "$sys.up", false},
        {"*.up", "$sys.up", false},  {"#.#", "$sys.a.b", false},  {"$sys", "$sys", true},
        {"$sys.#", "$sys", true},    {"$sys.*", "$sys.up", true}, {"$sys.#.up", "$sys.up", true},
        {"$sys.#", "$other", false}, {"sys", "$sys", false},      {"$sys", "sys", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert_msg(topic_matches(span_of(rows[i].matcher), span_of(rows[i].topic)) ==
                          rows[i].matches,
                      "'%s' and '%s'", rows[i].matcher, rows[i].topic);
    }
}

TEST(a_wildcard_is_seen)
{
    ck_assert(!topic_has_wildcard(span_of("")));
    ck_assert(!topic_has_wildcard(span_of("a.b-c.$")));
    ck_assert(topic_has_wildcard(span_of("#")));
    ck_assert(topic_has_wildcard(span_of("a.*.b")));
    ck_assert(topic_has_wildcard(span_of("a.b.#")));
}

static void check_normal(const char *matcher, const char *expected)
{
    char out[TOPIC_SIZE_MAX];
    size_t size = topic_normalise(span_of(matcher), out);
    ck_assert_msg(span_is(span_make(out, size), expected), "'%s' became '%.*s'", matcher,
                  (int) size, out);
}

TEST(the_normal_form_has_stars_first_and_one_hash)
{
    check_normal("", "");
    check_normal("a.b", "a.b");
    check_normal("#", "#");
    check_normal("#.#.#", "#");
    check_normal("#.*", "*.#");
    check_normal("#.*.#.*.a", "*.*.#.a");
    check_normal("a.*.b.#.#.c.*", "a.*.b.#.c.*");
    check_normal("*.*", "*.*");
    check_normal("a.#.#", "a.#");
}

/* --- at random, against a second matcher that tries everything --- */

static bool matches_slowly(const struct span *steps, size_t step_count, const struct span *words,
                           size_t word_count)
{
    if (step_count == 0) {
        return word_count == 0;
    }
    if (span_is(steps[0], "#")) {
        return matches_slowly(steps + 1, step_count - 1, words, word_count) ||
               (word_count > 0 && matches_slowly(steps, step_count, words + 1, word_count - 1));
    }
    return word_count > 0 && (span_is(steps[0], "*") || span_equal(steps[0], words[0])) &&
           matches_slowly(steps + 1, step_count - 1, words + 1, word_count - 1);
}

static struct span random_text(struct prng *prng, const char *const *words, size_t count, char *out)
{
    size_t length = prng_below(prng, 7);
    size_t size = 0;
    for (size_t i = 0; i < length; i++) {
        const char *word = words[prng_below(prng, count)];
        size += (size_t) snprintf(out + size, 64 - size, "%s%s", i > 0 ? "." : "", word);
    }
    return span_make(out, size);
}

TEST(random_matchers_match_what_trying_everything_finds_and_so_does_the_normal_form)
{
    static const char *const words[] = {"#", "*", "a", "b"};
    struct prng prng;
    prng_init(&prng, 7);
    size_t matched = 0;
    for (int i = 0; i < 100000; i++) {
        char texts[3][64];
        struct span steps[TOPIC_WORDS_MAX];
        struct span parts[TOPIC_WORDS_MAX];
        struct span matcher = random_text(&prng, words, 4, texts[0]);
        struct span topic = random_text(&prng, words + 2, 2, texts[1]);
        struct span normal = span_make(texts[2], topic_normalise(matcher, texts[2]));
        bool expected =
            matches_slowly(steps, topic_split(matcher, steps), parts, topic_split(topic, parts));
        TEST_ASSERT_FAST(topic_matches(matcher, topic) == expected);
        TEST_ASSERT_FAST(normal.size <= matcher.size && topic_check_matcher(normal) == NULL);
        TEST_ASSERT_FAST(topic_matches(normal, topic) == expected);
        matched += expected;
    }
    TEST_ASSERT_FAST(matched > 10000 && matched < 90000);
}
