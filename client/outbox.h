/* outbox: ephemeral messages, requests and replies on their way out, in the order in which they were given. */
#ifndef CLIENT_OUTBOX_H
#define CLIENT_OUTBOX_H

#include "client/client_private.h"

struct ask;

/* A run of whole frames that is written as one; only of the last one in the queue the end may still be open. */
struct parcel {
    struct list of_queue; /* outbox.queue, conn.mail or outbox.spare */
    struct ask *ask;      /* whose only frame this is; NULL: nobody waits for it */
    bool is_void;         /* the ask has ended while it was being written: never to be sent again */
    bool is_taken;        /* in conn.mail */
    uint64_t serial;
    struct buf bytes;
    size_t written; /* given to the system */
};

void outbox_init(struct rg_client *client);
void outbox_release(struct rg_client *client);

/* --- lock held --- */

/* Wait for room, at most the time of a request. 0; ERR_AGAIN, ERR_CLOSED: noted. */
int outbox_wait_room(struct rg_client *client);
/* The end of an EsPublish of that exchange, to which `size` bytes of `messages` fields are to be appended at once. */
struct buf *outbox_publish(struct rg_client *client, struct span exchange, size_t size);
/* They were: goes out at once when nothing did for a moment, else soon, with what follows. */
void outbox_published(struct rg_client *client);
/* A frame to which nobody waits for an answer: `head`: its fields before `messages`, which is one field or empty. */
void outbox_append(struct rg_client *client, uint32_t field, struct span head, struct span message);
/* Takes the parcel (parcel_take, filled); goes out at once. */
void outbox_post(struct rg_client *client, struct parcel *parcel);
struct parcel *parcel_take(struct rg_client *client);
/* Its ask has ended: it is not sent if that can still be helped. */
void outbox_retract(struct rg_client *client, struct parcel *parcel);
/* What is waiting goes out at once. */
void outbox_push_out(struct rg_client *client);
/* Wait until everything given so far has gone. 0 or ERR_TIMEOUT. */
int outbox_flush(struct rg_client *client, uint64_t until_us);

/* --- for conn.c, io.c and reconnect.c; lock held --- */

bool outbox_has_waiting(const struct rg_client *client);
/* Something waits, and need not wait for more. */
bool outbox_is_due(const struct rg_client *client);
/* Nothing waits, nothing is being written. */
bool outbox_is_empty(const struct rg_client *client);
/* Move parcels to `mail`, to be written. */
void outbox_take(struct rg_client *client, struct list *mail);
/* All of its bytes were written: takes it. */
void outbox_written(struct rg_client *client, struct parcel *parcel);
/* When to write at the latest; UINT64_MAX: nothing waits. */
uint64_t outbox_next_us(const struct rg_client *client);
/* The connection is lost: what had begun to be written is gone, the rest waits for the next one. */
void outbox_lost(struct rg_client *client);
/* The end: nothing more goes out. */
void outbox_stop(struct rg_client *client);

#endif
