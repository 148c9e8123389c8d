/* verbs: a command that is made of several ("adminctl stream ls"). */
#ifndef ADMINCTL_VERBS_H
#define ADMINCTL_VERBS_H

#include <stddef.h>

#include "adminctl/ctl.h"

struct verb {
    const char *name;
    int (*run)(struct ctl *ctl, int argc, char **argv);
};

/* Run the verb that argv[1] names, with argv from there on; its ctl_exit. Without one or with an unknown one the usage is printed. `name` is the
 * command's. */
int verbs_run(const char *name, const struct verb *verbs, size_t count, struct ctl *ctl, int argc,
              char **argv);

#define VERBS_RUN(name, verbs, ctl, argc, argv)                                                    \
    verbs_run((name), (verbs), sizeof(verbs) / sizeof((verbs)[0]), (ctl), (argc), (argv))

#endif
