/* answer: replies of logd over the bus, and errors with what belongs to them. Without a bus (tests of the parts below) nobody hears. */
#ifndef LOGD_ANSWER_H
#define LOGD_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/payload.h"
#include "common/base/span.h"
#include "common/base/uuid.h"

struct logd;

struct answer_error {
    int error;          /* one that is local to a process goes out as INTERNAL */
    const char *detail; /* NULL: none */
    uint64_t next_offset;
    uint64_t first_offset;
    uint64_t range_first; /* 0: no range */
    uint64_t range_last;
    const struct uuid *stream_id; /* NULL: none */
    uint32_t retry_after_ms;      /* 0: not said */
    struct span last_id;
    uint64_t offset; /* of the original of a duplicate, with its time; 0: none */
    uint64_t ts_us;
    bool has_record;
    uint32_t record; /* of the batch */
};

/* `body` may be NULL; it is referenced. */
void answer_ok(struct logd *logd, uint64_t ticket, uint16_t type, struct span meta,
               const struct slice *body);
void answer_error(struct logd *logd, uint64_t ticket, const struct answer_error *error);
/* Give back the credit of a message that was held. */
void answer_release(struct logd *logd, uint64_t ticket);

#endif
