/* table: every subscription that any frontd has registered: small records in slots, found by their ids, and in a row for each frontd, oldest first.
 *
 * Generations. Each session of a frontd is a new one. What it registers again moves to the end of its row with the new generation; what
 * lies before the frontd's floor is dead: left out of answers at once, and removed from the front of the row bit by bit. @thread loop */
#ifndef ROUTERD_TABLE_H
#define ROUTERD_TABLE_H

#include <stdbool.h>
#include <stdint.h>

struct home; /* exchange.h */

enum {
    TABLE_FRONTDS_MAX = 64,
    TABLE_FRONTD_BITS = 6,
    TABLE_GENERATION_MASK = (1 << 26) - 1,
};
#define TABLE_NONE UINT32_MAX

struct subscription {
    uint64_t id;
    uint8_t *matchers; /* each: size (one byte), text */
    struct home *home; /* its group, or its exchange */
    uint32_t next;     /* in the row of its frontd; of a free slot: the next free one */
    uint32_t previous;
    uint32_t owner;        /* generation << 6 | frontd */
    uint16_t matcher_size; /* of all together */
};

static inline unsigned subscription_frontd(const struct subscription *self)
{
    return self->owner & (TABLE_FRONTDS_MAX - 1);
}

static inline uint32_t subscription_generation(const struct subscription *self)
{
    return self->owner >> TABLE_FRONTD_BITS;
}

/* Is generation `a` before `b`? They go round. */
static inline bool generation_is_before(uint32_t a, uint32_t b)
{
    uint32_t distance = (b - a) & TABLE_GENERATION_MASK;
    return distance != 0 && distance < (TABLE_GENERATION_MASK >> 1);
}

struct table;
/* `floors`: the first generation of each frontd that is not dead; borrowed. */
struct table *table_new(const uint32_t floors[TABLE_FRONTDS_MAX]);
void table_destroy(struct table **self);

/* Pointers to subscriptions stay good until they are removed. The id must not be there. NULL: no memory. */
struct subscription *table_add(struct table *self, uint64_t id, unsigned frontd,
                               uint32_t generation);
void table_remove(struct table *self, struct subscription *subscription);
struct subscription *table_find(const struct table *self, uint64_t id);
struct subscription *table_at(const struct table *self, uint32_t slot);
uint32_t table_slot(const struct table *self, const struct subscription *subscription);
/* It was registered again. */
void table_refresh(struct table *self, struct subscription *subscription, uint32_t generation);

bool table_is_dead(const struct table *self, const struct subscription *subscription);
/* The first of this frontd's row, if it is dead. */
struct subscription *table_first_dead(const struct table *self, unsigned frontd);
uint64_t table_count(const struct table *self);
/* Nothing may be added or removed inside. */
void table_each(struct table *self, void (*call)(struct subscription *subscription));
/* Everything in its place? Slow: for tests. */
bool table_invariant(const struct table *self);

#endif
