/* First steps with adminctl: a node in one folder, streams, publishing, reading, consuming; exit codes; help; and errors that say what to do. */
#include "tests/lib/test.h"
#include "tests/system/home.h"
#include "tests/system/node.h"
#include "tests/system/process.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/err.h"

enum { LONG = 60 };
enum { OK = 0, FAILED = 1, USAGE = 2, NOT_FOUND = 3, CONFLICT = 4, UNAVAILABLE = 5 };

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* adminctl <words>, without anything added. */
static int ctl(struct process *said, const char *input, const char *const *words)
{
    char program[4096];
    const char *all[48] = {program_path("bin/adminctl", program)};
    for (size_t i = 0; words[i] != NULL; i++) {
        ck_assert_uint_lt(i, 46);
        all[i + 1] = words[i];
    }
    return process_run(said, LONG, all, input);
}

/* --- a node, up and down --- */

static struct node *node_up(void)
{
    struct node *node = node_new();
    node_start_all(node);
    return node;
}

TEST_WITHIN(a_node_goes_up_once_says_its_state_and_goes_down_once, 120)
{
    struct home home;
    struct process said = {0};
    home_open(&home);
    ck_assert_int_eq(ctl(&said, NULL, WORDS("down", "--dir", home.dir)), NOT_FOUND);
    ck_assert(process_complained(&said, "no node runs in"));
    ck_assert_int_eq(
        ctl(&said, NULL, WORDS("up", "--dir", home.dir, "--port", "0", "--detach", "-o", "json")),
        OK);
    ck_assert(json_has_text(buf_text(&said.out), "node", "ready"));

    ck_assert_int_eq(ctl(&said, NULL, WORDS("--dir", home.dir, "up", "--port", "0", "--detach")),
                     CONFLICT);
    ck_assert(process_complained(&said, "already"));
    ck_assert(process_complained(&said, "adminctl down --dir"));

    ck_assert_msg(ctl(&said, NULL, WORDS("--dir", home.dir, "status", "-o", "json")) == OK, "%s",
                  buf_text(&said.out));
    static const char *const names[] = {"frontd-0", "logd-0", "raftd-0", "routerd-0"};
    for (size_t i = 0; i < 4; i++) {
        ck_assert(json_has_text(buf_text(&said.out), "daemon", names[i]));
        ck_assert_uint_gt(json_number(buf_text(&said.out), names[i], "pid"), 1);
    }
    ck_assert_ptr_null(strstr(buf_text(&said.out), "\"down\""));

    ck_assert_int_eq(ctl(&said, NULL, WORDS("--dir", home.dir, "down", "-o", "json")), OK);
    ck_assert(json_has_text(buf_text(&said.out), "node", "stopped"));
    ck_assert_int_eq(ctl(&said, NULL, WORDS("--dir", home.dir, "down")), NOT_FOUND);
    ck_assert_int_eq(ctl(&said, NULL, WORDS("--dir", home.dir, "status")), UNAVAILABLE);
    ck_assert(process_complained(&said, "adminctl up"));
    process_release(&said);
    home_close(&home);
}

TEST_WITHIN(a_supervised_daemon_is_started_again_and_data_survive_down_and_up, 120)
{
    struct home home;
    struct process said = {0};
    home_open(&home);
    ck_assert_int_eq(ctl(&said, NULL, WORDS("--dir", home.dir, "up", "-p", "0", "-D")), OK);
    ck_assert_int_eq(ctl(&said, NULL, WORDS("--dir", home.dir, "stream", "ensure", "kept")), OK);
    ck_assert_int_eq(ctl(&said, "one\ntwo\n", WORDS("--dir", home.dir, "pub", "kept")), OK);
    ck_assert_int_eq(ctl(&said, NULL, WORDS("--dir", home.dir, "status", "-o", "json")), OK);
    uint64_t pid = json_number(buf_text(&said.out), "\"logd-0\"", "pid");
    ck_assert_int_eq(kill((pid_t) pid, SIGKILL), 0);
    ck_assert_int_eq(ctl(&said, "three\n", WORDS("--dir", home.dir, "pub", "kept", "--once")), OK);
    ck_assert_int_eq(ctl(&said, NULL, WORDS("--dir", home.dir, "down")), OK);
    ck_assert_int_eq(ctl(&said, NULL, WORDS("--dir", home.dir, "up", "-p", "0", "-D")), OK);
    ck_assert_int_eq(ctl(&said, NULL, WORDS("--dir", home.dir, "read", "kept")), OK);
    ck_assert_str_eq(buf_text(&said.out), "one\ntwo\nthree\n");
    ck_assert_int_eq(ctl(&said, NULL, WORDS("--dir", home.dir, "down")), OK);
    process_release(&said);
    home_close(&home);
}

