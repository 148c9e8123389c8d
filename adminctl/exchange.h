/* exchange: the verbs of `adminctl es` about exchanges themselves. */
#ifndef ADMINCTL_EXCHANGE_H
#define ADMINCTL_EXCHANGE_H

#include "adminctl/ctl.h"

int exchange_ls(struct ctl *ctl, int argc, char **argv);
int exchange_info(struct ctl *ctl, int argc, char **argv);
int exchange_ensure(struct ctl *ctl, int argc, char **argv);
int exchange_delete(struct ctl *ctl, int argc, char **argv);

#endif
