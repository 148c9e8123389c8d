/* hot: the frames of the data path read in place, without allocation. Spans point into the bytes given. All readers return 0
 * or ERR_PROTOCOL, and write their result on 0 only.
 *
 * Each reader accepts what protobuf-c accepts for the same message and sees the same values (a differential fuzzer holds
 * them together): the last of a scalar given twice counts, a uint32 keeps the low 32 bits of its varint, fields we do
 * not know are skipped, a wrong wire type is refused, sub-messages are checked with their parent. It is stricter in
 * these points, and never looser but in the last:
 *  - a singular sub-message given twice (Publish.batch, Publish.expect, Deliver.batch, ReadOk.batch, Nack.range) is
 *    refused. protobuf merges the two, which cannot be seen in place, and no encoder writes it;
 *  - a bool must be a varint: protobuf-c takes any wire type;
 *  - strings must be UTF-8 without a NUL: protobuf-c does not look, other languages do;
 *  - all that pb_next refuses and protobuf-c lets pass: field number 0 or over 2^29-1, varints over 64 bits;
 *  - a batch is handed out as it is: batch_check is its door. */
#ifndef COMMON_WIRE_HOT_H
#define COMMON_WIRE_HOT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"

struct hot_publish {
    struct span stream;
    struct span batch;  /* RecordBatch; empty when absent */
    struct span expect; /* Expect message bytes; meaningful when has_expect */
    struct span fence;
    struct span stream_id;
    bool has_expect;
    bool has_batch;
    bool atomic; /* default true */
};
int hot_publish_read(struct span body, struct hot_publish *ret_publish);

enum hot_expect_kind {
    HOT_EXPECT_NONE,
    HOT_EXPECT_NEXT_OFFSET,
    HOT_EXPECT_NO_STREAM,
    HOT_EXPECT_STREAM_EXISTS,
    HOT_EXPECT_LAST_ID,
};
struct hot_expect {
    enum hot_expect_kind kind;
    uint64_t next_offset; /* of NEXT_OFFSET */
    struct span last_id;  /* of LAST_ID */
    bool wanted;          /* of NO_STREAM and STREAM_EXISTS: the value given */
};
int hot_expect_read(struct span body, struct hot_expect *ret_expect);

struct hot_publish_ok {
    uint64_t base_offset;
    uint32_t count;
    uint64_t ts_us;
    uint32_t exceptions; /* how many; iterate the body with pb_next, field 4, for them */
    bool has_window;
    uint64_t publish_window;
};
int hot_publish_ok_read(struct span body, struct hot_publish_ok *ret_ok);

struct hot_result { /* RecordResult */
    uint32_t record;
    uint32_t code;
    bool has_offset;
    uint64_t offset;
    uint64_t ts_us;
    struct span detail;
};
int hot_result_read(struct span body, struct hot_result *ret_result);

/* Deliver and ReadOk have the same hot part. */
struct hot_delivery {
    uint64_t epoch; /* Deliver only */
    uint64_t base_offset;
    uint32_t count;
    struct span batch;
    bool has_times;       /* iterate times with pb_next (Deliver field 4, ReadOk field 6) */
    bool has_redelivered; /* Deliver field 5 */
    uint64_t next_offset; /* ReadOk only, as the two below */
    uint64_t first_offset;
    uint64_t end_offset;
    struct span stream_id;
};
int hot_deliver_read(struct span body, struct hot_delivery *ret_delivery);
int hot_read_ok_read(struct span body, struct hot_delivery *ret_delivery);

struct hot_time { /* TimeMark */
    uint32_t after;
    uint64_t ts_us;
};
int hot_time_read(struct span body, struct hot_time *ret_time);

struct hot_range {
    uint64_t first;
    uint64_t last;
};
int hot_range_read(struct span body, struct hot_range *ret_range); /* OffsetRange */

struct hot_nack {
    struct hot_range range;
    bool has_delay;
    uint64_t delay_ms;
    bool no_count;
    bool reject;
    struct span reason;
};

/* Ack: the fixed part, then walk with hot_ack_next. hot_ack_read has checked all of it: a walk over the same bytes does not
 * fail, so an Ack is never applied by half. */
struct hot_ack {
    bool has_up_to;
    uint64_t up_to;
    bool sync;
    uint64_t epoch;
    uint32_t ranges;
    uint32_t nacks;
    struct span body;
};
int hot_ack_read(struct span body, struct hot_ack *ret_ack);
/* Walk in order; start with *rest = ack->body. 1: *ret_is_nack says which of the two was filled; 0: the end; ERR_PROTOCOL. */
int hot_ack_next(struct span *rest, bool *ret_is_nack, struct hot_range *ret_range,
                 struct hot_nack *ret_nack);

struct hot_credit {
    uint64_t messages;
    uint64_t bytes;
};
int hot_credit_read(struct span body, struct hot_credit *ret_credit);

struct hot_redelivered {
    uint64_t first;
    uint64_t last;
    uint32_t attempt;
    uint32_t failed;
};
int hot_redelivered_read(struct span body, struct hot_redelivered *ret_redelivered);

#endif
