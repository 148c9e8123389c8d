/* matcher_index: anchors -> matchers. Owns the table of anchors, the buckets in it, the sketch and the marks; borrows the
 * matchers. It never finds a matcher without the exact test, so neither a stale count nor two signs with the same key can do
 * worse than waste a step. */
#include "routerd/matcher_index.h"

#include <assert.h>

#include "common/base/hash.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

#include "routerd/matcher_bucket.h"
#include "routerd/matcher_heap.h"
#include "routerd/matcher_marks.h"
#include "routerd/matcher_signs.h"

enum {
    BUCKET_FULL = 64, /* then a key of one sign more is used */
    SKETCH_SMALL = 1 << 10,
    SKETCH_LARGE = 1 << 16,
    SKETCH_SMALL_TEXTS = 4096,
    MARK_FROM = 3, /* smaller buckets are not worth setting the marks */
    PENDING = 32,
};

/* Kinds of anchors: so that a lookup asks only for those that there are. */
enum {
    KIND_EXACT = 0, /* words * 3 + signs - 1 */
    KIND_LEFT = (TOPIC_WORDS_MAX + 1) * 3,
    KIND_RIGHT = KIND_LEFT + 3,
    KIND_ORDER = KIND_RIGHT + 3,
    KIND_RUN = KIND_ORDER + 3, /* words */
    KIND_COUNT = KIND_RUN + TOPIC_WORDS_MAX + 1,
    KIND_PLAIN = 255 /* has no literal word: in `stars` or `least` */
};
static_assert(KIND_COUNT < KIND_PLAIN, "a kind is one byte");

struct matcher_index {
    struct hash64 *anchors; /* -> struct matcher_entry */
    uint32_t kinds[KIND_COUNT];
    struct matcher_text *stars[TOPIC_WORDS_MAX + 1]; /* so many `*` */
    struct matcher_text *least[TOPIC_WORDS_MAX + 1]; /* and a `#` */
    size_t count;
    uint64_t seed;
    struct matcher_sketch *sketch; /* NULL until needed */
    uint64_t bucket_bytes;
    uint64_t steps;
    struct matcher_marks *marks; /* none between lookups; NULL until needed */
};

/* One lookup. */
struct search {
    struct matcher_index *index;
    const struct matcher_topic *topic;
    struct matcher_found *found;
    enum matcher_family family; /* whose anchors are asked for now */
    size_t entry_count;
    size_t text_count;
    struct matcher_entry *entries[PENDING]; /* to be looked into */
    struct matcher_text *texts[PENDING];    /* to be tested */
};

void matcher_found_add(struct matcher_found *self, struct matcher_text *text)
{
    if (self->count == self->capacity) {
        self->capacity = self->capacity < 16 ? 16 : self->capacity * 2;
        self->texts = mem_resize(self->texts, self->capacity, sizeof(struct matcher_text *));
    }
    self->texts[self->count++] = text;
}

struct matcher_index *matcher_index_new(uint64_t seed)
{
    struct matcher_index *self = MEM_NEW(struct matcher_index);
    self->anchors = hash64_new();
    self->seed = seed;
    return self;
}

/* The values are not touched, but the buckets. */
static void anchors_clear(struct matcher_index *self)
{
    size_t cursor = 0;
    for (struct matcher_entry *entry = hash64_next(self->anchors, &cursor); entry != NULL;
         entry = hash64_next(self->anchors, &cursor)) {
        if (entry->is_bucket) {
            struct matcher_bucket *bucket = (struct matcher_bucket *) entry;
            matcher_bucket_destroy(&bucket);
        }
    }
    hash64_destroy(&self->anchors);
}

void matcher_index_destroy(struct matcher_index **self)
{
    if (*self != NULL) {
        anchors_clear(*self);
        matcher_sketch_destroy(&(*self)->sketch);
        mem_free((*self)->marks);
        MEM_FREE(*self);
    }
}

size_t matcher_index_count(const struct matcher_index *self)
{
    return self->count;
}

size_t matcher_index_memory(const struct matcher_index *self)
{
    size_t sketch =
        self->sketch != NULL ? matcher_sketch_counters(self->sketch) * sizeof(uint32_t) : 0;
    return matcher_heap(sizeof(*self)) + hash64_memory(self->anchors) + self->bucket_bytes +
           sketch + matcher_heap(self->marks != NULL ? sizeof(*self->marks) : 0);
}

