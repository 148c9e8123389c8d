/* frontd: the parts of the daemon, put together by main. Each part is opaque; this struct only says where they are. */
#ifndef FRONTD_FRONTD_H
#define FRONTD_FRONTD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/uuid.h"
#include "common/run/daemon.h"

#include "frontd/request.h"
#include "frontd/settings.h"

struct catalog;
struct channels;
struct conn_set;
struct drain;
struct exchanges;
struct inlets;
struct limits;
struct listener;
struct neighbours;
struct responses;
struct routers;
struct routes;
struct subscriptions;
struct switch_state;
struct to_logd;
struct to_raftd;
struct upstream;
struct watchers;

/* Counted as they happen; the cells belong to the daemon's metrics. */
struct frontd_counters {
    uint64_t *accepted;
    uint64_t *refused;
    uint64_t *publishes;
    uint64_t *publish_bytes;
    uint64_t *deliveries;
    uint64_t *delivered_records;
    uint64_t *errors; /* Error frames in answer to requests */
};

struct frontd {
    struct daemon_context *context;
    const struct settings *settings;
    struct loop *loop;
    struct bus *bus;
    const char *name; /* "frontd-0" */
    struct frontd_counters counters;
    struct conn_set *conns;
    struct limits *limits;
    struct listener *listener;
    struct request_pool *requests;
    struct catalog *catalog;
    struct channels *channels;
    struct watchers *watchers;
    struct to_logd *logd;
    struct to_raftd *raftd;
    /* ephemeral messages */
    struct exchanges *exchanges;
    struct routers *routers;
    struct routes *routes;
    struct neighbours *neighbours;
    struct subscriptions *subscriptions;
    struct switch_state *switching;
    struct inlets *inlets;
    struct responses *responses;
    uint64_t last_publisher; /* numbers given to sessions */
    struct buf scratch;      /* for encoding small messages; empty between uses */
    uint64_t started_ms;
    struct uuid cluster; /* nil: not known yet */
    uint64_t node;
    struct wheel_timer catalog_timer; /* the first catalogue has not come in time */
    struct wheel_timer hourly_timer;  /* repeats the warning about insecure_listen */
    bool is_ready;
    bool is_draining;
    bool is_grace_over; /* draining, and clients have had their time: nothing new is taken */
    struct wheel_timer drain_timer;
    uint64_t drain_since_ms;
};

/* What main is made of; tests run it in a process of its own. */
extern const struct daemon_program frontd_program;

/* The outcome of a request is dealt with: give back what it held. */
void frontd_request_end(void *self, struct request *request);
/* Something may now be taken that was refused with ERR_AGAIN. */
void frontd_retry(void *self);
/* The catalogue has changed. */
void frontd_catalog_changed(struct frontd *self);

#endif
