/* client_private: what the files of the library share. One mutex (rg_client.lock) guards all of it unless a field says otherwise;
 * the I/O thread is the only one that reads the socket (but see lead.c), loses the connection, ends requests and calls back.
 *
 *     BACKOFF ──► CONNECTING ──► GREETING ──► UP ──► DRAINING
 *        ▲             │             │         │         │
 *        └─────────────┴─────────────┴─────────┴─────────┘                                                     */
#ifndef CLIENT_CLIENT_PRIVATE_H
#define CLIENT_CLIENT_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "common/base/buf.h"
#include "common/base/hash.h"
#include "common/base/heap.h"
#include "common/base/list.h"
#include "common/base/name.h"
#include "common/base/payload.h"
#include "common/base/rand.h"
#include "common/base/span.h"
#include "common/base/topic.h"
#include "common/wire/frame.h"

#include "client/addresses.h"
#include "client/railgun.h"

enum {
    CLIENT_DETAIL_SIZE = 512,
    CLIENT_ADDRESS_SIZE = 80,
    CLIENT_STATE_REPORTS_MAX = 4,
    CLIENT_IN_FLIGHT_MIN = 4, /* so many batches are on their way before others wait to grow */
};

enum client_state {
    CLIENT_BACKOFF,
    CLIENT_CONNECTING,
    CLIENT_GREETING,
    CLIENT_UP,
    CLIENT_DRAINING, /* GoAway came: answers are awaited, nothing new is sent */
};

/* Who waits for an answer, on the stack of a public function. */
struct waiter {
    pthread_cond_t cond;
    bool is_done;
};

/* What a correlation number stands for. */
struct pending {
    enum { PENDING_CALL, PENDING_PACK, PENDING_GHOST, PENDING_ASK } kind;
    uint64_t corr;
};

/* A request that is no Publish, and its answer. */
struct call;
typedef void call_done_fn(struct call *call);
struct call {
    struct pending pending;
    struct list of_calls;
    uint32_t channel;
    uint32_t field;
    struct buf body;
    uint64_t deadline_us;
    bool may_repeat; /* on the next connection */
    bool is_sent;    /* on this connection */
    bool is_open;
    int result;
    uint32_t ret_field;
    struct slice ret_body;
    call_done_fn *on_done; /* with the lock held; NULL: `waiter` is told */
    void *ud;
    struct waiter *waiter;
};

/* Bytes received and not yet taken. Owned by the I/O thread, or by who leads. */
struct inbox {
    struct payload *chunk;
    size_t start;
    size_t end;
    size_t chunk_bytes; /* of the next chunk: grows with the frames that came */
    uint32_t frame_bytes_max;
};

/* The connection's socket and what goes out. */
struct conn {
    int fd; /* -1: none */
    uint32_t interest;
    struct inbox inbox;
    bool has_input;       /* whole frames may lie in the inbox, unread */
    bool is_writing;      /* the I/O thread writes with the lock released */
    bool is_blocked;      /* the socket takes no more: waits for EPOLLOUT */
    struct buf control;   /* frames to send before the next Publish frames */
    struct buf writing;   /* the part of them that is being written */
    size_t written;       /* of `writing`, then of the first of `sending` */
    struct list sending;  /* struct pack */
    struct list mail;     /* struct parcel; after those */
    uint64_t sent_us;     /* when something last went out */
    uint64_t received_us; /* when something last came in */
};

/* What the server said in HelloOk. */
struct server_limits {
    uint64_t publish_window; /* changes with the server's load */
    uint64_t publish_window_first;
    uint64_t record_bytes_max;
    uint64_t batch_bytes_max;
    uint32_t batch_records_max;
    uint32_t frame_bytes_max;
};

struct lane;
struct pack;

/* All about publishing (publish.c). */
struct publishing {
    struct hash *lanes;
    struct lane *recent; /* the last one asked for */
    struct list idle;    /* lanes with nothing open and nothing in flight, longest idle first */
    struct list ready;   /* lanes whose open batch goes out in the next turn */
    struct list held;    /* lanes whose open batch grows until an earlier one is answered */
    struct list linger;  /* lanes whose open batch waits for its time */
    size_t ready_count;
    size_t in_flight; /* sealed batches of lanes without an answer */

    struct list live;  /* all packs in use, in the order of making */
    struct list queue; /* sealed, to be sent */
    struct list sent;  /* answers are awaited */
    struct list done;  /* completions are to be called */
    struct list lost;  /* ghosts: given up as unknown, but the server still counts their bytes */
    struct list spare;
    size_t spare_count;
    uint64_t next_serial;

    uint64_t unanswered_bytes; /* of Publish frames on this connection */
    uint64_t window_bytes;     /* used of options.window_bytes */
    uint64_t window_records;
    size_t blocked; /* threads that wait for room in the window */
    pthread_cond_t room;
    size_t flushers;
    pthread_cond_t flushed;
    int first_error; /* since the last rg_flush */
    struct buf scratch;
};

