/* hash: both tables against a plain array, and the spread of the hash. */
#include "common/base/hash.h"

#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/rand.h"

#include "tests/lib/test.h"
#include "tests/unit/common/base/abort_lib.h"

enum { KEYS = 2000 };

/* The model: entry i is in the table if `value` is not NULL. A value is the address of its key's cell in one of two
 * generations, so that replacing is seen. */
struct model_entry {
    char key[24];
    size_t size;
    uint64_t number;
    void *value;
    char cells[2];
    unsigned seen;
};

static struct model_entry entries[KEYS];

static struct span key_of(const struct model_entry *entry)
{
    return span_make(entry->key, entry->size);
}

static void model_init(struct prng *prng)
{
    memset(entries, 0, sizeof(entries));
    for (unsigned i = 0; i < KEYS; i++) {
        /* Unlike in a few bytes only, as real names are; one key is empty. */
        entries[i].size = i == 0
                              ? 0
                              : (size_t) snprintf(entries[i].key, sizeof(entries[i].key), "%.*sk%u",
                                                  (int) (i % 17), "aaaaaaaaaaaaaaaaaaaa", i);
        /* Small, spread, and multiples of a power of two. */
        entries[i].number = i % 3 == 0 ? i : (i % 3 == 1 ? (uint64_t) i << 40 : prng_next(prng));
    }
    entries[5].number = UINT64_MAX;
}

static void put_null(void)
{
    struct hash *hash = hash_new();
    hash_put(hash, span_of("key"), NULL);
}

static void put_null64(void)
{
    struct hash64 *hash = hash64_new();
    hash64_put(hash, 1, NULL);
}

TEST(an_empty_table_has_nothing)
{
    struct hash *hash = hash_new();
    size_t cursor = 0;
    ck_assert_uint_eq(hash_count(hash), 0);
    ck_assert_ptr_null(hash_get(hash, span_of("key")));
    ck_assert_ptr_null(hash_remove(hash, span_of("key")));
    ck_assert_ptr_null(hash_next(hash, &cursor));
    ck_assert_ptr_null(hash_next(hash, &cursor));
    hash_destroy(&hash);
    ck_assert_ptr_null(hash);
    hash_destroy(&hash);

    struct hash64 *hash64 = hash64_new();
    cursor = 0;
    ck_assert_uint_eq(hash64_count(hash64), 0);
    ck_assert_ptr_null(hash64_get(hash64, 0));
    ck_assert_ptr_null(hash64_get(hash64, 1));
    ck_assert_ptr_null(hash64_remove(hash64, 1));
    ck_assert_ptr_null(hash64_next(hash64, &cursor));
    hash64_destroy(&hash64);
    hash64_destroy(&hash64);
}

TEST(replacing_borrows_the_new_key)
{
    struct hash *hash = hash_new();
    char *first = mem_strdup("name");
    char second[] = "name";
    ck_assert_ptr_null(hash_put(hash, span_of(first), first));
    ck_assert_ptr_eq(hash_put(hash, span_of(second), second), first);
    mem_free(first); /* the sanitizer sees it if the table still looks there */
    ck_assert_ptr_eq(hash_get(hash, span_of("name")), second);
    ck_assert_uint_eq(hash_count(hash), 1);
    ck_assert_ptr_eq(hash_remove(hash, span_of("name")), second);
    hash_destroy(&hash);
}

TEST(a_missing_value_cannot_be_put)
{
    ck_assert(ends_by_abort(put_null));
    ck_assert(ends_by_abort(put_null64));
}

/* Walk over the whole table; with `remove` every third value goes on the way. */
static size_t walk(struct hash *hash, struct hash64 *hash64, bool remove)
{
    size_t cursor = 0;
    size_t count = 0;
    char *value;
    while ((value = hash != NULL ? hash_next(hash, &cursor) : hash64_next(hash64, &cursor)) !=
           NULL) {
        size_t index = (size_t) (value - (char *) entries) / sizeof(entries[0]);
        struct model_entry *entry = &entries[index];
        TEST_ASSERT_FAST(entry->value == value);
        TEST_ASSERT_FAST(entry->seen == 0);
        entry->seen = 1;
        count++;
        if (remove && index % 3 == 0) {
            entry->value = NULL;
            ck_assert_ptr_eq(hash != NULL ? hash_remove(hash, key_of(entry))
                                          : hash64_remove(hash64, entry->number),
                             value);
        }
    }
    for (unsigned i = 0; i < KEYS; i++) {
        TEST_ASSERT_FAST(entries[i].value == NULL || entries[i].seen == 1);
        entries[i].seen = 0;
    }
    return count;
}

