/* route: how much may be in one message between frontds and routerds (router.proto), so that no turn is long. More: the session is ended. */
#ifndef COMMON_WIRE_ROUTE_H
#define COMMON_WIRE_ROUTE_H

enum { ROUTE_SUBSCRIPTIONS_MAX = 65536, ROUTE_TOPICS_MAX = 65536 };

#endif
