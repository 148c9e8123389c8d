/* logd: what the parts of the daemon may ask of it as a whole. Owned by main; every pointer below lives as long as the daemon. */
#ifndef LOGD_LOGD_H
#define LOGD_LOGD_H

#include <stdint.h>

#include "common/run/daemon.h"
#include "common/store/journal.h"

struct events;
struct logd;
struct members;
struct stream;

struct bus *logd_bus(struct logd *self);
struct loop *logd_loop(struct logd *self);
struct members *logd_members(struct logd *self);
struct metrics *logd_metrics(struct logd *self);
struct events *logd_events(struct logd *self); /* logd/events.h */

/* Ask the catalogue to delete a consumer group that nobody uses. It comes true as any deletion, or groups_expiry_refused is called, or neither: then ask
 * again. */
void logd_expire_group(struct logd *self, struct stream *stream, uint64_t group_id,
                       const char *name);

/* Real time in ms, read anew each time: a delay that is asked for late in a long turn does not count from its beginning. */
uint64_t logd_real_ms(struct logd *self);
/* Has the wall clock not jumped lately? Otherwise nothing is too old. */
bool logd_trusts_clock(struct logd *self);

/* The stream has something to flush or to deliver at the end of this turn (groups_wake and groups_flush are called then, once). */
void logd_mark_dirty(struct logd *self, struct stream *stream);
/* Call groups_flush of this stream again at that time (the earliest wish counts). */
void logd_flush_at(struct logd *self, struct stream *stream, uint64_t at_ms);

#endif
