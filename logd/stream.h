/* stream: one persistent stream: its log group, offsets, where its entries lie, the recent ones in memory, and its consumer groups.
 * Owns its replica, extents, tail and groups. Everything here runs on the loop. Readers see committed records only. */
#ifndef LOGD_STREAM_H
#define LOGD_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/payload.h"
#include "common/base/uuid.h"
#include "common/run/replica.h"
#include "common/store/extent.h"

struct groups;
struct logd;
struct stream;

/* --- what others ask --- */
uint64_t stream_log_group(const struct stream *self);
const struct uuid *stream_id(const struct stream *self);
struct logd *stream_logd(const struct stream *self);
/* The lowest offset still kept; = next_offset when empty. */
uint64_t stream_first_offset(const struct stream *self);
/* Committed: the offset after the last readable record. */
uint64_t stream_next_offset(const struct stream *self);

/* A run of contiguous committed records. Zeroed is empty. */
enum { STREAM_PAGE_TIMES_MAX = 512 };
struct stream_time {
    uint32_t after; /* from this record of the page on */
    uint64_t ts_us;
};
struct stream_page {
    uint64_t base_offset;
    uint32_t count;
    struct slice batch; /* RecordBatch bytes: one reference of the page's owner */
    uint32_t time_count;
    struct stream_time times[STREAM_PAGE_TIMES_MAX];
};
void stream_page_release(struct stream_page *page);

/* Read from `offset` (first <= offset < next) at most records_max records and bytes_max bytes of batch, but at least one record. From the
 * tail in memory when it is there (no copy when one stored batch fills the page; small neighbouring batches are joined by copying), else from the
 * journal. 0; ERR_OUT_OF_RANGE; ERR_CORRUPT with *ret_corrupt_last: [offset, that] cannot be read, go on behind it. */
int stream_read(struct stream *self, uint64_t offset, uint32_t records_max, uint64_t bytes_max,
                struct stream_page *ret_page, uint64_t *ret_corrupt_last);

/* The first offset with time >= ts_us; the next offset if there is none. 0, ERR_CORRUPT, ERR_IO. */
int stream_find_time(struct stream *self, uint64_t ts_us, uint64_t *ret_offset);

/* Propose a control entry (LOG_KIND_GROUP, LOG_KIND_ACKS): payload is an encoded message of log.proto. It comes back through groups_apply when it is
 * committed. Errors as replica_propose. */
int stream_propose_control(struct stream *self, uint8_t kind, struct span payload,
                           uint64_t *ret_index);

#endif
