/* daemon_args: the command line that all daemons share. */
#ifndef COMMON_RUN_DAEMON_ARGS_H
#define COMMON_RUN_DAEMON_ARGS_H

#include "common/run/daemon.h"

enum daemon_action { DAEMON_RUN, DAEMON_CHECK_CONFIG };

struct daemon_args {
    enum daemon_action action;
    const char *config_path; /* borrowed from argv; NULL: none */
    char **sets;             /* "key=value", in order */
    size_t set_count;
};

/* -1: go on with what is in *ret_args; else an exit code: help, version or configuration was printed, or the usage
 * is wrong. Release the args in any case. */
int daemon_args_read(int argc, char **argv, const struct daemon_program *program,
                     struct daemon_args *ret_args);
void daemon_args_release(struct daemon_args *self);

#endif