TEST_WITHIN(a_port_in_use_stops_the_node_with_a_reason, 120)
{
    struct home home;
    struct process said = {0};
    char port[16];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *) &address, size), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *) &address, &size), 0);
    (void) snprintf(port, sizeof(port), "%u", ntohs(address.sin_port));
    home_open(&home);
    int code = ctl(&said, NULL, WORDS("--dir", home.dir, "up", "--port", port, "--detach"));
    ck_assert_int_eq(code, FAILED);
    ck_assert_msg(process_complained(&said, "port is in use"), "%s", buf_text(&said.err));
    ck_assert_int_eq(ctl(&said, NULL, WORDS("--dir", home.dir, "down")), NOT_FOUND);
    (void) close(fd);

    struct node *other = node_up(); /* also when it is another node's */
    (void) snprintf(port, sizeof(port), "%u", node_port(other));
    code = ctl(&said, NULL, WORDS("--dir", home.dir, "up", "--port", port, "--detach"));
    ck_assert_int_eq(code, FAILED);
    ck_assert_msg(process_complained(&said, "port is in use"), "%s", buf_text(&said.err));
    node_destroy(&other);
    process_release(&said);
    home_close(&home);
}

/* --- streams --- */

TEST_WITHIN(a_stream_is_ensured_created_unchanged_differs_and_updated, 60)
{
    struct node *node = node_up();
    struct process said = {0};
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "ensure", "orders", "--description", "first"),
                     OK);
    ck_assert(json_has_text(buf_text(&said.out), "result", "created"));
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "ensure", "orders"), OK);
    ck_assert(json_has_text(buf_text(&said.out), "result", "unchanged"));
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "ensure", "orders", "--description", "other"),
                     CONFLICT);
    ck_assert(json_has_text(buf_text(&said.out), "result", "differs"));
    ck_assert(json_has_text(buf_text(&said.out), "path", "description"));
    ck_assert(json_has_text(buf_text(&said.out), "current", "first"));
    ck_assert(json_has_text(buf_text(&said.out), "wanted", "other"));
    ck_assert(json_has_text(buf_text(&said.out), "error", "VERSION_CONFLICT"));
    ck_assert(process_complained(&said, "--version"));
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "set", "orders", "dedup.mode=required"),
                     CONFLICT);
    ck_assert(json_has_text(buf_text(&said.out), "error", "IMMUTABLE"));
    ck_assert(json_has_text(buf_text(&said.out), "class", "immutable"));
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "set", "orders", "max_age=1s"), CONFLICT);
    ck_assert(json_has_text(buf_text(&said.out), "error", "DIFFERS"));
    ck_assert(json_has_text(buf_text(&said.out), "class", "shrinks_data"));
    ck_assert(process_complained(&said, "--allow-data-loss"));
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "ensure", "orders", "--description", "other",
                              "--version", "2"),
                     OK);
    ck_assert(json_has_text(buf_text(&said.out), "result", "updated"));
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "ensure", "orders", "--version", "1"), OK);
    ck_assert(json_has_text(buf_text(&said.out), "result", "stale_version"));
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "ls"), OK);
    ck_assert(json_has_text(buf_text(&said.out), "name", "orders"));
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "delete", "orders"), USAGE);
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "delete", "orders", "--yes", "orders"), OK);
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "info", "orders"), CONFLICT);
    ck_assert(process_complained(&said, "STREAM_DELETED"));
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "info", "other"), NOT_FOUND);
    process_release(&said);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(lines_go_in_and_come_out_and_a_group_remembers, 60)
{
    struct node *node = node_up();
    struct process said = {0};
    node_ensure(node, "orders");
    ck_assert_int_eq(
        node_ctl(node, &said, "one\ntwo\n\nthr\xc3\xa9\xc3\xa9\n", WORDS("pub", "orders")), OK);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "published"), 4);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "first_offset"), 1);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "last_offset"), 4);
    ck_assert_int_eq(NODE_CTL(node, &said, "read", "orders", "--from", "2", "--count", "1"), OK);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "offset"), 2);
    ck_assert(json_has_text(buf_text(&said.out), "payload", "two"));
    ck_assert_int_eq(
        NODE_CTL(node, &said, "consume", "orders", "-g", "workers", "--count", "2", "-o", "table"),
        OK);
    ck_assert_str_eq(buf_text(&said.out), "one\ntwo\n");
    ck_assert_int_eq(NODE_CTL(node, &said, "group", "info", "orders", "workers"), OK);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "floor"), 2);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "lag"), 2);
    ck_assert_int_eq(NODE_CTL(node, &said, "consume", "orders", "-g", "workers", "--count", "2",
                              "-o", "table", "--exec",
                              "cat > /dev/null; test $RAILGUN_OFFSET != 9"),
                     OK);
    ck_assert_int_eq(NODE_CTL(node, &said, "group", "info", "orders", "workers"), OK);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "floor"), 4);
    ck_assert_int_eq(NODE_CTL(node, &said, "group", "pending", "orders", "workers"), OK);
    ck_assert_int_eq(NODE_CTL(node, &said, "group", "ls", "orders"), OK);
    ck_assert(json_has_text(buf_text(&said.out), "group", "workers"));
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "info", "orders"), OK);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "next_offset"), 5);
    process_release(&said);
    node_stop_all(node);
    node_destroy(&node);
}

