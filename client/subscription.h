/* subscription: a subscriber's channel lives as long as a connection; the subscription comes back on the next.
 *
 *     DOWN ──► ATTACHING ──► UP ──► CLOSED
 *      ▲           │          │
 *      └───────────┴──────────┘                                                                               */
#ifndef CLIENT_SUBSCRIPTION_H
#define CLIENT_SUBSCRIPTION_H

#include "client/arrival.h"

enum subscription_state {
    SUBSCRIPTION_DOWN,
    SUBSCRIPTION_ATTACHING,
    SUBSCRIPTION_UP,
    SUBSCRIPTION_CLOSED
};

struct rg_subscription {
    struct rg_client *client;
    struct list of_client;
    struct rg_subscribe_options options; /* without texts */
    struct buf request;                  /* EsSubscribe without credit */

    enum subscription_state state;
    int code; /* why CLOSED, or why the last attempt to attach failed */
    char detail[CLIENT_DETAIL_SIZE];
    bool was_up;
    bool is_leaving; /* rg_subscription_close has begun */
    uint32_t channel;
    struct call attach;
    uint64_t retry_at_us; /* DOWN: not before */
    uint32_t backoff_ms;
    uint64_t credit_left; /* granted and not yet delivered; with options.credit_messages */
    bool in_callback;
    /* a delivery has come, the state has changed, a callback has returned */
    pthread_cond_t changed;

    /* For who pulls. */
    struct list queue; /* struct arrival */
    size_t queued_messages;
    size_t queued_bytes;
    bool is_full;
    struct arrival *taken; /* of the thread that pulls, as the next */
    struct span rest;
};

/* --- for the I/O thread; lock held --- */

/* Is it this channel's? */
struct rg_subscription *subscription_find(const struct rg_client *client, uint32_t channel);
int subscription_deliver(struct rg_client *client, uint32_t channel, struct span body);
int subscription_group_event(struct rg_subscription *self, struct span body);
void subscription_cancelled(struct rg_subscription *self, int code, struct span detail);
void subscriptions_init(struct rg_client *client);
void subscriptions_release(struct rg_client *client);
void subscriptions_up(struct rg_client *client);
void subscriptions_lost(struct rg_client *client);
void subscriptions_stop(struct rg_client *client);
/* Try again to attach those whose time has come. */
void subscriptions_check(struct rg_client *client, uint64_t now_us);
uint64_t subscriptions_next_us(const struct rg_client *client);
/* Somebody pulls too slowly: nothing more is read. */
bool subscriptions_are_full(const struct rg_client *client);

/* --- between the files --- */

/* So many messages of it were delivered. */
void subscription_delivered(struct rg_subscription *self, size_t count);
/* All messages of one delivery, to on_message. 0 or ERR_PROTOCOL. Without the lock; *ret_count in any case. */
int subscription_push(struct rg_subscription *self, struct span messages, size_t *ret_count);
/* Queue it for who pulls: takes the arrival. */
void subscription_queue(struct rg_subscription *self, struct arrival *arrival);
/* Nothing is kept for who pulls. */
void subscription_drop_queue(struct rg_subscription *self);

#endif
