/* bus_lib: see the header. */
#include "tests/unit/common/run/bus_lib.h"

#include "tests/lib/test.h"

enum { THROUGH_TYPE = 999 };

static void side_on_up(void *ud, struct bus_link *link)
{
    struct side *side = ud;
    side->ups++;
    side->link = link;
}

static void side_on_down(void *ud, struct bus_link *link)
{
    struct side *side = ud;
    side->downs++;
    if (side->link == link) {
        side->link = NULL;
    }
}

static void side_on_message(void *ud, struct bus_link *link, struct bus_message *message)
{
    struct side *side = ud;
    if (message->type == THROUGH_TYPE) {
        side_echo(side, link, message);
        return;
    }
    side->messages++;
    if (side->on_message != NULL) {
        side->on_message(side, link, message);
    }
}

static void side_on_credit(void *ud, struct bus_link *link)
{
    struct side *side = ud;
    side->credits++;
    if (side->on_credit != NULL) {
        side->on_credit(side, link);
    }
}

static void side_on_refused(void *ud, struct bus_peer *peer, int error)
{
    struct side *side = ud;
    (void) peer;
    side->refusals++;
    side->refused = error;
}

void side_open(struct side *side, struct loop *loop, const char *run_dir, const char *name,
               const struct bus_options *options)
{
    struct bus_options all = options != NULL ? *options : (struct bus_options){0};
    struct bus_handlers handlers = {
        .on_up = side_on_up,
        .on_down = side_on_down,
        .on_message = side_on_message,
        .on_credit = side_on_credit,
        .on_refused = side_on_refused,
        .ud = side,
    };
    all.run_dir = run_dir;
    all.name = name;
    side->loop = loop;
    ck_assert_int_eq(bus_open(&all, loop, &handlers, &side->bus), 0);
}

void side_close(struct side *side)
{
    bus_close(&side->bus);
    ck_assert_ptr_null(side->bus);
}

bool side_is_up(void *ud)
{
    return ((struct side *) ud)->link != NULL;
}

bool side_is_down(void *ud)
{
    return ((struct side *) ud)->link == NULL;
}

static bool pair_is_up(void *ud)
{
    struct pair *pair = ud;
    return pair->server.link != NULL && pair->client.link != NULL;
}

void pair_open(struct pair *pair, const struct bus_options *server,
               const struct bus_options *client)
{
    const char *dir = test_folder();
    pair->loop = loop_new();
    side_open(&pair->server, pair->loop, dir, "server", server);
    side_open(&pair->client, pair->loop, dir, "client", client);
    ck_assert_int_eq(bus_bind(pair->server.bus), 0);
    pair->peer = bus_connect(pair->client.bus, "server");
    run_until(pair->loop, pair_is_up, pair);
}

void pair_close(struct pair *pair)
{
    side_close(&pair->client);
    side_close(&pair->server);
    loop_destroy(&pair->loop);
}

struct until {
    struct loop *loop;
    until_fn *is_true;
    void *ud;
    bool expired;
};

static void until_expire(struct wheel_timer *timer, void *ud)
{
    (void) timer;
    ((struct until *) ud)->expired = true;
}

void run_until(struct loop *loop, until_fn *is_true, void *ud)
{
    struct until until = {.loop = loop, .is_true = is_true, .ud = ud};
    struct wheel_timer deadline;

    wheel_timer_init(&deadline, until_expire, &until);
    loop_timer_start(loop, &deadline, (uint64_t) (8000 * test_slowness()));
    while (!is_true(ud) && !until.expired) {
        loop_turn(loop);
    }
    wheel_cancel(loop_wheel(loop), &deadline);
    ck_assert_msg(!until.expired, "waited in vain");
}

static bool until_never(void *ud)
{
    return ((const struct until *) ud)->expired;
}

void run_for(struct loop *loop, uint64_t ms)
{
    struct until until = {0};
    struct wheel_timer end;
    wheel_timer_init(&end, until_expire, &until);
    loop_timer_start(loop, &end, ms);
    run_until(loop, until_never, &until);
}

static void through_done(void *ud, enum bus_outcome outcome, const struct bus_message *reply)
{
    (void) reply;
    ck_assert_int_eq(outcome, BUS_OK);
    *(bool *) ud = true;
}

static bool through_is_done(void *ud)
{
    return *(bool *) ud;
}

void run_through(struct loop *loop, struct side *from)
{
    struct bus_outgoing out = {.type = THROUGH_TYPE};
    bool done = false;
    ck_assert_int_eq(bus_request(from->link, &out, 8000, through_done, &done, NULL), 0);
    run_until(loop, through_is_done, &done);
}

void side_done(void *ud, enum bus_outcome outcome, const struct bus_message *reply)
{
    struct side *side = ud;
    if (outcome == BUS_OK) {
        ck_assert_ptr_nonnull(reply);
        side->answered++;
        side->last_status = reply->status;
    } else {
        ck_assert_int_eq(outcome, BUS_UNKNOWN);
        ck_assert_ptr_null(reply);
        side->unknown++;
    }
}

void side_echo(struct side *side, struct bus_link *link, struct bus_message *message)
{
    (void) link;
    if (message->is_request) {
        struct bus_outgoing out = {
            .type = message->type, .meta = message->meta, .body = message->body};
        ck_assert_int_eq(bus_reply(side->bus, message->ticket, &out), 0);
    }
}
