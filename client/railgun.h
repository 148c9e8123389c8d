/* railgun.h - the client library of Railgun.   cc prog.c $(pkg-config --cflags --libs railgun)
 *
 * One rg_client is one connection with its own I/O thread: it connects, reconnects with back-off, batches what you publish, and carries any
 * number of consumers. Every function may be called from any thread unless it says otherwise; callbacks run on the I/O thread, one at a
 * time, and may call everything but the blocking functions (those return RG_ERR_USAGE there). While a callback runs nothing else of this
 * client happens: keep it short.
 *
 * A first program:
 *     struct rg_client *client = NULL;
 *     if (rg_connect("127.0.0.1:7470", NULL, &client) != RG_OK) ...
 *     rg_stream_ensure(client, "orders", NULL, NULL);
 *     uint64_t offset;
 *     rg_publish(client, "orders", "hello", 5, &offset);      // returns when it is on stable storage
 *     rg_close(&client);
 *
 * Results: 0 (RG_OK) or a negative rg_err. The numbers are those of the protocol: `adminctl explain 412`; rg_error_name and
 * rg_error_text give words. After a failure rg_last_error(client) has the detail of this thread's last failed call.
 *
 * Outcomes of publishing: RG_OK = stored, durable, at the offset given. RG_ERR_TIMEOUT = unknown: the connection or the server was lost
 * before the answer; it may or may not be stored. Everything else = certainly not stored. What was not yet wholly given to the system when the
 * connection was lost is sent on the next one, in order, until its deadline. What was given is reported as unknown at once and never
 * repeated by the library, because that could store it twice (with message IDs and rg_options.repeat_with_ids it is). The caller can find out: by repeating with the same message id in a stream
 * with deduplication, or, after a publish with an expected offset, by repeating it: RG_ERR_WRONG_OFFSET then names the next offset.
 * Reading, describing and ensuring are repeated by the library until their deadline.
 *
 * Deadlines: each request ends within request_timeout_ms (and at most a second), whatever the server does: RG_ERR_TIMEOUT if it was sent,
 * RG_ERR_CLOSED if no server could be reached, RG_ERR_OVERLOADED if the server let nothing more be published. (rg_request has a time of its own.)
 *
 * Memory: what you pass in is copied before the call returns. What callbacks are given is valid until they return. */
#ifndef RAILGUN_H
#define RAILGUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RG_VERSION "0.1.0"

/* The codes a program meets most; any code of the protocol may be returned, negated. */
enum rg_err {
    RG_OK = 0,
    RG_DUPLICATE = -200, /* of one record: it was stored before */
    RG_ERR_PROTOCOL = -100,
    RG_ERR_HEARTBEAT_LOST = -106,
    RG_ERR_GOING_AWAY = -107,
    RG_ERR_BAD_REQUEST = -400,
    RG_ERR_DENIED = -403,
    RG_ERR_NOT_FOUND = -404,
    RG_ERR_NOT_DELIVERED = -405,
    RG_ERR_EPHEMERAL_LOST = -406,
    RG_ERR_TIMEOUT = -408, /* outcome unknown */
    RG_ERR_DUPLICATE_ID = -409,
    RG_ERR_WRONG_OFFSET = -412,
    RG_ERR_TOO_LARGE = -413,
    RG_ERR_OUT_OF_RANGE = -416,
    RG_ERR_DUPLICATE_MISMATCH = -417, /* the ID is known with another payload */
    RG_ERR_BAD_CONFIG = -422,
    RG_ERR_BREAKER_OPEN = -423, /* in RG_EVENT_PAUSED only, as the next */
    RG_ERR_PAUSED = -424,
    RG_ERR_ENSURE_FIRST = -428,
    RG_ERR_DELAY_FULL = -420,
    RG_ERR_DEDUP_FULL = -430,
    RG_ERR_STALE_DELIVERY = -440,
    RG_ERR_FENCED = -441,           /* another consumer owns the group by now */
    RG_ERR_VERSION_CONFLICT = -442, /* this version has another specification */
    RG_ERR_IMMUTABLE = -443,
    RG_ERR_DIFFERS = -444,
    RG_ERR_STREAM_CHANGED = -446, /* the name belongs to another stream */
    RG_ERR_STREAM_DELETED = -447, /* it can be undeleted for a while */
    RG_ERR_INTERNAL = -500,
    RG_ERR_UNSUPPORTED = -501,
    RG_ERR_NO_QUORUM = -511,
    RG_ERR_OVERLOADED = -512,
    RG_ERR_STORAGE_FULL = -513,
    RG_ERR_CORRUPT = -514,
    RG_ERR_RS_IN_USE = -445,
    RG_ERR_RS_CLOSED = -448,
    RG_ERR_QUOTA = -449,
    RG_ERR_RS_CANCELLED = -499,
    RG_ERR_RESPONDER_LOST = -502,
    RG_ERR_NO_RESPONDERS = -503,
    RG_ERR_RS_TIMEOUT = -504,
    RG_ERR_IO = -600,
    /* rg_publish_async: window full; rg_consumer_next: nothing within the time */
    RG_ERR_AGAIN = -601,
    /* the client or consumer is closed, or no server could be reached in time */
    RG_ERR_CLOSED = -602,
    RG_ERR_NO_MEMORY = -603,
    RG_ERR_USAGE = -607, /* a NULL or senseless argument, or blocking inside a callback */
};

const char *rg_error_name(int code); /* "WRONG_OFFSET"; never NULL */
const char *rg_error_text(int code); /* its meaning; never NULL */
/* May the same call succeed later without a change? (RG_ERR_TIMEOUT: only when it is safe to repeat) */
bool rg_error_is_retryable(int code);

/* --- connection ---------------------------------------------------------------------------------------- */

struct rg_client;

