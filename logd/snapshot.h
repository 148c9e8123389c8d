/* snapshot: what a stream's log has made of it so far, written into the log itself (EntryState), so that the entries it stands for may go with their journal
 * files. Normally Berkeley DB holds all of that and nobody reads these entries; they are what a removed database is rebuilt from. An entry says up to which index
 * it speaks; what lies between that one and itself is applied on top of it. */
#ifndef LOGD_SNAPSHOT_H
#define LOGD_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"

struct journal_entry;
struct stream;

/* One that is being written, part by part. Zeroed: none. */
struct snapshot {
    struct stream *stream;
    struct buf content; /* a StateContent */
    uint64_t applied_index;
    uint32_t part;
    uint32_t parts;
};

/* As the stream is now. */
void snapshot_make(struct snapshot *self, struct stream *stream);
/* Propose the parts that are left. 0: all of them are; or as replica_propose: go on later, or drop it. */
int snapshot_go_on(struct snapshot *self);
void snapshot_drop(struct snapshot *self);

/* A committed entry of kind STATE, now or in replay: changes nothing but what the journal must keep. 0, ERR_BAD_FORMAT. */
int snapshot_apply(struct stream *stream, const struct journal_entry *entry);

/* In recovery, when entries behind those that the database holds are missing: begin with the newest complete snapshot there is. *ret_found: there was one, and the stream is
 * as of stream->applied_index. 0, ERR_IO, ERR_BAD_FORMAT, ERR_NO_MEMORY. */
int snapshot_recover(struct stream *stream, bool *ret_found);

#endif
