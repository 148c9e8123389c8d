/* child: one daemon process of a node that a supervisor runs: how it is started, how it says that it is ready, and what it said last. When, whether and how often is
 * the supervisor's business. */
#ifndef ADMINCTL_CHILD_H
#define ADMINCTL_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { CHILD_NAME_SIZE = 24, CHILD_ERROR_SIZE = 1024, CHILD_EXIT_USAGE = 2 };

/* What all children of a node share; borrowed. */
struct child_place {
    const char *dir;      /* absolute */
    const char *programs; /* the folder where the daemons' programs lie */
    bool
        to_files; /* they write DIR/log/<daemon>.log, the second one <daemon>-1.log; else our standard error */
};

struct child {
    const char *daemon;
    unsigned instance;
    char name[CHILD_NAME_SIZE]; /* "frontd-1" */
    pid_t pid;                  /* 0: not running */
    int notify_fd;              /* -1: never started */
    bool ready;
    bool was_ready;
    /* the supervisor's */
    bool is_wanted;
    bool is_stopping; /* was asked to end */
    bool is_failing;  /* was never ready, and ended by itself again and again */
    bool owes_reload; /* a SIGHUP waits until it is ready */
    uint64_t started_ms;
    uint64_t restart_at_ms;
    uint64_t kill_at_ms;
    uint64_t delay_ms;
    unsigned restarts;
    unsigned failed_starts;
};

void child_init(struct child *self, const char *daemon, unsigned instance);
void child_release(struct child *self);

/* Start the process; `port` (NULL: as configured) is for a frontd. 0, or an error that may pass. */
int child_start(struct child *self, const struct child_place *place, const char *port);
/* Read what it has told (notify_fd is readable). true: it has just become ready. */
bool child_hear(struct child *self);

/* "frontd.log", "frontd-1.log" in DIR/log. */
const char *child_log_name(const struct child *self, char out[CHILD_NAME_SIZE + 8]);
/* The last error that it has logged; "" if it cannot be found. */
void child_last_error(const struct child *self, const struct child_place *place,
                      char out[CHILD_ERROR_SIZE]);

#endif