/* Zeroed: all defaults. */
struct rg_options {
    const char *name;            /* of your program, shown by the server */
    uint32_t connect_timeout_ms; /* of rg_connect: 5,000 */
    uint32_t request_timeout_ms; /* of each request, reconnects included: 10,000 */
    uint32_t reconnect_min_ms;   /* 20 */
    uint32_t reconnect_max_ms;   /* 2,000; doubled from min, with jitter */
    /* 10,000; the server may ask for another. Silent for three of them: lost */
    uint32_t heartbeat_ms;
    /* Publishing in the background: */
    uint32_t batch_records; /* a batch is sent when it has so many records: 512 */
    uint32_t batch_bytes;   /* or so many bytes: 128 KiB */
    /* Before that it is sent as soon as few others are on their way, or none of its stream: batches grow with the load by themselves. With
     * linger_us, not before that time has passed since its first record. */
    uint32_t linger_us;      /* 0 */
    uint64_t window_bytes;   /* published and not yet answered: 8 MiB */
    uint32_t window_records; /* the same in records: 65,536 */
    /* Ephemeral messages, requests and replies not yet given to the system: 4 MiB. One call may go beyond it, by what it brings. */
    uint64_t send_buffer_bytes;
    /* Every stream that this client publishes messages with IDs to has deduplication (dedup.mode): a batch in which each message has an ID is repeated by
     * the library when its outcome is unknown, until its deadline; the result is that of the first. Batches repeated together with later ones may change places. */
    bool repeat_with_ids;
    const char *namespace_; /* "default". Not a name (as of a stream): RG_ERR_USAGE */
    /* Called on the I/O thread when the connection is lost (up = false, with the reason) or made again. May be NULL. */
    void (*on_state)(void *ud, bool up, int reason);
    void *ud;
};

/* Connect to the first of "host:port[,host:port...]" that answers (names, IPv4, [IPv6]; default port 7470). Blocks at most
 * connect_timeout_ms; each is tried once. Names are looked up anew for each attempt; a name server that does not answer holds up everything of
 * this client meanwhile: give numbers where that matters. RG_ERR_CLOSED: none answered; other errors: what the last one refused it for. *ret_client is
 * written on RG_OK only; rg_last_error(NULL) has the detail. */
int rg_connect(const char *addresses, const struct rg_options *options,
               struct rg_client **ret_client);

/* Send what is waiting (at most request_timeout_ms), then close; every completion that is still open is called before this returns. It is not waited
 * for replies: requests that are open end with RG_ERR_TIMEOUT (sent) or RG_ERR_CLOSED (not sent).
 * Nulls the pointer; accepts NULL. Not inside a callback (it does nothing there), and not while another thread is in a function of
 * this client. Consumers and readers that are still there return RG_ERR_CLOSED from now on; they are closed on their own. */
void rg_close(struct rg_client **client);

/* Why this thread's last call that failed did so, for people; never NULL, valid until this thread's next failure. The client may be NULL. */
const char *rg_last_error(struct rg_client *client);
/* "127.0.0.1:7470" while connected, "" otherwise. Valid until this thread's next call of it. */
const char *rg_server_address(struct rg_client *client);
/* One round trip; how long it took. */
int rg_ping(struct rg_client *client, uint64_t *ret_us);

/* --- publishing ---------------------------------------------------------------------------------------- */

struct rg_bytes {
    const void *data;
    size_t size;
};

struct rg_header {
    struct rg_bytes name;
    struct rg_bytes value;
};

struct rg_message {
    struct rg_bytes payload;
    struct rg_bytes id;  /* optional: at most 128 bytes */
    struct rg_bytes key; /* optional */
    const struct rg_header *headers;
    size_t header_count;
};

/* Publish one payload and wait until it is durable. `ret_offset` may be NULL. */
int rg_publish(struct rg_client *client, const char *stream, const void *payload, size_t size,
               uint64_t *ret_offset);

/* What the server must find, or nothing is stored (RG_ERR_WRONG_OFFSET). Zeroed: no expectation. */
struct rg_expect {
    enum {
        RG_EXPECT_NOTHING,
        RG_EXPECT_NEXT_OFFSET,
        RG_EXPECT_NO_RECORDS,
        RG_EXPECT_STREAM_EXISTS,
        RG_EXPECT_LAST_ID
    } what;
    uint64_t next_offset;
    struct rg_bytes last_id; /* of the newest record */
    /* In any case: a stream that was given a fence takes only publishes that bring the same, one without only those that bring none: RG_ERR_FENCED. */
    struct rg_bytes fence;
    /* 16 bytes (rg_stream_describe), or NULL. Only into this stream, not into another one that got its name: RG_ERR_STREAM_CHANGED */
    const uint8_t *stream_id;
};

struct rg_published {
    uint64_t
        base_offset; /* of the first record (of a duplicate: where it lies); those that were stored now follow each other without a gap */
    uint32_t count;  /* stored now; the others were stored before: their IDs are known */
    uint64_t ts_us;  /* the server's time of storing */
    uint64_t next_offset; /* with RG_ERR_WRONG_OFFSET: what it is now */
    /* with RG_ERR_WRONG_OFFSET: the ID of the newest record, if it has one */
    uint8_t last_id[128];
    size_t last_id_size;
    /* with RG_ERR_DUPLICATE_ID and RG_ERR_DUPLICATE_MISMATCH: where the original lies, and which message of the batch it was */
    uint64_t original_offset;
    uint64_t original_ts_us;
    uint32_t record;
    uint32_t retry_after_ms; /* with RG_ERR_DEDUP_FULL; 0: not known */
};

/* Publish messages as one atomic batch and wait: all are stored, contiguous, or none. At most 65,536 and 4 MiB. `expect` may be NULL.
 * In a stream with deduplication a message whose ID is known is not stored again; that is no error, and looked at before `expect`: repeating what was stored
 * gives RG_OK and the same offsets. *ret_published (may be NULL) is written on RG_OK, and with those errors that it has fields for. */
int rg_publish_batch(struct rg_client *client, const char *stream,
                     const struct rg_message *messages, size_t count,
                     const struct rg_expect *expect, struct rg_published *ret_published);

/* What became of one message. */
struct rg_record_result {
    int code;        /* RG_OK; RG_DUPLICATE: stored before; else why it is not stored */
    uint64_t offset; /* of a duplicate, refused or not: of the original. 0: none */
    uint64_t ts_us;
};

/* As rg_publish_batch, but each message stands for itself: one that cannot be stored does not hold up the others. RG_OK: `ret_results` has what became of each
 * of the `count` messages; if one was refused, rg_last_error says why the first of them was. Other results: nothing was stored, or that is unknown. */
int rg_publish_each(struct rg_client *client, const char *stream, const struct rg_message *messages,
                    size_t count, const struct rg_expect *expect,
                    struct rg_record_result *ret_results, struct rg_published *ret_published);

/* Called once for each rg_publish_async, in order of publishing for each stream: its result (RG_OK or an error) and offset. */
typedef void rg_published_fn(void *ud, int result, uint64_t offset);

/* Publish in the background; the library makes batches of what several calls give it. Blocks while the window is full (inside a callback: returns
 * RG_ERR_AGAIN). `done` may be NULL: then rg_flush reports failures. It is called if and only if this returns RG_OK. Each record stands for
 * itself: the server may refuse one of a batch and store the others. */
