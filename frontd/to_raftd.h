/* to_raftd: what frontd asks of raftd, and the watch that keeps the catalogue. */
#ifndef FRONTD_TO_RAFTD_H
#define FRONTD_TO_RAFTD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"
#include "common/run/bus.h"

#include "frontd/frontd.h"

struct to_raftd;
struct to_raftd *to_raftd_new(struct frontd *frontd);
void to_raftd_destroy(struct to_raftd **self);

struct upstream *to_raftd_upstream(const struct to_raftd *self);
bool to_raftd_has_room(struct to_raftd *self);

/* Takes the request. */
void to_raftd_ask(struct to_raftd *self, struct request *request, uint16_t type, struct span meta);

/* Takes the request (held): its `resume` is called, never inside this call, when the catalogue has reached `revision`, or when that has taken too long.
 * So that who was told of a change finds it in force here. */
void to_raftd_when(struct to_raftd *self, struct request *request, uint64_t revision);

/* The bus's calls about raftd's link. */
void to_raftd_on_up(struct to_raftd *self);
void to_raftd_on_down(struct to_raftd *self);
void to_raftd_on_credit(struct to_raftd *self);
/* BUS_CATALOG_CHANGES */
void to_raftd_on_changes(struct to_raftd *self, struct span changes);

#endif