uint64_t matcher_index_steps(const struct matcher_index *self)
{
    return self->steps;
}

/* --- the sketch --- */

static void sketch_change_text(struct matcher_index *self, const struct matcher_text *text)
{
    struct matcher_pattern pattern;
    matcher_pattern_init(&pattern, matcher_text_span(text), self->seed);
    matcher_sketch_change(self->sketch, &pattern, 1);
}

/* A small one for few matchers; the large one is filled once, from all that there are. */
static void sketch_fit(struct matcher_index *self)
{
    if (self->sketch == NULL) {
        self->sketch = matcher_sketch_new(SKETCH_SMALL);
    }
    if (self->count < SKETCH_SMALL_TEXTS || matcher_sketch_counters(self->sketch) == SKETCH_LARGE) {
        return;
    }
    matcher_sketch_destroy(&self->sketch);
    self->sketch = matcher_sketch_new(SKETCH_LARGE);
    size_t cursor = 0;
    for (struct matcher_entry *entry = hash64_next(self->anchors, &cursor); entry != NULL;
         entry = hash64_next(self->anchors, &cursor)) {
        if (!entry->is_bucket) {
            sketch_change_text(self, (struct matcher_text *) entry);
            continue;
        }
        struct matcher_bucket *bucket = (struct matcher_bucket *) entry;
        for (uint32_t i = 0; i < bucket->count; i++) {
            sketch_change_text(self, bucket->texts[i]);
        }
    }
}

/* --- where a matcher goes --- */

static uint32_t anchor_size(const struct matcher_index *self, uint64_t key)
{
    const struct matcher_entry *entry = hash64_get(self->anchors, key);
    return entry == NULL      ? 0
           : entry->is_bucket ? ((const struct matcher_bucket *) entry)->count
                              : 1;
}

/* As few signs as leave the bucket small. */
static struct matcher_anchor choose_signs(const struct matcher_index *self,
                                          const struct matcher_pattern *pattern,
                                          enum matcher_family family, size_t signs_min)
{
    struct matcher_anchor anchor;
    size_t signs = signs_min;
    do {
        anchor = matcher_anchor_make(pattern, self->sketch, family, signs++);
    } while (signs <= 3 && anchor.signs == signs - 1 &&
             anchor_size(self, anchor.key) >= BUCKET_FULL);
    return anchor;
}

/* One `#`: the side with the rarest word, unless that one is full, has fewer words, and is not that much rarer. */
static struct matcher_anchor choose_side(const struct matcher_index *self,
                                         const struct matcher_pattern *pattern)
{
    uint32_t left = matcher_rarest(pattern, self->sketch, MATCHER_LEFT);
    uint32_t right = matcher_rarest(pattern, self->sketch, MATCHER_RIGHT);
    bool is_left = left <= right;
    struct matcher_anchor anchor =
        choose_signs(self, pattern, is_left ? MATCHER_LEFT : MATCHER_RIGHT, 1);
    uint32_t rarer = is_left ? left : right;
    uint32_t other_count = is_left ? right : left;
    if (other_count != UINT32_MAX && other_count / 4 <= rarer && anchor.signs < 3 &&
        anchor_size(self, anchor.key) >= BUCKET_FULL) {
        struct matcher_anchor other =
            choose_signs(self, pattern, is_left ? MATCHER_RIGHT : MATCHER_LEFT, 1);
        anchor = other.signs > anchor.signs ? other : anchor;
    }
    return anchor;
}

/* Several `#`: a row of words while that is rare by itself or beside any pair. */
static struct matcher_anchor choose_order(const struct matcher_index *self,
                                          const struct matcher_pattern *pattern)
{
    struct matcher_anchor run = matcher_anchor_make(pattern, self->sketch, MATCHER_RUN, 1);
    uint32_t run_count = matcher_rarest(pattern, self->sketch, MATCHER_RUN);
    uint32_t pair_count = matcher_rarest(pattern, self->sketch, MATCHER_ORDER);
    if (pair_count == UINT32_MAX || run_count < pair_count / 4 ||
        anchor_size(self, run.key) < BUCKET_FULL) {
        return run;
    }
    return choose_signs(self, pattern, MATCHER_ORDER, 2);
}

