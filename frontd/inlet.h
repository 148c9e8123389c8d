/* inlet: the ephemeral frames of one connection, in the order in which they came. A frame whose topics have no route yet waits, and all behind it, so that a
 * subscriber sees a publisher's messages in order, whichever topics they have. Bounded in bytes: then the connection is not read. What waits longer
 * than the request timeout is refused. @thread loop */
#ifndef FRONTD_INLET_H
#define FRONTD_INLET_H

#include "common/base/payload.h"
#include "common/wire/frame.h"

#include "frontd/session.h"

struct inlet_kind {
    /* Do it. 0: done with (also when refused and answered); ERR_AGAIN: not yet, ask again when routes or room have come; others close the connection. */
    int (*step)(struct session *session, const struct frame_view *view, struct payload *owner);
    /* It waited too long, or the session is closed (session->is_dead). */
    void (*late)(struct session *session, const struct frame_view *view);
};

/* As a session_handler_fn. */
int inlet_take(struct session *session, const struct frame_view *view, struct payload *owner,
               const struct inlet_kind *kind);
/* The session is closed: frames that wait are dropped, counted as refused. */
void inlet_close(struct session *session);

/* In a step: for its own use, while the frame waits; zeroed before the first time. */
struct inlet_memo {
    uint64_t first;
    uint64_t last;
    bool is_set;
};
struct inlet_memo *inlet_memo(struct frontd *frontd);
/* In a step: it has caused so many bytes of output. Beyond es.turn the next frames of the session wait for the next turn. */
void inlet_charge(struct session *session, uint64_t bytes);

/* All inlets with waiting frames. */
struct inlets;
struct inlets *inlets_new(struct frontd *frontd);
/* The sessions are closed. */
void inlets_destroy(struct inlets **self);
/* Routes or room have come: try all that wait, in the next turn. */
void inlets_progress(void *inlets);
uint64_t inlets_waiting_bytes(const struct inlets *self);

#endif
