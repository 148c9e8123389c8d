/* ephemeral: who is told what. Owns nothing but the order. */
#include "frontd/ephemeral.h"

#include "common/wire/bus.pb-c.h"

#include "frontd/conn.h"
#include "frontd/describe_exchange.h"
#include "frontd/exchange.h"
#include "frontd/inlet.h"
#include "frontd/neighbours.h"
#include "frontd/responses.h"
#include "frontd/routers.h"
#include "frontd/routes.h"
#include "frontd/subscription.h"
#include "frontd/switch.h"

#define TYPE(name) RAILGUN__BUS_TYPE__BUS_##name

static void neighbour_up(void *ud, unsigned neighbour)
{
    switch_neighbour_up(ud, neighbour);
}

static void neighbour_lost(void *ud, unsigned neighbour)
{
    struct frontd *frontd = ud;
    switch_neighbour_lost(frontd, neighbour);
    responses_neighbour_lost(frontd->responses, neighbour);
    inlets_progress(frontd->inlets); /* who waited for room there goes on without it */
}

static void neighbour_has_room(void *ud)
{
    struct frontd *frontd = ud;
    inlets_progress(frontd->inlets);
    conn_set_retry(frontd->conns);
}

static void routes_came(void *ud)
{
    struct frontd *frontd = ud;
    inlets_progress(frontd->inlets);
}

void ephemeral_build(struct frontd *frontd)
{
    frontd->exchanges = exchanges_new(frontd);
    frontd->inlets = inlets_new(frontd);
    frontd->routes = routes_new(frontd, routes_came, frontd);
    frontd->responses = responses_new(frontd);
    frontd->switching = switch_new(frontd);
    frontd->subscriptions = subscriptions_new(frontd);
    frontd->neighbours =
        neighbours_new(frontd, &(struct neighbours_events){.on_up = neighbour_up,
                                                           .on_lost = neighbour_lost,
                                                           .on_room = neighbour_has_room,
                                                           .ud = frontd});
    frontd->routers =
        routers_new(frontd, &(struct routers_events){.on_confirmed = subscriptions_on_confirmed,
                                                     .on_rejected = subscriptions_on_rejected,
                                                     .ud = frontd->subscriptions});
}

void ephemeral_bus_closed(struct frontd *frontd)
{
    routers_bus_closed(frontd->routers);
    neighbours_bus_closed(frontd->neighbours);
}

void ephemeral_destroy(struct frontd *frontd)
{
    responses_destroy(&frontd->responses);
    routers_destroy(&frontd->routers);
    neighbours_destroy(&frontd->neighbours);
    subscriptions_destroy(&frontd->subscriptions);
    switch_destroy(&frontd->switching);
    routes_destroy(&frontd->routes);
    inlets_destroy(&frontd->inlets);
    exchanges_destroy(&frontd->exchanges);
}

void ephemeral_session_closed(struct session *session)
{
    struct frontd *frontd = session->frontd;
    inlet_close(session);
    subscriptions_session_closed(session);
    responses_session_closed(frontd->responses, session);
}

void ephemeral_session_drained(struct session *session)
{
    responses_session_drained(session->frontd->responses, session);
}

/* --- metrics --- */

#define READ(name, counts_type, read_counts, field)                                                \
    static uint64_t read_##name(void *ud)                                                          \
    {                                                                                              \
        const struct frontd *self = ud;                                                            \
        counts_type counts;                                                                        \
        read_counts(&counts);                                                                      \
        return counts.field;                                                                       \
    }
#define READ_SUBSCRIPTIONS(out) subscriptions_count(self->subscriptions, (out))
#define READ_ROUTES(out)        routes_count(self->routes, (out))
#define READ_RESPONSES(out)     responses_count(self->responses, (out))

READ(subscriptions, struct subscriptions_counts, READ_SUBSCRIPTIONS, count)
READ(queued_messages, struct subscriptions_counts, READ_SUBSCRIPTIONS, queued_messages)
READ(queued_memory, struct subscriptions_counts, READ_SUBSCRIPTIONS, memory_bytes)
READ(routes_entries, struct routes_counts, READ_ROUTES, entries)
READ(routes_bytes, struct routes_counts, READ_ROUTES, bytes)
READ(routes_hits, struct routes_counts, READ_ROUTES, hits)
READ(routes_misses, struct routes_counts, READ_ROUTES, misses)
READ(routes_stale, struct routes_counts, READ_ROUTES, stale)
READ(routes_evicted, struct routes_counts, READ_ROUTES, evicted)
READ(requests_open, struct responses_counts, READ_RESPONSES, open)
READ(requests_total, struct responses_counts, READ_RESPONSES, total)
READ(requests_ok, struct responses_counts, READ_RESPONSES, ok)
READ(requests_timeouts, struct responses_counts, READ_RESPONSES, timeouts)
READ(requests_unanswerable, struct responses_counts, READ_RESPONSES, no_responders)
READ(requests_lost, struct responses_counts, READ_RESPONSES, lost)
READ(replies_closed, struct responses_counts, READ_RESPONSES, closed_replies)

