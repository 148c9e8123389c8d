/* fake: see the header. These definitions come before those of the archives when the program is linked. */
#include "tests/unit/frontd_routers/fake.h"

#include <limits.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/mem.h"
#include "common/run/loop.h"
#include "frontd/catalog.h"
#include "frontd/subscription.h"
#include "tests/lib/test.h"

struct fake fake;

/* --- time --- */

struct loop {
    struct wheel *wheel;
    struct {
        loop_call_fn *call;
        void *ud;
    } deferred[64];
    size_t count;
};
static struct loop the_loop;

static uint64_t fake_clock(void *ud)
{
    (void) ud;
    return fake.now_ms * 1000;
}

const struct timesource *timesource_system(void)
{
    static const struct timesource source = {fake_clock, fake_clock, NULL};
    return &source;
}

uint64_t loop_now_ms(const struct loop *self)
{
    (void) self;
    return fake.now_ms;
}

uint64_t loop_now_us(const struct loop *self)
{
    (void) self;
    return fake.now_ms * 1000;
}

struct wheel *loop_wheel(struct loop *self)
{
    return self->wheel;
}

void loop_timer_start(struct loop *self, struct wheel_timer *timer, uint64_t in_ms)
{
    wheel_add(self->wheel, timer, fake.now_ms + in_ms);
}

void loop_defer(struct loop *self, loop_call_fn *call, void *ud)
{
    ck_assert_uint_lt(self->count, 64);
    self->deferred[self->count].call = call;
    self->deferred[self->count++].ud = ud;
}

void loop_defer_cancel(struct loop *self, loop_call_fn *call, const void *ud)
{
    for (size_t i = 0; i < self->count; i++) {
        if (self->deferred[i].call == call && self->deferred[i].ud == ud) {
            self->deferred[i].call = NULL;
        }
    }
}

/* --- the bus --- */

struct bus_peer *bus_connect(struct bus *self, const char *name)
{
    (void) self;
    unsigned instance = (unsigned) presence_instance("routerd", name);
    ck_assert_uint_lt(instance, FAKE_ROUTERS);
    fake.peers[instance].is_connected = true;
    return &fake.peers[instance];
}

struct bus_link *bus_peer_link(const struct bus_peer *peer)
{
    return peer->link;
}

void bus_link_close(struct bus_link *link)
{
    link->is_closed = true;
}

static int fake_send(struct bus_link *link, const struct bus_outgoing *out, uint64_t id)
{
    if (link == NULL || link->is_closed) {
        return ERR_CLOSED;
    }
    struct bus_peer *peer = &fake.peers[link->instance];
    if (peer->credit == 0) {
        peer->is_owed = true;
        return ERR_AGAIN;
    }
    peer->credit -= peer->credit != UINT_MAX ? 1 : 0;
    ck_assert_uint_lt(peer->sent_count, FAKE_SENT_MAX);
    struct fake_sent *sent = &peer->sent[peer->sent_count++];
    *sent = (struct fake_sent){.type = out->type, .is_request = id != 0, .id = id};
    buf_append(&sent->meta, out->meta);
    return 0;
}

int bus_event(struct bus_link *link, const struct bus_outgoing *out)
{
    return fake_send(link, out, 0);
}

struct call {
    uint64_t id;
    const struct bus_link *link;
    bus_done_fn *done;
    void *ud;
};
static struct call calls[FAKE_CALLS_MAX];

int bus_request(struct bus_link *link, const struct bus_outgoing *out, uint64_t timeout_ms,
                bus_done_fn *done, void *ud, uint64_t *ret_id)
{
    (void) timeout_ms;
    int result = fake_send(link, out, fake.id_last + 1);
    if (result == 0) {
        size_t at = 0;
        while (calls[at].id != 0) {
            ck_assert_uint_lt(++at, FAKE_CALLS_MAX);
        }
        calls[at] = (struct call){++fake.id_last, link, done, ud};
        *ret_id = fake.id_last;
    }
    return result;
}

void bus_request_cancel(struct bus *self, uint64_t id)
{
    (void) self;
    for (size_t i = 0; i < FAKE_CALLS_MAX; i++) {
        calls[i].id = calls[i].id == id ? 0 : calls[i].id;
    }
}

void fake_reply(const struct fake_sent *sent, int status, struct span meta)
{
    struct bus_message reply = {.type = sent->type, .status = status, .meta = meta};
    for (size_t i = 0; i < FAKE_CALLS_MAX; i++) {
        if (calls[i].id == sent->id) {
            struct call call = calls[i];
            calls[i].id = 0;
            call.done(call.ud, BUS_OK, &reply);
            return;
        }
    }
}

