/* release: gives journal files back in which nothing is needed any more. A file is needed while
 *   it holds a record of a stream at or above its first offset (a stream with damaged records needs every file: nobody knows where they lay),
 *   it holds a control entry that no snapshot (snapshot.h) of its stream stands for,
 *   Berkeley DB has not saved all that it made.
 * Files go from the oldest on, so the stream with the oldest records holds all that are newer; release_pinned_bytes tells how much one alone holds. Snapshots are
 * written when files could go but for control entries, and only when that gives back four times what they take. */
#ifndef LOGD_RELEASE_H
#define LOGD_RELEASE_H

#include <stdint.h>

struct logd;
struct release;
struct stream;

struct release *release_new(struct logd *logd);
void release_destroy(struct release **self);

/* Something is not needed any more: look before long. */
void release_note(struct release *self);
/* Look now; for tests. */
void release_look(struct release *self);

/* Bytes of the files that could go if this stream needed nothing. */
uint64_t release_pinned_bytes(const struct release *self, const struct stream *stream);

#endif
