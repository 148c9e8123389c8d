/* channel: one consumer of a client: a channel of its connection, a member of a group at logd.
 *
 *   ENSURING ──► ATTACHING ──► OPEN ──► LOST ──► REATTACHING ──► OPEN
 *      │            │          │ │        │           │
 *      │            │          │ └──► DRAINING        │
 *      └────────────┴──────────┴────────┴─┴───────────┴──► CLOSING ──► GONE
 *
 * ENSURING     the group did not exist: raftd makes it, then the catalogue brings it
 * ATTACHING    logd was asked to make it a member; the client waits for ConsumeOk
 * OPEN         deliveries come
 * LOST         the session to logd ended: its member there is gone, what it held is delivered again by others' or its own hand
 * REATTACHING  there is a new session, logd was asked again; the client notices a pause only
 * DRAINING     the client leaves in order: no more deliveries, what it holds may be acknowledged; logd answers when nothing is left
 * CLOSING      the client cancelled; logd is told
 * GONE         removed; the memory goes at once
 *
 * The consumer number is frontd's own, never re-used, and the subject of all bus messages about it. */
#ifndef FRONTD_CHANNEL_H
#define FRONTD_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/base/sm.h"

#include "frontd/credit.h"
#include "frontd/session.h"

enum channel_state {
    CHANNEL_ENSURING,
    CHANNEL_ATTACHING,
    CHANNEL_OPEN,
    CHANNEL_LOST,
    CHANNEL_REATTACHING,
    CHANNEL_DRAINING,
    CHANNEL_CLOSING,
    CHANNEL_GONE,
    CHANNEL_STATE_COUNT,
};

struct channel {
    struct session *session;
    struct list of_session;
    struct list of_dirty; /* has credit to tell */
    struct sm sm;
    uint32_t number;   /* the client's */
    uint64_t consumer; /* ours */
    uint64_t corr;     /* of Consume, until it is answered */
    /* the Consume message as it came: it is needed again after a restart of logd */
    struct buf consume;
    struct credit credit;
    uint64_t since_ms;      /* of Consume */
    uint64_t log_group;     /* the stream it was attached to; 0: not yet */
    uint64_t attach_serial; /* of the last attempt: outcomes of others do not count */
    bool created;           /* the group was made for it */
    bool is_ephemeral;      /* its group lives in logd's memory only, and ends with the session */
    uint64_t
        floor; /* is_ephemeral: everything up to here is acknowledged, as far as logd has told */
};

struct channels;
struct channels *channels_new(struct frontd *frontd);
void channels_destroy(struct channels **self);
uint64_t channels_count(const struct channels *self);
/* Detaches that logd has not answered yet. */
uint64_t channels_detaching_count(const struct channels *self);
/* NULL: no such consumer (any more). */
struct channel *channels_find(const struct channels *self, uint64_t consumer);

/* A channel for a Consume frame, whose body is copied. The number is free. */
struct channel *channel_open(struct session *session, uint32_t number, uint64_t corr,
                             struct span consume);
/* Remove it. logd is told nothing by this. */
void channel_remove(struct channel *self);
struct channel *session_find_channel(const struct session *session, uint32_t number);

/* logd may not know all of its credit: tell it at the end of the turn, as far as there is room. */
void channel_touch(struct channel *self);
/* Room in the session's output: all its consumers may be told of more. */
void channels_touch_session(struct session *session);
/* logd's link has credit again. */
void channels_flush(struct channels *self);
/* A channel could not be attached again: try all such once more in a moment. */
void channels_retry_later(struct channels *self);

/* The session to logd began or ended. */
void channels_logd_up(struct channels *self);
void channels_logd_down(struct channels *self);

/* Ask logd to make it a member, with the group as the catalogue has it (attach.c). The channel may be gone afterwards. */
void channel_attach(struct channel *self);
/* Tell logd that the consumer is gone. `count_failed`: what it held counts as failed once. */
void channel_detach(struct frontd *frontd, uint64_t consumer, bool count_failed);
/* The connection is gone or is being finished: tell logd and remove all. */
void channels_close_session(struct session *session, bool count_failed);

#endif
