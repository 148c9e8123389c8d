/* bus: with real processes: killed, stopped, started again. The other process is forked before this one makes its first
 * socket. All deadlines are far below ZeroMQ's heartbeat: what they wait for must come from the lost connection itself. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/err.h"
#include "common/run/bus_private.h"

#include "tests/lib/test.h"
#include "tests/unit/common/run/bus_lib.h"

enum { TYPE_COUNT_ME = 1, TYPE_HOW_MANY = 2, TYPE_KEEP_OPEN = 3 };

/* What a forked process does: serve, or connect and ask nothing. */
static void serve(struct side *side, struct bus_link *link, struct bus_message *message)
{
    uint64_t *counted = side->ud;
    (void) link;
    if (message->type == TYPE_COUNT_ME) {
        (*counted)++;
    } else if (message->type == TYPE_HOW_MANY) {
        struct bus_outgoing out = {.type = TYPE_HOW_MANY, .subject = *counted};
        ck_assert_int_eq(bus_reply(side->bus, message->ticket, &out), 0);
    }
}

static pid_t start_process(const char *dir, const char *name, bool binds)
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        uint64_t counted = 0;
        struct side side = {.on_message = serve, .ud = &counted};
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct loop *loop = loop_new();
        side_open(&side, loop, dir, name, NULL);
        if (binds) {
            ck_assert_int_eq(bus_bind(side.bus), 0);
        } else {
            (void) bus_connect(side.bus, "server");
        }
        (void) loop_run(loop);
        _exit(0);
    }
    return pid;
}

static void kill_process(pid_t pid)
{
    int status;
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}

/* Fails when it takes longer than a third of the heartbeat. */
static void run_until_down(struct side *side)
{
    uint64_t start_ms = loop_now_ms(side->loop);
    run_until(side->loop, side_is_down, side);
    ck_assert_uint_lt(loop_now_ms(side->loop) - start_ms, 2000);
}

static void ask_open(struct side *side, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct bus_outgoing out = {.type = TYPE_KEEP_OPEN};
        ck_assert_int_eq(bus_request(side->link, &out, 600000, side_done, side, NULL), 0);
    }
}

TEST(killing_the_listening_side_makes_open_requests_unknown_at_once)
{
    const char *dir = test_folder();
    pid_t pid = start_process(dir, "server", true);
    struct loop *loop = loop_new();
    struct side client = {0};

    side_open(&client, loop, dir, "client", NULL);
    (void) bus_connect(client.bus, "server");
    run_until(loop, side_is_up, &client);
    ask_open(&client, 100);
    run_for(loop, 20);
    kill_process(pid);
    run_until_down(&client);
    ck_assert_uint_eq(client.unknown, 100);
    ck_assert_uint_eq(client.answered, 0);
    side_close(&client);
    loop_destroy(&loop);
}

TEST(killing_a_connecting_side_makes_open_requests_unknown_at_once)
{
    const char *dir = test_folder();
    pid_t first = start_process(dir, "first", false);
    pid_t second = start_process(dir, "second", false);
    struct loop *loop = loop_new();
    struct side server = {0};

    side_open(&server, loop, dir, "server", NULL);
    ck_assert_int_eq(bus_bind(server.bus), 0);
    while (server.ups < 2) {
        loop_turn(loop);
    }
    /* Open requests to both; only those to the killed one end. */
    size_t cursor = 0;
    struct bus_link *link;
    while ((link = bus_link_next(server.bus, &cursor)) != NULL) {
        server.link = link;
        ask_open(&server, 50);
    }
    cursor = 0;
    while ((link = bus_link_next(server.bus, &cursor)) != NULL) {
        if (strcmp(bus_link_name(link), "first") == 0) {
            server.link = link;
        }
    }
    kill_process(first);
    run_until_down(&server);
    ck_assert_uint_eq(server.unknown, 50);
    ck_assert_uint_eq(server.downs, 1);
    run_for(loop, 100); /* the probes that are still to come do the other no harm */
    ck_assert_uint_eq(server.downs, 1);
    kill_process(second);
    side_close(&server);
    loop_destroy(&loop);
}