int rg_publish_async(struct rg_client *client, const char *stream, const struct rg_message *message,
                     rg_published_fn *done, void *ud);

/* Called once for each batch given to rg_publish_batch_async. */
typedef void rg_batch_published_fn(void *ud, int result, const struct rg_published *published);

/* The same for a whole atomic batch of plain payloads or messages. Blocks while the window is full. */
int rg_publish_batch_async(struct rg_client *client, const char *stream,
                           const struct rg_message *messages, size_t count,
                           rg_batch_published_fn *done, void *ud);

/* Wait until everything published so far has its result and its completion has returned. RG_OK: all were stored; else the first failure since
 * the last rg_flush (also of those with a completion of their own). RG_ERR_TIMEOUT: not all have one yet, or the outcome of some is unknown. */
int rg_flush(struct rg_client *client, uint32_t timeout_ms);

/* --- reading -------------------------------------------------------------------------------------------- */

/* A message as it is read or delivered; valid only where it is given. */
struct rg_record {
    uint64_t offset;
    uint64_t ts_us;
    struct rg_bytes payload;
    struct rg_bytes id;
    struct rg_bytes key;
    uint32_t attempt; /* deliveries to the group so far, from 1 (0 when reading) */
    uint32_t failed;
    uint64_t epoch; /* of exclusive groups: pass it to what must not listen to a former owner */
    struct rg_bytes raw; /* the encoded Record: for rg_record_header */
};

/* Walk the headers: start with *cursor = 0. True while there is one. */
bool rg_record_header(const struct rg_record *record, size_t *cursor, struct rg_header *ret_header);

enum rg_start_at {
    RG_START_DEFAULT,
    RG_START_FIRST,
    RG_START_LATEST,
    RG_START_LAST_N,
    RG_START_OFFSET,
    RG_START_TIME
};
struct rg_start {
    enum rg_start_at at;
    uint64_t value; /* n, offset, or microseconds since 1970 */
};

struct rg_reader;

/* Read a stream in order, without a group. Returns when the place to start is found (RG_START_LATEST: what is published from now on).
 * RG_START_DEFAULT: the first. RG_ERR_NOT_FOUND, RG_ERR_OUT_OF_RANGE. Close it with rg_reader_close. */
int rg_reader_open(struct rg_client *client, const char *stream, struct rg_start start,
                   struct rg_reader **ret_reader);
/* The next record, waiting at most timeout_ms for one. RG_OK: *ret_record is valid until the next call on this reader. RG_ERR_AGAIN: nothing came.
 * RG_ERR_CORRUPT: stored data is damaged: rg_last_error names the exact range; the next call goes on behind it. After any other error the next
 * call tries the same place again. One thread at a time. */
int rg_reader_next(struct rg_reader *reader, uint32_t timeout_ms, struct rg_record *ret_record);
/* The offset the next record will have, and the end of the stream as last heard. */
uint64_t rg_reader_offset(const struct rg_reader *reader);
uint64_t rg_reader_end(const struct rg_reader *reader);
void rg_reader_close(struct rg_reader **reader);

/* --- consuming in groups -------------------------------------------------------------------------------- */

struct rg_consumer;

enum rg_event_type {
    RG_EVENT_UP,      /* attached (again); after a reconnect unacknowledged messages come again */
    RG_EVENT_DOWN,    /* the connection is lost; the library reconnects */
    RG_EVENT_GAP,     /* offsets first..last will not come: retention removed them */
    RG_EVENT_CORRUPT, /* offsets first..last are damaged and skipped */
    RG_EVENT_FULL,    /* delivery stopped: too many unacknowledged holes */
    RG_EVENT_CLOSED,  /* the server ended it: see code (0: it was drained) */
    RG_EVENT_ACTIVE,  /* exclusive groups: from now on this consumer gets everything, in `epoch` */
    RG_EVENT_STANDBY, /* exclusive groups: another is active; what was delivered is void */
    RG_EVENT_LOST, /* the ephemeral group was lost; the library makes it again and goes on at `first`: some messages may come again */
    RG_EVENT_DEADLINE, /* ack_wait is over for first..last: they were taken back and count as failed */
    RG_EVENT_PAUSED, /* the group is paused (also: was, when it attached): nothing is delivered, acknowledgements go on; code: RG_ERR_PAUSED by an operator, RG_ERR_BREAKER_OPEN by its dead-letter breaker */
    RG_EVENT_RESUMED,
    RG_EVENT_SEEK, /* the group's position was set: what was delivered is not yours any more */
};
struct rg_event {
    enum rg_event_type type;
    int code;
    uint64_t first;
    uint64_t last;
    uint64_t epoch;
    const char *detail;
};

/* What a new group is made as; a group that exists stays as it is. */
enum rg_group_mode {
    RG_MODE_DEFAULT,   /* shared */
    RG_MODE_SHARED,    /* every member gets a part */
    RG_MODE_EXCLUSIVE, /* one is active, the others stand by. Strict order: an acknowledgement covers all before it, and a nack brings back all
                        * behind it, in order; no more than the prefetch is delivered ahead of what is acknowledged */
    RG_MODE_EXCLUSIVE_RELAXED /* one is active, but messages stand for themselves, as in a shared group */
};

/* When an offset to start at lies before the first record */
enum rg_on_gap { RG_GAP_ERROR, RG_GAP_FIRST, RG_GAP_LATEST };

struct rg_consume_options {
    const char *consumer;       /* name, for people */
    struct rg_start start;      /* where a new group begins */
    enum rg_on_gap on_gap;      /* RG_GAP_ERROR: RG_ERR_OUT_OF_RANGE */
    uint32_t prefetch_messages; /* granted ahead: 4,096 */
    uint64_t prefetch_bytes;    /* 4 MiB */
    enum rg_group_mode mode;
    bool strict; /* given a mode: a group that exists must be of it, else RG_ERR_DIFFERS */
    uint32_t
        priority; /* exclusive groups: who waits with the highest becomes active next, then who waited longest */
    /* The group lives in the server's memory, until 5 s after its last member; it is made again by the library when the server was lost. Always so
     * without a name. If there is a durable group of that name, it is that. */
    bool ephemeral;
    /* a message is acknowledged when on_message has returned 0, nacked when not; only with on_message */
    bool auto_ack;
    /* Given: messages are pushed on the I/O thread. Returns 0, or non-zero for a nack under auto_ack. NULL: pull with rg_consumer_next. */
    int (*on_message)(void *ud, struct rg_consumer *consumer, const struct rg_record *record);
    /* may be NULL */
    void (*on_event)(void *ud, struct rg_consumer *consumer, const struct rg_event *event);
    void *ud;
};

