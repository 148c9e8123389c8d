/* fake: see the header. These definitions come before those of the archives when the program is linked. */
#include "tests/unit/frontd_switch/fake.h"

#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/run/loop.h"
#include "common/wire/es.h"
#include "common/wire/pb.h"
#include "frontd/routers.h"
#include "frontd/watchers.h"

struct fake fake;

/* --- the loop --- */

static struct {
    loop_call_fn *call;
    void *ud;
} hooks[8];
static unsigned hook_count;

uint64_t loop_now_ms(const struct loop *self)
{
    (void) self;
    return fake.now_ms;
}

struct wheel *loop_wheel(struct loop *self)
{
    (void) self;
    return fake.wheel;
}

void loop_timer_start(struct loop *self, struct wheel_timer *timer, uint64_t in_ms)
{
    (void) self;
    wheel_add(fake.wheel, timer, fake.now_ms + in_ms);
}

void loop_on_turn_end(struct loop *self, loop_call_fn *call, void *ud)
{
    (void) self;
    hooks[hook_count].call = call;
    hooks[hook_count++].ud = ud;
}

void fake_turn(uint64_t ms)
{
    fake.now_ms += ms;
    (void) wheel_run(fake.wheel, fake.now_ms);
    for (unsigned i = 0; i < hook_count; i++) {
        hooks[i].call(hooks[i].ud);
    }
}

/* --- connections --- */

enum conn_state conn_state(const struct conn *self)
{
    return (enum conn_state) self->state;
}

void conn_send(struct conn *self, const struct span *parts, size_t part_count,
               const struct slice *tail)
{
    size_t size = 0;
    self->sends++;
    self->references += tail != NULL ? 1 : 0;
    for (size_t i = 0; i < part_count; i++) {
        size += parts[i].size;
        if (!self->is_sink) {
            buf_append(&self->out, parts[i]);
        }
    }
    if (tail != NULL) {
        size += tail->bytes.size;
        if (!self->is_sink) {
            buf_append(&self->out, tail->bytes);
        }
        if (self->is_stalled && self->held_count < FAKE_REFS_MAX) {
            self->held[self->held_count++] = payload_ref(tail->owner);
        }
    }
    if (self->is_stalled) {
        self->outbound += size;
        fake.outbound += size;
    }
}

uint64_t conn_outbound_bytes(const struct conn *self)
{
    return self->outbound;
}

uint64_t conn_set_outbound_bytes(const struct conn_set *self)
{
    (void) self;
    return fake.outbound;
}

void conn_hold_end(struct conn *self, bool is_held)
{
    (void) self;
    (void) is_held;
}

void conn_want_room_below(struct conn *self, uint64_t bytes)
{
    self->room_below = bytes > self->room_below ? bytes : self->room_below;
}

void conn_retry(struct conn *self)
{
    self->retries++;
}

void conn_fail(struct conn *self, int error, const char *detail)
{
    if (self->state == CONN_READY) {
        self->state = CONN_CLOSING;
        self->failed = error;
        (void) snprintf(self->detail, sizeof(self->detail), "%s", detail != NULL ? detail : "");
    }
}

struct conn *fake_conn(void)
{
    static uint64_t publishers;
    struct conn *self = MEM_NEW(struct conn);
    self->state = CONN_READY;
    self->session.frontd = &fake.frontd;
    self->session.conn = self;
    self->session.namespace_ = span_of("default");
    self->session.publisher = ++publishers;
    list_init(&self->session.requests);
    list_init(&self->session.channels);
    list_init(&self->session.subscriptions);
    list_init(&self->session.asked);
    list_init(&self->session.unsent);
    list_init(&self->session.awaiting);
    return self;
}

static void conn_forget(struct conn *self)
{
    fake.outbound -= self->outbound;
    self->outbound = 0;
    for (unsigned i = 0; i < self->held_count; i++) {
        payload_unref(&self->held[i]);
    }
    self->held_count = 0;
}

void fake_drain(struct conn *self)
{
    while (self->outbound != 0 || self->room_below != 0) {
        uint64_t below = self->room_below;
        conn_forget(self);
        self->room_below = 0;
        if (below != 0) {
            subscriptions_session_room(&self->session);
        }
    }
}

void fake_close(struct conn **conn)
{
    struct conn *self = *conn;
    *conn = NULL;
    self->state = CONN_CLOSED;
    self->session.is_dead = true;
    inlet_close(&self->session);
    subscriptions_session_closed(&self->session);
    conn_forget(self);
    hash64_destroy(&self->session.by_corr);
    buf_release(&self->out);
    mem_free(self);
}

