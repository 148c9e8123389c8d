/* names: see the header. Owns one record a name, in a hash by namespace and name and in a row for each frontd, oldest first. */
#include "routerd/names.h"

#include <string.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/invariant.h"
#include "common/base/list.h"
#include "common/base/mem.h"

enum { NAME_BYTES_MAX = 255, KEY_MAX = 1 + 2 * NAME_BYTES_MAX };

struct name {
    struct list of_row;
    struct name_owner owner;
    uint32_t generation;
    uint32_t size;
    uint8_t key[]; /* one byte of length, the namespace, the name */
};

struct names {
    const uint32_t *floors;
    uint64_t names_max;
    struct hash *by_key;
    struct list rows[TABLE_FRONTDS_MAX];
};

struct names *names_new(const uint32_t floors[TABLE_FRONTDS_MAX], uint64_t names_max)
{
    struct names *self = MEM_NEW(struct names);
    self->floors = floors;
    self->names_max = names_max;
    self->by_key = hash_new();
    for (unsigned i = 0; i < TABLE_FRONTDS_MAX; i++) {
        list_init(&self->rows[i]);
    }
    return self;
}

static void name_remove(struct names *self, struct name *name)
{
    (void) hash_remove(self->by_key, span_make(name->key, name->size));
    list_remove(&name->of_row);
    mem_free(name);
}

void names_destroy(struct names **self)
{
    if (*self == NULL) {
        return;
    }
    for (unsigned i = 0; i < TABLE_FRONTDS_MAX; i++) {
        LIST_FOREACH (&(*self)->rows[i], node) {
            name_remove(*self, LIST_ENTRY(node, struct name, of_row));
        }
    }
    hash_destroy(&(*self)->by_key);
    MEM_FREE(*self);
}

static struct span name_key(struct span namespace_, struct span name, uint8_t out[KEY_MAX])
{
    INVARIANT(namespace_.size <= NAME_BYTES_MAX && name.size <= NAME_BYTES_MAX);
    out[0] = (uint8_t) namespace_.size;
    if (namespace_.size > 0) {
        memcpy(out + 1, namespace_.data, namespace_.size);
    }
    if (name.size > 0) {
        memcpy(out + 1 + namespace_.size, name.data, name.size);
    }
    return span_make(out, 1 + namespace_.size + name.size);
}

static bool name_is_dead(const struct names *self, const struct name *name)
{
    return generation_is_before(name->generation, self->floors[name->owner.frontd]);
}

static bool name_is_of(const struct name *name, const struct name_owner *owner)
{
    return name->owner.frontd == owner->frontd && name->owner.request == owner->request;
}

int names_claim(struct names *self, struct span namespace_, struct span name,
                const struct name_owner *owner, uint32_t generation)
{
    uint8_t bytes[KEY_MAX];
    struct span key = name_key(namespace_, name, bytes);
    struct name *found = (struct name *) hash_get(self->by_key, key);
    if (found != NULL && !name_is_dead(self, found) && !name_is_of(found, owner)) {
        return ERR_RS_IN_USE;
    }
    if (found == NULL) {
        if (hash_count(self->by_key) >= self->names_max) {
            return ERR_QUOTA;
        }
        found = (struct name *) mem_try_new(sizeof(*found) + key.size);
        if (found == NULL) {
            return ERR_NO_MEMORY;
        }
        list_init(&found->of_row);
        found->size = (uint32_t) key.size;
        memcpy(found->key, key.data, key.size);
        (void) hash_put(self->by_key, span_make(found->key, found->size), found);
    }
    found->owner = *owner;
    found->generation = generation;
    list_remove(&found->of_row);
    list_push_back(&self->rows[owner->frontd], &found->of_row);
    return 0;
}

void names_release(struct names *self, struct span namespace_, struct span name,
                   const struct name_owner *owner)
{
    uint8_t bytes[KEY_MAX];
    struct name *found = (struct name *) hash_get(self->by_key, name_key(namespace_, name, bytes));
    if (found != NULL && name_is_of(found, owner)) {
        name_remove(self, found);
    }
}

int names_resolve(const struct names *self, struct span namespace_, struct span name,
                  struct name_owner *ret_owner)
{
    uint8_t bytes[KEY_MAX];
    const struct name *found =
        (const struct name *) hash_get(self->by_key, name_key(namespace_, name, bytes));
    if (found == NULL || name_is_dead(self, found)) {
        return ERR_NOT_FOUND;
    }
    *ret_owner = found->owner;
    return 0;
}

bool names_reap(struct names *self, unsigned frontd)
{
    if (list_is_empty(&self->rows[frontd])) {
        return false;
    }
    struct name *oldest = LIST_ENTRY(self->rows[frontd].next, struct name, of_row);
    if (!name_is_dead(self, oldest)) {
        return false;
    }
    name_remove(self, oldest);
    return true;
}

uint64_t names_count(const struct names *self)
{
    return hash_count(self->by_key);
}
