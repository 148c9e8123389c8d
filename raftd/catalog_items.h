/* catalog_items: what the catalogue consists of, as values, and as the messages that reach the other daemons and Berkeley DB. */
#ifndef RAFTD_CATALOG_ITEMS_H
#define RAFTD_CATALOG_ITEMS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/base/span.h"
#include "common/base/uuid.h"
#include "raftd/spec.h"

struct catalog_stream {
    char *key;        /* owned: "namespace/name" */
    const char *name; /* in the key */
    struct uuid id;
    uint64_t log_group;
    uint64_t version;
    uint64_t created_us;
    uint64_t deleted_us; /* 0: it lives */
    uint32_t locked;     /* fields that an Ensure leaves alone, bit by field */
    struct spec spec;
    struct list groups; /* of catalog_group.link */
    size_t group_count;
};

struct catalog_group {
    struct list link;
    struct catalog_stream *stream;
    char *key;        /* owned: "namespace/stream/group" */
    const char *name; /* in the key */
    uint64_t id;
    uint64_t version;
    uint64_t created_us;
    uint32_t locked; /* as the stream's */
    struct spec spec;
};

struct catalog_exchange {
    char *key;        /* owned: "namespace/name" */
    const char *name; /* in the key */
    uint64_t version;
    uint64_t created_us;
    struct spec spec;
};

struct catalog_endpoint {
    char *key;          /* owned: "node/daemon" */
    const char *daemon; /* in the key */
    uint64_t node;
    char *endpoint; /* owned */
};

/* The keys; names do not contain '/'. */
void catalog_stream_key(struct buf *out, struct span namespace_, struct span name);
void catalog_exchange_key(struct buf *out, struct span namespace_, struct span name);
void catalog_group_key(struct buf *out, struct span stream_key, struct span group);
void catalog_endpoint_key(struct buf *out, uint64_t node, const char *daemon);

/* Objects with key and names set, all else empty. */
struct catalog_stream *catalog_stream_new(struct span namespace_, struct span name);
struct catalog_group *catalog_group_new(struct catalog_stream *stream, struct span name);
struct catalog_exchange *catalog_exchange_new(struct span namespace_, struct span name);
struct catalog_endpoint *catalog_endpoint_new(uint64_t node, const char *daemon,
                                              const char *endpoint);
void catalog_stream_destroy(struct catalog_stream **self); /* its groups went before */
void catalog_group_destroy(struct catalog_group **self);   /* unlinks it from its stream */
void catalog_exchange_destroy(struct catalog_exchange **self);
void catalog_endpoint_destroy(struct catalog_endpoint **self);

/* Appended: CatalogStream, CatalogGroup, CatalogExchange, CatalogEndpoint. */
void catalog_stream_pack(const struct catalog_stream *self, struct buf *out);
void catalog_group_pack(const struct catalog_group *self, struct buf *out);
void catalog_exchange_pack(const struct catalog_exchange *self, struct buf *out);
/* Its namespace and name alone. */
void catalog_exchange_pack_name(const struct catalog_exchange *self, struct buf *out);
void catalog_endpoint_pack(const struct catalog_endpoint *self, struct buf *out);

#endif