static struct matcher_anchor choose_anchor(const struct matcher_index *self,
                                           const struct matcher_pattern *pattern)
{
    enum matcher_family family = matcher_pattern_family(pattern);
    return family == MATCHER_EXACT  ? choose_signs(self, pattern, family, 1)
           : family == MATCHER_LEFT ? choose_side(self, pattern)
                                    : choose_order(self, pattern);
}

static uint8_t kind_of(const struct matcher_pattern *pattern, const struct matcher_anchor *anchor)
{
    switch (anchor->family) {
    case MATCHER_EXACT:
        return (uint8_t) (KIND_EXACT + pattern->steps * 3 + anchor->signs - 1);
    case MATCHER_LEFT:
        return (uint8_t) (KIND_LEFT + anchor->signs - 1);
    case MATCHER_RIGHT:
        return (uint8_t) (KIND_RIGHT + anchor->signs - 1);
    case MATCHER_ORDER:
        return (uint8_t) (KIND_ORDER + anchor->signs - 1);
    case MATCHER_RUN:
        return (uint8_t) (KIND_RUN + anchor->signs);
    case MATCHER_GAP:
    case MATCHER_FAMILY_COUNT:
        break;
    }
    INVARIANT(false);
    return KIND_PLAIN;
}

static struct matcher_text **plain_place(struct matcher_index *self,
                                         const struct matcher_pattern *pattern)
{
    return pattern->hash_count > 0 ? &self->least[pattern->steps] : &self->stars[pattern->steps];
}

static void bucket_put(struct matcher_index *self, struct matcher_bucket *bucket,
                       struct matcher_text *text)
{
    struct matcher_pattern pattern;
    uint64_t signs[MATCHER_SIGNS_MAX];
    matcher_pattern_init(&pattern, matcher_text_span(text), self->seed);
    size_t count = matcher_signs_list(&pattern, signs);
    self->bucket_bytes -= matcher_bucket_memory(bucket);
    matcher_bucket_add(bucket, text, signs, count);
    self->bucket_bytes += matcher_bucket_memory(bucket);
}

void matcher_index_add(struct matcher_index *self, struct matcher_text *text)
{
    struct matcher_pattern pattern;
    matcher_pattern_init(&pattern, matcher_text_span(text), self->seed);
    if (pattern.literals == 0) {
        text->kind = KIND_PLAIN;
        *plain_place(self, &pattern) = text;
        self->count++;
        return;
    }
    sketch_fit(self);
    matcher_sketch_change(self->sketch, &pattern, 1);
    struct matcher_anchor anchor = choose_anchor(self, &pattern);
    text->kind = kind_of(&pattern, &anchor);
    text->anchor = anchor.key;
    self->kinds[text->kind]++;
    self->count++;

    struct matcher_entry *entry = hash64_get(self->anchors, anchor.key);
    if (entry == NULL) {
        hash64_put(self->anchors, anchor.key, text);
    } else if (entry->is_bucket) {
        bucket_put(self, (struct matcher_bucket *) entry, text);
    } else {
        struct matcher_bucket *bucket = matcher_bucket_new();
        self->bucket_bytes += matcher_bucket_memory(bucket);
        bucket_put(self, bucket, (struct matcher_text *) entry);
        bucket_put(self, bucket, text);
        hash64_put(self->anchors, anchor.key, bucket);
    }
}

/* The table never shrinks by itself: make it anew when it is empty or nearly so. */
static void anchors_shrink(struct matcher_index *self)
{
    enum { SLOT = 16, SPARSE = 32, SMALL = 64 * 1024 };
    size_t bytes = hash64_memory(self->anchors);
    size_t count = hash64_count(self->anchors);
    if (count > 0 && (bytes < SMALL || count * SLOT * SPARSE > bytes)) {
        return;
    }
    struct hash64 *fresh = hash64_new();
    size_t cursor = 0;
    for (struct matcher_entry *entry = hash64_next(self->anchors, &cursor); entry != NULL;
         entry = hash64_next(self->anchors, &cursor)) {
        const struct matcher_text *text = entry->is_bucket
                                              ? ((struct matcher_bucket *) entry)->texts[0]
                                              : (struct matcher_text *) entry;
        hash64_put(fresh, text->anchor, entry);
    }
    hash64_destroy(&self->anchors);
    self->anchors = fresh;
}