/* Join a group of a stream (the group is made if it does not exist; NULL or "": an ephemeral one with a name of the server's). Returns when attached. Callbacks may come before it returns; they are given
 * the consumer. After a lost connection it attaches again by itself: what was delivered before is void (it comes again, here or elsewhere),
 * and acknowledgements for it are dropped. */
int rg_consume(struct rg_client *client, const char *stream, const char *group,
               const struct rg_consume_options *options, struct rg_consumer **ret_consumer);

/* Pull the next message, waiting at most timeout_ms. RG_ERR_AGAIN: none; RG_ERR_CLOSED: the server ended it. Valid until the next call on
 * this consumer. One thread at a time. */
int rg_consumer_next(struct rg_consumer *consumer, uint32_t timeout_ms,
                     struct rg_record *ret_record);

/* Acknowledge offsets first..last. Batched in the background, at most a millisecond: neighbouring acknowledgements become one range. rg_ack_sync
 * sends all and returns when they are durable. RG_ERR_NOT_DELIVERED: they did not come on this connection (that one was lost, and they come again), or
 * were given back. RG_ERR_STALE_DELIVERY: they were taken back meanwhile (deadline, release). RG_ERR_FENCED: another member of the exclusive group is
 * active. RG_ERR_TIMEOUT: unknown; repeating it does no harm. */
int rg_ack(struct rg_consumer *consumer, uint64_t first, uint64_t last);
int rg_ack_sync(struct rg_consumer *consumer, uint64_t first, uint64_t last);

/* Not processed: deliver again. delay_ms 0: at once, to another member if one can take it; RG_BACKOFF: after the group's back-off, by number of failures;
 * at most 7 days. count = false: do not count it as a failure (with RG_BACKOFF: at once). In the background, as rg_ack. */
#define RG_BACKOFF UINT64_MAX
int rg_nack(struct rg_consumer *consumer, uint64_t first, uint64_t last, uint64_t delay_ms,
            bool count);
struct rg_nack {
    uint64_t delay_ms;  /* as above */
    bool uncounted;     /* not a failure */
    bool reject;        /* straight to the dead letters */
    const char *reason; /* for people; may be NULL */
};
/* The same with more to say; and rg_nack_sync returns when it is durable. RG_ERR_DELAY_FULL: the group holds max_delayed messages; those that did not
 * fit are still yours. RG_ERR_BAD_CONFIG: `reject`, and the group has no dead letters: they are still yours; rg_nack_with makes it an ordinary nack, after
 * the group's back-off. Other errors as rg_ack_sync. */
int rg_nack_with(struct rg_consumer *consumer, uint64_t first, uint64_t last,
                 const struct rg_nack *nack);
int rg_nack_sync(struct rg_consumer *consumer, uint64_t first, uint64_t last,
                 const struct rg_nack *nack);

/* Still at work: the deadline (the group's ack_wait) of first..last begins anew. The library does it by itself for everything that was delivered and is
 * not answered, also while on_message runs; so this is for looking whether something is still yours (errors as rg_ack_sync;
 * RG_ERR_STALE_DELIVERY also for what you gave back). */
int rg_extend(struct rg_consumer *consumer, uint64_t first, uint64_t last);

/* The group's name, also if the server made it. Valid as long as the consumer. */
const char *rg_consumer_group(const struct rg_consumer *consumer);

/* Begin to leave in order, and return at once: nothing more is delivered, what was not taken yet goes back uncounted. What was taken may still be
 * acknowledged, for timeout_ms (0: the group's drain_timeout_ms, usually 30 s); when all is, or the time is over, rg_consumer_next returns RG_ERR_CLOSED and
 * RG_EVENT_CLOSED comes. Go on calling rg_consumer_next until then. @thread any */
int rg_consumer_drain(struct rg_consumer *consumer, uint32_t timeout_ms);

/* Leave: acknowledgements are sent, the rest goes to other members at once. Nulls; accepts NULL. Not inside a callback (it does nothing there). */
void rg_consumer_close(struct rg_consumer **consumer);

/* --- ephemeral streams ----------------------------------------------------------------------------------- */

/* Messages with topics, to whoever subscribes at that moment: at most once, in order from one publisher to one subscriber, dropped when nobody
 * wants them. A topic is up to 16 words of [A-Za-z0-9_-] split by dots; in a matcher `*` stands for one word and `#` for any number of words. An exchange
 * is a world of topics of its own: NULL or "" is the namespace's own, others are made with rg_exchange_ensure. */
struct rg_es_message {
    const char *topic; /* NULL or "": the empty topic */
    struct rg_bytes payload;
    struct rg_bytes key; /* optional, at most 128 bytes: for groups that are sticky by key */
    const struct rg_header *headers;
    size_t header_count;
};

/* Publish in the background and return. After a pause the message is given to the system before this returns; those that follow are gathered and
 * go out together, when they are 64 KiB or after a tenth of a millisecond. Blocks while the send buffer (send_buffer_bytes) is full, at most
 * request_timeout_ms (inside a callback: not at all). When the connection is lost, what was not yet given to the system goes out on the next one, in
 * order; of what was, each message was received or not, and is never sent twice. What is published and asked by one thread reaches the server
 * in that order. RG_ERR_AGAIN: the buffer is full; RG_ERR_CLOSED: it is full and there is no connection; RG_ERR_BAD_REQUEST: no valid topic;
 * RG_ERR_TOO_LARGE: as encoded more than the server's limit of 1 MiB. */
int rg_es_publish(struct rg_client *client, const char *topic, const void *payload, size_t size);
/* The same for several at once, in order (any topics), to one exchange. All are queued, or none. At most 65,536 and 4 MiB (RG_ERR_TOO_LARGE). Messages
 * in a row that have the same `topic` pointer are checked once. */
int rg_es_publish_batch(struct rg_client *client, const char *exchange,
                        const struct rg_es_message *messages, size_t count);
/* Publish and wait for the receipt: of each message, how many entities (subscriptions and groups) matched. `ret_matched` has room for `count`. On an
 * error nothing was published, but with RG_ERR_TIMEOUT (no answer, or the connection was lost) that is unknown. */
int rg_es_publish_counted(struct rg_client *client, const char *exchange,
                          const struct rg_es_message *messages, size_t count,
                          uint32_t *ret_matched);
/* Wait until all that was published in the background (and asked and replied) is given to the system: RG_OK or RG_ERR_TIMEOUT. */
int rg_es_flush(struct rg_client *client, uint32_t timeout_ms);

