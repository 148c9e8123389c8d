/* matcher_signs: which signs a matcher has, how common they are, and which of them become its anchor. Owns the counters
 * of the sketch. Knows nothing of where matchers are kept. */
#include "routerd/matcher_signs.h"

#include "common/base/invariant.h"
#include "common/base/mem.h"

uint64_t matcher_key_begin(enum matcher_family family, size_t words)
{
    return ((uint64_t) family << 8 | words) * UINT64_C(0x8bb84b93962eacc9);
}

static uint64_t matcher_plain_sign(uint64_t what)
{
    return matcher_key_step(what * UINT64_C(0x4b33a62ed433d4a3), UINT64_C(0xd1b54a32d192ed03));
}

uint64_t matcher_sign_least(size_t words)
{
    return matcher_plain_sign(2 + words);
}

uint64_t matcher_sign_free(void)
{
    return matcher_plain_sign(1);
}

enum matcher_family matcher_pattern_family(const struct matcher_pattern *pattern)
{
    return pattern->hash_count == 0   ? MATCHER_EXACT
           : pattern->hash_count == 1 ? MATCHER_LEFT
                                      : MATCHER_ORDER;
}

/* --- the signs of one family --- */

struct sign {
    uint64_t key;  /* of this sign alone */
    uint64_t part; /* what it adds to a key of several */
    uint32_t count;
    size_t place; /* keys of several are made in this order */
};

/* By place: the steps from `begin` to `end`. */
static size_t signs_by_place(const struct matcher_pattern *pattern, enum matcher_family family,
                             struct sign ret_signs[MATCHER_SIGNS_MAX])
{
    uint64_t begin = matcher_key_begin(family, family == MATCHER_EXACT ? pattern->steps : 0);
    size_t first = family == MATCHER_RIGHT ? pattern->steps - pattern->right : 0;
    size_t end = family == MATCHER_RIGHT ? pattern->steps : pattern->left;
    size_t count = 0;
    for (size_t i = first; i < end; i++) {
        if (!pattern->is_star[i]) {
            size_t place = family == MATCHER_RIGHT ? pattern->steps - 1 - i : i;
            uint64_t part = matcher_sign_at(pattern->hashes[i], place);
            ret_signs[count++] = (struct sign){matcher_key_step(begin, part), part, 0, place};
        }
    }
    return count;
}

/* Words in a row, as many as there are, from step `first` to before step `end`. */
static size_t signs_of_runs(const struct matcher_pattern *pattern, size_t first, size_t end,
                            uint64_t ret_keys[MATCHER_SIGNS_MAX],
                            size_t ret_words[MATCHER_SIGNS_MAX])
{
    size_t count = 0;
    for (size_t i = first; i < end;) {
        if (pattern->is_star[i]) {
            i++;
            continue;
        }
        uint64_t key = matcher_key_begin(MATCHER_RUN, 0);
        size_t words = 0;
        do {
            key = matcher_key_step(key, pattern->hashes[i++]);
            words++;
        } while (i < end && !pattern->is_star[i] && !pattern->hash_before[i]);
        ret_keys[count] = key;
        ret_words[count++] = words;
    }
    return count;
}

static uint64_t order_key(const struct matcher_pattern *pattern, size_t i, size_t k)
{
    return matcher_key_step(
        matcher_key_step(matcher_key_begin(MATCHER_ORDER, 0), pattern->hashes[i]),
        pattern->hashes[k]);
}

/* Two words so far apart, both in steps that no `#` parts. */
static uint64_t gap_key(const struct matcher_pattern *pattern, size_t i, size_t k)
{
    return matcher_key_step(
        matcher_key_step(matcher_key_begin(MATCHER_GAP, k - i), pattern->hashes[i]),
        pattern->hashes[k]);
}

/* --- the sketch --- */

struct matcher_sketch {
    size_t count;
    unsigned shift;
    uint32_t counters[];
};

struct matcher_sketch *matcher_sketch_new(size_t counters)
{
    INVARIANT(counters > 1 && (counters & (counters - 1)) == 0);
    struct matcher_sketch *self = mem_new(sizeof(*self) + counters * sizeof(self->counters[0]));
    self->count = counters;
    self->shift = 64 - (unsigned) __builtin_ctzll(counters);
    return self;
}

void matcher_sketch_destroy(struct matcher_sketch **self)
{
    MEM_FREE(*self);
}

size_t matcher_sketch_counters(const struct matcher_sketch *self)
{
    return self->count;
}

uint32_t matcher_sketch_get(const struct matcher_sketch *self, uint64_t sign)
{
    return self->counters[sign >> self->shift];
}

static void sketch_add(struct matcher_sketch *self, uint64_t sign, int by)
{
    uint32_t *counter = &self->counters[sign >> self->shift];
    INVARIANT(by > 0 || *counter > 0);
    *counter = by > 0 ? *counter + 1 : *counter - 1;
}

