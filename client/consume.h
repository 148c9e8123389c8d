/* consume: members of groups. A consumer's channel lives as long as a connection; the consumer re-attaches on the next.
 *
 *     DOWN ──► ATTACHING ──► UP ──► CLOSED
 *      ▲           │          │
 *      └───────────┴──────────┘                                                                               */
#ifndef CLIENT_CONSUME_H
#define CLIENT_CONSUME_H

#include <stdatomic.h>

#include "common/base/ranges.h"

#include "client/client_private.h"
#include "client/walk.h"

enum consumer_state { CONSUMER_DOWN, CONSUMER_ATTACHING, CONSUMER_UP, CONSUMER_CLOSED };

/* A Deliver frame that nobody has taken yet. */
struct delivery {
    struct list of_queue;
    struct slice body;
    struct hot_delivery head; /* points into body */
    uint64_t limit;           /* from this offset on it was taken back; UINT64_MAX: nothing */
};

/* Something to tell on_event. */
struct event_item {
    struct list of_queue;
    struct rg_event event;
    char *detail;
};

struct nack_item {
    uint64_t first;
    uint64_t last;
    uint64_t delay_ms;
    bool has_delay;
    bool count;
    bool reject;
    char *reason; /* owned; NULL: none */
};

/* The thread that tells the server that a consumer is still at work: extend.c. */
struct extender {
    pthread_t thread;
    pthread_cond_t changed; /* ack_wait_ms, or is_stopping */
    bool is_running;
    bool is_stopping;
};

/* Acknowledgements on their way. All under its own lock, which is taken after the client's, never before. */
struct ack_book {
    pthread_mutex_t lock;
    bool is_scheduled;
    bool has_tail;
    struct range tail;    /* the last range given, still growing */
    struct ranges *acked; /* given by the caller, not sent */
    /* taken by the caller on this connection, neither acknowledged nor given back */
    struct ranges *delivered;
    struct ranges *settled; /* sent on this connection; old ones are forgotten */
    uint64_t
        resume; /* of an ephemeral group: everything before is acknowledged, as far as we know; 0: not noted */
    struct nack_item *nacks;
    size_t nack_count;
    size_t nack_capacity;
};

struct rg_consumer {
    struct rg_client *client;
    struct list of_client;
    struct list of_busy;
    struct list of_acks;
    char *stream;
    char *group;
    char *name;
    struct rg_consume_options options;

    enum consumer_state state;
    int code; /* why CLOSED, or why the last attempt to attach failed */
    char detail[CLIENT_DETAIL_SIZE];
    bool was_up;
    bool is_leaving; /* rg_consumer_close has begun */
    uint32_t channel;
    struct call attach;
    uint64_t retry_at_us; /* DOWN: not before */
    uint32_t backoff_ms;
    atomic_uint generation; /* of the attachment: what belongs to an earlier one is void */

    uint64_t granted_messages; /* the server may send so many more */
    struct list deliveries;
    struct list events;
    /* a delivery has come, the state has changed, a callback has returned */
    pthread_cond_t changed;
    bool in_callback;

    /* Of the thread that pulls, or of the I/O thread when pushing. */
    struct walk walk;
    unsigned walk_generation;
    uint64_t taken_messages; /* credit to give back */
    uint64_t taken_bytes;

    uint64_t ack_wait_ms; /* of the group; 0: none */
    struct extender extender;

    struct ack_book acks;
    uint64_t acks_due_us;

    /* of exclusive groups */
    bool is_exclusive;
    atomic_bool is_strict;
    bool is_active;
    uint64_t epoch;
    atomic_bool is_rewinding;    /* strict: a nack is not answered yet: nothing is shown */
    _Atomic uint64_t walk_limit; /* what is walked is void from here on */

    struct call drain;
    atomic_bool is_draining;
    uint64_t group_drain_ms;
};

/* --- for the I/O thread; lock held --- */

int consumer_deliver(struct rg_client *client, uint32_t channel, struct span body);
int consumer_group_event(struct rg_client *client, uint32_t channel, struct span body);
void consumer_cancelled(struct rg_client *client, uint32_t channel, int code, struct span detail);
void consumers_up(struct rg_client *client);
void consumers_lost(struct rg_client *client);
void consumers_stop(struct rg_client *client);
/* Try again to attach those whose time has come. */
void consumers_check(struct rg_client *client, uint64_t now_us);
uint64_t consumers_next_us(const struct rg_client *client);
bool consumers_are_busy(const struct rg_client *client);
/* Events, and one delivery of each consumer that pushes. The lock is released meanwhile. */
void consumers_call_back(struct rg_client *client);

void consumer_busy(struct rg_consumer *self);
void consumer_closed(struct rg_consumer *self, int code, struct span detail);
void delivery_free(struct delivery *delivery);

/* --- consume_role.c; lock held --- */

/* ConsumeOk has come. */
void consumer_note_ok(struct rg_consumer *self, struct span ok);
bool consumer_is_ephemeral(const struct rg_consumer *self);
/* What was delivered before now, from this offset on, is not ours any more. */
void consumer_void_from(struct rg_consumer *self, uint64_t first);
/* Events of roles and of what was taken back. true: *ret_event is to be told. */
bool consumer_role_event(struct rg_consumer *self, int type, uint64_t first, uint64_t epoch,
                         struct rg_event *ret_event);
/* The ephemeral group is gone: everything up to last_offset was acknowledged. */
void consumer_lost_group(struct rg_client *client, uint32_t channel, uint64_t last_offset);

/* --- consume_drain.c --- */

/* All that waits is given back. Lock held. */
void consumer_give_back_queue(struct rg_consumer *self);
/* What is left of the open delivery. @thread the one that pulls or pushes; without the lock. */
void consumer_give_back_walk(struct rg_consumer *self);
/* --- extend.c --- */

/* The group's ack_wait is this. Lock held. */
void extender_set(struct rg_consumer *self, uint64_t ack_wait_ms);
/* Without the lock; nobody uses the consumer any more. */
void extender_stop(struct rg_consumer *self);

/* --- consume_pull.c --- */

/* Take the next record of the walk, or of the next delivery. 1, 0: nothing is there, or ERR_PROTOCOL. @thread the one that pulls or pushes; without the lock. */
int consumer_take(struct rg_consumer *self, struct rg_record *ret_record);

/* --- consumer_ack.c --- */

void acks_init(struct ack_book *self);
void acks_release(struct ack_book *self);
/* These were taken by the caller. */
void acks_taken(struct ack_book *self, uint64_t first, uint64_t last);
/* The connection is lost: forget everything. */
void acks_reset(struct ack_book *self);
/* What was delivered from here on was taken back: forget it, and what was to be said about it. */
void acks_void_from(struct ack_book *self, uint64_t first);
/* Note for an ephemeral group, and ask: everything before is acknowledged. Never falls. */
void acks_resume_at(struct ack_book *self, uint64_t offset);
uint64_t acks_resume(struct ack_book *self);
/* Queue Ack frames for everything given. Client's lock held. */
void acks_send(struct rg_consumer *consumer);
/* The same for all consumers that are due by then. */
void consumers_send_acks(struct rg_client *client, uint64_t now_us);
int consumer_ack(struct rg_consumer *self, uint64_t first, uint64_t last);
int consumer_nack(struct rg_consumer *self, const struct nack_item *nack);

#endif
