/* events: what operators want to hear of at once (Event of client.proto), told to whoever watches. Nothing is kept: without a watcher an event
 * costs a comparison. A watcher that is too slow misses some and is told how many (LOST). @thread loop */
#ifndef LOGD_EVENTS_H
#define LOGD_EVENTS_H

#include <stdint.h>

#include "common/base/span.h"
#include "common/run/bus.h"
#include "common/wire/client.pb-c.h"

struct events;
struct logd;
struct stream;

struct events *events_new(struct logd *logd);
void events_destroy(struct events **self);

/* Zeroed fields are absent. Spans are borrowed for the call. */
struct event {
    Railgun__Event__Type type;
    struct span group; /* its name */
    uint64_t first;    /* 0: no range */
    uint64_t last;
    uint64_t count;
    uint64_t epoch;
    struct span consumer;
    struct span detail;
};
void events_note(struct events *self, const struct stream *stream, const struct event *event);

/* Send what was noted in this turn. */
void events_flush(struct events *self);

/* BUS_LOG_WATCH, BUS_LOG_UNWATCH; a link's credit and its end. */
void events_handle_watch(struct events *self, struct bus_link *link, struct bus_message *message);
void events_handle_unwatch(struct events *self, struct bus_link *link,
                           const struct bus_message *message);
void events_link_ready(struct events *self, struct bus_link *link);
void events_link_down(struct events *self, struct bus_link *link);

#endif
