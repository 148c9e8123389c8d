/* changes: what has changed in the tables, gathered for a turn and told to all frontds as one RouteChanges with the next number. While the router is not
 * ready it goes on gathering: the change that says so tells all. */
#ifndef ROUTERD_CHANGES_H
#define ROUTERD_CHANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/list.h"

struct router;
struct exchange;
struct subscription;

enum { CHANGES_RECENT = 1024 };

/* A matcher that is in the batch: most repeat, as when thousands of clients come at once. */
struct changes_recent {
    const struct exchange *exchange;
    uint32_t batch;
    uint32_t at; /* of the text, in `changed` of the exchange */
    uint32_t size;
};

struct changes {
    uint64_t seq;   /* of the last that was sent */
    uint32_t batch; /* of what is being gathered */
    struct changes_recent recent[CHANGES_RECENT];
    uint64_t seed;
    struct list exchanges;
    uint64_t bytes;
    bool is_wanted; /* also with nothing in it */
};

void changes_init(struct changes *self);
/* The routes of the topics of this subscription have changed. Then look whether they are many. */
void changes_put(struct router *router, const struct subscription *subscription);
/* Tell what was gathered, and who wants it that we are ready. */
void changes_tell(struct router *router);
/* Is there something to tell? */
bool changes_are_due(const struct changes *self);
/* So much that it should be told before the end of the turn? */
bool changes_are_many(const struct changes *self);

#endif
