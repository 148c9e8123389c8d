/* catalog_store: the catalogue's mirror in Berkeley DB, so that a start need not replay the whole log. Changes gather in one open transaction that
 * also carries the applied index; it is committed now and then, and what a crash takes with it is replayed. The log is the truth: any doubt
 * about the mirror ends with an empty one. @thread loop */
#ifndef RAFTD_CATALOG_STORE_H
#define RAFTD_CATALOG_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "raftd/catalog.h"

struct catalog_store;

/* Errors as bdb_open. *ret_rebuilt: it was damaged and is empty now. */
int catalog_store_open(const char *dir, uint64_t cache_bytes, bool *ret_rebuilt,
                       struct catalog_store **ret_store);
/* Without a commit: what is open is lost. Accepts NULL. */
void catalog_store_close(struct catalog_store **self);

/* Fill a new catalogue with what was committed last; one that stays empty (revision 0) was never saved. ERR_BAD_FORMAT: the content is not
 * understood: clear it and replay into another catalogue. */
int catalog_store_load(struct catalog_store *self, struct catalog *catalog);
/* Remove everything. */
int catalog_store_clear(struct catalog_store *self);

/* Take over one change (to be called from the catalogue's on_change). A failure is kept and returned by the next commit. */
void catalog_store_put(struct catalog_store *self, const struct catalog_change *change);
/* Commit all changes since the last time together with the catalogue's revision; does nothing when that is the same. After an error the
 * store is of no more use: close it. */
int catalog_store_commit(struct catalog_store *self, const struct catalog *catalog);
/* Changes that wait for a commit. */
uint64_t catalog_store_pending(const struct catalog_store *self);
/* As bdb_checkpoint, bdb_problem. */
int catalog_store_checkpoint(struct catalog_store *self);
const char *catalog_store_problem(const struct catalog_store *self);

#endif
