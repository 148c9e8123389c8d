/* publish: batches of records on their way to the server. A pack is one Publish frame; a lane is a stream that packs are made for. */
#ifndef CLIENT_PUBLISH_H
#define CLIENT_PUBLISH_H

#include "client/client_private.h"

enum pack_state {
    PACK_OPEN,    /* records are added */
    PACK_QUEUED,  /* sealed */
    PACK_SENDING, /* the I/O thread writes it */
    PACK_SENT,    /* all bytes were given to the system; an answer may come */
    PACK_DONE,    /* has its outcome */
};

enum pack_kind {
    PACK_RECORDS, /* of many rg_publish_async */
    PACK_BATCH,   /* rg_publish_batch_async */
    PACK_WAITED,  /* rg_publish, rg_publish_batch */
};

struct completion {
    rg_published_fn *done; /* may be NULL */
    void *ud;
};

struct pack {
    struct pending pending;
    enum pack_state state;
    enum pack_kind kind;
    struct list of_queue; /* queue, sending, sent, done or spare */
    struct list of_live;
    struct list of_flight; /* lane->flight */
    struct lane *lane;     /* NULL: PACK_WAITED */
    uint64_t serial;
    struct buf head;    /* everything of the frame before the records */
    struct buf records; /* RecordBatch */
    uint32_t count;
    uint32_t with_id; /* of them */
    bool is_unsure;   /* it was sent before, without an answer */
    uint64_t frame_bytes;
    uint64_t deadline_us;
    struct completion *completions;
    uint32_t completions_capacity;
    rg_batch_published_fn *batch_done;
    void *ud;
    struct waiter *waiter;
    /* the outcome */
    int result;
    struct rg_published published;
    struct slice answer; /* PublishOk with exceptions, or Error; else empty */
};

enum lane_state {
    LANE_IDLE,    /* nothing is open, nothing is on its way */
    LANE_BUSY,    /* nothing is open */
    LANE_READY,   /* its open batch goes out in the next turn */
    LANE_HELD,    /* its open batch grows until an earlier one is answered */
    LANE_LINGERS, /* its open batch waits for its time */
};

struct lane {
    struct span name;
    char *name_text;
    struct pack *open;    /* NULL: none */
    struct list flight;   /* sealed packs, in order; completions keep it */
    struct list of_state; /* publishing.idle, ready, held or linger */
    enum lane_state state;
    uint64_t due_us; /* LANE_LINGERS */
};

void publish_init(struct rg_client *client);
void publish_release(struct rg_client *client);

/* --- for the I/O thread; lock held --- */

/* Seal what is to go out in this turn. Returns when to look again: UINT64_MAX if at no time. */
uint64_t publish_turn(struct rg_client *client, uint64_t now_us);
/* Is there a pack that fits the server's window? */
bool publish_may_send(const struct rg_client *client);
/* Move packs to `sending` as far as the server's window allows. */
void publish_take(struct rg_client *client, struct list *sending);
/* All its bytes were written. */
void publish_sent(struct rg_client *client, struct pack *pack);
/* An answer: PublishOk, or Error. 0 or ERR_PROTOCOL. */
int publish_answered(struct rg_client *client, struct pack *pack, uint32_t field, struct span body);
/* The late answer to one whose time was over. */
void publish_ghost_answered(struct rg_client *client, struct pending *pending);
/* The server's window is so large from now on. */
void publish_window(struct rg_client *client, uint64_t bytes);
/* Outcomes of what is past its time. Returns an error if the connection is to be given up: it has taken no byte for that long. */
int publish_check(struct rg_client *client, uint64_t now_us);
/* The connection is lost: what was sent is unknown, the rest is sent again. */
void publish_lost(struct rg_client *client);
/* Everything ends. */
void publish_stop(struct rg_client *client);
/* Call the completions that are due. The lock is released meanwhile. */
void publish_call_back(struct rg_client *client);
/* Nothing is waiting, on its way or to be called back. */
bool publish_is_idle(const struct rg_client *client);
/* Seal everything that is open. */
void publish_seal_all(struct rg_client *client);

/* --- between the files of publishing --- */

enum { HEAD_BYTES_MAX = 512 }; /* of a Publish frame besides its records and names */

/* A larger Publish frame could never be sent. */
uint64_t publish_frame_limit(const struct rg_client *client);
/* It has its outcome. Completions keep the lane's order, so it may have to wait for earlier ones. */
void pack_finish(struct rg_client *client, struct pack *pack, int result);
/* Put it into the list of that state (enum lane_state). */
void lane_move(struct publishing *self, struct lane *lane, enum lane_state state);
/* The lane's open batch, or a new one. */
struct pack *lane_open(struct rg_client *client, struct lane *lane);

struct pack *pack_take(struct rg_client *client, enum pack_kind kind);
/* Build the frame's head and queue it. `head_extra`: encoded fields of Publish besides stream and batch. 0, or RG_ERR_TOO_LARGE (the pack is given back). */
int pack_submit(struct rg_client *client, struct pack *pack, struct span stream,
                struct span head_extra);
void pack_give(struct rg_client *client, struct pack *pack);
/* What became of each of its records, when the server has answered. */
void pack_results(const struct pack *pack, struct rg_record_result *results);
/* Why the first record was refused, if one was: for rg_last_error. */
void pack_note_refusal(const struct pack *pack);
/* Some of its records were not stored as they are: the first error, and the offset of the first record. */
int pack_mixed_result(const struct pack *pack, uint64_t *ret_offset);
/* Append a message; 0, or the error noted. */
int pack_add(struct rg_client *client, struct pack *pack, const struct rg_message *message);
/* The lane of a name: 0, or RG_ERR_BAD_REQUEST, noted. */
int lane_find(struct rg_client *client, struct span name, struct lane **ret_lane);
/* What is open for that stream goes before what comes next. */
void lane_seal(struct rg_client *client, struct lane *lane);
/* Wait for room in the window. 0; RG_ERR_AGAIN (on the I/O thread); RG_ERR_CLOSED. */
int publish_wait_room(struct rg_client *client);

#endif
