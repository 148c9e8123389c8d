/* verbs: finds the verb of a command and runs it. Owns nothing. */
#include "adminctl/verbs.h"

#include <stdio.h>
#include <string.h>

static void print_usage(FILE *file, const char *name, const struct verb *verbs, size_t count)
{
    (void) fprintf(file, "Usage: adminctl %s ", name);
    for (size_t i = 0; i < count; i++) {
        (void) fprintf(file, "%s%s", i > 0 ? "|" : "", verbs[i].name);
    }
    (void) fputs(" ...   (each has --help)\n", file);
}

int verbs_run(const char *name, const struct verb *verbs, size_t count, struct ctl *ctl, int argc,
              char **argv)
{
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        print_usage(stdout, name, verbs, count);
        return CTL_OK;
    }
    for (size_t i = 0; argc >= 2 && i < count; i++) {
        if (strcmp(argv[1], verbs[i].name) == 0) {
            return verbs[i].run(ctl, argc - 1, argv + 1);
        }
    }
    if (argc >= 2) {
        (void) fprintf(stderr, "adminctl: no such command: '%s %s'\n", name, argv[1]);
    }
    print_usage(stderr, name, verbs, count);
    return CTL_USAGE;
}
