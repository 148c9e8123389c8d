/* subscription_queue: see the header. Owns entries and references of copies. Must never count memory twice or not at all, nor keep what nobody refers to. */
#include "frontd/subscription_queue.h"

#include <string.h>

#include "common/base/hash.h"
#include "common/base/invariant.h"
#include "common/base/list.h"
#include "common/base/mem.h"

#include "frontd/messages.h"

enum {
    MALLOC_OVERHEAD = 16,
    PAYLOAD_OVERHEAD = 64 + MALLOC_OVERHEAD, /* struct payload, which is opaque */
    HASH_SLOT_BYTES = 96,                    /* of a table that is a third full */
    CUTS = 16,
    SHARES = 4, /* a queue may use this part of what is free */
};

/* Where a piece of a copy was cut. Many queues hold the same piece and are cut at the same place: only the first one walks. */
struct cut {
    uint64_t generation;
    const uint8_t *data;
    size_t data_size;
    uint32_t count_min;
    uint64_t bytes_min;
    size_t size;
    size_t last; /* where the last message before the cut begins */
    uint32_t count;
};

struct subscription_queue_pool {
    const uint64_t *bytes_max;
    uint64_t bytes;
    uint64_t generation; /* of copies: one was given back since */
    struct cut cuts[CUTS];
    void (*on_request_dropped)(void *ud, unsigned origin, uint64_t request);
    void *ud;
};

/* The memory behind a copy's payload. */
struct copy {
    struct subscription_queue_pool *pool;
    size_t size;
    uint8_t bytes[];
};

/* Some messages of one copy. */
struct entry {
    struct list of_queue;
    struct payload *copy;
    struct span messages;
    uint32_t count;
    uint32_t timeout_ms;
    uint64_t request;
    unsigned origin;
};

struct subscription_queue {
    struct subscription_queue_pool *pool;
    struct list entries;
    struct hash *by_topic; /* of CONFLATE: entries of one message by topic; NULL: never had one */
    uint64_t bytes;        /* of the messages that wait */
    uint32_t messages;
    uint32_t gap_behind; /* so many of them come before the gap */
    struct subscription_gap *gap;
};

/* --- the pool --- */

struct subscription_queue_pool *
subscription_queue_pool_new(const uint64_t *bytes_max,
                            void (*on_request_dropped)(void *ud, unsigned origin, uint64_t request),
                            void *ud)
{
    struct subscription_queue_pool *self = MEM_NEW(struct subscription_queue_pool);
    self->bytes_max = bytes_max;
    self->on_request_dropped = on_request_dropped;
    self->ud = ud;
    return self;
}

void subscription_queue_pool_destroy(struct subscription_queue_pool **self)
{
    if (*self != NULL) {
        INVARIANT((*self)->bytes == 0);
        MEM_FREE(*self);
    }
}

uint64_t subscription_queue_pool_bytes(const struct subscription_queue_pool *self)
{
    return self->bytes;
}

static uint64_t copy_cost(size_t size)
{
    return size + sizeof(struct copy) + MALLOC_OVERHEAD + PAYLOAD_OVERHEAD;
}

static uint64_t entry_cost(void)
{
    return sizeof(struct entry) + MALLOC_OVERHEAD;
}

static void copy_release(void *hint)
{
    struct copy *copy = hint;
    copy->pool->bytes -= copy_cost(copy->size);
    copy->pool->generation++; /* its place may be taken by another: no cut is known any more */
    mem_free(copy);
}

struct payload *subscription_queue_pool_copy(struct subscription_queue_pool *self,
                                             struct span bytes)
{
    struct copy *copy = (struct copy *) mem_try_new(sizeof(*copy) + bytes.size);
    if (copy == NULL) {
        return NULL;
    }
    copy->pool = self;
    copy->size = bytes.size;
    memcpy(copy->bytes, bytes.data, bytes.size);
    struct payload *payload = payload_wrap(copy->bytes, bytes.size, copy_release, copy);
    if (payload == NULL) {
        mem_free(copy);
        return NULL;
    }
    self->bytes += copy_cost(bytes.size);
    return payload;
}

/* What is free. */
static uint64_t pool_room(const struct subscription_queue_pool *self)
{
    return *self->bytes_max > self->bytes ? *self->bytes_max - self->bytes : 0;
}

