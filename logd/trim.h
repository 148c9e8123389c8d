/* trim: records leave a stream at its front, by retention or by a purge. The leader decides, the entry says it, applying does it, and in
 * replay does the same: first_offset rises and never falls, next_offset stays. */
#ifndef LOGD_TRIM_H
#define LOGD_TRIM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"
#include "common/run/bus.h"

struct journal_entry;
struct logd;
struct stream;

struct trim {
    uint64_t first_offset;
    bool forget_ids;
    bool purge;
    bool has_last_id; /* in an entry that was read */
    struct span last_id;
};

/* Propose it. Errors as replica_propose; ERR_STREAM_DELETED. */
int trim_propose(struct stream *stream, const struct trim *trim, uint64_t *ret_index);
/* A committed entry of kind TRIM. 0, ERR_BAD_FORMAT. */
int trim_apply(struct stream *stream, const struct journal_entry *entry);
/* What is known of the places of trimmed records is forgotten, as far as nothing else needs it. */
void trim_extents(struct stream *stream);

/* BUS_LOG_PURGE: answered when it is durable. */
void purge_handle(struct logd *logd, struct bus_message *message, struct stream *stream);
/* The entry of a purge was applied and removed so many records. */
void purge_applied(struct stream *stream, uint64_t index, uint64_t removed);
/* Those that wait are answered with this error; 0: not answered at all. */
void purge_refuse(struct stream *stream, int error);

#endif
