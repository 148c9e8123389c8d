/* reaper: what leaves the tables. A frontd that is gone may have had a million subscriptions: they are dead at once, as its floor has risen, and removed bit by
 * bit. */
#include "routerd/router_own.h"

void router_unsubscribe(struct router *self, struct subscription *subscription)
{
    changes_put(self, subscription); /* which keeps the exchange until it is told */
    exchange_unsubscribe(self->exchanges, subscription);
    self->counts.unsubscribed++;
    if (changes_are_many(&self->changes)) {
        changes_tell(self);
    }
}

void router_set_floor(struct router *self, struct frontd *frontd, uint32_t generation)
{
    self->floors[frontd->instance] = generation & TABLE_GENERATION_MASK;
}

bool reap_one(struct router *self)
{
    for (unsigned i = 0; i < TABLE_FRONTDS_MAX; i++) {
        struct subscription *dead = table_first_dead(self->table, i);
        if (dead != NULL) {
            router_unsubscribe(self, dead);
            return true;
        }
        if (names_reap(self->names, i)) {
            return true;
        }
    }
    return false;
}
