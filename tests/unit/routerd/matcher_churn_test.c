/* matcher: very many of each kind of hard matchers, and of all kinds at once, come and go, against a plain list; and nothing stays of them. */
#include "routerd/matcher.h"

#include <string.h>

#include "common/base/mem.h"
#include "common/base/rand.h"
#include "common/base/topic.h"

#include "tests/lib/test.h"
#include "tests/unit/routerd/bombs.h"

enum { HOLDERS_MAX = 20000 };

/* One (matcher, holder) pair. */
struct pair {
    char text[TOPIC_SIZE_MAX + 1];
    size_t size;
    uint32_t holder; /* below HOLDERS_MAX */
};

struct model {
    struct matcher *matcher;
    struct prng prng;
    struct pair *pairs;
    size_t count;
    uint32_t told[HOLDERS_MAX]; /* how often in this lookup */
};

static struct model *model_new(uint64_t seed, size_t pairs)
{
    struct model *self = MEM_NEW(struct model);
    self->matcher = matcher_new(7);
    self->pairs = MEM_NEW_ARRAY(pairs, struct pair);
    prng_init(&self->prng, seed);
    return self;
}

static void model_destroy(struct model **self)
{
    matcher_destroy(&(*self)->matcher);
    mem_free((*self)->pairs);
    MEM_FREE(*self);
}

static uint64_t below(struct model *self, uint64_t bound)
{
    return prng_below(&self->prng, bound);
}

/* All kinds of numbers: 0, all bits, small ones, large ones. A bijection. */
static uint64_t holder_number(uint32_t holder)
{
    return holder == 1 ? UINT64_MAX : holder * (holder % 2 == 0 ? 1 : UINT64_C(0x100000000) + 1);
}

static uint32_t holder_of_number(uint64_t number)
{
    return number == UINT64_MAX ? 1 : (uint32_t) number;
}

/* A pair that is not there yet. */
static void model_put(struct model *self, struct span text, uint32_t holder)
{
    struct pair *pair = &self->pairs[self->count++];
    memcpy(pair->text, text.data, text.size);
    pair->size = text.size;
    pair->holder = holder;
    TEST_ASSERT_FAST(matcher_add(self->matcher, text, holder_number(holder)));
}

static void model_drop(struct model *self, struct pair *pair)
{
    struct span text = span_make(pair->text, pair->size);
    uint64_t number = holder_number(pair->holder);
    TEST_ASSERT_FAST(matcher_remove(self->matcher, text, number));
    *pair = self->pairs[--self->count];
}

static void model_on_found(void *ud, uint64_t number)
{
    struct model *self = ud;
    uint32_t holder = holder_of_number(number);
    TEST_ASSERT_FAST(holder < HOLDERS_MAX && holder_number(holder) == number);
    self->told[holder]++;
}

/* Each is told once who has a matcher for this topic, and nobody else. */
static void model_check(struct model *self, struct span topic)
{
    enum { TOLD = 1, TOLD_RIGHTLY = UINT16_MAX };
    memset(self->told, 0, sizeof(self->told));
    matcher_find(self->matcher, topic, model_on_found, self);
    for (size_t i = 0; i < self->count; i++) {
        const struct pair *pair = &self->pairs[i];
        if (!topic_matches(span_make(pair->text, pair->size), topic)) {
            continue;
        }
        uint32_t *told = &self->told[pair->holder];
        if (*told != TOLD && *told != TOLD_RIGHTLY) {
            ck_abort_msg("'%.*s' for '%.*s': told %u times", (int) pair->size, pair->text,
                         (int) topic.size, (const char *) topic.data, *told);
        }
        *told = TOLD_RIGHTLY;
    }
    for (size_t i = 0; i < HOLDERS_MAX; i++) {
        if (self->told[i] != 0 && self->told[i] != TOLD_RIGHTLY) {
            ck_abort_msg("holder %zu is told for '%.*s'", i, (int) topic.size,
                         (const char *) topic.data);
        }
    }
}

static void model_empty(struct model *self)
{
    struct matcher *fresh = matcher_new(7);
    while (self->count > 0) {
        model_drop(self, &self->pairs[below(self, self->count)]);
    }
    ck_assert_uint_eq(matcher_texts(self->matcher), 0);
    ck_assert_uint_eq(matcher_count(self->matcher), 0);
    ck_assert_uint_eq(matcher_bytes(self->matcher), matcher_bytes(fresh));
    matcher_destroy(&fresh);
}

/* --- texts --- */

static size_t word_append(char *out, size_t size, const char *word, size_t word_size)
{
    if (size > 0) {
        out[size++] = '.';
    }
    memcpy(out + size, word, word_size);
    return size + word_size;
}

/* A topic that this matcher matches, if it does not become too long. */
static struct span topic_of(struct model *self, const struct pair *pair, char *out)
{
    static const char *const any[] = {"a", "b", "w1"};
    struct span steps[TOPIC_WORDS_MAX];
    size_t count = topic_split(span_make(pair->text, pair->size), steps);
    size_t words = 0;
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_hash = span_is(steps[i], "#");
        size_t copies = is_hash ? below(self, 3) : 1;
        for (; copies > 0 && words < TOPIC_WORDS_MAX; copies--, words++) {
            if (is_hash || span_is(steps[i], "*")) {
                const char *word = any[below(self, 3)];
                size = word_append(out, size, word, strlen(word));
            } else {
                size = word_append(out, size, (const char *) steps[i].data, steps[i].size);
            }
        }
    }
    return span_make(out, size);
}

/* --- tests --- */