static uint64_t read_waiting_bytes(void *ud)
{
    const struct frontd *self = ud;
    return inlets_waiting_bytes(self->inlets);
}

static uint64_t read_routers_ready(void *ud)
{
    const struct frontd *self = ud;
    return routers_ready_count(self->routers);
}

static uint64_t read_unconfirmed(void *ud)
{
    const struct frontd *self = ud;
    return routers_unconfirmed_count(self->routers);
}

static uint64_t read_neighbours(void *ud)
{
    const struct frontd *self = ud;
    return neighbours_count(self->neighbours);
}

/* Sums over all exchanges, also those that are not in use any more. */
#define READ_EXCHANGES(name)                                                                       \
    static uint64_t read_es_##name(void *ud)                                                       \
    {                                                                                              \
        const struct frontd *self = ud;                                                            \
        const struct exchange *exchange = NULL;                                                    \
        uint64_t sum = exchanges_forgotten(self->exchanges)->name;                                 \
        size_t cursor = 0;                                                                         \
        while ((exchange = exchanges_next(self->exchanges, &cursor)) != NULL) {                    \
            sum += exchange->counts.name;                                                          \
        }                                                                                          \
        return sum;                                                                                \
    }
READ_EXCHANGES(published)
READ_EXCHANGES(unmatched)
READ_EXCHANGES(refused)
READ_EXCHANGES(matched)
READ_EXCHANGES(delivered)
READ_EXCHANGES(dropped)

void ephemeral_add_metrics(struct frontd *frontd)
{
    static const struct {
        const char *name;
        uint64_t (*read)(void *ud);
    } gauges[] = {
        {"railgun_es_published_total", read_es_published},
        {"railgun_es_unmatched_total", read_es_unmatched},
        {"railgun_es_refused_total", read_es_refused},
        {"railgun_es_matched_total", read_es_matched},
        {"railgun_es_delivered_total", read_es_delivered},
        {"railgun_es_dropped_total", read_es_dropped},
        {"railgun_es_queued_messages", read_queued_messages},
        {"railgun_es_queued_bytes", read_queued_memory},
        {"railgun_es_waiting_bytes", read_waiting_bytes},
        {"railgun_subscriptions", read_subscriptions},
        {"railgun_subscriptions_unconfirmed", read_unconfirmed},
        {"railgun_routes_entries", read_routes_entries},
        {"railgun_routes_bytes", read_routes_bytes},
        {"railgun_routes_hits_total", read_routes_hits},
        {"railgun_routes_misses_total", read_routes_misses},
        {"railgun_routes_stale_total", read_routes_stale},
        {"railgun_routes_evicted_total", read_routes_evicted},
        {"railgun_routerds_ready", read_routers_ready},
        {"railgun_neighbours", read_neighbours},
        {"railgun_requests_open", read_requests_open},
        {"railgun_requests_total", read_requests_total},
        {"railgun_requests_ok_total", read_requests_ok},
        {"railgun_requests_timeout_total", read_requests_timeouts},
        {"railgun_requests_no_responders_total", read_requests_unanswerable},
        {"railgun_requests_lost_total", read_requests_lost},
        {"railgun_replies_closed_total", read_replies_closed},
    };
    for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++) {
        metrics_gauge(daemon_metrics(frontd->context), gauges[i].name, gauges[i].read, frontd);
    }
}

/* --- the bus --- */

bool ephemeral_on_up(struct frontd *frontd, struct bus_link *link)
{
    return neighbours_on_up(frontd->neighbours, link) || routers_on_up(frontd->routers, link);
}

bool ephemeral_on_down(struct frontd *frontd, struct bus_link *link)
{
    return neighbours_on_down(frontd->neighbours, link) || routers_on_down(frontd->routers, link);
}

bool ephemeral_on_credit(struct frontd *frontd, struct bus_link *link)
{
    return neighbours_on_credit(frontd->neighbours, link) ||
           routers_on_credit(frontd->routers, link);
}

bool ephemeral_on_message(struct frontd *frontd, struct bus_link *link, struct bus_message *message)
{
    if (routers_on_message(frontd->routers, link, message)) {
        return true;
    }
    int neighbour = neighbours_of_link(link);
    if (neighbour < 0) {
        return false;
    }
    switch (message->type) {
    case TYPE(ES_FORWARD):
        switch_on_forward(frontd, (unsigned) neighbour, message);
        return true;
    case TYPE(ES_LOAD):
        switch_on_load(frontd, (unsigned) neighbour, message);
        return true;
    case TYPE(ES_INFO):
        if (!message->is_request) {
            return false;
        }
        describe_exchange_on_info(frontd, message);
        return true;
    case TYPE(RS_REPLY):
        if (!message->is_request) {
            return false;
        }
        responses_on_reply(frontd->responses, message);
        return true;
    case TYPE(RS_LOST):
        responses_on_lost(frontd->responses, (unsigned) neighbour, message);
        return true;
    default:
        return false;
    }
}