static void sketch_change_places(struct matcher_sketch *self, const struct matcher_pattern *pattern,
                                 enum matcher_family family, int by)
{
    struct sign signs[MATCHER_SIGNS_MAX];
    size_t count = signs_by_place(pattern, family, signs);
    for (size_t i = 0; i < count; i++) {
        sketch_add(self, signs[i].key, by);
    }
}

void matcher_sketch_change(struct matcher_sketch *self, const struct matcher_pattern *pattern,
                           int by)
{
    if (pattern->hash_count == 0) {
        sketch_change_places(self, pattern, MATCHER_EXACT, by);
        return;
    }
    if (pattern->hash_count == 1) {
        sketch_change_places(self, pattern, MATCHER_LEFT, by);
        sketch_change_places(self, pattern, MATCHER_RIGHT, by);
        return;
    }
    uint64_t keys[MATCHER_SIGNS_MAX];
    size_t words[MATCHER_SIGNS_MAX];
    size_t count = signs_of_runs(pattern, 0, pattern->steps, keys, words);
    for (size_t i = 0; i < count; i++) {
        sketch_add(self, keys[i], by);
    }
    for (size_t i = 0; i < pattern->steps; i++) {
        for (size_t k = i + 1; k < pattern->steps; k++) {
            if (!pattern->is_star[i] && !pattern->is_star[k]) {
                sketch_add(self, order_key(pattern, i, k), by);
            }
        }
    }
}

/* --- anchors --- */

/* Rarest first. */
static void signs_sort(struct sign *signs, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct sign moved = signs[i];
        size_t k = i;
        for (; k > 0 && signs[k - 1].count > moved.count; k--) {
            signs[k] = signs[k - 1];
        }
        signs[k] = moved;
    }
}

static size_t signs_rarest_first(const struct matcher_pattern *pattern,
                                 const struct matcher_sketch *sketch, enum matcher_family family,
                                 struct sign ret_signs[MATCHER_SIGNS_MAX])
{
    size_t count = signs_by_place(pattern, family, ret_signs);
    for (size_t i = 0; i < count; i++) {
        ret_signs[i].count = matcher_sketch_get(sketch, ret_signs[i].key);
    }
    signs_sort(ret_signs, count);
    return count;
}

static struct matcher_anchor anchor_by_place(const struct matcher_pattern *pattern,
                                             const struct matcher_sketch *sketch,
                                             enum matcher_family family, size_t wanted)
{
    struct sign signs[MATCHER_SIGNS_MAX];
    size_t count = signs_rarest_first(pattern, sketch, family, signs);
    count = count < wanted ? count : wanted;
    uint64_t key = matcher_key_begin(family, family == MATCHER_EXACT ? pattern->steps : 0);
    for (size_t place = 0, taken = 0; taken < count; place++) {
        for (size_t i = 0; i < count; i++) {
            if (signs[i].place == place) {
                key = matcher_key_step(key, signs[i].part);
                taken++;
            }
        }
    }
    return (struct matcher_anchor){key, family, count};
}

static uint32_t rarest_run(const struct matcher_pattern *pattern,
                           const struct matcher_sketch *sketch, uint64_t *ret_key,
                           size_t *ret_words)
{
    uint64_t keys[MATCHER_SIGNS_MAX];
    size_t words[MATCHER_SIGNS_MAX];
    size_t count = signs_of_runs(pattern, 0, pattern->steps, keys, words);
    uint32_t least = UINT32_MAX;
    for (size_t i = 0; i < count; i++) {
        uint32_t common = matcher_sketch_get(sketch, keys[i]);
        if (common < least) {
            least = common;
            *ret_key = keys[i];
            *ret_words = words[i];
        }
    }
    return least;
}

static uint32_t rarest_pair(const struct matcher_pattern *pattern,
                            const struct matcher_sketch *sketch, size_t *ret_first,
                            size_t *ret_second)
{
    uint32_t least = UINT32_MAX;
    for (size_t i = 0; i < pattern->steps; i++) {
        for (size_t k = i + 1; k < pattern->steps; k++) {
            if (pattern->is_star[i] || pattern->is_star[k]) {
                continue;
            }
            uint32_t common = matcher_sketch_get(sketch, order_key(pattern, i, k));
            if (common < least) {
                least = common;
                *ret_first = i;
                *ret_second = k;
            }
        }
    }
    return least;
}

