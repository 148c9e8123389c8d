/* Ephemeral messages and requests by shell, as people use them: adminctl's es, req and reply with pipes, signals, and commands that fail. */
#include "tests/lib/test.h"
#include "tests/system/node.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/mem.h"

enum { LONG = 30, OK = 0, USAGE = 2, NOT_FOUND = 3, CONFLICT = 4, UNAVAILABLE = 5 };

#define START(node, self, ...) start((node), (self), (const char *const[]){__VA_ARGS__, NULL})

/* A subscriber or responder, subscribed. */
static void start(const struct node *node, struct process *self, const char *const *words)
{
    node_ctl_start(node, self, NULL, words);
    ck_assert(WAIT_FOR((process_look(self), process_complained(self, "subscribed")), LONG));
}

static void stop(struct process *self, int signal_number)
{
    ck_assert_int_eq(kill(self->pid, signal_number), 0);
    ck_assert(process_wait(self, LONG));
    ck_assert_int_eq(self->exit, OK);
}

/* Each is a program of its own that publishes to a topic nobody has used, and ends. */
TEST_WITHIN(who_publishes_once_and_ends_is_heard, 60)
{
    struct node *node = node_new();
    struct process sub = {0};
    struct process said = {0};
    node_start_all(node);
    START(node, &sub, "es", "sub", "news.#");
    for (int i = 0; i < 8; i++) {
        char topic[32];
        (void) snprintf(topic, sizeof(topic), "news.%d", i);
        ck_assert_int_eq(NODE_CTL(node, &said, "es", "pub", topic, "hello"), OK);
    }
    ck_assert_int_eq(NODE_CTL(node, &said, "es", "pub", "news", "x", "--receipt"), OK);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "matched"), 1);
    ck_assert_int_eq(NODE_CTL(node, &said, "es", "pub", "other", "x", "--receipt"), OK);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "unmatched"), 1);
    ck_assert_int_eq(NODE_CTL(node, &said, "es", "pub", "a..b", "x"), USAGE);
    ck_assert_int_eq(NODE_CTL(node, &said, "es", "pub", "-x", "nowhere", "a", "x"), NOT_FOUND);
    ck_assert(WAIT_FOR((process_look(&sub), process_said(&sub, "\"news\"")), LONG));
    stop(&sub, SIGTERM);
    for (int i = 0; i < 8; i++) {
        char text[64];
        (void) snprintf(text, sizeof(text), "{\"topic\": \"news.%d\", \"payload\": \"hello\"}", i);
        ck_assert(process_said(&sub, text));
    }
    ck_assert(process_complained(&sub, "received 9"));
    /* what begins like an option goes behind `--` */
    START(node, &sub, "es", "sub", "-n", "1", "--", "-cold");
    ck_assert_int_eq(NODE_CTL(node, &said, "es", "pub", "-cold", "-5"), USAGE);
    ck_assert_int_eq(NODE_CTL(node, &said, "es", "pub", "--receipt", "--", "-cold", "-5"), OK);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "matched"), 1);
    ck_assert(process_wait(&sub, LONG));
    ck_assert(process_said(&sub, "{\"topic\": \"-cold\", \"payload\": \"-5\"}"));
    START(node, &sub, "es", "sub", "none");
    stop(&sub, SIGINT);
    process_release(&sub);
    process_release(&said);
    node_stop_all(node);
    node_destroy(&node);
}

/* A shell line, with $A for adminctl on this node. */
static int shell(const struct node *node, struct process *said, const char *line)
{
    char program[4096];
    char dir[4096];
    char all[9000];
    (void) snprintf(all, sizeof(all), "A='%s --dir %s'; %s", program_path("bin/adminctl", program),
                    node_path(node, "", dir), line);
    const char *const words[] = {"/bin/sh", "-c", all, NULL};
    return process_run(said, LONG, words, NULL);
}