/* The next number of the bomb with a new holder, and now and then a look. */
static void bomb_grow(struct model *model, const struct bomb *bomb, size_t i, uint32_t holder,
                      size_t look)
{
    char text[TOPIC_SIZE_MAX + 1];
    model_put(model, span_make(text, bomb->matcher(&model->prng, i, text)), holder);
    if (i % look == 0) {
        const struct pair *pair = &model->pairs[below(model, model->count)];
        model_check(model, span_make(text, bomb->topic(&model->prng, i, text)));
        model_check(model, topic_of(model, pair, text));
    }
}

static void bomb_shrink(struct model *model, const struct bomb *bomb, size_t look)
{
    char text[TOPIC_SIZE_MAX + 1];
    model_drop(model, &model->pairs[below(model, model->count)]);
    if (model->count % look == 0) {
        const struct pair *pair = &model->pairs[below(model, model->count)];
        model_check(model, span_make(text, bomb->topic(&model->prng, 3, text)));
        model_check(model, topic_of(model, pair, text));
    }
}

TEST_WITHIN(thousands_of_a_kind_are_found_as_in_a_plain_list, 120)
{
    enum { COUNT = 2400 };
    for (size_t k = 0; k < bomb_count; k++) {
        struct model *model = model_new(k, COUNT);
        uint32_t holder = 0;
        for (int twice = 0; twice < 2; twice++) {
            for (size_t i = 0; model->count < COUNT; i++) {
                bomb_grow(model, &bombs[k], i, holder++, COUNT / 20);
            }
            while (model->count > COUNT / 8) {
                bomb_shrink(model, &bombs[k], COUNT / 8);
            }
        }
        model_empty(model);
        model_destroy(&model);
    }
}

/* So many that what is rare is counted more finely from then on, and all kinds beside each other. */
TEST_WITHIN(many_of_all_kinds_are_found_as_in_a_plain_list, 120)
{
    enum { COUNT = 15000 };
    struct model *model = model_new(1, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        bomb_grow(model, &bombs[i % bomb_count], i, (uint32_t) i, 97);
    }
    while (model->count > COUNT / 100) {
        bomb_shrink(model, &bombs[model->count % bomb_count], 97);
    }
    model_empty(model);
    model_destroy(&model);
}

struct tally {
    uint8_t told[HOLDERS_MAX];
    size_t count;
};

static void tally_on_found(void *ud, uint64_t number)
{
    struct tally *tally = ud;
    uint32_t holder = holder_of_number(number);
    TEST_ASSERT_FAST(holder < HOLDERS_MAX);
    tally->told[holder]++;
    tally->count++;
}

/* Three matchers of the same topic, thousands of holders that come and go, one number often with all of them. */
TEST(very_many_holders_of_few_matchers_are_each_told_once)
{
    static const char *const texts[] = {"a.b", "a.*", "#.b"};
    static uint8_t holds[3][HOLDERS_MAX];
    static struct tally tally;
    struct matcher *matcher = matcher_new(7);
    struct prng prng;
    size_t held = 0;
    prng_init(&prng, 4);
    for (uint32_t i = 0; i < 200000; i++) {
        uint32_t holder = (uint32_t) prng_below(&prng, i < 100000 ? HOLDERS_MAX : 1 + i % 5000);
        size_t text = prng_below(&prng, 3);
        bool is_add = prng_below(&prng, 10) < (i < 100000 ? 8 : 1);
        uint64_t number = holder_number(holder);
        bool has_changed = is_add ? matcher_add(matcher, span_of(texts[text]), number)
                                  : matcher_remove(matcher, span_of(texts[text]), number);
        TEST_ASSERT_FAST(has_changed == (holds[text][holder] != is_add));
        holds[text][holder] = is_add;
        held = is_add ? held + has_changed : held - has_changed;
        TEST_ASSERT_FAST(matcher_count(matcher) == held);
        if (i % 5000 == 0) {
            memset(&tally, 0, sizeof(tally));
            matcher_find(matcher, span_of("a.b"), tally_on_found, &tally);
            for (size_t k = 0; k < HOLDERS_MAX; k++) {
                TEST_ASSERT_FAST(tally.told[k] == (holds[0][k] | holds[1][k] | holds[2][k]));
            }
        }
    }
    for (uint32_t i = 0; i < 3 * HOLDERS_MAX; i++) {
        struct span text = span_of(texts[i % 3]);
        bool was_held = matcher_remove(matcher, text, holder_number(i / 3));
        TEST_ASSERT_FAST(was_held == (holds[i % 3][i / 3] != 0));
    }
    ck_assert_uint_eq(matcher_texts(matcher), 0);
    matcher_destroy(&matcher);
}

/* Buckets that were full and are not any more. */
TEST_WITHIN(what_stays_of_many_hard_matchers_takes_little, 60)
{
    enum { COUNT = 20000, EACH = 50, BYTES_MAX = 600, SKETCH = 256 * 1024, ROOM = 128 * 1024 };
    char text[TOPIC_SIZE_MAX + 1];
    for (size_t k = 0; k < bomb_count; k++) {
        struct matcher *matcher = matcher_new(7);
        struct prng prng;
        prng_init(&prng, 2);
        for (uint64_t i = 0; i < COUNT; i++) {
            (void) matcher_add(matcher, span_make(text, bombs[k].matcher(&prng, i, text)), i);
        }
        prng_init(&prng, 2);
        for (uint64_t i = 0; i < COUNT; i++) {
            struct span span = span_make(text, bombs[k].matcher(&prng, i, text));
            if (i % EACH != 0) {
                TEST_ASSERT_FAST(matcher_remove(matcher, span, i));
            }
        }
        ck_assert_uint_eq(matcher_count(matcher), COUNT / EACH);
        ck_assert_uint_le(matcher_bytes(matcher), SKETCH + ROOM + COUNT / EACH * BYTES_MAX);
        matcher_destroy(&matcher);
    }
}
