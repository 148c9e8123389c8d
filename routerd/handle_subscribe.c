/* handle_subscribe: RouteSubscribe. A subscription that is registered again unchanged, in a new session, changes nothing. One that is refused is said so at once,
 * so before the confirmation that covers its serial. */
#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/base/topic.h"
#include "common/wire/pb.h"
#include "common/wire/route.h"

#include "routerd/router_own.h"

enum { SUBSCRIBE_EXCHANGES = 1, SUBSCRIBE_SUBSCRIPTIONS = 2 };
enum {
    ONE_ID = 1,
    ONE_SERIAL = 2,
    ONE_EXCHANGE = 3,
    ONE_MATCHERS = 4,
    ONE_GROUP = 5,
    ONE_STICKY = 6,
    ONE_EXCHANGE_MAX = 7,
};
enum { REJECTED_SERIAL = 1, REJECTED_ID = 2, REJECTED_CODE = 3, REJECTED_DETAIL = 4 };
enum { GROUP_SIZE_MAX = 255, REAP_TURNS_MAX = 8 };

struct one { /* a RouteSubscription */
    struct subscription_spec spec;
    uint64_t serial;
    uint64_t exchange;
    bool is_too_large; /* its matchers together */
};

struct named {
    struct span namespace_;
    struct span name;
};

static int one_add_matcher(struct one *self, struct buf *set, struct span matcher)
{
    if (topic_check_matcher(matcher) != NULL) {
        return ERR_PROTOCOL;
    }
    if (set->size + 1 + matcher.size > MATCHERS_SIZE_MAX) {
        self->is_too_large = true;
        return 0;
    }
    buf_append_byte(set, (uint8_t) matcher.size);
    buf_append(set, matcher);
    return 0;
}

/* `set` takes the matchers. */
static int one_read(struct span rest, struct buf *set, struct one *ret_one)
{
    struct one one = {0};
    struct pb_field field;
    int result;
    buf_reset(set);
    while ((result = pb_next(&rest, &field)) > 0) {
        if (field.number == ONE_ID && field.type == PB_FIXED64) {
            one.spec.id = field.value;
        } else if (field.number == ONE_SERIAL && field.type == PB_VARINT) {
            one.serial = field.value;
        } else if (field.number == ONE_EXCHANGE && field.type == PB_VARINT) {
            one.exchange = field.value;
        } else if (field.number == ONE_MATCHERS && field.type == PB_BYTES) {
            result = one_add_matcher(&one, set, field.bytes);
        } else if (field.number == ONE_GROUP && field.type == PB_BYTES) {
            one.spec.group = field.bytes;
        } else if (field.number == ONE_STICKY && field.type == PB_VARINT) {
            one.spec.is_sticky = field.value != 0;
        } else if (field.number == ONE_EXCHANGE_MAX && field.type == PB_VARINT) {
            one.spec.exchange_max = field.value;
        }
        if (result < 0) {
            return result;
        }
    }
    if (result < 0 || set->size == 0 || one.spec.group.size > GROUP_SIZE_MAX ||
        (one.spec.group.size > 0 && !pb_is_text(one.spec.group))) {
        return ERR_PROTOCOL;
    }
    one.spec.matchers = buf_span(set);
    *ret_one = one;
    return 0;
}

static void subscribe_reject(struct router *self, struct frontd *frontd, const struct one *one,
                             int error, const char *detail)
{
    struct buf meta = {0};
    pb_append_varint(&meta, REJECTED_SERIAL, one->serial);
    pb_append_fixed64(&meta, REJECTED_ID, one->spec.id);
    pb_append_varint(&meta, REJECTED_CODE, (uint64_t) -error);
    pb_append_bytes(&meta, REJECTED_DETAIL, span_of(detail));
    self->counts.rejected++;
    frontd_send(self, frontd, RAILGUN__BUS_TYPE__BUS_ROUTE_REJECTED, buf_span(&meta), NULL);
    buf_release(&meta);
}

