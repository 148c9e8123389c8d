/* state: logd's Berkeley DB: of each stream what is derived from its log, with the index up to which it was applied, in one
 * transaction; written lazily, so that a crash replays a little. Tables:
 *   streams  log group (8 bytes, big-endian)            -> StreamState
 *   groups   log group, group id (8 bytes each)         -> GroupState
 *   applied  "position", "revision"                     -> 8 bytes little-endian
 * `position`: all that lies below it in the journal is contained in the other tables. `revision`: the highest of the catalogue ever seen. */
#ifndef LOGD_STATE_H
#define LOGD_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "logd/stream_body.h"

struct bdb;
struct state;

/* Open DIR/db. Errors are logged. `*ret_rebuilt`: it was damaged or missing and is empty now. */
int state_open(struct logd *logd, const char *dir, uint64_t cache_bytes, bool *ret_rebuilt,
               struct state **ret_state);
void state_close(struct state **self);
/* For tables of others that go with it. */
struct bdb *state_bdb(const struct state *self);

/* Make the streams that were saved, with their groups. Logged. */
int state_load(struct state *self);

/* Below this journal position everything had been applied and saved. */
uint64_t state_saved_position(const struct state *self);
uint64_t state_revision(const struct state *self);
void state_set_revision(struct state *self, uint64_t revision);

/* StreamState of log.proto, as the stream is. */
void state_encode_stream(const struct stream *stream, struct buf *out);
/* The stream becomes what it says. 0, ERR_BAD_FORMAT. */
int state_decode_stream(struct stream *stream, struct span value);

void state_mark_unsaved(struct state *self, struct stream *stream, enum stream_unsaved how);
/* So many bytes of control entries more would be replayed. */
void state_note_control(struct state *self, uint64_t bytes);
bool state_is_urgent(const struct state *self);
/* Everything is to be saved and written through soon. Returns a number: when state_has_saved says yes to it, all that is so now is on stable storage. */
uint64_t state_hurry(struct state *self);
bool state_has_saved(const struct state *self, uint64_t number);
/* Is anything left that a later state_save would write? */
bool state_is_dirty(const struct state *self);

/* Save some of what is due; a bounded piece of work. Errors are final for the daemon. */
int state_save(struct state *self, uint64_t now_ms);
/* Save everything and checkpoint. */
int state_save_all(struct state *self);

#endif
