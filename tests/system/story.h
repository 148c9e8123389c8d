/* story: short histories made by hand, on a clock that is turned by hand, for the tests of the checker. */
#ifndef TESTS_SYSTEM_STORY_H
#define TESTS_SYSTEM_STORY_H

#include "tests/lib/test.h"
#include "tests/system/checker.h"

struct story {
    struct timesource_manual hands;
    struct timesource time;
    struct history *history;
};

enum { GROUP = 1, MEMBER = 7, OTHER = 8, READER = 3, ME = 5 };

void story_begin(struct story *self);
void story_wait(struct story *self, uint64_t ms);
/* `count` records from number `counter` on, as one batch. */
void story_publish(struct story *self, uint64_t counter, uint32_t count, enum outcome outcome,
                   uint64_t base);
/* See record number `counter` at an offset. */
void story_see(struct story *self, enum event_type type, uint64_t offset, uint64_t counter,
               uint32_t session, uint32_t attempt);
/* Record number `offset` comes to the group. */
void story_deliver(struct story *self, uint64_t offset, uint32_t session, uint32_t attempt);
/* The final read finds records 1 to `count` at offsets 1 to `count`. */
void story_final(struct story *self, uint64_t count);
/* The verdict must name exactly `rule`, at least once; RULE_COUNT: none. The story is over. */
void story_end(struct story *self, enum rule rule);

#endif
