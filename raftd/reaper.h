/* reaper: proposes the end of deleted streams whose grace is over. @thread loop */
#ifndef RAFTD_REAPER_H
#define RAFTD_REAPER_H

#include "common/run/loop.h"

struct raftd;
struct reaper;

struct reaper *reaper_new(struct raftd *raftd, struct loop *loop);
void reaper_destroy(struct reaper **self); /* accepts NULL */

/* Streams were deleted, undeleted or reaped: look at the calendar anew, soon. */
void reaper_look(struct reaper *self);

#endif