TEST_WITHIN(a_command_that_fails_gives_its_message_back, 60)
{
    struct node *node = node_up();
    struct process said = {0};
    char marker[4096];
    char command[5000];
    node_ensure(node, "orders");
    ck_assert_int_eq(node_ctl(node, &said, "only\n", WORDS("pub", "orders")), OK);
    /* Fails the first time, succeeds the second. */
    (void) snprintf(command, sizeof(command),
                    "echo $RAILGUN_ATTEMPT >> %s; test $RAILGUN_ATTEMPT = 2",
                    node_path(node, "attempts", marker));
    ck_assert_int_eq(NODE_CTL(node, &said, "consume", "orders", "-g", "workers", "--count", "1",
                              "--exec", command),
                     OK);
    ck_assert(process_complained(&said, "nacked 1"));
    ck_assert_int_eq(process_run(&said, LONG, WORDS("cat", marker), NULL), 0);
    ck_assert_str_eq(buf_text(&said.out), "1\n2\n");
    process_release(&said);
    node_stop_all(node);
    node_destroy(&node);
}

/* --- saying what is wrong --- */

TEST_WITHIN(errors_name_the_code_the_cause_and_the_remedy, 60)
{
    struct node *node = node_up();
    struct process said = {0};
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "info", "nowhere"), NOT_FOUND);
    ck_assert(process_complained(&said, "NOT_FOUND (404)"));
    ck_assert(process_complained(&said, "'nowhere'"));
    ck_assert(process_complained(&said, "what to do: "));
    ck_assert_int_eq(node_ctl(node, &said, "x\n", WORDS("pub", "nowhere")), NOT_FOUND);
    ck_assert(process_complained(&said, "ENSURE_FIRST (428)"));
    ck_assert(process_complained(&said, "adminctl stream ensure"));
    ck_assert_int_eq(NODE_CTL(node, &said, "read", "nowhere"), NOT_FOUND);
    ck_assert_int_eq(NODE_CTL(node, &said, "consume", "nowhere", "-g", "g"), NOT_FOUND);
    ck_assert_int_eq(NODE_CTL(node, &said, "group", "info", "nowhere", "g"), NOT_FOUND);
    ck_assert_int_eq(NODE_CTL(node, &said, "stream", "ensure", "no good name"), USAGE);
    ck_assert(process_complained(&said, "(400)") || process_complained(&said, "(422)"));
    process_release(&said);
    node_stop_all(node);
    ck_assert_int_eq(ctl(&said, NULL, WORDS("-s", node_address(node), "status", "--timeout", "1s")),
                     UNAVAILABLE);
    ck_assert(process_complained(&said, node_address(node)));
    process_release(&said);
    node_destroy(&node);
}

TEST_WITHIN(wrong_arguments_are_explained_with_exit_code_two, 60)
{
    static const char *const wrong[][4] = {
        {NULL},
        {"fly", NULL},
        {"stream", NULL},
        {"stream", "ensure", NULL},
        {"stream", "ensure", "a", "b"},
        {"stream", "ensure", "a", "--colour"},
        {"read", "a", "--count", "many"},
        {"consume", "a", NULL},
        {"pub", NULL},
        {"--output", "xml", "status"},
        {"--timeout", "soon", "status"},
        {"bench", "swim", "a"},
    };
    struct process said = {0};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const char *words[7] = {"-s", "127.0.0.1:1"};
        size_t count = 2;
        for (size_t w = 0; w < 4 && wrong[i][w] != NULL; w++) {
            words[count++] = wrong[i][w];
        }
        words[count] = NULL;
        int code = ctl(&said, NULL, words);
        ck_assert_msg(code == USAGE, "%s %s: exit %d", wrong[i][0] != NULL ? wrong[i][0] : "",
                      wrong[i][0] != NULL && wrong[i][1] != NULL ? wrong[i][1] : "", code);
        ck_assert_uint_gt(said.err.size + said.out.size, 20);
    }
    process_release(&said);
}