static void anchor_remove(struct matcher_index *self, struct matcher_text *text)
{
    struct matcher_entry *entry = hash64_get(self->anchors, text->anchor);
    INVARIANT(entry != NULL);
    if (entry->is_bucket) {
        struct matcher_bucket *bucket = (struct matcher_bucket *) entry;
        self->bucket_bytes -= matcher_bucket_memory(bucket);
        matcher_bucket_remove(bucket, text);
        if (bucket->count > 1) {
            self->bucket_bytes += matcher_bucket_memory(bucket);
            return;
        }
        hash64_put(self->anchors, text->anchor, bucket->texts[0]);
        matcher_bucket_destroy(&bucket);
        return;
    }
    INVARIANT(entry == &text->entry);
    (void) hash64_remove(self->anchors, text->anchor);
    anchors_shrink(self);
}

void matcher_index_remove(struct matcher_index *self, struct matcher_text *text)
{
    struct matcher_pattern pattern;
    matcher_pattern_init(&pattern, matcher_text_span(text), self->seed);
    self->count--;
    if (text->kind == KIND_PLAIN) {
        *plain_place(self, &pattern) = NULL;
    } else {
        self->kinds[text->kind]--;
        matcher_sketch_change(self->sketch, &pattern, -1);
        anchor_remove(self, text);
    }
    if (self->count == 0) {
        matcher_sketch_destroy(&self->sketch);
        MEM_FREE(self->marks);
    }
}

/* --- lookups --- */

/* Memory is slow, and what was found is all over it: it is fetched early and looked at a little later. */
static void test_pending(struct search *search)
{
    for (size_t i = 0; i < search->text_count; i++) {
        struct matcher_text *text = search->texts[i];
        if (matcher_text_matches(matcher_text_span(text), search->topic)) {
            matcher_found_add(search->found, text);
        }
    }
    search->index->steps += search->text_count;
    search->text_count = 0;
}

static inline void test_later(struct search *search, struct matcher_text *text)
{
    __builtin_prefetch(text);
    __builtin_prefetch((const char *) text + 64);
    search->texts[search->text_count++] = text;
    if (search->text_count == PENDING) {
        test_pending(search);
    }
}

static void search_bucket(struct search *search, const struct matcher_bucket *bucket)
{
    if (bucket->count < MARK_FROM) {
        for (uint32_t i = 0; i < bucket->count; i++) {
            test_later(search, bucket->texts[i]);
        }
        return;
    }
    if (search->index->marks == NULL) {
        search->index->marks = MEM_NEW(struct matcher_marks);
    }
    matcher_marks_set(search->index->marks, search->topic, search->family);
    for (size_t block = 0; block < matcher_bucket_blocks(bucket); block++) {
        uint64_t left =
            matcher_bucket_left(bucket, block, search->index->marks, &search->index->steps);
        for (; left != 0; left &= left - 1) {
            size_t place = block * MATCHER_BLOCK + (size_t) __builtin_ctzll(left);
            test_later(search, bucket->texts[place]);
        }
    }
}

static void search_pending(struct search *search)
{
    for (size_t i = 0; i < search->entry_count; i++) {
        struct matcher_entry *entry = search->entries[i];
        if (entry->is_bucket) {
            matcher_bucket_prefetch((const struct matcher_bucket *) entry);
        } else {
            test_later(search, (struct matcher_text *) entry);
            search->entries[i] = NULL;
        }
    }
    for (size_t i = 0; i < search->entry_count; i++) {
        if (search->entries[i] != NULL) {
            search_bucket(search, (const struct matcher_bucket *) search->entries[i]);
        }
    }
    search->entry_count = 0;
}

static inline void ask(struct search *search, uint64_t key)
{
    struct matcher_entry *entry = hash64_get(search->index->anchors, key);
    search->index->steps++;
    if (entry == NULL) {
        return;
    }
    __builtin_prefetch(entry);
    search->entries[search->entry_count++] = entry;
    if (search->entry_count == PENDING) {
        search_pending(search);
    }
}

