/* matcher: which of very many matchers match a topic. The index of one exchange: built of valid matchers (topic.h), each with any number of
 * holders (64-bit values chosen by the caller; the same holder may hold several matchers, and is found once).
 *
 * Bounds, held by tests: a lookup costs at most a small constant times (index nodes it may touch), each node at most once for a position in the topic;
 * memory is at most 200 bytes a holder of a matcher of its own, beyond the text, with a million of them. @thread loop */
#ifndef ROUTERD_MATCHER_H
#define ROUTERD_MATCHER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"

struct matcher;
struct matcher *matcher_new(void);
void matcher_destroy(struct matcher **self);

/* `holder` holds this matcher from now on. false: it did before. */
bool matcher_add(struct matcher *self, struct span text, uint64_t holder);
/* No longer. false: it did not. What became empty is freed. */
bool matcher_remove(struct matcher *self, struct span text, uint64_t holder);

/* Called once for each holder that has a matcher for this (valid) topic, in no certain order. Nothing may be added or removed meanwhile. */
typedef void matcher_found_fn(void *ud, uint64_t holder);
void matcher_find(struct matcher *self, struct span topic, matcher_found_fn *found, void *ud);

/* How many (matcher, holder) pairs, different matchers, and bytes there are. */
uint64_t matcher_count(const struct matcher *self);
uint64_t matcher_texts(const struct matcher *self);
uint64_t matcher_bytes(const struct matcher *self);
/* Index nodes looked at by all lookups so far: what the bound is about. */
uint64_t matcher_steps(const struct matcher *self);

#endif