struct parcel;

/* Ephemeral messages, requests and replies on their way out, in order (outbox.c). */
struct outbox {
    struct list queue;   /* struct parcel */
    struct parcel *open; /* the last one, if more may be appended; NULL: none */
    struct list spare;
    size_t spare_count;
    uint64_t next_serial;
    uint64_t bytes;    /* waiting and being written */
    bool is_scheduled; /* something waits, and it is known when it goes out: */
    uint64_t due_us;   /* 0: at once */
    size_t blocked;    /* threads that wait for room */
    pthread_cond_t room;
    size_t flushers;
    pthread_cond_t flushed;
    /* the EsPublish at the end of the open parcel */
    bool is_publishing;
    size_t publish_start;
    size_t exchange_size;
    char exchange[NAME_SIZE_MAX];
    /* the last topic that was found valid */
    bool has_topic;
    size_t topic_size;
    char topic[TOPIC_SIZE_MAX];
    struct buf scratch;
};

/* Requests, receipts and replies that wait for their answers (ask.c). */
struct asks {
    struct list open;
    struct heap deadlines;
    uint64_t check_us; /* when to look; UINT64_MAX: at no time */
    size_t count;
    struct list spare;
    size_t spare_count;
};

/* Subscriptions, and what came for callbacks in the order in which it came (subscription.c, arrival.c). */
struct subscriptions {
    struct hash64 *channels; /* struct rg_subscription */
    struct list all;
    size_t count;
    size_t full;          /* whose queue is full: the socket is not read */
    uint64_t reattach_us; /* when to try again for those that are down; 0: not */
    struct list arrivals; /* struct arrival */
    struct list spare;    /* of them */
    size_t spare_count;
    bool is_malformed; /* a delivery was: the connection is to be given up */
};

struct state_report {
    bool up;
    int reason;
};

struct rg_client {
    pthread_mutex_t lock;
    unsigned references; /* the caller's, and one for each consumer and reader */
    struct rg_options options;
    char *name;
    char *namespace_;

    pthread_t thread;
    int epoll_fd;
    int wake_fd;
    bool is_sleeping; /* the I/O thread is in epoll_wait, or about to be */
    uint64_t sleep_until_us;
    bool is_woken; /* something came up since the turn looked: it must not sleep */
    bool is_led;   /* a caller reads the socket: lead.c */
    bool is_closing;
    uint64_t close_deadline_us;
    bool is_stopped; /* the I/O thread has ended everything */

    enum client_state state;
    struct conn conn;
    struct server_limits limits;
    uint64_t heartbeat_us;
    char address[CLIENT_ADDRESS_SIZE]; /* while UP */
    uint64_t drain_deadline_us;

    /* reconnect.c */
    struct addresses addresses;
    struct address_targets targets; /* of the address being tried */
    size_t address_index;
    size_t target_index;
    size_t tried; /* addresses in this round */
    uint64_t retry_at_us;
    uint64_t attempt_deadline_us;
    uint64_t up_since_us;
    uint32_t backoff_ms;
    struct prng prng;
    bool was_up;
    bool is_first_over; /* the first round has ended */
    int last_reason;
    char last_detail[CLIENT_DETAIL_SIZE];
    pthread_cond_t first_over;

    struct hash64 *pending; /* by correlation */
    uint64_t next_corr;
    struct list calls;
    size_t call_count;
    uint64_t calls_check_us;

    struct publishing pub;
    struct outbox outbox;
    struct asks asks;
    struct subscriptions subs;
    struct list watches; /* struct rg_watch */

    struct hash64 *channels; /* struct rg_consumer */
    struct list consumers;
    size_t consumer_count;
    uint32_t next_channel;
    struct list busy;     /* consumers with something to push or to tell */
    struct list acks;     /* consumers with acknowledgements to send */
    uint64_t reattach_us; /* when to try again for consumers that are down; 0: not */
    struct state_report reports[CLIENT_STATE_REPORTS_MAX];
    size_t report_count;
};

/* --- client.c --- */

uint64_t client_now_us(void);
void client_lock(struct rg_client *self);
void client_unlock(struct rg_client *self);
void client_ref(struct rg_client *self); /* lock held */
void client_unref(struct rg_client *self);
bool client_is_io_thread(const struct rg_client *self);
/* Make the I/O thread turn once more, before it sleeps or out of its sleep. Lock held. */
void client_wake(struct rg_client *self);
/* The same, but only if it would sleep beyond that time. */
void client_wake_by(struct rg_client *self, uint64_t at_us);
/* Something is to be sent at once: written here if the I/O thread sleeps, else it is woken. Lock held. */
void client_push_out(struct rg_client *self);
uint64_t client_request_deadline(const struct rg_client *self, uint64_t now_us);
/* 0, or the error for a call that may block: RG_ERR_USAGE on the I/O thread. */
int client_check_blocking(struct rg_client *self, const char *function);
void waiter_init(struct waiter *self);
void waiter_release(struct waiter *self);
void cond_init(pthread_cond_t *cond);
/* Wait with the lock until signalled or that time; false: the time is over. */
bool cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t until_us);

