/* route_lease: the times that frontds and routerds hold each other to (router.proto, "Leases"). Both sides must use the same ones: who gives up on a peer
 * does so only after the peer has stopped to trust itself. */
#ifndef COMMON_WIRE_ROUTE_LEASE_H
#define COMMON_WIRE_ROUTE_LEASE_H

#include <assert.h>

enum {
    /* Whose loop has not turned for this long, does not trust what it knows. */
    ROUTE_PAUSE_MS = 1000,
    /* Who waits for a peer that is silent or away gives up after this long. */
    ROUTE_LEASE_MS = 2500,
};
static_assert(2 * ROUTE_PAUSE_MS < ROUTE_LEASE_MS,
              "a peer has stopped trusting itself long before it is given up");

#endif
