/* start: where a consumer group that has no position yet begins. Pure. */
#ifndef LOGD_START_H
#define LOGD_START_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"

enum start_at {
    START_DEFAULT,
    START_FIRST,
    START_LATEST,
    START_LAST_N,
    START_OFFSET,
    START_TIMESTAMP,
};

enum start_gap { START_GAP_ERROR, START_GAP_FIRST, START_GAP_LATEST };

struct start {
    enum start_at at;
    uint64_t offset; /* START_OFFSET; START_LAST_N: how many */
    uint64_t ts_us;  /* START_TIMESTAMP */
    bool allow_future;
};

/* The `start` of an encoded GroupSpec; START_DEFAULT if there is none. 0 or ERR_BAD_REQUEST. */
int start_of_spec(struct span spec, struct start *ret_start);
/* An encoded Start. 0 or ERR_BAD_REQUEST. */
int start_read(struct span bytes, struct start *ret_start);

/* The floor of a group that starts there in a stream of records [first, next). START_TIMESTAMP is
 * for the caller to look up: ERR_UNSUPPORTED. Otherwise ERR_OUT_OF_RANGE, ERR_BAD_REQUEST. */
int start_resolve(const struct start *self, enum start_gap on_gap, uint64_t first, uint64_t next,
                  uint64_t *ret_floor);

#endif
