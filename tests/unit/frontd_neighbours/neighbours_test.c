/* Two frontds that find each other, over the real bus. */
#include "frontd/neighbours.h"

#include <string.h>

#include "common/base/err.h"
#include "common/wire/bus.pb-c.h"
#include "common/wire/es.h"
#include "frontd/request.h"
#include "tests/lib/test.h"

enum { SIDES = 2 };

/* One frontd, as far as its neighbours need it. */
struct side {
    struct frontd frontd;
    struct settings settings;
    char name[16];
    struct neighbours *neighbours;
    unsigned ups;
    unsigned losts;
    unsigned rooms;
    /* what came */
    struct buf types; /* F: a forward, L: a load */
    uint32_t messages;
    uint32_t blocks;
    uint64_t last_id;
    bool is_holding; /* gives no credit back */
    uint64_t tickets[256];
    unsigned ticket_count;
    bool is_silent; /* answers no request */
};

static struct loop *loop;
static struct side sides[SIDES];

static void on_neighbour_up(void *ud, unsigned frontd)
{
    struct side *self = ud;
    ck_assert_uint_eq(frontd, self == &sides[0] ? 1 : 0);
    self->ups++;
}

static void on_lost(void *ud, unsigned frontd)
{
    struct side *self = ud;
    (void) frontd;
    self->losts++;
}

static void on_room(void *ud)
{
    struct side *self = ud;
    self->rooms++;
}

static void on_up(void *ud, struct bus_link *link)
{
    struct side *self = ud;
    if (self->neighbours != NULL) {
        ck_assert(neighbours_on_up(self->neighbours, link));
    }
}

static void on_down(void *ud, struct bus_link *link)
{
    struct side *self = ud;
    if (self->neighbours != NULL) {
        ck_assert(neighbours_on_down(self->neighbours, link));
    }
}

static void on_credit(void *ud, struct bus_link *link)
{
    struct side *self = ud;
    ck_assert(neighbours_on_credit(self->neighbours, link));
}

static void take_forward(struct side *self, struct bus_message *message)
{
    struct span rest = message->body.bytes;
    struct es_block block;
    int result = 0;
    buf_append_byte(&self->types, 'F');
    while ((result = es_block_next(&rest, &block)) == 1) {
        uint64_t id = es_block_id(&block, 0);
        ck_assert_uint_eq(id, self->last_id + 1); /* in order */
        self->last_id = id;
        self->messages += block.count;
        self->blocks++;
    }
    ck_assert_int_eq(result, 0);
    if (self->is_holding) {
        ck_assert_uint_lt(self->ticket_count, 256);
        bus_message_hold(message);
        self->tickets[self->ticket_count++] = message->ticket;
    }
}

static void on_message(void *ud, struct bus_link *link, struct bus_message *message)
{
    struct side *self = ud;
    ck_assert_int_eq(neighbours_of_link(link), self == &sides[0] ? 1 : 0);
    if (message->is_request && !self->is_silent) {
        struct bus_outgoing out = {.meta = message->meta};
        ck_assert_int_eq(bus_reply(self->frontd.bus, message->ticket, &out), 0);
    } else if (message->type == RAILGUN__BUS_TYPE__BUS_ES_FORWARD) {
        take_forward(self, message);
    } else if (message->type == RAILGUN__BUS_TYPE__BUS_ES_LOAD) {
        buf_append_byte(&self->types, 'L');
    }
}

static char run_dir[256];

