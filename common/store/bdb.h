/* bdb: Berkeley DB as a rebuildable store of derived state. DB_PRIVATE, DB_CHKSUM, transactions, always opened with DB_RECOVER under
 * one owner's lock; no DB_CONFIG, no environment variables. Commits are not synced: each transaction carries the applied index, and the log
 * is replayed from there. Any error outside NOTFOUND, KEYEXIST, DEADLOCK is final: stop the process; the content can be rebuilt. */
#ifndef COMMON_STORE_BDB_H
#define COMMON_STORE_BDB_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/span.h"

struct bdb;       /* an environment */
struct bdb_table; /* one B-tree in it; owned by the environment */
struct bdb_txn;

/* Open or create the environment in `dir`. `cache_bytes` 0: 4 MiB. If it cannot be opened because it is damaged, its files are moved
 * to DIR.bad-<time> and an empty one is made, and *ret_rebuilt is set: the owner replays its log from the start. Refuses
 * (ERR_BAD_FORMAT) a directory with a DB_CONFIG. ERR_LOCKED: another owner. ERR_TIMEOUT: recovery did not end; the files were moved, end
 * the process. @thread owner (all calls here) */
int bdb_open(const char *dir, uint64_t cache_bytes, bool *ret_rebuilt, struct bdb **ret_bdb);
void bdb_close(struct bdb **self); /* with a checkpoint; accepts NULL */

/* Open or create a table; its name is also its file's. */
int bdb_table_open(struct bdb *self, const char *name, struct bdb_table **ret_table);

/* One transaction at a time: another one is begun only after commit or abort. Commit takes the transaction, also when it fails. */
int bdb_begin(struct bdb *self, struct bdb_txn **ret_txn);
int bdb_commit(struct bdb_txn **txn); /* not synced */
void bdb_abort(struct bdb_txn **txn); /* accepts NULL */

/* `txn` may be NULL for reading, also while a transaction is open (its changes are seen). ERR_NOT_FOUND. The value replaces the content of `out`. */
int bdb_get(struct bdb_table *table, struct bdb_txn *txn, struct span key, struct buf *out);
int bdb_put(struct bdb_table *table, struct bdb_txn *txn, struct span key, struct span value);
/* 0 also when absent */
int bdb_delete(struct bdb_table *table, struct bdb_txn *txn, struct span key);

/* Walk keys that begin with `prefix`, in byte order; visit returns non-zero to stop. The table must not change meanwhile. */
typedef int bdb_visit_fn(void *ud, struct span key, struct span value);
int bdb_walk(struct bdb_table *table, struct span prefix, bdb_visit_fn *visit, void *ud);

/* Write dirty pages so that recovery is short, and drop log files that are not needed. Call now and then (seconds). */
int bdb_checkpoint(struct bdb *self);

/* What the library said last, for people; "" if nothing. Borrowed until the next call. */
const char *bdb_problem(const struct bdb *self);

#endif
