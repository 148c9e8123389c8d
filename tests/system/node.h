/* node: the four daemons of a node as child processes of a test, in a folder laid out as `adminctl up` does (DIR/{etc,run,data,log}), on a free
 * port of loopback that stays the same over restarts. They are killed with -9, stopped, paused and started again one by one.
 * Everything here is called on the test's main thread. When the test process ends before node_destroy, the ends of the logs
 * are printed. */
#ifndef TESTS_SYSTEM_NODE_H
#define TESTS_SYSTEM_NODE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/system/process.h"

enum node_daemon {
    NODE_RAFTD,
    NODE_LOGD,
    NODE_ROUTERD,
    NODE_FRONTD,
    NODE_DAEMONS, /* a node; what follows are further instances, each started on its own, the frontds on ports of their own */
    NODE_ROUTERD_1 = NODE_DAEMONS,
    NODE_FRONTD_1,
    NODE_FRONTD_2,
    NODE_PROCESSES,
};

struct node;

/* A folder with configuration files; nothing runs yet. */
struct node *node_new(void);
/* Kill what runs, free. Nulls. */
void node_destroy(struct node **self);

const char *node_address(const struct node *self); /* "127.0.0.1:23456" */
const char *node_address_of(const struct node *self, enum node_daemon frontd);
uint16_t node_port(const struct node *self);
const char *node_daemon_name(enum node_daemon daemon); /* "logd", "frontd-1" */
/* DIR/<part>; `out` has 4,096 bytes; returns it. */
const char *node_path(const struct node *self, const char *part, char *out);

/* "journal.file_size=1M": of all later starts of this daemon. */
void node_set(struct node *self, enum node_daemon daemon, const char *assignment);

/* --- starting and ending --- */

void node_start(struct node *self, enum node_daemon daemon); /* returns at once */
/* The test fails when it ends instead, or takes longer than `seconds`. */
void node_wait_ready(struct node *self, enum node_daemon daemon, double seconds);
void node_start_all(struct node *self); /* and wait for all */
/* kill -9, reaped. Does nothing when it is not running. */
void node_kill(struct node *self, enum node_daemon daemon);
void node_kill_all(struct node *self); /* all are dead before the first is reaped */
/* kill -9, start, wait. */
void node_restart(struct node *self, enum node_daemon daemon);
/* The same for logd; without its database if asked. */
void node_restart_logd(struct node *self, bool loses_database);
void node_signal(struct node *self, enum node_daemon daemon, int signal_number);
/* Wait for it to end by itself, or by a signal sent before. true: *ret_status as of waitpid. */
bool node_wait_end(struct node *self, enum node_daemon daemon, double seconds, int *ret_status);
/* SIGTERM to all, frontd first, each awaited; every exit code must be 0. */
void node_stop_all(struct node *self);
bool node_is_running(const struct node *self, enum node_daemon daemon);
pid_t node_pid(const struct node *self, enum node_daemon daemon);
uint64_t node_rss_bytes(const struct node *self, enum node_daemon daemon);
/* Does the daemon's log hold this text, written since it was last started? */
bool node_logged(const struct node *self, enum node_daemon daemon, const char *text);

/* --- faults by strace --- */

/* May this process trace? Prints why not. */
bool node_can_trace(void);
/* Attach strace to a running daemon with an injection such as "fdatasync:error=EIO:when=3+"; returns when it is attached. It stays until
 * the daemon ends. */
void node_inject(struct node *self, enum node_daemon daemon, const char *injection);
/* The same from the first system call on: for the next start only. */
void node_inject_at_start(struct node *self, enum node_daemon daemon, const char *injection);
/* How many system calls the last tracer has tampered with: 0 means that the fault has not fired. A call at which the process was killed
 * counts; strace may write it down a moment after the end. */
unsigned node_injected(const struct node *self, enum node_daemon daemon);

/* --- adminctl on this node --- */

/* Run `adminctl --dir DIR -o json <words>`; returns the exit code. `ret` is released first, so zeroed memory or a used one are fine. */
#define NODE_CTL(self, ret, ...)                                                                   \
    node_ctl((self), (ret), NULL, (const char *const[]){__VA_ARGS__, NULL})
int node_ctl(const struct node *self, struct process *ret, const char *input,
             const char *const *words);
/* Only start it. */
void node_ctl_start(const struct node *self, struct process *ret, const char *input,
                    const char *const *words);
/* Ensure a stream through adminctl; the test fails if that does. */
void node_ensure(const struct node *self, const char *stream);

#endif
