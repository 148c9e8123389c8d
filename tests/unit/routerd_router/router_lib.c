/* router_lib: see the header. Reads what the router writes with protobuf-c, so that both must agree about the format. */
#include "tests/unit/routerd_router/router_lib.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <stdio.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/router.pb-c.h"

#include "tests/lib/test.h"

/* --- what the router does ---------------------------------------------------------------------------------- */

static int rig_on_send(void *ud, unsigned frontd, uint16_t type, struct span meta)
{
    struct rig *rig = ud;
    ck_assert_uint_lt(frontd, RIG_FRONTDS);
    ck_assert(!rig->is_closed[frontd]);
    if (rig->is_blocked[frontd]) {
        return ERR_AGAIN;
    }
    ck_assert_uint_lt(rig->event_count[frontd], RIG_EVENTS_MAX);
    struct rig_event *event = &rig->events[frontd][rig->event_count[frontd]++];
    event->type = type;
    event->meta = (struct buf){0};
    buf_append(&event->meta, meta);
    return 0;
}

static void rig_on_reply(void *ud, uint64_t ticket, int status, struct span meta)
{
    struct rig *rig = ud;
    rig->reply_ticket = ticket;
    rig->reply_status = status;
    buf_reset(&rig->reply_meta);
    buf_append(&rig->reply_meta, meta);
    rig->replies++;
}

static void rig_on_release(void *ud, uint64_t ticket)
{
    (void) ticket;
    ((struct rig *) ud)->released++;
}

static void rig_on_close(void *ud, unsigned frontd)
{
    ((struct rig *) ud)->is_closed[frontd] = true;
}

static void rig_on_ready(void *ud, const char *reason)
{
    struct rig *rig = ud;
    rig->is_ready = reason == NULL;
    (void) snprintf(rig->reason, sizeof(rig->reason), "%s", reason != NULL ? reason : "");
}

struct router_options rig_options(void)
{
    return (struct router_options){
        .subscriptions_max = 1000000,
        .exchanges_max = 1000,
        .entities_max = 100000,
        .names_max = 1000,
        .held_bytes_max = 1 << 20,
        .outbound_bytes_max = 64 << 20,
    };
}

void rig_open(struct rig *rig, const struct router_options *options)
{
    struct router_options defaults = rig_options();
    struct router_out out = {rig_on_send, rig_on_reply, rig_on_release, rig_on_close, rig_on_ready,
                             NULL,        rig};
    memset(rig, 0, sizeof(*rig));
    rig->now_ms = 1000;
    for (unsigned i = 0; i < RIG_FRONTDS; i++) {
        rig->events[i] = mem_new_array(RIG_EVENTS_MAX, sizeof(struct rig_event));
    }
    rig->router = router_new(options != NULL ? options : &defaults, &out, rig->now_ms);
}

static void rig_forget(struct rig *rig, unsigned frontd)
{
    for (size_t i = rig->event_first[frontd]; i < rig->event_count[frontd]; i++) {
        buf_release(&rig->events[frontd][i].meta);
    }
    rig->event_first[frontd] = 0;
    rig->event_count[frontd] = 0;
}

void rig_close(struct rig *rig)
{
    ck_assert(router_invariant(rig->router));
    router_destroy(&rig->router);
    ck_assert_ptr_null(rig->router);
    for (unsigned i = 0; i < RIG_FRONTDS; i++) {
        rig_forget(rig, i);
        mem_free(rig->events[i]);
    }
    buf_release(&rig->reply_meta);
    buf_release(&rig->line);
}

void rig_turn(struct rig *rig)
{
    router_now(rig->router, rig->now_ms);
    while (router_turn_end(rig->router)) {
        router_now(rig->router, rig->now_ms);
    }
    ck_assert(router_invariant(rig->router));
}

void rig_pass(struct rig *rig, uint64_t ms)
{
    for (uint64_t end_ms = rig->now_ms + ms; rig->now_ms < end_ms;) {
        rig->now_ms += end_ms - rig->now_ms < 100 ? end_ms - rig->now_ms : 100;
        rig_turn(rig);
    }
}

void rig_stand_still(struct rig *rig, uint64_t ms)
{
    rig->now_ms += ms;
    router_now(rig->router, rig->now_ms);
}

/* --- what frontds say -------------------------------------------------------------------------------------- */

void rig_live(struct rig *rig, unsigned frontd, bool is_live)
{
    router_now(rig->router, rig->now_ms);
    router_frontd_live(rig->router, frontd, is_live);
}

