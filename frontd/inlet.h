/* inlet: the ephemeral frames of one connection, in the order in which they came. A frame whose topics have no route yet waits, and all behind it, so that a
 * subscriber sees a publisher's messages in order, whichever topics they have. Bounded in bytes: then the connection is not read. What waits longer
 * than the request timeout is refused. */
#ifndef FRONTD_INLET_H
#define FRONTD_INLET_H

#include "common/base/payload.h"
#include "common/wire/frame.h"

#include "frontd/session.h"

struct inlet_kind {
    /* Do it. 0: done with (also when refused and answered); ERR_AGAIN: not yet, ask again when routes or room have come; others close the connection. */
    int (*step)(struct session *session, const struct frame_view *view, struct payload *owner);
    /* It waited too long. */
    void (*late)(struct session *session, const struct frame_view *view);
};

/* As a session_handler_fn. */
int inlet_take(struct session *session, const struct frame_view *view, struct payload *owner,
               const struct inlet_kind *kind);
/* The session is closed: frames that wait are dropped, counted as refused. */
void inlet_close(struct session *session);

/* All inlets with waiting frames. */
struct inlets;
struct inlets *inlets_new(struct frontd *frontd);
void inlets_destroy(struct inlets **self);
/* Routes or room have come: try all that wait, at the end of this turn or in the next. */
void inlets_progress(void *inlets);
uint64_t inlets_waiting_bytes(const struct inlets *self);

#endif
