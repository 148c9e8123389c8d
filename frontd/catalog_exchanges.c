/* catalog_exchanges: a table by "namespace/name" and, when somebody pages through it, a sorted list. Owns its entries; messages are read in place. Must
 * never keep a span of a message. */
#include "frontd/catalog_exchanges.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/wire/pb.h"

#include "frontd/catalog.h"

enum { /* CatalogExchange of catalog.proto */
       EXCHANGE_NAMESPACE = 1,
       EXCHANGE_NAME = 2,
       EXCHANGE_VERSION = 3,
       EXCHANGE_SPEC = 4,
       EXCHANGE_CREATED = 5,
};

struct exchange_entry {
    struct catalog_exchange view;
    struct buf bytes; /* key "namespace/name", then the spec; the view's spans are in here */
    struct span key;
    uint64_t generation;
};

struct catalog_exchanges {
    struct hash *by_key;            /* of struct exchange_entry, owned */
    struct exchange_entry **sorted; /* NULL: to be made */
};

struct catalog_exchanges *catalog_exchanges_new(void)
{
    struct catalog_exchanges *self = MEM_NEW(struct catalog_exchanges);
    self->by_key = hash_new();
    return self;
}

static void exchange_entry_remove(struct catalog_exchanges *self, struct exchange_entry *entry)
{
    MEM_FREE(self->sorted);
    (void) hash_remove(self->by_key, entry->key); /* is entry */
    buf_release(&entry->bytes);
    mem_free(entry);
}

void catalog_exchanges_destroy(struct catalog_exchanges **self)
{
    struct catalog_exchanges *exchanges = *self;
    size_t cursor = 0;
    struct exchange_entry *entry = NULL;
    *self = NULL;
    if (exchanges == NULL) {
        return;
    }
    while ((entry = (struct exchange_entry *) hash_next(exchanges->by_key, &cursor)) != NULL) {
        exchange_entry_remove(exchanges, entry);
    }
    mem_free(exchanges->sorted);
    hash_destroy(&exchanges->by_key);
    mem_free(exchanges);
}

/* Names do not contain '/'. */
static void exchange_key(struct buf *out, struct span namespace_, struct span name)
{
    buf_append(out, namespace_);
    buf_append_byte(out, '/');
    buf_append(out, name);
}

static struct exchange_entry *exchange_entry_find(const struct catalog_exchanges *self,
                                                  struct span namespace_, struct span name)
{
    struct buf key = {0};
    exchange_key(&key, namespace_, name);
    struct exchange_entry *entry = (struct exchange_entry *) hash_get(self->by_key, buf_span(&key));
    buf_release(&key);
    return entry;
}

static int exchange_read(struct span message, struct catalog_exchange *ret_view)
{
    struct catalog_exchange view = {0};
    struct pb_field field;
    int result = 0;
    while ((result = pb_next(&message, &field)) == 1) {
        if (field.number == EXCHANGE_NAMESPACE && field.type == PB_BYTES) {
            view.namespace_ = field.bytes;
        } else if (field.number == EXCHANGE_NAME && field.type == PB_BYTES) {
            view.name = field.bytes;
        } else if (field.number == EXCHANGE_VERSION) {
            view.version = field.value;
        } else if (field.number == EXCHANGE_SPEC && field.type == PB_BYTES) {
            view.spec = field.bytes;
        } else if (field.number == EXCHANGE_CREATED) {
            view.created_us = field.value;
        }
    }
    if (result != 0 || view.namespace_.size == 0 || view.name.size == 0) {
        return ERR_PROTOCOL;
    }
    *ret_view = view;
    return 0;
}

