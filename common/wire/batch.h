/* batch: RecordBatch bytes in place. A batch is a run of (tag, length, Record), so any run of whole records is a
 * batch again, and two batches one after the other are one batch: slicing and joining copy nothing. */
#ifndef COMMON_WIRE_BATCH_H
#define COMMON_WIRE_BATCH_H

#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/span.h"

struct batch_limits {
    uint64_t batch_bytes_max;  /* 4 MiB */
    uint32_t records_max;      /* 65,536 */
    uint64_t record_bytes_max; /* 1 MiB: of the encoded Record */
    uint32_t id_bytes_max;     /* 128 */
    uint32_t headers_max;      /* 32 */
    /* 16 KiB: all of a record, as encoded, without the tag and length of each */
    uint32_t header_bytes_max;
};
struct batch_limits batch_limits_default(void);

struct batch_record {
    struct span payload;
    struct span id;
    struct span key;
    uint64_t not_before_us; /* 0: absent */
    uint32_t headers;       /* how many; read them with batch_header_next */
    struct span raw;        /* the Record's bytes */
};

struct batch_summary {
    uint32_t records;
    uint32_t with_id;
    uint64_t payload_bytes;
};

/* Walk the whole batch once, checking form and limits. 0; ERR_PROTOCOL (malformed, empty, a field other than `records`,
 * or a header name that is no text); ERR_TOO_LARGE (over a limit); ERR_BAD_REQUEST (an empty id). *ret_summary is written
 * on 0 only, *ret_record on an error only: the record at fault, 0 when it is the batch as a whole. This is the hot
 * validation: a record of plain payload costs a few nanoseconds. */
int batch_check(struct span batch, const struct batch_limits *limits,
                struct batch_summary *ret_summary, uint32_t *ret_record);

/* Take the next record off the front of *rest. 1: a record; 0: the end; ERR_PROTOCOL, *rest is then unchanged. Of a field
 * given twice the last counts, as in protobuf; fields we do not know are skipped and stay in `raw`. */
int batch_next(struct span *rest, struct batch_record *ret_record);

/* Walk a record's headers: start with *rest = record->raw. 1: a header; 0: no more; ERR_PROTOCOL. */
int batch_header_next(struct span *rest, struct span *ret_name, struct span *ret_value);

/* The run of records that skips `skip` and then takes at most `records_max` and at most `bytes_max` bytes, but at
 * least one. 0 or ERR_PROTOCOL (malformed, or fewer than skip + 1 records). */
int batch_slice(struct span batch, uint32_t skip, uint32_t records_max, uint64_t bytes_max,
                struct span *ret_slice, uint32_t *ret_records);

/* Append one record to a batch being built. `headers` is already encoded header fields (batch_header_append), or
 * empty. Absent parts have size 0 (an absent payload is left out). */
void batch_append(struct buf *batch, struct span payload, struct span id, struct span key,
                  struct span headers);
void batch_header_append(struct buf *headers, struct span name, struct span value);
/* What batch_append will add. */
size_t batch_append_size(struct span payload, struct span id, struct span key, struct span headers);

#endif
