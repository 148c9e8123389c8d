/* home: a guard process outlives the test by a moment and kills the supervisor that the folder's lock names. */
#include "tests/system/home.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/test.h"

static void kill_owner(const char *dir)
{
    char path[300];
    (void) snprintf(path, sizeof(path), "%s/lock", dir);
    FILE *file = fopen(path, "re");
    int pid = 0;
    if (file != NULL && fscanf(file, "%d", &pid) == 1 && pid > 1) {
        (void) kill(pid, SIGKILL); /* its daemons end with it */
    }
}

void home_open(struct home *self)
{
    int ends[2];
    (void) snprintf(self->dir, sizeof(self->dir), "%s", test_folder());
    ck_assert_int_eq(pipe(ends), 0);
    self->guard_pid = fork();
    if (self->guard_pid == 0) {
        char byte;
        (void) close(ends[1]);
        (void) setsid();
        while (read(ends[0], &byte, 1) < 0 && errno == EINTR) {
        }
        kill_owner(self->dir);
        _exit(0);
    }
    ck_assert_int_gt(self->guard_pid, 0);
    (void) close(ends[0]);
    self->guard_fd = ends[1];
}

void home_close(struct home *self)
{
    (void) kill(self->guard_pid, SIGKILL);
    (void) waitpid(self->guard_pid, NULL, 0);
    (void) close(self->guard_fd);
}