uint64_t subscription_queue_pool_share(const struct subscription_queue_pool *self)
{
    return pool_room(self) / SHARES;
}

/* --- the gap --- */

static void gap_topic(char to[255], uint8_t *ret_size, struct span topic)
{
    size_t size = topic.size < 255 ? topic.size : 255;
    if (size != 0) {
        memcpy(to, topic.data, size);
    }
    *ret_size = (uint8_t) size;
}

/* Messages were dropped that stood behind `behind` others: of a queue always the first ones, or always the last. One gap is kept, at the first of its places, which is
 * between two entries. Which was the last of them is said by gap_last. */
static void gap_add(struct subscription_queue *self, struct span messages, uint32_t count,
                    uint32_t behind)
{
    if (self->gap == NULL) {
        self->gap = MEM_NEW(struct subscription_gap);
        self->pool->bytes += sizeof(struct subscription_gap) + MALLOC_OVERHEAD;
        self->gap_behind = behind;
        gap_topic(self->gap->first_topic, &self->gap->first_size, messages_topic(messages));
    }
    self->gap->count += count;
}

static void gap_last(struct subscription_queue *self, struct span message)
{
    gap_topic(self->gap->last_topic, &self->gap->last_size, messages_topic(message));
}

/* Messages were dropped that never were in the queue: some of a run. */
static void gap_add_new(struct subscription_queue *self, struct run *run, struct span messages,
                        uint32_t count, uint32_t behind)
{
    const uint8_t *end = messages.data + messages.size;
    const uint8_t *last = end == run->messages.data + run->messages.size ? run->last : NULL;
    if (count == 0) {
        return;
    }
    if (last == NULL) {
        uint32_t all = 0;
        size_t at = 0;
        (void) messages_prefix_at_least(messages, count, 0, &all, &at); /* only where it ends */
        last = messages.data + at;
        run->last = end == run->messages.data + run->messages.size ? last : run->last;
    }
    gap_add(self, messages, count, behind);
    gap_last(self, span_make(last, (size_t) (end - last)));
}

const struct subscription_gap *subscription_queue_gap_due(const struct subscription_queue *self)
{
    return self->gap_behind == 0 ? self->gap : NULL;
}

void subscription_queue_gap_told(struct subscription_queue *self)
{
    if (self->gap != NULL) {
        self->pool->bytes -= sizeof(struct subscription_gap) + MALLOC_OVERHEAD;
        MEM_FREE(self->gap);
    }
    self->gap_behind = 0;
}

/* --- entries --- */

static uint64_t entry_cost_in(const struct subscription_queue *self)
{
    return entry_cost() + (self->by_topic != NULL ? (uint64_t) HASH_SLOT_BYTES : 0);
}

static struct entry *queue_first(const struct subscription_queue *self)
{
    return list_is_empty(&self->entries) ? NULL
                                         : LIST_ENTRY(self->entries.next, struct entry, of_queue);
}

static void entry_remove(struct subscription_queue *self, struct entry *entry)
{
    if (self->by_topic != NULL) {
        (void) hash_remove(self->by_topic, messages_topic(entry->messages)); /* is this one */
    }
    self->bytes -= entry->messages.size;
    self->messages -= entry->count;
    self->pool->bytes -= entry_cost_in(self);
    list_remove(&entry->of_queue);
    payload_unref(&entry->copy);
    mem_free(entry);
}

/* The first messages of an entry are out of the queue. */
static void entry_shorten(struct subscription_queue *self, struct entry *entry, size_t bytes,
                          uint32_t count)
{
    if (count == entry->count) {
        entry_remove(self, entry);
        return;
    }
    entry->messages = messages_behind(entry->messages, bytes);
    entry->count -= count;
    self->bytes -= bytes;
    self->messages -= count;
}

static void tell_request_dropped(const struct subscription_queue *self, const struct entry *entry)
{
    if (entry->request != 0 && self->pool->on_request_dropped != NULL) {
        self->pool->on_request_dropped(self->pool->ud, entry->origin, entry->request);
    }
}

