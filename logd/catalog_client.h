/* catalog_client: what raftd's catalogue says about streams, followed by a watch. A new log group makes a stream, a changed
 * one gets another configuration entry, a deleted one is dropped. Absence of metadata never deletes anything. */
#ifndef LOGD_CATALOG_CLIENT_H
#define LOGD_CATALOG_CLIENT_H

#include <stdint.h>

#include "common/base/span.h"
#include "common/run/bus.h"

struct catalog_client;
struct logd;

/* Connect to `peer` ("raftd-0") and keep watching. */
struct catalog_client *catalog_client_new(struct logd *logd, const char *peer);
void catalog_client_destroy(struct catalog_client **self);

/* A session is up or down; others than raftd's are ignored. Accept NULL. */
void catalog_client_on_up(struct catalog_client *self, struct bus_link *link);
void catalog_client_on_down(struct catalog_client *self, struct bus_link *link);
/* BUS_CATALOG_CHANGES. */
void catalog_client_on_changes(struct catalog_client *self, struct bus_link *link,
                               struct span changes);

/* Ask for the deletion of a group that nobody uses; nothing happens without a session. When it is refused, groups_expiry_refused is called. Accepts NULL. */
void catalog_client_expire_group(struct catalog_client *self, struct span stream, struct span group,
                                 uint64_t group_id);

/* The revision that is applied here; 0: none yet. Accepts NULL. */
uint64_t catalog_client_revision(const struct catalog_client *self);
/* Somebody speaks of this revision: a snapshot older than it does not say what is gone. */
void catalog_client_note_revision(struct catalog_client *self, uint64_t revision);

#endif