struct rg_subscription;

/* A message as it is delivered; valid only where it is given. Texts are not NUL-terminated. */
struct rg_es_delivery {
    struct rg_bytes topic;
    struct rg_bytes payload;
    struct rg_bytes key;
    struct rg_bytes reply_to; /* not empty: a request, answer it with rg_reply */
    struct rg_bytes raw;      /* the encoded EsMessage: for rg_es_header */
};
/* Walk the headers: start with *cursor = 0. True while there is one. */
bool rg_es_header(const struct rg_es_delivery *delivery, size_t *cursor,
                  struct rg_header *ret_header);

/* What happens when the subscriber is too slow and its queue in the server is full. */
enum rg_slow_policy {
    RG_DROP_OLD, /* the oldest goes */
    RG_DROP_NEW,
    RG_CONFLATE,  /* only the newest of each topic waits */
    RG_DISCONNECT /* the server closes the connection (and the library makes a new one) */
};

enum rg_es_event_type {
    RG_ES_UP, /* subscribed again after a lost connection: what was published meanwhile is missed */
    RG_ES_DOWN,    /* the connection is lost; the library reconnects and subscribes again */
    RG_ES_DROPPED, /* `count` messages were dropped because this subscriber was too slow */
    RG_ES_CLOSED   /* the server ended it: see code */
};
struct rg_es_event {
    enum rg_es_event_type type;
    int code;
    uint64_t count;
    const char *first_topic; /* RG_ES_DROPPED: of the first and the last that were dropped */
    const char *last_topic;
    const char *detail;
};

struct rg_subscribe_options { /* zeroed: all defaults */
    const char *exchange;
    const char *const *matchers; /* none: "#" */
    size_t matcher_count;        /* at most 64 */
    const char *group;           /* of its members one gets each message; NULL: none */
    const char *name;            /* for people */
    enum rg_slow_policy policy;
    uint32_t max_messages; /* of the queue in the server: 10,000, which is also the most */
    uint64_t max_bytes;    /* 16 MiB, which is also the most */
    bool sticky_by_key;    /* for groups; all members say the same */
    /* Of the queue in the library, for who pulls: 4,096 messages (and 16 MiB). When it is full no more is read from the connection until half of it was
     * taken: then the server's queue fills, and `policy` decides. But nothing else comes meanwhile either, no answers and no deliveries to others
     * of this client, so a thread must not wait for an answer with its own queue full. Who pulls slowly has a client of its own. */
    uint32_t pull_messages;
    /* With credit only so many messages are delivered, and more when they are asked for (rg_subscription_grant). What is left of it outlives a lost
     * connection. 0: no credit is needed. */
    uint64_t credit_messages;
    /* Given: messages are pushed on the I/O thread. NULL: pull with rg_subscription_next. */
    void (*on_message)(void *ud, struct rg_subscription *subscription,
                       const struct rg_es_delivery *delivery);
    void (*on_event)(void *ud, struct rg_subscription *subscription,
                     const struct rg_es_event *event);
    void *ud;
};

/* Subscribe. When it returns RG_OK, every message that is published from then on, on whichever server of the node, is seen. Callbacks may come before, and
 * are given the subscription. Messages and events are pushed in the order in which they came. After a lost connection it subscribes again by
 * itself; what had come before it can still be pulled. RG_ERR_BAD_REQUEST: no valid matcher or name; RG_ERR_NOT_FOUND: no such exchange; RG_ERR_QUOTA;
 * RG_ERR_TIMEOUT: not confirmed within request_timeout_ms. Close it with rg_subscription_close. `options` may be NULL. */
int rg_subscribe(struct rg_client *client, const struct rg_subscribe_options *options,
                 struct rg_subscription **ret_subscription);
/* Pull the next message, waiting at most timeout_ms (inside a callback: not at all). RG_ERR_AGAIN: none; RG_ERR_CLOSED: the server ended it (rg_last_error says
 * why), and all that came before was pulled. *ret_delivery is valid until the next call on this subscription. One thread at a time. */
int rg_subscription_next(struct rg_subscription *subscription, uint32_t timeout_ms,
                         struct rg_es_delivery *ret_delivery);
/* More credit, for who has set credit_messages (else RG_ERR_USAGE). */
int rg_subscription_grant(struct rg_subscription *subscription, uint64_t messages);
/* Unsubscribe; returns when no callback of it runs or will run. Nulls; accepts NULL. Not inside a callback (it does nothing there). */
void rg_subscription_close(struct rg_subscription **subscription);

/* --- requests and responses -------------------------------------------------------------------------------- */

struct rg_request_options { /* zeroed: all defaults */
    const char *exchange;
    /* 5,000; at most 600,000. The server keeps the time; if it does not answer, the library ends the request a second later */
    uint32_t timeout_ms;
    uint32_t max_replies; /* 1; at most 65,535 */
    const char
        *response; /* a name of one's own for the response stream; NULL: the server makes one */
};

/* Called on the I/O thread for each reply, with result RG_OK, and `more` for all but the last that was asked for. When no further reply will come before that,
 * called once more with the reason, more = false and reply NULL: RG_ERR_RS_TIMEOUT (fewer came in time), RG_ERR_NO_RESPONDERS, RG_ERR_RESPONDER_LOST,
 * RG_ERR_RS_IN_USE, RG_ERR_RS_CANCELLED; RG_ERR_TIMEOUT: the connection was lost or the server silent, what became of it is unknown; RG_ERR_CLOSED: no
 * server could be reached in time, it was certainly not sent. */
typedef void rg_reply_fn(void *ud, int result, bool more, const struct rg_es_delivery *reply);

/* Ask and return; `done` is called as said above, with more = false exactly once, if and only if this returns RG_OK. Perhaps before: *ret_id (may be NULL) is
 * written first. Not yet given to the system when the connection is lost, it goes out on the next one, as long as there is time. Waits for room as
 * rg_es_publish does. RG_ERR_AGAIN also: 65,536 requests are open. */
int rg_request_async(struct rg_client *client, const struct rg_es_message *message,
                     const struct rg_request_options *options, rg_reply_fn *done, void *ud,
                     uint64_t *ret_id);
/* End it: `done` gets RG_ERR_RS_CANCELLED, unless another end was on its way. Does no harm when it is over. */
void rg_request_cancel(struct rg_client *client, uint64_t id);