/* The shortest front of an entry that is at least so much, or all of it. Borrowed until the next. */
static const struct cut *queue_cut(const struct subscription_queue *self, const struct entry *entry,
                                   uint32_t count_min, uint64_t bytes_min)
{
    struct subscription_queue_pool *pool = self->pool;
    struct span messages = entry->messages;
    struct cut *cut = &pool->cuts[(uintptr_t) messages.data / 64 % CUTS];
    if (count_min > entry->count) {
        count_min = entry->count;
    }
    if (cut->generation != pool->generation || cut->data != messages.data ||
        cut->data_size != messages.size || cut->count_min != count_min ||
        cut->bytes_min != bytes_min) {
        *cut = (struct cut){
            .generation = pool->generation,
            .data = messages.data,
            .data_size = messages.size,
            .count_min = count_min,
            .bytes_min = bytes_min,
        };
        cut->size =
            messages_prefix_at_least(messages, count_min, bytes_min, &cut->count, &cut->last);
    }
    return cut;
}

/* Drop from the front at least so many messages and bytes, if there are. Returns how many. */
static uint32_t queue_drop_front(struct subscription_queue *self, uint32_t count_min,
                                 uint64_t bytes_min)
{
    uint32_t dropped = 0;
    uint64_t dropped_bytes = 0;
    struct entry *entry = NULL;
    while ((dropped < count_min || dropped_bytes < bytes_min) &&
           (entry = queue_first(self)) != NULL) {
        uint32_t count = entry->count;
        size_t size = entry->messages.size;
        uint32_t count_left = dropped < count_min ? count_min - dropped : 0;
        uint64_t bytes_left = dropped_bytes < bytes_min ? bytes_min - dropped_bytes : 0;
        bool is_last = (count >= count_left && size >= bytes_left) || count == self->messages;
        gap_add(self, entry->messages, 0, 0);
        if (is_last) {
            const struct cut *cut = queue_cut(self, entry, count_left, bytes_left);
            count = cut->count;
            size = cut->size;
            gap_last(self, messages_behind(messages_first(entry->messages, size), cut->last));
        }
        self->gap->count += count;
        tell_request_dropped(self, entry);
        dropped += count;
        dropped_bytes += size;
        entry_shorten(self, entry, size, count);
    }
    return dropped;
}

/* Is the copy that others share the one to refer to? A small part of a run would keep all of it. */
static bool run_is_to_share(const struct run *run, struct span messages)
{
    return run->copy != NULL || messages.size >= run->messages.size / 2;
}

/* What it would cost to keep these messages of the run. */
static uint64_t queue_cost(const struct subscription_queue *self, const struct run *run,
                           struct span messages)
{
    uint64_t cost = entry_cost_in(self);
    if (run->copy != NULL) {
        return cost;
    }
    return cost + copy_cost(run_is_to_share(run, messages) ? run->messages.size : messages.size);
}

/* false: no memory. */
static bool queue_push(struct subscription_queue *self, struct run *run, struct span messages,
                       uint32_t count)
{
    struct payload *copy = NULL;
    struct span at = {0};
    if (run_is_to_share(run, messages)) {
        if (run->copy == NULL) {
            run->copy = subscription_queue_pool_copy(self->pool, run->messages);
        }
        if (run->copy != NULL) {
            copy = payload_ref(run->copy);
            at = messages_behind(payload_span(copy), (size_t) (messages.data - run->messages.data));
        }
    } else {
        copy = subscription_queue_pool_copy(self->pool, messages);
        at = copy != NULL ? payload_span(copy) : at;
    }
    struct entry *entry = copy != NULL ? (struct entry *) mem_try_new(sizeof(struct entry)) : NULL;
    if (entry == NULL) {
        payload_unref(&copy);
        return false;
    }
    *entry = (struct entry){
        .copy = copy,
        .messages = messages_first(at, messages.size),
        .count = count,
        .timeout_ms = run->timeout_ms,
        .request = run->request,
        .origin = run->origin,
    };
    list_init(&entry->of_queue);
    list_push_back(&self->entries, &entry->of_queue);
    self->bytes += messages.size;
    self->messages += count;
    self->pool->bytes += entry_cost_in(self);
    if (self->by_topic != NULL) {
        (void) hash_put(self->by_topic, messages_topic(entry->messages), entry); /* was absent */
    }
    return true;
}

/* --- policies --- */