static void take_count(void *ud, enum bus_outcome outcome, const struct bus_message *reply)
{
    uint64_t *count = ud;
    ck_assert_int_eq(outcome, BUS_OK);
    *count = reply->subject;
}

static bool count_is_known(void *ud)
{
    return *(uint64_t *) ud != UINT64_MAX;
}

static uint64_t ask_count(struct side *side)
{
    struct bus_outgoing out = {.type = TYPE_HOW_MANY};
    uint64_t count = UINT64_MAX;
    ck_assert_int_eq(bus_request(side->link, &out, 5000, take_count, &count, NULL), 0);
    run_until(side->loop, count_is_known, &count);
    return count;
}

/* What was sent to a process that died without reading it must not reach its successor, which may start while it is still
 * queued. */
TEST_WITHIN(a_successor_sees_nothing_of_what_was_sent_to_the_dead, 60)
{
    const char *dir = test_folder();
    pid_t pids[4];
    /* All but the first wait until they are let go: they are forked before the first socket is made here. */
    int gates[4][2];
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(pipe(gates[i]), 0);
        pids[i] = fork();
        ck_assert_int_ge(pids[i], 0);
        if (pids[i] == 0) {
            char byte;
            (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (read(gates[i][0], &byte, 1) != 1) {
                _exit(1);
            }
            uint64_t counted = 0;
            struct side side = {.on_message = serve, .ud = &counted};
            struct loop *loop = loop_new();
            side_open(&side, loop, dir, "server", NULL);
            ck_assert_int_eq(bus_bind(side.bus), 0);
            (void) loop_run(loop);
            _exit(0);
        }
    }
    struct loop *loop = loop_new();
    struct side client = {0};
    struct payload *large = payload_new(20000);
    side_open(&client, loop, dir, "client", NULL);
    (void) bus_connect(client.bus, "server");
    uint64_t epoch = 0;
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(write(gates[i][1], "g", 1), 1);
        run_until(loop, side_is_up, &client);
        ck_assert(bus_link_epoch(client.link) != epoch);
        epoch = bus_link_epoch(client.link);
        ck_assert_uint_eq(ask_count(&client), 0);
        /* it reads no more: much stays queued on this side */
        ck_assert_int_eq(kill(pids[i], SIGSTOP), 0);
        for (unsigned sent = 0; sent < 2000; sent++) {
            struct bus_outgoing out = {.type = TYPE_COUNT_ME, .body = {large, payload_span(large)}};
            ck_assert_int_eq(bus_event(client.link, &out), 0);
        }
        kill_process(pids[i]);
        if (i < 3) {
            run_until_down(&client);
        }
    }
    ck_assert_uint_eq(client.ups, 4);
    payload_unref(&large);
    side_close(&client);
    loop_destroy(&loop);
}

TEST(an_answer_that_was_given_before_the_end_still_counts)
{
    /* Answers, then dies at once, many times over: an answered request may be unknown to us, but not lost. */
    const char *dir = test_folder();
    int gate[2];
    ck_assert_int_eq(pipe(gate), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct side side = {.on_message = side_echo};
        struct loop *loop = loop_new();
        side_open(&side, loop, dir, "server", NULL);
        ck_assert_int_eq(bus_bind(side.bus), 0);
        while (side.messages < 1000) {
            loop_turn(loop);
        }
        side_close(&side); /* what is queued lingers */
        exit(0);
    }
    struct loop *loop = loop_new();
    struct side client = {0};
    side_open(&client, loop, dir, "client", NULL);
    (void) bus_connect(client.bus, "server");
    run_until(loop, side_is_up, &client);
    ask_open(&client, 1000);
    run_until(loop, side_is_down, &client);
    ck_assert_uint_eq(client.answered, 1000);
    ck_assert_uint_eq(client.unknown, 0);
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    side_close(&client);
    loop_destroy(&loop);
}
