/* ctl: what every command is given, and the exit codes. */
#ifndef ADMINCTL_CTL_H
#define ADMINCTL_CTL_H

#include <stdbool.h>
#include <stdint.h>

#include "adminctl/output.h"
#include "client/railgun.h"

enum ctl_exit {
    CTL_OK = 0,
    CTL_FAILED = 1,
    CTL_USAGE = 2,
    CTL_NOT_FOUND = 3,
    CTL_CONFLICT = 4,
    CTL_UNAVAILABLE = 5,
    CTL_DENIED = 6,
};

struct ctl {
    const char *server;  /* --server or RAILGUN_SERVER; NULL: from dir, else the default */
    const char *dir;     /* --dir; NULL: not given */
    uint64_t timeout_ms; /* --timeout */
    enum output_format format;
    const char *namespace_;   /* --namespace; NULL: the default one */
    struct rg_client *client; /* once connected */
};

/* Connect as the options say (kept in ctl->client; the second call does nothing). 0, or a ctl_exit after having said why. */
int ctl_connect(struct ctl *ctl);

/* A further connection (rg_close it). As ctl_connect. */
int ctl_open(const struct ctl *ctl, struct rg_client **ret_client);

/* Say what failed on standard error, with the code, the cause and the remedy: "adminctl: cannot ensure stream 'x': DIFFERS (444): ...". `detail` may be NULL.
 * Returns the exit code that belongs to the error. */
int ctl_fail(const struct ctl *ctl, int error, const char *detail, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Wrong arguments: say so, point to --help; returns CTL_USAGE. */
int ctl_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A place in a stream (start.c): "first", "latest", "-10" (the last ten), an offset, or a time: "@2026-11-20T21:40:22.5Z" (UTC; date alone, or without
 * seconds, is fine), "@1795000000" (seconds since 1970), "@-10m" (so long ago). 0, or ERR_BAD_FORMAT. */
#define CTL_START_FORMS                                                                            \
    "first, latest, an offset, -N for the last N, or @TIME (2026-11-20T21:40:22Z, seconds since "  \
    "1970, or -10m for ten minutes ago)"
int ctl_start_parse(const char *text, struct rg_start *ret_start);
/* "error", "first", "latest": when that offset is gone already. 0, or ERR_BAD_FORMAT. */
int ctl_gap_parse(const char *text, enum rg_on_gap *ret_on_gap);

/* Do all daemons of the node answer frontd? Says nothing; false also when frontd itself cannot be asked. */
bool ctl_node_is_up(struct ctl *ctl);

/* Each command: argv[0] is its own name; options and arguments follow. Returns a ctl_exit. */
int cmd_up(struct ctl *ctl, int argc, char **argv);
int cmd_down(struct ctl *ctl, int argc, char **argv);
int cmd_status(struct ctl *ctl, int argc, char **argv);
int cmd_stream(struct ctl *ctl, int argc, char **argv);
int cmd_group(struct ctl *ctl, int argc, char **argv);
int cmd_pub(struct ctl *ctl, int argc, char **argv);
int cmd_read(struct ctl *ctl, int argc, char **argv);
int cmd_consume(struct ctl *ctl, int argc, char **argv);
int cmd_dlq(struct ctl *ctl, int argc, char **argv);
int cmd_dedup(struct ctl *ctl, int argc, char **argv);
int cmd_events(struct ctl *ctl, int argc, char **argv);
int cmd_es(struct ctl *ctl, int argc, char **argv);
int cmd_req(struct ctl *ctl, int argc, char **argv);
int cmd_reply(struct ctl *ctl, int argc, char **argv);
int cmd_explain(struct ctl *ctl, int argc, char **argv);
int cmd_inspect(struct ctl *ctl, int argc, char **argv);
int cmd_bench(struct ctl *ctl, int argc, char **argv);

#endif