/* Bytes this queue may hold now. */
static uint64_t queue_bytes_max(const struct subscription_queue *self,
                                const struct subscription_queue_limits *limits)
{
    uint64_t share = subscription_queue_pool_share(self->pool);
    return limits->bytes_max < share ? limits->bytes_max : share;
}

static bool queue_fits(const struct subscription_queue *self,
                       const struct subscription_queue_limits *limits, const struct run *run,
                       struct span messages, uint32_t count)
{
    return self->messages + count <= limits->messages_max &&
           self->bytes + messages.size <= queue_bytes_max(self, limits) &&
           queue_cost(self, run, messages) <= pool_room(self->pool);
}

/* The newest stay. */
static uint32_t offer_drop_old(struct subscription_queue *self,
                               const struct subscription_queue_limits *limits, struct run *run,
                               struct span messages, uint32_t count, uint32_t *ret_dropped_old)
{
    while (self->messages != 0 && !queue_fits(self, limits, run, messages, count)) {
        uint64_t bytes_max = queue_bytes_max(self, limits);
        uint64_t bytes = self->bytes + messages.size;
        uint32_t over = self->messages + count > limits->messages_max
                            ? self->messages + count - limits->messages_max
                            : 0;
        uint64_t over_bytes = bytes > bytes_max ? bytes - bytes_max : 0;
        if (over == 0 && over_bytes == 0) {
            over = queue_first(self)->count; /* the pool is full */
        }
        *ret_dropped_old += queue_drop_front(self, over, over_bytes);
    }
    uint64_t bytes_max = queue_bytes_max(self, limits);
    if (self->messages == 0 && (count > limits->messages_max || messages.size > bytes_max)) {
        uint32_t skipped = 0;
        size_t last = 0;
        size_t size = messages_prefix_at_least(
            messages, count > limits->messages_max ? count - limits->messages_max : 0,
            messages.size > bytes_max ? messages.size - bytes_max : 0, &skipped, &last);
        gap_add(self, messages, skipped, 0);
        gap_last(self, messages_behind(messages_first(messages, size), last));
        messages = messages_behind(messages, size);
        count -= skipped;
    }
    if (count == 0) {
        return 0;
    }
    if (queue_cost(self, run, messages) > pool_room(self->pool) ||
        !queue_push(self, run, messages, count)) {
        gap_add_new(self, run, messages, count, self->messages);
        return 0;
    }
    return count;
}

/* The oldest stay. */
static uint32_t offer_drop_new(struct subscription_queue *self,
                               const struct subscription_queue_limits *limits, struct run *run,
                               struct span messages, uint32_t count)
{
    uint64_t bytes_max = queue_bytes_max(self, limits);
    uint32_t room =
        self->messages < limits->messages_max ? limits->messages_max - self->messages : 0;
    uint64_t room_bytes = self->bytes < bytes_max ? bytes_max - self->bytes : 0;
    uint32_t taken = count;
    size_t size = messages.size;
    if (count > room || messages.size > room_bytes) {
        size = messages_prefix(messages, room, room_bytes, &taken);
    }
    struct span part = messages_first(messages, size);
    if (taken != 0 && (queue_cost(self, run, part) > pool_room(self->pool) ||
                       !queue_push(self, run, part, taken))) {
        taken = 0;
        size = 0;
    }
    gap_add_new(self, run, messages_behind(messages, size), count - taken, self->messages);
    return taken;
}

/* One message of CONFLATE, in a copy of its own: all the others of its run may go. */
static uint32_t offer_conflate_one(struct subscription_queue *self,
                                   const struct subscription_queue_limits *limits,
                                   const struct run *run, struct span message,
                                   uint32_t *ret_dropped_old)
{
    struct run single = {
        .messages = message,
        .count = 1,
        .request = run->request,
        .origin = run->origin,
        .timeout_ms = run->timeout_ms,
    };
    struct entry *older = (struct entry *) hash_get(self->by_topic, messages_topic(message));
    if (older != NULL) {
        gap_add(self, older->messages, 1, 0);
        gap_last(self, older->messages);
        tell_request_dropped(self, older);
        entry_remove(self, older);
        ++*ret_dropped_old;
    }
    uint32_t taken = offer_drop_old(self, limits, &single, message, 1, ret_dropped_old);
    run_release(&single);
    return taken;
}

