/* deliver: what logd sends for consumers, on to their clients. */
#ifndef FRONTD_DELIVER_H
#define FRONTD_DELIVER_H

#include "common/run/bus.h"

#include "frontd/frontd.h"

/* An event from logd. One for a consumer that is no more is ignored: logd was told. */
void deliver_message(struct frontd *frontd, const struct bus_message *message);

#endif