/* Every one, two and three of the words at their places, as far as there are such anchors. */
static void search_places(struct search *search, enum matcher_family family, const uint32_t *kinds)
{
    const struct matcher_topic *topic = search->topic;
    const size_t depth = kinds[2] > 0 ? 3 : kinds[1] > 0 ? 2 : kinds[0] > 0 ? 1 : 0;
    if (depth == 0) {
        return;
    }
    search->family = family;
    uint64_t parts[TOPIC_WORDS_MAX];
    for (size_t i = 0; i < topic->count; i++) {
        size_t word = family == MATCHER_RIGHT ? topic->count - 1 - i : i;
        parts[i] = matcher_sign_at(topic->hashes[word], i);
    }
    uint64_t begin = matcher_key_begin(family, family == MATCHER_EXACT ? topic->count : 0);
    for (size_t i = 0; i < topic->count; i++) {
        uint64_t one = matcher_key_step(begin, parts[i]);
        ask(search, one);
        for (size_t j = i + 1; j < topic->count && depth > 1; j++) {
            uint64_t two = matcher_key_step(one, parts[j]);
            ask(search, two);
            for (size_t k = j + 1; k < topic->count && depth > 2; k++) {
                ask(search, matcher_key_step(two, parts[k]));
            }
        }
    }
    search_pending(search);
}

/* Every two and three words one behind the other, each such row of words once: at its leftmost place. */
static void search_order(struct search *search)
{
    const struct matcher_topic *topic = search->topic;
    const uint32_t *kinds = search->index->kinds + KIND_ORDER;
    if (kinds[1] == 0 && kinds[2] == 0) {
        return;
    }
    search->family = MATCHER_ORDER;
    for (size_t i = 0; i < topic->count; i++) {
        if (topic->before[i] >= 0) {
            continue;
        }
        uint64_t one = matcher_key_step(matcher_key_begin(MATCHER_ORDER, 0), topic->hashes[i]);
        for (size_t j = i + 1; j < topic->count; j++) {
            if (topic->before[j] > (int) i) {
                continue;
            }
            uint64_t two = matcher_key_step(one, topic->hashes[j]);
            ask(search, two);
            for (size_t k = j + 1; k < topic->count && kinds[2] > 0; k++) {
                if (topic->before[k] <= (int) j) {
                    ask(search, matcher_key_step(two, topic->hashes[k]));
                }
            }
        }
    }
    search_pending(search);
}

/* Did the same row of words begin further left? */
static bool run_is_repeated(uint64_t (*keys)[TOPIC_WORDS_MAX], const struct matcher_topic *topic,
                            size_t first, size_t more)
{
    for (int i = topic->before[first]; i >= 0; i = topic->before[i]) {
        if (keys[i][more] == keys[first][more]) {
            return true;
        }
    }
    return false;
}

/* Every row of up to `longest` words. */
static void search_rows(struct search *search, size_t longest)
{
    const struct matcher_topic *topic = search->topic;
    const uint32_t *kinds = search->index->kinds + KIND_RUN;
    uint64_t keys[TOPIC_WORDS_MAX][TOPIC_WORDS_MAX];
    search->family = MATCHER_RUN;
    for (size_t i = 0; i < topic->count; i++) {
        uint64_t key = matcher_key_begin(MATCHER_RUN, 0);
        for (size_t more = 0; more < longest && i + more < topic->count; more++) {
            key = matcher_key_step(key, topic->hashes[i + more]);
            keys[i][more] = key;
            if (kinds[more + 1] > 0 && !run_is_repeated(keys, topic, i, more)) {
                ask(search, key);
            }
        }
    }
    search_pending(search);
}

static void search_runs(struct search *search)
{
    size_t longest = search->topic->count;
    while (longest > 0 && search->index->kinds[KIND_RUN + longest] == 0) {
        longest--;
    }
    if (longest > 0) {
        search_rows(search, longest);
    }
}

static void search_plain(struct search *search)
{
    const struct matcher_topic *topic = search->topic;
    struct matcher_index *index = search->index;
    if (topic->is_system) {
        return;
    }
    if (index->stars[topic->count] != NULL) {
        matcher_found_add(search->found, index->stars[topic->count]);
    }
    for (size_t i = 0; i <= topic->count; i++) {
        if (index->least[i] != NULL) {
            matcher_found_add(search->found, index->least[i]);
        }
    }
}

void matcher_index_find(struct matcher_index *self, const struct matcher_topic *topic,
                        struct matcher_found *found)
{
    struct search search = {.index = self, .topic = topic, .found = found};

    search_plain(&search);
    search_places(&search, MATCHER_EXACT, self->kinds + KIND_EXACT + topic->count * 3);
    search_places(&search, MATCHER_LEFT, self->kinds + KIND_LEFT);
    search_places(&search, MATCHER_RIGHT, self->kinds + KIND_RIGHT);
    search_runs(&search);
    search_order(&search);
    test_pending(&search);
    if (self->marks != NULL) {
        matcher_marks_clear(self->marks);
    }
}
