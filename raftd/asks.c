/* asks: see the header. Owns the entries; answers nothing itself. */
#include "raftd/asks.h"

#include "common/base/hash.h"
#include "common/base/invariant.h"
#include "common/base/mem.h"

struct asks {
    struct list all; /* of ask.link, by index */
    size_t count;
    struct hash *by_key; /* one of the asks about each name; the others hang on its same_key */
};

struct asks *asks_new(void)
{
    struct asks *self = MEM_NEW(struct asks);
    list_init(&self->all);
    self->by_key = hash_new();
    return self;
}

size_t asks_count(const struct asks *self)
{
    return self->count;
}

bool asks_is_full(const struct asks *self)
{
    return self->count >= ASKS_MAX;
}

bool asks_has_key(const struct asks *self, struct span key)
{
    return hash_get(self->by_key, key) != NULL;
}

void asks_add(struct asks *self, uint64_t index, uint64_t ticket, struct span key)
{
    struct ask *ask = MEM_NEW(struct ask);
    ask->index = index;
    ask->ticket = ticket;
    ask->key = (char *) mem_new(key.size + 1);
    if (key.size > 0) {
        memcpy(ask->key, key.data, key.size);
    }
    list_init(&ask->same_key);
    struct ask *first = (struct ask *) hash_get(self->by_key, key);
    if (first != NULL) {
        list_push_back(&first->same_key, &ask->same_key);
    } else {
        (void) hash_put(self->by_key, span_of(ask->key), ask); /* there was none */
    }
    list_push_back(&self->all, &ask->link);
    self->count++;
}

static void asks_drop(struct asks *self, struct ask *ask)
{
    struct span key = span_of(ask->key);
    if (hash_get(self->by_key, key) == ask) {
        (void) hash_remove(self->by_key, key); /* that was it */
        if (list_is_linked(&ask->same_key)) {
            struct ask *next = LIST_ENTRY(ask->same_key.next, struct ask, same_key);
            (void) hash_put(self->by_key, span_of(next->key), next); /* just removed */
        }
    }
    list_remove(&ask->same_key);
    list_remove(&ask->link);
    self->count--;
    mem_free(ask->key);
    mem_free(ask);
}

bool asks_take(struct asks *self, uint64_t index, uint64_t *ret_ticket)
{
    if (list_is_empty(&self->all)) {
        return false;
    }
    struct ask *first = LIST_ENTRY(self->all.next, struct ask, link);
    INVARIANT(first->index >= index); /* nobody was passed over */
    if (first->index != index) {
        return false;
    }
    *ret_ticket = first->ticket;
    asks_drop(self, first);
    return true;
}

void asks_destroy(struct asks **self)
{
    if (*self == NULL) {
        return;
    }
    LIST_FOREACH (&(*self)->all, node) {
        asks_drop(*self, LIST_ENTRY(node, struct ask, link));
    }
    hash_destroy(&(*self)->by_key);
    MEM_FREE(*self);
}
