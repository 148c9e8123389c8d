/* matcher_bucket: a dense list of matchers, and the codes of their signs turned on their side. Owns its lists, not the
 * matchers. A bucket that loses code after code rules out less, never too much. Order means nothing. */
#include "routerd/matcher_bucket.h"

#include "common/base/invariant.h"
#include "common/base/mem.h"

#include "routerd/matcher_heap.h"

enum { BUCKET_MIN = 2, GROUP = 4, CODES_ADDED = 2 };

/* Four codes and who asks them. A code that is not in use is asked by nobody. */
struct matcher_group {
    uint16_t codes[GROUP];
    uint64_t who[GROUP];
};

struct matcher_bucket *matcher_bucket_new(void)
{
    struct matcher_bucket *self = MEM_NEW(struct matcher_bucket);
    self->entry.is_bucket = true;
    return self;
}

void matcher_bucket_destroy(struct matcher_bucket **self)
{
    if (*self == NULL) {
        return;
    }
    for (uint32_t i = 0; i < (*self)->more_count; i++) {
        mem_free((*self)->more[i].groups);
    }
    mem_free((*self)->more);
    mem_free((*self)->first.groups);
    mem_free((*self)->texts);
    MEM_FREE(*self);
}

/* --- blocks --- */

static void code_swap(struct matcher_block *block, size_t i, size_t k)
{
    struct matcher_group *a = &block->groups[i / GROUP];
    struct matcher_group *b = &block->groups[k / GROUP];
    uint16_t code = a->codes[i % GROUP];
    uint64_t who = a->who[i % GROUP];
    a->codes[i % GROUP] = b->codes[k % GROUP];
    a->who[i % GROUP] = b->who[k % GROUP];
    b->codes[k % GROUP] = code;
    b->who[k % GROUP] = who;
}

static uint64_t *code_who(const struct matcher_block *block, size_t i)
{
    return &block->groups[i / GROUP].who[i % GROUP];
}

/* What more ask comes first: so it is soon seen that all are ruled out. */
static void code_rise(struct matcher_block *block, size_t i)
{
    while (i > 0 && __builtin_popcountll(*code_who(block, i - 1)) <
                        __builtin_popcountll(*code_who(block, i))) {
        code_swap(block, i - 1, i);
        i--;
    }
}

static bool code_is(const struct matcher_block *block, size_t i, uint16_t code)
{
    return block->groups[i / GROUP].codes[i % GROUP] == code;
}

static size_t codes_memory(const struct matcher_block *block)
{
    return matcher_heap((size_t) block->room / GROUP * sizeof(*block->groups));
}

static void block_grow(struct matcher_bucket *self, struct matcher_block *block)
{
    size_t groups = (size_t) block->room / GROUP;
    size_t more = groups / 4 + 1;
    self->code_bytes -= codes_memory(block);
    block->groups = mem_resize(block->groups, groups + more, sizeof(*block->groups));
    memset(block->groups + groups, 0, more * sizeof(*block->groups));
    block->room = (uint16_t) ((groups + more) * GROUP);
    self->code_bytes += codes_memory(block);
}

/* `*may_add`: how many codes more than MATCHER_BLOCK_CODES may be added. */
static void block_ask(struct matcher_bucket *self, struct matcher_block *block, uint16_t code,
                      uint64_t who, unsigned *may_add)
{
    for (size_t i = 0; i < block->count; i++) {
        if (code_is(block, i, code)) {
            *code_who(block, i) |= who;
            code_rise(block, i);
            return;
        }
    }
    if (block->count >= MATCHER_BLOCK_CODES) {
        if (*may_add == 0 || block->count == MATCHER_BLOCK_CODES_MAX) {
            return;
        }
        --*may_add;
    }
    if (block->count == block->room) {
        block_grow(self, block);
    }
    block->groups[block->count / GROUP].codes[block->count % GROUP] = code;
    *code_who(block, block->count) = who;
    block->count++;
}

/* Room follows when most codes have gone. */
static void block_shrink(struct matcher_bucket *self, struct matcher_block *block)
{
    size_t groups = ((size_t) block->count + GROUP - 1) / GROUP;
    if (groups > 0 && groups < (size_t) block->room / GROUP / 2) {
        self->code_bytes -= codes_memory(block);
        block->groups = mem_resize(block->groups, groups, sizeof(*block->groups));
        block->room = (uint16_t) (groups * GROUP);
        self->code_bytes += codes_memory(block);
    }
}

/* Nobody at these places asks anything any more. */
static void block_forget(struct matcher_bucket *self, struct matcher_block *block, uint64_t who)
{
    for (size_t i = block->count; i-- > 0;) {
        uint64_t *asked = code_who(block, i);
        *asked &= ~who;
        if (*asked == 0) {
            code_swap(block, i, --block->count);
        }
    }
    block_shrink(self, block);
}

static struct matcher_block *block_of(struct matcher_bucket *self, uint32_t place)
{
    uint32_t block = place / MATCHER_BLOCK;
    return block == 0 ? &self->first : &self->more[block - 1];
}