static void side_open(unsigned at, uint64_t window_bytes)
{
    struct side *self = &sides[at];
    *self = (struct side){0};
    (void) snprintf(self->name, sizeof(self->name), "frontd-%u", at);
    self->settings.daemon.run_dir = run_dir;
    self->settings.parked_bytes_max = 1 << 20;
    self->settings.request_timeout_ms = 10000;
    struct bus_handlers handlers = {.on_up = on_up,
                                    .on_down = on_down,
                                    .on_message = on_message,
                                    .on_credit = on_credit,
                                    .ud = self};
    struct bus_options options = {
        .run_dir = run_dir, .name = self->name, .window_bytes = window_bytes};
    ck_assert_int_eq(bus_open(&options, loop, &handlers, &self->frontd.bus), 0);
    ck_assert_int_eq(bus_bind(self->frontd.bus), 0);
    self->frontd.loop = loop;
    self->frontd.name = self->name;
    self->frontd.settings = &self->settings;
    self->frontd.requests = request_pool_new();
    struct neighbours_events events = {
        .on_up = on_neighbour_up, .on_lost = on_lost, .on_room = on_room, .ud = self};
    self->neighbours = neighbours_new(&self->frontd, &events);
}

/* What the loop calls at the end of a turn must live as long as the loop. */
static struct neighbours *closed[8];
static struct request_pool *pools[8];
static unsigned closed_count;

static void side_close(unsigned at)
{
    struct side *self = &sides[at];
    bus_close(&self->frontd.bus);
    neighbours_bus_closed(self->neighbours);
    closed[closed_count] = self->neighbours;
    pools[closed_count++] = self->frontd.requests;
    buf_release(&self->types);
}

#define UNTIL(fact)                                                                                \
    while (!(fact)) {                                                                              \
        loop_turn(loop);                                                                           \
    }

static void open_both(uint64_t window_bytes)
{
    (void) snprintf(run_dir, sizeof(run_dir), "%s", test_folder());
    loop = loop_new();
    side_open(0, window_bytes);
    side_open(1, window_bytes);
    UNTIL(sides[0].ups == 1 && sides[1].ups == 1);
    ck_assert(neighbours_is_up(sides[0].neighbours, 1));
    ck_assert(!neighbours_is_up(sides[0].neighbours, 0));
    ck_assert_uint_eq(neighbours_count(sides[0].neighbours), 1);
    unsigned cursor = 0;
    ck_assert_int_eq(neighbours_next(sides[0].neighbours, &cursor), 1);
    ck_assert_int_eq(neighbours_next(sides[0].neighbours, &cursor), -1);
}

static void close_both(void)
{
    side_close(0);
    side_close(1);
    while (closed_count != 0) {
        neighbours_destroy(&closed[--closed_count]);
        request_pool_destroy(&pools[closed_count]);
    }
    loop_destroy(&loop);
}

static bool forward(uint64_t id, uint32_t count, size_t size)
{
    struct buf messages = {0};
    char payload[4096];
    memset(payload, 'x', sizeof(payload));
    for (uint32_t i = 0; i < count; i++) {
        es_append(&messages, span_of("a"), span_make(payload, size), (struct span){0},
                  (struct span){0}, (struct span){0});
    }
    bool result =
        neighbours_forward(sides[0].neighbours, 1, &id, 1, count, false, 0, 0, buf_span(&messages));
    buf_release(&messages);
    return result;
}

TEST(what_a_turn_gathers_goes_as_one_and_what_is_told_comes_behind_it)
{
    open_both(0);
    uint64_t id = 0;
    for (unsigned i = 0; i < 10; i++) {
        ck_assert(forward(++id, 5, 100));
    }
    ck_assert(neighbours_tell(sides[0].neighbours, 1, RAILGUN__BUS_TYPE__BUS_ES_LOAD,
                              span_of("\x0a\x00")));
    ck_assert(forward(++id, 5, 100));
    UNTIL(sides[1].blocks == 11);
    ck_assert_str_eq(buf_text(&sides[1].types), "FLF");
    ck_assert_uint_eq(sides[1].messages, 55);
    close_both();
}

