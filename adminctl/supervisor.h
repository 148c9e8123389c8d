/* supervisor: starts the daemons of a node, hears from each when it is ready (sd_notify protocol on an abstract socket), starts again what dies, and stops all in order.
 * SIGHUP: read DIR/etc/scale.conf, start or stop frontds and routerds, and pass the signal on to the daemons. DIR/state tells how far it is. */
#ifndef ADMINCTL_SUPERVISOR_H
#define ADMINCTL_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>

#include "adminctl/scale.h"

struct supervisor_options {
    const char *dir;  /* absolute */
    const char *port; /* NULL: as configured */
    struct scale scale;
    bool to_files; /* the daemons write DIR/log/<daemon>.log; else our standard error */
    int report_fd; /* >= 0: one line is written when all are ready ("ready") or why not, then it is closed */
};

/* Run until SIGTERM or SIGINT; then stop the daemons (frontd first, raftd last) and return. A ctl_exit. */
int supervisor_run(const struct supervisor_options *options);

#endif
