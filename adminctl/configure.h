/* configure: the configuration of streams and groups from the command line: ensure and set. */
#ifndef ADMINCTL_CONFIGURE_H
#define ADMINCTL_CONFIGURE_H

#include "adminctl/ctl.h"

/* As commands: see ctl.h. */
int configure_stream_ensure(struct ctl *ctl, int argc, char **argv);
int configure_group_ensure(struct ctl *ctl, int argc, char **argv);

#endif
