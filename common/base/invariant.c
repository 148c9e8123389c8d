/* invariant: the end of a process that found its own bug. */
#include "common/base/invariant.h"

#include <stdio.h>
#include <stdlib.h>

void invariant_failed(const char *fact, const char *file, int line)
{
    (void) fprintf(stderr, "level=fatal event=\"invariant failed\" fact=\"%s\" at=%s:%d\n", fact,
                   file, line);
    abort();
}
