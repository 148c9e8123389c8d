/* catalog_lib: commands for the catalogue's tests, made short. */
#ifndef TESTS_UNIT_RAFTD_CATALOG_LIB_H
#define TESTS_UNIT_RAFTD_CATALOG_LIB_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/rand.h"
#include "raftd/catalog.h"

/* Each appends an encoded CatalogCommand. */
void command_bootstrap(struct buf *out, uint8_t cluster);
void command_ensure_stream(struct buf *out, const char *name, uint64_t version,
                           const char *description, uint8_t id);
void command_ensure_group(struct buf *out, const char *stream, const char *group, uint64_t version,
                          uint32_t max_in_flight);
void command_ensure_exchange(struct buf *out, const char *namespace_, const char *name,
                             uint64_t version, uint64_t max_topics);
void command_delete_stream(struct buf *out, const char *name);
/* With its grace (24 h unless ensured otherwise), at that time. */
void command_bury_stream(struct buf *out, const char *name, uint64_t now_us);
void command_undelete(struct buf *out, const char *name, const struct uuid *id); /* NULL: any */
void command_reap(struct buf *out, uint64_t log_group, uint64_t now_us);
/* group NULL: of the stream. */
void command_lock(struct buf *out, const char *stream, const char *group, const char *path,
                  bool unlock);
void command_delete_group(struct buf *out, const char *stream, const char *group);
void command_delete_exchange(struct buf *out, const char *namespace_, const char *name);
void command_endpoint(struct buf *out, const char *daemon, const char *endpoint);

/* The n-th command of a random life: n = 1 is the bootstrap. Names are few, so that everything meets everything. */
void command_random(struct prng *prng, uint64_t n, struct buf *out);

/* Apply it as the next; the outcome's error (of any command) is returned. */
int apply(struct catalog *catalog, const struct buf *command);

/* One of that name in its grace; NULL: none. */
const struct catalog_stream *find_buried(const struct catalog *catalog, const char *name);
const struct catalog_stream *find_stream(const struct catalog *catalog, const char *name);
const struct catalog_group *find_group(const struct catalog *catalog, const char *stream,
                                       const char *group);

const struct catalog_exchange *find_exchange(const struct catalog *catalog, const char *namespace_,
                                             const char *name);

#endif