bool fake_frame(struct conn *self, struct frame_view *ret_view)
{
    struct span body;
    size_t total = 0;
    struct span rest = span_make(self->out.data + self->out_read, self->out.size - self->out_read);
    if (rest.size == 0) {
        return false;
    }
    ck_assert_int_eq(frame_split(rest, FRAME_SIZE_MAX_HARD, &body, &total), 0);
    ck_assert_int_eq(frame_parse(body, ret_view), 0);
    self->out_read += total;
    return true;
}

static struct span field_bytes(struct span body, uint32_t number)
{
    struct pb_field field;
    while (pb_next(&body, &field) == 1) {
        if (field.number == number) {
            return field.bytes;
        }
    }
    return (struct span){0};
}

static uint64_t field_number(struct span body, uint32_t number)
{
    struct pb_field field;
    while (pb_next(&body, &field) == 1) {
        if (field.number == number) {
            return field.value;
        }
    }
    return 0;
}

void fake_expect_error(struct conn *conn, uint64_t corr, int error, const char *detail)
{
    struct frame_view view;
    ck_assert(fake_frame(conn, &view));
    ck_assert_uint_eq(view.field, RAILGUN__FRAME__BODY_ERROR);
    ck_assert_uint_eq(view.corr, corr);
    ck_assert_int_eq(-(int) field_number(view.body, 1), error);
    struct span text = field_bytes(view.body, 3);
    char got[200];
    (void) snprintf(got, sizeof(got), "%.*s", (int) text.size, (const char *) text.data);
    ck_assert_str_eq(got, detail);
}

static void copy_text(char out[256], struct span text)
{
    (void) snprintf(out, 256, "%.*s", (int) text.size, (const char *) text.data);
}

void fake_receive(struct conn *conn, struct fake_received *received)
{
    struct frame_view view;
    struct es_limits limits = es_limits_default();
    while (fake_frame(conn, &view)) {
        struct es_message message;
        if (view.field == RAILGUN__FRAME__BODY_ES_DELIVER) {
            received->frames++;
            while (es_next(&view.body, &limits, &message) == 1) {
                received->messages++;
                received->bytes += message.field.size;
                buf_append(&received->payloads, message.payload);
            }
            ck_assert_uint_eq(view.body.size, 0);
        } else if (view.field == RAILGUN__FRAME__BODY_GROUP_EVENT) {
            ck_assert_uint_eq(field_number(view.body, 1),
                              RAILGUN__GROUP_EVENT__TYPE__EVENT_DROPPED);
            received->events++;
            received->dropped += field_number(view.body, 3);
            copy_text(received->first_topic, field_bytes(view.body, 6));
            copy_text(received->last_topic, field_bytes(view.body, 7));
            buf_append_text(&received->payloads, "!");
        }
    }
}

/* --- neighbours --- */

bool neighbours_is_up(const struct neighbours *self, unsigned frontd)
{
    (void) self;
    return frontd < FAKE_NEIGHBOURS && fake.neighbours[frontd].is_up;
}

bool neighbours_has_room(struct neighbours *self, unsigned frontd)
{
    return !neighbours_is_up(self, frontd) || !fake.neighbours[frontd].is_full;
}

unsigned neighbours_count(const struct neighbours *self)
{
    unsigned count = 0;
    for (unsigned i = 0; i < FAKE_NEIGHBOURS; i++) {
        count += neighbours_is_up(self, i) ? 1 : 0;
    }
    return count;
}

int neighbours_next(const struct neighbours *self, unsigned *cursor)
{
    while (*cursor < FAKE_NEIGHBOURS) {
        unsigned at = (*cursor)++;
        if (neighbours_is_up(self, at)) {
            return (int) at;
        }
    }
    return -1;
}

bool neighbours_forward(struct neighbours *self, unsigned frontd, const uint64_t *ids,
                        uint32_t id_count, uint32_t count, bool is_group, uint64_t request,
                        uint32_t timeout_ms, struct span messages)
{
    if (!neighbours_is_up(self, frontd)) {
        return false;
    }
    es_block_append(&fake.neighbours[frontd].forwards, ids, id_count, count, is_group, request,
                    timeout_ms, messages);
    return true;
}

bool neighbours_tell(struct neighbours *self, unsigned frontd, uint16_t type, struct span meta)
{
    (void) type;
    if (!neighbours_is_up(self, frontd)) {
        return false;
    }
    buf_reset(&fake.neighbours[frontd].loads);
    buf_append(&fake.neighbours[frontd].loads, meta);
    fake.neighbours[frontd].load_count++;
    return true;
}

/* --- routerds, responses, exchanges --- */

void routers_add(struct routers *self, struct registration *registration)
{
    (void) self;
    fake.added++;
    fake.last_added = registration;
}

void routers_remove(struct routers *self, struct registration *registration)
{
    (void) self;
    (void) registration;
    fake.removed++;
}

