/* handle_lookup: RouteLookup. An answer holds for the moment in which it is handed to the session, so no route of it may be made earlier: what does not fit into
 * this turn, or into the room that the frontd has, is made later. */
#include "common/base/err.h"
#include "common/base/topic.h"
#include "common/wire/pb.h"
#include "common/wire/route.h"

#include "routerd/router_own.h"

enum { LOOKUP_NUMBER = 1, LOOKUP_EXCHANGE = 2, LOOKUP_TOPICS = 3 };
enum { ROUTES_NUMBER = 1 };
enum {
    ANSWER_BYTES = 256 << 10, /* about: then the next begins */
    FOUND_PER_WORK = 32,      /* subscriptions found cost as much as one topic looked up */
};

struct lookup {
    uint64_t number;
    struct span namespace_;
    struct span name;
    uint32_t topics;
};

static int lookup_read(struct span rest, struct lookup *ret_lookup)
{
    struct lookup lookup = {0};
    struct pb_field field;
    int result;
    while ((result = pb_next(&rest, &field)) > 0) {
        if (field.number == LOOKUP_NUMBER && field.type == PB_VARINT) {
            lookup.number = field.value;
        } else if (field.number == LOOKUP_EXCHANGE && field.type == PB_BYTES) {
            result = handle_read_exchange(field.bytes, &lookup.namespace_, &lookup.name);
        } else if (field.number == LOOKUP_TOPICS) {
            bool is_good = field.type == PB_BYTES && lookup.topics < ROUTE_TOPICS_MAX &&
                           topic_check(field.bytes) == NULL;
            result = is_good ? 0 : ERR_PROTOCOL;
            lookup.topics++;
        }
        if (result < 0) {
            return result;
        }
    }
    if (result == 0) {
        *ret_lookup = lookup;
    }
    return result;
}

static void lookup_begin(struct router *self, const struct lookup *lookup)
{
    buf_reset(&self->answer);
    pb_append_varint(&self->answer, ROUTES_NUMBER, lookup->number);
}

static void lookup_send(struct router *self, struct frontd *frontd)
{
    frontd_send(self, frontd, RAILGUN__BUS_TYPE__BUS_ROUTE_ROUTES, buf_span(&self->answer), NULL);
}

/* From topic *done on. false: it stopped at *done. */
static bool lookup_answer(struct router *self, struct frontd *frontd, const struct lookup *lookup,
                          struct span rest, uint32_t *done)
{
    struct exchange *exchange = exchanges_find(self->exchanges, lookup->namespace_, lookup->name);
    uint32_t at = 0;
    bool is_open = lookup->topics == 0; /* nothing asked: nothing answered, but answered */
    struct pb_field field;
    lookup_begin(self, lookup);
    while (pb_next(&rest, &field) > 0) {
        if (field.number != LOOKUP_TOPICS || at++ < *done) {
            continue;
        }
        uint64_t found = route_make(self->maker, exchange, field.bytes, self->options.entities_max,
                                    &self->answer);
        self->work += 1 + found / FOUND_PER_WORK;
        self->counts.lookups++;
        is_open = true;
        *done += 1;
        if (self->answer.size >= ANSWER_BYTES) {
            lookup_send(self, frontd);
            lookup_begin(self, lookup);
            is_open = false;
        }
        if (*done < lookup->topics &&
            (!frontd_has_room(frontd) || router_has_worked_enough(self))) {
            break;
        }
    }
    if (is_open) {
        lookup_send(self, frontd);
    }
    if (self->answer.capacity > 8 * (size_t) ANSWER_BYTES) {
        buf_release(&self->answer);
    }
    return *done == lookup->topics;
}

int handle_lookup(struct router *self, struct frontd *frontd, struct span meta, uint32_t *done,
                  bool *ret_is_whole)
{
    struct lookup lookup = {0};
    uint64_t begin_us = self->out.clock_us != NULL ? self->out.clock_us(self->out.ud) : 0;
    int result = lookup_read(meta, &lookup);
    if (result < 0) {
        return result;
    }
    *ret_is_whole = lookup_answer(self, frontd, &lookup, meta, done);
    if (self->out.clock_us != NULL) {
        uint64_t took_us = self->out.clock_us(self->out.ud) - begin_us;
        self->counts.lookup_us += took_us;
        self->counts.lookup_us_max =
            took_us > self->counts.lookup_us_max ? took_us : self->counts.lookup_us_max;
    }
    return 0;
}
