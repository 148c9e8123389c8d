/* response_asked: the requests of this frontd's clients, each until its one final Result.
 *
 *   UNSENT ──► SENT ──► ENDED
 *      └─────────────────▲
 * UNSENT  it waits in the inlet: for the frames before it, for its name, or for its route
 * SENT    it is with its receivers
 * ENDED   the final Result has been sent. It goes at once, but while its frame is still in the inlet: then when that comes to it
 *
 * Whoever calls something here that may end a request must not use the request afterwards. */
#ifndef FRONTD_RESPONSE_ASKED_H
#define FRONTD_RESPONSE_ASKED_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/base/payload.h"
#include "common/base/sm.h"
#include "common/base/wheel.h"
#include "common/wire/es.h"

#include "frontd/frontd.h"
#include "frontd/responses.h"
#include "frontd/session.h"

enum {
    ASKED_TIMEOUT_DEFAULT_MS = 5 * 1000,
    ASKED_TIMEOUT_MAX_MS = 10 * 60 * 1000,
    ASKED_REPLIES_MAX = 65535,
};

enum asked_state { ASKED_UNSENT, ASKED_SENT, ASKED_ENDED, ASKED_STATE_COUNT };

struct asked_set;

struct asked {
    struct asked_set *set;
    struct list of_session; /* its `unsent` or `asked` */
    struct list given;      /* struct given: clients of this frontd that have it */
    struct session *session;
    struct sm sm;
    uint64_t number; /* never re-used, also not after a restart */
    uint64_t secret;
    uint64_t corr;
    uint32_t channel;
    uint32_t max_replies;
    uint32_t replies;
    uint64_t due_ms;
    struct wheel_timer timer;
    /* Receivers that may still reply. */
    uint64_t local_left;
    uint64_t remote_left; /* the sum of remote_counts */
    uint64_t remote_mask; /* frontds that were sent it */
    uint32_t *
        remote_counts; /* by instance; NULL: was never needed. Those not in the mask mean nothing */
    uint64_t early;    /* undelivered here while it is being sent */
    bool is_sending;
    bool is_any_lost; /* a receiver was lost after it got it */
    /* The name of its response stream. */
    bool is_claimed;
    struct buf name; /* namespace, NUL, name; empty: it has none */
    struct claim *claim;
};

struct asked_set *asked_set_new(struct frontd *frontd);
void asked_set_destroy(struct asked_set **self); /* all went with their sessions */
void asked_set_count(const struct asked_set *self, struct responses_counts *ret_counts);

/* --- from the requester --- */

/* A final Result for a Request that was not taken. */
void asked_refuse(struct session *session, const struct frame_view *view, int error,
                  const char *detail);
/* A request, UNSENT, with its timer running. `request` was checked but for its message. NULL: limits.open_requests are open. */
struct asked *asked_open(struct asked_set *self, struct session *session,
                         const struct frame_view *view, const struct es_request *request);
/* The first of the session that is not SENT; NULL: none. */
struct asked *asked_first_unsent(const struct session *session);
/* Free one that is not SENT, without a Result. */
void asked_forget(struct asked *self);
/* Begin to claim its name. true: it is claimed. false: not yet, or ended with RS_IN_USE at once. */
bool asked_claim(struct asked *self, struct span name);
/* The message is about to go out; then it has gone to so many receivers, here and elsewhere. With none left it ends. */
void asked_sending(struct asked *self);
void asked_sent(struct asked *self, uint32_t receivers);
/* RequestCancel. */
void asked_cancel(struct session *session, uint64_t corr);
void asked_session_closed(struct session *session);
void asked_session_drained(struct session *session);

/* The final Result without a reply. */
void asked_end(struct asked *self, int error, const char *detail);

/* --- from responders --- */

/* NULL: there is none that was sent and has not ended. */
struct asked *asked_find(const struct asked_set *self, uint64_t number);
struct asked *asked_find_named(const struct asked_set *self, struct span namespace_,
                               struct span name);
/* A reply is passed on to the requester. 0: *ret_is_more_wanted says whether it was the last. ERR_RS_CLOSED: the requester could not take it, and
 * the request has ended. */
int asked_reply(struct asked *self, const struct slice *message, bool *ret_is_more_wanted);
void asked_forwarded(struct asked *self, unsigned neighbour, uint32_t receivers);
/* Receivers here (neighbour: ROUTE_LOCAL) or there will not reply any more. */
void asked_receivers_gone(struct asked *self, unsigned neighbour, uint32_t count,
                          bool is_undelivered);
void asked_neighbour_lost(struct asked_set *self, unsigned neighbour);

#endif