/* One of the two is NULL. */
static void run_model(struct hash *hash, struct hash64 *hash64, uint64_t seed)
{
    struct prng prng;
    size_t count = 0;
    prng_init(&prng, seed);
    model_init(&prng);
    for (unsigned step = 0; step < 60000; step++) {
        /* The share of puts swings, so that the table grows, shrinks and fills with graves. */
        uint64_t puts = step / 6000 % 2 == 0 ? 70 : 25;
        uint64_t live = step / 12000 % 2 == 0 ? KEYS : 40;
        struct model_entry *entry = &entries[prng_below(&prng, live)];
        struct span key = key_of(entry);
        void *want = entry->value;
        void *got;
        if (prng_below(&prng, 100) < puts) {
            entry->value = &entry->cells[step % 2];
            got = hash != NULL ? hash_put(hash, key, entry->value)
                               : hash64_put(hash64, entry->number, entry->value);
            count += want == NULL;
        } else {
            entry->value = NULL;
            got = hash != NULL ? hash_remove(hash, key) : hash64_remove(hash64, entry->number);
            count -= want != NULL;
        }
        TEST_ASSERT_FAST(got == want);
        entry = &entries[prng_below(&prng, KEYS)];
        got = hash != NULL ? hash_get(hash, key_of(entry)) : hash64_get(hash64, entry->number);
        TEST_ASSERT_FAST(got == entry->value);
        TEST_ASSERT_FAST((hash != NULL ? hash_count(hash) : hash64_count(hash64)) == count);
        if (step % 2999 == 0) {
            TEST_ASSERT_FAST(walk(hash, hash64, true) == count);
            count = hash != NULL ? hash_count(hash) : hash64_count(hash64);
            TEST_ASSERT_FAST(walk(hash, hash64, false) == count);
        }
    }
}

TEST_WITHIN(the_table_of_bytes_agrees_with_a_model, 30)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct hash *hash = hash_new();
        run_model(hash, NULL, seed);
        hash_destroy(&hash);
    }
}

TEST_WITHIN(the_table_of_numbers_agrees_with_a_model, 30)
{
    for (uint64_t seed = 11; seed <= 13; seed++) {
        struct hash64 *hash64 = hash64_new();
        run_model(NULL, hash64, seed);
        hash64_destroy(&hash64);
    }
}

TEST(a_short_lived_key_after_another_does_not_fill_the_table)
{
    static char cell;
    struct hash64 *hash = hash64_new();
    for (uint64_t i = 0; i < 1000000; i++) {
        TEST_ASSERT_FAST(hash64_put(hash, i, &cell) == NULL);
        if (i >= 100) {
            TEST_ASSERT_FAST(hash64_remove(hash, i - 100) == &cell);
        }
    }
    TEST_ASSERT_FAST(hash64_count(hash) == 100);
    hash64_destroy(&hash);
}

TEST(the_hash_depends_on_every_bit_the_length_and_the_seed)
{
    uint8_t key[70] = {0};
    for (size_t size = 0; size <= sizeof(key); size++) {
        uint64_t plain = hash_bytes(span_make(key, size), 7);
        ck_assert_uint_eq(plain, hash_bytes(span_make(key, size), 7));
        ck_assert_uint_ne(plain, hash_bytes(span_make(key, size), 8));
        ck_assert(size == 0 || plain != hash_bytes(span_make(key, size - 1), 7));
        unsigned changed = 0;
        for (size_t bit = 0; bit < 8 * size; bit++) {
            key[bit / 8] ^= (uint8_t) (1u << bit % 8);
            uint64_t other = hash_bytes(span_make(key, size), 7);
            key[bit / 8] ^= (uint8_t) (1u << bit % 8);
            ck_assert_uint_ne(plain, other);
            changed += (unsigned) __builtin_popcountll(plain ^ other);
        }
        /* On average half of the 64 bits change with each bit of the key. */
        if (size >= 8) {
            ck_assert_uint_gt(changed, 8 * size * 28);
            ck_assert_uint_lt(changed, 8 * size * 36);
        }
    }
}

TEST(the_hash_reads_nothing_beyond_the_key)
{
    for (size_t size = 1; size < 70; size++) {
        uint8_t *exact = mem_new(size); /* the sanitizer guards both ends */
        uint8_t *odd = mem_new(size + 3);
        ck_assert_uint_eq(hash_bytes(span_make(exact, size), 1),
                          hash_bytes(span_make(odd + 3, size), 1));
        mem_free(exact);
        mem_free(odd);
    }
}

TEST(a_table_says_what_it_takes_and_grows_with_its_values)
{
    struct hash *table = hash_new();
    struct hash64 *numbers = hash64_new();
    size_t empty = hash_memory(table);
    size_t empty64 = hash64_memory(numbers);
    char keys[1000][8];
    for (unsigned i = 0; i < 1000; i++) {
        (void) snprintf(keys[i], sizeof(keys[i]), "%u", i);
        hash_put(table, span_of(keys[i]), keys[i]);
        hash64_put(numbers, i, keys[i]);
    }
    ck_assert_uint_gt(empty, 0);
    ck_assert_uint_ge(hash_memory(table), empty + 1000 * 24);
    ck_assert_uint_le(hash_memory(table), 1000 * 32 * 6);
    ck_assert_uint_ge(hash64_memory(numbers), empty64 + 1000 * 16);
    ck_assert_uint_le(hash64_memory(numbers), 1000 * 16 * 6);
    hash_destroy(&table);
    hash64_destroy(&numbers);
}