/* The rarest pair, and the word that is rarest together with both. */
static struct matcher_anchor anchor_by_order(const struct matcher_pattern *pattern,
                                             const struct matcher_sketch *sketch, size_t wanted)
{
    size_t pair[2] = {0, 0};
    (void) rarest_pair(pattern, sketch, &pair[0], &pair[1]);
    size_t third = SIZE_MAX;
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; wanted > 2 && i < pattern->steps; i++) {
        if (pattern->is_star[i] || i == pair[0] || i == pair[1]) {
            continue;
        }
        uint64_t common = 0;
        for (size_t k = 0; k < 2; k++) {
            common += matcher_sketch_get(sketch, i < pair[k] ? order_key(pattern, i, pair[k])
                                                             : order_key(pattern, pair[k], i));
        }
        if (common < least) {
            least = common;
            third = i;
        }
    }
    uint64_t key = matcher_key_begin(MATCHER_ORDER, 0);
    for (size_t i = 0; i < pattern->steps; i++) {
        if (i == pair[0] || i == pair[1] || i == third) {
            key = matcher_key_step(key, pattern->hashes[i]);
        }
    }
    return (struct matcher_anchor){key, MATCHER_ORDER, third != SIZE_MAX ? 3 : 2};
}

struct matcher_anchor matcher_anchor_make(const struct matcher_pattern *pattern,
                                          const struct matcher_sketch *sketch,
                                          enum matcher_family family, size_t signs)
{
    INVARIANT(signs >= 1 && signs <= 3);
    if (family == MATCHER_RUN) {
        uint64_t key = 0;
        size_t words = 0;
        (void) rarest_run(pattern, sketch, &key, &words);
        return (struct matcher_anchor){key, family, words};
    }
    return family == MATCHER_ORDER ? anchor_by_order(pattern, sketch, signs)
                                   : anchor_by_place(pattern, sketch, family, signs);
}

uint32_t matcher_rarest(const struct matcher_pattern *pattern, const struct matcher_sketch *sketch,
                        enum matcher_family family)
{
    struct sign signs[MATCHER_SIGNS_MAX];
    uint64_t key = 0;
    size_t first = 0;
    size_t second = 0;
    if (family == MATCHER_RUN) {
        return rarest_run(pattern, sketch, &key, &first);
    }
    if (family == MATCHER_ORDER) {
        return rarest_pair(pattern, sketch, &first, &second);
    }
    return signs_rarest_first(pattern, sketch, family, signs) > 0 ? signs[0].count : UINT32_MAX;
}

/* --- the signs to look at --- */

struct sign_list {
    uint64_t *keys; /* MATCHER_SIGNS_MAX of them */
    size_t count;
};

static void list_add(struct sign_list *list, uint64_t key)
{
    if (list->count < MATCHER_SIGNS_MAX) {
        list->keys[list->count++] = key;
    }
}

static void list_add_places(struct sign_list *list, const struct matcher_pattern *pattern,
                            enum matcher_family family)
{
    struct sign places[MATCHER_SIGNS_MAX];
    size_t count = signs_by_place(pattern, family, places);
    for (size_t i = 0; i < count; i++) {
        list_add(list, places[i].key);
    }
}

/* Several `#`: the rows of words between the outer two, and each word with the next one unless both are in one row or have
 * a place. */
static void list_add_order(struct sign_list *list, const struct matcher_pattern *pattern)
{
    uint64_t runs[MATCHER_SIGNS_MAX];
    size_t words[MATCHER_SIGNS_MAX];
    size_t right = pattern->steps - pattern->right;
    size_t run_count = signs_of_runs(pattern, pattern->left, right, runs, words);
    for (size_t i = 0; i < run_count; i++) {
        if (words[i] > 1) {
            list_add(list, runs[i]);
        }
    }
    size_t last = SIZE_MAX;
    bool is_parted = false; /* by a `#`, from the last word */
    for (size_t i = 0; i < pattern->steps; i++) {
        is_parted = is_parted || pattern->hash_before[i];
        if (pattern->is_star[i]) {
            continue;
        }
        if (last != SIZE_MAX && i >= pattern->left && last < right && (is_parted || last + 1 < i)) {
            list_add(list, is_parted ? order_key(pattern, last, i) : gap_key(pattern, last, i));
        }
        last = i;
        is_parted = false;
    }
}

size_t matcher_signs_list(const struct matcher_pattern *pattern,
                          uint64_t ret_signs[MATCHER_SIGNS_MAX])
{
    struct sign_list list = {ret_signs, 0};
    if (pattern->hash_before[0] || pattern->is_star[0]) {
        list_add(&list, matcher_sign_free());
    }
    if (pattern->hash_count == 0) {
        list_add_places(&list, pattern, MATCHER_EXACT);
        return list.count;
    }
    list_add(&list, matcher_sign_least(pattern->steps));
    list_add_places(&list, pattern, MATCHER_LEFT);
    list_add_places(&list, pattern, MATCHER_RIGHT);
    if (pattern->hash_count > 1) {
        list_add_order(&list, pattern);
    }
    return list.count;
}