TEST(much_goes_in_parts_before_the_turn_ends)
{
    open_both(0);
    uint64_t id = 0;
    for (unsigned i = 0; i < 10; i++) {
        ck_assert(forward(++id, 25, 4000));
    }
    UNTIL(sides[1].blocks == 10);
    ck_assert_uint_ge(sides[1].types.size, 3);
    ck_assert_uint_le(sides[1].types.size, 5);
    close_both();
}

TEST(without_credit_there_is_no_room_until_it_comes_and_nothing_is_lost)
{
    open_both(1 << 20);
    uint64_t id = 0;
    sides[1].is_holding = true;
    while (neighbours_has_room(sides[0].neighbours, 1)) {
        ck_assert(forward(++id, 25, 4000));
        ck_assert(forward(++id, 25, 4000));
        loop_turn(loop);
        ck_assert_uint_lt(id, 200);
    }
    /* One frame was on its way to be passed on: it is still taken. */
    ck_assert(forward(++id, 25, 4000));
    unsigned before = sides[0].rooms;
    sides[1].is_holding = false;
    while (sides[0].rooms == before || sides[1].blocks != id) {
        while (sides[1].ticket_count != 0) {
            bus_release(sides[1].frontd.bus, sides[1].tickets[--sides[1].ticket_count]);
        }
        loop_turn(loop);
    }
    ck_assert(neighbours_has_room(sides[0].neighbours, 1));
    ck_assert_uint_eq(sides[1].messages, id * 25);
    close_both();
}

TEST(a_lot_in_one_turn_leaves_no_room_until_its_end)
{
    open_both(0);
    uint64_t id = 0;
    while (neighbours_has_room(sides[0].neighbours, 1)) {
        ck_assert(forward(++id, 50, 4000));
    }
    ck_assert_uint_gt(id, 15);
    unsigned before = sides[0].rooms;
    UNTIL(sides[0].rooms != before);
    ck_assert(neighbours_has_room(sides[0].neighbours, 1));
    close_both();
}

static unsigned outcomes[3];

static void asked_done(struct request *request, enum bus_outcome outcome,
                       const struct bus_message *reply)
{
    (void) request;
    outcomes[outcome]++;
    if (outcome == BUS_OK) {
        ck_assert(span_is(reply->meta, "hello"));
    }
}

static void ask(unsigned frontd)
{
    struct request *request = request_take(sides[0].frontd.requests);
    request->frontd = &sides[0].frontd;
    request->done = asked_done;
    neighbours_ask(sides[0].neighbours, frontd, request, RAILGUN__BUS_TYPE__BUS_ES_INFO,
                   span_of("hello"), NULL, 5000);
}

TEST(a_neighbour_is_asked_and_one_that_is_not_up_fails)
{
    open_both(0);
    ask(1);
    ask(2);
    ck_assert_uint_eq(outcomes[BUS_FAILED], 0); /* not inside the call */
    UNTIL(outcomes[BUS_OK] == 1 && outcomes[BUS_FAILED] == 1);
    close_both();
}

TEST(a_lost_neighbour_is_told_of_and_comes_back)
{
    open_both(0);
    sides[1].is_silent = true;
    ask(1);
    loop_turn(loop);
    ck_assert(forward(1, 1, 10));
    side_close(1);
    UNTIL(sides[0].losts == 1 && outcomes[BUS_UNKNOWN] == 1);
    ck_assert_uint_ne(sides[0].rooms, 0); /* nobody waits for it any longer */
    ck_assert(!neighbours_is_up(sides[0].neighbours, 1));
    ck_assert(neighbours_has_room(sides[0].neighbours, 1));
    ck_assert(!forward(2, 1, 10));
    ck_assert(
        !neighbours_tell(sides[0].neighbours, 1, RAILGUN__BUS_TYPE__BUS_ES_LOAD, (struct span){0}));
    side_open(1, 0);
    UNTIL(sides[0].ups == 2 && sides[1].ups == 1);
    ck_assert(forward(1, 1, 10));
    UNTIL(sides[1].blocks == 1);
    close_both();
}
