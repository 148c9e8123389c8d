/* request: something asked of another daemon, usually on behalf of a client, until its one outcome. It outlives the session that made it:
 * `session` is then NULL, and the outcome interests nobody.
 *
 * A request is sent at once when its daemon has credit, else it waits in the daemon's queue (upstream). */
#ifndef FRONTD_REQUEST_H
#define FRONTD_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/base/payload.h"
#include "common/run/bus.h"

struct frontd;
struct gathering;
struct request;
struct session;
struct upstream;

/* The outcome, exactly once. BUS_OK: `reply` is there. The request is given back afterwards, unless request_hold was called. */
typedef void request_done_fn(struct request *self, enum bus_outcome outcome,
                             const struct bus_message *reply);

struct request {
    struct frontd *frontd;
    struct list of_session;
    struct session *session;     /* who waits; NULL: nobody (any more) */
    uint32_t channel;            /* of the frame that asked */
    uint64_t corr;               /* 0: no answer is wanted */
    uint64_t publish_bytes;      /* of the publish window, taken until the outcome */
    uint64_t reply_bytes;        /* of the output queue, kept free for the reply */
    uint64_t consumer;           /* whom it is about, where it is about one; else 0 */
    uint64_t number;             /* belongs to who made the request */
    struct gathering *gathering; /* of a part of an answer (gathering.h); NULL for all others */
    struct buf keep;             /* likewise: bytes for the answer */
    request_done_fn *done;       /* NULL: a one-way event */
    /* of a held request: the catalogue has come as far as `number` */
    void (*resume)(struct request *self);
    bool is_held;
    bool is_session_bound; /* means nothing to the next session of its daemon */

    /* While it waits to be sent or for the answer. */
    uint64_t bus_id;
    struct upstream *upstream;
    struct list of_queue;
    uint16_t type;
    uint64_t subject;
    struct buf meta;
    struct slice body;
    uint64_t asked_ms;
    uint64_t timeout_ms;
};

struct request_pool;
struct request_pool *request_pool_new(void);
void request_pool_destroy(struct request_pool **self); /* all requests were given back */

/* A zeroed request with its lists ready. */
struct request *request_take(struct request_pool *self);
/* Give it back. It is in no list any more. */
void request_give(struct request_pool *self, struct request *request);

/* In `done`: keep the request; whoever keeps it ends it later (frontd_request_end). */
static inline void request_hold(struct request *self)
{
    self->is_held = true;
}

#endif