/* --- who lives --- */

static struct {
    presence_fn *on_change;
    void *ud;
} watcher;

struct presence *presence_new(struct loop *loop, const char *run_dir, const char *kind,
                              presence_fn *on_change, void *ud)
{
    (void) loop;
    (void) run_dir;
    ck_assert_str_eq(kind, "routerd");
    watcher.on_change = on_change;
    watcher.ud = ud;
    return (struct presence *) (void *) &watcher;
}

void presence_destroy(struct presence **self)
{
    *self = NULL;
}

void presence_look(struct presence *self)
{
    (void) self;
    fake.looks++;
}

/* --- what is above --- */

void frontd_request_end(void *self, struct request *request)
{
    ck_assert_ptr_eq(self, &fake.frontd);
    request_give(fake.frontd.requests, request);
}

void subscriptions_exchange_gone(struct subscriptions *self, struct exchange *exchange, int error)
{
    (void) self;
    (void) exchange;
    (void) error;
}

static void fake_confirmed(void *ud, struct registration *registration)
{
    ck_assert_ptr_eq(ud, &fake);
    ck_assert(registration->is_confirmed);
    fake.confirmed[fake.confirmed_count++] = registration;
}

static void fake_rejected(void *ud, struct registration *registration, int error,
                          struct span detail)
{
    ck_assert_ptr_eq(ud, &fake);
    ck_assert(span_is(detail, "why"));
    fake.rejected = registration;
    fake.rejected_error = error;
}

static void fake_progress(void *ud)
{
    ck_assert_ptr_eq(ud, &fake);
    fake.progress++;
}

/* --- life --- */

void fake_start(void)
{
    fake.now_ms = 1000000;
    the_loop.wheel = wheel_new(fake.now_ms);
    fake.settings = (struct settings){
        .routes_entries_max = 1024,
        .routes_bytes_max = 1 << 20,
        .topics_max = 1000,
        .connection_topics_max = 1000,
        .request_timeout_ms = 10000,
        .parked_bytes_max = 1 << 20,
    };
    fake.frontd = (struct frontd){
        .settings = &fake.settings,
        .loop = &the_loop,
        .name = "frontd-7",
        .catalog = catalog_new(),
        .requests = request_pool_new(),
    };
    for (unsigned i = 0; i < FAKE_ROUTERS; i++) {
        fake.peers[i].credit = UINT_MAX;
    }
    fake.frontd.exchanges = exchanges_new(&fake.frontd);
    fake.routes = fake.frontd.routes = routes_new(&fake.frontd, fake_progress, &fake);
    fake.routers = fake.frontd.routers =
        routers_new(&fake.frontd, &(struct routers_events){.on_confirmed = fake_confirmed,
                                                           .on_rejected = fake_rejected,
                                                           .ud = &fake});
    ck_assert_int_eq(
        exchanges_ref(fake.frontd.exchanges, span_of("default"), (struct span){0}, &fake.exchange),
        0);
}

void fake_stop(void)
{
    for (unsigned i = 0; i < FAKE_ROUTERS; i++) {
        if (fake.peers[i].link != NULL) {
            fake_down(i);
        }
    }
    routers_bus_closed(fake.routers);
    routers_destroy(&fake.frontd.routers);
    routes_destroy(&fake.frontd.routes);
    exchanges_destroy(&fake.frontd.exchanges);
    catalog_destroy(&fake.frontd.catalog);
    request_pool_destroy(&fake.frontd.requests);
    buf_release(&fake.frontd.scratch);
    for (unsigned i = 0; i < FAKE_ROUTERS; i++) {
        for (size_t k = 0; k < fake.peers[i].sent_count; k++) {
            buf_release(&fake.peers[i].sent[k].meta);
        }
    }
    wheel_destroy(&the_loop.wheel);
}

void fake_turn(void)
{
    struct loop now = the_loop;
    the_loop.count = 0;
    for (size_t i = 0; i < now.count; i++) {
        if (now.deferred[i].call != NULL) {
            now.deferred[i].call(now.deferred[i].ud);
        }
    }
}

