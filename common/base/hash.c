/* hash: keyed hashing and two open-addressing tables. A table owns its slots, never the values or the bytes of the
 * keys. Slots are probed one after the other. Removing leaves a grave unless the next slot is free, so that nothing
 * ever moves while somebody walks; graves go when the table is rebuilt. */
#include "common/base/hash.h"

#include <stdbool.h>
#include <string.h>

#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/base/rand.h"

enum { HASH_CAPACITY_MIN = 8 };

__extension__ typedef unsigned __int128 hash_wide;

/* Both halves of a product: every bit of either factor reaches every bit of the result. */
static inline uint64_t hash_fold(uint64_t a, uint64_t b)
{
    hash_wide product = (hash_wide) a * b;
    return (uint64_t) product ^ (uint64_t) (product >> 64);
}

static inline uint64_t hash_load64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline uint64_t hash_load32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

/* Sixteen bytes a step. Both factors of every product hold a secret: with a known factor an attacker could choose
 * bytes that make the product zero and so forget everything before. */
uint64_t hash_bytes(struct span key, uint64_t seed)
{
    const uint64_t secret =
        hash_fold(seed ^ UINT64_C(0x9e3779b97f4a7c15), seed ^ UINT64_C(0xd1b54a32d192ed03)) | 1;
    const uint8_t *at = key.data;
    size_t left = key.size;
    uint64_t state = seed ^ UINT64_C(0x8bb84b93962eacc9);
    uint64_t low = 0;
    uint64_t high = 0;

    while (left > 16) {
        state = hash_fold(hash_load64(at) ^ secret, hash_load64(at + 8) ^ state);
        at += 16;
        left -= 16;
    }
    if (left >= 8) {
        low = hash_load64(at);
        high = hash_load64(at + left - 8);
    } else if (left >= 4) {
        low = hash_load32(at);
        high = hash_load32(at + left - 4);
    } else if (left > 0) {
        low = (uint64_t) at[0] << 16 | (uint64_t) at[left / 2] << 8 | at[left - 1];
    }
    state = hash_fold(low ^ secret, high ^ state);
    return hash_fold(state ^ secret, key.size ^ seed ^ UINT64_C(0x4b33a62ed433d4a3));
}

/* At most two thirds of the slots are taken, graves included; a rebuilt table is at most half full. */
static bool hash_is_full(size_t used, size_t capacity)
{
    return (used + 1) * 3 > capacity * 2;
}

static size_t hash_capacity_for(size_t count)
{
    size_t capacity = HASH_CAPACITY_MIN;
    while (capacity < (count + 1) * 2) {
        capacity *= 2;
    }
    return capacity;
}

/* --- from bytes --- */

/* Without a value a slot is free (code 0) or a grave (code 1). */
struct hash_slot {
    struct span key;
    uint64_t code;
    void *value;
};

struct hash {
    struct hash_slot *slots;
    size_t mask;  /* capacity - 1 */
    size_t count; /* slots with a value */
    size_t used;  /* count and graves */
    uint64_t seed;
};

static bool hash_slot_is_free(const struct hash_slot *slot)
{
    return slot->value == NULL && slot->code == 0;
}

struct hash *hash_new(void)
{
    struct hash *self = MEM_NEW(struct hash);
    self->slots = MEM_NEW_ARRAY(HASH_CAPACITY_MIN, struct hash_slot);
    self->mask = HASH_CAPACITY_MIN - 1;
    self->seed = entropy_u64();
    return self;
}

void hash_destroy(struct hash **self)
{
    if (*self != NULL) {
        mem_free((*self)->slots);
        MEM_FREE(*self);
    }
}

size_t hash_count(const struct hash *self)
{
    return self->count;
}

static struct hash_slot *hash_find(const struct hash *self, struct span key, uint64_t code)
{
    for (size_t i = code & self->mask;; i = (i + 1) & self->mask) {
        struct hash_slot *slot = &self->slots[i];
        if (slot->value != NULL && slot->code == code && span_equal(slot->key, key)) {
            return slot;
        }
        if (hash_slot_is_free(slot)) {
            return NULL;
        }
    }
}

/* The slot for a key that is not in the table: a grave, or a free one. */
static struct hash_slot *hash_place(struct hash *self, uint64_t code)
{
    size_t i = code & self->mask;
    while (self->slots[i].value != NULL) {
        i = (i + 1) & self->mask;
    }
    if (hash_slot_is_free(&self->slots[i])) {
        self->used++;
    }
    return &self->slots[i];
}

static void hash_rebuild(struct hash *self)
{
    struct hash_slot *old = self->slots;
    size_t old_capacity = self->mask + 1;
    size_t capacity = hash_capacity_for(self->count);

    self->slots = MEM_NEW_ARRAY(capacity, struct hash_slot);
    self->mask = capacity - 1;
    self->used = 0;
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].value != NULL) {
            *hash_place(self, old[i].code) = old[i];
        }
    }
    mem_free(old);
}

void *hash_get(const struct hash *self, struct span key)
{
    const struct hash_slot *slot = hash_find(self, key, hash_bytes(key, self->seed));
    return slot != NULL ? slot->value : NULL;
}

void *hash_put(struct hash *self, struct span key, void *value)
{
    INVARIANT(value != NULL);
    uint64_t code = hash_bytes(key, self->seed);
    struct hash_slot *slot = hash_find(self, key, code);
    if (slot != NULL) {
        void *before = slot->value;
        slot->key = key; /* the bytes of the old key may die with the old value */
        slot->value = value;
        return before;
    }
    if (hash_is_full(self->used, self->mask + 1)) {
        hash_rebuild(self);
    }
    *hash_place(self, code) = (struct hash_slot){key, code, value};
    self->count++;
    return NULL;
}