static uint64_t bit_of(uint32_t place)
{
    return UINT64_C(1) << (place % MATCHER_BLOCK);
}

/* --- the list --- */

static void texts_resize(struct matcher_bucket *self, uint32_t capacity)
{
    self->texts = mem_resize(self->texts, capacity, sizeof(struct matcher_text *));
    self->capacity = capacity;
}

void matcher_bucket_add(struct matcher_bucket *self, struct matcher_text *text,
                        const uint64_t *signs, size_t sign_count)
{
    if (self->count == self->capacity) {
        uint32_t capacity = self->capacity;
        INVARIANT(capacity < UINT32_MAX / 2);
        texts_resize(self, capacity == 0   ? BUCKET_MIN
                           : capacity < 16 ? capacity * 2
                                           : capacity + capacity / 4);
    }
    text->place = self->count;
    self->texts[self->count++] = text;
    if (text->place / MATCHER_BLOCK > self->more_count) {
        if (self->more_count == self->more_room) {
            self->more_room += self->more_room / 4 + 1;
            self->more = mem_resize(self->more, self->more_room, sizeof(*self->more));
        }
        self->more[self->more_count++] = (struct matcher_block){0};
    }
    struct matcher_block *block = block_of(self, text->place);
    unsigned may_add = CODES_ADDED;
    for (size_t i = 0; i < sign_count; i++) {
        block_ask(self, block, matcher_code_of(signs[i]), bit_of(text->place), &may_add);
    }
}

static void more_shrink(struct matcher_bucket *self)
{
    if (self->more_count == 0) {
        MEM_FREE(self->more);
        self->more_room = 0;
    } else if (self->more_count < self->more_room / 2) {
        self->more = mem_resize(self->more, self->more_count, sizeof(*self->more));
        self->more_room = self->more_count;
    }
}

/* The last one takes the free place. */
void matcher_bucket_remove(struct matcher_bucket *self, struct matcher_text *text)
{
    INVARIANT(text->place < self->count && self->texts[text->place] == text);
    uint32_t place = text->place;
    uint32_t last = --self->count;
    block_forget(self, block_of(self, place), bit_of(place));
    if (place != last) {
        self->texts[place] = self->texts[last];
        self->texts[place]->place = place;
        struct matcher_block *from = block_of(self, last);
        unsigned may_add = CODES_ADDED;
        for (size_t i = 0; i < from->count; i++) {
            if ((*code_who(from, i) & bit_of(last)) != 0) {
                block_ask(self, block_of(self, place), from->groups[i / GROUP].codes[i % GROUP],
                          bit_of(place), &may_add);
            }
        }
        block_forget(self, from, bit_of(last));
    }
    if (last > 0 && last % MATCHER_BLOCK == 0) {
        struct matcher_block *empty = &self->more[--self->more_count];
        self->code_bytes -= codes_memory(empty);
        mem_free(empty->groups);
        more_shrink(self);
    }
    if (last >= BUCKET_MIN && last < self->capacity / 4) {
        texts_resize(self, self->capacity / 2);
    }
}

size_t matcher_bucket_memory(const struct matcher_bucket *self)
{
    return matcher_heap(sizeof(*self)) + self->code_bytes +
           matcher_heap(self->capacity * sizeof(struct matcher_text *)) +
           matcher_heap(self->more_room * sizeof(*self->more));
}

/* --- lookups --- */

size_t matcher_bucket_blocks(const struct matcher_bucket *self)
{
    return ((size_t) self->count + MATCHER_BLOCK - 1) / MATCHER_BLOCK;
}

void matcher_bucket_prefetch(const struct matcher_bucket *self)
{
    const char *groups = (const char *) self->first.groups;
    __builtin_prefetch(groups);
    __builtin_prefetch(groups + 64);
    __builtin_prefetch(groups + 128);
}

uint64_t matcher_bucket_left(const struct matcher_bucket *self, size_t block,
                             const struct matcher_marks *marks, uint64_t *steps)
{
    const struct matcher_block *codes = block == 0 ? &self->first : &self->more[block - 1];
    size_t here = self->count - block * MATCHER_BLOCK;
    uint64_t ruled_out = here < MATCHER_BLOCK ? ~((UINT64_C(1) << here) - 1) : 0;
    const struct matcher_group *group = codes->groups;
    const struct matcher_group *end = group + ((size_t) codes->count + GROUP - 1) / GROUP;
    for (; group < end && ruled_out != UINT64_MAX; group++) {
        ruled_out |= group->who[0] & matcher_marks_lack(marks, group->codes[0]);
        ruled_out |= group->who[1] & matcher_marks_lack(marks, group->codes[1]);
        ruled_out |= group->who[2] & matcher_marks_lack(marks, group->codes[2]);
        ruled_out |= group->who[3] & matcher_marks_lack(marks, group->codes[3]);
    }
    *steps += (size_t) (group - codes->groups);
    return ~ruled_out;
}
