/* names: the response streams that clients named themselves: each name of a namespace belongs to one request of one frontd. As in table.h, what lies
 * before its frontd's floor is dead. @thread loop */
#ifndef ROUTERD_NAMES_H
#define ROUTERD_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"

#include "routerd/table.h"

struct names;
/* Borrows the floors. */
struct names *names_new(const uint32_t floors[TABLE_FRONTDS_MAX], uint64_t names_max);
void names_destroy(struct names **self);

struct name_owner {
    unsigned frontd;
    uint64_t request;
};

/* The same owner may claim again. 0, ERR_RS_IN_USE, ERR_QUOTA, ERR_NO_MEMORY. Namespace and name: at most 255 bytes each. */
int names_claim(struct names *self, struct span namespace_, struct span name,
                const struct name_owner *owner, uint32_t generation);
/* Does harm to nobody else's. */
void names_release(struct names *self, struct span namespace_, struct span name,
                   const struct name_owner *owner);
/* 0 or ERR_NOT_FOUND. */
int names_resolve(const struct names *self, struct span namespace_, struct span name,
                  struct name_owner *ret_owner);
/* Remove one dead name of this frontd; false: there is none. */
bool names_reap(struct names *self, unsigned frontd);
uint64_t names_count(const struct names *self);

#endif
