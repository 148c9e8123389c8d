/* group_breaker: of the messages that were settled lately, how many went to the dead letters. In the leader's memory alone: after a restart it begins anew.
 * The window is looked at in sixteenths. */
#ifndef LOGD_GROUP_BREAKER_H
#define LOGD_GROUP_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "logd/group_limits.h"

enum { GROUP_BREAKER_SLOTS = 16 };

/* Zeroed is new. */
struct group_breaker {
    struct {
        uint64_t number; /* which sixteenth of a window, since the beginning of time */
        uint64_t settled;
        uint64_t dead; /* of them */
    } slots[GROUP_BREAKER_SLOTS];
};

void group_breaker_note(struct group_breaker *self, const struct group_dlq_limits *limits,
                        uint64_t now_ms, uint64_t settled, uint64_t dead);
/* Did too many go? */
bool group_breaker_is_open(const struct group_breaker *self, const struct group_dlq_limits *limits,
                           uint64_t now_ms);

#endif
