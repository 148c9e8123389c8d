/* matcher_marks: which signs a topic has. Owns nothing beyond the marks; each lookup sets what it needs and clears it again.
 * Must mark every sign that a matcher of the family can ask of a topic that it matches, or matchers would be lost. */
#include "routerd/matcher_marks.h"

#include "common/base/invariant.h"

static void mark(struct matcher_marks *self, uint64_t sign)
{
    INVARIANT(self->count < MATCHER_MARKED_MAX);
    uint16_t code = matcher_code_of(sign);
    self->codes[self->count++] = code;
    self->bits[code / 64] |= UINT64_C(1) << (code % 64);
}

static void mark_places(struct matcher_marks *self, const struct matcher_topic *topic,
                        enum matcher_family family)
{
    uint64_t begin = matcher_key_begin(family, family == MATCHER_EXACT ? topic->count : 0);
    for (size_t i = 0; i < topic->count; i++) {
        uint64_t hash = topic->hashes[family == MATCHER_RIGHT ? topic->count - 1 - i : i];
        mark(self, matcher_key_step(begin, matcher_sign_at(hash, i)));
    }
}

static void mark_order(struct matcher_marks *self, const struct matcher_topic *topic)
{
    for (size_t i = 0; i < topic->count; i++) {
        uint64_t order = matcher_key_step(matcher_key_begin(MATCHER_ORDER, 0), topic->hashes[i]);
        uint64_t run = matcher_key_step(matcher_key_begin(MATCHER_RUN, 0), topic->hashes[i]);
        for (size_t k = i + 1; k < topic->count; k++) {
            uint64_t gap =
                matcher_key_step(matcher_key_begin(MATCHER_GAP, k - i), topic->hashes[i]);
            run = matcher_key_step(run, topic->hashes[k]);
            mark(self, run);
            mark(self, matcher_key_step(order, topic->hashes[k]));
            mark(self, matcher_key_step(gap, topic->hashes[k]));
        }
    }
}

void matcher_marks_set(struct matcher_marks *self, const struct matcher_topic *topic,
                       enum matcher_family family)
{
    family = family == MATCHER_RIGHT ? MATCHER_LEFT
             : family == MATCHER_RUN ? MATCHER_ORDER
                                     : family;
    if (self->has_family[family]) {
        return;
    }
    self->has_family[family] = true;
    if (family == MATCHER_ORDER) {
        matcher_marks_set(self, topic, MATCHER_LEFT); /* they ask for those signs, too */
        mark_order(self, topic);
        return;
    }
    if (!topic->is_system) {
        mark(self, matcher_sign_free());
    }
    if (family == MATCHER_EXACT) {
        mark_places(self, topic, MATCHER_EXACT);
        return;
    }
    for (size_t i = 0; i <= topic->count; i++) {
        mark(self, matcher_sign_least(i));
    }
    mark_places(self, topic, MATCHER_LEFT);
    mark_places(self, topic, MATCHER_RIGHT);
}

void matcher_marks_clear(struct matcher_marks *self)
{
    for (size_t i = 0; i < self->count; i++) {
        self->bits[self->codes[i] / 64] = 0;
    }
    self->count = 0;
    memset(self->has_family, 0, sizeof(self->has_family));
}