void rig_up(struct rig *rig, unsigned frontd)
{
    rig->is_closed[frontd] = false;
    router_now(rig->router, rig->now_ms);
    router_up(rig->router, frontd, 1000 + frontd);
}

void rig_down(struct rig *rig, unsigned frontd)
{
    rig_forget(rig, frontd);
    router_now(rig->router, rig->now_ms);
    router_down(rig->router, frontd);
}

void rig_join(struct rig *rig, unsigned frontd)
{
    rig_live(rig, frontd, true);
    rig_up(rig, frontd);
    rig_synced(rig, frontd, 0);
    rig_turn(rig);
    for (unsigned i = 0; i < RIG_FRONTDS; i++) {
        rig_drain(rig, i);
    }
}

bool rig_send(struct rig *rig, unsigned frontd, uint16_t type, bool is_request, uint64_t ticket,
              struct span meta)
{
    struct router_message message = {type, is_request, ticket, meta};
    router_now(rig->router, rig->now_ms);
    return router_message(rig->router, frontd, &message);
}

static bool rig_send_event(struct rig *rig, unsigned frontd, uint16_t type, struct buf *meta)
{
    bool is_held = rig_send(rig, frontd, type, false, 77, buf_span(meta));
    buf_release(meta);
    return is_held;
}

static void put_exchange(struct buf *out, uint32_t number, const char *exchange)
{
    struct buf bytes = {0};
    const char *slash = strchr(exchange, '/');
    size_t size = slash != NULL ? (size_t) (slash - exchange) : strlen(exchange);
    pb_append_bytes(&bytes, 1, span_make(exchange, size));
    if (slash != NULL) {
        pb_append_bytes(&bytes, 2, span_of(slash + 1));
    }
    pb_append_bytes(out, number, buf_span(&bytes));
    buf_release(&bytes);
}

/* Each part of the text, the empty one too. */
static void put_split(struct buf *out, uint32_t number, const char *text, char by)
{
    const char *at = text;
    for (;;) {
        const char *end = strchr(at, by);
        pb_append_bytes(out, number, span_make(at, end != NULL ? (size_t) (end - at) : strlen(at)));
        if (end == NULL) {
            return;
        }
        at = end + 1;
    }
}

bool rig_join_group(struct rig *rig, unsigned frontd, uint64_t id, uint64_t serial,
                    const char *exchange, const char *matchers, const char *group, bool is_sticky)
{
    struct buf meta = {0};
    struct buf one = {0};
    put_exchange(&meta, 1, exchange);
    pb_append_fixed64(&one, 1, id);
    pb_append_varint(&one, 2, serial);
    pb_append_varint(&one, 3, 0);
    put_split(&one, 4, matchers, ' ');
    if (group != NULL) {
        pb_append_bytes(&one, 5, span_of(group));
        pb_append_varint(&one, 6, is_sticky);
    }
    pb_append_bytes(&meta, 2, buf_span(&one));
    buf_release(&one);
    return rig_send_event(rig, frontd, RAILGUN__BUS_TYPE__BUS_ROUTE_SUBSCRIBE, &meta);
}

bool rig_subscribe(struct rig *rig, unsigned frontd, uint64_t id, uint64_t serial,
                   const char *exchange, const char *matchers)
{
    return rig_join_group(rig, frontd, id, serial, exchange, matchers, NULL, false);
}

void rig_unsubscribe(struct rig *rig, unsigned frontd, uint64_t id)
{
    struct buf meta = {0};
    Railgun__RouteUnsubscribe message = RAILGUN__ROUTE_UNSUBSCRIBE__INIT;
    message.n_ids = 1;
    message.ids = &id;
    uint8_t bytes[64];
    buf_append(&meta, span_make(bytes, railgun__route_unsubscribe__pack(&message, bytes)));
    (void) rig_send_event(rig, frontd, RAILGUN__BUS_TYPE__BUS_ROUTE_UNSUBSCRIBE, &meta);
}

void rig_synced(struct rig *rig, unsigned frontd, uint64_t round)
{
    struct buf meta = {0};
    if (round != 0) {
        pb_append_varint(&meta, 1, round);
    }
    (void) rig_send_event(rig, frontd, RAILGUN__BUS_TYPE__BUS_ROUTE_SYNCED, &meta);
}

void rig_applied(struct rig *rig, unsigned frontd, uint64_t seq)
{
    struct buf meta = {0};
    pb_append_varint(&meta, 1, seq);
    (void) rig_send_event(rig, frontd, RAILGUN__BUS_TYPE__BUS_ROUTE_APPLIED, &meta);
}

