/* plan: a file of streams, groups and exchanges against what is there: what would be done, and doing it. */
#ifndef ADMINCTL_PLAN_H
#define ADMINCTL_PLAN_H

#include <stdbool.h>

#include "adminctl/ctl.h"
#include "adminctl/planfile.h"

/* Plan all of the file; unless `dry_run`, and when nothing is refused, apply it in order. Prints every object. CTL_OK: nothing is refused; CTL_CONFLICT:
 * something is (and nothing was applied); another ctl_exit: it could not be found out. */
int plan_run(struct ctl *ctl, const char *path, bool dry_run, bool allow_data_loss);

/* What would be done with one stream or exchange: as a file with nothing else in it. */
int plan_one(struct ctl *ctl, const struct planfile_object *object, bool allow_data_loss);

#endif
