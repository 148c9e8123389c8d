/* arrival: what came for callbacks: deliveries of subscriptions, their events, results of requests; kept in the order in which it came. */
#ifndef CLIENT_ARRIVAL_H
#define CLIENT_ARRIVAL_H

#include "common/wire/es.h"

#include "client/client_private.h"

struct ask;

/* What a message may be is the server's business. */
#define ES_LIMITS_NONE                                                                             \
    {                                                                                              \
        .message_bytes_max = UINT64_MAX, .messages_max = UINT32_MAX, .key_bytes_max = UINT32_MAX,  \
        .headers_max = UINT32_MAX, .header_bytes_max = UINT32_MAX,                                 \
    }

enum arrival_kind { ARRIVAL_MESSAGES, ARRIVAL_EVENT, ARRIVAL_RESULT };

struct arrival {
    struct list of_arrivals; /* subscriptions.arrivals or spare, or a subscription's queue */
    enum arrival_kind kind;
    struct rg_subscription *subscription; /* of MESSAGES and EVENT */
    struct slice body;                    /* MESSAGES: EsDeliver; RESULT: EsMessage */
    size_t count;                         /* MESSAGES that are pulled: how many */
    struct rg_es_event event;
    char *texts; /* that the event points to */
    struct ask *ask;
    int result;
    bool more;
    bool has_message;
};

void arrivals_init(struct rg_client *client);
void arrivals_release(struct rg_client *client);

/* --- lock held --- */

struct arrival *arrival_take(struct rg_client *client, enum arrival_kind kind);
void arrival_give(struct rg_client *client, struct arrival *arrival);
/* Texts are copied. */
void arrival_event(struct rg_subscription *subscription, struct rg_es_event event);
/* A result of a caller that does not wait. Without `more` the ask is taken. `message`: in the inbox. */
void arrival_result(struct rg_client *client, struct ask *ask, int result, bool more,
                    struct span message, bool has_message);
/* Forget what came for it. */
void arrivals_drop(struct rg_client *client, const struct rg_subscription *subscription);
/* Call back for all there is. The lock is released meanwhile. */
void arrivals_call_back(struct rg_client *client);
bool arrivals_are_waiting(const struct rg_client *client);

struct rg_es_delivery delivery_of(const struct es_message *message);

#endif
