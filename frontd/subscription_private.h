/* subscription_private: the inside of a subscription, shared by subscription.c (messages) and subscriptions.c (life, table, groups). For nobody else. */
#ifndef FRONTD_SUBSCRIPTION_PRIVATE_H
#define FRONTD_SUBSCRIPTION_PRIVATE_H

#include "common/base/hash.h"
#include "common/base/wheel.h"

#include "frontd/conn.h"
#include "frontd/session.h"
#include "frontd/subscription.h"
#include "frontd/subscription_queue.h"

enum subscription_state { SUBSCRIPTION_REGISTERING, SUBSCRIPTION_OPEN, SUBSCRIPTION_GONE };

/* What is left of the client's grants. */
struct subscription_credit {
    uint64_t messages;
    uint64_t bytes;
};

/* EsSubscribe is not answered yet. */
struct subscription_pending {
    struct list of_pending; /* in order of since_ms */
    struct subscription *subscription;
    uint64_t corr;
    uint64_t since_ms;
};

/* The members of one group on this frontd. */
struct member_group {
    struct span key; /* the exchange's address and the name; behind this struct */
    struct list members;
    struct exchange *exchange; /* its members hold references */
};

struct member {
    struct list of_group;
    struct member_group *group;
    struct subscription *subscription;
    struct member_load load;
    bool is_idle; /* as switch_load_changed was last told */
};

/* An idle one costs this, its texts and its slot: what few have is apart. */
struct subscription {
    struct registration registration;
    struct list of_session; /* those with a queue come first */
    struct session *session;
    struct subscription_queue *queue;     /* NULL: nothing waits */
    struct subscription_credit *credit;   /* NULL: none is needed */
    struct subscription_pending *pending; /* NULL when OPEN */
    struct member *member;                /* NULL: no group */
    uint32_t number;
    uint32_t messages_max;
    uint32_t bytes_max;
    uint8_t policy; /* enum subscription_policy */
    uint8_t state;
    char texts[]; /* matchers, group */
};

struct subscription_slot {
    struct subscription *subscription; /* NULL: free */
    uint32_t uses;
    uint32_t next_free; /* index + 1 */
};

enum { SUBSCRIPTION_TOMBSTONES = 1024 };

/* A member of a group that is gone: others of the group may take what is still on its way to it. */
struct tombstone {
    uint64_t id; /* 0: none */
    struct member_group *group;
};

struct subscriptions {
    struct frontd *frontd;
    struct subscription_queue_pool *pool;
    struct subscription_slot *slots;
    uint32_t slot_count;
    uint32_t first_free; /* index + 1; 0: none */
    uint64_t id_base;    /* the upper 16 bits of all ids */
    uint32_t generation_base;
    struct list pendings;
    struct wheel_timer pending_timer;
    struct hash *groups;          /* of struct member_group */
    struct tombstone *tombstones; /* a ring; NULL: never had one */
    uint32_t next_tombstone;
    struct subscriptions_counts counts;
};

/* --- subscription.c --- */

/* Send what waits, as far as there is room. */
void subscription_flush_all(struct subscription *self);
/* Drop what waits, and its queue. */
void subscription_drop_queue(struct subscription *self);
/* Tell switch.c when a member has become idle, or is so no more. */
void subscription_check_load(struct subscription *self);

/* --- subscriptions.c --- */

/* It goes; routerds are told. */
void subscription_remove(struct subscription *self);

#endif
