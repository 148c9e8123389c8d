/* deadletter: the mover: what is dying in a group is copied into its dead-letter stream, and when it lies there the group's log says so. Exactly once: the
 * records have IDs made of (stream, group, offset, round), so that what was appended before a crash is a duplicate after it. One batch of a group is on its
 * way at a time. @thread loop
 *
 * A copy has the record's payload, key and headers, and these: rg-dlq-stream, rg-dlq-group, rg-dlq-offset, rg-dlq-ts (µs), rg-dlq-reason, rg-dlq-failed,
 * rg-dlq-attempts, and, if known, rg-dlq-last-error and rg-dlq-consumer. Headers of a record that begin with rg-dlq- are replaced; the limits of headers do not
 * hold for copies. */
#ifndef LOGD_DEADLETTER_H
#define LOGD_DEADLETTER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/span.h"
#include "common/base/uuid.h"

struct deadletter;
struct group_grave;
struct groups;
struct hosted;
struct logd;
struct stream;
struct stream_page;

struct deadletter *deadletter_new(struct logd *logd);
void deadletter_destroy(struct deadletter **self); /* after append; accepts NULL */

/* Go on with the moves of this group. Returns when (loop time) to come again, UINT64_MAX: when something happens. */
uint64_t deadletter_move(struct groups *groups, struct hosted *hosted, uint64_t now_ms);

/* The dead-letter stream of the group, open for business; NULL: there is none. */
struct stream *deadletter_stream(struct groups *groups, struct hosted *hosted);

/* The name of the stream in which a buried message lies; empty: it is gone. Borrowed. */
struct span deadletter_copy_in(struct groups *groups, struct hosted *hosted,
                               const struct group_grave *grave);

/* The copy of a replayed message, under its own offset and time. ERR_NOT_FOUND: it cannot be read. */
int deadletter_read_copy(struct groups *groups, struct hosted *hosted, uint64_t offset,
                         struct stream_page *ret_page);

/* --- deadletter_record.c --- */

/* A Dead.Reason as text: "MAX_FAILED". */
const char *deadletter_reason(uint32_t reason);

/* Where a message comes from. */
struct deadletter_origin {
    struct span stream; /* names */
    struct span group;
    struct span stream_id; /* as text */
};
/* Its ID in the dead-letter stream: at most 128 bytes, replaced in `out`. */
void deadletter_id(const struct deadletter_origin *origin, uint64_t offset, uint32_t round,
                   struct buf *out);
/* Does an ID look like those, and of which stream? */
bool deadletter_id_is(struct span id, struct uuid *ret_stream_id);
/* Append the copy of `record` (a batch with one record, at `offset` with time `ts_us`; of an earlier copy its header tells the time) to a batch. */
void deadletter_append(const struct deadletter_origin *origin, const struct group_grave *grave,
                       uint64_t offset, uint64_t ts_us, struct span record, struct buf *batch);
/* Is this record the copy of that message? *ret_ts_us: of the original. */
bool deadletter_is_copy(const struct deadletter_origin *origin, uint64_t offset, struct span record,
                        uint64_t *ret_ts_us);

#endif