TEST_WITHIN(pipes_and_signals_end_what_reads_and_writes, 60)
{
    struct node *node = node_new();
    struct process said = {0};
    node_start_all(node);
    /* who reads has enough: the subscriber ends, although no more comes */
    ck_assert_int_eq(
        shell(node, &said,
              "{ $A es sub one 2>&1; echo ended >&2; } | "
              "{ read first; $A es pub one 1 >/dev/null; read second; echo $second; }"),
        OK);
    ck_assert(process_said(&said, "one 1"));
    ck_assert(process_complained(&said, "ended"));
    /* a publisher that waits for a line is told to stop: whole lines are out, the half one is not */
    ck_assert_int_eq(shell(node, &said,
                           "F=$(mktemp -u); mkfifo $F; exec 3<>$F; "
                           "$A es sub one -n 2 2>&1 >/dev/null | { read subscribed; "
                           "$A es pub one <$F & P=$!; printf 'a\\nb\\nhalf' >&3; "
                           "cat >/dev/null; kill -INT $P; wait $P; }; R=$?; rm $F; exit $R"),
                     OK);
    ck_assert(process_said(&said, "published  2"));
    /* many lines through a pipe */
    ck_assert_int_eq(shell(node, &said,
                           "{ $A es sub many -n 20000 -f '%p\\n' 2>&1 | { read subscribed; "
                           "seq 20000 | $A es pub many >/dev/null; cat; }; } | grep -v received | "
                           "sha256sum; seq 20000 | sha256sum"),
                     OK);
    char first[65] = "";
    char second[65] = "";
    ck_assert_int_eq(sscanf(buf_text(&said.out), "%64s - %64s", first, second), 2);
    ck_assert_str_eq(first, second);
    process_release(&said);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(requests_are_answered_by_commands_or_told_why_not, 60)
{
    struct node *node = node_new();
    struct process reply = {0};
    struct process said = {0};
    node_start_all(node);
    ck_assert_int_eq(NODE_CTL(node, &said, "req", "calc.x", "1"), UNAVAILABLE);
    ck_assert(process_complained(&said, "NO_RESPONDERS"));
    START(node, &reply, "reply", "calc.*", "--exec",
          "case $RAILGUN_TOPIC in calc.fail) echo no; exit 3;; "
          "calc.large) head -c 1048576 /dev/zero;; calc.huge) head -c 3000000 /dev/zero;; "
          "calc.slow) sleep 1;; calc.deaf) echo here;; *) cat; cat;; esac");
    ck_assert_int_eq(NODE_CTL(node, &said, "req", "calc.x", "41"), OK);
    ck_assert(json_has_text(buf_text(&said.out), "payload", "41"));
    static const char *const failing[] = {"calc.fail", "calc.large", "calc.huge"};
    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(NODE_CTL(node, &said, "req", failing[i], "x"), OK);
        ck_assert(process_said(&said, "rg-error"));
    }
    ck_assert_int_eq(shell(node, &said, "head -c 900000 /dev/zero | $A req calc.deaf"), OK);
    ck_assert(process_said(&said, "here"));
    ck_assert_int_eq(shell(node, &said,
                           "head -c 1048000 /dev/urandom > $$; $A req calc.x -f %p < $$"
                           " | cmp - $$; R=$?; rm $$; exit $R"),
                     OK);
    ck_assert_int_eq(NODE_CTL(node, &said, "req", "calc.x", "y", "-n", "2", "-w", "4s"),
                     UNAVAILABLE);
    ck_assert(process_said(&said, "\"y\""));
    /* the last one: the command is still at it when its time is over */
    ck_assert_int_eq(NODE_CTL(node, &said, "req", "calc.slow", "x", "--wait", "200ms"),
                     UNAVAILABLE);
    ck_assert(process_complained(&said, "RS_TIMEOUT"));
    stop(&reply, SIGINT);
    /* by name */
    struct process req = {0};
    struct process sub = {0};
    START(node, &sub, "es", "sub", "job");
    node_ctl_start(node, &req, NULL,
                   (const char *const[]){"req", "job", "do", "--name", "job-1", NULL});
    ck_assert(WAIT_FOR((process_look(&sub), process_said(&sub, "\"do\"")), LONG));
    ck_assert_int_eq(NODE_CTL(node, &said, "req", "job", "do", "--name", "job-1"), CONFLICT);
    ck_assert_int_eq(NODE_CTL(node, &said, "reply", "--to", "job-1", "--text", "done"), OK);
    ck_assert(process_wait(&req, LONG));
    ck_assert_int_eq(req.exit, OK);
    ck_assert(json_has_text(buf_text(&req.out), "payload", "done"));
    ck_assert_int_ne(NODE_CTL(node, &said, "reply", "--to", "job-1", "--text", "done"), OK);
    ck_assert(process_complained(&said, "RS_CLOSED"));
    stop(&sub, SIGINT);
    process_release(&sub);
    process_release(&req);
    process_release(&reply);
    process_release(&said);
    node_stop_all(node);
    node_destroy(&node);
}