void rig_lookup(struct rig *rig, unsigned frontd, uint64_t number, const char *exchange,
                const char *topics)
{
    struct buf meta = {0};
    pb_append_varint(&meta, 1, number);
    put_exchange(&meta, 2, exchange);
    put_split(&meta, 3, topics, ',');
    (void) rig_send_event(rig, frontd, RAILGUN__BUS_TYPE__BUS_ROUTE_LOOKUP, &meta);
}

static void put_name(struct buf *meta, const char *name, uint64_t request)
{
    pb_append_bytes(meta, 1, span_of("ns"));
    pb_append_bytes(meta, 2, span_of(name));
    if (request != 0) {
        pb_append_fixed64(meta, 3, request);
    }
}

void rig_claim(struct rig *rig, unsigned frontd, uint64_t ticket, const char *name,
               uint64_t request)
{
    struct buf meta = {0};
    put_name(&meta, name, request);
    (void) rig_send(rig, frontd, RAILGUN__BUS_TYPE__BUS_ROUTE_CLAIM, true, ticket, buf_span(&meta));
    buf_release(&meta);
}

void rig_release(struct rig *rig, unsigned frontd, const char *name, uint64_t request)
{
    struct buf meta = {0};
    put_name(&meta, name, request);
    (void) rig_send_event(rig, frontd, RAILGUN__BUS_TYPE__BUS_ROUTE_RELEASE, &meta);
}

void rig_resolve(struct rig *rig, unsigned frontd, uint64_t ticket, const char *name)
{
    struct buf meta = {0};
    put_name(&meta, name, 0);
    (void) rig_send(rig, frontd, RAILGUN__BUS_TYPE__BUS_ROUTE_RESOLVE, true, ticket,
                    buf_span(&meta));
    buf_release(&meta);
}

/* --- what it says to them ---------------------------------------------------------------------------------- */

static int compare_ids(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *) a;
    uint64_t right = *(const uint64_t *) b;
    return left < right ? -1 : left > right;
}

static int compare_groups(const void *a, const void *b)
{
    const Railgun__RouteGroup *left = *(Railgun__RouteGroup *const *) a;
    const Railgun__RouteGroup *right = *(Railgun__RouteGroup *const *) b;
    return strcmp(left->name, right->name);
}

static void put_gap(struct buf *line, size_t begin)
{
    if (line->size > begin) {
        buf_append_byte(line, ' ');
    }
}

static void line_members(struct buf *line, Railgun__RouteMembers **members, size_t count,
                         size_t begin)
{
    for (size_t i = 0; i < count; i++) {
        ck_assert(i == 0 || members[i]->frontd > members[i - 1]->frontd);
        ck_assert_uint_gt(members[i]->n_ids, 0);
        qsort(members[i]->ids, members[i]->n_ids, sizeof(uint64_t), compare_ids);
        put_gap(line, begin);
        for (size_t k = 0; k < members[i]->n_ids; k++) {
            if (k == 0) {
                buf_printf(line, "%u:", members[i]->frontd);
            }
            buf_printf(line, "%s%" PRIu64, k == 0 ? "" : ",", members[i]->ids[k]);
        }
    }
}

static void line_route(struct buf *line, Railgun__Route *route)
{
    size_t begin = line->size;
    if (route->has_code) {
        ck_assert_uint_eq(route->n_plain + route->n_groups, 0);
        buf_append_text(line, err_name((int) route->code));
    }
    line_members(line, route->plain, route->n_plain, begin);
    if (route->n_groups > 0) {
        qsort(route->groups, route->n_groups, sizeof(*route->groups), compare_groups);
    }
    for (size_t i = 0; i < route->n_groups; i++) {
        put_gap(line, begin);
        buf_printf(line, "%s%s=", route->groups[i]->name,
                   route->groups[i]->sticky_by_key ? "(sticky)" : "");
        ck_assert_uint_gt(route->groups[i]->n_members, 0);
        line_members(line, route->groups[i]->members, route->groups[i]->n_members, line->size);
    }
}

static void line_routes(struct buf *line, struct span meta)
{
    Railgun__RouteRoutes *message = railgun__route_routes__unpack(NULL, meta.size, meta.data);
    ck_assert_ptr_nonnull(message);
    buf_printf(line, "routes %" PRIu64, message->number);
    for (size_t i = 0; i < message->n_routes; i++) {
        buf_append_text(line, " {");
        line_route(line, message->routes[i]);
        buf_append_text(line, "}");
    }
    railgun__route_routes__free_unpacked(message, NULL);
}

