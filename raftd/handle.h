/* handle: the requests of the bus, one file each. Each request is answered exactly once: at once where nothing changes, else by its
 * handle_*_reply when its command is applied. */
#ifndef RAFTD_HANDLE_H
#define RAFTD_HANDLE_H

#include <stdint.h>

#include "common/run/bus.h"
#include "raftd/catalog.h"
#include "raftd/ensure.h"

struct raftd;

void handle_ensure(struct raftd *self, const struct bus_message *message);
void handle_ensure_reply(struct raftd *self, uint64_t ticket,
                         const struct ensure_decision *decision);

void handle_delete(struct raftd *self, const struct bus_message *message);
void handle_delete_reply(struct raftd *self, uint64_t ticket,
                         const struct catalog_outcome *outcome);

void handle_undelete(struct raftd *self, const struct bus_message *message);
void handle_undelete_reply(struct raftd *self, uint64_t ticket,
                           const struct catalog_outcome *outcome);

void handle_lock(struct raftd *self, const struct bus_message *message);
void handle_lock_reply(struct raftd *self, uint64_t ticket, const struct catalog_outcome *outcome);

void handle_register(struct raftd *self, const struct bus_message *message);
void handle_register_reply(struct raftd *self, uint64_t ticket, int error);

void handle_watch(struct raftd *self, struct bus_link *link, const struct bus_message *message);

#endif
