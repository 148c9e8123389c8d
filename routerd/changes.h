/* changes: what has changed in the tables, gathered for a turn and told to all frontds as one RouteChanges with the next number. While the router is not
 * ready it goes on gathering: the change that says so tells all. */
#ifndef ROUTERD_CHANGES_H
#define ROUTERD_CHANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/list.h"

struct router;
struct exchange;
struct filter;

struct changes {
    uint64_t seq;   /* of the last that was sent */
    uint32_t batch; /* of what is being gathered; filters remember it */
    struct list exchanges;
    uint64_t bytes;
    bool is_wanted; /* also with nothing in it */
};

void changes_init(struct changes *self);
/* The routes of the topics of this filter have changed. Then look whether they are many. */
void changes_put(struct router *router, struct filter *filter);
/* Tell what was gathered, and who wants it that we are ready. */
void changes_tell(struct router *router);
/* Is there something to tell? */
bool changes_are_due(const struct changes *self);
/* So much that it should be told before the end of the turn? */
bool changes_are_many(const struct changes *self);

#endif
