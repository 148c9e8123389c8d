/* describe_exchange: asks the other frontds for their counters of an exchange and one routerd for its tables, and adds them to our own. The catalogue knows the
 * rest. Who does not answer in time is left out of the sums, and not counted among the frontds. */
#include "frontd/describe_exchange.h"

#include "common/base/err.h"
#include "common/base/name.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/client.pb-c.h"
#include "common/wire/pb.h"

#include "frontd/exchange.h"
#include "frontd/gathering.h"
#include "frontd/neighbours.h"
#include "frontd/routers.h"
#include "frontd/routes.h"

enum {
    INFO_TIMEOUT_MS = 500,
    /* the parts */
    PART_FRONTD = 1,  /* ExchangeInfo of a frontd */
    PART_ROUTERD = 2, /* ... of a routerd */
    /* RouteExchange */
    EXCHANGE_NAMESPACE = 1,
    EXCHANGE_NAME = 2,
    DESCRIBE_OK_EXCHANGE = 4,
};

enum { /* ExchangeInfo */
       INFO_NAME = 1,
       INFO_VERSION = 2,
       INFO_SPEC = 3,
       INFO_SUBSCRIPTIONS = 4,
       INFO_MATCHERS = 5,
       INFO_GROUPS = 6,
       INFO_LIVE_TOPICS = 7,
       INFO_PUBLISHED = 8,
       INFO_UNMATCHED = 9,
       INFO_MATCHED = 10,
       INFO_DELIVERED = 11,
       INFO_DROPPED = 12,
       INFO_QUEUED = 13,
       INFO_REQUESTS = 14,
       INFO_FRONTDS = 15,
       INFO_ROUTERDS = 16,
       INFO_CREATED = 17,
       INFO_REFUSED = 18,
       INFO_FIELDS,
};

/* --- one frontd's part --- */

static void info_append(struct buf *out, const struct exchange *exchange)
{
    const struct exchange_counts *counts = &exchange->counts;
    pb_append_varint(out, INFO_LIVE_TOPICS, routes_live_topics(exchange));
    pb_append_varint(out, INFO_PUBLISHED, counts->published);
    pb_append_varint(out, INFO_UNMATCHED, counts->unmatched);
    pb_append_varint(out, INFO_MATCHED, counts->matched);
    pb_append_varint(out, INFO_DELIVERED, counts->delivered);
    pb_append_varint(out, INFO_DROPPED, counts->dropped);
    pb_append_varint(out, INFO_QUEUED, exchange->queued);
    pb_append_varint(out, INFO_REQUESTS, counts->requests);
    pb_append_varint(out, INFO_REFUSED, counts->refused);
}

/* 0, or as exchanges_ref. */
static int info_of(struct frontd *frontd, struct span namespace_, struct span name, struct buf *out)
{
    struct exchange *exchange = NULL;
    int result = exchanges_ref(frontd->exchanges, namespace_, name, &exchange);
    if (result != 0) {
        return result;
    }
    info_append(out, exchange);
    exchanges_unref(frontd->exchanges, &exchange);
    return 0;
}

void describe_exchange_on_info(struct frontd *frontd, const struct bus_message *message)
{
    struct span rest = message->meta;
    struct span namespace_ = {0};
    struct span name = {0};
    struct pb_field field;
    struct buf info = {0};
    int result = 0;
    while ((result = pb_next(&rest, &field)) == 1) {
        if (field.number == EXCHANGE_NAMESPACE && field.type == PB_BYTES) {
            namespace_ = field.bytes;
        } else if (field.number == EXCHANGE_NAME && field.type == PB_BYTES) {
            name = field.bytes;
        }
    }
    if (result == 0 && name_check(namespace_) != NULL) {
        result = ERR_BAD_REQUEST;
    }
    if (result == 0) {
        result = info_of(frontd, namespace_, name, &info);
    }
    /* If the asker is gone it needs no answer. */
    if (result != 0) {
        (void) bus_reply_error(frontd->bus, message->ticket,
                               result == ERR_AGAIN ? ERR_NO_QUORUM : result, NULL);
    } else {
        struct bus_outgoing out = {
            .type = RAILGUN__BUS_TYPE__BUS_ES_INFO,
            .meta = buf_span(&info),
        };
        (void) bus_reply(frontd->bus, message->ticket, &out);
    }
    buf_release(&info);
}

/* --- the answer --- */

static bool is_summed(uint32_t field)
{
    return (field >= INFO_LIVE_TOPICS && field <= INFO_REQUESTS) || field == INFO_REFUSED;
}

static void sum_add(uint64_t sums[INFO_FIELDS], struct span info)
{
    struct pb_field field;
    while (pb_next(&info, &field) == 1) {
        if (field.type == PB_VARINT && is_summed(field.number)) {
            sums[field.number] += field.value;
        }
    }
}