/* The newest of each topic stays, at the end: so what was published before it comes before it. */
static uint32_t offer_conflate(struct subscription_queue *self,
                               const struct subscription_queue_limits *limits,
                               const struct run *run, struct span messages, uint32_t count,
                               uint32_t *ret_dropped_old)
{
    uint32_t taken = 0;
    if (self->by_topic == NULL) {
        self->by_topic = hash_new();
    }
    for (; count != 0; count--) {
        uint32_t one = 0;
        size_t size = messages_prefix(messages, 1, UINT64_MAX, &one);
        struct span message = messages_first(messages, size);
        messages = messages_behind(messages, size);
        if (count > 1 && span_equal(messages_topic(message), messages_topic(messages))) {
            gap_add(self, message, 1, 0);
            gap_last(self, message);
        } else {
            taken += offer_conflate_one(self, limits, run, message, ret_dropped_old);
        }
    }
    return taken;
}

uint32_t subscription_queue_offer(struct subscription_queue *self,
                                  const struct subscription_queue_limits *limits, struct run *run,
                                  struct span messages, uint32_t count, uint32_t *ret_dropped_old)
{
    *ret_dropped_old = 0;
    switch (limits->policy) {
    case SUBSCRIPTION_CONFLATE:
        return offer_conflate(self, limits, run, messages, count, ret_dropped_old);
    case SUBSCRIPTION_DROP_NEW:
    case SUBSCRIPTION_DISCONNECT:
        return offer_drop_new(self, limits, run, messages, count);
    case SUBSCRIPTION_DROP_OLD:
    case SUBSCRIPTION_POLICY_COUNT:
        break;
    }
    return offer_drop_old(self, limits, run, messages, count, ret_dropped_old);
}

/* --- life, and what goes out --- */

struct subscription_queue *subscription_queue_new(struct subscription_queue_pool *pool)
{
    struct subscription_queue *self = MEM_NEW(struct subscription_queue);
    self->pool = pool;
    list_init(&self->entries);
    pool->bytes += sizeof(*self) + MALLOC_OVERHEAD;
    return self;
}

void subscription_queue_destroy(struct subscription_queue **self)
{
    struct subscription_queue *queue = *self;
    *self = NULL;
    if (queue == NULL) {
        return;
    }
    struct entry *entry = NULL;
    while ((entry = queue_first(queue)) != NULL) {
        tell_request_dropped(queue, entry);
        entry_remove(queue, entry);
    }
    subscription_queue_gap_told(queue);
    hash_destroy(&queue->by_topic);
    queue->pool->bytes -= sizeof(*queue) + MALLOC_OVERHEAD;
    mem_free(queue);
}

uint32_t subscription_queue_messages(const struct subscription_queue *self)
{
    return self->messages;
}

uint64_t subscription_queue_bytes(const struct subscription_queue *self)
{
    return self->bytes;
}

bool subscription_queue_is_empty(const struct subscription_queue *self)
{
    return self->messages == 0 && self->gap == NULL;
}

bool subscription_queue_next(const struct subscription_queue *self, uint32_t count_max,
                             uint64_t bytes_max, struct subscription_queue_part *ret_part)
{
    const struct entry *entry = queue_first(self);
    if (entry == NULL || (self->gap != NULL && self->gap_behind == 0)) {
        return false;
    }
    uint32_t count = entry->count;
    size_t size = entry->messages.size;
    if (count > count_max || size > bytes_max) {
        size = messages_prefix(entry->messages, count_max, bytes_max, &count);
    }
    if (count == 0) {
        return false;
    }
    *ret_part = (struct subscription_queue_part){
        .owner = entry->copy,
        .messages = messages_first(entry->messages, size),
        .count = count,
        .request = entry->request,
        .origin = entry->origin,
        .timeout_ms = entry->timeout_ms,
    };
    return true;
}

void subscription_queue_taken(struct subscription_queue *self,
                              const struct subscription_queue_part *part)
{
    struct entry *entry = queue_first(self);
    INVARIANT(entry != NULL && entry->messages.data == part->messages.data);
    if (self->gap != NULL) {
        self->gap_behind -= part->count;
    }
    entry_shorten(self, entry, part->messages.size, part->count);
}