/* Ask the namespace's own exchange and wait for one reply: RG_OK, or an error as rg_reply_fn is given. timeout_ms: 0 is 5,000. *ret_payload (free it with
 * rg_free) has *ret_size bytes and a NUL behind them; ret_size may be NULL. */
int rg_request(struct rg_client *client, const char *topic, const void *payload, size_t size,
               uint32_t timeout_ms, void **ret_payload, size_t *ret_size);

/* Answer a request, in the background: RG_OK when it is queued, and what a callback replies goes out when it returns. Whether it was in time is not told.
 * Waits for room as rg_es_publish does. `reply_to` is the delivery's; copy it to answer later. */
int rg_reply(struct rg_client *client, struct rg_bytes reply_to, const void *payload, size_t size);
/* The same, and wait: RG_ERR_RS_CLOSED: too late, or enough replies were given. `message` may carry headers; its topic is not used. `reply_to` may also be
 * the name of a response stream. */
int rg_reply_message(struct rg_client *client, struct rg_bytes reply_to,
                     const struct rg_es_message *message);

/* --- watching ----------------------------------------------------------------------------------------------- */

struct rg_watch;

/* The numbers are those of Event.Type in the protocol; there may be more of them one day. */
enum rg_watch_event_type {
    RG_WATCH_GAP = 1,      /* a group passed over first..last: retention or a purge removed them */
    RG_WATCH_DEADLINE = 2, /* ack_wait ran out for first..last */
    RG_WATCH_DUPLICATE_MISMATCH =
        3,                /* a message id came again with another payload; first: the original */
    RG_WATCH_BREAKER = 4, /* a group was paused by its dead-letter breaker */
    RG_WATCH_EPOCH = 5,   /* an exclusive group has another owner */
    RG_WATCH_PAUSED = 6,
    RG_WATCH_RESUMED = 7,
    RG_WATCH_DEAD_LETTER = 8,  /* first..last went to the dead letters; detail: why */
    RG_WATCH_DEDUP_SHRUNK = 9, /* `count` message ids left their window before time */
    RG_WATCH_DEDUP_FULL = 10,
    RG_WATCH_GROUP_FULL = 11, /* a group has too many holes */
    RG_WATCH_TRIMMED = 12,    /* retention or a purge removed first..last */
    RG_WATCH_REATTACHED = 13, /* a consumer was put in again because it got nothing */
    RG_WATCH_LOST = 14, /* `count` events are missing here (0: unknown, the server was restarted) */
    RG_WATCH_CORRUPT = 15,
    RG_WATCH_DLQ_ERROR = 16,     /* the dead-letter stream does not take first..last */
    RG_WATCH_GROUP_DELETED = 17, /* nobody had used it for its inactive_ttl */
};

struct rg_watch_event { /* texts are "" when there is none */
    enum rg_watch_event_type type;
    uint64_t ts_us;
    const char *stream;
    const char *group;
    uint64_t first; /* 0: no offsets belong to it */
    uint64_t last;
    uint64_t count;
    uint64_t epoch;
    const char *consumer;
    const char *detail;
};

/* Follow what happens from now on in a stream (NULL: in all) and one of its groups (NULL: in all of them). News, not data: nothing is kept while nobody
 * watches, and who takes them too slowly misses some and is told so (RG_WATCH_LOST). After a lost connection it watches again by itself.
 * RG_ERR_NOT_FOUND: no such stream. Close it with rg_watch_close. */
int rg_watch_open(struct rg_client *client, const char *stream, const char *group,
                  struct rg_watch **ret_watch);
/* The next event, waiting at most timeout_ms (inside a callback: not at all). RG_ERR_AGAIN: none; RG_ERR_CLOSED: the server ended it. *ret_event is
 * valid until the next call on this watch. One thread at a time. */
int rg_watch_next(struct rg_watch *watch, uint32_t timeout_ms, struct rg_watch_event *ret_event);
/* "GAP"; never NULL. */
const char *rg_watch_event_name(enum rg_watch_event_type type);
/* Nulls; accepts NULL. */
void rg_watch_close(struct rg_watch **watch);

/* --- administration ------------------------------------------------------------------------------------- */

/* In specifications a zeroed field is not asked for: what is there stays, what is new gets the default. RG_ZERO asks for the number 0, "" for the
 * empty text. Limits and defaults: docs/guide.md. */
#define RG_ZERO UINT64_MAX
enum rg_choice { RG_CHOICE_UNSET, RG_NO, RG_YES };

enum rg_ensure_mode {
    RG_ENSURE_UPDATE, /* make it, or change it when the version is higher */
    RG_ENSURE_CHECK,  /* change nothing, tell what would happen */
    RG_ENSURE_WARN, /* as UPDATE, but a difference that cannot be applied is RG_DIFFERS instead of an error */
    RG_ENSURE_CREATE_ONLY, /* never change what is there */
    RG_ENSURE_UPDATE_ONLY  /* never make it: RG_ERR_NOT_FOUND */
};

enum rg_dedup_mode { RG_DEDUP_UNSET, RG_DEDUP_OFF, RG_DEDUP_OPTIONAL, RG_DEDUP_REQUIRED };
enum rg_retention { RG_RETENTION_UNSET, RG_RETENTION_LIMITS, RG_RETENTION_ACKED };

struct rg_stream_spec {
    uint64_t version; /* 0: 1 */
    const char *description;
    uint64_t record_max_bytes;
    enum rg_ensure_mode mode;
    bool allow_data_loss; /* permit what removes records: a lower limit */
    uint64_t max_age_ms;
    uint64_t max_bytes;
    uint64_t max_records;
    enum rg_retention retention;
    enum rg_choice retention_force;
    const char *fence;
    uint64_t delete_grace_ms;
    enum rg_dedup_mode dedup;
    uint64_t dedup_window_ms;
    uint64_t dedup_max_ids;
    enum rg_choice dedup_reject_duplicates;
    enum rg_choice dedup_shrink_when_full;
    enum rg_choice dedup_refresh;
    enum rg_choice dedup_forever;
};

enum rg_ensure_result { RG_CREATED = 1, RG_UNCHANGED, RG_UPDATED, RG_STALE_VERSION, RG_DIFFERS };

/* Make sure a stream exists as specified (NULL: any). RG_OK with *ret_result (may be NULL). A lower version than the stored one is RG_STALE_VERSION and
 * changes nothing; the same with other values is RG_ERR_VERSION_CONFLICT; a higher one applies all of it or nothing: RG_ERR_IMMUTABLE,
 * RG_ERR_DIFFERS (records would be lost and that is not allowed). The differences are in rg_last_error. Fields that an operator has locked
 * stay as they are and are no difference. */
