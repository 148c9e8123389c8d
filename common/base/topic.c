/* topic: the one validator of topics and matchers, and the plain way to hold one against the other. Owns nothing, allocates nothing. */
#include "common/base/topic.h"

#include "common/base/invariant.h"

static bool topic_byte_is_allowed(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '_' || byte == '-';
}

static bool word_is_wildcard(struct span word)
{
    return word.size == 1 && (word.data[0] == '*' || word.data[0] == '#');
}

static const char *word_check(struct span word, bool is_first, bool may_be_wildcard)
{
    if (word.size == 0) {
        return "empty word";
    }
    if (may_be_wildcard && word_is_wildcard(word)) {
        return NULL;
    }
    for (size_t i = 0; i < word.size; i++) {
        uint8_t byte = word.data[i];
        if (topic_byte_is_allowed(byte) || (byte == '$' && is_first && i == 0)) {
            continue;
        }
        if (byte == '$') {
            return "'$' only begins the first word";
        }
        if (byte == '*' || byte == '#') {
            return may_be_wildcard ? "a wildcard is a word of its own"
                                   : "wildcards are for matchers only";
        }
        return "character not allowed";
    }
    return NULL;
}

static const char *topic_check_words(struct span text, bool may_have_wildcards)
{
    if (text.size > TOPIC_SIZE_MAX) {
        return "longer than 255 bytes";
    }
    if (text.size == 0) {
        return NULL;
    }
    size_t words = 0;
    for (size_t begin = 0; begin <= text.size; words++) {
        size_t end = begin;
        while (end < text.size && text.data[end] != '.') {
            end++;
        }
        const char *reason =
            word_check(span_make(text.data + begin, end - begin), words == 0, may_have_wildcards);
        if (reason != NULL) {
            return reason;
        }
        begin = end + 1;
    }
    return words > TOPIC_WORDS_MAX ? "more than 16 words" : NULL;
}

const char *topic_check(struct span topic)
{
    return topic_check_words(topic, false);
}

const char *topic_check_matcher(struct span matcher)
{
    return topic_check_words(matcher, true);
}

size_t topic_split(struct span topic, struct span ret_words[TOPIC_WORDS_MAX])
{
    if (topic.size == 0) {
        return 0;
    }
    size_t words = 0;
    size_t begin = 0;
    for (size_t i = 0; i <= topic.size; i++) {
        if (i == topic.size || topic.data[i] == '.') {
            INVARIANT(words < TOPIC_WORDS_MAX);
            ret_words[words++] = span_make(topic.data + begin, i - begin);
            begin = i + 1;
        }
    }
    return words;
}

/* Bit i of `reached`: the matcher's words so far match the first i words of the topic. */
bool topic_matches(struct span matcher, struct span topic)
{
    struct span steps[TOPIC_WORDS_MAX];
    struct span words[TOPIC_WORDS_MAX];
    size_t step_count = topic_split(matcher, steps);
    size_t word_count = topic_split(topic, words);
    const uint32_t all = (UINT32_C(2) << word_count) - 1;
    uint32_t reached = 1;

    if (topic.size > 0 && topic.data[0] == '$' && step_count > 0 && word_is_wildcard(steps[0])) {
        return false;
    }
    for (size_t k = 0; k < step_count && reached != 0; k++) {
        if (span_is(steps[k], "#")) {
            reached = all & ~((reached & -reached) - 1); /* the first one and all behind it */
        } else if (span_is(steps[k], "*")) {
            reached = reached << 1 & all;
        } else {
            uint32_t next = 0;
            for (size_t i = 0; i < word_count; i++) {
                if ((reached >> i & 1) != 0 && span_equal(steps[k], words[i])) {
                    next |= UINT32_C(2) << i;
                }
            }
            reached = next;
        }
    }
    return (reached >> word_count & 1) != 0;
}

/* Both only ever stand alone, as a word. */
bool topic_has_wildcard(struct span matcher)
{
    for (size_t i = 0; i < matcher.size; i++) {
        if (matcher.data[i] == '*' || matcher.data[i] == '#') {
            return true;
        }
    }
    return false;
}

static size_t word_append(char *out, size_t size, const void *word, size_t word_size)
{
    if (size > 0) {
        out[size++] = '.';
    }
    memcpy(out + size, word, word_size);
    return size + word_size;
}

size_t topic_normalise(struct span matcher, char *out)
{
    struct span steps[TOPIC_WORDS_MAX];
    size_t step_count = topic_split(matcher, steps);
    size_t size = 0;

    for (size_t k = 0; k < step_count;) {
        bool has_hash = false;
        for (; k < step_count && word_is_wildcard(steps[k]); k++) {
            if (steps[k].data[0] == '*') {
                size = word_append(out, size, "*", 1);
            } else {
                has_hash = true;
            }
        }
        if (has_hash) {
            size = word_append(out, size, "#", 1);
        }
        if (k < step_count) {
            size = word_append(out, size, steps[k].data, steps[k].size);
            k++;
        }
    }
    return size;
}
