/* groups_drain: members that leave in order: they get nothing more, and leave when they hold nothing, or when their time is over. */
#ifndef LOGD_GROUPS_DRAIN_H
#define LOGD_GROUPS_DRAIN_H

#include <stdint.h>

#include "common/run/bus.h"
#include "logd/groups_own.h"

/* The member leaves; the request is answered when it has. It may be gone afterwards. `drain_ms` 0: as long as its group says. */
void groups_drain(struct groups *self, struct member *member, const struct bus_message *message,
                  uint64_t drain_ms);
/* Let go of those that are ready. Returns when (loop time) to come again; UINT64_MAX: nobody drains. */
uint64_t groups_drain_turn(struct groups *self, uint64_t now_ms);
/* The member goes, whatever the reason: who waits for its drain is answered. */
void groups_drain_end(struct groups *self, struct member *member);

#endif
