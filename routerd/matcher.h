/* matcher: which of very many matchers match a topic. The index of one exchange: built of valid matchers (topic.h), each with any number of
 * holders (64-bit values chosen by the caller; the same holder may hold several matchers, and is found once).
 *
 * Matchers without a wildcard are found by one probe with the topic. The others are no trie, where `*` and `#` double the ways: each stands under one
 * key made of its one to three rarest words (matcher_signs.h), and a lookup asks for the keys of one to three words that the topic has. Those under the same key
 * stand in blocks of 64 and are ruled out together by the words that the topic lacks (matcher_bucket.h). What is left is tested exactly.
 *
 * Bounds, held by tests. A lookup of a topic of n words takes at most this many steps, whatever the matchers are:
 *
 *     1 + 5 K + 48 B + E      K = n + n(n-1)/2 + n(n-1)(n-2)/6, at most 696: words and
 *                                two and three of them
 *                             B: blocks of up to 64 matchers under those keys
 *                             E: matchers that were tested exactly: those that the topic matches, and those that it does not though it
 *                                has every sign of theirs that was looked at
 *
 * A step is a few nanoseconds, a test up to a hundred. 200,000 matchers made to nearly match make some thousand steps (docs/ephemeral.md). E is
 * large only for matchers with several `#` and hardly different words, where the order of the same few words is all that tells.
 *
 * Memory is at most 200 bytes a holder of a matcher of its own, beyond the text, with a million of them. @thread loop */
#ifndef ROUTERD_MATCHER_H
#define ROUTERD_MATCHER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"

struct matcher;
/* `seed`: of its hashes; at random where topics come from outside, so that nobody can make them collide. */
struct matcher *matcher_new(uint64_t seed);
void matcher_destroy(struct matcher **self);

/* `holder` holds this matcher from now on. false: it did before. */
bool matcher_add(struct matcher *self, struct span text, uint64_t holder);
/* No longer. false: it did not. What became empty is freed. */
bool matcher_remove(struct matcher *self, struct span text, uint64_t holder);

/* Called once for each holder that has a matcher for this (valid) topic, in no certain order. Nothing may be added or removed meanwhile. */
typedef void matcher_found_fn(void *ud, uint64_t holder);
void matcher_find(struct matcher *self, struct span topic, matcher_found_fn *found, void *ud);

/* How many (matcher, holder) pairs, different matchers, and bytes of heap there are. */
uint64_t matcher_count(const struct matcher *self);
uint64_t matcher_texts(const struct matcher *self);
uint64_t matcher_bytes(const struct matcher *self);
/* Keys asked for, groups of signs looked at and matchers tested by all lookups so far: what the bound is about. */
uint64_t matcher_steps(const struct matcher *self);

#endif
