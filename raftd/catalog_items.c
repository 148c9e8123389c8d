/* catalog_items: the life of the catalogue's objects and their encoding. Knows nothing of tables and rules. */
#include "raftd/catalog_items.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/invariant.h"
#include "common/base/mem.h"
#include "common/base/name.h"
#include "common/wire/catalog.pb-c.h"
#include "common/wire/scan.h"
#include "raftd/catalog.h"

void catalog_stream_key(struct buf *out, struct span namespace_, struct span name)
{
    buf_append(out, namespace_);
    buf_append_byte(out, '/');
    buf_append(out, name);
}

void catalog_exchange_key(struct buf *out, struct span namespace_, struct span name)
{
    catalog_stream_key(out, namespace_, name); /* in another table */
}

void catalog_group_key(struct buf *out, struct span stream_key, struct span group)
{
    buf_append(out, stream_key);
    buf_append_byte(out, '/');
    buf_append(out, group);
}

void catalog_endpoint_key(struct buf *out, uint64_t node, const char *daemon)
{
    buf_printf(out, "%" PRIu64 "/%s", node, daemon);
}

/* The finished key as an owned text. */
static char *catalog_take_key(struct buf *key)
{
    char *text = mem_strdup(buf_text(key));
    buf_release(key);
    return text;
}

struct catalog_stream *catalog_stream_new(struct span namespace_, struct span name)
{
    struct catalog_stream *self = MEM_NEW(struct catalog_stream);
    struct buf key = {0};
    catalog_stream_key(&key, namespace_, name);
    self->key = catalog_take_key(&key);
    self->name = self->key + namespace_.size + 1;
    list_init(&self->groups);
    spec_init(&self->spec, SPEC_STREAM);
    return self;
}

struct catalog_group *catalog_group_new(struct catalog_stream *stream, struct span name)
{
    struct catalog_group *self = MEM_NEW(struct catalog_group);
    struct buf key = {0};
    catalog_group_key(&key, span_of(stream->key), name);
    self->key = catalog_take_key(&key);
    self->name = self->key + strlen(stream->key) + 1;
    self->stream = stream;
    spec_init(&self->spec, SPEC_GROUP);
    list_push_back(&stream->groups, &self->link);
    stream->group_count++;
    return self;
}

struct catalog_exchange *catalog_exchange_new(struct span namespace_, struct span name)
{
    struct catalog_exchange *self = MEM_NEW(struct catalog_exchange);
    struct buf key = {0};
    catalog_exchange_key(&key, namespace_, name);
    self->key = catalog_take_key(&key);
    self->name = self->key + namespace_.size + 1;
    spec_init(&self->spec, SPEC_EXCHANGE);
    return self;
}

struct catalog_endpoint *catalog_endpoint_new(uint64_t node, const char *daemon,
                                              const char *endpoint)
{
    struct catalog_endpoint *self = MEM_NEW(struct catalog_endpoint);
    struct buf key = {0};
    catalog_endpoint_key(&key, node, daemon);
    self->key = catalog_take_key(&key);
    self->daemon = strchr(self->key, '/') + 1;
    self->node = node;
    self->endpoint = mem_strdup(endpoint);
    return self;
}

void catalog_stream_destroy(struct catalog_stream **self)
{
    if (*self == NULL) {
        return;
    }
    INVARIANT(list_is_empty(&(*self)->groups));
    spec_release(&(*self)->spec);
    mem_free((*self)->key);
    MEM_FREE(*self);
}

void catalog_group_destroy(struct catalog_group **self)
{
    if (*self == NULL) {
        return;
    }
    list_remove(&(*self)->link);
    (*self)->stream->group_count--;
    spec_release(&(*self)->spec);
    mem_free((*self)->key);
    MEM_FREE(*self);
}

void catalog_exchange_destroy(struct catalog_exchange **self)
{
    if (*self == NULL) {
        return;
    }
    spec_release(&(*self)->spec);
    mem_free((*self)->key);
    MEM_FREE(*self);
}

