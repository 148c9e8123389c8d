/* memory_group: what is different for a consumer of an ephemeral group, which lives in logd's memory only: no catalogue knows it, logd may have to make
 * its name, and it does not outlive the session to logd: its consumers are told where to go on. */
#ifndef FRONTD_MEMORY_GROUP_H
#define FRONTD_MEMORY_GROUP_H

#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/span.h"
#include "common/wire/client.pb-c.h"

#include "frontd/channel.h"

/* Does this Consume ask for one, if no durable group has its name? */
bool memory_group_is_wanted(const Railgun__Consume *consume);

/* Append what LogAttach says of the group. */
void memory_group_attach(struct buf *out, const struct channel *channel,
                         const Railgun__Consume *consume);
/* Append ConsumeOk from what logd answered; false: strict, and the group that is there differs: `out` is an Error then. */
bool memory_group_opened(struct buf *out, struct channel *channel, struct span meta);

/* LogFloor of logd. */
void memory_group_floor(struct channel *channel, struct span meta);
/* The session to logd ended, and the group with it: Cancel with EPHEMERAL_LOST. The channel is removed. */
void memory_group_lost(struct channel *channel);

#endif