int catalog_exchanges_put(struct catalog_exchanges *self, struct span message, uint64_t generation)
{
    struct catalog_exchange view;
    int result = exchange_read(message, &view);
    if (result != 0) {
        return result;
    }
    struct exchange_entry *entry = exchange_entry_find(self, view.namespace_, view.name);
    if (entry != NULL) {
        exchange_entry_remove(self, entry);
    }
    entry = MEM_NEW(struct exchange_entry);
    exchange_key(&entry->bytes, view.namespace_, view.name);
    size_t key_size = entry->bytes.size;
    buf_append(&entry->bytes, view.spec);
    const uint8_t *bytes = buf_span(&entry->bytes).data;
    entry->key = span_make(bytes, key_size);
    entry->view = view;
    entry->view.namespace_ = span_make(bytes, view.namespace_.size);
    entry->view.name = span_make(bytes + view.namespace_.size + 1, view.name.size);
    entry->view.spec = span_make(bytes + key_size, view.spec.size);
    entry->generation = generation;
    (void) hash_put(self->by_key, entry->key, entry); /* was absent */
    MEM_FREE(self->sorted);
    return 0;
}

int catalog_exchanges_drop(struct catalog_exchanges *self, struct span message)
{
    struct catalog_exchange view;
    int result = exchange_read(message, &view);
    if (result != 0) {
        return result;
    }
    struct exchange_entry *entry = exchange_entry_find(self, view.namespace_, view.name);
    if (entry != NULL) {
        exchange_entry_remove(self, entry);
    }
    return 0;
}

void catalog_exchanges_sweep(struct catalog_exchanges *self, uint64_t generation)
{
    size_t cursor = 0;
    struct exchange_entry *entry = NULL;
    while ((entry = (struct exchange_entry *) hash_next(self->by_key, &cursor)) != NULL) {
        if (entry->generation != generation) {
            exchange_entry_remove(self, entry);
        }
    }
}

size_t catalog_exchanges_count(const struct catalog_exchanges *self)
{
    return hash_count(self->by_key);
}

const struct catalog_exchange *catalog_exchanges_find(const struct catalog_exchanges *self,
                                                      struct span namespace_, struct span name)
{
    const struct exchange_entry *entry = exchange_entry_find(self, namespace_, name);
    return entry != NULL ? &entry->view : NULL;
}

/* --- in order of name --- */

static int exchange_compare(struct span a, struct span b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = size != 0 ? memcmp(a.data, b.data, size) : 0;
    if (order != 0) {
        return order;
    }
    return a.size < b.size ? -1 : a.size > b.size;
}

static int exchange_order(const void *a, const void *b)
{
    const struct catalog_exchange *one = &(*(struct exchange_entry *const *) a)->view;
    const struct catalog_exchange *other = &(*(struct exchange_entry *const *) b)->view;
    int order = exchange_compare(one->namespace_, other->namespace_);
    return order != 0 ? order : exchange_compare(one->name, other->name);
}

static void exchanges_sort(struct catalog_exchanges *self)
{
    size_t cursor = 0;
    size_t count = 0;
    struct exchange_entry *entry = NULL;
    if (self->sorted != NULL) {
        return;
    }
    self->sorted = MEM_NEW_ARRAY(hash_count(self->by_key), struct exchange_entry *);
    while ((entry = (struct exchange_entry *) hash_next(self->by_key, &cursor)) != NULL) {
        self->sorted[count++] = entry;
    }
    qsort(self->sorted, count, sizeof(struct exchange_entry *), exchange_order);
}

const struct catalog_exchange *catalog_exchanges_next(struct catalog_exchanges *self,
                                                      struct span namespace_, struct span after,
                                                      struct span prefix)
{
    size_t low = 0;
    size_t high = hash_count(self->by_key);
    if (high == 0) {
        return NULL;
    }
    exchanges_sort(self);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct catalog_exchange *view = &self->sorted[middle]->view;
        int order = exchange_compare(view->namespace_, namespace_);
        if (order < 0 || (order == 0 && (exchange_compare(view->name, after) <= 0 ||
                                         exchange_compare(view->name, prefix) < 0))) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == hash_count(self->by_key)) {
        return NULL;
    }
    const struct catalog_exchange *found = &self->sorted[low]->view;
    bool begins = found->name.size >= prefix.size &&
                  span_equal(span_make(found->name.data, prefix.size), prefix);
    return span_equal(found->namespace_, namespace_) && begins ? found : NULL;
}
