/* node_lib: what the tests of logd share: a whole logd in this process with a frontd and a raftd played by the test, all on one loop
 * and talking over the real bus. */
#ifndef TESTS_UNIT_LOGD_NODE_LIB_H
#define TESTS_UNIT_LOGD_NODE_LIB_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/run/bus.h"
#include "logd/core.h"
#include "logd/stream_body.h"

enum { NODE_STREAM = 1024 }; /* the log group that node_start makes */

struct node {
    const char *folder;
    struct loop *loop;
    struct metrics *metrics;
    struct bus *bus; /* logd's */
    struct bus *front;
    struct bus *raft;
    struct bus_link *front_link; /* frontd's session with logd */
    struct bus_link *raft_link;  /* raftd's session with logd */
    struct logd_options options;
    struct logd *logd;
    /* what raftd says */
    struct uuid cluster;
    uint64_t revision;
    struct buf changes; /* the snapshot it sends to a new watch */
    unsigned watches;
    uint64_t watch_after; /* asked for last */
    bool mute;            /* it does not answer watches */
    /* what the process was told */
    bool ready, drained, failed;
    char reason[128];
};

/* Before node_start: defaults small enough for tests, folder fresh. */
void node_init(struct node *node);
/* Open logd over the folder; with a catalogue that holds NODE_STREAM unless `changes` says otherwise; until it is ready. */
void node_start(struct node *node);
/* The same without waiting for anything. Returns what logd_open said. */
int node_open(struct node *node);
/* As after SIGTERM. */
void node_stop(struct node *node);
/* What node_init took. */
void node_release(struct node *node);
void node_end(struct node *node); /* both */
/* Forget the folder's content of Berkeley DB. */
void node_remove_db(const struct node *node);

/* Run the loop until it is true; fails the test after some seconds. */
typedef bool node_until_fn(void *ud);
void node_run_until(struct node *node, node_until_fn *is_true, void *ud);

/* --- catalogue --- */
void catalog_stream_append(struct buf *changes, uint64_t log_group, uint64_t version,
                           struct span spec);
struct uuid catalog_stream_id(uint64_t log_group);
/* Send CatalogChanges as an event now. */
void node_send_changes(struct node *node, const struct buf *changes);
/* A snapshot of these streams as it goes over the wire. */
void snapshot_begin(struct buf *changes, uint64_t revision, bool more);

/* --- frontd --- */
struct answer {
    bool done;
    enum bus_outcome outcome;
    int status;
    struct buf meta;
    struct slice body;
};
void answer_clear(struct answer *answer);
/* Send; the answer comes while the loop runs. */
void node_send(struct node *node, uint16_t type, uint64_t subject, struct span meta,
               const struct slice *body, struct answer *answer);
/* Send and wait. */
void node_ask(struct node *node, uint16_t type, uint64_t subject, struct span meta,
              const struct slice *body, struct answer *answer);
void node_wait(struct node *node, struct answer *answer);

/* A batch of `count` records "prefix-<first>", "prefix-<first + 1>", ... each padded to `size` bytes. */
struct slice batch_make(const char *prefix, uint64_t first, uint32_t count, size_t size);
/* Publish such a batch and wait: its base offset; fails the test on an error. */
uint64_t node_publish(struct node *node, uint64_t log_group, uint64_t first, uint32_t count,
                      size_t size);
/* Fails the test unless records [from, to) of the stream are "r-<offset - shift>" as stored by node_publish. Reads as a client does. */
void node_check_records(struct node *node, uint64_t log_group, uint64_t from, uint64_t to,
                        uint64_t shift);

/* A field of a meta; 0 or empty when absent. */
uint64_t meta_number(struct span meta, uint32_t field);
struct span meta_bytes(struct span meta, uint32_t field);

struct stream *node_stream(struct node *node, uint64_t log_group);

#endif
