/* home: a folder for a node that adminctl runs; the node ends with the test, whatever happens. */
#ifndef TESTS_SYSTEM_HOME_H
#define TESTS_SYSTEM_HOME_H

#include <sys/types.h>

struct home {
    char dir[256];
    int guard_fd;
    pid_t guard_pid;
};

void home_open(struct home *self);
/* Call with the node stopped. */
void home_close(struct home *self);

#endif
