/* watch: who follows the catalogue, and what each has heard. Every watcher hears every revision once, in order, whatever the bus' credit:
 * from a ring of the last changes while it keeps up, by a new snapshot when it lags behind that. @thread loop */
#ifndef RAFTD_WATCH_H
#define RAFTD_WATCH_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/span.h"
#include "raftd/catalog.h"

struct bus_link;
struct watch;

enum {
    WATCH_HISTORY_MAX = 1024,          /* revisions kept */
    WATCH_HISTORY_BYTES_MAX = 8 << 20, /* and bytes */
    WATCH_EVENT_BYTES = 256 << 10,     /* about the size of one event */
};

/* Send one CatalogChanges event. 0, or ERR_AGAIN: not now (watch_ready tells when), or another error: the session ends. */
typedef int watch_send_fn(void *ud, struct bus_link *link, struct span changes);

/* Borrows the catalogue, which is at its revision now; what was before is not remembered. */
struct watch *watch_new(const struct catalog *catalog, watch_send_fn *send, void *ud);
void watch_destroy(struct watch **self);

/* Gather one change of the command being applied (from the catalogue's on_change). */
void watch_put(struct watch *self, const struct catalog_change *change);
/* The command is applied: what was gathered since (nothing, perhaps) is the catalogue's revision. */
void watch_seal(struct watch *self);

/* This link follows from now on; it knows everything up to `after_revision` (0: nothing). A link that followed before begins anew. */
void watch_add(struct watch *self, struct bus_link *link, uint64_t after_revision);
void watch_remove(struct watch *self, const struct bus_link *link);
/* There is credit again. */
void watch_ready(struct watch *self, const struct bus_link *link);

/* Send what can be sent; called at the end of a turn. */
void watch_flush(struct watch *self);

size_t watch_count(const struct watch *self);

#endif