static void fake_answer_probes(unsigned instance)
{
    struct bus_peer *peer = &fake.peers[instance];
    for (size_t i = 0; i < peer->sent_count && peer->link != NULL && !peer->is_mute; i++) {
        if (peer->sent[i].is_request &&
            (int) peer->sent[i].type == RAILGUN__BUS_TYPE__BUS_ROUTE_INFO) {
            fake_reply(&peer->sent[i], ERR_NOT_FOUND, (struct span){0});
        }
    }
}

void fake_pass(uint64_t ms)
{
    for (uint64_t end_ms = fake.now_ms + ms; fake.now_ms < end_ms;) {
        uint64_t left_ms = end_ms - fake.now_ms;
        fake.now_ms += left_ms < 50 ? left_ms : 50;
        for (unsigned i = 0; i < FAKE_ROUTERS; i++) {
            fake_answer_probes(i);
        }
        (void) wheel_run(the_loop.wheel, fake.now_ms);
        fake_turn();
    }
    fake_turn();
}

/* --- routerds --- */

void fake_live(unsigned instance, bool is_live)
{
    watcher.on_change(watcher.ud, instance, is_live);
    fake_turn();
}

void fake_up(unsigned instance)
{
    struct bus_peer *peer = &fake.peers[instance];
    ck_assert(peer->is_connected && peer->link == NULL);
    peer->link = MEM_NEW(struct bus_link);
    peer->link->instance = instance;
    peer->seq = 0;
    ck_assert(routers_on_up(fake.routers, peer->link));
    fake_turn();
}

void fake_down(unsigned instance)
{
    struct bus_peer *peer = &fake.peers[instance];
    struct bus_link *link = peer->link;
    ck_assert_ptr_nonnull(link);
    peer->link = NULL;
    for (size_t i = 0; i < FAKE_CALLS_MAX; i++) {
        struct call call = calls[i];
        if (call.id != 0 && call.link == link) {
            calls[i].id = 0;
            call.done(call.ud, BUS_UNKNOWN, NULL);
        }
    }
    ck_assert(routers_on_down(fake.routers, link));
    mem_free(link);
    peer->sent_seen = peer->sent_count;
    fake_turn();
}

void fake_say(unsigned instance, uint16_t type, struct span meta)
{
    struct bus_message message = {.type = type, .meta = meta};
    ck_assert(routers_on_message(fake.routers, fake.peers[instance].link, &message));
    fake_turn();
}

void fake_reset(unsigned instance)
{
    struct buf meta = {0};
    pb_append_varint(&meta, 1, fake.peers[instance].seq);
    fake_say(instance, RAILGUN__BUS_TYPE__BUS_ROUTE_RESET, buf_span(&meta));
    buf_release(&meta);
}

void fake_changes(unsigned instance, const char *matcher, bool is_ready, uint64_t round)
{
    struct buf meta = {0};
    struct buf change = {0};
    struct buf exchange = {0};
    pb_append_varint(&meta, 1, ++fake.peers[instance].seq);
    if (matcher != NULL) {
        pb_append_bytes(&exchange, 1, span_of("default"));
        pb_append_bytes(&change, 1, buf_span(&exchange));
        pb_append_bytes(&change, 2, span_of(matcher));
        pb_append_bytes(&meta, 2, buf_span(&change));
    }
    if (is_ready) {
        pb_append_varint(&meta, 3, 1);
    }
    if (round != 0) {
        pb_append_varint(&meta, 4, round);
    }
    fake_say(instance, RAILGUN__BUS_TYPE__BUS_ROUTE_CHANGES, buf_span(&meta));
    buf_release(&meta);
    buf_release(&change);
    buf_release(&exchange);
}

void fake_confirm(unsigned instance, uint64_t serial)
{
    struct buf meta = {0};
    pb_append_varint(&meta, 1, serial);
    fake_say(instance, RAILGUN__BUS_TYPE__BUS_ROUTE_CONFIRMED, buf_span(&meta));
    buf_release(&meta);
}

void fake_credit(unsigned instance)
{
    struct bus_peer *peer = &fake.peers[instance];
    if (peer->is_owed) {
        peer->is_owed = false;
        ck_assert(routers_on_credit(fake.routers, peer->link));
    }
    fake_turn();
}

uint64_t fake_number(const struct fake_sent *sent, uint32_t number)
{
    struct span rest = buf_span(&sent->meta);
    struct pb_field field;
    uint64_t value = 0;
    while (pb_next(&rest, &field) == 1) {
        value = field.number == number ? field.value : value;
    }
    return value;
}

