/* checker: is a history one that a node keeping its promises could have produced? The rules are those of docs/guarantees.md for a stream on
 * one replica; each is O(n log n). */
#ifndef TESTS_SYSTEM_CHECKER_H
#define TESTS_SYSTEM_CHECKER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"

#include "tests/system/history.h"

enum rule {
    RULE_OPEN_REQUEST,        /* a publish that never ended */
    RULE_PHANTOM,             /* seen, but never published, or damaged */
    RULE_ABORTED_READ,        /* seen, though its publish had certainly failed */
    RULE_INCONSISTENT_OFFSET, /* two values at one offset */
    RULE_WRONG_OFFSET,        /* acknowledged at one offset, seen at another */
    RULE_LOST_WRITE,          /* acknowledged, and not in the final read */
    RULE_UNSTABLE_READ,       /* seen once, and not in the final read */
    RULE_DUPLICATE,           /* at more offsets than it was sent times; acknowledged: than one */
    RULE_PARTIAL_BATCH,       /* some of an atomic batch, or not side by side */
    RULE_OFFSET_GAP,          /* the final read misses an offset */
    RULE_NONMONOTONIC_SEND,   /* one producer's acknowledged records in another order than sent */
    RULE_NONMONOTONIC_POLL,   /* a reader goes back */
    RULE_POLL_SKIP,           /* a reader leaves something out */
    RULE_CURSOR_SKIP,         /* never delivered to a group that was drained */
    RULE_ACKED_REDELIVERY,    /* delivered after its ack was answered */
    RULE_UNPROVOKED,          /* delivered again without nack or fault */
    RULE_WRONG_ATTEMPT,       /* the attempt counter jumps, stands or is 0 */
    RULE_FALSE_DUPLICATE,     /* said to be stored before, and it is not */
    RULE_TOO_EARLY,           /* delivered before its delay was over */
    RULE_TOO_LATE,            /* not delivered within a second after it was due */
    RULE_STALE_ACK,      /* an ack accepted though a later epoch had begun before it was sent */
    RULE_TWO_OWNERS,     /* one epoch, two members */
    RULE_ORDER_IN_GROUP, /* a strict exclusive group: out of order, or back without a cause */
    RULE_DEAD_TWICE,     /* the dead letters hold it twice */
    RULE_DEAD_AND_ACKED, /* acknowledged, and a dead letter */
    RULE_DEAD_TOO_SOON,  /* it had not failed so often */
    RULE_DEAD_PAYLOAD,   /* the dead letter is another record than the one at its offset */
    RULE_SETTLED_UNASKED, /* the group is past it, though nobody acknowledged it, it is not dead and not in a gap */
    RULE_FALSE_GAP, /* passed over as a gap, and it is still there */
    RULE_COUNT,
};

const char *rule_name(enum rule rule);

struct checker_options {
    /* An ack that is not sync and younger than this when a fault begins may be forgotten. */
    uint64_t ack_window_ns;
    /* A posted ack has arrived and is safe after so long without a fault. */
    uint64_t ack_settle_ns;
    /* Clients notice a fault up to so long after it ended. */
    uint64_t fault_grace_ns;
    /* A delayed message comes within this after it was due. */
    uint64_t late_ns;
    /* Retention or purges may have removed the beginning. */
    bool may_trim;
};

struct verdict {
    uint64_t found[RULE_COUNT];
    uint64_t total;
    struct buf text; /* the first few of each rule, a line each */
};

void checker_run(const struct history *history, const struct checker_options *options,
                 struct verdict *ret_verdict);
void verdict_release(struct verdict *self);

#endif
