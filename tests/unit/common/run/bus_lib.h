/* bus_lib: what the tests of the bus share: a side that records what its bus tells, and running a loop until something is
 * true. */
#ifndef TESTS_UNIT_COMMON_RUN_BUS_LIB_H
#define TESTS_UNIT_COMMON_RUN_BUS_LIB_H

#include <stdbool.h>
#include <stdint.h>

#include "common/run/bus.h"

struct side;
typedef void side_message_fn(struct side *side, struct bus_link *link, struct bus_message *message);

struct side {
    struct loop *loop;
    struct bus *bus;
    struct bus_link *link; /* the last that came up; NULL when it went down */
    unsigned ups;
    unsigned downs;
    unsigned credits;
    unsigned refusals;
    int refused; /* with which error, last */
    uint64_t messages;
    side_message_fn *on_message; /* NULL: only count; requests are then left open */
    void (*on_credit)(struct side *side, struct bus_link *link);
    void *ud;
    /* requests of ours */
    unsigned answered;
    unsigned unknown;
    int last_status;
};

/* A side with small windows where given (0: the defaults). */
void side_open(struct side *side, struct loop *loop, const char *run_dir, const char *name,
               const struct bus_options *options);
void side_close(struct side *side);

/* Two sides in one loop, "server" bound and "client" connected, both up. */
struct pair {
    struct loop *loop;
    struct side server;
    struct side client;
    struct bus_peer *peer;
};
void pair_open(struct pair *pair, const struct bus_options *server,
               const struct bus_options *client);
void pair_close(struct pair *pair);

/* Run until it is true; fails the test after 8 s (more under sanitizers). */
typedef bool until_fn(void *ud);
void run_until(struct loop *loop, until_fn *is_true, void *ud);
/* Run for a while in which nothing particular is waited for. */
void run_for(struct loop *loop, uint64_t ms);
/* Run until everything sent so far by `from` over its link has been handled at the other end. */
void run_through(struct loop *loop, struct side *from);

/* done of a request: counts in the side. */
void side_done(void *ud, enum bus_outcome outcome, const struct bus_message *reply);
/* on_message: answers requests with what came, in body and meta. */
void side_echo(struct side *side, struct bus_link *link, struct bus_message *message);

bool side_is_up(void *ud);
bool side_is_down(void *ud);

#endif
