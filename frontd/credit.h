/* credit: the account of one consumer. The client grants messages and bytes; logd is told of them, of the bytes only so many as the
 * connection's output queue may have to hold; what is held back is told as the queue drains. All numbers count from Consume on, so they
 * outlive a restart of logd.
 *
 *     delivered <= told (by logd's rule a single large record may go over) <= granted                                     */
#ifndef FRONTD_CREDIT_H
#define FRONTD_CREDIT_H

#include <stdbool.h>
#include <stdint.h>

struct credit {
    uint64_t granted_messages;
    uint64_t granted_bytes;
    uint64_t told_messages;
    uint64_t told_bytes;
    uint64_t delivered_messages;
    uint64_t delivered_bytes;
};

/* The client grants more (saturating). */
void credit_grant(struct credit *self, uint64_t messages, uint64_t bytes);
/* logd delivered. */
void credit_delivered(struct credit *self, uint64_t messages, uint64_t bytes);
/* logd has forgotten what it was told (a new session). */
void credit_forget_told(struct credit *self);

/* What to tell logd now, when at most `share` bytes may be on their way: it counts as told. Returns true when there is something. Steps smaller
 * than a quarter of the share wait, unless they are all there is. */
bool credit_tell(struct credit *self, uint64_t share, uint64_t *ret_messages, uint64_t *ret_bytes);
/* Are there granted bytes that logd does not know of? */
bool credit_is_held_back(const struct credit *self);

/* The bytes one of `channels` consumers of a connection may have on their way, out of the connection's allowance, when there are
 * `channels_total` on all connections, which share the whole allowance. */
uint64_t credit_share(uint64_t outbound_max, uint64_t channels, uint64_t outbound_total_max,
                      uint64_t channels_total);

#endif
