/* changes: a CatalogChanges message (catalog.proto), read in place by the daemons that follow the catalogue. */
#ifndef COMMON_WIRE_CHANGES_H
#define COMMON_WIRE_CHANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"

/* Its field numbers. */
enum {
    CHANGES_REVISION = 1,
    CHANGES_RESET = 2,
    CHANGES_MORE = 3,
    CHANGES_STREAMS = 4,
    CHANGES_STREAMS_DELETED = 5,
    CHANGES_GROUPS = 6,
    CHANGES_GROUPS_DELETED = 7,
    CHANGES_EXCHANGES = 9,
    CHANGES_EXCHANGES_DELETED = 10,
};

/* What is said once: it decides how the lists are to be taken, and may stand behind them. */
struct changes_head {
    uint64_t revision;
    bool reset;
    bool more;
};

/* 0, or ERR_PROTOCOL: malformed; then no part of the message is to be believed. After 0 pb_next does not fail on it. */
int changes_read_head(struct span message, struct changes_head *ret_head);

#endif
