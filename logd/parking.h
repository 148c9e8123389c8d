/* parking: requests for a stream that the sender has seen in the catalogue and we have not yet. Bounded in number and time. */
#ifndef LOGD_PARKING_H
#define LOGD_PARKING_H

#include <stdint.h>

#include "common/run/bus.h"

struct logd;
struct parking;

struct parking *parking_new(struct logd *logd);
void parking_destroy(struct parking **self);

/* Keep a request for an unknown stream until the catalogue's `revision` has been seen (0: the sender did not say; it is kept if
 * its stream may be one we have not heard of), then pass it to logd_dispatch again. 0: it is kept, with its credit; or the error to answer with. */
int parking_take(struct parking *self, struct bus_link *link, struct bus_message *message,
                 uint64_t revision);
/* Streams were added, or a revision reached. */
void parking_wake(struct parking *self);
/* All are answered with this error. */
void parking_refuse(struct parking *self, int error);
/* Their sender is gone. */
void parking_link_down(struct parking *self, const struct bus_link *link);

#endif
