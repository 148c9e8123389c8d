/* exec: runs a command of the user's for one message. */
#ifndef ADMINCTL_EXEC_H
#define ADMINCTL_EXEC_H

#include <stdbool.h>

#include "client/railgun.h"
#include "common/base/buf.h"

struct exec_variable { /* of its environment */
    const char *name;
    const char *value;
};

/* Run `command` by the shell with `input` on its standard input. What it prints goes to our standard output, or into `output` when that is not NULL (at most
 * output_max bytes are kept). true: it exited with 0, and did not print more than that. */
bool exec_run(const char *command, struct rg_bytes input, const struct exec_variable *variables,
              size_t variable_count, struct buf *output, size_t output_max);

#endif