void fake_make_ready(unsigned instance)
{
    const struct fake_sent *sent = NULL;
    uint64_t round = 0;
    fake_live(instance, true);
    fake_up(instance);
    fake_reset(instance);
    while ((sent = fake_next(instance)) != NULL) {
        if ((int) sent->type == RAILGUN__BUS_TYPE__BUS_ROUTE_SYNCED) {
            round = fake_number(sent, 1);
        }
    }
    ck_assert_uint_ne(round, 0);
    fake_changes(instance, NULL, true, round);
    /* A lookup that waited may have gone out before. */
    struct bus_peer *peer = &fake.peers[instance];
    size_t at = peer->sent_seen;
    while (at < peer->sent_count &&
           (int) peer->sent[at].type != RAILGUN__BUS_TYPE__BUS_ROUTE_APPLIED) {
        at++;
    }
    ck_assert_uint_lt(at, peer->sent_count);
    peer->sent[at].type = RAILGUN__BUS_TYPE__BUS_ROUTE_INFO; /* taken */
}

const struct fake_sent *fake_next(unsigned instance)
{
    struct bus_peer *peer = &fake.peers[instance];
    while (peer->sent_seen < peer->sent_count) {
        const struct fake_sent *sent = &peer->sent[peer->sent_seen++];
        if ((int) sent->type != RAILGUN__BUS_TYPE__BUS_ROUTE_INFO) {
            return sent;
        }
    }
    return NULL;
}

const struct fake_sent *fake_expect(unsigned instance, int type)
{
    const struct fake_sent *sent = fake_next(instance);
    ck_assert_ptr_nonnull(sent);
    ck_assert_int_eq(sent->type, type);
    return sent;
}

void fake_expect_nothing(unsigned instance)
{
    const struct fake_sent *sent = fake_next(instance);
    ck_assert_msg(sent == NULL, "a message of type %d", sent != NULL ? (int) sent->type : 0);
}

size_t fake_subscribed(const struct fake_sent *sent, uint64_t *ids, size_t max)
{
    struct span rest = buf_span(&sent->meta);
    struct pb_field field;
    size_t count = 0;
    while (pb_next(&rest, &field) == 1) {
        struct span one = field.bytes;
        struct pb_field part;
        while (field.number == 2 && pb_next(&one, &part) == 1) {
            if (part.number == 1) {
                ck_assert_uint_lt(count, max);
                ids[count++] = part.value;
            }
        }
    }
    return count;
}

/* --- our side --- */

struct registration *fake_add(uint64_t id)
{
    static const uint8_t matcher[] = {4 << 3 | 2, 3, 'a', '.', '*'};
    struct registration *registration = MEM_NEW(struct registration);
    registration->id = id;
    registration->exchange = fake.exchange;
    registration->matchers = span_make(matcher, sizeof(matcher));
    routers_add(fake.routers, registration);
    ck_assert(!registration->is_confirmed);
    return registration;
}

void fake_free(struct registration **registration)
{
    routers_remove(fake.routers, *registration);
    mem_free(*registration);
    *registration = NULL;
}

bool fake_finds(const char *topic)
{
    const struct route *route = NULL;
    bool is_bad = false;
    return routes_find(fake.routes, fake.exchange, span_of(topic), 1, &route, &is_bad) ==
           ROUTES_FOUND;
}

unsigned fake_resolve(const char *topic, uint64_t id)
{
    ck_assert(!fake_finds(topic));
    fake_turn();
    for (unsigned i = 0; i < FAKE_ROUTERS; i++) {
        struct bus_peer *peer = &fake.peers[i];
        if (peer->sent_count == 0 || peer->link == NULL ||
            (int) peer->sent[peer->sent_count - 1].type != RAILGUN__BUS_TYPE__BUS_ROUTE_LOOKUP ||
            peer->sent_seen == peer->sent_count) {
            continue;
        }
        struct buf members = {0};
        struct buf route = {0};
        struct buf answer = {0};
        peer->sent_seen = peer->sent_count;
        pb_append_bytes(&members, 2, span_make(&id, sizeof(id)));
        pb_append_bytes(&route, 1, buf_span(&members));
        pb_append_varint(&answer, 1, fake_number(&peer->sent[peer->sent_count - 1], 1));
        pb_append_bytes(&answer, 2, buf_span(&route));
        fake_say(i, RAILGUN__BUS_TYPE__BUS_ROUTE_ROUTES, buf_span(&answer));
        buf_release(&members);
        buf_release(&route);
        buf_release(&answer);
        return i;
    }
    ck_abort_msg("nobody was asked");
    return 0;
}
