/* The router on a real bus, with frontds that are only a bus and a note of what they heard. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/run/loop.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/pb.h"
#include "common/wire/route_lease.h"
#include "common/wire/router.pb-c.h"

#include "routerd/serve.h"

#include "tests/lib/test.h"

enum { FRONTDS = 2, STEP_US_MAX = 300000 };

/* --- time ---------------------------------------------------------------------------------------------------- */

/* Goes on by so much at most from one look to the next: that the machine has let us stand still is not what a router is to notice here. */
static uint64_t steady_us = 1000000000;
static uint64_t looked_us;

static uint64_t clock_us(clockid_t id)
{
    struct timespec now;
    (void) clock_gettime(id, &now);
    return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

static uint64_t monotonic_us(void *ud)
{
    (void) ud;
    uint64_t now_us = clock_us(CLOCK_MONOTONIC);
    uint64_t step_us = looked_us != 0 ? now_us - looked_us : 0;
    looked_us = now_us;
    steady_us += step_us < STEP_US_MAX ? step_us : STEP_US_MAX;
    return steady_us;
}

static uint64_t real_us(void *ud)
{
    (void) ud;
    return clock_us(CLOCK_REALTIME);
}

const struct timesource *timesource_system(void)
{
    static const struct timesource source = {monotonic_us, real_us, NULL};
    return &source;
}

struct host;
struct front {
    struct host *host;
    struct bus *bus;
    struct bus_link *link;
    unsigned ups;
    unsigned downs;
    unsigned resets;
    unsigned readies;
    uint64_t confirmed;
    unsigned answered;
    int status;
    char routes[64]; /* of the last answer: ids, in order */
    bool is_mute;    /* applies nothing */
};

struct host {
    struct loop *loop;
    struct bus *bus;
    struct serve *serve;
    bool is_ready;
    char reason[64];
    struct front fronts[FRONTDS];
};

/* --- the router's side ------------------------------------------------------------------------------------- */

static void host_on_ready(void *ud, const char *reason)
{
    struct host *host = ud;
    host->is_ready = reason == NULL;
    (void) snprintf(host->reason, sizeof(host->reason), "%s", reason != NULL ? reason : "");
}

static void host_on_up(void *ud, struct bus_link *link)
{
    serve_on_up(((struct host *) ud)->serve, link);
}

static void host_on_down(void *ud, struct bus_link *link)
{
    serve_on_down(((struct host *) ud)->serve, link);
}

static void host_on_message(void *ud, struct bus_link *link, struct bus_message *message)
{
    serve_on_message(((struct host *) ud)->serve, link, message);
}

static void host_on_credit(void *ud, struct bus_link *link)
{
    serve_on_credit(((struct host *) ud)->serve, link);
}

/* --- a frontd's side --------------------------------------------------------------------------------------- */

static void front_send(struct front *front, uint16_t type, struct buf *meta)
{
    struct bus_outgoing out = {.type = type, .meta = buf_span(meta)};
    ck_assert_int_eq(bus_event(front->link, &out), 0);
    buf_release(meta);
}

static void front_subscribe(struct front *front, uint64_t id, uint64_t serial, const char *matcher)
{
    struct buf meta = {0};
    struct buf one = {0};
    pb_append_bytes(&meta, 1, span_of("\x0a\x02ns"));
    pb_append_fixed64(&one, 1, id);
    pb_append_varint(&one, 2, serial);
    pb_append_bytes(&one, 4, span_of(matcher));
    pb_append_bytes(&meta, 2, buf_span(&one));
    buf_release(&one);
    front_send(front, RAILGUN__BUS_TYPE__BUS_ROUTE_SUBSCRIBE, &meta);
}

static void front_lookup(struct front *front, const char *topic)
{
    struct buf meta = {0};
    pb_append_varint(&meta, 1, 1);
    pb_append_bytes(&meta, 2, span_of("\x0a\x02ns"));
    pb_append_bytes(&meta, 3, span_of(topic));
    front->routes[0] = '\0';
    front->answered = 0;
    front_send(front, RAILGUN__BUS_TYPE__BUS_ROUTE_LOOKUP, &meta);
}

static void front_hear_routes(struct front *front, struct span meta)
{
    Railgun__RouteRoutes *message = railgun__route_routes__unpack(NULL, meta.size, meta.data);
    ck_assert_ptr_nonnull(message);
    ck_assert_uint_eq(message->n_routes, 1);
    size_t at = 0;
    for (size_t i = 0; i < message->routes[0]->n_plain; i++) {
        const Railgun__RouteMembers *members = message->routes[0]->plain[i];
        for (size_t k = 0; k < members->n_ids; k++) {
            at += (size_t) snprintf(front->routes + at, sizeof(front->routes) - at, "%u:%u ",
                                    members->frontd, (unsigned) members->ids[k]);
        }
    }
    front->answered++;
    railgun__route_routes__free_unpacked(message, NULL);
}

static void front_hear_changes(struct front *front, struct span meta)
{
    Railgun__RouteChanges *message = railgun__route_changes__unpack(NULL, meta.size, meta.data);
    ck_assert_ptr_nonnull(message);
    front->readies += message->ready != 0;
    if (!front->is_mute) {
        struct buf applied = {0};
        pb_append_varint(&applied, 1, message->seq);
        front_send(front, RAILGUN__BUS_TYPE__BUS_ROUTE_APPLIED, &applied);
    }
    railgun__route_changes__free_unpacked(message, NULL);
}

static void front_on_message(void *ud, struct bus_link *link, struct bus_message *message)
{
    struct front *front = ud;
    struct buf none = {0};
    struct span rest = message->meta;
    struct pb_field field;
    (void) link;
    switch ((int) message->type) {
    case RAILGUN__BUS_TYPE__BUS_ROUTE_RESET:
        front->resets++;
        front_send(front, RAILGUN__BUS_TYPE__BUS_ROUTE_SYNCED, &none);
        break;
    case RAILGUN__BUS_TYPE__BUS_ROUTE_CHANGES:
        front_hear_changes(front, message->meta);
        break;
    case RAILGUN__BUS_TYPE__BUS_ROUTE_ROUTES:
        front_hear_routes(front, message->meta);
        break;
    case RAILGUN__BUS_TYPE__BUS_ROUTE_CONFIRMED:
        ck_assert_int_eq(pb_next(&rest, &field), 1);
        front->confirmed = field.value;
        break;
    default:
        ck_abort_msg("type %u", message->type);
    }
}

static void front_on_up(void *ud, struct bus_link *link)
{
    ((struct front *) ud)->link = link;
    ((struct front *) ud)->ups++;
}

static void front_on_down(void *ud, struct bus_link *link)
{
    (void) link;
    ((struct front *) ud)->link = NULL;
    ((struct front *) ud)->downs++;
}

/* The process is there, without a session. */
static void front_open(struct host *host, unsigned instance, const char *dir)
{
    struct front *front = &host->fronts[instance];
    char name[16];
    (void) snprintf(name, sizeof(name), "frontd-%u", instance);
    struct bus_options options = {.run_dir = dir, .name = name};
    struct bus_handlers handlers = {.on_up = front_on_up,
                                    .on_down = front_on_down,
                                    .on_message = front_on_message,
                                    .ud = front};
    front->host = host;
    ck_assert_int_eq(bus_open(&options, host->loop, &handlers, &front->bus), 0);
    ck_assert_int_eq(bus_lock(front->bus), 0);
}

/* --- running ----------------------------------------------------------------------------------------------- */

static void host_open(struct host *host, const char *dir)
{
    struct bus_options options = {.run_dir = dir, .name = "routerd-0"};
    struct bus_handlers handlers = {host_on_up,     host_on_down, host_on_message,
                                    host_on_credit, host,         NULL};
    struct router_options limits = {1000, 1000, 1000, 1000, 1 << 20, 1 << 20, 0};
    struct serve_events events = {host_on_ready, host};
    ck_assert_int_eq(bus_open(&options, host->loop, &handlers, &host->bus), 0);
    ck_assert_int_eq(bus_bind(host->bus), 0);
    host->serve = serve_new(host->loop, host->bus, dir, &limits, &events);
    ck_assert_ptr_nonnull(host->serve);
    serve_start(host->serve);
}

static void host_close(struct host *host)
{
    for (unsigned i = 0; i < FRONTDS; i++) {
        if (host->fronts[i].bus != NULL) {
            bus_close(&host->fronts[i].bus);
        }
    }
    bus_close(&host->bus);
    serve_destroy(&host->serve);
    loop_destroy(&host->loop);
}

static void expire(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    *(bool *) ud = true;
}

#define UNTIL(host, fact)                                                                          \
    do {                                                                                           \
        struct wheel_timer deadline;                                                               \
        bool is_over = false;                                                                      \
        wheel_timer_init(&deadline, expire, &is_over);                                             \
        loop_timer_start((host)->loop, &deadline, (uint64_t) (15000 * test_slowness()));           \
        while (!(fact) && !is_over) {                                                              \
            loop_turn((host)->loop);                                                               \
        }                                                                                          \
        wheel_cancel(loop_wheel((host)->loop), &deadline);                                         \
        ck_assert_msg(!is_over, "in vain: %s", #fact);                                             \
    } while (0)

static uint64_t subscriptions(const struct host *host)
{
    struct router_counts counts;
    router_count(serve_router(host->serve), &counts);
    return counts.subscriptions;
}

TEST(over_the_bus_a_subscription_is_confirmed_and_found)
{
    struct host host = {.loop = loop_new()};
    const char *dir = test_folder();
    struct front *fronts = host.fronts;
    front_open(&host, 0, dir);
    front_open(&host, 1, dir);
    host_open(&host, dir);
    ck_assert(!host.is_ready); /* both hold their locks */
    ck_assert_str_eq(host.reason, "waiting for frontd-0");
    (void) bus_connect(fronts[0].bus, "routerd-0");
    UNTIL(&host, strcmp(host.reason, "waiting for frontd-1") == 0);
    (void) bus_connect(fronts[1].bus, "routerd-0");
    UNTIL(&host, host.is_ready && fronts[0].readies == 1 && fronts[1].readies == 1);
    front_subscribe(&fronts[0], 7, 3, "a.*");
    UNTIL(&host, fronts[0].confirmed == 3);
    front_lookup(&fronts[1], "a.b");
    UNTIL(&host, fronts[1].answered == 1);
    ck_assert_str_eq(fronts[1].routes, "0:7 ");
    host_close(&host);
}

TEST(over_the_bus_a_mute_frontd_is_waited_for_until_it_dies)
{
    struct host host = {.loop = loop_new()};
    const char *dir = test_folder();
    struct front *fronts = host.fronts;
    front_open(&host, 0, dir);
    front_open(&host, 1, dir);
    host_open(&host, dir);
    (void) bus_connect(fronts[0].bus, "routerd-0");
    (void) bus_connect(fronts[1].bus, "routerd-0");
    UNTIL(&host, fronts[0].readies == 1 && fronts[1].readies == 1);
    front_subscribe(&fronts[1], 8, 1, "b");
    UNTIL(&host, fronts[1].confirmed == 1);
    fronts[1].is_mute = true;
    front_subscribe(&fronts[0], 7, 3, "a.*");
    front_lookup(&fronts[0], "a.b");
    UNTIL(&host, fronts[0].answered == 1);
    front_lookup(&fronts[0], "b");
    UNTIL(&host, fronts[0].answered == 1);
    ck_assert_str_eq(fronts[0].routes, "1:8 ");
    ck_assert_uint_eq(fronts[0].confirmed, 0);
    ck_assert_uint_eq(subscriptions(&host), 2);
    bus_close(&fronts[1].bus);
    UNTIL(&host, fronts[0].confirmed == 3 && subscriptions(&host) == 1);
    host_close(&host);
}

static void claim_done(void *ud, enum bus_outcome outcome, const struct bus_message *reply)
{
    struct front *front = ud;
    ck_assert_int_eq(outcome, BUS_OK);
    front->status = reply->status;
    front->answered++;
}

TEST(over_the_bus_names_are_claimed_and_nonsense_ends_the_session)
{
    struct host host = {.loop = loop_new()};
    const char *dir = test_folder();
    struct front *fronts = host.fronts;
    front_open(&host, 0, dir);
    front_open(&host, 1, dir);
    host_open(&host, dir);
    (void) bus_connect(fronts[0].bus, "routerd-0");
    (void) bus_connect(fronts[1].bus, "routerd-0");
    UNTIL(&host, fronts[0].readies == 1 && fronts[1].readies == 1);
    struct bus_outgoing claim = {.type = RAILGUN__BUS_TYPE__BUS_ROUTE_CLAIM,
                                 .meta =
                                     span_make("\x0a\x02ns\x12\x01n\x19\x01\0\0\0\0\0\0\0", 16)};
    for (unsigned i = 0; i < FRONTDS; i++) {
        ck_assert_int_eq(bus_request(fronts[i].link, &claim, 5000, claim_done, &fronts[i], NULL),
                         0);
        UNTIL(&host, fronts[i].answered == 1);
    }
    ck_assert_int_eq(fronts[0].status, 0);
    ck_assert_int_eq(fronts[1].status, ERR_RS_IN_USE);
    struct buf meta = {0};
    buf_append_text(&meta, "\xff\xff");
    front_send(&fronts[0], RAILGUN__BUS_TYPE__BUS_ROUTE_LOOKUP, &meta);
    UNTIL(&host, fronts[0].downs == 1 && fronts[0].ups == 2 && fronts[0].readies == 2);
    ck_assert_uint_eq(fronts[1].downs, 0);
    host_close(&host);
}

TEST(over_the_bus_who_stood_still_asks_all_anew)
{
    struct host host = {.loop = loop_new()};
    const char *dir = test_folder();
    struct front *fronts = host.fronts;
    front_open(&host, 0, dir);
    host_open(&host, dir);
    (void) bus_connect(fronts[0].bus, "routerd-0");
    UNTIL(&host, fronts[0].readies == 1);
    steady_us += (ROUTE_PAUSE_MS + 100) * 1000; /* without a turn in between */
    UNTIL(&host, fronts[0].resets == 2 && fronts[0].readies == 2);
    ck_assert(host.is_ready);
    host_close(&host);
}
