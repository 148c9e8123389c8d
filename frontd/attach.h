/* attach: from Consume to deliveries: what the group's configuration differs in, asking logd, ConsumeOk. */
#ifndef FRONTD_ATTACH_H
#define FRONTD_ATTACH_H

#include "common/base/buf.h"
#include "common/base/span.h"

#include "frontd/channel.h"

/* Append a Diff message as field `number` for each field of `wanted` (a GroupSpec, may be empty) that is present and not as in `stored`. Returns how many;
 * both were checked before. */
unsigned attach_differs(struct buf *out, uint32_t number, struct span wanted, struct span stored);

/* The channel ends before it was open: Error to who waits for ConsumeOk, or Cancel where deliveries had begun. It is removed; logd is told nothing. */
void attach_refuse(struct channel *channel, int error, const char *detail);

#endif