TEST_WITHIN(every_command_has_help, 60)
{
    static const char *const commands[][3] = {
        {"--help", NULL},
        {"up", "--help", NULL},
        {"down", "--help", NULL},
        {"status", "--help", NULL},
        {"stream", "--help", NULL},
        {"stream", "ensure", "--help"},
        {"stream", "ls", "--help"},
        {"stream", "info", "--help"},
        {"stream", "purge", "--help"},
        {"stream", "delete", "--help"},
        {"stream", "undelete", "--help"},
        {"stream", "set", "--help"},
        {"stream", "lock", "--help"},
        {"stream", "unlock", "--help"},
        {"pub", "--help", NULL},
        {"read", "--help", NULL},
        {"consume", "--help", NULL},
        {"group", "--help", NULL},
        {"group", "ensure", "--help"},
        {"group", "ls", "--help"},
        {"group", "info", "--help"},
        {"group", "pending", "--help"},
        {"group", "delete", "--help"},
        {"group", "set", "--help"},
        {"group", "lock", "--help"},
        {"group", "unlock", "--help"},
        {"bench", "--help", NULL},
        {"explain", "--help", NULL},
        {"inspect", "--help", NULL},
    };
    struct process said = {0};
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        const char *words[4] = {commands[i][0], commands[i][1],
                                commands[i][1] != NULL ? commands[i][2] : NULL, NULL};
        ck_assert_msg(ctl(&said, NULL, words) == OK, "%s", words[0]);
        ck_assert_msg(process_said(&said, "Usage: adminctl"), "%s: %s", words[0],
                      buf_text(&said.out));
    }
    process_release(&said);
}

TEST_WITHIN(every_error_is_explained, 60)
{
    struct process said = {0};
    size_t count = 0;
    const struct err_info *list = err_list(&count);
    ck_assert_int_eq(ctl(&said, NULL, WORDS("explain", "-o", "json")), OK);
    for (size_t i = 0; i < count; i++) {
        ck_assert_msg(json_has_text(buf_text(&said.out), "name", list[i].name), "%s", list[i].name);
    }
    ck_assert_int_eq(ctl(&said, NULL, WORDS("explain", "412", "-o", "json")), OK);
    ck_assert(json_has_text(buf_text(&said.out), "name", "WRONG_OFFSET"));
    ck_assert_int_eq(ctl(&said, NULL, WORDS("explain", "storage_full", "-o", "json")), OK);
    ck_assert_uint_eq(json_number(buf_text(&said.out), NULL, "code"), 513);
    ck_assert_int_eq(ctl(&said, NULL, WORDS("explain", "7777")), NOT_FOUND);
    process_release(&said);
}

TEST_WITHIN(every_daemon_explains_itself_and_checks_its_configuration, 60)
{
    struct node *node = node_new();
    struct process said = {0};
    for (int i = 0; i < NODE_DAEMONS; i++) {
        char program[4096];
        char config[4096];
        char part[64];
        (void) snprintf(part, sizeof(part), "bin/%s", node_daemon_name((enum node_daemon) i));
        (void) program_path(part, program);
        (void) snprintf(part, sizeof(part), "etc/%s.conf", node_daemon_name((enum node_daemon) i));
        (void) node_path(node, part, config);
        ck_assert_int_eq(process_run(&said, LONG, WORDS(program, "--help"), NULL), 0);
        ck_assert(process_said(&said, "--config"));
        process_release(&said);
        ck_assert_int_eq(
            process_run(&said, LONG, WORDS(program, "--config", config, "--check-config"), NULL),
            0);
        process_release(&said);
        ck_assert_int_eq(process_run(&said, LONG,
                                     WORDS(program, "--config", config, "--set", "no.such.key=1"),
                                     NULL),
                         2);
        ck_assert(process_complained(&said, "no.such.key"));
        process_release(&said);
    }
    node_destroy(&node);
}
