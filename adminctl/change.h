/* change: what an operator does to a configuration that is there: set fields, lock and unlock them. */
#ifndef ADMINCTL_CHANGE_H
#define ADMINCTL_CHANGE_H

#include "adminctl/ctl.h"

/* As commands: see ctl.h. */
int change_stream_set(struct ctl *ctl, int argc, char **argv);
int change_group_set(struct ctl *ctl, int argc, char **argv);
int change_stream_lock(struct ctl *ctl, int argc, char **argv);
int change_stream_unlock(struct ctl *ctl, int argc, char **argv);
int change_group_lock(struct ctl *ctl, int argc, char **argv);
int change_group_unlock(struct ctl *ctl, int argc, char **argv);

#endif
