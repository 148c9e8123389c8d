/* fake: a server for one client at a time, in a thread of the test. By default it does what a healthy server does; a test takes over single
 * frames, sends what it likes, and hangs up when it likes. */
#ifndef TESTS_UNIT_CLIENT_FAKE_H
#define TESTS_UNIT_CLIENT_FAKE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/railgun.h"
#include "common/base/buf.h"
#include "common/base/span.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/frame.h"

enum { FAKE_FIELDS = 64, FAKE_RECORDS_MAX = 1 << 20 };

#define BODY(name) RAILGUN__FRAME__BODY_##name

struct fake;
/* On the server's thread, lock held. true: dealt with; false: do what a healthy server does. */
typedef bool fake_handler_fn(struct fake *fake, const struct frame_view *view);

struct fake {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* after each frame and each connection */
    pthread_t thread;
    int listen_fd;
    int fd; /* the connection; -1: none */
    int wake_fds[2];
    bool stop;
    bool refuse; /* do not accept */
    char address[32];
    fake_handler_fn *handlers[FAKE_FIELDS];
    void *ud;

    /* what HelloOk says */
    uint64_t publish_window;
    uint32_t heartbeat_ms;
    uint64_t record_max;

    /* what was seen; kept over connections */
    unsigned connections;
    unsigned frames[FAKE_FIELDS];
    uint64_t next_offset;  /* of the only stream */
    uint32_t page_records; /* at most so many in an answer to Read; 0: 10 */
    uint64_t records;      /* published */
    struct buf stored;     /* RecordBatch of them, if `keep` */
    bool keep;
    uint64_t pages_from;   /* the last Read's offset */
    uint32_t channel;      /* of the last Consume */
    uint64_t credit;       /* granted on it, less what was delivered */
    struct buf ack_log;    /* "1-5 n7-7 s9-9 ", of all connections */
    uint64_t last_corr;    /* of the last frame seen of a field that wants an answer */
    struct buf es_log;     /* of ephemeral messages: fake_es.h */
    uint64_t es_messages;  /* published */
    struct buf stream_log; /* names of the streams published to, with counts: "a:3 " */
};

struct fake *fake_new(void);
void fake_destroy(struct fake **fake);
void fake_lock(struct fake *fake);
void fake_unlock(struct fake *fake);
void fake_handle(struct fake *fake, uint32_t field, fake_handler_fn *handler);

/* What was seen so far. Lock not held. */
unsigned fake_frames(struct fake *fake, uint32_t field);
unsigned fake_connections(struct fake *fake);
uint64_t fake_records(struct fake *fake);
uint64_t fake_credit(struct fake *fake);
uint64_t fake_last_corr(struct fake *fake);

/* The following with the lock held. */
void fake_send(struct fake *fake, uint32_t channel, uint64_t corr, uint32_t field,
               struct span body);
void fake_send_message(struct fake *fake, uint32_t channel, uint64_t corr, uint32_t field,
                       const ProtobufCMessage *message);
void fake_send_raw(struct fake *fake, struct span bytes);
void fake_send_error(struct fake *fake, uint32_t channel, uint64_t corr, int code,
                     const char *detail);
void fake_send_publish_ok(struct fake *fake, uint64_t corr, uint64_t base, uint32_t count);
/* A delivery of so many records "m<offset>" on the last consumer's channel. */
void fake_deliver(struct fake *fake, uint64_t base, uint32_t count);
void fake_hang_up(struct fake *fake);
uint32_t fake_count(struct span publish_body);

/* Wait until it is so, at most some seconds; fails the test otherwise. Lock not held. */
typedef bool fake_fact_fn(const struct fake *fake);
void fake_await(struct fake *fake, fake_fact_fn *fact);
/* It answers; asked again while that takes longer than the client's request_timeout_ms. */
void fake_ping(struct rg_client *client);
/* Wait until so many frames of that kind were seen. */
void fake_await_frames(struct fake *fake, uint32_t field, unsigned count);
void fake_await_connections(struct fake *fake, unsigned count);
/* The log of acknowledgements so far, until it is exactly this. */
void fake_await_acks(struct fake *fake, const char *log);

/* A client of it, with short times; NULL options are fine. Fails the test when it does not connect. */
struct rg_client *fake_client(struct fake *fake, struct rg_options *options);

#endif
