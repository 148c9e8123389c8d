/* catalog_private: the tables, for the files of the catalogue alone. */
#ifndef RAFTD_CATALOG_PRIVATE_H
#define RAFTD_CATALOG_PRIVATE_H

#include "common/base/hash.h"
#include "common/wire/catalog.pb-c.h"
#include "raftd/catalog.h"

struct catalog {
    struct hash *streams;            /* by key; those that live */
    struct hash64 *streams_by_group; /* by log group; the deleted ones, too */
    struct hash *groups;             /* by key; of streams that live */
    struct hash64 *groups_by_id;     /* all */
    struct hash *exchanges;          /* by key */
    struct hash *endpoints;          /* by key */
    struct uuid cluster;
    uint64_t node;
    uint64_t node_created_us;
    uint64_t applied;
    uint64_t next_log_group;
    uint64_t next_group_id;
    catalog_change_fn *on_change;
    void *ud;
};

/* NULL: there is none. */
struct catalog_stream *catalog_stream_of(const struct catalog *self, struct span namespace_,
                                         struct span name);
struct catalog_group *catalog_group_of(const struct catalog *self,
                                       const struct catalog_stream *stream, struct span name);
struct catalog_exchange *catalog_exchange_of(const struct catalog *self, struct span namespace_,
                                             struct span name);

void catalog_tell(const struct catalog *self, const struct catalog_change *change);

/* Takes the object; there is none with its key. A deleted stream, and its groups, come without a key. */
void catalog_add_stream(struct catalog *self, struct catalog_stream *stream);
void catalog_add_group(struct catalog *self, struct catalog_group *group);
void catalog_add_exchange(struct catalog *self, struct catalog_exchange *exchange);
/* 0 with the endpoint, ERR_BAD_FORMAT, or ERR_QUOTA. */
int catalog_put_endpoint(struct catalog *self, const Railgun__CatalogEndpoint *message,
                         const struct catalog_endpoint **ret_endpoint);
/* Who we are. 0 or ERR_BAD_FORMAT. */
int catalog_apply_bootstrap(struct catalog *self, const Railgun__CatalogNode *message);

/* Before the group of this decision is stored: make its dead-letter stream if there is none. */
void catalog_dead_create(struct catalog *self, const struct ensure_request *request,
                         uint64_t now_us, const struct uuid *fresh_id,
                         const struct ensure_decision *decision);

/* Commands: 0 with the outcome, or ERR_BAD_FORMAT. */
int catalog_apply_delete(struct catalog *self, const Railgun__CatalogDelete *message,
                         uint64_t now_us, struct catalog_outcome *outcome);
int catalog_apply_undelete(struct catalog *self, const Railgun__CatalogUndelete *message,
                           struct catalog_outcome *outcome);
int catalog_apply_lock(struct catalog *self, const Railgun__CatalogLock *message,
                       struct catalog_outcome *outcome);
void catalog_apply_reap(struct catalog *self, const Railgun__CatalogReap *message, uint64_t now_us);

#endif
