/* raftd: what the parts of the daemon may ask of it as a whole. Owned by main; every pointer below lives as long as the daemon. */
#ifndef RAFTD_RAFTD_H
#define RAFTD_RAFTD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"
#include "common/run/bus.h"
#include "common/wire/catalog.pb-c.h"
#include "raftd/catalog.h"
#include "raftd/watch.h"

struct raftd;

struct bus *raftd_bus(struct raftd *self);
const struct catalog *raftd_catalog(const struct raftd *self);
struct watch *raftd_watch(struct raftd *self);

/* Is a command about this key (a stream's, an exchange's or an endpoint's) proposed and not applied yet? Then what is asked about it now is
 * decided after it: by proposing, too. */
bool raftd_is_pending(const struct raftd *self, struct span key);

/* Propose the command (its time is set here). When it is applied, the request `ticket` is answered by handle_*_reply; when it cannot be proposed, it
 * is answered with the error here. */
void raftd_propose(struct raftd *self, Railgun__CatalogCommand *command, uint64_t ticket,
                   struct span key);
/* A command of our own: nobody is answered, and when it cannot be proposed now, it is not. */
void raftd_propose_own(struct raftd *self, Railgun__CatalogCommand *command);

/* Real time, as the commands have it. */
uint64_t raftd_now_us(const struct raftd *self);

#endif
