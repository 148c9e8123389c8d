/* ask: what goes through the outbox and is answered: requests, publishing with a receipt, replies that wait. */
#ifndef CLIENT_ASK_H
#define CLIENT_ASK_H

#include "client/client_private.h"

struct parcel;

enum ask_kind { ASK_REQUEST, ASK_RECEIPT, ASK_REPLY };

struct ask {
    struct pending pending;
    struct list of_asks; /* asks.open or spare */
    struct heap_node of_deadlines;
    enum ask_kind kind;
    uint64_t deadline_us;
    struct parcel *parcel; /* until all of it was given to the system */
    bool is_sent;          /* it was */
    struct waiter *waiter; /* who waits; NULL: `done` is called */
    rg_reply_fn *done;
    void *ud;
    /* for who waits: the outcome, and the answer's body (Result, EsPublishOk, ReplyOk, Error) */
    int result;
    uint32_t ret_field;
    struct slice ret_body;
};

enum { ASKS_OPEN_MAX = 65536 };

void asks_init(struct rg_client *client);
void asks_release(struct rg_client *client);

/* --- lock held --- */

/* For a caller that does not wait. ask_give: when it was not started. */
struct ask *ask_take(struct rg_client *client);
void ask_give(struct rg_client *client, struct ask *ask);
/* Send it: the frame has the fields `head` and then `message`, one `messages` field or empty. */
void ask_start(struct rg_client *client, struct ask *ask, uint32_t field, struct span head,
               struct span message, uint64_t deadline_us);
/* All its bytes were given to the system. */
void ask_sent(struct ask *ask);
/* End one that was not sent yet. false: it was, or is over. */
bool ask_withdraw(struct rg_client *client, uint64_t corr, int result);
/* Is it open? */
bool ask_is_open(const struct rg_client *client, uint64_t corr);
/* Start a waiting caller's ask and wait. The outcome is in it, noted. */
int ask_and_wait(struct rg_client *client, struct ask *ask, uint32_t field, struct span head,
                 struct span message, uint64_t deadline_us);

/* An answer has come. 0, or the error for which the connection is to be given up. */
int ask_answered(struct rg_client *client, struct pending *pending, uint32_t field,
                 struct span body);
/* The connection is lost: what was sent has no outcome. */
void asks_lost(struct rg_client *client);
void asks_stop(struct rg_client *client);
void asks_check(struct rg_client *client, uint64_t now_us);
/* Does one that was sent wait for its answer? */
bool asks_are_sent(const struct rg_client *client);

#endif
