/* route: the answer to "who gets this topic?", as bytes of a Route. Owns nothing but room to gather in. @thread loop */
#ifndef ROUTERD_ROUTE_H
#define ROUTERD_ROUTE_H

#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/span.h"

#include "routerd/exchange.h"
#include "routerd/table.h"

struct route_maker;
struct route_maker *route_maker_new(const struct table *table);
void route_maker_destroy(struct route_maker **self);

/* Append the `routes` field of RouteRoutes for a (valid) topic; `exchange` may be NULL: nobody. More than `entities_max` entities: a code. Returns how many
 * subscriptions were looked at. */
uint64_t route_make(struct route_maker *self, struct exchange *exchange, struct span topic,
                    uint64_t entities_max, struct buf *out);

#endif
