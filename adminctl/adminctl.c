/* adminctl: the operator's command. main: global options, the table of commands, exit codes. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/err.h"
#include "common/base/span.h"
#include "common/base/str.h"

#include "adminctl/ctl.h"
#include "adminctl/node.h"

static const struct {
    const char *name;
    int (*run)(struct ctl *ctl, int argc, char **argv);
    const char *summary;
} commands[] = {
    {"up", cmd_up, "start a node on this machine"},
    {"down", cmd_down, "stop it"},
    {"status", cmd_status, "the daemons of a node: state, pid, memory, counters"},
    {"stream", cmd_stream, "ensure, list, describe, delete streams"},
    {"pub", cmd_pub, "publish lines of standard input or of a file"},
    {"read", cmd_read, "read a stream in order, without a group"},
    {"consume", cmd_consume, "consume with a group; acknowledge"},
    {"group", cmd_group, "list groups, their state, what is pending"},
    {"dlq", cmd_dlq, "dead letters of a group: ls, show, replay, drop"},
    {"dedup", cmd_dedup, "message IDs that a stream remembers: show, forget"},
    {"events", cmd_events, "follow what happens in streams and groups"},
    {"es", cmd_es, "ephemeral messages: publish, subscribe; exchanges"},
    {"req", cmd_req, "send a request, print the replies"},
    {"reply", cmd_reply, "answer requests with a command, a text, or what came"},
    {"bench", cmd_bench, "measure publishing, consuming, reading, ephemeral messages, requests"},
    {"explain", cmd_explain, "what an error code means and what to do"},
    {"inspect", cmd_inspect, "show a file of a data directory"},
};
enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

static void print_help(void)
{
    (void) printf("Usage: adminctl [--server HOST:PORT | --dir DIR] [-o table|json] COMMAND "
                  "...\n\nCommands (each has --help):\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        (void) printf("  %-10s %s\n", commands[i].name, commands[i].summary);
    }
    (void) printf("\nOptions, before or behind the command:\n"
                  "  -s, --server HOST:PORT   the node to talk to (default $RAILGUN_SERVER, else "
                  "127.0.0.1:7470)\n"
                  "  -d, --dir DIR            the node that `adminctl up` runs in DIR\n"
                  "  -o, --output FORMAT      table (default) or json\n"
                  "  -N, --namespace NAME     of ephemeral messages and exchanges (default "
                  "\"default\")\n"
                  "      --timeout TIME       longest wait for an answer (default 10s)\n"
                  "      --version, --help\n"
                  "\nExit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 unavailable, "
                  "6 denied\n");
}

int ctl_usage(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void) fprintf(stderr, "adminctl: ");
    (void) vfprintf(stderr, format, arguments);
    (void) fprintf(stderr, "   (adminctl --help)\n");
    va_end(arguments);
    return CTL_USAGE;
}

static int exit_of(int error)
{
    const struct err_info *info = err_find(error);
    switch (error < 0 ? error : -error) {
    case ERR_NOT_FOUND:
    case ERR_ENSURE_FIRST:
        return CTL_NOT_FOUND;
    case ERR_DIFFERS:
    case ERR_VERSION_CONFLICT:
    case ERR_IMMUTABLE:
    case ERR_WRONG_OFFSET:
    case ERR_DUPLICATE_ID:
    case ERR_DUPLICATE_MISMATCH:
    case ERR_STREAM_CHANGED:
    case ERR_STREAM_DELETED:
    case ERR_FENCED:
    case ERR_LOCKED:
    case ERR_RS_IN_USE:
        return CTL_CONFLICT;
    case ERR_TIMEOUT:
    case ERR_CLOSED:
    case ERR_STORAGE_FULL:
    case ERR_RS_TIMEOUT:
    case ERR_RESPONDER_LOST:
        return CTL_UNAVAILABLE;
    case ERR_AUTH_FAILED:
    case ERR_AUTH_EXPIRED:
    case ERR_DENIED:
        return CTL_DENIED;
    case ERR_BAD_REQUEST:
    case ERR_BAD_CONFIG:
    case ERR_USAGE:
        return CTL_USAGE;
    default:
        return info != NULL && info->class_ == ERR_CLASS_RETRY ? CTL_UNAVAILABLE : CTL_FAILED;
    }
}

int ctl_fail(const struct ctl *ctl, int error, const char *detail, const char *format, ...)
{
    const struct err_info *info = err_find(error);
    va_list arguments;
    (void) ctl;
    va_start(arguments, format);
    (void) fprintf(stderr, "adminctl: ");
    (void) vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void) fprintf(stderr, ": %s (%d): %s\n", err_name(error), error < 0 ? -error : error,
                   detail != NULL && detail[0] != 0 ? detail : err_text(error));
    if (info != NULL) {
        (void) fprintf(stderr, "  what to do: %s\n", info->remedy);
    }
    return exit_of(error);
}

int ctl_open(const struct ctl *ctl, struct rg_client **ret_client)
{
    static const char *const server_default = "127.0.0.1:7470";
    char address[64];
    const char *server = ctl->server;
    if (ctl->dir != NULL && server == NULL) {
        if (node_address(ctl->dir, address, sizeof(address)) < 0) {
            return ctl_fail(ctl, ERR_CLOSED, "start it with: adminctl up --dir DIR --detach",
                            "no node runs in '%s'", ctl->dir);
        }
        server = address;
    }
    if (server == NULL) {
        server = getenv("RAILGUN_SERVER") != NULL ? getenv("RAILGUN_SERVER") : server_default;
    }
    struct rg_options options = {.name = "adminctl/" RAILGUN_VERSION,
                                 .request_timeout_ms = (uint32_t) ctl->timeout_ms,
                                 .connect_timeout_ms =
                                     ctl->timeout_ms < 5000 ? (uint32_t) ctl->timeout_ms : 5000,
                                 .namespace_ = ctl->namespace_};
    int result = rg_connect(server, &options, ret_client);
    if (result < 0) {
        return ctl_fail(ctl, result,
                        result == RG_ERR_CLOSED
                            ? "nobody answers there: is the node up? (adminctl up --detach)"
                            : rg_last_error(NULL),
                        "cannot connect to %s", server);
    }
    return 0;
}

int ctl_connect(struct ctl *ctl)
{
    return ctl->client != NULL ? 0 : ctl_open(ctl, &ctl->client);
}

/* Global options may stand anywhere before "--": take them out of argv. 0, or an exit code + 1 to end with. */
static int take_globals(struct ctl *ctl, int *argc, char **argv)
{
    static const struct {
        const char *name;
        char letter;
    } names[] = {
        {"server", 's'}, {"dir", 'd'}, {"output", 'o'}, {"namespace", 'N'}, {"timeout", 0}};
    enum { GLOBALS = sizeof(names) / sizeof(names[0]) };
    int kept = 1;
    int i = 1;
    for (; i < *argc && strcmp(argv[i], "--") != 0; i++) {
        const char *value = NULL;
        size_t which = 0;
        for (; which < GLOBALS; which++) {
            size_t length = strlen(names[which].name);
            if (strncmp(argv[i], "--", 2) == 0 &&
                strncmp(argv[i] + 2, names[which].name, length) == 0 &&
                (argv[i][2 + length] == 0 || argv[i][2 + length] == '=')) {
                value = argv[i][2 + length] == '=' ? argv[i] + 3 + length : NULL;
                break;
            }
            if (names[which].letter != 0 && argv[i][0] == '-' &&
                argv[i][1] == names[which].letter && argv[i][2] == 0) {
                break;
            }
        }
        if (which == GLOBALS) {
            argv[kept++] = argv[i];
            continue;
        }
        if (value == NULL && (i + 1 == *argc || strcmp(argv[i + 1], "--") == 0)) {
            return 1 + ctl_usage("--%s wants a value", names[which].name);
        }
        value = value != NULL ? value : argv[++i];
        if (which == 0) {
            ctl->server = value;
        } else if (which == 1) {
            ctl->dir = value;
        } else if (which == 2 && (strcmp(value, "json") == 0 || strcmp(value, "table") == 0)) {
            ctl->format = strcmp(value, "json") == 0 ? OUTPUT_JSON : OUTPUT_TABLE;
        } else if (which == 2) {
            return 1 + ctl_usage("--output is table or json, not '%s'", value);
        } else if (which == 3) {
            ctl->namespace_ = value;
        } else if (str_to_duration_ms(span_of(value), &ctl->timeout_ms) < 0 ||
                   ctl->timeout_ms == 0 || ctl->timeout_ms > 3600000) {
            return 1 + ctl_usage("--timeout '%s' is not a duration between 1ms and 1h", value);
        }
    }
    for (; i < *argc; i++) {
        argv[kept++] = argv[i];
    }
    argv[kept] = NULL;
    *argc = kept;
    return 0;
}

int main(int argc, char **argv)
{
    struct ctl ctl = {.timeout_ms = 10000};
    int ended = take_globals(&ctl, &argc, argv);
    if (ended != 0) {
        return ended - 1;
    }
    (void) signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        print_help();
        return CTL_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help();
        return CTL_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void) printf("adminctl %s\n", RAILGUN_VERSION);
        return CTL_OK;
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, argv[1]) == 0) {
            int result = commands[i].run(&ctl, argc - 1, argv + 1);
            rg_close(&ctl.client);
            return result;
        }
    }
    return ctl_usage("no such command: '%s'", argv[1]);
}
