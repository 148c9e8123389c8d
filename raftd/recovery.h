/* recovery: from what lies in the data directory to a catalogue that is as it was acknowledged: the mirror, then the log behind it; or, in an empty
 * directory, a new cluster. Whatever does not fit together is refused with a reason, never repaired by guessing. */
#ifndef RAFTD_RECOVERY_H
#define RAFTD_RECOVERY_H

#include <stdint.h>

#include "common/base/clock.h"
#include "raftd/catalog.h"
#include "raftd/catalog_log.h"
#include "raftd/catalog_store.h"

struct recovery {
    /* in; borrowed */
    const char *data_dir;
    uint64_t cache_bytes;
    struct journal_options journal;       /* its dir is set here */
    struct catalog_log_handlers handlers; /* called for the bootstrap command of a new cluster */
    catalog_change_fn *on_change;
    void *on_change_ud;
    const struct timesource *time;
    /* out; owned by whoever holds this struct. Set one by one, so that the handlers see what exists. */
    int lock_fd;
    struct catalog *catalog;
    struct catalog_store *store; /* NULL: there is no mirror this time */
    struct catalog_log *log;
};

/* 0, or an error after having logged why; recovery_release it in both cases. */
int recovery_run(struct recovery *self);
/* Close everything; what waits in the store is lost unless it was committed. */
void recovery_release(struct recovery *self);

#endif