int rg_stream_ensure(struct rg_client *client, const char *stream,
                     const struct rg_stream_spec *spec, enum rg_ensure_result *ret_result);

enum rg_dlq_error { RG_DLQ_UNSET, RG_DLQ_BLOCK, RG_DLQ_PARK };

struct rg_group_spec {
    uint64_t version;
    uint32_t max_in_flight;
    uint32_t max_in_flight_member;
    struct rg_start start;
    const char *description;
    enum rg_ensure_mode mode;
    enum rg_group_mode group_mode;
    uint64_t max_holes;
    uint64_t max_delayed;
    uint64_t ack_wait_ms;
    const uint64_t *backoff_ms; /* of nacks without a delay, by number of failures */
    size_t backoff_count;
    uint64_t backoff_jitter_percent;
    uint64_t drain_timeout_ms;
    uint64_t inactive_ttl_ms;
    const char *dlq_stream; /* "": no dead letters */
    uint64_t dlq_max_failed;
    uint64_t dlq_max_distance;
    uint64_t dlq_max_age_ms;
    enum rg_dlq_error dlq_on_error;
    uint64_t dlq_breaker_ratio_percent;
    uint64_t dlq_breaker_window_ms;
    uint64_t dlq_breaker_min;
};
/* As rg_stream_ensure. */
int rg_group_ensure(struct rg_client *client, const char *stream, const char *group,
                    const struct rg_group_spec *spec, enum rg_ensure_result *ret_result);

/* Nothing is delivered to the group until it is resumed (after its breaker too); acknowledgements go on. Durable when it returns. *ret_changed (may be
 * NULL): it was not so already. A group that nobody has consumed from yet gets its position by a pause (its spec's start) or a seek. */
int rg_group_pause(struct rg_client *client, const char *stream, const char *group,
                   bool *ret_changed);
int rg_group_resume(struct rg_client *client, const char *stream, const char *group,
                    bool *ret_changed);
/* Set the position: everything before `to` counts as acknowledged, everything from there on comes (again), at its first attempt. What members hold is not theirs
 * any more (RG_EVENT_SEEK). An offset before the first record: as on_gap says. *ret_floor (may be NULL): the last offset that counts as acknowledged. */
int rg_group_seek(struct rg_client *client, const char *stream, const char *group,
                  struct rg_start to, enum rg_on_gap on_gap, uint64_t *ret_floor);
/* What is in flight or delayed in first..last (last 0: everything), or in flight with this member (not 0), comes again at once, not counted as failed.
 * *ret_released (may be NULL): how many messages. */
int rg_group_release(struct rg_client *client, const char *stream, const char *group,
                     uint64_t first, uint64_t last, uint64_t member, uint64_t *ret_released);
/* Its position is lost, its members are out (RG_ERR_NOT_FOUND); the records stay. After RG_ERR_TIMEOUT it may have happened. */
int rg_group_delete(struct rg_client *client, const char *stream, const char *group);

/* Where a group stands, also an ephemeral one. RG_OK: give *ret_info back with rg_group_info_free. Texts are never NULL. */
struct rg_group_member {
    uint64_t member; /* its number: for rg_group_release */
    char *consumer, *address;
    uint64_t in_flight, credit_messages, credit_bytes;
    uint64_t delivered, acked; /* since it is a member */
    bool active, draining;     /* active: the one of an exclusive group */
    uint32_t priority;
};
struct rg_group_info {
    uint64_t version;                        /* of its specification */
    uint64_t floor;                          /* all up to here is acknowledged */
    uint64_t acked_above, holes;             /* acknowledged behind it: messages, ranges of them */
    uint64_t in_flight, redelivery, delayed; /* with members; ready to come again; not yet due */
    uint64_t next_due_us;                    /* the first that is delayed; 0: none */
    uint64_t next_offset;                    /* the next new one to be delivered */
    uint64_t lag;                            /* not acknowledged, delivered or not */
    uint64_t dead, dying;                    /* in the dead letters; on their way there */
    uint64_t skipped, gap_records; /* passed over: damaged; removed by retention or a purge */
    uint64_t redelivered_total, reattached, check_errors;
    uint32_t max_in_flight, max_holes;
    bool ephemeral, paused;
    char *pause_reason, *owner;      /* "operator", "breaker"; of exclusive groups */
    uint64_t epoch;                  /* the same; 0: none yet */
    struct rg_group_member *members; /* the first 1,000 */
    size_t member_count;
};
int rg_group_info(struct rg_client *client, const char *stream, const char *group,
                  struct rg_group_info *ret_info);
void rg_group_info_free(struct rg_group_info *info);

/* What was delivered, or given up, and is not acknowledged: ranges of messages that are alike in all this. */
struct rg_pending_range {
    uint64_t first, last;
    const char *state;            /* "IN_FLIGHT", "WAITING", "DELAYED", "SKIPPED", "DYING" */
    uint64_t member, age_ms;      /* in flight: with whom, for how long */
    char *consumer;               /* never NULL */
    uint64_t deadline_ms, due_us; /* until ack_wait is over, UINT64_MAX: never; delayed until */
    uint32_t attempt, failed;
};
struct rg_pending {
    struct rg_pending_range *items;
    size_t count;
    bool more;
};
/* Those behind the offset `after`, in order, at most `limit` (0: 1,000; not more than 4,000). RG_OK: give *ret_pending back with rg_pending_free. */
int rg_group_pending(struct rg_client *client, const char *stream, const char *group,
                     uint64_t after, uint32_t limit, struct rg_pending *ret_pending);
void rg_pending_free(struct rg_pending *pending);
struct rg_group_entry {
    char *stream, *group, *description; /* never NULL */
    uint64_t version, created_us;
};
struct rg_groups {
    struct rg_group_entry *items;
    size_t count;
    bool more;
};
/* The durable groups of a stream (NULL: of all streams) behind `after` ("stream/group"; NULL: from the first), in order, at most `limit` as above. RG_OK: give
 * *ret_groups back with rg_groups_free. */
int rg_group_list(struct rg_client *client, const char *stream, const char *after, uint32_t limit,
                  struct rg_groups *ret_groups);
void rg_groups_free(struct rg_groups *groups);

