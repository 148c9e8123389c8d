/* handle_unsubscribe: RouteUnsubscribe. Ids that are not there are left out: they were rejected, or never came. */
#include "common/base/bytes.h"
#include "common/base/err.h"
#include "common/wire/pb.h"

#include "routerd/router_own.h"

enum { UNSUBSCRIBE_IDS = 1 };

static void unsubscribe_one(struct router *self, const struct frontd *frontd, uint64_t id)
{
    struct subscription *subscription = table_find(self->table, id);
    if (subscription != NULL && subscription_frontd(subscription) == frontd->instance) {
        router_unsubscribe(self, subscription);
    }
    self->work++;
}

int handle_unsubscribe(struct router *self, struct frontd *frontd, struct span meta)
{
    struct pb_field field;
    int result;
    while ((result = pb_next(&meta, &field)) > 0) {
        if (field.number != UNSUBSCRIBE_IDS) {
            continue;
        }
        if (field.type == PB_FIXED64) {
            unsubscribe_one(self, frontd, field.value);
        } else if (field.type == PB_BYTES && field.bytes.size % 8 == 0) {
            for (size_t at = 0; at < field.bytes.size; at += 8) {
                unsubscribe_one(self, frontd, bytes_get_u64(field.bytes.data + at));
            }
        } else {
            return ERR_PROTOCOL;
        }
    }
    return result;
}