/* The routerd's fields, as they came. */
static void tables_append(struct buf *out, struct span info)
{
    struct span before = info;
    struct pb_field field;
    while (pb_next(&info, &field) == 1) {
        if (field.number == INFO_SUBSCRIPTIONS || field.number == INFO_MATCHERS ||
            field.number == INFO_GROUPS) {
            buf_append(out, span_make(before.data, before.size - info.size));
        }
        before = info;
    }
}

/* What the catalogue knows was kept with the asker. */
static void exchange_answer(struct request *asker, struct span parts)
{
    uint64_t sums[INFO_FIELDS] = {0};
    uint64_t frontds = 0;
    struct pb_field part;
    struct buf info = {0};
    struct buf body = {0};
    buf_append(&info, buf_span(&asker->keep));
    while (pb_next(&parts, &part) == 1) {
        if (part.number == PART_FRONTD) {
            sum_add(sums, part.bytes);
            frontds++;
        } else {
            tables_append(&info, part.bytes);
        }
    }
    for (uint32_t field = 0; field < INFO_FIELDS; field++) {
        if (is_summed(field)) {
            pb_append_varint(&info, field, sums[field]);
        }
    }
    pb_append_varint(&info, INFO_FRONTDS, frontds);
    pb_append_varint(&info, INFO_ROUTERDS, routers_ready_count(asker->frontd->routers));
    pb_append_bytes(&body, DESCRIBE_OK_EXCHANGE, buf_span(&info));
    session_send(asker->session, asker->channel, asker->corr, RAILGUN__FRAME__BODY_DESCRIBE_OK,
                 buf_span(&body));
    buf_release(&info);
    buf_release(&body);
}

/* --- the question --- */

static void part_done(struct request *request, enum bus_outcome outcome,
                      const struct bus_message *reply)
{
    struct gathering *gathering = request->gathering;
    if (outcome == BUS_OK && reply->status == 0) {
        pb_append_bytes(&gathering->parts, (uint32_t) request->number, reply->meta);
    }
    gathering_part_over(gathering);
}

static void ask_all(struct gathering *gathering, struct span meta)
{
    struct frontd *frontd = gathering->asker->frontd;
    struct request *part = NULL;
    unsigned cursor = 0;
    int instance = 0;
    while ((instance = neighbours_next(frontd->neighbours, &cursor)) >= 0) {
        part = gathering_part(gathering, part_done);
        part->number = PART_FRONTD;
        neighbours_ask(frontd->neighbours, (unsigned) instance, part,
                       RAILGUN__BUS_TYPE__BUS_ES_INFO, meta, NULL, INFO_TIMEOUT_MS);
    }
    part = gathering_part(gathering, part_done);
    part->number = PART_ROUTERD;
    routers_ask(frontd->routers, part, RAILGUN__BUS_TYPE__BUS_ROUTE_INFO, meta, INFO_TIMEOUT_MS);
}

static int describe_refuse(struct session *self, const struct frame_view *view, struct span name,
                           int error)
{
    char text[128];
    const struct frontd *frontd = self->frontd;
    if (error == ERR_BAD_REQUEST) {
        return session_refuse(self, view, error,
                              session_name_problem("exchange", name, text, sizeof(text)));
    }
    if (error == ERR_AGAIN) {
        bool may_come =
            loop_now_ms(frontd->loop) < frontd->started_ms + frontd->settings->catalog_wait_ms;
        return may_come ? ERR_AGAIN
                        : session_refuse(self, view, ERR_NO_QUORUM, "raftd is not reachable");
    }
    return session_refuse(self, view, error, error == ERR_NOT_FOUND ? "no such exchange" : NULL);
}

int describe_exchange(struct session *self, const struct frame_view *view, struct span name)
{
    struct frontd *frontd = self->frontd;
    struct gathering *gathering = NULL;
    struct buf info = {0};
    struct buf meta = {0};
    int result = info_of(frontd, self->namespace_, name, &info);
    if (result != 0) {
        return describe_refuse(self, view, name, result);
    }
    result = gathering_begin(self, view, exchange_answer, &gathering);
    if (result != 0) {
        buf_release(&info);
        return result == ERR_AGAIN ? ERR_AGAIN : 0;
    }
    struct buf *known = &gathering->asker->keep;
    const struct catalog_exchange *stored =
        name.size != 0 ? catalog_find_exchange(frontd->catalog, self->namespace_, name) : NULL;
    pb_append_bytes(known, INFO_NAME, name);
    if (stored != NULL) {
        pb_append_varint(known, INFO_VERSION, stored->version);
        pb_append_bytes(known, INFO_SPEC, stored->spec);
        pb_append_fixed64(known, INFO_CREATED, stored->created_us);
    }
    pb_append_bytes(&gathering->parts, PART_FRONTD, buf_span(&info));
    pb_append_bytes(&meta, EXCHANGE_NAMESPACE, self->namespace_);
    pb_append_bytes(&meta, EXCHANGE_NAME, name);
    ask_all(gathering, buf_span(&meta));
    gathering_part_over(gathering);
    buf_release(&meta);
    buf_release(&info);
    return 0;
}
