/* catalog_log: raftd's log on disk: Raft group 1 in a journal of its own, one CatalogCommand an entry. Owns journal, replica set and replica.
 * @thread loop */
#ifndef RAFTD_CATALOG_LOG_H
#define RAFTD_CATALOG_LOG_H

#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/span.h"
#include "common/store/journal.h"

struct catalog_log;

enum { CATALOG_LOG_GROUP = 1, CATALOG_LOG_KIND_COMMAND = 1 };

struct catalog_log_handlers {
    /* Committed. In order of index, never inside a propose. */
    void (*apply)(void *ud, uint64_t index, struct span command);
    void (*poisoned)(void *ud); /* once; the process must end */
    void *ud;
};

/* Errors as journal_open. */
int catalog_log_open(const struct journal_options *options,
                     const struct catalog_log_handlers *handlers,
                     struct journal_recovery *ret_recovery, struct catalog_log **ret_log);
void catalog_log_close(struct catalog_log **self); /* accepts NULL */

uint64_t catalog_log_last_index(const struct catalog_log *self);

/* Visit the commands after `applied_index`, oldest first; call it before the first propose. Refuses (ERR_CORRUPT) unless it is certain that
 * none of them is missing; the reason for people goes to `problem`. An error of visit ends it and is returned. */
typedef int catalog_log_visit_fn(void *ud, uint64_t index, struct span command);
int catalog_log_replay(struct catalog_log *self, uint64_t applied_index,
                       catalog_log_visit_fn *visit, void *ud, struct buf *problem);

/* The first command of the log, which tells whose it is, appended to `out`. Before catalog_log_replay. ERR_NOT_FOUND: the log is
 * empty; ERR_CORRUPT: it cannot be read. */
int catalog_log_first(struct catalog_log *self, struct buf *out);

/* As replica_propose. */
int catalog_log_propose(struct catalog_log *self, struct span command, uint64_t *ret_index);

/* As the journal's functions of these names. */
int catalog_log_fd(const struct catalog_log *self);
void catalog_log_poll(struct catalog_log *self);
void catalog_log_submit(struct catalog_log *self);

#endif