struct claim *routers_claim(struct routers *self, struct span namespace_, struct span name,
                            uint64_t request, void (*done)(void *ud, int result),
                            void (*on_lost)(void *ud), void *ud)
{
    (void) self;
    (void) namespace_;
    (void) name;
    (void) request;
    (void) done;
    (void) on_lost;
    (void) ud;
    return NULL;
}

void routers_release(struct routers *self, struct claim **claim)
{
    (void) self;
    (void) claim;
}

void responses_delivered(struct responses *self, struct session *responder, unsigned origin,
                         uint64_t request, uint32_t timeout_ms)
{
    (void) self;
    (void) responder;
    (void) origin;
    (void) timeout_ms;
    fake.delivered++;
    fake.delivered_request = request;
}

void responses_undelivered(struct responses *self, unsigned origin, uint64_t request)
{
    (void) self;
    fake.undelivered++;
    fake.undelivered_origin = origin;
    fake.undelivered_request = request;
}

int exchanges_ref(struct exchanges *self, struct span namespace_, struct span name,
                  struct exchange **ret_exchange)
{
    (void) self;
    (void) namespace_;
    (void) name;
    if (fake.exchange_error != 0) {
        return fake.exchange_error;
    }
    fake.exchange.references++;
    *ret_exchange = &fake.exchange;
    return 0;
}

void exchanges_unref(struct exchanges *self, struct exchange **exchange)
{
    (void) self;
    (*exchange)->references--;
    *exchange = NULL;
}

/* --- routes --- */

enum routes_result routes_find(struct routes *self, struct exchange *exchange, struct span topic,
                               uint64_t publisher, const struct route **ret_route, bool *ret_is_bad)
{
    (void) self;
    (void) exchange;
    (void) publisher;
    fake.lookups++;
    for (unsigned i = 0; i < fake.route_count; i++) {
        struct fake_route *route = &fake.routes[i];
        if (span_equal(route->topic, topic)) {
            *ret_is_bad = false;
            if (route->is_refused) {
                return ROUTES_REFUSED;
            }
            *ret_route = &route->route;
            return route->is_waiting ? ROUTES_WAIT : ROUTES_FOUND;
        }
    }
    *ret_is_bad = true;
    return ROUTES_REFUSED;
}

struct fake_route *fake_route(const char *topic)
{
    ck_assert_uint_lt(fake.route_count, FAKE_ROUTES_MAX);
    struct fake_route *route = &fake.routes[fake.route_count++];
    route->topic = span_of(topic);
    route->route.plain = route->plain;
    route->route.groups = route->groups;
    for (unsigned i = 0; i < 4; i++) {
        route->groups[i].members = route->members[i];
    }
    return route;
}

void fake_route_plain(struct fake_route *route, int frontd, const uint64_t *ids, uint32_t count)
{
    route->plain[route->route.plain_count++] =
        (struct route_members){.frontd = frontd < 0 ? 0 : (uint32_t) frontd,
                               .is_local = frontd < 0,
                               .count = count,
                               .ids = ids};
    route->route.entities += count;
}

void fake_route_group(struct fake_route *route, const char *name, bool sticky, int frontd,
                      const uint64_t *ids, uint32_t count)
{
    uint32_t at = 0;
    while (at < route->route.group_count && !span_is(route->groups[at].name, name)) {
        at++;
    }
    struct route_group *group = &route->groups[at];
    if (at == route->route.group_count) {
        route->route.group_count++;
        route->route.entities++;
        group->name = span_of(name);
        group->sticky_by_key = sticky;
    }
    route->members[at][group->count++] =
        (struct route_members){.frontd = frontd < 0 ? 0 : (uint32_t) frontd,
                               .is_local = frontd < 0,
                               .count = count,
                               .ids = ids};
    group->member_count += count;
}

/* --- messages --- */

void fake_message(struct buf *run, const char *topic, const char *payload)
{
    es_append(run, span_of(topic), span_of(payload), (struct span){0}, (struct span){0},
              (struct span){0});
}

void fake_messages(struct buf *run, const char *topic, unsigned count, size_t size)
{
    char *payload = (char *) mem_new(size + 1);
    memset(payload, 'x', size);
    for (unsigned i = 0; i < count; i++) {
        fake_message(run, topic, payload);
    }
    mem_free(payload);
}

struct run fake_run(const struct buf *bytes, uint32_t count)
{
    struct payload *owner = payload_copy(buf_span(bytes));
    ck_assert_ptr_nonnull(owner);
    return (struct run){
        .messages = payload_span(owner),
        .count = count,
        .owner = owner,
        .origin = ROUTE_LOCAL,
    };
}

