/* append: the way of a publish: checked, given its offsets, proposed, and answered when it is committed. Publishes that the journal has no
 * room for wait here in the order they came. */
#ifndef LOGD_APPEND_H
#define LOGD_APPEND_H

#include <stdint.h>

#include "common/base/payload.h"
#include "common/run/bus.h"
#include "common/store/journal.h"

struct append;
struct logd;
struct stream;

struct append *append_new(struct logd *logd);
void append_destroy(struct append **self);

/* BUS_LOG_PUBLISH; stream NULL: we know none of that number. Answers, now or later; keeps the message's credit until then. */
void append_handle(struct append *self, struct bus_link *link, struct bus_message *message,
                   struct stream *stream);

/* The oldest batch in flight of this stream is committed. */
void append_applied(struct stream *stream, const struct journal_entry *entry);
/* There may be room again. */
void append_retry(struct append *self);
/* The stream goes: what is in flight for it is not answered by us. */
void append_forget(struct stream *stream);

/* A batch of the daemon's own, as if it had been published, but that neither fence nor limits hold it up and duplicates are never refused: waits for room,
 * deduplicated by its IDs. `done` is called once: with 0 and for each
 * record where it lies (of a duplicate: the original), or with an error and nothing was stored. It may be called before this returns. Never
 * called when the process ends first. Takes a reference of the batch. */
typedef void append_own_fn(void *ud, int error, const uint64_t *offsets, uint32_t count);
void append_own(struct append *self, struct stream *stream, const struct slice *batch,
                append_own_fn *done, void *ud);

/* Publishes not answered yet. */
uint64_t append_open_count(const struct append *self);

#endif
