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

    struct ack_book acks;
    uint64_t acks_due_us;
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
/* Queue Ack frames for everything given. Client's lock held. */
void acks_send(struct rg_consumer *consumer);
/* The same for all consumers that are due by then. */
void consumers_send_acks(struct rg_client *client, uint64_t now_us);
int consumer_ack(struct rg_consumer *self, uint64_t first, uint64_t last);
int consumer_nack(struct rg_consumer *self, const struct nack_item *nack);

#endif
