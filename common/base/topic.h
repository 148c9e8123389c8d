/* topic: the names of ephemeral messages, and matchers of them, as in AMQP: words split by dots; `*` in a matcher is exactly one word, `#`
 * zero or more, anywhere. One validator for all. */
#ifndef COMMON_BASE_TOPIC_H
#define COMMON_BASE_TOPIC_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/span.h"

enum { TOPIC_SIZE_MAX = 255, TOPIC_WORDS_MAX = 16 };

/* A topic: at most 255 bytes of [A-Za-z0-9_-] in at most 16 words split by single dots; the empty topic has no words. The first word may
 * begin with `$` (kept for the system: a wildcard as the first word of a matcher does not match it). NULL if valid, else a short reason for people. */
const char *topic_check(struct span topic);

/* A matcher: as a topic, where a word may also be `*` or `#` alone. The empty matcher matches the empty topic only. */
const char *topic_check_matcher(struct span matcher);

/* The words of a valid topic or matcher; returns how many. */
size_t topic_split(struct span topic, struct span ret_words[TOPIC_WORDS_MAX]);

/* Does the (valid) matcher match the (valid) topic? Plain and obviously right: the yardstick of the index. Bounded: words times words. */
bool topic_matches(struct span matcher, struct span topic);

/* Has it a `*` or `#`? */
bool topic_has_wildcard(struct span matcher);

/* The same set of topics in its one normal form: runs of `*` and `#` as `*`s first, then at most one `#`. Written to `out`, which holds
 * at least matcher.size bytes; returns the size. So that equal matchers are equal bytes. */
size_t topic_normalise(struct span matcher, char *out);

#endif
