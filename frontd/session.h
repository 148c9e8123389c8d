/* session: one client after another's frames: what they ask, what is open, and its consumers' channels. Sits on a conn. */
#ifndef FRONTD_SESSION_H
#define FRONTD_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/hash.h"
#include "common/base/list.h"
#include "common/base/payload.h"
#include "common/base/span.h"
#include "common/wire/frame.h"

#include "frontd/catalog.h"
#include "frontd/conn.h"
#include "frontd/frontd.h"
#include "frontd/limits.h"
#include "frontd/request.h"

enum { SESSION_ADDRESS_SIZE = 64 };

#define SESSION_NAMESPACE "default"

struct session {
    struct frontd *frontd;
    struct conn *conn;
    struct limits_address address;
    char address_text[SESSION_ADDRESS_SIZE]; /* "127.0.0.1:40312" */
    struct list requests;                    /* open ones, linked by of_session */
    uint64_t request_count;
    struct hash64 *by_corr; /* what is open and wants an answer; NULL: never had one */
    uint64_t publish_bytes; /* of Publish frames without an outcome */
    uint64_t reply_bytes;   /* kept free of the output queue for replies to come */
    struct list channels;   /* struct channel */
    uint64_t channel_count;
    struct hash64 *by_number; /* of the channels; NULL: never had one */
    /* ephemeral messages */
    struct span namespace_;    /* of Hello; lives as long as this */
    char *namespace_text;      /* owns it; NULL: the default one */
    struct inlet *inlet;       /* frames that wait for routes; NULL: never had one */
    struct list subscriptions; /* struct subscription */
    uint64_t subscription_count;
    struct hash64 *subscription_by_number;
    /* of responses: */
    struct list asked;    /* requests of this client that were sent and have no result */
    struct list unsent;   /* those that wait in the inlet, in order; also ones that ended there */
    struct list awaiting; /* requests this client was given and may still answer */
    uint64_t publisher;   /* a number of its own, for its share of live topics */
    bool is_dead;         /* the connection is closed; this goes in the same turn */
};

/* What a handler returns. 0: the frame is dealt with (also when an error was answered). ERR_AGAIN: not now, show it again later. Others close the
 * connection with that error. */
typedef int session_handler_fn(struct session *self, const struct frame_view *view,
                               struct payload *owner);

/* A session on an accepted socket (taken). It frees itself when its connection is closed. The address was counted by limits_enter; the session
 * gives it back. false: no session came about, the address is not given back. */
bool session_open(struct frontd *frontd, int fd, const struct limits_address *address,
                  const char *address_text);

/* GoAway to the client; no new consumers from now on. */
void session_drain(struct session *self, uint64_t deadline_ms);
/* Nothing is asked and nothing consumed. */
bool session_is_idle(const struct session *self);

/* --- answers --- */

/* A frame whose body is `body`. */
void session_send(struct session *self, uint32_t channel, uint64_t corr, uint32_t field,
                  struct span body);
/* A frame whose body is `meta`, then field 15 with the slice's bytes, which are not copied (left out when empty). */
void session_send_batch(struct session *self, uint32_t channel, uint64_t corr, uint32_t field,
                        struct span meta, const struct slice *batch);
/* An Error that ends a request; nothing when corr is 0. `detail` may be NULL. */
void session_send_error(struct session *self, uint32_t channel, uint64_t corr, int error,
                        const char *detail);
/* The same for the request in `view`. Always 0, for `return`. */
int session_refuse(struct session *self, const struct frame_view *view, int error,
                   const char *detail);

/* Pass the outcome of a request on to who asked, if still there: the reply's meta as `field`, or its Error, or that its outcome is unknown. A request
 * that changes nothing may safely be repeated, which NO_QUORUM says. */
void session_pass_reply(struct request *request, enum bus_outcome outcome,
                        const struct bus_message *reply, uint32_t field, bool changes_something);

/* --- requests --- */

/* Open a request for the frame. 0; ERR_AGAIN: too many are open; 1: refused and answered (corr in use). The caller hands it to an upstream or gives it
 * back with frontd_request_end. */
int session_request(struct session *self, const struct frame_view *view, request_done_fn *done,
                    struct request **ret_request);
/* For what only asks: with corr 0 there is nobody to answer, and it is left alone. Otherwise as session_request. */
int session_query(struct session *self, const struct frame_view *view, request_done_fn *done,
                  struct request **ret_request);
/* A correlation is taken, or free again (0 is neither). true: it is open already. */
bool session_corr_is_open(const struct session *self, uint64_t corr);
void session_corr_open(struct session *self, uint64_t corr);
void session_corr_close(struct session *self, uint64_t corr);
/* Is the channel open, for whatever? */
bool session_channel_is_used(const struct session *self, uint32_t channel);
/* The request is over: it is no more among the session's. */
void session_request_end(struct session *self, struct request *request);

/* --- names --- */

/* The stream of that name; `pin` is the stream_id the client believes in, or empty. 0; ERR_AGAIN: no catalogue yet; 1: refused and answered,
 * with `unknown_error` when there is no such stream. */
int session_find_stream(struct session *self, const struct frame_view *view, struct span name,
                        struct span pin, int unknown_error,
                        const struct catalog_stream **ret_stream);
/* 0, or 1: refused and answered with NOT_FOUND. */
int session_find_group(struct session *self, const struct frame_view *view,
                       const struct catalog_stream *stream, struct span name,
                       const struct catalog_group **ret_group);
/* NULL when valid, else text for the Error: "stream name: empty word". Lives until the next call on this thread. */
const char *session_name_problem(const char *what, struct span name, char *out, size_t capacity);

#endif