/* The dead letters of a group (dlq_stream in its spec): messages that were given up, lie in that stream, and were neither replayed nor dropped. */
struct rg_dead_letter {
    uint64_t offset;     /* in the group's stream */
    uint64_t dlq_offset; /* in the dead-letter stream; 0: on its way there */
    char *reason;        /* "MAX_FAILED", "DISTANCE", "MAX_AGE", "REJECTED" */
    uint32_t failed;
    uint32_t attempts; /* deliveries */
    char *last_error;  /* the reason of the last nack; may be empty */
    char *dlq_stream;  /* the dead-letter stream in which it lies; empty: that is gone */
};
struct rg_dead_letters {
    char *dlq_stream; /* where the group's dead letters go now */
    struct rg_dead_letter *items;
    size_t count;
    bool more;
};
/* Those behind the offset `after`, in order, at most `limit` (0: 1,000). RG_OK: give *ret_letters back with rg_dead_letters_free. */
int rg_dead_letters_list(struct rg_client *client, const char *stream, const char *group,
                         uint64_t after, uint32_t limit, struct rg_dead_letters *ret_letters);
void rg_dead_letters_free(struct rg_dead_letters *letters);
/* Deliver first..last (last 0: all of them) to the group again: from the stream, or, when it was trimmed, the copy, whose headers beginning with rg-dlq- tell
 * what befell it. Failures count from 0 again, attempts go on. What is too old or too far behind for the group is delivered all the same. Durable when it
 * returns. *ret_changed (may be NULL): how many messages. */
int rg_dead_letters_replay(struct rg_client *client, const char *stream, const char *group,
                           uint64_t first, uint64_t last, uint64_t *ret_changed);
/* Forget them: they can be replayed no more. The records in the dead-letter stream stay. */
int rg_dead_letters_drop(struct rg_client *client, const char *stream, const char *group,
                         uint64_t first, uint64_t last, uint64_t *ret_changed);

struct rg_stream_info {
    uint64_t first_offset;
    uint64_t next_offset;
    uint64_t bytes;
    uint64_t version;
    uint32_t groups;
    uint8_t stream_id[16]; /* of this stream alone, for ever; its name may be used again */
};
int rg_stream_describe(struct rg_client *client, const char *stream,
                       struct rg_stream_info *ret_info);
/* The name is free at once and the stream answers RG_ERR_STREAM_DELETED; records, groups and their positions stay for the stream's delete_grace_ms
 * (24 h): rg_stream_undelete brings all of it back, unless the name was given to another stream meanwhile (RG_ERR_STREAM_CHANGED). `stream_id`
 * (16 bytes, NULL: any) is needed when several of that name were deleted. With `now` it is gone at once, also when it was deleted before. */
int rg_stream_delete(struct rg_client *client, const char *stream);
int rg_stream_delete_now(struct rg_client *client, const char *stream, const uint8_t *stream_id);
int rg_stream_undelete(struct rg_client *client, const char *stream, const uint8_t *stream_id);

/* Take fields of a specification into an operator's hand: an ensure leaves them as they are, and reports them as locked. Paths as in docs/guide.md: "max_age_ms"; "dedup" is all
 * below it. group NULL: of the stream. Without paths: only ask. *ret_locked (may be NULL; give it back with rg_locked_free): all that are locked
 * now. RG_ERR_BAD_REQUEST: no such path. */
struct rg_locked {
    char **paths;
    size_t count;
};
int rg_lock(struct rg_client *client, const char *stream, const char *group,
            const char *const *paths, size_t count, struct rg_locked *ret_locked);
int rg_unlock(struct rg_client *client, const char *stream, const char *group,
              const char *const *paths, size_t count, struct rg_locked *ret_locked);
void rg_locked_free(struct rg_locked *locked);

/* The message IDs that a stream with deduplication remembers. */
struct rg_dedup_info {
    uint64_t ids;
    uint64_t hot;  /* of them in memory */
    uint64_t cold; /* in the server's database */
    uint64_t memory_bytes;
    uint64_t oldest_us; /* 0: none */
    uint64_t shrunk;    /* left before their time, since the server was started */
    /* rg_dedup_find: */
    bool found;
    uint64_t offset;
    uint64_t ts_us;
    /* rg_dedup_forget: how many were known */
    uint64_t forgotten;
};
int rg_dedup_describe(struct rg_client *client, const char *stream, struct rg_dedup_info *ret_info);
/* One ID: RG_OK, found or not. */
int rg_dedup_find(struct rg_client *client, const char *stream, struct rg_bytes id,
                  struct rg_dedup_info *ret_info);
/* Let an ID be new (without data: all of them). Durable when it returns RG_OK; repeating it does no harm. `ret_info` may be NULL. */
int rg_dedup_forget(struct rg_client *client, const char *stream, struct rg_bytes id,
                    struct rg_dedup_info *ret_info);

/* Remove records from the front of a stream, for good; offsets go on where they were. Zeroed: all of them. Groups pass over what they had not
 * acknowledged (RG_EVENT_GAP). Message IDs stay known in their window unless they are to be forgotten. Durable when it returns 0; after RG_ERR_TIMEOUT it may have
 * happened, and repeating it is safe only with `before`. */
struct rg_purge {
    uint64_t before; /* keep from this offset on */
    uint64_t keep;   /* or: so many of the newest */
    bool forget_ids;
};
struct rg_purged {
    uint64_t purged; /* records */
    uint64_t first_offset;
    uint64_t next_offset;
};
int rg_stream_purge(struct rg_client *client, const char *stream, const struct rg_purge *what,
                    struct rg_purged *ret_purged); /* ret_purged may be NULL */

struct rg_exchange_spec { /* zeroed fields are not asked for */
    uint64_t version;     /* 0: 1 */
    const char *description;
    uint64_t max_subscriptions;
    uint64_t max_topics;
    uint32_t max_fanout;
};
/* Make sure an exchange for ephemeral messages exists, beside the namespace's own. As rg_stream_ensure. */
int rg_exchange_ensure(struct rg_client *client, const char *exchange,
                       const struct rg_exchange_spec *spec, enum rg_ensure_result *ret_result);
/* Its subscriptions are ended with RG_ERR_NOT_FOUND. */
int rg_exchange_delete(struct rg_client *client, const char *exchange);

/* Any request frame of the protocol, for tools: `field` is its number in Frame, `body` the encoded message; the answer's number and encoded
 * message come back (free *ret_body with rg_free). An Error answer is returned as its code, with *ret_field = 23 and its body. Not for Publish, Consume,
 * Cancel, Ack, Credit, EsPublish, EsSubscribe, Request and Reply, which have functions of their own. */
int rg_raw_request(struct rg_client *client, uint32_t field, const void *body, size_t size,
                   uint32_t *ret_field, void **ret_body, size_t *ret_size);
void rg_free(void *memory);

#ifdef __cplusplus
}
#endif

#endif
