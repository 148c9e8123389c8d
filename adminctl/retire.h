/* retire: streams on their way out and back: delete, ls --deleted, undelete. */
#ifndef ADMINCTL_RETIRE_H
#define ADMINCTL_RETIRE_H

#include "adminctl/ctl.h"

/* As commands: see ctl.h. */
int retire_delete(struct ctl *ctl, int argc, char **argv);
int retire_undelete(struct ctl *ctl, int argc, char **argv);
/* The deleted streams that can be undeleted; `prefix` may be NULL. */
int retire_list(struct ctl *ctl, const char *prefix);

#endif
