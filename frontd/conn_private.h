/* conn_private: the inside of a connection, shared by conn.c (life, output, deadlines) and conn_read.c (input). For nobody else. */
#ifndef FRONTD_CONN_PRIVATE_H
#define FRONTD_CONN_PRIVATE_H

#include "common/base/sm.h"

#include "frontd/chunks.h"
#include "frontd/conn.h"

struct conn_set {
    struct loop *loop;
    struct conn_options options;
    struct conn_counts counts;
    struct chunks *chunks;
    struct outq_pool *pool;
    uint64_t inbound_bytes; /* of all connections, see conn_account */
    struct list all;
    size_t count;
    struct list dirty;   /* have output to write at the end of this turn */
    struct list blocked; /* wait for conn_retry */
    size_t blocked_count;
    struct list resume; /* have frames to show in the next turn */
    struct wheel_timer resume_timer;
    struct wheel_timer write_timer; /* runs while `dirty` holds something */
    struct list dead;               /* CLOSED: told to their sessions and freed at step 6 */
};

struct conn {
    struct conn_set *set;
    const struct conn_events *events;
    void *ud;
    struct sm sm;
    int fd;
    unsigned interest; /* what the loop watches: LOOP_READ, LOOP_WRITE */
    struct loop_fd *watch;
    struct list of_all; /* until it is freed */
    struct list of_dead;
    struct list of_dirty;
    struct list of_stop; /* `blocked` or `resume` */
    bool is_blocked;
    bool is_shut;     /* we have sent our end */
    bool is_ended;    /* the peer has sent its end */
    bool is_end_held; /* and that is not to be acted on yet */
    struct outq out;
    uint64_t room_below; /* on_room is wanted when less than this is queued; 0: it is not */

    /* Frames received but not taken yet: at most one that was pieced together, then a run. While there are any, nothing is read. */
    struct slice pending[2];
    /* The beginning of a frame: `partial_size` of `partial_total` bytes (0: prefix not whole yet). */
    struct payload *partial;
    size_t partial_size;
    size_t partial_total;
    uint64_t partial_since_ms;
    uint64_t inbound_bytes; /* what of this counts in the set */

    uint64_t opened_ms;
    uint64_t received_ms; /* when something last came in */
    uint64_t sent_ms;     /* when something last went out */
    uint64_t heartbeat_ms;
    struct wheel_timer timer;
};

static inline uint64_t conn_now_ms(const struct conn *self)
{
    return loop_now_ms(self->set->loop);
}

static inline bool conn_takes_frames(const struct conn *self)
{
    return self->sm.state != CONN_CLOSED && self->sm.state != CONN_CLOSING;
}

/* --- conn.c --- */

/* Close now; the session is told at step 6. */
void conn_close(struct conn *self);
/* Watch for input while frames can be taken, and for room while `is_full`. */
void conn_update_watch(struct conn *self, bool is_full);
/* There is output, or something to look at, at the end of the turn. */
void conn_touch(struct conn *self);
/* Frames wait that may be shown in the next turn. */
void conn_resume_soon(struct conn *self);

/* --- conn_read.c --- */

/* The loop's call. */
void conn_event(void *ud, unsigned events);
/* What the connection holds of its input has changed: count it. */
void conn_account(struct conn *self);
/* Show the frames that were kept. */
void conn_show_pending(struct conn *self);

#endif
