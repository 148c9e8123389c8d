/* reply_to: the address that a request carries for its replies: which frontd keeps it, its number there, and a secret, so that only who got the
 * request can answer it. Text that needs no quoting: "$" and 23 letters of base64url (RFC 4648) of: instance u8, request u64, secret
 * u64, little-endian. "$" begins no name, so an address is never taken for the name of a response stream. Lives as long as a
 * request: frontds of two versions must not share a host while one form gives way to another. */
#ifndef FRONTD_REPLY_TO_H
#define FRONTD_REPLY_TO_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"

enum { REPLY_TO_SIZE = 24 };

struct reply_to {
    unsigned frontd; /* instance, below 256 */
    uint64_t request;
    uint64_t secret;
};

void reply_to_write(const struct reply_to *self, uint8_t out[REPLY_TO_SIZE]);

/* An address, well-formed or not, rather than a name? */
bool reply_to_is_address(struct span text);
/* 0, or ERR_BAD_REQUEST: not one that reply_to_write wrote. */
int reply_to_read(struct span text, struct reply_to *ret_address);

#endif
