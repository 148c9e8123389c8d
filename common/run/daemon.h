/* daemon: the main function that all daemons share: options, configuration, logging, signals, readiness (sd_notify protocol, without libsystemd),
 * watchdog, status over the bus, drain and exit codes.
 *
 *   logd --config FILE [--instance N] [--set key=value] | --check-config | --print-config | --version | --help
 * Exit: 0 stopped as asked, 1 failed, 2 usage or configuration.
 * Common keys, in every table (DAEMON_KEYS): run_dir, data_dir, instance, log_level, drain_timeout. */
#ifndef COMMON_RUN_DAEMON_H
#define COMMON_RUN_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

#include "common/run/bus.h"
#include "common/run/conf.h"
#include "common/run/loop.h"
#include "common/run/metrics.h"

struct daemon_conf { /* first member of each daemon's values struct */
    char *run_dir;
    char *data_dir;
    uint64_t instance;
    char *log_level;
    uint64_t drain_timeout_ms;
};

#define DAEMON_KEYS(type, data_default)                                                            \
    {"run_dir", CONF_STRING, offsetof(type, daemon.run_dir),      "/run/railgun", 1,               \
     4000,      false,       "Directory of the daemons' sockets."},                                \
        {"data_dir", CONF_STRING, offsetof(type, daemon.data_dir), data_default, 1,                \
         4000,       false,       "Directory of durable data."},                                   \
        {"instance",                                                                               \
         CONF_NUMBER,                                                                              \
         offsetof(type, daemon.instance),                                                          \
         "0",                                                                                      \
         0,                                                                                        \
         63,                                                                                       \
         false,                                                                                    \
         "Number of this process among those of its kind on the host."},                           \
        {"log_level",                                                                              \
         CONF_STRING,                                                                              \
         offsetof(type, daemon.log_level),                                                         \
         "info",                                                                                   \
         1,                                                                                        \
         16,                                                                                       \
         true,                                                                                     \
         "Lowest level shown: debug, info, warn, error."},                                         \
    {                                                                                              \
        "drain_timeout", CONF_DURATION, offsetof(type, daemon.drain_timeout_ms), "30s", 0, 600000, \
            true, "Longest time for finishing open work after SIGTERM."                            \
    }

struct daemon_context; /* what the daemon's own code is given */

struct daemon_program {
    const char *name;    /* "logd" */
    const char *purpose; /* one sentence for --help */
    const struct conf_table *table;
    /* What the table cannot say, as keys that contradict each other: 0, or ERR_BAD_CONFIG and the problem in words. May be NULL. */
    int (*check)(const void *values, struct buf *problem);
    /* Build everything: called with configuration read, logging, loop and an unbound bus ready. 0, or an error after having logged why.
     * *ret_self is passed to all below. When it has become able to serve it calls daemon_ready. */
    int (*start)(struct daemon_context *context, void **ret_self);
    /* SIGTERM (may be NULL: nothing is ever open): take no new work, finish the open; call daemon_drained when done (forced after drain_timeout). */
    void (*drain)(void *self);
    /* After the loop has ended and the bus is closed (on_down was called for each link, each open request has its
     * outcome; daemon_bus is NULL): give everything back. `self` may be NULL if start failed. May be NULL. */
    void (*stop)(void *self);
    /* SIGHUP took new values for reloadable keys. May be NULL. */
    void (*reload)(void *self);
    /* ud is replaced by self; BUS_STATUS is answered by daemon itself */
    struct bus_handlers handlers;
};

int daemon_main(int argc, char **argv, const struct daemon_program *program);

/* --- for the daemon's own code --- */
struct loop *daemon_loop(struct daemon_context *context);
struct bus *daemon_bus(struct daemon_context *context);
const void *daemon_values(struct daemon_context *context);
const char *daemon_name(struct daemon_context *context); /* "logd-0" */
struct metrics *daemon_metrics(struct daemon_context *context);

/* Able to serve: READY=1, and "ready" in the status. daemon_not_ready: for a while not, with a reason for people. */
void daemon_ready(struct daemon_context *context);
void daemon_not_ready(struct daemon_context *context, const char *reason);
/* Everything open is finished; the loop stops. */
void daemon_drained(struct daemon_context *context);
/* Something happened after which the process must not go on (a failed sync): logs why and ends the loop with exit code 1, without drain. */
void daemon_fail(struct daemon_context *context, const char *event, const char *detail);

#endif