static uint64_t line_changes(struct buf *line, struct span meta)
{
    Railgun__RouteChanges *message = railgun__route_changes__unpack(NULL, meta.size, meta.data);
    ck_assert_ptr_nonnull(message);
    buf_printf(line, "changes %" PRIu64 "%s", message->seq, message->ready ? " ready" : "");
    if (message->has_round) {
        buf_printf(line, " round=%" PRIu64, message->round);
    }
    for (size_t i = 0; i < message->n_changes; i++) {
        const Railgun__RouteChange *change = message->changes[i];
        buf_printf(line, " [%s", change->exchange->namespace_);
        if (change->exchange->name != NULL && change->exchange->name[0] != '\0') {
            buf_printf(line, "/%s", change->exchange->name);
        }
        for (size_t k = 0; k < change->n_matchers; k++) {
            buf_printf(line, " %s", change->matchers[k]);
        }
        buf_append_text(line, "]");
    }
    uint64_t seq = message->seq;
    railgun__route_changes__free_unpacked(message, NULL);
    return seq;
}

static void line_others(struct buf *line, uint16_t type, struct span meta)
{
    if (type == RAILGUN__BUS_TYPE__BUS_ROUTE_RESET) {
        Railgun__RouteReset *message = railgun__route_reset__unpack(NULL, meta.size, meta.data);
        buf_printf(line, "reset %" PRIu64, message->seq);
        railgun__route_reset__free_unpacked(message, NULL);
    } else if (type == RAILGUN__BUS_TYPE__BUS_ROUTE_CONFIRMED) {
        Railgun__RouteConfirmed *message =
            railgun__route_confirmed__unpack(NULL, meta.size, meta.data);
        buf_printf(line, "confirmed %" PRIu64, message->serial);
        railgun__route_confirmed__free_unpacked(message, NULL);
    } else if (type == RAILGUN__BUS_TYPE__BUS_ROUTE_REJECTED) {
        Railgun__RouteRejected *message =
            railgun__route_rejected__unpack(NULL, meta.size, meta.data);
        buf_printf(line, "rejected %" PRIu64 " id=%" PRIu64 " %s", message->serial, message->id,
                   err_name((int) message->code));
        railgun__route_rejected__free_unpacked(message, NULL);
    } else {
        ck_abort_msg("unknown type %u", type);
    }
}

static const char *rig_line(struct rig *rig, unsigned frontd, bool is_applied)
{
    buf_reset(&rig->line);
    if (rig->event_first[frontd] == rig->event_count[frontd]) {
        rig_forget(rig, frontd);
        return buf_text(&rig->line);
    }
    struct rig_event *event = &rig->events[frontd][rig->event_first[frontd]++];
    struct span meta = buf_span(&event->meta);
    if (event->type == RAILGUN__BUS_TYPE__BUS_ROUTE_ROUTES) {
        line_routes(&rig->line, meta);
    } else if (event->type == RAILGUN__BUS_TYPE__BUS_ROUTE_CHANGES) {
        uint64_t seq = line_changes(&rig->line, meta);
        if (is_applied) {
            rig_applied(rig, frontd, seq);
        }
    } else {
        line_others(&rig->line, event->type, meta);
    }
    buf_release(&event->meta);
    return buf_text(&rig->line);
}

const char *rig_said(struct rig *rig, unsigned frontd)
{
    return rig_line(rig, frontd, false);
}

const char *rig_said_applied(struct rig *rig, unsigned frontd)
{
    return rig_line(rig, frontd, true);
}

void rig_drain(struct rig *rig, unsigned frontd)
{
    while (rig_line(rig, frontd, true)[0] != '\0') {
    }
}

struct router_counts rig_counts(const struct rig *rig)
{
    struct router_counts counts;
    router_count(rig->router, &counts);
    return counts;
}

const char *rig_route(struct rig *rig, const char *exchange, const char *topic)
{
    rig_drain(rig, 0);
    rig_lookup(rig, 0, 1, exchange, topic);
    rig_turn(rig); /* a busy router answers a turn later */
    size_t prefix = strlen("routes 1 {");
    const char *said = rig_said_applied(rig, 0);
    while (strncmp(said, "changes", 7) == 0) {
        said = rig_said_applied(rig, 0);
    }
    ck_assert_int_eq(strncmp(said, "routes 1 {", prefix), 0);
    rig->line.data[rig->line.size - 1] = '\0';
    return said + prefix;
}
