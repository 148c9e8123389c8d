/* ack_result: what came of the ranges of an acknowledgement that were not plainly ok. Neighbours with the same result are joined;
 * their number is limited, so that one odd frame cannot make a huge answer or hold up the loop. */
#ifndef LOGD_ACK_RESULT_H
#define LOGD_ACK_RESULT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"

enum { ACK_RESULTS_MAX = 4095 };

struct ack_result {
    uint64_t first;
    uint64_t last;
    int error; /* negative */
};

/* Zeroed is valid and empty. */
struct ack_results {
    struct ack_result *items;
    uint32_t count;
    uint32_t capacity;
};

/* `error` 0 is left out. When the list is full, all further ones become one last result, OVERLOADED, for the range around them:
 * what exactly happened inside it is not told. */
void ack_results_add(struct ack_results *self, uint64_t first, uint64_t last, int error);
/* Looking more closely is of no use any more. */
bool ack_results_is_full(const struct ack_results *self);
/* Append as repeated AckResult, field 1: the whole of an AckOk or ExtendOk. */
void ack_results_encode(const struct ack_results *self, struct buf *out);
void ack_results_reset(struct ack_results *self);
void ack_results_release(struct ack_results *self);

#endif
