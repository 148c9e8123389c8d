/* identity: who this node is, as two small files of the data directory (cluster-id, node-id) that people and scripts can read. The log's first
 * entry says the same; the two are compared at each start, so that a directory put together from two nodes is refused. */
#ifndef RAFTD_IDENTITY_H
#define RAFTD_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/uuid.h"

struct identity {
    bool has_cluster;
    bool has_node;
    struct uuid cluster;
    uint64_t node;
};

/* What the files say; a missing file is not an error. ERR_BAD_FORMAT: a file does not hold what it should; ERR_IO. The reason for people
 * is appended to `problem`. */
int identity_read(const char *data_dir, struct identity *ret_identity, struct buf *problem);

/* Write both files durably. */
int identity_write(const char *data_dir, const struct uuid *cluster, uint64_t node);

/* Do the files that exist agree with the log? 0, or ERR_WRONG_CLUSTER with the reason in `problem`. */
int identity_check(const struct identity *self, const struct uuid *cluster, uint64_t node,
                   struct buf *problem);

#endif