void fake_run_end(struct run *run)
{
    run_release(run);
    payload_unref(&run->owner);
}

int fake_publish(struct conn *conn, uint64_t corr, const struct buf *messages)
{
    extern session_handler_fn handle_es_publish;
    struct payload *owner = payload_copy(buf_span(messages));
    struct frame_view view = {
        .corr = corr,
        .field = RAILGUN__FRAME__BODY_ES_PUBLISH,
        .body = payload_span(owner),
    };
    int result = handle_es_publish(&conn->session, &view, owner);
    payload_unref(&owner);
    return result;
}

struct subscription *fake_subscribe(struct conn *conn, struct fake_options options)
{
    struct exchange *exchange = NULL;
    struct buf matchers = {0};
    pb_append_bytes(&matchers, 4, span_of("a.b"));
    ck_assert_int_eq(exchanges_ref(NULL, conn->session.namespace_, (struct span){0}, &exchange), 0);
    subscription_open(
        &conn->session, exchange,
        &(struct subscription_options){
            .number = options.number,
            .corr = options.number,
            .matchers = buf_span(&matchers),
            .group = options.group != NULL ? span_of(options.group) : (struct span){0},
            .sticky_by_key = options.sticky,
            .policy = options.policy,
            .messages_max = options.messages_max != 0 ? options.messages_max : 10000,
            .bytes_max = options.bytes_max != 0 ? options.bytes_max : 16 << 20,
            .needs_credit = options.needs_credit,
            .credit_messages = options.messages,
            .credit_bytes = options.bytes,
        });
    buf_release(&matchers);
    struct subscription *self = session_find_subscription(&conn->session, options.number);
    ck_assert_ptr_nonnull(self);
    if (!options.is_unconfirmed) {
        struct frame_view view;
        subscriptions_on_confirmed(fake.frontd.subscriptions, fake.last_added);
        ck_assert(fake_frame(conn, &view));
        ck_assert_uint_eq(view.field, RAILGUN__FRAME__BODY_ES_SUBSCRIBE_OK);
        ck_assert_uint_eq(field_number(view.body, 1), subscription_id(self));
    }
    return self;
}

/* --- all of it --- */

void fake_start(void)
{
    fake = (struct fake){.now_ms = 1000};
    hook_count = 0;
    fake.wheel = wheel_new(fake.now_ms);
    fake.settings = (struct settings){
        .record_bytes_max = 1 << 20,
        .frame_bytes_max = 8 << 20,
        .outbound_bytes_max = 8 << 20,
        .outbound_total_bytes_max = 256 << 20,
        .subscriptions_max = 10000,
        .subscriptions_total_max = 1000000,
        .es_outbound_bytes = 1 << 20,
        .es_queue_messages_max = 10000,
        .es_queue_bytes_max = 16 << 20,
        .es_queued_total_bytes_max = 128 << 20,
        .es_waiting_bytes_max = 4 << 20,
        .es_waiting_total_bytes_max = 64 << 20,
        .es_turn_bytes = 4 << 20,
        .request_timeout_ms = 10000,
        .catalog_wait_ms = 5000,
    };
    fake.frontd.settings = &fake.settings;
    fake.frontd.name = "frontd-0";
    fake.frontd.counters.errors = &fake.errors;
    fake.frontd.subscriptions = subscriptions_new(&fake.frontd);
    fake.frontd.switching = switch_new(&fake.frontd);
    fake.frontd.inlets = inlets_new(&fake.frontd);
    fake.frontd.watchers = watchers_new(&fake.frontd);
}

void fake_stop(void)
{
    struct subscriptions_counts counts;
    subscriptions_count(fake.frontd.subscriptions, &counts);
    ck_assert_uint_eq(counts.count, 0);
    ck_assert_uint_eq(counts.queued_messages, 0);
    ck_assert_uint_eq(counts.queued_bytes, 0);
    ck_assert_uint_eq(counts.memory_bytes, 0);
    ck_assert_uint_eq(fake.exchange.queued, 0);
    ck_assert_uint_eq(fake.exchange.references, 0);
    ck_assert_uint_eq(fake.exchange.counts.matched,
                      fake.exchange.counts.delivered + fake.exchange.counts.dropped);
    inlets_destroy(&fake.frontd.inlets);
    watchers_destroy(&fake.frontd.watchers);
    subscriptions_destroy(&fake.frontd.subscriptions);
    switch_destroy(&fake.frontd.switching);
    buf_release(&fake.frontd.scratch);
    for (unsigned i = 0; i < FAKE_NEIGHBOURS; i++) {
        buf_release(&fake.neighbours[i].forwards);
        buf_release(&fake.neighbours[i].loads);
    }
    wheel_destroy(&fake.wheel);
}
