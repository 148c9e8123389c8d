/* matcher: all matchers of an exchange. Owns the texts, each once, by its normal form; those without wildcards are found by one
 * probe with the topic itself, the others by the index of wildcards. Never delivers a holder twice for one topic: when
 * several matchers were found, their holders go through a set whose room stays from lookup to lookup. */
#include "routerd/matcher.h"

#include "common/base/hash.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

#include "routerd/matcher_heap.h"
#include "routerd/matcher_index.h"

/* A holder that was told in lookup `number`; of another lookup: free. */
struct seen_slot {
    uint64_t holder;
    uint64_t number;
};

struct matcher {
    struct hash *texts; /* normal form -> struct matcher_text */
    struct matcher_index *index;
    uint64_t count; /* pairs */
    uint64_t text_bytes;
    uint64_t lookups;
    uint64_t seed;
    struct matcher_found found;
    struct seen_slot *seen;
    size_t seen_size; /* a power of two, or 0 */
};

struct matcher *matcher_new(uint64_t seed)
{
    struct matcher *self = MEM_NEW(struct matcher);
    self->texts = hash_new();
    self->seed = seed;
    self->index = matcher_index_new(self->seed);
    return self;
}

void matcher_destroy(struct matcher **self)
{
    if (*self == NULL) {
        return;
    }
    matcher_index_destroy(&(*self)->index); /* looks at the texts */
    size_t cursor = 0;
    for (struct matcher_text *text = hash_next((*self)->texts, &cursor); text != NULL;
         text = hash_next((*self)->texts, &cursor)) {
        matcher_text_destroy(&text);
    }
    hash_destroy(&(*self)->texts);
    mem_free((*self)->found.texts);
    mem_free((*self)->seen);
    MEM_FREE(*self);
}

bool matcher_add(struct matcher *self, struct span text, uint64_t holder)
{
    char normal[TOPIC_SIZE_MAX];
    INVARIANT(text.size <= TOPIC_SIZE_MAX);
    struct span key = span_make(normal, topic_normalise(text, normal));
    struct matcher_text *found = hash_get(self->texts, key);
    if (found == NULL) {
        found = matcher_text_new(key);
        (void) hash_put(self->texts, matcher_text_span(found), found);
        if (found->has_wildcard) {
            matcher_index_add(self->index, found);
        }
    } else {
        self->text_bytes -= matcher_text_memory(found);
    }
    bool is_new = matcher_holders_add(&found->holders, holder, self->seed);
    self->text_bytes += matcher_text_memory(found);
    self->count += is_new;
    return is_new;
}

/* The table never shrinks by itself: make it anew when it is empty or nearly so. */
static void texts_shrink(struct matcher *self)
{
    enum { SLOT = 32, SPARSE = 32, SMALL = 64 * 1024 };
    size_t bytes = hash_memory(self->texts);
    size_t count = hash_count(self->texts);
    if (count > 0 && (bytes < SMALL || count * SLOT * SPARSE > bytes)) {
        return;
    }
    struct hash *fresh = hash_new();
    size_t cursor = 0;
    for (struct matcher_text *text = hash_next(self->texts, &cursor); text != NULL;
         text = hash_next(self->texts, &cursor)) {
        (void) hash_put(fresh, matcher_text_span(text), text);
    }
    hash_destroy(&self->texts);
    self->texts = fresh;
}

bool matcher_remove(struct matcher *self, struct span text, uint64_t holder)
{
    char normal[TOPIC_SIZE_MAX];
    INVARIANT(text.size <= TOPIC_SIZE_MAX);
    struct span key = span_make(normal, topic_normalise(text, normal));
    struct matcher_text *found = hash_get(self->texts, key);
    if (found == NULL) {
        return false;
    }
    size_t bytes = matcher_text_memory(found);
    if (!matcher_holders_remove(&found->holders, holder, self->seed)) {
        return false;
    }
    self->count--;
    self->text_bytes -= bytes;
    if (found->holders.count > 0) {
        self->text_bytes += matcher_text_memory(found);
        return true;
    }
    if (found->has_wildcard) {
        matcher_index_remove(self->index, found);
    }
    (void) hash_remove(self->texts, key);
    matcher_text_destroy(&found);
    texts_shrink(self);
    if (self->count == 0) {
        MEM_FREE(self->found.texts);
        MEM_FREE(self->seen);
        self->found = (struct matcher_found){0};
        self->seen_size = 0;
    }
    return true;
}

/* --- lookups --- */

/* Room for so many holders, at most half full. It stays for the next lookup, unless that needs far less. */
static void seen_fit(struct matcher *self, size_t holders)
{
    enum { SEEN_MIN = 64, SEEN_KEPT = 4096 };
    size_t size = SEEN_MIN;
    while (size < holders * 2) {
        size *= 2;
    }
    if (size > self->seen_size || (self->seen_size > SEEN_KEPT && size < self->seen_size / 64)) {
        mem_free(self->seen);
        self->seen = MEM_NEW_ARRAY(size, struct seen_slot);
        self->seen_size = size;
    }
}

/* false: it was told already. */
static bool seen_add(struct matcher *self, uint64_t holder)
{
    uint64_t mixed = (holder ^ self->seed) * UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 32 ^ self->seed) * UINT64_C(0xd1b54a32d192ed03);
    for (size_t i = (size_t) (mixed >> 32) & (self->seen_size - 1);;
         i = (i + 1) & (self->seen_size - 1)) {
        struct seen_slot *slot = &self->seen[i];
        if (slot->number != self->lookups) {
            *slot = (struct seen_slot){holder, self->lookups};
            return true;
        }
        if (slot->holder == holder) {
            return false;
        }
    }
}

static void tell(struct matcher *self, matcher_found_fn *found, void *ud)
{
    size_t holders = 0;
    for (size_t i = 0; i < self->found.count; i++) {
        holders += self->found.texts[i]->holders.count;
    }
    bool is_one = self->found.count == 1;
    if (!is_one) {
        seen_fit(self, holders);
    }
    for (size_t i = 0; i < self->found.count; i++) {
        const struct matcher_holders *of_text = &self->found.texts[i]->holders;
        const uint64_t *all = matcher_holders_all(of_text);
        for (uint32_t k = 0; k < of_text->count; k++) {
            if (is_one || seen_add(self, all[k])) {
                found(ud, all[k]);
            }
        }
    }
}

void matcher_find(struct matcher *self, struct span topic, matcher_found_fn *found, void *ud)
{
    self->lookups++;
    self->found.count = 0;
    struct matcher_text *literal = hash_get(self->texts, topic);
    if (literal != NULL) {
        matcher_found_add(&self->found, literal);
    }
    if (matcher_index_count(self->index) > 0) {
        struct matcher_topic parts;
        matcher_topic_init(&parts, topic, self->seed);
        matcher_index_find(self->index, &parts, &self->found);
    }
    if (self->found.count > 0) {
        tell(self, found, ud);
    }
}

uint64_t matcher_count(const struct matcher *self)
{
    return self->count;
}

uint64_t matcher_texts(const struct matcher *self)
{
    return hash_count(self->texts);
}

uint64_t matcher_bytes(const struct matcher *self)
{
    return matcher_heap(sizeof(*self)) + hash_memory(self->texts) + self->text_bytes +
           matcher_index_memory(self->index) +
           matcher_heap(self->found.capacity * sizeof(struct matcher_text *)) +
           matcher_heap(self->seen_size * sizeof(struct seen_slot));
}

/* The probe with the topic itself is one, too. */
uint64_t matcher_steps(const struct matcher *self)
{
    return self->lookups + matcher_index_steps(self->index);
}