void catalog_endpoint_destroy(struct catalog_endpoint **self)
{
    if (*self == NULL) {
        return;
    }
    mem_free((*self)->key);
    mem_free((*self)->endpoint);
    MEM_FREE(*self);
}

/* --- encoding ---------------------------------------------------------------------------------------------- */

/* What stands before the name in a key, as a text of its own. */
static void catalog_key_namespace(const char *key, const char *name, char out[NAME_SIZE_MAX + 1])
{
    size_t size = (size_t) (name - key) - 1;
    INVARIANT(size <= NAME_SIZE_MAX);
    memcpy(out, key, size);
    out[size] = '\0';
}

void catalog_stream_pack(const struct catalog_stream *self, struct buf *out)
{
    char namespace_[NAME_SIZE_MAX + 1];
    catalog_key_namespace(self->key, self->name, namespace_);

    struct spec_message spec;
    spec_to_message(&self->spec, &spec);
    struct uuid id = self->id;
    Railgun__CatalogStream message = RAILGUN__CATALOG_STREAM__INIT;
    message.namespace_ = namespace_;
    message.name = (char *) (uintptr_t) self->name;
    message.has_stream_id = 1;
    message.stream_id = (ProtobufCBinaryData){sizeof(id.bytes), id.bytes};
    message.has_log_group = 1;
    message.log_group = self->log_group;
    message.has_version = 1;
    message.version = self->version;
    message.spec = &spec.stream;
    message.has_created_us = 1;
    message.created_us = self->created_us;
    message.has_deleted_us = self->deleted_us != 0;
    message.deleted_us = self->deleted_us;
    char *locked[SPEC_FIELDS_MAX];
    message.n_locked = lock_paths(SPEC_STREAM, self->locked, locked);
    message.locked = locked;
    scan_pack(out, &message.base);
}

void catalog_group_pack(const struct catalog_group *self, struct buf *out)
{
    struct spec_message spec;
    spec_to_message(&self->spec, &spec);
    Railgun__CatalogGroup message = RAILGUN__CATALOG_GROUP__INIT;
    message.has_group_id = 1;
    message.group_id = self->id;
    message.has_log_group = 1;
    message.log_group = self->stream->log_group;
    message.name = (char *) (uintptr_t) self->name;
    message.has_version = 1;
    message.version = self->version;
    message.spec = &spec.group;
    message.has_created_us = 1;
    message.created_us = self->created_us;
    char *locked[SPEC_FIELDS_MAX];
    message.n_locked = lock_paths(SPEC_GROUP, self->locked, locked);
    message.locked = locked;
    scan_pack(out, &message.base);
}

void catalog_exchange_pack(const struct catalog_exchange *self, struct buf *out)
{
    char namespace_[NAME_SIZE_MAX + 1];
    struct spec_message spec;
    catalog_key_namespace(self->key, self->name, namespace_);
    spec_to_message(&self->spec, &spec);
    Railgun__CatalogExchange message = RAILGUN__CATALOG_EXCHANGE__INIT;
    message.namespace_ = namespace_;
    message.name = (char *) (uintptr_t) self->name;
    message.has_version = 1;
    message.version = self->version;
    message.spec = &spec.exchange;
    message.has_created_us = 1;
    message.created_us = self->created_us;
    scan_pack(out, &message.base);
}

void catalog_exchange_pack_name(const struct catalog_exchange *self, struct buf *out)
{
    char namespace_[NAME_SIZE_MAX + 1];
    catalog_key_namespace(self->key, self->name, namespace_);
    Railgun__CatalogExchange message = RAILGUN__CATALOG_EXCHANGE__INIT;
    message.namespace_ = namespace_;
    message.name = (char *) (uintptr_t) self->name;
    scan_pack(out, &message.base);
}

void catalog_endpoint_pack(const struct catalog_endpoint *self, struct buf *out)
{
    Railgun__CatalogEndpoint message = RAILGUN__CATALOG_ENDPOINT__INIT;
    message.has_node = 1;
    message.node = self->node;
    message.daemon = (char *) (uintptr_t) self->daemon;
    message.endpoint = self->endpoint;
    scan_pack(out, &message.base);
}