/* What is dead must not stand in the way of who lives: it goes first when there is no room. */
static int subscribe_try(struct router *self, const struct one *one, const struct named *named,
                         const char **ret_detail)
{
    struct exchange *exchange = NULL;
    struct subscription *subscription = NULL;
    int result = exchanges_make(self->exchanges, named->namespace_, named->name, &exchange);
    if (result < 0) {
        *ret_detail = "too many exchanges have subscriptions";
        return result;
    }
    result = exchange_subscribe(self->exchanges, exchange, &one->spec, &subscription);
    if (result == 0) {
        changes_put(self, subscription);
        self->counts.subscribed++;
        return 0;
    }
    exchanges_trim(self->exchanges, exchange);
    *ret_detail = result == ERR_DIFFERS ? "the group has another sticky_by_key"
                                        : "too many subscriptions in the exchange";
    return result;
}

static void subscribe_one(struct router *self, struct frontd *frontd, struct one *one,
                          const struct named *named)
{
    const char *detail = "too many or too long matchers in one subscription";
    struct subscription *known = table_find(self->table, one->spec.id);
    int result = one->is_too_large ? ERR_QUOTA : 0;
    one->spec.frontd = frontd->instance;
    one->spec.generation = frontd->generation;
    if (one->serial > frontd->serial_last) {
        frontd->serial_last = one->serial;
    }
    frontd->has_serial = true;
    if (known != NULL && result == 0 && subscription_frontd(known) == frontd->instance &&
        !table_is_dead(self->table, known) &&
        exchange_is_same(known->home->exchange, known, &one->spec) &&
        span_equal(known->home->exchange->namespace_, named->namespace_) &&
        span_equal(known->home->exchange->name, named->name)) {
        table_refresh(self->table, known, frontd->generation);
        self->work++;
        return;
    }
    if (known != NULL) {
        router_unsubscribe(self, known);
    }
    if (result == 0) {
        do {
            result = subscribe_try(self, one, named, &detail);
            self->work++;
        } while (result < 0 && self->work / REAP_TURNS_MAX < self->options.work_max &&
                 reap_one(self));
    }
    if (result < 0) {
        subscribe_reject(self, frontd, one, result == ERR_DIFFERS ? ERR_DIFFERS : ERR_QUOTA,
                         detail);
    }
}

static int subscribe_read_exchanges(struct span rest, struct named **ret_named, size_t *ret_count)
{
    struct named *named = NULL;
    size_t count = 0;
    size_t capacity = 0;
    struct pb_field field;
    int result;
    while ((result = pb_next(&rest, &field)) > 0) {
        if (field.number != SUBSCRIBE_EXCHANGES) {
            continue;
        }
        if (field.type != PB_BYTES || count == ROUTE_SUBSCRIPTIONS_MAX) {
            result = ERR_PROTOCOL;
            break;
        }
        if (count == capacity) {
            capacity = capacity != 0 ? 2 * capacity : 4;
            named = (struct named *) mem_resize(named, capacity, sizeof(*named)); /* bounded */
        }
        result = handle_read_exchange(field.bytes, &named[count].namespace_, &named[count].name);
        if (result < 0) {
            break;
        }
        count++;
    }
    if (result < 0) {
        mem_free(named);
        return ERR_PROTOCOL;
    }
    *ret_named = named;
    *ret_count = count;
    return 0;
}

int handle_subscribe(struct router *self, struct frontd *frontd, struct span meta)
{
    struct named *named = NULL;
    size_t count = 0;
    size_t done = 0;
    struct pb_field field;
    int result = subscribe_read_exchanges(meta, &named, &count);
    if (result < 0) {
        return result;
    }
    while ((result = pb_next(&meta, &field)) > 0) {
        if (field.number != SUBSCRIBE_SUBSCRIPTIONS) {
            continue;
        }
        struct one one = {0};
        if (field.type != PB_BYTES || ++done > ROUTE_SUBSCRIPTIONS_MAX ||
            one_read(field.bytes, &self->set, &one) < 0 || one.exchange >= count) {
            result = ERR_PROTOCOL;
            break;
        }
        subscribe_one(self, frontd, &one, &named[one.exchange]);
        if (changes_are_many(&self->changes)) {
            changes_tell(self);
        }
    }
    mem_free(named);
    return result < 0 ? ERR_PROTOCOL : 0;
}
