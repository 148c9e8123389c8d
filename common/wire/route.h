/* route: the numbers that frontds and routerds must agree on; router.proto says what they are for. */
#ifndef COMMON_WIRE_ROUTE_H
#define COMMON_WIRE_ROUTE_H

#include <assert.h>

enum {
    ROUTE_PAUSE_MS = 2000, /* who stood still for longer does not trust itself */
    ROUTE_LEASE_MS = 5000, /* who is silent for longer is not waited for */

    /* Of one message, so that a turn is never long. More: the session is ended. */
    ROUTE_SUBSCRIPTIONS_MAX = 65536,
    ROUTE_TOPICS_MAX = 65536,
};
static_assert(2 * ROUTE_PAUSE_MS < ROUTE_LEASE_MS,
              "a peer has stopped trusting itself long before it is given up");

#endif
