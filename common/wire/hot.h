/* hot: the frames of the data path read in place, without allocation. Each reader accepts exactly what protobuf-c
 * accepts for the same message and sees the same values (a differential fuzzer holds them together). Spans point into
 * the bytes given. All return 0 or ERR_PROTOCOL. */
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

struct hot_publish_ok {
    uint64_t base_offset;
    uint32_t count;
    uint64_t ts_us;
    uint32_t exceptions; /* how many; iterate the body with pb_next, field 4, for them */
    bool has_window;
    uint64_t publish_window;
};
int hot_publish_ok_read(struct span body, struct hot_publish_ok *ret_ok);

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

/* Ack: the fixed part, then walk with hot_ack_next. */
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
/* Walk in order; start with *rest = ack->body. 1: *ret_is_nack says which of the two was filled; 0: the end. */
int hot_ack_next(struct span *rest, bool *ret_is_nack, struct hot_range *ret_range, struct hot_nack *ret_nack);

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
