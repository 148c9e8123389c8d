/* readers: BUS_LOG_READ, and the reads that wait at the end of a stream for more. */
#ifndef LOGD_READERS_H
#define LOGD_READERS_H

#include "common/run/bus.h"

struct logd;
struct readers;
struct stream;

struct readers *readers_new(struct logd *logd);
/* No stream may have readers any more. */
void readers_destroy(struct readers **self);

/* Answers, now or when there is something to read or the wait is over. */
void readers_handle(struct readers *self, struct bus_message *message, struct stream *stream);

/* Records were committed. */
void readers_wake(struct stream *stream);
/* All that wait on the stream are answered with this error. */
void readers_refuse(struct stream *stream, int error);
/* All that wait on the stream are forgotten without an answer. */
void readers_forget(struct stream *stream);

#endif