/* --- io.c --- */

void *io_main(void *client);

/* --- conn.c --- */

void conn_init(struct conn *self);
void conn_release(struct conn *self);
/* The socket is taken. Connected or connecting. */
void conn_open(struct rg_client *client, int fd);
void conn_close(struct rg_client *client);
void conn_update_interest(struct rg_client *client);
/* A frame to be sent before the next Publish frames. */
void conn_queue_frame(struct rg_client *client, uint32_t channel, uint64_t corr, uint32_t field,
                      struct span body);
bool conn_has_output(const struct rg_client *client);
/* Write what is queued, as far as the socket takes it. `may_unlock`: the lock is released while writing; else it is kept, which is for small
 * writes only. 0, or the error for which the connection is to be given up. */
int conn_write(struct rg_client *client, bool may_unlock);
/* Read once. Called without the lock by whoever owns the inbox. 0: something came; ERR_AGAIN; ERR_CLOSED; others. */
int conn_receive(struct conn *self);
/* The next whole frame. 1: *ret_frame; 0: none; else malformed. */
int inbox_next(struct inbox *self, struct span *ret_frame);

/* --- session.c --- */

/* Send Hello. */
void session_greet(struct rg_client *client);
/* Take all frames in the inbox. 0, or the error for which the connection is to be given up. Lock held. */
int session_take_frames(struct rg_client *client);
int session_take_frame(struct rg_client *client, struct span frame);
/* Heartbeats; returns as above. */
int session_check(struct rg_client *client, uint64_t now_us);
/* The bytes with a reference; small ones are copied, so that they do not keep a large chunk. */
struct slice session_keep(struct rg_client *client, struct span bytes);

/* --- lead.c --- */

/* Wait until it is done; lock held. The caller reads the socket itself when nobody else has a use for the I/O thread. */
void lead_wait(struct rg_client *client, struct waiter *waiter, uint64_t corr);

/* --- reconnect.c --- */

/* Do what is due: connect, give up an attempt. */
void reconnect_step(struct rg_client *client, uint64_t now_us);
/* The socket can be written or has an error: is it connected? */
void reconnect_writable(struct rg_client *client);
/* HelloOk has come. */
void reconnect_up(struct rg_client *client);
/* The connection is lost, or none came about. */
void reconnect_lost(struct rg_client *client, int reason, const char *detail);
/* End everything, for rg_close. */
void reconnect_stop(struct rg_client *client);

/* --- call.c --- */

/* A request with its body in `call->body`; is_open until it has its answer. Lock held. */
void call_start(struct rg_client *client, struct call *call, uint64_t deadline_us);
/* Forget it; no answer is reported. */
void call_cancel(struct rg_client *client, struct call *call);
void call_finish(struct rg_client *client, struct call *call, int result, uint32_t field,
                 struct slice body);
/* Start, wait, and take the answer: 0 with ret_body (owned by the call), or the error, noted for rg_last_error. */
int call_ask(struct rg_client *client, struct call *call, uint32_t ok_field);
int call_ask_locked(struct rg_client *client, struct call *call, uint32_t ok_field);
void call_release(struct call *call);
void calls_up(struct rg_client *client);
void calls_lost(struct rg_client *client);
void calls_stop(struct rg_client *client);
void calls_check(struct rg_client *client, uint64_t now_us);

/* --- admin.c --- */

struct Railgun__Start;
/* The protocol's form of a start point. */
void start_fill(struct Railgun__Start *out, struct rg_start start);

/* --- errors.c --- */

/* Certainly not done, and the same may succeed later. */
bool error_is_for_now(int code);

/* The parts of an Error message that we use. */
struct error_answer {
    int code; /* negative */
    struct span detail;
    uint64_t next_offset;
    uint64_t first_offset;
    bool has_range;
    uint64_t range_first;
    uint64_t range_last;
    uint32_t retry_after_ms;
    struct span last_id;
    uint64_t offset; /* of the original of a duplicate */
    uint64_t ts_us;
    uint32_t record;
};
int error_read(struct span body, struct error_answer *ret_answer);
/* Note the text for rg_last_error of this thread; returns `code`. */
__attribute__((format(printf, 2, 3))) int error_note(int code, const char *format, ...);
/* The same with the server's detail, or the code's own text; the differences too. */
int error_note_body(int code, struct span body);
/* Names that are given (not NULL): 0, or the noted error. */
int error_check_names(const char *stream, const char *group);
/* A text of this thread's that lives until its next call. */
const char *error_keep_text(const char *text);

#endif