void *hash_remove(struct hash *self, struct span key)
{
    struct hash_slot *slot = hash_find(self, key, hash_bytes(key, self->seed));
    if (slot == NULL) {
        return NULL;
    }
    void *before = slot->value;
    size_t i = (size_t) (slot - self->slots);
    *slot = (struct hash_slot){.code = 1};
    self->count--;
    if (hash_slot_is_free(&self->slots[(i + 1) & self->mask])) {
        /* Nothing is probed across this grave, nor across those right before it. */
        while (self->slots[i].value == NULL && self->slots[i].code == 1) {
            self->slots[i].code = 0;
            self->used--;
            i = (i - 1) & self->mask;
        }
    }
    return before;
}

void *hash_next(const struct hash *self, size_t *cursor)
{
    while (*cursor <= self->mask) {
        void *value = self->slots[(*cursor)++].value;
        if (value != NULL) {
            return value;
        }
    }
    return NULL;
}

size_t hash_memory(const struct hash *self)
{
    return sizeof(*self) + (self->mask + 1) * sizeof(struct hash_slot);
}

/* --- from numbers: the same, with the key in the slot --- */

/* Without a value a slot is free (key 0) or a grave (key 1). */
struct hash64_slot {
    uint64_t key;
    void *value;
};

struct hash64 {
    struct hash64_slot *slots;
    size_t mask;
    size_t count;
    size_t used;
    uint64_t seed;
    uint64_t factor;
};

static inline bool hash64_slot_is_free(const struct hash64_slot *slot)
{
    return slot->value == NULL && slot->key == 0;
}

static inline size_t hash64_home(const struct hash64 *self, uint64_t key)
{
    return hash_fold(key ^ self->seed, self->factor) & self->mask;
}

struct hash64 *hash64_new(void)
{
    struct hash64 *self = MEM_NEW(struct hash64);
    self->slots = MEM_NEW_ARRAY(HASH_CAPACITY_MIN, struct hash64_slot);
    self->mask = HASH_CAPACITY_MIN - 1;
    self->seed = entropy_u64();
    self->factor = entropy_u64() | UINT64_C(0x8000000000000001);
    return self;
}

void hash64_destroy(struct hash64 **self)
{
    if (*self != NULL) {
        mem_free((*self)->slots);
        MEM_FREE(*self);
    }
}

size_t hash64_count(const struct hash64 *self)
{
    return self->count;
}

static inline struct hash64_slot *hash64_find(const struct hash64 *self, uint64_t key)
{
    for (size_t i = hash64_home(self, key);; i = (i + 1) & self->mask) {
        struct hash64_slot *slot = &self->slots[i];
        if (slot->key == key && slot->value != NULL) {
            return slot;
        }
        if (hash64_slot_is_free(slot)) {
            return NULL;
        }
    }
}

static struct hash64_slot *hash64_place(struct hash64 *self, uint64_t key)
{
    size_t i = hash64_home(self, key);
    while (self->slots[i].value != NULL) {
        i = (i + 1) & self->mask;
    }
    if (hash64_slot_is_free(&self->slots[i])) {
        self->used++;
    }
    return &self->slots[i];
}

static void hash64_rebuild(struct hash64 *self)
{
    struct hash64_slot *old = self->slots;
    size_t old_capacity = self->mask + 1;
    size_t capacity = hash_capacity_for(self->count);

    self->slots = MEM_NEW_ARRAY(capacity, struct hash64_slot);
    self->mask = capacity - 1;
    self->used = 0;
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].value != NULL) {
            *hash64_place(self, old[i].key) = old[i];
        }
    }
    mem_free(old);
}

void *hash64_get(const struct hash64 *self, uint64_t key)
{
    const struct hash64_slot *slot = hash64_find(self, key);
    return slot != NULL ? slot->value : NULL;
}

void *hash64_put(struct hash64 *self, uint64_t key, void *value)
{
    INVARIANT(value != NULL);
    struct hash64_slot *slot = hash64_find(self, key);
    if (slot != NULL) {
        void *before = slot->value;
        slot->value = value;
        return before;
    }
    if (hash_is_full(self->used, self->mask + 1)) {
        hash64_rebuild(self);
    }
    *hash64_place(self, key) = (struct hash64_slot){key, value};
    self->count++;
    return NULL;
}

void *hash64_remove(struct hash64 *self, uint64_t key)
{
    struct hash64_slot *slot = hash64_find(self, key);
    if (slot == NULL) {
        return NULL;
    }
    void *before = slot->value;
    size_t i = (size_t) (slot - self->slots);
    *slot = (struct hash64_slot){.key = 1};
    self->count--;
    if (hash64_slot_is_free(&self->slots[(i + 1) & self->mask])) {
        while (self->slots[i].value == NULL && self->slots[i].key == 1) {
            self->slots[i].key = 0;
            self->used--;
            i = (i - 1) & self->mask;
        }
    }
    return before;
}

void *hash64_next(const struct hash64 *self, size_t *cursor)
{
    while (*cursor <= self->mask) {
        void *value = self->slots[(*cursor)++].value;
        if (value != NULL) {
            return value;
        }
    }
    return NULL;
}

size_t hash64_memory(const struct hash64 *self)
{
    return sizeof(*self) + (self->mask + 1) * sizeof(struct hash64_slot);
}
