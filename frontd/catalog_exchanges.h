/* catalog_exchanges: the part of the catalogue that names the exchanges of ephemeral messages which were ensured, by namespace and name. Fed by
 * catalog.c; knows nothing of revisions. */
#ifndef FRONTD_CATALOG_EXCHANGES_H
#define FRONTD_CATALOG_EXCHANGES_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/span.h"

struct catalog_exchange; /* catalog.h */
struct catalog_exchanges;

struct catalog_exchanges *catalog_exchanges_new(void);
void catalog_exchanges_destroy(struct catalog_exchanges **self); /* accepts NULL */

/* Take in or forget what a CatalogExchange message names. 0 or ERR_PROTOCOL. `generation` tells which snapshot named it last. */
int catalog_exchanges_put(struct catalog_exchanges *self, struct span message, uint64_t generation);
int catalog_exchanges_drop(struct catalog_exchanges *self, struct span message);
/* Forget all of another generation. */
void catalog_exchanges_sweep(struct catalog_exchanges *self, uint64_t generation);

size_t catalog_exchanges_count(const struct catalog_exchanges *self);
/* As catalog_find_exchange, catalog_next_exchange. */
const struct catalog_exchange *catalog_exchanges_find(const struct catalog_exchanges *self,
                                                      struct span namespace_, struct span name);
const struct catalog_exchange *catalog_exchanges_next(struct catalog_exchanges *self,
                                                      struct span namespace_, struct span after,
                                                      struct span prefix);

#endif
