/* front_lib: a real frontd in a process of its own, between clients and fakes of raftd and logd that live in the test. Whoever
 * waits here runs the fakes' loop meanwhile. */
#ifndef TESTS_UNIT_FRONTD_FRONT_LIB_H
#define TESTS_UNIT_FRONTD_FRONT_LIB_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/buf.h"
#include "common/run/bus.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/log.pb-c.h"

struct front;

/* --- fakes --- */

struct fake {
    struct front *front;
    const char *name;
    struct bus *bus;       /* NULL: not running */
    struct bus_link *link; /* to frontd */
    unsigned ups;
};

/* What logd got, the last one of each kind; requests that nobody answered yet are kept open. */
struct logd_seen {
    unsigned publishes;
    uint64_t publish_group;
    struct buf publish_meta;
    struct buf publish_body;
    size_t publish_sizes[256]; /* of the bodies, in order */
    uint64_t tickets[64];      /* of publishes that are held */
    unsigned ticket_count;
    unsigned attaches;
    uint64_t consumer;
    uint64_t attach_messages;
    uint64_t attach_bytes;
    uint64_t attach_group_id;
    bool attach_ephemeral;
    uint32_t attach_priority;
    char attach_group[64];
    uint64_t consumers[16]; /* of the first attaches, in order */
    unsigned detaches;
    bool detach_drain;
    uint64_t detach_drain_ms;
    uint64_t detach_ticket; /* of a drain, which stays open */
    bool detach_count_failed;
    unsigned acks;
    unsigned acks_oneway;
    uint64_t credit_messages; /* of BUS_LOG_CREDIT, sums */
    uint64_t credit_bytes;
    unsigned reads;
    uint64_t read_max_bytes;
};

struct front {
    pid_t pid; /* 0: it has ended */
    const char *run_dir;
    uint16_t port;
    struct loop *loop;
    struct fake raftd;
    struct fake logd;
    /* raftd's catalogue */
    struct buf streams; /* CatalogChanges fields */
    uint64_t revision;
    uint64_t next_log_group;
    uint64_t next_group_id;
    bool late_changes;   /* Ensure is answered before the change is told */
    char namespace_[64]; /* of the last Ensure or Delete */
    /* logd */
    struct logd_seen seen;
    uint64_t window_bytes; /* of the next logd's bus; 0: as usual */
    uint32_t window_messages;
    bool hold_credit;    /* logd gives no credit back for what it gets */
    bool hold_publishes; /* leave them open */
    int publish_error;   /* answer with it */
    uint64_t next_offset;
    uint32_t read_records; /* in the answer to Read */
};

/* Start frontd with these settings ("key=value", NULL at the end; may be NULL), and wait until it listens. "descriptors=N" is none of its settings but how many
 * the process may have. */
void front_open(struct front *front, const char *const *sets);
/* The same with both fakes, and with a stream "orders" (log group 1024) and its group "billing" (1). */
void front_open_node(struct front *front, const char *const *sets);
/* Stop it; it must end well. */
void front_close(struct front *front);
/* Wait for the end of frontd; returns the exit code, 128 + signal when killed. */
int front_wait_exit(struct front *front);
/* Resident, and all that is mapped. */
uint64_t front_rss_bytes(const struct front *front);
uint64_t front_mapped_bytes(const struct front *front);

void fake_start(struct front *front, struct fake *fake, const char *name);
void fake_stop(struct fake *fake);
/* Send an event to frontd; waits for credit. */
void fake_event(struct fake *fake, uint16_t type, uint64_t subject, struct span meta,
                struct span body);
/* Add to the catalogue, and tell frontd if it watches. */
void front_add_stream(struct front *front, const char *name);
void front_add_group(struct front *front, uint64_t log_group, const char *name);
void front_add_exchange(struct front *front, const char *namespace_, const char *name);
/* Answer the publishes that were held. */
void front_release_publishes(struct front *front);

/* Answer the Detach that drains. */
void front_end_drain(struct front *front);

/* Turn the loop once. */
void front_turn(struct front *front);
#define FRONT_UNTIL(front, fact)                                                                   \
    while (!(fact)) {                                                                              \
        front_turn(front);                                                                         \
    }

/* --- clients --- */

struct client {
    struct front *front;
    int fd;
    struct buf in;
    bool ended;
    bool mute; /* answers no Ping */
};

/* Connect, without Hello. */
void client_connect(struct client *client, struct front *front);
/* Connect and shake hands. */
void client_open(struct client *client, struct front *front);
void client_close(struct client *client);
void client_send_bytes(struct client *client, struct span bytes);
/* A frame; `body` may be NULL for an empty one. */
void client_send(struct client *client, uint32_t channel, uint64_t corr, uint32_t field,
                 const void *body);
/* Take in what is there. */
void client_poll(struct client *client);
/* The next frame that is no Ping; NULL: the end. Give it back with SCAN_FREE. */
Railgun__Frame *client_recv(struct client *client);
/* The next frame must be of this kind; its body is borrowed until the next call. */
Railgun__Frame *client_expect(struct client *client, uint32_t field, uint64_t corr);
void client_expect_error(struct client *client, uint64_t corr, unsigned code);
void client_expect_end(struct client *client);

/* Publish `count` records of `size` bytes. */
void client_publish(struct client *client, const char *stream, uint64_t corr, unsigned count,
                    size_t size);
void client_consume(struct client *client, uint32_t channel, uint64_t corr, const char *group,
                    uint64_t messages, uint64_t bytes);
/* A batch of `count` records of `size` bytes. */
void batch_fill(struct buf *batch, unsigned count, size_t size);

#endif
